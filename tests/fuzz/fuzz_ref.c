/* SPDX-License-Identifier: Apache-2.0 */
/* What is taken as a reference names something by the rules; what is refused is told in
 * one line that is safe on a terminal. */
#include "repo/repo_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
check_taken(const struct repo_ref *ref)
{
    struct buf text = BUF_INIT;
    struct err err = ERR_INIT;
    struct repo_ref again;

    if (ref->digest_hex[0])
        buf_addf(&text, "sha256:%s", ref->digest_hex);
    else if (ref->number > 0)
        buf_addf(&text, "%s@%" PRId64, ref->model, ref->number);
    else
        buf_addf(&text, "%s%s%s", ref->model, ref->alias[0] ? "@" : "", ref->alias);
    if (repo_ref_parse(buf_str(&text), &again, &err) < 0 ||
        memcmp(&again, ref, sizeof(again)) != 0)
        BUG("%s: %s", buf_str(&text), err.msg);
    buf_release(&text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *text = xstrndup((const char *)data, n);
    struct repo_ref ref;
    struct err err = ERR_INIT;

    if (repo_ref_parse(text, &ref, &err) == 0)
        check_taken(&ref);
    else
        for (const char *s = err.msg; *s; s++)
            if ((uint8_t)*s < ' ' || *s == 0x7f)
                BUG("a message with byte 0x%02x", (uint8_t)*s);
    free(text);
    return 0;
}
