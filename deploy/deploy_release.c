/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of releases: reading and adding them, and the rule of rollback. */
#include "deploy/deploy_int.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SELECT                                                                         \
    "SELECT r.id, r.model, r.alias, r.number, r.verb, r.state, r.latest, "             \
    "r.latest_id, "                                                                    \
    "r.replaces, r.stands_at, r.intended_ns, r.observed_ns, r.actor, r.reason, "       \
    "m.version_id, m.number, m.weight, m.label, m.mirror FROM release r "              \
    "JOIN release_member m ON m.release_id = r.id "

/* A truncated copy is for people only: names are checked before they get here. */
static void
copy(char *out, size_t room_bytes, const char *text)
{
    snprintf(out, room_bytes, "%s", text ? text : "");
}

/* ---- reading ------------------------------------------------------------------------
 */

void
history_close(struct history *h)
{
    db_done(h->st);
    h->st = NULL;
}

int
history_open(struct history *h, struct repo *r, const char *model, const char *alias,
             struct err *err)
{
    return db_query(r->db, &h->st, err,
                    SELECT "WHERE r.model = ? AND r.alias = ? AND "
                           "r.state IN ('live', 'past') "
                           "ORDER BY r.number DESC, m.place",
                    "tt", model, alias);
}

int
history_open_all(struct history *h, struct repo *r, const char *model,
                 const char *alias, struct err *err)
{
    return db_query(r->db, &h->st, err,
                    SELECT "WHERE r.model = ? AND r.alias = ? "
                           "ORDER BY r.number DESC, m.place",
                    "tt", model, alias);
}

int
history_open_live(struct history *h, struct repo *r, const char *alias, struct err *err)
{
    return db_query(r->db, &h->st, err,
                    SELECT "WHERE r.alias = ? AND r.state = 'live' "
                           "ORDER BY r.model, m.place",
                    "t", alias);
}

int
history_open_status(struct history *h, struct repo *r, const char *model_or_null,
                    struct err *err)
{
    if (model_or_null)
        return db_query(r->db, &h->st, err,
                        SELECT "WHERE r.model = ? AND r.state = 'live' "
                               "ORDER BY r.alias, m.place",
                        "t", model_or_null);
    return db_query(r->db, &h->st, err,
                    SELECT "WHERE r.state = 'live' ORDER BY r.model, r.alias, m.place",
                    "");
}

static void
read_head(struct db_stmt *st, struct deploy_release *out)
{
    memset(out, 0, sizeof(*out));
    out->id = db_int(st, 0);
    copy(out->model, sizeof(out->model), db_text(st, 1));
    copy(out->alias, sizeof(out->alias), db_text(st, 2));
    out->number = db_int(st, 3);
    copy(out->verb, sizeof(out->verb), db_text(st, 4));
    copy(out->state, sizeof(out->state), db_text(st, 5));
    out->latest = db_int(st, 6);
    out->latest_id = db_int(st, 7);
    out->replaces = db_int(st, 8);
    out->stands_at = db_int(st, 9);
    out->intended_ns = db_int(st, 10);
    out->observed_ns = db_int(st, 11);
    copy(out->actor, sizeof(out->actor), db_text(st, 12));
    copy(out->reason, sizeof(out->reason), db_text(st, 13));
}

static int
read_member(struct db_stmt *st, struct deploy_release *out, struct err *err)
{
    const int weight = (int)db_int(st, 16);
    int *n = weight > 0 ? &out->n_members : &out->n_kept;
    struct deploy_member *m = weight > 0 ? out->members : out->kept;

    if (*n == DEPLOY_MEMBERS_MAX)
        return err_set(err, ERR_CORRUPT,
                       "release %" PRId64 " of %s@%s has more than %d versions",
                       out->number, out->model, out->alias, DEPLOY_MEMBERS_MAX);
    m += (*n)++;
    m->version_id = db_int(st, 14);
    m->number = db_int(st, 15);
    m->weight = weight;
    copy(m->label, sizeof(m->label), db_text(st, 17));
    m->mirror = (int)db_int(st, 18);
    return 0;
}

int
history_next(struct history *h, struct deploy_release *out, struct err *err)
{
    int r = 1;

    if (h->ended)
        return 0;
    if (!h->at_row) {
        r = db_step(h->st, err);
        if (r <= 0) {
            h->ended = true;
            return r;
        }
    }
    read_head(h->st, out);
    while (r == 1 && db_int(h->st, 0) == out->id) {
        if ((r = read_member(h->st, out, err)) < 0)
            return r;
        r = db_step(h->st, err);
    }
    h->at_row = r == 1;
    h->ended = r <= 0;
    if (r >= 0 && out->n_members == 0)
        return err_set(err, ERR_CORRUPT,
                       "release %" PRId64 " of %s@%s gives no version traffic",
                       out->number, out->model, out->alias);
    return r < 0 ? r : 1;
}

int
release_get(struct repo *r, int64_t id, struct deploy_release *out, struct err *err)
{
    struct history h AUTO(history_close) = HISTORY_INIT;
    int e =
        db_query(r->db, &h.st, err, SELECT "WHERE r.id = ? ORDER BY m.place", "i", id);

    return e < 0 ? e : history_next(&h, out, err);
}

/* The live one is the newest of those that ever were: the same query as the history, so
 * that a rollback prepares it once. */
int
deploy_live(struct repo *r, const char *model, const char *alias,
            struct deploy_release *out, struct err *err)
{
    struct history h AUTO(history_close) = HISTORY_INIT;
    int e = history_open(&h, r, model, alias, err);

    if (e == 0)
        e = history_next(&h, out, err);
    if (e == 1 && strcmp(out->state, "live") != 0)
        return err_set(err, ERR_CORRUPT,
                       "%s@%s: release %" PRId64 " is the newest, but not live", model,
                       alias, out->number);
    return e;
}

int
deploy_releases(struct repo *r, const char *model, const char *alias,
                int (*fn)(void *arg, const struct deploy_release *rel, struct err *err),
                void *arg, struct err *err)
{
    struct history h AUTO(history_close) = HISTORY_INIT;
    struct deploy_release rel;
    int e = history_open_all(&h, r, model, alias, err);

    while (e == 0 && (e = history_next(&h, &rel, err)) == 1)
        e = fn(arg, &rel, err);
    return e < 0 ? e : 0;
}

int
release_pending(struct repo *r, const char *alias, int64_t *id, struct err *err)
{
    return db_get_int(r->db, id, err,
                      "SELECT id FROM release WHERE alias = ? AND state = 'intended' "
                      "ORDER BY model LIMIT 1",
                      "t", alias);
}

const struct deploy_member *
release_at(const struct deploy_release *rel, int i)
{
    return i < rel->n_members                 ? &rel->members[i]
           : i < rel->n_members + rel->n_kept ? &rel->kept[i - rel->n_members]
                                              : NULL;
}

const struct deploy_member *
release_version(const struct deploy_release *rel, int64_t number)
{
    const struct deploy_member *m;

    for (int i = 0; (m = release_at(rel, i)) != NULL; i++)
        if (m->number == number)
            return m;
    return NULL;
}

/* ---- adding -------------------------------------------------------------------------
 */

static int
insert_members(struct repo *r, int64_t release_id, int first,
               const struct deploy_member *m, int n, struct err *err)
{
    int e = 0;

    for (int i = 0; e == 0 && i < n; i++)
        e = db_run(r->db, err,
                   "INSERT INTO release_member(release_id, place, version_id, number, "
                   "weight, label, mirror) VALUES(?, ?, ?, ?, ?, ?, ?)",
                   "iiiiiti", release_id, (int64_t)(first + i), m[i].version_id,
                   m[i].number, (int64_t)m[i].weight, m[i].label, (int64_t)m[i].mirror);
    return e;
}

int
release_insert(struct repo *r, struct deploy_release *rel, struct err *err)
{
    int64_t last = 0;
    int e = db_get_int(r->db, &last, err,
                       "SELECT number FROM release WHERE model = ? AND alias = ? "
                       "ORDER BY number DESC LIMIT 1",
                       "tt", rel->model, rel->alias);

    if (e < 0)
        return e;
    rel->number = last + 1;
    if (rel->stands_at == 0)
        rel->stands_at = rel->number;
    copy(rel->state, sizeof(rel->state), "intended");
    copy(rel->actor, sizeof(rel->actor), acc_actor(r->acc));
    e = db_run(r->db, err,
               "INSERT INTO release(model, alias, number, verb, state, replaces, "
               "stands_at, latest_id, latest, intended_ns, observed_ns, actor, reason) "
               "VALUES(?, ?, ?, ?, 'intended', ?, ?, ?, ?, 0, 0, ?, ?)",
               "ttitiiiitt", rel->model, rel->alias, rel->number, rel->verb,
               rel->replaces, rel->stands_at, rel->latest_id, rel->latest, rel->actor,
               rel->reason);
    if (e < 0)
        return e;
    rel->id = db_last_id(r->db);
    e = insert_members(r, rel->id, 0, rel->members, rel->n_members, err);
    return e < 0 ? e
                 : insert_members(r, rel->id, rel->n_members, rel->kept, rel->n_kept,
                                  err);
}

/* ---- marks --------------------------------------------------------------------------
 */

void
bad_release(struct bad_set *b)
{
    free(b->ids);
    *b = (struct bad_set){ .ids = NULL };
}

bool
bad_has(const struct bad_set *b, int64_t version_id)
{
    for (int i = 0; i < b->n; i++)
        if (b->ids[i] == version_id)
            return true;
    return false;
}

void
bad_add(struct bad_set *b, int64_t version_id)
{
    if (bad_has(b, version_id))
        return;
    b->ids = xreallocarray(b->ids, (size_t)b->n + 1, sizeof(*b->ids));
    b->ids[b->n++] = version_id;
}

int
bad_load(struct repo *r, const char *model, const char *alias, struct bad_set *out,
         struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int e = db_query(r->db, &st, err,
                     "SELECT version_id FROM mark WHERE model = ? AND alias = ?", "tt",
                     model, alias);

    while (e >= 0 && (e = db_step(st, err)) == 1)
        bad_add(out, db_int(st, 0));
    return e;
}

/* ---- where a rollback goes ----------------------------------------------------------
 */

/* 1: every member may have traffic again. */
static int
is_good(struct repo *r, const struct deploy_release *rel, const struct bad_set *bad,
        struct err *err)
{
    for (int i = 0; i < rel->n_members; i++) {
        struct repo_version v;
        int e;

        if (bad_has(bad, rel->members[i].version_id))
            return 0;
        e = repo_version_get(r, rel->members[i].version_id, &v, err);
        if (e < 0)
            return e;
        if (strcmp(v.state, "ready") != 0)
            return 0;
    }
    return 1;
}

static bool
leaves_some(const struct deploy_release *from, const struct deploy_release *to)
{
    for (int i = 0; i < from->n_members; i++)
        if (weights_of(to, from->members[i].version_id) == 0)
            return true;
    return false;
}

/* Looks at the newest `most` releases only (0: at all of them). */
static int
find_candidate(struct repo *r, const struct deploy_release *cur,
               const struct bad_set *bad, int most, struct deploy_release *out,
               struct err *err)
{
    struct history h AUTO(history_close) = HISTORY_INIT;
    int e = history_open(&h, r, cur->model, cur->alias, err);

    if (e < 0)
        return e;
    for (int n = 1; (e = history_next(&h, out, err)) == 1; n++) {
        if (strcmp(out->verb, "drill") == 0) { /* as if it had not been */
            n--;
            continue;
        }
        if (most > 0 && n > most)
            return 0;
        if ((cur->stands_at > 0 && out->number >= cur->stands_at) ||
            !leaves_some(cur, out))
            continue;
        e = is_good(r, out, bad, err);
        if (e != 0)
            return e;
    }
    return e;
}

/* To keep something loaded saves time later; it must not cost a walk through years of
 * history at each change. */
#define KEEP_WITHIN 8

static void
keep_members(struct deploy_release *rel, const struct deploy_release *undo)
{
    for (int i = 0; i < undo->n_members; i++) {
        const struct deploy_member *m = &undo->members[i];
        bool there = weights_of(rel, m->version_id) > 0;

        for (int k = 0; k < rel->n_kept; k++)
            there |= rel->kept[k].version_id == m->version_id;
        if (there || m->number > rel->latest || rel->n_kept == DEPLOY_MEMBERS_MAX)
            continue;
        rel->kept[rel->n_kept] = *m;
        rel->kept[rel->n_kept].mirror = 0;
        rel->kept[rel->n_kept++].weight = 0;
    }
}

/* What stays loaded has a lower number than what leads: a server asked for no version
 * in particular answers with the highest one it has. */
int
release_keep(struct repo *r, struct deploy_release *rel, const struct bad_set *bad,
             int n_good, struct err *err)
{
    struct bad_set then AUTO(bad_release) = { .ids = NULL };
    const struct deploy_member *mirror = deploy_mirror(rel);
    struct deploy_release from = *rel, undo;
    int e = 0;

    if (mirror)
        memmove(&rel->kept[0], mirror, sizeof(*mirror));
    rel->n_kept = mirror ? 1 : 0;
    for (int i = 0; i < bad->n; i++)
        bad_add(&then, bad->ids[i]);
    for (int i = 0; i < n_good; i++) {
        e = find_candidate(r, &from, &then, KEEP_WITHIN, &undo, err);
        if (e != 1)
            break;
        keep_members(rel, &undo);
        for (int k = 0; k < from.n_members; k++)
            if (weights_of(&undo, from.members[k].version_id) == 0)
                bad_add(&then, from.members[k].version_id);
        from = undo;
    }
    return e < 0 ? e : 0;
}

int
release_keep_back(const struct deploy_release *cur, const struct deploy_release *to,
                  const struct bad_set *bad)
{
    int n = 1;

    for (int i = 0; i < cur->n_kept; i++)
        n += cur->kept[i].mirror == 0 && weights_of(to, cur->kept[i].version_id) == 0 &&
             !bad_has(bad, cur->kept[i].version_id);
    return n > DEPLOY_KEEP_LOADED_MAX ? DEPLOY_KEEP_LOADED_MAX : n;
}

int
rollback_find(struct repo *r, const struct deploy_release *cur,
              const struct bad_set *bad, struct deploy_release *out, struct err *err)
{
    struct bad_set then AUTO(bad_release) = { .ids = NULL };
    int e = find_candidate(r, cur, bad, 0, out, err);

    if (e <= 0)
        return e;
    for (int i = 0; i < bad->n; i++)
        bad_add(&then, bad->ids[i]);
    for (int i = 0; i < cur->n_members; i++)
        if (weights_of(out, cur->members[i].version_id) == 0)
            bad_add(&then, cur->members[i].version_id);
    out->id = out->number = out->intended_ns = out->observed_ns = 0;
    out->replaces = cur->number;
    copy(out->verb, sizeof(out->verb), "rollback");
    out->n_kept = 0; /* nothing is mirrored afterwards */
    e = release_keep(r, out, &then, release_keep_back(cur, out, &then), err);
    if (e < 0)
        return e;
    weights_label(out);
    return 1;
}

int
rollback_none(struct repo *r, const char *model, const char *alias, struct err *err)
{
    struct history h AUTO(history_close) = HISTORY_INIT;
    struct bad_set bad AUTO(bad_release) = { .ids = NULL };
    struct buf list AUTO(buf_release) = BUF_INIT;
    struct deploy_release rel;
    char when[CLOCK_TEXT_BYTES];
    int e = bad_load(r, model, alias, &bad, err);

    if (e == 0)
        e = history_open(&h, r, model, alias, err);
    for (int n = 0; e == 0 && n < 20 && (e = history_next(&h, &rel, err)) == 1; n++) {
        buf_addf(&list, "\n  release %" PRId64 " (%s, %s, by %s):", rel.number,
                 rel.verb, clock_text(rel.intended_ns, when), rel.actor);
        for (int i = 0; i < rel.n_members; i++)
            buf_addf(&list, " %s@%" PRId64 " %g%%%s", model, rel.members[i].number,
                     rel.members[i].weight / 100.0,
                     bad_has(&bad, rel.members[i].version_id) ? " bad" : "");
        buf_adds(&list, strcmp(rel.state, "live") == 0 ? " live now" : "");
        e = 0;
    }
    if (e < 0)
        return e;
    if (list.len == 0)
        return err_set(
            err, ERR_NOTFOUND,
            "nothing was ever released on %s@%s: sluice status %s shows what "
            "was",
            model, alias, model);
    return err_set(err, ERR_NOTFOUND,
                   "no older release was live on %s@%s and is good; name a version "
                   "(sluice rollback %s@%s --to N) or promote another%s",
                   model, alias, model, alias, list.len ? list.data : "");
}
