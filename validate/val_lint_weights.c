/* SPDX-License-Identifier: Apache-2.0 */
/* What the checkpoint's index says: optimizer slots, variables that nobody restores,
 * float64. No value is read. */
#include "validate/val_lint_int.h"

#include <stdlib.h>
#include <string.h>

#define MIN_FLOAT64_ELEMS 64 /* fewer are counters and rates */

/* ---- names ---- */

static bool
has(struct str s, const char *part)
{
    return memmem(s.p, s.n, part, strlen(part)) != NULL;
}

static bool
is_object_graph(const struct sm_entry *e)
{
    return str_is(e->key, "_CHECKPOINTABLE_OBJECT_GRAPH");
}

static double
entry_bytes(const struct sm_entry *e)
{
    return e->n_slices ? lint_bytes(e->dtype, &e->shape) : (double)e->size_bytes;
}

static bool
same_shape(const struct sm_entry *a, const struct sm_entry *b)
{
    bool same = a->shape.rank == b->shape.rank && a->dtype == b->dtype;
    for (int i = 0; same && i < a->shape.rank; i++)
        same = a->shape.dims[i] == b->shape.dims[i];
    return same;
}

/* TF1 calls Adam's memory of "w" "w/Adam" and "w/Adam_1". */
static bool
is_tf1_slot(const struct lint *l, const struct sm_entry *e)
{
    static const char *const ends[] = {
        "/Adam",      "/Adam_1",  "/Momentum", "/RMSProp",    "/RMSProp_1",
        "/RMSProp_2", "/Adagrad", "/Adadelta", "/Adadelta_1", "/Ftrl",
        "/Ftrl_1",    "/AdamW",   "/AdamW_1",  "/AdaMax",     "/AdaMax_1",
        "/LAMB",      "/LAMB_1",  "/LazyAdam", "/Adafactor"
    };
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        size_t n = strlen(ends[i]);
        if (e->key.n <= n || memcmp(e->key.p + e->key.n - n, ends[i], n) != 0)
            continue;
        const struct sm_entry *base =
            sm_bundle_find(l->bundle, (struct str){ e->key.p, e->key.n - n });
        return base && same_shape(base, e);
    }
    return false;
}

static bool
is_slot(const struct lint *l, const struct sm_entry *e)
{
    static const char list[] = "optimizer/_variables/"; /* Keras since 2.11 */
    size_t n = sizeof list - 1;
    if (!e->shape.rank) /* the counter of steps */
        return false;
    return has(e->key, "/.OPTIMIZER_SLOT/") || has(e->key, "/optimizer/_variables/") ||
           (e->key.n > n && memcmp(e->key.p, list, n) == 0) || is_tf1_slot(l, e);
}

/* ---- what is restored ---- */

/* Adds the texts of a constant; false: it is none. */
static bool
add_texts(struct lint *l, int body, struct str input, struct scan_index *out)
{
    int i = scan_body_find(l->g, body, scan_input_node(input));
    struct sm_attr a;
    struct sm_tensor t AUTO(sm_tensor_release) = { 0 };
    struct err err = ERR_INIT;
    if (i < 0)
        return false;
    struct sm_node n = scan_node(l->g, i);
    if (!str_is(n.op, "Const") || !sm_node_attr(&n, "value", &a) ||
        a.kind != SM_ATTR_TENSOR || sm_tensor_proto(a.bytes, &t, &err) < 0 ||
        t.dtype != SM_STRING)
        return false;
    /* The texts of a tensor that owns its array still lie in the file. */
    for (int64_t k = 0; k < t.n_elems; k++)
        scan_index_add(out, sm_tensor_str(&t)[k], 0);
    return true;
}

/* The keys that restore ops of the graph ask for; false: not known. */
static bool
restored(struct lint *l, struct scan_index *out)
{
    bool any = false;
    for (int i = 0; i < l->g->n_nodes; i++) {
        struct sm_node n = scan_node(l->g, i);
        struct str input;
        if (!str_is(n.op, "RestoreV2") && !str_is(n.op, "RestoreSlice") &&
            !str_is(n.op, "Restore"))
            continue;
        if (!scan_data_input(&n, 1, &input) ||
            !add_texts(l, lint_node_body(l->g, i), input, out))
            return false;
        any = true;
    }
    scan_index_sort(out);
    return any;
}

/* ---- sums ---- */

struct sum {
    int n;
    double bytes;
    struct str largest;
    double largest_bytes;
};

static void
add(struct sum *s, const struct sm_entry *e)
{
    double bytes = entry_bytes(e);
    if (!s->n++ || bytes > s->largest_bytes) {
        s->largest = e->key;
        s->largest_bytes = bytes;
    }
    s->bytes += bytes;
}

static void
say(struct lint *l, enum lint_rule rule, const struct sum *s, double saved,
    const char *what, double all_bytes)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    struct lint_place at = { .tensor = s->largest, .bytes = saved };
    if (!s->n)
        return;
    lint_size(&text, s->bytes);
    buf_addf(&text, " of ");
    lint_size(&text, all_bytes);
    lint_add(l, rule, &at, "%d %s%s: %s of variables", s->n, what, s->n > 1 ? "s" : "",
             buf_str(&text));
}

void
lint_checkpoint(struct lint *l)
{
    struct sum slots = { 0 }, unused = { 0 }, wide = { 0 };
    struct scan_index keys = { 0 };
    double all = 0;
    if (!l->bundle)
        return;
    bool is_known = restored(l, &keys);
    for (int i = 0; i < sm_bundle_n_entries(l->bundle); i++) {
        const struct sm_entry *e = sm_bundle_entry(l->bundle, i);
        if (is_object_graph(e))
            continue;
        all += entry_bytes(e);
        if (is_slot(l, e))
            add(&slots, e);
        else if (is_known && scan_index_find(&keys, e->key) < 0)
            add(&unused, e);
        else if (e->dtype == SM_DOUBLE &&
                 lint_bytes(e->dtype, &e->shape) >= 8 * MIN_FLOAT64_ELEMS)
            add(&wide, e);
    }
    say(l, LINT_optimizer_slots, &slots, slots.bytes, "optimizer slot", all);
    say(l, LINT_unused_variables, &unused, unused.bytes,
        "stored tensor that no restore op asks for", all);
    say(l, LINT_float64_weights, &wide, wide.bytes / 2, "float64 weight", all);
    scan_index_release(&keys);
}
