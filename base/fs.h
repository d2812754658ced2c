/* SPDX-License-Identifier: Apache-2.0 */
/* Files that survive a crash. Every function takes a directory fd (AT_FDCWD allowed)
 * and a path relative to it, names the path in its error, and retries EINTR.
 *
 * In builds with -DTEST_FAULT the environment variable TEST_FAULT=call:n:what makes
 * the n-th call (from 1) of one kind fail or kill the process, where call is one of
 * open write fsync rename link mkdir unlink commit any, and what is an errno name (EIO,
 * ENOSPC …) or "kill" (SIGKILL before the call). A symlink counts as link.
 *
 * One store, one owner: what root makes here (fs_tmp_commit, fs_replace, fs_copy,
 * fs_mkdirs, fs_lock) in a directory of another user is given to that directory's
 * owner and group. */
#ifndef BASE_FS_H
#define BASE_FS_H

#include "base/buf.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>

void fs_close(int *fd); /* for AUTO(fs_close): closes *fd when >= 0 and sets it to -1 */

int fs_open(int *out_fd, int dirfd, const char *path, int flags, mode_t mode,
            struct err *err) MUST_CHECK;
int fs_open_dir(int *out_fd, int dirfd, const char *path, struct err *err) MUST_CHECK;
/* Appends the whole file to `out`; ERR_LIMIT when it passes out->cap_bytes. */
int fs_read(int dirfd, const char *path, struct buf *out, struct err *err) MUST_CHECK;
int fs_write_all(int fd, const void *p, size_t n, const char *what,
                 struct err *err) MUST_CHECK;
/* Writes path by a temporary file, fsync, rename, fsync of the directory. */
int fs_replace(int dirfd, const char *path, const void *p, size_t n, mode_t mode,
               struct err *err) MUST_CHECK;
/* A new file, whole and synced before it has its name; its directory is synced too.
 * Whatever stops it leaves nothing, where the file system has nameless files.
 * ERR_CONFLICT: the name is taken. */
int fs_create(int dirfd, const char *path, const void *p, size_t n, mode_t mode,
              struct err *err) MUST_CHECK;
int fs_fsync(int fd, const char *what, struct err *err) MUST_CHECK;
int fs_fsync_dir(int dirfd, const char *path, struct err *err) MUST_CHECK;
/* Missing parents are made too; an existing directory is no error. Not synced. */
int fs_mkdirs(int dirfd, const char *path, mode_t mode, struct err *err) MUST_CHECK;
int fs_rename(int from_dirfd, const char *from, int to_dirfd, const char *to,
              struct err *err) MUST_CHECK;
/* renameat2(RENAME_NOREPLACE); ERR_CONFLICT when `to` exists. */
int fs_rename_new(int from_dirfd, const char *from, int to_dirfd, const char *to,
                  struct err *err) MUST_CHECK;
/* Two names change their places in one step. ERR_UNSUPPORTED: not on this file system.
 */
int fs_exchange(int a_dirfd, const char *a, int b_dirfd, const char *b,
                struct err *err) MUST_CHECK;
/* Hard link; err->sys tells EEXIST, EXDEV, EMLINK, EPERM. */
int fs_link(int from_dirfd, const char *from, int to_dirfd, const char *to,
            struct err *err) MUST_CHECK;
/* An absent file is no error. */
int fs_unlink(int dirfd, const char *path, struct err *err) MUST_CHECK;
/* The symlink at `path` points at `text` after one rename; directory not synced. */
int fs_symlink_replace(const char *text, int dirfd, const char *path,
                       struct err *err) MUST_CHECK;
int fs_readlink(int dirfd, const char *path, struct buf *out,
                struct err *err) MUST_CHECK;
/* 1 exists, 0 absent, -code. Symlinks are not followed. */
int fs_exists(int dirfd, const char *path, struct err *err) MUST_CHECK;
/* Removes a tree without following links; an absent one is no error. */
int fs_remove_tree(int dirfd, const char *path, struct err *err) MUST_CHECK;
/* A whole copy with the destination synced; the destination must not exist. Uses
 * FICLONE or copy_file_range where they work, and keeps holes. */
int fs_copy(int from_dirfd, const char *from, int to_dirfd, const char *to, mode_t mode,
            struct err *err) MUST_CHECK;
int fs_copy_unsynced(int from_dirfd, const char *from, int to_dirfd, const char *to,
                     mode_t mode, struct err *err) MUST_CHECK;

/* ---- base/fs_stream.c: big files in pieces, many files at once ---- */

/* Fewer than n bytes at the end of the file; -code. */
int64_t fs_read_at(int fd, void *p, size_t n, int64_t at, const char *what,
                   struct err *err) MUST_CHECK;
int fs_write_at(int fd, const void *p, size_t n, int64_t at, const char *what,
                struct err *err) MUST_CHECK;
/* Writes past the page cache: memory, offsets and lengths are then multiples of
 * FS_DIRECT_BYTES (where that is not enough fs_write_at goes on without). False: this
 * file system cannot. */
enum { FS_DIRECT_BYTES = 4096 };
bool fs_set_direct(int fd, bool on);
/* Room on the disk before the work, for n bytes from `at` on; a file system that cannot
 * say is no error. The file reaches that far afterwards, or is as it was. */
int fs_reserve(int fd, int64_t at, int64_t n, const char *what,
               struct err *err) MUST_CHECK;
/* The first hole of FS_HOLE_BYTES or more at or behind `at` in what are the first
 * size_bytes of a file. Its ends are multiples of FS_DIRECT_BYTES, or size_bytes.
 * False: there is none, or this file system does not tell. Moves the offset of fd. */
enum { FS_HOLE_BYTES = 1 << 16 };
struct fs_hole {
    int64_t from, to;
};
bool fs_find_hole(int fd, int64_t at, int64_t size_bytes, struct fs_hole *out);
/* As fs_write_at to what was never written before, but leaves a hole for FS_HOLE_BYTES
 * of zeros (the file may need ftruncate afterwards). `at` is a multiple of that. */
int fs_write_sparse(int fd, const void *p, size_t n, int64_t at, const char *what,
                    struct err *err) MUST_CHECK;
/* Makes an empty file a copy that shares its blocks with another. */
bool fs_clone(int to_fd, int from_fd);
/* The kernel begins to write that range (n 0: to the end); nobody waits, and errors
 * show in fs_datasync. */
void fs_writeout(int fd, int64_t at, int64_t n);
/* The bytes and what is needed to find them, not the times. */
int fs_datasync(int fd, const char *what, struct err *err) MUST_CHECK;
/* Everything that was written to fd's file system, by whomever. */
int fs_sync_all(int fd, const char *what, struct err *err) MUST_CHECK;

/* A file that gets its name only when complete (O_TMPFILE, or a ".tmp-" name where
 * the file system has none). */
struct fs_tmp {
    int fd;
    int dirfd;
    char name[64]; /* "" with O_TMPFILE */
};
#define FS_TMP_INIT                                                                    \
    {                                                                                  \
        .fd = -1, .dirfd = -1                                                          \
    }
int fs_tmp_open(struct fs_tmp *t, int dirfd, struct err *err) MUST_CHECK;
/* fchmod, fsync, then linked as `path` below t->dirfd; the directory is not synced.
 * 0 new, 1 the name existed already (that file is left as it is), -code. */
int fs_tmp_commit(struct fs_tmp *t, const char *path, mode_t mode,
                  struct err *err) MUST_CHECK;
/* The same in two steps, for who syncs many at once in between: mode and owner, then
 * the name. */
int fs_tmp_seal(struct fs_tmp *t, const char *path, mode_t mode,
                struct err *err) MUST_CHECK;
int fs_tmp_link(struct fs_tmp *t, const char *path, struct err *err) MUST_CHECK;
void fs_tmp_abort(struct fs_tmp *t); /* for AUTO; does nothing after a commit */
/* Removes the ".tmp-" names that a killed process left in a directory which the caller
 * has locked. Best effort: an absent directory is no error. */
void fs_tmp_sweep(int dirfd, const char *path);

/* Regular files and directories below `path`, sorted bytewise by relative path
 * ("a/b"); called with the fd of the directory that holds the entry. A symlink,
 * device, FIFO or socket is ERR_INVALID naming it. */
struct fs_entry {
    const char *path; /* relative to the root of the walk, '/'-separated */
    const char *name; /* last part */
    int dirfd;
    struct stat st;
};
typedef int fs_walk_fn(void *arg, const struct fs_entry *e, struct err *err);
int fs_walk(int dirfd, const char *path, fs_walk_fn *fn, void *arg,
            struct err *err) MUST_CHECK;

/* A read-only map of a whole regular file; an empty file gives p = "" and n = 0. */
struct fs_range;
struct fs_map {
    const uint8_t *p;
    size_t n;
    struct fs_range *range; /* what fs_maps_guard knows of it */
};
int fs_map(struct fs_map *out, int dirfd, const char *path, struct err *err) MUST_CHECK;
void fs_unmap(struct fs_map *m); /* for AUTO */
/* Whole pages in [from, to) of the map leave this process's memory; reading them again
 * brings them back. */
void fs_map_drop(const struct fs_map *m, const void *from, const void *to);

/* A mapped file that somebody cuts short kills its reader (SIGBUS), except in a program
 * whose main called fs_maps_guard: there the missing bytes read as zeros, and what was
 * read is not to be believed before fs_maps_check. `n_before` is fs_maps_n_cut() from
 * before the reading; ERR_CORRUPT, in place of an error that is there already, when a
 * map of this process was cut since. */
int fs_maps_guard(struct err *err) MUST_CHECK;
unsigned fs_maps_n_cut(void);
int fs_maps_check(unsigned n_before, struct err *err);

/* flock(LOCK_EX) on path, made when absent; waits at most timeout_ms (0: tries
 * once), then ERR_BUSY. The lock ends with the fd. */
int fs_lock(int *out_fd, int dirfd, const char *path, int timeout_ms,
            struct err *err) MUST_CHECK;
/* Counts a call against TEST_FAULT; 0, or the errno to fail with. base/db and
 * modules that make system calls of their own use it. */
#ifdef TEST_FAULT
int fs_fault(const char *call);
#else
static inline int
fs_fault(const char *call)
{
    (void)call;
    return 0;
}
#endif

#endif
