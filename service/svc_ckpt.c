/* SPDX-License-Identifier: Apache-2.0 */
/* checkpoint show, checkpoint list */
#include "base/clock.h"
#include "service/svc_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int
svc_ckpt_open(const char *path, struct svc_ckpt *out, struct err *err)
{
    *out = (struct svc_ckpt){ .bundle = NULL };
    if (sm_ckpt_find(AT_FDCWD, path, &out->prefix, err) < 0 ||
        sm_bundle_open(&out->bundle, AT_FDCWD, buf_str(&out->prefix), err) < 0)
        return -(int)err->code;
    return 0;
}

void
svc_ckpt_close(struct svc_ckpt *c)
{
    sm_bundle_close_p(&c->bundle);
    buf_release(&c->prefix);
}

static cJSON *
add_to(cJSON *list)
{
    cJSON *o = cJSON_CreateObject();
    cJSON_AddItemToArray(list, o);
    return o;
}

/* ---- tensors ---- */

/* "model/step" of "model/step/.ATTRIBUTES/VARIABLE_VALUE"; else all of it. */
static struct str
object_part(struct str key)
{
    const struct str mark = STR_LIT("/.ATTRIBUTES/");
    const char *at = key.n > mark.n ? memmem(key.p, key.n, mark.p, mark.n) : NULL;
    return at ? (struct str){ key.p, (size_t)(at - key.p) } : key;
}

static struct str
last_part(struct str path)
{
    const char *slash = path.n ? memrchr(path.p, '/', path.n) : NULL;
    if (!slash)
        return path;
    return (struct str){ slash + 1, path.n - (size_t)(slash + 1 - path.p) };
}

static bool
is_counter(const struct sm_entry *e)
{
    static const char *const names[] = { "save_counter", "global_step", "step", "iter",
                                         "iterations",   "_iterations", "epoch" };
    struct str name = last_part(object_part(e->key));
    bool is_int = e->dtype == SM_INT64 || e->dtype == SM_INT32;
    for (size_t i = 0; is_int && e->shape.rank == 0 && i < sizeof names / sizeof *names;
         i++)
        if (str_is(name, names[i]))
            return true;
    return false;
}

/* The value of a tensor with one number. ERR_INVALID: it has not. */
static int
scalar(struct sm_bundle *b, const struct sm_entry *e, double *out, struct err *err)
{
    struct sm_tensor t AUTO(sm_tensor_release) = { .data = NULL };
    if (sm_bundle_tensor(b, e->key, (struct str){ "", 0 }, true, &t, err) < 0)
        return -(int)err->code;
    if (t.n_elems != 1 || t.dtype == SM_STRING)
        return err_set(err, ERR_INVALID, "'%.*s' is not one number", STR_ARG(e->key));
    if (sm_tensor_cast(&t, SM_DOUBLE, "tensor", err) < 0)
        return -(int)err->code;
    *out = *(const double *)t.data;
    return 0;
}

static int
add_tensors(struct sm_bundle *b, cJSON *reply, struct err *err)
{
    cJSON *list = cJSON_AddArrayToObject(reply, "tensors");
    cJSON *counters = cJSON_AddArrayToObject(reply, "counters");
    for (int i = 0; i < sm_bundle_n_entries(b); i++) {
        const struct sm_entry *e = sm_bundle_entry(b, i);
        struct buf shape AUTO(buf_release) = BUF_INIT;
        double value;
        if (str_is(e->key, SM_OBJECT_GRAPH_KEY))
            continue;
        cJSON *o = add_to(list);
        svc_put_slice(o, "tensor", e->key);
        json_put_str(o, "dtype", sm_dtype_name(e->dtype));
        sm_shape_text(&e->shape, &shape);
        json_put_str(o, "shape", buf_str(&shape));
        json_put_int(o, "bytes", sm_entry_bytes(e));
        if (e->n_slices)
            json_put_int(o, "slices", e->n_slices);
        if (!is_counter(e))
            continue;
        if (scalar(b, e, &value, err) < 0)
            return -(int)err->code;
        o = add_to(counters);
        svc_put_slice(o, "counter", object_part(e->key));
        svc_put_slice(o, "tensor", e->key);
        json_put_int(o, "value", (int64_t)value);
    }
    return 0;
}

/* ---- objects ---- */

static bool
is_list(const struct sm_object *x)
{
    for (int i = 0; i < x->n_children; i++)
        for (size_t k = 0; k < x->children[i].name.n; k++)
            if (x->children[i].name.p[k] < '0' || x->children[i].name.p[k] > '9')
                return false;
    return x->n_children > 0;
}

static bool
is_optimizer(const struct sm_objects *g, int node)
{
    bool has_rate = sm_objects_child(g, node, STR_LIT("learning_rate")) >= 0 ||
                    sm_objects_child(g, node, STR_LIT("_learning_rate")) >= 0;
    return g->v[node].n_slots > 0 || has_rate;
}

static const char *
kind_of(const struct sm_objects *g, int node)
{
    const struct sm_object *x = &g->v[node];
    if (sm_object_saved(x, STR_LIT(SM_VARIABLE_VALUE)))
        return "variable";
    if (x->n_saved > 0)
        return "saved state";
    if (is_optimizer(g, node))
        return "optimizer";
    return is_list(x) ? "list" : "object";
}

/* A walk in depth, each object's children once. */
struct tree {
    const struct sm_objects *g;
    struct str *name; /* of the edge by which an object was found first */
    int *parent;      /* -2: not found yet */
    int *next;        /* child to go on with */
    struct sm_bundle *b;
    cJSON *list;
};

enum { PATH_MAX_BYTES = 400 };

/* "model/layer-0"; a very long one begins with "…". */
static void
add_path(const struct tree *t, int node, struct buf *out)
{
    struct str parts[PATH_MAX_BYTES];
    int n = 0;
    size_t bytes = 0;
    while (node > 0 && n < PATH_MAX_BYTES && bytes < PATH_MAX_BYTES) {
        parts[n++] = t->name[node];
        bytes += t->name[node].n + 1;
        node = t->parent[node];
    }
    buf_adds(out, node > 0 ? "…/" : n == 0 ? "(root)" : "");
    while (n-- > 0) {
        buf_add(out, parts[n].p, parts[n].n);
        buf_adds(out, n ? "/" : "");
    }
}

static void
add_node(struct tree *t, int node, struct str name, int depth, bool is_seen)
{
    const struct sm_object *x = &t->g->v[node];
    struct buf path AUTO(buf_release) = BUF_INIT;
    cJSON *o = add_to(t->list);
    json_put_int(o, "depth", depth);
    svc_put_slice(o, "name", name);
    json_put_int(o, "node", node);
    json_put_str(o, "kind", kind_of(t->g, node));
    if (is_seen) {
        add_path(t, node, &path);
        json_put_str(o, "same_as", buf_str(&path));
        return;
    }
    cJSON *saved = x->n_saved ? cJSON_AddArrayToObject(o, "saved") : NULL;
    for (int i = 0; i < x->n_saved; i++) {
        cJSON *s = add_to(saved);
        svc_put_slice(s, "attribute", x->saved[i].name);
        svc_put_slice(s, "full_name", x->saved[i].full_name);
        svc_put_slice(s, "tensor", x->saved[i].key);
        if (!sm_bundle_find(t->b, x->saved[i].key))
            json_put_bool(s, "missing", true);
    }
}

static void
add_tree(struct tree *t)
{
    int node = 0, depth = 0;
    for (int i = 0; i < t->g->n; i++)
        t->parent[i] = -2;
    t->parent[0] = -1;
    t->name[0] = (struct str){ "", 0 };
    add_node(t, 0, t->name[0], 0, false);
    while (node >= 0) {
        const struct sm_object *x = &t->g->v[node];
        if (t->next[node] == x->n_children) {
            node = t->parent[node];
            depth--;
            continue;
        }
        const struct sm_child *c = &x->children[t->next[node]++];
        bool is_seen = t->parent[c->node] != -2;
        add_node(t, c->node, c->name, depth + 1, is_seen);
        if (is_seen)
            continue;
        t->parent[c->node] = node;
        t->name[c->node] = c->name;
        node = c->node;
        depth++;
    }
}

/* ---- slots ---- */

static void
add_slot(cJSON *list, const char *optimizer, struct str variable, struct str slot,
         struct str key)
{
    cJSON *o = add_to(list);
    if (optimizer)
        json_put_str(o, "optimizer", optimizer);
    svc_put_slice(o, "variable", variable);
    svc_put_slice(o, "slot", slot);
    svc_put_slice(o, "tensor", key);
}

static int
by_text(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* "Adam/m/dense/kernel" is the slot "m" of "dense/kernel", when there is such a
 * variable. */
static bool
slot_of_full_name(struct str full, const struct str *names, int n, struct str *variable,
                  struct str *slot)
{
    const char *end = full.p + full.n;
    for (const char *p = full.n ? memchr(full.p, '/', full.n) : NULL; p;
         p = memchr(p + 1, '/', (size_t)(end - p - 1))) {
        *variable = (struct str){ p + 1, (size_t)(end - p - 1) };
        *slot = last_part((struct str){ full.p, (size_t)(p - full.p) });
        if (bsearch(variable, names, (size_t)n, sizeof(*names), by_text))
            return true;
    }
    return false;
}

/* Optimizers of Keras since 2.11 keep a list of variables. */
static void
add_listed_slots(const struct tree *t, int optimizer, const char *path,
                 const struct str *names, int n, cJSON *list)
{
    int node = sm_objects_child(t->g, optimizer, STR_LIT("_variables"));
    for (int i = 0; node >= 0 && i < t->g->v[node].n_children; i++) {
        const struct sm_saved *s = sm_object_saved(
            &t->g->v[t->g->v[node].children[i].node], STR_LIT(SM_VARIABLE_VALUE));
        struct str variable, slot;
        if (s && slot_of_full_name(s->full_name, names, n, &variable, &slot))
            add_slot(list, path, variable, slot, s->key);
    }
}

static void
add_object_slots(const struct tree *t, cJSON *list)
{
    const struct sm_objects *g = t->g;
    struct str *names AUTO(free_ptr) = xcalloc((size_t)g->n_saved + 1, sizeof(*names));
    for (int i = 0; i < g->n_saved; i++)
        names[i] = g->saved[i].full_name;
    qsort(names, (size_t)g->n_saved, sizeof(*names), by_text);
    for (int node = 0; node < g->n; node++) {
        struct buf path AUTO(buf_release) = BUF_INIT;
        if (!is_optimizer(g, node))
            continue;
        add_path(t, node, &path);
        for (int i = 0; i < g->v[node].n_slots; i++) {
            const struct sm_slot *s = &g->v[node].slots[i];
            const struct str value = STR_LIT(SM_VARIABLE_VALUE);
            const struct sm_saved *v = sm_object_saved(&g->v[s->variable], value);
            const struct sm_saved *k = sm_object_saved(&g->v[s->node], value);
            if (v && k)
                add_slot(list, buf_str(&path), v->full_name, s->name, k->key);
        }
        add_listed_slots(t, node, buf_str(&path), names, g->n_saved, list);
    }
}

static void
add_named_slots(struct sm_bundle *b, cJSON *list)
{
    for (int i = 0; i < sm_bundle_n_entries(b); i++) {
        const struct sm_entry *e = sm_bundle_entry(b, i);
        struct str variable, slot;
        if (sm_slot_of_name(e->key, &variable, &slot) && sm_bundle_find(b, variable))
            add_slot(list, NULL, variable, slot, e->key);
    }
}

static int
add_objects(struct sm_bundle *b, cJSON *reply, struct err *err)
{
    struct sm_objects g AUTO(sm_objects_release) = { .n = 0 };
    if (sm_objects_read(&g, b, err) < 0)
        return -(int)err->code;
    json_put_str(reply, "form", g.n ? "objects" : "names");
    cJSON *slots = cJSON_AddArrayToObject(reply, "slots");
    if (g.n == 0) {
        add_named_slots(b, slots);
        return 0;
    }
    struct str *name AUTO(free_ptr) = xcalloc((size_t)g.n, sizeof(*name));
    int *parent AUTO(free_ptr) = xcalloc((size_t)g.n, sizeof(*parent));
    int *next AUTO(free_ptr) = xcalloc((size_t)g.n, sizeof(*next));
    struct tree t = { .g = &g, .name = name, .parent = parent, .next = next, .b = b };
    t.list = cJSON_AddArrayToObject(reply, "objects");
    add_tree(&t);
    add_object_slots(&t, slots);
    return 0;
}

int
svc_do_checkpoint_show(struct svc_call *c, struct err *err)
{
    struct svc_ckpt k AUTO(svc_ckpt_close) = { .bundle = NULL };
    if (svc_ckpt_open(svc_str(c, "path"), &k, err) < 0)
        return -(int)err->code;
    json_put_str(c->reply, "prefix", buf_str(&k.prefix));
    json_put_int(c->reply, "shards", sm_bundle_n_shards(k.bundle));
    json_put_int(
        c->reply, "bytes",
        sm_ckpt_bytes(AT_FDCWD, buf_str(&k.prefix), sm_bundle_n_shards(k.bundle)));
    if (sm_bundle_check_sizes(k.bundle, err) < 0 ||
        add_tensors(k.bundle, c->reply, err) < 0 ||
        add_objects(k.bundle, c->reply, err) < 0)
        return err_ctx(err, "%s", buf_str(&k.prefix));
    return 0;
}

/* ---- list ---- */

struct listing {
    const char *dir;
    cJSON *list;
    struct str key; /* of --best; n 0: none */
    bool wants_max;
    cJSON *best;
    double best_value;
};

/* The tensor that --best names: by its name, or by an object's path. */
static const struct sm_entry *
best_entry(struct sm_bundle *b, struct str key)
{
    char *name AUTO(free_ptr) =
        xasprintf("%.*s/.ATTRIBUTES/%s", STR_ARG(key), SM_VARIABLE_VALUE);
    struct sm_objects g AUTO(sm_objects_release) = { .n = 0 };
    struct err ignored = ERR_INIT;
    const struct sm_entry *e = sm_bundle_find(b, key);
    if (!e)
        e = sm_bundle_find(b, str_of(name));
    if (e || sm_objects_read(&g, b, &ignored) < 0)
        return e;
    int node = sm_objects_path(&g, key); /* shared objects have several paths */
    const struct sm_saved *s =
        node < 0 ? NULL : sm_object_saved(&g.v[node], STR_LIT(SM_VARIABLE_VALUE));
    return s ? sm_bundle_find(b, s->key) : NULL;
}

static int
judge(struct listing *l, struct sm_bundle *b, cJSON *o, struct err *err)
{
    const struct sm_entry *e = l->key.n ? best_entry(b, l->key) : NULL;
    double value;
    if (!e)
        return 0;
    if (scalar(b, e, &value, err) < 0)
        return -(int)err->code;
    json_put_real(o, "value", value);
    if (!isnan(value) &&
        (!l->best || (l->wants_max ? value > l->best_value : value < l->best_value))) {
        l->best = o;
        l->best_value = value;
    }
    return 0;
}

/* One checkpoint; time_s 0: that of its index. What is wrong with it is said. */
static void
add_checkpoint(struct listing *l, struct str path, double time_s, bool is_named,
               bool is_newest)
{
    struct buf prefix AUTO(buf_release) = BUF_INIT;
    struct sm_bundle *b AUTO(sm_bundle_close_p) = NULL;
    struct err err = ERR_INIT;
    struct stat st;
    cJSON *o = add_to(l->list);
    sm_ckpt_beside(l->dir, path, &prefix);
    svc_put_slice(o, "checkpoint", path);
    json_put_str(o, "prefix", buf_str(&prefix));
    json_put_bool(o, "newest", is_newest);
    json_put_bool(o, "in_state_file", is_named);
    char *index AUTO(free_ptr) = xasprintf("%s.index", buf_str(&prefix));
    int64_t time_ns = time_s > 0 && time_s < 4e9 ? (int64_t)(time_s * 1e9) : 0;
    if (time_ns == 0 && stat(index, &st) == 0)
        time_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    svc_put_time(o, "time", time_ns);
    if (sm_bundle_open(&b, AT_FDCWD, buf_str(&prefix), &err) == 0) {
        bool has_objects = sm_bundle_find(b, STR_LIT(SM_OBJECT_GRAPH_KEY)) != NULL;
        json_put_int(o, "tensors", sm_bundle_n_entries(b) - has_objects);
        json_put_int(o, "bytes",
                     sm_ckpt_bytes(AT_FDCWD, buf_str(&prefix), sm_bundle_n_shards(b)));
        if (sm_bundle_check_sizes(b, &err) == 0)
            (void)judge(l, b, o, &err);
    }
    json_put_bool(o, "complete", err.code == ERR_OK);
    if (err.code != ERR_OK)
        json_put_str(o, "problem", err.msg);
}

static bool
names(const struct listing *l, const struct sm_ckpt_state *s, const char *name)
{
    struct buf mine AUTO(buf_release) = BUF_INIT;
    sm_ckpt_beside(l->dir, str_of(name), &mine);
    for (int i = 0; i < s->n; i++) {
        struct buf prefix AUTO(buf_release) = BUF_INIT;
        sm_ckpt_beside(l->dir, s->paths[i], &prefix);
        if (strcmp(buf_str(&prefix), buf_str(&mine)) == 0)
            return true;
    }
    return false;
}

/* "val_loss", "val_accuracy:max" */
static int
parse_best(struct listing *l, const char *text, struct err *err)
{
    if (!text)
        return 0;
    const char *colon = strrchr(text, ':');
    l->wants_max = colon && strcmp(colon, ":max") == 0;
    if (colon && !l->wants_max && strcmp(colon, ":min") != 0)
        return err_set(err, ERR_USAGE, "--best takes KEY, KEY:min or KEY:max, not '%s'",
                       text);
    l->key = (struct str){ text, colon ? (size_t)(colon - text) : strlen(text) };
    return l->key.n ? 0 : err_set(err, ERR_USAGE, "--best names no tensor");
}

int
svc_do_checkpoint_list(struct svc_call *c, struct err *err)
{
    struct sm_ckpt_state state AUTO(sm_ckpt_state_release) = { .n = 0 };
    struct sm_ckpt_names lying AUTO(sm_ckpt_names_release) = { .v = NULL };
    struct listing l = { .dir = svc_str(c, "dir") };
    char *file AUTO(free_ptr) = xasprintf("%s/checkpoint", l.dir);
    if (parse_best(&l, svc_str(c, "best"), err) < 0 ||
        sm_ckpt_names(&lying, AT_FDCWD, l.dir, err) < 0)
        return -(int)err->code;
    bool has_state = sm_ckpt_state_read(&state, AT_FDCWD, file, err) == 0;
    if (!has_state && err->code != ERR_NOTFOUND)
        return -(int)err->code;
    err_clear(err);
    if (!has_state && lying.n == 0)
        return err_set(err, ERR_NOTFOUND,
                       "%s has no checkpoints and no state file 'checkpoint'", l.dir);
    json_put_bool(c->reply, "state_file", has_state);
    l.list = cJSON_AddArrayToObject(c->reply, "checkpoints");
    for (int i = 0; i < state.n; i++)
        add_checkpoint(&l, state.paths[i], i < state.n_times ? state.times[i] : 0, true,
                       str_eq(state.paths[i], state.latest));
    for (int i = 0; i < lying.n; i++)
        if (!names(&l, &state, lying.v[i]))
            add_checkpoint(&l, str_of(lying.v[i]), 0, false, false);
    if (!l.key.n)
        return 0;
    if (!l.best)
        return err_set(
            err, ERR_NOTFOUND,
            "no checkpoint in %s has a number '%.*s'; sluice checkpoint show "
            "lists what they have",
            l.dir, STR_ARG(l.key));
    json_put_bool(l.best, "best", true);
    return 0;
}
