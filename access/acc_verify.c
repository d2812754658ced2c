/* SPDX-License-Identifier: Apache-2.0 */
/* One walk over the table, with the log file's lines and the two signed heads laid
 * beside it, so that what is named is the first event where any of them disagrees. */
#include "access/acc_int.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct audit {
    struct acc_verify *out;
    struct digest chain; /* up to the last good event */
    struct acc_head heads[ACC_HEAD_SLOTS];
    FILE *log;
    off_t log_left; /* bytes of the file that are older than the walk */
    char *line;
    size_t line_alloc_bytes;
    ssize_t line_bytes; /* 0: no whole line is left */
};

static void PRINTF(3, 4) blame(struct audit *v, int64_t seq, const char *fmt, ...)
{
    va_list ap;

    v->out->bad_seq = seq;
    va_start(ap, fmt);
    vsnprintf(v->out->reason, sizeof(v->out->reason), fmt, ap);
    va_end(ap);
}

/* A last line without its LF and zeros are what a crash left: the next publisher writes
 * the lines again from there on. */
static int
next_line(struct audit *v, struct err *err)
{
    v->line_bytes = 0;
    if (v->log_left == 0)
        return 0;
    errno = 0;
    v->line_bytes = getline(&v->line, &v->line_alloc_bytes, v->log);
    if (v->line_bytes < 0 && errno != 0)
        return err_sys(err, errno, "read " ACC_LOG_FILE);
    if (v->line_bytes <= 0 || v->line_bytes > v->log_left ||
        v->line[v->line_bytes - 1] != '\n' ||
        memchr(v->line, '\0', (size_t)v->line_bytes))
        v->line_bytes = v->log_left = 0;
    v->log_left -= v->line_bytes;
    return 0;
}

/* Compares one row with what its place in the chain, in the file and in the signed
 * heads demands; what differs is blamed. */
static int
check_row(struct audit *v, const struct acc_row *row, struct err *err)
{
    struct buf line AUTO(buf_release) = BUF_INIT;
    const int64_t seq = v->out->n_events + 1;
    struct digest leaf, chain;

    acc_leaf(row, &leaf);
    acc_chain(&v->chain, &leaf, &chain);
    if (row->seq != seq) {
        blame(v, seq,
              row->seq > seq ? "missing: deleted from the table"
                             : "a row is numbered %" PRId64,
              row->seq);
        return 0;
    }
    if (!row->hashes_whole || !digest_eq(&leaf, &row->leaf)) {
        blame(v, seq, "the row differs from its hash: it was edited, moved or put in");
        return 0;
    }
    if (!digest_eq(&chain, &row->chain)) {
        blame(v, seq, "its chain hash does not follow from the event before it");
        return 0;
    }
    if (v->line_bytes > 0) {
        acc_row_line(row, &line);
        if (line.len != (size_t)v->line_bytes ||
            memcmp(line.data, v->line, line.len) != 0) {
            blame(v, seq, "table and line %" PRId64 " of " ACC_LOG_FILE " differ", seq);
            return 0;
        }
        v->out->log_seq = seq;
    }
    for (int i = 0; i < ACC_HEAD_SLOTS; i++)
        if (v->heads[i].seq == seq && !digest_eq(&v->heads[i].chain, &chain)) {
            blame(v, seq, "the table up to here is not what " ACC_HEAD_FILE " covers");
            return 0;
        }
    v->out->n_events = seq;
    v->chain = chain;
    return next_line(v, err);
}

static int
check_rows(struct audit *v, struct db *db, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int r = db_query(db, &st, err, "SELECT " ACC_ROW_COLUMNS " FROM event ORDER BY seq",
                     "");

    if (r < 0)
        return r;
    while (v->out->bad_seq == 0 && (r = db_step(st, err)) == 1) {
        struct acc_row row;

        acc_row_read(st, &row);
        r = check_row(v, &row, err);
        if (r < 0)
            return r;
    }
    return r < 0 ? r : 0;
}

/* The table has ended: nothing outside it may go further. */
static void
check_end(struct audit *v)
{
    const int64_t end = v->out->n_events;

    if (v->line_bytes > 0)
        blame(v, end + 1,
              "missing: the table ends before it, " ACC_LOG_FILE " does not");
    else if (v->out->head_seq > end)
        blame(v, end + 1,
              "missing: the table ends before it, the signed head covers %" PRId64,
              v->out->head_seq);
}

/* The key itself against the one that the catalogue has, then the signatures. */
static int
check_heads(struct audit *v, struct acc *a, struct err *err)
{
    uint8_t pub[32];
    int r = acc_key_now(a, pub, err);

    if (r == -ERR_CONFLICT) {
        blame(v, 1, "%s", err->msg);
        err_clear(err);
        return 0;
    }
    for (int i = 0; r >= 0 && i < ACC_HEAD_SLOTS; i++) {
        r = acc_head_is_ours(a, &v->heads[i], pub, err);
        if (r == 0) {
            blame(v, v->heads[i].seq > 0 ? v->heads[i].seq : 1,
                  ACC_HEAD_FILE ": the signature in slot %d is not by this store's key",
                  i + 1);
            return 0;
        }
    }
    return r < 0 ? r : 0;
}

/* Heads and the log's length are taken before the table is read: whatever is in them
 * was committed by then, so a command that runs meanwhile raises no alarm. */
static int
open_witnesses(struct audit *v, struct acc *a, struct err *err)
{
    int head_fd AUTO(fs_close) = -1, log_fd AUTO(fs_close) = -1;
    struct stat st;
    int r = fs_open(&head_fd, a->dirfd, ACC_HEAD_FILE, O_RDONLY, 0, err);

    if (r == 0)
        r = acc_head_read(head_fd, v->heads, err);
    if (r == 0)
        r = fs_open(&log_fd, a->dirfd, ACC_LOG_FILE, O_RDONLY, 0, err);
    if (r < 0)
        return r;
    if (fstat(log_fd, &st) < 0)
        return err_sys(err, errno, "stat " ACC_LOG_FILE);
    v->log = fdopen(log_fd, "r");
    if (!v->log)
        return err_sys(err, errno, "read " ACC_LOG_FILE);
    log_fd = -1; /* the stream's now */
    v->log_left = st.st_size;
    v->out->head_seq = v->heads[acc_head_newest(v->heads)].seq;
    return next_line(v, err);
}

/* What is absent or unreadable was there when the store was made: found, not failed. */
static int
verify(struct audit *v, struct acc *a, struct err *err)
{
    int r = open_witnesses(v, a, err);

    if (r == 0)
        r = check_rows(v, a->db, err);
    if (r == 0 && v->out->bad_seq == 0)
        check_end(v);
    if (r == 0 && v->out->bad_seq == 0)
        r = check_heads(v, a, err);
    if (r == -ERR_CORRUPT || (r == -ERR_IO && err->sys == ENOENT)) {
        blame(v, v->out->n_events + 1, "%s", err->msg);
        err_clear(err);
        r = 0;
    }
    return r;
}

int
acc_verify(struct acc *a, struct acc_verify *out, struct err *err)
{
    struct audit v = { .out = out };
    int r;

    memset(out, 0, sizeof(*out));
    r = verify(&v, a, err);
    if (v.log)
        fclose(v.log);
    free(v.line);
    if (r < 0)
        return err_ctx(err, "verify the audit log");
    if (out->bad_seq != 0)
        return err_set(err, ERR_FAILED, "audit log: event %" PRId64 ": %s",
                       out->bad_seq, out->reason);
    return 0;
}
