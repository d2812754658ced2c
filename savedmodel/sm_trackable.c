/* SPDX-License-Identifier: Apache-2.0 */
/* The object graph that a checkpoint of tf.train.Checkpoint, of Keras or of a TF2
 * SavedModel carries: a string tensor under _CHECKPOINTABLE_OBJECT_GRAPH.
 *
 * TrackableObjectGraph: 1 repeated TrackableObject; the first one is the root.
 * TrackableObject: 1 children (ObjectReference { 1 node, 2 name }), 2 attributes
 *   (SerializedTensor { 1 name, 2 full name, 3 key }), 3 slot variables
 *   (SlotVariableReference { 1 variable, 2 slot name, 3 the slot's node }). */
#include "savedmodel/sm_int.h"

#include <stdlib.h>

#define OBJECTS_MAX (1 << 24)

enum { CHILD = 1, SAVED = 2, SLOT = 3 };

static int
malformed(struct err *err)
{
    return err_set(err, ERR_CORRUPT, "the object graph is malformed");
}

/* Counts objects and what they have. */
static int
count(struct str graph, struct sm_objects *o, struct err *err)
{
    struct sm_field f, g;
    int r;
    while ((r = sm_pb_next(&graph, &f)) > 0) {
        if (f.num != 1 || f.wire != 2)
            continue;
        o->n++;
        while ((r = sm_pb_next(&f.bytes, &g)) > 0) {
            o->n_children += g.num == CHILD && g.wire == 2;
            o->n_saved += g.num == SAVED && g.wire == 2;
            o->n_slots += g.num == SLOT && g.wire == 2;
        }
        if (r < 0)
            break;
        if (o->n > OBJECTS_MAX || o->n_children > OBJECTS_MAX ||
            o->n_saved > OBJECTS_MAX || o->n_slots > OBJECTS_MAX)
            return err_set(err, ERR_LIMIT, "more than %d objects in the object graph",
                           OBJECTS_MAX);
    }
    if (r < 0)
        return malformed(err);
    return o->n > 0 ? 0 : err_set(err, ERR_CORRUPT, "the object graph is empty");
}

static int
node_id(const struct sm_objects *o, struct str msg, uint32_t num, int *out,
        struct err *err)
{
    int64_t id = (int32_t)sm_pb_int(msg, num, 0);
    if (id < 0 || id >= o->n)
        return err_set(err, ERR_CORRUPT, "the object graph names object %lld of %d",
                       (long long)id, o->n);
    *out = (int)id;
    return 0;
}

/* One object; what it has is appended to the arrays, which are big enough. */
static int
object_read(struct sm_objects *o, struct sm_object *x, struct str msg, struct err *err)
{
    struct sm_field f;
    int rc = 0;
    x->children = &o->children[o->n_children];
    x->saved = &o->saved[o->n_saved];
    x->slots = &o->slots[o->n_slots];
    while (rc == 0 && sm_pb_next(&msg, &f) > 0) {
        if (f.wire == 2 && f.num == CHILD) {
            struct sm_child *c = &o->children[o->n_children++];
            x->n_children++;
            c->name = sm_pb_bytes(f.bytes, 2);
            rc = node_id(o, f.bytes, 1, &c->node, err);
        } else if (f.wire == 2 && f.num == SAVED) {
            o->saved[o->n_saved++] = (struct sm_saved){
                .name = sm_pb_bytes(f.bytes, 1),
                .full_name = sm_pb_bytes(f.bytes, 2),
                .key = sm_pb_bytes(f.bytes, 3),
            };
            x->n_saved++;
        } else if (f.wire == 2 && f.num == SLOT) {
            struct sm_slot *s = &o->slots[o->n_slots++];
            x->n_slots++;
            s->name = sm_pb_bytes(f.bytes, 2);
            rc = node_id(o, f.bytes, 1, &s->variable, err);
            if (rc == 0)
                rc = node_id(o, f.bytes, 3, &s->node, err);
        }
    }
    return rc;
}

static int
by_name(const void *pa, const void *pb)
{
    const struct sm_child *a = pa, *b = pb;
    return str_cmp(a->name, b->name);
}

static int
by_saved_name(const void *pa, const void *pb)
{
    const struct sm_saved *a = pa, *b = pb;
    return str_cmp(a->name, b->name);
}

static int
by_variable(const void *pa, const void *pb)
{
    const struct sm_slot *a = pa, *b = pb;
    int d = (a->variable > b->variable) - (a->variable < b->variable);
    return d ? d : str_cmp(a->name, b->name);
}

static void
sort(void *v, int n, size_t size, int (*cmp)(const void *, const void *))
{
    if (n > 1)
        qsort(v, (size_t)n, size, cmp);
}

static int
objects_parse(struct sm_objects *o, struct str graph, struct err *err)
{
    struct str one;
    int rc = count(graph, o, err);
    if (rc < 0)
        return rc;
    size_t n_children = (size_t)o->n_children;
    o->v = xcalloc((size_t)o->n, sizeof(*o->v));
    o->children = xcalloc(n_children + 1, sizeof(*o->children));
    o->saved = xcalloc((size_t)o->n_saved + 1, sizeof(*o->saved));
    o->slots = xcalloc((size_t)o->n_slots + 1, sizeof(*o->slots));
    o->n_children = o->n_saved = o->n_slots = 0;
    for (int i = 0; rc == 0 && sm_pb_next_msg(&graph, 1, &one) > 0; i++)
        rc = object_read(o, &o->v[i], one, err);
    o->sorted = xcalloc(n_children + 1, sizeof(*o->sorted));
    memcpy(o->sorted, o->children, n_children * sizeof(*o->sorted));
    for (int i = 0; rc == 0 && i < o->n; i++) {
        struct sm_object *x = &o->v[i];
        x->sorted = &o->sorted[x->children - o->children];
        sort(x->sorted, x->n_children, sizeof(*x->sorted), by_name);
        sort(x->saved, x->n_saved, sizeof(*x->saved), by_saved_name);
        sort(x->slots, x->n_slots, sizeof(*x->slots), by_variable);
    }
    return rc;
}

int
sm_objects_read(struct sm_objects *out, struct sm_bundle *b, struct err *err)
{
    *out = (struct sm_objects){ .n = 0 };
    const struct str key = STR_LIT(SM_OBJECT_GRAPH_KEY);
    if (!sm_bundle_find(b, key))
        return 0;
    int rc = sm_bundle_tensor(b, key, (struct str){ "", 0 }, true, &out->own, err);
    if (rc == 0 && (out->own.dtype != SM_STRING || out->own.n_elems != 1))
        rc = err_set(err, ERR_CORRUPT, "the object graph is no string");
    if (rc == 0)
        rc = objects_parse(out, sm_tensor_str(&out->own)[0], err);
    if (rc < 0) {
        sm_objects_release(out);
        return err_ctx(err, "%s", SM_OBJECT_GRAPH_KEY);
    }
    return 0;
}

void
sm_objects_release(struct sm_objects *o)
{
    free(o->v);
    free(o->children);
    free(o->sorted);
    free(o->saved);
    free(o->slots);
    sm_tensor_release(&o->own);
    *o = (struct sm_objects){ .n = 0 };
}

static const void *
find(const void *key, const void *v, int n, size_t size,
     int (*cmp)(const void *, const void *))
{
    return n > 0 ? bsearch(key, v, (size_t)n, size, cmp) : NULL;
}

int
sm_objects_child(const struct sm_objects *o, int node, struct str name)
{
    const struct sm_object *x = &o->v[node];
    const struct sm_child key = { .name = name };
    const struct sm_child *c =
        find(&key, x->sorted, x->n_children, sizeof(key), by_name);
    return c ? c->node : -1;
}

const struct sm_saved *
sm_object_saved(const struct sm_object *x, struct str name)
{
    const struct sm_saved key = { .name = name };
    return find(&key, x->saved, x->n_saved, sizeof(key), by_saved_name);
}

const struct sm_slot *
sm_object_slot(const struct sm_object *x, int variable, struct str name)
{
    const struct sm_slot key = { .variable = variable, .name = name };
    return find(&key, x->slots, x->n_slots, sizeof(key), by_variable);
}

int
sm_objects_path(const struct sm_objects *o, struct str path)
{
    int node = o->n > 0 ? 0 : -1;
    while (node >= 0 && path.n > 0) {
        const char *end = memchr(path.p, '/', path.n);
        size_t n = end ? (size_t)(end - path.p) : path.n;
        node = sm_objects_child(o, node, (struct str){ path.p, n });
        path.p += n + (end != NULL);
        path.n -= n + (end != NULL);
    }
    return node;
}
