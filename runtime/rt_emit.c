/* SPDX-License-Identifier: Apache-2.0 */
/* From nodes to steps: names for what needs no work, constants for what is known, slots
 * by liveness for the rest. */
#include "runtime/rt_ops.h"
#include "runtime/rt_plan_int.h"

#include <stdlib.h>

enum { FOLD_MAX_BYTES = 16 << 20 };

/* What rt_prep.core points to. */
struct prep_core {
    struct rt_builder *b;
    struct rt_graph *g;
    const struct rt_gnode *n;
    const int *in;
};

/* ---- values ---------------------------------------------------------------------- */

int
rt_new_value(struct rt_builder *b, int konst, int step)
{
    RT_GROW(b->values, b->n_values, b->cap_values);
    b->values[b->n_values] =
        (struct rt_value){ .konst = konst, .step = step, .slot = -1 };
    return b->n_values++;
}

int
rt_new_const(struct rt_builder *b, struct rt_tensor *t)
{
    RT_GROW(b->consts, b->n_consts, b->cap_consts);
    b->consts[b->n_consts] = *t;
    *t = (struct rt_tensor){ 0 };
    return b->n_consts++;
}

static void
add_out(struct rt_builder *b, int value)
{
    RT_GROW(b->outs, b->n_outs, b->cap_outs);
    b->outs[b->n_outs++] = value;
}

static const struct rt_tensor *
const_of(const struct rt_builder *b, int value)
{
    int k = value < 0 ? -1 : b->values[value].konst;
    return k < 0 ? NULL : &b->consts[k];
}

/* ---- missing ops ----------------------------------------------------------------- */

static void
add_missing(struct rt_builder *b, const struct rt_inst *inst, const struct rt_gnode *n,
            const char *why)
{
    struct buf line AUTO(buf_release) = BUF_INIT;
    buf_addf(&line, "%s (node '%s'", n->op, n->name);
    if (inst->g->func)
        buf_addf(&line, " in function '%s'", inst->g->func->name);
    buf_addf(&line, ")%s%s\n", why ? ": " : "", why ? why : "");
    rt_missing_add(b->missing, buf_str(&line));
}

/* So that the walk goes on and finds the others. */
static void
fake_outputs(struct rt_builder *b, struct rt_inst *inst, int node)
{
    struct rt_gnode *n = &inst->g->nodes[node];
    enum { OUT_OF_UNKNOWN = 64 };
    if (!n->def && !n->callee && n->n_out < OUT_OF_UNKNOWN)
        n->n_out = OUT_OF_UNKNOWN;
    inst->first_out[node] = b->n_outs;
    int v = rt_new_value(b, -1, -1);
    for (int i = 0; i < n->n_out; i++)
        add_out(b, v);
}

/* ---- steps ----------------------------------------------------------------------- */

/* A letter per input from ops.def's pattern: "T*i" with four inputs is TTTi. */
static const uint8_t *
expand_inputs(struct rt_prep *p, const char *pattern, int n_in, bool *checked)
{
    size_t len = strlen(pattern);
    const char *star = strchr(pattern, '*');
    int fixed = (int)len - (star ? 2 : 0), many = n_in - fixed;
    if (star ? many < 0 : n_in != fixed) {
        rt_prep_fail(p, ERR_CORRUPT, "has %d inputs, not %s%d", n_in,
                     star ? "at least " : "", fixed);
        return NULL;
    }
    /* What counts the inputs of a list says the same as the list. */
    if (star && star[-1] != '.' && rt_attr_int(p, "N", many) != many) {
        rt_prep_fail(p, ERR_CORRUPT, "attribute 'N' is %lld, but it has %d such inputs",
                     (long long)rt_attr_int(p, "N", many), many);
        return NULL;
    }
    uint8_t *c = rt_prep_alloc(p, (size_t)n_in + 1);
    int at = 0;
    for (const char *s = pattern; *s; s += s[1] == '*' ? 2 : 1) {
        int times = s[1] == '*' ? many : 1;
        for (int i = 0; i < times; i++)
            c[at++] = (uint8_t)*s;
    }
    for (int i = 0; i < n_in; i++)
        *checked |= c[i] != '.';
    return c;
}

static const struct rt_op_def *
call_def(struct rt_model *m)
{
    return &rt_op_defs[rt_names_find(&m->ops, STR_LIT("StatefulPartitionedCall"))];
}

/* Fills a draft; 0 also when the op turned out not to be supported (then it is in the
 * list, and *missing is true). */
static int
prepare(struct rt_builder *b, struct rt_inst *inst, int node, const int *in,
        struct rt_draft *d, bool *missing, struct err *err)
{
    struct rt_gnode *n = &inst->g->nodes[node];
    const struct rt_op_def *def = n->def ? n->def : call_def(&b->s->model);
    struct prep_core core = { b, inst->g, n, in };
    struct rt_step *s = &d->s;
    *d = (struct rt_draft){ .g = n, .first_value = b->n_values };
    s->node = (struct rt_node){ .name = n->name,
                                .op = n->op,
                                .func = inst->g->func ? inst->g->func->name : NULL,
                                .def = def,
                                .n_in = n->n_in,
                                .n_out = n->n_out };
    s->run = def->run;
    struct rt_prep p = {
        .node = &s->node, .err = err, .mem = &b->plan->mem, .sm = &n->sm, .core = &core
    };
    s->check = expand_inputs(&p, def->in, n->n_in, &s->checked);
    for (int i = 0; i < n->n_in && s->check; i++)
        s->reads_ref |= in[i] >= 0 && b->values[in[i]].is_ref && s->check[i] != '&';
    if (s->check && def->prepare(&p) < 0 && err->code == ERR_OK)
        BUG("prepare of %s failed without an error", n->op);
    *missing = err->code == ERR_UNSUPPORTED;
    if (*missing) {
        add_missing(b, inst, n, err->msg);
        err_clear(err);
        fake_outputs(b, inst, node);
    }
    return -(int)err->code;
}

/* Runs a step at plan time when all its inputs are constants; `out` gets its outputs.
 */
static bool
run_now(struct rt_builder *b, const struct rt_step *s, const int *in,
        struct rt_tensor *out)
{
    const struct rt_node *n = &s->node;
    if (n->def->flags & ~(unsigned)(RT_ALIAS | RT_REF))
        return false;
    for (int i = 0; i < n->n_in; i++)
        if (!const_of(b, in[i]) || (b->values[in[i]].is_ref && s->reads_ref))
            return false;
    struct err err = ERR_INIT;
    size_t in_bytes = 0, out_bytes = 0;
    const struct rt_tensor **tin = xcalloc((size_t)n->n_in + 1, sizeof(tin[0]));
    struct rt_tensor *deref = xcalloc((size_t)n->n_in + 1, sizeof(deref[0]));
    for (int i = 0; i < n->n_in; i++) {
        tin[i] = const_of(b, in[i]);
        in_bytes += rt_size(tin[i]);
    }
    bool ok = rt_step_run(&b->fold, s, tin, deref, out, &err) == 0;
    for (int i = 0; ok && i < n->n_out; i++)
        out_bytes += rt_size(&out[i]);
    free(tin);
    free(deref);
    if (ok && out_bytes > FOLD_MAX_BYTES && out_bytes > in_bytes) {
        for (int i = 0; i < n->n_out; i++)
            rt_tensor_unref(&out[i]);
        ok = false;
    }
    for (int i = 0; ok && i < n->n_out; i++)
        out[i].buf->flags |= RT_BUF_RO | RT_BUF_WEIGHT;
    return ok;
}

/* While the graph is walked: outputs become constants. */
static bool
fold(struct rt_builder *b, struct rt_draft *d, const int *in, int first_out)
{
    const struct rt_node *n = &d->s.node;
    struct rt_tensor *out AUTO(free_ptr) =
        xcalloc((size_t)n->n_out + 1, sizeof(out[0]));
    if (!run_now(b, &d->s, in, out))
        return false;
    for (int i = 0; i < n->n_out; i++) {
        int v = rt_new_value(b, rt_new_const(b, &out[i]), -1);
        b->outs[first_out + i] = v;
        b->values[v].is_ref = n->def->flags & RT_REF;
    }
    return true;
}

bool
rt_fold_draft(struct rt_builder *b, struct rt_draft *d)
{
    const struct rt_node *n = &d->s.node;
    struct rt_tensor *out AUTO(free_ptr) =
        xcalloc((size_t)n->n_out + 1, sizeof(out[0]));
    if (!run_now(b, &d->s, d->in, out))
        return false;
    for (int i = 0; i < n->n_out; i++)
        b->values[d->first_value + i].konst = rt_new_const(b, &out[i]);
    return true;
}

/* An Assert of what is known to be true. */
static bool
holds_already(struct rt_builder *b, const struct rt_gnode *n, const int *in)
{
    const struct rt_tensor *c = n->n_in > 0 ? const_of(b, in[0]) : NULL;
    return strcmp(n->op, "Assert") == 0 && c && c->dtype == SM_BOOL &&
           c->n_elems == 1 && *(const uint8_t *)c->data;
}

static void
keep_control(struct rt_builder *b, struct rt_inst *inst, struct rt_draft *d)
{
    const struct rt_gnode *n = d->g;
    if (!b->flow || n->n_ctrl == 0)
        return;
    d->ctrl = xcalloc((size_t)n->n_ctrl, sizeof(d->ctrl[0]));
    for (int i = 0; i < n->n_ctrl; i++) {
        int from = n->in[n->n_in + i].node;
        int step = from < 0 ? -1 : inst->step[from]; /* arguments are there already */
        if (step >= 0)
            d->ctrl[d->n_ctrl++] = step;
    }
}

/* By what the table says of it: a resource or reference goes in, and it is not one of
 * those that only look. */
static bool
writes_variables(const struct rt_op_def *def)
{
    static const char *const lookers[] = {
        "ReadVariableOp",  "VariableShape",         "VarIsInitializedOp",
        "ResourceGather",  "IsVariableInitialized", "RefIdentity",
        "InitializeTable", "LookupTable",           "TensorArray",
    };
    if (!(def->flags & RT_STATEFUL) || (!strchr(def->in, 'R') && !strchr(def->in, '&')))
        return false;
    for (size_t i = 0; i < sizeof(lookers) / sizeof(lookers[0]); i++)
        if (strncmp(def->name, lookers[i], strlen(lookers[i])) == 0)
            return false;
    return true;
}

static int
emit_step(struct rt_builder *b, struct rt_inst *inst, int node, const int *in,
          struct err *err)
{
    const struct rt_gnode *n = &inst->g->nodes[node];
    struct rt_draft d;
    bool missing = false;
    if (prepare(b, inst, node, in, &d, &missing, err) < 0)
        return -(int)err->code;
    if (missing)
        return 0;
    int first_out = inst->first_out[node] = b->n_outs;
    for (int i = 0; i < n->n_out; i++)
        add_out(b, -1);
    keep_control(b, inst, &d);
    if (d.n_ctrl == 0 && fold(b, &d, in, first_out)) {
        free(d.ctrl);
        return 0;
    }
    unsigned flags = d.s.node.def->flags;
    b->plan->writes |= writes_variables(d.s.node.def);
    d.first_value = b->n_values;
    d.keep = (flags & RT_STATEFUL) || b->flow;
    d.in = xcalloc((size_t)n->n_in + 1, sizeof(d.in[0]));
    if (n->n_in > 0)
        memcpy(d.in, in, (size_t)n->n_in * sizeof(d.in[0]));
    for (int i = 0; i < n->n_out; i++) {
        int v = b->outs[first_out + i] = rt_new_value(b, -1, b->n_steps);
        b->values[v].is_ref = flags & RT_REF;
    }
    inst->step[node] = b->n_steps;
    RT_GROW(b->steps, b->n_steps, b->cap_steps);
    b->steps[b->n_steps++] = d;
    return 0;
}

/* ---- nodes ----------------------------------------------------------------------- */

static int
emit_const(struct rt_builder *b, struct rt_inst *inst, int node, struct err *err)
{
    struct rt_gnode *n = &inst->g->nodes[node];
    struct sm_attr a;
    if (!n->has_konst) {
        if (!sm_node_attr(&n->sm, "value", &a) || a.kind != SM_ATTR_TENSOR)
            return err_set(err, ERR_CORRUPT,
                           "node '%s' (Const): attribute 'value' is missing", n->name);
        if (rt_tensor_from_proto(&n->konst, &b->s->mem, a.bytes, err) < 0)
            return err_ctx(err, "node '%s' (Const)", n->name);
        n->has_konst = true;
    }
    struct rt_tensor k;
    rt_tensor_ref(&k, &n->konst);
    inst->first_out[node] = b->n_outs;
    add_out(b, rt_new_value(b, rt_new_const(b, &k), -1));
    return 0;
}

int
rt_emit(struct rt_builder *b, struct rt_inst *inst, int node, const int *in,
        struct err *err)
{
    const struct rt_gnode *n = &inst->g->nodes[node];
    const struct rt_op_def *def = n->def;
    inst->first_out[node] = b->n_outs;
    if (!def && !n->callee) {
        add_missing(b, inst, n, NULL);
        fake_outputs(b, inst, node);
        return 0;
    }
    if (def && (def->flags & RT_REFUSED)) {
        add_missing(b, inst, n, "refused: it reaches outside the model");
        fake_outputs(b, inst, node);
        return 0;
    }
    bool plain = !b->flow || n->n_ctrl == 0;
    if (plain && strcmp(n->op, "Const") == 0)
        return emit_const(b, inst, node, err);
    if (!b->flow && (strcmp(n->op, "NoOp") == 0 || holds_already(b, n, in)))
        return 0;
    if (!b->flow && def && (def->flags & RT_ALIAS) && n->n_in >= n->n_out) {
        bool refs = false;
        for (int i = 0; i < n->n_out; i++)
            refs |= b->values[in[i]].is_ref && !(def->flags & RT_REF);
        for (int i = 0; i < n->n_out && !refs; i++)
            add_out(b, in[i]);
        if (!refs)
            return 0;
    }
    return emit_step(b, inst, node, in, err);
}

/* ---- what prepare functions ask of the planner ----------------------------------- */

const struct rt_tensor *
rt_prep_const(struct rt_prep *p, int i)
{
    const struct prep_core *c = p->core;
    return i >= 0 && i < p->node->n_in ? const_of(c->b, c->in[i]) : NULL;
}

struct rt_session *
rt_prep_session(const struct rt_prep *p)
{
    const struct prep_core *c = p->core;
    return c->b->s;
}

static struct rt_plan *
plan_of(struct rt_prep *p, struct rt_func *f, struct str name)
{
    const struct prep_core *c = p->core;
    struct rt_plan *plan = NULL;
    if (!f)
        rt_prep_fail(p, ERR_CORRUPT, "function '%.*s' is not in the library",
                     STR_ARG(name));
    else if (p->err->code == ERR_OK)
        (void)!rt_plan_function(&plan, c->b->s, f, c->b->missing, p->err);
    if (plan)
        c->b->plan->writes |= plan->writes;
    for (int i = 0; plan && i < RT_MAX_PASSES; i++)
        c->b->plan->n_fired[i] += plan->n_fired[i];
    return plan;
}

struct rt_plan *
rt_prep_function(struct rt_prep *p, const char *attr)
{
    const struct prep_core *c = p->core;
    struct sm_attr a;
    if (c->n->callee)
        return plan_of(p, (struct rt_func *)(uintptr_t)c->n->callee, c->n->sm.op);
    if (!sm_node_attr(p->sm, attr, &a) || a.kind != SM_ATTR_FUNC) {
        rt_prep_fail(p, ERR_CORRUPT, "attribute '%s' names no function", attr);
        return NULL;
    }
    struct str name = sm_attr_func_name(&a);
    return plan_of(p, rt_model_func(c->g->model, name), name);
}

struct rt_plan **
rt_prep_functions(struct rt_prep *p, const char *attr, int *n)
{
    const struct prep_core *c = p->core;
    struct sm_attr a;
    *n = 0;
    if (!sm_node_attr(p->sm, attr, &a) || a.kind != SM_ATTR_LIST ||
        (*n = sm_attr_strs(&a, NULL, 0)) <= 0) {
        rt_prep_fail(p, ERR_CORRUPT, "attribute '%s' names no functions", attr);
        return NULL;
    }
    struct str *raw = rt_prep_alloc(p, (size_t)*n * sizeof(raw[0]));
    struct rt_plan **plans = rt_prep_alloc(p, (size_t)*n * sizeof(plans[0]));
    *n = sm_attr_strs(&a, raw, *n);
    for (int i = 0; i < *n; i++) {
        struct str name = sm_pb_bytes(raw[i], 1); /* NameAttrList.name */
        plans[i] = plan_of(p, rt_model_func(c->g->model, name), name);
    }
    return plans;
}

int
rt_prep_counts(struct rt_prep *p, const struct rt_plan *plan, int n_in)
{
    if (plan && (plan->n_inputs != n_in || plan->n_outputs != p->node->n_out))
        return rt_prep_fail(
            p, ERR_CORRUPT,
            "function '%s' takes %d and gives %d values, the node has %d "
            "and %d",
            plan->what, plan->n_inputs, plan->n_outputs, n_in, p->node->n_out);
    return rt_prep_done(p);
}

/* ---- slots ----------------------------------------------------------------------- */

struct slots {
    struct rt_builder *b;
    int *last; /* per value: the last step that reads it, n_steps: an output */
    int *free; /* slots that are free again */
    int n_free;
    int n_slots;
};

void
rt_mark_needed(struct rt_builder *b, bool *needed)
{
    bool *wanted = xcalloc((size_t)b->n_values + 1, sizeof(wanted[0]));
    for (int i = 0; i < b->plan->n_outputs; i++)
        wanted[b->results[i]] = true;
    for (int i = b->n_steps - 1; i >= 0; i--) {
        struct rt_draft *d = &b->steps[i];
        needed[i] = d->keep;
        for (int j = 0; j < d->s.node.n_out; j++)
            needed[i] |= wanted[d->first_value + j];
        for (int j = 0; needed[i] && j < d->s.node.n_in; j++)
            wanted[d->in[j]] = b->values[d->in[j]].konst < 0;
    }
    free(wanted);
}

/* Constants that are used move to the plan, in the order of their first use; others go
 * with the builder. Returns the code of a slot: < 0 is constant -1 - n. */
static int
slot_of(struct rt_builder *b, int value, int *const_at)
{
    int k = b->values[value].konst;
    if (k < 0)
        return b->values[value].slot;
    struct rt_plan *p = b->plan;
    if (const_at[k] < 0) {
        const_at[k] = p->n_consts;
        rt_tensor_ref(&p->consts[p->n_consts++], &b->consts[k]);
    }
    return -1 - const_at[k];
}

static int
take_slot(struct slots *s)
{
    return s->n_free > 0 ? s->free[--s->n_free] : s->n_slots++;
}

static int *
plan_ints(struct rt_builder *b, int n)
{
    struct rt_prep p = { .mem = &b->plan->mem };
    return rt_prep_alloc(&p, ((size_t)n + 1) * sizeof(int));
}

/* Slots that end with step `at`: each once, those of constants never. */
static void
end_values(struct slots *s, struct rt_draft *d, int at, int *dead)
{
    struct rt_builder *b = s->b;
    for (int j = 0; j < d->s.node.n_in; j++) {
        int v = d->in[j];
        if (b->values[v].konst >= 0 || s->last[v] != at)
            continue;
        int times = 0;
        for (int k = 0; k < d->s.node.n_in; k++)
            times += d->in[k] == v;
        if (times == 1 && j < 64)
            d->s.may_forward |= (uint64_t)1 << j;
        bool first = true;
        for (int k = 0; k < j; k++)
            first &= d->in[k] != v;
        if (first)
            dead[d->s.n_dead++] = b->values[v].slot;
    }
}

static void
place_step(struct slots *s, struct rt_draft *d, int at, int *const_at)
{
    struct rt_builder *b = s->b;
    int n_in = d->s.node.n_in, n_out = d->s.node.n_out;
    int *in = plan_ints(b, n_in), *out = plan_ints(b, n_out),
        *dead = plan_ints(b, n_in);
    for (int j = 0; j < n_in; j++)
        in[j] = slot_of(b, d->in[j], const_at);
    for (int j = 0; j < n_out; j++) {
        int v = d->first_value + j;
        out[j] = s->last[v] < 0 ? -1 : (b->values[v].slot = take_slot(s));
    }
    end_values(s, d, at, dead);
    for (int j = 0; j < d->s.n_dead; j++)
        s->free[s->n_free++] = dead[j];
    d->s.in = in;
    d->s.out = out;
    d->s.dead = dead;
}

static void
find_last(struct rt_builder *b, const bool *needed, int *last)
{
    for (int v = 0; v < b->n_values; v++)
        last[v] = -1;
    for (int i = 0; i < b->n_steps; i++)
        for (int j = 0; needed[i] && j < b->steps[i].s.node.n_in; j++)
            last[b->steps[i].in[j]] = i;
    for (int i = 0; i < b->plan->n_outputs; i++)
        last[b->results[i]] = b->n_steps;
}

static void
place_all(struct rt_builder *b, const bool *needed, struct slots *s, int *const_at)
{
    struct rt_plan *p = b->plan;
    struct rt_prep mem = { .mem = &p->mem };
    int *dead = plan_ints(b, p->n_inputs), *outputs = plan_ints(b, p->n_outputs);
    p->steps = rt_prep_alloc(&mem, ((size_t)b->n_steps + 1) * sizeof(p->steps[0]));
    for (int v = 0; v < p->n_inputs; v++) {
        b->values[v].slot = s->n_slots++;
        if (s->last[v] < 0)
            dead[p->n_dead_inputs++] = v;
    }
    for (int i = 0; i < b->n_steps; i++) {
        struct rt_draft *d = &b->steps[i];
        if (!needed[i])
            continue;
        place_step(s, d, i, const_at);
        if (d->s.node.n_in > p->max_in)
            p->max_in = d->s.node.n_in;
        if (d->s.node.n_out > p->max_out)
            p->max_out = d->s.node.n_out;
        p->steps[p->n_steps++] = d->s;
    }
    for (int i = 0; i < p->n_outputs; i++)
        outputs[i] = slot_of(b, b->results[i], const_at);
    p->dead_inputs = dead;
    p->outputs = outputs;
    p->n_slots = s->n_slots;
}

int
rt_emit_finish(struct rt_builder *b, struct err *err)
{
    if (b->missing->n > 0)
        return 0; /* never run */
    struct rt_plan *p = b->plan;
    rt_passes_make(b);
    size_t n = (size_t)b->n_values + (size_t)b->n_steps + 2;
    bool *needed = xcalloc(n, sizeof(needed[0]));
    struct slots s = { .b = b,
                       .last = xcalloc(n, sizeof(s.last[0])),
                       .free = xcalloc(n, sizeof(s.free[0])) };
    int *const_at = xcalloc((size_t)b->n_consts + 1, sizeof(const_at[0]));
    for (int i = 0; i < b->n_consts; i++)
        const_at[i] = -1;
    p->consts = xcalloc((size_t)b->n_consts + 1, sizeof(p->consts[0]));
    rt_mark_needed(b, needed);
    find_last(b, needed, s.last);
    place_all(b, needed, &s, const_at);
    p->strings = b->fold.strings;
    b->fold.strings = (struct rt_arena){ 0 };
    free(needed);
    free(s.last);
    free(s.free);
    free(const_at);
    (void)err;
    return 0;
}
