/* SPDX-License-Identifier: Apache-2.0 */
/* Reductions of rows by segment: Segment… (sorted ids), UnsortedSegment…, and
 * SparseSegment… (rows picked by indices). Rows are combined in order, float16 and
 * bfloat16 in float. Segments nobody names hold 0 (Prod: 1; UnsortedSegmentMax and Min:
 * the lowest and highest value). */
#include "runtime/ops/math_binary.h"

#include <math.h>
#include <stdlib.h>

enum segment_kind { SUM, MEAN, SQRT_N };

struct segment_state {
    const struct k_binary *combine;
    enum segment_kind kind;
    int start; /* 0, 1; -2: the lowest value; 2: the highest */
};

int
rt_prep_segment(struct rt_prep *p)
{
    const char *op = p->node->op;
    struct segment_state *s = p->node->state = rt_prep_alloc(p, sizeof(*s));
    bool unsorted = op[0] == 'U';
    s->combine = k_binary_row("AddV2");
    if (strstr(op, "Prod")) {
        s->combine = k_binary_row("Mul");
        s->start = 1;
    } else if (strstr(op, "Max")) {
        s->combine = k_binary_row("Maximum");
        s->start = unsorted ? -2 : 0;
    } else if (strstr(op, "Min")) {
        s->combine = k_binary_row("Minimum");
        s->start = unsorted ? 2 : 0;
    } else if (strstr(op, "Mean")) {
        s->kind = MEAN;
    } else if (strstr(op, "SqrtN")) {
        s->kind = SQRT_N;
    }
    return rt_prep_done(p);
}

/* The bytes of the start value in a dtype (floats for the halves). */
static void
start_bytes(int dtype, int start, void *out)
{
    memset(out, 0, 16);
    switch (dtype) {
#define CASE(dt, type, low, high)                                                      \
    case dt:                                                                           \
        *(type *)out = start == -2 ? low : start == 2 ? high : (type)start;            \
        return;
#define X(dt, type, sfx)                                                               \
    CASE(dt, type, (type)((uint64_t)1 << (8 * sizeof(type) - 1)),                      \
         (type)(((uint64_t)1 << (8 * sizeof(type) - 1)) - 1))
        K_SINTS(X)
#undef X
#define X(dt, type, sfx) CASE(dt, type, 0, (type)-1)
        K_UINTS(X)
#undef X
        CASE(SM_FLOAT, float, -3.40282347e38f, 3.40282347e38f)
        CASE(SM_DOUBLE, double, -1.7976931348623157e308, 1.7976931348623157e308)
#undef CASE
    case SM_COMPLEX64:
        *(float complex *)out = (float)start;
        return;
    case SM_COMPLEX128:
        *(double complex *)out = start;
        return;
    }
}

/* One run: rows of x to segments of y. */
struct segments {
    const struct segment_state *s;
    int dtype, out_dtype; /* of the work (float for float16, bfloat16); of the answer */
    int64_t n, n_out;     /* rows in, segments */
    int64_t width;        /* elements of a row */
    const int64_t *id;    /* of each row; negative: left out */
    const int64_t *row;   /* which row of x; NULL: the same */
    const char *x;
    char *y;
};

/* y[k] = *v / count for means, / sqrt(count) for SqrtN. */
static void
divide(const struct segments *g, void *y, int64_t count)
{
    double by = g->s->kind == MEAN ? (double)count : sqrt((double)count);
    for (int64_t i = 0; i < g->width; i++) {
        switch (g->dtype) {
#define CASE(dt, type, expr)                                                           \
    case dt: {                                                                         \
        type *v = (type *)y + i;                                                       \
        *v = (type)(expr);                                                             \
        break;                                                                         \
    }
#define X(dt, type, sfx) CASE(dt, type, (int64_t)*v / (int64_t)count)
            K_SINTS(X)
#undef X
#define X(dt, type, sfx) CASE(dt, type, (uint64_t)*v / (uint64_t)count)
            K_UINTS(X)
#undef X
            CASE(SM_FLOAT, float, *v / (float)by)
            CASE(SM_DOUBLE, double, *v / by)
            CASE(SM_COMPLEX64, float complex, *v / (float)by)
            CASE(SM_COMPLEX128, double complex, *v / by)
#undef CASE
        }
    }
}

static int
run_segments(struct rt_ctx *ctx, const struct segments *g, struct err *err)
{
    size_t elem = rt_dtype_size(g->dtype), row = (size_t)g->width * elem;
    k_binary_fn *combine = g->s->combine->fn[g->dtype];
    _Alignas(16) char start[16];
    int64_t *count = rt_scratch(ctx, (size_t)g->n_out * sizeof(*count), err);
    if (!count)
        return -(int)err->code;
    if (g->n_out > 0)
        memset(count, 0, (size_t)g->n_out * sizeof(*count));
    start_bytes(g->dtype, g->s->start, start);
    if (g->out_dtype != g->dtype && abs(g->s->start) == 2)
        *(float *)(void *)start = (float)(g->s->start / 2) *
                                  (g->out_dtype == SM_HALF ? 65504.0f : 0x1.fep127f);
    k_fill(g->y, start, g->n_out * g->width, elem);
    for (int64_t i = 0; i < g->n && row > 0; i++) {
        if (g->id[i] < 0)
            continue;
        char *y = g->y + (size_t)g->id[i] * row;
        const char *x = g->x + (size_t)(g->row ? g->row[i] : i) * row;
        if (count[g->id[i]]++ == 0)
            memcpy(y, x, row);
        else
            combine(y, x, y, g->width);
    }
    for (int64_t k = 0; k < g->n_out && g->s->kind != SUM; k++)
        if (count[k] > 0)
            divide(g, g->y + (size_t)k * row, count[k]);
    return 0;
}

/* Allocates the output [n_out, dims of x after `skip`] and runs. */
static int
segments_out(struct rt_ctx *ctx, struct segments *g, int skip, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    bool half = k_is_half(x->dtype);
    int64_t dims[SM_MAX_RANK + 1];
    struct rt_tensor *y;
    int rank = x->rank - skip + 1;
    if (rank > SM_MAX_RANK)
        return rt_fail(ctx, err, ERR_UNSUPPORTED, "more than %d dimensions",
                       SM_MAX_RANK);
    g->s = ctx->node->state;
    g->dtype = half ? SM_FLOAT : x->dtype;
    g->out_dtype = x->dtype;
    if (g->dtype >= K_N_DTYPES || !g->s->combine->fn[g->dtype])
        return rt_fail_dtype(ctx, err, x->dtype);
    dims[0] = g->n_out;
    for (int i = 1; i < rank; i++)
        dims[i] = x->dims[skip + i - 1];
    g->width = k_count(x->dims, skip, x->rank);
    if (rt_out(ctx, 0, x->dtype, rank, dims, &y, err) < 0)
        return -(int)err->code;
    g->x = half ? (const void *)k_floats(ctx, x, err) : x->data;
    g->y = half ? rt_scratch(ctx, (size_t)y->n_elems * sizeof(float), err) : y->data;
    if (!g->x || !g->y || run_segments(ctx, g, err) < 0)
        return -(int)err->code;
    if (half)
        k_narrow(x->dtype, (const float *)(const void *)g->y, y->data, y->n_elems);
    return 0;
}

/* Sorted ids: not decreasing, >= 0. *n_out = the last + 1. */
static int
check_sorted(struct rt_ctx *ctx, const struct rt_tensor *t, const int64_t *id,
             int64_t *n_out, struct err *err)
{
    for (int64_t i = 0; i < t->n_elems; i++) {
        if (i > 0 && id[i] < id[i - 1])
            return rt_fail(ctx, err, ERR_FAILED, "segment ids are not increasing");
        if (id[i] < 0)
            return rt_fail(ctx, err, ERR_FAILED,
                           "Segment id %lld out of range [0, ...), possibly because "
                           "'segment_ids' input is not sorted.",
                           (long long)id[i]);
    }
    *n_out = t->n_elems ? id[t->n_elems - 1] + 1 : 0;
    return 0;
}

/* SegmentSum and its like (data, segment_ids). */
int
rt_run_segment(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0], *t = ctx->in[1];
    struct segments g = { 0 };
    if (t->rank != 1)
        return rt_fail(ctx, err, ERR_FAILED, "segment_ids should be a vector.");
    if (x->rank < 1 || x->dims[0] != t->n_elems)
        return rt_fail(ctx, err, ERR_FAILED,
                       "segment_ids should be the same size as dimension 0 of input.");
    g.n = t->n_elems;
    g.id = k_ints(ctx, t, err);
    if (!g.id || check_sorted(ctx, t, g.id, &g.n_out, err) < 0)
        return -(int)err->code;
    return segments_out(ctx, &g, 1, err);
}

static int
num_segments(struct rt_ctx *ctx, int in, int64_t *n, struct err *err)
{
    if (k_scalar(ctx, in, "num_segments", n, err) < 0)
        return -(int)err->code;
    if (*n < 0)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Input num_segments == %lld must not be negative.",
                       (long long)*n);
    return 0;
}

/* UnsortedSegmentSum and its like (data, segment_ids, num_segments): ids of any shape
 * that data begins with. */
int
rt_run_unsorted_segment(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0], *t = ctx->in[1];
    struct segments g = { .n = t->n_elems };
    bool fits = x->rank >= t->rank;
    char a[RT_SHAPE_TEXT_BYTES], b[RT_SHAPE_TEXT_BYTES];
    for (int i = 0; fits && i < t->rank; i++)
        fits = x->dims[i] == t->dims[i];
    if (!fits)
        return rt_fail(ctx, err, ERR_FAILED,
                       "data.shape = %s does not start with segment_ids.shape = %s",
                       rt_shape_text(x, a), rt_shape_text(t, b));
    if (!k_is_int(t->dtype))
        return rt_fail_dtype(ctx, err, t->dtype);
    if (num_segments(ctx, 2, &g.n_out, err) < 0 || !(g.id = k_ints(ctx, t, err)))
        return -(int)err->code;
    for (int64_t i = 0; i < g.n; i++)
        if (g.id[i] >= g.n_out)
            return rt_fail(ctx, err, ERR_FAILED,
                           "segment_ids[%lld] = %lld is out of range [0, %lld)",
                           (long long)i, (long long)g.id[i], (long long)g.n_out);
    return segments_out(ctx, &g, t->rank, err);
}

/* SparseSegmentSum, …Mean, …SqrtN (data, indices, segment_ids[, num_segments]). */
int
rt_run_sparse_segment(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0], *rows = ctx->in[1], *t = ctx->in[2];
    struct segments g = { .n = t->n_elems };
    int64_t n = 0;
    if (rows->rank != 1 || t->rank != 1 || x->rank < 1)
        return rt_fail(ctx, err, ERR_FAILED,
                       "indices and segment_ids should be vectors, data at least one");
    if (rows->n_elems != t->n_elems)
        return rt_fail(ctx, err, ERR_FAILED,
                       "segment_ids and indices should have same size.");
    g.row = k_ints(ctx, rows, err);
    g.id = g.row ? k_ints(ctx, t, err) : NULL;
    if (!g.id || check_sorted(ctx, t, g.id, &g.n_out, err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < g.n; i++)
        if (g.row[i] < 0 || g.row[i] >= x->dims[0])
            return rt_fail(ctx, err, ERR_FAILED,
                           "Bad: indices[%lld] == %lld out of range [0, %lld)",
                           (long long)i, (long long)g.row[i], (long long)x->dims[0]);
    if (ctx->node->n_in > 3) {
        if (num_segments(ctx, 3, &n, err) < 0)
            return -(int)err->code;
        if (n < g.n_out)
            return rt_fail(ctx, err, ERR_FAILED, "segment ids must be < num_segments");
        g.n_out = n;
    }
    return segments_out(ctx, &g, 1, err);
}
