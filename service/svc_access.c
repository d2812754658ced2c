/* SPDX-License-Identifier: Apache-2.0 */
/* grant, revoke, grant list, audit log, audit verify */
#include "deploy/deploy.h"
#include "service/svc_int.h"

#include <stdio.h>
#include <string.h>

static int
change_grant(struct svc_call *c,
             int (*fn)(struct acc *, const char *, enum acc_right, const char *,
                       struct err *),
             struct err *err)
{
    const char *user = svc_str(c, "user"), *on = svc_str(c, "on");
    enum acc_right right;
    if (acc_right_parse(svc_str(c, "right"), &right, err) < 0 ||
        (strcmp(on, "*") != 0 && repo_check_model_name(on, err) < 0) ||
        db_begin(c->repo->db, err) < 0)
        return -(int)err->code;
    int changed = fn(c->repo->acc, user, right, on, err);
    if (changed < 0)
        return changed;
    snprintf(c->object, sizeof c->object, "%s", on);
    cJSON *both[] = { c->reply, c->body };
    for (int i = 0; i < 2; i++) {
        json_put_str(both[i], "user", user);
        json_put_str(both[i], "right", acc_right_text(right));
        json_put_str(both[i], "on", on);
        json_put_bool(both[i], "changed", changed);
    }
    if (svc_commit(c, err) < 0)
        return -(int)err->code;
    /* it holds from here; a tree that cannot be reached is told, and mended later */
    struct err failed = ERR_INIT;
    cJSON *targets = cJSON_AddArrayToObject(c->reply, "targets");
    if (changed && deploy_rights_apply(c->repo, on, targets, &failed) < 0)
        json_put_str(c->reply, "targets_failed", failed.msg);
    return 0;
}

int
svc_do_grant(struct svc_call *c, struct err *err)
{
    return change_grant(c, acc_grant, err);
}

int
svc_do_revoke(struct svc_call *c, struct err *err)
{
    return change_grant(c, acc_revoke, err);
}

static int
add_grant(void *arg, const struct acc_grant_row *row, struct err *err)
{
    (void)err;
    cJSON *o = cJSON_CreateObject();
    json_put_str(o, "user", row->subject);
    json_put_str(o, "right", row->right);
    json_put_str(o, "on", row->model);
    json_put_str(o, "by", row->granted_by);
    svc_put_time(o, "time", row->time_ns);
    cJSON_AddItemToArray(arg, o);
    return 0;
}

int
svc_do_grant_list(struct svc_call *c, struct err *err)
{
    return acc_grants(c->repo->acc, add_grant,
                      cJSON_AddArrayToObject(c->reply, "grants"), err);
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
                               .limit = svc_int(c, "limit", 0) };
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
