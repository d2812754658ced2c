/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the frame of each node of a graph with TF1 control flow, and lists its edges.
 */
#include "runtime/rt_flow_int.h"

#include <stdlib.h>

static enum flow_kind
kind_of(const char *op)
{
    if (strncmp(op, "Ref", 3) == 0)
        op += 3;
    return strcmp(op, "Switch") == 0          ? FLOW_SWITCH
           : strcmp(op, "Merge") == 0         ? FLOW_MERGE
           : strcmp(op, "Enter") == 0         ? FLOW_ENTER
           : strcmp(op, "Exit") == 0          ? FLOW_EXIT
           : strcmp(op, "NextIteration") == 0 ? FLOW_NEXT
           : strcmp(op, "LoopCond") == 0      ? FLOW_LOOPCOND
                                              : FLOW_NORMAL;
}

void
rt_flow_free(struct rt_flow_plan *f)
{
    if (!f)
        return;
    for (int i = 0; i < f->n_nodes; i++) {
        free(f->nodes[i].edge_at);
        free(f->nodes[i].edges);
    }
    for (int i = 0; i < f->n_frames; i++) {
        free(f->frames[i].steps);
        free(f->frames[i].exits);
    }
    free(f->nodes);
    free(f->frames);
    free(f);
}

static int
child_frame(struct rt_flow_plan *f, int parent, const char *name)
{
    for (int i = 1; i < f->n_frames; i++)
        if (f->frames[i].parent == parent && strcmp(f->frames[i].name, name) == 0)
            return i;
    f->frames = xreallocarray(f->frames, (size_t)f->n_frames + 1, sizeof(f->frames[0]));
    f->frames[f->n_frames] = (struct flow_frame){ .name = name, .parent = parent };
    return f->n_frames++;
}

/* The frame that tokens of a node arrive in. */
static int
out_frame(const struct rt_flow_plan *f, const struct flow_node *n)
{
    return n->kind == FLOW_ENTER  ? n->child
           : n->kind == FLOW_EXIT ? f->frames[n->frame].parent
                                  : n->frame;
}

static int
join_frame(struct rt_builder *b, struct rt_flow_plan *f, int step, int from, int *frame,
           struct err *err)
{
    int of = out_frame(f, &f->nodes[from]);
    if (*frame >= 0 && *frame != of)
        return err_set(err, ERR_CORRUPT,
                       "node '%s' (%s): its inputs come from different "
                       "loops",
                       b->steps[step].s.node.name, b->steps[step].s.node.op);
    *frame = of;
    return 0;
}

static void
list_add(int **v, int *n, int step)
{
    if ((*n & (*n - 1)) == 0) /* full at each power of two */
        *v = xreallocarray(*v, *n ? (size_t)*n * 2 : 1, sizeof(int));
    (*v)[(*n)++] = step;
}

static int
place_node(struct rt_builder *b, struct rt_flow_plan *f, int step, struct err *err)
{
    struct rt_draft *d = &b->steps[step];
    struct flow_node *n = &f->nodes[step];
    const char *frame_name = "";
    int frame = -1;
    n->kind = kind_of(d->s.node.op);
    for (int i = 0; i < d->s.node.n_in; i++) {
        int from = d->in[i] < 0 ? -1 : b->values[d->in[i]].step;
        if (from < 0 && n->kind == FLOW_MERGE)
            return err_set(err, ERR_CORRUPT,
                           "node '%s' (Merge): input %d is a constant", d->s.node.name,
                           i);
        n->n_data += from >= 0;
        /* What comes round a loop is of the same frame as the rest; it is not placed
         * yet. */
        if (from >= 0 && from < step && join_frame(b, f, step, from, &frame, err) < 0)
            return -(int)err->code;
    }
    for (int i = 0; i < d->n_ctrl; i++)
        if (join_frame(b, f, step, d->ctrl[i], &frame, err) < 0)
            return -(int)err->code;
    n->frame = frame < 0 ? 0 : frame;
    n->n_wait = d->n_ctrl + (n->kind == FLOW_MERGE ? 0 : n->n_data);
    if (n->kind == FLOW_EXIT && f->frames[n->frame].parent < 0)
        return err_set(err, ERR_CORRUPT, "node '%s' (Exit) stands outside of a loop",
                       d->s.node.name);
    if (n->kind == FLOW_ENTER) {
        struct rt_prep p = {
            .node = &d->s.node, .err = err, .mem = &b->plan->mem, .sm = &d->g->sm
        };
        frame_name = rt_attr_str(&p, "frame_name", NULL);
        n->constant = rt_attr_bool(&p, "is_constant", false);
        if (err->code != ERR_OK)
            return -(int)err->code;
        n->child = child_frame(f, n->frame, frame_name);
        f->frames[n->child].n_enters++;
        f->frames[n->child].enter = step;
    }
    struct flow_frame *fr = &f->frames[n->frame];
    n->local = fr->n_steps;
    list_add(&fr->steps, &fr->n_steps, step);
    n->first_in = fr->n_inputs;
    fr->n_inputs += n->kind == FLOW_MERGE ? 1 : d->s.node.n_in;
    if (n->kind == FLOW_EXIT)
        list_add(&fr->exits, &fr->n_exits, step);
    return 0;
}

/* Edges are listed by where they come from: counted, placed, filled. */
static void
each_edge(struct rt_builder *b,
          void (*fn)(void *arg, int from, int out, struct flow_edge e), void *arg)
{
    for (int i = 0; i < b->n_steps; i++) {
        struct rt_draft *d = &b->steps[i];
        for (int j = 0; j < d->s.node.n_in; j++) {
            const struct rt_value *v = &b->values[d->in[j]];
            if (v->step >= 0)
                fn(arg, v->step, d->in[j] - b->steps[v->step].first_value,
                   (struct flow_edge){ i, j });
        }
        for (int j = 0; j < d->n_ctrl; j++)
            fn(arg, d->ctrl[j], b->steps[d->ctrl[j]].s.node.n_out,
               (struct flow_edge){ i, FLOW_TO_CONTROL });
    }
    for (int i = 0; i < b->plan->n_outputs; i++) {
        const struct rt_value *v = &b->values[b->results[i]];
        if (v->step >= 0)
            fn(arg, v->step, b->results[i] - b->steps[v->step].first_value,
               (struct flow_edge){ FLOW_TO_RESULT, i });
    }
}

static void
count_edge(void *arg, int from, int out, struct flow_edge e)
{
    struct rt_flow_plan *f = arg;
    (void)e;
    f->nodes[from].edge_at[out + 1]++;
}

static void
fill_edge(void *arg, int from, int out, struct flow_edge e)
{
    struct rt_flow_plan *f = arg;
    f->nodes[from].edges[f->nodes[from].edge_at[out]++] = e;
}

static void
list_edges(struct rt_builder *b, struct rt_flow_plan *f)
{
    for (int i = 0; i < b->n_steps; i++)
        f->nodes[i].edge_at = xcalloc((size_t)b->steps[i].s.node.n_out + 2,
                                      sizeof(f->nodes[i].edge_at[0]));
    each_edge(b, count_edge, f);
    for (int i = 0; i < b->n_steps; i++) {
        int n = b->steps[i].s.node.n_out + 2, *at = f->nodes[i].edge_at;
        for (int j = 1; j < n; j++)
            at[j] += at[j - 1];
        f->nodes[i].edges =
            xcalloc((size_t)at[n - 1] + 1, sizeof(f->nodes[i].edges[0]));
    }
    each_edge(b, fill_edge, f);
    /* Filling moved each beginning to its end, which is the next one's beginning. */
    for (int i = 0; i < b->n_steps; i++) {
        int n = b->steps[i].s.node.n_out + 2, *at = f->nodes[i].edge_at;
        memmove(at + 1, at, (size_t)(n - 1) * sizeof(at[0]));
        at[0] = 0;
    }
}

static int
input_code(const struct rt_builder *b, int value)
{
    const struct rt_value *v = &b->values[value];
    return v->konst >= 0 ? -1 - v->konst : v->step >= 0 ? FLOW_IN_TOKEN : value;
}

int
rt_flow_make(struct rt_builder *b, struct err *err)
{
    struct rt_plan *p = b->plan;
    if (b->missing->n > 0)
        return 0;
    struct rt_flow_plan *f = p->flow = xcalloc(1, sizeof(*f));
    struct rt_prep mem = { .mem = &p->mem };
    f->nodes = xcalloc((size_t)b->n_steps + 1, sizeof(f->nodes[0]));
    f->frames = xcalloc(1, sizeof(f->frames[0]));
    f->frames[0] = (struct flow_frame){ .name = "", .parent = -1 };
    f->n_frames = 1;
    f->n_nodes = b->n_steps;
    for (int i = 0; i < b->n_steps; i++)
        if (place_node(b, f, i, err) < 0)
            return -(int)err->code;
    list_edges(b, f);
    p->steps = rt_prep_alloc(&mem, ((size_t)b->n_steps + 1) * sizeof(p->steps[0]));
    p->n_steps = b->n_steps;
    for (int i = 0; i < b->n_steps; i++) {
        struct rt_draft *d = &b->steps[i];
        int n_in = d->s.node.n_in;
        int *in = rt_prep_alloc(&mem, ((size_t)n_in + 1) * sizeof(in[0]));
        for (int j = 0; j < n_in; j++)
            in[j] = input_code(b, d->in[j]);
        d->s.in = in;
        p->steps[i] = d->s;
        p->max_in = n_in > p->max_in ? n_in : p->max_in;
        p->max_out = d->s.node.n_out > p->max_out ? d->s.node.n_out : p->max_out;
    }
    int *outputs = rt_prep_alloc(&mem, ((size_t)p->n_outputs + 1) * sizeof(outputs[0]));
    for (int i = 0; i < p->n_outputs; i++)
        outputs[i] = input_code(b, b->results[i]);
    p->outputs = outputs;
    p->consts = b->consts; /* all of them */
    p->n_consts = b->n_consts;
    b->consts = NULL;
    b->n_consts = 0;
    p->strings = b->fold.strings;
    b->fold.strings = (struct rt_arena){ 0 };
    return 0;
}
