/* SPDX-License-Identifier: Apache-2.0 */
#include "base/proc.h"

#include "base/clock.h"
#include "base/fs.h"
#include "tests/unit/unit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static int
sh(const char *script, int timeout_ms, struct buf *output, int *status, struct err *err)
{
    const char *argv[] = { "sh", "-c", script, NULL };
    struct proc_args args = { .argv = argv, .timeout_ms = timeout_ms };

    return proc_run(&args, output, status, err);
}

TEST(test_proc__output_and_status)
{
    struct err err = ERR_INIT;
    struct buf out AUTO(buf_release) = BUF_INIT;
    char text[48];
    int status = 0;

    CHECK_OK(sh("echo out; echo err >&2; exit 3", 0, &out, &status, &err));
    CHECK_STR(buf_str(&out), "out\nerr\n");
    CHECK_STR(proc_status_text(status, text), "exit status 3");
    CHECK_OK(sh("kill -9 $$", 0, &out, &status, &err));
    CHECK_STR(proc_status_text(status, text), "killed by signal 9");
}

TEST(test_proc__environment_is_laid_over)
{
    static const char *const extra[] = { "SLUICE_TEST_A=new", "SLUICE_TEST_B=", NULL };
    static const char *const argv[] = { "sh", "-c",
                                        "echo \"$SLUICE_TEST_A|$SLUICE_TEST_B|"
                                        "$SLUICE_TEST_C|$(pwd)|$(cat)\"",
                                        NULL };
    struct proc_args args = { .argv = argv, .extra_env = extra, .cwd = "/" };
    struct err err = ERR_INIT;
    struct buf out AUTO(buf_release) = BUF_INIT;
    int status = 1;

    setenv("SLUICE_TEST_A", "old", 1);
    setenv("SLUICE_TEST_B", "old", 1);
    setenv("SLUICE_TEST_C", "kept", 1);
    CHECK_OK(proc_run(&args, &out, &status, &err));
    CHECK_INT(status, 0);
    CHECK_STR(buf_str(&out), "new||kept|/|\n");
}

TEST(test_proc__output_is_capped_and_drained)
{
    struct err err = ERR_INIT;
    struct buf out AUTO(buf_release) = { .cap_bytes = 1000 };
    int status = 1;

    CHECK_OK(sh("head -c 3000000 /dev/zero | tr '\\0' x", 20000, &out, &status, &err));
    CHECK_INT(status, 0);
    CHECK_INT(out.len, 1000);
    CHECK(!out.over);
}

TEST(test_proc__timeout_kills_the_group)
{
    struct err err = ERR_INIT;
    struct buf out AUTO(buf_release) = BUF_INIT;
    int status = 0;
    int64_t start_ns = clock_mono_ns();
    pid_t grandchild;

    /* as long as it needs to say who its child is */
    for (int wall_ms = 200; out.len == 0 && wall_ms < 60000; wall_ms *= 2) {
        err_clear(&err);
        CHECK_ERR(sh("sleep 1000 & echo $!; wait", wall_ms, &out, &status, &err),
                  ERR_LIMIT);
    }
    CHECK(clock_mono_ns() - start_ns < INT64_C(500000000000));
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    grandchild = (pid_t)strtol(buf_str(&out), NULL, 10);
    CHECK(grandchild > 1);
    for (int i = 0; i < 6000; i++) { /* its end is told to init, which takes a moment */
        struct buf stat AUTO(buf_release) = BUF_INIT;
        char path[64];

        snprintf(path, sizeof(path), "/proc/%d/stat", (int)grandchild);
        if (fs_read(AT_FDCWD, path, &stat, &err) < 0 || strstr(stat.data, ") Z")) {
            err_clear(&err);
            return;
        }
        usleep(10000);
    }
    CHECK(!"the grandchild lives on");
}

TEST(test_proc__background_child_holds_nobody_up)
{
    struct err err = ERR_INIT;
    struct buf out AUTO(buf_release) = BUF_INIT;
    int status = 1;
    int64_t start_ns = clock_mono_ns();

    CHECK_OK(sh("sleep 100 & echo done", 0, &out, &status, &err));
    CHECK_INT(status, 0);
    CHECK_STR(buf_str(&out), "done\n");
    CHECK(clock_mono_ns() - start_ns < INT64_C(90000000000));
}

TEST(test_proc__closed_output_is_no_end)
{
    struct err err = ERR_INIT;
    struct buf out AUTO(buf_release) = BUF_INIT;
    int status = 0;

    CHECK_OK(sh("exec >&- 2>&-; sleep 0.2; exit 4", 0, &out, &status, &err));
    CHECK_INT(WEXITSTATUS(status), 4);
}

TEST(test_proc__no_such_program)
{
    static const char *const argv[] = { "/no/such/program", NULL };
    static const char *const not_executable[] = { "/etc/passwd", NULL };
    struct proc_args args = { .argv = argv };
    struct err err = ERR_INIT;
    struct buf out AUTO(buf_release) = BUF_INIT;
    int status;

    CHECK_ERR(proc_run(&args, &out, &status, &err), ERR_NOTFOUND);
    args.argv = not_executable;
    CHECK_ERR(proc_run(&args, &out, &status, &err), ERR_IO);
}

TEST(test_proc__helper_path)
{
    const char *old = getenv("SLUICE_LIBEXEC");
    char *kept AUTO(free_ptr) = old ? xstrdup(old) : NULL;
    struct err err = ERR_INIT;
    struct buf out AUTO(buf_release) = BUF_INIT;

    setenv("SLUICE_LIBEXEC", "/bin", 1);
    CHECK_OK(proc_helper_path("sh", &out, &err));
    CHECK_STR(buf_str(&out), "/bin/sh");
    CHECK_ERR(proc_helper_path("no-such-helper", &out, &err), ERR_NOTFOUND);
    CHECK_INT(out.len, 7);
    unsetenv("SLUICE_LIBEXEC");
    buf_clear(&out);
    CHECK_OK(proc_helper_path("unit-base", &out, &err)); /* this program */
    CHECK(out.data[0] == '/' && access(out.data, X_OK) == 0);
    buf_clear(&out);
    CHECK_INT(proc_helper_path("no-such-helper", &out, &err), -ERR_NOTFOUND);
    CHECK(strstr(err.msg, "../libexec/sluice/") && strstr(err.msg, "SLUICE_LIBEXEC"));
    err_clear(&err);
    if (kept)
        setenv("SLUICE_LIBEXEC", kept, 1);
}

static bool
stop_now(void *arg)
{
    return *(const bool *)arg;
}

TEST(test_proc_pipe__reads_what_comes_and_keeps_what_is_said)
{
    static const char *const argv[] = { "sh", "-c",
                                        "echo said >&2; echo one; sleep 0.1; echo two; "
                                        "exit 3",
                                        NULL };
    const struct proc_args args = { .argv = argv };
    struct proc_pipe p = PROC_PIPE_INIT;
    struct err err = ERR_INIT;
    char all[64] = "";
    size_t n = 0;
    int64_t got;
    int status;

    CHECK_OK(proc_pipe_open(&p, &args, &err));
    while ((got = proc_pipe_read(&p, all + n, sizeof(all) - 1 - n, 20000, NULL, NULL,
                                 &err)) > 0)
        n += (size_t)got;
    CHECK_OK(got);
    CHECK_STR(all, "one\ntwo\n");
    CHECK_OK(proc_pipe_wait(&p, &status, &err));
    CHECK_INT(WEXITSTATUS(status), 3);
    CHECK_STR(buf_str(&p.said), "said\n");
    proc_pipe_kill(&p);
}

TEST(test_proc_pipe__a_child_that_stalls_is_given_up)
{
    static const char *const argv[] = { "sleep", "1000", NULL };
    static const char *const none[] = { "/nowhere/no-such-program", NULL };
    struct proc_args args = { .argv = argv };
    struct proc_pipe p = PROC_PIPE_INIT;
    struct err err = ERR_INIT;
    bool told = false;
    char c;

    CHECK_OK(proc_pipe_open(&p, &args, &err));
    CHECK_ERR((int)proc_pipe_read(&p, &c, 1, 50, stop_now, &told, &err), ERR_LIMIT);
    told = true;
    CHECK_ERR((int)proc_pipe_read(&p, &c, 1, 60000, stop_now, &told, &err),
              ERR_PENDING);
    proc_pipe_kill(&p);
    args.argv = none;
    CHECK_ERR(proc_pipe_open(&p, &args, &err), ERR_NOTFOUND);
    proc_pipe_kill(&p);
}
