/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing at positions held by index tensors. Every dtype for moves;
 * numbers (and bool, as "or") where values are combined, in the order of the indices.
 * An index out of range fails, as in TensorFlow on CPU. */
#include "runtime/ops/math_binary.h"

/* "[1,2]": the position of element i of a tensor of this shape. */
static const char *
position_text(int rank, const int64_t *dims, int64_t i, char out[RT_SHAPE_TEXT_BYTES])
{
    int64_t at[SM_MAX_RANK];
    for (int d = rank - 1; d >= 0; d--) {
        at[d] = i % K_MAX(dims[d], 1);
        i /= K_MAX(dims[d], 1);
    }
    return rt_dims_text(rank, at, out);
}

/* ---- Gather, GatherV2 ------------------------------------------------------------ */

int
rt_prep_gather(struct rt_prep *p)
{
    int64_t *batch_dims = p->node->state = rt_prep_alloc(p, sizeof(*batch_dims));
    *batch_dims = rt_attr_int(p, "batch_dims", 0);
    return rt_prep_done(p);
}

struct gather {
    const char *x;
    char *y;
    const int64_t *index;
    size_t n_bytes;         /* of a piece */
    int64_t n_index, n_dim; /* indices of a batch; extent of the axis */
    int64_t n_outer;
};

/* Pieces begin … end - 1 of [batch, outer, index]. */
static void
gather_range(void *arg, int64_t begin, int64_t end)
{
    const struct gather *g = arg;
    int64_t k = begin % g->n_index, row = begin / g->n_index;
    for (int64_t i = begin; i < end; row++, k = 0) {
        const int64_t *index = g->index + row / g->n_outer * g->n_index;
        const char *x = g->x + (size_t)(row * g->n_dim) * g->n_bytes;
        char *y = g->y + (size_t)i * g->n_bytes;
        int64_t n = K_MIN(g->n_index - k, end - i);
        switch (g->n_bytes) {
        case 4:
            for (int64_t j = 0; j < n; j++)
                memcpy(y + 4 * j, x + 4 * index[k + j], 4);
            break;
        case 8:
            for (int64_t j = 0; j < n; j++)
                memcpy(y + 8 * j, x + 8 * index[k + j], 8);
            break;
        default:
            for (int64_t j = 0; j < n; j++)
                memcpy(y + (size_t)j * g->n_bytes,
                       x + (size_t)index[k + j] * g->n_bytes, g->n_bytes);
        }
        i += n;
    }
}

static int
check_indices(struct rt_ctx *ctx, const struct rt_tensor *t, const int64_t *index,
              int64_t dim, struct err *err)
{
    char text[RT_SHAPE_TEXT_BYTES];
    for (int64_t i = 0; i < t->n_elems; i++)
        if (index[i] < 0 || index[i] >= dim)
            return rt_fail(ctx, err, ERR_FAILED, "indices%s = %lld is not in [0, %lld)",
                           t->rank ? position_text(t->rank, t->dims, i, text) : "",
                           (long long)index[i], (long long)dim);
    return 0;
}

/* y[b, o, i, k] = x[b, o, index[b, i], k]: batch dims first, then those before the
 * axis. */
static int
gather(struct rt_ctx *ctx, int64_t axis, int64_t batch, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0], *t = ctx->in[1];
    int64_t dims[2 * SM_MAX_RANK];
    int rank = 0;
    struct rt_tensor *y;
    if (!k_is_int(t->dtype))
        return rt_fail_dtype(ctx, err, t->dtype);
    if (x->rank < 1 || axis < -x->rank || axis >= x->rank)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Expected axis in the range [%d, %d), but got %lld", -x->rank,
                       x->rank, (long long)axis);
    axis = axis < 0 ? axis + x->rank : axis;
    if (batch < -t->rank || batch > t->rank)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Expected batch_dims in the range [%d, %d], but got %lld",
                       -t->rank, t->rank, (long long)batch);
    batch = batch < 0 ? batch + t->rank : batch;
    if (batch > axis)
        return rt_fail(ctx, err, ERR_FAILED,
                       "batch_dims (%lld) must be less than or equal to axis (%lld).",
                       (long long)batch, (long long)axis);
    for (int i = 0; i < batch; i++)
        if (x->dims[i] != t->dims[i])
            return rt_fail(
                ctx, err, ERR_FAILED,
                "params.shape[%d]: %lld should be equal to indices.shape[%d]: %lld", i,
                (long long)x->dims[i], i, (long long)t->dims[i]);
    if (x->rank - 1 + t->rank - batch > SM_MAX_RANK)
        return rt_fail(ctx, err, ERR_UNSUPPORTED, "more than %d dimensions",
                       SM_MAX_RANK);
    for (int i = 0; i < axis; i++)
        dims[rank++] = x->dims[i];
    for (int i = (int)batch; i < t->rank; i++)
        dims[rank++] = t->dims[i];
    for (int i = (int)axis + 1; i < x->rank; i++)
        dims[rank++] = x->dims[i];
    const int64_t *index = k_ints(ctx, t, err);
    if (!index || check_indices(ctx, t, index, x->dims[axis], err) < 0 ||
        rt_out(ctx, 0, x->dtype, rank, dims, &y, err) < 0)
        return -(int)err->code;
    if (y->n_elems == 0)
        return 0;
    int64_t inner = k_count(x->dims, (int)axis + 1, x->rank);
    struct gather g = { .x = x->data,
                        .y = y->data,
                        .index = index,
                        .n_bytes = (size_t)inner * rt_dtype_size(x->dtype),
                        .n_index = k_count(t->dims, (int)batch, t->rank),
                        .n_dim = x->dims[axis],
                        .n_outer = k_count(x->dims, (int)batch, (int)axis) };
    rt_parallel_for(ctx, y->n_elems / inner, K_MAX(1, K_GRAIN / inner), gather_range,
                    &g);
    k_own(y);
    return 0;
}

/* Gather has no axis input: 0. */
int
rt_run_gather(struct rt_ctx *ctx, struct err *err)
{
    int64_t axis = 0;
    if (ctx->node->n_in > 2 && k_scalar(ctx, 2, "axis", &axis, err) < 0)
        return -(int)err->code;
    return gather(ctx, axis, *(const int64_t *)ctx->node->state, err);
}

/* ---- the positions of GatherNd and ScatterNd ------------------------------------- */

/* indices [..., k] address slices by the first k dimensions of a shape. For scattering,
 * a vector of indices is [n, 1]. */
struct slices {
    int64_t n;         /* how many indices */
    int64_t slice;     /* elements of a slice */
    const int64_t *at; /* first element of each addressed slice */
};

static int
find_slices(struct rt_ctx *ctx, const struct rt_tensor *t, int k, int rank,
            const int64_t *dims, const char *what, struct slices *s, struct err *err)
{
    int64_t steps[SM_MAX_RANK];
    char where[RT_SHAPE_TEXT_BYTES], bad[RT_SHAPE_TEXT_BYTES],
        shape[RT_SHAPE_TEXT_BYTES];
    if (!k_is_int(t->dtype))
        return rt_fail_dtype(ctx, err, t->dtype);
    if (k > rank)
        return rt_fail(
            ctx, err, ERR_FAILED,
            "index innermost dimension length must be <= params rank; saw: %d vs. "
            "%d",
            k, rank);
    s->n = k == 0 ? k_count(t->dims, 0, t->rank - 1) : t->n_elems / k;
    s->slice = k_count(dims, k, rank);
    k_steps(rank, dims, steps);
    int64_t *at = rt_scratch(ctx, (size_t)s->n * sizeof(*at), err);
    if (!at)
        return -(int)err->code;
    for (int64_t i = 0; i < s->n; i++) {
        bool ok = true;
        at[i] = 0;
        for (int d = 0; d < k; d++) {
            int64_t v = k_int_at(t, i * k + d);
            ok = ok && v >= 0 && v < dims[d];
            at[i] += ok ? v * steps[d] : 0;
        }
        if (!ok) {
            int64_t v[SM_MAX_RANK];
            for (int d = 0; d < k; d++)
                v[d] = k_int_at(t, i * k + d);
            return rt_fail(
                ctx, err, ERR_FAILED, "indices%s = %s does not index into %s %s",
                t->rank > 1 ? position_text(t->rank - 1, t->dims, i, where) : "",
                rt_dims_text(k, v, bad), what, rt_dims_text(rank, dims, shape));
        }
    }
    s->at = at;
    return 0;
}

int
rt_run_gather_nd(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0], *t = ctx->in[1];
    int64_t dims[2 * SM_MAX_RANK];
    int rank = 0;
    struct slices s;
    struct rt_tensor *y;
    if (x->rank < 1 || t->rank < 1)
        return rt_fail(ctx, err, ERR_FAILED, "%s must be at least a vector",
                       x->rank < 1 ? "params" : "indices");
    if (find_slices(ctx, t, (int)K_MIN(t->dims[t->rank - 1], SM_MAX_RANK + 1), x->rank,
                    x->dims, "param shape", &s, err) < 0)
        return -(int)err->code;
    for (int i = 0; i < t->rank - 1; i++)
        dims[rank++] = t->dims[i];
    for (int i = (int)t->dims[t->rank - 1]; i < x->rank; i++)
        dims[rank++] = x->dims[i];
    if (rank > SM_MAX_RANK)
        return rt_fail(ctx, err, ERR_UNSUPPORTED, "more than %d dimensions",
                       SM_MAX_RANK);
    if (rt_out(ctx, 0, x->dtype, rank, dims, &y, err) < 0)
        return -(int)err->code;
    size_t elem = rt_dtype_size(x->dtype), n = (size_t)s.slice * elem;
    for (int64_t i = 0; i < s.n && n > 0; i++)
        memcpy((char *)y->data + (size_t)i * n,
               (const char *)x->data + (size_t)s.at[i] * elem, n);
    k_own(y);
    return 0;
}

/* ---- ScatterNd, TensorScatter… --------------------------------------------------- */

enum scatter_how { ASSIGN, COMBINE };
struct scatter_state {
    enum scatter_how how;
    const struct k_binary *combine;
};

int
rt_prep_scatter_nd(struct rt_prep *p)
{
    static const struct {
        const char *op, *binary;
    } rows[] = { { "ScatterNd", "Add" },
                 { "ScatterNdNonAliasingAdd", "Add" },
                 { "TensorScatterAdd", "Add" },
                 { "TensorScatterSub", "Sub" },
                 { "TensorScatterMax", "Maximum" },
                 { "TensorScatterMin", "Minimum" } };
    struct scatter_state *s = p->node->state = rt_prep_alloc(p, sizeof(*s));
    const char *const *row = K_ROW(rows, p->node->op);
    if (row) {
        s->how = COMBINE;
        s->combine = k_binary_row(row[1]);
    }
    return rt_prep_done(p);
}

/* Strings are joined, bools or-ed, numbers combined. */
static int
combine(struct rt_ctx *ctx, const struct scatter_state *st, int dtype, void *y,
        const void *u, int64_t n, struct err *err)
{
    if (dtype == SM_BOOL) {
        for (int64_t i = 0; i < n; i++)
            ((uint8_t *)y)[i] |= ((const uint8_t *)u)[i];
        return 0;
    }
    if (dtype != SM_STRING)
        return k_apply(ctx, st->combine, dtype, y, u, y, n, err);
    for (int64_t i = 0; i < n; i++) {
        struct str *a = (struct str *)y + i, b = ((const struct str *)u)[i];
        char *p = rt_str_alloc(ctx, a->n + b.n, err);
        if (!p)
            return -(int)err->code;
        if (a->n)
            memcpy(p, a->p, a->n);
        if (b.n)
            memcpy(p + a->n, b.p, b.n);
        *a = (struct str){ p, a->n + b.n };
    }
    return 0;
}

static int
scatter(struct rt_ctx *ctx, struct rt_tensor *y, const struct rt_tensor *t,
        const struct rt_tensor *u, struct err *err)
{
    const struct scatter_state *st = ctx->node->state;
    struct slices s;
    char a[RT_SHAPE_TEXT_BYTES], b[RT_SHAPE_TEXT_BYTES];
    size_t elem = rt_dtype_size(y->dtype);
    if (k_is_obj(y->dtype))
        return rt_fail_dtype(ctx, err, y->dtype);
    int k = t->rank > 1 ? (int)K_MIN(t->dims[t->rank - 1], SM_MAX_RANK + 1) : 1;
    int outer = t->rank > 1 ? t->rank - 1 : t->rank;
    if (find_slices(ctx, t, k, y->rank, y->dims, "shape", &s, err) < 0)
        return -(int)err->code;
    int want = outer + y->rank - k;
    bool fits = u->rank == want && u->n_elems == s.n * s.slice;
    for (int i = 0; fits && i < want; i++)
        fits = u->dims[i] == (i < outer ? t->dims[i] : y->dims[i - want + y->rank]);
    if (!fits)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Shapes do not fit: updates %s, indices %s, output of rank %d",
                       rt_shape_text(u, a), rt_shape_text(t, b), y->rank);
    size_t n = (size_t)s.slice * elem;
    for (int64_t i = 0; i < s.n && n > 0; i++) {
        char *d = (char *)y->data + (size_t)s.at[i] * elem;
        const char *v = (const char *)u->data + (size_t)i * n;
        if (st->how == ASSIGN)
            memcpy(d, v, n);
        else if (combine(ctx, st, y->dtype, d, v, s.slice, err) < 0)
            return -(int)err->code;
    }
    return 0;
}

/* Into zeros of a given shape. */
int
rt_run_scatter_nd(struct rt_ctx *ctx, struct err *err)
{
    int64_t dims[SM_MAX_RANK];
    struct rt_tensor *y;
    int rank = 0;
    if (k_shape_in(ctx, 2, "shape", &rank, dims, err) < 0)
        return -(int)err->code;
    if (k_is_obj(ctx->in[1]->dtype))
        return rt_fail_dtype(ctx, err, ctx->in[1]->dtype);
    if (rt_out(ctx, 0, ctx->in[1]->dtype, rank, dims, &y, err) < 0)
        return -(int)err->code;
    memset(y->data, 0, rt_size(y));
    return scatter(ctx, y, ctx->in[0], ctx->in[1], err);
}

/* Into a copy of a tensor, or into itself when nobody else has it. */
int
rt_run_tensor_scatter(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    struct rt_tensor *y;
    if (k_is_obj(x->dtype))
        return rt_fail_dtype(ctx, err, x->dtype);
    if (rt_out_reuse(ctx, 0, 0, x->dtype, x->rank, x->dims, &y, err) < 0)
        return -(int)err->code;
    if (y->data != x->data && rt_size(x) > 0)
        memcpy(y->data, x->data, rt_size(x));
    return scatter(ctx, y, ctx->in[1], ctx->in[2], err);
}

/* ---- OneHot, InvertPermutation --------------------------------------------------- */

int
rt_prep_one_hot(struct rt_prep *p)
{
    int64_t *axis = p->node->state = rt_prep_alloc(p, sizeof(*axis));
    *axis = rt_attr_int(p, "axis", -1);
    return rt_prep_done(p);
}

/* Indices outside [0, depth) give no "on". */
int
rt_run_one_hot(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *t = ctx->in[0], *on = ctx->in[2], *off = ctx->in[3];
    int64_t axis = *(const int64_t *)ctx->node->state, depth, dims[SM_MAX_RANK];
    struct rt_tensor *y;
    if (!k_is_int(t->dtype))
        return rt_fail_dtype(ctx, err, t->dtype);
    if (axis != -1 && (axis < 0 || axis > t->rank))
        return rt_fail(ctx, err, ERR_FAILED,
                       "Expected axis to be -1 or between [0, %d).  But received: %lld",
                       t->rank + 1, (long long)axis);
    if (k_scalar(ctx, 1, "depth", &depth, err) < 0)
        return -(int)err->code;
    if (depth < 0)
        return rt_fail(ctx, err, ERR_FAILED, "depth must be non-negative, got: %lld",
                       (long long)depth);
    if (on->n_elems != 1 || off->n_elems != 1)
        return rt_fail(ctx, err, ERR_FAILED, "%s must be a scalar",
                       on->n_elems != 1 ? "on_value" : "off_value");
    if (t->rank == SM_MAX_RANK)
        return rt_fail(ctx, err, ERR_UNSUPPORTED, "more than %d dimensions",
                       SM_MAX_RANK);
    axis = axis < 0 ? t->rank : axis;
    for (int i = 0; i <= t->rank; i++)
        dims[i] = i < axis ? t->dims[i] : i == axis ? depth : t->dims[i - 1];
    if (rt_out(ctx, 0, on->dtype, t->rank + 1, dims, &y, err) < 0)
        return -(int)err->code;
    size_t elem = rt_dtype_size(on->dtype);
    k_fill(y->data, off->data, y->n_elems, elem);
    int64_t after = k_count(t->dims, (int)axis, t->rank);
    for (int64_t i = 0; i < t->n_elems; i++) {
        int64_t v = k_int_at(t, i), before = i / after;
        if (v >= 0 && v < depth)
            memcpy((char *)y->data +
                       (size_t)((before * depth + v) * after + i % after) * elem,
                   on->data, elem);
    }
    k_own(y);
    return 0;
}

int
rt_run_invert_permutation(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    struct rt_tensor *y;
    int64_t n = x->n_elems;
    if (x->rank != 1)
        return rt_fail(ctx, err, ERR_FAILED, "invert_permutation expects a 1D vector.");
    if (rt_out(ctx, 0, x->dtype, 1, x->dims, &y, err) < 0)
        return -(int)err->code;
    memset(y->data, 0xff, rt_size(y)); /* -1 */
    for (int64_t i = 0; i < n; i++) {
        int64_t v = rt_int_at(x, i);
        if (v < 0 || v >= n)
            return rt_fail(ctx, err, ERR_FAILED, "%lld is not between 0 and %lld",
                           (long long)v, (long long)n);
        if (rt_int_at(y, v) != -1)
            return rt_fail(ctx, err, ERR_FAILED, "%lld is duplicated in the input.",
                           (long long)v);
        k_put_int(y, v, i);
    }
    return 0;
}
