/* SPDX-License-Identifier: Apache-2.0 */
/* What is said of a target besides its directory, alias and layout. */
#include "deploy/deploy_int.h"

#include "deploy/server.h"

#include <stdlib.h>
#include <string.h>

const char *const deploy_option_names[DEPLOY_N_OPTIONS] = {
    [DEPLOY_SERVING_ROOT] = "serving_root",
    [DEPLOY_STATUS_URL] = "status_url",
    [DEPLOY_RELOAD] = "reload",
    [DEPLOY_RENDER] = "render",
    [DEPLOY_READERS] = "readers",
    [DEPLOY_GROUP] = "group",
};

static bool
begins(const char *s, const char *with)
{
    return strncmp(s, with, strlen(with)) == 0;
}

static int
check_one(const struct layout_ops *layout, enum deploy_option o, const char *v,
          struct err *err)
{
    switch (o) {
    case DEPLOY_SERVING_ROOT:
        if (v[0] != '/')
            return err_set(err, ERR_USAGE,
                           "serving root \"%s\" must begin with \"/\": it is the "
                           "target's path as the server sees it",
                           v);
        break;
    case DEPLOY_STATUS_URL:
        if (!begins(v, "http://") && !begins(v, "https://"))
            return err_set(err, ERR_USAGE,
                           "status URL \"%s\": give the server's REST address, like "
                           "http://127.0.0.1:8501",
                           v);
        break;
    case DEPLOY_RENDER:
        if (layout_extras_check(layout, v, err) < 0)
            return -(int)err->code;
        break;
    case DEPLOY_READERS:
        if (strcmp(v, "all") != 0 && strcmp(v, "grants") != 0)
            return err_set(err, ERR_USAGE, "readers \"%s\": there are all and grants",
                           v);
        break;
    default:
        break;
    }
    for (const char *c = v; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return err_set(err, ERR_USAGE, "%s: a control character in it",
                           deploy_option_names[o]);
    return 0;
}

static const char *
said(const struct deploy_options *o, enum deploy_option which)
{
    return o->v[which] && o->v[which][0] ? o->v[which] : NULL;
}

int
options_check(const struct deploy_options *o, const struct layout_ops *layout,
              struct err *err)
{
    int e = 0;

    if (o->v[DEPLOY_RENDER] && o->v[DEPLOY_RENDER][0] && !layout->render)
        return err_set(
            err, ERR_USAGE,
            "layout %s renders no files: those who split traffic need one that a "
            "server reads, like tfserving",
            layout->name);
    for (int i = 0; e == 0 && i < DEPLOY_N_OPTIONS; i++)
        if (o->v[i] && o->v[i][0])
            e = check_one(layout, (enum deploy_option)i, o->v[i], err);
    return e < 0 ? e
                 : server_check_options(layout->name, said(o, DEPLOY_STATUS_URL),
                                        said(o, DEPLOY_RELOAD), err);
}

void
options_apply(const struct deploy_options *o_or_null, struct deploy_target *t)
{
    for (int i = 0; o_or_null && i < DEPLOY_N_OPTIONS; i++) {
        const char *v = o_or_null->v[i];

        if (!v)
            continue;
        free(t->option[i]);
        t->option[i] = v[0] ? xstrdup(v) : NULL;
    }
}

/* The config may be another: the server is told. So may the server: what it has is not
 * known. Labels that a first status URL brings are to be seen; without one nobody sees
 * how far it is: no steps. */
static int
shown_again(struct repo *r, const struct deploy_target *t, int64_t id, struct err *err)
{
    const bool url = t->option[DEPLOY_STATUS_URL] != NULL;
    const int64_t told = !t->option[DEPLOY_RELOAD];

    if (!url && told)
        return db_run(r->db, err, "DELETE FROM shown WHERE target_id = ?", "i", id);
    if (!url)
        return db_run(r->db, err,
                      "UPDATE shown SET available = '', told = 0, stage = 'done' "
                      "WHERE target_id = ?",
                      "i", id);
    return db_run(r->db, err,
                  "UPDATE shown SET available = '', told = ?, stage = CASE WHEN "
                  "stage = 'done' AND (SELECT status_url FROM target "
                  "WHERE id = target_id) IS NULL THEN 'look' ELSE stage END "
                  "WHERE target_id = ?",
                  "ii", told, id);
}

int
options_store(struct repo *r, const struct deploy_target *t, int64_t id,
              struct err *err)
{
    int e = shown_again(r, t, id, err);

    if (e == 0)
        e = undos_forget(r, id, err); /* what it renders may change */
    if (e < 0)
        return e;
    return db_run(r->db, err,
                  "UPDATE target SET serving_root = ?, status_url = ?, reload = ?, "
                  "render = ?, readers = ?, of_group = ? WHERE id = ?",
                  "tttttti", t->option[DEPLOY_SERVING_ROOT],
                  t->option[DEPLOY_STATUS_URL], t->option[DEPLOY_RELOAD],
                  t->option[DEPLOY_RENDER], t->option[DEPLOY_READERS],
                  t->option[DEPLOY_GROUP], id);
}

void
options_json(const struct deploy_target *t, cJSON *out)
{
    for (int i = 0; i < DEPLOY_N_OPTIONS; i++)
        if (t->option[i])
            json_put_str(out, deploy_option_names[i], t->option[i]);
}

/* ---- target set ---------------------------------------------------------------------
 */

struct found {
    const char *name;
    char alias[REPO_ALIAS_BYTES];
};

static int
find_alias(void *arg, const struct deploy_target *t, struct err *err)
{
    struct found *f = arg;

    (void)err;
    if (strcmp(t->name, f->name) == 0)
        memcpy(f->alias, t->alias, sizeof(f->alias));
    return 0;
}

/* All targets of its alias, and which of them it is. */
static int
find_site(struct repo *r, const char *name, struct sites *all, struct site **out,
          struct err *err)
{
    struct found f = { .name = name };
    int e = deploy_targets(r, NULL, find_alias, &f, err);

    *out = NULL;
    if (e == 0 && !f.alias[0])
        return err_set(err, ERR_NOTFOUND,
                       "no target \"%s\": sluice target list shows them", name);
    if (e == 0)
        e = sites_load(r, f.alias, all, err);
    for (int i = 0; e == 0 && i < all->n; i++)
        if (strcmp(all->s[i].t.name, name) == 0)
            *out = &all->s[i];
    return e < 0 || *out ? e : err_set(err, ERR_BUSY, "it changes now: try again");
}

static int
record_set(struct repo *r, const struct deploy_target *t, struct err *err)
{
    struct db *tx AUTO(tx_end_p) = NULL;
    cJSON *body AUTO(json_free) = cJSON_CreateObject();
    int e = db_begin(r->db, err);

    if (e < 0)
        return e;
    tx = r->db;
    json_put_str(body, "target", t->name);
    options_json(t, body);
    e = options_store(r, t, t->id, err);
    if (e == 0)
        e = event_add(r, "target-set", "", "", "ok", body, err);
    if (e < 0)
        return e;
    tx = NULL;
    return db_commit(r->db, err);
}

/* The row first: a run that is interrupted before the tree shows it leaves what `target
 * check` finds, and what the next release or --repair mends. */
int
deploy_target_set(struct repo *r, const char *name,
                  const struct deploy_options *options, struct err *err)
{
    struct sites all AUTO(sites_release) = SITES_INIT;
    struct live live AUTO(live_release) = { .n = 0 };
    struct site *s = NULL;
    int e = find_site(r, name, &all, &s, err);

    if (e == 0 && s)
        e = options_check(options, s->layout, err);
    if (e == 0)
        e = sites_lock(&all, DEPLOY_LOCK_MS, err);
    if (e == 0)
        e = heal(r, &all, s->t.alias, err);
    if (e < 0 || !s)
        return e;
    options_apply(options, &s->t);
    e = site_rights_check(s, err);
    if (e == 0)
        e = record_set(r, &s->t, err);
    if (e == 0 && (options->v[DEPLOY_READERS] || options->v[DEPLOY_GROUP]))
        e = site_rights_all(r, s, err);
    if (e == 0)
        e = live_load(r, s->t.alias, &live, err);
    return e < 0 ? e : site_fill(r, s, &live, err);
}

/* ---- target remove ------------------------------------------------------------------
 */

/* A release that was interrupted is finished or cancelled by the targets that are left.
 */
static int
forget(struct repo *r, const struct deploy_target *t, struct err *err)
{
    static const char *const tables[] = { "shown", "undo_files", "intent" };
    int e = 0;

    for (size_t i = 0; e == 0 && i < sizeof(tables) / sizeof(tables[0]); i++) {
        char *sql AUTO(free_ptr) =
            xasprintf("DELETE FROM %s WHERE target_id = ?", tables[i]);

        e = db_run(r->db, err, sql, "i", t->id);
    }
    return e < 0 ? e
                 : db_run(r->db, err, "DELETE FROM target WHERE id = ?", "i", t->id);
}

int
deploy_target_remove(struct repo *r, const char *name, struct err *err)
{
    struct sites all AUTO(sites_release) = SITES_INIT;
    struct db *tx AUTO(tx_end_p) = NULL;
    cJSON *body AUTO(json_free) = cJSON_CreateObject();
    struct site *s;
    int e = find_site(r, name, &all, &s, err);

    if (e < 0)
        return e;
    if (site_open(s, err) < 0)
        err_clear(err); /* whoever holds it cannot go on either */
    else
        e = fs_lock(&s->lock_fd, s->dirfd, SITE_LOCK, DEPLOY_LOCK_MS, err);
    if (e == 0)
        e = db_begin(r->db, err);
    if (e < 0)
        return e;
    tx = r->db;
    json_put_str(body, "target", name);
    json_put_str(body, "dir", s->t.dir);
    json_put_str(body, "alias", s->t.alias);
    e = forget(r, &s->t, err);
    if (e == 0)
        e = acc_key_claim(r->acc, 0, err);
    if (e == 0)
        e = event_add(r, "target-remove", "", "", "ok", body, err);
    if (e < 0)
        return e;
    tx = NULL;
    return db_commit(r->db, err);
}
