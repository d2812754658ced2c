/* SPDX-License-Identifier: Apache-2.0 */
/* A metric with its limit, and the steps of a ramp. */
#include "deploy/canary_int.h"
#include "deploy/ramp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *text AUTO(free_ptr) = xstrndup((const char *)data, n);
    struct buf out AUTO(buf_release) = BUF_INIT;
    struct err err = ERR_INIT, second = ERR_INIT;
    struct canary_metric m;
    struct ramp p = { .n_steps = 0 };

    if (canary_metric_parse(text, &m, &err) == 0)
        canary_metric_value(&m, m.bound, &out);
    (void)!ramp_parse_steps(text, &p, &second);
    return 0;
}
