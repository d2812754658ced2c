/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fs.h"

#include "base/clock.h"
#include "base/fs_int.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

void
fs_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

int
fs_split(const char *path, struct fs_place *out, struct err *err)
{
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;

    if (n >= sizeof(out->dir))
        return err_sys(err, ENAMETOOLONG, "%s", path);
    memcpy(out->dir, path, n);
    out->dir[n] = '\0';
    if (n == 0)
        memcpy(out->dir, slash ? "/" : ".", 2);
    out->name = slash ? slash + 1 : path;
    return 0;
}

int
fs_give(int fd, int dirfd, const char *path, struct err *err)
{
    struct fs_place place;
    struct stat dir;
    int r;

    if (geteuid() != 0)
        return 0;
    r = fs_split(path, &place, err);
    if (r < 0)
        return r;
    if (fstatat(dirfd, place.dir, &dir, 0) < 0)
        return err_sys(err, errno, "stat %s", place.dir);
    if (dir.st_uid != 0 && fchown(fd, dir.st_uid, dir.st_gid) < 0)
        return err_sys(err, errno, "give %s to user %u", path, (unsigned)dir.st_uid);
    return 0;
}

int
fs_open(int *out_fd, int dirfd, const char *path, int flags, mode_t mode,
        struct err *err)
{
    int e = fs_fault("open"), fd = -1;

    if (e == 0) {
        do
            fd = openat(dirfd, path, flags | O_CLOEXEC | O_NOCTTY, mode);
        while (fd < 0 && errno == EINTR);
        e = errno;
    }
    if (fd < 0)
        return err_sys(err, e, "%s %s", flags & O_CREAT ? "create" : "open", path);
    *out_fd = fd;
    return 0;
}

int
fs_open_dir(int *out_fd, int dirfd, const char *path, struct err *err)
{
    return fs_open(out_fd, dirfd, path, O_RDONLY | O_DIRECTORY, 0, err);
}

/* n bytes at most; 0 at the end of the file, -1 with errno. */
static ssize_t
read_some(int fd, void *p, size_t n)
{
    ssize_t got;

    do
        got = read(fd, p, n);
    while (got < 0 && errno == EINTR);
    return got;
}

int
fs_read(int dirfd, const char *path, struct buf *out, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    const size_t cap_bytes = out->cap_bytes ? out->cap_bytes : BUF_CAP_DEFAULT;
    const size_t old_len = out->len;
    size_t step = 4096;
    struct stat st;
    int r = fs_open(&fd, dirfd, path, O_RDONLY, 0, err);

    if (r < 0)
        return r;
    if (fstat(fd, &st) < 0)
        return err_sys(err, errno, "stat %s", path);
    if (st.st_size > 0 && (uint64_t)st.st_size <= cap_bytes - old_len)
        step = (size_t)st.st_size + 1; /* the end shows in the same call */
    for (;;) {
        const size_t left = cap_bytes - out->len;
        char *room = buf_room(out, step < left ? step : left);
        char over;
        ssize_t got;

        /* at the cap, one more byte tells a full buffer from a longer file */
        got = left > 0 ? read_some(fd, room, step < left ? step : left)
                       : read_some(fd, &over, 1);
        if (got <= 0 || left == 0) {
            const int e = errno;

            if (got != 0)
                out->len = old_len;
            if (out->data)
                out->data[out->len] = '\0';
            if (got < 0)
                return err_sys(err, e, "read %s", path);
            if (got > 0)
                return err_set(err, ERR_LIMIT,
                               "read %s: longer than the limit of %zu bytes", path,
                               cap_bytes);
            return 0;
        }
        out->len += (size_t)got;
        step = 65536;
    }
}

int
fs_write_all(int fd, const void *p, size_t n, const char *what, struct err *err)
{
    const char *next = p;

    while (n > 0) {
        int e = fs_fault("write");
        ssize_t put = -1;

        if (e == 0) {
            put = write(fd, next, n);
            e = errno;
        }
        if (put < 0 && e == EINTR)
            continue;
        if (put < 0)
            return err_sys(err, e, "write %s", what);
        next += put;
        n -= (size_t)put;
    }
    return 0;
}

int
fs_replace(int dirfd, const char *path, const void *p, size_t n, mode_t mode,
           struct err *err)
{
    int dir AUTO(fs_close) = -1;
    struct fs_tmp tmp AUTO(fs_tmp_abort) = FS_TMP_INIT;
    struct fs_place place;
    int r = fs_split(path, &place, err);

    if (r < 0 || (r = fs_open_dir(&dir, dirfd, place.dir, err)) < 0 ||
        (r = fs_tmp_open_named(&tmp, dir, err)) < 0 ||
        (r = fs_write_all(tmp.fd, p, n, path, err)) < 0 ||
        (r = fs_tmp_finish(&tmp, place.name, mode, err)) < 0 ||
        (r = fs_rename(dir, tmp.name, dir, place.name, err)) < 0)
        return err_ctx(err, "replace %s", path);
    tmp.name[0] = '\0'; /* it bears its own name now */
    return fs_fsync_dir(dir, ".", err);
}

int
fs_create(int dirfd, const char *path, const void *p, size_t n, mode_t mode,
          struct err *err)
{
    int dir AUTO(fs_close) = -1;
    struct fs_tmp tmp AUTO(fs_tmp_abort) = FS_TMP_INIT;
    struct fs_place place;
    int r = fs_split(path, &place, err);

    if (r < 0 || (r = fs_open_dir(&dir, dirfd, place.dir, err)) < 0 ||
        (r = fs_tmp_open(&tmp, dir, err)) < 0 ||
        (r = fs_write_all(tmp.fd, p, n, path, err)) < 0 ||
        (r = fs_tmp_commit(&tmp, place.name, mode, err)) < 0)
        return err_ctx(err, "make %s", path);
    if (r == 1)
        return err_set(err, ERR_CONFLICT, "make %s: that name exists", path);
    return fs_fsync_dir(dir, ".", err);
}

int
fs_fsync(int fd, const char *what, struct err *err)
{
    int e = fs_fault("fsync");

    /* never again after a failure: the kernel may have dropped the dirty pages; an
     * interruption (network file systems) is none */
    while (e == 0 && fsync(fd) < 0)
        if (errno != EINTR)
            e = errno;
    return e == 0 ? 0 : err_sys(err, e, "sync %s", what);
}

int
fs_fsync_dir(int dirfd, const char *path, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    int r = fs_open_dir(&fd, dirfd, path, err);

    return r < 0 ? r : fs_fsync(fd, path, err);
}

/* One directory, whose parent exists; an errno. */
static int
make_dir(int dirfd, const char *path, mode_t mode)
{
    int e = fs_fault("mkdir");
    struct stat st;

    if (e != 0 || mkdirat(dirfd, path, mode) < 0) {
        e = e != 0 ? e : errno;
        if (e == EEXIST)
            e = fstatat(dirfd, path, &st, 0) < 0 ? errno
                : S_ISDIR(st.st_mode)            ? EEXIST
                                                 : ENOTDIR;
    }
    return e;
}

int
fs_mkdirs(int dirfd, const char *path, mode_t mode, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    struct fs_place place;
    int e = make_dir(dirfd, path, mode), r = 0;

    if (e == ENOENT) {
        r = fs_split(path, &place, err);
        if (r < 0)
            return r;
        if (strcmp(place.dir, ".") != 0 && strcmp(place.dir, "/") != 0) {
            r = fs_mkdirs(dirfd, place.dir, mode, err);
            if (r < 0)
                return r;
            e = place.name[0] ? make_dir(dirfd, path, mode) : EEXIST;
        }
    }
    if (e == EEXIST)
        return 0;
    if (e != 0)
        return err_sys(err, e, "make directory %s", path);
    if (geteuid() == 0) {
        r = fs_open(&fd, dirfd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, err);
        if (r == 0)
            r = fs_give(fd, dirfd, path, err);
    }
    return r;
}

static int
rename_flags(int from_dirfd, const char *from, int to_dirfd, const char *to,
             unsigned flags)
{
    int e = fs_fault("rename");

    if (e == 0 && renameat2(from_dirfd, from, to_dirfd, to, flags) < 0)
        e = errno;
    return e;
}

int
fs_rename(int from_dirfd, const char *from, int to_dirfd, const char *to,
          struct err *err)
{
    int e = rename_flags(from_dirfd, from, to_dirfd, to, 0);

    return e == 0 ? 0 : err_sys(err, e, "rename %s to %s", from, to);
}

int
fs_rename_new(int from_dirfd, const char *from, int to_dirfd, const char *to,
              struct err *err)
{
    int e = rename_flags(from_dirfd, from, to_dirfd, to, RENAME_NOREPLACE);

    if (e == EEXIST)
        return err_set(err, ERR_CONFLICT, "rename %s to %s: that name exists", from,
                       to);
    return e == 0 ? 0 : err_sys(err, e, "rename %s to %s", from, to);
}

int
fs_exchange(int a_dirfd, const char *a, int b_dirfd, const char *b, struct err *err)
{
    int e = rename_flags(a_dirfd, a, b_dirfd, b, RENAME_EXCHANGE);

    if (e == EINVAL || e == ENOSYS)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: this file system cannot exchange two names in one step", b);
    return e == 0 ? 0 : err_sys(err, e, "exchange %s and %s", a, b);
}

int
fs_link(int from_dirfd, const char *from, int to_dirfd, const char *to, struct err *err)
{
    int e = fs_fault("link");

    if (e == 0 && linkat(from_dirfd, from, to_dirfd, to, 0) < 0)
        e = errno;
    return e == 0 ? 0 : err_sys(err, e, "link %s to %s", from, to);
}

int
fs_unlink(int dirfd, const char *path, struct err *err)
{
    int e = fs_fault("unlink");

    if (e == 0 && unlinkat(dirfd, path, 0) < 0)
        e = errno;
    return e == 0 || e == ENOENT ? 0 : err_sys(err, e, "remove %s", path);
}

int
fs_symlink_replace(const char *text, int dirfd, const char *path, struct err *err)
{
    struct fs_place place;
    char name[FS_TMP_NAME_BYTES], tmp[PATH_MAX];
    int e, r = fs_split(path, &place, err);

    if (r < 0 || (r = fs_tmp_name(name, err)) < 0)
        return r;
    if (snprintf(tmp, sizeof(tmp), "%s/%s", place.dir, name) >= (int)sizeof(tmp))
        return err_sys(err, ENAMETOOLONG, "%s", path);
    e = fs_fault("link");
    if (e == 0 && symlinkat(text, dirfd, tmp) < 0)
        e = errno;
    if (e != 0)
        return err_sys(err, e, "point %s at %s", path, text);
    r = fs_rename(dirfd, tmp, dirfd, path, err);
    if (r < 0)
        unlinkat(dirfd, tmp, 0);
    return r;
}

int
fs_readlink(int dirfd, const char *path, struct buf *out, struct err *err)
{
    char text[PATH_MAX];
    ssize_t n = readlinkat(dirfd, path, text, sizeof(text));

    if (n < 0)
        return err_sys(err, errno, "read link %s", path);
    if ((size_t)n == sizeof(text))
        return err_sys(err, ENAMETOOLONG, "read link %s", path);
    buf_add(out, text, (size_t)n);
    return buf_check(out, path, err);
}

int
fs_exists(int dirfd, const char *path, struct err *err)
{
    struct stat st;

    if (fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return 1;
    return errno == ENOENT ? 0 : err_sys(err, errno, "stat %s", path);
}

/* Copies [at, end), or less when the source ends before, by the cheapest way the two
 * file systems know; the second goes on where the first stopped, and reports what is
 * wrong. */
static int
copy_range(int to_fd, int from_fd, int64_t at, int64_t end, const char *from,
           const char *to, struct err *err)
{
    char *chunk AUTO(free_ptr) = NULL;
    const int64_t chunk_bytes = 1 << 20;
    int64_t in_at = at, out_at = at, n;
    int r = 0;

    do
        n = copy_file_range(from_fd, &in_at, to_fd, &out_at,
                            end - in_at < 1 << 30 ? (size_t)(end - in_at) : 1 << 30, 0);
    while ((n > 0 && in_at < end) || (n < 0 && errno == EINTR));
    if (in_at >= end)
        return 0;
    chunk = xmalloc((size_t)chunk_bytes);
    do {
        const int64_t left = end - in_at;

        n = fs_read_at(from_fd, chunk,
                       (size_t)(left < chunk_bytes ? left : chunk_bytes), in_at, from,
                       err);
        if (n > 0)
            r = fs_write_at(to_fd, chunk, (size_t)n, in_at, to, err);
        in_at += n;
    } while (r == 0 && n > 0 && in_at < end);
    return n < 0 ? (int)n : r;
}

static int
copy_bytes(int to_fd, int from_fd, int64_t size_bytes, const char *from, const char *to,
           struct err *err)
{
    struct fs_hole hole;
    int64_t at = 0;
    int r = 0, e = fs_fault("write");

    if (e != 0)
        return err_sys(err, e, "write %s", to);
    if (fs_clone(to_fd, from_fd))
        return 0;
    while (r == 0 && fs_find_hole(from_fd, at, size_bytes, &hole)) {
        r = copy_range(to_fd, from_fd, at, hole.from, from, to, err);
        at = hole.to;
        if (r == 0 && ftruncate(to_fd, at) < 0)
            r = err_sys(err, errno, "write %s", to);
    }
    /* whatever there is, also when it grew */
    return r < 0 ? r : copy_range(to_fd, from_fd, at, INT64_MAX, from, to, err);
}

static int
copy(int from_dirfd, const char *from, int to_dirfd, const char *to, mode_t mode,
     bool sync, struct err *err)
{
    int in AUTO(fs_close) = -1, out AUTO(fs_close) = -1;
    struct stat st;
    int r = fs_open(&in, from_dirfd, from, O_RDONLY | O_NONBLOCK, 0, err);

    if (r < 0)
        return r;
    if (fstat(in, &st) < 0)
        return err_sys(err, errno, "stat %s", from);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "copy %s: %s, not a regular file", from,
                       fs_kind(st.st_mode));
    r = fs_open(&out, to_dirfd, to, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600,
                err);
    if (r < 0)
        return r;
    r = copy_bytes(out, in, st.st_size, from, to, err);
    if (r == 0 && fchmod(out, mode) < 0)
        r = err_sys(err, errno, "set the mode of %s", to);
    if (r == 0)
        r = fs_give(out, to_dirfd, to, err);
    if (r == 0 && sync)
        r = fs_fsync(out, to, err);
    if (r < 0)
        unlinkat(to_dirfd, to, 0);
    return r;
}

int
fs_copy(int from_dirfd, const char *from, int to_dirfd, const char *to, mode_t mode,
        struct err *err)
{
    return copy(from_dirfd, from, to_dirfd, to, mode, true, err);
}

int
fs_copy_unsynced(int from_dirfd, const char *from, int to_dirfd, const char *to,
                 mode_t mode, struct err *err)
{
    return copy(from_dirfd, from, to_dirfd, to, mode, false, err);
}

/* Opens the lock file, making it when it is absent. */
static int
open_lock(int *out_fd, int dirfd, const char *path, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    int r = fs_open(&fd, dirfd, path, O_RDWR | O_NOFOLLOW, 0, err);

    if (r < 0 && err->sys == ENOENT) {
        err_clear(err);
        r = fs_open(&fd, dirfd, path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600, err);
        if (r == 0)
            r = fs_give(fd, dirfd, path, err);
    }
    if (r == 0) {
        *out_fd = fd;
        fd = -1;
    }
    return r;
}

int
fs_lock(int *out_fd, int dirfd, const char *path, int timeout_ms, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    int64_t end_ns = clock_mono_ns() + (int64_t)timeout_ms * 1000000;
    struct timespec pause = { .tv_nsec = 100000 };
    int r = open_lock(&fd, dirfd, path, err);

    if (r < 0)
        return r;
    /* flock has no time limit of its own, and a signal handler is not ours to take */
    while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EINTR)
            continue;
        if (errno != EWOULDBLOCK)
            return err_sys(err, errno, "lock %s", path);
        if (clock_mono_ns() >= end_ns)
            return err_set(err, ERR_BUSY,
                           "lock %s: another process holds it (waited %d ms)", path,
                           timeout_ms);
        nanosleep(&pause, NULL);
        if (pause.tv_nsec < 2000000)
            pause.tv_nsec *= 2;
    }
    *out_fd = fd;
    fd = -1;
    return 0;
}
