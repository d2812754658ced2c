/* SPDX-License-Identifier: Apache-2.0 */
/* What an issuer of job tokens publishes, and what is signed with its keys. The first
 * byte says what comes: 'k' its keys, 'd' its discovery document, 'c' a Cache-Control,
 * 't' a token, 'm' a rule's match, LF, claims. */
#include "base/http.h"
#include "server/srv_jwks.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* An issuer's, whose private halves are gone; and all that was ever signed with them.
 */
static const char keys_text[] =
    "{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"r1\",\"use\":\"sig\",\"alg\":\"RS25"
    "6\",\"n\":\"1vG0zwc8Xkh79uUE04KQuyi4ghovIt1EMxntoin9IvNFp3ai"
    "1yb9halPTSwbxGf0HK7Qaitji6u726sTqGYtOxgR0pvrFBIz0ftSjCTH"
    "wSpOqW24KbMvFV_Pw31Qj4gCRIINsPc_uj0zXaGkdyo0HREdcq3usPAh"
    "mus1lht87stGtwwxJZevLi5HwFAcAls3_EIrcqiYye0bAZtenX4ibZsR"
    "Rh6FZzST0oHxq8m74YXVg3IzzUu_jWRpcIxQ3Wge6Cq3mfUun3SIkS28"
    "MDj6e__3n1AJNAMdMeDqh01fhz1nFqP_eL4lvRVqstjWs3EvqNV_UPfK"
    "o_M93V-TOeUnJQ\",\"e\":\"AQAB\"},{\"kty\":\"EC\",\"kid\":\"e1\",\"use\""
    ":\"sig\",\"crv\":\"P-256\",\"x\":\"OftrRlOs5QnPUbHUDYvzyqTE4H7eCU"
    "Hon7zVzCxzB2I\",\"y\":\"1ZFWnGFpBaE3EJzhKyrl4nTuYWnkmyi7zqYk"
    "uyVSIk8\"}]}";
static const char signed_claims[] =
    "{\"iss\":\"https://ci.example\",\"aud\":[\"sluice\",\"other\"],\"su"
    "b\":\"repo:org/fraud\",\"repository\":\"org/fraud\",\"iat\":16999"
    "99700,\"nbf\":1699999700,\"exp\":1700000600}";
#define NOW_NS (INT64_C(1700000000) * 1000000000)

static void
try_token(struct str text)
{
    static struct srv_keys keys;
    struct acc_jwt t AUTO(acc_jwt_release) = { .header = NULL };
    struct err err = ERR_INIT;
    if (!keys.n && srv_keys_read(str_of(keys_text), &keys, &err) < 0)
        BUG("%s", err.msg);
    if (acc_jwt_parse(text, &t, &err) < 0)
        return;
    const struct srv_key *key = srv_keys_find(&keys, &t);
    if (!key || !srv_key_signed(key, text, &t))
        return;
    if (!str_eq((struct str){ t.payload.data, t.payload.len }, str_of(signed_claims)) ||
        strcmp(t.iss, "https://ci.example") != 0)
        BUG("signed by nobody: %s", buf_str(&t.payload));
    if (acc_jwt_check(&t, "sluice", NOW_NS, &err) < 0)
        BUG("%s", err.msg);
    if (acc_jwt_check(&t, "else", NOW_NS, &err) == 0)
        BUG("for any audience");
}

static void
try_keys(struct str text)
{
    struct srv_keys keys AUTO(srv_keys_release) = { .n = 0 };
    struct acc_jwt t = { .alg = "RS256" };
    struct err err = ERR_INIT;
    const int r = srv_keys_read(text, &keys, &err);
    if ((r == 0) != (keys.n > 0) || keys.n > SRV_KEYS_MAX)
        BUG("%d and %d keys", r, keys.n);
    for (int i = 0; i < keys.n; i++)
        if (strcmp(keys.k[i].alg, "RS256") != 0 && strcmp(keys.k[i].alg, "ES256") != 0)
            BUG("a key for %s", keys.k[i].alg);
    const struct srv_key *key = srv_keys_find(&keys, &t);
    if (key && srv_key_signed(key, str_of("eyJhbGciOiJSUzI1NiJ9.e30.AAAA"), &t))
        BUG("it signed nothing");
}

static void
try_document(struct str text)
{
    struct buf out AUTO(buf_release) = BUF_INIT;
    struct err err = ERR_INIT;
    if (srv_keys_where(text, "there", "https://ci.example", &out, &err) == 0 &&
        strncmp(buf_str(&out), "https://", 8) != 0)
        BUG("keys from %s", buf_str(&out));
}

static void
try_match(char *text)
{
    char *claims_text = strchr(text, '\n');
    struct err err = ERR_INIT;
    cJSON *claims AUTO(json_free) = NULL;
    if (!claims_text)
        return;
    *claims_text++ = '\0';
    if (json_parse(&claims, str_of(claims_text), "claims", &err) < 0)
        return;
    if (acc_issuer_fits(text, claims) && !cJSON_IsObject(claims))
        BUG("claims that are no object fit");
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n == 0)
        return 0;
    char *text AUTO(free_ptr) = xstrndup((const char *)data + 1, n - 1);
    const struct str s = { (const char *)data + 1, n - 1 };
    if (data[0] == 'k')
        try_keys(s);
    else if (data[0] == 'd')
        try_document(s);
    else if (data[0] == 't')
        try_token(str_of(text));
    else if (data[0] == 'm')
        try_match(text);
    else if (data[0] == 'c' && http_max_age(text) < -1)
        BUG("an age of %ld", http_max_age(text));
    return 0;
}
