/* SPDX-License-Identifier: Apache-2.0 */
/* ParseExample, ParseExampleV2, ParseSingleExample: serialized tf.Examples to dense,
 * sparse and ragged tensors.
 *
 * A dense feature has a fixed shape, or an unknown first dimension: then each example
 * may have another number of rows, filled up with the default's one element. A feature
 * that comes twice counts once, the last time. A vector of examples adds a leading
 * dimension everywhere; V2 with a scalar, and ParseSingleExample, do not. */
#include "runtime/ops/parse_int.h"
#include "runtime/rt_int.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- what a node asks for ---- */

enum kind { DENSE, VARLEN, SPARSE, RAGGED };

struct parse_attrs {
    int version; /* 0: ParseSingleExample */
    int n_dense, n_sparse, n_ragged;
    const int *dense_types, *sparse_types, *ragged_types, *split_types;
    const struct sm_shape *shapes; /* of dense ones */
    const int64_t *strides;        /* elements of a dense one, or of a row of it */
    const struct str *dense_keys, *sparse_keys; /* of ParseSingleExample */
};

static int
read_shapes(struct rt_prep *p, struct parse_attrs *a)
{
    int n;
    a->shapes = rt_attr_shapes(p, "dense_shapes", &n);
    int64_t *strides = rt_prep_alloc(p, (size_t)a->n_dense * sizeof(*strides));
    if (n != a->n_dense)
        return rt_prep_fail(p, ERR_FAILED, "len(dense_keys) != len(dense_shapes)");
    for (int i = 0; i < n; i++) {
        const struct sm_shape *s = &a->shapes[i];
        bool known = !s->unknown_rank;
        strides[i] = 1;
        for (int d = 0; d < s->rank; d++) {
            known = known && (d == 0 || s->dims[d] >= 0);
            if (s->dims[d] >= 0 &&
                __builtin_mul_overflow(strides[i], s->dims[d], &strides[i]))
                return rt_prep_fail(p, ERR_FAILED, "dense_shapes[%d] is too large", i);
        }
        if (!known)
            return rt_prep_fail(
                p, ERR_FAILED,
                "dense_shapes[%d] has unknown rank or unknown inner dimensions", i);
        if (s->rank > 0 && s->dims[0] < 0 && strides[i] == 0)
            return rt_prep_fail(p, ERR_FAILED,
                                "dense_shapes[%d] has rows without elements", i);
        if (s->rank + 1 > SM_MAX_RANK)
            return rt_prep_fail(p, ERR_UNSUPPORTED,
                                "dense_shapes[%d] has rank %d; at most %d work", i,
                                s->rank, SM_MAX_RANK - 1);
    }
    a->strides = strides;
    return 0;
}

int
rt_prep_parse_example(struct rt_prep *p)
{
    struct parse_attrs *a = p->node->state = rt_prep_alloc(p, sizeof(*a));
    const struct rt_node *node = p->node;
    int n_splits = 0, n_dense_keys = 0, n_sparse_keys = 0;
    a->version = strcmp(node->op, "ParseExampleV2") == 0 ? 2
                 : strcmp(node->op, "ParseExample") == 0 ? 1
                                                         : 0;
    a->dense_types = rt_attr_types(p, "Tdense", &a->n_dense);
    a->sparse_types = rt_attr_types(p, "sparse_types", &a->n_sparse);
    if (a->version == 2) {
        a->ragged_types = rt_attr_types(p, "ragged_value_types", &a->n_ragged);
        a->split_types = rt_attr_types(p, "ragged_split_types", &n_splits);
    }
    if (a->version == 0) {
        a->dense_keys = rt_attr_strs(p, "dense_keys", &n_dense_keys);
        a->sparse_keys = rt_attr_strs(p, "sparse_keys", &n_sparse_keys);
        if (n_dense_keys != a->n_dense || n_sparse_keys != a->n_sparse)
            return rt_prep_fail(p, ERR_FAILED,
                                "len(dense_keys) != len(Tdense), or len(sparse_keys) "
                                "!= len(sparse_types)");
    }
    if (n_splits != a->n_ragged)
        return rt_prep_fail(p, ERR_FAILED,
                            "len(ragged_value_types) != len(ragged_split_types)");
    if (node->n_out != 3 * a->n_sparse + a->n_dense + 2 * a->n_ragged)
        return rt_prep_fail(p, ERR_FAILED, "len(sparse_keys) != len(sparse_types)");
    int n_fixed = a->version == 2   ? 5 + a->n_dense
                  : a->version == 1 ? 2 + a->n_sparse + 2 * a->n_dense
                                    : 1 + a->n_dense;
    if (node->n_in != n_fixed)
        return rt_prep_fail(p, ERR_FAILED,
                            "has %d inputs, not %d: keys, defaults and types differ in "
                            "number",
                            node->n_in, n_fixed);
    if (ex_check_dtypes(p, a->dense_types, a->n_dense) < 0 ||
        ex_check_dtypes(p, a->sparse_types, a->n_sparse) < 0 ||
        ex_check_dtypes(p, a->ragged_types, a->n_ragged) < 0 || read_shapes(p, a) < 0)
        return -(int)p->err->code;
    for (int i = 0; i < n_splits; i++)
        if (a->split_types[i] != SM_INT32 && a->split_types[i] != SM_INT64)
            return rt_prep_fail(p, ERR_FAILED, "Invalid ragged_split_type: %s",
                                rt_dtype_text(a->split_types[i]));
    return rt_prep_done(p);
}

/* ---- a run ---- */

struct feature {
    enum kind kind;
    int index; /* among those of its kind */
    struct str key;
    struct ex_sink sink;
    int64_t *ends; /* of each example in a growing sink */
    int64_t last;  /* example that had it last; -1 */
};

struct entry {
    struct str key, value; /* value: a Feature message */
};

struct parser {
    struct rt_ctx *ctx;
    const struct parse_attrs *a;
    const struct rt_tensor *serialized, *names, *const *defaults;
    bool single; /* no leading dimension */
    int64_t n_examples;
    struct feature *features;
    int n_features;
    struct rt_names by_key;
    struct entry *entries; /* of the example at hand */
    int64_t n_entries, cap_entries;
};

static void
parser_release(struct parser *p)
{
    for (int i = 0; i < p->n_features; i++)
        ex_sink_release(&p->features[i].sink);
    rt_names_release(&p->by_key);
    free(p->entries);
}

static int
dense_out(const struct parse_attrs *a, int d)
{
    return 3 * a->n_sparse + d;
}

static int
check_key(struct parser *p, int in, const char *what, int64_t want, struct err *err)
{
    if (p->ctx->in[in]->n_elems == want)
        return 0;
    return rt_fail(p->ctx, err, ERR_FAILED, "Expected %s but got: %lld vs. %lld", what,
                   (long long)p->ctx->in[in]->n_elems, (long long)want);
}

static int
check_inputs(struct parser *p, struct err *err)
{
    struct rt_ctx *ctx = p->ctx;
    const struct parse_attrs *a = p->a;
    const struct rt_tensor *x = p->serialized, *names = p->names;
    char text[RT_SHAPE_TEXT_BYTES], other[RT_SHAPE_TEXT_BYTES];
    const char *want = a->version == 2 ? "scalar or vector"
                       : a->version    ? "vector"
                                       : "scalar";
    if (a->version == 2 ? x->rank > 1 : x->rank != a->version)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Expected serialized to be a %s, got shape: %s", want,
                       rt_shape_text(x, text));
    if (names && names->n_elems > 0 && !rt_same_shape(names, x))
        return rt_fail(ctx, err, ERR_FAILED,
                       "Expected names have the same shape as serialized: "
                       "name.shape=%s, serialized.shape=%s",
                       rt_shape_text(names, text), rt_shape_text(x, other));
    if (a->version == 2 &&
        (check_key(p, 3, "len(dense_keys) == len(dense_types)", a->n_dense, err) < 0 ||
         check_key(p, 2, "len(sparse_keys) == num_sparse", a->n_sparse, err) < 0 ||
         check_key(p, 4, "len(ragged_keys) == len(ragged_value_types)", a->n_ragged,
                   err) < 0))
        return -(int)err->code;
    if (a->version == 1)
        for (int i = 2; i < 2 + a->n_sparse + a->n_dense; i++)
            if (ctx->in[i]->n_elems != 1)
                return rt_fail(ctx, err, ERR_FAILED, "a key must be a scalar");
    return 0;
}

static int
check_default(struct parser *p, int d, struct err *err)
{
    const struct sm_shape *s = &p->a->shapes[d];
    const struct rt_tensor *t = p->defaults[d];
    char want[RT_SHAPE_TEXT_BYTES], got[RT_SHAPE_TEXT_BYTES];
    bool varlen = s->rank > 0 && s->dims[0] < 0;
    rt_dims_text(s->rank, s->dims, want);
    rt_shape_text(t, got);
    if (varlen && t->n_elems != 1)
        return rt_fail(p->ctx, err, ERR_FAILED,
                       "dense_shape[%d] is a variable length shape: %s, therefore "
                       "def_value[%d] must contain a single element (the padding "
                       "element).  But its shape is: %s",
                       d, want, d, got);
    if (!varlen && t->n_elems > 0 &&
        (t->rank != s->rank ||
         (s->rank > 0 && memcmp(t->dims, s->dims, (size_t)s->rank * 8) != 0)))
        return rt_fail(p->ctx, err, ERR_FAILED,
                       "def_value[%d].shape() == %s is not compatible with "
                       "dense_shapes_[%d] == %s",
                       d, got, d, want);
    if (t->dtype != p->a->dense_types[d])
        return rt_fail(p->ctx, err, ERR_FAILED,
                       "dense_defaults[%d].dtype() == %s != dense_types_[%d] == %s", d,
                       rt_dtype_text(t->dtype), d, rt_dtype_text(p->a->dense_types[d]));
    return 0;
}

static int
add_feature(struct parser *p, enum kind kind, int index, int dtype, struct str key,
            struct err *err)
{
    struct feature *f = &p->features[p->n_features];
    *f = (struct feature){ .kind = kind, .index = index, .key = key, .last = -1 };
    f->sink = (struct ex_sink){ .dtype = dtype, .grows = kind != DENSE };
    if (rt_names_add(&p->by_key, key, p->n_features) >= 0)
        return rt_fail(p->ctx, err, ERR_FAILED, "key '%.*s' is asked for twice",
                       STR_ARG(key));
    p->n_features++;
    if (kind != DENSE) {
        f->ends = rt_scratch(p->ctx, (size_t)(p->n_examples + 1) * 8, err);
        if (!f->ends)
            return -(int)err->code;
        memset(f->ends, 0, (size_t)(p->n_examples + 1) * 8);
        f->ends++; /* ends[-1] = 0 */
    }
    return 0;
}

static int
add_dense(struct parser *p, int d, struct str key, struct err *err)
{
    const struct sm_shape *s = &p->a->shapes[d];
    int64_t dims[SM_MAX_RANK];
    struct rt_tensor *t;
    int rank = 0, dtype = p->a->dense_types[d];
    bool varlen = s->rank > 0 && s->dims[0] < 0;
    if (check_default(p, d, err) < 0 ||
        add_feature(p, varlen ? VARLEN : DENSE, d, dtype, key, err) < 0)
        return -(int)err->code;
    if (varlen)
        return 0;
    if (!p->single)
        dims[rank++] = p->n_examples;
    for (int i = 0; i < s->rank; i++)
        dims[rank++] = s->dims[i];
    return rt_out(p->ctx, dense_out(p->a, d), dtype, rank, dims, &t, err);
}

/* Key i of a kind that has its first key (or all keys in one) in input `in`. */
static struct str
key_at(const struct parser *p, int in, int i, const struct str *keys)
{
    if (keys)
        return keys[i];
    return p->a->version == 2 ? str_at(p->ctx->in[in], i)
                              : str_at(p->ctx->in[in + i], 0);
}

static int
add_features(struct parser *p, struct err *err)
{
    const struct parse_attrs *a = p->a;
    int n = a->n_dense + a->n_sparse + a->n_ragged;
    int dense_in = a->version == 2 ? 3 : 2 + a->n_sparse;
    p->features = rt_scratch(p->ctx, (size_t)n * sizeof(*p->features), err);
    if (!p->features)
        return -(int)err->code;
    for (int i = 0; i < a->n_dense; i++)
        if (add_dense(p, i, key_at(p, dense_in, i, a->dense_keys), err) < 0)
            return -(int)err->code;
    for (int i = 0; i < a->n_sparse; i++)
        if (add_feature(p, SPARSE, i, a->sparse_types[i],
                        key_at(p, 2, i, a->sparse_keys), err) < 0)
            return -(int)err->code;
    for (int i = 0; i < a->n_ragged; i++)
        if (add_feature(p, RAGGED, i, a->ragged_types[i], key_at(p, 4, i, NULL), err) <
            0)
            return -(int)err->code;
    return 0;
}

/* ---- one example ---- */

/* An entry of the map: key and value, in either order. */
static bool
read_entry(struct str it, struct entry *e)
{
    *e = (struct entry){ .key = { NULL, 0 } };
    for (int i = 0; i < 2; i++) {
        if (ex_tag(&it, EX_TAG(1, 2))) {
            if (!ex_string(&it, &e->key))
                return false;
        } else if (!ex_tag(&it, EX_TAG(2, 2)) || !ex_string(&it, &e->value)) {
            return false;
        }
    }
    return it.n == 0;
}

static bool
read_entries(struct parser *p, struct str it)
{
    struct str features, entry;
    p->n_entries = 0;
    while (it.n > 0) {
        if (!ex_tag(&it, EX_TAG(1, 2))) {
            if (!ex_skip(&it))
                return false;
            continue;
        }
        if (!ex_message(&it, &features))
            return false;
        while (features.n > 0) {
            if (p->n_entries == p->cap_entries) {
                p->cap_entries = p->cap_entries ? 2 * p->cap_entries : 64;
                p->entries = xreallocarray(p->entries, (size_t)p->cap_entries,
                                           sizeof(*p->entries));
            }
            if (!ex_tag(&features, EX_TAG(1, 2)) || !ex_message(&features, &entry) ||
                !read_entry(entry, &p->entries[p->n_entries++]))
                return false;
        }
    }
    return true;
}

static int
fail_feature(struct parser *p, const struct feature *f, int64_t e, struct err *err,
             const char *why)
{
    if (p->single)
        return rt_fail(p->ctx, err, ERR_FAILED, "Key: %.*s.  %s", STR_ARG(f->key), why);
    struct str name =
        p->names && p->names->n_elems > 0 ? str_at(p->names, e) : STR_LIT("<unknown>");
    return rt_fail(p->ctx, err, ERR_FAILED, "Name: %.*s, Key: %.*s, Index: %lld.  %s",
                   STR_ARG(name), STR_ARG(f->key), (long long)e, why);
}

/* Feature f has n elements (of a DENSE one) or n more that make no whole rows. */
static int
fail_count(struct parser *p, const struct feature *f, int64_t e, int64_t n,
           struct err *err)
{
    const struct sm_shape *s = &p->a->shapes[f->index];
    const char *list = f->sink.dtype == SM_STRING  ? "bytes"
                       : f->sink.dtype == SM_FLOAT ? "float"
                                                   : "int64";
    char why[512], shape[RT_SHAPE_TEXT_BYTES];
    rt_dims_text(s->rank, s->dims, shape);
    if (p->single)
        return fail_feature(p, f, e, err, "Can't parse serialized Example.");
    snprintf(why, sizeof(why),
             f->kind == VARLEN
                 ? "Number of %s values is not a multiple of stride length. Saw %lld "
                   "values but output shape is: %s"
                 : "Number of %s values != expected.  Values size: %lld but output "
                   "shape: %s",
             list, (long long)n, shape);
    return fail_feature(p, f, e, err, why);
}

/* Value `v` of feature f in example e. */
static int
parse_feature(struct parser *p, struct feature *f, int64_t e, struct str v,
              struct err *err)
{
    char why[256];
    if (v.n == 0) { /* no list at all: as if absent, except that an earlier one hides */
        if (f->kind != DENSE && f->kind != VARLEN && !p->single)
            f->last = e;
        return 0;
    }
    int kind = ex_kind((uint8_t)v.p[0]), want = f->sink.dtype;
    if (kind < 0)
        return rt_fail(p->ctx, err, ERR_FAILED, "Unsupported datatype.");
    if (f->last == e)
        return 0;
    f->last = e;
    if (kind != want) {
        if (f->kind == DENSE || f->kind == VARLEN)
            snprintf(why, sizeof(why),
                     "Data types don't match. Data type: %s but expected type: %s",
                     rt_dtype_text(kind), rt_dtype_text(want));
        else
            snprintf(why, sizeof(why),
                     "Data types don't match. Expected type: %s, Actual type: %s",
                     rt_dtype_text(want), rt_dtype_text(kind));
        return fail_feature(p, f, e, err, why);
    }
    struct ex_sink *s = &f->sink;
    int64_t stride =
        f->kind == DENSE || f->kind == VARLEN ? p->a->strides[f->index] : 1;
    if (f->kind == DENSE) {
        struct rt_tensor *t = &p->ctx->out[dense_out(p->a, f->index)];
        s->v = (char *)t->data + (size_t)(e * stride) * rt_dtype_size(want);
        s->n = 0;
        s->cap = stride;
    }
    struct str it = { v.p + 1, v.n - 1 }, list;
    int64_t before = s->n;
    if (!ex_message(&it, &list) || !ex_list(list, s))
        return fail_feature(p, f, e, err, "Can't parse serialized Example.");
    int64_t n = s->n - before;
    if (f->kind == DENSE ? n != stride : n % stride != 0)
        return fail_count(p, f, e, n, err);
    return 0;
}

static int
fill_missing(struct parser *p, int64_t e, struct err *err)
{
    for (int i = 0; i < p->n_features; i++) {
        struct feature *f = &p->features[i];
        if (f->kind != DENSE) {
            f->ends[e] = f->sink.n;
            continue;
        }
        if (f->last == e)
            continue;
        const struct rt_tensor *def = p->defaults[f->index];
        struct rt_tensor *t = &p->ctx->out[dense_out(p->a, f->index)];
        struct str name = p->names && p->names->n_elems > 0 ? str_at(p->names, e)
                                                            : STR_LIT("<unknown>");
        if (def->n_elems == 0 && p->single)
            return rt_fail(p->ctx, err, ERR_FAILED,
                           "Feature: %.*s (data type: %s) is required but could not "
                           "be found.",
                           STR_ARG(f->key), rt_dtype_text(def->dtype));
        if (def->n_elems == 0)
            return rt_fail(p->ctx, err, ERR_FAILED,
                           "Name: %.*s, Feature: %.*s (data type: %s) is required but "
                           "could not be found.",
                           STR_ARG(name), STR_ARG(f->key), rt_dtype_text(def->dtype));
        memcpy((char *)t->data + (size_t)e * rt_size(def), def->data, rt_size(def));
    }
    return 0;
}

/* The value is cut, and without control characters. */
static int
fail_example(struct parser *p, struct str x, struct err *err)
{
    char text[257];
    size_t n = K_MIN(x.n, sizeof(text) - 1);
    for (size_t i = 0; i < n; i++)
        text[i] = (char)((unsigned char)x.p[i] < ' ' ? '.' : x.p[i]);
    return rt_fail(p->ctx, err, ERR_FAILED,
                   "Could not parse example input, value: '%.*s'", (int)n, text);
}

static int
parse_example(struct parser *p, int64_t e, struct err *err)
{
    struct str x = str_at(p->serialized, e);
    if (!read_entries(p, x))
        return fail_example(p, x, err);
    for (int64_t i = p->n_entries - 1; i >= 0; i--) {
        int at = rt_names_find(&p->by_key, p->entries[i].key);
        if (at >= 0 &&
            parse_feature(p, &p->features[at], e, p->entries[i].value, err) < 0)
            return -(int)err->code;
    }
    return fill_missing(p, e, err);
}

/* ---- what was gathered, as tensors ---- */

static int64_t
most_in_example(const struct parser *p, const struct feature *f)
{
    int64_t most = 0;
    for (int64_t e = 0; e < p->n_examples; e++)
        most = K_MAX(most, f->ends[e] - f->ends[e - 1]);
    return most;
}

static int
put_sparse(struct parser *p, const struct feature *f, struct err *err)
{
    int n = p->a->n_sparse, i = f->index, cols = p->single ? 1 : 2;
    struct rt_tensor *indices, *shape;
    if (rt_out(p->ctx, i, SM_INT64, 2, (int64_t[]){ f->sink.n, cols }, &indices, err) <
            0 ||
        ex_out(p->ctx, n + i, &f->sink, 1, &f->sink.n, err) < 0 ||
        rt_out(p->ctx, 2 * n + i, SM_INT64, 1, (int64_t[]){ cols }, &shape, err) < 0)
        return -(int)err->code;
    int64_t *at = indices->data;
    for (int64_t e = 0; e < p->n_examples; e++)
        for (int64_t k = f->ends[e - 1]; k < f->ends[e]; k++) {
            if (!p->single)
                *at++ = e;
            *at++ = k - f->ends[e - 1];
        }
    at = shape->data;
    if (!p->single)
        *at++ = p->n_examples;
    *at = most_in_example(p, f);
    return 0;
}

static int
put_ragged(struct parser *p, const struct feature *f, struct err *err)
{
    const struct parse_attrs *a = p->a;
    int out = 3 * a->n_sparse + a->n_dense + f->index;
    int64_t n = p->single ? 0 : p->n_examples + 1;
    struct rt_tensor *splits;
    if (ex_out(p->ctx, out, &f->sink, 1, &f->sink.n, err) < 0 ||
        rt_out(p->ctx, out + a->n_ragged, a->split_types[f->index], 1, &n, &splits,
               err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < n; i++) {
        if (splits->dtype == SM_INT32)
            ((int32_t *)splits->data)[i] = (int32_t)f->ends[i - 1];
        else
            ((int64_t *)splits->data)[i] = f->ends[i - 1];
    }
    return 0;
}

/* [batch, most rows, ...] */
static int
put_varlen(struct parser *p, const struct feature *f, struct err *err)
{
    const struct sm_shape *s = &p->a->shapes[f->index];
    int out = dense_out(p->a, f->index), rank = 0;
    int64_t dims[SM_MAX_RANK], stride = p->a->strides[f->index];
    int64_t most = most_in_example(p, f);
    size_t size = rt_dtype_size(f->sink.dtype);
    struct rt_tensor *t;
    if (!p->single)
        dims[rank++] = p->n_examples;
    dims[rank++] = most / stride;
    for (int i = 1; i < s->rank; i++)
        dims[rank++] = s->dims[i];
    if (p->single)
        return ex_out(p->ctx, out, &f->sink, rank, dims, err);
    if (rt_out(p->ctx, out, f->sink.dtype, rank, dims, &t, err) < 0)
        return -(int)err->code;
    k_fill(t->data, p->defaults[f->index]->data, t->n_elems, size);
    for (int64_t e = 0; e < p->n_examples; e++) {
        int64_t from = f->ends[e - 1], n = f->ends[e] - from;
        if (n > 0)
            memcpy((char *)t->data + (size_t)(e * most) * size,
                   f->sink.v + (size_t)from * size, (size_t)n * size);
    }
    return 0;
}

int
rt_run_parse_example(struct rt_ctx *ctx, struct err *err)
{
    const struct parse_attrs *a = ctx->node->state;
    struct parser p AUTO(parser_release) = {
        .ctx = ctx,
        .a = a,
        .serialized = ctx->in[0],
        .names = a->version ? ctx->in[1] : NULL,
        .defaults = ctx->in + ctx->node->n_in - a->n_dense,
        .single = ctx->in[0]->rank == 0,
        .n_examples = ctx->in[0]->n_elems,
    };
    if (check_inputs(&p, err) < 0 || add_features(&p, err) < 0)
        return -(int)err->code;
    for (int64_t e = 0; e < p.n_examples; e++)
        if (parse_example(&p, e, err) < 0)
            return -(int)err->code;
    for (int i = 0; i < p.n_features; i++) {
        const struct feature *f = &p.features[i];
        int rc = f->kind == SPARSE   ? put_sparse(&p, f, err)
                 : f->kind == RAGGED ? put_ragged(&p, f, err)
                 : f->kind == VARLEN ? put_varlen(&p, f, err)
                                     : 0;
        if (rc < 0)
            return rc;
    }
    return 0;
}
