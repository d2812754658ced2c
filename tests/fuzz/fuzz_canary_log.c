/* SPDX-License-Identifier: Apache-2.0 */
/* A line of an access log. */
#include "deploy/canary_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct canary_line line;
    struct str text = { (const char *)data, n };

    if (canary_line_parse(text, "m@a", &line) == 1 && line.version < 1)
        BUG("version %lld", (long long)line.version);
    return 0;
}
