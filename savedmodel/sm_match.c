/* SPDX-License-Identifier: Apache-2.0 */
/* Which tensor of a checkpoint is which of a model.
 *
 * 1. Through the objects, as TensorFlow restores: both graphs are walked together, the
 *    model's from its root, the checkpoint's from the object that is the model;
 * children pair by their names, slot variables by their optimizer, variable and name.
 * Which object that is, is told, or it is the root or the child of the root from which
 * most of the model is found; two that differ and are equally good are refused.
 * 2. By full name ("dense/kernel"; the key where there are no objects) when the objects
 *    have nothing in common, and for training state. A name must be the only one of its
 *    kind on both sides. Parts of a model are never filled up from elsewhere by name: a
 *    checkpoint of two networks has most names twice.
 *
 * Training state is what an optimizer, a metric or a counter has, by its key, and no
 * function of the model takes: what the checkpoint does not have of it stays. */
#include "savedmodel/sm_int.h"

#include <stdlib.h>

#define ROOTS_MAX 1000 /* children of the root that are tried */

struct want {
    struct str full_name, attr;
    bool is_training, is_variable, is_torn;
};

struct match {
    struct sm_bundle *model, *ckpt;
    struct sm_objects mg, cg;
    struct sm_matches *out;
    struct want *want;            /* as out->v */
    bool *is_captured;            /* objects of the model */
    int *pair;                    /* of each, the checkpoint's; -1 */
    int *queue;                   /* paired ones in the order found */
    const struct sm_entry **from; /* of the walk under way, as out->v */
    int n_queue, n_required, n_training;
};

/* Objects that a function of the model takes. SavedObjectGraph: 2 map of
 * SavedConcreteFunction { 2 repeated int32 bound inputs }. */
static void
captures_read(struct match *m, const struct sm_meta *meta)
{
    struct str it = meta->object_graph, entry;
    struct sm_field f;
    uint64_t v;
    while (sm_pb_next_msg(&it, 2, &entry) > 0) {
        struct str fn = sm_pb_bytes(entry, 2);
        while (sm_pb_next(&fn, &f) > 0) {
            if (f.num == 2 && f.wire == 0 && f.v < (uint64_t)m->mg.n)
                m->is_captured[f.v] = true;
            while (f.num == 2 && f.wire == 2 && f.bytes.n > 0 &&
                   sm_pb_packed_next(&f.bytes, 0, &v))
                if (v < (uint64_t)m->mg.n)
                    m->is_captured[v] = true;
        }
    }
}

/* ---- what the model wants ---- */

static int
entry_cmp(const void *key, const void *match)
{
    return str_cmp(*(const struct str *)key,
                   ((const struct sm_match *)match)->entry->key);
}

/* The place of a key in out->v; -1: no such entry. */
static int
place_of(const struct match *m, struct str key)
{
    const struct sm_matches *o = m->out;
    const struct sm_match *x =
        o->n ? bsearch(&key, o->v, (size_t)o->n, sizeof(*o->v), entry_cmp) : NULL;
    return x ? (int)(x - o->v) : -1;
}

static void
wants_read(struct match *m)
{
    struct sm_matches *o = m->out;
    int n = sm_bundle_n_entries(m->model);
    o->v = xcalloc((size_t)n + 1, sizeof(*o->v));
    m->want = xcalloc((size_t)n + 1, sizeof(*m->want));
    m->from = xcalloc((size_t)n + 1, sizeof(*m->from));
    for (int i = 0; i < n; i++) {
        const struct sm_entry *e = sm_bundle_entry(m->model, i);
        if (str_is(e->key, SM_OBJECT_GRAPH_KEY))
            continue;
        m->want[o->n] = (struct want){
            .full_name = e->key,
            .attr = STR_LIT(SM_VARIABLE_VALUE),
            .is_training = sm_entry_role(m->model, e) != SM_ROLE_WEIGHT,
            .is_variable = true,
        };
        o->v[o->n++].entry = e;
    }
    for (int node = 0; node < m->mg.n; node++) {
        for (int k = 0; k < m->mg.v[node].n_saved; k++) {
            const struct sm_saved *s = &m->mg.v[node].saved[k];
            int i = place_of(m, s->key);
            if (i < 0)
                continue;
            m->want[i].full_name = s->full_name;
            m->want[i].attr = s->name;
            m->want[i].is_variable = str_is(s->name, SM_VARIABLE_VALUE);
            m->want[i].is_training &= !m->is_captured[node];
        }
    }
}

/* The values of a table may be more or fewer; a variable has its shape. */
static enum sm_match_state
fit(const struct match *m, int i, const struct sm_entry *from)
{
    const struct sm_entry *e = m->out->v[i].entry;
    if (!from)
        return SM_MATCH_MISSING;
    if (from->dtype != e->dtype)
        return SM_MATCH_DTYPE;
    if (m->want[i].is_variable && !sm_shape_eq(&from->shape, &e->shape))
        return SM_MATCH_SHAPE;
    return SM_MATCH_FITS;
}

/* ---- both graphs together ---- */

/* Pairs two objects. What one object of the model shares may be two in the checkpoint:
 * then neither is it. */
static void
pair(struct match *m, int node, int other)
{
    const struct sm_object *x = &m->mg.v[node], *y = &m->cg.v[other];
    bool again = m->pair[node] >= 0;
    if (m->pair[node] == other)
        return;
    if (!again) {
        m->pair[node] = other;
        m->queue[m->n_queue++] = node;
    }
    for (int k = 0; k < x->n_saved; k++) {
        const struct sm_saved *s = sm_object_saved(y, x->saved[k].name);
        int i = place_of(m, x->saved[k].key);
        const struct sm_entry *e = s ? sm_bundle_find(m->ckpt, s->key) : NULL;
        if (i < 0 || !e)
            continue;
        if (again && m->from[i] && m->from[i] != e)
            m->want[i].is_torn = true;
        if (!m->from[i])
            m->from[i] = e;
    }
}

static void
pair_slots(struct match *m, int node)
{
    const struct sm_object *x = &m->mg.v[node], *y = &m->cg.v[m->pair[node]];
    for (int k = 0; k < x->n_slots; k++) {
        int variable = m->pair[x->slots[k].variable];
        const struct sm_slot *s =
            variable < 0 ? NULL : sm_object_slot(y, variable, x->slots[k].name);
        if (s)
            pair(m, x->slots[k].node, s->node);
    }
}

static void
walk(struct match *m, int start)
{
    const struct sm_matches *o = m->out;
    m->n_queue = m->n_required = m->n_training = 0;
    for (int i = 0; i < m->mg.n; i++)
        m->pair[i] = -1;
    for (int i = 0; i < o->n; i++) {
        m->from[i] = NULL;
        m->want[i].is_torn = false;
    }
    pair(m, 0, start);
    for (int at = 0; at < m->n_queue; at++) {
        const struct sm_object *x = &m->mg.v[m->queue[at]];
        for (int k = 0; k < x->n_children; k++) {
            int other =
                sm_objects_child(&m->cg, m->pair[m->queue[at]], x->children[k].name);
            if (other >= 0)
                pair(m, x->children[k].node, other);
        }
    }
    for (int at = m->n_queue; at-- > 0;)
        pair_slots(m, m->queue[at]);
    for (int i = 0; i < o->n; i++) {
        bool fits = fit(m, i, m->from[i]) == SM_MATCH_FITS;
        m->n_required += fits && !m->want[i].is_training;
        m->n_training += fits && m->want[i].is_training;
    }
}

static bool
same_result(const struct match *m, const struct sm_entry *const *from)
{
    for (int i = 0; i < m->out->n; i++)
        if (m->from[i] != from[i])
            return false;
    return true;
}

/* The object of the checkpoint from which most is found; m->from is its walk's. */
static int
find_root(struct match *m, int *root, struct err *err)
{
    const struct sm_object *top = &m->cg.v[0];
    const struct sm_entry **best AUTO(free_ptr) =
        xcalloc((size_t)m->out->n + 1, sizeof(*best));
    struct str name = { "", 0 }, rival = { NULL, 0 };
    int required = -1, training = -1;
    for (int k = -1; k < top->n_children && k < ROOTS_MAX; k++) {
        struct str this = k < 0 ? (struct str){ "", 0 } : top->children[k].name;
        int node = k < 0 ? 0 : top->children[k].node;
        walk(m, node);
        if (m->n_required == required && m->n_training == training) {
            if (required > 0 && !same_result(m, best))
                rival = this;
        } else if (m->n_required > required ||
                   (m->n_required == required && m->n_training > training)) {
            required = m->n_required;
            training = m->n_training;
            *root = node;
            name = this;
            rival.p = NULL;
            memcpy(best, m->from, (size_t)m->out->n * sizeof(*best));
        }
    }
    if (rival.p)
        return err_set(
            err, ERR_INVALID,
            "'%.*s' and '%.*s' of the checkpoint fit the model equally well: "
            "say which is meant with --root",
            STR_ARG(name.n ? name : STR_LIT("(its root)")), STR_ARG(rival));
    m->out->root = name;
    walk(m, *root);
    return 0;
}

/* ---- by name ---- */

struct named {
    struct str full_name, attr;
    const struct sm_entry *entry;
    bool is_inside; /* below the object that is the model */
};

static int
by_full_name(const void *pa, const void *pb)
{
    const struct named *a = pa, *b = pb;
    int d = str_cmp(a->full_name, b->full_name);
    return d ? d : str_cmp(a->attr, b->attr);
}

/* Objects below `root`, slot variables too. */
static void
mark_inside(const struct sm_objects *g, int root, bool *is_inside)
{
    int *queue AUTO(free_ptr) = xcalloc((size_t)g->n + 1, sizeof(*queue)), n = 0;
    is_inside[root] = true;
    queue[n++] = root;
    for (int at = 0; at < n; at++) {
        const struct sm_object *x = &g->v[queue[at]];
        for (int k = 0; k < x->n_children + x->n_slots; k++) {
            int node = k < x->n_children ? x->children[k].node
                                         : x->slots[k - x->n_children].node;
            if (!is_inside[node])
                queue[n++] = node;
            is_inside[node] = true;
        }
    }
}

/* All names of the checkpoint, sorted. */
static struct named *
names_read(const struct match *m, int root, int *n)
{
    const struct sm_objects *g = &m->cg;
    int n_entries = sm_bundle_n_entries(m->ckpt);
    struct named *v = xcalloc((size_t)(g->n ? g->n_saved : n_entries) + 1, sizeof(*v));
    bool *is_inside AUTO(free_ptr) = xcalloc((size_t)g->n + 1, sizeof(*is_inside));
    *n = 0;
    if (g->n)
        mark_inside(g, root, is_inside);
    for (int node = 0; node < g->n; node++) {
        for (int k = 0; k < g->v[node].n_saved; k++) {
            const struct sm_saved *s = &g->v[node].saved[k];
            v[*n] = (struct named){ s->full_name, s->name,
                                    sm_bundle_find(m->ckpt, s->key), is_inside[node] };
            *n += v[*n].entry != NULL;
        }
    }
    for (int i = 0; g->n == 0 && i < n_entries; i++) {
        const struct sm_entry *e = sm_bundle_entry(m->ckpt, i);
        v[(*n)++] = (struct named){ e->key, STR_LIT(SM_VARIABLE_VALUE), e, true };
    }
    qsort(v, (size_t)*n, sizeof(*v), by_full_name);
    return v;
}

/* The first of the sorted names that is not below `key`. */
static int
first_of(const struct named *v, int n, const struct named *key)
{
    int low = 0;
    while (n > 0) {
        int half = n / 2;
        if (by_full_name(&v[low + half], key) < 0) {
            low += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return low;
}

/* The names that the model itself has more than once. */
static void
mark_twice(const struct match *m, bool *is_twice)
{
    int n = m->out->n;
    struct named *v AUTO(free_ptr) = xcalloc((size_t)n + 1, sizeof(*v));
    for (int i = 0; i < n; i++)
        v[i] = (struct named){ m->want[i].full_name, m->want[i].attr,
                               m->out->v[i].entry, true };
    qsort(v, (size_t)n, sizeof(*v), by_full_name);
    for (int i = 1; i < n; i++)
        if (by_full_name(&v[i - 1], &v[i]) == 0) {
            is_twice[place_of(m, v[i - 1].entry->key)] = true;
            is_twice[place_of(m, v[i].entry->key)] = true;
        }
}

static void
fill_by_name(struct match *m, int root, bool only_training)
{
    int n;
    struct named *v AUTO(free_ptr) = names_read(m, root, &n);
    bool *is_twice AUTO(free_ptr) = xcalloc((size_t)m->out->n + 1, sizeof(*is_twice));
    mark_twice(m, is_twice);
    for (int i = 0; i < m->out->n; i++) {
        const struct want *w = &m->want[i];
        struct named key = { .full_name = w->full_name, .attr = w->attr };
        const struct sm_entry *found = NULL;
        bool many = false;
        if (m->from[i] || w->full_name.n == 0 || (only_training && !w->is_training))
            continue;
        for (int k = first_of(v, n, &key); k < n && by_full_name(&v[k], &key) == 0; k++)
            if (v[k].is_inside || w->is_training) {
                many |= found && found != v[k].entry;
                found = v[k].entry;
            }
        m->want[i].is_torn = found && (many || is_twice[i]);
        m->from[i] = found;
        m->out->v[i].by_name = found != NULL;
    }
}

/* ---- the result ---- */

static void
result(struct match *m)
{
    struct sm_matches *o = m->out;
    int n = sm_bundle_n_entries(m->ckpt);
    const struct sm_entry *first = n ? sm_bundle_entry(m->ckpt, 0) : NULL;
    bool *is_used AUTO(free_ptr) = xcalloc((size_t)n + 1, sizeof(*is_used));
    for (int i = 0; i < o->n; i++) {
        struct sm_match *x = &o->v[i];
        x->from = m->from[i];
        x->state = m->want[i].is_torn ? SM_MATCH_AMBIGUOUS : fit(m, i, x->from);
        if (x->state == SM_MATCH_MISSING && m->want[i].is_training)
            x->state = SM_MATCH_KEPT;
        o->n_bad += x->state != SM_MATCH_FITS && x->state != SM_MATCH_KEPT;
        if (x->from)
            is_used[x->from - first] = true;
    }
    o->unused = xcalloc((size_t)n + 1, sizeof(const struct sm_entry *));
    for (int i = 0; i < n; i++)
        if (!is_used[i] && !str_is(first[i].key, SM_OBJECT_GRAPH_KEY))
            o->unused[o->n_unused++] = &first[i];
}

static int
match(struct match *m, const struct sm_meta *meta, const char *path, struct err *err)
{
    int root = 0, rc = sm_objects_read(&m->mg, m->model, err);
    if (rc < 0)
        return err_ctx(err, "the model");
    rc = sm_objects_read(&m->cg, m->ckpt, err);
    if (rc < 0)
        return err_ctx(err, "the checkpoint");
    m->is_captured = xcalloc((size_t)m->mg.n + 1, sizeof(bool));
    m->pair = xcalloc((size_t)m->mg.n + 1, sizeof(int));
    m->queue = xcalloc((size_t)m->mg.n + 1, sizeof(int));
    if (meta)
        captures_read(m, meta);
    wants_read(m);
    m->out->root = str_of(path ? path : "");
    if (path && (root = sm_objects_path(&m->cg, str_of(path))) < 0)
        return err_set(err, ERR_NOTFOUND, "the checkpoint has no object '%s'%s", path,
                       m->cg.n ? "" : ": it has names only, no objects");
    if (m->mg.n && m->cg.n) {
        if (path)
            walk(m, root);
        else if (find_root(m, &root, err) < 0)
            return -(int)err->code;
    }
    fill_by_name(m, root, m->n_required > 0);
    result(m);
    return 0;
}

int
sm_match_checkpoint(struct sm_matches *out, const struct sm_meta *meta,
                    struct sm_bundle *model, struct sm_bundle *ckpt, const char *path,
                    struct err *err)
{
    struct match m = { .model = model, .ckpt = ckpt, .out = out };
    *out = (struct sm_matches){ .n = 0 };
    int rc = match(&m, meta, path, err);
    sm_objects_release(&m.mg);
    sm_objects_release(&m.cg);
    free(m.want);
    free(m.is_captured);
    free(m.pair);
    free(m.queue);
    free(m.from);
    /* The name of the root lies in the checkpoint's shard, not in its objects. */
    if (rc < 0)
        sm_matches_release(out);
    return rc;
}

void
sm_matches_release(struct sm_matches *m)
{
    free(m->v);
    free(m->unused);
    *m = (struct sm_matches){ .n = 0 };
}
