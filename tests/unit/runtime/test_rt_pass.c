/* SPDX-License-Identifier: Apache-2.0 */
/* Passes: each fires on what it was made for, and answers are the same without it. */
#include "runtime/rt_backend_int.h"
#include "runtime/rt_pass_int.h"
#include "tests/unit/runtime/rt_fixture.h"

#include <math.h>
#include <stdlib.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

static void
add_x(struct mb *m)
{
    mb_node(m, "x", "Placeholder", "", "dtype:t=1 shape:d=");
}

/* A constant of n floats that differ; times x under the name `name`_x when `varies`. */
static void
floats(struct mb *m, const char *name, const char *dims, int n, bool varies)
{
    float v[512];
    char with_x[64], inputs[64];
    for (int i = 0; i < n; i++)
        v[i] = (float)((i * 7919 + 13 * (int)name[0]) % 101) / 70.0f - 0.6f;
    mb_const(m, name, "", SM_FLOAT, dims, v, (size_t)n * sizeof(v[0]));
    snprintf(with_x, sizeof(with_x), "%s_x", name);
    snprintf(inputs, sizeof(inputs), "%s x", name);
    if (varies)
        mb_node(m, with_x, "Mul", inputs, "T:t=1");
}

static void
pass_on(struct backend **b, struct mb *m, const char *passes)
{
    if (passes)
        setenv("SLUICE_PLAN", passes, 1);
    else
        unsetenv("SLUICE_PLAN");
    fx_load(b, m);
    unsetenv("SLUICE_PLAN");
}

static const struct rt_plan *
plan_of(struct backend *b)
{
    return b->bound->plans->plan;
}

/* Runs the graph with all passes and without: y[n] the same up to rounding; `pass`
 * fired `fired` times and left `n_steps` steps. */
static void
compare(void (*build)(struct mb *m), int n, int pass, int fired, int n_steps)
{
    float y[2][512];
    size_t bytes = (size_t)n * sizeof(float);
    for (int i = 0; i < 2; i++) {
        struct mb m = { .init_op = NULL };
        struct backend *b AUTO(fx_close) = NULL;
        struct err err = ERR_INIT;
        float x = 1.25f;
        add_x(&m);
        build(&m);
        mb_signature(&m, "serving_default", "x=x:0", "y=y:0");
        pass_on(&b, &m, i ? "none" : NULL);
        for (int twice = 0; twice < 2; twice++)
            CHECK_OK(fx_run(b, &x, y[i], bytes, &err));
        CHECK_INT(plan_of(b)->n_fired[pass], i ? 0 : fired);
        if (i == 0)
            CHECK_INT(plan_of(b)->n_steps, n_steps);
    }
    for (int i = 0; i < n; i++)
        CHECK(fabsf(y[0][i] - y[1][i]) <= 1e-5f * fmaxf(1, fabsf(y[1][i])));
}

/* ---- convolutions and products --------------------------------------------------- */

#define CONV "T:t=1 strides:I=1,1,1,1 padding:s=VALID"

static void
conv_norm_sum_relu(struct mb *m)
{
    const int32_t pads[8] = { 0, 0, 1, 1, 1, 1, 0, 0 };
    floats(m, "i", "1,6,6,3", 108, true);
    floats(m, "f", "3,3,3,4", 108, false);
    floats(m, "gamma", "4", 4, false);
    floats(m, "beta", "4", 4, false);
    floats(m, "mean", "4", 4, false);
    mb_const(m, "var", "", SM_FLOAT, "4", (const float[]){ 1, 2, .5f, 3 }, 16);
    floats(m, "s", "1,6,6,4", 144, true);
    mb_const(m, "pads", "", SM_INT32, "4,2", pads, sizeof(pads));
    mb_node(m, "pad", "Pad", "i_x pads", "T:t=1 Tpaddings:t=3");
    mb_node(m, "conv", "Conv2D", "pad f", CONV);
    mb_node(m, "bias", "BiasAdd", "conv beta", "T:t=1");
    mb_node(m, "bn", "FusedBatchNormV3", "bias gamma beta mean var",
            "T:t=1 U:t=1 is_training:b=0");
    mb_node(m, "sum", "AddV2", "s_x bn", "T:t=1");
    mb_node(m, "y", "Relu", "sum", "T:t=1");
}

TEST(test_rt_pass__convolution_takes_pad_bias_norm_sum_and_relu)
{
    compare(conv_norm_sum_relu, 144, RT_PASS_fuse, 5, 3);
}

static void
conv_sum_broadcasts(struct mb *m)
{
    floats(m, "i", "1,5,5,2", 50, true);
    floats(m, "f", "3,3,2,4", 72, false);
    floats(m, "s", "2,1,1,4", 8, true);
    mb_node(m, "conv", "Conv2D", "i_x f", CONV);
    mb_node(m, "sum", "AddV2", "conv s_x", "T:t=1");
    mb_node(m, "y", "Relu6", "sum", "T:t=1");
}

TEST(test_rt_pass__a_sum_that_broadcasts_is_a_step_of_its_own)
{
    compare(conv_sum_broadcasts, 2 * 36, RT_PASS_fuse, 2, 3);
}

static void
depthwise_first(struct mb *m)
{
    floats(m, "i", "1,6,6,3", 108, true);
    floats(m, "f", "3,3,3,2", 54, false);
    floats(m, "k", "6", 6, false);
    mb_node(m, "conv", "DepthwiseConv2dNative", "i_x f", CONV);
    mb_node(m, "scaled", "Mul", "k conv", "T:t=1");
    mb_node(m, "less", "Sub", "scaled k", "T:t=1");
    mb_node(m, "gate", "Sigmoid", "less", "T:t=1");
    mb_node(m, "y", "Mul", "less gate", "T:t=1");
}

TEST(test_rt_pass__depthwise_takes_scale_shift_and_swish)
{
    compare(depthwise_first, 96, RT_PASS_fuse, 3, 2);
}

static void
dense_on_three(struct mb *m)
{
    floats(m, "a", "2,3,8", 48, true);
    floats(m, "w", "8,5", 40, false);
    floats(m, "b", "5", 5, false);
    mb_const(m, "flat", "", SM_INT32, "2", (const int32_t[]){ 6, 8 }, 8);
    mb_const(m, "deep", "", SM_INT32, "3", (const int32_t[]){ 2, 3, 5 }, 12);
    mb_node(m, "r", "Reshape", "a_x flat", "T:t=1");
    mb_node(m, "p", "MatMul", "r w", "T:t=1");
    mb_node(m, "r2", "Reshape", "p deep", "T:t=1");
    mb_node(m, "bias", "BiasAdd", "r2 b", "T:t=1");
    mb_node(m, "y", "Tanh", "bias", "T:t=1");
}

TEST(test_rt_pass__a_dense_layer_on_three_dimensions_is_one_product)
{
    compare(dense_on_three, 30, RT_PASS_fuse, 2, 4);
}

static void
two_readers(struct mb *m)
{
    floats(m, "a", "2,4", 8, true);
    floats(m, "w", "4,4", 16, false);
    mb_node(m, "p", "MatMul", "a_x w", "T:t=1 transpose_b:b=1");
    mb_node(m, "r", "Relu", "p", "T:t=1");
    mb_node(m, "y", "AddV2", "p r", "T:t=1");
}

TEST(test_rt_pass__what_two_read_is_left_alone)
{
    compare(two_readers, 8, RT_PASS_fuse, 0, 4);
}

/* ---- patterns -------------------------------------------------------------------- */

/* y: x over `axis`, as Keras writes it, with the constants g and b. */
static void
layer_norm(struct mb *m, const char *x, int axis)
{
    static const char *const attrs[] = { "T:t=1 keep_dims:b=1", "T:t=1" };
    char in[64];
    mb_f32(m, "epsilon", 1e-6f);
    mb_const(m, "axis", "", SM_INT32, "1", (const int32_t[]){ axis }, 4);
    snprintf(in, sizeof(in), "%s axis", x);
    mb_node(m, "mean", "Mean", in, attrs[0]);
    snprintf(in, sizeof(in), "%s mean", x);
    mb_node(m, "sq", "SquaredDifference", in, attrs[1]);
    mb_node(m, "var", "Mean", "sq axis", attrs[0]);
    mb_node(m, "ve", "AddV2", "var epsilon", attrs[1]);
    mb_node(m, "rs", "Rsqrt", "ve", attrs[1]);
    mb_node(m, "s", "Mul", "rs g", attrs[1]);
    snprintf(in, sizeof(in), "%s s", x);
    mb_node(m, "xs", "Mul", in, attrs[1]);
    mb_node(m, "ms", "Mul", "mean s", attrs[1]);
    mb_node(m, "shift", "Sub", "b ms", attrs[1]);
    mb_node(m, "y", "AddV2", "xs shift", attrs[1]);
}

static void
gelu_and_norm(struct mb *m)
{
    floats(m, "a", "4,40", 160, true);
    floats(m, "g", "40", 40, false);
    floats(m, "b", "40", 40, false);
    mb_f32(m, "half", .5f);
    mb_f32(m, "one", 1);
    mb_f32(m, "root", 1.41421354f);
    mb_node(m, "h", "Mul", "half a_x", "T:t=1");
    mb_node(m, "d", "RealDiv", "a_x root", "T:t=1");
    mb_node(m, "e", "Erf", "d", "T:t=1");
    mb_node(m, "e1", "AddV2", "one e", "T:t=1");
    mb_node(m, "gelu", "Mul", "h e1", "T:t=1");
    layer_norm(m, "gelu", -1);
}

TEST(test_rt_pass__gelu_and_layer_norm_are_a_step_each)
{
    compare(gelu_and_norm, 160, RT_PASS_pattern, 2, 3);
}

static void
norm_of_one(struct mb *m, int axis)
{
    floats(m, "a", "4,3,1", 12, true);
    floats(m, "g", "6", 6, false);
    floats(m, "b", "6", 6, false);
    layer_norm(m, "a_x", axis);
}

static void
norm_of_one_over_last(struct mb *m)
{
    norm_of_one(m, -1);
}

static void
norm_of_one_over_middle(struct mb *m)
{
    norm_of_one(m, 1);
}

static void
norm_of_one_over_first(struct mb *m)
{
    norm_of_one(m, 0);
}

/* Keras's form: mask and scale between two Einsums, heads in the third dimension. */
static void
attention(struct mb *m)
{
    const uint8_t seen[3] = { 1, 0, 1 };
    floats(m, "q", "1,5,2,4", 40, true);
    floats(m, "k", "1,3,2,4", 24, true);
    floats(m, "v", "1,3,2,4", 24, true);
    floats(m, "mask", "1,1,5,1", 5, false);
    mb_const(m, "seen", "", SM_BOOL, "3", seen, sizeof(seen));
    mb_f32(m, "by", 0.5f);
    mb_f32(m, "low", -1e9f);
    mb_node(m, "qk", "Einsum", "k_x q_x", "T:t=1 N:i=2 equation:s=aecd,abcd->acbe");
    mb_node(m, "scaled", "RealDiv", "qk by", "T:t=1");
    mb_node(m, "more", "Mul", "mask scaled", "T:t=1");
    mb_node(m, "masked", "SelectV2", "seen more low", "T:t=1");
    mb_node(m, "p", "Softmax", "masked", "T:t=1");
    mb_node(m, "y", "Einsum", "p v_x", "T:t=1 N:i=2 equation:s=acbe,aecd->abcd");
}

/* Shapes that the one step cannot do: a batch that repeats. */
static void
attention_of_one_key(struct mb *m)
{
    floats(m, "q", "2,5,4", 40, true);
    floats(m, "k", "1,3,4", 12, true);
    floats(m, "v", "2,3,4", 24, true);
    floats(m, "bias", "5,3", 15, false);
    mb_node(m, "qk", "BatchMatMulV2", "q_x k_x", "T:t=1 adj_y:b=1");
    mb_node(m, "sum", "AddV2", "bias qk", "T:t=1");
    mb_node(m, "p", "Softmax", "sum", "T:t=1");
    mb_node(m, "y", "BatchMatMulV2", "p v_x", "T:t=1");
}

TEST(test_rt_pass__attention_is_one_step_whatever_its_shapes)
{
    compare(attention, 40, RT_PASS_pattern, 1, 4);
    compare(attention_of_one_key, 40, RT_PASS_pattern, 1, 4);
}

TEST(test_rt_pass__layer_norm_repeats_a_last_dimension_of_one)
{
    compare(norm_of_one_over_last, 72, RT_PASS_pattern, 1, 2);
    compare(norm_of_one_over_middle, 72, RT_PASS_pattern, 1, 2);
    compare(norm_of_one_over_first, 72, RT_PASS_pattern, 1, 2);
}

/* ---- recurrent layers ------------------------------------------------------------ */

#define BODY_ARGS "n t l h c limit in k r b"

static void
lstm_body(struct mb *m)
{
    mb_function(m, "cond", BODY_ARGS, "go");
    mb_node(m, "less", "Less", "t limit", "T:t=3");
    mb_end_function(m, "go=less:z:0", "");
    mb_function(m, "body", BODY_ARGS, "n2 t2 l2 h2 c2 limit2 in2 k2 r2 b2");
    mb_i32(m, "one", 1);
    mb_const(m, "shape", "", SM_INT32, "2", (const int32_t[]){ -1, 6 }, 8);
    mb_node(m, "x", "TensorListGetItem", "in t shape:output:0", "element_dtype:t=1");
    mb_node(m, "p", "MatMul", "x:item:0 k", "T:t=1");
    mb_node(m, "q", "MatMul", "h r", "T:t=1");
    mb_node(m, "s", "AddV2", "p:product:0 q:product:0", "T:t=1");
    mb_node(m, "z", "BiasAdd", "s:z:0 b", "T:t=1");
    mb_node(m, "g", "Split", "one:output:0 z:output:0", "T:t=1 num_split:i=4");
    mb_node(m, "gi", "Sigmoid", "g:output:0", "T:t=1");
    mb_node(m, "gf", "Sigmoid", "g:output:1", "T:t=1");
    mb_node(m, "fc", "Mul", "gf:y:0 c", "T:t=1");
    mb_node(m, "gg", "Tanh", "g:output:2", "T:t=1");
    mb_node(m, "ig", "Mul", "gi:y:0 gg:y:0", "T:t=1");
    mb_node(m, "nc", "AddV2", "fc:z:0 ig:z:0", "T:t=1");
    mb_node(m, "go", "Sigmoid", "g:output:3", "T:t=1");
    mb_node(m, "tc", "Tanh", "nc:z:0", "T:t=1");
    mb_node(m, "nh", "Mul", "go:y:0 tc:y:0", "T:t=1");
    mb_node(m, "nl", "TensorListSetItem", "l t nh:z:0", "element_dtype:t=1");
    mb_node(m, "nt", "AddV2", "t one:output:0", "T:t=3");
    mb_node(m, "nn", "AddV2", "n one:output:0", "T:t=3");
    mb_end_function(m,
                    "n2=nn:z:0 t2=nt:z:0 l2=nl:output_handle:0 h2=nh:z:0 c2=nc:z:0 "
                    "limit2=limit in2=in k2=k r2=r b2=b",
                    "");
}

static void
lstm(struct mb *m)
{
    lstm_body(m);
    floats(m, "seq", "5,2,6", 60, true);
    floats(m, "k", "6,12", 72, false);
    floats(m, "r", "3,12", 36, false);
    floats(m, "b", "12", 12, false);
    floats(m, "h", "2,3", 6, true);
    floats(m, "c", "2,3", 6, true);
    mb_i32(m, "zero", 0);
    mb_i32(m, "five", 5);
    mb_const(m, "in_shape", "", SM_INT32, "2", (const int32_t[]){ -1, 6 }, 8);
    mb_const(m, "out_shape", "", SM_INT32, "2", (const int32_t[]){ -1, 3 }, 8);
    mb_node(m, "in", "TensorListFromTensor", "seq_x in_shape", "element_dtype:t=1");
    mb_node(m, "out", "TensorListReserve", "out_shape five", "element_dtype:t=1");
    mb_node(m, "loop", "StatelessWhile", "zero zero out h_x c_x five in k r b",
            "T:l=3,3,21,1,1,3,21,1,1,1 cond:f=cond body:f=body");
    mb_node(m, "all", "TensorListStack", "loop:2 out_shape",
            "element_dtype:t=1 num_elements:i=-1");
    mb_const(m, "to", "", SM_INT32, "1", (const int32_t[]){ -1 }, 4);
    mb_node(m, "flat", "Reshape", "all to", "T:t=1");
    mb_node(m, "c_flat", "Reshape", "loop:4 to", "T:t=1");
    mb_node(m, "y", "ConcatV2", "flat c_flat zero", "T:t=1 N:i=2");
}

TEST(test_rt_pass__an_lstm_loop_is_one_kernel)
{
    compare(lstm, 36, RT_PASS_rnn, 1, 10);
}

/* ---- frozen variables ------------------------------------------------------------ */

TEST(test_rt_pass__a_frozen_variable_that_is_written_thaws)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    struct err err = ERR_INIT;
    struct sm_tensor_list in AUTO(sm_tensor_list_release) = { 0 };
    struct sm_tensor_list out AUTO(sm_tensor_list_release) = { 0 };
    float x = 10;
    add_x(&m);
    mb_f32(&m, "five", 5);
    mb_node(&m, "v", "VarHandleOp", "", "dtype:t=1 shape:d= shared_name:s=v");
    mb_node(&m, "init", "AssignVariableOp", "v five", "dtype:t=1");
    mb_init(&m, "init");
    mb_node(&m, "read", "ReadVariableOp", "v", "dtype:t=1");
    mb_node(&m, "y", "AddV2", "read x", "T:t=1");
    mb_node(&m, "set", "AssignVariableOp", "v x", "dtype:t=1");
    mb_node(&m, "z", "Identity", "x ^set", "T:t=1");
    mb_signature(&m, "serving_default", "x=x:0", "y=y:0");
    mb_signature(&m, "write", "x=x:0", "z=z:0");
    pass_on(&b, &m, NULL);
    CHECK(fx_run_f32(b, 1) == 6);
    CHECK(plan_of(b)->frozen && plan_of(b)->n_steps == 1);
    fx_feed(&in, "x", SM_FLOAT, 0, 1, &x);
    CHECK_OK(rt_backend.run(b, "write", &in, &out, &err));
    CHECK(fx_run_f32(b, 1) == 11);
    CHECK_OK(rt_backend.reset(b, &err));
    CHECK(fx_run_f32(b, 1) == 6);
}

/* ---- many runs of one plan ------------------------------------------------------- */

struct runner {
    struct backend *b;
    float x;
    int n_wrong;
    float y[144];
};

static void *
run_often(void *arg)
{
    struct runner *r = arg;
    for (int i = 0; i < 50; i++) {
        struct err err = ERR_INIT;
        struct rt_run run;
        struct rt_tensor in = { 0 }, out = { 0 };
        rt_run_init(&run, &r->b->s);
        CHECK_OK(rt_tensor_make(&in, &r->b->s.mem, SM_FLOAT, 0, NULL, &err));
        *(float *)in.data = r->x;
        CHECK_OK(rt_plan_run(&run, r->b->bound->plans->plan, &in, &out, &err));
        CHECK_INT(out.n_elems, 144);
        r->n_wrong += i > 0 && memcmp(r->y, out.data, sizeof(r->y)) != 0;
        memcpy(r->y, out.data, sizeof(r->y));
        rt_tensor_unref(&out);
        rt_run_release(&run);
    }
    return NULL;
}

TEST(test_rt_pass__runs_at_once_on_one_plan_do_not_meet)
{
    enum { N = 4 };
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    struct err err = ERR_INIT;
    struct runner r[N];
    pthread_t t[N];
    float x = 1, y[144];
    add_x(&m);
    conv_norm_sum_relu(&m);
    mb_signature(&m, "serving_default", "x=x:0", "y=y:0");
    pass_on(&b, &m, NULL);
    CHECK_OK(fx_run(b, &x, y, sizeof(y), &err));
    for (int i = 0; i < N; i++) {
        r[i] = (struct runner){ .b = b, .x = (float)(i + 1) };
        CHECK(pthread_create(&t[i], NULL, run_often, &r[i]) == 0);
    }
    for (int i = 0; i < N; i++) {
        pthread_join(t[i], NULL);
        CHECK_INT(r[i].n_wrong, 0);
        CHECK_OK(fx_run(b, &r[i].x, y, sizeof(y), &err));
        for (int j = 0; j < 144; j++)
            CHECK(fabsf(y[j] - r[i].y[j]) <= 1e-6f);
    }
}

/* ---- switches, denormals --------------------------------------------------------- */

TEST(test_rt_pass__the_switch_names_passes)
{
    struct err err = ERR_INIT;
    unsigned on = 0, all = (1u << RT_N_PASSES) - 1;
    CHECK_OK(rt_passes_parse(NULL, &on, &err));
    CHECK(on == all);
    CHECK_OK(rt_passes_parse("none,fuse", &on, &err));
    CHECK(on == 1u << RT_PASS_fuse);
    CHECK_OK(rt_passes_parse("-fold", &on, &err));
    CHECK(on == (all & ~(1u << RT_PASS_fold)));
    CHECK(rt_passes_parse("none,fuze", &on, &err) == -ERR_INVALID);
    CHECK(strstr(err.msg, "'fuze' is no pass"));
}

TEST(test_rt_pass__denormals_are_flushed_during_runs_only)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    add_x(&m);
    mb_f32(&m, "small", 1e-30f);
    mb_node(&m, "y", "Mul", "x small", "T:t=1");
    mb_signature(&m, "serving_default", "x=x:0", "y=y:0");
    pass_on(&b, &m, NULL);
#if defined(__x86_64__)
    unsigned before = _mm_getcsr() & ~0x3fu; /* without the flags of what happened */
    CHECK(fx_run_f32(b, 1e-10f) == 0);
    CHECK((_mm_getcsr() & ~0x3fu) == before);
#endif
    CHECK(fx_run_f32(b, 1e-3f) > 0);
}
