/* SPDX-License-Identifier: Apache-2.0 */
/* Sparse tensors moved and reshaped: SparseToDense, SparseReshape, SparseFillEmptyRows,
 * SparseReorder, SparseSlice, SparseConcat, SparseSplit. Values of every dtype. */
#include "runtime/ops/sparse_int.h"

/* ---- SparseToDense ---- */

int
rt_prep_sparse_to_dense(struct rt_prep *p)
{
    bool *validate = p->node->state = rt_prep_alloc(p, sizeof(*validate));
    *validate = rt_attr_bool(p, "validate_indices", true);
    return rt_prep_done(p);
}

/* sparse_indices [n, rank], or [n] and a scalar for vectors; values [n] or one for all.
 */
static int
to_dense_in(struct rt_ctx *ctx, struct sparse *s, struct err *err)
{
    const struct rt_tensor *at = ctx->in[0], *shape = ctx->in[1], *v = ctx->in[2];
    char text[RT_SHAPE_TEXT_BYTES];
    if (at->rank > 2)
        return rt_fail(ctx, err, ERR_FAILED,
                       "sparse_indices should be a scalar, vector, or matrix, got "
                       "shape %s",
                       rt_shape_text(at, text));
    s->n = at->rank > 0 ? at->dims[0] : 1;
    int64_t rank = at->rank == 2 ? at->dims[1] : 1;
    if (shape->rank != 1 || shape->n_elems != rank)
        return rt_fail(ctx, err, ERR_FAILED,
                       "output_shape has incorrect number of elements: %lld should be: "
                       "%lld",
                       (long long)shape->n_elems, (long long)rank);
    if (v->rank > 1 || (v->rank == 1 && v->n_elems != s->n))
        return rt_fail(ctx, err, ERR_FAILED,
                       "sparse_values has incorrect shape %s, should be [] or [%lld]",
                       rt_shape_text(v, text), (long long)s->n);
    if (ctx->in[3]->rank != 0)
        return rt_fail(ctx, err, ERR_FAILED, "default_value should be a scalar.");
    if (rank > SM_MAX_RANK)
        return rt_fail(ctx, err, ERR_UNSUPPORTED, "more than %d dimensions",
                       SM_MAX_RANK);
    s->rank = (int)rank;
    s->values = v;
    s->at = k_ints(ctx, at, err);
    s->dims = s->at ? k_ints(ctx, shape, err) : NULL;
    return s->dims ? 0 : -(int)err->code;
}

int
rt_run_sparse_to_dense(struct rt_ctx *ctx, struct err *err)
{
    struct sparse s;
    int64_t steps[SM_MAX_RANK];
    struct rt_tensor *y;
    if (to_dense_in(ctx, &s, err) < 0 ||
        rt_out(ctx, 0, s.values->dtype, s.rank, s.dims, &y, err) < 0 ||
        sparse_check(ctx, &s, *(const bool *)ctx->node->state, err) < 0)
        return -(int)err->code;
    size_t size = rt_dtype_size(y->dtype);
    if (y->dtype == SM_STRING)
        for (int64_t i = 0; i < y->n_elems; i++)
            sparse_move(y, i, ctx->in[3], 0);
    else
        k_fill(y->data, ctx->in[3]->data, y->n_elems, size);
    k_steps(s.rank, s.dims, steps);
    for (int64_t i = 0; i < s.n; i++) {
        int64_t to = 0;
        for (int d = 0; d < s.rank; d++)
            to += s.at[i * s.rank + d] * steps[d];
        sparse_move(y, to, s.values, s.values->rank ? i : 0);
    }
    return 0;
}

/* ---- SparseReshape ---- */

/* dims of the new shape, -1 worked out from n_dense elements. */
static int
infer_shape(struct rt_ctx *ctx, const struct sparse *s, int64_t n_dense, int64_t *dims,
            struct err *err)
{
    const struct rt_tensor *t = ctx->in[2];
    int rank = (int)t->n_elems, unknown = -1;
    char a[RT_SHAPE_TEXT_BYTES], b[RT_SHAPE_TEXT_BYTES];
    int64_t n = 1;
    bool over = false;
    for (int d = 0; d < rank; d++) {
        dims[d] = k_int_at(t, d);
        if (dims[d] == -1 && unknown >= 0)
            return rt_fail(ctx, err, ERR_FAILED,
                           "only one output dimension may be -1, not both %d and %d",
                           unknown, d);
        if (dims[d] < -1)
            return rt_fail(ctx, err, ERR_FAILED,
                           "size %d must be non-negative, not %lld", d,
                           (long long)dims[d]);
        if (dims[d] == -1)
            unknown = d;
        else
            over |= __builtin_mul_overflow(n, dims[d], &n);
    }
    if (over)
        return rt_fail(ctx, err, ERR_FAILED, "the new shape has too many elements");
    if (unknown >= 0) {
        if (n == 0)
            return rt_fail(ctx, err, ERR_FAILED,
                           "reshape cannot infer the missing input size for an empty "
                           "tensor unless all specified input sizes are non-zero");
        if (n_dense % n != 0)
            return rt_fail(ctx, err, ERR_FAILED,
                           "Input to reshape is a SparseTensor with %lld dense values, "
                           "but the requested shape requires a multiple of %lld. "
                           "input_shape=%s output_shape=%s",
                           (long long)n_dense, (long long)n,
                           rt_dims_text(s->rank, s->dims, a),
                           rt_dims_text(rank, dims, b));
        dims[unknown] = n_dense / n;
        n = n_dense;
    }
    if (n != n_dense)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Input to reshape is a tensor with %lld dense values, but the "
                       "requested shape has %lld. input_shape=%s output_shape=%s",
                       (long long)n_dense, (long long)n,
                       rt_dims_text(s->rank, s->dims, a), rt_dims_text(rank, dims, b));
    return 0;
}

int
rt_run_sparse_reshape(struct rt_ctx *ctx, struct err *err)
{
    struct sparse s;
    const struct rt_tensor *target = ctx->in[2];
    int64_t old[SM_MAX_RANK], steps[SM_MAX_RANK], dims[SM_MAX_RANK], n_dense = 1;
    int64_t *at, *shape;
    if (sparse_in(ctx, 0, -1, 1, &s, err) < 0)
        return -(int)err->code;
    if (target->rank != 1)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Target shape should be a vector but received rank %d",
                       target->rank);
    if (target->n_elems > SM_MAX_RANK)
        return rt_fail(ctx, err, ERR_UNSUPPORTED, "more than %d dimensions",
                       SM_MAX_RANK);
    if (!sparse_steps(s.rank, s.dims, old))
        return rt_fail(
            ctx, err, ERR_FAILED,
            "the dense shape has a negative dimension, or too many elements");
    for (int d = 0; d < s.rank; d++)
        n_dense *= s.dims[d];
    int rank = (int)target->n_elems;
    if (infer_shape(ctx, &s, n_dense, dims, err) < 0 ||
        sparse_out_ints(ctx, 0, s.n, rank, &at, err) < 0 ||
        sparse_out_ints(ctx, 1, rank, -1, &shape, err) < 0)
        return -(int)err->code;
    k_steps(rank, dims, steps);
    for (int d = 0; d < rank; d++)
        shape[d] = dims[d];
    for (int64_t i = 0; i < s.n; i++) {
        uint64_t where = 0; /* an index outside its shape may wrap */
        for (int d = 0; d < s.rank; d++)
            where += (uint64_t)s.at[i * s.rank + d] * (uint64_t)old[d];
        for (int d = 0; d < rank; d++) {
            uint64_t step = (uint64_t)K_MAX(steps[d], (int64_t)1);
            *at++ = (int64_t)(where / step);
            where %= step;
        }
    }
    return 0;
}

/* ---- SparseFillEmptyRows ---- */

/* A row without a value gets one, the default, in column 0. */
int
rt_run_sparse_fill_empty_rows(struct rt_ctx *ctx, struct err *err)
{
    char text[RT_SHAPE_TEXT_BYTES];
    struct sparse s;
    struct rt_tensor *values, *empty;
    int64_t *at, *map, total = 0;
    if (sparse_in(ctx, 0, 1, 2, &s, err) < 0)
        return -(int)err->code;
    if (ctx->in[3]->rank != 0)
        return rt_fail(ctx, err, ERR_FAILED, "default_value must be a scalar, saw: %s",
                       rt_shape_text(ctx->in[3], text));
    if (s.rank == 0)
        return rt_fail(ctx, err, ERR_FAILED, "Dense shape cannot be empty.");
    int64_t n_rows = s.dims[0];
    if (n_rows == 0 && s.n > 0)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Received SparseTensor with dense_shape[0] = 0 but "
                       "indices.shape[0] = %lld",
                       (long long)s.n);
    if (rt_out(ctx, 2, SM_BOOL, 1, &n_rows, &empty, err) < 0)
        return -(int)err->code;
    /* next[r]: the output place of row r's next value */
    int64_t *next = rt_scratch(ctx, (size_t)(n_rows + 1) * sizeof(*next), err);
    if (!next)
        return -(int)err->code;
    memset(next, 0, (size_t)(n_rows + 1) * sizeof(*next));
    for (int64_t i = 0; i < s.n; i++) {
        int64_t row = s.at[i * s.rank];
        if (row < 0 || row >= n_rows)
            return rt_fail(ctx, err, ERR_FAILED,
                           "indices(%lld, 0) is invalid: %lld >= %lld", (long long)i,
                           (long long)row, (long long)n_rows);
        next[row]++;
    }
    for (int64_t r = 0; r < n_rows; r++) {
        int64_t n = next[r];
        ((uint8_t *)empty->data)[r] = n == 0;
        next[r] = total;
        total += n > 0 ? n : 1;
    }
    if (sparse_out_ints(ctx, 0, total, s.rank, &at, err) < 0 ||
        rt_out(ctx, 1, s.values->dtype, 1, &total, &values, err) < 0 ||
        sparse_out_ints(ctx, 3, s.n, -1, &map, err) < 0)
        return -(int)err->code;
    for (int64_t r = 0; r < n_rows; r++) {
        if (!((const uint8_t *)empty->data)[r])
            continue;
        memset(at + next[r] * s.rank, 0, (size_t)s.rank * sizeof(*at));
        at[next[r] * s.rank] = r;
        sparse_move(values, next[r], ctx->in[3], 0);
    }
    for (int64_t i = 0; i < s.n; i++) {
        int64_t to = map[i] = next[s.at[i * s.rank]]++;
        memcpy(at + to * s.rank, s.at + i * s.rank, (size_t)s.rank * sizeof(*at));
        sparse_move(values, to, s.values, i);
    }
    return 0;
}

/* ---- SparseReorder, SparseSlice, SparseConcat, SparseSplit ---- */

int
rt_run_sparse_reorder(struct rt_ctx *ctx, struct err *err)
{
    struct sparse s;
    struct rt_tensor *values;
    int64_t *at;
    if (sparse_in(ctx, 0, 1, 2, &s, err) < 0)
        return -(int)err->code;
    const int64_t *order = sparse_sorted(ctx, s.at, s.n, s.rank, err);
    if (!order || sparse_out_ints(ctx, 0, s.n, s.rank, &at, err) < 0 ||
        rt_out(ctx, 1, s.values->dtype, 1, &s.n, &values, err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < s.n; i++) {
        for (int d = 0; d < s.rank; d++)
            *at++ = s.at[order[i] * s.rank + d];
        sparse_move(values, i, s.values, order[i]);
    }
    return 0;
}

/* Outputs first, first + step, first + 2 * step: what of s lies in the box that begins
 * at start and has `size`, counted from start. */
static int
put_box(struct rt_ctx *ctx, const struct sparse *s, const int64_t *start,
        const int64_t *size, int first, int step, struct err *err)
{
    int64_t n = 0, *at = NULL, *shape;
    struct rt_tensor *values = NULL;
    for (int pass = 0; pass < 2; pass++) {
        int64_t k = 0;
        for (int64_t i = 0; i < s->n; i++) {
            const int64_t *x = s->at + i * s->rank;
            bool inside = true;
            for (int d = 0; d < s->rank; d++)
                inside = inside && x[d] >= start[d] && x[d] - start[d] < size[d];
            if (inside && pass > 0) {
                for (int d = 0; d < s->rank; d++)
                    *at++ = x[d] - start[d];
                sparse_move(values, k, s->values, i);
            }
            k += inside;
        }
        n = k;
        if (pass == 0 &&
            (sparse_out_ints(ctx, first, n, s->rank, &at, err) < 0 ||
             rt_out(ctx, first + step, s->values->dtype, 1, &n, &values, err) < 0))
            return -(int)err->code;
    }
    if (sparse_out_ints(ctx, first + 2 * step, s->rank, -1, &shape, err) < 0)
        return -(int)err->code;
    for (int d = 0; d < s->rank; d++)
        shape[d] = size[d];
    return 0;
}

int
rt_run_sparse_slice(struct rt_ctx *ctx, struct err *err)
{
    struct sparse s;
    int64_t start[SM_MAX_RANK], size[SM_MAX_RANK];
    const struct rt_tensor *a = ctx->in[3], *b = ctx->in[4];
    if (sparse_in(ctx, 0, 1, 2, &s, err) < 0)
        return -(int)err->code;
    if (a->rank != 1 || b->rank != 1 || a->n_elems != s.rank || b->n_elems != s.rank)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Expected start and size to be vectors of length %d but got "
                       "lengths %lld and %lld",
                       s.rank, (long long)a->n_elems, (long long)b->n_elems);
    for (int d = 0; d < s.rank; d++) {
        start[d] = rt_int_at(a, d);
        size[d] = rt_int_at(b, d);
        if (start[d] < 0 || size[d] < 0)
            return rt_fail(ctx, err, ERR_FAILED,
                           "start and size must not be negative, got %lld and %lld",
                           (long long)start[d], (long long)size[d]);
        size[d] = K_MAX(K_MIN(size[d], s.dims[d] - start[d]), (int64_t)0);
    }
    return put_box(ctx, &s, start, size, 0, 1, err);
}

int
rt_prep_sparse_concat(struct rt_prep *p)
{
    int64_t *dim = p->node->state = rt_prep_alloc(p, sizeof(*dim));
    *dim = rt_attr_int(p, "concat_dim", RT_REQUIRED);
    if (p->node->n_in % 3 != 0 || p->node->n_in == 0)
        rt_prep_fail(p, ERR_CORRUPT, "has %d inputs, not a multiple of 3",
                     p->node->n_in);
    return rt_prep_done(p);
}

/* The parts next to each other along concat_dim, in row-major order again. */
int
rt_run_sparse_concat(struct rt_ctx *ctx, struct err *err)
{
    int n_parts = ctx->node->n_in / 3, axis = 0;
    int64_t total = 0, dims[SM_MAX_RANK], *at, *shape;
    struct rt_tensor *values;
    struct sparse *s = rt_scratch(ctx, (size_t)n_parts * sizeof(*s), err);
    if (!s)
        return -(int)err->code;
    for (int i = 0; i < n_parts; i++) {
        if (sparse_in(ctx, i, n_parts + i, 2 * n_parts + i, &s[i], err) < 0)
            return -(int)err->code;
        if (s[i].values->dtype != s[0].values->dtype)
            return rt_fail_dtype(ctx, err, s[i].values->dtype);
        if (s[i].rank != s[0].rank)
            return rt_fail(ctx, err, ERR_FAILED,
                           "Ranks of all input tensors must match: expected %d but got "
                           "%d at position %d",
                           s[0].rank, s[i].rank, i);
        if (i == 0) {
            if (k_axis(ctx, *(const int64_t *)ctx->node->state, s[0].rank, &axis, err) <
                0)
                return -(int)err->code;
            for (int d = 0; d < s[0].rank; d++)
                dims[d] = s[0].dims[d];
            dims[axis] = 0;
        }
        for (int d = 0; d < s[0].rank; d++)
            if (d != axis && s[i].dims[d] != dims[d])
                return rt_fail(ctx, err, ERR_FAILED,
                               "Input shapes must match: expected %lld for dimension "
                               "%d but got %lld at position %d",
                               (long long)dims[d], d, (long long)s[i].dims[d], i);
        if (__builtin_add_overflow(dims[axis], s[i].dims[axis], &dims[axis]))
            return rt_fail(ctx, err, ERR_FAILED, "dimension %d overflows", axis);
        total += s[i].n;
    }
    int rank = s[0].rank;
    int64_t *all = rt_scratch(ctx, (size_t)(total * rank) * sizeof(*all), err);
    int64_t *from =
        all ? rt_scratch(ctx, (size_t)total * 2 * sizeof(*from), err) : NULL;
    if (!from)
        return -(int)err->code;
    int64_t offset = 0, k = 0;
    for (int i = 0; i < n_parts; offset += s[i].dims[axis], i++)
        for (int64_t j = 0; j < s[i].n; j++, k++) {
            memcpy(all + k * rank, s[i].at + j * rank, (size_t)rank * sizeof(*all));
            all[k * rank + axis] += offset;
            from[2 * k] = i;
            from[2 * k + 1] = j;
        }
    const int64_t *order = sparse_sorted(ctx, all, total, rank, err);
    if (!order || sparse_out_ints(ctx, 0, total, rank, &at, err) < 0 ||
        rt_out(ctx, 1, s[0].values->dtype, 1, &total, &values, err) < 0 ||
        sparse_out_ints(ctx, 2, rank, -1, &shape, err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < total; i++) {
        memcpy(at + i * rank, all + order[i] * rank, (size_t)rank * sizeof(*at));
        sparse_move(values, i, s[from[2 * order[i]]].values, from[2 * order[i] + 1]);
    }
    memcpy(shape, dims, (size_t)rank * sizeof(*shape));
    return 0;
}

int
rt_prep_sparse_split(struct rt_prep *p)
{
    int64_t *n = p->node->state = rt_prep_alloc(p, sizeof(*n));
    *n = rt_attr_int(p, "num_split", RT_REQUIRED);
    if (*n < 1 || p->node->n_out != 3 * *n)
        rt_prep_fail(p, ERR_FAILED, "Input num_split should be larger than 0");
    return rt_prep_done(p);
}

/* num_split slices; the first ones are larger by one where it does not come out even.
 */
int
rt_run_sparse_split(struct rt_ctx *ctx, struct err *err)
{
    struct sparse s;
    int64_t n = *(const int64_t *)ctx->node->state, axis;
    int64_t start[SM_MAX_RANK] = { 0 }, size[SM_MAX_RANK];
    if (sparse_in(ctx, 1, 2, 3, &s, err) < 0 ||
        k_scalar(ctx, 0, "split_dim", &axis, err) < 0)
        return -(int)err->code;
    if (axis < 0 || axis >= s.rank)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Input split_dim should be between 0 and rank (%d), got %lld",
                       s.rank, (long long)axis);
    if (n > s.dims[axis])
        return rt_fail(
            ctx, err, ERR_FAILED,
            "Input num_split should be between 1 and the splitting dimension "
            "size (%lld), got %lld",
            (long long)s.dims[axis], (long long)n);
    memcpy(size, s.dims, (size_t)s.rank * sizeof(*size));
    for (int64_t i = 0; i < n; i++) {
        size[axis] = s.dims[axis] / n + (i < s.dims[axis] % n);
        if (put_box(ctx, &s, start, size, (int)i, (int)n, err) < 0)
            return -(int)err->code;
        start[axis] += size[axis];
    }
    return 0;
}
