/* SPDX-License-Identifier: Apache-2.0 */
/* A Python literal: reads it and prints what it gives. */
#include "savedmodel/savedmodel.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct err err = ERR_INIT;
    struct sm_tensor t;
    char *text AUTO(free_ptr) = xstrndup((const char *)data, n);
    if (sm_literal_read(text, &t, &err) < 0)
        return 0;
    struct buf out = BUF_INIT;
    sm_tensor_text(&t, &out);
    buf_release(&out);
    sm_tensor_release(&t);
    return 0;
}
