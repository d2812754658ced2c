/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a MetaGraph: nodes and functions are found by name at once, and looked at only
 * when somebody reaches them. Names are slices of the model's file. */
#include "runtime/rt_int.h"

#include <limits.h>
#include <stdlib.h>

enum { N_OUT_MAX = 1 << 16, N_NODES_MAX = 1 << 28 };

static const char *
keep(struct rt_model *m, struct str s)
{
    char *p = rt_arena_alloc(&m->arena, s.n + 1, 1);
    if (!p)
        return "?";
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return p;
}

/* ---- nodes by name --------------------------------------------------------------- */

static bool
is_flow_op(struct str op)
{
    static const char *const ops[] = { "Switch",    "Merge",           "Enter",
                                       "Exit",      "NextIteration",   "LoopCond",
                                       "RefSwitch", "RefMerge",        "RefEnter",
                                       "RefExit",   "RefNextIteration" };
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
        if (str_is(op, ops[i]))
            return true;
    return false;
}

/* Parses the nodes of `msg` (repeated field `field`) into g. */
static int
read_nodes(struct rt_graph *g, struct str msg, uint32_t field, struct err *err)
{
    struct str it = msg, raw;
    int n = 0, rc;
    while ((rc = sm_pb_next_msg(&it, field, &raw)) == 1)
        n++;
    if (rc < 0 || n > N_NODES_MAX)
        return err_set(err, ERR_CORRUPT, "graph: malformed after node %d", n);
    g->nodes = xcalloc((size_t)n + 1, sizeof(g->nodes[0]));
    for (it = msg; sm_pb_next_msg(&it, field, &raw) == 1;) {
        struct rt_gnode *node = &g->nodes[g->n_nodes];
        if (sm_node_parse(raw, &node->sm, err) < 0)
            return err_ctx(err, "node %d", g->n_nodes);
        if (rt_names_add(&g->names, node->sm.name, g->n_nodes) >= 0)
            return err_set(err, ERR_CORRUPT, "node '%.*s' is in the graph twice",
                           STR_ARG(node->sm.name));
        g->has_flow |= is_flow_op(node->sm.op);
        g->n_nodes++;
    }
    return 0;
}

static void
graph_release(struct rt_graph *g)
{
    for (int i = 0; i < g->n_nodes; i++) {
        free(g->nodes[i].in);
        rt_tensor_unref(&g->nodes[i].konst);
    }
    free(g->nodes);
    rt_names_release(&g->names);
}

static int
read_library(struct rt_model *m, struct err *err)
{
    struct str it = m->meta->library, raw;
    int n = 0, rc;
    while ((rc = sm_pb_next_msg(&it, SM_LIBRARY_FUNCTION, &raw)) == 1)
        n++;
    if (rc < 0)
        return err_set(err, ERR_CORRUPT,
                       "function library: malformed after function %d", n);
    m->funcs = xcalloc((size_t)n + 1, sizeof(m->funcs[0]));
    for (it = m->meta->library; sm_pb_next_msg(&it, SM_LIBRARY_FUNCTION, &raw) == 1;) {
        struct rt_func *f = &m->funcs[m->n_funcs];
        if (sm_function_parse(raw, &f->sm, err) < 0)
            return err_ctx(err, "function %d", m->n_funcs);
        f->g.model = m;
        f->g.func = f;
        f->name = keep(m, f->sm.name);
        rt_names_add(&m->func_names, f->sm.name, m->n_funcs++);
    }
    return 0;
}

int
rt_model_read(struct rt_model *m, const struct sm_meta *meta, struct err *err)
{
    *m = (struct rt_model){ .meta = meta };
    m->main.model = m;
    for (int i = 0; i < rt_n_op_defs; i++)
        rt_names_add(&m->ops, str_of(rt_op_defs[i].name), i);
    if (read_nodes(&m->main, meta->graph, SM_GRAPH_NODE, err) < 0 ||
        read_library(m, err) < 0)
        return -(int)err->code;
    return 0;
}

void
rt_model_release(struct rt_model *m)
{
    graph_release(&m->main);
    for (int i = 0; i < m->n_funcs; i++) {
        struct rt_func *f = &m->funcs[i];
        graph_release(&f->g);
        rt_names_release(&f->args);
        free(f->rets);
        free(f->missing);
        free(f->effects);
        free(f->ret_names);
        free(f->arg_defs);
        free(f->ret_defs);
    }
    free(m->funcs);
    rt_names_release(&m->func_names);
    rt_names_release(&m->ops);
    rt_arena_release(&m->arena);
}

struct rt_func *
rt_model_func(struct rt_model *m, struct str name)
{
    int i = rt_names_find(&m->func_names, name);
    return i < 0 ? NULL : &m->funcs[i];
}

/* ---- outputs by name ------------------------------------------------------------- */

/* How many tensors an output argument is: attr N of the node, or the types it lists. */
static int
list_count(const struct rt_gnode *n, char kind, struct str attr)
{
    char name[128];
    if (attr.n >= sizeof(name))
        return -1;
    memcpy(name, attr.p, attr.n);
    name[attr.n] = '\0';
    struct sm_attr a;
    if (!sm_node_attr(&n->sm, name, &a))
        return -1;
    if (kind == '*')
        return a.kind == SM_ATTR_I && a.i >= 0 && a.i <= N_OUT_MAX ? (int)a.i : -1;
    return a.kind == SM_ATTR_LIST ? sm_attr_types(&a, NULL, 0) : -1;
}

/* The next item of an ops.def output list: its name and how many tensors; 0: end. */
static int
next_out(const struct rt_gnode *n, const char **spec, struct str *name, int *count)
{
    const char *s = *spec;
    if (!*s)
        return 0;
    size_t len = strcspn(s, ","), name_len = strcspn(s, ",*@");
    *name = (struct str){ s, name_len };
    *count = 1;
    if (name_len < len)
        *count = list_count(n, s[name_len],
                            (struct str){ s + name_len + 1, len - name_len - 1 });
    *spec = s + len + (s[len] == ',');
    return 1;
}

static int
bad_list(const struct rt_gnode *n, struct err *err)
{
    return err_set(
        err, ERR_CORRUPT,
        "node '%.*s' (%.*s): the attribute that counts its outputs is missing "
        "or out of range",
        STR_ARG(n->sm.name), STR_ARG(n->sm.op));
}

/* Sets n_out; with a name, also the number of its k-th tensor. An op that is unknown
 * has no outputs to count: whatever is asked for is taken to be there. */
static int
find_out(struct rt_gnode *n, struct str want, int k, int *index, struct err *err)
{
    int at = 0;
    *index = -1;
    if (n->callee) {
        for (int i = 0; i < n->callee->n_rets; i++, at++)
            if (str_eq(n->callee->ret_names[i], want) && k == 0)
                *index = i;
    } else if (n->def) {
        const char *spec = n->def->out;
        struct str name;
        int count;
        while (next_out(n, &spec, &name, &count)) {
            if (count < 0 || count > N_OUT_MAX - at)
                return bad_list(n, err);
            if (k < count && str_eq(name, want))
                *index = at + k;
            at += count;
        }
    } else {
        *index = at = k < N_OUT_MAX ? k : 0;
        at++;
    }
    n->n_out = at;
    return 0;
}

/* ---- inputs ---------------------------------------------------------------------- */

/* Splits off ":<number>" at the end; 0 when there is none. -1: malformed. */
static int
take_number(struct str *s)
{
    size_t i = s->n;
    while (i > 0 && s->p[i - 1] >= '0' && s->p[i - 1] <= '9')
        i--;
    if (i == s->n || i == 0 || s->p[i - 1] != ':')
        return s->n > 0 && s->p[s->n - 1] == ':' ? -1 : 0;
    int64_t v = 0;
    for (size_t j = i; j < s->n; j++)
        if ((v = v * 10 + (s->p[j] - '0')) > N_OUT_MAX)
            return -1;
    s->n = i - 1;
    return (int)v;
}

int
rt_graph_ref(struct rt_graph *g, struct str ref, struct rt_gref *out, bool *control,
             struct err *err)
{
    struct str s = ref;
    *control = s.n > 0 && s.p[0] == '^';
    if (*control)
        s = (struct str){ s.p + 1, s.n - 1 };
    out->out = take_number(&s);
    out->node = out->out < 0 ? -1 : rt_names_find(&g->names, s);
    if (out->node < 0)
        return err_set(err, ERR_CORRUPT, "'%.*s' is not in the graph", STR_ARG(ref));
    return 0;
}

/* What kind of node it is: an op of the table, or a call by a function's name. */
static int
know_node(struct rt_graph *g, struct rt_gnode *n, struct err *err)
{
    if (n->known)
        return 0;
    n->known = true;
    struct rt_model *m = g->model;
    int index, op = rt_names_find(&m->ops, n->sm.op);
    n->name = keep(m, n->sm.name);
    n->op = keep(m, n->sm.op);
    if (op >= 0) {
        n->def = &rt_op_defs[op];
    } else {
        struct rt_func *f = rt_model_func(m, n->sm.op);
        if (f && rt_func_read(f, err) < 0)
            return -(int)err->code;
        n->callee = f;
    }
    return find_out(n, (struct str){ NULL, 0 }, 0, &index, err);
}

/* "arg", "arg:k", "node:out:k", "^node" of a function's body. */
static int
body_ref(struct rt_graph *g, struct str ref, struct rt_gref *out, bool *control,
         struct err *err)
{
    struct str s = ref, name = { NULL, 0 };
    *control = s.n > 0 && s.p[0] == '^';
    if (*control)
        s = (struct str){ s.p + 1, s.n - 1 };
    int k = *control ? 0 : take_number(&s), index = 0;
    if (k < 0)
        return err_set(err, ERR_CORRUPT, "'%.*s' is no output", STR_ARG(ref));
    const char *colon = s.n ? memrchr(s.p, ':', s.n) : NULL;
    if (colon && !*control) {
        name = (struct str){ colon + 1, (size_t)(s.p + s.n - colon - 1) };
        s.n = (size_t)(colon - s.p);
    }
    int arg = colon ? -1 : rt_names_find(&g->func->args, s);
    if (arg >= 0) {
        *out = (struct rt_gref){ -1 - arg, 0 };
        return 0;
    }
    out->node = rt_names_find(&g->names, s);
    out->out = 0;
    if (out->node < 0)
        return err_set(err, ERR_CORRUPT, "'%.*s' is not in function '%s'", STR_ARG(ref),
                       g->func->name);
    if (*control)
        return 0;
    struct rt_gnode *n = &g->nodes[out->node];
    if (know_node(g, n, err) < 0)
        return -(int)err->code;
    if (name.n == 0)
        index = k;
    else if (find_out(n, name, k, &index, err) < 0)
        return -(int)err->code;
    if (index < 0)
        return err_set(err, ERR_CORRUPT, "'%.*s': %.*s has no such output",
                       STR_ARG(ref), STR_ARG(n->sm.op));
    out->out = index;
    return 0;
}

int
rt_gnode_link(struct rt_graph *g, int node, struct err *err)
{
    struct rt_gnode *n = &g->nodes[node];
    if (n->linked)
        return 0;
    n->linked = true;
    if (know_node(g, n, err) < 0)
        return -(int)err->code;
    struct str it = n->sm.raw, ref;
    int n_all = 0, rc;
    while ((rc = sm_pb_next_msg(&it, SM_NODE_INPUT, &ref)) == 1)
        n_all++;
    if (rc < 0)
        return err_set(err, ERR_CORRUPT, "node '%s': malformed", n->name);
    n->in = xcalloc((size_t)n_all + 1, sizeof(n->in[0]));
    for (it = n->sm.raw; sm_pb_next_msg(&it, SM_NODE_INPUT, &ref) == 1;) {
        bool control = ref.n > 0 && ref.p[0] == '^';
        if (!control && n->n_ctrl > 0)
            return err_set(err, ERR_CORRUPT,
                           "node '%s': input '%.*s' stands behind a "
                           "control input",
                           n->name, STR_ARG(ref));
        n->n_ctrl += control;
        n->n_in += !control;
    }
    int i = 0;
    for (it = n->sm.raw; sm_pb_next_msg(&it, SM_NODE_INPUT, &ref) == 1; i++) {
        bool control;
        rc = g->func ? body_ref(g, ref, &n->in[i], &control, err)
                     : rt_graph_ref(g, ref, &n->in[i], &control, err);
        if (rc < 0)
            return err_ctx(err, "node '%s'", n->name);
    }
    return 0;
}

struct rt_func *
rt_gnode_callee(struct rt_graph *g, const struct rt_gnode *n)
{
    struct sm_attr a;
    if (n->callee)
        return (struct rt_func *)(uintptr_t)n->callee;
    if (sm_node_attr(&n->sm, "f", &a) && a.kind == SM_ATTR_FUNC)
        return rt_model_func(g->model, sm_attr_func_name(&a));
    return NULL;
}

/* ---- functions ------------------------------------------------------------------- */

enum { OPDEF_INPUT = 2, OPDEF_OUTPUT = 3, FUNCTION_RET = 4, FUNCTION_CONTROL_RET = 6 };

static int
read_args(struct rt_func *f, uint32_t field, struct sm_arg **out, int *n_out,
          struct err *err)
{
    struct str it = f->sm.signature, raw;
    int n = 0, rc;
    while ((rc = sm_pb_next_msg(&it, field, &raw)) == 1)
        n++;
    if (rc < 0 || n > N_OUT_MAX)
        return err_set(err, ERR_CORRUPT, "malformed signature");
    *out = xcalloc((size_t)n + 1, sizeof((*out)[0]));
    for (it = f->sm.signature; sm_pb_next_msg(&it, field, &raw) == 1; (*n_out)++) {
        struct sm_arg *a = &(*out)[*n_out];
        if (sm_arg_parse(raw, a, err) < 0)
            return -(int)err->code;
        if (a->number_attr.n > 0 || a->type_list_attr.n > 0)
            return err_set(err, ERR_UNSUPPORTED,
                           "argument '%.*s' is a list; functions of single tensors run",
                           STR_ARG(a->name));
    }
    return 0;
}

static int
read_rets(struct rt_func *f, struct err *err)
{
    f->rets = xcalloc((size_t)f->n_rets + 1, sizeof(f->rets[0]));
    f->ret_names = xcalloc((size_t)f->n_rets + 1, sizeof(f->ret_names[0]));
    for (int i = 0; i < f->n_rets; i++)
        f->ret_names[i] = f->ret_defs[i].name;
    for (int i = 0; i < f->n_rets; i++) {
        struct str ref;
        bool control;
        if (!sm_pb_map_get(f->sm.raw, FUNCTION_RET, f->ret_names[i], &ref))
            return err_set(err, ERR_CORRUPT, "output '%.*s' has no value",
                           STR_ARG(f->ret_names[i]));
        if (body_ref(&f->g, ref, &f->rets[i], &control, err) < 0)
            return err_ctx(err, "output '%.*s'", STR_ARG(f->ret_names[i]));
    }
    return 0;
}

/* Effects: what the function returns as control outputs, and nodes that are there only
 * for their effect. */
static int
read_effects(struct rt_func *f, struct err *err)
{
    struct rt_graph *g = &f->g;
    f->effects = xcalloc((size_t)g->n_nodes + 1, sizeof(f->effects[0]));
    bool *seen = xcalloc((size_t)g->n_nodes + 1, sizeof(seen[0]));
    struct str it = f->sm.raw, entry;
    while (sm_pb_next_msg(&it, FUNCTION_CONTROL_RET, &entry) == 1) {
        struct str name = sm_pb_bytes(entry, 2);
        int i = rt_names_find(&g->names, name);
        if (i < 0) {
            free(seen);
            return err_set(err, ERR_CORRUPT, "control output '%.*s' is not in its body",
                           STR_ARG(name));
        }
        if (!seen[i])
            f->effects[f->n_effects++] = i;
        seen[i] = true;
    }
    for (int i = 0; i < g->n_nodes; i++) {
        int op = rt_names_find(&g->model->ops, g->nodes[i].sm.op);
        if (op >= 0 && !seen[i] && (rt_op_defs[op].flags & RT_STATEFUL) &&
            rt_op_defs[op].out[0] == '\0')
            f->effects[f->n_effects++] = i;
    }
    free(seen);
    return 0;
}

int
rt_func_read(struct rt_func *f, struct err *err)
{
    if (f->read && !f->broken)
        return 0;
    if (f->broken)
        return err_set(err, ERR_CORRUPT, "function '%s' is malformed", f->name);
    f->read = f->broken = true;
    if (read_args(f, OPDEF_INPUT, &f->arg_defs, &f->n_args, err) < 0 ||
        read_args(f, OPDEF_OUTPUT, &f->ret_defs, &f->n_rets, err) < 0 ||
        read_nodes(&f->g, f->sm.raw, SM_FUNCTION_NODE, err) < 0)
        return err_ctx(err, "function '%s'", f->name);
    for (int i = 0; i < f->n_args; i++)
        rt_names_add(&f->args, f->arg_defs[i].name, i);
    f->broken = false; /* its rets may lead back to it */
    f->broken = read_effects(f, err) < 0 || read_rets(f, err) < 0;
    return f->broken ? err_ctx(err, "function '%s'", f->name) : 0;
}
