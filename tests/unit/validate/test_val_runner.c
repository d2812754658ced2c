/* SPDX-License-Identifier: Apache-2.0 */
/* Real models, made by TensorFlow, through the runner's own process. */
#include "tests/unit/unit.h"

#include "base/proc.h"
#include "validate/validate.h"

#include <stdio.h>

static enum val_outcome
judge(const char *name, char *summary, size_t n)
{
    char *model AUTO(free_ptr) = xasprintf("%s/model", unit_data(name));
    cJSON *report AUTO(json_free) = NULL;
    struct err err = ERR_INIT;
    enum val_outcome outcome;
    struct val_golden g;
    int r;

    CHECK_OK(val_golden_load(&g, unit_data(name), &err));
    r = val_judge_dir(model, &g, &runner_backend, &outcome, &report, &err);
    val_golden_release(&g);
    if (r < 0)
        unit_fail(__FILE__, __LINE__, "%s: %s", name, err.msg);
    snprintf(summary, n, "%s",
             cJSON_GetStringValue(cJSON_GetObjectItem(report, "summary")));
    return outcome;
}

TEST(test_val_runner__test_models_agree_with_tensorflow)
{
    static const char *const names[] = { "half_plus_two_tf2", "half_plus_two_tf1",
                                         "tf1_resource",      "tf1_partitioned",
                                         "mlp_tiny",          "cnn_tiny",
                                         "multi_signature",   "strings_passthrough",
                                         "fail_assert",       "variant_no_variables" };
    char summary[4096];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (judge(names[i], summary, sizeof(summary)) != VAL_PASSED)
            unit_fail(__FILE__, __LINE__, "%s: %s", names[i], summary);
}

TEST(test_val_runner__unsupported_ops_are_named)
{
    char summary[4096];

    CHECK_INT(judge("unsupported_ops", summary, sizeof(summary)), VAL_UNSUPPORTED);
    CHECK(strstr(summary, "DecodeGif") && strstr(summary, "DrawBoundingBoxesV2") &&
          strstr(summary, "DecodeWav"));
}
