/* SPDX-License-Identifier: Apache-2.0 */
/* Versions that go, and holds. A version's life ends in steps that can be undone for as
 * long as possible:
 *
 *   ready ── delete ──> deleted ── window ends, gc: purge ──> objects in the trash ──>
 * - └──── undelete ─────┘ <──────────────── undelete ────────────┘
 *
 * The row stays for good, so a number is never given again. */
#include "repo/gc.h"

#include "base/clock.h"
#include "repo/repo_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS INT64_C(1000000000)
#define S_PER_DAY INT64_C(86400)

/* ---- what keeps a version
 * ------------------------------------------------------------
 */

int
repo_keepers(struct repo *r, int64_t version_id, repo_keeper_fn *fn, void *arg,
             struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int rc = repo_keep_views(r, err);

    if (rc == 0)
        rc = db_query(r->db, &st, err,
                      "SELECT DISTINCT why, way_out FROM keeper WHERE version_id = ?",
                      "i", version_id);
    while (rc >= 0 && (rc = db_step(st, err)) == 1)
        rc = fn(arg, db_text(st, 0), db_text(st, 1), err);
    return rc;
}

static int
add_keeper(void *arg, const char *why, const char *way_out, struct err *err)
{
    (void)err;
    buf_addf(arg, "\n  %s: %s", why, way_out);
    return 0;
}

static int
refuse_kept(struct repo *r, const struct repo_version *v, struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    int rc = repo_keepers(r, v->id, add_keeper, &text, err);

    return rc < 0          ? rc
           : text.len == 0 ? 0
                           : err_set(err, ERR_REFUSED, "%s@%" PRId64 " is needed:%s",
                                     v->model, v->number, buf_str(&text));
}

/* ---- delete, purge, undelete
 * ---------------------------------------------------------
 */

int
repo_deletion(struct repo *r, int64_t version_id, struct repo_deletion *out,
              struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int64_t age_ns;
    int rc = repo_age(r, &age_ns, err);

    if (rc == 0)
        rc = db_query(r->db, &st, err,
                      "SELECT deleted_ns, purged_ns, until_age_ns, deleted_by FROM "
                      "deletion WHERE version_id = ?",
                      "i", version_id);
    if (rc == 0)
        rc = db_step(st, err);
    if (rc != 1)
        return rc;
    *out = (struct repo_deletion){ .deleted_ns = db_int(st, 0),
                                   .purged_ns = db_int(st, 1) };
    if (db_int(st, 2) > age_ns)
        out->left_s = (db_int(st, 2) - age_ns + NS - 1) / NS;
    snprintf(out->by, sizeof(out->by), "%s", db_text(st, 3));
    return 1;
}

int
repo_delete(struct repo *r, const struct repo_version *v, int64_t window_days,
            const char *reason, struct err *err)
{
    struct repo_deletion was;
    int64_t age_ns;
    int rc;

    if (window_days < 0 || window_days > REPO_DAYS_MAX)
        return err_set(err, ERR_INVALID, "a window of %" PRId64 " days: 0 to %d",
                       window_days, REPO_DAYS_MAX);
    if (!reason)
        reason = "";
    rc = repo_deletion(r, v->id, &was, err);
    if (rc == 1)
        return err_set(err, ERR_CONFLICT, "%s@%" PRId64 " is deleted already, by %s",
                       v->model, v->number, was.by);
    if (rc == 0)
        rc = repo_age_tick(r, &age_ns, err);
    repo_lease_reap(r); /* who pulls it may have been killed */
    if (rc == 0)
        rc = refuse_kept(r, v, err);
    if (rc == 0)
        rc = db_run(r->db, err,
                    "INSERT INTO deletion(version_id, was, deleted_ns, deleted_by, "
                    "until_age_ns) SELECT id, state, ?, ?, ? FROM version WHERE id = ?",
                    "itii", clock_now_ns(), acc_actor(r->acc),
                    age_ns + window_days * S_PER_DAY * NS, v->id);
    return rc < 0
               ? rc
               : db_run(r->db, err, "UPDATE version SET state = 'deleted' WHERE id = ?",
                        "i", v->id);
}

int
repo_purge(struct repo *r, const struct repo_version *v, const char *why,
           struct err *err)
{
    char object[REPO_NAME_BYTES + 24], digest[REPO_DIGEST_BYTES];
    char *body AUTO(free_ptr) = xasprintf("{\"why\": \"%s\"}", why);
    struct acc_event e = { .verb = "purge",
                           .object = object,
                           .digest = digest,
                           .outcome = "ok",
                           .body = body };
    int rc = refuse_kept(r, v, err);

    if (rc == -ERR_REFUSED) { /* since the caller looked */
        err_clear(err);
        return 0;
    }
    if (rc == 0)
        rc = db_run(r->db, err,
                    "UPDATE deletion SET purged_ns = ? WHERE version_id = ? AND "
                    "purged_ns IS NULL",
                    "ii", clock_now_ns(), v->id);
    if (rc < 0 || db_changes(r->db) == 0)
        return rc;
    snprintf(object, sizeof(object), "%s@%" PRId64, v->model, v->number);
    repo_digest_text(&v->digest, digest);
    rc = acc_record(r->acc, &e, err);
    return rc < 0 ? rc : 1;
}

/* An object that lies in objects/ or comes back there. 1 it is there, 0 nowhere. */
static int
bring_back(struct repo *r, const struct digest *d, int64_t *size_bytes, struct err *err)
{
    int rc = r->objects->ops->has(r->objects, d, size_bytes, err);

    if (rc != 0)
        return rc;
    rc = repo_trash_has(r, d, size_bytes, err);
    if (rc == 1)
        rc = repo_trash_back(r, d, err);
    if (rc == 1 && db_run(r->db, err, "DELETE FROM trash WHERE digest = ?", "b", d->b,
                          sizeof(d->b)) < 0)
        rc = -(int)err->code;
    return rc;
}

static int
bring_back_files(struct repo *r, const struct repo_manifest *m, struct err *err)
{
    int64_t size_bytes;
    int rc = 1;

    for (int i = 0; rc == 1 && i < m->n_files; i++)
        rc = bring_back(r, &m->files[i].digest, &size_bytes, err);
    return rc;
}

/* A root without rows: a manifest with its files, or an object of its own (`alone`: it
 * is known to be one, and may be large). */
static int
bring_back_root(struct repo *r, const struct digest *d, bool alone, struct err *err)
{
    struct repo_manifest m AUTO(repo_manifest_release) = { .files = NULL };
    char hex[DIGEST_HEX_BYTES];
    int64_t size_bytes;
    int rc = bring_back(r, d, &size_bytes, err);

    if (rc == 1) {
        if (!alone)
            rc = repo_manifest_get(r, d, &m, err) < 0 ? -(int)err->code : 1;
        if (alone || rc == -ERR_CORRUPT) {
            err_clear(err);
            return db_run(r->db, err,
                          "INSERT INTO object(digest, size_bytes, created_ns) "
                          "VALUES(?, ?, ?) ON CONFLICT DO NOTHING",
                          "bii", d->b, sizeof(d->b), size_bytes, clock_now_ns());
        }
    }
    if (rc == 1)
        rc = bring_back_files(r, &m, err);
    digest_hex(d, hex);
    if (rc == 0)
        return err_set(
            err, ERR_NOTFOUND,
            "its bytes are gone (of %s, too, in the trash): push them again; "
            "they get a new number",
            hex);
    return rc < 0 ? rc : repo_manifest_record(r, &m, err);
}

static int
bring_back_all(struct repo *r, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    struct root {
        struct digest digest;
        bool alone;
    } * all AUTO(free_ptr) = NULL;
    int n = 0;
    int rc =
        db_query(r->db, &st, err,
                 "SELECT DISTINCT digest, EXISTS (SELECT 1 FROM attachment a WHERE "
                 "a.object = digest) AND NOT EXISTS (SELECT 1 FROM version v WHERE "
                 "v.digest = root.digest) FROM root WHERE NOT EXISTS (SELECT 1 FROM "
                 "object o WHERE o.digest = root.digest) OR EXISTS (SELECT 1 FROM "
                 "doomed d WHERE d.digest = root.digest)",
                 "");

    while (rc >= 0 && (rc = db_step(st, err)) == 1) {
        all = xreallocarray(all, (size_t)n + 1, sizeof(*all));
        all[n].alone = db_int(st, 1) != 0;
        n += repo_column_digest(st, 0, &all[n].digest);
    }
    db_done(st);
    st = NULL;
    for (int i = 0; rc >= 0 && i < n; i++)
        rc = bring_back_root(r, &all[i].digest, all[i].alone, err);
    if (rc >= 0)
        rc = r->objects->ops->sync(r->objects, err);
    return rc < 0 ? rc : 0;
}

int
repo_undelete(struct repo *r, const struct repo_version *v, struct err *err)
{
    struct repo_deletion was;
    int rc = repo_deletion(r, v->id, &was, err);

    if (rc == 0)
        return err_set(err, ERR_CONFLICT, "%s@%" PRId64 " is not deleted", v->model,
                       v->number);
    if (rc == 1)
        rc = repo_keep_views(r, err);
    if (rc == 0)
        rc = db_run(r->db, err,
                    "UPDATE version SET state = (SELECT was FROM deletion WHERE "
                    "version_id = version.id) WHERE id = ?",
                    "i", v->id);
    if (rc == 0)
        rc =
            db_run(r->db, err, "DELETE FROM deletion WHERE version_id = ?", "i", v->id);
    if (rc == 0 && was.purged_ns != 0)
        rc = bring_back_all(r, err);
    return rc < 0 ? err_ctx(err, "%s@%" PRId64, v->model, v->number) : 0;
}

/* ---- holds
 * ---------------------------------------------------------------------------
 */

/* The row of a hold: 1 and its id and who holds, 0 none. */
static int
find_hold(struct repo *r, int64_t model_id, const struct repo_version *v, int64_t *id,
          struct buf *by, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int rc =
        v ? db_query(r->db, &st, err,
                     "SELECT id, held_by FROM hold WHERE version_id = ?", "i", v->id)
          : db_query(r->db, &st, err,
                     "SELECT id, held_by FROM hold WHERE model_id = ? AND "
                     "version_id IS NULL",
                     "i", model_id);

    if (rc == 0)
        rc = db_step(st, err);
    if (rc == 1) {
        *id = db_int(st, 0);
        buf_adds(by, db_text(st, 1));
    }
    return rc;
}

static int
need_model(struct repo *r, const char *model, int64_t *id, struct err *err)
{
    int rc = repo_model_id(r, model, id, err);

    return rc == 0  ? err_set(err, ERR_NOTFOUND, "there is no model %s", model)
           : rc < 0 ? rc
                    : 0;
}

int
repo_hold(struct repo *r, const char *model, const struct repo_version *v,
          const char *reason, struct err *err)
{
    static const char sql[] = "INSERT INTO hold(model_id, version_id, reason, held_ns, "
                              "held_by) VALUES(?, ?, ?, ?, ?)";
    struct buf by AUTO(buf_release) = BUF_INIT;
    struct repo_deletion gone;
    int64_t model_id, id;
    int rc;

    if (!reason || !reason[0])
        return err_set(err, ERR_INVALID, "a hold needs a reason");
    rc = need_model(r, model, &model_id, err);
    if (rc == 0)
        rc = find_hold(r, model_id, v, &id, &by, err);
    if (rc == 1)
        return err_set(err, ERR_CONFLICT, "held already, by %s", buf_str(&by));
    if (rc == 0 && v)
        rc = repo_deletion(r, v->id, &gone, err);
    if (rc == 1 && gone.purged_ns != 0)
        return err_set(err, ERR_NOTFOUND, "%s@%" PRId64 " has no bytes any more", model,
                       v->number);
    if (rc < 0)
        return rc;
    return v ? db_run(r->db, err, sql, "iitit", model_id, v->id, reason, clock_now_ns(),
                      acc_actor(r->acc))
             : db_run(r->db, err, sql, "intit", model_id, reason, clock_now_ns(),
                      acc_actor(r->acc));
}

int
repo_unhold(struct repo *r, const char *model, const struct repo_version *v,
            struct err *err)
{
    struct buf by AUTO(buf_release) = BUF_INIT;
    int64_t model_id, id;
    int rc = need_model(r, model, &model_id, err);

    if (rc == 0)
        rc = find_hold(r, model_id, v, &id, &by, err);
    if (rc == 0)
        return err_set(err, ERR_NOTFOUND, "%s%s is not held%s", model,
                       v ? " (this version)" : "",
                       v ? "; its model may be: sluice unhold MODEL" : "");
    return rc < 0 ? rc : db_run(r->db, err, "DELETE FROM hold WHERE id = ?", "i", id);
}
