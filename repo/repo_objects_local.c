/* SPDX-License-Identifier: Apache-2.0 */
/* Objects as files: objects/ab/cdef… (2 + 62 hex digits), mode 0444. Invariants:
 *
 *  1. a file gets its name only when its bytes are on the disk: small ones wait without
 * a name for one barrier, big ones are synced while they are hashed (repo_pump.c); its
 * name is on the disk when its fan-out directory and objects/ are synced, which `sync`
 * does once for all puts before it;
 *  2. a name proves nothing: whoever finds a file without a row in the catalogue hashes
 * it, and one that hashes to something else is replaced by rename, in one step;
 *  3. temporary files are nameless or live in stage/, locked, so that another process
 * can tell what a dead one left. */
#include "repo/repo_objects_local.h"

#include "base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void
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

int
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

int
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
local_delete(struct objects *o, const struct digest *d, struct err *err)
{
    struct local *l = local_of(o);
    char path[PATH_BYTES];

    for (int i = l->n_waiting - 1; i >= 0; i--)
        if (digest_eq(&l->waiting[i].digest, d)) {
            fs_tmp_abort(&l->waiting[i].tmp);
            l->waiting[i] = l->waiting[--l->n_waiting];
        }
    object_path(d, "", path);
    return fs_unlink(l->dirfd, path, err);
}

/* ---- link --------------------------------------------------------------------------
 */

/* The object's file has as many names as its file system allows (65,000 on ext4): a
 * copy takes its place, and can have as many again. Names elsewhere keep the old file.
 */
static int
renew(struct local *l, const char *path, struct err *err)
{
    char name[64], from[3 + PATH_BYTES];
    int r = local_open_stage(l, err);

    snprintf(name, sizeof(name), "renew-%ld-%" PRId64, (long)getpid(), clock_mono_ns());
    snprintf(from, sizeof(from), "../%s", path);
    if (r == 0)
        r = fs_copy(l->stage_fd, from, l->stage_fd, name, OBJECT_MODE, err);
    if (r < 0)
        return r;
    r = fs_rename(l->stage_fd, name, l->stage_fd, from, err);
    if (r < 0)
        unlinkat(l->stage_fd, name, 0);
    return r;
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
    if (sys == EMLINK) {
        err_clear(err);
        r = renew(local_of(o), path, err);
        if (r == 0)
            r = fs_link(local_of(o)->dirfd, path, to_dirfd, to, err);
        sys = r < 0 ? err->sys : 0;
    }
    /* another mount, too many links, no hard links there, or fs.protected_hardlinks */
    if (sys == EXDEV || sys == EMLINK || sys == EPERM || sys == EOPNOTSUPP) {
        err_clear(err);
        return err_set(err, ERR_UNSUPPORTED, "link %s to %s: %s", path, to,
                       strerrordesc_np(sys));
    }
    return r < 0 && sys == ENOENT ? absent(d, err) : r;
}

/* ---- aside and list ---------------------------------------------------------------
 */

static int
local_set_aside(struct objects *o, const struct digest *d, bool stays, struct buf *path,
                struct err *err)
{
    struct local *l = local_of(o);
    char from[PATH_BYTES], hex[DIGEST_HEX_BYTES];
    struct buf to AUTO(buf_release) = BUF_INIT;
    struct stat st;
    int r;

    object_path(d, "", from);
    digest_hex(d, hex);
    buf_addf(&to, "quarantine/%s.%" PRId64, hex, clock_now_ns());
    if (fstatat(l->dirfd, from, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        (void)err_sys(err, errno, "stat %s", from);
        return absent(d, err);
    }
    r = stays && S_ISREG(st.st_mode)
            ? fs_link(l->dirfd, from, l->dirfd, buf_str(&to), err)
            : fs_rename(l->dirfd, from, l->dirfd, buf_str(&to), err);
    if (r == 0)
        r = fs_fsync_dir(l->dirfd, "quarantine", err);
    if (r == 0)
        buf_adds(path, buf_str(&to));
    l->touched[d->b[0]] = true;
    return r;
}

static void
free_names(struct dirent **v, int n)
{
    for (int i = 0; i < n; i++)
        free(v[i]);
    free(v);
}

static int
by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* One name in objects/ab/ (fan_out "ab") or in objects/ (""). */
static int
list_name(struct local *l, const char *fan_out, const char *name, objects_list_fn *fn,
          void *arg, struct err *err)
{
    char path[PATH_BYTES + 256], hex[DIGEST_HEX_BYTES], again[DIGEST_HEX_BYTES];
    struct digest d;
    struct stat st;
    bool is_object = false;

    snprintf(path, sizeof(path), "objects/%s%s%s", fan_out, fan_out[0] ? "/" : "",
             name);
    if (fstatat(l->dirfd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(err, errno, "stat %s", path);
    if (strlen(fan_out) + strlen(name) == DIGEST_HEX_BYTES - 1) {
        snprintf(hex, sizeof(hex), "%.2s%.62s", fan_out, name);
        is_object = digest_parse(str_of(hex), &d);
        if (is_object) {
            digest_hex(&d, again);
            is_object = strcmp(hex, again) == 0; /* lower case */
        }
    }
    return fn(arg, is_object ? &d : NULL, path + sizeof("objects/") - 1,
              S_ISREG(st.st_mode) ? st.st_size : -1, err);
}

static int
list_dir(struct local *l, const char *fan_out, objects_list_fn *fn, void *arg,
         struct err *err)
{
    char path[sizeof("objects/ab") + 1];
    struct dirent **names = NULL;
    int n, r = 0;

    snprintf(path, sizeof(path), "objects/%.2s", fan_out);
    n = scandirat(l->dirfd, path, &names, NULL, by_name);
    if (n < 0)
        return err_sys(err, errno, "list %s", path);
    for (int i = 0; r == 0 && i < n; i++) {
        const char *name = names[i]->d_name;
        struct stat st;

        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
            continue;
        if (!fan_out[0] && strlen(name) == 2 && strspn(name, "0123456789abcdef") == 2) {
            char folder[sizeof("objects/ab")];

            snprintf(folder, sizeof(folder), "objects/%.2s", name);
            if (fstatat(l->dirfd, folder, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                S_ISDIR(st.st_mode)) {
                r = list_dir(l, name, fn, arg, err);
                continue;
            }
        }
        r = list_name(l, fan_out, name, fn, arg, err);
    }
    free_names(names, n);
    return r;
}

static int
local_list(struct objects *o, objects_list_fn *fn, void *arg, struct err *err)
{
    return list_dir(local_of(o), "", fn, arg, err);
}

static void
local_close(struct objects *o)
{
    struct local *l = local_of(o);

    local_forget(o);
    fs_close(&l->stage_fd);
    free(l->waiting);
    free(l->chunk);
    free(l);
}

static const struct objects_ops local_ops = {
    .name = "local",
    .put = local_put,
    .sync = local_sync,
    .is_settled = local_is_settled,
    .forget = local_forget,
    .get = local_get,
    .has = local_has,
    .open = local_open,
    .link = local_link,
    .delete = local_delete,
    .set_aside = local_set_aside,
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
