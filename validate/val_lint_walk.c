/* SPDX-License-Identifier: Apache-2.0 */
/* What runs for certain when a signature is called. Scan's reach asks what may run, and
 * takes both branches of each condition; a claim such as "this is in training mode"
 * must hold whatever is fed. */
#include "validate/val_lint_int.h"

#include <stdlib.h>

int
lint_node_body(const struct scan_graph *g, int node)
{
    int low = 0, high = g->n_bodies; /* the last body that begins at or before node */
    while (high - low > 1) {
        int mid = low + (high - low) / 2;
        if (g->bodies[mid].first_node <= node)
            low = mid;
        else
            high = mid;
    }
    return low;
}

void
lint_walk_open(struct lint_walk *w, struct scan_graph *g)
{
    *w = (struct lint_walk){ .g = g,
                             .seen = xcalloc((size_t)g->n_nodes + 1, 1),
                             .todo = xcalloc((size_t)g->n_nodes + 1, sizeof *w->todo) };
}

void
lint_walk_release(struct lint_walk *w)
{
    free(w->seen);
    free(w->todo);
    *w = (struct lint_walk){ 0 };
}

/* A node is put once: `todo` has room for all of them. */
static void
push(struct lint_walk *w, int body, struct str tensor)
{
    int i = scan_body_find(w->g, body, scan_input_node(tensor));
    if (i < 0 || w->seen[i])
        return;
    w->seen[i] = 1;
    w->todo[w->n_todo++] = i;
}

/* What a function returns, and what it must have done. */
static void
push_function(struct lint_walk *w, int body)
{
    struct str entry;
    for (uint32_t field = 4; field <= 6; field += 2)
        for (struct str it = w->g->bodies[body].raw;
             sm_pb_next_msg(&it, field, &entry) > 0;)
            push(w, body, sm_pb_bytes(entry, 2));
}

static bool
is_choice(struct str op)
{
    static const char *const choices[] = { "If", "StatelessIf", "Case",
                                           "StatelessCase" };
    for (size_t i = 0; i < sizeof choices / sizeof choices[0]; i++)
        if (str_is(op, choices[i]))
            return true;
    return false;
}

static int
by_node(const void *key, const void *call)
{
    int node = *(const int *)key, at = ((const struct scan_call *)call)->node;
    return (node > at) - (node < at);
}

static void
push_calls(struct lint_walk *w, int node)
{
    const struct scan_graph *g = w->g;
    const struct scan_call *c =
        g->n_calls
            ? bsearch(&node, g->calls, (size_t)g->n_calls, sizeof *g->calls, by_node)
            : NULL;
    if (!c)
        return;
    while (c > g->calls && c[-1].node == node)
        c--;
    for (; c < g->calls + g->n_calls && c->node == node; c++)
        if (!c->is_weak)
            push_function(w, c->callee);
}

static bool
is_input(const struct sm_signature *s, struct str node)
{
    for (int i = 0; i < s->n_inputs; i++)
        if (str_eq(scan_input_node(s->inputs[i].name), node))
            return true;
    return false;
}

void
lint_walk_signature(struct lint_walk *w, const struct sm_signature *s)
{
    struct str input;
    for (int i = 0; i < w->g->n_nodes; i++)
        w->seen[i] = 0;
    w->n_todo = 0;
    for (int i = 0; i < s->n_outputs; i++)
        push(w, 0, s->outputs[i].name);
    while (w->n_todo) {
        int node = w->todo[--w->n_todo];
        struct sm_node n = scan_node(w->g, node);
        int body = lint_node_body(w->g, node);
        if (str_is(n.op, "Merge") || str_is(n.op, "RefMerge") ||
            (body == 0 && is_input(s, n.name)))
            continue;
        if (!is_choice(n.op))
            push_calls(w, node);
        for (struct str it = n.raw; sm_pb_next_msg(&it, SM_NODE_INPUT, &input) > 0;)
            push(w, body, input);
    }
}
