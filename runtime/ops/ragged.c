/* SPDX-License-Identifier: Apache-2.0 */
/* RaggedTensorToTensor, RaggedRange, RaggedGather, RaggedTensorToSparse,
 * RaggedTensorToVariant, RaggedTensorFromVariant. A ragged tensor is a tensor of values
 * whose first dimension is cut into rows by row_splits, these into rows by further
 * splits … */
#include "runtime/ops/ops_int.h"

#include <math.h>
#include <stdlib.h>

static void
put_int(struct rt_tensor *t, int64_t i, int64_t v)
{
    if (t->dtype == SM_INT32)
        ((int32_t *)t->data)[i] = (int32_t)v;
    else
        ((int64_t *)t->data)[i] = v;
}

/* splits: a vector that begins with 0, does not descend and ends at `end` (< 0: at
 * any). */
static int
check_splits(struct rt_ctx *ctx, const struct rt_tensor *t, int64_t end,
             struct err *err)
{
    if (t->dtype != SM_INT32 && t->dtype != SM_INT64)
        return rt_fail_dtype(ctx, err, t->dtype);
    if (t->rank != 1 || t->n_elems < 1)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Invalid row splits: they must be a vector of at least one "
                       "element");
    if (rt_int_at(t, 0) != 0)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Invalid row splits: the first is %lld, not 0",
                       (long long)rt_int_at(t, 0));
    for (int64_t i = 1; i < t->n_elems; i++)
        if (rt_int_at(t, i) < rt_int_at(t, i - 1))
            return rt_fail(ctx, err, ERR_FAILED,
                           "Invalid row splits: they must not descend");
    if (end >= 0 && rt_int_at(t, t->n_elems - 1) != end)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Invalid row splits: the last is %lld, for %lld values",
                       (long long)rt_int_at(t, t->n_elems - 1), (long long)end);
    return 0;
}

/* Inputs 0 … n - 1 are nested splits, input n the values (rank 1 at least). */
static int
check_ragged(struct rt_ctx *ctx, int n, struct err *err)
{
    const struct rt_tensor *values = ctx->in[n];
    if (values->rank < 1)
        return rt_fail(ctx, err, ERR_FAILED, "the ragged values must not be a scalar");
    for (int i = 0; i < n; i++) {
        int64_t end = i + 1 < n ? K_MAX(ctx->in[i + 1]->n_elems - 1, (int64_t)0)
                                : values->dims[0];
        if (check_splits(ctx, ctx->in[i], end, err) < 0)
            return -(int)err->code;
    }
    return 0;
}

/* ---- RaggedTensorToTensor ---- */

enum part { FIRST_DIM_SIZE, ROWIDS, SPLITS };
struct to_tensor {
    int n_parts, ragged_rank;
    enum part *parts;
};

int
rt_prep_ragged_to_tensor(struct rt_prep *p)
{
    struct to_tensor *a = p->node->state = rt_prep_alloc(p, sizeof(*a));
    const struct str *types = rt_attr_strs(p, "row_partition_types", &a->n_parts);
    a->parts = rt_prep_alloc(p, (size_t)a->n_parts * sizeof(*a->parts));
    for (int i = 0; i < a->n_parts; i++) {
        if (str_is(types[i], "FIRST_DIM_SIZE") && i == 0)
            a->parts[i] = FIRST_DIM_SIZE;
        else if (str_is(types[i], "VALUE_ROWIDS") && i > 0)
            a->parts[i] = ROWIDS;
        else if (str_is(types[i], "ROW_SPLITS"))
            a->parts[i] = SPLITS;
        else
            return rt_prep_fail(p, ERR_FAILED,
                                "Cannot handle partition type %.*s at position %d",
                                STR_ARG(types[i]), i);
    }
    a->ragged_rank =
        a->n_parts - (a->n_parts > 0 && a->parts[0] == FIRST_DIM_SIZE ? 1 : 0);
    if (a->n_parts == 0 || p->node->n_in != 3 + a->n_parts ||
        a->ragged_rank >= SM_MAX_RANK)
        rt_prep_fail(p, ERR_FAILED,
                     "row_partition_types must have one entry for each of 1 to %d row "
                     "partition tensors",
                     SM_MAX_RANK);
    return rt_prep_done(p);
}

/* The longest row of a partition. */
static int64_t
widest(const struct rt_tensor *t, enum part part)
{
    int64_t most = 0, n = t->n_elems;
    if (part == SPLITS) {
        for (int64_t i = 1; i < n; i++)
            most = K_MAX(most, rt_int_at(t, i) - rt_int_at(t, i - 1));
        return most;
    }
    for (int64_t i = 0, first = 0; i < n; i++) {
        if (rt_int_at(t, i) != rt_int_at(t, first))
            first = i;
        most = K_MAX(most, i - first + 1);
    }
    return most;
}

/* The output's shape: `shape` where it is known, else from the ragged tensor. */
static int
dense_shape(struct rt_ctx *ctx, int64_t n_first, int *rank, int64_t *dims,
            struct err *err)
{
    const struct to_tensor *a = ctx->node->state;
    const struct rt_tensor *shape = ctx->in[0], *values = ctx->in[1];
    const struct rt_tensor *const *parts = ctx->in + ctx->node->n_in - a->ragged_rank;
    char text[RT_SHAPE_TEXT_BYTES];
    *rank = a->ragged_rank + values->rank;
    if (*rank > SM_MAX_RANK)
        return rt_fail(ctx, err, ERR_UNSUPPORTED, "more than %d dimensions",
                       SM_MAX_RANK);
    bool known = shape->rank > 0;
    if (!known && k_int_at(shape, 0) != -1)
        return rt_fail(ctx, err, ERR_FAILED,
                       "The only valid scalar shape tensor is the fully unknown shape "
                       "specified as -1.");
    if (known && (shape->rank != 1 || shape->n_elems != *rank))
        return rt_fail(ctx, err, ERR_FAILED,
                       "rt_input.shape and shape are incompatible: rt_input.rank = %d "
                       "but shape.rank = %lld",
                       *rank, (long long)shape->n_elems);
    const int64_t *wants = known ? k_ints(ctx, shape, err) : NULL;
    if (known && !wants)
        return -(int)err->code;
    for (int d = 0; d < *rank; d++) {
        int64_t want = known ? wants[d] : -1;
        int64_t inner = d > a->ragged_rank ? values->dims[d - a->ragged_rank] : -1;
        if (want < -1)
            return rt_fail(ctx, err, ERR_FAILED, "shape[%d] is %lld", d,
                           (long long)want);
        if (want >= 0 && inner >= 0 && want != inner)
            return rt_fail(ctx, err, ERR_FAILED,
                           "rt_input.shape and shape=%s are incompatible: "
                           "rt_input.shape[%d] = %lld but shape[%d] = %lld",
                           rt_dims_text(*rank, wants, text), d, (long long)inner, d,
                           (long long)want);
        dims[d] =
            want >= 0 ? want
            : d == 0  ? n_first
            : d <= a->ragged_rank
                ? widest(parts[d - 1], a->parts[a->n_parts - a->ragged_rank + d - 1])
                : inner;
    }
    return 0;
}

/* Where the first element of each row of one level goes in the output (-1: nowhere),
 * from where the rows of the level above go. */
static int
next_places(struct rt_ctx *ctx, const struct rt_tensor *t, enum part part,
            const int64_t *above, int64_t n_above, int64_t width, int64_t step,
            int64_t **places, int64_t *n, struct err *err)
{
    *n = part == SPLITS ? rt_int_at(t, t->n_elems - 1) : t->n_elems;
    *places = rt_scratch(ctx, (size_t)*n * sizeof(**places), err);
    if (!*places)
        return -(int)err->code;
    if (part == SPLITS && t->n_elems - 1 > n_above)
        return rt_fail(ctx, err, ERR_FAILED, "Invalid row splits: too many rows");
    int64_t row = 0, column = 0, last = -1;
    for (int64_t i = 0; i < *n; i++) {
        if (part == SPLITS) {
            for (; rt_int_at(t, row + 1) <= i; row++)
                ;
            column = i - rt_int_at(t, row);
        } else {
            row = rt_int_at(t, i);
            if (row < 0 || row >= n_above || row < last)
                return rt_fail(ctx, err, ERR_FAILED,
                               "Invalid row ids: %lld of %lld rows", (long long)row,
                               (long long)n_above);
            column = row == last ? column + 1 : 0;
            last = row;
        }
        (*places)[i] =
            above[row] < 0 || column >= width ? -1 : above[row] + column * step;
    }
    return 0;
}

/* The default value repeats to the shape of an element. */
static int
fill_default(struct rt_ctx *ctx, struct rt_tensor *y, int64_t n, struct err *err)
{
    const struct rt_tensor *values = ctx->in[1], *def = ctx->in[2];
    size_t size = rt_dtype_size(y->dtype);
    int64_t steps[SM_MAX_RANK];
    bool fits = def->rank < K_MAX(values->rank, 1);
    for (int d = 0; d < def->rank && fits; d++)
        fits = def->dims[d] == 1 ||
               def->dims[d] == values->dims[values->rank - def->rank + d];
    if (!fits)
        return rt_fail(ctx, err, ERR_FAILED,
                       "default_value.shape and rt_input.flat_values.shape are "
                       "incompatible");
    if (y->n_elems == 0 || def->n_elems == 0)
        return 0;
    k_steps(def->rank, def->dims, steps);
    char *p = y->data;
    for (int64_t i = 0; i < n; i++) {
        int64_t rest = i, from = 0;
        for (int d = def->rank - 1; d >= 0; d--) {
            int64_t extent = values->dims[values->rank - def->rank + d];
            from += def->dims[d] == 1 ? 0 : rest % extent * steps[d];
            rest /= K_MAX(extent, (int64_t)1);
        }
        memcpy(p + (size_t)i * size, (const char *)def->data + (size_t)from * size,
               size);
    }
    for (int64_t done = n; done < y->n_elems; done *= 2) /* what is there, again */
        memcpy(p + (size_t)done * size, p,
               (size_t)K_MIN(done, y->n_elems - done) * size);
    return 0;
}

int
rt_run_ragged_to_tensor(struct rt_ctx *ctx, struct err *err)
{
    const struct to_tensor *a = ctx->node->state;
    const struct rt_tensor *values = ctx->in[1], *first = ctx->in[3];
    int64_t dims[SM_MAX_RANK], n_first, *places, n;
    int rank, skip = a->n_parts - a->ragged_rank;
    struct rt_tensor *y;
    for (int i = skip; i < a->n_parts; i++)
        if (a->parts[i] == SPLITS && check_splits(ctx, ctx->in[3 + i], -1, err) < 0)
            return -(int)err->code;
    if (first->n_elems < 1 || (skip && first->n_elems != 1))
        return rt_fail(ctx, err, ERR_FAILED, "Invalid first partition input");
    n_first = skip ? rt_int_at(first, 0) : first->n_elems - 1;
    if (values->rank < 1)
        return rt_fail(ctx, err, ERR_FAILED, "the ragged values must not be a scalar");
    if (n_first < 0 || dense_shape(ctx, n_first, &rank, dims, err) < 0 ||
        rt_out(ctx, 0, values->dtype, rank, dims, &y, err) < 0)
        return err->code ? -(int)err->code
                         : rt_fail(ctx, err, ERR_FAILED, "a negative first dimension");
    int64_t inner = k_count(values->dims, 1, values->rank);
    if (fill_default(ctx, y, inner, err) < 0)
        return -(int)err->code;
    if (y->n_elems == 0)
        return 0;
    n = n_first;
    places = rt_scratch(ctx, (size_t)n * sizeof(*places), err);
    if (!places)
        return -(int)err->code;
    int64_t step = k_count(dims, 1, a->ragged_rank + 1);
    for (int64_t i = 0; i < n; i++)
        places[i] = i < dims[0] ? i * step : -1;
    for (int d = 1; d <= a->ragged_rank; d++) {
        step /= K_MAX(dims[d], (int64_t)1);
        if (next_places(ctx, ctx->in[3 + skip + d - 1], a->parts[skip + d - 1], places,
                        n, dims[d], step, &places, &n, err) < 0)
            return -(int)err->code;
    }
    if (n > values->dims[0])
        return rt_fail(ctx, err, ERR_FAILED,
                       "the row partitions are for %lld values, there are %lld",
                       (long long)n, (long long)values->dims[0]);
    size_t bytes = (size_t)inner * rt_dtype_size(values->dtype);
    for (int64_t i = 0; i < n; i++)
        if (places[i] >= 0)
            memcpy((char *)y->data + (size_t)places[i] * bytes,
                   (const char *)values->data + (size_t)i * bytes, bytes);
    k_own(y);
    return 0;
}

/* ---- RaggedRange ---- */

int
rt_prep_ragged_range(struct rt_prep *p)
{
    int *type = p->node->state = rt_prep_alloc(p, sizeof(*type));
    *type = rt_attr_type(p, "Tsplits", SM_INT64);
    return rt_prep_done(p);
}

/* Length of start, start + delta, … before limit; -1: too long. */
static int64_t
range_len_int(int64_t start, int64_t limit, int64_t delta)
{
    if ((delta > 0 && limit < start) || (delta < 0 && limit > start))
        return 0;
    uint64_t span = delta > 0 ? (uint64_t)limit - (uint64_t)start
                              : (uint64_t)start - (uint64_t)limit;
    uint64_t step = delta > 0 ? (uint64_t)delta : 0 - (uint64_t)delta;
    uint64_t n = span / step + (span % step != 0);
    return n > INT64_MAX ? -1 : (int64_t)n;
}

static int64_t
range_len_real(double start, double limit, double delta)
{
    if ((delta > 0 && limit < start) || (delta < 0 && limit > start))
        return 0;
    double n = ceil(fabs((limit - start) / delta));
    return n < 9e18 ? (int64_t)n : -1;
}

static double
real_at(const struct rt_tensor *t, int64_t i)
{
    i = t->rank == 0 ? 0 : i;
    return t->dtype == SM_FLOAT    ? (double)((const float *)t->data)[i]
           : t->dtype == SM_DOUBLE ? ((const double *)t->data)[i]
                                   : (double)rt_int_at(t, i);
}

static int64_t
int_at(const struct rt_tensor *t, int64_t i)
{
    return rt_int_at(t, t->rank == 0 ? 0 : i);
}

static void
put_range(struct rt_tensor *y, int64_t at, int64_t n, const struct rt_tensor *const *in,
          int64_t row)
{
    double v = real_at(in[0], row), step = real_at(in[2], row);
    uint64_t k = k_is_int(y->dtype) ? (uint64_t)int_at(in[0], row) : 0;
    uint64_t k_step = k_is_int(y->dtype) ? (uint64_t)int_at(in[2], row) : 0;
    for (int64_t i = at; i < at + n; i++, k += k_step) {
        switch (y->dtype) {
        case SM_FLOAT:
            ((float *)y->data)[i] = (float)v;
            v = (double)((float)v + (float)step);
            break;
        case SM_DOUBLE:
            ((double *)y->data)[i] = v;
            v += step;
            break;
        default:
            put_int(y, i, (int64_t)k);
        }
    }
}

/* Rows start[i], start[i] + delta[i], … < limit[i]; scalars repeat. */
int
rt_run_ragged_range(struct rt_ctx *ctx, struct err *err)
{
    int64_t n = 1, total = 0, n_splits;
    bool vector = false;
    int dtype = ctx->in[0]->dtype;
    struct rt_tensor *splits, *y;
    if (dtype != SM_INT32 && dtype != SM_INT64 && dtype != SM_FLOAT &&
        dtype != SM_DOUBLE)
        return rt_fail_dtype(ctx, err, dtype);
    for (int i = 0; i < 3; i++) {
        const struct rt_tensor *t = ctx->in[i];
        static const char *const names[] = { "starts", "limits", "deltas" };
        if (t->rank > 1)
            return rt_fail(ctx, err, ERR_FAILED, "%s must be a scalar or vector",
                           names[i]);
        if (t->rank == 1 && vector && t->n_elems != n)
            return rt_fail(ctx, err, ERR_FAILED,
                           "starts, limits, and deltas must have the same shape");
        if (t->rank == 1)
            n = t->n_elems;
        vector = vector || t->rank == 1;
    }
    n_splits = n + 1;
    if (rt_out(ctx, 0, *(const int *)ctx->node->state, 1, &n_splits, &splits, err) < 0)
        return -(int)err->code;
    put_int(splits, 0, 0);
    for (int64_t i = 0; i < n; i++) {
        if (real_at(ctx->in[2], i) == 0)
            return rt_fail(ctx, err, ERR_FAILED, "Requires delta != 0");
        int64_t len =
            k_is_int(dtype)
                ? range_len_int(int_at(ctx->in[0], i), int_at(ctx->in[1], i),
                                int_at(ctx->in[2], i))
                : range_len_real(real_at(ctx->in[0], i), real_at(ctx->in[1], i),
                                 real_at(ctx->in[2], i));
        int64_t most = splits->dtype == SM_INT32 ? INT32_MAX : INT64_MAX / 16;
        if (len < 0 || len > most - total)
            return rt_fail(ctx, err, ERR_FAILED,
                           "Requires ((limit - start) / delta) <= %lld",
                           (long long)most);
        total += len;
        put_int(splits, i + 1, total);
    }
    if (rt_out(ctx, 1, dtype, 1, &total, &y, err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < n; i++)
        put_range(y, rt_int_at(splits, i),
                  rt_int_at(splits, i + 1) - rt_int_at(splits, i), ctx->in, i);
    return 0;
}

/* ---- RaggedGather ---- */

/* Rows of a ragged tensor by indices of any shape: a split per further dimension of the
 * indices, then those of the chosen rows. */
int
rt_run_ragged_gather(struct rt_ctx *ctx, struct err *err)
{
    int n_splits = ctx->node->n_in - 2, out = 0;
    const struct rt_tensor *ix = ctx->in[n_splits + 1], *values = ctx->in[n_splits];
    struct rt_tensor *t;
    if (n_splits < 1 || (ix->dtype != SM_INT32 && ix->dtype != SM_INT64))
        return rt_fail(ctx, err, ERR_FAILED, "params must have at least one split");
    if (check_ragged(ctx, n_splits, err) < 0)
        return -(int)err->code;
    if (ctx->node->n_out != n_splits + ix->rank)
        return rt_fail(ctx, err, ERR_FAILED,
                       "OUTPUT_RAGGED_RANK must be PARAMS_RAGGED_RANK + indices.rank "
                       "- 1");
    int64_t n_rows = ctx->in[0]->n_elems - 1, count = 1;
    for (int d = 0; d + 1 < ix->rank; d++) {
        count *= ix->dims[d];
        if (rt_out(ctx, out++, ctx->in[0]->dtype, 1, (int64_t[]){ count + 1 }, &t,
                   err) < 0)
            return -(int)err->code;
        for (int64_t i = 0; i <= count; i++)
            put_int(t, i, i * ix->dims[d + 1]);
    }
    /* Ranges of the level at hand, one an index: from[i] … to[i] */
    int64_t n = ix->n_elems;
    int64_t *from = rt_scratch(ctx, (size_t)n * sizeof(*from), err);
    int64_t *to = from ? rt_scratch(ctx, (size_t)n * sizeof(*to), err) : NULL;
    if (!to)
        return -(int)err->code;
    for (int64_t i = 0; i < n; i++) {
        from[i] = rt_int_at(ix, i);
        to[i] = from[i] + 1;
        if (from[i] < 0 || from[i] >= n_rows)
            return rt_fail(ctx, err, ERR_FAILED,
                           "indices[%lld] = %lld is not in [0, %lld)", (long long)i,
                           (long long)from[i], (long long)n_rows);
    }
    for (int level = 0; level < n_splits; level++) {
        const struct rt_tensor *s = ctx->in[level];
        int64_t total = 1, k = 1, at = 0;
        for (int64_t i = 0; i < n; i++)
            total += to[i] - from[i];
        bool skip = level == 0 && ix->rank == 0; /* one row: its length is all */
        if (!skip) {
            if (rt_out(ctx, out++, s->dtype, 1, &total, &t, err) < 0)
                return -(int)err->code;
            put_int(t, 0, 0);
        }
        for (int64_t i = 0; i < n; i++) {
            for (int64_t r = from[i]; !skip && r < to[i]; r++)
                put_int(t, k++, at += rt_int_at(s, r + 1) - rt_int_at(s, r));
            from[i] = rt_int_at(s, from[i]);
            to[i] = rt_int_at(s, to[i]);
        }
    }
    int64_t dims[SM_MAX_RANK];
    memcpy(dims, values->dims, sizeof(dims));
    dims[0] = 0;
    for (int64_t i = 0; i < n; i++)
        dims[0] += to[i] - from[i];
    if (rt_out(ctx, out, values->dtype, values->rank, dims, &t, err) < 0)
        return -(int)err->code;
    size_t row =
        (size_t)k_count(values->dims, 1, values->rank) * rt_dtype_size(values->dtype);
    char *p = t->data;
    for (int64_t i = 0; i < n; i++) {
        size_t bytes = (size_t)(to[i] - from[i]) * row;
        memcpy(p, (const char *)values->data + (size_t)from[i] * row, bytes);
        p += bytes;
    }
    k_own(t);
    return 0;
}

/* ---- RaggedTensorToSparse ---- */

int
rt_run_ragged_to_sparse(struct rt_ctx *ctx, struct err *err)
{
    int n = ctx->node->n_in - 1;
    const struct rt_tensor *values = ctx->in[n];
    struct rt_tensor *indices, *flat, *shape;
    int64_t row[SM_MAX_RANK] = { 0 }, steps[SM_MAX_RANK];
    if (n < 1)
        return rt_fail(ctx, err, ERR_FAILED, "RAGGED_RANK must be at least 1");
    if (check_ragged(ctx, n, err) < 0)
        return -(int)err->code;
    int rank = n + values->rank;
    if (rank > SM_MAX_RANK)
        return rt_fail(ctx, err, ERR_UNSUPPORTED, "more than %d dimensions",
                       SM_MAX_RANK);
    int64_t count = values->n_elems, inner = k_count(values->dims, 1, values->rank);
    if (rt_out(ctx, 0, SM_INT64, 2, (int64_t[]){ count, rank }, &indices, err) < 0 ||
        rt_out(ctx, 1, values->dtype, 1, &count, &flat, err) < 0 ||
        rt_out(ctx, 2, SM_INT64, 1, (int64_t[]){ rank }, &shape, err) < 0)
        return -(int)err->code;
    k_steps(values->rank, values->dims, steps);
    int64_t *at = indices->data, *dims = shape->data;
    for (int64_t v = 0; count > 0 && v < values->dims[0]; v++) {
        /* row[d]: the row of level d that holds value v */
        int64_t child = v;
        int64_t first[SM_MAX_RANK];
        for (int d = n - 1; d >= 0; d--) {
            for (; rt_int_at(ctx->in[d], row[d] + 1) <= child; row[d]++)
                ;
            first[d] = child - rt_int_at(ctx->in[d], row[d]);
            child = row[d];
        }
        for (int64_t k = 0; k < inner; k++) {
            *at++ = child;
            for (int d = 0; d < n; d++)
                *at++ = first[d];
            for (int d = 1; d < values->rank; d++)
                *at++ = k / steps[d] % values->dims[d];
        }
    }
    dims[0] = ctx->in[0]->n_elems - 1;
    for (int d = 0; d < n; d++)
        dims[d + 1] = widest(ctx->in[d], SPLITS);
    for (int d = 1; d < values->rank; d++)
        dims[n + d] = values->dims[d];
    memcpy(flat->data, values->data, rt_size(values));
    k_own(flat);
    return 0;
}
