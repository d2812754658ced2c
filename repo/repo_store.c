/* SPDX-License-Identifier: Apache-2.0 */
/* A store's directory: what is in it is listed in docs/formats.md. Its `format` file is
 * its birth certificate: init writes it first as `format.unfinished` and renames it
 * last, so a directory is a store, an unfinished one that may be cleared, or somebody
 * else's. */
#include "repo/cold.h"
#include "repo/repo_int.h"

#include "base/clock.h"
#include "repo/gc.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define UNFINISHED "format.unfinished"
#define FORMAT_TEXT "sluice-store 1\n"
#define CATALOGUE "catalogue.db"

static const char *const folders[] = { "objects",  "cold",       "stage",
                                       "trash",    "quarantine", "keys",
                                       "versions", "audit",      "hooks" };
/* Everything that init makes besides; the list that clearing an unfinished store goes
 * by. */
static const char *const files[] = {
    CATALOGUE,         CATALOGUE "-wal",     CATALOGUE "-shm",
    CATALOGUE ".lock", CATALOGUE "-journal", REPO_RESERVE
};
#define N_FOLDERS (sizeof(folders) / sizeof(folders[0]))
#define N_FILES (sizeof(files) / sizeof(files[0]))

/* ---- init ------------------------------------------------------------------------ */

static bool
is_ours(const char *name)
{
    bool ours = strcmp(name, UNFINISHED) == 0;

    for (size_t i = 0; i < N_FOLDERS; i++)
        ours |= strcmp(name, folders[i]) == 0;
    for (size_t i = 0; i < N_FILES; i++)
        ours |= strcmp(name, files[i]) == 0;
    return ours;
}

/* Removes what init makes, but for its mark. */
static int
clear(int dirfd, struct err *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < N_FOLDERS; i++)
        r = fs_remove_tree(dirfd, folders[i], err);
    for (size_t i = 0; r == 0 && i < N_FILES; i++)
        r = fs_unlink(dirfd, files[i], err);
    return r;
}

static int
refuse_store(int dirfd, const char *path, struct err *err)
{
    int r = fs_exists(dirfd, REPO_FORMAT, err);

    return r == 1 ? err_set(err, ERR_CONFLICT, "%s: there is a store already", path)
                  : r;
}

static void
close_dir(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}

static int
refuse_foreign(int dirfd, const char *path, struct err *err)
{
    DIR *dir AUTO(close_dir) = NULL;
    int fd AUTO(fs_close) = -1;
    const struct dirent *d;
    int r = fs_open_dir(&fd, dirfd, ".", err);

    if (r < 0)
        return r;
    dir = fdopendir(fd);
    if (!dir)
        return err_sys(err, errno, "list %s", path);
    fd = -1; /* dir's now */
    while (errno = 0, (d = readdir(dir)) != NULL) {
        struct buf name AUTO(buf_release) = BUF_INIT;

        /* the root of a file system of its own has lost+found */
        if (is_ours(d->d_name) || strcmp(d->d_name, ".") == 0 ||
            strcmp(d->d_name, "..") == 0 || strcmp(d->d_name, "lost+found") == 0)
            continue;
        repo_path_encode(d->d_name, &name);
        return err_set(
            err, ERR_CONFLICT,
            "%s: the directory is not empty (%s is in it): a store wants one "
            "of its own",
            path, buf_str(&name));
    }
    return errno == 0 ? 0 : err_sys(err, errno, "list %s", path);
}

/* Takes the directory for this init: the lock on the mark keeps a second one out, and
 * only who holds it may clear. */
static int
claim(int *out_lock, int dirfd, const char *path, struct err *err)
{
    int r = refuse_store(dirfd, path, err);

    if (r == 0)
        r = fs_exists(dirfd, UNFINISHED, err);
    if (r == 0)
        r = refuse_foreign(dirfd, path, err);
    if (r < 0)
        return r;
    r = fs_lock(out_lock, dirfd, UNFINISHED, 0, err);
    if (r == -ERR_BUSY) {
        err_clear(err);
        return err_set(err, ERR_CONFLICT, "%s: another init is at work there", path);
    }
    if (r == 0) /* the other one may have finished just now */
        r = refuse_store(dirfd, path, err);
    return r;
}

static int
init_rows(int dirfd, struct db *db, const char *path, struct err *err)
{
    uint8_t id[16];
    char hex[33];
    int r = random_bytes(id, sizeof(id), err);

    for (size_t i = 0; i < sizeof(id); i++)
        snprintf(hex + 2 * i, 3, "%02x", id[i]);
    if (r == 0)
        r = db_begin(db, err);
    if (r < 0)
        return r;
    r = acc_init(dirfd, db, err);
    if (r == 0)
        r = db_run(db, err, "INSERT INTO store(id, created_ns) VALUES(?, ?)", "ti", hex,
                   clock_now_ns());
    if (r == 0)
        return db_commit(db, err);
    db_rollback(db);
    return err_ctx(err, "init %s", path);
}

int
repo_make_folders(int dirfd, struct err *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < N_FOLDERS; i++)
        r = fs_mkdirs(dirfd, folders[i], REPO_MODE, err);
    return r < 0 ? r
                 : fs_replace(dirfd, REPO_FORMAT, FORMAT_TEXT, strlen(FORMAT_TEXT),
                              0666 & ~022, err);
}

/* Everything but the last rename. */
static int
fill(int dirfd, const char *path, const struct db_schema *schemas, int n_schemas,
     struct err *err)
{
    char *db_path AUTO(free_ptr) = xasprintf("%s/" CATALOGUE, path);
    struct db *db AUTO(db_close_p) = NULL;
    int fd AUTO(fs_close) = -1;
    int r = 0;

    for (size_t i = 0; r == 0 && i < N_FOLDERS; i++)
        r = fs_mkdirs(dirfd, folders[i], REPO_MODE, err);
    if (r == 0)
        r = db_open(&db, db_path, DB_CREATE, err);
    if (r == 0)
        r = db_migrate(db, schemas, n_schemas, err);
    if (r == 0)
        r = init_rows(dirfd, db, path, err);
    if (r == 0)
        r = fs_open(&fd, dirfd, UNFINISHED, O_WRONLY | O_TRUNC | O_NOFOLLOW, 0, err);
    if (r == 0)
        r = fs_write_all(fd, FORMAT_TEXT, strlen(FORMAT_TEXT), REPO_FORMAT, err);
    return r < 0 ? r : fs_fsync(fd, REPO_FORMAT, err);
}

/* The names in `dir` and that of `dir` in its parent. */
static int
sync_names(int dirfd, const char *path, struct err *err)
{
    char *parent AUTO(free_ptr) = xasprintf("%s/..", path);
    int r = fs_fsync_dir(dirfd, ".", err);

    return r < 0 ? r : fs_fsync_dir(AT_FDCWD, parent, err);
}

static int
init_in(int dirfd, const char *path, const struct db_schema *schemas, int n_schemas,
        struct err *err)
{
    int lock AUTO(fs_close) = -1;
    struct err ignored = ERR_INIT;
    bool is_read_only;
    int r = repo_place_look(dirfd, path, &is_read_only, err);

    if (r == 0)
        r = claim(&lock, dirfd, path, err);

    if (r < 0)
        return r;
    r = clear(dirfd, err); /* what a killed init left */
    if (r == 0 && fchmod(dirfd, REPO_MODE) < 0)
        r = err_sys(err, errno, "set the mode of %s", path);
    if (r == 0)
        r = fill(dirfd, path, schemas, n_schemas, err);
    if (r == 0)
        r = sync_names(dirfd, path, err);
    if (r == 0)
        r = fs_rename_new(dirfd, UNFINISHED, dirfd, REPO_FORMAT, err);
    if (r < 0) {
        if (clear(dirfd, &ignored) < 0 || fs_unlink(dirfd, UNFINISHED, &ignored) < 0)
            err_clear(&ignored); /* what is left is marked as unfinished */
        return r;
    }
    r = fs_fsync_dir(dirfd, ".", err);
    return r < 0 ? err_ctx(err, "it is done, but may be gone after a power cut") : 0;
}

int
repo_init(const char *path, const struct db_schema *schemas, int n_schemas,
          struct err *err)
{
    int dirfd AUTO(fs_close) = -1;
    bool is_new;
    int r = fs_exists(AT_FDCWD, path, err);

    is_new = r == 0;
    if (r == 0)
        r = fs_mkdirs(AT_FDCWD, path, 0777, err);
    if (r >= 0)
        r = fs_open_dir(&dirfd, AT_FDCWD, path, err);
    if (r == 0)
        r = init_in(dirfd, path, schemas, n_schemas, err);
    if (r < 0 && is_new)
        rmdir(path); /* fails when there is something to keep */
    return r;
}

/* ---- open ------------------------------------------------------------------------ */

static int
check_format(int dirfd, const char *path, struct err *err)
{
    struct buf text AUTO(buf_release) = { .cap_bytes = 64 };
    int r = fs_read(dirfd, REPO_FORMAT, &text, err);

    if (r < 0 && err->sys == ENOENT) {
        err_clear(err);
        r = fs_exists(dirfd, UNFINISHED, err);
        return r < 0 ? r
                     : err_set(err, ERR_NOTFOUND,
                               r == 1 ? "%s: a store whose init was interrupted: run "
                                        "'sluice init' again"
                                      : "%s is no store: 'sluice init' makes one; "
                                        "--store or $SLUICE_STORE names another",
                               path);
    }
    if (r < 0 && r != -ERR_LIMIT)
        return r;
    if (r == 0 && strcmp(buf_str(&text), FORMAT_TEXT) == 0)
        return 0;
    err_clear(err);
    if (strncmp(buf_str(&text), "sluice-store ", 13) == 0)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: a store of format %.*s; this program knows format 1: use a "
                       "newer one",
                       path, (int)strcspn(text.data + 13, "\n"), text.data + 13);
    return err_set(err, ERR_CORRUPT, "%s/" REPO_FORMAT ": does not say '%.14s'", path,
                   FORMAT_TEXT);
}

static int
open_dir(struct repo *r, struct err *err)
{
    struct stat st;
    int rc = fs_open_dir(&r->dirfd, AT_FDCWD, r->path, err);
    int sys = rc < 0 ? err->sys : 0;

    if (sys == ENOENT || sys == ENOTDIR) {
        err_clear(err);
        return err_set(err, ERR_NOTFOUND,
                       "%s: there is no store: 'sluice init' makes one; --store or "
                       "$SLUICE_STORE names another",
                       r->path);
    }
    if (sys == EACCES && stat(r->path, &st) == 0 && st.st_uid != geteuid()) {
        err_clear(err);
        return repo_not_yours(r->path, st.st_uid, err);
    }
    if (rc < 0)
        return rc;
    if (fstat(r->dirfd, &st) < 0)
        return err_sys(err, errno, "stat %s", r->path);
    r->owner_uid = st.st_uid;
    rc = check_format(r->dirfd, r->path, err);
    if (rc < 0 && err->sys == EACCES && st.st_uid != geteuid()) {
        err_clear(err);
        return repo_not_yours(r->path, st.st_uid, err);
    }
    if (rc == 0)
        rc = repo_check_owner(r->dirfd, r->path, &st, err);
    return rc < 0 ? rc : repo_place_look(r->dirfd, r->path, &r->is_read_only, err);
}

/* The store is there and its catalogue is not: says what brings it back. */
static int
lost_catalogue(const struct repo *r, struct err *err)
{
    const struct err why = *err;

    err_clear(err);
    return err_set(err, ERR_CORRUPT,
                   "%s; sluice --store %s fsck --rebuild makes the catalogue anew from "
                   "the log and the files",
                   why.msg, r->path);
}

int
repo_open_dir(struct repo *r, struct err *err)
{
    int rc = open_dir(r, err);

    return rc < 0 ? rc : check_format(r->dirfd, r->path, err);
}

static int
open_parts(struct repo *r, const struct db_schema *schemas, int n_schemas,
           struct err *err)
{
    struct objects *whole;
    int rc = repo_open_dir(r, err);

    if (rc == 0) {
        rc = db_open(&r->db, r->db_path, 0, err);
        if (rc == -ERR_NOTFOUND || rc == -ERR_CORRUPT)
            rc = lost_catalogue(r, err);
    }
    if (rc == 0)
        rc = db_migrate(r->db, schemas, n_schemas, err);
    if (rc < 0 && err->sys == EROFS)
        return err_ctx(err,
                       "%s was made by an older program; let this one open it once "
                       "where it can be written",
                       r->path);
    if (rc == 0)
        rc = objects_open_local(&whole, r->dirfd, err);
    if (rc == 0)
        rc = objects_open_cold(&r->objects, whole, r->dirfd, err);
    return rc < 0 ? rc : acc_open(&r->acc, r->dirfd, r->db, err);
}

int
repo_open(struct repo **out, const char *path, const struct db_schema *schemas,
          int n_schemas, struct err *err)
{
    struct repo *r AUTO(repo_close_p) = xcalloc(1, sizeof(*r));
    int rc;

    r->dirfd = r->lease_fd = -1;
    r->path = xstrdup(path);
    r->schemas = xreallocarray(NULL, (size_t)n_schemas, sizeof(*schemas));
    memcpy(r->schemas, schemas, (size_t)n_schemas * sizeof(*schemas));
    r->n_schemas = n_schemas;
    r->db_path = xasprintf("%s/" CATALOGUE, path);
    rc = open_parts(r, schemas, n_schemas, err);
    if (rc < 0)
        return rc;
    *out = r;
    r = NULL;
    return 0;
}

void
repo_leave(struct repo *r)
{
    if (!r)
        return;
    if (r->db)
        repo_lease_end(r);
    fs_close(&r->lease_fd);
    objects_close(r->objects);
    r->objects = NULL;
    if (r->db)
        db_rollback(r->db);
}

void
repo_close(struct repo *r)
{
    if (!r)
        return;
    repo_leave(r);
    acc_close(r->acc);
    db_close(r->db);
    fs_close(&r->dirfd);
    free(r->db_path);
    free(r->schemas);
    free(r->path);
    free(r);
}

void
repo_close_p(struct repo **r)
{
    repo_close(*r);
    *r = NULL;
}

int
repo_default_path(const char *given, struct buf *out, struct err *err)
{
    const char *env = getenv("SLUICE_STORE"), *home = getenv("HOME");
    char text[4096];
    struct passwd pw, *found = NULL;
    int r;

    if (given || (env && env[0])) {
        buf_adds(out, given ? given : env);
        return 0;
    }
    r = fs_exists(AT_FDCWD, ".sluice", err);
    if (r == 1)
        buf_adds(out, "./.sluice");
    if (r != 0)
        return r < 0 ? r : 0;
    if (!home || !home[0]) {
        if (getpwuid_r(getuid(), &pw, text, sizeof(text), &found) != 0 || !found)
            return err_set(err, ERR_NOTFOUND,
                           "no store is named and there is no home directory: use "
                           "--store or $SLUICE_STORE");
        home = found->pw_dir;
    }
    buf_addf(out, "%s/.local/share/sluice", home);
    return 0;
}
