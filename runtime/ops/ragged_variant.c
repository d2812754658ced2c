/* SPDX-License-Identifier: Apache-2.0 */
/* RaggedTensorToVariant, RaggedTensorFromVariant: ragged tensors as elements of a
 * variant tensor, which is how loops over their rows carry them. */
#include "runtime/ops/ops_int.h"

#include <stdlib.h>

struct ragged {
    struct rt_obj obj;
    int n_splits;
    struct rt_tensor *splits;
    struct rt_tensor values;
};

static void
ragged_free(struct rt_obj *o)
{
    struct ragged *r = (struct ragged *)o;
    for (int i = 0; i < r->n_splits; i++)
        rt_tensor_unref(&r->splits[i]);
    rt_tensor_unref(&r->values);
    free(r->splits);
    free(r);
}

static const struct rt_obj_type ragged_type = { "RaggedTensor", ragged_free };

static struct ragged *
ragged_new(int n_splits)
{
    struct ragged *r = xcalloc(1, sizeof(*r));
    rt_obj_init(&r->obj, &ragged_type);
    r->n_splits = n_splits;
    r->splits = xcalloc((size_t)n_splits + 1, sizeof(*r->splits));
    return r;
}

/* Rows begin … end - 1 of t, whose memory it shares. */
static void
rows_of(struct rt_tensor *out, const struct rt_tensor *t, int64_t begin, int64_t end)
{
    int64_t inner = k_count(t->dims, 1, t->rank);
    rt_tensor_ref(out, t);
    out->dims[0] = end - begin;
    out->n_elems = (end - begin) * inner;
    out->data = (char *)t->data + (size_t)(begin * inner) * rt_dtype_size(t->dtype);
}

static void
put_int(struct rt_tensor *t, int64_t i, int64_t v)
{
    if (t->dtype == SM_INT32)
        ((int32_t *)t->data)[i] = (int32_t)v;
    else
        ((int64_t *)t->data)[i] = v;
}

struct variant_attrs {
    bool batched;
    int input_rank, output_rank, value_type, splits_type;
};

int
rt_prep_ragged_variant(struct rt_prep *p)
{
    struct variant_attrs *a = p->node->state = rt_prep_alloc(p, sizeof(*a));
    if (strcmp(p->node->op, "RaggedTensorToVariant") == 0) {
        a->batched = rt_attr_bool(p, "batched_input", false);
        a->input_rank = (int)rt_attr_int(p, "RAGGED_RANK", RT_REQUIRED);
        if (a->input_rank != p->node->n_in - 1)
            rt_prep_fail(p, ERR_CORRUPT, "RAGGED_RANK is %d, with %d splits",
                         a->input_rank, p->node->n_in - 1);
    } else {
        a->input_rank = (int)rt_attr_int(p, "input_ragged_rank", RT_REQUIRED);
        a->output_rank = (int)rt_attr_int(p, "output_ragged_rank", RT_REQUIRED);
        a->value_type = rt_attr_type(p, "Tvalues", RT_REQUIRED);
        a->splits_type = rt_attr_type(p, "Tsplits", SM_INT64);
        if (a->output_rank != p->node->n_out - 1)
            rt_prep_fail(p, ERR_CORRUPT, "output_ragged_rank is %d, for %d outputs",
                         a->output_rank, p->node->n_out);
    }
    return rt_prep_done(p);
}

/* Splits that cut n_children; the last level's children are values. */
static int
check_splits(struct rt_ctx *ctx, struct err *err)
{
    int n = ctx->node->n_in - 1;
    const struct rt_tensor *values = ctx->in[n];
    for (int d = 0; d < n; d++) {
        const struct rt_tensor *s = ctx->in[d];
        if (s->dtype != SM_INT32 && s->dtype != SM_INT64)
            return rt_fail_dtype(ctx, err, s->dtype);
        int64_t end = d + 1 < n          ? ctx->in[d + 1]->n_elems - 1
                      : values->rank > 0 ? values->dims[0]
                                         : -1;
        bool ok = s->rank == 1 && s->n_elems > 0 && rt_int_at(s, 0) == 0 &&
                  rt_int_at(s, s->n_elems - 1) == end;
        for (int64_t i = 1; ok && i < s->n_elems; i++)
            ok = rt_int_at(s, i) >= rt_int_at(s, i - 1);
        if (!ok)
            return rt_fail(ctx, err, ERR_FAILED,
                           "Invalid row splits %d of a ragged tensor", d);
    }
    return 0;
}

/* Row i of the input as a ragged tensor of one level less. */
static int
row_as_ragged(struct rt_ctx *ctx, int64_t i, struct ragged *r, struct err *err)
{
    int n = ctx->node->n_in - 1;
    int64_t begin = n > 0 ? rt_int_at(ctx->in[0], i) : i;
    int64_t end = n > 0 ? rt_int_at(ctx->in[0], i + 1) : i + 1;
    for (int d = 1; d < n; d++) {
        const struct rt_tensor *s = ctx->in[d];
        int64_t len = end - begin + 1, base = rt_int_at(s, begin);
        if (rt_tensor_new(ctx, &r->splits[d - 1], s->dtype, 1, &len, err) < 0)
            return -(int)err->code;
        for (int64_t k = 0; k < len; k++)
            put_int(&r->splits[d - 1], k, rt_int_at(s, begin + k) - base);
        end = rt_int_at(s, end);
        begin = base;
    }
    rows_of(&r->values, ctx->in[n], begin, end);
    if (n == 0) { /* a dense tensor: without the leading dimension */
        r->values.rank--;
        memmove(r->values.dims, r->values.dims + 1,
                (size_t)r->values.rank * sizeof(r->values.dims[0]));
    }
    return 0;
}

/* batched: a vector with an element for each row; else a scalar with the whole. */
int
rt_run_ragged_to_variant(struct rt_ctx *ctx, struct err *err)
{
    const struct variant_attrs *a = ctx->node->state;
    int n = ctx->node->n_in - 1;
    const struct rt_tensor *values = ctx->in[n];
    struct rt_tensor *y;
    if (check_splits(ctx, err) < 0)
        return -(int)err->code;
    if (!a->batched) {
        struct ragged *r = ragged_new(n);
        for (int i = 0; i < n; i++)
            rt_tensor_ref(&r->splits[i], ctx->in[i]);
        rt_tensor_ref(&r->values, values);
        return rt_out_obj(ctx, 0, SM_VARIANT, &r->obj, err);
    }
    if (values->rank < 1)
        return rt_fail(ctx, err, ERR_FAILED, "a scalar has no rows");
    int64_t n_rows = n > 0 ? ctx->in[0]->n_elems - 1 : values->dims[0];
    if (rt_out(ctx, 0, SM_VARIANT, 1, &n_rows, &y, err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < n_rows; i++) {
        struct ragged *r = ragged_new(n > 0 ? n - 1 : 0);
        ((struct rt_obj **)y->data)[i] = &r->obj;
        if (row_as_ragged(ctx, i, r, err) < 0)
            return -(int)err->code;
    }
    return 0;
}

/* ---- back ---- */

static int
check_part(struct rt_ctx *ctx, const struct rt_obj *o, int64_t i, int input_rank,
           struct err *err)
{
    const struct variant_attrs *a = ctx->node->state;
    const struct ragged *r = (const struct ragged *)o;
    if (!o || o->type != &ragged_type)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Input Variant element at index %lld doesn't hold a "
                       "RaggedTensorVariant",
                       (long long)i);
    if (r->n_splits != input_rank)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Encoded input RaggedTensorVariant has ragged_rank=%d.  "
                       "Expected ragged_rank=%d.",
                       r->n_splits, input_rank);
    if (r->values.dtype != a->value_type)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Expected values Tensor dtype: %s, found: %s",
                       rt_dtype_text(a->value_type), rt_dtype_text(r->values.dtype));
    if (r->values.rank < 1)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Ragged values must have rank >= 1; encoded scalar element at "
                       "index %lld",
                       (long long)i);
    for (int d = 0; d < r->n_splits; d++)
        if (r->splits[d].dtype != a->splits_type)
            return rt_fail(
                ctx, err, ERR_FAILED, "Expected row_splits Tensor dtype: %s, found: %s",
                rt_dtype_text(a->splits_type), rt_dtype_text(r->splits[d].dtype));
    return 0;
}

/* Output `out`: splits over the parts' own level d behind each other; d < 0: one row a
 * part. */
static int
stack_splits(struct rt_ctx *ctx, int out, const struct ragged *const *parts,
             int64_t n_parts, int d, struct err *err)
{
    const struct variant_attrs *a = ctx->node->state;
    int64_t n = d < 0 ? n_parts + 1 : 1, k = 1, base = 0;
    struct rt_tensor *t;
    for (int64_t i = 0; i < n_parts && d >= 0; i++)
        n += parts[i]->splits[d].n_elems - 1;
    if (rt_out(ctx, out, a->splits_type, 1, &n, &t, err) < 0)
        return -(int)err->code;
    put_int(t, 0, 0);
    for (int64_t i = 0; i < n_parts; i++) {
        const struct ragged *r = parts[i];
        if (d < 0) {
            base += r->n_splits > 0 ? r->splits[0].n_elems - 1 : r->values.dims[0];
            put_int(t, k++, base);
            continue;
        }
        const struct rt_tensor *s = &r->splits[d];
        for (int64_t j = 1; j < s->n_elems; j++)
            put_int(t, k++, base + rt_int_at(s, j));
        base += rt_int_at(s, s->n_elems - 1);
    }
    return 0;
}

static int
stack_values(struct rt_ctx *ctx, int out, const struct ragged *const *parts,
             int64_t n_parts, struct err *err)
{
    const struct variant_attrs *a = ctx->node->state;
    int64_t dims[SM_MAX_RANK] = { 0 };
    int rank = n_parts > 0 ? parts[0]->values.rank : 1;
    struct rt_tensor *t;
    for (int64_t i = 0; i < n_parts; i++) {
        const struct rt_tensor *v = &parts[i]->values;
        if (i == 0)
            memcpy(dims + 1, v->dims + 1, (size_t)(rank - 1) * sizeof(*dims));
        if (v->rank != rank ||
            memcmp(dims + 1, v->dims + 1, (size_t)(rank - 1) * sizeof(*dims)) != 0)
            return rt_fail(ctx, err, ERR_FAILED,
                           "All flat_values must have compatible shapes; those at "
                           "index 0 and %lld differ",
                           (long long)i);
        dims[0] += v->dims[0];
    }
    if (rt_out(ctx, out, a->value_type, rank, dims, &t, err) < 0)
        return -(int)err->code;
    char *p = t->data;
    for (int64_t i = 0; i < n_parts; i++) {
        size_t bytes = rt_size(&parts[i]->values);
        if (bytes > 0)
            memcpy(p, parts[i]->values.data, bytes);
        p += bytes;
    }
    k_own(t);
    return 0;
}

/* A scalar's ragged tensor; or those of all elements as rows of one, with splits for
 * the variant tensor's own dimensions first. */
int
rt_run_ragged_from_variant(struct rt_ctx *ctx, struct err *err)
{
    const struct variant_attrs *a = ctx->node->state;
    const struct rt_tensor *x = ctx->in[0];
    int input_rank = a->input_rank < 0 ? a->output_rank - x->rank : a->input_rank;
    if (a->output_rank != x->rank + input_rank || input_rank < 0)
        return rt_fail(ctx, err, ERR_FAILED,
                       "output_ragged_rank must be equal to input_ragged_rank + "
                       "encoded_ragged.dims(); output_ragged_rank: %d, "
                       "input_ragged_rank: %d, encoded_variant.dims(): %d.",
                       a->output_rank, input_rank, x->rank);
    const struct ragged *const *parts = x->data;
    for (int64_t i = 0; i < x->n_elems; i++)
        if (check_part(ctx, ((struct rt_obj **)x->data)[i], i, input_rank, err) < 0)
            return -(int)err->code;
    if (x->rank == 0) {
        for (int d = 0; d < input_rank; d++)
            rt_out_same(ctx, d, &parts[0]->splits[d]);
        rt_out_same(ctx, input_rank, &parts[0]->values);
        return 0;
    }
    for (int d = 0; d + 1 < x->rank; d++) {
        int64_t n = x->dims[d] + 1;
        struct rt_tensor *t;
        if (rt_out(ctx, d, a->splits_type, 1, &n, &t, err) < 0)
            return -(int)err->code;
        for (int64_t i = 0; i < n; i++)
            put_int(t, i, i * x->dims[d + 1]);
    }
    for (int d = -1; d < input_rank; d++)
        if (stack_splits(ctx, x->rank + d, parts, x->n_elems, d, err) < 0)
            return -(int)err->code;
    return stack_values(ctx, a->output_rank, parts, x->n_elems, err);
}
