/* SPDX-License-Identifier: Apache-2.0 */
/* Whole bytes for damaged and missing objects, from wherever there is a copy. A copy is
 * found by its digest, never by its name, hashed before it is taken and once more on
 * the way in, and put in place by rename. What was damaged is kept in quarantine/. */
#include "repo/repo_fsck_int.h"

#include <errno.h>
#include <fts.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- one object in --------------------------------------------------------------- */

struct source {
    int fd;          /* a file, or -1: */
    struct buf text; /* bytes at hand */
    size_t at;
};

static int64_t
read_source(void *arg, void *p, size_t n, struct err *err)
{
    struct source *s = arg;
    ssize_t got;

    if (s->fd < 0) {
        const size_t left = s->text.len - s->at;

        n = n < left ? n : left;
        memcpy(p, buf_str(&s->text) + s->at, n);
        s->at += n;
        return (int64_t)n;
    }
    do
        got = read(s->fd, p, n);
    while (got < 0 && errno == EINTR);
    return got < 0 ? err_sys(err, errno, "read") : got;
}

/* `s` holds the right bytes, or did a moment ago. */
static int
put(struct fsck *f, struct fsck_bad *b, struct source *s, const char *from,
    struct err *err)
{
    struct objects_put put = { .read = read_source, .arg = s, .what = from };
    struct objects *o = f->r->objects;
    int r = 0;

    if (!b->missing && b->aside.len == 0)
        r = o->ops->set_aside(o, &b->digest, true, &b->aside, err);
    if (r == 0)
        r = o->ops->put(o, &put, err);
    if (r == 0 && !digest_eq(&put.digest, &b->digest)) {
        if (put.is_new)
            r = o->ops->delete (o, &put.digest, err);
        return r; /* it changed under us: no copy */
    }
    if (r == 0)
        r = o->ops->sync(o, err);
    if (r == 0) {
        b->mended = true;
        snprintf(b->source, sizeof(b->source), "%s", from);
    }
    return r;
}

/* A file that may be a copy of a bad object. What is wrong with the file is its own
 * business. */
static int
try_file(struct fsck *f, struct fsck_bad *b, int dirfd, const char *path,
         const char *shown, struct err *err)
{
    struct source s = { .fd = -1 };
    struct stat st;
    int r = fs_open(&s.fd, dirfd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, err);

    if (r == 0 &&
        (fstat(s.fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size != b->size_bytes))
        goto done;
    if (r == 0)
        r = objects_verify_fd(s.fd, &b->digest, shown, err);
    if (r == 0 && lseek(s.fd, 0, SEEK_SET) == 0) {
        r = put(f, b, &s, shown, err);
        goto done;
    }
    err_clear(err);
    r = 0;
done:
    fs_close(&s.fd);
    return r;
}

/* ---- where copies are ------------------------------------------------------------ */

/* A manifest's text follows from the rows of its files. */
static int
from_rows(struct fsck *f, struct fsck_bad *b, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    struct source s = { .fd = -1 };
    struct digest d;
    int r = db_query(f->r->db, &st, err,
                     "SELECT path, object, size_bytes FROM manifest_file "
                     "WHERE manifest = ?",
                     "b", b->digest.b, sizeof(b->digest.b));

    repo_manifest_begin(&s.text);
    while (r >= 0 && (r = db_step(st, err)) == 1) {
        char hex[DIGEST_HEX_BYTES];

        if (!repo_column_digest(st, 1, &d))
            continue;
        digest_hex(&d, hex);
        buf_addf(&s.text, "%s %" PRId64 " ", hex, db_int(st, 2));
        buf_adds(&s.text, db_text(st, 0));
        buf_addc(&s.text, '\n');
    }
    db_done_p(&st);
    sha256_of(buf_str(&s.text), s.text.len, &d);
    if (r == 0 && digest_eq(&d, &b->digest))
        r = put(f, b, &s, "the catalogue's rows", err);
    buf_release(&s.text);
    return r;
}

static int
from_objects(struct fsck *f, const char *dir, struct err *err)
{
    int r = 0;

    for (int i = 0; r == 0 && i < f->n_bad; i++) {
        char hex[DIGEST_HEX_BYTES];
        struct buf path AUTO(buf_release) = BUF_INIT;

        if (f->bad[i].mended)
            continue;
        digest_hex(&f->bad[i].digest, hex);
        buf_addf(&path, "%s/objects/%.2s/%s", dir, hex, hex + 2);
        r = try_file(f, &f->bad[i], AT_FDCWD, buf_str(&path), buf_str(&path), err);
    }
    return r;
}

static int
from_tree(struct fsck *f, const char *dir, struct err *err)
{
    char *const roots[] = { (char *)(uintptr_t)dir, NULL };
    FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    const FTSENT *e;
    int r = 0;

    if (!fts)
        return err_sys(err, errno, "read %s", dir);
    while (r == 0 && (errno = 0, e = fts_read(fts)) != NULL)
        for (int i = 0; r == 0 && e->fts_info == FTS_F && i < f->n_bad; i++)
            if (!f->bad[i].mended && f->bad[i].size_bytes == e->fts_statp->st_size)
                r = try_file(f, &f->bad[i], AT_FDCWD, e->fts_accpath, e->fts_path, err);
    fts_close(fts);
    return r;
}

static int
from_place(struct fsck *f, const char *dir, struct err *err)
{
    struct buf objects AUTO(buf_release) = BUF_INIT;
    struct stat st;

    if (stat(dir, &st) < 0)
        return err_sys(err, errno, "%s", dir);
    buf_addf(&objects, "%s/objects", dir);
    return stat(buf_str(&objects), &st) == 0 && S_ISDIR(st.st_mode)
               ? from_objects(f, dir, err)
               : from_tree(f, dir, err);
}

/* ---- all ------------------------------------------------------------------------- */

static int
mend(struct fsck *f, struct err *err)
{
    int r = 0;

    for (int i = 0; r == 0 && i < f->n_bad; i++)
        r = from_rows(f, &f->bad[i], err);
    for (int i = 0; r == 0 && i < f->how->n_from; i++)
        r = from_place(f, f->how->from[i], err);
    /* out of the way, so that a push of the same bytes stores them */
    for (int i = 0; r == 0 && i < f->n_bad; i++) {
        struct fsck_bad *b = &f->bad[i];

        if (b->mended || b->missing)
            continue;
        if (b->aside.len == 0) {
            r = f->r->objects->ops->set_aside(f->r->objects, &b->digest, false,
                                              &b->aside, err);
        } else {
            r = f->r->objects->ops->delete (f->r->objects, &b->digest, err);
        }
    }
    return r < 0 ? r : f->r->objects->ops->sync(f->r->objects, err);
}

static int
tell_bad(struct fsck *f, const struct fsck_bad *b, struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    char hex[DIGEST_HEX_BYTES];

    digest_hex(&b->digest, hex);
    buf_addf(&text, "object %s%s%s", hex, b->missing ? " is missing" : ": ", b->why);
    if (b->mended)
        buf_addf(&text, "; mended from %s", b->source);
    if (b->aside.len > 0)
        buf_addf(&text, "; the damaged bytes are %s", buf_str(&b->aside));
    return fsck_tell(f,
                     &(struct repo_finding){ .kind = b->missing ? "missing" : "damaged",
                                             .text = buf_str(&text),
                                             .way_out = FSCK_FROM,
                                             .repaired = b->mended,
                                             .object = &b->digest },
                     err);
}

int
fsck_repair(struct fsck *f, struct err *err)
{
    int r;

    if (f->how->repair)
        repo_stage_sweep(f->r); /* a mend that was stopped leaves its copy there */
    r = f->how->repair && f->n_bad > 0 ? mend(f, err) : 0;
    for (int i = 0; r == 0 && i < f->n_bad; i++)
        r = tell_bad(f, &f->bad[i], err);
    return r;
}
