/* SPDX-License-Identifier: Apache-2.0 */
/* Policies: their form, their rows, and aliases that wait for each other. */
#include "validate/val_int.h"

#include "base/clock.h"
#include "repo/gc.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- form ----------------------------------------------------------------------- */

enum kind {
    K_NONE,
    K_SET,   /* name of an acceptance set, or "*" */
    K_ALIAS, /* name of an alias */
    K_WORD,  /* the one word that there is */
    K_TEXT,
    K_COUNT,   /* 1 to 20 */
    K_SPAN,    /* "24h" */
    K_TIME,    /* RFC 3339 */
    K_RIGHT,   /* of access/rights.def */
    K_NAME,    /* of a file in hooks/ */
    K_KEY,     /* 64 hex digits */
    K_NUMBER,  /* finite */
    K_SHARE,   /* 0 to 1 */
    K_YES,     /* true or false */
    K_MEANS,   /* "refuse" or "allow": what an outcome that is no answer means */
    K_CAPS,    /* of val_caps_parse */
    K_BUDGETS, /* of val_budgets_check */
    K_URL      /* http or https */
};
enum { OPTIONS_MAX = 9 };
/* One line a gate: its name, what its value is, its options ("!": it needs this one).
 */
static const struct {
    const char *name;
    enum kind kind;
    const char *word;
    struct {
        const char *name;
        enum kind kind;
    } options[OPTIONS_MAX];
} gates[] = {
    { "acceptance",
      K_SET,
      NULL,
      { { "max_age", K_SPAN },
        { "caps", K_CAPS },
        { "unsupported", K_MEANS },
        { "inconclusive", K_MEANS } } },
    { "export",
      K_WORD,
      "passed",
      { { "max_age", K_SPAN },
        { "caps", K_CAPS },
        { "unsupported", K_MEANS },
        { "inconclusive", K_MEANS } } },
    { "quality",
      K_TEXT,
      NULL,
      { { "set", K_SET },
        { "min", K_NUMBER },
        { "max", K_NUMBER },
        { "max_drop", K_NUMBER },
        { "max_drop_relative", K_NUMBER },
        { "baseline", K_ALIAS },
        { "optional", K_YES },
        { "max_age", K_SPAN },
        { "unsupported", K_MEANS } } },
    { "budgets",
      K_BUDGETS,
      NULL,
      { { "set", K_SET },
        { "baseline", K_ALIAS },
        { "optional", K_YES },
        { "max_age", K_SPAN },
        { "inconclusive", K_MEANS } } },
    { "baseline",
      K_ALIAS,
      NULL,
      { { "set", K_SET },
        { "max_flips", K_SHARE },
        { "max_shift", K_NUMBER },
        { "optional", K_YES },
        { "max_age", K_SPAN },
        { "unsupported", K_MEANS } } },
    { "scan", K_WORD, "clean", { { "allow", K_TEXT } } },
    { "signature", K_WORD, "compatible", { { NULL, K_NONE } } },
    { "earlier", K_ALIAS, NULL, { { "for", K_SPAN } } },
    { "drill", K_SPAN, NULL, { { NULL, K_NONE } } },
    { "approvals", K_COUNT, NULL, { { "role", K_RIGHT }, { "expires", K_SPAN } } },
    { "freeze", K_TEXT, NULL, { { "!from", K_TIME }, { "!until", K_TIME } } },
    { "program", K_NAME, NULL, { { NULL, K_NONE } } },
    { "http", K_URL, NULL, { { NULL, K_NONE } } },
    { "blessed", K_WORD, "tfx", { { NULL, K_NONE } } },
    { "signed_by", K_KEY, NULL, { { NULL, K_NONE } } },
};
#define N_GATES (sizeof(gates) / sizeof(gates[0]))

static int
bad_value(const char *gate, const char *key, const char *wanted, struct err *err)
{
    return err_set(err, ERR_INVALID, "policy: gate \"%s\": \"%s\" must be %s", gate,
                   key, wanted);
}

static int
check_text(const char *gate, const cJSON *v, enum kind kind, const char *word,
           struct err *err)
{
    const char *s = cJSON_GetStringValue(v);
    enum acc_right right;
    struct digest d;
    int64_t ns;

    if (!s || !*s || strlen(s) > 200)
        return bad_value(gate, v->string, "a short text", err);
    if (kind == K_SET && strcmp(s, "*") == 0)
        return 0;
    if (kind == K_WORD && strcmp(s, word) != 0)
        return err_set(err, ERR_INVALID, "policy: gate \"%s\": there is only \"%s\"",
                       gate, word);
    if (kind == K_MEANS && strcmp(s, "refuse") != 0 && strcmp(s, "allow") != 0)
        return bad_value(gate, v->string, "\"refuse\" or \"allow\"", err);
    if (kind == K_URL &&
        ((strncmp(s, "http://", 7) != 0 && strncmp(s, "https://", 8) != 0) ||
         strpbrk(s, " \t\r\n")))
        return bad_value(gate, v->string, "an address, http://… or https://…", err);
    if (kind == K_NAME &&
        (strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(s)))
        return bad_value(gate, v->string, "a name of a-z, 0-9 and -", err);
    if (kind == K_KEY && (strlen(s) != 64 || !digest_parse((struct str){ s, 64 }, &d)))
        return bad_value(gate, v->string, "a key: 64 hex digits", err);
    if (((kind == K_SET || kind == K_ALIAS) && repo_check_alias_name(s, err) < 0) ||
        (kind == K_SPAN && clock_parse_span(s, &ns, err) < 0) ||
        (kind == K_TIME && clock_parse(s, &ns, err) < 0) ||
        (kind == K_RIGHT && acc_right_parse(s, &right, err) < 0))
        return err_ctx(err, "policy: gate \"%s\": \"%s\"", gate, v->string);
    return 0;
}

static int
check_value(const char *gate, const cJSON *v, enum kind kind, const char *word,
            struct err *err)
{
    struct val_caps caps;

    if ((kind == K_CAPS && val_caps_parse(v, &caps, err) < 0) ||
        (kind == K_BUDGETS && val_budgets_check(v, err) < 0))
        return err_ctx(err, "policy: gate \"%s\"", gate);
    if (kind == K_CAPS)
        return 0;
    if (kind == K_BUDGETS)
        return cJSON_IsArray(v) && v->child
                   ? 0
                   : bad_value(gate, v->string, "a list such as [\"p99_ms=5\"]", err);
    if (kind == K_YES)
        return cJSON_IsBool(v) ? 0 : bad_value(gate, v->string, "true or false", err);
    if (kind == K_NUMBER || kind == K_SHARE) {
        if (!cJSON_IsNumber(v) || !isfinite(v->valuedouble))
            return bad_value(gate, v->string, "a number", err);
        return kind == K_NUMBER || (v->valuedouble >= 0 && v->valuedouble <= 1)
                   ? 0
                   : bad_value(gate, v->string, "a share from 0 to 1", err);
    }
    if (kind != K_COUNT)
        return check_text(gate, v, kind, word, err);
    if (!cJSON_IsNumber(v) || v->valuedouble < 1 || v->valuedouble > 20 ||
        floor(v->valuedouble) != v->valuedouble)
        return bad_value(gate, v->string, "a whole number from 1 to 20", err);
    return 0;
}

/* The gate that a rule names: its place in the table, or -code. */
static int
find_gate(const cJSON *rule, struct err *err)
{
    struct buf all AUTO(buf_release) = BUF_INIT;
    const cJSON *v = cJSON_IsObject(rule) ? rule->child : NULL;

    for (size_t i = 0; i < N_GATES; i++) {
        if (cJSON_IsObject(rule) && json_has(rule, gates[i].name))
            return (int)i;
        buf_addf(&all, "%s\"%s\"", i > 0 ? ", " : "", gates[i].name);
    }
    if (!v)
        return err_set(err, ERR_INVALID,
                       "policy: each element of \"require\" names a gate: %s",
                       buf_str(&all));
    return err_set(err, ERR_INVALID, "policy: there is no gate \"%s\"; there is %s",
                   v->string, buf_str(&all));
}

static const char *
option_name(const char *name)
{
    return name + (name[0] == '!');
}

/* A rule of good form that could never refuse anything, or mean what it says. */
static int
check_sense(const cJSON *rule, const char *gate, struct err *err)
{
    int64_t from_ns, until_ns;

    if (strcmp(gate, "quality") == 0 && !json_has(rule, "min") &&
        !json_has(rule, "max") && !json_has(rule, "max_drop") &&
        !json_has(rule, "max_drop_relative"))
        return err_set(err, ERR_INVALID,
                       "policy: gate \"quality\" needs \"min\", \"max\", "
                       "\"max_drop\" or \"max_drop_relative\"");
    if (json_has(rule, "max_shift") && val_number(rule, "max_shift") < 0)
        return bad_value(gate, "max_shift", "0 or more", err);
    if (strcmp(gate, "freeze") != 0)
        return 0;
    if (clock_parse(val_text(rule, "from"), &from_ns, err) < 0 ||
        clock_parse(val_text(rule, "until"), &until_ns, err) < 0)
        return -(int)err->code;
    return until_ns > from_ns
               ? 0
               : err_set(err, ERR_INVALID,
                         "policy: gate \"freeze\": \"until\" (%s) is not after "
                         "\"from\" (%s)",
                         val_text(rule, "until"), val_text(rule, "from"));
}

static int
check_rule(const cJSON *rule, struct err *err)
{
    const int g = find_gate(rule, err);
    const cJSON *v;

    if (g < 0)
        return g;
    cJSON_ArrayForEach(v, rule)
    {
        enum kind kind = strcmp(v->string, gates[g].name) == 0 ? gates[g].kind : K_NONE;

        for (int i = 0; i < OPTIONS_MAX && gates[g].options[i].name; i++)
            if (strcmp(v->string, option_name(gates[g].options[i].name)) == 0)
                kind = gates[g].options[i].kind;
        if (kind == K_NONE)
            return err_set(err, ERR_INVALID, "policy: gate \"%s\" has no option \"%s\"",
                           gates[g].name, v->string);
        if (check_value(gates[g].name, v, kind, gates[g].word, err) < 0)
            return -(int)err->code;
    }
    for (int i = 0; i < OPTIONS_MAX && gates[g].options[i].name; i++)
        if (gates[g].options[i].name[0] == '!' &&
            !json_has(rule, option_name(gates[g].options[i].name)))
            return err_set(err, ERR_INVALID, "policy: gate \"%s\" needs \"%s\"",
                           gates[g].name, option_name(gates[g].options[i].name));
    return check_sense(rule, gates[g].name, err);
}

static int
check_policy(const cJSON *doc, struct err *err)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(doc, "require"), *v;

    if (!cJSON_IsObject(doc) || !cJSON_IsArray(list))
        return err_set(err, ERR_INVALID,
                       "policy: wanted {\"policy\": 1, \"require\": [{GATE: VALUE}]}");
    cJSON_ArrayForEach(v, doc)
    {
        if (strcmp(v->string, "policy") == 0) {
            if (!cJSON_IsNumber(v) || v->valuedouble != 1)
                return err_set(err, ERR_INVALID,
                               "policy: this program knows form 1 only");
        } else if (strcmp(v->string, "require") != 0) {
            return err_set(err, ERR_INVALID,
                           "policy: there is no \"%s\", only \"policy\" and "
                           "\"require\"",
                           v->string);
        }
    }
    cJSON_ArrayForEach(v, list)
    {
        if (check_rule(v, err) < 0)
            return -(int)err->code;
    }
    return 0;
}

int
val_policy_parse(cJSON **out, struct str text, struct err *err)
{
    if (json_parse(out, text, "policy", err) < 0 ||
        json_check_names(*out, "policy", err) < 0 || check_policy(*out, err) < 0)
        return -(int)err->code;
    return 0;
}

/* ---- aliases that wait for each other ------------------------------------------- */

#define PATH_MAX_ALIASES 32

struct path {
    const char *names[PATH_MAX_ALIASES];
    int n;
};

/* Follows "earlier" from the last name of the path, for one model. */
static int
follow(struct repo *r, const char *model, struct path *p, struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    struct buf all AUTO(buf_release) = BUF_INIT;
    cJSON *doc AUTO(json_free) = NULL;
    const cJSON *rule;
    int e = val_policy_get(r, p->names[p->n - 1], model, &text, err);

    if (e <= 0)
        return e;
    e = json_parse(&doc, (struct str){ buf_str(&text), text.len }, "policy", err);
    cJSON_ArrayForEach(rule, cJSON_GetObjectItemCaseSensitive(doc, "require"))
    {
        const char *next = val_text(rule, "earlier");

        if (e < 0 || !*next)
            continue;
        for (int i = 0; i < p->n; i++)
            if (strcmp(p->names[i], next) == 0) {
                for (; i < p->n; i++)
                    buf_addf(&all, "%s waits for ", p->names[i]);
                return err_set(err, ERR_INVALID,
                               "policy: no version could ever pass: %s%s (gate "
                               "\"earlier\")",
                               buf_str(&all), next);
            }
        if (p->n == PATH_MAX_ALIASES)
            return err_set(err, ERR_LIMIT, "policy: more than %d aliases in a row",
                           PATH_MAX_ALIASES);
        p->names[p->n++] = next;
        e = follow(r, model, p, err);
        p->n--;
    }
    return e;
}

/* The rows of all models: one that has its own policies may have a cycle alone. */
static int
check_cycles(struct repo *r, const char *key, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int e = db_query(r->db, &st, err,
                     "SELECT DISTINCT model FROM policy ORDER BY model", "");

    while (e >= 0 && (e = db_step(st, err)) == 1) {
        struct path p = { .names = { key }, .n = 1 };

        e = follow(r, db_text(st, 0), &p, err);
    }
    return e;
}

/* ---- rows ----------------------------------------------------------------------- */

static int
check_key(const char *key, struct err *err)
{
    return repo_check_alias_name(strncmp(key, "target/", 7) == 0 ? key + 7 : key, err);
}

int
val_policy_set(struct repo *r, const char *key, const char *model,
               const char *policy_json, struct err *err)
{
    cJSON *doc AUTO(json_free) = NULL;
    struct buf text AUTO(buf_release) = BUF_INIT;
    int64_t age_ns;
    int e;

    if (check_key(key, err) < 0 || (model && repo_check_model_name(model, err) < 0) ||
        val_policy_parse(&doc, str_of(policy_json), err) < 0)
        return -(int)err->code;
    json_print(doc, &text, true);
    e = repo_age_tick(r, &age_ns, err);
    if (e == 0)
        e = db_run(r->db, err,
                   "INSERT INTO policy(alias, model, rules, created_ns, set_by) "
                   "VALUES(?, ?, ?, ?, ?)",
                   "tttit", key, model ? model : "*", buf_str(&text), clock_now_ns(),
                   acc_actor(r->acc));
    if (e == 0)
        e = db_run(r->db, err, "INSERT INTO policy_age(policy_id, age_ns) VALUES(?, ?)",
                   "ii", db_last_id(r->db), age_ns);
    return e < 0 ? e : check_cycles(r, key, err);
}

int
val_policy_find(struct repo *r, const char *key, const char *model,
                struct val_policy_now *out, struct err *err)
{
    const char *const models[] = { model, "*" };

    for (int i = 0; i < 2; i++) {
        struct db_stmt *st AUTO(db_done_p) = NULL;
        int e = db_query(r->db, &st, err,
                         "SELECT p.rules, p.set_by, p.created_ns, a.age_ns "
                         "FROM policy p LEFT JOIN policy_age a ON a.policy_id = p.id "
                         "WHERE p.alias = ? AND p.model = ? ORDER BY p.id DESC LIMIT 1",
                         "tt", key, models[i]);

        if (e == 0)
            e = db_step(st, err);
        if (e == 1) {
            buf_adds(&out->rules, db_text(st, 0));
            snprintf(out->set_by, sizeof(out->set_by), "%s", db_text(st, 1));
            out->created_ns = db_int(st, 2);
            out->age_ns = db_is_null(st, 3) ? -1 : db_int(st, 3);
        }
        if (e != 0)
            return e;
    }
    return 0;
}

void
val_policy_now_release(struct val_policy_now *p)
{
    buf_release(&p->rules);
}

int
val_policy_get(struct repo *r, const char *key, const char *model, struct buf *out,
               struct err *err)
{
    struct val_policy_now now AUTO(val_policy_now_release) = { .rules = BUF_INIT };
    int e = val_policy_find(r, key, model, &now, err);

    if (e == 1)
        buf_adds(out, buf_str(&now.rules));
    return e;
}

int
val_policies(struct repo *r, const char *key,
             int (*fn)(void *arg, const struct val_policy_row *row, struct err *err),
             void *arg, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int e = key ? db_query(r->db, &st, err,
                           "SELECT id, alias, model, rules, set_by, created_ns "
                           "FROM policy WHERE alias = ? ORDER BY id DESC",
                           "t", key)
                : db_query(r->db, &st, err,
                           "SELECT id, alias, model, rules, set_by, created_ns "
                           "FROM policy p WHERE id = (SELECT max(id) FROM policy q "
                           "WHERE q.alias = p.alias AND q.model = p.model) "
                           "ORDER BY alias, model",
                           "");

    while (e >= 0 && (e = db_step(st, err)) == 1)
        e = fn(arg,
               &(struct val_policy_row){ .id = db_int(st, 0),
                                         .key = db_text(st, 1),
                                         .model = db_text(st, 2),
                                         .rules = db_text(st, 3),
                                         .set_by = db_text(st, 4),
                                         .created_ns = db_int(st, 5) },
               err);
    return e;
}
