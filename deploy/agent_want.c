/* SPDX-License-Identifier: Apache-2.0 */
/* What the other store says it wants of a model. It becomes names, numbers and bytes
 * here, so each is held to the rules of this store. */
#include "deploy/agent_int.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static int
whole(const cJSON *o, const char *key, int64_t least, int64_t most, int64_t *out,
      struct err *err)
{
    double v;
    int e = json_num(o, key, NAN, &v, "its answer", err);

    if (e == 0 && !(v >= (double)least && v <= (double)most && v == (double)(int64_t)v))
        return err_set(err, ERR_INVALID, "its answer: %s is %g", key, v);
    *out = e == 0 ? (int64_t)v : 0;
    return e;
}

static int
parse_version(const cJSON *o, const struct agent_want *out, const char *share_key,
              int64_t *number, int64_t *share, struct digest *d, struct err *err)
{
    const char *text;
    int e = whole(o, "version", 1, REPO_NUMBER_MAX, number, err);

    if (e == 0)
        e = whole(o, share_key, 1, DEPLOY_WEIGHT_ALL, share, err);
    if (e == 0)
        e = json_str(o, "digest", NULL, &text, "its answer", err);
    if (e < 0)
        return e;
    if (!repo_digest_parse(text, d))
        return err_set(err, ERR_INVALID, "its answer: '%.80s' is no digest", text);
    for (int i = 0; i < out->n_members; i++)
        if (out->members[i].number == *number)
            return err_set(err, ERR_INVALID, "its answer: version %" PRId64 " twice",
                           *number);
    return 0;
}

static int
parse_member(const cJSON *o, struct agent_want *out, int *sum, struct err *err)
{
    int64_t number, weight;

    if (parse_version(o, out, "weight", &number, &weight, &out->digests[out->n_members],
                      err) < 0)
        return -(int)err->code;
    out->members[out->n_members++] =
        (struct deploy_member){ .number = number, .weight = (int)weight };
    *sum += (int)weight;
    return 0;
}

static int
parse_mirror(const cJSON *o, struct agent_want *out, struct err *err)
{
    int64_t number, share;

    if (!o || cJSON_IsNull(o))
        return 0;
    if (parse_version(o, out, "share", &number, &share, &out->mirror_digest, err) < 0)
        return err_ctx(err, "mirror");
    out->mirror = (struct deploy_member){ .number = number, .mirror = (int)share };
    return 0;
}

static int
parse(const cJSON *o, const char *alias, struct agent_want *out, struct err *err)
{
    const cJSON *m, *list = cJSON_GetObjectItemCaseSensitive(o, "members");
    const char *text, *verb, *by, *why;
    int sum = 0;
    int e = json_str(o, "model", NULL, &text, "its answer", err);

    if (e == 0)
        e = repo_check_model_name(text, err);
    if (e < 0)
        return e;
    snprintf(out->model, sizeof(out->model), "%s", text);
    snprintf(out->alias, sizeof(out->alias), "%s", alias);
    e = whole(o, "release", 1, REPO_NUMBER_MAX, &out->release, err);
    if (e == 0)
        e = json_str(o, "verb", NULL, &verb, "its answer", err);
    if (e == 0)
        e = json_str(o, "by", "", &by, "its answer", err);
    if (e == 0)
        e = json_str(o, "reason", "", &text, "its answer", err);
    if (e == 0)
        e = json_str(o, "why", "", &why, "its answer", err);
    if (e == 0)
        e = json_bool(o, "go", false, &out->go, "its answer", err);
    if (e == 0)
        e = json_bool(o, "again", false, &out->again, "its answer", err);
    if (e < 0)
        return e;
    out->is_rollback = strcmp(verb, "rollback") == 0;
    out->why = why;
    snprintf(out->reason, sizeof(out->reason),
             "release %" PRId64 " of %.60s, by %.40s%s%.90s", out->release, alias, by,
             *text ? ": " : "", text);
    cJSON_ArrayForEach(m, list)
    {
        if (out->n_members == DEPLOY_MEMBERS_MAX)
            return err_set(err, ERR_INVALID, "its answer: more than %d versions",
                           DEPLOY_MEMBERS_MAX);
        if (parse_member(m, out, &sum, err) < 0)
            return -(int)err->code;
    }
    if (sum != DEPLOY_WEIGHT_ALL)
        return err_set(err, ERR_INVALID, "its answer: the weights sum to %d", sum);
    if (parse_mirror(cJSON_GetObjectItemCaseSensitive(o, "mirror"), out, err) < 0)
        return -(int)err->code;
    return repo_check_text(out->reason, sizeof(out->reason), false, "its reason", err);
}

int
agent_want_parse(const cJSON *o, const char *alias, struct agent_want *out,
                 struct err *err)
{
    *out = (struct agent_want){ .why = "" };
    return parse(o, alias, out, err);
}
