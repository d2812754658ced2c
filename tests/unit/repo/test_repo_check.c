/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/repo/repo_fixture.h"

#include <sqlite3.h>

static void
check_finds(struct fixture *f, const char *word)
{
    struct repo_check c;
    struct err err = ERR_INIT;
    struct buf all = BUF_INIT;
    int r = repo_check(f->r, &c, show_problem, &all, &err);

    if (r != -ERR_FAILED || c.n_bad < 1 || !strstr(buf_str(&all), word))
        unit_fail(__FILE__, __LINE__, "%s: %d %s: %s", word, r, err.msg, buf_str(&all));
    buf_release(&all);
}

TEST(test_repo_check__counts)
{
    struct fixture f;
    struct repo_check c;

    fixture_new(&f);
    put_model(&f, "one", "1");
    put_model(&f, "two", "2");
    push(&f, "one", "a");
    push(&f, "two", "a");
    c = check_clean(&f);
    CHECK_INT(c.n_versions, 2);
    CHECK_INT(c.n_objects, 7);
    CHECK(c.n_bytes > 300);
    CHECK_INT(c.n_bad, 0);
    fixture_close(&f);
}

/* One flipped bit in any byte of any object. */
TEST(test_repo_check__flipped_bits)
{
    struct fixture f;
    struct repo_version v;
    struct repo_manifest m;
    struct digest all[4];
    struct err err = ERR_INIT;

    fixture_new(&f);
    put_model(&f, "one", "1");
    v = push(&f, "one", "a");
    CHECK_OK(repo_manifest_get(f.r, &v.digest, &m, &err));
    for (int i = 0; i < 3; i++)
        all[i] = m.files[i].digest;
    all[3] = v.digest;
    for (int i = 0; i < 4; i++) {
        char path[1024], hex[DIGEST_HEX_BYTES], old;
        struct buf bytes = BUF_INIT;

        digest_hex(&all[i], hex);
        CHECK_OK(fs_read(AT_FDCWD, object_file(&f, &all[i], path), &bytes, &err));
        for (size_t at = 0; at<bytes.len; at += bytes.len> 50 ? 23 : 1) {
            old = bytes.data[at] ^ (char)(1 << at % 8);
            overwrite(path, (off_t)at, &old, 1);
            check_finds(&f, hex);
            overwrite(path, (off_t)at, &bytes.data[at], 1);
        }
        buf_release(&bytes);
    }
    check_clean(&f);
    repo_manifest_release(&m);
    fixture_close(&f);
}

TEST(test_repo_check__files)
{
    struct fixture f;
    struct digest d;
    char path[1024], hex[DIGEST_HEX_BYTES];

    fixture_new(&f);
    put_model(&f, "one", "1");
    push(&f, "one", "a");
    sha256_of("weights 1", 9, &d);
    digest_hex(&d, hex);
    put_text(&f, "store/objects/stranger", "x");
    check_finds(&f, "objects/stranger: not an object's name");
    CHECK(unlink(below(&f, "store/objects/stranger", path)) == 0);
    put_text(&f, "store/versions/a/1", "sluice-version 1\nmodel a\nnumber 2\n");
    check_finds(&f, "versions/a/1 does not say");
    CHECK(unlink(below(&f, "store/versions/a/1", path)) == 0);
    check_finds(&f, "versions/a/1");
    CHECK(unlink(object_file(&f, &d, path)) == 0);
    check_finds(&f, "is missing");
    CHECK(mkdir(path, 0700) == 0);
    check_finds(&f, hex);
    CHECK(rmdir(path) == 0 && symlink("/etc/passwd", path) == 0);
    CHECK(1 == 1);
    struct repo_check c;
    struct err err = ERR_INIT;
    CHECK(repo_check(f.r, &c, NULL, NULL, &err) < 0);
    fixture_close(&f);
}

TEST(test_repo_check__rows)
{
    static const struct {
        const char *sql, *word;
    } cases[] = {
        { "UPDATE object SET size_bytes = 5 WHERE size_bytes = 9", "9 bytes, not 5" },
        { "UPDATE version SET size_bytes = 5", "its row says" },
        { "UPDATE version SET n_files = 5", "its row says" },
        { "UPDATE version SET number = 5", "versions/a/5" },
        { "UPDATE version SET created_ns = 5", "versions/a/1 does not say" },
        { "UPDATE model SET name = 'b'", "versions/b/1" },
        { "UPDATE manifest_file SET path = 'x' WHERE path = 'saved_model.pb'", "x" },
        { "DELETE FROM manifest_file WHERE path = 'saved_model.pb'", "2 rows" },
        { "UPDATE manifest_file SET size_bytes = 1 WHERE path = 'saved_model.pb'",
          "not in its manifest" },
        { "DELETE FROM object WHERE size_bytes = 9", "foreign_key_check" },
        { "UPDATE version SET model_id = 77", "foreign_key_check" },
        { "INSERT INTO alias VALUES(1, 'production', 99, 0)", "foreign_key_check" },
        { "INSERT INTO object VALUES(zeroblob(32), 1, 1)", "is missing" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture f;
        char path[1024];
        sqlite3 *db;

        fixture_new(&f);
        put_model(&f, "one", "1");
        push(&f, "one", "a");
        fixture_close(&f);
        CHECK(sqlite3_open(below(&f, "store/catalogue.db", path), &db) == SQLITE_OK);
        if (sqlite3_exec(db, cases[i].sql, NULL, NULL, NULL) != SQLITE_OK)
            unit_fail(__FILE__, __LINE__, "%s: %s", cases[i].sql, sqlite3_errmsg(db));
        sqlite3_close(db);
        fixture_open(&f);
        check_finds(&f, cases[i].word);
        fixture_clear(&f);
    }
}

TEST(test_repo_check__leftovers_of_a_killed_push_are_no_problem)
{
    struct fixture f;
    struct repo_ingest in;
    struct err err = ERR_INIT;
    char path[1024];

    fixture_new(&f);
    put_model(&f, "one", "1");
    CHECK_OK(repo_ingest_dir(f.r, below(&f, "one", path), &in, &err));
    repo_ingest_release(&in);
    put_text(&f, "store/versions/a/7", "sluice-version 1\n");
    CHECK_INT(check_clean(&f).n_objects, 0);
    fixture_close(&f);
}
