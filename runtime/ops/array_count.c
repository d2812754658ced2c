/* SPDX-License-Identifier: Apache-2.0 */
/* How often values occur: Bincount, DenseBincount, RaggedBincount, HistogramFixedWidth.
 */
#include "runtime/ops/ops_int.h"

/* y[bin] += weight (1 without weights); `binary`: = 1. */
static int
count_one(struct rt_ctx *ctx, struct rt_tensor *y, int64_t bin,
          const struct rt_tensor *w, int64_t i, bool binary, struct err *err)
{
    switch (y->dtype) {
#define X(dtype, type, sfx)                                                            \
    case dtype: {                                                                      \
        type *d = (type *)y->data + bin;                                               \
        if (binary)                                                                    \
            *d = 1;                                                                    \
        else                                                                           \
            *d = (type)(NUM(*d) + (w ? NUM(((const type *)w->data)[i]) : 1));          \
        return 0;                                                                      \
    }
#define NUM(v) (uint64_t)(v)
        K_INTS(X)
#undef NUM
#define NUM(v) (v)
        K_FLOATS(X)
        K_COMPLEX(X)
#undef X
    default:
        return rt_fail_dtype(ctx, err, y->dtype);
    }
}

struct bins {
    int64_t size;
    const struct rt_tensor *weights; /* NULL: none */
    bool binary;
};

static int
read_bins(struct rt_ctx *ctx, int values, int size, int weights, struct bins *b,
          struct err *err)
{
    const struct rt_tensor *v = ctx->in[values], *w = ctx->in[weights];
    char ta[RT_SHAPE_TEXT_BYTES], tb[RT_SHAPE_TEXT_BYTES];
    if (k_scalar(ctx, size, "size", &b->size, err) < 0)
        return -(int)err->code;
    if (b->size < 0)
        return rt_fail(ctx, err, ERR_FAILED, "size (%lld) must be non-negative",
                       (long long)b->size);
    b->weights = w->n_elems > 0 ? w : NULL;
    if (b->weights && !rt_same_shape(v, w))
        return rt_fail(
            ctx, err, ERR_FAILED,
            "`weights` must be the same shape as `arr` or a length-0 `Tensor`: %s "
            "vs. %s",
            rt_shape_text(w, ta), rt_shape_text(v, tb));
    for (int64_t i = 0; i < v->n_elems; i++)
        if (k_int_at(v, i) < 0)
            return rt_fail(ctx, err, ERR_FAILED, "Input arr must be non-negative!");
    return 0;
}

int
rt_prep_bincount(struct rt_prep *p)
{
    bool *binary = p->node->state = rt_prep_alloc(p, sizeof(*binary));
    *binary = rt_attr_bool(p, "binary_output", false);
    return rt_prep_done(p);
}

/* Bincount(arr, size, weights) and DenseBincount, whose input may have rows of its own.
 * Values of size and more are left out. */
int
rt_run_bincount(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    bool dense = ctx->node->op[0] == 'D';
    int64_t rows = dense && x->rank == 2 ? x->dims[0] : 1;
    struct bins b = { .binary = *(const bool *)ctx->node->state };
    struct rt_tensor *y;
    if (dense && x->rank > 2)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Shape must be at most rank 2 but is rank %d", x->rank);
    if (read_bins(ctx, 0, 1, 2, &b, err) < 0)
        return -(int)err->code;
    bool matrix = dense && x->rank == 2;
    if (rt_out(ctx, 0, ctx->in[2]->dtype, matrix ? 2 : 1,
               matrix ? (int64_t[2]){ rows, b.size } : &b.size, &y, err) < 0)
        return -(int)err->code;
    memset(y->data, 0, rt_size(y));
    int64_t width = rows ? x->n_elems / rows : 0;
    for (int64_t i = 0; i < x->n_elems; i++) {
        int64_t v = k_int_at(x, i);
        if (v < b.size &&
            count_one(ctx, y, i / width * b.size + v, b.weights, i, b.binary, err) < 0)
            return -(int)err->code;
    }
    return 0;
}

/* RaggedBincount(splits, values, size, weights): a row of bins for each row of values.
 */
int
rt_run_ragged_bincount(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *splits = ctx->in[0], *x = ctx->in[1];
    struct bins b = { .binary = *(const bool *)ctx->node->state };
    int64_t rows = splits->n_elems - 1, row = 0;
    struct rt_tensor *y;
    if (splits->rank != 1 || rows < 0 || k_int_at(splits, 0) != 0 ||
        k_int_at(splits, rows) != x->n_elems)
        return rt_fail(
            ctx, err, ERR_FAILED,
            "Splits must start with 0 and end with the number of values, %lld",
            (long long)x->n_elems);
    for (int64_t i = 0; i < rows; i++)
        if (k_int_at(splits, i) > k_int_at(splits, i + 1))
            return rt_fail(ctx, err, ERR_FAILED, "Splits must not decrease");
    if (read_bins(ctx, 1, 2, 3, &b, err) < 0 ||
        rt_out(ctx, 0, ctx->in[3]->dtype, 2, (int64_t[2]){ rows, b.size }, &y, err) < 0)
        return -(int)err->code;
    memset(y->data, 0, rt_size(y));
    for (int64_t i = 0; i < x->n_elems; i++) {
        int64_t v = k_int_at(x, i);
        while (i >= k_int_at(splits, row + 1))
            row++;
        if (v < b.size &&
            count_one(ctx, y, row * b.size + v, b.weights, i, b.binary, err) < 0)
            return -(int)err->code;
    }
    return 0;
}

int
rt_prep_histogram(struct rt_prep *p)
{
    int *type = p->node->state = rt_prep_alloc(p, sizeof(*type));
    *type = rt_attr_type(p, "dtype", SM_INT32);
    if (*type != SM_INT32 && *type != SM_INT64)
        rt_prep_fail(p, ERR_UNSUPPORTED, "dtype %s", rt_dtype_text(*type));
    return rt_prep_done(p);
}

/* Any real dtype as double. */
static int
real_at(struct rt_ctx *ctx, const struct rt_tensor *t, int64_t i, double *v,
        struct err *err)
{
    float f;
    switch (t->dtype) {
#define X(dtype, type, sfx)                                                            \
    case dtype:                                                                        \
        *v = (double)((const type *)t->data)[i];                                       \
        return 0;
        K_REALS(X)
#undef X
    case SM_HALF:
    case SM_BFLOAT16:
        k_widen(t->dtype, (const uint16_t *)t->data + i, &f, 1);
        *v = (double)f;
        return 0;
    }
    return rt_fail_dtype(ctx, err, t->dtype);
}

/* nbins equal steps over [low, high); what lies outside counts at the ends. */
int
rt_run_histogram(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0], *range = ctx->in[1];
    int64_t n = 0;
    double low = 0, high = 0, v = 0;
    struct rt_tensor *y;
    if (k_scalar(ctx, 2, "nbins", &n, err) < 0)
        return -(int)err->code;
    if (range->rank != 1 || range->n_elems != 2)
        return rt_fail(ctx, err, ERR_FAILED,
                       "value_range should be a vector of 2 elements.");
    if (n <= 0)
        return rt_fail(ctx, err, ERR_FAILED,
                       "nbins should be a positive number, but got '%lld'",
                       (long long)n);
    if (real_at(ctx, range, 0, &low, err) < 0 || real_at(ctx, range, 1, &high, err) < 0)
        return -(int)err->code;
    if (!(low < high))
        return rt_fail(
            ctx, err, ERR_FAILED,
            "value_range should satisfy value_range[0] < value_range[1], but got "
            "'[%g, %g]'",
            low, high);
    if (rt_out(ctx, 0, *(const int *)ctx->node->state, 1, &n, &y, err) < 0)
        return -(int)err->code;
    memset(y->data, 0, rt_size(y));
    double step = (high - low) / (double)n;
    for (int64_t i = 0; i < x->n_elems; i++) {
        if (real_at(ctx, x, i, &v, err) < 0)
            return -(int)err->code;
        if (v != v)
            return rt_fail(ctx, err, ERR_FAILED,
                           "Histogram values must not contain NaN");
        double bin = (K_MAX(v, low) - low) / step;
        int64_t at = bin < (double)(n - 1) ? (int64_t)bin : n - 1;
        k_put_int(y, at, k_int_at(y, at) + 1);
    }
    return 0;
}
