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
#define CACHE_SLOTS 128 /* statements; a power of two */
#define CACHE_PROBES 8

struct db_stmt {
    sqlite3_stmt *sql;
    struct db *db;
    bool cached;
    bool busy; /* between db_query and db_done */
};

struct db {
    sqlite3 *sql;
    const char *path;
    int lock_fd;    /* the writers' queue; -1: no transaction is open */
    bool is_copied; /* the last commit's checkpoint took the whole WAL */
    struct db_stmt *cache[CACHE_SLOTS];
};

/* Sets `err` from SQLite's state; `doing` is a few words or the statement. */
static int
fail(struct db *db, const char *doing, struct err *err)
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
               : fail(db, doing, err);
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
            return fail(db, "configure", err);
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
    char *path AUTO(free_ptr) = xasprintf("%s.lock", db->path);

    return fs_lock(out_fd, AT_FDCWD, path, BUSY_TIMEOUT_MS, err);
}

/* Sets what the file itself keeps, and gives the WAL its size. Twice does no harm. */
static int
set_up(struct db *db, struct err *err)
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
    bool is_new;
    int r = find_file(path, flags, &is_new, err);

    if (r < 0)
        return r;
    db = xcalloc(1, sizeof(*db));
    db->path = path;
    db->lock_fd = -1;
    if (sqlite3_open_v2(path, &db->sql, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
                        db_vfs_name()) != SQLITE_OK)
        return fail(db, "open", err);
    r = configure(db, err);
    if (r == 0 && is_new)
        r = set_up(db, err);
    if (r < 0)
        return r;
    *out = db;
    db = NULL;
    return 0;
}

void
db_close(struct db *db)
{
    if (!db)
        return;
    db_rollback(db);
    for (size_t i = 0; i < CACHE_SLOTS; i++) {
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
    free(db);
}

void
db_close_p(struct db **db)
{
    db_close(*db);
    *db = NULL;
}

bool
db_in_tx(const struct db *db)
{
    return db->lock_fd >= 0;
}

int
db_begin(struct db *db, struct err *err)
{
    int r;

    if (db_in_tx(db))
        BUG("%s: a transaction inside a transaction", db->path);
    r = queue(&db->lock_fd, db, err);
    if (r == 0)
        r = db_run(db, err, "BEGIN IMMEDIATE", "");
    if (r < 0)
        fs_close(&db->lock_fd);
    return r;
}

int
db_commit(struct db *db, struct err *err)
{
    int e, r;

    if (!db_in_tx(db))
        BUG("%s: a commit without a transaction", db->path);
    e = fs_fault("commit");
    r = e != 0 ? err_sys(err, e, "%s: commit", db->path)
               : db_run(db, err, "COMMIT", "");
    if (r < 0)
        db_rollback(db);
    else
        restart_wal(db);
    fs_close(&db->lock_fd);
    return r;
}

void
db_rollback(struct db *db)
{
    if (!db_in_tx(db))
        return;
    /* after some failures SQLite has rolled back already */
    if (!sqlite3_get_autocommit(db->sql))
        sqlite3_exec(db->sql, "ROLLBACK", NULL, NULL, NULL);
    fs_close(&db->lock_fd);
}

static size_t
hash_text(const char *s)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

    for (; *s; s++)
        h = (h ^ (uint8_t)*s) * UINT64_C(0x100000001b3);
    return (size_t)(h ^ h >> 32);
}

/* A statement that is not in use: from the cache, or prepared now. */
static int
prepare(struct db *db, struct db_stmt **out, const char *sql, struct err *err)
{
    const size_t h = hash_text(sql);
    struct db_stmt **slot = NULL, *st;
    const char *tail;

    for (size_t i = 0; i < CACHE_PROBES; i++) {
        struct db_stmt **s = &db->cache[(h + i) % CACHE_SLOTS];

        if (!*s) {
            slot = s;
            break;
        }
        if (!(*s)->busy && strcmp(sqlite3_sql((*s)->sql), sql) == 0) {
            (*s)->busy = true;
            *out = *s;
            return 0;
        }
    }
    st = xcalloc(1, sizeof(*st));
    st->db = db;
    st->busy = true;
    if (sqlite3_prepare_v2(db->sql, sql, -1, &st->sql, &tail) != SQLITE_OK) {
        free(st);
        return fail(db, sql, err);
    }
    if (!st->sql || *tail)
        BUG("not one statement: %s", sql);
    if (slot) {
        st->cached = true;
        *slot = st;
    }
    *out = st;
    return 0;
}

static int
bind(struct db_stmt *st, int at, char type, va_list *ap)
{
    struct str s;
    const void *p;
    const char *t;

    switch (type) {
    case 'i':
        return sqlite3_bind_int64(st->sql, at, va_arg(*ap, int64_t));
    case 'r':
        return sqlite3_bind_double(st->sql, at, va_arg(*ap, double));
    case 't':
        t = va_arg(*ap, const char *);
        return sqlite3_bind_text(st->sql, at, t, -1, SQLITE_TRANSIENT);
    case 's':
        s = va_arg(*ap, struct str);
        return sqlite3_bind_text64(st->sql, at, s.p ? s.p : "", s.n, SQLITE_TRANSIENT,
                                   SQLITE_UTF8);
    case 'b':
        p = va_arg(*ap, const void *);
        return sqlite3_bind_blob64(st->sql, at, p, va_arg(*ap, size_t),
                                   SQLITE_TRANSIENT);
    case 'n':
        return sqlite3_bind_null(st->sql, at);
    default:
        BUG("no type '%c' for parameter %d of: %s", type, at, sqlite3_sql(st->sql));
    }
}

static int
query(struct db *db, struct db_stmt **out, struct err *err, const char *sql,
      const char *types, va_list *ap)
{
    struct db_stmt *st = NULL;
    int r = prepare(db, &st, sql, err);

    if (r < 0)
        return r;
    if ((size_t)sqlite3_bind_parameter_count(st->sql) != strlen(types))
        BUG("types \"%s\" do not fit: %s", types, sql);
    for (int i = 0; types[i]; i++)
        if (bind(st, i + 1, types[i], ap) != SQLITE_OK) {
            r = fail(db, sql, err);
            db_done(st);
            return r;
        }
    *out = st;
    return 0;
}

int
db_query(struct db *db, struct db_stmt **out, struct err *err, const char *sql,
         const char *types, ...)
{
    va_list ap;
    int r;

    va_start(ap, types);
    r = query(db, out, err, sql, types, &ap);
    va_end(ap);
    return r;
}

int
db_step(struct db_stmt *st, struct err *err)
{
    switch (sqlite3_step(st->sql)) {
    case SQLITE_ROW:
        return 1;
    case SQLITE_DONE:
        return 0;
    default:
        return fail(st->db, sqlite3_sql(st->sql), err);
    }
}

void
db_done(struct db_stmt *st)
{
    if (!st)
        return;
    if (st->cached) {
        sqlite3_reset(st->sql); /* ends its read; the error was told by db_step */
        sqlite3_clear_bindings(st->sql);
        st->busy = false;
    } else {
        sqlite3_finalize(st->sql);
        free(st);
    }
}

void
db_done_p(struct db_stmt **st)
{
    db_done(*st);
    *st = NULL;
}

int64_t
db_int(struct db_stmt *st, int col)
{
    return sqlite3_column_int64(st->sql, col);
}

double
db_real(struct db_stmt *st, int col)
{
    return sqlite3_column_double(st->sql, col);
}

const char *
db_text(struct db_stmt *st, int col)
{
    return (const char *)sqlite3_column_text(st->sql, col);
}

const void *
db_blob(struct db_stmt *st, int col, size_t *n)
{
    const void *p = sqlite3_column_blob(st->sql, col);

    *n = (size_t)sqlite3_column_bytes(st->sql, col);
    return p;
}

bool
db_is_null(struct db_stmt *st, int col)
{
    return sqlite3_column_type(st->sql, col) == SQLITE_NULL;
}

int
db_run(struct db *db, struct err *err, const char *sql, const char *types, ...)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    va_list ap;
    int r;

    va_start(ap, types);
    r = query(db, &st, err, sql, types, &ap);
    va_end(ap);
    if (r == 0)
        r = db_step(st, err);
    if (r == 1)
        BUG("a statement with rows is run without reading them: %s", sql);
    return r;
}

/* The first row of a query with a value in its first column. */
static int
first_value(struct db *db, struct db_stmt **out, struct err *err, const char *sql,
            const char *types, va_list *ap)
{
    int r = query(db, out, err, sql, types, ap);

    if (r == 0)
        r = db_step(*out, err);
    return r == 1 && db_is_null(*out, 0) ? 0 : r;
}

int
db_get_int(struct db *db, int64_t *out, struct err *err, const char *sql,
           const char *types, ...)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    va_list ap;
    int r;

    va_start(ap, types);
    r = first_value(db, &st, err, sql, types, &ap);
    va_end(ap);
    if (r == 1)
        *out = db_int(st, 0);
    return r;
}

int
db_get_text(struct db *db, struct buf *out, struct err *err, const char *sql,
            const char *types, ...)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    va_list ap;
    int r;

    va_start(ap, types);
    r = first_value(db, &st, err, sql, types, &ap);
    va_end(ap);
    if (r == 1) {
        size_t n;
        const void *p = db_blob(st, 0, &n);

        buf_add(out, p, n);
        if (buf_check(out, sql, err) < 0)
            r = -(int)err->code;
    }
    return r;
}

int64_t
db_last_id(struct db *db)
{
    return sqlite3_last_insert_rowid(db->sql);
}

int64_t
db_changes(struct db *db)
{
    return sqlite3_changes64(db->sql);
}
