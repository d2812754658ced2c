/* SPDX-License-Identifier: Apache-2.0 */
/* What a runner says of a run, set beside itself. */
#include "validate/val_trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const struct backend_signature sig = { .n_inputs = 0 };
    struct trace t = { .sig = &sig, .first = -1, .begins = -1 };
    cJSON *o = cJSON_CreateObject();
    bool ok = true;

    for (int i = 0; i < TR_SIDES; i++) {
        struct err err = ERR_INIT;

        ok &= tr_read(&t.run[i], (struct str){ (const char *)data, n }, &err) == 0;
    }
    if (ok) {
        tr_match(&t.run[0], &t.run[1]);
        for (int i = 0; i < t.run[0].n_order; i++)
            if (t.run[0].events[t.run[0].order[i]].n_out > 0)
                t.first = t.begins = t.run[0].order[i];
        tr_tell(&t, o);
    }
    cJSON_Delete(o);
    for (int i = 0; i < TR_SIDES; i++)
        tr_release(&t.run[i]);
    return 0;
}
