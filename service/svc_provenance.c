/* SPDX-License-Identifier: Apache-2.0 */
/* Where a version came from, as its pusher says: pairs of text. */
#include "service/svc_int.h"

#include <string.h>

enum { KEY_MAX = 64, VALUE_MAX = 4096, PAIRS_MAX = 64 };

/* How secrets of common services begin. */
static const char *const secrets[] = { "ghp_",  "gho_",        "ghs_",   "ghu_",
                                       "ghr_",  "github_pat_", "glpat-", "xoxb-",
                                       "xoxp-", "-----BEGIN" };

static const char *
secret_fault(const char *value)
{
    const char *host = strstr(value, "://");
    const char *at = host ? strpbrk(host + 3, "@/") : NULL;

    if (at && *at == '@' && memchr(host + 3, ':', (size_t)(at - host - 3)))
        return "a URL with a password in it";
    for (size_t i = 0; i < sizeof secrets / sizeof secrets[0]; i++)
        if (strncmp(value, secrets[i], strlen(secrets[i])) == 0)
            return "a secret by its first letters";
    return NULL;
}

static size_t
key_bytes(const char *pair)
{
    return strcspn(pair, "=");
}

int
svc_check_provenance(const char *pair, struct err *err)
{
    const size_t n = key_bytes(pair);
    if (n == 0 || n > KEY_MAX || !pair[n] ||
        strspn(pair, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                     "0123456789_.-") != n)
        return err_set(err, ERR_INVALID,
                       "--provenance: '%.100s' is not KEY=VALUE; a key is 1 to %d of "
                       "the bytes A-Za-z0-9_.-",
                       pair, KEY_MAX);
    const char *fault = secret_fault(pair + n + 1);
    if (fault)
        return err_set(err, ERR_INVALID,
                       "--provenance %.*s: looks like %s, and everybody who may read "
                       "the version would read it: leave it out",
                       (int)n, pair, fault);
    return repo_check_text(pair + n + 1, VALUE_MAX, false, "--provenance", err);
}

static int
add_pair(cJSON *to, const char *pair, struct err *err)
{
    if (svc_check_provenance(pair, err) < 0)
        return -(int)err->code;
    char *key AUTO(free_ptr) = xstrndup(pair, key_bytes(pair));
    if (strcmp(key, "onto") == 0 || strcmp(key, "checkpoint") == 0)
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
        if (add_pair(to, e->valuestring, err) < 0)
            return -(int)err->code;
    return 0;
}
