/* SPDX-License-Identifier: Apache-2.0 */
/* The object graph in canonical form: objects are numbered in the order in which a walk
 * from the root, along children by name, meets them; slot variables come after all
 * that. What an object is goes in (functions by their digests, constants by value), and
 * for what the checkpoint restores, the keys: the checkpoint has an object graph of its
 * own, which is walked in parallel.
 *
 * SavedObject: 1 children, 3 slot variables, 4 user object, 5 asset, 6 function,
 *   7 variable, 8 bare function, 9 constant, 10 resource, 11 saveables, 12 captured
 *   tensor, 13 registered name, 14 proto, 15 dependencies, 16 registered saver.
 * TrackableObject: 1 children, 2 attributes { 1 name, 3 key }, 3 slot variables.
 * ObjectReference: 1 id, 2 name. SlotVariableReference: 1 original, 2 name, 3 variable.
 *
 * Left out: names and devices of variables, versions and Keras metadata of user
 * objects, and functions that save. */
#include "fingerprint/fp_int.h"

#include <stdlib.h>

#define MAX_BYTES ((size_t)256 << 20)
#define MAX_ASSETS (1 << 20)

struct link {
    struct str name;
    int to;       /* object */
    int original; /* of a slot variable: what it belongs to */
};
struct objects {
    struct sha256 *h;
    const struct fp_lib *lib;
    struct fp_graph *main_graph;
    struct str *assets; /* AssetFileDef messages */
    int n_assets;
    struct str *raw; /* SavedObject messages */
    int n;
    struct fp_kv *concrete; /* SavedObjectGraph.concrete_functions */
    size_t n_concrete;
    struct str *stored; /* TrackableObject messages of the checkpoint */
    int n_stored;
    int *pair;   /* of each object, the checkpoint's; -1: none */
    int *number; /* of each object, -1: not met */
    int *met;
    int n_met;
    struct fp_uses uses; /* resources that the functions name */
    struct err *err;
};

static struct str *
read_all(struct str msg, uint32_t num, int *n)
{
    struct str it = msg, part, *v;
    *n = 0;
    while (sm_pb_next_msg(&it, num, &part) > 0)
        ++*n;
    v = xcalloc((size_t)*n + 1, sizeof(*v));
    for (int i = 0; sm_pb_next_msg(&msg, num, &v[i]) > 0;)
        i++;
    return v;
}

static int
get_id(struct str msg, uint32_t num, int limit)
{
    int64_t id = (int32_t)sm_pb_int(msg, num, 0);
    return id >= 0 && id < limit ? (int)id : -1;
}

/* ---- links ---- */

static int
link_cmp(const void *pa, const void *pb, void *arg)
{
    const struct link *a = pa, *b = pb;
    const int *number = arg;
    int r = str_cmp(a->name, b->name);
    if (r == 0 && number && a->original >= 0 && b->original >= 0) {
        unsigned x = (unsigned)number[a->original], y = (unsigned)number[b->original];
        r = (x > y) - (x < y);
    }
    return r;
}

/* Children (field 1), dependencies (15) or slot variables (3) of a message, by name
 * and, of slots, by the number of what they belong to. The caller frees. */
static struct link *
links(struct str msg, uint32_t num, int limit, int *number, int *n)
{
    struct str *v AUTO(free_ptr) = read_all(msg, num, n);
    struct link *out = xcalloc((size_t)*n + 1, sizeof(*out));
    bool is_slot = num == 3;
    for (int i = 0; i < *n; i++)
        out[i] = (struct link){ .name = sm_pb_bytes(v[i], 2),
                                .to = get_id(v[i], is_slot ? 3 : 1, limit),
                                .original = is_slot ? get_id(v[i], 1, limit) : -1 };
    if (*n > 1)
        qsort_r(out, (size_t)*n, sizeof(*out), link_cmp, number);
    return out;
}

/* ---- the checkpoint's objects ---- */

/* Pairs what two links with the same name lead to; `queue` gets the new objects. */
static void
pair_links(struct objects *o, int object, uint32_t num, int *queue, int *n_queue)
{
    int n_a, n_b;
    struct link *a AUTO(free_ptr) = links(o->raw[object], num, o->n, NULL, &n_a);
    struct link *b AUTO(free_ptr) =
        links(o->stored[o->pair[object]], num, o->n_stored, NULL, &n_b);
    for (int i = 0; i < n_a; i++) {
        if (a[i].to < 0 || o->pair[a[i].to] >= 0)
            continue;
        int lo = 0, hi = n_b;
        while (lo < hi) {
            int mid = lo + (hi - lo) / 2;
            if (str_cmp(b[mid].name, a[i].name) < 0)
                lo = mid + 1;
            else
                hi = mid;
        }
        for (; lo < n_b && str_eq(b[lo].name, a[i].name); lo++) {
            if (b[lo].to < 0 ||
                (num == 3 && (a[i].original < 0 || b[lo].original < 0 ||
                              o->pair[a[i].original] != b[lo].original)))
                continue;
            o->pair[a[i].to] = b[lo].to;
            queue[(*n_queue)++] = a[i].to;
            break;
        }
    }
}

/* Children first everywhere, since slots are told by what they belong to. */
static void
pair_all(struct objects *o)
{
    int *queue AUTO(free_ptr) = xcalloc((size_t)o->n + 1, sizeof(*queue));
    int n_queue = 0, by_child = 0, by_slot = 0;
    if (o->n == 0 || o->n_stored == 0)
        return;
    o->pair[0] = 0;
    queue[n_queue++] = 0;
    while (by_child < n_queue || by_slot < n_queue) {
        if (by_child < n_queue)
            pair_links(o, queue[by_child++], 1, queue, &n_queue);
        else
            pair_links(o, queue[by_slot++], 3, queue, &n_queue);
    }
}

static void
hash_keys(struct objects *o, int object)
{
    if (o->pair[object] < 0)
        return;
    struct fp_names names = { .v = NULL };
    int n;
    struct str *v AUTO(free_ptr) = read_all(o->stored[o->pair[object]], 2, &n);
    for (int i = 0; i < n; i++)
        fp_names_add(&names, sm_pb_bytes(v[i], 1), i);
    fp_names_sort(&names);
    fp_h_text(o->h, "keys");
    fp_h_u64(o->h, (uint64_t)n);
    for (int i = 0; i < names.n; i++) {
        fp_h_str(o->h, names.v[i].name);
        fp_h_str(o->h, sm_pb_bytes(v[names.v[i].at], 3));
    }
    fp_names_release(&names);
}

/* ---- one object ---- */

static void
hash_number(struct objects *o, int object)
{
    if (object >= 0 && o->number[object] < 0) {
        o->number[object] = o->n_met;
        o->met[o->n_met++] = object;
    }
    fp_h_u64(o->h, object < 0 ? UINT64_MAX : (uint64_t)o->number[object]);
}

static void
hash_links(struct objects *o, int object, uint32_t num)
{
    int n;
    struct link *v AUTO(free_ptr) = links(o->raw[object], num, o->n, o->number, &n);
    fp_h_u64(o->h, (uint64_t)n);
    for (int i = 0; i < n; i++) {
        fp_h_str(o->h, v[i].name);
        if (num == 3)
            hash_number(o, v[i].original);
        hash_number(o, v[i].to);
    }
}

static void
use_function(struct objects *o, struct str name)
{
    int at = fp_names_find(&o->lib->by_name, name);
    fp_h_function(o->h, o->lib, name);
    for (int i = 0; at >= 0 && i < o->lib->fn[at].uses.n; i++)
        fp_uses_add(&o->uses, o->lib->fn[at].uses.v[i]);
}

/* SavedConcreteFunction: 2 bound inputs, 3 and 4 the structure of arguments and
 * results. */
static int
hash_concrete(struct objects *o, struct str name)
{
    const struct fp_kv *kv = fp_map_find(o->concrete, o->n_concrete, name);
    use_function(o, name);
    if (!kv) {
        fp_h_text(o->h, "unbound");
        return 0;
    }
    struct str fn = sm_pb_bytes(kv->entry, 2), it = fn, part;
    struct sm_field f;
    /* Packed or not: both are read as a list attribute's integers would be. */
    while (sm_pb_next(&it, &f) > 0) {
        if (f.num != 2)
            continue;
        if (f.wire == 0)
            hash_number(o, f.v < (uint64_t)o->n ? (int)f.v : -1);
        for (part = f.bytes; f.wire == 2 && part.n > 0;) {
            uint64_t v;
            if (!sm_varint(&part, &v))
                return err_set(o->err, ERR_CORRUPT, "malformed bound inputs of '%.*s'",
                               STR_ARG(name));
            hash_number(o, v < (uint64_t)o->n ? (int)v : -1);
        }
    }
    fp_h_text(o->h, "structure");
    int rc = fp_h_det(o->h, FP_M_StructuredValue, sm_pb_bytes(fn, 3), o->err);
    return rc < 0 ? rc
                  : fp_h_det(o->h, FP_M_StructuredValue, sm_pb_bytes(fn, 4), o->err);
}

static int
hash_function(struct objects *o, struct str fn)
{
    struct str it = fn, name;
    int rc = 0;
    while (rc == 0 && sm_pb_next_msg(&it, 1, &name) > 0)
        rc = hash_concrete(o, name);
    return rc < 0 ? rc : fp_h_det(o->h, FP_M_FunctionSpec, sm_pb_bytes(fn, 2), o->err);
}

static int
hash_bare_function(struct objects *o, struct str fn)
{
    struct str it = fn, keyword;
    int rc = hash_concrete(o, sm_pb_bytes(fn, 1));
    while (sm_pb_next_msg(&it, 2, &keyword) > 0)
        fp_h_str(o->h, keyword);
    fp_h_u64(o->h, (uint64_t)sm_pb_int(fn, 3, 0));
    return rc < 0 ? rc : fp_h_det(o->h, FP_M_FunctionSpec, sm_pb_bytes(fn, 4), o->err);
}

/* SavedVariable: 1 dtype, 2 shape, 3 trainable, 4 synchronisation, 5 aggregation. */
static void
hash_variable(struct objects *o, struct str v)
{
    fp_h_u64(o->h, (uint64_t)sm_pb_int(v, 1, 0));
    fp_h_shape(o->h, sm_pb_bytes(v, 2));
    for (uint32_t num = 3; num <= 5; num++)
        fp_h_u64(o->h, (uint64_t)sm_pb_int(v, num, 0));
}

/* AssetFileDef: 2 filename. */
static void
hash_asset(struct objects *o, struct str asset)
{
    int i = get_id(asset, 1, o->n_assets);
    fp_h_str(o->h, i < 0 ? STR_LIT("?") : sm_pb_bytes(o->assets[i], 2));
}

/* The member of the oneof that was set last. */
static int
hash_kind(struct objects *o, struct str object)
{
    static const uint32_t kinds[] = { 4, 5, 6, 7, 8, 9, 10, 12 };
    struct sm_field f, kind = { .num = 0, .bytes = { "", 0 } };
    while (sm_pb_next(&object, &f) > 0) {
        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
            if (f.num == kinds[i] && f.wire == 2)
                kind = f;
        }
    }
    fp_h_u64(o->h, kind.num);
    switch (kind.num) {
    case 4:
        fp_h_str(o->h, sm_pb_bytes(kind.bytes, 1));
        return 0;
    case 5:
        hash_asset(o, kind.bytes);
        return 0;
    case 6:
        return hash_function(o, kind.bytes);
    case 7:
        hash_variable(o, kind.bytes);
        return 0;
    case 8:
        return hash_bare_function(o, kind.bytes);
    case 9:
        return fp_h_value(o->h, o->main_graph, sm_pb_bytes(kind.bytes, 1), o->err);
    case 12:
        fp_h_str(o->h, sm_pb_bytes(kind.bytes, 1));
        use_function(o, sm_pb_bytes(kind.bytes, 2));
        return 0;
    default:
        return 0;
    }
}

/* SaveableObject: 3 restore function. */
static int
hash_saveables(struct objects *o, struct str object)
{
    static const struct fp_field saveables = { .num = 11, .key = FP_K_STR };
    struct fp_kv *kv AUTO(free_ptr) = NULL;
    size_t n;
    int rc = fp_map(FP_MSG(object), &saveables, &kv, &n, o->err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        fp_h_str(o->h, kv[i].key);
        hash_number(o, get_id(sm_pb_bytes(kv[i].entry, 2), 3, o->n));
    }
    return rc;
}

static int
hash_object(struct objects *o, int object)
{
    struct str raw = o->raw[object];
    fp_h_text(o->h, "object");
    int rc = hash_kind(o, raw);
    if (rc == 0)
        rc = hash_saveables(o, raw);
    fp_h_str(o->h, sm_pb_bytes(raw, 13));
    if (rc == 0)
        rc = fp_h_det(o->h, FP_M_Any, sm_pb_bytes(raw, 14), o->err);
    fp_h_str(o->h, sm_pb_bytes(raw, 16));
    hash_keys(o, object);
    hash_links(o, object, 1);
    hash_links(o, object, 15);
    return rc < 0 ? err_ctx(o->err, "object %d of the object graph", object) : 0;
}

static int
hash_all(struct objects *o)
{
    int whole = 0, slots = 0, rc = 0;
    hash_number(o, o->n > 0 ? 0 : -1);
    while (rc == 0 && (whole < o->n_met || slots < o->n_met)) {
        if (whole < o->n_met) {
            rc = hash_object(o, o->met[whole++]);
        } else {
            fp_h_text(o->h, "slots");
            hash_links(o, o->met[slots++], 3);
        }
    }
    return rc;
}

int
fp_h_objects(struct sha256 *h, const struct fp_lib *lib, struct fp_graph *main_graph,
             const struct sm_meta *meta, struct sm_bundle *b, struct err *err)
{
    static const struct fp_field concrete = { .num = 2, .key = FP_K_STR };
    struct sm_tensor stored AUTO(sm_tensor_release) = { .data = NULL };
    struct str key = STR_LIT(SM_OBJECT_GRAPH_KEY);
    struct objects o = { .h = h, .lib = lib, .main_graph = main_graph, .err = err };
    int rc = 0;
    if (meta->object_graph.n > MAX_BYTES)
        return err_set(err, ERR_LIMIT, "an object graph of %zu bytes (limit %zu)",
                       meta->object_graph.n, MAX_BYTES);
    if (b && sm_bundle_find(b, key))
        rc = sm_bundle_tensor(b, key, (struct str){ "", 0 }, true, &stored, err);
    if (rc == 0 && stored.dtype == SM_STRING && stored.n_elems == 1 &&
        sm_tensor_str(&stored)[0].n <= MAX_BYTES)
        o.stored = read_all(sm_tensor_str(&stored)[0], 1, &o.n_stored);
    if (rc == 0)
        rc = fp_map(FP_MSG(meta->object_graph), &concrete, &o.concrete, &o.n_concrete,
                    err);
    if (rc == 0)
        rc = fp_count(meta->raw, 6, MAX_ASSETS, "assets", &o.n_assets, err);
    if (rc == 0) {
        o.raw = read_all(meta->object_graph, 1, &o.n);
        o.assets = read_all(meta->raw, 6, &o.n_assets);
        size_t n = (size_t)o.n + 1;
        o.pair = xcalloc(n, sizeof(*o.pair));
        o.number = xcalloc(n, sizeof(*o.number));
        o.met = xcalloc(n, sizeof(*o.met));
        for (int i = 0; i < o.n; i++)
            o.pair[i] = o.number[i] = -1;
        pair_all(&o);
        rc = hash_all(&o);
        if (rc == 0)
            rc = fp_h_uses(h, &o.uses, err);
    }
    free(o.raw);
    free(o.assets);
    free(o.stored);
    free(o.concrete);
    free(o.pair);
    free(o.number);
    free(o.met);
    fp_uses_release(&o.uses);
    return rc;
}
