/* SPDX-License-Identifier: Apache-2.0 */
/* What a stranger writes after "Authorization: Bearer": a token, or what a CI job
 * shows. What is let through is what it says it is. */
#include "access/identity.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const struct str text = { (const char *)data, n };
    struct acc_token_text t;
    struct acc_jwt jwt AUTO(acc_jwt_release) = { .header = NULL };
    struct err err = ERR_INIT;

    if (acc_token_parse(text, &t, &err) == 0 &&
        (n != ACC_TOKEN_CHARS || strlen(t.id) != ACC_TOKEN_ID_CHARS ||
         memcmp(data + 4, t.id, ACC_TOKEN_ID_CHARS) != 0))
        BUG("a token of %zu bytes, id %s", n, t.id);
    err_clear(&err);
    if (acc_jwt_parse(text, &jwt, &err) < 0)
        return 0;
    if (!jwt.iss || (strcmp(jwt.alg, "RS256") != 0 && strcmp(jwt.alg, "ES256") != 0))
        BUG("a job's token signed by %s", jwt.alg);
    if (acc_jwt_check(&jwt, "sluice", INT64_C(1700000000) * 1000000000, &err) == 0 &&
        acc_jwt_end_ns(&jwt) < INT64_C(1700000000) * 1000000000)
        BUG("good, and it ended at %lld", (long long)acc_jwt_end_ns(&jwt));
    return 0;
}
