/* SPDX-License-Identifier: Apache-2.0 */
/* Ops that make or change shapes and move no elements; and fills. Every dtype. */
#include "runtime/ops/array_slice.h"

/* ---- Shape, ShapeN, Size, Rank --------------------------------------------------- */

struct shape_state {
    int out_type;
};

int
rt_prep_shape(struct rt_prep *p)
{
    struct shape_state *s = p->node->state = rt_prep_alloc(p, sizeof(*s));
    s->out_type = rt_attr_type(p, "out_type", SM_INT32);
    if (s->out_type != SM_INT32 && s->out_type != SM_INT64)
        rt_prep_fail(p, ERR_UNSUPPORTED, "out_type %s", rt_dtype_text(s->out_type));
    return rt_prep_done(p);
}

static int
too_big(struct rt_ctx *ctx, struct err *err, int dtype, const char *what, int64_t v)
{
    if (dtype == SM_INT64 || v <= INT32_MAX)
        return 0;
    return rt_fail(ctx, err, ERR_FAILED,
                   "%s output type is 32-bit, but the value is %lld: it does not fit",
                   what, (long long)v);
}

/* Shape (one input) and ShapeN: vectors of dims. */
int
rt_run_shape(struct rt_ctx *ctx, struct err *err)
{
    const struct shape_state *s = ctx->node->state;
    if (ctx->node->n_out != ctx->node->n_in)
        return rt_fail(ctx, err, ERR_FAILED, "%d inputs for %d outputs",
                       ctx->node->n_in, ctx->node->n_out);
    for (int k = 0; k < ctx->node->n_in; k++) {
        const struct rt_tensor *x = ctx->in[k];
        struct rt_tensor *y;
        int64_t n = x->rank;
        if (rt_out(ctx, k, s->out_type, 1, &n, &y, err) < 0)
            return -(int)err->code;
        for (int i = 0; i < x->rank; i++) {
            if (too_big(ctx, err, s->out_type, "Shape", x->dims[i]) < 0)
                return -(int)err->code;
            k_put_int(y, i, x->dims[i]);
        }
    }
    return 0;
}

int
rt_run_size(struct rt_ctx *ctx, struct err *err)
{
    const struct shape_state *s = ctx->node->state;
    struct rt_tensor *y;
    if (too_big(ctx, err, s->out_type, "Size", ctx->in[0]->n_elems) < 0 ||
        rt_out(ctx, 0, s->out_type, 0, NULL, &y, err) < 0)
        return -(int)err->code;
    k_put_int(y, 0, ctx->in[0]->n_elems);
    return 0;
}

int
rt_run_rank(struct rt_ctx *ctx, struct err *err)
{
    struct rt_tensor *y;
    if (rt_out(ctx, 0, SM_INT32, 0, NULL, &y, err) < 0)
        return -(int)err->code;
    k_put_int(y, 0, ctx->in[0]->rank);
    return 0;
}

/* ---- Reshape, ExpandDims, Squeeze, EnsureShape ----------------------------------- */

/* One dim may be -1: what is left over; beside a 0, zeros of the input do not count. */
int
rt_run_reshape(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0], *shape = ctx->in[1];
    int64_t dims[SM_MAX_RANK], known = 1, have = 1;
    int rank = (int)K_MIN(shape->n_elems, SM_MAX_RANK), free_dim = -1;
    bool has_zero = false;
    char a[RT_SHAPE_TEXT_BYTES], b[RT_SHAPE_TEXT_BYTES];
    if (shape->rank > 1)
        return rt_fail(ctx, err, ERR_FAILED, "sizes input must be 1-D, not %s",
                       rt_shape_text(shape, a));
    if (shape->n_elems > SM_MAX_RANK)
        return rt_fail(ctx, err, ERR_UNSUPPORTED,
                       "reshape to %lld dimensions, at most %d",
                       (long long)shape->n_elems, SM_MAX_RANK);
    for (int i = 0; i < rank; i++) {
        dims[i] = rt_int_at(shape, i);
        if (dims[i] == -1 && free_dim >= 0)
            return rt_fail(ctx, err, ERR_FAILED,
                           "Only one input size may be -1, not both %d and %d",
                           free_dim, i);
        if (dims[i] < -1)
            return rt_fail(ctx, err, ERR_FAILED,
                           "Size %d must be non-negative, not %lld", i,
                           (long long)dims[i]);
        if (dims[i] == -1)
            free_dim = i;
        else if (dims[i] == 0)
            has_zero = true;
        else if (__builtin_mul_overflow(known, dims[i], &known))
            return rt_fail(ctx, err, ERR_FAILED, "the requested shape is too large");
    }
    for (int i = 0; i < x->rank; i++)
        if (x->dims[i] != 0 || !has_zero)
            have *= x->dims[i];
    if (free_dim >= 0) {
        dims[free_dim] = have / known;
        if (dims[free_dim] * known != have && (x->n_elems > 0 || !has_zero))
            return rt_fail(
                ctx, err, ERR_FAILED,
                "Input to reshape is a tensor with %lld values, but the requested "
                "shape requires a multiple of %lld",
                (long long)x->n_elems, (long long)known);
    }
    int64_t n = k_count(dims, 0, rank);
    if (n != x->n_elems)
        return rt_fail(
            ctx, err, ERR_FAILED,
            "Input to reshape is a tensor with %lld values, but the requested "
            "shape has %lld (%s to %s)",
            (long long)x->n_elems, (long long)n, rt_shape_text(x, a),
            rt_dims_text(rank, dims, b));
    rt_out_alias(ctx, 0, x, 0, x->dtype, rank, dims);
    return 0;
}

int
rt_run_expand_dims(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    int64_t dims[SM_MAX_RANK], at;
    if (k_scalar(ctx, 1, "'dim'", &at, err) < 0)
        return -(int)err->code;
    if (at < -1 - x->rank || at > x->rank)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Tried to expand dim index %lld for tensor with %d dimensions.",
                       (long long)at, x->rank);
    if (x->rank == SM_MAX_RANK)
        return rt_fail(ctx, err, ERR_UNSUPPORTED, "more than %d dimensions",
                       SM_MAX_RANK);
    if (at < 0)
        at += x->rank + 1;
    for (int i = 0; i <= x->rank; i++)
        dims[i] = i < at ? x->dims[i] : i == at ? 1 : x->dims[i - 1];
    rt_out_alias(ctx, 0, x, 0, x->dtype, x->rank + 1, dims);
    return 0;
}

int
rt_prep_squeeze(struct rt_prep *p)
{
    struct squeeze_state *s = p->node->state = rt_prep_alloc(p, sizeof(*s));
    s->dims = rt_attr_ints(p, "squeeze_dims", &s->n);
    return rt_prep_done(p);
}

int
rt_run_squeeze(struct rt_ctx *ctx, struct err *err)
{
    const struct squeeze_state *s = ctx->node->state;
    const struct rt_tensor *x = ctx->in[0];
    bool named[SM_MAX_RANK] = { false };
    int64_t dims[SM_MAX_RANK];
    int rank = 0;
    for (int i = 0; i < s->n; i++) {
        int64_t d = s->dims[i];
        if (d < -x->rank || d >= x->rank)
            return rt_fail(
                ctx, err, ERR_FAILED,
                "Tried to squeeze dim index %lld for tensor with %d dimensions.",
                (long long)d, x->rank);
        named[d < 0 ? d + x->rank : d] = true;
    }
    for (int i = 0; i < x->rank; i++) {
        if (named[i] && x->dims[i] != 1)
            return rt_fail(
                ctx, err, ERR_FAILED,
                "Can not squeeze dim[%d], expected a dimension of 1, got %lld", i,
                (long long)x->dims[i]);
        if (s->n > 0 ? !named[i] : x->dims[i] != 1)
            dims[rank++] = x->dims[i];
    }
    rt_out_alias(ctx, 0, x, 0, x->dtype, rank, dims);
    return 0;
}

int
rt_prep_ensure_shape(struct rt_prep *p)
{
    struct sm_shape *s = p->node->state = rt_prep_alloc(p, sizeof(*s));
    *s = rt_attr_shape(p, "shape");
    return rt_prep_done(p);
}

int
rt_run_ensure_shape(struct rt_ctx *ctx, struct err *err)
{
    const struct sm_shape *s = ctx->node->state;
    const struct rt_tensor *x = ctx->in[0];
    bool fits = s->unknown_rank || s->rank == x->rank;
    for (int i = 0; fits && !s->unknown_rank && i < s->rank; i++)
        fits = s->dims[i] < 0 || s->dims[i] == x->dims[i];
    if (!fits) {
        char got[RT_SHAPE_TEXT_BYTES], want[RT_SHAPE_TEXT_BYTES];
        return rt_fail(
            ctx, err, ERR_FAILED,
            "Shape of tensor %s %s is not compatible with expected shape %s.",
            ctx->node->name, rt_shape_text(x, got),
            rt_dims_text(s->rank, s->dims, want));
    }
    rt_out_same(ctx, 0, x);
    return 0;
}

/* ---- ZerosLike, OnesLike, Fill, Empty -------------------------------------------- */

/* The bytes of 1 in a dtype; false: the dtype has none. */
static bool
one_of(int dtype, void *out)
{
    memset(out, 0, 16);
    switch (dtype) {
#define X(dt, type, sfx)                                                               \
    case dt: {                                                                         \
        type v = 1;                                                                    \
        memcpy(out, &v, sizeof(v));                                                    \
        return true;                                                                   \
    }
        K_NUMBERS(X)
#undef X
    case SM_BOOL:
        *(uint8_t *)out = 1;
        return true;
    case SM_HALF:
        memcpy(out, &(uint16_t){ 0x3c00 }, 2);
        return true;
    case SM_BFLOAT16:
        memcpy(out, &(uint16_t){ 0x3f80 }, 2);
        return true;
    }
    return false;
}

int
rt_run_zeros_like(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    struct rt_tensor *y;
    char one[16] = { 0 };
    if (k_is_obj(x->dtype) || (ctx->node->op[0] == 'O' && !one_of(x->dtype, one)))
        return rt_fail_dtype(ctx, err, x->dtype);
    if (rt_out_reuse(ctx, 0, 0, x->dtype, x->rank, x->dims, &y, err) < 0)
        return -(int)err->code;
    k_fill(y->data, one, y->n_elems, rt_dtype_size(x->dtype));
    return 0;
}

int
rt_run_fill(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[1];
    int64_t dims[SM_MAX_RANK];
    struct rt_tensor *y;
    char text[RT_SHAPE_TEXT_BYTES];
    int rank;
    if (x->n_elems != 1)
        return rt_fail(ctx, err, ERR_FAILED, "value must be a scalar, got shape %s",
                       rt_shape_text(x, text));
    if (ctx->in[0]->rank == 0 && ctx->in[0]->n_elems == 1) { /* an old graph's scalar */
        rank = 1;
        dims[0] = rt_int_at(ctx->in[0], 0);
        if (dims[0] < 0)
            return rt_fail(ctx, err, ERR_FAILED, "Dimension %lld must be >= 0",
                           (long long)dims[0]);
    } else if (k_shape_in(ctx, 0, "dims", &rank, dims, err) < 0) {
        return -(int)err->code;
    }
    if (rt_out(ctx, 0, x->dtype, rank, dims, &y, err) < 0)
        return -(int)err->code;
    k_fill(y->data, x->data, y->n_elems, rt_dtype_size(x->dtype));
    k_own(y);
    return 0;
}

int
rt_prep_empty(struct rt_prep *p)
{
    int *dtype = p->node->state = rt_prep_alloc(p, sizeof(*dtype));
    *dtype = rt_attr_type(p, "dtype", RT_REQUIRED);
    return rt_prep_done(p);
}

/* Always of zeros: what TensorFlow leaves undefined must not differ from run to run. */
int
rt_run_empty(struct rt_ctx *ctx, struct err *err)
{
    int64_t dims[SM_MAX_RANK];
    struct rt_tensor *y;
    int rank;
    if (k_shape_in(ctx, 0, "shape", &rank, dims, err) < 0 ||
        rt_out(ctx, 0, *(const int *)ctx->node->state, rank, dims, &y, err) < 0)
        return -(int)err->code;
    memset(y->data, 0, rt_size(y));
    return 0;
}

/* ---- BroadcastArgs, BroadcastGradientArgs, ConcatOffset -------------------------- */

static int
two_shapes(struct rt_ctx *ctx, int ranks[2], int64_t dims[2][SM_MAX_RANK],
           struct err *err)
{
    for (int k = 0; k < 2; k++)
        if (k_shape_in(ctx, k, k ? "s1" : "s0", &ranks[k], dims[k], err) < 0)
            return -(int)err->code;
    return 0;
}

static int
bad_broadcast(struct rt_ctx *ctx, int ranks[2], int64_t dims[2][SM_MAX_RANK],
              struct err *err)
{
    char a[RT_SHAPE_TEXT_BYTES], b[RT_SHAPE_TEXT_BYTES];
    return rt_fail(ctx, err, ERR_FAILED, "Incompatible shapes: %s vs. %s",
                   rt_dims_text(ranks[0], dims[0], a),
                   rt_dims_text(ranks[1], dims[1], b));
}

int
rt_run_broadcast_args(struct rt_ctx *ctx, struct err *err)
{
    int64_t dims[2][SM_MAX_RANK], both[SM_MAX_RANK];
    int ranks[2], rank;
    struct rt_tensor *y;
    if (two_shapes(ctx, ranks, dims, err) < 0)
        return -(int)err->code;
    if (!k_broadcast(ranks[0], dims[0], ranks[1], dims[1], &rank, both))
        return bad_broadcast(ctx, ranks, dims, err);
    if (rt_out(ctx, 0, ctx->in[0]->dtype, 1, &(int64_t){ rank }, &y, err) < 0)
        return -(int)err->code;
    for (int i = 0; i < rank; i++)
        k_put_int(y, i, both[i]);
    return 0;
}

/* Which dimensions of the broadcast shape each operand is summed over to go back. */
int
rt_run_broadcast_gradient_args(struct rt_ctx *ctx, struct err *err)
{
    int64_t dims[2][SM_MAX_RANK], both[SM_MAX_RANK];
    int ranks[2], rank;
    if (two_shapes(ctx, ranks, dims, err) < 0)
        return -(int)err->code;
    if (!k_broadcast(ranks[0], dims[0], ranks[1], dims[1], &rank, both))
        return bad_broadcast(ctx, ranks, dims, err);
    bool same = ranks[0] == ranks[1] &&
                memcmp(dims[0], dims[1], (size_t)rank * sizeof(both[0])) == 0;
    for (int k = 0; k < 2; k++) {
        int64_t axes[SM_MAX_RANK], n = 0;
        struct rt_tensor *y;
        for (int i = 0; i < rank && !same; i++) {
            int own = i - (rank - ranks[k]), other = i - (rank - ranks[!k]);
            int64_t mine = own < 0 ? 1 : dims[k][own];
            int64_t theirs = other < 0 ? 1 : dims[!k][other];
            if (mine == 1 && (own < 0 || theirs != 1 || other < 0 || both[i] == 1))
                axes[n++] = i;
        }
        if (rt_out(ctx, k, ctx->in[0]->dtype, 1, &n, &y, err) < 0)
            return -(int)err->code;
        for (int64_t i = 0; i < n; i++)
            k_put_int(y, i, axes[i]);
    }
    return 0;
}

/* Where each of the shapes begins when tensors of these shapes are joined. */
int
rt_run_concat_offset(struct rt_ctx *ctx, struct err *err)
{
    int64_t axis, sum = 0;
    int at;
    if (ctx->node->n_in < 2 || ctx->node->n_out != ctx->node->n_in - 1)
        return rt_fail(ctx, err, ERR_FAILED, "%d shapes for %d outputs",
                       ctx->node->n_in - 1, ctx->node->n_out);
    const struct rt_tensor *first = ctx->in[1];
    if (k_scalar(ctx, 0, "Concat dim tensor", &axis, err) < 0 ||
        k_axis(ctx, axis, (int)K_MIN(first->n_elems, SM_MAX_RANK), &at, err) < 0)
        return -(int)err->code;
    for (int k = 1; k < ctx->node->n_in; k++) {
        const struct rt_tensor *x = ctx->in[k];
        struct rt_tensor *y;
        if (x->rank != 1 || x->n_elems != first->n_elems)
            return rt_fail(ctx, err, ERR_FAILED,
                           "input %d should contain %lld elements, but got %lld", k,
                           (long long)first->n_elems, (long long)x->n_elems);
        if (rt_out(ctx, k - 1, x->dtype, 1, x->dims, &y, err) < 0)
            return -(int)err->code;
        for (int64_t i = 0; i < x->n_elems; i++) {
            if (i != at && k_int_at(x, i) != k_int_at(first, i))
                return rt_fail(
                    ctx, err, ERR_FAILED,
                    "All dimensions except %d must match. Input %d differs from "
                    "input 0.",
                    at, k - 1);
            k_put_int(y, i, i == at ? sum : 0);
        }
        sum += k_int_at(x, at);
    }
    return 0;
}
