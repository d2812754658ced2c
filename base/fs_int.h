/* SPDX-License-Identifier: Apache-2.0 */
/* What the fs_*.c files share. */
#ifndef BASE_FS_INT_H
#define BASE_FS_INT_H

#include "base/fs.h"

#include <limits.h>

/* A path's directory ("." or "/" when it names none) and its last part, which is
 * lent by the path. */
struct fs_place {
    char dir[PATH_MAX];
    const char *name;
};
int fs_split(const char *path, struct fs_place *out, struct err *err) MUST_CHECK;

/* One store, one owner: what root makes below somebody else's directory is given to
 * that directory's owner and group. `fd` is the new file, `path` its name. */
int fs_give(int fd, int dirfd, const char *path, struct err *err) MUST_CHECK;

/* ".tmp-" and random hex digits */
#define FS_TMP_NAME_BYTES 64
int fs_tmp_name(char out[FS_TMP_NAME_BYTES], struct err *err) MUST_CHECK;
/* As fs_tmp_open, but with a name from the start, for a rename over another. */
int fs_tmp_open_named(struct fs_tmp *t, int dirfd, struct err *err) MUST_CHECK;
/* Mode, owner and data are on disk; the name is what is left to do. */
int fs_tmp_finish(struct fs_tmp *t, const char *path, mode_t mode,
                  struct err *err) MUST_CHECK;

/* "a symlink", "a FIFO", ... */
const char *fs_kind(mode_t mode);

#endif
