/* SPDX-License-Identifier: Apache-2.0 */
/* Stateful random ops: TensorFlow 2.15.1's numbers for the same seeds. */
#include "tests/unit/runtime/rt_fixture.h"

#include <math.h>

static const struct {
    const char *op;
    float first[6], second[6];
} streams[] = {
    { "RandomUniform",
      { 0.3883112668991089f, 0.6636828184127808f, 0.1919107437133789f,
        0.7060526609420776f, 0.9631834030151367f, 0.32628321647644043f },
      { 0.3939141035079956f, 0.1748124361038208f, 0.043660640716552734f,
        0.6010911464691162f, 0.17595040798187256f, 0.07698142528533936f } },
    { "RandomStandardNormal",
      { -1.178082823753357f, -0.7099413871765137f, -1.7481579780578613f,
        -0.4953722655773163f, 0.24303887784481049f, -0.1263130158185959f },
      { 1.2154991626739502f, 0.6211332678794861f, -1.4847910404205322f,
        -2.014450788497925f, 0.8669251799583435f, 1.6503173112869263f } },
    { "TruncatedNormal",
      { -1.178082823753357f, -0.7099413871765137f, -1.7481579780578613f,
        -0.4953722655773163f, -0.864153265953064f, 1.2457009553909302f },
      { 1.2154991626739502f, 0.6211332678794861f, -1.4847910404205322f,
        0.8669251799583435f, -1.5378210544586182f, -0.184026300907135f } },
};

static void
check_stream(struct backend *b, const float *want)
{
    struct err err = ERR_INIT;
    float x = 0, y[6];
    CHECK_OK(fx_run(b, &x, y, sizeof(y), &err));
    for (int i = 0; i < 6; i++)
        CHECK(fabsf(y[i] - want[i]) < 1e-6f);
}

TEST(test_rt_random__streams_go_on_until_reset)
{
    for (int k = 0; k < 3; k++) {
        struct mb m = { .init_op = NULL };
        struct backend *b AUTO(fx_close) = NULL;
        struct err err = ERR_INIT;
        int32_t shape[1] = { 6 };
        mb_node(&m, "x", "Placeholder", "", "dtype:t=1 shape:d=");
        mb_const(&m, "shape", "", SM_INT32, "1", shape, sizeof(shape));
        mb_node(&m, "y", streams[k].op, "shape",
                "dtype:t=1 T:t=3 seed:i=87654321 seed2:i=5");
        mb_signature(&m, "serving_default", "x=x:0", "y=y:0");
        fx_load(&b, &m);
        check_stream(b, streams[k].first);
        check_stream(b, streams[k].second);
        CHECK_OK(rt_backend.reset(b, &err));
        check_stream(b, streams[k].first);
    }
}
