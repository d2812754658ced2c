/* SPDX-License-Identifier: Apache-2.0 */
/* Dimensions that the signature leaves open and the graph does not: the input is
 * followed through ops that keep its last dimension to one that fixes it by the shape
 * of a weight. */
#include "validate/val_lint_int.h"

#include <string.h>

#define MAX_STEPS 24                /* ops from an input to the one that fixes it */
#define MAX_WORK (20 * 1000 * 1000) /* nodes looked at, all inputs together */
#define MAX_RANK SM_MAX_RANK

/* A tensor inside a body: a node's only output, or an argument. */
struct at {
    int body;
    struct str name;
};

/* ---- the shape of a weight ---- */

static bool
shape_attr(const struct sm_node *n, struct sm_shape *out)
{
    struct sm_attr a;
    struct err err = ERR_INIT;
    return sm_node_attr(n, "shape", &a) && a.kind == SM_ATTR_SHAPE &&
           sm_shape_parse(a.bytes, out, &err) >= 0 && !out->unknown_rank;
}

/* The number of an argument of a function; -1: no such. */
static int
argument(const struct scan_graph *g, int body, struct str name)
{
    struct str it = g->bodies[body].signature, arg;
    for (int n = 0; body && sm_pb_next_msg(&it, 2, &arg) > 0; n++)
        if (str_eq(sm_pb_bytes(arg, 1), name))
            return n;
    return -1;
}

bool
lint_is_plain_call(const struct sm_node *n, const struct scan_call *c)
{
    return !c->is_weak && (!c->attr.n || ((str_is(n->op, "PartitionedCall") ||
                                           str_is(n->op, "StatefulPartitionedCall")) &&
                                          str_is(c->attr, "f")));
}

/* NULL: none, or several. */
static const struct scan_call *
only_call(const struct scan_graph *g, int body)
{
    const struct scan_call *only = NULL;
    for (int i = 0; i < g->n_calls; i++)
        if (g->calls[i].callee == body) {
            if (only)
                return NULL;
            only = &g->calls[i];
        }
    return only;
}

bool
lint_weight_shape(struct scan_graph *g, int body, struct str input, const int *path,
                  int n_path, struct sm_shape *out)
{
    struct at at = { body, scan_input_node(input) };
    for (int step = 0; step < MAX_STEPS; step++) {
        int arg = argument(g, at.body, at.name);
        if (arg >= 0) {
            const struct scan_call *call =
                n_path ? &g->calls[path[--n_path]] : only_call(g, at.body);
            if (!call)
                return false;
            struct sm_node n = scan_node(g, call->node);
            if (!lint_is_plain_call(&n, call) || !scan_data_input(&n, arg, &input))
                return false;
            at = (struct at){ call->body, scan_input_node(input) };
            continue;
        }
        int i = scan_body_find(g, at.body, at.name);
        if (i < 0)
            return false;
        struct sm_node n = scan_node(g, i);
        if (str_is(n.op, "VarHandleOp") || str_is(n.op, "VariableV2") ||
            str_is(n.op, "Variable"))
            return shape_attr(&n, out);
        if (str_is(n.op, "Const")) {
            struct sm_attr a;
            struct err err = ERR_INIT;
            return sm_node_attr(&n, "value", &a) && a.kind == SM_ATTR_TENSOR &&
                   sm_shape_parse(sm_pb_bytes(a.bytes, 2), out, &err) >= 0;
        }
        if (!(str_is(n.op, "Identity") || str_is(n.op, "ReadVariableOp")) ||
            !scan_data_input(&n, 0, &input))
            return false;
        at.name = scan_input_node(input);
    }
    return false;
}

/* ---- what an op demands of the last dimension of its first input ---- */

static bool
flag(const struct sm_node *n, const char *name)
{
    struct sm_attr a;
    return sm_node_attr(n, name, &a) && a.i;
}

static bool
is_channels_last(const struct sm_node *n)
{
    struct sm_attr a;
    return !sm_node_attr(n, "data_format", &a) || str_is(a.bytes, "NHWC") ||
           str_is(a.bytes, "NDHWC");
}

/* -1: nothing. */
static int64_t
demand(struct scan_graph *g, int body, const struct sm_node *n, int rank)
{
    struct str input;
    struct sm_shape w;
    bool matmul = str_is(n->op, "MatMul"), conv = str_is(n->op, "Conv2D");
    bool depthwise = str_is(n->op, "DepthwiseConv2dNative");
    if (!(matmul && rank == 2 && !flag(n, "transpose_a")) &&
        !((conv || depthwise) && rank == 4 && is_channels_last(n)))
        return -1;
    if (!scan_data_input(n, 1, &input) ||
        !lint_weight_shape(g, body, input, NULL, 0, &w) || w.unknown_rank ||
        w.rank != rank)
        return -1;
    return w.dims[matmul ? (flag(n, "transpose_b") ? 1 : 0) : 2];
}

/* Ops whose output has the shape of their first input. */
static bool
keeps_shape(struct str op)
{
    static const char *const ops[] = { "Identity", "Cast",    "Relu", "Relu6",
                                       "Tanh",     "Sigmoid", "Neg",  "Snapshot" };
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
        if (str_is(op, ops[i]))
            return true;
    return false;
}

/* ---- the way from the input ---- */

struct way {
    struct lint *l;
    int64_t work;
    int n_steps; /* of this input */
    struct lint_place found;
    int found_node;
    int64_t size;
};

struct str
lint_argument_name(const struct scan_graph *g, int body, int i)
{
    struct str it = g->bodies[body].signature, arg;
    while (sm_pb_next_msg(&it, 2, &arg) > 0)
        if (i-- == 0)
            return sm_pb_bytes(arg, 1);
    return (struct str){ "", 0 };
}

static bool
can_go_on(struct way *w, int n_more)
{
    w->work += n_more;
    w->l->is_cut |= w->work > MAX_WORK;
    return w->work <= MAX_WORK;
}

static bool follow(struct way *w, struct at at, int rank);

/* `node` takes the tensor as its data input `k`. */
static bool
step(struct way *w, int body, int node, int k, int rank)
{
    struct scan_graph *g = w->l->g;
    struct sm_node n = scan_node(g, node);
    /* Calls are searched here and for the weight. */
    if (!can_go_on(w, g->n_calls))
        return false;
    for (int c = g->first_call[body]; c < g->first_call[body + 1]; c++) {
        const struct scan_call *call = &g->calls[c];
        if (call->node != node || !lint_is_plain_call(&n, call))
            continue;
        struct str name = lint_argument_name(g, call->callee, k);
        return name.n && follow(w, (struct at){ call->callee, name }, rank);
    }
    if (k)
        return false;
    if (keeps_shape(n.op))
        return follow(w, (struct at){ body, n.name }, rank);
    w->size = demand(g, body, &n, rank);
    if (w->size < 1)
        return false;
    w->found = (struct lint_place){ .op = n.op,
                                    .node = n.name,
                                    .function = g->bodies[body].name };
    w->found_node = node;
    return true;
}

/* Depth first over who takes the tensor; true: found. */
static bool
follow(struct way *w, struct at at, int rank)
{
    const struct scan_body *b = &w->l->g->bodies[at.body];
    struct str input;
    if (w->n_steps++ >= MAX_STEPS || !can_go_on(w, b->n_nodes))
        return false;
    for (int i = b->first_node; i < b->first_node + b->n_nodes; i++) {
        int k = 0;
        for (struct str it = w->l->g->nodes[i];
             sm_pb_next_msg(&it, SM_NODE_INPUT, &input) > 0;) {
            if (input.n && input.p[0] == '^')
                continue;
            if (str_eq(scan_input_node(input), at.name) && step(w, at.body, i, k, rank))
                return true;
            k++;
        }
    }
    return false;
}

void
lint_input_shapes(struct lint *l)
{
    struct way w = { .l = l };
    struct lint_walk runs AUTO(lint_walk_release) = { 0 };
    lint_walk_open(&runs, l->g);
    for (int i = 0; i < l->meta->n_signatures; i++) {
        const struct sm_signature *s = &l->meta->signatures[i];
        for (int k = 0; !sm_signature_hidden(s) && k < s->n_inputs; k++) {
            const struct sm_tensor_info *t = &s->inputs[k];
            int rank = t->shape.rank;
            if (!t->name.n || t->shape.unknown_rank || rank < 2 ||
                t->shape.dims[rank - 1] >= 0)
                continue;
            w.n_steps = 0;
            if (!follow(&w, (struct at){ 0, scan_input_node(t->name) }, rank))
                continue;
            /* Another signature may share the input and be the one that demands it. */
            w.work += l->g->n_nodes;
            lint_walk_signature(&runs, s);
            if (!runs.seen[w.found_node])
                continue;
            w.found.signature = s->key;
            w.found.input = t->key;
            lint_add(l, LINT_unneeded_unknown, &w.found,
                     "dimension %d is unknown, but the graph takes only %lld there",
                     rank - 1, (long long)w.size);
        }
    }
}
