/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include "validate/val_int.h"

#include <math.h>

static struct sm_tensor
floats(int64_t n, const float *v)
{
    return (struct sm_tensor){ .dtype = SM_FLOAT,
                               .rank = 1,
                               .dims = { n },
                               .n_elems = n,
                               .data = (void *)(uintptr_t)v };
}

#define FLOATS(...)                                                                    \
    floats((int64_t)(sizeof((float[]){ __VA_ARGS__ }) / sizeof(float)),                \
           (float[]){ __VA_ARGS__ })

static struct val_diff
diff(struct sm_tensor got, struct sm_tensor want, enum val_tol_kind kind, double limit)
{
    struct val_diff d;

    val_compare("y", &got, &want, kind, limit, &d);
    CHECK(d.ok == (d.why[0] == '\0'));
    return d;
}

TEST(test_val_compare__rel_max_is_measured_against_the_largest_expected)
{
    struct val_diff d = diff(FLOATS(100.5f, 1), FLOATS(100, 1), VAL_REL_MAX, 0.006);

    CHECK(d.ok && d.worst_at == 0 && fabs(d.worst - 0.005) < 1e-9);
    d = diff(FLOATS(100.5f, 1), FLOATS(100, 1), VAL_REL_MAX, 0.004);
    CHECK(!d.ok);
    CHECK_STR(d.why, "y: error 0.005 > 0.004 at [0]: 100.5, not 100");
    /* below 1 the error counts as it is */
    CHECK(diff(FLOATS(0.0001f), FLOATS(0.0002f), VAL_REL_MAX, 1e-3).ok);
}

TEST(test_val_compare__nan_and_infinities_keep_their_places)
{
    CHECK(diff(FLOATS(NAN, INFINITY, 1), FLOATS(NAN, INFINITY, 1), VAL_REL_MAX, 0).ok);
    CHECK_STR(diff(FLOATS(1, NAN), FLOATS(1, 2), VAL_REL_MAX, 1e9).why,
              "y at [1]: nan, not 2");
    CHECK(!diff(FLOATS(-INFINITY), FLOATS(INFINITY), VAL_ABS, 1e9).ok);
    CHECK(!diff(FLOATS(3), FLOATS(NAN), VAL_EXACT, 0).ok);
    CHECK(diff(FLOATS(NAN), FLOATS(NAN), VAL_EXACT, 0).ok);
    /* an infinity does not widen the scale */
    CHECK(!diff(FLOATS(INFINITY, 2), FLOATS(INFINITY, 1), VAL_REL_MAX, 0.5).ok);
}

TEST(test_val_compare__each_kind_passes_at_its_limit_and_fails_beyond)
{
    static const struct {
        enum val_tol_kind kind;
        double at, beyond;
    } rows[] = {
        { VAL_REL_MAX, 0.25, 0.24 }, { VAL_ABS, 1, 0.99 },
        { VAL_MEAN_ABS, 0.5, 0.49 }, { VAL_REL, 0.25, 0.24 },
        { VAL_ULP, 2097152, 2e6 },   { VAL_COSINE, 0.01, 0.001 },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct val_diff d = diff(FLOATS(5, 2), FLOATS(4, 2), rows[i].kind, rows[i].at);

        if (!d.ok)
            unit_fail(__FILE__, __LINE__, "%s: %s", val_tol_name(rows[i].kind), d.why);
        CHECK(!diff(FLOATS(5, 2), FLOATS(4, 2), rows[i].kind, rows[i].beyond).ok);
    }
}

TEST(test_val_compare__ulp_counts_floats_between)
{
    CHECK(diff(FLOATS(nextafterf(1, 2)), FLOATS(1), VAL_ULP, 1).ok);
    CHECK(!diff(FLOATS(nextafterf(nextafterf(1, 2), 2)), FLOATS(1), VAL_ULP, 1).ok);
    CHECK(diff(FLOATS(-0.0f), FLOATS(0), VAL_ULP, 0).ok);
    CHECK(diff(FLOATS(1e-45f), FLOATS(-1e-45f), VAL_ULP, 2).ok);
    CHECK(!diff(FLOATS(1e-45f), FLOATS(-1e-45f), VAL_ULP, 1).ok);
}

TEST(test_val_compare__cosine_takes_the_worst_row_and_big_values)
{
    float a[] = { 1, 0, 0, 1 }, b[] = { 1, 0, 1, 0 };
    struct sm_tensor got = {
        .dtype = SM_FLOAT, .rank = 2, .dims = { 2, 2 }, .n_elems = 4
    };
    struct sm_tensor want = got;
    double big[] = { 1e300, 1e300 }, other[] = { 1e300, -1e300 };
    struct sm_tensor x = { .dtype = SM_DOUBLE, .rank = 1, .dims = { 2 }, .n_elems = 2 },
                     y = x;
    struct val_diff d;

    got.data = a;
    want.data = b;
    d = diff(got, want, VAL_COSINE, 0.5);
    CHECK(!d.ok && d.worst_at == 2 && fabs(d.worst - 1) < 1e-9);
    x.data = big;
    y.data = other;
    CHECK(!diff(x, y, VAL_COSINE, 0.5).ok);
    CHECK(diff(x, x, VAL_COSINE, 1e-9).ok);
}

TEST(test_val_compare__top_k_forgives_ties_and_nothing_else)
{
    CHECK(diff(FLOATS(0.1f, 0.9f, 0.3f), FLOATS(0, 1, 0.2f), VAL_TOP_K, 1).ok);
    CHECK(diff(FLOATS(0.1f, 0.9f, 0.3f), FLOATS(0, 1, 0.2f), VAL_TOP_K, 9).ok);
    CHECK(!diff(FLOATS(0.9f, 0.1f, 0.3f), FLOATS(0, 1, 0.2f), VAL_TOP_K, 1).ok);
    CHECK(diff(FLOATS(0.5f, 0.4f, 0), FLOATS(0.5f, 0.5f, 0), VAL_TOP_K, 1).ok);
    CHECK(diff(FLOATS(3, 1, 2, 0), FLOATS(2, 1, 3, 0), VAL_TOP_K, 2).ok);
    CHECK(!diff(FLOATS(3, 2, 1, 0), FLOATS(2, 1, 3, 0), VAL_TOP_K, 2).ok);
    CHECK(!diff(FLOATS(NAN, 1), FLOATS(1, 0), VAL_TOP_K, 1).ok);
    CHECK(!diff(FLOATS(NAN, NAN), FLOATS(1, 0), VAL_TOP_K, 1).ok);
    CHECK(diff(FLOATS(NAN, 1), FLOATS(NAN, 2), VAL_TOP_K, 2).ok);
    CHECK(diff(FLOATS(INFINITY, 1), FLOATS(INFINITY, 2), VAL_TOP_K, 1).ok);
    CHECK(diff(FLOATS(1, 1, 1), FLOATS(0, 0, 1), VAL_TOP_K, 1).ok);
    /* no two may be chosen that are the top two of both */
    CHECK(!diff(FLOATS(2, 1, 1, 0), FLOATS(1, 0, 0, 2), VAL_TOP_K, 2).ok);
    CHECK_STR(diff(FLOATS(1, 2), FLOATS(2, 1), VAL_TOP_K, 1).why,
              "y: the top 1 differ in 1 of 1 rows, first at [0]: 1, not 2");
}

TEST(test_val_compare__integers_beyond_doubles_are_exact)
{
    int64_t a[] = { 9007199254740993 }, b[] = { 9007199254740992 };
    uint64_t u[] = { UINT64_MAX };
    int64_t minus[] = { -1 };
    struct sm_tensor x = { .dtype = SM_INT64, .n_elems = 1, .data = a }, y = x, z = x;

    y.data = b;
    CHECK_STR(diff(x, y, VAL_EXACT, 0).why,
              "y: 1 of 1 differ, first: 9007199254740993, not 9007199254740992");
    z.dtype = SM_UINT64;
    z.data = u;
    y.data = minus;
    CHECK_STR(diff(z, y, VAL_EXACT, 0).why,
              "y: 1 of 1 differ, first: 18446744073709551615, not -1");
    /* a tolerance that names the output is taken */
    x.data = (int64_t[]){ 10 };
    y.data = (int64_t[]){ 12 };
    CHECK(diff(x, y, VAL_ABS, 2).ok);
    CHECK(diff(x, y, VAL_ULP, 2).ok);
    CHECK(!diff(x, y, VAL_ABS, 1).ok);
}

TEST(test_val_compare__strings_ignore_nuls_at_the_end)
{
    struct str a[] = { STR_LIT("abc"), STR_LIT("x\0\0") };
    struct str b[] = { STR_LIT("abc"), STR_LIT("x") },
               c[] = { STR_LIT("abc"), STR_LIT("z") };
    struct sm_tensor x = {
        .dtype = SM_STRING, .rank = 1, .dims = { 2 }, .n_elems = 2, .data = a
    };
    struct sm_tensor y = x, z = x;

    y.data = b;
    z.data = c;
    CHECK(diff(x, y, VAL_REL_MAX, 1).ok);
    CHECK_STR(diff(y, z, VAL_REL_MAX, 1).why,
              "y: 1 of 2 differ, first at [1]: \"x\", not \"z\"");
}

TEST(test_val_compare__complex_by_magnitude)
{
    float a[] = { 3, 4 }, b[] = { 3, 4.5f };
    struct sm_tensor x = { .dtype = SM_COMPLEX64, .n_elems = 1, .data = a }, y = x;

    y.data = b;
    CHECK(diff(x, y, VAL_ABS, 0.5).ok);
    CHECK_STR(diff(x, y, VAL_ABS, 0.4).why,
              "y: absolute error 0.5 > 0.4: 3+4i, not 3+4.5i");
    CHECK_STR(diff(x, y, VAL_ULP, 1).why, "y: ulp does not apply to complex numbers");
}

TEST(test_val_compare__shape_and_dtype_must_agree)
{
    struct sm_tensor one = FLOATS(1), i = one;
    uint16_t bf[] = { 0x3f80 };

    CHECK_STR(diff(FLOATS(1, 2), FLOATS(1), VAL_ABS, 9).why, "y: shape (2), not (1)");
    i.dtype = SM_INT32;
    CHECK_STR(diff(one, i, VAL_ABS, 9).why,
              "y: a float (float32), not a integer (int32)");
    i.dtype = SM_BOOL;
    CHECK(!diff(i, one, VAL_ABS, 9).ok);
    i.dtype = SM_RESOURCE;
    CHECK(!diff(one, i, VAL_ABS, 9).ok);
    /* bfloat16 is stored as float32 */
    i.dtype = SM_BFLOAT16;
    i.data = bf;
    CHECK(diff(i, one, VAL_EXACT, 0).ok);
    /* nothing to compare is no difference */
    CHECK(diff(floats(0, NULL), floats(0, NULL), VAL_COSINE, 0).ok);
}
