/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/ops/sparse_int.h"

#include <stdlib.h>

int
sparse_in(struct rt_ctx *ctx, int indices, int values, int shape, struct sparse *s,
          struct err *err)
{
    const struct rt_tensor *at = ctx->in[indices], *dims = ctx->in[shape];
    const struct rt_tensor *v = values < 0 ? NULL : ctx->in[values];
    char a[RT_SHAPE_TEXT_BYTES], b[RT_SHAPE_TEXT_BYTES];
    if (at->rank != 2)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Input indices should be a matrix but received shape %s",
                       rt_shape_text(at, a));
    if (v && v->rank != 1)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Input values should be a vector but received shape %s",
                       rt_shape_text(v, a));
    if (dims->rank != 1)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Input shape should be a vector but received shape %s",
                       rt_shape_text(dims, a));
    if (v && v->n_elems != at->dims[0])
        return rt_fail(ctx, err, ERR_FAILED,
                       "Number of values must match first dimension of indices. Got "
                       "%lld values, indices shape: %s",
                       (long long)v->n_elems, rt_shape_text(at, b));
    if (dims->n_elems != at->dims[1])
        return rt_fail(ctx, err, ERR_FAILED,
                       "Number of dimensions must match second dimension of indices. "
                       "Got %lld dimensions, indices shape: %s",
                       (long long)dims->n_elems, rt_shape_text(at, b));
    if (dims->n_elems > SM_MAX_RANK)
        return rt_fail(ctx, err, ERR_UNSUPPORTED,
                       "a sparse tensor of %lld dimensions; at most %d work",
                       (long long)dims->n_elems, SM_MAX_RANK);
    s->at = k_ints(ctx, at, err);
    s->dims = s->at ? k_ints(ctx, dims, err) : NULL;
    s->values = v;
    s->n = at->dims[0];
    s->rank = (int)dims->n_elems;
    return s->dims ? 0 : -(int)err->code;
}

int
sparse_order(int rank, const int64_t *a, const int64_t *b)
{
    for (int d = 0; d < rank; d++)
        if (a[d] != b[d])
            return a[d] < b[d] ? -1 : 1;
    return 0;
}

int
sparse_check(struct rt_ctx *ctx, const struct sparse *s, bool ordered, struct err *err)
{
    char at[RT_SHAPE_TEXT_BYTES], dims[RT_SHAPE_TEXT_BYTES];
    for (int64_t i = 0; i < s->n; i++) {
        const int64_t *x = s->at + i * s->rank;
        bool inside = true;
        for (int d = 0; d < s->rank; d++)
            inside = inside && x[d] >= 0 && x[d] < s->dims[d];
        int order =
            ordered && i > 0 && inside ? sparse_order(s->rank, x - s->rank, x) : -1;
        if (inside && order < 0)
            continue;
        rt_dims_text(s->rank, x, at);
        if (!inside)
            return rt_fail(ctx, err, ERR_FAILED,
                           "indices[%lld] = %s is out of bounds: need 0 <= index < %s",
                           (long long)i, at, rt_dims_text(s->rank, s->dims, dims));
        return rt_fail(ctx, err, ERR_FAILED, "indices[%lld] = %s is %s", (long long)i,
                       at,
                       order == 0 ? "repeated"
                                  : "out of order. Many sparse ops require sorted "
                                    "indices.");
    }
    return 0;
}

/* Merge sort: stable, and without state outside. */
static void
sort(const int64_t *at, int rank, int64_t *v, int64_t *tmp, int64_t n)
{
    if (n < 2)
        return;
    int64_t half = n / 2;
    sort(at, rank, v, tmp, half);
    sort(at, rank, v + half, tmp, n - half);
    memcpy(tmp, v, (size_t)half * sizeof(*v));
    for (int64_t i = 0, j = half, k = 0; i < half; k++) {
        bool right =
            j < n && sparse_order(rank, at + v[j] * rank, at + tmp[i] * rank) < 0;
        v[k] = right ? v[j++] : tmp[i++];
    }
}

int64_t *
sparse_sorted(struct rt_ctx *ctx, const int64_t *at, int64_t n, int rank,
              struct err *err)
{
    int64_t *v = rt_scratch(ctx, (size_t)n * sizeof(*v), err);
    int64_t *tmp = v ? rt_scratch(ctx, (size_t)n * sizeof(*v), err) : NULL;
    bool sorted = true;
    if (!tmp)
        return NULL;
    for (int64_t i = 0; i < n; i++) {
        v[i] = i;
        sorted = sorted && (i == 0 || sparse_order(rank, at + (i - 1) * rank,
                                                   at + i * rank) <= 0);
    }
    if (!sorted)
        sort(at, rank, v, tmp, n);
    return v;
}

bool
sparse_steps(int rank, const int64_t *dims, int64_t *steps)
{
    int64_t n = 1;
    for (int d = rank - 1; d >= 0; d--) {
        steps[d] = n;
        if (dims[d] < 0 || __builtin_mul_overflow(n, dims[d], &n))
            return false;
    }
    return true;
}

int
sparse_out_ints(struct rt_ctx *ctx, int i, int64_t n, int rank, int64_t **y,
                struct err *err)
{
    struct rt_tensor *t;
    if (rt_out(ctx, i, SM_INT64, rank < 0 ? 1 : 2, (int64_t[]){ n, rank }, &t, err) < 0)
        return -(int)err->code;
    *y = t->data;
    return 0;
}
