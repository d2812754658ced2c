/* SPDX-License-Identifier: Apache-2.0 */
/* Slices: how a checkpoint stores a partitioned TF1 variable.
 *
 * TensorSliceProto: 1 repeated Extent { 1 start, 2 length }; no length: the whole
 * dimension. A slice's own entry lies under the key
 *   Num(0) Str(name) Num(rank) (SNum(start) SNum(length))*   whole dimension: 0, -1
 *   Num(v)   one byte = how many significant bytes, then those, big-endian
 *   Str(s)   00 becomes 00 ff, ff becomes ff 00; ends with 00 01
 *   SNum(v)  L bytes of the big-endian two's complement, L = bits / 7 + 1, with the
 *            length's mark (below) laid over the first two by exclusive or
 * RestoreV2 names a slice as "d0 d1 … dk spec", spec = "-" or "start,length" for each
 * dimension, joined by ':'. */
#include "savedmodel/sm_int.h"

#include <inttypes.h>

static void
add_num(struct buf *out, uint64_t v)
{
    char b[8];
    int n = 0;
    for (uint64_t x = v; x; x >>= 8)
        n++;
    for (int i = 0; i < n; i++)
        b[i] = (char)(v >> (8 * (n - 1 - i)));
    buf_addc(out, (char)n);
    buf_add(out, b, (size_t)n);
}

static void
add_str(struct buf *out, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        buf_addc(out, s.p[i]);
        if (s.p[i] == '\0')
            buf_addc(out, '\xff');
        else if (s.p[i] == '\xff')
            buf_addc(out, '\0');
    }
    buf_add(out, "\0\1", 2);
}

static void
add_snum(struct buf *out, int64_t v)
{
    static const uint8_t marks[11][2] = { { 0 },          { 0x80 },      { 0xc0 },
                                          { 0xe0 },       { 0xf0 },      { 0xf8 },
                                          { 0xfc },       { 0xfe },      { 0xff },
                                          { 0xff, 0x80 }, { 0xff, 0xc0 } };
    uint64_t x = (uint64_t)(v >= 0 ? v : ~v);
    int bits = x ? 64 - __builtin_clzll(x) : 0;
    int n = bits / 7 + 1;
    uint8_t b[10];
    for (int i = 0; i < n; i++) {
        int shift = 8 * (n - 1 - i);
        b[i] = (uint8_t)(v >> (shift < 64 ? shift : 63));
    }
    b[0] ^= marks[n][0];
    if (n > 1)
        b[1] ^= marks[n][1];
    buf_add(out, b, (size_t)n);
}

void
sm_slice_key(struct str name, struct str raw, int rank, struct buf *out)
{
    struct str extent;
    struct sm_field f;
    add_num(out, 0);
    add_str(out, name);
    add_num(out, (uint64_t)rank);
    while (sm_pb_next_msg(&raw, 1, &extent) > 0) {
        add_snum(out, sm_pb_int(extent, 1, 0));
        add_snum(out, sm_pb_get(extent, 2, &f) ? (int64_t)f.v : -1);
    }
}

static bool
is_inside(const struct sm_slice *s, const struct sm_shape *full)
{
    for (int i = 0; i < s->rank; i++) {
        if (s->start[i] < 0 || s->length[i] < 0 || s->start[i] > full->dims[i] ||
            s->length[i] > full->dims[i] - s->start[i])
            return false;
    }
    return true;
}

int
sm_slice_parse(struct str raw, const struct sm_shape *full, struct sm_slice *out,
               struct err *err)
{
    struct str extent;
    struct sm_field f;
    int r, n = 0;
    *out = (struct sm_slice){ .rank = full->rank };
    while ((r = sm_pb_next_msg(&raw, 1, &extent)) > 0 && n < full->rank) {
        out->start[n] = sm_pb_int(extent, 1, 0);
        out->length[n] = sm_pb_get(extent, 2, &f) ? (int64_t)f.v : full->dims[n];
        n++;
    }
    if (r != 0 || n != full->rank || !is_inside(out, full))
        return err_set(err, ERR_CORRUPT, "a slice does not lie inside its tensor");
    return 0;
}

/* Digits up to the next other character. */
static bool
spec_number(struct str *it, int64_t *v)
{
    size_t n = 0;
    *v = 0;
    for (; n < it->n && it->p[n] >= '0' && it->p[n] <= '9'; n++) {
        if (__builtin_mul_overflow(*v, 10, v) ||
            __builtin_add_overflow(*v, it->p[n] - '0', v))
            return false;
    }
    it->p += n;
    it->n -= n;
    return n > 0;
}

static bool
spec_char(struct str *it, char c)
{
    if (it->n == 0 || it->p[0] != c)
        return false;
    it->p++;
    it->n--;
    return true;
}

static bool
spec_parse(struct str it, struct sm_shape *full, struct sm_slice *out)
{
    int64_t v;
    *full = (struct sm_shape){ .rank = 0 };
    while (it.n > 0 && it.p[0] >= '0' && it.p[0] <= '9' && memchr(it.p, ' ', it.n)) {
        if (full->rank == SM_MAX_RANK || !spec_number(&it, &v) || !spec_char(&it, ' '))
            return false;
        full->dims[full->rank++] = v;
    }
    *out = (struct sm_slice){ .rank = full->rank };
    for (int i = 0; i < full->rank; i++) {
        if (i > 0 && !spec_char(&it, ':'))
            return false;
        out->length[i] = full->dims[i];
        if (spec_char(&it, '-'))
            continue;
        if (!spec_number(&it, &out->start[i]) || !spec_char(&it, ',') ||
            !spec_number(&it, &out->length[i]))
            return false;
    }
    return it.n == 0;
}

int
sm_slice_spec(struct str spec, struct sm_shape *full, struct sm_slice *out,
              struct err *err)
{
    if (!spec_parse(spec, full, out))
        return err_set(err, ERR_INVALID,
                       "'%.*s' is no slice (expected such as "
                       "\"10 4 0,5:-\")",
                       STR_ARG(spec));
    if (!is_inside(out, full))
        return err_set(err, ERR_INVALID, "slice '%.*s' leaves its own shape",
                       STR_ARG(spec));
    return 0;
}

bool
sm_slice_eq(const struct sm_slice *a, const struct sm_slice *b)
{
    if (a->rank != b->rank)
        return false;
    for (int i = 0; i < a->rank; i++) {
        if (a->start[i] != b->start[i] || a->length[i] != b->length[i])
            return false;
    }
    return true;
}

int64_t
sm_slice_count(const struct sm_slice *s)
{
    int64_t n = 1;
    for (int i = 0; i < s->rank; i++)
        n *= s->length[i];
    return n;
}

/* What both have in common; false: nothing. */
static bool
intersect(const struct sm_slice *a, const struct sm_slice *b, struct sm_slice *out)
{
    *out = (struct sm_slice){ .rank = a->rank };
    for (int i = 0; i < a->rank; i++) {
        int64_t lo = a->start[i] > b->start[i] ? a->start[i] : b->start[i];
        int64_t a_end = a->start[i] + a->length[i], b_end = b->start[i] + b->length[i];
        int64_t hi = a_end < b_end ? a_end : b_end;
        if (hi <= lo)
            return false;
        out->start[i] = lo;
        out->length[i] = hi - lo;
    }
    return true;
}

bool
sm_slice_touches(const struct sm_slice *a, const struct sm_slice *b)
{
    struct sm_slice box;
    return intersect(a, b, &box);
}

/* Row-major element number of the corner `at` inside the box `s`. */
static int64_t
element(const struct sm_slice *s, const int64_t *at)
{
    int64_t n = 0;
    for (int i = 0; i < s->rank; i++)
        n = n * s->length[i] + at[i] - s->start[i];
    return n;
}

int64_t
sm_slice_copy(void *dst, const struct sm_slice *db, const void *src,
              const struct sm_slice *sb, size_t elem_bytes)
{
    struct sm_slice box;
    if (!intersect(db, sb, &box))
        return 0;
    int64_t at[SM_MAX_RANK];
    memcpy(at, box.start, sizeof(at));
    int last = box.rank - 1;
    int64_t row = box.rank ? box.length[last] : 1;
    for (;;) {
        memcpy((char *)dst + (size_t)element(db, at) * elem_bytes,
               (const char *)src + (size_t)element(sb, at) * elem_bytes,
               (size_t)row * elem_bytes);
        int d = last - 1; /* the next row */
        while (d >= 0 && ++at[d] == box.start[d] + box.length[d]) {
            at[d] = box.start[d];
            d--;
        }
        if (d < 0)
            return sm_slice_count(&box);
    }
}
