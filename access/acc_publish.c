/* SPDX-License-Identifier: Apache-2.0 */
/* What leaves the database after a commit: lines for audit/log.jsonl, then a signed
 * head. The log file is its own watermark: its last whole line says how far it goes,
 * and what a crash left after that line is cut off. Nothing here is synced, so a power
 * cut may also leave zeros where lines were, with later lines behind them: the lines
 * from the first zero on are written again, from the table. */
#include "access/acc_int.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TAIL_BYTES 65536 /* looked through for zeros: some 150 events */
#define ROOM_BYTES 65536 /* at least so much is kept for when the disk is full */

/* Where lines end in the last bytes of the file. */
struct ends {
    off_t last, before; /* behind the last LF, and behind the one before it; 0: none */
};

/* Looks from `from` to the first zero, or the end. In small pieces: each page of memory
 * that a short process touches costs it more than the bytes in it. */
static int
find_ends(int fd, off_t from, off_t end, struct ends *out, struct err *err)
{
    char piece[8192];

    *out = (struct ends){ .last = 0 };
    for (off_t at = from; at < end;) {
        const size_t left = (size_t)(end - at);
        ssize_t n = pread(fd, piece, left < sizeof(piece) ? left : sizeof(piece), at);
        const char *zero, *lf;

        if (n <= 0)
            return err_sys(err, n < 0 ? errno : EIO, "read " ACC_LOG_FILE);
        zero = memchr(piece, '\0', (size_t)n);
        n = zero ? zero - piece : n;
        lf = memrchr(piece, '\n', (size_t)n);
        if (lf) {
            const char *other = memrchr(piece, '\n', (size_t)(lf - piece));

            out->before = other ? at + (other + 1 - piece) : out->last;
            out->last = at + (lf + 1 - piece);
        }
        if (zero)
            return 0;
        at += n;
    }
    return 0;
}

/* *seq of the last whole line (0: there is none) and the place where it ends. */
static int
find_watermark(int fd, int64_t *seq, off_t *end, struct err *err)
{
    static const char start[] = "{\"seq\":";
    const off_t size = lseek(fd, 0, SEEK_END);
    struct ends ends;
    char line[sizeof(start) + 24];
    int64_t n;

    if (size < 0)
        return err_sys(err, errno, "read " ACC_LOG_FILE);
    for (off_t want = TAIL_BYTES;; want *= 8) {
        const off_t from = size > want ? size - want : 0;
        int r = find_ends(fd, from, size, &ends, err);

        if (r < 0)
            return r;
        if (ends.before > 0 || from == 0)
            break;
    }
    *seq = 0;
    *end = ends.last;
    if (ends.last == 0)
        return 0;
    n = fs_read_at(fd, line, sizeof(line) - 1, ends.before, ACC_LOG_FILE, err);
    if (n < 0)
        return (int)n;
    line[n] = '\0';
    if (strncmp(line, start, sizeof(start) - 1) == 0)
        *seq = strtoll(line + sizeof(start) - 1, NULL, 10);
    if (*seq < 1)
        return err_set(err, ERR_CORRUPT,
                       ACC_LOG_FILE ": its last line is no event; sluice audit verify "
                                    "names the first bad one");
    return 0;
}

struct progress {
    struct acc_head head; /* before, then after */
    int64_t logged;       /* seq of the file's last line */
    struct buf lines;     /* to append */
};

static int
stray(const char *what, int64_t seq, struct err *err)
{
    return err_set(err, ERR_CORRUPT,
                   "the event table does not go on from event %" PRId64
                   " of %s: nothing "
                   "was signed; sluice audit verify names the first bad event",
                   seq, what);
}

/* Walks from the signed head (or the file's end, if that comes first) to the end of the
 * table. Signing a table that does not hold the signed head would hide what happened.
 */
static int
collect(struct acc *a, struct progress *p, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    const struct acc_head before = p->head;
    bool head_seen = before.seq == 0;
    int r = db_query(a->db, &st, err,
                     "SELECT " ACC_ROW_COLUMNS " FROM event WHERE seq >= ? "
                     "ORDER BY seq",
                     "i", before.seq <= p->logged ? before.seq : p->logged + 1);

    if (r < 0)
        return r;
    while ((r = db_step(st, err)) == 1) {
        struct acc_row row;

        acc_row_read(st, &row);
        if (row.seq == before.seq)
            head_seen = digest_eq(&row.chain, &before.chain);
        if (row.seq > p->logged)
            acc_row_line(&row, &p->lines);
        p->head.seq = row.seq;
        p->head.chain = row.chain;
    }
    if (r < 0)
        return r;
    if (!head_seen)
        return stray(ACC_HEAD_FILE, before.seq, err);
    if (p->head.seq < p->logged)
        return stray(ACC_LOG_FILE, p->logged, err);
    return buf_check(&p->lines, ACC_LOG_FILE, err);
}

/* The newer slot, if the store's key signed it. Ed25519 is deterministic, and signing
 * again costs less than verifying. *again: it was a key before this one. */
static int
check_head(struct acc *a, const struct acc_head *h, struct ed25519_key *key,
           bool *again, struct err *err)
{
    struct acc_head same = *h;
    uint8_t pub[32];
    int r = acc_head_sign(&same, key, err);

    *again = r == 0 && memcmp(same.sig, h->sig, sizeof(h->sig)) != 0;
    if (!*again)
        return r;
    if (acc_key_public(a->dirfd, pub, err) < 0)
        return -(int)err->code;
    r = acc_head_is_ours(a, h, pub, err);
    if (r == 0 || (r == 1 && acc_head_verify(h, pub)))
        r = err_set(err, ERR_CORRUPT,
                    ACC_HEAD_FILE ": the signature of event %" PRId64
                                  " is not by " ACC_KEY_FILE ": nothing was signed",
                    h->seq);
    return r < 0 ? r : 0;
}

static int
append(int fd, off_t end, const struct buf *lines, struct err *err)
{
    const off_t to = end + (off_t)lines->len;
    struct stat st;

    if (lines->len == 0)
        return 0;
    /* cut only what has to go: it would give back the room, too */
    if (fstat(fd, &st) < 0 || (st.st_size != end && ftruncate(fd, end) < 0) ||
        lseek(fd, end, SEEK_SET) < 0)
        return err_sys(err, errno, "append to " ACC_LOG_FILE);
    if (end == 0 || end / ROOM_BYTES != to / ROOM_BYTES)
        (void)!fallocate(fd, FALLOC_FL_KEEP_SIZE, end, to - end + 2 * ROOM_BYTES);
    return fs_write_all(fd, lines->data, lines->len, ACC_LOG_FILE, err);
}

static int
publish(struct acc *a, struct progress *p, struct err *err)
{
    int log_fd AUTO(fs_close) = -1, head_fd AUTO(fs_close) = -1;
    struct acc_head slots[ACC_HEAD_SLOTS];
    struct ed25519_key *key AUTO(ed25519_key_close_p) = NULL;
    uint8_t priv[32];
    off_t end = 0;
    bool again;
    int newest, r;

    if ((r = fs_lock(&log_fd, a->dirfd, ACC_LOG_FILE, ACC_LOCK_MS, err)) < 0 ||
        (r = fs_open(&head_fd, a->dirfd, ACC_HEAD_FILE, O_RDWR, 0, err)) < 0 ||
        (r = acc_head_read(head_fd, slots, err)) < 0 ||
        (r = find_watermark(log_fd, &p->logged, &end, err)) < 0)
        return r;
    newest = acc_head_newest(slots);
    p->head = slots[newest];
    if ((r = collect(a, p, err)) < 0 || (r = acc_key_install(a, err)) < 0 ||
        (r = acc_key_private(a->dirfd, priv, err)) < 0 ||
        (r = ed25519_key_open(&key, priv, err)) < 0 ||
        (r = check_head(a, &slots[newest], key, &again, err)) < 0 ||
        (r = append(log_fd, end, &p->lines, err)) < 0)
        return r;
    if (p->head.seq == slots[newest].seq)
        return 0;
    if ((r = acc_head_sign(&p->head, key, err)) == 0)
        r = acc_head_write(head_fd, 1 - newest, &p->head, err);
    return r < 0 || !again ? r : acc_head_write(head_fd, newest, &p->head, err);
}

int
acc_publish(struct acc *a, struct err *err)
{
    struct progress p = { .lines = BUF_INIT };
    int r = publish(a, &p, err);

    buf_release(&p.lines);
    return r < 0 ? err_ctx(err, "publish the audit log") : 0;
}
