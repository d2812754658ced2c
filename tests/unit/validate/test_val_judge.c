/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/validate/fake_backend.h"

#include "validate/val_int.h"

struct judged {
    enum val_outcome outcome;
    cJSON *report;
    char summary[1024];
};

/* A set whose cases and metrics are `body`, against the fake model `fake`. */
static int
judge(struct judged *out, const char *fake, const char *body, struct err *err)
{
    char *text AUTO(free_ptr) = xasprintf("{\"golden\": 1, %s}", body);
    struct val_golden g;
    int r;

    *out = (struct judged){ .outcome = VAL_FAILED };
    r = val_golden_parse(&g, str_of(text), -1, "golden.json", err);
    if (r < 0)
        return r;
    r = val_judge_dir(fake_text("model", "fake", fake), &g, &fake_backend,
                      &out->outcome, &out->report, err);
    val_golden_release(&g);
    if (r == 0)
        snprintf(out->summary, sizeof(out->summary), "%s",
                 cJSON_GetStringValue(cJSON_GetObjectItem(out->report, "summary")));
    return r;
}

static void
check(const char *fake, const char *body, enum val_outcome outcome, const char *summary)
{
    struct err err = ERR_INIT;
    struct judged j;

    CHECK_OK(judge(&j, fake, body, &err));
    json_free(&j.report);
    CHECK_STR(j.summary, summary);
    CHECK_STR(val_outcome_text(j.outcome), val_outcome_text(outcome));
}

TEST(test_val_judge__answers_are_compared)
{
    check("scale 0.5",
          "\"cases\": [{\"name\": \"a\", \"inputs\": {\"x\": [0, 2]}, \"expected\": "
          "{\"y\": [2, 3], "
          "\"digit\": [0, 1]}}]",
          VAL_PASSED, "1 case agrees");
    check("scale 0.25",
          "\"cases\": [{\"name\": \"a\", \"inputs\": {\"x\": [0, 2]}, \"expected\": "
          "{\"y\": [2, 3]}}]",
          VAL_FAILED, "a: y: error 0.17 > 1e-05 at [1]: 2.5, not 3");
    check("scale 1",
          "\"cases\": [{\"name\": \"a\", \"inputs\": {\"x\": [1]}, \"expected\": "
          "{\"text\": [\"\"]}}]",
          VAL_FAILED, "a: text: the model gave no such output");
    check("scale 1",
          "\"cases\": [{\"name\": \"a\", \"inputs\": {\"x\": [1]}, \"expected\": "
          "{\"z\": [1]}}]",
          VAL_FAILED,
          "a: there is no output 'z'; the signature has count, digit, half, "
          "probabilities, text, y");
    check("scale 1",
          "\"cases\": [{\"name\": \"a\", \"inputs\": {\"w\": [1]}, \"expected\": "
          "{\"y\": [1]}}]",
          VAL_FAILED, "a: there is no input 'w'; the signature has half, text, x");
    check("scale 1",
          "\"cases\": [{\"name\": \"a\", \"signature\": \"train\", \"inputs\": {\"x\": "
          "[1]}, "
          "\"expected\": {\"y\": [1]}}]",
          VAL_FAILED, "a: no signature 'train'; there is serving_default");
}

TEST(test_val_judge__tolerances_of_case_and_output)
{
    /* integers stay exact under a case's tolerance, and not under their own */
    check("scale 1",
          "\"cases\": [{\"name\": \"a\", \"inputs\": {\"x\": [1]}, \"expected\": "
          "{\"y\": [3.4], "
          "\"digit\": [2]}, \"tolerance\": {\"abs\": 1}}]",
          VAL_FAILED, "a: digit: 1 of 1 differ, first at [0]: 1, not 2");
    check("scale 1",
          "\"cases\": [{\"name\": \"a\", \"inputs\": {\"x\": [1]}, \"expected\": "
          "{\"y\": [3.4], "
          "\"digit\": [2]}, \"tolerance\": {\"abs\": 1, \"outputs\": {\"digit\": "
          "{\"abs\": 1}}}}]",
          VAL_PASSED, "1 case agrees");
    /* an output's own tolerance replaces the case's; all kinds given must hold */
    check("scale 1",
          "\"cases\": [{\"name\": \"a\", \"inputs\": {\"x\": [1]}, \"expected\": "
          "{\"y\": [3.4]}, "
          "\"tolerance\": {\"abs\": 1, \"outputs\": {\"y\": {\"abs\": 0.5, \"rel\": "
          "0.1}}}}]",
          VAL_FAILED, "a: y: relative error 0.12 > 0.1 at [0]: 3, not 3.4");
    check("scale 1",
          "\"cases\": [{\"name\": \"a\", \"inputs\": {\"x\": [1]}, \"expected\": "
          "{\"y\": [3]}, "
          "\"tolerance\": {\"outputs\": {\"Y\": {\"abs\": 1}}}}]",
          VAL_FAILED, "a: case 'a': tolerance for output 'Y', which is not expected");
}

TEST(test_val_judge__files_dtypes_and_strings_come_back)
{
    check("scale 1",
          "\"cases\": [{\"name\": \"a\", \"inputs\": {\"x\": [], \"half\": [1.5], "
          "\"text\": [\"a\", "
          "{\"b64\": \"Yg==\"}]}, \"expected\": {\"y\": [], \"half\": [1.5], \"text\": "
          "[\"a\", \"b\"]}}]",
          VAL_PASSED, "1 case agrees");
}

#define TWICE                                                                          \
    "\"cases\": [{\"inputs\": {\"x\": [1]}, \"expected\": {\"count\": 1}}, "           \
    "{\"inputs\": {\"x\": [1]}, \"expected\": {\"count\": %d}}]%s"

TEST(test_val_judge__each_case_starts_from_the_loaded_state)
{
    char *apart AUTO(free_ptr) = xasprintf(TWICE, 1, "");
    char *together AUTO(free_ptr) = xasprintf(TWICE, 2, ", \"sequential\": true");

    check("scale 1", apart, VAL_PASSED, "2 cases agree");
    check("scale 1", together, VAL_PASSED, "2 cases agree");
}

#define EXAM(limits)                                                                   \
    "\"kind\": \"acceptance\", \"cases\": [{\"name\": \"e\", \"inputs\": {\"x\": "     \
    "[-3, -2, 2, 3]}, "                                                                \
    "\"labels\": {\"d\": [1, 1, 0, 0]}}], \"metrics\": [{\"metric\": \"accuracy\", "   \
    "\"output\": "                                                                     \
    "\"probabilities\", \"labels\": \"d\"" limits "}]"

TEST(test_val_judge__accuracy_against_its_limit)
{
    check("scale 1", EXAM(", \"min\": 1"), VAL_PASSED, "accuracy 1 ≥ 1 (4 labels)");
    check("scale 0.4", EXAM(", \"min\": 0.75"), VAL_PASSED,
          "accuracy 0.75 ≥ 0.75 (4 labels)");
    check("scale 0.4", EXAM(", \"min\": 0.76"), VAL_FAILED,
          "accuracy 0.75 < 0.76 (4 labels)");
    check("scale 0.4", EXAM(", \"max\": 0.75"), VAL_PASSED,
          "accuracy 0.75 ≤ 0.75 (4 labels)");
    check("scale 0.4", EXAM(", \"max\": 0.7, \"min\": 0.1"), VAL_FAILED,
          "accuracy 0.75 > 0.7 (4 labels)");
    /* a directory has no baseline to drop from */
    check("scale 0.4", EXAM(", \"max_drop\": 0.1"), VAL_PASSED,
          "accuracy 0.75 (4 labels)");
}

#define LABELLED                                                                       \
    "\"cases\": [{\"name\": \"e\", \"inputs\": {\"x\": [1, 2]}, \"labels\": "          \
    "{\"d\": %s}}], \"metrics\": [{\"metric\": \"accuracy\", \"output\": "             \
    "\"%s\", \"labels\": \"d\", \"min\": 0.5}]"

TEST(test_val_judge__metrics_that_cannot_be_had_fail)
{
    static const struct {
        const char *labels, *output, *why;
    } rows[] = {
        { "[1]", "digit", "accuracy has no value: case 'e': 2 answers for 1 labels" },
        { "[0.5, 1]", "digit",
          "accuracy has no value: case 'e': labels are float64; accuracy "
          "wants integers" },
        { "[1, 1, 0]", "y", "accuracy has no value: case 'e': 1 answers for 3 labels" },
        { "[1, 1]", "z",
          "accuracy has no value: case 'e': the model gave no output 'z'" },
        { "[]", "digit", "accuracy has no value: case 'e': 2 answers for 0 labels" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *body AUTO(free_ptr) = xasprintf(LABELLED, rows[i].labels, rows[i].output);

        check("scale 1", body, VAL_FAILED, rows[i].why);
    }
    /* an integer output is the answer itself */
    {
        char *body AUTO(free_ptr) = xasprintf(LABELLED, "[1, 1]", "digit");

        check("scale 1", body, VAL_PASSED, "accuracy 1 ≥ 0.5 (2 labels)");
    }
}

TEST(test_val_judge__unsupported_is_never_passed)
{
    struct err err = ERR_INIT;
    struct judged j;

    check("unsupported 0", EXAM(", \"min\": 0"), VAL_UNSUPPORTED,
          "op DecodeWav (node a, function f)");
    check("limits 1",
          "\"cases\": [{\"name\": \"a\", \"inputs\": {\"x\": [1]}, \"expected\": "
          "{\"y\": [3]}}, "
          "{\"name\": \"b\", \"signature\": \"other\", \"inputs\": {\"x\": [1]}, "
          "\"expected\": {\"y\": "
          "[3]}}]",
          VAL_UNSUPPORTED, "unsupported ops: DecodeGif (node g); DecodeWav (node w)");
    /* what differs beside it is a failure */
    check("limits 1",
          "\"cases\": [{\"name\": \"a\", \"inputs\": {\"x\": [1]}, \"expected\": "
          "{\"y\": [4]}}, "
          "{\"name\": \"b\", \"signature\": \"other\", \"inputs\": {\"x\": [1]}, "
          "\"expected\": {\"y\": "
          "[3]}}]",
          VAL_FAILED,
          "a: y: error 0.25 > 1e-05 at [0]: 3, not 4; b: unsupported ops: DecodeGif "
          "(node g); DecodeWav (node w)");
    CHECK_OK(judge(&j, "unsupported 0", EXAM(", \"min\": 0"), &err));
    CHECK(json_has(j.report, "unsupported") && !json_has(j.report, "error"));
    json_free(&j.report);
}

TEST(test_val_judge__the_models_failure_is_a_verdict_the_systems_is_not)
{
    struct err err = ERR_INIT;
    struct judged j;

    check("asserts 0",
          "\"cases\": [{\"name\": \"a\", \"inputs\": {\"x\": [-1]}, \"expected\": "
          "{\"y\": [1]}}, "
          "{\"name\": \"b\", \"inputs\": {\"x\": [1]}, \"expected\": {\"y\": [2]}}]",
          VAL_FAILED, "a: assertion failed: x must not be negative");
    check("broken 0", EXAM(", \"min\": 0"), VAL_FAILED,
          "variables.index: block 3: wrong checksum");
    CHECK_ERR(judge(&j, "gone 0", EXAM(", \"min\": 0"), &err), ERR_IO);
    CHECK(!j.report);
}

TEST(test_val_judge__a_set_that_judges_nothing_is_refused)
{
    struct err err = ERR_INIT;
    struct judged j;

    CHECK_ERR(judge(&j, "scale 1", "\"cases\": []", &err), ERR_INVALID);
    CHECK_ERR(judge(&j, "scale 1", "\"cases\": [{\"inputs\": {\"x\": [1]}}]", &err),
              ERR_INVALID);
    CHECK_ERR(judge(&j, "scale 1", EXAM(""), &err), ERR_INVALID);
}
