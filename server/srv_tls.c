/* SPDX-License-Identifier: Apache-2.0 */
/* TLS: what libmicrohttpd is told, and what a client's certificate says.
 *
 * Certificate and key of the service are read again at SIGHUP (srv_tls_reload):
 * connections begun from then on see the new ones, those that are open keep theirs. So
 * is --client-ca: whom it vouches for is judged at each request. */
#include "server/srv_auth.h"

#include "base/clock.h"
#include "base/fs.h"

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { CHAIN_MAX = 16, PEM_MAX = 1 << 20, NAMES_MAX = 64, NAME_BYTES = 1024 };
#define DAY_NS (INT64_C(86400) * 1000000000)
#define VOUCHED_NS (INT64_C(60) * 1000000000) /* then it is judged again */
#define PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

/* What a file had at one time. A connection's session points into it for as long as it
 * lasts, so an old one goes a day after the next came. */
struct generation {
    struct generation *older;
    gnutls_pcert_st chain[CHAIN_MAX];
    unsigned n_chain;
    gnutls_privkey_t key;
    int64_t born_ns;
};
struct srv_tls {
    pthread_mutex_t lock;
    struct generation *now;
    gnutls_x509_trust_list_t trust; /* NULL: no --client-ca */
    char *trust_pem;                /* for libmicrohttpd, which names its issuers */
};
static int
tls_error(struct err *err, const char *path, int rc)
{
    return err_set(err, ERR_INVALID, "%s: %s", path, gnutls_strerror(rc));
}

static void
generation_free(struct generation *g)
{
    for (unsigned i = 0; i < g->n_chain; i++)
        gnutls_pcert_deinit(&g->chain[i]);
    if (g->key)
        gnutls_privkey_deinit(g->key);
    free(g);
}

static int
read_pem(const char *path, struct buf *out, gnutls_datum_t *d, struct err *err)
{
    out->cap_bytes = PEM_MAX;
    if (fs_read(AT_FDCWD, path, out, err) < 0)
        return -(int)err->code;
    *d = (gnutls_datum_t){ (unsigned char *)out->data, (unsigned)out->len };
    return 0;
}

/* The first certificate belongs to the key. */
static bool
is_pair(const struct generation *g)
{
    uint8_t a[64], b[64];
    size_t n = sizeof a, m = sizeof b;
    gnutls_pubkey_t of_key;
    bool same = false;
    if (gnutls_pubkey_init(&of_key) < 0)
        return false;
    if (gnutls_pubkey_import_privkey(of_key, g->key, 0, 0) >= 0 &&
        gnutls_pubkey_get_key_id(of_key, GNUTLS_KEYID_USE_SHA256, a, &n) >= 0 &&
        gnutls_pubkey_get_key_id(g->chain[0].pubkey, GNUTLS_KEYID_USE_SHA256, b, &m) >=
            0)
        same = n == m && memcmp(a, b, n) == 0;
    gnutls_pubkey_deinit(of_key);
    return same;
}

static int
load_pair(const struct srv_options *o, struct generation *g, struct err *err)
{
    struct buf cert AUTO(buf_release) = BUF_INIT, key AUTO(buf_release) = BUF_INIT;
    gnutls_datum_t d;
    if (read_pem(o->tls_cert, &cert, &d, err) < 0)
        return -(int)err->code;
    g->n_chain = CHAIN_MAX;
    int rc = gnutls_pcert_list_import_x509_raw(g->chain, &g->n_chain, &d,
                                               GNUTLS_X509_FMT_PEM, 0);
    if (rc < 0) {
        g->n_chain = 0;
        return tls_error(err, o->tls_cert, rc);
    }
    if (read_pem(o->tls_key, &key, &d, err) < 0)
        return -(int)err->code;
    rc = gnutls_privkey_init(&g->key);
    if (rc >= 0)
        rc = gnutls_privkey_import_x509_raw(g->key, &d, GNUTLS_X509_FMT_PEM, NULL, 0);
    gnutls_memset(key.data, 0, key.len);
    if (rc < 0)
        return tls_error(err, o->tls_key, rc);
    return is_pair(g) ? 0
                      : err_set(err, ERR_INVALID,
                                "%s is not the key of the first certificate in %s",
                                o->tls_key, o->tls_cert);
}

static int
load_trust(const char *path, gnutls_x509_trust_list_t *out, char **pem, struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    gnutls_datum_t d;
    if (!path)
        return 0;
    if (read_pem(path, &text, &d, err) < 0)
        return -(int)err->code;
    int rc = gnutls_x509_trust_list_init(out, 0);
    if (rc >= 0)
        rc = gnutls_x509_trust_list_add_trust_mem(*out, &d, NULL, GNUTLS_X509_FMT_PEM,
                                                  0, 0);
    if (rc <= 0) {
        gnutls_x509_trust_list_deinit(*out, 1);
        *out = NULL;
        return rc < 0 ? tls_error(err, path, rc)
                      : err_set(err, ERR_INVALID, "%s has no certificate", path);
    }
    *pem = buf_take(&text);
    return 0;
}

/* Both, or nothing. */
static int
load(struct srv_tls *t, const struct srv_options *o, struct err *err)
{
    struct generation *g = xcalloc(1, sizeof *g);
    gnutls_x509_trust_list_t trust = NULL;
    char *pem AUTO(free_ptr) = NULL;
    g->born_ns = clock_boot_ns();
    if (load_pair(o, g, err) < 0 || load_trust(o->client_ca, &trust, &pem, err) < 0) {
        generation_free(g);
        return -(int)err->code;
    }
    pthread_mutex_lock(&t->lock);
    g->older = t->now;
    t->now = g;
    /* one is kept while the one after it is younger than a day */
    for (struct generation *p = g; p->older; p = p->older) {
        if (g->born_ns - p->born_ns <= DAY_NS)
            continue;
        for (struct generation *old = p->older, *next; old; old = next) {
            next = old->older;
            generation_free(old);
        }
        p->older = NULL;
        break;
    }
    gnutls_x509_trust_list_t was = t->trust;
    t->trust = trust;
    if (!t->trust_pem) {
        t->trust_pem = pem;
        pem = NULL;
    }
    pthread_mutex_unlock(&t->lock);
    if (was)
        gnutls_x509_trust_list_deinit(was, 1);
    return 0;
}

static struct srv_conn *
conn_of(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *i =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    if (!i || !i->socket_context)
        BUG("a connection without its context");
    return i->socket_context;
}

static int
give_pair(gnutls_session_t session, const gnutls_datum_t *ca, int n_ca,
          const gnutls_pk_algorithm_t *algorithms, int n_algorithms,
          gnutls_pcert_st **chain, unsigned *n_chain, gnutls_privkey_t *key)
{
    /* libmicrohttpd lets a session point to its connection */
    struct srv_tls *t = conn_of(gnutls_session_get_ptr(session))->srv->tls;
    (void)ca, (void)n_ca, (void)algorithms, (void)n_algorithms;
    pthread_mutex_lock(&t->lock);
    *chain = t->now->chain;
    *n_chain = t->now->n_chain;
    *key = t->now->key;
    pthread_mutex_unlock(&t->lock);
    return 0;
}

int
srv_tls_options(struct srv *srv, struct MHD_OptionItem *out, int cap, int *n,
                struct err *err)
{
    *n = 0;
    if (!srv->opts->tls_key)
        return err_set(err, ERR_USAGE, "--tls-cert needs --tls-key");
    if (cap < 3)
        BUG("room for %d options of TLS", cap);
    srv->tls = xcalloc(1, sizeof *srv->tls);
    pthread_mutex_init(&srv->tls->lock, NULL);
    if (load(srv->tls, srv->opts, err) < 0)
        return -(int)err->code;
    out[(*n)++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_CERT_CALLBACK, 0,
                                           (void *)(uintptr_t)give_pair };
    out[(*n)++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_PRIORITIES, 0,
                                           (void *)(uintptr_t)PRIORITIES };
    if (srv->tls->trust_pem)
        out[(*n)++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_MEM_TRUST, 0,
                                               srv->tls->trust_pem };
    return 0;
}

int
srv_tls_reload(struct srv *srv, struct err *err)
{
    return srv->tls ? load(srv->tls, srv->opts, err) : 0;
}

void
srv_tls_close(struct srv *srv)
{
    struct srv_tls *t = srv->tls;
    if (!t)
        return;
    for (struct generation *g = t->now, *older; g; g = older) {
        older = g->older;
        generation_free(g);
    }
    if (t->trust)
        gnutls_x509_trust_list_deinit(t->trust, 1);
    pthread_mutex_destroy(&t->lock);
    free(t->trust_pem);
    free(t);
    srv->tls = NULL;
}

/* ---- the other end ---- */

static const gnutls_datum_t *
shown(struct srv_req *q, unsigned *n)
{
    const union MHD_ConnectionInfo *i =
        MHD_get_connection_info(q->mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    *n = 0;
    return q->conn->tls && i && i->tls_session
               ? gnutls_certificate_get_peers(i->tls_session, n)
               : NULL;
}

static bool
vouches(struct srv_tls *t, const gnutls_datum_t *list, unsigned n)
{
    gnutls_typed_vdata_st purpose = { .type = GNUTLS_DT_KEY_PURPOSE_OID,
                                      .data =
                                          (void *)(uintptr_t)GNUTLS_KP_TLS_WWW_CLIENT };
    gnutls_x509_crt_t chain[CHAIN_MAX];
    unsigned k = 0, status = ~0u;
    int rc = 0;
    for (; rc >= 0 && k < n && k < CHAIN_MAX; k++) {
        rc = gnutls_x509_crt_init(&chain[k]);
        if (rc < 0)
            break;
        rc = gnutls_x509_crt_import(chain[k], &list[k], GNUTLS_X509_FMT_DER);
    }
    pthread_mutex_lock(&t->lock);
    if (rc >= 0 && t->trust)
        rc = gnutls_x509_trust_list_verify_crt2(t->trust, chain, k, &purpose, 1, 0,
                                                &status, NULL);
    pthread_mutex_unlock(&t->lock);
    while (k > 0)
        gnutls_x509_crt_deinit(chain[--k]);
    return rc >= 0 && status == 0;
}

int
srv_tls_peer(struct srv_req *q, struct digest *out, struct err *err)
{
    struct srv_tls *t = q->srv->tls;
    struct srv_conn *c = q->conn;
    const int64_t now_ns = clock_boot_ns();
    unsigned n;
    const gnutls_datum_t *list = shown(q, &n);
    if (!list || n == 0 || !t)
        return 0;
    sha256_of(list[0].data, list[0].size, out);
    pthread_mutex_lock(&t->lock);
    bool is_news = !c->vouched_ns || c->vouched_ns < t->now->born_ns ||
                   now_ns - c->vouched_ns > VOUCHED_NS;
    pthread_mutex_unlock(&t->lock);
    if (is_news && !vouches(t, list, n))
        return err_set(
            err, ERR_DENIED,
            "this client certificate does not hold: its time is over, or none "
            "of the service's --client-ca made it for clients");
    if (is_news)
        c->vouched_ns = now_ns;
    return 1;
}

int
srv_tls_names(struct srv_req *q,
              int (*fn)(void *arg, const char *kind, const char *value,
                        struct err *err),
              void *arg, struct err *err)
{
    unsigned n, type;
    const gnutls_datum_t *list = shown(q, &n);
    gnutls_x509_crt_t crt;
    char name[NAME_BYTES];
    int r = 0;
    if (!list || n == 0 || gnutls_x509_crt_init(&crt) < 0)
        return 0;
    int rc = gnutls_x509_crt_import(crt, &list[0], GNUTLS_X509_FMT_DER);
    for (unsigned i = 0; rc >= 0 && r == 0 && i < NAMES_MAX; i++) {
        size_t bytes = sizeof name - 1;
        rc = gnutls_x509_crt_get_subject_alt_name2(crt, i, name, &bytes, &type, NULL);
        if (rc == GNUTLS_E_SHORT_MEMORY_BUFFER)
            rc = 0; /* longer than one that stands for somebody */
        else if (rc >= 0)
            name[bytes] = '\0';
        if (rc < 0 || bytes >= sizeof name || strlen(name) != bytes)
            continue;
        const char *kind = type == GNUTLS_SAN_URI          ? "URI"
                           : type == GNUTLS_SAN_DNSNAME    ? "DNS"
                           : type == GNUTLS_SAN_RFC822NAME ? "email"
                                                           : NULL;
        if (kind)
            r = fn(arg, kind, name, err);
    }
    gnutls_x509_crt_deinit(crt);
    return r;
}
