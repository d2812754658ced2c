/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/access/acc_fixture.h"

#define DAY_NS (INT64_C(86400) * 1000000000)

static struct digest
digest_of(const char *text)
{
    struct digest d;

    sha256_of(text, strlen(text), &d);
    return d;
}

/* An act under a key: 0, or what the claim says. */
static int
act(struct fixture *f, const char *key, const char *what, int64_t intent,
    struct err *err)
{
    struct digest d = digest_of(what);
    int r;

    acc_key_set(f->acc, key, &d);
    acc_key_reply(f->acc, "{}");
    r = db_begin(f->db, err);
    if (r == 0)
        r = acc_key_claim(f->acc, intent, err);
    if (r == 0)
        return db_commit(f->db, err);
    db_rollback(f->db);
    return r;
}

static int
find(struct fixture *f, const char *key, const char *what, struct buf *reply,
     int64_t *intent, struct err *err)
{
    struct digest d = digest_of(what);

    buf_clear(reply);
    *intent = 0;
    return acc_key_find(f->acc, key, &d, reply, intent, err);
}

TEST(test_acc_request__one_act_per_key)
{
    struct fixture f;
    struct err err = ERR_INIT;
    struct buf reply AUTO(buf_release) = BUF_INIT;
    int64_t intent;

    fixture_new(&f);
    CHECK_INT(find(&f, "k", "push a", &reply, &intent, &err), 0);
    CHECK_OK(act(&f, "k", "push a", 0, &err));
    CHECK_INT(find(&f, "k", "push a", &reply, &intent, &err), 1);
    CHECK_STR(buf_str(&reply), "{}");
    CHECK_OK(acc_key_answer(f.acc, "{\"number\":1}", DAY_NS, &err));
    CHECK_INT(find(&f, "k", "push a", &reply, &intent, &err), 1);
    CHECK_STR(buf_str(&reply), "{\"number\":1}");
    CHECK_ERR(find(&f, "k", "push b", &reply, &intent, &err), ERR_CONFLICT);
    CHECK_ERR(act(&f, "k", "push a", 0, &err), ERR_CONFLICT);
    CHECK_OK(act(&f, "l", "push a", 0, &err));
    fixture_close(&f);
}

TEST(test_acc_request__without_a_key_nothing_is_claimed)
{
    struct fixture f;
    struct err err = ERR_INIT;
    int64_t n = -1;

    fixture_new(&f);
    acc_key_set(f.acc, NULL, NULL);
    CHECK_OK(db_begin(f.db, &err));
    CHECK_OK(acc_key_claim(f.acc, 0, &err));
    CHECK_OK(db_commit(f.db, &err));
    CHECK_OK(db_get_int(f.db, &n, &err, "SELECT count(*) FROM request", ""));
    CHECK_INT(n, 0);
    fixture_close(&f);
}

TEST(test_acc_request__a_cancelled_intent_frees_its_key)
{
    struct fixture f;
    struct err err = ERR_INIT;
    struct buf reply AUTO(buf_release) = BUF_INIT;
    int64_t intent;

    fixture_new(&f);
    CHECK_OK(act(&f, "a", "rollback", 7, &err));
    CHECK_OK(act(&f, "b", "rollback", 8, &err));
    CHECK_INT(find(&f, "a", "rollback", &reply, &intent, &err), 1);
    CHECK_INT(intent, 7);
    CHECK_OK(db_begin(f.db, &err));
    CHECK_OK(acc_key_cancel(f.acc, 7, &err));
    CHECK_OK(db_commit(f.db, &err));
    CHECK_INT(find(&f, "a", "rollback", &reply, &intent, &err), 0);
    CHECK_INT(find(&f, "b", "rollback", &reply, &intent, &err), 1);
    fixture_close(&f);
}

TEST(test_acc_request__old_keys_are_forgotten)
{
    struct fixture f;
    struct err err = ERR_INIT;
    struct buf reply AUTO(buf_release) = BUF_INIT;
    int64_t intent;

    fixture_new(&f);
    CHECK_OK(act(&f, "old", "push", 0, &err));
    CHECK_OK(db_begin(f.db, &err));
    CHECK_OK(db_run(f.db, &err, "UPDATE request SET time_ns = time_ns - ?", "i",
                    2 * DAY_NS));
    CHECK_OK(db_commit(f.db, &err));
    CHECK_OK(act(&f, "new", "push", 0, &err));
    CHECK_OK(acc_key_answer(f.acc, "{}", 3 * DAY_NS, &err));
    CHECK_INT(find(&f, "old", "push", &reply, &intent, &err), 1);
    CHECK_OK(act(&f, "newer", "push", 0, &err));
    CHECK_OK(acc_key_answer(f.acc, "{}", DAY_NS, &err));
    CHECK_INT(find(&f, "old", "push", &reply, &intent, &err), 0);
    CHECK_INT(find(&f, "new", "push", &reply, &intent, &err), 1);
    fixture_close(&f);
}
