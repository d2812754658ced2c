/* SPDX-License-Identifier: Apache-2.0 */
/* TensorShapeProto and TensorProto to values.
 *
 * TensorShapeProto: 2 repeated Dim { 1 size, 2 name }, 3 unknown_rank.
 * TensorProto: 1 dtype, 2 tensor_shape, 4 tensor_content, and one typed field per
 * dtype (value_fields below). With n elements:
 *   1. n = 0: no data, whatever the fields hold.
 *   2. tensor_content, when not empty, wins: n raw elements; for strings n varint
 *      lengths, then the bytes.
 *   3. else the typed field: surplus values are ignored, missing ones repeat the last
 *      one, and no value at all means zeros (empty strings). */
#include "savedmodel/sm_int.h"

#include <inttypes.h>

/* A shape seen twice is merged: its dims are appended. */
static int
shape_add(struct str raw, struct sm_shape *out, struct err *err)
{
    struct sm_field f;
    int r;
    while ((r = sm_pb_next(&raw, &f)) > 0) {
        if (f.num == 3 && f.wire == 0) {
            out->unknown_rank = f.v != 0;
        } else if (f.num == 2 && f.wire == 2) {
            if (out->rank == SM_MAX_RANK)
                return err_set(err, ERR_LIMIT, "a shape of more than %d dimensions",
                               SM_MAX_RANK);
            out->dims[out->rank++] = sm_pb_int(f.bytes, 1, 0);
        }
    }
    if (r < 0)
        return err_set(err, ERR_CORRUPT, "malformed TensorShapeProto");
    return 0;
}

int
sm_shape_parse(struct str raw, struct sm_shape *out, struct err *err)
{
    *out = (struct sm_shape){ .rank = 0 };
    int rc = shape_add(raw, out, err);
    if (rc < 0)
        return rc;
    if (out->unknown_rank)
        *out = (struct sm_shape){ .unknown_rank = true };
    return 0;
}

enum value_kind { V_NONE, V_VARINT, V_BOOL, V_F32, V_F64, V_BYTES, V_STRINGS };

static const struct value_field {
    uint8_t num;
    uint8_t kind;
    uint8_t parts; /* numbers an element: 2 for complex */
} value_fields[SM_DTYPE_END] = {
    [SM_FLOAT] = { 5, V_F32, 1 },
    [SM_DOUBLE] = { 6, V_F64, 1 },
    [SM_INT32] = { 7, V_VARINT, 1 },
    [SM_UINT8] = { 7, V_VARINT, 1 },
    [SM_INT16] = { 7, V_VARINT, 1 },
    [SM_INT8] = { 7, V_VARINT, 1 },
    [SM_STRING] = { 8, V_STRINGS, 1 },
    [SM_COMPLEX64] = { 9, V_F32, 2 },
    [SM_INT64] = { 10, V_VARINT, 1 },
    [SM_BOOL] = { 11, V_BOOL, 1 },
    [SM_QINT8] = { 7, V_VARINT, 1 },
    [SM_QUINT8] = { 7, V_VARINT, 1 },
    [SM_QINT32] = { 7, V_VARINT, 1 },
    [SM_BFLOAT16] = { 13, V_VARINT, 1 },
    [SM_QINT16] = { 7, V_VARINT, 1 },
    [SM_QUINT16] = { 7, V_VARINT, 1 },
    [SM_UINT16] = { 7, V_VARINT, 1 },
    [SM_COMPLEX128] = { 12, V_F64, 2 },
    [SM_HALF] = { 13, V_VARINT, 1 },
    [SM_UINT32] = { 16, V_VARINT, 1 },
    [SM_UINT64] = { 17, V_VARINT, 1 },
    [SM_FLOAT8_E5M2] = { 18, V_BYTES, 1 },
    [SM_FLOAT8_E4M3FN] = { 18, V_BYTES, 1 },
    [SM_FLOAT8_E4M3FNUZ] = { 18, V_BYTES, 1 },
    [SM_FLOAT8_E4M3B11FNUZ] = { 18, V_BYTES, 1 },
    [SM_FLOAT8_E5M2FNUZ] = { 18, V_BYTES, 1 },
    [SM_INT4] = { 7, V_VARINT, 1 },
    [SM_UINT4] = { 7, V_VARINT, 1 },
};

struct proto {
    struct str raw;
    int dtype;
    struct sm_shape shape;
    int64_t n;
    struct str content;
    struct value_field field;
};

static int
proto_parse(struct str raw, struct proto *p, struct err *err)
{
    *p = (struct proto){ .raw = raw };
    struct sm_field f;
    int r;
    while ((r = sm_pb_next(&raw, &f)) > 0) {
        int rc = 0;
        if (f.num == 1 && f.wire == 0)
            p->dtype = (int)(int32_t)(uint32_t)f.v;
        else if (f.num == 2 && f.wire == 2)
            rc = shape_add(f.bytes, &p->shape, err);
        else if (f.num == 4 && f.wire == 2)
            p->content = f.bytes;
        if (rc < 0)
            return rc;
    }
    if (r < 0)
        return err_set(err, ERR_CORRUPT, "malformed TensorProto");
    if (!sm_dtype_info(p->dtype) || p->dtype > SM_REF)
        return err_set(err, ERR_CORRUPT, "a constant of dtype %d", p->dtype);
    p->field = value_fields[p->dtype];
    if (p->field.kind == V_NONE)
        return err_set(err, ERR_UNSUPPORTED, "a constant of dtype %s",
                       sm_dtype_name(p->dtype));
    return sm_shape_count(&p->shape, &p->n, err);
}

/* The elements stand for more bytes than the file holds: within a limit. */
static int
check_fill(const struct proto *p, size_t unit, struct err *err)
{
    if (p->n > SM_FILL_MAX_BYTES / (int64_t)unit)
        return err_set(err, ERR_LIMIT,
                       "a constant of %" PRId64 " elements of %s that are not in the "
                       "file (limit %" PRId64 " bytes)",
                       p->n, sm_dtype_name(p->dtype), SM_FILL_MAX_BYTES);
    return 0;
}

/* Slices of the file: lengths first, then the bytes. */
static int
string_content(const struct proto *p, struct sm_tensor *t, struct err *err)
{
    struct str it = p->content;
    if ((uint64_t)p->n > it.n)
        return err_set(err, ERR_CORRUPT,
                       "tensor_content of %zu bytes for %" PRId64 " strings", it.n,
                       p->n);
    int rc = sm_tensor_alloc(t, SM_STRING, p->shape.rank, p->shape.dims, err);
    if (rc < 0)
        return rc;
    struct str *v = t->data;
    bool ok = true;
    uint32_t len = 0;
    for (int64_t i = 0; ok && i < p->n; i++) {
        ok = sm_varint32(&it, &len);
        v[i].n = len;
    }
    for (int64_t i = 0; ok && i < p->n; i++)
        ok = sm_take(&it, v[i].n, &v[i]);
    if (ok && it.n == 0)
        return 0;
    sm_tensor_release(t);
    return err_set(err, ERR_CORRUPT, "tensor_content does not hold %" PRId64 " strings",
                   p->n);
}

static int
content(const struct proto *p, struct sm_tensor *t, struct err *err)
{
    if (p->dtype == SM_STRING)
        return string_content(p, t, err);
    size_t want, unit = sm_dtype_info(p->dtype)->size_bytes;
    if (__builtin_mul_overflow((size_t)p->n, unit, &want) || want != p->content.n)
        return err_set(err, ERR_CORRUPT,
                       "tensor_content has %zu bytes, %" PRId64 " elements of %s need "
                       "%zu each",
                       p->content.n, p->n, sm_dtype_name(p->dtype), unit);
    return sm_tensor_of_bytes(t, p->dtype, p->shape.rank, p->shape.dims, p->content,
                              err);
}

static int
string_values(const struct proto *p, struct sm_tensor *t, struct err *err)
{
    int rc = check_fill(p, sizeof(struct str), err);
    if (rc == 0)
        rc = sm_tensor_alloc(t, SM_STRING, p->shape.rank, p->shape.dims, err);
    if (rc < 0)
        return rc;
    struct str *v = t->data, it = p->raw, last = { "", 0 };
    int64_t i = 0;
    for (; i < p->n && sm_pb_next_msg(&it, p->field.num, &last) > 0; i++)
        v[i] = last;
    for (; i < p->n; i++)
        v[i] = last;
    return 0;
}

/* Stores numbers one after the other, as long as there is room. */
struct sink {
    char *at;
    size_t room; /* numbers that still fit */
    size_t unit; /* bytes of one */
    bool is_bool;
};

static void
sink_add(struct sink *s, uint64_t v)
{
    if (s->room == 0)
        return;
    if (s->is_bool)
        v = v != 0;
    memcpy(s->at, &v, s->unit);
    s->at += s->unit;
    s->room--;
}

static bool
sink_field(struct sink *s, const struct proto *p, const struct sm_field *f)
{
    static const uint8_t wires[] = {
        [V_VARINT] = 0, [V_BOOL] = 0, [V_F32] = 5, [V_F64] = 1
    };
    if (p->field.kind == V_BYTES) {
        for (size_t i = 0; f->wire == 2 && i < f->bytes.n; i++)
            sink_add(s, (uint8_t)f->bytes.p[i]);
        return true;
    }
    uint32_t wire = wires[p->field.kind];
    if (f->wire == wire) {
        sink_add(s, f->v);
    } else if (f->wire == 2) {
        struct str part = f->bytes;
        uint64_t v;
        while (part.n > 0) {
            if (!sm_pb_packed_next(&part, wire, &v))
                return false;
            sink_add(s, v);
        }
    }
    return true;
}

static int
number_values(const struct proto *p, struct sm_tensor *t, struct err *err)
{
    size_t unit = sm_dtype_info(p->dtype)->size_bytes;
    int rc = check_fill(p, unit, err);
    if (rc == 0)
        rc = sm_tensor_alloc(t, p->dtype, p->shape.rank, p->shape.dims, err);
    if (rc < 0)
        return rc;
    struct sink s = { .at = t->data,
                      .room = (size_t)p->n * p->field.parts,
                      .unit = unit / p->field.parts,
                      .is_bool = p->field.kind == V_BOOL };
    struct str it = p->raw;
    struct sm_field f;
    while (sm_pb_next(&it, &f) > 0) {
        if (f.num == p->field.num && !sink_field(&s, p, &f)) {
            sm_tensor_release(t);
            return err_set(err, ERR_CORRUPT, "malformed packed values");
        }
    }
    char *base = t->data;
    size_t given = (size_t)(s.at - base) / unit;
    for (size_t i = given; given > 0 && i < (size_t)p->n; i++)
        memcpy(base + i * unit, base + (given - 1) * unit, unit);
    if (given == 0 && p->n > 0)
        memset(base, 0, unit); /* half of a complex value counts for nothing */
    return 0;
}

int
sm_tensor_proto(struct str raw, struct sm_tensor *out, struct err *err)
{
    *out = (struct sm_tensor){ .data = NULL };
    struct proto p;
    int rc = proto_parse(raw, &p, err);
    if (rc < 0)
        return rc;
    if (p.n == 0)
        return sm_tensor_alloc(out, p.dtype, p.shape.rank, p.shape.dims, err);
    if (p.content.n > 0)
        return content(&p, out, err);
    if (p.field.kind == V_STRINGS)
        return string_values(&p, out, err);
    return number_values(&p, out, err);
}
