/* SPDX-License-Identifier: Apache-2.0 */
/* Calls that change the disk, or make it keep what was changed. */
#include "tests/crash/shim_int.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

static void
log_data(int fd, int64_t at, const void *p, size_t n)
{
    shim_append((struct shim_op){ .kind = OP_WRITE,
                                  .ino = shim_ino_fd(fd),
                                  .at = at,
                                  .data_bytes = (uint32_t)n },
                NULL, NULL, p);
}

/* ---- open ---- */

static int
open_at(int dirfd, const char *path, int flags, mode_t mode)
{
    const bool creates = flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE;
    int e = shim_ask(creates ? CALL_create : CALL_open), fd;
    uint64_t before = 0;

    if (e > 0)
        FAIL(e);
    if (!shim_logging() || !(creates || flags & O_TRUNC))
        return REAL(openat)(dirfd, path, flags, mode);
    if ((flags & O_TMPFILE) != O_TMPFILE)
        before = shim_ino(dirfd, path);
    LOGGED(fd, REAL(openat)(dirfd, path, flags, mode), {
        char name[NAME_MAX + 1];
        const uint64_t ino = shim_ino_fd(fd);

        if ((flags & O_TMPFILE) == O_TMPFILE)
            shim_append((struct shim_op){ .kind = OP_INODE, .ino = ino, .mode = mode },
                        NULL, NULL, NULL);
        else if (!before && ino) {
            const uint64_t dir = shim_parent(dirfd, path, name);

            shim_append(
                (struct shim_op){
                    .kind = OP_CREATE, .ino = ino, .dir = dir, .mode = S_IFREG | mode },
                name, NULL, NULL);
        } else if (flags & O_TRUNC && ino)
            shim_append((struct shim_op){ .kind = OP_TRUNCATE, .ino = ino }, NULL, NULL,
                        NULL);
    });
    return fd;
}

#define OPEN_MODE()                                                                    \
    mode_t mode = 0;                                                                   \
    va_list ap;                                                                        \
    va_start(ap, flags);                                                               \
    if (flags & (O_CREAT | O_TMPFILE))                                                 \
        mode = va_arg(ap, mode_t);                                                     \
    va_end(ap)

int
open(const char *path, int flags, ...)
{
    OPEN_MODE();
    return open_at(AT_FDCWD, path, flags, mode);
}

int
open64(const char *path, int flags, ...)
{
    OPEN_MODE();
    return open_at(AT_FDCWD, path, flags, mode);
}

int
openat(int dirfd, const char *path, int flags, ...)
{
    OPEN_MODE();
    return open_at(dirfd, path, flags, mode);
}

int
openat64(int dirfd, const char *path, int flags, ...)
{
    OPEN_MODE();
    return open_at(dirfd, path, flags, mode);
}

/* ---- bytes ---- */

static size_t
half(int e, size_t n)
{
    return e == SHIM_HALF && n > 1 ? n / 2 : n;
}

ssize_t
read(int fd, void *p, size_t n)
{
    int e = fd > 2 ? shim_ask(CALL_read) : 0;

    if (e > 0)
        FAIL(e);
    return REAL(read)(fd, p, half(e, n));
}

static ssize_t
pread_at(int fd, void *p, size_t n, off_t at)
{
    int e = shim_ask(CALL_pread);

    if (e > 0)
        FAIL(e);
    return REAL(pread)(fd, p, half(e, n), at);
}

ssize_t
pread(int fd, void *p, size_t n, off_t at)
{
    return pread_at(fd, p, n, at);
}

ssize_t
pread64(int fd, void *p, size_t n, off_t at)
{
    return pread_at(fd, p, n, at);
}

ssize_t
write(int fd, const void *p, size_t n)
{
    int e = fd > 2 ? shim_ask(CALL_write) : 0;
    ssize_t put;

    if (e > 0)
        FAIL(e);
    if (!shim_ino_fd(fd))
        return REAL(write)(fd, p, half(e, n));
    LOGGED(put, REAL(write)(fd, p, half(e, n)),
           log_data(fd, lseek(fd, 0, SEEK_CUR) - put, p, (size_t)put));
    return put;
}

static ssize_t
pwrite_at(int fd, const void *p, size_t n, off_t at)
{
    int e = shim_ask(CALL_pwrite);
    ssize_t put;

    if (e > 0)
        FAIL(e);
    LOGGED(put, REAL(pwrite)(fd, p, half(e, n), at), log_data(fd, at, p, (size_t)put));
    return put;
}

ssize_t
pwrite(int fd, const void *p, size_t n, off_t at)
{
    return pwrite_at(fd, p, n, at);
}

ssize_t
pwrite64(int fd, const void *p, size_t n, off_t at)
{
    return pwrite_at(fd, p, n, at);
}

/* What the kernel copied is read back; the descriptor may be for writing only. */
static void
log_copied(int fd, int64_t at, size_t n)
{
    char path[40], chunk[65536];
    int in;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    in = REAL(openat)(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    while (in >= 0 && n > 0) {
        ssize_t got = REAL(pread)(in, chunk, n < sizeof(chunk) ? n : sizeof(chunk), at);

        if (got <= 0)
            break;
        log_data(fd, at, chunk, (size_t)got);
        at += got;
        n -= (size_t)got;
    }
    if (in >= 0)
        close(in);
}

ssize_t
copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t n,
                unsigned flags)
{
    int e = shim_ask(CALL_copy_file_range);
    off64_t at = to_at ? *to_at : lseek(to, 0, SEEK_CUR);
    ssize_t put;

    if (e > 0)
        FAIL(e);
    /* the limit keeps SHIM_HALF from asking for the half of everything there is */
    if (e == SHIM_HALF && n > 8192)
        n = 8192;
    LOGGED(put, REAL(copy_file_range)(from, from_at, to, to_at, half(e, n), flags),
           log_copied(to, at, (size_t)put));
    return put;
}

int
ioctl(int fd, unsigned long request, ...)
{
    va_list ap;
    void *arg;
    int e = request == FICLONE ? shim_ask(CALL_ficlone) : 0, r;

    va_start(ap, request);
    arg = va_arg(ap, void *);
    va_end(ap);
    if (e > 0)
        FAIL(e);
    if (request != FICLONE)
        return REAL(ioctl)(fd, request, arg);
    LOGGED(r, REAL(ioctl)(fd, request, arg), log_copied(fd, 0, SIZE_MAX / 2));
    return r;
}

/* ---- sync ---- */

static void
log_sync(int fd)
{
    shim_append((struct shim_op){ .kind = OP_SYNC, .ino = shim_ino_fd(fd) }, NULL, NULL,
                NULL);
}

int
fsync(int fd)
{
    int e = shim_ask(CALL_fsync), r;

    if (e > 0)
        FAIL(e);
    LOGGED(r, REAL(fsync)(fd), log_sync(fd));
    return r;
}

int
fdatasync(int fd)
{
    int e = shim_ask(CALL_fdatasync), r;

    if (e > 0)
        FAIL(e);
    LOGGED(r, REAL(fdatasync)(fd), log_sync(fd));
    return r;
}

int
syncfs(int fd)
{
    int e = shim_ask(CALL_syncfs), r;

    if (e > 0)
        FAIL(e);
    LOGGED(r, REAL(syncfs)(fd),
           shim_append((struct shim_op){ .kind = OP_SYNC_ALL }, NULL, NULL, NULL));
    return r;
}

/* Starts writing and promises nothing: not in the log. */
int
sync_file_range(int fd, off64_t from, off64_t n, unsigned flags)
{
    int e = shim_ask(CALL_sync_file_range);

    if (e > 0)
        FAIL(e);
    return REAL(sync_file_range)(fd, from, n, flags);
}

/* ---- sizes, modes ---- */

static void
log_size(int fd)
{
    struct stat st;

    if (REAL(fstat)(fd, &st) == 0)
        shim_append(
            (struct shim_op){ .kind = OP_TRUNCATE, .ino = st.st_ino, .at = st.st_size },
            NULL, NULL, NULL);
}

static int
truncate_fd(int fd, off_t n)
{
    int e = shim_ask(CALL_ftruncate), r;

    if (e > 0)
        FAIL(e);
    LOGGED(r, REAL(ftruncate)(fd, n), log_size(fd));
    return r;
}

int
ftruncate(int fd, off_t n)
{
    return truncate_fd(fd, n);
}

int
ftruncate64(int fd, off_t n)
{
    return truncate_fd(fd, n);
}

static int
allocate(int fd, int mode, off_t at, off_t n)
{
    int e = shim_ask(CALL_fallocate), r;

    if (e > 0)
        FAIL(e);
    LOGGED(r, REAL(fallocate)(fd, mode, at, n), log_size(fd));
    return r;
}

int
fallocate(int fd, int mode, off_t at, off_t n)
{
    return allocate(fd, mode, at, n);
}

int
fallocate64(int fd, int mode, off_t at, off_t n)
{
    return allocate(fd, mode, at, n);
}

int
posix_fallocate(int fd, off_t at, off_t n)
{
    int e = shim_ask(CALL_fallocate), r;

    if (e > 0)
        return e;
    LOGGED(r, -REAL(posix_fallocate)(fd, at, n), log_size(fd));
    return -r;
}

int
fchmod(int fd, mode_t mode)
{
    int e = shim_ask(CALL_chmod), r;

    if (e > 0)
        FAIL(e);
    LOGGED(
        r, REAL(fchmod)(fd, mode),
        shim_append(
            (struct shim_op){ .kind = OP_MODE, .ino = shim_ino_fd(fd), .mode = mode },
            NULL, NULL, NULL));
    return r;
}

int
fchmodat(int dirfd, const char *path, mode_t mode, int flags)
{
    int e = shim_ask(CALL_chmod), r;

    if (e > 0)
        FAIL(e);
    LOGGED(r, REAL(fchmodat)(dirfd, path, mode, flags),
           shim_append((struct shim_op){ .kind = OP_MODE,
                                         .ino = shim_ino(dirfd, path),
                                         .mode = mode },
                       NULL, NULL, NULL));
    return r;
}

int
fchown(int fd, uid_t uid, gid_t gid)
{
    int e = shim_ask(CALL_chown);

    if (e > 0)
        FAIL(e);
    return REAL(fchown)(fd, uid, gid);
}

int
fchownat(int dirfd, const char *path, uid_t uid, gid_t gid, int flags)
{
    int e = shim_ask(CALL_chown);

    if (e > 0)
        FAIL(e);
    return REAL(fchownat)(dirfd, path, uid, gid, flags);
}

int
utimensat(int dirfd, const char *path, const struct timespec times[2], int flags)
{
    int e = shim_ask(CALL_utime);

    if (e > 0)
        FAIL(e);
    return REAL(utimensat)(dirfd, path, times, flags);
}

int
futimens(int fd, const struct timespec times[2])
{
    int e = shim_ask(CALL_utime);

    if (e > 0)
        FAIL(e);
    return REAL(futimens)(fd, times);
}

/* ---- names ---- */

int
linkat(int from_dirfd, const char *from, int to_dirfd, const char *to, int flags)
{
    int e = shim_ask(CALL_link), r;

    if (e > 0)
        FAIL(e);
    LOGGED(r, REAL(linkat)(from_dirfd, from, to_dirfd, to, flags), {
        char name[NAME_MAX + 1];
        const uint64_t dir = shim_parent(to_dirfd, to, name);

        shim_append((struct shim_op){ .kind = OP_LINK,
                                      .dir = dir,
                                      .ino = shim_ino(to_dirfd, to) },
                    name, NULL, NULL);
    });
    return r;
}

int
link(const char *from, const char *to)
{
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int
symlinkat(const char *text, int dirfd, const char *path)
{
    int e = shim_ask(CALL_symlink), r;

    if (e > 0)
        FAIL(e);
    LOGGED(r, REAL(symlinkat)(text, dirfd, path), {
        char name[NAME_MAX + 1];
        const uint64_t dir = shim_parent(dirfd, path, name);

        shim_append((struct shim_op){ .kind = OP_CREATE,
                                      .dir = dir,
                                      .ino = shim_ino(dirfd, path),
                                      .mode = S_IFLNK | 0777,
                                      .data_bytes = (uint32_t)strlen(text) },
                    name, NULL, text);
    });
    return r;
}

int
renameat2(int from_dirfd, const char *from, int to_dirfd, const char *to,
          unsigned flags)
{
    int e = shim_ask(CALL_rename), r;

    if (e > 0)
        FAIL(e);
    LOGGED(r, REAL(renameat2)(from_dirfd, from, to_dirfd, to, flags), {
        char a[NAME_MAX + 1], b[NAME_MAX + 1];
        const uint64_t dir = shim_parent(from_dirfd, from, a);
        const uint64_t dir2 = shim_parent(to_dirfd, to, b);

        shim_append((struct shim_op){ .kind = OP_RENAME,
                                      .dir = dir,
                                      .dir2 = dir2,
                                      .ino = shim_ino(to_dirfd, to) },
                    a, b, NULL);
    });
    return r;
}

int
renameat(int from_dirfd, const char *from, int to_dirfd, const char *to)
{
    return renameat2(from_dirfd, from, to_dirfd, to, 0);
}

int
rename(const char *from, const char *to)
{
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int
unlinkat(int dirfd, const char *path, int flags)
{
    int e = shim_ask(flags & AT_REMOVEDIR ? CALL_rmdir : CALL_unlink), r;

    if (e > 0)
        FAIL(e);
    LOGGED(r, REAL(unlinkat)(dirfd, path, flags), {
        char name[NAME_MAX + 1];
        const uint64_t dir = shim_parent(dirfd, path, name);

        shim_append((struct shim_op){ .kind = OP_UNLINK, .dir = dir }, name, NULL,
                    NULL);
    });
    return r;
}

int
unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

int
rmdir(const char *path)
{
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

int
mkdirat(int dirfd, const char *path, mode_t mode)
{
    int e = shim_ask(CALL_mkdir), r;

    if (e > 0)
        FAIL(e);
    LOGGED(r, REAL(mkdirat)(dirfd, path, mode), {
        char name[NAME_MAX + 1];
        const uint64_t dir = shim_parent(dirfd, path, name);

        shim_append((struct shim_op){ .kind = OP_CREATE,
                                      .dir = dir,
                                      .ino = shim_ino(dirfd, path),
                                      .mode = S_IFDIR | mode },
                    name, NULL, NULL);
    });
    return r;
}

int
mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}
