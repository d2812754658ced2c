/* SPDX-License-Identifier: Apache-2.0 */
#include "server/srv_jwks.h"

#include <cjose/cjose.h>
#include <stdlib.h>
#include <string.h>

void
srv_keys_release(struct srv_keys *k)
{
    for (int i = 0; i < k->n; i++) {
        free(k->k[i].kid);
        cjose_jwk_release(k->k[i].jwk);
    }
    k->n = 0;
}

/* What a key may sign by; NULL: nothing that is accepted. */
static const char *
alg_of(const cjose_jwk_t *jwk)
{
    cjose_err e;
    const cjose_jwk_kty_t kty = cjose_jwk_get_kty(jwk, &e);
    if (kty == CJOSE_JWK_KTY_RSA && cjose_jwk_get_keysize(jwk, &e) >= SRV_KEY_BITS_MIN)
        return "RS256";
    if (kty == CJOSE_JWK_KTY_EC &&
        cjose_jwk_EC_get_curve(jwk, &e) == CJOSE_JWK_EC_P_256)
        return "ES256";
    return NULL;
}

static bool
says(const cJSON *key, const char *member, const char *value)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(key, member);
    return !v || (cJSON_IsString(v) && strcmp(v->valuestring, value) == 0);
}

/* One that is of another kind, or for something else, is left out. */
static void
add_key(struct srv_keys *to, const cJSON *key)
{
    const cJSON *kid = cJSON_GetObjectItemCaseSensitive(key, "kid");
    struct buf text AUTO(buf_release) = BUF_INIT;
    cjose_err e;
    if (to->n == SRV_KEYS_MAX || !cJSON_IsObject(key) || !says(key, "use", "sig"))
        return;
    json_print(key, &text, true);
    cjose_jwk_t *jwk = cjose_jwk_import(text.data, text.len, &e);
    const char *alg = jwk ? alg_of(jwk) : NULL;
    if (!alg || !says(key, "alg", alg)) {
        cjose_jwk_release(jwk);
        return;
    }
    to->k[to->n++] = (struct srv_key){
        .kid = cJSON_IsString(kid) ? xstrdup(kid->valuestring) : NULL,
        .jwk = jwk,
        .alg = alg,
    };
}

int
srv_keys_read(struct str text, struct srv_keys *out, struct err *err)
{
    cJSON *doc AUTO(json_free) = NULL;
    if (json_parse(&doc, text, "its keys", err) < 0)
        return -(int)err->code;
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(doc, "keys"), *key;
    cJSON_ArrayForEach(key, list) add_key(out, key);
    return out->n ? 0
                  : err_set(err, ERR_INVALID,
                            "none of its keys is one for RS256 (of %d bits) or ES256",
                            SRV_KEY_BITS_MIN);
}

const struct srv_key *
srv_keys_find(const struct srv_keys *all, const struct acc_jwt *t)
{
    const struct srv_key *found = NULL;
    for (int i = 0; i < all->n; i++) {
        const struct srv_key *k = &all->k[i];
        if (strcmp(k->alg, t->alg) != 0 ||
            (t->kid && (!k->kid || strcmp(k->kid, t->kid) != 0)))
            continue;
        if (found)
            return NULL;
        found = k;
    }
    return found;
}

bool
srv_key_signed(const struct srv_key *key, struct str text, const struct acc_jwt *t)
{
    cjose_err e;
    uint8_t *p;
    size_t n;
    cjose_jws_t *jws = cjose_jws_import(text.p, text.n, &e);
    if (!jws)
        return false;
    const char *alg = cjose_header_get(cjose_jws_get_protected(jws), CJOSE_HDR_ALG, &e);
    bool ok = alg && strcmp(alg, key->alg) == 0 &&
              cjose_jws_verify(jws, key->jwk, &e) &&
              cjose_jws_get_plaintext(jws, &p, &n, &e) && n == t->payload.len &&
              memcmp(p, t->payload.data, n) == 0;
    cjose_jws_release(jws);
    return ok;
}

static bool
is_https(const char *url)
{
    return strncmp(url, "https://", 8) == 0;
}

int
srv_keys_where(struct str document, const char *at, const char *url, struct buf *out,
               struct err *err)
{
    cJSON *doc AUTO(json_free) = NULL;
    const char *says_url, *keys_url;
    if (json_parse(&doc, document, at, err) < 0 ||
        json_str(doc, "issuer", NULL, &says_url, at, err) < 0 ||
        json_str(doc, "jwks_uri", NULL, &keys_url, at, err) < 0)
        return -(int)err->code;
    if (strcmp(says_url, url) != 0)
        return err_set(err, ERR_INVALID, "%s says that it is of '%.100s'", at,
                       says_url);
    if (is_https(url) && !is_https(keys_url))
        return err_set(err, ERR_INVALID, "%s: jwks_uri '%.100s' is not https://", at,
                       keys_url);
    buf_adds(out, keys_url);
    return 0;
}
