/* SPDX-License-Identifier: Apache-2.0 */
/* The server that reads a target: what it says it has loaded, and telling it to look
 * again. What the tree says is intended; only what is said here was observed. */
#ifndef DEPLOY_SERVER_H
#define DEPLOY_SERVER_H

#include "deploy/deploy.h"

#define SERVER_VERSIONS_MAX 64
enum server_state { /* of TF Serving's ModelVersionStatus; Triton's are put into these
                     */
                    SERVER_UNKNOWN,
                    SERVER_START,
                    SERVER_LOADING,
                    SERVER_AVAILABLE,
                    SERVER_UNLOADING,
                    SERVER_END,
                    SERVER_N_STATES
};
extern const char *const server_state_names[SERVER_N_STATES];
struct server_version {
    int64_t number;
    enum server_state state;
    char error[200]; /* why it is not available, as the server says it; "" */
};
struct server_seen {
    struct server_version v[SERVER_VERSIONS_MAX];
    int n;
};
/* What the server of this target (DEPLOY_STATUS_URL) says of a model's versions: 1, or
 * 0: it does not know the model. ERR_INVALID: no status URL. ERR_BUSY (try again): it
 * is down, or did not answer in wall_ms. ERR_CORRUPT: an answer that is none, quoted.
 */
int server_observe(const struct deploy_target *t, const char *model, int wall_ms,
                   struct server_seen *out, struct err *err) MUST_CHECK;
/* SERVER_UNKNOWN when it is not named. */
enum server_state server_state_of(const struct server_seen *seen, int64_t number);
/* Tells it (DEPLOY_RELOAD; nothing to do without one) that what is below the target's
 * directory changed for `rel`. ERR_BUSY: it is down, or late. ERR_REFUSED: it says no,
 * with its words. */
int server_reload(struct repo *r, const struct deploy_target *t,
                  const struct deploy_release *rel, int wall_ms,
                  struct err *err) MUST_CHECK;

#endif
