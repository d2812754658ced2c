/* SPDX-License-Identifier: Apache-2.0 */
#include "base/db.h"

#include "base/fs.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const migrations[] = {
    "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT UNIQUE, body BLOB, x REAL);"
    "CREATE TABLE child(t_id INTEGER NOT NULL REFERENCES t(id));",
    "CREATE TABLE second(a INTEGER)",
};
static const struct db_schema schema = { .module = "test",
                                         .migrations = migrations,
                                         .n_migrations = 2 };

static char path[300];

static const char *
db_file(void)
{
    snprintf(path, sizeof(path), "%s/test.db", unit_dir());
    return path;
}

static struct db *
open_test_db(void)
{
    struct err err = ERR_INIT;
    struct db *db = NULL;

    CHECK_OK(db_open(&db, db_file(), DB_CREATE, &err));
    CHECK_OK(db_migrate(db, &schema, 1, &err));
    return db;
}

static int64_t
count_rows(struct db *db)
{
    struct err err = ERR_INIT;
    int64_t n = -1;

    CHECK_INT(db_get_int(db, &n, &err, "SELECT count(*) FROM t", ""), 1);
    return n;
}

TEST(test_db__binds_and_reads_every_type)
{
    struct err err = ERR_INIT;
    struct db *db AUTO(db_close_p) = open_test_db();
    struct db_stmt *st AUTO(db_done_p) = NULL;
    const char blob[] = { 0, 1, 2 };
    size_t n = 0;

    CHECK_OK(db_begin(db, &err));
    CHECK(db_in_tx(db));
    CHECK_OK(db_run(db, &err, "INSERT INTO t VALUES(?, ?, ?, ?)", "itbr",
                    INT64_C(1) << 40, "one", (const void *)blob, sizeof(blob), 1.5));
    CHECK_INT(db_last_id(db), INT64_C(1) << 40);
    CHECK_OK(db_run(db, &err, "INSERT INTO t VALUES(?, ?, ?, ?)", "istn", (int64_t)-2,
                    STR_LIT("a\0b"), (const char *)NULL));
    CHECK_INT(db_changes(db), 1);
    CHECK_OK(db_commit(db, &err));
    CHECK(!db_in_tx(db));
    CHECK_OK(
        db_query(db, &st, &err, "SELECT id, name, body, x FROM t ORDER BY id", ""));
    CHECK_INT(db_step(st, &err), 1);
    CHECK_INT(db_int(st, 0), -2);
    CHECK(memcmp(db_blob(st, 1, &n), "a\0b", 3) == 0 && n == 3);
    CHECK(db_is_null(st, 2) && db_is_null(st, 3) && !db_text(st, 2));
    CHECK_INT(db_step(st, &err), 1);
    CHECK_INT(db_int(st, 0), INT64_C(1) << 40);
    CHECK_STR(db_text(st, 1), "one");
    CHECK(memcmp(db_blob(st, 2, &n), blob, 3) == 0 && n == 3);
    CHECK(db_real(st, 3) == 1.5);
    CHECK_INT(db_step(st, &err), 0);
}

TEST(test_db__get_tells_rows_from_none)
{
    struct err err = ERR_INIT;
    struct db *db AUTO(db_close_p) = open_test_db();
    struct buf b AUTO(buf_release) = BUF_INIT,
                 small AUTO(buf_release) = { .cap_bytes = 2 };
    int64_t v = 5;

    CHECK_INT(db_get_int(db, &v, &err, "SELECT id FROM t", ""), 0);
    CHECK_OK(db_run(db, &err, "INSERT INTO t(id, name) VALUES(7, ?)", "t", "seven"));
    CHECK_INT(db_get_int(db, &v, &err, "SELECT id FROM t WHERE name = ?", "t", "seven"),
              1);
    CHECK_INT(v, 7);
    CHECK_INT(db_get_int(db, &v, &err, "SELECT max(id) FROM t WHERE id > 7", ""), 0);
    CHECK_INT(db_get_text(db, &b, &err, "SELECT name FROM t", ""), 1);
    CHECK_STR(buf_str(&b), "seven");
    CHECK_INT(db_get_text(db, &b, &err, "SELECT body FROM t", ""), 0);
    CHECK_ERR(db_get_text(db, &small, &err, "SELECT name FROM t", ""), ERR_LIMIT);
}

TEST(test_db__errors_have_codes)
{
    struct err err = ERR_INIT;
    struct db *db AUTO(db_close_p) = open_test_db();

    CHECK_OK(db_run(db, &err, "INSERT INTO t(id, name) VALUES(1, 'a')", ""));
    CHECK_ERR(db_run(db, &err, "INSERT INTO t(id, name) VALUES(1, 'b')", ""),
              ERR_CONFLICT);
    CHECK_ERR(db_run(db, &err, "INSERT INTO t(id, name) VALUES(2, 'a')", ""),
              ERR_CONFLICT);
    CHECK_ERR(db_run(db, &err, "INSERT INTO child VALUES(9)", ""), ERR_DB);
    CHECK_ERR(db_run(db, &err, "INSERT INTO none VALUES(1)", ""), ERR_DB);
    /* a name in double quotes is no string, and system tables are out of reach */
    CHECK_ERR(db_run(db, &err, "INSERT INTO t(name) VALUES(\"text\")", ""), ERR_DB);
    CHECK_ERR(db_run(db, &err, "UPDATE sqlite_schema SET sql = ''", ""), ERR_DB);
    CHECK_INT(count_rows(db), 1);
}

TEST(test_db__rollback_and_close_undo)
{
    struct err err = ERR_INIT;
    struct db *db = open_test_db();

    CHECK_OK(db_begin(db, &err));
    CHECK_OK(db_run(db, &err, "INSERT INTO t(id) VALUES(1)", ""));
    db_rollback(db);
    db_rollback(db);
    CHECK_INT(count_rows(db), 0);
    CHECK_OK(db_begin(db, &err));
    CHECK_OK(db_run(db, &err, "INSERT INTO t(id) VALUES(1)", ""));
    db_close(db);
    db = open_test_db();
    CHECK_INT(count_rows(db), 0);
    db_close(db);
    db_close(NULL);
}

TEST(test_db__one_statement_text_twice_at_once)
{
    struct err err = ERR_INIT;
    struct db *db AUTO(db_close_p) = open_test_db();

    CHECK_OK(db_run(db, &err, "INSERT INTO t(id) VALUES(1), (2), (3)", ""));
    for (int round = 0; round < 2; round++) {
        struct db_stmt *outer AUTO(db_done_p) = NULL;
        int pairs = 0, r;

        CHECK_OK(db_query(db, &outer, &err, "SELECT id FROM t", ""));
        while ((r = db_step(outer, &err)) == 1) {
            struct db_stmt *inner AUTO(db_done_p) = NULL;

            CHECK_OK(db_query(db, &inner, &err, "SELECT id FROM t", ""));
            while ((r = db_step(inner, &err)) == 1)
                pairs++;
            CHECK_INT(r, 0);
        }
        CHECK_INT(r, 0);
        CHECK_INT(pairs, 9);
    }
}

TEST(test_db__more_statements_than_the_cache_holds)
{
    struct err err = ERR_INIT;
    struct db *db AUTO(db_close_p) = open_test_db();

    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 300; i++) {
            char sql[32];
            int64_t v = -1;

            snprintf(sql, sizeof(sql), "SELECT %d", i);
            CHECK_INT(db_get_int(db, &v, &err, sql, ""), 1);
            CHECK_INT(v, i);
        }
}

TEST(test_db__absent_and_broken_files)
{
    struct err err = ERR_INIT;
    struct db *db = NULL;
    char junk[8192];

    CHECK_INT(db_open(&db, db_file(), 0, &err), -ERR_NOTFOUND);
    CHECK(strstr(err.msg, "test.db") && !db);
    err_clear(&err);
    CHECK_INT(fs_exists(AT_FDCWD, path, &err), 0);
    memset(junk, 'j', sizeof(junk));
    CHECK_OK(fs_replace(AT_FDCWD, path, junk, sizeof(junk), 0600, &err));
    CHECK_ERR(db_open(&db, path, DB_CREATE, &err), ERR_CORRUPT);
    CHECK_OK(fs_replace(AT_FDCWD, path, "", 0, 0600, &err));
    CHECK_ERR(db_open(&db, path, 0, &err), ERR_CORRUPT);
    CHECK_OK(db_open(&db, path, DB_CREATE, &err));
    db_close_p(&db);
    CHECK_ERR(db_open(&db, "/nowhere/x.db", DB_CREATE, &err), ERR_IO);
    CHECK_ERR(db_open(&db, "/", DB_CREATE, &err), ERR_DB);
}

TEST(test_db__broken_page_is_corrupt)
{
    struct err err = ERR_INIT;
    struct db *db = open_test_db();
    struct buf b AUTO(buf_release) = BUF_INIT;
    int64_t v;
    int r;

    /* every page goes to the file when a checkpoint is forced */
    CHECK_OK(db_begin(db, &err));
    for (int i = 0; i < 3000; i++)
        CHECK_OK(db_run(db, &err, "INSERT INTO t(id, name) VALUES(?, ?)", "is",
                        (int64_t)i, (struct str){ (const char *)&i, sizeof(i) }));
    CHECK_OK(db_commit(db, &err));
    CHECK_INT(db_get_int(db, &v, &err, "PRAGMA wal_checkpoint(TRUNCATE)", ""), 1);
    db_close(db);
    CHECK_OK(fs_read(AT_FDCWD, db_file(), &b, &err));
    CHECK(b.len > 20 * 4096);
    memset(b.data + 4096, 0xa5, b.len - 4096);
    CHECK_OK(fs_replace(AT_FDCWD, path, b.data, b.len, 0600, &err));
    r = db_open(&db, path, 0, &err);
    if (r == 0)
        r = db_get_int(db, &v, &err, "SELECT count(name) FROM t", "");
    CHECK_INT(r, -ERR_CORRUPT);
    if (strstr(err.msg, "count"))
        db_close(db);
}

TEST(test_db__wal_keeps_its_size)
{
    struct err err = ERR_INIT;
    struct db *db = open_test_db();
    char wal[310];
    struct stat before, after;
    int64_t v = 0;
    struct buf mode AUTO(buf_release) = BUF_INIT;

    snprintf(wal, sizeof(wal), "%s-wal", path);
    CHECK_INT(db_get_text(db, &mode, &err, "PRAGMA journal_mode", ""), 1);
    CHECK_STR(buf_str(&mode), "wal");
    CHECK_INT(db_get_int(db, &v, &err, "PRAGMA synchronous", ""), 1);
    CHECK_INT(v, 2);
    CHECK_INT(db_get_int(db, &v, &err, "PRAGMA foreign_keys", ""), 1);
    CHECK_INT(v, 1);
    CHECK_INT(db_get_int(db, &v, &err, "PRAGMA trusted_schema", ""), 1);
    CHECK_INT(v, 0);
    db_close(db);
    CHECK(stat(wal, &before) == 0 && before.st_size > 100 * 4096);
    for (int i = 0; i < 20; i++) {
        db = open_test_db();
        CHECK_OK(db_run(db, &err, "INSERT INTO t(name) VALUES(?)", "i", (int64_t)i));
        db_close(db);
    }
    CHECK(stat(wal, &after) == 0 && after.st_size == before.st_size);
    db = open_test_db();
    CHECK_INT(count_rows(db), 20);
    db_close(db);
}

/* Each handle commits once, as a command does: what one copied into the database the
 * next ones need not read again. */
TEST(test_db__wal_begins_anew_for_handles_that_write_once)
{
    struct err err = ERR_INIT;
    char wal[310], body[3000];
    struct stat st;

    memset(body, 'x', sizeof(body) - 1);
    body[sizeof(body) - 1] = '\0';
    for (int i = 0; i < 200; i++) {
        struct db *db AUTO(db_close_p) = open_test_db();

        CHECK_OK(db_begin(db, &err));
        for (int k = 0; k < 5; k++)
            CHECK_OK(db_run(db, &err, "INSERT INTO t(body) VALUES(?)", "t", body));
        CHECK_OK(db_commit(db, &err));
    }
    snprintf(wal, sizeof(wal), "%s-wal", path);
    CHECK(stat(wal, &st) == 0 && st.st_size < 130 * 4096);
}

TEST(test_db__migrates_once_and_further)
{
    static const char *const more[] = { migrations[0], migrations[1],
                                        "INSERT INTO second VALUES(3)" };
    const struct db_schema grown = { .module = "test",
                                     .migrations = more,
                                     .n_migrations = 3 };
    struct err err = ERR_INIT;
    struct db *db AUTO(db_close_p) = open_test_db();
    int64_t v = 0;

    CHECK_OK(db_migrate(db, &schema, 1, &err));
    for (int i = 0; i < 2; i++)
        CHECK_OK(db_migrate(db, &grown, 1, &err));
    CHECK_INT(db_get_int(db, &v, &err, "SELECT count(*) FROM second", ""), 1);
    CHECK_INT(v, 1);
    CHECK_INT(db_get_int(db, &v, &err, "SELECT version FROM module_schema", ""), 1);
    CHECK_INT(v, 3);
    CHECK_ERR(db_migrate(db, &schema, 1, &err), ERR_UNSUPPORTED);
}

TEST(test_db__failed_migration_leaves_the_one_before)
{
    static const char *const bad[] = { migrations[0],
                                       "CREATE TABLE third(a); CREATE TABLE third(a)" };
    const struct db_schema broken = { .module = "test",
                                      .migrations = bad,
                                      .n_migrations = 2 };
    static const char *const worse[] = { migrations[0], migrations[1], bad[1] };
    const struct db_schema grown = { .module = "test",
                                     .migrations = worse,
                                     .n_migrations = 3 };
    struct err err = ERR_INIT;
    struct db *db AUTO(db_close_p) = NULL;
    int64_t v = 0;

    CHECK_OK(db_open(&db, db_file(), DB_CREATE, &err));
    CHECK_ERR(db_migrate(db, &broken, 1, &err), ERR_DB);
    CHECK(!db_in_tx(db));
    CHECK_ERR(db_get_int(db, &v, &err, "SELECT version FROM module_schema", ""),
              ERR_DB);
    CHECK_OK(db_migrate(db, &schema, 1, &err));
    CHECK_ERR(db_migrate(db, &grown, 1, &err), ERR_DB); /* and now one more */
    CHECK_INT(db_get_int(db, &v, &err, "SELECT version FROM module_schema", ""), 1);
    CHECK_INT(v, 2);
    CHECK_ERR(db_get_int(db, &v, &err, "SELECT count(*) FROM third", ""), ERR_DB);
    CHECK_OK(db_begin(db, &err));
    db_rollback(db);
}

/* Of all modules or none; the copy is what there was; who had it open is told. */
TEST(test_db__upgrade_is_one_step)
{
    static const char *const more[] = { migrations[0], migrations[1],
                                        "CREATE TABLE third(a)" };
    static const char *const other[] = { "CREATE TABLE other(a)", "NOT SQL" };
    const struct db_schema grown[] = {
        { .module = "test", .migrations = more, .n_migrations = 3 },
        { .module = "other", .migrations = other, .n_migrations = 2 },
    };
    const struct db_schema good[] = {
        grown[0], { .module = "other", .migrations = other, .n_migrations = 1 }
    };
    struct err err = ERR_INIT;
    struct db *db AUTO(db_close_p) = NULL, *old AUTO(db_close_p) = NULL;
    struct db *before AUTO(db_close_p) = NULL;
    char *copy AUTO(free_ptr) = xasprintf("%s" DB_BEFORE_UPGRADE, db_file());
    int64_t v = 0;

    unlink(copy);
    CHECK_OK(db_open(&old, path, DB_CREATE, &err));
    CHECK_OK(db_migrate(old, &schema, 1, &err));
    CHECK_OK(db_run(old, &err, "INSERT INTO t(name) VALUES('kept')", ""));
    CHECK_INT(access(copy, F_OK), -1);
    CHECK_OK(db_open(&db, path, 0, &err));
    CHECK_ERR(db_migrate(db, grown, 2, &err), ERR_DB);
    CHECK(!db_was_upgraded(db));
    CHECK_OK(db_begin(old, &err)); /* nothing has changed for it */
    CHECK_OK(db_commit(old, &err));
    CHECK_OK(db_migrate(db, good, 2, &err));
    CHECK(db_was_upgraded(db));
    CHECK_ERR(db_begin(old, &err), ERR_UNSUPPORTED);
    CHECK(!db_in_tx(old));
    CHECK_ERR(db_migrate(old, &schema, 1, &err), ERR_UNSUPPORTED);
    CHECK_ERR(db_migrate(old, grown, 1, &err), ERR_UNSUPPORTED); /* knows no "other" */
    CHECK_OK(db_migrate(old, good, 2, &err));
    CHECK(!db_was_upgraded(old));
    CHECK_OK(db_begin(old, &err));
    CHECK_OK(db_commit(old, &err));
    CHECK_OK(db_open(&before, copy, 0, &err));
    CHECK_OK(db_migrate(before, &schema, 1, &err));
    CHECK_INT(db_get_int(before, &v, &err, "SELECT count(*) FROM t", ""), 1);
    CHECK_INT(v, count_rows(db));
    unlink(copy);
}

TEST(test_db__four_make_it_at_once)
{
    db_file();
    for (int i = 0; i < 4; i++) {
        struct err err = ERR_INIT;
        struct db *db = NULL;
        pid_t pid = fork();

        CHECK(pid >= 0);
        if (pid > 0)
            continue;
        if (db_open(&db, path, DB_CREATE, &err) < 0 ||
            db_migrate(db, &schema, 1, &err) < 0 ||
            db_run(db, &err, "INSERT INTO t(name) VALUES(?)", "i", (int64_t)i) < 0) {
            fprintf(stderr, "%s\n", err.msg);
            _exit(1);
        }
        db_close(db);
        _exit(0);
    }
    for (int i = 0; i < 4; i++) {
        int status = 1;

        CHECK(wait(&status) > 0);
        CHECK_INT(status, 0);
    }
    struct db *db AUTO(db_close_p) = open_test_db();
    CHECK_INT(count_rows(db), 4);
}

/* Four processes, each 25 transactions on one row: none is lost, none fails. */
TEST(test_db__writers_queue)
{
    struct err err = ERR_INIT;
    struct db *db = open_test_db();
    int64_t v = 0;

    CHECK_OK(db_run(db, &err, "INSERT INTO t(id, x) VALUES(1, 0)", ""));
    db_close(db);
    for (int i = 0; i < 4; i++) {
        pid_t pid = fork();

        CHECK(pid >= 0);
        if (pid > 0)
            continue;
        if (db_open(&db, path, 0, &err) < 0)
            _exit(1);
        for (int k = 0; k < 25; k++)
            if (db_begin(db, &err) < 0 ||
                db_get_int(db, &v, &err, "SELECT x FROM t WHERE id = 1", "") < 0 ||
                db_run(db, &err, "UPDATE t SET x = ? WHERE id = 1", "i", v + 1) < 0 ||
                db_commit(db, &err) < 0)
                _exit(2);
        db_close(db);
        _exit(0);
    }
    for (int i = 0; i < 4; i++) {
        int status = 1;

        CHECK(wait(&status) > 0);
        CHECK_INT(status, 0);
    }
    db = open_test_db();
    CHECK_INT(db_get_int(db, &v, &err, "SELECT x FROM t WHERE id = 1", ""), 1);
    CHECK_INT(v, 100);
    db_close(db);
}

TEST(test_db__reader_is_not_held_up_by_a_writer)
{
    struct err err = ERR_INIT;
    struct db *writer AUTO(db_close_p) = open_test_db();
    struct db *reader AUTO(db_close_p) = open_test_db();

    CHECK_OK(db_begin(writer, &err));
    CHECK_OK(db_run(writer, &err, "INSERT INTO t(id) VALUES(1)", ""));
    CHECK_INT(count_rows(reader), 0);
    CHECK_OK(db_commit(writer, &err));
    CHECK_INT(count_rows(reader), 1);
}

static void
nested_begin(struct db *db)
{
    struct err err = ERR_INIT;

    (void)!db_begin(db, &err);
}

static void
wrong_types(struct db *db)
{
    struct err err = ERR_INIT;

    (void)!db_run(db, &err, "DELETE FROM t WHERE id = ?", "");
}

TEST(test_db__misuse_aborts)
{
    static void (*const misuses[])(struct db *) = { nested_begin, wrong_types };
    struct err err = ERR_INIT;
    struct db *db AUTO(db_close_p) = open_test_db();

    CHECK_OK(db_begin(db, &err));
    for (size_t i = 0; i < 2; i++) {
        int status = 0;
        pid_t pid = fork();

        if (pid == 0) {
            if (freopen("/dev/null", "w", stderr))
                misuses[i](db);
            _exit(0);
        }
        CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    }
}

/* What is kept in memory holds until somebody else commits. */
TEST(test_db__version_changes_with_commits_of_others)
{
    struct db *db AUTO(db_close_p) = open_test_db(), *other AUTO(db_close_p) = NULL;
    struct err err = ERR_INIT;
    int64_t before, after, busy;

    CHECK_OK(db_open(&other, db_file(), 0, &err));
    CHECK_OK(db_version(db, &before, &err));
    CHECK_OK(db_version(db, &after, &err));
    CHECK_INT(before, after);
    CHECK_OK(db_begin(other, &err));
    CHECK_OK(db_run(other, &err, "CREATE TABLE seen_by_all(x INTEGER)", ""));
    CHECK_OK(db_version(db, &after, &err));
    CHECK_INT(before, after);
    CHECK_OK(db_commit(other, &err));
    CHECK_OK(db_version(db, &after, &err));
    CHECK(before != after);
    for (int i = 0; i < 20; i++) { /* also once it only looks into the WAL's index */
        struct db *by = i % 4 == 3 ? db : other;

        for (int k = 0; k < 3; k++) {
            CHECK_OK(db_version(db, &before, &err));
            CHECK_INT(before, after);
        }
        if (i % 8 == 5) /* the WAL begins anew */
            CHECK(db_get_int(other, &busy, &err, "PRAGMA wal_checkpoint(TRUNCATE)",
                             "") == 1);
        CHECK_OK(db_begin(by, &err));
        CHECK_OK(db_run(by, &err, "INSERT INTO seen_by_all(x) VALUES(?)", "i", i));
        CHECK_OK(db_commit(by, &err));
        CHECK_OK(db_version(db, &after, &err));
        CHECK((before != after) == (by == other));
    }
}

#ifdef TEST_FAULT

TEST(test_db__failed_commit_is_rolled_back)
{
    struct err err = ERR_INIT;
    struct db *db AUTO(db_close_p) = open_test_db();

    CHECK_OK(db_begin(db, &err));
    CHECK_OK(db_run(db, &err, "INSERT INTO t(id) VALUES(1)", ""));
    setenv("TEST_FAULT", "commit:1:ENOSPC", 1);
    CHECK_INT(db_commit(db, &err), -ERR_IO);
    unsetenv("TEST_FAULT");
    CHECK_INT(err.sys, ENOSPC);
    err_clear(&err);
    CHECK(!db_in_tx(db));
    CHECK_INT(count_rows(db), 0);
    CHECK_OK(db_begin(db, &err));
    CHECK_OK(db_commit(db, &err));
}

TEST(test_db__kill_before_commit_keeps_the_old_state)
{
    struct err err = ERR_INIT;
    struct db *db = open_test_db();
    int status = 0;
    pid_t pid;

    db_close(db);
    pid = fork();
    if (pid == 0) {
        setenv("TEST_FAULT", "commit:2:kill", 1);
        if (db_open(&db, path, 0, &err) < 0)
            _exit(1);
        for (int i = 1; i <= 2; i++)
            if (db_begin(db, &err) < 0 ||
                db_run(db, &err, "INSERT INTO t(id) VALUES(?)", "i", (int64_t)i) < 0 ||
                db_commit(db, &err) < 0)
                _exit(2);
        _exit(0);
    }
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    db = open_test_db();
    CHECK_INT(count_rows(db), 1);
    db_close(db);
}

/* Making a database may fail at any call: the next try goes on from there. */
TEST(test_db__creation_survives_every_fault)
{
    struct err err = ERR_INIT;
    int n = 0, r = -1;

    while (r < 0) {
        struct db *db AUTO(db_close_p) = NULL;
        char fault[32];

        CHECK(++n < 100);
        snprintf(fault, sizeof(fault), "any:%d:EIO", n);
        setenv("TEST_FAULT", fault, 1);
        r = db_open(&db, db_file(), DB_CREATE, &err);
        if (r == 0)
            r = db_migrate(db, &schema, 1, &err);
        unsetenv("TEST_FAULT");
        if (r < 0)
            err_clear(&err);
    }
    CHECK(n >= 4);
    db_close(open_test_db());
}

#endif
