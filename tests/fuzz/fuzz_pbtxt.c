/* SPDX-License-Identifier: Apache-2.0 */
/* Text format: what is taken becomes a well-formed model file. */
#include "savedmodel/savedmodel.h"
#include "tests/fuzz/scratch.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct err err = ERR_INIT;
    struct sm_model *m;
    struct scratch dir;
    scratch_open(&dir);
    scratch_put(&dir, "saved_model.pbtxt", data, n);
    if (sm_open(&m, dir.fd, "model", &err) == 0)
        sm_close(m);
    else if (strstr(err.msg, "damaged or no"))
        BUG("%s", err.msg);
    scratch_close(&dir);
    return 0;
}
