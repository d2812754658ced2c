/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/repo/gc_fixture.h"

static int
try_rules(struct fixture *f, const char *model, struct repo_rules rules,
          struct err *err)
{
    int r = db_begin(f->r->db, err);

    if (r == 0)
        r = repo_rules_set(f->r, model, &rules, err);
    if (r == 0)
        r = db_commit(f->r->db, err);
    db_rollback(f->r->db);
    return r;
}

static int
add_judged(void *arg, const struct repo_version *v, bool kept, const char *why,
           struct err *err)
{
    (void)err;
    buf_addf(arg, "%" PRId64 "%s %s\n", v->number, kept ? "" : " goes", why);
    return 0;
}

static void
check_judged(struct fixture *f, const char *want)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    struct err err = ERR_INIT;

    CHECK_OK(repo_retention(f->r, "a", add_judged, &text, &err));
    CHECK_STR(buf_str(&text), want);
}

static void
put_three(struct fixture *f)
{
    fixture_new(f);
    put_model(f, "one", "1");
    put_model(f, "two", "2");
    put_model(f, "three", "3");
    push(f, "one", "a");
    push(f, "two", "a");
    push(f, "three", "a");
}

TEST(test_repo_retention__each_version_and_its_rule)
{
    struct fixture f;
    struct repo_version v;
    struct err err = ERR_INIT;

    put_three(&f);
    check_judged(&f, "3 no rules\n2 no rules\n1 no rules\n");
    CHECK_ERR(try_rules(&f, "a", (struct repo_rules){ .keep_last = 0 }, &err),
              ERR_INVALID);
    CHECK_ERR(try_rules(&f, "a/b", (struct repo_rules){ .keep_last = 1 }, &err),
              ERR_INVALID);
    CHECK_ERR(try_rules(&f, "a",
                        (struct repo_rules){ .keep_last = 1, .younger_days = -1 },
                        &err),
              ERR_INVALID);
    CHECK_OK(try_rules(&f, "*", (struct repo_rules){ .keep_last = 1 }, &err));
    check_judged(&f, "3 one of the newest 1\n2 goes no rule keeps it\n1 goes no rule "
                     "keeps it\n");
    CHECK_OK(try_rules(&f, "a",
                       (struct repo_rules){ .keep_last = 1, .younger_days = 5 }, &err));
    CHECK_OK(repo_resolve(f.r, "a@1", &v, &err));
    CHECK_OK(db_begin(f.r->db, &err));
    CHECK_OK(repo_hold(f.r, "a", &v, "case 7", &err));
    CHECK_OK(db_commit(f.r->db, &err));
    {
        struct buf want AUTO(buf_release) = BUF_INIT;

        buf_addf(&want,
                 "3 one of the newest 1\n2 younger than 5 days\n1 held by %s: case 7\n",
                 acc_actor(f.r->acc));
        check_judged(&f, buf_str(&want));
    }
    CHECK_OK(db_begin(f.r->db, &err));
    CHECK_INT(repo_rules_clear(f.r, "a", &err), 1);
    CHECK_INT(repo_rules_clear(f.r, "a", &err), 0);
    CHECK_OK(db_commit(f.r->db, &err));
    fixture_close(&f);
}

#ifdef TEST_FAULT
TEST(test_repo_retention__young_is_what_the_store_has_lived)
{
    struct fixture f;
    struct err err = ERR_INIT;
    const struct repo_rules rules = { .keep_last = 1, .younger_days = 5 };

    put_three(&f);
    CHECK_OK(try_rules(&f, "a", rules, &err));
    clocks(400, 0);
    check_judged(&f, "3 one of the newest 1\n2 younger than 5 days\n1 younger than 5 "
                     "days\n");
    clocks(0, 6);
    check_judged(&f, "3 one of the newest 1\n2 goes no rule keeps it\n1 goes no rule "
                     "keeps it\n");
    unsetenv("TEST_CLOCK");
    fixture_close(&f);
}
#endif
