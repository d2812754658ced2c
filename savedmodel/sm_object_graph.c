/* SPDX-License-Identifier: Apache-2.0 */
/* The functions that a program finds on a loaded model: attributes of the root object
 * that are functions, and what each of their concrete functions takes.
 *
 * SavedObjectGraph: 1 repeated SavedObject, 2 map of SavedConcreteFunction by name.
 * SavedObject: 1 children; of one kind, the member that is set: 6 function,
 *   8 bare concrete function, others.
 * ObjectReference: 1 object, by its place in the list, 2 attribute name.
 * SavedFunction: 1 repeated name. SavedBareConcreteFunction: 1 name, 2 keywords.
 * SavedConcreteFunction: 3 canonicalized signature, a StructuredValue: a tuple of the
 *   positional arguments (a tuple) and the others (a dict). */
#include "savedmodel/sm_int.h"

#include <stdlib.h>

#define KIND_FUNCTION 6
#define KIND_BARE 8
#define OBJECTS_MAX (1 << 24)
/* A hostile file can name one function many times. */
#define CONCRETE_MAX (1 << 16)

bool
sm_meta_has_objects(const struct sm_meta *meta)
{
    struct sm_field f;
    return sm_pb_get(meta->raw, 7, &f) && f.wire == 2;
}

/* A child of the root. */
struct child {
    struct str name;
    struct str object; /* SavedObject */
    int at;            /* place among the children */
};

static int
by_name(const void *pa, const void *pb)
{
    const struct child *a = pa, *b = pb;
    int d = str_cmp(a->name, b->name);
    return d ? d : (a->at > b->at) - (a->at < b->at);
}

/* The kind of an object, and its member of the oneof. */
static uint32_t
object_kind(struct str object, struct str *member)
{
    struct sm_field f;
    uint32_t kind = 0;
    while (sm_pb_next(&object, &f) > 0) {
        bool is_kind = f.wire == 2 && f.num >= 4 && f.num <= 12 && f.num != 11;
        if (is_kind) {
            kind = f.num;
            *member = f.bytes;
        }
    }
    return kind;
}

/* All objects, in order; the caller frees. */
static int
objects_read(struct str graph, struct str **out, int *n, struct err *err)
{
    struct str it = graph, raw;
    *n = 0;
    while (sm_pb_next_msg(&it, 1, &raw) > 0)
        if (++*n > OBJECTS_MAX)
            return err_set(err, ERR_LIMIT, "more than %d objects in the object graph",
                           OBJECTS_MAX);
    *out = xcalloc((size_t)*n + 1, sizeof **out);
    for (int i = 0; sm_pb_next_msg(&graph, 1, &(*out)[i]) > 0;)
        i++;
    return 0;
}

/* Children of the root, by name; of two with one name the later counts. */
static int
children_read(struct str graph, struct child **out, int *n, struct err *err)
{
    struct str *objects AUTO(free_ptr) = NULL, it, raw;
    int n_objects, n_all = 0;
    *n = 0;
    if (objects_read(graph, &objects, &n_objects, err) < 0)
        return -(int)err->code;
    for (it = objects[0]; sm_pb_next_msg(&it, 1, &raw) > 0;)
        n_all++;
    struct child *v = xcalloc((size_t)n_all + 1, sizeof *v);
    it = objects[0];
    for (int i = 0; sm_pb_next_msg(&it, 1, &raw) > 0; i++) {
        int64_t id = (int32_t)sm_pb_int(raw, 1, 0);
        v[i] = (struct child){ .name = sm_pb_bytes(raw, 2), .at = i };
        if (id < 0 || id >= n_objects) {
            free(v);
            return err_set(
                err, ERR_CORRUPT,
                "object graph: child '%.*s' of the root is object %lld of %d",
                STR_ARG(sm_pb_bytes(raw, 2)), (long long)id, n_objects);
        }
        v[i].object = objects[id];
    }
    qsort(v, (size_t)n_all, sizeof *v, by_name);
    for (int i = 0; i < n_all; i++)
        if (i + 1 == n_all || !str_eq(v[i].name, v[i + 1].name))
            v[(*n)++] = v[i];
    *out = v;
    return 0;
}

/* Whether a signature is the pair of arguments that it ought to be. */
static bool
split_signature(struct str signature, struct sm_concrete *out)
{
    struct str pair = sm_pb_bytes(signature, 52), part;
    for (int i = 0; sm_pb_next_msg(&pair, 1, &part) > 0; i++) {
        if (i == 0)
            out->args = part;
        else
            out->kwargs = part;
    }
    return out->args.n > 0;
}

static void
add_concrete(struct sm_callable *c, const struct sm_map *signatures, struct str name,
             struct str bare)
{
    struct sm_concrete *one = &c->concrete[c->n_concrete++];
    const struct sm_kv *kv = sm_map_find(signatures, name);
    *one = (struct sm_concrete){
        .name = name, .args = { "", 0 }, .kwargs = { "", 0 }, .keywords = { "", 0 }
    };
    if (!kv || !split_signature(sm_pb_bytes(kv->value, 3), one))
        one->keywords = bare;
}

static int
callable_read(struct sm_callable *c, uint32_t kind, struct str member,
              const struct sm_map *signatures, int *n_left, struct err *err)
{
    struct str it = member, name;
    int n = kind == KIND_BARE;
    while (kind == KIND_FUNCTION && sm_pb_next_msg(&it, 1, &name) > 0)
        n++;
    if (n > *n_left)
        return err_set(err, ERR_LIMIT, "function '%.*s': more than %d concrete ones",
                       STR_ARG(c->name), CONCRETE_MAX);
    *n_left -= n;
    c->concrete = xcalloc((size_t)n + 1, sizeof *c->concrete);
    if (kind == KIND_BARE)
        add_concrete(c, signatures, sm_pb_bytes(member, 1), member);
    else
        while (sm_pb_next_msg(&member, 1, &name) > 0)
            add_concrete(c, signatures, name, (struct str){ "", 0 });
    return 0;
}

int
sm_meta_callables(const struct sm_meta *meta, struct sm_callables *out, struct err *err)
{
    struct sm_map signatures AUTO(sm_map_release) = { .v = NULL };
    struct child *children AUTO(free_ptr) = NULL;
    int n_children, n_left = CONCRETE_MAX;
    *out = (struct sm_callables){ .v = NULL };
    if (children_read(meta->object_graph, &children, &n_children, err) < 0)
        return -(int)err->code;
    sm_map_read(meta->object_graph, 2, &signatures);
    out->v = xcalloc((size_t)n_children + 1, sizeof *out->v);
    for (int i = 0; i < n_children; i++) {
        struct str member = { "", 0 };
        uint32_t kind = object_kind(children[i].object, &member);
        if (kind != KIND_FUNCTION && kind != KIND_BARE)
            continue;
        struct sm_callable *c = &out->v[out->n++];
        c->name = children[i].name;
        if (callable_read(c, kind, member, &signatures, &n_left, err) < 0) {
            sm_callables_release(out);
            return -(int)err->code;
        }
    }
    return 0;
}

void
sm_callables_release(struct sm_callables *c)
{
    for (int i = 0; i < c->n; i++)
        free(c->v[i].concrete);
    free(c->v);
    *c = (struct sm_callables){ .v = NULL };
}
