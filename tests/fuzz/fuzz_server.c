/* SPDX-License-Identifier: Apache-2.0 */
/* What a server answers; the first byte says which kind of answer it is. */
#include "deploy/server_int.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
check(const struct server_seen *seen)
{
    if (seen->n < 0 || seen->n > SERVER_VERSIONS_MAX)
        BUG("%d versions", seen->n);
    for (int i = 0; i < seen->n; i++) {
        const struct server_version *v = &seen->v[i];

        if (v->state >= SERVER_N_STATES ||
            server_state_of(seen, v->number) != v->state ||
            strlen(v->error) >= sizeof(v->error) || strpbrk(v->error, "\n\r\x1b"))
            BUG("version %d of %d", i, seen->n);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct server_seen seen = { .n = 0 };
    struct err err = ERR_INIT;
    int64_t number;
    int e;

    if (n == 0)
        return 0;
    const struct str body = { (const char *)data + 1, n - 1 };
    if (data[0] % 3 == 0)
        e = server_tfserving_read(body, &seen, &err);
    else if (data[0] % 3 == 1)
        e = server_triton_read(body, "fraud", &seen, &err);
    else
        e = server_tfserving_read_label(body, &number, &err);
    if (e < 0 && strchr(err.msg, '\n'))
        BUG("an error of two lines");
    check(&seen);
    return 0;
}
