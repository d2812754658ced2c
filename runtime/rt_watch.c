/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/rt_watch.h"

#include "base/farmhash.h"
#include "base/json.h"
#include "runtime/rt_half.h"
#include "runtime/rt_plan_int.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

void
rt_watch_init(struct rt_watch *w, struct rt_session *s,
              const struct backend_place *places, int n_places,
              struct sm_tensor_list *values)
{
    *w = (struct rt_watch){
        .s = s, .places = places, .n_places = n_places, .values = values
    };
}

void
rt_watch_release(struct rt_watch *w)
{
    for (int i = 0; i < w->n_held; i++) {
        free(w->held[i].name);
        free(w->held[i].key);
    }
    for (int i = 0; i < w->n_outputs; i++)
        free(w->outputs[i].key);
    rt_ptrs_release(&w->step_at);
    rt_ptrs_release(&w->made_at);
    rt_ptrs_release(&w->held_at);
    rt_ptrs_release(&w->feed_at);
    free(w->steps);
    free(w->events);
    free(w->made);
    free(w->in);
    free(w->held);
    free(w->outputs);
    free(w->open);
}

/* ---- tensors --------------------------------------------------------------------- */

static bool
has_value(const struct rt_tensor *t)
{
    return t->dtype != SM_RESOURCE && t->dtype != SM_VARIANT && t->dtype < SM_REF;
}

static uint64_t
digest_of(const struct rt_tensor *t)
{
    const struct str *s = t->data;
    uint64_t h = 0;
    if (!has_value(t) || t->n_elems == 0)
        return 0;
    if (t->dtype != SM_STRING)
        return farm64((struct str){ t->data, rt_size(t) });
    for (int64_t i = 0; i < t->n_elems; i++)
        h = farm_cat(h, farm64(s[i]));
    return h;
}

static int64_t
count_nan(const struct rt_tensor *t)
{
    bool is_complex = t->dtype == SM_COMPLEX64 || t->dtype == SM_COMPLEX128;
    int64_t count = 0, n = is_complex ? 2 * t->n_elems : t->n_elems;
    const float *f = t->data;
    const double *d = t->data;
    const uint16_t *h = t->data;
    switch (t->dtype) {
    case SM_FLOAT:
    case SM_COMPLEX64:
        for (int64_t i = 0; i < n; i++)
            count += isnan(f[i]) != 0;
        break;
    case SM_DOUBLE:
    case SM_COMPLEX128:
        for (int64_t i = 0; i < n; i++)
            count += isnan(d[i]) != 0;
        break;
    case SM_HALF:
        for (int64_t i = 0; i < n; i++)
            count += isnan(rt_half_to_f32(h[i])) != 0;
        break;
    case SM_BFLOAT16:
        for (int64_t i = 0; i < n; i++)
            count += isnan(rt_bf16_to_f32(h[i])) != 0;
        break;
    default:
        break;
    }
    return count;
}

static struct rt_watch_tensor
seen_as(const struct rt_tensor *t)
{
    struct rt_watch_tensor v = { .t = *t,
                                 .digest = digest_of(t),
                                 .n_nan = count_nan(t),
                                 .event = -1,
                                 .before = -1 };
    v.t.buf = NULL;
    return v;
}

/* Places ascend by event, then by `at`. */
static int
compare_places(const void *a, const void *b)
{
    const struct backend_place *x = a, *y = b;
    return x->event != y->event ? (x->event > y->event) - (x->event < y->event)
                                : (x->at > y->at) - (x->at < y->at);
}

/* Strings with their text, which is copied as well. */
static size_t
bytes_of(const struct rt_tensor *t)
{
    const struct str *s = t->data;
    size_t n = rt_size(t);
    for (int64_t i = 0; t->dtype == SM_STRING && i < t->n_elems; i++)
        n += s[i].n;
    return n;
}

static bool
is_wanted(const struct rt_watch *w, int event, int at)
{
    const struct backend_place key = { event, at };
    return bsearch(&key, w->places, (size_t)w->n_places, sizeof(key), compare_places);
}

static void
bring(struct rt_watch *w, int event, int at, const struct rt_tensor *t)
{
    struct sm_tensor value = { 0 };
    struct err none = ERR_INIT;
    char name[48];
    if (!is_wanted(w, event, at) || !has_value(t) ||
        bytes_of(t) > BACKEND_WATCH_BYTES - w->values_bytes ||
        rt_tensor_to_sm(&value, t, &none) < 0)
        return;
    w->values_bytes += bytes_of(t);
    snprintf(name, sizeof(name), "%d:%d", event, at);
    sm_tensor_list_add(w->values, name, &value);
}

/* ---- where inputs come from ------------------------------------------------------ */

/* A view has its value's address: of those that were made there, the last of this
 * shape. */
static int
made_of(const struct rt_watch *w, const struct rt_tensor *t)
{
    int at = rt_ptrs_find(&w->made_at, t->data);
    for (int i = at; i >= 0; i = w->made[i].before)
        if (w->made[i].t.dtype == t->dtype && rt_same_shape(&w->made[i].t, t))
            return i;
    return at;
}

/* What nobody writes keeps its digest. */
static bool
is_as_it_was(const struct rt_watch_held *h, const struct rt_tensor *t, const char *name)
{
    return strcmp(h->name, name) == 0 && h->v.t.dtype == t->dtype &&
           rt_same_shape(&h->v.t, t) &&
           ((t->buf->flags & RT_BUF_RO) || h->v.digest == digest_of(t));
}

static int
held_of(struct rt_watch *w, const struct rt_tensor *t, const char *name)
{
    const struct sm_entry *e = t->buf->entry;
    int before = rt_ptrs_find(&w->held_at, t->data);
    for (int i = before; i >= 0; i = w->held[i].v.before)
        if (is_as_it_was(&w->held[i], t, name))
            return i;
    RT_GROW(w->held, w->n_held, w->cap_held);
    w->held[w->n_held] = (struct rt_watch_held){
        .name = xstrdup(name),
        .key = e ? xasprintf("%.*s", STR_ARG(e->key)) : xstrdup(""),
        .v = seen_as(t),
    };
    w->held[w->n_held].v.before = before;
    rt_ptrs_set(&w->held_at, t->data, w->n_held);
    return w->n_held++;
}

static struct rt_obj *
object_of(const struct rt_tensor *t)
{
    bool holds = t->dtype == SM_RESOURCE || t->dtype > SM_REF;
    return holds && t->n_elems == 1 ? *(struct rt_obj *const *)t->data : NULL;
}

/* The variable behind a resource or reference, and its value with a reference of its
 * own (zero when it has none); NULL: another object, or none. */
static struct rt_var *
var_of(const struct rt_tensor *t, struct rt_tensor *value)
{
    struct rt_obj *o = object_of(t);
    struct rt_var *v = o && o->type == &rt_var_type.obj ? (struct rt_var *)o : NULL;
    *value = (struct rt_tensor){ 0 };
    if (!v)
        return NULL;
    pthread_mutex_lock(&v->lock);
    if (v->value.buf)
        rt_tensor_ref(value, &v->value);
    pthread_mutex_unlock(&v->lock);
    return v;
}

static struct rt_watch_in
from_of(struct rt_watch *w, const struct rt_tensor *t)
{
    struct rt_watch_in from = { RT_WATCH_UNKNOWN, 0, 0 };
    struct rt_obj *o = object_of(t);
    struct rt_tensor value;
    struct rt_var *v = var_of(t, &value);
    int i;
    if (v && value.buf) {
        from = (struct rt_watch_in){ RT_WATCH_HELD, held_of(w, &value, v->name), 0 };
    } else if (o && !v) {
        struct rt_buf key = { .flags = RT_BUF_RO };
        struct rt_tensor obj = { .dtype = SM_RESOURCE, .data = o, .buf = &key };
        from =
            (struct rt_watch_in){ RT_WATCH_OBJECT, held_of(w, &obj, o->type->name), 0 };
    } else if (!o && (i = made_of(w, t)) >= 0) {
        from = (struct rt_watch_in){ RT_WATCH_MADE, w->made[i].event, w->made[i].out };
    } else if (!o && (i = rt_ptrs_find(&w->feed_at, t->data)) >= 0) {
        from = (struct rt_watch_in){ RT_WATCH_FEED, i, 0 };
    } else if (rt_buf_is_weight(t->buf) && has_value(t)) {
        from = (struct rt_watch_in){ RT_WATCH_HELD, held_of(w, t, ""), 0 };
    }
    rt_tensor_unref(&value);
    return from;
}

void
rt_watch_feed(struct rt_watch *w, int i, const struct rt_tensor *t)
{
    if (t->data && t->n_elems > 0)
        rt_ptrs_set(&w->feed_at, t->data, i);
}

void
rt_watch_output(struct rt_watch *w, const char *key, const struct rt_tensor *t)
{
    if (w->n_places > 0)
        return;
    w->outputs =
        xreallocarray(w->outputs, (size_t)w->n_outputs + 1, sizeof(w->outputs[0]));
    w->outputs[w->n_outputs++] =
        (struct rt_watch_output){ xstrdup(key), from_of(w, t) };
}

/* ---- steps ----------------------------------------------------------------------- */

/* The step's index; its turn is counted anew within each call of what it lies in. */
static int
step_of(struct rt_watch *w, const struct rt_step *s, int within)
{
    int i = rt_ptrs_find(&w->step_at, s);
    if (i < 0) {
        RT_GROW(w->steps, w->n_steps, w->cap_steps);
        rt_ptrs_set(&w->step_at, s, i = w->n_steps++);
        w->steps[i] = (struct rt_watch_step){ s, within, -1 };
    }
    if (w->steps[i].within != within)
        w->steps[i] = (struct rt_watch_step){ s, within, -1 };
    w->steps[i].n_turns++;
    return i;
}

static void
bring_input(struct rt_watch *w, int event, int i, const struct rt_tensor *t)
{
    struct rt_tensor value;
    if (!is_wanted(w, event, -1 - i))
        return;
    bring(w, event, -1 - i, var_of(t, &value) && value.buf ? &value : t);
    rt_tensor_unref(&value);
}

void
rt_watch_begin(struct rt_watch *w, const struct rt_step *s,
               const struct rt_tensor *const *in)
{
    int within = w->n_open > 0 ? w->open[w->n_open - 1] : -1, event = w->n_events;
    RT_GROW(w->open, w->n_open, w->cap_open);
    if (w->n_events >= RT_WATCH_EVENTS_MAX || (within < 0 && w->n_open > 0)) {
        w->open[w->n_open++] = -1;
        w->n_lost++;
        return;
    }
    w->open[w->n_open++] = event;
    RT_GROW(w->events, w->n_events, w->cap_events);
    int step = step_of(w, s, within);
    w->events[w->n_events++] = (struct rt_watch_event){ .step = step,
                                                        .turn = w->steps[step].n_turns,
                                                        .within = within,
                                                        .end = -1,
                                                        .first_in = w->n_in,
                                                        .n_in = s->node.n_in };
    for (int i = 0; i < s->node.n_in; i++) {
        if (w->n_places > 0) {
            bring_input(w, event, i, in[i]);
            continue;
        }
        struct rt_watch_in from = from_of(w, in[i]);
        RT_GROW(w->in, w->n_in, w->cap_in);
        w->in[w->n_in++] = from;
    }
}

void
rt_watch_end(struct rt_watch *w, const struct rt_step *s, const struct rt_tensor *out)
{
    int event = w->open[--w->n_open];
    if (event < 0 || !out)
        return;
    struct rt_watch_event *e = &w->events[event];
    e->end = w->n_ended++;
    e->first_out = w->n_made;
    e->n_out = s->node.n_out;
    for (int i = 0; i < s->node.n_out; i++) {
        if (w->n_places > 0) {
            bring(w, event, i, &out[i]);
            continue;
        }
        RT_GROW(w->made, w->n_made, w->cap_made);
        struct rt_watch_tensor *v = &w->made[w->n_made];
        *v = seen_as(&out[i]);
        v->event = event;
        v->out = i;
        if (out[i].data && out[i].n_elems > 0) {
            v->before = rt_ptrs_find(&w->made_at, out[i].data);
            rt_ptrs_set(&w->made_at, out[i].data, w->n_made);
        }
        w->n_made++;
    }
}

/* ---- JSON ------------------------------------------------------------------------ */

static void
add_tensor(const struct rt_watch_tensor *v, struct buf *json)
{
    buf_addf(json, "[%d,[", v->t.dtype);
    for (int i = 0; i < v->t.rank; i++)
        buf_addf(json, "%s%" PRId64, i ? "," : "", v->t.dims[i]);
    buf_addf(json, "],\"%016" PRIx64 "\",%" PRId64 "]", v->digest, v->n_nan);
}

static void
add_in(const struct rt_watch_in *in, struct buf *json)
{
    buf_addf(json, "%d,%d,%d", (int)in->from, in->a, in->b);
}

/* What the graph calls the inputs of a node. */
static void
add_labels(struct rt_watch *w, const struct rt_node *n, struct buf *json)
{
    struct rt_func *f = n->func ? rt_model_func(&w->s->model, str_of(n->func)) : NULL;
    const struct rt_graph *g = f ? &f->g : &w->s->model.main;
    int at = rt_names_find(&g->names, str_of(n->name));
    const struct rt_gnode *node = at < 0 ? NULL : &g->nodes[at];
    if (!node || !node->linked || n->group || node->n_in != n->n_in)
        return;
    for (int i = 0; i < n->n_in; i++) {
        struct rt_gref from = node->in[i];
        buf_adds(json, i ? "," : "");
        json_add_quoted(json, from.node >= 0 ? g->nodes[from.node].sm.name
                              : f            ? f->arg_defs[-1 - from.node].name
                                             : STR_LIT(""));
    }
}

static void
add_step(struct rt_watch *w, const struct rt_node *n, struct buf *json)
{
    buf_adds(json, "{\"node\":");
    json_add_quoted(json, str_of(n->name));
    buf_adds(json, ",\"op\":");
    json_add_quoted(json, str_of(n->group ? n->group : n->op));
    if (n->func) {
        buf_adds(json, ",\"function\":");
        json_add_quoted(json, str_of(n->func));
    }
    if (n->gives) {
        buf_adds(json, ",\"gives\":");
        json_add_quoted(json, str_of(n->gives));
    }
    buf_adds(json, ",\"in\":[");
    add_labels(w, n, json);
    buf_adds(json, "]}");
}

static void
add_event(const struct rt_watch *w, const struct rt_watch_event *e, struct buf *json)
{
    buf_addf(json, "[%d,%d,%d,%d,[", e->step, e->turn, e->within, e->end);
    for (int i = 0; i < e->n_out; i++) {
        buf_adds(json, i ? "," : "");
        add_tensor(&w->made[e->first_out + i], json);
    }
    buf_adds(json, "],[");
    for (int i = 0; i < e->n_in; i++) {
        buf_adds(json, i ? ",[" : "[");
        add_in(&w->in[e->first_in + i], json);
        buf_addc(json, ']');
    }
    buf_adds(json, "]]");
}

void
rt_watch_json(struct rt_watch *w, const char *error, struct buf *json)
{
    buf_adds(json, "{\"steps\":[");
    for (int i = 0; i < w->n_steps; i++) {
        buf_adds(json, i ? "," : "");
        add_step(w, &w->steps[i].s->node, json);
    }
    buf_adds(json, "],\"held\":[");
    for (int i = 0; i < w->n_held; i++) {
        buf_adds(json, i ? ",{\"name\":" : "{\"name\":");
        json_add_quoted(json, str_of(w->held[i].name));
        buf_adds(json, ",\"key\":");
        json_add_quoted(json, str_of(w->held[i].key));
        buf_adds(json, ",\"value\":");
        add_tensor(&w->held[i].v, json);
        buf_addc(json, '}');
    }
    buf_adds(json, "],\"events\":[");
    for (int i = 0; i < w->n_events; i++) {
        buf_adds(json, i ? ",\n" : "");
        add_event(w, &w->events[i], json);
    }
    buf_adds(json, "],\"outputs\":[");
    for (int i = 0; i < w->n_outputs; i++) {
        buf_adds(json, i ? ",[" : "[");
        json_add_quoted(json, str_of(w->outputs[i].key));
        buf_addc(json, ',');
        add_in(&w->outputs[i].in, json);
        buf_addc(json, ']');
    }
    buf_addf(json, "],\"lost\":%d", w->n_lost);
    if (error) {
        buf_adds(json, ",\"error\":");
        json_add_quoted(json, str_of(error));
    }
    buf_addc(json, '}');
}
