/* SPDX-License-Identifier: Apache-2.0 */
/* retention, quota */
#include "repo/gc.h"
#include "service/svc_int.h"

#include <stdio.h>
#include <string.h>

/* ---- retention ---- */

static void
put_rules(cJSON *to, const struct repo_rules *rules)
{
    json_put_int(to, "keep_last", rules->keep_last);
    json_put_str(to, "ever", rules->ever[0] ? rules->ever : NULL);
    json_put_int(to, "younger", rules->younger_days);
}

int
svc_do_retention_set(struct svc_call *c, struct err *err)
{
    const char *model = svc_str(c, "model"), *ever = svc_str(c, "ever");
    struct repo_rules rules = { .keep_last = svc_int(c, "keep_last", 0),
                                .younger_days = svc_int(c, "younger", 0) };
    if (ever && (strlen(ever) >= sizeof rules.ever || !ever[0]))
        return err_set(err, ERR_INVALID, "--ever '%s' is no alias", ever);
    snprintf(rules.ever, sizeof rules.ever, "%s", ever ? ever : "");
    if (db_begin(c->repo->db, err) < 0)
        return -(int)err->code;
    put_rules(c->body, &rules);
    if (repo_rules_set(c->repo, model, &rules, err) < 0 || svc_commit(c, err) < 0)
        return err_ctx(err, "retention set %s", model);
    json_put_str(c->reply, "model", model);
    put_rules(c->reply, &rules);
    return 0;
}

int
svc_do_retention_clear(struct svc_call *c, struct err *err)
{
    const char *model = svc_str(c, "model");
    if (db_begin(c->repo->db, err) < 0)
        return -(int)err->code;
    int had = repo_rules_clear(c->repo, model, err);
    if (had == 0)
        return err_set(err, ERR_NOTFOUND, "%s has no retention rules of its own",
                       model);
    if (had < 0 || svc_commit(c, err) < 0)
        return -(int)err->code;
    json_put_str(c->reply, "model", model);
    return 0;
}

static int
add_judged(void *arg, const struct repo_version *v, bool kept, const char *why,
           struct err *err)
{
    (void)err;
    cJSON *o = svc_version_json(v);
    json_put_bool(o, "kept", kept);
    json_put_str(o, "why", why);
    cJSON_AddItemToArray(arg, o);
    return 0;
}

int
svc_do_retention_show(struct svc_call *c, struct err *err)
{
    const char *model = svc_str(c, "model");
    struct repo_rules rules;
    int64_t id;
    int found = repo_model_id(c->repo, model, &id, err);
    if (found == 0)
        return err_set(err, ERR_NOTFOUND, "there is no model '%s'", model);
    if (found > 0)
        found = repo_rules_get(c->repo, model, &rules, err);
    if (found < 0)
        return found;
    json_put_str(c->reply, "model", model);
    if (found) {
        cJSON *o = cJSON_AddObjectToObject(c->reply, "rules");
        put_rules(o, &rules);
        json_put_bool(o, "own", rules.is_own);
    }
    return repo_retention(c->repo, model, add_judged,
                          cJSON_AddArrayToObject(c->reply, "versions"), err);
}

/* ---- quota ---- */

int
svc_do_quota_set(struct svc_call *c, struct err *err)
{
    const char *model = svc_str(c, "model"), *max = svc_str(c, "max");
    const char *min_free = svc_str(c, "min_free");
    int64_t bytes;
    if (!model != !max || !model == !min_free)
        return err_set(
            err, ERR_USAGE,
            "quota set takes MODEL and --max SIZE, or --min_free SIZE alone");
    if (acc_check(c->repo->acc, ACC_ADMIN, acc_store(), err) <
            0 || /* not the model's own */
        repo_size_parse(max ? max : min_free, &bytes, err) < 0 ||
        db_begin(c->repo->db, err) < 0)
        return -(int)err->code;
    json_put_int(c->body, model ? "max" : "min_free", bytes);
    if (repo_quota_set(c->repo, model, bytes, err) < 0 || svc_commit(c, err) < 0)
        return err_ctx(err, "quota set");
    json_put_str(c->reply, "model", model);
    json_put_int(c->reply, model ? "max" : "min_free", bytes);
    return 0;
}

static int
add_model(void *arg, const struct repo_version *v, struct err *err)
{
    cJSON *list = arg, *last = cJSON_GetArrayItem(list, cJSON_GetArraySize(list) - 1);
    const char *name =
        last ? cJSON_GetStringValue(cJSON_GetObjectItem(last, "model")) : NULL;
    (void)err;
    if (name && strcmp(name, v->model) == 0) /* versions come model by model */
        return 0;
    cJSON *o = cJSON_CreateObject();
    json_put_str(o, "model", v->model);
    cJSON_AddItemToArray(list, o);
    return 0;
}

static int
put_quota(struct svc_call *c, cJSON *o, struct err *err)
{
    struct repo_quota quota;
    const char *model = cJSON_GetStringValue(cJSON_GetObjectItem(o, "model"));
    if (repo_quota(c->repo, model, &quota, err) < 0)
        return -(int)err->code;
    json_put_int(o, "versions", quota.n_versions);
    json_put_int(o, "used", quota.used_bytes);
    if (quota.limit_bytes)
        json_put_int(o, "max", quota.limit_bytes);
    return 0;
}

int
svc_do_quota_show(struct svc_call *c, struct err *err)
{
    const char *only = svc_str(c, "model");
    int64_t min_free, id;
    int found = only ? repo_model_id(c->repo, only, &id, err) : 1;
    if (found == 0)
        return err_set(err, ERR_NOTFOUND, "there is no model '%s'", only);
    if (found < 0 || repo_min_free(c->repo, &min_free, err) < 0)
        return -(int)err->code;
    json_put_int(c->reply, "free", repo_free_bytes(c->repo));
    if (min_free)
        json_put_int(c->reply, "min_free", min_free);
    cJSON *list = cJSON_AddArrayToObject(c->reply, "models");
    int r = repo_versions(c->repo, only, add_model, list, err);
    if (r >= 0)
        r = svc_hide(c, list, err);
    for (cJSON *o = list->child; r >= 0 && o; o = o->next)
        r = put_quota(c, o, err);
    return r;
}
