/* SPDX-License-Identifier: Apache-2.0 */
/* cold warm, and the sizes of list */
#include "base/clock.h"
#include "deploy/deploy.h"
#include "repo/cold.h"
#include "repo/gc.h"
#include "service/svc_int.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OLDER "30d" /* unless told otherwise */

struct in_use {
    struct repo *repo;
    int64_t since_ns;
};

static int
is_in_use(void *arg, const struct repo_version *v, struct err *err)
{
    const struct in_use *u = arg;

    return deploy_in_use(u->repo, v->id, u->since_ns, err);
}

/* Members of `o`: what happened to, or would of, one version's files. */
static void
put_cold(cJSON *o, const struct repo_cold *c)
{
    const struct {
        const char *name;
        int n;
    } kept[] = { { "cold_already", c->n_cold },  { "small", c->n_small },
                 { "in_use", c->n_in_use },      { "linked", c->n_linked },
                 { "young", c->n_young },        { "no_gain", c->n_no_gain },
                 { "chain_too_long", c->n_deep } };
    cJSON *of_kept;

    json_put_int(o, "files", c->n_items);
    json_put_int(o, "bytes", c->size_bytes);
    json_put_int(o, "stored_bytes", c->stored_bytes);
    of_kept = cJSON_AddObjectToObject(o, "kept");
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        if (kept[i].n > 0)
            json_put_int(of_kept, kept[i].name, kept[i].n);
}

static void
put_objects(cJSON *o, const struct repo_cold *c)
{
    cJSON *list = cJSON_AddArrayToObject(o, "objects");
    char text[REPO_DIGEST_BYTES];

    for (int i = 0; i < c->n_items; i++) {
        repo_digest_text(&c->items[i].object, text);
        cJSON_AddItemToArray(list, cJSON_CreateString(text));
    }
}

/* One version: its deltas, then rows and event in one transaction, then the whole files
 * go. */
static int
make_cold(struct svc_call *c, const struct repo_version *v,
          const struct repo_cold_policy *policy, bool dry_run, cJSON *into,
          struct err *err)
{
    struct repo_cold cold AUTO(repo_cold_release) = { .items = NULL };
    cJSON *o = cJSON_CreateObject();
    char ref[REPO_NAME_BYTES + 24];
    int r;

    snprintf(ref, sizeof ref, "%s@%" PRId64, v->model, v->number);
    json_put_str(o, "version", ref);
    cJSON_AddItemToArray(into, o);
    r = repo_cold_make(c->repo, v, policy, dry_run, &cold, err);
    if (r == 0 && !dry_run && cold.n_items > 0) {
        cJSON_Delete(c->body);
        c->body = cJSON_CreateObject();
        svc_about(c, v);
        r = db_begin(c->repo->db, err);
        if (r == 0)
            r = repo_cold_record(c->repo, &cold, err);
        put_cold(c->body, &cold);
        put_objects(c->body, &cold);
        if (r == 0)
            r = svc_commit(c, err);
        if (r == 0)
            r = repo_cold_finish(c->repo, &cold, err);
    }
    put_cold(o, &cold);
    return r;
}

/* `policy` points at *use. */
static int
policy_start(struct svc_call *c, const char *older, struct repo_cold_policy *policy,
             struct in_use *use, struct err *err)
{
    int64_t older_ns;
    int r = clock_parse_span(older ? older : OLDER, &older_ns, err);

    if (r < 0)
        return r;
    *policy =
        (struct repo_cold_policy){ .before_ns = older_ns > 0 ? clock_now_ns() - older_ns
                                                             : INT64_MAX,
                                   .keep_newest = true,
                                   .in_use = is_in_use,
                                   .arg = use };
    *use = (struct in_use){ .repo = c->repo, .since_ns = policy->before_ns };
    return 0;
}

/* ---- for gc --need ---- */

static int
record_for_room(struct svc_call *c, const struct repo_version *v,
                struct repo_cold *cold, struct err *err)
{
    char object[REPO_NAME_BYTES + 24], digest[REPO_DIGEST_BYTES];
    struct acc_event e = {
        .verb = "cold", .object = object, .digest = digest, .outcome = "ok"
    };
    cJSON *body AUTO(json_free) = cJSON_CreateObject();
    char *text AUTO(free_ptr) = NULL;
    int r = db_begin(c->repo->db, err);

    if (r == 0)
        r = repo_cold_record(c->repo, cold, err);
    json_put_str(body, "why", "room was needed");
    put_cold(body, cold);
    put_objects(body, cold);
    text = cJSON_PrintUnformatted(body);
    snprintf(object, sizeof object, "%s@%" PRId64, v->model, v->number);
    repo_digest_text(&v->digest, digest);
    e.body = text;
    if (r == 0)
        r = acc_record(c->repo->acc, &e, err);
    return r < 0 ? r : db_commit(c->repo->db, err);
}

int
svc_cold_for_room(struct svc_call *c, const struct repo_version *v, bool apply,
                  struct repo_gc_item *item, struct err *err)
{
    struct repo_cold cold AUTO(repo_cold_release) = { .items = NULL };
    struct repo_cold_policy policy;
    struct in_use use;
    char why[80];
    int r = policy_start(c, NULL, &policy, &use, err);

    if (r == 0)
        r = repo_cold_may(c->repo, v, &policy, why, err);
    if (r <= 0)
        return r;
    r = repo_cold_make(c->repo, v, &policy, !apply, &cold, err);
    if (r == 0 && apply && cold.n_items > 0)
        r = record_for_room(c, v, &cold, err);
    db_rollback(c->repo->db);
    if (r == 0 && apply && cold.n_items > 0)
        r = repo_cold_finish(c->repo, &cold, err);
    if (r < 0 && (err->sys == ENOSPC || err->code == ERR_CORRUPT)) {
        err_clear(err); /* no room for its delta, or what fsck will tell */
        return 0;
    }
    item->why = "not used for " OLDER ": kept as what differs from another version";
    item->n_objects = cold.n_items;
    item->size_bytes = cold.size_bytes;
    item->frees_bytes = cold.size_bytes - cold.stored_bytes;
    return r;
}

/* ---- the verbs ---- */

struct versions {
    struct repo_version *v;
    int n;
};

static void
versions_release(struct versions *list)
{
    free(list->v);
}

static int
add_version(void *arg, const struct repo_version *v, struct err *err)
{
    struct versions *list = arg;

    (void)err;
    list->v = xreallocarray(list->v, (size_t)list->n + 1, sizeof *list->v);
    list->v[list->n++] = *v;
    return 0;
}

static int
all_cold(struct svc_call *c, bool dry_run, cJSON *into, struct err *err)
{
    struct versions all AUTO(versions_release) = { .v = NULL };
    struct in_use use;
    struct repo_cold_policy policy;
    cJSON *kept = cJSON_AddArrayToObject(c->reply, "kept");
    int r = policy_start(c, svc_str(c, "older"), &policy, &use, err);

    if (r == 0 && !dry_run)
        r = repo_cold_sweep(c->repo, err);
    if (r == 0)
        r = repo_versions(c->repo, NULL, add_version, &all, err);
    for (int i = 0; r == 0 && i < all.n; i++) {
        char why[80], ref[REPO_NAME_BYTES + 24];

        r = repo_cold_may(c->repo, &all.v[i], &policy, why, err);
        if (r == 1) {
            r = make_cold(c, &all.v[i], &policy, dry_run, into, err);
        } else if (r == 0) {
            cJSON *o = cJSON_CreateObject();

            snprintf(ref, sizeof ref, "%s@%" PRId64, all.v[i].model, all.v[i].number);
            json_put_str(o, "version", ref);
            json_put_str(o, "why", why);
            cJSON_AddItemToArray(kept, o);
        }
    }
    return r;
}

static int
one_cold(struct svc_call *c, bool dry_run, cJSON *into, struct err *err)
{
    struct in_use use = { .repo = c->repo, .since_ns = INT64_MAX };
    struct repo_cold_policy policy = { .before_ns = INT64_MAX,
                                       .in_use = is_in_use,
                                       .arg = &use };
    struct repo_version v;
    char why[80];
    int r = svc_version(c, &v, err);

    if (r == 0)
        r = repo_cold_may(c->repo, &v, &policy, why, err);
    if (r == 0)
        return err_set(
            err, ERR_CONFLICT,
            "%s stays whole: %s; it can be cold when that has ended (sluice gc "
            "--explain DIGEST says what keeps an object)",
            c->object, why);
    policy.keep_newest = true; /* what the newest has too is still left alone */
    return r < 0 ? r : make_cold(c, &v, &policy, dry_run, into, err);
}

int
svc_do_cold(struct svc_call *c, struct err *err)
{
    const bool dry_run = svc_flag(c, "dry_run"), all = svc_flag(c, "all");
    cJSON *into;

    if (!svc_str(c, "ref") == !all)
        return err_set(err, ERR_USAGE, "cold needs either a version or --all");
    if (svc_str(c, "older") && !all)
        return err_set(err, ERR_USAGE, "--older goes with --all");
    into = cJSON_AddArrayToObject(c->reply, "versions");
    json_put_bool(c->reply, "dry_run", dry_run);
    json_put_bool(c->body, "dry_run", dry_run);
    return all ? all_cold(c, dry_run, into, err) : one_cold(c, dry_run, into, err);
}

int
svc_do_warm(struct svc_call *c, struct err *err)
{
    struct repo_version v;
    struct repo_warm w;
    int r = svc_version(c, &v, err);

    if (r == 0)
        r = repo_warm_make(c->repo, &v.digest, &w, err);
    if (r == 0)
        r = db_begin(c->repo->db, err);
    if (r == 0)
        r = repo_warm_record(c->repo, &v.digest, err);
    if (r < 0)
        return err_ctx(err, "warm %s", svc_str(c, "ref"));
    json_put_int(c->body, "files", w.n_objects);
    json_put_str(c->reply, "version", c->object);
    json_put_int(c->reply, "files", w.n_objects);
    json_put_int(c->reply, "bytes", w.size_bytes);
    return svc_commit(c, err);
}

/* ---- list --sizes ---- */

static void
put_sizes(cJSON *o, const struct repo_sizes *s)
{
    json_put_int(o, "logical_bytes", s->logical_bytes);
    json_put_int(o, "stored_bytes", s->stored_bytes);
    json_put_int(o, "unique_bytes", s->unique_bytes);
    json_put_int(o, "cold_files", s->n_cold);
    json_put_int(o, "cold_bytes", s->cold_bytes);
}

int
svc_put_version_sizes(struct svc_call *c, const struct repo_version *v, cJSON *o,
                      struct err *err)
{
    struct repo_sizes s;
    int r = repo_sizes_version(c->repo, v, &s, err);

    if (r == 0)
        put_sizes(o, &s);
    return r;
}

int
svc_put_all_sizes(struct svc_call *c, const char *model_or_null, struct err *err)
{
    cJSON *models = cJSON_AddArrayToObject(c->reply, "models");
    const char *last = NULL;
    struct repo_sizes s;
    int r = 0;

    for (const cJSON *v = cJSON_GetObjectItem(c->reply, "versions")->child; r == 0 && v;
         v = v->next) {
        const char *model = cJSON_GetStringValue(cJSON_GetObjectItem(v, "model"));
        int64_t id;

        if (last && strcmp(last, model) == 0)
            continue;
        last = model;
        r = repo_model_id(c->repo, model, &id, err);
        if (r == 1)
            r = repo_sizes_model(c->repo, id, &s, err);
        if (r == 0) {
            cJSON *o = cJSON_CreateObject();

            json_put_str(o, "model", model);
            put_sizes(o, &s);
            cJSON_AddItemToArray(models, o);
        }
    }
    int all = r == 0 && !model_or_null ? svc_shows(c, acc_store(), err) : 0;
    if (all < 0)
        return all;
    if (all) { /* what others' models take is not told by the difference */
        r = repo_sizes_model(c->repo, 0, &s, err);
        if (r == 0)
            put_sizes(cJSON_AddObjectToObject(c->reply, "total"), &s);
    }
    return r;
}
