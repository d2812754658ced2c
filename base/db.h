/* SPDX-License-Identifier: Apache-2.0 */
/* All SQL goes through here: prepared statements, one dialect that SQLite and
 * PostgreSQL share (no SQLite functions in queries; DDL may differ). One database;
 * each module owns its tables in its own migrations and takes the caller's
 * transaction. A handle is used by one thread at a time. */
#ifndef BASE_DB_H
#define BASE_DB_H

#include "base/json.h"

struct db;
struct db_stmt;

/* Every function that talks to the database may give ERR_DB (err.sys is SQLite's
 * extended code), ERR_CORRUPT (not a database, or a broken one), ERR_BUSY (locked for
 * 30 s) and, for a row whose key exists already, ERR_CONFLICT. */

/* Opens (DB_CREATE: makes) a SQLite database: WAL, synchronous=FULL, foreign keys,
 * defensive, WAL kept on close. `path` lives until the handle is closed.
 * ERR_NOTFOUND: absent and no DB_CREATE. ERR_CORRUPT: not a database, or an empty
 * file (its making was interrupted: DB_CREATE goes on with it). */
enum { DB_CREATE = 1, DB_MEMORY = 2 /* nothing on the disk; gone when closed */ };
int db_open(struct db **out, const char *path, int flags, struct err *err) MUST_CHECK;
void db_close(struct db *db); /* NULL allowed; rolls back an open transaction */
void db_close_p(struct db **db);

/* Writers queue on a flock of "<path>.lock", then BEGIN IMMEDIATE. ERR_BUSY after
 * 30 s, or when another file has taken the place of the one that is open (a rebuild).
 * Transactions do not nest: a second begin is a BUG. A commit that fails has
 * ended its transaction and rolled it back. */
int db_begin(struct db *db, struct err *err) MUST_CHECK;
/* As db_begin, but its commit waits for no disk: after a power cut it may not have
 * been, whole. The next commit after a db_begin makes it durable, too. For what a crash
 * may forget. It checkpoints nothing; who makes many calls db_tidy after each, which
 * does so beside the next writer. */
int db_begin_quick(struct db *db, struct err *err) MUST_CHECK;
void db_tidy(struct db *db);
int db_commit(struct db *db, struct err *err) MUST_CHECK;
/* A commit failed, and none has gone well since: its pages may be in the WAL all the
 * same, and count for whoever opens the database after everybody has closed it. So
 * what its rows name must not be cleared away. */
bool db_is_unsure(const struct db *db);
/* Reads until db_view_end, or the next db_begin, see the database as it is at the first
 * of them; each one by itself takes its locks and looks where the log ends. For many
 * short reads: nothing is written and nobody waited for meanwhile. Within a
 * transaction, or a view, it does nothing. */
int db_view_begin(struct db *db, struct err *err) MUST_CHECK;
void db_view_end(struct db *db); /* NULL is not allowed; twice does no harm */
void db_rollback(struct db *db); /* no error: does nothing without a transaction */
bool db_in_tx(const struct db *db);
/* false: a rebuild has put another file in place; who keeps this one open reads what
 * was and can write nothing. */
bool db_in_place(const struct db *db);

/* A numbered list of DDL scripts; those above the number stored in
 * module_schema(module, version) are run, of all schemas in one transaction. When there
 * are none this is one SELECT. A database that has tables already is copied first, to
 * its path and DB_BEFORE_UPGRADE: who wants to go back moves that in its place.
 * ERR_UNSUPPORTED: the database is newer than this program, or has a module that it
 * does not know; nothing was changed. A later db_begin says the same when a newer
 * program has upgraded it meanwhile. At most 32 schemas. `module` outlives the handle.
 */
#define DB_BEFORE_UPGRADE ".before-upgrade"
struct db_schema {
    const char *module;
    const char *const *migrations; /* [0] makes version 1 */
    int n_migrations;

    /* What its rows keep from being deleted and collected; NULL: nothing. repo/gc.h
     * reads them. Each list ends with NULL. */
    /* Digests of objects that stay (a manifest's files follow it): "table.column", or a
     * SELECT of one column, which may ask kept_version(id, digest). */
    const char *const *object_refs;
    /* What needs a version: SELECT version_id, why, way_out ("fraud@production means
     * it", "promote another version"). */
    const char *const *keepers;
    /* SELECT version_id, alias: versions that once had an alias's traffic. */
    const char *const *was_live;
    /* NULL, or the names, ended by NULL, of its tables whose rows nothing but the log
     * can bring back: base/db_facts.c; changes by handles that were migrated are noted.
     * Each has a primary key. */
    const char *const *facts;
};
int db_migrate(struct db *db, const struct db_schema *schemas, int n,
               struct err *err) MUST_CHECK;
/* db_migrate found an older one, of which there is a copy now. */
bool db_was_upgraded(const struct db *db);

/* Appends what changed in tables of facts since it was last taken, as a JSON array, and
 * forgets it; in the caller's transaction. 1: something, 0: nothing. */
int db_facts_take(struct db *db, struct buf *out, struct err *err) MUST_CHECK;
/* Makes a row as one element of such an array says. ERR_INVALID: no such table, or not
 * a row of it. */
int db_facts_apply(struct db *db, const struct db_schema *schemas, int n,
                   const cJSON *change, struct err *err) MUST_CHECK;

/* Triggers named guard_… refuse rows that only the program may write in their order. A
 * log that is played again writes them all the same: lift drops these triggers and
 * appends their SQL, set makes them again. In the caller's transaction. */
int db_guards_lift(struct db *db, struct buf *sql, struct err *err) MUST_CHECK;
int db_guards_set(struct db *db, const struct buf *sql, struct err *err) MUST_CHECK;

/* Deletes rows of facts whose foreign keys name nothing, until there are none; each
 * kind is told. In the caller's transaction. */
int db_facts_prune(struct db *db, const struct db_schema *schemas, int n,
                   int (*dropped)(void *arg, const char *table, const char *parent,
                                  int64_t n_rows, struct err *err),
                   void *arg, struct err *err) MUST_CHECK;
/* As db_facts_take, and forgets nothing; needs no transaction. */
int db_facts_pending(struct db *db, struct buf *out, struct err *err) MUST_CHECK;
/* Holds the tables of facts of two databases against each other. `differs` is told each
 * row (as "table key, key") that only one has or that they do not have alike. */
int db_facts_compare(struct db *a, struct db *b, const struct db_schema *schemas, int n,
                     int (*differs)(void *arg, const char *row, struct err *err),
                     void *arg, struct err *err) MUST_CHECK;

/* A copy of the whole database as one transaction sees it, in a new file without a WAL,
 * synced. Writers go on meanwhile. ERR_CONFLICT: `path` exists. */
int db_copy(struct db *db, const char *path, struct err *err) MUST_CHECK;
/* What stands in the WAL goes into the file: before the file alone is moved. */
int db_settle(struct db *db, struct err *err) MUST_CHECK;
/* Sets what the file itself keeps (WAL mode), and gives the WAL its size, as db_open
 * does with a new one: for a file that came from db_copy. Twice does no harm. */
int db_set_up(struct db *db, struct err *err) MUST_CHECK;

/* Prepares (statements are cached by SQL text) and binds. `types` has one letter for
 * each "?": i int64_t, t const char * (NULL: SQL NULL), s struct str, b const void * +
 * size_t, n (no argument) NULL, r double. The caller walks rows and ends with db_done
 * (an open query keeps its view of the database). */
int db_query(struct db *db, struct db_stmt **out, struct err *err, const char *sql,
             const char *types, ...) MUST_CHECK;
int db_step(struct db_stmt *st, struct err *err) MUST_CHECK; /* 1 row, 0 end, -code */
void db_done(struct db_stmt *st);                            /* NULL allowed */
void db_done_p(struct db_stmt **st);                         /* for AUTO */
/* Columns from 0; text and blobs are lent until the next step. NULL text gives NULL. */
int64_t db_int(struct db_stmt *st, int col);
double db_real(struct db_stmt *st, int col);
const char *db_text(struct db_stmt *st, int col);
const void *db_blob(struct db_stmt *st, int col, size_t *n);
bool db_is_null(struct db_stmt *st, int col);

/* A statement without rows. */
int db_run(struct db *db, struct err *err, const char *sql, const char *types,
           ...) MUST_CHECK;
/* The first column of the only row: 1 found, 0 no row, -code. */
int db_get_int(struct db *db, int64_t *out, struct err *err, const char *sql,
               const char *types, ...) MUST_CHECK;
/* As above; appended to `out`. NULL counts as no row. */
int db_get_text(struct db *db, struct buf *out, struct err *err, const char *sql,
                const char *types, ...) MUST_CHECK;
int64_t db_last_id(struct db *db);
/* Another number than before when somebody else has committed since; this handle's own
 * changes do not change it. For who keeps in memory what is in the database: cheap. */
int db_version(struct db *db, int64_t *out, struct err *err) MUST_CHECK;
int64_t db_changes(struct db *db);

#endif
