/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/access/acc_fixture.h"

#include <stdlib.h>

#define N 6

/* Verify finds something, and lays it to event `seq`. */
static void
check_blamed(struct fixture *f, int64_t seq, const char *word)
{
    struct acc_verify v;
    struct err err = ERR_INIT;
    int r = acc_verify(f->acc, &v, &err);

    if (r != -ERR_FAILED || v.bad_seq != seq || !strstr(v.reason, word))
        unit_fail(__FILE__, __LINE__, "%s: %d, event %" PRId64 ": %s (%s)", word, r,
                  v.bad_seq, v.reason, err.msg);
}

TEST(test_acc_verify__good)
{
    struct fixture f;
    struct err err = ERR_INIT;
    struct acc_verify v;

    fixture_new(&f);
    CHECK_OK(acc_verify(f.acc, &v, &err));
    CHECK_INT(v.n_events, 0);
    CHECK_INT(v.head_seq, 0);
    record_many(&f, N);
    CHECK_OK(acc_verify(f.acc, &v, &err));
    CHECK_INT(v.n_events, N);
    CHECK_INT(v.head_seq, N);
    CHECK_INT(v.log_seq, N);
    CHECK_INT(v.bad_seq, 0);
    /* committed, not yet published: the table goes on from a signed head */
    record(&f, "push", "late@1");
    CHECK_OK(acc_verify(f.acc, &v, &err));
    CHECK_INT(v.n_events, N + 1);
    CHECK_INT(v.head_seq, N);
    CHECK_INT(v.log_seq, N);
    fixture_reopen(&f);
    publish(&f);
    CHECK_OK(acc_verify(f.acc, &v, &err));
    CHECK_INT(v.head_seq, N + 1);
    fixture_close(&f);
}

TEST(test_acc_verify__any_edit_of_the_table_is_named)
{
    static const struct {
        const char *sql;
        int64_t seq;
        const char *word;
    } cases[] = {
        { "UPDATE event SET time_ns = time_ns + 1 WHERE seq = 3", 3, "edited" },
        { "UPDATE event SET actor = 'eve' WHERE seq = 3", 3, "edited" },
        { "UPDATE event SET verb = 'pull' WHERE seq = 3", 3, "edited" },
        { "UPDATE event SET object = 'digits@9' WHERE seq = 3", 3, "edited" },
        { "UPDATE event SET digest = 'sha256:00' WHERE seq = 3", 3, "edited" },
        { "UPDATE event SET outcome = 'denied' WHERE seq = 3", 3, "edited" },
        { "UPDATE event SET body = '{}' WHERE seq = 3", 3, "edited" },
        { "UPDATE event SET body = body || ' ' WHERE seq = 1", 1, "edited" },
        { "UPDATE event SET outcome = 'ok' || char(0) || 'x' WHERE seq = 3", 3,
          "edited" },
        { "UPDATE event SET actor = actor || 'p', verb = 'ush' WHERE seq = 3", 3,
          "edited" },
        { "UPDATE event SET leaf = zeroblob(32) WHERE seq = 3", 3, "edited" },
        { "UPDATE event SET leaf = zeroblob(31) WHERE seq = 3", 3, "edited" },
        { "UPDATE event SET chain = zeroblob(32) WHERE seq = 3", 3, "chain" },
        { "UPDATE event SET chain = x'00' WHERE seq = 3", 3, "edited" },
        { "UPDATE event SET actor = 'eve' WHERE seq = 6", 6, "edited" },
        { "UPDATE event SET seq = 9 WHERE seq = 6", 6, "missing" },
        { "UPDATE event SET seq = 0 WHERE seq = 1", 1, "numbered" },
        { "UPDATE event SET seq = -3 WHERE seq = 3", 1, "numbered" },
        { "DELETE FROM event WHERE seq = 1", 1, "missing" },
        { "DELETE FROM event WHERE seq = 4", 4, "missing" },
        { "DELETE FROM event WHERE seq = 6", 6, "missing" },
        { "DELETE FROM event WHERE seq > 2", 3, "missing" },
        { "DELETE FROM event", 1, "missing" },
        { "UPDATE event SET seq = 99 WHERE seq = 3;"
          "UPDATE event SET seq = 3 WHERE seq = 4;"
          "UPDATE event SET seq = 4 WHERE seq = 99",
          3, "moved" },
        { "DELETE FROM event WHERE seq = 3;"
          "UPDATE event SET seq = seq - 1 WHERE seq = 4;"
          "UPDATE event SET seq = seq - 1 WHERE seq = 5;"
          "UPDATE event SET seq = seq - 1 WHERE seq = 6",
          3, "moved" },
        { "UPDATE event SET seq = 7 WHERE seq = 6;"
          "INSERT INTO event SELECT 6, time_ns, actor, verb, object, digest, outcome, "
          "body, leaf, chain FROM event WHERE seq = 5",
          6, "put in" },
        { "INSERT INTO event SELECT 7, time_ns, actor, verb, object, digest, outcome, "
          "body, leaf, chain FROM event WHERE seq = 6",
          7, "put in" },
        { "UPDATE key SET public = zeroblob(32)", 1, "key" },
        { "DELETE FROM key", 1, "key" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture f;
        struct err err = ERR_INIT;

        fixture_new(&f);
        record_many(&f, N);
        tamper(&f, cases[i].sql);
        check_blamed(&f, cases[i].seq, cases[i].word);
        fixture_close(&f);
        CHECK_OK(fs_remove_tree(AT_FDCWD, f.path, &err));
        CHECK_OK(fs_mkdirs(AT_FDCWD, f.path, 0700, &err));
    }
}

/* One who knows the format recomputes every hash from the edited row on. */
static void
rewrite_chain(struct fixture *f, const char *actor_of_3)
{
    struct digest chain = { .b = { 0 } };
    struct buf sql = BUF_INIT;
    struct db_stmt *st = NULL;
    struct err err = ERR_INIT;

    CHECK_OK(db_query(f->db, &st, &err,
                      "SELECT seq, time_ns, actor, verb, object, digest, outcome, body "
                      "FROM event ORDER BY seq",
                      ""));
    while (db_step(st, &err) == 1) {
        struct buf b = BUF_INIT;
        struct digest leaf;
        uint8_t bytes[65] = { 1 };
        char leaf_hex[65], chain_hex[65];
        const char *actor = db_int(st, 0) == 3 ? actor_of_3 : db_text(st, 2);

        buf_addc(&b, '\0');
        buf_addf(&b, "sluice-event 1\n%" PRId64 "\n%" PRId64 "\n%zu:%s\n",
                 db_int(st, 0), db_int(st, 1), strlen(actor), actor);
        for (int i = 3; i < 8; i++)
            buf_addf(&b, "%zu:%s\n", strlen(db_text(st, i)), db_text(st, i));
        sha256_of(b.data, b.len, &leaf);
        memcpy(bytes + 1, chain.b, 32);
        memcpy(bytes + 33, leaf.b, 32);
        sha256_of(bytes, 65, &chain);
        digest_hex(&leaf, leaf_hex);
        digest_hex(&chain, chain_hex);
        buf_addf(&sql,
                 "UPDATE event SET actor = '%s', leaf = x'%s', chain = x'%s' "
                 "WHERE seq = %" PRId64 ";",
                 actor, leaf_hex, chain_hex, db_int(st, 0));
        buf_release(&b);
    }
    db_done(st);
    tamper(f, buf_str(&sql));
    buf_release(&sql);
}

TEST(test_acc_verify__a_rewritten_chain_meets_log_and_head)
{
    struct fixture f;
    struct err err = ERR_INIT;
    struct acc_verify v;
    struct buf log = BUF_INIT;

    fixture_new(&f);
    record_many(&f, N);
    rewrite_chain(&f, acc_actor(f.acc)); /* the same rows: this test's own hashing */
    CHECK_OK(acc_verify(f.acc, &v, &err));
    rewrite_chain(&f, "eve");
    check_blamed(&f, 3, "log.jsonl");
    /* without the log the head still knows; its older slot names event 5 */
    write_file(&f, "audit/log.jsonl", "", 0);
    check_blamed(&f, 5, "audit/head");
    /* and no further event is signed over it, nor the log filled */
    record(&f, "push", "digits@7");
    CHECK_ERR(acc_publish(f.acc, &err), ERR_CORRUPT);
    read_file(&f, "audit/log.jsonl", &log);
    CHECK_INT(log.len, 0);
    buf_release(&log);
    fixture_close(&f);
}

TEST(test_acc_verify__truncation_cannot_be_signed_away)
{
    struct fixture f;
    struct err err = ERR_INIT;

    fixture_new(&f);
    record_many(&f, N);
    tamper(&f, "DELETE FROM event WHERE seq > 4");
    record(&f, "push", "digits@99"); /* takes number 5 again */
    CHECK_ERR(acc_publish(f.acc, &err), ERR_CORRUPT);
    check_blamed(&f, 5, "log.jsonl");
    record(&f, "push", "digits@99");
    CHECK_ERR(acc_publish(f.acc, &err), ERR_CORRUPT); /* now as long as before */
    check_blamed(&f, 5, "log.jsonl");
    fixture_close(&f);
}

TEST(test_acc_verify__edited_log_line_is_named)
{
    struct fixture f;
    struct buf log = BUF_INIT;
    char *at;

    fixture_new(&f);
    record_many(&f, N);
    read_file(&f, "audit/log.jsonl", &log);
    at = strstr(log.data, "digits@4");
    CHECK(at != NULL);
    at[7] = '5';
    write_file(&f, "audit/log.jsonl", log.data, log.len);
    check_blamed(&f, 4, "line 4");
    at[7] = '4';
    /* a line dropped from the middle */
    at = strchr(log.data, '\n') + 1;
    memmove(at, strchr(at, '\n') + 1, strlen(strchr(at, '\n') + 1) + 1);
    write_file(&f, "audit/log.jsonl", log.data, strlen(log.data));
    check_blamed(&f, 2, "line 2");
    buf_release(&log);
    fixture_close(&f);
}

TEST(test_acc_verify__log_goes_further_than_the_table)
{
    struct fixture f;
    struct buf log = BUF_INIT;

    fixture_new(&f);
    record_many(&f, 2);
    read_file(&f, "audit/log.jsonl", &log);
    buf_adds(&log, "{\"seq\":3,\"actor\":\"eve\"}\n");
    write_file(&f, "audit/log.jsonl", log.data, log.len);
    check_blamed(&f, 3, "missing");
    buf_release(&log);
    fixture_close(&f);
}

TEST(test_acc_verify__forged_head)
{
    struct fixture f;
    struct err err = ERR_INIT;
    struct buf head = BUF_INIT;
    uint8_t priv[32], pub[32];

    fixture_new(&f);
    record_many(&f, N);
    read_file(&f, "audit/head", &head);
    CHECK_INT(head.len, 512);
    for (size_t i = 0; i < head.len; i += 7) { /* any byte of it */
        char old = head.data[i];

        head.data[i] = old == '1' ? '2' : '1';
        write_file(&f, "audit/head", head.data, head.len);
        struct acc_verify v;
        CHECK_INT(acc_verify(f.acc, &v, &err), -ERR_FAILED);
        CHECK(strstr(v.reason, "audit/head") || strstr(v.reason, "missing"));
        err_clear(&err);
        head.data[i] = old;
    }
    write_file(&f, "audit/head", head.data, 511);
    check_blamed(&f, 1, "511 bytes");
    write_file(&f, "audit/head", "", 0);
    check_blamed(&f, 1, "0 bytes");
    CHECK_OK(fs_unlink(f.dirfd, "audit/head", &err));
    check_blamed(&f, 1, "audit/head");
    CHECK_ERR(acc_publish(f.acc, &err), ERR_IO);
    write_file(&f, "audit/head", head.data, head.len);
    /* the right form, signed with a key of the forger's own */
    struct ed25519_key *key AUTO(ed25519_key_close_p) = NULL;
    CHECK_OK(ed25519_new_key(priv, pub, &err));
    CHECK_OK(ed25519_key_open(&key, priv, &err));
    for (int slot = 0; slot < 2; slot++) {
        char *at = head.data + slot * 256;
        uint8_t sig[64];

        CHECK_OK(ed25519_sign(key, at, 99, sig, &err));
        for (int i = 0; i < 64; i++) {
            char hex[3];
            snprintf(hex, sizeof(hex), "%02x", sig[i]);
            memcpy(at + 100 + 2 * i, hex, 2);
        }
    }
    write_file(&f, "audit/head", head.data, head.len);
    check_blamed(&f, N, "signature");
    record(&f, "push", "digits@7");
    CHECK_ERR(acc_publish(f.acc, &err), ERR_CORRUPT);
    buf_release(&head);
    fixture_close(&f);
}

TEST(test_acc_verify__an_old_head_is_not_hidden_by_its_signature)
{
    struct fixture f;
    struct err err = ERR_INIT;
    struct buf head = BUF_INIT, log = BUF_INIT;
    struct acc_verify v;

    /* head and log of an earlier day with the table cut to fit: the limit the header
     * names is only reached by who rolls back all three */
    fixture_new(&f);
    record_many(&f, 3);
    read_file(&f, "audit/head", &head);
    read_file(&f, "audit/log.jsonl", &log);
    record_many(&f, 3);
    tamper(&f, "DELETE FROM event WHERE seq > 3");
    check_blamed(&f, 4, "missing");
    write_file(&f, "audit/head", head.data, head.len);
    check_blamed(&f, 4, "missing");
    write_file(&f, "audit/log.jsonl", log.data, log.len);
    CHECK_OK(acc_verify(f.acc, &v, &err));
    buf_release(&head);
    buf_release(&log);
    fixture_close(&f);
}

TEST(test_acc_verify__files_that_are_gone)
{
    static const char *const files[] = { "audit/log.jsonl", "keys/store.pub" };

    for (size_t i = 0; i < 2; i++) {
        struct fixture f;
        struct err err = ERR_INIT;

        fixture_new(&f);
        record_many(&f, 1);
        CHECK_OK(fs_unlink(f.dirfd, files[i], &err));
        check_blamed(&f, i == 0 ? 1 : 2, files[i]);
        write_file(&f, "keys/store.pub", "no key\n", 7);
        fixture_close(&f);
        CHECK_OK(fs_remove_tree(AT_FDCWD, f.path, &err));
        CHECK_OK(fs_mkdirs(AT_FDCWD, f.path, 0700, &err));
    }
}
