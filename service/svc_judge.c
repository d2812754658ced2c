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

enum { N_OUTCOMES = VAL_INCONCLUSIVE + 1 };

/* The worst of all sets is the answer. n: how many sets ended in each way. */
static int
answer(struct svc_call *c, const int n[N_OUTCOMES], const char *what, struct err *err)
{
    const char *text = val_outcome_text(n[VAL_FAILED]         ? VAL_FAILED
                                        : n[VAL_UNSUPPORTED]  ? VAL_UNSUPPORTED
                                        : n[VAL_INCONCLUSIVE] ? VAL_INCONCLUSIVE
                                                              : VAL_PASSED);
    json_put_str(c->reply, "verdict", text);
    json_put_str(c->body, "verdict", text);
    if (n[VAL_FAILED])
        return err_set(err, ERR_FAILED, "%s: %d golden set%s failed", what,
                       n[VAL_FAILED], n[VAL_FAILED] == 1 ? "" : "s");
    if (n[VAL_UNSUPPORTED])
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: the runtime cannot run this model; that is no pass", what);
    if (n[VAL_INCONCLUSIVE])
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
    if (svc_resolve(c, svc_str(c, field), ACC_READ, out, err) < 0) {
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
    cJSON *all AUTO(json_free) =
        val_budgets_all(g, cJSON_GetObjectItemCaseSensitive(c->req, "budget"), report);
    if (!all)
        return 0;
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
    int n[N_OUTCOMES] = { 0 };
    n[outcome] = 1;
    return answer(c, n, dir, err);
}

/* ---- a version ---- */

/* What the call asks for besides the sets; `other` holds the versions it names. */
static int
read_ask(struct svc_call *c, const struct repo_version *v, struct repo_version other[2],
         struct val_ask *out, struct err *err)
{
    int has_base = 0;
    *out =
        (struct val_ask){ .budgets = cJSON_GetObjectItemCaseSensitive(c->req, "budget"),
                          .baseline_ref = svc_str(c, "baseline") };
    if (limits(c, &out->beside, err) < 0)
        return -(int)err->code;
    if (out->baseline_ref)
        has_base = baseline(c, "baseline", v, &other[0], err);
    if (has_base < 0)
        return has_base;
    out->baseline = has_base ? &other[0] : NULL;
    return ask_trace(c, v, &other[1], out, err);
}

/* Sets and backend, and whether the caller may. */
static int
check_judges(struct svc_call *c, const struct repo_version *v, const struct sets *sets,
             const struct backend_ops *ops, struct err *err)
{
    /* A program of one's own says whatever one likes, and the gate counts its verdict.
     */
    if (ops->where && acc_check(c->repo->acc, ACC_JUDGE, acc_model(v->model), err) < 0)
        return err_ctx(err, "a stored verdict by --backend %s", ops->name);
    if (sets->n == 0)
        return err_set(
            err, ERR_NOTFOUND,
            "%s has no golden set to be judged by: push it with --golden DIR, or "
            "sluice golden add %s DIR --name NAME",
            c->object, v->model);
    return 0;
}

static int
judge_sets(struct svc_call *c, const struct repo_version *v, const struct sets *sets,
           const struct val_ask *ask, const struct backend_ops *ops,
           struct val_verdict *verdicts, int n[N_OUTCOMES], struct err *err)
{
    cJSON *list = cJSON_AddArrayToObject(c->reply, "verdicts");
    cJSON *summary = cJSON_AddArrayToObject(c->body, "sets");
    for (int i = 0; i < sets->n; i++) {
        const struct val_set *s = &sets->v[i];
        if (val_judge_version(c->repo, v, s, ask, ops, &verdicts[i], err) < 0)
            return -(int)err->code;
        enum val_outcome outcome = verdicts[i].outcome;
        n[outcome]++;
        cJSON_AddItemToArray(list, verdict_json(s->name, s->acceptance, outcome,
                                                cJSON_Parse(verdicts[i].report_json)));
        cJSON_AddItemToArray(summary,
                             verdict_json(s->name, s->acceptance, outcome, NULL));
    }
    return 0;
}

/* The verdicts and the event are one transaction. */
static int
record_verdicts(struct svc_call *c, struct val_verdict *verdicts, struct err *err)
{
    cJSON *told = cJSON_GetObjectItemCaseSensitive(c->reply, "verdicts")->child;
    if (db_begin(c->repo->db, err) < 0)
        return -(int)err->code;
    for (int i = 0; told; i++, told = told->next) {
        if (val_verdict_add(c->repo, &verdicts[i], err) < 0)
            return -(int)err->code;
        json_put_int(told, "id", verdicts[i].id);
    }
    return svc_commit(c, err);
}

int
svc_do_validate(struct svc_call *c, struct err *err)
{
    struct sets sets AUTO(sets_release) = { 0 };
    struct repo_version v, other[2];
    struct backend_ops ops;
    struct val_ask ask;
    int n[N_OUTCOMES] = { 0 };
    if (!svc_str(c, "ref"))
        return validate_dir(c, err);
    if (svc_str(c, "dir") || svc_str(c, "golden"))
        return err_set(err, ERR_USAGE,
                       "validate takes either a version or --dir and --golden");
    if (val_budgets_check(cJSON_GetObjectItemCaseSensitive(c->req, "budget"), err) <
            0 ||
        svc_version(c, &v, err) < 0 ||
        val_sets(c->repo, v.model, v.id, collect_set, &sets, err) < 0 ||
        val_backend(svc_str(c, "backend"), &ops, err) < 0 ||
        check_judges(c, &v, &sets, &ops, err) < 0 ||
        read_ask(c, &v, other, &ask, err) < 0)
        return -(int)err->code;
    json_put_str(c->reply, "version", c->object);
    json_put_str(c->reply, "digest", c->digest);
    json_put_str(c->reply, "state", v.state);
    struct val_verdict *verdicts = xcalloc((size_t)sets.n, sizeof *verdicts);
    struct err verdict_err = ERR_INIT;
    int r = judge_sets(c, &v, &sets, &ask, &ops, verdicts, n, err);
    if (r == 0) {
        answer(c, n, c->object, &verdict_err);
        r = record_verdicts(c, verdicts, err);
    }
    for (int i = 0; i < sets.n; i++)
        val_verdict_release(&verdicts[i]);
    free(verdicts);
    if (r >= 0 && verdict_err.code != ERR_OK)
        r = err_set(err, verdict_err.code, "%s", verdict_err.msg);
    return r;
}
