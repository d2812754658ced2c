/* SPDX-License-Identifier: Apache-2.0 */
/* What a store says that a host should show: whatever is let through has names,
 * numbers and weights that a release may have. */
#include "deploy/agent_int.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
look(const cJSON *o)
{
    struct agent_want w;
    struct err err = ERR_INIT;
    int sum = 0;

    if (agent_want_parse(o, "production", &w, &err) < 0)
        return;
    for (int i = 0; i < w.n_members; i++)
        sum += w.members[i].weight;
    if (sum != DEPLOY_WEIGHT_ALL || w.release < 1 ||
        repo_check_model_name(w.model, &err) < 0 || strlen(w.reason) > 255)
        BUG("release %lld of %s: weights of %d; %s", (long long)w.release, w.model, sum,
            err.msg);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *text AUTO(free_ptr) = xstrndup((const char *)data, n);
    cJSON *doc AUTO(json_free) = NULL;
    struct ssh_url url;
    struct err err = ERR_INIT;
    const cJSON *o;

    if (ssh_url_parse(text, &url, &err) == 0) {
        if (url.to[0] == '-' || (url.dir && url.dir[0] != '/'))
            BUG("%s: to %s, dir %s", text, url.to, url.dir ? url.dir : "");
        ssh_url_release(&url);
    }
    err_clear(&err);
    if (json_parse(&doc, (struct str){ (const char *)data, n }, "fuzz", &err) < 0)
        return 0;
    cJSON_ArrayForEach(o, cJSON_GetObjectItemCaseSensitive(doc, "models")) look(o);
    return 0;
}
