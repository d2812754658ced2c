/* SPDX-License-Identifier: Apache-2.0 */
/* Select, SelectV2 and ClipByValue. */
#include "runtime/ops/math_binary.h"

struct e16 {
    uint64_t v[2];
};

/* y[i] = c[i] ? a[i * as] : b[i * bs], steps 0 or 1, n > 0. y may be a or b where its
 * step is 1. (Both are read first, so that the choice is no branch.) */
#define CHOOSE_LINE(type, first, second)                                               \
    K_VECTOR                                                                           \
    for (int64_t i = 0; i < n; i++) {                                                  \
        type u = first, v = second;                                                    \
        y[i] = c[i] ? u : v;                                                           \
    }
#define CHOOSE(name, type)                                                             \
    RT_SIMD static void name(const uint8_t *c, const void *pa, int64_t as,             \
                             const void *pb, int64_t bs, void *py, int64_t n)          \
    {                                                                                  \
        const type *a = pa, *b = pb;                                                   \
        type *y = py, a0 = *a, b0 = *b;                                                \
        if (as && bs) {                                                                \
            CHOOSE_LINE(type, a[i], b[i])                                              \
        } else if (as) {                                                               \
            CHOOSE_LINE(type, a[i], b0)                                                \
        } else if (bs) {                                                               \
            CHOOSE_LINE(type, a0, b[i])                                                \
        } else {                                                                       \
            CHOOSE_LINE(type, a0, b0)                                                  \
        }                                                                              \
    }
CHOOSE(choose1, uint8_t)
CHOOSE(choose2, uint16_t)
CHOOSE(choose4, uint32_t)
CHOOSE(choose8, uint64_t)
CHOOSE(choose16, struct e16)

static void
choose(const uint8_t *c, const void *a, int64_t as, const void *b, int64_t bs, void *y,
       int64_t n, size_t elem)
{
    if (n == 0)
        return;
    switch (elem) {
    case 1:
        choose1(c, a, as, b, bs, y, n);
        return;
    case 2:
        choose2(c, a, as, b, bs, y, n);
        return;
    case 4:
        choose4(c, a, as, b, bs, y, n);
        return;
    case 8:
        choose8(c, a, as, b, bs, y, n);
        return;
    default:
        choose16(c, a, as, b, bs, y, n);
    }
}

/* Condition a scalar, one bool a row, or of the same shape; t and e of one shape. */
int
rt_run_select(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *c = ctx->in[0], *t = ctx->in[1], *e = ctx->in[2];
    const uint8_t *cond = c->data;
    char a[RT_SHAPE_TEXT_BYTES], b[RT_SHAPE_TEXT_BYTES];
    struct rt_tensor *y;
    bool rows = c->rank == 1 && t->rank >= 1 && c->n_elems == t->dims[0];
    if (!rt_same_shape(t, e))
        return rt_fail(
            ctx, err, ERR_FAILED,
            "'then' and 'else' must have the same size. but received: %s vs. %s",
            rt_shape_text(t, a), rt_shape_text(e, b));
    if (c->rank == 0) {
        rt_out_same(ctx, 0, *cond ? t : e);
        return 0;
    }
    if (!rows && !rt_same_shape(c, t))
        return rt_fail(
            ctx, err, ERR_FAILED,
            "'cond' must be a scalar, a vector of the first dimension's size or of "
            "the shape of 'then': %s vs. %s",
            rt_shape_text(c, a), rt_shape_text(t, b));
    if (rt_out(ctx, 0, t->dtype, t->rank, t->dims, &y, err) < 0)
        return -(int)err->code;
    size_t elem = rt_dtype_size(t->dtype);
    if (rt_same_shape(c, t)) {
        choose(cond, t->data, 1, e->data, 1, y->data, y->n_elems, elem);
    } else {
        size_t n = (size_t)k_count(t->dims, 1, t->rank) * elem;
        for (int64_t i = 0; i < c->n_elems && n > 0; i++)
            memcpy((char *)y->data + (size_t)i * n,
                   (const char *)(cond[i] ? t : e)->data + (size_t)i * n, n);
    }
    k_own(y);
    return 0;
}

/* All three broadcast. */
int
rt_run_select_v2(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *c = ctx->in[0], *t = ctx->in[1], *e = ctx->in[2];
    int64_t mid[SM_MAX_RANK], dims[SM_MAX_RANK];
    int rank = 0, mid_rank = 0;
    char ta[RT_SHAPE_TEXT_BYTES], tb[RT_SHAPE_TEXT_BYTES], tc[RT_SHAPE_TEXT_BYTES];
    struct rt_tensor *y;
    if (!k_broadcast(t->rank, t->dims, e->rank, e->dims, &mid_rank, mid) ||
        !k_broadcast(c->rank, c->dims, mid_rank, mid, &rank, dims))
        return rt_fail(ctx, err, ERR_FAILED,
                       "condition %s, then %s, and else %s must be broadcastable",
                       rt_shape_text(c, ta), rt_shape_text(t, tb),
                       rt_shape_text(e, tc));
    const struct rt_tensor *whole = c->n_elems != 1       ? NULL
                                    : *(uint8_t *)c->data ? t
                                                          : e;
    if (whole && whole->rank == rank &&
        (rank == 0 || memcmp(whole->dims, dims, (size_t)rank * sizeof(dims[0])) == 0)) {
        rt_out_same(ctx, 0, whole);
        return 0;
    }
    int64_t n = k_count(dims, 0, rank);
    /* In place of the branch that has the output's shape: an element of it is read
     * before its place is written. */
    int from = t->n_elems == n ? 1 : 2;
    const uint8_t *cond = k_spread(ctx, c, rank, dims, err);
    const void *a =
        cond ? (t->n_elems == 1 ? t->data : k_spread(ctx, t, rank, dims, err)) : NULL;
    const void *b =
        a ? (e->n_elems == 1 ? e->data : k_spread(ctx, e, rank, dims, err)) : NULL;
    if (!b || rt_out_reuse(ctx, 0, from, t->dtype, rank, dims, &y, err) < 0)
        return -(int)err->code;
    choose(cond, a, t->n_elems != 1 || n == 1, b, e->n_elems != 1 || n == 1, y->data, n,
           rt_dtype_size(t->dtype));
    k_own(y);
    return 0;
}

/* min(max(t, low), high) in the sense of Maximum and Minimum; bounds of t's shape or
 * scalars, low winning where they cross. */
int
rt_run_clip_by_value(struct rt_ctx *ctx, struct err *err)
{
    const struct k_binary *max = k_binary_row("Maximum"),
                          *min = k_binary_row("Minimum");
    const struct rt_tensor *x = ctx->in[0];
    const void *bound[3];
    char a[RT_SHAPE_TEXT_BYTES], b[RT_SHAPE_TEXT_BYTES];
    struct rt_tensor *y;
    for (int i = 1; i < 3; i++) {
        if (ctx->in[i]->rank != 0 && !rt_same_shape(ctx->in[i], x))
            return rt_fail(
                ctx, err, ERR_FAILED,
                "clip_value_min and clip_value_max must be either of the same "
                "shape as input, or a scalar. input shape: %s bound's shape: %s",
                rt_shape_text(x, a), rt_shape_text(ctx->in[i], b));
        bound[i] = k_spread(ctx, ctx->in[i], x->rank, x->dims, err);
        if (!bound[i])
            return -(int)err->code;
    }
    if (rt_out_reuse(ctx, 0, 0, x->dtype, x->rank, x->dims, &y, err) < 0 ||
        k_apply(ctx, min, x->dtype, x->data, bound[2], y->data, y->n_elems, err) < 0)
        return -(int)err->code;
    return k_apply(ctx, max, x->dtype, y->data, bound[1], y->data, y->n_elems, err);
}
