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
#include "server/srv_jwks.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define S_NS INT64_C(1000000000)
enum {
    AGAIN_S = 10, /* between two questions to one issuer */
    FRESH_MIN_S = 60,
    FRESH_S = 3600, /* without Cache-Control */
    FRESH_MAX_S = 86400,
    STALE_S = 86400,
    DOCUMENT_MAX = 256 * 1024
};

struct issuer {
    struct issuer *next;
    char *name, *url, *audience;
    struct srv_keys keys;
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

/* Where an issuer has its keys, by its discovery document. */
static int
find_keys_url(const char *url, struct buf *out, struct err *err)
{
    struct http_answer a AUTO(http_answer_release) = HTTP_ANSWER_INIT;
    size_t n = strlen(url);
    char *at AUTO(free_ptr) = xasprintf("%.*s/.well-known/openid-configuration",
                                        (int)(n && url[n - 1] == '/' ? n - 1 : n), url);
    if (get_document(at, &a, err) < 0)
        return -(int)err->code;
    return srv_keys_where((struct str){ a.body.data, a.body.len }, at, url, out, err);
}

static int
fetch(const char *url, struct srv_keys *out, int64_t *fresh_s, struct err *err)
{
    struct buf keys_url AUTO(buf_release) = BUF_INIT;
    struct http_answer a AUTO(http_answer_release) = HTTP_ANSWER_INIT;
    if (find_keys_url(url, &keys_url, err) < 0 ||
        get_document(buf_str(&keys_url), &a, err) < 0 ||
        srv_keys_read((struct str){ a.body.data, a.body.len }, out, err) < 0)
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
    srv_keys_release(&i->keys);
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
        struct srv_keys keys = { .n = 0 };
        struct err err = ERR_INIT;
        int64_t fresh_s = 0;
        int r = fetch(url, &keys, &fresh_s, &err);
        pthread_mutex_lock(o->lock);
        struct issuer *i = find_issuer(o, url);
        bool news = i && i->has_failed != (r < 0);
        if (i && r == 0) {
            struct srv_keys old = i->keys;
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
        srv_keys_release(&keys);
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
key_of(struct issuer *i, const struct acc_jwt *t, const struct srv_key **out,
       struct err *err)
{
    const int64_t now_ns = clock_boot_ns();
    if (!i->fetched_ns || now_ns > i->fresh_ns + STALE_S * S_NS) {
        i->is_due = true;
        return keys_away(i, err);
    }
    *out = srv_keys_find(&i->keys, t);
    if (*out)
        return 0;
    if (!i->has_failed && now_ns - i->fetched_ns < AGAIN_S * S_NS)
        return err_set(err, ERR_DENIED, "it is signed by a key that %s does not have",
                       i->name);
    i->is_due = true;
    return keys_away(i, err);
}

int
srv_oidc_check(struct srv_oidc *o, struct acc *acc, struct str text,
               struct srv_who *out, int64_t *until_ns, struct err *err)
{
    struct acc_jwt t AUTO(acc_jwt_release) = { .header = NULL };
    const struct srv_key *key;
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
    if (!srv_key_signed(key, text, &t))
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
