/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/agent_int.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SELECT                                                                         \
    "SELECT model, alias, release, local_release, state, detail, reason FROM follow "

static void
read_row(struct db_stmt *st, struct follow *out)
{
    *out = (struct follow){ .release = db_int(st, 2), .local_release = db_int(st, 3) };
    snprintf(out->model, sizeof(out->model), "%s", db_text(st, 0));
    snprintf(out->alias, sizeof(out->alias), "%s", db_text(st, 1));
    snprintf(out->state, sizeof(out->state), "%s", db_text(st, 4));
    snprintf(out->detail, sizeof(out->detail), "%s", db_text(st, 5));
    snprintf(out->reason, sizeof(out->reason), "%s", db_text(st, 6));
}

int
follow_get(struct repo *r, const char *model, const char *alias, struct follow *out,
           struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int e = db_query(r->db, &st, err, SELECT "WHERE model = ? AND alias = ?", "tt",
                     model, alias);

    *out = (struct follow){ .release = 0 };
    if (e == 0)
        e = db_step(st, err);
    if (e == 1)
        read_row(st, out);
    return e;
}

int
follow_all(struct repo *r, const char *alias, struct follow **out, int *n,
           struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int e =
        db_query(r->db, &st, err, SELECT "WHERE alias = ? ORDER BY model", "t", alias);

    *out = NULL;
    *n = 0;
    while (e >= 0 && (e = db_step(st, err)) == 1) {
        *out = xreallocarray(*out, (size_t)*n + 1, sizeof(**out));
        read_row(st, &(*out)[(*n)++]);
    }
    return e;
}

int
follow_set(struct repo *r, const struct follow *f, const char *shows, bool tell,
           struct err *err)
{
    struct db *tx AUTO(tx_end_p) = NULL;
    int e = db_begin(r->db, err);

    if (e < 0)
        return e;
    tx = r->db;
    e = db_run(
        r->db, err,
        "INSERT INTO follow(model, alias, release, local_release, state, detail, "
        "reason) VALUES(?, ?, ?, ?, ?, ?, ?) ON CONFLICT(model, alias) DO UPDATE SET "
        "release = excluded.release, local_release = excluded.local_release, "
        "state = excluded.state, detail = excluded.detail, reason = excluded.reason",
        "ttiittt", f->model, f->alias, f->release, f->local_release, f->state,
        f->detail, f->reason);
    if (e == 0 && tell)
        e = db_run(r->db, err,
                   "INSERT INTO follow_report(model, alias, release, state, detail, "
                   "shows, at_ns) VALUES(?, ?, ?, ?, ?, ?, ?)",
                   "ttittti", f->model, f->alias, f->release, f->state, f->detail,
                   shows, clock_now_ns());
    if (e < 0)
        return e;
    tx = NULL;
    return db_commit(r->db, err);
}

/* 1: one, 0: none left. */
static int
deliver_one(struct repo *r, struct agent_source *s, int64_t *id, struct buf *why,
            struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    struct agent_report rep;
    int e = db_query(r->db, &st, err,
                     "SELECT id, model, alias, release, state, detail, shows, at_ns "
                     "FROM follow_report ORDER BY id LIMIT 1",
                     "");

    if (e == 0)
        e = db_step(st, err);
    if (e <= 0)
        return e;
    rep = (struct agent_report){
        .id = db_int(st, 0),
        .model = db_text(st, 1),
        .alias = db_text(st, 2),
        .release = db_int(st, 3),
        .state = db_text(st, 4),
        .detail = db_text(st, 5),
        .shows = db_text(st, 6),
        .at_ns = db_int(st, 7),
    };
    *id = rep.id;
    e = s->ops->report(s, &rep, why, err);
    return e < 0 ? e : 1;
}

/* What is refused for what it says (of a release that is not known there any more) will
 * never be taken: it is dropped, and the next report says how things stand. */
static bool
is_hopeless(const struct agent_source *s, const struct err *err)
{
    return !s->away && (err->code == ERR_CONFLICT || err->code == ERR_NOTFOUND ||
                        err->code == ERR_INVALID);
}

int
follow_deliver(struct repo *r, struct agent_source *s, int64_t *n_left, struct buf *why,
               struct err *err)
{
    struct buf unused AUTO(buf_release) = BUF_INIT;
    struct err said = ERR_INIT;
    int64_t id = 0;
    int e;

    for (;;) {
        e = deliver_one(r, s, &id, &unused, &said);
        if (e == 0)
            break;
        if (e < 0 && !is_hopeless(s, &said)) {
            buf_adds(why, said.msg);
            break;
        }
        if (e < 0)
            err_clear(&said);
        e = db_begin(r->db, err);
        if (e == 0)
            e = db_run(r->db, err, "DELETE FROM follow_report WHERE id = ?", "i", id);
        if (e == 0)
            e = db_commit(r->db, err);
        db_rollback(r->db);
        if (e < 0)
            return e;
    }
    e = db_get_int(r->db, n_left, err, "SELECT count(*) FROM follow_report", "");
    return e < 0 ? e : *n_left == 0;
}

void
agent_shows(const struct deploy_release *rel, struct buf *out)
{
    const struct deploy_member *mirror = deploy_mirror(rel);

    for (int i = 0; i < rel->n_members; i++) {
        const struct deploy_member *m = &rel->members[i];

        buf_addf(out, "%s%" PRId64, i ? " " : "", m->number);
        if (rel->n_members > 1)
            buf_addf(out, "=%g%%", (double)m->weight * 100 / DEPLOY_WEIGHT_ALL);
    }
    if (mirror)
        buf_addf(out, " (mirrored to %" PRId64 ": %g%%)", mirror->number,
                 (double)mirror->mirror * 100 / DEPLOY_WEIGHT_ALL);
}
