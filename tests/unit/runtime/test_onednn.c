/* SPDX-License-Identifier: Apache-2.0 */
/* The cache of reordered weights. */
#include "tests/unit/runtime/rt_fixture.h"

/* y = max(ones[128, 64] * v), v [64, 96] of 0.5 to which each run adds x first:
 * oneDNN's reordered copy must be of today's v. */
TEST(test_onednn__a_changed_variable_is_reordered_again)
{
    static float ones[128 * 64], half[64 * 96];
    static const int32_t dims[2] = { 64, 96 }, axes[2] = { 0, 1 };
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    for (size_t i = 0; i < sizeof(ones) / sizeof(ones[0]); i++)
        ones[i] = 1;
    for (size_t i = 0; i < sizeof(half) / sizeof(half[0]); i++)
        half[i] = 0.5f;
    mb_node(&m, "x", "Placeholder", "", "dtype:t=1 shape:d=");
    mb_const(&m, "ones", "", SM_FLOAT, "128,64", ones, sizeof(ones));
    mb_const(&m, "half", "", SM_FLOAT, "64,96", half, sizeof(half));
    mb_const(&m, "dims", "", SM_INT32, "2", dims, sizeof(dims));
    mb_const(&m, "axes", "", SM_INT32, "2", axes, sizeof(axes));
    mb_node(&m, "v", "VarHandleOp", "", "dtype:t=1 shape:d=64,96 shared_name:s=v");
    mb_node(&m, "init", "AssignVariableOp", "v half", "dtype:t=1");
    mb_init(&m, "init");
    mb_node(&m, "more", "Fill", "dims x", "T:t=1 index_type:t=3");
    mb_node(&m, "add", "AssignAddVariableOp", "v more", "dtype:t=1");
    mb_node(&m, "read", "ReadVariableOp", "v ^add", "dtype:t=1");
    mb_node(&m, "product", "MatMul", "ones read", "T:t=1");
    mb_node(&m, "y", "Max", "product axes", "T:t=1 Tidx:t=3");
    mb_signature(&m, "serving_default", "x=x:0", "y=y:0");
    fx_load(&b, &m);
    CHECK(fx_run_f32(b, 0) == 32);
    CHECK(fx_run_f32(b, 0.25f) == 48);
    CHECK(fx_run_f32(b, 0.25f) == 64);
    CHECK(fx_run_f32(b, -1) == 0);
}
