/* SPDX-License-Identifier: Apache-2.0 */
/* All SQL goes through here: prepared statements, one dialect that SQLite and
 * PostgreSQL share (no SQLite functions in queries; DDL may differ). One database;
 * each module owns its tables in its own migrations and takes the caller's
 * transaction. A handle is used by one thread at a time. */
#ifndef BASE_DB_H
#define BASE_DB_H

#include "base/buf.h"

struct db;
struct db_stmt;

/* Every function that talks to the database may give ERR_DB (err.sys is SQLite's
 * extended code), ERR_CORRUPT (not a database, or a broken one), ERR_BUSY (locked for
 * 30 s) and, for a row whose key exists already, ERR_CONFLICT. */

/* Opens (DB_CREATE: makes) a SQLite database: WAL, synchronous=FULL, foreign keys,
 * defensive, WAL kept on close. `path` lives until the handle is closed.
 * ERR_NOTFOUND: absent and no DB_CREATE. ERR_CORRUPT: not a database, or an empty
 * file (its making was interrupted: DB_CREATE goes on with it). */
enum { DB_CREATE = 1 };
int db_open(struct db **out, const char *path, int flags, struct err *err) MUST_CHECK;
void db_close(struct db *db); /* NULL allowed; rolls back an open transaction */
void db_close_p(struct db **db);

/* Writers queue on a flock of "<path>.lock", then BEGIN IMMEDIATE. ERR_BUSY after
 * 30 s. Transactions do not nest: a second begin is a BUG. A commit that fails has
 * ended its transaction and rolled it back. */
int db_begin(struct db *db, struct err *err) MUST_CHECK;
int db_commit(struct db *db, struct err *err) MUST_CHECK;
void db_rollback(struct db *db); /* no error: does nothing without a transaction */
bool db_in_tx(const struct db *db);

/* A numbered list of DDL scripts; those above the number stored in
 * module_schema(module, version) are run in one transaction each. When there are none
 * this is one SELECT. ERR_CONFLICT: the database is newer than this program; nothing
 * was changed. At most 32 schemas. */
struct db_schema {
    const char *module;
    const char *const *migrations; /* [0] makes version 1 */
    int n_migrations;
};
int db_migrate(struct db *db, const struct db_schema *schemas, int n,
               struct err *err) MUST_CHECK;

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
int64_t db_changes(struct db *db);

#endif
