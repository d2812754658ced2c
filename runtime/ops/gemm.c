/* SPDX-License-Identifier: Apache-2.0 */
/* The matrix product of every dtype. float32 goes to oneDNN unless it is so small that
 * the call would cost more than the sums; the rest, and what oneDNN lacks, is a blocked
 * loop over rows of b, which the compiler turns into vector code. */
#include "runtime/ops/nn_int.h"

#include <math.h>

/* Below this many products the loop here beats a primitive's overhead (about 1 us). */
#define SMALL_PRODUCTS 16384

#define K_BLOCK 128
#define N_BLOCK 1024

/* Four rows of b at a time: a quarter of the traffic over c. Signed integers are
 * computed as unsigned: they wrap. */
#define GEMM(sfx, type)                                                                \
    RT_SIMD static void gemm_add_##sfx(int64_t m, int64_t n, int64_t k,                \
                                       const type *restrict a, int64_t a_row,          \
                                       int64_t a_col, const type *restrict b,          \
                                       int64_t b_row, type *restrict c, int64_t c_row) \
    {                                                                                  \
        for (int64_t l0 = 0; l0 < k; l0 += K_BLOCK)                                    \
            for (int64_t j0 = 0; j0 < n; j0 += N_BLOCK) {                              \
                int64_t l1 = K_MIN(l0 + K_BLOCK, k), nj = K_MIN(n - j0, N_BLOCK);      \
                for (int64_t i = 0; i < m; i++) {                                      \
                    type *restrict y = c + i * c_row + j0;                             \
                    const type *x = a + i * a_row;                                     \
                    int64_t l = l0;                                                    \
                    for (; l + 4 <= l1; l += 4) {                                      \
                        const type *restrict w = b + l * b_row + j0;                   \
                        type x0 = x[l * a_col], x1 = x[(l + 1) * a_col];               \
                        type x2 = x[(l + 2) * a_col], x3 = x[(l + 3) * a_col];         \
                        for (int64_t j = 0; j < nj; j++)                               \
                            y[j] += (x0 * w[j] + x1 * w[j + b_row]) +                  \
                                    (x2 * w[j + 2 * b_row] + x3 * w[j + 3 * b_row]);   \
                    }                                                                  \
                    for (; l < l1; l++) {                                              \
                        const type *restrict w = b + l * b_row + j0;                   \
                        type x0 = x[l * a_col];                                        \
                        for (int64_t j = 0; j < nj; j++)                               \
                            y[j] += x0 * w[j];                                         \
                    }                                                                  \
                }                                                                      \
            }                                                                          \
    }                                                                                  \
    static void add_bias_##sfx(type *restrict y, const type *restrict bias,            \
                               int64_t rows, int64_t cols)                             \
    {                                                                                  \
        for (int64_t r = 0; r < rows; r++)                                             \
            for (int64_t j = 0; j < cols; j++)                                         \
                y[r * cols + j] += bias[j];                                            \
    }
#define GEMM_TYPES(X)                                                                  \
    X(f32, float)                                                                      \
    X(f64, double)                                                                     \
    X(i32, uint32_t)                                                                   \
    X(i64, uint64_t)                                                                   \
    X(c64, float complex)                                                              \
    X(c128, double complex)
#define GEMM_NARROW_TYPES(X)                                                           \
    X(u8, uint8_t)                                                                     \
    X(u16, uint16_t)
GEMM_TYPES(GEMM)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored                                                         \
    "-Wconversion" /* integer promotion: wraps as it should */
GEMM_NARROW_TYPES(GEMM)
#pragma GCC diagnostic pop

/* CALL(suffix, C type) of a dtype. */
#define DISPATCH(dtype, CALL, OTHER)                                                   \
    switch (dtype) {                                                                   \
    case SM_FLOAT:                                                                     \
        CALL(f32, float);                                                              \
        break;                                                                         \
    case SM_DOUBLE:                                                                    \
        CALL(f64, double);                                                             \
        break;                                                                         \
    case SM_INT32:                                                                     \
    case SM_UINT32:                                                                    \
        CALL(i32, uint32_t);                                                           \
        break;                                                                         \
    case SM_INT64:                                                                     \
    case SM_UINT64:                                                                    \
        CALL(i64, uint64_t);                                                           \
        break;                                                                         \
    case SM_COMPLEX64:                                                                 \
        CALL(c64, float complex);                                                      \
        break;                                                                         \
    case SM_COMPLEX128:                                                                \
        CALL(c128, double complex);                                                    \
        break;                                                                         \
    case SM_INT8:                                                                      \
    case SM_UINT8:                                                                     \
        CALL(u8, uint8_t);                                                             \
        break;                                                                         \
    case SM_INT16:                                                                     \
    case SM_UINT16:                                                                    \
        CALL(u16, uint16_t);                                                           \
        break;                                                                         \
    default:                                                                           \
        OTHER;                                                                         \
    }

void
nn_gemm_add(int dtype, int64_t m, int64_t n, int64_t k, const void *a, int64_t a_row,
            int64_t a_col, const void *b, int64_t b_row, void *c, int64_t c_row)
{
    struct nn_tiles t = { .m = m,
                          .n = n,
                          .k = k,
                          .n_outer = 1,
                          .a = a,
                          .a_row = a_row,
                          .b = b,
                          .b_row = b_row,
                          .c = c,
                          .c_row = c_row,
                          .add = true };
    if (dtype == SM_FLOAT && a_col == 1 && nn_tiles_run(&t))
        return;
#define CALL(sfx, type) gemm_add_##sfx(m, n, k, a, a_row, a_col, b, b_row, c, c_row)
    DISPATCH(dtype, CALL, BUG("gemm of dtype %d", dtype));
#undef CALL
}

bool
nn_gemm_has(int dtype)
{
#define CALL(sfx, type) return true
    DISPATCH(dtype, CALL, return k_is_half(dtype));
#undef CALL
}

void
nn_add_bias(int dtype, void *y, const void *bias, int64_t rows, int64_t cols)
{
#define CALL(sfx, type) add_bias_##sfx(y, bias, rows, cols)
    DISPATCH(dtype, CALL, BUG("bias of dtype %d", dtype));
#undef CALL
}

/* Elements from the first to the last that a strided operand reads. */
static int64_t
span(int64_t batch, int64_t rows, int64_t cols, const int64_t stride[3])
{
    return (batch - 1) * stride[0] + (rows - 1) * stride[1] + (cols - 1) * stride[2] +
           1;
}

struct loop_arg {
    const struct nn_gemm *g;
    const char *b; /* packed or not */
    int64_t b_row;
    size_t bytes;
};

/* Rows begin..end of all rows of one matrix product (batch, m flattened). */
static void
gemm_rows(void *arg, int64_t begin, int64_t end)
{
    const struct loop_arg *l = arg;
    const struct nn_gemm *g = l->g;
    while (begin < end) {
        int64_t bi = begin / g->m, i = begin % g->m;
        int64_t rows = K_MIN(g->m - i, end - begin);
        const char *a = g->a, *b = l->b;
        char *c = (char *)g->c + (size_t)(begin * g->n) * l->bytes;
        a += (size_t)(bi * g->a_stride[0] + i * g->a_stride[1]) * l->bytes;
        b += (size_t)(bi * g->b_stride[0]) * l->bytes;
        memset(c, 0, (size_t)(rows * g->n) * l->bytes);
        nn_gemm_add(g->dtype, rows, g->n, g->k, a, g->a_stride[1], g->a_stride[2], b,
                    l->b_row, c, g->n);
        begin += rows;
    }
}

static int
gemm_loop(struct rt_ctx *ctx, const struct nn_gemm *g, struct err *err)
{
    struct nn_gemm packed = *g;
    struct loop_arg arg = { .g = &packed, .b = g->b, .bytes = rt_dtype_size(g->dtype) };
    arg.b_row = g->b_stride[1];
    if (g->b_stride[2] != 1 && g->n > 1) {
        int64_t batch = g->b_stride[0] ? g->batch : 1;
        char *b = rt_scratch(ctx, (size_t)(batch * g->k * g->n) * arg.bytes, err);
        struct k_box box = { .rank = 0 };
        if (!b)
            return -(int)err->code;
        k_box_add(&box, batch, g->b_stride[0], g->k * g->n);
        k_box_add(&box, g->k, g->b_stride[1], g->n);
        k_box_add(&box, g->n, g->b_stride[2], 1);
        k_copy(&box, b, g->b, arg.bytes);
        arg.b = b;
        arg.b_row = g->n;
        packed.b_stride[0] = g->b_stride[0] ? g->k * g->n : 0;
    }
    int64_t grain = K_GRAIN / (g->n * (g->k + 1)) + 1;
    rt_parallel_for(ctx, g->batch * g->m, grain, gemm_rows, &arg);
    if (g->bias)
        nn_add_bias(g->dtype, g->c, g->bias, g->batch * g->m, g->n);
    if (g->dtype == SM_FLOAT)
        nn_post(g->c, g->batch * g->m * g->n, g->post, g->n_post);
    return 0;
}

/* 1: done by oneDNN. */
static int
gemm_onednn(struct rt_ctx *ctx, const struct nn_gemm *g, struct err *err)
{
    struct od_matmul d;
    struct od_args args = { g->a, g->b, g->bias, g->c, g->b_buf, g->b_scale };
    memset(&d, 0, sizeof d);
    d.n_post = g->n_post;
    memcpy(d.post, g->post, sizeof d.post);
    d.has_bias = g->bias != NULL;
    d.batch = g->batch;
    d.m = g->m;
    d.n = g->n;
    d.k = g->k;
    memcpy(d.a_stride, g->a_stride, sizeof d.a_stride);
    memcpy(d.b_stride, g->b_stride, sizeof d.b_stride);
    if (g->batch > 1 && !g->b_stride[0] && g->a_stride[0] == g->m * g->a_stride[1]) {
        d.batch = 1; /* one weight for all: a taller matrix */
        d.m = g->batch * g->m;
    }
    return od_run_matmul(ctx, &d, &args, err);
}

static int
gemm_half(struct rt_ctx *ctx, const struct nn_gemm *g, struct err *err)
{
    struct nn_gemm f = *g;
    int64_t na = span(g->batch, g->m, g->k, g->a_stride);
    int64_t nb = span(g->batch, g->k, g->n, g->b_stride), nc = g->batch * g->m * g->n;
    int64_t total = na + nb + nc + g->n;
    float *mem = rt_scratch(ctx, (size_t)total * sizeof(*mem), err);
    if (!mem)
        return -(int)err->code;
    k_widen(g->dtype, g->a, mem, na);
    k_widen(g->dtype, g->b, mem + na, nb);
    f.dtype = SM_FLOAT;
    f.a = mem;
    f.b = mem + na;
    f.c = mem + na + nb;
    f.b_buf = NULL;
    if (g->bias) {
        float *bias = mem + na + nb + nc;
        k_widen(g->dtype, g->bias, bias, g->n);
        f.bias = bias;
    }
    if (nn_gemm(ctx, &f, err) < 0)
        return -(int)err->code;
    k_narrow(g->dtype, f.c, g->c, nc);
    return 0;
}

/* False: too large, or its strides are not those of tiles. */
static bool
gemm_small(const struct nn_gemm *g, double work)
{
    if (g->dtype != SM_FLOAT || work > NN_SMALL_PRODUCTS || g->b_stride[2] != 1 ||
        (g->a_stride[2] != 1 && g->k > 1))
        return false;
    for (int64_t i = 0; i < g->batch; i++) {
        struct nn_tiles t = { .m = g->m,
                              .n = g->n,
                              .k = g->k,
                              .n_outer = 1,
                              .a = (const float *)g->a + i * g->a_stride[0],
                              .a_row = g->a_stride[1],
                              .b = (const float *)g->b + i * g->b_stride[0],
                              .b_row = g->b_stride[1],
                              .scale = g->b_scale ? g->b_scale->data : NULL,
                              .bias = g->bias,
                              .c = (float *)g->c + i * g->m * g->n,
                              .c_row = g->n };
        if (!nn_tiles_run(&t))
            return false;
    }
    nn_post(g->c, g->batch * g->m * g->n, g->post, g->n_post);
    return true;
}

int
nn_gemm(struct rt_ctx *ctx, const struct nn_gemm *g, struct err *err)
{
    if (!nn_gemm_has(g->dtype))
        return rt_fail_dtype(ctx, err, g->dtype);
    if (!g->batch || !g->m || !g->n)
        return 0;
    if (k_is_half(g->dtype) && g->k)
        return gemm_half(ctx, g, err);
    if (!g->k) {
        struct nn_gemm zero = *g;
        memset(g->c, 0, (size_t)(g->batch * g->m * g->n) * rt_dtype_size(g->dtype));
        if (k_is_half(g->dtype) || !g->bias)
            return 0;
        nn_add_bias(g->dtype, zero.c, g->bias, g->batch * g->m, g->n);
        if (g->dtype == SM_FLOAT)
            nn_post(zero.c, g->batch * g->m * g->n, g->post, g->n_post);
        return 0;
    }
    /* The product of extents may overflow where memory would not: compare as double. */
    double work = (double)g->batch * (double)g->m * (double)g->n * (double)g->k;
    if (gemm_small(g, work))
        return 0;
    if (g->dtype == SM_FLOAT && work > SMALL_PRODUCTS &&
        (!g->b_scale || rt_buf_is_weight(g->b_buf))) {
        int r = gemm_onednn(ctx, g, err);
        if (r)
            return r < 0 ? r : 0;
    }
    if (!g->b_scale)
        return gemm_loop(ctx, g, err);
    struct nn_gemm scaled = *g;
    scaled.b = nn_scaled(ctx, g->b, g->k * g->n, g->b_turned, g->b_scale, err);
    return scaled.b ? gemm_loop(ctx, &scaled, err) : -(int)err->code;
}
