/* SPDX-License-Identifier: Apache-2.0 */
/* TensorArray, what TF1's loops keep their elements in: an object with a handle, made
 * anew by each run. The order of reads and writes lies in the `flow` values. */
#include "runtime/ops/list_int.h"

/* ---- TensorArray ----------------------------------------------------------------- */

struct array_attrs {
    int dtype;
    struct sm_shape shape, shape_except0;
    bool grows;
};

int
rt_prep_array(struct rt_prep *p)
{
    struct array_attrs *s = p->node->state = rt_prep_alloc(p, sizeof(*s));
    s->dtype = rt_attr_type(p, "dtype", 0);
    s->shape = rt_attr_shape(p, "element_shape");
    s->shape_except0 = rt_attr_shape(p, "element_shape_except0");
    s->grows = rt_attr_bool(p, "dynamic_size", false);
    return rt_prep_done(p);
}

static struct rt_list *
array_in(const struct rt_ctx *ctx, struct err *err)
{
    return (struct rt_list *)rt_in_obj(ctx, 0, &list_array_type, err);
}

static int
give_flow(struct rt_ctx *ctx, int i, struct err *err)
{
    struct rt_tensor *y;
    if (rt_out(ctx, i, SM_FLOAT, 0, NULL, &y, err) < 0)
        return -(int)err->code;
    *(float *)y->data = 0;
    return 0;
}

/* size → handle, flow. A new array each time. */
int
rt_run_array_new(struct rt_ctx *ctx, struct err *err)
{
    const struct array_attrs *s = ctx->node->state;
    int64_t n = 0;
    struct rt_list *l = list_new(&list_array_type, s->dtype, &s->shape);
    l->grows = s->grows;
    if (rt_out_obj(ctx, 0, SM_RESOURCE, &l->obj, err) < 0 ||
        list_scalar_in(ctx, 0, &n, err) < 0 || list_resize(ctx, l, n, err) < 0)
        return -(int)err->code;
    return give_flow(ctx, 1, err);
}

static int
array_write(struct rt_ctx *ctx, struct rt_list *l, int64_t i, const struct rt_tensor *t,
            struct err *err)
{
    if (i < 0 || (i >= l->n && !l->grows))
        return rt_fail(ctx, err, ERR_FAILED,
                       "Tried to write to index %lld but array is not "
                       "resizeable and size is: %lld",
                       (long long)i, (long long)l->n);
    if (list_check_item(ctx, l, t, err) < 0 ||
        (i >= l->n && list_resize(ctx, l, i + 1, err) < 0))
        return -(int)err->code;
    list_set(l, i, t);
    return 0;
}

/* handle, index, value, flow → flow */
int
rt_run_array_write(struct rt_ctx *ctx, struct err *err)
{
    struct rt_list *l = array_in(ctx, err);
    int64_t i = 0;
    if (!l || list_scalar_in(ctx, 1, &i, err) < 0 ||
        array_write(ctx, l, i, ctx->in[2], err) < 0)
        return -(int)err->code;
    return give_flow(ctx, 0, err);
}

/* handle, index, flow → value */
int
rt_run_array_read(struct rt_ctx *ctx, struct err *err)
{
    struct rt_list *l = array_in(ctx, err);
    int64_t i = 0;
    if (!l || list_scalar_in(ctx, 1, &i, err) < 0)
        return -(int)err->code;
    if (i < 0 || i >= l->n)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Tried to read from index %lld but array size is: "
                       "%lld",
                       (long long)i, (long long)l->n);
    if (!l->v[i].buf && !list_is_known(&l->shape))
        return rt_fail(ctx, err, ERR_FAILED,
                       "Could not read from TensorArray index %lld. "
                       "It has not been written to, and the element shape is not fully "
                       "defined.",
                       (long long)i);
    return list_give(ctx, 0, l, i, NULL, err);
}

/* handle, indices, flow → value */
int
rt_run_array_gather(struct rt_ctx *ctx, struct err *err)
{
    const struct array_attrs *s = ctx->node->state;
    struct rt_list *l = array_in(ctx, err);
    return l ? list_stack(ctx, l, ctx->in[1], &s->shape, err) : -(int)err->code;
}

/* handle, indices, value, flow → flow */
int
rt_run_array_scatter(struct rt_ctx *ctx, struct err *err)
{
    struct rt_list *l = array_in(ctx, err);
    const struct rt_tensor *t = ctx->in[2];
    if (!l)
        return -(int)err->code;
    if (t->rank < 1 || ctx->in[1]->n_elems != t->dims[0])
        return rt_fail(ctx, err, ERR_FAILED,
                       "Expected len(indices) == values.shape[0]");
    for (int64_t k = 0; k < t->dims[0]; k++) {
        struct rt_tensor row = list_rows(t, k, 1, true);
        if (array_write(ctx, l, rt_int_at(ctx->in[1], k), &row, err) < 0)
            return -(int)err->code;
    }
    return give_flow(ctx, 0, err);
}

/* handle, flow → value, lengths */
int
rt_run_array_concat(struct rt_ctx *ctx, struct err *err)
{
    const struct array_attrs *s = ctx->node->state;
    struct rt_list *l = array_in(ctx, err);
    struct sm_shape want = s->shape_except0;
    if (!l)
        return -(int)err->code;
    if (!want.unknown_rank && want.rank < SM_MAX_RANK) {
        memmove(want.dims + 1, want.dims, (size_t)want.rank * sizeof(want.dims[0]));
        want.dims[0] = -1;
        want.rank++;
    }
    return list_concat(ctx, l, &want, err);
}

/* handle, value, lengths, flow → flow */
int
rt_run_array_split(struct rt_ctx *ctx, struct err *err)
{
    struct rt_list *l = array_in(ctx, err);
    if (!l || list_split(ctx, l, ctx->in[1], ctx->in[2], err) < 0)
        return -(int)err->code;
    return give_flow(ctx, 0, err);
}

/* handle, flow → size */
int
rt_run_array_size(struct rt_ctx *ctx, struct err *err)
{
    struct rt_list *l = array_in(ctx, err);
    struct rt_tensor *y;
    if (!l || rt_out(ctx, 0, SM_INT32, 0, NULL, &y, err) < 0)
        return -(int)err->code;
    *(int32_t *)y->data = (int32_t)l->n;
    return 0;
}

int
rt_run_array_close(struct rt_ctx *ctx, struct err *err)
{
    struct rt_list *l = array_in(ctx, err);
    return l ? list_resize(ctx, l, 0, err) : -(int)err->code;
}
