/* SPDX-License-Identifier: Apache-2.0 */
/* Range and LinSpace; DynamicPartition and DynamicStitch; UnravelIndex; the old
 * in-place row ops; the data format maps. */
#include "runtime/ops/math_binary.h"

#include <math.h>

/* ---- Range, LinSpace ------------------------------------------------------------- */

static int
one_value(struct rt_ctx *ctx, int in, const char *what, struct err *err)
{
    char text[RT_SHAPE_TEXT_BYTES];
    if (ctx->in[in]->n_elems == 1)
        return 0;
    return rt_fail(ctx, err, ERR_FAILED, "%s must be a scalar, not shape %s", what,
                   rt_shape_text(ctx->in[in], text));
}

static int
range_error(struct rt_ctx *ctx, double start, double limit, double delta,
            struct err *err)
{
    if (delta == 0)
        return rt_fail(ctx, err, ERR_FAILED, "Requires delta != 0: 0");
    return rt_fail(ctx, err, ERR_FAILED,
                   "Requires start %s limit when delta %s 0: %g/%g",
                   delta > 0 ? "<=" : ">=", delta > 0 ? ">" : "<", start, limit);
}

static int
range_ints(struct rt_ctx *ctx, struct err *err)
{
    int64_t start = k_int_at(ctx->in[0], 0), limit = k_int_at(ctx->in[1], 0);
    int64_t delta = k_int_at(ctx->in[2], 0), n;
    struct rt_tensor *y;
    if (delta == 0 || (delta > 0 ? start > limit : start < limit))
        return range_error(ctx, (double)start, (double)limit, (double)delta, err);
    uint64_t span = delta > 0 ? (uint64_t)limit - (uint64_t)start
                              : (uint64_t)start - (uint64_t)limit;
    uint64_t step = delta > 0 ? (uint64_t)delta : 0 - (uint64_t)delta;
    n = (int64_t)(span / step + (span % step != 0));
    if (rt_out(ctx, 0, ctx->in[0]->dtype, 1, &n, &y, err) < 0)
        return -(int)err->code;
    if (y->dtype == SM_INT32) {
        int32_t *v = y->data;
        for (int64_t i = 0; i < n; i++)
            v[i] = (int32_t)(start + i * delta);
    } else {
        int64_t *v = y->data;
        for (int64_t i = 0; i < n; i++)
            v[i] = (int64_t)((uint64_t)start + (uint64_t)i * (uint64_t)delta);
    }
    return 0;
}

int
rt_run_range(struct rt_ctx *ctx, struct err *err)
{
    int dtype = ctx->in[0]->dtype;
    struct rt_tensor *y;
    if (one_value(ctx, 0, "start", err) < 0 || one_value(ctx, 1, "limit", err) < 0 ||
        one_value(ctx, 2, "delta", err) < 0)
        return -(int)err->code;
    if (dtype == SM_INT32 || dtype == SM_INT64)
        return range_ints(ctx, err);
    double v[3];
    for (int i = 0; i < 3; i++) {
        if (dtype == SM_DOUBLE) {
            v[i] = *(const double *)ctx->in[i]->data;
            continue;
        }
        if (dtype != SM_FLOAT && !k_is_half(dtype))
            return rt_fail_dtype(ctx, err, dtype);
        const float *f = k_floats(ctx, ctx->in[i], err);
        if (!f)
            return -(int)err->code;
        v[i] = (double)*f;
    }
    double start = v[0], limit = v[1], delta = v[2];
    if (!(delta > 0 ? start <= limit : delta < 0 && start >= limit))
        return range_error(ctx, start, limit, delta, err);
    double count =
        dtype == SM_FLOAT
            ? ceil(fabs((double)(((float)limit - (float)start) / (float)delta)))
            : ceil(fabs((limit - start) / delta));
    if (!(count < 0x1p40))
        return rt_fail(ctx, err, ERR_FAILED,
                       "Requires ((limit - start) / delta) <= %lld",
                       (long long)INT64_MAX);
    int64_t n = (int64_t)count;
    if (rt_out(ctx, 0, dtype, 1, &n, &y, err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < n; i++) {
        float f = (float)start + (float)i * (float)delta;
        if (dtype == SM_DOUBLE)
            ((double *)y->data)[i] = start + (double)i * delta;
        else if (dtype == SM_FLOAT)
            ((float *)y->data)[i] = f;
        else
            k_narrow(dtype, &f, (uint16_t *)y->data + i, 1);
    }
    return 0;
}

int
rt_run_lin_space(struct rt_ctx *ctx, struct err *err)
{
    int dtype = ctx->in[0]->dtype;
    int64_t n = 0;
    struct rt_tensor *y;
    if (one_value(ctx, 0, "start", err) < 0 || one_value(ctx, 1, "stop", err) < 0 ||
        k_scalar(ctx, 2, "num", &n, err) < 0)
        return -(int)err->code;
    if (n <= 0)
        return rt_fail(ctx, err, ERR_FAILED, "Requires num > 0: %lld", (long long)n);
    if (dtype != SM_FLOAT && dtype != SM_DOUBLE && !k_is_half(dtype))
        return rt_fail_dtype(ctx, err, dtype);
    const float *f0 = dtype == SM_DOUBLE ? NULL : k_floats(ctx, ctx->in[0], err);
    const float *f1 = f0 ? k_floats(ctx, ctx->in[1], err) : NULL;
    if ((dtype != SM_DOUBLE && !f1) || rt_out(ctx, 0, dtype, 1, &n, &y, err) < 0)
        return -(int)err->code;
    double start = f0 ? (double)*f0 : *(const double *)ctx->in[0]->data;
    double stop = f1 ? (double)*f1 : *(const double *)ctx->in[1]->data;
    double step = n > 1 ? (stop - start) / (double)(n - 1) : 0;
    float step_f = n > 1 ? ((float)stop - (float)start) / (float)(n - 1) : 0;
    for (int64_t i = 0; i < n; i++) {
        bool last = i > 0 && i == n - 1;
        float f = last ? (float)stop : (float)start + step_f * (float)i;
        if (dtype == SM_DOUBLE)
            ((double *)y->data)[i] = last ? stop : start + step * (double)i;
        else if (dtype == SM_FLOAT)
            ((float *)y->data)[i] = f;
        else
            k_narrow(dtype, &f, (uint16_t *)y->data + i, 1);
    }
    return 0;
}

/* ---- DynamicPartition, DynamicStitch --------------------------------------------- */

static bool
starts_with(const struct rt_tensor *x, const struct rt_tensor *prefix)
{
    if (x->rank < prefix->rank)
        return false;
    for (int i = 0; i < prefix->rank; i++)
        if (x->dims[i] != prefix->dims[i])
            return false;
    return true;
}

/* Slices of data go to the output that partitions names, in order. */
int
rt_run_dynamic_partition(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0], *p = ctx->in[1];
    int n = ctx->node->n_out;
    const int32_t *to = p->data;
    char a[RT_SHAPE_TEXT_BYTES], b[RT_SHAPE_TEXT_BYTES];
    if (!starts_with(x, p))
        return rt_fail(
            ctx, err, ERR_FAILED,
            "data.shape must start with partitions.shape, got data.shape = %s, "
            "partitions.shape = %s",
            rt_shape_text(x, a), rt_shape_text(p, b));
    int64_t *count = rt_scratch(ctx, (size_t)n * sizeof(*count), err);
    if (!count)
        return -(int)err->code;
    memset(count, 0, (size_t)n * sizeof(*count));
    for (int64_t i = 0; i < p->n_elems; i++) {
        if (to[i] < 0 || to[i] >= n)
            return rt_fail(ctx, err, ERR_FAILED,
                           "partitions[%lld] = %d is not in [0, %d)", (long long)i,
                           to[i], n);
        count[to[i]]++;
    }
    int rank = x->rank - p->rank + 1;
    int64_t dims[SM_MAX_RANK + 1];
    for (int i = 1; i < rank; i++)
        dims[i] = x->dims[p->rank + i - 1];
    if (rank > SM_MAX_RANK)
        return rt_fail(ctx, err, ERR_UNSUPPORTED, "more than %d dimensions",
                       SM_MAX_RANK);
    for (int k = 0; k < n; k++) {
        struct rt_tensor *y;
        dims[0] = count[k];
        count[k] = 0;
        if (rt_out(ctx, k, x->dtype, rank, dims, &y, err) < 0)
            return -(int)err->code;
    }
    size_t piece = (size_t)k_count(x->dims, p->rank, x->rank) * rt_dtype_size(x->dtype);
    for (int64_t i = 0; i < p->n_elems && piece > 0; i++)
        memcpy((char *)ctx->out[to[i]].data + (size_t)count[to[i]]++ * piece,
               (const char *)x->data + (size_t)i * piece, piece);
    for (int k = 0; k < n; k++)
        k_own(&ctx->out[k]);
    return 0;
}

/* merged[indices[k][i]] = data[k][i]; the last writer wins; zeros where nobody writes.
 */
int
rt_run_dynamic_stitch(struct rt_ctx *ctx, struct err *err)
{
    int n = ctx->node->n_in / 2, rank = 0;
    const struct rt_tensor *first = ctx->node->n_in > 1 ? ctx->in[n] : NULL;
    int64_t dims[SM_MAX_RANK + 1] = { 0 };
    struct rt_tensor *y;
    if (n == 0 || ctx->node->n_in % 2 != 0)
        return rt_fail(ctx, err, ERR_FAILED, "needs as many indices as data");
    for (int k = 0; k < n; k++)
        if (ctx->in[k]->dtype != SM_INT32 || ctx->in[n + k]->dtype != first->dtype)
            return rt_fail(ctx, err, ERR_FAILED,
                           "indices[%d] is not int32, or data differ "
                           "in dtype",
                           k);
    for (int k = 0; k < n; k++) {
        const struct rt_tensor *t = ctx->in[k], *x = ctx->in[n + k];
        int extra = x->rank - t->rank;
        char a[RT_SHAPE_TEXT_BYTES], b[RT_SHAPE_TEXT_BYTES];
        bool fits = starts_with(x, t) && (k == 0 || extra == rank - 1);
        for (int i = 0; fits && k > 0 && i < extra; i++)
            fits = x->dims[t->rank + i] == dims[i + 1];
        if (!fits)
            return rt_fail(
                ctx, err, ERR_FAILED,
                "data[%d].shape = %s does not start with indices[%d].shape = %s, "
                "or its rest differs from data[0]",
                k, rt_shape_text(x, a), k, rt_shape_text(t, b));
        if (k == 0) {
            rank = extra + 1;
            for (int i = 0; i < extra; i++)
                dims[i + 1] = x->dims[t->rank + i];
        }
        for (int64_t i = 0; i < t->n_elems; i++) {
            int32_t v = ((const int32_t *)t->data)[i];
            if (v < 0)
                return rt_fail(ctx, err, ERR_FAILED, "indices[%lld] is out of range",
                               (long long)i);
            dims[0] = K_MAX(dims[0], (int64_t)v + 1);
        }
    }
    if (rank > SM_MAX_RANK)
        return rt_fail(ctx, err, ERR_UNSUPPORTED, "more than %d dimensions",
                       SM_MAX_RANK);
    if (k_is_obj(first->dtype))
        return rt_fail_dtype(ctx, err, first->dtype);
    if (rt_out(ctx, 0, first->dtype, rank, dims, &y, err) < 0)
        return -(int)err->code;
    memset(y->data, 0, rt_size(y));
    size_t piece = (size_t)k_count(dims, 1, rank) * rt_dtype_size(first->dtype);
    for (int k = 0; k < n; k++)
        for (int64_t i = 0; i < ctx->in[k]->n_elems && piece > 0; i++)
            memcpy((char *)y->data +
                       (size_t)((const int32_t *)ctx->in[k]->data)[i] * piece,
                   (const char *)ctx->in[n + k]->data + (size_t)i * piece, piece);
    return 0;
}

/* ---- UnravelIndex ---------------------------------------------------------------- */

int
rt_run_unravel_index(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *t = ctx->in[0], *shape = ctx->in[1];
    int64_t n = shape->n_elems, total = 1;
    struct rt_tensor *y;
    if (t->rank > 1 || shape->rank != 1)
        return rt_fail(ctx, err, ERR_FAILED, "%s must be %s",
                       t->rank > 1 ? "indices" : "dims",
                       t->rank > 1 ? "a scalar or vector" : "1-D");
    for (int64_t d = 0; d < n; d++) {
        int64_t v = rt_int_at(shape, d);
        if (v <= 0)
            return rt_fail(ctx, err, ERR_FAILED,
                           "Input dims cannot contain a dim of zero or "
                           "less, but dims contains %lld",
                           (long long)v);
        if (__builtin_mul_overflow(total, v, &total))
            return rt_fail(ctx, err, ERR_FAILED,
                           "Input dims product is causing integer "
                           "overflow");
    }
    if (rt_out(ctx, 0, t->dtype, t->rank + 1, (int64_t[2]){ n, t->n_elems }, &y, err) <
        0)
        return -(int)err->code;
    for (int64_t i = 0; i < t->n_elems; i++) {
        int64_t v = rt_int_at(t, i);
        if (v < 0 || v >= total)
            return rt_fail(ctx, err, ERR_FAILED, "index is out of bound as with dims");
        for (int64_t d = n - 1; d >= 0; d--) {
            int64_t dim = rt_int_at(shape, d), at = d * t->n_elems + i;
            k_put_int(y, at, v % dim);
            v /= dim;
        }
    }
    return 0;
}

/* ---- InplaceUpdate, InplaceAdd, InplaceSub --------------------------------------- */

/* A copy of x with rows i replaced by, plus or minus those of v (i scalar or vector).
 */
int
rt_run_inplace(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0], *t = ctx->in[1], *v = ctx->in[2];
    const char *op = ctx->node->op;
    const struct k_binary *row = strcmp(op, "InplaceAdd") == 0   ? k_binary_row("Add")
                                 : strcmp(op, "InplaceSub") == 0 ? k_binary_row("Sub")
                                                                 : NULL;
    struct rt_tensor *y;
    if (x->rank < 1 || t->rank > 1 || k_is_obj(x->dtype))
        return rt_fail(ctx, err, ERR_FAILED,
                       "x must be at least a vector, i at most one");
    int64_t slice = k_count(x->dims, 1, x->rank);
    if (v->n_elems != t->n_elems * slice)
        return rt_fail(ctx, err, ERR_FAILED, "v has %lld elements, not %lld",
                       (long long)v->n_elems, (long long)(t->n_elems * slice));
    if (rt_out_reuse(ctx, 0, 0, x->dtype, x->rank, x->dims, &y, err) < 0)
        return -(int)err->code;
    if (y->data != x->data && rt_size(x) > 0)
        memcpy(y->data, x->data, rt_size(x));
    size_t piece = (size_t)slice * rt_dtype_size(x->dtype);
    for (int64_t i = 0; i < t->n_elems && piece > 0; i++) {
        int64_t at = ((const int32_t *)t->data)[i];
        if (at < 0 || at >= x->dims[0]) /* TensorFlow takes it modulo the rows */
            at = x->dims[0] ? (at % x->dims[0] + x->dims[0]) % x->dims[0] : 0;
        char *d = (char *)y->data + (size_t)at * piece;
        const char *s = (const char *)v->data + (size_t)i * piece;
        if (!row)
            memcpy(d, s, piece);
        else if (k_apply(ctx, row, x->dtype, d, s, d, slice, err) < 0)
            return -(int)err->code;
    }
    return 0;
}

/* ---- DataFormatDimMap, DataFormatVecPermute -------------------------------------- */

struct formats {
    const char *src, *dst;
};

int
rt_prep_formats(struct rt_prep *p)
{
    struct formats *f = p->node->state = rt_prep_alloc(p, sizeof(*f));
    f->src = rt_attr_str(p, "src_format", "NHWC");
    f->dst = rt_attr_str(p, "dst_format", "NCHW");
    if (strlen(f->src) != strlen(f->dst) || strlen(f->src) > 5)
        rt_prep_fail(p, ERR_FAILED, "formats %s and %s do not fit", f->src, f->dst);
    for (const char *c = f->src; *c; c++)
        if (!strchr(f->dst, *c))
            rt_prep_fail(p, ERR_FAILED, "formats %s and %s do not fit", f->src, f->dst);
    return rt_prep_done(p);
}

/* Which dimension of dst_format a dimension of src_format is. */
int
rt_run_data_format_dim_map(struct rt_ctx *ctx, struct err *err)
{
    const struct formats *f = ctx->node->state;
    const struct rt_tensor *x = ctx->in[0];
    int64_t rank = (int64_t)strlen(f->src);
    struct rt_tensor *y;
    if (rt_out(ctx, 0, x->dtype, x->rank, x->dims, &y, err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < x->n_elems; i++) {
        int64_t v = rt_int_at(x, i), at = ((v % rank) + rank) % rank;
        k_put_int(y, i, strchr(f->dst, f->src[at]) - f->dst);
    }
    return 0;
}

/* A vector (or rows of pairs) by src_format's dimensions, put in dst_format's order; of
 * the spatial dimensions only when there are as many. */
int
rt_run_data_format_vec_permute(struct rt_ctx *ctx, struct err *err)
{
    const struct formats *f = ctx->node->state;
    const struct rt_tensor *x = ctx->in[0];
    int64_t rank = (int64_t)strlen(f->src), width = x->rank == 2 ? x->dims[1] : 1;
    char src[8], dst[8];
    int64_t n = x->rank > 0 ? x->dims[0] : 0, ns = 0, nd = 0;
    struct rt_tensor *y;
    if (x->rank < 1 || x->rank > 2 || (n != rank && n != rank - 2))
        return rt_fail(ctx, err, ERR_FAILED,
                       "input must be a vector or matrix of %lld or %lld rows",
                       (long long)rank, (long long)(rank - 2));
    for (int64_t i = 0; i < rank; i++) {
        bool all = n == rank;
        if (all || (f->src[i] != 'N' && f->src[i] != 'C'))
            src[ns++] = f->src[i];
        if (all || (f->dst[i] != 'N' && f->dst[i] != 'C'))
            dst[nd++] = f->dst[i];
    }
    if (ns != n || nd != n)
        return rt_fail(ctx, err, ERR_FAILED, "formats %s and %s do not fit", f->src,
                       f->dst);
    if (rt_out(ctx, 0, x->dtype, x->rank, x->dims, &y, err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < n; i++) {
        const char *at = memchr(src, dst[i], (size_t)ns);
        for (int64_t k = 0; k < width; k++)
            k_put_int(y, i * width + k, rt_int_at(x, (at ? at - src : i) * width + k));
    }
    return 0;
}
