/* SPDX-License-Identifier: Apache-2.0 */
/* TensorList (TF2 loops) and TensorArray (TF1 loops): growing lists of tensors.
 *
 * A TensorList is a value: who writes gets a new list, made in place when nobody else
 * holds the old one, so that a loop that sets an element a turn is linear. A TensorArray is
 * an object with a handle; its order of reads and writes lies in the `flow` values. In
 * both an element may be missing; then it reads as zeros of its shape, when that is
 * known. */
#include "runtime/rt_ops.h"

#include "runtime/rt_int.h"

#include <stdlib.h>

enum { MAX_ELEMENTS = 1 << 28 };

struct rt_list {
    struct rt_obj obj;
    int dtype;
    struct sm_shape shape; /* of an element, as far as it is known */
    struct rt_tensor *v;   /* buf NULL: missing */
    int64_t n, cap, most;  /* most: < 0 without a limit */
    bool grows;            /* TensorArray dynamic_size */
};

/* ---- lists -------------------------------------------------------------------------------- */

static void
list_free(struct rt_obj *o)
{
    struct rt_list *l = (struct rt_list *)o;
    for (int64_t i = 0; i < l->n; i++)
        rt_tensor_unref(&l->v[i]);
    free(l->v);
    free(l);
}

static const struct rt_obj_type list_type = { "TensorList", list_free };
static const struct rt_obj_type array_type = { "TensorArray", list_free };

static struct rt_list *
list_new(const struct rt_obj_type *type, int dtype, const struct sm_shape *shape)
{
    struct rt_list *l = xcalloc(1, sizeof(*l));
    rt_obj_init(&l->obj, type);
    l->dtype = dtype;
    l->shape = *shape;
    l->most = -1;
    return l;
}

/* To n elements; new ones are missing. */
static int
list_resize(const struct rt_ctx *ctx, struct rt_list *l, int64_t n, struct err *err)
{
    if (n < 0 || n > MAX_ELEMENTS)
        return rt_fail(ctx, err, ERR_FAILED, "a list of %lld elements", (long long)n);
    for (int64_t i = n; i < l->n; i++)
        rt_tensor_unref(&l->v[i]);
    if (n > l->cap) {
        l->cap = n < 2 * l->cap ? 2 * l->cap : n;
        l->v = xreallocarray(l->v, (size_t)l->cap, sizeof(l->v[0]));
    }
    for (int64_t i = l->n; i < n; i++)
        l->v[i] = (struct rt_tensor){ 0 };
    l->n = n;
    return 0;
}

static void
list_set(struct rt_list *l, int64_t i, const struct rt_tensor *t)
{
    struct rt_tensor old = l->v[i];
    rt_tensor_ref(&l->v[i], t);
    rt_tensor_unref(&old);
}

/* ---- shapes -------------------------------------------------------------------------------- */

/* A shape given as a tensor: a vector, -1 for what is unknown, or a scalar -1. */
static int
shape_in(const struct rt_ctx *ctx, int i, struct sm_shape *s, struct err *err)
{
    const struct rt_tensor *t = ctx->in[i];
    *s = (struct sm_shape){ .unknown_rank = t->rank == 0 };
    if (t->rank == 0)
        return 0;
    if (t->rank != 1 || t->n_elems > SM_MAX_RANK)
        return rt_fail(ctx, err, ERR_FAILED, "element_shape must be at most %d numbers",
                       SM_MAX_RANK);
    s->rank = (int)t->n_elems;
    for (int d = 0; d < s->rank; d++)
        s->dims[d] = rt_int_at(t, d);
    return 0;
}

static bool
fits(const struct sm_shape *s, int rank, const int64_t *dims)
{
    if (s->unknown_rank)
        return true;
    bool ok = s->rank == rank;
    for (int d = 0; ok && d < rank; d++)
        ok = s->dims[d] < 0 || dims[d] < 0 || s->dims[d] == dims[d];
    return ok;
}

/* What both know; false: they differ. */
static bool
merge_shape(struct sm_shape *s, int rank, const int64_t *dims)
{
    if (!fits(s, rank, dims))
        return false;
    for (int d = 0; d < rank; d++)
        if (s->unknown_rank || s->dims[d] < 0)
            s->dims[d] = dims[d];
    s->unknown_rank = false;
    s->rank = rank;
    return true;
}

static bool
is_known(const struct sm_shape *s)
{
    bool known = !s->unknown_rank;
    for (int d = 0; known && d < s->rank; d++)
        known = s->dims[d] >= 0;
    return known;
}

static int
bad_shape(const struct rt_ctx *ctx, struct err *err, const struct sm_shape *s, int rank,
          const int64_t *dims)
{
    char a[RT_SHAPE_TEXT_BYTES], b[RT_SHAPE_TEXT_BYTES];
    return rt_fail(ctx, err, ERR_FAILED, "an element of shape %s is not compatible with "
                   "element_shape %s", rt_dims_text(rank, dims, a),
                   s->unknown_rank ? "<unknown>" : rt_dims_text(s->rank, s->dims, b));
}

/* The shape of the elements: what is asked for (NULL: nothing), what the list knows, what
 * its elements are. */
static int
element_shape(const struct rt_ctx *ctx, const struct rt_list *l, const struct sm_shape *want,
              struct sm_shape *s, struct err *err)
{
    *s = l->shape;
    if (want && !want->unknown_rank && !merge_shape(s, want->rank, want->dims))
        return bad_shape(ctx, err, s, want->rank, want->dims);
    for (int64_t i = 0; i < l->n && !is_known(s); i++)
        if (l->v[i].buf && !merge_shape(s, l->v[i].rank, l->v[i].dims))
            return bad_shape(ctx, err, s, l->v[i].rank, l->v[i].dims);
    return 0;
}

static int
check_item(const struct rt_ctx *ctx, const struct rt_list *l, const struct rt_tensor *t,
           struct err *err)
{
    if (t->dtype != l->dtype)
        return rt_fail(ctx, err, ERR_FAILED, "Invalid data types; op elements %s but list "
                       "elements %s", rt_dtype_text(t->dtype), rt_dtype_text(l->dtype));
    if (!fits(&l->shape, t->rank, t->dims))
        return bad_shape(ctx, err, &l->shape, t->rank, t->dims);
    return 0;
}

/* ---- pieces of tensors -------------------------------------------------------------------------- */

/* A lent view of rows begin … begin + n of t, flattened into its first dimension or with
 * that dimension dropped. */
static struct rt_tensor
rows_of(const struct rt_tensor *t, int64_t begin, int64_t n, bool drop)
{
    struct rt_tensor r = *t;
    int64_t row = 1;
    for (int d = 1; d < t->rank; d++)
        row *= t->dims[d];
    r.rank = drop ? t->rank - 1 : t->rank;
    memcpy(r.dims, t->dims + drop, (size_t)r.rank * sizeof(r.dims[0]));
    if (!drop)
        r.dims[0] = n;
    r.n_elems = n * row;
    r.data = (char *)t->data + (size_t)(begin * row) * rt_dtype_size(t->dtype);
    return r;
}

/* Copies elements, references to objects too. */
static void
copy_into(struct rt_tensor *y, int64_t at, const struct rt_tensor *t)
{
    size_t size = rt_dtype_size(y->dtype);
    char *dst = (char *)y->data + (size_t)at * size;
    if (t->n_elems > 0)
        memcpy(dst, t->data, (size_t)t->n_elems * size);
    if (y->dtype == SM_VARIANT || y->dtype == SM_RESOURCE)
        for (int64_t i = 0; i < t->n_elems; i++)
            rt_obj_ref(((struct rt_obj **)t->data)[i]);
}

static int
zeros(struct rt_ctx *ctx, int i, int dtype, const struct sm_shape *s, struct err *err)
{
    struct rt_tensor *y;
    if (!is_known(s))
        return rt_fail(ctx, err, ERR_FAILED, "Trying to read an uninitialized tensor but "
                       "element_shape is not fully defined");
    if (rt_out(ctx, i, dtype, s->rank, s->dims, &y, err) < 0)
        return -(int)err->code;
    memset(y->data, 0, rt_size(y));
    return 0;
}

/* y[k] = element indices[k] (NULL: every element in order). */
static int
stack(struct rt_ctx *ctx, const struct rt_list *l, const struct rt_tensor *indices,
      const struct sm_shape *want, struct err *err)
{
    struct sm_shape s;
    struct rt_tensor *y;
    int64_t dims[SM_MAX_RANK + 1], n = indices ? indices->n_elems : l->n, elems = 1;
    if (element_shape(ctx, l, want, &s, err) < 0)
        return -(int)err->code;
    if (!is_known(&s))
        return rt_fail(ctx, err, ERR_FAILED, "Tried to stack elements of a list with "
                       "non-fully-defined element_shape, and it has none to tell it");
    dims[0] = n;
    for (int d = 0; d < s.rank; d++)
        elems *= dims[d + 1] = s.dims[d];
    if (rt_out(ctx, 0, l->dtype, s.rank + 1, dims, &y, err) < 0)
        return -(int)err->code;
    for (int64_t k = 0; k < n; k++) {
        int64_t i = indices ? rt_int_at(indices, k) : k;
        if (i < 0 || i >= l->n)
            return rt_fail(ctx, err, ERR_FAILED, "Trying to gather element %lld in a list "
                           "with %lld elements.", (long long)i, (long long)l->n);
        const struct rt_tensor *t = &l->v[i];
        if (t->buf && !fits(&s, t->rank, t->dims))
            return bad_shape(ctx, err, &s, t->rank, t->dims);
        if (t->buf)
            copy_into(y, k * elems, t);
        else
            memset((char *)y->data + (size_t)(k * elems) * rt_dtype_size(l->dtype), 0,
                   (size_t)elems * rt_dtype_size(l->dtype));
    }
    return 0;
}

/* Elements one behind the other along their first dimension, and its sizes. */
static int
concat(struct rt_ctx *ctx, const struct rt_list *l, const struct sm_shape *want, int out_value,
       struct err *err)
{
    struct rt_tensor *y, *lengths;
    struct sm_shape rest = *want;
    int64_t rows = 0;
    for (int64_t i = 0; i < l->n; i++) {
        const struct rt_tensor *t = &l->v[i];
        if (!t->buf || t->rank < 1)
            return rt_fail(ctx, err, ERR_FAILED, "Concat saw a scalar or missing element at "
                           "index %lld", (long long)i);
        if (rest.rank > 0)
            rest.dims[0] = -1;
        if (!merge_shape(&rest, t->rank, t->dims))
            return bad_shape(ctx, err, &rest, t->rank, t->dims);
        rows += t->dims[0];
    }
    if (rest.unknown_rank || rest.rank < 1)
        return rt_fail(ctx, err, ERR_FAILED, "All except the first dimension must be fully "
                       "defined when concating an empty list");
    rest.dims[0] = rows;
    if (rt_out(ctx, out_value, l->dtype, rest.rank, rest.dims, &y, err) < 0 ||
        rt_out(ctx, out_value + 1, SM_INT64, 1, &l->n, &lengths, err) < 0)
        return -(int)err->code;
    int64_t at = 0;
    for (int64_t i = 0; i < l->n; i++) {
        copy_into(y, at, &l->v[i]);
        at += l->v[i].n_elems;
        ((int64_t *)lengths->data)[i] = l->v[i].dims[0];
    }
    return 0;
}

/* Elements of l from rows of t as `lengths` says. */
static int
split(struct rt_ctx *ctx, struct rt_list *l, const struct rt_tensor *t,
      const struct rt_tensor *lengths, struct err *err)
{
    int64_t at = 0;
    if (t->rank < 1)
        return rt_fail(ctx, err, ERR_FAILED, "Tensor must be at least a vector");
    if (list_resize(ctx, l, lengths->n_elems, err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < l->n; i++) {
        int64_t n = rt_int_at(lengths, i);
        if (n < 0 || n > t->dims[0] - at)
            return rt_fail(ctx, err, ERR_FAILED, "Invalid value in lengths: %lld",
                           (long long)n);
        struct rt_tensor row = rows_of(t, at, n, false);
        if (check_item(ctx, l, &row, err) < 0)
            return -(int)err->code;
        list_set(l, i, &row);
        at += n;
    }
    if (at != t->dims[0])
        return rt_fail(ctx, err, ERR_FAILED, "Unused values in tensor. Length of tensor: %lld "
                       "Values used: %lld", (long long)t->dims[0], (long long)at);
    return 0;
}

/* ---- TensorList ------------------------------------------------------------------------------------ */

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

static int
scalar_in(const struct rt_ctx *ctx, int i, int64_t *v, struct err *err)
{
    if (ctx->in[i]->n_elems != 1)
        return rt_fail(ctx, err, ERR_FAILED, "input %d must be a scalar", i);
    *v = rt_int_at(ctx->in[i], 0);
    return 0;
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
    if (shape_in(ctx, i, &s, err) < 0)
        return NULL;
    struct rt_list *l = list_new(&list_type, dtype, &s);
    return rt_out_obj(ctx, 0, SM_VARIANT, &l->obj, err) < 0 ? NULL : l;
}

/* element_shape, max_num_elements → an empty list. */
int
rt_run_list_empty(struct rt_ctx *ctx, struct err *err)
{
    struct rt_list *l = list_out(ctx, 0, attrs_of(ctx)->dtype, err);
    return l ? scalar_in(ctx, 1, &l->most, err) : -(int)err->code;
}

/* element_shape, num_elements → a list of missing elements. */
int
rt_run_list_reserve(struct rt_ctx *ctx, struct err *err)
{
    int64_t n;
    struct rt_list *l = list_out(ctx, 0, attrs_of(ctx)->dtype, err);
    if (!l || scalar_in(ctx, 1, &n, err) < 0)
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
        return rt_fail(ctx, err, ERR_FAILED, "Tensor must be at least a vector, but saw "
                       "shape: []");
    if (!fits(&l->shape, t->rank - 1, t->dims + 1))
        return bad_shape(ctx, err, &l->shape, t->rank - 1, t->dims + 1);
    if (list_resize(ctx, l, t->dims[0], err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < l->n; i++) {
        struct rt_tensor row = rows_of(t, i, 1, true);
        list_set(l, i, &row);
    }
    return 0;
}

int
rt_run_list_stack(struct rt_ctx *ctx, struct err *err)
{
    struct rt_list *l = list_in(ctx, 0, err);
    struct sm_shape want;
    if (!l || shape_in(ctx, 1, &want, err) < 0)
        return -(int)err->code;
    int64_t n = attrs_of(ctx)->num_elements;
    if (n >= 0 && n != l->n)
        return rt_fail(ctx, err, ERR_FAILED, "Operation expected a list with %lld elements "
                       "but got a list with %lld elements.", (long long)n, (long long)l->n);
    return stack(ctx, l, NULL, &want, err);
}

/* list, indices, element_shape */
int
rt_run_list_gather(struct rt_ctx *ctx, struct err *err)
{
    struct rt_list *l = list_in(ctx, 0, err);
    struct sm_shape want;
    if (!l || shape_in(ctx, 2, &want, err) < 0)
        return -(int)err->code;
    return stack(ctx, l, ctx->in[1], &want, err);
}

/* Output i: element k of l. */
static int
give_element(struct rt_ctx *ctx, int i, const struct rt_list *l, int64_t k,
             const struct sm_shape *want, struct err *err)
{
    struct sm_shape s;
    const struct rt_tensor *t = &l->v[k];
    if (!t->buf)
        return element_shape(ctx, l, want, &s, err) < 0 ? -(int)err->code
                                                        : zeros(ctx, i, l->dtype, &s, err);
    if (want && !fits(want, t->rank, t->dims))
        return bad_shape(ctx, err, want, t->rank, t->dims);
    rt_out_same(ctx, i, t);
    return 0;
}

/* list, index, element_shape */
int
rt_run_list_get(struct rt_ctx *ctx, struct err *err)
{
    struct rt_list *l = list_in(ctx, 0, err);
    struct sm_shape want;
    int64_t k;
    if (!l || scalar_in(ctx, 1, &k, err) < 0 || shape_in(ctx, 2, &want, err) < 0)
        return -(int)err->code;
    if (k < 0 || k >= l->n)
        return rt_fail(ctx, err, ERR_FAILED, "Trying to access element %lld in a list with "
                       "%lld elements.", (long long)k, (long long)l->n);
    return give_element(ctx, 0, l, k, &want, err);
}

/* list, index, item */
int
rt_run_list_set(struct rt_ctx *ctx, struct err *err)
{
    int64_t k;
    struct rt_list *l = list_in(ctx, 0, err);
    if (!l || scalar_in(ctx, 1, &k, err) < 0 || check_item(ctx, l, ctx->in[2], err) < 0)
        return -(int)err->code;
    bool grows = attrs_of(ctx)->resizes && k >= l->n;
    if (k < 0 || (k >= l->n && !grows))
        return rt_fail(ctx, err, ERR_FAILED, "Trying to modify element %lld in a list with "
                       "%lld elements.", (long long)k, (long long)l->n);
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
    if (!l || check_item(ctx, l, ctx->in[1], err) < 0)
        return -(int)err->code;
    if (l->most >= 0 && l->n >= l->most)
        return rt_fail(ctx, err, ERR_FAILED, "Tried to push item into a full list list size: "
                       "%lld max_num_elements: %lld", (long long)l->n, (long long)l->most);
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
    if (!l || shape_in(ctx, 1, &want, err) < 0)
        return -(int)err->code;
    if (l->n == 0)
        return rt_fail(ctx, err, ERR_FAILED, "Trying to pop from an empty list.");
    if (give_element(ctx, 1, l, l->n - 1, &want, err) < 0)
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
    int64_t n;
    struct rt_list *l = list_to_write(ctx, 0, err);
    if (!l || scalar_in(ctx, 1, &n, err) < 0)
        return -(int)err->code;
    return list_resize(ctx, l, n, err);
}

/* Rows of t become the elements that indices name; the list grows as it must. */
static int
scatter(struct rt_ctx *ctx, struct rt_list *l, const struct rt_tensor *t,
        const struct rt_tensor *indices, struct err *err)
{
    if (t->rank < 1 || indices->rank != 1 || indices->n_elems != t->dims[0])
        return rt_fail(ctx, err, ERR_FAILED, "Specified %lld indices for a tensor of shape %s",
                       (long long)indices->n_elems,
                       rt_shape_text(t, (char[RT_SHAPE_TEXT_BYTES]){ 0 }));
    for (int64_t k = 0; k < indices->n_elems; k++) {
        int64_t i = rt_int_at(indices, k);
        if (i < 0)
            return rt_fail(ctx, err, ERR_FAILED, "Indices in TensorListScatter must all be "
                           "non-negative.");
        struct rt_tensor row = rows_of(t, k, 1, true);
        if (check_item(ctx, l, &row, err) < 0 ||
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
    if (!l || (ctx->node->n_in > 3 && scalar_in(ctx, 3, &n, err) < 0) ||
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
    if (!l || (ctx->node->n_in > 1 && shape_in(ctx, 1, &want, err) < 0))
        return -(int)err->code;
    if (want.unknown_rank)
        want = l->shape;
    return concat(ctx, l, &want, 0, err);
}

/* tensor, element_shape, lengths */
int
rt_run_list_split(struct rt_ctx *ctx, struct err *err)
{
    struct rt_list *l = list_out(ctx, 1, ctx->in[0]->dtype, err);
    if (!l)
        return -(int)err->code;
    return split(ctx, l, ctx->in[0], ctx->in[2], err);
}

/* a, b → a's elements, then b's */
int
rt_run_list_join(struct rt_ctx *ctx, struct err *err)
{
    struct rt_list *b = list_in(ctx, 1, err), *l = b ? list_to_write(ctx, 0, err) : NULL;
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

/* ---- TensorArray -------------------------------------------------------------------------------------- */

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
    return (struct rt_list *)rt_in_obj(ctx, 0, &array_type, err);
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
    int64_t n;
    struct rt_list *l = list_new(&array_type, s->dtype, &s->shape);
    l->grows = s->grows;
    if (rt_out_obj(ctx, 0, SM_RESOURCE, &l->obj, err) < 0 ||
        scalar_in(ctx, 0, &n, err) < 0 || list_resize(ctx, l, n, err) < 0)
        return -(int)err->code;
    return give_flow(ctx, 1, err);
}

static int
array_write(struct rt_ctx *ctx, struct rt_list *l, int64_t i, const struct rt_tensor *t,
            struct err *err)
{
    if (i < 0 || (i >= l->n && !l->grows))
        return rt_fail(ctx, err, ERR_FAILED, "Tried to write to index %lld but array is not "
                       "resizeable and size is: %lld", (long long)i, (long long)l->n);
    if (check_item(ctx, l, t, err) < 0 || (i >= l->n && list_resize(ctx, l, i + 1, err) < 0))
        return -(int)err->code;
    list_set(l, i, t);
    return 0;
}

/* handle, index, value, flow → flow */
int
rt_run_array_write(struct rt_ctx *ctx, struct err *err)
{
    struct rt_list *l = array_in(ctx, err);
    int64_t i;
    if (!l || scalar_in(ctx, 1, &i, err) < 0 || array_write(ctx, l, i, ctx->in[2], err) < 0)
        return -(int)err->code;
    return give_flow(ctx, 0, err);
}

/* handle, index, flow → value */
int
rt_run_array_read(struct rt_ctx *ctx, struct err *err)
{
    struct rt_list *l = array_in(ctx, err);
    int64_t i;
    if (!l || scalar_in(ctx, 1, &i, err) < 0)
        return -(int)err->code;
    if (i < 0 || i >= l->n)
        return rt_fail(ctx, err, ERR_FAILED, "Tried to read from index %lld but array size is: "
                       "%lld", (long long)i, (long long)l->n);
    if (!l->v[i].buf && !is_known(&l->shape))
        return rt_fail(ctx, err, ERR_FAILED, "Could not read from TensorArray index %lld. "
                       "It has not been written to, and the element shape is not fully "
                       "defined.", (long long)i);
    return give_element(ctx, 0, l, i, NULL, err);
}

/* handle, indices, flow → value */
int
rt_run_array_gather(struct rt_ctx *ctx, struct err *err)
{
    const struct array_attrs *s = ctx->node->state;
    struct rt_list *l = array_in(ctx, err);
    return l ? stack(ctx, l, ctx->in[1], &s->shape, err) : -(int)err->code;
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
        return rt_fail(ctx, err, ERR_FAILED, "Expected len(indices) == values.shape[0]");
    for (int64_t k = 0; k < t->dims[0]; k++) {
        struct rt_tensor row = rows_of(t, k, 1, true);
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
    return concat(ctx, l, &want, 0, err);
}

/* handle, value, lengths, flow → flow */
int
rt_run_array_split(struct rt_ctx *ctx, struct err *err)
{
    struct rt_list *l = array_in(ctx, err);
    if (!l || split(ctx, l, ctx->in[1], ctx->in[2], err) < 0)
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
