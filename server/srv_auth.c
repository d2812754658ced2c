/* SPDX-License-Identifier: Apache-2.0 */
/* Who asks. In this order, the first that is there decides:
 *
 *   Authorization: Bearer   a token (slc_…), or what a CI job shows (eyJ…)
 *   a client certificate    by its SHA-256, or one of its names
 *   the kernel              on a Unix socket and with stdio; stdio --as
 *
 * What was found to hold is remembered until the catalogue changes (its data_version),
 * so that a revocation counts from the next request on. A thread does what may wait:
 * issuers' keys, when tokens were used, what was not accepted. */
#include "server/srv_auth.h"

#include "base/clock.h"
#include "base/fs.h"
#include "server/srv_http.h"
#include "server/srv_notes.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define S_NS INT64_C(1000000000)
enum {
    KNOWN_MAX = 512, /* places; one whose place is taken is looked up again */
    PEERS_MAX = 256,
    GUESSES_MAX = 60, /* of one other machine that are not accepted, in a minute */
    FLUSH_S = 5
};

/* What holds, until then and while the catalogue stays as it is. */
struct known {
    struct digest key; /* of what was shown */
    int64_t version, until_ns;
    struct srv_who who;
};
struct guesses {
    char peer[48];
    int64_t since_ns;
    int n;
};
struct srv_auth {
    pthread_mutex_t lock; /* all of it */
    pthread_cond_t news;
    pthread_t thread;
    bool has_thread, stops;
    struct srv *srv;
    struct svc *svc;
    struct repo *repo; /* only reads */
    int64_t version;
    uid_t overflow_uid;
    struct srv_oidc *oidc;
    struct srv_notes *notes; /* has a lock of its own */
    struct known known[KNOWN_MAX];
    struct guesses peers[PEERS_MAX];
};

void
srv_who_release(struct srv_who *w)
{
    free(w->scope);
    *w = (struct srv_who){ .subject = "" };
}

void
srv_who_copy(struct srv_who *out, const struct srv_who *from)
{
    *out = *from;
    out->scope = from->scope ? xstrdup(from->scope) : NULL;
}

/* ---- the thread ---- */

/* Called by srv_oidc_refresh. */
static void
told_of_keys(void *arg, const char *issuer, const char *failure)
{
    char object[80];
    snprintf(object, sizeof object, "issuer:%s", issuer);
    srv_note(arg, "issuer_keys", object, "", failure ? failure : "", !failure);
}

static void *
run(void *arg)
{
    struct srv_auth *a = arg;
    struct timespec at;
    int64_t flush_ns = clock_mono_ns() + FLUSH_S * S_NS;
    pthread_mutex_lock(&a->lock);
    while (!a->stops) {
        if (!srv_oidc_is_due(a->oidc)) {
            clock_gettime(CLOCK_MONOTONIC, &at);
            at.tv_sec += FLUSH_S;
            pthread_cond_timedwait(&a->news, &a->lock, &at);
        }
        if (a->stops)
            break;
        pthread_mutex_unlock(&a->lock);
        srv_oidc_refresh(a->oidc, told_of_keys, a->notes);
        if (clock_mono_ns() >= flush_ns) {
            srv_notes_write(a->notes, a->srv, false);
            flush_ns = clock_mono_ns() + FLUSH_S * S_NS;
        }
        pthread_mutex_lock(&a->lock);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

static uid_t
overflow_uid(void)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    struct err err = ERR_INIT;
    if (fs_read(AT_FDCWD, "/proc/sys/kernel/overflowuid", &text, &err) < 0)
        return 65534;
    return (uid_t)strtoul(buf_str(&text), NULL, 10);
}

int
srv_auth_open(struct srv *srv, struct err *err)
{
    struct srv_auth *a = xcalloc(1, sizeof *a);
    pthread_condattr_t attr;
    pthread_attr_t small;
    srv->auth = a;
    a->srv = srv;
    a->version = -1;
    a->overflow_uid = overflow_uid();
    pthread_mutex_init(&a->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&a->news, &attr);
    pthread_condattr_destroy(&attr);
    a->notes = srv_notes_new();
    a->oidc = srv_oidc_new(&a->lock);
    if (srv_session_any(srv, &a->svc, &a->repo, err) < 0 ||
        srv_oidc_issuers(a->oidc, a->repo->acc, err) < 0)
        return -(int)err->code;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 512 * 1024);
    a->has_thread = pthread_create(&a->thread, &small, run, a) == 0;
    pthread_attr_destroy(&small);
    return a->has_thread ? 0 : err_set(err, ERR_BUSY, "no thread can be started");
}

void
srv_auth_close(struct srv *srv)
{
    struct srv_auth *a = srv->auth;
    if (a->has_thread) {
        pthread_mutex_lock(&a->lock);
        a->stops = true;
        pthread_cond_signal(&a->news);
        pthread_mutex_unlock(&a->lock);
        pthread_join(a->thread, NULL);
        srv_notes_write(a->notes, srv, true);
    }
    if (a->svc)
        srv_session_back(srv, a->svc);
    for (int i = 0; i < KNOWN_MAX; i++)
        srv_who_release(&a->known[i].who);
    srv_oidc_free(a->oidc);
    srv_notes_free(a->notes);
    pthread_cond_destroy(&a->news);
    pthread_mutex_destroy(&a->lock);
    free(a);
    srv->auth = NULL;
}

void
srv_auth_reload(struct srv *srv)
{
    struct err err = ERR_INIT;
    if (!srv->tls)
        return;
    int r = srv_tls_reload(srv, &err);
    srv_note(srv->auth->notes, "tls_reload", "", "",
             r < 0 ? err.msg : "certificate and key were read again", r >= 0);
}

/* ---- what is known ---- */

/* What changed in the catalogue since the last request may change who is who. */
static int
look_again(struct srv_auth *a, struct err *err)
{
    int64_t version;
    if (db_version(a->repo->db, &version, err) < 0)
        return -(int)err->code;
    if (version == a->version)
        return 0;
    if (srv_oidc_issuers(a->oidc, a->repo->acc, err) < 0)
        return -(int)err->code;
    a->version = version;
    if (srv_oidc_is_due(a->oidc))
        pthread_cond_signal(&a->news);
    return 0;
}

static struct known *
place_of(struct srv_auth *a, const struct digest *key)
{
    return &a->known[(key->b[0] << 8 | key->b[1]) % KNOWN_MAX];
}

static void
remember(struct srv_auth *a, const struct digest *key, const struct srv_who *who,
         int64_t until_ns)
{
    struct known *k = place_of(a, key);
    srv_who_release(&k->who);
    *k = (struct known){ .key = *key, .version = a->version, .until_ns = until_ns };
    srv_who_copy(&k->who, who);
}

static bool
recall(struct srv_auth *a, const struct digest *key, struct srv_who *out)
{
    const struct known *k = place_of(a, key);
    if (!k->who.is_known || k->version != a->version || !digest_eq(&k->key, key) ||
        clock_now_ns() >= k->until_ns)
        return false;
    srv_who_copy(out, &k->who);
    return true;
}

/* ---- what is not accepted ---- */

static struct guesses *
guesses_of(struct srv_auth *a, const char *peer)
{
    struct digest d;
    sha256_of(peer, strlen(peer), &d);
    struct guesses *g = &a->peers[d.b[0] % PEERS_MAX];
    if (strcmp(g->peer, peer) != 0 || clock_mono_ns() - g->since_ns > 60 * S_NS) {
        *g = (struct guesses){ .since_ns = clock_mono_ns() };
        snprintf(g->peer, sizeof g->peer, "%s", peer);
    }
    return g;
}

static int
check_guesses(struct srv_auth *a, const char *peer, struct err *err)
{
    if (srv_is_local(peer) || guesses_of(a, peer)->n < GUESSES_MAX)
        return 0;
    return err_set(err, ERR_BUSY,
                   "too much of what %s shows is not accepted: try again in a minute",
                   peer);
}

static int
refuse(struct srv_auth *a, const char *object, const char *peer, const char *why,
       struct err *err)
{
    if (!srv_is_local(peer))
        guesses_of(a, peer)->n++;
    srv_note(a->notes, "login", object, peer, why, false);
    err_clear(err);
    return err_set(err, ERR_DENIED,
                   "this is not accepted here: %s; who administers the store sees why: "
                   "sluice audit log --verb login",
                   object[0]
                       ? "it may be another store's, expired or revoked, or whom "
                         "it stands for is disabled. Use another: sluice token "
                         "create"
                       : "what a job shows must be in its time, for the audience, "
                         "and by its claims whom a rule means: sluice issuer "
                         "list");
}

/* Somebody was found: he is known from now on, unless he is disabled. */
static int
admit(struct srv_auth *a, const struct digest *key, const char *object,
      const char *peer, int64_t until_ns, struct srv_who *out, struct err *err)
{
    if (acc_user_active(a->repo->acc, out->subject, err) < 0) {
        srv_who_release(out);
        return err->code == ERR_DENIED ? refuse(a, object, peer, "disabled", err)
                                       : -(int)err->code;
    }
    out->is_known = true;
    remember(a, key, out, until_ns);
    return 0;
}

/* ---- Authorization: Bearer ---- */

static int
check_token(struct srv_auth *a, struct str text, const char *peer, struct srv_who *out,
            int64_t *until_ns, struct err *err)
{
    struct acc_token_text t;
    struct acc_token_found found;
    char object[32];
    if (acc_token_parse(text, &t, err) < 0) {
        err->code = ERR_DENIED; /* and says what is to be done */
        return -ERR_DENIED;
    }
    int r = acc_token_find(a->repo->acc, &t, &found, err);
    if (r < 0)
        return r;
    snprintf(object, sizeof object, "token:%s", t.id);
    if (r == 0)
        return refuse(a, object, peer, acc_token_why(found.why), err);
    snprintf(out->subject, sizeof out->subject, "%s", found.subject);
    snprintf(out->via, sizeof out->via, "token %s", t.id);
    out->scope = found.scope;
    *until_ns = found.expires_ns;
    return 0;
}

static int
check_job(struct srv_auth *a, struct str text, const char *peer, struct srv_who *out,
          int64_t *until_ns, struct err *err)
{
    int r = srv_oidc_check(a->oidc, a->repo->acc, text, out, until_ns, err);
    if (r == -ERR_BUSY)
        pthread_cond_signal(&a->news);
    if (r != -ERR_DENIED)
        return r;
    char *why AUTO(free_ptr) = xstrndup(err->msg, 200);
    return refuse(a, "", peer, why, err);
}

/* Locked. */
static int
check_bearer(struct srv_auth *a, struct str text, const char *peer, struct srv_who *out,
             struct err *err)
{
    struct digest key;
    int64_t until_ns = 0;
    sha256_of(text.p, text.n, &key);
    if (look_again(a, err) < 0)
        return -(int)err->code;
    if (recall(a, &key, out))
        return 0;
    if (check_guesses(a, peer, err) < 0)
        return -(int)err->code;
    bool is_job = text.n > 3 && memcmp(text.p, "eyJ", 3) == 0;
    int r = (is_job ? check_job : check_token)(a, text, peer, out, &until_ns, err);
    return r < 0 ? r : admit(a, &key, "", peer, until_ns, out, err);
}

struct headers {
    int n;
    const char *value;
};

static enum MHD_Result
see_header(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct headers *h = arg;
    (void)kind;
    if (strcasecmp(name, "Authorization") == 0) {
        h->n++;
        h->value = value;
    }
    return MHD_YES;
}

int
srv_auth_bearer(const struct srv_req *q, struct str *out, struct err *err)
{
    struct headers h = { 0 };
    MHD_get_connection_values(q->mhd, MHD_HEADER_KIND, see_header, &h);
    if (h.n == 0)
        return 0;
    if (h.n > 1)
        return err_set(err, ERR_INVALID, "there must be one Authorization header");
    if (!h.value || strncasecmp(h.value, "Bearer ", 7) != 0)
        return err_set(err, ERR_DENIED,
                       "of the forms of Authorization, Bearer is understood: "
                       "Authorization: Bearer slc_…");
    h.value += 7 + strspn(h.value + 7, " ");
    *out = str_of(h.value);
    while (out->n && out->p[out->n - 1] == ' ')
        out->n--;
    return 1;
}

/* ---- certificates ---- */

struct cert_search {
    struct srv_auth *a;
    char *subject;
};

static int
find_name(void *arg, const char *kind, const char *value, struct err *err)
{
    struct cert_search *s = arg;
    return acc_cert_find(s->a->repo->acc, kind, value, s->subject, err);
}

/* Locked. 1: it stands for somebody, 0: for nobody. */
static int
check_cert(struct srv_auth *a, struct srv_req *q, const struct digest *key,
           struct srv_who *out, struct err *err)
{
    struct cert_search s = { a, out->subject };
    char hex[DIGEST_HEX_BYTES], object[100];
    if (look_again(a, err) < 0)
        return -(int)err->code;
    if (recall(a, key, out))
        return 1;
    digest_hex(key, hex);
    snprintf(object, sizeof object, "certificate:%s", hex);
    int r = acc_cert_find(a->repo->acc, "sha256", hex, out->subject, err);
    if (r == 0)
        r = srv_tls_names(q, find_name, &s, err);
    if (r == 0)
        srv_note(a->notes, "login", object, q->conn->peer, "it stands for nobody",
                 false);
    if (r <= 0)
        return r;
    snprintf(out->via, sizeof out->via, "certificate %.16s", hex);
    return admit(a, key, object, q->conn->peer, INT64_MAX, out, err) < 0
               ? -(int)err->code
               : 1;
}

/* ---- the kernel ---- */

/* Locked. */
static int
check_kernel(struct srv_auth *a, struct srv_req *q, struct srv_who *out,
             struct err *err)
{
    struct srv_conn *c = q->conn;
    if (c->kind == SRV_STDIO && q->srv->opts->as) {
        snprintf(out->subject, sizeof out->subject, "%s", q->srv->opts->as);
        snprintf(out->via, sizeof out->via, "ssh");
        out->is_known = true;
        return 0;
    }
    if (c->uid == a->overflow_uid && c->uid != getuid())
        return err_set(err, ERR_DENIED,
                       "the kernel does not say who you are: your user is none of this "
                       "machine's (a container with users of its own). Show a token: "
                       "Authorization: Bearer slc_…");
    if (!c->subject[0] && acc_user_of(a->repo->db, c->uid, c->subject, err) < 0)
        return -(int)err->code;
    snprintf(out->subject, sizeof out->subject, "%s", c->subject);
    snprintf(out->via, sizeof out->via, "%s", c->kind == SRV_UNIX ? "socket" : "stdio");
    out->is_known = true;
    return 0;
}

int
srv_auth(struct srv_req *q, struct err *err)
{
    struct srv_auth *a = q->srv->auth;
    struct digest cert;
    struct str text = { NULL, 0 };
    int r = srv_auth_bearer(q, &text, err), has_cert = 0;
    if (r == 0 && q->conn->tls) {
        has_cert = srv_tls_peer(q, &cert, err);
        if (has_cert < 0)
            return has_cert;
    }
    if (r < 0)
        return r;
    pthread_mutex_lock(&a->lock);
    if (r == 1)
        r = check_bearer(a, text, q->conn->peer, &q->who, err);
    else if (has_cert)
        r = check_cert(a, q, &cert, &q->who, err);
    else if (q->conn->kind != SRV_TCP)
        r = check_kernel(a, q, &q->who, err);
    if (r >= 0 && strncmp(q->who.via, "token ", 6) == 0)
        srv_note_use(a->notes, q->who.via + 6);
    pthread_mutex_unlock(&a->lock);
    return r < 0 ? r : 0;
}
