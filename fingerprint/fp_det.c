/* SPDX-License-Identifier: Apache-2.0 */
/* The deterministic serialised form of a message, from its bytes, without building the
 * message:
 *
 *   - fields by ascending number; unknown ones behind them, as they came
 *   - of a singular scalar the last value, none when it is the default; of a oneof the
 *     member that was set last, also when empty; a message seen twice is merged
 *   - numbers of a repeated field packed; varints minimal
 *   - a map by ascending keys, of equal keys the last entry; key and value always there
 *
 * The length of a message stands before it, so each message is measured before it is
 * written. Measuring also tells whether the bytes are in this form already: then they
 * are handed on as they are, and most of a model takes that way. Measures of big
 * messages are kept, in the order in which writing will ask for them; small ones are
 * measured again at each level, which bounds the memory and costs little. */
#include "fingerprint/fp_int.h"

#include "base/farmhash.h"

#include <stdlib.h>

#define MAX_DEPTH 100
#define BIG_BYTES 16384

struct measure {
    uint64_t n_bytes;
    bool is_det; /* the message's bytes are in deterministic form */
};

struct det {
    struct fp_sink sink;
    bool is_writing;
    bool is_in_small; /* inside a message that is measured at each level */
    unsigned flags;   /* enum fp_det_flags */
    uint64_t n_bytes; /* counted so far, when not writing */
    struct measure *kept;
    size_t n_kept, cap_kept;
    size_t next; /* kept measure to use next, when writing */
    int depth;
    struct err *err;
};

/* What one message says about a field. */
struct slot {
    size_t count;
    struct sm_field last;
};

static int walk(struct det *d, const struct fp_schema *s, struct fp_msg m,
                bool *is_det);

/* ---- bytes out ---- */

static void
put(struct det *d, const void *p, size_t n)
{
    if (d->is_writing)
        d->sink.add(d->sink.arg, p, n);
    else
        d->n_bytes += n;
}

static size_t
varint_bytes(uint64_t v)
{
    return v ? (size_t)(70 - __builtin_clzll(v)) / 7 : 1;
}

/* A tag with a length or a varint behind it. */
static void
put_head(struct det *d, uint32_t num, uint32_t wire, uint64_t v)
{
    char b[20];
    size_t n = sm_pb_varint_to(b, (uint64_t)num << 3 | wire);
    n += sm_pb_varint_to(b + n, v);
    put(d, b, n);
}

/* The value as the type's own range holds it. */
static uint64_t
normal(uint8_t kind, uint64_t v)
{
    switch (kind) {
    case FP_K_BOOL:
        return v != 0;
    case FP_K_I32:
    case FP_K_ENUM:
        return (uint64_t)(int64_t)(int32_t)(uint32_t)v;
    case FP_K_U32:
        return (uint32_t)v;
    default:
        return v;
    }
}

static void
put_scalar(struct det *d, const struct fp_field *f, const struct sm_field *v)
{
    uint32_t wire = fp_kind_wire(f->kind);
    char b[20];
    if (wire == 0) {
        put_head(d, f->num, 0, normal(f->kind, v->v));
    } else if (wire == 2) {
        put_head(d, f->num, 2, v->bytes.n);
        put(d, v->bytes.p, v->bytes.n);
    } else {
        size_t n = sm_pb_varint_to(b, (uint64_t)f->num << 3 | wire),
               unit = wire == 1 ? 8 : 4;
        memcpy(b + n, &v->v, unit);
        put(d, b, n + unit);
    }
}

/* ---- reading a message ---- */

static bool
is_packable(const struct fp_field *f)
{
    return f->label == FP_L_REP && fp_kind_wire(f->kind) != 2;
}

static const struct fp_field *
find_field(const struct fp_schema *s, const struct sm_field *f)
{
    for (int i = 0; i < s->n_fields; i++) {
        const struct fp_field *x = &s->fields[i];
        if (x->num != f->num)
            continue;
        uint32_t wire = x->label == FP_L_MAP ? 2 : fp_kind_wire(x->kind);
        return f->wire == wire || (f->wire == 2 && is_packable(x)) ? x : NULL;
    }
    return NULL;
}

static bool
is_default(const struct fp_field *f, const struct sm_field *v)
{
    return v->wire == 2 ? v->bytes.n == 0 : normal(f->kind, v->v) == 0;
}

/* The field alone, with its tag, is as the deterministic form has it. */
static bool
is_field_det(const struct fp_field *f, const struct sm_field *v, struct str raw)
{
    size_t want = varint_bytes((uint64_t)f->num << 3);
    if (v->wire == 0) {
        want += varint_bytes(v->v);
        if (normal(f->kind, v->v) != v->v)
            return false;
    } else if (v->wire == 2) {
        want += varint_bytes(v->bytes.n) + v->bytes.n;
    } else {
        want += v->wire == 1 ? 8 : 4;
    }
    if (raw.n != want)
        return false;
    if (f->label == FP_L_CLEARED)
        return v->bytes.n == 0;
    if (is_packable(f))
        return v->wire == 2 && v->bytes.n > 0;
    return f->label != FP_L_ONE || f->kind == FP_K_MSG || !is_default(f, v);
}

static int
malformed(struct det *d, const struct fp_schema *s)
{
    return err_set(d->err, ERR_CORRUPT, "malformed %s message", s->name);
}

static bool
keeps_unknown(const struct det *d, const struct fp_schema *s)
{
    return !s->is_entry && !(d->flags & FP_DET_MEANING);
}

/* Fills a slot per field of the schema. */
static int
scan(struct det *d, const struct fp_schema *s, struct fp_msg m, struct slot *slots,
     bool *has_unknown, bool *is_det)
{
    struct fp_cursor c = fp_cursor(m);
    struct sm_field f;
    struct str raw;
    const struct fp_field *before = s->fields, *oneof = NULL;
    int r;
    *has_unknown = false;
    *is_det = m.n == 1;
    while ((r = fp_next(&c, &f, &raw)) > 0) {
        const struct fp_field *x = find_field(s, &f);
        if (!x) {
            *has_unknown = true;
            continue;
        }
        struct slot *slot = &slots[x - s->fields];
        if (*has_unknown || x < before || !is_field_det(x, &f, raw) ||
            (slot->count > 0 &&
             (is_packable(x) || (x->label != FP_L_REP && x->label != FP_L_MAP))))
            *is_det = false;
        if (x->label == FP_L_ONEOF) {
            if (oneof && oneof != x) {
                slots[oneof - s->fields].count = 0;
                *is_det = false;
            }
            oneof = x;
        }
        before = x;
        slot->count++;
        slot->last = f;
    }
    if (*has_unknown && !keeps_unknown(d, s))
        *is_det = false;
    return r < 0 ? malformed(d, s) : 0;
}

/* ---- messages in messages ---- */

static int
measure(struct det *d, const struct fp_schema *s, struct fp_msg m, struct measure *out)
{
    bool is_big = !d->is_in_small && fp_msg_bytes(m) >= BIG_BYTES;
    size_t at = d->n_kept;
    if (is_big && d->is_writing) {
        *out = d->kept[d->next++];
        return 0;
    }
    if (is_big) {
        if (d->n_kept == d->cap_kept) {
            d->cap_kept = d->cap_kept ? 2 * d->cap_kept : 64;
            d->kept = xreallocarray(d->kept, d->cap_kept, sizeof(*d->kept));
        }
        d->n_kept++;
    }
    struct det was = *d;
    d->is_writing = false;
    d->is_in_small = !is_big;
    d->n_bytes = 0;
    int rc = walk(d, s, m, &out->is_det);
    out->n_bytes = d->n_bytes;
    d->is_writing = was.is_writing;
    d->is_in_small = was.is_in_small;
    d->n_bytes = was.n_bytes;
    if (is_big) {
        d->kept[at] = *out;
        if (out->is_det)
            d->n_kept = at + 1; /* nobody will ask for what is inside */
    }
    return rc;
}

static int
nested(struct det *d, uint32_t num, const struct fp_schema *s, struct fp_msg m,
       bool *is_det)
{
    struct measure size;
    bool ignored;
    int rc = measure(d, s, m, &size);
    if (rc < 0)
        return rc;
    *is_det &= size.is_det;
    put_head(d, num, 2, size.n_bytes);
    if (!d->is_writing) {
        d->n_bytes += size.n_bytes;
        return 0;
    }
    if (size.is_det) {
        put(d, m.parts[0].p, m.parts[0].n);
        return 0;
    }
    bool was_in_small = d->is_in_small;
    d->is_in_small |= fp_msg_bytes(m) < BIG_BYTES;
    rc = walk(d, s, m, &ignored);
    d->is_in_small = was_in_small;
    return rc;
}

/* A singular message: the parts are the last `count` ones with this number. */
static int
singular_msg(struct det *d, const struct fp_field *f, struct fp_msg m,
             const struct slot *slot, bool *is_det)
{
    const struct fp_schema *s = &fp_schemas[f->type];
    struct str none = { "", 0 };
    if (slot->count == 0)
        return nested(d, f->num, s, FP_MSG(none), is_det);
    if (slot->count == 1)
        return nested(d, f->num, s, FP_MSG(slot->last.bytes), is_det);
    struct str *parts AUTO(free_ptr) = xreallocarray(NULL, slot->count, sizeof(*parts));
    struct fp_cursor c = fp_cursor(m);
    struct sm_field v;
    struct str raw;
    size_t n = 0;
    while (fp_next(&c, &v, &raw) > 0) {
        if (v.num == f->num && v.wire == 2)
            parts[n++ % slot->count] = v.bytes;
    }
    /* A oneof may have held this member before it held another: turn the ring. */
    struct str *ordered AUTO(free_ptr) =
        xreallocarray(NULL, slot->count, sizeof(*ordered));
    for (size_t i = 0; i < slot->count; i++)
        ordered[i] = parts[(n + i) % slot->count];
    return nested(d, f->num, s, (struct fp_msg){ ordered, slot->count }, is_det);
}

/* ---- repeated fields and maps ---- */

/* The numbers of one occurrence, normalised: counted into *n_bytes, and put when
 * asked to. */
static bool
packed_part(struct det *d, const struct fp_field *f, const struct sm_field *v,
            bool is_put, uint64_t *n_bytes, bool *is_det)
{
    uint32_t wire = fp_kind_wire(f->kind);
    size_t unit = wire == 1 ? 8 : 4;
    char b[10];
    if (wire != 0) {
        struct str all = v->bytes;
        if (v->wire != 2)
            all = (struct str){ (const char *)&v->v, unit };
        *n_bytes += all.n;
        if (is_put)
            put(d, all.p, all.n);
        return all.n % unit == 0;
    }
    if (v->wire == 0) {
        size_t n = sm_pb_varint_to(b, normal(f->kind, v->v));
        *n_bytes += n;
        if (is_put)
            put(d, b, n);
        return true;
    }
    struct str it = v->bytes;
    while (it.n > 0) {
        uint64_t x;
        size_t left = it.n;
        if (!sm_varint(&it, &x))
            return false;
        uint64_t y = normal(f->kind, x);
        size_t n = varint_bytes(y);
        *n_bytes += n;
        if (y != x || n != left - it.n)
            *is_det = false;
        if (is_put)
            put(d, b, sm_pb_varint_to(b, y));
    }
    return true;
}

static int
packed(struct det *d, const struct fp_schema *s, const struct fp_field *f,
       struct fp_msg m, const struct slot *slot, bool *is_det)
{
    uint64_t n_bytes = 0, again = 0;
    bool is_det_part = slot->count == 1 && slot->last.wire == 2, ok = true;
    for (int is_put = 0; ok && is_put < 2; is_put++) {
        struct fp_cursor c = fp_cursor(m);
        struct sm_field v;
        struct str raw;
        if (is_put && n_bytes == 0)
            break;
        if (is_put)
            put_head(d, f->num, 2, n_bytes);
        if (is_put && is_det_part) {
            put(d, slot->last.bytes.p, slot->last.bytes.n);
            break;
        }
        while (ok && fp_next(&c, &v, &raw) > 0) {
            if (find_field(s, &v) == f)
                ok = packed_part(d, f, &v, is_put, is_put ? &again : &n_bytes,
                                 &is_det_part);
        }
    }
    *is_det &= is_det_part;
    return ok ? 0 : malformed(d, s);
}

static int
repeated(struct det *d, const struct fp_schema *s, const struct fp_field *f,
         struct fp_msg m, const struct slot *slot, bool *is_det)
{
    if (is_packable(f))
        return packed(d, s, f, m, slot, is_det);
    struct fp_cursor c = fp_cursor(m);
    struct sm_field v;
    struct str raw;
    int rc = 0;
    while (rc == 0 && fp_next(&c, &v, &raw) > 0) {
        if (v.num != f->num || v.wire != 2)
            continue;
        if (f->kind == FP_K_MSG)
            rc = nested(d, f->num, &fp_schemas[f->type], FP_MSG(v.bytes), is_det);
        else
            put_scalar(d, f, &v);
    }
    return rc;
}

/* 1: the entries stand in strictly ascending order, 0: they do not, -1: malformed. */
static int
is_map_sorted(const struct fp_field *f, struct fp_msg m)
{
    struct fp_cursor c = fp_cursor(m);
    struct sm_field v;
    struct str raw;
    struct fp_kv kv, before = { .at = 0 };
    int n = 0;
    while (fp_next(&c, &v, &raw) > 0) {
        if (v.num != f->num || v.wire != 2)
            continue;
        if (!fp_map_key(v.bytes, f->key, &kv))
            return -1;
        if (n++ > 0 && fp_kv_cmp(&before, &kv) >= 0)
            return 0;
        before = kv;
    }
    return 1;
}

static int
map(struct det *d, const struct fp_schema *s, const struct fp_field *f, struct fp_msg m,
    bool *is_det)
{
    const struct fp_field fields[] = {
        { .num = 1, .label = FP_L_ALWAYS, .kind = f->key },
        { .num = 2, .label = FP_L_ALWAYS, .kind = f->kind, .type = f->type },
    };
    const struct fp_schema entry = { s->name, fields, 2, true };
    int sorted = is_map_sorted(f, m), rc = 0;
    if (sorted < 0)
        return malformed(d, s);
    if (sorted > 0) {
        struct fp_cursor c = fp_cursor(m);
        struct sm_field v;
        struct str raw;
        while (rc == 0 && fp_next(&c, &v, &raw) > 0) {
            if (v.num == f->num && v.wire == 2)
                rc = nested(d, f->num, &entry, FP_MSG(v.bytes), is_det);
        }
        return rc;
    }
    struct fp_kv *kv AUTO(free_ptr) = NULL;
    size_t n;
    *is_det = false;
    rc = fp_map(m, f, &kv, &n, d->err);
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = nested(d, f->num, &entry, FP_MSG(kv[i].entry), is_det);
    return rc;
}

/* ---- one message ---- */

static int
field(struct det *d, const struct fp_schema *s, const struct fp_field *f,
      struct fp_msg m, const struct slot *slot, bool *is_det)
{
    switch (f->label) {
    case FP_L_REP:
        return slot->count ? repeated(d, s, f, m, slot, is_det) : 0;
    case FP_L_MAP:
        return slot->count ? map(d, s, f, m, is_det) : 0;
    case FP_L_CLEARED:
        put_head(d, f->num, 2, 0);
        *is_det &= slot->count == 1;
        return 0;
    case FP_L_ALWAYS:
        *is_det &= slot->count == 1;
        break;
    default:
        if (slot->count == 0)
            return 0;
        break;
    }
    if (f->kind == FP_K_MSG)
        return singular_msg(d, f, m, slot, is_det);
    struct sm_field v = slot->last;
    if (slot->count == 0)
        v = (struct sm_field){ .wire = fp_kind_wire(f->kind), .bytes = { "", 0 } };
    if (f->label != FP_L_ONE || !is_default(f, &v))
        put_scalar(d, f, &v);
    return 0;
}

static int
unknown(struct det *d, const struct fp_schema *s, struct fp_msg m)
{
    struct fp_cursor c = fp_cursor(m);
    struct sm_field v;
    struct str raw;
    while (fp_next(&c, &v, &raw) > 0) {
        if (!find_field(s, &v))
            put(d, raw.p, raw.n);
    }
    return 0;
}

/* A tensor by what it is, in place of how it is written. */
static int
put_tensor(struct det *d, struct fp_msg m)
{
    struct sha256 h;
    struct digest digest = { { 0 } };
    int rc = 0;
    if (d->is_writing) {
        sha256_init(&h);
        for (size_t i = 0; rc == 0 && i < m.n; i++)
            rc = fp_h_const(&h, m.parts[i], d->err);
        sha256_end(&h, &digest);
    }
    put_head(d, 4, 2, sizeof(digest.b));
    put(d, digest.b, sizeof(digest.b));
    return rc;
}

/* Writes, or counts, the whole message. */
static int
walk(struct det *d, const struct fp_schema *s, struct fp_msg m, bool *is_det)
{
    struct slot slots[FP_MAX_FIELDS];
    struct buf overlay AUTO(buf_release) = BUF_INIT;
    struct str both[2];
    bool has_unknown;
    int rc = 0;
    if (d->depth == MAX_DEPTH)
        return err_set(d->err, ERR_LIMIT, "messages nested more than %d deep",
                       MAX_DEPTH);
    if (s == &fp_schemas[FP_M_NodeProgram]) {
        rc = fp_program_overlay(m.parts[0], d->flags & FP_DET_WIDE, &overlay, d->err);
        if (rc == 0 && overlay.len > 0) {
            both[0] = m.parts[0];
            both[1] = (struct str){ overlay.data, overlay.len };
            m = (struct fp_msg){ both, 2 };
        }
    }
    if (d->depth > 0 && (d->flags & FP_DET_MEANING) &&
        s == &fp_schemas[FP_M_TensorProto]) {
        *is_det = false;
        return put_tensor(d, m);
    }
    for (int i = 0; i < s->n_fields; i++)
        slots[i].count = 0;
    if (rc == 0)
        rc = scan(d, s, m, slots, &has_unknown, is_det);
    d->depth++;
    for (int i = 0; rc == 0 && i < s->n_fields; i++)
        rc = field(d, s, &s->fields[i], m, &slots[i], is_det);
    d->depth--;
    if (rc == 0 && has_unknown && keeps_unknown(d, s))
        rc = unknown(d, s, m);
    return rc;
}

int
fp_det(enum fp_type type, struct fp_msg m, unsigned flags, struct fp_sink sink,
       struct err *err)
{
    struct det d = { .sink = sink, .flags = flags, .err = err };
    bool is_det;
    int rc = walk(&d, &fp_schemas[type], m, &is_det);
    if (rc == 0 && is_det) {
        sink.add(sink.arg, m.parts[0].p, m.parts[0].n);
    } else if (rc == 0) {
        d.is_writing = true;
        rc = walk(&d, &fp_schemas[type], m, &is_det);
    }
    free(d.kept);
    return rc;
}

static void
to_farm(void *arg, const void *p, size_t n)
{
    farm_add(arg, p, n);
}

int
fp_det_farm(enum fp_type type, struct fp_msg m, unsigned flags, uint64_t *out,
            struct err *err)
{
    struct farm farm;
    farm_init(&farm);
    int rc = fp_det(type, m, flags, (struct fp_sink){ to_farm, &farm }, err);
    *out = farm_end(&farm);
    return rc;
}
