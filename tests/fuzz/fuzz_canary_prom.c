/* SPDX-License-Identifier: Apache-2.0 */
/* An answer of Prometheus, and the buckets in it. */
#include "deploy/canary_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct canary_series series[CANARY_EDGES_MAX];
    struct canary_counters c = { .n = 0 };
    struct err err = ERR_INIT;
    int n_series;

    if (canary_prom_read((struct str){ (const char *)data, n }, series,
                         CANARY_EDGES_MAX, &n_series, &err) == 0)
        (void)!canary_counters_buckets(&c, series, n_series, 1e-6, &err);
    return 0;
}
