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
 * 0: it does not know the model. Of more than fit, those that ended go first.
 * ERR_INVALID: no status URL, or a layout that no server reads. ERR_BUSY (try again):
 * it is down, did not answer in wall_ms, or says that it cannot. ERR_CORRUPT: an answer
 * that is none, quoted. ERR_LIMIT: too long, or more versions than fit are loaded. */
int server_observe(const struct deploy_target *t, const char *model, int wall_ms,
                   struct server_seen *out, struct err *err) MUST_CHECK;
/* SERVER_UNKNOWN when it is not named. */
enum server_state server_state_of(const struct server_seen *seen, int64_t number);
/* Which version a label means to it, of those it has loaded: 1, or 0: none. Errors as
 * above; ERR_UNSUPPORTED: its server knows no labels. */
int server_label(const struct deploy_target *t, const char *model, const char *label,
                 int wall_ms, int64_t *number, struct err *err) MUST_CHECK;
/* Tells it (DEPLOY_RELOAD; nothing to do without one) that what is below the target's
 * directory changed for `rel`: a TF Serving gets the config that lies there now.
 * ERR_BUSY: it is down, or late. ERR_REFUSED: it says no, with its words. ERR_NOTFOUND:
 * the tree has no config for it. */
int server_reload(struct repo *r, const struct deploy_target *t,
                  const struct deploy_release *rel, int wall_ms,
                  struct err *err) MUST_CHECK;
/* Whether such options fit the layout. ERR_USAGE says what does. */
int server_check_options(const char *layout, const char *status_url_or_null,
                         const char *reload_or_null, struct err *err) MUST_CHECK;

#endif
