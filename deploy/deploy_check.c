/* SPDX-License-Identifier: Apache-2.0 */
/* The files of what is live, in its targets, against what was pushed. */
#include "deploy/deploy_int.h"

#include "repo/objects.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct check {
    struct repo *r;
    bool repair;
    int (*fn)(void *arg, const char *target, const char *what, bool repaired,
              struct err *err);
    void *arg;
};

int
site_replace_file(struct repo *r, const struct repo_file *f, int dirfd,
                  const char *path, struct err *err)
{
    char *work AUTO(free_ptr) = xasprintf("%s.sluice-new", path);
    char from[40];
    int fd AUTO(fs_close) = -1;
    int e = fs_unlink(dirfd, work, err);

    if (e == 0)
        e = r->objects->ops->link(r->objects, &f->digest, dirfd, work, err);
    if (e == -ERR_UNSUPPORTED) { /* another mount: a copy */
        err_clear(err);
        e = r->objects->ops->open(r->objects, &f->digest, &fd, err);
        snprintf(from, sizeof(from), "/proc/self/fd/%d", fd);
        if (e == 0)
            e = fs_copy(AT_FDCWD, from, dirfd, work, 0444, err);
    }
    return e < 0 ? e : fs_rename(dirfd, work, dirfd, path, err);
}

char *
site_file_fault(struct repo *r, const struct repo_file *f, int dirfd, const char *path)
{
    int fd AUTO(fs_close) = -1, object_fd AUTO(fs_close) = -1;
    struct err err = ERR_INIT;
    struct stat st, object;

    if (fs_open(&fd, dirfd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, &err) < 0)
        return xstrdup(err.msg);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return xasprintf("%s: not a regular file", path);
    if (r->objects->ops->open(r->objects, &f->digest, &object_fd, &err) < 0) {
        err_clear(&err); /* the store's own problem, told by its check */
        object.st_ino = 0;
    } else if (fstat(object_fd, &object) == 0 && object.st_dev == st.st_dev &&
               object.st_ino == st.st_ino) {
        return NULL;
    }
    if (st.st_size != f->size_bytes)
        return xasprintf("%s: %" PRId64 " bytes, not %" PRId64, path,
                         (int64_t)st.st_size, f->size_bytes);
    return objects_verify_fd(fd, &f->digest, path, &err) < 0 ? xstrdup(err.msg) : NULL;
}

static int
check_version(struct check *c, struct site *s, const char *model,
              const struct deploy_member *m, struct err *err)
{
    struct repo_manifest files AUTO(repo_manifest_release) = { .files = NULL };
    struct buf dir AUTO(buf_release) = BUF_INIT;
    struct repo_version v;
    int e = repo_version_get(c->r, m->version_id, &v, err);

    site_files_path(s, model, m->number, &dir);
    if (e == 0)
        e = fs_exists(s->dirfd, buf_str(&dir), err);
    if (e != 1) /* a directory that is gone is told with the links */
        return e;
    if (repo_manifest_get(c->r, &v.digest, &files, err) < 0) {
        err_clear(err);
        return 0;
    }
    for (int i = 0; i < files.n_files; i++) {
        char *path AUTO(free_ptr) =
            xasprintf("%s/%s", buf_str(&dir), files.files[i].path);
        char *fault AUTO(free_ptr) =
            site_file_fault(c->r, &files.files[i], s->dirfd, path);
        struct err failed = ERR_INIT;
        bool repaired;

        if (!fault)
            continue;
        repaired = c->repair && site_replace_file(c->r, &files.files[i], s->dirfd, path,
                                                  &failed) == 0;
        e = c->fn(c->arg, s->t.name, fault, repaired, err);
        if (e < 0)
            return e;
    }
    return 0;
}

static int
check_release(struct check *c, struct site *s, const struct deploy_release *rel,
              struct err *err)
{
    int e = 0;

    for (int i = 0; e == 0 && i < rel->n_members; i++)
        e = check_version(c, s, rel->model, &rel->members[i], err);
    for (int i = 0; e == 0 && i < rel->n_kept; i++)
        e = check_version(c, s, rel->model, &rel->kept[i], err);
    return e;
}

static int
check_site(struct check *c, struct site *s, struct err *err)
{
    struct history h AUTO(history_close) = HISTORY_INIT;
    struct deploy_release rel;
    int e = site_open(s, err);

    if (e < 0) { /* told by deploy_status */
        err_clear(err);
        return 0;
    }
    e = history_open_live(&h, c->r, s->t.alias, err);
    while (e == 0 && (e = history_next(&h, &rel, err)) == 1)
        e = check_release(c, s, &rel, err);
    return e;
}

int
deploy_check_files(struct repo *r, bool repair,
                   int (*fn)(void *arg, const char *target, const char *what,
                             bool repaired, struct err *err),
                   void *arg, struct err *err)
{
    struct sites all AUTO(sites_release) = SITES_INIT;
    struct check c = { .r = r, .repair = repair, .fn = fn, .arg = arg };
    int e = sites_load(r, NULL, &all, err);

    for (int i = 0; e == 0 && i < all.n; i++)
        e = check_site(&c, &all.s[i], err);
    return e;
}
