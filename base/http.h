/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP from the client's side, as a process of its own (sluice-fetch, which alone links
 * libcurl): everyday commands need not map it, and what a server sends is parsed there
 * up to its body. */
#ifndef BASE_HTTP_H
#define BASE_HTTP_H

#include "base/buf.h"

struct http_ask {
    const char *url;            /* http:// or https://; no redirect is followed */
    const char *method;         /* NULL: GET, or POST when there is a body */
    const char *const *headers; /* "Name: value" …, NULL; secrets may stand here */
    const void *body;           /* body_bytes of it; NULL: none */
    size_t body_bytes;
    bool http2;       /* HTTP/2 without asking first, as gRPC wants it over http:// */
    int connect_ms;   /* 0: 5000 */
    int wall_ms;      /* for all of it; 0: 30000 */
    size_t max_bytes; /* of the answer's body that are kept; 0: 1 MiB */
};
struct http_answer {
    int status;      /* 200 */
    int grpc_status; /* of its trailers; -1: none */
    char grpc_message[256];
    long max_age_s; /* of its Cache-Control; 0: it is not to be kept, -1: not said */
    struct buf body;
    bool cut; /* it was longer than max_bytes: the beginning is there */
};
#define HTTP_ANSWER_INIT                                                               \
    {                                                                                  \
        .grpc_status = -1, .max_age_s = -1                                             \
    }
void http_answer_release(struct http_answer *a); /* for AUTO */

/* Any answer is an answer, whatever its status. ERR_INVALID: no address of the kind.
 * ERR_IO: nobody answered, with why. ERR_LIMIT: not in time. ERR_NOTFOUND: sluice-fetch
 * is not installed. */
int http_ask(const struct http_ask *ask, struct http_answer *out,
             struct err *err) MUST_CHECK;

/* Seconds that an answer with this Cache-Control may be kept: 0: it may not; -1: that
 * is not said. */
long http_max_age(const char *cache_control);

#endif
