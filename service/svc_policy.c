/* SPDX-License-Identifier: Apache-2.0 */
/* policy set/show/list/history/check, approve request/list/show/approve/reject/
 * withdraw/comment */
#include "base/clock.h"
#include "deploy/deploy.h"
#include "service/svc_int.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POLICY_BYTES_MAX 65536

/* ---- policies ---- */

/* "production", or "target/web" of field `target`. */
static int
policy_key(struct svc_call *c, char out[VAL_KEY_BYTES], struct err *err)
{
    const char *alias = svc_str(c, "alias"), *target = svc_str(c, "target");
    if (!alias == !target)
        return err_set(err, ERR_USAGE,
                       "policy %s needs either an alias or --target NAME",
                       c->verb->name + strlen("policy_"));
    if (repo_check_alias_name(alias ? alias : target, err) < 0)
        return -(int)err->code;
    snprintf(out, VAL_KEY_BYTES, "%s%s", alias ? "" : "target/",
             alias ? alias : target);
    snprintf(c->object, sizeof c->object, "%s@%s",
             svc_str(c, "model") ? svc_str(c, "model") : "*", out);
    return 0;
}

/* Of a file, or of --require-acceptance. */
static int
policy_text(struct svc_call *c, struct buf *out, struct err *err)
{
    const char *file = svc_str(c, "file"), *set = svc_str(c, "require_acceptance");
    if (!file == !set)
        return err_set(err, ERR_USAGE,
                       "policy set needs --file FILE, or --require_acceptance SET");
    out->cap_bytes = POLICY_BYTES_MAX;
    if (file)
        return fs_read(AT_FDCWD, file, out, err) < 0 ? err_ctx(err, "policy set") : 0;
    cJSON *doc AUTO(json_free) = cJSON_CreateObject(), *rule = cJSON_CreateObject();
    cJSON_AddItemToArray(cJSON_AddArrayToObject(doc, "require"), rule);
    json_put_str(rule, "acceptance", set);
    json_print(doc, out, true);
    return 0;
}

struct sought {
    const char *name;
    bool found;
};

static int
is_sought(void *arg, const struct deploy_target *t, struct err *err)
{
    struct sought *s = arg;
    (void)err;
    s->found |= strcmp(t->name, s->name) == 0;
    return 0;
}

/* A policy of a target that is none would guard nothing. */
static int
check_target(struct svc_call *c, struct err *err)
{
    struct sought s = { .name = svc_str(c, "target") };
    if (s.name && deploy_targets(c->repo, NULL, is_sought, &s, err) < 0)
        return -(int)err->code;
    return !s.name || s.found ? 0
                              : err_set(err, ERR_NOTFOUND,
                                        "there is no target %s: sluice target list "
                                        "shows all",
                                        s.name);
}

/* An address is asked by the machine that has the store, and whoever may read sees what
 * it answers: where that may be is for who administers the store. */
static int
check_addresses(struct svc_call *c, const cJSON *policy, struct err *err)
{
    const cJSON *rule;
    cJSON_ArrayForEach(rule, cJSON_GetObjectItemCaseSensitive(policy, "require"))
    {
        if (json_has(rule, "http") &&
            acc_check(c->repo->acc, ACC_ADMIN, acc_store(), err) < 0)
            return err_ctx(err, "policy set: gate \"http\" names an address that the "
                                "store's machine asks, which is for administrators");
    }
    return 0;
}

int
svc_do_policy_set(struct svc_call *c, struct err *err)
{
    char key[VAL_KEY_BYTES];
    const char *model = svc_str(c, "model");
    struct buf text AUTO(buf_release) = BUF_INIT;
    cJSON *policy = NULL;
    struct digest bytes;
    if (policy_key(c, key, err) < 0 || check_target(c, err) < 0 ||
        policy_text(c, &text, err) < 0)
        return -(int)err->code;
    sha256_of(buf_str(&text), text.len, &bytes);
    int e = svc_key_find(c, &bytes, 1, err);
    if (e != 0)
        return e < 0 ? e : 0;
    if (json_parse(&policy, (struct str){ buf_str(&text), text.len },
                   svc_str(c, "file") ? svc_str(c, "file") : "policy", err) < 0)
        return -(int)err->code;
    if (check_addresses(c, policy, err) < 0) {
        cJSON_Delete(policy);
        return -(int)err->code;
    }
    json_put_str(c->reply, "alias", key);
    json_put_str(c->reply, "model", model);
    cJSON_AddItemToObject(c->body, "policy", cJSON_Duplicate(policy, true));
    cJSON_AddItemToObject(c->reply, "policy", policy);
    if (db_begin(c->repo->db, err) < 0 ||
        val_policy_set(c->repo, key, model, buf_str(&text), err) < 0) {
        svc_no_reply(c);
        return -(int)err->code;
    }
    return svc_commit(c, err);
}

int
svc_do_policy_show(struct svc_call *c, struct err *err)
{
    char key[VAL_KEY_BYTES];
    const char *model = svc_str(c, "model");
    struct buf text AUTO(buf_release) = BUF_INIT;
    if (policy_key(c, key, err) < 0)
        return -(int)err->code;
    int found = val_policy_get(c->repo, key, model ? model : "", &text, err);
    if (found < 0)
        return found;
    json_put_str(c->reply, "alias", key);
    json_put_str(c->reply, "model", model);
    cJSON *policy = found ? cJSON_Parse(buf_str(&text)) : cJSON_CreateNull();
    cJSON_AddItemToObject(c->reply, "policy", policy);
    return 0;
}

struct list {
    struct svc_call *c;
    cJSON *out;
};

static int
add_row(void *arg, const struct val_policy_row *row, struct err *err)
{
    struct list *l = arg;
    const bool of_target = strncmp(row->key, "target/", 7) == 0;
    char *name AUTO(free_ptr) =
        xasprintf("%s%s", of_target ? "target:" : "", row->key + (of_target ? 7 : 0));
    int may = svc_shows(
        l->c,
        (struct acc_object){ ACC_POLICY, row->model[0] ? row->model : NULL, name },
        err);
    if (may <= 0)
        return may;
    cJSON *o = cJSON_CreateObject();
    json_put_int(o, "id", row->id);
    json_put_str(o, "alias", row->key);
    json_put_str(o, "model", row->model);
    json_put_str(o, "by", row->set_by);
    svc_put_time(o, "set", row->created_ns);
    cJSON_AddItemToObject(o, "policy", cJSON_Parse(row->rules));
    cJSON_AddItemToArray(l->out, o);
    return 0;
}

int
svc_do_policy_list(struct svc_call *c, struct err *err)
{
    struct list l = { c, cJSON_AddArrayToObject(c->reply, "policies") };
    return val_policies(c->repo, NULL, add_row, &l, err);
}

int
svc_do_policy_history(struct svc_call *c, struct err *err)
{
    char key[VAL_KEY_BYTES];
    if (policy_key(c, key, err) < 0)
        return -(int)err->code;
    struct list l = { c, cJSON_AddArrayToObject(c->reply, "policies") };
    return val_policies(c->repo, key, add_row, &l, err);
}

/* TFX's Pusher looks for an empty file of one of these names. */
static int
bless(const char *dir, bool yes, struct err *err)
{
    int dirfd AUTO(fs_close) = -1;
    if (fs_mkdirs(AT_FDCWD, dir, 0777, err) < 0 ||
        fs_open_dir(&dirfd, AT_FDCWD, dir, err) < 0)
        return err_ctx(err, "--bless");
    int fd AUTO(fs_close) = -1;
    if (unlinkat(dirfd, yes ? "NOT_BLESSED" : "BLESSED", 0) < 0 && errno != ENOENT)
        return err_sys(err, errno, "unlink in %s", dir);
    fd = openat(dirfd, yes ? "BLESSED" : "NOT_BLESSED",
                O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_sys(err, errno, "write %s/%sBLESSED", dir, yes ? "" : "NOT_");
    return 0;
}

int
svc_do_policy_check(struct svc_call *c, struct err *err)
{
    struct repo_version v;
    struct deploy_question q AUTO(deploy_question_release) = { .targets = NULL };
    cJSON *gates = NULL;
    const char *alias = svc_str(c, "for");
    if (repo_check_alias_name(alias, err) < 0 || svc_version(c, &v, err) < 0 ||
        deploy_question(c->repo, &v, alias, &q, err) < 0)
        return -(int)err->code;
    int e = val_gate(c->repo, &q.args, &gates, err);
    json_put_str(c->reply, "version", c->object);
    json_put_str(c->reply, "alias", alias);
    json_put_bool(c->reply, "ok", e == 0);
    cJSON_AddItemToObject(c->reply, "gates", gates);
    if (svc_str(c, "bless") && (e == 0 || err->code == ERR_REFUSED)) {
        struct err second = ERR_INIT;
        if (bless(svc_str(c, "bless"), e == 0, &second) < 0) {
            *err = second;
            return -(int)err->code;
        }
    }
    return e;
}

/* ---- approvals ---- */

struct asked {
    struct repo_version v;
    struct deploy_question q;
    struct val_approval a;
};

static void
asked_release(struct asked *x)
{
    deploy_question_release(&x->q);
    val_approval_release(&x->a);
}

/* The version and alias of a call; `must`: that have a request. */
static int
asked_open(struct svc_call *c, bool must, struct asked *x, struct err *err)
{
    const char *alias = svc_str(c, "for");
    if (repo_check_alias_name(alias, err) < 0 || svc_version(c, &x->v, err) < 0 ||
        deploy_question(c->repo, &x->v, alias, &x->q, err) < 0)
        return -(int)err->code;
    json_put_str(c->body, "alias", alias);
    int e = must ? val_approval_newest(c->repo, x->v.id, alias, &x->a, err) : 1;
    if (e == 0)
        return err_set(err, ERR_NOTFOUND,
                       "nobody asked for an approval of %s for %s: sluice approve "
                       "request %s --for %s",
                       c->object, alias, c->object, alias);
    return e < 0 ? e : 0;
}

/* The request as it stands is the reply. */
static int
put_request(struct svc_call *c, struct asked *x, struct err *err)
{
    struct val_approval now AUTO(val_approval_release) = { .id = 0 };
    cJSON *o AUTO(json_free) = NULL;
    int e = val_approval_newest(c->repo, x->v.id, x->q.args.alias, &now, err);
    if (e == 1)
        e = val_approval_json(c->repo, &now, &x->q.args, &o, err);
    if (e < 0)
        return e;
    json_put_int(c->body, "request", now.id);
    svc_move_members(o, c->reply);
    return 0;
}

int
svc_ask_approval(struct svc_call *c, const char *alias, bool when_approved, bool waits,
                 struct err *err)
{
    struct asked x AUTO(asked_release) = { .a = { .id = 0 } };
    if (repo_resolve(c->repo, svc_str(c, "ref"), &x.v, err) < 0 ||
        deploy_question(c->repo, &x.v, alias, &x.q, err) < 0 ||
        db_begin(c->repo->db, err) < 0)
        return -(int)err->code;
    int kept = waits ? val_approval_keep(c->repo, &x.q.args, &x.a, err) : 0;
    if (kept < 0 ||
        (kept == 0 && val_approval_add(c->repo, &x.q.args, when_approved,
                                       svc_str(c, "reason"), &x.a, err) < 0))
        return -(int)err->code;
    return put_request(c, &x, err) < 0 ? -(int)err->code : svc_commit(c, err);
}

int
svc_do_approve_request(struct svc_call *c, struct err *err)
{
    struct repo_version v;
    const char *alias = svc_str(c, "for");
    if (repo_check_alias_name(alias, err) < 0 || svc_version(c, &v, err) < 0)
        return -(int)err->code;
    json_put_str(c->body, "alias", alias);
    return svc_ask_approval(c, alias, false, false, err);
}

static int
say(struct svc_call *c, const char *what, struct asked *x, struct err *err)
{
    const char *text = svc_str(c, "text") ? svc_str(c, "text") : svc_str(c, "reason");
    if (asked_open(c, true, x, err) < 0 || db_begin(c->repo->db, err) < 0)
        return -(int)err->code;
    int e = val_approval_say(c->repo, &x->a, &x->q.args, what, text, err);
    if (e == 0)
        e = put_request(c, x, err);
    return e < 0 ? e : svc_commit(c, err);
}

/* The last approval landed: the store does what was asked for. */
static int
carry_out(struct svc_call *c, struct asked *x, struct err *err)
{
    cJSON *gates = NULL, *report = NULL;
    char *reason AUTO(free_ptr) =
        xasprintf("approved: request %" PRId64 " of %s", x->a.id, x->a.asked_by);
    int e = acc_holds(c->repo->acc, x->a.asked_by, ACC_PROMOTE,
                      acc_alias(x->v.model, x->q.args.alias), err);
    if (e < 0)
        return e;
    if (e == 0)
        return err_set(
            err, ERR_DENIED,
            "approved, but not promoted: %s, who asked for it, may no longer "
            "promote %s",
            x->a.asked_by, x->v.model);
    e = val_gate(c->repo, &x->q.args, &gates, err);
    cJSON_Delete(gates);
    if (e < 0 && err->code == ERR_REFUSED) { /* others have still to say yes */
        err_clear(err);
        return 0;
    }
    struct deploy_change d = { .verb = DEPLOY_PROMOTE,
                               .model = x->v.model,
                               .alias = x->q.args.alias,
                               .version = &x->v,
                               .reason = reason };
    if (e == 0)
        e = deploy_change(c->repo, &d, &report, err);
    if (report)
        cJSON_AddItemToObject(c->reply, "promoted", report);
    if (e < 0) {
        c->recorded = false;
        return err_ctx(err, "approved, but not promoted");
    }
    return 0;
}

int
svc_do_approve_approve(struct svc_call *c, struct err *err)
{
    struct asked x AUTO(asked_release) = { .a = { .id = 0 } };
    int e = say(c, "approve", &x, err);
    return e < 0 || !x.a.when_approved ? e : carry_out(c, &x, err);
}

int
svc_do_approve_reject(struct svc_call *c, struct err *err)
{
    struct asked x AUTO(asked_release) = { .a = { .id = 0 } };
    return say(c, "reject", &x, err);
}

int
svc_do_approve_comment(struct svc_call *c, struct err *err)
{
    struct asked x AUTO(asked_release) = { .a = { .id = 0 } };
    return say(c, "comment", &x, err);
}

int
svc_do_approve_withdraw(struct svc_call *c, struct err *err)
{
    struct asked x AUTO(asked_release) = { .a = { .id = 0 } };
    if (asked_open(c, true, &x, err) < 0)
        return -(int)err->code;
    if (strcmp(x.a.asked_by, acc_actor(c->repo->acc)) != 0 &&
        !acc_is_owner(c->repo->acc))
        return err_set(err, ERR_DENIED, "request %" PRId64 " is %s's to withdraw",
                       x.a.id, x.a.asked_by);
    if (strcmp(x.a.state, "open") != 0)
        return err_set(err, ERR_CONFLICT, "request %" PRId64 " is %s", x.a.id,
                       x.a.state);
    int e = db_begin(c->repo->db, err);
    if (e == 0)
        e = val_approval_end(c->repo, x.a.id, "withdrawn", err);
    if (e == 0)
        e = put_request(c, &x, err);
    return e < 0 ? e : svc_commit(c, err);
}

int
svc_do_approve_show(struct svc_call *c, struct err *err)
{
    struct asked x AUTO(asked_release) = { .a = { .id = 0 } };
    if (asked_open(c, true, &x, err) < 0)
        return -(int)err->code;
    return put_request(c, &x, err);
}

static int
add_request(void *arg, const struct val_approval *a, struct err *err)
{
    struct list *l = arg;
    struct repo_version v;
    struct deploy_question q AUTO(deploy_question_release) = { .targets = NULL };
    cJSON *o = NULL;
    int may = svc_shows(l->c, acc_alias(a->model, a->alias), err);
    if (may <= 0)
        return may;
    if (repo_version_get(l->c->repo, a->version_id, &v, err) < 0 ||
        deploy_question(l->c->repo, &v, a->alias, &q, err) < 0)
        return -(int)err->code;
    int e = val_approval_json(l->c->repo, a, &q.args, &o, err);
    cJSON_AddItemToArray(l->out, o);
    return e;
}

int
svc_do_approve_list(struct svc_call *c, struct err *err)
{
    struct list l = { c, cJSON_AddArrayToObject(c->reply, "requests") };
    return val_approvals(c->repo, svc_str(c, "model"), add_request, &l, err);
}
