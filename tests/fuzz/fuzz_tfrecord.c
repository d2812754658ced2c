/* SPDX-License-Identifier: Apache-2.0 */
/* A TFRecord file, packed or not, whose records lie in it or in what was unpacked. */
#include "savedmodel/savedmodel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct err err = ERR_INIT;
    struct str bytes = { (const char *)data, n };
    struct sm_records r;
    size_t sum = 0;
    (void)sm_is_tfrecord(bytes);
    if (sm_tfrecord_read(bytes, "fuzz", &r, &err) < 0)
        return 0;
    for (size_t i = 0; i < r.n; i++)
        sum += r.v[i].n + 16;
    if (!r.unpacked && sum != n)
        BUG("%zu bytes of records in a file of %zu", sum, n);
    sm_records_release(&r);
    return 0;
}
