/* SPDX-License-Identifier: Apache-2.0 */
/* Judges a model directory by a golden set.
 *
 * What the model does wrong is a verdict: it does not load, a case ends with an error
 * or another answer, a metric misses its limit. What keeps us from looking (the system
 * refuses a call) is an error and no verdict. What the backend cannot run is
 * "unsupported": never passed, and not the model's fault.
 *
 * The report:
 *   {"cases": [{"name", "verdict", "worst", "why",
 *               "outputs": [{"name", "ok", "worst", "why", "tolerance", "limit", "at",
 *                            "got", "want", "errors", "decisions" (val_spread.h)}]}],
 *    "slices": [{"tag", "cases", "failed"}],
 *    "metrics": [{"metric", "title", "output", "labels", "value", "n",
 *                 "higher_is_better", "min", "max", "ok", "why", "max_drop",
 *                 "max_drop_relative", "baseline", …}],
 *    "error": why it does not load, "unsupported": what is missing,
 *    "recorded": the version whose answers are expected, when they are not known to be
 *    true,
 *    "times": {"load_ms", "run_ms": {CASE: ms}}, "summary": one line}
 * "worst" is the largest error in units of its tolerance: above 1 fails, none when
 * there is no measure (another shape). val_judge_version adds to metrics with
 * a baseline what it saw on the baseline. */
#include "validate/val_int.h"
#include "validate/val_quality.h"
#include "validate/val_spread.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const outcome_texts[] = { [VAL_PASSED] = "passed",
                                             [VAL_FAILED] = "failed",
                                             [VAL_UNSUPPORTED] = "unsupported",
                                             [VAL_INCONCLUSIVE] = "inconclusive" };

const char *
val_outcome_text(enum val_outcome o)
{
    return outcome_texts[o];
}

enum val_outcome
val_outcome_worse(enum val_outcome a, enum val_outcome b)
{
    if (a == VAL_PASSED || b == VAL_PASSED)
        return a == VAL_PASSED ? b : a;
    return a < b ? a : b;
}

struct judge {
    const struct val_golden *g;
    const struct backend_ops *ops;
    struct backend *b;
    cJSON *report, *cases;
    struct val_rows *rows; /* one a metric */
    char **no_value;       /* one a metric: why it has none; NULL: it has one */
    int n_failed, n_unsupported;
    int *slice_failed; /* cases, one a slice */
};

bool
val_is_ours(const struct err *e)
{
    return e->code == ERR_IO || e->code == ERR_DB || e->code == ERR_BUSY ||
           e->code == ERR_DENIED;
}

static int
pass_on(const struct err *from, struct err *err)
{
    return err_set(err, from->code, "%s", from->msg);
}

/* ---- comparison ----------------------------------------------------------------- */

struct tally {
    bool ok;
    double worst; /* in units of the tolerance */
    char why[512];
    /* of the first that failed, or else of the worst */
    enum val_tol_kind kind;
    double limit;
    int64_t at;
    bool is_alike; /* family and shape: there are elements to set side by side */
};

static void
compare_one(const char *output, const struct sm_tensor *got,
            const struct sm_tensor *want, enum val_tol_kind kind, double limit,
            struct tally *t)
{
    struct val_diff d;
    double worst;

    val_compare(output, got, want, kind, limit, &d);
    worst = limit > 0 ? d.worst / limit : 0;
    if (!d.ok && !(worst > 1)) /* another shape, or nothing may differ */
        worst = INFINITY;
    if (t->ok && (!d.ok || t->at < 0 || worst > t->worst)) {
        t->kind = kind;
        t->limit = limit;
        t->at = d.worst_at;
    }
    t->worst = fmax(t->worst, worst);
    t->is_alike = d.is_alike;
    if (t->ok && !d.ok)
        snprintf(t->why, sizeof(t->why), "%s", d.why);
    t->ok &= d.ok;
}

/* All tolerances that count must hold. */
static void
compare_output(const struct val_case *c, const char *output,
               const struct sm_tensor *got, const struct sm_tensor *want,
               struct tally *t)
{
    int n = 0;

    *t = (struct tally){ .ok = true, .at = -1 };
    for (int i = 0; i < c->n_tolerances; i++) {
        const struct val_tolerance *tol = &c->tolerances[i];

        if (!val_tolerance_counts(c, tol, output, want->dtype))
            continue;
        compare_one(output, got, want, tol->kind, tol->limit, t);
        n++;
    }
    if (n == 0 && val_is_discrete(want->dtype))
        compare_one(output, got, want, VAL_EXACT, 0, t);
    else if (n == 0)
        compare_one(output, got, want, VAL_REL_MAX, VAL_REL_MAX_DEFAULT, t);
}

/* A tolerance for an output that nobody expects is a slip of the set's author. */
static int
check_tolerances(const struct val_case *c, const struct sm_tensor_list *expected,
                 struct err *err)
{
    for (int i = 0; i < c->n_tolerances; i++)
        if (c->tolerances[i].output &&
            !sm_tensor_list_find(expected, c->tolerances[i].output))
            return err_set(
                err, ERR_INVALID,
                "case '%s': tolerance for output '%s', which is not expected", c->name,
                c->tolerances[i].output);
    return 0;
}

/* Infinite: there is no measure for it. */
static void
put_worst(cJSON *o, double worst)
{
    if (isfinite(worst))
        json_put_real(o, "worst", worst);
}

/* What there is to say of an output that is not the same in every element. */
static void
put_spread(cJSON *o, const struct sm_tensor *got, const struct sm_tensor *want,
           const struct tally *t)
{
    struct val_flips flips AUTO(val_flips_release) = { .n = 0 };
    struct val_errors errors = { .n = 0 };

    if (!t->is_alike || (t->ok && t->worst == 0))
        return;
    json_put_str(o, "tolerance", val_tol_name(t->kind));
    json_put_real(o, "limit", t->limit);
    val_put_place(o, got, want, t->at);
    val_errors_add(&errors, got, want);
    if (errors.n > 0)
        cJSON_AddItemToObject(o, "errors", val_errors_json(&errors));
    if (val_flips_add(&flips, want, got))
        cJSON_AddItemToObject(o, "decisions", val_flips_json(&flips));
}

/* Compares what was expected; fills the case's object. */
static int
compare_case(struct judge *j, const struct val_result *res, cJSON *o, bool *ok,
             struct err *err)
{
    struct sm_tensor_list want AUTO(sm_tensor_list_release) = { .n = 0 };
    const struct backend_signature *sig = NULL;
    cJSON *outputs = cJSON_AddArrayToObject(o, "outputs");
    struct tally all = { .ok = true };

    val_borrow(&want, &res->c->expected);
    if (j->ops->signature(j->b, res->c->signature, &sig, err) < 0 ||
        val_bind_expected(&want, sig, err) < 0 ||
        check_tolerances(res->c, &want, err) < 0)
        return -(int)err->code;
    for (int i = 0; i < want.n; i++) {
        const char *name = want.v[i].name;
        const struct sm_tensor *got = sm_tensor_list_find(res->outputs, name);
        cJSON *one = cJSON_CreateObject();
        struct tally t = { .worst = INFINITY };

        if (got)
            compare_output(res->c, name, got, &want.v[i].t, &t);
        else
            snprintf(t.why, sizeof(t.why), "%s: the model gave no such output", name);
        json_put_str(one, "name", name);
        json_put_bool(one, "ok", t.ok);
        put_worst(one, t.worst);
        if (!t.ok)
            json_put_str(one, "why", t.why);
        if (got)
            put_spread(one, got, &want.v[i].t, &t);
        cJSON_AddItemToArray(outputs, one);
        if (all.ok && !t.ok)
            snprintf(all.why, sizeof(all.why), "%s", t.why);
        all.ok &= t.ok;
        all.worst = fmax(all.worst, t.worst);
    }
    put_worst(o, all.worst);
    if (!all.ok)
        json_put_str(o, "why", all.why);
    *ok = all.ok;
    return 0;
}

/* ---- metrics -------------------------------------------------------------------- */

static void
add_to_metric(struct judge *j, int i, const struct val_result *res)
{
    const struct val_metric *m = &j->g->metrics[i];
    const struct sm_tensor *labels = val_metric_labels(m, res->c), *got;
    struct err err = ERR_INIT;

    if (!labels || j->no_value[i])
        return;
    got = res->outputs ? sm_tensor_list_find(res->outputs, m->output) : NULL;
    if (!res->outputs)
        err_set(&err, ERR_FAILED, "it did not run");
    else if (!got)
        err_set(&err, ERR_NOTFOUND, "the model gave no output '%s'", m->output);
    else if (val_rows_add(&j->rows[i], m, got, labels, &err) == 0)
        return;
    j->no_value[i] = xasprintf("case '%s': %s", res->c->name, err.msg);
}

/* Why a metric has no value, or which limit it misses; empty: neither. */
static void
judge_metric(struct judge *j, int i, double *value, struct buf *why)
{
    const struct val_metric *m = &j->g->metrics[i];
    const struct val_rows *rows = &j->rows[i];
    struct err err = ERR_INIT;

    *value = NAN;
    if (j->no_value[i])
        buf_addf(why, "%s has no value: %s", m->title, j->no_value[i]);
    else if (rows->n == 0)
        buf_addf(why, "%s has no value: there are no labels", m->title);
    else if (val_metric_find(m->metric)->value(m, rows, value, &err) < 0)
        buf_addf(why, "%s has no value: %s", m->title, err.msg);
    else if (!(*value >= m->min) && !isnan(m->min)) {
        buf_addf(why, "%s ", m->title);
        val_add_number(why, *value, m->min);
        buf_addf(why, " < %g (%" PRId64 " labels)", m->min, rows->n);
    } else if (!(*value <= m->max) && !isnan(m->max)) {
        buf_addf(why, "%s ", m->title);
        val_add_number(why, *value, m->max);
        buf_addf(why, " > %g (%" PRId64 " labels)", m->max, rows->n);
    }
}

static bool
put_metric(struct judge *j, int i)
{
    const struct val_metric *m = &j->g->metrics[i];
    struct buf why AUTO(buf_release) = BUF_INIT;
    cJSON *o = cJSON_CreateObject();
    double value;

    judge_metric(j, i, &value, &why);
    json_put_str(o, "metric", m->metric);
    json_put_str(o, "title", m->title);
    json_put_str(o, "output", m->output);
    json_put_str(o, "labels", m->labels);
    if (!isnan(value))
        json_put_real(o, "value", value);
    json_put_int(o, "n", j->rows[i].n);
    json_put_bool(o, "higher_is_better", m->higher_is_better);
    val_metric_put_limits(o, m);
    if (!isnan(m->max_drop) || !isnan(m->max_drop_relative))
        json_put_str(o, "baseline", m->baseline);
    json_put_bool(o, "ok", why.len == 0);
    if (why.len)
        json_put_str(o, "why", buf_str(&why));
    cJSON_AddItemToArray(cJSON_GetObjectItem(j->report, "metrics"), o);
    return why.len == 0;
}

/* ---- cases ---------------------------------------------------------------------- */

static void
put_error(struct judge *j, cJSON *o, const struct err *e)
{
    if (e->code == ERR_UNSUPPORTED) {
        j->n_unsupported++;
        if (!json_has(j->report, "unsupported"))
            json_put_str(j->report, "unsupported", e->msg);
    } else {
        j->n_failed++;
    }
    json_put_str(
        o, "verdict",
        val_outcome_text(e->code == ERR_UNSUPPORTED ? VAL_UNSUPPORTED : VAL_FAILED));
    json_put_str(o, "why", e->msg);
}

static int
judge_outcome(struct judge *j, const struct val_result *res, struct err *err)
{
    cJSON *o = cJSON_CreateObject();
    struct err bad = ERR_INIT;
    bool ok = true;

    cJSON_AddItemToArray(j->cases, o);
    json_put_str(o, "name", res->c->name);
    for (int i = 0; i < j->g->n_metrics; i++)
        add_to_metric(j, i, res);
    if (res->error) {
        put_error(j, o, res->error);
        return val_is_ours(res->error) ? pass_on(res->error, err) : 0;
    }
    json_put_real(val_times(j->report, "run_ms"), res->c->name, res->run_ms);
    if (compare_case(j, res, o, &ok, &bad) < 0) {
        put_error(j, o, &bad);
        return 0;
    }
    j->n_failed += !ok;
    json_put_str(o, "verdict", val_outcome_text(ok ? VAL_PASSED : VAL_FAILED));
    return 0;
}

static int
judge_case(void *arg, const struct val_result *res, struct err *err)
{
    struct judge *j = arg;
    const int n_before = j->n_failed;
    const int r = judge_outcome(j, res, err);

    for (int i = 0; i < j->g->n_slices; i++)
        j->slice_failed[i] +=
            j->n_failed > n_before && val_case_has_tag(res->c, j->g->slices[i].tag);
    return r;
}

static void
put_slices(struct judge *j)
{
    cJSON *list;

    if (j->g->n_slices == 0)
        return;
    list = cJSON_AddArrayToObject(j->report, "slices");
    for (int i = 0; i < j->g->n_slices; i++) {
        cJSON *o = cJSON_CreateObject();

        json_put_str(o, "tag", j->g->slices[i].tag);
        json_put_int(o, "cases", j->g->slices[i].n_cases);
        json_put_int(o, "failed", j->slice_failed[i]);
        cJSON_AddItemToArray(list, o);
    }
}

/* ---- the set -------------------------------------------------------------------- */

/* Who answered: named in the verdict. What is not ours says itself what it is; nothing
 * when it could not be asked (`b` NULL). */
static void
put_backend(cJSON *report, const struct backend_ops *ops, const struct backend *b)
{
    cJSON *o = cJSON_AddObjectToObject(report, "backend");

    json_put_str(o, "kind", ops->name);
    if (ops->where)
        json_put_str(o, "where", ops->where);
    if (ops->about) {
        cJSON *about AUTO(json_free) = b ? cJSON_Parse(ops->about(b)) : NULL;
        const cJSON *said;

        cJSON_ArrayForEach(said, about) if (cJSON_IsString(said) &&
                                            !json_has(o, said->string))
            json_put_str(o, said->string, said->valuestring);
    } else {
        json_put_str(o, "name", ops->name);
        json_put_str(o, "version", SLUICE_VERSION);
        json_put_str(o, "device", "cpu");
    }
}

/* Loads the model and runs the cases. */
static int
judge_model(struct judge *j, const char *model_dir, struct err *err)
{
    struct err bad = ERR_INIT;
    int r;

    if (j->g->sequential && j->g->n_cases > 1 && j->ops->stateless) {
        j->n_unsupported++;
        put_backend(j->report, j->ops, NULL);
        json_put_str(j->report, "unsupported",
                     "a sequential set needs a backend that keeps its state between "
                     "cases");
        return 0;
    }
    r = val_load(j->g, j->ops, model_dir, &j->b, &bad);
    put_backend(j->report, j->ops, r < 0 ? NULL : j->b);
    if (r < 0) {
        /* no such model, no such tags, no runner: the question is wrong, not the model
         */
        if (val_is_ours(&bad) || bad.code == ERR_NOTFOUND)
            return pass_on(&bad, err);
        j->n_failed += bad.code != ERR_UNSUPPORTED;
        j->n_unsupported += bad.code == ERR_UNSUPPORTED;
        json_put_str(j->report, bad.code == ERR_UNSUPPORTED ? "unsupported" : "error",
                     bad.msg);
        return 0;
    }
    json_put_real(val_times(j->report, NULL), "load_ms", j->ops->load_ms(j->b));
    r = val_run_cases(j->g, j->ops, j->b, judge_case, j, err);
    j->ops->close(j->b);
    for (int i = 0; r == 0 && i < j->g->n_metrics; i++)
        if (!put_metric(j, i) && j->n_unsupported == 0)
            j->n_failed++;
    return r;
}

int
val_judge_dir(const char *model_dir, const struct val_golden *g,
              const struct backend_ops *ops, enum val_outcome *out, cJSON **report,
              struct err *err)
{
    struct judge j = { .g = g, .ops = ops, .report = cJSON_CreateObject() };
    struct buf summary AUTO(buf_release) = BUF_INIT;
    int r = val_golden_judges(g, err);

    *report = NULL;
    j.cases = cJSON_AddArrayToObject(j.report, "cases");
    cJSON_AddArrayToObject(j.report, "metrics");
    if (g->recorded && g->recorded[0])
        json_put_str(j.report, "recorded", g->recorded);
    j.rows = xcalloc((size_t)g->n_metrics + 1, sizeof(*j.rows));
    j.no_value = xcalloc((size_t)g->n_metrics + 1, sizeof(*j.no_value));
    j.slice_failed = xcalloc((size_t)g->n_slices + 1, sizeof(*j.slice_failed));
    if (r == 0)
        r = judge_model(&j, model_dir, err);
    if (r == 0) {
        put_slices(&j);
        val_put_limits(j.report, &g->limits);
        *out = j.n_failed ? VAL_FAILED : j.n_unsupported ? VAL_UNSUPPORTED : VAL_PASSED;
        val_report_summary(j.report, *out, &summary);
        json_put_str(j.report, "summary", buf_str(&summary));
        *report = j.report;
    } else {
        cJSON_Delete(j.report);
    }
    for (int i = 0; i < g->n_metrics; i++) {
        free(j.no_value[i]);
        val_rows_release(&j.rows[i]);
    }
    free(j.no_value);
    free(j.rows);
    free(j.slice_failed);
    return r;
}
