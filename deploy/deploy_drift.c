/* SPDX-License-Identifier: Apache-2.0 */
/* What a target holds, against what the store put there: wanted, seen, mended. */
#include "deploy/deploy_int.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- what is live ---- */

/* A version may be kept loaded, and be what a rollback needs. */
static bool
is_told(const struct drift *d, const char *path)
{
    const cJSON *o;

    cJSON_ArrayForEach(o, d->list)
    {
        if (strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(o, "path")), path) == 0)
            return true;
    }
    return false;
}

static void
check_there(struct drift *d, const struct deploy_release *rel,
            const struct deploy_member *m)
{
    struct buf path AUTO(buf_release) = BUF_INIT;

    site_version_path(d->s, rel->model, m->number, &path);
    if (faccessat(d->s->dirfd, buf_str(&path), F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
        is_told(d, buf_str(&path)))
        return;
    drift_tell(d, "missing", buf_str(&path), "a version directory", "nothing",
               d->repair, NULL);
}

/* The directories that are live, and that a rollback needs. They are made at once,
 * after all that is missing was told: as repaired, which a failure takes back. */
static int
check_dirs(struct drift *d, const struct deploy_release *rel,
           const struct deploy_release *shown, struct err *err)
{
    struct bad_set bad AUTO(bad_release) = { .ids = NULL };
    struct deploy_release undo = { .n_members = 0 };
    struct err failed = ERR_INIT;
    const int at = cJSON_GetArraySize(d->list), left = d->n_left;
    int e = bad_load(d->r, rel->model, rel->alias, &bad, err);

    if (e == 0)
        e = rollback_find(d->r, rel, &bad, &undo, err);
    if (e < 0)
        return e;
    for (int i = 0; i < rel->n_members; i++)
        check_there(d, rel, &rel->members[i]);
    for (int i = 0; i < rel->n_kept; i++)
        check_there(d, rel, &rel->kept[i]);
    for (int i = 0; i < shown->n_members; i++)
        check_there(d, shown, &shown->members[i]);
    for (int i = 0; i < shown->n_kept; i++)
        check_there(d, shown, &shown->kept[i]);
    for (int i = 0; e == 1 && i < undo.n_members; i++)
        if (weights_of(rel, undo.members[i].version_id) == 0)
            check_there(d, rel, &undo.members[i]);
    if (d->repair && cJSON_GetArraySize(d->list) > at &&
        (site_fill_model(d->r, d->s, rel, &failed) < 0 ||
         site_ready(d->r, d->s, shown, &failed) < 0)) {
        for (int i = at; i < cJSON_GetArraySize(d->list); i++) {
            cJSON *o = cJSON_GetArrayItem(d->list, i);

            cJSON_ReplaceItemInObject(o, "repaired", cJSON_CreateFalse());
            cJSON_ReplaceItemInObject(o, "why_not", cJSON_CreateString(failed.msg));
        }
        d->n_left = left + cJSON_GetArraySize(d->list) - at;
    }
    return 0;
}

static void
check_link(struct drift *d, enum layout_kind kind, const char *path, const char *want)
{
    struct err why = ERR_INIT;
    char *now AUTO(free_ptr) = NULL;
    bool mended = false;

    if (flip_read(d->s, kind, path, &now, &why) < 0) {
        drift_tell(d, "link", path, want, "something else", false, &why);
        return;
    }
    if (now && strcmp(now, want) == 0)
        return;
    if (d->repair) {
        char *dir AUTO(free_ptr) = xstrdup(path), *slash = strrchr(dir, '/');

        if (slash)
            *slash = '\0';
        mended = flip_turn(d->s, kind, path, want, &why) == 0 &&
                 fs_fsync_dir(d->s->dirfd, slash ? dir : ".", &why) == 0;
    }
    drift_tell(d, "link", path, want, now ? now : "nothing", mended, &why);
}

static void
check_rendered(struct drift *d, const char *base, const struct layout_files *files,
               const char *id)
{
    for (int i = 0; i < files->n; i++) {
        const struct layout_file *f = &files->file[i];
        char *path AUTO(free_ptr) = xasprintf("%s/%s/%s", base, id, f->name);
        struct buf now AUTO(buf_release) = { .cap_bytes = f->text.len + 1 };
        struct err why = ERR_INIT;
        bool mended = false, same;

        same = fs_read(d->s->dirfd, path, &now, &why) == 0;
        if (same && now.len == f->text.len &&
            memcmp(buf_str(&now), buf_str(&f->text), now.len) == 0)
            continue;
        err_clear(&why);
        if (d->repair)
            mended = site_put_files(d->s, base, files, id, &why) == 0 &&
                     fs_replace(d->s->dirfd, path, buf_str(&f->text), f->text.len, 0644,
                                &why) == 0;
        drift_tell(d, "config", path, "as rendered for this release",
                   same ? "other text" : "it cannot be read", mended, &why);
    }
}

/* What names the directories of a model. */
static void
check_links(struct drift *d, const struct deploy_release *rel, const char *config_id,
            bool first)
{
    struct layout_files own AUTO(layout_files_release) = { .n = 0 };
    struct layout_links links AUTO(layout_links_release) = { .n = 0 };
    struct buf base AUTO(buf_release) = BUF_INIT;
    char id[CONFIG_ID_BYTES];
    struct err why = ERR_INIT;

    site_render_model(d->s, rel, &own, id);
    site_own_path(d->s, rel->model, &base);
    check_rendered(d, buf_str(&base), &own, id);
    if (site_links(d->r, d->s, rel, config_id, &links, &why) < 0)
        drift_tell(d, "link", rel->model, "the version that leads", "another", false,
                   &why);
    for (int k = 0; k < links.n; k++)
        if (first || strcmp(buf_str(&links.link[k].path), LAYOUT_CONFIG_LINK) != 0)
            check_link(d, links.link[k].kind, buf_str(&links.link[k].path),
                       buf_str(&links.link[k].text));
}

/* Directories, then what names them: a link that is mended shows what is there. */
static int
check_live(struct drift *d, struct err *err)
{
    struct live shown AUTO(live_release) = { .n = 0 };
    struct layout_files files AUTO(layout_files_release) = { .n = 0 };
    char id[CONFIG_ID_BYTES];
    int e = live_shown(d->r, d->s, &d->live, &shown, err);

    for (int i = 0; e == 0 && i < d->live.n; i++)
        e = check_dirs(d, &d->live.rel[i], &shown.rel[i], err);
    if (e < 0)
        return e;
    site_render(d->s, shown.by, shown.n, &files, id);
    check_rendered(d, LAYOUT_RELEASES, &files, id);
    for (int i = 0; i < shown.n; i++)
        check_links(d, &shown.rel[i], id, i == 0);
    return 0;
}

/* ---- one target, all of them ---- */

static int
check_site(struct drift *d, struct err *err)
{
    int e = live_load(d->r, d->s->t.alias, &d->live, err);

    if (e == 0)
        e = check_live(d, err);
    return e < 0 ? e : drift_each_name(d, "", "", drift_check_top, err);
}

/* Another target of the alias that cannot be opened: no difference of this one, but it
 * cannot be mended without the lock of all. */
static bool
is_other_away(struct sites *of_alias, const struct site *s, struct err *why)
{
    for (int i = 0; i < of_alias->n; i++) {
        if (&of_alias->s[i] != s && site_open(&of_alias->s[i], why) < 0)
            return true;
        if (&of_alias->s[i] != s)
            fs_close(&of_alias->s[i].dirfd);
    }
    return false;
}

/* Opens it; for a repair with the lock of all targets of its alias, healed. */
static int
drift_open(struct repo *r, struct sites *of_alias, struct site *s, bool repair,
           struct err *err)
{
    int64_t id;
    int e;

    if (!repair)
        return site_open(s, err);
    e = sites_lock(of_alias, DEPLOY_LOCK_MS, err);
    if (e == 0)
        e = heal(r, of_alias, s->t.alias, err);
    if (e == 0)
        e = release_pending(r, s->t.alias, &id, err);
    return e;
}

static int
drift_site(struct repo *r, const struct deploy_target *t, bool repair, cJSON *targets,
           int *n_left, struct err *err)
{
    struct sites all AUTO(sites_release) = SITES_INIT;
    struct drift d = { .r = r, .repair = repair };
    struct err why = ERR_INIT, away = ERR_INIT;
    cJSON *o = cJSON_CreateObject();
    int e = sites_load(r, t->alias, &all, err);

    cJSON_AddItemToArray(targets, o);
    json_put_str(o, "target", t->name);
    json_put_str(o, "dir", t->dir);
    json_put_str(o, "alias", t->alias);
    d.list = cJSON_AddArrayToObject(o, "drift");
    for (int i = 0; i < all.n; i++)
        if (all.s[i].t.id == t->id)
            d.s = &all.s[i];
    if (e < 0 || !d.s)
        return e;
    if (repair && is_other_away(&all, d.s, &away)) {
        d.repair = false;
        d.held = away.msg;
    }
    if (drift_open(r, &all, d.s, d.repair, &why) < 0)
        drift_tell(&d, "target", t->dir, "the directory of this target", why.msg, false,
                   NULL);
    else
        e = check_site(&d, err);
    live_release(&d.live);
    json_put_bool(o, "ok", d.n_left == 0);
    *n_left += d.n_left;
    return e < 0 ? err_ctx(err, "target %s (%s)", t->name, t->dir) : 0;
}

int
deploy_drift(struct repo *r, const char *name_or_null, bool repair, cJSON **out,
             struct err *err)
{
    struct sites all AUTO(sites_release) = SITES_INIT;
    cJSON *doc AUTO(json_free) = cJSON_CreateObject();
    cJSON *targets = cJSON_AddArrayToObject(doc, "targets");
    int n_left = 0, n = 0, e = sites_load(r, NULL, &all, err);

    *out = NULL;
    for (int i = 0; e == 0 && i < all.n; i++)
        if (!name_or_null || strcmp(all.s[i].t.name, name_or_null) == 0) {
            e = drift_site(r, &all.s[i].t, repair, targets, &n_left, err);
            n++;
        }
    if (e == 0 && name_or_null && n == 0)
        e = err_set(err, ERR_NOTFOUND, "no target \"%s\": sluice target list",
                    name_or_null);
    if (e < 0)
        return e;
    json_put_int(doc, "left", n_left);
    *out = doc;
    doc = NULL;
    return 0;
}
