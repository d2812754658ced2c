/* SPDX-License-Identifier: Apache-2.0 */
/* What a trace found, as "trace" of a report:
 *
 *   "case", "how": versions or passes, "against", "tolerance", "limit", "cap_bytes"
 *   "note", "backend_note"   why there is no more; of another backend
 *   "first": TENSOR          the first that parts
 *   "begins": TENSOR         the first that differs at all, when that is another
 *   "causes": [{…}]          weights, constants and objects that differ there: "kind",
 *                            "name", "key" of the checkpoint, "object": its type,
 *                            "node" that reads it, VALUES
 *   "causes_left_out", "before": tensors that agree before the first
 *   "behind": {"n", STATES}  of those made from it
 *   "outputs": [{"name", "state"}]
 *   "tensors": {"n", "by_place": found by structure, STATES}, "lost": not watched
 *   "nan": TENSOR            where NaN comes up: "n" "of" so many, "other": there
 *   "error", "error_at": TENSOR, "other_error"
 *
 *   TENSOR  "node", "op", "function", "within" (a loop or call), "iteration", "twin":
 *           the other side's node, of another name, "output", "state", VALUES, and
 *           "inputs": [{"name", "kind": input, tensor, weight, constant, object or
 *           unknown, "state"}]
 *   VALUES  "dtype", "shape", "other_dtype", "other_shape", "worst": |a-b|, "differ"
 *           "of" so many, "at", "got", "want"
 *   STATES  how many are "same", "within" the tolerance, "part", "alone" (no twin), or
 *           "unseen": not the same, too much to fetch */
#include "validate/val_trace.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const state_names[TR_N_STATES] = {
    [TR_ALONE] = "alone",   [TR_OPAQUE] = "opaque", [TR_SAME] = "same",
    [TR_WITHIN] = "within", [TR_PARTS] = "part",    [TR_UNSEEN] = "unseen",
};

static void
put_states(cJSON *o, const int n[TR_N_STATES])
{
    for (int s = 0; s < TR_N_STATES; s++)
        if (s != TR_OPAQUE)
            json_put_int(o, state_names[s], n[s]);
}

static void
put_shape(cJSON *o, const char *key, const struct sm_shape *s)
{
    cJSON *list = cJSON_AddArrayToObject(o, key);

    for (int i = 0; i < s->rank; i++)
        json_put_int(list, NULL, s->dims[i]);
}

static void
put_kind(cJSON *o, const struct tr_tensor *t, const struct tr_tensor *other)
{
    json_put_str(o, "dtype", sm_dtype_info(t->dtype)->tf_name);
    put_shape(o, "shape", &t->shape);
    if (other && other->dtype != t->dtype)
        json_put_str(o, "other_dtype", sm_dtype_info(other->dtype)->tf_name);
    if (other && !sm_shape_eq(&t->shape, &other->shape))
        put_shape(o, "other_shape", &other->shape);
}

/* How two values differ; those that were too large are not there. */
static void
put_values(const struct trace *t, const struct tr_place *p, bool counts, cJSON *o)
{
    const struct sm_tensor *v[TR_SIDES];
    struct val_diff d;

    for (int side = 0; side < TR_SIDES; side++) {
        char name[TR_NAME_BYTES];

        tr_place_name(p, side, name);
        v[side] = sm_tensor_list_find(&t->values[side], name);
        if (!v[side])
            return;
    }
    val_compare("", v[0], v[1], VAL_EXACT, 0, &d);
    if (!d.is_alike)
        return;
    if (counts || val_is_discrete(v[0]->dtype)) {
        json_put_int(o, "differ", (int64_t)d.worst);
        json_put_int(o, "of", v[0]->n_elems);
    }
    if (!val_is_discrete(v[0]->dtype)) {
        val_compare("", v[0], v[1], VAL_ABS, 0, &d);
        json_put_real(o, "worst", d.worst);
    }
    val_put_place(o, v[0], v[1], d.worst_at);
}

/* ---- where ----------------------------------------------------------------------- */

static bool
is_in_turns(const struct tr_run *r, int event)
{
    for (int i = 0; i < r->n_events; i++)
        if (r->events[i].step == r->events[event].step && r->events[i].turn > 0)
            return true;
    return false;
}

static cJSON *
where(const struct tr_run *r, int event)
{
    const struct tr_step *s = tr_step_of(r, event);
    const struct tr_event *e = &r->events[event];
    cJSON *o = cJSON_CreateObject();

    json_put_str(o, "node", s->gives && s->gives[0] ? s->gives : s->node);
    json_put_str(o, "op", s->op);
    if (s->function[0])
        json_put_str(o, "function", s->function);
    if (e->within >= 0)
        json_put_str(o, "within", tr_step_of(r, e->within)->node);
    if (is_in_turns(r, event))
        json_put_int(o, "iteration", e->turn + 1);
    return o;
}

/* ---- what it was made of --------------------------------------------------------- */

static const char *
held_name(const struct tr_held *h, const char *label)
{
    return h->name[0] ? h->name : h->key[0] ? h->key : label;
}

static const char *
label_of(const struct tr_run *r, int event, int i)
{
    const char *s =
        cJSON_GetStringValue(cJSON_GetArrayItem(tr_step_of(r, event)->labels, i));

    return s ? s : "";
}

static const char *
held_kind(const struct tr_held *h)
{
    return h->name[0] || h->key[0] ? "weight" : "constant";
}

static cJSON *
input_json(const struct trace *t, int event, int i)
{
    const struct tr_run *r = &t->run[0], *b = &t->run[1];
    const struct tr_in *in = tr_in_of(r, event, i), *first;
    const int twin = r->events[event].twin;
    const char *kind = "unknown", *name = label_of(r, event, i), *state = NULL;
    cJSON *o = cJSON_CreateObject();

    switch (in->from) {
    case TR_FEED:
        kind = "input";
        name = in->a < t->sig->n_inputs ? t->sig->inputs[in->a].key : name;
        state = state_names[TR_SAME];
        break;
    case TR_MADE:
        kind = "tensor";
        name = tr_step_of(r, in->a)->node;
        state = state_names[tr_out(r, in->a, in->b)->state];
        first = r->events[in->a].n_in == 1 ? tr_in_of(r, in->a, 0) : NULL;
        if (first && first->from == TR_HELD && r->held[first->a].name[0]) {
            kind = "weight"; /* a read of it */
            name = held_name(&r->held[first->a], name);
        }
        break;
    case TR_HELD:
        kind = held_kind(&r->held[in->a]);
        name = held_name(&r->held[in->a], name);
        if (twin >= 0 && i < b->events[twin].n_in &&
            tr_in_of(b, twin, i)->from == TR_HELD)
            state = state_names[b->held[tr_in_of(b, twin, i)->a].t.digest ==
                                        r->held[in->a].t.digest
                                    ? TR_SAME
                                    : TR_PARTS];
        break;
    case TR_OBJECT:
        kind = "object";
        name = name[0] ? name : r->held[in->a].name;
        json_put_str(o, "object", r->held[in->a].name);
        break;
    default:
        break;
    }
    json_put_str(o, "kind", kind);
    json_put_str(o, "name", name);
    if (state)
        json_put_str(o, "state", state);
    return o;
}

static cJSON *
tensor_json(const struct trace *t, int event, int at)
{
    const struct tr_run *r = &t->run[0], *b = &t->run[1];
    const int twin = r->events[event].twin;
    const struct tr_place p = { { event, twin }, at };
    cJSON *o = where(r, event), *list;

    if (twin >= 0 &&
        strcmp(tr_step_of(r, event)->node, tr_step_of(b, twin)->node) != 0 &&
        !tr_step_of(r, event)->gives)
        json_put_str(o, "twin", tr_step_of(b, twin)->node);
    json_put_int(o, "output", at);
    json_put_str(o, "state", state_names[tr_out(r, event, at)->state]);
    put_kind(o, tr_out(r, event, at), twin >= 0 ? tr_out(b, twin, at) : NULL);
    put_values(t, &p, false, o);
    list = cJSON_AddArrayToObject(o, "inputs");
    for (int i = 0; i < r->events[event].n_in; i++)
        cJSON_AddItemToArray(list, input_json(t, event, i));
    return o;
}

static void
put_causes(const struct trace *t, cJSON *o)
{
    cJSON *list;

    if (t->n_causes == 0)
        return;
    list = cJSON_AddArrayToObject(o, "causes");
    for (int i = 0; i < t->n_causes; i++) {
        const struct tr_place *p = &t->causes[i];
        const struct tr_in *x = tr_in_of(&t->run[0], p->event[0], -1 - p->at),
                           *y = tr_in_of(&t->run[1], p->event[1], -1 - p->at);
        const struct tr_held *h = &t->run[0].held[x->a];
        const char *label = label_of(&t->run[0], p->event[0], -1 - p->at);
        const bool is_object = x->from == TR_OBJECT;
        cJSON *one = cJSON_CreateObject();

        json_put_str(one, "kind", is_object ? "object" : held_kind(h));
        json_put_str(one, "name", is_object && label[0] ? label : held_name(h, label));
        if (is_object)
            json_put_str(one, "object", h->name);
        if (h->key[0])
            json_put_str(one, "key", h->key);
        json_put_str(one, "node", tr_step_of(&t->run[0], p->event[0])->node);
        if (!is_object) {
            put_kind(one, &h->t, &t->run[1].held[y->a].t);
            put_values(t, p, true, one);
        }
        cJSON_AddItemToArray(list, one);
    }
    if (t->n_causes_left_out > 0)
        json_put_int(o, "causes_left_out", t->n_causes_left_out);
}

/* ---- how far --------------------------------------------------------------------- */

static void
put_behind(const struct trace *t, cJSON *o)
{
    const struct tr_run *r = &t->run[0];
    bool *is_behind AUTO(free_ptr) =
        xcalloc((size_t)r->n_events + 1, sizeof(is_behind[0]));
    int n[TR_N_STATES] = { 0 }, n_all = 0;
    cJSON *behind = cJSON_CreateObject();

    /* As they end: a loop or call does so behind what lies within it. */
    is_behind[t->first] = true;
    for (int k = r->events[t->first].end; k < r->n_order; k++) {
        const int i = r->order[k];

        for (int j = 0; j < r->events[i].n_in; j++) {
            const struct tr_in *in = tr_in_of(r, i, j);

            is_behind[i] |= in->from == TR_MADE && is_behind[in->a];
        }
        if (is_behind[i] && r->events[i].within >= 0)
            is_behind[r->events[i].within] = true;
        for (int at = 0; is_behind[i] && i != t->first && at < r->events[i].n_out;
             at++) {
            n[tr_out(r, i, at)->state]++;
            n_all += tr_out(r, i, at)->state != TR_OPAQUE;
        }
    }
    json_put_int(behind, "n", n_all);
    put_states(behind, n);
    cJSON_AddItemToObject(o, "behind", behind);
}

static void
put_before(const struct trace *t, cJSON *o)
{
    const struct tr_run *r = &t->run[0];
    int n = 0;

    for (int i = 0; i < r->n_order && r->order[i] != t->first; i++)
        for (int at = 0; at < r->events[r->order[i]].n_out; at++) {
            const enum tr_state s = tr_out(r, r->order[i], at)->state;

            n += s == TR_SAME || s == TR_WITHIN;
        }
    json_put_int(o, "before", n);
}

static void
put_outputs(const struct trace *t, cJSON *o)
{
    const struct tr_run *r = &t->run[0];
    cJSON *list = cJSON_AddArrayToObject(o, "outputs");

    for (int i = 0; i < r->n_outputs; i++) {
        const struct tr_in *in = &r->outputs[i].in;
        cJSON *one = cJSON_CreateObject();

        json_put_str(one, "name", r->outputs[i].key);
        if (in->from == TR_MADE)
            json_put_str(one, "state", state_names[tr_out(r, in->a, in->b)->state]);
        cJSON_AddItemToArray(list, one);
    }
}

static void
put_tensors(const struct trace *t, cJSON *o)
{
    const struct tr_run *r = &t->run[0];
    int n[TR_N_STATES] = { 0 }, n_all = 0, n_by_place = 0;
    cJSON *all = cJSON_CreateObject();

    for (int i = 0; i < r->n_events; i++)
        for (int at = 0; at < r->events[i].n_out; at++) {
            const enum tr_state s = tr_out(r, i, at)->state;

            n[s]++;
            n_all += s != TR_OPAQUE;
            n_by_place += s != TR_OPAQUE && s != TR_ALONE && r->events[i].by_place;
        }
    json_put_int(all, "n", n_all);
    json_put_int(all, "by_place", n_by_place);
    put_states(all, n);
    cJSON_AddItemToObject(o, "tensors", all);
    if (r->n_lost + t->run[1].n_lost > 0)
        json_put_int(o, "lost", r->n_lost + t->run[1].n_lost);
}

/* ---- NaN and errors -------------------------------------------------------------- */

/* The first tensor with more NaN than its twin has. */
static void
put_nan(const struct trace *t, cJSON *o)
{
    const struct tr_run *r = &t->run[0], *b = &t->run[1];

    for (int i = 0; i < r->n_order; i++)
        for (int at = 0; at < r->events[r->order[i]].n_out; at++) {
            const int event = r->order[i], twin = r->events[event].twin;
            const struct tr_tensor *x = tr_out(r, event, at);
            const struct tr_tensor *y =
                twin >= 0 && at < b->events[twin].n_out ? tr_out(b, twin, at) : NULL;
            cJSON *nan;

            if (x->n_nan == 0 || (y && y->n_nan >= x->n_nan))
                continue;
            nan = where(r, event);
            json_put_int(nan, "output", at);
            put_kind(nan, x, NULL);
            json_put_int(nan, "n", x->n_nan);
            json_put_int(nan, "of", x->n_elems);
            if (y)
                json_put_int(nan, "other", y->n_nan);
            cJSON_AddItemToObject(o, "nan", nan);
            return;
        }
}

static void
put_error(const struct trace *t, cJSON *o)
{
    const struct tr_run *r = &t->run[0];
    int at = -1;

    if (t->run[1].error)
        json_put_str(o, "other_error", t->run[1].error);
    if (!r->error)
        return;
    json_put_str(o, "error", r->error);
    for (int i = 0; i < r->n_events; i++)
        if (r->events[i].end < 0)
            at = i; /* the innermost is the youngest */
    if (at >= 0)
        cJSON_AddItemToObject(o, "error_at", where(r, at));
}

void
tr_tell(const struct trace *t, cJSON *o)
{
    put_tensors(t, o);
    put_outputs(t, o);
    put_error(t, o);
    put_nan(t, o);
    if (t->first < 0) {
        json_put_str(o, "note",
                     t->run[0].error ? "up to its error no tensor parts"
                                     : "no tensor that both have parts");
        return;
    }
    cJSON_AddItemToObject(o, "first", tensor_json(t, t->first, t->at));
    if (t->begins != t->first)
        cJSON_AddItemToObject(o, "begins", tensor_json(t, t->begins, t->begins_at));
    put_causes(t, o);
    put_before(t, o);
    put_behind(t, o);
}
