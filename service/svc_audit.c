/* SPDX-License-Identifier: Apache-2.0 */
/* audit log, audit verify */
#include "service/svc_int.h"

#include <stdio.h>
#include <string.h>

/* What an event is about, for the gate. Its object is a text for people; what is none
 * of a model's, and what may name several models (`export`), is for who may read the
 * store. */
static struct acc_object
object_of(const struct acc_event_row *row, char model[REPO_NAME_BYTES])
{
    const struct svc_verb *verb = svc_find(row->e.verb);
    const char *object = row->e.object, *at = strchr(object, '@');
    const size_t n = strcspn(object, "@");
    struct err none = ERR_INIT;
    if (strncmp(row->e.verb, "target", 6) == 0 && strncmp(object, "target ", 7) == 0)
        return acc_target(object + 7);
    if (strncmp(row->e.verb, "hook_", 5) == 0 && strncmp(object, "hook:", 5) == 0)
        return (struct acc_object){ ACC_HOOK, NULL, object + 5 };
    if (strncmp(row->e.verb, "key_", 4) == 0 && strncmp(object, "key:", 4) == 0)
        return (struct acc_object){ ACC_KEY, NULL, object + 4 };
    if (!verb || verb->right == ACC_NONE || !object[0] || n >= REPO_NAME_BYTES ||
        strncmp(row->e.verb, "host_", 5) == 0)
        return acc_store();
    snprintf(model, REPO_NAME_BYTES, "%.*s", (int)n, object);
    if (repo_check_model_name(model, &none) < 0 || strcmp(model, "*") == 0)
        return acc_store();
    /* version or alias: who reads all of the model reads both */
    return at && repo_check_alias_name(at + 1, &none) == 0 ? acc_alias(model, at + 1)
                                                           : acc_model(model);
}

static int
shows(void *arg, const struct acc_event_row *row, struct err *err)
{
    struct svc_call *c = arg;
    char model[REPO_NAME_BYTES];
    /* his own deeds, unless he is known by less than all of himself */
    return strcmp(row->actor, acc_actor(c->repo->acc)) == 0 &&
                   !(c->s->who && c->s->who->scope)
               ? 1
               : svc_shows(c, object_of(row, model), err);
}

static int
add_event(void *arg, const struct acc_event_row *row, struct err *err)
{
    (void)err;
    cJSON *o = cJSON_CreateObject();
    json_put_int(o, "seq", row->seq);
    json_put_str(o, "outcome", row->e.outcome);
    svc_put_event(o, "verb", row);
    json_put_str(o, "hash", row->hash_hex);
    cJSON_AddItemToArray(arg, o);
    return 0;
}

int
svc_do_audit_log(struct svc_call *c, struct err *err)
{
    struct acc_log_query q = { .model = svc_str(c, "model"),
                               .verb = svc_str(c, "verb"),
                               .actor = svc_str(c, "user"),
                               .before_seq = svc_int(c, "before", 0),
                               .limit = svc_int(c, "limit", 0),
                               .shows = shows,
                               .arg = c };
    return acc_log(c->repo->acc, &q, add_event,
                   cJSON_AddArrayToObject(c->reply, "events"), err);
}

int
svc_do_audit_verify(struct svc_call *c, struct err *err)
{
    struct acc_verify v = { 0 };
    int r = acc_verify(c->repo->acc, &v, err);
    json_put_bool(c->reply, "ok", r >= 0);
    json_put_int(c->reply, "events", v.n_events);
    json_put_int(c->reply, "signed_head", v.head_seq);
    if (r < 0 && v.bad_seq) {
        json_put_int(c->reply, "bad_seq", v.bad_seq);
        json_put_str(c->reply, "reason", v.reason);
    }
    return r;
}
