/* SPDX-License-Identifier: Apache-2.0 */
/* A function of the model's objects, bound as if it were a signature.
 *
 * A concrete function takes what its caller gives and then what it captured: objects,
 * by their place in the SavedObjectGraph. Constants name their node of the main graph.
 * A table is the node that makes a table under the same shared_name as the object's own
 * creator does. Variables are found as TensorFlow finds them: the object graph that
 * lies in the checkpoint has the same names from the root on, and tells each object's
 * key; the variable is the one that was restored from there.
 *
 * SavedObjectGraph: 1 SavedObject, 2 map of SavedConcreteFunction (2 captured objects,
 *   4 structure of the result). SavedObject: 1 children (1 object, 2 name), one of
 *   5 asset, 6 function (1 names), 7 variable (6 name), 9 constant (1 node),
 *   10 resource.
 * In the checkpoint: 1 object: 1 children (as above), 2 attributes (3 key). */
#include "runtime/rt_backend_int.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    SAVED_ASSET = 5,
    SAVED_FUNCTION,
    SAVED_VARIABLE,
    SAVED_CONSTANT = 9,
    SAVED_TABLE
};
#define PREFIX "function:"

bool
rt_is_function_key(const char *key)
{
    return strncmp(key, PREFIX, strlen(PREFIX)) == 0;
}

/* ---- which one ------------------------------------------------------------------- */

static void
add_options(const struct sm_callable *c, struct buf *out)
{
    for (int i = 0; i < c->n_concrete; i++) {
        buf_addf(out, "%s%.*s", i ? "; " : "", STR_ARG(c->concrete[i].name));
        if (c->concrete[i].args.n == 0)
            continue;
        buf_addc(out, ' ');
        sm_value_str(c->concrete[i].args, out);
    }
}

static int
find_concrete(const struct sm_callables *all, const char *name,
              const struct sm_concrete **out, struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    for (int i = 0; i < all->n; i++) {
        const struct sm_callable *c = &all->v[i];
        for (int k = 0; k < c->n_concrete; k++) {
            if (!str_is(c->concrete[k].name, name))
                continue;
            *out = &c->concrete[k];
            return 0;
        }
        if (!str_is(c->name, name)) {
            buf_addf(&text, "%s'%.*s'", text.len ? ", " : "", STR_ARG(c->name));
            continue;
        }
        *out = c->concrete;
        if (c->n_concrete == 1)
            return 0;
        if (c->n_concrete == 0)
            return err_set(err, ERR_UNSUPPORTED,
                           "function '%s' was saved without a trace: it has no graph",
                           name);
        buf_clear(&text);
        add_options(c, &text);
        return err_set(err, ERR_INVALID,
                       "function '%s' has %d traces; name one of them: %s", name,
                       c->n_concrete, buf_str(&text));
    }
    return err_set(err, ERR_NOTFOUND, "there is no function '%s'; there are %s", name,
                   text.len ? buf_str(&text) : "none");
}

/* ---- objects --------------------------------------------------------------------- */

struct objects {
    struct str *v; /* SavedObject, or the checkpoint's */
    int n;
};

static void
objects_release(struct objects *o)
{
    free(o->v);
}

static void
objects_read(struct str graph, struct objects *o)
{
    struct str it = graph, raw;
    *o = (struct objects){ .n = 0 };
    while (sm_pb_next_msg(&it, 1, &raw) > 0)
        o->n++;
    o->v = xcalloc((size_t)o->n + 1, sizeof(o->v[0]));
    for (int i = 0; i < o->n && sm_pb_next_msg(&graph, 1, &o->v[i]) > 0;)
        i++;
}

/* -1: no child of this name. */
static int
child_of(const struct objects *o, int at, struct str name)
{
    struct str it = o->v[at], child;
    while (sm_pb_next_msg(&it, 1, &child) > 0) {
        int64_t id = sm_pb_int(child, 1, 0);
        if (str_eq(sm_pb_bytes(child, 2), name) && id >= 0 && id < o->n)
            return (int)id;
    }
    return -1;
}

/* same[i]: object i of `a` in `b`, found by walking both from their roots; -1: not
 * there. */
static int *
match_objects(const struct objects *a, const struct objects *b)
{
    int *same = xcalloc((size_t)a->n + 1, sizeof(same[0])),
        *queue = xcalloc((size_t)a->n + 1, sizeof(queue[0])), n = 0;
    for (int i = 0; i < a->n; i++)
        same[i] = -1;
    if (a->n > 0 && b->n > 0) {
        same[0] = 0;
        queue[n++] = 0;
    }
    for (int k = 0; k < n; k++) {
        struct str it = a->v[queue[k]], child;
        while (sm_pb_next_msg(&it, 1, &child) > 0) {
            int64_t id = sm_pb_int(child, 1, 0);
            if (id < 0 || id >= a->n || same[id] >= 0)
                continue;
            same[id] = child_of(b, same[queue[k]], sm_pb_bytes(child, 2));
            if (same[id] >= 0)
                queue[n++] = (int)id;
        }
    }
    free(queue);
    return same;
}

/* ---- captured objects to tensors of the main graph ------------------------------- */

struct captures {
    struct backend *b;
    struct objects saved, stored;
    struct sm_tensor graph; /* of the checkpoint, holds `stored` */
    int *same;
};

static void
captures_release(struct captures *c)
{
    objects_release(&c->saved);
    objects_release(&c->stored);
    sm_tensor_release(&c->graph);
    free(c->same);
}

static int
read_checkpoint_objects(struct captures *c, struct err *err)
{
    struct sm_bundle *bundle;
    if (c->same)
        return 0;
    if (rt_session_bundle(&c->b->s, &bundle, err) < 0 ||
        sm_bundle_tensor(bundle, STR_LIT("_CHECKPOINTABLE_OBJECT_GRAPH"),
                         (struct str){ "", 0 }, true, &c->graph, err) < 0)
        return -(int)err->code;
    if (c->graph.dtype != SM_STRING || c->graph.n_elems != 1)
        return err_set(err, ERR_CORRUPT, "the checkpoint's object graph is no string");
    objects_read(*sm_tensor_str(&c->graph), &c->stored);
    c->same = match_objects(&c->saved, &c->stored);
    return 0;
}

/* The main graph's node with this op (NULL: any) that keeps its state under `name`. */
static int
node_of_state(const struct rt_model *m, const char *op, struct str name)
{
    for (int i = 0; i < m->main.n_nodes; i++) {
        const struct sm_node *n = &m->main.nodes[i].sm;
        struct sm_attr a;
        if (op && !str_is(n->op, op))
            continue;
        bool named = sm_node_attr(n, "shared_name", &a) && a.kind == SM_ATTR_S;
        if (named && a.bytes.n > 0 ? str_eq(a.bytes, name)
                                   : op && str_eq(n->name, name))
            return i;
    }
    return -1;
}

static int
find_variable(struct captures *c, int id, struct str name, int *node, struct err *err)
{
    struct rt_session *s = &c->b->s;
    struct str key = { "", 0 }, attribute;
    if (read_checkpoint_objects(c, err) < 0)
        return -(int)err->code;
    if (c->same[id] >= 0) {
        struct str it = c->stored.v[c->same[id]];
        while (sm_pb_next_msg(&it, 2, &attribute) > 0)
            key = sm_pb_bytes(attribute, 3);
    }
    for (int i = 0; i < s->n_state && key.n > 0; i++) {
        const struct rt_var *v = (const struct rt_var *)s->state[i].obj;
        const struct rt_tensor *t = s->state[i].saved;
        if (v->obj.type != &rt_var_type.obj || !t || !t->buf || !t->buf->entry ||
            !str_eq(t->buf->entry->key, key))
            continue;
        *node = node_of_state(&s->model, "VarHandleOp", str_of(v->name));
        if (*node >= 0)
            return 0;
    }
    return err_set(err, ERR_UNSUPPORTED,
                   "it uses variable '%.*s', which the model's checkpoint did not "
                   "restore (key '%.*s')",
                   STR_ARG(name), STR_ARG(key));
}

/* The shared_name that the object's creator gives its table. */
static int
find_table(struct captures *c, int id, int *node, struct err *err)
{
    struct rt_model *m = &c->b->s.model;
    int maker = child_of(&c->saved, id, STR_LIT("_create_resource"));
    struct str made = maker < 0 ? (struct str){ "", 0 }
                                : sm_pb_bytes(c->saved.v[maker], SAVED_FUNCTION);
    struct rt_func *f = rt_model_func(m, sm_pb_bytes(made, 1));
    if (f && rt_func_read(f, err) < 0)
        return -(int)err->code;
    for (int i = 0; f && i < f->g.n_nodes; i++) {
        const struct sm_node *n = &f->g.nodes[i].sm;
        struct sm_attr a;
        if (!sm_node_attr(n, "shared_name", &a) || a.kind != SM_ATTR_S ||
            a.bytes.n == 0)
            continue;
        char *op AUTO(free_ptr) = str_dup(n->op);
        *node = node_of_state(m, op, a.bytes);
        if (*node >= 0)
            return 0;
    }
    return err_set(err, ERR_UNSUPPORTED,
                   "it uses a table (object %d) that the graph does not make", id);
}

static int
find_capture(struct captures *c, int64_t id, struct rt_gref *out, struct err *err)
{
    struct sm_field f, kind = { .num = 0 };
    if (id < 0 || id >= c->saved.n)
        return err_set(err, ERR_CORRUPT, "it uses object %lld of %d", (long long)id,
                       c->saved.n);
    for (struct str it = c->saved.v[id]; sm_pb_next(&it, &f) > 0;)
        if (f.wire == 2 && f.num >= 4 && f.num <= 12 && f.num != 11)
            kind = f;
    bool control;
    *out = (struct rt_gref){ 0, 0 };
    switch (kind.num) {
    case SAVED_VARIABLE:
        return find_variable(c, (int)id, sm_pb_bytes(kind.bytes, 6), &out->node, err);
    case SAVED_CONSTANT:
        return rt_graph_ref(&c->b->s.model.main, sm_pb_bytes(kind.bytes, 1), out,
                            &control, err);
    case SAVED_TABLE:
        return find_table(c, (int)id, &out->node, err);
    default:
        return err_set(err, ERR_UNSUPPORTED,
                       "it uses object %lld of the model, which is no variable, "
                       "constant or table",
                       (long long)id);
    }
}

static int
bind_captures(struct backend *b, struct bound *n, struct str saved, struct err *err)
{
    struct captures c AUTO(captures_release) = { .b = b };
    int cap = n->func->n_args;
    int64_t *ids AUTO(free_ptr) = xcalloc((size_t)cap + 1, sizeof(ids[0]));
    int n_ids = sm_pb_ints(saved, 2, ids, cap);
    if (n_ids < 0 || n_ids > cap)
        return err_set(err, ERR_CORRUPT, "it uses more objects than it has arguments");
    objects_read(b->s.model.meta->object_graph, &c.saved);
    n->captures = xcalloc((size_t)cap + 1, sizeof(n->captures[0]));
    for (; n->n_captures < n_ids; n->n_captures++)
        if (find_capture(&c, ids[n->n_captures], &n->captures[n->n_captures], err) < 0)
            return -(int)err->code;
    return 0;
}

/* ---- what is given, and what comes out ------------------------------------------- */

struct leaf {
    struct str path; /* "a/b" by the keys on the way; lent by the arena */
    struct str spec; /* TensorSpecProto */
};
struct leaves {
    struct leaf *v;
    int n, cap;
    bool odd; /* something else than tensors: a composite */
};

static int
by_key(const void *pa, const void *pb)
{
    return str_cmp(((const struct sm_kv *)pa)->key, ((const struct sm_kv *)pb)->key);
}

/* Tensors in the order in which TensorFlow lists them: dictionaries by their keys. */
static void
find_leaves(struct rt_arena *a, struct str value, struct str path, int depth,
            struct leaves *out)
{
    enum { MAX_DEPTH = 50, MAX_LEAVES = 1 << 16 };
    enum sm_value_form form = sm_value_form(value);
    if (form == SM_VALUE_TENSOR && out->n < MAX_LEAVES) {
        if (out->n == out->cap) {
            out->cap = out->cap ? 2 * out->cap : 16;
            out->v = xreallocarray(out->v, (size_t)out->cap, sizeof(out->v[0]));
        }
        out->v[out->n++] = (struct leaf){ path, sm_value_tensor(value) };
    }
    if ((form != SM_VALUE_LIST && form != SM_VALUE_DICT) || depth == MAX_DEPTH)
        return;
    int n;
    struct sm_kv *v AUTO(free_ptr) = sm_value_items(value, &n);
    if (form == SM_VALUE_DICT)
        qsort(v, (size_t)n, sizeof(v[0]), by_key);
    for (int i = 0; i < n; i++) {
        struct str inner = path;
        if (form == SM_VALUE_DICT) {
            inner.n = path.n + (path.n > 0) + v[i].key.n;
            char *p = rt_arena_alloc(a, inner.n + 1, 1);
            if (!p)
                return;
            size_t at = path.n;
            if (path.n > 0) {
                memcpy(p, path.p, path.n);
                p[at++] = '/';
            }
            if (v[i].key.n > 0)
                memcpy(p + at, v[i].key.p, v[i].key.n);
            inner.p = p;
        }
        find_leaves(a, v[i].value, inner, depth + 1, out);
    }
}

/* A name that is there already gets a number. */
static char *
unique_key(const struct backend_tensor *v, int n, struct str want)
{
    char *key = str_dup(want);
    for (int k = 1;; k++) {
        bool taken = false;
        for (int i = 0; i < n; i++)
            taken |= strcmp(v[i].key, key) == 0;
        if (!taken)
            return key;
        free(key);
        key = xasprintf("%.*s_%d", STR_ARG(want), k);
    }
}

static int
set_tensor(struct backend_tensor *t, const struct leaf *leaf, int type, struct err *err)
{
    t->dtype = type;
    t->shape = (struct sm_shape){ .unknown_rank = true };
    if (!leaf)
        return 0;
    if (type == 0)
        t->dtype = (int)sm_pb_int(leaf->spec, 3, 0);
    return sm_shape_parse(sm_pb_bytes(leaf->spec, 2), &t->shape, err);
}

static int
bind_inputs(struct bound *n, const struct leaves *l, struct err *err)
{
    int n_in = n->func->n_args - n->n_captures;
    struct backend_tensor *v = xcalloc((size_t)n_in + 1, sizeof(v[0]));
    n->lent.inputs = v;
    n->node_default = xcalloc((size_t)n_in + 1, sizeof(bool));
    n->default_value = xcalloc((size_t)n_in + 1, sizeof(n->default_value[0]));
    for (int i = 0; i < n_in; i++) {
        const struct leaf *leaf = l->n == n_in ? &l->v[i] : NULL;
        struct str name = leaf ? sm_pb_bytes(leaf->spec, 1) : (struct str){ "", 0 };
        if (name.n == 0)
            name = n->func->arg_defs[i].name;
        v[i].key = unique_key(v, i, name);
        n->lent.n_inputs = i + 1;
        if (set_tensor(&v[i], leaf, n->func->arg_defs[i].type, err) < 0)
            return err_ctx(err, "input '%s'", v[i].key);
    }
    return 0;
}

/* By the keys of a dictionary, else output_0, output_1 … as TensorFlow names them. */
static int
bind_outputs(struct bound *n, const struct leaves *l, struct err *err)
{
    int n_out = n->func->n_rets;
    struct backend_tensor *v = xcalloc((size_t)n_out + 1, sizeof(v[0]));
    n->lent.outputs = v;
    for (int i = 0; i < n_out; i++) {
        const struct leaf *leaf = l->n == n_out ? &l->v[i] : NULL;
        char number[24];
        snprintf(number, sizeof(number), "output_%d", i);
        v[i].key =
            unique_key(v, i, leaf && leaf->path.n > 0 ? leaf->path : str_of(number));
        n->lent.n_outputs = i + 1;
        if (set_tensor(&v[i], leaf, n->func->ret_defs[i].type, err) < 0)
            return err_ctx(err, "output '%s'", v[i].key);
    }
    return 0;
}

static int
bind_sides(struct backend *b, struct bound *n, const struct sm_concrete *one,
           struct str saved, struct err *err)
{
    struct leaves in = { .n = 0 }, out = { .n = 0 };
    struct rt_arena *a = &b->s.model.arena;
    struct str none = { "", 0 };
    find_leaves(a, one->args, none, 0, &in);
    find_leaves(a, one->kwargs, none, 0, &in);
    find_leaves(a, sm_pb_bytes(saved, 4), none, 0, &out);
    int rc = bind_inputs(n, &in, err);
    if (rc == 0)
        rc = bind_outputs(n, &out, err);
    free(in.v);
    free(out.v);
    return rc;
}

int
rt_bind_function(struct backend *b, struct bound *n, struct err *err)
{
    const char *name = n->lent.key + strlen(PREFIX);
    const struct sm_meta *meta = b->s.model.meta;
    const struct sm_concrete *one = NULL;
    struct sm_callables all AUTO(sm_callables_release) = { .v = NULL };
    struct str saved = { "", 0 };
    if (!sm_meta_has_objects(meta))
        return err_set(err, ERR_NOTFOUND, "the model has no objects with functions");
    if (sm_meta_callables(meta, &all, err) < 0 ||
        find_concrete(&all, name, &one, err) < 0)
        return -(int)err->code;
    n->func = rt_model_func(&b->s.model, one->name);
    if (!n->func)
        return err_set(err, ERR_CORRUPT, "function '%.*s' is not in the library",
                       STR_ARG(one->name));
    (void)sm_pb_map_get(meta->object_graph, 2, one->name, &saved);
    if (rt_func_read(n->func, err) < 0 || bind_captures(b, n, saved, err) < 0 ||
        bind_sides(b, n, one, saved, err) < 0)
        return err_ctx(err, "function '%s'", name);
    return 0;
}
