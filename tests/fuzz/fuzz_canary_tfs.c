/* SPDX-License-Identifier: Apache-2.0 */
/* The metrics of a TF Serving, twice, and what came between. */
#include "deploy/canary_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct canary_counters a, b = { .n = 0 };
    struct canary_scale s = { .n = 0 };
    struct canary_traffic t;
    struct err err = ERR_INIT;

    if (canary_tfs_read((struct str){ (const char *)data, n }, "m", &a, &err) < 0)
        return 0;
    s.edge = a.le;
    s.n = a.n_le > 0 ? a.n_le - 1 : 0;
    canary_traffic_init(&t);
    if (canary_counters_since(&b, &a, &t, &s))
        for (int i = 0; i <= s.n; i++)
            if (t.hist[i] < 0)
                BUG("bucket %d counts %g", i, t.hist[i]);
    canary_traffic_release(&t);
    return 0;
}
