/* SPDX-License-Identifier: Apache-2.0 */
/* Signatures to tensors of the graph, and to plans. */
#include "runtime/rt_backend_int.h"
#include "runtime/rt_plan_int.h"

#include <stdlib.h>

void
bound_free(struct bound *b)
{
    while (b->plans) {
        struct bound_plan *p = b->plans;
        b->plans = p->next;
        free(p->given);
        free(p);
    }
    for (int i = 0; i < b->lent.n_inputs; i++)
        free((char *)(uintptr_t)b->lent.inputs[i].key);
    for (int i = 0; i < b->lent.n_outputs; i++)
        free((char *)(uintptr_t)b->lent.outputs[i].key);
    free((void *)(uintptr_t)b->lent.inputs);
    free((void *)(uintptr_t)b->lent.outputs);
    free((char *)(uintptr_t)b->lent.key);
    free(b->refs);
    free(b->fetches);
    free(b->node_default);
    free(b->default_value);
    free(b->captures);
    free(b);
}

/* ---- bind ------------------------------------------------------------------------ */

enum { GRAPH_VERSIONS = 4, VERSION_PRODUCER = 1, PLACEHOLDER_KNOWS_SCALARS = 24 };

/* What is fed must suit the placeholder itself; a signature may say something else. */
static int
look_at_placeholder(struct backend *b, const struct rt_gnode *n,
                    struct backend_tensor *t, struct err *err)
{
    struct sm_attr a;
    struct sm_shape s = { .unknown_rank = true };
    t->shape = s; /* of another node that is fed nothing is known */
    if (!str_is(n->sm.op, "Placeholder") && !str_is(n->sm.op, "PlaceholderV2") &&
        !str_is(n->sm.op, "PlaceholderWithDefault"))
        return 0;
    if (sm_node_attr(&n->sm, "dtype", &a) && a.kind == SM_ATTR_TYPE)
        t->dtype = (int)a.i;
    if (sm_node_attr(&n->sm, "shape", &a) && a.kind == SM_ATTR_SHAPE &&
        sm_shape_parse(a.bytes, &s, err) < 0)
        return -(int)err->code;
    /* Older graphs have an empty shape where the rank is not known. */
    struct str versions = sm_pb_bytes(b->s.model.meta->graph, GRAPH_VERSIONS);
    if (s.rank == 0 &&
        sm_pb_int(versions, VERSION_PRODUCER, 0) < PLACEHOLDER_KNOWS_SCALARS)
        s.unknown_rank = true;
    t->shape = s;
    return 0;
}

/* ---- tensors of a signature ---- */

/* TensorInfo: 1 name, 2 dtype, 3 shape, 4 sparse (1 values, 2 indices, 3 dense shape),
 * 5 composite (2 components, TensorInfos). */
enum { INFO_NAME = 1, INFO_DTYPE, INFO_SHAPE, INFO_SPARSE, INFO_COMPOSITE };

/* One side of a signature while it is bound. */
struct side {
    struct backend *b;
    struct bound *n;
    bool inputs;
    struct backend_tensor *v;
    struct rt_gref *refs;
    int n_v, cap;
};

static int
add_tensor(struct side *s, const char *key, struct str name, int dtype,
           struct sm_shape shape, struct str default_value, struct err *err)
{
    struct rt_graph *g = &s->b->s.model.main;
    bool control;
    if (s->n_v == s->cap) {
        size_t cap = (size_t)(s->cap = 2 * s->cap + 16);
        s->v = xreallocarray(s->v, cap, sizeof(s->v[0]));
        s->refs = xreallocarray(s->refs, cap, sizeof(s->refs[0]));
        if (s->inputs) {
            s->n->node_default = xreallocarray(s->n->node_default, cap, sizeof(bool));
            s->n->default_value =
                xreallocarray(s->n->default_value, cap, sizeof(struct str));
        }
    }
    int i = s->n_v;
    struct backend_tensor *t = &s->v[i];
    if (rt_graph_ref(g, name, &s->refs[i], &control, err) < 0)
        return -(int)err->code;
    *t = (struct backend_tensor){ .key = xstrdup(key),
                                  .dtype = dtype > SM_REF ? dtype - SM_REF : dtype,
                                  .shape = shape };
    s->n_v++;
    if (!s->inputs)
        return 0;
    struct rt_gnode *node = &g->nodes[s->refs[i].node];
    s->n->default_value[i] = default_value;
    s->n->node_default[i] = str_is(node->sm.op, "PlaceholderWithDefault");
    t->has_default = default_value.p || s->n->node_default[i];
    return look_at_placeholder(s->b, node, t, err);
}

/* A sparse tensor is three, a composite one as many as it has components; they are told
 * apart by what stands behind a slash. */
static int
add_info(struct side *s, const char *key, struct str info, struct str default_value,
         int depth, struct err *err)
{
    enum { MAX_DEPTH = 10 };
    static const struct {
        uint32_t field;
        const char *name;
    } parts[] = { { 3, "dense_shape" }, { 2, "indices" }, { 1, "values" } };
    struct str name = sm_pb_bytes(info, INFO_NAME), part, none = { NULL, 0 };
    struct sm_field f;
    struct sm_shape shape;
    int dtype = (int)sm_pb_int(info, INFO_DTYPE, 0);
    if (sm_pb_get(info, INFO_SPARSE, &f) && f.wire == 2) {
        for (int k = 0; k < 3; k++) {
            char *own AUTO(free_ptr) = xasprintf("%s/%s", key, parts[k].name);
            shape = (struct sm_shape){ .rank = k == 1 ? 2 : 1, .dims = { -1, -1 } };
            if (add_tensor(s, own, sm_pb_bytes(f.bytes, parts[k].field),
                           k == 2 ? dtype : SM_INT64, shape, none, err) < 0)
                return -(int)err->code;
        }
        return 0;
    }
    if (sm_pb_get(info, INFO_COMPOSITE, &f) && f.wire == 2 && depth < MAX_DEPTH) {
        for (int k = 0; sm_pb_next_msg(&f.bytes, 2, &part) > 0; k++) {
            char *own AUTO(free_ptr) = xasprintf("%s/%d", key, k);
            if (add_info(s, own, part, none, depth + 1, err) < 0)
                return -(int)err->code;
        }
        return 0;
    }
    if (sm_shape_parse(sm_pb_bytes(info, INFO_SHAPE), &shape, err) < 0)
        return -(int)err->code;
    return add_tensor(s, key, name, dtype, shape, default_value, err);
}

static int
bind_tensors(struct backend *b, const struct sm_signature *sig, bool inputs,
             struct bound *bound, struct err *err)
{
    const struct sm_tensor_info *info = inputs ? sig->inputs : sig->outputs;
    int n = inputs ? sig->n_inputs : sig->n_outputs, rc = 0;
    struct side s = { .b = b, .n = bound, .inputs = inputs };
    for (int i = 0; i < n && rc == 0; i++) {
        char *key AUTO(free_ptr) = str_dup(info[i].key);
        struct str none = { NULL, 0 };
        rc = add_info(&s, key, info[i].raw,
                      info[i].has_default ? info[i].default_value : none, 0, err);
        if (rc < 0)
            rc = err_ctx(err, "%s '%s'", inputs ? "input" : "output", key);
    }
    if (inputs) {
        bound->lent.inputs = s.v;
        bound->lent.n_inputs = s.n_v;
        bound->refs = s.refs;
    } else {
        bound->lent.outputs = s.v;
        bound->lent.n_outputs = s.n_v;
        bound->fetches = s.refs;
    }
    return rc;
}

enum {
    OBJECTS = 1,
    OBJECT_CHILD = 1,
    CHILD_NODE = 1,
    CHILD_NAME = 2,
    OBJECT_FUNCTION = 6
};

/* A model without signatures may have functions as attributes of its root object. */
static int
no_signature(const struct sm_meta *meta, struct err *err)
{
    struct buf names AUTO(buf_release) = BUF_INIT;
    struct str it = meta->object_graph, root, child, node;
    if (err->code != ERR_NOTFOUND || !sm_pb_next_msg(&it, OBJECTS, &root))
        return -(int)err->code;
    for (int i = 0; i < meta->n_signatures; i++)
        if (!sm_signature_hidden(&meta->signatures[i]))
            return -(int)err->code;
    while (sm_pb_next_msg(&root, OBJECT_CHILD, &child) == 1) {
        int64_t want = sm_pb_int(child, CHILD_NODE, 0), at = 0;
        struct str name = sm_pb_bytes(child, CHILD_NAME);
        struct sm_field f;
        for (it = meta->object_graph; sm_pb_next_msg(&it, OBJECTS, &node) == 1; at++)
            if (at == want && sm_pb_get(node, OBJECT_FUNCTION, &f))
                buf_addf(&names, "%s'%.*s'", names.len ? ", " : "", STR_ARG(name));
    }
    if (names.len == 0)
        return -(int)err->code;
    err_clear(err);
    return err_set(err, ERR_NOTFOUND,
                   "the model has no signatures, only functions of its objects: %s; "
                   "--function NAME runs one",
                   buf_str(&names));
}

int
rt_bind(struct backend *b, const char *key, struct bound **out, struct err *err)
{
    for (*out = b->bound; *out; *out = (*out)->next)
        if (strcmp((*out)->lent.key, key) == 0)
            return 0;
    const struct sm_signature *sig = NULL;
    bool is_function = rt_is_function_key(key);
    if (!is_function && sm_find_signature(b->s.model.meta, key, &sig, err) < 0)
        return no_signature(b->s.model.meta, err);
    struct bound *n = xcalloc(1, sizeof(*n));
    n->lent.key = xstrdup(key);
    int rc =
        is_function ? rt_bind_function(b, n, err) : bind_tensors(b, sig, true, n, err);
    if (rc == 0 && !is_function)
        rc = bind_tensors(b, sig, false, n, err);
    if (rc < 0) {
        bound_free(n);
        return is_function ? rc : err_ctx(err, "signature '%s'", key);
    }
    n->next = b->bound;
    b->bound = n;
    *out = n;
    return 0;
}

/* A function takes all its inputs; what it captured is fetched from the graph. */
static int
plan_function(struct backend *b, struct bound *n, struct rt_missing *missing,
              struct rt_plan **out, struct err *err)
{
    struct rt_plan_args a = { .what = n->lent.key,
                              .fetches = n->captures,
                              .n_fetches = n->n_captures };
    if (!n->capture_plan && rt_plan_make(&n->capture_plan, &b->s, &a, missing, err) < 0)
        return -(int)err->code;
    return rt_plan_function(out, &b->s, n->func, missing, err);
}

int
rt_bind_plan(struct backend *b, struct bound *n, const bool *given,
             struct rt_plan **out, struct err *err)
{
    size_t n_in = (size_t)n->lent.n_inputs;
    for (struct bound_plan *p = n->plans; p; p = p->next) {
        if (memcmp(p->given, given, n_in * sizeof(bool)) == 0 &&
            rt_plan_holds(p->plan, &b->s)) {
            *out = p->plan;
            return 0;
        }
    }
    struct rt_missing missing AUTO(rt_missing_release) = { .n = 0 };
    struct rt_gref *feeds AUTO(free_ptr) = xcalloc(n_in + 1, sizeof(feeds[0]));
    char *what AUTO(free_ptr) = xasprintf("signature '%s'", n->lent.key);
    struct rt_plan_args a = { .what = n->lent.key,
                              .feeds = feeds,
                              .fetches = n->fetches,
                              .n_fetches = n->lent.n_outputs };
    for (size_t i = 0; i < n_in && !n->func; i++)
        if (given[i])
            feeds[a.n_feeds++] = n->refs[i];
    pthread_mutex_lock(&b->s.plan_lock);
    int rc = n->func ? plan_function(b, n, &missing, out, err)
                     : rt_plan_make(out, &b->s, &a, &missing, err);
    pthread_mutex_unlock(&b->s.plan_lock);
    if (rc < 0)
        return err_ctx(err, "%s", what);
    if (missing.n > 0)
        return rt_missing_error(&missing, what, err);
    struct bound_plan *p = xcalloc(1, sizeof(*p));
    p->given = xcalloc(n_in + 1, sizeof(bool));
    memcpy(p->given, given, n_in * sizeof(bool));
    p->plan = *out;
    p->next = n->plans;
    n->plans = p;
    return 0;
}
