/* SPDX-License-Identifier: Apache-2.0 */
/* scan over any bytes: whatever sm_open lets through is walked to the end. */
#include "tests/fuzz/scratch.h"
#include "validate/scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const struct val_scan_options all = { 0 };
    struct err err = ERR_INIT;
    struct scratch dir;
    cJSON *report = NULL;
    scratch_open(&dir);
    scratch_put(&dir, "saved_model.pb", data, n);
    if (val_scan(&report, dir.path, &all, &err) == 0) {
        cJSON *log = val_scan_sarif(report, "model");
        cJSON_Delete(log);
        cJSON_Delete(report);
    }
    scratch_close(&dir);
    return 0;
}
