/* SPDX-License-Identifier: Apache-2.0 */
/* What frameworks write as several ops and is one loop over memory. The patterns are
 * those of Keras 2 and 3 and of TensorFlow's own functions, after constants were
 * folded; float32 only. */
#include "runtime/ops/nn_int.h"
#include "runtime/rt_pass_int.h"

/* 0.5 x (1 + erf(x / sqrt 2)) and its approximation, with the half in either place. */
#define ERF_ARG "Mul($x,#0.70710678)"
#define TANH_ARG "Tanh(Mul(#0.79788456,AddV2($x,Mul(#0.044715,Pow($x,#3)))))"
#define TANH_ARG2 "Tanh(Mul(#0.79788456,AddV2($x,Mul(Mul(#0.044715,$x),Mul($x,$x)))))"

static const struct elementwise {
    const char *op, *pattern;
    struct od_post post;
} elementwise[] = {
    { "_Swish", "Mul($x,Sigmoid($x))", { OD_SWISH, 1, 0 } },
    { "_Swish", "Mul($x,Sigmoid(Mul(#1,$x)))", { OD_SWISH, 1, 0 } },
    { "_HardSwish",
      "Mul($x,Mul(Relu6(AddV2($x,#3)),#0.16666667))",
      { OD_HARDSWISH, 0, 0 } },
    { "_HardSwish",
      "Mul(Mul($x,Relu6(AddV2($x,#3))),#0.16666667)",
      { OD_HARDSWISH, 0, 0 } },
    { "_HardSwish", "Mul($x,RealDiv(Relu6(AddV2($x,#3)),#6))", { OD_HARDSWISH, 0, 0 } },
    { "_GeluErf",
      "Mul(Mul(#0.5,$x),AddV2(#1,Erf(RealDiv($x,#1.41421356))))",
      { OD_GELU_ERF, 0, 0 } },
    { "_GeluErf",
      "Mul(Mul(#0.5,$x),AddV2(#1,Erf(" ERF_ARG ")))",
      { OD_GELU_ERF, 0, 0 } },
    { "_GeluErf",
      "Mul(Mul(#0.5,$x),Erfc(Mul($x,#-0.70710678)))",
      { OD_GELU_ERF, 0, 0 } },
    { "_GeluErf",
      "Mul($x,Mul(#0.5,AddV2(#1,Erf(RealDiv($x,#1.41421356)))))",
      { OD_GELU_ERF, 0, 0 } },
    { "_GeluErf",
      "Mul($x,Mul(#0.5,AddV2(#1,Erf(" ERF_ARG "))))",
      { OD_GELU_ERF, 0, 0 } },
    { "_GeluTanh", "Mul(Mul(#0.5,$x),AddV2(#1," TANH_ARG "))", { OD_GELU_TANH, 0, 0 } },
    { "_GeluTanh", "Mul($x,Mul(#0.5,AddV2(#1," TANH_ARG ")))", { OD_GELU_TANH, 0, 0 } },
    { "_GeluTanh",
      "Mul(Mul(#0.5,$x),AddV2(#1," TANH_ARG2 "))",
      { OD_GELU_TANH, 0, 0 } },
};

/* $m the mean of x over axes %a, $s what x is multiplied with, g and b in 1-D. */
static const char *const layer_norms[] = {
    "AddV2(Mul($x,$s=Mul(Rsqrt(AddV2($v=Mean(SquaredDifference($x,$m=Mean($x,%a)),%c),#"
    "e)),"
    "%g)),Sub(%b,Mul($m,$s)))",
    "AddV2(Mul($x,$s=Mul(Rsqrt(AddV2($v=Mean(SquaredDifference($x,$m=Mean($x,%a)),%c),#"
    "e)),"
    "%g)),AddV2(Mul(Neg($m),$s),%b))",
    "AddV2(%b,Mul(%g,Mul(Sub($x,$m=Mean($x,%a)),Rsqrt(AddV2($v=Mean(SquaredDifference($"
    "x,$m)"
    ",%c),#e)))))",
};

/* Keras 2's own over the last dimension: rows become channels of a batch norm of one
 * picture, with 1 and 0 as scale and offset. d: how long a row is. */
static const char norm_by_batch[] =
    "AddV2(Mul(Reshape($f=FusedBatchNormV3(Reshape($x,Pack(#1,$r,$d,#1)),Fill($u,#1),"
    "Fill($w,#0),$y,$z),Shape($x)),%g),%b)";
static const char *const row_lengths[] = {
    "Prod(StridedSlice(Shape($x),#i,%k,#1),%p)",
    "Mul(#1,StridedSlice(Shape($x),#i,%k,#1))",
    "StridedSlice(Shape($x),#i,%k,#1)",
};

static void
one_input(struct rt_rewrite *w, int at, const struct elementwise *e, int x)
{
    struct rt_draft as = w->b->steps[at];
    struct od_post *post = rt_pass_alloc(w->b, sizeof(*post));
    *post = e->post;
    as.s.node.op = e->op;
    as.s.node.state = post;
    as.s.run = nn_run_post;
    rt_pass_become(w, at, &as, &x, 1);
}

static bool
keeps_dims(const struct rt_builder *b, int value)
{
    struct sm_attr a;
    const struct rt_draft *d = &b->steps[b->values[value].step];
    return sm_node_attr(&d->g->sm, "keep_dims", &a) && a.kind == SM_ATTR_B && a.i;
}

/* Both means over the same single axis. */
static bool
one_axis(const struct rt_builder *b, const struct rt_match *m, int64_t *axis)
{
    const struct rt_tensor *k[2] = { rt_value_const(b, m->v['a' - 'a']),
                                     rt_value_const(b, m->v['c' - 'a']) };
    for (int i = 0; i < 2; i++) {
        if ((k[i]->dtype != SM_INT32 && k[i]->dtype != SM_INT64) ||
            k[i]->n_elems != 1 || (i > 0 && rt_int_at(k[i], 0) != *axis))
            return false;
        *axis = rt_int_at(k[i], 0);
    }
    return true;
}

/* One number for each element of the last dimension. */
static bool
is_row(const struct rt_tensor *t)
{
    return t->dtype == SM_FLOAT && t->rank > 0 && t->n_elems > 1 &&
           t->n_elems == t->dims[t->rank - 1];
}

/* x, g and b of the match. */
static bool
become_norm(struct rt_rewrite *w, int at, const struct rt_match *m,
            struct nn_layer_norm s)
{
    struct rt_draft as = w->b->steps[at];
    struct nn_layer_norm *state = rt_pass_alloc(w->b, sizeof(*state));
    int in[3] = { m->v['x' - 'a'], m->v['g' - 'a'], m->v['b' - 'a'] };
    const struct rt_tensor *g = rt_value_const(w->b, in[1]),
                           *o = rt_value_const(w->b, in[2]);
    if (!is_row(g) || !is_row(o) || g->n_elems != o->n_elems)
        return false;
    *state = s;
    as.s.node.op = "_LayerNorm";
    as.s.node.state = state;
    as.s.run = nn_run_layer_norm;
    rt_pass_become(w, at, &as, in, 3);
    return true;
}

static bool
by_batch_norm(struct rt_rewrite *w, int at)
{
    struct rt_builder *b = w->b;
    struct rt_match m, d;
    if (!rt_match(b, b->steps[at].first_value, norm_by_batch, &m))
        return false;
    const struct nn_norm *norm = b->steps[b->values[m.v['f' - 'a']].step].s.node.state;
    if (!norm->training || !norm->channels_first)
        return false;
    for (size_t i = 0; i < sizeof(row_lengths) / sizeof(row_lengths[0]); i++)
        if (rt_match(b, m.v['d' - 'a'], row_lengths[i], &d) &&
            d.v['x' - 'a'] == m.v['x' - 'a'] && d.f['i' - 'a'] >= 0 &&
            d.f['i' - 'a'] < SM_MAX_RANK)
            return become_norm(w, at, &m,
                               (struct nn_layer_norm){ .axis = -1,
                                                       .rank = (int)d.f['i' - 'a'] + 1,
                                                       .epsilon = norm->epsilon });
    return false;
}

static bool
layer_norm(struct rt_rewrite *w, int at)
{
    struct rt_builder *b = w->b;
    struct rt_match m;
    struct nn_layer_norm s = { .axis = 0 };
    for (size_t i = 0; i < sizeof(layer_norms) / sizeof(layer_norms[0]); i++) {
        if (!rt_match(b, b->steps[at].first_value, layer_norms[i], &m) ||
            !one_axis(b, &m, &s.axis) || !keeps_dims(b, m.v['m' - 'a']) ||
            !keeps_dims(b, m.v['v' - 'a']))
            continue;
        s.epsilon = m.f['e' - 'a'];
        if (become_norm(w, at, &m, s))
            return true;
    }
    return by_batch_norm(w, at);
}

void
rt_pass_pattern(struct rt_rewrite *w)
{
    struct rt_builder *b = w->b;
    struct rt_match m;
    for (int at = 0; at < b->n_steps; at++) {
        struct rt_draft *d = &b->steps[at];
        bool is_mul = rt_is_op(d, "Mul"), done = false;
        if (w->needed[at] && rt_draft_is_float(d, "T") && rt_pass_attention(w, at))
            continue;
        if (!w->needed[at] || (!is_mul && !rt_is_op(d, "AddV2")) ||
            !rt_draft_is_float(d, "T"))
            continue;
        for (size_t i = 0;
             is_mul && !done && i < sizeof(elementwise) / sizeof(elementwise[0]); i++) {
            done = rt_match(b, d->first_value, elementwise[i].pattern, &m);
            if (done)
                one_input(w, at, &elementwise[i], m.v['x' - 'a']);
        }
        if (!is_mul)
            layer_norm(w, at);
    }
}
