/* SPDX-License-Identifier: Apache-2.0 */
/* show --graph: the nodes that a signature's outputs need, as they stand in the graph;
 * a node that calls functions stays one node, which says how big they are. */
#include "savedmodel/savedmodel.h"
#include "service/svc_int.h"

#include <stdlib.h>
#include <string.h>

#define NODES_MAX (1 << 22)

struct node {
    struct str name;
    struct str raw;
    int id; /* in the reply, in the order of meeting; -1: not met */
    const char *role;
};
struct function {
    struct str name;
    struct str raw;
    int64_t n_nodes; /* of its body */
};
struct graph {
    struct node *nodes; /* sorted by name */
    int n_nodes;
    struct function *functions; /* sorted by name */
    int n_functions;
    int *met; /* places in `nodes`, by id */
    int n_met;
    cJSON *node_list, *edge_list;
};

static int
by_name(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* The slices of field `num` of a message with a name each, sorted by it: an array of
 * `size_bytes` that begin with the name. */
static void *
read_sorted(struct str msg, uint32_t num, size_t size_bytes, int *n,
            struct str (*name_of)(struct str raw), struct err *err)
{
    struct str it = msg, raw;
    *n = 0;
    while (sm_pb_next_msg(&it, num, &raw) > 0)
        if (++*n > NODES_MAX) {
            err_set(err, ERR_LIMIT, "more than %d nodes to draw", NODES_MAX);
            return NULL;
        }
    char *v = xcalloc((size_t)*n + 1, size_bytes), *at = v;
    for (; sm_pb_next_msg(&msg, num, &raw) > 0; at += size_bytes) {
        struct str pair[2] = { name_of(raw), raw };
        memcpy(at, pair, sizeof pair);
    }
    qsort(v, (size_t)*n, size_bytes, by_name);
    return v;
}

static struct str
node_name(struct str raw)
{
    return sm_pb_bytes(raw, 1);
}

static struct str
function_name(struct str raw)
{
    return sm_pb_bytes(sm_pb_bytes(raw, 1), 1);
}

/* "^node", "node:1", "node" of an input → the node, or NULL. */
static struct node *
find_node(const struct graph *g, struct str input, int *output, bool *control)
{
    *control = input.n > 0 && input.p[0] == '^';
    *output = 0;
    if (*control) {
        input.p++;
        input.n--;
    }
    const char *colon = input.n ? memchr(input.p, ':', input.n) : NULL;
    if (colon) {
        size_t n = (size_t)(colon - input.p);
        for (size_t i = n + 1; i < input.n && i < n + 7; i++)
            *output = *output * 10 + (input.p[i] - '0');
        input.n = n;
    }
    return bsearch(&input, g->nodes, (size_t)g->n_nodes, sizeof *g->nodes, by_name);
}

static void
meet(struct graph *g, struct node *node)
{
    if (node->id >= 0)
        return;
    node->id = g->n_met;
    g->met[g->n_met++] = (int)(node - g->nodes);
}

/* The nodes of a TensorInfo: one, three of a sparse one, those of a composite one. */
static void
meet_info(struct graph *g, struct str info, const char *role)
{
    struct str names[4] = { sm_pb_bytes(info, 1) }, sparse = sm_pb_bytes(info, 4);
    struct str parts = sm_pb_bytes(info, 5), part;
    int output;
    bool control;
    for (uint32_t i = 1; i <= 3; i++)
        names[i] = sm_pb_bytes(sparse, i);
    for (int i = 0; i < 4; i++) {
        struct node *node = find_node(g, names[i], &output, &control);
        if (!node)
            continue;
        node->role = role;
        if (role[0] == 'o')
            meet(g, node);
    }
    while (sm_pb_next_msg(&parts, 2, &part) > 0)
        meet_info(g, part, role);
}

/* ---- the reply ---- */

static void
add_function(const struct graph *g, struct str name, struct buf *names,
             int64_t *n_nodes)
{
    const struct function *f = bsearch(&name, g->functions, (size_t)g->n_functions,
                                       sizeof *g->functions, by_name);
    if (!f)
        return;
    *n_nodes += f->n_nodes;
    buf_addf(names, "%s%.*s", names->len ? ", " : "", STR_ARG(name));
}

/* Functions that a node calls: by its op type, or by attributes (a list of them too).
 */
static void
put_functions(const struct graph *g, const struct sm_node *node, cJSON *o)
{
    struct buf names AUTO(buf_release) = BUF_INIT;
    struct str it = node->raw, entry, funcs[16];
    struct sm_attr a;
    int64_t n_nodes = 0;
    add_function(g, node->op, &names, &n_nodes);
    while (sm_pb_next_msg(&it, 5, &entry) > 0) {
        if (sm_attr_parse(sm_pb_bytes(entry, 2), &a) < 0)
            continue;
        if (a.kind == SM_ATTR_FUNC)
            add_function(g, sm_attr_func_name(&a), &names, &n_nodes);
        if (a.kind != SM_ATTR_LIST)
            continue;
        int n = sm_attr_strs(&a, funcs, 16);
        for (int i = 0; i < n && i < 16; i++)
            add_function(g, sm_pb_bytes(funcs[i], 1), &names, &n_nodes);
    }
    if (!names.len)
        return;
    json_put_str(o, "function", buf_str(&names));
    json_put_int(o, "function_nodes", n_nodes);
}

static void
put_str(cJSON *o, const char *key, struct str s)
{
    char *text AUTO(free_ptr) = str_dup(s);
    json_put_str(o, key, text);
}

static void
put_edge(struct graph *g, struct str input, int to)
{
    int output;
    bool control;
    struct node *from = find_node(g, input, &output, &control);
    if (!from)
        return;
    meet(g, from);
    cJSON *o = cJSON_CreateObject();
    json_put_int(o, "from", from->id);
    json_put_int(o, "to", to);
    if (control)
        json_put_bool(o, "control", true);
    else
        json_put_int(o, "output", output);
    cJSON_AddItemToArray(g->edge_list, o);
}

static int
put_node(struct graph *g, int id, struct err *err)
{
    const struct node *n = &g->nodes[g->met[id]];
    struct sm_node node;
    if (sm_node_parse(n->raw, &node, err) < 0)
        return -(int)err->code;
    cJSON *o = cJSON_CreateObject();
    json_put_int(o, "id", id);
    put_str(o, "name", node.name);
    put_str(o, "op", node.op);
    if (n->role)
        json_put_str(o, "role", n->role);
    put_functions(g, &node, o);
    cJSON_AddItemToArray(g->node_list, o);
    struct str it = node.raw, input;
    while (sm_pb_next_msg(&it, SM_NODE_INPUT, &input) > 0)
        put_edge(g, input, id);
    return 0;
}

static void
meet_signature(struct graph *g, const struct sm_signature *s)
{
    for (int i = 0; i < s->n_inputs; i++)
        meet_info(g, s->inputs[i].raw, "input");
    for (int i = 0; i < s->n_outputs; i++)
        meet_info(g, s->outputs[i].raw, "output");
}

static int
graph_open(struct graph *g, const struct sm_meta *meta, struct err *err)
{
    g->nodes = read_sorted(meta->graph, SM_GRAPH_NODE, sizeof *g->nodes, &g->n_nodes,
                           node_name, err);
    if (g->nodes)
        g->functions =
            read_sorted(meta->library, SM_LIBRARY_FUNCTION, sizeof *g->functions,
                        &g->n_functions, function_name, err);
    if (!g->nodes || !g->functions)
        return -(int)err->code;
    g->met = xcalloc((size_t)g->n_nodes + 1, sizeof *g->met);
    for (int i = 0; i < g->n_nodes; i++)
        g->nodes[i].id = -1;
    for (int i = 0; i < g->n_functions; i++) {
        struct str it = g->functions[i].raw, raw;
        while (sm_pb_next_msg(&it, SM_FUNCTION_NODE, &raw) > 0)
            g->functions[i].n_nodes++;
    }
    return 0;
}

int
svc_show_graph(cJSON *reply, const struct sm_meta *meta,
               const struct sm_signature *only_or_null, struct err *err)
{
    struct graph g = { 0 };
    int r = graph_open(&g, meta, err);
    if (r >= 0) {
        if (only_or_null) {
            put_str(reply, "signature", only_or_null->key);
            meet_signature(&g, only_or_null);
        }
        for (int i = 0; i < meta->n_signatures && !only_or_null; i++)
            if (!sm_signature_hidden(&meta->signatures[i]))
                meet_signature(&g, &meta->signatures[i]);
        g.node_list = cJSON_AddArrayToObject(reply, "nodes");
        g.edge_list = cJSON_AddArrayToObject(reply, "edges");
    }
    for (int id = 0; r >= 0 && id < g.n_met; id++)
        r = put_node(&g, id, err);
    free(g.nodes);
    free(g.functions);
    free(g.met);
    return r;
}
