/* SPDX-License-Identifier: Apache-2.0 */
/* What playing a log again needs: rows that name nothing go, guards are lifted. */
#include "base/db.h"

#include "base/db_int.h"

#include <stdlib.h>

typedef int dropped_fn(void *arg, const char *table, const char *parent, int64_t n_rows,
                       struct err *err);

struct fkey {
    int64_t id;
    char *parent;
    struct buf fits, there; /* "p.id = t.x AND …", "t.x IS NOT NULL AND …" */
};

static void
fkey_release(struct fkey *k)
{
    free(k->parent);
    buf_release(&k->fits);
    buf_release(&k->there);
    *k = (struct fkey){ .id = -1 };
}

static int
prune_key(struct db *db, const char *table, const struct fkey *k, int64_t *n_dropped,
          dropped_fn *dropped, void *arg, struct err *err)
{
    char *sql AUTO(free_ptr) = NULL;
    int64_t n;
    int r;

    if (!k->parent)
        return 0;
    sql = xasprintf("DELETE FROM \"%s\" AS t WHERE %s AND NOT EXISTS "
                    "(SELECT 1 FROM \"%s\" AS p WHERE %s)",
                    table, buf_str(&k->there), k->parent, buf_str(&k->fits));
    r = db_run(db, err, sql, "");
    n = r < 0 ? 0 : db_changes(db);
    *n_dropped += n;
    return n > 0 ? dropped(arg, table, k->parent, n, err) : r;
}

static int
prune_table(struct db *db, const char *table, int64_t *n_dropped, dropped_fn *dropped,
            void *arg, struct err *err)
{
    char *sql AUTO(free_ptr) = xasprintf("PRAGMA foreign_key_list(\"%s\")", table);
    struct db_stmt *st AUTO(db_done_p) = NULL;
    struct fkey k AUTO(fkey_release) = { .id = -1 };
    int r = db_query(db, &st, err, sql, "");

    /* id, seq, parent, from, to; the columns of one key stand together */
    while (r >= 0 && (r = db_step(st, err)) == 1) {
        if (db_int(st, 0) != k.id) {
            r = prune_key(db, table, &k, n_dropped, dropped, arg, err);
            fkey_release(&k);
            k.id = db_int(st, 0);
            k.parent = xstrdup(db_text(st, 2));
        }
        buf_addf(&k.fits, "%sp.\"%s\" = t.\"%s\"", k.fits.len ? " AND " : "",
                 db_text(st, 4), db_text(st, 3));
        buf_addf(&k.there, "%st.\"%s\" IS NOT NULL", k.there.len ? " AND " : "",
                 db_text(st, 3));
    }
    return r < 0 ? r : prune_key(db, table, &k, n_dropped, dropped, arg, err);
}

int
db_facts_prune(struct db *db, const struct db_schema *schemas, int n,
               dropped_fn *dropped, void *arg, struct err *err)
{
    int64_t n_dropped;
    int r = 0;

    do { /* a row that goes may be what another one names */
        n_dropped = 0;
        for (int i = 0; r == 0 && i < n; i++)
            for (int k = 0; r == 0 && schemas[i].facts && schemas[i].facts[k]; k++)
                r = prune_table(db, schemas[i].facts[k], &n_dropped, dropped, arg, err);
    } while (r == 0 && n_dropped > 0);
    return r;
}

/* ---- guards ---------------------------------------------------------------------- */

int
db_guards_lift(struct db *db, struct buf *sql, struct err *err)
{
    struct db_stmt *st = NULL;
    struct buf drop AUTO(buf_release) = BUF_INIT;
    int r = db_query(db, &st, err,
                     "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND "
                     "name LIKE 'guard!_%' ESCAPE '!' ORDER BY name",
                     "");

    while (r >= 0 && (r = db_step(st, err)) == 1) {
        buf_addf(&drop, "DROP TRIGGER \"%s\";", db_text(st, 0));
        buf_adds(sql, db_text(st, 1));
        buf_adds(sql, ";\n");
    }
    db_done(st);
    return r < 0 || drop.len == 0 ? r : db_exec(db, buf_str(&drop), "guards", err);
}

int
db_guards_set(struct db *db, const struct buf *sql, struct err *err)
{
    return sql->len > 0 ? db_exec(db, sql->data, "guards", err) : 0;
}
