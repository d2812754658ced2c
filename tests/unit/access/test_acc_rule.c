/* SPDX-License-Identifier: Apache-2.0 */
/* Decisions, held against an oracle: the same rules read as sentences, one after the
 * other, with no index and nothing parsed beforehand. */
#include "access/rule.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the oracle ------------------------------------------------------------------ */

static bool
like(const char *pattern, const char *text)
{
    if (*pattern == '\0')
        return *text == '\0';
    if (*pattern == '*')
        return like(pattern + 1, text) || (*text && like(pattern, text + 1));
    if (*pattern == '\\' && pattern[1])
        pattern++;
    return *pattern == *text && like(pattern + 1, text + 1);
}

static bool
starts(const char *text, const char *with, const char **rest)
{
    *rest = text + strlen(with);
    return strncmp(text, with, strlen(with)) == 0;
}

/* "left/right" against two texts. */
static bool
both_like(const char *pattern, char separator, const char *left, const char *right)
{
    char copy[512];
    char *at;

    snprintf(copy, sizeof(copy), "%s", pattern);
    at = strchr(copy, separator);
    *at = '\0';
    return like(copy, left) && like(at + 1, right);
}

static bool
oracle_covers(const char *rule, const struct acc_object *o)
{
    const char *rest;

    if (strcmp(rule, "*") == 0)
        return true;
    if (strcmp(rule, "store") == 0)
        return o->kind == ACC_STORE;
    if (starts(rule, "target:", &rest))
        return o->kind == ACC_TARGET && like(rest, o->name);
    if (starts(rule, "hook:", &rest))
        return o->kind == ACC_HOOK && like(rest, o->name);
    if (starts(rule, "key:", &rest))
        return o->kind == ACC_KEY && like(rest, o->name);
    if (starts(rule, "host:", &rest))
        return o->kind == ACC_HOST && like(rest, o->name);
    if (starts(rule, "policy:", &rest))
        return o->kind == ACC_POLICY && like(rest, o->name);
    if (starts(rule, "golden:", &rest))
        return o->kind == ACC_GOLDEN && both_like(rest, '/', o->model, o->name);
    const bool every = o->kind == ACC_ALIAS && strcmp(o->model, "*") == 0;
    if (strchr(rule, '@'))
        return o->kind == ACC_ALIAS && (!every || strncmp(rule, "*@", 2) == 0) &&
               both_like(rule, '@', o->model, o->name);
    if (!starts(rule, "model:", &rest))
        rest = rule;
    return o->model && !every && like(rest, o->model);
}

static bool
is_right(const char *what)
{
    enum acc_right right;
    struct err err = ERR_INIT;

    return acc_right_parse(what, &right, &err) == 0;
}

static bool
oracle_gives(const struct acc_rule *r, const struct acc_question *q)
{
    const char *verb;

    if (is_right(r->what))
        return strcmp(r->what, acc_right_text(q->right)) == 0 ||
               (q->right == ACC_READ && r->effect == ACC_ALLOW);
    if (!q->verb)
        return false;
    return strcmp(starts(r->what, "verb:", &verb) ? verb : r->what, q->verb) == 0;
}

static bool
oracle_has(const struct acc_rule *rules, int n, const char *subject, const char *role,
           int64_t now_ns)
{
    for (int i = 0; i < n; i++)
        if (rules[i].effect == ACC_ROLE && strcmp(rules[i].subject, subject) == 0 &&
            strcmp(rules[i].object, role) == 0 && now_ns >= rules[i].from_ns &&
            now_ns < rules[i].until_ns)
            return true;
    return false;
}

/* The number of the rule that decides; negative: it denies; 0: none. */
static int64_t
oracle(const struct acc_rule *rules, int n, const struct acc_question *q)
{
    for (int effect = ACC_DENY; effect >= (int)ACC_ALLOW; effect--)
        for (int i = 0; i < n; i++) {
            const struct acc_rule *r = &rules[i];

            if ((int)r->effect == effect && q->now_ns >= r->from_ns &&
                q->now_ns < r->until_ns &&
                (strcmp(r->subject, q->subject) == 0 ||
                 oracle_has(rules, n, q->subject, r->subject, q->now_ns)) &&
                oracle_gives(r, q) && oracle_covers(r->object, &q->on))
                return effect == ACC_DENY ? -r->id : r->id;
        }
    return 0;
}

/* ---- cases ----------------------------------------------------------------------- */

static uint64_t
draw(uint64_t *state, uint64_t below)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (*state >> 11) % below;
}
#define PICK(state, list) (list)[draw(state, sizeof(list) / sizeof((list)[0]))]

static const char *const subjects[] = { "alice", "bob" };
static const char *const roles[] = { "role:a", "role:b" };
static const char *const whats[] = { "read",     "push",      "promote",
                                     "rollback", "verb:push", "list" };
static const char *const verbs[] = { "push", "rollback", "list" };
static const enum acc_right rights[] = { ACC_NONE, ACC_READ, ACC_PUSH, ACC_PROMOTE };
static const char *const objects[] = {
    "*",
    "store",
    "fraud",
    "fr*",
    "*d",
    "team-*",
    "team-a",
    "model:store",
    "a\\*b",
    "a*b",
    "**",
    "\\*",
    "fraud@live",
    "*@live",
    "fr*@l*",
    "fraud@*",
    "\\*@live",
    "team-*@live",
    "store@live",
    "target:web",
    "target:w*",
    "target:*",
    "golden:fraud/x",
    "golden:*/x",
    "golden:fr*/*",
    "policy:live",
    "policy:*",
    "policy:target:web",
    "policy:target:*",
    "hook:x",
    "hook:*",
    "key:x",
    "key:*y",
    "host:w*",
    "host:*",
    "f\\raud",
    "model:fr*",
};
static const char *const models[] = { "fraud", "team-a", "team-b", "store",
                                      "a*b",   "axb",    "fraudd", "f" };
static const char *const aliases[] = { "live", "l", "staging", "x" };
static const char *const names[] = { "web", "w", "x", "xy" };

static struct acc_object
draw_object(uint64_t *s)
{
    switch ((enum acc_kind)draw(s, 9)) {
    case ACC_STORE:
        return acc_store();
    case ACC_MODEL:
        return acc_model(PICK(s, models));
    case ACC_ALIAS:
        return acc_alias(draw(s, 6) ? PICK(s, models) : "*", PICK(s, aliases));
    case ACC_TARGET:
        return acc_target(PICK(s, names));
    case ACC_GOLDEN:
        return (struct acc_object){ ACC_GOLDEN, PICK(s, models), PICK(s, names) };
    case ACC_POLICY:
        return (struct acc_object){ ACC_POLICY, draw(s, 2) ? PICK(s, models) : NULL,
                                    draw(s, 2) ? PICK(s, aliases) : "target:web" };
    case ACC_HOOK:
        return (struct acc_object){ ACC_HOOK, NULL, PICK(s, names) };
    case ACC_KEY:
        return (struct acc_object){ ACC_KEY, NULL, PICK(s, names) };
    case ACC_HOST:
        break;
    }
    return acc_host(PICK(s, names));
}

static void
draw_rule(uint64_t *s, int64_t id, struct acc_rule *out)
{
    const uint64_t kind = draw(s, 10);

    *out =
        (struct acc_rule){ .id = id,
                           .effect = kind < 6   ? ACC_ALLOW
                                     : kind < 8 ? ACC_DENY
                                                : ACC_ROLE,
                           .subject = draw(s, 3) ? PICK(s, subjects) : PICK(s, roles),
                           .what = PICK(s, whats),
                           .object = PICK(s, objects),
                           .from_ns = draw(s, 2) ? 0 : (int64_t)draw(s, 10),
                           .until_ns =
                               draw(s, 2) ? ACC_FOREVER : (int64_t)draw(s, 12) };
    if (out->effect == ACC_ROLE) {
        out->subject = PICK(s, subjects);
        out->what = "";
        out->object = PICK(s, roles);
    }
}

enum { TABLES = 10000, ASKED = 100, MOST = 80 };

TEST(test_acc_rule__a_million_decisions_are_the_oracles)
{
    uint64_t s = UINT64_C(0x5eed0f5a11ce5eed);
    int n_allowed = 0, n_denied = 0, n_nothing = 0;
    struct err err = ERR_INIT;

    for (int t = 0; t < TABLES; t++) {
        struct acc_rule rules[MOST];
        const int n = (int)draw(&s, MOST);
        struct acc_rules *x = acc_rules_new();

        for (int i = 0; i < n; i++) {
            draw_rule(&s, i + 1, &rules[i]);
            CHECK_OK(acc_rules_add(x, &rules[i], &err));
        }
        CHECK_INT(acc_rules_count(x), n);
        for (int i = 0; i < ASKED; i++) {
            const struct acc_question q = { .subject = PICK(&s, subjects),
                                            .right = PICK(&s, rights),
                                            .verb =
                                                draw(&s, 3) ? PICK(&s, verbs) : NULL,
                                            .on = draw_object(&s),
                                            .now_ns = (int64_t)draw(&s, 12) };
            const int64_t want = oracle(rules, n, &q);
            struct acc_answer got;

            acc_decide(x, &q, &got);
            n_allowed += want > 0;
            n_denied += want < 0;
            n_nothing += want == 0;
            if (got.allowed != (want > 0) || got.rule != (want < 0 ? -want : want)) {
                struct buf on = BUF_INIT;

                acc_object_text(&q.on, &on);
                unit_fail(__FILE__, __LINE__,
                          "table %d, question %d: %s %s (%s) %s at %d: rule %d %s, the "
                          "oracle says %d",
                          t, i, q.subject, acc_right_text(q.right),
                          q.verb ? q.verb : "-", buf_str(&on), (int)q.now_ns,
                          (int)got.rule, got.allowed ? "allows" : "denies", (int)want);
            }
            /* what a role gives comes through it, what is one's own does not */
            if (got.rule)
                CHECK((got.role != 0) ==
                      (strncmp(rules[got.rule - 1].subject, "role:", 5) == 0));
            if (got.allowed)
                CHECK(acc_decide_any(x, &q));
        }
        acc_rules_free(x);
    }
    CHECK_INT(n_allowed + n_denied + n_nothing, 1000000);
    /* the cases are about something */
    CHECK(n_allowed > 100000 && n_denied > 40000 && n_nothing > 100000);
}

/* ---- texts ----------------------------------------------------------------------- */

TEST(test_acc_rule__objects)
{
    static const struct {
        const char *text, *canonical; /* NULL: none */
    } cases[] = {
        { "*", "*" },
        { "store", "store" },
        { "fraud", "fraud" },
        { "model:fraud", "fraud" },
        { "model:store", "model:store" },
        { "Größe 2", "Größe 2" },
        { "fraud@live", "fraud@live" },
        { "*@live", "*@live" },
        { "golden:fraud/exam", "golden:fraud/exam" },
        { "policy:target:web", "policy:target:web" },
        { "key:store", "key:store" },
        { "", NULL },
        { "fraud@", NULL },
        { "@live", NULL },
        { "a@b@c", NULL },
        { "a/b", NULL },
        { "golden:fraud", NULL },
        { "golden:/x", NULL },
        { "golden:fraud/", NULL },
        { "golden:a/b/c", NULL },
        { "policy:web:x", NULL },
        { "policy:target:", NULL },
        { "target:", NULL },
        { "targets:web", NULL },
        { "store:x", NULL },
        { "fraud\\", NULL },
        { "fraud\n", NULL },
        { "fraud\x7f", NULL },
    };
    char *longest = xmalloc(ACC_OBJECT_MAX + 2);

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf out = BUF_INIT;
        struct err err = ERR_INIT;

        if (!cases[i].canonical) {
            CHECK_ERR(acc_object_parse(cases[i].text, &out, &err), ERR_INVALID);
            continue;
        }
        CHECK_OK(acc_object_parse(cases[i].text, &out, &err));
        CHECK_STR(buf_str(&out), cases[i].canonical);
        buf_release(&out);
    }
    for (size_t over = 0; over < 2; over++) {
        struct buf out = BUF_INIT;
        struct err err = ERR_INIT;

        memset(longest, 'm', ACC_OBJECT_MAX + over);
        longest[ACC_OBJECT_MAX + over] = '\0';
        CHECK_INT(acc_object_parse(longest, &out, &err), over ? -ERR_INVALID : 0);
        buf_release(&out);
    }
    free(longest);
}

/* What is asked for is said as what a grant on just that would name. */
TEST(test_acc_rule__what_is_asked_reads_back)
{
    uint64_t s = 77;

    for (int i = 0; i < 2000; i++) {
        const struct acc_object o = draw_object(&s);
        struct buf text = BUF_INIT, again = BUF_INIT, canonical = BUF_INIT;
        struct acc_asked asked;
        struct err err = ERR_INIT;

        acc_object_text(&o, &text);
        CHECK_OK(acc_object_parse(buf_str(&text), &canonical, &err));
        CHECK_STR(buf_str(&canonical), buf_str(&text));
        CHECK_OK(acc_asked_parse(buf_str(&text), &asked, &err));
        CHECK_INT(asked.on.kind, o.kind);
        acc_object_text(&asked.on, &again);
        CHECK_STR(buf_str(&again), buf_str(&text));
        CHECK(oracle_covers(buf_str(&text), &asked.on));
        acc_asked_release(&asked);
        buf_release(&text);
        buf_release(&again);
        buf_release(&canonical);
    }
}

TEST(test_acc_rule__asked_is_one_thing)
{
    static const char *const several[] = { "*", "team-*", "fraud@*", "target:*", "" };

    for (size_t i = 0; i < sizeof(several) / sizeof(several[0]); i++) {
        struct acc_asked asked;
        struct err err = ERR_INIT;

        CHECK_ERR(acc_asked_parse(several[i], &asked, &err), ERR_INVALID);
        acc_asked_release(&asked);
    }
}

TEST(test_acc_rule__broken_rules_are_refused)
{
    static const struct acc_rule broken[] = {
        { 1, ACC_ALLOW, "a", "Read", "*", 0, 1 },
        { 1, ACC_ALLOW, "a", "", "*", 0, 1 },
        { 1, ACC_ALLOW, "a", "verb:", "*", 0, 1 },
        { 1, ACC_DENY, "a", "read", "a/b", 0, 1 },
        { 1, ACC_ROLE, "a", "", "oncall", 0, 1 },
        { 1, ACC_ROLE, "role:b", "", "role:oncall", 0, 1 }, /* roles have no roles */
    };
    struct acc_rules *x = acc_rules_new();

    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        struct err err = ERR_INIT;

        CHECK_ERR(acc_rules_add(x, &broken[i], &err), ERR_INVALID);
    }
    CHECK_INT(acc_rules_count(x), 0);
    acc_rules_free(x);
}
