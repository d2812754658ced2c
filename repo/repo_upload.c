/* SPDX-License-Identifier: Apache-2.0 */
/* The uploads of a store: made, found again after a restart, told, forgotten. */
#include "repo/upload_int.h"

#include "base/clock.h"
#include "repo/gc.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define FOLDER "uploads"
#define DONE_S 600
#define BASE_BYTES ((int64_t)4 << 20) /* a smaller file is sent whole */

/* ---- all of them ---- */

static bool
is_id(const char *id)
{
    return strlen(id) == REPO_UPLOAD_ID_BYTES - 1 &&
           strspn(id, "0123456789abcdef") == REPO_UPLOAD_ID_BYTES - 1;
}

static void
close_dir(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}

/* Each name that may be an upload's. */
static int
each_id(int store_dirfd, int (*fn)(void *arg, int dirfd, const char *id, struct err *),
        void *arg, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    DIR *dir AUTO(close_dir) = NULL;
    const struct dirent *d;
    int rc = fs_open_dir(&fd, store_dirfd, FOLDER, err);

    if (rc == 0 && !(dir = fdopendir(fd)))
        return err_sys(err, errno, "list " FOLDER);
    if (rc < 0)
        return rc;
    fd = -1; /* dir's now */
    while (rc == 0 && (d = readdir(dir)))
        rc = is_id(d->d_name) ? fn(arg, dirfd(dir), d->d_name, err) : 0;
    return rc;
}

/* ---- in memory ---- */

static void
free_upload(struct repo_upload *u)
{
    pthread_mutex_lock(&u->lock);
    upload_hash_stop(u);
    pthread_mutex_unlock(&u->lock);
    upload_files_free(u->files, u->n_files);
    fs_close(&u->dirfd);
    fs_close(&u->parts_fd);
    pthread_mutex_destroy(&u->lock);
    pthread_cond_destroy(&u->moved);
    free(u);
}

static void
free_upload_p(struct repo_upload **u)
{
    if (*u)
        free_upload(*u);
}

static struct repo_upload *
new_upload(struct repo_uploads *us)
{
    struct repo_upload *u = xcalloc(1, sizeof(*u));
    pthread_condattr_t monotonic;

    u->us = us;
    u->dirfd = u->parts_fd = -1;
    pthread_mutex_init(&u->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&u->moved, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return u;
}

int
repo_uploads_open(struct repo_uploads **out, const char *store_path, struct err *err)
{
    struct repo_uploads *us = xcalloc(1, sizeof(*us));
    int rc;

    us->dirfd = us->store_dirfd = -1;
    pthread_mutex_init(&us->lock, NULL);
    rc = fs_open_dir(&us->store_dirfd, AT_FDCWD, store_path, err);
    if (rc == 0)
        rc = fs_mkdirs(us->store_dirfd, FOLDER, REPO_MODE, err);
    if (rc == 0)
        rc = fs_open_dir(&us->dirfd, us->store_dirfd, FOLDER, err);
    if (rc < 0) {
        repo_uploads_close(us);
        return err_ctx(err, FOLDER);
    }
    repo_uploads_sweep(us->store_dirfd);
    *out = us;
    return 0;
}

void
repo_uploads_close(struct repo_uploads *us)
{
    if (!us)
        return;
    for (struct repo_upload *u = us->all, *next; u; u = next) {
        next = u->next;
        free_upload(u);
    }
    fs_close(&us->dirfd);
    fs_close(&us->store_dirfd);
    pthread_mutex_destroy(&us->lock);
    free(us);
}

/* Those that nobody uses need no memory: the disk has all of them. Under us->lock. */
static void
shrink(struct repo_uploads *us)
{
    for (struct repo_upload **at = &us->all; *at;) {
        struct repo_upload *u = *at;

        pthread_mutex_lock(&u->lock);
        const bool is_idle = u->n_users == 0 && !u->parts &&
                             (u->n_hashers == 0 || u->is_dropped || u->is_committed);
        pthread_mutex_unlock(&u->lock);
        if (is_idle) {
            *at = u->next;
            free_upload(u);
        } else {
            at = &u->next;
        }
    }
}

void
repo_upload_put(struct repo_upload *u)
{
    struct repo_uploads *us = u->us;

    pthread_mutex_lock(&us->lock);
    u->n_users--;
    pthread_mutex_unlock(&us->lock);
}

void
repo_upload_put_p(struct repo_upload **u)
{
    if (*u)
        repo_upload_put(*u);
}

/* From the disk. Under us->lock. */
static int
load(struct repo_upload **out, struct repo_uploads *us, const char *id, struct err *err)
{
    struct repo_upload *u AUTO(free_upload_p) = new_upload(us);
    int rc = fs_open_dir(&u->dirfd, us->dirfd, id, err);

    snprintf(u->id, sizeof(u->id), "%s", id);
    if (rc == 0)
        rc = fs_open(&u->parts_fd, u->dirfd, "parts",
                     O_WRONLY | O_APPEND | O_NOFOLLOW | O_CREAT, 0600, err);
    if (rc == 0)
        rc = upload_read_about(u, err);
    if (rc == 0)
        rc = upload_read_parts(u, err);
    if (rc == 0) {
        rc = fs_exists(u->dirfd, "index.index", err);
        u->has_index = rc == 1;
    }
    if (rc >= 0) {
        rc = upload_read_tree(u, err);
        u->is_committed = rc == 1;
    }
    if (rc < 0)
        return rc;
    *out = u;
    u = NULL;
    return 0;
}

/* Under us->lock. */
static int
find(struct repo_upload **out, struct repo_uploads *us, const char *id, struct err *err)
{
    struct repo_upload *u = us->all;
    int rc = 0;

    while (u && strcmp(u->id, id) != 0)
        u = u->next;
    if (!u) {
        shrink(us);
        rc = load(&u, us, id, err);
        if (rc < 0)
            return rc;
        u->next = us->all;
        us->all = u;
    }
    u->n_users++;
    *out = u;
    return 0;
}

int
repo_upload_find(struct repo_upload **out, struct repo_uploads *us, const char *id,
                 const char *subject, struct err *err)
{
    struct repo_upload *u = NULL;
    int rc = is_id(id) ? 0 : 1;

    if (rc == 0) {
        pthread_mutex_lock(&us->lock);
        rc = find(&u, us, id, err);
        pthread_mutex_unlock(&us->lock);
        if (rc < 0 && (err->code != ERR_IO || err->sys != ENOENT))
            return rc;
        err_clear(err);
    }
    if (rc == 0 && strcmp(u->subject, subject) == 0 && !u->is_dropped) {
        *out = u;
        return 0;
    }
    if (u)
        repo_upload_put(u);
    return err_set(err, ERR_NOTFOUND,
                   "%s has no upload '%.40s': one that nothing comes for goes after a "
                   "day",
                   subject, id);
}

/* ---- a new one, or one that is gone on with ---- */

/* The same state of a file: by its digest when both are known, else by its tag. Two
 * pushes of a caller's that run at once must not share what is not alike. */
static bool
is_same_state(const struct upload_file *a, const struct upload_file *b)
{
    return strcmp(a->path, b->path) == 0 && a->size_bytes == b->size_bytes &&
           (a->has_digest && b->has_digest ? digest_eq(&a->digest, &b->digest)
                                           : a->tag[0] && strcmp(a->tag, b->tag) == 0);
}

static bool
is_same_list(const struct repo_upload *u, const struct upload_file *v, int n)
{
    bool same = u->n_files == n;

    for (int i = 0; same && i < n; i++)
        same = is_same_state(&u->files[i], &v[i]);
    return same;
}

struct search {
    struct repo_uploads *us;
    const char *subject, *model;
    const struct upload_file *files;
    int n_files, n_own;
    struct repo_upload *found;
};

static int
look_at(void *arg, int dirfd, const char *id, struct err *err)
{
    struct search *s = arg;
    struct repo_upload *u;
    char *tree AUTO(free_ptr) = xasprintf("%s/tree", id);

    if (s->found || faccessat(dirfd, tree, F_OK, 0) == 0)
        return 0;
    if (find(&u, s->us, id, err) < 0) {
        err_clear(err); /* half made, or somebody forgets it just now */
        return 0;
    }
    s->n_own += strcmp(u->subject, s->subject) == 0 && !u->is_committed;
    if (strcmp(u->subject, s->subject) == 0 && strcmp(u->model, s->model) == 0 &&
        !u->is_committed && !u->is_committing && !u->is_dropped &&
        is_same_list(u, s->files, s->n_files))
        s->found = u;
    else
        u->n_users--;
    return 0;
}

/* What the caller knows by now. */
static void
learn(struct repo_upload *u, const struct upload_file *v)
{
    pthread_mutex_lock(&u->lock);
    for (int i = 0; i < u->n_files; i++) {
        struct upload_file *f = &u->files[i];

        snprintf(f->tag, sizeof(f->tag), "%s", v[i].tag);
        if (v[i].has_digest)
            f->digest = v[i].digest;
        f->has_digest |= v[i].has_digest;
    }
    pthread_mutex_unlock(&u->lock);
}

/* 1: the caller may read it, and it is there: what was lost is sent again, which is the
 * way to mend it. */
static int
has_whole(struct repo *r, const struct upload_file *f, struct err *err)
{
    struct objects *o = r->objects;
    int64_t size_bytes = -1;
    int rc = repo_object_may_read(r, &f->digest, err);

    if (rc == 1)
        rc = o->ops->has(o, &f->digest, &size_bytes, err);
    return rc == 1 ? size_bytes == f->size_bytes : rc;
}

/* `have`, `base`, and the index that shards are held against. */
static int
compare(struct repo_upload *u, struct repo *r, struct err *err)
{
    struct buf path AUTO(buf_release) = BUF_INIT;
    int rc = 0;

    pthread_mutex_lock(&u->lock);
    for (int i = 0; rc >= 0 && i < u->n_files; i++) {
        struct upload_file *f = &u->files[i];
        struct db_stmt *st AUTO(db_done_p) = NULL;

        f->has_base = false;
        rc = f->has_digest ? has_whole(r, f, err) : 0;
        f->is_have = rc == 1;
        if (rc != 0 || f->size_bytes < BASE_BYTES || !u->model[0])
            continue;
        buf_clear(&path);
        repo_path_encode(f->path, &path);
        rc = db_query(r->db, &st, err,
                      "SELECT f.object FROM manifest_file f JOIN version v ON v.digest "
                      "= f.manifest JOIN model m ON m.id = v.model_id WHERE m.name = ? "
                      "AND f.path = ? AND v.state <> 'deleted' ORDER BY v.number DESC "
                      "LIMIT 1",
                      "tt", u->model, buf_str(&path));
        if (rc == 0)
            rc = db_step(st, err);
        f->has_base = rc == 1 && repo_column_digest(st, 0, &f->base);
        if (f->has_base)
            rc = repo_object_may_read(r, &f->base, err);
        f->has_base = f->has_base && rc == 1;
    }
    pthread_mutex_unlock(&u->lock);
    return rc < 0 ? rc : 0;
}

int
upload_room(const struct repo_uploads *us, int64_t bytes, struct err *err)
{
    struct statvfs fs;

    return fstatvfs(us->dirfd, &fs) < 0 /* unknown: nothing to stop for */
               ? 0
               : repo_room_for_bytes((int64_t)fs.f_bavail * (int64_t)fs.f_frsize,
                                     us->min_free_bytes, bytes, err);
}

/* For all that has still to come: nothing is reserved for it. What does not fit is
 * forgotten at once, if nothing of it came. */
static int
has_room(struct repo_upload *u, struct repo *r, struct err *err)
{
    struct err ignored = ERR_INIT;
    int64_t low, want_bytes = 0, came_bytes = 0;
    int rc = repo_min_free(r, &low, err);

    if (rc < 0)
        return rc;
    u->us->min_free_bytes = low;
    pthread_mutex_lock(&u->lock);
    for (int i = 0; i < u->n_files; i++) {
        const struct upload_file *f = &u->files[i];

        want_bytes += f->is_have ? 0 : f->size_bytes;
        for (size_t k = 0; k < f->came.n; k++)
            came_bytes += f->came.v[k].to - f->came.v[k].from;
    }
    pthread_mutex_unlock(&u->lock);
    rc = upload_room(u->us, want_bytes > came_bytes ? want_bytes - came_bytes : 0, err);
    if (rc < 0 && came_bytes == 0 && repo_upload_drop(u, &ignored) < 0)
        err_clear(&ignored); /* it goes in a day, then */
    return rc;
}

static int
keep_index(struct repo_upload *u, struct repo *r, struct err *err)
{
    struct objects *o = r->objects;
    int rc = 0;

    for (int i = 0; i < u->n_files; i++)
        if (u->files[i].is_have && strcmp(u->files[i].path, REPO_MODEL_INDEX) == 0) {
            rc = fs_unlink(u->dirfd, "index.index", err);
            if (rc == 0)
                rc = o->ops->link(o, &u->files[i].digest, u->dirfd, "index.index", err);
            u->has_index = rc == 0;
            if (rc == -ERR_UNSUPPORTED || rc == -ERR_NOTFOUND) {
                err_clear(err); /* they are checked later, then */
                rc = 0;
            }
        }
    return rc;
}

static int
make(struct repo_upload **out, struct repo_uploads *us, const struct search *s,
     struct upload_file **files, struct err *err)
{
    struct repo_upload *u AUTO(free_upload_p) = new_upload(us);
    uint64_t random[2];
    int rc = random_bytes(random, sizeof(random), err);

    if (rc < 0)
        return rc;
    snprintf(u->id, sizeof(u->id), "%016" PRIx64 "%016" PRIx64, random[0], random[1]);
    snprintf(u->subject, sizeof(u->subject), "%s", s->subject);
    snprintf(u->model, sizeof(u->model), "%s", s->model);
    u->files = *files;
    u->n_files = s->n_files;
    *files = NULL;
    rc = fs_mkdirs(us->dirfd, u->id, REPO_MODE, err);
    if (rc == 0)
        rc = fs_open_dir(&u->dirfd, us->dirfd, u->id, err);
    if (rc == 0)
        rc = fs_open(&u->parts_fd, u->dirfd, "parts",
                     O_WRONLY | O_APPEND | O_CREAT | O_EXCL, 0600, err);
    if (rc < 0)
        return rc;
    u->n_users = 1;
    u->next = us->all;
    us->all = u;
    *out = u;
    u = NULL;
    return 0;
}

static int
find_or_make(struct repo_upload **out, struct repo_uploads *us, struct search *s,
             struct upload_file **files, struct err *err)
{
    int rc;

    pthread_mutex_lock(&us->lock);
    shrink(us);
    rc = each_id(us->store_dirfd, look_at, s, err);
    if (rc == 0 && !s->found && s->n_own >= REPO_UPLOADS_MAX)
        rc = err_set(err, ERR_LIMIT,
                     "%s has %d uploads under way: end them, or wait until they are "
                     "over, a day after their last part",
                     s->subject, s->n_own);
    if (rc == 0 && !s->found)
        rc = make(out, us, s, files, err);
    else if (rc == 0)
        *out = s->found;
    pthread_mutex_unlock(&us->lock);
    if (rc == 0 && s->found)
        learn(s->found, *files);
    return rc;
}

int
repo_upload_begin(struct repo_upload **out, struct repo_uploads *us, struct repo *r,
                  const cJSON *ask, struct err *err)
{
    struct search s = { .us = us, .subject = acc_actor(r->acc) };
    struct upload_file *files = NULL;
    struct repo_manifest m;
    const char *model;
    int rc = json_str(ask, "model", "", &model, "the upload", err);

    if (rc == 0 && model[0])
        rc = repo_check_model_name(model, err);
    if (rc == 0)
        rc = upload_files_parse(cJSON_GetObjectItemCaseSensitive(ask, "files"), &files,
                                &s.n_files, false, err);
    if (rc < 0)
        return rc;
    s.model = model;
    s.files = files;
    upload_manifest(files, s.n_files, &m);
    rc = repo_quota_for_files(r, model[0] ? model : NULL, &m, err);
    free(m.files);
    repo_uploads_sweep(us->store_dirfd);
    if (rc == 0)
        rc = find_or_make(out, us, &s, &files, err);
    if (files)
        upload_files_free(files, s.n_files);
    if (rc < 0)
        return rc;
    rc = compare(*out, r, err);
    if (rc == 0)
        rc = has_room(*out, r, err);
    if (rc == 0)
        rc = keep_index(*out, r, err);
    if (rc == 0)
        rc = upload_write_about(*out, err);
    if (rc < 0)
        repo_upload_put(*out);
    return rc;
}

/* ---- telling, forgetting ---- */

void
repo_upload_json(struct repo_upload *u, cJSON *out)
{
    cJSON *list = NULL;
    struct buf text AUTO(buf_release) = BUF_INIT;

    json_put_str(out, "id", u->id);
    list = cJSON_AddArrayToObject(out, "files");
    pthread_mutex_lock(&u->lock);
    for (int i = 0; i < u->n_files; i++) {
        const struct upload_file *f = &u->files[i];
        const bool whole = f->size_bytes > 0 && upload_is_whole(f);
        char digest[REPO_DIGEST_BYTES];
        cJSON *o = cJSON_CreateObject(), *came;

        json_put_str(o, "path", f->path);
        json_put_int(o, "size", f->size_bytes);
        json_put_str(o, "state",
                     f->is_have                 ? "have"
                     : whole || u->is_committed ? "come"
                                                : "want");
        if (f->has_base && !f->is_have) {
            repo_digest_text(&f->base, digest);
            json_put_str(o, "base", digest);
        }
        came = f->came.n && !whole ? cJSON_AddArrayToObject(o, "came") : NULL;
        for (size_t k = 0; came && k < f->came.n; k++) {
            cJSON *pair = cJSON_CreateArray();

            json_put_int(pair, NULL, f->came.v[k].from);
            json_put_int(pair, NULL, f->came.v[k].to - f->came.v[k].from);
            cJSON_AddItemToArray(came, pair);
        }
        cJSON_AddItemToArray(list, o);
    }
    if (u->is_committed) {
        repo_tree_text(&u->tree.digest, "", &text);
        json_put_str(out, "tree", buf_str(&text));
    }
    pthread_mutex_unlock(&u->lock);
}

int
repo_upload_drop(struct repo_upload *u, struct err *err)
{
    pthread_mutex_lock(&u->lock);
    u->is_dropped = true;
    for (struct repo_part *p = u->parts; p; p = p->next)
        p->is_taken = true;
    pthread_mutex_unlock(&u->lock);
    return fs_remove_tree(u->us->dirfd, u->id, err);
}

static int
sweep_one(void *arg, int dirfd, const char *id, struct err *err)
{
    char *parts AUTO(free_ptr) = xasprintf("%s/parts", id);
    char *tree AUTO(free_ptr) = xasprintf("%s/tree", id);
    int64_t stays_s = DONE_S; /* committed: only for who did not hear the answer */
    struct stat st;

    (void)arg;
    if (fstatat(dirfd, tree, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        stays_s = REPO_UPLOAD_S;
        if (fstatat(dirfd, parts, &st, AT_SYMLINK_NOFOLLOW) < 0 &&
            fstatat(dirfd, id, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return 0;
    }
    if (time(NULL) - st.st_mtime > stays_s && fs_remove_tree(dirfd, id, err) < 0)
        err_clear(err); /* the next one tries again */
    return 0;
}

void
repo_uploads_sweep(int store_dirfd)
{
    struct err err = ERR_INIT;

    if (fs_exists(store_dirfd, FOLDER, &err) == 1 &&
        each_id(store_dirfd, sweep_one, NULL, &err) < 0)
        err_clear(&err);
    err_clear(&err);
}
