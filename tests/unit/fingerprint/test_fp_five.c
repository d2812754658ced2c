/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/fingerprint/tree.h"

#include <dirent.h>
#include <unistd.h>

#define CHECK_U64(a, b)                                                                \
    do {                                                                               \
        uint64_t a_ = (a), b_ = (b);                                                   \
        if (a_ != b_)                                                                  \
            unit_fail(__FILE__, __LINE__, "%s is %" PRIu64 ", not %" PRIu64, #a, a_,   \
                      b_);                                                             \
    } while (0)

static int
five_at(struct fp_five *out, const char *dir, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    if (fs_open_dir(&fd, AT_FDCWD, dir, err) < 0)
        unit_fail(__FILE__, __LINE__, "%s", err->msg);
    return fp_five_of(out, fd, "the model", err);
}

static int
check_at(struct fp_check *out, const char *dir, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    if (fs_open_dir(&fd, AT_FDCWD, dir, err) < 0)
        unit_fail(__FILE__, __LINE__, "%s", err->msg);
    return fp_check(out, fd, "the model", err);
}

static void
copy(const char *from, const char *to, const char *file)
{
    struct buf b = BUF_INIT;
    char path[512];
    struct err err = ERR_INIT;
    snprintf(path, sizeof(path), "%s/%s", from, file);
    read_file(path, &b);
    snprintf(path, sizeof(path), "%s/variables", to);
    CHECK_OK(fs_mkdirs(AT_FDCWD, path, 0777, &err));
    snprintf(path, sizeof(path), "%s/%s", to, file);
    write_file(path, b.data, b.len);
    buf_release(&b);
}

/* A copy of a model in the test's directory. */
static const char *
copy_model(const char *name)
{
    const char *from = unit_data(name), *to = unit_dir();
    copy(from, to, "saved_model.pb");
    copy(from, to, "fingerprint.pb");
    copy(from, to, "variables/variables.index");
    return to;
}

static void
write_model(struct tree *t, const char *dir)
{
    struct buf b = BUF_INIT;
    char path[512];
    tree_write(t, &b);
    snprintf(path, sizeof(path), "%s/saved_model.pb", dir);
    write_file(path, b.data, b.len);
    buf_release(&b);
}

/* Every fingerprint.pb in the tree was written by TensorFlow. */
static int
check_all(const char *root, const char *sub)
{
    DIR *dir = opendir(root);
    struct dirent *d;
    int n = 0;
    CHECK(dir);
    while ((d = readdir(dir))) {
        struct fp_check c;
        struct err err = ERR_INIT;
        char path[1024], file[1100];
        snprintf(path, sizeof(path), "%s/%s%s", root, d->d_name, sub);
        snprintf(file, sizeof(file), "%s/fingerprint.pb", path);
        if (d->d_name[0] == '.' || access(file, R_OK) != 0)
            continue;
        CHECK_OK(check_at(&c, path, &err));
        for (int i = 0; i < FP_N_HASHES; i++) {
            if (c.match[i] != FP_SAME)
                unit_fail(__FILE__, __LINE__, "%s: %s is %" PRIu64 ", stored %" PRIu64,
                          path, fp_hash_name((enum fp_hash)i), c.computed.hash[i],
                          c.stored.hash[i]);
        }
        CHECK_INT(c.n_differ, 0);
        CHECK(c.computed.rules == FP_RULES_2_14);
        n++;
    }
    closedir(dir);
    return n;
}

TEST(test_fp_five__written_by_tensorflow)
{
    CHECK(check_all(unit_data("."), "/model") >= 8);
    CHECK(check_all(unit_data("../../demo/digits"), "") == 3);
}

/* The answers are TensorFlow's (2.15) for models that ship no fingerprint. */
TEST(test_fp_five__models_without_one)
{
    struct fp_five f;
    struct fp_check c;
    struct err err = ERR_INIT;
    char s[FP_SINGLEPRINT_BYTES];
    CHECK_OK(five_at(&f, unit_data("half_plus_two_tf1/model"), &err));
    fp_singleprint(&f, s);
    CHECK_STR(s, "4627628864536515869/7381872303247084885/0/500246067815787171");
    CHECK_U64(f.hash[FP_CHECKSUM], 5052913006112368353u);
    CHECK_OK(five_at(&f, unit_data("tf1_partitioned/model"), &err));
    fp_singleprint(&f, s);
    CHECK_STR(s, "7360314453058681779/15817791638935170378/0/10463275509923990439");
    CHECK_U64(f.hash[FP_CHECKSUM], 8980613649354966876u);
    CHECK_ERR(check_at(&c, unit_data("tf1_partitioned/model"), &err), ERR_NOTFOUND);
}

TEST(test_fp_five__rules_of_releases)
{
    static const struct {
        const char *version;
        enum fp_rules rules;
    } v[] = {
        { "2.11.0", FP_RULES_2_11 },
        { "2.11.0-rc2", FP_RULES_2_11 },
        { "2.12.1", FP_RULES_2_12 },
        { "2.13.0-dev20230401", FP_RULES_2_12 },
        { "2.14.0", FP_RULES_2_14 },
        { "2.21.0", FP_RULES_2_14 },
        { "2.110.0", FP_RULES_2_14 },
        { "1.12.0", FP_RULES_2_14 },
        { "2.3.1", FP_RULES_2_14 },
        { "3.11.0", FP_RULES_2_14 },
        { "", FP_RULES_2_14 },
        { "2", FP_RULES_2_14 },
        { "2.", FP_RULES_2_14 },
        { "unknown", FP_RULES_2_14 },
        { "99999999999.11", FP_RULES_2_14 },
    };
    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
        if (fp_rules_of(str_of(v[i].version)) != v[i].rules)
            unit_fail(__FILE__, __LINE__, "'%s' is %s", v[i].version,
                      fp_rules_name(fp_rules_of(str_of(v[i].version))));
    }
}

/* The same model, had another release written it. The expected values come from another
 * implementation of the rules (Python's protobuf and TensorFlow's tf.fingerprint). */
TEST(test_fp_five__older_rules)
{
    struct tree t;
    struct fp_five f;
    struct err err = ERR_INIT;
    tree_read(&t, unit_data("../../demo/digits/v1/saved_model.pb"));
    struct tree *info = tree_get(tree_get(&t, 2), 1);
    tree_set_str(info, 5, "2.15.1");
    write_model(&t, unit_dir());
    CHECK_OK(five_at(&f, unit_dir(), &err));
    CHECK_U64(f.hash[FP_CHECKSUM], 1408585331898006792u);
    CHECK_U64(f.hash[FP_GRAPH], 12288259922972538273u);
    CHECK_U64(f.hash[FP_SIGNATURES], 3926062031988942288u);
    CHECK_U64(f.hash[FP_OBJECT_GRAPH], 18007259495008595425u);
    CHECK_U64(f.hash[FP_CHECKPOINT], 0);
    tree_set_str(info, 5, "2.13.0");
    write_model(&t, unit_dir());
    CHECK_OK(five_at(&f, unit_dir(), &err));
    CHECK_U64(f.hash[FP_GRAPH], 12288259922972538273u);
    CHECK_U64(f.hash[FP_SIGNATURES], 12759220994393730114u);
    tree_set_str(info, 5, "2.11.0");
    write_model(&t, unit_dir());
    CHECK_OK(five_at(&f, unit_dir(), &err));
    CHECK_U64(f.hash[FP_CHECKSUM], 14066248759293018487u);
    CHECK_U64(f.hash[FP_SIGNATURES], 12759220994393730114u);
    tree_free(&t);
}

/* Text gives what the binary file gives; chunks have rules of their own. */
TEST(test_fp_five__other_forms)
{
    struct fp_five plain, text;
    struct err err = ERR_INIT;
    CHECK_OK(five_at(&plain, unit_data("half_plus_two_tf2/model"), &err));
    CHECK_OK(five_at(&text, unit_data("formats/pbtxt"), &err));
    for (int i = 0; i < FP_CHECKPOINT; i++)
        CHECK_U64(text.hash[i], plain.hash[i]);
    CHECK_OK(five_at(&text, unit_data("formats/cpb_zstd"), &err));
    CHECK_INT(text.rules, FP_RULES_CHUNKED);
}

static void
set_concrete_name(struct tree *t, const char *name)
{
    struct tree *objects = tree_get(tree_get(t, 2), 7);
    tree_set_str(tree_get(objects, 2), 1, name);
}

TEST(test_fp_five__concrete_function_without_number)
{
    struct tree t;
    struct fp_five f;
    struct err err = ERR_INIT;
    tree_read(&t, unit_data("mlp_tiny/model/saved_model.pb"));
    set_concrete_name(&t, "no_number");
    write_model(&t, unit_dir());
    CHECK_INT(five_at(&f, unit_dir(), &err), -ERR_UNSUPPORTED);
    CHECK(strstr(err.msg, "'no_number'"));
    err_clear(&err);
    /* 2.11 passes it over */
    tree_set_str(tree_get(tree_get(&t, 2), 1), 5, "2.11.0");
    write_model(&t, unit_dir());
    CHECK_OK(five_at(&f, unit_dir(), &err));
    tree_free(&t);
}

static void
expect(const char *dir, enum fp_hash differs, enum fp_match match)
{
    struct fp_check c;
    struct err err = ERR_INIT;
    CHECK_OK(check_at(&c, dir, &err));
    for (int i = 0; i < FP_N_HASHES; i++) {
        if (c.match[i] != (i == (int)differs ? match : FP_SAME))
            unit_fail(__FILE__, __LINE__, "%s: match %d", fp_hash_name((enum fp_hash)i),
                      c.match[i]);
    }
    CHECK_INT(c.n_differ, match == FP_DIFFERS);
}

static void
store(const char *dir, enum fp_hash which, uint64_t value)
{
    struct fp_stored s;
    struct buf b = BUF_INIT;
    struct err err = ERR_INIT;
    char path[512];
    int fd AUTO(fs_close) = -1;
    CHECK_OK(fs_open_dir(&fd, AT_FDCWD, dir, &err));
    CHECK_OK(fp_stored_read(&s, fd, dir, &err));
    s.hash[which] = value;
    for (uint32_t i = 0; i < FP_N_HASHES; i++)
        pb_int(&b, i + 1, (int64_t)s.hash[i]);
    add_hex(&b, "32020801");
    snprintf(path, sizeof(path), "%s/fingerprint.pb", dir);
    write_file(path, b.data, b.len);
    buf_release(&b);
}

TEST(test_fp_check__names_the_field)
{
    for (int i = 0; i < FP_N_HASHES; i++) {
        const char *dir = copy_model("half_plus_two_tf2/model");
        store(dir, (enum fp_hash)i, 12345);
        expect(dir, (enum fp_hash)i, FP_DIFFERS);
    }
}

TEST(test_fp_check__changed_checkpoint)
{
    const char *dir = copy_model("half_plus_two_tf2/model");
    char path[512];
    struct fp_check c;
    struct err err = ERR_INIT;
    snprintf(path, sizeof(path), "%s/variables/variables.index", dir);
    write_file(path, "x", 1);
    expect(dir, FP_CHECKPOINT, FP_DIFFERS);
    CHECK_OK(fs_unlink(AT_FDCWD, path, &err));
    CHECK_OK(check_at(&c, dir, &err));
    CHECK(c.match[FP_CHECKPOINT] == FP_DIFFERS && c.note[FP_CHECKPOINT]);
    CHECK_U64(c.computed.hash[FP_CHECKPOINT], 0);
}

/* A file that does not tell which release's rule it follows; a checksum of raw bytes.
 */
TEST(test_fp_check__tolerated)
{
    const char *dir = copy_model("../../demo/digits/v1");
    store(dir, FP_SIGNATURES, 12759220994393730114u);
    expect(dir, FP_SIGNATURES, FP_TOLERATED);
    store(dir, FP_SIGNATURES, 3926062031988942288u);
    store(dir, FP_CHECKSUM, 9630075698016026742u);
    expect(dir, FP_CHECKSUM, FP_TOLERATED);
}

TEST(test_fp_check__bad_files)
{
    static const char *const bad[] = { "", "0801 ff", "version https://git-lfs",
                                       "4a0161", "3a0161" };
    const char *dir = copy_model("half_plus_two_tf2/model");
    char path[512];
    struct fp_check c;
    struct fp_five f;
    struct err err = ERR_INIT;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct buf b = BUF_INIT;
        if (strstr(bad[i], "git"))
            buf_adds(&b, bad[i]);
        else
            add_hex(&b, bad[i]);
        snprintf(path, sizeof(path), "%s/fingerprint.pb", dir);
        write_file(path, buf_str(&b), b.len);
        CHECK_ERR(check_at(&c, dir, &err), ERR_CORRUPT);
        buf_release(&b);
    }
    snprintf(path, sizeof(path), "%s/saved_model.pb", dir);
    write_file(path, "\x12\x05\x08", 3);
    CHECK_ERR(five_at(&f, dir, &err), ERR_CORRUPT);
    CHECK_OK(fs_unlink(AT_FDCWD, path, &err));
    CHECK_ERR(five_at(&f, dir, &err), ERR_NOTFOUND);
    /* a chunked file comes first, whatever stands beside it */
    snprintf(path, sizeof(path), "%s/saved_model.cpb", dir);
    write_file(path, "x", 1);
    CHECK_ERR(five_at(&f, dir, &err), ERR_CORRUPT);
}
