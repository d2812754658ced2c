/* SPDX-License-Identifier: Apache-2.0 */
/* Golden sets in the store. */
#include "validate/val_int.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS                                                                        \
    "id, model, name, version_id, digest, created_ns, added_by, owner, replaced_ns, "  \
    "recorded, "                                                                       \
    "(SELECT count(*) FROM golden_set o WHERE o.model = golden_set.model AND "         \
    "o.name = golden_set.name AND o.version_id IS golden_set.version_id AND "          \
    "o.id <= golden_set.id)"

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
                             .created_ns = db_int(st, 5),
                             .replaced_ns = db_is_null(st, 8) ? 0 : db_int(st, 8),
                             .number = db_int(st, 10) };
    snprintf(out->model, sizeof(out->model), "%s", db_text(st, 1));
    snprintf(out->name, sizeof(out->name), "%s", db_text(st, 2));
    snprintf(out->added_by, sizeof(out->added_by), "%s", db_text(st, 6));
    snprintf(out->owner, sizeof(out->owner), "%s",
             db_text(st, 7)[0] ? db_text(st, 7) : out->added_by);
    snprintf(out->recorded, sizeof(out->recorded), "%s", db_text(st, 9));
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
          struct buf *limits, struct val_set *out, struct err *err)
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
    snprintf(out->recorded, sizeof(out->recorded), "%s", g.recorded);
    val_golden_release(&g);
    return e;
}

static int
insert(struct repo *r, struct val_set *s, const char *limits, struct err *err)
{
    const char *sql = "INSERT INTO golden_set(model, version_id, name, digest, limits, "
                      "created_ns, added_by, owner, recorded) "
                      "VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)";
    int e = s->acceptance
                ? db_run(r->db, err, sql, "tntbtittt", s->model, s->name, s->digest.b,
                         sizeof(s->digest.b), limits, s->created_ns, s->added_by,
                         s->owner, s->recorded)
                : db_run(r->db, err, sql, "titbtittt", s->model, s->version_id, s->name,
                         s->digest.b, sizeof(s->digest.b), limits, s->created_ns,
                         s->added_by, s->owner, s->recorded);

    if (e == 0)
        s->id = db_last_id(r->db);
    return e;
}

/* Sets of one name count from 1, those that were replaced or deleted too. */
static int
set_number(struct repo *r, struct val_set *s, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int e = db_query(r->db, &st, err, "SELECT " COLUMNS " FROM golden_set WHERE id = ?",
                     "i", s->id);

    if (e == 0)
        e = db_step(st, err);
    return e < 0 ? e : read_set(st, s, err);
}

/* Who pushes a model does not write its exam, and one owner's exam is not another's to
 * change. The store's owner may all. */
static int
may_write(struct repo *r, const char *model, const char *name,
          const struct val_set *old_or_null, struct err *err)
{
    const char *actor = acc_actor(r->acc);
    int64_t number = 0;
    int e;

    if (acc_is_owner(r->acc))
        return 0;
    e = db_get_int(
        r->db, &number, err,
        "SELECT v.number FROM version v JOIN model m ON m.id = v.model_id "
        "WHERE m.name = ? AND v.pushed_by = ? ORDER BY v.number DESC LIMIT 1",
        "tt", model, actor);
    if (e == 1)
        return err_set(err, ERR_DENIED,
                       "%s pushed %s@%lld, and who pushes a model does not write its "
                       "exam: somebody else with the right judge on %s adds it",
                       actor, model, (long long)number, model);
    if (e == 0 && old_or_null && strcmp(old_or_null->owner, actor) != 0)
        return err_set(err, ERR_DENIED,
                       "%s may not change '%s': it is %s's, who can, as the store's "
                       "owner can",
                       actor, name, old_or_null->owner);
    return e;
}

int
val_set_may_add(struct repo *r, const char *model, const char *name,
                struct val_set *old, struct err *err)
{
    int e;

    if (repo_check_model_name(model, err) < 0 || repo_check_alias_name(name, err) < 0)
        return err_ctx(err, "golden set");
    if (strcmp(name, "export") == 0)
        return err_set(err, ERR_INVALID,
                       "golden set: 'export' is the name of the sets that come with a "
                       "push; give the exam another --name");
    e = find_current(r, model, 0, name, old, err);
    if (e >= 0 && may_write(r, model, name, e ? old : NULL, err) < 0)
        e = -(int)err->code;
    return e;
}

int
val_set_add(struct repo *r, const char *model, const struct repo_version *version,
            const char *name, const struct repo_ingest *stored, bool acceptance,
            const char *owner_or_null, struct val_set *out, struct err *err)
{
    const struct digest *digest = &stored->manifest.digest;
    struct buf limits AUTO(buf_release) = BUF_INIT;
    struct val_set old;
    int e;

    if (acceptance != !version)
        BUG("an acceptance set belongs to the model, an export set to a version");
    *out = (struct val_set){ .acceptance = acceptance,
                             .version_id = version ? version->id : 0,
                             .digest = *digest,
                             .created_ns = clock_now_ns() };
    snprintf(out->model, sizeof(out->model), "%s", version ? version->model : model);
    snprintf(out->name, sizeof(out->name), "%s", version ? "export" : name);
    snprintf(out->added_by, sizeof(out->added_by), "%s", acc_actor(r->acc));
    e = acceptance ? val_set_may_add(r, model, name, &old, err)
                   : find_current(r, out->model, out->version_id, out->name, &old, err);
    if (e < 0)
        return e;
    out->number = 1;
    snprintf(out->owner, sizeof(out->owner), "%s",
             owner_or_null ? owner_or_null
             : e == 1      ? old.owner
                           : out->added_by);
    if (e == 1 && digest_eq(&old.digest, digest) &&
        strcmp(old.owner, out->owner) == 0) {
        *out = old; /* these bytes count already */
        return 0;
    }
    if (e == 1)
        e = db_run(r->db, err, "UPDATE golden_set SET replaced_ns = ? WHERE id = ?",
                   "ii", out->created_ns, old.id);
    if (e == 0)
        e = repo_manifest_record(r, &stored->manifest, err);
    if (e == 0)
        e = check_set(r, digest, acceptance, &limits, out, err);
    if (e == 0)
        e = insert(r, out, buf_str(&limits), err);
    if (e == 0)
        e = set_number(r, out, err);
    return e < 0 ? err_ctx(err, "golden set '%s'", out->name) : 0;
}

/* fn on each row of a query, which is over by then: it may judge, write and commit. */
static int
each_set(struct db_stmt **st,
         int (*fn)(void *arg, const struct val_set *s, struct err *err), void *arg,
         struct err *err)
{
    struct val_set *sets AUTO(free_ptr) = NULL;
    int n = 0, e = 0;

    while (e >= 0 && (e = db_step(*st, err)) == 1) {
        sets = xreallocarray(sets, (size_t)n + 1, sizeof(*sets));
        e = read_set(*st, &sets[n++], err);
    }
    db_done(*st);
    *st = NULL;
    for (int i = 0; i < n && e == 0; i++)
        e = fn(arg, &sets[i], err);
    return e;
}

int
val_sets(struct repo *r, const char *model, int64_t version_id,
         int (*fn)(void *arg, const struct val_set *s, struct err *err), void *arg,
         struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int e = db_query(r->db, &st, err,
                     "SELECT " COLUMNS " FROM golden_set WHERE model = ? AND "
                     "(version_id IS NULL OR version_id = ?) AND replaced_ns IS NULL "
                     "ORDER BY version_id IS NULL, name, id",
                     "ti", model, version_id);

    return e < 0 ? e : each_set(&st, fn, arg, err);
}

int
val_sets_all(struct repo *r, const char *model,
             int (*fn)(void *arg, const struct val_set *s, struct err *err), void *arg,
             struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int e = db_query(r->db, &st, err,
                     "SELECT " COLUMNS " FROM golden_set WHERE model = ? "
                     "AND (version_id IS NULL OR version_id IN "
                     "(SELECT id FROM version WHERE state <> 'deleted')) "
                     "ORDER BY version_id IS NOT NULL, version_id, name, id",
                     "t", model);

    return e < 0 ? e : each_set(&st, fn, arg, err);
}

/* "export@3": the set that came with version 3. */
static int
find_export(struct repo *r, const char *model, const char *number, struct val_set *out,
            struct err *err)
{
    char *ref AUTO(free_ptr) = xasprintf("%s@%s", model, number);
    struct repo_version v;
    int e = repo_resolve(r, ref, &v, err);

    if (e < 0)
        return e;
    e = find_current(r, model, v.id, "export", out, err);
    return e == 0 ? err_set(err, ERR_NOTFOUND, "%s@%lld came without a golden set",
                            model, (long long)v.number)
                  : e;
}

int
val_set_find(struct repo *r, const char *model, const char *set, struct val_set *out,
             struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    const char *at = strrchr(set, '@');
    char *name AUTO(free_ptr) = at ? xstrndup(set, (size_t)(at - set)) : xstrdup(set);
    int e;

    if (at && strcmp(name, "export") == 0) {
        e = find_export(r, model, at + 1, out, err);
        return e < 0 ? e : 0;
    }
    if (!at) {
        e = find_current(r, model, 0, name, out, err);
    } else {
        e = db_query(r->db, &st, err,
                     "SELECT " COLUMNS " AS number FROM golden_set WHERE model = ? AND "
                     "name = ? AND version_id IS NULL AND number = CAST(? AS INTEGER)",
                     "ttt", model, name, at + 1);
        if (e == 0)
            e = db_step(st, err);
        if (e == 1)
            e = read_set(st, out, err) < 0 ? -(int)err->code : 1;
    }
    if (e == 0)
        return err_set(err, ERR_NOTFOUND,
                       "%s has no golden set '%s'%s: sluice golden list %s --all shows "
                       "those that there are",
                       model, set,
                       strcmp(set, "export") == 0 ? " (of version 3: export@3)" : "",
                       model);
    return e < 0 ? e : 0;
}

int
val_set_open(struct repo *r, const struct val_set *s, struct repo_view *view,
             struct val_golden *out, struct err *err)
{
    int e = repo_view_open(r, &s->digest, view, err);

    *out = (struct val_golden){ .cases = NULL };
    return e < 0 ? e : val_golden_load(out, view->path, err);
}

int
val_set_delete(struct repo *r, const char *model, const char *name, struct val_set *out,
               struct err *err)
{
    int e;

    if (strchr(name, '@') || strcmp(name, "export") == 0)
        return err_set(err, ERR_INVALID,
                       "'%s': an acceptance set is deleted by its name, with all that "
                       "it was; an export set goes with its version",
                       name);
    e = val_set_find(r, model, name, out, err);
    if (e == 0)
        e = may_write(r, model, name, out, err);
    out->replaced_ns = clock_now_ns();
    return e < 0 ? e
                 : db_run(r->db, err,
                          "UPDATE golden_set SET replaced_ns = ? WHERE id = ?", "ii",
                          out->replaced_ns, out->id);
}

int
val_set_limits(struct repo *r, const struct val_set *s, struct buf *out,
               struct err *err)
{
    int e = db_get_text(r->db, out, err, "SELECT limits FROM golden_set WHERE id = ?",
                        "i", s->id);

    return e < 0 ? e : 0;
}
