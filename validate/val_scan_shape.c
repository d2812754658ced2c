/* SPDX-License-Identifier: Apache-2.0 */
/* Structures that no writer makes: names twice, functions that call themselves or
 * multiply, values far larger than their bytes. */
#include "validate/val_scan_int.h"

#include <stdlib.h>

#define MAX_NODES 2000000         /* of a MetaGraph; the largest known have 300,000 */
#define MAX_RUN_NODES 1e8         /* with every call's body counted again */
#define MAX_CALL_DEPTH 256        /* of functions in functions */
#define MAX_NAME_BYTES 4096       /* of a node or op */
#define MAX_FILL_BYTES 1073741824 /* of a value beyond the bytes that describe it */
#define MAX_RANK 254              /* TensorFlow's own */

static bool
is_odd_name(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
            return true;
    return s.n > MAX_NAME_BYTES;
}

/* ---- values ---- */

static void
tensor(struct scan *s, const struct sm_node *n, int body, int node, struct str proto)
{
    struct str it = sm_pb_bytes(proto, 2), dim;
    const struct sm_dtype_info *dtype = sm_dtype_info((int)sm_pb_int(proto, 1, 0));
    double n_bytes = dtype && dtype->size_bytes ? (double)dtype->size_bytes : 1;
    int rank = 0;
    bool is_negative = false;
    for (; sm_pb_next_msg(&it, 2, &dim) > 0; rank++) {
        int64_t size = sm_pb_int(dim, 1, 0);
        is_negative |= size < 0;
        n_bytes *= (double)size;
    }
    if (rank > MAX_RANK)
        scan_add(s, SCAN_oversize, SCAN_ERROR, n, body, node,
                 "a value of rank %d; TensorFlow's limit is %d", rank, MAX_RANK);
    else if (is_negative)
        scan_add(s, SCAN_structure, SCAN_ERROR, n, body, node,
                 "a value with a negative dimension");
    else if (n_bytes > MAX_FILL_BYTES + (double)proto.n)
        scan_add(s, SCAN_oversize, SCAN_ERROR, n, body, node,
                 "%zu bytes that stand for a value of %.3g bytes", proto.n, n_bytes);
}

static void
values(struct scan *s, const struct sm_node *n, int body, int node)
{
    struct str it = n->raw, entry, list, t;
    while (sm_pb_next_msg(&it, 5, &entry) > 0) {
        struct sm_attr a;
        if (sm_attr_parse(sm_pb_bytes(entry, 2), &a) < 0) {
            scan_add(s, SCAN_structure, SCAN_ERROR, n, body, node,
                     "an attribute that has two values");
            continue;
        }
        if (a.kind == SM_ATTR_TENSOR)
            tensor(s, n, body, node, a.bytes);
        if (a.kind == SM_ATTR_LIST)
            for (list = a.bytes; sm_pb_next_msg(&list, 8, &t) > 0;)
                tensor(s, n, body, node, t);
    }
}

/* ---- calls ---- */

struct visit {
    int body;
    int next_call;
};
struct nesting {
    uint8_t *state; /* per body: 0 new, 1 on the stack, 2 done */
    double *n_run;  /* nodes that one run of the body may meet */
    struct visit *stack;
    int n_stack;
};

static void
enter(struct nesting *x, const struct scan_graph *g, int body)
{
    x->state[body] = 1;
    x->n_run[body] = g->bodies[body].n_nodes;
    x->stack[x->n_stack++] = (struct visit){ body, g->first_call[body] };
}

/* Depth first, each body once, without recursion of our own. */
static void
nest(struct scan *s, const struct scan_graph *g, struct nesting *x, int root,
     int *depth_max)
{
    enter(x, g, root);
    while (x->n_stack) {
        struct visit *v = &x->stack[x->n_stack - 1];
        if (x->n_stack > *depth_max)
            *depth_max = x->n_stack;
        if (v->next_call == g->first_call[v->body + 1]) {
            x->state[v->body] = 2;
            x->n_stack--;
            continue;
        }
        const struct scan_call *call = &g->calls[v->next_call];
        struct sm_node n = scan_node(g, call->node);
        if (call->is_weak || x->state[call->callee] == 2) {
            if (!call->is_weak && x->n_run[v->body] < 1e18)
                x->n_run[v->body] += x->n_run[call->callee];
            v->next_call++;
        } else if (x->state[call->callee] == 1) {
            scan_add(s, SCAN_structure, SCAN_ERROR, &n, call->body, call->node,
                     "the function calls itself: it may never end");
            v->next_call++;
        } else {
            enter(x, g, call->callee); /* counted when the walk is back here */
        }
    }
}

static void
nesting(struct scan *s, const struct scan_graph *g)
{
    size_t n = (size_t)g->n_bodies;
    struct nesting x = { .state = xcalloc(n, 1),
                         .n_run = xcalloc(n, sizeof *x.n_run),
                         .stack = xcalloc(n, sizeof *x.stack) };
    double most = 0;
    int worst = 0, depth = 0;
    for (int i = 0; i < g->n_bodies; i++)
        if (!x.state[i])
            nest(s, g, &x, i, &depth);
    for (int i = 0; i < g->n_bodies; i++)
        if (x.n_run[i] > most)
            most = x.n_run[worst = i];
    if (most > MAX_RUN_NODES)
        scan_add(s, SCAN_oversize, SCAN_ERROR, NULL, worst, -1,
                 "functions that call functions make %.3g nodes of %d", most,
                 g->n_nodes);
    if (depth > MAX_CALL_DEPTH)
        scan_add(s, SCAN_oversize, SCAN_ERROR, NULL, 0, -1,
                 "functions call functions %d deep", depth);
    free(x.state);
    free(x.n_run);
    free(x.stack);
}

/* ---- names ---- */

static void
names(struct scan *s, struct scan_graph *g)
{
    for (int i = 1; i < g->functions.n; i++)
        if (str_eq(g->functions.v[i].s, g->functions.v[i - 1].s))
            scan_add(s, SCAN_structure, SCAN_ERROR, NULL, g->functions.v[i].at, -1,
                     "two functions have this name: readers differ in which they take");
    for (int b = 0; b < g->n_bodies; b++) {
        const struct scan_body *body = &g->bodies[b];
        if (b && (is_odd_name(body->name)))
            scan_add(s, SCAN_structure, SCAN_ERROR, NULL, b, -1,
                     "a function's name has control characters or %zu bytes",
                     body->name.n);
        if (b && scan_is_tf_op(body->name))
            scan_add(s, SCAN_structure, SCAN_ERROR, NULL, b, -1,
                     "a function has the name of a TensorFlow op: readers differ in "
                     "what they run");
        (void)scan_body_find(g, b, STR_LIT("")); /* makes the index */
        for (int i = 1; i < body->names.n; i++)
            if (str_eq(body->names.v[i].s, body->names.v[i - 1].s)) {
                struct sm_node n = scan_node(g, body->names.v[i].at);
                scan_add(s, SCAN_structure, SCAN_ERROR, &n, b, body->names.v[i].at,
                         "two nodes have this name: readers differ in which they take");
            }
    }
}

void
scan_shape(struct scan *s, struct scan_graph *g)
{
    if (g->n_nodes > MAX_NODES)
        scan_add(s, SCAN_oversize, SCAN_WARNING, NULL, 0, -1, "%d nodes", g->n_nodes);
    names(s, g);
    nesting(s, g);
    for (int b = 0; b < g->n_bodies; b++)
        for (int i = 0; i < g->bodies[b].n_nodes; i++) {
            int node = g->bodies[b].first_node + i;
            struct sm_node n = scan_node(g, node);
            if (is_odd_name(n.name) || is_odd_name(n.op))
                scan_add(s, SCAN_structure, SCAN_ERROR, &n, b, node,
                         "a name with control characters or more than %d bytes",
                         MAX_NAME_BYTES);
            values(s, &n, b, node);
        }
}
