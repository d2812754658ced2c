/* SPDX-License-Identifier: Apache-2.0 */
/* validate */
#include "service/svc_int.h"

#include "base/clock.h"
#include "base/fs.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sets {
    struct val_set *v;
    int n;
};

static int
collect_set(void *arg, const struct val_set *s, struct err *err)
{
    (void)err;
    struct sets *sets = arg;
    sets->v = xreallocarray(sets->v, (size_t)sets->n + 1, sizeof *sets->v);
    sets->v[sets->n++] = *s;
    return 0;
}

static void
sets_release(struct sets *s)
{
    free(s->v);
    *s = (struct sets){ 0 };
}

static cJSON *
verdict_json(const char *set, bool acceptance, enum val_outcome outcome, cJSON *report)
{
    cJSON *o = cJSON_CreateObject();
    json_put_str(o, "set", set);
    json_put_str(o, "kind", acceptance ? "acceptance" : "export");
    json_put_str(o, "verdict", val_outcome_text(outcome));
    if (report)
        cJSON_AddItemToObject(o, "report", report);
    return o;
}

/* The worst of all sets is the answer: failed before unsupported before passed. */
static int
answer(struct svc_call *c, int n_failed, int n_unsupported, int n_unsure,
       const char *what, struct err *err)
{
    const char *text = val_outcome_text(n_failed        ? VAL_FAILED
                                        : n_unsupported ? VAL_UNSUPPORTED
                                        : n_unsure      ? VAL_INCONCLUSIVE
                                                        : VAL_PASSED);
    json_put_str(c->reply, "verdict", text);
    json_put_str(c->body, "verdict", text);
    if (n_failed)
        return err_set(err, ERR_FAILED, "%s: %d golden set%s failed", what, n_failed,
                       n_failed == 1 ? "" : "s");
    if (n_unsupported)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: the runtime cannot run this model; that is no pass", what);
    if (n_unsure)
        return err_set(err, ERR_FAILED,
                       "%s: a budget lies inside the noise of this machine: ask again "
                       "when it is quiet, or give more room",
                       what);
    return 0;
}

/* ---- beside a baseline ---- */

static int
limit(const struct svc_call *c, const char *field, double most, double *out,
      struct err *err)
{
    const char *text = svc_str(c, field);
    char *end = NULL;

    *out = text ? strtod(text, &end) : NAN;
    if (text && (end == text || *end || !(*out >= 0 && *out <= most)))
        return err_set(err, ERR_USAGE, "--max-%s: '%s' is no number %s",
                       field + strlen("max_"), text,
                       most <= 1 ? "from 0 to 1" : "of 0 or more");
    return 0;
}

static int
limits(const struct svc_call *c, struct val_beside *out, struct err *err)
{
    *out = (struct val_beside){ .optional = svc_flag(c, "baseline_optional") };
    if (limit(c, "max_flips", 1, &out->max_flips, err) < 0 ||
        limit(c, "max_shift", DBL_MAX, &out->max_shift, err) < 0)
        return -(int)err->code;
    if (svc_str(c, "baseline") && svc_str(c, "backend") &&
        strncmp(svc_str(c, "backend"), "http", 4) == 0)
        return err_set(err, ERR_USAGE,
                       "--baseline with --backend http: one server would answer for "
                       "both; take native or exec:CMD");
    if (!svc_str(c, "baseline") &&
        (!isnan(out->max_flips) || !isnan(out->max_shift) || out->optional))
        return err_set(err, ERR_USAGE,
                       "--max-flips, --max-shift and --baseline-optional need "
                       "--baseline");
    return 0;
}

/* 1 the version, 0 there is none. Of another model it is refused: the caller may read
 * this one. */
static int
baseline(struct svc_call *c, const char *field, const struct repo_version *v,
         struct repo_version *out, struct err *err)
{
    if (repo_resolve(c->repo, svc_str(c, field), out, err) < 0) {
        if (err->code != ERR_NOTFOUND)
            return -(int)err->code;
        err_clear(err);
        return 0;
    }
    if (out->model_id != v->model_id)
        return err_set(err, ERR_INVALID, "%s: %s is of another model than %s",
                       strcmp(field, "baseline") == 0 ? "--baseline"
                                                      : "--trace-against",
                       svc_str(c, field), c->object);
    return 1;
}

/* ---- trace ---- */

/* The field that names what to trace against; NULL: no trace is asked for. */
static const char *
traces(const struct svc_call *c)
{
    if (svc_str(c, "trace_against"))
        return "trace_against";
    return svc_flag(c, "trace") ? "baseline" : NULL;
}

static int
trace_dir(struct svc_call *c, const struct val_golden *g, const struct backend_ops *ops,
          cJSON *report, struct err *err)
{
    const char *ref = traces(c) ? svc_str(c, traces(c)) : NULL;

    if (!traces(c))
        return 0;
    return val_trace_dir(svc_str(c, "dir"),
                         ref && strcmp(ref, VAL_TRACE_PASSES) == 0 ? NULL : ref, ref, g,
                         ops, report, err);
}

/* *other is used when the field names a version. */
static int
ask_trace(struct svc_call *c, const struct repo_version *v, struct repo_version *other,
          struct val_ask *ask, struct err *err)
{
    int has_other = 0;

    ask->trace = traces(c) != NULL;
    ask->trace_ref = ask->trace ? svc_str(c, traces(c)) : NULL;
    if (ask->trace_ref && strcmp(ask->trace_ref, VAL_TRACE_PASSES) != 0)
        has_other = baseline(c, traces(c), v, other, err);
    ask->trace_against = has_other > 0 ? other : NULL;
    return has_other < 0 ? has_other : 0;
}

static int
add_size(void *arg, const struct fs_entry *e, struct err *err)
{
    (void)err;
    if (S_ISREG(e->st.st_mode))
        *(double *)arg += (double)e->st.st_size / 1e6;
    return 0;
}

/* The set's budgets and those asked for; beside the baseline's directory, if any. */
static int
budgets_dir(struct svc_call *c, struct val_sides *sides, const struct val_golden *g,
            const struct backend_ops *ops, enum val_outcome *outcome, cJSON *report,
            struct err *err)
{
    const cJSON *asked = cJSON_GetObjectItemCaseSensitive(c->req, "budget"), *one;
    const cJSON *lists[] = { g->budgets, asked };
    cJSON *all AUTO(json_free) = cJSON_CreateArray();
    for (int i = 0; i < 2; i++)
        cJSON_ArrayForEach(one, lists[i])
            cJSON_AddItemToArray(all, cJSON_Duplicate(one, true));
    if (!all->child)
        return 0;
    if (asked)
        cJSON_AddItemToObject(report, "budgets", cJSON_Duplicate(asked, true));
    if (fs_walk(AT_FDCWD, sides->dir, add_size, &sides->size_mb, err) < 0 ||
        (sides->baseline_dir && fs_walk(AT_FDCWD, sides->baseline_dir, add_size,
                                        &sides->baseline_size_mb, err) < 0))
        return -(int)err->code;
    return val_budgets_judge(all, sides, g, ops, report, outcome, err);
}

/* As judging a version does, without a store. */
static int
judge_dir(struct svc_call *c, const char *dir, const struct val_golden *g,
          const struct backend_ops *ops, enum val_outcome *outcome, cJSON **report,
          struct err *err)
{
    const char *base = svc_str(c, "baseline");
    struct val_sides sides = { .dir = dir, .baseline_dir = base };
    enum val_outcome seen = VAL_FAILED;
    struct val_beside l;
    cJSON *beside = NULL;
    if (limits(c, &l, err) < 0 ||
        val_judge_dir(dir, g, ops, outcome, report, err) < 0 ||
        budgets_dir(c, &sides, g, ops, outcome, *report, err) < 0 ||
        (base && val_beside_dir(dir, base, g, ops, &l, &seen, &beside, err) < 0))
        return -(int)err->code;
    if (base)
        val_beside_put(*report, beside, base, NULL, &l, seen, outcome);
    if (trace_dir(c, g, ops, *report, err) < 0)
        return -(int)err->code;
    val_document(*report, *outcome, NULL, NULL, NULL, clock_now_ns());
    return 0;
}

static int
validate_dir(struct svc_call *c, struct err *err)
{
    const char *dir = svc_str(c, "dir"), *golden = svc_str(c, "golden");
    if (!dir || !golden)
        return err_set(err, ERR_USAGE,
                       "validate needs a version, or --dir DIR with --golden FILE");
    if (val_budgets_check(cJSON_GetObjectItemCaseSensitive(c->req, "budget"), err) < 0)
        return -(int)err->code;
    struct val_golden g = { 0 };
    struct backend_ops ops;
    enum val_outcome outcome;
    cJSON *report = NULL;
    if (val_backend(svc_str(c, "backend"), &ops, err) < 0 ||
        val_golden_load(&g, golden, err) < 0)
        return -(int)err->code;
    bool acceptance = g.acceptance;
    int r = judge_dir(c, dir, &g, &ops, &outcome, &report, err);
    val_golden_release(&g);
    if (r < 0) {
        json_free(&report);
        return r;
    }
    cJSON_AddItemToArray(cJSON_AddArrayToObject(c->reply, "verdicts"),
                         verdict_json(golden, acceptance, outcome, report));
    return answer(c, outcome == VAL_FAILED, outcome == VAL_UNSUPPORTED,
                  outcome == VAL_INCONCLUSIVE, dir, err);
}

int
svc_do_validate(struct svc_call *c, struct err *err)
{
    if (!svc_str(c, "ref"))
        return validate_dir(c, err);
    if (svc_str(c, "dir") || svc_str(c, "golden"))
        return err_set(err, ERR_USAGE,
                       "validate takes either a version or --dir and --golden");
    const cJSON *budgets = cJSON_GetObjectItemCaseSensitive(c->req, "budget");
    if (val_budgets_check(budgets, err) < 0)
        return -(int)err->code;
    struct repo_version v;
    struct sets sets AUTO(sets_release) = { 0 };
    if (svc_version(c, &v, err) < 0 ||
        val_sets(c->repo, v.model, v.id, collect_set, &sets, err) < 0)
        return -(int)err->code;
    struct backend_ops ops;
    if (val_backend(svc_str(c, "backend"), &ops, err) < 0)
        return -(int)err->code;
    /* A program of one's own says whatever one likes, and the gate counts its verdict.
     */
    if (ops.where && acc_check(c->repo->acc, ACC_JUDGE, v.model, err) < 0)
        return err_ctx(err, "a stored verdict by --backend %s", ops.name);
    if (sets.n == 0)
        return err_set(
            err, ERR_NOTFOUND,
            "%s has no golden set to be judged by: push it with --golden DIR, or "
            "sluice golden add %s DIR --name NAME",
            c->object, v.model);
    struct val_ask ask = { .budgets = budgets, .baseline_ref = svc_str(c, "baseline") };
    struct repo_version base, other;
    int has_base = 0;
    if (limits(c, &ask.beside, err) < 0)
        return -(int)err->code;
    if (ask.baseline_ref && (has_base = baseline(c, "baseline", &v, &base, err)) < 0)
        return has_base;
    ask.baseline = has_base ? &base : NULL;
    if (ask_trace(c, &v, &other, &ask, err) < 0)
        return -(int)err->code;
    json_put_str(c->reply, "version", c->object);
    json_put_str(c->reply, "digest", c->digest);
    json_put_str(c->reply, "state", v.state);
    cJSON *list = cJSON_AddArrayToObject(c->reply, "verdicts");
    cJSON *summary = cJSON_AddArrayToObject(c->body, "sets");
    int n_failed = 0, n_unsupported = 0, n_unsure = 0;
    /* All are judged first: the verdicts and the event are one transaction. */
    struct val_verdict *verdicts = xcalloc((size_t)sets.n, sizeof *verdicts);
    int r = 0, n = 0;
    for (; n < sets.n && r >= 0; n++) {
        r = val_judge_version(c->repo, &v, &sets.v[n], &ask, &ops, &verdicts[n], err);
        if (r < 0)
            break;
        n_failed += verdicts[n].outcome == VAL_FAILED;
        n_unsupported += verdicts[n].outcome == VAL_UNSUPPORTED;
        n_unsure += verdicts[n].outcome == VAL_INCONCLUSIVE;
        cJSON_AddItemToArray(list, verdict_json(sets.v[n].name, sets.v[n].acceptance,
                                                verdicts[n].outcome,
                                                cJSON_Parse(verdicts[n].report_json)));
        cJSON_AddItemToArray(summary, verdict_json(sets.v[n].name, sets.v[n].acceptance,
                                                   verdicts[n].outcome, NULL));
    }
    struct err verdict_err = ERR_INIT;
    if (r >= 0) {
        answer(c, n_failed, n_unsupported, n_unsure, c->object, &verdict_err);
        r = db_begin(c->repo->db, err);
    }
    cJSON *told = list->child;
    for (int i = 0; i < n && r >= 0; i++, told = told->next) {
        r = val_verdict_add(c->repo, &verdicts[i], err);
        json_put_int(told, "id", verdicts[i].id);
    }
    if (r >= 0)
        r = svc_commit(c, err);
    for (int i = 0; i < sets.n; i++)
        val_verdict_release(&verdicts[i]);
    free(verdicts);
    if (r >= 0 && verdict_err.code != ERR_OK)
        r = err_set(err, verdict_err.code, "%s", verdict_err.msg);
    return r;
}
