/* SPDX-License-Identifier: Apache-2.0 */
/* Who may do what, and the log of who did.
 *
 * Personal mode: one Unix user owns the store (its directory is 0700); nobody else but
 * root can open it, who needs grants. They are a guard rail, not a wall: who
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
#include "base/json.h"

#include <sys/types.h>

enum acc_right {
    ACC_NONE, /* asked of nobody */
#define ACC_RIGHT(name, text, meaning) ACC_##name,
#include "access/rights.def"
#undef ACC_RIGHT
};
const char *acc_right_text(enum acc_right r);
/* ERR_INVALID lists the rights there are. */
int acc_right_parse(const char *text, enum acc_right *out, struct err *err) MUST_CHECK;

/* ---- what a right is asked about ---- */

enum acc_kind {
    ACC_STORE, /* as a whole: settings, gc, backup, grants, log */
    ACC_MODEL, /* with all that belongs to it */
    ACC_ALIAS, /* of one model */
    ACC_TARGET,
    ACC_GOLDEN, /* set of a model */
    ACC_POLICY, /* of an alias, or "target:NAME" of a target; with a model: that one's
                 */
    ACC_HOOK,
    ACC_KEY,
    ACC_HOST /* that follows this store, and speaks for itself */
};
struct acc_object {
    enum acc_kind kind;
    const char *model; /* "*" in ACC_ALIAS: the alias of every model. NULL: none */
    const char *name;  /* NULL: none */
};
static inline struct acc_object
acc_store(void)
{
    return (struct acc_object){ ACC_STORE, NULL, NULL };
}
static inline struct acc_object
acc_model(const char *model)
{
    return (struct acc_object){ ACC_MODEL, model, NULL };
}
static inline struct acc_object
acc_alias(const char *model, const char *alias)
{
    return (struct acc_object){ ACC_ALIAS, model, alias };
}
static inline struct acc_object
acc_target(const char *name)
{
    return (struct acc_object){ ACC_TARGET, NULL, name };
}
static inline struct acc_object
acc_host(const char *name)
{
    return (struct acc_object){ ACC_HOST, NULL, name };
}
/* Appends what a grant on it would name: "fraud@production", "target:web". */
void acc_object_text(const struct acc_object *o, struct buf *out);

extern const struct db_schema acc_schema; /* event, rule, subject, key, request */

/* ---- bringing the log back ---- */

/* Makes the changes of facts that the events of `from` carry in `to`, in the caller's
 * transaction there. *n_events of them; an event whose hash does not follow ends it. */
int acc_replay_rows(struct db *from, struct db *to, const struct db_schema *schemas,
                    int n_schemas, int64_t *n_events,
                    int (*lost)(void *arg, const char *what, struct err *err),
                    void *arg, struct err *err) MUST_CHECK;

struct acc_replay {
    int64_t n_events;    /* read back and chained */
    int64_t head_seq;    /* what the newest signed head covers */
    bool head_is_lost;   /* it cannot be read, or covers events that are lost */
    int64_t n_rows;      /* changes of facts that were made again */
    struct digest chain; /* of the last */
};
/* For a catalogue that is made anew, in the caller's transaction: reads
 * audit/log.jsonl of the store, checks the chain, writes each event's row and makes the
 * changes of facts that it carries. Of `old` (NULL: none), a damaged catalogue, come
 * the events that the file lacks. What cannot be brought back is told to `lost`, which
 * may end it; the rest goes on. */
int acc_replay(int store_dirfd, struct db *db, struct db *old_or_null,
               const struct db_schema *schemas, int n_schemas, struct acc_replay *out,
               int (*lost)(void *arg, const char *what, struct err *err), void *arg,
               struct err *err) MUST_CHECK;

/* Makes keys/store.key (0600), keys/store.pub and audit/ in a new store, and records
 * the calling user as owner, inside the caller's transaction. */
int acc_init(int store_dirfd, struct db *db, struct err *err) MUST_CHECK;

/* For a catalogue that is made anew, in the caller's transaction: the calling user as
 * owner when there is none, the key of keys/store.pub when there is none. 1: it had to,
 * 0: both were there. */
int acc_refound(int store_dirfd, struct db *db, struct err *err) MUST_CHECK;
/* Then, for a head that is lost: it moves to the file `aside` of the store, as
 * evidence, and a new one begins with what the log has. */
int acc_head_renew(int store_dirfd, const char *aside, struct err *err) MUST_CHECK;

/* For a store that was restored without its private key. adopt: the one in the file
 * `path`; ERR_INVALID: it does not belong to keys/store.pub. renew: a new pair, which
 * the catalogue is told; the signed head begins again. */
int acc_key_adopt(int store_dirfd, const char *path, struct err *err) MUST_CHECK;
int acc_key_renew(int store_dirfd, struct db *db, struct err *err) MUST_CHECK;

struct acc;
/* `db` is borrowed. The actor is the kernel's: getuid() and its name ("uid:1234"
 * without a passwd entry). Cheap: keys are read when first needed. */
int acc_open(struct acc **out, int store_dirfd, struct db *db,
             struct err *err) MUST_CHECK;
void acc_close(struct acc *a);
/* In whose name the calls that follow are made, when that is not the kernel's user: the
 * word of a service, which has checked it. */
struct acc_who {
    const char *subject; /* "alice", "ci-fraud": as in event.actor, at most 63 bytes */
    const char *via;     /* how that is known: "socket", "token 7fQx2k", "certificate",
                          * "oidc"; into each event's body. "" */
    /* What of the subject's rights may be used; NULL: all. A list of what a grant would
     * say: [{"verb": "push", "object": "fraud"}, …] or ["push:fraud", …], verb a right
     * or a verb. */
    const char *scope;
    const char *trace; /* W3C's traceparent; into each event's body, too. NULL: none */
};
/* Lent until the next such call; NULL: the kernel's user again. ERR_INVALID: a scope
 * that is none, a subject that is none (a role is none); nobody's name then. */
int acc_act_as(struct acc *a, const struct acc_who *who_or_null,
               struct err *err) MUST_CHECK;
const char *acc_actor(const struct acc *a); /* "alice" */
bool acc_is_owner(const struct acc *a);

/* The one gate: every call of the service goes through it, and whoever else opens a
 * model for somebody. 0: allowed. ERR_DENIED names subject, right, object, the rule
 * that decides (or that none does) and the command that would allow it. The owner may
 * do everything, whatever is denied: no rule locks out who could take it back with an
 * editor. A scope (acc_who) bounds the owner, too. How rules decide: access/rule.h. */
int acc_check(struct acc *a, enum acc_right right, struct acc_object on,
              struct err *err) MUST_CHECK;
/* The same for a verb of the service that asks for this right: a rule may name the verb
 * alone. ACC_NONE: whoever comes, unless the verb is denied to him. */
int acc_check_verb(struct acc *a, const char *verb, enum acc_right right,
                   struct acc_object on, struct err *err) MUST_CHECK;
/* For lists: 0 when it may be done with some object, whichever that is. Each that is
 * listed is then asked for by acc_may. */
int acc_check_any(struct acc *a, const char *verb, enum acc_right right,
                  struct err *err) MUST_CHECK;
/* 1: allowed, 0: not. verb NULL: the right only. */
int acc_may(struct acc *a, const char *verb_or_null, enum acc_right right,
            struct acc_object on, struct err *err) MUST_CHECK;
/* For who keeps answers of the gate: until then they stay as they are now, unless a
 * transaction changes something (db_version). INT64_MAX: for ever. */
int acc_stays_until(struct acc *a, int64_t *until_ns, struct err *err) MUST_CHECK;
/* 1: this subject has the right now, 0: not. */
int acc_holds(struct acc *a, const char *subject, enum acc_right right,
              struct acc_object on, struct err *err) MUST_CHECK;

/* ---- grants ---- */

/* Somebody a rule can be about: the owner, a user that the catalogue or the system
 * knows, uid:N, role:NAME. ERR_NOTFOUND: nobody. */
int acc_check_subject(struct acc *a, const char *subject, struct err *err) MUST_CHECK;

/* A row of the table `rule`. Rows are never deleted: one that is taken back has an end,
 * so that `grant list --at` knows what held then. */
struct acc_grant {
    int64_t id;                /* 0: still to be given */
    const char *subject;       /* "alice", "ci-fraud", "role:oncall" */
    const char *effect;        /* "allow", "deny", "role" */
    const char *what;          /* a right or a verb; of a role "" */
    const char *object;        /* canonical; of a role "role:oncall" */
    int64_t from_ns, until_ns; /* until: INT64_MAX: no end */
    const char *given_by, *reason;
    int64_t given_ns;
    const char *ended_by; /* NULL: it stands */
    int64_t ended_ns;     /* INT64_MAX: it stands */
};
/* In the caller's transaction. Of g: subject, effect, what, object, from_ns (0: now),
 * until_ns, reason. 1: given (g->id), 0: one that stands says as much. ERR_INVALID. */
int acc_grant(struct acc *a, struct acc_grant *g, struct err *err) MUST_CHECK;
/* Takes back all that stand with this subject, effect, what and object, however they
 * are limited. 1: some, 0: there was none. */
int acc_revoke(struct acc *a, const struct acc_grant *g, struct err *err) MUST_CHECK;
struct acc_grant_query {
    const char *subject; /* NULL: all; else this one's own, and those of his roles */
    const char *object;  /* NULL: all; else as it was given */
    int64_t at_ns;       /* 0: now, and what begins later */
};
int acc_grants(struct acc *a, const struct acc_grant_query *q,
               int (*fn)(void *arg, const struct acc_grant *row, struct err *err),
               void *arg, struct err *err) MUST_CHECK;
/* One rule by its number: 1, 0: there is none. Text is appended to `text`, whose life
 * the row's strings share. */
int acc_grant_get(struct acc *a, int64_t id, struct acc_grant *out, struct buf *text,
                  struct err *err) MUST_CHECK;

/* 1: he has the role ("role:NAME") now, 0: he has not. */
int acc_has_role(struct acc *a, const char *subject, const char *role,
                 struct err *err) MUST_CHECK;
/* 1: the caller may read what a grant is on: one thing by the rules on it, several (a
 * pattern) when he may read the store. */
int acc_may_read_text(struct acc *a, const char *object, struct err *err) MUST_CHECK;

struct acc_explain {
    bool allowed;
    bool is_owner; /* which decides */
    int64_t rule;  /* that decides; 0: none */
    int64_t role;  /* the rule that gives its role; 0: his own */
    /* What the caller asks by ("token 7fQx2k9A"), when its scope decides: he asks about
     * himself, and it does not have that. NULL; lent until the next acc_act_as. */
    const char *scope_of;
    struct buf way; /* when denied: the command that would allow it */
};
/* What acc_check would say of this subject, and why; of others without a scope. */
int acc_explain(struct acc *a, const char *subject, const char *verb_or_null,
                enum acc_right right, struct acc_object on, struct acc_explain *out,
                struct err *err) MUST_CHECK;
/* ERR_INVALID: no scope (acc_who). Which verbs there are is not known here. */
int acc_scope_check(const char *scope_json, struct err *err) MUST_CHECK;
void acc_explain_release(struct acc_explain *x); /* for AUTO */

/* Each user of this machine that the rules let read it now, by the kernel's number; one
 * may come under two names. Names that mean nobody here are left out. */
int acc_readers(struct acc *a, struct acc_object on,
                int (*fn)(void *arg, uid_t uid, struct err *err), void *arg,
                struct err *err) MUST_CHECK;

struct acc_event {
    const char *verb;    /* service verb: "promote" */
    const char *object;  /* "digits@3", "digits@production"; "" for the store */
    const char *digest;  /* "sha256:…" of the version concerned, or "" */
    const char *outcome; /* "ok", "denied", "refused" (gate, hook), "failed",
                          * "replayed" (an answer given again, see acc_key_set) */
    const char *body;    /* one JSON object: what changed, why, from what; "{}" */
};
/* The member of a body that acc_record adds: the rows of facts that changed since the
 * event before (base/db_facts.c). */
#define ACC_ROWS "rows"
/* Appends in the caller's transaction, after its last change. */
int acc_record(struct acc *a, const struct acc_event *e, struct err *err) MUST_CHECK;
/* After the commit: completes audit/log.jsonl from the table and signs the new head.
 * The act stands already: a failure here is reported, not undone. */
int acc_publish(struct acc *a, struct err *err) MUST_CHECK;

/* ---- idempotency keys ----
 * A caller who does not know whether a call was carried out makes it again with the
 * same key. The key's row is written in the transaction of the act, so that there is
 * one act at most, whoever dies when. Only acts that went well keep their key. */

#define ACC_KEY_MAX 200 /* bytes: printable ASCII, no blank */
/* What acc_key_claim claims; NULL ends it. `digest` says what the call asks for. */
void acc_key_set(struct acc *a, const char *key_or_null, const struct digest *digest);
/* The answer so far, for who repeats the call after this process died. */
void acc_key_reply(struct acc *a, const char *reply_json);
/* In the transaction of the act; does nothing without a key. `intent`: the release that
 * has still to be brought about, or 0. ERR_CONFLICT: another process has the key since
 * this one looked (acc_key_find knows its answer). */
int acc_key_claim(struct acc *a, int64_t intent, struct err *err) MUST_CHECK;
/* In a transaction: the intent was cancelled, so its call may be made again. */
int acc_key_cancel(struct acc *a, int64_t intent, struct err *err) MUST_CHECK;
/* 1: this call was carried out: its answer is appended ("" when it was never given, and
 * then *intent may name the release). 0: not known. ERR_CONFLICT: the key belongs to
 * another call. */
int acc_key_find(struct acc *a, const char *key, const struct digest *digest,
                 struct buf *reply, int64_t *intent, struct err *err) MUST_CHECK;
/* In transactions of their own: the whole answer; forgets keys older than `keep_ns`. */
int acc_key_answer(struct acc *a, const char *reply_json, int64_t keep_ns,
                   struct err *err) MUST_CHECK;

/* ---- what the store vouches for ---- */

/* Signs with the store's key. ERR_NOTFOUND: a store restored without it. */
int acc_sign(struct acc *a, const void *p, size_t n, uint8_t sig[64],
             struct err *err) MUST_CHECK;
/* 1: it is this store's signature of these bytes, by the key of now or one before it
 * that did not leak (its id: acc_key_id), 0: it is not, -code. */
int acc_signed(struct acc *a, const void *p, size_t n, const uint8_t sig[64],
               struct digest *id_or_null, struct err *err) MUST_CHECK;
/* SHA-256 of the public key's DER (SubjectPublicKeyInfo), which keys/store.pub holds as
 * PEM. */
int acc_key_id(struct acc *a, struct digest *out, struct err *err) MUST_CHECK;

#define ACC_KEY_NAME "store" /* the one key there is */
struct acc_key {
    uint8_t public[32]; /* Ed25519 */
    struct digest id;   /* acc_key_id */
    int64_t made_ns;    /* since 1970; 0: not known */
    int64_t from_seq;   /* the event by which it became the store's; 0: the first */
    int64_t until_seq;  /* the event that handed it over; 0: it signs now */
    bool is_leaked;     /* said then: what it signed counts no more */
};
/* The key that signs, then those before it that it vouches for; fn ends it with 1. */
int acc_keys(struct acc *a,
             int (*fn)(void *arg, const struct acc_key *key, struct err *err),
             void *arg, struct err *err) MUST_CHECK;
void acc_key_pem(const uint8_t pub[32], struct buf *out); /* as in keys/store.pub */
/* A new key pair takes the place of the store's, which signs that; what it signed so
 * far stays good, unless it leaked. In the transaction of the event, whose body gets
 * the proof and which is recorded next; done by the next acc_publish. before, now:
 * their ids. ERR_BUSY: another one is not done yet. */
int acc_key_rotate(struct acc *a, bool is_leaked, cJSON *body, struct digest *before,
                   struct digest *now, struct err *err) MUST_CHECK;
/* The key of the catalogue. 1: the files have it, too; 0: not yet. ERR_CONFLICT: they
 * have another one, and nothing says why. */
int acc_key_now(struct acc *a, uint8_t pub[32], struct err *err) MUST_CHECK;

struct acc_event_row {
    int64_t seq, time_ns;
    const char *actor;
    struct acc_event e;
    const char *hash_hex; /* of the chain up to and including this event */
};
struct acc_log_query {
    const char *model;  /* NULL: all; else events on this model's objects */
    const char *verb;   /* NULL: all */
    const char *actor;  /* NULL: all */
    int64_t limit;      /* the newest n; 0: all */
    int64_t before_seq; /* only older ones than this; 0: all */
    int64_t after;      /* only events behind this number */
    bool newest_first;
    /* 1: the row is told, 0: it is passed over, -code; NULL: all are told */
    int (*shows)(void *arg, const struct acc_event_row *row, struct err *err);
    void *arg;
};
/* Oldest first, unless said otherwise; fn ends it with 1. */
int acc_log(struct acc *a, const struct acc_log_query *q,
            int (*fn)(void *arg, const struct acc_event_row *row, struct err *err),
            void *arg, struct err *err) MUST_CHECK;

struct acc_figures {
    int64_t last_seq, last_ns; /* of the newest event; 0: none */
    int64_t head_seq;          /* what the newest signed head says it covers */
    int64_t n_tokens_ending;   /* good ones that end within seven days */
};
int acc_figures(struct acc *a, struct acc_figures *out, struct err *err) MUST_CHECK;

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
