/* SPDX-License-Identifier: Apache-2.0 */
/* Mark by SQL, sweep in small batches: the rules and why they hold are in repo/gc.h.
 *
 *   object row, nothing keeps it ── mark ──> doomed ── sweep ──> trash ── age ──> gone
 *   file without a row ───────────────────────┘  └─ kept again: the doom is lifted
 */
#include "repo/repo_gc_int.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/file.h>

#define PAGE 4096       /* objects looked at in one query of the mark */
#define ORPHANS_PAGE 64 /* told at once */
#define NS INT64_C(1000000000)

/* ---- one gc ------------------------------------------------------------------------
 */

int
repo_gc_open(struct repo_gc **out, struct repo *r, bool look_only, struct err *err)
{
    struct repo_gc *g AUTO(repo_gc_close_p) = xcalloc(1, sizeof(*g));
    int rc;

    g->r = r;
    g->lock_fd = -1;
    rc = fs_open_dir(&g->lock_fd, r->dirfd, "trash", err);
    if (rc == 0 && !look_only && flock(g->lock_fd, LOCK_EX | LOCK_NB) < 0)
        rc = errno == EWOULDBLOCK
                 ? err_set(err, ERR_BUSY,
                           "another gc, or fsck, is at work: wait until it ends")
                 : err_sys(err, errno, "lock trash");
    if (rc == 0 && !r->is_read_only) /* so that a plan counts what is done */
        repo_lease_reap(r);
    if (rc == 0 && !look_only)
        rc = repo_trash_heal(r, err);
    if (rc == 0)
        rc = repo_keep_views(r, err);
    if (rc < 0)
        return rc;
    g->opened = true;
    *out = g;
    g = NULL;
    return 0;
}

void
repo_gc_close(struct repo_gc *g)
{
    struct err err = ERR_INIT;

    if (!g)
        return;
    if (g->opened && gc_gone_clear(g, &err) < 0)
        err_clear(&err); /* the table goes with the connection */
    fs_close(&g->lock_fd);
    free(g);
}

void
repo_gc_close_p(struct repo_gc **g)
{
    repo_gc_close(*g);
    *g = NULL;
}

int
gc_gone_clear(struct repo_gc *g, struct err *err)
{
    return db_run(g->r->db, err, "DELETE FROM gone", "");
}

int
gc_gone_add(struct repo_gc *g, int64_t version_id, struct err *err)
{
    return db_run(g->r->db, err,
                  "INSERT INTO gone(version_id) VALUES(?) ON CONFLICT DO NOTHING", "i",
                  version_id);
}

int
repo_gc_due(struct repo_gc *g,
            int (*fn)(void *arg, const struct repo_version *v, struct err *err),
            void *arg, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    struct repo_version *all AUTO(free_ptr) = NULL;
    int64_t age_ns;
    int n = 0, rc = repo_age(g->r, &age_ns, err);

    if (rc == 0)
        rc = db_query(g->r->db, &st, err,
                      REPO_VERSION_SELECT
                      "JOIN deletion d ON d.version_id = v.id WHERE d.purged_ns IS "
                      "NULL AND d.until_age_ns <= ? AND NOT EXISTS (SELECT 1 FROM "
                      "keeper k WHERE k.version_id = v.id) ORDER BY d.until_age_ns",
                      "i", age_ns);
    while (rc >= 0 && (rc = db_step(st, err)) == 1) {
        all = xreallocarray(all, (size_t)n + 1, sizeof(*all));
        repo_version_row(st, &all[n++]);
    }
    db_done(st); /* the caller may write */
    st = NULL;
    for (int i = 0; rc >= 0 && i < n; i++)
        rc = fn(arg, &all[i], err);
    return rc < 0 ? rc : 0;
}

/* ---- mark --------------------------------------------------------------------------
 */

/* What is the root of anything, once: the mark asks it for each object. What becomes a
 * root meanwhile is seen by the sweep, which asks again. */
static int
make_live(struct repo_gc *g, struct err *err)
{
    int rc = db_run(g->r->db, err,
                    "CREATE TEMPORARY TABLE IF NOT EXISTS live(digest BLOB PRIMARY "
                    "KEY) WITHOUT ROWID",
                    "");

    if (rc == 0)
        rc = db_run(g->r->db, err, "DELETE FROM live", "");
    return rc < 0 ? rc
                  : db_run(g->r->db, err,
                           "INSERT INTO live(digest) SELECT DISTINCT digest FROM root "
                           "WHERE digest IS NOT NULL",
                           "");
}

/* One page of the objects above *after that nothing keeps. */
static int
mark_page(struct repo_gc *g, struct gc_object *page, int *n, struct digest *after,
          bool *ended, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int rc = db_query(
        g->r->db, &st, err,
        "SELECT o.digest, o.size_bytes FROM object o WHERE o.digest > ? AND "
        "NOT EXISTS (SELECT 1 FROM manifest_file f WHERE f.object = o.digest AND "
        "EXISTS (SELECT 1 FROM live l WHERE l.digest = f.manifest)) AND "
        "NOT EXISTS (SELECT 1 FROM live l WHERE l.digest = o.digest) "
        "ORDER BY o.digest LIMIT ?",
        "bi", after->b, sizeof(after->b), (int64_t)PAGE);

    *n = 0;
    while (rc >= 0 && (rc = db_step(st, err)) == 1) {
        struct gc_object *o = &page[*n];

        if (!repo_column_digest(st, 0, &o->digest))
            return err_set(err, ERR_CORRUPT, "an object row without a digest");
        o->size_bytes = db_int(st, 1);
        o->is_orphan = false;
        (*n)++;
    }
    *ended = *n < PAGE;
    if (*n > 0)
        *after = page[*n - 1].digest;
    return rc;
}

int
gc_mark(struct repo_gc *g, gc_objects_fn *fn, void *arg, struct err *err)
{
    struct gc_object *page AUTO(free_ptr) = xreallocarray(NULL, PAGE, sizeof(*page));
    struct digest after = { { 0 } };
    bool ended = false;
    int n, rc = make_live(g, err);

    while (rc >= 0 && !ended) {
        rc = mark_page(g, page, &n, &after, &ended, err);
        if (rc >= 0 && n > 0)
            rc = fn(arg, page, n, err);
    }
    return rc;
}

struct orphans {
    struct repo_gc *g;
    struct gc_object page[ORPHANS_PAGE];
    int n;
    gc_objects_fn *fn;
    void *arg;
};

static int
orphans_flush(struct orphans *o, struct err *err)
{
    const int n = o->n;

    o->n = 0;
    return n > 0 ? o->fn(o->arg, o->page, n, err) : 0;
}

static int
orphan_name(void *arg, const struct digest *d, const char *name, int64_t size_bytes,
            struct err *err)
{
    struct orphans *o = arg;
    int64_t one;
    int rc;

    (void)name; /* what is no object's name is fsck's to tell */
    if (!d)
        return 0;
    rc = db_get_int(o->g->r->db, &one, err, "SELECT 1 FROM object WHERE digest = ?",
                    "b", d->b, sizeof(d->b));
    if (rc != 0)
        return rc < 0 ? rc : 0;
    o->page[o->n++] = (struct gc_object){ *d, size_bytes, true };
    return o->n == ORPHANS_PAGE ? orphans_flush(o, err) : 0;
}

int
gc_orphans(struct repo_gc *g, gc_objects_fn *fn, void *arg, struct err *err)
{
    struct orphans o = { .g = g, .fn = fn, .arg = arg };
    int rc = g->r->objects->ops->list(g->r->objects, orphan_name, &o, err);

    return rc < 0 ? rc : orphans_flush(&o, err);
}

/* ---- plan --------------------------------------------------------------------------
 */

int
gc_limits(struct repo_gc *g, int64_t age_ns, int64_t *before_ns, struct err *err)
{
    int rc = db_get_int(g->r->db, before_ns, err,
                        "SELECT min(since_age_ns) FROM lease WHERE version_id IS NULL "
                        "AND until_age_ns > ?",
                        "i", age_ns);

    if (rc == 0)
        *before_ns = INT64_MAX;
    return rc < 0 ? rc : 0;
}

struct plan {
    struct repo_gc *g;
    int64_t age_ns, before_ns; /* the store's age, the oldest push's */
    struct repo_gc_totals *out;
};

void
gc_count(struct repo_gc_sum *s, int64_t size_bytes)
{
    s->n++;
    s->bytes += size_bytes;
}

/* Is it old enough in its doom? What is doomed now counts as doomed at age_ns. */
static int
plan_objects(void *arg, const struct gc_object *o, int n, struct err *err)
{
    struct plan *p = arg;

    for (int i = 0; i < n; i++) {
        int64_t since_ns = p->age_ns;
        int rc = db_get_int(p->g->r->db, &since_ns, err,
                            "SELECT since_age_ns FROM doomed WHERE digest = ?", "b",
                            o[i].digest.b, sizeof(o[i].digest.b));

        if (rc < 0)
            return rc;
        gc_count(since_ns >= p->before_ns ||
                         (o[i].is_orphan && since_ns + REPO_ORPHAN_S * NS > p->age_ns)
                     ? &p->out->waiting
                 : o[i].is_orphan ? &p->out->orphans
                                  : &p->out->unused,
                 o[i].size_bytes);
    }
    return 0;
}

static int
plan_trash(struct repo_gc *g, int64_t until_ns, struct repo_gc_totals *out,
           struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int rc = db_query(g->r->db, &st, err,
                      "SELECT digest, size_bytes FROM trash WHERE until_age_ns <= ?",
                      "i", until_ns);

    while (rc >= 0 && (rc = db_step(st, err)) == 1) {
        struct digest d;
        bool linked = false;

        if (repo_column_digest(st, 0, &d))
            repo_trash_frees(g->r, &d, true, 0, &linked);
        gc_count(&out->freed, db_int(st, 1));
        out->still_linked_bytes += linked ? db_int(st, 1) : 0;
    }
    return rc;
}

static int
plan_gone(void *arg, const struct repo_version *v, struct err *err)
{
    return gc_gone_add(arg, v->id, err);
}

int
repo_gc_plan(struct repo_gc *g, bool empty_trash, struct repo_gc_totals *out,
             struct err *err)
{
    struct plan p = { .g = g, .out = out };
    int rc = repo_age(g->r, &p.age_ns, err);

    *out = (struct repo_gc_totals){ .still_linked_bytes = 0 };
    if (rc == 0)
        rc = gc_limits(g, p.age_ns, &p.before_ns, err);
    if (rc == 0)
        rc = repo_gc_due(g, plan_gone, g, err);
    if (rc == 0)
        rc = plan_trash(g, empty_trash ? INT64_MAX : p.age_ns, out, err);
    if (rc == 0)
        rc = gc_mark(g, plan_objects, &p, err);
    if (rc == 0)
        rc = gc_orphans(g, plan_objects, &p, err);
    if (rc == 0 && empty_trash) { /* what goes there goes on at once */
        out->freed.n += out->unused.n + out->orphans.n;
        out->freed.bytes += out->unused.bytes + out->orphans.bytes;
    }
    return rc < 0 ? rc : gc_gone_clear(g, err);
}
