/* SPDX-License-Identifier: Apache-2.0 */
/* Looks whether a function is one step of an LSTM or GRU, or the condition that counts
 * such steps; the plan stays as it is and says so (rt_rnn.h). */
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
static const char *const lstm_gates[] = {
    "BiasAdd(AddV2(MatMul(TensorListGetItem($l,$t,%e),$k),MatMul($h,$r)),$b)",
    "AddV2(AddV2(MatMul(TensorListGetItem($l,$t,%e),$k),MatMul($h,$r)),$b)",
};
static const char input_gates[] = "BiasAdd(MatMul(TensorListGetItem($l,$t,%e),$k),$b)";
static const char state_gates[] = "BiasAdd(MatMul($h,$r),$b)";

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
    int step = b->values[value].step;
    if (b->values[value].konst < 0 && step >= 0 &&
        rt_is_op(&b->steps[step], "Unpack")) {
        s->part = value - b->steps[step].first_value;
        value = b->steps[step].in[0];
    }
    s->is_var = rt_match(b, value, "ReadVariableOp($v)", &m);
    s->arg = s->is_var ? AT(m, 'v') : value;
    return passed_on(b, s->arg);
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
    if (!rt_match(l->b, AT(m, 'z'), lstm_gates[0], &g) &&
        !rt_match(l->b, AT(m, 'z'), lstm_gates[1], &g))
        return false;
    r->kind = RT_RNN_LSTM;
    r->list = AT(g, 'l');
    r->time = AT(g, 't');
    r->h = AT(g, 'h');
    r->c = AT(m, 'd');
    *new_c = AT(m, 'c');
    return is_arg(l->b, r->c) && source(l->b, AT(g, 'k'), &r->kernel) &&
           source(l->b, AT(g, 'r'), &r->recurrent) &&
           source(l->b, AT(g, 'b'), &r->bias);
}

static bool
read_gru(struct look *l, int value)
{
    struct rt_match m, p, q;
    struct rt_rnn *r = &l->r;
    if (!rt_match(l->b, value, gru, &m) || !splits(l->b, &m, 'n', 3, AT(m, 'p')) ||
        !splits(l->b, &m, 'm', 3, AT(m, 'q')) ||
        !rt_match(l->b, AT(m, 'p'), input_gates, &p) ||
        !rt_match(l->b, AT(m, 'q'), state_gates, &q) || AT(q, 'h') != AT(m, 'h'))
        return false;
    r->kind = RT_RNN_GRU;
    r->list = AT(p, 'l');
    r->time = AT(p, 't');
    r->h = AT(m, 'h');
    r->c = -1;
    return source(l->b, AT(p, 'k'), &r->kernel) &&
           source(l->b, AT(q, 'r'), &r->recurrent) &&
           source(l->b, AT(p, 'b'), &r->bias) && source(l->b, AT(q, 'b'), &r->bias_h);
}

/* What each argument becomes: itself, one more, the list with an element more, a state.
 */
static bool
read_results(struct look *l)
{
    struct rt_builder *b = l->b;
    struct rt_match m;
    int h = -1, new_c = -1;
    l->r.out = -1;
    for (int i = 0; i < b->plan->n_outputs; i++) {
        if (!rt_match(b, b->results[i], "TensorListSetItem($l,$t,$h)", &m))
            continue;
        const struct rt_tensor *at = rt_value_const(b, AT(m, 't'));
        if (l->r.out >= 0 || AT(m, 'l') != i || (at && at->dtype != SM_INT32))
            return false;
        l->r.out = i;
        l->r.out_at = at ? rt_int_at(at, 0) : -1;
        h = AT(m, 'h');
        if (!read_lstm(l, h, &new_c) && !read_gru(l, h))
            return false;
        if (!at && AT(m, 't') != l->r.time)
            return false;
    }
    if (l->r.out < 0 || !is_arg(b, l->r.h) || !is_arg(b, l->r.time) ||
        !passed_on(b, l->r.list))
        return false;
    for (int i = 0; i < b->plan->n_outputs; i++) {
        int v = b->results[i];
        l->counts[i] = rt_match(b, v, "AddV2($t,#1)", &m) && AT(m, 't') == i;
        bool is_state = (i == l->r.h && v == h) || (i == l->r.c && v == new_c);
        if (!l->counts[i] && !is_state && i != l->r.out && !passed_on(b, i))
            return false;
    }
    return b->results[l->r.h] == h && (l->r.c < 0 || b->results[l->r.c] == new_c) &&
           l->counts[l->r.time];
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
    if (rt_match(b, b->results[0], "LogicalAnd(Less($a,$b),Less($c,$d))", &m)) {
        c.less[1][0] = AT(m, 'c');
        c.less[1][1] = AT(m, 'd');
    } else if (!rt_match(b, b->results[0], "Less($a,$b)", &m)) {
        return;
    }
    c.less[0][0] = AT(m, 'a');
    c.less[0][1] = AT(m, 'b');
    for (int i = 0; i < 4; i++)
        if (c.less[i / 2][i % 2] >= b->plan->n_inputs)
            return;
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
