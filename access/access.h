/* SPDX-License-Identifier: Apache-2.0 */
/* Who may do what, and the log of who did.
 *
 * Personal mode: one Unix user owns the store (its directory is 0700); somebody else
 * who can open it (root, an ACL) needs grants. They are a guard rail, not a wall: who
 * can write the files can do anything to them, and the log only makes it evident.
 *
 * The log is the table `event`: append-only (triggers), hash-chained, each event in the
 * transaction of the act it records. After each commit the head (last seq and hash,
 * signed with the store's Ed25519 key) is written to audit/head and the events to
 * audit/log.jsonl, both outside the database: an edit, a drop, a swap or a truncation
 * of rows does not match them. Who owns key and store can rewrite both; only an
 * outside witness would show that. */
#ifndef ACCESS_ACCESS_H
#define ACCESS_ACCESS_H

#include "base/crypto.h"
#include "base/db.h"

enum acc_right {
    ACC_NONE, /* asked of nobody */
#define ACC_RIGHT(name, text, meaning) ACC_##name,
#include "access/rights.def"
#undef ACC_RIGHT
};
const char *acc_right_text(enum acc_right r);
/* ERR_INVALID lists the rights there are. */
int acc_right_parse(const char *text, enum acc_right *out, struct err *err) MUST_CHECK;

extern const struct db_schema acc_schema; /* event, grant_, subject, key */

/* Makes keys/store.key (0600), keys/store.pub and audit/ in a new store, and records
 * the calling user as owner, inside the caller's transaction. */
int acc_init(int store_dirfd, struct db *db, struct err *err) MUST_CHECK;

struct acc;
/* `db` is borrowed. The actor is the kernel's: getuid() and its name ("uid:1234"
 * without a passwd entry). Cheap: keys are read when first needed. */
int acc_open(struct acc **out, int store_dirfd, struct db *db,
             struct err *err) MUST_CHECK;
void acc_close(struct acc *a);
const char *acc_actor(const struct acc *a); /* "alice" */
bool acc_is_owner(const struct acc *a);

/* 0: allowed. ERR_DENIED: "bob may not promote fraud: …; its owner can allow it: sluice
 * grant bob promote fraud". model NULL: a right on the store itself. The one function
 * that every service call goes through. */
int acc_check(struct acc *a, enum acc_right right, const char *model,
              struct err *err) MUST_CHECK;

/* In the caller's transaction. Subject: a Unix user name. model "*": every model.
 * 1: changed something, 0: was so already. */
int acc_grant(struct acc *a, const char *subject, enum acc_right right,
              const char *model, struct err *err) MUST_CHECK;
int acc_revoke(struct acc *a, const char *subject, enum acc_right right,
               const char *model, struct err *err) MUST_CHECK;
struct acc_grant_row {
    const char *subject, *right, *model, *granted_by;
    int64_t time_ns;
};
int acc_grants(struct acc *a,
               int (*fn)(void *arg, const struct acc_grant_row *row, struct err *err),
               void *arg, struct err *err) MUST_CHECK;

struct acc_event {
    const char *verb;    /* service verb: "promote" */
    const char *object;  /* "digits@3", "digits@production"; "" for the store */
    const char *digest;  /* "sha256:…" of the version concerned, or "" */
    const char *outcome; /* "ok", "denied", "refused" (gate, hook), "failed" */
    const char *body;    /* one JSON object: what changed, why, from what; "{}" */
};
/* Appends in the caller's transaction. */
int acc_record(struct acc *a, const struct acc_event *e, struct err *err) MUST_CHECK;
/* After the commit: completes audit/log.jsonl from the table and signs the new head.
 * The act stands already: a failure here is reported, not undone. */
int acc_publish(struct acc *a, struct err *err) MUST_CHECK;

struct acc_event_row {
    int64_t seq, time_ns;
    const char *actor;
    struct acc_event e;
    const char *hash_hex; /* of the chain up to and including this event */
};
struct acc_log_query {
    const char *model; /* NULL: all; else events on this model's objects */
    const char *verb;  /* NULL: all */
    const char *actor; /* NULL: all */
    int64_t limit;     /* the newest n; 0: all */
};
/* Oldest first. */
int acc_log(struct acc *a, const struct acc_log_query *q,
            int (*fn)(void *arg, const struct acc_event_row *row, struct err *err),
            void *arg, struct err *err) MUST_CHECK;

struct acc_verify {
    int64_t n_events;
    int64_t bad_seq;  /* first bad row; 0: none */
    char reason[256]; /* what is wrong with it */
    int64_t head_seq; /* what the signed head covers */
    int64_t log_seq;  /* how far audit/log.jsonl goes */
};
/* Walks the chain, the signed head and the log file. 0: all good. ERR_FAILED: looked,
 * and found; out->bad_seq and the message name the first bad row. (A bad head or key
 * is laid to the event it claims to cover.)
 * Events beyond head_seq are chained but not yet signed: a crash between commit and
 * acc_publish leaves such, and so would somebody who appends with the right hashes. */
int acc_verify(struct acc *a, struct acc_verify *out, struct err *err) MUST_CHECK;

#endif
