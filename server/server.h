/* SPDX-License-Identifier: Apache-2.0 */
/* The service: the verbs of one store over HTTP, for who is not its owner. */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include "base/err.h"

#include <stdbool.h>

struct srv_options {
    const char *store;  /* NULL: the default */
    const char *listen; /* "127.0.0.1:8600", "[::1]:8600"; NULL: no network */
    const char *socket; /* path of a Unix socket; NULL: none */
    const char *tls_cert, *tls_key; /* PEM; NULL: plain HTTP */
    const char *client_ca; /* PEM: who signs client certificates; NULL: none is asked */
    const char *access_log; /* a file, "-" stderr; NULL: none */
    bool metrics_open;      /* /metrics for everybody on this machine */
    bool stdio;             /* one connection, on descriptors 0 and 1 */
    const char *as;         /* with stdio: whom the forced command speaks for; NULL: the
                             * kernel's user */
    int workers;            /* 0: as many as fit the machine */
};
struct srv;
/* Opens the store, listens. The options are lent until srv_close. */
int srv_open(struct srv **out, const struct srv_options *opts,
             struct err *err) MUST_CHECK;
/* Answers until SIGTERM or SIGINT (or, with stdio, until its connection ends), then
 * finishes what is under way. A second signal ends it at once. SIGHUP: the access log
 * is opened anew. */
int srv_run(struct srv *srv, struct err *err) MUST_CHECK;
/* One more connection, on a stream socket that does not block; takes it. */
void srv_add(struct srv *srv, int fd);
void srv_close(struct srv *srv);
void srv_close_p(struct srv **srv); /* for AUTO */

/* A worker: carries out verbs on this socket until the other side goes; the exit
 * status. */
int srv_work(int sock, const char *store_or_null);

#endif
