/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ACCESS_ACC_INT_H
#define ACCESS_ACC_INT_H

#include "access/access.h"
#include "base/fs.h"

#include <sys/types.h>

#define ACC_NAME_BYTES 64              /* a subject with its NUL */
#define ACC_BODY_MAX ((size_t)1 << 20) /* of one event, without its rows */
#define ACC_LOCK_MS 10000              /* for the other publisher to end */

#define ACC_KEY_FILE "keys/store.key"
#define ACC_PUB_FILE "keys/store.pub"
#define ACC_HEAD_FILE "audit/head"
#define ACC_LOG_FILE "audit/log.jsonl"

struct acc {
    int dirfd; /* the store's, borrowed */
    struct db *db;
    uid_t uid;
    bool is_owner;
    char actor[ACC_NAME_BYTES];
    const struct acc_who *who; /* NULL: the kernel's user */
    /* the call under way, when it has a key */
    char *key, *reply;
    struct digest request;
};

/* ---- keys (acc_key.c) ---------------------------------------------------------- */

/* New ones, durable; the caller gets the bytes too. */
int acc_key_make(int store_dirfd, uint8_t priv[32], uint8_t pub[32],
                 struct err *err) MUST_CHECK;
int acc_key_private(int store_dirfd, uint8_t priv[32], struct err *err) MUST_CHECK;
int acc_key_public(int store_dirfd, uint8_t pub[32], struct err *err) MUST_CHECK;

/* ---- events (acc_event.c) ------------------------------------------------------ */

/* A row of the table, lent by the statement. Slices, not strings: a text that was
 * edited to hold a NUL must not hash as what stands before it. */
struct acc_row {
    int64_t seq, time_ns;
    struct str actor, verb, object, digest, outcome, body;
    struct digest leaf, chain;
    bool hashes_whole; /* leaf and chain are 32 bytes */
};
#define ACC_ROW_COLUMNS                                                                \
    "seq, time_ns, actor, verb, object, digest, outcome, body, leaf, chain"
void acc_row_read(struct db_stmt *st, struct acc_row *out);
void acc_leaf(const struct acc_row *row, struct digest *out);
void acc_chain(const struct digest *before, const struct digest *leaf,
               struct digest *out);
int acc_row_insert(struct db *db, const struct acc_row *row,
                   struct err *err) MUST_CHECK;
/* One line of audit/log.jsonl with its LF, appended. */
void acc_row_line(const struct acc_row *row, struct buf *out);

/* ---- the signed head (acc_head.c) ---------------------------------------------- */

#define ACC_HEAD_SLOTS 2
struct acc_head {
    int64_t seq; /* 0: no event yet */
    struct digest chain;
    uint8_t sig[64];
};
/* A new file with both slots at seq 0, durable. */
int acc_head_make(int store_dirfd, const uint8_t priv[32], struct err *err) MUST_CHECK;
/* The slots as they stand, signatures unchecked. ERR_NOTFOUND, ERR_CORRUPT. */
int acc_head_read(int fd, struct acc_head out[ACC_HEAD_SLOTS],
                  struct err *err) MUST_CHECK;
int acc_head_write(int fd, int slot, const struct acc_head *h,
                   struct err *err) MUST_CHECK;
/* Fills h->sig. */
int acc_head_sign(struct acc_head *h, struct ed25519_key *key,
                  struct err *err) MUST_CHECK;
bool acc_head_verify(const struct acc_head *h, const uint8_t pub[32]);
int acc_head_newest(const struct acc_head slots[ACC_HEAD_SLOTS]);

#endif
