/* SPDX-License-Identifier: Apache-2.0 */
/* The one gate function. It reads and never runs anything: what a model can do was
 * judged before, and a verdict is bound to the version's and the set's digest. */
#include "validate/val_int.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct gate {
    struct repo *r;
    const struct val_gate_args *args;
    cJSON *report;
    struct buf refused;      /* a line for each gate that said no */
    int n_refused, n_hidden; /* hidden: without a line, for which there was no room */
    bool is_policy;          /* what is asked now can be overruled by break_glass */
    const char *max_age;     /* of verdicts; NULL: any */
};

/* One gate's answer. */
static void
add_gate(struct gate *g, const char *name, const char *wanted, const char *saw, bool ok,
         const char *fix)
{
    cJSON *o = cJSON_CreateObject();

    json_put_str(o, "gate", name);
    json_put_str(o, "wanted", wanted);
    json_put_str(o, "saw", saw);
    json_put_bool(o, "ok", ok);
    if (!ok)
        json_put_str(o, "fix", fix);
    cJSON_AddItemToArray(g->report, o);
    if (!ok && g->is_policy && g->args->break_glass)
        json_put_str(o, "overruled", g->args->break_glass);
    if (ok || (g->is_policy && g->args->break_glass))
        return;
    g->n_refused++;
    if (g->refused.len + strlen(wanted) + strlen(saw) + strlen(fix) >
        ERR_MSG_BYTES - 700)
        g->n_hidden++;
    else
        buf_addf(&g->refused, "\n  %s: wanted %s; saw %s; %s", name, wanted, saw, fix);
}

/* ---- the version and the alias -------------------------------------------------- */

static void
ask_state(struct gate *g)
{
    const struct repo_version *v = g->args->version;
    char fix[REPO_NAME_BYTES + 64];

    if (strcmp(v->state, "quarantined") == 0)
        snprintf(fix, sizeof(fix), "sluice validate, then sluice accept %s@%" PRId64,
                 v->model, v->number);
    else
        snprintf(fix, sizeof(fix), "see sluice inspect %s@%" PRId64, v->model,
                 v->number);
    add_gate(g, "state", "ready", v->state, strcmp(v->state, "ready") == 0, fix);
}

static void
ask_mark(struct gate *g)
{
    const struct val_gate_args *a = g->args;
    char wanted[REPO_ALIAS_BYTES + 64], fix[REPO_NAME_BYTES + REPO_ALIAS_BYTES + 96];

    snprintf(wanted, sizeof(wanted), "not marked bad on %s, or --again", a->alias);
    snprintf(fix, sizeof(fix), "sluice promote %s@%" PRId64 " --to %s --again",
             a->version->model, a->version->number, a->alias);
    add_gate(g, "mark", wanted,
             !a->marked_bad ? "not marked"
             : a->again     ? "marked bad, and --again"
                            : "marked bad",
             !a->marked_bad || a->again, fix);
}

static void
ask_freeze(struct gate *g)
{
    const struct val_gate_args *a = g->args;
    char fix[REPO_NAME_BYTES + REPO_ALIAS_BYTES + 64];
    char *saw AUTO(free_ptr) = a->frozen_reason
                                   ? xasprintf("frozen: %s", a->frozen_reason)
                                   : xstrdup("not frozen");

    snprintf(fix, sizeof(fix), "sluice unfreeze %s@%s", a->version->model, a->alias);
    add_gate(g, "freeze", "not frozen", saw, !a->frozen_reason, fix);
}

/* ---- acceptance sets ------------------------------------------------------------ */

/* The relative limits of a passed verdict against what is live now. The first one that
 * does not hold is put into saw and fix: *ok false. */
static int
ask_drops(struct gate *g, const struct val_set *s, const cJSON *report, struct buf *saw,
          struct buf *fix, bool *ok, struct err *err)
{
    const struct val_gate_args *a = g->args;
    const cJSON *m;

    cJSON_ArrayForEach(m, cJSON_GetObjectItemCaseSensitive(report, "metrics"))
    {
        const cJSON *baseline = cJSON_GetObjectItemCaseSensitive(m, "baseline");
        int64_t live_id = a->live_version_id, release_id = 0;
        struct val_drop d;

        if (!cJSON_IsString(baseline))
            continue;
        if (strcmp(baseline->valuestring, a->alias) != 0) {
            live_id = 0;
            if (repo_alias_get(g->r, a->version->model_id, baseline->valuestring,
                               &live_id, &release_id, err) < 0)
                return -(int)err->code;
        }
        if (val_drop_check(g->r, a->version, &s->digest, m, live_id, &d, err) < 0)
            return -(int)err->code;
        if (d.state == VAL_DROP_OK || d.state == VAL_DROP_NO_LIVE)
            continue;
        *ok = false;
        buf_addf(saw, "passed, but %s", d.why);
        if (d.state == VAL_DROP_UNKNOWN)
            buf_adds(fix, d.fix);
        else
            buf_addf(fix, "push a better version");
        return 0;
    }
    return 0;
}

/* What the newest verdict says. */
static int
ask_verdict(struct gate *g, const struct val_set *s, struct buf *saw, struct buf *fix,
            bool *ok, struct err *err)
{
    const struct repo_version *v = g->args->version;
    struct val_verdict verdict AUTO(val_verdict_release) = { .id = 0 };
    cJSON *report AUTO(json_free) = NULL;
    const char *summary = NULL;
    int e = val_verdict_newest(g->r, v->id, &s->digest, &verdict, err);

    *ok = false;
    if (e < 0)
        return e;
    if (e == 0) {
        buf_adds(saw, "no verdict yet");
        buf_addf(fix, "sluice validate %s@%" PRId64, v->model, v->number);
        return 0;
    }
    if (!digest_eq(&verdict.version_digest, &v->digest))
        return err_set(err, ERR_CORRUPT,
                       "verdict %" PRId64 " is bound to other bytes than %s@%" PRId64,
                       verdict.id, v->model, v->number);
    if (json_parse(&report, str_of(verdict.report_json), "verdict", err) < 0 ||
        json_str(report, "summary", "", &summary, "verdict", err) < 0)
        return -(int)err->code;
    *ok = verdict.outcome == VAL_PASSED;
    if (*ok) {
        e = ask_drops(g, s, report, saw, fix, ok, err);
        if (*ok)
            buf_addf(saw, "passed: %s", summary);
        return e;
    }
    buf_addf(saw, "%s: ", val_outcome_text(verdict.outcome));
    val_add_short(saw, summary);
    if (verdict.outcome == VAL_UNSUPPORTED)
        buf_adds(saw, " (what cannot be run never counts as passed)");
    buf_addf(fix,
             "push a better version; sluice validate %s@%" PRId64
             " judges this one again",
             v->model, v->number);
    return 0;
}

/* A verdict that is older than the policy wants. Too old by either clock is too old. */
static int
ask_age(struct gate *g, const struct val_set *s, struct buf *saw, struct buf *fix,
        bool *ok, struct err *err)
{
    const struct repo_version *v = g->args->version;
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int64_t max_ns, since_ns = -1, wall_ns = 0;
    int e = clock_parse_span(g->max_age, &max_ns, err);

    if (e == 0)
        e = db_query(g->r->db, &st, err,
                     "SELECT v.created_ns, a.age_ns FROM verdict v "
                     "LEFT JOIN verdict_age a ON a.verdict_id = v.id "
                     "WHERE v.version_id = ? AND v.set_digest = ? "
                     "ORDER BY v.id DESC LIMIT 1",
                     "ib", v->id, s->digest.b, sizeof(s->digest.b));
    if (e == 0)
        e = db_step(st, err);
    if (e == 1) {
        wall_ns = clock_now_ns() - db_int(st, 0);
        e = val_since(g->r, db_is_null(st, 1) ? -1 : db_int(st, 1), &since_ns, err);
    }
    if (e < 0 || (since_ns >= 0 && since_ns <= max_ns && wall_ns <= max_ns))
        return e < 0 ? e : 0;
    *ok = false;
    buf_clear(saw);
    buf_clear(fix);
    buf_adds(saw, since_ns < 0 ? "passed, but nobody knows how long ago"
                               : "passed, but too long ago");
    buf_addf(fix, "sluice validate %s@%" PRId64, v->model, v->number);
    return 0;
}

static int
ask_set(struct gate *g, const struct val_set *s, struct err *err)
{
    struct buf limits AUTO(buf_release) = BUF_INIT, wanted AUTO(buf_release) = BUF_INIT;
    struct buf saw AUTO(buf_release) = BUF_INIT, fix AUTO(buf_release) = BUF_INIT;
    char name[REPO_ALIAS_BYTES + 16], hex[DIGEST_HEX_BYTES];
    bool ok = false;

    if (val_set_limits(g->r, s, &limits, err) < 0 ||
        ask_verdict(g, s, &saw, &fix, &ok, err) < 0)
        return -(int)err->code;
    if (ok && g->max_age && ask_age(g, s, &saw, &fix, &ok, err) < 0)
        return -(int)err->code;
    digest_hex(&g->args->version->digest, hex);
    snprintf(name, sizeof(name), "%s %s", s->acceptance ? "acceptance" : "export set",
             s->name);
    buf_addf(&wanted, "a passing verdict on sha256:%.12s", hex);
    if (limits.len > 0)
        buf_addf(&wanted, " (%s)", buf_str(&limits));
    if (g->max_age)
        buf_addf(&wanted, " of the last %s", g->max_age);
    add_gate(g, name, buf_str(&wanted), buf_str(&saw), ok, buf_str(&fix));
    return 0;
}

/* ---- the policy ----------------------------------------------------------------- */

struct rule {
    struct gate *g;
    const char *name; /* of a set, or "*" */
    int n;            /* sets asked */
};

static int
ask_if_named(void *arg, const struct val_set *s, struct err *err)
{
    struct rule *rule = arg;

    if (!s->acceptance ||
        (strcmp(rule->name, "*") != 0 && strcmp(rule->name, s->name) != 0))
        return 0;
    rule->n++;
    return ask_set(rule->g, s, err);
}

static int
ask_rule(struct gate *g, const char *name, struct err *err)
{
    const char *model = g->args->version->model;
    const bool any = strcmp(name, "*") == 0;
    struct rule rule = { .g = g, .name = name };
    int e = val_sets(g->r, model, 0, ask_if_named, &rule, err);

    if (e == 0 && rule.n == 0) {
        char *gate AUTO(free_ptr) = xasprintf("acceptance %s", name);
        char *fix AUTO(free_ptr) =
            xasprintf("sluice golden add %s DIR --name %s", model, any ? "NAME" : name);

        add_gate(g, gate,
                 any ? "a passing verdict on every acceptance set, and at least one"
                     : "a passing verdict on this set",
                 any ? "no acceptance set" : "no such set", false, fix);
    }
    return e;
}

static int
ask_one(struct gate *g, const cJSON *rule, const struct val_policy_now *policy,
        struct err *err)
{
    struct val_answer a AUTO(val_answer_release) = { .ok = false };
    const char *name = val_text(rule, "acceptance");
    int e;

    if (*name) {
        const char *age = val_text(rule, "max_age");

        g->max_age = *age ? age : NULL;
        return ask_rule(g, name, err);
    }
    e = val_gate_more(g->r, g->args, rule, policy, &name, &a, err);
    if (e == 0)
        add_gate(g, name, buf_str(&a.wanted), buf_str(&a.saw), a.ok, buf_str(&a.fix));
    return e;
}

static int
ask_policy(void *arg, const char *key, struct err *err)
{
    struct gate *g = arg;
    struct val_policy_now policy AUTO(val_policy_now_release) = { .age_ns = -1 };
    cJSON *doc AUTO(json_free) = NULL;
    const cJSON *rule;
    int e = val_policy_find(g->r, key, g->args->version->model, &policy, err);

    if (e <= 0)
        return e;
    e = json_parse(&doc, (struct str){ buf_str(&policy.rules), policy.rules.len },
                   "policy", err);
    cJSON_ArrayForEach(rule, cJSON_GetObjectItemCaseSensitive(doc, "require"))
    {
        if (e == 0)
            e = ask_one(g, rule, &policy, err);
    }
    return e;
}

int
val_keys(const struct val_gate_args *args,
         int (*fn)(void *arg, const char *key, struct err *err), void *arg,
         struct err *err)
{
    int e = fn(arg, args->alias, err);

    for (int i = 0; e >= 0 && i < args->n_targets; i++) {
        char key[VAL_KEY_BYTES];

        snprintf(key, sizeof(key), "target/%s", args->targets[i]);
        e = fn(arg, key, err);
    }
    return e < 0 ? e : 0;
}

/* Ends a report: ERR_REFUSED with all that said no. */
static int
answer(struct gate *g, const char *may_not, struct err *err)
{
    const struct repo_version *v = g->args->version;

    if (g->n_refused == 0)
        return 0;
    if (g->n_hidden > 0)
        buf_addf(&g->refused, "\n  and %d more gates (--json has all)", g->n_hidden);
    return err_set(err, ERR_REFUSED,
                   "%s@%" PRId64 " may not %s; %d of %d gates said no:%s", v->model,
                   v->number, may_not, g->n_refused, cJSON_GetArraySize(g->report),
                   buf_str(&g->refused));
}

static int
ask_any(void *arg, const struct val_set *s, struct err *err)
{
    struct rule *rule = arg;

    rule->n++;
    return ask_set(rule->g, s, err);
}

int
val_checks(struct repo *r, const struct repo_version *v, cJSON **report,
           struct err *err)
{
    const struct val_gate_args args = { .version = v, .alias = "" };
    struct gate g = { .r = r, .args = &args, .report = cJSON_CreateArray() };
    struct rule rule = { .g = &g };
    int e = val_sets(r, v->model, v->id, ask_any, &rule, err);

    if (e == 0 && rule.n == 0) {
        char *fix AUTO(free_ptr) =
            xasprintf("sluice golden add %s DIR --name NAME, then sluice validate; or "
                      "sluice accept --unchecked --reason TEXT",
                      v->model);

        add_gate(&g, "golden sets", "at least one golden set that it passes",
                 "none to be judged by", false, fix);
    }
    *report = g.report;
    if (e == 0)
        e = answer(&g, "leave quarantine", err);
    buf_release(&g.refused);
    return e;
}

int
val_gate(struct repo *r, const struct val_gate_args *args, cJSON **report,
         struct err *err)
{
    struct gate g = { .r = r, .args = args, .report = cJSON_CreateArray() };
    int e;

    ask_state(&g);
    ask_mark(&g);
    ask_freeze(&g);
    g.is_policy = true;
    e = val_keys(args, ask_policy, &g, err);
    *report = g.report;
    if (e == 0) {
        char *what AUTO(free_ptr) = xasprintf("get traffic of %s", args->alias);

        e = answer(&g, what, err);
    }
    buf_release(&g.refused);
    return e;
}
