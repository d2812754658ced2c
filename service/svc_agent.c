/* SPDX-License-Identifier: Apache-2.0 */
/* agent: one look at the store that is followed. Who calls it again and again is its
 * caller; see cli/cmd_agent.c. */
#include "deploy/agent.h"
#include "service/svc_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* For an init container: what starts next must find something, and something good. */
static int
judge(struct svc_call *c, bool require_fresh, struct err *err)
{
    const cJSON *o, *list = cJSON_GetObjectItemCaseSensitive(c->reply, "models");
    const char *away =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(c->reply, "away"));
    const cJSON *failed = NULL;
    bool fresh = !away && list->child, shows = list->child != NULL;
    cJSON_ArrayForEach(o, list)
    {
        const char *state = cJSON_GetStringValue(cJSON_GetObjectItem(o, "state"));
        const char *what = cJSON_GetStringValue(cJSON_GetObjectItem(o, "shows"));
        failed = strcmp(state, "failed") == 0 ? o : failed;
        fresh &= cJSON_IsTrue(cJSON_GetObjectItem(o, "fresh"));
        shows &= what && what[0];
    }
    if (failed && (!shows || require_fresh))
        return err_set(err, ERR_FAILED, "%s@%s: release %.0f failed here: %s",
                       cJSON_GetStringValue(cJSON_GetObjectItem(failed, "model")),
                       cJSON_GetStringValue(cJSON_GetObjectItem(failed, "alias")),
                       cJSON_GetNumberValue(cJSON_GetObjectItem(failed, "release")),
                       cJSON_GetStringValue(cJSON_GetObjectItem(failed, "detail")));
    if (shows && (fresh || !require_fresh))
        return 0;
    return err_set(err, ERR_BUSY, "%s%s%s",
                   shows ? "this host shows the last good release, not the newest"
                         : "this host shows nothing yet",
                   away ? ": " : "", away ? away : "");
}

int
svc_do_agent(struct svc_call *c, struct err *err)
{
    char name[256] = "";
    const char *ssh = svc_str(c, "ssh") ? svc_str(c, "ssh") : getenv("SLUICE_SSH");
    if (gethostname(name, sizeof name - 1) < 0)
        return err_set(err, ERR_USAGE, "agent: this machine has no name: --host NAME");
    struct agent_opts o = {
        .from = svc_str(c, "from"),
        .host = svc_str(c, "host") ? svc_str(c, "host") : name,
        .alias_or_null = svc_str(c, "alias"),
        .ssh = ssh && ssh[0] ? ssh : "ssh",
        .remote = svc_str(c, "remote") ? svc_str(c, "remote") : "sluice",
        .check_or_null = svc_str(c, "check"),
        .check_wait_s = (int)svc_int(c, "check_wait", 60),
        .stop = c->s->stop,
        .progress = c->s->progress,
        .arg = c->s->progress_arg,
    };
    cJSON *out = NULL;
    if (o.check_wait_s < 0 || svc_int(c, "check_wait", 60) > 86400)
        return err_set(err, ERR_USAGE, "--check_wait: 0 to 86400 seconds");
    c->recorded = true; /* each thing that is done has its own event */
    if (agent_pass(c->repo, &o, &out, err) < 0)
        return -(int)err->code;
    cJSON_Delete(c->reply);
    c->reply = out;
    return svc_flag(c, "once") ? judge(c, svc_flag(c, "require_fresh"), err) : 0;
}
