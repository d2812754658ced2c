/* SPDX-License-Identifier: Apache-2.0 */
#include "savedmodel/sm_int.h"
#include "tests/unit/savedmodel/build.h"

static void
check_key(const char *name, size_t n_name, int64_t start, int64_t length,
          const char *want_hex)
{
    struct buf slice = BUF_INIT, extent = BUF_INIT, got = BUF_INIT, want = BUF_INIT;
    if (start || length >= 0)
        pb_int(&extent, 1, start);
    if (length >= 0)
        pb_int(&extent, 2, length);
    pb_msg(&slice, 1, &extent);
    sm_slice_key((struct str){ name, n_name }, str_buf(&slice), 1, &got);
    add_hex(&want, want_hex);
    CHECK(got.len == want.len && memcmp(got.data, want.data, got.len) == 0);
    buf_release(&slice);
    buf_release(&got);
    buf_release(&want);
}

TEST(test_sm_slice__keys)
{
    check_key("w", 1, 0, -1, "00 77 0001 0101 80 7f");
    check_key("w", 1, 0, 10, "00 77 0001 0101 80 8a");
    check_key("w", 1, 63, 64, "00 77 0001 0101 bf c040");
    check_key("w", 1, 0x424242, 0x2000, "00 77 0001 0101 f0424242 e02000");
    check_key("a\0b\xff", 4, 0, -1, "00 61 00ff 62 ff00 0001 0101 80 7f");
    check_key("w", 1, INT64_MAX, -1, "00 77 0001 0101 ffc07fffffffffffffff 7f");
}

TEST(test_sm_slice__rank_of_the_key)
{
    struct buf slice = BUF_INIT, got = BUF_INIT, want = BUF_INIT;
    struct buf e = BUF_INIT;
    pb_msg(&slice, 1, &e);
    pb_int(&e, 2, 10);
    pb_msg(&slice, 1, &e);
    sm_slice_key(STR_LIT("w"), str_buf(&slice), 2, &got);
    add_hex(&want, "00 77 0001 0102 80 7f 80 8a");
    CHECK(got.len == want.len && memcmp(got.data, want.data, got.len) == 0);
    buf_release(&slice);
    buf_release(&got);
    buf_release(&want);
}

/* Copies every pair of boxes of a small cube and compares with the plain rule. */
TEST(test_sm_slice__copy_of_every_overlap)
{
    int src[4 * 3 * 2], dst[4 * 3 * 2];
    struct sm_slice full = { .rank = 3, .length = { 4, 3, 2 } };
    for (int i = 0; i < 24; i++)
        src[i] = i;
    for (int s0 = 0; s0 < 4; s0++) {
        for (int n1 = 1; n1 <= 3; n1++) {
            for (int s2 = 0; s2 < 2; s2++) {
                struct sm_slice box = { .rank = 3,
                                        .start = { s0, 3 - n1, s2 },
                                        .length = { 4 - s0, n1, 2 - s2 } };
                memset(dst, 0xff, sizeof(dst));
                int64_t n = sm_slice_copy(dst, &box, src, &full, sizeof(int));
                CHECK_INT(n, (4 - s0) * n1 * (2 - s2));
                int at = 0;
                for (int i = s0; i < 4; i++)
                    for (int j = 3 - n1; j < 3; j++)
                        for (int k = s2; k < 2; k++)
                            CHECK_INT(dst[at++], (i * 3 + j) * 2 + k);
            }
        }
    }
}

TEST(test_sm_slice__nothing_in_common)
{
    int src[4] = { 0 }, dst[4] = { 0 };
    struct sm_slice a = { .rank = 1, .start = { 0 }, .length = { 2 } };
    struct sm_slice b = { .rank = 1, .start = { 2 }, .length = { 2 } };
    CHECK(!sm_slice_touches(&a, &b));
    CHECK_INT(sm_slice_copy(dst, &a, src, &b, sizeof(int)), 0);
}
