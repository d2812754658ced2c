/* SPDX-License-Identifier: Apache-2.0 */
/* scan's view of a graph: bodies, nodes, calls, and where a file name comes from. */
#include "validate/val_scan_int.h"

#include <stdlib.h>
#include <string.h>

/* ---- names to numbers --------------------------------------------------------------
 */

void
scan_index_add(struct scan_index *x, struct str s, int at)
{
    if ((x->n & (x->n - 1)) == 0) /* full at each power of two */
        x->v = xreallocarray(x->v, x->n ? (size_t)x->n * 2 : 1, sizeof *x->v);
    x->v[x->n++] = (struct scan_name){ s, at };
}

static int
by_name(const void *a, const void *b)
{
    const struct scan_name *x = a, *y = b;
    int d = str_cmp(x->s, y->s);
    return d ? d : (x->at > y->at) - (x->at < y->at);
}

void
scan_index_sort(struct scan_index *x)
{
    if (x->n)
        qsort(x->v, (size_t)x->n, sizeof *x->v, by_name);
}

int
scan_index_find(const struct scan_index *x, struct str s)
{
    int low = 0, high = x->n;
    while (low < high) {
        int mid = low + (high - low) / 2;
        if (str_cmp(x->v[mid].s, s) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low < x->n && str_eq(x->v[low].s, s) ? x->v[low].at : -1;
}

void
scan_index_release(struct scan_index *x)
{
    free(x->v);
    *x = (struct scan_index){ 0 };
}

/* ---- bodies, nodes, calls -----------------------------------------------------------
 */

static void
add_nodes(struct scan_graph *g, struct scan_body *b, struct str msg, uint32_t field)
{
    struct str raw;
    b->first_node = g->n_nodes;
    while (sm_pb_next_msg(&msg, field, &raw) > 0) {
        if ((g->n_nodes & (g->n_nodes - 1)) == 0)
            g->nodes = xreallocarray(g->nodes, g->n_nodes ? (size_t)g->n_nodes * 2 : 1,
                                     sizeof *g->nodes);
        g->nodes[g->n_nodes++] = raw;
    }
    b->n_nodes = g->n_nodes - b->first_node;
}

static void
add_call(struct scan_graph *g, int body, int node, struct str attr, struct str name,
         bool is_weak)
{
    int callee = scan_index_find(&g->functions, name);
    if (callee < 0)
        return;
    if ((g->n_calls & (g->n_calls - 1)) == 0)
        g->calls = xreallocarray(g->calls, g->n_calls ? (size_t)g->n_calls * 2 : 1,
                                 sizeof *g->calls);
    g->calls[g->n_calls++] = (struct scan_call){ body, node, callee, attr, is_weak };
}

/* Every function that an attribute names: func, list(func), the attributes of such a
 * func, and a text that is a function's name (ops that look one up by text). The
 * depth is bounded by sm_open. */
static void
add_attr_calls(struct scan_graph *g, int body, int node, struct str outer,
               struct str value)
{
    struct sm_attr a;
    struct str it, func, entry;
    if (sm_attr_parse(value, &a) < 0)
        return;
    if (a.kind == SM_ATTR_S) {
        add_call(g, body, node, outer, a.bytes, true);
        return;
    }
    if (a.kind == SM_ATTR_LIST) {
        for (it = a.bytes; sm_pb_next_msg(&it, 9, &func) > 0;) {
            add_call(g, body, node, outer, sm_pb_bytes(func, 1), false);
            while (sm_pb_next_msg(&func, 2, &entry) > 0)
                add_attr_calls(g, body, node, outer, sm_pb_bytes(entry, 2));
        }
        for (it = a.bytes; sm_pb_next_msg(&it, 2, &func) > 0;)
            add_call(g, body, node, outer, func, true);
    } else if (a.kind == SM_ATTR_FUNC) {
        add_call(g, body, node, outer, sm_attr_func_name(&a), false);
        for (it = a.bytes; sm_pb_next_msg(&it, 2, &entry) > 0;)
            add_attr_calls(g, body, node, outer, sm_pb_bytes(entry, 2));
    }
}

static void
add_calls(struct scan_graph *g, int body)
{
    const struct scan_body *b = &g->bodies[body];
    for (int i = b->first_node; i < b->first_node + b->n_nodes; i++) {
        struct sm_node node = scan_node(g, i);
        struct str it = node.raw, entry;
        add_call(g, body, i, (struct str){ "", 0 }, node.op, false);
        while (sm_pb_next_msg(&it, 5, &entry) > 0)
            add_attr_calls(g, body, i, sm_pb_bytes(entry, 1), sm_pb_bytes(entry, 2));
    }
}

/* What stands for the gradient of a function may run where the function does. */
static void
add_gradients(struct scan_graph *g)
{
    struct str it = g->meta->library, gradient;
    while (sm_pb_next_msg(&it, 2, &gradient) > 0) {
        int body = scan_index_find(&g->functions, sm_pb_bytes(gradient, 1));
        if (body > 0 && g->bodies[body].n_nodes)
            add_call(g, body, g->bodies[body].first_node, STR_LIT("gradient"),
                     sm_pb_bytes(gradient, 2), true);
    }
}

static int
by_caller(const void *a, const void *b)
{
    const struct scan_call *x = a, *y = b;
    return (x->node > y->node) - (x->node < y->node);
}

bool
scan_next_asset(const struct sm_meta *meta, int *stage, struct str *it, struct str *def)
{
    struct str collection;
    if (*stage == 0) {
        *stage = 1;
        *it = meta->raw;
    }
    if (*stage == 1) {
        if (sm_pb_next_msg(it, 6, def) > 0)
            return true;
        *stage = 2;
        *it = (struct str){ "", 0 };
        if (sm_pb_map_get(meta->raw, 4, STR_LIT("saved_model_assets"), &collection))
            *it = sm_pb_bytes(collection, 5);
    }
    if (sm_pb_next_msg(it, 1, def) <= 0)
        return false;
    *def = sm_pb_bytes(*def, 2);
    return true;
}

int
scan_graph_open(struct scan_graph *g, const struct sm_meta *meta, struct err *err)
{
    struct str it = meta->library, raw, def;
    int stage = 0;
    *g = (struct scan_graph){ .meta = meta, .bodies = xcalloc(1, sizeof *g->bodies) };
    g->n_bodies = 1;
    g->bodies[0].name = (struct str){ "", 0 };
    add_nodes(g, &g->bodies[0], meta->graph, SM_GRAPH_NODE);
    while (sm_pb_next_msg(&it, SM_LIBRARY_FUNCTION, &raw) > 0) {
        struct sm_function f;
        if (sm_function_parse(raw, &f, err) < 0)
            return -(int)err->code;
        if ((g->n_bodies & (g->n_bodies - 1)) == 0)
            g->bodies =
                xreallocarray(g->bodies, (size_t)g->n_bodies * 2, sizeof *g->bodies);
        g->bodies[g->n_bodies] = (struct scan_body){ .name = f.name,
                                                     .signature = f.signature,
                                                     .raw = f.raw };
        scan_index_add(&g->functions, f.name, g->n_bodies);
        add_nodes(g, &g->bodies[g->n_bodies++], f.raw, SM_FUNCTION_NODE);
    }
    scan_index_sort(&g->functions);
    for (int i = 0; i < g->n_bodies; i++)
        add_calls(g, i);
    add_gradients(g);
    if (g->n_calls)
        qsort(g->calls, (size_t)g->n_calls, sizeof *g->calls, by_caller);
    g->first_call = xcalloc((size_t)g->n_bodies + 1, sizeof *g->first_call);
    for (int i = 0, c = 0; i <= g->n_bodies; i++) {
        while (c < g->n_calls && g->calls[c].body < i)
            c++;
        g->first_call[i] = c;
    }
    while (scan_next_asset(meta, &stage, &it, &def))
        scan_index_add(&g->assets, scan_input_node(sm_pb_bytes(sm_pb_bytes(def, 1), 1)),
                       0);
    scan_index_sort(&g->assets);
    return 0;
}

void
scan_graph_release(struct scan_graph *g)
{
    for (int i = 0; i < g->n_bodies; i++)
        scan_index_release(&g->bodies[i].names);
    free(g->bodies);
    free(g->nodes);
    free(g->calls);
    free(g->first_call);
    scan_index_release(&g->functions);
    scan_index_release(&g->assets);
    *g = (struct scan_graph){ 0 };
}

struct sm_node
scan_node(const struct scan_graph *g, int node)
{
    struct err err = ERR_INIT;
    struct sm_node n;
    if (sm_node_parse(g->nodes[node], &n, &err) < 0)
        BUG("sm_open let a malformed node through: %s", err.msg);
    return n;
}

int
scan_body_find(struct scan_graph *g, int body, struct str name)
{
    struct scan_body *b = &g->bodies[body];
    if (!b->names.n && b->n_nodes) {
        for (int i = b->first_node; i < b->first_node + b->n_nodes; i++)
            scan_index_add(&b->names, scan_node(g, i).name, i);
        scan_index_sort(&b->names);
    }
    return scan_index_find(&b->names, name);
}

struct str
scan_input_node(struct str input)
{
    if (input.n && input.p[0] == '^')
        input = (struct str){ input.p + 1, input.n - 1 };
    const char *colon = input.n ? memchr(input.p, ':', input.n) : NULL;
    if (colon)
        input.n = (size_t)(colon - input.p);
    return input;
}

bool
scan_data_input(const struct sm_node *n, int i, struct str *out)
{
    struct str it = n->raw;
    while (sm_pb_next_msg(&it, SM_NODE_INPUT, out) > 0)
        if ((!out->n || out->p[0] != '^') && i-- == 0)
            return true;
    return false;
}

/* ---- where a file name comes from ---- */

/* One question may look at so many nodes and calls, and nest so deep. */
#define MAX_STEPS 20000
#define MAX_ALL_STEPS (10 * 1000 * 1000) /* of all questions together */
#define MAX_DEPTH 64

struct tracing {
    struct scan_graph *g;
    int steps;
};
static struct scan_origin origin(struct tracing *t, int body, struct str input,
                                 int depth);
static const struct scan_origin other = { SCAN_FROM_OTHER, { "", 0 } };

static struct scan_origin
worse(struct scan_origin a, struct scan_origin b)
{
    return b.kind > a.kind ? b : a;
}

/* The texts of a constant: the worst is the first that is not empty. */
static struct scan_origin
const_origin(const struct sm_node *n)
{
    struct sm_attr a;
    if (!sm_node_attr(n, "value", &a) || a.kind != SM_ATTR_TENSOR)
        return other;
    struct scan_origin r = { SCAN_FROM_CONST, { "", 0 } };
    struct str it = a.bytes, text;
    while (!r.text.n && sm_pb_next_msg(&it, 8, &text) > 0)
        r.text = text;
    return r;
}

/* Where the argument stands among the inputs of a node that calls; -1: not known. */
static int
call_offset(const struct sm_node *n, const struct scan_call *call)
{
    if (!call->attr.n)
        return 0;
    if (str_is(n->op, "PartitionedCall") || str_is(n->op, "StatefulPartitionedCall"))
        return str_is(call->attr, "f") ? 0 : -1;
    if (str_is(n->op, "If") || str_is(n->op, "StatelessIf") || str_is(n->op, "Case") ||
        str_is(n->op, "StatelessCase"))
        return 1;
    return -1;
}

/* An argument that Python binds: an asset, or a constant of the main graph. */
static struct scan_origin
bound_origin(struct tracing *t, struct str concrete, int arg, int n_args, int depth)
{
    struct str it = concrete;
    struct sm_field f;
    int64_t ids[256];
    int n = 0;
    while (sm_pb_next(&it, &f) > 0) {
        struct str part = f.bytes;
        if (f.num != 2)
            continue;
        if (f.wire == 0 && n < 256)
            ids[n++] = (int64_t)f.v;
        /* Packed: node ids are varints. */
        for (uint64_t v = 0, shift = 0; f.wire == 2 && part.n && n < 256;
             part.p++, part.n--) {
            v |= (uint64_t)(*part.p & 0x7f) << (shift & 63);
            shift += 7;
            if (!(*part.p & 0x80)) {
                ids[n++] = (int64_t)v;
                v = shift = 0;
            }
        }
    }
    int at = arg - (n_args - n);
    if (at < 0 || at >= n || n == 256)
        return other;
    struct str object;
    it = t->g->meta->object_graph;
    for (int64_t i = 0; i <= ids[at]; i++)
        if (t->steps++ > MAX_STEPS || sm_pb_next_msg(&it, 1, &object) <= 0)
            return other;
    if (sm_pb_get(object, 5, &f))
        return (struct scan_origin){ SCAN_FROM_ASSET, { "", 0 } };
    if (sm_pb_get(object, 9, &f) && f.wire == 2)
        return origin(t, 0, sm_pb_bytes(f.bytes, 1), depth + 1);
    return other;
}

static struct scan_origin
arg_origin(struct tracing *t, int body, int arg, int n_args, int depth)
{
    struct scan_graph *g = t->g;
    struct scan_origin r = { SCAN_FROM_ASSET, { "", 0 } };
    struct str concrete, input;
    t->steps += 200; /* the object graph is searched from its start */
    for (int i = 0; i < g->n_calls && r.kind < SCAN_FROM_OTHER; i++) {
        if (t->steps++ > MAX_STEPS)
            return other;
        if (g->calls[i].callee != body)
            continue;
        struct sm_node n = scan_node(g, g->calls[i].node);
        int offset = call_offset(&n, &g->calls[i]);
        r = worse(r, offset < 0 || !scan_data_input(&n, arg + offset, &input)
                         ? other
                         : origin(t, g->calls[i].body, input, depth + 1));
    }
    if (sm_pb_map_get(g->meta->object_graph, 2, g->bodies[body].name, &concrete))
        r = worse(r, bound_origin(t, concrete, arg, n_args, depth));
    return r; /* nobody calls it: no name comes */
}

/* What a variable of the main graph holds: the worst of all that is assigned. Whoever
 * takes the handle elsewhere may assign anything. */
static struct scan_origin
variable_origin(struct tracing *t, struct str handle, int depth)
{
    static const char *const readers[] = { "ReadVariableOp", "VarIsInitializedOp",
                                           "DisableCopyOnRead" };
    struct scan_graph *g = t->g;
    struct scan_origin r = { SCAN_FROM_ASSET, { "", 0 } };
    bool is_assigned = false;
    struct str input;
    t->steps += g->bodies[0].n_nodes / 100;
    for (int i = 0; i < g->bodies[0].n_nodes; i++) {
        struct sm_node n = scan_node(g, i);
        bool is_reader = false;
        for (size_t k = 0; k < sizeof readers / sizeof readers[0]; k++)
            is_reader |= str_is(n.op, readers[k]);
        if (is_reader)
            continue;
        int k = 0; /* how many data inputs stand before */
        for (struct str it = n.raw; sm_pb_next_msg(&it, SM_NODE_INPUT, &input) > 0;) {
            if (input.n && input.p[0] == '^')
                continue;
            if (!str_eq(scan_input_node(input), handle)) {
                k++;
                continue;
            }
            if (k || !str_is(n.op, "AssignVariableOp") ||
                !scan_data_input(&n, 1, &input))
                return other;
            is_assigned = true;
            r = worse(r, origin(t, 0, input, depth + 1));
            break;
        }
    }
    return is_assigned ? r : other;
}

static struct scan_origin
origin(struct tracing *t, int body, struct str input, int depth)
{
    struct scan_graph *g = t->g;
    struct str name = scan_input_node(input), arg;
    if (depth > MAX_DEPTH || t->steps++ > MAX_STEPS)
        return other;
    if (body == 0 && scan_index_find(&g->assets, name) >= 0)
        return (struct scan_origin){ SCAN_FROM_ASSET, { "", 0 } };
    if (body > 0) {
        struct str it = g->bodies[body].signature;
        int n = 0, at = -1;
        for (; sm_pb_next_msg(&it, 2, &arg) > 0; n++)
            if (str_eq(sm_pb_bytes(arg, 1), name))
                at = n;
        if (at >= 0)
            return arg_origin(t, body, at, n, depth);
    }
    int i = scan_body_find(g, body, name);
    if (i < 0)
        return other;
    struct sm_node node = scan_node(g, i);
    if (str_is(node.op, "Const"))
        return const_origin(&node);
    if (str_is(node.op, "Placeholder"))
        return (struct scan_origin){ SCAN_FROM_FEED, node.name };
    if (str_is(node.op, "VarHandleOp") && body == 0)
        return variable_origin(t, node.name, depth);
    if ((str_is(node.op, "Identity") || str_is(node.op, "ReadVariableOp")) &&
        scan_data_input(&node, 0, &input))
        return origin(t, body, input, depth + 1);
    return other;
}

struct scan_origin
scan_origin(struct scan_graph *g, int body, struct str input)
{
    struct tracing t = { .g = g };
    if (g->n_traced > MAX_ALL_STEPS)
        return other;
    struct scan_origin r = origin(&t, body, input, 0);
    g->n_traced += t.steps;
    return r;
}

static bool
leaves(struct str s)
{
    return s.n &&
           (s.p[0] == '/' || memmem(s.p, s.n, "..", 2) || memmem(s.p, s.n, "://", 3));
}

bool
scan_fixed_path(struct scan_graph *g, int body, int node, int i, struct str *out)
{
    enum { MAX_NODES = 256 };
    int seen[MAX_NODES], n = 0;
    struct sm_node at = scan_node(g, node);
    struct str input, it, text;
    if (!scan_data_input(&at, i, &input))
        return false;
    int first = scan_body_find(g, body, scan_input_node(input));
    if (first >= 0)
        seen[n++] = first;
    for (int k = 0; k < n; k++) {
        struct sm_attr a;
        at = scan_node(g, seen[k]);
        if (str_is(at.op, "Const") && sm_node_attr(&at, "value", &a) &&
            a.kind == SM_ATTR_TENSOR)
            for (it = a.bytes; sm_pb_next_msg(&it, 8, &text) > 0;)
                if (leaves(text)) {
                    *out = text;
                    return true;
                }
        for (int j = 0;
             j < MAX_NODES && n < MAX_NODES && scan_data_input(&at, j, &input); j++) {
            int next = scan_body_find(g, body, scan_input_node(input)), m = 0;
            while (m < n && seen[m] != next)
                m++;
            if (next >= 0 && m == n)
                seen[n++] = next;
        }
    }
    return false;
}
