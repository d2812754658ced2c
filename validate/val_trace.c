/* SPDX-License-Identifier: Apache-2.0 */
/* Names the first tensor at which two models, or two plans of one, part on a case.
 *
 * Both run in processes of their own, planned without the passes that make one step of
 * several nodes, and tell every tensor as a digest. Those that are not the same are
 * then fetched, BACKEND_WATCH_BYTES of them at a time and by running again, and
 * compared with the tolerance: so memory is bounded whatever the model is. What the
 * report says is told in val_trace_tell.c. */
#include "validate/val_trace.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WITHOUT_PASSES "none"

struct side {
    const char *dir, *passes;
    struct backend *b;
};
struct pair {
    const struct val_golden *g;
    int at; /* the case */
    struct side side[TR_SIDES];
};

static void
pair_close(struct pair *p)
{
    for (int i = 0; i < TR_SIDES; i++)
        if (p->side[i].b)
            runner_backend.close(p->side[i].b);
}

static void
trace_release(struct trace *t)
{
    for (int i = 0; i < TR_SIDES; i++) {
        tr_release(&t->run[i]);
        sm_tensor_list_release(&t->values[i]);
    }
}

/* ---- running --------------------------------------------------------------------- */

/* The case as it was judged: from the loaded state, in a sequence behind those before
 * it. */
static int
watch(const struct pair *p, int side, const struct backend_place *places, int n_places,
      struct sm_tensor_list *values, struct buf *json, struct err *err)
{
    const struct val_case *c = &p->g->cases[p->at];
    struct backend *b = p->side[side].b;
    struct sm_tensor_list in AUTO(sm_tensor_list_release) = { .n = 0 };
    const struct backend_signature *sig = NULL;

    if (runner_backend.reset(b, err) < 0)
        return -(int)err->code;
    for (int i = 0; p->g->sequential && i < p->at; i++) {
        struct sm_tensor_list out AUTO(sm_tensor_list_release) = { .n = 0 };
        struct err bad = ERR_INIT; /* it was judged before */

        if (val_run_case(p->g, i, &runner_backend, b, &out, &bad) < 0 &&
            val_is_ours(&bad))
            return err_set(err, bad.code, "%s", bad.msg);
    }
    if (runner_backend.signature(b, c->signature, &sig, err) < 0)
        return -(int)err->code;
    val_borrow(&in, &c->inputs);
    if (val_bind(&in, sig, err) < 0)
        return -(int)err->code;
    return runner_backend.watch(b, c->signature, &in, places, n_places, values, json,
                                err);
}

static int
see(const struct pair *p, int side, struct tr_run *out, struct err *err)
{
    struct sm_tensor_list none AUTO(sm_tensor_list_release) = { .n = 0 };
    struct buf json AUTO(buf_release) = BUF_INIT;

    if (watch(p, side, NULL, 0, &none, &json, err) < 0)
        return -(int)err->code;
    return tr_read(out, (struct str){ buf_str(&json), json.len }, err);
}

void
tr_place_name(const struct tr_place *p, int side, char out[TR_NAME_BYTES])
{
    snprintf(out, TR_NAME_BYTES, "%d:%d", p->event[side], p->at);
}

static int
compare_places(const void *a, const void *b)
{
    const struct backend_place *x = a, *y = b;

    return x->event != y->event ? (x->event > y->event) - (x->event < y->event)
                                : (x->at > y->at) - (x->at < y->at);
}

/* Runs both again and brings the values of some places. */
static int
fetch(const struct pair *p, const struct tr_place *v, int n,
      struct sm_tensor_list values[TR_SIDES], struct err *err)
{
    struct backend_place *places AUTO(free_ptr) =
        xcalloc((size_t)n + 1, sizeof(places[0]));

    for (int side = 0; side < TR_SIDES; side++) {
        struct buf json AUTO(buf_release) = BUF_INIT;

        for (int i = 0; i < n; i++)
            places[i] = (struct backend_place){ v[i].event[side], v[i].at };
        qsort(places, (size_t)n, sizeof(places[0]), compare_places);
        if (watch(p, side, places, n, &values[side], &json, err) < 0)
            return -(int)err->code;
    }
    return 0;
}

/* ---- comparing ------------------------------------------------------------------- */

static void
compare_values(struct trace *t, const struct tr_place *p,
               const struct sm_tensor_list values[TR_SIDES])
{
    struct tr_tensor *to = tr_out(&t->run[0], p->event[0], p->at);
    const struct sm_tensor *v[TR_SIDES];
    struct val_diff d;

    for (int side = 0; side < TR_SIDES; side++) {
        char name[TR_NAME_BYTES];

        tr_place_name(p, side, name);
        v[side] = sm_tensor_list_find(&values[side], name);
        if (!v[side])
            return;
    }
    val_compare("", v[0], v[1], val_is_discrete(to->dtype) ? VAL_EXACT : VAL_REL_MAX,
                t->limit, &d);
    if (d.is_alike || v[0]->rank != v[1]->rank) /* else a kind without comparison */
        to->state = d.ok ? TR_WITHIN : TR_PARTS;
}

/* Twins whose digests say all there is to know; 1: values must be looked at. */
static bool
compare_digests(const struct tr_tensor *y, struct tr_tensor *x)
{
    if (x->state == TR_OPAQUE || y->state == TR_OPAQUE)
        return false;
    if (x->dtype != y->dtype || !sm_shape_eq(&x->shape, &y->shape)) {
        x->state = TR_PARTS;
        return false;
    }
    x->state = x->digest == y->digest ? TR_SAME : TR_UNSEEN;
    return x->state == TR_UNSEEN;
}

/* The places whose values must be looked at, as they came to be. */
static struct tr_place *
open_places(struct trace *t, int *n)
{
    struct tr_run *a = &t->run[0], *b = &t->run[1];
    struct tr_place *v = xcalloc((size_t)a->n_tensors + 1, sizeof(v[0]));

    *n = 0;
    for (int i = 0; i < a->n_order; i++) {
        const int event = a->order[i], twin = a->events[event].twin;

        for (int at = 0;
             twin >= 0 && at < a->events[event].n_out && at < b->events[twin].n_out;
             at++)
            if (compare_digests(tr_out(b, twin, at), tr_out(a, event, at)))
                v[(*n)++] = (struct tr_place){ { event, twin }, at };
    }
    return v;
}

/* A window holds what fits; a tensor that does not fit alone is left unseen. */
static int
compare_all(const struct pair *p, struct trace *t, struct err *err)
{
    int n = 0;
    struct tr_place *v AUTO(free_ptr) = open_places(t, &n);

    for (int windows = 0, from = 0; from < n && windows < TR_WINDOWS_MAX; windows++) {
        struct sm_tensor_list values[TR_SIDES] = { { .n = 0 }, { .n = 0 } };
        size_t bytes = 0;
        int to = from, r;

        for (; to < n; to++) {
            bytes += tr_out(&t->run[0], v[to].event[0], v[to].at)->size_bytes;
            if (bytes > BACKEND_WATCH_BYTES && to > from)
                break;
        }
        r = fetch(p, &v[from], to - from, values, err);
        for (int i = from; r == 0 && i < to; i++)
            compare_values(t, &v[i], values);
        for (int side = 0; side < TR_SIDES; side++)
            sm_tensor_list_release(&values[side]);
        if (r < 0)
            return r;
        from = to;
    }
    return 0;
}

/* ---- what parts, and why --------------------------------------------------------- */

static bool
differs(const struct tr_tensor *t)
{
    return t->state == TR_WITHIN || t->state == TR_PARTS || t->state == TR_UNSEEN;
}

/* What depends on nothing that is fed was made of weights alone: that is why, not
 * where. */
static void
find_first(struct trace *t)
{
    const struct tr_run *a = &t->run[0];

    t->first = -1;
    for (int fed = 1; fed >= 0 && t->first < 0; fed--)
        for (int i = 0; i < a->n_order && t->first < 0; i++)
            for (int at = 0; at < a->events[a->order[i]].n_out && t->first < 0; at++)
                if (a->events[a->order[i]].fed == fed &&
                    tr_out(a, a->order[i], at)->state == TR_PARTS) {
                    t->first = a->order[i];
                    t->at = at;
                }
    t->begins = t->first;
    t->begins_at = t->at;
}

/* Up from what parts to where not a bit of what is fed on differs. */
static void
find_begin(struct trace *t)
{
    const struct tr_run *a = &t->run[0];
    bool up = t->first >= 0 && !t->plans;

    while (up) {
        up = false;
        for (int i = 0; i < a->events[t->begins].n_in && !up; i++) {
            const struct tr_in *in = tr_in_of(a, t->begins, i);

            up = in->from == TR_MADE && a->events[in->a].fed &&
                 differs(tr_out(a, in->a, in->b));
            if (up) {
                t->begins = in->a;
                t->begins_at = in->b;
            }
        }
    }
}

static void
add_cause(struct trace *t, int event, int twin, int i)
{
    const struct tr_in *in = tr_in_of(&t->run[0], event, i);

    for (int k = 0; k < t->n_causes; k++)
        if (tr_in_of(&t->run[0], t->causes[k].event[0], -1 - t->causes[k].at)->a ==
            in->a)
            return;
    if (t->n_causes == TR_CAUSES_MAX)
        t->n_causes_left_out++;
    else
        t->causes[t->n_causes++] = (struct tr_place){ { event, twin }, -1 - i };
}

static bool
is_same_held(const struct tr_tensor *a, const struct tr_tensor *b)
{
    return a->digest == b->digest && a->dtype == b->dtype &&
           sm_shape_eq(&a->shape, &b->shape);
}

/* Variables and constants that differ, behind whatever was made of them alone; or, of
 * `kind` TR_OBJECT, tables and the like, into which nobody looks. */
static void
find_causes(struct trace *t, enum tr_from kind, int event, int depth)
{
    enum { DEPTH_MAX = 64 };
    const struct tr_run *a = &t->run[0], *b = &t->run[1];
    const int twin = event < 0 ? -1 : a->events[event].twin;

    if (twin < 0 || depth > DEPTH_MAX)
        return;
    for (int i = 0; i < a->events[event].n_in && i < b->events[twin].n_in; i++) {
        const struct tr_in *x = tr_in_of(a, event, i), *y = tr_in_of(b, twin, i);

        if (x->from == TR_MADE && !a->events[x->a].fed &&
            differs(tr_out(a, x->a, x->b)))
            find_causes(t, kind, x->a, depth + 1);
        else if (x->from == kind && y->from == kind &&
                 (kind == TR_OBJECT ||
                  !is_same_held(&a->held[x->a].t, &b->held[y->a].t)))
            add_cause(t, event, twin, i);
    }
}

/* The values that are told. */
static int
fetch_told(const struct pair *p, struct trace *t, struct err *err)
{
    struct tr_place v[TR_CAUSES_MAX + 2];
    const struct tr_run *a = &t->run[0];
    int n = 0;

    if (t->first < 0)
        return 0;
    v[n++] = (struct tr_place){ { t->first, a->events[t->first].twin }, t->at };
    if (t->begins != t->first)
        v[n++] =
            (struct tr_place){ { t->begins, a->events[t->begins].twin }, t->begins_at };
    for (int i = 0; i < t->n_causes; i++)
        v[n++] = t->causes[i];
    return fetch(p, v, n, t->values, err);
}

/* ---- one trace ------------------------------------------------------------------- */

/* Which case: the first that failed; else one whose decision flipped beside the
 * baseline, or where it parts most from it. -1: none. */
static int
pick_case(const struct val_golden *g, const cJSON *report)
{
    const cJSON *beside = cJSON_GetObjectItemCaseSensitive(report, "baseline"), *o;
    const char *name = "";

    cJSON_ArrayForEach(o, cJSON_GetObjectItemCaseSensitive(report, "cases"))
    {
        if (!name[0] && strcmp(val_text(o, "verdict"), "failed") == 0)
            name = val_text(o, "name");
    }
    cJSON_ArrayForEach(o, cJSON_GetObjectItemCaseSensitive(beside, "outputs"))
    {
        if (!name[0])
            name = val_text(o, "flip_case");
        if (!name[0] && cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(o, "ok")))
            name = val_text(o, "case");
    }
    for (int i = 0; i < g->n_cases; i++)
        if (name[0] && strcmp(g->cases[i].name, name) == 0)
            return i;
    return -1;
}

/* The case's own for all outputs when it is of this kind. */
static double
limit_of(const struct val_case *c)
{
    for (int i = 0; i < c->n_tolerances; i++)
        if (!c->tolerances[i].output && c->tolerances[i].kind == VAL_REL_MAX)
            return c->tolerances[i].limit;
    return VAL_REL_MAX_DEFAULT;
}

static int
load(struct pair *p, const char *tags, struct err *err)
{
    static const char *const names[] = { "it", "the other side" };

    for (int i = 0; i < TR_SIDES; i++) {
        const struct backend_args args = { .model_dir = p->side[i].dir,
                                           .tags = tags,
                                           .passes = p->side[i].passes };

        if (runner_backend.load(&p->side[i].b, &args, err) < 0)
            return err_ctx(err, "load %s", names[i]);
    }
    return 0;
}

static int
run_trace(struct pair *p, struct trace *t, struct err *err)
{
    const char *signature = p->g->cases[p->at].signature;

    if (load(p, p->g->tags, err) < 0 ||
        runner_backend.signature(p->side[0].b, signature, &t->sig, err) < 0)
        return -(int)err->code;
    for (int i = 0; i < TR_SIDES; i++)
        if (see(p, i, &t->run[i], err) < 0)
            return -(int)err->code;
    tr_match(&t->run[0], &t->run[1]);
    if (compare_all(p, t, err) < 0)
        return -(int)err->code;
    find_first(t);
    find_begin(t);
    find_causes(t, TR_HELD, t->begins, 0);
    if (t->n_causes == 0 && !t->plans)
        find_causes(t, TR_OBJECT, t->begins, 0);
    return fetch_told(p, t, err);
}

/* What stands in the way is told in the note, unless it is the system. */
static int
trace_case(struct pair *p, bool plans, cJSON *o, struct err *err)
{
    struct trace t AUTO(trace_release) = { .first = -1, .plans = plans };
    struct err bad = ERR_INIT;

    t.limit = limit_of(&p->g->cases[p->at]);
    json_put_str(o, "case", p->g->cases[p->at].name);
    json_put_str(o, "tolerance", val_tol_name(VAL_REL_MAX));
    json_put_real(o, "limit", t.limit);
    json_put_int(o, "cap_bytes", (int64_t)BACKEND_WATCH_BYTES);
    if (run_trace(p, &t, &bad) == 0)
        tr_tell(&t, o);
    else if (val_is_ours(&bad))
        return err_set(err, bad.code, "%s", bad.msg);
    else
        json_put_str(o, "note", bad.msg);
    return 0;
}

int
val_trace_dir(const char *dir, const char *against_dir_or_null, const char *ref,
              const struct val_golden *g, const struct backend_ops *ops, cJSON *report,
              struct err *err)
{
    const bool plans = ref && strcmp(ref, VAL_TRACE_PASSES) == 0;
    const bool outputs_only = !ops->watch;
    struct pair p AUTO(pair_close) = { .g = g, .at = pick_case(g, report) };
    cJSON *o = cJSON_CreateObject();

    cJSON_AddItemToObject(report, "trace", o);
    if (p.at < 0) {
        json_put_str(o, "note",
                     json_has(report, "error")
                         ? "a model that does not load cannot be traced"
                         : "no case failed and no decision flipped");
        return 0;
    }
    if (!against_dir_or_null && !plans && !outputs_only) {
        json_put_str(o, "note",
                     ref ? "there is no such version to trace against"
                         : "expected answers say which output is wrong, not where it "
                           "begins: name a version that answers right with --baseline "
                           "or --trace-against (or --trace-against passes)");
        return 0;
    }
    p.side[0] = (struct side){ .dir = dir, .passes = WITHOUT_PASSES };
    p.side[1] = (struct side){ .dir = against_dir_or_null, .passes = WITHOUT_PASSES };
    if (!against_dir_or_null) {
        p.side[0].passes = NULL;
        p.side[1].dir = dir;
    }
    json_put_str(o, "how", against_dir_or_null ? "versions" : "passes");
    if (against_dir_or_null)
        json_put_str(o, "against", ref);
    if (outputs_only) {
        char *text AUTO(free_ptr) =
            xasprintf("of a backend by %s only outputs are seen; this is the embedded "
                      "runtime's run",
                      ops->name);

        json_put_str(o, "backend_note", text);
    }
    return trace_case(&p, !against_dir_or_null, o, err);
}
