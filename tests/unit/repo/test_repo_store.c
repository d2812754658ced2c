/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/repo/repo_fixture.h"

TEST(test_repo_store__init_makes_what_the_formats_page_lists)
{
    static const char *const names[] = {
        "format",     "catalogue.db",   "objects",       "stage",
        "trash",      "quarantine",     "versions",      "audit/log.jsonl",
        "audit/head", "keys/store.key", "keys/store.pub"
    };
    struct fixture f;
    struct err err = ERR_INIT;
    struct stat st;
    char path[1024];

    fixture_new(&f);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        CHECK_INT(fs_exists(f.r->dirfd, names[i], &err), 1);
    CHECK_INT(fs_exists(f.r->dirfd, "format.unfinished", &err), 0);
    CHECK(stat(f.path, &st) == 0 && (st.st_mode & 07777) == 0700);
    CHECK(stat(below(&f, "store/keys/store.key", path), &st) == 0 &&
          (st.st_mode & 07777) == 0600);
    CHECK_INT(f.r->owner_uid, getuid());
    CHECK_INT(check_clean(&f).n_versions, 0);
    fixture_close(&f);
    CHECK_ERR(fixture_try_init(&f, &err), ERR_CONFLICT);
    fixture_open(&f);
    fixture_close(&f);
}

TEST(test_repo_store__init_in_an_empty_directory_only)
{
    struct fixture f;
    struct err err = ERR_INIT;
    struct stat st;
    char path[1024];

    fixture_paths(&f);
    put_text(&f, "store/keep me", "x");
    CHECK(chmod(f.path, 0755) == 0);
    CHECK_INT(fixture_try_init(&f, &err), -ERR_CONFLICT);
    CHECK(strstr(err.msg, "keep%20me"));
    err_clear(&err);
    CHECK(stat(f.path, &st) == 0 && (st.st_mode & 07777) == 0755);
    CHECK_INT(count_files(f.path), 1);
    CHECK(unlink(below(&f, "store/keep me", path)) == 0);
    CHECK_OK(fixture_try_init(&f, &err));
    fixture_clear(&f);
    put_text(&f, "store", "a file");
    CHECK_INT(fixture_try_init(&f, &err), -ERR_IO);
    err_clear(&err);
    snprintf(f.path, sizeof(f.path), "%s/a/b/c", f.dir); /* parents are made */
    CHECK_OK(fixture_try_init(&f, &err));
}

TEST(test_repo_store__open_says_what_is_wrong)
{
    static const struct {
        const char *text;
        enum err_code code;
    } formats[] = { { "sluice-store 2\n", ERR_UNSUPPORTED },
                    { "sluice-store 10\n", ERR_UNSUPPORTED },
                    { "sluice-store 1", ERR_UNSUPPORTED },
                    { "", ERR_CORRUPT },
                    { "hello\n", ERR_CORRUPT },
                    { "0123456789012345678901234567890123456789012345678901234567890123"
                      "456789",
                      ERR_CORRUPT } };
    struct fixture f;
    struct err err = ERR_INIT;
    char path[1024];

    fixture_paths(&f);
    CHECK_INT(fixture_try_open(&f, &err), -ERR_NOTFOUND);
    CHECK(strstr(err.msg, "sluice init") && strstr(err.msg, f.path));
    err_clear(&err);
    put_text(&f, "store/x", "x");
    CHECK_INT(fixture_try_open(&f, &err), -ERR_NOTFOUND);
    CHECK(strstr(err.msg, "sluice init"));
    err_clear(&err);
    fixture_clear(&f);
    CHECK_OK(fixture_try_init(&f, &err));
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        put_text(&f, "store/format", formats[i].text);
        CHECK_ERR(fixture_try_open(&f, &err), formats[i].code);
    }
    put_text(&f, "store/format", "sluice-store 1\n");
    CHECK(unlink(below(&f, "store/catalogue.db-wal", path)) == 0);
    put_text(&f, "store/catalogue.db",
             "this is no database, it is a text that has to "
             "be a hundred bytes long to be looked at at all."
             "..........................................");
    CHECK_ERR(fixture_try_open(&f, &err), ERR_CORRUPT);
}

TEST(test_repo_store__somebody_elses)
{
    struct fixture f;
    struct err err = ERR_INIT;
    int status;
    pid_t pid;

    if (getuid() != 0)
        unit_skip("only root can become somebody else");
    fixture_new(&f);
    fixture_close(&f);
    CHECK(chmod(f.dir, 0755) == 0);
    pid = fork();
    if (pid == 0) {
        if (setresuid(64321, 64321, 64321) != 0)
            _exit(2);
        _exit(fixture_try_open(&f, &err) == -ERR_DENIED ? 0 : 1);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK_INT(status, 0);
}

TEST(test_repo_store__default_path)
{
    struct err err = ERR_INIT;
    struct buf b = BUF_INIT;
    char *old = getenv("SLUICE_STORE") ? xstrdup(getenv("SLUICE_STORE")) : NULL;
    char *home = xstrdup(getenv("HOME") ? getenv("HOME") : "");

    setenv("SLUICE_STORE", "/env", 1);
    CHECK_OK(repo_default_path("given", &b, &err));
    CHECK_STR(buf_str(&b), "given");
    buf_clear(&b);
    CHECK_OK(repo_default_path(NULL, &b, &err));
    CHECK_STR(buf_str(&b), "/env");
    buf_clear(&b);
    unsetenv("SLUICE_STORE");
    setenv("HOME", "/home/x", 1);
    CHECK_OK(repo_default_path(NULL, &b, &err));
    CHECK_STR(buf_str(&b), "/home/x/.local/share/sluice");
    setenv("HOME", home, 1);
    if (old)
        setenv("SLUICE_STORE", old, 1);
    buf_release(&b);
    free(old);
    free(home);
}

/* A view or temporary file whose maker is dead goes; a living one's, or a fresh one,
 * stays. */
TEST(test_repo_store__stage_is_swept)
{
    struct timespec old[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
    struct fixture f;
    struct repo_version v;
    struct repo_view view = REPO_VIEW_INIT;
    struct err err = ERR_INIT;
    char path[1024];

    fixture_new(&f);
    put_model(&f, "src", "1");
    v = push(&f, "src", "a");
    put_text(&f, "store/stage/view-dead/variables/x", "x");
    put_text(&f, "store/stage/.tmp-dead", "x");
    put_text(&f, "store/stage/.tmp-fresh", "x");
    CHECK(utimensat(AT_FDCWD, below(&f, "store/stage/view-dead", path), old, 0) == 0);
    CHECK(utimensat(AT_FDCWD, below(&f, "store/stage/.tmp-dead", path), old, 0) == 0);
    CHECK_OK(repo_view_open(f.r, &v.digest, &view, &err));
    CHECK(utimensat(AT_FDCWD, view.path, old, 0) == 0);
    push(&f, "src", "b");
    CHECK_INT(fs_exists(f.r->dirfd, "stage/view-dead", &err), 0);
    CHECK_INT(fs_exists(f.r->dirfd, "stage/.tmp-dead", &err), 0);
    CHECK_INT(fs_exists(f.r->dirfd, "stage/.tmp-fresh", &err), 1);
    CHECK_INT(fs_exists(AT_FDCWD, view.path, &err), 1);
    repo_view_close(&view);
    fixture_close(&f);
}

#ifdef TEST_FAULT
static int
child_init(struct fixture *f, const char *fault)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        struct err err = ERR_INIT;

        setenv("TEST_FAULT", fault, 1);
        if (fixture_try_init(f, &err) == 0)
            _exit(0);
        _exit(1);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    return status;
}

/* Whatever call of init dies or fails: a second init makes a store. */
static void
init_loop(const char *what)
{
    for (int n = 1;; n++) {
        struct fixture f;
        struct err err = ERR_INIT;
        char fault[64];
        int status;

        CHECK(n < 300);
        fixture_paths(&f);
        snprintf(fault, sizeof(fault), "any:%d:%s", n, what);
        status = child_init(&f, fault);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
            fixture_open(&f);
            fixture_clear(&f);
            return;
        }
        if (fixture_try_open(&f, &err) == 0) { /* only the last fsync was missed */
            CHECK_INT(check_clean(&f).n_versions, 0);
        } else {
            CHECK_INT(err.code, ERR_NOTFOUND);
            err_clear(&err);
            if (WIFEXITED(status)) /* it failed, so it cleaned up */
                CHECK_INT(fs_exists(AT_FDCWD, f.path, &err), 0);
            CHECK_OK(fixture_try_init(&f, &err));
            fixture_open(&f);
        }
        check_clean(&f);
        fixture_clear(&f);
    }
}

TEST(test_repo_store__init_killed_at_every_call) { init_loop("kill"); }

TEST(test_repo_store__every_call_of_init_fails) { init_loop("ENOSPC"); }
#endif
