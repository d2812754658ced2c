/* SPDX-License-Identifier: Apache-2.0 */
/* What the db*.c files share. */
#ifndef BASE_DB_INT_H
#define BASE_DB_INT_H

#include "base/db.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <sys/types.h>

#define DB_CACHE_SLOTS 128 /* statements; a power of two */

struct db_stmt {
    sqlite3_stmt *sql;
    struct db *db;
    bool cached;
    bool busy; /* between db_query and db_done */
};

struct db {
    sqlite3 *sql;
    const char *path;
    int lock_fd; /* the writers' queue; -1: no transaction is open */
    bool in_memory;
    bool is_copied; /* the last commit's checkpoint took the whole WAL */
    bool quick;     /* the open transaction is one of db_begin_quick */
    bool unsure;    /* db_is_unsure */
    int wal_pages;  /* after the last quick commit */
    dev_t dev;      /* of the file, when it was opened */
    ino_t ino;
    struct db_stmt *cache[DB_CACHE_SLOTS];
};

/* Sets `err` from SQLite's state; `doing` is a few words or the statement. */
int db_fail(struct db *db, const char *doing, struct err *err);

bool db_is_in_memory(const struct db *db);
/* Any number of statements without parameters or rows; `doing` is for the error. */
int db_exec(struct db *db, const char *script, const char *doing,
            struct err *err) MUST_CHECK;
const char *db_path(const struct db *db);
/* Triggers for the tables of facts; in a transaction. */
int db_facts_watch(struct db *db, const struct db_schema *schemas, int n,
                   struct err *err) MUST_CHECK;
/* Of a value: i r t b, or n for NULL. */
char db_type(struct db_stmt *st, int col);
/* SQLite's own file system but for one saved flush; registered at the first call. */
const char *db_vfs_name(void);

#endif
