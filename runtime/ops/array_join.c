/* SPDX-License-Identifier: Apache-2.0 */
/* Joining along an axis (Pack, Concat) and cutting (Unpack, Split). Every dtype. An
 * output whose elements lie together in the input is a view of it. */
#include "runtime/ops/ops_int.h"

struct axis_state {
    int64_t axis, n;
};

int
rt_prep_pack(struct rt_prep *p)
{
    struct axis_state *s = p->node->state = rt_prep_alloc(p, sizeof(*s));
    s->axis = rt_attr_int(p, "axis", 0);
    return rt_prep_done(p);
}

/* Copies x as the columns [at, at + width) of y, seen as rows of `row` elements. */
static void
put_columns(struct rt_tensor *y, const struct rt_tensor *x, int64_t rows, int64_t row,
            int64_t at, int64_t width)
{
    size_t elem = rt_dtype_size(y->dtype), n = (size_t)width * elem;
    char *d = (char *)y->data + (size_t)at * elem;
    const char *s = x->data;
    if (n <= 16 && n > 0 && rows > 1) { /* many short pieces */
        struct k_box b = { 0 };
        k_box_add(&b, rows, width, row);
        k_box_add(&b, width, 1, 1);
        k_copy(&b, d, s, elem);
        return;
    }
    for (int64_t i = 0; i < rows && n > 0; i++) {
        memcpy(d, s, n);
        d += (size_t)row * elem;
        s += n;
    }
}

/* Inputs of one shape stacked along a new axis. */
int
rt_run_pack(struct rt_ctx *ctx, struct err *err)
{
    const struct axis_state *s = ctx->node->state;
    int64_t dims[SM_MAX_RANK], n = ctx->node->n_in, axis = s->axis;
    if (n < 1)
        return rt_fail(ctx, err, ERR_FAILED, "no values");
    const struct rt_tensor *first = ctx->in[0];
    int rank = first->rank + 1;
    char a[RT_SHAPE_TEXT_BYTES], b[RT_SHAPE_TEXT_BYTES];
    struct rt_tensor *y;
    if (axis < -rank || axis >= rank)
        return rt_fail(ctx, err, ERR_FAILED, "axis = %lld not in [%d, %d)",
                       (long long)axis, -rank, rank);
    if (rank > SM_MAX_RANK)
        return rt_fail(ctx, err, ERR_UNSUPPORTED, "more than %d dimensions",
                       SM_MAX_RANK);
    if (axis < 0)
        axis += rank;
    for (int i = 0; i < rank; i++)
        dims[i] = i < axis ? first->dims[i] : i == axis ? n : first->dims[i - 1];
    for (int k = 1; k < n; k++)
        if (!rt_same_shape(first, ctx->in[k]))
            return rt_fail(ctx, err, ERR_FAILED,
                           "Shapes of all inputs must match: values[0].shape = %s != "
                           "values[%d].shape = %s",
                           rt_shape_text(first, a), k, rt_shape_text(ctx->in[k], b));
    if (n == 1) {
        rt_out_alias(ctx, 0, first, 0, first->dtype, rank, dims);
        return 0;
    }
    if (rt_out(ctx, 0, first->dtype, rank, dims, &y, err) < 0)
        return -(int)err->code;
    int64_t rows = k_count(dims, 0, (int)axis);
    int64_t width = k_count(dims, (int)axis + 1, rank);
    for (int k = 0; k < n; k++)
        put_columns(y, ctx->in[k], rows, n * width, k * width, width);
    k_own(y);
    return 0;
}

/* Inputs from + 0 … from + n - 1 joined along an axis they have. */
static int
concat(struct rt_ctx *ctx, int from, int n, int64_t axis, struct err *err)
{
    const struct rt_tensor *first = ctx->in[from], *only = NULL;
    int64_t dims[SM_MAX_RANK], sum = 0;
    int at, n_filled = 0;
    struct rt_tensor *y;
    if (axis < -first->rank || axis >= first->rank)
        return rt_fail(
            ctx, err, ERR_FAILED,
            "ConcatOp : Expected concatenating dimensions in the range [%d, %d), "
            "but got %lld",
            -first->rank, first->rank, (long long)axis);
    at = (int)(axis < 0 ? axis + first->rank : axis);
    for (int k = 0; k < n; k++) {
        const struct rt_tensor *x = ctx->in[from + k];
        bool fits = x->rank == first->rank;
        for (int i = 0; fits && i < x->rank; i++)
            fits = i == at || x->dims[i] == first->dims[i];
        if (!fits) {
            char a[RT_SHAPE_TEXT_BYTES], b[RT_SHAPE_TEXT_BYTES];
            return rt_fail(
                ctx, err, ERR_FAILED,
                "ConcatOp : Dimension %d in both shapes must be equal or ranks "
                "differ: shape[0] = %s vs. shape[%d] = %s",
                at, rt_shape_text(first, a), k, rt_shape_text(x, b));
        }
        if (__builtin_add_overflow(sum, x->dims[at], &sum))
            return rt_fail(ctx, err, ERR_FAILED, "the joined dimension is too large");
        if (x->dims[at] > 0) {
            n_filled++;
            only = x;
        }
    }
    if (n_filled == 1) {
        rt_out_same(ctx, 0, only);
        return 0;
    }
    memcpy(dims, first->dims, sizeof(dims));
    dims[at] = sum;
    if (rt_out(ctx, 0, first->dtype, first->rank, dims, &y, err) < 0)
        return -(int)err->code;
    int64_t rows = k_count(dims, 0, at), unit = k_count(dims, at + 1, first->rank),
            pos = 0;
    for (int k = 0; k < n; k++) {
        int64_t width = ctx->in[from + k]->dims[at] * unit;
        put_columns(y, ctx->in[from + k], rows, sum * unit, pos, width);
        pos += width;
    }
    k_own(y);
    return 0;
}

/* ConcatV2: the axis comes last. */
int
rt_run_concat_v2(struct rt_ctx *ctx, struct err *err)
{
    int n = ctx->node->n_in - 1;
    int64_t axis;
    if (n < 1)
        return rt_fail(ctx, err, ERR_FAILED, "no values");
    if (k_scalar(ctx, n, "ConcatOp : Concat dim tensor", &axis, err) < 0)
        return -(int)err->code;
    return concat(ctx, 0, n, axis, err);
}

/* Concat: the axis comes first. */
int
rt_run_concat(struct rt_ctx *ctx, struct err *err)
{
    int64_t axis;
    if (ctx->node->n_in < 2)
        return rt_fail(ctx, err, ERR_FAILED, "no values");
    if (k_scalar(ctx, 0, "ConcatOp : Concat dim tensor", &axis, err) < 0)
        return -(int)err->code;
    return concat(ctx, 1, ctx->node->n_in - 1, axis, err);
}

/* Inputs of [1, …] joined along dimension 0. */
int
rt_run_parallel_concat(struct rt_ctx *ctx, struct err *err)
{
    if (ctx->node->n_in < 1)
        return rt_fail(ctx, err, ERR_FAILED, "no values");
    return concat(ctx, 0, ctx->node->n_in, 0, err);
}

/* Output i: columns [at, at + width) of x seen as rows of `row`. */
static int
take_columns(struct rt_ctx *ctx, int i, const struct rt_tensor *x, int64_t rows,
             int64_t row, int64_t at, int64_t width, int rank, const int64_t *dims,
             struct err *err)
{
    size_t elem = rt_dtype_size(x->dtype), n = (size_t)width * elem;
    struct rt_tensor *y;
    if (rows == 1) {
        rt_out_alias(ctx, i, x, (size_t)at * elem, x->dtype, rank, dims);
        return 0;
    }
    if (rt_out(ctx, i, x->dtype, rank, dims, &y, err) < 0)
        return -(int)err->code;
    struct k_box b = { 0 };
    k_box_add(&b, rows, row, width);
    k_box_add(&b, width, 1, 1);
    if (n > 0)
        k_copy(&b, y->data, (const char *)x->data + (size_t)at * elem, elem);
    k_own(y);
    return 0;
}

int
rt_run_unpack(struct rt_ctx *ctx, struct err *err)
{
    const struct axis_state *s = ctx->node->state;
    const struct rt_tensor *x = ctx->in[0];
    int64_t dims[SM_MAX_RANK], n = ctx->node->n_out;
    int axis = 0;
    if (s->axis < -x->rank || s->axis >= x->rank)
        return rt_fail(ctx, err, ERR_FAILED, "axis = %lld not in [%d, %d)",
                       (long long)s->axis, -x->rank, x->rank);
    if (k_axis(ctx, s->axis, x->rank, &axis, err) < 0)
        return -(int)err->code;
    if (x->dims[axis] != n)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Input shape axis %d must equal %lld, got shape with %lld", axis,
                       (long long)n, (long long)x->dims[axis]);
    for (int i = 0; i < x->rank - 1; i++)
        dims[i] = x->dims[i < axis ? i : i + 1];
    int64_t rows = k_count(x->dims, 0, axis),
            width = k_count(x->dims, axis + 1, x->rank);
    for (int k = 0; k < n; k++)
        if (take_columns(ctx, k, x, rows, n * width, k * width, width, x->rank - 1,
                         dims, err) < 0)
            return -(int)err->code;
    return 0;
}

/* Cuts x along `axis` into pieces of sizes[0], sizes[1], … */
static int
cut(struct rt_ctx *ctx, const struct rt_tensor *x, int axis, const int64_t *sizes,
    struct err *err)
{
    int64_t dims[SM_MAX_RANK], at = 0;
    int64_t rows = k_count(x->dims, 0, axis),
            unit = k_count(x->dims, axis + 1, x->rank);
    memcpy(dims, x->dims, sizeof(dims));
    for (int k = 0; k < ctx->node->n_out; k++) {
        dims[axis] = sizes[k];
        if (take_columns(ctx, k, x, rows, x->dims[axis] * unit, at * unit,
                         sizes[k] * unit, x->rank, dims, err) < 0)
            return -(int)err->code;
        at += sizes[k];
    }
    return 0;
}

static int
split_axis(struct rt_ctx *ctx, int in, const struct rt_tensor *x, int *axis,
           struct err *err)
{
    int64_t v;
    if (k_scalar(ctx, in, "split_dim", &v, err) < 0)
        return -(int)err->code;
    if (v < -x->rank || v >= x->rank)
        return rt_fail(ctx, err, ERR_FAILED,
                       "-input rank(-%d) <= split_dim < input rank (%d), but got %lld",
                       x->rank, x->rank, (long long)v);
    *axis = (int)(v < 0 ? v + x->rank : v);
    return 0;
}

int
rt_run_split(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[1];
    int axis = 0, n = ctx->node->n_out;
    if (split_axis(ctx, 0, x, &axis, err) < 0)
        return -(int)err->code;
    if (n < 1 || x->dims[axis] % n != 0)
        return rt_fail(
            ctx, err, ERR_FAILED,
            "Number of ways to split should evenly divide the split dimension, "
            "but got split_dim %d (size = %lld) and num_split %d",
            axis, (long long)x->dims[axis], n);
    int64_t *sizes = rt_scratch(ctx, (size_t)n * sizeof(*sizes), err);
    if (!sizes)
        return -(int)err->code;
    for (int k = 0; k < n; k++)
        sizes[k] = x->dims[axis] / n;
    return cut(ctx, x, axis, sizes, err);
}

/* One size may be -1: what is left. */
int
rt_run_split_v(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0], *want = ctx->in[1];
    int axis = 0, n = ctx->node->n_out, rest = -1;
    int64_t sum = 0;
    if (split_axis(ctx, 2, x, &axis, err) < 0)
        return -(int)err->code;
    if (want->rank != 1 || want->n_elems != n)
        return rt_fail(
            ctx, err, ERR_FAILED,
            "size of the split_tensor must be 1-D and have the same elements as "
            "outputs got %lld elements",
            (long long)want->n_elems);
    int64_t *sizes = rt_scratch(ctx, (size_t)n * sizeof(*sizes), err);
    if (!sizes)
        return -(int)err->code;
    for (int k = 0; k < n; k++) {
        sizes[k] = k_int_at(want, k);
        if (sizes[k] == -1 && rest < 0) {
            rest = k;
            continue;
        }
        if (sizes[k] < 0)
            return rt_fail(ctx, err, ERR_FAILED,
                           "Split size at index %d must be >= 0. Got: %lld", k,
                           (long long)sizes[k]);
        if (__builtin_add_overflow(sum, sizes[k], &sum))
            sum = INT64_MAX;
    }
    if (rest < 0 ? sum != x->dims[axis] : sum > x->dims[axis])
        return rt_fail(
            ctx, err, ERR_FAILED,
            "Determined shape must either match input shape along split_dim "
            "exactly if fully specified, or be less than the size of the input "
            "along split_dim if not fully specified. Got: %lld",
            (long long)sum);
    if (rest >= 0)
        sizes[rest] = x->dims[axis] - sum;
    return cut(ctx, x, axis, sizes, err);
}
