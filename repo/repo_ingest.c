/* SPDX-License-Identifier: Apache-2.0 */
/* From a directory to objects: one pass over each file, rows later. The source may be
 * written by somebody else while it is read: what each file was is noted when the walk
 * meets it and compared after it was read, and once more when all were. */
#include "repo/repo_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct ingest {
    struct repo *r;
    struct repo_manifest *m;
    struct stat *seen; /* of each file, in the manifest's order */
    bool *is_new;      /* this ingest stored the file's object */
    size_t n_alloc;
    bool text_is_new;   /* it stored the manifest */
    int64_t text_bytes; /* of the manifest so far */
    int fd;             /* of the file being read */
};

static bool
is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino &&
           a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
           a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static int
modified(const char *path, struct err *err)
{
    return err_set(err, ERR_CONFLICT,
                   "%s: modified during push; push again when its writer is done",
                   path);
}

static int64_t
read_file(void *arg, void *p, size_t n, struct err *err)
{
    const struct ingest *in = arg;
    ssize_t got;

    do
        got = read(in->fd, p, n);
    while (got < 0 && errno == EINTR);
    return got < 0 ? err_sys(err, errno, "read") : got;
}

static int
is_known(void *arg, const struct digest *d, struct err *err)
{
    struct ingest *in = arg;
    int64_t one;

    return db_get_int(in->r->db, &one, err, "SELECT 1 FROM object WHERE digest = ?",
                      "b", d->b, sizeof(d->b));
}

static int
add_file(struct ingest *in, const struct fs_entry *e, const struct objects_put *put,
         struct err *err)
{
    struct repo_manifest *m = in->m;
    struct buf encoded AUTO(buf_release) = BUF_INIT;
    const size_t i = (size_t)m->n_files;

    repo_path_encode(e->path, &encoded);
    in->text_bytes += 90 + (int64_t)encoded.len; /* at most */
    if (m->n_files == REPO_FILES_MAX || in->text_bytes > (int64_t)REPO_MANIFEST_MAX)
        return err_set(err, ERR_LIMIT, "more than %d files, or too long names",
                       REPO_FILES_MAX);
    if (strlen(e->path) > REPO_PATH_MAX)
        return err_set(err, ERR_LIMIT, "a path longer than %d bytes", REPO_PATH_MAX);
    if (i == in->n_alloc) {
        in->n_alloc = i ? 2 * i : 16;
        m->files = xreallocarray(m->files, in->n_alloc, sizeof(*m->files));
        in->seen = xreallocarray(in->seen, in->n_alloc, sizeof(*in->seen));
        in->is_new = xreallocarray(in->is_new, in->n_alloc, sizeof(*in->is_new));
    }
    m->files[i] = (struct repo_file){ .path = xstrdup(e->path),
                                      .digest = put->digest,
                                      .size_bytes = put->size_bytes };
    in->seen[i] = e->st;
    in->is_new[i] = put->is_new;
    m->n_files++;
    m->size_bytes += put->size_bytes;
    return 0;
}

static bool
is_store(const struct repo *r, const struct stat *dir)
{
    struct stat st;

    return fstat(r->dirfd, &st) == 0 && st.st_dev == dir->st_dev &&
           st.st_ino == dir->st_ino;
}

static int
ingest_entry(void *arg, const struct fs_entry *e, struct err *err)
{
    struct ingest *in = arg;
    struct objects_put put = {
        .read = read_file, .known = is_known, .arg = in, .what = e->path
    };
    int fd AUTO(fs_close) = -1;
    struct stat st;
    int r;

    if (S_ISDIR(e->st.st_mode))
        return is_store(in->r, &e->st)
                   ? err_set(err, ERR_INVALID,
                             "%s is the store itself: push a directory beside it",
                             e->path)
                   : 0;
    r = fs_open(&fd, e->dirfd, e->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, err);
    if (r < 0)
        return err->sys == ENOENT || err->sys == ELOOP
                   ? (err_clear(err), modified(e->path, err))
                   : r;
    if (fstat(fd, &st) < 0)
        return err_sys(err, errno, "stat %s", e->path);
    if (!is_same(&st, &e->st))
        return modified(e->path, err);
    in->fd = fd;
    r = in->r->objects->ops->put(in->r->objects, &put, err);
    if (r < 0)
        return r;
    r = add_file(in, e, &put, err);
    if (r < 0)
        return r;
    if (fstat(fd, &st) < 0)
        return err_sys(err, errno, "stat %s", e->path);
    return is_same(&st, &e->st) && put.size_bytes == st.st_size
               ? 0
               : modified(e->path, err);
}

static int
check_unchanged(const struct ingest *in, int dirfd, struct err *err)
{
    for (int i = 0; i < in->m->n_files; i++) {
        struct stat st;

        if (fstatat(dirfd, in->m->files[i].path, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            !is_same(&st, &in->seen[i]))
            return modified(in->m->files[i].path, err);
    }
    return 0;
}

/* ---- the manifest, an object like the others ----------------------------------------
 */

struct text_source {
    struct ingest *in;
    struct buf text;
    size_t at;
};

static int64_t
read_text(void *arg, void *p, size_t n, struct err *err)
{
    struct text_source *t = arg;
    const size_t left = t->text.len - t->at;

    (void)err;
    if (n > left)
        n = left;
    memcpy(p, buf_str(&t->text) + t->at, n);
    t->at += n;
    return (int64_t)n;
}

static int
is_text_known(void *arg, const struct digest *d, struct err *err)
{
    return is_known(((struct text_source *)arg)->in, d, err);
}

static int
put_manifest(struct ingest *in, struct err *err)
{
    struct text_source t = { .in = in, .text = BUF_INIT };
    struct objects_put put = {
        .read = read_text, .known = is_text_known, .arg = &t, .what = "the manifest"
    };
    int r;

    repo_manifest_format(in->m, &t.text);
    r = in->r->objects->ops->put(in->r->objects, &put, err);
    in->m->digest = put.digest;
    in->text_is_new = put.is_new;
    buf_release(&t.text);
    return r;
}

/* ---- giving up ---- */

/* Under the write lock nobody else can be about to name the object in a row
 * (repo_manifest_record looks for it there). */
static int
drop_object(struct repo *r, const struct digest *d, struct err *err)
{
    int64_t one;
    int rc = db_get_int(r->db, &one, err, "SELECT 1 FROM object WHERE digest = ?", "b",
                        d->b, sizeof(d->b));

    return rc != 0 ? rc : r->objects->ops->delete (r->objects, d, err);
}

/* is_new NULL: all files. */
static void
drop(struct repo *r, const struct repo_manifest *m, const bool *is_new, bool text)
{
    struct err err = ERR_INIT;
    int rc = db_begin(r->db, &err);

    for (int i = 0; rc >= 0 && i < m->n_files; i++)
        if (!is_new || is_new[i])
            rc = drop_object(r, &m->files[i].digest, &err);
    if (rc >= 0 && text)
        rc = drop_object(r, &m->digest, &err);
    if (rc < 0)
        err_clear(&err); /* what stays is found by its hash the next time */
    db_rollback(r->db);
}

void
repo_ingest_release(struct repo_ingest *in)
{
    repo_manifest_release(&in->manifest);
}

void
repo_ingest_drop(struct repo *r, const struct repo_manifest *m)
{
    drop(r, m, NULL, true);
}

/* ---- ingest ---- */

/* Appends one whose object is there; the caller puts the files in order. */
static int
add_known(struct ingest *in, const struct repo_file *f, struct err *err)
{
    const struct fs_entry e = { .path = f->path };
    const struct objects_put put = { .digest = f->digest, .size_bytes = f->size_bytes };

    return add_file(in, &e, &put, err);
}

/* The files of both; of two with one path that of `in`. */
static int
merge(struct ingest *in, const struct repo_manifest *base, struct err *err)
{
    struct repo_manifest *m = in->m, own = *m;
    struct ingest all = { .r = in->r, .m = m, .text_bytes = in->text_bytes, .fd = -1 };
    int r = 0;

    m->files = NULL;
    m->n_files = 0;
    m->size_bytes = 0;
    for (int i = 0, k = 0; r == 0 && (i < own.n_files || k < base->n_files);) {
        int d = i == own.n_files     ? 1
                : k == base->n_files ? -1
                                     : strcmp(own.files[i].path, base->files[k].path);
        r = add_known(&all, d <= 0 ? &own.files[i] : &base->files[k], err);
        if (r == 0)
            all.is_new[m->n_files - 1] = d <= 0 && in->is_new[i];
        i += d <= 0;
        k += d >= 0;
    }
    repo_manifest_release(&own);
    free(in->seen);
    free(in->is_new);
    in->seen = all.seen;
    in->is_new = all.is_new;
    return r;
}

static int
ingest(struct ingest *in, const char *dir, const struct repo_manifest *base,
       struct err *err)
{
    int dirfd AUTO(fs_close) = -1;
    int r = fs_open_dir(&dirfd, AT_FDCWD, dir, err);

    if (r == 0)
        r = fs_walk(dirfd, ".", ingest_entry, in, err);
    if (r == 0 && in->m->n_files == 0)
        r = err_set(err, ERR_INVALID, "there is no file in it");
    if (r == 0)
        r = check_unchanged(in, dirfd, err);
    if (r == 0 && base)
        r = merge(in, base, err);
    if (r == 0)
        r = put_manifest(in, err);
    return r < 0 ? r : in->r->objects->ops->sync(in->r->objects, err);
}

static int
ingest_over(struct repo *r, const char *dir, const struct repo_manifest *base_or_null,
            struct repo_ingest *out, struct err *err)
{
    struct ingest in = { .r = r, .m = &out->manifest, .fd = -1 };
    int rc;

    if (db_in_tx(r->db))
        BUG("ingest of %s inside a transaction", dir);
    *out = (struct repo_ingest){ .n_new_files = 0 };
    repo_stage_sweep(r);
    rc = ingest(&in, dir, base_or_null, err);
    for (int i = 0; i < out->manifest.n_files; i++)
        if (in.is_new[i]) {
            out->n_new_files++;
            out->new_bytes += out->manifest.files[i].size_bytes;
        }
    if (rc < 0) {
        if (out->n_new_files > 0 || in.text_is_new)
            drop(r, &out->manifest, in.is_new, in.text_is_new);
        repo_manifest_release(&out->manifest);
    }
    free(in.seen);
    free(in.is_new);
    return rc;
}

int
repo_ingest_dir(struct repo *r, const char *dir, struct repo_ingest *out,
                struct err *err)
{
    return ingest_over(r, dir, NULL, out, err);
}

int
repo_ingest_over(struct repo *r, const char *dir, const struct repo_manifest *base,
                 struct repo_ingest *out, struct err *err)
{
    return ingest_over(r, dir, base, out, err);
}
