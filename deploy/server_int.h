/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of servers share. */
#ifndef DEPLOY_SERVER_INT_H
#define DEPLOY_SERVER_INT_H

#include "deploy/server.h"

#include "base/http.h"

/* A kind of server that reads targets. */
struct server_kind {
    const char *name; /* "TF Serving" */
    int (*observe)(const struct deploy_target *t, const char *model, int wall_ms,
                   struct server_seen *out, struct err *err);
    int (*label)(const struct deploy_target *t, const char *model, const char *label,
                 int wall_ms, int64_t *number, struct err *err); /* NULL: none */
    const char *schemes[3]; /* of addresses at which it is told to reload, NULL */
    int (*reload)(const struct deploy_target *t, const struct deploy_release *rel,
                  int wall_ms, struct err *err);
};
extern const struct server_kind server_tfserving, server_tfserving_scan, server_triton;

/* Asks `path` below base_url; body NULL: GET. ERR_BUSY: nobody answered,
 * not in time, or with 429, 502, 503, 504. ERR_CORRUPT: a redirect.
 * ERR_LIMIT: longer than SERVER_ANSWER_BYTES. */
#define SERVER_ANSWER_BYTES ((size_t)4 << 20)
int server_ask(const char *base_url, const char *path, const char *body, int wall_ms,
               struct http_answer *out, struct err *err) MUST_CHECK;
/* ERR_CORRUPT: the answer is none; its status and its words. */
int server_strange(const struct http_answer *a, struct err *err);
/* Of an error about its body (ERR_INVALID is json.h's): ERR_CORRUPT, with its words. */
int server_corrupt(const struct http_answer *a, struct err *err);
/* Appends foreign words: one line, cut where they are long. */
void server_quote(struct buf *out, struct str said);
/* ERR_CORRUPT: no number of the kind, or the version is there already. ERR_LIMIT. */
int server_add(struct server_seen *seen, const char *number, enum server_state state,
               const char *error, struct err *err) MUST_CHECK;
int server_number(const char *text, int64_t *out, struct err *err) MUST_CHECK;

/* Bodies of answers, as the servers write them. ERR_INVALID, ERR_CORRUPT: it is none.
 */
int server_tfserving_read(struct str body, struct server_seen *out,
                          struct err *err) MUST_CHECK;
/* Of a model's metadata: which version they are of. */
int server_tfserving_read_label(struct str body, int64_t *number,
                                struct err *err) MUST_CHECK;
/* 0: the model is not in it. */
int server_triton_read(struct str body, const char *name, struct server_seen *out,
                       struct err *err) MUST_CHECK;

#endif
