/* SPDX-License-Identifier: Apache-2.0 */
/* SparseCross, SparseCrossV2, SparseCrossHashed, RaggedCross: for each row of a batch
 * all ways of taking one feature from each column, joined as text or hashed to a
 * number. The last column changes fastest. */
#include "runtime/ops/sparse_int.h"
#include "runtime/ops/string_int.h"

#include "base/farmhash.h"

#include <stdlib.h>

struct cross_attrs {
    int n_sparse;
    bool hashed, strings; /* of SparseCross: hashed_output; internal_type is string */
    bool ragged_out;      /* RaggedCross */
    int64_t n_buckets, key;
    int out_type, splits_type;
    int n_ragged;
    const char *order; /* RaggedCross: R, S, D in the order of the columns */
};

int
rt_prep_sparse_cross(struct rt_prep *p)
{
    struct cross_attrs *a = p->node->state = rt_prep_alloc(p, sizeof(*a));
    const char *op = p->node->op;
    int n = 0, n_dense = 0;
    rt_attr_types(p, "dense_types", &n_dense);
    a->out_type = SM_STRING;
    a->strings = true;
    if (strcmp(op, "RaggedCross") == 0) {
        a->ragged_out = true;
        a->order = rt_attr_str(p, "input_order", NULL);
        rt_attr_types(p, "ragged_values_types", &a->n_ragged);
        rt_attr_types(p, "sparse_values_types", &n);
        a->n_sparse = (int)rt_attr_int(p, "Nsparse", RT_REQUIRED);
        a->splits_type = rt_attr_type(p, "out_row_splits_type", RT_REQUIRED);
    } else {
        a->n_sparse = (int)rt_attr_int(p, "N", RT_REQUIRED);
        rt_attr_types(p, "sparse_types", &n);
    }
    int n_extra = strcmp(op, "SparseCrossHashed") == 0 ? 3
                  : strcmp(op, "SparseCrossV2") == 0   ? 1
                                                       : 0;
    if (n != a->n_sparse ||
        p->node->n_in != 2 * a->n_ragged + 3 * a->n_sparse + n_dense + n_extra)
        return rt_prep_fail(p, ERR_CORRUPT, "types and inputs differ in number");
    if (n_extra == 0) {
        a->hashed = rt_attr_bool(p, "hashed_output", false);
        a->n_buckets = rt_attr_int(p, "num_buckets", 0);
        a->key = rt_attr_int(p, "hash_key", 0);
        a->strings = !a->hashed;
        a->out_type = a->hashed ? SM_INT64 : SM_STRING;
    } else if (n_extra == 3) {
        a->hashed = true;
        a->strings = false;
        a->out_type = SM_INT64;
    }
    if (a->n_buckets < 0)
        rt_prep_fail(p, ERR_FAILED, "num_buckets is negative");
    return rt_prep_done(p);
}

/* A column: features of row r are values[start[r]] … values[start[r + 1] - 1]. */
struct column {
    const struct rt_tensor *values;
    int64_t *start; /* NULL: dense, `width` a row */
    int64_t width;
};

struct cross {
    struct rt_ctx *ctx;
    const struct cross_attrs *a;
    struct column *col;
    int n_cols;
    int64_t n_rows;
    struct str separator;
    bool strong, seeded;
    uint64_t salt[2], key, n_buckets;
};

static int
bad_column(struct cross *c, const char *why, struct err *err)
{
    return rt_fail(c->ctx, err, ERR_FAILED, "column %d: %s", c->n_cols, why);
}

/* The number of rows must be the same everywhere. */
static int
set_rows(struct cross *c, int64_t n, struct err *err)
{
    if (c->n_cols > 0 && n != c->n_rows)
        return rt_fail(c->ctx, err, ERR_FAILED,
                       "Expected batch size %lld but got %lld in column %d",
                       (long long)c->n_rows, (long long)n, c->n_cols);
    c->n_rows = n;
    return 0;
}

static int
check_values(struct cross *c, const struct rt_tensor *v, struct err *err)
{
    return v->dtype == SM_INT64 || v->dtype == SM_STRING
               ? 0
               : rt_fail_dtype(c->ctx, err, v->dtype);
}

static int
add_sparse(struct cross *c, int indices, int values, int shape, struct err *err)
{
    struct sparse s;
    struct column *col = &c->col[c->n_cols];
    if (sparse_in(c->ctx, indices, values, shape, &s, err) < 0 ||
        check_values(c, s.values, err) < 0)
        return -(int)err->code;
    if (s.rank != 2)
        return bad_column(c, "a sparse input must be a matrix", err);
    if (s.dims[0] < 0 || s.dims[0] > s.n + ((int64_t)1 << 40))
        return bad_column(c, "too many rows", err);
    if (set_rows(c, s.dims[0], err) < 0)
        return -(int)err->code;
    col->values = s.values;
    col->start = rt_scratch(c->ctx, (size_t)(c->n_rows + 1) * sizeof(int64_t), err);
    if (!col->start)
        return -(int)err->code;
    int64_t row = 0;
    col->start[0] = 0;
    for (int64_t i = 0; i < s.n; i++) {
        if (s.at[2 * i] < row || s.at[2 * i] >= c->n_rows)
            return bad_column(c, "row indices must be in order and inside the shape",
                              err);
        for (; row < s.at[2 * i]; row++)
            col->start[row + 1] = i;
    }
    for (; row < c->n_rows; row++)
        col->start[row + 1] = s.n;
    c->n_cols++;
    return 0;
}

static int
add_ragged(struct cross *c, const struct rt_tensor *v, const struct rt_tensor *splits,
           struct err *err)
{
    struct column *col = &c->col[c->n_cols];
    int64_t n = splits->n_elems;
    if (splits->dtype != SM_INT32 && splits->dtype != SM_INT64)
        return rt_fail_dtype(c->ctx, err, splits->dtype);
    if (v->rank != 1 || splits->rank != 1 || n < 1 || rt_int_at(splits, 0) != 0 ||
        rt_int_at(splits, n - 1) != v->n_elems)
        return bad_column(c, "Invalid row_splits for a ragged input", err);
    if (check_values(c, v, err) < 0 || set_rows(c, n - 1, err) < 0)
        return -(int)err->code;
    col->values = v;
    col->start = rt_scratch(c->ctx, (size_t)n * sizeof(int64_t), err);
    if (!col->start)
        return -(int)err->code;
    for (int64_t i = 0; i < n; i++) {
        col->start[i] = rt_int_at(splits, i);
        if (i > 0 && col->start[i] < col->start[i - 1])
            return bad_column(c, "row_splits must not descend", err);
    }
    c->n_cols++;
    return 0;
}

static int
add_dense(struct cross *c, const struct rt_tensor *v, struct err *err)
{
    if (v->rank != 2)
        return bad_column(c, "a dense input must be a matrix", err);
    if (check_values(c, v, err) < 0 || set_rows(c, v->dims[0], err) < 0)
        return -(int)err->code;
    c->col[c->n_cols++] = (struct column){ .values = v, .width = v->dims[1] };
    return 0;
}

static int
add_columns(struct cross *c, struct err *err)
{
    const struct cross_attrs *a = c->a;
    struct rt_ctx *ctx = c->ctx;
    int n_sparse = a->n_sparse, base = 2 * a->n_ragged;
    int n_extra =
        !a->order && !a->hashed && strcmp(ctx->node->op, "SparseCross") ? 1 : 0;
    if (strcmp(ctx->node->op, "SparseCrossHashed") == 0)
        n_extra = 3;
    int n_dense = ctx->node->n_in - base - 3 * n_sparse - n_extra;
    int first_dense = base + 3 * n_sparse, done[3] = { 0 };
    int n = a->n_ragged + n_sparse + n_dense;
    if (a->order && strlen(a->order) != (size_t)n)
        return rt_fail(ctx, err, ERR_FAILED, "Invalid input_order");
    c->col = rt_scratch(ctx, (size_t)(n + 1) * sizeof(*c->col), err);
    if (!c->col)
        return -(int)err->code;
    memset(c->col, 0, (size_t)(n + 1) * sizeof(*c->col));
    for (int i = 0; i < n; i++) {
        char kind = a->order ? a->order[i] : i < n_sparse ? 'S' : 'D';
        int which = kind == 'R' ? 0 : kind == 'S' ? 1 : 2;
        int k = done[which]++;
        if (k >= (which == 0 ? a->n_ragged : which == 1 ? n_sparse : n_dense))
            return rt_fail(ctx, err, ERR_FAILED, "Invalid input_order");
        int rc = which == 0   ? add_ragged(c, ctx->in[k], ctx->in[a->n_ragged + k], err)
                 : which == 1 ? add_sparse(c, base + k, base + n_sparse + k,
                                           base + 2 * n_sparse + k, err)
                              : add_dense(c, ctx->in[first_dense + k], err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int64_t
n_features(const struct cross *c, int col, int64_t row)
{
    const struct column *x = &c->col[col];
    return x->start ? x->start[row + 1] - x->start[row] : x->width;
}

static int
n_crosses(struct cross *c, int64_t row, int64_t *n, struct err *err)
{
    *n = 1;
    bool over = false, none = c->n_cols == 0;
    for (int i = 0; i < c->n_cols; i++) {
        int64_t k = n_features(c, i, row);
        none = none || k == 0;
        over = over || __builtin_mul_overflow(*n, K_MAX(k, (int64_t)1), n);
    }
    if (none)
        *n = 0;
    else if (over || *n > (int64_t)1 << 40)
        return rt_fail(c->ctx, err, ERR_LIMIT, "row %lld has too many crosses",
                       (long long)row);
    return 0;
}

/* SparseCrossHashed takes a number of a sparse column by a hash of its lower half. */
static uint64_t
hash_feature(const struct cross *c, const struct column *x, int64_t at)
{
    bool is_int = x->values->dtype == SM_INT64;
    uint64_t v = is_int ? (uint64_t)((const int64_t *)x->values->data)[at] : 0;
    if (is_int && (c->seeded || (!x->start && !c->strong)))
        return v;
    char low[4] = { (char)v, (char)(v >> 8), (char)(v >> 16), (char)(v >> 24) };
    struct str s = is_int ? (struct str){ low, sizeof(low) } : str_at(x->values, at);
    return c->strong ? str_siphash(c->salt, s) : farm64(s);
}

/* Cross k of a row. */
static int
put_cross(struct cross *c, int64_t row, int64_t k, struct rt_tensor *y, int64_t to,
          struct buf *b, struct err *err)
{
    int64_t pick[64], rest = k;
    uint64_t h = c->key;
    for (int i = c->n_cols - 1; i >= 0; i--) {
        int64_t n = n_features(c, i, row);
        pick[i] = (c->col[i].start ? c->col[i].start[row] : row * n) + rest % n;
        rest /= n;
    }
    for (int i = 0; i < c->n_cols; i++) {
        const struct column *x = &c->col[i];
        if (!c->a->strings) {
            uint64_t v = hash_feature(c, x, pick[i]);
            h = i == 0 && !c->seeded ? v : farm_cat(h, v);
            continue;
        }
        if (i > 0)
            buf_add(b, c->separator.p, c->separator.n);
        if (x->values->dtype == SM_STRING)
            buf_add(b, str_at(x->values, pick[i]).p, str_at(x->values, pick[i]).n);
        else
            buf_addf(b, "%lld", (long long)((const int64_t *)x->values->data)[pick[i]]);
    }
    if (c->a->strings)
        return str_from_buf(c->ctx, b, (struct str *)y->data + to, err);
    ((int64_t *)y->data)[to] =
        (int64_t)(h % (c->n_buckets > 0 ? c->n_buckets : (uint64_t)INT64_MAX));
    return 0;
}

static int
read_extras(struct cross *c, struct err *err)
{
    struct rt_ctx *ctx = c->ctx;
    int n = ctx->node->n_in;
    c->separator = STR_LIT("_X_");
    c->key = (uint64_t)c->a->key;
    c->seeded = true;
    c->n_buckets = (uint64_t)c->a->n_buckets;
    if (strcmp(ctx->node->op, "SparseCrossV2") == 0) {
        if (ctx->in[n - 1]->n_elems != 1 || ctx->in[n - 1]->dtype != SM_STRING)
            return rt_fail(ctx, err, ERR_FAILED, "separator should be a scalar.");
        c->separator = str_at(ctx->in[n - 1], 0);
    } else if (strcmp(ctx->node->op, "SparseCrossHashed") == 0) {
        const struct rt_tensor *buckets = ctx->in[n - 3], *strong = ctx->in[n - 2];
        const struct rt_tensor *salt = ctx->in[n - 1];
        if (buckets->n_elems != 1 || strong->n_elems != 1 || salt->n_elems != 2)
            return rt_fail(ctx, err, ERR_FAILED,
                           "num_buckets and strong_hash must be scalars, salt must "
                           "have two elements");
        c->seeded = false;
        c->n_buckets = (uint64_t)K_MAX(k_int_at(buckets, 0), (int64_t)0);
        c->strong = *(const uint8_t *)strong->data != 0;
        c->salt[0] = (uint64_t)k_int_at(salt, 0);
        c->salt[1] = (uint64_t)k_int_at(salt, 1);
    }
    return 0;
}

static int
put_all(struct cross *c, struct rt_tensor *y, const int64_t *counts, int64_t *at,
        struct err *err)
{
    struct buf b AUTO(buf_release) = BUF_INIT;
    int64_t to = 0;
    for (int64_t r = 0; r < c->n_rows; r++) {
        for (int64_t k = 0; k < counts[r]; k++, to++) {
            if (at) {
                *at++ = r;
                *at++ = k;
            }
            if (put_cross(c, r, k, y, to, &b, err) < 0)
                return -(int)err->code;
        }
        if (rt_poll(c->ctx, err) < 0)
            return -(int)err->code;
    }
    return 0;
}

int
rt_run_sparse_cross(struct rt_ctx *ctx, struct err *err)
{
    struct cross c = { .ctx = ctx, .a = ctx->node->state };
    int64_t total = 0, most = 0, *at = NULL, *shape;
    struct rt_tensor *y, *splits;
    if (read_extras(&c, err) < 0 || add_columns(&c, err) < 0)
        return -(int)err->code;
    if (c.n_cols > 64)
        return rt_fail(ctx, err, ERR_UNSUPPORTED, "%d columns; at most 64 work",
                       c.n_cols);
    int64_t *counts = rt_scratch(ctx, (size_t)c.n_rows * sizeof(*counts), err);
    if (!counts)
        return -(int)err->code;
    for (int64_t r = 0; r < c.n_rows; r++) {
        if (n_crosses(&c, r, &counts[r], err) < 0)
            return -(int)err->code;
        most = K_MAX(most, counts[r]);
        if (__builtin_add_overflow(total, counts[r], &total))
            return rt_fail(ctx, err, ERR_LIMIT, "too many crosses");
    }
    if (c.a->ragged_out) {
        int64_t n = c.n_rows + 1, end = 0;
        if (rt_out(ctx, 0, c.a->out_type, 1, &total, &y, err) < 0 ||
            rt_out(ctx, 1, c.a->splits_type, 1, &n, &splits, err) < 0)
            return -(int)err->code;
        for (int64_t i = 0; i < n; end += i < c.n_rows ? counts[i] : 0, i++) {
            if (splits->dtype == SM_INT32)
                ((int32_t *)splits->data)[i] = (int32_t)end;
            else
                ((int64_t *)splits->data)[i] = end;
        }
    } else {
        if (sparse_out_ints(ctx, 0, total, 2, &at, err) < 0 ||
            rt_out(ctx, 1, c.a->out_type, 1, &total, &y, err) < 0 ||
            sparse_out_ints(ctx, 2, 2, -1, &shape, err) < 0)
            return -(int)err->code;
        shape[0] = c.n_rows;
        shape[1] = most;
    }
    return put_all(&c, y, counts, at, err);
}
