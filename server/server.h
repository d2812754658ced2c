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
    bool stdio;             /* one connection, on descriptors 0 and 1 */
    const char *as;         /* with stdio: whom the forced command speaks for; NULL: the
                             * kernel's user */
    int threads, workers;   /* 0: as many as fit the machine */
};
struct srv;

#endif
