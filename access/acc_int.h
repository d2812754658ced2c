/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ACCESS_ACC_INT_H
#define ACCESS_ACC_INT_H

#include "access/access.h"
#include "access/rule.h"
#include "base/fs.h"

#include <sys/types.h>

#define ACC_NAME_BYTES 64              /* a subject with its NUL */
#define ACC_BODY_MAX ((size_t)1 << 20) /* of one event, without its rows */
#define ACC_LOCK_MS 10000              /* for the other publisher to end */

#define ACC_KEY_FILE "keys/store.key"
#define ACC_PUB_FILE "keys/store.pub"
#define ACC_NEXT_FILE "keys/next.key"
#define ACC_HANDOVER "handover" /* member of the body of key_rotate's event */
#define ACC_HEAD_FILE "audit/head"
#define ACC_LOG_FILE "audit/log.jsonl"

/* The rules as they were read last (acc_gate.c). */
struct acc_cache {
    struct acc_rules *rules;
    int64_t change;     /* the last of them; -1: read again */
    int64_t db_version; /* nothing was committed by others since */
    bool touched;       /* this handle changes rules in the open transaction */
    int64_t until_ns, until_change; /* acc_rules_until's answer, and of which change */
};
struct acc {
    int dirfd; /* the store's, borrowed */
    struct db *db;
    uid_t uid;
    bool is_owner;
    char actor[ACC_NAME_BYTES];
    const struct acc_who *who; /* NULL: the kernel's user */
    struct acc_rules *scope;   /* of it, as rules of nobody; NULL: no bounds */
    struct acc_cache cache;
    /* the call under way, when it has a key */
    char *key, *reply;
    struct digest request;
};

/* ---- rules (acc_gate.c, acc_grant.c) ------------------------------------------- */

/* A grant of older programs, on a model or "*", becomes a rule; then it is gone. */
#define ACC_RULES_FROM_GRANTS                                                          \
    "INSERT INTO rule(subject, effect, what, object, from_ns, until_ns, given_by, "    \
    "given_ns, reason, ended_ns, change) "                                             \
    "SELECT subject, 'allow', right_, CASE model WHEN '*' THEN '*' WHEN 'store' "      \
    "THEN 'model:store' ELSE replace(replace(model, '\\', '\\\\'), '*', '\\*') "       \
    "END, time_ns, 9223372036854775807, "                                              \
    "granted_by, time_ns, '', 9223372036854775807, (SELECT coalesce(max(change), 0) "  \
    "FROM rule) + row_number() OVER (ORDER BY time_ns, subject, right_, model) "       \
    "FROM grant_ ORDER BY time_ns, subject, right_, model"
#define ACC_GRANTS_GONE "DELETE FROM grant_ WHERE 1 = 1"
/* The rules of now, lent until the next call. */
int acc_rules_now(struct acc *a, const struct acc_rules **out,
                  struct err *err) MUST_CHECK;
void acc_rules_forget(struct acc *a); /* they change, in the open transaction */
/* The scope of `who`, which is set; without who nothing. */
int acc_scope_read(struct acc *a, struct err *err) MUST_CHECK;

/* ---- keys (acc_key.c) ---------------------------------------------------------- */

/* New ones, durable; the caller gets the bytes too. */
int acc_key_make(int store_dirfd, uint8_t priv[32], uint8_t pub[32],
                 struct err *err) MUST_CHECK;
int acc_key_private(int store_dirfd, uint8_t priv[32], struct err *err) MUST_CHECK;
int acc_key_public(int store_dirfd, uint8_t pub[32], struct err *err) MUST_CHECK;
void acc_key_digest(const uint8_t pub[32], struct digest *out);
/* keys/next.key: made anew, durable; its public half (1: there is one, 0: none); it
 * takes the place of store.key, and `pub` that of store.pub. */
int acc_next_key_make(int store_dirfd, uint8_t priv[32], uint8_t pub[32],
                      struct err *err) MUST_CHECK;
int acc_next_key(int store_dirfd, uint8_t pub[32], struct err *err) MUST_CHECK;
int acc_next_key_install(int store_dirfd, const uint8_t pub[32],
                         struct err *err) MUST_CHECK;

/* ---- handing over (acc_handover.c) --------------------------------------------- */

/* `pub`, and the keys before it that it vouches for; as acc_keys. */
int acc_keys_of(struct acc *a, const uint8_t pub[32],
                int (*fn)(void *arg, const struct acc_key *key, struct err *err),
                void *arg, struct err *err) MUST_CHECK;
/* Under the log's lock, after its events were read: the key that is committed comes
 * into place, unless it is there. */
int acc_key_install(struct acc *a, struct err *err) MUST_CHECK;

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
/* 1: signed by that key, or by one before it that had not been handed over; 0: not. */
int acc_head_is_ours(struct acc *a, const struct acc_head *h, const uint8_t pub[32],
                     struct err *err) MUST_CHECK;
int acc_head_newest(const struct acc_head slots[ACC_HEAD_SLOTS]);

#endif
