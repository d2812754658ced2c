/* SPDX-License-Identifier: Apache-2.0 */
/* Big files in pieces, and many files at once. */
#include "base/fs.h"
#include "base/fs_int.h"

#include <errno.h>
#include <linux/fs.h>
#include <string.h>
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
fs_reserve(int fd, int64_t at, int64_t n, const char *what, struct err *err)
{
    int e = fs_fault("write");

    if (e == 0 && fallocate(fd, 0, at, n) < 0)
        e = errno;
    if (e == ENOSPC || e == EDQUOT || e == EFBIG || e == EIO)
        return err_sys(err, e, "make room for %s", what);
    return 0; /* this file system cannot */
}

bool
fs_find_hole(int fd, int64_t at, int64_t size_bytes, struct fs_hole *out)
{
    struct stat st;
    int64_t to = at;

    do {
        const int64_t from = lseek(fd, to, SEEK_HOLE);

        if (from < 0 || from >= size_bytes)
            return false;
        to = lseek(fd, from, SEEK_DATA);
        /* none behind it: a hole to the end, unless the file was cut short */
        if (to < 0 && (errno != ENXIO || fstat(fd, &st) < 0 || st.st_size < size_bytes))
            return false;
        out->from = (from + FS_DIRECT_BYTES - 1) / FS_DIRECT_BYTES * FS_DIRECT_BYTES;
        out->to = to < 0 || to >= size_bytes ? size_bytes
                                             : to / FS_DIRECT_BYTES * FS_DIRECT_BYTES;
    } while (out->to - out->from < FS_HOLE_BYTES && out->to < size_bytes);
    return out->to - out->from >= FS_HOLE_BYTES;
}

int
fs_write_sparse(int fd, const void *p, size_t n, int64_t at, const char *what,
                struct err *err)
{
    const char *bytes = p;
    size_t written = 0;
    int r = 0;

    for (size_t i = 0; r == 0 && n - i >= FS_HOLE_BYTES; i += FS_HOLE_BYTES) {
        if (bytes[i] != 0 || memcmp(bytes + i, bytes + i + 1, FS_HOLE_BYTES - 1) != 0)
            continue;
        if (i > written)
            r = fs_write_at(fd, bytes + written, i - written, at + (int64_t)written,
                            what, err);
        written = i + FS_HOLE_BYTES;
    }
    if (r == 0 && n > written)
        r = fs_write_at(fd, bytes + written, n - written, at + (int64_t)written, what,
                        err);
    return r;
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
