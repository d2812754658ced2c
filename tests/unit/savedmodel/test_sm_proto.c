/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/savedmodel/build.h"

/* A TensorProto of this dtype and shape; values are added by the test. */
static void
begin(struct buf *b, int dtype, const int64_t *dims)
{
    *b = (struct buf)BUF_INIT;
    pb_int(b, 1, dtype);
    pb_shape(b, 2, dims);
}

static struct sm_tensor
parse(struct buf *b)
{
    struct err err = ERR_INIT;
    struct sm_tensor t;
    CHECK_OK(sm_tensor_proto(str_buf(b), &t, &err));
    return t;
}

TEST(test_sm_proto__short_lists_repeat_the_last_value)
{
    struct buf b;
    begin(&b, SM_FLOAT, DIMS(2, 2));
    pb_float(&b, 5, 1);
    pb_float(&b, 5, 2);
    struct sm_tensor t = parse(&b);
    const float *v = t.data;
    CHECK(v[0] == 1 && v[1] == 2 && v[2] == 2 && v[3] == 2);
    CHECK_INT(t.rank, 2);
    sm_tensor_release(&t);
    buf_release(&b);
}

TEST(test_sm_proto__no_values_are_zeros_and_surplus_is_ignored)
{
    struct buf b;
    begin(&b, SM_INT64, DIMS(3));
    struct sm_tensor t = parse(&b);
    CHECK(((int64_t *)t.data)[0] == 0 && ((int64_t *)t.data)[2] == 0);
    sm_tensor_release(&t);
    for (int i = 1; i <= 5; i++)
        pb_int(&b, 10, i);
    t = parse(&b);
    CHECK_INT(((int64_t *)t.data)[2], 3);
    CHECK_INT(t.n_elems, 3);
    sm_tensor_release(&t);
    buf_release(&b);
}

TEST(test_sm_proto__packed_and_unpacked_mix)
{
    struct buf b, packed = BUF_INIT;
    begin(&b, SM_INT8, DIMS(4));
    add_varint(&packed, 1);
    add_varint(&packed, (uint64_t)-2);
    pb_msg(&b, 7, &packed);
    pb_int(&b, 7, 3);
    struct sm_tensor t = parse(&b);
    const int8_t *v = t.data;
    CHECK(v[0] == 1 && v[1] == -2 && v[2] == 3 && v[3] == 3);
    sm_tensor_release(&t);
    buf_release(&b);
}

TEST(test_sm_proto__every_kind_of_value_field)
{
    struct buf b;
    struct sm_tensor t;
    begin(&b, SM_HALF, DIMS(1));
    pb_int(&b, 13, 0x3c00);
    t = parse(&b);
    CHECK_INT(*(uint16_t *)t.data, 0x3c00);
    sm_tensor_release(&t);
    buf_release(&b);

    begin(&b, SM_BOOL, DIMS(2));
    pb_int(&b, 11, 7);
    t = parse(&b);
    CHECK(((uint8_t *)t.data)[0] == 1 && ((uint8_t *)t.data)[1] == 1);
    sm_tensor_release(&t);
    buf_release(&b);

    begin(&b, SM_UINT64, SCALAR);
    pb_int(&b, 17, -1);
    t = parse(&b);
    CHECK(*(uint64_t *)t.data == UINT64_MAX);
    sm_tensor_release(&t);
    buf_release(&b);

    begin(&b, SM_FLOAT8_E5M2, DIMS(3));
    pb_bytes(&b, 18, "\x11\x22", 2);
    t = parse(&b);
    CHECK(memcmp(t.data, "\x11\x22\x22", 3) == 0);
    sm_tensor_release(&t);
    buf_release(&b);

    begin(&b, SM_DOUBLE, SCALAR);
    pb_fixed64(&b, 6, 0x3ff8000000000000);
    t = parse(&b);
    CHECK(*(double *)t.data == 1.5);
    sm_tensor_release(&t);
    buf_release(&b);
}

TEST(test_sm_proto__complex_values_are_pairs)
{
    struct buf b;
    begin(&b, SM_COMPLEX64, DIMS(2));
    pb_float(&b, 9, 1);
    pb_float(&b, 9, 2);
    pb_float(&b, 9, 3); /* half a value: not counted */
    struct sm_tensor t = parse(&b);
    const float *v = t.data;
    CHECK(v[0] == 1 && v[1] == 2 && v[2] == 1 && v[3] == 2);
    sm_tensor_release(&t);
    buf_release(&b);
}

TEST(test_sm_proto__strings)
{
    struct buf b;
    begin(&b, SM_STRING, DIMS(3));
    struct sm_tensor t = parse(&b);
    CHECK_INT(sm_tensor_str(&t)[2].n, 0);
    sm_tensor_release(&t);
    pb_text(&b, 8, "one");
    pb_text(&b, 8, "two");
    t = parse(&b);
    CHECK(str_is(sm_tensor_str(&t)[0], "one") && str_is(sm_tensor_str(&t)[2], "two"));
    sm_tensor_release(&t);
    pb_bytes(&b, 4, "\1\0\2abc", 6); /* tensor_content wins */
    t = parse(&b);
    CHECK(str_is(sm_tensor_str(&t)[0], "a") && str_is(sm_tensor_str(&t)[1], ""));
    CHECK(str_is(sm_tensor_str(&t)[2], "bc"));
    sm_tensor_release(&t);
    buf_release(&b);
}

TEST(test_sm_proto__content_is_borrowed_when_aligned)
{
    int32_t v[] = { 4, 5 };
    bool seen_borrowed = false, seen_owned = false;
    for (int pad = 1; pad <= 4; pad++) {
        struct buf b = BUF_INIT;
        pb_bytes(&b, 99, "xxxx", (size_t)pad); /* unknown fields are passed over */
        pb_int(&b, 1, SM_INT32);
        pb_shape(&b, 2, DIMS(2));
        pb_int(&b, 7, 1);
        pb_bytes(&b, 4, v, sizeof(v));
        struct sm_tensor t = parse(&b);
        CHECK(memcmp(t.data, v, sizeof(v)) == 0);
        CHECK((uintptr_t)t.data % sizeof(int32_t) == 0);
        if (t.owned)
            seen_owned = true;
        else
            seen_borrowed = true;
        sm_tensor_release(&t);
        buf_release(&b);
    }
    CHECK(seen_borrowed && seen_owned);
}

TEST(test_sm_proto__bools_are_zero_or_one)
{
    struct buf b;
    begin(&b, SM_BOOL, DIMS(3));
    pb_bytes(&b, 4, "\2\0\1", 3);
    struct sm_tensor t = parse(&b);
    CHECK(memcmp(t.data, "\1\0\1", 3) == 0);
    sm_tensor_release(&t);
    buf_release(&b);
}

TEST(test_sm_proto__a_shape_in_two_parts_is_merged)
{
    struct buf b;
    begin(&b, SM_FLOAT, DIMS(2));
    pb_shape(&b, 2, DIMS(3));
    struct sm_tensor t = parse(&b);
    CHECK_INT(t.rank, 2);
    CHECK_INT(t.n_elems, 6);
    sm_tensor_release(&t);
    buf_release(&b);
}

static void
refused(struct buf *b, enum err_code code)
{
    struct err err = ERR_INIT;
    struct sm_tensor t;
    CHECK_ERR(sm_tensor_proto(str_buf(b), &t, &err), code);
    CHECK(t.owned == NULL && t.data == NULL);
    buf_release(b);
}

TEST(test_sm_proto__damaged_or_oversized_constants_are_refused)
{
    struct buf b;
    begin(&b, SM_FLOAT, DIMS(2));
    pb_bytes(&b, 4, "1234567", 7);
    refused(&b, ERR_CORRUPT);
    begin(&b, SM_FLOAT, DIMS(-1));
    refused(&b, ERR_CORRUPT);
    begin(&b, 0, DIMS(1));
    refused(&b, ERR_CORRUPT);
    begin(&b, 101, DIMS(1));
    refused(&b, ERR_CORRUPT);
    begin(&b, SM_RESOURCE, SCALAR);
    refused(&b, ERR_UNSUPPORTED);
    begin(&b, SM_FLOAT, DIMS((int64_t)1 << 40)); /* terabytes of zeros */
    refused(&b, ERR_LIMIT);
    begin(&b, SM_STRING, DIMS((int64_t)1 << 40));
    refused(&b, ERR_LIMIT);
    begin(&b, SM_STRING, DIMS(2));
    pb_bytes(&b, 4, "\5\5abc", 5);
    refused(&b, ERR_CORRUPT);
    begin(&b, SM_FLOAT, DIMS(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1));
    refused(&b, ERR_LIMIT);
    begin(&b, SM_FLOAT, DIMS(2));
    pb_bytes(&b, 5, "12345", 5); /* packed floats cut off */
    refused(&b, ERR_CORRUPT);
}

TEST(test_sm_proto__shapes)
{
    struct err err = ERR_INIT;
    struct sm_shape s;
    struct buf b = BUF_INIT, m = BUF_INIT;
    CHECK_OK(sm_shape_parse(str_buf(&b), &s, &err));
    CHECK(s.rank == 0 && !s.unknown_rank);
    pb_shape(&b, 1, DIMS(-1, 4));
    CHECK_OK(sm_shape_parse(sm_pb_bytes(str_buf(&b), 1), &s, &err));
    CHECK(s.rank == 2 && s.dims[0] == -1 && s.dims[1] == 4);
    pb_int(&m, 3, 1);
    CHECK_OK(sm_shape_parse(str_buf(&m), &s, &err));
    CHECK(s.unknown_rank && s.rank == 0);
    buf_release(&b);
    buf_release(&m);
}
