/* SPDX-License-Identifier: Apache-2.0 */
/* Every verb of the table, asked by somebody who has nothing, by somebody who has just
 * the right that it asks for on just the thing it is about, and by somebody who has all
 * but that. What comes of a call that is let in is no matter here: most are about a
 * version that there is not. */
#include "access/acc_int.h"
#include "service/svc_int.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What answers by itself who may: not asked of the gate before the verb is known to
 * need it, or asked of no object. */
enum {
    OWN = 1,  /* everybody may ask about himself */
    LIST = 2, /* lists: any grant lets in, and what it shows is checked elsewhere */
    FREE = 4  /* without a store */
};
static const struct {
    const char *verb, *request; /* ~ is the scratch directory */
    const char *right, *object; /* NULL: the verb's own right */
    unsigned flags;
} rows[] = {
    { "doctor", "{}", NULL, NULL, FREE },
    { "push", "{'dir':'~/none','model':'fraud'}", NULL, "fraud", 0 },
    { "pull", "{'ref':'fraud@99'}", NULL, "fraud", 0 },
    { "list", "{'model':'fraud'}", NULL, "fraud", 0 },
    { "list", "{}", NULL, "fraud", LIST },
    { "log", "{'model':'fraud'}", NULL, "fraud", 0 },
    { "inspect", "{'ref':'fraud@99'}", NULL, "fraud", 0 },
    { "resolve", "{'ref':'fraud@live'}", NULL, "fraud@live", 0 },
    { "cat", "{'ref':'fraud@99'}", NULL, "fraud", 0 },
    { "delete", "{'ref':'fraud@99'}", NULL, "fraud", 0 },
    { "delete", "{'ref':'fraud@live'}", NULL, "fraud", 0 },
    { "undelete", "{'ref':'fraud@99'}", NULL, "fraud", 0 },
    { "hold", "{'ref':'fraud@99','reason':'x'}", NULL, "fraud", 0 },
    { "unhold", "{'ref':'fraud@99'}", NULL, "fraud", 0 },
    { "gc", "{'dry_run':true}", NULL, "store", 0 },
    { "retention_set", "{'model':'fraud','keep_last':3}", NULL, "fraud", 0 },
    { "retention_set", "{'model':'*','keep_last':3}", NULL, "store", 0 },
    { "retention_show", "{'model':'fraud'}", NULL, "fraud", 0 },
    { "retention_clear", "{'model':'fraud'}", NULL, "fraud", 0 },
    { "quota_set", "{'min_free':'1'}", NULL, "store", 0 },
    { "quota_show", "{'model':'fraud'}", NULL, "fraud", 0 },
    { "quota_show", "{}", NULL, "fraud", LIST },
    { "tag", "{'ref':'fraud@99','tags':['a']}", NULL, "fraud", 0 },
    { "untag", "{'ref':'fraud@99','keys':['a']}", NULL, "fraud", 0 },
    { "note", "{'ref':'fraud@99','text':'a'}", NULL, "fraud", 0 },
    { "attach", "{'ref':'fraud@99','type':'card','file':'~/none'}", NULL, "fraud", 0 },
    { "detach", "{'ref':'fraud@99','type':'card'}", NULL, "fraud", 0 },
    { "attachments", "{'ref':'fraud@99'}", NULL, "fraud", 0 },
    { "accept", "{'ref':'fraud@99'}", NULL, "fraud", 0 },
    { "reject", "{'ref':'fraud@99','reason':'x'}", NULL, "fraud", 0 },
    { "config_list", "{}", NULL, "store", 0 },
    { "config_get", "{'key':'quarantine'}", NULL, "store", 0 },
    { "config_set", "{'key':'quarantine','value':'off'}", NULL, "store", 0 },
    { "fsck", "{}", NULL, "store", 0 },
    { "backup", "{'dest':'~/backup'}", NULL, "store", 0 },
    { "export", "{'args':['fraud@99','~/out.tar']}", "read", "fraud", 0 },
    { "import", "{'bundle':'~/none.tar','as':'fraud'}", "push", "fraud", 0 },
    { "cold", "{'ref':'fraud@99'}", NULL, "fraud", 0 },
    { "cold", "{'all':true}", NULL, "store", 0 },
    { "warm", "{'ref':'fraud@99'}", NULL, "fraud", 0 },
    { "show", "{'ref':'fraud@99'}", NULL, "fraud", 0 },
    { "show", "{'ref':'fraud@live'}", NULL, "fraud@live", 0 },
    { "run", "{'ref':'fraud@99'}", NULL, "fraud", 0 },
    { "fingerprint", "{'ref':'fraud@99'}", NULL, "fraud", 0 },
    { "scan", "{'ref':'fraud@99'}", NULL, "fraud", 0 },
    { "lint", "{'ref':'fraud@99'}", NULL, "fraud", 0 },
    { "tensors", "{'ref':'fraud@99'}", NULL, "fraud", 0 },
    { "diff", "{'a':'fraud@99','b':'~/none'}", "read", "fraud", 0 },
    { "diff", "{'a':'~/none','b':'fraud@99'}", "read", "fraud", OWN },
    { "checkpoint_compare", "{'a':'fraud@99','b':'~/none'}", "read", "fraud", 0 },
    { "golden_add", "{'model':'fraud','dir':'~/none','name':'exam'}", NULL,
      "golden:fraud/exam", 0 },
    { "golden_list", "{'model':'fraud'}", NULL, "fraud", 0 },
    { "golden_show", "{'model':'fraud','set':'exam@2'}", NULL, "golden:fraud/exam", 0 },
    { "golden_export", "{'model':'fraud','set':'exam','dest':'~/set'}", NULL,
      "golden:fraud/exam", 0 },
    { "golden_delete", "{'model':'fraud','set':'exam'}", NULL, "golden:fraud/exam", 0 },
    { "golden_record", "{'ref':'fraud@99','inputs':['~/none']}", NULL,
      "golden:fraud/recorded", 0 },
    { "golden_probe", "{'ref':'fraud@99'}", NULL, "golden:fraud/probe", 0 },
    { "validate", "{'ref':'fraud@99'}", NULL, "fraud", 0 },
    { "verdict_show", "{'verdict':'fraud@99'}", "read", "fraud", 0 },
    { "verdict_export", "{'verdict':'fraud@99'}", "read", "fraud", 0 },
    { "replay", "{'verdict':'fraud@99'}", "read", "fraud", 0 },
    { "policy_set", "{'alias':'live','require_acceptance':'*'}", NULL, "policy:live",
      0 },
    { "policy_set", "{'alias':'live','model':'fraud','require_acceptance':'*'}", NULL,
      "fraud", 0 },
    { "policy_show", "{'target':'web'}", NULL, "policy:target:web", 0 },
    { "policy_list", "{}", NULL, "policy:live", LIST },
    { "policy_history", "{'alias':'live'}", NULL, "policy:live", 0 },
    { "policy_check", "{'ref':'fraud@99','for':'live'}", NULL, "fraud", 0 },
    { "approve_request", "{'ref':'fraud@99','for':'live'}", NULL, "fraud@live", 0 },
    { "approve_list", "{}", NULL, "fraud@live", LIST },
    { "approve_show", "{'ref':'fraud@99','for':'live'}", NULL, "fraud@live", 0 },
    { "approve_approve", "{'ref':'fraud@99','for':'live'}", NULL, "fraud@live", 0 },
    { "approve_reject", "{'ref':'fraud@99','for':'live','reason':'x'}", NULL,
      "fraud@live", 0 },
    { "approve_withdraw", "{'ref':'fraud@99','for':'live'}", NULL, "fraud@live", 0 },
    { "approve_comment", "{'ref':'fraud@99','for':'live','text':'x'}", NULL,
      "fraud@live", 0 },
    { "target_set", "{'name':'web','group':''}", NULL, "target:web", 0 },
    { "target_remove", "{'name':'web'}", NULL, "target:web", 0 },
    { "target_adopt", "{'dir':'~/none','name':'web'}", NULL, "target:web", 0 },
    { "target_adopt", "{'dir':'~/none'}", NULL, "store", 0 },
    { "target_check", "{'name':'web'}", NULL, "target:web", 0 },
    { "target_check", "{}", NULL, "store", 0 },
    { "target_step", "{'name':'web'}", NULL, "target:web", 0 },
    { "target_render", "{'name':'web','as':'nginx'}", NULL, "target:web", 0 },
    { "target_list", "{}", NULL, "target:web", LIST },
    { "target_add", "{'name':'web','dir':'~/web','alias':'live'}", NULL, "target:web",
      0 },
    { "exec", "{'ref':'fraud@99','command':['true']}", NULL, "fraud", 0 },
    { "agent", "{'from':'~/none','once':true}", NULL, "store", 0 },
    { "host_want", "{'host':'guest','alias':'live'}", NULL, "fraud", LIST },
    { "host_report", "{'host':'guest','ref':'fraud@live','release':1,'state':'failed'}",
      NULL, "fraud@live", 0 },
    { "host_list", "{}", NULL, "fraud", LIST },
    { "host_rollout", "{'alias':'live'}", NULL, "*@live", 0 },
    { "host_rollout", "{'alias':'live','at_once':1}", "promote", "*@live", 0 },
    { "host_retry", "{'host':'h'}", NULL, "store", 0 },
    { "host_forget", "{'host':'h'}", NULL, "store", 0 },
    { "promote", "{'ref':'fraud@99','to':'live'}", NULL, "fraud@live", 0 },
    { "weights", "{'ref':'fraud@live','parts':['99=1']}", NULL, "fraud@live", 0 },
    { "canary", "{'ref':'fraud@live','source':'log:/dev/null','on_breach':'report'}",
      NULL, "fraud@live", 0 },
    { "ramp", "{'ref':'fraud@live'}", NULL, "fraud@live", 0 },
    { "ramp", "{}", NULL, "fraud@live", LIST },
    { "rollback", "{'ref':'fraud@live'}", NULL, "fraud@live", 0 },
    { "drill", "{'ref':'fraud@live','yes':true}", NULL, "fraud@live", 0 },
    { "freeze", "{'ref':'fraud@live','reason':'x'}", NULL, "fraud@live", 0 },
    { "unfreeze", "{'ref':'fraud@live'}", NULL, "fraud@live", 0 },
    { "status", "{'model':'fraud'}", NULL, "fraud", 0 },
    { "status", "{}", NULL, "fraud@live", LIST },
    { "releases", "{'ref':'fraud@live'}", NULL, "fraud@live", 0 },
    { "route", "{'ref':'fraud@live','unit':'C1'}", NULL, "fraud@live", 0 },
    { "grant", "{'user':'uid:9','right':'read','on':'fraud'}", NULL, "store", 0 },
    { "revoke", "{'user':'uid:9','right':'read','on':'fraud'}", NULL, "store", 0 },
    { "grant_list", "{}", NULL, "fraud", LIST },
    { "role_give", "{'user':'uid:9','role':'r'}", NULL, "store", 0 },
    { "role_take", "{'user':'uid:9','role':'r'}", NULL, "store", 0 },
    { "role_list", "{}", NULL, "fraud", LIST },
    { "explain", "{'user':'uid:9','right':'read','on':'fraud'}", "admin", "store", 0 },
    { "explain", "{'user':'guest','right':'read','on':'fraud'}", NULL, NULL, FREE },
    { "user_add", "{'name':'ci'}", NULL, "store", 0 },
    { "user_list", "{}", NULL, "store", 0 },
    { "user_disable", "{'name':'ci'}", NULL, "store", 0 },
    { "user_enable", "{'name':'ci'}", NULL, "store", 0 },
    { "user_cert", "{'name':'ci'}", NULL, "store", 0 },
    { "token_create", "{'subject':'ci'}", "admin", "store", 0 },
    { "token_list", "{'subject':'ci'}", "admin", "store", 0 },
    { "token_revoke", "{'id':'7fQx2k9A'}", "admin", "store", OWN },
    { "token_rotate", "{'id':'7fQx2k9A'}", "admin", "store", OWN },
    { "issuer_add",
      "{'name':'x','url':'https://x','audience':'a','match':['a=b'],'subject':'ci'}",
      NULL, "store", 0 },
    { "issuer_list", "{}", NULL, "store", 0 },
    { "issuer_remove", "{'name':'x'}", NULL, "store", 0 },
    { "hook_list", "{}", NULL, "hook:pre-promote", LIST },
    { "hook_show", "{'name':'pre-promote'}", NULL, "hook:pre-promote", 0 },
    { "hook_set", "{'name':'pre-promote','file':'~/none'}", NULL, "hook:pre-promote",
      0 },
    { "hook_remove", "{'name':'gate-x'}", NULL, "hook:gate-x", 0 },
    { "key_list", "{}", NULL, "key:store", LIST },
    { "key_show", "{'name':'store'}", NULL, "key:store", 0 },
    { "key_rotate", "{'name':'store'}", NULL, "key:store", 0 },
    { "audit_log", "{'model':'fraud'}", NULL, "fraud", 0 },
    { "audit_log", "{}", NULL, "fraud", LIST },
    { "audit_verify", "{}", NULL, "store", 0 },
    { "serve", "{'stdio':true}", NULL, "store", 0 },
};
enum { N_ROWS = sizeof(rows) / sizeof(rows[0]) };

/* ---- a store and its guest ------------------------------------------------------- */

static const struct acc_who guest = { .subject = "guest", .via = "test" };

static cJSON *
request(const char *text, const char *model)
{
    struct buf b AUTO(buf_release) = BUF_INIT;
    cJSON *out;

    for (const char *p = text; *p; p++)
        if (*p == '~')
            buf_adds(&b, unit_dir());
        else if (strncmp(p, "fraud", 5) == 0) {
            buf_adds(&b, model);
            p += 4;
        } else
            buf_addc(&b, *p == '\'' ? '"' : *p);
    out = cJSON_Parse(buf_str(&b));
    CHECK(out != NULL);
    return out;
}

static void
store_new(struct svc **out)
{
    struct err err = ERR_INIT;
    char *path AUTO(free_ptr) = xasprintf("%s/store", unit_dir());
    char *push AUTO(free_ptr) =
        xasprintf("{'dir':'%s','model':'fraud'}", unit_data("../../demo/digits/v1"));
    const char *const calls[][2] = { { "init", "{}" },
                                     { "push", push },
                                     { "user_add", "{'name':'guest'}" } };

    CHECK_OK(svc_open(out, path, &err));
    for (int i = 0; i < 3; i++) {
        cJSON *q AUTO(json_free) = request(calls[i][1], "fraud"), *reply = NULL;

        CHECK_OK(svc_call(*out, calls[i][0], q, &reply, &err));
        cJSON_Delete(reply);
    }
}

/* As the owner: the guest's only rules. */
static void
give_only(struct svc *s, const struct acc_grant *all, int n)
{
    struct err err = ERR_INIT;
    struct acc *acc = s->repo->acc;

    CHECK_OK(svc_act_as(s, NULL, &err));
    CHECK_OK(db_begin(s->repo->db, &err));
    acc_rules_forget(acc);
    CHECK_OK(db_run(s->repo->db, &err, "DELETE FROM rule", ""));
    for (int i = 0; i < n; i++) {
        struct acc_grant g = all[i];

        g.subject = guest.subject;
        g.until_ns = ACC_FOREVER;
        CHECK_INT(acc_grant(acc, &g, &err), 1);
    }
    CHECK_OK(db_commit(s->repo->db, &err));
    CHECK_OK(svc_act_as(s, &guest, &err));
}

static int
ask(struct svc *s, int row, const char *model, struct err *err)
{
    cJSON *q AUTO(json_free) = request(rows[row].request, model), *reply = NULL;
    int r;

    err_clear(err);
    r = svc_call(s, rows[row].verb, q, &reply, err);
    cJSON_Delete(reply);
    return r;
}

static const char *
right_of(int row)
{
    return rows[row].right ? rows[row].right
                           : acc_right_text(svc_find(rows[row].verb)->right);
}

/* ---- the walk -------------------------------------------------------------------- */

TEST(test_svc_access__each_verb_has_a_row)
{
    for (int i = 0; i < svc_n_verbs(); i++) {
        const struct svc_verb *v = svc_verb_at(i);
        bool found = v->needs == SVC_NONE;

        for (int k = 0; k < N_ROWS && !found; k++)
            found = strcmp(rows[k].verb, v->name) == 0;
        if (!found)
            unit_fail(__FILE__, __LINE__,
                      "verb %s: who may what with it? It needs a row here", v->name);
    }
}

/* And hears the same of what there is and of what there is not. */
TEST(test_svc_access__a_stranger_gets_nowhere)
{
    struct svc *s AUTO(svc_close_p) = NULL;

    store_new(&s);
    give_only(s, NULL, 0);
    for (int i = 0; i < N_ROWS; i++) {
        struct err here = ERR_INIT, there = ERR_INIT;

        if (rows[i].flags & (FREE | OWN))
            continue;
        if (ask(s, i, "fraud", &here) != -ERR_DENIED)
            unit_fail(__FILE__, __LINE__, "%s %s: %s", rows[i].verb, rows[i].request,
                      here.msg);
        CHECK(strstr(here.msg, "guest may not"));
        (void)!ask(s, i, "ghost", &there);
        for (char *p = strstr(here.msg, "fraud"); p; p = strstr(p, "fraud"))
            memcpy(p, "ghost", 5);
        CHECK_STR(here.msg, there.msg);
    }
}

/* A digest is no way round either. */
TEST(test_svc_access__a_digest_tells_nothing)
{
    struct svc *s AUTO(svc_close_p) = NULL;
    struct err err = ERR_INIT, here = ERR_INIT, there = ERR_INIT;
    struct repo_version v;
    char digest[REPO_DIGEST_BYTES];
    const struct acc_grant other = { .effect = "allow", .what = "read", .object = "x" };

    store_new(&s);
    CHECK_OK(repo_resolve(s->repo, "fraud@1", &v, &err));
    repo_digest_text(&v.digest, digest);
    give_only(s, &other, 1);
    for (int i = 0; i < 2; i++) {
        cJSON *q AUTO(json_free) = cJSON_CreateObject(), *reply = NULL;

        digest[12] = (char)(i == 0 ? digest[12] : digest[12] == '0' ? '1' : '0');
        json_put_str(q, "ref", digest);
        CHECK_INT(svc_call(s, "inspect", q, &reply, i == 0 ? &here : &there),
                  -ERR_NOTFOUND);
        cJSON_Delete(reply);
    }
    CHECK(!strstr(here.msg, "fraud"));
    CHECK(strncmp(here.msg, there.msg, 20) == 0);
}

TEST(test_svc_access__just_the_right_lets_in)
{
    struct svc *s AUTO(svc_close_p) = NULL;

    store_new(&s);
    for (int i = 0; i < N_ROWS; i++) {
        struct err err = ERR_INIT;
        const struct acc_grant just = { .effect = "allow",
                                        .what = right_of(i),
                                        .object = rows[i].object };

        if (rows[i].flags & FREE)
            continue;
        if (rows[i].right && strcmp(rows[i].verb, "host_rollout") == 0)
            continue; /* a right of the verb, and this one for what it changes */
        give_only(s, &just, 1);
        if (ask(s, i, "fraud", &err) == -ERR_DENIED && !strstr(err.msg, "root"))
            unit_fail(__FILE__, __LINE__, "%s %s with %s on %s: %s", rows[i].verb,
                      rows[i].request, just.what, just.object, err.msg);
    }
}

TEST(test_svc_access__the_same_right_elsewhere_does_not)
{
    static const char *const elsewhere[] = {
        "frau",           "fraudd",       "other-*",
        "fraud@other",    "*@liv",        "golden:fraud/ex",
        "golden:other/*", "policy:other", "policy:target:x",
        "target:we",      "hook:pre",     "hook:gate-y",
        "key:stor",       "host:*",
    };
    enum { N = sizeof(elsewhere) / sizeof(elsewhere[0]) };
    struct svc *s AUTO(svc_close_p) = NULL;

    store_new(&s);
    for (int i = 0; i < N_ROWS; i++) {
        struct acc_grant all[N + 1];
        struct err err = ERR_INIT;
        int n = 0;

        if (rows[i].flags & (FREE | OWN | LIST))
            continue;
        for (; n < N; n++)
            all[n] = (struct acc_grant){ .effect = "allow",
                                         .what = right_of(i),
                                         .object = elsewhere[n] };
        if (strcmp(rows[i].object, "store") != 0)
            all[n++] = (struct acc_grant){ .effect = "allow",
                                           .what = right_of(i),
                                           .object = "store" };
        give_only(s, all, n);
        if (ask(s, i, "fraud", &err) != -ERR_DENIED)
            unit_fail(__FILE__, __LINE__, "%s %s with %s everywhere else: %s",
                      rows[i].verb, rows[i].request, right_of(i), err.msg);
    }
}

TEST(test_svc_access__a_verb_that_is_denied_is)
{
    struct svc *s AUTO(svc_close_p) = NULL;

    store_new(&s);
    for (int i = 0; i < N_ROWS; i++) {
        struct err err = ERR_INIT;
        enum acc_right same;
        struct err none = ERR_INIT;
        char *what AUTO(free_ptr) = xasprintf(
            "%s%s", acc_right_parse(rows[i].verb, &same, &none) == 0 ? "verb:" : "",
            rows[i].verb);
        const struct acc_grant both[] = {
            { .effect = "allow", .what = right_of(i), .object = "*" },
            { .effect = "deny", .what = what, .object = rows[i].object },
        };

        if (rows[i].flags & (FREE | OWN | LIST) || rows[i].right)
            continue;
        give_only(s, both, 2);
        if (ask(s, i, "fraud", &err) != -ERR_DENIED || !strstr(err.msg, "denies"))
            unit_fail(__FILE__, __LINE__, "%s %s, denied on %s: %s", rows[i].verb,
                      rows[i].request, rows[i].object, err.msg);
    }
}

/* A list shows what one grant lets read, and no more. */
TEST(test_svc_access__lists_show_what_may_be_read)
{
    struct svc *s AUTO(svc_close_p) = NULL;
    const struct acc_grant other = { .effect = "allow", .what = "read", .object = "x" };

    store_new(&s);
    give_only(s, &other, 1);
    for (int i = 0; i < N_ROWS; i++) {
        cJSON *q AUTO(json_free) = NULL, *reply AUTO(json_free) = NULL;
        struct buf text AUTO(buf_release) = BUF_INIT;
        struct err err = ERR_INIT;

        if (!(rows[i].flags & LIST) || strcmp(rows[i].verb, "ramp") == 0)
            continue;
        q = request(rows[i].request, "fraud");
        CHECK_OK(svc_call(s, rows[i].verb, q, &reply, &err));
        json_print(reply, &text, true);
        if (strstr(buf_str(&text), "fraud"))
            unit_fail(__FILE__, __LINE__, "%s shows %s", rows[i].verb, buf_str(&text));
    }
}

/* A token's scope bounds what its subject may, the owner too. */
TEST(test_svc_access__a_scope_bounds)
{
    struct svc *s AUTO(svc_close_p) = NULL;
    struct err err = ERR_INIT;
    cJSON *q AUTO(json_free) = request("{'model':'fraud'}", "fraud"), *reply = NULL;
    const char *broken[] = { "",           "{}",
                             "[1]",        "[{\"verb\":\"push\"}]",
                             "[\"push\"]", "[{\"verb\":\"push\",\"object\":\"a/b\"}]" };

    store_new(&s);
    char *owner AUTO(free_ptr) = xstrdup(acc_actor(s->repo->acc));
    struct acc_who who = { .subject = owner, .via = "token x" };
    who.scope = "[{\"verb\":\"push\",\"object\":\"other\"}]";
    CHECK_OK(svc_act_as(s, &who, &err));
    CHECK_ERR(svc_call(s, "list", q, &reply, &err), ERR_DENIED);
    CHECK_ERR(svc_call(s, "gc", NULL, &reply, &err), ERR_DENIED);
    who.scope = "[\"read:fr*\"]";
    CHECK_OK(svc_act_as(s, &who, &err));
    CHECK_OK(svc_call(s, "list", q, &reply, &err));
    cJSON_Delete(reply);
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        who.scope = broken[i];
        CHECK_ERR(svc_act_as(s, &who, &err), ERR_INVALID);
        CHECK_ERR(svc_call(s, "list", q, &reply, &err), ERR_DENIED); /* all the same */
    }
    CHECK_OK(svc_act_as(s, NULL, &err));
}
