/* SPDX-License-Identifier: Apache-2.0 */
/* A backup made a store of. The store is made beside its name and gets it by one
 * rename, after every object was hashed in its new place and the catalogue held against
 * all of it. */
#include "repo/repo_backup_int.h"

#include "base/tar.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int
keep_name(void *arg, const char *name, struct err *err)
{
    (void)err;
    snprintf(arg, BACKUP_GENERATION_BYTES, "%s", name);
    return 0;
}

struct restore {
    const char *from, *key;
    char *path; /* of the store that is being made */
    int dirfd;
    struct objects *to, *source;
    struct repo_backup *out;
};

static int
put_entry(struct backup_unpack *u, const struct digest *d, int64_t size_bytes,
          struct err *err)
{
    struct restore *w = u->arg;
    bool is_new;

    (void)size_bytes;
    return backup_put(w->to, d, backup_read_entry, u, &is_new, err);
}

static int
restore_object(void *arg, const struct digest *d, int64_t size_bytes, struct err *err)
{
    struct restore *w = arg;
    bool is_new;

    w->out->n_objects++;
    return w->source ? backup_copy(w->source, w->to, d, size_bytes, &is_new, err) : 0;
}

static int
restore_hook(void *arg, const struct fs_entry *e, struct err *err)
{
    struct restore *w = arg;
    char *to AUTO(free_ptr) = NULL;

    if (!S_ISREG(e->st.st_mode) || strncmp(e->name, "hooks.", 6) != 0)
        return 0;
    to = xasprintf("hooks/%s", e->name + 6);
    /* a tar does not keep it executable */
    return fs_copy(e->dirfd, e->name, w->dirfd, to, 0700, err);
}

/* "<length> <path>\n" and the bytes, again and again. */
static int
restore_versions(struct restore *w, int gen_fd, struct err *err)
{
    struct buf all AUTO(buf_release) = BUF_INIT;
    int r = fs_read(gen_fd, "versions", &all, err);

    for (size_t at = 0; r == 0 && at < all.len;) {
        char *end, *lf = memchr(all.data + at, '\n', all.len - at);
        unsigned long long n = strtoull(all.data + at, &end, 10);
        char *path AUTO(free_ptr) = NULL, *slash;

        if (!lf || *end != ' ' || n > 4096 || n > all.len - (size_t)(lf + 1 - all.data))
            return err_set(err, ERR_CORRUPT, "%s: versions: damaged at byte %zu",
                           w->from, at);
        path = xasprintf("versions/%.*s", (int)(lf - end - 1), end + 1);
        slash = strrchr(path, '/');
        if (strstr(path, "/.") || strstr(path, "//") || slash == path + 8 || !slash[1])
            return err_set(err, ERR_INVALID, "%s: versions: '%s' is no version's file",
                           w->from, path);
        *slash = '\0';
        r = fs_mkdirs(w->dirfd, path, REPO_MODE, err);
        *slash = '/';
        if (r == 0)
            r = fs_replace(w->dirfd, path, lf + 1, (size_t)n, 0444, err);
        at = (size_t)(lf + 1 - all.data) + (size_t)n;
    }
    return r;
}

static int
place_parts(struct restore *w, int gen_fd, struct err *err)
{
    int r = backup_check_seal(gen_fd, w->from, err);

    for (size_t i = 0; r == 0 && i < BACKUP_N_PARTS; i++) {
        r = fs_exists(gen_fd, backup_parts[i].name, err);
        if (r == 0 && backup_parts[i].optional)
            continue;
        w->out->has_key |= r == 1 && strcmp(backup_parts[i].name, "store.key") == 0;
        if (r >= 0)
            r = fs_copy(gen_fd, backup_parts[i].name, w->dirfd, backup_parts[i].place,
                        backup_parts[i].mode, err);
    }
    if (r == 0)
        r = restore_versions(w, gen_fd, err);
    return r < 0 ? r : fs_walk(gen_fd, ".", restore_hook, w, err);
}

static int
from_dir(struct restore *w, const char *generation, struct err *err)
{
    int dirfd AUTO(fs_close) = -1, gen_fd AUTO(fs_close) = -1;
    char *path AUTO(free_ptr) = NULL, *db_path AUTO(free_ptr) = NULL;
    int r = backup_open(w->from, &dirfd, err);

    if (r == 0 && generation && !backup_is_generation(generation, strlen(generation)))
        r = err_set(err, ERR_INVALID, "'%s' names no generation", generation);
    if (r == 0 && generation)
        snprintf(w->out->generation, sizeof(w->out->generation), "%s", generation);
    else if (r == 0)
        r = backup_each_generation(dirfd, w->from, keep_name, w->out->generation, err);
    path = xasprintf("generations/%s", w->out->generation);
    if (r == 0)
        r = fs_open_dir(&gen_fd, dirfd, path, err);
    if (r < 0 && generation && err->sys == ENOENT) {
        err_clear(err);
        r = err_set(err, ERR_NOTFOUND, "there is no generation %s: ls %s/generations",
                    generation, w->from);
    }
    if (r == 0)
        r = place_parts(w, gen_fd, err);
    if (r == 0)
        r = objects_open_local(&w->source, dirfd, err);
    db_path = xasprintf("%s/catalogue.db", w->path);
    if (r == 0)
        r = backup_each_object(db_path, restore_object, w, &w->out->n_versions, err);
    objects_close(w->source);
    w->source = NULL;
    return r;
}

static int
from_tar(struct restore *w, struct err *err)
{
    struct backup_unpack u = { .gen_fd = -1, .object = put_entry, .arg = w };
    char *db_path AUTO(free_ptr) = xasprintf("%s/catalogue.db", w->path);
    int r = fs_mkdirs(w->dirfd, "stage/generation", REPO_MODE, err);

    if (r == 0)
        r = fs_open_dir(&u.gen_fd, w->dirfd, "stage/generation", err);
    if (r == 0)
        r = backup_unpack(&u, w->from, err);
    if (r == 0)
        r = place_parts(w, u.gen_fd, err);
    snprintf(w->out->generation, sizeof(w->out->generation), "%s", u.generation);
    if (r == 0)
        r = fs_remove_tree(w->dirfd, "stage/generation", err);
    if (r == 0)
        r = backup_each_object(db_path, restore_object, w, &w->out->n_versions, err);
    fs_close(&u.gen_fd);
    return r;
}

/* A backup has whole files only. */
static int
all_whole(struct repo *r, struct err *err)
{
    int rc = db_begin(r->db, err);

    if (rc == 0)
        rc = db_run(r->db, err, "DELETE FROM cold", "");
    if (rc == 0)
        return db_commit(r->db, err);
    db_rollback(r->db);
    return rc;
}

/* The catalogue gets its write-ahead log, the store a key, and all of it is checked. */
static int
finish(struct restore *w, const struct db_schema *schemas, int n_schemas, bool *new_key,
       struct err *err)
{
    char *db_path AUTO(free_ptr) = xasprintf("%s/catalogue.db", w->path);
    struct db *db AUTO(db_close_p) = NULL;
    struct repo *r AUTO(repo_close_p) = NULL;
    struct repo_check check;
    int rc = w->to->ops->sync(w->to, err);

    if (rc == 0)
        rc = db_open(&db, db_path, 0, err);
    if (rc == 0)
        rc = db_set_up(db, err);
    if (rc == 0)
        rc = db_migrate(db, schemas, n_schemas, err); /* the new key is a fact */
    if (rc == 0 && w->key)
        rc = acc_key_adopt(w->dirfd, w->key, err);
    *new_key = rc == 0 && !w->key && !w->out->has_key;
    if (*new_key)
        rc = acc_key_renew(w->dirfd, db, err);
    db_close_p(&db);
    if (rc == 0)
        rc = repo_open(&r, w->path, schemas, n_schemas, err);
    if (rc == 0)
        rc = all_whole(r, err);
    if (rc == 0)
        rc = repo_check(r, &check, NULL, NULL, err);
    return rc == -ERR_FAILED ? err_ctx(err, "the backup is not whole") : rc;
}

static int
restore(struct restore *w, const char *generation, const struct db_schema *schemas,
        int n_schemas, bool *new_key, struct err *err)
{
    int rc = fs_open_dir(&w->dirfd, AT_FDCWD, w->path, err);

    if (rc == 0)
        rc = repo_make_folders(w->dirfd, err);
    if (rc == 0)
        rc = objects_open_local(&w->to, w->dirfd, err);
    if (rc == 0)
        rc = backup_is_tar(w->from) ? from_tar(w, err) : from_dir(w, generation, err);
    return rc < 0 ? rc : finish(w, schemas, n_schemas, new_key, err);
}

int
repo_restore(const char *from, const char *generation_or_null, const char *to,
             const char *key_or_null, const struct db_schema *schemas, int n_schemas,
             struct repo_backup *out, bool *new_key, struct err *err)
{
    struct restore w = { .from = from, .key = key_or_null, .dirfd = -1, .out = out };
    char *parent AUTO(free_ptr) = xasprintf("%s/..", to);
    struct err ignored = ERR_INIT;
    uint32_t random = 0;
    int rc = fs_exists(AT_FDCWD, to, err);

    memset(out, 0, sizeof(*out));
    *new_key = false;
    if (rc == 1)
        return err_set(err, ERR_CONFLICT,
                       "restore to %s: there is something already, and nothing is "
                       "restored over it: name a new directory, or move it away",
                       to);
    if (rc == 0)
        rc = random_bytes(&random, sizeof(random), err);
    w.path = xasprintf("%s.restoring-%08" PRIx32, to, random);
    if (rc == 0)
        rc = fs_mkdirs(AT_FDCWD, w.path, REPO_MODE, err);
    if (rc == 0) {
        rc = restore(&w, generation_or_null, schemas, n_schemas, new_key, err);
        objects_close(w.to);
        if (rc == 0)
            rc = fs_sync_all(w.dirfd, w.path, err); /* every folder of it */
        fs_close(&w.dirfd);
        if (rc == 0)
            rc = fs_rename_new(AT_FDCWD, w.path, AT_FDCWD, to, err);
        if (rc == 0)
            rc = fs_fsync_dir(AT_FDCWD, parent, err);
        else if (fs_remove_tree(AT_FDCWD, w.path, &ignored) < 0)
            err_clear(&ignored); /* its name says what it is */
    }
    free(w.path);
    return rc < 0 ? err_ctx(err, "restore %s", from) : 0;
}
