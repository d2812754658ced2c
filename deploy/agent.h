/* SPDX-License-Identifier: Apache-2.0 */
/* A host follows a store: its own store and targets show what an alias means there.
 *
 * The host's store is an ordinary one. A release there becomes an ordinary release
 * here, of versions with the same numbers and bytes, so status, rollback, exec and
 * crash safety are what they always are, also while the other store is away. What let a
 * release through is the other store's word: local policies are not asked.
 *
 * A release is tried once. What failed here, or was changed here by somebody, stays as
 * it is until there is a newer release there, or `host retry` gives it again. */
#ifndef DEPLOY_AGENT_H
#define DEPLOY_AGENT_H

#include "deploy/deploy.h"

struct agent_opts {
    const char
        *from; /* a store's directory, ssh://[user@]host[:port]/dir, or a service */
    const char *host;          /* this host's name there */
    const char *alias_or_null; /* NULL: those that the targets here show */
    const char *ssh;           /* program and arguments */
    const char *remote;        /* sluice over there */
    const char *check_or_null; /* program and arguments: 0 means it is served well */
    int check_wait_s;
    bool (*stop)(void *arg); /* NULL: nobody ends it early */
    void (*progress)(void *arg, const char *what, int64_t done_bytes,
                     int64_t total_bytes);
    void *arg;
};

/* One look: takes over what is new, sees that it is served, reports. *out (NULL on an
 * error): {"host", "from", "away": why or null, "undelivered": reports that wait,
 * "deleted": versions, "notes": [text], "models": [{"model", "alias", "release",
 * "state", "detail", "shows", "fresh"}]}. fresh: shows what it should. state "waits":
 * it is not this host's turn. ERR_PENDING: stopped. ERR_USAGE: nothing to follow. */
int agent_pass(struct repo *r, const struct agent_opts *o, cJSON **out,
               struct err *err) MUST_CHECK;

#endif
