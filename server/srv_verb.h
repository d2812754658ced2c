/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_SRV_VERB_H
#define SERVER_SRV_VERB_H

#include "server/srv_page.h"

/* The verb of a path below /api/v1: "target/add". NULL: none. */
const struct svc_verb *srv_verb_find(const char *path);

/* What is asked of it, by the body or the query, and the headers. */
struct srv_call {
    const struct svc_verb *verb;
    cJSON *request;
    struct srv_page page;
    char *if_match; /* an ETag without its quotes; NULL: none */
};
/* Reads it from a request of route verb or verb_get, into its state. 1: it is answered
 * already. ERR_INVALID, ERR_NOTFOUND, ERR_UNSUPPORTED. */
int srv_verb_ask(struct srv_req *q, struct srv_call **out, struct err *err) MUST_CHECK;

#endif
