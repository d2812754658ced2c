/* SPDX-License-Identifier: Apache-2.0 */
/* A catalogue made anew. Facts come from the log's events, versions that no event tells
 * of from versions/, and what files and manifests say (object, manifest_file) from
 * objects/. It is made beside the old one as `catalogue.new`, checked, and renamed into
 * place under the writers' lock; the old one is kept below quarantine/. */
#include "repo/cold.h"
#include "repo/keep.h"
#include "repo/repo_int.h"

#include "base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CATALOGUE "catalogue.db"
#define NEW "catalogue.new"
#define LOCK_MS 30000

static const char *const tails[] = { "", "-wal", "-shm", ".lock" };
#define N_TAILS (sizeof(tails) / sizeof(tails[0]))

struct rebuild {
    struct repo r; /* with the new catalogue; no log */
    const struct db_schema *schemas;
    int n_schemas;
    struct repo_rebuild *out;
    int64_t last_event_ns;
    bool head_is_lost;
    bool log_is_whole; /* it goes as far as its signed head, without a gap */
    int (*lost)(void *arg, const char *what, struct err *err);
    void *arg;
};

static int
count_lost(void *arg, const char *what, struct err *err)
{
    struct rebuild *b = arg;

    b->out->n_lost++;
    return b->lost(b->arg, what, err);
}

static int PRINTF(3, 4) lose(struct rebuild *b, struct err *err, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return count_lost(b, text, err);
}

/* ---- what objects/ says ---------------------------------------------------------- */

static int
add_object(struct rebuild *b, const struct digest *d, int64_t size_bytes,
           struct err *err)
{
    int64_t created_ns = clock_now_ns();
    struct err absent = ERR_INIT;
    struct stat st;
    int fd AUTO(fs_close) = -1;

    /* its file is about as old as the row was; one that is missing is fsck's to tell */
    if (b->r.objects->ops->open(b->r.objects, d, &fd, &absent) == 0 &&
        fstat(fd, &st) == 0) {
        created_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
        if (size_bytes < 0)
            size_bytes = st.st_size;
    }
    if (size_bytes < 0)
        return 0; /* no object at all */
    b->out->n_objects++;
    return db_run(b->r.db, err,
                  "INSERT INTO object(digest, size_bytes, created_ns) VALUES(?, ?, ?) "
                  "ON CONFLICT DO NOTHING",
                  "bii", d->b, sizeof(d->b), size_bytes, created_ns);
}

static int
add_files(struct rebuild *b, const struct repo_manifest *m, struct err *err)
{
    int rc = add_object(b, &m->digest, -1, err);

    for (int i = 0; rc == 0 && i < m->n_files; i++) {
        const struct repo_file *f = &m->files[i];
        struct buf path AUTO(buf_release) = BUF_INIT;

        repo_path_encode(f->path, &path);
        rc = add_object(b, &f->digest, f->size_bytes, err);
        if (rc == 0)
            rc = db_run(b->r.db, err,
                        "INSERT INTO manifest_file(manifest, path, object, size_bytes) "
                        "VALUES(?, ?, ?, ?) ON CONFLICT DO NOTHING",
                        "btbi", m->digest.b, sizeof(m->digest.b), buf_str(&path),
                        f->digest.b, sizeof(f->digest.b), f->size_bytes);
    }
    return rc;
}

/* 1: the object begins as a manifest does, 0: not, or there is none. */
static int
is_manifest(struct rebuild *b, const struct digest *d, struct err *err)
{
    struct buf want AUTO(buf_release) = BUF_INIT;
    char got[32] = "";
    int fd AUTO(fs_close) = -1;
    int rc = b->r.objects->ops->open(b->r.objects, d, &fd, err);

    if (rc == -ERR_NOTFOUND) {
        err_clear(err);
        return 0;
    }
    repo_manifest_begin(&want);
    if (rc == 0 && fs_read_at(fd, got, want.len, 0, "an object", err) < 0)
        rc = -(int)err->code;
    return rc < 0 ? rc : memcmp(got, want.data, want.len) == 0;
}

static int
add_named(struct rebuild *b, const struct digest *d, const char *where, struct err *err)
{
    struct repo_manifest m AUTO(repo_manifest_release) = { .files = NULL };

    const int rc = is_manifest(b, d, err);

    if (rc < 0)
        return rc;
    if (rc == 0)
        return add_object(b, d, -1, err);
    if (repo_manifest_get(&b->r, d, &m, err) == 0)
        return add_files(b, &m, err);
    const struct err why = *err;

    err_clear(err);
    return lose(b, err, "what %s names: %s", where, why.msg);
}

struct digests {
    struct digest *v;
    size_t n;
};

/* Every digest in a column of facts may name an object; those that do get rows. */
static int
add_column(struct rebuild *b, const char *table, const char *column, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    struct digests all = { .n = 0 };
    char *sql AUTO(free_ptr) =
        xasprintf("SELECT DISTINCT \"%s\" FROM \"%s\" ORDER BY 1", column, table);
    char *where AUTO(free_ptr) = xasprintf("%s.%s", table, column);
    int rc = db_query(b->r.db, &st, err, sql, "");

    while (rc >= 0 && (rc = db_step(st, err)) == 1) {
        size_t n;
        const void *p = db_blob(st, 0, &n);

        if (n != sizeof(all.v->b))
            continue;
        all.v = xreallocarray(all.v, all.n + 1, sizeof(*all.v));
        memcpy(all.v[all.n++].b, p, n);
    }
    db_done_p(&st);
    for (size_t i = 0; rc == 0 && i < all.n; i++)
        rc = add_named(b, &all.v[i], where, err);
    free(all.v);
    return rc;
}

static int
add_objects(struct rebuild *b, struct err *err)
{
    int rc = 0;

    for (int i = 0; rc == 0 && i < b->n_schemas; i++)
        for (int k = 0; rc == 0 && b->schemas[i].facts && b->schemas[i].facts[k]; k++) {
            const char *table = b->schemas[i].facts[k];
            char *sql AUTO(free_ptr) = xasprintf("PRAGMA table_info(\"%s\")", table);
            struct db_stmt *st AUTO(db_done_p) = NULL;

            rc = db_query(b->r.db, &st, err, sql, "");
            while (rc >= 0 && (rc = db_step(st, err)) == 1) {
                char *column AUTO(free_ptr) = xstrdup(db_text(st, 1));

                rc = strcmp(db_text(st, 2), "BLOB") == 0
                         ? add_column(b, table, column, err)
                         : 0;
            }
        }
    return rc;
}

/* ---- what versions/ says --------------------------------------------------------- */

static bool
take_line(struct str *it, const char *key, char *out, size_t n)
{
    const size_t n_key = strlen(key);
    const char *lf = memchr(it->p, '\n', it->n);
    const size_t line = lf ? (size_t)(lf - it->p) : 0;

    if (!lf || line < n_key || memcmp(it->p, key, n_key) != 0 || line - n_key >= n)
        return false;
    memcpy(out, it->p + n_key, line - n_key);
    out[line - n_key] = '\0';
    it->p += line + 1;
    it->n -= line + 1;
    return true;
}

/* The file of a version; false: not as repo_version_text writes it. */
static bool
parse_version(struct str text, struct repo_version *out)
{
    char model[REPO_ENCODED_NAME_MAX + 1], number[24], digest[80],
        time[CLOCK_TEXT_BYTES];
    char *path AUTO(free_ptr) = NULL;
    struct buf again AUTO(buf_release) = BUF_INIT;
    struct str it = text;
    struct err err = ERR_INIT;

    *out = (struct repo_version){ .id = 0 };
    if (!take_line(&it, "sluice-version 1", number, sizeof(number)) ||
        !take_line(&it, "model ", model, sizeof(model)) ||
        !take_line(&it, "number ", number, sizeof(number)) ||
        !take_line(&it, "digest sha256:", digest, sizeof(digest)) ||
        !take_line(&it, "time ", time, sizeof(time)) || it.n != 0 ||
        !digest_parse(str_of(digest), &out->digest) ||
        clock_parse(time, &out->created_ns, &err) < 0)
        return false;
    path = repo_path_decode(str_of(model));
    if (!path || strlen(path) >= sizeof(out->model))
        return false;
    snprintf(out->model, sizeof(out->model), "%s", path);
    out->number = strtoll(number, NULL, 10);
    repo_version_text(out->model, out->number, &out->digest, out->created_ns, &again);
    return str_eq((struct str){ again.data, again.len }, text) &&
           repo_check_model_name(out->model, &err) == 0;
}

/* All its bytes are there, as far as a look at names and sizes can tell. */
static bool
is_complete(struct rebuild *b, const struct repo_manifest *m)
{
    struct err err = ERR_INIT;
    int64_t size_bytes;

    for (int i = 0; i < m->n_files; i++)
        if (b->r.objects->ops->has(b->r.objects, &m->files[i].digest, &size_bytes,
                                   &err) != 1 ||
            size_bytes != m->files[i].size_bytes)
            return false;
    return true;
}

static int
bring_back(struct rebuild *b, const struct repo_version *v, struct err *err)
{
    struct repo_manifest m AUTO(repo_manifest_release) = { .files = NULL };
    int64_t model_id;
    int rc;

    if (repo_manifest_get(&b->r, &v->digest, &m, err) < 0 || !is_complete(b, &m)) {
        err_clear(err);
        return lose(b, err,
                    "%s@%" PRId64 ": no event tells of it, and its bytes are not all "
                    "there: left out",
                    v->model, v->number);
    }
    rc = repo_model_id(&b->r, v->model, &model_id, err);
    if (rc == 0) {
        rc = db_run(b->r.db, err,
                    "INSERT INTO model(name, created_ns, created_by) VALUES(?, ?, '?')",
                    "ti", v->model, v->created_ns);
        model_id = db_last_id(b->r.db);
    }
    if (rc >= 0)
        rc = db_run(b->r.db, err,
                    "INSERT INTO version(model_id, number, digest, state, created_ns, "
                    "size_bytes, n_files, pushed_by, provenance) "
                    "VALUES(?, ?, ?, 'quarantined', ?, ?, ?, '?', '{}')",
                    "iibiii", model_id, v->number, v->digest.b, sizeof(v->digest.b),
                    v->created_ns, m.size_bytes, (int64_t)m.n_files);
    return rc < 0 ? rc
                  : lose(b, err,
                         "%s@%" PRId64 ": no event tells who pushed it and what became "
                         "of it: it is back, quarantined",
                         v->model, v->number);
}

static int
take_version(void *arg, const struct fs_entry *e, struct err *err)
{
    struct rebuild *b = arg;
    struct buf text AUTO(buf_release) = { .cap_bytes = 4096 };
    struct repo_version v;
    int64_t one;
    int rc;

    if (!S_ISREG(e->st.st_mode))
        return 0;
    if (fs_read(e->dirfd, e->name, &text, err) < 0) {
        const struct err why = *err;

        err_clear(err);
        return lose(b, err, "versions/%s: %s", e->path, why.msg);
    }
    if (!parse_version((struct str){ buf_str(&text), text.len }, &v))
        return lose(b, err, "versions/%s: not as a version's file is written", e->path);
    rc = db_get_int(b->r.db, &one, err,
                    "SELECT 1 FROM version v JOIN model m ON m.id = v.model_id "
                    "WHERE m.name = ? AND v.number = ?",
                    "ti", v.model, v.number);
    if (rc != 0)
        return rc < 0 ? rc : 0;
    /* a push that was killed before its row leaves such a file; nobody was told of it
     */
    if (b->log_is_whole && v.created_ns <= b->last_event_ns)
        return 0;
    return bring_back(b, &v, err);
}

/* ---- rows that hang in the air --------------------------------------------------- */

static int
tell_dropped(void *arg, const char *table, const char *parent, int64_t n_rows,
             struct err *err)
{
    return lose(arg, err, "%" PRId64 " row(s) of %s: the %s they name is lost", n_rows,
                table, parent);
}

/* ---- all ------------------------------------------------------------------------- */

static int
replay(struct rebuild *b, struct db *old, struct err *err)
{
    struct acc_replay log;
    const int64_t n_lost = b->out->n_lost;
    int rc = acc_replay(b->r.dirfd, b->r.db, old, b->schemas, b->n_schemas, &log,
                        count_lost, b, err);

    if (rc == 0)
        rc = db_get_int(b->r.db, &b->last_event_ns, err,
                        "SELECT max(time_ns) FROM event", "");
    b->head_is_lost = log.head_is_lost;
    b->log_is_whole = b->out->n_lost == n_lost && log.n_events > 0;
    b->out->n_events = log.n_events;
    b->out->n_rows = log.n_rows;
    return rc < 0 ? rc : 0;
}

/* The store's own row, when the log could not tell it. */
static int
make_identity(struct rebuild *b, struct err *err)
{
    int64_t one;
    int rc = db_get_int(b->r.db, &one, err, "SELECT 1 FROM store", "");
    uint8_t id[16];
    char hex[33];

    if (rc == 0) {
        rc = random_bytes(id, sizeof(id), err);
        for (size_t i = 0; i < sizeof(id); i++)
            snprintf(hex + 2 * i, 3, "%02x", id[i]);
        if (rc == 0)
            rc = db_run(b->r.db, err, "INSERT INTO store(id, created_ns) VALUES(?, ?)",
                        "ti", hex, clock_now_ns());
        if (rc == 0)
            rc = lose(b, err,
                      "the store's identity: it has a new one, and targets know "
                      "the old one");
    }
    if (rc >= 0)
        rc = acc_refound(b->r.dirfd, b->r.db, err);
    return rc == 1 ? lose(b, err,
                          "who owns the store: it is whoever ran this rebuild; grants "
                          "are lost")
                   : rc;
}

static int
check_new(struct rebuild *b, struct err *err)
{
    static const char *const pragmas[] = { "PRAGMA integrity_check",
                                           "PRAGMA foreign_key_check" };

    for (size_t i = 0; i < sizeof(pragmas) / sizeof(pragmas[0]); i++) {
        struct db_stmt *st AUTO(db_done_p) = NULL;
        int rc = db_query(b->r.db, &st, err, pragmas[i], "");

        while (rc >= 0 && (rc = db_step(st, err)) == 1)
            if (strcmp(db_text(st, 0), "ok") != 0)
                return err_set(err, ERR_CORRUPT,
                               "the new catalogue: %s: %s: the old one stays",
                               pragmas[i] + 7, db_text(st, 0));
        if (rc < 0)
            return rc;
    }
    return db_get_int(b->r.db, &b->out->n_versions, err, "SELECT count(*) FROM version",
                      "") < 0
               ? -(int)err->code
               : 0;
}

static int
fill(struct rebuild *b, struct db *old, struct err *err)
{
    struct buf ignored AUTO(buf_release) = BUF_INIT;
    struct buf guards AUTO(buf_release) = BUF_INIT;
    int rc = db_begin(b->r.db, err);

    if (rc < 0)
        return rc;
    rc = db_run(b->r.db, err, "PRAGMA defer_foreign_keys = 1", "");
    if (rc == 0)
        rc = db_guards_lift(b->r.db, &guards, err);
    if (rc == 0)
        rc = replay(b, old, err);
    if (rc == 0)
        rc = make_identity(b, err);
    if (rc == 0)
        rc = fs_walk(b->r.dirfd, "versions", take_version, b, err);
    if (rc == 0)
        rc = db_facts_prune(b->r.db, b->schemas, b->n_schemas, tell_dropped, b, err);
    if (rc == 0)
        rc = add_objects(b, err);
    if (rc == 0)
        rc = repo_cold_rebuild(&b->r, err);
    /* all of it is in the log already, but for what was found elsewhere */
    if (rc == 0 && b->out->n_lost == 0)
        rc = db_facts_take(b->r.db, &ignored, err) < 0 ? -(int)err->code : 0;
    if (rc == 0)
        rc = db_guards_set(b->r.db, &guards, err);
    if (rc == 0)
        rc = db_commit(b->r.db, err);
    db_rollback(b->r.db);
    return rc < 0 ? rc : check_new(b, err);
}

static int
remove_new(int dirfd, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < N_TAILS; i++) {
        char name[64];

        snprintf(name, sizeof(name), NEW "%s", tails[i]);
        rc = fs_unlink(dirfd, name, err);
    }
    return rc;
}

/* Makes, fills and checks catalogue.new: one file when this returns. */
static int
make_new(struct rebuild *b, struct err *err)
{
    char *path AUTO(free_ptr) = xasprintf("%s/" NEW, b->r.path);
    char *old_path AUTO(free_ptr) = xasprintf("%s/" CATALOGUE, b->r.path);
    struct db *old AUTO(db_close_p) = NULL;
    int fd AUTO(fs_close) = -1;
    struct err ignored = ERR_INIT;
    int rc = remove_new(b->r.dirfd, err);

    if (rc == 0 && db_open(&old, old_path, 0, &ignored) < 0)
        old = NULL; /* lost or damaged, which is why this runs */
    if (rc == 0)
        rc = db_open(&b->r.db, path, DB_CREATE, err);
    if (rc == 0)
        rc = db_migrate(b->r.db, b->schemas, b->n_schemas, err);
    if (rc == 0)
        rc = fill(b, old, err);
    if (rc == 0)
        rc = db_settle(b->r.db, err);
    db_close_p(&b->r.db);
    for (size_t i = 1; rc == 0 && i < N_TAILS; i++) {
        char name[64];

        snprintf(name, sizeof(name), NEW "%s", tails[i]);
        rc = fs_unlink(b->r.dirfd, name, err);
    }
    if (rc == 0)
        rc = fs_open(&fd, b->r.dirfd, NEW, O_RDWR, 0, err);
    return rc < 0 ? rc : fs_fsync(fd, NEW, err);
}

/* A write-ahead log that stayed would be read into the new file, so it goes before that
 * comes; without it the old file would be what it was before its last commits, so that
 * goes first, for good. */
static int
swap(struct rebuild *b, struct err *err)
{
    char *aside AUTO(free_ptr) =
        xasprintf("quarantine/" CATALOGUE ".%" PRId64, clock_now_ns());
    bool any = false;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < 3; i++) {
        char *from AUTO(free_ptr) = xasprintf(CATALOGUE "%s", tails[i]);
        char *to AUTO(free_ptr) = xasprintf("%s%s", aside, tails[i]);

        rc = fs_exists(b->r.dirfd, from, err);
        any |= rc == 1;
        if (rc == 1)
            rc = fs_rename(b->r.dirfd, from, b->r.dirfd, to, err);
        if (rc == 0)
            rc = fs_fsync_dir(b->r.dirfd, "quarantine", err);
        if (rc == 0)
            rc = fs_fsync_dir(b->r.dirfd, ".", err);
    }
    if (rc == 0)
        rc = fs_rename_new(b->r.dirfd, NEW, b->r.dirfd, CATALOGUE, err);
    if (rc == 0)
        rc = fs_fsync_dir(b->r.dirfd, ".", err);
    if (rc == 0 && any)
        b->out->set_aside = xasprintf("%s/%s", b->r.path, aside);
    return rc;
}

/* Every command would say for ever that the log does not go on from it. What is lost
 * has been told, and is in the event of this rebuild. */
static int
renew_head(struct rebuild *b, struct err *err)
{
    char *aside AUTO(free_ptr) = xasprintf("quarantine/head.%" PRId64, clock_now_ns());

    if (acc_head_renew(b->r.dirfd, aside, err) < 0) {
        const struct err why = *err;

        err_clear(err);
        return lose(b, err, "a new signed head: %s", why.msg);
    }
    return 0;
}

/* What the file keeps for itself: the mode and length of its write-ahead log. */
static int
set_up(const char *path, struct err *err)
{
    char *db_path AUTO(free_ptr) = xasprintf("%s/" CATALOGUE, path);
    struct db *db AUTO(db_close_p) = NULL;
    int rc = db_open(&db, db_path, 0, err);

    return rc < 0 ? rc : db_set_up(db, err);
}

int
repo_rebuild(const char *path, const struct db_schema *schemas, int n_schemas,
             struct repo_rebuild *out,
             int (*lost)(void *arg, const char *what, struct err *err), void *arg,
             struct err *err)
{
    struct rebuild b = {
        .r = { .path = (char *)(uintptr_t)path, .dirfd = -1, .lease_fd = -1 },
        .schemas = schemas,
        .n_schemas = n_schemas,
        .out = out,
        .lost = lost,
        .arg = arg
    };
    struct err ignored = ERR_INIT;
    int lock_fd AUTO(fs_close) = -1;
    int rc;

    memset(out, 0, sizeof(*out));
    rc = repo_open_dir(&b.r, err);
    if (rc == 0)
        rc = fs_lock(&lock_fd, b.r.dirfd, CATALOGUE ".lock", LOCK_MS, err);
    if (rc == 0)
        rc = objects_open_local(&b.r.objects, b.r.dirfd, err);
    if (rc == 0)
        rc = make_new(&b, err);
    if (rc == 0)
        rc = swap(&b, err);
    else if (b.r.dirfd >= 0 && remove_new(b.r.dirfd, &ignored) < 0)
        err_clear(&ignored); /* the next one removes it */
    fs_close(&lock_fd);
    if (rc == 0 && b.head_is_lost)
        rc = renew_head(&b, err);
    if (rc == 0)
        rc = set_up(path, err);
    objects_close(b.r.objects);
    fs_close(&b.r.dirfd);
    return rc < 0 ? err_ctx(err, "rebuild the catalogue of %s", path) : 0;
}
