/* SPDX-License-Identifier: Apache-2.0 */
/* Real models, made by TensorFlow, through the runner's own process. */
#include "tests/unit/unit.h"

#include "base/proc.h"
#include "validate/validate.h"

#include <stdio.h>

/* Judges a model by a set, both below tests/data. */
static enum val_outcome
judge(const char *model, const char *set, char *summary, size_t n)
{
    char *dir AUTO(free_ptr) = xstrdup(unit_data(model));
    cJSON *report AUTO(json_free) = NULL;
    struct err err = ERR_INIT;
    enum val_outcome outcome;
    struct val_golden g;
    int r;

    CHECK_OK(val_golden_load(&g, unit_data(set), &err));
    r = val_judge_dir(dir, &g, &runner_backend, &outcome, &report, &err);
    val_golden_release(&g);
    if (r < 0)
        unit_fail(__FILE__, __LINE__, "%s: %s", model, err.msg);
    snprintf(summary, n, "%s",
             cJSON_GetStringValue(cJSON_GetObjectItem(report, "summary")));
    return outcome;
}

static enum val_outcome
judge_test_model(const char *name, char *summary, size_t n)
{
    char *model AUTO(free_ptr) = xasprintf("%s/model", name);

    return judge(model, name, summary, n);
}

TEST(test_val_runner__test_models_agree_with_tensorflow)
{
    static const char *const names[] = {
        "half_plus_two_tf2", "half_plus_two_tf1", "tf1_resource",
        "tf1_partitioned",   "mlp_tiny",          "cnn_tiny",
        "multi_signature",   "fail_assert",       "variant_no_variables"
    };
    char summary[4096];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (judge_test_model(names[i], summary, sizeof(summary)) != VAL_PASSED)
            unit_fail(__FILE__, __LINE__, "%s: %s", names[i], summary);
}

TEST(test_val_runner__strings_agree_with_tensorflow)
{
    char summary[4096];
    enum val_outcome o =
        judge_test_model("strings_passthrough", summary, sizeof(summary));

    if (o == VAL_UNSUPPORTED)
        unit_skip("%s", summary);
    CHECK_STR(summary, "2 cases agree");
    CHECK_INT(o, VAL_PASSED);
}

TEST(test_val_runner__unsupported_ops_are_named)
{
    char summary[4096];

    CHECK_INT(judge_test_model("unsupported_ops", summary, sizeof(summary)),
              VAL_UNSUPPORTED);
    CHECK(strstr(summary, "DrawBoundingBoxesV2") && strstr(summary, "DecodeWav"));
}

#define DEMO "../../demo/digits/"

/* v3 keeps its own word and fails the exam: what acceptance sets are for. */
TEST(test_val_runner__the_exam_finds_the_wrong_demo_model)
{
    static const struct {
        const char *model, *set;
        enum val_outcome outcome;
    } rows[] = {
        { DEMO "v1", DEMO "v1-golden", VAL_PASSED },
        { DEMO "v1", DEMO "acceptance", VAL_PASSED },
        { DEMO "v2", DEMO "v2-golden", VAL_PASSED },
        { DEMO "v2", DEMO "acceptance", VAL_PASSED },
        { DEMO "v3", DEMO "v3-golden", VAL_PASSED },
        { DEMO "v3", DEMO "acceptance", VAL_FAILED },
        { DEMO "v2", DEMO "v1-golden", VAL_FAILED },
    };
    char summary[4096];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (judge(rows[i].model, rows[i].set, summary, sizeof(summary)) !=
            rows[i].outcome)
            unit_fail(__FILE__, __LINE__, "%s by %s: %s", rows[i].model, rows[i].set,
                      summary);
}
