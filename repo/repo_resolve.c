/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "repo/gc.h"
#include "repo/repo_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SHOWN_MAX 8 /* names in a message */

/* Appends the first column of a query as "a, b, c and 4 more"; returns how many there
 * are. */
static int
list_names(struct db_stmt *st, struct buf *out, struct err *err)
{
    int n = 0, r;

    while ((r = db_step(st, err)) == 1)
        if (n++ < SHOWN_MAX)
            buf_addf(out, "%s%s", n > 1 ? ", " : "", db_text(st, 0));
    if (n > SHOWN_MAX)
        buf_addf(out, " and %d more", n - SHOWN_MAX);
    return r < 0 ? r : n;
}

/* Names only what the caller may read, here and below. */
static int
no_model(struct repo *r, const char *model, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    struct buf names AUTO(buf_release) = BUF_INIT;
    int n = 0, may, rc;

    rc = db_query(r->db, &st, err, "SELECT name FROM model ORDER BY name", "");
    while (rc >= 0 && (rc = db_step(st, err)) == 1) {
        may = acc_may(r->acc, NULL, ACC_READ, acc_model(db_text(st, 0)), err);
        if (may < 0)
            return may;
        if (may && n++ < SHOWN_MAX)
            buf_addf(&names, "%s%s", n > 1 ? ", " : "", db_text(st, 0));
    }
    if (rc < 0)
        return rc;
    if (n == 0)
        return err_set(err, ERR_NOTFOUND,
                       "there is no model %s, and no other here: sluice push DIR %s",
                       model, model);
    if (n > SHOWN_MAX)
        buf_addf(&names, " and %d more", n - SHOWN_MAX);
    return err_set(err, ERR_NOTFOUND, "there is no model %s; there is %s", model,
                   buf_str(&names));
}

/* One version of a model, or 0. */
static int
one_version(struct db_stmt *st, struct repo_version *out, struct err *err)
{
    int rc = db_step(st, err);

    if (rc == 1)
        repo_version_row(st, out);
    return rc;
}

static int
by_number(struct repo *r, const struct repo_ref *ref, int64_t model_id,
          struct repo_version *out, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int64_t highest = 0;
    int rc = db_query(r->db, &st, err,
                      REPO_VERSION_SELECT "WHERE v.model_id = ? AND v.number = ?", "ii",
                      model_id, ref->number);

    if (rc == 0)
        rc = one_version(st, out, err);
    if (rc != 0)
        return rc;
    rc =
        db_get_int(r->db, &highest, err,
                   "SELECT max(number) FROM version WHERE model_id = ?", "i", model_id);
    if (rc < 0)
        return rc;
    return err_set(err, ERR_NOTFOUND,
                   "%s has no version %" PRId64 "; its newest is %" PRId64, ref->model,
                   ref->number, highest);
}

static int
by_alias(struct repo *r, const struct repo_ref *ref, int64_t model_id,
         struct repo_version *out, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    struct buf names AUTO(buf_release) = BUF_INIT;
    int64_t version_id, release_id;
    int rc = repo_alias_get(r, model_id, ref->alias, &version_id, &release_id, err);

    if (rc == 1)
        rc = repo_version_get(r, version_id, out, err) < 0 ? -(int)err->code : 1;
    if (rc != 0)
        return rc;
    rc = db_query(r->db, &st, err,
                  "SELECT name FROM alias WHERE model_id = ? ORDER BY name", "i",
                  model_id);
    if (rc == 0)
        rc = list_names(st, &names, err);
    if (rc < 0)
        return rc;
    return rc == 0
               ? err_set(err, ERR_NOTFOUND,
                         "%s has no alias %s, and no other yet: sluice promote %s@N "
                         "--to %s gives it one",
                         ref->model, ref->alias, ref->model, ref->alias)
               : err_set(err, ERR_NOTFOUND, "%s has no alias %s; it has %s", ref->model,
                         ref->alias, buf_str(&names));
}

static int
newest_ready(struct repo *r, const struct repo_ref *ref, int64_t model_id,
             struct repo_version *out, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int64_t n = 0;
    int rc = db_query(r->db, &st, err,
                      REPO_VERSION_SELECT "WHERE v.model_id = ? AND v.state = 'ready' "
                                          "ORDER BY v.number DESC LIMIT 1",
                      "i", model_id);

    if (rc == 0)
        rc = one_version(st, out, err);
    if (rc != 0)
        return rc;
    rc = db_get_int(r->db, &n, err, "SELECT count(*) FROM version WHERE model_id = ?",
                    "i", model_id);
    return rc < 0 ? rc
                  : err_set(err, ERR_NOTFOUND,
                            "%s has no version that is ready (of %" PRId64
                            "; sluice list %s shows their states)",
                            ref->model, n, ref->model);
}

/* The least and the greatest digest that begins with these digits. */
static void
digest_range(const char *hex, struct digest *least, struct digest *greatest)
{
    char low[DIGEST_HEX_BYTES], high[DIGEST_HEX_BYTES];
    size_t n = strlen(hex);

    memset(low, '0', 64);
    memset(high, 'f', 64);
    memcpy(low, hex, n);
    memcpy(high, hex, n);
    digest_parse((struct str){ low, 64 }, least);
    digest_parse((struct str){ high, 64 }, greatest);
}

static int
by_digest(struct repo *r, const struct repo_ref *ref, struct repo_version *out,
          struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    struct buf names AUTO(buf_release) = BUF_INIT;
    struct digest least, greatest;
    int n = 0, rc;

    digest_range(ref->digest_hex, &least, &greatest);
    rc = db_query(r->db, &st, err,
                  REPO_VERSION_SELECT "WHERE v.digest >= ? AND v.digest <= ? "
                                      "AND v.state <> 'deleted' "
                                      "ORDER BY m.name, v.number",
                  "bb", least.b, sizeof(least.b), greatest.b, sizeof(greatest.b));
    if (rc < 0)
        return rc;
    while ((rc = db_step(st, err)) == 1) {
        struct repo_version v;

        repo_version_row(st, &v);
        rc = acc_may(r->acc, NULL, ACC_READ, acc_model(v.model), err);
        if (rc < 0)
            return rc;
        if (rc == 0)
            continue;
        *out = v;
        if (n++ < SHOWN_MAX)
            buf_addf(&names, "%s%s@%" PRId64, n > 1 ? ", " : "", v.model, v.number);
    }
    if (rc < 0)
        return rc;
    if (n > 1)
        return err_set(err, ERR_CONFLICT, "sha256:%s fits %d versions: %s%s",
                       ref->digest_hex, n, buf_str(&names), n > SHOWN_MAX ? " …" : "");
    return n == 1
               ? 1
               : err_set(err, ERR_NOTFOUND, "no version's digest begins with sha256:%s",
                         ref->digest_hex);
}

int
repo_resolve_any(struct repo *r, const char *text, struct repo_version *out,
                 struct err *err)
{
    struct repo_ref ref;
    int64_t model_id;
    int rc = repo_ref_parse(text, &ref, err);

    if (rc < 0)
        return rc;
    if (ref.digest_hex[0])
        return (rc = by_digest(r, &ref, out, err)) < 0 ? rc : 0;
    rc = repo_model_id(r, ref.model, &model_id, err);
    if (rc == 0)
        rc = no_model(r, ref.model, err);
    else if (rc == 1)
        rc = ref.number > 0 ? by_number(r, &ref, model_id, out, err)
             : ref.alias[0] ? by_alias(r, &ref, model_id, out, err)
                            : newest_ready(r, &ref, model_id, out, err);
    return rc < 0 ? rc : 0;
}

int
repo_resolve(struct repo *r, const char *text, struct repo_version *out,
             struct err *err)
{
    struct repo_deletion gone = { .purged_ns = 0 };
    char when[CLOCK_TEXT_BYTES];
    int rc = repo_resolve_any(r, text, out, err);

    if (rc == 0 && strcmp(out->state, "deleted") == 0)
        rc = repo_deletion(r, out->id, &gone, err);
    if (rc < 0 || gone.purged_ns == 0)
        return rc < 0 ? rc : 0;
    return err_set(err, ERR_NOTFOUND,
                   "%s@%" PRId64 " was deleted by %s, and gc took its bytes on %s: "
                   "sluice undelete %s@%" PRId64
                   " brings it back while they lie in the "
                   "trash",
                   out->model, out->number, gone.by, clock_text(gone.purged_ns, when),
                   out->model, out->number);
}
