/* SPDX-License-Identifier: Apache-2.0 */
/* Lookup tables: HashTable (filled once, by an initialiser) and the mutable ones. A key
 * is the bytes of its elements; a value has as many elements as value_shape says. The
 * contents are shared with the snapshot that `reset` goes back to, and copied when they
 * are written then. */
#include "runtime/ops/table_int.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- contents -------------------------------------------------------------------- */

static void
content_unref(struct table_content *c)
{
    if (__atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    rt_names_release(&c->index);
    free(c->keys);
    free(c->values);
    rt_arena_release(&c->arena);
    free(c);
}

struct table_content *
table_content_new(void)
{
    struct table_content *c = xcalloc(1, sizeof(*c));
    c->refs = 1;
    return c;
}

static bool
keep_bytes(struct table_content *c, struct str s, struct str *out)
{
    char *p = rt_arena_alloc(&c->arena, s.n + 1, 1);
    if (p && s.n > 0)
        memcpy(p, s.p, s.n);
    *out = (struct str){ p, s.n };
    return p != NULL;
}

static bool
put_value(const struct rt_table *t, struct table_content *c, int row, const char *value)
{
    char *dst = c->values + (size_t)row * t->value_bytes;
    if (t->value_bytes > 0)
        memcpy(dst, value, t->value_bytes);
    for (int64_t i = 0; t->value_dtype == SM_STRING && i < t->value_elems; i++)
        if (!keep_bytes(c, ((const struct str *)value)[i], &((struct str *)dst)[i]))
            return false;
    return true;
}

/* Row of the key, which is added when it is new. -1: no memory. */
static int
put(const struct rt_table *t, struct table_content *c, struct str key,
    const char *value)
{
    int row = rt_names_find(&c->index, key);
    if (row < 0) {
        if (c->n == c->cap) {
            c->cap = c->cap ? 2 * c->cap : 16;
            c->keys = xreallocarray(c->keys, (size_t)c->cap, sizeof(c->keys[0]));
            c->values = xreallocarray(c->values, (size_t)c->cap, t->value_bytes + 1);
        }
        row = c->n;
        if (!keep_bytes(c, key, &c->keys[row]))
            return -1;
        rt_names_add(&c->index, c->keys[row], row);
        c->n++;
    }
    return put_value(t, c, row, value) ? row : -1;
}

/* A copy without the keys that `drop` has. */
static struct table_content *
content_dup(const struct rt_table *t, const struct table_content *c,
            const struct rt_names *drop)
{
    struct table_content *d = table_content_new();
    d->initialised = c->initialised;
    for (int i = 0; i < c->n; i++)
        if (!drop || rt_names_find(drop, c->keys[i]) < 0)
            (void)put(t, d, c->keys[i], c->values + (size_t)i * t->value_bytes);
    return d;
}

/* ---- tables as state ------------------------------------------------------------- */

static void
table_free(struct rt_obj *o)
{
    struct rt_table *t = (struct rt_table *)o;
    content_unref(t->c);
    pthread_mutex_destroy(&t->lock);
    free(t->name);
    free(t);
}

static void *
table_save(struct rt_obj *o)
{
    struct rt_table *t = (struct rt_table *)o;
    __atomic_add_fetch(&t->c->refs, 1, __ATOMIC_RELAXED);
    return t->c;
}

static void
table_load(struct rt_obj *o, const void *saved)
{
    struct rt_table *t = (struct rt_table *)o;
    content_unref(t->c);
    t->c = saved ? (struct table_content *)(uintptr_t)saved : table_content_new();
    if (saved)
        __atomic_add_fetch(&t->c->refs, 1, __ATOMIC_RELAXED);
    else
        t->c->initialised = t->is_mutable;
}

static void
table_drop(void *saved)
{
    content_unref(saved);
}

static const struct rt_state_type table_type = {
    { "lookup table", table_free }, table_save, table_load, table_drop
};

static int64_t
elems_of(const struct sm_shape *s)
{
    int64_t n = 1;
    for (int i = 0; i < s->rank; i++)
        if (s->dims[i] < 0 || __builtin_mul_overflow(n, s->dims[i], &n))
            return -1;
    return s->unknown_rank ? 1 : n;
}

static struct rt_obj *
table_make(void *arg)
{
    const struct rt_table *like = arg;
    struct rt_table *t = xcalloc(1, sizeof(*t));
    *t = *like;
    rt_obj_init(&t->obj, &table_type.obj);
    pthread_mutex_init(&t->lock, NULL);
    t->name = xstrdup(like->name);
    t->c = table_content_new();
    t->c->initialised = t->is_mutable;
    return &t->obj;
}

static void
drop_obj(void *o)
{
    rt_obj_unref(o);
}

/* Handles. Attrs key_dtype, value_dtype, shared_name (default: the node's name),
 * container, value_shape. Anonymous ones too are one table a node. */
int
rt_prep_table(struct rt_prep *p)
{
    const char *op = p->node->op, *name = rt_attr_str(p, "shared_name", "");
    struct rt_table like = {
        .key_dtype = rt_attr_type(p, "key_dtype", RT_REQUIRED),
        .value_dtype = rt_attr_type(p, "value_dtype", RT_REQUIRED),
        .value_shape = rt_attr_has(p, "value_shape") ? rt_attr_shape(p, "value_shape")
                                                     : (struct sm_shape){ 0 },
        .is_mutable = strstr(op, "Mutable") != NULL,
        .name = (char *)(uintptr_t)(*name ? name : p->node->name),
    };
    if (like.value_shape.unknown_rank)
        like.value_shape = (struct sm_shape){ 0 };
    const struct rt_tensor *empty = strstr(op, "Dense") ? rt_prep_const(p, 0) : NULL;
    if (empty) {
        like.key_shape.rank = empty->rank;
        memcpy(like.key_shape.dims, empty->dims, sizeof(like.key_shape.dims));
    }
    like.key_elems = elems_of(&like.key_shape);
    like.value_elems = elems_of(&like.value_shape);
    if (like.key_elems < 0 || like.value_elems < 0 || like.value_elems > 1 << 24)
        return rt_prep_fail(p, ERR_UNSUPPORTED, "value_shape is not known");
    like.value_bytes = (size_t)like.value_elems * rt_dtype_size(like.value_dtype);
    if (like.key_dtype == SM_STRING && like.key_elems != 1)
        return rt_prep_fail(p, ERR_UNSUPPORTED, "keys of several strings");
    if (p->err->code != ERR_OK)
        return rt_prep_done(p);
    struct rt_obj *o =
        rt_session_state(rt_prep_session(p), "table", rt_attr_str(p, "container", ""),
                         like.name, table_make, &like);
    p->node->state = o;
    rt_prep_on_free(p, drop_obj, o);
    return rt_prep_done(p);
}

int
rt_run_table(struct rt_ctx *ctx, struct err *err)
{
    return rt_out_obj(ctx, 0, SM_RESOURCE, rt_obj_ref(ctx->node->state), err);
}

/* TF1's handle is a reference to a string; here to the table itself. */
int
rt_run_table_ref(struct rt_ctx *ctx, struct err *err)
{
    return rt_out_obj(ctx, 0, SM_STRING + SM_REF, rt_obj_ref(ctx->node->state), err);
}

struct rt_table *
table_in(const struct rt_ctx *ctx, struct err *err)
{
    return (struct rt_table *)rt_in_obj(ctx, 0, &table_type.obj, err);
}

/* ---- keys ------------------------------------------------------------------------ */

struct str
table_key_at(const struct rt_table *t, const struct rt_tensor *keys, int64_t i)
{
    size_t bytes = (size_t)t->key_elems * rt_dtype_size(t->key_dtype);
    return t->key_dtype == SM_STRING
               ? ((const struct str *)keys->data)[i]
               : (struct str){ (const char *)keys->data + (size_t)i * bytes, bytes };
}

/* How many keys there are; -1: they do not suit the table. */
static int64_t
count_keys(const struct rt_ctx *ctx, const struct rt_table *t,
           const struct rt_tensor *keys, struct err *err)
{
    bool fits = keys->rank >= t->key_shape.rank;
    if (keys->dtype != t->key_dtype) {
        rt_fail(ctx, err, ERR_FAILED, "Key must be type %s but got %s",
                rt_dtype_text(t->key_dtype), rt_dtype_text(keys->dtype));
        return -1;
    }
    for (int i = 1; fits && i <= t->key_shape.rank; i++)
        fits = keys->dims[keys->rank - i] == t->key_shape.dims[t->key_shape.rank - i];
    if (!fits) {
        rt_fail(ctx, err, ERR_FAILED,
                "Input key shape %s must end with the table's key shape",
                rt_shape_text(keys, (char[RT_SHAPE_TEXT_BYTES]){ 0 }));
        return -1;
    }
    return t->key_elems > 0 ? keys->n_elems / t->key_elems : 0;
}

/* ---- look up --------------------------------------------------------------------- */

/* table, keys, default_value → values of shape keys' + value_shape. A default may be
 * one value, or one for each key (string and integer keys of mutable tables allow it).
 */
int
rt_run_table_find(struct rt_ctx *ctx, struct err *err)
{
    struct rt_table *t = table_in(ctx, err);
    const struct rt_tensor *keys = ctx->in[1], *dflt = ctx->in[2];
    struct rt_tensor *y;
    int64_t dims[2 * SM_MAX_RANK];
    int64_t n = t ? count_keys(ctx, t, keys, err) : -1;
    if (n < 0)
        return -(int)err->code;
    if (dflt->dtype != t->value_dtype ||
        (dflt->n_elems != t->value_elems && dflt->n_elems != n * t->value_elems))
        return rt_fail(ctx, err, ERR_FAILED,
                       "Expected default value of type %s and one "
                       "value of the table",
                       rt_dtype_text(t->value_dtype));
    int rank = keys->rank - t->key_shape.rank;
    memcpy(dims, keys->dims, (size_t)rank * sizeof(dims[0]));
    memcpy(dims + rank, t->value_shape.dims,
           (size_t)t->value_shape.rank * sizeof(dims[0]));
    if (rt_out(ctx, 0, t->value_dtype, rank + t->value_shape.rank, dims, &y, err) < 0)
        return -(int)err->code;
    bool each = dflt->n_elems != t->value_elems;
    int rc = 0;
    pthread_mutex_lock(&t->lock);
    if (!t->c->initialised)
        rc = rt_fail(ctx, err, ERR_FAILED,
                     "Table not initialized: '%s': no init op of the "
                     "model fills it",
                     t->name);
    for (int64_t i = 0; rc == 0 && i < n; i++) {
        int row = rt_names_find(&t->c->index, table_key_at(t, keys, i));
        const char *from = row >= 0 ? t->c->values + (size_t)row * t->value_bytes
                                    : (const char *)dflt->data +
                                          (each ? (size_t)i * t->value_bytes : 0);
        char *to = (char *)y->data + (size_t)i * t->value_bytes;
        memcpy(to, from, t->value_bytes);
        /* A mutable table may drop what it holds while the run goes on. */
        for (int64_t j = 0; row >= 0 && t->is_mutable && t->value_dtype == SM_STRING &&
                            rc == 0 && j < t->value_elems;
             j++)
            rc = rt_str_dup(ctx, ((struct str *)to)[j], &((struct str *)to)[j], err);
    }
    pthread_mutex_unlock(&t->lock);
    return rc;
}

int
rt_run_table_size(struct rt_ctx *ctx, struct err *err)
{
    struct rt_table *t = table_in(ctx, err);
    struct rt_tensor *y;
    if (!t || rt_out(ctx, 0, SM_INT64, 0, NULL, &y, err) < 0)
        return -(int)err->code;
    pthread_mutex_lock(&t->lock);
    *(int64_t *)y->data = t->c->n;
    bool ok = t->c->initialised;
    pthread_mutex_unlock(&t->lock);
    return ok ? 0
              : rt_fail(ctx, err, ERR_FAILED, "Table not initialized: '%s'", t->name);
}

static int
export_rows(struct rt_ctx *ctx, const struct rt_table *t, const struct table_content *c,
            struct err *err)
{
    struct rt_tensor *k, *v;
    int64_t kd[SM_MAX_RANK + 1] = { c->n }, vd[SM_MAX_RANK + 1] = { c->n };
    memcpy(kd + 1, t->key_shape.dims, (size_t)t->key_shape.rank * sizeof(kd[0]));
    memcpy(vd + 1, t->value_shape.dims, (size_t)t->value_shape.rank * sizeof(vd[0]));
    if (rt_out(ctx, 0, t->key_dtype, 1 + t->key_shape.rank, kd, &k, err) < 0 ||
        rt_out(ctx, 1, t->value_dtype, 1 + t->value_shape.rank, vd, &v, err) < 0)
        return -(int)err->code;
    if (c->n > 0)
        memcpy(v->data, c->values, (size_t)c->n * t->value_bytes);
    for (int64_t i = 0; t->value_dtype == SM_STRING && i < v->n_elems; i++)
        if (rt_str_dup(ctx, ((struct str *)v->data)[i], &((struct str *)v->data)[i],
                       err) < 0)
            return -(int)err->code;
    for (int i = 0; i < c->n; i++) {
        if (t->key_dtype != SM_STRING)
            memcpy((char *)k->data + (size_t)i * c->keys[i].n, c->keys[i].p,
                   c->keys[i].n);
        else if (rt_str_dup(ctx, c->keys[i], &((struct str *)k->data)[i], err) < 0)
            return -(int)err->code;
    }
    return 0;
}

/* table → keys, values, in the order they were put in. */
int
rt_run_table_export(struct rt_ctx *ctx, struct err *err)
{
    struct rt_table *t = table_in(ctx, err);
    if (!t)
        return -(int)err->code;
    pthread_mutex_lock(&t->lock);
    int rc = export_rows(ctx, t, t->c, err);
    pthread_mutex_unlock(&t->lock);
    return rc;
}

/* ---- fill ------------------------------------------------------------------------ */

/* What fills a table that can be filled only once: a second, different value for a key
 * is an error. */
int
table_put_once(struct rt_ctx *ctx, const struct rt_table *t, struct table_content *c,
               struct str key, const char *value, struct err *err)
{
    int row = rt_names_find(&c->index, key);
    if (row < 0)
        return put(t, c, key, value) < 0 ? rt_fail(ctx, err, ERR_LIMIT, "out of memory")
                                         : 0;
    const char *had = c->values + (size_t)row * t->value_bytes;
    bool same = t->value_dtype == SM_STRING
                    ? str_eq(*(const struct str *)had, *(const struct str *)value)
                    : memcmp(had, value, t->value_bytes) == 0;
    if (same)
        return 0;
    if (t->key_dtype == SM_STRING)
        return rt_fail(ctx, err, ERR_FAILED,
                       "HashTable has different value for same key. "
                       "Key %.*s is there twice",
                       STR_ARG(key));
    return rt_fail(ctx, err, ERR_FAILED,
                   "HashTable has different value for same key: row %d "
                   "and another",
                   row);
}

/* Replaces the contents. A table that has been filled already is left as it is. */
int
table_install(struct rt_table *t, struct table_content *c, int rc)
{
    struct table_content *old = c;
    pthread_mutex_lock(&t->lock);
    if (rc == 0 && !t->c->initialised) {
        c->initialised = true;
        old = t->c;
        t->c = c;
    }
    pthread_mutex_unlock(&t->lock);
    content_unref(old);
    return rc;
}

/* table, keys, values */
int
rt_run_table_init(struct rt_ctx *ctx, struct err *err)
{
    struct rt_table *t = table_in(ctx, err);
    const struct rt_tensor *keys = ctx->in[1], *values = ctx->in[2];
    int64_t n = t ? count_keys(ctx, t, keys, err) : -1;
    if (n < 0)
        return -(int)err->code;
    if (values->dtype != t->value_dtype || values->n_elems != n * t->value_elems)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Keys and values must have the same size: %lld "
                       "keys, %lld values of type %s",
                       (long long)n, (long long)values->n_elems,
                       rt_dtype_text(values->dtype));
    struct table_content *c = table_content_new();
    int rc = 0;
    for (int64_t i = 0; rc == 0 && i < n; i++)
        rc = table_put_once(ctx, t, c, table_key_at(t, keys, i),
                            (const char *)values->data + (size_t)i * t->value_bytes,
                            err);
    return table_install(t, c, rc);
}

/* Insert adds and replaces, Import replaces all (and initialises an immutable table).
 */
int
rt_run_table_insert(struct rt_ctx *ctx, struct err *err)
{
    struct rt_table *t = table_in(ctx, err);
    const struct rt_tensor *keys = ctx->in[1], *values = ctx->in[2];
    int64_t n = t ? count_keys(ctx, t, keys, err) : -1;
    bool fresh = strstr(ctx->node->op, "Import") != NULL, ok = true;
    if (n < 0)
        return -(int)err->code;
    if (!t->is_mutable && fresh)
        return rt_run_table_init(ctx, err);
    if (!t->is_mutable)
        return rt_fail(ctx, err, ERR_FAILED,
                       "the table cannot be changed once it is filled");
    if (values->dtype != t->value_dtype || values->n_elems != n * t->value_elems)
        return rt_fail(ctx, err, ERR_FAILED, "%lld keys need as many values of type %s",
                       (long long)n, rt_dtype_text(t->value_dtype));
    pthread_mutex_lock(&t->lock);
    if (fresh || __atomic_load_n(&t->c->refs, __ATOMIC_ACQUIRE) > 1) {
        struct table_content *c =
            fresh ? table_content_new() : content_dup(t, t->c, NULL);
        c->initialised = true;
        content_unref(t->c);
        t->c = c;
    }
    for (int64_t i = 0; ok && i < n; i++)
        ok = put(t, t->c, table_key_at(t, keys, i),
                 (const char *)values->data + (size_t)i * t->value_bytes) >= 0;
    pthread_mutex_unlock(&t->lock);
    return ok ? 0 : rt_fail(ctx, err, ERR_LIMIT, "out of memory");
}

/* table, keys: those that are there go. */
int
rt_run_table_remove(struct rt_ctx *ctx, struct err *err)
{
    struct rt_table *t = table_in(ctx, err);
    int64_t n = t ? count_keys(ctx, t, ctx->in[1], err) : -1;
    if (n < 0)
        return -(int)err->code;
    struct rt_names gone = { 0 };
    for (int64_t i = 0; i < n; i++)
        rt_names_add(&gone, table_key_at(t, ctx->in[1], i), 0);
    pthread_mutex_lock(&t->lock);
    struct table_content *c = content_dup(t, t->c, &gone);
    content_unref(t->c);
    t->c = c;
    pthread_mutex_unlock(&t->lock);
    rt_names_release(&gone);
    return 0;
}
