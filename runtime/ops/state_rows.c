/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of variables: rows that are gathered and scattered, strided slices. */
#include "runtime/ops/array_slice.h"
#include "runtime/ops/state_int.h"

/* ---- scatter --------------------------------------------------------------------- */

struct scatter {
    enum rt_update op;
    bool nd, is_ref;
};

int
rt_prep_scatter(struct rt_prep *p)
{
    static const struct {
        const char *suffix;
        enum rt_update op;
    } ops[] = { { "Update", RT_SET }, { "Add", RT_ADD }, { "Sub", RT_SUB },
                { "Mul", RT_MUL },    { "Div", RT_DIV }, { "Min", RT_MIN },
                { "Max", RT_MAX } };
    struct scatter *s = p->node->state = rt_prep_alloc(p, sizeof(*s));
    const char *op = p->node->op;
    size_t len = strlen(op);
    s->is_ref = strncmp(op, "Resource", 8) != 0;
    s->nd = strstr(op, "ScatterNd") != NULL;
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
        if (len > strlen(ops[i].suffix) &&
            strcmp(op + len - strlen(ops[i].suffix), ops[i].suffix) == 0)
            s->op = ops[i].op;
    return state_share_target(p);
}

/* How a tensor is cut: `n` slices of `slice` elements, chosen by `depth` indices each.
 */
struct cut {
    int64_t n, slice;
    int depth;
};

/* Slices of `t` chosen by the rows of `indices`: whole first dimensions (nd: as many as
 * the last dimension of indices says). */
static int
cut_of(struct rt_ctx *ctx, const struct rt_tensor *t, const struct rt_tensor *indices,
       bool nd, struct cut *c, struct err *err)
{
    c->depth = 1;
    c->n = indices->n_elems;
    if (nd) {
        if (indices->rank < 1 || indices->dims[indices->rank - 1] > t->rank)
            return rt_fail(ctx, err, ERR_FAILED,
                           "the last dimension of indices must be at "
                           "most the rank of the variable, %d",
                           t->rank);
        c->depth = (int)indices->dims[indices->rank - 1];
        c->n = 1;
        for (int i = 0; i < indices->rank - 1; i++)
            c->n *= indices->dims[i];
    } else if (t->rank < 1) {
        return rt_fail(ctx, err, ERR_FAILED,
                       "the variable must be at least 1-dimensional");
    }
    c->slice = 1;
    for (int i = c->depth; i < t->rank; i++)
        c->slice *= t->dims[i];
    return 0;
}

/* Where slice i begins, in slices. */
static int
slice_at(struct rt_ctx *ctx, const struct rt_tensor *t, const struct rt_tensor *indices,
         const struct cut *c, int64_t i, int64_t *at, struct err *err)
{
    *at = 0;
    for (int d = 0; d < c->depth; d++) {
        int64_t v = rt_int_at(indices, i * c->depth + d);
        if (v < 0 || v >= t->dims[d])
            return rt_fail(ctx, err, ERR_FAILED,
                           "indices[%lld] = %lld is not in [0, %lld)", (long long)i,
                           (long long)v, (long long)t->dims[d]);
        *at = *at * t->dims[d] + v;
    }
    return 0;
}

static int
copy_strings(struct rt_ctx *ctx, struct rt_tensor *value, int64_t at,
             const struct str *src, int64_t n, int step, struct err *err)
{
    struct str *dst = (struct str *)value->data + at;
    for (int64_t i = 0; i < n; i++)
        dst[i] = src[i * step];
    /* The bytes lie elsewhere now: packed anew, for as long as the variable lives. */
    struct rt_tensor packed;
    int rc = rt_tensor_deep_copy(&packed, &ctx->session->mem, value, err);
    rt_tensor_unref(value);
    if (rc == 0)
        *value = packed;
    return rc;
}

static int
scatter_rows(struct rt_ctx *ctx, struct rt_tensor *value, void *arg, struct err *err)
{
    const struct scatter *s = arg;
    const struct rt_tensor *indices = ctx->in[1], *updates = ctx->in[2];
    struct cut c;
    if (cut_of(ctx, value, indices, s->nd, &c, err) < 0)
        return -(int)err->code;
    bool scalar = updates->n_elems == 1 && updates->rank == 0 && !s->nd;
    if (updates->dtype != value->dtype ||
        (!scalar && updates->n_elems != c.n * c.slice))
        return rt_fail(
            ctx, err, ERR_FAILED,
            "Must have updates.shape = indices.shape + "
            "params.shape[1:] or updates.shape = [], got %lld elements of %s for "
            "%lld slices of %lld",
            (long long)updates->n_elems, rt_dtype_text(updates->dtype), (long long)c.n,
            (long long)c.slice);
    if (s->op == RT_DIV &&
        !rt_update_divides(updates->dtype, updates->data, updates->n_elems))
        return rt_fail(ctx, err, ERR_FAILED, "division by zero");
    size_t size = rt_dtype_size(value->dtype);
    int step = scalar ? 0 : 1;
    for (int64_t i = 0; i < c.n; i++) {
        int64_t at;
        if (slice_at(ctx, value, indices, &c, i, &at, err) < 0)
            return -(int)err->code;
        const char *src =
            (const char *)updates->data + (size_t)(scalar ? 0 : i * c.slice) * size;
        if (value->dtype == SM_STRING && s->op == RT_SET) {
            if (copy_strings(ctx, value, at * c.slice, (const void *)src, c.slice, step,
                             err) < 0)
                return -(int)err->code;
        } else if (!rt_update(s->op, value->dtype,
                              (char *)value->data + (size_t)(at * c.slice) * size, src,
                              c.slice, step)) {
            return rt_fail_dtype(ctx, err, value->dtype);
        }
    }
    return 0;
}

/* resource or reference, indices, updates. Later updates of a slice win or add up.
 * ERR_FAILED: an index out of range (the updates before it stay made). */
int
rt_run_scatter(struct rt_ctx *ctx, struct err *err)
{
    struct scatter *s = ctx->node->state;
    struct rt_var *v = state_var_in(ctx, 0, err);
    if (!v || rt_var_edit(ctx, v, scatter_rows, s, err) < 0)
        return -(int)err->code;
    if (s->is_ref)
        rt_out_same(ctx, 0, ctx->in[0]);
    return 0;
}

struct gather {
    bool nd;
    int batch_dims;
};

int
rt_prep_resource_gather(struct rt_prep *p)
{
    struct gather *s = p->node->state = rt_prep_alloc(p, sizeof(*s));
    s->nd = strcmp(p->node->op, "ResourceGatherNd") == 0;
    s->batch_dims = s->nd ? 0 : (int)rt_attr_int(p, "batch_dims", 0);
    if (s->batch_dims < 0 || s->batch_dims >= SM_MAX_RANK)
        return rt_prep_fail(p, ERR_UNSUPPORTED, "batch_dims %d", s->batch_dims);
    return rt_prep_done(p);
}

/* y[b…, i…, rest…] = t[b…, indices[b…, i…], rest…]; nd: indices are rows of
 * coordinates. */
static int
gather(struct rt_ctx *ctx, const struct rt_tensor *t, struct err *err)
{
    const struct gather *s = ctx->node->state;
    const struct rt_tensor *indices = ctx->in[1];
    struct rt_tensor rest = *t, *y;
    struct cut c;
    int64_t dims[2 * SM_MAX_RANK], batch = 1;
    int rank = 0, bd = s->batch_dims;
    if (indices->rank < bd || t->rank < bd)
        return rt_fail(ctx, err, ERR_FAILED,
                       "batch_dims is beyond the rank of the inputs");
    for (int i = 0; i < bd; i++) {
        batch *= t->dims[i];
        if (t->dims[i] != indices->dims[i])
            return rt_fail(ctx, err, ERR_FAILED,
                           "the batch dimensions of params and indices "
                           "differ");
    }
    rest.rank -= bd;
    memmove(rest.dims, t->dims + bd, (size_t)rest.rank * sizeof(rest.dims[0]));
    if (cut_of(ctx, &rest, indices, s->nd, &c, err) < 0)
        return -(int)err->code;
    for (int i = 0; i < indices->rank - s->nd; i++)
        dims[rank++] = indices->dims[i];
    for (int i = c.depth; i < rest.rank; i++)
        dims[rank++] = rest.dims[i];
    if (rt_out(ctx, 0, t->dtype, rank, dims, &y, err) < 0)
        return -(int)err->code;
    size_t bytes = (size_t)c.slice * rt_dtype_size(t->dtype);
    int64_t per = batch > 0 ? c.n / batch : 0;
    int64_t of_batch =
        c.slice * (c.depth > 0 && rest.rank > 0 && bd > 0 ? rest.dims[0] : 0);
    for (int64_t i = 0; i < c.n; i++) {
        int64_t at;
        if (slice_at(ctx, &rest, indices, &c, i, &at, err) < 0)
            return -(int)err->code;
        size_t from = (size_t)at * bytes;
        if (bd > 0)
            from += (size_t)(i / per * of_batch) * rt_dtype_size(t->dtype);
        if (bytes > 0)
            memcpy((char *)y->data + (size_t)i * bytes, (const char *)t->data + from,
                   bytes);
    }
    return 0;
}

int
rt_run_resource_gather(struct rt_ctx *ctx, struct err *err)
{
    struct rt_var *v = state_var_in(ctx, 0, err);
    struct rt_tensor t;
    if (!v || rt_var_read(v, ctx->node, &t, err) < 0)
        return -(int)err->code;
    int rc = gather(ctx, &t, err);
    rt_tensor_unref(&t);
    return rc;
}

/* ---- strided slices -------------------------------------------------------------- */

struct slice_assign {
    struct k_slice_masks masks;
    bool is_ref;
};

int
rt_prep_slice_assign(struct rt_prep *p)
{
    struct slice_assign *s = p->node->state = rt_prep_alloc(p, sizeof(*s));
    s->is_ref = strncmp(p->node->op, "Resource", 8) != 0;
    k_slice_prep(p, &s->masks);
    return state_share_target(p);
}

static int
write_part(struct rt_ctx *ctx, struct rt_tensor *value, void *arg, struct err *err)
{
    const struct slice_assign *sa = arg;
    const struct rt_tensor *part = ctx->in[4];
    struct k_slice s;
    struct k_box b;
    int64_t offset;
    size_t elem = rt_dtype_size(value->dtype);
    char want_text[RT_SHAPE_TEXT_BYTES], got_text[RT_SHAPE_TEXT_BYTES];
    if (value->dtype == SM_STRING || value->dtype != part->dtype)
        return rt_fail_dtype(ctx, err, part->dtype);
    if (k_slice_init(&s, ctx, &sa->masks, value->rank, value->dims, ctx->in[1],
                     ctx->in[2], ctx->in[3], err) < 0)
        return -(int)err->code;
    struct rt_tensor want = { .rank = s.out_rank };
    memcpy(want.dims, s.out_dims, sizeof(want.dims));
    if (part->rank > 0 && !rt_same_shape(part, &want))
        return rt_fail(ctx, err, ERR_FAILED, "the slice has shape %s, the value %s",
                       rt_shape_text(&want, want_text), rt_shape_text(part, got_text));
    k_slice_box(&s, value->dims, false, &b, &offset);
    if (part->n_elems == 1) /* one value for all */
        memset(b.src, 0, sizeof(b.src));
    if (k_count(s.size, 0, s.rank) > 0)
        k_copy(&b, (char *)value->data + offset * (int64_t)elem, part->data, elem);
    return 0;
}

/* resource or reference, begin, end, strides, value: variable[begin:end:strides] =
 * value. */
int
rt_run_slice_assign(struct rt_ctx *ctx, struct err *err)
{
    struct slice_assign *s = ctx->node->state;
    struct rt_var *v = state_var_in(ctx, 0, err);
    if (!v || rt_var_edit(ctx, v, write_part, s, err) < 0)
        return -(int)err->code;
    if (s->is_ref)
        rt_out_same(ctx, 0, ctx->in[0]);
    return 0;
}
