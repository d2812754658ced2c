/* SPDX-License-Identifier: Apache-2.0 */
/* A rollback rehearsed:
 *
 *     row "open" ─ release "there" ─ wait ─ release "back" ─ wait ─ row and event
 *                        └──────────┴── interrupted: what is live is a drill that
 *                                       replaced the row's release, and the next drill
 *                                       only goes back
 *
 * Whatever fails on the way there, what was live is brought back. */
#include "deploy/deploy_int.h"

#include "base/clock.h"
#include "repo/gc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOCK "drill.lock" /* in the store, while one is under way */
#define WAIT_MS 120000
#define POLL_MS 100
#define LOOK_MS 2000

struct drill {
    struct repo *r;
    const struct deploy_drill *d;
    struct deploy_release from; /* what was live, and is to be again */
    int64_t row;
    cJSON *report;
};

/* ---- where it goes ------------------------------------------------------------------
 */

static int
by_number(struct repo *r, const char *model, const char *alias, int64_t number,
          struct deploy_release *out, struct err *err)
{
    int64_t id;
    int e = db_get_int(r->db, &id, err,
                       "SELECT id FROM release WHERE model = ? AND alias = ? AND "
                       "number = ?",
                       "tti", model, alias, number);

    return e == 1 ? release_get(r, id, out, err) : e;
}

static int
moved(const struct deploy_release *live, struct err *err)
{
    return err_set(err, ERR_CONFLICT,
                   "somebody moved it meanwhile: release %" PRId64
                   " (%s by %s) is live",
                   live->number, live->verb, live->actor);
}

/* It is back already: it never got there, or an interrupted command got as far. */
static bool
is_back(const struct deploy_release *live, const struct deploy_release *back)
{
    return live->number == back->number ||
           (strcmp(live->verb, "drill") == 0 && live->stands_at == back->stands_at &&
            weights_same(live, back));
}

static int
plan_back(struct plan *p, struct err *err)
{
    const struct deploy_release *rel = &p->next;
    int e = by_number(p->r, p->c->model, p->c->alias, p->c->back_to, &p->next, err);

    if (e == 0)
        return err_set(err, ERR_NOTFOUND, "there is no release %" PRId64,
                       p->c->back_to);
    if (e == 1 && p->has_cur && is_back(&p->cur, rel)) {
        p->next = p->cur;
        return 0;
    }
    if (e == 1 && (!p->has_cur || !drill_is_there(&p->cur, p->c->back_to)))
        return moved(&p->cur, err);
    for (int i = 0; e > 0 && i < rel->n_members; i++) {
        struct repo_version v;

        e = repo_version_get(p->r, rel->members[i].version_id, &v, err);
        if (e == 0 && strcmp(v.state, "ready") != 0)
            return err_set(err, ERR_REFUSED,
                           "%s@%" PRId64 " is %s now: promote another", p->c->model,
                           v.number, v.state);
        e = e < 0 ? e : 1;
    }
    p->next.id = p->next.number = p->next.intended_ns = p->next.observed_ns = 0;
    weights_label(&p->next);
    return e < 0 ? e : 0;
}

/* Traffic only goes to what had some here. */
int
plan_drill(struct plan *p, struct err *err)
{
    int e;

    p->ungated = true;
    if (p->c->back_to)
        return plan_back(p, err);
    e = freeze_refuse(p->r, p->c->model, p->c->alias, err);
    if (e == 0)
        e = p->has_cur ? rollback_find(p->r, &p->cur, &p->bad, &p->next, err) : 0;
    if (e == 0)
        e = rollback_none(p->r, p->c->model, p->c->alias, err);
    return e < 0 ? e : 0;
}

/* ---- waiting ------------------------------------------------------------------------
 */

static int
ms_since(int64_t mono_ns)
{
    return (int)((clock_mono_ns() - mono_ns) / 1000000);
}

static bool
is_waited_for(const struct drill *x, const char *target)
{
    return !x->d->target || strcmp(x->d->target, target) == 0;
}

/* Each target of a way: observed at its switch, not to be observed, or waited for.
 * Returns how many are waited for; *unseen: how many will never be seen. */
static int
list_targets(const struct drill *x, const struct sites *sites, int switch_ms,
             cJSON *list, int *unseen)
{
    int n = 0;

    for (int i = 0; i < sites->n; i++) {
        const struct site *s = &sites->s[i];
        cJSON *o;

        if (!is_waited_for(x, s->t.name))
            continue;
        o = cJSON_CreateObject();
        json_put_str(o, "name", s->t.name);
        cJSON_AddItemToArray(list, o);
        if (!s->layout->not_observed)
            json_put_int(o, "observed_ms", switch_ms);
        else if (!site_is_stepped(s))
            json_put_str(o, "why", s->layout->not_observed);
        *unseen += s->layout->not_observed && !site_is_stepped(s);
        n += s->layout->not_observed && site_is_stepped(s);
    }
    return n;
}

static cJSON *
target_named(cJSON *list, const char *name)
{
    cJSON *o;

    cJSON_ArrayForEach(o, list)
    {
        if (strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(o, "name")), name) == 0)
            return o;
    }
    return NULL;
}

/* NULL: the server has nothing left that is not of the release, so that who asks for no
 * version in particular gets one of it; else what it has, to be freed. */
static char *
left_over(const struct deploy_target *t, const struct deploy_release *rel)
{
    struct server_seen seen = { .n = 0 };
    struct err why = ERR_INIT;

    if (server_observe(t, rel->model, LOOK_MS, &seen, &why) < 0)
        return xstrdup(why.msg);
    for (int i = 0; i < seen.n; i++) {
        bool is_ours = seen.v[i].state != SERVER_AVAILABLE;

        for (int k = 0; k < rel->n_members; k++)
            is_ours |= rel->members[k].number == seen.v[i].number;
        for (int k = 0; k < rel->n_kept; k++)
            is_ours |= rel->kept[k].number == seen.v[i].number;
        if (!is_ours)
            return xasprintf("version %" PRId64 " is still AVAILABLE",
                             seen.v[i].number);
    }
    return NULL;
}

static const struct deploy_target *
site_named(const struct sites *sites, const char *name)
{
    for (int i = 0; i < sites->n; i++)
        if (strcmp(sites->s[i].t.name, name) == 0)
            return &sites->s[i].t;
    return NULL;
}

/* Why a target, by what a round of steps says of it, is not there yet; to be freed. */
static char *
not_there(const cJSON *said, const struct deploy_target *t,
          const struct deploy_release *rel)
{
    const char *stage = cJSON_GetStringValue(cJSON_GetObjectItem(said, "stage"));
    const char *why = step_waits(said);

    if (strcmp(stage, step_names[STEP_DONE]) == 0)
        return left_over(t, rel);
    return xstrdup(why ? why : "not seen yet");
}

/* One round of steps; returns how many are still waited for. */
static int
look(const struct drill *x, const struct sites *sites, const struct deploy_release *rel,
     cJSON *list, int64_t began_mono_ns, struct err *err)
{
    const struct deploy_step what = { .alias = x->d->alias, .model = x->d->model };
    cJSON *seen AUTO(json_free) = NULL;
    struct deploy_release live;
    cJSON *t;
    int n = 0, e = deploy_step(x->r, &what, &seen, err);

    if (e == 0)
        e = deploy_live(x->r, x->d->model, x->d->alias, &live, err);
    if (e < 0)
        return e;
    if (live.id != rel->id)
        return moved(&live, err);
    cJSON_ArrayForEach(t, cJSON_GetObjectItem(seen, "targets"))
    {
        const char *name = cJSON_GetStringValue(cJSON_GetObjectItem(t, "target"));
        cJSON *o = target_named(list, name);
        char *why AUTO(free_ptr) = NULL;

        if (!o || json_has(o, "observed_ms"))
            continue;
        why = not_there(t, site_named(sites, name), rel);
        cJSON_DeleteItemFromObject(o, "why");
        if (why)
            json_put_str(o, "why", why);
        else
            json_put_int(o, "observed_ms", ms_since(began_mono_ns));
        n += why != NULL;
    }
    return n;
}

static int
late(const cJSON *list, int wait_ms, struct err *err)
{
    const cJSON *o;

    cJSON_ArrayForEach(o, list)
    {
        if (!json_has(o, "observed_ms"))
            return err_set(
                err, ERR_FAILED, "target %s does not answer with it after %d s: %s",
                cJSON_GetStringValue(cJSON_GetObjectItem(o, "name")), wait_ms / 1000,
                cJSON_GetStringValue(cJSON_GetObjectItem(o, "why")));
    }
    return 0;
}

/* ---- one way ------------------------------------------------------------------------
 */

/* 0: every target was seen to answer, 1: some cannot be. */
static int
one_way(struct drill *x, const char *key, int64_t back_to, int64_t expect,
        struct err *err)
{
    const struct deploy_change change = { .verb = DEPLOY_DRILL,
                                          .model = x->d->model,
                                          .alias = x->d->alias,
                                          .back_to = back_to,
                                          .expect_release = expect,
                                          .reason = x->d->reason };
    const int64_t began_ns = clock_now_ns(), began_mono_ns = clock_mono_ns();
    const int wait_ms = x->d->wait_ms ? x->d->wait_ms : WAIT_MS;
    struct sites sites AUTO(sites_release) = SITES_INIT;
    cJSON *answer AUTO(json_free) = NULL;
    struct deploy_release rel;
    cJSON *way, *list;
    int switch_ms, waiting, unseen = 0, e;

    e = deploy_change(x->r, &change, &answer, err);
    if (e == 0)
        e = deploy_live(x->r, x->d->model, x->d->alias, &rel, err);
    if (e >= 0)
        e = sites_load(x->r, x->d->alias, &sites, err);
    if (e < 0 || !cJSON_IsTrue(cJSON_GetObjectItem(answer, "changed")))
        return e < 0 ? e : 0;
    switch_ms = (int)((rel.intended_ns - began_ns) / 1000000);
    way = cJSON_AddObjectToObject(x->report, key);
    json_put_int(way, "release", rel.number);
    json_put_int(way, "switch_ms", switch_ms);
    list = cJSON_AddArrayToObject(way, "targets");
    waiting = list_targets(x, &sites, switch_ms, list, &unseen);
    while (waiting > 0) {
        waiting = look(x, &sites, &rel, list, began_mono_ns, err);
        if (waiting < 0)
            return waiting;
        if (waiting > 0 && ms_since(began_mono_ns) >= wait_ms)
            return late(list, wait_ms, err);
        if (waiting > 0)
            nanosleep(&(struct timespec){ .tv_nsec = POLL_MS * 1000000L }, NULL);
    }
    return unseen > 0;
}

/* ---- rows ---------------------------------------------------------------------------
 */

static int
insert_row(struct drill *x, struct err *err)
{
    struct db *tx AUTO(tx_end_p) = NULL;
    int e = db_begin(x->r->db, err);

    if (e < 0)
        return e;
    tx = x->r->db;
    /* one that ended before it moved anything, or whose release was replaced */
    e = db_run(x->r->db, err,
               "UPDATE drill SET state = 'failed' WHERE alias = ? AND model = ? AND "
               "state = 'open'",
               "tt", x->d->alias, x->d->model);
    if (e == 0)
        e = db_run(x->r->db, err,
                   "INSERT INTO drill(model, alias, from_release, state, report, "
                   "began_ns, ended_ns, ended_age_ns, actor) "
                   "VALUES(?, ?, ?, 'open', '{}', ?, 0, 0, ?)",
                   "ttiit", x->d->model, x->d->alias, x->from.number, clock_now_ns(),
                   acc_actor(x->r->acc));
    x->row = db_last_id(x->r->db);
    if (e < 0)
        return e;
    tx = NULL;
    return db_commit(x->r->db, err);
}

static int
end_row(struct drill *x, const char *state, const char *why_or_null, struct err *err)
{
    struct db *tx AUTO(tx_end_p) = NULL;
    struct buf text AUTO(buf_release) = BUF_INIT;
    char object[REPO_NAME_BYTES + REPO_ALIAS_BYTES], digest[REPO_DIGEST_BYTES];
    struct repo_version v;
    int64_t age_ns;
    int e = repo_version_get(x->r, x->from.latest_id, &v, err);

    if (e == 0)
        e = db_begin(x->r->db, err);
    if (e < 0)
        return e;
    tx = x->r->db;
    json_put_str(x->report, "state", state);
    if (why_or_null)
        json_put_str(x->report, "why", why_or_null);
    json_print(x->report, &text, true);
    repo_digest_text(&v.digest, digest);
    snprintf(object, sizeof(object), "%s@%s", x->d->model, x->d->alias);
    e = repo_age_tick(x->r, &age_ns, err);
    if (e == 0)
        e = db_run(x->r->db, err,
                   "UPDATE drill SET state = ?, report = ?, ended_ns = ?, "
                   "ended_age_ns = ? WHERE id = ?",
                   "ttiii", state, buf_str(&text), clock_now_ns(), age_ns, x->row);
    if (e == 0)
        e = event_add(x->r, "drill", object, digest,
                      strcmp(state, "failed") == 0 ? "failed" : "ok", x->report, err);
    if (e < 0)
        return e;
    tx = NULL;
    return db_commit(x->r->db, err);
}

/* ---- all of it ----------------------------------------------------------------------
 */

/* Says what failed, and where that leaves the alias. While it stands where a rollback
 * would be, or a release has no end yet, the row stays open. */
static int
give_up(struct drill *x, const struct err *why, struct err *err)
{
    struct deploy_release live = { .number = 0 };
    struct err second = ERR_INIT;
    int64_t id;
    int e = deploy_live(x->r, x->d->model, x->d->alias, &live, &second);
    bool is_open = e == 1 && drill_is_there(&live, x->from.number);

    if (e >= 0 && !is_open)
        is_open = release_pending(x->r, x->d->alias, &id, &second) != 0;
    *err = *why;
    if (is_open)
        return err_ctx(err,
                       "what is live may be what a rollback gives: sluice drill %s@%s "
                       "--yes brings release %" PRId64 " back",
                       x->d->model, x->d->alias, x->from.number);
    err_clear(&second);
    if (end_row(x, "failed", why->msg, &second) < 0)
        return err_ctx(err, "the drill's end is not recorded (%s)", second.msg);
    return -(int)err->code;
}

/* 1: what was live is live again, and one was not seen on the way. */
static int
go_back(struct drill *x, int there, struct err *why, struct err *err)
{
    struct err second = ERR_INIT;
    const int e = one_way(x, "back", x->from.number, 0, &second);

    if (e < 0)
        return give_up(x, there < 0 && second.code != ERR_CONFLICT ? why : &second,
                       err);
    if (there >= 0)
        return e | there;
    (void)err_ctx(why, "release %" PRId64 " is live again", x->from.number);
    return give_up(x, why, err);
}

static int
rehearse(struct drill *x, struct err *err)
{
    struct err why = ERR_INIT;
    const cJSON *o;
    int there, e = insert_row(x, err);

    if (e < 0)
        return e;
    there = one_way(x, "there", 0, x->from.number, &why);
    e = go_back(x, there, &why, err);
    if (e < 0)
        return e;
    if (end_row(x, e ? "unseen" : "done", NULL, err) < 0)
        return -(int)err->code;
    if (e == 0)
        return 0;
    cJSON_ArrayForEach(
        o, cJSON_GetObjectItem(cJSON_GetObjectItem(x->report, "there"), "targets"))
    {
        if (json_has(o, "why"))
            return err_set(err, ERR_PENDING,
                           "switched there and back; nobody said what target %s "
                           "served: %s",
                           cJSON_GetStringValue(cJSON_GetObjectItem(o, "name")),
                           cJSON_GetStringValue(cJSON_GetObjectItem(o, "why")));
    }
    return 0;
}

/* Only the way back of one that did not get there. */
static int
end_interrupted(struct drill *x, struct err *err)
{
    struct err why = ERR_INIT;
    const int e = one_way(x, "back", x->from.number, 0, &why);

    if (e < 0)
        return give_up(x, &why, err);
    return end_row(x, "failed", "it was interrupted, and ended by a later one", err);
}

/* Targets, and whether all is at rest. */
static int
check_targets(struct drill *x, bool interrupted, struct err *err)
{
    struct sites sites AUTO(sites_release) = SITES_INIT;
    cJSON *list = cJSON_AddArrayToObject(x->report, "targets");
    int e = sites_load(x->r, x->d->alias, &sites, err);

    for (int i = 0; e == 0 && i < sites.n; i++) {
        const struct site *s = &sites.s[i];
        struct step st;

        if (is_waited_for(x, s->t.name))
            json_put_str(list, NULL, s->t.name);
        e = step_get(x->r, s, &x->from, &st, err);
        if (e == 0 && !interrupted && st.is_stepped && st.stage != STEP_DONE)
            return err_set(err, ERR_BUSY,
                           "release %" PRId64 " is under way on target %s: sluice "
                           "target step %s --wait 60",
                           x->from.number, s->t.name, s->t.name);
    }
    if (e == 0 && cJSON_GetArraySize(list) == 0)
        return err_set(
            err, ERR_NOTFOUND, "no target %s%sshows %s: nobody would be asked",
            x->d->target ? x->d->target : "", x->d->target ? " " : "", x->d->alias);
    return e;
}

/* What it is to do: x->from, and the report's beginning. 1: only to end one. */
static int
look_ahead(struct drill *x, struct err *err)
{
    struct bad_set bad AUTO(bad_release) = { .ids = NULL };
    struct deploy_release live, to;
    int64_t number = 0, id;
    int e = deploy_live(x->r, x->d->model, x->d->alias, &live, err), open = 0;

    if (e == 0)
        return rollback_none(x->r, x->d->model, x->d->alias, err);
    if (e == 1)
        open = drill_open(x->r, x->d->model, x->d->alias, &x->row, &number, err);
    if (e < 0 || open < 0)
        return -(int)err->code;
    x->from = to = live;
    if (open && drill_is_there(&live, number))
        e = by_number(x->r, x->d->model, x->d->alias, number, &x->from, err);
    else
        open = 0;
    if (e >= 0 && !open)
        e = bad_load(x->r, x->d->model, x->d->alias, &bad, err);
    if (e >= 0 && !open)
        e = rollback_find(x->r, &live, &bad, &to, err);
    if (e == 0)
        e = rollback_none(x->r, x->d->model, x->d->alias, err);
    if (e >= 0)
        e = release_pending(x->r, x->d->alias, &id, err);
    if (e == 1 && !open)
        return err_set(
            err, ERR_BUSY,
            "a release on %s is under way, or was interrupted: sluice status",
            x->d->alias);
    if (e < 0)
        return e;
    cJSON_AddItemToObject(x->report, "from", release_members_json(&x->from));
    cJSON_AddItemToObject(x->report, "to", release_members_json(&to));
    json_put_bool(x->report, "interrupted", open);
    return open;
}

int
deploy_drill(struct repo *r, const struct deploy_drill *d, cJSON **report,
             struct err *err)
{
    struct drill x = { .r = r, .d = d, .report = cJSON_CreateObject() };
    int lock AUTO(fs_close) = -1;
    int e = repo_check_alias_name(d->alias, err), interrupted = 0;

    *report = x.report;
    json_put_str(x.report, "model", d->model);
    json_put_str(x.report, "alias", d->alias);
    json_put_bool(x.report, "done", d->apply);
    if (e == 0 && d->apply && fs_lock(&lock, r->dirfd, LOCK, 0, err) < 0) {
        e = -(int)err->code;
        if (err->code == ERR_BUSY) {
            err_clear(err);
            e = err_set(err, ERR_BUSY, "another drill is under way");
        }
    }
    if (e == 0)
        e = interrupted = look_ahead(&x, err);
    if (e >= 0)
        e = check_targets(&x, interrupted, err);
    if (e == 0 && !interrupted)
        e = freeze_refuse(r, d->model, d->alias, err);
    if (e == 0 && d->apply)
        e = interrupted ? end_interrupted(&x, err) : rehearse(&x, err);
    return e < 0 ? err_ctx(err, "drill %s@%s", d->model, d->alias) : 0;
}
