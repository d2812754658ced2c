/* SPDX-License-Identifier: Apache-2.0 */
/* A warm-up record without its frame. */
#include "savedmodel/savedmodel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct err err = ERR_INIT;
    struct sm_warmup w;
    if (sm_warmup_parse((struct str){ (const char *)data, n }, &w, &err) < 0)
        return 0;
    if (w.kind != SM_WARMUP_MULTI && w.n_signatures != 1)
        BUG("%d signatures", w.n_signatures);
    sm_warmup_release(&w);
    return 0;
}
