/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/access/acc_fixture.h"

#include <stdlib.h>
#include <sys/wait.h>

static int
count_lines(const struct buf *b)
{
    int n = 0;

    for (size_t i = 0; i < b->len; i++)
        n += b->data[i] == '\n';
    return n;
}

TEST(test_acc_publish__completes_what_was_missed)
{
    struct fixture f;
    struct err err = ERR_INIT;
    struct buf log = BUF_INIT;
    struct acc_verify v;

    fixture_new(&f);
    for (int i = 0; i < 40; i++)
        record(&f, "push", "digits@1");
    publish(&f);
    publish(&f); /* nothing to do */
    read_file(&f, "audit/log.jsonl", &log);
    CHECK_INT(count_lines(&log), 40);
    /* half a line, as a crash leaves it; and some whole ones lost with the page cache
     */
    for (size_t cut = 1; cut < log.len; cut += log.len / 13) {
        write_file(&f, "audit/log.jsonl", log.data, cut);
        CHECK_OK(acc_verify(f.acc, &v, &err));
        publish(&f);
        CHECK_OK(acc_verify(f.acc, &v, &err));
        CHECK_INT(v.log_seq, 40);
    }
    /* a tail of zeros: blocks that were given out and never written */
    struct buf zeros = BUF_INIT;
    buf_add(&zeros, log.data, log.len / 2);
    for (int i = 0; i < 5000; i++)
        buf_addc(&zeros, '\0');
    write_file(&f, "audit/log.jsonl", zeros.data, zeros.len);
    publish(&f);
    CHECK_OK(acc_verify(f.acc, &v, &err));
    CHECK_INT(v.log_seq, 40);
    buf_release(&zeros);
    buf_release(&log);
    fixture_close(&f);
}

TEST(test_acc_publish__long_lines)
{
    struct fixture f;
    struct err err = ERR_INIT;
    struct acc_verify v;
    struct buf body = BUF_INIT;

    fixture_new(&f);
    buf_adds(&body, "{\"x\":\"");
    for (int i = 0; i < 300000; i++)
        buf_addc(&body, 'y');
    buf_adds(&body, "\"}");
    for (int i = 0; i < 3; i++) {
        struct acc_event e = { .verb = "push",
                               .object = "a",
                               .digest = "",
                               .outcome = "ok",
                               .body = body.data };
        CHECK_OK(db_begin(f.db, &err));
        CHECK_OK(acc_record(f.acc, &e, &err));
        CHECK_OK(db_commit(f.db, &err));
        publish(&f);
    }
    CHECK_OK(acc_verify(f.acc, &v, &err));
    CHECK_INT(v.log_seq, 3);
    buf_release(&body);
    fixture_close(&f);
}

TEST(test_acc_publish__garbage_in_the_log_is_not_built_on)
{
    struct fixture f;
    struct err err = ERR_INIT;

    fixture_new(&f);
    record_many(&f, 2);
    write_file(&f, "audit/log.jsonl", "hello\n", 6);
    record(&f, "push", "a@1");
    CHECK_ERR(acc_publish(f.acc, &err), ERR_CORRUPT);
    fixture_close(&f);
}

TEST(test_acc_publish__many_at_once)
{
    struct fixture f;
    struct err err = ERR_INIT;
    struct acc_verify v;
    pid_t pids[6];

    fixture_new(&f);
    fixture_close(&f); /* SQLite handles do not cross a fork */
    for (int i = 0; i < 6; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            fixture_open(&f);
            if (acc_open(&f.acc, f.dirfd, f.db, &err) < 0)
                _exit(1);
            record_many(&f, 15);
            fixture_close(&f);
            _exit(0);
        }
    }
    for (int i = 0; i < 6; i++) {
        int status;

        CHECK(waitpid(pids[i], &status, 0) == pids[i]);
        CHECK_INT(status, 0);
    }
    fixture_open(&f);
    CHECK_OK(acc_open(&f.acc, f.dirfd, f.db, &err));
    CHECK_OK(acc_verify(f.acc, &v, &err));
    CHECK_INT(v.n_events, 90);
    CHECK_INT(v.head_seq, 90);
    CHECK_INT(v.log_seq, 90);
    fixture_close(&f);
}

/* What a power cut may leave of lines that were not synced. */
TEST(test_acc_publish__writes_lines_again_that_became_zeros)
{
    for (int at = 0; at < 10; at += 3) {
        struct fixture f;
        struct err err = ERR_INIT;
        struct buf log = BUF_INIT, again = BUF_INIT;
        struct acc_verify v;
        const char *line;

        fixture_new(&f);
        for (int i = 0; i < 10; i++)
            record(&f, "push", "digits@1");
        publish(&f);
        read_file(&f, "audit/log.jsonl", &log);
        line = log.data;
        for (int i = 0; i < at; i++)
            line = strchr(line, '\n') + 1;
        buf_add(&again, log.data, log.len);
        memset(again.data + (line - log.data), 0, 100);
        CHECK_OK(
            fs_replace(f.dirfd, "audit/log.jsonl", again.data, again.len, 0600, &err));
        CHECK_OK(acc_verify(f.acc, &v, &err)); /* a crash, and nobody's doing */
        CHECK_INT(v.log_seq, at);
        publish(&f);
        buf_clear(&again);
        read_file(&f, "audit/log.jsonl", &again);
        CHECK_STR(buf_str(&again), buf_str(&log));
        buf_release(&log);
        buf_release(&again);
        fixture_close(&f);
        CHECK_OK(fs_remove_tree(AT_FDCWD, f.path, &err));
        CHECK_OK(fs_mkdirs(AT_FDCWD, f.path, 0700, &err));
    }
}

#ifdef TEST_FAULT
/* Killed, or failed, at its n-th call of any kind; then everything must fit again. */
static void
fault_loop(const char *what)
{
    for (int n = 1;; n++) {
        struct fixture f;
        struct err err = ERR_INIT;
        struct acc_verify v;
        char fault[64];
        int status;
        pid_t pid;

        CHECK(n < 100);
        fixture_new(&f);
        record_many(&f, 3);
        fixture_close(&f);
        snprintf(fault, sizeof(fault), "any:%d:%s", n, what);
        pid = fork();
        if (pid == 0) {
            struct acc_event e = { .verb = "push",
                                   .object = "a",
                                   .digest = "",
                                   .outcome = "ok",
                                   .body = "{}" };
            fixture_open(&f);
            if (acc_open(&f.acc, f.dirfd, f.db, &err) < 0)
                _exit(3);
            setenv("TEST_FAULT", fault, 1);
            if (db_begin(f.db, &err) < 0 || acc_record(f.acc, &e, &err) < 0 ||
                db_commit(f.db, &err) < 0)
                _exit(1);
            _exit(acc_publish(f.acc, &err) < 0 ? 2 : 0);
        }
        CHECK(waitpid(pid, &status, 0) == pid);
        CHECK(WIFSIGNALED(status) || WEXITSTATUS(status) < 3);
        fixture_open(&f);
        CHECK_OK(acc_open(&f.acc, f.dirfd, f.db, &err));
        CHECK_OK(acc_verify(f.acc, &v, &err));
        CHECK(v.n_events == 3 || v.n_events == 4);
        if (WIFEXITED(status) && WEXITSTATUS(status) != 1)
            CHECK_INT(v.n_events, 4); /* the act stands */
        record_many(&f, 1);
        CHECK_OK(acc_verify(f.acc, &v, &err));
        CHECK_INT(v.head_seq, v.n_events);
        CHECK_INT(v.log_seq, v.n_events);
        fixture_close(&f);
        CHECK_OK(fs_remove_tree(AT_FDCWD, f.path, &err));
        CHECK_OK(fs_mkdirs(AT_FDCWD, f.path, 0700, &err));
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            return;
    }
}

TEST(test_acc_publish__killed_at_every_call) { fault_loop("kill"); }

TEST(test_acc_publish__every_call_fails)
{
    fault_loop("EIO");
    fault_loop("ENOSPC");
}
#endif
