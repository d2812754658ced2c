/* SPDX-License-Identifier: Apache-2.0 */
#include "base/crypto.h"
#include "base/fs.h"
#include "base/fs_int.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TMP_PREFIX ".tmp-"
_Static_assert(sizeof(((struct fs_tmp *)0)->name) == FS_TMP_NAME_BYTES, "name length");

int
fs_tmp_name(char out[FS_TMP_NAME_BYTES], struct err *err)
{
    uint64_t random;
    int r = random_bytes(&random, sizeof(random), err);

    if (r == 0)
        snprintf(out, FS_TMP_NAME_BYTES, TMP_PREFIX "%016llx",
                 (unsigned long long)random);
    return r;
}

int
fs_tmp_open_named(struct fs_tmp *t, int dirfd, struct err *err)
{
    char name[FS_TMP_NAME_BYTES];
    int r = fs_tmp_name(name, err);

    if (r < 0)
        return r;
    r = fs_open(&t->fd, dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600, err);
    if (r < 0)
        return r;
    t->dirfd = dirfd;
    memcpy(t->name, name, sizeof(t->name));
    return 0;
}

int
fs_tmp_open(struct fs_tmp *t, int dirfd, struct err *err)
{
    int r = fs_open(&t->fd, dirfd, ".", O_RDWR | O_TMPFILE, 0600, err);

    if (r == 0) {
        t->dirfd = dirfd;
        t->name[0] = '\0';
        return 0;
    }
    if (err->sys != EOPNOTSUPP && err->sys != EISDIR && err->sys != EINVAL)
        return err_ctx(err, "temporary file");
    err_clear(err); /* this file system has no nameless files */
    return fs_tmp_open_named(t, dirfd, err);
}

int
fs_tmp_seal(struct fs_tmp *t, const char *path, mode_t mode, struct err *err)
{
    if (fchmod(t->fd, mode) < 0)
        return err_sys(err, errno, "set the mode of %s", path);
    return fs_give(t->fd, t->dirfd, path, err);
}

int
fs_tmp_finish(struct fs_tmp *t, const char *path, mode_t mode, struct err *err)
{
    int r = fs_tmp_seal(t, path, mode, err);

    return r < 0 ? r : fs_fsync(t->fd, path, err);
}

/* Gives the file its name; an errno. */
static int
give_name(const struct fs_tmp *t, const char *path)
{
    char self[64];
    int e = fs_fault("link");

    if (e != 0)
        return e;
    if (t->name[0]) {
        if (renameat2(t->dirfd, t->name, t->dirfd, path, RENAME_NOREPLACE) == 0)
            return 0;
        if (errno != EINVAL) /* EINVAL: this file system always replaces */
            return errno;
        if (linkat(t->dirfd, t->name, t->dirfd, path, 0) < 0)
            return errno;
        unlinkat(t->dirfd, t->name, 0);
        return 0;
    }
    snprintf(self, sizeof(self), "/proc/self/fd/%d", t->fd);
    if (linkat(AT_FDCWD, self, t->dirfd, path, AT_SYMLINK_FOLLOW) == 0)
        return 0;
    if (errno == ENOENT) /* without /proc; this way needs privileges */
        return linkat(t->fd, "", t->dirfd, path, AT_EMPTY_PATH) < 0 ? errno : 0;
    return errno;
}

int
fs_tmp_link(struct fs_tmp *t, const char *path, struct err *err)
{
    int e = give_name(t, path);

    if (e != 0 && e != EEXIST)
        return err_sys(err, e, "name %s", path);
    if (e == 0)
        t->name[0] = '\0';
    fs_tmp_abort(t);
    return e == EEXIST;
}

int
fs_tmp_commit(struct fs_tmp *t, const char *path, mode_t mode, struct err *err)
{
    int r = fs_tmp_finish(t, path, mode, err);

    return r < 0 ? r : fs_tmp_link(t, path, err);
}

void
fs_tmp_abort(struct fs_tmp *t)
{
    if (t->fd >= 0 && t->name[0])
        unlinkat(t->dirfd, t->name, 0);
    fs_close(&t->fd);
    t->name[0] = '\0';
}

void
fs_tmp_sweep(int dirfd, const char *path)
{
    int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *e;

    if (!dir) {
        fs_close(&fd);
        return;
    }
    while ((e = readdir(dir)) != NULL)
        if (strncmp(e->d_name, TMP_PREFIX, sizeof(TMP_PREFIX) - 1) == 0)
            unlinkat(fd, e->d_name, 0);
    closedir(dir);
}
