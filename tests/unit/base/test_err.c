/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include "tests/unit/unit.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

TEST(test_err__set_keeps_code_place_and_message)
{
    struct err err = ERR_INIT;

    CHECK_INT(err_set(&err, ERR_LIMIT, "model %s: %d bytes", "fraud", 7), -ERR_LIMIT);
    CHECK_INT(err.code, ERR_LIMIT);
    CHECK_STR(err.msg, "model fraud: 7 bytes");
    CHECK(strstr(err.file, "test_err.c") && err.line > 0);
    err_clear(&err);
    CHECK_INT(err.code, ERR_OK);
    CHECK_STR(err.msg, "");
}

TEST(test_err__sys_names_the_reason)
{
    struct err err = ERR_INIT;

    CHECK_INT(err_sys(&err, ENOENT, "open %s", "a"), -ERR_IO);
    CHECK_INT(err.sys, ENOENT);
    CHECK_STR(err.msg, "open a: No such file or directory");
    err_clear(&err);
    CHECK_ERR(err_sys(&err, 9999, "open"), ERR_IO);
}

TEST(test_err__ctx_goes_before_the_message)
{
    struct err err = ERR_INIT;

    CHECK_INT(err_set(&err, ERR_NOTFOUND, "no file"), -ERR_NOTFOUND);
    CHECK_INT(err_ctx(&err, "push %s", "fraud"), -ERR_NOTFOUND);
    CHECK_STR(err.msg, "push fraud: no file");
}

TEST(test_err__long_message_is_cut_not_overrun)
{
    static char text[2 * ERR_MSG_BYTES];
    struct err err = ERR_INIT;

    memset(text, 'x', sizeof(text) - 1);
    CHECK_INT(err_set(&err, ERR_INVALID, "%s", text), -ERR_INVALID);
    CHECK_INT(strlen(err.msg), ERR_MSG_BYTES - 1);
    CHECK_INT(err_ctx(&err, "%s", "outer"), -ERR_INVALID);
    CHECK_INT(strlen(err.msg), ERR_MSG_BYTES - 1);
    CHECK(strncmp(err.msg, "outer: xxx", 10) == 0);
}

TEST(test_err__codes_have_names_and_exit_statuses)
{
    CHECK_STR(err_name(ERR_OK), "OK");
    CHECK_STR(err_name(ERR_BUSY), "BUSY");
    CHECK_INT(err_exit_status(ERR_OK), 0);
    CHECK_INT(err_exit_status(ERR_CONFLICT), 3);
    CHECK_INT(err_exit_status(ERR_CORRUPT), 4);
    CHECK_INT(err_exit_status(ERR_NOTFOUND), 7);
    CHECK_INT(err_exit_status(ERR_BUSY), 75);
}

/* The signal that ended a child which ran `fn`, with stderr thrown away. */
static int
signal_of(void (*fn)(void))
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        if (!freopen("/dev/null", "w", stderr))
            _exit(1);
        fn();
        _exit(0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return -1;
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void
set_twice(void)
{
    struct err err = ERR_INIT;

    (void)!err_set(&err, ERR_IO, "first");
    (void)!err_set(&err, ERR_IO, "second");
}

static void
ctx_without_error(void)
{
    struct err err = ERR_INIT;

    (void)!err_ctx(&err, "push");
}

TEST(test_err__misuse_aborts)
{
    CHECK_INT(signal_of(set_twice), SIGABRT);
    CHECK_INT(signal_of(ctx_without_error), SIGABRT);
}
