/* SPDX-License-Identifier: Apache-2.0 */
/* Which integers an input takes, where they are numbers of rows: it is followed,
 * through ops that keep its values and through calls, to the lookups in tables whose
 * size is a weight's. */
#include "validate/record.h"
#include "validate/val_lint_int.h"

#include <string.h>

#define MAX_STEPS 200               /* tensors on all ways from an input */
#define MAX_DEPTH 32                /* calls in calls */
#define MAX_WORK (20 * 1000 * 1000) /* nodes looked at */

struct way {
    struct scan_graph *g;
    int64_t work, below;
    int n_steps;
    int parse_body, parse_node; /* the first that parses it as Examples; -1: none */
    int path[MAX_DEPTH];        /* calls that led to where it is now */
    int n_path;
};

/* Ops that take the values as data input `value` and number a table's rows with them;
 * the table is data input `table`, or, where that is -1, no table but so many classes
 * (a constant, data input 1). */
static const struct lookup {
    const char *op;
    int value, table;
} lookups[] = { { "ResourceGather", 1, 0 },
                { "GatherV2", 1, 0 },
                { "Gather", 1, 0 },
                { "EmbeddingLookup", 1, 0 },
                { "SparseSegmentSum", 1, 0 },
                { "SparseSegmentMean", 1, 0 },
                { "SparseSegmentSqrtN", 1, 0 },
                { "OneHot", 0, -1 } };

/* Ops whose first output has the values of the first input (any: of any input). */
static const struct {
    const char *op;
    bool any;
} keepers[] = {
    { "Identity", false },
    { "IdentityN", true },
    { "Cast", false },
    { "Reshape", false },
    { "ExpandDims", false },
    { "Squeeze", false },
    { "Transpose", false },
    { "Snapshot", false },
    { "StopGradient", false },
    { "EnsureShape", false },
    { "Tile", false },
    { "BroadcastTo", false },
    { "StridedSlice", false },
    { "Slice", false },
    { "ConcatV2", true },
    { "Pack", true },
    { "Unpack", false },
    { "Unique", false },
    { "Select", true },
    { "SelectV2", true },
    { "PlaceholderWithDefault", false },
    { "CheckNumerics", false },
    { "SplitV", false },
    { "PreventGradient", false },
};

static bool
keeps_values(struct str op, int input)
{
    for (size_t i = 0; i < sizeof(keepers) / sizeof(keepers[0]); i++)
        if (str_is(op, keepers[i].op))
            return input == 0 || keepers[i].any;
    return false;
}

/* A whole number that a constant holds, at the end of Identities; -1: none. */
static int64_t
constant(struct scan_graph *g, int body, struct str input)
{
    for (int steps = 0; steps < MAX_STEPS; steps++) {
        const int i = scan_body_find(g, body, scan_input_node(input));
        struct sm_tensor t AUTO(sm_tensor_release) = { .data = NULL };
        struct err err = ERR_INIT;
        struct sm_attr a;
        struct sm_node n;

        if (i < 0)
            return -1;
        n = scan_node(g, i);
        if (str_is(n.op, "Identity") && scan_data_input(&n, 0, &input))
            continue;
        if (!str_is(n.op, "Const") || !sm_node_attr(&n, "value", &a) ||
            a.kind != SM_ATTR_TENSOR || sm_tensor_proto(a.bytes, &t, &err) < 0 ||
            t.n_elems != 1)
            return -1;
        return t.dtype == SM_INT32   ? *(const int32_t *)t.data
               : t.dtype == SM_INT64 ? *(const int64_t *)t.data
                                     : -1;
    }
    return -1;
}

static void
look_up(struct way *w, int body, const struct sm_node *n, const struct lookup *l)
{
    struct sm_shape table;
    struct str input, axis;
    int64_t rows = 0;

    if (!scan_data_input(n, l->table < 0 ? 1 : l->table, &input))
        return;
    if (l->table < 0)
        rows = constant(w->g, body, input);
    else if (str_is(n->op, "GatherV2") && scan_data_input(n, 2, &axis) &&
             constant(w->g, body, axis) != 0)
        return;
    else if (lint_weight_shape(w->g, body, input, w->path, w->n_path, &table) &&
             !table.unknown_rank && table.rank > 0)
        rows = table.dims[0];
    if (rows > 0 && (w->below == 0 || rows < w->below))
        w->below = rows;
}

static void follow(struct way *w, int body, struct str name);

/* `node` takes the tensor as its data input `k`. */
static void
step(struct way *w, int body, int node, int k)
{
    struct scan_graph *g = w->g;
    const struct sm_node n = scan_node(g, node);

    w->work += g->first_call[body + 1] - g->first_call[body];
    for (int c = g->first_call[body]; c < g->first_call[body + 1]; c++) {
        struct str name;

        if (g->calls[c].node != node || !lint_is_plain_call(&n, &g->calls[c]))
            continue;
        name = lint_argument_name(g, g->calls[c].callee, k);
        if (name.n && w->n_path < MAX_DEPTH) {
            w->path[w->n_path++] = c;
            follow(w, g->calls[c].callee, name);
            w->n_path--;
        }
        return;
    }
    for (size_t i = 0; i < sizeof(lookups) / sizeof(lookups[0]); i++)
        if (str_is(n.op, lookups[i].op) && k == lookups[i].value)
            look_up(w, body, &n, &lookups[i]);
    if (k == 0 && w->parse_node < 0 &&
        (str_is(n.op, "ParseExampleV2") || str_is(n.op, "ParseExample"))) {
        w->parse_body = body;
        w->parse_node = node;
    }
    if (keeps_values(n.op, k))
        follow(w, body, n.name);
}

/* Depth first over all who take the tensor. */
static void
follow(struct way *w, int body, struct str name)
{
    const struct scan_body *b = &w->g->bodies[body];
    struct str input;

    w->work += b->n_nodes;
    if (w->n_steps++ >= MAX_STEPS || w->work > MAX_WORK)
        return;
    for (int i = b->first_node; i < b->first_node + b->n_nodes; i++) {
        int k = 0;

        for (struct str it = w->g->nodes[i];
             sm_pb_next_msg(&it, SM_NODE_INPUT, &input) > 0;) {
            if (input.n && input.p[0] == '^')
                continue;
            if (str_eq(scan_input_node(input), name))
                step(w, body, i, k);
            k++;
        }
    }
}

int64_t
val_ids_below(struct scan_graph *g, const struct sm_tensor_info *input)
{
    struct way w = { .g = g, .parse_node = -1 };

    if (input->name.n)
        follow(&w, 0, scan_input_node(input->name));
    return w.below;
}

int
val_parse_node(struct scan_graph *g, const struct sm_tensor_info *input, int *body)
{
    struct way w = { .g = g, .parse_node = -1 };

    if (input->name.n)
        follow(&w, 0, scan_input_node(input->name));
    *body = w.parse_body;
    return w.parse_node;
}
