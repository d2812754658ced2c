/* SPDX-License-Identifier: Apache-2.0 */
/* Signatures to tensors of the graph, and to plans. */
#include "runtime/rt_backend_int.h"

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
    free(b);
}

/* ---- bind ------------------------------------------------------------------------ */

static char *
dup_str(struct str s)
{
    return xstrndup(s.p ? s.p : "", s.n);
}

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

static int
bind_tensors(struct backend *b, const struct sm_signature *sig, bool inputs,
             struct bound *bound, struct err *err)
{
    const struct sm_tensor_info *info = inputs ? sig->inputs : sig->outputs;
    int n = inputs ? sig->n_inputs : sig->n_outputs;
    struct backend_tensor *v = xcalloc((size_t)n + 1, sizeof(v[0]));
    struct rt_gref *refs = xcalloc((size_t)n + 1, sizeof(refs[0]));
    if (inputs) {
        bound->lent.inputs = v;
        bound->refs = refs;
        bound->node_default = xcalloc((size_t)n + 1, sizeof(bool));
    } else {
        bound->lent.outputs = v;
        bound->fetches = refs;
    }
    for (int i = 0; i < n; i++) {
        bool control;
        v[i].key = dup_str(info[i].key);
        *(inputs ? &bound->lent.n_inputs : &bound->lent.n_outputs) = i + 1;
        v[i].dtype = info[i].dtype > SM_REF ? info[i].dtype - SM_REF : info[i].dtype;
        v[i].shape = info[i].shape;
        v[i].has_default = info[i].has_default;
        if (info[i].name.n == 0)
            return err_set(err, ERR_UNSUPPORTED,
                           "%s '%s' is a sparse or composite tensor",
                           inputs ? "input" : "output", v[i].key);
        if (rt_graph_ref(&b->s.model.main, info[i].name, &refs[i], &control, err) < 0)
            return err_ctx(err, "%s '%s'", inputs ? "input" : "output", v[i].key);
        if (inputs && look_at_placeholder(b, &b->s.model.main.nodes[refs[i].node],
                                          &v[i], err) < 0)
            return err_ctx(err, "input '%s'", v[i].key);
        if (inputs &&
            str_is(b->s.model.main.nodes[refs[i].node].sm.op, "PlaceholderWithDefault"))
            bound->node_default[i] = v[i].has_default = true;
    }
    return 0;
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
                   "the model has no signatures, only functions of its objects: %s",
                   buf_str(&names));
}

int
rt_bind(struct backend *b, const char *key, struct bound **out, struct err *err)
{
    for (*out = b->bound; *out; *out = (*out)->next)
        if (strcmp((*out)->lent.key, key) == 0)
            return 0;
    const struct sm_signature *sig;
    if (sm_find_signature(b->s.model.meta, key, &sig, err) < 0)
        return no_signature(b->s.model.meta, err);
    struct bound *n = xcalloc(1, sizeof(*n));
    n->lent.key = xstrdup(key);
    n->sm = sig;
    if (bind_tensors(b, sig, true, n, err) < 0 ||
        bind_tensors(b, sig, false, n, err) < 0) {
        bound_free(n);
        return err_ctx(err, "signature '%s'", key);
    }
    n->next = b->bound;
    b->bound = n;
    *out = n;
    return 0;
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
    for (size_t i = 0; i < n_in; i++)
        if (given[i])
            feeds[a.n_feeds++] = n->refs[i];
    pthread_mutex_lock(&b->s.plan_lock);
    int rc = rt_plan_make(out, &b->s, &a, &missing, err);
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
