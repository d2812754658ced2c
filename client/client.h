/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs on a store that is elsewhere: the service's other end. Without SQLite, so that
 * it can be linked statically; `sluice --server` becomes sluice-client, which is the
 * command line upon this. */
#ifndef CLIENT_CLIENT_H
#define CLIENT_CLIENT_H

#include "base/json.h"
#include "service/service.h"

struct client;
/* unix:PATH, ssh://[user@]host[:port], https://host[:port][/prefix], http:// only to
 * this machine or with $SLUICE_INSECURE. Connects when first needed. `token`: NULL:
 * $SLUICE_TOKEN, else the file that $SLUICE_TOKEN_FILE names. */
int client_open(struct client **out, const char *server, const char *token_or_null,
                struct err *err) MUST_CHECK;
void client_close(struct client *c);
void client_on_progress(struct client *c, svc_progress_fn *fn, void *arg);
void client_on_tell(struct client *c, svc_tell_fn *fn, void *arg);
/* What a verb writes to standard output (cat, export -, backup -); else it is dropped.
 */
void client_on_bytes(struct client *c,
                     int (*fn)(void *arg, const char *p, size_t n, struct err *err),
                     void *arg);
/* As svc_call: files that the request names go there first, and what the verb makes
 * comes back. A call that changes something has an Idempotency-Key, so that it can be
 * asked again when its answer was lost: it happens once. ERR_BUSY (75): nobody answered
 * in time. ERR_UNSUPPORTED: the other side is older, and does not know the verb or one
 * of its fields. */
int client_call(struct client *c, const char *verb, const cJSON *request, cJSON **reply,
                struct err *err) MUST_CHECK;

/* As client_call of the verb doctor; what is wrong on the way there comes first. */
int client_doctor(struct client *c, const cJSON *request, cJSON **reply,
                  struct err *err) MUST_CHECK;

/* A version's files, in a directory here that stays as it is for as long as lock_fd, or
 * a copy of it in another process, is open. */
struct client_view {
    char *path;
    int lock_fd;
};
#define CLIENT_VIEW_INIT                                                               \
    {                                                                                  \
        .lock_fd = -1                                                                  \
    }
/* Kept in the user's cache from one call to the next. *reply: as the verb exec says. */
int client_view_open(struct client *c, const char *ref, struct client_view *out,
                     cJSON **reply, struct err *err) MUST_CHECK;
void client_view_close(struct client_view *v); /* for AUTO */

#endif
