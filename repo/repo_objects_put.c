/* SPDX-License-Identifier: Apache-2.0 */
/* Objects on their way into the store: written without a name, made durable many at a
 * time, named. */
#include "repo/repo_objects_local.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#define WAITING_MAX 256 /* each holds a descriptor */
#define EACH_MAX 32     /* so many are synced one by one, more by one syncfs */

int
local_open_stage(struct local *l, struct err *err)
{
    struct rlimit files;

    if (l->stage_fd >= 0)
        return 0;
    if (!l->chunk)
        l->chunk = xmalloc(CHUNK_BYTES);
    l->max_waiting = WAITING_MAX;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur / 4 < WAITING_MAX)
        l->max_waiting = files.rlim_cur / 4 > 0 ? (int)(files.rlim_cur / 4) : 1;
    return fs_open_dir(&l->stage_fd, l->dirfd, "stage", err);
}

/* 1: the name is there and holds these bytes, 0: it is absent, or holds others (*torn).
 */
static int
is_present(struct local *l, const struct objects_put *p, bool *torn, struct err *err)
{
    int64_t size_bytes = 0;
    int fd AUTO(fs_close) = -1;
    int r = local_has(&l->o, &p->digest, &size_bytes, err);

    *torn = r == 1;
    if (r != 1 || size_bytes != p->size_bytes)
        return r < 0 ? r : 0;
    r = p->known ? p->known(p->arg, &p->digest, err) : 0;
    if (r >= 0 && local_has(&l->o, &p->digest, &size_bytes, err) == 0) {
        *torn = false; /* gc took it before `known` could keep it from that */
        return 0;
    }
    if (r == 0) {
        r = local_open(&l->o, &p->digest, &fd, err);
        if (r == 0)
            r = objects_verify_fd(fd, &p->digest, "an object", err);
        if (r == -ERR_CORRUPT) {
            err_clear(err);
            return 0;
        }
        /* hashed as the page cache has it, so make the disk have it too */
        if (r == 0)
            r = fs_fsync(fd, "an object", err);
        if (r == 0)
            l->touched[p->digest.b[0]] = true;
    }
    *torn = false;
    return r < 0 ? r : 1;
}

/* What bears the name is damaged. Links elsewhere keep the damaged file. */
static int
replace(struct local *l, struct fs_tmp *tmp, const char *path, struct err *err)
{
    char name[64];
    int r;

    snprintf(name, sizeof(name), "replace-%ld-%" PRId64, (long)getpid(),
             clock_mono_ns());
    r = fs_tmp_link(tmp, name, err);
    if (r == 0) {
        r = fs_rename(l->stage_fd, name, l->stage_fd, path, err);
        if (r < 0)
            unlinkat(l->stage_fd, name, 0);
    }
    return r;
}

/* Somebody else was faster: what they named was hashed by them, or was left by a crash
 * between our two looks. */
static int
check_named(struct local *l, const struct waiting *w, const char *path, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    int r = local_open(&l->o, &w->digest, &fd, err);

    if (r == 0)
        r = objects_verify_fd(fd, &w->digest, "an object", err);
    if (r == -ERR_CORRUPT) {
        err_clear(err);
        return err_set(
            err, ERR_BUSY,
            "%s: appeared meanwhile and is damaged; push again to replace it",
            path + 3);
    }
    return r < 0 ? r : fs_fsync(fd, "an object", err);
}

/* Gives one that waits its name. */
static int
place(struct local *l, struct waiting *w, struct err *err)
{
    char path[PATH_BYTES], fan_out[sizeof("../objects/ab")];
    int r;

    if (!w->is_durable)
        BUG("an object gets its name before its bytes are on the disk");
    object_path(&w->digest, "../", path); /* relative to stage/ */
    memcpy(fan_out, path, sizeof(fan_out) - 1);
    fan_out[sizeof(fan_out) - 1] = '\0';
    l->touched[w->digest.b[0]] = true;
    if (w->torn)
        return replace(l, &w->tmp, path, err);
    r = fs_mkdirs(l->stage_fd, fan_out, 0700, err);
    if (r == 0)
        r = fs_tmp_link(&w->tmp, path, err);
    return r == 1 ? check_named(l, w, path, err) : r;
}

void
local_forget(struct objects *o)
{
    struct local *l = local_of(o);

    for (int i = 0; i < l->n_waiting; i++)
        fs_tmp_abort(&l->waiting[i].tmp);
    l->n_waiting = 0;
}

/* Many small files cost one barrier for all; for a few, their own cost less than what
 * else may lie in the file system's cache. */
static int
make_durable(struct local *l, struct err *err)
{
    int n = 0, r = 0;

    for (int i = 0; i < l->n_waiting; i++)
        n += !l->waiting[i].is_durable;
    for (int i = 0; i < l->n_waiting && n <= EACH_MAX; i++)
        if (!l->waiting[i].is_durable)
            fs_writeout(l->waiting[i].tmp.fd, 0, 0);
    if (n > EACH_MAX)
        r = fs_sync_all(l->stage_fd, "the store", err);
    for (int i = 0; r == 0 && i < l->n_waiting; i++) {
        if (n <= EACH_MAX && !l->waiting[i].is_durable)
            r = fs_datasync(l->waiting[i].tmp.fd, "an object", err);
        l->waiting[i].is_durable = r == 0;
    }
    return r;
}

/* Names everything that waits: bytes first, all of them, then names. */
static int
flush(struct local *l, struct err *err)
{
    int r = make_durable(l, err);

    for (int i = 0; r == 0 && i < l->n_waiting; i++)
        r = place(l, &l->waiting[i], err);
    local_forget(&l->o);
    return r;
}

/* `tmp` has the bytes: it waits, unless the store has them too. */
static int
keep(struct local *l, struct objects_put *p, struct fs_tmp *tmp, bool torn,
     bool is_durable, struct err *err)
{
    int r = fs_tmp_seal(tmp, "an object", OBJECT_MODE, err);

    if (r < 0)
        return r;
    if (!l->waiting)
        l->waiting = xcalloc((size_t)l->max_waiting, sizeof(*l->waiting));
    l->waiting[l->n_waiting++] = (struct waiting){
        .tmp = *tmp, .digest = p->digest, .torn = torn, .is_durable = is_durable
    };
    *tmp = (struct fs_tmp)FS_TMP_INIT;
    p->is_new = true;
    return l->n_waiting == l->max_waiting ? flush(l, err) : 0;
}

/* 1: the store has these bytes, or will have them at the next barrier. */
static int
is_here(struct local *l, const struct objects_put *p, bool *torn, struct err *err)
{
    for (int i = l->n_waiting; i > 0; i--)
        if (digest_eq(&l->waiting[i - 1].digest, &p->digest))
            return 1;
    return is_present(l, p, torn, err);
}

/* Sets the size of what fs_write_sparse wrote. */
static int
end_file(int fd, int64_t size_bytes, struct err *err)
{
    return ftruncate(fd, size_bytes) < 0 ? err_sys(err, errno, "write an object") : 0;
}

static int
open_tmp(struct local *l, const struct objects_put *p, struct fs_tmp *tmp,
         struct err *err)
{
    int r;

    if (p->file && p->file->is_ours) {
        tmp->dirfd = l->stage_fd;
        tmp->fd = fcntl(p->file->fd, F_DUPFD_CLOEXEC, 0);
        return tmp->fd < 0 ? err_sys(err, errno, "duplicate a descriptor") : 0;
    }
    r = fs_tmp_open(tmp, l->stage_fd, err);
    if (r == 0)
        flock(tmp->fd, LOCK_SH | LOCK_NB); /* says "alive" where it has a name */
    return r;
}

/* Fills the chunk: the number of bytes, CHUNK_BYTES when there may be more. */
static int64_t
fill(struct local *l, struct objects_put *p, struct err *err)
{
    const struct objects_file *f = p->file;
    const size_t most = f ? (size_t)f->size_bytes : CHUNK_BYTES;
    size_t n = 0;

    while (n < most) {
        int64_t got = f ? pread(f->fd, l->chunk + n, most - n, (off_t)n)
                        : p->read(p->arg, l->chunk + n, most - n, err);

        if (got < 0 && f && errno == EINTR)
            continue;
        if (got < 0)
            return f ? err_sys(err, errno, "read") : got;
        if (got == 0)
            break;
        n += (size_t)got;
    }
    return (int64_t)n;
}

/* All of it is in the chunk: known before anything is written. */
static int
put_small(struct local *l, struct objects_put *p, struct err *err)
{
    struct fs_tmp tmp AUTO(fs_tmp_abort) = FS_TMP_INIT;
    const struct objects_file *f = p->file;
    bool torn = false;
    int r = f ? repo_check_crcs(f, l->chunk, (size_t)p->size_bytes, p->what, err) : 0;

    if (r < 0)
        return r;
    if (f && f->progress)
        f->progress(p->arg, p->size_bytes);
    sha256_of(l->chunk, (size_t)p->size_bytes, &p->digest);
    r = is_here(l, p, &torn, err);
    if (r == 0)
        r = open_tmp(l, p, &tmp, err);
    else
        return r < 0 ? r : 0;
    if (r == 0 && !(f && f->is_ours)) {
        r = fs_write_sparse(tmp.fd, l->chunk, (size_t)p->size_bytes, 0, "an object",
                            err);
        if (r == 0 && p->size_bytes >= FS_HOLE_BYTES)
            r = end_file(tmp.fd, p->size_bytes, err);
    }
    return r < 0 ? r : keep(l, p, &tmp, torn, false, err);
}

/* The first CHUNK_BYTES are in the chunk, the others come as they like. */
static int
copy_stream(struct local *l, struct objects_put *p, int to_fd, struct err *err)
{
    struct sha256 hash;
    int64_t n = p->size_bytes;

    sha256_init(&hash);
    for (p->size_bytes = 0; n > 0; n = p->read(p->arg, l->chunk, CHUNK_BYTES, err)) {
        int r = fs_write_sparse(to_fd, l->chunk, (size_t)n, p->size_bytes, "an object",
                                err);

        if (r < 0)
            return r;
        sha256_add(&hash, l->chunk, (size_t)n);
        p->size_bytes += n;
    }
    sha256_end(&hash, &p->digest);
    if (n == 0)
        n = end_file(to_fd, p->size_bytes, err);
    return n < 0 ? (int)n : fs_datasync(to_fd, "an object", err);
}

static int
copy_file(struct objects_put *p, int to_fd, struct err *err)
{
    struct repo_pump pump = {
        .file = p->file, .to_fd = to_fd, .what = p->what, .progress_arg = p->arg
    };
    int r = repo_pump(&pump, err);

    p->digest = pump.digest;
    p->size_bytes = pump.size_bytes;
    return r;
}

static int
put_big(struct local *l, struct objects_put *p, struct err *err)
{
    struct fs_tmp tmp AUTO(fs_tmp_abort) = FS_TMP_INIT;
    bool torn = false;
    int r = open_tmp(l, p, &tmp, err);

    if (r == 0 && p->file && p->file->is_hashed)
        p->size_bytes = p->file->size_bytes;
    else if (r == 0)
        r = p->file ? copy_file(p, tmp.fd, err) : copy_stream(l, p, tmp.fd, err);
    if (r == 0)
        r = is_here(l, p, &torn, err);
    return r < 0 ? r : r == 1 ? 0 : keep(l, p, &tmp, torn, true, err);
}

int
local_put(struct objects *o, struct objects_put *p, struct err *err)
{
    struct local *l = local_of(o);
    const bool is_big = p->file && p->file->size_bytes > (int64_t)CHUNK_BYTES;
    int r = local_open_stage(l, err);

    p->is_new = false;
    p->size_bytes = 0;
    if (r == 0 && !is_big) {
        p->size_bytes = fill(l, p, err);
        r = p->size_bytes < 0 ? (int)p->size_bytes : 0;
    }
    if (r == 0)
        r = is_big || (!p->file && p->size_bytes == (int64_t)CHUNK_BYTES)
                ? put_big(l, p, err)
                : put_small(l, p, err);
    return r < 0 ? err_ctx(err, "store %s", p->what) : 0;
}

int
local_sync(struct objects *o, struct err *err)
{
    struct local *l = local_of(o);
    bool any = false;
    int r = l->n_waiting > 0 ? flush(l, err) : 0;

    if (r < 0)
        return err_ctx(err, "store");
    for (unsigned i = 0; i < 256; i++) {
        char path[sizeof("objects/ab")];

        if (!l->touched[i])
            continue;
        snprintf(path, sizeof(path), "objects/%02x", i & 0xff);
        r = fs_fsync_dir(l->dirfd, path, err);
        if (r < 0)
            return r;
        any = true;
    }
    if (any) {
        r = fs_fsync_dir(l->dirfd, "objects", err);
        if (r < 0)
            return r;
    }
    memset(l->touched, 0, sizeof(l->touched));
    return 0;
}

bool
local_is_settled(const struct objects *o)
{
    const struct local *l = (const struct local *)(const void *)o;
    bool any = l->n_waiting > 0;

    for (int i = 0; i < 256; i++)
        any |= l->touched[i];
    return !any;
}
