/* SPDX-License-Identifier: Apache-2.0 */
#include "access/identity.h"
#include "base/clock.h"
#include "tests/unit/access/acc_fixture.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#define HOUR_NS (INT64_C(3600) * 1000000000)

static void
make(struct fixture *f, const char *subject, struct acc_token_new *out)
{
    const struct acc_token_wish w = { .subject = subject, .life_ns = HOUR_NS };
    struct err err = ERR_INIT;

    CHECK_OK(acc_user_add(f->acc, subject, true, NULL, &err));
    CHECK_OK(acc_token_make(f->acc, &w, out, &err));
}

/* Why a token is not accepted; 0: it is. */
static unsigned
judged(struct fixture *f, const char *text)
{
    struct acc_token_text t;
    struct acc_token_found found;
    struct err err = ERR_INIT;
    int r;

    CHECK_OK(acc_token_parse(str_of(text), &t, &err));
    r = acc_token_find(f->acc, &t, &found, &err);
    CHECK_OK(r);
    CHECK_INT(r, found.why == 0);
    free(found.scope);
    return found.why;
}

TEST(test_acc_token__every_typing_error_is_told)
{
    struct fixture f;
    struct acc_token_new t;
    struct acc_token_text parsed;
    struct err err = ERR_INIT;
    char text[ACC_TOKEN_CHARS + 2];

    fixture_new(&f);
    make(&f, "ci", &t);
    CHECK_INT(strlen(t.text), ACC_TOKEN_CHARS);
    CHECK_OK(acc_token_parse(str_of(t.text), &parsed, &err));
    CHECK_STR(parsed.id, t.id);
    for (size_t i = 0; i < ACC_TOKEN_CHARS; i++) {
        snprintf(text, sizeof(text), "%s", t.text);
        text[i] = text[i] == 'x' ? 'y' : 'x';
        CHECK_INT(acc_token_parse(str_of(text), &parsed, &err), -ERR_INVALID);
        CHECK(!strstr(err.msg, t.id));
        err_clear(&err);
        snprintf(text, sizeof(text), "%s", t.text);
        text[i] = '\0';
        CHECK_ERR(acc_token_parse(str_of(text), &parsed, &err), ERR_INVALID);
        CHECK_ERR(acc_token_parse((struct str){ text, ACC_TOKEN_CHARS }, &parsed, &err),
                  ERR_INVALID);
    }
    snprintf(text, sizeof(text), "%sx", t.text);
    CHECK_ERR(acc_token_parse(str_of(text), &parsed, &err), ERR_INVALID);
    CHECK_ERR(acc_token_parse((struct str){ NULL, 0 }, &parsed, &err), ERR_INVALID);
    fixture_close(&f);
}

TEST(test_acc_token__only_the_whole_and_living_one_is_accepted)
{
    struct fixture f;
    struct acc_token_new t, other, next, newest;
    struct acc_token_text a, b;
    struct acc_token_found found;
    struct err err = ERR_INIT;

    fixture_new(&f);
    CHECK_OK(db_begin(f.db, &err));
    make(&f, "ci", &t);
    make(&f, "ci", &other);
    CHECK_INT(judged(&f, t.text), 0);
    /* the id of one with the secret of another */
    CHECK_OK(acc_token_parse(str_of(t.text), &a, &err));
    CHECK_OK(acc_token_parse(str_of(other.text), &b, &err));
    memcpy(a.secret, b.secret, sizeof(a.secret));
    CHECK_INT(acc_token_find(f.acc, &a, &found, &err), 0);
    CHECK_INT(found.why, ACC_TOKEN_WRONG);
    snprintf(b.id, sizeof(b.id), "00000000");
    CHECK_INT(acc_token_find(f.acc, &b, &found, &err), 0);
    CHECK(found.why & ACC_TOKEN_UNKNOWN);
    CHECK_STR(acc_token_why(found.why), "unknown");
    /* rotation: both for a while, or only the new one */
    CHECK_OK(acc_token_rotate(f.acc, t.id, HOUR_NS / 2, &next, &err));
    CHECK_INT(judged(&f, t.text), 0);
    CHECK_INT(judged(&f, next.text), 0);
    CHECK_OK(acc_token_rotate(f.acc, next.id, 0, &newest, &err));
    CHECK_INT(judged(&f, next.text), ACC_TOKEN_EXPIRED);
    next = newest;
    CHECK_ERR(acc_token_rotate(f.acc, "nothere0", 0, &newest, &err), ERR_NOTFOUND);
    CHECK_INT(acc_token_revoke(f.acc, t.id, &err), 1);
    CHECK_INT(acc_token_revoke(f.acc, t.id, &err), 0);
    CHECK_INT(judged(&f, t.text), ACC_TOKEN_REVOKED);
    CHECK_ERR(acc_token_rotate(f.acc, t.id, 0, &newest, &err), ERR_INVALID);
    CHECK_OK(db_run(f.db, &err, "UPDATE token SET expires_ns = ? WHERE id = ?", "it",
                    clock_now_ns(), other.id));
    CHECK_INT(judged(&f, other.text), ACC_TOKEN_EXPIRED);
    CHECK_INT(judged(&f, next.text), 0);
    CHECK_INT(acc_user_enable(f.acc, "ci", false, &err), 1);
    CHECK_INT(judged(&f, next.text), ACC_TOKEN_DISABLED);
    CHECK_INT(acc_user_enable(f.acc, "ci", true, &err), 1);
    CHECK_INT(judged(&f, next.text), 0);
    CHECK_OK(db_commit(f.db, &err));
    fixture_close(&f);
}

TEST(test_acc_token__no_secret_is_kept)
{
    struct fixture f;
    struct acc_token_new t;
    struct acc_token_text parsed;
    struct buf rows AUTO(buf_release) = BUF_INIT, secret AUTO(buf_release) = BUF_INIT;
    struct err err = ERR_INIT;

    fixture_new(&f);
    CHECK_OK(db_begin(f.db, &err));
    make(&f, "ci", &t);
    CHECK_OK(acc_token_parse(str_of(t.text), &parsed, &err));
    buf_add(&secret, parsed.secret, sizeof(parsed.secret));
    CHECK_INT(db_facts_take(f.db, &rows, &err), 1);
    CHECK(strstr(buf_str(&rows), t.id) != NULL);
    CHECK(strstr(buf_str(&rows), buf_str(&secret)) == NULL);
    CHECK_OK(db_commit(f.db, &err));
    buf_clear(&rows);
    read_file(&f, "catalogue.db-wal", &rows);
    CHECK(memmem(rows.data, rows.len, t.id, strlen(t.id)) != NULL);
    CHECK(memmem(rows.data, rows.len, secret.data, secret.len) == NULL);
    fixture_close(&f);
}

/* ---- who may ---- */

static int
make_as(struct fixture *f, const char *who, const char *via, const char *scope,
        const char *subject, const char *wanted_scope, struct acc_token_new *out,
        struct err *out_err)
{
    const struct acc_who w = { .subject = who, .via = via, .scope = scope };
    const struct acc_token_wish wish = { .subject = subject,
                                         .scope = wanted_scope,
                                         .life_ns = 24 * HOUR_NS };
    struct acc_token_new unused;
    struct err err = ERR_INIT;
    int r;

    CHECK_OK(acc_act_as(f->acc, &w, &err));
    r = acc_token_make(f->acc, &wish, out ? out : &unused, out_err);
    CHECK_OK(acc_act_as(f->acc, NULL, &err));
    return r;
}

TEST(test_acc_token__who_may_make_which)
{
    static const char push[] = "[\"push:fraud\"]",
                      both[] = "[\"push:fraud\",\"read:fraud\"]";
    struct fixture f;
    struct acc_token_new t, child;
    struct err err = ERR_INIT;
    char via[40], owner[ACC_SUBJECT_BYTES];

    fixture_new(&f);
    CHECK_OK(db_begin(f.db, &err));
    make(&f, "ci", &t);
    snprintf(owner, sizeof(owner), "%s", acc_actor(f.acc));
    snprintf(via, sizeof(via), "token %s", t.id);
    CHECK_OK(make_as(&f, "ci", "socket", NULL, "ci", push, NULL, &err));
    CHECK_ERR(make_as(&f, "stranger", "socket", NULL, "stranger", NULL, NULL, &err),
              ERR_DENIED);
    CHECK_ERR(make_as(&f, "ci", "socket", NULL, owner, NULL, NULL, &err), ERR_DENIED);
    CHECK_ERR(make_as(&f, "ci", "oidc github", NULL, "ci", NULL, NULL, &err),
              ERR_DENIED);
    /* not wider, not longer than what the caller is known by */
    CHECK_ERR(make_as(&f, "ci", via, push, "ci", both, NULL, &err), ERR_DENIED);
    CHECK_OK(make_as(&f, "ci", via, both, "ci", push, NULL, &err));
    CHECK_OK(make_as(&f, "ci", via, push, "ci", NULL, &child, &err));
    CHECK(child.expires_ns <= t.expires_ns);
    struct buf scope AUTO(buf_release) = BUF_INIT;
    CHECK_INT(db_get_text(f.db, &scope, &err, "SELECT scope FROM token WHERE id = ?",
                          "t", child.id),
              1);
    CHECK_STR(buf_str(&scope), push);
    /* who administers may for all but the owner */
    CHECK_OK(acc_user_add(f.acc, "adm", false, NULL, &err));
    struct acc_grant g = { .subject = "adm",
                           .effect = "allow",
                           .what = "admin",
                           .object = "*",
                           .until_ns = INT64_MAX };
    CHECK_INT(acc_grant(f.acc, &g, &err), 1);
    CHECK_OK(make_as(&f, "adm", "socket", NULL, "ci", NULL, NULL, &err));
    CHECK_ERR(make_as(&f, "adm", "socket", NULL, owner, NULL, NULL, &err), ERR_DENIED);
    CHECK_ERR(make_as(&f, "adm", "socket", NULL, "nobody-here", NULL, NULL, &err),
              ERR_NOTFOUND);
    CHECK_OK(acc_user_enable(f.acc, "ci", false, &err));
    CHECK_ERR(make_as(&f, "adm", "socket", NULL, "ci", NULL, NULL, &err), ERR_DENIED);
    const struct acc_who w = { .subject = "ci", .via = "socket" };
    CHECK_ERR(acc_act_as(f.acc, &w, &err), ERR_DENIED);
    CHECK_OK(acc_act_as(f.acc, NULL, &err));
    CHECK_OK(db_commit(f.db, &err));
    fixture_close(&f);
}

static int
count(void *arg, const struct acc_token *t, struct err *err)
{
    (void)err;
    CHECK(t->id[0] && t->subject[0]);
    ++*(int *)arg;
    return 0;
}

TEST(test_acc_token__list_knows_the_unused)
{
    struct fixture f;
    struct acc_token_new t[3];
    struct acc_token_query all = { .ended = false },
                           unused = { .unused_ns = clock_now_ns() + 1 };
    struct err err = ERR_INIT;
    int n = 0;

    fixture_new(&f);
    CHECK_OK(db_begin(f.db, &err));
    for (int i = 0; i < 3; i++)
        make(&f, i < 2 ? "ci" : "other", &t[i]);
    unused.unused_ns = clock_now_ns() + 1;
    CHECK_OK(acc_token_used(f.acc, t[0].id, unused.unused_ns + 5, &err));
    CHECK_OK(acc_token_used(f.acc, t[0].id, 1, &err)); /* older news */
    CHECK_OK(acc_tokens(f.acc, &all, count, &n, &err));
    CHECK_INT(n, 3);
    n = 0;
    CHECK_OK(acc_tokens(f.acc, &unused, count, &n, &err));
    CHECK_INT(n, 2);
    CHECK_OK(acc_token_revoke(f.acc, t[1].id, &err));
    n = 0;
    CHECK_OK(acc_tokens(f.acc, &all, count, &n, &err));
    CHECK_INT(n, 2);
    all.ended = true;
    n = 0;
    CHECK_OK(acc_tokens(f.acc, &all, count, &n, &err));
    CHECK_INT(n, 3);
    /* others see their own */
    const struct acc_who w = { .subject = "ci", .via = "socket" };
    CHECK_OK(acc_act_as(f.acc, &w, &err));
    n = 0;
    CHECK_OK(acc_tokens(f.acc, &all, count, &n, &err));
    CHECK_INT(n, 2);
    all.subject = "other";
    CHECK_ERR(acc_tokens(f.acc, &all, count, &n, &err), ERR_DENIED);
    CHECK_OK(db_commit(f.db, &err));
    fixture_close(&f);
}

/* ---- the same work whatever the secret ---- */

/* Instructions that acc_token_judge takes, counted one by one in a child process. */
static long
instructions(const struct acc_token_row *row, const struct acc_token_text *t)
{
    int status;
    long n = 0;
    pid_t pid = fork();

    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
            _exit(99);
        raise(SIGSTOP);
        (void)!acc_token_judge(row, t, 1000);
        raise(SIGSTOP);
        _exit(0);
    }
    CHECK(pid > 0);
    CHECK(waitpid(pid, &status, 0) == pid);
    if (WIFEXITED(status))
        unit_skip("no process may be traced here");
    CHECK(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0);
    while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status) &&
           WSTOPSIG(status) == SIGTRAP) {
        n++;
        CHECK(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0);
    }
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    kill(pid, SIGKILL);
    CHECK(waitpid(pid, &status, 0) == pid);
    return n;
}

TEST(test_acc_token__same_work_whatever_the_secret)
{
    struct acc_token_text t = { .id = "00000000" }, first, last;
    struct acc_token_row good = { .expires_ns = 2000, .is_there = 1 };
    struct acc_token_row absent = { .is_there = 0 }, expired, revoked;
    long n;

    memset(t.secret, 'a', sizeof(t.secret));
    sha256_of(t.secret, sizeof(t.secret), &good.secret);
    first = last = t;
    first.secret[0] = 'b';
    last.secret[sizeof(last.secret) - 1] = 'b';
    expired = revoked = good;
    expired.expires_ns = 1000;
    revoked.revoked_ns = 1;
    CHECK_INT(acc_token_judge(&good, &t, 1000), 0); /* and everything is loaded */
    CHECK_INT(acc_token_judge(&good, &first, 1000), ACC_TOKEN_WRONG);
    CHECK(acc_token_judge(&absent, &t, 1000) & ACC_TOKEN_UNKNOWN);
    CHECK_INT(acc_token_judge(&expired, &t, 1000), ACC_TOKEN_EXPIRED);
    CHECK_INT(acc_token_judge(&revoked, &t, 1000), ACC_TOKEN_REVOKED);
    n = instructions(&good, &t);
    CHECK(n > 500); /* a hash is not had for less */
    CHECK_INT(instructions(&good, &first), n);
    CHECK_INT(instructions(&good, &last), n);
    CHECK_INT(instructions(&absent, &t), n);
    CHECK_INT(instructions(&expired, &t), n);
    CHECK_INT(instructions(&revoked, &t), n);
}

TEST(test_acc_token__scopes)
{
    static const struct {
        const char *list, *scope; /* NULL: refused */
    } cases[] = {
        { "[\"push:fraud\"]", "[\"push:fraud\"]" },
        { "[\"push:fraud\",\"read:*\"]", "[\"push:fraud\",\"read:*\"]" },
        { "[\"push\"]", NULL },
        { "[\"push:\"]", NULL },
        { "[\":fraud\"]", NULL },
        { "[\"fl y:fraud\"]", NULL }, /* no name of a verb */
        { "[\"push:a:b:c\"]", NULL },
        { "[\"push:fraud\",\"\"]", NULL },
    };
    struct err err = ERR_INIT;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cJSON *list AUTO(json_free) = cJSON_Parse(cases[i].list);
        struct buf out AUTO(buf_release) = BUF_INIT;

        if (!cases[i].scope) {
            CHECK_ERR(acc_scope_make(list, &out, &err), ERR_INVALID);
            continue;
        }
        CHECK_OK(acc_scope_make(list, &out, &err));
        CHECK_STR(buf_str(&out), cases[i].scope);
    }
}
