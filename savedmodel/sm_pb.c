/* SPDX-License-Identifier: Apache-2.0 */
/* Protocol buffer wire format, read in place.
 *
 *   message = (tag value)*          tag = varint(field number << 3 | wire type)
 *   wire 0: varint, at most 10 bytes, 7 bits each, low group first
 *   wire 1: 8 bytes        wire 5: 4 bytes        (little-endian)
 *   wire 2: varint length, bytes    (string, bytes, message, packed numbers, map entry)
 *   wire 3 … 4: a group, skipped whole with whatever is nested in it
 * A map entry is a message with key = 1 and value = 2. */
#include "savedmodel/sm_int.h"

#include <limits.h>

#include <stdlib.h>

#define PB_MAX_DEPTH 100

bool
sm_varint_long(struct str *it, uint64_t *v)
{
    uint64_t r = 0;
    for (size_t i = 0; i < 10 && i < it->n; i++) {
        uint8_t c = (uint8_t)it->p[i];
        r |= (uint64_t)(c & 0x7f) << (7 * i);
        if (!(c & 0x80)) {
            it->p += i + 1;
            it->n -= i + 1;
            *v = r;
            return true;
        }
    }
    return false;
}

bool
sm_varint32(struct str *it, uint32_t *v)
{
    uint64_t r;
    if (!sm_varint(it, &r) || r > UINT32_MAX)
        return false;
    *v = (uint32_t)r;
    return true;
}

bool
sm_take(struct str *it, uint64_t n, struct str *out)
{
    if (n > it->n)
        return false;
    *out = (struct str){ it->p, (size_t)n };
    it->p += n;
    it->n -= (size_t)n;
    return true;
}

/* One field of any kind; a group start or end is handed out as wire 3 or 4. */
static inline bool
next_raw(struct str *it, struct sm_field *f)
{
    uint64_t tag, n;
    if (!sm_varint(it, &tag) || tag >> 3 == 0 || tag >> 3 > SM_PB_MAX_NUM)
        return false;
    *f = (struct sm_field){ .num = (uint32_t)(tag >> 3), .wire = (uint32_t)(tag & 7) };
    struct str part;
    switch (f->wire) {
    case 0:
        return sm_varint(it, &f->v);
    case 1:
        if (!sm_take(it, 8, &part))
            return false;
        f->v = sm_le64(part.p);
        return true;
    case 2:
        return sm_varint(it, &n) && sm_take(it, n, &f->bytes);
    case 5:
        if (!sm_take(it, 4, &part))
            return false;
        f->v = sm_le32(part.p);
        return true;
    case 3:
    case 4:
        return true;
    default:
        return false;
    }
}

/* Reads up to the end of the group that field `num` began. */
static bool
skip_group(struct str *it, uint32_t num)
{
    uint32_t open[PB_MAX_DEPTH];
    int depth = 0;
    open[depth++] = num;
    while (depth > 0) {
        struct sm_field f;
        if (it->n == 0 || !next_raw(it, &f))
            return false;
        if (f.wire == 3) {
            if (depth == PB_MAX_DEPTH)
                return false;
            open[depth++] = f.num;
        } else if (f.wire == 4 && f.num != open[--depth]) {
            return false;
        }
    }
    return true;
}

int
sm_pb_next(struct str *it, struct sm_field *f)
{
    while (it->n > 0) {
        if (!next_raw(it, f) || f->wire == 4)
            return -1;
        if (f->wire != 3)
            return 1;
        if (!skip_group(it, f->num))
            return -1;
    }
    return 0;
}

bool
sm_pb_skip(struct str *it)
{
    struct sm_field f;
    return next_raw(it, &f) && f.wire != 4 && (f.wire != 3 || skip_group(it, f.num));
}

int
sm_pb_next_msg(struct str *it, uint32_t num, struct str *out)
{
    struct sm_field f;
    int r;
    while ((r = sm_pb_next(it, &f)) > 0) {
        if (f.num == num && f.wire == 2) {
            *out = f.bytes;
            return 1;
        }
    }
    return r;
}

/* The last field `num` with the given wire type (8: any). */
static bool
get_wire(struct str msg, uint32_t num, uint32_t wire, struct sm_field *out)
{
    struct sm_field f;
    bool found = false;
    while (sm_pb_next(&msg, &f) > 0) {
        if (f.num == num && (wire == 8 || f.wire == wire)) {
            *out = f;
            found = true;
        }
    }
    return found;
}

bool
sm_pb_get(struct str msg, uint32_t num, struct sm_field *f)
{
    return get_wire(msg, num, 8, f);
}

struct str
sm_pb_bytes(struct str msg, uint32_t num)
{
    struct sm_field f;
    return get_wire(msg, num, 2, &f) ? f.bytes : (struct str){ "", 0 };
}

int64_t
sm_pb_int(struct str msg, uint32_t num, int64_t fallback)
{
    struct sm_field f;
    return get_wire(msg, num, 0, &f) ? (int64_t)f.v : fallback;
}

bool
sm_pb_map_get(struct str msg, uint32_t num, struct str key, struct str *value)
{
    struct str entry;
    bool found = false;
    while (sm_pb_next_msg(&msg, num, &entry) > 0) {
        if (str_eq(sm_pb_bytes(entry, 1), key)) {
            *value = sm_pb_bytes(entry, 2);
            found = true;
        }
    }
    return found;
}

static int
kv_cmp(const void *a, const void *b)
{
    const struct sm_kv *x = a, *y = b;
    int r = str_cmp(x->key, y->key);
    /* The later entry of the file first: its bytes lie higher. */
    return r ? r : (x->value.p < y->value.p) - (x->value.p > y->value.p);
}

void
sm_map_read(struct str msg, uint32_t num, struct sm_map *out)
{
    struct str it = msg, entry;
    size_t n = 0;
    while (sm_pb_next_msg(&it, num, &entry) > 0)
        n++;
    *out = (struct sm_map){ .v = xcalloc(n + 1, sizeof(struct sm_kv)) };
    n = 0;
    while (sm_pb_next_msg(&msg, num, &entry) > 0) {
        struct sm_field f;
        struct str none = { entry.p + entry.n, 0 };
        out->v[n++] = (struct sm_kv){ sm_pb_bytes(entry, 1),
                                      get_wire(entry, 2, 2, &f) ? f.bytes : none };
    }
    qsort(out->v, n, sizeof(*out->v), kv_cmp);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || !str_eq(out->v[i].key, out->v[out->n - 1].key))
            out->v[out->n++] = out->v[i];
    }
}

void
sm_map_release(struct sm_map *m)
{
    free(m->v);
    *m = (struct sm_map){ .v = NULL };
}

const struct sm_kv *
sm_map_find(const struct sm_map *m, struct str key)
{
    size_t lo = 0, hi = (size_t)m->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int r = str_cmp(m->v[mid].key, key);
        if (r == 0)
            return &m->v[mid];
        if (r < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

bool
sm_pb_packed_next(struct str *part, uint32_t elem_wire, uint64_t *v)
{
    struct str b;
    switch (elem_wire) {
    case 0:
        return sm_varint(part, v);
    case 1:
        if (!sm_take(part, 8, &b))
            return false;
        *v = sm_le64(b.p);
        return true;
    default:
        if (!sm_take(part, 4, &b))
            return false;
        *v = sm_le32(b.p);
        return true;
    }
}

void
sm_pb_add_varint(struct buf *b, uint64_t v)
{
    char c[10];
    buf_add(b, c, sm_pb_varint_to(c, v));
}

void
sm_pb_put_int(struct buf *b, uint32_t num, uint64_t v)
{
    sm_pb_add_varint(b, (uint64_t)num << 3);
    sm_pb_add_varint(b, v);
}

void
sm_pb_put_head(struct buf *b, uint32_t num, uint64_t n_bytes)
{
    sm_pb_add_varint(b, (uint64_t)num << 3 | 2);
    sm_pb_add_varint(b, n_bytes);
}

void
sm_pb_put_bytes(struct buf *b, uint32_t num, struct str s)
{
    sm_pb_put_head(b, num, s.n);
    buf_add(b, s.p, s.n);
}

int
sm_pb_ints(struct str msg, uint32_t num, int64_t *out, int cap)
{
    struct sm_field f;
    int n = 0, rc;
    while ((rc = sm_pb_next(&msg, &f)) > 0) {
        uint64_t v = f.v;
        if (f.num != num || (f.wire != 0 && f.wire != 2))
            continue;
        while (f.wire == 0 || f.bytes.n > 0) {
            if ((f.wire == 2 && !sm_varint(&f.bytes, &v)) || n == INT_MAX)
                return -1;
            if (n < cap)
                out[n] = (int64_t)v;
            n++;
            if (f.wire == 0)
                break;
        }
    }
    return rc < 0 ? -1 : n;
}
