/* SPDX-License-Identifier: Apache-2.0 */
/* drill */
#include "deploy/deploy.h"
#include "service/svc_int.h"

int
svc_do_drill(struct svc_call *c, struct err *err)
{
    struct repo_ref ref;
    cJSON *report = NULL;
    const int64_t wait_s = svc_int(c, "wait", 120);
    if (svc_alias(c, &ref, err) < 0)
        return -(int)err->code;
    if (wait_s < 1 || wait_s > 86400)
        return err_set(err, ERR_USAGE, "drill: --wait takes 1 to 86400 seconds");
    const struct deploy_drill d = { .model = ref.model,
                                    .alias = ref.alias,
                                    .target = svc_str(c, "target"),
                                    .apply = svc_flag(c, "yes"),
                                    .wait_ms = (int)wait_s * 1000,
                                    .reason = svc_str(c, "reason") };
    const int r = deploy_drill(c->repo, &d, &report, err);
    cJSON_Delete(c->reply);
    c->reply = report;
    /* by deploy/, with what was measured; a look changes nothing */
    c->recorded = cJSON_HasObjectItem(report, "state") || (r == 0 && !d.apply);
    return r;
}
