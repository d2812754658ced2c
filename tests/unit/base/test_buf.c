/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include "tests/unit/unit.h"

#include <stdlib.h>

TEST(test_buf__appends_and_stays_terminated)
{
    struct buf b AUTO(buf_release) = BUF_INIT;

    CHECK_STR(buf_str(&b), "");
    buf_adds(&b, "a");
    buf_addc(&b, 'b');
    buf_add(&b, "cd", 2);
    buf_addf(&b, "%d", 12);
    CHECK_STR(buf_str(&b), "abcd12");
    CHECK_INT(b.len, 6);
    buf_clear(&b);
    CHECK_STR(buf_str(&b), "");
}

TEST(test_buf__grows_over_many_appends)
{
    struct buf b AUTO(buf_release) = BUF_INIT;

    for (int i = 0; i < 10000; i++) {
        buf_addc(&b, (char)('a' + i % 26));
        CHECK(b.data[b.len] == '\0' && b.len < b.alloc_bytes);
    }
    for (int i = 0; i < 10000; i++)
        CHECK(b.data[i] == 'a' + i % 26);
}

TEST(test_buf__long_format)
{
    struct buf b AUTO(buf_release) = BUF_INIT;

    buf_addf(&b, "%0500d|", 7);
    CHECK_INT(b.len, 501);
    CHECK(b.data[499] == '7' && b.data[500] == '|');
}

TEST(test_buf__cap_drops_the_append_and_remembers)
{
    struct err err = ERR_INIT;
    struct buf b AUTO(buf_release) = { .cap_bytes = 4 };

    buf_adds(&b, "abcd");
    CHECK_OK(buf_check(&b, "it", &err));
    buf_addc(&b, 'e');
    CHECK_STR(buf_str(&b), "abcd");
    CHECK(!buf_room(&b, 1));
    CHECK_ERR(buf_check(&b, "it", &err), ERR_LIMIT);
    buf_clear(&b);
    CHECK_OK(buf_check(&b, "it", &err));
    buf_addf(&b, "%s", "12345");
    CHECK_INT(b.len, 0);
    CHECK(b.over);
    CHECK(!buf_room(&b, SIZE_MAX));
}

TEST(test_buf__take_hands_over)
{
    struct buf b AUTO(buf_release) = BUF_INIT;
    char *s AUTO(free_ptr) = NULL;
    char *empty AUTO(free_ptr) = buf_take(&b);

    CHECK_STR(empty, "");
    buf_adds(&b, "x");
    s = buf_take(&b);
    CHECK_STR(s, "x");
    CHECK(!b.data && b.len == 0);
}

TEST(test_buf__slices_compare_bytewise)
{
    CHECK(str_eq(STR_LIT("ab"), str_of("ab")));
    CHECK(!str_eq(STR_LIT("ab"), STR_LIT("ac")));
    CHECK(str_is((struct str){ NULL, 0 }, ""));
    CHECK(str_cmp(STR_LIT("a"), STR_LIT("ab")) < 0);
    CHECK(str_cmp(STR_LIT("a/b"), STR_LIT("a.b")) > 0);
    CHECK(str_cmp(STR_LIT("\x80"), STR_LIT("a")) > 0);
    CHECK_INT(str_cmp(STR_LIT("a"), STR_LIT("a")), 0);
}

TEST(test_buf__distance_counts_edits)
{
    static const struct {
        const char *a, *b;
        int d;
    } t[] = {
        { "", "", 0 },          { "promote", "promote", 0 }, { "", "ab", 2 },
        { "scan", "scam", 1 },  { "scan", "can", 1 },        { "diff", "dif", 1 },
        { "push", "pushx", 1 }, { "fsck", "fcsk", 2 },       { "kitten", "sitting", 3 },
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        CHECK_INT(str_distance(str_of(t[i].a), str_of(t[i].b), 3), t[i].d);
        CHECK_INT(str_distance(str_of(t[i].b), str_of(t[i].a), 3), t[i].d);
    }
    CHECK(str_distance(STR_LIT("kitten"), STR_LIT("sitting"), 2) > 2);
    CHECK(str_distance(STR_LIT("abcdef"), STR_LIT("uvwxyz"), 2) > 2);
}

TEST(test_buf__xfunctions)
{
    char *a AUTO(free_ptr) = xstrndup("abc", 2);
    char *b AUTO(free_ptr) = xasprintf("%s-%d", a, 3);
    char *c AUTO(free_ptr) = xcalloc(0, 8);

    CHECK_STR(a, "ab");
    CHECK_STR(b, "ab-3");
    CHECK(c != NULL);
}
