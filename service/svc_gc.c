/* SPDX-License-Identifier: Apache-2.0 */
/* delete undelete hold unhold gc */
#include "deploy/deploy.h"
#include "repo/gc.h"
#include "service/svc_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- delete, undelete ---- */

int
svc_do_delete(struct svc_call *c, struct err *err)
{
    struct repo_version v;
    int64_t days = svc_int(c, "days", REPO_DELETE_DAYS);
    if (svc_version(c, &v, err) < 0 || db_begin(c->repo->db, err) < 0)
        return -(int)err->code;
    json_put_int(c->body, "days", days);
    if (repo_delete(c->repo, &v, days, svc_str(c, "reason"), err) < 0 ||
        svc_commit(c, err) < 0)
        return err_ctx(err, "delete %s", svc_str(c, "ref"));
    snprintf(v.state, sizeof v.state, "deleted");
    cJSON_Delete(c->reply);
    c->reply = svc_version_json(&v);
    json_put_int(c->reply, "days", days);
    return 0;
}

int
svc_do_undelete(struct svc_call *c, struct err *err)
{
    struct repo_version v;
    if (repo_resolve_any(c->repo, svc_str(c, "ref"), &v, err) < 0)
        return -(int)err->code;
    svc_about(c, &v);
    if (db_begin(c->repo->db, err) < 0)
        return -(int)err->code;
    if (repo_undelete(c->repo, &v, err) < 0 || svc_commit(c, err) < 0 ||
        repo_version_get(c->repo, v.id, &v, err) < 0)
        return err_ctx(err, "undelete %s", svc_str(c, "ref"));
    cJSON_Delete(c->reply);
    c->reply = svc_version_json(&v);
    return 0;
}

/* ---- hold, unhold ---- */

/* A version, or with a bare name its whole model. */
static int
hold_or_not(struct svc_call *c, bool hold, struct err *err)
{
    const char *ref = svc_str(c, "ref");
    struct repo_ref parsed;
    struct repo_version v;
    if (repo_ref_parse(ref, &parsed, err) < 0)
        return -(int)err->code;
    bool whole = parsed.model[0] && !parsed.number && !parsed.alias[0];
    if (whole) {
        snprintf(c->object, sizeof c->object, "%s", parsed.model);
    } else {
        if (repo_resolve_any(c->repo, ref, &v, err) < 0)
            return -(int)err->code;
        svc_about(c, &v);
    }
    const char *model = whole ? parsed.model : v.model;
    json_put_str(c->reply, "object", c->object);
    json_put_bool(c->reply, "held", hold);
    if (db_begin(c->repo->db, err) < 0)
        return -(int)err->code;
    int r =
        hold ? repo_hold(c->repo, model, whole ? NULL : &v, svc_str(c, "reason"), err)
             : repo_unhold(c->repo, model, whole ? NULL : &v, err);
    if (r < 0 || svc_commit(c, err) < 0)
        return err_ctx(err, "%s %s", hold ? "hold" : "unhold", ref);
    return 0;
}

int
svc_do_hold(struct svc_call *c, struct err *err)
{
    return hold_or_not(c, true, err);
}

int
svc_do_unhold(struct svc_call *c, struct err *err)
{
    return hold_or_not(c, false, err);
}

/* ---- gc ---- */

static void
put_sum(cJSON *to, const char *key, const struct repo_gc_sum *s)
{
    cJSON *o = cJSON_AddObjectToObject(to, key);
    json_put_int(o, "objects", s->n);
    json_put_int(o, "bytes", s->bytes);
}

static void
put_totals(cJSON *to, const struct repo_gc_totals *t)
{
    put_sum(to, "unused", &t->unused);
    put_sum(to, "orphans", &t->orphans);
    put_sum(to, "waiting", &t->waiting);
    put_sum(to, "freed", &t->freed);
    json_put_int(to, "still_linked_bytes", t->still_linked_bytes);
}

struct version_list {
    struct repo_version *v;
    int n;
};

static void
version_list_release(struct version_list *l)
{
    free(l->v);
}

static int
add_due(void *arg, const struct repo_version *v, struct err *err)
{
    struct version_list *l = arg;
    (void)err;
    l->v = xreallocarray(l->v, (size_t)l->n + 1, sizeof *l->v);
    l->v[l->n++] = *v;
    return 0;
}

static int
add_let_go(void *arg, const struct repo_version *v, bool kept, const char *why,
           struct err *err)
{
    (void)why;
    return kept ? 0 : add_due(arg, v, err);
}

static void
put_versions(cJSON *to, const char *key, const struct version_list *l)
{
    cJSON *list = cJSON_AddArrayToObject(to, key);
    for (int i = 0; i < l->n; i++)
        cJSON_AddItemToArray(list, svc_version_json(&l->v[i]));
}

static int
record_one(struct svc_call *c, const char *verb, const struct repo_version *v,
           const char *body, struct err *err)
{
    char object[REPO_NAME_BYTES + 24], digest[REPO_DIGEST_BYTES];
    struct acc_event e = {
        .verb = verb, .object = object, .digest = digest, .outcome = "ok", .body = body
    };
    snprintf(object, sizeof object, "%s@%" PRId64, v->model, v->number);
    repo_digest_text(&v->digest, digest);
    return acc_record(c->repo->acc, &e, err);
}

/* What the rules let go, each with an event like any other deletion. */
static int
delete_let_go(struct svc_call *c, const struct version_list *l, struct err *err)
{
    char body[64];
    snprintf(body, sizeof body, "{\"why\": \"retention\", \"days\": %d}",
             REPO_DELETE_DAYS);
    if (l->n == 0)
        return 0;
    if (db_begin(c->repo->db, err) < 0)
        return -(int)err->code;
    for (int i = 0; i < l->n; i++)
        if (repo_delete(c->repo, &l->v[i], REPO_DELETE_DAYS, "retention", err) < 0 ||
            record_one(c, "delete", &l->v[i], body, err) < 0)
            return -(int)err->code;
    return db_commit(c->repo->db, err);
}

/* Leaves those in the list that were. */
static int
purge_due(struct svc_call *c, struct version_list *l, struct err *err)
{
    int n = 0;
    for (int i = 0; i < l->n; i++)
        if (deploy_forget(c->repo, &l->v[i], err) < 0)
            return -(int)err->code;
    if (l->n == 0)
        return 0;
    if (db_begin(c->repo->db, err) < 0)
        return -(int)err->code;
    for (int i = 0; i < l->n; i++) {
        int r = repo_purge(c->repo, &l->v[i], "its window is over", err);
        if (r < 0)
            return r;
        if (r == 1)
            l->v[n++] = l->v[i];
    }
    l->n = n;
    return db_commit(c->repo->db, err);
}

static int
collect(struct svc_call *c, struct repo_gc *g, struct err *err)
{
    struct version_list due AUTO(version_list_release) = { 0 };
    struct version_list let_go AUTO(version_list_release) = { 0 };
    struct repo_gc_totals totals;
    bool dry = svc_flag(c, "dry_run"), empty = svc_flag(c, "empty_trash");
    if ((svc_flag(c, "retention") &&
         repo_retention_all(c->repo, add_let_go, &let_go, err) < 0) ||
        (!dry && delete_let_go(c, &let_go, err) < 0) ||
        repo_gc_due(g, add_due, &due, err) < 0 || (!dry && purge_due(c, &due, err) < 0))
        return -(int)err->code;
    if ((dry ? repo_gc_plan(g, empty, &totals, err)
             : repo_gc_run(g, empty, &totals, err)) < 0)
        return -(int)err->code;
    json_put_bool(c->reply, "dry_run", dry);
    put_versions(c->reply, "deleted", &let_go);
    put_versions(c->reply, "purged", &due);
    put_totals(c->reply, &totals);
    put_totals(c->body, &totals);
    if (dry)
        json_put_bool(c->body, "dry_run", true);
    return 0;
}

/* ---- gc --need ---- */

struct need {
    struct svc_call *c;
    cJSON *items;
    int64_t frees_bytes;
};

static int
add_item(void *arg, const struct repo_gc_item *item, struct err *err)
{
    struct need *n = arg;
    cJSON *o = cJSON_CreateObject();
    (void)err;
    json_put_str(o, "kind", item->kind);
    if (item->v) {
        char name[REPO_NAME_BYTES + 24];
        snprintf(name, sizeof name, "%s@%" PRId64, item->v->model, item->v->number);
        json_put_str(o, "version", name);
    }
    json_put_str(o, "why", item->why);
    json_put_int(o, "objects", item->n_objects);
    json_put_int(o, "bytes", item->size_bytes);
    json_put_int(o, "frees", item->frees_bytes);
    cJSON_AddItemToArray(n->items, o);
    n->frees_bytes += item->frees_bytes;
    return 0;
}

static int
forget(void *arg, const struct repo_version *v, struct err *err)
{
    return deploy_forget(((struct need *)arg)->c->repo, v, err);
}

static int
version_dirs(void *arg, const struct repo_version *v, struct err *err)
{
    return deploy_version_dirs(((struct need *)arg)->c->repo, v, err);
}

static int
make_cold(void *arg, const struct repo_version *v, struct repo_gc_item *item,
          struct err *err)
{
    struct svc_call *c = ((struct need *)arg)->c;
    return svc_cold_for_room(c, v, svc_flag(c, "yes"), item, err);
}

static int
make_room(struct svc_call *c, struct repo_gc *g, int64_t need_bytes, struct err *err)
{
    struct need n = { .c = c, .items = cJSON_AddArrayToObject(c->reply, "items") };
    struct repo_gc_need need = { .need_bytes = need_bytes,
                                 .apply = svc_flag(c, "yes"),
                                 .before_purge = forget,
                                 .n_links = version_dirs,
                                 .make_cold = make_cold,
                                 .fn = add_item,
                                 .arg = &n };
    int64_t was_bytes = repo_free_bytes(c->repo);
    json_put_int(c->reply, "need", need_bytes);
    json_put_int(c->reply, "free_before", was_bytes);
    json_put_bool(c->reply, "applied", need.apply);
    if (repo_gc_need(g, &need, err) < 0)
        return -(int)err->code;
    int64_t free_bytes =
        need.apply ? repo_free_bytes(c->repo) : was_bytes + n.frees_bytes;
    json_put_int(c->reply, "free_after", free_bytes);
    json_put_bool(c->body, "applied", need.apply);
    json_put_int(c->body, "need", need_bytes);
    json_put_int(c->body, "free_before", was_bytes);
    json_put_int(c->body, "free_after", free_bytes);
    if (free_bytes < need_bytes)
        return err_set(err, ERR_FAILED,
                       "%" PRId64 " bytes %s free, of %" PRId64
                       " wanted: delete versions (sluice retention set), make younger "
                       "ones cold (sluice cold --all --older 0 --dry-run), or look for "
                       "what is not Sluice's",
                       free_bytes, need.apply ? "are" : "would be", need_bytes);
    return 0;
}

static int
add_line(void *arg, const char *line, struct err *err)
{
    (void)err;
    cJSON_AddItemToArray(arg, cJSON_CreateString(line));
    return 0;
}

static int
explain(struct svc_call *c, struct repo_gc *g, struct err *err)
{
    struct digest d;
    char text[REPO_DIGEST_BYTES];
    bool stays;
    cJSON *lines = cJSON_AddArrayToObject(c->reply, "lines");
    if (repo_gc_explain(g, svc_str(c, "explain"), &d, &stays, add_line, lines, err) < 0)
        return -(int)err->code;
    repo_digest_text(&d, text);
    json_put_str(c->reply, "digest", text);
    json_put_bool(c->reply, "stays", stays);
    snprintf(c->digest, sizeof c->digest, "%s", text);
    return 0;
}

int
svc_do_gc(struct svc_call *c, struct err *err)
{
    struct repo_gc *g AUTO(repo_gc_close_p) = NULL;
    const char *need = svc_str(c, "need"), *what = svc_str(c, "explain");
    int64_t need_bytes = 0;
    if ((need != NULL) + (what != NULL) +
            (svc_flag(c, "retention") || svc_flag(c, "empty_trash")) >
        1)
        return err_set(err, ERR_USAGE,
                       "gc: --need, --explain, and --retention or --empty_trash are "
                       "different questions");
    if (svc_flag(c, "empty_trash") && !svc_flag(c, "dry_run") && !svc_flag(c, "yes"))
        return err_set(err, ERR_USAGE,
                       "gc: --empty_trash ends every undelete: add --yes, or --dry-run "
                       "to see what goes");
    if (need && svc_flag(c, "dry_run") && svc_flag(c, "yes"))
        return err_set(err, ERR_USAGE, "gc: --dry_run and --yes contradict each other");
    if (need && repo_size_parse(need, &need_bytes, err) < 0)
        return err_ctx(err, "gc --need");
    bool look_only = what || svc_flag(c, "dry_run") || (need && !svc_flag(c, "yes"));
    if (repo_gc_open(&g, c->repo, look_only, err) < 0)
        return -(int)err->code;
    int r = what   ? explain(c, g, err)
            : need ? make_room(c, g, need_bytes, err)
                   : collect(c, g, err);
    if (!look_only && r >= 0)
        repo_reserve_fill(c->repo);
    return r;
}
