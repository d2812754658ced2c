/* SPDX-License-Identifier: Apache-2.0 */
/* softmax(scores(q, k)) v as one step (made by rt_pass_attention.c), a block of rows of
 * the scores at a time: what is between the products never leaves the cache. float32 on
 * processors with AVX-512; whatever the shapes do not allow is done step by step as the
 * graph wrote it, and so are its errors. */
#include "runtime/ops/nn_int.h"

/* Scores worked on together by a thread: they should stay in the cache of one core. */
#define BLOCK_SCORES 16384
#define ROWS 12 /* of a tile (gemm_tile.c) */

/* Steps in elements over the batch dimensions, rows and columns of a matrix. */
struct view {
    const char *data;
    int64_t batch[SM_MAX_RANK], row, col;
};
struct side {
    struct view v;
    enum nn_attend_kind kind;
    float other;
};
struct attend {
    const struct nn_attention *s;
    int n_batch, n_sides;
    int64_t dims[SM_MAX_RANK]; /* of the batch */
    int64_t n, m, keys, depth, width, rows, blocks;
    struct view q, k, v, y;
    struct side side[NN_ATTEND_STEPS];
    float *room; /* for each thread: keys [depth, keys], scaled; values [keys, width];
                    scores */
    int64_t room_each;
    uint8_t *taken; /* by a thread */
    int64_t n_slots;
};

/* ---- the steps as they were ------------------------------------------------------ */

static int
each_step(struct rt_ctx *ctx, const struct nn_attention *s, struct err *err)
{
    struct rt_tensor made = { 0 };
    int rc = 0;
    for (int i = 0; i < s->n_steps && rc == 0; i++) {
        const struct nn_attend_step *step = &s->steps[i];
        const struct rt_tensor *in[3] = { 0 };
        struct rt_tensor out = { 0 };
        struct rt_ctx one = *ctx;
        one.node = step->node;
        one.in = in;
        one.out = i == s->n_steps - 1 ? ctx->out : &out;
        one.may_forward = 0;
        for (int j = 0; j < step->node->n_in; j++) {
            in[j] = step->in[j] < 0 ? &made : ctx->in[step->in[j]];
            one.may_forward |= (uint64_t)(step->in[j] < 0) << j;
        }
        rc = step->run(&one, err);
        ctx->scratch = one.scratch;
        rt_tensor_unref(&made);
        made = out;
    }
    rt_tensor_unref(&made);
    return rc;
}

/* ---- shapes ---------------------------------------------------------------------- */

static int
axis_of(int axis, int rank)
{
    return axis < 0 ? axis + rank : axis;
}

/* `own`: extents of the batch, then rows and columns. */
static void
look(const struct nn_axes *a, int rank, const int64_t *dims, const void *data,
     struct view *v, int64_t *own)
{
    int64_t step[SM_MAX_RANK];
    int row = axis_of(a->row, rank), col = axis_of(a->col, rank);
    k_steps(rank, dims, step);
    v->data = data;
    for (int i = 0; i < rank - 2; i++) {
        v->batch[i] = step[a->batch[i]];
        own[i] = dims[a->batch[i]];
    }
    v->row = step[row];
    v->col = step[col];
    own[rank - 2] = dims[row];
    own[rank - 1] = dims[col];
}

/* What is added to the scores, or the like, broadcasts to them. */
static bool
look_side(const struct attend *a, const struct rt_tensor *t, struct view *v)
{
    int64_t step[SM_MAX_RANK];
    int rank = a->n_batch + 2, off = rank - t->rank;
    if (off < 0)
        return false;
    *v = (struct view){ .data = t->data };
    k_steps(t->rank, t->dims, step);
    for (int i = 0; i < t->rank; i++) {
        int at = off + i;
        int64_t want = at < a->n_batch    ? a->dims[at]
                       : at == a->n_batch ? a->m
                                          : a->keys;
        if (t->dims[i] != want && t->dims[i] != 1)
            return false;
        int64_t *to = at < a->n_batch    ? &v->batch[at]
                      : at == a->n_batch ? &v->row
                                         : &v->col;
        *to = t->dims[i] == 1 ? 0 : step[i];
    }
    return true;
}

static bool
look_sides(const struct rt_ctx *ctx, struct attend *a)
{
    for (int i = 1; i < a->s->n_steps - 1; i++) {
        const struct nn_attend_step *step = &a->s->steps[i];
        if (step->kind == NN_ATTEND_NOTHING)
            continue;
        struct side *side = &a->side[a->n_sides++];
        const struct rt_tensor *t = ctx->in[step->side];
        *side = (struct side){ .kind = step->kind, .other = step->other };
        bool select = step->kind == NN_ATTEND_KEEP || step->kind == NN_ATTEND_DROP;
        if (t->dtype != (select ? SM_BOOL : SM_FLOAT) || !look_side(a, t, &side->v))
            return false;
    }
    return true;
}

/* False: not what the one step can do. `dims` are those of the output. */
static bool
look_all(const struct rt_ctx *ctx, struct attend *a, int64_t *dims)
{
    const struct nn_attention *s = a->s;
    const struct rt_tensor *q = ctx->in[s->q_at], *k = ctx->in[s->k_at],
                           *v = ctx->in[s->v_at];
    int rank = q->rank, nb = rank - 2;
    int64_t dq[SM_MAX_RANK], dk[SM_MAX_RANK], dv[SM_MAX_RANK];
    if (rank < 2 || (s->rank && s->rank != rank) || k->rank != rank ||
        v->rank != rank || q->dtype != SM_FLOAT || k->dtype != SM_FLOAT ||
        v->dtype != SM_FLOAT || !q->n_elems || !k->n_elems || !v->n_elems)
        return false;
    look(&s->q, rank, q->dims, q->data, &a->q, dq);
    look(&s->k, rank, k->dims, k->data, &a->k, dk);
    look(&s->v, rank, v->dims, v->data, &a->v, dv);
    a->n = 1;
    a->n_batch = nb;
    for (int i = 0; i < nb; i++) {
        if (dq[i] != dk[i] || dq[i] != dv[i])
            return false;
        a->dims[i] = dq[i];
        a->n *= dq[i];
        dims[s->y.batch[i]] = dq[i];
    }
    a->m = dims[axis_of(s->y.row, rank)] = dq[nb];
    a->width = dims[axis_of(s->y.col, rank)] = dv[nb + 1];
    a->keys = dk[nb];
    a->depth = dk[nb + 1];
    return dq[nb + 1] == a->depth && dv[nb] == a->keys && look_sides(ctx, a);
}

/* ---- one block ------------------------------------------------------------------- */

static int64_t
offset(const struct attend *a, const struct view *v, int64_t at)
{
    int64_t off = 0;
    for (int i = a->n_batch - 1; i >= 0; i--) {
        off += at % a->dims[i] * v->batch[i];
        at /= a->dims[i];
    }
    return off;
}

RT_SIMD static void
turn_one(const float *k, int64_t row, int64_t col, int64_t keys, int64_t depth,
         float scale, float *y)
{
    int64_t j = 0;
    for (; j + 16 <= keys; j += 16)
        for (int64_t l = 0; l < depth; l++)
            for (int64_t i = 0; i < 16; i++)
                y[l * keys + j + i] = k[(j + i) * row + l * col] * scale;
    for (; j < keys; j++)
        for (int64_t l = 0; l < depth; l++)
            y[l * keys + j] = k[j * row + l * col] * scale;
}

/* y[j] = y[j] (op) x[j * step] */
RT_SIMD static void
side_row(enum nn_attend_kind kind, float *restrict y, const float *restrict x,
         int64_t step, int64_t n)
{
#define EACH(op)                                                                       \
    if (step)                                                                          \
        for (int64_t j = 0; j < n; j++)                                                \
            y[j] = y[j] op x[j];                                                       \
    else                                                                               \
        for (int64_t j = 0; j < n; j++)                                                \
            y[j] = y[j] op x[0];                                                       \
    break
    switch (kind) {
    case NN_ATTEND_ADD:
        EACH(+);
    case NN_ATTEND_SUB:
        EACH(-);
    case NN_ATTEND_MUL:
        EACH(*);
    default:
        EACH(/);
    }
#undef EACH
}

static void
select_row(bool keep, float *y, const uint8_t *x, int64_t step, float other, int64_t n)
{
    for (int64_t j = 0; j < n; j++)
        y[j] = (x[j * step] != 0) == keep ? y[j] : other;
}

static void
do_sides(const struct attend *a, int64_t at, int64_t first, int64_t rows, float *y)
{
    for (int i = 0; i < a->n_sides; i++) {
        const struct side *s = &a->side[i];
        int64_t from = offset(a, &s->v, at) + first * s->v.row;
        bool select = s->kind == NN_ATTEND_KEEP || s->kind == NN_ATTEND_DROP;
        for (int64_t r = 0; r < rows; r++, from += s->v.row)
            if (select)
                select_row(s->kind == NN_ATTEND_KEEP, y + r * a->keys,
                           (const uint8_t *)s->v.data + from, s->v.col, s->other,
                           a->keys);
            else
                side_row(s->kind, y + r * a->keys, (const float *)s->v.data + from,
                         s->v.col, a->keys);
    }
}

struct work {
    float *k, *v, *scores;
};

/* Keys and values of matrix `at` next to each other, so that rows do not fall on the
 * same lines of the cache. */
static void
pack(const struct attend *a, int64_t at, const struct work *w)
{
    const float *v = (const float *)a->v.data + offset(a, &a->v, at);
    turn_one((const float *)a->k.data + offset(a, &a->k, at), a->k.row, a->k.col,
             a->keys, a->depth, a->s->scale, w->k);
    for (int64_t i = 0; i < a->keys; i++)
        memcpy(w->v + i * a->width, v + i * a->v.row, (size_t)a->width * sizeof(*v));
}

static void
do_block(const struct attend *a, int64_t at, int64_t first, const struct work *w)
{
    int64_t rows = K_MIN(a->rows, a->m - first);
    struct nn_tiles t = { .m = rows,
                          .n = a->keys,
                          .k = a->depth,
                          .n_outer = 1,
                          .a = (const float *)a->q.data + offset(a, &a->q, at) +
                               first * a->q.row,
                          .a_row = a->q.row,
                          .b = w->k,
                          .b_row = a->keys,
                          .c = w->scores,
                          .c_row = a->keys };
    struct nn_tiles u = { .m = rows,
                          .n = a->width,
                          .k = a->keys,
                          .n_outer = 1,
                          .a = w->scores,
                          .a_row = a->keys,
                          .b = w->v,
                          .b_row = a->width,
                          .c = (float *)a->y.data + offset(a, &a->y, at) +
                               first * a->y.row,
                          .c_row = a->y.row };
    (void)nn_tiles_run(&t); /* nn_tiles_have() was asked */
    do_sides(a, at, first, rows, w->scores);
    nn_softmax(w->scores, rows, a->keys);
    (void)nn_tiles_run(&u);
}

static void
do_blocks(void *arg, int64_t begin, int64_t end)
{
    struct attend *a = arg;
    int64_t slot = 0, packed = -1; /* there are as many slots as threads */
    while (__atomic_exchange_n(&a->taken[slot], 1, __ATOMIC_ACQUIRE))
        slot = slot + 1 == a->n_slots ? 0 : slot + 1;
    struct work w = { .k = a->room + slot * a->room_each };
    w.v = w.k + a->keys * a->depth;
    w.scores = w.v + a->keys * a->width;
    for (int64_t i = begin; i < end; i++) {
        if (i / a->blocks != packed) {
            packed = i / a->blocks;
            pack(a, packed, &w);
        }
        do_block(a, packed, i % a->blocks * a->rows, &w);
    }
    __atomic_store_n(&a->taken[slot], 0, __ATOMIC_RELEASE);
}

/* ---- all ------------------------------------------------------------------------- */

static int64_t
round_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

int
nn_run_attention(struct rt_ctx *ctx, struct err *err)
{
    struct attend a = { .s = ctx->node->state };
    int64_t dims[SM_MAX_RANK] = { 0 }, own[SM_MAX_RANK];
    struct rt_tensor *y;
    if (!nn_tiles_have() || !look_all(ctx, &a, dims))
        return each_step(ctx, a.s, err);
    if (rt_out(ctx, 0, SM_FLOAT, a.n_batch + 2, dims, &y, err) < 0)
        return -(int)err->code;
    look(&a.s->y, y->rank, y->dims, y->data, &a.y, own);
    int64_t most = K_MAX(BLOCK_SCORES / a.keys / ROWS * ROWS, ROWS);
    a.blocks = (a.m + most - 1) / most;
    a.rows = K_MIN(round_up((a.m + a.blocks - 1) / a.blocks, ROWS), a.m);
    a.blocks = (a.m + a.rows - 1) / a.rows;
    a.n_slots = rt_n_threads(ctx);
    int64_t bytes;
    if (__builtin_mul_overflow(a.keys, a.rows + a.depth + a.width, &a.room_each) ||
        __builtin_mul_overflow(a.room_each, a.n_slots * (int64_t)sizeof(float), &bytes))
        return rt_fail(ctx, err, ERR_LIMIT, "the scores need too much memory");
    a.room = rt_scratch(ctx, (size_t)bytes, err);
    a.taken = a.room ? rt_scratch(ctx, (size_t)a.n_slots, err) : NULL;
    if (!a.taken)
        return -(int)err->code;
    memset(a.taken, 0, (size_t)a.n_slots);
    double one = (double)a.rows * (double)a.keys * (double)(a.depth + a.width);
    rt_parallel_for(ctx, a.n * a.blocks, (int64_t)(NN_SMALL_PRODUCTS / one) + 1,
                    do_blocks, &a);
    rt_note_kernel(ctx, "own:attention", 0);
    return 0;
}

double
nn_attention_flops(const struct nn_attention *s, const struct rt_tensor *const *in)
{
    const struct rt_tensor *q = in[s->q_at], *k = in[s->k_at], *v = in[s->v_at];
    if (k->rank < 2 || k->rank != v->rank || k->rank != q->rank || !k->n_elems)
        return 0;
    double keys = (double)k->dims[axis_of(s->k.row, k->rank)],
           depth = (double)k->dims[axis_of(s->k.col, k->rank)],
           width = (double)v->dims[axis_of(s->v.col, v->rank)];
    return 2 * (double)q->n_elems * keys * (1 + width / depth);
}
