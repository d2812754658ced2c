/* SPDX-License-Identifier: Apache-2.0 */
/* TF1 control flow: Switch, Merge, Enter, Exit, NextIteration. Values travel as tokens,
 * live or dead; a node fires when all its tokens are there (Merge: one live one, or all
 * dead ones), and a node with a dead token passes on dead ones.
 *
 * A loop is a frame. Which frame a node belongs to is known from the graph: Enter leads
 * into a child frame, Exit out of it. An activation of a frame runs one iteration at a
 * time: NextIteration's tokens are held back until nothing else moves; then they start
 * the next iteration, or, when all are dead, the frame ends and its Exits that never
 * saw a live token send dead ones. */
#include "runtime/rt_flow_int.h"
#include "runtime/rt_ops.h"

#include <stdlib.h>

int
rt_run_flow(struct rt_ctx *ctx, struct err *err)
{
    return rt_fail(ctx, err, ERR_UNSUPPORTED, "stands outside of control flow");
}

struct wait {
    int left;          /* tokens still to come */
    int n_dead;        /* MERGE: dead data tokens */
    int live;          /* MERGE: 1 + the input that was live, 0 none */
    bool dead, queued; /* some token was dead; fires or has fired */
};

struct token { /* for the next iteration */
    struct flow_edge e;
    struct rt_tensor t;
};

/* An activation of a frame. */
struct act {
    int frame;
    struct act *parent;
    struct act *child, *sibling; /* activations within this iteration */
    struct wait *wait;
    struct rt_tensor *in;
    int outstanding; /* queued nodes and child activations of this iteration */
    int enters_left;
    struct token *next, *always; /* held back; of constant Enters */
    int n_next, cap_next, n_always, cap_always;
    bool *exit_sent;
};

struct ready {
    struct act *act;
    int step;
};

struct flow {
    struct rt_run *r;
    struct rt_plan *p;
    const struct rt_flow_plan *f;
    struct rt_tensor *args, *results;
    struct ready *queue;
    int n_queue, cap_queue;
    const struct rt_tensor **in;
    struct rt_tensor *deref, *out;
};

static void
start_iteration(struct flow *w, struct act *a)
{
    const struct flow_frame *fr = &w->f->frames[a->frame];
    for (int i = 0; i < fr->n_inputs; i++)
        rt_tensor_unref(&a->in[i]);
    memset(a->wait, 0, (size_t)fr->n_steps * sizeof(a->wait[0]));
    for (int i = 0; i < fr->n_steps; i++)
        a->wait[i].left = w->f->nodes[fr->steps[i]].n_wait;
}

static struct act *
act_new(struct flow *w, int frame, struct act *parent)
{
    const struct flow_frame *fr = &w->f->frames[frame];
    struct act *a = xcalloc(1, sizeof(*a));
    a->frame = frame;
    a->parent = parent;
    a->wait = xcalloc((size_t)fr->n_steps + 1, sizeof(a->wait[0]));
    a->in = xcalloc((size_t)fr->n_inputs + 1, sizeof(a->in[0]));
    a->exit_sent = xcalloc((size_t)fr->n_exits + 1, sizeof(bool));
    a->enters_left = fr->n_enters;
    if (parent) {
        a->sibling = parent->child;
        parent->child = a;
        parent->outstanding++;
    }
    start_iteration(w, a);
    return a;
}

static void
act_free(struct flow *w, struct act *a)
{
    while (a->child) {
        struct act *c = a->child;
        a->child = c->sibling;
        act_free(w, c);
    }
    for (int i = 0; i < w->f->frames[a->frame].n_inputs; i++)
        rt_tensor_unref(&a->in[i]);
    for (int i = 0; i < a->n_next; i++)
        rt_tensor_unref(&a->next[i].t);
    for (int i = 0; i < a->n_always; i++)
        rt_tensor_unref(&a->always[i].t);
    free(a->next);
    free(a->always);
    free(a->wait);
    free(a->in);
    free(a->exit_sent);
    free(a);
}

/* A token at a node: t NULL is a dead one. */
static void
deliver(struct flow *w, struct act *a, struct flow_edge e, const struct rt_tensor *t)
{
    if (e.step == FLOW_TO_RESULT) {
        if (t)
            rt_tensor_ref(&w->results[e.input], t);
        return;
    }
    const struct flow_node *n = &w->f->nodes[e.step];
    struct wait *wt = &a->wait[n->local];
    if (e.input == FLOW_TO_CONTROL) {
        wt->left--;
        wt->dead |= !t;
    } else if (n->kind == FLOW_MERGE) {
        wt->n_dead += !t;
        if (t && !wt->live) {
            wt->live = e.input + 1;
            rt_tensor_ref(&a->in[n->first_in], t);
        }
    } else {
        wt->left--;
        wt->dead |= !t;
        if (t)
            rt_tensor_ref(&a->in[n->first_in + e.input], t);
    }
    bool ready = wt->left <= 0 && !wt->queued;
    if (n->kind == FLOW_MERGE)
        ready = ready && (wt->live || wt->n_dead == n->n_data);
    if (!ready)
        return;
    wt->queued = true;
    a->outstanding++;
    RT_GROW(w->queue, w->n_queue, w->cap_queue);
    w->queue[w->n_queue++] = (struct ready){ a, e.step };
}

static void
hold(struct token **v, int *n, int *cap, struct flow_edge e, const struct rt_tensor *t)
{
    RT_GROW(*v, *n, *cap);
    (*v)[*n].e = e;
    rt_tensor_ref(&(*v)[(*n)++].t, t);
}

/* Output i of a node (n_out: its control edges) to where its tokens go. */
static void
send(struct flow *w, struct act *a, int step, int i, const struct rt_tensor *t)
{
    const struct flow_node *n = &w->f->nodes[step];
    for (int j = n->edge_at[i]; j < n->edge_at[i + 1]; j++) {
        struct flow_edge e = n->edges[j];
        if (n->kind == FLOW_NEXT && t)
            hold(&a->next, &a->n_next, &a->cap_next, e, t);
        else if (n->kind != FLOW_NEXT)
            deliver(w, a, e, t);
    }
}

static struct act *
child_act(struct flow *w, struct act *a, int frame)
{
    for (struct act *c = a->child; c; c = c->sibling)
        if (c->frame == frame)
            return c;
    return act_new(w, frame, a);
}

static void
unlink_child(struct act *parent, struct act *a)
{
    struct act **at = &parent->child;
    while (*at != a)
        at = &(*at)->sibling;
    *at = a->sibling;
}

/* When nothing moves any more: the next iteration, or the end. */
static int
settle(struct flow *w, struct act *a, struct err *err)
{
    while (a->parent && a->outstanding == 0 && a->enters_left == 0) {
        const struct flow_frame *fr = &w->f->frames[a->frame];
        if (a->n_next > 0) {
            struct token *next = a->next;
            int n = a->n_next;
            a->next = NULL;
            a->n_next = a->cap_next = 0;
            int rc = rt_run_turn(w->r, &w->p->steps[fr->enter].node, err);
            if (rc == 0) {
                start_iteration(w, a);
                for (int i = 0; i < a->n_always; i++)
                    deliver(w, a, a->always[i].e, &a->always[i].t);
            }
            for (int i = 0; i < n; i++) {
                if (rc == 0)
                    deliver(w, a, next[i].e, &next[i].t);
                rt_tensor_unref(&next[i].t);
            }
            free(next);
            if (rc < 0)
                return rc;
            continue;
        }
        struct act *parent = a->parent;
        for (int i = 0; i < fr->n_exits; i++) {
            int n_out = w->p->steps[fr->exits[i]].node.n_out;
            for (int j = 0; j <= n_out && !a->exit_sent[i]; j++)
                send(w, parent, fr->exits[i], j, NULL);
        }
        unlink_child(parent, a);
        act_free(w, a);
        parent->outstanding--;
        a = parent;
    }
    return 0;
}

static void
send_all(struct flow *w, struct act *a, int step, const struct rt_tensor *out,
         bool dead)
{
    int n_out = w->p->steps[step].node.n_out;
    static const struct rt_tensor signal = { 0 }; /* a control token has no value */
    for (int i = 0; i < n_out; i++)
        send(w, a, step, i, dead || !out[i].buf ? NULL : &out[i]);
    send(w, a, step, n_out, dead ? NULL : &signal);
}

static int
fire_enter(struct flow *w, struct act *a, int step, const struct rt_tensor *t,
           struct err *err)
{
    const struct flow_node *n = &w->f->nodes[step];
    struct act *c = child_act(w, a, n->child);
    static const struct rt_tensor signal = { 0 };
    for (int j = n->edge_at[0]; j < n->edge_at[2]; j++) {
        bool control = j >= n->edge_at[1];
        if (n->constant && t)
            hold(&c->always, &c->n_always, &c->cap_always, n->edges[j],
                 control ? &signal : t);
        deliver(w, c, n->edges[j], !t ? NULL : control ? &signal : t);
    }
    c->enters_left--;
    return settle(w, c, err);
}

static void
fire_exit(struct flow *w, struct act *a, int step, const struct rt_tensor *t)
{
    const struct flow_frame *fr = &w->f->frames[a->frame];
    if (!t)
        return; /* perhaps later */
    for (int i = 0; i < fr->n_exits; i++)
        if (fr->exits[i] == step)
            a->exit_sent[i] = true;
    send_all(w, a->parent, step, t, false);
}

static int
fire_merge(struct flow *w, struct act *a, int step, const struct wait *wt,
           struct err *err)
{
    struct rt_tensor out[2] = { 0 };
    if (wt->live) {
        const struct flow_node *n = &w->f->nodes[step];
        if (rt_tensor_make(&out[1], &w->r->session->mem, SM_INT32, 0, NULL, err) < 0)
            return -(int)err->code;
        *(int32_t *)out[1].data = wt->live - 1;
        rt_tensor_ref(&out[0], &a->in[n->first_in]);
    }
    send_all(w, a, step, out, !wt->live);
    rt_tensor_unref(&out[0]);
    rt_tensor_unref(&out[1]);
    return 0;
}

static int
fire_switch(struct flow *w, struct act *a, int step, struct err *err)
{
    const struct rt_step *s = &w->p->steps[step];
    const struct rt_tensor *pred = w->in[1];
    struct rt_tensor out[2] = { 0 };
    if (pred->dtype != SM_BOOL || pred->rank != 0)
        return err_set(err, ERR_FAILED,
                       "node '%s' (%s): the predicate must be a scalar bool",
                       s->node.name, s->node.op);
    out[*(const uint8_t *)pred->data ? 1 : 0] = *w->in[0]; /* lent */
    send_all(w, a, step, out, false);
    return 0;
}

/* A value where a TF1 reference may have come; *kept holds it. */
static int
plain_value(struct flow *w, const struct rt_step *s, struct rt_tensor *kept,
            struct err *err)
{
    if (!s->reads_ref || w->in[0]->dtype <= SM_REF)
        return 0;
    if (rt_ref_read(&s->node, w->in[0], kept, err) < 0)
        return -(int)err->code;
    w->in[0] = kept;
    return 0;
}

static int
fire_flow(struct flow *w, struct act *a, int step, struct err *err)
{
    const struct flow_node *n = &w->f->nodes[step];
    const struct rt_step *s = &w->p->steps[step];
    struct rt_tensor kept = { 0 };
    int rc = plain_value(w, s, &kept, err);
    if (rc == 0 && n->kind == FLOW_SWITCH)
        rc = fire_switch(w, a, step, err);
    else if (rc == 0 && n->kind == FLOW_ENTER)
        rc = fire_enter(w, a, step, w->in[0], err);
    else if (rc == 0 && n->kind == FLOW_EXIT)
        fire_exit(w, a, step, w->in[0]);
    else if (rc == 0)
        send_all(w, a, step, w->in[0], false);
    rt_tensor_unref(&kept);
    return rc;
}

static int
fire_normal(struct flow *w, struct act *a, int step, struct err *err)
{
    const struct rt_step *s = &w->p->steps[step];
    if (rt_run_poll(w->r, &s->node, err) < 0 ||
        rt_step_run(w->r, s, w->in, w->deref, w->out, err) < 0)
        return -(int)err->code;
    send_all(w, a, step, w->out, false);
    for (int i = 0; i < s->node.n_out; i++)
        rt_tensor_unref(&w->out[i]);
    return 0;
}

static int
fire(struct flow *w, struct act *a, int step, struct err *err)
{
    const struct flow_node *n = &w->f->nodes[step];
    const struct rt_step *s = &w->p->steps[step];
    const struct wait *wt = &a->wait[n->local];
    if (n->kind == FLOW_MERGE)
        return fire_merge(w, a, step, wt, err);
    if (wt->dead) {
        if (n->kind == FLOW_ENTER)
            return fire_enter(w, a, step, NULL, err);
        if (n->kind != FLOW_EXIT)
            send_all(w, a, step, NULL, true);
        return 0;
    }
    for (int i = 0; i < s->node.n_in; i++)
        w->in[i] = s->in[i] == FLOW_IN_TOKEN ? &a->in[n->first_in + i]
                   : s->in[i] >= 0           ? &w->args[s->in[i]]
                                             : &w->p->consts[-1 - s->in[i]];
    return n->kind == FLOW_NORMAL ? fire_normal(w, a, step, err)
                                  : fire_flow(w, a, step, err);
}

static int
run_all(struct flow *w, struct act *root, struct err *err)
{
    for (int i = 0; i < w->f->n_nodes; i++) {
        const struct flow_node *n = &w->f->nodes[i];
        if (n->n_wait > 0 || n->n_data > 0)
            continue;
        root->wait[n->local].queued = true;
        root->outstanding++;
        RT_GROW(w->queue, w->n_queue, w->cap_queue);
        w->queue[w->n_queue++] = (struct ready){ root, i };
    }
    while (w->n_queue > 0) {
        struct ready next = w->queue[--w->n_queue];
        if (fire(w, next.act, next.step, err) < 0)
            return -(int)err->code;
        next.act->outstanding--;
        if (settle(w, next.act, err) < 0)
            return -(int)err->code;
    }
    for (int i = 0; i < w->p->n_outputs; i++) {
        int o = w->p->outputs[i];
        if (o != FLOW_IN_TOKEN)
            rt_tensor_ref(&w->results[i], o >= 0 ? &w->args[o] : &w->p->consts[-1 - o]);
        else if (!w->results[i].buf)
            return err_set(err, ERR_FAILED,
                           "output %d has no value: it lies on a branch "
                           "that was not taken",
                           i);
    }
    return 0;
}

int
rt_flow_run(struct rt_run *r, struct rt_plan *p, struct rt_tensor *args,
            struct rt_tensor *outs, struct err *err)
{
    struct flow w = { .r = r, .p = p, .f = p->flow, .args = args, .results = outs };
    w.in = xcalloc((size_t)p->max_in + 1, sizeof(w.in[0]));
    w.deref = xcalloc((size_t)p->max_in + 1, sizeof(w.deref[0]));
    w.out = xcalloc((size_t)p->max_out + 1, sizeof(w.out[0]));
    struct act *root = act_new(&w, 0, NULL);
    int rc = run_all(&w, root, err);
    for (int i = 0; i < p->n_outputs && rc < 0; i++)
        rt_tensor_unref(&outs[i]);
    act_free(&w, root);
    free(w.queue);
    free(w.in);
    free(w.deref);
    free(w.out);
    return rc;
}
