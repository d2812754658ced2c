/* SPDX-License-Identifier: Apache-2.0 */
/* What one node does: its op and the attributes that matter, those that its op has by
 * default among them. */
#include "fingerprint/fp_int.h"

struct local {
    struct sha256 h;
    const struct fp_lib *lib;
    const struct sm_node *node;
    struct fp_resource resource;
    bool has_resource;
    struct fp_uses *uses;
    struct err *err;
};

static bool
is_one_of(struct str s, const char *const *list)
{
    for (; *list; list++) {
        if (str_is(s, *list))
            return true;
    }
    return false;
}

/* Attributes that only tell where or how fast, or where a node came from. */
static bool
is_hint(struct str op, struct str name, struct str value)
{
    static const char *const calls[] = { "PartitionedCall", "StatefulPartitionedCall",
                                         NULL };
    static const char *const of_calls[] = { "config", "config_proto", "executor_type",
                                            NULL };
    static const char *const of_handles[] = { "debug_name", "allowed_devices", NULL };
    struct sm_attr a;
    if (str_is(name, "_XlaMustCompile"))
        return sm_attr_parse(value, &a) == 0 && a.i == 0;
    if (name.n > 0 && name.p[0] == '_')
        return !str_is(name, "_kernel");
    return (is_one_of(op, calls) && is_one_of(name, of_calls)) ||
           (str_is(op, "VarHandleOp") && is_one_of(name, of_handles));
}

static void
name_resource(struct local *l, struct str name)
{
    l->resource.name = name;
    l->has_resource = true;
}

/* Takes note of what names the node's resource; false: the attribute is another one. */
static bool
note_resource(struct local *l, struct str name, struct str value)
{
    struct sm_attr a;
    bool is_shared = str_is(name, "shared_name");
    if ((!is_shared && !str_is(name, "container")) || sm_attr_parse(value, &a) < 0 ||
        a.kind != SM_ATTR_S)
        return false;
    if (!is_shared)
        l->resource.container = a.bytes;
    else if (a.bytes.n > 0 || str_is(l->node->op, "VarHandleOp"))
        name_resource(l, a.bytes);
    return true;
}

static void
use_function(void *arg, int function)
{
    struct local *l = arg;
    const struct fp_uses *u = &l->lib->fn[function].uses;
    for (int i = 0; i < u->n; i++)
        fp_uses_add(l->uses, u->v[i]);
}

static void
use_named(struct local *l, struct str function)
{
    int i = fp_names_find(&l->lib->by_name, function);
    if (i >= 0)
        use_function(l, i);
}

static int
hash_attr(struct local *l, struct str name, struct str value)
{
    struct str gradient;
    struct sm_attr a;
    if (str_is(name, FP_GRADIENT_ATTR) && fp_lib_gradient(l->lib, value, &gradient)) {
        fp_h_text(&l->h, FP_GRADIENT_ATTR);
        fp_h_function(&l->h, l->lib, gradient);
        use_named(l, gradient);
        return 0;
    }
    if (is_hint(l->node->op, name, value) || note_resource(l, name, value))
        return 0;
    if (str_is(name, "use_node_name_sharing") && sm_attr_parse(value, &a) == 0 &&
        a.i != 0 && !l->has_resource)
        name_resource(l, l->node->name);
    fp_h_str(&l->h, name);
    if (fp_h_attr(&l->h, l->lib, value, l->err) < 0)
        return err_ctx(l->err, "attribute '%.*s'", STR_ARG(name));
    fp_each_callee(l->lib, value, use_function, l);
    return 0;
}

/* The node's attributes and, where it has none, its op's defaults, by name. */
static int
hash_attrs(struct local *l)
{
    static const struct fp_field attrs = { .num = 5, .key = FP_K_STR };
    const struct fp_op *op = fp_lib_op(l->lib, l->node->op);
    struct fp_kv *kv AUTO(free_ptr) = NULL;
    size_t n_kv, i = 0;
    int n_defaults = op ? op->n_defaults : 0, j = 0;
    int rc = fp_map(FP_MSG(l->node->raw), &attrs, &kv, &n_kv, l->err);
    while (rc == 0 && (i < n_kv || j < n_defaults)) {
        const struct fp_default *def = j < n_defaults ? &op->defaults[j] : NULL;
        int r = i == n_kv ? 1 : !def ? -1 : str_cmp(kv[i].key, def->name);
        if (r > 0)
            rc = hash_attr(l, def->name, def->value);
        else
            rc = hash_attr(l, kv[i].key, sm_pb_bytes(kv[i].entry, 2));
        i += r <= 0;
        j += r >= 0;
    }
    return rc;
}

int
fp_node_local(struct digest *out, const struct fp_lib *lib, const struct sm_node *node,
              struct fp_uses *uses, struct err *err)
{
    struct local l = { .lib = lib,
                       .node = node,
                       .resource = { { "", 0 }, { "", 0 } },
                       .uses = uses,
                       .err = err };
    sha256_init(&l.h);
    fp_h_function(&l.h, lib, node->op);
    use_named(&l, node->op);
    if (str_is(node->op, "Variable") || str_is(node->op, "VariableV2"))
        name_resource(&l, node->name);
    int rc = hash_attrs(&l);
    fp_h_u64(&l.h, l.has_resource);
    if (l.has_resource)
        fp_uses_add(uses, l.resource);
    sha256_end(&l.h, out);
    return rc;
}
