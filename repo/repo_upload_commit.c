/* SPDX-License-Identifier: Apache-2.0 */
/* The end of an upload: every file is held against the list, becomes an object, and the
 * list a tree of the caller's. The order is that of every push: bytes on the disk,
 * names on the disk, rows. */
#include "repo/upload_int.h"

#include "repo/gc.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct commit {
    struct repo_upload *u;
    struct repo *r;
    struct repo_manifest m; /* paths are borrowed */
    struct repo_tree tree;
    bool is_index_new, is_each_checked;
};

/* ---- the list ---- */

static int
other_list(struct err *err)
{
    return err_set(err, ERR_CONFLICT,
                   "the commit lists other files than the upload was begun with");
}

/* Digests that were not known at the beginning. Under the lock. */
static int
take_list(struct repo_upload *u, const struct upload_file *v, int n, struct err *err)
{
    if (n != u->n_files)
        return other_list(err);
    for (int i = 0; i < n; i++) {
        struct upload_file *f = &u->files[i];

        if (strcmp(f->path, v[i].path) != 0 || f->size_bytes != v[i].size_bytes)
            return other_list(err);
        if (f->has_digest && !digest_eq(&f->digest, &v[i].digest))
            return err_set(err, ERR_CONFLICT,
                           "%s: the commit gives it another digest than the upload was "
                           "begun with",
                           f->path);
    }
    for (int i = 0; i < n; i++) {
        u->files[i].digest = v[i].digest;
        u->files[i].has_digest = true;
    }
    return 0;
}

/* Of a list that is committed already: 1 it is this one. */
static int
is_committed(struct repo_upload *u, const struct repo_manifest *m, struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    struct digest d;

    if (!u->is_committed)
        return 0;
    repo_manifest_format(m, &text);
    sha256_of(buf_str(&text), text.len, &d);
    return digest_eq(&d, &u->tree.digest)
               ? 1
               : err_set(err, ERR_CONFLICT,
                         "the upload is committed, with other files");
}

/* ---- each file ---- */

static int
is_bad(struct repo_upload *u, struct upload_file *f, const struct digest *got,
       struct err *err)
{
    char has[DIGEST_HEX_BYTES], wants[DIGEST_HEX_BYTES];

    digest_hex(got, has);
    digest_hex(&f->digest, wants);
    if (upload_forget(u, f, err) < 0)
        return -(int)err->code;
    return err_set(err, ERR_CORRUPT,
                   "%s: the bytes that came hash to %s, not to %s; they were "
                   "discarded, send them again",
                   f->path, has, wants);
}

/* Until its hash is there. Under the lock. */
static int
wait_for_hash(struct repo_upload *u, struct upload_file *f, struct err *err)
{
    while (!u->is_dropped && !(f->hash && f->hash->is_done)) {
        upload_hash_wake(u, f);
        if (u->n_hashers == 0)
            return err_set(err, ERR_BUSY, "%s: no thread to hash it with", f->path);
        pthread_cond_wait(&u->moved, &u->lock);
    }
    if (u->is_dropped)
        return err_set(err, ERR_NOTFOUND, "the upload was given up");
    if (f->hash->is_bad) {
        *err = f->hash->err;
        upload_hash_free(f->hash); /* the next commit tries again */
        f->hash = NULL;
        return -(int)err->code;
    }
    return digest_eq(&f->hash->got, &f->digest) ? 0 : is_bad(u, f, &f->hash->got, err);
}

/* Of a file that nothing of came: the store has it, and the caller may know. */
static int
take_have(struct commit *c, struct upload_file *f, struct err *err)
{
    int64_t size_bytes;
    int rc = repo_rescue(c->r, &f->digest, err);

    if (rc == 0)
        rc = repo_object_may_read(c->r, &f->digest, err);
    if (rc == 1)
        rc = c->r->objects->ops->has(c->r->objects, &f->digest, &size_bytes, err);
    if (rc == 1 && size_bytes != f->size_bytes)
        rc = err_set(err, ERR_CONFLICT, "%s has %" PRId64 " bytes, not %" PRId64,
                     f->path, size_bytes, f->size_bytes);
    f->is_have = rc == 1;
    if (rc == 0 && f->size_bytes == 0)
        rc = 1; /* nothing has to come */
    if (rc == 0)
        return err_set(err, ERR_CONFLICT,
                       "%s: not all of it came: GET the upload says what is missing",
                       f->path);
    return rc < 0 ? rc : 0;
}

/* Whole, and what the list says, as far as that is known before it is an object. Under
 * the lock; the catalogue is the caller's own. */
static int
check_file(struct commit *c, struct upload_file *f, struct err *err)
{
    int rc = 0;

    if (upload_is_whole(f) && f->size_bytes > 0)
        rc = f->size_bytes > UPLOAD_BIG_BYTES ? wait_for_hash(c->u, f, err) : 0;
    else
        rc = take_have(c, f, err);
    if (rc == 0 && !f->is_have && strcmp(f->path, REPO_MODEL_INDEX) == 0)
        c->is_index_new = true;
    return rc;
}

static int
put_file(struct commit *c, int i, struct err *err)
{
    struct upload_file *f = &c->u->files[i];
    struct objects *o = c->r->objects;
    struct objects_file file = { .size_bytes = f->size_bytes, .is_ours = true };
    struct objects_put put = { .what = f->path, .file = &file };
    int fd AUTO(fs_close) = -1;
    char name[16];
    int rc;

    upload_file_name(c->u, f, name);
    rc = fs_open(&fd, c->u->dirfd, name,
                 O_NOFOLLOW | (f->size_bytes == 0 ? O_CREAT | O_RDWR : O_RDONLY), 0600,
                 err);
    file.fd = fd;
    file.is_hashed = f->hash != NULL;
    put.digest = f->digest;
    if (rc == 0)
        rc = repo_rescue(c->r, &f->digest, err);
    if (rc == 0)
        rc = o->ops->put(o, &put, err);
    if (rc < 0 || digest_eq(&put.digest, &f->digest))
        return rc;
    if (put.is_new)
        rc = o->ops->delete (o, &put.digest, err);
    pthread_mutex_lock(&c->u->lock);
    rc = rc < 0 ? rc : is_bad(c->u, f, &put.digest, err);
    pthread_mutex_unlock(&c->u->lock);
    return rc;
}

/* A tensor's checksum fits when it was looked at with the index of this list. What the
 * store has of both was looked at when it came. */
static bool
is_checked(const struct commit *c)
{
    const struct repo_upload *u = c->u;

    for (int i = 0; i < u->n_files; i++) {
        const struct upload_file *f = &u->files[i];

        if (!repo_model_is_shard(f->path) || (f->is_have && !c->is_index_new))
            continue;
        if (!f->hash || !f->hash->is_checked ||
            f->hash->index_generation != u->index_generation)
            return false;
    }
    return true;
}

/* ---- objects and rows ---- */

struct text_source {
    struct str left;
};

static int64_t
read_text(void *arg, void *p, size_t n, struct err *err)
{
    struct text_source *t = arg;

    (void)err;
    n = n < t->left.n ? n : t->left.n;
    memcpy(p, t->left.p, n);
    t->left = (struct str){ t->left.p + n, t->left.n - n };
    return (int64_t)n;
}

static int
put_manifest(struct commit *c, struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    struct text_source source;
    struct objects_put put = { .read = read_text,
                               .arg = &source,
                               .what = "the list of files" };
    int rc;

    repo_manifest_format(&c->m, &text);
    source.left = (struct str){ buf_str(&text), text.len };
    sha256_of(source.left.p, source.left.n, &c->m.digest);
    rc = repo_rescue(c->r, &c->m.digest, err);
    if (rc == 0)
        rc = c->r->objects->ops->put(c->r->objects, &put, err);
    c->tree.digest = c->m.digest;
    return rc < 0 ? rc : c->r->objects->ops->sync(c->r->objects, err);
}

static int
record(struct commit *c, struct err *err)
{
    struct repo *r = c->r;
    int rc = db_begin(r->db, err);

    if (rc == 0)
        rc = repo_manifest_record(r, &c->m, err);
    if (rc == 0)
        rc = repo_tree_add(r, &c->tree, err);
    if (rc == 0)
        rc = db_commit(r->db, err);
    db_rollback(r->db);
    return rc;
}

static int
by_digest(const void *a, const void *b)
{
    const struct upload_file *const *x = a, *const *y = b;

    return memcmp((*x)->digest.b, (*y)->digest.b, sizeof((*x)->digest.b));
}

/* Of files with one content the first is new. */
static void
count_new(struct commit *c)
{
    const struct repo_upload *u = c->u;
    const struct upload_file **v AUTO(free_ptr) =
        xcalloc((size_t)u->n_files + 1, sizeof(*v));
    size_t n = 0;

    for (int i = 0; i < u->n_files; i++)
        if (!u->files[i].is_have)
            v[n++] = &u->files[i];
    qsort(v, n, sizeof(*v), by_digest);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || by_digest(&v[i - 1], &v[i]) != 0) {
            c->tree.n_new_files++;
            c->tree.new_bytes += v[i]->size_bytes;
        }
}

static int
store(struct commit *c, struct err *err)
{
    int rc = 0;

    for (int i = 0; rc == 0 && i < c->u->n_files; i++)
        if (!c->u->files[i].is_have)
            rc = put_file(c, i, err);
    if (rc == 0)
        count_new(c);
    c->tree.is_checked = is_checked(c);
    if (rc == 0)
        rc = put_manifest(c, err);
    if (rc == 0)
        rc = record(c, err);
    if (rc < 0)
        c->r->objects->ops->forget(c->r->objects);
    return rc;
}

/* The answer stays for who did not hear it. */
static int
end_upload(struct commit *c, struct err *err)
{
    struct repo_upload *u = c->u;
    char text[DIGEST_HEX_BYTES], name[16];
    int rc;

    digest_hex(&c->tree.digest, text);
    rc = fs_replace(u->dirfd, "tree", text, sizeof(text) - 1, 0600, err);
    for (int i = 0; rc == 0 && i < u->n_files; i++) {
        upload_file_name(u, &u->files[i], name);
        rc = fs_unlink(u->dirfd, name, err);
    }
    return rc < 0 ? rc : fs_unlink(u->dirfd, "index.index", err);
}

/* ---- all together ---- */

/* Nobody writes any more. Under the lock. */
static void
end_parts(struct repo_upload *u)
{
    bool any = true;

    while (any) {
        any = false;
        for (struct repo_part *p = u->parts; p; p = p->next) {
            p->is_taken = true;
            any |= p->is_writing;
        }
        if (any) { /* who writes does not wait for us, and tells nobody */
            pthread_mutex_unlock(&u->lock);
            usleep(1000);
            pthread_mutex_lock(&u->lock);
        }
    }
}

/* Under the lock, which is let go of while objects are made. */
static int
commit(struct commit *c, struct err *err)
{
    struct repo_upload *u = c->u;
    int rc = 0;

    end_parts(u);
    for (int i = 0; rc == 0 && i < u->n_files; i++)
        rc = check_file(c, &u->files[i], err);
    if (rc < 0)
        return rc;
    pthread_mutex_unlock(&u->lock);
    upload_manifest(u->files, u->n_files, &c->m);
    rc = store(c, err);
    free(c->m.files);
    if (rc == 0)
        rc = end_upload(c, err);
    pthread_mutex_lock(&u->lock);
    if (rc == 0) {
        u->is_committed = true;
        u->tree = c->tree;
    }
    return rc;
}

/* Under the lock. */
static int
begin(struct commit *c, const struct upload_file *files, int n, struct err *err)
{
    struct repo_manifest m;
    int rc;

    upload_manifest(files, n, &m);
    rc = is_committed(c->u, &m, err);
    free(m.files);
    if (rc == 1)
        return repo_tree_get(c->r, &c->u->tree.digest, &c->tree, err) < 0
                   ? -(int)err->code
                   : 1;
    if (rc == 0 && c->u->is_committing)
        rc = err_set(err, ERR_BUSY, "another request commits this upload just now");
    if (rc == 0 && c->u->is_dropped)
        rc = err_set(err, ERR_NOTFOUND, "the upload was given up");
    return rc < 0 ? rc : take_list(c->u, files, n, err);
}

int
repo_upload_commit(struct repo_upload *u, struct repo *r, const cJSON *ask,
                   struct repo_tree *out, struct err *err)
{
    struct commit c = { .u = u, .r = r };
    struct upload_file *files;
    int n, rc;

    rc = upload_files_parse(cJSON_GetObjectItemCaseSensitive(ask, "files"), &files, &n,
                            true, err);
    if (rc == 0)
        rc = repo_lease(r, NULL, err);
    if (rc < 0) {
        upload_files_free(files, n);
        return rc;
    }
    pthread_mutex_lock(&u->lock);
    rc = begin(&c, files, n, err);
    if (rc == 0) {
        u->is_committing = true;
        rc = commit(&c, err);
        u->is_committing = false;
        pthread_cond_broadcast(&u->moved);
    }
    pthread_mutex_unlock(&u->lock);
    repo_lease_end(r);
    upload_files_free(files, n);
    *out = c.tree;
    return rc < 0 ? rc : 0;
}
