/* SPDX-License-Identifier: Apache-2.0 */
/* scan: what in a model can reach out of it. The reply is the report; with `sarif` also
 * the SARIF log, as "sarif". */
#include "service/svc_int.h"
#include "validate/scan.h"

void
svc_move_members(cJSON *from, cJSON *to)
{
    while (from->child) {
        char *key AUTO(free_ptr) = xstrdup(from->child->string);
        cJSON_AddItemToObject(to, key, cJSON_DetachItemViaPointer(from, from->child));
    }
}

int
svc_do_scan(struct svc_call *c, struct err *err)
{
    struct val_scan_options options = { .tag_set = svc_str(c, "tag_set"),
                                        .allow = svc_str(c, "allow"),
                                        .deny = svc_str(c, "op_denylist") };
    struct svc_dir dir AUTO(svc_dir_close) = { 0 };
    cJSON *report AUTO(json_free) = NULL;
    if (svc_dir_open(c, &dir, err) < 0 ||
        val_scan(&report, dir.path, &options, err) < 0)
        return -(int)err->code;
    const char *what = dir.name;
    int n = (int)cJSON_GetNumberValue(cJSON_GetObjectItem(report, "n_findings"));
    json_put_str(c->reply, "model", what);
    if (svc_flag(c, "sarif"))
        cJSON_AddItemToObject(c->reply, "sarif", val_scan_sarif(report, what));
    svc_move_members(report, c->reply);
    if (n)
        return err_set(err, ERR_FAILED, "%s: %d finding%s", what, n, n == 1 ? "" : "s");
    return 0;
}
