/* SPDX-License-Identifier: Apache-2.0 */
/* Statements: prepared once a handle and kept, bound by type letters, read by column.
 */
#include "base/db.h"

#include "base/db_int.h"
#include "base/fnv.h"

#include <sqlite3.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define CACHE_PROBES 8

static size_t
hash_text(const char *s)
{
    const uint64_t h = fnv_adds(FNV_START, s);

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
        struct db_stmt **s = &db->cache[(h + i) % DB_CACHE_SLOTS];

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
        return db_fail(db, sql, err);
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
            r = db_fail(db, sql, err);
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
    struct buf *notes = &st->db->notes;
    const size_t n_noted = notes->len;

    switch (sqlite3_step(st->sql)) {
    case SQLITE_ROW:
        return 1;
    case SQLITE_DONE: /* outside a transaction a statement is one by itself */
        return notes->len > 0 && !db_in_tx(st->db) ? db_facts_keep(st->db, err) : 0;
    default:
        if (notes->len > n_noted) { /* what it changed is undone */
            notes->len = n_noted;
            notes->data[n_noted] = '\0';
        }
        return db_fail(st->db, sqlite3_sql(st->sql), err);
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

/* The WAL's index, which all who have the database open share in memory. It is SQLite's
 * own, is there once something was read, and stays for as long as the handle does. */
static void
find_wal_index(struct db *db)
{
    sqlite3_file *f = NULL;
    volatile void *p = NULL;

    if (!db->in_memory &&
        sqlite3_file_control(db->sql, "main", SQLITE_FCNTL_FILE_POINTER, &f) ==
            SQLITE_OK &&
        f && f->pMethods && f->pMethods->iVersion >= 2 && f->pMethods->xShmMap &&
        f->pMethods->xShmMap(f, 0, 32768, 0, &p) == SQLITE_OK)
        db->wal_index = p;
}

/* Its head, which every commit changes. False: there is none, or it is being written.
 */
static bool
wal_head(const struct db *db, uint32_t out[DB_WAL_HEAD_WORDS])
{
    const size_t half = DB_WAL_HEAD_WORDS / 2;

    for (size_t i = 0; i < DB_WAL_HEAD_WORDS; i++)
        out[i] = db->wal_index ? db->wal_index[i] : 0;
    return out[0] != 0 && memcmp(out, out + half, half * sizeof(*out)) == 0;
}

int
db_version(struct db *db, int64_t *out, struct err *err)
{
    uint32_t head[DB_WAL_HEAD_WORDS]; /* by now: what comes meanwhile counts as new */
    const bool has_head = wal_head(db, head);
    int r = 0;

    if (has_head && memcmp(head, db->seen_head, sizeof(head)) == 0) {
        *out = db->seen_version;
        return 0;
    }
    r = db_get_int(db, out, err, "PRAGMA data_version", "");
    if (r < 0)
        return r;
    if (!db->wal_index)
        find_wal_index(db);
    if (has_head)
        memcpy(db->seen_head, head, sizeof(head));
    db->seen_version = *out;
    return 0;
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
