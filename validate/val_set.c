/* SPDX-License-Identifier: Apache-2.0 */
/* Golden sets in the store. */
#include "validate/val_int.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS "id, model, name, version_id, digest, created_ns, added_by"

bool
val_read_digest(struct db_stmt *st, int col, struct digest *out)
{
    size_t n = 0;
    const void *p = db_blob(st, col, &n);

    if (n != sizeof(out->b))
        return false;
    memcpy(out->b, p, n);
    return true;
}

static int
read_set(struct db_stmt *st, struct val_set *out, struct err *err)
{
    *out = (struct val_set){ .id = db_int(st, 0),
                             .acceptance = db_is_null(st, 3),
                             .version_id = db_is_null(st, 3) ? 0 : db_int(st, 3),
                             .created_ns = db_int(st, 5) };
    snprintf(out->model, sizeof(out->model), "%s", db_text(st, 1));
    snprintf(out->name, sizeof(out->name), "%s", db_text(st, 2));
    snprintf(out->added_by, sizeof(out->added_by), "%s", db_text(st, 6));
    if (!val_read_digest(st, 4, &out->digest))
        return err_set(err, ERR_CORRUPT, "golden_set %lld: no digest",
                       (long long)out->id);
    return 0;
}

/* The set that a new one of this name would replace: 1 found, 0 none, -code. */
static int
find_current(struct repo *r, const char *model, int64_t version_id, const char *name,
             struct val_set *out, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int n = version_id != 0 ? db_query(r->db, &st, err,
                                       "SELECT " COLUMNS
                                       " FROM golden_set WHERE version_id = ? AND "
                                       "name = ? AND replaced_ns IS NULL",
                                       "it", version_id, name)
                            : db_query(r->db, &st, err,
                                       "SELECT " COLUMNS
                                       " FROM golden_set WHERE version_id IS NULL AND "
                                       "model = ? AND name = ? AND replaced_ns IS NULL",
                                       "tt", model, name);

    if (n == 0)
        n = db_step(st, err);
    if (n == 1 && read_set(st, out, err) < 0)
        n = -(int)err->code;
    return n;
}

/* Reads the stored set as a judge will: malformed ones end here. */
static int
check_set(struct repo *r, const struct digest *manifest, bool acceptance,
          struct buf *limits, struct err *err)
{
    struct repo_view view AUTO(repo_view_close) = REPO_VIEW_INIT;
    struct val_golden g;
    int e = repo_view_open(r, manifest, &view, err);

    if (e < 0)
        return e;
    e = val_golden_load(&g, view.path, err);
    if (e < 0)
        return e;
    if (g.acceptance != acceptance)
        e = err_set(err, ERR_INVALID,
                    "golden.json says \"kind\": \"%s\", wanted \"%s\"",
                    g.acceptance ? "acceptance" : "export",
                    acceptance ? "acceptance" : "export");
    if (e == 0)
        e = val_golden_judges(&g, err);
    val_limits_text(&g, limits);
    val_golden_release(&g);
    return e;
}

static int
insert(struct repo *r, struct val_set *s, const char *limits, struct err *err)
{
    const char *sql = "INSERT INTO golden_set(model, version_id, name, digest, limits, "
                      "created_ns, added_by) VALUES(?, ?, ?, ?, ?, ?, ?)";
    int e = s->acceptance
                ? db_run(r->db, err, sql, "tntbtit", s->model, s->name, s->digest.b,
                         sizeof(s->digest.b), limits, s->created_ns, s->added_by)
                : db_run(r->db, err, sql, "titbtit", s->model, s->version_id, s->name,
                         s->digest.b, sizeof(s->digest.b), limits, s->created_ns,
                         s->added_by);

    if (e == 0)
        s->id = db_last_id(r->db);
    return e;
}

int
val_set_add(struct repo *r, const char *model, const struct repo_version *version,
            const char *name, const struct repo_ingest *stored, bool acceptance,
            struct val_set *out, struct err *err)
{
    const struct digest *digest = &stored->manifest.digest;
    struct buf limits AUTO(buf_release) = BUF_INIT;
    struct val_set old;
    int e;

    if (acceptance != !version)
        BUG("an acceptance set belongs to the model, an export set to a version");
    if (acceptance &&
        (repo_check_model_name(model, err) < 0 || repo_check_alias_name(name, err) < 0))
        return err_ctx(err, "golden set");
    *out = (struct val_set){ .acceptance = acceptance,
                             .version_id = version ? version->id : 0,
                             .digest = *digest,
                             .created_ns = clock_now_ns() };
    snprintf(out->model, sizeof(out->model), "%s", version ? version->model : model);
    snprintf(out->name, sizeof(out->name), "%s", version ? "export" : name);
    snprintf(out->added_by, sizeof(out->added_by), "%s", acc_actor(r->acc));
    e = find_current(r, out->model, out->version_id, out->name, &old, err);
    if (e == 1 && digest_eq(&old.digest, digest)) { /* these bytes count already */
        *out = old;
        return 0;
    }
    if (e == 1)
        e = db_run(r->db, err, "UPDATE golden_set SET replaced_ns = ? WHERE id = ?",
                   "ii", out->created_ns, old.id);
    if (e == 0)
        e = repo_manifest_record(r, &stored->manifest, err);
    if (e == 0)
        e = check_set(r, digest, acceptance, &limits, err);
    if (e == 0)
        e = insert(r, out, buf_str(&limits), err);
    return e < 0 ? err_ctx(err, "golden set '%s'", out->name) : 0;
}

int
val_sets(struct repo *r, const char *model, int64_t version_id,
         int (*fn)(void *arg, const struct val_set *s, struct err *err), void *arg,
         struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    struct val_set *sets AUTO(free_ptr) = NULL;
    int n = 0, e;

    e = db_query(r->db, &st, err,
                 "SELECT " COLUMNS " FROM golden_set WHERE model = ? AND "
                 "(version_id IS NULL OR version_id = ?) AND replaced_ns IS NULL "
                 "ORDER BY version_id IS NULL, name, id",
                 "ti", model, version_id);
    while (e >= 0 && (e = db_step(st, err)) == 1) {
        sets = xreallocarray(sets, (size_t)n + 1, sizeof(*sets));
        e = read_set(st, &sets[n++], err);
    }
    db_done(st); /* the caller may judge, write and commit */
    st = NULL;
    for (int i = 0; i < n && e == 0; i++)
        e = fn(arg, &sets[i], err);
    return e;
}

int
val_set_limits(struct repo *r, const struct val_set *s, struct buf *out,
               struct err *err)
{
    int e = db_get_text(r->db, out, err, "SELECT limits FROM golden_set WHERE id = ?",
                        "i", s->id);

    return e < 0 ? e : 0;
}
