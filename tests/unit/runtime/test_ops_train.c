/* SPDX-License-Identifier: Apache-2.0 */
/* Optimisers' steps. Answers are TensorFlow 2.15.1's. */
#include "tests/unit/runtime/rt_fixture.h"

#include <math.h>

/* The variable is 1 and -2, its slots 0.5 and 0.25, the gradient 0.5 and -1. */
static const struct {
    const char *op;
    int n_vars;
    float numbers[6];
    int n_before; /* the gradient; others stand behind it */
    const char *attrs;
    float want[2];
} steps[] = {
    { "ResourceApplyGradientDescent", 1, { 0.5f }, 1, "", { 0.75f, -1.5f } },
    { "ResourceApplyMomentum",
      2,
      { 0.5f, 0.25f },
      1,
      " use_nesterov:b=1",
      { 0.671875f, -1.3828125f } },
    { "ResourceApplyMomentum", 2, { 0.5f, 0.25f }, 1, "", { 0.6875f, -1.53125f } },
    { "ResourceApplyKerasMomentum",
      2,
      { 0.5f, 0.25f },
      1,
      " use_nesterov:b=1",
      { 0.71875f, -1.359375f } },
    { "ResourceApplyAdam",
      3,
      { 0.5f, 0.25f, 0.125f, 0.5f, 0.75f, 0.01f },
      6,
      "",
      { 0.838774085f, -1.87908053f } },
    { "ResourceApplyAdam",
      3,
      { 0.5f, 0.25f, 0.125f, 0.5f, 0.75f, 0.01f },
      6,
      " use_nesterov:b=1",
      { 0.838774085f, -1.77831435f } },
    { "ResourceApplyAdaMax",
      3,
      { 0.5f, 0.25f, 0.5f, 0.75f, 0.01f },
      5,
      "",
      { 0.509803891f, -1.81435645f } },
    { "ResourceApplyRMSProp",
      3,
      { 0.5f, 0.25f, 0.5f, 0.01f },
      4,
      "",
      { 0.309774518f, -1.57368219f } },
    { "ResourceApplyAdagrad", 2, { 0.5f }, 1, "", { 0.711324871f, -1.55278635f } },
    { "ResourceApplyAdagradV2",
      2,
      { 0.5f, 0.01f },
      2,
      " update_slots:b=0",
      { 0.651376843f, -1.01960778f } },
    { "ResourceApplyAdadelta",
      3,
      { 0.5f, 0.25f, 0.01f },
      3,
      "",
      { 0.685616136f, -1.71888196f } },
};

static int
n_numbers(size_t at)
{
    return steps[at].n_before + (strstr(steps[at].op, "Momentum") ? 1 : 0);
}

static void
build(struct mb *m, size_t at, int n_grad)
{
    float first[2] = { 1, -2 }, slot[2] = { 0.5f, 0.25f }, g[2] = { 0.5f, -1 };
    struct buf in AUTO(buf_release) = BUF_INIT, init AUTO(buf_release) = BUF_INIT;
    char text[3][64];
    mb_node(m, "x", "Placeholder", "", "dtype:t=1 shape:d=");
    for (int i = 0; i < steps[at].n_vars; i++) {
        snprintf(text[0], sizeof(text[0]), "v%d", i);
        snprintf(text[1], sizeof(text[1]), "dtype:t=1 shape:d=2 shared_name:s=v%d", i);
        mb_node(m, text[0], "VarHandleOp", "", text[1]);
        snprintf(text[1], sizeof(text[1]), "w%d", i);
        mb_const(m, text[1], "", SM_FLOAT, "2", i ? slot : first, sizeof(slot));
        snprintf(text[1], sizeof(text[1]), "v%d w%d", i, i);
        snprintf(text[2], sizeof(text[2]), "i%d", i);
        mb_node(m, text[2], "AssignVariableOp", text[1], "dtype:t=1");
        buf_addf(&init, "%s^i%d", i ? " " : "", i);
        buf_addf(&in, "v%d ", i);
    }
    mb_node(m, "init", "NoOp", buf_str(&init), "");
    mb_init(m, "init");
    mb_const(m, "g", "", SM_FLOAT, n_grad == 2 ? "2" : "1", g,
             sizeof(*g) * (size_t)n_grad);
    for (int i = 0; i < n_numbers(at); i++) {
        snprintf(text[0], sizeof(text[0]), "p%d", i);
        mb_f32(m, text[0], steps[at].numbers[i]);
        buf_addf(&in, "%sp%d ", i == steps[at].n_before ? "g " : "", i);
    }
    buf_adds(&in, n_numbers(at) == steps[at].n_before ? "g" : "");
    snprintf(text[0], sizeof(text[0]), "T:t=1%s", steps[at].attrs);
    mb_node(m, "step", steps[at].op, buf_str(&in), text[0]);
    mb_node(m, "y", "ReadVariableOp", "v0 ^step", "dtype:t=1");
    mb_signature(m, "serving_default", "x=x:0", "y=y:0");
}

TEST(test_ops_train__one_step)
{
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct mb m = { .init_op = NULL };
        struct backend *b AUTO(fx_close) = NULL;
        struct err err = ERR_INIT;
        float x = 0, y[2];
        build(&m, i, 2);
        fx_load(&b, &m);
        CHECK_OK(fx_run(b, &x, y, sizeof(y), &err));
        for (int k = 0; k < 2; k++)
            if (fabsf(y[k] - steps[i].want[k]) > 2e-6f)
                unit_fail(__FILE__, __LINE__, "%s%s: %g, not %g", steps[i].op,
                          steps[i].attrs, (double)y[k], (double)steps[i].want[k]);
    }
}

TEST(test_ops_train__a_gradient_of_another_shape)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    struct err err = ERR_INIT;
    float x = 0, y[2];
    build(&m, 0, 1);
    fx_load(&b, &m);
    CHECK(fx_run(b, &x, y, sizeof(y), &err) == -ERR_FAILED);
    CHECK(strstr(err.msg, "do not have the same shape"));
}
