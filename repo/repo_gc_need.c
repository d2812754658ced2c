/* SPDX-License-Identifier: Apache-2.0 */
/* gc --need: what can go, safest first, until there is room. */
#include "repo/repo_gc_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct needer {
    struct repo_gc *g;
    const struct repo_gc_need *need;
    int64_t age_ns, before_ns;
    int64_t wanted_bytes;   /* still; a plan counts down, doing asks the file system */
    struct gc_object *lost; /* objects that the version at hand keeps alone */
    int n_lost;
};

static bool
is_enough(const struct needer *n)
{
    return n->need->apply ? repo_free_bytes(n->g->r) >= n->need->need_bytes
                          : n->wanted_bytes <= 0;
}

static void
add_object(struct needer *n, struct repo_gc_item *item, const struct digest *d,
           int64_t size_bytes, bool in_trash, int n_own_links)
{
    bool linked;

    item->n_objects++;
    item->size_bytes += size_bytes;
    item->frees_bytes += repo_trash_frees(n->g->r, d, in_trash, n_own_links, &linked);
}

static int
tell(struct needer *n, const struct repo_gc_item *item, struct err *err)
{
    n->wanted_bytes -= item->frees_bytes;
    return item->n_objects > 0 ? n->need->fn(n->need->arg, item, err) : 0;
}

/* Sweeps what is doomed, and empties the trash as far as needed. */
static int
free_doomed(struct needer *n, struct repo_gc_item *item, struct err *err)
{
    const int64_t before_bytes = repo_free_bytes(n->g->r);
    struct repo_gc_totals done = { .still_linked_bytes = 0 };
    struct sweep s;
    bool ended = false;
    int rc = 0;

    gc_sweep_start(&s, n->g, &done);
    s.orphans_at_once = true;
    while (rc == 0 && !ended)
        rc = gc_sweep_step(&s, &ended, err);
    if (rc == 0)
        rc = gc_empty(n->g, INT64_MAX, n->need->need_bytes, &done, err);
    item->frees_bytes = repo_free_bytes(n->g->r) - before_bytes;
    return rc;
}

/* ---- trash, orphans, unused
 * ----------------------------------------------------------
 */

static int
count_trash(struct needer *n, struct repo_gc_item *item, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int rc =
        db_query(n->g->r->db, &st, err, "SELECT digest, size_bytes FROM trash", "");

    while (rc >= 0 && (rc = db_step(st, err)) == 1) {
        struct digest d;

        if (repo_column_digest(st, 0, &d))
            add_object(n, item, &d, db_int(st, 1), true, 0);
    }
    return rc;
}

struct counter {
    struct needer *n;
    struct repo_gc_item *item;
};

static int
count_objects(void *arg, const struct gc_object *o, int n, struct err *err)
{
    const struct counter *c = arg;

    for (int i = 0; i < n; i++) {
        int64_t since_ns = c->n->age_ns;
        int rc = db_get_int(c->n->g->r->db, &since_ns, err,
                            "SELECT since_age_ns FROM doomed WHERE digest = ?", "b",
                            o[i].digest.b, sizeof(o[i].digest.b));

        if (rc < 0)
            return rc;
        if (since_ns < c->n->before_ns) /* else a push may want it */
            add_object(c->n, c->item, &o[i].digest, o[i].size_bytes, false, 0);
    }
    return 0;
}

static int
do_stage(struct needer *n, struct repo_gc_item *item, struct err *err)
{
    struct counter c = { n, item };
    int (*const look)(struct repo_gc *, gc_objects_fn *, void *, struct err *) =
        strcmp(item->kind, "orphans") == 0  ? gc_orphans
        : strcmp(item->kind, "unused") == 0 ? gc_mark
                                            : NULL;
    int rc;

    if (is_enough(n))
        return 0;
    rc = look ? look(n->g, count_objects, &c, err) : count_trash(n, item, err);
    if (rc == 0 && n->need->apply && item->n_objects > 0) {
        if (look)
            rc = look(n->g, gc_doom, n->g, err);
        if (rc == 0)
            rc = free_doomed(n, item, err);
    }
    return rc < 0 ? rc : tell(n, item, err);
}

/* ---- versions
 * ------------------------------------------------------------------------
 */

static int
remember_roots(struct repo_gc *g, struct err *err)
{
    int rc = db_run(g->r->db, err,
                    "CREATE TEMPORARY TABLE IF NOT EXISTS was_root(digest BLOB PRIMARY "
                    "KEY) WITHOUT ROWID",
                    "");

    if (rc == 0)
        rc = db_run(g->r->db, err, "DELETE FROM was_root", "");
    return rc < 0 ? rc
                  : db_run(g->r->db, err,
                           "INSERT INTO was_root(digest) SELECT DISTINCT digest FROM "
                           "root WHERE digest IS NOT NULL",
                           "");
}

/* What nothing keeps once the version at hand is gone, as n->lost. */
static int
find_lost(struct needer *n, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int n_all = 0, rc;

    n->n_lost = 0;
    rc = db_query(n->g->r->db, &st, err,
                  "SELECT o.digest, o.size_bytes FROM object o WHERE o.digest IN "
                  "(SELECT digest FROM was_root EXCEPT SELECT digest FROM root) OR "
                  "o.digest IN (SELECT f.object FROM manifest_file f WHERE f.manifest "
                  "IN (SELECT digest FROM was_root EXCEPT SELECT digest FROM root))",
                  "");
    while (rc >= 0 && (rc = db_step(st, err)) == 1) {
        struct gc_object *o;

        n->lost = xreallocarray(n->lost, (size_t)n_all + 1, sizeof(*n->lost));
        o = &n->lost[n_all];
        *o = (struct gc_object){ .size_bytes = db_int(st, 1) };
        n_all += repo_column_digest(st, 0, &o->digest);
    }
    db_done(st);
    st = NULL;
    for (int i = 0; rc >= 0 && i < n_all; i++) {
        rc = gc_is_kept(n->g->r, &n->lost[i].digest, err);
        if (rc == 0)
            n->lost[n->n_lost++] = n->lost[i];
    }
    return rc < 0 ? rc : 0;
}

static int
record_delete(struct repo *r, const struct repo_version *v, struct err *err)
{
    char object[REPO_NAME_BYTES + 24], digest[REPO_DIGEST_BYTES];
    struct acc_event e = { .verb = "delete",
                           .object = object,
                           .digest = digest,
                           .outcome = "ok",
                           .body = "{\"why\": \"retention\", \"days\": 0}" };

    snprintf(object, sizeof(object), "%s@%" PRId64, v->model, v->number);
    repo_digest_text(&v->digest, digest);
    return acc_record(r->acc, &e, err);
}

/* Its rows, for good. */
static int
purge(struct needer *n, const struct repo_version *v, struct err *err)
{
    struct repo *r = n->g->r;
    int rc = n->need->before_purge ? n->need->before_purge(n->need->arg, v, err) : 0;

    if (rc == 0)
        rc = db_begin(r->db, err);
    if (rc == 0 && strcmp(v->state, "deleted") != 0) {
        rc = repo_delete(r, v, 0, "retention", err);
        if (rc == 0)
            rc = record_delete(r, v, err);
    }
    if (rc == 0)
        rc = repo_purge(r, v, "room was needed", err);
    if (rc >= 0)
        rc = db_commit(r->db, err);
    db_rollback(r->db);
    return rc;
}

static int
do_version(struct needer *n, struct repo_gc_item *item, struct err *err)
{
    const int n_links =
        n->need->n_links ? n->need->n_links(n->need->arg, item->v, err) : 0;
    int rc = n_links < 0 ? n_links : remember_roots(n->g, err);

    if (rc == 0)
        rc = gc_gone_add(n->g, item->v->id, err);
    if (rc == 0)
        rc = find_lost(n, err);
    for (int i = 0; rc == 0 && i < n->n_lost; i++)
        add_object(n, item, &n->lost[i].digest, n->lost[i].size_bytes, false, n_links);
    if (rc == 0 && n->need->apply)
        rc = purge(n, item->v, err);
    if (rc == 0 && n->need->apply)
        rc = gc_doom(n->g, n->lost, n->n_lost, err);
    if (rc == 0 && n->need->apply)
        rc = free_doomed(n, item, err);
    return rc < 0 ? rc : tell(n, item, err);
}

struct candidates {
    struct repo_version *v;
    int n;
};

static void
candidates_release(struct candidates *c)
{
    free(c->v);
}

static int
add_candidate(void *arg, const struct repo_version *v, bool kept, const char *why,
              struct err *err)
{
    struct candidates *c = arg;

    (void)why;
    (void)err;
    if (kept)
        return 0;
    c->v = xreallocarray(c->v, (size_t)c->n + 1, sizeof(*c->v));
    c->v[c->n++] = *v;
    return 0;
}

static int
oldest_first(const void *a, const void *b)
{
    const struct repo_version *x = a, *y = b;

    return x->id < y->id ? -1 : x->id > y->id;
}

/* Deleted ones whose window still runs, too; those that ended first come first. */
static int
list_deleted(struct repo_gc *g, struct candidates *out, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int rc = db_query(g->r->db, &st, err,
                      REPO_VERSION_SELECT
                      "JOIN deletion d ON d.version_id = v.id WHERE d.purged_ns IS "
                      "NULL AND NOT EXISTS (SELECT 1 FROM keeper k WHERE k.version_id "
                      "= v.id) ORDER BY d.until_age_ns",
                      "");

    while (rc >= 0 && (rc = db_step(st, err)) == 1) {
        struct repo_version v;

        repo_version_row(st, &v);
        rc = add_candidate(out, &v, false, "", err);
    }
    return rc;
}

static int
why_deleted(struct repo *r, const struct repo_version *v, struct buf *out,
            struct err *err)
{
    struct repo_deletion d = { .left_s = 0 };
    int rc = repo_deletion(r, v->id, &d, err);

    buf_addf(out, "deleted by %s", d.by);
    if (d.left_s > 0)
        buf_addf(out, "; could come back for %" PRId64 " days more",
                 (d.left_s + 86399) / 86400);
    return rc < 0 ? rc : 0;
}

static int
do_versions(struct needer *n, const char *kind, struct err *err)
{
    struct candidates c AUTO(candidates_release) = { .n = 0 };
    const bool deleted = strcmp(kind, "deleted") == 0;
    int rc;

    if (is_enough(n))
        return 0;
    rc = deleted ? list_deleted(n->g, &c, err)
                 : repo_retention_all(n->g->r, add_candidate, &c, err);
    if (rc == 0 && !deleted && c.n > 0)
        qsort(c.v, (size_t)c.n, sizeof(*c.v), oldest_first);
    for (int i = 0; rc == 0 && i < c.n && !is_enough(n); i++) {
        struct repo_gc_item item = { .kind = kind, .v = &c.v[i] };
        struct buf why AUTO(buf_release) = BUF_INIT;

        if (deleted)
            rc = why_deleted(n->g->r, &c.v[i], &why, err);
        else
            buf_adds(&why, "no retention rule keeps it");
        item.why = buf_str(&why);
        if (rc == 0)
            rc = do_version(n, &item, err);
    }
    return rc;
}

static int
add_all(void *arg, const struct repo_version *v, struct err *err)
{
    return add_candidate(arg, v, false, "", err);
}

static bool
has_version(const struct candidates *c, int64_t id)
{
    for (int i = 0; i < c->n; i++)
        if (c->v[i].id == id)
            return true;
    return false;
}

/* Those that no later stage deletes: nothing counts twice. */
static int
do_cold(struct needer *n, struct err *err)
{
    struct candidates all AUTO(candidates_release) = { .n = 0 };
    struct candidates gone AUTO(candidates_release) = { .n = 0 };
    int rc;

    if (!n->need->make_cold || is_enough(n))
        return 0;
    rc = list_deleted(n->g, &gone, err);
    if (rc == 0)
        rc = repo_retention_all(n->g->r, add_candidate, &gone, err);
    if (rc == 0)
        rc = repo_versions(n->g->r, NULL, add_all, &all, err);
    if (rc == 0 && all.n > 0)
        qsort(all.v, (size_t)all.n, sizeof(*all.v), oldest_first);
    for (int i = 0; rc == 0 && i < all.n && !is_enough(n); i++) {
        struct repo_gc_item item = { .kind = "cold", .v = &all.v[i] };

        if (has_version(&gone, all.v[i].id))
            continue;
        rc = n->need->make_cold(n->need->arg, item.v, &item, err);
        if (rc == 0)
            rc = tell(n, &item, err);
    }
    return rc;
}

int
repo_gc_need(struct repo_gc *g, const struct repo_gc_need *need, struct err *err)
{
    struct repo_gc_item stages[] = {
        { .kind = "trash", .why = "what gc took, and undelete could bring back" },
        { .kind = "orphans", .why = "files that no row knows" },
        { .kind = "unused", .why = "objects that nothing keeps" },
    };
    struct needer n = { .g = g, .need = need };
    int rc = repo_age(g->r, &n.age_ns, err);

    n.wanted_bytes = need->need_bytes - repo_free_bytes(g->r);
    if (rc == 0)
        rc = gc_limits(g, n.age_ns, &n.before_ns, err);
    for (size_t i = 0; rc == 0 && i < sizeof(stages) / sizeof(stages[0]); i++)
        rc = do_stage(&n, &stages[i], err);
    if (rc == 0)
        rc = do_cold(&n, err);
    if (rc == 0)
        rc = do_versions(&n, "deleted", err);
    if (rc == 0)
        rc = do_versions(&n, "retention", err);
    free(n.lost);
    if (rc == 0)
        rc = gc_gone_clear(g, err);
    return rc;
}
