/* SPDX-License-Identifier: Apache-2.0 */
/* SQLite's pages have no checksums: a bit that flips in a row leaves a row that looks
 * as good. The log has: so the facts are made again from its events, in memory, and
 * held against the tables, both as one moment saw them. */
#include "repo/repo_fsck_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int
differs(void *arg, const char *row, struct err *err)
{
    return fsck_problem(arg, "row", FSCK_REBUILD, err,
                        "catalogue.db: %s is not what the log's events say", row);
}

static int
cannot(void *arg, const char *what, struct err *err)
{
    return fsck_problem(arg, "row", FSCK_REBUILD, err, "the log: %s", what);
}

/* Changes that wait for the next event. */
static int
apply_pending(struct fsck *f, struct db *db, struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    cJSON *list AUTO(json_free) = NULL;
    const cJSON *change;
    int r = db_facts_pending(f->r->db, &text, err);

    if (r == 1)
        r = json_parse(&list, (struct str){ text.data, text.len }, "fact_note", err);
    cJSON_ArrayForEach(change, list)
    {
        if (r == 0)
            r = db_facts_apply(db, f->how->schemas, f->how->n_schemas, change, err);
    }
    return r;
}

/* The store's database is held in one view by the caller. */
static int
compare(struct fsck *f, struct db *db, struct err *err)
{
    int64_t n_events, n_rows;
    int r = acc_replay_rows(f->r->db, db, f->how->schemas, f->how->n_schemas, &n_events,
                            cannot, f, err);

    if (r == 0)
        r = apply_pending(f, db, err);
    if (r == 0)
        r = db_get_int(f->r->db, &n_rows, err, "SELECT count(*) FROM event", "") < 0
                ? -(int)err->code
                : 0;
    if (r < 0 || n_events < n_rows) /* a broken chain is the log's own finding */
        return r;
    return db_facts_compare(f->r->db, db, f->how->schemas, f->how->n_schemas, differs,
                            f, err);
}

int
fsck_facts(struct fsck *f, struct err *err)
{
    struct err ignored = ERR_INIT;
    struct db *db AUTO(db_close_p) = NULL;
    struct buf guards AUTO(buf_release) = BUF_INIT;
    int r = db_open(&db, "the log's facts", DB_MEMORY, err);

    if (r == 0)
        r = db_migrate(db, f->how->schemas, f->how->n_schemas, err);
    if (r == 0)
        r = db_begin(db, err);
    if (r == 0)
        r = db_run(db, err, "PRAGMA defer_foreign_keys = 1", "");
    if (r == 0)
        r = db_guards_lift(db, &guards, err);
    if (r == 0)
        r = db_run(f->r->db, err, "BEGIN", "");
    if (r < 0)
        return r;
    r = compare(f, db, err);
    if (db_run(f->r->db, &ignored, "ROLLBACK", "") < 0)
        err_clear(&ignored); /* some failures end it themselves */
    db_rollback(db);
    return r;
}
