/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets (srv_run.c) and the connections that come by them (srv_conn.c). */
#ifndef SERVER_SRV_NET_H
#define SERVER_SRV_NET_H

#include "server/srv_http.h"

#include <pthread.h>
#include <stdatomic.h>

enum { LISTEN_MAX = 8 };
struct srv_net {
    struct MHD_Daemon *plain, *tls;
    int fds[LISTEN_MAX];
    bool is_tcp[LISTEN_MAX];
    int n_fds;
    int signal_fd;
    char *socket_path; /* to unlink at the end, of socket_fd; NULL: none */
    int socket_fd;
    pthread_mutex_t lock;
    struct srv_conn *conns; /* all that are open */
    int n_conns, n_requests;
    _Atomic int n_threads[SRV_N_THREADS];
    int n_given; /* connections that libmicrohttpd took, which begins them later;
                  * known to the thread that accepts */
    _Atomic int n_begun;          /* connections, ever */
    _Atomic bool has_freed;       /* much, since the last sweep */
    _Atomic int64_t bodies_bytes; /* of the large ones that are held */
    bool had_stdio;
};

/* Of libmicrohttpd; arg is the struct srv. */
void srv_on_connection(void *arg, struct MHD_Connection *mhd, void **context,
                       enum MHD_ConnectionNotificationCode code);
/* Hands a connection over; takes fd. */
void srv_add_connection(struct srv *srv, int fd, bool is_tcp);
/* Ends connections on which a request comes too slowly: one byte now and then keeps
 * libmicrohttpd's own clock from ending them. `idle`: those without a request, too. */
void srv_sweep(struct srv *srv, bool idle);

#endif
