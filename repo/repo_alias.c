/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/repo_int.h"

int
repo_alias_set(struct repo *r, int64_t model_id, const char *alias, int64_t version_id,
               int64_t release_id, struct err *err)
{
    int rc = repo_check_alias_name(alias, err);

    if (!db_in_tx(r->db))
        BUG("alias %s set outside a transaction", alias);
    if (rc == 0) /* not one upsert: it would compile the guards of both each time */
        rc = db_run(r->db, err,
                    "UPDATE alias SET version_id = ?, release_id = ? "
                    "WHERE model_id = ? AND name = ?",
                    "iiit", version_id, release_id, model_id, alias);
    if (rc < 0 || db_changes(r->db) > 0)
        return rc;
    return db_run(r->db, err,
                  "INSERT INTO alias(model_id, name, version_id, release_id) "
                  "VALUES(?, ?, ?, ?)",
                  "itii", model_id, alias, version_id, release_id);
}

int
repo_alias_get(struct repo *r, int64_t model_id, const char *alias, int64_t *version_id,
               int64_t *release_id, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int rc = db_query(r->db, &st, err,
                      "SELECT version_id, release_id FROM alias "
                      "WHERE model_id = ? AND name = ?",
                      "it", model_id, alias);

    if (rc == 0)
        rc = db_step(st, err);
    if (rc == 1) {
        *version_id = db_int(st, 0);
        *release_id = db_int(st, 1);
    }
    return rc;
}

int
repo_aliases(struct repo *r, int64_t version_id,
             int (*fn)(void *arg, const char *alias, struct err *err), void *arg,
             struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int rc = db_query(r->db, &st, err,
                      "SELECT name FROM alias WHERE version_id = ? ORDER BY name", "i",
                      version_id);

    if (rc < 0)
        return rc;
    while ((rc = db_step(st, err)) == 1)
        if ((rc = fn(arg, db_text(st, 0), err)) < 0)
            return rc;
    return rc;
}
