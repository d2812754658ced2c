/* SPDX-License-Identifier: Apache-2.0 */
/* What graph_def_program_hash leaves out of a node of the main graph:
 *
 *   PartitionedCall, StatefulPartitionedCall: the number at the end of the function's
 *     name, and what attr "config_proto" holds (it stays, as the empty string)
 *   Const of strings: what attr "value" holds (it stays, with nothing set)
 *
 * Each is said by map entries behind the node's own, of which the last counts; so the
 * node itself is never copied. */
#include "fingerprint/fp_int.h"

#include <inttypes.h>
#include <stdio.h>

static bool
is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* TensorFlow's decimal parser: blanks around, a sign, digits. */
static bool
parse_number(struct str s, bool is_wide, int64_t *out)
{
    __int128 v = 0, max = is_wide ? INT64_MAX : INT32_MAX;
    while (s.n > 0 && is_blank(s.p[0]))
        s = (struct str){ s.p + 1, s.n - 1 };
    while (s.n > 0 && is_blank(s.p[s.n - 1]))
        s.n--;
    bool is_negative = s.n > 0 && s.p[0] == '-';
    if (s.n > 0 && (s.p[0] == '-' || s.p[0] == '+'))
        s = (struct str){ s.p + 1, s.n - 1 };
    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        v = 10 * v + (s.p[i] - '0');
        if (v > max + is_negative)
            return false;
    }
    *out = (int64_t)(is_negative ? -v : v);
    return true;
}

bool
fp_suffix(struct str name, bool is_wide, int64_t *number, struct str *stem)
{
    char text[24];
    const char *last = name.n ? memrchr(name.p, '_', name.n) : NULL;
    struct str tail = name;
    if (last)
        tail = (struct str){ last + 1, (size_t)(name.p + name.n - last) - 1 };
    *stem = name;
    if (!parse_number(tail, is_wide, number))
        return false;
    size_t n = (size_t)snprintf(text, sizeof(text), "%" PRId64, *number);
    if (name.n >= n && memcmp(name.p + name.n - n, text, n) == 0)
        stem->n -= n;
    return true;
}

/* An entry of NodeDef.attr. */
static void
add_attr(struct buf *b, const char *key, struct str attr_value)
{
    struct buf entry AUTO(buf_release) = BUF_INIT;
    sm_pb_put_bytes(&entry, 1, str_of(key));
    sm_pb_put_bytes(&entry, 2, attr_value);
    sm_pb_put_bytes(b, 5, (struct str){ entry.data, entry.len });
    b->over |= entry.over;
}

static void
trim_call(struct str node, bool is_wide, struct buf *out)
{
    struct str value, stem;
    struct sm_attr attr;
    int64_t number;
    if (sm_pb_map_get(node, 5, STR_LIT("f"), &value) &&
        sm_attr_parse(value, &attr) == 0 && attr.kind == SM_ATTR_FUNC &&
        fp_suffix(sm_attr_func_name(&attr), is_wide, &number, &stem)) {
        /* NameAttrList { 1 name } behind the one that is there is merged into it. */
        struct buf name AUTO(buf_release) = BUF_INIT,
                        merged AUTO(buf_release) = BUF_INIT;
        sm_pb_put_bytes(&name, 1, stem);
        buf_add(&merged, value.p, value.n);
        sm_pb_put_bytes(&merged, SM_ATTR_FUNC, (struct str){ name.data, name.len });
        add_attr(out, "f", (struct str){ merged.data, merged.len });
        out->over |= merged.over;
    }
    if (sm_pb_map_get(node, 5, STR_LIT("config_proto"), &value))
        add_attr(out, "config_proto", STR_LIT("\x12\0"));
}

int
fp_program_overlay(struct str node, bool is_wide, struct buf *out, struct err *err)
{
    struct str op = sm_pb_bytes(node, 2), value;
    struct sm_attr dtype;
    if (str_is(op, "PartitionedCall") || str_is(op, "StatefulPartitionedCall"))
        trim_call(node, is_wide, out);
    else if (str_is(op, "Const") && sm_pb_map_get(node, 5, STR_LIT("dtype"), &value) &&
             sm_attr_parse(value, &dtype) == 0 && dtype.kind == SM_ATTR_TYPE &&
             dtype.i == SM_STRING)
        add_attr(out, "value", (struct str){ "", 0 });
    return buf_check(out, "a node", err);
}
