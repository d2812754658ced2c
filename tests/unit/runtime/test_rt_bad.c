/* SPDX-License-Identifier: Apache-2.0 */
/* Graphs with something wrong in them, and inputs that are odd: a clear error each, or
 * TensorFlow's answer. (What cannot be read at all is tested in test_rt_plan.c.) */
#include "tests/unit/runtime/rt_fixture.h"

#include <math.h>

/* What every graph below may use; its own nodes end in one called "y". */
static void
add_common(struct mb *m)
{
    static const float ones[12] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };
    static const int32_t two_two[2] = { 2, 2 }, huge[3] = { 1 << 30, 1 << 30, 1 << 30 },
                         giga[1] = { 2000000000 }, minus[1] = { -5 };
    mb_node(m, "x", "Placeholder", "", "dtype:t=1 shape:d=");
    mb_const(m, "v2", "", SM_FLOAT, "2", ones, 8);
    mb_const(m, "v3", "", SM_FLOAT, "3", ones, 12);
    mb_const(m, "m23", "", SM_FLOAT, "2,3", ones, 24);
    mb_const(m, "image", "", SM_FLOAT, "1,2,2,3", ones, 48);
    mb_const(m, "filter", "", SM_FLOAT, "1,1,3,2", ones, 24);
    mb_const(m, "filter5", "", SM_FLOAT, "1,1,5,1", ones, 20);
    mb_const(m, "two_two", "", SM_INT32, "2", two_two, 8);
    mb_const(m, "huge", "", SM_INT32, "3", huge, 12);
    mb_const(m, "giga", "", SM_INT32, "1", giga, 4);
    mb_const(m, "minus", "", SM_INT32, "1", minus, 4);
    mb_i32(m, "zero", 0);
    mb_i32(m, "seven", 7);
    mb_function(m, "twice", "a", "r");
    mb_node(m, "s", "AddV2", "a a", "T:t=1");
    mb_end_function(m, "r=s:z:0", "");
    mb_function(m, "pair", "a b", "r q");
    mb_end_function(m, "r=a q=b", "");
}

static const struct {
    const char *op, *in, *attrs;
    enum err_code want;
    const char *text;
} bad[] = {
    /* shapes that do not fit */
    { "AddV2", "v2 v3", "T:t=1", ERR_FAILED, "Incompatible shapes: [2] vs. [3]" },
    { "MatMul", "m23 m23", "T:t=1", ERR_FAILED, "Matrix size-incompatible" },
    { "MatMul", "v2 m23", "T:t=1", ERR_FAILED, "2" },
    { "BiasAdd", "m23 v2", "T:t=1", ERR_FAILED, "3" },
    { "Reshape", "m23 two_two", "T:t=1 Tshape:t=3", ERR_FAILED, "6 values" },
    { "Conv2D", "image filter5",
      "T:t=1 strides:I=1,1,1,1 padding:s=SAME data_format:s=NHWC", ERR_FAILED, "3" },
    { "Pack", "v2 v3", "T:t=1 N:i=2", ERR_FAILED, "[2]" },
    { "Transpose", "v2 two_two", "T:t=1 Tperm:t=3", ERR_FAILED,
      "transpose expects a vector of size 1" },
    { "GatherV2", "v2 seven zero", "Tparams:t=1 Tindices:t=3 Taxis:t=3", ERR_FAILED,
      "indices = 7 is not in [0, 2)" },
    { "Sum", "m23 seven", "T:t=1 Tidx:t=3", ERR_FAILED, "7" },
    /* sizes */
    { "Fill", "huge x", "T:t=1 index_type:t=3", ERR_FAILED, "1073741824" },
    { "Fill", "giga x", "T:t=1 index_type:t=3", ERR_LIMIT, "the run would pass" },
    { "Fill", "minus x", "T:t=1 index_type:t=3", ERR_FAILED, "-5" },
    { "BroadcastTo", "x huge", "T:t=1 Tidx:t=3", ERR_FAILED, "1073741824" },
    { "OneHot", "giga giga v2 v2", "T:t=1 TI:t=3", ERR_FAILED, "on_value" },
    { "Range", "zero giga zero", "Tidx:t=3", ERR_FAILED, "delta" },
    /* attributes */
    { "Conv2D", "image filter", "T:t=1 strides:I=1,1 padding:s=SAME", ERR_FAILED,
      "strides" },
    { "Conv2D", "image filter", "T:t=1 strides:I=1,0,0,1 padding:s=SAME", ERR_FAILED,
      "stride" },
    { "Conv2D", "image filter", "T:t=1 strides:I=1,1,1,1 padding:s=ROUND", ERR_FAILED,
      "unknown padding \"ROUND\"" },
    { "Conv2D", "image filter",
      "T:t=1 strides:I=1,1,1,1 padding:s=SAME data_format:s=WHAT", ERR_UNSUPPORTED,
      "data_format \"WHAT\"" },
    { "Conv2D", "image filter", "T:t=1 padding:s=SAME", ERR_FAILED,
      "strides field must specify 4 dimensions" },
    { "MaxPool", "image", "T:t=1 ksize:I=1,-3,3,1 strides:I=1,1,1,1 padding:s=SAME",
      ERR_FAILED, "ksize" },
    { "Cast", "x", "SrcT:t=1 DstT:t=99", ERR_UNSUPPORTED, "Cast" },
    { "AddV2", "x zero", "T:t=1", ERR_CORRUPT, "input 1 has dtype int32" },
    { "Split", "zero m23", "T:t=1 num_split:i=0", ERR_CORRUPT,
      "has 0 outputs; output 0 is asked for" },
    { "Pack", "v2 v2", "T:t=1 N:i=3", ERR_CORRUPT,
      "attribute 'N' is 3, but it has 2 such inputs" },
    /* functions */
    { "PartitionedCall", "x", "Tin:l=1 Tout:l=1 f:f=pair", ERR_CORRUPT,
      "1 arguments for the 2 of function 'pair'" },
    { "StatelessIf", "x x",
      "Tcond:t=1 Tin:l=1 Tout:l=1 then_branch:f=twice else_branch:f=pair", ERR_CORRUPT,
      "function 'pair' takes 2 and gives 2 values" },
    { "StatelessWhile", "x", "T:l=1 cond:f=pair body:f=twice", ERR_CORRUPT, "pair" },
    { "StatelessWhile", "x", "T:l=1 cond:f=twice body:f=gone", ERR_CORRUPT,
      "function 'gone' is not in the library" },
    { "StatelessWhile", "x", "T:l=1 body:f=twice", ERR_CORRUPT,
      "attribute 'cond' names no function" },
};

static int
run(struct backend *b, const struct sm_tensor_list *in, struct sm_tensor_list *out,
    struct err *err)
{
    return rt_backend.run(b, "serving_default", in, out, err);
}

TEST(test_rt_bad__graphs_fail_in_words)
{
    struct buf wrong AUTO(buf_release) = BUF_INIT;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct mb m = { .init_op = NULL };
        struct backend *b AUTO(fx_close) = NULL;
        struct err err = ERR_INIT;
        float x = 1;
        struct sm_tensor_list in AUTO(sm_tensor_list_release) = { 0 };
        struct sm_tensor_list out AUTO(sm_tensor_list_release) = { 0 };
        fx_feed(&in, "x", SM_FLOAT, 0, 1, &x);
        add_common(&m);
        mb_node(&m, "y", bad[i].op, bad[i].in, bad[i].attrs);
        mb_signature(&m, "serving_default", "x=x:0", "y=y:0");
        struct backend_args args = { .max_memory_bytes = 1 << 30 };
        int rc = fx_load_with(&b, &m, args, &err);
        if (rc == 0)
            rc = run(b, &in, &out, &err);
        if (rc != -(int)bad[i].want || !strstr(err.msg, bad[i].text) ||
            (rc < 0 && !strstr(err.msg, "node 'y'")))
            buf_addf(&wrong, "\n%s %s %s: %s: %s", bad[i].op, bad[i].in, bad[i].attrs,
                     err_name(err.code), err.msg);
    }
    if (wrong.len > 0)
        unit_fail(__FILE__, __LINE__, "%s", buf_str(&wrong));
}

/* 100 GB are refused before they are asked for, by the default limit too. */
TEST(test_rt_bad__a_hundred_gigabytes)
{
    static const int64_t dims[1] = { 25000000000 };
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    struct err err = ERR_INIT;
    float x = 1, y;
    mb_node(&m, "x", "Placeholder", "", "dtype:t=1 shape:d=");
    mb_const(&m, "dims", "", SM_INT64, "1", dims, 8);
    mb_node(&m, "big", "Fill", "dims x", "T:t=1 index_type:t=9");
    mb_i32(&m, "zero", 0);
    mb_node(&m, "y", "Sum", "big zero", "T:t=1 Tidx:t=3");
    mb_signature(&m, "serving_default", "x=x:0", "y=y:0");
    fx_load(&b, &m);
    CHECK(fx_run(b, &x, &y, sizeof(y), &err) == -ERR_LIMIT);
    CHECK(strstr(err.msg, "node 'big' (Fill)"));
    CHECK(strstr(err.msg, "the run would pass 8589934592 bytes"));
}

/* A constant that says it is larger than it is. */
TEST(test_rt_bad__declared_sizes_that_overflow)
{
    static const char *const dims[] = { "4611686018427387904,4",
                                        "1000000,1000000,1000000", "-3" };
    for (int i = 0; i < 3; i++) {
        struct mb m = { .init_op = NULL };
        struct backend *b AUTO(fx_close) = NULL;
        struct err err = ERR_INIT;
        float x = 1, y;
        mb_node(&m, "x", "Placeholder", "", "dtype:t=1 shape:d=");
        mb_const(&m, "c", "", SM_FLOAT, dims[i], &x, 4);
        mb_node(&m, "y", "AddV2", "x c", "T:t=1");
        mb_signature(&m, "serving_default", "x=x:0", "y=y:0");
        fx_load(&b, &m);
        CHECK(fx_run(b, &x, &y, sizeof(y), &err) < 0);
        CHECK(strstr(err.msg, "node 'c' (Const)"));
    }
}

/* ---- odd inputs ------------------------------------------------------------------ */

/* Runs `op` on a matrix x and a constant k; the answer's shape as text. */
static const char *
run_matrix(const char *op, const char *in, const char *attrs, int64_t rows,
           const float *x, float *y, char text[64])
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    struct err err = ERR_INIT;
    struct sm_tensor t;
    struct sm_tensor_list list AUTO(sm_tensor_list_release) = { 0 };
    struct sm_tensor_list out AUTO(sm_tensor_list_release) = { 0 };
    int64_t dims[4] = { rows, 1, 1, 3 };
    static const float ones[9] = { 1, 1, 1, 1, 1, 1, 1, 1, 1 };
    static const int32_t flat[2] = { -1, 3 };
    mb_node(&m, "x", "Placeholder", "", "dtype:t=1 shape:d=-1,1,1,3");
    mb_const(&m, "flat", "", SM_INT32, "2", flat, 8);
    mb_node(&m, "m", "Reshape", "x flat", "T:t=1 Tshape:t=3");
    mb_const(&m, "k", "", SM_FLOAT, "3,3", ones, 36);
    mb_const(&m, "filter", "", SM_FLOAT, "1,1,3,2", ones, 24);
    mb_const(&m, "v3", "", SM_FLOAT, "3", ones, 12);
    mb_i32(&m, "zero", 0);
    mb_i32(&m, "one", 1);
    mb_node(&m, "y", op, in, attrs);
    mb_signature(&m, "serving_default", "x=x:0", "y=y:0");
    fx_load(&b, &m);
    CHECK_OK(sm_tensor_alloc(&t, SM_FLOAT, 4, dims, &err));
    if (rows > 0)
        memcpy(t.data, x, sm_tensor_bytes(&t));
    sm_tensor_list_add(&list, "x", &t);
    CHECK_OK(run(b, &list, &out, &err));
    const struct sm_tensor *got = sm_tensor_list_find(&out, "y");
    int at = 0;
    text[0] = '\0';
    for (int i = 0; i < got->rank; i++)
        at += snprintf(text + at, 64 - (size_t)at, "%s%lld", i ? "," : "",
                       (long long)got->dims[i]);
    if (y && got->n_elems > 0 && got->n_elems <= 16)
        memcpy(y, got->data, sm_tensor_bytes(got));
    return text;
}

TEST(test_rt_bad__batches_of_nothing)
{
    static const struct {
        const char *op, *in, *attrs, *shape;
    } cases[] = {
        { "MatMul", "m k", "T:t=1", "0,3" },
        { "BiasAdd", "m v3", "T:t=1", "0,3" },
        { "Softmax", "m", "T:t=1", "0,3" },
        { "Relu", "m", "T:t=1", "0,3" },
        { "AddV2", "m v3", "T:t=1", "0,3" },
        { "Conv2D", "x filter", "T:t=1 strides:I=1,1,1,1 padding:s=SAME", "0,1,1,2" },
        { "MaxPool", "x", "T:t=1 ksize:I=1,1,1,1 strides:I=1,1,1,1 padding:s=VALID",
          "0,1,1,3" },
        { "AvgPool", "x", "T:t=1 ksize:I=1,1,1,1 strides:I=1,1,1,1 padding:s=VALID",
          "0,1,1,3" },
        { "ArgMax", "m one", "T:t=1 Tidx:t=3", "0" },
        { "Sum", "m zero", "T:t=1 Tidx:t=3", "3" },
        { "Mean", "m one", "T:t=1 Tidx:t=3", "0" },
        { "Cast", "m", "SrcT:t=1 DstT:t=3", "0,3" },
        { "ConcatV2", "m m zero", "T:t=1 N:i=2 Tidx:t=3", "0,3" },
        { "TopKV2", "m one", "T:t=1", "0,1" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[64];
        float y[16];
        CHECK_STR(
            run_matrix(cases[i].op, cases[i].in, cases[i].attrs, 0, NULL, y, text),
            cases[i].shape);
        if (strcmp(cases[i].op, "Sum") == 0)
            CHECK(y[0] == 0 && y[2] == 0);
    }
}

TEST(test_rt_bad__nan_and_infinity)
{
    float x[3] = { 1, NAN, -INFINITY }, y[16];
    char text[64];
    run_matrix("Neg", "m", "T:t=1", 1, x, y, text);
    CHECK(y[0] == -1 && isnan(y[1]) && y[2] == INFINITY);
    run_matrix("Softmax", "m", "T:t=1", 1, x, y, text);
    CHECK(isnan(y[1]));
    run_matrix("MatMul", "m k", "T:t=1", 1, x, y, text);
    CHECK(isnan(y[0]) && isnan(y[2]));
    run_matrix("Exp", "m", "T:t=1", 1, x, y, text);
    CHECK(fabsf(y[0] - 2.7182817f) < 1e-6f && isnan(y[1]) && y[2] == 0);
    run_matrix("Tanh", "m", "T:t=1", 1, x, y, text);
    CHECK(isnan(y[1]) && fabsf(y[2] + 1) < 1e-6f);
    run_matrix("IsFinite", "m", "T:t=1", 1, x, y, text);
    CHECK(memcmp(y, "\1\0\0", 3) == 0);
    run_matrix("Sum", "m one", "T:t=1 Tidx:t=3", 1, x, y, text);
    CHECK(isnan(y[0]));
}
