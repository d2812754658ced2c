/* SPDX-License-Identifier: Apache-2.0 */
/* From a directory to objects: a walk that says what each file is, then one pass over
 * those that have to be read, rows later. The source may be written by somebody else
 * meanwhile: what each file was is noted by the walk and compared after it was read,
 * and once more, with the directories, when all were. */
#include "repo/gc.h"
#include "repo/repo_int.h"

#include "base/clock.h"
#include "savedmodel/savedmodel.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct source {
    struct repo_seen seen;
    bool is_known; /* the manifest's digest is that of a push before: not read */
};
struct folder {
    char *path;
    struct repo_seen seen;
};

struct ingest {
    struct repo *r;
    const struct repo_ingest_opts *opts;
    struct repo_ingest *out;
    struct repo_manifest *m; /* out's */
    int dirfd;
    int64_t begun_ns;
    struct source *sources; /* of m's files, in their order */
    size_t n_alloc;
    struct folder *folders;
    size_t n_folders, folders_alloc;
    struct sm_bundle *bundle; /* the model's index; NULL: none */
    int64_t text_bytes;       /* of the manifest, at most */
    bool text_is_new;         /* this ingest stored the manifest */
    int64_t total_bytes, done_bytes;
};

static int
modified(const char *path, struct err *err)
{
    return err_set(err, ERR_CONFLICT,
                   "%s: modified during push; push again when its writer is done",
                   path);
}

static int
is_known(void *arg, const struct digest *d, struct err *err)
{
    struct ingest *in = arg;
    int64_t one;
    int r = in->opts->dry_run ? 0 : repo_rescue(in->r, d, err);

    if (r < 0)
        return r;
    return db_get_int(in->r->db, &one, err, "SELECT 1 FROM object WHERE digest = ?",
                      "b", d->b, sizeof(d->b));
}

/* ---- the walk -----------------------------------------------------------------------
 */

static bool
is_store(const struct repo *r, const struct stat *dir)
{
    struct stat st;

    return fstat(r->dirfd, &st) == 0 && st.st_dev == dir->st_dev &&
           st.st_ino == dir->st_ino;
}

static void
add_folder(struct ingest *in, const char *path, const struct stat *st)
{
    if (in->n_folders == in->folders_alloc) {
        in->folders_alloc = in->folders_alloc ? 2 * in->folders_alloc : 8;
        in->folders =
            xreallocarray(in->folders, in->folders_alloc, sizeof(*in->folders));
    }
    in->folders[in->n_folders++] =
        (struct folder){ .path = xstrdup(path), .seen = repo_seen_of(st) };
}

/* Appends a file; the caller keeps the order. */
static int
add_file(struct ingest *in, const struct repo_file *f, const struct source *source,
         struct err *err)
{
    struct repo_manifest *m = in->m;
    struct buf encoded AUTO(buf_release) = BUF_INIT;
    const size_t i = (size_t)m->n_files;

    repo_path_encode(f->path, &encoded);
    in->text_bytes += 90 + (int64_t)encoded.len;
    if (m->n_files == REPO_FILES_MAX || in->text_bytes > (int64_t)REPO_MANIFEST_MAX)
        return err_set(err, ERR_LIMIT, "more than %d files, or too long names",
                       REPO_FILES_MAX);
    if (strlen(f->path) > REPO_PATH_MAX)
        return err_set(err, ERR_LIMIT, "a path longer than %d bytes", REPO_PATH_MAX);
    if (i == in->n_alloc) {
        in->n_alloc = i ? 2 * i : 16;
        m->files = xreallocarray(m->files, in->n_alloc, sizeof(*m->files));
        in->sources = xreallocarray(in->sources, in->n_alloc, sizeof(*in->sources));
        in->out->is_new =
            xreallocarray(in->out->is_new, in->n_alloc, sizeof(*in->out->is_new));
    }
    m->files[i] = *f;
    m->files[i].path = xstrdup(f->path);
    in->sources[i] = *source;
    in->out->is_new[i] = false;
    m->n_files++;
    m->size_bytes += f->size_bytes;
    return 0;
}

static int
walk_entry(void *arg, const struct fs_entry *e, struct err *err)
{
    struct ingest *in = arg;
    struct repo_file f = { .path = (char *)(uintptr_t)e->path,
                           .size_bytes = e->st.st_size };
    struct source source = { .seen = repo_seen_of(&e->st) };
    int r = repo_check_file_path(e->path, err);

    if (r < 0)
        return r;
    if (S_ISDIR(e->st.st_mode)) {
        if (is_store(in->r, &e->st))
            return err_set(err, ERR_INVALID,
                           "%s is the store itself: push a directory beside it",
                           e->path);
        add_folder(in, e->path, &e->st);
        return 0;
    }
    if (e->st.st_mode & (S_ISUID | S_ISGID))
        return err_set(err, ERR_INVALID,
                       "%s: a set%cid file is no part of a model: chmod %c-s it",
                       e->path, e->st.st_mode & S_ISUID ? 'u' : 'g',
                       e->st.st_mode & S_ISUID ? 'u' : 'g');
    r = in->opts->reread ? 0 : repo_seen_find(in->r, &source.seen, &f.digest, err);
    if (r == 1)
        r = is_known(in, &f.digest, err);
    if (r < 0)
        return r;
    source.is_known = r == 1;
    return add_file(in, &f, &source, err);
}

/* What an index says of the tensors in a shard is checked while the shard is read: a
 * changed index asks for all of them. */
static void
doubt_shards(struct ingest *in)
{
    bool is_same = true;

    for (int i = 0; i < in->m->n_files; i++)
        if (strcmp(in->m->files[i].path, REPO_MODEL_INDEX) == 0)
            is_same = in->sources[i].is_known;
    for (int i = 0; i < in->m->n_files; i++) {
        if (!is_same && repo_model_is_shard(in->m->files[i].path))
            in->sources[i].is_known = false;
        if (!in->sources[i].is_known)
            in->total_bytes += in->m->files[i].size_bytes;
    }
}

/* ---- one file -----------------------------------------------------------------------
 */

static void
count(void *arg, int64_t n_bytes)
{
    struct ingest *in = arg;

    in->done_bytes += n_bytes;
    if (in->opts->progress)
        in->opts->progress(in->opts->arg, in->done_bytes, in->total_bytes);
}

static int
open_source(const struct ingest *in, int i, int *out_fd, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    const char *path = in->m->files[i].path;
    struct repo_seen now;
    struct stat st;
    int r = fs_open(&fd, in->dirfd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, err);

    if (r < 0)
        return err->sys == ENOENT || err->sys == ELOOP || err->sys == ENOTDIR
                   ? (err_clear(err), modified(path, err))
                   : r;
    if (fstat(fd, &st) < 0)
        return err_sys(err, errno, "stat %s", path);
    now = repo_seen_of(&st);
    if (!repo_seen_same(&now, &in->sources[i].seen) || !S_ISREG(st.st_mode))
        return modified(path, err);
    *out_fd = fd;
    fd = -1;
    return 0;
}

/* The object, or in a dry run only its digest. */
static int
take_bytes(struct ingest *in, int i, struct objects_file *file, struct err *err)
{
    struct repo_file *f = &in->m->files[i];
    struct objects_put put = {
        .known = is_known, .arg = in, .what = f->path, .file = file
    };
    int r;

    if (in->opts->dry_run) {
        r = objects_hash_fd(file->fd, f->path, &put.digest, &put.size_bytes, err);
        if (r == 0)
            r = is_known(in, &put.digest, err);
        put.is_new = r == 0;
        count(in, put.size_bytes);
    } else {
        r = repo_lease(in->r, NULL, err); /* renewed when it has to be */
        if (r == 0)
            r = in->r->objects->ops->put(in->r->objects, &put, err);
    }
    if (r < 0)
        return r;
    f->digest = put.digest;
    in->out->is_new[i] = put.is_new;
    return put.size_bytes == f->size_bytes ? 0 : modified(f->path, err);
}

static int
take_file(struct ingest *in, int i, struct err *err)
{
    const char *path = in->m->files[i].path;
    struct objects_crc *crcs AUTO(free_ptr) = NULL;
    int fd AUTO(fs_close) = -1;
    struct objects_file file = { .size_bytes = in->m->files[i].size_bytes,
                                 .is_ours = in->opts->is_ours,
                                 .progress = count };
    struct repo_seen now;
    struct stat st;
    int r = open_source(in, i, &fd, err);

    if (r < 0)
        return r;
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    file.fd = fd;
    file.n_crcs = repo_model_crcs(in->bundle, path, &crcs);
    file.crcs = crcs;
    r = take_bytes(in, i, &file, err);
    if (r == 0)
        r = repo_model_check_strings(in->bundle, path, err);
    if (r < 0)
        return r;
    if (fstat(fd, &st) < 0)
        return err_sys(err, errno, "stat %s", path);
    now = repo_seen_of(&st);
    if (in->opts->is_ours) /* its mode was set */
        return 0;
    return repo_seen_same(&now, &in->sources[i].seen) ? 0 : modified(path, err);
}

static int
check_one(const struct ingest *in, const char *path, const struct repo_seen *was,
          struct err *err)
{
    struct repo_seen now;
    struct stat st;

    if (fstatat(in->dirfd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return modified(path, err);
    now = repo_seen_of(&st);
    return repo_seen_same(&now, was) ? 0 : modified(path, err);
}

/* A set of files of which some are of before and some of after a change would be
 * nobody's model. */
static int
check_unchanged(const struct ingest *in, struct err *err)
{
    int r = 0;

    for (int i = 0; r == 0 && i < in->m->n_files; i++)
        r = check_one(in, in->m->files[i].path, &in->sources[i].seen, err);
    for (size_t i = 0; r == 0 && i < in->n_folders; i++)
        r = check_one(in, in->folders[i].path, &in->folders[i].seen, err);
    return r;
}

static void
learn(struct ingest *in)
{
    struct repo_ingest *out = in->out;

    for (int i = 0; i < in->m->n_files; i++) {
        const struct source *s = &in->sources[i];

        if (s->is_known || !repo_seen_is_calm(&s->seen, in->begun_ns))
            continue;
        if (!out->learned)
            out->learned = xcalloc((size_t)in->m->n_files, sizeof(*out->learned));
        out->learned[out->n_learned++] =
            (struct repo_learned){ .seen = s->seen, .digest = in->m->files[i].digest };
    }
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
    int r = 0;

    repo_manifest_format(in->m, &t.text);
    sha256_of(buf_str(&t.text), t.text.len, &in->m->digest);
    if (!in->opts->dry_run)
        r = in->r->objects->ops->put(in->r->objects, &put, err);
    in->text_is_new = put.is_new;
    buf_release(&t.text);
    return r;
}

/* All files are those of a version: whatever is asked of a model was asked then. */
static int
is_old_version(struct ingest *in, struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    struct digest d;
    int64_t one;

    for (int i = 0; i < in->m->n_files; i++)
        if (!in->sources[i].is_known)
            return 0;
    repo_manifest_format(in->m, &text);
    sha256_of(buf_str(&text), text.len, &d);
    return db_get_int(in->r->db, &one, err, "SELECT 1 FROM version WHERE digest = ?",
                      "b", d.b, sizeof(d.b));
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
    int rc;

    if (db_is_unsure(r->db)) /* the rows may yet turn out to stand */
        return;
    rc = db_begin(r->db, &err);
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
    free(in->is_new);
    free(in->learned);
    *in = (struct repo_ingest){ .n_new_files = 0 };
}

void
repo_ingest_drop(struct repo *r, const struct repo_manifest *m)
{
    drop(r, m, NULL, true);
}

/* ---- ingest ---- */

/* The files of both; of two with one path that of the directory. */
static int
merge(struct ingest *in, const struct repo_manifest *base, struct err *err)
{
    const struct source known = { .is_known = true };
    struct repo_manifest own = *in->m;
    struct source *sources AUTO(free_ptr) = in->sources;
    bool *is_new AUTO(free_ptr) = in->out->is_new;
    int r = 0;

    *in->m = (struct repo_manifest){ .files = NULL };
    in->sources = NULL;
    in->out->is_new = NULL;
    in->n_alloc = 0;
    for (int i = 0, k = 0; r == 0 && (i < own.n_files || k < base->n_files);) {
        int d = i == own.n_files     ? 1
                : k == base->n_files ? -1
                                     : strcmp(own.files[i].path, base->files[k].path);

        r = d <= 0 ? add_file(in, &own.files[i], &sources[i], err)
                   : add_file(in, &base->files[k], &known, err);
        if (r == 0 && d <= 0)
            in->out->is_new[in->m->n_files - 1] = is_new[i];
        i += d <= 0;
        k += d >= 0;
    }
    repo_manifest_release(&own);
    return r;
}

static int
read_files(struct ingest *in, const char *dir, struct err *err)
{
    int r = in->opts->is_model ? is_old_version(in, err) : 1;

    if (r == 0)
        r = repo_model_check(in->dirfd, in->opts->name ? in->opts->name : dir,
                             &in->bundle, err);
    for (int i = 0; r >= 0 && i < in->m->n_files; i++)
        if (!in->sources[i].is_known)
            r = take_file(in, i, err);
    return r < 0 ? r : 0;
}

static int
ingest(struct ingest *in, const char *dir, struct err *err)
{
    int r = fs_open_dir(&in->dirfd, AT_FDCWD, dir, err);
    struct stat st;

    if (r == 0 && fstat(in->dirfd, &st) < 0)
        r = err_sys(err, errno, "stat %s", dir);
    if (r == 0) {
        add_folder(in, ".", &st);
        r = fs_walk(in->dirfd, ".", walk_entry, in, err);
    }
    if (r == 0 && in->m->n_files == 0 && !in->opts->is_model)
        r = err_set(err, ERR_INVALID, "there is no file in it");
    if (r < 0)
        return r;
    doubt_shards(in);
    in->out->read_bytes = in->total_bytes;
    r = read_files(in, dir, err);
    if (r == 0 && !in->opts->is_ours) {
        r = check_unchanged(in, err);
        learn(in);
    }
    if (r == 0 && in->opts->over)
        r = merge(in, in->opts->over, err);
    if (r == 0)
        r = put_manifest(in, err);
    return r < 0 || in->opts->dry_run ? r
                                      : in->r->objects->ops->sync(in->r->objects, err);
}

static int
compare_digests(const void *a, const void *b)
{
    const struct repo_file *const *x = a, *const *y = b;
    int d = memcmp((*x)->digest.b, (*y)->digest.b, sizeof((*x)->digest.b));

    return d != 0 ? d : (*x > *y) - (*x < *y);
}

void
repo_ingest_count(struct repo_ingest *out)
{
    const struct repo_manifest *m = &out->manifest;
    const struct repo_file **v AUTO(free_ptr) =
        xcalloc((size_t)m->n_files + 1, sizeof(*v));
    int n = 0;

    for (int i = 0; i < m->n_files; i++)
        if (out->is_new[i])
            v[n++] = &m->files[i];
    qsort(v, (size_t)n, sizeof(*v), compare_digests);
    out->n_new_files = 0;
    out->new_bytes = 0;
    for (int i = 0; i < n; i++)
        if (i > 0 && digest_eq(&v[i]->digest, &v[i - 1]->digest)) {
            out->is_new[v[i] - m->files] = false;
        } else {
            out->n_new_files++;
            out->new_bytes += v[i]->size_bytes;
        }
}

static void
ingest_release(struct ingest *in)
{
    for (size_t i = 0; i < in->n_folders; i++)
        free(in->folders[i].path);
    free(in->folders);
    free(in->sources);
    sm_bundle_close(in->bundle);
    fs_close(&in->dirfd);
}

int
repo_ingest(struct repo *r, const char *dir, const struct repo_ingest_opts *opts,
            struct repo_ingest *out, struct err *err)
{
    struct ingest in AUTO(ingest_release) = { .r = r,
                                              .opts = opts,
                                              .out = out,
                                              .m = &out->manifest,
                                              .dirfd = -1,
                                              .begun_ns = clock_now_ns() };
    int rc;

    if (db_in_tx(r->db))
        BUG("ingest of %s inside a transaction", dir);
    *out = (struct repo_ingest){ .n_new_files = 0 };
    repo_stage_sweep(r);
    rc = opts->dry_run ? 0 : repo_lease(r, NULL, err);
    if (rc == 0)
        rc = ingest(&in, dir, err);
    repo_ingest_count(out);
    if (rc < 0) {
        r->objects->ops->forget(r->objects);
        if (!opts->dry_run && (out->n_new_files > 0 || in.text_is_new))
            drop(r, &out->manifest, out->is_new, in.text_is_new);
        repo_ingest_release(out);
    }
    return rc;
}

int
repo_ingest_dir(struct repo *r, const char *dir, struct repo_ingest *out,
                struct err *err)
{
    const struct repo_ingest_opts none = { .over = NULL };

    return repo_ingest(r, dir, &none, out, err);
}
