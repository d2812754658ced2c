/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/savedmodel/build.h"

TEST(test_sm_pb__walks_every_wire_type)
{
    struct buf b = BUF_INIT;
    pb_int(&b, 1, 300);
    pb_int(&b, 2, -1); /* ten bytes */
    pb_fixed64(&b, 3, 0x0102030405060708);
    pb_text(&b, 4, "abc");
    pb_fixed32(&b, 5, 0xdeadbeef);
    struct str it = str_buf(&b);
    struct sm_field f;
    CHECK_INT(sm_pb_next(&it, &f), 1);
    CHECK(f.num == 1 && f.wire == 0 && f.v == 300);
    CHECK_INT(sm_pb_next(&it, &f), 1);
    CHECK((int64_t)f.v == -1);
    CHECK_INT(sm_pb_next(&it, &f), 1);
    CHECK(f.wire == 1 && f.v == 0x0102030405060708);
    CHECK_INT(sm_pb_next(&it, &f), 1);
    CHECK(f.wire == 2 && str_is(f.bytes, "abc"));
    CHECK_INT(sm_pb_next(&it, &f), 1);
    CHECK(f.wire == 5 && f.v == 0xdeadbeef);
    CHECK_INT(sm_pb_next(&it, &f), 0);
    buf_release(&b);
}

static int
walk(const char *hex)
{
    struct buf b = BUF_INIT;
    struct sm_field f;
    int r;
    add_hex(&b, hex);
    /* An exact block, so that a sanitizer sees a read behind it. */
    char *own = xmalloc(b.len + 1);
    memcpy(own, b.data ? b.data : "", b.len);
    struct str it = { own, b.len };
    while ((r = sm_pb_next(&it, &f)) > 0)
        ;
    free_ptr(&own);
    buf_release(&b);
    return r;
}

TEST(test_sm_pb__malformed_bytes_are_told)
{
    CHECK_INT(walk(""), 0);
    CHECK_INT(walk("08"), -1);                        /* no value */
    CHECK_INT(walk("0880"), -1);                      /* varint without end */
    CHECK_INT(walk("08 ffffffffffffffffff01"), 0);    /* ten bytes */
    CHECK_INT(walk("08 ffffffffffffffffffff01"), -1); /* eleven */
    CHECK_INT(walk("00 00"), -1);                     /* field 0 */
    CHECK_INT(walk("0a 03 6162"), -1);                /* longer than the message */
    CHECK_INT(walk("0a ffffffffffffffffff01"), -1);   /* 2^64 - 1 bytes */
    CHECK_INT(walk("0d 000000"), -1);                 /* cut fixed32 */
    CHECK_INT(walk("09 00000000000000"), -1);         /* cut fixed64 */
    CHECK_INT(walk("0e"), -1);                        /* wire type 6 */
    CHECK_INT(walk("0f"), -1);                        /* wire type 7 */
}

TEST(test_sm_pb__groups_are_skipped_whole)
{
    CHECK_INT(walk("0b 0801 0c 1001"), 0);
    CHECK_INT(walk("0b 13 14 0c"), 0);
    CHECK_INT(walk("0b 13 0c 14"), -1); /* ends cross */
    CHECK_INT(walk("0b"), -1);          /* no end */
    CHECK_INT(walk("0c"), -1);          /* no start */
    struct buf deep = BUF_INIT;
    for (int i = 0; i < 150; i++)
        buf_adds(&deep, "\x0b");
    for (int i = 0; i < 150; i++)
        buf_adds(&deep, "\x0c");
    struct str it = str_buf(&deep);
    struct sm_field f;
    CHECK_INT(sm_pb_next(&it, &f), -1);
    buf_release(&deep);
}

TEST(test_sm_pb__last_of_a_singular_field_wins)
{
    struct buf b = BUF_INIT;
    pb_int(&b, 1, 5);
    pb_text(&b, 2, "old");
    pb_int(&b, 1, 6);
    pb_text(&b, 2, "new");
    pb_fixed32(&b, 1,
               9); /* another wire type: not the same field to a reader of ints */
    CHECK_INT(sm_pb_int(str_buf(&b), 1, -1), 6);
    CHECK_INT(sm_pb_int(str_buf(&b), 3, -1), -1);
    CHECK(str_is(sm_pb_bytes(str_buf(&b), 2), "new"));
    CHECK_INT(sm_pb_bytes(str_buf(&b), 7).n, 0);
    buf_release(&b);
}

TEST(test_sm_pb__map_lookup_takes_the_last_entry)
{
    struct buf b = BUF_INIT, v = BUF_INIT;
    struct str value;
    pb_text(&v, 9, "one");
    pb_entry(&b, 5, "k", &v);
    pb_text(&v, 9, "two");
    pb_entry(&b, 5, "k", &v);
    CHECK(sm_pb_map_get(str_buf(&b), 5, STR_LIT("k"), &value));
    CHECK(str_is(sm_pb_bytes(value, 9), "two"));
    CHECK(!sm_pb_map_get(str_buf(&b), 5, STR_LIT("x"), &value));
    CHECK(!sm_pb_map_get(str_buf(&b), 4, STR_LIT("k"), &value));
    buf_release(&b);
}
