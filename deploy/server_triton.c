/* SPDX-License-Identifier: Apache-2.0 */
/* Triton, whose models are named as their directories, %XX and all. It lists what it
 * sees, with a state for what it was asked to load:
 *
 *     POST /v2/repository/index
 *     [{"name": "fraud", "version": "3", "state": "READY", "reason": ""}, {"name":
 * "x"}]
 *
 * and is told of a change, with --model-control-mode=explicit, by
 * POST /v2/repository/models/M/load: it reads config.pbtxt again, loads the versions
 * that its version_policy names and lets go of the others. */
#include "deploy/server_int.h"

#include "base/json.h"

#include <string.h>

/* What is unavailable for this reason was not asked for; any other is a failure. */
#define UNLOADED "unloaded"

static int
read_state(const char *name, enum server_state *out, struct err *err)
{
    static const struct {
        const char *name;
        enum server_state state;
    } states[] = {
        { "READY", SERVER_AVAILABLE }, { "UNAVAILABLE", SERVER_END },
        { "LOADING", SERVER_LOADING }, { "UNLOADING", SERVER_UNLOADING },
        { "UNKNOWN", SERVER_UNKNOWN },
    };
    struct buf said AUTO(buf_release) = BUF_INIT;

    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
        if (strcmp(name, states[i].name) == 0) {
            *out = states[i].state;
            return 0;
        }
    server_quote(&said, str_of(name));
    return err_set(err, ERR_CORRUPT, "\"%s\" is no state of a version", buf_str(&said));
}

/* 1: it is of this model. */
static int
read_version(const cJSON *j, const char *name, struct server_seen *out, struct err *err)
{
    static const char what[] = "an entry of the index";
    const char *whose, *number, *state_name, *reason;
    enum server_state state = SERVER_UNKNOWN;

    if (!cJSON_IsObject(j))
        return err_set(err, ERR_CORRUPT, "%s is no object", what);
    if (json_str(j, "name", NULL, &whose, what, err) < 0 ||
        json_str(j, "version", "", &number, what, err) < 0 ||
        json_str(j, "state", "", &state_name, what, err) < 0 ||
        json_str(j, "reason", "", &reason, what, err) < 0)
        return -(int)err->code;
    if (strcmp(whose, name) != 0)
        return 0;
    if (!number[0])
        return 1;
    if (read_state(state_name, &state, err) < 0)
        return -(int)err->code;
    if (state == SERVER_AVAILABLE || strcmp(reason, UNLOADED) == 0)
        reason = "";
    return server_add(out, number, state, reason, err) < 0 ? -(int)err->code : 1;
}

int
server_triton_read(struct str body, const char *name, struct server_seen *out,
                   struct err *err)
{
    cJSON *j AUTO(json_free) = NULL;
    const cJSON *v;
    int known = 0, e;

    out->n = 0;
    if (json_parse(&j, body, "the answer", err) < 0)
        return -(int)err->code;
    if (!cJSON_IsArray(j))
        return err_set(err, ERR_CORRUPT, "the answer is no list of models");
    cJSON_ArrayForEach(v, j)
    {
        e = read_version(v, name, out, err);
        if (e < 0)
            return e;
        known |= e;
    }
    return known;
}

static int
observe(const struct deploy_target *t, const char *model, int wall_ms,
        struct server_seen *out, struct err *err)
{
    struct http_answer a AUTO(http_answer_release) = HTTP_ANSWER_INIT;
    struct buf name AUTO(buf_release) = BUF_INIT;
    int e = server_ask(t->option[DEPLOY_STATUS_URL], "/v2/repository/index", "{}",
                       wall_ms, &a, err);

    if (e < 0)
        return e;
    if (a.status != 200)
        return server_strange(&a, err);
    repo_name_encode(model, &name);
    e = server_triton_read((struct str){ buf_str(&a.body), a.body.len }, buf_str(&name),
                           out, err);
    return e < 0 ? server_corrupt(&a, err) : e;
}

static int
reload(const struct deploy_target *t, const struct deploy_release *rel, int wall_ms,
       struct err *err)
{
    struct http_answer a AUTO(http_answer_release) = HTTP_ANSWER_INIT;
    struct buf name AUTO(buf_release) = BUF_INIT, path AUTO(buf_release) = BUF_INIT;
    struct buf said AUTO(buf_release) = BUF_INIT;
    int e;

    repo_name_encode(rel->model, &name);
    buf_adds(&path, "/v2/repository/models/");
    repo_name_encode(buf_str(&name), &path);
    buf_adds(&path, "/load");
    e = server_ask(t->option[DEPLOY_RELOAD], buf_str(&path), "{}", wall_ms, &a, err);
    if (e < 0 || a.status == 200)
        return e;
    server_quote(&said, (struct str){ buf_str(&a.body), a.body.len });
    return err_set(err, ERR_REFUSED, "it says no: HTTP %d%s%s", a.status,
                   said.len ? ": " : "", buf_str(&said));
}

const struct server_kind server_triton = {
    .name = "Triton",
    .observe = observe,
    .schemes = { "http://", "https://" },
    .reload = reload,
};
