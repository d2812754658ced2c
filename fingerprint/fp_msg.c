/* SPDX-License-Identifier: Apache-2.0 */
/* Messages in parts, and map fields as the parser sees them. */
#include "fingerprint/fp_int.h"

#include <stdlib.h>

#define MAP_MAX_ENTRIES ((size_t)4 << 20)
#define WIRE_GROUP 3

uint64_t
fp_msg_bytes(struct fp_msg m)
{
    uint64_t n = 0;
    for (size_t i = 0; i < m.n; i++)
        n += m.parts[i].n;
    return n;
}

struct fp_cursor
fp_cursor(struct fp_msg m)
{
    return (struct fp_cursor){ .m = m, .it = m.n ? m.parts[0] : (struct str){ "", 0 } };
}

int
fp_next(struct fp_cursor *c, struct sm_field *f, struct str *raw)
{
    while (c->it.n == 0) {
        if (++c->i >= c->m.n)
            return 0;
        c->it = c->m.parts[c->i];
    }
    const char *start = c->it.p;
    if ((*start & 7) == WIRE_GROUP)
        return -1;
    int r = sm_pb_next(&c->it, f);
    *raw = (struct str){ start, (size_t)(c->it.p - start) };
    return r;
}

int
fp_sub(struct fp_msg m, uint32_t num, struct str *one, struct str **own,
       struct fp_msg *out, struct err *err)
{
    struct fp_cursor c = fp_cursor(m);
    struct sm_field f;
    struct str raw;
    size_t n = 0, i = 0;
    *own = NULL;
    *one = (struct str){ "", 0 };
    while (fp_next(&c, &f, &raw) > 0) {
        if (f.num == num && f.wire == 2) {
            *one = f.bytes;
            n++;
        }
    }
    *out = (struct fp_msg){ one, n };
    if (n < 2)
        return 0;
    if (n > FP_PARTS_MAX)
        return err_set(err, ERR_LIMIT, "a message in more than %d parts", FP_PARTS_MAX);
    *own = xreallocarray(NULL, n, sizeof(**own));
    for (c = fp_cursor(m); fp_next(&c, &f, &raw) > 0;) {
        if (f.num == num && f.wire == 2)
            (*own)[i++] = f.bytes;
    }
    out->parts = *own;
    return 0;
}

int
fp_count(struct str msg, uint32_t num, int max, const char *what, int *n,
         struct err *err)
{
    struct str part;
    *n = 0;
    while (sm_pb_next_msg(&msg, num, &part) > 0) {
        if (++*n > max)
            return err_set(err, ERR_LIMIT, "more than %d %s", max, what);
    }
    return 0;
}

bool
fp_map_key(struct str entry, uint8_t kind, struct fp_kv *out)
{
    struct fp_cursor c = fp_cursor(FP_MSG(entry));
    struct sm_field f;
    struct str raw;
    int r;
    *out = (struct fp_kv){ .key = { "", 0 }, .entry = entry };
    while ((r = fp_next(&c, &f, &raw)) > 0) {
        if (f.num != 1 || f.wire != fp_kind_wire(kind))
            continue;
        out->key = f.wire == 2 ? f.bytes : out->key;
        out->n = kind == FP_K_U32 ? (uint32_t)f.v : f.v;
    }
    return r == 0;
}

int
fp_kv_cmp(const struct fp_kv *a, const struct fp_kv *b)
{
    int r = str_cmp(a->key, b->key);
    return r ? r : (a->n > b->n) - (a->n < b->n);
}

/* The later one first, so that it is the one that stays. */
static int
sort_cmp(const void *pa, const void *pb)
{
    const struct fp_kv *a = pa, *b = pb;
    int r = fp_kv_cmp(a, b);
    return r ? r : (a->at < b->at) - (a->at > b->at);
}

int
fp_map(struct fp_msg m, const struct fp_field *field, struct fp_kv **out, size_t *n,
       struct err *err)
{
    struct fp_kv *v AUTO(free_ptr) = NULL;
    struct fp_cursor c = fp_cursor(m);
    struct sm_field f;
    struct str raw;
    size_t cap = 0, got = 0, kept = 0;
    int r;
    *out = NULL;
    *n = 0;
    while ((r = fp_next(&c, &f, &raw)) > 0) {
        if (f.num != field->num || f.wire != 2)
            continue;
        if (got == MAP_MAX_ENTRIES)
            return err_set(err, ERR_LIMIT, "a map of more than %zu entries",
                           MAP_MAX_ENTRIES);
        if (got == cap) {
            cap = cap ? 2 * cap : 16;
            v = xreallocarray(v, cap, sizeof(*v));
        }
        if (!fp_map_key(f.bytes, field->key, &v[got]))
            return err_set(err, ERR_CORRUPT, "malformed map entry");
        v[got].at = (uint32_t)got;
        got++;
    }
    if (r < 0)
        return err_set(err, ERR_CORRUPT, "malformed message");
    if (got > 1)
        qsort(v, got, sizeof(*v), sort_cmp);
    for (size_t i = 0; i < got; i++) {
        if (i == 0 || fp_kv_cmp(&v[i], &v[kept - 1]) != 0)
            v[kept++] = v[i];
    }
    *out = v;
    *n = kept;
    v = NULL;
    return 0;
}

static int
find_cmp(const void *key, const void *kv)
{
    return str_cmp(*(const struct str *)key, ((const struct fp_kv *)kv)->key);
}

const struct fp_kv *
fp_map_find(const struct fp_kv *kv, size_t n, struct str key)
{
    return n == 0 ? NULL : bsearch(&key, kv, n, sizeof(*kv), find_cmp);
}
