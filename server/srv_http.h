/* SPDX-License-Identifier: Apache-2.0 */
/* What srv_http.c, srv_check.c and srv_conn.c have with libmicrohttpd. */
#ifndef SERVER_SRV_HTTP_H
#define SERVER_SRV_HTTP_H

#include "server/server_int.h"

#include <microhttpd.h>

/* Callbacks; arg is the struct srv. */
void *srv_http_begin(void *arg, const char *target, struct MHD_Connection *mhd);
enum MHD_Result srv_http_handle(void *arg, struct MHD_Connection *mhd, const char *url,
                                const char *method, const char *version,
                                const char *data, size_t *data_bytes, void **con_cls);
void srv_http_end(void *arg, struct MHD_Connection *mhd, void **con_cls,
                  enum MHD_RequestTerminationCode how);

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
/* Threads of slow handlers and streams: false when there are `max` already. */
bool srv_slow_begin(struct srv *srv, int max);
void srv_slow_end(struct srv *srv);

#endif
