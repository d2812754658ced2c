/* SPDX-License-Identifier: Apache-2.0 */
/* Cold objects back to whole files for good; and the catalogue's rows held against, or
 * made from, what lies in cold/. */
#include "repo/cold_int.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define TRIES 32      /* an object may become cold, or come back, meanwhile */
#define STRAY_S 86400 /* whoever makes a delta records it within this time */

/* Calls fn for each file of a manifest that has a row in `cold`. */
static int
each_cold_file(struct repo *r, const struct digest *manifest,
               int (*fn)(struct repo *r, const struct repo_file *f, void *arg,
                         struct err *err),
               void *arg, struct err *err)
{
    struct repo_manifest m AUTO(repo_manifest_release) = { .files = NULL };
    int rc = repo_manifest_get(r, manifest, &m, err);

    for (int i = 0; rc == 0 && i < m.n_files; i++) {
        rc = repo_cold_row(r, &m.files[i].digest, err);
        if (rc == 1)
            rc = fn(r, &m.files[i], arg, err);
        if (rc < 0)
            return err_ctx(err, "%s", m.files[i].path);
    }
    return rc;
}

/* A whole file that is there is hashed, for the delta will go. ERR_NOTFOUND: another
 * process has taken one form away between two looks. */
static int
make_durable(struct repo *r, const struct digest *d, struct err *err)
{
    struct objects *whole = objects_cold_whole(r->objects);
    char path[COLD_PATH_BYTES];
    int fd AUTO(fs_close) = -1;
    int64_t size_bytes;
    int rc = whole->ops->has(whole, d, &size_bytes, err);

    if (rc == 0)
        return objects_cold_bring_back(r->objects, d, err);
    cold_path("objects", d, path);
    if (rc == 1)
        rc = objects_verify(whole, d, err);
    if (rc == 0)
        rc = whole->ops->open(whole, d, &fd, err);
    if (rc == 0)
        rc = fs_fsync(fd, path, err);
    return rc < 0 ? rc : cold_sync_name(r->dirfd, path, err);
}

static int
bring_back(struct repo *r, const struct repo_file *f, void *arg, struct err *err)
{
    struct repo_warm *w = arg;
    int rc = make_durable(r, &f->digest, err);

    for (int i = 0; rc == -ERR_NOTFOUND && i < TRIES; i++) {
        err_clear(err);
        rc = make_durable(r, &f->digest, err);
    }
    w->n_objects++;
    w->size_bytes += f->size_bytes;
    return rc;
}

int
repo_warm_make(struct repo *r, const struct digest *manifest, struct repo_warm *out,
               struct err *err)
{
    if (db_in_tx(r->db))
        BUG("objects brought back inside a transaction");
    *out = (struct repo_warm){ .n_objects = 0 };
    return each_cold_file(r, manifest, bring_back, out, err);
}

static int
drop_delta(struct repo *r, const struct repo_file *f, void *arg, struct err *err)
{
    struct objects *whole = objects_cold_whole(r->objects);
    int64_t size_bytes = -1;
    int rc = whole->ops->has(whole, &f->digest, &size_bytes, err);

    (void)arg;
    if (rc >= 0 && size_bytes != f->size_bytes)
        return err_set(err, ERR_BUSY, "it was made cold again meanwhile; try again");
    if (rc == 1)
        rc = db_run(r->db, err, "DELETE FROM cold WHERE object = ?", "b", f->digest.b,
                    sizeof(f->digest.b));
    /* a crash before the commit leaves the row, which then keeps a base for nothing */
    return rc < 0 ? rc : cold_unlink(r->dirfd, &f->digest, err);
}

int
repo_warm_record(struct repo *r, const struct digest *manifest, struct err *err)
{
    if (!db_in_tx(r->db))
        BUG("deltas dropped outside a transaction");
    return each_cold_file(r, manifest, drop_delta, NULL, err);
}

/* ---- fsck and backup ------------------------------------------------------------- */

int
repo_cold_verify(struct repo *r, const struct digest *d, struct err *err)
{
    struct cold_reader rd AUTO(cold_reader_close) = COLD_READER_INIT;
    int rc = cold_open_named(&rd, r->dirfd, d, err);

    return rc < 0 ? rc : cold_reader_all(&rd, -1, d, err);
}

struct cold_walk {
    struct repo *r;
    int (*fn)(void *arg, const char *problem, struct err *err);
    void *arg;
};

static int
tell(struct cold_walk *w, const char *path, const char *what, struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;

    buf_addf(&text, "cold/%s: %s", path, what);
    return w->fn ? w->fn(w->arg, buf_str(&text), err) : 0;
}

/* The object that a name below cold/ stands for; false: it is none's. */
static bool
digest_of_name(const char *path, struct digest *out)
{
    char hex[DIGEST_HEX_BYTES];

    if (strlen(path) != DIGEST_HEX_BYTES || path[2] != '/')
        return false;
    snprintf(hex, sizeof(hex), "%.2s%s", path, path + 3);
    return digest_parse(str_of(hex), out);
}

/* The table of one delta, and whether it is of the object whose name it bears. */
static int
read_item(const struct fs_entry *e, const struct digest *d, struct repo_cold_item *out,
          struct err *err)
{
    struct cold_file f AUTO(cold_file_close) = { .fd = -1 };
    int fd = -1;
    int rc =
        fs_open(&fd, e->dirfd, e->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, err);

    if (rc == 0)
        rc = cold_file_open(&f, fd, "its table", err);
    if (rc == 0 && !digest_eq(&f.object, d))
        rc = err_set(err, ERR_CORRUPT, "is another object's delta");
    *out = (struct repo_cold_item){ .object = *d,
                                    .base = f.base,
                                    .has_base = f.has_base,
                                    .size_bytes = f.size_bytes,
                                    .stored_bytes = f.file_bytes };
    return rc;
}

/* 1: there is such a row, and it says what the file says. */
static int
row_fits(struct repo *r, const struct repo_cold_item *item, struct err *err)
{
    int64_t one;

    return item->has_base
               ? db_get_int(r->db, &one, err,
                            "SELECT 1 FROM cold WHERE object = ? AND stored_bytes = ? "
                            "AND base = ?",
                            "bib", item->object.b, sizeof(item->object.b),
                            item->stored_bytes, item->base.b, sizeof(item->base.b))
               : db_get_int(r->db, &one, err,
                            "SELECT 1 FROM cold WHERE object = ? AND stored_bytes = ? "
                            "AND base IS NULL",
                            "bi", item->object.b, sizeof(item->object.b),
                            item->stored_bytes);
}

static int
check_entry(void *arg, const struct fs_entry *e, struct err *err)
{
    struct cold_walk *w = arg;
    struct objects *whole = objects_cold_whole(w->r->objects);
    struct repo_cold_item item;
    struct digest d;
    int64_t size_bytes;
    int rc;

    if (S_ISDIR(e->st.st_mode))
        return 0;
    if (!digest_of_name(e->path, &d))
        return tell(w, e->path, "not an object's name", err);
    rc = read_item(e, &d, &item, err);
    if (rc < 0) {
        const struct err told = *err;

        err_clear(err);
        return tell(w, e->path, told.msg, err);
    }
    rc = row_fits(w->r, &item, err);
    if (rc == 0) /* made, but not recorded: whoever made it was interrupted */
        rc = whole->ops->has(whole, &d, &size_bytes, err);
    return rc == 0  ? tell(w, e->path,
                           "the catalogue has no such row, so its base may be collected",
                           err)
           : rc < 0 ? rc
                    : 0;
}

int
repo_cold_check(struct repo *r,
                int (*fn)(void *arg, const char *problem, struct err *err), void *arg,
                struct err *err)
{
    struct cold_walk w = { .r = r, .fn = fn, .arg = arg };
    int rc = fs_exists(r->dirfd, "cold", err); /* older stores have none */

    return rc == 1 ? fs_walk(r->dirfd, "cold", check_entry, &w, err) : rc;
}

int
repo_cold_forget(struct repo *r, const struct digest *d, struct err *err)
{
    int rc = repo_object_row(r, d, err);

    if (rc != 0)
        return rc < 0 ? rc : 0;
    rc = db_run(r->db, err, "DELETE FROM cold WHERE object = ?", "b", d->b,
                sizeof(d->b));
    return rc < 0 ? rc : cold_unlink(r->dirfd, d, err);
}

static int
sweep_entry(void *arg, const struct fs_entry *e, struct err *err)
{
    struct repo *r = arg;
    struct digest d;
    int rc;

    if (S_ISDIR(e->st.st_mode) || !digest_of_name(e->path, &d) ||
        e->st.st_mtim.tv_sec > clock_now_ns() / 1000000000 - STRAY_S)
        return 0;
    rc = repo_cold_row(r, &d, err);
    if (rc != 0)
        return rc < 0 ? rc : 0;
    rc = db_begin(r->db, err);
    if (rc == 0)
        rc = repo_cold_row(r, &d, err);
    if (rc == 0)
        rc = repo_cold_forget(r, &d, err);
    if (rc == 0)
        rc = db_commit(r->db, err);
    db_rollback(r->db);
    return rc < 0 ? rc : 0;
}

int
repo_cold_sweep(struct repo *r, struct err *err)
{
    int rc = fs_exists(r->dirfd, "cold", err);

    return rc == 1 ? fs_walk(r->dirfd, "cold", sweep_entry, r, err) : rc;
}

static int
rebuild_entry(void *arg, const struct fs_entry *e, struct err *err)
{
    struct repo *r = arg;
    struct repo_cold_item item;
    struct digest d;
    int rc;

    if (S_ISDIR(e->st.st_mode) || !digest_of_name(e->path, &d))
        return 0;
    rc = read_item(e, &d, &item, err);
    if (rc == -ERR_CORRUPT) {
        err_clear(err); /* fsck tells */
        return 0;
    }
    if (rc == 0)
        rc = repo_object_row(r, &d, err);
    if (rc == 1 && item.has_base)
        rc = repo_object_row(r, &item.base, err);
    return rc == 1 ? repo_cold_put_row(r, &item, err) : rc;
}

int
repo_cold_rebuild(struct repo *r, struct err *err)
{
    int rc = fs_exists(r->dirfd, "cold", err);

    return rc == 1 ? fs_walk(r->dirfd, "cold", rebuild_entry, r, err) : rc;
}
