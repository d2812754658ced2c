/* SPDX-License-Identifier: Apache-2.0 */
/* The backend that everybody uses: whole files, and behind them cold/. What is asked
 * for by name and is cold is brought back first. */
#include "repo/cold_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define TRIES 32 /* a file may go from whole to cold and back between two looks */

struct cold {
    struct objects o;
    struct objects *whole;
    int dirfd; /* the store's, borrowed */
};

static struct cold *
cold_of(struct objects *o)
{
    return (struct cold *)(void *)o;
}

struct objects *
objects_cold_whole(struct objects *o)
{
    return cold_of(o)->whole;
}

int
cold_unlink(int store_dirfd, const struct digest *d, struct err *err)
{
    char path[COLD_PATH_BYTES];

    cold_path("cold", d, path);
    return fs_unlink(store_dirfd, path, err);
}

/* ---- bringing back ---- */

int
cold_sync_name(int dirfd, const char *path, struct err *err)
{
    char folder[COLD_PATH_BYTES];
    int r;

    memcpy(folder, path, sizeof(folder));
    *strrchr(folder, '/') = '\0';
    r = fs_fsync_dir(dirfd, folder, err);
    *strrchr(folder, '/') = '\0';
    return r < 0 ? r : fs_fsync_dir(dirfd, folder, err);
}

/* The object, verified, in a file without a name. ERR_NOTFOUND: no delta. */
static int
make_whole(struct cold *c, const struct digest *d, int stage, struct fs_tmp *tmp,
           struct err *err)
{
    struct cold_reader rd AUTO(cold_reader_close) = COLD_READER_INIT;
    int r = cold_open_named(&rd, c->dirfd, d, err);

    if (r == 0)
        r = fs_tmp_open(tmp, stage, err);
    if (r < 0)
        return r;
    flock(tmp->fd, LOCK_SH | LOCK_NB); /* says "alive" where it has a name */
    return cold_reader_all(&rd, tmp->fd, d, err);
}

/* The whole file, durable. Another process may do the same: one of the two files gets
 * the name, and both have the same bytes. */
static int
bring_back(struct cold *c, const struct digest *d, struct err *err)
{
    struct fs_tmp tmp AUTO(fs_tmp_abort) = FS_TMP_INIT;
    char path[3 + COLD_PATH_BYTES] = "../", *slash;
    int stage AUTO(fs_close) = -1;
    int r = fs_open_dir(&stage, c->dirfd, "stage", err);

    cold_path("objects", d, path + 3);
    if (r == 0)
        r = make_whole(c, d, stage, &tmp, err);
    if (r == 0) {
        slash = strrchr(path, '/');
        *slash = '\0';
        r = fs_mkdirs(stage, path, 0700, err);
        *slash = '/';
    }
    if (r == 0)
        r = fs_tmp_commit(&tmp, path, 0444, err);
    if (r >= 0)
        r = cold_sync_name(c->dirfd, path + 3, err);
    if (r == -ERR_NOTFOUND)
        return r;
    return r < 0 ? err_ctx(err, "bring a cold object back") : 0;
}

int
objects_cold_bring_back(struct objects *o, const struct digest *d, struct err *err)
{
    return bring_back(cold_of(o), d, err);
}

/* For a reader: the file has no name and goes with its descriptor. Where the store has
 * no room, or cannot be written at all, it lies where other programs' such files do. */
static int
open_apart(struct cold *c, const struct digest *d, int *out_fd, struct err *err)
{
    const char *outside = getenv("TMPDIR");
    struct fs_tmp tmp AUTO(fs_tmp_abort) = FS_TMP_INIT;
    int stage AUTO(fs_close) = -1;
    int fd, r = fs_open_dir(&stage, c->dirfd, "stage", err);

    if (r == 0)
        r = make_whole(c, d, stage, &tmp, err);
    if (r < 0 && (err->sys == EROFS || err->sys == ENOSPC || err->sys == EDQUOT)) {
        err_clear(err);
        fs_tmp_abort(&tmp);
        fs_close(&stage);
        r = fs_open_dir(&stage, AT_FDCWD, outside && outside[0] ? outside : "/tmp",
                        err);
        if (r == 0)
            r = make_whole(c, d, stage, &tmp, err);
    }
    if (r < 0)
        return r == -ERR_NOTFOUND ? r : err_ctx(err, "read a cold object");
    fd = fcntl(tmp.fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0 || lseek(fd, 0, SEEK_SET) < 0) {
        fs_close(&fd);
        return err_sys(err, errno, "read a cold object");
    }
    *out_fd = fd;
    return 0;
}

/* ---- the operations ---- */

static int
op_put(struct objects *o, struct objects_put *p, struct err *err)
{
    return cold_of(o)->whole->ops->put(cold_of(o)->whole, p, err);
}

static int
op_sync(struct objects *o, struct err *err)
{
    return cold_of(o)->whole->ops->sync(cold_of(o)->whole, err);
}

static bool
op_is_settled(const struct objects *o)
{
    const struct objects *whole = ((const struct cold *)(const void *)o)->whole;

    return whole->ops->is_settled(whole);
}

static void
op_forget(struct objects *o)
{
    cold_of(o)->whole->ops->forget(cold_of(o)->whole);
}

static int
op_has(struct objects *o, const struct digest *d, int64_t *size_bytes, struct err *err)
{
    struct cold *c = cold_of(o);
    int r = c->whole->ops->has(c->whole, d, size_bytes, err);

    for (int i = 0; r == 0 && i < 2; i++) {
        struct cold_reader rd AUTO(cold_reader_close) = COLD_READER_INIT;

        r = cold_open_named(&rd, c->dirfd, d, err);
        if (r == 0) {
            *size_bytes = rd.size_bytes;
            return 1;
        }
        if (r != -ERR_NOTFOUND)
            return r;
        err_clear(err);
        r = c->whole->ops->has(c->whole, d, size_bytes, err);
    }
    return r;
}

static int
read_into(struct cold *c, const struct digest *d, struct buf *out, struct err *err)
{
    struct cold_reader rd AUTO(cold_reader_close) = COLD_READER_INIT;
    int r = cold_open_named(&rd, c->dirfd, d, err);
    char *p;

    if (r == 0)
        r = cold_reader_all(&rd, -1, d, err);
    if (r < 0)
        return r;
    p = buf_room(out, (size_t)rd.size_bytes);
    if (!p)
        return buf_check(out, "a cold object", err);
    r = cold_read(&rd, 0, p, (size_t)rd.size_bytes, err);
    if (r == 0)
        out->len += (size_t)rd.size_bytes;
    return r;
}

/* After looks both ways that gave *r: none found it, and yet one of the two is there?
 */
static bool
is_there(struct cold *c, const struct digest *d, int *n_tries, int *r, struct err *err)
{
    const struct err absent = *err;
    int64_t size_bytes;

    if (*r != -ERR_NOTFOUND || (*n_tries)++ == TRIES)
        return false;
    err_clear(err);
    *r = op_has(&c->o, d, &size_bytes, err);
    if (*r == 0) {
        *err = absent;
        *r = -(int)absent.code;
    }
    return *r == 1;
}

/* Whole, else from the delta; and again, while it goes to and fro. */
#define EITHER_WAY(look_at_whole, take_from_delta)                                     \
    do {                                                                               \
        r = (look_at_whole);                                                           \
        if (r == -ERR_NOTFOUND) {                                                      \
            err_clear(err);                                                            \
            r = (take_from_delta);                                                     \
        }                                                                              \
    } while (is_there(c, d, &n, &r, err))

static int
op_get(struct objects *o, const struct digest *d, struct buf *out, struct err *err)
{
    struct cold *c = cold_of(o);
    int n = 0, r;

    EITHER_WAY(c->whole->ops->get(c->whole, d, out, err), read_into(c, d, out, err));
    return r;
}

static int
op_open(struct objects *o, const struct digest *d, int *out_fd, struct err *err)
{
    struct cold *c = cold_of(o);
    int n = 0, r;

    EITHER_WAY(c->whole->ops->open(c->whole, d, out_fd, err),
               open_apart(c, d, out_fd, err));
    return r;
}

static int
link_back(struct cold *c, const struct digest *d, int to_dirfd, const char *to,
          struct err *err)
{
    int r = bring_back(c, d, err);

    return r < 0 ? r : c->whole->ops->link(c->whole, d, to_dirfd, to, err);
}

static int
op_link(struct objects *o, const struct digest *d, int to_dirfd, const char *to,
        struct err *err)
{
    struct cold *c = cold_of(o);
    int n = 0, r;

    EITHER_WAY(c->whole->ops->link(c->whole, d, to_dirfd, to, err),
               link_back(c, d, to_dirfd, to, err));
    return r;
}

static int
op_delete(struct objects *o, const struct digest *d, struct err *err)
{
    struct cold *c = cold_of(o);
    int r = c->whole->ops->delete (c->whole, d, err);

    return r < 0 ? r : cold_unlink(c->dirfd, d, err);
}

static int
op_set_aside(struct objects *o, const struct digest *d, bool stays, struct buf *path,
             struct err *err)
{
    struct objects *whole = cold_of(o)->whole;

    return whole->ops->set_aside(whole, d, stays, path, err);
}

static int
op_list(struct objects *o, objects_list_fn *fn, void *arg, struct err *err)
{
    return cold_of(o)->whole->ops->list(cold_of(o)->whole, fn, arg, err);
}

/* Both forms, where there are both: the delta may be all there is tomorrow. */
static int
op_verify(struct objects *o, const struct digest *d, struct err *err)
{
    struct cold_reader rd AUTO(cold_reader_close) = COLD_READER_INIT;
    struct cold *c = cold_of(o);
    int r = cold_open_named(&rd, c->dirfd, d, err), is_cold = r == 0;

    if (r == 0)
        r = cold_reader_all(&rd, -1, d, err);
    else if (r == -ERR_NOTFOUND)
        r = (err_clear(err), 0);
    if (r < 0)
        return r;
    r = objects_verify(c->whole, d, err);
    if (r == -ERR_NOTFOUND && is_cold)
        r = (err_clear(err), 0);
    return r;
}

static void
op_close(struct objects *o)
{
    objects_close(cold_of(o)->whole);
    free(o);
}

static const struct objects_ops cold_ops = {
    .name = "local, with cold objects",
    .put = op_put,
    .sync = op_sync,
    .is_settled = op_is_settled,
    .forget = op_forget,
    .get = op_get,
    .has = op_has,
    .open = op_open,
    .link = op_link,
    .delete = op_delete,
    .set_aside = op_set_aside,
    .list = op_list,
    .verify = op_verify,
    .close = op_close,
};

int
objects_open_cold(struct objects **out, struct objects *whole, int store_dirfd,
                  struct err *err)
{
    struct cold *c = xcalloc(1, sizeof(*c));

    (void)err; /* other backends can fail here */
    c->o.ops = &cold_ops;
    c->whole = whole;
    c->dirfd = store_dirfd;
    *out = &c->o;
    return 0;
}
