/* SPDX-License-Identifier: Apache-2.0 */
/* A change that is killed, or fails, at its n-th call, for every n: the tree is whole
 * at every moment, and the next command makes alias and targets agree. */
#include "tests/unit/deploy/fixture.h"

#ifdef TEST_FAULT

static char second[512];

/* Two targets, so that a release can be half switched. */
static void
start(struct fx *fp)
{
    struct fx f = { .r = NULL };

    fx_open(&f);
    snprintf(second, sizeof(second), "%s/second", unit_dir());
    fx_pushes(&f, "fraud", 1);
    FX_OK(fx_target(&f, "plain"));
    FX_OK(deploy_target_add(f.r, "second", second, "production", "tfserving", NULL,
                            &f.err));
    FX_OK(fx_promote(&f, "fraud", 1));
    *fp = f;
}

/* Runs `fn` in a process of its own under a fault; its wait status. Nothing of the
 * store is open meanwhile. */
static int
in_child(struct fx *f, const char *plan, int (*fn)(struct fx *f))
{
    pid_t pid;
    int status;

    fx_close(f);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        int e;

        fx_open(f);
        if (plan)
            setenv("TEST_FAULT", plan, 1);
        e = fn(f);
        unsetenv("TEST_FAULT");
        fx_close(f);
        _exit(e < 0 ? err_exit_status(f->err.code) : 0);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    fx_open(f);
    return status;
}

static int64_t newest;

static int
promote_newest(struct fx *f)
{
    return fx_promote_as(f, "fraud", newest, true);
}

static int
roll_back(struct fx *f)
{
    return fx_rollback(f, "fraud", 0);
}

/* Both targets show something whole, whatever happened. */
static void
check_whole(struct fx *f)
{
    CHECK(fx_shown(f->web, "fraud") > 0);
    CHECK(fx_shown(second, "fraud") > 0);
    fx_check_config(second, "fraud");
}

/* A writing command, even one that is refused, heals; then all agree on one of two. */
static int64_t
heal_and_check(struct fx *fp, int64_t a, int64_t b)
{
    struct fx f = *fp;
    struct err err = ERR_INIT;
    struct repo_version v;
    int64_t now;
    cJSON *doc;

    FX_OK(repo_resolve(f.r, "fraud@1", &v, &f.err));
    FX_ERR(fx_change(&f, &(struct deploy_change){ .verb = DEPLOY_PROMOTE,
                                                  .model = "fraud",
                                                  .alias = "production",
                                                  .version = &v,
                                                  .expect_release = 1000000 }),
           ERR_CONFLICT);
    now = fx_alias(&f, "fraud");
    CHECK(now == a || now == b);
    CHECK_INT(fx_shown(f.web, "fraud"), now);
    CHECK_INT(fx_shown(second, "fraud"), now);
    fx_check_config(second, "fraud");
    CHECK_INT(fx_count(&f, "SELECT COUNT(*) FROM intent"), 0);
    CHECK_INT(fx_count(&f, "SELECT COUNT(*) FROM release WHERE state = 'intended'"), 0);
    CHECK_INT(fx_count(&f, "SELECT COUNT(*) FROM release WHERE state = 'live'"), 1);
    CHECK_OK(deploy_status(f.r, "fraud", &doc, &err));
    for (int i = 0; i < 2; i++) {
        const cJSON *one = cJSON_GetArrayItem(cJSON_GetObjectItem(doc, "aliases"), 0);
        const cJSON *t = cJSON_GetArrayItem(cJSON_GetObjectItem(one, "targets"), i);

        CHECK(cJSON_IsTrue(cJSON_GetObjectItem(t, "ok")));
    }
    json_free(&doc);
    *fp = f;
    return now;
}

/* Every n from `top`, which no change reaches, down to the first call (upwards would
 * miss some: what one run has prepared, the next finds). `what` is "kill" or an errno.
 * Returns how many runs were hit, and how many of those had moved after healing. */
static int
loop(const char *what, bool back, int top, int *n_moved)
{
    struct fx f;
    int n_hit = 0;

    start(&f);
    *n_moved = 0;
    for (int n = top; n > 0; n--) {
        char plan[40];
        int64_t before, after, aim;
        bool hit;
        int status;

        newest = aim = fx_push(&f, "fraud").number;
        before = fx_alias(&f, "fraud");
        if (back) {
            FX_OK(promote_newest(&f));
            aim = before;
            before = newest;
        }
        snprintf(plan, sizeof(plan), "any:%d:%s", n, what);
        status = in_child(&f, plan, back ? roll_back : promote_newest);
        hit = !WIFEXITED(status) || WEXITSTATUS(status) != 0;
        CHECK(!hit || strcmp(what, "kill") != 0 || WIFSIGNALED(status));
        CHECK(!hit || n < top);
        n_hit += hit;
        check_whole(&f);
        after = heal_and_check(&f, before, aim);
        CHECK(hit || after == aim);
        *n_moved += hit && after == aim;
        if (back && after == before) /* so that the next round has an older one */
            FX_OK(roll_back(&f));
    }
    fx_close(&f);
    return n_hit;
}

TEST(test_deploy_fault__promote_killed_at_every_call)
{
    int moved, n = loop("kill", false, 120, &moved);

    CHECK(n > 60);
    CHECK(moved > 5); /* past their commit point: finished, not cancelled */
    CHECK(moved < n / 2);
}

TEST(test_deploy_fault__rollback_killed_at_every_call)
{
    int moved, n = loop("kill", true, 40, &moved);

    CHECK(n > 15);
    CHECK(moved > 5);
    CHECK(moved < n);
}

/* Without a crash too: what fails before the commit point is undone at once. */
TEST(test_deploy_fault__promote_failing_at_every_call)
{
    int moved, n = loop("EIO", false, 120, &moved);

    CHECK(n > 60);
    CHECK(moved < n / 2);
}

TEST(test_deploy_fault__rollback_failing_at_every_call)
{
    int moved, n = loop("ENOSPC", true, 40, &moved);

    CHECK(n > 15);
    CHECK(moved < n);
}

/* What a rollback must do, and nothing more: two commits, one rename, one fsync of a
 * directory, and no new file. A plan that never comes true lets it pass. */
TEST(test_deploy_fault__rollback_does_no_more_than_it_must)
{
    static const struct {
        const char *call;
        int n;
    } most[] = { { "commit", 2 }, { "rename", 1 }, { "fsync", 1 }, { "link", 1 },
                 { "write", 0 },  { "mkdir", 0 },  { "unlink", 0 } };
    struct fx f = { .r = NULL };

    fx_open(&f);
    fx_pushes(&f, "fraud", 2);
    FX_OK(fx_target(&f, "plain"));
    for (size_t i = 0; i < sizeof(most) / sizeof(most[0]); i++) {
        char plan[40];

        FX_OK(fx_promote_as(&f, "fraud", 1, true));
        FX_OK(fx_promote_as(&f, "fraud", 2, true));
        for (int n = most[i].n; n <= most[i].n + 1; n++) {
            if (n == 0)
                continue;
            snprintf(plan, sizeof(plan), "%s:%d:EIO", most[i].call, n);
            setenv("TEST_FAULT", plan, 1);
            if (n > most[i].n)
                FX_OK(fx_rollback(&f, "fraud", 0));
            else
                FX_ERR(fx_rollback(&f, "fraud", 0), ERR_IO);
            unsetenv("TEST_FAULT");
            if (n == most[i].n) { /* it failed: settle, and stand at 2 again */
                FX_OK(fx_promote_as(&f, "fraud", 1, true));
                FX_OK(fx_promote_as(&f, "fraud", 2, true));
            }
        }
        CHECK_INT(fx_shown(f.web, "fraud"), 1);
    }
    fx_close(&f);
}

/* With a config too, what the undo needs was made when the release was. */
TEST(test_deploy_fault__two_rollbacks_write_no_file)
{
    struct fx f = { .r = NULL };

    fx_open(&f);
    fx_pushes(&f, "fraud", 3);
    fx_pushes(&f, "spam", 2);
    FX_OK(fx_target(&f, "tfserving"));
    for (int i = 1; i <= 3; i++)
        FX_OK(fx_promote(&f, "fraud", i));
    FX_OK(fx_promote(&f, "spam", 1));
    FX_OK(fx_promote(&f, "spam", 2)); /* changes the files of both models */
    setenv("TEST_FAULT", "write:1:ENOSPC", 1);
    FX_OK(fx_rollback(&f, "fraud", 0));
    unsetenv("TEST_FAULT");
    CHECK_INT(fx_shown(f.web, "fraud"), 2);
    FX_OK(fx_promote_as(&f, "fraud", 3, true));
    setenv("TEST_FAULT", "write:1:ENOSPC", 1);
    FX_OK(fx_rollback(&f, "spam", 0));
    unsetenv("TEST_FAULT");
    fx_check_config(f.web, "fraud");
    CHECK(strstr(fx_file(f.web, "config/models.config"), "name: \"spam\"") != NULL);

    fx_push(&f, "solo");
    fx_pushes(&f, "solo", 2);
    for (int i = 1; i <= 3; i++)
        FX_OK(fx_promote(&f, "solo", i));
    setenv("TEST_FAULT", "write:1:ENOSPC", 1);
    FX_OK(fx_rollback(&f, "solo", 0));
    FX_OK(fx_rollback(&f, "solo", 0));
    unsetenv("TEST_FAULT");
    CHECK_INT(fx_shown(f.web, "solo"), 1);
    fx_close(&f);
}

/* ---- two at once --------------------------------------------------------------------
 */

#define ROUNDS 15

static int
back_and_forth(struct fx *f)
{
    for (int i = 0; i < ROUNDS; i++) {
        int e = fx_promote_as(f, "fraud", 1 + i % 2, true);

        if (e < 0)
            return e;
    }
    return 0;
}

TEST(test_deploy_fault__two_processes_take_turns)
{
    struct fx f;
    pid_t pid[2];

    start(&f);
    fx_push(&f, "fraud");
    fx_close(&f);
    for (int i = 0; i < 2; i++) {
        pid[i] = fork();
        CHECK(pid[i] >= 0);
        if (pid[i] == 0) {
            int e;

            fx_open(&f);
            e = back_and_forth(&f);
            if (e < 0)
                fprintf(stderr, "# %s\n", f.err.msg);
            fx_close(&f);
            _exit(e < 0);
        }
    }
    for (int i = 0; i < 2; i++) {
        int status;

        CHECK(waitpid(pid[i], &status, 0) == pid[i]);
        CHECK_INT(status, 0);
    }
    fx_open(&f);
    check_whole(&f);
    heal_and_check(&f, 1, 2);
    fx_close(&f);
}

#else

TEST(test_deploy_fault__needs_a_build_with_faults) { unit_skip("B=debug or B=asan"); }

#endif
