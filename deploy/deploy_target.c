/* SPDX-License-Identifier: Apache-2.0 */
/* Making a target. Nothing depends on it until its row is committed; a run that was
 * interrupted before leaves a directory that the next one takes over. */
#include "deploy/adopt.h"
#include "deploy/deploy_int.h"

#include "base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* a is b, or lies below it. */
static bool
is_below(const char *a, const char *b)
{
    const size_t n = strlen(b);

    return strncmp(a, b, n) == 0 && (a[n] == '/' || a[n] == '\0');
}

struct clash {
    const char *name, *dir;
};

static int
check_other(void *arg, const struct deploy_target *t, struct err *err)
{
    const struct clash *c = arg;

    if (strcmp(t->name, c->name) == 0)
        return err_set(err, ERR_CONFLICT, "there is a target %s already: %s shows %s",
                       t->name, t->dir, t->alias);
    if (is_below(c->dir, t->dir) || is_below(t->dir, c->dir))
        return err_set(err, ERR_CONFLICT,
                       "%s and target %s (%s) lie in each other: give each a directory "
                       "of its own",
                       c->dir, t->name, t->dir);
    return 0;
}

/* An absolute path without links. */
static int
resolve_dir(const char *dir, char out[PATH_MAX], struct err *err)
{
    return realpath(dir, out) ? 0 : err_sys(err, errno, "find %s", dir);
}

static int
check_place(struct repo *r, const char *name, const char *dir, const char *store,
            struct err *err)
{
    struct clash c = { name, dir };

    if (is_below(dir, store) || is_below(store, dir))
        return err_set(err, ERR_INVALID,
                       "%s and the store (%s) lie in each other: a target needs a "
                       "directory of its own",
                       dir, store);
    return deploy_targets(r, NULL, check_other, &c, err);
}

/* The names in a directory but for those that any may have. */
static int
list_names(int dirfd, const char *what, bool (*skip)(int dirfd, const char *name),
           struct buf *found, int *n, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    const struct dirent *ent;
    DIR *d;
    int e = fs_open_dir(&fd, dirfd, ".", err);

    *n = 0;
    if (e < 0)
        return e;
    d = fdopendir(fd);
    if (!d)
        return err_sys(err, errno, "read %s", what);
    fd = -1; /* d's now */
    while ((ent = readdir(d)) != NULL) {
        if (strcmp(ent->d_name, ".") == 0 || strcmp(ent->d_name, "..") == 0 ||
            skip(dirfd, ent->d_name))
            continue;
        if ((*n)++ < 5)
            buf_addf(found, "%s%s", *n > 1 ? ", " : "", ent->d_name);
    }
    closedir(d);
    return 0;
}

/* What a write that was interrupted leaves. */
static bool
is_temporary(int dirfd, const char *name)
{
    (void)dirfd;
    return strncmp(name, ".tmp-", 5) == 0;
}

/* The root of a file system, or an add that did not get as far as its identity. */
static bool
may_be_there(int dirfd, const char *name)
{
    struct buf found AUTO(buf_release) = BUF_INIT;
    struct err err = ERR_INIT;
    int fd AUTO(fs_close) = -1;
    int n;

    if (strcmp(name, "lost+found") == 0)
        return true;
    return strcmp(name, SITE_DOT) == 0 && fs_open_dir(&fd, dirfd, name, &err) == 0 &&
           list_names(fd, name, is_temporary, &found, &n, &err) == 0 && n == 0;
}

/* ERR_CONFLICT when the directory holds anything of somebody else. */
static int
check_empty(int dirfd, const char *dir, struct err *err)
{
    struct buf found AUTO(buf_release) = BUF_INIT;
    int n, e = list_names(dirfd, dir, may_be_there, &found, &n, err);

    if (e < 0 || n == 0)
        return e;
    return err_set(err, ERR_CONFLICT,
                   "%s holds what is not ours (%s%s): a target needs a new or an empty "
                   "directory",
                   dir, buf_str(&found), n > 5 ? ", …" : "");
}

/* Finds or makes up the directory's uid. ERR_CONFLICT: it is somebody else's. */
static int
claim(struct repo *r, struct site *s, const char *store, bool adopts, struct err *err)
{
    cJSON *doc AUTO(json_free) = NULL;
    const char *uid, *name, *owner;
    uint8_t raw[16];
    int64_t id;
    int e = site_identity(s->dirfd, &doc, err);

    if (e == 0) {
        e = adopts ? 0 : check_empty(s->dirfd, s->t.dir, err);
        if (e == 0)
            e = random_bytes(raw, sizeof(raw), err);
        for (size_t i = 0; e == 0 && i < sizeof(raw); i++)
            snprintf(s->t.uid + 2 * i, 3, "%02x", raw[i]);
        return e;
    }
    if (e < 0 || (e = json_str(doc, "uid", NULL, &uid, SITE_IDENTITY, err)) < 0 ||
        (e = json_str(doc, "name", NULL, &name, SITE_IDENTITY, err)) < 0 ||
        (e = json_str(doc, "store", NULL, &owner, SITE_IDENTITY, err)) < 0)
        return err_ctx(err, "%s", s->t.dir);
    e = db_get_int(r->db, &id, err, "SELECT id FROM target WHERE uid = ?", "t", uid);
    if (e < 0)
        return e;
    if (e == 1 || strcmp(name, s->t.name) != 0 || strcmp(owner, store) != 0 ||
        strlen(uid) != sizeof(s->t.uid) - 1)
        return err_set(
            err, ERR_CONFLICT,
            "%s belongs to target %s of the store %s: take another directory, "
            "or empty it (with its %s) when that target is gone",
            s->t.dir, name, owner, SITE_DOT);
    memcpy(s->t.uid, uid, sizeof(s->t.uid));
    return 0;
}

static int
write_identity(struct site *s, const char *store, struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    cJSON *doc AUTO(json_free) = cJSON_CreateObject();
    int e;

    json_put_int(doc, "sluice_target", 1);
    json_put_str(doc, "uid", s->t.uid);
    json_put_str(doc, "name", s->t.name);
    json_put_str(doc, "store", store);
    json_print(doc, &text, false);
    e = fs_mkdirs(s->dirfd, SITE_DOT, 0755, err);
    if (e == 0)
        e = fs_replace(s->dirfd, SITE_IDENTITY, text.data, text.len, 0644, err);
    if (e == 0)
        e = fs_mkdirs(s->dirfd, LAYOUT_RELEASES, 0755, err);
    if (e == 0)
        e = fs_fsync_dir(s->dirfd, SITE_DOT, err);
    /* The directory's own name too, and those above it: an add that was killed may have
     * made them, and nobody knows which. */
    return e < 0 ? e : fs_sync_all(s->dirfd, s->t.dir, err);
}

/* ---- what the alias means now -------------------------------------------------------
 */

void
live_release(struct live *l)
{
    free(l->rel);
    free(l->by);
}

int
live_load(struct repo *r, const char *alias, struct live *out, struct err *err)
{
    struct history h AUTO(history_close) = HISTORY_INIT;
    struct deploy_release rel;
    int e = history_open_live(&h, r, alias, err);

    while (e == 0 && (e = history_next(&h, &rel, err)) == 1) {
        out->rel = xreallocarray(out->rel, (size_t)out->n + 1, sizeof(*out->rel));
        out->rel[out->n++] = rel;
        e = 0;
    }
    out->by = xreallocarray(NULL, (size_t)out->n + 1, sizeof(*out->by));
    for (int i = 0; i < out->n; i++)
        out->by[i] = &out->rel[i];
    return e;
}

int
site_fill_model(struct repo *r, struct site *s, const struct deploy_release *rel,
                struct err *err)
{
    struct bad_set bad AUTO(bad_release) = { .ids = NULL };
    struct deploy_release undo;
    int e = site_ready(r, s, rel, err);

    if (e == 0)
        e = bad_load(r, rel->model, rel->alias, &bad, err);
    if (e == 0)
        e = rollback_find(r, rel, &bad, &undo, err);
    return e == 1 ? site_ready(r, s, &undo, err) : e;
}

int
site_fill(struct repo *r, struct site *s, const struct live *live, struct err *err)
{
    struct layout_files files AUTO(layout_files_release) = { .n = 0 };
    struct flips flips AUTO(flips_release) = FLIPS_INIT;
    struct live shown AUTO(live_release) = { .n = 0 };
    char id[CONFIG_ID_BYTES];
    bool past;
    int e = live_shown(r, s, live, &shown, err);

    for (int i = 0; e == 0 && i < live->n; i++)
        e = site_accepts(s, &live->rel[i], err);
    if (e == 0 && s->layout->models[0]) /* without it the server does not start */
        e = fs_mkdirs(s->dirfd, s->layout->models, 0755, err);
    if (e == 0 && s->layout->models[0])
        e = fs_fsync(s->dirfd, s->t.dir, err);
    for (int i = 0; e == 0 && i < live->n; i++) {
        e = site_fill_model(r, s, &live->rel[i], err);
        if (e == 0)
            e = site_ready(r, s, &shown.rel[i], err);
    }
    if (e < 0)
        return e;
    site_render(s, shown.by, shown.n, &files, id);
    e = site_put_files(s, LAYOUT_RELEASES, &files, id, err);
    for (int i = 0; e == 0 && i < live->n; i++)
        e = site_put_model(s, &shown.rel[i], err);
    for (int i = 0; e == 0 && i < live->n; i++)
        e = flips_plan(r, &flips, s, &shown.rel[i], id, err);
    if (e == 0) {
        flips_sweep(&flips);
        e = flips_apply(&flips, &past, err);
    }
    if (e == 0 && id[0] && live->n == 0) {
        char text[sizeof(LAYOUT_RELEASES) + CONFIG_ID_BYTES];

        snprintf(text, sizeof(text), LAYOUT_RELEASES "/%s", id);
        e = fs_symlink_replace(text, s->dirfd, LAYOUT_CONFIG_LINK, err);
        if (e == 0)
            e = fs_fsync(s->dirfd, s->t.dir, err);
    }
    return e;
}

/* In a transaction: the alias still means what the directory shows. */
static int
check_unmoved(struct repo *r, const char *alias, const struct live *was,
              struct err *err)
{
    struct live now AUTO(live_release) = { .n = 0 };
    int64_t id;
    int e = release_pending(r, alias, &id, err);
    bool same;

    if (e == 0)
        e = live_load(r, alias, &now, err);
    if (e < 0)
        return e;
    same = e == 0 && now.n == was->n;
    for (int i = 0; same && i < now.n; i++)
        same = now.rel[i].id == was->rel[i].id;
    if (!same)
        return err_set(err, ERR_BUSY, "%s moved while the target was made: try again",
                       alias);
    return 0;
}

static int
insert(struct repo *r, struct site *s, const struct live *live, const char *verb,
       struct err *err)
{
    struct db *tx AUTO(tx_end_p) = NULL;
    cJSON *body AUTO(json_free) = cJSON_CreateObject();
    int e = db_begin(r->db, err);

    if (e < 0)
        return e;
    tx = r->db;
    e = check_unmoved(r, s->t.alias, live, err);
    if (e == 0)
        e = db_run(r->db, err,
                   "INSERT INTO target(name, uid, dir, alias, layout, created_ns, "
                   "created_by) VALUES(?, ?, ?, ?, ?, ?, ?)",
                   "tttttit", s->t.name, s->t.uid, s->t.dir, s->t.alias, s->t.layout,
                   clock_now_ns(), acc_actor(r->acc));
    if (e == 0)
        e = options_store(r, &s->t, db_last_id(r->db), err);
    json_put_str(body, "target", s->t.name);
    json_put_str(body, "dir", s->t.dir);
    json_put_str(body, "alias", s->t.alias);
    json_put_str(body, "layout", s->t.layout);
    options_json(&s->t, body);
    if (e == 0)
        e = acc_key_claim(r->acc, 0, err);
    if (e == 0)
        e = event_add(r, verb, "", "", "ok", body, err);
    if (e < 0)
        return e;
    tx = NULL;
    return db_commit(r->db, err);
}

static int
check_args(const char *name, const char *alias, const char *layout,
           const struct deploy_options *options, const struct layout_ops **ops,
           struct err *err)
{
    int e = repo_check_alias_name(name, err);

    if (e < 0)
        return err_ctx(err, "name of a target (as of an alias)");
    e = repo_check_alias_name(alias, err);
    if (e == 0)
        e = layout_find(layout, ops, err);
    return e < 0 || !options ? e : options_check(options, *ops, err);
}

int
deploy_target_check(struct repo *r, const char *name, const char *dir,
                    const char *alias, struct err *err)
{
    const struct layout_ops *layout;
    char store[PATH_MAX];
    int e = check_args(name, alias, layout_plain.name, NULL, &layout, err);

    if (e == 0)
        e = resolve_dir(r->path, store, err);
    return e < 0 ? e : check_place(r, name, dir, store, err);
}

/* `tree`: what lies in the directory becomes part of it; NULL: it is empty. */
static int
add(struct repo *r, struct site *s, const struct adopt_tree *tree, struct err *err)
{
    struct live live AUTO(live_release) = { .n = 0 };
    char store[PATH_MAX];
    int e = resolve_dir(r->path, store, err);

    if (e == 0)
        e = check_place(r, s->t.name, s->t.dir, store, err);
    if (e == 0)
        e = fs_open_dir(&s->dirfd, AT_FDCWD, s->t.dir, err);
    if (e == 0)
        e = site_rights_check(s, err);
    if (e == 0)
        e = claim(r, s, store, tree != NULL, err);
    if (e == 0)
        e = write_identity(s, store, err);
    if (e == 0)
        e = fs_lock(&s->lock_fd, s->dirfd, SITE_LOCK, DEPLOY_LOCK_MS, err);
    if (e == 0) { /* what an add that was killed left */
        fs_tmp_sweep(s->dirfd, SITE_DOT);
        fs_tmp_sweep(s->dirfd, ".");
        e = site_clear_staging(s, err);
        if (e == 0)
            e = fs_fsync_dir(s->dirfd, SITE_DOT, err);
    }
    if (e == 0)
        e = live_load(r, s->t.alias, &live, err);
    if (e == 0 && tree)
        e = adopt_names(r, s, tree, err);
    if (e == 0)
        e = site_fill(r, s, &live, err);
    if (e == 0 && tree)
        e = adopt_latest(s, tree, err);
    if (e == 0 && site_has_rights(s)) /* of what was there before */
        e = site_rights_all(r, s, err);
    return e < 0 ? e : insert(r, s, &live, tree ? "target-adopt" : "target-add", err);
}

static int
make_target(struct repo *r, const char *name, const char *dir, const char *alias,
            const char *layout, const struct deploy_options *options,
            const struct adopt_tree *tree, struct err *err)
{
    struct site s = { .dirfd = -1, .lock_fd = -1 };
    struct sites all = { .s = &s, .n = 1 };
    char path[PATH_MAX];
    bool made;
    int e = check_args(name, alias, layout, options, &s.layout, err);

    if (e == 0)
        e = fs_exists(AT_FDCWD, dir, err);
    if (e < 0)
        return site_fault(name, dir, err);
    made = e == 0;
    e = fs_mkdirs(AT_FDCWD, dir, 0755, err);
    if (e == 0)
        e = resolve_dir(dir, path, err);
    if (e < 0)
        return site_fault(name, dir, err);
    snprintf(s.t.name, sizeof(s.t.name), "%s", name);
    snprintf(s.t.alias, sizeof(s.t.alias), "%s", alias);
    snprintf(s.t.layout, sizeof(s.t.layout), "%s", layout);
    s.t.dir = path;
    options_apply(options, &s.t);
    e = add(r, &s, tree, err);
    sites_unlock(&all);
    s.t.dir = NULL; /* path's */
    deploy_target_release(&s.t);
    if (e < 0 && made)
        (void)rmdir(path); /* only what is empty goes */
    return e < 0 ? site_fault(name, dir, err) : 0;
}

int
deploy_target_add(struct repo *r, const char *name, const char *dir, const char *alias,
                  const char *layout, const struct deploy_options *options_or_null,
                  struct err *err)
{
    return make_target(r, name, dir, alias, layout, options_or_null, NULL, err);
}

int
deploy_adopt(struct repo *r, const struct adopt_tree *t, const char *name,
             const char *alias, const struct deploy_options *options_or_null,
             struct err *err)
{
    return make_target(r, name, t->dir, alias, t->layout, options_or_null, t, err);
}
