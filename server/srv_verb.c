/* SPDX-License-Identifier: Apache-2.0 */
/* /api/v1/VERB: a verb as a request, its reply, problem or events. */
#include "server/server_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct call {
    const struct svc_verb *verb;
    cJSON *request;
};

static const struct svc_verb *
find(const char *path)
{
    char *name AUTO(free_ptr) = xstrdup(path);
    if (strchr(name, '_') && strcmp(name, "_") != 0 && !svc_find(name))
        return NULL;
    for (char *p = name; *p; p++)
        if (*p == '/')
            *p = '_';
    return svc_find(name);
}

static int
begin(struct srv_req *q, struct call **out, struct err *err)
{
    struct call *c = xcalloc(1, sizeof *c);
    q->state = *out = c;
    c->verb = find(q->args[0]);
    if (!c->verb)
        return err_set(err, ERR_NOTFOUND, "there is no verb '%s'", q->args[0]);
    q->verb = c->verb->name;
    return 0;
}

static bool
is_gone(void *arg)
{
    return srv_is_gone(arg);
}

static int
carry_out(struct srv_req *q, struct call *c, struct err *err)
{
    cJSON *reply = NULL;
    const char *ref = cJSON_GetStringValue(cJSON_GetObjectItem(c->request, "ref"));
    const char *model = cJSON_GetStringValue(cJSON_GetObjectItem(c->request, "model"));
    struct srv_call_hooks hooks = { .stop = is_gone, .arg = q, .trace = q->trace };
    snprintf(q->object, sizeof q->object, "%s", ref ? ref : model ? model : "");
    if (srv_worker_call(q->srv, &q->who, c->verb->name, c->request, &hooks, &reply,
                        err) < 0) {
        srv_reply_problem(q, err, reply);
        err_clear(err);
        return 0;
    }
    srv_reply_json(q, 200, reply);
    cJSON_Delete(reply);
    return 0;
}

int
srv_do_verb(struct srv_req *q, struct err *err)
{
    struct call *c;
    if (begin(q, &c, err) < 0)
        return -(int)err->code;
    if (json_parse(&c->request,
                   q->body.len ? (struct str){ q->body.data, q->body.len }
                               : STR_LIT("{}"),
                   "the body", err) < 0 ||
        json_check_names(c->request, "the body", err) < 0)
        return -(int)err->code;
    if (!cJSON_IsObject(c->request))
        return err_set(err, ERR_INVALID, "the body must be a JSON object");
    return carry_out(q, c, err);
}

int
srv_do_verb_get(struct srv_req *q, struct err *err)
{
    struct call *c;
    if (begin(q, &c, err) < 0)
        return -(int)err->code;
    c->request = cJSON_CreateObject();
    return carry_out(q, c, err);
}

void
srv_gone_verb(struct srv_req *q)
{
    struct call *c = q->state;
    if (!c)
        return;
    cJSON_Delete(c->request);
    free(c);
}

void
srv_gone_verb_get(struct srv_req *q)
{
    srv_gone_verb(q);
}
