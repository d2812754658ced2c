/* SPDX-License-Identifier: Apache-2.0 */
#include "savedmodel/sm_int.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* A file that shrinks while it is read ends where it ends now. */
static int
read_whole(struct sm_file *f, int fd, size_t size_bytes, const char *path,
           struct err *err)
{
    char *p = malloc(size_bytes ? size_bytes : 1);
    if (!p)
        return err_set(err, ERR_LIMIT, "read %s: no memory for %zu bytes", path,
                       size_bytes);
    size_t n = 0;
    while (n < size_bytes) {
        ssize_t r = pread(fd, p + n, size_bytes - n, (off_t)n);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0) {
            int sys = errno;
            free(p);
            return err_sys(err, sys, "read %s", path);
        }
        if (r == 0)
            break;
        n += (size_t)r;
    }
    f->heap = p;
    f->bytes = (struct str){ p, n };
    return 0;
}

int
sm_file_open(struct sm_file *f, int dirfd, const char *path, struct err *err)
{
    *f = (struct sm_file){ .heap = NULL };
    int fd AUTO(fs_close) = -1;
    int rc = fs_open(&fd, dirfd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0, err);
    if (rc < 0 && (err->sys == ENOENT || err->sys == ENOTDIR)) {
        err_clear(err);
        return err_set(err, ERR_NOTFOUND, "%s: no such file", path);
    }
    if (rc < 0)
        return rc;
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys(err, errno, "stat %s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "%s is not a regular file", path);
    if (st.st_size <= SM_READ_MAX_BYTES)
        return read_whole(f, fd, (size_t)st.st_size, path, err);
    rc = fs_map(&f->map, dirfd, path, err);
    if (rc < 0)
        return rc;
    f->bytes = (struct str){ (const char *)f->map.p, f->map.n };
    return 0;
}

void
sm_file_release(struct sm_file *f)
{
    if (f->map.n > 0)
        fs_unmap(&f->map);
    free(f->heap);
    *f = (struct sm_file){ .heap = NULL };
}
