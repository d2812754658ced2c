/* SPDX-License-Identifier: Apache-2.0 */
#include "access/identity.h"

#include "access/acc_int.h"
#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { URL_MAX = 400, MATCHES_MAX = 32 };

/* ---- rules ---- */

static bool
is_http(const char *url)
{
    return strncmp(url, "http://127.0.0.1:", 17) == 0 ||
           strncmp(url, "http://[::1]:", 13) == 0 ||
           strncmp(url, "http://localhost:", 17) == 0;
}

static int
check_issuer(const struct acc_issuer *i, struct err *err)
{
    bool ok = strlen(i->url) <= URL_MAX;

    for (const char *p = i->name; *p; p++)
        ok = ok && (strchr("-_.", *p) || (*p >= '0' && *p <= '9') ||
                    (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z'));
    if (!ok || !i->name[0] || strlen(i->name) >= ACC_SUBJECT_BYTES)
        return err_set(err, ERR_INVALID,
                       "'%.80s' is no name of an issuer: A-Z a-z 0-9 _ . -, such as "
                       "github",
                       i->name);
    for (const char *p = i->url; *p; p++)
        ok = ok && *p > ' ' && *p < 0x7f && !strchr("?#\"\\", *p);
    if (!ok || (strncmp(i->url, "https://", 8) != 0 && !is_http(i->url)))
        return err_set(err, ERR_INVALID,
                       "'%.200s' is no issuer's URL: https://…, as its tokens' iss has "
                       "it (http:// of this machine alone)",
                       i->url);
    if (!i->audience[0] || strlen(i->audience) > URL_MAX)
        return err_set(err, ERR_INVALID,
                       "--audience: what the jobs ask their token for, such as this "
                       "service's URL");
    return 0;
}

/* {"CLAIM": "PATTERN"} of "CLAIM=PATTERN" … */
static int
make_match(const cJSON *pairs, struct buf *out, struct err *err)
{
    cJSON *o AUTO(json_free) = cJSON_CreateObject();
    bool binds = false;
    const cJSON *e;

    cJSON_ArrayForEach(e, pairs)
    {
        const char *text = e->valuestring, *eq = strchr(text, '=');
        char *claim AUTO(free_ptr) = eq ? xstrndup(text, (size_t)(eq - text)) : NULL;

        if (!eq || eq == text || !eq[1] || strlen(text) > URL_MAX)
            return err_set(err, ERR_INVALID,
                           "--match '%.80s': CLAIM=PATTERN, such as "
                           "repository=org/fraud",
                           text);
        if (json_has(o, claim))
            return err_set(err, ERR_INVALID,
                           "--match names the claim %s twice: a rule wants all of its "
                           "matches; for either add another rule",
                           claim);
        json_put_str(o, claim, eq + 1);
        binds |= eq[1] != '*' && strcmp(claim, "iss") != 0 && strcmp(claim, "aud") != 0;
    }
    if (!binds || cJSON_GetArraySize(o) > MATCHES_MAX)
        return err_set(
            err, ERR_INVALID,
            "a rule says whose jobs it means: 1 to %d --match CLAIM=PATTERN, "
            "one at least that does not begin with '*', such as "
            "repository=org/fraud; an issuer signs for all the world",
            MATCHES_MAX);
    json_canonical(o, out);
    return 0;
}

static int
put_issuer(struct acc *a, const struct acc_issuer *i, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int r = db_query(a->db, &st, err,
                     "SELECT name, url, audience FROM issuer WHERE name = ? OR url = ?",
                     "tt", i->name, i->url);

    if (r == 0)
        r = db_step(st, err);
    if (r == 1 &&
        (strcmp(db_text(st, 0), i->name) != 0 || strcmp(db_text(st, 1), i->url) != 0 ||
         strcmp(db_text(st, 2), i->audience) != 0))
        return err_set(err, ERR_CONFLICT,
                       "issuer %s is %s with the audience '%s': a rule more says the "
                       "same, or sluice issuer remove %s first",
                       db_text(st, 0), db_text(st, 1), db_text(st, 2), db_text(st, 0));
    if (r != 0)
        return r < 0 ? r : 0;
    return db_run(a->db, err,
                  "INSERT INTO issuer(name, url, audience, by, time_ns) "
                  "VALUES(?, ?, ?, ?, ?)",
                  "tttti", i->name, i->url, i->audience, a->actor, clock_now_ns());
}

int
acc_issuer_add(struct acc *a, const struct acc_issuer *issuer, const cJSON *pairs,
               const char *subject, const char *scope, int64_t *number, struct err *err)
{
    struct buf match AUTO(buf_release) = BUF_INIT;
    int r = check_issuer(issuer, err);

    if (r == 0)
        r = make_match(pairs, &match, err);
    if (r == 0)
        r = acc_check_subject(a, subject, err);
    if (r == 0)
        r = put_issuer(a, issuer, err);
    if (r == 0)
        r = db_get_int(a->db, number, err,
                       "SELECT coalesce(max(number), 0) + 1 FROM issuer_rule", "");
    if (r < 0)
        return r;
    return db_run(a->db, err,
                  "INSERT INTO issuer_rule(issuer, number, subject, scope, match_, by, "
                  "time_ns) VALUES(?, ?, ?, ?, ?, ?, ?)",
                  "titttti", issuer->name, *number, subject, scope, buf_str(&match),
                  a->actor, clock_now_ns());
}

int
acc_issuer_remove(struct acc *a, const char *name, int64_t number, struct err *err)
{
    int r = db_run(a->db, err,
                   "DELETE FROM issuer_rule WHERE issuer = ? AND (number = ? OR ? = 0)",
                   "tii", name, number, number);
    bool some = r == 0 && db_changes(a->db) > 0;

    if (r == 0)
        r = db_run(a->db, err,
                   "DELETE FROM issuer WHERE name = ? AND NOT EXISTS "
                   "(SELECT 1 FROM issuer_rule WHERE issuer = name)",
                   "t", name);
    if (r == 0 && !some && db_changes(a->db) == 0)
        return err_set(err, ERR_NOTFOUND,
                       "there is no such issuer or rule: sluice issuer list");
    return r;
}

static void
read_rule(struct db_stmt *st, struct acc_issuer_rule *out)
{
    *out = (struct acc_issuer_rule){ .issuer = { .name = db_text(st, 0),
                                                 .url = db_text(st, 1),
                                                 .audience = db_text(st, 2) },
                                     .number = db_int(st, 3),
                                     .subject = db_text(st, 4),
                                     .scope = db_text(st, 5),
                                     .match = db_text(st, 6),
                                     .by = db_text(st, 7),
                                     .time_ns = db_int(st, 8) };
}
#define RULES                                                                          \
    "SELECT i.name, i.url, i.audience, r.number, r.subject, r.scope, r.match_, r.by, " \
    "r.time_ns FROM issuer i JOIN issuer_rule r ON r.issuer = i.name "

int
acc_issuer_rules(struct acc *a,
                 int (*fn)(void *arg, const struct acc_issuer_rule *r, struct err *err),
                 void *arg, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int r = db_query(a->db, &st, err, RULES "ORDER BY i.name, r.number", "");

    while (r >= 0 && (r = db_step(st, err)) == 1) {
        struct acc_issuer_rule rule;

        read_rule(st, &rule);
        r = fn(arg, &rule, err);
    }
    return r;
}

/* ---- a job ---- */

static bool
fits_value(const char *pattern, const cJSON *v)
{
    char number[32];

    if (cJSON_IsString(v))
        return acc_glob(pattern, str_of(v->valuestring));
    if (cJSON_IsBool(v))
        return acc_glob(pattern, str_of(cJSON_IsTrue(v) ? "true" : "false"));
    if (cJSON_IsNumber(v)) {
        snprintf(number, sizeof(number), "%.17g", v->valuedouble);
        return acc_glob(pattern, str_of(number));
    }
    return false;
}

bool
acc_issuer_fits(const char *match, const cJSON *claims)
{
    cJSON *wanted AUTO(json_free) = cJSON_Parse(match);
    const cJSON *w, *e;

    if (!cJSON_IsObject(wanted) || !wanted->child)
        return false;
    cJSON_ArrayForEach(w, wanted)
    {
        const cJSON *v = cJSON_GetObjectItemCaseSensitive(claims, w->string);
        bool found = v && fits_value(w->valuestring, v);

        if (cJSON_IsArray(v))
            cJSON_ArrayForEach(e, v) found |= fits_value(w->valuestring, e);
        if (!found)
            return false;
    }
    return true;
}

int
acc_issuer_find(struct acc *a, const char *url, const cJSON *claims,
                struct acc_job *out, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    struct acc_issuer_rule rule;
    int r =
        db_query(a->db, &st, err, RULES "WHERE i.url = ? ORDER BY r.number", "t", url);

    while (r >= 0 && (r = db_step(st, err)) == 1) {
        read_rule(st, &rule);
        if (!acc_issuer_fits(rule.match, claims))
            continue;
        snprintf(out->issuer, sizeof(out->issuer), "%s", rule.issuer.name);
        snprintf(out->subject, sizeof(out->subject), "%s", rule.subject);
        out->rule = rule.number;
        out->scope = rule.scope ? xstrdup(rule.scope) : NULL;
        return 1;
    }
    return r;
}
