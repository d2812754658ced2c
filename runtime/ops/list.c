/* SPDX-License-Identifier: Apache-2.0 */
/* TensorList, what TF2's loops keep their elements in. It is a value: who writes gets a
 * new list, made in place when nobody else holds the old one, so that a loop that sets
 * an element a turn is linear. */
#include "runtime/ops/list_int.h"

/* ---- TensorList ------------------------------------------------------------------ */

struct list_attrs {
    int dtype, shape_type;
    int64_t num_elements;
    bool resizes;
};

int
rt_prep_list(struct rt_prep *p)
{
    struct list_attrs *s = p->node->state = rt_prep_alloc(p, sizeof(*s));
    s->dtype = rt_attr_type(p, "element_dtype", 0);
    s->shape_type = rt_attr_type(p, "shape_type", SM_INT32);
    s->num_elements = rt_attr_int(p, "num_elements", -1);
    s->resizes = rt_attr_bool(p, "resize_if_index_out_of_bounds", false);
    return rt_prep_done(p);
}

static const struct list_attrs *
attrs_of(const struct rt_ctx *ctx)
{
    return ctx->node->state;
}

static struct rt_list *
list_in(const struct rt_ctx *ctx, int i, struct err *err)
{
    return (struct rt_list *)rt_in_obj(ctx, i, &list_type, err);
}

/* Output 0 is a list that may be written: that of input i itself, or a copy. */
static struct rt_list *
list_to_write(struct rt_ctx *ctx, int i, struct err *err)
{
    struct rt_list *l = list_in(ctx, i, err);
    if (!l)
        return NULL;
    if ((ctx->may_forward >> i & 1) && rt_buf_writable(ctx->in[i]->buf) &&
        !rt_obj_shared(&l->obj)) {
        rt_out_same(ctx, 0, ctx->in[i]);
        return l;
    }
    struct rt_list *copy = list_new(&list_type, l->dtype, &l->shape);
    copy->most = l->most;
    if (rt_out_obj(ctx, 0, SM_VARIANT, &copy->obj, err) < 0 ||
        list_resize(ctx, copy, l->n, err) < 0)
        return NULL;
    for (int64_t k = 0; k < l->n; k++)
        if (l->v[k].buf)
            rt_tensor_ref(&copy->v[k], &l->v[k]);
    return copy;
}

/* A new list as output 0, its element shape from input i. */
static struct rt_list *
list_out(struct rt_ctx *ctx, int i, int dtype, struct err *err)
{
    struct sm_shape s;
    if (list_shape_in(ctx, i, &s, err) < 0)
        return NULL;
    struct rt_list *l = list_new(&list_type, dtype, &s);
    return rt_out_obj(ctx, 0, SM_VARIANT, &l->obj, err) < 0 ? NULL : l;
}

/* element_shape, max_num_elements → an empty list. */
int
rt_run_list_empty(struct rt_ctx *ctx, struct err *err)
{
    struct rt_list *l = list_out(ctx, 0, attrs_of(ctx)->dtype, err);
    return l ? list_scalar_in(ctx, 1, &l->most, err) : -(int)err->code;
}

/* element_shape, num_elements → a list of missing elements. */
int
rt_run_list_reserve(struct rt_ctx *ctx, struct err *err)
{
    int64_t n = 0;
    struct rt_list *l = list_out(ctx, 0, attrs_of(ctx)->dtype, err);
    if (!l || list_scalar_in(ctx, 1, &n, err) < 0)
        return -(int)err->code;
    return list_resize(ctx, l, n, err);
}

/* tensor, element_shape → its rows (no copy). */
int
rt_run_list_from_tensor(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *t = ctx->in[0];
    struct rt_list *l = list_out(ctx, 1, t->dtype, err);
    if (!l)
        return -(int)err->code;
    if (t->rank < 1)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Tensor must be at least a vector, but saw "
                       "shape: []");
    if (!list_fits(&l->shape, t->rank - 1, t->dims + 1))
        return list_bad_shape(ctx, err, &l->shape, t->rank - 1, t->dims + 1);
    if (list_resize(ctx, l, t->dims[0], err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < l->n; i++) {
        struct rt_tensor row = list_rows(t, i, 1, true);
        list_set(l, i, &row);
    }
    return 0;
}

int
rt_run_list_stack(struct rt_ctx *ctx, struct err *err)
{
    struct rt_list *l = list_in(ctx, 0, err);
    struct sm_shape want;
    if (!l || list_shape_in(ctx, 1, &want, err) < 0)
        return -(int)err->code;
    int64_t n = attrs_of(ctx)->num_elements;
    if (n >= 0 && n != l->n)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Operation expected a list with %lld elements "
                       "but got a list with %lld elements.",
                       (long long)n, (long long)l->n);
    return list_stack(ctx, l, NULL, &want, err);
}

/* list, indices, element_shape */
int
rt_run_list_gather(struct rt_ctx *ctx, struct err *err)
{
    struct rt_list *l = list_in(ctx, 0, err);
    struct sm_shape want;
    if (!l || list_shape_in(ctx, 2, &want, err) < 0)
        return -(int)err->code;
    return list_stack(ctx, l, ctx->in[1], &want, err);
}

/* list, index, element_shape */
int
rt_run_list_get(struct rt_ctx *ctx, struct err *err)
{
    struct rt_list *l = list_in(ctx, 0, err);
    struct sm_shape want;
    int64_t k = 0;
    if (!l || list_scalar_in(ctx, 1, &k, err) < 0 ||
        list_shape_in(ctx, 2, &want, err) < 0)
        return -(int)err->code;
    if (k < 0 || k >= l->n)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Trying to access element %lld in a list with "
                       "%lld elements.",
                       (long long)k, (long long)l->n);
    return list_give(ctx, 0, l, k, &want, err);
}

/* list, index, item */
int
rt_run_list_set(struct rt_ctx *ctx, struct err *err)
{
    int64_t k = 0;
    struct rt_list *l = list_in(ctx, 0, err);
    if (!l || list_scalar_in(ctx, 1, &k, err) < 0 ||
        list_check_item(ctx, l, ctx->in[2], err) < 0)
        return -(int)err->code;
    bool grows = attrs_of(ctx)->resizes && k >= l->n;
    if (k < 0 || (k >= l->n && !grows))
        return rt_fail(ctx, err, ERR_FAILED,
                       "Trying to modify element %lld in a list with "
                       "%lld elements.",
                       (long long)k, (long long)l->n);
    l = list_to_write(ctx, 0, err);
    if (!l || (grows && list_resize(ctx, l, k + 1, err) < 0))
        return -(int)err->code;
    list_set(l, k, ctx->in[2]);
    return 0;
}

/* list, item */
int
rt_run_list_push(struct rt_ctx *ctx, struct err *err)
{
    struct rt_list *l = list_to_write(ctx, 0, err);
    if (!l || list_check_item(ctx, l, ctx->in[1], err) < 0)
        return -(int)err->code;
    if (l->most >= 0 && l->n >= l->most)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Tried to push item into a full list list size: "
                       "%lld max_num_elements: %lld",
                       (long long)l->n, (long long)l->most);
    if (list_resize(ctx, l, l->n + 1, err) < 0)
        return -(int)err->code;
    list_set(l, l->n - 1, ctx->in[1]);
    return 0;
}

/* list, element_shape → list, its last element */
int
rt_run_list_pop(struct rt_ctx *ctx, struct err *err)
{
    struct sm_shape want;
    struct rt_list *l = list_to_write(ctx, 0, err);
    if (!l || list_shape_in(ctx, 1, &want, err) < 0)
        return -(int)err->code;
    if (l->n == 0)
        return rt_fail(ctx, err, ERR_FAILED, "Trying to pop from an empty list.");
    if (list_give(ctx, 1, l, l->n - 1, &want, err) < 0)
        return -(int)err->code;
    return list_resize(ctx, l, l->n - 1, err);
}

int
rt_run_list_length(struct rt_ctx *ctx, struct err *err)
{
    struct rt_list *l = list_in(ctx, 0, err);
    struct rt_tensor *y;
    if (!l || rt_out(ctx, 0, SM_INT32, 0, NULL, &y, err) < 0)
        return -(int)err->code;
    *(int32_t *)y->data = (int32_t)l->n;
    return 0;
}

/* list → element_shape of type shape_type; a scalar -1 when the rank is not known. */
int
rt_run_list_shape(struct rt_ctx *ctx, struct err *err)
{
    struct rt_list *l = list_in(ctx, 0, err);
    struct rt_tensor *y;
    if (!l)
        return -(int)err->code;
    int64_t n = l->shape.rank;
    int dtype = attrs_of(ctx)->shape_type;
    if (rt_out(ctx, 0, dtype, l->shape.unknown_rank ? 0 : 1, &n, &y, err) < 0)
        return -(int)err->code;
    for (int64_t d = 0; d < y->n_elems; d++) {
        int64_t v = l->shape.unknown_rank ? -1 : l->shape.dims[d];
        if (dtype == SM_INT32)
            ((int32_t *)y->data)[d] = (int32_t)v;
        else
            ((int64_t *)y->data)[d] = v;
    }
    return 0;
}

/* list, size */
int
rt_run_list_resize(struct rt_ctx *ctx, struct err *err)
{
    int64_t n = 0;
    struct rt_list *l = list_to_write(ctx, 0, err);
    if (!l || list_scalar_in(ctx, 1, &n, err) < 0)
        return -(int)err->code;
    return list_resize(ctx, l, n, err);
}

/* Rows of t become the elements that indices name; the list grows as it must. */
static int
scatter(struct rt_ctx *ctx, struct rt_list *l, const struct rt_tensor *t,
        const struct rt_tensor *indices, struct err *err)
{
    if (t->rank < 1 || indices->rank != 1 || indices->n_elems != t->dims[0])
        return rt_fail(ctx, err, ERR_FAILED,
                       "Specified %lld indices for a tensor of shape %s",
                       (long long)indices->n_elems,
                       rt_shape_text(t, (char[RT_SHAPE_TEXT_BYTES]){ 0 }));
    for (int64_t k = 0; k < indices->n_elems; k++) {
        int64_t i = rt_int_at(indices, k);
        if (i < 0)
            return rt_fail(ctx, err, ERR_FAILED,
                           "Indices in TensorListScatter must all be "
                           "non-negative.");
        struct rt_tensor row = list_rows(t, k, 1, true);
        if (list_check_item(ctx, l, &row, err) < 0 ||
            (i >= l->n && list_resize(ctx, l, i + 1, err) < 0))
            return -(int)err->code;
        list_set(l, i, &row);
    }
    return 0;
}

/* tensor, indices, element_shape[, num_elements] */
int
rt_run_list_scatter(struct rt_ctx *ctx, struct err *err)
{
    int64_t n = 0;
    struct rt_list *l = list_out(ctx, 2, ctx->in[0]->dtype, err);
    if (!l || (ctx->node->n_in > 3 && list_scalar_in(ctx, 3, &n, err) < 0) ||
        (n > 0 && list_resize(ctx, l, n, err) < 0))
        return -(int)err->code;
    return scatter(ctx, l, ctx->in[0], ctx->in[1], err);
}

/* list, tensor, indices */
int
rt_run_list_scatter_into(struct rt_ctx *ctx, struct err *err)
{
    struct rt_list *l = list_to_write(ctx, 0, err);
    return l ? scatter(ctx, l, ctx->in[1], ctx->in[2], err) : -(int)err->code;
}

/* list[, element_shape, leading_dims] → tensor, lengths */
int
rt_run_list_concat(struct rt_ctx *ctx, struct err *err)
{
    struct rt_list *l = list_in(ctx, 0, err);
    struct sm_shape want = { .unknown_rank = true };
    if (!l || (ctx->node->n_in > 1 && list_shape_in(ctx, 1, &want, err) < 0))
        return -(int)err->code;
    if (want.unknown_rank)
        want = l->shape;
    return list_concat(ctx, l, &want, err);
}

/* tensor, element_shape, lengths */
int
rt_run_list_split(struct rt_ctx *ctx, struct err *err)
{
    struct rt_list *l = list_out(ctx, 1, ctx->in[0]->dtype, err);
    if (!l)
        return -(int)err->code;
    return list_split(ctx, l, ctx->in[0], ctx->in[2], err);
}

/* a, b → a's elements, then b's */
int
rt_run_list_join(struct rt_ctx *ctx, struct err *err)
{
    struct rt_list *b = list_in(ctx, 1, err),
                   *l = b ? list_to_write(ctx, 0, err) : NULL;
    if (!l)
        return -(int)err->code;
    int64_t n = l->n, more = b->n;
    if (b->dtype != l->dtype)
        return rt_fail(ctx, err, ERR_FAILED, "element_dtypes of the lists differ");
    if (list_resize(ctx, l, n + more, err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < more; i++)
        if (b->v[i].buf)
            list_set(l, n + i, &b->v[i]);
    return 0;
}
