/* SPDX-License-Identifier: Apache-2.0 */
#include "fingerprint/fp_int.h"
#include "tests/fuzz/cpb.h"
#include "tests/unit/savedmodel/build.h"

#include <fcntl.h>

static int
five_at(struct fp_five *out, const char *dir, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    CHECK(fs_open_dir(&fd, AT_FDCWD, dir, err) == 0);
    return fp_five_of(out, fd, "the model", err);
}

static int
check_at(struct fp_check *out, const char *dir, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    CHECK(fs_open_dir(&fd, AT_FDCWD, dir, err) == 0);
    return fp_check(out, fd, "the model", err);
}

static void
check_hashes(const struct fp_five *f, const uint64_t *want)
{
    for (int i = 0; i < FP_N_HASHES; i++) {
        if (f->hash[i] != want[i])
            unit_fail(__FILE__, __LINE__, "%s is %" PRIu64 ", not %" PRIu64,
                      fp_hash_name((enum fp_hash)i), f->hash[i], want[i]);
    }
}

/* What TensorFlow 2.15.1 says of them. Compression is not in it. */
TEST(test_fp_chunked__known_values)
{
    static const uint64_t half_plus_two[] = { 3485041699847013659u,
                                              9136377011154189283u,
                                              14997397459428072014u,
                                              12794583920817074590u, 0 };
    static const char *const forms[] = { "none", "brotli", "zstd", "snappy" };
    struct err err = ERR_INIT;
    struct fp_five f;
    char name[64];
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        snprintf(name, sizeof(name), "formats/cpb_%s", forms[i]);
        CHECK_OK(five_at(&f, unit_data(name), &err));
        check_hashes(&f, half_plus_two);
    }
}

/* One model cut in many ways; each fingerprint.pb is TensorFlow's. */
TEST(test_fp_chunked__each_layout)
{
    static const char *const layouts[] = { "whole", "graph",  "library", "constant",
                                           "parts", "nested", "self" };
    struct err err = ERR_INIT;
    struct fp_check c;
    char name[64];
    for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
        snprintf(name, sizeof(name), "formats/layouts/%s", layouts[i]);
        CHECK_OK(check_at(&c, unit_data(name), &err));
        CHECK_INT(c.stored.producer, 2);
        CHECK(c.stored.hash[FP_GRAPH] != 0 && c.stored.hash[FP_OBJECT_GRAPH] != 0);
        check_hashes(&c.computed, c.stored.hash);
        CHECK_INT(c.n_differ, 0);
        for (int h = 0; h < FP_N_HASHES; h++)
            CHECK_INT(c.match[h], FP_SAME);
    }
}

TEST(test_fp_chunked__whole_meta_graph)
{
    struct err err = ERR_INIT;
    struct fp_five f;
    CHECK_ERR(five_at(&f, unit_data("formats/layouts/meta_graph"), &err),
              ERR_UNSUPPORTED);
}

/* A file of the test's directory, from test data. */
static void
put(const char *from, const char *file)
{
    struct buf b = BUF_INIT;
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", unit_data(from), file);
    read_file(path, &b);
    snprintf(path, sizeof(path), "%s/%s", unit_dir(), file);
    write_file(path, b.data, b.len);
    buf_release(&b);
}

TEST(test_fp_chunked__another_models_file)
{
    struct err err = ERR_INIT;
    struct fp_check c;
    put("formats/layouts/graph", "fingerprint.pb");
    put("multi_signature/model", "saved_model.pb");
    CHECK_OK(check_at(&c, unit_dir(), &err));
    CHECK(c.match[FP_GRAPH] == FP_DIFFERS && c.match[FP_OBJECT_GRAPH] == FP_DIFFERS);
    CHECK(strstr(c.note[FP_GRAPH], "which this is not"));
    /* of another layout: only what is in no chunk of either is the same */
    put("formats/layouts/library", "saved_model.cpb");
    CHECK_OK(check_at(&c, unit_dir(), &err));
    CHECK_INT(c.n_differ, 2);
    CHECK(c.match[FP_CHECKSUM] == FP_DIFFERS && c.match[FP_GRAPH] == FP_DIFFERS);
    CHECK(!c.note[FP_CHECKSUM] && strstr(c.note[FP_GRAPH], "builds of TensorFlow"));
    put("multi_signature/model", "fingerprint.pb");
    CHECK_OK(check_at(&c, unit_dir(), &err));
    CHECK(c.match[FP_GRAPH] == FP_DIFFERS);
    CHECK(strstr(c.note[FP_GRAPH], "not written for a chunked model"));
    CHECK(c.match[FP_CHECKPOINT] == FP_DIFFERS &&
          strstr(c.note[FP_CHECKPOINT], "is missing"));
}

/* ---- hostile files ---- */

static struct str
as_str(const struct buf *b)
{
    return (struct str){ buf_str(b), b->len };
}

/* Takes the message. */
static void
put_msg(struct buf *out, uint32_t num, struct buf *message)
{
    sm_pb_put_bytes(out, num, as_str(message));
    buf_release(message);
}

static void
put_step(struct buf *field, uint32_t kind, uint64_t n)
{
    struct buf step = BUF_INIT;
    sm_pb_put_int(&step, kind, n);
    put_msg(field, 1, &step);
}

/* A file of one chunk, a SavedModel with an empty MetaGraph; takes the root. */
static int
five_of_root(struct buf *root, struct fp_five *out, struct err *err)
{
    struct buf dir = BUF_INIT, records = BUF_INIT, file = BUF_INIT, info = BUF_INIT;
    char path[4096];
    sm_pb_put_int(&info, 2, 2);
    sm_pb_put_int(&info, 3, CPB_AT);
    put_msg(&dir, 2, &info);
    put_msg(&dir, 3, root);
    CHECK(dir.len < 65536);
    buf_add(&records, "\2\0\x12\0", 4);
    buf_addc(&records, (char)dir.len);
    buf_addc(&records, (char)(dir.len >> 8));
    buf_add(&records, dir.data, dir.len);
    cpb_pack(as_str(&records), &file);
    snprintf(path, sizeof(path), "%s/saved_model.cpb", unit_dir());
    write_file(path, file.data, file.len);
    buf_release(&dir);
    buf_release(&records);
    buf_release(&file);
    return five_at(out, unit_dir(), err);
}

TEST(test_fp_chunked__chunk_out_of_range)
{
    struct err err = ERR_INIT;
    struct fp_five f;
    for (int i = 0; i < 2; i++) {
        struct buf root = BUF_INIT, field = BUF_INIT, sub = BUF_INIT;
        sm_pb_put_int(&root, 1, 0);
        put_step(&field, 1, 2);
        put_step(&field, 3, 0);
        put_step(&field, 1, 2);
        sm_pb_put_int(&sub, 1, (uint64_t)i);
        put_msg(&field, 3, &sub);
        put_msg(&root, 2, &field);
        if (i == 0)
            CHECK_OK(five_of_root(&root, &f, &err));
        else
            CHECK_ERR(five_of_root(&root, &f, &err), ERR_CORRUPT);
    }
    struct buf none = BUF_INIT;
    CHECK_ERR(five_of_root(&none, &f, &err), ERR_CORRUPT); /* no MetaGraph */
}

TEST(test_fp_chunked__lfs_pointer)
{
    static const char lfs[] = "version https://git-lfs.github.com/spec/v1";
    struct err err = ERR_INIT;
    struct fp_five f;
    char path[4096];
    snprintf(path, sizeof(path), "%s/saved_model.cpb", unit_dir());
    write_file(path, lfs, sizeof(lfs) - 1);
    CHECK_INT(five_at(&f, unit_dir(), &err), -ERR_CORRUPT);
    CHECK(strstr(err.msg, "git lfs pull"));
}

/* Fields that begin every target, inside each other: merging them three times a level
 * would never end, nor may it go on for ever down. */
TEST(test_fp_chunked__deep_and_wide)
{
    struct err err = ERR_INIT;
    struct fp_five f;
    static const struct {
        int depth;
        enum err_code code;
    } cases[] = { { 4, ERR_CORRUPT }, { 40, ERR_LIMIT }, { 1200, ERR_LIMIT } };
    for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
        int depth = cases[k].depth;
        struct buf message = BUF_INIT;
        for (int i = 0; i < depth; i++) {
            struct buf field = BUF_INIT;
            put_step(&field, 1, 2);
            put_step(&field, 3, 0);
            put_msg(&field, 3, &message);
            put_msg(&message, 2, &field);
        }
        CHECK_ERR(five_of_root(&message, &f, &err), cases[k].code);
    }
}
