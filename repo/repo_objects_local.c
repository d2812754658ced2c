/* SPDX-License-Identifier: Apache-2.0 */
/* Objects as files: objects/ab/cdef… (2 + 62 hex digits), mode 0444. Invariants:
 *
 *  1. a file gets its name only when its bytes are on the disk (fs_tmp_commit); its
 * name is on the disk when its fan-out directory and objects/ are synced, which `sync`
 * does once for all puts before it;
 *  2. a name proves nothing: whoever finds a file without a row in the catalogue hashes
 * it, and one that hashes to something else is replaced by rename, in one step;
 *  3. temporary files are nameless or live in stage/, locked, so that another process
 * can tell what a dead one left. */
#include "repo/objects.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define CHUNK_BYTES ((size_t)1 << 20)
#define OBJECT_MODE 0444
#define PATH_BYTES 80 /* "../objects/ab/" + 62 digits + NUL, and some */

struct local {
    struct objects o;
    int dirfd;         /* the store's, borrowed */
    int stage_fd;      /* -1 until the first put */
    char *chunk;       /* CHUNK_BYTES, from the first put on */
    bool touched[256]; /* fan-out directories with names that are not synced */
};

static struct local *
local_of(struct objects *o)
{
    return (struct local *)(void *)o;
}

static void
object_path(const struct digest *d, const char *prefix, char out[PATH_BYTES])
{
    char hex[DIGEST_HEX_BYTES];

    digest_hex(d, hex);
    snprintf(out, PATH_BYTES, "%sobjects/%.2s/%s", prefix, hex, hex + 2);
}

/* Turns ENOENT into the code that callers decide by. */
static int
absent(const struct digest *d, struct err *err)
{
    char hex[DIGEST_HEX_BYTES];

    if (err->code != ERR_IO || err->sys != ENOENT)
        return -(int)err->code;
    err_clear(err);
    digest_hex(d, hex);
    return err_set(err, ERR_NOTFOUND, "object %s is not in the store", hex);
}

static int
local_has(struct objects *o, const struct digest *d, int64_t *size_bytes,
          struct err *err)
{
    char path[PATH_BYTES];
    struct stat st;

    object_path(d, "", path);
    if (fstatat(local_of(o)->dirfd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(err, errno, "stat %s", path);
    /* a directory, link or FIFO is present, and as wrong as a file can be */
    *size_bytes = S_ISREG(st.st_mode) ? st.st_size : -1;
    return 1;
}

static int
local_open(struct objects *o, const struct digest *d, int *out_fd, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    char path[PATH_BYTES];
    struct stat st;
    int r;

    object_path(d, "", path);
    r = fs_open(&fd, local_of(o)->dirfd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0,
                err);
    if (r < 0)
        return absent(d, err);
    if (fstat(fd, &st) < 0)
        return err_sys(err, errno, "stat %s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_CORRUPT, "%s: not a regular file", path);
    *out_fd = fd;
    fd = -1;
    return 0;
}

static int
local_get(struct objects *o, const struct digest *d, struct buf *out, struct err *err)
{
    const size_t old_len = out->len;
    char path[PATH_BYTES];
    struct digest got;
    int fd AUTO(fs_close) = -1;
    int r = local_open(o, d, &fd, err);

    if (r < 0)
        return r;
    object_path(d, "", path);
    r = fs_read(local_of(o)->dirfd, path, out, err);
    if (r < 0)
        return r;
    sha256_of(buf_str(out) + old_len, out->len - old_len, &got);
    if (digest_eq(&got, d))
        return 0;
    out->len = old_len;
    return err_set(err, ERR_CORRUPT,
                   "%s: its bytes hash to something else: restore it, or push the same "
                   "files again",
                   path);
}

static int
local_link(struct objects *o, const struct digest *d, int to_dirfd, const char *to,
           struct err *err)
{
    char path[PATH_BYTES];
    int sys, r;

    object_path(d, "", path);
    r = fs_link(local_of(o)->dirfd, path, to_dirfd, to, err);
    sys = r < 0 ? err->sys : 0;
    /* another mount, too many links, no hard links there, or fs.protected_hardlinks */
    if (sys == EXDEV || sys == EMLINK || sys == EPERM || sys == EOPNOTSUPP) {
        err_clear(err);
        return err_set(err, ERR_UNSUPPORTED, "link %s to %s: %s", path, to,
                       strerrordesc_np(sys));
    }
    return r < 0 && sys == ENOENT ? absent(d, err) : r;
}

static int
local_delete(struct objects *o, const struct digest *d, struct err *err)
{
    char path[PATH_BYTES];

    object_path(d, "", path);
    return fs_unlink(local_of(o)->dirfd, path, err);
}

/* ---- put ------------------------------------------------------------------------- */

static int
open_stage(struct local *l, struct err *err)
{
    if (!l->chunk)
        l->chunk = xmalloc(CHUNK_BYTES);
    return l->stage_fd >= 0 ? 0 : fs_open_dir(&l->stage_fd, l->dirfd, "stage", err);
}

/* The one pass over the source. */
static int
copy_in(struct local *l, struct objects_put *p, int to_fd, struct err *err)
{
    struct sha256 hash;
    int64_t n;

    sha256_init(&hash);
    p->size_bytes = 0;
    while ((n = p->read(p->arg, l->chunk, CHUNK_BYTES, err)) > 0) {
        int r = fs_write_all(to_fd, l->chunk, (size_t)n, "an object", err);

        if (r < 0)
            return r;
        sha256_add(&hash, l->chunk, (size_t)n);
        p->size_bytes += n;
    }
    sha256_end(&hash, &p->digest);
    return (int)n;
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
    r = p->known(p->arg, &p->digest, err);
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
    r = fs_tmp_commit(tmp, name, OBJECT_MODE, err);
    if (r == 0) {
        r = fs_rename(l->stage_fd, name, l->stage_fd, path, err);
        if (r < 0)
            unlinkat(l->stage_fd, name, 0);
    }
    return r;
}

/* The bytes are in tmp; `path` is relative to stage/. */
static int
place(struct local *l, struct objects_put *p, struct fs_tmp *tmp, const char *path,
      struct err *err)
{
    bool torn;
    int r = is_present(l, p, &torn, err);

    if (r != 0)
        return r < 0 ? r : 0;
    if (torn) {
        r = replace(l, tmp, path, err);
    } else {
        char fan_out[sizeof("../objects/ab")];

        memcpy(fan_out, path, sizeof(fan_out) - 1);
        fan_out[sizeof(fan_out) - 1] = '\0';
        r = fs_mkdirs(l->stage_fd, fan_out, 0700, err);
        if (r == 0)
            r = fs_tmp_commit(tmp, path, OBJECT_MODE, err);
    }
    if (r < 0)
        return r;
    l->touched[p->digest.b[0]] = true;
    p->is_new = r == 0;
    if (r == 0)
        return 0;
    /* Somebody else was faster. What they named was hashed by them, or was left by a
     * crash between our two looks. */
    r = is_present(l, p, &torn, err);
    return r == 0  ? err_set(err, ERR_BUSY,
                             "%s: appeared meanwhile and is damaged; push "
                              "again to replace it",
                             path + 3)
           : r < 0 ? r
                   : 0;
}

static int
local_put(struct objects *o, struct objects_put *p, struct err *err)
{
    struct local *l = local_of(o);
    struct fs_tmp tmp AUTO(fs_tmp_abort) = FS_TMP_INIT;
    char path[PATH_BYTES];
    int r;

    p->is_new = false;
    if ((r = open_stage(l, err)) < 0 || (r = fs_tmp_open(&tmp, l->stage_fd, err)) < 0)
        return err_ctx(err, "store %s", p->what);
    flock(tmp.fd, LOCK_SH | LOCK_NB); /* says "alive" where it has a name */
    r = copy_in(l, p, tmp.fd, err);
    if (r == 0) {
        object_path(&p->digest, "../", path);
        r = place(l, p, &tmp, path, err);
    }
    return r < 0 ? err_ctx(err, "store %s", p->what) : 0;
}

static int
local_sync(struct objects *o, struct err *err)
{
    struct local *l = local_of(o);
    bool any = false;

    for (unsigned i = 0; i < 256; i++) {
        char path[sizeof("objects/ab")];
        int r;

        if (!l->touched[i])
            continue;
        snprintf(path, sizeof(path), "objects/%02x", i & 0xff);
        r = fs_fsync_dir(l->dirfd, path, err);
        if (r < 0)
            return r;
        any = true;
    }
    if (any) {
        int r = fs_fsync_dir(l->dirfd, "objects", err);

        if (r < 0)
            return r;
    }
    memset(l->touched, 0, sizeof(l->touched));
    return 0;
}

/* ---- list --------------------------------------------------------------------------
 */

struct listing {
    objects_list_fn *fn;
    void *arg;
};

static int
list_entry(void *arg, const struct fs_entry *e, struct err *err)
{
    const struct listing *list = arg;
    char hex[DIGEST_HEX_BYTES] = "", again[DIGEST_HEX_BYTES];
    struct digest d;
    bool is_object = false;

    if (S_ISDIR(e->st.st_mode))
        return 0;
    if (strlen(e->path) == DIGEST_HEX_BYTES && e->path[2] == '/') {
        snprintf(hex, sizeof(hex), "%.2s%s", e->path, e->path + 3);
        is_object = digest_parse(str_of(hex), &d);
        if (is_object) {
            digest_hex(&d, again);
            is_object = strcmp(hex, again) == 0; /* lower case */
        }
    }
    return list->fn(list->arg, is_object ? &d : NULL, e->path, e->st.st_size, err);
}

static int
local_list(struct objects *o, objects_list_fn *fn, void *arg, struct err *err)
{
    struct listing list = { .fn = fn, .arg = arg };

    return fs_walk(local_of(o)->dirfd, "objects", list_entry, &list, err);
}

static void
local_close(struct objects *o)
{
    struct local *l = local_of(o);

    fs_close(&l->stage_fd);
    free(l->chunk);
    free(l);
}

static const struct objects_ops local_ops = {
    .name = "local",
    .put = local_put,
    .sync = local_sync,
    .get = local_get,
    .has = local_has,
    .open = local_open,
    .link = local_link,
    .delete = local_delete,
    .list = local_list,
    .close = local_close,
};

int
objects_open_local(struct objects **out, int store_dirfd, struct err *err)
{
    struct local *l = xcalloc(1, sizeof(*l));

    (void)err; /* other backends can fail here */
    l->o.ops = &local_ops;
    l->dirfd = store_dirfd;
    l->stage_fd = -1;
    *out = &l->o;
    return 0;
}
