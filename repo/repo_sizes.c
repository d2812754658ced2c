/* SPDX-License-Identifier: Apache-2.0 */
/* How much disk versions take. Objects are counted once in each sum; one that has both
 * a whole file and a delta takes both. */
#include "repo/cold_int.h"

#include <string.h>

/* The files of the manifests in `mine`. Freed with them is what no other manifest has
 * and nothing that stays stands on. */
#define FILES_OF_MINE                                                                  \
    "SELECT DISTINCT f.object, f.size_bytes, COALESCE(c.stored_bytes, -1), "           \
    "EXISTS (SELECT 1 FROM manifest_file o WHERE o.object = f.object "                 \
    "AND o.manifest NOT IN (SELECT manifest FROM mine)) "                              \
    "OR EXISTS (SELECT 1 FROM cold s JOIN manifest_file o ON o.object = s.object "     \
    "WHERE s.base = f.object AND o.manifest NOT IN (SELECT manifest FROM mine)) "      \
    "FROM mine JOIN manifest_file f ON f.manifest = mine.manifest "                    \
    "LEFT JOIN cold c ON c.object = f.object"
#define TEXTS_OF_MINE                                                                  \
    "SELECT COALESCE(SUM(size_bytes), 0) FROM object WHERE digest IN (SELECT "         \
    "manifest "                                                                        \
    "FROM mine)"

static int
add_file(struct repo *r, struct db_stmt *st, struct repo_sizes *out, struct err *err)
{
    struct objects *whole = objects_cold_whole(r->objects);
    const int64_t delta_bytes = db_int(st, 2);
    int64_t bytes = db_int(st, 1), size_bytes;
    struct digest d;
    size_t n;
    const void *p = db_blob(st, 0, &n);
    int rc = 1;

    if (n == sizeof(d.b)) /* the table checks it */
        memcpy(d.b, p, n);
    if (delta_bytes >= 0) {
        rc = whole->ops->has(whole, &d, &size_bytes, err);
        if (rc == 0) {
            out->n_cold++;
            out->cold_bytes += bytes;
        }
        bytes = delta_bytes + (rc == 1 ? bytes : 0);
    }
    out->n_files++;
    out->stored_bytes += bytes;
    out->unique_bytes += db_int(st, 3) ? 0 : bytes;
    return rc < 0 ? rc : 0;
}

static int
add_files(struct repo *r, struct db_stmt *st, struct repo_sizes *out, struct err *err)
{
    int rc;

    while ((rc = db_step(st, err)) == 1)
        if ((rc = add_file(r, st, out, err)) < 0)
            break;
    db_done(st);
    return rc;
}

int
repo_sizes_version(struct repo *r, const struct repo_version *v, struct repo_sizes *out,
                   struct err *err)
{
#define MINE "WITH mine(manifest) AS (SELECT digest FROM version WHERE id = ?) "
    struct db_stmt *st = NULL;
    int64_t one, texts = 0;
    int rc = db_query(r->db, &st, err, MINE FILES_OF_MINE, "i", v->id);

    *out = (struct repo_sizes){ .logical_bytes = v->size_bytes };
    if (rc == 0)
        rc = add_files(r, st, out, err);
    if (rc == 0)
        rc = db_get_int(r->db, &texts, err, MINE TEXTS_OF_MINE, "i", v->id);
    out->stored_bytes += texts;
    out->unique_bytes += texts;
    if (rc >= 0) /* another model may have the same version */
        rc = db_get_int(r->db, &one, err,
                        "SELECT 1 FROM version WHERE digest = ? AND id <> ? LIMIT 1",
                        "bi", v->digest.b, sizeof(v->digest.b), v->id);
    if (rc == 1)
        out->unique_bytes = 0;
    return rc < 0 ? rc : 0;
#undef MINE
}

int
repo_sizes_model(struct repo *r, int64_t model_id_or_0, struct repo_sizes *out,
                 struct err *err)
{
#define MINE                                                                           \
    "WITH mine(manifest) AS (SELECT digest FROM version WHERE model_id = ? OR ? = 0 "  \
    "EXCEPT SELECT o.digest FROM version o WHERE o.model_id <> ? AND ? <> 0) "
#define THEIRS                                                                         \
    "WITH mine(manifest) AS (SELECT DISTINCT digest FROM version "                     \
    "WHERE model_id = ? OR ? = 0) "
    const int64_t id = model_id_or_0;
    struct repo_sizes alone = { .n_files = 0 };
    struct db_stmt *st = NULL;
    int64_t texts = 0;
    int rc;

    *out = (struct repo_sizes){ .n_files = 0 };
    rc = db_get_int(r->db, &out->logical_bytes, err,
                    "SELECT COALESCE(SUM(size_bytes), 0) FROM version WHERE "
                    "model_id = ? OR ? = 0",
                    "ii", id, id);
    if (rc >= 0)
        rc = db_query(r->db, &st, err, THEIRS FILES_OF_MINE, "ii", id, id);
    if (rc == 0)
        rc = add_files(r, st, out, err);
    if (rc == 0)
        rc = db_get_int(r->db, &texts, err, THEIRS TEXTS_OF_MINE, "ii", id, id);
    out->stored_bytes += texts;
    /* a version that another model has too goes with neither */
    if (rc >= 0)
        rc = db_query(r->db, &st, err, MINE FILES_OF_MINE, "iiii", id, id, id, id);
    if (rc == 0)
        rc = add_files(r, st, &alone, err);
    if (rc == 0)
        rc = db_get_int(r->db, &texts, err, MINE TEXTS_OF_MINE, "iiii", id, id, id, id);
    out->unique_bytes = alone.unique_bytes + texts;
    return rc < 0 ? rc : 0;
#undef MINE
#undef THEIRS
}
