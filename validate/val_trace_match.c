/* SPDX-License-Identifier: Apache-2.0 */
/* Which step of one run is which of another's. */
#include "validate/val_trace.h"

#include "base/farmhash.h"

#include <stdlib.h>
#include <string.h>

struct keyed {
    uint64_t key;
    int event;
};

static int
compare_keyed(const void *a, const void *b)
{
    const struct keyed *x = a, *y = b;

    return x->key != y->key ? (x->key > y->key) - (x->key < y->key)
                            : x->event - y->event;
}

static uint64_t
key_text(const char *s, size_t n)
{
    return farm64((struct str){ s, n });
}

/* What is fused gives the value of the last of its nodes, whose op it has not: that is
 * known by name only. */
static bool
may_be_twins(const struct tr_run *a, int ea, const struct tr_run *b, int eb,
             bool by_place)
{
    const struct tr_step *x = tr_step_of(a, ea), *y = tr_step_of(b, eb);

    return x->gives || y->gives ? !by_place : strcmp(x->op, y->op) == 0;
}

static void
pair(struct tr_run *a, int ea, struct tr_run *b, int eb, bool by_place)
{
    a->events[ea].twin = eb;
    b->events[eb].twin = ea;
    a->events[ea].by_place = by_place;
}

/* The n-th of a key is the twin of the n-th of the same key. */
static void
pair_by_key(struct tr_run *a, uint64_t *ka, struct tr_run *b, uint64_t *kb,
            bool by_place)
{
    struct tr_run *const run[] = { a, b };
    uint64_t *const key[] = { ka, kb };
    struct keyed *v[TR_SIDES];
    int n[TR_SIDES] = { 0, 0 };

    for (int s = 0; s < TR_SIDES; s++) {
        v[s] = xcalloc((size_t)run[s]->n_events + 1, sizeof(v[s][0]));
        for (int i = 0; i < run[s]->n_events; i++)
            if (run[s]->events[i].twin < 0)
                v[s][n[s]++] = (struct keyed){ key[s][i], i };
        qsort(v[s], (size_t)n[s], sizeof(v[s][0]), compare_keyed);
    }
    for (int i = 0, j = 0; i < n[0] && j < n[1];) {
        if (v[0][i].key < v[1][j].key) {
            i++;
        } else if (v[0][i].key > v[1][j].key) {
            j++;
        } else {
            if (may_be_twins(a, v[0][i].event, b, v[1][j].event, by_place))
                pair(a, v[0][i].event, b, v[1][j].event, by_place);
            i++;
            j++;
        }
    }
    free(v[0]);
    free(v[1]);
}

/* ---- by name -------------------------------------------------------------------- */

/* TensorFlow numbers the functions that it traces: "__inference_call_1234". */
static size_t
name_len(const char *function)
{
    size_t n = strlen(function);

    while (n > 0 && function[n - 1] >= '0' && function[n - 1] <= '9')
        n--;
    return n > 0 && function[n - 1] == '_' ? n - 1 : strlen(function);
}

static uint64_t *
names_of(const struct tr_run *r)
{
    uint64_t *key = xcalloc((size_t)r->n_events + 1, sizeof(key[0]));

    for (int i = 0; i < r->n_events; i++) {
        const struct tr_event *e = &r->events[i];
        const struct tr_step *s = &r->steps[e->step];
        const char *name = s->gives ? s->gives : s->node;

        key[i] = farm_cat(key_text(s->function, name_len(s->function)),
                          key_text(name, strlen(name)));
        key[i] = farm_cat(key[i], (uint64_t)e->turn);
        if (e->within >= 0)
            key[i] = farm_cat(key[i], key[e->within]);
        if (!name[0]) /* nobody's value */
            key[i] = farm_cat((uint64_t)(uintptr_t)r, (uint64_t)i);
    }
    return key;
}

/* ---- by structure --------------------------------------------------------------- */

static uint64_t
key_of_in(const struct tr_run *r, const struct tr_in *in, const uint64_t *key)
{
    const struct tr_tensor *t;
    uint64_t h = (uint64_t)in->from;

    switch (in->from) {
    case TR_FEED:
        return farm_cat(h, (uint64_t)in->a);
    case TR_MADE:
        return farm_cat(farm_cat(h, key[in->a]), (uint64_t)in->b);
    case TR_HELD:
        t = &r->held[in->a].t;
        h = farm_cat(h, (uint64_t)t->dtype);
        for (int i = 0; i < t->shape.rank; i++)
            h = farm_cat(h, (uint64_t)t->shape.dims[i]);
        return h;
    default:
        return h;
    }
}

static uint64_t *
structure_of(const struct tr_run *r)
{
    uint64_t *key = xcalloc((size_t)r->n_events + 1, sizeof(key[0]));

    for (int i = 0; i < r->n_events; i++) {
        const struct tr_event *e = &r->events[i];
        const char *op = r->steps[e->step].op;

        key[i] = farm_cat(key_text(op, strlen(op)), (uint64_t)e->turn);
        if (e->within >= 0)
            key[i] = farm_cat(key[i], key[e->within]);
        for (int j = 0; j < e->n_in; j++)
            key[i] = farm_cat(key[i], key_of_in(r, tr_in_of(r, i, j), key));
    }
    return key;
}

/* ---- along consumers ------------------------------------------------------------ */

static void
pair_in(struct tr_run *a, const struct tr_in *x, struct tr_run *b,
        const struct tr_in *y)
{
    if (x->from == TR_MADE && y->from == TR_MADE && a->events[x->a].twin < 0 &&
        b->events[y->a].twin < 0 && x->b == y->b &&
        may_be_twins(a, x->a, b, y->a, true))
        pair(a, x->a, b, y->a, true);
}

static void
pair_makers(struct tr_run *a, struct tr_run *b)
{
    for (int i = 0; i < a->n_outputs; i++)
        for (int j = 0; j < b->n_outputs; j++)
            if (strcmp(a->outputs[i].key, b->outputs[j].key) == 0)
                pair_in(a, &a->outputs[i].in, b, &b->outputs[j].in);
    for (int i = a->n_events - 1; i >= 0; i--) { /* inputs are older */
        const int twin = a->events[i].twin;

        if (twin < 0 || a->events[i].n_in != b->events[twin].n_in)
            continue;
        for (int j = 0; j < a->events[i].n_in; j++)
            pair_in(a, tr_in_of(a, i, j), b, tr_in_of(b, twin, j));
    }
}

void
tr_match(struct tr_run *it, struct tr_run *other)
{
    uint64_t *(*const keys[])(const struct tr_run *) = { names_of, structure_of };

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        uint64_t *ka AUTO(free_ptr) = keys[i](it), *kb AUTO(free_ptr) = keys[i](other);

        pair_by_key(it, ka, other, kb, i > 0);
    }
    pair_makers(it, other);
}
