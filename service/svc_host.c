/* SPDX-License-Identifier: Apache-2.0 */
/* cat, and what hosts that follow this store ask and say: host want, report, list,
 * rollout, retry, forget */
#include "base/clock.h"
#include "deploy/host.h"
#include "repo/gc.h"
#include "repo/incoming.h"
#include "service/svc_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int
svc_do_cat(struct svc_call *c, struct err *err)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(c->req, "paths"), *p;
    const int64_t offset = svc_int(c, "offset", 0);
    int n = 0;
    struct repo_version v;
    if (offset < 0)
        return err_set(err, ERR_USAGE, "--offset must be 0 or more");
    if (svc_version(c, &v, err) < 0 ||
        (!c->repo->is_read_only && repo_lease(c->repo, &v, err) < 0))
        return -(int)err->code;
    const char **paths AUTO(free_ptr) =
        xcalloc((size_t)cJSON_GetArraySize(list) + 1, sizeof *paths);
    cJSON_ArrayForEach(p, list) paths[n++] = p->valuestring;
    json_put_int(c->body, "files", n);
    json_put_int(c->body, "offset", offset);
    return repo_send(c->repo, &v.digest, paths, n, offset, STDOUT_FILENO, err);
}

/* ---- asked and said by hosts ---- */

static bool
may_read(void *arg, const char *model)
{
    struct svc_call *c = arg;
    struct err err = ERR_INIT;
    return acc_check(c->repo->acc, ACC_READ, acc_alias(model, svc_str(c, "alias")),
                     &err) >= 0;
}

/* Through a service, who speaks for a host is the host (a subject of its name), or has
 * the verb host_report, or admin, on it. */
static int
check_speaks(struct svc_call *c, struct err *err)
{
    struct acc *acc = c->repo->acc;
    const char *host = svc_str(c, "host"), *actor = acc_actor(acc);
    struct err no = ERR_INIT;
    if (!c->s->who || strcmp(actor, host) == 0 ||
        acc_check_verb(acc, "host_report", ACC_ADMIN, acc_host(host), &no) >= 0)
        return 0;
    if (no.code != ERR_DENIED)
        return err_set(err, no.code, "%s", no.msg);
    return err_set(err, ERR_DENIED,
                   "%s; or its agent shows a token of the host's own: sluice user add "
                   "%s --service; sluice token create %s",
                   no.msg, host, host);
}

/* Every few seconds, by every host: what comes of it is recorded, the question is not.
 */
int
svc_do_host_want(struct svc_call *c, struct err *err)
{
    cJSON *out = NULL;
    struct buf store AUTO(buf_release) = BUF_INIT;
    if (check_speaks(c, err) < 0)
        return -(int)err->code;
    if (deploy_host_want(c->repo, svc_str(c, "host"), svc_str(c, "alias"), may_read, c,
                         &out, err) < 0)
        return err_ctx(err, "host want");
    cJSON_Delete(c->reply);
    c->reply = out;
    c->recorded = true;
    if (db_get_text(c->repo->db, &store, err, "SELECT id FROM store", "") < 0)
        return -(int)err->code;
    json_put_str(c->reply, "store", buf_str(&store));
    json_put_bool(c->reply, "read_only", c->repo->is_read_only);
    return 0;
}

int
svc_do_host_report(struct svc_call *c, struct err *err)
{
    struct repo_ref ref;
    struct buf why AUTO(buf_release) = BUF_INIT;
    if (svc_alias(c, &ref, err) < 0 || check_speaks(c, err) < 0)
        return -(int)err->code;
    struct host_report h = { .host = svc_str(c, "host"),
                             .model = ref.model,
                             .alias = ref.alias,
                             .release = svc_int(c, "release", 0),
                             .state = svc_str(c, "state"),
                             .detail = svc_str(c, "detail") ? svc_str(c, "detail") : "",
                             .shows = svc_str(c, "shows") ? svc_str(c, "shows") : "",
                             .at_ns = clock_now_ns() };
    if (c->repo->is_read_only)
        return err_set(
            err, ERR_REFUSED,
            "%s is on a read-only file system: nothing can be reported to it",
            c->repo->path);
    if (svc_str(c, "at") && clock_parse(svc_str(c, "at"), &h.at_ns, err) < 0)
        return err_ctx(err, "host report --at");
    json_put_str(c->body, "host", h.host);
    json_put_int(c->body, "release", h.release);
    json_put_str(c->body, "state", h.state);
    json_put_str(c->body, "detail", h.detail);
    json_put_str(c->body, "shows", h.shows);
    if (db_begin(c->repo->db, err) < 0)
        return -(int)err->code;
    int noted = deploy_host_report(c->repo, &h, &why, err);
    if (noted < 0)
        return err_ctx(err, "host report");
    json_put_bool(c->reply, "go", why.len == 0);
    json_put_str(c->reply, "why", why.len ? buf_str(&why) : NULL);
    if (noted)
        return svc_commit(c, err);
    c->recorded = true; /* nothing happened but that the host was heard */
    return db_commit(c->repo->db, err);
}

int
svc_do_host_list(struct svc_call *c, struct err *err)
{
    cJSON *list = NULL;
    if (deploy_hosts(c->repo, svc_str(c, "alias"), &list, err) < 0)
        return -(int)err->code;
    cJSON_AddItemToObject(c->reply, "hosts", list);
    return svc_hide(c, list, err);
}

/* ---- said by people ---- */

static void
put_rule(cJSON *o, const char *alias, int found, const struct host_rule *rule)
{
    json_put_str(o, "alias", alias);
    json_put_bool(o, "rule", found == 1);
    if (found != 1)
        return;
    json_put_int(o, "at_once", rule->at_once);
    json_put_int(o, "max_failing", rule->max_failing);
    json_put_int(o, "silent_s", rule->silent_s);
}

int
svc_do_host_rollout(struct svc_call *c, struct err *err)
{
    const char *alias = svc_str(c, "alias");
    const bool clear = svc_flag(c, "clear");
    struct host_rule rule;
    int found;
    if (repo_check_alias_name(alias, err) < 0)
        return -(int)err->code;
    const bool sets = json_has(c->req, "at_once") || json_has(c->req, "max_failing") ||
                      json_has(c->req, "silent");
    snprintf(c->object, sizeof c->object, "alias %s", alias);
    if (sets && clear)
        return err_set(err, ERR_USAGE, "host rollout: --clear stands alone");
    if (!sets && !clear) {
        found = deploy_host_rule(c->repo, alias, &rule, err);
        put_rule(c->reply, alias, found, &rule);
        return found < 0 ? found : 0;
    }
    if (acc_check(c->repo->acc, ACC_PROMOTE, acc_alias("*", alias), err) < 0 ||
        db_begin(c->repo->db, err) < 0)
        return -(int)err->code;
    found = deploy_host_rule(c->repo, alias, &rule, err);
    if (found < 0)
        return found;
    rule.at_once = svc_int(c, "at_once", rule.at_once);
    rule.max_failing = svc_int(c, "max_failing", rule.max_failing);
    rule.silent_s = svc_int(c, "silent", rule.silent_s);
    put_rule(c->body, alias, !clear, &rule);
    put_rule(c->reply, alias, !clear, &rule);
    if (deploy_host_rule_set(c->repo, alias, clear ? NULL : &rule, err) < 0)
        return err_ctx(err, "host rollout %s", alias);
    return svc_commit(c, err);
}

int
svc_do_host_retry(struct svc_call *c, struct err *err)
{
    const char *host = svc_str(c, "host");
    int n = 0;
    snprintf(c->object, sizeof c->object, "host %s", host);
    if (db_begin(c->repo->db, err) < 0 || deploy_host_retry(c->repo, host, &n, err) < 0)
        return -(int)err->code;
    json_put_str(c->reply, "host", host);
    json_put_int(c->reply, "releases", n);
    json_put_int(c->body, "releases", n);
    return svc_commit(c, err);
}

int
svc_do_host_forget(struct svc_call *c, struct err *err)
{
    const char *host = svc_str(c, "host");
    snprintf(c->object, sizeof c->object, "host %s", host);
    json_put_str(c->reply, "host", host);
    if (db_begin(c->repo->db, err) < 0 || deploy_host_forget(c->repo, host, err) < 0)
        return -(int)err->code;
    return svc_commit(c, err);
}
