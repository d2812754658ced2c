/* SPDX-License-Identifier: Apache-2.0 */
/* Of the verbs, what the command line and its client use, too, where there is no store:
 * what may be said of where a version comes from, and a finding of doctor. */
#include "service/service.h"

#include <string.h>

enum { KEY_MAX = 64, VALUE_MAX = 4096 };

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

int
svc_check_provenance(const char *pair, struct err *err)
{
    const size_t n = strcspn(pair, "=");
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

void
svc_add_finding(cJSON *list, const char *what, bool ok, const char *saw,
                const char *fix)
{
    cJSON *o = cJSON_CreateObject();
    json_put_str(o, "what", what);
    json_put_bool(o, "ok", ok);
    json_put_str(o, "saw", saw);
    json_put_str(o, "fix", ok ? NULL : fix);
    cJSON_AddItemToArray(list, o);
}
