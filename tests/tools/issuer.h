/* SPDX-License-Identifier: Apache-2.0 */
/* An OpenID Connect issuer for tests: a thread that serves its discovery document and
 * its keys on 127.0.0.1, and signs what it is told to, also what no issuer would. */
#ifndef TESTS_ISSUER_H
#define TESTS_ISSUER_H

#include "base/buf.h"
#include "base/crypto.h"

#include <arpa/inet.h>
#include <cjose/cjose.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct issuer {
    int fd;
    pthread_t thread;
    pthread_mutex_t lock;
    cjose_jwk_t *rsa, *ec;
    int n_keys;        /* that it had: the kid of the newest is "r<n>", "e<n>" */
    int n_asked;       /* for its keys */
    bool down;         /* answers 503 */
    char says[100];    /* in place of its URL, in the discovery document; "": its URL */
    const char *cache; /* its Cache-Control */
    char url[64];
};

static inline void
issuer_die(const char *what)
{
    fprintf(stderr, "issuer: %s\n", what);
    abort();
}

/* New keys in place of the old. */
static inline void
issuer_rotate(struct issuer *i)
{
    static const uint8_t e[] = { 1, 0, 1 };
    char kid[16];
    cjose_err err;
    cjose_jwk_t *rsa = cjose_jwk_create_RSA_random(2048, e, sizeof(e), &err);
    cjose_jwk_t *ec = cjose_jwk_create_EC_random(CJOSE_JWK_EC_P_256, &err);

    pthread_mutex_lock(&i->lock);
    i->n_keys++;
    snprintf(kid, sizeof(kid), "r%d", i->n_keys);
    if (!rsa || !ec || !cjose_jwk_set_kid(rsa, kid, strlen(kid), &err))
        issuer_die("no key");
    kid[0] = 'e';
    if (!cjose_jwk_set_kid(ec, kid, strlen(kid), &err))
        issuer_die("no key");
    cjose_jwk_release(i->rsa);
    cjose_jwk_release(i->ec);
    i->rsa = rsa;
    i->ec = ec;
    pthread_mutex_unlock(&i->lock);
}

static inline void
issuer_answer(struct issuer *i, const char *asked, struct buf *out)
{
    struct buf body AUTO(buf_release) = BUF_INIT;
    int status = 200;
    cjose_err err;

    pthread_mutex_lock(&i->lock);
    if (i->down) {
        status = 503;
    } else if (strncmp(asked, "GET /.well-known/openid-configuration ", 38) == 0) {
        buf_addf(&body, "{\"issuer\":\"%s\",\"jwks_uri\":\"%s/keys\"}",
                 i->says[0] ? i->says : i->url, i->url);
    } else if (strncmp(asked, "GET /keys ", 10) == 0) {
        char *rsa = cjose_jwk_to_json(i->rsa, false, &err);
        char *ec = cjose_jwk_to_json(i->ec, false, &err);

        i->n_asked++;
        buf_addf(&body,
                 "{\"keys\":[%s,%s,{\"kty\":\"oct\",\"k\":\"AAAA\",\"kid\":\"h\"}]}",
                 rsa, ec);
        free(rsa);
        free(ec);
    } else {
        status = 404;
    }
    buf_addf(out,
             "HTTP/1.1 %d x\r\nContent-Type: application/json\r\nConnection: close\r\n"
             "Content-Length: %zu\r\n%s%s%s\r\n",
             status, body.len, i->cache ? "Cache-Control: " : "",
             i->cache ? i->cache : "", i->cache ? "\r\n" : "");
    pthread_mutex_unlock(&i->lock);
    buf_add(out, body.data, body.len);
}

static inline void *
issuer_run(void *arg)
{
    struct issuer *i = arg;
    int fd;

    while ((fd = accept(i->fd, NULL, NULL)) >= 0) {
        struct buf out AUTO(buf_release) = BUF_INIT;
        char asked[4096] = "";
        size_t n = 0;
        ssize_t k;

        while (!strstr(asked, "\r\n\r\n") && n < sizeof(asked) - 1 &&
               (k = read(fd, asked + n, sizeof(asked) - 1 - n)) > 0)
            n += (size_t)k;
        issuer_answer(i, asked, &out);
        for (size_t at = 0; at < out.len; at += (size_t)k)
            if ((k = send(fd, out.data + at, out.len - at, MSG_NOSIGNAL)) <= 0)
                break;
        close(fd);
    }
    return NULL;
}

static inline void
issuer_start(struct issuer *i)
{
    struct sockaddr_in a = { .sin_family = AF_INET };
    socklen_t n = sizeof(a);

    memset(i, 0, sizeof(*i));
    pthread_mutex_init(&i->lock, NULL);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    i->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (i->fd < 0 || bind(i->fd, (struct sockaddr *)&a, n) < 0 ||
        listen(i->fd, 16) < 0 || getsockname(i->fd, (struct sockaddr *)&a, &n) < 0)
        issuer_die("no socket");
    snprintf(i->url, sizeof(i->url), "http://127.0.0.1:%d", ntohs(a.sin_port));
    issuer_rotate(i);
    if (pthread_create(&i->thread, NULL, issuer_run, i) != 0)
        issuer_die("no thread");
}

static inline void
issuer_stop(struct issuer *i)
{
    shutdown(i->fd, SHUT_RDWR);
    pthread_join(i->thread, NULL);
    close(i->fd);
    cjose_jwk_release(i->rsa);
    cjose_jwk_release(i->ec);
    pthread_mutex_destroy(&i->lock);
}

static inline void
issuer_add_part(struct buf *out, const void *p, size_t n)
{
    struct buf b AUTO(buf_release) = BUF_INIT;

    base64_add(&b, p, n);
    for (size_t k = 0; k < b.len && b.data[k] != '='; k++)
        buf_addc(out, b.data[k] == '+' ? '-' : b.data[k] == '/' ? '_' : b.data[k]);
}

/* alg "none": no signature. "HS256": by the public key's text as the secret, which a
 * reader that believes the header would accept. kid NULL: none in the header. The
 * caller frees. */
static inline char *
issuer_sign(struct issuer *i, const char *alg, const char *kid, const char *claims)
{
    struct buf out AUTO(buf_release) = BUF_INIT;
    cjose_err err;
    const char *text;

    if (strcmp(alg, "none") == 0) {
        issuer_add_part(&out, "{\"alg\":\"none\"}", 14);
        buf_addc(&out, '.');
        issuer_add_part(&out, claims, strlen(claims));
        buf_adds(&out, ".x");
        return buf_take(&out);
    }
    cjose_header_t *h = cjose_header_new(&err);
    if (!h || !cjose_header_set(h, CJOSE_HDR_ALG, alg, &err) ||
        (kid && !cjose_header_set(h, CJOSE_HDR_KID, kid, &err)))
        issuer_die("no header");
    pthread_mutex_lock(&i->lock);
    cjose_jwk_t *key =
        cjose_jwk_retain(strcmp(alg, "ES256") == 0 ? i->ec : i->rsa, &err);
    pthread_mutex_unlock(&i->lock);
    if (strcmp(alg, "HS256") == 0) {
        char *public = cjose_jwk_to_json(key, false, &err);

        cjose_jwk_release(key);
        key = cjose_jwk_create_oct_spec((const uint8_t *)public, strlen(public), &err);
        free(public);
    }
    cjose_jws_t *jws =
        cjose_jws_sign(key, h, (const uint8_t *)claims, strlen(claims), &err);
    if (!jws || !cjose_jws_export(jws, &text, &err))
        issuer_die("no signature");
    buf_adds(&out, text);
    cjose_jws_release(jws);
    cjose_header_release(h);
    cjose_jwk_release(key);
    return buf_take(&out);
}

#endif
