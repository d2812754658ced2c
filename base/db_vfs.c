/* SPDX-License-Identifier: Apache-2.0 */
#include "base/db_int.h"

#include <pthread.h>
#include <sqlite3.h>

#define NAME "sluice"

/* SQLite opens a WAL with O_CREAT and then syncs the directory at the first commit of
 * every process, in case the file was made: a third flush of the disk beside the two
 * that a command needs. A WAL that can be opened without O_CREAT has its name on
 * disk: whoever made it has synced the directory before its own first commit. */
static int
open_wal_first(sqlite3_vfs *vfs, const char *path, sqlite3_file *file, int flags,
               int *out_flags)
{
    sqlite3_vfs *base = sqlite3_vfs_find("unix");

    (void)vfs;
    if ((flags & SQLITE_OPEN_WAL) && (flags & SQLITE_OPEN_CREATE)) {
        int got = 0;
        const int r = base->xOpen(base, path, file, flags & ~SQLITE_OPEN_CREATE, &got);

        if (r == SQLITE_OK && !(got & SQLITE_OPEN_READONLY)) {
            if (out_flags)
                *out_flags = got;
            return SQLITE_OK;
        }
        /* SQLite tries to write first, then to read: in between another process may
         * have made it. */
        if (r == SQLITE_OK)
            file->pMethods->xClose(file);
    }
    return base->xOpen(base, path, file, flags, out_flags);
}

/* SQLite keeps its file systems in a list of the process, so this one is static; it is
 * written once and never changed. */
static sqlite3_vfs vfs;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void
register_vfs(void)
{
    const sqlite3_vfs *base;

    /* Nobody asks how much memory SQLite has; to count it takes a lock at each malloc.
     * Refused once SQLite has started, which does no harm. */
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    base = sqlite3_vfs_find("unix");
    if (!base)
        BUG("out of memory: SQLite cannot start");
    vfs = *base;
    vfs.pNext = NULL;
    vfs.zName = NAME;
    vfs.xOpen = open_wal_first;
    if (sqlite3_vfs_register(&vfs, 0) != SQLITE_OK)
        BUG("SQLite refuses a file system");
}

const char *
db_vfs_name(void)
{
    pthread_once(&once, register_vfs);
    return NAME;
}
