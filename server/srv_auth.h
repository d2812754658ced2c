/* SPDX-License-Identifier: Apache-2.0 */
/* What srv_auth.c, srv_oidc.c and srv_tls.c have with one another. */
#ifndef SERVER_SRV_AUTH_H
#define SERVER_SRV_AUTH_H

#include "access/identity.h"
#include "server/server_int.h"

#include <pthread.h>

/* What stands behind "Authorization: Bearer", lent by the request. 1: there is one, 0:
 * none. ERR_INVALID: several; ERR_DENIED: another form. */
int srv_auth_bearer(const struct srv_req *q, struct str *out,
                    struct err *err) MUST_CHECK;

/* ---- what jobs of CI systems show (srv_oidc.c) ----
 * The keys of an issuer are fetched ahead, by srv_oidc_refresh, on a thread that may
 * wait; a request never does. A key that is not known yet makes the issuer due, and its
 * request ERR_BUSY: the client asks again. Used by one thread at a time, but for
 * srv_oidc_refresh, which takes `lock` while it looks and puts. */
struct srv_oidc;
struct srv_oidc *srv_oidc_new(pthread_mutex_t *lock);
void srv_oidc_free(struct srv_oidc *o);
/* Which issuers there are now. */
int srv_oidc_issuers(struct srv_oidc *o, struct acc *acc, struct err *err) MUST_CHECK;
/* Whose job shows this. ERR_DENIED: why it is not accepted, for the log. ERR_BUSY: the
 * issuer's keys are not here. until_ns: when it ends, at the latest. */
int srv_oidc_check(struct srv_oidc *o, struct acc *acc, struct str text,
                   struct srv_who *out, int64_t *until_ns, struct err *err) MUST_CHECK;
/* An issuer is due: there is work for srv_oidc_refresh. */
bool srv_oidc_is_due(const struct srv_oidc *o);
/* Asks each issuer that is due. `told` gets what became of one, when that is news. */
void srv_oidc_refresh(struct srv_oidc *o,
                      void (*told)(void *arg, const char *issuer, const char *failure),
                      void *arg);

/* ---- client certificates (srv_tls.c) ---- */

/* SHA-256 of the certificate that the other end of a connection has shown, and that
 * --client-ca vouches for now. 1: one, 0: none. ERR_DENIED: it does not hold. */
int srv_tls_peer(struct srv_req *q, struct digest *out, struct err *err) MUST_CHECK;
/* Tells `fn` each of its names, as acc_cert_find knows them, until it returns other
 * than 0; that is returned. */
int srv_tls_names(struct srv_req *q,
                  int (*fn)(void *arg, const char *kind, const char *value,
                            struct err *err),
                  void *arg, struct err *err) MUST_CHECK;

#endif
