/* SPDX-License-Identifier: Apache-2.0 */
/* Branches and loops: of functions, and of TF1's tokens. */
#include "tests/unit/runtime/rt_fixture.h"

static void
add_x(struct mb *m)
{
    mb_node(m, "x", "Placeholder", "", "dtype:t=1 shape:d=");
}

static void
finish(struct backend **b, struct mb *m)
{
    mb_signature(m, "serving_default", "x=x:0", "y=y:0");
    fx_load(b, m);
}

/* f(a) = a + v */
static void
add_function(struct mb *m, const char *name, const char *op, float v)
{
    mb_function(m, name, "a", "r");
    mb_f32(m, "v", v);
    mb_node(m, "s", op, "a v:output:0", "T:t=1");
    mb_end_function(m, "r=s:z:0", "");
}

TEST(test_rt_control__if_takes_one_branch)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    add_x(&m);
    add_function(&m, "add", "AddV2", 10);
    add_function(&m, "mul", "Mul", 10);
    /* a number is true when it is not zero */
    mb_node(&m, "y", "If", "x x",
            "Tcond:t=1 Tin:l=1 Tout:l=1 then_branch:f=mul else_branch:f=add");
    finish(&b, &m);
    CHECK(fx_run_f32(b, 0) == 10);
    CHECK(fx_run_f32(b, 3) == 30);
}

TEST(test_rt_control__case_out_of_range_takes_the_last)
{
    for (int i = -1; i <= 3; i++) {
        struct mb m = { .init_op = NULL };
        struct backend *b AUTO(fx_close) = NULL;
        add_x(&m);
        mb_i32(&m, "i", i);
        add_function(&m, "f0", "AddV2", 10);
        add_function(&m, "f1", "AddV2", 20);
        add_function(&m, "f2", "AddV2", 30);
        mb_node(&m, "y", "Case", "i x", "Tin:l=1 Tout:l=1 branches:F=f0,f1,f2");
        finish(&b, &m);
        CHECK(fx_run_f32(b, 1) == (i == 0 ? 11 : i == 1 ? 21 : 31));
    }
}

/* while (a < limit) a = a * 2, count++ */
static void
add_loop(struct mb *m, const char *body_value)
{
    mb_function(m, "cond", "a n", "r");
    mb_f32(m, "limit", 100);
    mb_node(m, "less", "Less", "a limit:output:0", "T:t=1");
    mb_end_function(m, "r=less:z:0", "");
    mb_function(m, "body", "a n", "r q");
    mb_f32(m, "one", 1);
    mb_node(m, "dbl", "AddV2", "a a", "T:t=1");
    mb_node(m, "inc", "AddV2", "n one:output:0", "T:t=1");
    mb_end_function(m, body_value, "");
    mb_f32(m, "zero", 0);
    mb_node(m, "w", "While", "x zero", "T:l=1,1 cond:f=cond body:f=body");
    mb_node(m, "y", "Identity", "w:1", "T:t=1");
}

TEST(test_rt_control__while_counts_its_turns)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    add_x(&m);
    add_loop(&m, "r=dbl:z:0 q=inc:z:0");
    finish(&b, &m);
    CHECK(fx_run_f32(b, 1) == 7);
    CHECK(fx_run_f32(b, 100) == 0);
    CHECK(fx_run_f32(b, 60) == 1);
}

TEST(test_rt_control__an_endless_loop_meets_its_limits)
{
    struct err err = ERR_INIT;
    float x = 1, y;
    for (int timed = 0; timed < 2; timed++) {
        struct mb m = { .init_op = NULL };
        struct backend *b AUTO(fx_close) = NULL;
        add_x(&m);
        add_loop(&m, "r=a q=inc:z:0");
        mb_signature(&m, "serving_default", "x=x:0", "y=y:0");
        struct backend_args args = { .max_loop_steps = timed ? 0 : 1000,
                                     .max_wall_ms = timed ? 50 : 0 };
        CHECK_OK(fx_load_with(&b, &m, args, &err));
        CHECK(fx_run(b, &x, &y, sizeof(y), &err) == -ERR_LIMIT);
        CHECK(strstr(err.msg, timed ? "longer than 50 ms" : "more than 1000 steps"));
        err_clear(&err);
    }
}

TEST(test_rt_control__assert_says_what_it_was_given)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    struct err err = ERR_INIT;
    float x = -1, y;
    add_x(&m);
    mb_function(&m, "f", "a", "r");
    mb_f32(&m, "zero", 0);
    mb_strings(&m, "why", "a must be positive");
    mb_node(&m, "ok", "Greater", "a zero:output:0", "T:t=1");
    mb_node(&m, "check", "Assert", "ok:z:0 why:output:0 a", "T:l=7,1 summarize:i=3");
    mb_node(&m, "out", "Identity", "a ^check", "T:t=1");
    mb_end_function(&m, "r=out:output:0", "check");
    mb_node(&m, "y", "StatefulPartitionedCall", "x", "Tin:l=1 Tout:l=1 f:f=f");
    finish(&b, &m);
    CHECK(fx_run_f32(b, 2) == 2);
    CHECK(fx_run(b, &x, &y, sizeof(y), &err) == -ERR_FAILED);
    CHECK(strstr(err.msg, "node 'check' (Assert, function 'f'): assertion failed: "
                          "[a must be positive] [-1]"));
}

/* ---- TF1 ------------------------------------------------------------------------- */

/* cond: x > 0 ? x + 1 : x * x, the branches with constants of their own */
TEST(test_rt_control__switch_and_merge)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    float one = 1;
    add_x(&m);
    mb_f32(&m, "zero", 0);
    mb_node(&m, "p", "Greater", "x zero", "T:t=1");
    mb_node(&m, "sw", "Switch", "x p", "T:t=1");
    mb_node(&m, "t", "Identity", "sw:1", "T:t=1");
    mb_const(&m, "one", "^t", SM_FLOAT, "", &one, sizeof(one));
    mb_node(&m, "plus", "AddV2", "sw:1 one", "T:t=1");
    mb_node(&m, "square", "Mul", "sw:0 sw:0", "T:t=1");
    mb_node(&m, "y", "Merge", "square plus", "T:t=1 N:i=2");
    finish(&b, &m);
    CHECK(fx_run_f32(b, 4) == 5);
    CHECK(fx_run_f32(b, -4) == 16);
}

/* A while loop from its parts: i = 0; while (i < n) { i += 1; a *= 2 }; with a loop
 * inside when `nested`: each turn doubles a three times. */
static void
frame_loop(struct mb *m, const char *frame, const char *start, const char *limit,
           const char *value, bool within, const char *prefix)
{
    char in[128], attrs[128];
    float one = 1;
    (void)within;
#define NAME(s) (snprintf(names[k], sizeof(names[0]), "%s%s", prefix, s), names[k++])
    char names[64][32];
    int k = 0;
    snprintf(attrs, sizeof(attrs), "T:t=1 frame_name:s=%s", frame);
    mb_node(m, NAME("ei"), "Enter", start, attrs);
    mb_node(m, NAME("ea"), "Enter", value, attrs);
    snprintf(attrs, sizeof(attrs), "T:t=1 frame_name:s=%s is_constant:b=1", frame);
    mb_node(m, NAME("en"), "Enter", limit, attrs);
    snprintf(in, sizeof(in), "%sei %sni", prefix, prefix);
    mb_node(m, NAME("mi"), "Merge", in, "T:t=1 N:i=2");
    snprintf(in, sizeof(in), "%sea %sna", prefix, prefix);
    mb_node(m, NAME("ma"), "Merge", in, "T:t=1 N:i=2");
    snprintf(in, sizeof(in), "%smi %sen", prefix, prefix);
    mb_node(m, NAME("less"), "Less", in, "T:t=1");
    snprintf(in, sizeof(in), "%sless", prefix);
    mb_node(m, NAME("lc"), "LoopCond", in, "");
    snprintf(in, sizeof(in), "%smi %slc", prefix, prefix);
    mb_node(m, NAME("si"), "Switch", in, "T:t=1");
    snprintf(in, sizeof(in), "%sma %slc", prefix, prefix);
    mb_node(m, NAME("sa"), "Switch", in, "T:t=1");
    snprintf(in, sizeof(in), "%ssi:1", prefix);
    mb_node(m, NAME("it"), "Identity", in, "T:t=1");
    snprintf(in, sizeof(in), "^%sit", prefix);
    mb_const(m, NAME("one"), in, SM_FLOAT, "", &one, sizeof(one));
    snprintf(in, sizeof(in), "%sit %sone", prefix, prefix);
    mb_node(m, NAME("inc"), "AddV2", in, "T:t=1");
    snprintf(in, sizeof(in), "%sinc", prefix);
    mb_node(m, NAME("ni"), "NextIteration", in, "T:t=1");
    snprintf(in, sizeof(in), "%ssa:0", prefix);
    mb_node(m, NAME("exit"), "Exit", in, "T:t=1");
#undef NAME
}

TEST(test_rt_control__loop_of_frames)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    add_x(&m);
    mb_f32(&m, "zero", 0);
    mb_f32(&m, "start", 1);
    frame_loop(&m, "outer", "zero", "x", "start", false, "");
    mb_node(&m, "dbl", "AddV2", "sa:1 sa:1", "T:t=1");
    mb_node(&m, "na", "NextIteration", "dbl", "T:t=1");
    mb_node(&m, "y", "Identity", "exit", "T:t=1");
    finish(&b, &m);
    CHECK(fx_run_f32(b, 0) == 1);
    CHECK(fx_run_f32(b, 10) == 1024);
}

TEST(test_rt_control__loop_within_a_loop)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    add_x(&m);
    mb_f32(&m, "zero", 0);
    mb_f32(&m, "start", 1);
    mb_f32(&m, "three", 3);
    frame_loop(&m, "outer", "zero", "x", "start", false, "");
    mb_node(&m, "e0", "Enter", "zero", "T:t=1 frame_name:s=outer is_constant:b=1");
    mb_node(&m, "e3", "Enter", "three", "T:t=1 frame_name:s=outer is_constant:b=1");
    frame_loop(&m, "inner", "e0", "e3", "sa:1", true, "i_");
    mb_node(&m, "i_dbl", "AddV2", "i_sa:1 i_sa:1", "T:t=1");
    mb_node(&m, "i_na", "NextIteration", "i_dbl", "T:t=1");
    mb_node(&m, "na", "NextIteration", "i_exit", "T:t=1");
    mb_node(&m, "y", "Identity", "exit", "T:t=1");
    finish(&b, &m);
    CHECK(fx_run_f32(b, 0) == 1);
    CHECK(fx_run_f32(b, 2) == 64);
    CHECK(fx_run_f32(b, 4) == 4096);
}

/* A loop on a branch that is not taken ends, and its result is dead. */
TEST(test_rt_control__loop_on_a_dead_branch)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    add_x(&m);
    mb_f32(&m, "zero", 0);
    mb_node(&m, "p", "Greater", "x zero", "T:t=1");
    mb_node(&m, "sw", "Switch", "x p", "T:t=1");
    mb_node(&m, "live0", "Sub", "sw:1 sw:1", "T:t=1");
    frame_loop(&m, "outer", "live0", "sw:1", "sw:1", false, "");
    mb_node(&m, "dbl", "AddV2", "sa:1 sa:1", "T:t=1");
    mb_node(&m, "na", "NextIteration", "dbl", "T:t=1");
    mb_node(&m, "neg", "Neg", "sw:0", "T:t=1");
    mb_node(&m, "y", "Merge", "neg exit", "T:t=1 N:i=2");
    finish(&b, &m);
    CHECK(fx_run_f32(b, 3) == 24);
    CHECK(fx_run_f32(b, -3) == 3);
}

TEST(test_rt_control__an_endless_loop_of_frames)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    struct err err = ERR_INIT;
    float x = 1e30f, y;
    add_x(&m);
    mb_f32(&m, "zero", 0);
    frame_loop(&m, "outer", "zero", "x", "zero", false, "");
    mb_node(&m, "na", "NextIteration", "sa:1", "T:t=1");
    mb_node(&m, "y", "Identity", "exit", "T:t=1");
    mb_signature(&m, "serving_default", "x=x:0", "y=y:0");
    CHECK_OK(
        fx_load_with(&b, &m, (struct backend_args){ .max_loop_steps = 100 }, &err));
    CHECK_ERR(fx_run(b, &x, &y, sizeof(y), &err), ERR_LIMIT);
}

TEST(test_rt_control__a_function_with_tokens_inside)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    add_x(&m);
    mb_function(&m, "f", "a", "r");
    mb_f32(&m, "zero", 0);
    mb_node(&m, "p", "Greater", "a zero:output:0", "T:t=1");
    mb_node(&m, "sw", "Switch", "a p:z:0", "T:t=1");
    mb_node(&m, "neg", "Neg", "sw:output_false:0", "T:t=1");
    mb_node(&m, "mg", "Merge", "neg:y:0 sw:output_true:0", "T:t=1 N:i=2");
    mb_end_function(&m, "r=mg:output:0", "");
    mb_node(&m, "c", "PartitionedCall", "x", "Tin:l=1 Tout:l=1 f:f=f");
    mb_node(&m, "y", "AddV2", "c c", "T:t=1");
    finish(&b, &m);
    CHECK(fx_run_f32(b, 3) == 6);
    CHECK(fx_run_f32(b, -3) == 6);
}
