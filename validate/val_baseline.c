/* SPDX-License-Identifier: Apache-2.0 */
/* The inputs of a set through a version and a baseline, side by side: which decisions
 * flip, and how scores shift. Both see the same cases in the same order.
 *
 * Added to a report:
 *   "baseline": {"ref", "number", "digest", "ok", "why", "unanswered", "cases",
 * "outputs": [{"name", "ok", "why", "case", "at", "got", "want" (the largest error),
 * "flip_case" (the first in which a decision flips), "errors", "decisions"
 * (val_spread.h)}], "max_flips", "max_shift"} */
#include "validate/val_export_int.h"
#include "validate/val_spread.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct side_output {
    char *name;
    struct val_errors errors;
    struct val_flips flips;
    bool decides;
    const char *flip_case; /* the first in which a decision flipped; NULL: none */
    double worst;          /* |a - b| of the element that "at" names */
    cJSON *place;          /* "case", "at", "got", "want" */
    char *why;             /* cannot be set side by side; NULL: it can */
};
struct sides {
    struct side_output *v;
    int n;
    int n_cases;
    const struct val_beside *limits;
    char *failed; /* one of both did not answer; NULL: all was compared */
    bool unsupported;
};

static void
sides_release(struct sides *s)
{
    for (int i = 0; i < s->n; i++) {
        free(s->v[i].name);
        free(s->v[i].why);
        val_flips_release(&s->v[i].flips);
        cJSON_Delete(s->v[i].place);
    }
    free(s->v);
    free(s->failed);
}

static struct side_output *
find_output(struct sides *s, const char *name)
{
    for (int i = 0; i < s->n; i++)
        if (strcmp(s->v[i].name, name) == 0)
            return &s->v[i];
    s->v = xreallocarray(s->v, (size_t)s->n + 1, sizeof(s->v[0]));
    s->v[s->n] = (struct side_output){ .name = xstrdup(name), .worst = -1 };
    return &s->v[s->n++];
}

static void
compare_output(struct sides *s, const char *case_name, const char *name,
               const struct sm_tensor *got, const struct sm_tensor *base)
{
    struct side_output *o = find_output(s, name);
    struct val_diff d;

    if (o->why)
        return;
    if (!got || !base) {
        o->why = xasprintf("%s has no such output", got ? "the baseline" : "it");
        return;
    }
    val_compare(name, got, base, val_is_discrete(base->dtype) ? VAL_EXACT : VAL_ABS, 0,
                &d);
    if (!d.is_alike) {
        o->why = xasprintf("case '%s': %s", case_name, d.why);
        return;
    }
    if (!val_is_discrete(base->dtype)) /* the mean of class numbers says nothing */
        val_errors_add(&o->errors, got, base);
    o->decides |= val_flips_add(&o->flips, base, got);
    if (!o->flip_case && o->flips.n_flipped > 0)
        o->flip_case = case_name;
    if (d.ok || d.worst <= o->worst)
        return;
    o->worst = d.worst;
    cJSON_Delete(o->place);
    o->place = cJSON_CreateObject();
    json_put_str(o->place, "case", case_name);
    val_put_place(o->place, got, base, d.worst_at);
}

static void
compare_case(struct sides *s, const char *case_name, const struct sm_tensor_list *got,
             const struct sm_tensor_list *base)
{
    for (int i = 0; i < base->n; i++)
        compare_output(s, case_name, base->v[i].name,
                       sm_tensor_list_find(got, base->v[i].name), &base->v[i].t);
    for (int i = 0; i < got->n; i++)
        if (!sm_tensor_list_find(base, got->v[i].name))
            compare_output(s, case_name, got->v[i].name, &got->v[i].t, NULL);
    s->n_cases++;
}

/* ---- running both --------------------------------------------------------------- */

struct pair {
    const struct backend_ops *ops;
    struct backend *b[2]; /* the version, the baseline */
};
static const char *const side_names[] = { "it", "the baseline" };

static void
pair_close(struct pair *p)
{
    for (int i = 0; i < 2; i++)
        if (p->b[i])
            p->ops->close(p->b[i]);
}

/* What a model does wrong is said; what keeps us from looking is an error. */
static int
settle(struct sides *s, const char *what, const struct err *bad, int side,
       struct err *err)
{
    if (val_is_ours(bad))
        return err_set(err, bad->code, "%s", bad->msg);
    s->unsupported |= bad->code == ERR_UNSUPPORTED;
    if (!s->failed)
        s->failed = xasprintf("%s%s%s: %s", what, what[0] ? ": " : "", side_names[side],
                              bad->msg);
    return 0;
}

static int
run_both(const struct val_golden *g, struct pair *p, struct sides *s, struct err *err)
{
    for (int i = 0; i < g->n_cases; i++) {
        struct sm_tensor_list got AUTO(sm_tensor_list_release) = { .n = 0 };
        struct sm_tensor_list base AUTO(sm_tensor_list_release) = { .n = 0 };
        struct sm_tensor_list *out[] = { &got, &base };
        int side, r = 0;

        for (side = 0; side < 2; side++) {
            struct err bad = ERR_INIT;

            if (val_run_case(g, i, p->ops, p->b[side], out[side], &bad) < 0) {
                r = settle(s, g->cases[i].name, &bad, side, err);
                break;
            }
        }
        if (r < 0)
            return r;
        if (side == 2)
            compare_case(s, g->cases[i].name, &got, &base);
    }
    return 0;
}

static int
run_sides(const char *const dirs[2], const struct val_golden *g,
          const struct backend_ops *ops, struct sides *s, struct err *err)
{
    struct pair p AUTO(pair_close) = { .ops = ops };

    for (int i = 0; i < 2; i++) {
        struct err bad = ERR_INIT;

        if (val_load(g, ops, dirs[i], &p.b[i], &bad) < 0)
            return settle(s, "", &bad, i, err);
    }
    return run_both(g, &p, s, err);
}

/* ---- limits --------------------------------------------------------------------- */

static void
check_limits(const struct side_output *o, const struct val_beside *l, struct buf *why)
{
    const struct val_errors *e = &o->errors;
    const double n = (double)(e->n > e->n_apart ? e->n - e->n_apart : 1);
    const double share =
        (double)o->flips.n_flipped / (double)(o->flips.n + !o->flips.n);

    if (o->why) {
        buf_adds(why, o->why);
    } else if (o->decides && share > l->max_flips) {
        buf_addf(why, "%lld of %lld decisions flipped, %.3g %% > %.3g %%",
                 (long long)o->flips.n_flipped, (long long)o->flips.n, 100 * share,
                 100 * l->max_flips);
    } else if (!isnan(l->max_shift) && e->n_apart > 0) {
        buf_addf(why, "%lld values are NaN or infinite on one side only",
                 (long long)e->n_apart);
    } else if (fabs(e->shift / n) > l->max_shift) {
        buf_addf(why, "the mean moved by %.3g, more than %.3g", e->shift / n,
                 l->max_shift);
    }
}

static cJSON *
sides_json(const struct sides *s, const struct val_beside *l, struct buf *why)
{
    cJSON *o = cJSON_CreateObject(), *list;

    json_put_int(o, "cases", s->n_cases);
    if (!isnan(l->max_flips))
        json_put_real(o, "max_flips", l->max_flips);
    if (!isnan(l->max_shift))
        json_put_real(o, "max_shift", l->max_shift);
    list = cJSON_AddArrayToObject(o, "outputs");
    if (s->failed) {
        json_put_str(o, "unanswered", s->failed);
        buf_adds(why, s->failed);
    }
    for (int i = 0; i < s->n; i++) {
        const struct side_output *out = &s->v[i];
        struct buf bad AUTO(buf_release) = BUF_INIT;
        cJSON *one =
            out->place ? cJSON_Duplicate(out->place, true) : cJSON_CreateObject();

        check_limits(out, l, &bad);
        json_put_str(one, "name", out->name);
        if (out->flip_case)
            json_put_str(one, "flip_case", out->flip_case);
        json_put_bool(one, "ok", bad.len == 0);
        if (bad.len)
            json_put_str(one, "why", buf_str(&bad));
        if (out->errors.n > 0)
            cJSON_AddItemToObject(one, "errors", val_errors_json(&out->errors));
        if (out->decides)
            cJSON_AddItemToObject(one, "decisions", val_flips_json(&out->flips));
        cJSON_AddItemToArray(list, one);
        if (bad.len && !why->len)
            buf_addf(why, "%s: %s", out->name, buf_str(&bad));
    }
    json_put_bool(o, "ok", why->len == 0);
    if (why->len)
        json_put_str(o, "why", buf_str(why));
    return o;
}

int
val_beside_dir(const char *dir, const char *baseline_dir, const struct val_golden *g,
               const struct backend_ops *ops, const struct val_beside *limits,
               enum val_outcome *out, cJSON **report, struct err *err)
{
    const char *const dirs[] = { dir, baseline_dir };
    struct sides s AUTO(sides_release) = { .n = 0 };
    struct buf why AUTO(buf_release) = BUF_INIT;

    *report = NULL;
    if (run_sides(dirs, g, ops, &s, err) < 0)
        return -(int)err->code;
    *report = sides_json(&s, limits, &why);
    *out = why.len == 0 ? VAL_PASSED : s.unsupported ? VAL_UNSUPPORTED : VAL_FAILED;
    return 0;
}

/* ---- in a report ---------------------------------------------------------------- */

static void
check_output(cJSON *report, const char *ref, const cJSON *o, const struct val_beside *l)
{
    const cJSON *decisions = cJSON_GetObjectItemCaseSensitive(o, "decisions");
    const cJSON *errors = cJSON_GetObjectItemCaseSensitive(o, "errors");
    struct buf wanted AUTO(buf_release) = BUF_INIT, saw AUTO(buf_release) = BUF_INIT;
    char *id AUTO(free_ptr) = xasprintf("beside %s: %s", ref, val_text(o, "name"));

    if (!isnan(l->max_flips))
        buf_addf(&wanted, "at most %g %% flipped", 100 * l->max_flips);
    if (!isnan(l->max_shift))
        buf_addf(&wanted, "%smean moved by at most %g", wanted.len ? ", " : "",
                 l->max_shift);
    if (json_has(o, "why"))
        buf_adds(&saw, val_text(o, "why"));
    else if (decisions)
        buf_addf(&saw, "%g of %g flipped", val_number(decisions, "flipped"),
                 val_number(decisions, "n"));
    if (!json_has(o, "why") && errors)
        buf_addf(&saw, "%smean moved by %.3g", saw.len ? ", " : "",
                 val_number(errors, "shift"));
    val_check_add(report, id, wanted.len ? buf_str(&wanted) : "the same form",
                  saw.len ? buf_str(&saw) : "the same form", val_export_ok(o));
}

void
val_beside_put(cJSON *report, cJSON *beside, const char *ref,
               const struct repo_version *base, const struct val_beside *limits,
               enum val_outcome seen, enum val_outcome *outcome)
{
    char *id AUTO(free_ptr) = xasprintf("beside %s", ref);
    const bool base_seen = beside != NULL;
    const char *unanswered;
    const cJSON *o;

    if (!beside) {
        beside = cJSON_CreateObject();
        seen = limits->optional ? VAL_PASSED : VAL_FAILED;
        json_put_bool(beside, "ok", limits->optional);
        json_put_str(beside, limits->optional ? "note" : "why",
                     "there is no such baseline");
    }
    json_put_str(beside, "ref", ref);
    if (base)
        val_put_version(beside, base);
    if (limits->optional)
        json_put_bool(beside, "optional", true);
    cJSON_AddItemToObject(report, "baseline", beside);
    unanswered = !base_seen ? val_text(beside, limits->optional ? "note" : "why")
                            : val_text(beside, "unanswered");
    val_check_add(report, id, "an answer of both to each case",
                  *unanswered ? unanswered : "both answered",
                  *unanswered == '\0' || (!base_seen && limits->optional));
    cJSON_ArrayForEach(o, cJSON_GetObjectItemCaseSensitive(beside, "outputs"))
        check_output(report, ref, o, limits);
    *outcome = val_outcome_worse(*outcome, seen);
    if (seen != VAL_PASSED) {
        char *line AUTO(free_ptr) =
            xasprintf("beside %s: %s", ref, val_text(beside, "why"));

        val_report_problem(report, line);
    }
}
