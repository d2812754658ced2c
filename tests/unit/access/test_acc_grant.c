/* SPDX-License-Identifier: Apache-2.0 */
#include "access/rule.h"
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

/* Gives, in a transaction of its own: what acc_grant says. */
static int
give(struct fixture *f, const char *subject, const char *what, const char *object)
{
    struct err err = ERR_INIT;
    struct acc_grant g = { .subject = subject,
                           .effect = what[0] == '!' ? "deny" : "allow",
                           .what = what + (what[0] == '!'),
                           .object = object,
                           .until_ns = ACC_FOREVER };

    CHECK_OK(db_begin(f->db, &err));
    int r = acc_grant(f->acc, &g, &err);
    if (r < 0) {
        db_rollback(f->db);
        return r;
    }
    CHECK_OK(db_commit(f->db, &err));
    return r;
}

static int
take(struct fixture *f, const char *subject, const char *what, const char *object)
{
    struct err err = ERR_INIT;
    const struct acc_grant g = { .subject = subject,
                                 .effect = what[0] == '!' ? "deny" : "allow",
                                 .what = what + (what[0] == '!'),
                                 .object = object };

    CHECK_OK(db_begin(f->db, &err));
    int r = acc_revoke(f->acc, &g, &err);
    CHECK_OK(db_commit(f->db, &err));
    return r;
}

TEST(test_acc_grant__owner_may_everything)
{
    struct fixture f;
    struct err err = ERR_INIT;

    fixture_new(&f);
    CHECK(acc_is_owner(f.acc));
    CHECK_OK(acc_check(f.acc, ACC_ADMIN, acc_store(), &err));
    CHECK_OK(acc_check(f.acc, ACC_PROMOTE, acc_model("digits"), &err));
    CHECK_INT(give(&f, acc_actor(f.acc), "!promote", "*"), 1);
    CHECK_OK(acc_check(f.acc, ACC_PROMOTE, acc_model("digits"), &err));
    CHECK_OK(acc_check_verb(f.acc, "promote", ACC_PROMOTE, acc_model("digits"), &err));
    CHECK_INT(acc_holds(f.acc, acc_actor(f.acc), ACC_PROMOTE, acc_store(), &err), 1);
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
        const char *what, *on;
        enum acc_right asked;
        struct acc_object about;
        bool allowed;
    } cases[] = {
        { "read", "digits", ACC_READ, { ACC_MODEL, "digits", NULL }, true },
        { "read", "digits", ACC_READ, { ACC_MODEL, "fraud", NULL }, false },
        { "read", "digits", ACC_PUSH, { ACC_MODEL, "digits", NULL }, false },
        { "read", "digits", ACC_READ, { ACC_STORE, NULL, NULL }, false },
        { "read", "*", ACC_READ, { ACC_MODEL, "fraud", NULL }, true },
        { "read", "*", ACC_READ, { ACC_STORE, NULL, NULL }, true },
        { "read", "*", ACC_PROMOTE, { ACC_MODEL, "fraud", NULL }, false },
        { "promote", "digits", ACC_READ, { ACC_MODEL, "digits", NULL }, true },
        { "promote", "digits", ACC_READ, { ACC_MODEL, "fraud", NULL }, false },
        { "promote", "digits", ACC_PROMOTE, { ACC_ALIAS, "digits", "live" }, true },
        { "promote",
          "digits@live",
          ACC_PROMOTE,
          { ACC_ALIAS, "digits", "live" },
          true },
        { "promote", "digits@live", ACC_READ, { ACC_ALIAS, "digits", "live" }, true },
        { "promote", "digits@live", ACC_READ, { ACC_MODEL, "digits", NULL }, false },
        { "promote", "digits@live", ACC_PROMOTE, { ACC_ALIAS, "digits", "x" }, false },
        { "promote", "*@live", ACC_PROMOTE, { ACC_ALIAS, "fraud", "live" }, true },
        { "promote", "*@live", ACC_PROMOTE, { ACC_ALIAS, "*", "live" }, true },
        { "promote", "dig*@live", ACC_PROMOTE, { ACC_ALIAS, "*", "live" }, false },
        { "push", "digits", ACC_READ, { ACC_MODEL, "digits", NULL }, true },
        { "push", "dig*", ACC_PUSH, { ACC_MODEL, "digits", NULL }, true },
        { "push", "d*g*s", ACC_PUSH, { ACC_MODEL, "digits", NULL }, true },
        { "push", "dig*x", ACC_PUSH, { ACC_MODEL, "digits", NULL }, false },
        { "push", "dig\\*", ACC_PUSH, { ACC_MODEL, "digits", NULL }, false },
        { "push", "dig\\*", ACC_PUSH, { ACC_MODEL, "dig*", NULL }, true },
        { "push", "digits", ACC_PROMOTE, { ACC_MODEL, "digits", NULL }, false },
        { "judge", "*", ACC_READ, { ACC_MODEL, "digits", NULL }, true },
        { "judge", "*", ACC_JUDGE, { ACC_MODEL, "digits", NULL }, true },
        { "judge", "digits", ACC_JUDGE, { ACC_GOLDEN, "digits", "exam" }, true },
        { "judge",
          "golden:digits/ex*",
          ACC_JUDGE,
          { ACC_GOLDEN, "digits", "exam" },
          true },
        { "judge", "golden:*/exam", ACC_JUDGE, { ACC_GOLDEN, "digits", "exam" }, true },
        { "judge", "golden:*/exam", ACC_JUDGE, { ACC_GOLDEN, "digits", "xx" }, false },
        { "judge", "policy:live", ACC_JUDGE, { ACC_POLICY, NULL, "live" }, true },
        { "judge", "policy:live", ACC_JUDGE, { ACC_POLICY, "digits", "live" }, true },
        { "judge", "digits", ACC_JUDGE, { ACC_POLICY, "digits", "live" }, true },
        { "judge", "digits", ACC_JUDGE, { ACC_POLICY, NULL, "live" }, false },
        { "judge", "policy:*", ACC_JUDGE, { ACC_POLICY, NULL, "target:web" }, true },
        { "admin", "target:w*", ACC_ADMIN, { ACC_TARGET, NULL, "web" }, true },
        { "admin", "target:w*", ACC_ADMIN, { ACC_HOOK, NULL, "web" }, false },
        { "admin", "hook:web", ACC_ADMIN, { ACC_HOOK, NULL, "web" }, true },
        { "admin", "key:store", ACC_ADMIN, { ACC_KEY, NULL, "store" }, true },
        { "promote", "*", ACC_ADMIN, { ACC_STORE, NULL, NULL }, false },
        { "admin", "*", ACC_ADMIN, { ACC_STORE, NULL, NULL }, true },
        { "admin", "store", ACC_ADMIN, { ACC_STORE, NULL, NULL }, true },
        { "admin", "store", ACC_ADMIN, { ACC_MODEL, "store", NULL }, false },
        { "admin", "model:store", ACC_ADMIN, { ACC_MODEL, "store", NULL }, true },
        { "admin", "model:store", ACC_ADMIN, { ACC_STORE, NULL, NULL }, false },
        { "admin", "store", ACC_ADMIN, { ACC_TARGET, NULL, "web" }, false },
        { "admin", "*", ACC_PROMOTE, { ACC_MODEL, "digits", NULL }, false },
        { "read", "digits", ACC_NONE, { ACC_STORE, NULL, NULL }, true },
    };
    struct fixture f;
    struct err err = ERR_INIT;

    fixture_new(&f);
    become_guest(&f);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *me = acc_actor(f.acc);

        CHECK_INT(give(&f, me, cases[i].what, cases[i].on), 1);
        CHECK_INT(give(&f, me, cases[i].what, cases[i].on), 0);
        if (cases[i].allowed) {
            CHECK_OK(acc_check(f.acc, cases[i].asked, cases[i].about, &err));
        } else {
            struct buf object = BUF_INIT;

            CHECK_INT(acc_check(f.acc, cases[i].asked, cases[i].about, &err),
                      -ERR_DENIED);
            acc_object_text(&cases[i].about, &object);
            CHECK(strstr(err.msg, "boss") && strstr(err.msg, "sluice grant"));
            CHECK(strstr(err.msg, acc_right_text(cases[i].asked)));
            CHECK(strstr(err.msg, buf_str(&object)));
            buf_release(&object);
            err_clear(&err);
        }
        CHECK_INT(take(&f, me, cases[i].what, cases[i].on), 1);
        CHECK_INT(take(&f, me, cases[i].what, cases[i].on), 0);
        if (cases[i].asked != ACC_NONE)
            CHECK_ERR(acc_check(f.acc, cases[i].asked, cases[i].about, &err),
                      ERR_DENIED);
    }
    fixture_close(&f);
}

TEST(test_acc_grant__subject_has_to_be_somebody)
{
    struct fixture f;

    fixture_new(&f);
    CHECK_INT(give(&f, "no-such-user-here", "read", "*"), -ERR_NOTFOUND);
    CHECK_INT(give(&f, "", "read", "*"), -ERR_NOTFOUND);
    CHECK_INT(give(&f, "uid:", "read", "*"), -ERR_NOTFOUND);
    CHECK_INT(give(&f, "uid:12x", "read", "*"), -ERR_NOTFOUND);
    CHECK_INT(give(&f, "role:", "read", "*"), -ERR_INVALID);
    CHECK_INT(give(&f, "role:a b", "read", "*"), -ERR_INVALID);
    CHECK_INT(give(&f, "uid:1234", "read", "*"), 1);
    CHECK_INT(give(&f, "root", "read", "*"), 1);
    CHECK_INT(give(&f, "role:oncall", "rollback", "*@production"), 1);
    fixture_close(&f);
}

static int
join(void *arg, const struct acc_grant *row, struct err *err)
{
    (void)err;
    buf_addf(arg, "%s %s %s by %s;", row->subject, row->what, row->object,
             row->given_by);
    return row->given_ns > 0 ? 0 : -1;
}

TEST(test_acc_grant__list)
{
    struct fixture f;
    struct err err = ERR_INIT;
    struct buf all = BUF_INIT;
    struct acc_grant_query q = { .subject = NULL };
    char want[256];

    fixture_new(&f);
    CHECK_INT(give(&f, "uid:2", "read", "b"), 1);
    CHECK_INT(give(&f, "uid:2", "push", "a"), 1);
    CHECK_INT(give(&f, "uid:1", "promote", "*"), 1);
    CHECK_OK(acc_grants(f.acc, &q, join, &all, &err));
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
                    acc_check(a, ACC_READ, acc_model("digits"), &err) == -ERR_DENIED;
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
    CHECK_INT(give(&f, "uid:5001", "read", "digits"), 1);
    CHECK_INT(give(&f, "uid:5001", "push", "digits"), 1);
    CHECK_INT(give(&f, "uid:5002", "promote", "*"), 1);
    CHECK_INT(give(&f, "uid:5003", "read", "fraud"), 1);
    CHECK_INT(give(&f, "root", "judge", "digits"), 1);
    CHECK_INT(give(&f, "uid:5004", "read", "digits"), 1);
    CHECK_INT(give(&f, "uid:5004", "!read", "dig*"), 1);
    CHECK_INT(give(&f, "uid:5005", "rollback", "digits"), 1); /* which reads nothing */
    /* not of this machine (any more), or of no machine at all */
    CHECK_OK(db_run(f.db, &err,
                    "INSERT INTO rule(subject, effect, what, object, from_ns, "
                    "until_ns, given_by, given_ns, reason, ended_ns, change) "
                    "VALUES('gone-since', 'allow', 'read', 'digits', 0, "
                    "9223372036854775807, 'x', 0, '', 9223372036854775807, 1000), "
                    "('uid:99999999999', 'allow', 'read', 'digits', 0, "
                    "9223372036854775807, 'x', 0, '', 9223372036854775807, 1001)",
                    ""));
    fixture_reopen(&f); /* as another process would have written it */
    CHECK_OK(acc_readers(f.acc, acc_alias("digits", "production"), see, &s, &err));
    CHECK_INT(s.n, 3); /* each user once, by name */
    CHECK_INT(s.uid[0], 0);
    CHECK_INT(s.uid[1], 5001);
    CHECK_INT(s.uid[2], 5002);
    fixture_close(&f);
}

static int
join_text(void *arg, const struct acc_grant *row, struct err *err)
{
    (void)err;
    buf_addf(arg, "%s %s %s %d %s;", row->subject, row->what, row->object,
             (int)row->given_ns, row->given_by);
    return 0;
}

/* Grants that an older program gave are rules now, and mean what they meant. */
TEST(test_acc_grant__an_older_catalogue_migrates)
{
    struct db_schema older = acc_schema;
    static const char *const facts[] = { "subject", "grant_", "key", NULL };
    struct fixture f;
    struct err err = ERR_INIT;
    struct buf all = BUF_INIT;
    struct acc_grant_query q = { .subject = "uid:2" };
    int64_t left = 1;

    memset(&f, 0, sizeof(f));
    snprintf(f.path, sizeof(f.path), "%s", unit_dir());
    snprintf(f.db_path, sizeof(f.db_path), "%s/catalogue.db", f.path);
    CHECK_OK(fs_open_dir(&f.dirfd, AT_FDCWD, f.path, &err));
    CHECK_OK(db_open(&f.db, f.db_path, DB_CREATE, &err));
    older.n_migrations = 2;
    older.facts = facts;
    CHECK_OK(db_migrate(f.db, &older, 1, &err));
    CHECK_OK(db_begin(f.db, &err));
    CHECK_OK(acc_init(f.dirfd, f.db, &err));
    CHECK_OK(db_run(f.db, &err,
                    "INSERT INTO grant_(subject, right_, model, granted_by, time_ns) "
                    "VALUES('uid:2', 'push', 'fraud', 'x', 5), "
                    "('uid:2', 'read', '*', 'y', 4), "
                    "('uid:2', 'judge', 'store', 'x', 6), "
                    "('uid:2', 'hold', 'a*b\\c', 'x', 7)",
                    ""));
    CHECK_OK(db_commit(f.db, &err));
    fixture_reopen(&f);
    CHECK_OK(acc_grants(f.acc, &q, join_text, &all, &err));
    CHECK_STR(buf_str(&all), "uid:2 read * 4 y;uid:2 hold a\\*b\\\\c 7 x;"
                             "uid:2 push fraud 5 x;uid:2 judge model:store 6 x;");
    CHECK_INT(acc_holds(f.acc, "uid:2", ACC_HOLD, acc_model("a*b\\c"), &err), 1);
    CHECK_INT(acc_holds(f.acc, "uid:2", ACC_HOLD, acc_model("axb\\c"), &err), 0);
    CHECK_INT(acc_holds(f.acc, "uid:2", ACC_JUDGE, acc_model("store"), &err), 1);
    CHECK_INT(acc_holds(f.acc, "uid:2", ACC_JUDGE, acc_store(), &err), 0);
    CHECK_INT(acc_holds(f.acc, "uid:2", ACC_READ, acc_store(), &err), 1);
    CHECK_INT(db_get_int(f.db, &left, &err, "SELECT count(*) FROM grant_", ""), 1);
    CHECK_INT(left, 0);
    buf_release(&all);
    fixture_close(&f);
}

/* What is kept in memory follows what is committed, by whomever, and what is not. */
TEST(test_acc_grant__memory_follows_the_catalogue)
{
    struct fixture f;
    struct db *other_db;
    struct acc *other;
    struct err err = ERR_INIT;
    struct acc_grant g = { .subject = "uid:9",
                           .effect = "allow",
                           .what = "push",
                           .object = "digits",
                           .until_ns = ACC_FOREVER };
    const struct acc_object digits = acc_model("digits");

    fixture_new(&f);
    CHECK_OK(db_open(&other_db, f.db_path, 0, &err));
    CHECK_OK(db_migrate(other_db, &acc_schema, 1, &err));
    CHECK_OK(acc_open(&other, f.dirfd, other_db, &err));
    CHECK_INT(acc_holds(f.acc, "uid:9", ACC_PUSH, digits, &err), 0);
    CHECK_INT(acc_holds(other, "uid:9", ACC_PUSH, digits, &err), 0);
    CHECK_INT(give(&f, "uid:9", "push", "digits"), 1);
    CHECK_INT(acc_holds(f.acc, "uid:9", ACC_PUSH, digits, &err), 1);
    CHECK_INT(acc_holds(other, "uid:9", ACC_PUSH, digits, &err), 1);
    CHECK_INT(take(&f, "uid:9", "push", "digits"), 1);
    CHECK_INT(acc_holds(f.acc, "uid:9", ACC_PUSH, digits, &err), 0);
    CHECK_INT(acc_holds(other, "uid:9", ACC_PUSH, digits, &err), 0);
    /* seen in its transaction, and gone with it */
    CHECK_OK(db_begin(f.db, &err));
    CHECK_INT(acc_grant(f.acc, &g, &err), 1);
    CHECK_INT(acc_holds(f.acc, "uid:9", ACC_PUSH, digits, &err), 1);
    CHECK_INT(acc_holds(other, "uid:9", ACC_PUSH, digits, &err), 0);
    db_rollback(f.db);
    CHECK_INT(acc_holds(f.acc, "uid:9", ACC_PUSH, digits, &err), 0);
    CHECK_INT(give(&f, "uid:9", "!push", "digits"), 1);
    CHECK_INT(give(&f, "uid:9", "push", "*"), 1);
    CHECK_INT(acc_holds(other, "uid:9", ACC_PUSH, digits, &err), 0);
    CHECK_INT(acc_holds(other, "uid:9", ACC_PUSH, acc_model("x"), &err), 1);
    acc_close(other);
    db_close(other_db);
    fixture_close(&f);
}
