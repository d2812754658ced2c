/* SPDX-License-Identifier: Apache-2.0 */
/* The files in hooks/. Names come from people far away, so only those are taken that
 * something calls; what the owner put there by hand, links too, is shown as it is. */
#include "hooks/hooks.h"

#include "base/fs.h"
#include "repo/objects.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DIR_NAME "hooks"
#define GATE "gate-"
#define NAME_MAX_BYTES 128

/* ---- names ----------------------------------------------------------------------- */

const char *
hook_called(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
    const size_t n = strlen(name), gate = sizeof(GATE) - 1;

    if (strcmp(name, "pre-promote") == 0)
        return "before a version gets traffic: it can say no";
    if (n > gate && n <= NAME_MAX_BYTES && strncmp(name, GATE, gate) == 0 &&
        strspn(name + gate, letters) == n - gate)
        return "by policies with the gate \"program\" of that name";
    return NULL;
}

int
hook_check_name(const char *name, struct err *err)
{
    if (hook_called(name))
        return 0;
    return err_set(
        err, ERR_INVALID,
        "nothing calls a hook '%.100s': there are pre-promote, and gate-NAME "
        "for a policy's gate \"program\" (a-z, 0-9 and -)",
        name);
}

/* ---- reading --------------------------------------------------------------------- */

/* A file that is open for reading, once it is known to be one: a FIFO must not hold us
 * up. */
static int
open_regular(int *fd, int dirfd, const char *path, struct stat *st, enum err_code code,
             struct err *err)
{
    if (fs_open(fd, dirfd, path, O_RDONLY | O_NONBLOCK, 0, err) < 0)
        return -(int)err->code;
    if (fstat(*fd, st) < 0)
        return err_sys(err, errno, "stat %s", path);
    return S_ISREG(st->st_mode) ? 0 : err_set(err, code, "%s is no regular file", path);
}

/* Appends the file to `out`, as far as HOOK_MAX_BYTES. */
static int
read_all(int fd, const char *path, struct buf *out, struct err *err)
{
    char *room = buf_room(out, HOOK_MAX_BYTES + 1);
    int64_t n = fs_read_at(fd, room, HOOK_MAX_BYTES + 1, 0, path, err);

    if (n > (int64_t)HOOK_MAX_BYTES)
        n = err_set(err, ERR_LIMIT, "%s is longer than the %zu bytes of a hook", path,
                    HOOK_MAX_BYTES);
    out->len += n < 0 ? 0 : (size_t)n;
    out->data[out->len] = '\0';
    return n < 0 ? (int)n : 0;
}

int
hook_read(struct repo *r, const char *name, struct hook_file *f,
          struct buf *out_or_null, struct err *err)
{
    char *path AUTO(free_ptr) = xasprintf(DIR_NAME "/%s", name);
    int fd AUTO(fs_close) = -1;
    int64_t size_bytes;
    struct stat st;
    int rc;

    *f = (struct hook_file){ .name = name };
    if (fstatat(r->dirfd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT || errno == ENOTDIR
                   ? 0
                   : err_sys(err, errno, "stat %s", path);
    f->is_link = S_ISLNK(st.st_mode);
    rc = open_regular(&fd, r->dirfd, path, &st, ERR_HOOK, err);
    if (rc == 0 && out_or_null) {
        rc = read_all(fd, path, out_or_null, err);
        sha256_of(buf_str(out_or_null), out_or_null->len, &f->digest);
    } else if (rc == 0) {
        rc = objects_hash_fd(fd, path, &f->digest, &size_bytes, err);
    }
    f->size_bytes = st.st_size;
    f->mode = st.st_mode & 07777;
    return rc < 0 ? rc : 1;
}

static int
is_shown(const struct dirent *e)
{
    return e->d_name[0] != '.'; /* also what a killed process left */
}

int
hook_list(struct repo *r,
          int (*fn)(void *arg, const struct hook_file *f, struct err *err), void *arg,
          struct err *err)
{
    struct dirent **names = NULL;
    int n = scandirat(r->dirfd, DIR_NAME, &names, is_shown, alphasort), rc = 0;

    if (n < 0)
        return errno == ENOENT ? 0 : err_sys(err, errno, "list %s/" DIR_NAME, r->path);
    for (int i = 0; i < n; i++) {
        struct err why = ERR_INIT;
        struct hook_file f;

        if (rc == 0 && hook_read(r, names[i]->d_name, &f, NULL, &why) < 0)
            f.broken = why.msg;
        if (rc == 0)
            rc = fn(arg, &f, err);
        free(names[i]);
    }
    free(names);
    return rc;
}

/* ---- writing --------------------------------------------------------------------- */

int
hook_take(const char *path, struct buf *out, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    struct stat st;

    if (open_regular(&fd, AT_FDCWD, path, &st, ERR_INVALID, err) < 0 ||
        read_all(fd, path, out, err) < 0)
        return -(int)err->code;
    return out->len ? 0 : err_set(err, ERR_INVALID, "%s is empty: no program", path);
}

int
hook_put(struct repo *r, const char *name, const struct buf *bytes, struct err *err)
{
    char *path AUTO(free_ptr) = xasprintf(DIR_NAME "/%s", name);
    struct stat st;

    if (hook_check_name(name, err) < 0 || fs_mkdirs(r->dirfd, DIR_NAME, 0700, err) < 0)
        return -(int)err->code;
    if (fstatat(r->dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode))
        return err_set(err, ERR_CONFLICT,
                       "%s/%s is %s, which somebody put there by hand: sluice hook "
                       "remove %s first",
                       r->path, path, S_ISLNK(st.st_mode) ? "a link" : "no file", name);
    fs_tmp_sweep(r->dirfd, DIR_NAME);
    return fs_replace(r->dirfd, path, bytes->data, bytes->len, 0700, err);
}

int
hook_remove(struct repo *r, const char *name, struct err *err)
{
    char *path AUTO(free_ptr) = xasprintf(DIR_NAME "/%s", name);
    int there = hook_check_name(name, err) < 0 ? -(int)err->code
                                               : fs_exists(r->dirfd, path, err);

    if (there < 0)
        return there;
    if (!there)
        return err_set(err, ERR_NOTFOUND, "there is no hook %s", name);
    fs_tmp_sweep(r->dirfd, DIR_NAME);
    if (fs_unlink(r->dirfd, path, err) < 0)
        return -(int)err->code;
    return fs_fsync_dir(r->dirfd, DIR_NAME, err);
}
