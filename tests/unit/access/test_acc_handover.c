/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/access/acc_fixture.h"

#include "access/acc_int.h"

#include <string.h>
#include <sys/wait.h>

/* The event of a handover, which is committed and not yet carried out. */
static void
hand_over(struct fixture *f, bool is_leaked)
{
    struct err err = ERR_INIT;
    struct digest before, now;
    cJSON *body AUTO(json_free) = cJSON_CreateObject();
    struct buf text AUTO(buf_release) = BUF_INIT;
    struct acc_event e = {
        .verb = "key_rotate", .object = "key:store", .digest = "", .outcome = "ok"
    };

    CHECK_OK(db_begin(f->db, &err));
    CHECK_OK(acc_key_rotate(f->acc, is_leaked, body, &before, &now, &err));
    CHECK(!digest_eq(&before, &now));
    json_print(body, &text, true);
    while (text.len && text.data[text.len - 1] == '\n')
        text.data[--text.len] = '\0';
    e.body = buf_str(&text);
    CHECK_OK(acc_record(f->acc, &e, &err));
    CHECK_OK(db_commit(f->db, &err));
}

static int
count(void *arg, const struct acc_key *key, struct err *err)
{
    (void)key, (void)err;
    ++*(int *)arg;
    return 0;
}

static int
n_keys(struct fixture *f)
{
    struct err err = ERR_INIT;
    int n = 0;

    CHECK_OK(acc_keys(f->acc, count, &n, &err));
    return n;
}

static void
check_holds(struct fixture *f)
{
    struct err err = ERR_INIT;
    struct acc_verify v;

    if (acc_verify(f->acc, &v, &err) < 0)
        unit_fail(__FILE__, __LINE__, "%s", err.msg);
}

TEST(test_acc_handover__what_was_signed_stays_so)
{
    static const char text[] = "some words";
    struct fixture f;
    struct err err = ERR_INIT;
    uint8_t sig[64], later[64];
    struct digest first, by;

    fixture_new(&f);
    CHECK_OK(acc_key_id(f.acc, &first, &err));
    CHECK_OK(acc_sign(f.acc, text, sizeof(text), sig, &err));
    hand_over(&f, false); /* as the first event of all */
    check_holds(&f);
    CHECK_INT(acc_signed(f.acc, text, sizeof(text), sig, &by, &err), 1);
    publish(&f);
    check_holds(&f);
    record_many(&f, 3);
    CHECK_INT(acc_signed(f.acc, text, sizeof(text), sig, &by, &err), 1);
    CHECK(digest_eq(&by, &first));
    CHECK_INT(acc_signed(f.acc, text, sizeof(text) - 1, sig, &by, &err), 0);
    CHECK_OK(acc_sign(f.acc, text, sizeof(text), later, &err));
    CHECK(memcmp(sig, later, sizeof(sig)) != 0);
    hand_over(&f, true);
    publish(&f);
    /* what leaked, and what only that vouched for */
    CHECK_INT(acc_signed(f.acc, text, sizeof(text), sig, NULL, &err), 0);
    CHECK_INT(acc_signed(f.acc, text, sizeof(text), later, NULL, &err), 0);
    CHECK_INT(n_keys(&f), 3);
    check_holds(&f);
    fixture_close(&f);
}

TEST(test_acc_handover__one_at_a_time)
{
    struct fixture f;
    struct err err = ERR_INIT;
    struct digest before, now;
    cJSON *body AUTO(json_free) = cJSON_CreateObject();

    fixture_new(&f);
    record_many(&f, 2);
    hand_over(&f, false);
    CHECK_OK(db_begin(f.db, &err));
    CHECK_ERR(acc_key_rotate(f.acc, false, body, &before, &now, &err), ERR_BUSY);
    db_rollback(f.db);
    publish(&f);
    hand_over(&f, false);
    publish(&f);
    CHECK_INT(n_keys(&f), 3);
    check_holds(&f);
    fixture_close(&f);
}

/* A process that died before its commit. */
TEST(test_acc_handover__a_key_that_was_not_committed_is_none)
{
    struct fixture f;
    struct err err = ERR_INIT;
    struct buf key AUTO(buf_release) = BUF_INIT;
    struct digest before, now;
    cJSON *body AUTO(json_free) = cJSON_CreateObject();

    fixture_new(&f);
    record_many(&f, 2);
    CHECK_OK(db_begin(f.db, &err));
    CHECK_OK(acc_key_rotate(f.acc, false, body, &before, &now, &err));
    db_rollback(f.db);
    read_file(&f, "keys/store.key", &key);
    record_many(&f, 2);
    check_holds(&f);
    CHECK_INT(n_keys(&f), 1);
    hand_over(&f, false);
    publish(&f);
    check_holds(&f);
    fixture_close(&f);
}

/* The old key, in the wrong hands, signs heads of what came after it. */
TEST(test_acc_handover__an_old_key_signs_no_more)
{
    struct fixture f;
    struct err err = ERR_INIT;
    struct acc_verify v;
    struct ed25519_key *old AUTO(ed25519_key_close_p) = NULL;
    struct acc_head heads[ACC_HEAD_SLOTS];
    struct buf log AUTO(buf_release) = BUF_INIT;
    uint8_t priv[32];
    int fd AUTO(fs_close) = -1;

    fixture_new(&f);
    record_many(&f, 2);
    CHECK_OK(acc_key_private(f.dirfd, priv, &err));
    CHECK_OK(ed25519_key_open(&old, priv, &err));
    hand_over(&f, false);
    record_many(&f, 2);
    check_holds(&f);
    CHECK_OK(fs_open(&fd, f.dirfd, "audit/head", O_RDWR, 0, &err));
    CHECK_OK(acc_head_read(fd, heads, &err));
    for (int i = 0; i < ACC_HEAD_SLOTS; i++) {
        CHECK(heads[i].seq >= 3); /* the event of the handover, and what follows */
        CHECK_OK(acc_head_sign(&heads[i], old, &err));
        CHECK_OK(acc_head_write(fd, i, &heads[i], &err));
    }
    CHECK_ERR(acc_verify(f.acc, &v, &err), ERR_FAILED);
    CHECK(strstr(v.reason, "not by this store's key"));
    record(&f, "push", "digits@9");
    CHECK_ERR(acc_publish(f.acc, &err), ERR_CORRUPT);
    fixture_close(&f);
}

/* Who writes the catalogue's file makes no key the store's. */
TEST(test_acc_handover__nobody_else_hands_over)
{
    static const char *const forged[] = {
        "UPDATE key SET public = randomblob(32) WHERE id = 1",
        "UPDATE key SET public = (SELECT public FROM key WHERE id < 0) WHERE id = 1",
    };
    static const char *const broken[] = {
        "UPDATE event SET body = replace(body, 'false', 'true')",
        "UPDATE event SET body = replace(body, 'signed_by_to', 'x')",
        "UPDATE event SET body = replace(replace(replace(body, 'by_to', 'x'), "
        "'by_from', 'by_to'), 'x', 'by_from')",
        "UPDATE event SET body = '{\"handover\":[]}' WHERE verb = 'key_rotate'",
        "UPDATE event SET body = 'x' WHERE verb = 'key_rotate'",
        "UPDATE key SET id = -1 WHERE id < 0",
    };
    static const char text[] = "some words";

    for (size_t i = 0; i < 8; i++) {
        struct fixture f;
        struct err err = ERR_INIT;
        struct acc_verify v;
        uint8_t sig[64];

        fixture_new(&f);
        record_many(&f, 2);
        CHECK_OK(acc_sign(f.acc, text, sizeof(text), sig, &err));
        hand_over(&f, false);
        publish(&f);
        CHECK_INT(acc_signed(f.acc, text, sizeof(text), sig, NULL, &err), 1);
        tamper(&f, i < 2 ? forged[i] : broken[i - 2]);
        if (i < 2) {
            CHECK_ERR(acc_verify(f.acc, &v, &err), ERR_FAILED);
            CHECK(strstr(v.reason, "not the key this store was made with"));
        } else {
            CHECK_INT(acc_signed(f.acc, text, sizeof(text), sig, NULL, &err), 0);
            CHECK_INT(n_keys(&f), 1);
        }
        fixture_close(&f);
        CHECK_OK(fs_remove_tree(AT_FDCWD, f.path, &err));
        CHECK_OK(fs_mkdirs(AT_FDCWD, f.path, 0700, &err));
    }
}

TEST(test_acc_handover__while_others_record)
{
    enum { WRITERS = 4, EACH = 25, HANDOVERS = 10 };
    struct fixture f;
    struct err err = ERR_INIT;
    pid_t pids[WRITERS];

    fixture_new(&f);
    fixture_close(&f); /* SQLite handles do not cross a fork */
    for (int i = 0; i < WRITERS; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            fixture_open(&f);
            if (acc_open(&f.acc, f.dirfd, f.db, &err) < 0)
                _exit(1);
            for (int k = 0; k < EACH; k++) {
                record_many(&f, 1);
                check_holds(&f);
            }
            fixture_close(&f);
            _exit(0);
        }
    }
    fixture_open(&f);
    CHECK_OK(acc_open(&f.acc, f.dirfd, f.db, &err));
    for (int i = 0; i < HANDOVERS; i++) {
        publish(&f);
        hand_over(&f, false);
        check_holds(&f);
    }
    publish(&f);
    for (int i = 0; i < WRITERS; i++) {
        int status;

        CHECK(waitpid(pids[i], &status, 0) == pids[i]);
        CHECK_INT(status, 0);
    }
    check_holds(&f);
    CHECK_INT(n_keys(&f), HANDOVERS + 1);
    fixture_close(&f);
}
