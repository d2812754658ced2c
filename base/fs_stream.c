/* SPDX-License-Identifier: Apache-2.0 */
/* Big files in pieces, and many files at once. */
#include "base/fs.h"
#include "base/fs_int.h"

#include <errno.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

int64_t
fs_read_at(int fd, void *p, size_t n, int64_t at, const char *what, struct err *err)
{
    size_t done = 0;

    while (done < n) {
        ssize_t got = pread(fd, (char *)p + done, n - done, at + (int64_t)done);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_sys(err, errno, "read %s", what);
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (int64_t)done;
}

bool
fs_set_direct(int fd, bool on)
{
    int flags = fcntl(fd, F_GETFL);

    return flags >= 0 &&
           fcntl(fd, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT) == 0;
}

int
fs_write_at(int fd, const void *p, size_t n, int64_t at, const char *what,
            struct err *err)
{
    size_t done = 0;

    while (done < n) {
        int e = fs_fault("write");
        ssize_t put = -1;

        if (e == 0) {
            put = pwrite(fd, (const char *)p + done, n - done, at + (int64_t)done);
            e = errno;
        }
        /* this file system wants another alignment, or a piece was cut in two */
        if (put < 0 && e == EINVAL && (fcntl(fd, F_GETFL) & O_DIRECT) &&
            fs_set_direct(fd, false))
            continue;
        if (put < 0 && e != EINTR)
            return err_sys(err, e, "write %s", what);
        done += put > 0 ? (size_t)put : 0;
    }
    return 0;
}

int
fs_reserve(int fd, int64_t size_bytes, const char *what, struct err *err)
{
    int e = fs_fault("write");

    if (e == 0 && fallocate(fd, 0, 0, size_bytes) < 0)
        e = errno;
    if (e == ENOSPC || e == EDQUOT || e == EFBIG || e == EIO)
        return err_sys(err, e, "make room for %s", what);
    return 0; /* this file system cannot */
}

bool
fs_clone(int to_fd, int from_fd)
{
    return ioctl(to_fd, FICLONE, from_fd) == 0;
}

void
fs_writeout(int fd, int64_t at, int64_t n)
{
    (void)sync_file_range(fd, at, n, SYNC_FILE_RANGE_WRITE);
}

int
fs_datasync(int fd, const char *what, struct err *err)
{
    int e = fs_fault("fsync");

    /* never again after a failure, as with fs_fsync */
    if (e == 0 && fdatasync(fd) < 0)
        e = errno;
    return e == 0 ? 0 : err_sys(err, e, "sync %s", what);
}

int
fs_sync_all(int fd, const char *what, struct err *err)
{
    int e = fs_fault("fsync");

    if (e == 0 && syncfs(fd) < 0)
        e = errno;
    return e == 0 ? 0 : err_sys(err, e, "sync the file system of %s", what);
}
