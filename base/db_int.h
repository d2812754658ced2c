/* SPDX-License-Identifier: Apache-2.0 */
/* What the db*.c files share. */
#ifndef BASE_DB_INT_H
#define BASE_DB_INT_H

#include "base/db.h"

/* Any number of statements without parameters or rows; `doing` is for the error. */
int db_exec(struct db *db, const char *script, const char *doing,
            struct err *err) MUST_CHECK;
const char *db_path(const struct db *db);
/* SQLite's own file system but for one saved flush; registered at the first call. */
const char *db_vfs_name(void);

#endif
