/* SPDX-License-Identifier: Apache-2.0 */
/* SQLite for short-lived writers. A command opens the catalogue, commits once or twice
 * and ends, so opening makes no round trip that is not needed:
 *
 *  - what a file keeps (WAL mode) is set when it is made, what a handle needs is set
 *    by db_config and one statement;
 *  - the WAL stays when the last handle closes, and nothing is checkpointed then. It is
 *    made at its full size, so that a commit overwrites bytes and its fdatasync
 *    has no file size to record;
 *  - whoever opens when nobody else has it open reads the WAL again, at 3.5 us a
 *    page, so it is kept short: with 100 pages that is 0.2 ms on average, and one
 *    command in about five pays 0.6 ms for a checkpoint (with 1000 pages the median
 *    command measured 0.35 ms slower);
 *  - writers queue on a flock beside the file: SQLite's own busy handler sleeps in
 *    steps that let late comers pass. */
#include "base/db.h"

#include "base/db_int.h"
#include "base/fs.h"
#include "base/fs_int.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#define BUSY_TIMEOUT_MS 30000
#define PAGE_BYTES 4096
#define WAL_PAGES 100 /* a commit that passes this checkpoints, see above */
#define WAL_FILE_BYTES (32 + WAL_PAGES * (24 + PAGE_BYTES))

int
db_fail(struct db *db, const char *doing, struct err *err)
{
    const int code = db->sql ? sqlite3_extended_errcode(db->sql) : SQLITE_NOMEM;
    const int sys = db->sql ? sqlite3_system_errno(db->sql) : 0;
    const char *why = sys != 0 ? strerrordesc_np(sys) : NULL;
    enum err_code mine = ERR_DB;

    switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        mine = ERR_CORRUPT;
        break;
    case SQLITE_BUSY:
        mine = ERR_BUSY;
        break;
    case SQLITE_CONSTRAINT:
        if (code == SQLITE_CONSTRAINT_UNIQUE || code == SQLITE_CONSTRAINT_PRIMARYKEY ||
            code == SQLITE_CONSTRAINT_ROWID)
            mine = ERR_CONFLICT;
        break;
    case SQLITE_CANTOPEN:
    case SQLITE_IOERR:
        break;
    default:
        why = NULL; /* an errno left over from something that went well */
    }
    return err_set_at(err, mine, code, __FILE__, __LINE__, "%s: %s: %s%s%s", db->path,
                      doing, db->sql ? sqlite3_errmsg(db->sql) : "out of memory",
                      why ? ": " : "", why ? why : "");
}

int
db_exec(struct db *db, const char *script, const char *doing, struct err *err)
{
    return sqlite3_exec(db->sql, script, NULL, NULL, NULL) == SQLITE_OK
               ? 0
               : db_fail(db, doing, err);
}

const char *
db_path(const struct db *db)
{
    return db->path;
}

/* Makes the file if it is absent. *is_new: it is empty, and has to be set up. */
static int
find_file(const char *path, int flags, bool *is_new, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    struct stat st;
    int r;

    *is_new = false;
    if (stat(path, &st) == 0) {
        *is_new = st.st_size == 0;
        if (*is_new && !(flags & DB_CREATE))
            return err_set(err, ERR_CORRUPT,
                           "%s: empty: whatever made it was interrupted; make it again",
                           path);
        return 0;
    }
    if (errno != ENOENT)
        return err_sys(err, errno, "open %s", path);
    if (!(flags & DB_CREATE))
        return err_set(err, ERR_NOTFOUND, "%s: no such database", path);
    *is_new = true;
    r = fs_open(&fd, AT_FDCWD, path, O_RDWR | O_CREAT, 0600, err);
    return r < 0 ? r : fs_give(fd, AT_FDCWD, path, err);
}

/* Called by SQLite after each commit. */
static int
on_commit(void *arg, sqlite3 *sql, const char *name, int n_pages)
{
    struct db *db = arg;
    int n_log = -1, n_copied = -1;

    db->is_copied = n_pages >= WAL_PAGES &&
                    sqlite3_wal_checkpoint_v2(sql, name, SQLITE_CHECKPOINT_PASSIVE,
                                              &n_log, &n_copied) == SQLITE_OK &&
                    n_log >= 0 && n_log == n_copied;
    return SQLITE_OK; /* a checkpoint that failed is tried again after the next one */
}

/* Only a write begins the WAL anew, and only in the process that copied it: the next
 * process reads the whole WAL, and would copy it, and the new pages, once more. */
static void
restart_wal(struct db *db)
{
    if (db->is_copied)
        (void)sqlite3_exec(db->sql, "PRAGMA user_version=0", NULL, NULL, NULL);
    db->is_copied = false;
}

/* Safe limits first, then one statement, which also reads the file's first page and so
 * finds out whether it is a database. */
static int
configure(struct db *db, struct err *err)
{
    static const struct {
        int option;
        int on;
    } options[] = {
        { SQLITE_DBCONFIG_DEFENSIVE, 1 },
        { SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0 },
        { SQLITE_DBCONFIG_DQS_DML, 0 },
        { SQLITE_DBCONFIG_DQS_DDL, 0 },
        { SQLITE_DBCONFIG_ENABLE_FKEY, 1 },
        { SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0 },
        { SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1 },
    };
    int on = 1;
    sqlite3_int64 no_mmap = 0;

    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        if (sqlite3_db_config(db->sql, options[i].option, options[i].on, NULL) !=
            SQLITE_OK)
            return db_fail(db, "configure", err);
    sqlite3_extended_result_codes(db->sql, 1);
    sqlite3_busy_timeout(db->sql, BUSY_TIMEOUT_MS);
    sqlite3_wal_hook(db->sql, on_commit, db);
    sqlite3_file_control(db->sql, "main", SQLITE_FCNTL_PERSIST_WAL, &on);
    sqlite3_file_control(db->sql, "main", SQLITE_FCNTL_MMAP_SIZE, &no_mmap);
    return db_exec(db,
                   "PRAGMA synchronous=FULL; PRAGMA cell_size_check=1; "
                   "PRAGMA temp_store=MEMORY",
                   "open", err);
}

/* Enters the queue of writers; *out_fd holds the place. */
static int
queue(int *out_fd, const struct db *db, struct err *err)
{
    char *path AUTO(free_ptr) = NULL;

    if (db->in_memory) /* nobody else can have it */
        return fs_open(out_fd, AT_FDCWD, "/dev/null", O_RDONLY, 0, err);
    path = xasprintf("%s.lock", db->path);
    return fs_lock(out_fd, AT_FDCWD, path, BUSY_TIMEOUT_MS, err);
}

int
db_set_up(struct db *db, struct err *err)
{
    char *wal AUTO(free_ptr) = xasprintf("%s-wal", db->path);
    char *zeros AUTO(free_ptr) = NULL;
    int fd AUTO(fs_close) = -1, lock_fd AUTO(fs_close) = -1;
    struct fs_place place;
    struct stat st;
    int r = queue(&lock_fd, db, err);

    if (r == 0)
        r = db_exec(db, "PRAGMA page_size=4096; PRAGMA journal_mode=WAL", "set up",
                    err);
    /* opening the log makes it, and SQLite gives it the owner of the database */
    if (r == 0)
        r = db_exec(db, "BEGIN IMMEDIATE; PRAGMA user_version=0; COMMIT", "set up",
                    err);
    if (r == 0)
        r = fs_open(&fd, AT_FDCWD, wal, O_WRONLY | O_APPEND, 0, err);
    if (r < 0)
        return r;
    if (fstat(fd, &st) < 0)
        return err_sys(err, errno, "stat %s", wal);
    if (st.st_size >= WAL_FILE_BYTES)
        return 0;
    zeros = xcalloc(1, WAL_FILE_BYTES);
    r = fs_write_all(fd, zeros, WAL_FILE_BYTES - (size_t)st.st_size, wal, err);
    if (r == 0)
        r = fs_fsync(fd, wal, err);
    if (r == 0)
        r = fs_split(db->path, &place, err);
    return r < 0 ? r : fs_fsync_dir(AT_FDCWD, place.dir, err);
}

int
db_open(struct db **out, const char *path, int flags, struct err *err)
{
    struct db *db AUTO(db_close_p) = NULL;
    const bool in_memory = (flags & DB_MEMORY) != 0;
    struct stat st = { .st_dev = 0 };
    bool is_new = false;
    int r = in_memory ? 0 : find_file(path, flags, &is_new, err);

    if (r < 0)
        return r;
    db = xcalloc(1, sizeof(*db));
    db->path = path;
    db->lock_fd = -1;
    db->in_memory = in_memory;
    if (sqlite3_open_v2(in_memory ? ":memory:" : path, &db->sql,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX |
                            (in_memory ? SQLITE_OPEN_MEMORY : 0),
                        db_vfs_name()) != SQLITE_OK)
        return db_fail(db, "open", err);
    r = configure(db, err);
    if (r == 0 && is_new)
        r = db_set_up(db, err);
    if (r < 0)
        return r;
    if (!in_memory && stat(path, &st) < 0)
        return err_sys(err, errno, "stat %s", path);
    db->dev = st.st_dev;
    db->ino = st.st_ino;
    *out = db;
    db = NULL;
    return 0;
}

bool
db_is_in_memory(const struct db *db)
{
    return db->in_memory;
}

void
db_close(struct db *db)
{
    if (!db)
        return;
    db_rollback(db);
    for (size_t i = 0; i < DB_CACHE_SLOTS; i++) {
        if (!db->cache[i])
            continue;
        if (db->cache[i]->busy)
            BUG("a statement outlives its database: %s",
                sqlite3_sql(db->cache[i]->sql));
        sqlite3_finalize(db->cache[i]->sql);
        free(db->cache[i]);
    }
    if (sqlite3_close(db->sql) != SQLITE_OK)
        BUG("a statement outlives its database: %s",
            sqlite3_sql(sqlite3_next_stmt(db->sql, NULL)));
    db_facts_unwatch(db);
    free(db);
}

void
db_close_p(struct db **db)
{
    db_close(*db);
    *db = NULL;
}

static int
note_wal(void *arg, sqlite3 *sql, const char *name, int n_pages)
{
    (void)sql;
    (void)name;
    ((struct db *)arg)->wal_pages = n_pages;
    return SQLITE_OK;
}

/* Commits are durable again, and checkpoint. When memory is out, the next db_begin
 * tries it once more. */
static void
end_quick(struct db *db)
{
    if (!db->quick)
        return;
    sqlite3_wal_hook(db->sql, on_commit, db);
    db->quick =
        sqlite3_exec(db->sql, "PRAGMA synchronous=FULL", NULL, NULL, NULL) != SQLITE_OK;
}

bool
db_in_tx(const struct db *db)
{
    return db->lock_fd >= 0;
}

/* A rebuild puts another file in place under the writers' lock: what would be written
 * to the old one now would be lost. */
bool
db_in_place(const struct db *db)
{
    struct stat st;

    return db->in_memory ||
           (stat(db->path, &st) == 0 && st.st_dev == db->dev && st.st_ino == db->ino);
}

static int
check_in_place(const struct db *db, struct err *err)
{
    if (db_in_place(db))
        return 0;
    return err_set(err, ERR_BUSY, "%s was replaced while it was open: do it again",
                   db->path);
}

/* first: NULL, or what is done when nobody else can write any more. */
static int
begin(struct db *db, int (*first)(struct db *db, void *arg, struct err *err), void *arg,
      struct err *err)
{
    int r;

    if (db_in_tx(db))
        BUG("%s: a transaction inside a transaction", db->path);
    db_view_end(db);
    r = queue(&db->lock_fd, db, err);
    if (r == 0)
        r = check_in_place(db, err);
    if (r == 0 && first)
        r = first(db, arg, err);
    if (r == 0)
        r = db_run(db, err, "BEGIN IMMEDIATE", "");
    if (r < 0) {
        fs_close(&db->lock_fd);
        return r;
    }
    r = db_still_known(db, err);
    if (r < 0)
        db_rollback(db);
    return r;
}

int
db_begin(struct db *db, struct err *err)
{
    end_quick(db);
    return db->quick ? db_fail(db, "make commits durable", err)
                     : begin(db, NULL, NULL, err);
}

int
db_begin_after(struct db *db, int (*first)(struct db *db, void *arg, struct err *err),
               void *arg, struct err *err)
{
    return begin(db, first, arg, err);
}

int
db_view_begin(struct db *db, struct err *err)
{
    int r = 0;

    if (!db->in_view && !db_in_tx(db))
        r = db_run(db, err, "BEGIN", "");
    db->in_view = r == 0 && !db_in_tx(db);
    return r;
}

void
db_view_end(struct db *db)
{
    if (db->in_view)
        (void)!sqlite3_exec(db->sql, "ROLLBACK", NULL, NULL, NULL); /* only read */
    db->in_view = false;
}

int
db_begin_quick(struct db *db, struct err *err)
{
    int r;

    if (db_in_tx(db))
        BUG("%s: a transaction inside a transaction", db->path);
    r = db_run(db, err, "PRAGMA synchronous=NORMAL", "");
    if (r < 0)
        return r;
    db->quick = true;
    sqlite3_wal_hook(db->sql, note_wal, db);
    r = begin(db, NULL, NULL, err);
    if (r < 0)
        end_quick(db);
    return r;
}

int
db_commit(struct db *db, struct err *err)
{
    int e, r;

    if (!db_in_tx(db))
        BUG("%s: a commit without a transaction", db->path);
    e = fs_fault("commit");
    r = e != 0 ? err_sys(err, e, "%s: commit", db->path) : db_facts_keep(db, err);
    if (r == 0)
        r = db_run(db, err, "COMMIT", "");
    db->unsure = r < 0; /* the next one's pages take the place of a failed one's */
    if (r < 0)
        db_rollback(db);
    else
        restart_wal(db);
    end_quick(db);
    fs_close(&db->lock_fd);
    return r;
}

bool
db_is_unsure(const struct db *db)
{
    return db->unsure;
}

void
db_tidy(struct db *db)
{
    if (db->wal_pages >= WAL_PAGES / 2)
        sqlite3_wal_checkpoint_v2(db->sql, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    db->wal_pages = 0;
}

void
db_rollback(struct db *db)
{
    if (!db_in_tx(db))
        return;
    /* after some failures SQLite has rolled back already */
    if (!sqlite3_get_autocommit(db->sql))
        sqlite3_exec(db->sql, "ROLLBACK", NULL, NULL, NULL);
    db_facts_forget(db);
    end_quick(db);
    fs_close(&db->lock_fd);
}

int
db_copy(struct db *db, const char *path, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    int r = fs_exists(AT_FDCWD, path, err);

    if (r == 1)
        return err_set(err, ERR_CONFLICT, "%s: there is something already", path);
    if (r == 0)
        r = db_run(db, err, "VACUUM INTO ?", "t", path);
    if (r == 0)
        r = fs_open(&fd, AT_FDCWD, path, O_RDWR, 0, err);
    if (r == 0 && fchmod(fd, 0600) < 0)
        r = err_sys(err, errno, "set the mode of %s", path);
    return r < 0 ? r : fs_fsync(fd, path, err);
}

int
db_settle(struct db *db, struct err *err)
{
    return db_exec(db, "PRAGMA wal_checkpoint(TRUNCATE)", "settle", err);
}
