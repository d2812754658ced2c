/* SPDX-License-Identifier: Apache-2.0 */
/* The writing half of gc: dooms, sweeps and empties, in batches that leave the write
 * lock to others most of the time. */
#include "repo/cold.h"
#include "repo/repo_gc_int.h"

#include "base/clock.h"

#include <time.h>

#define DOOM_BATCH 64   /* rows of one transaction */
#define HOLD_NS 1000000 /* what a batch may take of the writers' time, at most */
#define REST_TIMES 4    /* and so much longer it then leaves the lock alone */
#define REST_MIN_NS 500000
/* A batch that was held up while it had the lock (another process got the processor)
 * has held up a writer, too: it shall be rare, also on a machine that is busy. */
#define LATE_NS 1000000
#define LATE_REST_TIMES 100
#define LATE_REST_MAX_NS 500000000
#define NS INT64_C(1000000000)

/* ---- doom --------------------------------------------------------------------------
 */

static int64_t
cpu_ns(void)
{
    struct timespec t;

    return clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0 ? t.tv_sec * NS + t.tv_nsec
                                                           : 0;
}

/* One turn at the write lock. */
struct turn {
    int64_t from_ns, from_cpu_ns;
};

static void
turn_start(struct turn *t)
{
    *t = (struct turn){ clock_mono_ns(), cpu_ns() };
}

/* The lock is open again, and is left to others. Returns how long it was held. */
static int64_t
turn_end(const struct turn *t, struct repo *r)
{
    const int64_t held_ns = clock_mono_ns() - t->from_ns;
    const int64_t late_ns = held_ns - (cpu_ns() - t->from_cpu_ns);
    int64_t ns = late_ns > LATE_NS ? LATE_REST_TIMES * late_ns : REST_TIMES * held_ns;
    struct timespec rest;

    if (ns < REST_MIN_NS)
        ns = REST_MIN_NS;
    if (ns > LATE_REST_MAX_NS)
        ns = LATE_REST_MAX_NS;
    db_tidy(r->db);
    rest = (struct timespec){ .tv_sec = ns / NS, .tv_nsec = ns % NS };
    nanosleep(&rest, NULL);
    return held_ns;
}

/* A doom that stands keeps its age. */
static int
doom_some(struct repo *r, const struct gc_object *o, int n, struct err *err)
{
    int64_t age_ns;
    int rc = repo_age_tick(r, &age_ns, err);

    for (int i = 0; rc == 0 && i < n; i++)
        rc = db_run(r->db, err,
                    "INSERT INTO doomed(digest, size_bytes, since_age_ns, is_orphan) "
                    "VALUES(?, ?, ?, ?) ON CONFLICT(digest) DO UPDATE SET "
                    "is_orphan = excluded.is_orphan",
                    "biii", o[i].digest.b, sizeof(o[i].digest.b), o[i].size_bytes,
                    age_ns, (int64_t)o[i].is_orphan);
    return rc;
}

int
gc_doom(void *arg, const struct gc_object *o, int n, struct err *err)
{
    struct repo_gc *g = arg;
    int rc = 0;

    for (int i = 0; rc == 0 && i < n; i += DOOM_BATCH) {
        struct turn turn;

        rc = db_begin_quick(g->r->db, err);
        turn_start(&turn);
        if (rc == 0)
            rc = doom_some(g->r, o + i, n - i < DOOM_BATCH ? n - i : DOOM_BATCH, err);
        if (rc == 0)
            rc = db_commit(g->r->db, err);
        db_rollback(g->r->db);
        turn_end(&turn, g->r);
    }
    return rc;
}

/* ---- sweep -------------------------------------------------------------------------
 */

int
gc_is_kept(struct repo *r, const struct digest *d, struct err *err)
{
    int64_t one;

    return db_get_int(r->db, &one, err,
                      "SELECT 1 WHERE EXISTS (SELECT 1 FROM root WHERE digest = ?) OR "
                      "EXISTS (SELECT 1 FROM manifest_file f WHERE f.object = ? AND "
                      "EXISTS (SELECT 1 FROM root WHERE digest = f.manifest))",
                      "bb", d->b, sizeof(d->b), d->b, sizeof(d->b));
}

/* The file's rows of a manifest, a few at a time. 1: all are gone. */
static int
drop_files(struct repo *r, const struct digest *d, int n, struct err *err)
{
    int rc = db_run(r->db, err,
                    "DELETE FROM manifest_file WHERE manifest = ? AND path IN "
                    "(SELECT path FROM manifest_file WHERE manifest = ? LIMIT ?)",
                    "bbi", d->b, sizeof(d->b), d->b, sizeof(d->b), (int64_t)n);

    return rc < 0 ? rc : db_changes(r->db) < n;
}

/* 1: it lies in the trash now, 0: something still has a use for it. */
static int
sweep_one(struct sweep *s, const struct gc_object *o, int n_files, struct err *err)
{
    struct repo *r = s->g->r;
    const struct digest *d = &o->digest;
    int64_t one;
    int moved, rc = gc_is_kept(r, d, err);

    if (rc == 1) {
        rc = db_run(r->db, err, "DELETE FROM doomed WHERE digest = ?", "b", d->b,
                    sizeof(d->b));
        return rc < 0 ? rc : 0;
    }
    if (rc == 0)
        rc = drop_files(r, d, n_files, err);
    if (rc <= 0) /* the next batch goes on with it */
        return rc;
    /* a manifest that is doomed too, and comes later */
    rc = db_get_int(r->db, &one, err,
                    "SELECT 1 FROM manifest_file WHERE object = ? LIMIT 1", "b", d->b,
                    sizeof(d->b));
    if (rc != 0)
        return rc < 0 ? rc : 0;
    moved = repo_trash_put(r, d, err);
    rc = moved < 0 ? moved
                   : db_run(r->db, err, "DELETE FROM object WHERE digest = ?", "b",
                            d->b, sizeof(d->b));
    if (rc == 0)
        rc = db_run(r->db, err, "DELETE FROM doomed WHERE digest = ?", "b", d->b,
                    sizeof(d->b));
    if (rc < 0 || moved == 0) /* a file that went already */
        return rc;
    rc =
        db_run(r->db, err,
               "INSERT INTO trash(digest, size_bytes, until_age_ns) VALUES(?, ?, "
               "?) ON CONFLICT(digest) DO UPDATE SET until_age_ns = "
               "excluded.until_age_ns",
               "bii", d->b, sizeof(d->b), o->size_bytes, s->age_ns + REPO_TRASH_S * NS);
    if (rc < 0)
        return rc;
    gc_count(o->is_orphan ? &s->out->orphans : &s->out->unused, o->size_bytes);
    return 1;
}

/* The next doomed ones above s->after that are old enough. Manifests come in a pass of
 * their own, before what they name. */
static int
next_doomed(struct sweep *s, struct gc_object *page, int *n, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int rc = db_query(
        s->g->r->db, &st, err,
        s->manifests
            ? "SELECT digest, size_bytes, is_orphan FROM doomed WHERE digest > ? AND "
              "since_age_ns < ? AND (is_orphan = 0 OR since_age_ns <= ?) AND EXISTS "
              "(SELECT 1 FROM manifest_file f WHERE f.manifest = doomed.digest) "
              "ORDER BY digest LIMIT ?"
            : "SELECT digest, size_bytes, is_orphan FROM doomed WHERE digest > ? AND "
              "since_age_ns < ? AND (is_orphan = 0 OR since_age_ns <= ?) "
              "ORDER BY digest LIMIT ?",
        "biii", s->after.b, sizeof(s->after.b), s->before_ns,
        s->age_ns - (s->orphans_at_once ? 0 : REPO_ORPHAN_S * NS), (int64_t)s->n_batch);

    *n = 0;
    while (rc >= 0 && (rc = db_step(st, err)) == 1) {
        if (!repo_column_digest(st, 0, &page[*n].digest))
            return err_set(err, ERR_CORRUPT, "a doomed row without a digest");
        page[*n].size_bytes = db_int(st, 1);
        page[*n].is_orphan = db_int(st, 2) != 0;
        (*n)++;
    }
    return rc;
}

static int
sweep_batch(struct sweep *s, int *n, struct err *err)
{
    struct gc_object page[GC_BATCH_MAX];
    struct repo *r = s->g->r;
    int rc = repo_age_tick(r, &s->age_ns, err);

    if (rc == 0)
        rc = gc_limits(s->g, s->age_ns, &s->before_ns, err);
    if (rc == 0)
        rc = next_doomed(s, page, n, err);
    for (int i = 0; rc >= 0 && i < *n; i++) {
        rc = sweep_one(s, &page[i], s->n_batch, err);
        if (rc >= 0 && s->manifests) {
            int64_t one; /* its rows are many: the same one again */

            rc = db_get_int(r->db, &one, err,
                            "SELECT 1 FROM manifest_file WHERE manifest = ? LIMIT 1",
                            "b", page[i].digest.b, sizeof(page[i].digest.b));
            if (rc != 0)
                return rc < 0 ? rc : 0;
        }
        s->after = page[i].digest;
        if (s->manifests) /* each may have taken a whole batch of rows */
            return rc < 0 ? rc : 0;
    }
    return rc < 0 ? rc : 0;
}

int
gc_sweep_step(struct sweep *s, bool *ended, struct err *err)
{
    struct turn turn;
    int64_t held_ns;
    int n = 0, rc = db_begin_quick(s->g->r->db, err);

    turn_start(&turn);
    if (rc == 0)
        rc = sweep_batch(s, &n, err);
    if (rc == 0)
        rc = db_commit(s->g->r->db, err);
    if (rc < 0) {
        struct err ignored = ERR_INIT;

        db_rollback(s->g->r->db);
        if (repo_trash_heal(s->g->r, &ignored) < 0)
            err_clear(&ignored); /* the next gc, or fsck, does it */
        return rc;
    }
    held_ns = turn_end(&turn, s->g->r);
    if (held_ns > HOLD_NS && s->n_batch > 1)
        s->n_batch /= 2;
    else if (held_ns < HOLD_NS / 2 && s->n_batch < GC_BATCH_MAX)
        s->n_batch *= 2;
    if (n == 0) {
        *ended = !s->manifests;
        s->manifests = false;
        s->after = (struct digest){ { 0 } };
    }
    return 0;
}

void
gc_sweep_start(struct sweep *s, struct repo_gc *g, struct repo_gc_totals *out)
{
    *s = (struct sweep){ .g = g, .out = out, .manifests = true, .n_batch = 16 };
}

/* ---- the trash ---------------------------------------------------------------------
 */

/* Files first, rows later: a row without a file does no harm. The caller has made
 * durable that nothing refers to them. */
static int
empty_batch(struct repo_gc *g, int64_t until_ns, int64_t until_free,
            struct repo_gc_totals *out, int *n, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    struct gc_object page[GC_BATCH_MAX];
    struct turn turn;
    int done = 0;
    int rc = db_query(g->r->db, &st, err,
                      "SELECT digest, size_bytes FROM trash WHERE until_age_ns <= ? "
                      "ORDER BY until_age_ns, digest LIMIT ?",
                      "ii", until_ns, (int64_t)GC_BATCH_MAX);

    *n = 0;
    while (rc >= 0 && (rc = db_step(st, err)) == 1) {
        if (!repo_column_digest(st, 0, &page[*n].digest))
            return err_set(err, ERR_CORRUPT, "a trash row without a digest");
        page[(*n)++].size_bytes = db_int(st, 1);
    }
    db_done(st);
    st = NULL;
    for (; rc >= 0 && done < *n; done++) {
        bool linked;

        if (until_free > 0 && repo_free_bytes(g->r) >= until_free) {
            *n = 0; /* enough */
            break;
        }
        repo_trash_frees(g->r, &page[done].digest, true, 0, &linked);
        rc = repo_trash_unlink(g->r, &page[done].digest, err);
        gc_count(&out->freed, page[done].size_bytes);
        out->still_linked_bytes += linked ? page[done].size_bytes : 0;
    }
    if (rc >= 0 && done > 0)
        rc = db_begin_quick(g->r->db, err);
    turn_start(&turn);
    for (int i = 0; rc >= 0 && i < done; i++) {
        rc = db_run(g->r->db, err, "DELETE FROM trash WHERE digest = ?", "b",
                    page[i].digest.b, sizeof(page[i].digest.b));
        if (rc == 0)
            rc = repo_cold_forget(g->r, &page[i].digest, err);
    }
    if (rc >= 0 && done > 0)
        rc = db_commit(g->r->db, err);
    db_rollback(g->r->db);
    if (done > 0)
        turn_end(&turn, g->r);
    return rc < 0 ? rc : 0;
}

int
gc_empty(struct repo_gc *g, int64_t until_ns, int64_t until_free,
         struct repo_gc_totals *out, struct err *err)
{
    int64_t age_ns;
    int n = 1, rc = db_begin(g->r->db, err); /* durable, with all before it */

    if (rc == 0)
        rc = repo_age_tick(g->r, &age_ns, err);
    if (rc == 0)
        rc = db_run(g->r->db, err, "DELETE FROM lease WHERE until_age_ns <= ?", "i",
                    age_ns);
    if (rc == 0)
        rc = db_commit(g->r->db, err);
    db_rollback(g->r->db);
    while (rc == 0 && n > 0)
        rc = empty_batch(g, until_ns, until_free, out, &n, err);
    return rc;
}

/* ---- all of it ---------------------------------------------------------------------
 */

static int
sum_waiting(struct repo_gc *g, struct repo_gc_sum *out, struct err *err)
{
    int rc = db_get_int(g->r->db, &out->n, err, "SELECT count(*) FROM doomed", "");

    if (rc >= 0)
        rc = db_get_int(g->r->db, &out->bytes, err,
                        "SELECT sum(size_bytes) FROM doomed", "");
    return rc < 0 ? rc : 0;
}

int
repo_gc_run(struct repo_gc *g, bool empty_trash, struct repo_gc_totals *out,
            struct err *err)
{
    struct sweep s;
    int64_t age_ns;
    bool ended = false;
    int rc = gc_mark(g, gc_doom, g, err);

    *out = (struct repo_gc_totals){ .still_linked_bytes = 0 };
    if (rc == 0)
        rc = gc_orphans(g, gc_doom, g, err);
    if (rc == 0)
        rc = repo_cold_sweep(g->r, err);
    gc_sweep_start(&s, g, out);
    while (rc == 0 && !ended)
        rc = gc_sweep_step(&s, &ended, err);
    if (rc == 0)
        rc = repo_age(g->r, &age_ns, err);
    if (rc == 0)
        rc = gc_empty(g, empty_trash ? INT64_MAX : age_ns, 0, out, err);
    if (rc == 0)
        rc = sum_waiting(g, &out->waiting, err);
    return rc < 0 ? err_ctx(err, "gc") : 0;
}
