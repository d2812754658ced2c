/* SPDX-License-Identifier: Apache-2.0 */
/* What the db*.c files share. */
#ifndef BASE_DB_INT_H
#define BASE_DB_INT_H

#include "base/db.h"

#define SQLITE_ENABLE_PREUPDATE_HOOK /* as Debian builds it; else this does not link   \
                                      */
#include <sqlite3.h>
#include <stdbool.h>
#include <sys/types.h>

#define DB_MODULES_MAX 32
#define DB_CACHE_SLOTS 128 /* statements; a power of two */

struct db_stmt {
    sqlite3_stmt *sql;
    struct db *db;
    bool cached;
    bool busy; /* between db_query and db_done */
};

enum { DB_WAL_HEAD_WORDS = 24 }; /* two copies, one behind the other */
struct db {
    sqlite3 *sql;
    const char *path;
    int lock_fd; /* the writers' queue; -1: no transaction is open */
    bool in_memory;
    bool is_copied; /* the last commit's checkpoint took the whole WAL */
    bool quick;     /* the open transaction is one of db_begin_quick */
    bool unsure;    /* db_is_unsure */
    bool in_view;   /* db_view_begin */
    int wal_pages;  /* after the last quick commit */
    /* db_version: what it said last, and the head of the WAL's index by then */
    const volatile uint32_t *wal_index;
    uint32_t seen_head[DB_WAL_HEAD_WORDS];
    int64_t seen_version;
    dev_t dev; /* of the file, when it was opened */
    ino_t ino;
    struct db_stmt *cache[DB_CACHE_SLOTS];

    /* base/db_migrate.c: what this program knows, and the number of the schema that
     * this was last held against */
    struct db_known {
        const char *module;
        int version;
    } known[DB_MODULES_MAX];
    int n_known;
    bool upgraded; /* db_was_upgraded */
    int64_t schema_number;

    struct db_fact *facts; /* base/db_facts.c */
    int n_facts;
    struct buf notes;     /* of the open transaction, with commas between them */
    struct err notes_err; /* one could not be made */
};

/* Sets `err` from SQLite's state; `doing` is a few words or the statement. */
int db_fail(struct db *db, const char *doing, struct err *err);

/* As db_begin; `first` is called when nobody else can write any more, and the
 * transaction has not begun. */
int db_begin_after(struct db *db,
                   int (*first)(struct db *db, void *arg, struct err *err), void *arg,
                   struct err *err) MUST_CHECK;
/* In a transaction. ERR_UNSUPPORTED: a newer program changed the schema meanwhile. */
int db_still_known(struct db *db, struct err *err) MUST_CHECK;

bool db_is_in_memory(const struct db *db);
/* Any number of statements without parameters or rows; `doing` is for the error. */
int db_exec(struct db *db, const char *script, const char *doing,
            struct err *err) MUST_CHECK;
const char *db_path(const struct db *db);
/* From now on changes of rows of facts are noted (base/db_facts.c), with the columns
 * that the tables have now; what is noted already stays. `facts` of the schemas
 * outlives the handle. */
void db_facts_watch(struct db *db, const struct db_schema *schemas, int n);
void db_facts_unwatch(struct db *db);
/* Notes every row of the tables whose columns are others than when this was last
 * called: rows from before they were watched. In a transaction. */
int db_facts_note_all(struct db *db, struct err *err) MUST_CHECK;
/* At the end of a transaction: what nobody has taken waits for the next event. */
int db_facts_keep(struct db *db, struct err *err) MUST_CHECK;
/* After a rollback. */
void db_facts_forget(struct db *db);
/* SQLite's own file system but for one saved flush; registered at the first call. */
const char *db_vfs_name(void);

#endif
