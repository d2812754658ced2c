/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/savedmodel/samples.h"

TEST(test_sm_tfrecord__plain_gzip_and_zlib_are_the_same)
{
    static const char *const names[] = { "rows.tfrecord", "rows.tfrecord.gz",
                                         "rows.tfrecord.zlib" };
    struct err err = ERR_INIT;
    struct buf plain = BUF_INIT;
    struct sm_records first;
    sample_file(names[0], &plain);
    CHECK_OK(sm_tfrecord_read(str_buf(&plain), "f", &first, &err));
    CHECK_INT((int64_t)first.n, 3);
    for (int i = 0; i < 3; i++) {
        struct buf b = BUF_INIT;
        struct sm_records r;
        sample_file(names[i], &b);
        CHECK(sm_is_tfrecord(str_buf(&b)));
        CHECK_OK(sm_tfrecord_read(str_buf(&b), names[i], &r, &err));
        CHECK_INT((int64_t)r.n, 3);
        for (size_t k = 0; k < r.n; k++)
            CHECK(str_eq(r.v[k], first.v[k]));
        CHECK((r.unpacked != NULL) == (i > 0));
        sm_records_release(&r);
        buf_release(&b);
    }
    sm_records_release(&first);
    buf_release(&plain);
}

TEST(test_sm_tfrecord__known_bytes_and_none)
{
    struct err err = ERR_INIT;
    struct buf b = BUF_INIT;
    struct sm_records r;
    add_hex(&b, "0200000000000000 78270b34 6162 1cb0f0f4");
    CHECK_OK(sm_tfrecord_read(str_buf(&b), "f", &r, &err));
    CHECK(r.n == 1 && str_is(r.v[0], "ab"));
    sm_records_release(&r);
    CHECK_OK(sm_tfrecord_read((struct str){ "", 0 }, "f", &r, &err));
    CHECK_INT((int64_t)r.n, 0);
    CHECK(!sm_is_tfrecord((struct str){ "", 0 }));
    buf_release(&b);
}

/* Every cut and every flipped bit of a plain file is found. */
TEST(test_sm_tfrecord__damage_is_found)
{
    struct buf b = BUF_INIT;
    sample_file("rows.tfrecord", &b);
    uint64_t first;
    memcpy(&first, b.data, 8);
    for (size_t n = 1; n < b.len; n++) {
        struct err err = ERR_INIT;
        struct sm_records r;
        int rc = sm_tfrecord_read((struct str){ b.data, n }, "f", &r, &err);
        if (rc == 0) { /* whole records */
            CHECK(r.n < 3 && n >= first + 16);
            sm_records_release(&r);
        } else {
            CHECK_INT(rc, -(int)ERR_CORRUPT);
            CHECK(strstr(err.msg, "f: record "));
        }
    }
    for (size_t i = 0; i < b.len * 8; i += 5) {
        struct err err = ERR_INIT;
        struct sm_records r;
        b.data[i / 8] = (char)(b.data[i / 8] ^ 1 << i % 8);
        CHECK_ERR(sm_tfrecord_read(str_buf(&b), "f", &r, &err), ERR_CORRUPT);
        b.data[i / 8] = (char)(b.data[i / 8] ^ 1 << i % 8);
    }
    buf_release(&b);
}

TEST(test_sm_tfrecord__damaged_gzip)
{
    struct buf b = BUF_INIT;
    sample_file("rows.tfrecord.gz", &b);
    for (size_t n = 8; n < b.len; n += 3) {
        struct err err = ERR_INIT;
        struct sm_records r;
        CHECK_ERR(sm_tfrecord_read((struct str){ b.data, n }, "f", &r, &err),
                  ERR_CORRUPT);
    }
    buf_release(&b);
}
