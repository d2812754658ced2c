/* SPDX-License-Identifier: Apache-2.0 */
/* The one gate function. It reads and never runs a model: what that can do was judged
 * before. */
#include "validate/val_int.h"

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
};

/* One gate's answer. */
static cJSON *
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
        return o;
    g->n_refused++;
    if (g->refused.len + strlen(wanted) + strlen(saw) + strlen(fix) >
        ERR_MSG_BYTES - 700)
        g->n_hidden++;
    else
        buf_addf(&g->refused, "\n  %s: wanted %s; saw %s; %s", name, wanted, saw, fix);
    return o;
}

static void
add_answer(struct gate *g, const char *name, const struct val_answer *a)
{
    cJSON *o = add_gate(g, name, buf_str(&a->wanted), buf_str(&a->saw), a->ok,
                        buf_str(&a->fix));

    if (a->waits)
        json_put_bool(o, "waits", true);
    if (a->said.len)
        json_put_str(o, "said", buf_str(&a->said));
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

/* ---- golden sets ---------------------------------------------------------------- */

struct sets {
    struct gate *g;
    const struct val_set_gate *gate;
    const cJSON *rule;
    const char *names; /* VAL_EXPORT_SET, the name of an acceptance set, or "*" */
    bool all;          /* whatever they are */
    int n;             /* sets asked */
};

static int
ask_set(void *arg, const struct val_set *s, struct err *err)
{
    struct sets *x = arg;
    struct val_answer a AUTO(val_answer_release) = { .ok = false };
    struct buf name AUTO(buf_release) = BUF_INIT;

    if (!x->all &&
        (s->acceptance ? strcmp(x->names, "*") != 0 && strcmp(x->names, s->name) != 0
                       : strcmp(x->names, VAL_EXPORT_SET) != 0))
        return 0;
    x->n++;
    if (val_set_gate_ask(x->gate, x->g->r, x->g->args, x->rule, s, &name, &a, err) < 0)
        return -(int)err->code;
    add_answer(x->g, buf_str(&name), &a);
    return 0;
}

static int
ask_sets(struct sets *x, struct err *err)
{
    const struct repo_version *v = x->g->args->version;
    int e = val_sets(x->g->r, v->model, v->id, ask_set, x, err);

    if (e == 0 && x->n == 0 && !x->all) {
        const bool any = strcmp(x->names, "*") == 0;
        const bool own = strcmp(x->names, VAL_EXPORT_SET) == 0;
        char *gate AUTO(free_ptr) = xasprintf("%s %s", x->gate->name, x->names);
        char *fix AUTO(free_ptr) = own ? xasprintf("push it with --golden DIR")
                                       : xasprintf("sluice golden add %s DIR --name %s",
                                                   v->model, any ? "NAME" : x->names);

        add_gate(x->g, gate,
                 any ? "a passing verdict on every acceptance set, and at least one"
                     : "a passing verdict on this set",
                 any ? "no acceptance set" : "no such set", false, fix);
    }
    return e;
}

/* ---- the policy ----------------------------------------------------------------- */

static int
ask_one(struct gate *g, const cJSON *rule, const struct val_policy_now *policy,
        struct err *err)
{
    struct val_answer a AUTO(val_answer_release) = { .ok = false };
    struct sets sets = { .g = g, .rule = rule };
    const char *name = "";
    int e;

    sets.gate = val_set_gate(rule, &sets.names);
    if (sets.gate)
        return ask_sets(&sets, err);
    e = val_gate_more(g->r, g->args, rule, policy, &name, &a, err);
    if (e == 0)
        add_answer(g, name, &a);
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

int
val_checks(struct repo *r, const struct repo_version *v, cJSON **report,
           struct err *err)
{
    const struct val_gate_args args = { .version = v, .alias = "" };
    struct gate g = { .r = r, .args = &args, .report = cJSON_CreateArray() };
    struct sets sets = { .g = &g, .all = true };
    int e;

    sets.gate = val_set_gate(NULL, &sets.names);
    e = ask_sets(&sets, err);
    if (e == 0 && sets.n == 0) {
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
