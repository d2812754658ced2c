/* SPDX-License-Identifier: Apache-2.0 */
/* The names of a hand-made tree change hands, one exchange each.
 *
 *     .sluice/adopted/new               a replacement being made
 *     .sluice/adopted/.new.<ino>.<name> ready; the inode that the replacement has, so
 *                                       that the next run can tell whether it was
 *                                       exchanged
 *     .sluice/adopted/<name>            what had the name before ("fraud_v1") */
#include "deploy/adopt.h"
#include "deploy/deploy_int.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READY ".new."

/* "fraud/v1" -> "fraud_v1" */
static char *
kept_name(const char *path)
{
    char *name = xstrdup(path);

    for (char *p = name; *p; p++)
        if (*p == '/')
            *p = '_';
    return name;
}

static int
sync_parent(struct site *s, const char *path, struct err *err)
{
    const char *slash = strrchr(path, '/');
    char *dir AUTO(free_ptr) = slash ? xstrndup(path, (size_t)(slash - path)) : NULL;

    return dir ? fs_fsync_dir(s->dirfd, dir, err) : fs_fsync(s->dirfd, s->t.dir, err);
}

/* What an adoption that was interrupted left ready: exchanged already, or not. */
static int
settle_ready(int kept, const char *name, struct err *err)
{
    char *rest;
    const uintmax_t ino = strtoumax(name + strlen(READY), &rest, 10);
    struct stat st;

    if (*rest != '.' || !rest[1] || fstatat(kept, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return err_set(err, ERR_CONFLICT, "%s/%s is not of this program: move it away",
                       SITE_ADOPTED, name);
    if ((uintmax_t)st.st_ino == ino)
        return fs_remove_tree(kept, name, err);
    return fs_rename_new(kept, name, kept, rest + 1, err);
}

static int
recover(int kept, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    const struct dirent *ent;
    DIR *d;
    int e = fs_remove_tree(kept, "new", err);

    if (e == 0)
        e = fs_open_dir(&fd, kept, ".", err);
    if (e < 0)
        return e;
    d = fdopendir(fd);
    if (!d)
        return err_sys(err, errno, "read %s", SITE_ADOPTED);
    fd = -1; /* d's now */
    while (e == 0 && (ent = readdir(d)) != NULL)
        if (strncmp(ent->d_name, READY, strlen(READY)) == 0)
            e = settle_ready(kept, ent->d_name, err);
    closedir(d);
    return e < 0 ? e : fs_fsync(kept, SITE_ADOPTED, err);
}

/* `new` takes the place of `path`, which is kept. */
static int
exchange(struct site *s, int kept, const char *path, struct err *err)
{
    char *name AUTO(free_ptr) = kept_name(path), *ready AUTO(free_ptr) = NULL;
    struct stat st;
    int e;

    if (fstatat(kept, "new", &st, AT_SYMLINK_NOFOLLOW) < 0)
        return err_sys(err, errno, "stat %s/new", SITE_ADOPTED);
    ready = xasprintf(READY "%ju.%s", (uintmax_t)st.st_ino, name);
    e = fs_rename_new(kept, "new", kept, ready, err);
    if (e == 0)
        e = fs_fsync(kept, SITE_ADOPTED, err);
    if (e == 0)
        e = fs_exchange(kept, ready, s->dirfd, path, err);
    if (e == 0)
        e = sync_parent(s, path, err);
    if (e == 0)
        e = fs_rename_new(kept, ready, kept, name, err);
    return e < 0 ? e : fs_fsync(kept, SITE_ADOPTED, err);
}

/* The name of the layout itself: a directory for a directory. */
static int
replace_dir(struct repo *r, struct site *s, int kept, const struct adopt_dir *d,
            struct err *err)
{
    char *name AUTO(free_ptr) = kept_name(d->path);
    struct repo_version v;
    int e = fs_exists(kept, name, err);

    if (e != 0)
        return e < 0 ? e : 0; /* done before */
    e = repo_version_get(r, d->version_id, &v, err);
    if (e == 0)
        e = repo_checkout(r, &v.digest, kept, "new", REPO_LINK, err);
    return e < 0 ? e : exchange(s, kept, d->path, err);
}

/* A name that the layout does not use: it becomes a link to the one that it does. */
static int
replace_by_link(struct repo *r, struct site *s, int kept, const struct adopt_tree *t,
                const struct adopt_dir *d, const char *want, struct err *err)
{
    const char *model = t->models[d->model].name;
    const struct deploy_member m = { .version_id = d->version_id,
                                     .number = d->becomes };
    const char *slash = strrchr(d->path, '/');
    struct stat st;
    int e = site_ready_version(r, s, model, &m, err);

    if (e == 1)
        e = sync_parent(s, want, err);
    if (e < 0)
        return e;
    if (fstatat(s->dirfd, d->path, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return err_sys(err, errno, "stat %s", d->path);
    if (S_ISLNK(st.st_mode)) /* done before */
        return 0;
    e = fs_symlink_replace(slash ? strrchr(want, '/') + 1 : want, kept, "new", err);
    return e < 0 ? e : exchange(s, kept, d->path, err);
}

int
adopt_names(struct repo *r, struct site *s, const struct adopt_tree *t, struct err *err)
{
    int kept AUTO(fs_close) = -1;
    int e = fs_mkdirs(s->dirfd, SITE_ADOPTED, 0755, err);

    if (e == 0)
        e = fs_fsync_dir(s->dirfd, SITE_DOT, err);
    if (e == 0)
        e = fs_open_dir(&kept, s->dirfd, SITE_ADOPTED, err);
    if (e == 0)
        e = recover(kept, err);
    for (int i = 0; e == 0 && i < t->n_dirs; i++) {
        const struct adopt_dir *d = &t->dirs[i];
        struct buf want AUTO(buf_release) = BUF_INIT;

        if (d->becomes == 0)
            continue;
        site_version_path(s, t->models[d->model].name, d->becomes, &want);
        e = strcmp(buf_str(&want), d->path) == 0
                ? replace_dir(r, s, kept, d, err)
                : replace_by_link(r, s, kept, t, d, buf_str(&want), err);
        if (e < 0)
            return err_ctx(err, "%s", d->path);
    }
    return e;
}

int
adopt_latest(struct site *s, const struct adopt_tree *t, struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    int e;

    if (!t->flat)
        return 0;
    repo_name_encode(t->models[0].name, &text);
    buf_adds(&text, "/latest");
    e = fs_symlink_replace(buf_str(&text), s->dirfd, "latest", err);
    return e < 0 ? e : fs_fsync(s->dirfd, s->t.dir, err);
}

/* ---- may it be? ---- */

/* The tree was claimed by an adoption that was interrupted: what is in the way may be
 * ours. */
static int
check_claimed(struct repo *r, const struct adopt_tree *t, const char *name,
              bool *claimed, struct err *err)
{
    cJSON *doc AUTO(json_free) = NULL;
    int fd AUTO(fs_close) = -1;
    const char *uid, *of, *owner;
    char store[PATH_MAX];
    int64_t id;
    int e = fs_open_dir(&fd, AT_FDCWD, t->dir, err);

    if (e == 0)
        e = site_identity(fd, &doc, err);
    *claimed = e == 1;
    if (e == 1)
        e = json_str(doc, "uid", NULL, &uid, SITE_IDENTITY, err);
    if (e == 0 && *claimed)
        e = json_str(doc, "name", NULL, &of, SITE_IDENTITY, err);
    if (e == 0 && *claimed)
        e = json_str(doc, "store", NULL, &owner, SITE_IDENTITY, err);
    if (e < 0 || !*claimed)
        return e;
    if (!realpath(r->path, store))
        return err_sys(err, errno, "find %s", r->path);
    if (strcmp(store, owner) != 0)
        return err_set(err, ERR_CONFLICT, "%s is target %s of the store %s", t->dir, of,
                       owner);
    e = db_get_int(r->db, &id, err, "SELECT id FROM target WHERE uid = ?", "t", uid);
    if (e == 1 || (e == 0 && strcmp(of, name) != 0))
        return err_set(err, ERR_CONFLICT,
                       "%s is a target already: %s (sluice target list)", t->dir, of);
    return e;
}

/* Names at the top of the tree that a target needs. */
static void
check_top(struct adopt_tree *t, const char *name, const char *why)
{
    char *path AUTO(free_ptr) = xasprintf("%s/%s", t->dir, name);
    struct stat st;

    if (lstat(path, &st) == 0)
        adopt_note(t, name, true, "%s: move it away", why);
}

static bool
has_model(const struct adopt_tree *t, const char *name)
{
    for (int i = 0; i < t->n_models; i++)
        if (strcmp(t->models[i].name, name) == 0)
            return true;
    return false;
}

/* What the alias means already must be what the tree shows. */
static int
check_live(struct repo *r, struct adopt_tree *t, const char *alias, bool claimed,
           struct err *err)
{
    struct history h AUTO(history_close) = HISTORY_INIT;
    struct deploy_release rel;
    int e = history_open_live(&h, r, alias, err);

    while (e == 0 && (e = history_next(&h, &rel, err)) == 1) {
        struct buf dir AUTO(buf_release) = BUF_INIT;

        e = 0;
        for (int i = 0; i < t->n_models; i++)
            if (strcmp(t->models[i].name, rel.model) == 0 && t->models[i].live &&
                t->models[i].live != rel.latest)
                return err_set(err, ERR_CONFLICT,
                               "%s@%s means %" PRId64 ", and the tree shows %" PRId64
                               ": promote what it shows, or adopt it for another "
                               "alias (--alias)",
                               rel.model, alias, rel.latest, t->models[i].live);
        repo_name_encode(rel.model, &dir);
        if (!claimed && !has_model(t, rel.model))
            check_top(t, buf_str(&dir), "the alias has a model of this name too");
    }
    return e < 0 ? e : 0;
}

static void
check_writable(struct adopt_tree *t, const char *name, const char *path)
{
    if (access(path, W_OK) < 0)
        adopt_note(t, name, true, "it cannot be written to: %s", strerror(errno));
}

int
deploy_adopt_check(struct repo *r, struct adopt_tree *t, const char *name,
                   const char *alias, struct err *err)
{
    struct buf dir AUTO(buf_release) = BUF_INIT;
    const struct layout_ops *layout;
    bool claimed = false;
    int e = check_claimed(r, t, name, &claimed, err);

    if (e == 0)
        e = layout_find(t->layout, &layout, err);
    if (e == 0)
        e = deploy_target_check(r, name, t->dir, alias, err);
    if (e == 0)
        e = check_live(r, t, alias, claimed, err);
    if (e < 0)
        return e;
    repo_name_encode(t->models[0].name, &dir);
    if (!claimed && t->flat)
        check_top(t, buf_str(&dir), "the model's directory is made under this name");
    if (!claimed && layout->render)
        check_top(t, LAYOUT_CONFIG_LINK, "the rendered files are made under this name");
    check_writable(t, ".", t->dir);
    for (int i = 0; !t->flat && i < t->n_models; i++) {
        char *path AUTO(free_ptr) = NULL;

        buf_clear(&dir);
        repo_name_encode(t->models[i].name, &dir);
        path = xasprintf("%s/%s", t->dir, buf_str(&dir));
        check_writable(t, buf_str(&dir), path);
    }
    for (int i = 0; i < t->n_dirs; i++) /* to be moved elsewhere it must be, too */
        check_writable(t, t->dirs[i].path, t->dirs[i].real);
    return 0;
}
