/* SPDX-License-Identifier: Apache-2.0 */
/* Reading, binding, planning: what is asked for, what is missing, what is wrong. */
#include "tests/unit/runtime/rt_fixture.h"

static void
add_x(struct mb *m)
{
    mb_node(m, "x", "Placeholder", "", "dtype:t=1 shape:d=");
}

TEST(test_rt_plan__runs_a_graph)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    add_x(&m);
    mb_f32(&m, "two", 2);
    mb_node(&m, "half", "Identity", "x", "T:t=1");
    mb_node(&m, "y", "AddV2", "half two", "T:t=1");
    mb_signature(&m, "serving_default", "x=x:0", "y=y:0");
    fx_load(&b, &m);
    CHECK(fx_run_f32(b, 1) == 3);
    CHECK(fx_run_f32(b, -2) == 0);
}

TEST(test_rt_plan__inlines_calls_within_calls)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    add_x(&m);
    mb_function(&m, "twice", "a", "r");
    mb_node(&m, "s", "AddV2", "a a", "T:t=1");
    mb_end_function(&m, "r=s:z:0", "");
    mb_function(&m, "four", "a", "r");
    mb_node(&m, "c1", "PartitionedCall", "a", "Tin:l=1 Tout:l=1 f:f=twice");
    mb_node(&m, "c2", "twice", "c1:output:0", "");
    mb_end_function(&m, "r=c2:r:0", "");
    mb_node(&m, "y", "StatefulPartitionedCall", "x", "Tin:l=1 Tout:l=1 f:f=four");
    mb_signature(&m, "serving_default", "x=x:0", "y=y:0");
    fx_load(&b, &m);
    CHECK(fx_run_f32(b, 3) == 12);
}

TEST(test_rt_plan__a_result_may_be_an_argument)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    add_x(&m);
    mb_function(&m, "id", "a b", "r q");
    mb_end_function(&m, "r=b q=a", "");
    mb_f32(&m, "one", 1);
    mb_node(&m, "c", "PartitionedCall", "x one", "Tin:l=1,1 Tout:l=1,1 f:f=id");
    mb_node(&m, "y", "Sub", "c:1 c:0", "T:t=1");
    mb_signature(&m, "serving_default", "x=x:0", "y=y:0");
    fx_load(&b, &m);
    CHECK(fx_run_f32(b, 5) == 4);
}

TEST(test_rt_plan__recursion_is_called)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    add_x(&m);
    /* f(a) = a > 1 ? 1 + f(a - 1) : a */
    mb_function(&m, "f", "a", "r");
    mb_f32(&m, "one", 1);
    mb_node(&m, "big", "Greater", "a one:output:0", "T:t=1");
    mb_node(&m, "i", "If", "big:z:0 a",
            "Tcond:t=10 Tin:l=1 Tout:l=1 then_branch:f=more else_branch:f=stop");
    mb_end_function(&m, "r=i:output:0", "");
    mb_function(&m, "more", "a", "r");
    mb_f32(&m, "one", 1);
    mb_node(&m, "less", "Sub", "a one:output:0", "T:t=1");
    mb_node(&m, "call", "StatefulPartitionedCall", "less:z:0",
            "Tin:l=1 Tout:l=1 f:f=f");
    mb_node(&m, "sum", "AddV2", "one:output:0 call:output:0", "T:t=1");
    mb_end_function(&m, "r=sum:z:0", "");
    mb_function(&m, "stop", "a", "r");
    mb_end_function(&m, "r=a", "");
    mb_node(&m, "y", "StatefulPartitionedCall", "x", "Tin:l=1 Tout:l=1 f:f=f");
    mb_signature(&m, "serving_default", "x=x:0", "y=y:0");
    fx_load(&b, &m);
    CHECK(fx_run_f32(b, 20.5f) == 20.5f);
    struct err err = ERR_INIT;
    float x = 1e6f, y;
    CHECK_ERR(fx_run(b, &x, &y, sizeof(y), &err), ERR_LIMIT);
}

TEST(test_rt_plan__missing_ops_are_listed_at_once)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    struct err err = ERR_INIT;
    float x = 1, y;
    add_x(&m);
    mb_function(&m, "f", "a", "r");
    mb_node(&m, "in/custom", "MyCustomOp", "a", "");
    mb_node(&m, "w", "WriteFile", "in/custom:out:0 in/custom:out:1", "");
    mb_end_function(&m, "r=in/custom:out:0", "w");
    mb_node(&m, "c", "StatefulPartitionedCall", "x", "Tin:l=1 Tout:l=1 f:f=f");
    mb_node(&m, "y", "OtherCustomOp", "c", "");
    mb_node(&m, "fine", "Identity", "x", "T:t=1");
    mb_signature(&m, "serving_default", "x=x:0", "y=y:0");
    mb_signature(&m, "fine", "x=x:0", "y=fine:0");
    fx_load(&b, &m);
    CHECK(fx_run(b, &x, &y, sizeof(y), &err) == -ERR_UNSUPPORTED);
    CHECK(strstr(err.msg, "signature 'serving_default'"));
    CHECK(strstr(err.msg, "MyCustomOp (node 'in/custom' in function 'f')"));
    CHECK(strstr(err.msg, "OtherCustomOp (node 'y')"));
    CHECK(strstr(err.msg, "WriteFile (node 'w' in function 'f'): refused"));
    err_clear(&err);
    struct sm_tensor_list in AUTO(sm_tensor_list_release) = { 0 };
    struct sm_tensor_list out AUTO(sm_tensor_list_release) = { 0 };
    fx_feed(&in, "x", SM_FLOAT, 0, 1, &x);
    CHECK_OK(rt_backend.run(b, "fine", &in, &out, &err));
}

/* A function with a missing op, used by two signatures, is reported for both. */
TEST(test_rt_plan__missing_ops_of_a_shared_branch)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    struct err err = ERR_INIT;
    float x = 1;
    add_x(&m);
    mb_function(&m, "bad", "a", "r");
    mb_node(&m, "n", "MyCustomOp", "a", "");
    mb_end_function(&m, "r=n:out:0", "");
    mb_node(&m, "p", "Greater", "x x", "T:t=1");
    for (int i = 0; i < 2; i++)
        mb_node(&m, i ? "y1" : "y0", "StatelessIf", "p x",
                "Tcond:t=10 Tin:l=1 Tout:l=1 then_branch:f=bad else_branch:f=bad");
    mb_signature(&m, "s0", "x=x:0", "y=y0:0");
    mb_signature(&m, "s1", "x=x:0", "y=y1:0");
    fx_load(&b, &m);
    for (int i = 0; i < 2; i++) {
        struct sm_tensor_list in AUTO(sm_tensor_list_release) = { 0 };
        struct sm_tensor_list out AUTO(sm_tensor_list_release) = { 0 };
        fx_feed(&in, "x", SM_FLOAT, 0, 1, &x);
        CHECK(rt_backend.run(b, i ? "s1" : "s0", &in, &out, &err) == -ERR_UNSUPPORTED);
        CHECK(strstr(err.msg, "MyCustomOp (node 'n' in function 'bad')"));
        err_clear(&err);
    }
}

/* An argument may be waited for, too: then for what the caller made it from. */
TEST(test_rt_plan__a_control_edge_from_an_argument)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    struct err err = ERR_INIT;
    float x = -1, y;
    add_x(&m);
    mb_f32(&m, "zero", 0);
    mb_node(&m, "p", "Greater", "x zero", "T:t=1");
    mb_node(&m, "check", "Assert", "p x", "T:l=1 summarize:i=3");
    mb_node(&m, "checked", "Identity", "x ^check", "T:t=1");
    mb_function(&m, "f", "a b", "r");
    mb_f32(&m, "ten", 10);
    mb_node(&m, "i", "Identity", "b ^a", "T:t=1");
    mb_node(&m, "s", "AddV2", "i:output:0 ten:output:0", "T:t=1");
    mb_end_function(&m, "r=s:z:0", "");
    mb_node(&m, "y", "PartitionedCall", "checked x", "Tin:l=1,1 Tout:l=1 f:f=f");
    mb_signature(&m, "serving_default", "x=x:0", "y=y:0");
    fx_load(&b, &m);
    CHECK(fx_run_f32(b, 1) == 11);
    CHECK_ERR(fx_run(b, &x, &y, sizeof(y), &err), ERR_FAILED);
}

static void
check_broken(struct mb *m, enum err_code want, const char *text)
{
    struct backend *b AUTO(fx_close) = NULL;
    struct err err = ERR_INIT;
    float x = 1, y;
    mb_signature(m, "serving_default", "x=x:0", "y=y:0");
    int rc = fx_load_with(&b, m, (struct backend_args){ .n_threads = 1 }, &err);
    if (rc == 0)
        rc = fx_run(b, &x, &y, sizeof(y), &err);
    if (rc != -(int)want || !strstr(err.msg, text))
        unit_fail(__FILE__, __LINE__, "%s: %s", err_name(err.code), err.msg);
}

TEST(test_rt_plan__broken_graphs_are_refused)
{
    struct mb m = { .init_op = NULL };
    add_x(&m);
    mb_node(&m, "a", "AddV2", "x y", "T:t=1");
    mb_node(&m, "y", "AddV2", "x a", "T:t=1");
    check_broken(&m, ERR_FAILED, "cycle");

    m = (struct mb){ .init_op = NULL };
    add_x(&m);
    mb_node(&m, "y", "AddV2", "x", "T:t=1");
    check_broken(&m, ERR_CORRUPT, "node 'y' (AddV2): has 1 inputs, not 2");

    m = (struct mb){ .init_op = NULL };
    add_x(&m);
    mb_node(&m, "y", "AddV2", "x gone", "T:t=1");
    check_broken(&m, ERR_CORRUPT, "'gone' is not in the graph");

    m = (struct mb){ .init_op = NULL };
    add_x(&m);
    mb_node(&m, "y", "Identity", "x:7", "T:t=1");
    check_broken(&m, ERR_CORRUPT, "has 1 outputs; output 7");

    m = (struct mb){ .init_op = NULL };
    add_x(&m);
    mb_node(&m, "y", "PartitionedCall", "x", "Tin:l=1 Tout:l=1 f:f=gone");
    check_broken(&m, ERR_CORRUPT, "not in the library");

    m = (struct mb){ .init_op = NULL };
    add_x(&m);
    mb_function(&m, "f", "a b", "r");
    mb_end_function(&m, "r=a", "");
    mb_node(&m, "y", "PartitionedCall", "x", "Tin:l=1 Tout:l=1 f:f=f");
    check_broken(&m, ERR_CORRUPT, "1 arguments for the 2 of function 'f'");

    /* A call whose result is its own argument. */
    m = (struct mb){ .init_op = NULL };
    add_x(&m);
    mb_function(&m, "f", "a", "r");
    mb_end_function(&m, "r=a", "");
    mb_node(&m, "y", "PartitionedCall", "y", "Tin:l=1 Tout:l=1 f:f=f");
    check_broken(&m, ERR_FAILED, "cycle");

    m = (struct mb){ .init_op = NULL };
    add_x(&m);
    mb_i32(&m, "i", 1);
    mb_node(&m, "y", "AddV2", "x i", "T:t=1");
    check_broken(&m, ERR_CORRUPT, "input 1 has dtype int32");

    m = (struct mb){ .init_op = NULL };
    add_x(&m);
    mb_node(&m, "p", "Placeholder", "", "dtype:t=1 shape:d=2,-1");
    mb_node(&m, "y", "AddV2", "x p", "T:t=1");
    check_broken(&m, ERR_FAILED,
                 "You must feed a value for placeholder tensor 'p' with dtype "
                 "float and shape [2,?]");
}

/* ---- what is fed ----------------------------------------------------------------- */

static void
load_pair(struct backend **b)
{
    struct mb m = { .init_op = NULL };
    mb_node(&m, "x", "Placeholder", "", "dtype:t=1 shape:d=-1");
    mb_f32(&m, "ten", 10);
    mb_node(&m, "k", "PlaceholderWithDefault", "ten", "dtype:t=1 shape:d=");
    mb_node(&m, "y", "AddV2", "x k", "T:t=1");
    mb_signature(&m, "serving_default", "x=x:0 k=k:0", "y=y:0");
    fx_load(b, &m);
}

static void
check_feed(struct backend *b, const char *key, int dtype, int rank, enum err_code want,
           const char *text)
{
    struct sm_tensor_list in AUTO(sm_tensor_list_release) = { 0 };
    struct sm_tensor_list out AUTO(sm_tensor_list_release) = { 0 };
    struct err err = ERR_INIT;
    double v[4] = { 0 };
    if (key)
        fx_feed(&in, key, dtype, rank, 2, v);
    int rc = rt_backend.run(b, "serving_default", &in, &out, &err);
    if (rc != -(int)want || !strstr(err.msg, text))
        unit_fail(__FILE__, __LINE__, "%s: %s", err_name(err.code), err.msg);
}

TEST(test_rt_plan__inputs_are_checked)
{
    struct backend *b AUTO(fx_close) = NULL;
    load_pair(&b);
    check_feed(b, "x", SM_FLOAT, 1, ERR_OK, "");
    check_feed(b, "z", SM_FLOAT, 1, ERR_INVALID,
               "'z' is no input of signature "
               "'serving_default'; its inputs are 'k', 'x'");
    check_feed(b, "x", SM_DOUBLE, 1, ERR_INVALID,
               "input 'x' of signature 'serving_default' is "
               "double, not float");
    check_feed(b, "x", SM_FLOAT, 0, ERR_INVALID, "has shape [], not [?]");
    check_feed(b, NULL, 0, 0, ERR_INVALID, "also needs input 'x'");
}

TEST(test_rt_plan__a_default_is_used_when_nothing_is_fed)
{
    struct backend *b AUTO(fx_close) = NULL;
    struct err err = ERR_INIT;
    float x[2] = { 1, 2 }, k = 5;
    load_pair(&b);
    for (int given = 0; given < 2; given++) {
        struct sm_tensor_list in AUTO(sm_tensor_list_release) = { 0 };
        struct sm_tensor_list out AUTO(sm_tensor_list_release) = { 0 };
        fx_feed(&in, "x", SM_FLOAT, 1, 2, x);
        if (given)
            fx_feed(&in, "k", SM_FLOAT, 0, 1, &k);
        CHECK_OK(rt_backend.run(b, "serving_default", &in, &out, &err));
        const float *y = sm_tensor_list_find(&out, "y")->data;
        CHECK(y[0] == (given ? 6 : 11) && y[1] == (given ? 7 : 12));
    }
}

TEST(test_rt_plan__an_unknown_signature_lists_those_there_are)
{
    struct backend *b AUTO(fx_close) = NULL;
    struct err err = ERR_INIT;
    const struct backend_signature *sig;
    load_pair(&b);
    CHECK(rt_backend.signature(b, "nope", &sig, &err) == -ERR_NOTFOUND);
    CHECK(strstr(err.msg, "serving_default"));
    err_clear(&err);
    CHECK_OK(rt_backend.signature(b, "serving_default", &sig, &err));
    CHECK_INT(sig->n_inputs, 2);
    CHECK_STR(sig->inputs[0].key, "k");
    CHECK(sig->inputs[0].has_default && !sig->inputs[1].has_default);
}
