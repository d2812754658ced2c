/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/repo/cold_fixture.h"

#define TENSOR_BYTES ((size_t)5 << 20) /* two leaves each */
#define FEW_BYTES ((size_t)8192)

TEST(test_repo_cold__there_and_back)
{
    struct fixture f;
    struct repo_version v1, v2;
    struct repo_cold c;
    struct repo_file one, two;
    struct repo_manifest m;
    struct buf bytes = BUF_INIT;
    struct err err = ERR_INIT;
    char path[1024];
    int64_t size_bytes = 0;

    fixture_new(&f);
    v1 = push_bundle(&f, "a", TENSOR_BYTES, 2, 1);
    v2 = push_bundle(&f, "a", TENSOR_BYTES, 2, 2);
    one = shard_of(&f, &v1);
    two = shard_of(&f, &v2);
    /* a rehearsal tells the same numbers and leaves nothing behind */
    CHECK_OK(repo_cold_make(f.r, &v1, &any, true, &c, &err));
    CHECK_INT(c.n_items, 1);
    size_bytes = c.stored_bytes;
    CHECK_INT(count_files(below(&f, "store/cold", path)), 0);
    repo_cold_release(&c);

    CHECK_OK(try_cold(&f, &v1, &c, &err));
    CHECK_INT(c.n_items, 1);
    CHECK_INT(c.stored_bytes, size_bytes);
    CHECK(c.items[0].has_base && digest_eq(&c.items[0].base, &two.digest));
    repo_cold_release(&c);
    CHECK(!is_in(&f, "objects", &one.digest) && is_in(&f, "objects", &two.digest));
    /* one tensor and a little: that is what differs */
    CHECK(file_bytes(&f, "cold", &one.digest) < (int64_t)TENSOR_BYTES + 1000);
    check_clean(&f);
    CHECK(!is_in(&f, "objects", &one.digest)); /* a check brings nothing back */
    CHECK_INT(f.r->objects->ops->has(f.r->objects, &one.digest, &size_bytes, &err), 1);
    CHECK_INT(size_bytes, one.size_bytes);
    CHECK_INT(make_cold(&f, &v1), 0);

    /* who reads the files gets them */
    CHECK_OK(repo_checkout(f.r, &v1.digest, AT_FDCWD, below(&f, "out", path), REPO_COPY,
                           &err));
    CHECK_OK(repo_manifest_of_dir(path, &m, &err));
    CHECK(digest_eq(&m.digest, &v1.digest));
    repo_manifest_release(&m);
    CHECK(!is_in(&f, "objects", &one.digest));
    CHECK_OK(f.r->objects->ops->get(f.r->objects, &one.digest, &bytes, &err));
    CHECK_INT(bytes.len, one.size_bytes);
    bytes.cap_bytes = bytes.len + 1000;
    CHECK_ERR(f.r->objects->ops->get(f.r->objects, &one.digest, &bytes, &err),
              ERR_LIMIT);
    CHECK_INT(bytes.len, one.size_bytes);
    buf_release(&bytes);
    /* who links them brings them back; the delta stays for the next time */
    CHECK_OK(repo_checkout(f.r, &v1.digest, AT_FDCWD, below(&f, "linked", path),
                           REPO_LINK, &err));
    CHECK_OK(repo_manifest_of_dir(path, &m, &err));
    CHECK(digest_eq(&m.digest, &v1.digest));
    repo_manifest_release(&m);
    CHECK(is_in(&f, "objects", &one.digest) && is_in(&f, "cold", &one.digest));
    check_clean(&f);
    CHECK_INT(make_cold(&f, &v1), 0); /* linked */
    CHECK_OK(fs_remove_tree(AT_FDCWD, path, &err));
    CHECK_INT(make_cold(&f, &v1), 1);
    CHECK(!is_in(&f, "objects", &one.digest));

    CHECK_OK(try_warm(&f, &v1, &err));
    CHECK(is_in(&f, "objects", &one.digest) && !is_in(&f, "cold", &one.digest));
    CHECK_OK(try_warm(&f, &v1, &err)); /* nothing to do */
    check_clean(&f);
    CHECK_INT(count_files(below(&f, "store/stage", path)), 0);
    fixture_close(&f);
}

/* 1 byte in the middle of a tensor: not a leaf, a block is stored. */
TEST(test_repo_cold__a_little_difference_takes_little)
{
    struct fixture f;
    struct repo_version v1;
    struct repo_file one;
    char path[1024];

    fixture_new(&f);
    put_bundle(&f, "src", TENSOR_BYTES, -1, 0);
    v1 = push(&f, "src", "a");
    overwrite(below(&f, "src/variables/variables.data-00000-of-00001", path), 7000001,
              "x", 1);
    push(&f, "src", "a");
    CHECK_INT(make_cold(&f, &v1), 1);
    one = shard_of(&f, &v1);
    CHECK(file_bytes(&f, "cold", &one.digest) < 8192);
    check_clean(&f);
    fixture_close(&f);
}

/* The same tensors, and another one before them: found by what they are, not where. */
TEST(test_repo_cold__tensors_that_moved)
{
    struct fixture f;
    struct repo_version v1;
    struct repo_file one;

    fixture_new(&f);
    v1 = push_bundle(&f, "a", (size_t)1 << 20, -1, 0);
    push_bundle(&f, "a", (size_t)1 << 20, ONE_BEFORE, 1);
    CHECK_INT(make_cold(&f, &v1), 1);
    one = shard_of(&f, &v1);
    CHECK(file_bytes(&f, "cold", &one.digest) < 1000);
    check_clean(&f);
    fixture_close(&f);
}

/* A file that compresses needs no base. */
TEST(test_repo_cold__without_a_base)
{
    struct fixture f;
    struct repo_version v;
    struct repo_cold c;
    struct err err = ERR_INIT;
    char *text AUTO(free_ptr) = xcalloc(1, 100001);

    fixture_new(&f);
    for (int i = 0; i < 100000; i++)
        text[i] = "sluice"[i % 6];
    put_text(&f, "src/saved_model.pb", text);
    v = push(&f, "src", "a");
    CHECK_OK(try_cold(&f, &v, &c, &err));
    CHECK_INT(c.n_items, 1);
    CHECK(!c.items[0].has_base && c.stored_bytes < 1000);
    repo_cold_release(&c);
    check_clean(&f);
    CHECK_OK(try_warm(&f, &v, &err));
    check_clean(&f);
    fixture_close(&f);
}

/* ---- what stays as it is ---- */

TEST(test_repo_cold__what_somebody_needs_stays_whole)
{
    struct fixture f;
    struct repo_version v1, v2;
    struct repo_cold c;
    struct repo_file one;
    struct repo_cold_policy policy = any;
    struct err err = ERR_INIT;
    char why[80], path[1024];

    fixture_new(&f);
    v1 = push_bundle(&f, "a", FEW_BYTES, 2, 1);
    v2 = push_bundle(&f, "a", FEW_BYTES, 2, 2);
    one = shard_of(&f, &v1);
    /* linked by somebody */
    CHECK_OK(repo_checkout(f.r, &v1.digest, AT_FDCWD, below(&f, "out", path), REPO_LINK,
                           &err));
    CHECK_OK(repo_cold_make(f.r, &v1, &any, false, &c, &err));
    CHECK_INT(c.n_items, 0);
    CHECK_INT(c.n_linked, 1 + (c.n_small == 0) * 2);
    repo_cold_release(&c);
    CHECK_OK(fs_remove_tree(AT_FDCWD, path, &err));
    /* pushed too lately */
    policy.before_ns = v1.created_ns;
    CHECK_INT(repo_cold_may(f.r, &v1, &policy, why, &err), 0);
    CHECK(strstr(why, "recently"));
    /* the newest */
    policy = (struct repo_cold_policy){ .before_ns = INT64_MAX, .keep_newest = true };
    CHECK_INT(repo_cold_may(f.r, &v1, &policy, why, &err), 1);
    CHECK_INT(repo_cold_may(f.r, &v2, &policy, why, &err), 0);
    /* aliased */
    CHECK_OK(db_begin(f.r->db, &err));
    CHECK_OK(repo_alias_set(f.r, v1.model_id, "production", v1.id, 1, &err));
    CHECK_OK(db_commit(f.r->db, &err));
    CHECK_INT(repo_cold_may(f.r, &v1, &any, why, &err), 0);
    CHECK(strstr(why, "production"));
    /* the same bytes in another model's version, which is in use */
    put_bundle(&f, "src", FEW_BYTES, 2, 1);
    push(&f, "src", "b");
    CHECK_OK(repo_cold_make(f.r, &v2, &any, false, &c, &err));
    CHECK_INT(c.n_items, 1);
    repo_cold_release(&c);
    put_text(&f, "src/saved_model.pb", "another graph");
    v2 = push(&f, "src", "c"); /* v1's shard in a version that may become cold */
    CHECK_OK(repo_cold_make(f.r, &v2, &any, false, &c, &err));
    CHECK_INT(c.n_items, 0);
    CHECK_INT(c.n_in_use, 1);
    repo_cold_release(&c);
    CHECK(is_in(&f, "objects", &one.digest));
    fixture_close(&f);
}

/* ---- chains ---- */

/* Each version becomes cold when the next one comes: chains grow, and end. */
TEST(test_repo_cold__chains_are_bounded)
{
    enum { N = REPO_COLD_DEPTH_MAX + 6 };
    struct fixture f;
    struct repo_version v[N];
    struct repo_cold c;
    struct err err = ERR_INIT;
    int n_whole = 0, n_deep = 0;

    fixture_new(&f);
    for (int i = 0; i < N; i++) {
        v[i] = push_bundle(&f, "a", FEW_BYTES, 2, (unsigned)i + 1);
        if (i == 0)
            continue;
        CHECK_OK(try_cold(&f, &v[i - 1], &c, &err));
        n_deep += c.n_deep;
        repo_cold_release(&c);
    }
    for (int i = 0; i < N; i++) {
        struct repo_file file = shard_of(&f, &v[i]);

        n_whole += is_in(&f, "objects", &file.digest);
        check_readable(&f, &file.digest);
    }
    CHECK(n_whole >= 1 && n_whole <= 3);
    CHECK(n_whole == 1 || n_deep > 0);
    check_clean(&f);
    fixture_close(&f);
}

TEST(test_repo_cold__no_circles)
{
    struct fixture f;
    struct repo_version v1, v2;
    struct repo_file one, two;
    struct err err = ERR_INIT;

    fixture_new(&f);
    v1 = push_bundle(&f, "a", FEW_BYTES, 2, 1);
    v2 = push_bundle(&f, "a", FEW_BYTES, 2, 2);
    one = shard_of(&f, &v1);
    two = shard_of(&f, &v2);
    CHECK_INT(make_cold(&f, &v1), 1);
    CHECK_INT(repo_cold_fits(f.r, &two.digest, &one.digest, &err), 0);
    CHECK_INT(make_cold(&f, &v2), 0); /* random bytes, and nothing to stand on */
    CHECK(is_in(&f, "objects", &two.digest));
    check_clean(&f);
    fixture_close(&f);
}

/* The catalogue refuses to forget an object that a delta stands on. */
TEST(test_repo_cold__a_base_cannot_be_collected)
{
    struct fixture f;
    struct repo_version v1, v2;
    struct repo_file one, two;
    struct err err = ERR_INIT;
    int r;

    fixture_new(&f);
    v1 = push_bundle(&f, "a", FEW_BYTES, 2, 1);
    v2 = push_bundle(&f, "a", FEW_BYTES, 2, 2);
    one = shard_of(&f, &v1);
    two = shard_of(&f, &v2);
    make_cold(&f, &v1);
    CHECK_OK(db_begin(f.r->db, &err));
    CHECK_OK(db_run(f.r->db, &err, "DELETE FROM manifest_file WHERE manifest = ?", "b",
                    v2.digest.b, sizeof(v2.digest.b)));
    r = db_run(f.r->db, &err, "DELETE FROM object WHERE digest = ?", "b", two.digest.b,
               sizeof(two.digest.b));
    if (r == 0)
        r = db_commit(f.r->db, &err);
    db_rollback(f.r->db);
    CHECK(r < 0);
    err_clear(&err);
    /* an object's row goes first, its delta and the claim on the base with it later */
    CHECK_OK(db_begin(f.r->db, &err));
    CHECK_OK(db_run(f.r->db, &err, "DELETE FROM manifest_file WHERE manifest = ?", "b",
                    v1.digest.b, sizeof(v1.digest.b)));
    CHECK_OK(repo_cold_forget(f.r, &one.digest, &err)); /* it has a row: nothing */
    CHECK_INT(repo_cold_row(f.r, &one.digest, &err), 1);
    CHECK_OK(db_run(f.r->db, &err, "DELETE FROM object WHERE digest = ?", "b",
                    one.digest.b, sizeof(one.digest.b)));
    CHECK_OK(db_commit(f.r->db, &err));
    CHECK_INT(repo_cold_row(f.r, &one.digest, &err), 1);
    CHECK_OK(db_begin(f.r->db, &err));
    CHECK_OK(repo_cold_forget(f.r, &one.digest, &err));
    CHECK_OK(db_commit(f.r->db, &err));
    CHECK_INT(repo_cold_row(f.r, &one.digest, &err), 0);
    CHECK(!is_in(&f, "cold", &one.digest));
    fixture_close(&f);
}

/* A delta without rows goes when it is old, and not before; others stay. */
TEST(test_repo_cold__strays_are_swept)
{
    static const struct timespec old[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
    struct fixture f;
    struct repo_version v1;
    struct repo_file one;
    struct err err = ERR_INIT;
    char path[COLD_PATH_BYTES], full[1200];

    fixture_new(&f);
    v1 = push_bundle(&f, "a", FEW_BYTES, 2, 1);
    push_bundle(&f, "a", FEW_BYTES, 2, 2);
    one = shard_of(&f, &v1);
    CHECK_INT(make_cold(&f, &v1), 1);
    cold_path("cold", &one.digest, path);
    CHECK(utimensat(f.r->dirfd, path, old, 0) == 0);
    put_text(&f,
             "store/cold/00/00000000000000000000000000000000000000000000000000000000"
             "000000",
             "new");
    put_text(&f,
             "store/cold/11/11111111111111111111111111111111111111111111111111111111"
             "111111",
             "old");
    CHECK(
        utimensat(AT_FDCWD,
                  below(&f,
                        "store/cold/11/111111111111111111111111111111111111111111111111"
                        "11111111111111",
                        full),
                  old, 0) == 0);
    CHECK_OK(repo_cold_sweep(f.r, &err));
    CHECK_INT(count_files(below(&f, "store/cold", full)), 2);
    CHECK(is_in(&f, "cold", &one.digest));
    fixture_close(&f);
}

/* ---- damage ---- */

static int
count_problem(void *arg, const char *problem, struct err *err)
{
    (void)problem;
    (void)err;
    ++*(int *)arg;
    return 0;
}

TEST(test_repo_cold__every_flipped_bit_is_found)
{
    struct fixture f;
    struct repo_version v1;
    struct repo_file one;
    struct err err = ERR_INIT;
    char name[COLD_PATH_BYTES], path[1200];
    struct buf bytes = BUF_INIT;
    int64_t step;

    fixture_new(&f);
    v1 = push_bundle(&f, "a", FEW_BYTES, 2, 1);
    push_bundle(&f, "a", FEW_BYTES, 2, 2);
    one = shard_of(&f, &v1);
    CHECK_INT(make_cold(&f, &v1), 1);
    cold_path("cold", &one.digest, name);
    snprintf(path, sizeof(path), "%s/%s", f.path, name);
    CHECK_OK(fs_read(AT_FDCWD, path, &bytes, &err));
    /* each bit of the table and the end, and some of the data, which are all alike */
    for (int64_t at = 0; at < (int64_t)bytes.len; at += step)
        for (int bit = 0; bit < 8; bit++) {
            const char was = bytes.data[at], is = (char)(was ^ (1 << bit));
            int r;

            step = at < 16 || at > (int64_t)bytes.len - 400 ? 1 : 97;
            overwrite(path, at, &is, 1);
            r = repo_cold_verify(f.r, &one.digest, &err);
            CHECK(r == -ERR_CORRUPT);
            err_clear(&err);
            overwrite(path, at, &was, 1);
        }
    for (int64_t n = 0; n < (int64_t)bytes.len; n += 211) { /* cut short */
        CHECK(truncate(path, n) == 0);
        CHECK_ERR(repo_cold_verify(f.r, &one.digest, &err), ERR_CORRUPT);
        overwrite(path, 0, bytes.data, bytes.len);
    }
    check_clean(&f);
    /* fsck says so, and the same push heals it */
    bytes.data[100] ^= 1;
    overwrite(path, 100, bytes.data + 100, 1);
    {
        struct repo_check c;
        int n = 0;

        CHECK_ERR(repo_check(f.r, &c, count_problem, &n, &err), ERR_FAILED);
        CHECK_INT(n, 1);
        put_bundle(&f, "src", FEW_BYTES, 2, 1);
        push(&f, "src", "a");
        CHECK_OK(try_warm(&f, &v1, &err));
        check_clean(&f);
    }
    buf_release(&bytes);
    fixture_close(&f);
}

/* A whole file that is damaged is not replaced by a delta of its damage. */
TEST(test_repo_cold__a_damaged_object_is_left_as_it_is)
{
    struct fixture f;
    struct repo_version v1;
    struct repo_cold c;
    struct repo_file one;
    struct err err = ERR_INIT;
    char path[1024];

    fixture_new(&f);
    v1 = push_bundle(&f, "a", FEW_BYTES, 2, 1);
    push_bundle(&f, "a", FEW_BYTES, 2, 2);
    one = shard_of(&f, &v1);
    overwrite(object_file(&f, &one.digest, path), 3, "x", 1);
    CHECK_INT(try_cold(&f, &v1, &c, &err), -ERR_CORRUPT);
    CHECK(strstr(err.msg, "a@1"));
    err_clear(&err);
    CHECK(is_in(&f, "objects", &one.digest) && !is_in(&f, "cold", &one.digest));
    CHECK_INT(count_files(below(&f, "store/stage", path)), 0);
    fixture_close(&f);
}

TEST(test_repo_cold__rows_from_the_files)
{
    struct fixture f;
    struct repo_version v1;
    struct repo_check c;
    struct err err = ERR_INIT;
    int n = 0;

    fixture_new(&f);
    v1 = push_bundle(&f, "a", FEW_BYTES, 2, 1);
    push_bundle(&f, "a", FEW_BYTES, 2, 2);
    CHECK_INT(make_cold(&f, &v1), 1);
    CHECK_OK(db_begin(f.r->db, &err));
    CHECK_OK(db_run(f.r->db, &err, "DELETE FROM cold", ""));
    CHECK_OK(db_commit(f.r->db, &err));
    CHECK_ERR(repo_check(f.r, &c, count_problem, &n, &err), ERR_FAILED);
    CHECK_INT(n, 1);
    CHECK_OK(db_begin(f.r->db, &err));
    CHECK_OK(repo_cold_rebuild(f.r, &err));
    CHECK_OK(db_commit(f.r->db, &err));
    check_clean(&f);
    put_text(&f, "store/cold/stray", "x");
    n = 0;
    CHECK_ERR(repo_check(f.r, &c, count_problem, &n, &err), ERR_FAILED);
    CHECK_INT(n, 1);
    fixture_close(&f);
}

/* ---- sizes ---- */

TEST(test_repo_cold__sizes)
{
    struct fixture f;
    struct repo_version v1, v2;
    struct repo_sizes one, two, both, all;
    struct err err = ERR_INIT;

    fixture_new(&f);
    v1 = push_bundle(&f, "a", FEW_BYTES, 2, 1);
    v2 = push_bundle(&f, "a", FEW_BYTES, 2, 2);
    CHECK_OK(repo_sizes_version(f.r, &v1, &one, &err));
    CHECK_INT(one.logical_bytes, v1.size_bytes);
    CHECK(one.stored_bytes > v1.size_bytes);           /* and the manifest */
    CHECK_INT(one.stored_bytes - one.unique_bytes, 5); /* the graph they share */
    make_cold(&f, &v1);
    CHECK_OK(repo_sizes_version(f.r, &v1, &one, &err));
    CHECK_OK(repo_sizes_version(f.r, &v2, &two, &err));
    CHECK_INT(one.n_cold, 1);
    CHECK_INT(two.n_cold, 0);
    CHECK(one.stored_bytes < two.stored_bytes / 2);
    CHECK(two.unique_bytes < 2000); /* v1 stands on its shard */
    CHECK_OK(repo_sizes_model(f.r, v1.model_id, &both, &err));
    CHECK_OK(repo_sizes_model(f.r, 0, &all, &err));
    CHECK_INT(both.stored_bytes, one.stored_bytes + two.stored_bytes - 5);
    CHECK_INT(both.unique_bytes, both.stored_bytes);
    CHECK_INT(all.stored_bytes, both.stored_bytes);
    put_bundle(&f, "src", FEW_BYTES, 2, 2);
    push(&f, "src", "b"); /* the same version in another model */
    CHECK_OK(repo_sizes_version(f.r, &v2, &two, &err));
    CHECK_INT(two.unique_bytes, 0);
    CHECK_OK(repo_sizes_model(f.r, v1.model_id, &both, &err));
    CHECK(both.unique_bytes < both.stored_bytes / 2);
    fixture_close(&f);
}
