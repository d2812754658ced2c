/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/validate/fake_backend.h"

#include "validate/val_spread.h"

#include <math.h>

static struct sm_tensor
matrix(int64_t rows, int64_t cols, const float *v)
{
    return (struct sm_tensor){ .dtype = SM_FLOAT,
                               .rank = 2,
                               .dims = { rows, cols },
                               .n_elems = rows * cols,
                               .data = (void *)(uintptr_t)v };
}

static void
check_json(cJSON *j, const char *want)
{
    struct buf text AUTO(buf_release) = BUF_INIT;

    json_print(j, &text, true);
    while (text.len && text.data[text.len - 1] == '\n')
        text.data[--text.len] = '\0';
    CHECK_STR(buf_str(&text), want);
    cJSON_Delete(j);
}

TEST(test_val_spread__errors_are_counted_by_decade)
{
    const float a[] = { 1, 2.5f, 3, NAN, 5, 1e9f }, b[] = { 1, 2, 3.5f, 4, 5, 0 };
    const struct sm_tensor got = matrix(1, 6, a), want = matrix(1, 6, b);
    struct val_errors e = { .n = 0 };

    val_errors_add(&e, &got, &want);
    CHECK(e.n == 6 && e.n_same == 2 && e.n_apart == 1);
    check_json(val_errors_json(&e),
               "{\"n\": 6, \"same\": 2, \"apart\": 1, \"mean\": 200000000.2, "
               "\"max\": 1000000000, \"shift\": 200000000, "
               "\"bins\": [{\"from\": 0.1, \"n\": 2}, {\"from\": 1000000, \"n\": 1}]}");
}

TEST(test_val_spread__decisions_flip_by_class)
{
    const float a[] = { 3, 2, 1, 0, 9, 0, 0, 0, 7 },
                b[] = { 1, 2, 3, 0, 9, 0, 0, 0, 8 };
    const struct sm_tensor got = matrix(3, 3, a), want = matrix(3, 3, b);
    struct val_flips f AUTO(val_flips_release) = { .n = 0 };

    CHECK(val_flips_add(&f, &want, &got));
    CHECK(val_flips_add(&f, &want, &got));
    check_json(val_flips_json(&f),
               "{\"n\": 6, \"flipped\": 2, \"share\": 0.3333333333333333, "
               "\"agree\": {\"1\": 0.6666666666666666}, "
               "\"flips\": [{\"from\": 2, \"to\": 0, \"n\": 2}]}");
}

TEST(test_val_spread__a_column_of_scores_decides_at_a_half)
{
    const float a[] = { 0.4f, 0.6f, 0.9f }, b[] = { 0.6f, 0.4f, 0.8f };
    const float far[] = { 0.4f, 6, 0.9f };
    const struct sm_tensor got = matrix(3, 1, a), want = matrix(3, 1, b);
    const struct sm_tensor no_scores = matrix(3, 1, far);
    struct val_flips f AUTO(val_flips_release) = { .n = 0 };

    CHECK(val_flips_add(&f, &want, &got) && f.n == 3 && f.n_flipped == 2);
    CHECK(!val_flips_add(&f, &want, &no_scores));
}

/* ---- slices --------------------------------------------------------------------- */

static cJSON *
judge(const char *slices, enum val_outcome *outcome, struct err *err)
{
    char *text AUTO(free_ptr) = xasprintf(
        "{\"golden\": 1, \"cases\": ["
        "{\"name\": \"a\", \"tags\": [\"fr\"], \"inputs\": {\"x\": [1, 2]}, "
        "\"expected\": {\"y\": [3, 4.01]}},"
        "{\"name\": \"b\", \"tags\": [\"fr\", \"de\"], \"inputs\": {\"x\": [1]}, "
        "\"tolerance\": {\"abs\": 1e-6}, \"expected\": {\"y\": [3.01]}}],"
        "\"slices\": %s}",
        slices);
    struct val_golden g;
    cJSON *report = NULL;

    if (val_golden_parse(&g, str_of(text), -1, "golden.json", err) < 0)
        return NULL;
    CHECK(val_judge_dir(fake_text("model", "fake", "scale 1"), &g, &fake_backend,
                        outcome, &report, err) == 0);
    val_golden_release(&g);
    return report;
}

TEST(test_val_slice__a_tolerance_is_for_cases_with_the_tag_that_have_none)
{
    struct err err = ERR_INIT;
    enum val_outcome outcome;
    cJSON *report AUTO(json_free) =
        judge("[{\"tag\": \"fr\", \"tolerance\": {\"abs\": 0.1}}]", &outcome, &err);
    const cJSON *c = cJSON_GetObjectItem(report, "cases")->child;

    CHECK(outcome == VAL_FAILED);
    CHECK_STR(val_text(c, "verdict"), "passed");
    CHECK_STR(val_text(c->next, "verdict"), "failed");
    check_json(cJSON_DetachItemFromObject(report, "slices"),
               "[{\"tag\": \"fr\", \"cases\": 2, \"failed\": 1}]");
}

TEST(test_val_slice__one_without_cases_is_refused_unless_optional)
{
    struct err err = ERR_INIT;
    enum val_outcome outcome;
    cJSON *report AUTO(json_free) = NULL;

    CHECK(!judge("[{\"tag\": \"it\"}]", &outcome, &err) && err.code == ERR_INVALID);
    CHECK_STR(err.msg, "golden.json: slices: no case has the tag 'it': add one, or say "
                       "\"optional\": true");
    err_clear(&err);
    report = judge("[{\"tag\": \"it\", \"optional\": true}]", &outcome, &err);
    CHECK(report);
}

/* ---- the report ----------------------------------------------------------------- */

TEST(test_val_judge__an_output_that_differs_says_where_and_by_how_much)
{
    struct err err = ERR_INIT;
    enum val_outcome outcome;
    cJSON *report AUTO(json_free) = judge("[]", &outcome, &err);
    cJSON *c = cJSON_GetObjectItem(report, "cases")->child;
    const cJSON *o = cJSON_GetObjectItem(c, "outputs")->child;

    CHECK_STR(val_text(o, "tolerance"), "rel_max");
    CHECK_STR(val_text(o, "got"), "4");
    CHECK_STR(val_text(o, "want"), "4.01");
    CHECK(cJSON_GetObjectItem(o, "at")->child->valuedouble == 1);
    CHECK(cJSON_GetObjectItem(cJSON_GetObjectItem(o, "errors"), "n")->valuedouble == 2);
}

/* ---- beside a baseline ---------------------------------------------------------- */

static cJSON *
beside(const char *model, const char *base, struct val_beside limits,
       enum val_outcome *out)
{
    static const char *const set =
        "{\"golden\": 1, \"cases\": [{\"name\": \"a\", \"inputs\": {\"x\": [1, -2]}}, "
        "{\"name\": \"b\", \"inputs\": {\"x\": [3]}}]}";
    char *base_dir = NULL;
    struct err err = ERR_INIT;
    struct val_golden g;
    cJSON *report = NULL;

    CHECK_OK(val_golden_parse(&g, str_of(set), -1, "golden.json", &err));
    base_dir = xstrdup(fake_text("base", "fake", base));
    CHECK_OK(val_beside_dir(fake_text("model", "fake", model), base_dir, &g,
                            &fake_backend, &limits, out, &report, &err));
    free(base_dir);
    val_golden_release(&g);
    return report;
}

TEST(test_val_baseline__flips_and_shifts_are_held_against_limits)
{
    enum val_outcome out;
    cJSON *r = beside("scale 1", "scale 1", (struct val_beside){ 0, 0, false }, &out);

    CHECK(out == VAL_PASSED);
    cJSON_Delete(r);
    /* probabilities {x, 1}: with 0.5 row 1 of a is {0.5, 1} and not {1, 1} */
    r = beside("scale 0.5", "scale 1", (struct val_beside){ NAN, NAN, false }, &out);
    CHECK(out == VAL_PASSED);
    cJSON_Delete(r);
    r = beside("scale 0.5", "scale 1", (struct val_beside){ 0.3, NAN, false }, &out);
    CHECK(out == VAL_FAILED);
    CHECK_STR(val_text(r, "why"),
              "probabilities: 1 of 3 decisions flipped, 33.3 % > 30 %");
    cJSON_Delete(r);
    r = beside("scale 0.5", "scale 1", (struct val_beside){ NAN, 0.3, false }, &out);
    CHECK(out == VAL_FAILED);
    CHECK_STR(val_text(r, "why"), "y: the mean moved by -0.333, more than 0.3");
    cJSON_Delete(r);
}

TEST(test_val_baseline__a_side_that_does_not_answer_fails)
{
    enum val_outcome out;
    const struct val_beside any = { NAN, NAN, false };
    cJSON *r = beside("asserts 0", "scale 1", any, &out);

    CHECK(out == VAL_PASSED);
    cJSON_Delete(r);
    r = beside("scale 1", "broken 0", any, &out);
    CHECK(out == VAL_FAILED);
    CHECK_STR(val_text(r, "why"),
              "the baseline: variables.index: block 3: wrong checksum");
    cJSON_Delete(r);
    r = beside("unsupported 0", "scale 1", any, &out);
    CHECK(out == VAL_UNSUPPORTED);
    cJSON_Delete(r);
}
