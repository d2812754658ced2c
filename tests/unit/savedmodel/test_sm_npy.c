/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/savedmodel/samples.h"

/* An .npy file with this header text and body. */
static void
npy(struct buf *b, int version, const char *header, const void *body, size_t n)
{
    uint32_t len = (uint32_t)strlen(header);
    buf_release(b);
    buf_add(b, "\x93NUMPY", 6);
    buf_addc(b, (char)version);
    buf_addc(b, 0);
    buf_add(b, &len, version == 1 ? 2 : 4);
    buf_adds(b, header);
    buf_add(b, body, n);
}

static struct sm_tensor
read_ok(const struct buf *b)
{
    struct err err = ERR_INIT;
    struct sm_tensor t;
    CHECK_OK(sm_npy_read(str_buf(b), "f", &t, &err));
    return t;
}

TEST(test_sm_npy__both_byte_orders_and_layouts)
{
    struct buf b = BUF_INIT;
    npy(&b, 1, "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 2), }\n",
        "\1\0\2\0\3\0\4\0", 8);
    struct sm_tensor t = read_ok(&b);
    CHECK(t.dtype == SM_INT16 && t.rank == 2 && ((int16_t *)t.data)[3] == 4);
    sm_tensor_release(&t);
    npy(&b, 2, "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3)}",
        "\0\1\0\4\0\2\0\5\0\3\0\6", 12);
    t = read_ok(&b);
    for (int i = 0; i < 6; i++)
        CHECK_INT(((int16_t *)t.data)[i], i + 1);
    sm_tensor_release(&t);
    npy(&b, 3, "{\"shape\": (), \"descr\": \"|b1\", \"fortran_order\": False}", "\7",
        1);
    t = read_ok(&b);
    CHECK(t.dtype == SM_BOOL && t.rank == 0 && *(uint8_t *)t.data == 1);
    sm_tensor_release(&t);
    buf_release(&b);
}

TEST(test_sm_npy__text)
{
    struct buf b = BUF_INIT;
    npy(&b, 1, "{'descr': '|S3', 'fortran_order': False, 'shape': (2,), }",
        "ab\0\0\0\0", 6);
    struct sm_tensor t = read_ok(&b);
    CHECK(t.dtype == SM_STRING && str_is(sm_tensor_str(&t)[0], "ab"));
    CHECK_INT(sm_tensor_str(&t)[1].n, 0);
    sm_tensor_release(&t);
    npy(&b, 1, "{'descr': '>U2', 'fortran_order': False, 'shape': (1,), }",
        "\0\0\x20\xac\0\1\xf6\0", 8);
    t = read_ok(&b);
    CHECK(str_is(sm_tensor_str(&t)[0], "\xe2\x82\xac\xf0\x9f\x98\x80"));
    sm_tensor_release(&t);
    buf_release(&b);
}

static void
refused(const char *header, size_t n_body, enum err_code code, const char *part)
{
    struct err err = ERR_INIT;
    struct buf b = BUF_INIT;
    struct sm_tensor t;
    npy(&b, 1, header, "0123456789abcdef", n_body);
    CHECK_INT(sm_npy_read(str_buf(&b), "x.npy", &t, &err), -(int)code);
    CHECK(strstr(err.msg, "x.npy") && strstr(err.msg, part));
    CHECK(t.owned == NULL);
    buf_release(&b);
}
#define HEAD(descr, shape)                                                             \
    "{'descr': " descr ", 'fortran_order': False, 'shape': " shape ", }"

TEST(test_sm_npy__what_is_refused)
{
    refused(HEAD("'|O'", "(2,)"), 16, ERR_UNSUPPORTED, "pickle");
    refused(HEAD("[('a', '<f4')]", "(2,)"), 8, ERR_UNSUPPORTED, "structured");
    refused(HEAD("'|V2'", "(2,)"), 4, ERR_UNSUPPORTED, "V2");
    refused(HEAD("'<M8[ns]'", "(1,)"), 8, ERR_UNSUPPORTED, "M8");
    refused(HEAD("'<f16'", "(1,)"), 16, ERR_UNSUPPORTED, "f16");
    refused(HEAD("'<f4'", "(2,)"), 7, ERR_CORRUPT, "7 bytes follow");
    refused(HEAD("'<f4'", "(2,)"), 9, ERR_CORRUPT, "9 bytes follow");
    refused(HEAD("'<f4'", "(-2,)"), 8, ERR_CORRUPT, "malformed header");
    refused(HEAD("'<f4'", "(4611686018427387904, 4)"), 0, ERR_LIMIT, "2^63");
    refused(HEAD("'|S0'", "(9223372036854775807,)"), 0, ERR_CORRUPT, "0 bytes follow");
    refused(HEAD("'<U1'", "(1,)") "x", 4, ERR_CORRUPT, "malformed header");
    refused(HEAD("'<f4'", "(2,)") " ", 0, ERR_CORRUPT, "0 bytes follow");
    refused("{'descr': '<f4', 'shape': (1,)}", 4, ERR_CORRUPT, "malformed header");
    refused("", 0, ERR_CORRUPT, "malformed header");
    refused(HEAD("'<U1'", "(4,)"), 16, ERR_CORRUPT, "Unicode");
}

TEST(test_sm_npy__cut_off_anywhere)
{
    struct err err = ERR_INIT;
    struct buf b = BUF_INIT;
    struct sm_tensor t;
    npy(&b, 1, HEAD("'<f4'", "(1,)") "\n", "\0\0\0\0", 4);
    for (size_t n = 0; n < b.len; n++)
        CHECK_ERR(sm_npy_read((struct str){ b.data, n }, "f", &t, &err), ERR_CORRUPT);
    buf_release(&b);
}

/* The bytes that NumPy 1.26 writes. */
TEST(test_sm_npy__header_as_numpy_writes_it)
{
    struct err err = ERR_INIT;
    struct buf b = BUF_INIT, want = BUF_INIT;
    struct sm_tensor t;
    int64_t dims[] = { 3, 2 };
    CHECK_OK(sm_tensor_alloc(&t, SM_FLOAT, 2, dims, &err));
    CHECK_OK(sm_npy_write(&t, &b, &err));
    buf_add(&want, "\x93NUMPY\1\0v\0", 10);
    buf_addf(&want, "%-117s\n",
             "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }");
    CHECK_INT(b.len, 128 + 24);
    CHECK(memcmp(b.data, want.data, 128) == 0);
    sm_tensor_release(&t);
    buf_release(&b);
    buf_release(&want);
}

TEST(test_sm_npy__round_trip_of_every_dtype)
{
    struct err err = ERR_INIT;
    for (int dtype = 1; dtype < SM_DTYPE_END; dtype++) {
        const struct sm_dtype_info *info = sm_dtype_info(dtype);
        struct buf b = BUF_INIT;
        struct sm_tensor t, back;
        int64_t dims[] = { 2, 1, 2 };
        if (!info || info->size_bytes == 0)
            continue;
        CHECK_OK(sm_tensor_alloc(&t, dtype, 3, dims, &err));
        for (size_t i = 0; i < sm_tensor_bytes(&t); i++)
            ((uint8_t *)t.data)[i] = (uint8_t)(dtype == SM_BOOL ? i & 1 : i + 1);
        if (!info->descr && dtype != SM_BFLOAT16) {
            CHECK_ERR(sm_npy_write(&t, &b, &err), ERR_UNSUPPORTED);
            sm_tensor_release(&t);
            continue;
        }
        CHECK_OK(sm_npy_write(&t, &b, &err));
        CHECK_OK(sm_npy_read(str_buf(&b), "f", &back, &err));
        CHECK(back.rank == 3 && back.n_elems == 4);
        if (dtype == SM_BFLOAT16) {
            CHECK_INT(back.dtype, SM_FLOAT);
            CHECK_INT(((uint32_t *)back.data)[1], 0x0403u << 16);
        } else {
            CHECK(memcmp(back.data, t.data, sm_tensor_bytes(&t)) == 0);
        }
        sm_tensor_release(&back);
        sm_tensor_release(&t);
        buf_release(&b);
    }
}

TEST(test_sm_npy__strings_are_padded_to_the_longest)
{
    struct err err = ERR_INIT;
    struct buf b = BUF_INIT;
    struct sm_tensor t, back;
    struct str v[] = { STR_LIT("a"), STR_LIT(""), STR_LIT("xyz") };
    int64_t dims[] = { 3 };
    CHECK_OK(sm_tensor_strings(&t, 1, dims, v, &err));
    CHECK_OK(sm_npy_write(&t, &b, &err));
    CHECK(strstr(b.data + 10, "'|S3'"));
    CHECK_OK(sm_npy_read(str_buf(&b), "f", &back, &err));
    for (int i = 0; i < 3; i++)
        CHECK(str_eq(sm_tensor_str(&back)[i], v[i]));
    sm_tensor_release(&t);
    sm_tensor_release(&back);
    buf_release(&b);
}

/* Columns: .npy, dtype, shape, bytes; or "-", "-", part of the refusal. */
static void
as_numpy(char **column)
{
    struct err err = ERR_INIT;
    struct buf b = BUF_INIT;
    struct sm_tensor t;
    add_hex(&b, column[0]);
    if (column[1][0] == '-') {
        CHECK_INT(sm_npy_read(str_buf(&b), "f", &t, &err), -(int)ERR_UNSUPPORTED);
        if (!strstr(err.msg, column[3]))
            unit_fail(__FILE__, __LINE__, "%s: %s", column[3], err.msg);
    } else {
        CHECK_OK(sm_npy_read(str_buf(&b), "f", &t, &err));
        check_sample(&t, column[0], column + 1);
        sm_tensor_release(&t);
    }
    buf_release(&b);
}

TEST(test_sm_npy__values_are_numpys) { each_sample("npy.tsv", 4, as_numpy); }
