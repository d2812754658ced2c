/* SPDX-License-Identifier: Apache-2.0 */
/* Verdicts in the store, and making one. */
#include "validate/val_int.h"

#include "base/clock.h"
#include "repo/gc.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS                                                                        \
    "id, version_id, version_digest, set_digest, set_name, acceptance, outcome, "      \
    "backend, created_ns, made_by, report, signature"

void
val_verdict_release(struct val_verdict *v)
{
    free(v->report_json);
    v->report_json = NULL;
}

static int
read_verdict(struct db_stmt *st, struct val_verdict *out, struct err *err)
{
    enum val_outcome o = VAL_PASSED;
    const void *sig;
    size_t n = 0;

    *out = (struct val_verdict){ .id = db_int(st, 0),
                                 .version_id = db_int(st, 1),
                                 .acceptance = db_int(st, 5) != 0,
                                 .created_ns = db_int(st, 8) };
    while (o < VAL_INCONCLUSIVE && strcmp(db_text(st, 6), val_outcome_text(o)) != 0)
        o++;
    if (strcmp(db_text(st, 6), val_outcome_text(o)) != 0 ||
        !val_read_digest(st, 2, &out->version_digest) ||
        !val_read_digest(st, 3, &out->set_digest))
        return err_set(err, ERR_CORRUPT, "verdict %lld: no outcome or no digest",
                       (long long)out->id);
    out->outcome = o;
    snprintf(out->set_name, sizeof(out->set_name), "%s", db_text(st, 4));
    snprintf(out->backend, sizeof(out->backend), "%s", db_text(st, 7));
    snprintf(out->made_by, sizeof(out->made_by), "%s", db_text(st, 9));
    out->report_json = xstrdup(db_text(st, 10));
    sig = db_blob(st, 11, &n);
    out->is_signed = n == sizeof(out->signature);
    if (out->is_signed)
        memcpy(out->signature, sig, n);
    return 0;
}

/* The document as it is recorded: with the outcome that the row has, canonical, signed.
 */
static int
seal(struct repo *r, struct val_verdict *v, struct err *err)
{
    cJSON *doc AUTO(json_free) = NULL;
    struct buf text AUTO(buf_release) = BUF_INIT, pae AUTO(buf_release) = BUF_INIT;

    if (json_parse(&doc, str_of(v->report_json), "verdict", err) < 0)
        return -(int)err->code;
    cJSON_DeleteItemFromObjectCaseSensitive(doc, "outcome");
    json_put_str(doc, "outcome", val_outcome_text(v->outcome));
    json_canonical(doc, &text);
    free(v->report_json);
    v->report_json = xstrdup(buf_str(&text));
    val_statement_pae(v, &pae);
    v->is_signed = acc_sign(r->acc, pae.data, pae.len, v->signature, err) == 0;
    return v->is_signed ? 0 : -(int)err->code;
}

int
val_verdict_add(struct repo *r, struct val_verdict *v, struct err *err)
{
    int64_t age_ns;
    int e = seal(r, v, err);

    if (e == 0)
        e = db_run(
            r->db, err,
            "INSERT INTO verdict(version_id, version_digest, set_digest, set_name, "
            "acceptance, outcome, backend, created_ns, made_by, report, signature) "
            "VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            "ibbtittittb", v->version_id, v->version_digest.b,
            sizeof(v->version_digest.b), v->set_digest.b, sizeof(v->set_digest.b),
            v->set_name, (int64_t)v->acceptance, val_outcome_text(v->outcome),
            v->backend, v->created_ns, v->made_by, v->report_json, v->signature,
            v->is_signed ? sizeof(v->signature) : (size_t)0);
    if (e < 0)
        return e;
    v->id = db_last_id(r->db);
    e = repo_age_tick(r, &age_ns, err);
    return e < 0 ? e
                 : db_run(r->db, err,
                          "INSERT INTO verdict_age(verdict_id, age_ns) VALUES(?, ?)",
                          "ii", v->id, age_ns);
}

int
val_verdict_newest(struct repo *r, int64_t version_id, const struct digest *set_digest,
                   struct val_verdict *out, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int e = db_query(r->db, &st, err,
                     "SELECT " COLUMNS " FROM verdict WHERE version_id = ? AND "
                     "set_digest = ? ORDER BY id DESC LIMIT 1",
                     "ib", version_id, set_digest->b, sizeof(set_digest->b));

    *out = (struct val_verdict){ .id = 0 };
    if (e == 0)
        e = db_step(st, err);
    if (e == 1 && read_verdict(st, out, err) < 0)
        e = -(int)err->code;
    return e;
}

int
val_verdicts(struct repo *r, int64_t version_id,
             int (*fn)(void *arg, const struct val_verdict *v, struct err *err),
             void *arg, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int e = db_query(r->db, &st, err,
                     "SELECT " COLUMNS
                     " FROM verdict WHERE version_id = ? ORDER BY id DESC",
                     "i", version_id);

    while (e >= 0 && (e = db_step(st, err)) == 1) {
        struct val_verdict v AUTO(val_verdict_release) = { .id = 0 };

        e = read_verdict(st, &v, err);
        if (e == 0)
            e = fn(arg, &v, err);
    }
    return e;
}

int
val_verdict_get(struct repo *r, int64_t id, struct val_verdict *out, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int e = db_query(r->db, &st, err, "SELECT " COLUMNS " FROM verdict WHERE id = ?",
                     "i", id);

    *out = (struct val_verdict){ .id = 0 };
    if (e == 0)
        e = db_step(st, err);
    if (e == 0)
        return err_set(err, ERR_NOTFOUND, VAL_NO_VERDICT, id);
    return e < 0 ? e : read_verdict(st, out, err);
}

/* ---- judging a version ---------------------------------------------------------- */

/* Adds to a metric with a baseline what it saw on the baseline; *too_big as val_drop.
 */
static int
judge_drop(struct repo *r, const struct repo_version *v, const struct val_set *s,
           cJSON *metric, bool *too_big, struct err *err)
{
    const cJSON *alias = cJSON_GetObjectItemCaseSensitive(metric, "baseline");
    int64_t live_id = 0, release_id = 0;
    struct val_drop d;

    if (repo_alias_get(r, v->model_id, alias->valuestring, &live_id, &release_id, err) <
            0 ||
        val_drop_check(r, v, &s->digest, metric, live_id, &d, err) < 0)
        return -(int)err->code;
    if (d.live_number > 0)
        json_put_int(metric, "baseline_version", d.live_number);
    if (!isnan(d.live_value))
        json_put_real(metric, "baseline_value", d.live_value);
    *too_big = d.state == VAL_DROP_TOO_BIG;
    if (*too_big) {
        cJSON_DeleteItemFromObjectCaseSensitive(metric, "ok");
        json_put_bool(metric, "ok", false);
        if (!json_has(metric, "why"))
            json_put_str(metric, "why", d.why);
    } else if (d.state != VAL_DROP_OK) {
        json_put_str(metric, "note", d.why);
    }
    return 0;
}

/* Relative limits, after the absolute ones. */
static int
judge_drops(struct repo *r, const struct repo_version *v, const struct val_set *s,
            cJSON *report, enum val_outcome *outcome, struct err *err)
{
    struct buf summary AUTO(buf_release) = BUF_INIT;
    bool any_too_big = false;
    cJSON *m;

    cJSON_ArrayForEach(m, cJSON_GetObjectItemCaseSensitive(report, "metrics"))
    {
        bool too_big = false;

        if (json_has(m, "baseline") && json_has(m, "value") &&
            judge_drop(r, v, s, m, &too_big, err) < 0)
            return -(int)err->code;
        any_too_big |= too_big;
    }
    if (!any_too_big)
        return 0;
    *outcome = VAL_FAILED;
    val_report_summary(report, *outcome, &summary);
    val_report_problem(report, buf_str(&summary));
    return 0;
}

/* The version beside which budgets are measured: the one that was asked for, else what
 * is live on production. 1, 0 none, -code. */
static int
budget_baseline(struct repo *r, const struct repo_version *v, const struct val_ask *ask,
                struct repo_version *out, struct err *err)
{
    int64_t live_id = 0, release_id = 0;

    if (ask->baseline_ref) {
        if (ask->baseline)
            *out = *ask->baseline;
        return ask->baseline != NULL;
    }
    if (repo_alias_get(r, v->model_id, "production", &live_id, &release_id, err) < 0 ||
        (live_id > 0 && repo_version_get(r, live_id, out, err) < 0))
        return -(int)err->code;
    return live_id > 0;
}

/* The set's own and those asked for. */
static int
judge_budgets(struct repo *r, const struct repo_version *v, const struct val_ask *ask,
              const struct val_golden *g, const char *dir,
              const struct backend_ops *ops, enum val_outcome *outcome, cJSON *report,
              struct err *err)
{
    struct repo_view view AUTO(repo_view_close) = REPO_VIEW_INIT;
    struct val_sides sides = { .dir = dir, .size_mb = (double)v->size_bytes / 1e6 };
    cJSON *all AUTO(json_free) = val_budgets_all(g, ask->budgets, report);
    struct repo_version base;
    int has_base;

    if (!all)
        return 0;
    has_base = budget_baseline(r, v, ask, &base, err);
    if (has_base < 0 || (has_base && repo_view_open(r, &base.digest, &view, err) < 0))
        return -(int)err->code;
    if (has_base) {
        val_put_version(cJSON_AddObjectToObject(report, "budget_baseline"), &base);
        sides.baseline_dir = view.path;
        sides.baseline_size_mb = (double)base.size_bytes / 1e6;
    }
    return val_budgets_judge(all, &sides, g, ops, report, outcome, err);
}

static int
judge_beside(struct repo *r, const struct val_ask *ask, const struct val_golden *g,
             const char *dir, const struct backend_ops *ops, enum val_outcome *outcome,
             cJSON *report, struct err *err)
{
    struct repo_view view AUTO(repo_view_close) = REPO_VIEW_INIT;
    enum val_outcome seen = VAL_FAILED;
    cJSON *beside = NULL;

    if (!ask->baseline_ref)
        return 0;
    if (ask->baseline &&
        (repo_view_open(r, &ask->baseline->digest, &view, err) < 0 ||
         val_beside_dir(dir, view.path, g, ops, &ask->beside, &seen, &beside, err) < 0))
        return err_ctx(err, "beside %s", ask->baseline_ref);
    val_beside_put(report, beside, ask->baseline_ref, ask->baseline, &ask->beside, seen,
                   outcome);
    return 0;
}

static int
judge_trace(struct repo *r, const struct val_ask *ask, const struct val_golden *g,
            const char *dir, const struct backend_ops *ops, cJSON *report,
            struct err *err)
{
    struct repo_view view AUTO(repo_view_close) = REPO_VIEW_INIT;

    if (!ask->trace)
        return 0;
    if (ask->trace_against &&
        repo_view_open(r, &ask->trace_against->digest, &view, err) < 0)
        return -(int)err->code;
    return val_trace_dir(dir, ask->trace_against ? view.path : NULL, ask->trace_ref, g,
                         ops, report, err);
}

/* Loads both from the store and judges. */
static int
judge_stored(struct repo *r, const struct repo_version *v, const struct val_set *s,
             const struct val_ask *ask, const struct backend_ops *ops,
             enum val_outcome *outcome, cJSON **report, struct err *err)
{
    struct repo_view set AUTO(repo_view_close) = REPO_VIEW_INIT;
    struct repo_view model AUTO(repo_view_close) = REPO_VIEW_INIT;
    struct val_golden g;
    int e;

    if (repo_view_open(r, &s->digest, &set, err) < 0 ||
        repo_view_open(r, &v->digest, &model, err) < 0 ||
        val_golden_load(&g, set.path, err) < 0)
        return -(int)err->code;
    e = val_judge_dir(model.path, &g, ops, outcome, report, err);
    if (e == 0)
        e = judge_budgets(r, v, ask, &g, model.path, ops, outcome, *report, err);
    if (e == 0)
        e = judge_beside(r, ask, &g, model.path, ops, outcome, *report, err);
    if (e == 0)
        e = judge_trace(r, ask, &g, model.path, ops, *report, err);
    val_golden_release(&g);
    return e;
}

int
val_judge_version(struct repo *r, const struct repo_version *v, const struct val_set *s,
                  const struct val_ask *ask_or_null, const struct backend_ops *ops,
                  struct val_verdict *out, struct err *err)
{
    cJSON *report AUTO(json_free) = NULL;
    struct buf text AUTO(buf_release) = BUF_INIT;
    enum val_outcome outcome = VAL_FAILED;
    const struct val_ask nothing = { .budgets = NULL };
    int e = judge_stored(r, v, s, ask_or_null ? ask_or_null : &nothing, ops, &outcome,
                         &report, err);

    *out = (struct val_verdict){ .id = 0 };
    if (e == 0)
        e = judge_drops(r, v, s, report, &outcome, err);
    if (e < 0)
        return err_ctx(err, "validate %s@%lld by %s", v->model, (long long)v->number,
                       s->name);
    const int64_t now_ns = clock_now_ns();
    val_document(report, outcome, v, s, acc_actor(r->acc), now_ns);
    json_canonical(report, &text);
    *out = (struct val_verdict){ .version_id = v->id,
                                 .version_digest = v->digest,
                                 .set_digest = s->digest,
                                 .acceptance = s->acceptance,
                                 .outcome = outcome,
                                 .created_ns = now_ns,
                                 .report_json = xstrdup(buf_str(&text)) };
    snprintf(out->set_name, sizeof(out->set_name), "%s", s->name);
    snprintf(out->backend, sizeof(out->backend), "%s", ops->name);
    snprintf(out->made_by, sizeof(out->made_by), "%s", acc_actor(r->acc));
    return 0;
}
