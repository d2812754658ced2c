/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes, attributes and functions of a graph, parsed when asked for.
 *
 * NodeDef: 1 name, 2 op, 3 repeated input, 4 device, 5 map attr.
 * AttrValue: one of 1 list … 10 func; the last one set counts.
 * FunctionDef: 1 signature (OpDef), 3 repeated node, 4 map ret, 5 map attr. */
#include "savedmodel/sm_int.h"

int
sm_node_parse(struct str raw, struct sm_node *out, struct err *err)
{
    struct sm_field f;
    int r;
    *out = (struct sm_node){
        .name = { "", 0 }, .op = { "", 0 }, .device = { "", 0 }, .raw = raw
    };
    while ((r = sm_pb_next(&raw, &f)) > 0) {
        if (f.wire != 2)
            continue;
        if (f.num == 1)
            out->name = f.bytes;
        else if (f.num == 2)
            out->op = f.bytes;
        else if (f.num == 4)
            out->device = f.bytes;
    }
    if (r < 0)
        return err_set(err, ERR_CORRUPT, "node '%.*s': malformed NodeDef",
                       STR_ARG(out->name));
    return 0;
}

static uint32_t
attr_wire(uint32_t num)
{
    switch (num) {
    case SM_ATTR_I:
    case SM_ATTR_B:
    case SM_ATTR_TYPE:
        return 0;
    case SM_ATTR_F:
        return 5;
    default:
        return 2;
    }
}

static bool
is_message(enum sm_attr_kind kind)
{
    return kind == SM_ATTR_LIST || kind == SM_ATTR_SHAPE || kind == SM_ATTR_TENSOR ||
           kind == SM_ATTR_FUNC;
}

int
sm_attr_parse(struct str attr_value, struct sm_attr *out)
{
    struct sm_field f;
    int r;
    *out = (struct sm_attr){ .bytes = { "", 0 } };
    while ((r = sm_pb_next(&attr_value, &f)) > 0) {
        if (f.num > SM_ATTR_FUNC || f.wire != attr_wire(f.num))
            continue;
        enum sm_attr_kind kind = (enum sm_attr_kind)f.num;
        /* The two halves would have to be merged; no writer makes them. */
        if (is_message(kind) && out->kind == kind && out->bytes.n > 0)
            return -1;
        *out = (struct sm_attr){ .kind = kind, .bytes = { "", 0 } };
        if (f.wire == 2)
            out->bytes = f.bytes;
        else if (kind == SM_ATTR_F)
            memcpy(&out->f, &f.v, sizeof(out->f));
        else if (kind == SM_ATTR_B)
            out->i = f.v != 0;
        else if (kind == SM_ATTR_TYPE)
            out->i = (int32_t)(uint32_t)f.v;
        else
            out->i = (int64_t)f.v;
    }
    return r;
}

bool
sm_node_attr(const struct sm_node *n, const char *name, struct sm_attr *out)
{
    struct str value;
    return sm_pb_map_get(n->raw, 5, str_of(name), &value) &&
           sm_attr_parse(value, out) == 0;
}

/* Numbers of one ListValue field; put() stores one. */
static int
list_numbers(const struct sm_attr *a, uint32_t num, uint32_t wire,
             void (*put)(void *out, int i, uint64_t v), void *out, int cap)
{
    if (a->kind != SM_ATTR_LIST)
        return 0;
    struct str it = a->bytes;
    struct sm_field f;
    int r, n = 0;
    while ((r = sm_pb_next(&it, &f)) > 0) {
        if (f.num != num)
            continue;
        if (f.wire == wire) {
            if (n < cap)
                put(out, n, f.v);
            n++;
            continue;
        }
        struct str part = f.bytes; /* empty for the other wire types */
        uint64_t v;
        while (part.n > 0) {
            if (!sm_pb_packed_next(&part, wire, &v))
                return -1;
            if (n < cap)
                put(out, n, v);
            n++;
        }
    }
    return r < 0 ? -1 : n;
}

static void
put_int64(void *out, int i, uint64_t v)
{
    ((int64_t *)out)[i] = (int64_t)v;
}

static void
put_type(void *out, int i, uint64_t v)
{
    ((int *)out)[i] = (int32_t)(uint32_t)v;
}

static void
put_float(void *out, int i, uint64_t v)
{
    memcpy((float *)out + i, &v, sizeof(float));
}

static void
put_bool(void *out, int i, uint64_t v)
{
    ((bool *)out)[i] = v != 0;
}

int
sm_attr_ints(const struct sm_attr *a, int64_t *out, int cap)
{
    return list_numbers(a, 3, 0, put_int64, out, cap);
}

int
sm_attr_types(const struct sm_attr *a, int *out, int cap)
{
    return list_numbers(a, 6, 0, put_type, out, cap);
}

int
sm_attr_floats(const struct sm_attr *a, float *out, int cap)
{
    return list_numbers(a, 4, 5, put_float, out, cap);
}

int
sm_attr_bools(const struct sm_attr *a, bool *out, int cap)
{
    return list_numbers(a, 5, 0, put_bool, out, cap);
}

int
sm_attr_strs(const struct sm_attr *a, struct str *out, int cap)
{
    if (a->kind != SM_ATTR_LIST)
        return 0;
    struct str it = a->bytes;
    struct sm_field f;
    int r, n = 0;
    while ((r = sm_pb_next(&it, &f)) > 0) {
        if (f.wire != 2 || (f.num != 2 && (f.num < 7 || f.num > 9)))
            continue;
        if (n < cap)
            out[n] = f.bytes;
        n++;
    }
    return r < 0 ? -1 : n;
}

struct str
sm_attr_func_name(const struct sm_attr *a)
{
    return a->kind == SM_ATTR_FUNC ? sm_pb_bytes(a->bytes, 1) : (struct str){ "", 0 };
}

/* The AttrDef (field 4) of an OpDef with this name. */
static bool
attr_def(struct str op_def, struct str name, struct str *out)
{
    while (sm_pb_next_msg(&op_def, 4, out) > 0) {
        if (str_eq(sm_pb_bytes(*out, 1), name))
            return true;
    }
    return false;
}

bool
sm_op_default(struct str op_list, struct str op, const char *attr, struct sm_attr *out)
{
    struct str op_def, def;
    struct sm_field f;
    while (sm_pb_next_msg(&op_list, 1, &op_def) > 0) {
        if (!str_eq(sm_pb_bytes(op_def, 1), op))
            continue;
        return attr_def(op_def, str_of(attr), &def) && sm_pb_get(def, 3, &f) &&
               f.wire == 2 && sm_attr_parse(f.bytes, out) == 0;
    }
    return false;
}

int
sm_function_parse(struct str raw, struct sm_function *out, struct err *err)
{
    struct sm_field f;
    int r;
    *out =
        (struct sm_function){ .name = { "", 0 }, .signature = { "", 0 }, .raw = raw };
    while ((r = sm_pb_next(&raw, &f)) > 0) {
        if (f.num == 1 && f.wire == 2)
            out->signature = f.bytes;
    }
    out->name = sm_pb_bytes(out->signature, 1);
    if (r < 0)
        return err_set(err, ERR_CORRUPT, "function '%.*s': malformed FunctionDef",
                       STR_ARG(out->name));
    if (out->name.n == 0)
        return err_set(err, ERR_CORRUPT, "a function without a name");
    return 0;
}

int
sm_arg_parse(struct str raw, struct sm_arg *out, struct err *err)
{
    struct sm_field f;
    int r;
    *out = (struct sm_arg){ .name = { "", 0 },
                            .type_attr = { "", 0 },
                            .number_attr = { "", 0 },
                            .type_list_attr = { "", 0 } };
    while ((r = sm_pb_next(&raw, &f)) > 0) {
        if (f.num == 1 && f.wire == 2)
            out->name = f.bytes;
        else if (f.num == 3 && f.wire == 0)
            out->type = (int)(int32_t)(uint32_t)f.v;
        else if (f.num == 4 && f.wire == 2)
            out->type_attr = f.bytes;
        else if (f.num == 5 && f.wire == 2)
            out->number_attr = f.bytes;
        else if (f.num == 6 && f.wire == 2)
            out->type_list_attr = f.bytes;
    }
    if (r < 0)
        return err_set(err, ERR_CORRUPT, "argument '%.*s': malformed ArgDef",
                       STR_ARG(out->name));
    return 0;
}
