/* SPDX-License-Identifier: Apache-2.0 */
/* What parses is written back byte for byte; what does not, leaves nothing behind. */
#include "repo/repo_int.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct repo_manifest m;
    struct buf again = BUF_INIT;
    struct err err = ERR_INIT;

    if (repo_manifest_parse(&m, (struct str){ (const char *)data, n }, "fuzz", &err) <
        0) {
        if (m.files || err.code != ERR_CORRUPT)
            BUG("%s, files %p", err.msg, (void *)m.files);
        return 0;
    }
    repo_manifest_format(&m, &again);
    if (again.len != n || memcmp(again.data, data, n) != 0)
        BUG("two texts for one manifest");
    buf_release(&again);
    repo_manifest_release(&m);
    return 0;
}
