/* SPDX-License-Identifier: Apache-2.0 */
/* Policies and approvals: what a version must show before it gets an alias's traffic.
 *
 * A policy guards an alias, or a target (key "target/NAME") and so every alias that it
 * shows; of every model, or of one, which then counts alone. It is JSON:
 *   {"policy": 1, "require": [{"acceptance": "*", "max_age": "30d"}, ...]}
 * docs/judging.md lists the gates, val_policy.c has their table. Each change is a new
 * row; the newest counts.
 *
 * Time. Ages of evidence, of approvals and of service count in the store's own age
 * (repo_age), so that no clock makes anything pass early; a freeze window is in force
 * when either the wall clock or the store's age since the policy was set says so. */
#ifndef VALIDATE_POLICY_H
#define VALIDATE_POLICY_H

#include "validate/validate.h"

#define VAL_KEY_BYTES (REPO_ALIAS_BYTES + 8)

/* One that the gates understand; the caller frees *out, whatever is returned.
 * ERR_INVALID: a gate or option nobody knows; a value that does not fit. */
int val_policy_parse(cJSON **out, struct str text, struct err *err) MUST_CHECK;
/* In the caller's transaction. `key`: an alias, or "target/NAME". ERR_INVALID: as
 * above; aliases that wait for each other. */
int val_policy_set(struct repo *r, const char *key, const char *model_or_null,
                   const char *policy_json, struct err *err) MUST_CHECK;
/* 1 and the JSON appended, 0 none. */
int val_policy_get(struct repo *r, const char *key, const char *model, struct buf *out,
                   struct err *err) MUST_CHECK;

struct val_policy_row {
    int64_t id;
    const char *key, *model, *rules, *set_by;
    int64_t created_ns;
};
/* key NULL: the ones that count, of every key; else all there were of one, newest
 * first. */
int val_policies(struct repo *r, const char *key_or_null,
                 int (*fn)(void *arg, const struct val_policy_row *row,
                           struct err *err),
                 void *arg, struct err *err) MUST_CHECK;

/* What a change rests on: {"version", "alias", "replaces", "policy", "evidence"}. Two
 * that are equal stand for the same question. */
int val_bound(struct repo *r, const struct val_gate_args *args, cJSON **out,
              struct err *err) MUST_CHECK;
/* As above, and what approvals there are: for who asked the gate before a lock. */
int val_stamp(struct repo *r, const struct val_gate_args *args, struct digest *out,
              struct err *err) MUST_CHECK;

/* ---- approvals ------------------------------------------------------------------- */

struct val_approval {
    int64_t id;
    char model[REPO_NAME_BYTES], alias[REPO_ALIAS_BYTES];
    int64_t version_id, number;
    char state[16]; /* open, rejected, withdrawn, replaced, done */
    char asked_by[64];
    bool when_approved; /* the store promotes when the last approval lands */
    int64_t created_ns;
    char reason[256];
    char *bound; /* JSON of val_bound; owned */
};
void val_approval_release(struct val_approval *a); /* for AUTO */

/* In the caller's transaction: a request for what args say; one that is open for the
 * same version and alias is replaced. */
int val_approval_add(struct repo *r, const struct val_gate_args *args,
                     bool when_approved, const char *reason_or_null,
                     struct val_approval *out, struct err *err) MUST_CHECK;
/* In the caller's transaction: 1 when the open request for the same is the actor's, or
 * waits already, and now the store promotes when enough have approved; what was said
 * stays said. 0: there is none such. */
int val_approval_keep(struct repo *r, const struct val_gate_args *args,
                      struct val_approval *out, struct err *err) MUST_CHECK;
/* The newest one of a version and alias: 1, 0 none. */
int val_approval_newest(struct repo *r, int64_t version_id, const char *alias,
                        struct val_approval *out, struct err *err) MUST_CHECK;
int val_approvals(struct repo *r, const char *model_or_null,
                  int (*fn)(void *arg, const struct val_approval *a, struct err *err),
                  void *arg, struct err *err) MUST_CHECK;
/* In the caller's transaction: "approve", "reject" or "comment" by the actor. A reject
 * ends the request. ERR_DENIED: pushed or wrote the version, asked for it, owns a
 * golden set that judges it, or set the policy last. ERR_CONFLICT: not open, or void.
 */
int val_approval_say(struct repo *r, const struct val_approval *a,
                     const struct val_gate_args *args, const char *what,
                     const char *text_or_null, struct err *err) MUST_CHECK;
/* In the caller's transaction: the newest one, if it is open, has what it wanted. */
int val_approval_done(struct repo *r, int64_t version_id, const char *alias,
                      struct err *err) MUST_CHECK;
/* In the caller's transaction: "withdrawn" or "done". */
int val_approval_end(struct repo *r, int64_t id, const char *state,
                     struct err *err) MUST_CHECK;
/* {"request", "state", "asked_by", ..., "said": [{"by", "what", "text", "time"}]};
 * state "void" (with "why") when what it rests on has changed since. */
int val_approval_json(struct repo *r, const struct val_approval *a,
                      const struct val_gate_args *args_or_null, cJSON **out,
                      struct err *err) MUST_CHECK;

#endif
