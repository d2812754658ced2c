/* SPDX-License-Identifier: Apache-2.0 */
/* Cumsum, Cumprod, CumulativeLogsumexp along an axis, from either end, with or without
 * the element itself. Integers wrap; float16 and bfloat16 round after each step. */
#include "runtime/ops/math_vec.h"
#include "runtime/ops/ops_int.h"

/* y[i] = f(y[i - step], x[i]) for n lines of `inner` elements; exclusive: of x[i -
 * step]. `first` is the line to begin with, step +-inner. */
typedef void scan_fn(const void *x, void *y, int64_t n, int64_t inner, bool reverse,
                     bool exclusive);

#define SCAN(name, type, start, expr)                                                  \
    static void name(const void *px, void *py, int64_t n, int64_t inner, bool reverse, \
                     bool exclusive)                                                   \
    {                                                                                  \
        int64_t step = reverse ? -inner : inner, at = reverse ? (n - 1) * inner : 0;   \
        const type *xs = (const type *)px + at;                                        \
        type *ys = (type *)py + at;                                                    \
        for (int64_t i = 0; i < n; i++, xs += step, ys += step) {                      \
            const type *from = exclusive ? xs - step : xs;                             \
            for (int64_t j = 0; j < inner; j++) {                                      \
                type a = i ? ys[j - step] : start;                                     \
                if (i || !exclusive) {                                                 \
                    type x = from[j];                                                  \
                    a = (type)(expr);                                                  \
                }                                                                      \
                ys[j] = a;                                                             \
            }                                                                          \
        }                                                                              \
    }

#define X(dtype, type, sfx)                                                            \
    SCAN(sum_##sfx, type, 0, (uint64_t)a + (uint64_t)x)                                \
    SCAN(prod_##sfx, type, 1, (uint64_t)a *(uint64_t)x)
K_INTS(X)
#undef X
#define X(dtype, type, sfx)                                                            \
    SCAN(sum_##sfx, type, 0, a + x)                                                    \
    SCAN(prod_##sfx, type, 1, a *x)
K_FLOATS(X)
K_COMPLEX(X)
#undef X
SCAN(sum_f16, float, 0, k_round_half(a + x))
SCAN(prod_f16, float, 1, k_round_half(a *x))
SCAN(sum_b16, float, 0, k_round_bf16(a + x))
SCAN(prod_b16, float, 1, k_round_bf16(a *x))

static inline double
log_add(double a, double b)
{
    double m = K_MAX(a, b);
    return m == -INFINITY ? m : m == INFINITY ? m : m + log1p(exp(K_MIN(a, b) - m));
}
SCAN(lse_f32, float, -INFINITY, log_add((double)a, (double)x))
SCAN(lse_f64, double, -INFINITY, log_add(a, x))

#define ALL(n)                                                                         \
    [SM_INT8] = n##_i8, [SM_INT16] = n##_i16, [SM_INT32] = n##_i32,                    \
    [SM_INT64] = n##_i64, [SM_UINT8] = n##_u8, [SM_UINT16] = n##_u16,                  \
    [SM_UINT32] = n##_u32, [SM_UINT64] = n##_u64, [SM_FLOAT] = n##_f32,                \
    [SM_DOUBLE] = n##_f64, [SM_COMPLEX64] = n##_c64, [SM_COMPLEX128] = n##_c128,       \
    [SM_HALF] = n##_f16, [SM_BFLOAT16] = n##_b16

static const struct scan {
    const char *op;
    scan_fn *fn[K_N_DTYPES];
} rows[] = {
    { "Cumsum", { ALL(sum) } },
    { "Cumprod", { ALL(prod) } },
    { "CumulativeLogsumexp",
      { [SM_FLOAT] = lse_f32,
        [SM_DOUBLE] = lse_f64,
        [SM_HALF] = lse_f32,
        [SM_BFLOAT16] = lse_f32 } },
};

struct scan_state {
    const struct scan *row;
    bool reverse, exclusive;
};

int
rt_prep_scan(struct rt_prep *p)
{
    struct scan_state *s = p->node->state = rt_prep_alloc(p, sizeof(*s));
    s->row = K_ROW(rows, p->node->op);
    s->reverse = rt_attr_bool(p, "reverse", false);
    s->exclusive = rt_attr_bool(p, "exclusive", false);
    return rt_prep_done(p);
}

int
rt_run_scan(struct rt_ctx *ctx, struct err *err)
{
    const struct scan_state *s = ctx->node->state;
    const struct rt_tensor *x = ctx->in[0];
    scan_fn *fn = x->dtype < K_N_DTYPES ? s->row->fn[x->dtype] : NULL;
    int64_t axis = 0;
    struct rt_tensor *y;
    if (!fn)
        return rt_fail_dtype(ctx, err, x->dtype);
    if (k_scalar(ctx, 1, "ScanOp: axis", &axis, err) < 0)
        return -(int)err->code;
    if (axis < -x->rank || axis >= x->rank)
        return rt_fail(ctx, err, ERR_FAILED,
                       "ScanOp: Expected scan axis in the range [%d, %d), but got %lld",
                       -x->rank, x->rank, (long long)axis);
    if (rt_out(ctx, 0, x->dtype, x->rank, x->dims, &y, err) < 0)
        return -(int)err->code;
    if (x->n_elems == 0)
        return 0;
    int at = (int)(axis < 0 ? axis + x->rank : axis);
    int64_t n = x->dims[at], inner = k_count(x->dims, at + 1, x->rank);
    bool half = k_is_half(x->dtype);
    size_t elem = half ? sizeof(float) : rt_dtype_size(x->dtype);
    const char *from = half ? (const void *)k_floats(ctx, x, err) : x->data;
    char *to = half ? rt_scratch(ctx, (size_t)x->n_elems * elem, err) : y->data;
    if (!from || !to)
        return -(int)err->code;
    for (int64_t o = 0; o < x->n_elems; o += n * inner)
        fn(from + (size_t)o * elem, to + (size_t)o * elem, n, inner, s->reverse,
           s->exclusive);
    if (half)
        k_narrow(x->dtype, (const float *)(const void *)to, y->data, y->n_elems);
    return 0;
}
