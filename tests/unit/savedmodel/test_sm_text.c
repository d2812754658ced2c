/* SPDX-License-Identifier: Apache-2.0 */
/* Expected texts are what NumPy 1.26 prints. */
#include "tests/unit/savedmodel/build.h"

#include <math.h>

static void
check(int dtype, int rank, const int64_t *dims, const void *data, const char *want)
{
    struct err err = ERR_INIT;
    struct buf b = BUF_INIT;
    struct sm_tensor t;
    CHECK_OK(sm_tensor_alloc(&t, dtype, rank, dims, &err));
    memcpy(t.data, data, sm_tensor_bytes(&t));
    sm_tensor_text(&t, &b);
    CHECK_STR(buf_str(&b), want);
    sm_tensor_release(&t);
    buf_release(&b);
}

#define CHECK_FLOATS(want, ...)                                                        \
    do {                                                                               \
        const float v_[] = { __VA_ARGS__ };                                            \
        int64_t n_ = (int64_t)(sizeof(v_) / sizeof(v_[0]));                            \
        check(SM_FLOAT, 1, &n_, v_, want);                                             \
    } while (0)

TEST(test_sm_text__floats_share_one_form)
{
    CHECK_FLOATS("[2.5 3. ]", 2.5f, 3);
    CHECK_FLOATS("[0.1        0.33333334]", 0.1f, 1.0f / 3);
    CHECK_FLOATS("[-1.   0.  10.5]", -1, 0, 10.5f);
    CHECK_FLOATS("[1.e+08 1.e+00]", 1e8f, 1);
    CHECK_FLOATS("[1.00e-05 2.25e+00]", 1e-5f, 2.25f);
    CHECK_FLOATS("[1.00000e-01 1.00125e+03]", 0.1f, 1001.25f);
    CHECK_FLOATS("[88095504. 42465300.]", 88095504, 42465300);
    CHECK_FLOATS("[nan  1. inf]", NAN, 1, INFINITY);
    CHECK_FLOATS("[-inf 1.25]", -INFINITY, 1.25f);
    CHECK_FLOATS("[ 0. -0.]", 0, -0.0f);
}

TEST(test_sm_text__scalars_have_all_digits)
{
    float f = 0.1f, big = 1e20f, whole = 3;
    double d = 0.1, tiny = 5e-324, power = 5.684341886080802e-14;
    uint16_t half = 0x2e66;
    float c[] = { 1, -2 }, im[] = { 0, 2 };
    uint8_t yes = 1;
    int64_t low = INT64_MIN;
    check(SM_FLOAT, 0, NULL, &f, "0.1");
    check(SM_FLOAT, 0, NULL, &big, "1e+20");
    check(SM_FLOAT, 0, NULL, &whole, "3.0");
    check(SM_DOUBLE, 0, NULL, &d, "0.1");
    check(SM_DOUBLE, 0, NULL, &tiny, "5e-324");
    check(SM_DOUBLE, 0, NULL, &power, "5.684341886080802e-14");
    check(SM_HALF, 0, NULL, &half, "0.1");
    check(SM_COMPLEX64, 0, NULL, c, "(1-2j)");
    check(SM_COMPLEX64, 0, NULL, im, "2j");
    check(SM_BOOL, 0, NULL, &yes, "True");
    check(SM_INT64, 0, NULL, &low, "-9223372036854775808");
}

TEST(test_sm_text__other_dtypes)
{
    int64_t two = 2, three = 3;
    check(SM_BOOL, 1, &two, "\1\0", "[ True False]");
    check(SM_INT8, 1, &three, "\x01\xff\x64", "[  1  -1 100]");
    check(SM_UINT8, 1, &two, "\x01\xff", "[  1 255]");
    uint16_t bf[] = { 0x3fc0, 0xbdcd };
    check(SM_BFLOAT16, 1, &two, bf, "[1.5 -0.100098]");
    float c[] = { 1, 2, -0.5f, 0.25f };
    check(SM_COMPLEX64, 1, &two, c, "[ 1. +2.j   -0.5+0.25j]");
}

TEST(test_sm_text__strings)
{
    struct err err = ERR_INIT;
    struct buf b = BUF_INIT;
    struct sm_tensor t;
    struct str v[] = { STR_LIT("a'b\n"), { "\0\xff", 2 }, STR_LIT("\"'\\") };
    int64_t dims[] = { 3 };
    CHECK_OK(sm_tensor_strings(&t, 1, dims, v, &err));
    sm_tensor_text(&t, &b);
    CHECK_STR(buf_str(&b), "[b\"a'b\\n\" b'\\x00\\xff' b'\"\\'\\\\']");
    sm_tensor_release(&t);
    buf_release(&b);
}

TEST(test_sm_text__nesting)
{
    int32_t v[8] = { 1, 2, 3, 4, 5, 6, 7, 80 };
    check(SM_INT32, 3, (int64_t[]){ 2, 2, 2 }, v,
          "[[[ 1  2]\n  [ 3  4]]\n\n [[ 5  6]\n  [ 7 80]]]");
    check(SM_INT32, 2, (int64_t[]){ 2, 0 }, v, "[]");
    check(SM_INT32, 1, (int64_t[]){ 0 }, v, "[]");
}

TEST(test_sm_text__rows_wrap_at_75_columns)
{
    int32_t v[30];
    for (int i = 0; i < 30; i++)
        v[i] = i;
    check(SM_INT32, 1, (int64_t[]){ 30 }, v,
          "[ 0  1  2  3  4  5  6  7  8  9 10 11 12 13 14 15 16 17 18 19 20 21 22 23\n"
          " 24 25 26 27 28 29]");
}

TEST(test_sm_text__long_arrays_are_summarised)
{
    static int32_t v[2000];
    for (int i = 0; i < 2000; i++)
        v[i] = i;
    check(SM_INT32, 1, (int64_t[]){ 2000 }, v, "[   0    1    2 ... 1997 1998 1999]");
    check(SM_INT32, 2, (int64_t[]){ 2, 1000 }, v,
          "[[   0    1    2 ...  997  998  999]\n"
          " [1000 1001 1002 ... 1997 1998 1999]]");
    check(SM_INT32, 2, (int64_t[]){ 1000, 2 }, v,
          "[[   0    1]\n [   2    3]\n [   4    5]\n ...\n [1994 1995]\n"
          " [1996 1997]\n [1998 1999]]");
}
