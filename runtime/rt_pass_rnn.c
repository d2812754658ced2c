/* SPDX-License-Identifier: Apache-2.0 */
/* Looks whether a function is one step of an LSTM, GRU or simple layer, or the
 * condition that counts such steps; the plan stays as it is and says so (rt_rnn.h). */
#include "runtime/rt_pass_int.h"
#include "runtime/rt_rnn.h"

/* z: the gates before their functions, side by side: input, forget, cell, output. */
static const char lstm[] =
    "Mul(Sigmoid(Split:3(%n,$z)),Tanh($c=AddV2(Mul(Sigmoid(Split:1(%n,$z)),$d),"
    "Mul(Sigmoid(Split:0(%n,$z)),Tanh(Split:2(%n,$z))))))";
/* p, q: update, reset, candidate of the input and of the state (reset after the
 * product).
 */
static const char gru[] =
    "AddV2(Mul(Sub(#1,$z=Sigmoid(AddV2(Split:0(%n,$p),Split:0(%m,$q)))),"
    "Tanh(AddV2(Split:2(%n,$p),Mul(Sigmoid(AddV2(Split:1(%n,$p),Split:1(%m,$q))),"
    "Split:2(%m,$q))))),Mul($z,$h))";
/* The same with the state's part cut by slices. */
#define CUT(u, b, e, s) "$" u "=StridedSlice($q,%" b ",%" e ",%" s ")"
static const char gru_cut[] = "AddV2(Mul(Sub(#1,$z=Sigmoid(AddV2(Split:0(%n,$p)," CUT(
    "u", "a", "b",
    "c") "))),"
         "Tanh(AddV2(Split:2(%n,$p),Mul(Sigmoid(AddV2(Split:1(%n,$p)," CUT(
             "v", "d", "e", "f") "))," CUT("w", "i", "j", "k") ")))),Mul($z,$h))";
/* What an element of the list (x) and the state give: with a bias, or without. */
#define X "MatMul(TensorListGetItem($l,$t,%e),$k)"
#define H "MatMul($h,$r)"
static const char *const both[] = { "BiasAdd(AddV2(" X "," H "),$b)",
                                    "AddV2(AddV2(" X "," H "),$b)",
                                    "AddV2(" X "," H ")", NULL };
static const char *const simple_sums[] = { "AddV2(BiasAdd(" X ",$b)," H ")",
                                           "AddV2(AddV2(" X ",$b)," H ")",
                                           "AddV2(" X "," H ")", NULL };
static const char *const input_gates[] = { "BiasAdd(" X ",$b)", "AddV2(" X ",$b)", X,
                                           NULL };
static const char *const state_gates[] = { "BiasAdd(" H ",$b)", "AddV2(" H ",$b)", H,
                                           NULL };
/* A new value where the mask's element says so, else the old one. */
static const char masked[] = "SelectV2(Tile(TensorListGetItem($m,$t,%e),%r),$n,$p)";

#define AT(m, letter) ((m).v[(letter) - 'a'])

struct look {
    struct rt_builder *b;
    struct rt_rnn r;
    bool *counts;
};

static bool
is_arg(const struct rt_builder *b, int value)
{
    return value < b->plan->n_inputs;
}

/* An argument that every step passes on unchanged. */
static bool
passed_on(const struct rt_builder *b, int value)
{
    return is_arg(b, value) && value < b->plan->n_outputs && b->results[value] == value;
}

static bool
source(const struct rt_builder *b, int value, struct rt_rnn_source *s)
{
    struct rt_match m;
    *s = (struct rt_rnn_source){ .part = -1 };
    bool cut = rt_match(b, value, "Squeeze($s)", &m);
    int part = cut ? AT(m, 's') : value, step = b->values[part].step;
    const struct rt_draft *d =
        b->values[part].konst < 0 && step >= 0 ? &b->steps[step] : NULL;
    float axis;
    cut &=
        d && rt_is_op(d, "Split") && rt_value_scalar(b, d->in[0], &axis) && axis == 0;
    if (d && (cut || (part == value && rt_is_op(d, "Unpack")))) {
        s->part = part - d->first_value;
        s->n_parts = d->s.node.n_out;
        value = d->in[cut];
    }
    s->is_var = rt_match(b, value, "ReadVariableOp($v)", &m);
    s->arg = s->is_var ? AT(m, 'v') : value;
    return passed_on(b, s->arg);
}

/* The same for a letter that a pattern may not have met. */
static bool
source_of(const struct rt_builder *b, const struct rt_match *m, char letter,
          struct rt_rnn_source *s)
{
    *s = (struct rt_rnn_source){ .arg = -1, .part = -1 };
    return !m->has[letter - 'a'] || source(b, AT(*m, letter), s);
}

static bool
match_any(const struct rt_builder *b, int value, const char *const *patterns,
          struct rt_match *m)
{
    while (*patterns && !rt_match(b, value, *patterns, m))
        patterns++;
    return *patterns != NULL;
}

/* Split along the second dimension, which is the last; in `n` parts. */
static bool
splits(const struct rt_builder *b, const struct rt_match *m, char axis, int n,
       int value)
{
    const struct rt_tensor *k = rt_value_const(b, AT(*m, axis));
    int64_t at = k && k->dtype == SM_INT32 && k->n_elems == 1 ? rt_int_at(k, 0) : 0;
    int made = 0;
    for (int i = 0; i < b->n_steps; i++)
        if (rt_is_op(&b->steps[i], "Split") && b->steps[i].in[1] == value)
            made = b->steps[i].s.node.n_out;
    return (at == 1 || at == -1) && made == n;
}

/* The products are plain ones. */
static bool
nothing_transposed(const struct rt_builder *b)
{
    struct sm_attr a;
    static const char *const names[] = { "transpose_a", "transpose_b" };
    for (int i = 0; i < b->n_steps; i++)
        for (int j = 0; j < 2 && rt_is_op(&b->steps[i], "MatMul"); j++)
            if (sm_node_attr(&b->steps[i].g->sm, names[j], &a) && a.i)
                return false;
    return true;
}

static bool
read_lstm(struct look *l, int value, int *new_c)
{
    struct rt_match m, g;
    struct rt_rnn *r = &l->r;
    if (!rt_match(l->b, value, lstm, &m) || !splits(l->b, &m, 'n', 4, AT(m, 'z')))
        return false;
    if (!match_any(l->b, AT(m, 'z'), both, &g))
        return false;
    r->kind = RT_RNN_LSTM;
    r->list = AT(g, 'l');
    r->time = AT(g, 't');
    r->h = AT(g, 'h');
    r->c = AT(m, 'd');
    *new_c = AT(m, 'c');
    return is_arg(l->b, r->c) && source(l->b, AT(g, 'k'), &r->kernel) &&
           source(l->b, AT(g, 'r'), &r->recurrent) &&
           source_of(l->b, &g, 'b', &r->bias);
}

/* A slice of columns: [*begin, *end), end 0: to the last one. */
static bool
read_columns(const struct rt_builder *b, int value, int64_t *begin, int64_t *end)
{
    const struct rt_draft *d = &b->steps[b->values[value].step];
    const struct rt_tensor *k[3];
    int64_t masks[5];
    static const char *const names[] = { "begin_mask", "end_mask", "ellipsis_mask",
                                         "new_axis_mask", "shrink_axis_mask" };
    for (int i = 0; i < 5; i++) {
        struct sm_attr a;
        masks[i] = sm_node_attr(&d->g->sm, names[i], &a) ? a.i : 0;
    }
    for (int i = 0; i < 3; i++) {
        k[i] = rt_value_const(b, d->in[1 + i]);
        if (k[i]->dtype != SM_INT32 || k[i]->n_elems != 2)
            return false;
    }
    *begin = masks[0] & 2 ? 0 : rt_int_at(k[0], 1);
    *end = masks[1] & 2 ? 0 : rt_int_at(k[1], 1);
    return masks[0] & 1 && masks[1] & 1 && !masks[2] && !masks[3] && !masks[4] &&
           rt_int_at(k[2], 0) == 1 && rt_int_at(k[2], 1) == 1;
}

/* The state's three parts are slices side by side. */
static bool
cuts(struct look *l, const struct rt_match *m)
{
    int64_t begin, end, n = 0;
    for (int i = 0; i < 3; i++) {
        if (!read_columns(l->b, AT(*m, 'u' + i), &begin, &end))
            return false;
        n = i ? n : end;
        if (n < 1 || begin != i * n || (end != (i + 1) * n && !(i == 2 && end == 0)))
            return false;
    }
    l->r.units = n;
    return true;
}

static bool
read_gru(struct look *l, int value)
{
    struct rt_match m, p, q;
    struct rt_rnn *r = &l->r;
    bool split = rt_match(l->b, value, gru, &m) && splits(l->b, &m, 'm', 3, AT(m, 'q'));
    if ((!split && !(rt_match(l->b, value, gru_cut, &m) && cuts(l, &m))) ||
        !splits(l->b, &m, 'n', 3, AT(m, 'p')) ||
        !match_any(l->b, AT(m, 'p'), input_gates, &p) ||
        !match_any(l->b, AT(m, 'q'), state_gates, &q) || AT(q, 'h') != AT(m, 'h'))
        return false;
    r->kind = RT_RNN_GRU;
    r->list = AT(p, 'l');
    r->time = AT(p, 't');
    r->h = AT(m, 'h');
    r->c = -1;
    return source(l->b, AT(p, 'k'), &r->kernel) &&
           source(l->b, AT(q, 'r'), &r->recurrent) &&
           source_of(l->b, &p, 'b', &r->bias) && source_of(l->b, &q, 'b', &r->bias_h);
}

static bool
read_simple(struct look *l, int value)
{
    struct rt_match m, g;
    struct rt_rnn *r = &l->r;
    r->relu = rt_match(l->b, value, "Relu($z)", &m);
    if ((!r->relu && !rt_match(l->b, value, "Tanh($z)", &m)) ||
        !match_any(l->b, AT(m, 'z'), simple_sums, &g))
        return false;
    r->kind = RT_RNN_SIMPLE;
    r->list = AT(g, 'l');
    r->time = AT(g, 't');
    r->h = AT(g, 'h');
    r->c = -1;
    return source(l->b, AT(g, 'k'), &r->kernel) &&
           source(l->b, AT(g, 'r'), &r->recurrent) &&
           source_of(l->b, &g, 'b', &r->bias);
}

/* ---- masks ----------------------------------------------------------------------- */

/* `value` is a choice by the layer's mask; the first one says which that is. */
static bool
read_choice(struct look *l, int value, struct rt_match *m)
{
    const struct rt_tensor *tile;
    struct rt_rnn *r = &l->r;
    if (!rt_match(l->b, value, masked, m))
        return false;
    tile = rt_value_const(l->b, AT(*m, 'r'));
    if (tile->dtype != SM_INT32 || tile->n_elems != 2 || rt_int_at(tile, 0) != 1 ||
        (r->mask >= 0 && (AT(*m, 'm') != r->mask || AT(*m, 't') != r->time ||
                          rt_int_at(tile, 1) != r->mask_width)))
        return false;
    r->mask_width = rt_int_at(tile, 1);
    return passed_on(l->b, AT(*m, 'm'));
}

/* What an argument becomes: `fresh`, or under a mask that or itself. */
static bool
is_state(struct look *l, int arg, int value, int fresh)
{
    struct rt_match m;
    if (l->r.mask < 0)
        return value == fresh;
    return read_choice(l, value, &m) && AT(m, 'n') == fresh && AT(m, 'p') == arg;
}

/* The layer's output, `value`, without its mask. */
static int
unmasked(struct look *l, int value)
{
    struct rt_match m;
    if (!read_choice(l, value, &m))
        return value;
    l->r.time = AT(m, 't');
    l->r.mask = AT(m, 'm');
    l->r.before = AT(m, 'p');
    return AT(m, 'n');
}

/* ---- the whole ------------------------------------------------------------------- */

/* What each argument becomes: itself, one more, the list with an element more, a state.
 */
static bool
read_results(struct look *l)
{
    struct rt_builder *b = l->b;
    struct rt_match m;
    int h = -1, new_c = -1, given = -1;
    struct rt_rnn *r = &l->r;
    r->out = r->mask = r->before = r->bias.arg = r->bias_h.arg = -1;
    for (int i = 0; i < b->plan->n_outputs; i++) {
        if (!rt_match(b, b->results[i], "TensorListSetItem($l,$t,$h)", &m))
            continue;
        const struct rt_tensor *at = rt_value_const(b, AT(m, 't'));
        if (r->out >= 0 || AT(m, 'l') != i || (at && at->dtype != SM_INT32))
            return false;
        r->out = i;
        r->out_at = at ? rt_int_at(at, 0) : -1;
        given = AT(m, 'h');
        h = unmasked(l, given);
        int mask_time = r->time;
        if (!read_lstm(l, h, &new_c) && !read_gru(l, h) && !read_simple(l, h))
            return false;
        if ((!at && AT(m, 't') != r->time) || (r->mask >= 0 && mask_time != r->time))
            return false;
    }
    if (r->out < 0 || !is_arg(b, r->h) || !is_arg(b, r->time) ||
        !passed_on(b, r->list) || (r->mask >= 0 && !is_arg(b, r->before)))
        return false;
    r->last = -1;
    for (int i = 0; i < b->plan->n_outputs; i++) {
        int v = b->results[i];
        if (r->mask >= 0 && v == given && i != r->h && r->last < 0) {
            r->last = i;
            continue;
        }
        l->counts[i] = rt_match(b, v, "AddV2($t,#1)", &m) && AT(m, 't') == i;
        bool state =
            i == r->h ? is_state(l, i, v, h) : i == r->c && is_state(l, i, v, new_c);
        if (!l->counts[i] && !state && i != r->out && !passed_on(b, i))
            return false;
        if ((i == r->h || i == r->c) && !state)
            return false;
    }
    return l->counts[r->time] &&
           (r->mask < 0 || r->before == r->last || passed_on(b, r->before));
}

static void
read_body(struct rt_rewrite *w)
{
    struct rt_builder *b = w->b;
    struct look l = { .b = b };
    for (int i = 0; i < b->n_steps; i++)
        if (w->needed[i] && b->steps[i].keep &&
            !rt_is_op(&b->steps[i], "ReadVariableOp"))
            return;
    l.counts = rt_pass_alloc(b, (size_t)b->plan->n_outputs + 1);
    if (!read_results(&l) || !nothing_transposed(b))
        return;
    struct rt_rnn *r = b->plan->rnn = rt_pass_alloc(b, sizeof(*r));
    *r = l.r;
    r->counts = l.counts;
    r->n_args = b->plan->n_inputs;
    w->n_fired++;
}

static void
read_cond(struct rt_rewrite *w)
{
    struct rt_builder *b = w->b;
    struct rt_match m;
    struct rt_rnn_cond c = { .less = { { -1, -1 }, { -1, -1 } } };
    int end[2] = { -1, -1 };
    if (rt_match(b, b->results[0], "LogicalAnd(Less($a,$b),Less($c,$d))", &m)) {
        c.less[1][0] = AT(m, 'c');
        end[1] = AT(m, 'd');
    } else if (!rt_match(b, b->results[0], "Less($a,$b)", &m)) {
        return;
    }
    c.less[0][0] = AT(m, 'a');
    end[0] = AT(m, 'b');
    for (int i = 0; i < 2 && end[i] >= 0; i++) {
        const struct rt_tensor *k = rt_value_const(b, end[i]);
        if (c.less[i][0] >= b->plan->n_inputs || (!k && !is_arg(b, end[i])) ||
            (k && (k->dtype != SM_INT32 || k->n_elems != 1)))
            return;
        c.less[i][1] = k ? -1 : end[i];
        c.limit[i] = k ? rt_int_at(k, 0) : 0;
    }
    b->plan->rnn_cond = rt_pass_alloc(b, sizeof(c));
    *b->plan->rnn_cond = c;
}

void
rt_pass_rnn(struct rt_rewrite *w)
{
    const struct rt_plan *p = w->b->plan;
    if (!w->b->args->func)
        return;
    if (p->n_outputs == 1)
        read_cond(w);
    else if (p->n_outputs == p->n_inputs)
        read_body(w);
}
