/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/incoming.h"

#include "repo/gc.h"
#include "repo/repo_int.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FOLDER "incoming"
#define LOCK "incoming/.lock"

int
repo_incoming_open(struct repo_incoming *in, struct repo *r, struct err *err)
{
    int rc;

    *in = (struct repo_incoming)REPO_INCOMING_INIT;
    in->r = r;
    rc = fs_mkdirs(r->dirfd, FOLDER, REPO_MODE, err);
    if (rc == 0)
        rc = fs_lock(&in->lock_fd, r->dirfd, LOCK, 0, err);
    if (rc == 0)
        rc = fs_open_dir(&in->dirfd, r->dirfd, FOLDER, err);
    if (rc == 0)
        rc = repo_lease(r, NULL, err);
    if (rc < 0)
        repo_incoming_close(in);
    return rc < 0 ? err_ctx(err, "receive") : 0;
}

void
repo_incoming_close(struct repo_incoming *in)
{
    repo_manifest_release(&in->manifest);
    fs_close(&in->fd);
    fs_close(&in->dirfd);
    fs_close(&in->lock_fd);
}

/* ---- the list of files ----------------------------------------------------------- */

int
repo_incoming_manifest(struct repo_incoming *in, struct str text,
                       const struct digest *want, struct err *err)
{
    char name[REPO_DIGEST_BYTES], hex[DIGEST_HEX_BYTES];
    struct digest got;

    repo_manifest_release(&in->manifest);
    repo_digest_text(want, name);
    sha256_of(text.p, text.n, &got);
    if (!digest_eq(&got, want)) {
        digest_hex(&got, hex);
        return err_set(err, ERR_CORRUPT, "the list of files of %s hashes to %s", name,
                       hex);
    }
    return repo_manifest_parse(&in->manifest, text, name, err);
}

/* ---- files ----------------------------------------------------------------------- */

/* 1: the object is here and can be relied upon. */
static int
is_here(struct repo *r, const struct repo_file *f, struct err *err)
{
    int64_t size_bytes;
    int rc = repo_rescue(r, &f->digest, err);

    if (rc == 0)
        rc = r->objects->ops->has(r->objects, &f->digest, &size_bytes, err);
    if (rc != 1)
        return rc;
    rc = db_get_int(r->db, &size_bytes, err, "SELECT 1 FROM object WHERE digest = ?",
                    "b", f->digest.b, sizeof(f->digest.b));
    if (rc != 0)
        return rc;
    rc = objects_verify(r->objects, &f->digest, err);
    if (rc == -ERR_CORRUPT) { /* nobody's; a put replaces it */
        err_clear(err);
        return 0;
    }
    return rc < 0 ? rc : 1;
}

/* The whole file becomes the object. */
static int
finish(struct repo_incoming *in, const struct repo_file *f, const char *hex,
       struct err *err)
{
    const struct objects_file file = { .fd = in->fd,
                                       .size_bytes = f->size_bytes,
                                       .is_ours = true };
    struct objects_put put = { .file = &file, .what = f->path };
    char got[DIGEST_HEX_BYTES];
    int rc = in->r->objects->ops->put(in->r->objects, &put, err);

    if (rc == 0 && !digest_eq(&put.digest, &f->digest)) {
        if (put.is_new)
            rc = in->r->objects->ops->delete (in->r->objects, &put.digest, err);
        fs_close(&in->fd);
        if (rc == 0)
            rc = fs_unlink(in->dirfd, hex, err);
        if (rc < 0)
            return rc;
        digest_hex(&put.digest, got);
        return err_set(err, ERR_CORRUPT,
                       "%s: the bytes that came hash to %s, not to %s; they were "
                       "discarded",
                       f->path, got, hex);
    }
    /* The name stays until repo_incoming_sync: a small object has no other yet. */
    in->new_bytes += put.is_new ? f->size_bytes : 0;
    return rc;
}

int
repo_incoming_file(struct repo_incoming *in, int i, struct err *err)
{
    const struct repo_file *f = &in->manifest.files[i];
    char hex[DIGEST_HEX_BYTES];
    struct stat st;
    int rc;

    fs_close(&in->fd);
    repo_lease_keep(in->r);
    digest_hex(&f->digest, hex);
    rc = is_here(in->r, f, err);
    if (rc != 0)
        return rc < 0 ? rc : fs_unlink(in->dirfd, hex, err);
    rc = fs_open(&in->fd, in->dirfd, hex, O_RDWR | O_CREAT | O_NOFOLLOW, 0600, err);
    if (rc < 0)
        return rc;
    if (fstat(in->fd, &st) < 0)
        return err_sys(err, errno, "look at " FOLDER "/%s", hex);
    in->at_bytes = st.st_size;
    if (in->at_bytes > f->size_bytes) {
        if (ftruncate(in->fd, 0) < 0)
            return err_sys(err, errno, "empty " FOLDER "/%s", hex);
        in->at_bytes = 0;
    }
    if (in->at_bytes < f->size_bytes)
        return 1;
    return finish(in, f, hex, err);
}

int
repo_incoming_write(struct repo_incoming *in, int i, const void *p, size_t n,
                    struct err *err)
{
    const struct repo_file *f = &in->manifest.files[i];
    int rc;

    if (in->fd < 0)
        BUG("%s: bytes before repo_incoming_file", f->path);
    if (n > (uint64_t)(f->size_bytes - in->at_bytes))
        return err_set(err, ERR_CORRUPT, "%s: more bytes came than it has", f->path);
    rc = fs_write_at(in->fd, p, n, in->at_bytes, f->path, err);
    if (rc == 0)
        in->at_bytes += (int64_t)n;
    return rc;
}

struct text_source {
    const struct buf *text;
    size_t at;
};

static int64_t
read_text(void *arg, void *p, size_t n, struct err *err)
{
    struct text_source *t = arg;
    const size_t left = t->text->len - t->at;

    (void)err;
    n = n < left ? n : left;
    memcpy(p, buf_str(t->text) + t->at, n);
    t->at += n;
    return (int64_t)n;
}

int
repo_incoming_sync(struct repo_incoming *in, struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    struct text_source source = { .text = &text };
    struct objects_put put = { .read = read_text,
                               .arg = &source,
                               .what = "a manifest" };
    struct objects *o = in->r->objects;
    int rc = repo_rescue(in->r, &in->manifest.digest, err);

    repo_manifest_format(&in->manifest, &text);
    if (rc == 0)
        rc = o->ops->put(o, &put, err);
    if (rc == 0)
        rc = o->ops->sync(o, err);
    for (int i = 0; rc == 0 && i < in->manifest.n_files; i++) {
        char hex[DIGEST_HEX_BYTES];

        digest_hex(&in->manifest.files[i].digest, hex);
        rc = fs_unlink(in->dirfd, hex, err);
    }
    return rc;
}

/* ---- the version ----------------------------------------------------------------- */

int
repo_version_numbered(struct repo *r, const char *model, int64_t number,
                      struct repo_version *out, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int rc = db_query(r->db, &st, err,
                      REPO_VERSION_SELECT "WHERE m.name = ? AND v.number = ?", "ti",
                      model, number);

    if (rc == 0)
        rc = db_step(st, err);
    if (rc == 1)
        repo_version_row(st, out);
    return rc;
}

int
repo_incoming_add(struct repo_incoming *in, const char *model, int64_t number,
                  const char *provenance_json, struct repo_version *out, bool *is_new,
                  struct err *err)
{
    const struct repo_wish wish = { .number = number, .mirrors = true };
    int rc = repo_version_numbered(in->r, model, number, out, err);

    *is_new = true;
    if (rc < 0)
        return rc;
    if (rc == 0)
        return repo_version_add_as(in->r, model, &in->manifest, provenance_json, &wish,
                                   out, is_new, err);
    if (!digest_eq(&out->digest, &in->manifest.digest))
        return err_set(err, ERR_CONFLICT,
                       "%s@%" PRId64 " has other bytes here, and a number is never "
                       "given twice: follow into a store of its own",
                       model, number);
    *is_new = strcmp(out->state, "deleted") == 0;
    if (!*is_new)
        return 0;
    rc = repo_undelete(in->r, out, err);
    return rc < 0 ? rc : repo_version_get(in->r, out->id, out, err);
}

static int
remove_file(void *arg, const struct fs_entry *e, struct err *err)
{
    (void)arg;
    return e->name[0] == '.' ? 0 : fs_unlink(e->dirfd, e->name, err);
}

void
repo_incoming_clear(struct repo *r)
{
    struct err err = ERR_INIT;
    int fd AUTO(fs_close) = -1;

    if (fs_exists(r->dirfd, FOLDER, &err) != 1)
        err_clear(&err);
    else if (fs_lock(&fd, r->dirfd, LOCK, 0, &err) < 0 ||
             fs_walk(r->dirfd, FOLDER, remove_file, NULL, &err) < 0)
        err_clear(&err);
}
