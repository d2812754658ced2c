/* SPDX-License-Identifier: Apache-2.0 */
/* The type of a node's output, from the node alone: out_types.def says which attribute
 * holds it. */
#include "savedmodel/sm_int.h"

static const struct {
    const char *types, *ops;
} out_types[] = {
#define OUT_TYPES(types, ops) { types, ops },
#include "savedmodel/out_types.def"
#undef OUT_TYPES
};

/* Cuts what stands before the next `c` off *s. */
static struct str
cut(struct str *s, char c)
{
    const char *end = s->n ? memchr(s->p, c, s->n) : NULL;
    struct str part = { s->p, end ? (size_t)(end - s->p) : s->n };
    size_t n = part.n + (end != NULL);
    *s = (struct str){ s->p + n, s->n - n };
    return part;
}

static const char *
types_of(struct str op)
{
    for (size_t i = 0; i < sizeof(out_types) / sizeof(out_types[0]); i++) {
        struct str ops = str_of(out_types[i].ops);
        while (ops.n > 0)
            if (str_eq(cut(&ops, ' '), op))
                return out_types[i].types;
    }
    return NULL;
}

static int
dtype_of(struct str text)
{
    int32_t v = 0;
    return sm_enum_value(SM_E_DataType, text, &v) ? v : 0;
}

static bool
attr_of(const struct sm_node *n, struct str name, struct sm_attr *out)
{
    struct str value;
    return sm_pb_map_get(n->raw, 5, name, &value) && sm_attr_parse(value, out) == 0;
}

/* One output argument: how many outputs it is, and the type of its `at`-th. */
static int64_t
argument(const struct sm_node *n, struct str text, int64_t at, int *dtype)
{
    enum { LIST_MAX = 4096 };
    struct sm_attr a;
    int64_t count = 1;
    int list[LIST_MAX];
    struct str count_attr =
        text.n && memchr(text.p, '*', text.n) ? cut(&text, '*') : (struct str){ "", 0 };
    struct str attr = cut(&text, '=');
    if (count_attr.n)
        count = attr_of(n, count_attr, &a) && a.kind == SM_ATTR_I ? a.i : 0;
    if (!attr_of(n, attr, &a)) {
        *dtype = dtype_of(text.n ? text : attr);
        return count;
    }
    if (a.kind != SM_ATTR_LIST) {
        *dtype = a.kind == SM_ATTR_TYPE ? (int)a.i : 0;
        return count;
    }
    int n_types = sm_attr_types(&a, list, LIST_MAX);
    *dtype = at < n_types && at < LIST_MAX ? list[at] : 0;
    return n_types < 0 ? 0 : n_types;
}

int
sm_node_out_type(const struct sm_node *n, int64_t output)
{
    struct sm_attr a;
    const char *types = types_of(n->op);
    if (!types)
        return sm_node_attr(n, "T", &a) && a.kind == SM_ATTR_TYPE ? (int)a.i : 0;
    for (struct str left = str_of(types); left.n > 0;) {
        int dtype = 0;
        int64_t count = argument(n, cut(&left, ','), output, &dtype);
        if (output < count)
            return dtype;
        output -= count;
    }
    return 0;
}
