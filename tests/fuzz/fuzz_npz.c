/* SPDX-License-Identifier: Apache-2.0 */
/* .npz bytes: what can be read can be printed and written again. */
#include "savedmodel/savedmodel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct err err = ERR_INIT;
    struct str bytes = { (const char *)data, n };
    struct sm_tensor_list l;
    if (sm_npz_read(bytes, "fuzz", &l, &err) < 0)
        return 0;
    struct buf out = BUF_INIT;
    for (int i = 0; i < l.n; i++)
        sm_tensor_text(&l.v[i].t, &out);
    buf_clear(&out);
    if (sm_npz_write(&l, &out, &err) < 0)
        BUG("%s", err.msg);
    buf_release(&out);
    sm_tensor_list_release(&l);
    return 0;
}
