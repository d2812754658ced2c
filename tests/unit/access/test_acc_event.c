/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/access/acc_fixture.h"

#include "base/json.h"

#include <stdlib.h>

struct seen {
    int n;
    int64_t first, last;
    char text[4096];
};

static int
see(void *arg, const struct acc_event_row *row, struct err *err)
{
    struct seen *s = arg;
    size_t n = strlen(s->text);

    (void)err;
    if (s->n++ == 0)
        s->first = row->seq;
    s->last = row->seq;
    snprintf(s->text + n, sizeof(s->text) - n, "%s %s\n", row->e.verb, row->e.object);
    return strlen(row->hash_hex) == 64 && row->time_ns > 0 ? 0 : -1;
}

static struct seen
query(struct fixture *f, struct acc_log_query q)
{
    struct seen s = { .n = 0 };
    struct err err = ERR_INIT;

    CHECK_OK(acc_log(f->acc, &q, see, &s, &err));
    return s;
}

TEST(test_acc_event__log_filters_and_limits)
{
    struct fixture f;
    struct seen s;

    fixture_new(&f);
    record(&f, "push", "digits@1");
    record(&f, "push", "digits2@1");
    record(&f, "promote", "digits@production");
    record(&f, "list", "");
    record(&f, "pull", "digits");
    s = query(&f, (struct acc_log_query){ 0 });
    CHECK_INT(s.n, 5);
    CHECK_STR(s.text, "push digits@1\npush digits2@1\npromote digits@production\n"
                      "list \npull digits\n");
    s = query(&f, (struct acc_log_query){ .model = "digits" });
    CHECK_STR(s.text, "push digits@1\npromote digits@production\npull digits\n");
    s = query(&f, (struct acc_log_query){ .model = "digits", .limit = 2 });
    CHECK_STR(s.text, "promote digits@production\npull digits\n");
    s = query(&f, (struct acc_log_query){ .verb = "push", .limit = 1 });
    CHECK_STR(s.text, "push digits2@1\n");
    s = query(&f, (struct acc_log_query){ .actor = "nobody-at-all" });
    CHECK_INT(s.n, 0);
    s = query(&f, (struct acc_log_query){ .actor = acc_actor(f.acc), .limit = 99 });
    CHECK_INT(s.n, 5);
    fixture_close(&f);
}

TEST(test_acc_event__rows_cannot_be_changed)
{
    struct fixture f;
    struct err err = ERR_INIT;

    fixture_new(&f);
    record(&f, "push", "digits@1");
    CHECK_ERR(db_run(f.db, &err, "UPDATE event SET actor = 'eve'", ""), ERR_DB);
    CHECK_ERR(db_run(f.db, &err, "DELETE FROM event", ""), ERR_DB);
    fixture_close(&f);
}

TEST(test_acc_event__rollback_takes_the_event_along)
{
    struct fixture f;
    struct err err = ERR_INIT;
    struct acc_event e = {
        .verb = "push", .object = "a@1", .digest = "", .outcome = "ok", .body = "{}"
    };
    struct acc_verify v;

    fixture_new(&f);
    CHECK_OK(db_begin(f.db, &err));
    CHECK_OK(acc_record(f.acc, &e, &err));
    db_rollback(f.db);
    record(&f, "push", "b@1");
    publish(&f);
    CHECK_OK(acc_verify(f.acc, &v, &err));
    CHECK_INT(v.n_events, 1);
    CHECK_STR(query(&f, (struct acc_log_query){ 0 }).text, "push b@1\n");
    fixture_close(&f);
}

TEST(test_acc_event__body_is_one_object_on_one_line)
{
    static const struct {
        const char *body;
        enum err_code code;
    } cases[] = { { "", ERR_INVALID },         { "[1]", ERR_INVALID },
                  { "{\"a\":1", ERR_INVALID }, { "{\n}", ERR_INVALID },
                  { "{} x", ERR_INVALID },     { "7", ERR_INVALID } };
    struct fixture f;
    struct err err = ERR_INIT;
    char *big = xmalloc(2 << 20);

    fixture_new(&f);
    CHECK_OK(db_begin(f.db, &err));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct acc_event e = { .verb = "x",
                               .object = "",
                               .digest = "",
                               .outcome = "ok",
                               .body = cases[i].body };
        CHECK_ERR(acc_record(f.acc, &e, &err), cases[i].code);
    }
    memset(big, ' ', (2 << 20) - 1);
    big[0] = '{';
    big[1] = '}';
    big[(2 << 20) - 1] = '\0';
    struct acc_event e = {
        .verb = "x", .object = "", .digest = "", .outcome = "ok", .body = big
    };
    CHECK_ERR(acc_record(f.acc, &e, &err), ERR_LIMIT);
    free(big);
    db_rollback(f.db);
    fixture_close(&f);
}

/* The hash, computed here from the description and not by the code under test. */
TEST(test_acc_event__hash_is_what_the_format_says)
{
    struct fixture f;
    struct err err = ERR_INIT;
    struct db_stmt *st = NULL;
    struct buf b = BUF_INIT;
    struct digest leaf, chain;
    uint8_t bytes[65] = { 1 };
    size_t n;

    fixture_new(&f);
    record(&f, "push", "digits@1");
    CHECK_OK(db_query(
        f.db, &st, &err,
        "SELECT time_ns, actor, leaf, chain, body FROM event WHERE seq = 1", ""));
    CHECK_INT(db_step(st, &err), 1);
    buf_addc(&b, '\0');
    buf_addf(&b,
             "sluice-event 1\n1\n%" PRId64 "\n%zu:%s\n4:push\n8:digits@1\n0:\n2:ok\n"
             "%zu:%s\n",
             db_int(st, 0), strlen(db_text(st, 1)), db_text(st, 1),
             strlen(db_text(st, 4)), db_text(st, 4));
    /* what the caller said, and the rows of a new store */
    CHECK(strncmp(db_text(st, 4), "{\"from\":1,\"to\":2,\"rows\":[", 25) == 0);
    sha256_of(b.data, b.len, &leaf);
    CHECK(memcmp(db_blob(st, 2, &n), leaf.b, 32) == 0);
    memcpy(bytes + 33, leaf.b, 32);
    sha256_of(bytes, sizeof(bytes), &chain);
    CHECK(memcmp(db_blob(st, 3, &n), chain.b, 32) == 0);
    db_done(st);
    buf_release(&b);
    fixture_close(&f);
}

TEST(test_acc_event__log_lines_are_json)
{
    struct fixture f;
    struct err err = ERR_INIT;
    struct buf log = BUF_INIT;
    cJSON *json = NULL;
    const char *text;

    fixture_new(&f);
    record(&f, "push", "a\"b\\\n\xff@1");
    publish(&f);
    read_file(&f, "audit/log.jsonl", &log);
    CHECK(strchr(log.data, '\n') == log.data + log.len - 1);
    CHECK_OK(json_parse(&json, (struct str){ log.data, log.len }, "line", &err));
    CHECK_OK(json_str(json, "object", NULL, &text, "line", &err));
    CHECK_STR(text, "a\"b\\\n\xef\xbf\xbd@1");
    CHECK_OK(json_str(json, "chain", NULL, &text, "line", &err));
    CHECK_INT(strlen(text), 64);
    json_free(&json);
    buf_release(&log);
    fixture_close(&f);
}

TEST(test_acc_event__figures_and_events_behind_a_number)
{
    struct err err = ERR_INIT;
    struct acc_figures figures;
    struct fixture f;
    struct seen s;

    fixture_new(&f);
    CHECK_OK(acc_figures(f.acc, &figures, &err));
    CHECK_INT(figures.last_seq, 0);
    CHECK_INT(figures.last_ns, 0);
    for (int i = 0; i < 4; i++)
        record(&f, "push", "digits@1");
    CHECK_OK(acc_figures(f.acc, &figures, &err));
    CHECK_INT(figures.last_seq, 4);
    CHECK(figures.last_ns > 0);
    CHECK_INT(figures.head_seq, 0);
    CHECK_OK(acc_publish(f.acc, &err));
    CHECK_OK(acc_figures(f.acc, &figures, &err));
    CHECK_INT(figures.head_seq, 4);

    s = query(&f, (struct acc_log_query){ .after = 2 });
    CHECK_INT(s.n, 2);
    CHECK_INT(s.first, 3);
    s = query(&f, (struct acc_log_query){ .after = 2, .limit = 1 });
    CHECK_INT(s.first, 4);
    s = query(&f, (struct acc_log_query){ .after = 2, .limit = 9 });
    CHECK_INT(s.n, 2);
    s = query(&f, (struct acc_log_query){ .after = 4 });
    CHECK_INT(s.n, 0);
    fixture_close(&f);
}
