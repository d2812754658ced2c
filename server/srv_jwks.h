/* SPDX-License-Identifier: Apache-2.0 */
/* What an OpenID Connect issuer publishes (its discovery document, its keys), and what
 * is signed with them. Reads bytes; asks nobody. */
#ifndef SERVER_SRV_JWKS_H
#define SERVER_SRV_JWKS_H

#include "access/identity.h"

#include <cjose/jwk.h>

enum { SRV_KEYS_MAX = 64, SRV_KEY_BITS_MIN = 2048 /* of RSA */ };

struct srv_key {
    char *kid; /* NULL: none */
    cjose_jwk_t *jwk;
    const char *alg; /* what it signs by: "RS256", "ES256"; static */
};
struct srv_keys {
    struct srv_key k[SRV_KEYS_MAX];
    int n;
};
/* Of a JWKS document; a key of another kind, or for something else, is left out.
 * ERR_INVALID: not such a document, or none of its keys is left. *out is released by
 * the caller in any case. */
int srv_keys_read(struct str text, struct srv_keys *out, struct err *err) MUST_CHECK;
void srv_keys_release(struct srv_keys *k); /* for AUTO */
/* By kid; a token without one is signed by the only key of its kind. NULL: none. */
const struct srv_key *srv_keys_find(const struct srv_keys *all,
                                    const struct acc_jwt *t);
/* The token's signature is the key's, and covers what was read of it. */
bool srv_key_signed(const struct srv_key *key, struct str text,
                    const struct acc_jwt *t);
/* Where an issuer has its keys, by the discovery document that was got from `at`; `url`
 * is the issuer's, as tokens say it. ERR_INVALID: it is of somebody else, or leads from
 * https:// to something else. */
int srv_keys_where(struct str document, const char *at, const char *url,
                   struct buf *out, struct err *err) MUST_CHECK;

#endif
