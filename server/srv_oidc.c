/* SPDX-License-Identifier: Apache-2.0 */
/* OpenID Connect, the part of who relies on it: an issuer's keys, and what is signed
 * with them.
 *
 *   keys          none ── fetched ──> fresh (Cache-Control, 1 min to 1 day; else 1 h)
 *                 fresh ── its time is over ──> due; used on while the issuer is away,
 *                 for STALE_S; then none
 *   unknown kid   due, once in AGAIN_S: who rotates a key publishes it, and the next
 * try finds it. Right after a fetch an unknown kid is a wrong one. */
#include "server/srv_auth.h"

#include "base/clock.h"
#include "base/http.h"

#include <cjose/cjose.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define S_NS INT64_C(1000000000)
enum {
    AGAIN_S = 10, /* between two questions to one issuer */
    FRESH_MIN_S = 60,
    FRESH_S = 3600, /* without Cache-Control */
    FRESH_MAX_S = 86400,
    STALE_S = 86400,
    KEYS_MAX = 64,
    KEY_BITS_MIN = 2048, /* RSA */
    DOCUMENT_MAX = 256 * 1024
};

struct key {
    char *kid; /* NULL: none */
    cjose_jwk_t *jwk;
    const char *alg; /* what it signs by: "RS256", "ES256"; static */
};
struct keys {
    struct key k[KEYS_MAX];
    int n;
};
struct issuer {
    struct issuer *next;
    char *name, *url, *audience;
    struct keys keys;
    int64_t fetched_ns; /* by clock_boot_ns; 0: never */
    int64_t tried_ns;   /* 0: never */
    int64_t fresh_ns;   /* until then */
    bool is_due, has_failed, is_here;
    char why[200]; /* it failed */
};
struct srv_oidc {
    struct issuer *issuers;
    pthread_mutex_t *lock;
};

/* ---- keys ---- */

static void
keys_release(struct keys *k)
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
    if (kty == CJOSE_JWK_KTY_RSA && cjose_jwk_get_keysize(jwk, &e) >= KEY_BITS_MIN)
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
add_key(struct keys *to, const cJSON *key)
{
    const cJSON *kid = cJSON_GetObjectItemCaseSensitive(key, "kid");
    struct buf text AUTO(buf_release) = BUF_INIT;
    cjose_err e;
    if (to->n == KEYS_MAX || !cJSON_IsObject(key) || !says(key, "use", "sig"))
        return;
    json_print(key, &text, true);
    cjose_jwk_t *jwk = cjose_jwk_import(text.data, text.len, &e);
    const char *alg = jwk ? alg_of(jwk) : NULL;
    if (!alg || !says(key, "alg", alg)) {
        cjose_jwk_release(jwk);
        return;
    }
    to->k[to->n++] = (struct key){
        .kid = cJSON_IsString(kid) ? xstrdup(kid->valuestring) : NULL,
        .jwk = jwk,
        .alg = alg,
    };
}

static int
read_keys(struct str text, struct keys *out, struct err *err)
{
    cJSON *doc AUTO(json_free) = NULL;
    if (json_parse(&doc, text, "its keys", err) < 0)
        return -(int)err->code;
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(doc, "keys"), *key;
    cJSON_ArrayForEach(key, list) add_key(out, key);
    return out->n ? 0
                  : err_set(err, ERR_INVALID,
                            "none of its keys is one for RS256 (of %d bits) or ES256",
                            KEY_BITS_MIN);
}

/* By kid; a token without one is signed by the only key of its kind. */
static const struct key *
find_key(const struct keys *all, const struct acc_jwt *t)
{
    const struct key *found = NULL;
    for (int i = 0; i < all->n; i++) {
        const struct key *k = &all->k[i];
        if (strcmp(k->alg, t->alg) != 0 ||
            (t->kid && (!k->kid || strcmp(k->kid, t->kid) != 0)))
            continue;
        if (found)
            return NULL;
        found = k;
    }
    return found;
}

/* ---- asking an issuer ---- */

static int
get_document(const char *url, struct http_answer *out, struct err *err)
{
    const struct http_ask ask = {
        .url = url, .connect_ms = 3000, .wall_ms = 10000, .max_bytes = DOCUMENT_MAX
    };
    if (http_ask(&ask, out, err) < 0)
        return -(int)err->code;
    if (out->status != 200 || out->cut)
        return err_set(err, ERR_IO, "%s: %s %d", url,
                       out->cut ? "too long, " : "status", out->status);
    return 0;
}

static bool
is_https(const char *url)
{
    return strncmp(url, "https://", 8) == 0;
}

/* Where an issuer has its keys, by its discovery document. */
static int
find_keys_url(const char *url, struct buf *out, struct err *err)
{
    struct http_answer a AUTO(http_answer_release) = HTTP_ANSWER_INIT;
    cJSON *doc AUTO(json_free) = NULL;
    const char *says_url, *keys_url;
    size_t n = strlen(url);
    char *at AUTO(free_ptr) = xasprintf("%.*s/.well-known/openid-configuration",
                                        (int)(n && url[n - 1] == '/' ? n - 1 : n), url);
    if (get_document(at, &a, err) < 0 ||
        json_parse(&doc, (struct str){ a.body.data, a.body.len }, at, err) < 0 ||
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

static int
fetch(const char *url, struct keys *out, int64_t *fresh_s, struct err *err)
{
    struct buf keys_url AUTO(buf_release) = BUF_INIT;
    struct http_answer a AUTO(http_answer_release) = HTTP_ANSWER_INIT;
    if (find_keys_url(url, &keys_url, err) < 0 ||
        get_document(buf_str(&keys_url), &a, err) < 0 ||
        read_keys((struct str){ a.body.data, a.body.len }, out, err) < 0)
        return -(int)err->code;
    *fresh_s = a.max_age_s < 0             ? FRESH_S
               : a.max_age_s < FRESH_MIN_S ? FRESH_MIN_S
               : a.max_age_s > FRESH_MAX_S ? FRESH_MAX_S
                                           : a.max_age_s;
    return 0;
}

/* ---- issuers ---- */

static struct issuer *
find_issuer(const struct srv_oidc *o, const char *url)
{
    struct issuer *i = o->issuers;
    while (i && strcmp(i->url, url) != 0)
        i = i->next;
    return i;
}

static void
issuer_free(struct issuer *i)
{
    keys_release(&i->keys);
    free(i->name);
    free(i->url);
    free(i->audience);
    free(i);
}

struct srv_oidc *
srv_oidc_new(pthread_mutex_t *lock)
{
    struct srv_oidc *o = xcalloc(1, sizeof *o);
    o->lock = lock;
    return o;
}

void
srv_oidc_free(struct srv_oidc *o)
{
    while (o && o->issuers) {
        struct issuer *i = o->issuers;
        o->issuers = i->next;
        issuer_free(i);
    }
    free(o);
}

static int
see_rule(void *arg, const struct acc_issuer_rule *r, struct err *err)
{
    struct srv_oidc *o = arg;
    struct issuer *i = find_issuer(o, r->issuer.url);
    (void)err;
    if (!i) {
        i = xcalloc(1, sizeof *i);
        i->url = xstrdup(r->issuer.url);
        i->is_due = true;
        i->next = o->issuers;
        o->issuers = i;
    }
    if (!i->is_here) {
        i->is_here = true;
        free(i->name);
        free(i->audience);
        i->name = xstrdup(r->issuer.name);
        i->audience = xstrdup(r->issuer.audience);
    }
    return 0;
}

int
srv_oidc_issuers(struct srv_oidc *o, struct acc *acc, struct err *err)
{
    for (struct issuer *i = o->issuers; i; i = i->next)
        i->is_here = false;
    if (acc_issuer_rules(acc, see_rule, o, err) < 0)
        return -(int)err->code;
    for (struct issuer **at = &o->issuers; *at;) {
        struct issuer *i = *at;
        if (i->is_here) {
            at = &i->next;
            continue;
        }
        *at = i->next;
        issuer_free(i);
    }
    return 0;
}

static bool
is_due(const struct issuer *i, int64_t now_ns)
{
    return (i->is_due || now_ns > i->fresh_ns) &&
           (!i->tried_ns || now_ns - i->tried_ns > AGAIN_S * S_NS);
}

bool
srv_oidc_is_due(const struct srv_oidc *o)
{
    for (const struct issuer *i = o->issuers; i; i = i->next)
        if (is_due(i, clock_boot_ns()))
            return true;
    return false;
}

/* One issuer that is due: its URL; NULL: none. */
static char *
next_due(struct srv_oidc *o)
{
    char *url = NULL;
    pthread_mutex_lock(o->lock);
    for (struct issuer *i = o->issuers; i && !url; i = i->next) {
        if (!is_due(i, clock_boot_ns()))
            continue;
        i->tried_ns = clock_boot_ns();
        i->is_due = false;
        url = xstrdup(i->url);
    }
    pthread_mutex_unlock(o->lock);
    return url;
}

void
srv_oidc_refresh(struct srv_oidc *o,
                 void (*told)(void *arg, const char *issuer, const char *failure),
                 void *arg)
{
    char *url;
    while ((url = next_due(o)) != NULL) {
        struct keys keys = { .n = 0 };
        struct err err = ERR_INIT;
        int64_t fresh_s = 0;
        int r = fetch(url, &keys, &fresh_s, &err);
        pthread_mutex_lock(o->lock);
        struct issuer *i = find_issuer(o, url);
        bool news = i && i->has_failed != (r < 0);
        if (i && r == 0) {
            struct keys old = i->keys;
            i->keys = keys;
            keys = old;
            i->fetched_ns = clock_boot_ns();
            i->fresh_ns = i->fetched_ns + fresh_s * S_NS;
        } else if (i) {
            snprintf(i->why, sizeof i->why, "%.*s", (int)sizeof i->why - 1, err.msg);
        }
        if (i)
            i->has_failed = r < 0;
        if (news)
            told(arg, i->name, r < 0 ? i->why : NULL);
        pthread_mutex_unlock(o->lock);
        keys_release(&keys);
        free(url);
    }
}

/* ---- a job ---- */

static int
keys_away(struct issuer *i, struct err *err)
{
    return err_set(err, ERR_BUSY,
                   i->has_failed ? "the keys of issuer %s cannot be had now (who "
                                   "administers the store sees why: sluice audit log "
                                   "--verb issuer_keys): try again"
                                 : "the keys of issuer %s are being fetched: try again",
                   i->name);
}

static int
key_of(struct issuer *i, const struct acc_jwt *t, const struct key **out,
       struct err *err)
{
    const int64_t now_ns = clock_boot_ns();
    if (!i->fetched_ns || now_ns > i->fresh_ns + STALE_S * S_NS) {
        i->is_due = true;
        return keys_away(i, err);
    }
    *out = find_key(&i->keys, t);
    if (*out)
        return 0;
    if (!i->has_failed && now_ns - i->fetched_ns < AGAIN_S * S_NS)
        return err_set(err, ERR_DENIED, "it is signed by a key that %s does not have",
                       i->name);
    i->is_due = true;
    return keys_away(i, err);
}

/* The signature holds, and covers what was read. */
static bool
verify(struct str text, const struct key *key, const struct acc_jwt *t)
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

int
srv_oidc_check(struct srv_oidc *o, struct acc *acc, struct str text,
               struct srv_who *out, int64_t *until_ns, struct err *err)
{
    struct acc_jwt t AUTO(acc_jwt_release) = { .header = NULL };
    const struct key *key;
    struct acc_job job;
    if (acc_jwt_parse(text, &t, err) < 0) {
        err->code = ERR_DENIED;
        return -ERR_DENIED;
    }
    struct issuer *i = find_issuer(o, t.iss);
    if (!i)
        return err_set(err, ERR_DENIED, "its issuer '%.100s' is not known here", t.iss);
    if (key_of(i, &t, &key, err) < 0)
        return -(int)err->code;
    if (!verify(text, key, &t))
        return err_set(err, ERR_DENIED, "its signature is not %s's", i->name);
    if (acc_jwt_check(&t, i->audience, clock_now_ns(), err) < 0)
        return -(int)err->code;
    int r = acc_issuer_find(acc, t.iss, t.claims, &job, err);
    if (r == 0)
        return err_set(err, ERR_DENIED, "no rule of %s fits what it claims", i->name);
    if (r < 0)
        return r;
    const char *sub =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(t.claims, "sub"));
    snprintf(out->subject, sizeof out->subject, "%s", job.subject);
    snprintf(out->via, sizeof out->via, "oidc %s/%lld %s", job.issuer,
             (long long)job.rule, sub ? sub : "");
    for (char *p = out->via; *p; p++)
        *p = *p < ' ' || *p > '~' ? '?' : *p;
    out->scope = job.scope;
    *until_ns = acc_jwt_end_ns(&t);
    return 0;
}
