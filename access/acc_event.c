/* SPDX-License-Identifier: Apache-2.0 */
/* The event table. What is hashed, so that others can check it:
 *
 *   body  = "sluice-event 1\n" SEQ "\n" TIME_NS "\n" F(actor) F(verb) F(object)
 *           F(digest) F(outcome) F(body)      numbers in decimal
 *   F(x)  = LENGTH ":" x "\n"                 length in bytes, in decimal
 *   leaf  = SHA-256(0x00 body)
 *   chain = SHA-256(0x01 CHAIN-OF-SEQ-1 leaf) 32 zero bytes before the first event
 *
 * Each field carries its length, so no two different rows have one body. */
#include "access/acc_int.h"

#include "base/clock.h"
#include "base/json.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

static struct str
column(struct db_stmt *st, int col)
{
    struct str s;

    s.p = db_blob(st, col, &s.n);
    return s;
}

static bool
column_digest(struct db_stmt *st, int col, struct digest *out)
{
    struct str s = column(st, col);

    memset(out, 0, sizeof(*out));
    if (s.n != sizeof(out->b))
        return false;
    memcpy(out->b, s.p, s.n);
    return true;
}

void
acc_row_read(struct db_stmt *st, struct acc_row *out)
{
    out->seq = db_int(st, 0);
    out->time_ns = db_int(st, 1);
    out->actor = column(st, 2);
    out->verb = column(st, 3);
    out->object = column(st, 4);
    out->digest = column(st, 5);
    out->outcome = column(st, 6);
    out->body = column(st, 7);
    out->hashes_whole = column_digest(st, 8, &out->leaf);
    if (!column_digest(st, 9, &out->chain))
        out->hashes_whole = false;
}

void
acc_leaf(const struct acc_row *row, struct digest *out)
{
    const struct str fields[] = { row->actor,  row->verb,    row->object,
                                  row->digest, row->outcome, row->body };
    struct buf b AUTO(buf_release) = BUF_INIT;

    buf_addc(&b, '\0');
    buf_addf(&b, "sluice-event 1\n%" PRId64 "\n%" PRId64 "\n", row->seq, row->time_ns);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        buf_addf(&b, "%zu:", fields[i].n);
        buf_add(&b, fields[i].p, fields[i].n);
        buf_addc(&b, '\n');
    }
    sha256_of(b.data, b.len, out);
}

void
acc_chain(const struct digest *before, const struct digest *leaf, struct digest *out)
{
    uint8_t bytes[1 + 2 * sizeof(leaf->b)] = { 0x01 };

    memcpy(bytes + 1, before->b, sizeof(before->b));
    memcpy(bytes + 1 + sizeof(before->b), leaf->b, sizeof(leaf->b));
    sha256_of(bytes, sizeof(bytes), out);
}

void
acc_row_line(const struct acc_row *row, struct buf *out)
{
    const struct {
        const char *key;
        struct str value;
    } fields[] = { { "actor", row->actor },
                   { "verb", row->verb },
                   { "object", row->object },
                   { "digest", row->digest },
                   { "outcome", row->outcome } };
    char time[CLOCK_TEXT_BYTES], hex[DIGEST_HEX_BYTES];

    digest_hex(&row->chain, hex);
    /* JSON's numbers are doubles: nanoseconds go as a string */
    buf_addf(out, "{\"seq\":%" PRId64 ",\"time\":\"%s\",\"time_ns\":\"%" PRId64 "\"",
             row->seq, clock_text(row->time_ns, time), row->time_ns);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        buf_addf(out, ",\"%s\":", fields[i].key);
        json_add_quoted(out, fields[i].value);
    }
    buf_adds(out, ",\"body\":");
    buf_add(out, row->body.p, row->body.n);
    buf_addf(out, ",\"chain\":\"%s\"}\n", hex);
}

int
acc_row_insert(struct db *db, const struct acc_row *row, struct err *err)
{
    return db_run(db, err,
                  "INSERT INTO event(" ACC_ROW_COLUMNS ") VALUES(?,?,?,?,?,?,?,?,?,?)",
                  "iissssssbb", row->seq, row->time_ns, row->actor, row->verb,
                  row->object, row->digest, row->outcome, row->body, row->leaf.b,
                  sizeof(row->leaf.b), row->chain.b, sizeof(row->chain.b));
}

/* A body stands inside a line of the log file, so it must be one object on one line. */
static int
check_body(const char *body, struct err *err)
{
    cJSON *json AUTO(json_free) = NULL;
    struct str text = str_of(body);
    int r;

    if (text.n > ACC_BODY_MAX)
        return err_set(err, ERR_LIMIT, "event body of %zu bytes: the limit is %zu",
                       text.n, ACC_BODY_MAX);
    r = json_parse(&json, text, "event body", err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < text.n; i++)
        if ((uint8_t)text.p[i] < ' ' || !cJSON_IsObject(json))
            return err_set(err, ERR_INVALID, "event body: not one object on one line");
    return 0;
}

/* The end of the chain; seq 0 and zeros in an empty table. */
static int
last_event(struct db *db, int64_t *seq, struct digest *chain, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int r = db_query(db, &st, err,
                     "SELECT seq, chain FROM event ORDER BY seq DESC LIMIT 1", "");

    if (r < 0)
        return r;
    *seq = 0;
    memset(chain, 0, sizeof(*chain));
    r = db_step(st, err);
    if (r == 1) {
        *seq = db_int(st, 0);
        if (!column_digest(st, 1, chain))
            return err_set(err, ERR_CORRUPT,
                           "event %" PRId64 ": its chain hash is no hash; sluice audit "
                           "verify tells more",
                           *seq);
    }
    return r < 0 ? r : 0;
}

static void
add_member(struct buf *out, const char *key, struct str value)
{
    out->len = (size_t)(strrchr(buf_str(out), '}') - out->data);
    while (out->len > 0 && out->data[out->len - 1] == ' ')
        out->len--;
    out->data[out->len] = '\0';
    buf_addf(out, "%s\"%s\":", out->data[out->len - 1] == '{' ? "" : ",", key);
    buf_add(out, value.p, value.n);
    buf_addc(out, '}');
}

static void
add_text(struct buf *out, const char *key, const char *value)
{
    struct buf quoted AUTO(buf_release) = BUF_INIT;

    if (!value || !value[0])
        return;
    json_add_quoted(&quoted, str_of(value));
    add_member(out, key, (struct str){ quoted.data, quoted.len });
}

/* The body with how it is known who asks, and with the rows that changed, so that the
 * log alone can bring them back. */
static int
complete(struct acc *a, const char *body, struct buf *out, struct err *err)
{
    struct buf rows AUTO(buf_release) = BUF_INIT;
    int r = db_facts_take(a->db, &rows, err);

    if (r < 0)
        return r;
    buf_adds(out, body);
    if (a->who) {
        add_text(out, "via", a->who->via);
        add_text(out, "trace", a->who->trace);
    }
    if (r > 0)
        add_member(out, ACC_ROWS, (struct str){ rows.data, rows.len });
    return buf_check(out, "event body", err);
}

int
acc_record(struct acc *a, const struct acc_event *e, struct err *err)
{
    struct buf body AUTO(buf_release) = BUF_INIT;
    struct acc_row row = { .time_ns = clock_now_ns(),
                           .actor = str_of(a->actor),
                           .verb = str_of(e->verb),
                           .object = str_of(e->object),
                           .digest = str_of(e->digest),
                           .outcome = str_of(e->outcome) };
    struct digest before;
    int r;

    if (!db_in_tx(a->db))
        BUG("an event outside the transaction of its act: %s", e->verb);
    r = check_body(e->body, err);
    if (r == 0)
        r = complete(a, e->body, &body, err);
    row.body = (struct str){ buf_str(&body), body.len };
    if (r == 0)
        r = last_event(a->db, &row.seq, &before, err);
    if (r < 0)
        return err_ctx(err, "record %s", e->verb);
    row.seq++;
    acc_leaf(&row, &row.leaf);
    acc_chain(&before, &row.leaf, &row.chain);
    return acc_row_insert(a->db, &row, err);
}

/* Is `object` the model itself or "model@…"? */
static bool
is_of_model(struct str object, const char *model)
{
    size_t n = strlen(model);

    return object.n >= n && memcmp(object.p, model, n) == 0 &&
           (object.n == n || object.p[n] == '@');
}

/* 1: the row that the statement stands at is asked for, and in *out; 0: it is not. */
static int
take_wanted(const struct acc_log_query *q, struct db_stmt *st,
            char hex[DIGEST_HEX_BYTES], struct acc_event_row *out, struct err *err)
{
    struct acc_row row;

    acc_row_read(st, &row);
    *out = (struct acc_event_row){
        .seq = db_int(st, 0),
        .time_ns = db_int(st, 1),
        .actor = db_text(st, 2),
        .e = { .verb = db_text(st, 3),
               .object = db_text(st, 4),
               .digest = db_text(st, 5),
               .outcome = db_text(st, 6),
               .body = db_text(st, 7) },
        .hash_hex = hex,
    };
    digest_hex(&row.chain, hex);
    if ((q->model && !is_of_model(row.object, q->model)) ||
        (q->verb && !str_is(row.verb, q->verb)) ||
        (q->actor && !str_is(row.actor, q->actor)))
        return 0;
    return q->shows ? q->shows(q->arg, out, err) : 1;
}

static int64_t
before(const struct acc_log_query *q)
{
    return q->before_seq > 0 ? q->before_seq : INT64_MAX;
}

/* The seq from which on there are q->limit wanted events. */
static int
find_start(struct acc *a, const struct acc_log_query *q, int64_t *seq, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int64_t left = q->limit;
    int r = db_query(a->db, &st, err,
                     "SELECT " ACC_ROW_COLUMNS
                     " FROM event WHERE seq > ? AND seq < ? ORDER BY seq DESC",
                     "ii", q->after, before(q));

    *seq = q->after + 1;
    while (r >= 0 && left > 0 && (r = db_step(st, err)) == 1) {
        char hex[DIGEST_HEX_BYTES];
        struct acc_event_row row;

        r = take_wanted(q, st, hex, &row, err);
        if (r == 1 && --left == 0)
            *seq = row.seq;
    }
    return r < 0 ? r : 0;
}

int
acc_log(struct acc *a, const struct acc_log_query *q,
        int (*fn)(void *arg, const struct acc_event_row *row, struct err *err),
        void *arg, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int64_t start;
    int r = find_start(a, q, &start, err);

    if (r == 0)
        r = db_query(a->db, &st, err,
                     q->newest_first
                         ? "SELECT " ACC_ROW_COLUMNS
                           " FROM event WHERE seq >= ? AND seq < ? ORDER BY seq DESC"
                         : "SELECT " ACC_ROW_COLUMNS
                           " FROM event WHERE seq >= ? AND seq < ? ORDER BY seq",
                     "ii", start, before(q));
    while (r >= 0 && (r = db_step(st, err)) == 1) {
        char hex[DIGEST_HEX_BYTES];
        struct acc_event_row row;

        r = take_wanted(q, st, hex, &row, err);
        if (r == 1 && (r = fn(arg, &row, err)) != 0)
            return r < 0 ? r : 0;
    }
    return r;
}

int
acc_figures(struct acc *a, struct acc_figures *out, struct err *err)
{
    struct acc_head slots[ACC_HEAD_SLOTS];
    const int64_t now_ns = clock_now_ns();
    int fd AUTO(fs_close) = -1;
    int r;

    *out = (struct acc_figures){ .last_seq = 0 };
    r = db_get_int(a->db, &out->last_seq, err, "SELECT max(seq) FROM event", "");
    if (r >= 0)
        r = db_get_int(a->db, &out->last_ns, err,
                       "SELECT time_ns FROM event WHERE seq = ?", "i", out->last_seq);
    if (r >= 0)
        r = db_get_int(a->db, &out->n_tokens_ending, err,
                       "SELECT count(*) FROM token "
                       "WHERE revoked_ns = 0 AND expires_ns BETWEEN ? AND ?",
                       "ii", now_ns, now_ns + INT64_C(7) * 86400 * 1000000000);
    if (r < 0 || (r = fs_open(&fd, a->dirfd, ACC_HEAD_FILE, O_RDONLY, 0, err)) < 0 ||
        (r = acc_head_read(fd, slots, err)) < 0)
        return r;
    out->head_seq = slots[acc_head_newest(slots)].seq;
    return 0;
}
