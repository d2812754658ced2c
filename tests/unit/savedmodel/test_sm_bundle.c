/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/savedmodel/build.h"

#include <snappy-c.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *
in_dir(const char *name)
{
    static __thread char path[4][4096];
    static __thread unsigned turn;
    char *p = path[turn++ % 4];
    (void)snprintf(p, sizeof(path[0]), "%s/%s", unit_dir(), name);
    return p;
}

static int
open_ck(struct sm_bundle **b, struct err *err)
{
    return sm_bundle_open(b, AT_FDCWD, in_dir("ck"), err);
}

static void
write_shard(const void *p, size_t n)
{
    write_file(in_dir("ck.data-00000-of-00001"), p, n);
}

static uint32_t
masked(const void *p, size_t n)
{
    return crc32c_mask(crc32c(0, p, n));
}

static const float floats[] = { 1, 2, 3, 4, 5, 6 };

/* "w": float[2, 3] in one shard. */
static void
make_simple(void)
{
    struct table t = { .entries = BUF_INIT };
    table_header(&t, 1, 0);
    table_tensor(&t, STR_LIT("w"), SM_FLOAT, DIMS(2, 3), 0, 24, masked(floats, 24));
    table_write(&t, (struct str){ "", 0 }, in_dir("ck.index"));
    write_shard(floats, sizeof(floats));
}

/* The 117 bytes that TensorFlow writes for one scalar "a" = 1.0f. */
TEST(test_sm_bundle__bytes_of_tensorflow)
{
    struct err err = ERR_INIT;
    struct sm_bundle *b AUTO(sm_bundle_close_p) = NULL;
    struct sm_tensor t;
    struct buf f = BUF_INIT;
    add_hex(&f, "000006 08011a020801 00010b 61 0801120028043581a5da2b 00000000 01000000"
                "00 74ef79b2"
                "00000000 01000000 00 c0f2a1b0"
                "000102 62 0020 00000000 01000000 00 30d3691c"
                "2508 320e");
    while (f.len < 117 - 8)
        buf_addc(&f, 0);
    add_hex(&f, "57fb808b247547db");
    CHECK_INT(f.len, 117);
    write_file(in_dir("ck.index"), f.data, f.len);
    write_shard(floats, 4);
    CHECK_OK(open_ck(&b, &err));
    CHECK_INT(sm_bundle_n_entries(b), 1);
    CHECK_INT(sm_bundle_n_shards(b), 1);
    const struct sm_entry *e = sm_bundle_find(b, STR_LIT("a"));
    CHECK(e && e->dtype == SM_FLOAT && e->shape.rank == 0 && e->size_bytes == 4);
    CHECK_INT(e->crc32c, 0x2bdaa581);
    CHECK_OK(sm_bundle_tensor(b, STR_LIT("a"), STR_LIT(""), true, &t, &err));
    CHECK(*(float *)t.data == 1 && t.owned == NULL);
    sm_tensor_release(&t);
    buf_release(&f);
}

TEST(test_sm_bundle__slices_of_a_whole_tensor)
{
    struct err err = ERR_INIT;
    struct sm_bundle *b AUTO(sm_bundle_close_p) = NULL;
    struct sm_tensor t;
    make_simple();
    CHECK_OK(open_ck(&b, &err));
    CHECK_OK(sm_bundle_check_sizes(b, &err));
    CHECK_OK(sm_bundle_tensor(b, STR_LIT("w"), STR_LIT("2 3 -:1,2"), true, &t, &err));
    const float *v = t.data;
    CHECK(t.rank == 2 && t.dims[0] == 2 && t.dims[1] == 2);
    CHECK(v[0] == 2 && v[1] == 3 && v[2] == 5 && v[3] == 6);
    sm_tensor_release(&t);
    CHECK_OK(sm_bundle_tensor(b, STR_LIT("w"), STR_LIT("2 3 -:-"), true, &t, &err));
    CHECK(t.owned == NULL); /* all of it: lent */
    sm_tensor_release(&t);
    static const char *const bad[] = {
        "2 3 -",     "2 3 -:-:-",  "2 3 0,3:-",
        "2 3 -:4,0", "2 3 0,2:x",  "2 3",
        "x",         "2 3 -:-1,1", "99999999999999999999 3 -:-",
        "2  3 -:-"
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_ERR(sm_bundle_tensor(b, STR_LIT("w"), str_of(bad[i]), true, &t, &err),
                  ERR_INVALID);
    CHECK_ERR(sm_bundle_tensor(b, STR_LIT("w"), STR_LIT("3 2 -:-"), true, &t, &err),
              ERR_INVALID);
    CHECK_ERR(sm_bundle_tensor(b, STR_LIT("v"), STR_LIT(""), true, &t, &err),
              ERR_NOTFOUND);
}

TEST(test_sm_bundle__partitioned_variable_of_a_real_model)
{
    struct err err = ERR_INIT;
    struct sm_bundle *b AUTO(sm_bundle_close_p) = NULL;
    char prefix[4096];
    (void)snprintf(prefix, sizeof(prefix), "%s/variables/variables",
                   unit_data("tf1_partitioned/model"));
    CHECK_OK(sm_bundle_open(&b, AT_FDCWD, prefix, &err));
    int n_sliced = 0;
    for (int i = 0; i < sm_bundle_n_entries(b); i++) {
        const struct sm_entry *e = sm_bundle_entry(b, i);
        struct sm_tensor all, part;
        CHECK_OK(sm_bundle_tensor(b, e->key, STR_LIT(""), true, &all, &err));
        n_sliced += e->n_slices > 1;
        if (e->shape.rank == 2) { /* the last row, by its slice */
            char spec[64];
            int n_rows = (int)e->shape.dims[0], n_cols = (int)e->shape.dims[1];
            (void)snprintf(spec, sizeof(spec), "%d %d %d,1:-", n_rows, n_cols,
                           n_rows - 1);
            CHECK_OK(sm_bundle_tensor(b, e->key, str_of(spec), true, &part, &err));
            CHECK_INT(part.n_elems, n_cols);
            CHECK(memcmp(part.data, (float *)all.data + (n_rows - 1) * n_cols,
                         sm_tensor_bytes(&part)) == 0);
            sm_tensor_release(&part);
        }
        sm_tensor_release(&all);
    }
    CHECK(n_sliced > 0);
}

/* "w": float[4] in slices [0,2) and [2,4); what the directory lists is up to the test.
 */
static void
make_sliced(int second_start, int second_length)
{
    struct table t = { .entries = BUF_INIT };
    struct buf v = BUF_INIT;
    int starts[] = { 0, second_start }, lengths[] = { 2, second_length };
    table_header(&t, 1, 0);
    /* key: 00, "w" 00 01, rank 01 01, start, length */
    table_tensor(&t, (struct str){ "\0w\0\1\1\1\x80\x82", 8 }, SM_FLOAT, DIMS(2), 0, 8,
                 masked(floats, 8));
    table_tensor(&t, (struct str){ "\0w\0\1\1\1\x82\x82", 8 }, SM_FLOAT, DIMS(2), 8, 8,
                 masked(floats + 2, 8));
    pb_int(&v, 1, SM_FLOAT);
    pb_shape(&v, 2, DIMS(4));
    for (int i = 0; i < 2; i++) {
        struct buf slice = BUF_INIT, extent = BUF_INIT;
        pb_int(&extent, 1, starts[i]);
        pb_int(&extent, 2, lengths[i]);
        pb_msg(&slice, 1, &extent);
        pb_msg(&v, 7, &slice);
    }
    table_add(&t, STR_LIT("w"), &v);
    table_write(&t, (struct str){ "", 0 }, in_dir("ck.index"));
    write_shard(floats, 16);
}

TEST(test_sm_bundle__slices_are_joined)
{
    struct err err = ERR_INIT;
    struct sm_bundle *b AUTO(sm_bundle_close_p) = NULL;
    struct sm_tensor t;
    make_sliced(2, 2);
    CHECK_OK(open_ck(&b, &err));
    CHECK_INT(sm_bundle_n_entries(b), 1); /* slice keys are not listed */
    CHECK(sm_bundle_find(b, (struct str){ "\0w\0\1\1\1\x80\x82", 8 }) == NULL);
    CHECK_OK(sm_bundle_tensor(b, STR_LIT("w"), STR_LIT(""), true, &t, &err));
    CHECK(memcmp(t.data, floats, 16) == 0);
    sm_tensor_release(&t);
    CHECK_OK(sm_bundle_tensor(b, STR_LIT("w"), STR_LIT("4 1,2"), true, &t, &err));
    CHECK(memcmp(t.data, floats + 1, 8) == 0);
    sm_tensor_release(&t);
    CHECK_OK(sm_bundle_tensor(b, STR_LIT("w"), STR_LIT("4 2,2"), true, &t, &err));
    CHECK(t.owned == NULL && memcmp(t.data, floats + 2, 8) == 0);
    sm_tensor_release(&t);
}

TEST(test_sm_bundle__wrong_slices_are_corrupt)
{
    struct err err = ERR_INIT;
    static const int wrong[][2] = { { 0, 2 }, { 1, 2 }, { 3, 2 }, { 2, -1 } };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct sm_bundle *b AUTO(sm_bundle_close_p) = NULL;
        struct sm_tensor t;
        make_sliced(wrong[i][0], wrong[i][1]);
        CHECK_OK(open_ck(&b, &err));
        CHECK_ERR(sm_bundle_tensor(b, STR_LIT("w"), STR_LIT(""), true, &t, &err),
                  ERR_CORRUPT);
        CHECK(t.owned == NULL);
    }
}

TEST(test_sm_bundle__missing_and_short_shards)
{
    struct err err = ERR_INIT;
    struct sm_bundle *b AUTO(sm_bundle_close_p) = NULL;
    struct sm_tensor t;
    make_simple();
    CHECK_INT(unlink(in_dir("ck.data-00000-of-00001")), 0);
    CHECK_OK(open_ck(&b, &err));
    CHECK(sm_bundle_tensor(b, STR_LIT("w"), STR_LIT(""), true, &t, &err) ==
          -ERR_NOTFOUND);
    CHECK(strstr(err.msg, "ck.data-00000-of-00001 is missing (the index needs 24 bytes "
                          "of it)"));
    err_clear(&err);
    CHECK_ERR(sm_bundle_check_sizes(b, &err), ERR_CORRUPT);
    write_shard(floats, 20);
    CHECK(sm_bundle_check_sizes(b, &err) == -ERR_CORRUPT);
    CHECK(strstr(err.msg, "tensor 'w': ends at byte 24") &&
          strstr(err.msg, "20 bytes"));
    err_clear(&err);
    CHECK(sm_bundle_tensor(b, STR_LIT("w"), STR_LIT(""), true, &t, &err) ==
          -ERR_CORRUPT);
    CHECK(strstr(err.msg, "tensor 'w'") && strstr(err.msg, "20 bytes"));
}

TEST(test_sm_bundle__flipped_weights_are_told)
{
    struct err err = ERR_INIT;
    struct sm_bundle *b AUTO(sm_bundle_close_p) = NULL;
    struct sm_tensor t;
    float bad[6];
    make_simple();
    memcpy(bad, floats, sizeof(bad));
    ((char *)bad)[13] ^= 1;
    write_shard(bad, sizeof(bad));
    CHECK_OK(open_ck(&b, &err));
    CHECK(sm_bundle_tensor(b, STR_LIT("w"), STR_LIT(""), true, &t, &err) ==
          -ERR_CORRUPT);
    CHECK(strstr(err.msg, "tensor 'w': checksum"));
    err_clear(&err);
    CHECK_OK(sm_bundle_tensor(b, STR_LIT("w"), STR_LIT(""), false, &t, &err));
    sm_tensor_release(&t);
}

TEST(test_sm_bundle__every_flipped_byte_of_the_index_is_told)
{
    struct err err = ERR_INIT;
    struct buf f = BUF_INIT;
    make_simple();
    read_file(in_dir("ck.index"), &f);
    for (size_t i = 0; i < f.len; i++) {
        struct sm_bundle *b;
        f.data[i] = (char)(f.data[i] ^ 0x10);
        write_file(in_dir("ck.index"), f.data, f.len);
        int rc = open_ck(&b, &err);
        /* Free room: the metaindex block, its handle and the footer's padding. */
        if (rc == 0)
            sm_bundle_close(b);
        else
            CHECK(rc == -ERR_CORRUPT && strstr(err.msg, "ck.index"));
        bool is_data = i < f.len - 48 - 2 * 13 - 11;
        bool is_magic = i >= f.len - 8;
        CHECK(rc < 0 || !(is_data || is_magic));
        err_clear(&err);
        f.data[i] = (char)(f.data[i] ^ 0x10);
    }
    for (size_t n = 0; n < f.len; n++) {
        struct sm_bundle *b;
        write_file(in_dir("ck.index"), f.data, n);
        CHECK_ERR(open_ck(&b, &err), ERR_CORRUPT);
    }
    buf_release(&f);
}

TEST(test_sm_bundle__no_index)
{
    struct err err = ERR_INIT;
    struct sm_bundle *b;
    CHECK_ERR(open_ck(&b, &err), ERR_NOTFOUND);
    CHECK(b == NULL);
}

TEST(test_sm_bundle__snappy_blocks)
{
    struct err err = ERR_INIT;
    struct sm_bundle *b AUTO(sm_bundle_close_p) = NULL;
    struct table t = { .entries = BUF_INIT };
    char packed[1024];
    size_t n = sizeof(packed);
    table_header(&t, 1, 0);
    for (int i = 0; i < 8; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "w%d", i);
        table_tensor(&t, str_of(key), SM_FLOAT, SCALAR, 4 * i, 4,
                     masked(floats + i, 0));
    }
    struct buf all = BUF_INIT;
    buf_add(&all, t.entries.data, t.entries.len);
    buf_add(&all, NO_RESTARTS, 8);
    CHECK(snappy_compress(all.data, all.len, packed, &n) == SNAPPY_OK);
    CHECK(n < all.len);
    buf_release(&all);
    table_write(&t, (struct str){ packed, n }, in_dir("ck.index"));
    CHECK_OK(open_ck(&b, &err));
    CHECK_INT(sm_bundle_n_entries(b), 8);
    CHECK_INT(sm_bundle_find(b, STR_LIT("w7"))->offset, 28);
    /* A block that promises more than it can hold. */
    struct table bad = { .entries = BUF_INIT };
    struct sm_bundle *none;
    table_header(&bad, 1, 0);
    table_write(&bad, (struct str){ "\xff\xff\xff\xff\x0f\0x", 7 }, in_dir("ck.index"));
    CHECK_ERR(open_ck(&none, &err), ERR_CORRUPT);
}

/* Strings "ab", "", "xyz": lengths, checksum, bytes. */
static void
make_strings(bool is_big)
{
    struct table t = { .entries = BUF_INIT };
    struct buf v = BUF_INIT;
    uint32_t lens[] = { 2, 0, 3 };
    for (int i = 0; is_big && i < 3; i++)
        lens[i] = __builtin_bswap32(lens[i]);
    uint32_t crc = crc32c(0, lens, sizeof(lens)), stored = crc32c_mask(crc);
    if (is_big)
        stored = __builtin_bswap32(stored);
    buf_add(&v, "\2\0\3", 3);
    buf_add(&v, &stored, 4);
    buf_adds(&v, "abxyz");
    crc = crc32c(crc32c(crc, &stored, 4), "abxyz", 5);
    table_header(&t, 1, is_big);
    table_tensor(&t, STR_LIT("s"), SM_STRING, DIMS(3), 0, (int64_t)v.len,
                 crc32c_mask(crc));
    table_write(&t, (struct str){ "", 0 }, in_dir("ck.index"));
    write_shard(v.data, v.len);
    buf_release(&v);
}

TEST(test_sm_bundle__strings)
{
    struct err err = ERR_INIT;
    for (int is_big = 0; is_big < 2; is_big++) {
        struct sm_bundle *b AUTO(sm_bundle_close_p) = NULL;
        struct sm_tensor t;
        make_strings(is_big != 0);
        CHECK_OK(open_ck(&b, &err));
        CHECK_OK(sm_bundle_tensor(b, STR_LIT("s"), STR_LIT(""), true, &t, &err));
        CHECK(str_is(sm_tensor_str(&t)[0], "ab") && str_is(sm_tensor_str(&t)[1], ""));
        CHECK(str_is(sm_tensor_str(&t)[2], "xyz"));
        sm_tensor_release(&t);
        CHECK_OK(sm_bundle_tensor(b, STR_LIT("s"), STR_LIT("3 2,1"), true, &t, &err));
        CHECK(t.n_elems == 1 && str_is(sm_tensor_str(&t)[0], "xyz"));
        sm_tensor_release(&t);
    }
}

TEST(test_sm_bundle__damaged_strings)
{
    struct err err = ERR_INIT;
    struct buf f = BUF_INIT;
    make_strings(false);
    read_file(in_dir("ck.data-00000-of-00001"), &f);
    for (size_t i = 0; i < f.len; i++) {
        struct sm_bundle *b AUTO(sm_bundle_close_p) = NULL;
        struct sm_tensor t;
        f.data[i] = (char)(f.data[i] ^ 4);
        write_shard(f.data, f.len);
        CHECK_OK(open_ck(&b, &err));
        CHECK_ERR(sm_bundle_tensor(b, STR_LIT("s"), STR_LIT(""), true, &t, &err),
                  ERR_CORRUPT);
        CHECK(t.owned == NULL);
        f.data[i] = (char)(f.data[i] ^ 4);
    }
    buf_release(&f);
}

TEST(test_sm_bundle__big_endian)
{
    struct err err = ERR_INIT;
    struct sm_bundle *b AUTO(sm_bundle_close_p) = NULL;
    struct table t = { .entries = BUF_INIT };
    struct sm_tensor v;
    char shard[16];
    memcpy(shard, "\x3f\x80\0\0\x40\0\0\0\x01\x02", 10); /* 1.0f, 2.0f; 0x0102 */
    table_header(&t, 1, 1);
    table_tensor(&t, STR_LIT("c"), SM_COMPLEX64, SCALAR, 0, 8, masked(shard, 8));
    table_tensor(&t, STR_LIT("i"), SM_INT16, DIMS(1), 8, 2, masked(shard + 8, 2));
    table_write(&t, (struct str){ "", 0 }, in_dir("ck.index"));
    write_shard(shard, 10);
    CHECK_OK(open_ck(&b, &err));
    CHECK_OK(sm_bundle_tensor(b, STR_LIT("c"), STR_LIT(""), true, &v, &err));
    CHECK(((float *)v.data)[0] == 1 && ((float *)v.data)[1] == 2);
    sm_tensor_release(&v);
    CHECK_OK(sm_bundle_tensor(b, STR_LIT("i"), STR_LIT(""), true, &v, &err));
    CHECK_INT(*(int16_t *)v.data, 0x0102);
    sm_tensor_release(&v);
}

/* Writes one entry and opens it. */
static int
open_entry(int dtype, const int64_t *dims, int shard, int64_t offset, int64_t size,
           struct err *err)
{
    struct table t = { .entries = BUF_INIT };
    struct buf v = BUF_INIT;
    struct sm_bundle *b;
    table_header(&t, 1, 0);
    pb_int(&v, 1, dtype);
    pb_shape(&v, 2, dims);
    pb_int(&v, 3, shard);
    pb_int(&v, 4, offset);
    pb_int(&v, 5, size);
    table_add(&t, STR_LIT("w"), &v);
    table_write(&t, (struct str){ "", 0 }, in_dir("ck.index"));
    int rc = open_ck(&b, err);
    sm_bundle_close(b);
    return rc;
}

TEST(test_sm_bundle__impossible_entries)
{
    struct err err = ERR_INIT;
    CHECK_OK(open_entry(SM_FLOAT, DIMS(2), 0, 0, 8, &err));
    CHECK_ERR(open_entry(SM_FLOAT, DIMS(2), 0, 0, 12, &err), ERR_CORRUPT);
    CHECK_ERR(open_entry(SM_FLOAT, DIMS(2), 1, 0, 8, &err), ERR_CORRUPT);
    CHECK_ERR(open_entry(SM_FLOAT, DIMS(2), -1, 0, 8, &err), ERR_CORRUPT);
    CHECK_ERR(open_entry(SM_FLOAT, DIMS(2), 0, -8, 8, &err), ERR_CORRUPT);
    CHECK_ERR(open_entry(SM_FLOAT, DIMS(2), 0, INT64_MAX, 8, &err), ERR_CORRUPT);
    CHECK_ERR(open_entry(SM_STRING, DIMS(2), 0, 0, -1, &err), ERR_CORRUPT);
    CHECK_ERR(open_entry(SM_FLOAT, DIMS(-1), 0, 0, 0, &err), ERR_CORRUPT);
    CHECK_ERR(open_entry(SM_FLOAT, DIMS(INT64_MAX, 4), 0, 0, 8, &err), ERR_LIMIT);
}

TEST(test_sm_bundle__version_that_refuses_us)
{
    struct err err = ERR_INIT;
    struct table t = { .entries = BUF_INIT };
    struct buf h = BUF_INIT, v = BUF_INIT;
    struct sm_bundle *b;
    pb_int(&v, 2, 2); /* min_consumer */
    pb_int(&h, 1, 1);
    pb_msg(&h, 3, &v);
    table_add(&t, (struct str){ "", 0 }, &h);
    table_write(&t, (struct str){ "", 0 }, in_dir("ck.index"));
    CHECK_ERR(open_ck(&b, &err), ERR_UNSUPPORTED);
}

TEST(test_sm_bundle__keys_out_of_order)
{
    struct err err = ERR_INIT;
    struct table t = { .entries = BUF_INIT };
    struct sm_bundle *b;
    table_header(&t, 1, 0);
    table_tensor(&t, STR_LIT("b"), SM_FLOAT, SCALAR, 0, 4, 0);
    table_tensor(&t, STR_LIT("a"), SM_FLOAT, SCALAR, 0, 4, 0);
    table_write(&t, (struct str){ "", 0 }, in_dir("ck.index"));
    CHECK_ERR(open_ck(&b, &err), ERR_CORRUPT);
}
