/* SPDX-License-Identifier: Apache-2.0 */
/* The canonical form of a graph. Of each node three things are hashed:
 *
 *   local   its op (a function by its digest) and the attributes that matter
 *   value   local, and the values of its inputs: what it computes, as a tree
 *   form    local, and the numbers of its inputs as the walk gives them
 *
 * The form is what counts. Values only put control inputs, which are a set, into an
 * order that names do not decide. Loops of TF1 graphs go through NextIteration, whose
 * value is its local hash alone.
 *
 * Names of resources are no part of these; what names a resource, itself or by calling
 * a function that does, is told in order at the end (fp_h_uses). */
#include "fingerprint/fp_int.h"

#include <stdlib.h>

#define MAX_NODES (4 << 20)
#define MAX_EDGES (32 << 20)

struct edge {
    int to;          /* node, -1: no such node */
    struct str port; /* text behind the node's name; all of it when there is no node */
    int order;       /* in the file */
};
struct node {
    struct str name, op, raw;
    int first_use, n_uses; /* in graph.uses */
    size_t first_edge;     /* data inputs, then control inputs */
    int n_data, n_control;
    enum { NEW, OPEN, DONE } state;
    struct digest local, value;
    int number; /* -1: not met yet */
};
struct frame {
    int node;
    int next; /* edge to follow */
};
struct fp_graph {
    const struct fp_lib *lib;
    struct node *nodes;
    int n_nodes, cap_nodes;
    struct edge *edges;
    size_t n_edges, cap_edges;
    struct fp_names by_name;
    int *met; /* nodes by number */
    int n_met;
    int n_controlled; /* of those met, whose control inputs are met too */
    struct frame *stack;
    struct fp_uses uses; /* by node, as they came */
    struct fp_uses more; /* beside the nodes */
    int *later;          /* inputs of NextIterations that still need a value */
    int n_later, cap_later;
};

/* ---- reading ---- */

static struct node *
node_add(struct fp_graph *g)
{
    if (g->n_nodes == g->cap_nodes) {
        g->cap_nodes = g->cap_nodes ? 2 * g->cap_nodes : 64;
        g->nodes = xreallocarray(g->nodes, (size_t)g->cap_nodes, sizeof(*g->nodes));
    }
    struct node *n = &g->nodes[g->n_nodes++];
    *n = (struct node){
        .name = { "", 0 }, .op = { "", 0 }, .raw = { "", 0 }, .number = -1
    };
    return n;
}

void
fp_graph_add(struct fp_graph *g, struct str name, const struct digest *local)
{
    struct node *n = node_add(g);
    n->name = name;
    n->local = n->value = *local;
    n->state = DONE;
}

/* "node:port", "node", "^node" */
static struct str
split(struct str text, struct str *port)
{
    if (text.n > 0 && text.p[0] == '^')
        text = (struct str){ text.p + 1, text.n - 1 };
    const char *colon = text.n ? memchr(text.p, ':', text.n) : NULL;
    *port = STR_LIT("0");
    if (colon) {
        *port = (struct str){ colon + 1, (size_t)(text.p + text.n - colon) - 1 };
        text.n = (size_t)(colon - text.p);
    }
    return text;
}

static struct edge
resolve(const struct fp_graph *g, struct str text)
{
    struct edge e = { .to = -1 };
    e.to = fp_names_find(&g->by_name, split(text, &e.port));
    if (e.to < 0)
        e.port = text;
    return e;
}

/* The inputs of one kind, behind the edges that are there. */
static int
add_edges(struct fp_graph *g, struct str node, bool is_control)
{
    struct str text;
    int n = 0;
    while (g->n_edges < MAX_EDGES && sm_pb_next_msg(&node, SM_NODE_INPUT, &text) > 0) {
        if ((text.n > 0 && text.p[0] == '^') != is_control)
            continue;
        if (g->n_edges == g->cap_edges) {
            g->cap_edges = g->cap_edges ? 2 * g->cap_edges : 256;
            g->edges = xreallocarray(g->edges, g->cap_edges, sizeof(*g->edges));
        }
        struct edge e = resolve(g, text);
        e.order = n++;
        g->edges[g->n_edges++] = e;
    }
    return n;
}

int
fp_graph_open(struct fp_graph **out, const struct fp_lib *lib, struct str msg,
              uint32_t node_field, struct err *err)
{
    struct fp_graph *g = xcalloc(1, sizeof(*g));
    struct str raw;
    struct sm_node n;
    *out = g;
    g->lib = lib;
    while (sm_pb_next_msg(&msg, node_field, &raw) > 0) {
        int rc = sm_node_parse(raw, &n, err);
        if (rc == 0 && g->n_nodes == MAX_NODES)
            rc = err_set(err, ERR_LIMIT, "more than %d nodes in a graph", MAX_NODES);
        if (rc < 0)
            return rc;
        struct node *x = node_add(g);
        x->name = n.name;
        x->op = n.op;
        x->raw = raw;
    }
    return 0;
}

int
fp_graph_link(struct fp_graph *g, struct err *err)
{
    for (int i = 0; i < g->n_nodes; i++)
        fp_names_add(&g->by_name, g->nodes[i].name, i);
    fp_names_sort(&g->by_name);
    for (int i = 0; i < g->n_nodes; i++) {
        struct node *n = &g->nodes[i];
        n->first_edge = g->n_edges;
        n->n_data = add_edges(g, n->raw, false);
        n->n_control = add_edges(g, n->raw, true);
        if (g->n_edges >= MAX_EDGES)
            return err_set(err, ERR_LIMIT, "more than %d inputs in a graph", MAX_EDGES);
    }
    if (!g->edges)
        g->edges = xcalloc(1, sizeof(*g->edges)); /* so that &edges[0] is an address */
    g->met = xcalloc((size_t)g->n_nodes + 1, sizeof(*g->met));
    g->stack = xcalloc((size_t)g->n_nodes + 1, sizeof(*g->stack));
    return 0;
}

void
fp_graph_close(struct fp_graph **pg)
{
    struct fp_graph *g = *pg;
    if (!g)
        return;
    free(g->nodes);
    free(g->edges);
    free(g->met);
    free(g->stack);
    free(g->later);
    fp_uses_release(&g->uses);
    fp_uses_release(&g->more);
    fp_names_release(&g->by_name);
    free(g);
    *pg = NULL;
}

static bool
is_loop_end(const struct node *n)
{
    return str_is(n->op, "NextIteration") || str_is(n->op, "RefNextIteration");
}

/* ---- what a node computes ---- */

static void
hash_value(struct fp_graph *g, struct node *n)
{
    const struct edge *e = &g->edges[n->first_edge];
    struct digest *set AUTO(free_ptr) = xcalloc((size_t)n->n_control + 1, sizeof(*set));
    struct sha256 h;
    sha256_init(&h);
    fp_h_digest(&h, &n->local);
    if (!is_loop_end(n)) {
        fp_h_u64(&h, (uint64_t)n->n_data);
        for (int i = 0; i < n->n_data; i++, e++) {
            /* An input that is not done yet closes an illegal loop. */
            if (e->to >= 0 && g->nodes[e->to].state == DONE)
                fp_h_digest(&h, &g->nodes[e->to].value);
            fp_h_str(&h, e->port);
        }
        for (int i = 0; i < n->n_control; i++, e++) {
            if (e->to >= 0 && g->nodes[e->to].state == DONE)
                set[i] = g->nodes[e->to].value;
        }
        qsort(set, (size_t)n->n_control, sizeof(*set), fp_digest_cmp);
        fp_h_str(
            &h, (struct str){ (const char *)set, (size_t)n->n_control * sizeof(*set) });
    }
    sha256_end(&h, &n->value);
    n->state = DONE;
}

static void
put_off(struct fp_graph *g, const struct node *n)
{
    for (int i = 0; i < n->n_data + n->n_control; i++) {
        if (g->n_later == g->cap_later) {
            g->cap_later = g->cap_later ? 2 * g->cap_later : 16;
            g->later = xreallocarray(g->later, (size_t)g->cap_later, sizeof(*g->later));
        }
        if (g->edges[n->first_edge + (size_t)i].to >= 0)
            g->later[g->n_later++] = g->edges[n->first_edge + (size_t)i].to;
    }
}

/* Values of a node and of everything it depends on. */
static int
values_below(struct fp_graph *g, int root, struct err *err)
{
    int depth = 0;
    g->stack[depth++] = (struct frame){ root, 0 };
    while (depth > 0) {
        struct frame *f = &g->stack[depth - 1];
        struct node *n = &g->nodes[f->node];
        if (n->state == NEW) {
            const struct sm_node parsed = { .name = n->name,
                                            .op = n->op,
                                            .raw = n->raw };
            n->first_use = g->uses.n;
            int rc = fp_node_local(&n->local, g->lib, &parsed, &g->uses, err);
            if (rc < 0)
                return err_ctx(err, "node '%.*s' (%.*s)", STR_ARG(n->name),
                               STR_ARG(n->op));
            n->n_uses = g->uses.n - n->first_use;
            n->state = OPEN;
            if (is_loop_end(n)) {
                put_off(g, n);
                f->next = n->n_data + n->n_control;
            }
        }
        if (n->state == DONE || f->next == n->n_data + n->n_control) {
            if (n->state != DONE)
                hash_value(g, n);
            depth--;
            continue;
        }
        int to = g->edges[n->first_edge + (size_t)f->next++].to;
        if (to >= 0 && g->nodes[to].state == NEW)
            g->stack[depth++] = (struct frame){ to, 0 };
    }
    return 0;
}

static int
need_value(struct fp_graph *g, int node, struct err *err)
{
    int rc = 0;
    if (g->nodes[node].state == NEW)
        rc = values_below(g, node, err);
    while (rc == 0 && g->n_later > 0) {
        int next = g->later[--g->n_later];
        if (g->nodes[next].state == NEW)
            rc = values_below(g, next, err);
    }
    return rc;
}

/* ---- numbers ---- */

static int
number_cmp(const struct fp_graph *g, int a, int b)
{
    unsigned x = a < 0 ? UINT32_MAX : (unsigned)g->nodes[a].number;
    unsigned y = b < 0 ? UINT32_MAX : (unsigned)g->nodes[b].number;
    return (x > y) - (x < y); /* no number yet is the biggest */
}

/* Members of a set: by value; equal ones by the numbers that they or their inputs have
 * already; what is left is alike and keeps the file's order. */
static int
member_cmp(const void *pa, const void *pb, void *arg)
{
    const struct edge *a = pa, *b = pb;
    const struct fp_graph *g = arg;
    int r;
    if (a->to < 0 || b->to < 0)
        r = a->to < 0 && b->to < 0 ? str_cmp(a->port, b->port)
                                   : (b->to < 0) - (a->to < 0);
    else
        r = fp_digest_cmp(&g->nodes[a->to].value, &g->nodes[b->to].value);
    if (r == 0)
        r = number_cmp(g, a->to, b->to);
    if (r == 0 && a->to >= 0) {
        const struct node *x = &g->nodes[a->to], *y = &g->nodes[b->to];
        for (int i = 0; r == 0 && i < x->n_data && i < y->n_data; i++)
            r = number_cmp(g, g->edges[x->first_edge + (size_t)i].to,
                           g->edges[y->first_edge + (size_t)i].to);
    }
    return r ? r : (a->order > b->order) - (a->order < b->order);
}

static void
meet(struct fp_graph *g, int node, int *depth)
{
    g->nodes[node].number = g->n_met;
    g->met[g->n_met++] = node;
    g->stack[(*depth)++] = (struct frame){ node, 0 };
}

/* Numbers a node and everything whose data it needs. */
static int
visit(struct fp_graph *g, int root, struct err *err)
{
    int depth = 0;
    if (root < 0 || g->nodes[root].number >= 0)
        return 0;
    int rc = need_value(g, root, err);
    if (rc < 0)
        return rc;
    meet(g, root, &depth);
    while (depth > 0) {
        struct frame *f = &g->stack[depth - 1];
        const struct node *n = &g->nodes[f->node];
        if (f->next == n->n_data) {
            depth--;
            continue;
        }
        int to = g->edges[n->first_edge + (size_t)f->next++].to;
        if (to >= 0 && g->nodes[to].number < 0)
            meet(g, to, &depth);
    }
    return 0;
}

/* Follows the control inputs of what was met. They come after all data, since their
 * order means nothing: by then most of them have a number. */
static int
visit_controls(struct fp_graph *g, struct err *err)
{
    int rc = 0;
    for (; rc == 0 && g->n_controlled < g->n_met; g->n_controlled++) {
        const struct node *n = &g->nodes[g->met[g->n_controlled]];
        struct edge *e = &g->edges[n->first_edge + (size_t)n->n_data];
        if (n->n_control > 1)
            qsort_r(e, (size_t)n->n_control, sizeof(*e), member_cmp, g);
        for (int i = 0; rc == 0 && i < n->n_control; i++)
            rc = visit(g, e[i].to, err);
    }
    return rc;
}

static void
hash_edge(struct sha256 *h, const struct fp_graph *g, const struct edge *e)
{
    fp_h_u64(h, e->to < 0 ? UINT64_MAX : (uint64_t)g->nodes[e->to].number);
    fp_h_str(h, e->port);
}

int
fp_h_ref(struct sha256 *h, struct fp_graph *g, struct str text, struct err *err)
{
    struct edge e = resolve(g, text);
    int rc = visit(g, e.to, err);
    if (rc == 0)
        hash_edge(h, g, &e);
    return rc;
}

static int
int_cmp(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

int
fp_h_ref_set(struct sha256 *h, struct fp_graph *g, const struct str *names, int n,
             struct err *err)
{
    struct edge *v AUTO(free_ptr) = xcalloc((size_t)n + 1, sizeof(*v));
    int *numbers AUTO(free_ptr) = xcalloc((size_t)n + 1, sizeof(*numbers));
    int rc = visit_controls(g, err);
    for (int i = 0; rc == 0 && i < n; i++) {
        v[i] = resolve(g, names[i]);
        v[i].order = i;
        if (v[i].to >= 0)
            rc = need_value(g, v[i].to, err);
    }
    if (rc < 0)
        return rc;
    if (n > 1)
        qsort_r(v, (size_t)n, sizeof(*v), member_cmp, g);
    for (int i = 0; rc == 0 && i < n; i++) {
        rc = visit(g, v[i].to, err);
        numbers[i] = v[i].to < 0 ? -1 : g->nodes[v[i].to].number;
    }
    qsort(numbers, (size_t)n, sizeof(*numbers), int_cmp);
    fp_h_str(h, (struct str){ (const char *)numbers, (size_t)n * sizeof(*numbers) });
    return rc;
}

static bool
is_stateful(const struct fp_graph *g, const struct node *n)
{
    const struct fp_op *op = fp_lib_op(g->lib, n->op);
    if (n->op.n == 0 || str_is(n->op, "PartitionedCall"))
        return false; /* an argument */
    return op ? op->is_stateful : true;
}

int
fp_h_stateful(struct sha256 *h, struct fp_graph *g, struct err *err)
{
    int n = 0, rc = visit_controls(g, err);
    if (rc < 0)
        return rc;
    struct digest *v AUTO(free_ptr) = xcalloc((size_t)g->n_nodes + 1, sizeof(*v));
    for (int i = 0; i < g->n_nodes; i++) {
        if (g->nodes[i].number >= 0 || !is_stateful(g, &g->nodes[i]))
            continue;
        rc = need_value(g, i, err);
        if (rc < 0)
            return rc;
        v[n++] = g->nodes[i].value;
    }
    qsort(v, (size_t)n, sizeof(*v), fp_digest_cmp);
    fp_h_str(h, (struct str){ (const char *)v, (size_t)n * sizeof(*v) });
    return 0;
}

int
fp_h_value(struct sha256 *h, struct fp_graph *g, struct str name, struct err *err)
{
    struct edge e = resolve(g, name);
    int rc = e.to < 0 ? 0 : need_value(g, e.to, err);
    fp_h_text(h, e.to < 0 ? "no node" : "value");
    if (rc == 0 && e.to >= 0)
        fp_h_digest(h, &g->nodes[e.to].value);
    return rc;
}

/* ---- the form ---- */

void
fp_graph_use(struct fp_graph *g, struct str function)
{
    int i = fp_names_find(&g->lib->by_name, function);
    const struct fp_uses *u = i < 0 ? NULL : &g->lib->fn[i].uses;
    for (int k = 0; u && k < u->n; k++)
        fp_uses_add(&g->more, u->v[k]);
}

static void
hash_node(struct sha256 *h, const struct fp_graph *g, const struct node *n)
{
    const struct edge *e = &g->edges[n->first_edge];
    int *numbers AUTO(free_ptr) = xcalloc((size_t)n->n_control + 1, sizeof(*numbers));
    fp_h_digest(h, &n->local);
    fp_h_u64(h, (uint64_t)n->n_uses);
    fp_h_u64(h, (uint64_t)n->n_data);
    for (int k = 0; k < n->n_data; k++)
        hash_edge(h, g, &e[k]);
    for (int k = 0; k < n->n_control; k++) {
        int to = e[n->n_data + k].to;
        numbers[k] = to < 0 ? -1 : g->nodes[to].number;
    }
    qsort(numbers, (size_t)n->n_control, sizeof(*numbers), int_cmp);
    fp_h_str(h, (struct str){ (const char *)numbers,
                              (size_t)n->n_control * sizeof(*numbers) });
}

int
fp_graph_end(struct sha256 *h, struct fp_graph *g, struct fp_uses *uses,
             struct err *err)
{
    int rc = visit_controls(g, err);
    if (rc < 0)
        return rc;
    fp_h_u64(h, (uint64_t)g->n_met);
    for (int i = 0; i < g->n_met; i++) {
        const struct node *n = &g->nodes[g->met[i]];
        hash_node(h, g, n);
        for (int k = 0; k < n->n_uses; k++)
            fp_uses_add(uses, g->uses.v[n->first_use + k]);
    }
    for (int k = 0; k < g->more.n; k++)
        fp_uses_add(uses, g->more.v[k]);
    uses->is_over |= g->uses.is_over || g->more.is_over;
    return 0;
}
