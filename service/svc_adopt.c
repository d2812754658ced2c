/* SPDX-License-Identifier: Apache-2.0 */
/* target adopt: every directory is taken in (or, for the plan, only read) and compared
 * with what the store has; then versions with their numbers, the alias, the target.
 * Each step is made again without harm when one after it fails. */
#include "deploy/adopt.h"
#include "repo/gc.h"
#include "service/svc_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct adoption {
    struct svc_call *c;
    struct adopt_tree tree;
    struct svc_taken *taken; /* of each of its directories */
    bool *is_new;
    char *name; /* of the target */
    const char *alias;
    bool yes;
};

static void
adoption_end(struct adoption *a)
{
    for (int i = 0; a->taken && i < a->tree.n_dirs; i++)
        svc_taken_end(&a->taken[i]);
    free(a->taken);
    free(a->is_new);
    free(a->name);
    adopt_tree_release(&a->tree);
}

static const char *
model_of(const struct adoption *a, int i)
{
    return a->tree.models[a->tree.dirs[i].model].name;
}

static void
tell(void *arg, int64_t done_bytes, int64_t total_bytes)
{
    const struct svc *s = arg;
    s->progress(s->progress_arg, "reading", done_bytes, total_bytes);
}

/* 1: taken in; 0: it is no model, which is noted. */
static int
take(struct adoption *a, int i, struct err *err)
{
    struct svc_call *c = a->c;
    struct adopt_dir *d = &a->tree.dirs[i];
    struct adopt_model *m = &a->tree.models[d->model];
    const struct repo_ingest_opts opts = { .is_model = true,
                                           .dry_run = !a->yes,
                                           .name = d->path,
                                           .progress = c->s->progress ? tell : NULL,
                                           .arg = c->s };
    if (a->yes && repo_room_for(c->repo, m->name, d->real, err) < 0)
        return -(int)err->code;
    a->taken[i].r = c->repo;
    a->taken[i].kept = !a->yes; /* nothing to give back */
    int r = repo_ingest(c->repo, d->real, &opts, &a->taken[i].in, err);
    if (r == -ERR_INVALID || r == -ERR_CORRUPT || r == -ERR_UNSUPPORTED ||
        r == -ERR_NOTFOUND) {
        bool shown = m->has_link ? m->live == d->number : false;
        adopt_note(&a->tree, d->path, d->in_the_way || shown, "%s%s", err->msg,
                   shown ? " (and latest shows it)" : "");
        err_clear(err);
        return 0;
    }
    return r < 0 ? r : 1;
}

static bool
same_bytes(const struct adoption *a, int i, int k)
{
    return a->tree.dirs[i].model == a->tree.dirs[k].model && a->tree.dirs[k].becomes &&
           digest_eq(&a->taken[i].in.manifest.digest, &a->taken[k].in.manifest.digest);
}

/* The version that a directory becomes: of its own number, or of the lower number that
 * has these bytes. */
static int
foresee(struct adoption *a, int i, struct err *err)
{
    struct adopt_dir *d = &a->tree.dirs[i];
    const struct repo_wish wish = { .number = d->number };
    for (int k = 0; k < i; k++)
        if (same_bytes(a, i, k)) {
            if (d->in_the_way)
                adopt_note(&a->tree, d->path, true,
                           "the bytes of %s, and a version has one number: give it a "
                           "name that is no number, or remove it",
                           a->tree.dirs[k].path);
            d->becomes = a->tree.dirs[k].becomes;
            return 0;
        }
    int r = repo_version_foresee(a->c->repo, model_of(a, i),
                                 &a->taken[i].in.manifest.digest, &wish, &d->becomes,
                                 &a->is_new[i], err);
    if (r == -ERR_CONFLICT || r == -ERR_REFUSED) {
        adopt_note(&a->tree, d->path, true, "%s (here: rename the directory)",
                   err->msg);
        err_clear(err);
        d->becomes = 0;
        return 0;
    }
    return r;
}

/* What the alias will mean: `latest`'s, or the greatest that became a version. */
static void
choose_live(struct adoption *a)
{
    for (int m = 0; m < a->tree.n_models; m++) {
        struct adopt_model *model = &a->tree.models[m];
        int64_t live = 0;
        for (int i = 0; i < a->tree.n_dirs; i++) {
            const struct adopt_dir *d = &a->tree.dirs[i];
            if (d->model == m && d->becomes &&
                (!model->has_link || d->number == model->live))
                live = d->becomes;
        }
        model->live = live;
    }
}

/* ---- the plan ---- */

static void
put_dir(const struct adoption *a, int i, cJSON *list)
{
    const struct adopt_dir *d = &a->tree.dirs[i];
    const struct repo_ingest *in = &a->taken[i].in;
    char digest[REPO_DIGEST_BYTES];
    cJSON *o = cJSON_CreateObject();
    repo_digest_text(&in->manifest.digest, digest);
    json_put_str(o, "path", d->path);
    json_put_int(o, "version", d->becomes);
    json_put_str(o, "digest", digest);
    json_put_int(o, "bytes", in->manifest.size_bytes);
    json_put_bool(o, "new", a->is_new[i]);
    json_put_bool(o, "link", !d->in_the_way);
    cJSON_AddItemToArray(list, o);
}

static int
put_plan(const struct adoption *a)
{
    cJSON *reply = a->c->reply;
    int n_stand = 0;
    json_put_str(reply, "dir", a->tree.dir);
    json_put_str(reply, "target", a->name);
    json_put_str(reply, "alias", a->alias);
    json_put_str(reply, "layout", a->tree.layout);
    json_put_bool(reply, "done", false);
    cJSON *models = cJSON_AddArrayToObject(reply, "models");
    for (int m = 0; m < a->tree.n_models; m++) {
        cJSON *o = cJSON_CreateObject();
        cJSON_AddItemToArray(models, o);
        json_put_str(o, "model", a->tree.models[m].name);
        json_put_int(o, "live", a->tree.models[m].live);
        json_put_str(o, "shown_by",
                     a->tree.models[m].has_link ? "latest" : "greatest number");
        cJSON *list = cJSON_AddArrayToObject(o, "versions");
        for (int i = 0; i < a->tree.n_dirs; i++)
            if (a->tree.dirs[i].model == m && a->tree.dirs[i].becomes)
                put_dir(a, i, list);
    }
    cJSON *notes = cJSON_AddArrayToObject(reply, "left");
    for (int i = 0; i < a->tree.n_notes; i++) {
        const struct adopt_note *n = &a->tree.notes[i];
        cJSON *o = cJSON_CreateObject();
        json_put_str(o, "path", n->path);
        json_put_str(o, "why", n->why);
        json_put_bool(o, "in_the_way", n->in_the_way);
        cJSON_AddItemToArray(notes, o);
        n_stand += n->in_the_way;
    }
    return n_stand;
}

static int
plan(struct adoption *a, struct err *err)
{
    struct svc_call *c = a->c;
    int n = a->tree.n_dirs, n_good = 0;
    a->taken = xcalloc((size_t)n, sizeof *a->taken);
    a->is_new = xcalloc((size_t)n, sizeof *a->is_new);
    for (int i = 0; i < n; i++) {
        int r = take(a, i, err);
        if (r == 1)
            r = foresee(a, i, err);
        if (r < 0)
            return r;
        n_good += a->tree.dirs[i].becomes > 0;
    }
    choose_live(a);
    if (deploy_adopt_check(c->repo, &a->tree, a->name, a->alias, err) < 0)
        return -(int)err->code;
    int n_stand = put_plan(a);
    if (n_stand > 0)
        return err_set(err, ERR_CONFLICT,
                       "%d name%s in the way of the target, see above; nothing was "
                       "changed",
                       n_stand, n_stand == 1 ? " stands" : "s stand");
    if (n_good == 0)
        return err_set(err, ERR_INVALID,
                       "nothing in %s can become a version, see above", a->tree.dir);
    return 0;
}

/* ---- doing it ---- */

static int
record_version(struct adoption *a, int i, struct err *err)
{
    struct svc_call *c = a->c;
    struct adopt_dir *d = &a->tree.dirs[i];
    struct svc_taken *files = &a->taken[i];
    cJSON *from AUTO(json_free) = cJSON_CreateObject();
    char *path AUTO(free_ptr) = xasprintf("%s/%s", a->tree.dir, d->path);
    struct buf provenance AUTO(buf_release) = BUF_INIT;
    struct repo_wish wish;
    struct repo_version v;
    bool is_new;
    json_put_str(from, "adopted_from", path);
    json_print(from, &provenance, true);
    if (db_begin(c->repo->db, err) < 0 || svc_push_wish(c, &wish, err) < 0)
        return -(int)err->code;
    wish.number = d->becomes;
    if (repo_version_add_as(c->repo, model_of(a, i), &files->in.manifest,
                            buf_str(&provenance), &wish, &v, &is_new, err) < 0 ||
        repo_ingest_remember(c->repo, &files->in, err) < 0 ||
        (is_new && repo_quota_check(c->repo, model_of(a, i), err) < 0))
        return -(int)err->code;
    svc_about(c, &v);
    cJSON_Delete(c->body);
    c->body = cJSON_CreateObject();
    json_put_str(c->body, "from", path);
    json_put_str(c->body, "state", v.state);
    json_put_bool(c->body, "new", is_new);
    if (svc_commit(c, err) < 0)
        return -(int)err->code;
    c->recorded = false; /* what follows has events of its own */
    files->kept = true;
    d->version_id = v.id;
    return 0;
}

/* The alias means what the tree shows; gates are asked as for any promotion. */
static int
promote(struct adoption *a, const struct adopt_model *m, struct err *err)
{
    struct svc_call *c = a->c;
    struct deploy_release live;
    struct repo_version v;
    cJSON *report AUTO(json_free) = NULL;
    char ref[REPO_NAME_BYTES + 24];
    if (m->live == 0)
        return 0;
    snprintf(ref, sizeof ref, "%s@%" PRId64, m->name, m->live);
    int r = deploy_live(c->repo, m->name, a->alias, &live, err);
    if (r == 1 && live.latest == m->live)
        return 0;
    if (r < 0 || repo_resolve(c->repo, ref, &v, err) < 0)
        return -(int)err->code;
    svc_about(c, &v);
    const struct deploy_change d = { .verb = DEPLOY_PROMOTE,
                                     .model = v.model,
                                     .alias = a->alias,
                                     .version = &v,
                                     .reason = "adopted" };
    if (deploy_change(c->repo, &d, &report, err) < 0)
        return err_ctx(
            err, "the versions are stored, the tree is as it was: promote %s", ref);
    return 0;
}

static int
carry_out(struct adoption *a, struct err *err)
{
    struct svc_call *c = a->c;
    struct deploy_options options;
    for (int i = 0; i < a->tree.n_dirs; i++) {
        struct adopt_dir *d = &a->tree.dirs[i];
        if (d->becomes == d->number && record_version(a, i, err) < 0)
            return err_ctx(err, "%s", d->path);
        for (int k = 0; k < i && d->becomes && !d->version_id; k++)
            if (same_bytes(a, i, k) && a->tree.dirs[k].becomes == d->becomes)
                d->version_id = a->tree.dirs[k].version_id;
    }
    for (int m = 0; m < a->tree.n_models; m++)
        if (promote(a, &a->tree.models[m], err) < 0)
            return -(int)err->code;
    svc_target_options(c, &options);
    if (deploy_adopt(c->repo, &a->tree, a->name, a->alias, &options, err) < 0)
        return -(int)err->code;
    c->recorded = true; /* by deploy/ */
    cJSON_ReplaceItemInObject(c->reply, "done", cJSON_CreateTrue());
    return 0;
}

static int
check_rights(struct adoption *a, struct err *err)
{
    for (int m = 0; m < a->tree.n_models; m++)
        if (acc_check(a->c->repo->acc, ACC_PUSH, acc_model(a->tree.models[m].name),
                      err) < 0 ||
            acc_check(a->c->repo->acc, ACC_PROMOTE,
                      acc_alias(a->tree.models[m].name, a->alias), err) < 0)
            return -(int)err->code;
    return 0;
}

int
svc_do_target_adopt(struct svc_call *c, struct err *err)
{
    struct adoption a AUTO(adoption_end) = {
        .c = c,
        .alias = svc_str(c, "alias") ? svc_str(c, "alias") : "production",
        .yes = svc_flag(c, "yes"),
    };
    if (adopt_scan(svc_str(c, "dir"), svc_str(c, "model"), svc_str(c, "layout"),
                   &a.tree, err) < 0)
        return err_ctx(err, "adopt");
    const char *slash = strrchr(a.tree.dir, '/');
    a.name = xstrdup(svc_str(c, "name") ? svc_str(c, "name") : slash + 1);
    snprintf(c->object, sizeof c->object, "target %s", a.name);
    json_put_str(c->body, "dir", a.tree.dir);
    json_put_str(c->body, "alias", a.alias);
    if (check_rights(&a, err) < 0 || plan(&a, err) < 0)
        return err_ctx(err, "adopt %s", a.tree.dir);
    if (!a.yes)
        return 0;
    return carry_out(&a, err) < 0 ? err_ctx(err, "adopt %s", a.tree.dir) : 0;
}
