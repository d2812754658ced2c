/* SPDX-License-Identifier: Apache-2.0 */
/* The other end of a connection, as a thread of the test: reads requests one after the
 * other, and says to each what the test wants. */
#ifndef TESTS_UNIT_CLIENT_PEER_H
#define TESTS_UNIT_CLIENT_PEER_H

#include "base/buf.h"

#include <pthread.h>

struct peer_step {
    const char *say; /* NULL: nothing */
    bool end;        /* the connection, then */
    bool early;      /* once it has the head, without the body */
};
struct peer {
    char server[200]; /* for client_open */
    const struct peer_step *steps;
    int n_steps;
    struct buf asked; /* all requests */
    int n_connections;
    int fd;
    pthread_t thread;
};
/* On a Unix socket below the test's directory, or with `tcp` on 127.0.0.1. */
void peer_start(struct peer *p, const struct peer_step *steps, int n_steps, bool tcp);
/* Waits until all steps are done. */
void peer_end(struct peer *p);
/* "HTTP/1.1 200 OK\r\nContent-Length: …\r\n" … */
#define PEER_SAYS(status, headers, length, body)                                       \
    "HTTP/1.1 " status "\r\n" headers "Content-Length: " length "\r\n\r\n" body

#endif
