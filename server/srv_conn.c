/* SPDX-License-Identifier: Apache-2.0 */
/* Connections: who is at their other end, what they are about, and which are slow. */
#include "base/clock.h"
#include "server/srv_net.h"

#include <linux/tcp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define SECOND_NS INT64_C(1000000000)
enum {
    PER_ADDRESS_MAX = 1000, /* of one other machine */
    HEAD_S = 20,            /* from a request's first byte to the end of its headers */
    BODY_GRACE_S = 30,      /* then a body must have come at BODY_BYTES_S on average */
    BODY_BYTES_S = 1024,
    HANDLERS_MAX = 512,
    STREAMS_MAX = 1024,
    BODIES_MAX_BYTES = 48 * 1024 * 1024
};

void
srv_conn_busy(struct srv *srv, struct srv_conn *c, struct srv_req *q)
{
    pthread_mutex_lock(&srv->net->lock);
    c->req = q;
    c->moved_ns = q->begun_ns;
    srv->net->n_requests++;
    pthread_mutex_unlock(&srv->net->lock);
}

static uint64_t
received(const struct srv_conn *c)
{
    struct tcp_info info;
    socklen_t n = sizeof info;
    if (c->kind != SRV_TCP || getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &n) < 0 ||
        n < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof(uint64_t))
        return 0;
    return info.tcpi_bytes_received;
}

void
srv_conn_idle(struct srv *srv, struct srv_conn *c)
{
    pthread_mutex_lock(&srv->net->lock);
    c->req = NULL;
    c->moved_ns = 0;
    c->n_before = 0; /* the sweep looks it up */
    srv->net->n_requests--;
    pthread_mutex_unlock(&srv->net->lock);
}

void
srv_conn_figures(struct srv *srv, int64_t out[SRV_STDIO + 1])
{
    for (int i = 0; i <= SRV_STDIO; i++)
        out[i] = 0;
    pthread_mutex_lock(&srv->net->lock);
    for (const struct srv_conn *c = srv->net->conns; c; c = c->next)
        out[c->kind]++;
    pthread_mutex_unlock(&srv->net->lock);
}

bool
srv_thread_begin(struct srv *srv, enum srv_thread kind)
{
    static const int max[SRV_N_THREADS] = {
        [SRV_HANDLER] = HANDLERS_MAX, [SRV_STREAM] = STREAMS_MAX
    };
    if (atomic_fetch_add(&srv->net->n_threads[kind], 1) < max[kind])
        return true;
    atomic_fetch_sub(&srv->net->n_threads[kind], 1);
    return false;
}

void
srv_thread_end(struct srv *srv, enum srv_thread kind)
{
    atomic_fetch_sub(&srv->net->n_threads[kind], 1);
    if (kind == SRV_STREAM)
        atomic_store(&srv->net->has_freed, true);
}

int
srv_n_threads(const struct srv *srv)
{
    int n = 0;
    for (int i = 0; i < SRV_N_THREADS; i++)
        n += atomic_load(&srv->net->n_threads[i]);
    return n;
}

bool
srv_bodies_add(struct srv *srv, int64_t n_bytes)
{
    const int64_t now = atomic_fetch_add(&srv->net->bodies_bytes, n_bytes) + n_bytes;
    if (n_bytes < 0)
        atomic_store(&srv->net->has_freed, true);
    if (n_bytes < 0 || now <= BODIES_MAX_BYTES)
        return true;
    atomic_fetch_sub(&srv->net->bodies_bytes, n_bytes);
    return false;
}

bool
srv_is_gone(const struct srv_req *q)
{
    struct pollfd p = { .fd = q->conn ? q->conn->fd : -1, .events = POLLRDHUP };
    return q->conn && poll(&p, 1, 0) > 0 &&
           (p.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL));
}

static void
say_peer(struct srv_conn *c)
{
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    struct ucred who;
    socklen_t m = sizeof who;
    if (getpeername(c->fd, (struct sockaddr *)&a, &n) < 0)
        return;
    if (a.ss_family != AF_UNIX) {
        c->kind = SRV_TCP;
        if (getnameinfo((struct sockaddr *)&a, n, c->peer, sizeof c->peer, NULL, 0,
                        NI_NUMERICHOST) != 0)
            c->peer[0] = '\0';
    } else if (getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &who, &m) == 0) {
        c->kind = SRV_UNIX;
        c->uid = who.uid;
    }
}

void
srv_on_connection(void *arg, struct MHD_Connection *mhd, void **context,
                  enum MHD_ConnectionNotificationCode code)
{
    struct srv *srv = arg;
    struct srv_net *net = srv->net;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *i =
            MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
        struct srv_conn *c = xcalloc(1, sizeof *c);
        const union MHD_ConnectionInfo *d =
            MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
        c->srv = srv;
        c->fd = i->connect_fd;
        c->uid = (uid_t)-1;
        c->tls = d && d->tls_session;
        c->begun_ns = clock_mono_ns();
        c->kind = SRV_TCP;
        say_peer(c);
        if (srv->opts->stdio) {
            c->kind = SRV_STDIO;
            c->uid = getuid();
        }
        pthread_mutex_lock(&net->lock);
        c->next = net->conns;
        if (c->next)
            c->next->prev = c;
        net->conns = c;
        net->n_conns++;
        pthread_mutex_unlock(&net->lock);
        atomic_fetch_add(&net->n_begun, 1);
        *context = c;
    } else if (*context) {
        struct srv_conn *c = *context;
        pthread_mutex_lock(&net->lock);
        *(c->prev ? &c->prev->next : &net->conns) = c->next;
        if (c->next)
            c->next->prev = c->prev;
        net->n_conns--;
        pthread_mutex_unlock(&net->lock);
        free(c);
        *context = NULL;
    }
}

/* libmicrohttpd does not see an end that came with the beginning of a request. What it
 * has not looked at yet may be a whole one: the second look counts. */
static bool
is_left(struct srv_conn *c)
{
    struct pollfd p = { .fd = c->fd, .events = POLLRDHUP };
    const bool was_half = c->is_half;
    c->is_half = !c->req && poll(&p, 1, 0) == 1 && (p.revents & POLLRDHUP);
    return was_half && c->is_half;
}

void
srv_sweep(struct srv *srv, bool idle)
{
    const int64_t now = clock_mono_ns();
    pthread_mutex_lock(&srv->net->lock);
    for (struct srv_conn *c = srv->net->conns; c; c = c->next) {
        bool end = false, rests = false;
        int waiting = 0;
        if (!c->req) {
            uint64_t n = received(c);
            if (!c->moved_ns && !c->n_before)
                c->n_before = n ? n : 1;
            else if (!c->moved_ns && n > c->n_before)
                c->moved_ns = now;
            end = c->moved_ns && now - c->moved_ns > HEAD_S * SECOND_NS;
            rests = idle && !c->moved_ns && ioctl(c->fd, FIONREAD, &waiting) == 0 &&
                    waiting == 0;
        } else {
            const int64_t s = (now - c->req->begun_ns) / SECOND_NS;
            const enum srv_waits waits = srv_req_waits(c->req);
            end = (waits == SRV_WAITS_HEAD && s > HEAD_S) ||
                  (waits == SRV_WAITS_BODY && s > BODY_GRACE_S &&
                   c->req->got_bytes < s * BODY_BYTES_S);
        }
        if (is_left(c) || end)
            shutdown(c->fd, SHUT_RDWR);
        else if (rests) /* a request that was read just now is answered all the same */
            shutdown(c->fd, SHUT_RD);
    }
    pthread_mutex_unlock(&srv->net->lock);
}

bool
srv_is_local(const char *peer)
{
    return !peer[0] || strncmp(peer, "127.", 4) == 0 || strcmp(peer, "::1") == 0;
}

static int
n_of_address(struct srv *srv, const char *peer)
{
    int n = 0;
    if (srv_is_local(peer))
        return 0;
    pthread_mutex_lock(&srv->net->lock);
    for (struct srv_conn *c = srv->net->conns; c; c = c->next)
        n += strcmp(c->peer, peer) == 0;
    pthread_mutex_unlock(&srv->net->lock);
    return n;
}

void
srv_add_connection(struct srv *srv, int fd, bool is_tcp)
{
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    char peer[48] = "";
    int one = 1;
    if (is_tcp) {
        if (getpeername(fd, (struct sockaddr *)&a, &n) == 0 &&
            getnameinfo((struct sockaddr *)&a, n, peer, sizeof peer, NULL, 0,
                        NI_NUMERICHOST) != 0)
            peer[0] = '\0';
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    } else {
        memset(&a, 0, sizeof a);
        a.ss_family = AF_UNIX;
        n = sizeof(sa_family_t);
    }
    if (n_of_address(srv, peer) >= PER_ADDRESS_MAX) {
        close(fd);
        return;
    }
    /* on failure it has closed fd */
    srv->net->n_given +=
        MHD_add_connection(is_tcp && srv->net->tls ? srv->net->tls : srv->net->plain,
                           fd, (struct sockaddr *)&a, n) == MHD_YES;
}

void
srv_add(struct srv *srv, int fd)
{
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    srv_add_connection(srv, fd, false);
}
