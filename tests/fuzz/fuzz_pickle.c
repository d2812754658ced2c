/* SPDX-License-Identifier: Apache-2.0 */
/* A pickle: what it gives can be written as .npy and read again. */
#include "savedmodel/savedmodel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct err err = ERR_INIT;
    struct sm_tensor_list l;
    bool is_dict;
    if (sm_pickle_read((struct str){ (const char *)data, n }, "fuzz", NULL, &l,
                       &is_dict, &err) < 0)
        return 0;
    for (int i = 0; i < l.n; i++) {
        struct buf out = { .cap_bytes = 1 << 24 };
        struct sm_tensor again;
        if (sm_npy_write(&l.v[i].t, &out, &err) == 0) {
            if (sm_npy_read((struct str){ out.data, out.len }, "written", &again,
                            &err) < 0)
                BUG("%s", err.msg);
            sm_tensor_release(&again);
        }
        err_clear(&err);
        buf_release(&out);
    }
    sm_tensor_list_release(&l);
    return 0;
}
