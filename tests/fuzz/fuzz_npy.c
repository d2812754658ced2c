/* SPDX-License-Identifier: Apache-2.0 */
/* .npy bytes: what can be read can be printed and written, and is then read as the
 * same. */
#include "savedmodel/savedmodel.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct err err = ERR_INIT;
    struct str bytes = { (const char *)data, n };
    struct sm_tensor t, again;
    if (sm_npy_read(bytes, "fuzz", &t, &err) < 0)
        return 0;
    struct buf out = BUF_INIT;
    sm_tensor_text(&t, &out);
    buf_clear(&out);
    if (sm_npy_write(&t, &out, &err) < 0 ||
        sm_npy_read((struct str){ out.data, out.len }, "written", &again, &err) < 0)
        BUG("%s", err.msg);
    if (again.dtype != t.dtype || again.rank != t.rank || again.n_elems != t.n_elems)
        BUG("read otherwise the second time");
    if (t.dtype != SM_STRING && t.n_elems > 0 &&
        memcmp(again.data, t.data, sm_tensor_bytes(&t)) != 0)
        BUG("other values the second time");
    sm_tensor_release(&again);
    buf_release(&out);
    sm_tensor_release(&t);
    return 0;
}
