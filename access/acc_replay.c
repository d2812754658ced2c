/* SPDX-License-Identifier: Apache-2.0 */
/* From audit/log.jsonl back to rows. A line is believed when its hash follows from the
 * line before it; after one that is damaged the chain is taken up again from the hash
 * that the next good line needs, so that one bad sector costs one event. */
#include "access/acc_int.h"

#include "base/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TAIL_BYTES (sizeof(",\"chain\":\"") - 1 + 64 + sizeof("\"}\n") - 1)

struct replay {
    struct acc_replay *out;
    struct db *db;
    const struct db_schema *schemas;
    int n_schemas;
    bool rows_only;    /* the events themselves are not written */
    int64_t last_seq;  /* of the last event that was brought back or passed over */
    int64_t n_skipped; /* damaged lines since then */
    bool chain_known;  /* out->chain is that of last_seq */
    struct acc_head
        head; /* the newest signed one that the key bears out; seq 0: none */
    int (*lost)(void *arg, const char *what, struct err *err);
    void *arg;
};

static int PRINTF(3, 4) lose(struct replay *p, struct err *err, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return p->lost(p->arg, text, err);
}

/* ---- one event ------------------------------------------------------------------- */

/* Makes the changes again. One that cannot be made is lost, the others are not. */
static int
apply_rows(struct replay *p, const struct acc_row *row, struct err *err)
{
    cJSON *body AUTO(json_free) = NULL;
    const cJSON *change;
    int r = json_parse(&body, row->body, "event body", err);

    if (r < 0)
        return r;
    cJSON_ArrayForEach(change, cJSON_GetObjectItemCaseSensitive(body, ACC_ROWS))
    {
        r = db_facts_apply(p->db, p->schemas, p->n_schemas, change, err);
        if (r < 0) {
            const struct err why = *err;

            err_clear(err);
            r = lose(p, err, "event %" PRId64 " (%.*s %.*s): %s", row->seq,
                     STR_ARG(row->verb), STR_ARG(row->object), why.msg);
            if (r < 0)
                return r;
            continue;
        }
        p->out->n_rows++;
    }
    return 0;
}

static int
take_row(struct replay *p, const struct acc_row *row, struct err *err)
{
    int r = 0;

    if (row->seq > p->last_seq + 1 + p->n_skipped)
        r = lose(p, err, "events %" PRId64 " to %" PRId64 " are gone", p->last_seq + 1,
                 row->seq - 1);
    if (r == 0 && !p->rows_only)
        r = acc_row_insert(p->db, row, err);
    if (r == 0)
        r = apply_rows(p, row, err);
    if (r == 0 && row->seq == p->head.seq && !digest_eq(&row->chain, &p->head.chain))
        r = lose(p, err,
                 "event %" PRId64 ": the log is not the one that " ACC_HEAD_FILE
                 " signs: events before it were changed",
                 row->seq);
    p->last_seq = row->seq;
    p->n_skipped = 0;
    p->out->chain = row->chain;
    p->chain_known = true;
    p->out->n_events++;
    return r;
}

/* ---- the file -------------------------------------------------------------------- */

static const char *
string_of(const cJSON *o, const char *key)
{
    const char *s = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, key));

    return s ? s : "";
}

/* The row that a line tells; its strings are lent by `o` and by the line. NULL: taken,
 * else what is wrong. */
static const char *
parse_line(const cJSON *o, struct str line, struct acc_row *out)
{
    static const char body_key[] = ",\"body\":";
    const char *body, *end = line.p + line.n - TAIL_BYTES;
    char *rest;

    body = memmem(line.p, line.n, body_key, sizeof(body_key) - 1);
    if (!body || line.n < TAIL_BYTES || body >= end ||
        memcmp(end, ",\"chain\":\"", 10) != 0 ||
        !digest_parse((struct str){ end + 10, 64 }, &out->chain))
        return "not as this program writes it";
    body += sizeof(body_key) - 1;
    *out = (struct acc_row){ .actor = str_of(string_of(o, "actor")),
                             .verb = str_of(string_of(o, "verb")),
                             .object = str_of(string_of(o, "object")),
                             .digest = str_of(string_of(o, "digest")),
                             .outcome = str_of(string_of(o, "outcome")),
                             .body = { body, (size_t)(end - body) },
                             .chain = out->chain,
                             .hashes_whole = true };
    errno = 0;
    out->seq = strtoll(line.p + sizeof("{\"seq\":") - 1, &rest, 10);
    if (errno == 0)
        out->time_ns = strtoll(string_of(o, "time_ns"), &rest, 10);
    if (errno != 0 || *rest != '\0' || out->seq < 1)
        return "no number or no time";
    acc_leaf(out, &out->leaf);
    return NULL;
}

/* Does the row's hash follow from that of the event before it? After a gap: does it
 * follow from `before`, what the damaged line says its hash is? */
static bool
follows(const struct replay *p, const struct acc_row *row, const struct digest *before)
{
    struct digest chain;

    acc_chain(before, &row->leaf, &chain);
    return (p->chain_known || row->seq > p->last_seq + 1) &&
           digest_eq(&chain, &row->chain);
}

static int
take_line(struct replay *p, struct str line, int64_t number, struct err *err)
{
    cJSON *o AUTO(json_free) = NULL;
    struct acc_row row;
    const char *fault = "cut off";
    struct digest said;
    int r;

    if (line.n > TAIL_BYTES && line.p[line.n - 1] == '\n') {
        fault = "no JSON";
        if (json_parse(&o, line, "line", err) < 0)
            err_clear(err);
        else
            fault = parse_line(o, line, &row);
    }
    if (!fault && row.seq <= p->last_seq)
        fault = "its number came before";
    if (!fault && !follows(p, &row, &p->out->chain))
        fault = "its hash does not follow from the event before it";
    if (!fault)
        return take_row(p, &row, err);
    p->n_skipped++;
    r = lose(p, err, "line %" PRId64 " of " ACC_LOG_FILE ": %s: this event is lost",
             number, fault);
    /* the hash it ends with may be whole, and what the next line goes on from */
    if (line.n > TAIL_BYTES &&
        digest_parse((struct str){ line.p + line.n - TAIL_BYTES + 10, 64 }, &said))
        p->out->chain = said;
    return r;
}

static int
read_log(struct replay *p, FILE *log, struct err *err)
{
    char *line AUTO(free_ptr) = NULL;
    size_t alloc_bytes = 0;
    int64_t number = 0;
    ssize_t n = 0;
    int r = 0;

    while (r == 0 && (errno = 0, n = getline(&line, &alloc_bytes, log)) > 0)
        r = take_line(p, (struct str){ line, (size_t)n }, ++number, err);
    return r == 0 && n < 0 && errno != 0 ? err_sys(err, errno, "read " ACC_LOG_FILE)
                                         : r;
}

/* ---- what the file lacks --------------------------------------------------------- */

/* Events of the old catalogue beyond the file's end, as far as they can be read. */
static int
read_old(struct replay *p, struct db *old, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int r = db_query(old, &st, err,
                     "SELECT " ACC_ROW_COLUMNS " FROM event WHERE seq > ? ORDER BY seq",
                     "i", p->last_seq);

    while (r == 0 && (r = db_step(st, err)) == 1) {
        struct acc_row row;

        acc_row_read(st, &row);
        acc_leaf(&row, &row.leaf);
        if (!row.hashes_whole || !follows(p, &row, &p->out->chain))
            return 0;
        r = take_row(p, &row, err);
    }
    if (r == -ERR_CORRUPT || r == -ERR_DB) {
        err_clear(err); /* it is damaged: that is why we are here */
        r = 0;
    }
    return r;
}

/* The newest head that this store's key signed. */
static int
read_head(struct replay *p, int store_dirfd, struct err *err)
{
    struct acc_head slots[ACC_HEAD_SLOTS];
    uint8_t pub[32];
    int fd AUTO(fs_close) = -1;
    int r = fs_open(&fd, store_dirfd, ACC_HEAD_FILE, O_RDONLY, 0, err);

    if (r == 0)
        r = acc_head_read(fd, slots, err);
    if (r == 0)
        r = acc_key_public(store_dirfd, pub, err);
    if (r < 0) {
        const struct err why = *err;

        err_clear(err);
        p->out->head_is_lost = true;
        return lose(p, err, "the signed head of the log: %s", why.msg);
    }
    for (int i = 0; i < ACC_HEAD_SLOTS; i++)
        if (slots[i].seq > p->head.seq && acc_head_verify(&slots[i], pub))
            p->head = slots[i];
    return 0;
}

int
acc_replay(int store_dirfd, struct db *db, struct db *old_or_null,
           const struct db_schema *schemas, int n_schemas, struct acc_replay *out,
           int (*lost)(void *arg, const char *what, struct err *err), void *arg,
           struct err *err)
{
    struct replay p = { .out = out,
                        .db = db,
                        .schemas = schemas,
                        .n_schemas = n_schemas,
                        .chain_known = true,
                        .lost = lost,
                        .arg = arg };
    int fd AUTO(fs_close) = -1;
    FILE *log = NULL;
    int r;

    memset(out, 0, sizeof(*out));
    r = read_head(&p, store_dirfd, err);
    if (r == 0 && fs_open(&fd, store_dirfd, ACC_LOG_FILE, O_RDONLY, 0, err) < 0) {
        const struct err why = *err;

        err_clear(err);
        r = lose(&p, err, "the log: %s", why.msg);
    } else if (r == 0) {
        log = fdopen(fd, "r");
        fd = -1;
        r = log ? read_log(&p, log, err) : err_sys(err, errno, "read " ACC_LOG_FILE);
        if (log)
            fclose(log);
    }
    if (r == 0 && old_or_null)
        r = read_old(&p, old_or_null, err);
    if (r == 0) /* of a log that an older program wrote */
        r = db_run(db, err, ACC_RULES_FROM_GRANTS, "");
    if (r == 0)
        r = db_run(db, err, ACC_GRANTS_GONE, "");
    out->head_seq = p.head.seq;
    out->head_is_lost |= p.head.seq > p.last_seq;
    if (r == 0 && p.head.seq > p.last_seq)
        r = lose(&p, err, "events %" PRId64 " to %" PRId64 ", which the head signs",
                 p.last_seq + 1, p.head.seq);
    return r < 0 ? err_ctx(err, "read the log back") : 0;
}

int
acc_replay_rows(struct db *from, struct db *to, const struct db_schema *schemas,
                int n_schemas, int64_t *n_events,
                int (*lost)(void *arg, const char *what, struct err *err), void *arg,
                struct err *err)
{
    struct acc_replay out = { .n_events = 0 };
    struct replay p = { .out = &out,
                        .db = to,
                        .schemas = schemas,
                        .n_schemas = n_schemas,
                        .rows_only = true,
                        .chain_known = true,
                        .lost = lost,
                        .arg = arg };
    int r = read_old(&p, from, err);

    *n_events = out.n_events;
    return r;
}
