/* SPDX-License-Identifier: Apache-2.0 */
/* The gate: the rules of the catalogue, kept in memory until they change, and what is
 * said to who may not pass. */
#include "access/acc_int.h"

#include "access/acc_rule_int.h"
#include "base/clock.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- the rules of now ------------------------------------------------------------ */

static int
load(struct acc *a, struct acc_rules **out, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    struct acc_rules *x = acc_rules_new();
    int r = db_query(a->db, &st, err,
                     "SELECT id, effect, subject, what, object, from_ns, until_ns "
                     "FROM rule WHERE ended_ns = ? AND until_ns > ? ORDER BY id",
                     "ii", ACC_FOREVER, clock_now_ns());

    while (r >= 0 && (r = db_step(st, err)) == 1) {
        const char *effect = db_text(st, 1);
        const struct acc_rule rule = { .id = db_int(st, 0),
                                       .effect = effect[0] == 'a'   ? ACC_ALLOW
                                                 : effect[0] == 'd' ? ACC_DENY
                                                                    : ACC_ROLE,
                                       .subject = db_text(st, 2),
                                       .what = db_text(st, 3),
                                       .object = db_text(st, 4),
                                       .from_ns = db_int(st, 5),
                                       .until_ns = db_int(st, 6) };

        /* a rule that cannot be read may be one that denies */
        r = acc_rules_add(x, &rule, err);
        if (r < 0)
            err_ctx(err, "rule %" PRId64 " of the catalogue", rule.id);
    }
    if (r < 0)
        acc_rules_free(x);
    else
        *out = x;
    return r;
}

void
acc_rules_forget(struct acc *a)
{
    a->cache.change = -1;
    a->cache.touched = true;
}

int
acc_rules_now(struct acc *a, const struct acc_rules **out, struct err *err)
{
    struct acc_cache *c = &a->cache;
    struct acc_rules *fresh = NULL;
    int64_t version = 0, change = 0;

    if (c->touched && !db_in_tx(a->db)) {
        c->touched = false;
        c->change = -1; /* what was read may have been rolled back */
    }
    *out = c->rules;
    if (db_version(a->db, &version, err) < 0)
        return -(int)err->code;
    if (c->rules && c->change >= 0 && version == c->db_version)
        return 0;
    if (db_get_int(a->db, &change, err, "SELECT coalesce(max(change), 0) FROM rule",
                   "") < 0)
        return -(int)err->code;
    if (!c->rules || change != c->change) {
        if (load(a, &fresh, err) < 0)
            return -(int)err->code;
        acc_rules_free(c->rules);
        *out = c->rules = fresh;
    }
    c->change = c->touched ? -1 : change;
    c->db_version = version;
    return 0;
}

int
acc_stays_until(struct acc *a, int64_t *until_ns, struct err *err)
{
    struct acc_cache *c = &a->cache;
    const int64_t now_ns = clock_now_ns();
    const struct acc_rules *rules;
    int r = acc_rules_now(a, &rules, err);

    *until_ns = c->until_ns;
    if (r < 0 ||
        (c->change >= 0 && c->change == c->until_change && now_ns < c->until_ns))
        return r;
    *until_ns = ACC_FOREVER;
    r = db_get_int(a->db, until_ns, err,
                   "SELECT min(t) FROM (SELECT from_ns AS t FROM rule WHERE "
                   "ended_ns = ? AND from_ns > ? UNION ALL SELECT until_ns AS t FROM "
                   "rule WHERE ended_ns = ? AND until_ns > ?) AS times",
                   "iiii", ACC_FOREVER, now_ns, ACC_FOREVER, now_ns);
    if (*until_ns == 0) /* no rule at all */
        *until_ns = ACC_FOREVER;
    c->until_ns = *until_ns;
    c->until_change = c->change;
    return r < 0 ? r : 0;
}

/* ---- scopes ---------------------------------------------------------------------- */

#define NOBODY "" /* whom the rules of a scope are about */
#define SCOPE_MAX 1000

static int
add_scope(struct acc_rules *x, const cJSON *one, int64_t id, struct err *err)
{
    struct buf object AUTO(buf_release) = BUF_INIT;
    struct acc_rule rule = {
        .id = id, .effect = ACC_ALLOW, .subject = NOBODY, .until_ns = ACC_FOREVER
    };
    const char *on;

    char *what AUTO(free_ptr) = NULL;

    if (cJSON_IsString(one)) { /* "push:fraud", "verb:push:target:web" */
        const char *text = one->valuestring;
        const char *colon =
            strchr(text + (strncmp(text, "verb:", 5) == 0 ? 5 : 0), ':');

        if (!colon)
            return err_set(err, ERR_INVALID,
                           "'%.100s' is no scope: RIGHT:OBJECT, such as push:fraud",
                           text);
        rule.what = what = xstrndup(text, (size_t)(colon - text));
        on = colon + 1;
    } else if (!cJSON_IsObject(one) || cJSON_GetArraySize(one) != 2) {
        return err_set(err, ERR_INVALID,
                       "a scope: each of it is {\"verb\": V, \"object\": O}");
    } else if (json_str(one, "verb", NULL, &rule.what, "scope", err) < 0 ||
               json_str(one, "object", NULL, &on, "scope", err) < 0) {
        return -(int)err->code;
    }
    if (acc_object_parse(on, &object, err) < 0)
        return -(int)err->code;
    rule.object = buf_str(&object);
    return acc_rules_add(x, &rule, err);
}

/* What of it could be read is *out, also when it fails: nothing. */
static int
parse_scope(const char *text, struct acc_rules **out, struct err *err)
{
    cJSON *list AUTO(json_free) = NULL;
    const cJSON *one;
    int64_t id = 0;

    *out = acc_rules_new();
    if (json_parse(&list, str_of(text), "scope", err) < 0)
        return -(int)err->code;
    if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) > SCOPE_MAX)
        return err_set(err, ERR_INVALID,
                       "a scope is a list of at most %d {\"verb\": V, \"object\": O}",
                       SCOPE_MAX);
    cJSON_ArrayForEach(one, list)
    {
        if (add_scope(*out, one, ++id, err) < 0) {
            acc_rules_free(*out);
            *out = acc_rules_new();
            return -(int)err->code;
        }
    }
    return 0;
}

int
acc_scope_read(struct acc *a, struct err *err)
{
    acc_rules_free(a->scope);
    a->scope = NULL;
    return a->who && a->who->scope ? parse_scope(a->who->scope, &a->scope, err) : 0;
}

int
acc_scope_check(const char *scope_json, struct err *err)
{
    struct acc_rules *x;
    int r = parse_scope(scope_json, &x, err);

    acc_rules_free(x);
    return r;
}

static bool
in_scope(const struct acc *a, const struct acc_question *asked, bool any)
{
    struct acc_question q = *asked;
    struct acc_answer answer;

    q.subject = NOBODY;
    if (!a->scope || q.right == ACC_NONE)
        return true;
    if (any)
        return acc_decide_any(a->scope, &q);
    acc_decide(a->scope, &q, &answer);
    return answer.allowed;
}

/* ---- what is said to who may not ------------------------------------------------- */

static int
owner_name(struct acc *a, struct buf *out, struct err *err)
{
    int r =
        db_get_text(a->db, out, err, "SELECT name FROM subject WHERE is_owner = 1", "");

    if (r == 0)
        buf_adds(out, "whoever");
    return r < 0 ? r : 0;
}

/* What a grant would name: the verb alone, where it is not what a right is for. */
static const char *
what_of(const struct acc_question *q)
{
    return q->verb && q->right != ACC_READ && acc_right_named(q->verb) == ACC_NONE
               ? q->verb
               : acc_right_text(q->right);
}

static void
add_quoted(const char *text, struct buf *out)
{
    buf_addc(out, '\'');
    for (const char *p = text; *p; p++)
        buf_adds(out, *p == '\'' ? "'\\''" : (char[]){ *p, '\0' });
    buf_addc(out, '\'');
}

/* The command that would allow it, after `rule`, which denies it (0: none does). */
static int
add_way(struct acc *a, const struct acc_question *q, const char *object, int64_t rule,
        struct buf *out, struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    struct acc_grant g;
    int r = rule ? acc_grant_get(a, rule, &g, &text, err) : 0;

    if (r < 0)
        return r;
    buf_addf(out, "sluice %s%s %s ", r == 1 ? "revoke --deny " : "grant ",
             r == 1 ? g.subject : q->subject, r == 1 ? g.what : what_of(q));
    add_quoted(r == 1 ? g.object : object, out);
    return 0;
}

/* "alice may not promote fraud@production (weights): …" */
static int
refuse(struct acc *a, const struct acc_question *q, const char *object, int64_t rule,
       int64_t role, struct err *err)
{
    struct buf owner AUTO(buf_release) = BUF_INIT, way AUTO(buf_release) = BUF_INIT,
                     text AUTO(buf_release) = BUF_INIT,
                     why AUTO(buf_release) = BUF_INIT;
    const bool any = strcmp(object, "*") == 0;
    const char *what = q->right == ACC_NONE ? q->verb : acc_right_text(q->right);
    char time[CLOCK_TEXT_BYTES];
    struct acc_grant g;

    if (owner_name(a, &owner, err) < 0 || add_way(a, q, object, rule, &way, err) < 0 ||
        (rule && acc_grant_get(a, rule, &g, &text, err) < 0))
        return -(int)err->code;
    if (rule)
        buf_addf(&why, "rule %" PRId64 " of %s denies %s on %s to %s%s", rule,
                 g.given_by, g.what, g.object, g.subject,
                 role ? ", a role of this caller," : "");
    if (rule)
        buf_addf(&why, " since %s, whatever else is granted",
                 clock_text(g.from_ns, time));
    else
        buf_adds(&why, "no grant gives that");
    return err_set(
        err, ERR_DENIED,
        "%s may not %s %s%s%s%s: %s; %s, who owns the store, can allow it: %s",
        q->subject, what, any ? "anything in this store" : object,
        q->verb && strcmp(q->verb, what) != 0 ? " (" : "",
        q->verb && strcmp(q->verb, what) != 0 ? q->verb : "",
        q->verb && strcmp(q->verb, what) != 0 ? ")" : "", buf_str(&why),
        buf_str(&owner), buf_str(&way));
}

static const char *
scope_name(const struct acc *a)
{
    return a->who->via[0] ? a->who->via : "this login";
}

static int
refuse_scope(struct acc *a, const struct acc_question *q, const char *object,
             struct err *err)
{
    return err_set(
        err, ERR_DENIED,
        "%s may not %s %s: the scope of %s does not include it; use one that "
        "has %s:%s",
        q->subject, acc_right_text(q->right),
        strcmp(object, "*") == 0 ? "anything in this store" : object, scope_name(a),
        what_of(q), object);
}

/* ---- the gate -------------------------------------------------------------------- */

static int
decide(struct acc *a, const struct acc_question *q, struct acc_answer *out,
       struct err *err)
{
    const struct acc_rules *rules;

    if (acc_rules_now(a, &rules, err) < 0)
        return -(int)err->code;
    acc_decide(rules, q, out);
    if (q->right == ACC_NONE) /* only a rule that denies counts */
        out->allowed |= !out->rule;
    return 0;
}

static struct acc_question
question(struct acc *a, const char *verb, enum acc_right right, struct acc_object on)
{
    return (struct acc_question){ .subject = a->actor,
                                  .right = right,
                                  .verb = verb,
                                  .on = on,
                                  .now_ns = clock_now_ns() };
}

int
acc_check_verb(struct acc *a, const char *verb, enum acc_right right,
               struct acc_object on, struct err *err)
{
    const struct acc_question q = question(a, verb, right, on);
    struct buf object AUTO(buf_release) = BUF_INIT;
    struct acc_answer answer = { .allowed = true };
    const bool scoped = in_scope(a, &q, false);

    if (scoped && (a->is_owner || (right == ACC_NONE && !verb)))
        return 0;
    if (scoped && decide(a, &q, &answer, err) < 0)
        return -(int)err->code;
    if (scoped && answer.allowed)
        return 0;
    acc_object_text(&on, &object);
    return scoped ? refuse(a, &q, buf_str(&object), answer.rule, answer.role, err)
                  : refuse_scope(a, &q, buf_str(&object), err);
}

int
acc_check(struct acc *a, enum acc_right right, struct acc_object on, struct err *err)
{
    return acc_check_verb(a, NULL, right, on, err);
}

int
acc_may(struct acc *a, const char *verb_or_null, enum acc_right right,
        struct acc_object on, struct err *err)
{
    const struct acc_question q = question(a, verb_or_null, right, on);
    struct acc_answer answer;

    if (!in_scope(a, &q, false))
        return 0;
    if (a->is_owner)
        return 1;
    return decide(a, &q, &answer, err) < 0 ? -(int)err->code : answer.allowed;
}

int
acc_check_any(struct acc *a, const char *verb, enum acc_right right, struct err *err)
{
    const struct acc_question q = question(a, verb, right, acc_store());
    const struct acc_rules *rules;

    if (!in_scope(a, &q, true))
        return refuse_scope(a, &q, "*", err);
    if (a->is_owner)
        return 0;
    if (acc_rules_now(a, &rules, err) < 0)
        return -(int)err->code;
    return acc_decide_any(rules, &q) ? 0 : refuse(a, &q, "*", 0, 0, err);
}

static int
is_the_owner(struct acc *a, const char *subject, struct err *err)
{
    int64_t one;

    return db_get_int(a->db, &one, err,
                      "SELECT 1 FROM subject WHERE name = ? AND is_owner = 1", "t",
                      subject);
}

int
acc_holds(struct acc *a, const char *subject, enum acc_right right,
          struct acc_object on, struct err *err)
{
    struct acc_question q = question(a, NULL, right, on);
    struct acc_answer answer;
    int r = is_the_owner(a, subject, err);

    q.subject = subject;
    if (r != 0)
        return r;
    return decide(a, &q, &answer, err) < 0 ? -(int)err->code : answer.allowed;
}

int
acc_has_role(struct acc *a, const char *subject, const char *role, struct err *err)
{
    const int64_t now_ns = clock_now_ns();
    int64_t one;

    return db_get_int(a->db, &one, err,
                      "SELECT 1 FROM rule WHERE subject = ? AND effect = 'role' AND "
                      "object = ? AND from_ns <= ? AND until_ns > ? AND ended_ns = ? "
                      "LIMIT 1",
                      "ttiii", subject, role, now_ns, now_ns, ACC_FOREVER);
}

int
acc_may_read_text(struct acc *a, const char *object, struct err *err)
{
    struct acc_asked asked AUTO(acc_asked_release) = { .text = BUF_INIT };
    struct err none = ERR_INIT;
    const bool one = acc_asked_parse(object, &asked, &none) == 0;

    return acc_may(a, NULL, ACC_READ, one ? asked.on : acc_store(), err);
}

int
acc_explain(struct acc *a, const char *subject, const char *verb_or_null,
            enum acc_right right, struct acc_object on, struct acc_explain *out,
            struct err *err)
{
    struct acc_question q = question(a, verb_or_null, right, on);
    struct buf object AUTO(buf_release) = BUF_INIT, asked AUTO(buf_release) = BUF_INIT;
    struct acc_answer answer;
    int r = is_the_owner(a, subject, err);

    *out = (struct acc_explain){ .is_owner = r == 1, .allowed = r == 1 };
    q.subject = subject;
    if (r >= 0 && strcmp(subject, a->actor) == 0 && !in_scope(a, &q, false)) {
        *out = (struct acc_explain){ .scope_of = scope_name(a) };
        acc_object_text(&on, &object);
        buf_addf(&asked, "%s:%s", what_of(&q), buf_str(&object));
        buf_addf(&out->way, "sluice token create %s --scope ", subject);
        add_quoted(buf_str(&asked), &out->way);
        return 0;
    }
    if (r != 0)
        return r < 0 ? r : 0;
    if (decide(a, &q, &answer, err) < 0)
        return -(int)err->code;
    out->allowed = answer.allowed;
    out->rule = answer.rule;
    out->role = answer.role;
    if (answer.allowed)
        return 0;
    acc_object_text(&on, &object);
    return add_way(a, &q, buf_str(&object), answer.rule, &out->way, err);
}

void
acc_explain_release(struct acc_explain *x)
{
    buf_release(&x->way);
}
