/* SPDX-License-Identifier: Apache-2.0 */
/* Where a version came from, as its pusher says: pairs of text. */
#include "service/svc_int.h"

#include <string.h>

enum { PAIRS_MAX = 64 };

static size_t
key_bytes(const char *pair)
{
    return strcspn(pair, "=");
}

static int
add_pair(const struct svc_call *c, cJSON *to, const char *pair, struct err *err)
{
    if (svc_check_provenance(pair, err) < 0)
        return -(int)err->code;
    char *key AUTO(free_ptr) = xstrndup(pair, key_bytes(pair));
    const bool is_where = strcmp(key, "checkpoint") == 0;
    if (strcmp(key, "onto") == 0 || (is_where && !(c->s->who && svc_str(c, key))))
        return err_set(err, ERR_INVALID, "--provenance: push itself says '%s'", key);
    if (json_has(to, key))
        return err_set(err, ERR_INVALID, "--provenance: '%s' is given twice", key);
    json_put_str(to, key, pair + key_bytes(pair) + 1);
    return 0;
}

int
svc_put_provenance(struct svc_call *c, cJSON *to, struct err *err)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(c->req, "provenance");
    if (cJSON_GetArraySize(list) > PAIRS_MAX)
        return err_set(err, ERR_LIMIT, "--provenance: more than %d pairs", PAIRS_MAX);
    for (const cJSON *e = list ? list->child : NULL; e; e = e->next)
        if (add_pair(c, to, e->valuestring, err) < 0)
            return -(int)err->code;
    return 0;
}
