/* SPDX-License-Identifier: Apache-2.0 */
/* Protobuf messages as trees that tests rewrite: parsed by the schema, changed, written
 * again. Independent of the readers under test, but for the schema table. */
#ifndef TESTS_UNIT_FINGERPRINT_TREE_H
#define TESTS_UNIT_FINGERPRINT_TREE_H

#include "fingerprint/fp_int.h"
#include "tests/unit/savedmodel/build.h"

#include <stdlib.h>

enum { TREE_LEAF = -1, TREE_ENTRY = -2 };
struct tree {
    int type; /* enum fp_type, or one of the above */
    uint32_t num, wire;
    uint64_t v;       /* numbers */
    struct buf bytes; /* strings, and packed numbers */
    bool is_fat;      /* written with lengths and varints longer than needed */
    struct tree *kid;
    int n;
};

/* The label of the field that holds this kid; NULL: unknown to the schema. */
static inline const struct fp_field *
tree_field(int type, uint32_t num)
{
    for (int i = 0; type >= 0 && i < fp_schemas[type].n_fields; i++) {
        if (fp_schemas[type].fields[i].num == num)
            return &fp_schemas[type].fields[i];
    }
    return NULL;
}

static inline struct tree *
tree_add(struct tree *t, int type, uint32_t num, uint32_t wire)
{
    t->kid = xreallocarray(t->kid, (size_t)t->n + 1, sizeof(*t->kid));
    struct tree *k = &t->kid[t->n++];
    *k = (struct tree){ .type = type, .num = num, .wire = wire };
    return k;
}

static inline void
tree_free(struct tree *t)
{
    for (int i = 0; i < t->n; i++)
        tree_free(&t->kid[i]);
    free(t->kid);
    buf_release(&t->bytes);
    *t = (struct tree){ .n = 0 };
}

static inline void tree_fill(struct tree *t, struct str raw);

/* `value` is the map's field when `t` is an entry. */
static inline void
tree_fill_entry(struct tree *t, const struct fp_field *value, struct str raw)
{
    struct sm_field f;
    while (sm_pb_next(&raw, &f) > 0) {
        bool is_msg = f.num == 2 && f.wire == 2 && value->kind == FP_K_MSG;
        struct tree *k = tree_add(t, is_msg ? value->type : TREE_LEAF, f.num, f.wire);
        k->v = f.v;
        if (is_msg)
            tree_fill(k, f.bytes);
        else
            buf_add(&k->bytes, f.bytes.p, f.bytes.n);
    }
}

static inline void
tree_fill(struct tree *t, struct str raw)
{
    struct sm_field f;
    while (sm_pb_next(&raw, &f) > 0) {
        const struct fp_field *x = tree_field(t->type, f.num);
        if (x && f.wire == 2 && x->label == FP_L_MAP) {
            tree_fill_entry(tree_add(t, TREE_ENTRY, f.num, 2), x, f.bytes);
        } else if (x && f.wire == 2 && x->kind == FP_K_MSG) {
            tree_fill(tree_add(t, x->type, f.num, 2), f.bytes);
        } else {
            struct tree *k = tree_add(t, TREE_LEAF, f.num, f.wire);
            k->v = f.v;
            buf_add(&k->bytes, f.bytes.p, f.bytes.n);
        }
    }
}

static inline void
tree_varint(struct buf *out, uint64_t v, bool is_fat)
{
    size_t at = out->len;
    add_varint(out, v);
    if (is_fat && out->len - at < 9) {
        out->data[out->len - 1] = (char)(out->data[out->len - 1] | 0x80);
        buf_addc(out, 0);
    }
}

static inline void
tree_write(const struct tree *t, struct buf *out)
{
    for (int i = 0; i < t->n; i++) {
        const struct tree *k = &t->kid[i];
        struct buf inner = BUF_INIT;
        add_varint(out, k->num << 3 | k->wire);
        if (k->wire == 0) {
            tree_varint(out, k->v, k->is_fat);
        } else if (k->wire != 2) {
            buf_add(out, &k->v, k->wire == 1 ? 8 : 4);
        } else {
            if (k->type != TREE_LEAF)
                tree_write(k, &inner);
            else
                buf_add(&inner, k->bytes.data, k->bytes.len);
            tree_varint(out, inner.len, k->is_fat);
            buf_add(out, inner.data, inner.len);
        }
        buf_release(&inner);
    }
}

/* ---- finding and changing ---- */

static inline struct tree *
tree_nth(struct tree *t, uint32_t num, int i)
{
    for (int k = 0; t && k < t->n; k++) {
        if (t->kid[k].num == num && i-- == 0)
            return &t->kid[k];
    }
    return NULL;
}

static inline struct tree *
tree_get(struct tree *t, uint32_t num)
{
    return tree_nth(t, num, 0);
}

static inline struct str
tree_str(struct tree *t, uint32_t num)
{
    struct tree *k = tree_get(t, num);
    return k ? str_buf(&k->bytes) : (struct str){ "", 0 };
}

static inline bool
tree_is(struct tree *t, uint32_t num, const char *s)
{
    return str_is(tree_str(t, num), s);
}

static inline void
tree_set_str(struct tree *t, uint32_t num, const char *s)
{
    struct tree *k = tree_get(t, num);
    if (!k)
        k = tree_add(t, TREE_LEAF, num, 2);
    buf_clear(&k->bytes);
    buf_adds(&k->bytes, s);
}

static inline void
tree_set_int(struct tree *t, uint32_t num, uint64_t v)
{
    struct tree *k = tree_get(t, num);
    if (!k)
        k = tree_add(t, TREE_LEAF, num, 0);
    k->v = v;
}

static inline void
tree_drop(struct tree *t, struct tree *kid)
{
    size_t i = (size_t)(kid - t->kid);
    tree_free(kid);
    memmove(kid, kid + 1, ((size_t)t->n - i - 1) * sizeof(*kid));
    t->n--;
}

/* The value of a map field under a string key. */
static inline struct tree *
tree_map(struct tree *t, uint32_t num, const char *key)
{
    for (int i = 0; t && i < t->n; i++) {
        if (t->kid[i].num == num && tree_is(&t->kid[i], 1, key))
            return tree_get(&t->kid[i], 2);
    }
    return NULL;
}

static inline struct tree *
tree_map_add(struct tree *t, uint32_t num, const char *key, int type)
{
    struct tree *e = tree_add(t, TREE_ENTRY, num, 2);
    tree_set_str(e, 1, key);
    return tree_add(e, type, 2, 2);
}

/* Calls fn on every message of a type (-3: every message and entry), parents first. */
static inline void
tree_each(struct tree *t, int type, void (*fn)(struct tree *, void *), void *arg)
{
    if (t->type == type || (type == -3 && t->type != TREE_LEAF))
        fn(t, arg);
    for (int i = 0; i < t->n; i++) {
        if (t->kid[i].type != TREE_LEAF)
            tree_each(&t->kid[i], type, fn, arg);
    }
}

/* A fixed sequence. */
static inline uint32_t
tree_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* Shuffles the kids for which is_movable says yes, among their places. */
static inline void
tree_shuffle(struct tree *t, uint32_t *seed, bool (*is_movable)(struct tree *, int))
{
    for (int i = t->n - 1; i > 0; i--) {
        int j = (int)(tree_random(seed) % (uint32_t)(i + 1));
        if (!is_movable(t, i) || !is_movable(t, j))
            continue;
        struct tree x = t->kid[i];
        t->kid[i] = t->kid[j];
        t->kid[j] = x;
    }
}

static inline void
tree_read(struct tree *t, const char *path)
{
    struct buf b = BUF_INIT;
    read_file(path, &b);
    *t = (struct tree){ .type = FP_M_SavedModel };
    tree_fill(t, str_buf(&b));
    buf_release(&b);
}

#endif
