/* SPDX-License-Identifier: Apache-2.0 */
/* What srv_http.c, srv_check.c and srv_conn.c have with libmicrohttpd. */
#ifndef SERVER_SRV_HTTP_H
#define SERVER_SRV_HTTP_H

#include "server/server_int.h"

#include <microhttpd.h>

/* How a daemon reads requests: each begins as srv_http_begin's. */
enum { SRV_HTTP_OPTIONS = 5 };
void srv_http_options(struct srv *srv, struct MHD_OptionItem out[SRV_HTTP_OPTIONS]);
/* Callbacks; arg is the struct srv. */
void *srv_http_begin(void *arg, const char *target, struct MHD_Connection *mhd);
enum MHD_Result srv_http_handle(void *arg, struct MHD_Connection *mhd, const char *url,
                                const char *method, const char *version,
                                const char *data, size_t *data_bytes, void **con_cls);
void srv_http_end(void *arg, struct MHD_Connection *mhd, void **con_cls,
                  enum MHD_RequestTerminationCode how);

/* Its headers are whole: their form is checked, the target decoded, the route found;
 * nobody is asked. -code: with the *status it is answered with, and q->close when the
 * connection must end. 0: also when q->reply is the answer. */
int srv_http_head(struct srv_req *q, const char *method, const char *url,
                  const char *version, int *status, struct err *err) MUST_CHECK;
/* q->raw, decoded: fills path and query. ERR_INVALID. */
int srv_http_target(struct srv_req *q, struct err *err) MUST_CHECK;
void srv_req_free(struct srv_req *q);

/* Forms of HTTP that two readers may take for two different requests are refused
 * (srv_check.c). Fills q->body_bytes. */
int srv_http_check(struct srv_req *q, const char *url, const char *version, int *status,
                   struct err *err) MUST_CHECK;

/* A request begins and ends on a connection (srv_conn.c). */
void srv_conn_busy(struct srv *srv, struct srv_conn *c, struct srv_req *q);
void srv_conn_idle(struct srv *srv, struct srv_conn *c);
/* What its client has still to send; asked by another thread. */
enum srv_waits { SRV_WAITS_NOT, SRV_WAITS_HEAD, SRV_WAITS_BODY };
enum srv_waits srv_req_waits(const struct srv_req *q);
/* Threads of slow handlers, and those of streams, which may outlive them: false when
 * there are too many of the kind already. */
enum srv_thread { SRV_HANDLER, SRV_STREAM, SRV_N_THREADS };
bool srv_thread_begin(struct srv *srv, enum srv_thread kind);
void srv_thread_end(struct srv *srv, enum srv_thread kind);
int srv_n_threads(const struct srv *srv); /* of both kinds */
/* Bytes more (less: < 0) of large bodies that are held, and of what is made of them.
 * False: there are too many already. */
bool srv_bodies_add(struct srv *srv, int64_t n_bytes);

#endif
