/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/rt_pass_int.h"

#include <stdlib.h>

static const struct pass {
    const char *name;
    rt_pass_fn *run;
} passes[] = {
#define PASS(id, what) { #id, rt_pass_##id },
#include "runtime/rt_pass.def"
#undef PASS
};

/* ---- which passes are made ------------------------------------------------------- */

int
rt_passes_parse(const char *text, unsigned *out, struct err *err)
{
    unsigned on = (1u << RT_N_PASSES) - 1;
    while (text && *text) {
        size_t n = strcspn(text, ",");
        struct str name = { text, n };
        bool off = n > 0 && *text == '-';
        unsigned bit = 0;
        if (off)
            name = (struct str){ text + 1, n - 1 };
        for (int i = 0; i < RT_N_PASSES; i++)
            if (str_is(name, passes[i].name))
                bit = 1u << i;
        if (!bit && !(str_is(name, "none") && !off)) {
            struct buf names AUTO(buf_release) = BUF_INIT;
            for (int i = 0; i < RT_N_PASSES; i++)
                buf_addf(&names, ", %s", passes[i].name);
            return err_set(err, ERR_INVALID,
                           "SLUICE_PLAN: '%.*s' is no pass; there are none%s",
                           STR_ARG(name), buf_str(&names));
        }
        on = !bit ? 0 : off ? on & ~bit : on | bit;
        text += n + (text[n] == ',');
    }
    *out = on;
    return 0;
}

const char *
rt_pass_name(int i)
{
    return i < RT_N_PASSES ? passes[i].name : NULL;
}

/* ---- looking --------------------------------------------------------------------- */

const struct rt_tensor *
rt_value_const(const struct rt_builder *b, int value)
{
    int k = value < 0 ? -1 : b->values[value].konst;
    return k < 0 ? NULL : &b->consts[k];
}

bool
rt_value_scalar(const struct rt_builder *b, int value, float *out)
{
    const struct rt_tensor *t = rt_value_const(b, value);
    if (!t || t->n_elems != 1)
        return false;
    if (t->dtype == SM_INT32 || t->dtype == SM_INT64)
        *out = (float)rt_int_at(t, 0);
    else if (t->dtype == SM_FLOAT)
        *out = *(const float *)t->data;
    else
        return false;
    return true;
}

int
rt_value_maker(const struct rt_builder *b, int value)
{
    const struct rt_value *v = &b->values[value];
    if (v->konst >= 0 || v->step < 0 || b->steps[v->step].first_value != value)
        return -1;
    return v->step;
}

bool
rt_draft_is_float(const struct rt_draft *d, const char *attr)
{
    struct sm_attr a;
    return d->g && sm_node_attr(&d->g->sm, attr, &a) && a.kind == SM_ATTR_TYPE &&
           a.i == SM_FLOAT;
}

/* ---- changing -------------------------------------------------------------------- */

void *
rt_pass_alloc(struct rt_builder *b, size_t size_bytes)
{
    struct rt_prep p = { .mem = &b->plan->mem };
    return rt_prep_alloc(&p, size_bytes);
}

int
rt_pass_floats(struct rt_builder *b, int rank, const int64_t *dims, float **data)
{
    struct rt_tensor t;
    struct err err = ERR_INIT;
    if (rt_tensor_make(&t, &b->s->mem, SM_FLOAT, rank, dims, &err) < 0)
        return -1;
    t.buf->flags |= RT_BUF_RO | RT_BUF_WEIGHT;
    *data = t.data;
    return rt_new_value(b, rt_new_const(b, &t), -1);
}

/* "Conv2D+BiasAdd+Relu": what the step at `d` does when it has taken over `as`. */
static const char *
group_text(struct rt_rewrite *w, const struct rt_draft *d, const struct rt_draft *as)
{
    const struct rt_node *n = &as->s.node;
    if (as->g == d->g)
        return n->group;
    struct buf text AUTO(buf_release) = BUF_INIT;
    buf_addf(&text, "%s+%s", n->group ? n->group : n->op, d->s.node.op);
    char *kept = rt_pass_alloc(w->b, text.len + 1);
    memcpy(kept, buf_str(&text), text.len + 1);
    return kept;
}

void
rt_pass_become(struct rt_rewrite *w, int at, const struct rt_draft *as, const int *in,
               int n_in)
{
    struct rt_draft *d = &w->b->steps[at];
    uint8_t *check = rt_pass_alloc(w->b, (size_t)n_in + 1);
    memset(check, 'T', (size_t)n_in);
    if (w->b->n_values > w->n_uses) { /* made since they were counted */
        w->uses = xreallocarray(w->uses, (size_t)w->b->n_values, sizeof(w->uses[0]));
        for (; w->n_uses < w->b->n_values; w->n_uses++)
            w->uses[w->n_uses] = 0;
    }
    for (int i = 0; i < d->s.node.n_in; i++)
        w->uses[d->in[i]]--;
    d->in = xreallocarray(d->in, (size_t)n_in + 1, sizeof(d->in[0]));
    for (int i = 0; i < n_in; i++) {
        d->in[i] = in[i];
        w->uses[in[i]]++;
    }
    const char *group = group_text(w, d, as);
    const char *gives = d->s.node.gives ? d->s.node.gives : d->s.node.name;
    d->g = as->g;
    d->s.node = as->s.node;
    d->s.node.group = group;
    d->s.node.gives = gives;
    d->s.node.n_in = n_in;
    d->s.run = as->s.run;
    d->s.check = check;
    d->s.checked = true;
    d->s.reads_ref = false;
    w->n_fired++;
}

/* ---- all of them ----------------------------------------------------------------- */

static void
count_uses(struct rt_rewrite *w)
{
    struct rt_builder *b = w->b;
    w->needed = xcalloc((size_t)b->n_steps + 1, sizeof(w->needed[0]));
    w->uses = xcalloc((size_t)b->n_values + 1, sizeof(w->uses[0]));
    w->n_uses = b->n_values;
    rt_mark_needed(b, w->needed);
    for (int i = 0; i < b->n_steps; i++)
        for (int j = 0; w->needed[i] && j < b->steps[i].s.node.n_in; j++)
            w->uses[b->steps[i].in[j]]++;
    for (int i = 0; i < b->plan->n_outputs; i++)
        w->uses[b->results[i]]++;
}

void
rt_passes_make(struct rt_builder *b)
{
    b->plan->n_drafts = b->n_steps;
    for (int i = 0; i < RT_N_PASSES; i++) {
        if (!(b->s->passes >> i & 1))
            continue;
        struct rt_rewrite w = { .b = b };
        count_uses(&w);
        passes[i].run(&w);
        b->plan->n_fired[i] += w.n_fired;
        free(w.needed);
        free(w.uses);
    }
}
