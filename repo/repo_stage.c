/* SPDX-License-Identifier: Apache-2.0 */
/* stage/ holds what is being made: views for readers, and temporary files where a file
 * system has no nameless ones. Whoever makes an entry holds a flock on it; a lock dies
 * with its process, so an old entry that can be locked is a dead one's. (A pid would
 * say less: two containers may share a store.) */
#include "repo/repo_int.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define STALE_S 60 /* covers the moment between making an entry and locking it */

static void
close_dir(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}

static void
sweep_entry(int stage_fd, const char *name)
{
    int fd AUTO(fs_close) = -1;
    struct err err = ERR_INIT;
    struct stat st;

    if (fstatat(stage_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        time(NULL) - st.st_mtime < STALE_S)
        return;
    fd = openat(stage_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
        return;
    if (fs_remove_tree(stage_fd, name, &err) < 0)
        err_clear(&err); /* the next writer tries again */
}

void
repo_stage_sweep(struct repo *r)
{
    DIR *dir AUTO(close_dir) = NULL;
    int fd AUTO(fs_close) = -1;
    struct err err = ERR_INIT;
    const struct dirent *d;

    if (fs_open_dir(&fd, r->dirfd, "stage", &err) < 0) {
        err_clear(&err); /* whoever needs stage/ will say so */
        return;
    }
    dir = fdopendir(fd);
    if (!dir)
        return;
    fd = -1; /* dir's now */
    while ((d = readdir(dir)) != NULL)
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
            sweep_entry(dirfd(dir), d->d_name);
}
