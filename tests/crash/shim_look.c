/* SPDX-License-Identifier: Apache-2.0 */
/* Calls that look, lock, map and take memory. */
#include "tests/crash/shim_int.h"

#include <dirent.h>
#include <fcntl.h>
#include <fts.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- looking ---- */

#define STAT(name, type, args, ...)                                                    \
    int name args                                                                      \
    {                                                                                  \
        int e = shim_ask(CALL_stat);                                                   \
                                                                                       \
        if (e > 0)                                                                     \
            FAIL(e);                                                                   \
        return REAL(name)(__VA_ARGS__);                                                \
    }
STAT(stat, , (const char *path, struct stat *st), path, st)
STAT(stat64, , (const char *path, struct stat64 *st), path, st)
STAT(lstat, , (const char *path, struct stat *st), path, st)
STAT(lstat64, , (const char *path, struct stat64 *st), path, st)
STAT(fstat, , (int fd, struct stat *st), fd, st)
STAT(fstat64, , (int fd, struct stat64 *st), fd, st)
STAT(fstatat, , (int dirfd, const char *path, struct stat *st, int flags), dirfd, path,
     st, flags)
STAT(fstatat64, , (int dirfd, const char *path, struct stat64 *st, int flags), dirfd,
     path, st, flags)

int
access(const char *path, int mode)
{
    int e = shim_ask(CALL_access);

    if (e > 0)
        FAIL(e);
    return REAL(access)(path, mode);
}

int
faccessat(int dirfd, const char *path, int mode, int flags)
{
    int e = shim_ask(CALL_access);

    if (e > 0)
        FAIL(e);
    return REAL(faccessat)(dirfd, path, mode, flags);
}

ssize_t
readlink(const char *path, char *out, size_t n)
{
    int e = shim_ask(CALL_readlink);

    if (e > 0)
        FAIL(e);
    return REAL(readlink)(path, out, n);
}

ssize_t
readlinkat(int dirfd, const char *path, char *out, size_t n)
{
    int e = shim_ask(CALL_readlink);

    if (e > 0)
        FAIL(e);
    return REAL(readlinkat)(dirfd, path, out, n);
}

struct dirent *
readdir(DIR *dir)
{
    int e = shim_ask(CALL_readdir);

    if (e > 0) {
        errno = e;
        return NULL;
    }
    return REAL(readdir)(dir);
}

DIR *
fdopendir(int fd)
{
    int e = shim_ask(CALL_opendir);

    if (e > 0) {
        errno = e;
        return NULL;
    }
    return REAL(fdopendir)(fd);
}

DIR *
opendir(const char *path)
{
    int e = shim_ask(CALL_opendir);

    if (e > 0) {
        errno = e;
        return NULL;
    }
    return REAL(opendir)(path);
}

FTS *
fts_open(char *const *roots, int options,
         int (*order)(const FTSENT **, const FTSENT **))
{
    int e = shim_ask(CALL_opendir);

    if (e > 0) {
        errno = e;
        return NULL;
    }
    return REAL(fts_open)(roots, options, order);
}

int
scandirat(int dirfd, const char *path, struct dirent ***list,
          int (*wanted)(const struct dirent *),
          int (*order)(const struct dirent **, const struct dirent **))
{
    int e = shim_ask(CALL_readdir);

    if (e > 0)
        FAIL(e);
    return REAL(scandirat)(dirfd, path, list, wanted, order);
}

/* ---- the rest ---- */

int
flock(int fd, int how)
{
    int e = shim_ask(CALL_flock);

    if (e > 0)
        FAIL(e);
    return REAL(flock)(fd, how);
}

static int
control(int fd, int what, void *arg)
{
    if (what == F_SETLK || what == F_SETLKW || what == F_OFD_SETLK ||
        what == F_OFD_SETLKW) {
        /* on a local disk it has nothing to fail with; SQLite takes each error for
         * "somebody has it", and waits */
        int e = shim_ask(CALL_lock);

        if (e > 0)
            FAIL(e);
    }
    return REAL(fcntl)(fd, what, arg);
}

#define CONTROL_ARG()                                                                  \
    va_list ap;                                                                        \
    void *arg;                                                                         \
    va_start(ap, what);                                                                \
    arg = va_arg(ap, void *);                                                          \
    va_end(ap)

int
fcntl(int fd, int what, ...)
{
    CONTROL_ARG();
    return control(fd, what, arg);
}

int
fcntl64(int fd, int what, ...)
{
    CONTROL_ARG();
    return control(fd, what, arg);
}

ssize_t
getrandom(void *p, size_t n, unsigned flags)
{
    int e = shim_ask(CALL_random);

    if (e > 0)
        FAIL(e);
    return REAL(getrandom)(p, n, flags);
}

/* Only maps of files: memory itself is malloc's affair. */
void *
mmap64(void *at, size_t n, int prot, int flags, int fd, off_t offset)
{
    int e = fd >= 0 ? shim_ask(CALL_mmap) : 0;

    if (e > 0) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return REAL(mmap)(at, n, prot, flags, fd, offset);
}

void *
mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset)
{
    return mmap64(at, n, prot, flags, fd, offset);
}

#ifndef __SANITIZE_ADDRESS__
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t each);
void *__libc_realloc(void *p, size_t n);

void *
malloc(size_t n)
{
    return shim_no_memory() ? NULL : __libc_malloc(n);
}

void *
calloc(size_t n, size_t each)
{
    return shim_no_memory() ? NULL : __libc_calloc(n, each);
}

void *
realloc(void *p, size_t n)
{
    return shim_no_memory() ? NULL : __libc_realloc(p, n);
}
#endif
