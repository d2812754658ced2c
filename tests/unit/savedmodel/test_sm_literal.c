/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/savedmodel/build.h"

/* "dtype (dims) text" of what the literal gives. */
static void
check(const char *literal, const char *want)
{
    struct err err = ERR_INIT;
    struct buf b = BUF_INIT;
    struct sm_tensor t;
    struct sm_shape s = { .rank = 0 };
    CHECK_OK(sm_literal_read(literal, &t, &err));
    s.rank = t.rank;
    memcpy(s.dims, t.dims, sizeof(s.dims));
    buf_addf(&b, "%s ", sm_dtype_info(t.dtype)->tf_name);
    sm_shape_text(&s, &b);
    buf_addc(&b, ' ');
    sm_tensor_text(&t, &b);
    CHECK_STR(buf_str(&b), want);
    sm_tensor_release(&t);
    buf_release(&b);
}

static void
refused(const char *literal, const char *part)
{
    struct err err = ERR_INIT;
    struct sm_tensor t;
    CHECK_INT(sm_literal_read(literal, &t, &err), -(int)ERR_INVALID);
    if (!strstr(err.msg, part))
        unit_fail(__FILE__, __LINE__, "%s: %s", literal, err.msg);
    CHECK(t.owned == NULL);
}

TEST(test_sm_literal__numbers)
{
    check("1", "int64 () 1");
    check(" - 1_000 ", "int64 () -1000");
    check("0x1F", "int64 () 31");
    check("[.5, 1e3, 5.]", "float64 (3) [5.e-01 1.e+03 5.e+00]");
    check("-9223372036854775808", "int64 () -9223372036854775808");
    check("9223372036854775808", "uint64 () 9223372036854775808");
    check("1e999", "float64 () inf");
    refused("-9223372036854775809", "column 2: the integer does not fit");
    refused("012", "column 1");
    refused("1__0", "column 1");
    refused("--1", "column 2");
    refused("2j", "complex");
}

TEST(test_sm_literal__mixtures)
{
    check("[True, False]", "bool (2) [ True False]");
    check("[True, 2]", "int64 (2) [1 2]");
    check("[1, 2.5, True]", "float64 (3) [1.  2.5 1. ]");
    check("['a', b'b']", "string (2) [b'a' b'b']");
    refused("[1, 'a']", "column 2: strings and numbers");
}

TEST(test_sm_literal__nesting)
{
    check("[]", "float64 (0) []");
    check("[[], []]", "float64 (2, 0) []");
    check("(1)", "int64 () 1");
    check("(1,)", "int64 (1) [1]");
    check("[((1)), 2]", "int64 (2) [1 2]");
    check("[[1, 2], (3, 4),]", "int64 (2, 2) [[1 2]\n [3 4]]");
    check("[1, # first\n 2]", "int64 (2) [1 2]");
    refused("[[1], [2, 3]]", "column 7: the nesting is uneven");
    refused("[1, [2]]", "uneven");
    refused("[[], [1]]", "uneven");
    refused("[[[[[[[[[[[[[1]]]]]]]]]]]]]", "dimensions");
    refused("[1 2]", "column 4: expected ','");
    refused("[1", "column 3");
    refused("[1)", "column 3");
    refused("[,]", "column 2");
    refused("", "a value is missing");
    refused("1 2", "column 3: something stands behind");
    struct buf deep = BUF_INIT;
    for (int i = 0; i < 100000; i++)
        buf_addc(&deep, '(');
    refused(buf_str(&deep), "brackets inside each other");
    buf_release(&deep);
}

TEST(test_sm_literal__strings)
{
    check("'it''s'", "string () b'its'");
    check("\"a\\x41\\101\\n\"", "string () b'aAA\\n'");
    check("'\\u20ac'", "string () b'\\xe2\\x82\\xac'");
    check("'\\xe9'", "string () b'\\xc3\\xa9'");
    check("b'\\xe9\\0'", "string () b'\\xe9\\x00'");
    check("r'\\n'", "string () b'\\\\n'");
    check("'''a\n'b'''", "string () b\"a\\n'b\"");
    check("'\\q'", "string () b'\\\\q'");
    refused("'abc", "column 1: the string has no end");
    refused("'a\nb'", "no end");
    refused("'\\", "no end");
    refused("b'\xc3\xa9'", "ASCII");
    refused("'\\ud800'", "no character");
    refused("'\\x4'", "hexadecimal");
    refused("b'a' 'b'", "side by side");
}

TEST(test_sm_literal__what_is_no_literal)
{
    refused("np.ones(2)", "column 1: not a Python literal");
    refused("None", "not a Python literal");
    refused("{'a': 1}", "dicts");
    refused("Truex", "not a Python literal");
    refused("1+2", "column 2");
}
