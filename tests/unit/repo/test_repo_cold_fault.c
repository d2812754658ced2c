/* SPDX-License-Identifier: Apache-2.0 */
/* Killed, failed and raced at every step of making cold and of bringing back: the
 * object is to be had at any time, and the step can be done again. */
#include "tests/unit/repo/cold_fixture.h"

#include <sys/resource.h>

#define FEW_BYTES ((size_t)8192)

enum step { COLD, CHECKOUT, WARM };

static int
do_step(struct fixture *f, enum step step, const struct repo_version *v,
        const char *dest, struct err *err)
{
    struct repo_cold c AUTO(repo_cold_release) = { .items = NULL };

    switch (step) {
    case COLD:
        return try_cold(f, v, &c, err);
    case CHECKOUT:
        return repo_checkout(f->r, &v->digest, AT_FDCWD, dest, REPO_LINK, err);
    case WARM:
        return try_warm(f, v, err);
    }
    return -1;
}

#ifdef TEST_FAULT
/* In a child; its exit status. */
static int
run_step(struct fixture *f, enum step step, const struct repo_version *v,
         const char *fault)
{
    struct err err = ERR_INIT;
    char dest[1024];
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        if (fixture_try_open(f, &err) < 0)
            _exit(3);
        setenv("TEST_FAULT", fault, 1);
        _exit(do_step(f, step, v, below(f, "outs/1", dest), &err) < 0 ? 1 : 0);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    return status;
}

/* A checkout that was killed leaves links beside its destination, too. */
static char *
empty_outs(struct fixture *f, char path[1024])
{
    struct err err = ERR_INIT;

    below(f, "outs", path);
    CHECK_OK(fs_remove_tree(AT_FDCWD, path, &err));
    CHECK_OK(fs_mkdirs(AT_FDCWD, path, 0755, &err));
    return below(f, "outs/1", path);
}

/* Any step, killed or failed at its n-th call, for all n. */
static void
at_every_call(enum step step, const char *what)
{
    struct err err = ERR_INIT;
    struct fixture f;
    struct repo_version v1;
    struct repo_file one;
    char path[1024];
    int n_good = 0; /* in a row: of a hint the step can do without a call may fail */

    fixture_new(&f);
    v1 = push_bundle(&f, "a", FEW_BYTES, 2, 1);
    push_bundle(&f, "a", FEW_BYTES, 2, 2);
    one = shard_of(&f, &v1);
    if (step != COLD)
        CHECK_INT(make_cold(&f, &v1), 1);
    fixture_close(&f);
    for (int n = 1; n_good < 12; n++) {
        char fault[64];
        int status;

        CHECK(n < 400);
        empty_outs(&f, path);
        snprintf(fault, sizeof(fault), "any:%d:%s", n, what);
        status = run_step(&f, step, &v1, fault);
        CHECK(!WIFEXITED(status) || WEXITSTATUS(status) < 2);
        fixture_open(&f);
        check_clean(&f);
        check_readable(&f, &one.digest);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 1) /* failed, and tidied up */
            CHECK_INT(count_files(below(&f, "store/stage", path)), 0);
        n_good = WIFEXITED(status) && WEXITSTATUS(status) == 0 ? n_good + 1 : 0;
        /* the same again ends well, whatever was left */
        CHECK_OK(do_step(&f, step, &v1, empty_outs(&f, path), &err));
        check_clean(&f);
        CHECK(is_in(&f, step == COLD ? "cold" : "objects", &one.digest));
        CHECK(step != COLD || !is_in(&f, "objects", &one.digest));
        CHECK(step != WARM || !is_in(&f, "cold", &one.digest));
        /* and back to where it began */
        empty_outs(&f, path);
        if (step == COLD)
            CHECK_OK(try_warm(&f, &v1, &err));
        else
            CHECK_INT(make_cold(&f, &v1), 1);
        fixture_close(&f);
    }
}
#endif

#define STEP_TEST(name, step, what)                                                    \
    TEST(test_repo_cold_fault__##name) { AT_EVERY_CALL(step, what); }
#ifdef TEST_FAULT
#define AT_EVERY_CALL(step, what) at_every_call(step, what)
#else
#define AT_EVERY_CALL(step, what)                                                      \
    unit_skip("%d %s: built without fault hooks", (int)(step), what)
#endif
STEP_TEST(killed_while_making_cold, COLD, "kill")
STEP_TEST(killed_while_bringing_back, CHECKOUT, "kill")
STEP_TEST(killed_while_warming, WARM, "kill")
STEP_TEST(no_space_while_making_cold, COLD, "ENOSPC")
STEP_TEST(no_space_while_bringing_back, CHECKOUT, "ENOSPC")
STEP_TEST(disk_error_while_making_cold, COLD, "EIO")
STEP_TEST(disk_error_while_warming, WARM, "EIO")

/* The kernel's own limit: the delta is larger than a file may be. */
TEST(test_repo_cold_fault__a_file_that_may_not_grow)
{
    struct fixture f;
    struct repo_version v1;
    struct repo_file one;
    struct err err = ERR_INIT;
    int status;
    pid_t pid;

    fixture_new(&f);
    v1 = push_bundle(&f, "a", (size_t)1 << 20, 2, 1);
    push_bundle(&f, "a", (size_t)1 << 20, 2, 2);
    one = shard_of(&f, &v1);
    pid = fork();
    if (pid == 0) {
        const struct rlimit limit = { 900000, 900000 }; /* the catalogue fits */
        struct repo_cold c;

        signal(SIGXFSZ, SIG_IGN);
        if (setrlimit(RLIMIT_FSIZE, &limit) < 0)
            _exit(2);
        _exit(try_cold(&f, &v1, &c, &err) == -ERR_IO && err.sys == EFBIG ? 0 : 1);
    }
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    CHECK_INT(WEXITSTATUS(status), 0);
    CHECK(is_in(&f, "objects", &one.digest) && !is_in(&f, "cold", &one.digest));
    check_clean(&f);
    fixture_close(&f);
}

/* Several bring one object back while another makes it cold again and again. */
TEST(test_repo_cold_fault__readers_and_a_cooler)
{
    enum { READERS = 3, TURNS = 60 };
    struct fixture f;
    struct repo_version v1;
    struct repo_file one;
    struct err err = ERR_INIT;
    pid_t pids[READERS];

    fixture_new(&f);
    v1 = push_bundle(&f, "a", (size_t)1 << 16, 2, 1);
    push_bundle(&f, "a", (size_t)1 << 16, 2, 2);
    one = shard_of(&f, &v1);
    CHECK_INT(make_cold(&f, &v1), 1);
    fixture_close(&f);
    for (int k = 0; k < READERS; k++) {
        pids[k] = fork();
        if (pids[k] == 0) {
            char path[1024], name[32];

            if (fixture_try_open(&f, &err) < 0)
                _exit(3);
            snprintf(name, sizeof(name), "out-%d", k);
            below(&f, name, path);
            for (int i = 0; i < TURNS; i++) {
                if (repo_checkout(f.r, &v1.digest, AT_FDCWD, path, REPO_LINK, &err) <
                        0 ||
                    fs_remove_tree(AT_FDCWD, path, &err) < 0 ||
                    (k == 0 && try_warm(&f, &v1, &err) < 0 && err.code != ERR_BUSY)) {
                    printf("# reader %d, turn %d: %s\n", k, i, err.msg);
                    fflush(stdout);
                    _exit(1);
                }
                err_clear(&err);
            }
            _exit(0);
        }
    }
    fixture_open(&f);
    for (int i = 0; i < 2 * TURNS; i++) {
        struct repo_cold c;

        CHECK_OK(try_cold(&f, &v1, &c, &err));
        repo_cold_release(&c);
        check_readable(&f, &one.digest);
    }
    for (int k = 0; k < READERS; k++) {
        int status;

        CHECK(waitpid(pids[k], &status, 0) == pids[k] && WIFEXITED(status));
        CHECK_INT(WEXITSTATUS(status), 0);
    }
    check_clean(&f);
    fixture_close(&f);
}

/* More links than one file can have. */
TEST(test_repo_cold_fault__more_links_than_a_file_has)
{
    enum { MOST = 70000 };
    struct fixture f;
    struct repo_version v;
    struct repo_file one;
    struct err err = ERR_INIT;
    struct stat before, after;
    int dir AUTO(fs_close) = -1;
    char path[1024], name[32];
    int n = 0;

    fixture_new(&f);
    v = push_bundle(&f, "a", FEW_BYTES, 2, 1);
    one = shard_of(&f, &v);
    CHECK_OK(fs_mkdirs(AT_FDCWD, below(&f, "links", path), 0755, &err));
    CHECK_OK(fs_open_dir(&dir, AT_FDCWD, path, &err));
    object_file(&f, &one.digest, path);
    CHECK(stat(path, &before) == 0);
    for (; n < MOST; n++) {
        snprintf(name, sizeof(name), "%d", n);
        if (linkat(AT_FDCWD, path, dir, name, 0) < 0)
            break;
    }
    if (n == MOST)
        unit_skip("this file system takes more than %d links", n);
    CHECK_INT(errno, EMLINK);
    CHECK_OK(f.r->objects->ops->link(f.r->objects, &one.digest, dir, "one more", &err));
    CHECK(stat(path, &after) == 0 && after.st_ino != before.st_ino);
    CHECK_INT(after.st_nlink, 2);
    CHECK_INT(after.st_mode & 07777, 0444);
    check_clean(&f);
    fixture_close(&f);
}
