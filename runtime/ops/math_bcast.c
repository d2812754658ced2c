/* SPDX-License-Identifier: Apache-2.0 */
/* The driver of ops with two operands. After joining dimensions, three shapes of work
 * are left: both operands contiguous (one call); lines in which an operand is
 * contiguous or one value (a block of copies of it); and short lines, for which an
 * operand is first spread out. */
#include "runtime/ops/math_binary.h"

#define BLOCK 512
#define SHORT_LINE 24

struct state {
    const struct k_binary *row;
    bool strict; /* Equal, NotEqual: shapes that do not fit are an error, not an answer
                  */
};

int
rt_prep_binary(struct rt_prep *p)
{
    struct state *s = p->node->state = rt_prep_alloc(p, sizeof(*s));
    s->row = k_binary_row(p->node->op);
    s->strict = rt_attr_bool(p, "incompatible_shape_error", true);
    return rt_prep_done(p);
}

void
k_bcast_init(struct k_bcast *b, const struct rt_tensor *x, const struct rt_tensor *y,
             int rank, const int64_t *dims)
{
    int64_t xs[SM_MAX_RANK], ys[SM_MAX_RANK], nx = 1, ny = 1;
    for (int i = 1; i <= rank; i++) {
        int64_t dx = i <= x->rank ? x->dims[x->rank - i] : 1;
        int64_t dy = i <= y->rank ? y->dims[y->rank - i] : 1;
        xs[rank - i] = dx == 1 ? 0 : nx;
        ys[rank - i] = dy == 1 ? 0 : ny;
        nx *= dx;
        ny *= dy;
    }
    b->rank = 0;
    for (int i = 0; i < rank; i++) {
        int k = b->rank - 1;
        if (dims[i] == 1)
            continue;
        if (k >= 0 && b->x[k] == xs[i] * dims[i] && b->y[k] == ys[i] * dims[i]) {
            b->dims[k] *= dims[i];
        } else {
            b->rank++;
            b->dims[++k] = dims[i];
        }
        b->x[k] = xs[i];
        b->y[k] = ys[i];
    }
    if (b->rank == 0) {
        b->rank = 1;
        b->dims[0] = 1;
        b->x[0] = b->y[0] = 1;
    }
}

const void *
k_spread(struct rt_ctx *ctx, const struct rt_tensor *t, int rank, const int64_t *dims,
         struct err *err)
{
    int64_t n = k_count(dims, 0, rank), step = 1, dst = 1;
    if (t->n_elems == n)
        return t->data;
    size_t elem = rt_dtype_size(t->dtype);
    void *y = rt_scratch(ctx, (size_t)n * elem, err);
    if (!y)
        return NULL;
    struct k_box b = { .rank = rank };
    for (int i = 1; i <= rank; i++) {
        int64_t d = i <= t->rank ? t->dims[t->rank - i] : 1;
        b.dims[rank - i] = dims[rank - i];
        b.src[rank - i] = d == 1 ? 0 : step;
        b.dst[rank - i] = dst;
        step *= d;
        dst *= dims[rank - i];
    }
    k_copy(&b, y, t->data, elem);
    return y;
}

struct work {
    k_binary_fn *fn;
    int half; /* SM_HALF or SM_BFLOAT16, or 0 */
    size_t in_bytes, out_bytes;
    const char *x, *y;
    char *z;
    struct k_bcast b;
    int64_t outer; /* number of lines */
};

static k_binary_fn *
fn_of(const struct k_binary *row, int dtype)
{
    if (dtype >= K_N_DTYPES)
        return NULL;
    return row->fn[dtype] || !k_is_half(dtype) ? row->fn[dtype] : row->fn[SM_FLOAT];
}

/* Where a line's operand is for the next n elements: at `p`, or made in `block`. */
static const void *
operand(const struct work *w, const char *p, int64_t step, int64_t at, int64_t n,
        char *block)
{
    if (step == 0)
        return block; /* filled once a line */
    p += (size_t)at * w->in_bytes;
    if (!w->half)
        return p;
    k_widen(w->half, p, (float *)block, n);
    return block;
}

static void
fill_block(const struct work *w, const char *p, int64_t n, char *block)
{
    float v;
    if (w->half) {
        k_widen(w->half, p, &v, 1);
        k_fill(block, &v, n, sizeof(v));
    } else {
        k_fill(block, p, n, w->in_bytes);
    }
}

static void
run_line(const struct work *w, const char *x, int64_t xs, const char *y, int64_t ys,
         char *z, int64_t n)
{
    _Alignas(64) char bx[BLOCK * 16], by[BLOCK * 16];
    float bz[BLOCK];
    if (!w->half && xs == 1 && ys == 1) {
        w->fn(x, y, z, n);
        return;
    }
    if (xs == 0)
        fill_block(w, x, K_MIN(n, BLOCK), bx);
    if (ys == 0)
        fill_block(w, y, K_MIN(n, BLOCK), by);
    for (int64_t i = 0; i < n; i += BLOCK) {
        int64_t m = K_MIN(n - i, BLOCK);
        const void *px = operand(w, x, xs, i, m, bx), *py = operand(w, y, ys, i, m, by);
        char *pz = z + (size_t)i * w->out_bytes;
        if (w->half && w->out_bytes != 1) {
            w->fn(px, py, bz, m);
            k_narrow(w->half, bz, pz, m);
        } else {
            w->fn(px, py, pz, m);
        }
    }
}

int
k_apply(struct rt_ctx *ctx, const struct k_binary *row, int dtype, const void *x,
        const void *y, void *z, int64_t n, struct err *err)
{
    struct work w = { .fn = fn_of(row, dtype), .half = k_is_half(dtype) ? dtype : 0 };
    if (!w.fn)
        return rt_fail_dtype(ctx, err, dtype);
    w.in_bytes = w.out_bytes = rt_dtype_size(dtype);
    run_line(&w, x, 1, y, 1, z, n);
    return 0;
}

/* Elements of one long line. */
static void
run_flat(void *arg, int64_t begin, int64_t end)
{
    const struct work *w = arg;
    int64_t xs = w->b.x[0], ys = w->b.y[0];
    run_line(w, w->x + (size_t)(begin * xs) * w->in_bytes, xs,
             w->y + (size_t)(begin * ys) * w->in_bytes, ys,
             w->z + (size_t)begin * w->out_bytes, end - begin);
}

/* Lines begin … end - 1. */
static void
run_lines(void *arg, int64_t begin, int64_t end)
{
    const struct work *w = arg;
    const struct k_bcast *b = &w->b;
    int last = b->rank - 1;
    int64_t at[SM_MAX_RANK], n = b->dims[last], x = 0, y = 0;
    for (int i = last - 1; i >= 0; i--) {
        int64_t rest = begin;
        for (int j = last - 1; j > i; j--)
            rest /= b->dims[j];
        at[i] = rest % b->dims[i];
        x += at[i] * b->x[i];
        y += at[i] * b->y[i];
    }
    for (int64_t line = begin; line < end; line++) {
        run_line(w, w->x + (size_t)x * w->in_bytes, b->x[last],
                 w->y + (size_t)y * w->in_bytes, b->y[last],
                 w->z + (size_t)(line * n) * w->out_bytes, n);
        for (int i = last - 1; i >= 0; i--) {
            x += b->x[i];
            y += b->y[i];
            if (++at[i] < b->dims[i])
                break;
            at[i] = 0;
            x -= b->x[i] * b->dims[i];
            y -= b->y[i] * b->dims[i];
        }
    }
}

/* A short row repeated down a matrix ([N, 3] op [3]): rows are copied together until a
 * line is long enough. Returns scratch with the copies, and changes *b to such lines.
 */
static int
lengthen(struct rt_ctx *ctx, struct work *w, struct err *err)
{
    struct k_bcast *b = &w->b;
    int64_t n = b->dims[1], rows = b->dims[0], copies = 1;
    while (copies * 2 * n <= BLOCK && rows % (copies * 2) == 0)
        copies *= 2;
    if (copies * n < SHORT_LINE)
        return 0;
    const char **p = b->x[0] == 0 ? &w->x : &w->y;
    char *block = rt_scratch(ctx, (size_t)(copies * n) * w->in_bytes, err);
    if (!block)
        return -(int)err->code;
    for (int64_t i = 0; i < copies; i++)
        memcpy(block + (size_t)(i * n) * w->in_bytes, *p, (size_t)n * w->in_bytes);
    *p = block;
    b->dims[0] = rows / copies;
    b->dims[1] = copies * n;
    b->x[0] *= copies;
    b->y[0] *= copies;
    return 0;
}

static int
run_work(struct rt_ctx *ctx, struct work *w, const struct rt_tensor *x,
         const struct rt_tensor *y, const struct rt_tensor *z, struct err *err)
{
    struct k_bcast *b = &w->b;
    k_bcast_init(b, x, y, z->rank, z->dims);
    if (b->rank == 2 && b->dims[1] < SHORT_LINE && b->x[1] == 1 && b->y[1] == 1 &&
        lengthen(ctx, w, err) < 0)
        return -(int)err->code;
    if (b->rank > 1 && b->dims[b->rank - 1] < SHORT_LINE) {
        w->x = k_spread(ctx, x, z->rank, z->dims, err);
        w->y = w->x ? k_spread(ctx, y, z->rank, z->dims, err) : NULL;
        if (!w->y)
            return -(int)err->code;
        *b = (struct k_bcast){
            .rank = 1, .dims = { z->n_elems }, .x = { 1 }, .y = { 1 }
        };
    }
    if (b->rank == 1) {
        rt_parallel_for(ctx, z->n_elems, K_GRAIN, run_flat, w);
        return 0;
    }
    int64_t n = b->dims[b->rank - 1];
    rt_parallel_for(ctx, z->n_elems / n, K_MAX(1, K_GRAIN / n), run_lines, w);
    return 0;
}

/* Strings: Equal, NotEqual and Add (concatenation). */
static int
run_strings(struct rt_ctx *ctx, struct rt_tensor *z, struct err *err)
{
    const struct str *x = k_spread(ctx, ctx->in[0], z->rank, z->dims, err);
    const struct str *y = x ? k_spread(ctx, ctx->in[1], z->rank, z->dims, err) : NULL;
    if (!y)
        return -(int)err->code;
    bool add = z->dtype == SM_STRING, equal = strcmp(ctx->node->op, "Equal") == 0;
    for (int64_t i = 0; i < z->n_elems; i++) {
        if (!add) {
            ((uint8_t *)z->data)[i] = str_eq(x[i], y[i]) == equal;
            continue;
        }
        char *p = rt_str_alloc(ctx, x[i].n + y[i].n, err);
        if (!p)
            return -(int)err->code;
        if (x[i].n)
            memcpy(p, x[i].p, x[i].n);
        if (y[i].n)
            memcpy(p + x[i].n, y[i].p, y[i].n);
        ((struct str *)z->data)[i] = (struct str){ p, x[i].n + y[i].n };
    }
    return 0;
}

/* Values of the second operand that integers do not stand. */
static int
check_values(struct rt_ctx *ctx, unsigned flags, struct err *err)
{
    const struct rt_tensor *y = ctx->in[1];
    bool bad = false;
    for (int64_t i = 0; i < y->n_elems && !bad; i++) {
        int64_t v = k_int_at(y, i);
        bad = flags & K_DIV_CHECK ? v == 0 : v < 0 && y->dtype != SM_UINT64;
    }
    if (!bad)
        return 0;
    if (flags & K_POW_CHECK)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Integers to negative integer powers are not allowed");
    if (strncmp(ctx->node->op, "Truncate", 8) == 0)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Unexpected error in binary operator (only integer div and mod "
                       "should have errors): integer division by zero");
    return rt_fail(ctx, err, ERR_FAILED, "Integer division by zero");
}

static int
no_fit(struct rt_ctx *ctx, struct err *err)
{
    const struct state *s = ctx->node->state;
    const struct rt_tensor *x = ctx->in[0], *y = ctx->in[1];
    char tx[RT_SHAPE_TEXT_BYTES], ty[RT_SHAPE_TEXT_BYTES];
    struct rt_tensor *z;
    if (s->strict)
        return rt_fail(ctx, err, ERR_FAILED, "Incompatible shapes: %s vs. %s",
                       rt_shape_text(x, tx), rt_shape_text(y, ty));
    if (rt_out(ctx, 0, SM_BOOL, 0, NULL, &z, err) < 0)
        return -(int)err->code;
    *(uint8_t *)z->data = strcmp(ctx->node->op, "NotEqual") == 0;
    return 0;
}

int
k_run_binary(struct rt_ctx *ctx, const struct k_binary *row, const struct rt_tensor *x,
             const struct rt_tensor *y, struct err *err)
{
    bool exact = row->flags & K_NO_BROADCAST;
    int rank = 0, out = x->dtype;
    int64_t dims[SM_MAX_RANK];
    struct rt_tensor *z;
    if ((exact && !rt_same_shape(x, y)) ||
        !k_broadcast(x->rank, x->dims, y->rank, y->dims, &rank, dims))
        return no_fit(ctx, err);
    struct work w = { .fn = fn_of(row, x->dtype),
                      .half = k_is_half(x->dtype) ? x->dtype : 0 };
    bool strings = x->dtype == SM_STRING &&
                   (row->out == K_BOOL_OUT || strncmp(row->op, "Add", 3) == 0);
    if (!w.fn && !strings)
        return rt_fail_dtype(ctx, err, x->dtype);
    if (row->out == K_BOOL_OUT)
        out = SM_BOOL;
    else if (row->out == K_COMPLEX_OUT)
        out = x->dtype == SM_FLOAT ? SM_COMPLEX64 : SM_COMPLEX128;
    /* In place of the operand that has the output's shape. */
    int from = x->n_elems == k_count(dims, 0, rank) ? 0 : 1;
    if (from == 0 && !(ctx->may_forward & 1) && y->n_elems == x->n_elems)
        from = 1;
    if ((strings ? rt_out(ctx, 0, out, rank, dims, &z, err)
                 : rt_out_reuse(ctx, 0, from, out, rank, dims, &z, err)) < 0)
        return -(int)err->code;
    if (z->n_elems == 0)
        return 0;
    if ((row->flags & (K_DIV_CHECK | K_POW_CHECK)) && k_is_int(x->dtype) &&
        check_values(ctx, row->flags, err) < 0)
        return -(int)err->code;
    if (strings)
        return run_strings(ctx, z, err);
    w.in_bytes = rt_dtype_size(x->dtype);
    w.out_bytes = rt_dtype_size(out);
    w.x = x->data, w.y = y->data, w.z = z->data;
    return run_work(ctx, &w, x, y, z, err);
}

int
rt_run_binary(struct rt_ctx *ctx, struct err *err)
{
    const struct state *s = ctx->node->state;
    return k_run_binary(ctx, s->row, ctx->in[0], ctx->in[1], err);
}
