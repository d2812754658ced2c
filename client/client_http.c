/* SPDX-License-Identifier: Apache-2.0 */
/* One request and its answer. A connection that was kept may have been closed by the
 * peer in the meantime: what fails on one before any answer came is nobody's fault, and
 * is asked again at once on a new one, where that is safe. */
#include "client/client_int.h"

#include "base/clock.h"
#include "base/crypto.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define NS INT64_C(1000000000)
#define IDLE_MAX 8 /* connections that are kept */
#define IDLE_MS 300000
#define NEW_NS (3 * NS)    /* so long what never answered is asked again */
#define KNOWN_NS (30 * NS) /* what did answer, once: it is being restarted */
#define JOIN_BYTES ((int64_t)64 << 10) /* a body so small goes with the head */
#define READ_BYTES ((size_t)256 << 10)

/* ---- the pool ---- */

/* fresh: one broke that was kept, and others of its age are no better. */
static int
take(struct client *c, bool fresh, struct client_conn **out, struct err *err)
{
    struct client_conn *conn = NULL;

    pthread_mutex_lock(&c->lock);
    while (c->idle && !conn) {
        conn = c->idle;
        c->idle = conn->next;
        c->n_idle--;
        if (fresh || client_conn_is_over(conn)) { /* those of its age are no better */
            client_conn_close(conn);
            conn = NULL;
        }
    }
    pthread_mutex_unlock(&c->lock);
    *out = conn;
    return conn ? 0 : client_conn_open(c, out, err);
}

static void
give(struct client *c, struct client_conn *conn, bool keep)
{
    pthread_mutex_lock(&c->lock);
    keep = keep && c->n_idle < IDLE_MAX;
    if (keep) {
        conn->is_used = true;
        conn->next = c->idle;
        c->idle = conn;
        c->n_idle++;
    }
    pthread_mutex_unlock(&c->lock);
    if (!keep)
        client_conn_close(conn);
}

/* ---- one exchange ---- */

static bool
has_header(const struct client_ask *a, const char *name)
{
    const size_t n = strlen(name);

    for (int i = 0; a->headers && a->headers[i]; i++)
        if (strncasecmp(a->headers[i], name, n) == 0 && a->headers[i][n] == ':')
            return true;
    return false;
}

bool
client_sends_token(const struct client *c)
{
    return c->authorization && (c->place.kind != CLIENT_TCP || !c->place.anywhere);
}

static int
put_head(const struct client *c, const struct client_ask *a, struct buf *out,
         struct err *err)
{
    const bool has_body = a->body || a->body_fd > 0;

    if (a->path[0] != '/' || !str_is_line(a->path) || strchr(a->path, ' '))
        return err_set(err, ERR_INVALID, "no path of a request: %s", a->path);
    buf_addf(out,
             "%s %s%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: sluice/" SLUICE_VERSION
             "\r\n",
             a->method, c->place.kind >= CLIENT_TCP ? c->place.path : "", a->path,
             c->place.host_header);
    if (client_sends_token(c) && !has_header(a, "Authorization"))
        buf_addf(out, "Authorization: %s\r\n", c->authorization);
    for (int i = 0; a->headers && a->headers[i]; i++) {
        if (!str_is_line(a->headers[i]))
            return err_set(err, ERR_INVALID, "a header with a control character");
        buf_addf(out, "%s\r\n", a->headers[i]);
    }
    if (has_body || strcmp(a->method, "POST") == 0 || strcmp(a->method, "PUT") == 0)
        buf_addf(out, "Content-Length: %lld\r\n",
                 has_body ? (long long)a->body_bytes : 0LL);
    buf_adds(out, "\r\n");
    return buf_check(out, "the request", err);
}

/* 1: the peer answers before it has read all. */
static int
send_request(const struct client *c, struct client_conn *conn,
             const struct client_ask *a, int idle_ms, struct err *err)
{
    struct buf head AUTO(buf_release) = BUF_INIT;
    const bool joined = a->body && a->body_bytes <= JOIN_BYTES;
    int e = put_head(c, a, &head, err);

    if (joined)
        buf_add(&head, a->body, (size_t)a->body_bytes);
    if (e == 0)
        e = client_conn_write(conn, head.data, head.len, idle_ms, err);
    if (e == 0 && a->body && !joined)
        e = client_conn_write(conn, a->body, (size_t)a->body_bytes, idle_ms, err);
    else if (e == 0 && a->body_fd > 0)
        e = client_conn_send_file(conn, a->body_fd, a->body_offset, a->body_bytes,
                                  idle_ms, err);
    if (head.data)
        explicit_bzero(head.data, head.len); /* a token stood there */
    return e;
}

/* What became of an attempt. */
struct attempt {
    bool connected, was_kept; /* on a connection that had been used before */
    bool began;               /* bytes of an answer came */
    bool sunk;                /* and the sink has had some */
};

static int
exchange(struct client *c, struct client_conn *conn, const struct client_ask *a,
         struct client_answer *out, struct attempt *t, struct err *err)
{
    const int idle_ms = a->idle_ms > 0 ? a->idle_ms : IDLE_MS;
    char *piece AUTO(free_ptr) = xmalloc(READ_BYTES);
    struct client_parse p;
    int e = send_request(c, conn, a, idle_ms, err);
    const bool all_sent = e == 0;

    client_parse_start(&p, a, out);
    for (bool done = false; e >= 0 && !done;) {
        const int64_t n = client_conn_read(conn, piece, READ_BYTES, idle_ms, err);

        if (n < 0) {
            e = (int)n;
            break;
        }
        e = client_parse_feed(&p, piece, (size_t)n, err);
        done = e == 1;
    }
    t->began = p.n_begun > 0;
    t->sunk = p.sunk_bytes > 0;
    if (e < 0) {
        struct buf said AUTO(buf_release) = BUF_INIT;

        client_conn_said(conn, &said);
        if (said.len > 0 && !t->began) { /* which says more than how it ended */
            err_clear(err);
            err_set(err, (enum err_code) - e, "%s", buf_str(&said));
        }
        client_conn_close(conn);
        return e;
    }
    give(c, conn, p.keep && all_sent);
    return 0;
}

/* ---- again ---- */

static int64_t
set_s(const char *name, int64_t fallback_ns)
{
    const char *v = getenv(name);
    char *end;
    long long s = v && *v ? strtoll(v, &end, 10) : -1;

    return s >= 0 && s <= 86400 && !*end ? s * NS : fallback_ns;
}

bool
client_wait_again(struct client *c, struct client_patience *p, int64_t least_ns)
{
    struct err err = ERR_INIT;
    const int64_t now_ns = clock_mono_ns();
    uint16_t x = 0;
    int64_t ns = NS / 10 << (p->n < 6 ? p->n : 6);

    if (p->until_ns == 0)
        p->until_ns =
            now_ns + set_s("SLUICE_RETRY_S", c->was_there ? KNOWN_NS : NEW_NS);
    p->n++;
    if (random_bytes(&x, sizeof(x), &err) < 0)
        err_clear(&err);
    ns += ns / 2 * x / UINT16_MAX; /* many clients do not come back in step */
    ns = ns < least_ns ? least_ns : ns;
    if (now_ns + ns > p->until_ns)
        return false;
    nanosleep(&(struct timespec){ ns / NS, (long)(ns % NS) }, NULL);
    return true;
}

static bool
is_safe(const struct client_ask *a)
{
    static const char *const methods[] = { "GET", "HEAD", "PUT", "DELETE" };

    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
        if (strcmp(a->method, methods[i]) == 0)
            return true;
    return a->again || has_header(a, "Idempotency-Key");
}

/* -1: it is an answer; else it says that it was not carried out, or that nobody was
 * there to do it, and when to come again. */
static int64_t
come_again_ns(const struct client_answer *out, bool safe)
{
    char *after AUTO(free_ptr) = NULL;
    long s;

    if (out->status != 503 && out->status != 429 &&
        !(safe && (out->status == 502 || out->status == 504)))
        return -1;
    after = client_answer_header(out, "retry-after");
    s = after ? strtol(after, NULL, 10) : 0; /* a date: as if it was not there */
    return s > 0 && s < 86400 ? s * NS : 0;
}

static void
note_peer(struct client *c, const struct client_answer *out)
{
    char *server AUTO(free_ptr) = client_answer_header(out, "server");

    pthread_mutex_lock(&c->lock);
    c->was_there = true;
    if (server && strncmp(server, "sluice/", 7) == 0)
        snprintf(c->peer_version, sizeof(c->peer_version), "%s", server + 7);
    pthread_mutex_unlock(&c->lock);
}

int
client_ask(struct client *c, const struct client_ask *ask, struct client_answer *out,
           struct err *err)
{
    const bool safe = is_safe(ask);
    struct client_patience patience = { .n = 0 };
    bool fresh = false;

    for (;;) {
        struct client_conn *conn = NULL;
        struct attempt t = { .connected = false };
        int64_t again_ns = 0;
        int e = take(c, fresh, &conn, err);

        if (e == 0) {
            t.connected = true;
            t.was_kept = conn->is_used;
            e = exchange(c, conn, ask, out, &t, err);
        }
        if (e == 0) {
            note_peer(c, out);
            again_ns = come_again_ns(out, safe);
            if (again_ns < 0 || !client_wait_again(c, &patience, again_ns))
                return 0;
            continue;
        }
        if (e != -ERR_BUSY || t.sunk || (t.connected && !safe))
            return err_ctx(err, "%s", c->place.text);
        if (t.was_kept && !t.began) {
            fresh = true; /* at once */
        } else if (!client_wait_again(c, &patience, 0)) {
            return err_ctx(err, "%s", c->place.text);
        }
        err_clear(err);
    }
}
