/* SPDX-License-Identifier: Apache-2.0 */
/* grant, revoke, grant list, roles, explain */
#include "access/rule.h"
#include "base/clock.h"
#include "deploy/deploy.h"
#include "service/svc_int.h"

#include <stdio.h>
#include <string.h>

/* ---- giving and taking ----------------------------------------------------------- */

int
svc_take_what(const char *text, enum acc_right *right, struct buf *what,
              struct err *err)
{
    const char *verb;
    char *name AUTO(free_ptr) = xstrdup(text);
    for (char *p = name; *p; p++)
        if (*p == ' ') /* "target add", as it is typed */
            *p = '_';
    if (acc_what_parse(name, right, &verb, err) < 0)
        return -(int)err->code;
    if (*right != ACC_NONE) {
        buf_adds(what, name);
        return 0;
    }
    const struct svc_verb *found = svc_find(verb);
    enum acc_right same;
    struct err none = ERR_INIT;
    if (!found || found->needs == SVC_NONE)
        return acc_right_parse(verb, &same, err) < 0
                   ? err_ctx(err, "it is no verb that the store is asked for, either")
                   : err_set(err, ERR_INVALID, "'%s' is no verb", verb);
    /* "verb:" stands only where a right has the name, too */
    buf_addf(what, "%s%s", acc_right_parse(verb, &same, &none) == 0 ? "verb:" : "",
             verb);
    *right = found->right;
    return 0;
}

static int
take_times(struct svc_call *c, struct acc_grant *g, struct err *err)
{
    const char *from = svc_str(c, "from"), *until = svc_str(c, "until");
    const char *span = svc_str(c, "for");
    int64_t span_ns = 0;
    g->from_ns = 0;
    g->until_ns = ACC_FOREVER;
    if (until && span)
        return err_set(err, ERR_USAGE, "--until and --for say the same: one of them");
    if (from && clock_parse(from, &g->from_ns, err) < 0)
        return err_ctx(err, "--from");
    if (until && clock_parse(until, &g->until_ns, err) < 0)
        return err_ctx(err, "--until");
    if (!span)
        return 0;
    if (clock_parse_span(span, &span_ns, err) < 0)
        return err_ctx(err, "--for");
    const int64_t now_ns = clock_now_ns();
    const int64_t from_ns = g->from_ns > now_ns ? g->from_ns : now_ns;
    if (__builtin_add_overflow(from_ns, span_ns, &g->until_ns))
        return err_set(err, ERR_USAGE, "--for %s: that is beyond all times", span);
    return 0;
}

static void
put_times(cJSON *o, const struct acc_grant *g)
{
    if (g->until_ns != ACC_FOREVER)
        svc_put_time(o, "until", g->until_ns);
    else
        json_put_str(o, "until", NULL);
    svc_put_time(o, "from", g->from_ns);
}

/* In one transaction with its event; then the trees that show it. */
static int
change(struct svc_call *c, struct acc_grant *g, bool give, struct err *err)
{
    struct acc *acc = c->repo->acc;
    const bool is_role = strcmp(g->effect, "role") == 0;
    if (db_begin(c->repo->db, err) < 0)
        return -(int)err->code;
    int changed = give ? acc_grant(acc, g, err) : acc_revoke(acc, g, err);
    if (changed < 0)
        return changed;
    snprintf(c->object, sizeof c->object, "%s", g->object);
    cJSON *both[] = { c->reply, c->body };
    for (int i = 0; i < 2; i++) {
        json_put_str(both[i], "user", g->subject);
        if (is_role) {
            json_put_str(both[i], "role", g->object + strlen("role:"));
        } else {
            json_put_str(both[i], "right", g->what);
            json_put_str(both[i], "on", g->object);
            json_put_bool(both[i], "deny", strcmp(g->effect, "deny") == 0);
        }
        json_put_bool(both[i], "changed", changed);
        if (give) {
            json_put_int(both[i], "rule", g->id);
            put_times(both[i], g);
        }
    }
    if (svc_commit(c, err) < 0)
        return -(int)err->code;
    /* it holds from here; a tree that cannot be reached is told, and mended later */
    struct err failed = ERR_INIT;
    cJSON *targets = cJSON_AddArrayToObject(c->reply, "targets");
    const char *model =
        is_role || strpbrk(g->object, "*:@\\") ? "*" : g->object; /* more than one */
    if (changed && strcmp(g->object, "store") != 0 &&
        deploy_rights_apply(c->repo, model, targets, &failed) < 0)
        json_put_str(c->reply, "targets_failed", failed.msg);
    return 0;
}

static int
change_grant(struct svc_call *c, bool give, struct err *err)
{
    struct buf what AUTO(buf_release) = BUF_INIT, object AUTO(buf_release) = BUF_INIT;
    enum acc_right right;
    struct acc_grant g = { .subject = svc_str(c, "user"),
                           .effect = svc_flag(c, "deny") ? "deny" : "allow",
                           .reason = svc_str(c, "reason") };
    if (svc_take_what(svc_str(c, "right"), &right, &what, err) < 0 ||
        acc_object_parse(svc_str(c, "on"), &object, err) < 0 ||
        take_times(c, &g, err) < 0)
        return -(int)err->code;
    g.what = buf_str(&what);
    g.object = buf_str(&object);
    return change(c, &g, give, err);
}

static int
change_role(struct svc_call *c, bool give, struct err *err)
{
    const char *name = svc_str(c, "role");
    char *role AUTO(free_ptr) =
        xasprintf("%s%s", strncmp(name, "role:", 5) == 0 ? "" : "role:", name);
    struct acc_grant g = { .subject = svc_str(c, "user"),
                           .effect = "role",
                           .what = "",
                           .object = role,
                           .reason = svc_str(c, "reason") };
    if (acc_check_subject(c->repo->acc, role, err) < 0 || take_times(c, &g, err) < 0)
        return -(int)err->code;
    return change(c, &g, give, err);
}

int
svc_do_grant(struct svc_call *c, struct err *err)
{
    return change_grant(c, true, err);
}

int
svc_do_revoke(struct svc_call *c, struct err *err)
{
    return change_grant(c, false, err);
}

int
svc_do_role_give(struct svc_call *c, struct err *err)
{
    return change_role(c, true, err);
}

int
svc_do_role_take(struct svc_call *c, struct err *err)
{
    return change_role(c, false, err);
}

/* ---- lists ----------------------------------------------------------------------- */

static void
put_grant(cJSON *o, const struct acc_grant *g)
{
    const bool is_role = strcmp(g->effect, "role") == 0;
    json_put_int(o, "rule", g->id);
    json_put_str(o, "user", g->subject);
    if (is_role) {
        json_put_str(o, "role", g->object + strlen("role:"));
    } else {
        json_put_str(o, "right", g->what);
        json_put_str(o, "on", g->object);
        json_put_bool(o, "deny", strcmp(g->effect, "deny") == 0);
    }
    put_times(o, g);
    json_put_str(o, "by", g->given_by);
    svc_put_time(o, "time", g->given_ns);
    if (g->reason[0])
        json_put_str(o, "reason", g->reason);
    if (g->ended_by) {
        svc_put_time(o, "ended", g->ended_ns);
        json_put_str(o, "ended_by", g->ended_by);
    }
}

struct listing {
    struct svc_call *c;
    cJSON *list;
    bool roles;       /* or grants */
    bool all;         /* the caller manages them */
    const char *role; /* NULL: all */
};

/* Whether the caller may know of it: his own, that of a role of his, and what is on
 * something he may read. */
static int
may_know(struct listing *l, const struct acc_grant *g, struct err *err)
{
    struct acc *acc = l->c->repo->acc;
    int has = l->all || strcmp(g->subject, acc_actor(acc)) == 0;
    if (!has && acc_is_role(g->subject))
        has = acc_has_role(acc, acc_actor(acc), g->subject, err);
    if (has != 0 || l->roles)
        return has;
    return acc_may_read_text(acc, g->object, err);
}

static int
add_grant(void *arg, const struct acc_grant *g, struct err *err)
{
    struct listing *l = arg;
    if ((strcmp(g->effect, "role") == 0) != l->roles ||
        (l->role && strcmp(g->object + strlen("role:"), l->role) != 0))
        return 0;
    int known = may_know(l, g, err);
    if (known <= 0)
        return known;
    cJSON *o = cJSON_CreateObject();
    put_grant(o, g);
    cJSON_AddItemToArray(l->list, o);
    return 0;
}

static int
list_rules(struct svc_call *c, struct listing *l, const char *object, struct err *err)
{
    struct acc_grant_query q = { .subject = svc_str(c, "user"), .object = object };
    int all = acc_may(c->repo->acc, c->verb->name, ACC_ADMIN, acc_store(), err);
    if (all < 0 ||
        (svc_str(c, "at") && clock_parse(svc_str(c, "at"), &q.at_ns, err) < 0))
        return -(int)err->code;
    l->c = c;
    l->all = all;
    return acc_grants(c->repo->acc, &q, add_grant, l, err);
}

int
svc_do_grant_list(struct svc_call *c, struct err *err)
{
    struct buf object AUTO(buf_release) = BUF_INIT;
    struct listing l = { .list = cJSON_AddArrayToObject(c->reply, "grants") };
    if (svc_str(c, "on") && acc_object_parse(svc_str(c, "on"), &object, err) < 0)
        return -(int)err->code;
    return list_rules(c, &l, object.len ? buf_str(&object) : NULL, err);
}

int
svc_do_role_list(struct svc_call *c, struct err *err)
{
    struct listing l = { .list = cJSON_AddArrayToObject(c->reply, "roles"),
                         .roles = true,
                         .role = svc_str(c, "role") };
    return list_rules(c, &l, NULL, err);
}

/* ---- explain --------------------------------------------------------------------- */

static int
put_rule(struct svc_call *c, const char *key, int64_t id, struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    struct acc_grant g;
    int r = id ? acc_grant_get(c->repo->acc, id, &g, &text, err) : 0;
    if (r < 0)
        return r;
    if (r == 1)
        put_grant(cJSON_AddObjectToObject(c->reply, key), &g);
    else
        cJSON_AddNullToObject(c->reply, key);
    return 0;
}

int
svc_do_explain(struct svc_call *c, struct err *err)
{
    struct buf what AUTO(buf_release) = BUF_INIT, object AUTO(buf_release) = BUF_INIT;
    struct acc_explain x AUTO(acc_explain_release) = { .rule = 0 };
    struct acc_asked asked AUTO(acc_asked_release) = { .text = BUF_INIT };
    const char *who = svc_str(c, "user"), *verb;
    enum acc_right right, named;
    snprintf(c->object, sizeof c->object, "%.300s", svc_str(c, "on"));
    /* what others may do is for who grants it */
    if (strcmp(who, acc_actor(c->repo->acc)) != 0 &&
        svc_allow(c, ACC_ADMIN, acc_store(), err) < 0)
        return -(int)err->code;
    if (svc_take_what(svc_str(c, "right"), &right, &what, err) < 0 ||
        acc_object_parse(svc_str(c, "on"), &object, err) < 0 ||
        acc_asked_parse(buf_str(&object), &asked, err) < 0 ||
        acc_check_subject(c->repo->acc, who, err) < 0 ||
        acc_what_parse(buf_str(&what), &named, &verb, err) < 0 ||
        acc_explain(c->repo->acc, who, verb, right, asked.on, &x, err) < 0)
        return -(int)err->code;
    json_put_str(c->reply, "user", who);
    json_put_str(c->reply, "right", buf_str(&what));
    json_put_str(c->reply, "on", buf_str(&object));
    json_put_bool(c->reply, "allowed", x.allowed);
    json_put_bool(c->reply, "owner", x.is_owner);
    json_put_str(c->reply, "by_scope", x.scope_of);
    if (put_rule(c, "by_rule", x.rule, err) < 0 ||
        put_rule(c, "by_role", x.role, err) < 0)
        return -(int)err->code;
    json_put_str(c->reply, "way", x.way.len ? buf_str(&x.way) : NULL);
    return x.allowed ? 0
                     : err_set(err, ERR_FAILED, "%s may not %s %s", who, buf_str(&what),
                               buf_str(&object));
}
