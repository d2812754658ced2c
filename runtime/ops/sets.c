/* SPDX-License-Identifier: Apache-2.0 */
/* SetSize, DenseToDenseSetOperation, DenseToSparseSetOperation,
 * SparseToSparseSetOperation: sets along the last dimension, integers or strings. The
 * values of a result come in ascending order, once each. */
#include "runtime/ops/sparse_int.h"
#include "runtime/ops/string_int.h"

#include <stdlib.h>

enum set_op { A_MINUS_B, B_MINUS_A, INTERSECTION, UNION };
struct set_attrs {
    enum set_op op;
    bool validate;
};

int
rt_prep_set(struct rt_prep *p)
{
    struct set_attrs *a = p->node->state = rt_prep_alloc(p, sizeof(*a));
    const char *op = rt_attr_str(p, "set_operation", "union");
    static const struct {
        const char *name;
        enum set_op op;
    } ops[] = { { "a-b", A_MINUS_B },
                { "b-a", B_MINUS_A },
                { "intersection", INTERSECTION },
                { "union", UNION } };
    const struct {
        const char *name;
        enum set_op op;
    } *row = K_ROW(ops, op);
    a->validate = rt_attr_bool(p, "validate_indices", true);
    if (!row)
        return rt_prep_fail(p, ERR_FAILED, "Invalid set_operation %s.", op);
    a->op = row->op;
    return rt_prep_done(p);
}

/* The sets of an input: values first[s] … first[s + 1] - 1 belong to group s, sorted
 * and once each. Positions are of elements of `values`. */
struct sets {
    const struct rt_tensor *values;
    int rank;            /* of the groups */
    const int64_t *dims; /* of the groups; dims[rank]: the last dimension */
    int64_t n_groups;
    int64_t *first, *at;
};

static int
order_of(const struct rt_tensor *a, int64_t i, const struct rt_tensor *b, int64_t j)
{
    if (a->dtype == SM_STRING)
        return str_cmp(str_at(a, i), str_at(b, j));
    int64_t x = k_int_at(a, i), y = k_int_at(b, j);
    return x < y ? -1 : x > y;
}

/* Sorts at[0 … n) by value (heap sort) and drops repeats; returns how many stay. */
static int64_t
make_set(const struct rt_tensor *v, int64_t *at, int64_t n)
{
    for (int64_t top = n / 2, end = n; end > 1;) {
        int64_t x;
        if (top > 0) {
            x = at[--top];
        } else {
            x = at[--end];
            at[end] = at[0];
            if (end == 1) {
                at[0] = x;
                break;
            }
        }
        int64_t i = top;
        for (int64_t c; (c = 2 * i + 1) < end; i = c) {
            c += c + 1 < end && order_of(v, at[c], v, at[c + 1]) < 0;
            if (order_of(v, x, v, at[c]) >= 0)
                break;
            at[i] = at[c];
        }
        at[i] = x;
    }
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++)
        if (kept == 0 || order_of(v, at[kept - 1], v, at[i]) != 0)
            at[kept++] = at[i];
    return kept;
}

static int
alloc_sets(struct rt_ctx *ctx, struct sets *s, int64_t n, struct err *err)
{
    if (s->values->dtype != SM_STRING && !k_is_int(s->values->dtype))
        return rt_fail_dtype(ctx, err, s->values->dtype);
    s->n_groups = k_count(s->dims, 0, s->rank);
    if (s->n_groups < 0 || s->n_groups > INT64_MAX / 64)
        return rt_fail(ctx, err, ERR_LIMIT, "too many groups of sets");
    s->first = rt_scratch(ctx, (size_t)(s->n_groups + 1) * sizeof(int64_t), err);
    s->at = s->first ? rt_scratch(ctx, (size_t)n * sizeof(int64_t), err) : NULL;
    return s->at ? 0 : -(int)err->code;
}

static int
dense_sets(struct rt_ctx *ctx, int in, struct sets *s, struct err *err)
{
    const struct rt_tensor *t = ctx->in[in];
    char text[RT_SHAPE_TEXT_BYTES];
    if (t->rank < 2)
        return rt_fail(ctx, err, ERR_FAILED, "Invalid input%d shape %s: rank below 2.",
                       in, rt_shape_text(t, text));
    *s = (struct sets){ .values = t, .rank = t->rank - 1, .dims = t->dims };
    if (alloc_sets(ctx, s, t->n_elems, err) < 0)
        return -(int)err->code;
    int64_t n = t->dims[t->rank - 1], kept = 0;
    for (int64_t g = 0; g < s->n_groups; g++) {
        s->first[g] = kept;
        for (int64_t i = 0; i < n; i++)
            s->at[kept + i] = g * n + i;
        kept += make_set(t, s->at + kept, n);
    }
    s->first[s->n_groups] = kept;
    return 0;
}

static int
sparse_sets(struct rt_ctx *ctx, int in, struct sets *s, struct err *err)
{
    const struct set_attrs *a = ctx->node->state;
    struct sparse x;
    int64_t steps[SM_MAX_RANK];
    if (sparse_in(ctx, in, in + 1, in + 2, &x, err) < 0 ||
        sparse_check(ctx, &x, a->validate, err) < 0)
        return -(int)err->code;
    if (x.rank < 2)
        return rt_fail(ctx, err, ERR_FAILED, "Invalid rank %d: below 2.", x.rank);
    *s = (struct sets){ .values = x.values, .rank = x.rank - 1, .dims = x.dims };
    if (!sparse_steps(s->rank, s->dims, steps))
        return rt_fail(
            ctx, err, ERR_FAILED,
            "the dense shape has a negative dimension, or too many elements");
    if (alloc_sets(ctx, s, x.n, err) < 0)
        return -(int)err->code;
    const int64_t *order = sparse_sorted(ctx, x.at, x.n, x.rank, err);
    if (!order)
        return -(int)err->code;
    int64_t g = 0, begin = 0, kept = 0;
    s->first[0] = 0;
    for (int64_t i = 0; i <= x.n; i++) {
        int64_t group = s->n_groups;
        if (i < x.n) {
            group = 0;
            for (int d = 0; d < s->rank; d++)
                group += x.at[order[i] * x.rank + d] * steps[d];
        }
        if (group != g) {
            kept = begin + make_set(x.values, s->at + begin, kept - begin);
            begin = kept;
            for (; g < group; g++)
                s->first[g + 1] = kept;
        }
        if (i < x.n)
            s->at[kept++] = order[i];
    }
    return 0;
}

/* size[groups] */
int
rt_run_set_size(struct rt_ctx *ctx, struct err *err)
{
    struct sets s;
    struct rt_tensor *y;
    if (sparse_sets(ctx, 0, &s, err) < 0 ||
        rt_out(ctx, 0, SM_INT32, s.rank, s.dims, &y, err) < 0)
        return -(int)err->code;
    for (int64_t g = 0; g < s.n_groups; g++)
        ((int32_t *)y->data)[g] = (int32_t)(s.first[g + 1] - s.first[g]);
    return 0;
}

/* The merged set of group g; out NULL: only counts. Elements of b are ~position. */
static int64_t
merge(enum set_op op, const struct sets *a, const struct sets *b, int64_t g,
      int64_t *out)
{
    int64_t i = a->first[g], j = b->first[g], n = 0;
    while (i < a->first[g + 1] || j < b->first[g + 1]) {
        int c = i == a->first[g + 1] ? 1
                : j == b->first[g + 1]
                    ? -1
                    : order_of(a->values, a->at[i], b->values, b->at[j]);
        bool take = op == UNION || (op == INTERSECTION ? c == 0
                                    : op == A_MINUS_B  ? c < 0
                                                       : c > 0);
        if (take && out)
            out[n] = c <= 0 ? a->at[i] : ~b->at[j];
        n += take;
        i += c <= 0;
        j += c >= 0;
    }
    return n;
}

/* A sparse tensor [groups..., most in a group]. */
int
rt_run_set_operation(struct rt_ctx *ctx, struct err *err)
{
    const struct set_attrs *attrs = ctx->node->state;
    bool sparse_a = strncmp(ctx->node->op, "Sparse", 6) == 0;
    bool sparse_b = strstr(ctx->node->op, "ToSparse") != NULL;
    int in_b = sparse_a ? 3 : 1;
    int64_t total = 0, most = 0, *at, *shape, steps[SM_MAX_RANK];
    struct sets a, b;
    struct rt_tensor *y;
    if ((sparse_a ? sparse_sets : dense_sets)(ctx, 0, &a, err) < 0 ||
        (sparse_b ? sparse_sets : dense_sets)(ctx, in_b, &b, err) < 0)
        return -(int)err->code;
    if (a.rank != b.rank ||
        memcmp(a.dims, b.dims, (size_t)a.rank * sizeof(*a.dims)) != 0)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Mismatched group dimensions of the two sets");
    int64_t *count = rt_scratch(ctx, (size_t)a.n_groups * sizeof(*count), err);
    if (!count)
        return -(int)err->code;
    for (int64_t g = 0; g < a.n_groups; g++) {
        count[g] = merge(attrs->op, &a, &b, g, NULL);
        total += count[g];
        most = K_MAX(most, count[g]);
    }
    int64_t *from = rt_scratch(ctx, (size_t)total * sizeof(*from), err);
    if (!from || sparse_out_ints(ctx, 0, total, a.rank + 1, &at, err) < 0 ||
        rt_out(ctx, 1, a.values->dtype, 1, &total, &y, err) < 0 ||
        sparse_out_ints(ctx, 2, a.rank + 1, -1, &shape, err) < 0)
        return -(int)err->code;
    k_steps(a.rank, a.dims, steps);
    for (int64_t g = 0, k = 0; g < a.n_groups; g++) {
        merge(attrs->op, &a, &b, g, from + k);
        for (int64_t i = 0; i < count[g]; i++, k++) {
            for (int d = 0; d < a.rank; d++)
                *at++ = g / steps[d] % a.dims[d];
            *at++ = i;
            sparse_move(y, k, from[k] >= 0 ? a.values : b.values,
                        from[k] >= 0 ? from[k] : ~from[k]);
        }
    }
    memcpy(shape, a.dims, (size_t)a.rank * sizeof(*shape));
    shape[a.rank] = most;
    return 0;
}

/* ---- BoostedTreesBucketize ---- */

/* Of each feature the first boundary that is not below it (the last one at most). */
int
rt_run_trees_bucketize(struct rt_ctx *ctx, struct err *err)
{
    int n = ctx->node->n_in / 2;
    if (ctx->node->n_in != 2 * ctx->node->n_out)
        return rt_fail(ctx, err, ERR_FAILED,
                       "as many boundaries as features are wanted");
    for (int f = 0; f < n; f++) {
        const struct rt_tensor *x = ctx->in[f], *edges = ctx->in[n + f];
        const float *e = edges->data;
        struct rt_tensor *y;
        if (rt_out(ctx, f, SM_INT32, x->rank, x->dims, &y, err) < 0)
            return -(int)err->code;
        for (int64_t i = 0; i < x->n_elems; i++) {
            float v = ((const float *)x->data)[i];
            int64_t lo = 0, hi = edges->n_elems;
            while (lo < hi) {
                int64_t mid = (lo + hi) / 2;
                if (e[mid] < v)
                    lo = mid + 1;
                else
                    hi = mid;
            }
            ((int32_t *)y->data)[i] =
                (int32_t)K_MAX(K_MIN(lo, edges->n_elems - 1), (int64_t)0);
        }
    }
    return 0;
}
