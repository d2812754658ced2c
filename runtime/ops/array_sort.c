/* SPDX-License-Identifier: Apache-2.0 */
/* The largest and the smallest: TopK, NthElement, InTopK, ArgMax, ArgMin. Real dtypes.
 * Of equal values the one with the lower index comes first. */
#include "runtime/ops/ops_int.h"

#include <math.h>

/* A value as an integer of the same order; -0 is 0, and NaN above all. */
static inline uint64_t
float_key(double v)
{
    uint64_t u;
    v = v == 0 ? 0 : v;
    memcpy(&u, &v, sizeof(u));
    if (v != v)
        return UINT64_MAX;
    return u >> 63 ? ~u : u | 1ull << 63;
}

RT_SIMD static void
keys_f32(const float *x, int64_t n, uint64_t *key)
{
    K_VECTOR
    for (int64_t i = 0; i < n; i++) {
        uint32_t u = rt_f32_bits(x[i]), sign = u >> 31, size = u & 0x7fffffffu;
        uint32_t k = size == 0 ? 0x80000000u : sign ? ~u : u | 0x80000000u;
        key[i] = size > 0x7f800000u ? UINT32_MAX : k;
    }
}

/* Keys of n elements from element `at` on; false: no order. */
static bool
make_keys(const struct rt_tensor *x, int64_t at, int64_t n, uint64_t *key)
{
    float f;
    switch (x->dtype) {
    case SM_FLOAT:
        keys_f32((const float *)x->data + at, n, key);
        return true;
    case SM_DOUBLE:
        for (int64_t i = 0; i < n; i++)
            key[i] = float_key(((const double *)x->data)[at + i]);
        return true;
#define X(dtype, type, sfx)                                                            \
    case dtype:                                                                        \
        for (int64_t i = 0; i < n; i++)                                                \
            key[i] = KEY(((const type *)x->data)[at + i]);                             \
        return true;
#define KEY(v) (uint64_t)(int64_t)(v) ^ 1ull << 63
        K_SINTS(X)
#undef KEY
#define KEY(v) (uint64_t)(v)
        K_UINTS(X)
#undef KEY
#undef X
    case SM_HALF:
    case SM_BFLOAT16:
        for (int64_t i = 0; i < n; i++) {
            k_widen(x->dtype, (const uint16_t *)x->data + at + i, &f, 1);
            key[i] = float_key((double)f);
        }
        return true;
    }
    return false;
}

/* ---- TopK ------------------------------------------------------------------------ */

struct top {
    const uint64_t *key;
    int64_t *heap; /* indices; the worst of them first */
    int64_t n;
};

/* a comes after b in the answer */
static inline bool
worse(const struct top *t, int64_t a, int64_t b)
{
    return t->key[a] != t->key[b] ? t->key[a] < t->key[b] : a > b;
}

static void
sift_down(struct top *t, int64_t i)
{
    int64_t v = t->heap[i];
    for (int64_t c; (c = 2 * i + 1) < t->n; i = c) {
        if (c + 1 < t->n && worse(t, t->heap[c + 1], t->heap[c]))
            c++;
        if (!worse(t, t->heap[c], v))
            break;
        t->heap[i] = t->heap[c];
    }
    t->heap[i] = v;
}

/* The k best of n keys, best first, in heap. */
static void
find_top(const uint64_t *key, int64_t n, int64_t k, int64_t *heap)
{
    struct top t = { key, heap, k };
    if (k == 0)
        return;
    for (int64_t i = 0; i < k; i++)
        heap[i] = i;
    for (int64_t i = k / 2 - 1; i >= 0; i--)
        sift_down(&t, i);
    for (int64_t i = k; i < n; i++) {
        if (key[i] <= key[heap[0]]) /* an equal one comes later */
            continue;
        heap[0] = i;
        sift_down(&t, 0);
    }
    while (t.n > 1) { /* the worst goes to the end */
        int64_t worst = heap[0];
        heap[0] = heap[--t.n];
        heap[t.n] = worst;
        sift_down(&t, 0);
    }
}

struct top_state {
    int64_t k; /* of TopK; TopKV2 has an input */
    int index_type;
};

int
rt_prep_top_k(struct rt_prep *p)
{
    struct top_state *s = p->node->state = rt_prep_alloc(p, sizeof(*s));
    s->k = rt_attr_int(p, "k", -1);
    s->index_type = rt_attr_type(p, "index_type", SM_INT32);
    if (s->index_type != SM_INT32 && s->index_type != SM_INT64 &&
        s->index_type != SM_INT16)
        rt_prep_fail(p, ERR_UNSUPPORTED, "index_type %s", rt_dtype_text(s->index_type));
    return rt_prep_done(p);
}

/* Along the last dimension; always sorted, which `sorted = false` allows too. */
int
rt_run_top_k(struct rt_ctx *ctx, struct err *err)
{
    const struct top_state *s = ctx->node->state;
    const struct rt_tensor *x = ctx->in[0];
    struct rt_tensor *values, *indices;
    int64_t k = s->k, dims[SM_MAX_RANK];
    if (ctx->node->n_in > 1 && k_scalar(ctx, 1, "k", &k, err) < 0)
        return -(int)err->code;
    if (k < 0)
        return rt_fail(ctx, err, ERR_FAILED, "Need k >= 0, got %lld", (long long)k);
    if (x->rank < 1)
        return rt_fail(ctx, err, ERR_FAILED, "input must be >= 1-D, got shape []");
    int64_t n = x->dims[x->rank - 1], rows = n ? x->n_elems / n : 0;
    if (n < k)
        return rt_fail(ctx, err, ERR_FAILED,
                       "input must have at least k columns. Had %lld, needed %lld",
                       (long long)n, (long long)k);
    memcpy(dims, x->dims, sizeof(dims));
    dims[x->rank - 1] = k;
    uint64_t *key = rt_scratch(ctx, (size_t)n * sizeof(*key), err);
    int64_t *top = key ? rt_scratch(ctx, (size_t)k * sizeof(*top), err) : NULL;
    if (!top || rt_out(ctx, 0, x->dtype, x->rank, dims, &values, err) < 0 ||
        rt_out(ctx, 1, s->index_type, x->rank, dims, &indices, err) < 0)
        return -(int)err->code;
    if (!make_keys(x, 0, 0, key))
        return rt_fail_dtype(ctx, err, x->dtype);
    size_t elem = rt_dtype_size(x->dtype);
    for (int64_t r = 0; r < rows; r++) {
        make_keys(x, r * n, n, key);
        find_top(key, n, k, top);
        for (int64_t i = 0; i < k; i++) {
            memcpy((char *)values->data + (size_t)(r * k + i) * elem,
                   (const char *)x->data + (size_t)(r * n + top[i]) * elem, elem);
            if (indices->dtype == SM_INT16)
                ((int16_t *)indices->data)[r * k + i] = (int16_t)top[i];
            else
                k_put_int(indices, r * k + i, top[i]);
        }
    }
    return 0;
}

/* ---- NthElement ------------------------------------------------------------------ */

int
rt_prep_nth_element(struct rt_prep *p)
{
    bool *reverse = p->node->state = rt_prep_alloc(p, sizeof(*reverse));
    *reverse = rt_attr_bool(p, "reverse", false);
    return rt_prep_done(p);
}

/* The n-th smallest (reverse: largest) of each row, from 0. */
int
rt_run_nth_element(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    bool reverse = *(const bool *)ctx->node->state;
    int64_t k = 0;
    struct rt_tensor *y;
    if (k_scalar(ctx, 1, "N", &k, err) < 0)
        return -(int)err->code;
    if (k < 0)
        return rt_fail(ctx, err, ERR_FAILED, "n must be non-negative but is %lld",
                       (long long)k);
    if (x->rank < 1 || k >= x->dims[x->rank - 1])
        return rt_fail(ctx, err, ERR_FAILED,
                       "Input must have last dimension > n = %lld", (long long)k);
    int64_t n = x->dims[x->rank - 1], rows = x->n_elems / n;
    int64_t rank_from_top = reverse ? k : n - 1 - k;
    uint64_t *key = rt_scratch(ctx, (size_t)n * sizeof(*key), err);
    int64_t *top = key ? rt_scratch(ctx, (size_t)n * sizeof(*top), err) : NULL;
    if (!top || rt_out(ctx, 0, x->dtype, x->rank - 1, x->dims, &y, err) < 0)
        return -(int)err->code;
    if (!make_keys(x, 0, 0, key))
        return rt_fail_dtype(ctx, err, x->dtype);
    size_t elem = rt_dtype_size(x->dtype);
    for (int64_t r = 0; r < rows; r++) {
        make_keys(x, r * n, n, key);
        find_top(key, n, rank_from_top + 1, top);
        memcpy((char *)y->data + (size_t)r * elem,
               (const char *)x->data + (size_t)(r * n + top[rank_from_top]) * elem,
               elem);
    }
    return 0;
}

/* ---- InTopK ---------------------------------------------------------------------- */

/* True where fewer than k classes are predicted higher than the target; false for a
 * target out of range, and for rows in which a value that counts is not finite. */
int
rt_run_in_top_k(struct rt_ctx *ctx, struct err *err)
{
    const struct top_state *s = ctx->node->state;
    const struct rt_tensor *x = ctx->in[0], *t = ctx->in[1];
    int64_t k = s->k;
    struct rt_tensor *y;
    if (ctx->node->n_in > 2 && k_scalar(ctx, 2, "k", &k, err) < 0)
        return -(int)err->code;
    if (x->rank != 2 || t->rank != 1 || x->dims[0] != t->dims[0])
        return rt_fail(
            ctx, err, ERR_FAILED,
            "predictions must be 2-dimensional, targets 1-dimensional, of one "
            "first dimension");
    if (rt_out(ctx, 0, SM_BOOL, 1, t->dims, &y, err) < 0)
        return -(int)err->code;
    int64_t n = x->dims[1];
    for (int64_t r = 0; r < t->n_elems; r++) {
        const float *row = (const float *)x->data + r * n;
        int64_t target = rt_int_at(t, r), better = 0;
        bool known = target >= 0 && target < n && isfinite(row[target]);
        for (int64_t i = 0; i < n && known; i++) {
            known = isfinite(row[i]);
            better += row[i] > row[target];
        }
        ((uint8_t *)y->data)[r] = known && better < k;
    }
    return 0;
}

/* ---- ArgMax, ArgMin -------------------------------------------------------------- */

int
rt_prep_arg(struct rt_prep *p)
{
    int *type = p->node->state = rt_prep_alloc(p, sizeof(*type));
    *type = rt_attr_type(p, "output_type", SM_INT64);
    if (*type != SM_INT32 && *type != SM_INT64 && *type != SM_INT16 &&
        *type != SM_UINT16)
        rt_prep_fail(p, ERR_UNSUPPORTED, "output_type %s", rt_dtype_text(*type));
    return rt_prep_done(p);
}

/* at[j] for columns j of x [n, inner]: the first row with the best value. As in
 * TensorFlow the first to beat is the worst finite value, so NaN never wins, nor does
 * an infinity of the wrong sign. */
#define ARG(name, type, better, worst)                                                 \
    static void name(const void *px, int64_t n, int64_t inner, int64_t *at)            \
    {                                                                                  \
        const type *x = px;                                                            \
        for (int64_t j = 0; j < inner; j++) {                                          \
            int64_t arg = 0;                                                           \
            type best = worst;                                                         \
            for (int64_t i = 0; i < n; i++) {                                          \
                type v = x[i * inner + j];                                             \
                if (v better best) {                                                   \
                    best = v;                                                          \
                    arg = i;                                                           \
                }                                                                      \
            }                                                                          \
            at[j] = arg;                                                               \
        }                                                                              \
    }
#define X(dtype, type, sfx)                                                            \
    ARG(argmax_##sfx, type, >, (type)((uint64_t)1 << (8 * sizeof(type) - 1)))          \
    ARG(argmin_##sfx, type, <, (type)(((uint64_t)1 << (8 * sizeof(type) - 1)) - 1))
K_SINTS(X)
#undef X
#define X(dtype, type, sfx)                                                            \
    ARG(argmax_##sfx, type, >, 0) ARG(argmin_##sfx, type, <, (type)-1)
K_UINTS(X)
#undef X
ARG(argmax_f32, float, >, -3.40282347e38f)
ARG(argmin_f32, float, <, 3.40282347e38f)
ARG(argmax_f64, double, >, -1.7976931348623157e308)
ARG(argmin_f64, double, <, 1.7976931348623157e308)

typedef void arg_fn(const void *x, int64_t n, int64_t inner, int64_t *at);

static arg_fn *
arg_fn_of(int dtype, bool max)
{
    switch (dtype) {
#define X(dt, type, sfx)                                                               \
    case dt:                                                                           \
        return max ? argmax_##sfx : argmin_##sfx;
        K_REALS(X)
#undef X
    case SM_BOOL:
        return max ? argmax_u8 : argmin_u8;
    case SM_HALF:
    case SM_BFLOAT16:
        return max ? argmax_f32 : argmin_f32;
    }
    return NULL;
}

int
rt_run_arg(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    arg_fn *fn =
        arg_fn_of(x->dtype, ctx->node->op[3] == 'M' && ctx->node->op[4] == 'a');
    int64_t at, dims[SM_MAX_RANK];
    int axis = 0;
    char text[RT_SHAPE_TEXT_BYTES];
    struct rt_tensor *y;
    if (!fn)
        return rt_fail_dtype(ctx, err, x->dtype);
    if (k_scalar(ctx, 1, "dim", &at, err) < 0 ||
        k_axis(ctx, at, x->rank, &axis, err) < 0)
        return -(int)err->code;
    if (x->dims[axis] == 0)
        return rt_fail(ctx, err, ERR_FAILED, "Reduction axis %d is empty in shape %s",
                       axis, rt_shape_text(x, text));
    for (int i = 0; i < x->rank - 1; i++)
        dims[i] = x->dims[i < axis ? i : i + 1];
    if (rt_out(ctx, 0, *(const int *)ctx->node->state, x->rank - 1, dims, &y, err) < 0)
        return -(int)err->code;
    int64_t n = x->dims[axis], inner = k_count(x->dims, axis + 1, x->rank);
    bool half = k_is_half(x->dtype);
    const char *from = half ? (const void *)k_floats(ctx, x, err) : x->data;
    int64_t *found = rt_scratch(ctx, (size_t)inner * sizeof(*found), err);
    size_t elem = half ? sizeof(float) : rt_dtype_size(x->dtype);
    if (!from || !found)
        return -(int)err->code;
    for (int64_t o = 0; o * inner < y->n_elems; o++) {
        fn(from + (size_t)(o * n * inner) * elem, n, inner, found);
        for (int64_t j = 0; j < inner; j++) {
            if (y->dtype == SM_INT16 || y->dtype == SM_UINT16)
                ((int16_t *)y->data)[o * inner + j] = (int16_t)found[j];
            else
                k_put_int(y, o * inner + j, found[j]);
        }
    }
    return 0;
}
