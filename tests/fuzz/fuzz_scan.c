/* SPDX-License-Identifier: Apache-2.0 */
/* scan and lint over any bytes: whatever sm_open lets through is walked to the end. */
#include "tests/fuzz/scratch.h"
#include "validate/lint.h"
#include "validate/scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const struct val_scan_options all = { 0 };
    static const struct val_lint_options plain = { .tag_set = NULL };
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
    err = (struct err)ERR_INIT;
    if (val_lint(&report, dir.path, &plain, &err) == 0)
        cJSON_Delete(report);
    scratch_close(&dir);
    return 0;
}
