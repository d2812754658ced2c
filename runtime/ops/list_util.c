/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/ops/list_int.h"

#include <stdlib.h>

enum { MAX_ELEMENTS = 1 << 28 };

/* ---- lists ----------------------------------------------------------------------- */

static void
list_free(struct rt_obj *o)
{
    struct rt_list *l = (struct rt_list *)o;
    for (int64_t i = 0; i < l->n; i++)
        rt_tensor_unref(&l->v[i]);
    rt_buf_unref(l->room);
    free(l);
}

const struct rt_obj_type list_type = { "TensorList", list_free };
const struct rt_obj_type list_array_type = { "TensorArray", list_free };

struct rt_list *
list_new(const struct rt_obj_type *type, int dtype, const struct sm_shape *shape)
{
    struct rt_list *l = xcalloc(1, sizeof(*l));
    rt_obj_init(&l->obj, type);
    l->dtype = dtype;
    l->shape = *shape;
    l->most = -1;
    return l;
}

/* Elements are counted as memory of the run too. */
static int
grow(const struct rt_ctx *ctx, struct rt_list *l, int64_t n, struct err *err)
{
    struct rt_buf *room;
    int64_t cap = n < 2 * l->cap ? 2 * l->cap : n;
    if (rt_buf_new(&room, &ctx->session->mem, (size_t)cap * sizeof(l->v[0]), err) < 0)
        return err_ctx(err, "node '%s' (%s): a list of %lld elements", ctx->node->name,
                       ctx->node->op, (long long)n);
    if (l->n > 0)
        memcpy(room->data, l->v, (size_t)l->n * sizeof(l->v[0]));
    rt_buf_unref(l->room);
    l->room = room;
    l->v = room->data;
    l->cap = cap;
    return 0;
}

/* To n elements; new ones are missing. */
int
list_resize(const struct rt_ctx *ctx, struct rt_list *l, int64_t n, struct err *err)
{
    if (n < 0 || n > MAX_ELEMENTS)
        return rt_fail(ctx, err, ERR_FAILED, "a list of %lld elements", (long long)n);
    for (int64_t i = n; i < l->n; i++)
        rt_tensor_unref(&l->v[i]);
    if (n > l->cap && grow(ctx, l, n, err) < 0)
        return -(int)err->code;
    for (int64_t i = l->n; i < n; i++)
        l->v[i] = (struct rt_tensor){ 0 };
    l->n = n;
    return 0;
}

void
list_set(struct rt_list *l, int64_t i, const struct rt_tensor *t)
{
    struct rt_tensor old = l->v[i];
    rt_tensor_ref(&l->v[i], t);
    rt_tensor_unref(&old);
}

/* ---- shapes ---------------------------------------------------------------------- */

/* A shape given as a tensor: a vector, -1 for what is unknown, or a scalar -1. */
int
list_shape_in(const struct rt_ctx *ctx, int i, struct sm_shape *s, struct err *err)
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

bool
list_fits(const struct sm_shape *s, int rank, const int64_t *dims)
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
    if (!list_fits(s, rank, dims))
        return false;
    for (int d = 0; d < rank; d++)
        if (s->unknown_rank || s->dims[d] < 0)
            s->dims[d] = dims[d];
    s->unknown_rank = false;
    s->rank = rank;
    return true;
}

bool
list_is_known(const struct sm_shape *s)
{
    bool known = !s->unknown_rank;
    for (int d = 0; known && d < s->rank; d++)
        known = s->dims[d] >= 0;
    return known;
}

int
list_bad_shape(const struct rt_ctx *ctx, struct err *err, const struct sm_shape *s,
               int rank, const int64_t *dims)
{
    char a[RT_SHAPE_TEXT_BYTES], b[RT_SHAPE_TEXT_BYTES];
    return rt_fail(ctx, err, ERR_FAILED,
                   "an element of shape %s is not compatible with "
                   "element_shape %s",
                   rt_dims_text(rank, dims, a),
                   s->unknown_rank ? "<unknown>" : rt_dims_text(s->rank, s->dims, b));
}

/* The shape of the elements: what is asked for (NULL: nothing), what the list knows,
 * what its elements are. */
static int
list_element_shape(const struct rt_ctx *ctx, const struct rt_list *l,
                   const struct sm_shape *want, struct sm_shape *s, struct err *err)
{
    *s = l->shape;
    if (want && !want->unknown_rank && !merge_shape(s, want->rank, want->dims))
        return list_bad_shape(ctx, err, s, want->rank, want->dims);
    for (int64_t i = 0; i < l->n && !list_is_known(s); i++)
        if (l->v[i].buf && !merge_shape(s, l->v[i].rank, l->v[i].dims))
            return list_bad_shape(ctx, err, s, l->v[i].rank, l->v[i].dims);
    return 0;
}

int
list_check_item(const struct rt_ctx *ctx, const struct rt_list *l,
                const struct rt_tensor *t, struct err *err)
{
    if (t->dtype != l->dtype)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Invalid data types; op elements %s but list "
                       "elements %s",
                       rt_dtype_text(t->dtype), rt_dtype_text(l->dtype));
    if (!list_fits(&l->shape, t->rank, t->dims))
        return list_bad_shape(ctx, err, &l->shape, t->rank, t->dims);
    return 0;
}

/* ---- pieces of tensors ----------------------------------------------------------- */

/* A lent view of rows begin … begin + n of t, flattened into its first dimension or
 * with that dimension dropped. */
struct rt_tensor
list_rows(const struct rt_tensor *t, int64_t begin, int64_t n, bool drop)
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
    if (!list_is_known(s))
        return rt_fail(ctx, err, ERR_FAILED,
                       "Trying to read an uninitialized tensor but "
                       "element_shape is not fully defined");
    if (rt_out(ctx, i, dtype, s->rank, s->dims, &y, err) < 0)
        return -(int)err->code;
    memset(y->data, 0, rt_size(y));
    return 0;
}

/* y[k] = element indices[k] (NULL: every element in order). */
int
list_stack(struct rt_ctx *ctx, const struct rt_list *l, const struct rt_tensor *indices,
           const struct sm_shape *want, struct err *err)
{
    struct sm_shape s;
    struct rt_tensor *y;
    int64_t dims[SM_MAX_RANK + 1], n = indices ? indices->n_elems : l->n, elems = 1;
    if (list_element_shape(ctx, l, want, &s, err) < 0)
        return -(int)err->code;
    if (!list_is_known(&s))
        return rt_fail(ctx, err, ERR_FAILED,
                       "Tried to stack elements of a list with "
                       "non-fully-defined element_shape, and it has none to tell it");
    dims[0] = n;
    for (int d = 0; d < s.rank; d++)
        elems *= dims[d + 1] = s.dims[d];
    if (rt_out(ctx, 0, l->dtype, s.rank + 1, dims, &y, err) < 0)
        return -(int)err->code;
    for (int64_t k = 0; k < n; k++) {
        int64_t i = indices ? rt_int_at(indices, k) : k;
        if (i < 0 || i >= l->n)
            return rt_fail(ctx, err, ERR_FAILED,
                           "Trying to gather element %lld in a list "
                           "with %lld elements.",
                           (long long)i, (long long)l->n);
        const struct rt_tensor *t = &l->v[i];
        if (t->buf && !list_fits(&s, t->rank, t->dims))
            return list_bad_shape(ctx, err, &s, t->rank, t->dims);
        if (t->buf)
            copy_into(y, k * elems, t);
        else
            memset((char *)y->data + (size_t)(k * elems) * rt_dtype_size(l->dtype), 0,
                   (size_t)elems * rt_dtype_size(l->dtype));
    }
    return 0;
}

/* Elements one behind the other along their first dimension, and its sizes. */
int
list_concat(struct rt_ctx *ctx, const struct rt_list *l, const struct sm_shape *want,
            struct err *err)
{
    struct rt_tensor *y, *lengths;
    struct sm_shape rest = *want;
    int64_t rows = 0;
    for (int64_t i = 0; i < l->n; i++) {
        const struct rt_tensor *t = &l->v[i];
        if (!t->buf || t->rank < 1)
            return rt_fail(ctx, err, ERR_FAILED,
                           "Concat saw a scalar or missing element at "
                           "index %lld",
                           (long long)i);
        if (rest.rank > 0)
            rest.dims[0] = -1;
        if (!merge_shape(&rest, t->rank, t->dims))
            return list_bad_shape(ctx, err, &rest, t->rank, t->dims);
        rows += t->dims[0];
    }
    if (rest.unknown_rank || rest.rank < 1)
        return rt_fail(ctx, err, ERR_FAILED,
                       "All except the first dimension must be fully "
                       "defined when concating an empty list");
    rest.dims[0] = rows;
    if (rt_out(ctx, 0, l->dtype, rest.rank, rest.dims, &y, err) < 0 ||
        rt_out(ctx, 1, SM_INT64, 1, &l->n, &lengths, err) < 0)
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
int
list_split(struct rt_ctx *ctx, struct rt_list *l, const struct rt_tensor *t,
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
        struct rt_tensor row = list_rows(t, at, n, false);
        if (list_check_item(ctx, l, &row, err) < 0)
            return -(int)err->code;
        list_set(l, i, &row);
        at += n;
    }
    if (at != t->dims[0])
        return rt_fail(ctx, err, ERR_FAILED,
                       "Unused values in tensor. Length of tensor: %lld "
                       "Values used: %lld",
                       (long long)t->dims[0], (long long)at);
    return 0;
}

int
list_scalar_in(const struct rt_ctx *ctx, int i, int64_t *v, struct err *err)
{
    if (ctx->in[i]->n_elems != 1)
        return rt_fail(ctx, err, ERR_FAILED, "input %d must be a scalar", i);
    *v = rt_int_at(ctx->in[i], 0);
    return 0;
}

/* Output i: element k of l. */
int
list_give(struct rt_ctx *ctx, int i, const struct rt_list *l, int64_t k,
          const struct sm_shape *want, struct err *err)
{
    struct sm_shape s;
    const struct rt_tensor *t = &l->v[k];
    if (!t->buf)
        return list_element_shape(ctx, l, want, &s, err) < 0
                   ? -(int)err->code
                   : zeros(ctx, i, l->dtype, &s, err);
    if (want && !list_fits(want, t->rank, t->dims))
        return list_bad_shape(ctx, err, want, t->rank, t->dims);
    rt_out_same(ctx, i, t);
    return 0;
}
