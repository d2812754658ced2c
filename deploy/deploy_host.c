/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/host.h"

#include "base/clock.h"
#include "deploy/deploy_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS INT64_C(1000000000)

static const char *const states[] = { "fetching", "checking", "observed",   "switched",
                                      "failed",   "held",     "rolled-back" };

/* ---- the rule -----------------------------------------------------------------------
 */

int
deploy_host_rule(struct repo *r, const char *alias, struct host_rule *out,
                 struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int e = db_query(r->db, &st, err,
                     "SELECT at_once, max_failing, silent_s FROM host_rule "
                     "WHERE alias = ?",
                     "t", alias);

    *out = (struct host_rule){ .max_failing = -1, .silent_s = HOST_SILENT_S };
    if (e == 0)
        e = db_step(st, err);
    if (e == 1)
        *out = (struct host_rule){ db_int(st, 0), db_int(st, 1), db_int(st, 2) };
    return e;
}

int
deploy_host_rule_set(struct repo *r, const char *alias, const struct host_rule *rule,
                     struct err *err)
{
    int e = repo_check_alias_name(alias, err);

    if (e == 0 && rule &&
        (rule->at_once < 0 || rule->max_failing < -1 || rule->silent_s < 1))
        return err_set(err, ERR_INVALID,
                       "a rollout has 0 hosts at once (all) or more, 0 failing ones "
                       "or more, and a silence of a second or more");
    if (e == 0)
        e = db_run(r->db, err, "DELETE FROM host_rule WHERE alias = ?", "t", alias);
    if (e < 0 || !rule)
        return e;
    return db_run(r->db, err,
                  "INSERT INTO host_rule(alias, at_once, max_failing, silent_s) "
                  "VALUES(?, ?, ?, ?)",
                  "tiii", alias, rule->at_once, rule->max_failing, rule->silent_s);
}

/* ---- may a host have a release now? -------------------------------------------------
 */

struct turn {
    bool go, again;
    bool is_stopped; /* for all hosts that have it not */
    struct buf why;  /* when not */
};

static void
turn_release(struct turn *t)
{
    buf_release(&t->why);
}

struct others {
    int n_failing, n_busy;
    struct buf failing, busy; /* their names */
};

static void
others_release(struct others *o)
{
    buf_release(&o->failing);
    buf_release(&o->busy);
}

static void
add_name(struct buf *out, const char *name, const char *note)
{
    if (out->len < 200)
        buf_addf(out, "%s%s%s", out->len ? ", " : "", name, note);
    else if (buf_str(out)[out->len - 1] != '.')
        buf_adds(out, " ...");
}

static int
look_around(struct repo *r, const char *host, const struct deploy_release *rel,
            int64_t silent_s, struct others *out, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    const int64_t since_ns = clock_now_ns() - silent_s * NS;
    int e = db_query(r->db, &st, err,
                     "SELECT s.host, s.state, h.heard_ns FROM host_state s "
                     "JOIN host_heard h ON h.host = s.host WHERE s.model = ? AND "
                     "s.alias = ? AND s.release = ? AND s.host <> ? ORDER BY s.host",
                     "ttit", rel->model, rel->alias, rel->number, host);

    while (e >= 0 && (e = db_step(st, err)) == 1) {
        const char *state = db_text(st, 1);
        const bool busy =
            strcmp(state, "fetching") == 0 || strcmp(state, "checking") == 0;

        if (strcmp(state, "failed") == 0 || strcmp(state, "rolled-back") == 0) {
            out->n_failing++;
            add_name(&out->failing, db_text(st, 0), "");
        } else if (busy && db_int(st, 2) < since_ns) {
            out->n_failing++;
            add_name(&out->failing, db_text(st, 0), " (silent)");
        } else if (busy) {
            out->n_busy++;
            add_name(&out->busy, db_text(st, 0), "");
        }
    }
    return e;
}

static int
turn_of(struct repo *r, const char *host, const struct deploy_release *rel,
        struct turn *out, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    struct others o AUTO(others_release) = { .n_failing = 0 };
    struct host_rule rule;
    bool has_it = false;
    int e = db_query(r->db, &st, err,
                     "SELECT release, state FROM host_state WHERE host = ? AND "
                     "model = ? AND alias = ?",
                     "ttt", host, rel->model, rel->alias);

    if (e == 0)
        e = db_step(st, err);
    if (e == 1 && db_int(st, 0) == rel->number) {
        const char *state = db_text(st, 1);

        out->again = strcmp(state, "again") == 0;
        has_it = !out->again;
        if (strcmp(state, "failed") == 0 || strcmp(state, "rolled-back") == 0) {
            buf_addf(&out->why, "it is %s on this host: sluice host retry %s", state,
                     host);
            return 0;
        }
    }
    if (e >= 0)
        e = deploy_host_rule(r, rel->alias, &rule, err);
    out->go = has_it || e == 0 || strcmp(rel->verb, "rollback") == 0;
    if (e < 0 || out->go)
        return e < 0 ? e : 0;
    e = look_around(r, host, rel, rule.silent_s, &o, err);
    if (e < 0)
        return e;
    out->is_stopped = rule.max_failing >= 0 && o.n_failing > rule.max_failing;
    if (out->is_stopped)
        buf_addf(&out->why,
                 "the rollout is stopped: %d failing (%s), at most %" PRId64 " may be",
                 o.n_failing, buf_str(&o.failing), rule.max_failing);
    else if (rule.at_once > 0 && o.n_busy >= rule.at_once)
        buf_addf(&out->why, "waits for its turn: %s is at it, %" PRId64 " at once",
                 buf_str(&o.busy), rule.at_once);
    else
        out->go = true;
    return 0;
}

/* ---- want ---------------------------------------------------------------------------
 */

static int
add_version(struct repo *r, cJSON *o, int64_t version_id, const char *share_key,
            int share, struct err *err)
{
    char digest[REPO_DIGEST_BYTES];
    struct repo_version v;

    if (repo_version_get(r, version_id, &v, err) < 0)
        return -(int)err->code;
    repo_digest_text(&v.digest, digest);
    json_put_int(o, "version", v.number);
    json_put_int(o, share_key, share);
    json_put_str(o, "digest", digest);
    json_put_int(o, "bytes", v.size_bytes);
    return 0;
}

static int
add_members(struct repo *r, cJSON *o, const struct deploy_release *rel, struct err *err)
{
    cJSON *list = cJSON_AddArrayToObject(o, "members");
    const struct deploy_member *mirror = deploy_mirror(rel);
    int e = 0;

    for (int i = 0; e == 0 && i < rel->n_members; i++) {
        cJSON *m = cJSON_CreateObject();

        cJSON_AddItemToArray(list, m);
        e = add_version(r, m, rel->members[i].version_id, "weight",
                        rel->members[i].weight, err);
    }
    if (e == 0 && mirror)
        e = add_version(r, cJSON_AddObjectToObject(o, "mirror"), mirror->version_id,
                        "share", mirror->mirror, err);
    return e;
}

static int
add_wanted(struct repo *r, const char *host, cJSON *list,
           const struct deploy_release *rel, struct err *err)
{
    struct turn t AUTO(turn_release) = { .go = false };
    char time[CLOCK_TEXT_BYTES];
    cJSON *o = cJSON_CreateObject();
    int e;

    cJSON_AddItemToArray(list, o);
    json_put_str(o, "model", rel->model);
    json_put_str(o, "alias", rel->alias);
    json_put_int(o, "release", rel->number);
    json_put_str(o, "verb", rel->verb);
    json_put_str(o, "by", rel->actor);
    json_put_str(o, "since", clock_text(rel->intended_ns, time));
    json_put_str(o, "reason", rel->reason);
    e = add_members(r, o, rel, err);
    if (e == 0)
        e = turn_of(r, host, rel, &t, err);
    json_put_bool(o, "go", t.go);
    json_put_bool(o, "again", t.again);
    json_put_str(o, "why", t.why.len ? buf_str(&t.why) : NULL);
    return e;
}

static int
check_host(const char *host, struct err *err)
{
    return repo_check_alias_name(host, err) < 0 ? err_ctx(err, "host") : 0;
}

int
deploy_host_want(struct repo *r, const char *host, const char *alias,
                 bool (*reads)(void *arg, const char *model), void *arg, cJSON **out,
                 struct err *err)
{
    struct history h AUTO(history_close) = HISTORY_INIT;
    cJSON *doc AUTO(json_free) = cJSON_CreateObject();
    struct deploy_release rel;
    struct host_rule rule;
    cJSON *list;
    int e = check_host(host, err);

    *out = NULL;
    if (e == 0)
        e = repo_check_alias_name(alias, err);
    if (e == 0)
        e = deploy_host_rule(r, alias, &rule, err);
    if (e < 0)
        return e;
    json_put_str(doc, "host", host);
    json_put_str(doc, "alias", alias);
    json_put_bool(doc, "rule", e == 1);
    list = cJSON_AddArrayToObject(doc, "models");
    e = history_open_live(&h, r, alias, err);
    while (e == 0 && (e = history_next(&h, &rel, err)) == 1)
        e = reads(arg, rel.model) ? add_wanted(r, host, list, &rel, err) : 0;
    if (e < 0)
        return e;
    *out = doc;
    doc = NULL;
    return 0;
}

/* ---- report -------------------------------------------------------------------------
 */

static int
check_report(struct repo *r, const struct host_report *h, struct deploy_release *live,
             struct err *err)
{
    bool known = false;
    int e = check_host(h->host, err);

    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
        known |= strcmp(states[i], h->state) == 0;
    if (e == 0 && !known)
        return err_set(err, ERR_INVALID,
                       "'%s' is no state of a host: fetching, checking, observed, "
                       "switched, failed, held or rolled-back",
                       h->state);
    if (e == 0)
        e = repo_check_text(h->detail, 2000, false, "the detail", err);
    if (e == 0)
        e = repo_check_text(h->shows, 600, false, "what it shows", err);
    if (e == 0)
        e = deploy_live(r, h->model, h->alias, live, err);
    if (e == 0 && h->release != 0)
        return err_set(err, ERR_NOTFOUND, "nothing is live on %s@%s", h->model,
                       h->alias);
    if (e == 1 && (h->release < 0 || h->release > live->number))
        return err_set(err, ERR_CONFLICT,
                       "%s@%s has no release %" PRId64 ": the newest is %" PRId64,
                       h->model, h->alias, h->release, live->number);
    return e < 0 ? e : 0;
}

int
deploy_host_report(struct repo *r, const struct host_report *h, struct buf *why,
                   struct err *err)
{
    struct turn t AUTO(turn_release) = { .go = false };
    struct deploy_release live;
    int64_t one;
    int e = check_report(r, h, &live, err);

    if (e == 0)
        e = db_run(r->db, err,
                   "INSERT INTO host_heard(host, heard_ns) VALUES(?, ?) "
                   "ON CONFLICT(host) DO UPDATE SET heard_ns = excluded.heard_ns",
                   "ti", h->host, clock_now_ns());
    if (e == 0 && strcmp(h->state, "fetching") == 0) {
        if (h->release != live.number)
            buf_addf(&t.why, "release %" PRId64 " is not live any more", h->release);
        else
            e = turn_of(r, h->host, &live, &t, err);
        if (e < 0 || !t.go) {
            buf_adds(why, buf_str(&t.why));
            return e;
        }
    }
    if (e == 0)
        e = db_get_int(r->db, &one, err,
                       "SELECT 1 FROM host_state WHERE host = ? AND model = ? AND "
                       "alias = ? AND release = ? AND state = ? AND shows = ? AND "
                       "(detail = ? OR state = 'fetching')",
                       "tttittt", h->host, h->model, h->alias, h->release, h->state,
                       h->shows, h->detail);
    if (e != 0)
        return e < 0 ? e : 0;
    e = db_run(r->db, err,
               "INSERT INTO host_state(host, model, alias, release, state, detail, "
               "shows, at_ns) VALUES(?, ?, ?, ?, ?, ?, ?, ?) "
               "ON CONFLICT(host, model, alias) DO UPDATE SET "
               "release = excluded.release, state = excluded.state, "
               "detail = excluded.detail, shows = excluded.shows, "
               "at_ns = excluded.at_ns",
               "tttittti", h->host, h->model, h->alias, h->release, h->state, h->detail,
               h->shows, h->at_ns);
    return e < 0 ? e : 1;
}

int
deploy_host_retry(struct repo *r, const char *host, int *n, struct err *err)
{
    int e = db_run(r->db, err,
                   "UPDATE host_state SET state = 'again' WHERE host = ? AND state IN "
                   "('failed', 'rolled-back')",
                   "t", host);

    *n = (int)db_changes(r->db);
    if (e == 0 && *n == 0)
        return err_set(err, ERR_NOTFOUND,
                       "nothing failed or was taken back on host %s: sluice host list",
                       host);
    return e;
}

int
deploy_host_forget(struct repo *r, const char *host, struct err *err)
{
    int64_t n;
    int e = db_run(r->db, err, "DELETE FROM host_state WHERE host = ?", "t", host);

    n = db_changes(r->db);
    if (e == 0)
        e = db_run(r->db, err, "DELETE FROM host_heard WHERE host = ?", "t", host);
    if (e == 0 && n + db_changes(r->db) == 0)
        return err_set(err, ERR_NOTFOUND, "no host %s: sluice host list", host);
    return e;
}

/* ---- list, status -------------------------------------------------------------------
 */

/* It shows what the alias means, and nobody has to look after it. */
static bool
is_well(const char *state, int64_t release, int64_t live)
{
    return release == live &&
           (strcmp(state, "observed") == 0 || strcmp(state, "switched") == 0);
}

static int
each_host(struct repo *r, const char *alias, const char *model, cJSON *list, int *n_ok,
          bool only_bad, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int e = db_query(
        r->db, &st, err,
        "SELECT s.host, s.model, s.alias, s.release, s.state, s.detail, s.shows, "
        "s.at_ns, h.heard_ns, coalesce(l.number, 0) FROM host_state s "
        "LEFT JOIN host_heard h ON h.host = s.host "
        "LEFT JOIN release l ON l.model = s.model AND l.alias = s.alias AND "
        "l.state = 'live' WHERE (? OR s.alias = ?) AND (? OR s.model = ?) "
        "ORDER BY s.alias, s.model, s.host",
        "itit", (int64_t)!alias, alias, (int64_t)!model, model);

    while (e >= 0 && (e = db_step(st, err)) == 1) {
        const bool ok = is_well(db_text(st, 4), db_int(st, 3), db_int(st, 9));
        char time[CLOCK_TEXT_BYTES];
        cJSON *o;

        *n_ok += ok;
        if (ok && only_bad)
            continue;
        o = cJSON_CreateObject();
        cJSON_AddItemToArray(list, o);
        json_put_str(o, "host", db_text(st, 0));
        json_put_str(o, "model", db_text(st, 1));
        json_put_str(o, "alias", db_text(st, 2));
        json_put_int(o, "release", db_int(st, 3));
        json_put_int(o, "wanted", db_int(st, 9));
        json_put_str(o, "state", db_text(st, 4));
        json_put_str(o, "detail", db_text(st, 5));
        json_put_str(o, "shows", db_text(st, 6));
        json_put_str(o, "at", clock_text(db_int(st, 7), time));
        json_put_str(o, "heard",
                     db_is_null(st, 8) ? NULL : clock_text(db_int(st, 8), time));
        json_put_bool(o, "ok", ok);
    }
    return e;
}

int
deploy_hosts(struct repo *r, const char *alias_or_null, cJSON **out, struct err *err)
{
    int n_ok = 0, e;

    *out = cJSON_CreateArray();
    e = each_host(r, alias_or_null, NULL, *out, &n_ok, false, err);
    if (e < 0)
        json_free(out);
    return e;
}

/* Why no host gets the release any more, as a host that is none of them would hear. */
static int
add_stopped(struct repo *r, const cJSON *a, cJSON *o, struct err *err)
{
    struct turn t AUTO(turn_release) = { .go = false };
    struct deploy_release live;
    int e =
        deploy_live(r, cJSON_GetStringValue(cJSON_GetObjectItem(a, "model")),
                    cJSON_GetStringValue(cJSON_GetObjectItem(a, "alias")), &live, err);

    if (e == 1)
        e = turn_of(r, "", &live, &t, err);
    if (e == 0 && t.is_stopped)
        json_put_str(o, "stopped", buf_str(&t.why));
    return e < 0 ? e : 0;
}

int
deploy_hosts_status(struct repo *r, cJSON *status, struct err *err)
{
    cJSON *a;
    int e = 0;

    cJSON_ArrayForEach(a, cJSON_GetObjectItemCaseSensitive(status, "aliases"))
    {
        cJSON *differ = cJSON_CreateArray(), *o = cJSON_CreateObject();
        int n_ok = 0;

        cJSON_AddItemToObject(o, "differ", differ);
        e = each_host(r, cJSON_GetStringValue(cJSON_GetObjectItem(a, "alias")),
                      cJSON_GetStringValue(cJSON_GetObjectItem(a, "model")), differ,
                      &n_ok, true, err);
        json_put_int(o, "as_wanted", n_ok);
        if (e >= 0 && differ->child)
            e = add_stopped(r, a, o, err);
        if (e >= 0 && (n_ok > 0 || differ->child))
            cJSON_AddItemToObject(a, "hosts", o);
        else
            cJSON_Delete(o);
        if (e < 0)
            break;
    }
    return e;
}
