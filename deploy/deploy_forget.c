/* SPDX-License-Identifier: Apache-2.0 */
/* Version directories that leave the targets' trees with their version. While they stay
 * their links keep the objects on the disk, whatever the store does. */
#include "deploy/deploy_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Opened when it can be: a target whose disk is away keeps nothing on ours. */
static bool
has_version(struct repo *r, struct site *s, const struct repo_version *v,
            struct buf *path)
{
    struct err ignored = ERR_INIT;
    struct stat here, there;

    if (s->dirfd < 0 && site_open(s, &ignored) < 0)
        return false;
    buf_clear(path);
    site_version_path(s, v->model, v->number, path);
    return fstat(r->dirfd, &here) == 0 && fstat(s->dirfd, &there) == 0 &&
           here.st_dev == there.st_dev &&
           faccessat(s->dirfd, buf_str(path), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

int
deploy_version_dirs(struct repo *r, const struct repo_version *v, struct err *err)
{
    struct sites all AUTO(sites_release) = SITES_INIT;
    struct buf path AUTO(buf_release) = BUF_INIT;
    int n = 0, e = sites_load(r, NULL, &all, err);

    for (int i = 0; e == 0 && i < all.n; i++)
        n += has_version(r, &all.s[i], v, &path);
    return e < 0 ? e : n;
}

/* Out of sight by one rename, then file by file. Who holds the lock moves no traffic to
 * it: the version is deleted. */
static int
forget_in(struct site *s, const struct repo_version *v, const char *path,
          struct err *err)
{
    char gone[64];
    int e = fs_lock(&s->lock_fd, s->dirfd, SITE_LOCK, DEPLOY_LOCK_MS, err);

    snprintf(gone, sizeof(gone), SITE_STAGING "/gone-%" PRId64, v->id);
    if (e == 0)
        e = fs_mkdirs(s->dirfd, SITE_STAGING, 0700, err);
    if (e == 0)
        e = fs_remove_tree(s->dirfd, gone, err);
    if (e == 0)
        e = fs_rename(s->dirfd, path, s->dirfd, gone, err);
    if (e == 0)
        e = fs_remove_tree(s->dirfd, gone, err);
    return e < 0 ? err_ctx(err, "target %s (%s)", s->t.name, s->t.dir) : 0;
}

int
deploy_forget(struct repo *r, const struct repo_version *v, struct err *err)
{
    struct sites all AUTO(sites_release) = SITES_INIT;
    int e = sites_load(r, NULL, &all, err);

    for (int i = 0; e == 0 && i < all.n; i++) {
        struct buf path AUTO(buf_release) = BUF_INIT;

        if (has_version(r, &all.s[i], v, &path))
            e = forget_in(&all.s[i], v, buf_str(&path), err);
    }
    return e;
}
