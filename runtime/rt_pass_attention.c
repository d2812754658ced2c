/* SPDX-License-Identifier: Apache-2.0 */
/* softmax(q k' with scale and mask) v: two products, each an Einsum or a BatchMatMul,
 * with a Softmax and up to a few elementwise steps between, whose values nobody else
 * wants. The product by v becomes the one step; it keeps the others as they were, for
 * shapes that it cannot do. */
#include "runtime/ops/nn_int.h"
#include "runtime/rt_pass_int.h"

#include <math.h>

enum { MAX_IN = 16 };

struct found {
    struct nn_attention s;
    int in[MAX_IN], n_in;
    int chain[NN_ATTEND_STEPS], from[NN_ATTEND_STEPS]; /* drafts, last first; the input
                                       of each that the one before it makes */
    int n_chain;
};

static bool
is_batch_matmul(const struct rt_draft *d)
{
    const char *op = d->s.node.op;
    return strcmp(op, "BatchMatMul") == 0 || strcmp(op, "BatchMatMulV2") == 0;
}

static bool
flag(const struct rt_draft *d, const char *name)
{
    struct sm_attr a;
    return sm_node_attr(&d->g->sm, name, &a) && a.kind == SM_ATTR_B && a.i;
}

/* ---- equations ------------------------------------------------------------------- */

/* "ab,cd->ef": the three terms, each of the same number of different letters. */
static bool
read_terms(const struct rt_draft *d, struct str t[3])
{
    struct sm_attr a;
    if (!sm_node_attr(&d->g->sm, "equation", &a) || a.kind != SM_ATTR_S)
        return false;
    size_t n = (a.bytes.n - 3) / 3;
    const char *p = a.bytes.p;
    if (a.bytes.n < 9 || a.bytes.n != 3 * n + 3 || n > SM_MAX_RANK || p[n] != ',' ||
        p[2 * n + 1] != '-' || p[2 * n + 2] != '>')
        return false;
    t[0] = (struct str){ p, n };
    t[1] = (struct str){ p + n + 1, n };
    t[2] = (struct str){ p + 2 * n + 3, n };
    for (int k = 0; k < 3; k++)
        for (size_t i = 0; i < n; i++) {
            char c = t[k].p[i];
            bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
            if (!letter || memchr(t[k].p + i + 1, c, n - i - 1))
                return false;
        }
    return true;
}

static int
place(struct str t, char c)
{
    const char *p = memchr(t.p, c, t.n);
    return p ? (int)(p - t.p) : -1;
}

/* Where the n - 2 letters at `batch`, `row` and `col` are in t. */
static bool
read_axes(struct str t, const char *batch, char row, char col, struct nn_axes *a)
{
    bool all = true;
    for (size_t i = 0; i < t.n - 2; i++) {
        int at = place(t, batch[i]);
        a->batch[i] = (int8_t)at;
        all &= at >= 0;
    }
    a->row = (int8_t)place(t, row);
    a->col = (int8_t)place(t, col);
    return all && a->row >= 0 && a->col >= 0;
}

/* The letter of a that is not in b, when there is one alone. */
static char
left_out(struct str a, struct str b)
{
    char c = 0;
    for (size_t i = 0; i < a.n; i++)
        if (place(b, a.p[i]) < 0) {
            if (c)
                return 0;
            c = a.p[i];
        }
    return c;
}

static const struct nn_axes plain = { { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 },
                                      -2,
                                      -1 };

/* Rows and columns of the scores: the last two dimensions. */
static bool
read_scores(const struct rt_draft *d, struct nn_attention *s)
{
    struct str t[3];
    s->q_at = s->rank = 0;
    if (is_batch_matmul(d)) {
        s->q = s->k = plain;
        if (!flag(d, "adj_y")) {
            s->k.row = -1;
            s->k.col = -2;
        }
        s->k_at = 1;
        return !flag(d, "adj_x");
    }
    if (!rt_is_op(d, "Einsum") || d->s.node.n_in != 2 || !read_terms(d, t))
        return false;
    char row = t[2].p[t[2].n - 2], col = t[2].p[t[2].n - 1];
    s->q_at = place(t[0], row) < 0;
    s->k_at = !s->q_at;
    char depth = left_out(t[s->q_at], t[2]);
    s->rank = (int)t[2].n;
    return depth && depth == left_out(t[s->k_at], t[2]) &&
           read_axes(t[s->q_at], t[2].p, row, depth, &s->q) &&
           read_axes(t[s->k_at], t[2].p, col, depth, &s->k) && s->q.col == s->rank - 1;
}

/* The product of input `from`, the scores, and v. */
static bool
read_values(const struct rt_draft *d, int from, struct nn_attention *s)
{
    struct str t[3];
    if (is_batch_matmul(d)) {
        s->v = s->y = plain;
        return from == 0 && !flag(d, "adj_x") && !flag(d, "adj_y");
    }
    if (!rt_is_op(d, "Einsum") || d->s.node.n_in != 2 || !read_terms(d, t))
        return false;
    struct str p = t[from], v = t[!from];
    char row = p.p[p.n - 2], col = p.p[p.n - 1], width = left_out(v, p);
    int rank = (int)p.n;
    if (s->rank && s->rank != rank)
        return false;
    s->rank = rank;
    return width && read_axes(v, p.p, col, width, &s->v) &&
           read_axes(t[2], p.p, row, width, &s->y) && s->v.col == rank - 1 &&
           s->y.col == rank - 1;
}

/* ---- what is between ------------------------------------------------------------- */

static const struct between {
    const char *op;
    enum nn_attend_kind kind;
    bool either; /* input may be the scores */
} betweens[] = {
    { "AddV2", NN_ATTEND_ADD, true },    { "Add", NN_ATTEND_ADD, true },
    { "Sub", NN_ATTEND_SUB, false },     { "Mul", NN_ATTEND_MUL, true },
    { "RealDiv", NN_ATTEND_DIV, false }, { "SelectV2", NN_ATTEND_KEEP, false },
};

static const struct between *
between_of(const struct rt_draft *d)
{
    for (size_t i = 0; i < sizeof(betweens) / sizeof(betweens[0]); i++)
        if (rt_is_op(d, betweens[i].op))
            return &betweens[i];
    return NULL;
}

/* From the value that a step of the chain takes up to the product of q and k. */
static bool
climb(const struct rt_rewrite *w, int value, struct found *f)
{
    const struct rt_builder *b = w->b;
    int at = rt_value_maker(b, value);
    if (at < 0 || w->uses[value] != 1 || f->n_chain == NN_ATTEND_STEPS)
        return false;
    const struct rt_draft *d = &b->steps[at];
    if (d->s.reads_ref || !d->g || !rt_draft_is_float(d, "T"))
        return false;
    f->chain[f->n_chain++] = at;
    const struct between *is = between_of(d);
    if (!is && !rt_value_const(b, d->in[0]) && !rt_value_const(b, d->in[1]) &&
        read_scores(d, &f->s))
        return true;
    bool select = is && is->kind == NN_ATTEND_KEEP;
    for (int i = select; is && i < (select ? 3 : is->either ? 2 : 1); i++) {
        float other;
        int n = f->n_chain;
        if (select && !rt_value_scalar(b, d->in[3 - i], &other))
            continue;
        f->from[n - 1] = i;
        if (climb(w, d->in[i], f))
            return true;
        f->n_chain = n;
    }
    f->n_chain--;
    return false;
}

/* ---- the step -------------------------------------------------------------------- */

/* Draft `at` as the next step; its input `from` is what the last one gave, -1: none. */
static bool
add_step(struct rt_builder *b, struct found *f, int at, int from)
{
    const struct rt_draft *d = &b->steps[at];
    struct nn_attend_step *s = &f->s.steps[f->s.n_steps++];
    struct rt_node *node = rt_pass_alloc(b, sizeof(*node));
    *node = d->s.node;
    s->node = node;
    s->run = d->s.run;
    for (int i = 0; i < d->s.node.n_in; i++) {
        s->in[i] = i == from ? -1 : f->n_in;
        if (i == from)
            continue;
        if (f->n_in == MAX_IN)
            return false;
        f->in[f->n_in++] = d->in[i];
    }
    return true;
}

/* What the step between does to scores: part of the scale as long as it is a number. */
static void
read_between(const struct rt_builder *b, struct found *f, int at, int from,
             bool *scales)
{
    const struct rt_draft *d = &b->steps[at];
    struct nn_attend_step *s = &f->s.steps[f->s.n_steps - 1];
    enum nn_attend_kind kind = between_of(d)->kind;
    float by;
    if (kind == NN_ATTEND_KEEP) {
        s->kind = from == 1 ? NN_ATTEND_KEEP : NN_ATTEND_DROP;
        s->side = s->in[0];
        (void)rt_value_scalar(b, d->in[3 - from], &s->other);
        *scales = false;
        return;
    }
    const struct rt_tensor *t = rt_value_const(b, d->in[!from]);
    if (*scales && (kind == NN_ATTEND_MUL || kind == NN_ATTEND_DIV) && t &&
        t->rank == 0 && rt_value_scalar(b, d->in[!from], &by) && isnormal(by)) {
        f->s.scale = kind == NN_ATTEND_MUL ? f->s.scale * by : f->s.scale / by;
        return;
    }
    s->kind = kind;
    s->side = s->in[!from];
    *scales = false;
}

static bool
become_attention(struct rt_rewrite *w, int at, int from, struct found *f)
{
    struct rt_builder *b = w->b;
    bool scales = true;
    f->s.scale = 1;
    for (int i = f->n_chain - 1; i >= 0; i--) {
        bool product = i == f->n_chain - 1;
        if (!add_step(b, f, f->chain[i], product ? -1 : f->from[i]))
            return false;
        if (!product && i > 0)
            read_between(b, f, f->chain[i], f->from[i], &scales);
    }
    f->s.v_at = f->n_in;
    if (!add_step(b, f, at, from))
        return false;
    struct rt_draft as = b->steps[at];
    struct nn_attention *state = rt_pass_alloc(b, sizeof(*state));
    *state = f->s;
    as.s.node.op = "_Attention";
    as.s.node.state = state;
    as.s.run = nn_run_attention;
    rt_pass_become(w, at, &as, f->in, f->n_in);
    uint8_t *check = rt_pass_alloc(b, (size_t)f->n_in + 1);
    memset(check, 'T', (size_t)f->n_in);
    b->steps[at].s.check = check;
    for (int i = 0; i < state->n_steps; i++) { /* a condition is no number */
        const struct nn_attend_step *s = &state->steps[i];
        if (s->kind == NN_ATTEND_KEEP || s->kind == NN_ATTEND_DROP)
            check[s->side] = 'B';
    }
    return true;
}

bool
rt_pass_attention(struct rt_rewrite *w, int at)
{
    struct rt_builder *b = w->b;
    const struct rt_draft *d = &b->steps[at];
    if (d->s.reads_ref || !d->g || d->s.node.n_in != 2)
        return false;
    for (int i = 0; i < 2; i++) {
        struct found f = { .n_chain = 1 };
        int soft = rt_value_maker(b, d->in[i]);
        if (soft < 0 || w->uses[d->in[i]] != 1 ||
            !rt_is_op(&b->steps[soft], "Softmax") || b->steps[soft].s.reads_ref ||
            rt_value_const(b, d->in[!i]))
            continue;
        f.chain[0] = soft;
        if (climb(w, b->steps[soft].in[0], &f) && read_values(d, i, &f.s))
            return become_attention(w, at, i, &f);
    }
    return false;
}
