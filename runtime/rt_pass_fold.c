/* SPDX-License-Identifier: Apache-2.0 */
/* Variables that nobody writes are constants, and so is what is made of constants
 * alone. Whether somebody writes is not proved from the graph: a plan that writes
 * variables freezes none itself, and whoever writes a frozen one later makes the plans
 * that hold it be made again (rt_var_written, rt_plan_holds); such a variable is never
 * frozen twice. Functions' plans are shared by many callers, so only a root's plan
 * freezes. */
#include "runtime/rt_pass_int.h"

static struct rt_var *
var_of(const struct rt_builder *b, int value)
{
    const struct rt_tensor *t = rt_value_const(b, value);
    if (!t || t->n_elems != 1 || (t->dtype != SM_RESOURCE && t->dtype <= SM_REF))
        return NULL;
    struct rt_obj *o = *(struct rt_obj *const *)t->data;
    return o && o->type == &rt_var_type.obj ? (struct rt_var *)o : NULL;
}

/* A constant that is v's value; -1: not to be had. */
static int
freeze(struct rt_builder *b, struct rt_var *v)
{
    struct rt_tensor t;
    if (!v || !rt_var_freeze(v, &t))
        return -1;
    b->plan->frozen = true;
    return rt_new_const(b, &t);
}

static bool
freeze_read(struct rt_builder *b, struct rt_draft *d)
{
    struct rt_var *v = var_of(b, d->in[0]);
    if (!v || v->dtype != *(const int *)d->s.node.state)
        return false;
    int k = freeze(b, v);
    if (k >= 0)
        b->values[d->first_value].konst = k;
    return k >= 0;
}

/* Inputs that are TF1 references to be read first. */
static void
freeze_refs(struct rt_builder *b, struct rt_draft *d)
{
    bool left = false;
    for (int i = 0; i < d->s.node.n_in; i++) {
        if (!b->values[d->in[i]].is_ref || d->s.check[i] == '&')
            continue;
        int k = freeze(b, var_of(b, d->in[i]));
        if (k >= 0)
            d->in[i] = rt_new_value(b, k, -1);
        left |= k < 0;
    }
    d->s.reads_ref = left;
}

void
rt_pass_fold(struct rt_rewrite *w)
{
    struct rt_builder *b = w->b;
    bool freezes = !b->args->func && !b->plan->writes && !b->s->loading;
    b->plan->epoch = __atomic_load_n(&b->s->epoch, __ATOMIC_ACQUIRE);
    for (int i = 0; i < b->n_steps; i++) {
        struct rt_draft *d = &b->steps[i];
        if (!w->needed[i])
            continue;
        bool done = false;
        if (freezes && rt_is_op(d, "ReadVariableOp"))
            done = freeze_read(b, d);
        if (freezes && d->s.reads_ref)
            freeze_refs(b, d);
        done = done || rt_fold_draft(b, d);
        if (done)
            d->keep = false;
        w->n_fired += done;
    }
}
