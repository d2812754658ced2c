/* SPDX-License-Identifier: Apache-2.0 */
/* What the modules' db_schemas say of what stays, as views that SQL can ask. */
#include "repo/repo_int.h"

#include <string.h>

bool
repo_column_digest(struct db_stmt *st, int col, struct digest *out)
{
    size_t n;
    const void *p = db_blob(st, col, &n);

    if (n == sizeof(out->b))
        memcpy(out->b, p, n);
    return n == sizeof(out->b);
}

static int
make_view(struct repo *r, const char *name_and_columns, const struct buf *select,
          const char *nothing, struct err *err)
{
    char *sql AUTO(free_ptr) =
        xasprintf("CREATE TEMPORARY VIEW IF NOT EXISTS %s AS %s", name_and_columns,
                  select->len ? buf_str(select) : nothing);

    return db_run(r->db, err, sql, "");
}

/* "table.column" or a SELECT, as the rows (digest, what). */
static void
add_ref(struct buf *out, const char *ref)
{
    const char *dot = strchr(ref, '.');

    if (strchr(ref, ' '))
        buf_addf(out, "%s%s", out->len ? " UNION ALL " : "", ref);
    else
        buf_addf(out, "%sSELECT %s FROM %.*s WHERE %s IS NOT NULL",
                 out->len ? " UNION ALL " : "", dot + 1, (int)(dot - ref), ref,
                 dot + 1);
}

int
repo_keep_views(struct repo *r, struct err *err)
{
    struct buf root AUTO(buf_release) = BUF_INIT, keeper AUTO(buf_release) = BUF_INIT;
    struct buf was_live AUTO(buf_release) = BUF_INIT;
    int rc;

    if (r->has_keep_views)
        return 0;
    for (int i = 0; i < r->n_schemas; i++) {
        const struct db_schema *s = &r->schemas[i];

        for (const char *const *p = s->object_refs; p && *p; p++)
            add_ref(&root, *p);
        for (const char *const *p = s->keepers; p && *p; p++)
            buf_addf(&keeper, "%s%s", keeper.len ? " UNION ALL " : "", *p);
        for (const char *const *p = s->was_live; p && *p; p++)
            buf_addf(&was_live, "%s%s", was_live.len ? " UNION ALL " : "", *p);
    }
    rc = db_run(
        r->db, err,
        "CREATE TEMPORARY TABLE IF NOT EXISTS gone(version_id INTEGER PRIMARY KEY)",
        "");
    if (rc == 0)
        rc = db_run(r->db, err,
                    "CREATE TEMPORARY VIEW IF NOT EXISTS kept_version(id, digest) AS "
                    "SELECT v.id, v.digest FROM version v WHERE NOT EXISTS "
                    "(SELECT 1 FROM deletion d WHERE d.version_id = v.id AND "
                    "d.purged_ns IS NOT NULL) AND v.id NOT IN "
                    "(SELECT version_id FROM gone)",
                    "");
    if (rc == 0)
        rc = make_view(r, "root(digest)", &root, "SELECT NULL WHERE 1 = 0", err);
    if (rc == 0)
        rc = make_view(r, "keeper(version_id, why, way_out)", &keeper,
                       "SELECT NULL, NULL, NULL WHERE 1 = 0", err);
    if (rc == 0)
        rc = make_view(r, "was_live(version_id, alias)", &was_live,
                       "SELECT NULL, NULL WHERE 1 = 0", err);
    /* what a transaction has made goes with its rollback */
    r->has_keep_views = rc == 0 && !db_in_tx(r->db);
    return rc;
}
