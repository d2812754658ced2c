/* SPDX-License-Identifier: Apache-2.0 */
/* Functions by what they do. A function's digest takes in the digests of the functions
 * it refers to (as attribute, in a list, as op, as gradient), so these come first.
 * Where functions refer to each other in a circle, all of the circle start from one
 * constant and are hashed in rounds, each with the others' digests of the round before:
 * what differs anywhere in the circle spreads through it, and names never come in. */
#include "fingerprint/fp_int.h"

#include <stdlib.h>

#define MAX_ROUNDS 64
#define MAX_FUNCTIONS (1 << 20)
#define MAX_OPS (1 << 16)
#define MAX_ATTRS (1 << 16)   /* of an op */
#define MAX_RESULTS (1 << 22) /* arguments, results, effects of a function */

/* ---- ops ---- */

static int
default_cmp(const void *pa, const void *pb)
{
    const struct fp_default *a = pa, *b = pb;
    return str_cmp(a->name, b->name);
}

static int
op_parse(struct str op_def, struct fp_op *op, struct err *err)
{
    struct str it = op_def, attr;
    struct sm_field f;
    int n, rc = fp_count(op_def, 4, MAX_ATTRS, "attributes of an op", &n, err);
    if (rc < 0)
        return rc;
    *op = (struct fp_op){ .is_stateful = sm_pb_int(op_def, 17, 0) != 0,
                          .defaults = xcalloc((size_t)n + 1, sizeof(*op->defaults)) };
    while (sm_pb_next_msg(&it, 4, &attr) > 0) {
        if (sm_pb_get(attr, 3, &f) && f.wire == 2)
            op->defaults[op->n_defaults++] =
                (struct fp_default){ sm_pb_bytes(attr, 1), f.bytes };
    }
    qsort(op->defaults, (size_t)op->n_defaults, sizeof(*op->defaults), default_cmp);
    return 0;
}

const struct fp_op *
fp_lib_op(const struct fp_lib *lib, struct str op)
{
    int i = fp_names_find(&lib->by_op, op);
    return i < 0 ? NULL : &lib->ops[i];
}

/* ---- whom an attribute names ---- */

static void
callees_of_call(const struct fp_lib *lib, struct str call,
                void (*fn)(void *arg, int function), void *arg)
{
    struct str entry;
    int i = fp_names_find(&lib->by_name, sm_pb_bytes(call, 1));
    if (i >= 0)
        fn(arg, i);
    while (sm_pb_next_msg(&call, 2, &entry) > 0)
        fp_each_callee(lib, sm_pb_bytes(entry, 2), fn, arg);
}

void
fp_each_callee(const struct fp_lib *lib, struct str value,
               void (*fn)(void *arg, int function), void *arg)
{
    struct sm_attr a;
    struct str it, call;
    if (sm_attr_parse(value, &a) < 0)
        return;
    if (a.kind == SM_ATTR_FUNC)
        callees_of_call(lib, a.bytes, fn, arg);
    for (it = a.bytes; a.kind == SM_ATTR_LIST && sm_pb_next_msg(&it, 9, &call) > 0;)
        callees_of_call(lib, call, fn, arg);
}

bool
fp_lib_gradient(const struct fp_lib *lib, struct str value, struct str *name)
{
    struct sm_attr a;
    if (sm_attr_parse(value, &a) < 0 || a.kind != SM_ATTR_S)
        return false;
    int i = fp_names_find(&lib->gradients, a.bytes);
    if (i >= 0)
        *name = lib->fn[i].name;
    return i >= 0;
}

/* ---- one function ---- */

/* What an ArgDef says about types: 3 type, 4 … 6 the attributes that give it, 16
 * is_ref. */
static void
hash_arg(struct sha256 *h, struct str arg)
{
    fp_h_u64(h, (uint64_t)sm_pb_int(arg, 3, 0));
    for (uint32_t num = 4; num <= 6; num++)
        fp_h_str(h, sm_pb_bytes(arg, num));
    fp_h_u64(h, sm_pb_int(arg, 16, 0) != 0);
}

static void
add_args(struct fp_graph *g, struct str signature)
{
    struct str arg;
    for (uint64_t i = 0; sm_pb_next_msg(&signature, 2, &arg) > 0; i++) {
        struct sha256 h;
        struct digest d;
        sha256_init(&h);
        fp_h_text(&h, "argument");
        fp_h_u64(&h, i);
        hash_arg(&h, arg);
        sha256_end(&h, &d);
        fp_graph_add(g, sm_pb_bytes(arg, 1), &d);
    }
}

/* A map's text under a key, or nothing. */
static struct str
text_of(const struct fp_kv *kv, size_t n, struct str key)
{
    const struct fp_kv *x = fp_map_find(kv, n, key);
    return x ? sm_pb_bytes(x->entry, 2) : (struct str){ "", 0 };
}

/* Results in order (OpDef 3, by map ret), then the set of effects (OpDef 20, by map
 * control_ret). */
static int
hash_results(struct sha256 *h, struct fp_graph *g, const struct sm_function *fn,
             struct err *err)
{
    static const struct fp_field ret = { .num = 4, .key = FP_K_STR };
    static const struct fp_field control_ret = { .num = 6, .key = FP_K_STR };
    struct fp_kv *rets AUTO(free_ptr) = NULL, *controls AUTO(free_ptr) = NULL;
    struct str it = fn->signature, arg;
    size_t n_rets = 0, n_controls = 0;
    int n = 0, i = 0;
    int rc = fp_map(FP_MSG(fn->raw), &ret, &rets, &n_rets, err);
    if (rc == 0)
        rc = fp_map(FP_MSG(fn->raw), &control_ret, &controls, &n_controls, err);
    if (rc == 0)
        rc = fp_count(fn->signature, 20, MAX_RESULTS, "effects", &n, err);
    while (rc == 0 && sm_pb_next_msg(&it, 3, &arg) > 0) {
        hash_arg(h, arg);
        rc = fp_h_ref(h, g, text_of(rets, n_rets, sm_pb_bytes(arg, 1)), err);
    }
    struct str *effects AUTO(free_ptr) = xcalloc((size_t)n + 1, sizeof(*effects));
    for (it = fn->signature; i < n && sm_pb_next_msg(&it, 20, &arg) > 0; i++)
        effects[i] = text_of(controls, n_controls, arg);
    fp_h_text(h, "effects");
    return rc < 0 ? rc : fp_h_ref_set(h, g, effects, n, err);
}

/* Attributes of the function itself are hints, but for these. */
static int
hash_function_attrs(struct sha256 *h, const struct fp_lib *lib,
                    const struct sm_function *fn, struct err *err)
{
    static const struct fp_field aliases = { .num = 8, .key = FP_K_U32 };
    struct str value, it = fn->signature, def;
    struct sm_attr a;
    int rc = 0;
    if (sm_pb_map_get(fn->raw, 5, STR_LIT("_XlaMustCompile"), &value) &&
        sm_attr_parse(value, &a) == 0 && a.i != 0)
        fp_h_text(h, "compiled");
    fp_h_u64(h, sm_pb_int(fn->signature, 17, 0) != 0);
    while (rc == 0 && sm_pb_next_msg(&it, 4, &def) > 0) {
        struct sm_field f;
        fp_h_str(h, sm_pb_bytes(def, 1));
        fp_h_str(h, sm_pb_bytes(def, 2));
        if (sm_pb_get(def, 3, &f) && f.wire == 2)
            rc = fp_h_attr(h, lib, f.bytes, err);
    }
    struct fp_kv *kv AUTO(free_ptr) = NULL;
    size_t n = 0;
    if (rc == 0)
        rc = fp_map(FP_MSG(fn->raw), &aliases, &kv, &n, err);
    fp_h_u64(h, n);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        fp_h_u64(h, kv[i].n);
        fp_h_u64(h, (uint64_t)sm_pb_int(kv[i].entry, 2, 0));
    }
    return rc;
}

/* In a circle the uses of the others are not known yet: names are kept. */
static void
hash_names(struct sha256 *h, struct fp_uses *uses)
{
    for (int i = 0; i < uses->n; i++) {
        fp_h_str(h, uses->v[i].container);
        fp_h_str(h, uses->v[i].name);
    }
    uses->n = 0;
}

static int
hash_function(const struct fp_lib *lib, const struct fp_function *f, bool is_in_circle,
              struct fp_uses *uses, struct digest *out, struct err *err)
{
    struct fp_graph *g AUTO(fp_graph_close) = NULL;
    struct sm_function fn;
    struct sha256 h;
    sha256_init(&h);
    fp_h_text(&h, "sluice-function 1");
    int rc = sm_function_parse(f->raw, &fn, err);
    if (rc == 0)
        rc = fp_graph_open(&g, lib, f->raw, SM_FUNCTION_NODE, err);
    if (rc < 0)
        return err_ctx(err, "function '%.*s'", STR_ARG(f->name));
    struct str it = fn.signature, arg;
    int n_args, n_results;
    rc = fp_count(fn.signature, 2, MAX_RESULTS, "arguments", &n_args, err);
    if (rc == 0)
        rc = fp_count(fn.signature, 3, MAX_RESULTS, "results", &n_results, err);
    if (rc == 0) {
        add_args(g, fn.signature);
        rc = fp_graph_link(g, err);
    }
    if (rc < 0)
        return err_ctx(err, "function '%.*s'", STR_ARG(f->name));
    fp_h_u64(&h, (uint64_t)n_args);
    fp_h_u64(&h, (uint64_t)n_results);
    while (rc == 0 && sm_pb_next_msg(&it, 2, &arg) > 0)
        rc = fp_h_ref(&h, g, sm_pb_bytes(arg, 1), err);
    if (rc == 0)
        rc = hash_results(&h, g, &fn, err);
    if (rc == 0)
        rc = fp_h_stateful(&h, g, err);
    if (f->gradient.n > 0) {
        fp_h_function(&h, lib, f->gradient);
        fp_graph_use(g, f->gradient);
    }
    if (rc == 0)
        rc = fp_graph_end(&h, g, uses, err);
    if (rc == 0)
        rc = hash_function_attrs(&h, lib, &fn, err);
    if (is_in_circle)
        hash_names(&h, uses);
    else if (rc == 0)
        rc = fp_h_uses(&h, uses, err);
    sha256_end(&h, out);
    return rc < 0 ? err_ctx(err, "function '%.*s'", STR_ARG(f->name)) : 0;
}

/* ---- who refers to whom ---- */

struct refs {
    int *to; /* all references, one function's after the other's */
    size_t n, cap;
    size_t *first; /* of each function, and the end */
};

static void
add_ref(void *arg, int function)
{
    struct refs *r = arg;
    if (r->n == r->cap) {
        r->cap = r->cap ? 2 * r->cap : 64;
        r->to = xreallocarray(r->to, r->cap, sizeof(*r->to));
    }
    r->to[r->n++] = function;
}

static void
add_named(struct refs *r, const struct fp_lib *lib, struct str name)
{
    int i = fp_names_find(&lib->by_name, name);
    if (i >= 0)
        add_ref(r, i);
}

static void
refs_of(struct refs *r, const struct fp_lib *lib, const struct fp_function *f)
{
    struct str it = f->raw, node, attrs, entry, gradient;
    while (sm_pb_next_msg(&it, SM_FUNCTION_NODE, &node) > 0) {
        add_named(r, lib, sm_pb_bytes(node, 2));
        for (attrs = node; sm_pb_next_msg(&attrs, 5, &entry) > 0;) {
            struct str value = sm_pb_bytes(entry, 2);
            fp_each_callee(lib, value, add_ref, r);
            if (str_is(sm_pb_bytes(entry, 1), FP_GRADIENT_ATTR) &&
                fp_lib_gradient(lib, value, &gradient))
                add_named(r, lib, gradient);
        }
    }
    if (f->gradient.n > 0)
        add_named(r, lib, f->gradient);
}

/* ---- in order ---- */

/* Functions of one circle: hashed in rounds. */
static int
hash_circle(struct fp_lib *lib, const int *members, int n, struct err *err)
{
    struct digest *next AUTO(free_ptr) = xcalloc((size_t)n, sizeof(*next));
    int rounds = n < MAX_ROUNDS ? n : MAX_ROUNDS;
    sha256_of("sluice-circle 1", 15, &next[0]);
    for (int i = 0; i < n; i++)
        lib->fn[members[i]].digest = next[0];
    for (int r = 0; r <= rounds; r++) {
        for (int i = 0; i < n; i++) {
            struct fp_uses uses = { .v = NULL };
            int rc =
                hash_function(lib, &lib->fn[members[i]], true, &uses, &next[i], err);
            fp_uses_release(&uses);
            if (rc < 0)
                return rc;
        }
        for (int i = 0; i < n; i++)
            lib->fn[members[i]].digest = next[i];
    }
    qsort(next, (size_t)n, sizeof(*next), fp_digest_cmp);
    for (int i = 0; i < n; i++) {
        struct sha256 h;
        struct digest *d = &lib->fn[members[i]].digest;
        sha256_init(&h);
        fp_h_digest(&h, d);
        fp_h_str(&h, (struct str){ (const char *)next, (size_t)n * sizeof(*next) });
        sha256_end(&h, d);
    }
    return 0;
}

/* Tarjan's walk: hands out circles (most of them of one function), the referred-to
 * ones first. */
struct circles {
    int *index, *low, *stack, *frame;
    size_t *next; /* of each function, its reference to look at */
    bool *is_on_stack;
    int n_stack, n_seen;
};

static int
hash_group(struct fp_lib *lib, const struct refs *r, const int *members, int n,
           struct err *err)
{
    bool is_circle = n > 1;
    for (size_t i = r->first[members[0]]; i < r->first[members[0] + 1]; i++)
        is_circle |= r->to[i] == members[0];
    if (is_circle)
        return hash_circle(lib, members, n, err);
    struct fp_function *f = &lib->fn[members[0]];
    return hash_function(lib, f, false, &f->uses, &f->digest, err);
}

static int
walk_from(struct fp_lib *lib, const struct refs *r, struct circles *c, int root,
          struct err *err)
{
    int depth = 0, rc = 0;
    c->frame[depth++] = root;
    while (depth > 0) {
        int f = c->frame[depth - 1];
        if (c->index[f] < 0) {
            c->index[f] = c->low[f] = c->n_seen++;
            c->next[f] = r->first[f];
            c->stack[c->n_stack++] = f;
            c->is_on_stack[f] = true;
        }
        if (c->next[f] < r->first[f + 1]) {
            int to = r->to[c->next[f]++];
            if (c->index[to] < 0)
                c->frame[depth++] = to;
            else if (c->is_on_stack[to] && c->index[to] < c->low[f])
                c->low[f] = c->index[to];
            continue;
        }
        depth--;
        if (depth > 0 && c->low[f] < c->low[c->frame[depth - 1]])
            c->low[c->frame[depth - 1]] = c->low[f];
        if (c->low[f] != c->index[f])
            continue;
        int from = c->n_stack;
        do
            c->is_on_stack[c->stack[--from]] = false;
        while (c->stack[from] != f);
        rc = hash_group(lib, r, c->stack + from, c->n_stack - from, err);
        c->n_stack = from;
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int
hash_all(struct fp_lib *lib, struct err *err)
{
    size_t n = (size_t)lib->n_fn;
    size_t *first AUTO(free_ptr) = xcalloc(n + 1, sizeof(*first));
    size_t *next AUTO(free_ptr) = xcalloc(n + 1, sizeof(*next));
    int *ints AUTO(free_ptr) = xcalloc(4 * n + 1, sizeof(*ints));
    bool *is_on_stack AUTO(free_ptr) = xcalloc(n + 1, sizeof(*is_on_stack));
    struct refs r = { .first = first };
    struct circles c = { .index = ints,
                         .low = ints + n,
                         .stack = ints + 2 * n,
                         .frame = ints + 3 * n,
                         .next = next,
                         .is_on_stack = is_on_stack };
    int rc = 0;
    for (size_t i = 0; i < n; i++) {
        refs_of(&r, lib, &lib->fn[i]);
        first[i + 1] = r.n;
        c.index[i] = -1;
    }
    for (int i = 0; rc == 0 && i < lib->n_fn; i++) {
        if (c.index[i] < 0)
            rc = walk_from(lib, &r, &c, i, err);
    }
    free(r.to);
    return rc;
}

/* GradientDef: 1 function, 2 gradient. RegisteredGradient: 1 function, 2 op type. */
static void
read_gradients(struct fp_lib *lib, struct str library)
{
    struct str it, def;
    for (it = library; sm_pb_next_msg(&it, 2, &def) > 0;) {
        int i = fp_names_find(&lib->by_name, sm_pb_bytes(def, 1));
        if (i >= 0)
            lib->fn[i].gradient = sm_pb_bytes(def, 2);
    }
    for (it = library; sm_pb_next_msg(&it, 3, &def) > 0;)
        fp_names_add(&lib->gradients, sm_pb_bytes(def, 2),
                     fp_names_find(&lib->by_name, sm_pb_bytes(def, 1)));
    fp_names_sort(&lib->gradients);
}

static int
read_ops(struct fp_lib *lib, struct str op_list, struct err *err)
{
    struct str raw;
    int n, rc = fp_count(op_list, 1, MAX_OPS, "ops in the op list", &n, err);
    if (rc < 0)
        return rc;
    lib->ops = xcalloc((size_t)n + 1, sizeof(*lib->ops));
    while (rc == 0 && sm_pb_next_msg(&op_list, 1, &raw) > 0) {
        fp_names_add(&lib->by_op, sm_pb_bytes(raw, 1), lib->n_ops);
        rc = op_parse(raw, &lib->ops[lib->n_ops++], err);
    }
    fp_names_sort(&lib->by_op);
    return rc;
}

static int
read_functions(struct fp_lib *lib, struct str library, struct err *err)
{
    struct str raw, it = library;
    struct sm_function fn;
    int n, rc = fp_count(library, SM_LIBRARY_FUNCTION, MAX_FUNCTIONS, "functions", &n,
                         err);
    if (rc < 0)
        return rc;
    lib->fn = xcalloc((size_t)n + 1, sizeof(*lib->fn));
    while (sm_pb_next_msg(&it, SM_LIBRARY_FUNCTION, &raw) > 0) {
        rc = sm_function_parse(raw, &fn, err);
        if (rc < 0)
            return rc;
        fp_names_add(&lib->by_name, fn.name, lib->n_fn);
        lib->fn[lib->n_fn++] =
            (struct fp_function){ .name = fn.name, .raw = raw, .gradient = { "", 0 } };
    }
    fp_names_sort(&lib->by_name);
    read_gradients(lib, library);
    return 0;
}

int
fp_lib_init(struct fp_lib *lib, const struct sm_meta *meta, struct err *err)
{
    *lib = (struct fp_lib){ .n_fn = 0 };
    int rc = read_ops(lib, meta->op_list, err);
    if (rc == 0)
        rc = read_functions(lib, meta->library, err);
    return rc < 0 ? rc : hash_all(lib, err);
}

void
fp_lib_release(struct fp_lib *lib)
{
    for (int i = 0; i < lib->n_ops; i++)
        free(lib->ops[i].defaults);
    for (int i = 0; i < lib->n_fn; i++)
        fp_uses_release(&lib->fn[i].uses);
    free(lib->ops);
    free(lib->fn);
    fp_names_release(&lib->by_name);
    fp_names_release(&lib->by_op);
    fp_names_release(&lib->gradients);
    *lib = (struct fp_lib){ .n_fn = 0 };
}
