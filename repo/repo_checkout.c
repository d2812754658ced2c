/* SPDX-License-Identifier: Apache-2.0 */
/* From a manifest to a tree of files: durable ones under a name that appears last, and
 * short-lived views for a reader. */
#include "repo/gc.h"
#include "repo/repo_int.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define RANDOM_NAME_BYTES 32
#define APART_BYTES ((int64_t)1 << 20) /* a smaller file is hashed after its copy */

/* PREFIX and 16 random hex digits. */
static int
random_name(const char *prefix, char out[RANDOM_NAME_BYTES], struct err *err)
{
    uint64_t random;
    int r = random_bytes(&random, sizeof(random), err);

    if (r == 0)
        snprintf(out, RANDOM_NAME_BYTES, "%s%016" PRIx64, prefix, random);
    return r;
}

/* What TensorFlow writes even when there is nothing in it. */
static const char *const always[] = { "assets", "variables" };
#define N_ALWAYS (sizeof(always) / sizeof(always[0]))

static bool
is_saved_model(const struct repo_manifest *m)
{
    for (int i = 0; i < m->n_files; i++)
        if (strncmp(m->files[i].path, "saved_model.", 12) == 0)
            return true;
    return false;
}

int
repo_manifest_dirs(const struct repo_manifest *m, repo_dir_fn *fn, void *arg,
                   struct err *err)
{
    struct buf last AUTO(buf_release) = BUF_INIT;
    int r = 0;

    for (size_t i = 0; r == 0 && i < N_ALWAYS && is_saved_model(m); i++)
        r = fn(arg, always[i], err);
    for (int i = 0; r == 0 && i < m->n_files; i++) {
        const char *path = m->files[i].path;

        for (const char *s = path; r == 0 && (s = strchr(s, '/')); s++) {
            char *dir = xstrndup(path, (size_t)(s - path));

            /* the parents of neighbours are mostly the same */
            if (strncmp(buf_str(&last), path, (size_t)(s - path) + 1) != 0)
                r = fn(arg, dir, err);
            free(dir);
        }
        buf_clear(&last);
        buf_adds(&last, path);
    }
    return r;
}

static int
make_dir(void *dirfd, const char *path, struct err *err)
{
    return fs_mkdirs(*(const int *)dirfd, path, 0755, err);
}

static int
sync_dir(void *dirfd, const char *path, struct err *err)
{
    return fs_fsync_dir(*(const int *)dirfd, path, err);
}

/* Hashes an object while somebody else copies it from the same cached pages: on large
 * files that takes no longer than the copy alone. */
struct hasher {
    int fd;
    const struct digest *want;
    const char *what;
    struct err err;
    pthread_t thread;
    bool is_apart; /* the thread runs */
};

static void *
hash_main(void *arg)
{
    struct hasher *h = arg;

    if (objects_verify_fd(h->fd, h->want, h->what, &h->err) < 0)
        return h;
    return NULL;
}

/* What hash_main found, unless the copy has failed already. */
static int
hasher_end(struct hasher *h, struct err *err)
{
    if (h->is_apart)
        pthread_join(h->thread, NULL);
    else
        hash_main(h);
    if (err->code == ERR_OK)
        *err = h->err;
    return -(int)err->code;
}

int
repo_object_copy(struct repo *r, const struct repo_file *f, int dirfd, struct err *err)
{
    char from[DIGEST_HEX_BYTES + 32], hex[DIGEST_HEX_BYTES];
    int in AUTO(fs_close) = -1;
    struct hasher h = { .want = &f->digest, .what = f->path, .err = ERR_INIT };
    int rc = r->objects->ops->open(r->objects, &f->digest, &in, err);

    if (rc < 0)
        return rc;
    /* by descriptor, for a backend need not have a path; and with a place of its own in
     * the file, which the hasher's does not share */
    snprintf(from, sizeof(from), "/proc/self/fd/%d", in);
    digest_hex(&f->digest, hex);
    h.fd = in;
    h.is_apart = f->size_bytes >= APART_BYTES &&
                 pthread_create(&h.thread, NULL, hash_main, &h) == 0;
    rc = fs_copy(AT_FDCWD, from, dirfd, f->path, 0444, err);
    if (rc == 0 || h.is_apart)
        rc = hasher_end(&h, err);
    return rc < 0 ? err_ctx(err, "object %s", hex) : 0;
}

static int
bad_size(const struct repo_file *f, int64_t size_bytes, struct err *err)
{
    return err_set(err, ERR_CORRUPT,
                   "%s: its object has %" PRId64 " bytes, not %" PRId64
                   ": push the same files again, or restore it",
                   f->path, size_bytes, f->size_bytes);
}

/* The same in the time of cp: only the size is looked at. */
static int
copy_quick(struct repo *r, const struct repo_file *f, int dirfd, struct err *err)
{
    char from[32];
    struct stat st;
    int in AUTO(fs_close) = -1;
    int rc = r->objects->ops->open(r->objects, &f->digest, &in, err);

    if (rc < 0)
        return rc;
    if (fstat(in, &st) < 0)
        return err_sys(err, errno, "stat the object");
    if (st.st_size != f->size_bytes)
        return bad_size(f, st.st_size, err);
    snprintf(from, sizeof(from), "/proc/self/fd/%d", in);
    return fs_copy_unsynced(AT_FDCWD, from, dirfd, f->path, 0444, err);
}

static int
place(struct repo *r, const struct repo_file *f, int dirfd, enum repo_checkout_how how,
      struct err *err)
{
    int rc;

    if (how == REPO_LINK) {
        int64_t size_bytes = -1;

        rc = r->objects->ops->link(r->objects, &f->digest, dirfd, f->path, err);
        if (rc == 0)
            rc = r->objects->ops->has(r->objects, &f->digest, &size_bytes, err);
        if (rc == 1 && size_bytes != f->size_bytes)
            return bad_size(f, size_bytes, err);
        if (rc != -ERR_UNSUPPORTED)
            return rc < 0 ? err_ctx(err, "%s", f->path) : 0;
        err_clear(err);
    }
    rc = how == REPO_COPY_QUICK ? copy_quick(r, f, dirfd, err)
                                : repo_object_copy(r, f, dirfd, err);
    return rc < 0 ? err_ctx(err, "%s", f->path) : 0;
}

static int
fill(struct repo *r, const struct repo_manifest *m, int dirfd,
     enum repo_checkout_how how, struct err *err)
{
    int rc = repo_manifest_dirs(m, make_dir, &dirfd, err);

    for (int i = 0; rc == 0 && i < m->n_files; i++) {
        repo_lease_keep(r);
        rc = place(r, &m->files[i], dirfd, how, err);
    }
    return rc;
}

/* Links and copies into `stage`, everything synced (but of a quick copy), then the
 * rename to `name`. */
static int
checkout(struct repo *r, const struct repo_manifest *m, int parent_fd,
         const char *stage, const char *name, enum repo_checkout_how how,
         struct err *err)
{
    const bool sync = how != REPO_COPY_QUICK;
    int fd AUTO(fs_close) = -1;
    int rc = fs_mkdirs(parent_fd, stage, 0755, err);

    if (rc == 0)
        rc = fs_open_dir(&fd, parent_fd, stage, err);
    if (rc == 0)
        rc = fill(r, m, fd, how, err);
    if (rc == 0 && sync)
        rc = repo_manifest_dirs(m, sync_dir, &fd, err);
    if (rc == 0 && sync)
        rc = fs_fsync_dir(fd, ".", err);
    if (rc == 0)
        rc = fs_rename_new(parent_fd, stage, parent_fd, name, err);
    return rc < 0 || !sync ? rc : fs_fsync_dir(parent_fd, ".", err);
}

/* "a/b/" is the name "b" in the directory "a/". */
static void
split(const char *dest, char **parent, char **name)
{
    size_t end = strlen(dest), start;

    while (end > 1 && dest[end - 1] == '/')
        end--;
    for (start = end; start > 0 && dest[start - 1] != '/'; start--)
        ;
    *parent = start > 0 ? xstrndup(dest, start) : xstrdup(".");
    *name = xstrndup(dest + start, end - start);
}

int
repo_checkout(struct repo *r, const struct digest *manifest, int dest_dirfd,
              const char *dest, enum repo_checkout_how how, struct err *err)
{
    struct repo_manifest m AUTO(repo_manifest_release) = { .files = NULL };
    struct err ignored = ERR_INIT;
    char *parent AUTO(free_ptr) = NULL, *name AUTO(free_ptr) = NULL;
    char stage[RANDOM_NAME_BYTES];
    int parent_fd AUTO(fs_close) = -1;
    int rc;

    split(dest, &parent, &name);
    rc = fs_open_dir(&parent_fd, dest_dirfd, parent, err);
    if (rc == 0)
        rc = fs_exists(parent_fd, name, err);
    if (rc == 1)
        return err_set(err, ERR_CONFLICT, "%s: there is something already", dest);
    if (rc == 0)
        rc = repo_manifest_get(r, manifest, &m, err);
    if (rc == 0)
        rc = random_name(".sluice-", stage, err);
    if (rc == 0) {
        rc = checkout(r, &m, parent_fd, stage, name, how, err);
        if (rc < 0 && fs_remove_tree(parent_fd, stage, &ignored) < 0)
            err_clear(&ignored); /* the first error is the one to tell */
    }
    return rc < 0 ? err_ctx(err, "make %s", dest) : 0;
}

/* ---- views -------------------------------------------------------------------------
 */

int
repo_stage_open(struct repo *r, struct repo_view *out, struct err *err)
{
    struct repo_view v AUTO(repo_view_close) = REPO_VIEW_INIT;
    char name[RANDOM_NAME_BYTES];

    repo_stage_sweep(r);
    int rc = random_name("view-", name, err);
    if (rc < 0)
        return rc;
    v.r = r;
    v.path = xasprintf("%s/stage/%s", r->path, name);
    rc = fs_mkdirs(AT_FDCWD, v.path, REPO_MODE, err);
    if (rc == 0)
        rc = fs_open_dir(&v.lock_fd, AT_FDCWD, v.path, err);
    if (rc < 0)
        return rc;
    flock(v.lock_fd, LOCK_SH | LOCK_NB); /* says "alive" to repo_stage_sweep */
    *out = v;
    v = (struct repo_view)REPO_VIEW_INIT;
    return 0;
}

/* Where the store cannot be written. What a kill leaves there nobody sweeps. */
static int
open_outside(struct repo *r, struct repo_view *out, struct err *err)
{
    struct repo_view v AUTO(repo_view_close) = REPO_VIEW_INIT;
    const char *tmp = getenv("TMPDIR");
    char *path = xasprintf("%s/sluice-view-XXXXXX", tmp && tmp[0] ? tmp : "/tmp");
    int rc;

    if (!mkdtemp(path)) {
        rc = err_sys(err, errno, "make %s", path);
        free(path);
        return rc;
    }
    v.r = r;
    v.path = path;
    rc = fs_open_dir(&v.lock_fd, AT_FDCWD, path, err);
    if (rc < 0)
        return rc;
    *out = v;
    v = (struct repo_view)REPO_VIEW_INIT;
    return 0;
}

int
repo_view_open(struct repo *r, const struct digest *manifest, struct repo_view *out,
               struct err *err)
{
    struct repo_manifest m AUTO(repo_manifest_release) = { .files = NULL };
    struct repo_view v AUTO(repo_view_close) = REPO_VIEW_INIT;
    int rc = repo_manifest_get(r, manifest, &m, err);

    if (rc == 0)
        rc = r->is_read_only ? open_outside(r, &v, err) : repo_stage_open(r, &v, err);
    if (rc < 0)
        return rc;
    rc = fill(r, &m, v.lock_fd, r->is_read_only ? REPO_COPY_QUICK : REPO_LINK, err);
    if (rc < 0)
        return err_ctx(err, "view");
    *out = v;
    v = (struct repo_view)REPO_VIEW_INIT;
    return 0;
}

static int
seal_dir(void *arg, const struct fs_entry *e, struct err *err)
{
    (void)arg;
    if (S_ISDIR(e->st.st_mode) && fchmodat(e->dirfd, e->name, 0555, 0) < 0)
        return err_sys(err, errno, "make %s read-only", e->path);
    return 0;
}

int
repo_view_seal(struct repo_view *v, struct err *err)
{
    int rc = fs_walk(v->lock_fd, ".", seal_dir, NULL, err);

    if (rc == 0 && fchmod(v->lock_fd, 0555) < 0)
        rc = err_sys(err, errno, "make %s read-only", v->path);
    return rc;
}

void
repo_view_close(struct repo_view *v)
{
    struct err err = ERR_INIT;

    if (v->path && fs_remove_tree(AT_FDCWD, v->path, &err) < 0)
        err_clear(&err); /* the sweep finds it */
    free(v->path);
    fs_close(&v->lock_fd);
    *v = (struct repo_view)REPO_VIEW_INIT;
}
