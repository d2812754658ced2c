/* SPDX-License-Identifier: Apache-2.0 */
/* Gates of a policy that look at the stored verdicts on golden sets. Nothing is run: a
 * verdict counts when it is signed by this store and bound to the bytes of the version
 * and of the set. */
#include "base/clock.h"
#include "validate/val_int.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

struct val_look {
    struct repo *r;
    const struct val_gate_args *args;
    const cJSON *rule; /* NULL: only that it passed */
    const struct val_set *set;
    struct val_answer *out;
    struct val_verdict verdict; /* what is looked at, and its document */
    cJSON *doc;
};

static void
look_release(struct val_look *l)
{
    val_verdict_release(&l->verdict);
    cJSON_Delete(l->doc);
}

static void
add_fix(struct val_look *l, const char *options)
{
    const struct repo_version *v = l->args->version;

    buf_clear(&l->out->fix);
    buf_addf(&l->out->fix, "sluice validate %s@%" PRId64 "%s", v->model, v->number,
             options);
}

static void
say_no(struct val_look *l, const char *saw)
{
    l->out->ok = false;
    buf_clear(&l->out->saw);
    buf_adds(&l->out->saw, saw);
}

/* ---- which verdict -------------------------------------------------------------- */

struct search {
    struct val_look *l;
    const char *part; /* the document says "number" and "digest" of a version there */
    const struct repo_version *beside; /* that version; NULL: any, or none */
    bool measured;                     /* it has times.measured */
};

static bool
fits(const struct search *s, const cJSON *doc)
{
    const cJSON *times = cJSON_GetObjectItemCaseSensitive(doc, "times");
    char digest[REPO_DIGEST_BYTES];

    if (s->measured && !json_has(times, "measured"))
        return false;
    if (!s->beside)
        return true;
    repo_digest_text(&s->beside->digest, digest);
    return strcmp(val_text(cJSON_GetObjectItemCaseSensitive(doc, s->part), "digest"),
                  digest) == 0;
}

static int
take_first(void *arg, const struct val_verdict *v, struct err *err)
{
    struct search *s = arg;
    cJSON *doc = NULL;

    if (s->l->doc || !digest_eq(&v->set_digest, &s->l->set->digest))
        return 0;
    if (json_parse(&doc, str_of(v->report_json), "verdict", err) < 0)
        return -(int)err->code;
    if (!fits(s, doc)) {
        cJSON_Delete(doc);
        return 0;
    }
    s->l->doc = doc;
    s->l->verdict = *v;
    s->l->verdict.report_json = xstrdup(v->report_json);
    return 0;
}

/* Whoever may write the file of the catalogue may write rows, but not sign them. */
static int
is_genuine(struct val_look *l, struct err *err)
{
    const struct val_verdict *v = &l->verdict;
    const cJSON *set = cJSON_GetObjectItemCaseSensitive(l->doc, "set");
    struct buf pae AUTO(buf_release) = BUF_INIT;
    char digest[REPO_DIGEST_BYTES];
    int e;

    if (!digest_eq(&v->version_digest, &l->args->version->digest))
        return err_set(err, ERR_CORRUPT,
                       "verdict %" PRId64 " is bound to other bytes than %s@%" PRId64,
                       v->id, l->args->version->model, l->args->version->number);
    if (!v->is_signed) {
        say_no(l, "a verdict from before verdicts were signed");
        add_fix(l, "");
        return 0;
    }
    val_statement_pae(v, &pae);
    e = acc_signed(l->r->acc, pae.data, pae.len, v->signature, NULL, err);
    repo_digest_text(&v->set_digest, digest);
    if (e == 1 &&
        strcmp(val_text(l->doc, "outcome"), val_outcome_text(v->outcome)) == 0 &&
        strcmp(val_text(set, "digest"), digest) == 0)
        return 1;
    say_no(l, "a verdict that this store did not sign: it was changed, or the store's "
              "key was");
    add_fix(l, "");
    return e < 0 ? e : 0;
}

/* A verdict that is older than the policy wants. Too old by either clock is too old. */
static int
is_fresh(struct val_look *l, struct err *err)
{
    const char *span = val_text(l->rule, "max_age");
    int64_t max_ns, age_ns = -1, since_ns, wall_ns;
    int e;

    if (!*span)
        return 1;
    e = clock_parse_span(span, &max_ns, err);
    if (e == 0)
        e = db_get_int(l->r->db, &age_ns, err,
                       "SELECT age_ns FROM verdict_age WHERE verdict_id = ?", "i",
                       l->verdict.id);
    if (e == 0)
        age_ns = -1;
    if (e < 0 || val_since(l->r, age_ns, &since_ns, err) < 0)
        return -(int)err->code;
    wall_ns = clock_now_ns() - l->verdict.created_ns;
    if (since_ns >= 0 && since_ns <= max_ns && wall_ns <= max_ns)
        return 1;
    say_no(l, since_ns < 0 ? "passed, but nobody knows how long ago"
                           : "passed, but too long ago");
    return 0;
}

/* 1: l->verdict is the newest that fits and counts. 0: there is none, and the answer
 * says so; `options` of validate would make one. */
static int
find(struct val_look *l, struct search s, const char *none, const char *options,
     struct err *err)
{
    int e;

    s.l = l;
    add_fix(l, options);
    e = val_verdicts(l->r, l->args->version->id, take_first, &s, err);
    if (e < 0)
        return e;
    if (!l->doc) {
        say_no(l, none);
        return 0;
    }
    e = is_genuine(l, err);
    return e <= 0 ? e : is_fresh(l, err);
}

/* ---- what the policy says of verdicts that are no pass --------------------------- */

/* Unsupported and inconclusive refuse, unless the rule has "unsupported": "allow". */
static bool
lets_through(struct val_look *l)
{
    const enum val_outcome o = l->verdict.outcome;

    if ((o != VAL_UNSUPPORTED && o != VAL_INCONCLUSIVE) ||
        strcmp(val_text(l->rule, val_outcome_text(o)), "allow") != 0)
        return false;
    buf_addf(&l->out->saw, "%s: ", val_outcome_text(o));
    val_add_short(&l->out->saw, val_text(l->doc, "summary"));
    buf_adds(&l->out->saw, " (the policy lets that through)");
    l->out->ok = true;
    return true;
}

/* ---- a version to be held against ------------------------------------------------ */

/* What is live on an alias; 0: nothing. */
static int
live_on(const struct val_look *l, const char *alias, int64_t *id, struct err *err)
{
    int64_t release_id = 0;

    *id = l->args->live_version_id;
    if (strcmp(alias, l->args->alias) == 0)
        return 0;
    *id = 0;
    return repo_alias_get(l->r, l->args->version->model_id, alias, id, &release_id,
                          err) < 0
               ? -(int)err->code
               : 0;
}

/* 1: `out` is live on the alias and another version; 0: it needs no look, and the
 * answer is there. */
static int
live_beside(struct val_look *l, const char *alias, struct repo_version *out,
            struct err *err)
{
    const bool optional =
        cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(l->rule, "optional"));
    int64_t id;

    if (live_on(l, alias, &id, err) < 0)
        return -(int)err->code;
    if (id == l->args->version->id) {
        l->out->ok = true;
        buf_addf(&l->out->saw, "it is what is live on %s", alias);
        return 0;
    }
    if (id == 0) {
        l->out->ok = optional;
        buf_addf(&l->out->saw, "nothing is live on %s", alias);
        buf_adds(&l->out->fix,
                 "\"optional\": true in the policy lets the first version through");
        return 0;
    }
    return repo_version_get(l->r, id, out, err) < 0 ? -(int)err->code : 1;
}

/* ---- acceptance and export sets: passed ------------------------------------------ */

/* The relative limits of a passed verdict against what is live now. The first one that
 * does not hold is the answer. */
static int
ask_drops(struct val_look *l, struct err *err)
{
    const cJSON *m;

    cJSON_ArrayForEach(m, cJSON_GetObjectItemCaseSensitive(l->doc, "metrics"))
    {
        const cJSON *baseline = cJSON_GetObjectItemCaseSensitive(m, "baseline");
        int64_t live_id;
        struct val_drop d;

        if (!cJSON_IsString(baseline))
            continue;
        if (live_on(l, baseline->valuestring, &live_id, err) < 0 ||
            val_drop_check(l->r, l->args->version, &l->set->digest, m, live_id, &d,
                           err) < 0)
            return -(int)err->code;
        if (d.state == VAL_DROP_OK || d.state == VAL_DROP_NO_LIVE)
            continue;
        l->out->ok = false;
        buf_addf(&l->out->saw, "passed, but %s", d.why);
        buf_clear(&l->out->fix);
        buf_adds(&l->out->fix,
                 d.state == VAL_DROP_UNKNOWN ? d.fix : "push a better version");
        return 0;
    }
    return 0;
}

/* The tolerances that the set allows itself. */
static int
ask_caps(struct val_look *l, struct err *err)
{
    const cJSON *caps = cJSON_GetObjectItemCaseSensitive(l->rule, "caps");
    struct repo_view view AUTO(repo_view_close) = REPO_VIEW_INIT;
    struct val_golden g = { .cases = NULL };
    struct val_caps limits;
    int e;

    if (!caps)
        return 0;
    e = val_caps_parse(caps, &limits, err);
    if (e == 0)
        e = val_set_open(l->r, l->set, &view, &g, err);
    if (e == 0)
        e = val_set_check_caps(&g, &limits, err);
    val_golden_release(&g);
    if (e == 0 || err->code != ERR_REFUSED)
        return e;
    say_no(l, err->msg);
    buf_clear(&l->out->fix);
    if (l->set->acceptance)
        buf_addf(&l->out->fix,
                 "a set with tighter tolerances: sluice golden add %s DIR --name %s",
                 l->set->model, l->set->name);
    else
        buf_addf(&l->out->fix,
                 "push the model again with tighter tolerances in its set: "
                 "sluice push MODEL_DIR %s --golden DIR",
                 l->set->model);
    err_clear(err);
    return 0;
}

static int
ask_passed(struct val_look *l, struct err *err)
{
    const struct repo_version *v = l->args->version;
    struct buf limits AUTO(buf_release) = BUF_INIT;
    struct val_answer *out = l->out;
    char hex[DIGEST_HEX_BYTES];
    int e = val_set_limits(l->r, l->set, &limits, err);

    digest_hex(&v->digest, hex);
    buf_addf(&out->wanted, "a passing verdict on sha256:%.12s", hex);
    if (limits.len > 0)
        buf_addf(&out->wanted, " (%s)", buf_str(&limits));
    if (*val_text(l->rule, "max_age"))
        buf_addf(&out->wanted, " of the last %s", val_text(l->rule, "max_age"));
    if (e == 0)
        e = find(l, (struct search){ .part = "" }, "no verdict yet", "", err);
    if (e <= 0)
        return e;
    if (lets_through(l))
        return ask_caps(l, err);
    out->ok = l->verdict.outcome == VAL_PASSED;
    if (out->ok) {
        e = ask_drops(l, err);
        if (out->ok)
            buf_addf(&out->saw, "passed: %s", val_text(l->doc, "summary"));
        return e < 0 || !out->ok ? e : ask_caps(l, err);
    }
    buf_addf(&out->saw, "%s: ", val_outcome_text(l->verdict.outcome));
    val_add_short(&out->saw, val_text(l->doc, "summary"));
    if (l->verdict.outcome == VAL_UNSUPPORTED)
        buf_adds(&out->saw, " (what cannot be run never counts as passed)");
    buf_clear(&out->fix);
    buf_addf(&out->fix,
             "push a better version; sluice validate %s@%" PRId64
             " judges this one again",
             v->model, v->number);
    return 0;
}

/* ---- beside a baseline ----------------------------------------------------------- */

/* One output of the verdict's "baseline" against the limits of the policy. */
static void
judge_output(struct val_look *l, const cJSON *o)
{
    const cJSON *d = cJSON_GetObjectItemCaseSensitive(o, "decisions");
    const cJSON *e = cJSON_GetObjectItemCaseSensitive(o, "errors");
    const double max_flips = val_number(l->rule, "max_flips");
    const double max_shift = val_number(l->rule, "max_shift");
    const double share = val_number(d, "share"), shift = val_number(e, "shift");
    const bool flips = d && !isnan(max_flips) && !(share <= max_flips);
    const bool shifts = e && !isnan(max_shift) &&
                        (!(fabs(shift) <= max_shift) || val_number(e, "apart") > 0);

    if (l->out->saw.len)
        buf_adds(&l->out->saw, "; ");
    buf_addf(&l->out->saw, "%s:", val_text(o, "name"));
    if (*val_text(o, "why"))
        buf_addf(&l->out->saw, " validate said: %s%s", val_text(o, "why"),
                 d || e ? ";" : "");
    if (d)
        buf_addf(&l->out->saw, " %.3g %% flipped", 100 * share);
    if (e)
        buf_addf(&l->out->saw, "%s mean moved by %.3g", d ? "," : "", shift);
    l->out->ok &= !flips && !shifts && *val_text(o, "why") == '\0';
}

static int
ask_baseline(struct val_look *l, struct err *err)
{
    const char *alias = val_text(l->rule, "baseline");
    const double max_flips = val_number(l->rule, "max_flips");
    const double max_shift = val_number(l->rule, "max_shift");
    const cJSON *beside, *o;
    struct repo_version live;
    int e;

    buf_addf(&l->out->wanted, "answers beside %s", alias);
    if (!isnan(max_flips))
        buf_addf(&l->out->wanted, ", at most %g %% flipped", 100 * max_flips);
    if (!isnan(max_shift))
        buf_addf(&l->out->wanted, ", means moved by at most %g", max_shift);
    e = live_beside(l, alias, &live, err);
    if (e <= 0)
        return e;
    char *none AUTO(free_ptr) =
        xasprintf("no verdict beside %s@%" PRId64, live.model, live.number);
    char *options AUTO(free_ptr) =
        xasprintf(" --baseline %s@%" PRId64, live.model, live.number);
    e = find(l, (struct search){ .part = "baseline", .beside = &live }, none, options,
             err);
    if (e <= 0 || lets_through(l))
        return e;
    beside = cJSON_GetObjectItemCaseSensitive(l->doc, "baseline");
    l->out->ok = true;
    cJSON_ArrayForEach(o, cJSON_GetObjectItemCaseSensitive(beside, "outputs"))
        judge_output(l, o);
    if (*val_text(beside, "why") && l->out->ok)
        say_no(l, val_text(beside, "why"));
    return 0;
}

/* ---- quality --------------------------------------------------------------------- */

/* The metric as the policy limits it: its own limits are the set's affair. */
static cJSON *
limited(const struct val_look *l, const cJSON *metric, const char *alias)
{
    static const char *const drops[] = { "max_drop", "max_drop_relative" };
    cJSON *m = cJSON_Duplicate(metric, true);

    for (int i = 0; i < 2; i++) {
        cJSON_DeleteItemFromObjectCaseSensitive(m, drops[i]);
        if (json_has(l->rule, drops[i]))
            json_put_real(m, drops[i], val_number(l->rule, drops[i]));
    }
    cJSON_DeleteItemFromObjectCaseSensitive(m, "baseline");
    json_put_str(m, "baseline", alias);
    return m;
}

static int
judge_metric(struct val_look *l, const cJSON *metric, const struct repo_version *live,
             const char *alias, struct err *err)
{
    const double value = val_number(metric, "value");
    const double min = val_number(l->rule, "min"), max = val_number(l->rule, "max");
    cJSON *m AUTO(json_free) = limited(l, metric, alias);
    struct val_drop d = { .state = VAL_DROP_OK };
    struct buf *saw = &l->out->saw;

    buf_addf(saw, "%s%s ", saw->len ? "; " : "", val_text(metric, "title"));
    if (isnan(value)) {
        l->out->ok = false;
        buf_addf(saw, "has no value: %s", val_text(metric, "why"));
        return 0;
    }
    val_add_number(saw, value, isnan(min) ? max : min);
    buf_addf(saw, " of %g", val_number(metric, "n"));
    l->out->ok &= !(value < min) && !(value > max);
    if (live && val_drop_check(l->r, l->args->version, &l->set->digest, m, live->id, &d,
                               err) < 0)
        return -(int)err->code;
    if (d.state == VAL_DROP_OK)
        return 0;
    l->out->ok = false;
    buf_addf(saw, ", but %s", d.why);
    if (d.state == VAL_DROP_UNKNOWN) {
        buf_clear(&l->out->fix);
        buf_adds(&l->out->fix, d.fix);
    }
    return 0;
}

static int
ask_quality(struct val_look *l, struct err *err)
{
    static const struct {
        const char *key, *text;
    } limits[] = { { "min", " ≥ " },
                   { "max", " ≤ " },
                   { "max_drop", ", worse by at most " },
                   { "max_drop_relative", ", worse by a share of at most " } };
    const char *name = val_text(l->rule, "quality");
    const char *alias =
        *val_text(l->rule, "baseline") ? val_text(l->rule, "baseline") : l->args->alias;
    const bool drops =
        json_has(l->rule, "max_drop") || json_has(l->rule, "max_drop_relative");
    struct repo_version live;
    bool has_live = false;
    const cJSON *m;
    int e = 0, n = 0;

    buf_adds(&l->out->wanted, name);
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
        if (json_has(l->rule, limits[i].key))
            buf_addf(&l->out->wanted, "%s%g", limits[i].text,
                     val_number(l->rule, limits[i].key));
    if (drops) {
        buf_addf(&l->out->wanted, " than %s", alias);
        e = live_beside(l, alias, &live, err);
        has_live = e == 1;
        if (e < 0 || (e == 0 && !l->out->ok))
            return e;
        buf_clear(&l->out->saw);
    }
    e = find(l, (struct search){ .part = "" }, "no verdict yet", "", err);
    if (e <= 0 || lets_through(l))
        return e;
    l->out->ok = true;
    cJSON_ArrayForEach(m, cJSON_GetObjectItemCaseSensitive(l->doc, "metrics"))
    {
        if (strcmp(val_text(m, "metric"), name) != 0 &&
            strcmp(val_text(m, "title"), name) != 0)
            continue;
        n++;
        if (judge_metric(l, m, has_live ? &live : NULL, alias, err) < 0)
            return -(int)err->code;
    }
    if (n == 0) {
        say_no(l, "the set has no such metric");
        buf_clear(&l->out->fix);
        buf_adds(&l->out->fix, "\"metrics\" of its golden.json (docs/formats.md)");
    }
    return 0;
}

/* ---- budgets --------------------------------------------------------------------- */

static int
ask_budgets(struct val_look *l, struct err *err)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(l->rule, "budgets"), *one;
    const char *alias =
        *val_text(l->rule, "baseline") ? val_text(l->rule, "baseline") : l->args->alias;
    struct buf options AUTO(buf_release) = BUF_INIT;
    struct search s = { .part = "budget_baseline", .measured = true };
    struct repo_version live;
    bool shares = false;
    int e;

    cJSON_ArrayForEach(one, list)
    {
        buf_addf(&l->out->wanted, "%s%s", l->out->wanted.len ? ", " : "",
                 one->valuestring);
        buf_addf(&options, " --budget %s", one->valuestring);
        shares |= strchr(one->valuestring, '%') != NULL;
    }
    if (shares) {
        buf_addf(&l->out->wanted, " beside %s", alias);
        e = live_beside(l, alias, &live, err);
        if (e < 0 || (e == 0 && !l->out->ok))
            return e;
        if (e == 1) {
            buf_addf(&options, " --baseline %s@%" PRId64, live.model, live.number);
            s.beside = &live;
        }
        buf_clear(&l->out->saw);
    }
    e = find(l, s, "nothing was measured", buf_str(&options), err);
    if (e <= 0)
        return e;
    return val_budgets_look(
        list, cJSON_GetObjectItemCaseSensitive(l->doc, "times"), s.beside != NULL,
        strcmp(val_text(l->rule, "inconclusive"), "allow") == 0, l->out, err);
}

/* ---- which gates there are ------------------------------------------------------- */

static const struct val_set_gate gates[] = {
    { "acceptance", NULL, ask_passed }, { "export", VAL_EXPORT_SET, ask_passed },
    { "quality", "", ask_quality },     { "budgets", "", ask_budgets },
    { "baseline", "", ask_baseline }, /* last: others have it as an option */
};

const struct val_set_gate *
val_set_gate(const cJSON *rule, const char **sets)
{
    *sets = "*";
    if (!rule)
        return &gates[0];
    for (size_t i = 0; i < sizeof(gates) / sizeof(gates[0]); i++) {
        const struct val_set_gate *g = &gates[i];
        const char *key = !g->sets ? g->name : "set";

        if (!json_has(rule, g->name))
            continue;
        if (g->sets && *g->sets)
            *sets = g->sets;
        else if (*val_text(rule, key))
            *sets = val_text(rule, key);
        return g;
    }
    return NULL;
}

int
val_set_gate_ask(const struct val_set_gate *gate, struct repo *r,
                 const struct val_gate_args *args, const cJSON *rule,
                 const struct val_set *s, struct buf *name, struct val_answer *out,
                 struct err *err)
{
    struct val_look l AUTO(
        look_release) = { .r = r, .args = args, .rule = rule, .set = s, .out = out };

    if (gate->ask == ask_passed)
        buf_addf(name, "%s %s", s->acceptance ? "acceptance" : "export set", s->name);
    else
        buf_addf(name, "%s%s%s on %s", gate->name,
                 *val_text(rule, gate->name) ? " " : "", val_text(rule, gate->name),
                 s->name);
    return gate->ask(&l, err);
}
