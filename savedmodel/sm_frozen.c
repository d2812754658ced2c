/* SPDX-License-Identifier: Apache-2.0 */
/* A frozen graph: the file is a GraphDef alone, without signatures. Around it goes what
 * makes it a SavedModel:
 *
 *   head   SavedModel { 1: 1, 2: MetaGraphDef { 1: { 4: "serve" }, 2: GraphDef {
 *   graph  the file as it is
 *   tail   }, 5: { "serving_default": signature } } }
 *
 * Its inputs are the tensors that are fed and the Placeholders that the outputs need
 * besides; keys are the tensors' names ("x:0"). */
#include "savedmodel/sm_int.h"

#include <stdlib.h>

#define METHOD "tensorflow/serving/predict"
enum { NAMED_MAX = 1 << 16, LISTED_MAX = 20, NODES_MAX = 1 << 28 };

struct tensor {
    struct str text; /* as it was written */
    int node;
    int64_t output;
};
struct graph {
    struct sm_names names;
    struct str *nodes; /* NodeDef messages, numbers as in `names` */
    struct tensor *feeds, *fetches;
    int n_feeds, n_fetches;
    bool *seen;
    int *stack, n_stack;
};

static void
graph_release(struct graph *g)
{
    sm_names_release(&g->names);
    free(g->nodes);
    free(g->feeds);
    free(g->fetches);
    free(g->seen);
    free(g->stack);
}

static int
read_nodes(struct graph *g, struct str msg, struct err *err)
{
    struct str raw;
    struct sm_node node;
    for (int n = 0; sm_pb_next_msg(&msg, SM_GRAPH_NODE, &raw) > 0; n++) {
        if (sm_node_parse(raw, &node, err) < 0)
            return -(int)err->code;
        if (n == NODES_MAX)
            return err_set(err, ERR_LIMIT, "more than %d nodes", NODES_MAX);
        if (!sm_names_add(&g->names, node.name))
            return err_set(err, ERR_CORRUPT, "node '%.*s' is in the graph twice",
                           STR_ARG(node.name));
        if ((n & (n - 1)) == 0) /* full at each power of two */
            g->nodes = xreallocarray(g->nodes, n ? 2 * (size_t)n : 1, sizeof *g->nodes);
        g->nodes[n] = raw;
    }
    if (g->names.n == 0)
        return err_set(err, ERR_CORRUPT,
                       "no GraphDef: it has no nodes (a SavedModel is given by its "
                       "directory: --dir DIR)");
    g->seen = xcalloc((size_t)g->names.n, sizeof *g->seen);
    g->stack = xcalloc((size_t)g->names.n, sizeof *g->stack);
    return 0;
}

/* "name:2", or "name" for its output 0; of inputs also "^name", which has output -1.
 * false: no such node, or no number. */
static bool
find_tensor(const struct graph *g, struct str text, struct tensor *out)
{
    *out = (struct tensor){ .text = text };
    if (text.n && text.p[0] == '^') {
        text = (struct str){ text.p + 1, text.n - 1 };
        out->output = -1;
    }
    const char *colon = text.n ? memrchr(text.p, ':', text.n) : NULL;
    if (colon) {
        for (const char *p = colon + 1; p < text.p + text.n; p++) {
            if (*p < '0' || *p > '9' || out->output > INT32_MAX)
                return false;
            out->output = out->output * 10 + (*p - '0');
        }
        if (colon + 1 == text.p + text.n)
            return false;
        text.n = (size_t)(colon - text.p);
    }
    out->node = sm_names_find(&g->names, text);
    return out->node >= 0;
}

static struct sm_node
node_at(const struct graph *g, int i)
{
    struct sm_node n;
    struct err err = ERR_INIT;
    if (sm_node_parse(g->nodes[i], &n, &err) < 0)
        BUG("a node that parsed does not");
    return n;
}

static struct str
name_of(const struct graph *g, const struct tensor *t)
{
    return g->names.v[t->node];
}

static bool
is_in(const struct tensor *v, int n, const struct tensor *t)
{
    for (int i = 0; i < n; i++)
        if (v[i].node == t->node && v[i].output == t->output)
            return true;
    return false;
}

/* ---- what was asked for ---- */

/* Outputs that nobody takes: what people froze the graph for. */
static int
no_outputs(struct graph *g, struct err *err)
{
    struct buf list AUTO(buf_release) = BUF_INIT;
    int n_more = 0, n = 0;
    for (int i = 0; i < g->names.n; i++) {
        struct str it = g->nodes[i], input;
        struct tensor t;
        while (sm_pb_next_msg(&it, SM_NODE_INPUT, &input) > 0)
            if (find_tensor(g, input, &t))
                g->seen[t.node] = true;
    }
    for (int i = 0; i < g->names.n; i++) {
        struct sm_node node = node_at(g, i);
        if (g->seen[i] || str_is(node.op, "NoOp") || str_is(node.op, "Const") ||
            str_is(node.op, "Placeholder") || str_is(node.op, "Assert"))
            continue;
        if (n++ < LISTED_MAX)
            buf_addf(&list, "%s%.*s:0", list.len ? "," : "", STR_ARG(node.name));
        else
            n_more++;
    }
    if (n_more)
        buf_addf(&list, " and %d more", n_more);
    return err_set(err, ERR_USAGE,
                   "a frozen graph has no signature: --outputs NAME:0,... says what it "
                   "is for; what nobody consumes: %s",
                   n ? buf_str(&list) : "nothing");
}

/* "a:0,b:0" into *out, each once. */
static int
read_list(const struct graph *g, const char *flag, const char *text,
          struct tensor **out, int *n, struct err *err)
{
    for (const char *p = text; p && *p;) {
        struct str item = { p, strcspn(p, ",") };
        struct tensor t;
        p += item.n + (p[item.n] == ',');
        if (item.n == 0)
            continue;
        if (!find_tensor(g, item, &t) || t.output < 0)
            return err_set(err, ERR_NOTFOUND, "%s: the graph has no tensor '%.*s'",
                           flag, STR_ARG(item));
        if (is_in(*out, *n, &t))
            continue;
        if (*n == NAMED_MAX)
            return err_set(err, ERR_LIMIT, "%s: more than %d tensors", flag, NAMED_MAX);
        *out = xreallocarray(*out, (size_t)*n + 1, sizeof **out);
        (*out)[(*n)++] = t;
    }
    return 0;
}

/* ---- what that needs ---- */

static void
reach(struct graph *g, int node)
{
    if (!g->seen[node])
        g->stack[g->n_stack++] = node;
    g->seen[node] = true;
}

/* Adds to the feeds the Placeholders that the fetches need. */
static int
find_inputs(struct graph *g, struct err *err)
{
    int n_given = g->n_feeds; /* few, other than the Placeholders there may be */
    for (int i = 0; i < g->n_fetches; i++)
        if (!is_in(g->feeds, n_given, &g->fetches[i]))
            reach(g, g->fetches[i].node);
    while (g->n_stack > 0) {
        struct tensor self = { .node = g->stack[--g->n_stack] };
        struct sm_node node = node_at(g, self.node);
        struct str it = node.raw, input;
        if (str_is(node.op, "Placeholder") && !is_in(g->feeds, n_given, &self)) {
            if (g->n_feeds == NAMED_MAX)
                return err_set(err, ERR_LIMIT, "more than %d inputs", NAMED_MAX);
            g->feeds = xreallocarray(g->feeds, (size_t)g->n_feeds + 1, sizeof self);
            g->feeds[g->n_feeds++] = self;
        }
        while (sm_pb_next_msg(&it, SM_NODE_INPUT, &input) > 0) {
            struct tensor t;
            if (!find_tensor(g, input, &t))
                return err_set(err, ERR_CORRUPT,
                               "node '%.*s': its input '%.*s' is not in the graph",
                               STR_ARG(node.name), STR_ARG(input));
            if (!is_in(g->feeds, n_given, &t))
                reach(g, t.node);
        }
    }
    return 0;
}

/* ---- the signature ---- */

/* The node says it itself (Placeholder), or whoever exported the graph had it written
 * down; a TensorShapeProto of unknown rank otherwise. */
static struct str
shape_of(const struct sm_node *n, int64_t output)
{
    struct sm_attr a;
    struct str it, shape;
    if (output == 0 && str_is(n->op, "Placeholder") && sm_node_attr(n, "shape", &a) &&
        a.kind == SM_ATTR_SHAPE)
        return a.bytes;
    if (sm_node_attr(n, "_output_shapes", &a) && a.kind == SM_ATTR_LIST) {
        it = a.bytes;
        while (sm_pb_next_msg(&it, SM_ATTR_LIST_SHAPE, &shape) > 0)
            if (output-- == 0)
                return shape;
    }
    return STR_LIT("\x18\x01"); /* unknown_rank = true */
}

static int
put_tensor(const struct graph *g, const struct tensor *t, uint32_t field, bool is_fed,
           struct buf *out, struct err *err)
{
    struct buf info AUTO(buf_release) = BUF_INIT, entry AUTO(buf_release) = BUF_INIT;
    struct buf name AUTO(buf_release) = BUF_INIT;
    struct sm_node node = node_at(g, t->node);
    int dtype = sm_node_out_type(&node, t->output);
    buf_addf(&name, "%.*s:%lld", STR_ARG(name_of(g, t)), (long long)t->output);
    if (is_fed && dtype == 0)
        return err_set(err, ERR_UNSUPPORTED,
                       "'%s' cannot be fed: op %.*s does not say what type it has",
                       buf_str(&name), STR_ARG(node.op));
    struct str key = { buf_str(&name), name.len };
    sm_pb_put_bytes(&info, 1, key);
    sm_pb_put_int(&info, 2, (uint64_t)(int64_t)dtype);
    sm_pb_put_bytes(&info, 3, shape_of(&node, t->output));
    sm_pb_put_bytes(&entry, 1, key);
    sm_pb_put_bytes(&entry, 2, (struct str){ buf_str(&info), info.len });
    sm_pb_put_bytes(out, field, (struct str){ buf_str(&entry), entry.len });
    return 0;
}

static int
put_parts(const struct graph *g, struct sm_frozen *out, struct err *err)
{
    struct buf sig AUTO(buf_release) = BUF_INIT, entry AUTO(buf_release) = BUF_INIT;
    struct buf meta AUTO(buf_release) = BUF_INIT;
    for (int i = 0; i < g->n_feeds; i++)
        if (put_tensor(g, &g->feeds[i], 1, true, &sig, err) < 0)
            return -(int)err->code;
    for (int i = 0; i < g->n_fetches; i++)
        if (put_tensor(g, &g->fetches[i], 2, false, &sig, err) < 0)
            return -(int)err->code;
    sm_pb_put_bytes(&sig, 3, STR_LIT(METHOD));
    sm_pb_put_bytes(&entry, 1, STR_LIT("serving_default"));
    sm_pb_put_bytes(&entry, 2, (struct str){ buf_str(&sig), sig.len });
    sm_pb_put_bytes(&out->tail, 5, (struct str){ buf_str(&entry), entry.len });

    sm_pb_put_bytes(&meta, 1, STR_LIT("\x22\x05serve")); /* 4: tags */
    sm_pb_put_head(&meta, 2, out->graph.n);
    sm_pb_put_int(&out->head, 1, 1);
    sm_pb_put_head(&out->head, 2, meta.len + out->graph.n + out->tail.len);
    buf_add(&out->head, buf_str(&meta), meta.len);
    return buf_check(&out->tail, "the signature", err);
}

/* ---- the file ---- */

static int
open_file(struct sm_frozen *f, const char *path, struct err *err)
{
    size_t n = strlen(path), n_end = sizeof(".pbtxt") - 1;
    bool is_text = n >= n_end && strcmp(path + n - n_end, ".pbtxt") == 0;
    f->file = xcalloc(1, sizeof(*f->file));
    if (sm_file_open(f->file, AT_FDCWD, path, err) < 0 ||
        sm_form_convert(f->file, is_text ? SM_FORM_PBTXT : SM_FORM_PB, SM_M_GraphDef,
                        path, err) < 0)
        return -(int)err->code;
    f->graph = f->file->bytes;
    return 0;
}

int
sm_frozen_open(struct sm_frozen *out, const char *path, const char *outputs,
               const char *feeds, struct err *err)
{
    struct graph g AUTO(graph_release) = { .n_feeds = 0 };
    unsigned n_cut = fs_maps_n_cut();
    *out = (struct sm_frozen){ .file = NULL };
    int rc = open_file(out, path, err);
    if (rc == 0 &&
        (read_nodes(&g, out->graph, err) < 0 ||
         read_list(&g, "--outputs", outputs, &g.fetches, &g.n_fetches, err) < 0 ||
         (g.n_fetches == 0 && no_outputs(&g, err) < 0) ||
         read_list(&g, "--inputs", feeds, &g.feeds, &g.n_feeds, err) < 0 ||
         find_inputs(&g, err) < 0 || put_parts(&g, out, err) < 0))
        rc = err_ctx(err, "%s", path);
    if (fs_maps_check(n_cut, err) < 0)
        rc = -(int)err->code;
    if (rc < 0)
        sm_frozen_release(out);
    return rc;
}

void
sm_frozen_release(struct sm_frozen *f)
{
    if (f->file)
        sm_file_release(f->file);
    free(f->file);
    buf_release(&f->head);
    buf_release(&f->tail);
    *f = (struct sm_frozen){ .file = NULL };
}
