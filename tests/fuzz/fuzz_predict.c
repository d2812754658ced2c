/* SPDX-License-Identifier: Apache-2.0 */
/* A predict request in JSON: as a whole document (first byte even) or as a line. */
#include "validate/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct val_request q AUTO(val_request_release) = { .name = NULL };
    struct err err = ERR_INIT;

    if (n == 0 || val_body_read((struct str){ (const char *)data + 1, n - 1 },
                                data[0] & 1, &q, &err) < 0)
        return 0;
    if (q.inputs.n == 0 && q.n_signatures > 1)
        BUG("%d signatures", q.n_signatures);
    for (int i = 0; i < q.inputs.n; i++)
        for (int k = 0; k < i; k++)
            if (sm_tensor_list_find(&q.inputs, q.inputs.v[i].name) != &q.inputs.v[i].t)
                BUG("input '%s' is there twice", q.inputs.v[i].name);
    return 0;
}
