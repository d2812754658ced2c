/* SPDX-License-Identifier: Apache-2.0 */
/* Cast between all numbers and bool, and Bitcast. Floats out of an integer's range give
 * what the conversion instructions of x86 give: the smallest int32 or int64, of which
 * narrower and unsigned types take the low bits. But TensorFlow's vector loops saturate
 * to 8 and 16 bits, and so does ours for as many whole vectors (`heads`). Complex
 * numbers lose their imaginary part. To float16 and bfloat16 by way of float. */
#include "runtime/ops/math_vec.h"
#include "runtime/ops/ops_int.h"

static inline int32_t
f_to_i32(double x)
{
    return x >= -2147483648.0 && x < 2147483648.0 ? (int32_t)x : INT32_MIN;
}
static inline int64_t
f_to_i64(double x)
{
    return x >= -0x1p63 && x < 0x1p63 ? (int64_t)x : INT64_MIN;
}
static inline uint64_t
f_to_u64(double x)
{
    int64_t low = f_to_i64(x), high = f_to_i64(x - 0x1p63);
    return (uint64_t)low | (low < 0 ? (uint64_t)high : 0);
}

/* From a real float x of type float or double. */
#define F_TO_i8(x) (int8_t) f_to_i32(x)
#define F_TO_i16(x) (int16_t) f_to_i32(x)
#define F_TO_i32(x) f_to_i32(x)
#define F_TO_i64(x) f_to_i64(x)
#define F_TO_u8(x) (uint8_t) f_to_i32(x)
#define F_TO_u16(x) (uint16_t) f_to_i32(x)
#define F_TO_u32(x) (uint32_t) f_to_i64(x)
#define F_TO_u64(x) f_to_u64(x)
#define F_TO_f32(x) (float)(x)
#define F_TO_f64(x) (double)(x)
#define F_TO_c64(x) (float)(x)
#define F_TO_c128(x) (double)(x)

typedef void cast_fn(const void *x, void *y, int64_t n);

#define LOOP(name, from_type, to_type, expr)                                           \
    RT_SIMD static void name(const void *px, void *py, int64_t n)                      \
    {                                                                                  \
        const from_type *xs = px;                                                      \
        to_type *ys = py;                                                              \
        K_VECTOR                                                                       \
        for (int64_t i = 0; i < n; i++) {                                              \
            from_type x = xs[i];                                                       \
            ys[i] = (to_type)(expr);                                                   \
        }                                                                              \
    }

/* All targets of one source: from integers by C's conversion, from floats by F_TO. */
#define TARGETS_OF(X, s, st)                                                           \
    X(s, st, i8, int8_t)                                                               \
    X(s, st, i16, int16_t)                                                             \
    X(s, st, i32, int32_t)                                                             \
    X(s, st, i64, int64_t)                                                             \
    X(s, st, u8, uint8_t)                                                              \
    X(s, st, u16, uint16_t)                                                            \
    X(s, st, u32, uint32_t)                                                            \
    X(s, st, u64, uint64_t)                                                            \
    X(s, st, f32, float)                                                               \
    X(s, st, f64, double)                                                              \
    X(s, st, c64, float complex)                                                       \
    X(s, st, c128, double complex)
#define FROM_INT(s, st, d, dt) LOOP(s##_to_##d, st, dt, x)
#define FROM_FLOAT(s, st, d, dt) LOOP(s##_to_##d, st, dt, F_TO_##d(x))
#define FROM_COMPLEX(s, st, d, dt) LOOP(s##_to_##d, st, dt, F_TO_##d(creal(x)))

#define X(dtype, type, sfx)                                                            \
    TARGETS_OF(FROM_INT, sfx, type) LOOP(sfx##_to_bool, type, uint8_t, x != 0)
K_INTS(X)
#undef X
#define X(dtype, type, sfx)                                                            \
    TARGETS_OF(FROM_FLOAT, sfx, type) LOOP(sfx##_to_bool, type, uint8_t, x != 0)
K_FLOATS(X)
#undef X
#undef FROM_COMPLEX
#define FROM_COMPLEX(s, st, d, dt)                                                     \
    static void s##_to_##d(const void *px, void *py, int64_t n)                        \
    {                                                                                  \
        const st *xs = px;                                                             \
        dt *ys = py;                                                                   \
        for (int64_t i = 0; i < n; i++)                                                \
            ys[i] = (dt)(COMPLEX_TO_##d(xs[i]));                                       \
    }
#define COMPLEX_TO_i8(x) F_TO_i8(creal(x))
#define COMPLEX_TO_i16(x) F_TO_i16(creal(x))
#define COMPLEX_TO_i32(x) F_TO_i32(creal(x))
#define COMPLEX_TO_i64(x) F_TO_i64(creal(x))
#define COMPLEX_TO_u8(x) F_TO_u8(creal(x))
#define COMPLEX_TO_u16(x) F_TO_u16(creal(x))
#define COMPLEX_TO_u32(x) F_TO_u32(creal(x))
#define COMPLEX_TO_u64(x) F_TO_u64(creal(x))
#define COMPLEX_TO_f32(x) creal(x)
#define COMPLEX_TO_f64(x) creal(x)
#define COMPLEX_TO_c64(x) (x)
#define COMPLEX_TO_c128(x) (x)
#define COMPLEX_TO_bool(x) (creal(x) != 0)
#define X(dtype, type, sfx)                                                            \
    TARGETS_OF(FROM_COMPLEX, sfx, type) FROM_COMPLEX(sfx, type, bool, uint8_t)
K_COMPLEX(X)
#undef X

#define ROW(s)                                                                         \
    {                                                                                  \
        [SM_INT8] = s##_to_i8, [SM_INT16] = s##_to_i16, [SM_INT32] = s##_to_i32,       \
        [SM_INT64] = s##_to_i64, [SM_UINT8] = s##_to_u8, [SM_UINT16] = s##_to_u16,     \
        [SM_UINT32] = s##_to_u32, [SM_UINT64] = s##_to_u64, [SM_FLOAT] = s##_to_f32,   \
        [SM_DOUBLE] = s##_to_f64, [SM_COMPLEX64] = s##_to_c64,                         \
        [SM_COMPLEX128] = s##_to_c128, [SM_BOOL] = s##_to_bool                         \
    }
static cast_fn *const casts[K_N_DTYPES][K_N_DTYPES] = {
    [SM_INT8] = ROW(i8),    [SM_INT16] = ROW(i16),     [SM_INT32] = ROW(i32),
    [SM_INT64] = ROW(i64),  [SM_UINT8] = ROW(u8),      [SM_UINT16] = ROW(u16),
    [SM_UINT32] = ROW(u32), [SM_UINT64] = ROW(u64),    [SM_FLOAT] = ROW(f32),
    [SM_DOUBLE] = ROW(f64), [SM_COMPLEX64] = ROW(c64), [SM_COMPLEX128] = ROW(c128),
    [SM_BOOL] = ROW(u8), /* 0 and 1 */
};

/* ---- vector loops of TensorFlow -------------------------------------------------- */

static inline int32_t
clamp32(int32_t v, int32_t low, int32_t high)
{
    return v < low ? low : v > high ? high : v;
}
/* packusdw, then packuswb */
static inline int32_t
pack_u8(int32_t v)
{
    v = clamp32(v, 0, 65535);
    return v > 32767 ? 0 : K_MIN(v, 255);
}
static inline uint32_t
vector_u32(double x)
{
    int32_t low = f_to_i32(x), high = f_to_i32(x - 2147483648.0);
    return (uint32_t)low | (low < 0 ? (uint32_t)high : 0);
}
LOOP(f32_head_i8, float, int8_t, clamp32(f_to_i32(x), -128, 127))
LOOP(f32_head_u8, float, uint8_t, clamp32(f_to_i32(x), 0, 255))
LOOP(f32_head_i16, float, int16_t, clamp32(f_to_i32(x), -32768, 32767))
LOOP(f32_head_u16, float, uint16_t, clamp32(f_to_i32(x), 0, 65535))
LOOP(f32_head_u32, float, uint32_t, vector_u32(x))
LOOP(f64_head_i8, double, int8_t, clamp32(f_to_i32(x), -128, 127))
LOOP(f64_head_u8, double, uint8_t, pack_u8(f_to_i32(x)))
LOOP(f64_head_i16, double, int16_t, clamp32(f_to_i32(x), -32768, 32767))
LOOP(f64_head_u16, double, uint16_t, clamp32(f_to_i32(x), 0, 65535))
LOOP(f64_head_u32, double, uint32_t, vector_u32(x))

/* By target: the loop from float and from double, and the elements of a vector when the
 * source is float, double, float16, bfloat16. */
static const struct head {
    cast_fn *f32, *f64;
    uint8_t n_f32, n_f64, n_half, n_bf16;
} heads[K_N_DTYPES] = {
    [SM_INT8] = { f32_head_i8, f64_head_i8, 32, 16, 8, 8 },
    [SM_UINT8] = { f32_head_u8, f64_head_u8, 32, 16, 8, 8 },
    [SM_INT16] = { f32_head_i16, f64_head_i16, 32, 16, 4, 8 },
    [SM_UINT16] = { f32_head_u16, f64_head_u16, 32, 16, 4, 8 },
    [SM_UINT32] = { f32_head_u32, f64_head_u32, 8, 8, 8, 8 },
};

struct cast_state {
    int to;
    bool truncate;
};

int
rt_prep_cast(struct rt_prep *p)
{
    struct cast_state *s = p->node->state = rt_prep_alloc(p, sizeof(*s));
    s->to = rt_attr_type(p, "DstT", RT_REQUIRED);
    s->truncate = rt_attr_bool(p, "Truncate", false);
    return rt_prep_done(p);
}

struct work {
    cast_fn *fn;      /* NULL: only widening or narrowing */
    cast_fn *head_fn; /* for elements 0 ... n_head - 1 */
    int64_t n_head;
    int from, to; /* dtypes */
    size_t x_bytes, y_bytes;
    const char *x;
    char *y;
    bool truncate;
};

#define BLOCK 512

/* n elements from x to y, all before or all after the head's end. */
static void
cast_block(const struct work *w, cast_fn *fn, const char *x, char *y, int64_t n)
{
    bool widen = k_is_half(w->from), narrow = k_is_half(w->to);
    float a[BLOCK], b[BLOCK], *mid = widen ? a : b;
    const void *in = x;
    if (widen) {
        k_widen(w->from, x, a, n);
        in = a;
    }
    if (!narrow || !widen)
        fn(in, narrow ? (void *)b : y, n);
    for (int64_t k = 0; narrow && w->truncate && k < n; k++)
        if (mid[k] == mid[k])
            mid[k] = rt_bits_f32(rt_f32_bits(mid[k]) &
                                 (w->to == SM_HALF ? 0xffffe000u : 0xffff0000u));
    if (narrow)
        k_narrow(w->to, mid, y, n);
}

static void
cast_range(void *arg, int64_t begin, int64_t end)
{
    const struct work *w = arg;
    bool whole = !k_is_half(w->from) && !k_is_half(w->to);
    for (int64_t i = begin, n; i < end; i += n) {
        bool head = i < w->n_head;
        cast_fn *fn = head ? w->head_fn : w->fn;
        const char *x = w->x + (size_t)i * w->x_bytes;
        char *y = w->y + (size_t)i * w->y_bytes;
        n = head ? K_MIN(end, w->n_head) - i : end - i;
        if (whole) {
            fn(x, y, n);
        } else {
            n = K_MIN(n, BLOCK);
            cast_block(w, fn, x, y, n);
        }
    }
}

static void
set_head(struct work *w, int64_t n)
{
    const struct head *h = &heads[w->to];
    int64_t size = w->from == SM_FLOAT      ? h->n_f32
                   : w->from == SM_DOUBLE   ? h->n_f64
                   : w->from == SM_HALF     ? h->n_half
                   : w->from == SM_BFLOAT16 ? h->n_bf16
                                            : 0;
    w->head_fn = w->from == SM_DOUBLE ? h->f64 : h->f32;
    w->n_head = size ? n / size * size : 0;
}

int
rt_run_cast(struct rt_ctx *ctx, struct err *err)
{
    const struct cast_state *s = ctx->node->state;
    const struct rt_tensor *x = ctx->in[0];
    struct rt_tensor *y;
    int from = x->dtype, to = s->to;
    if (from == to) {
        rt_out_same(ctx, 0, x);
        return 0;
    }
    int f = k_is_half(from) ? SM_FLOAT : from, t = k_is_half(to) ? SM_FLOAT : to;
    struct work w = { .from = from, .to = to, .truncate = s->truncate };
    if (f < K_N_DTYPES && t < K_N_DTYPES)
        w.fn = casts[f][t];
    if (!w.fn)
        return rt_fail(ctx, err, ERR_UNSUPPORTED, "Cast %s to %s is not supported",
                       rt_dtype_text(from), rt_dtype_text(to));
    if (rt_out_reuse(ctx, 0, 0, to, x->rank, x->dims, &y, err) < 0)
        return -(int)err->code;
    w.x = x->data, w.x_bytes = rt_dtype_size(from);
    w.y = y->data, w.y_bytes = rt_dtype_size(to);
    set_head(&w, x->n_elems);
    rt_parallel_for(ctx, x->n_elems, K_GRAIN, cast_range, &w);
    return 0;
}

int
rt_prep_bitcast(struct rt_prep *p)
{
    int *type = p->node->state = rt_prep_alloc(p, sizeof(*type));
    *type = rt_attr_type(p, "type", RT_REQUIRED);
    return rt_prep_done(p);
}

/* To a smaller dtype: one more dimension; to a larger one: the last goes. */
int
rt_run_bitcast(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    int to = *(const int *)ctx->node->state, rank = x->rank;
    int64_t dims[SM_MAX_RANK];
    size_t from_bytes = rt_dtype_size(x->dtype), to_bytes = rt_dtype_size(to);
    char text[RT_SHAPE_TEXT_BYTES];
    if (to == SM_STRING || x->dtype == SM_STRING || k_is_obj(to) ||
        k_is_obj(x->dtype) || to_bytes == 0)
        return rt_fail_dtype(ctx, err, to);
    memcpy(dims, x->dims, sizeof(dims));
    if (from_bytes > to_bytes) {
        if (rank == SM_MAX_RANK)
            return rt_fail(ctx, err, ERR_UNSUPPORTED, "more than %d dimensions",
                           SM_MAX_RANK);
        dims[rank++] = (int64_t)(from_bytes / to_bytes);
    } else if (from_bytes < to_bytes) {
        if (rank == 0 || dims[rank - 1] != (int64_t)(to_bytes / from_bytes))
            return rt_fail(
                ctx, err, ERR_FAILED, "Cannot bitcast from %s to %s: shape %s",
                rt_dtype_text(x->dtype), rt_dtype_text(to), rt_shape_text(x, text));
        rank--;
    }
    if ((uintptr_t)x->data % K_MIN(to_bytes, 8) == 0) {
        rt_out_alias(ctx, 0, x, 0, to, rank, dims);
        return 0;
    }
    struct rt_tensor *y;
    if (rt_out(ctx, 0, to, rank, dims, &y, err) < 0)
        return -(int)err->code;
    memcpy(y->data, x->data, rt_size(x));
    return 0;
}
