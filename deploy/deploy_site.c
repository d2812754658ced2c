/* SPDX-License-Identifier: Apache-2.0 */
/* The directory of a target:
 *
 *     TARGET/.sluice/target.json   {"sluice_target": 1, "uid", "name", "store"}
 *                    lock          flock, held from an intent to its end
 *                    releases/<id> rendered files; id: first half of their SHA-256 in
 *                                  hex
 *                    models/<model>/<id>   those that a model has for itself
 *                    staging/      work in progress of whoever holds the lock
 *                    flip          a file on its way into place
 *     TARGET/<model>/<version>/…   see layout.h
 *
 * Equal meanings share a rendered folder, and what undoes a release is made before it
 * is needed. Whatever lies under a final name is complete and synced: it is made in
 * staging and renamed. */
#include "deploy/deploy_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define IDENTITY_MAX_BYTES 65536
#define KEEP_RENDERED 64 /* the newest; a rollback beyond them renders again */

/* ---- rows ---- */

void
deploy_target_release(struct deploy_target *t)
{
    free(t->dir);
    t->dir = NULL;
    for (int i = 0; i < DEPLOY_N_OPTIONS; i++)
        free_ptr(&t->option[i]);
}

static void
read_target(struct db_stmt *st, struct deploy_target *t)
{
    memset(t, 0, sizeof(*t));
    t->id = db_int(st, 0);
    snprintf(t->name, sizeof(t->name), "%s", db_text(st, 1));
    t->dir = xstrdup(db_text(st, 2));
    snprintf(t->alias, sizeof(t->alias), "%s", db_text(st, 3));
    snprintf(t->layout, sizeof(t->layout), "%s", db_text(st, 4));
    snprintf(t->uid, sizeof(t->uid), "%s", db_text(st, 5));
    for (int i = 0; i < DEPLOY_N_OPTIONS; i++)
        t->option[i] = db_text(st, 6 + i) ? xstrdup(db_text(st, 6 + i)) : NULL;
}

#define SELECT                                                                         \
    "SELECT id, name, dir, alias, layout, uid, serving_root, status_url, reload, "     \
    "render, readers, of_group FROM target "

int
deploy_targets(struct repo *r, const char *alias_or_null,
               int (*fn)(void *arg, const struct deploy_target *t, struct err *err),
               void *arg, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int e = alias_or_null
                ? db_query(r->db, &st, err, SELECT "WHERE alias = ? ORDER BY id", "t",
                           alias_or_null)
                : db_query(r->db, &st, err, SELECT "ORDER BY id", "");

    while (e >= 0 && (e = db_step(st, err)) == 1) {
        struct deploy_target t;

        read_target(st, &t);
        e = fn(arg, &t, err);
        deploy_target_release(&t);
    }
    return e;
}

static int
add_site(void *arg, const struct deploy_target *t, struct err *err)
{
    struct sites *out = arg;
    struct site *s;
    const struct layout_ops *layout;
    int e = layout_find(t->layout, &layout, err);

    if (e < 0)
        return err_ctx(err, "target %s", t->name);
    out->s = xreallocarray(out->s, (size_t)out->n + 1, sizeof(*out->s));
    s = &out->s[out->n++];
    *s = (struct site){ .t = *t, .layout = layout, .dirfd = -1, .lock_fd = -1 };
    s->t.dir = xstrdup(t->dir);
    for (int i = 0; i < DEPLOY_N_OPTIONS; i++)
        s->t.option[i] = t->option[i] ? xstrdup(t->option[i]) : NULL;
    return 0;
}

int
sites_load(struct repo *r, const char *alias, struct sites *out, struct err *err)
{
    return deploy_targets(r, alias, add_site, out, err);
}

int
site_fault(const char *name, const char *dir, struct err *err)
{
    const bool shut = err->sys == EACCES || err->sys == EPERM || err->sys == EROFS;

    return err_ctx(err, "target %s (%s%s)", name, dir,
                   shut ? ", where who owns the store must be able to write" : "");
}

void
sites_unlock(struct sites *s)
{
    for (int i = 0; i < s->n; i++) {
        fs_close(&s->s[i].lock_fd);
        fs_close(&s->s[i].dirfd);
    }
}

void
sites_release(struct sites *s)
{
    sites_unlock(s);
    for (int i = 0; i < s->n; i++)
        deploy_target_release(&s->s[i].t);
    free(s->s);
    *s = (struct sites)SITES_INIT;
}

/* ---- opening ------------------------------------------------------------------------
 */

int
site_identity(int dirfd, cJSON **out, struct err *err)
{
    struct buf text AUTO(buf_release) = { .cap_bytes = IDENTITY_MAX_BYTES };
    int e = fs_read(dirfd, SITE_IDENTITY, &text, err);

    if (e < 0 && err->sys == ENOENT) {
        err_clear(err);
        return 0;
    }
    if (e == 0)
        e = json_parse(out, (struct str){ buf_str(&text), text.len }, SITE_IDENTITY,
                       err);
    return e < 0 ? e : 1;
}

static int
open_checked(struct site *s, struct err *err)
{
    cJSON *doc AUTO(json_free) = NULL;
    const char *uid;
    int e = fs_open_dir(&s->dirfd, AT_FDCWD, s->t.dir, err);

    if (e < 0 && err->sys == ENOENT) {
        err_clear(err);
        return err_set(
            err, ERR_CONFLICT,
            "the directory is gone, or its disk is not mounted: bring it back, or "
            "forget it (sluice target remove %s)",
            s->t.name);
    }
    if (e == 0)
        e = site_identity(s->dirfd, &doc, err);
    if (e == 0)
        return err_set(err, ERR_CONFLICT,
                       "no %s: the directory was emptied, or its disk is not mounted: "
                       "bring it back",
                       SITE_IDENTITY);
    if (e == 1)
        e = json_str(doc, "uid", NULL, &uid, SITE_IDENTITY, err);
    if (e == 0 && strcmp(uid, s->t.uid) != 0)
        return err_set(err, ERR_CONFLICT,
                       "%s names another target: the directory was replaced: bring the "
                       "right one back",
                       SITE_IDENTITY);
    return e;
}

int
site_open(struct site *s, struct err *err)
{
    int e = open_checked(s, err);

    if (e < 0)
        fs_close(&s->dirfd);
    return e < 0 ? err_ctx(err, "target %s (%s)", s->t.name, s->t.dir) : 0;
}

int
sites_lock(struct sites *s, int timeout_ms, struct err *err)
{
    int e = 0;

    for (int i = 0; e == 0 && i < s->n; i++) {
        e = site_open(&s->s[i], err);
        if (e < 0)
            break;
        e = fs_lock(&s->s[i].lock_fd, s->s[i].dirfd, SITE_LOCK, timeout_ms, err);
        if (e < 0)
            e = site_fault(s->s[i].t.name, s->s[i].t.dir, err);
    }
    if (e < 0)
        sites_unlock(s);
    return e;
}

/* ---- version directories ------------------------------------------------------------
 */

void
site_model_path(const struct site *s, const char *model, struct buf *out)
{
    buf_adds(out, s->layout->models);
    repo_name_encode(model, out);
}

void
site_version_path(const struct site *s, const char *model, int64_t number,
                  struct buf *out)
{
    struct buf shown AUTO(buf_release) = BUF_INIT;
    size_t dir;

    site_model_path(s, model, &shown);
    buf_addc(&shown, '/');
    dir = shown.len;
    s->layout->version_dir(number, &shown);
    if (!s->layout->parks ||
        faccessat(s->dirfd, buf_str(&shown), F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        buf_adds(out, buf_str(&shown));
    else
        buf_addf(out, "%.*s.%s", (int)dir, shown.data, shown.data + dir);
}

void
site_files_path(const struct site *s, const char *model, int64_t number,
                struct buf *out)
{
    site_version_path(s, model, number, out);
    buf_adds(out, s->layout->inside);
}

int
site_clear_staging(const struct site *s, struct err *err)
{
    int e;

    if (unlinkat(s->dirfd, SITE_STAGING, AT_REMOVEDIR) == 0 || errno == ENOENT)
        return 0;
    e = fs_remove_tree(s->dirfd, SITE_STAGING, err);
    /* else a power cut brings it back when nobody looks again */
    return e < 0 ? e : fs_fsync_dir(s->dirfd, SITE_DOT, err);
}

/* Staging, opened and empty: what lies there is of somebody who could not clear up. */
static int
open_staging(struct site *s, int *fd, struct err *err)
{
    int e = site_clear_staging(s, err);

    if (e == 0)
        e = fs_mkdirs(s->dirfd, SITE_STAGING, 0700, err);
    return e < 0 ? e : fs_open_dir(fd, s->dirfd, SITE_STAGING, err);
}

/* Makes the model's own directory, and that of `latest`, durably. */
static int
make_model_dir(struct site *s, const char *model, struct err *err)
{
    struct buf dir AUTO(buf_release) = BUF_INIT, latest AUTO(buf_release) = BUF_INIT;
    int e;

    site_model_path(s, model, &dir);
    repo_name_encode(model, &latest);
    /* synced also when it is there: who made it may have been killed before its sync */
    e = fs_mkdirs(s->dirfd, buf_str(&dir), 0755, err);
    if (e == 0 && s->layout->models[0])
        e = fs_mkdirs(s->dirfd, buf_str(&latest), 0755, err);
    if (e == 0 && s->layout->models[0])
        e = fs_fsync_dir(s->dirfd, s->layout->models, err);
    return e < 0 ? e : fs_fsync(s->dirfd, s->t.dir, err);
}

/* Makes staging/<name>, with the files where the layout wants them. */
static int
stage_version(struct repo *r, const struct site *s, const struct repo_version *v,
              int staging, const char *name, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    int e;

    if (!s->layout->inside[0])
        return repo_checkout(r, &v->digest, staging, name, REPO_LINK, err);
    e = fs_mkdirs(staging, name, 0755, err);
    if (e == 0)
        e = fs_open_dir(&fd, staging, name, err);
    if (e == 0)
        e = repo_checkout(r, &v->digest, fd, s->layout->inside + 1, REPO_LINK, err);
    return e < 0 ? e : fs_fsync(fd, name, err);
}

int
site_ready_version(struct repo *r, struct site *s, const char *model,
                   const struct deploy_member *m, struct err *err)
{
    struct buf path AUTO(buf_release) = BUF_INIT;
    int fd AUTO(fs_close) = -1;
    struct repo_version v;
    char name[24];
    int e;

    site_version_path(s, model, m->number, &path);
    e = fs_exists(s->dirfd, buf_str(&path), err);
    if (e != 0)
        return e < 0 ? e : 0;
    snprintf(name, sizeof(name), "%" PRId64, m->version_id);
    e = repo_version_get(r, m->version_id, &v, err);
    if (e == 0)
        e = make_model_dir(s, model, err);
    if (e == 0 && site_has_rights(s)) /* while nothing lies in it */
        e = site_rights(r, s, model, err);
    if (e == 0)
        e = open_staging(s, &fd, err);
    if (e == 0)
        e = stage_version(r, s, &v, fd, name, err);
    if (e == 0)
        e = fs_rename_new(fd, name, s->dirfd, buf_str(&path), err);
    return e < 0 ? e : 1;
}

int
site_ready(struct repo *r, struct site *s, const struct deploy_release *rel,
           struct err *err)
{
    struct buf dir AUTO(buf_release) = BUF_INIT;
    bool made = false;
    int e = 0;

    for (int i = 0; e >= 0 && i < rel->n_members; i++) {
        e = site_ready_version(r, s, rel->model, &rel->members[i], err);
        made |= e == 1;
    }
    for (int i = 0; e >= 0 && i < rel->n_kept; i++) {
        e = site_ready_version(r, s, rel->model, &rel->kept[i], err);
        made |= e == 1;
    }
    if (e >= 0 && made) {
        site_model_path(s, rel->model, &dir);
        e = fs_fsync_dir(s->dirfd, buf_str(&dir), err);
    }
    return e < 0 ? err_ctx(err, "target %s (%s)", s->t.name, s->t.dir) : 0;
}

/* ---- rendered files -----------------------------------------------------------------
 */

void
files_id(const struct layout_files *files, char id[CONFIG_ID_BYTES])
{
    char hex[DIGEST_HEX_BYTES];
    struct sha256 sum;
    struct digest d;

    sha256_init(&sum);
    for (int i = 0; i < files->n; i++) {
        const struct layout_file *f = &files->file[i];

        sha256_add(&sum, f->name, strlen(f->name) + 1);
        sha256_add(&sum, &f->text.len, sizeof(f->text.len));
        sha256_add(&sum, buf_str(&f->text), f->text.len);
    }
    sha256_end(&sum, &d);
    digest_hex(&d, hex);
    memcpy(id, hex, CONFIG_ID_BYTES - 1);
    id[CONFIG_ID_BYTES - 1] = '\0';
}

void
site_render(const struct site *s, const struct deploy_release *const *live, int n,
            struct layout_files *out, char id[CONFIG_ID_BYTES])
{
    id[0] = '\0';
    out->n = 0;
    if (!s->layout->render)
        return;
    s->layout->render(&s->t, live, n, out);
    files_id(out, id);
}

void
site_render_model(const struct site *s, const struct deploy_release *rel,
                  struct layout_files *out, char id[CONFIG_ID_BYTES])
{
    id[0] = '\0';
    out->n = 0;
    if (!s->layout->render_model)
        return;
    s->layout->render_model(rel, out);
    files_id(out, id);
}

static int
write_file(int dirfd, const struct layout_file *f, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    int e = buf_check(&f->text, f->name, err);

    if (e == 0)
        e = fs_open(&fd, dirfd, f->name, O_WRONLY | O_CREAT | O_EXCL, 0644, err);
    if (e == 0)
        e = fs_write_all(fd, buf_str(&f->text), f->text.len, f->name, err);
    return e < 0 ? e : fs_fsync(fd, f->name, err);
}

/* Makes staging/<id> with all files and renames it to its place. */
static int
make_files(struct site *s, const struct layout_files *files, const char *id,
           const char *base, const char *path, struct err *err)
{
    int staging AUTO(fs_close) = -1, fd AUTO(fs_close) = -1;
    int e = open_staging(s, &staging, err);

    if (e == 0)
        e = fs_mkdirs(staging, id, 0755, err);
    if (e == 0)
        e = fs_open_dir(&fd, staging, id, err);
    for (int i = 0; e == 0 && i < files->n; i++)
        e = write_file(fd, &files->file[i], err);
    if (e == 0)
        e = fs_fsync(fd, id, err);
    if (e == 0)
        e = fs_mkdirs(s->dirfd, base, 0755, err);
    if (e == 0)
        e = fs_rename_new(staging, id, s->dirfd, path, err);
    return e;
}

/* Its name comes to the disk, and the names above it. Who made it may have been killed
 * before this, so that it was done is kept as the sticky bit, which nobody minds and
 * which may be lost. */
static int
settle_files(struct site *s, const char *base, const char *path, struct err *err)
{
    char *dir AUTO(free_ptr) = xstrdup(base), *slash;
    int e = fs_fsync_dir(s->dirfd, dir, err);

    while (e == 0 && (slash = strrchr(dir, '/')) != NULL) {
        *slash = '\0';
        if (strcmp(base, LAYOUT_RELEASES) != 0) /* synced when the target was made */
            e = fs_fsync_dir(s->dirfd, dir, err);
    }
    if (e == 0)
        (void)fchmodat(s->dirfd, path, S_ISVTX | 0755, 0);
    return e;
}

int
site_has_files(struct site *s, const char *base, const char *id, struct err *err)
{
    char *path AUTO(free_ptr) = xasprintf("%s/%s", base, id);
    struct stat st;
    int e = 0;

    if (fstatat(s->dirfd, path, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        if (errno == ENOENT)
            return 0;
        return err_sys(err, errno, "target %s (%s): stat %s", s->t.name, s->t.dir,
                       path);
    }
    /* young again, for site_prune; on a disk that takes no more it may fail */
    (void)utimensat(s->dirfd, path, NULL, 0);
    if (!(st.st_mode & S_ISVTX))
        e = settle_files(s, base, path, err);
    return e < 0 ? err_ctx(err, "target %s (%s)", s->t.name, s->t.dir) : 1;
}

int
site_put_files(struct site *s, const char *base, const struct layout_files *files,
               const char *id, struct err *err)
{
    char *path AUTO(free_ptr) = xasprintf("%s/%s", base, id);
    int e = id[0] ? site_has_files(s, base, id, err) : 1;

    if (e != 0)
        return e < 0 ? e : 0;
    e = make_files(s, files, id, base, path, err);
    if (e == 0)
        e = settle_files(s, base, path, err);
    return e < 0 ? err_ctx(err, "target %s (%s)", s->t.name, s->t.dir) : 0;
}

void
site_own_path(const struct site *s, const char *model, struct buf *out)
{
    buf_adds(out, LAYOUT_OWN);
    site_model_path(s, model, out);
}

int
site_put_model(struct site *s, const struct deploy_release *rel, struct err *err)
{
    struct layout_files own AUTO(layout_files_release) = { .n = 0 };
    struct buf base AUTO(buf_release) = BUF_INIT;
    char id[CONFIG_ID_BYTES];

    site_render_model(s, rel, &own, id);
    site_own_path(s, rel->model, &base);
    return site_put_files(s, buf_str(&base), &own, id, err);
}

struct rendered {
    char id[CONFIG_ID_BYTES];
    struct timespec used;
};

static int
youngest_first(const void *a, const void *b)
{
    const struct timespec *x = &((const struct rendered *)a)->used;
    const struct timespec *y = &((const struct rendered *)b)->used;

    if (x->tv_sec != y->tv_sec)
        return x->tv_sec < y->tv_sec ? 1 : -1;
    return x->tv_nsec < y->tv_nsec ? 1 : x->tv_nsec > y->tv_nsec ? -1 : 0;
}

/* What lies in releases/, NULL when it cannot be read. */
static struct rendered *
list_rendered(int fd, size_t *n)
{
    struct rendered *list = NULL;
    DIR *d = fdopendir(dup(fd));
    struct dirent *ent;

    *n = 0;
    while (d && (ent = readdir(d)) != NULL) {
        struct stat st;

        if (strlen(ent->d_name) != CONFIG_ID_BYTES - 1 ||
            fstatat(fd, ent->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        list = xreallocarray(list, *n + 1, sizeof(*list));
        memcpy(list[*n].id, ent->d_name, CONFIG_ID_BYTES);
        list[(*n)++].used = st.st_mtim;
    }
    if (d)
        closedir(d);
    return list;
}

/* Tidying: what fails here is left for the next time. */
void
site_prune(struct site *s, const char *base, const char *keep)
{
    int fd AUTO(fs_close) = -1;
    struct rendered *list AUTO(free_ptr) = NULL;
    struct err err = ERR_INIT;
    size_t n;

    if (!keep[0] || fs_open_dir(&fd, s->dirfd, base, &err) < 0)
        return;
    list = list_rendered(fd, &n);
    if (n <= KEEP_RENDERED)
        return;
    qsort(list, n, sizeof(*list), youngest_first);
    for (size_t i = KEEP_RENDERED; i < n; i++)
        if (strcmp(list[i].id, keep) != 0 && fs_remove_tree(fd, list[i].id, &err) < 0)
            err_clear(&err);
}
