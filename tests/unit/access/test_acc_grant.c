/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/access/acc_fixture.h"

#include <sys/wait.h>

TEST(test_acc_grant__rights_parse)
{
    enum acc_right right;
    struct err err = ERR_INIT;

    CHECK_OK(acc_right_parse("promote", &right, &err));
    CHECK_INT(right, ACC_PROMOTE);
    CHECK_STR(acc_right_text(ACC_READ), "read");
    CHECK_INT(acc_right_parse("fly", &right, &err), -ERR_INVALID);
    CHECK(strstr(err.msg, "read, push, promote, judge, delete, hold, approve, "
                          "break-glass, admin") != NULL);
}

TEST(test_acc_grant__owner_may_everything)
{
    struct fixture f;
    struct err err = ERR_INIT;

    fixture_new(&f);
    CHECK(acc_is_owner(f.acc));
    CHECK_OK(acc_check(f.acc, ACC_ADMIN, NULL, &err));
    CHECK_OK(acc_check(f.acc, ACC_PROMOTE, "digits", &err));
    fixture_close(&f);
}

/* One who is not the owner: the owner's uid is changed instead of ours. */
static void
become_guest(struct fixture *f)
{
    struct err err = ERR_INIT;

    CHECK_OK(
        db_run(f->db, &err, "UPDATE subject SET uid = 4000000000, name = 'boss'", ""));
    fixture_reopen(f);
    CHECK(!acc_is_owner(f->acc));
}

TEST(test_acc_grant__table)
{
    static const struct {
        enum acc_right granted;
        const char *on;
        enum acc_right asked;
        const char *model;
        bool allowed;
    } cases[] = {
        { ACC_READ, "digits", ACC_READ, "digits", true },
        { ACC_READ, "digits", ACC_READ, "fraud", false },
        { ACC_READ, "digits", ACC_PUSH, "digits", false },
        { ACC_READ, "digits", ACC_READ, NULL, false },
        { ACC_READ, "*", ACC_READ, "fraud", true },
        { ACC_READ, "*", ACC_READ, NULL, true },
        { ACC_READ, "*", ACC_PROMOTE, "fraud", false },
        { ACC_PROMOTE, "digits", ACC_READ, "digits", true },
        { ACC_PROMOTE, "digits", ACC_READ, "fraud", false },
        { ACC_PUSH, "digits", ACC_READ, "digits", true },
        { ACC_PUSH, "digits", ACC_PROMOTE, "digits", false },
        { ACC_JUDGE, "*", ACC_READ, "digits", true },
        { ACC_JUDGE, "*", ACC_JUDGE, "digits", true },
        { ACC_PROMOTE, "*", ACC_ADMIN, NULL, false },
        { ACC_ADMIN, "*", ACC_ADMIN, NULL, true },
        { ACC_ADMIN, "*", ACC_PROMOTE, "digits", false },
        { ACC_READ, "digits", ACC_NONE, NULL, true },
    };
    struct fixture f;
    struct err err = ERR_INIT;

    fixture_new(&f);
    become_guest(&f);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *me = acc_actor(f.acc);

        CHECK_INT(acc_grant(f.acc, me, cases[i].granted, cases[i].on, &err), 1);
        CHECK_INT(acc_grant(f.acc, me, cases[i].granted, cases[i].on, &err), 0);
        if (cases[i].allowed) {
            CHECK_OK(acc_check(f.acc, cases[i].asked, cases[i].model, &err));
        } else {
            CHECK_INT(acc_check(f.acc, cases[i].asked, cases[i].model, &err),
                      -ERR_DENIED);
            CHECK(strstr(err.msg, "boss") && strstr(err.msg, "sluice grant"));
            CHECK(strstr(err.msg, acc_right_text(cases[i].asked)));
            err_clear(&err);
        }
        CHECK_INT(acc_revoke(f.acc, me, cases[i].granted, cases[i].on, &err), 1);
        CHECK_INT(acc_revoke(f.acc, me, cases[i].granted, cases[i].on, &err), 0);
        if (cases[i].asked != ACC_NONE)
            CHECK_ERR(acc_check(f.acc, cases[i].asked, cases[i].model, &err),
                      ERR_DENIED);
    }
    fixture_close(&f);
}

TEST(test_acc_grant__subject_has_to_be_a_user)
{
    struct fixture f;
    struct err err = ERR_INIT;

    fixture_new(&f);
    CHECK_ERR(acc_grant(f.acc, "no-such-user-here", ACC_READ, "*", &err), ERR_NOTFOUND);
    CHECK_ERR(acc_grant(f.acc, "", ACC_READ, "*", &err), ERR_NOTFOUND);
    CHECK_ERR(acc_grant(f.acc, "uid:", ACC_READ, "*", &err), ERR_NOTFOUND);
    CHECK_ERR(acc_grant(f.acc, "uid:12x", ACC_READ, "*", &err), ERR_NOTFOUND);
    CHECK_INT(acc_grant(f.acc, "uid:1234", ACC_READ, "*", &err), 1);
    CHECK_INT(acc_grant(f.acc, "root", ACC_READ, "*", &err), 1);
    fixture_close(&f);
}

static int
join(void *arg, const struct acc_grant_row *row, struct err *err)
{
    (void)err;
    buf_addf(arg, "%s %s %s by %s;", row->subject, row->right, row->model,
             row->granted_by);
    return row->time_ns > 0 ? 0 : -1;
}

TEST(test_acc_grant__list)
{
    struct fixture f;
    struct err err = ERR_INIT;
    struct buf all = BUF_INIT;
    char want[256];

    fixture_new(&f);
    CHECK_INT(acc_grant(f.acc, "uid:2", ACC_READ, "b", &err), 1);
    CHECK_INT(acc_grant(f.acc, "uid:2", ACC_PUSH, "a", &err), 1);
    CHECK_INT(acc_grant(f.acc, "uid:1", ACC_PROMOTE, "*", &err), 1);
    CHECK_OK(acc_grants(f.acc, join, &all, &err));
    snprintf(want, sizeof(want),
             "uid:1 promote * by %s;uid:2 push a by %s;uid:2 read b by %s;",
             acc_actor(f.acc), acc_actor(f.acc), acc_actor(f.acc));
    CHECK_STR(buf_str(&all), want);
    buf_release(&all);
    fixture_close(&f);
}

/* The kernel says who it is; a user without a name is its number. */
TEST(test_acc_grant__actor_is_the_kernels)
{
    struct fixture f;
    struct err err = ERR_INIT;
    int status;
    pid_t pid;

    if (getuid() != 0)
        unit_skip("only root can become somebody else");
    fixture_new(&f);
    pid = fork();
    if (pid == 0) {
        struct acc *a;
        bool good = setresuid(64321, 64321, 0) == 0 &&
                    acc_open(&a, f.dirfd, f.db, &err) == 0 &&
                    strcmp(acc_actor(a), "uid:64321") == 0 && !acc_is_owner(a) &&
                    acc_check(a, ACC_READ, "digits", &err) == -ERR_DENIED;
        _exit(good ? 0 : 1);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK_INT(status, 0);
    fixture_close(&f);
}

struct seen {
    uid_t uid[8];
    int n;
};

static int
see(void *arg, uid_t uid, struct err *err)
{
    struct seen *s = arg;

    (void)err;
    CHECK(s->n < 8);
    s->uid[s->n++] = uid;
    return 0;
}

TEST(test_acc_grant__readers)
{
    struct fixture f;
    struct err err = ERR_INIT;
    struct seen s = { .n = 0 };

    fixture_new(&f);
    CHECK_INT(acc_grant(f.acc, "uid:5001", ACC_READ, "digits", &err), 1);
    CHECK_INT(acc_grant(f.acc, "uid:5001", ACC_PUSH, "digits", &err), 1);
    CHECK_INT(acc_grant(f.acc, "uid:5002", ACC_PROMOTE, "*", &err), 1);
    CHECK_INT(acc_grant(f.acc, "uid:5003", ACC_READ, "fraud", &err), 1);
    CHECK_INT(acc_grant(f.acc, "root", ACC_JUDGE, "digits", &err), 1);
    /* not of this machine (any more), or of no machine at all */
    CHECK_OK(db_run(f.db, &err,
                    "INSERT INTO grant_(subject, right_, model, granted_by, time_ns) "
                    "VALUES('gone-since', 'read', 'digits', 'x', 0), "
                    "('uid:99999999999', 'read', 'digits', 'x', 0)",
                    ""));
    CHECK_OK(acc_readers(f.acc, "digits", see, &s, &err));
    CHECK_INT(s.n, 3); /* each user once, by name */
    CHECK_INT(s.uid[0], 0);
    CHECK_INT(s.uid[1], 5001);
    CHECK_INT(s.uid[2], 5002);
    fixture_close(&f);
}
