/* SPDX-License-Identifier: Apache-2.0 */
/* Long lists in pages: ?page_size=N, then ?page_token= as the page before says. */
#ifndef SERVER_SRV_PAGE_H
#define SERVER_SRV_PAGE_H

#include "server/server_int.h"

struct srv_page {
    int size;       /* 0: all at once */
    int64_t offset; /* of a list that is made whole and cut here */
    char next[32];  /* token of the page after this one; "": it is the last */
};
/* Reads the two; for a verb that goes back in the log by itself, its own fields are set
 * in the request. ERR_INVALID. */
int srv_page_begin(struct srv_page *p, const struct srv_req *q,
                   const struct svc_verb *verb, cJSON *request,
                   struct err *err) MUST_CHECK;
/* Cuts the reply's main list, and says where it goes on: member next_page_token, and
 * for GET a Link header. */
void srv_page_end(struct srv_page *p, struct srv_req *q, const struct svc_verb *verb,
                  cJSON *reply);

#endif
