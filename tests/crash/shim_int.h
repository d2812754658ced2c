/* SPDX-License-Identifier: Apache-2.0 */
/* What the shim*.c files share: the calls, asking the plan, writing the log. */
#ifndef TESTS_CRASH_SHIM_INT_H
#define TESTS_CRASH_SHIM_INT_H

#include "tests/crash/shim.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>

/* call, classes */
#define CALLS(X)                                                                       \
    X(open, IO | INTR | FILES)                                                         \
    X(create, IO | INTR | FILES | SPACE | DENIED)                                      \
    X(read, IO | INTR | SHORT)                                                         \
    X(pread, IO | INTR | SHORT)                                                        \
    X(write, IO | INTR | SHORT | SPACE)                                                \
    X(pwrite, IO | INTR | SHORT | SPACE)                                               \
    X(copy_file_range, IO | SHORT | SPACE)                                             \
    X(sendfile, IO | SHORT | SPACE)                                                    \
    X(ficlone, IO | SPACE)                                                             \
    X(fsync, IO | SPACE | INTR)                                                        \
    X(fdatasync, IO | SPACE | INTR)                                                    \
    X(syncfs, IO | SPACE)                                                              \
    X(sync_file_range, IO | SPACE)                                                     \
    X(fallocate, IO | INTR | SPACE)                                                    \
    X(ftruncate, IO | INTR | DENIED)                                                   \
    X(stat, IO)                                                                        \
    X(access, IO)                                                                      \
    X(readlink, IO)                                                                    \
    X(readdir, IO)                                                                     \
    X(opendir, FILES | MEMORY)                                                         \
    X(link, IO | SPACE | DENIED)                                                       \
    X(symlink, IO | SPACE | DENIED)                                                    \
    X(rename, IO | SPACE | DENIED)                                                     \
    X(unlink, IO | DENIED)                                                             \
    X(mkdir, IO | SPACE | DENIED)                                                      \
    X(rmdir, IO | DENIED)                                                              \
    X(chmod, IO | SPACE | DENIED)                                                      \
    X(chown, IO | SPACE | DENIED)                                                      \
    X(utime, IO | SPACE | DENIED)                                                      \
    X(mmap, MEMORY | IO)                                                               \
    X(flock, INTR | IO)                                                                \
    X(lock, ANY)                                                                       \
    X(random, IO)                                                                      \
    X(malloc, MEMORY)

enum {
#define IO SHIM_IO
#define SPACE SHIM_SPACE
#define INTR SHIM_INTR
#define SHORT SHIM_SHORT
#define FILES SHIM_FILES
#define MEMORY SHIM_MEMORY
#define DENIED SHIM_DENIED
#define ANY SHIM_ANY
#define X(name, classes) CALL_##name,
    CALLS(X)
#undef X
        N_CALLS
};

/* 0: go on; an errno; SHIM_HALF. */
int shim_ask(int kind);
/* malloc and its kin */
bool shim_no_memory(void);

#define REAL(name)                                                                     \
    ({                                                                                 \
        static __typeof__(name) *real_;                                                \
        if (!real_)                                                                    \
            real_ = (__typeof__(name) *)dlsym(RTLD_NEXT, #name);                       \
        real_;                                                                         \
    })
#define FAIL(e)                                                                        \
    do {                                                                               \
        errno = (e);                                                                   \
        return -1;                                                                     \
    } while (0)

/* ---- the log ---- */

bool shim_logging(void);
void shim_lock(void);
void shim_unlock(void);
uint64_t shim_ino(int dirfd, const char *path);
uint64_t shim_ino_fd(int fd); /* 0: neither file nor directory */
/* The inode of the directory that holds path's last part, which goes to *name. */
uint64_t shim_parent(int dirfd, const char *path, char name[NAME_MAX + 1]);
void shim_append(struct shim_op op, const char *name, const char *name2,
                 const void *data);

/* Runs `call`; when it went well and the log is on, does the rest under the log's lock.
 */
#define LOGGED(result, call, ...)                                                      \
    do {                                                                               \
        if (!shim_logging()) {                                                         \
            result = call;                                                             \
            break;                                                                     \
        }                                                                              \
        shim_lock();                                                                   \
        result = call;                                                                 \
        if (result >= 0) {                                                             \
            int errno_ = errno;                                                        \
            __VA_ARGS__;                                                               \
            errno = errno_;                                                            \
        }                                                                              \
        shim_unlock();                                                                 \
    } while (0)

#endif
