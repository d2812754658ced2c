/* SPDX-License-Identifier: Apache-2.0 */
/* promote, weights, rollback: one way.
 *
 *     plan ─ gates, hook ─ lock ─ intent ─ ready ─ flips ─ done
 *      │                    │                │       └ recorded by the next command
 *      └── from the start when the alias ────┘         └ cancelled
 *          moved before the intent
 *
 * Gates and hooks may take minutes, so they are asked before the lock is taken: a
 * rollback never waits for them. The intent's transaction checks that what they were
 * asked about still holds. */
#include "deploy/deploy_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRIES 5

static void
plan_clear(struct plan *p)
{
    for (int i = 0; p->by_site && i < p->sites.n; i++) {
        free(p->by_site[i].other);
        layout_files_release(&p->by_site[i].files);
    }
    free(p->by_site);
    p->by_site = NULL;
    flips_release(&p->flips);
    sites_release(&p->sites);
    bad_release(&p->bad);
    free(p->others);
    free(p->target_names);
    p->others = NULL;
    p->target_names = NULL;
    p->n_others = p->n_stamps = 0;
    p->has_others = false;
    undos_release(&p->undos);
    memset(&p->cur, 0, sizeof(p->cur));
    memset(&p->next, 0, sizeof(p->next));
    p->has_cur = p->ungated = false;
    json_free(&p->report);
    p->report = cJSON_CreateObject();
}

static void
plan_release(struct plan *p)
{
    plan_clear(p);
    json_free(&p->report);
}

/* ---- what it rests on ---------------------------------------------------------------
 */

static int
count_target(void *arg, const struct deploy_target *t, struct err *err)
{
    struct snapshot *s = arg;

    (void)err;
    s->n_targets++;
    s->last_target = t->id; /* they come by id */
    return 0;
}

static int
snapshot_read(struct plan *p, struct snapshot *out, struct err *err)
{
    struct buf reason AUTO(buf_release) = BUF_INIT;
    struct deploy_release live;
    int e = deploy_live(p->r, p->c->model, p->c->alias, &live, err);

    *out = (struct snapshot){ .live_id = e == 1 ? live.id : 0 };
    if (e >= 0)
        e = deploy_targets(p->r, p->c->alias, count_target, out, err);
    if (e >= 0 && p->c->verb != DEPLOY_ROLLBACK)
        e = freeze_get(p->r, p->c->model, p->c->alias, &reason, err);
    out->frozen = e == 1;
    return e < 0 ? e : 0;
}

static bool
snapshot_same(const struct snapshot *a, const struct snapshot *b)
{
    return a->live_id == b->live_id && a->last_target == b->last_target &&
           a->n_targets == b->n_targets && a->frozen == b->frozen;
}

static int
lock_sites(struct plan *p, struct err *err)
{
    return sites_lock(
        &p->sites, p->c->lock_timeout_ms ? p->c->lock_timeout_ms : DEPLOY_LOCK_MS, err);
}

/* Loads the targets and what is live. An intent left over is healed first; one that is
 * under way is waited for. */
static int
look(struct plan *p, struct err *err)
{
    int64_t id;
    int e = sites_load(p->r, p->c->alias, &p->sites, err);

    if (e == 0)
        e = release_pending(p->r, p->c->alias, &id, err);
    if (e == 1 && (p->c->dry_run || (p->c->verb == DEPLOY_DRILL && !p->c->back_to)))
        return err_set(
            err, ERR_BUSY,
            "a release on %s is under way, or was interrupted: sluice status",
            p->c->alias);
    if (e == 1) {
        db_view_end(p->r->db); /* who has the lock changes what there is to heal */
        e = lock_sites(p, err);
        if (e == 0)
            e = heal(p->r, &p->sites, p->c->alias, err);
        sites_unlock(&p->sites);
    }
    if (e == 0)
        e = snapshot_read(p, &p->seen, err);
    if (e == 0)
        e = deploy_live(p->r, p->c->model, p->c->alias, &p->cur, err);
    if (e < 0)
        return e;
    p->has_cur = e == 1;
    if (p->seen.live_id != (p->has_cur ? p->cur.id : 0) ||
        p->seen.n_targets != p->sites.n)
        return 1;
    if (p->c->expect_release && p->c->expect_release != p->cur.number)
        return err_set(err, ERR_CONFLICT,
                       "%s@%s is at release %" PRId64 ", not %" PRId64
                       ": somebody was faster; look at it and try again",
                       p->c->model, p->c->alias, p->cur.number, p->c->expect_release);
    return bad_load(p->r, p->c->model, p->c->alias, &p->bad, err);
}

/* ---- what is asked for --------------------------------------------------------------
 */

static int
find_version(struct plan *p, int64_t number, struct repo_version *out, struct err *err)
{
    char *ref AUTO(free_ptr) = xasprintf("%s@%" PRId64, p->c->model, number);

    return repo_resolve(p->r, ref, out, err);
}

static int
plan_promote(struct plan *p, struct err *err)
{
    const struct repo_version *v = p->c->version;

    (void)err;
    p->next.n_members = 1;
    p->next.members[0] = (struct deploy_member){ .version_id = v->id,
                                                 .number = v->number,
                                                 .weight = DEPLOY_WEIGHT_ALL };
    return 0;
}

static int
plan_weights(struct plan *p, struct err *err)
{
    const bool as_is = p->c->n_parts == 0 && p->has_cur;
    int e = as_is ? 0 : weights_normalise(p->c->parts, p->c->n_parts, &p->next, err);
    struct deploy_member mirror;
    struct repo_version v;

    if (as_is) {
        p->next.n_members = p->cur.n_members;
        memcpy(p->next.members, p->cur.members, sizeof(p->cur.members));
    }
    for (int i = 0; e == 0 && !as_is && i < p->next.n_members; i++) {
        e = find_version(p, p->next.members[i].number, &v, err);
        p->next.members[i].version_id = v.id;
    }
    if (e == 0 && p->c->mirror) {
        mirror = *p->c->mirror;
        e = find_version(p, mirror.number, &v, err);
        mirror.version_id = v.id;
    }
    return e < 0 ? e
                 : weights_mirror(&p->next, p->has_cur ? &p->cur : NULL,
                                  p->c->mirror ? &mirror : NULL, err);
}

/* The place of `rollback --to`: of the newest release below the current place in which
 * the version had traffic, else of the newest at all. 0: it never had any. */
static int
place_of(struct plan *p, int64_t version_id, int64_t *place, struct err *err)
{
    struct history h AUTO(history_close) = HISTORY_INIT;
    struct deploy_release rel;
    int e = history_open(&h, p->r, p->c->model, p->c->alias, err);

    *place = 0;
    while (e == 0 && (e = history_next(&h, &rel, err)) == 1) {
        e = 0;
        if (weights_of(&rel, version_id) == 0)
            continue;
        if (*place == 0 || rel.number < p->cur.stands_at)
            *place = rel.stands_at;
        if (rel.number < p->cur.stands_at)
            return 0;
    }
    return e < 0 ? e : 0;
}

static int
plan_rollback(struct plan *p, struct err *err)
{
    struct repo_version v;
    int e;

    if (p->c->to_number == 0) {
        e = p->has_cur ? drill_came_from(p->r, &p->cur, &p->next, err) : 0;
        if (e == 0 && p->has_cur)
            e = rollback_find(p->r, &p->cur, &p->bad, &p->next, err);
        if (e == 0)
            e = rollback_none(p->r, p->c->model, p->c->alias, err);
        p->ungated = true;
        return e < 0 ? e : 0;
    }
    e = find_version(p, p->c->to_number, &v, err);
    if (e == 0)
        e = place_of(p, v.id, &p->next.stands_at, err);
    if (e < 0)
        return e;
    p->next.n_members = 1;
    p->next.members[0] = (struct deploy_member){ .version_id = v.id,
                                                 .number = v.number,
                                                 .weight = DEPLOY_WEIGHT_ALL };
    p->ungated = p->next.stands_at > 0;
    if (p->ungated && strcmp(v.state, "ready") != 0)
        return err_set(err, ERR_REFUSED,
                       "%s@%" PRId64 " was live on %s, but is %s now: choose another",
                       p->c->model, v.number, p->c->alias, v.state);
    return 0;
}

static const struct {
    const char *name; /* also the event's */
    int (*plan)(struct plan *p, struct err *err);
} verbs[DEPLOY_N_VERBS] = {
    [DEPLOY_PROMOTE] = { "promote", plan_promote },
    [DEPLOY_WEIGHTS] = { "weights", plan_weights },
    [DEPLOY_ROLLBACK] = { "rollback", plan_rollback },
    [DEPLOY_DRILL] = { "drill", plan_drill },
};

const char *
deploy_verb_text(enum deploy_verb verb)
{
    return verbs[verb].name;
}

/* The part of a plan that every verb has. An automatic rollback and a drill bring their
 * own. */
static int
complete(struct plan *p, struct err *err)
{
    struct bad_set then AUTO(bad_release) = { .ids = NULL };
    struct deploy_release *next = &p->next;
    const bool back = p->c->verb == DEPLOY_ROLLBACK;
    int keep;

    snprintf(next->model, sizeof(next->model), "%s", p->c->model);
    snprintf(next->alias, sizeof(next->alias), "%s", p->c->alias);
    snprintf(next->verb, sizeof(next->verb), "%s", deploy_verb_text(p->c->verb));
    snprintf(next->reason, sizeof(next->reason), "%s%s",
             p->c->break_glass ? "BREAK GLASS: " : "",
             p->c->break_glass ? p->c->break_glass
             : p->c->reason    ? p->c->reason
                               : "");
    next->replaces = p->cur.number;
    if ((back && p->c->to_number == 0) || p->c->verb == DEPLOY_DRILL)
        return 0;
    weights_lead(next, p->cur.latest);
    if (!p->c->in_order)
        weights_order(next, p->has_cur ? &p->cur : NULL);
    for (int i = 0; i < p->bad.n; i++)
        if (weights_of(next, p->bad.ids[i]) == 0)
            bad_add(&then, p->bad.ids[i]);
    for (int i = 0; back && i < p->cur.n_members; i++)
        if (weights_of(next, p->cur.members[i].version_id) == 0)
            bad_add(&then, p->cur.members[i].version_id);
    keep = back                     ? release_keep_back(&p->cur, next, &then)
           : p->c->keep_loaded == 0 ? 1
           : p->c->keep_loaded < 0  ? 0
                                    : p->c->keep_loaded;
    if (release_keep(p->r, next, &then, keep, err) < 0)
        return -(int)err->code;
    weights_label(next);
    return 0;
}

/* ---- doing it -----------------------------------------------------------------------
 */

/* In the intent's transaction: 1 when the gates would be asked the same. */
static int
still_holds(struct plan *p, struct err *err)
{
    struct snapshot now;
    int e = snapshot_read(p, &now, err);

    return e < 0 || !snapshot_same(&now, &p->seen) ? e : plan_gates_hold(p, err);
}

/* 1: committed, 0: the plan no longer holds. */
static int
intend(struct plan *p, struct err *err)
{
    struct db *tx AUTO(tx_end_p) = NULL;
    int e = db_begin(p->r->db, err);

    if (e < 0)
        return e;
    tx = p->r->db;
    e = still_holds(p, err);
    if (e <= 0)
        return e;
    e = release_insert(p->r, &p->next, err);
    if (e == 0)
        e = passes_insert(p, err);
    if (e == 0)
        e = acc_key_claim(p->r->acc, p->next.id, err);
    if (e == 0)
        e = flips_insert(p->r, p->next.id, &p->flips, err);
    if (e == 0 && p->sites.n == 0) { /* nothing to switch: the alias is all there is */
        cJSON *left = NULL;

        e = release_finish(p->r, &p->next, 0, false, &left, err);
        if (left)
            cJSON_AddItemToObject(p->report, "marked_bad", left);
    }
    if (e < 0)
        return e;
    tx = NULL;
    e = db_commit(p->r->db, err);
    return e < 0 ? e : 1;
}

static int
record_end(struct plan *p, bool done, struct err *err)
{
    struct db *tx AUTO(tx_end_p) = NULL;
    cJSON *left = NULL;
    int e = db_begin(p->r->db, err);

    if (e < 0)
        return e;
    tx = p->r->db;
    e = release_end(p->r, &p->sites, &p->next, done, false, &left, err);
    if (e == 0 && done && p->c->verb != DEPLOY_ROLLBACK)
        e = undos_store(p->r, &p->undos, &p->sites, err);
    if (left)
        cJSON_AddItemToObject(p->report, "marked_bad", left);
    if (e < 0)
        return e;
    tx = NULL;
    return db_commit(p->r->db, err);
}

static int
switch_over(struct plan *p, struct err *err)
{
    struct err second = ERR_INIT;
    bool past = false;
    int e = plan_ready(p, err);

    if (e == 0)
        e = flips_apply(&p->flips, &past, err);
    if (e < 0 && !past) {
        /* when even that fails, the next command cancels */
        (void)!record_end(p, false, &second);
        for (int i = 0; i < p->sites.n; i++) {
            err_clear(&second);
            (void)!site_clear_staging(&p->sites.s[i], &second);
        }
        return e;
    }
    if (e == 0)
        e = record_end(p, true, err);
    return e < 0 ? err_ctx(err,
                           "switched, but not recorded; the next command finishes it")
                 : 0;
}

static int
record_unchanged(struct plan *p, struct err *err)
{
    struct db *tx AUTO(tx_end_p) = NULL;
    cJSON *body AUTO(json_free) = cJSON_CreateObject();
    char object[REPO_NAME_BYTES + REPO_ALIAS_BYTES], digest[REPO_DIGEST_BYTES];
    struct repo_version v;
    int e = repo_version_get(p->r, p->cur.latest_id, &v, err);

    if (e == 0)
        e = db_begin(p->r->db, err);
    if (e < 0)
        return e;
    tx = p->r->db;
    repo_digest_text(&v.digest, digest);
    snprintf(object, sizeof(object), "%s@%s", p->c->model, p->c->alias);
    json_put_bool(body, "changed", false);
    json_put_int(body, "release", p->cur.number);
    e = acc_key_claim(p->r->acc, p->cur.id, err);
    if (e == 0)
        e = event_add(p->r, deploy_verb_text(p->c->verb), object, digest, "ok", body,
                      err);
    if (e < 0)
        return e;
    tx = NULL;
    return db_commit(p->r->db, err);
}

/* A rollback keeps loaded what is there, and fetches nothing for it: that could fail.
 */
static int
drop_missing(struct plan *p, struct err *err)
{
    int n = 0;

    for (int i = 0; i < p->next.n_kept; i++) {
        int there = 1;

        for (int k = 0; there == 1 && k < p->sites.n; k++) {
            struct buf path AUTO(buf_release) = BUF_INIT;

            site_version_path(&p->sites.s[k], p->c->model, p->next.kept[i].number,
                              &path);
            there = fs_exists(p->sites.s[k].dirfd, buf_str(&path), err);
        }
        if (there < 0)
            return there;
        if (there)
            p->next.kept[n++] = p->next.kept[i];
    }
    p->next.n_kept = n;
    return 0;
}

/* A refusal is told after what would have been done. */
static int
foresee(struct plan *p, struct err *err)
{
    struct err refused = ERR_INIT;
    const bool same = p->has_cur && weights_same(&p->next, &p->cur);
    int e = same ? 0 : plan_ask(p, &refused);

    json_put_bool(p->report, "dry_run", true);
    if (e == 0 || refused.code == ERR_REFUSED)
        e = same ? plan_answer(p, false, err) : plan_foresee(p, err);
    if (e == 0 && refused.code == ERR_OK)
        return 0;
    if (e == 0 || err->code == ERR_OK)
        *err = refused;
    return -(int)err->code;
}

/* A server that cannot be told undoes nothing: the answer says so, and a step tells it
 * again. */
static void
tell_servers(struct plan *p)
{
    cJSON *targets = cJSON_GetObjectItem(p->report, "targets");

    for (int i = 0; i < p->sites.n; i++) {
        const struct site *s = &p->sites.s[i];
        struct err why = ERR_INIT;

        if (s->t.option[DEPLOY_RELOAD] &&
            site_tell(p->r, s, p->server, &p->next, &why) < 0)
            json_put_str(cJSON_GetArrayItem(targets, i), "not_told", why.msg);
    }
}

/* 0: done, 1: the alias moved meanwhile, to be tried from the start. */
static int
attempt(struct plan *p, struct err *err)
{
    int e = db_view_begin(p->r->db, err);

    if (e == 0)
        e = look(p, err);
    if (e == 0)
        e = verbs[p->c->verb].plan(p, err);
    if (e == 0)
        e = complete(p, err);
    for (int i = 0; e == 0 && i < p->sites.n; i++)
        e = site_accepts(&p->sites.s[i], &p->next, err);
    db_view_end(p->r->db); /* gates and hooks take their time */
    if (e != 0)
        return e;
    if (p->c->dry_run)
        return foresee(p, err);
    if (p->has_cur && weights_same(&p->next, &p->cur)) {
        e = record_unchanged(p, err);
        return e < 0 ? e : plan_answer(p, false, err);
    }
    e = plan_ask(p, err);
    if (e == 0)
        e = lock_sites(p, err);
    if (e == 0)
        e = db_view_begin(p->r->db, err);
    if (e == 0) {
        int64_t id;

        e = release_pending(p->r, p->c->alias, &id, err);
        if (e == 1) { /* of another model, or of somebody who was faster */
            e = heal(p->r, &p->sites, p->c->alias, err);
            return e < 0 ? e : 1;
        }
    }
    if (e == 0 && (p->c->verb == DEPLOY_ROLLBACK || p->c->verb == DEPLOY_DRILL))
        e = drop_missing(p, err);
    if (e == 0)
        e = plan_flips(p, err);
    if (e < 0)
        return e;
    e = intend(p, err);
    if (e <= 0)
        return e < 0 ? e : 1;
    e = p->sites.n > 0 ? switch_over(p, err) : 0;
    sites_unlock(&p->sites);
    if (e == 0)
        e = plan_answer(p, true, err);
    if (e == 0)
        tell_servers(p);
    return e;
}

static int
check_change(struct repo *r, const struct deploy_change *c, struct err *err)
{
    struct deploy_release room;
    int64_t id;
    int e = repo_check_alias_name(c->alias, err);

    if (e < 0)
        return e;
    e = repo_model_id(r, c->model, &id, err);
    if (e == 0)
        return err_set(err, ERR_NOTFOUND,
                       "no model \"%s\": sluice list shows what there is", c->model);
    if (e > 0 && c->keep_loaded > DEPLOY_KEEP_LOADED_MAX)
        return err_set(err, ERR_USAGE, "--keep-loaded takes 0 to %d releases",
                       DEPLOY_KEEP_LOADED_MAX);
    if (e > 0 && c->reason && strlen(c->reason) >= sizeof(room.reason))
        return err_set(err, ERR_LIMIT, "the reason has %zu bytes; at most %zu fit",
                       strlen(c->reason), sizeof(room.reason) - 1);
    if (e > 0 && c->verb == DEPLOY_PROMOTE && strcmp(c->version->model, c->model) != 0)
        return err_set(err, ERR_INVALID, "%s@%" PRId64 " is no version of %s",
                       c->version->model, c->version->number, c->model);
    return e < 0 ? e : 0;
}

int
deploy_change_with(struct repo *r, const struct deploy_change *c, deploy_gate_fn *gate,
                   const struct server_calls *server, cJSON **report, struct err *err)
{
    struct plan p AUTO(
        plan_release) = { .r = r, .c = c, .gate = gate, .server = server };
    int e = check_change(r, c, err);

    *report = NULL;
    for (int i = 0; e == 0 && i < TRIES; i++) {
        plan_clear(&p);
        e = attempt(&p, err);
        db_view_end(r->db);
        if (e == 1 && i + 1 < TRIES) {
            e = 0;
            continue;
        }
        break;
    }
    if (e == 1)
        e = err_set(err, ERR_BUSY, "others keep moving it: try again");
    *report = p.report;
    p.report = NULL;
    return e < 0
               ? err_ctx(err, "%s %s@%s", deploy_verb_text(c->verb), c->model, c->alias)
               : 0;
}

int
deploy_change_gated(struct repo *r, const struct deploy_change *c, deploy_gate_fn *gate,
                    cJSON **report, struct err *err)
{
    return deploy_change_with(r, c, gate, &server_real, report, err);
}

int
deploy_change(struct repo *r, const struct deploy_change *c, cJSON **report,
              struct err *err)
{
    return deploy_change_gated(r, c, val_gate, report, err);
}
