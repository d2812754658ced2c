/* SPDX-License-Identifier: Apache-2.0 */
/* What the checkpoint's index says: optimizer slots, variables that nobody restores,
 * float64. No value is read. */
#include "validate/val_lint_int.h"

#include <stdlib.h>
#include <string.h>

#define MIN_FLOAT64_ELEMS 64 /* fewer are counters and rates */

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
    double bytes = (double)sm_entry_bytes(e);
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
    struct err err = ERR_INIT;
    if (!l->bundle)
        return;
    if (sm_bundle_check_sizes(l->bundle, &err) < 0) {
        const struct lint_place at = { .file = STR_LIT("variables/variables.index") };
        lint_add(l, LINT_missing_data, &at, "%s", err.msg);
    }
    bool is_known = restored(l, &keys);
    for (int i = 0; i < sm_bundle_n_entries(l->bundle); i++) {
        const struct sm_entry *e = sm_bundle_entry(l->bundle, i);
        enum sm_role role = sm_entry_role(l->bundle, e);
        if (role == SM_ROLE_OBJECT_GRAPH)
            continue;
        all += (double)sm_entry_bytes(e);
        if (role == SM_ROLE_SLOT)
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
