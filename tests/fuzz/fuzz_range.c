/* SPDX-License-Identifier: Apache-2.0 */
/* Header Range: what is given out lies in the file. The first byte says its size. */
#include "server/srv_range.h"

#include "base/buf.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct srv_range ranges[SRV_RANGES_MAX];
    if (n == 0)
        return 0;
    int64_t size_bytes = INT64_C(1) << (data[0] % 63);
    char *text = xstrndup((const char *)data + 1, n - 1);
    int k = srv_range_parse(text, size_bytes, ranges);
    int64_t all = 0;
    for (int i = 0; i < k; i++) {
        if (ranges[i].from < 0 || ranges[i].n_bytes < 1 ||
            ranges[i].from > size_bytes - ranges[i].n_bytes)
            BUG("a range outside of the file");
        all += ranges[i].n_bytes;
    }
    if (k > SRV_RANGES_MAX || k < -1 || (k > 1 && all > size_bytes))
        BUG("too many ranges");
    free(text);
    return 0;
}
