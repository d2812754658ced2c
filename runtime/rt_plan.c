/* SPDX-License-Identifier: Apache-2.0 */
/* Walks a graph from what is wanted to what it needs, depth first, and hands each node
 * to rt_emit.c when everything it needs has been handed over. So steps come in an order
 * that keeps data and control edges, and what nobody needs is never looked at.
 *
 * Calls are inlined: a call node gets an instance of its function's body; arguments and
 * results are only other names. What a call does besides its results (its effects) is
 * walked when the call is first reached, after the call's control inputs.
 *
 * A control edge to a node without effect asks nothing of that node itself, only of
 * what lies before it (walk_past), unless the node reads a TF1 reference: then it is
 * the moment of reading that counts.
 *
 * The walk keeps its own stack: graphs are as deep as their authors like. */
#include "runtime/rt_ops.h"
#include "runtime/rt_plan_int.h"

#include <stdlib.h>

enum { VISITING = 1, DONE = 2, WALKED = 4, FED = 8, SEEN = 16 };
enum {
    INLINE_DEPTH_MAX = 100,
    INLINE_NODES_MAX = 1 << 22,
    HOPS_MAX = 1 << 20,
    PLAN_DEPTH_MAX = 200
};

enum how { VISIT, CALL, WALK };

struct item {
    struct rt_inst *inst;
    int node;
    enum how how;
    int i;   /* what of it comes next */
    int *in; /* VISIT: values of the data inputs so far */
};

struct walk {
    struct rt_builder *b;
    struct item *stack;
    int n, cap;
    bool wants_flow; /* TF1 control flow was met: start again */
};

/* ---- instances ------------------------------------------------------------------- */

static struct rt_inst *
inst_new(struct rt_builder *b, struct rt_graph *g, struct rt_inst *parent, int call)
{
    struct rt_inst *in = xcalloc(1, sizeof(*in));
    size_t n = (size_t)g->n_nodes + 1;
    *in = (struct rt_inst){ .g = g,
                            .parent = parent,
                            .call = call,
                            .depth = parent ? parent->depth + 1 : 0,
                            .state = xcalloc(n, sizeof(in->state[0])),
                            .first_out = xcalloc(n, sizeof(in->first_out[0])),
                            .step = xcalloc(n, sizeof(in->step[0])),
                            .child = xcalloc(n, sizeof(in->child[0])),
                            .next = b->insts };
    b->insts = in;
    b->n_inst_nodes += n;
    return in;
}

static bool
is_call(const struct rt_gnode *n)
{
    return n->callee || strcmp(n->op, "PartitionedCall") == 0 ||
           strcmp(n->op, "StatefulPartitionedCall") == 0 ||
           strcmp(n->op, "BatchFunction") == 0; /* a batch of what one run has */
}

/* Makes the body of a call that can be inlined; others become steps. */
static int
open_call(struct rt_builder *b, struct rt_inst *inst, int node, struct err *err)
{
    struct rt_gnode *n = &inst->g->nodes[node];
    if (b->flow || inst->child[node] || !is_call(n))
        return 0;
    struct rt_func *f = rt_gnode_callee(inst->g, n);
    if (!f)
        return err_set(err, ERR_CORRUPT,
                       "node '%s' (%s): the function it calls is not in "
                       "the library",
                       n->name, n->op);
    if (rt_func_read(f, err) < 0)
        return -(int)err->code;
    if (n->n_in != f->n_args)
        return err_set(err, ERR_CORRUPT,
                       "node '%s' (%s): %d arguments for the %d of "
                       "function '%s'",
                       n->name, n->op, n->n_in, f->n_args, f->name);
    if (f->g.has_flow || inst->depth >= INLINE_DEPTH_MAX ||
        b->n_inst_nodes + (size_t)f->g.n_nodes > INLINE_NODES_MAX || b->args->func == f)
        return 0;
    for (struct rt_inst *up = inst; up; up = up->parent)
        if (up->g == &f->g)
            return 0;
    inst->child[node] = inst_new(b, &f->g, inst, node);
    return 0;
}

/* ---- the stack ------------------------------------------------------------------- */

static int
push(struct walk *w, struct rt_inst *inst, int node, enum how how, struct err *err)
{
    struct rt_gnode *n = &inst->g->nodes[node];
    if (how != WALK) {
        if (inst->state[node] & VISITING)
            return err_set(err, ERR_FAILED,
                           "the graph has a cycle through node '%s' (%s)", n->name,
                           n->op);
        inst->state[node] |= VISITING;
    } else {
        inst->state[node] |= WALKED;
    }
    RT_GROW(w->stack, w->n, w->cap);
    w->stack[w->n++] =
        (struct item){ .inst = inst,
                       .node = node,
                       .how = how,
                       .in = how == VISIT ? xcalloc((size_t)n->n_in + 1, sizeof(int))
                                          : NULL };
    return 0;
}

/* Reads a node when it is first reached. */
static int
reach(struct walk *w, struct rt_inst *inst, int node, struct err *err)
{
    if (inst->state[node] & SEEN)
        return 0;
    if (rt_gnode_link(inst->g, node, err) < 0)
        return -(int)err->code;
    inst->state[node] |= SEEN;
    inst->step[node] = -1;
    const struct rt_gnode *n = &inst->g->nodes[node];
    if (!w->b->flow && n->def && n->def->run == rt_run_flow)
        w->wants_flow = true;
    return open_call(w->b, inst, node, err);
}

static int
reach_pushed(struct walk *w, struct rt_inst *inst, int node, struct err *err)
{
    if (reach(w, inst, node, err) < 0)
        return -(int)err->code;
    return push(w, inst, node, inst->child[node] ? CALL : VISIT, err);
}

/* The value of `ref` as seen from `inst`: 1 and *val, or 0 when something was pushed
 * that has to be done first. */
static int
need_value(struct walk *w, struct rt_inst *inst, struct rt_gref ref, int *val,
           struct err *err)
{
    struct rt_builder *b = w->b;
    for (int hops = 0; hops < HOPS_MAX; hops++) {
        if (ref.node < 0) {
            int arg = -1 - ref.node;
            if (!inst->parent) {
                *val = arg;
                return 1;
            }
            ref = inst->parent->g->nodes[inst->call].in[arg];
            inst = inst->parent;
            continue;
        }
        if (inst->state[ref.node] & FED) {
            /* Of two inputs of the same name, the last counts, as in a feed_dict. */
            for (int i = b->args->n_feeds - 1; i >= 0; i--) {
                if (b->args->feeds[i].node == ref.node &&
                    b->args->feeds[i].out == ref.out) {
                    *val = i;
                    return 1;
                }
            }
        }
        if (!(inst->state[ref.node] & DONE))
            return reach_pushed(w, inst, ref.node, err);
        const struct rt_gnode *n = &inst->g->nodes[ref.node];
        struct rt_inst *child = inst->child[ref.node];
        int n_out = child ? child->g->func->n_rets : n->n_out;
        if (ref.out >= n_out)
            return err_set(err, ERR_CORRUPT,
                           "node '%s' (%s) has %d outputs; output %d is "
                           "asked for",
                           n->name, n->op, n_out, ref.out);
        if (!child) {
            *val = b->outs[inst->first_out[ref.node] + ref.out];
            return 1;
        }
        ref = child->g->func->rets[ref.out];
        inst = child;
    }
    return err_set(err, ERR_FAILED, "the graph has a cycle of calls");
}

static int
reads_ref(struct rt_graph *g, const struct rt_gnode *n, struct err *err)
{
    for (int i = 0; i < n->n_in; i++) {
        if (n->in[i].node < 0)
            continue;
        const struct rt_gnode *from = &g->nodes[n->in[i].node];
        if (rt_gnode_link(g, n->in[i].node, err) < 0)
            return -(int)err->code;
        if (from->def && (from->def->flags & RT_REF))
            return 1;
    }
    return 0;
}

/* The effect of a node: 1 done, 0 pushed. */
static int
need_done(struct walk *w, struct rt_inst *inst, int node, struct err *err)
{
    if (inst->state[node] & (DONE | WALKED))
        return 1;
    if (reach(w, inst, node, err) < 0)
        return -(int)err->code;
    const struct rt_gnode *n = &inst->g->nodes[node];
    enum how how = inst->child[node] ? CALL : VISIT;
    if (how == VISIT && !w->b->flow && n->def &&
        !(n->def->flags & (RT_STATEFUL | RT_REFUSED))) {
        int ref = reads_ref(inst->g, n, err);
        if (ref < 0)
            return ref;
        if (!ref)
            how = WALK;
    }
    return push(w, inst, node, how, err);
}

/* The effects before the nodes that make ref. An argument leads out to the call. */
static int
walk_ref(struct walk *w, struct rt_inst *inst, struct rt_gref ref, struct err *err)
{
    for (int hops = 0; hops < HOPS_MAX; hops++) {
        if (ref.node >= 0) {
            if (inst->state[ref.node] & FED)
                return 1;
            return need_done(w, inst, ref.node, err);
        }
        if (!inst->parent)
            return 1;
        ref = inst->parent->g->nodes[inst->call].in[-1 - ref.node];
        inst = inst->parent;
    }
    return 1;
}

/* ---- what a node needs ----------------------------------------------------------- */

/* In a loop of TF1 control flow, Merge gets a value from further down. */
static bool
comes_round(struct walk *w, struct rt_inst *inst, const struct rt_gnode *n, int i)
{
    if (!w->b->flow || n->in[i].node < 0 ||
        (strcmp(n->op, "Merge") != 0 && strcmp(n->op, "RefMerge") != 0))
        return false;
    struct str op = inst->g->nodes[n->in[i].node].sm.op;
    return str_is(op, "NextIteration") || str_is(op, "RefNextIteration");
}

static int
next_of_visit(struct walk *w, struct item *it, struct err *err)
{
    struct rt_builder *b = w->b;
    struct rt_inst *inst = it->inst;
    const struct rt_gnode *n = &inst->g->nodes[it->node];
    for (; it->i < n->n_in + n->n_ctrl; it->i++) {
        int rc, val = -1;
        if (it->i >= n->n_in) {
            rc = walk_ref(w, inst, n->in[it->i], err);
        } else if (comes_round(w, inst, n, it->i)) {
            b->late = xreallocarray(b->late, (size_t)b->n_late + 1, sizeof(b->late[0]));
            b->late[b->n_late++] = (struct rt_late){ inst, it->node, it->i };
            rc = 1;
        } else {
            rc = need_value(w, inst, n->in[it->i], &val, err);
        }
        if (rc <= 0)
            return rc;
        if (it->i < n->n_in)
            it->in[it->i] = val;
    }
    if (rt_emit(b, inst, it->node, it->in, err) < 0)
        return -(int)err->code;
    inst->state[it->node] = (uint8_t)((inst->state[it->node] & ~VISITING) | DONE);
    return 1;
}

static int
next_of_call(struct walk *w, struct item *it, struct err *err)
{
    struct rt_inst *inst = it->inst, *body = inst->child[it->node];
    const struct rt_gnode *n = &inst->g->nodes[it->node];
    const struct rt_func *f = body->g->func;
    for (; it->i < n->n_ctrl + f->n_effects; it->i++) {
        int rc = it->i < n->n_ctrl
                     ? walk_ref(w, inst, n->in[n->n_in + it->i], err)
                     : need_done(w, body, f->effects[it->i - n->n_ctrl], err);
        if (rc <= 0)
            return rc;
    }
    inst->state[it->node] = (uint8_t)((inst->state[it->node] & ~VISITING) | DONE);
    return 1;
}

static int
next_of_walk(struct walk *w, struct item *it, struct err *err)
{
    const struct rt_gnode *n = &it->inst->g->nodes[it->node];
    for (; it->i < n->n_in + n->n_ctrl; it->i++) {
        int rc = walk_ref(w, it->inst, n->in[it->i], err);
        if (rc <= 0)
            return rc;
    }
    return 1;
}

/* Works until the stack is empty. An item that waits for something stays where it is
 * and looks at the same input again later. */
static int
work(struct walk *w, struct err *err)
{
    while (w->n > 0) {
        struct item *it = &w->stack[w->n - 1];
        int rc = it->how == VISIT  ? next_of_visit(w, it, err)
                 : it->how == CALL ? next_of_call(w, it, err)
                                   : next_of_walk(w, it, err);
        if (rc < 0)
            return rc;
        if (w->wants_flow)
            return 0;
        if (rc == 1)
            free(w->stack[--w->n].in);
    }
    return 0;
}

static int
get_value(struct walk *w, struct rt_inst *root, struct rt_gref ref, int *val,
          struct err *err)
{
    int rc;
    while ((rc = need_value(w, root, ref, val, err)) == 0) {
        if (work(w, err) < 0)
            return -(int)err->code;
        if (w->wants_flow)
            return 0;
    }
    return rc < 0 ? rc : 0;
}

static int
get_done(struct walk *w, struct rt_inst *root, int node, struct err *err)
{
    int rc;
    while ((rc = need_done(w, root, node, err)) == 0) {
        if (work(w, err) < 0)
            return -(int)err->code;
        if (w->wants_flow)
            return 0;
    }
    return rc < 0 ? rc : 0;
}

/* ---- plans ----------------------------------------------------------------------- */

static int
walk_all(struct walk *w, struct err *err)
{
    struct rt_builder *b = w->b;
    const struct rt_plan_args *a = b->args;
    struct rt_graph *g =
        a->func ? (struct rt_graph *)(uintptr_t)&a->func->g : &b->s->model.main;
    const struct rt_gref *fetches = a->func ? a->func->rets : a->fetches;
    const int *targets = a->func ? a->func->effects : a->targets;
    int n_targets = a->func ? a->func->n_effects : a->n_targets;
    struct rt_inst *root = inst_new(b, g, NULL, -1);
    for (int i = 0; i < b->plan->n_inputs; i++)
        rt_new_value(b, -1, -1);
    for (int i = 0; i < a->n_feeds; i++)
        root->state[a->feeds[i].node] |= FED;
    /* Effects first: a function's results may be what its effects left behind, and then
     * control edges say so; where nothing says, both orders are right. */
    for (int i = 0; i < n_targets && !w->wants_flow; i++)
        if (get_done(w, root, targets[i], err) < 0)
            return -(int)err->code;
    b->results = xcalloc((size_t)b->plan->n_outputs + 1, sizeof(b->results[0]));
    for (int i = 0; i < b->plan->n_outputs && !w->wants_flow; i++)
        if (get_value(w, root, fetches[i], &b->results[i], err) < 0)
            return -(int)err->code;
    /* Finding these may add more of them. */
    for (int i = 0; i < b->n_late && !w->wants_flow; i++) {
        struct rt_late l = b->late[i];
        int val;
        if (get_value(w, l.inst, l.inst->g->nodes[l.node].in[l.input], &val, err) < 0)
            return -(int)err->code;
        if (l.inst->step[l.node] >= 0)
            b->steps[l.inst->step[l.node]].in[l.input] = val;
    }
    return 0;
}

static void
builder_release(struct rt_builder *b)
{
    while (b->insts) {
        struct rt_inst *i = b->insts;
        b->insts = i->next;
        free(i->state);
        free(i->first_out);
        free(i->step);
        free(i->child);
        free(i);
    }
    for (int i = 0; i < b->n_consts; i++)
        rt_tensor_unref(&b->consts[i]);
    for (int i = 0; i < b->n_steps; i++) {
        free(b->steps[i].in);
        free(b->steps[i].ctrl);
    }
    free(b->consts);
    free(b->steps);
    free(b->values);
    free(b->outs);
    free(b->results);
    free(b->late);
    rt_run_release(&b->fold);
}

/* One try: returns 1 when it has to be made again with TF1 control flow. */
static int
build(struct rt_plan *plan, struct rt_session *s, const struct rt_plan_args *a,
      struct rt_missing *missing, bool flow, struct err *err)
{
    struct rt_builder b = {
        .s = s, .plan = plan, .args = a, .missing = missing, .flow = flow
    };
    struct walk w = { .b = &b };
    rt_run_init(&b.fold, s);
    int rc = walk_all(&w, err);
    if (rc == 0 && w.wants_flow)
        rc = 1;
    if (rc == 0)
        rc = flow ? rt_flow_make(&b, err) : rt_emit_finish(&b, err);
    while (w.n > 0)
        free(w.stack[--w.n].in);
    free(w.stack);
    builder_release(&b);
    return rc;
}

static void
drop_all(struct rt_plan_mem *m)
{
    for (struct rt_drop *d = m->drops; d; d = d->next)
        d->drop(d->arg);
    m->drops = NULL;
    rt_arena_release(&m->arena);
}

static int
plan_into(struct rt_plan *p, struct rt_session *s, const struct rt_plan_args *a,
          struct rt_missing *missing, struct err *err)
{
    p->n_inputs = a->func ? a->func->n_args : a->n_feeds;
    p->n_outputs = a->func ? a->func->n_rets : a->n_fetches;
    bool flow = a->func && a->func->g.has_flow;
    int rc = build(p, s, a, missing, flow, err);
    if (rc == 1) {
        drop_all(&p->mem);
        rt_arena_release(&p->strings);
        rc = build(p, s, a, missing, true, err);
    }
    return rc < 0 ? rc : 0;
}

static struct rt_plan *
plan_new(struct rt_session *s)
{
    struct rt_plan *p = xcalloc(1, sizeof(*p));
    pthread_mutex_init(&p->lock, NULL);
    s->plans = xreallocarray(s->plans, (size_t)s->n_plans + 1, sizeof(s->plans[0]));
    s->plans[s->n_plans++] = p;
    return p;
}

int
rt_plan_make(struct rt_plan **out, struct rt_session *s, const struct rt_plan_args *a,
             struct rt_missing *missing, struct err *err)
{
    *out = plan_new(s);
    (*out)->what = a->what;
    return plan_into(*out, s, a, missing, err);
}

bool
rt_plan_holds(const struct rt_plan *p, const struct rt_session *s)
{
    return !p->frozen || p->epoch == __atomic_load_n(&s->epoch, __ATOMIC_ACQUIRE);
}

/* A function's plan is known before it is complete: it may call itself. */
int
rt_plan_function(struct rt_plan **out, struct rt_session *s, struct rt_func *f,
                 struct rt_missing *missing, struct err *err)
{
    if (!f->plan) {
        struct rt_missing own AUTO(rt_missing_release) = { .n = 0 };
        if (rt_func_read(f, err) < 0)
            return -(int)err->code;
        if (s->plan_depth >= PLAN_DEPTH_MAX)
            return err_set(err, ERR_LIMIT,
                           "function '%s': functions are nested deeper than "
                           "%d",
                           f->name, PLAN_DEPTH_MAX);
        f->plan = plan_new(s);
        f->plan->what = f->name;
        s->plan_depth++;
        struct rt_plan_args args = { .what = f->name, .func = f };
        int rc = plan_into(f->plan, s, &args, &own, err);
        s->plan_depth--;
        if (rc < 0) {
            f->plan = NULL; /* stays the session's */
            return rc;
        }
        if (own.n > 0)
            f->missing = xstrdup(buf_str(&own.lines));
    }
    *out = f->plan;
    rt_missing_add(missing, f->missing);
    return 0;
}

static void
frame_free(struct rt_frame *f)
{
    free(f->slots);
    free(f->out);
    free(f->in);
    free(f->deref);
    free(f);
}

void
rt_plan_free(struct rt_plan *p)
{
    if (!p)
        return;
    while (p->free_frames) {
        struct rt_frame *f = p->free_frames;
        p->free_frames = f->next;
        frame_free(f);
    }
    for (int i = 0; i < p->n_consts; i++)
        rt_tensor_unref(&p->consts[i]);
    free(p->consts);
    rt_flow_free(p->flow);
    drop_all(&p->mem);
    rt_arena_release(&p->strings);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
