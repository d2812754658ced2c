/* SPDX-License-Identifier: Apache-2.0 */
/* The first tensor at which two small models part. */
#include "validate/val_trace.h"

#include "tests/unit/runtime/model_build.h"

/* ---- two models and a set -------------------------------------------------------- */

static const char *
keep_as(struct mb *m, const char *name)
{
    static char dir[2][512];
    char *from = xasprintf("%s/saved_model.pb", mb_save(m)), *to;
    char *out = dir[name[0] == 'b'];
    struct err err = ERR_INIT;

    snprintf(out, sizeof(dir[0]), "%s/%s", unit_dir(), name);
    CHECK_OK(fs_mkdirs(AT_FDCWD, out, 0755, &err));
    to = xasprintf("%s/saved_model.pb", out);
    CHECK_OK(fs_copy(AT_FDCWD, from, AT_FDCWD, to, 0644, &err));
    free(from);
    free(to);
    return out;
}

/* Judges `a` by x = 1 and a wrong answer, and traces it against `b` (NULL: `ref`
 * alone).
 */
static cJSON *
trace(const char *a, const char *b, const char *ref, const struct backend_ops *ops)
{
    static const char text[] =
        "{\"golden\": 1, \"cases\": [{\"name\": \"c\", \"inputs\": {\"x\": 1.0}, "
        "\"expected\": {\"y\": 12345.0}}]}";
    struct err err = ERR_INIT;
    enum val_outcome outcome;
    struct val_golden g;
    cJSON *report = NULL, *out;

    CHECK_OK(val_golden_parse(&g, STR_LIT(text), -1, "golden.json", &err));
    CHECK_OK(val_judge_dir(a, &g, &runner_backend, &outcome, &report, &err));
    CHECK_INT(outcome, VAL_FAILED);
    CHECK_OK(val_trace_dir(a, b, ref, &g, ops, report, &err));
    out = cJSON_DetachItemFromObject(report, "trace");
    cJSON_Delete(report);
    val_golden_release(&g);
    return out;
}

static const cJSON *
get(const cJSON *o, const char *key)
{
    const cJSON *j = cJSON_GetObjectItemCaseSensitive(o, key);

    if (!j)
        unit_fail(__FILE__, __LINE__, "no member %s", key);
    return j;
}

static int
number(const cJSON *o, const char *key)
{
    return get(o, key)->valueint;
}

/* i counts to 6; a grows by one up to `cap`. Functions have numbers as TensorFlow's. */
static const char *
loop_model(const char *name, float cap, const char *number_text)
{
    struct mb m = { .init_op = NULL };
    char body[32], cond[32], attrs[96];

    snprintf(body, sizeof(body), "body_%s", number_text);
    snprintf(cond, sizeof(cond), "cond_%s", number_text);
    snprintf(attrs, sizeof(attrs), "T:l=1,1 cond:f=%s body:f=%s", cond, body);
    mb_node(&m, "x", "Placeholder", "", "dtype:t=1 shape:d=");
    mb_function(&m, cond, "i a", "r");
    mb_f32(&m, "end", 6);
    mb_node(&m, "less", "Less", "i end:output:0", "T:t=1");
    mb_end_function(&m, "r=less:z:0", "");
    mb_function(&m, body, "i a", "ri ra");
    mb_f32(&m, "one", 1);
    mb_f32(&m, "cap", cap);
    mb_node(&m, "next", "AddV2", "i one:output:0", "T:t=1");
    mb_node(&m, "grown", "AddV2", "a one:output:0", "T:t=1");
    mb_node(&m, "capped", "Minimum", "grown:z:0 cap:output:0", "T:t=1");
    mb_end_function(&m, "ri=next:z:0 ra=capped:z:0", "");
    mb_f32(&m, "zero", 0);
    mb_node(&m, "loop", "StatelessWhile", "zero x", attrs);
    mb_node(&m, "y", "Neg", "loop:1", "T:t=1");
    mb_signature(&m, "serving_default", "x=x:0", "y=y:0");
    return keep_as(&m, name);
}

TEST(test_val_trace__a_loop_parts_in_its_first_iteration_that_does)
{
    const char *a = loop_model("a", 4, "12"), *b = loop_model("b", 100, "345");
    cJSON *t AUTO(json_free) = trace(a, b, "b", &runner_backend);
    const cJSON *first = get(t, "first"), *cause = get(t, "causes")->child;

    CHECK_STR(val_text(first, "node"), "capped");
    CHECK_STR(val_text(first, "within"), "loop");
    CHECK_INT(number(first, "iteration"), 4); /* 1 + 4 > 4 */
    CHECK_STR(val_text(first, "got"), "4");
    CHECK_STR(val_text(first, "want"), "5");
    CHECK_STR(val_text(cause, "name"), "cap");
    CHECK_STR(val_text(cause, "kind"), "constant");
    CHECK_INT(number(cause, "differ"), 1);
    /* less and next agree; the rest of a, loop:1 and y part */
    CHECK_INT(number(get(t, "behind"), "part"), 2 + 2 + 2);
    CHECK_INT(number(get(t, "tensors"), "alone"), 0);
    CHECK_STR(val_text(get(t, "outputs")->child, "state"), "part");
}

/* y = -((x + k) * 3), with names of one's own and, when asked, two steps more. */
static const char *
chain_model(const char *name, const char *prefix, float k, bool longer)
{
    struct mb m = { .init_op = NULL };
    char n[5][32], in[80];

    for (int i = 0; i < 5; i++)
        snprintf(n[i], sizeof(n[i]), "%s%d", prefix, i);
    mb_node(&m, "x", "Placeholder", "", "dtype:t=1 shape:d=");
    mb_f32(&m, "k", k);
    mb_f32(&m, "three", 3);
    if (longer) {
        mb_node(&m, "more0", "Neg", "x", "T:t=1");
        mb_node(&m, "more1", "Neg", "more0", "T:t=1");
    }
    snprintf(in, sizeof(in), "%s k", longer ? "more1" : "x");
    mb_node(&m, n[0], "AddV2", in, "T:t=1");
    snprintf(in, sizeof(in), "%s three", n[0]);
    mb_node(&m, n[1], "Mul", in, "T:t=1");
    mb_node(&m, n[2], "Neg", n[1], "T:t=1");
    snprintf(in, sizeof(in), "y=%s:0", n[2]);
    mb_signature(&m, "serving_default", "x=x:0", in);
    return keep_as(&m, name);
}

TEST(test_val_trace__steps_of_other_names_are_found_by_structure)
{
    const char *a = chain_model("a", "p", 1, false),
               *b = chain_model("b", "q", 2, false);
    cJSON *t AUTO(json_free) = trace(a, b, "b", &runner_backend);

    CHECK_STR(val_text(get(t, "first"), "node"), "p0");
    CHECK_STR(val_text(get(t, "first"), "twin"), "q0");
    CHECK_INT(number(get(t, "tensors"), "by_place"), 3);
    CHECK_INT(number(get(t, "tensors"), "alone"), 0);
    CHECK_INT(number(get(t, "behind"), "part"), 2);
    CHECK_STR(val_text(get(t, "causes")->child, "name"), "k");
}

/* What is fed on has another structure: then the way back from the outputs leads there.
 */
TEST(test_val_trace__steps_behind_others_are_found_along_their_consumers)
{
    const char *a = chain_model("a", "p", 1, false),
               *b = chain_model("b", "q", 2, true);
    cJSON *t AUTO(json_free) = trace(a, b, "b", &runner_backend);

    CHECK_STR(val_text(get(t, "first"), "node"), "p0");
    CHECK_STR(val_text(get(t, "first"), "twin"), "q0");
    CHECK_INT(number(get(t, "tensors"), "by_place"), 3);
}

/* y = log(x + k) + far, where k = -2 makes a NaN. */
static const char *
nan_model(const char *name, float k)
{
    struct mb m = { .init_op = NULL };

    mb_node(&m, "x", "Placeholder", "", "dtype:t=1 shape:d=");
    mb_f32(&m, "k", k);
    mb_node(&m, "sum", "AddV2", "x k", "T:t=1");
    mb_node(&m, "log", "Log", "sum", "T:t=1");
    mb_node(&m, "y", "Neg", "log", "T:t=1");
    mb_signature(&m, "serving_default", "x=x:0", "y=y:0");
    return keep_as(&m, name);
}

TEST(test_val_trace__nan_is_named_where_it_comes_up)
{
    const char *a = nan_model("a", -2), *b = nan_model("b", 2);
    cJSON *t AUTO(json_free) = trace(a, b, "b", &runner_backend);

    CHECK_STR(val_text(get(t, "first"), "node"), "sum");
    CHECK_STR(val_text(get(t, "nan"), "node"), "log");
    CHECK_INT(number(get(t, "nan"), "n"), 1);
    CHECK_INT(number(get(t, "nan"), "other"), 0);
}

/* y = x reshaped to [k]: an error unless k is 1. */
static const char *
reshape_model(const char *name, int32_t k)
{
    struct mb m = { .init_op = NULL };

    mb_node(&m, "x", "Placeholder", "", "dtype:t=1 shape:d=");
    mb_const(&m, "shape", "", SM_INT32, "1", &k, sizeof(k));
    mb_node(&m, "twice", "AddV2", "x x", "T:t=1");
    mb_node(&m, "y", "Reshape", "twice shape", "T:t=1 Tshape:t=3");
    mb_signature(&m, "serving_default", "x=x:0", "y=y:0");
    return keep_as(&m, name);
}

TEST(test_val_trace__an_error_is_told_with_its_node)
{
    const char *a = reshape_model("a", 7), *b = reshape_model("b", 1);
    cJSON *t AUTO(json_free) = trace(a, b, "b", &runner_backend);

    CHECK(strstr(val_text(t, "error"), "node 'y' (Reshape)") != NULL);
    CHECK_STR(val_text(get(t, "error_at"), "node"), "y");
    CHECK_STR(val_text(t, "note"), "up to its error no tensor parts");
}

TEST(test_val_trace__without_another_side_it_says_what_is_needed)
{
    const char *a = nan_model("a", 2);
    cJSON *t AUTO(json_free) = trace(a, NULL, NULL, &runner_backend);

    CHECK(strstr(val_text(t, "note"), "--trace-against") != NULL);
    CHECK(!json_has(t, "first"));
}

/* Of a backend that shows outputs only, the embedded runtime's two plans are compared.
 */
TEST(test_val_trace__plans_of_one_model_agree)
{
    struct backend_ops outputs_only = runner_backend;
    const char *a = loop_model("a", 4, "12");

    outputs_only.watch = NULL;
    outputs_only.name = "exec";
    for (int i = 0; i < 2; i++) {
        cJSON *t AUTO(json_free) = trace(a, NULL, i ? VAL_TRACE_PASSES : NULL,
                                         i ? &runner_backend : &outputs_only);

        CHECK_STR(val_text(t, "how"), "passes");
        CHECK(json_has(t, "backend_note") == !i);
        CHECK_STR(val_text(t, "note"), "no tensor that both have parts");
        CHECK_INT(number(get(t, "tensors"), "same"), number(get(t, "tensors"), "n"));
    }
}

/* ---- what a runner says ---------------------------------------------------------- */

static int
read_text(const char *text, struct err *err)
{
    struct tr_run r;
    int e = tr_read(&r, str_of(text), err);

    if (e == 0)
        tr_release(&r);
    return e;
}

#define STEP "\"steps\": [{\"node\": \"n\", \"op\": \"Add\", \"in\": []}], \"held\": []"
#define TENSOR "[1, [2, 3], \"0123456789abcdef\", 0]"

TEST(test_val_trace__a_runner_is_not_trusted)
{
    static const char *const bad[] = {
        "[]",
        "{}",
        "{" STEP ", \"lost\": 0, \"events\": [[1, 0, -1, 0, [], []]], \"outputs\": []}",
        "{" STEP ", \"lost\": 0, \"events\": [[0, 0, 0, 0, [], []]], \"outputs\": []}",
        "{" STEP ", \"lost\": 0, \"events\": [[0, 0, -1, 1, [], []]], \"outputs\": []}",
        "{" STEP ", \"lost\": 0, \"events\": [[0, 0, -1, 0, [], [[2, 0, 0]]]], "
        "\"outputs\": []}",
        "{" STEP ", \"lost\": 0, \"events\": [[0, 0, -1, 0, [], [[3, 0, 0]]]], "
        "\"outputs\": []}",
        "{" STEP ", \"lost\": 0, \"events\": [[0, 0, -1, 0, [[1, [-1], "
        "\"0123456789abcdef\", 0]], []]], \"outputs\": []}",
        "{" STEP ", \"lost\": 0, \"events\": [[0, 0, -1, 0, [[1, [1099511627776, 2], "
        "\"0123456789abcdef\", 0]], []]], \"outputs\": []}",
        "{" STEP ", \"lost\": 0, \"events\": [[0, 0, -1, 0, [[999, [], "
        "\"0123456789abcdef\", 0]], []]], \"outputs\": []}",
        "{" STEP ", \"lost\": 0, \"events\": [[0, 0, -1, 0, [" TENSOR "], []]], "
        "\"outputs\": [[\"y\", 2, 0, 1]]}",
        "{" STEP ", \"lost\": 0, \"events\": [[0, 0, -1, 0, [], []], [0, 0, -1, 0, [], "
        "[]]], \"outputs\": []}",
        "{" STEP
        ", \"lost\": 0, \"events\": [[0, 0, -1, 1, [], []], [0, 0, -1, -1, [], "
        "[]]], \"outputs\": []}",
    };
    struct err err = ERR_INIT;

    CHECK_OK(read_text("{" STEP ", \"lost\": 0, \"events\": [[0, 0, -1, 0, [" TENSOR
                       "], []]], \"outputs\": [[\"y\", 2, 0, 0]]}",
                       &err));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_ERR(read_text(bad[i], &err), ERR_CORRUPT);
}
