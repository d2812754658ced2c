/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets, start and graceful end.
 *
 * One thread accepts, on all sockets, and gives each connection to libmicrohttpd, whose
 * threads do the rest (srv_conn.c). Every second it looks at all connections for those
 * that are slow on purpose. */
#include "server/srv_net.h"

#include "base/clock.h"
#include "server/srv_lookup.h"

#include <errno.h>
#include <malloc.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SECOND_NS INT64_C(1000000000)
enum {
    CONNECTIONS_MAX = 20000,
    DRAIN_S = 30,   /* for what is under way at the end */
    LINGER_MS = 300 /* for requests that are on their way at the end */
};

static void
accept_all(struct srv *srv)
{
    for (int i = 0; i < srv->net->n_fds; i++) {
        for (;;) {
            int fd =
                accept4(srv->net->fds[i], NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
            if (fd < 0)
                break;
            srv_add_connection(srv, fd, srv->net->is_tcp[i]);
        }
    }
}

/* ---- start ---- */

static int
add_listener(struct srv *srv, int fd, bool is_tcp, struct err *err)
{
    struct srv_net *net = srv->net;
    if (net->n_fds == LISTEN_MAX) {
        close(fd);
        return err_set(err, ERR_LIMIT, "at most %d sockets are listened on",
                       LISTEN_MAX);
    }
    net->fds[net->n_fds] = fd;
    net->is_tcp[net->n_fds++] = is_tcp;
    return 0;
}

static int
cannot_listen(struct err *err, int rc, const char *flag, const char *where)
{
    const char *out = rc == EADDRINUSE      ? "something else has it; take another"
                      : rc == EADDRNOTAVAIL ? "no address of this machine"
                      : rc == EACCES
                          ? "not for this user; ports below 1024 are root's, "
                            "or a socket's of systemd"
                      : rc == ENOENT ? "make the directory first"
                                     : "take another";
    return err_sys(err, rc, "listen on %s %s (%s)", flag, where, out);
}

static int
listen_tcp(struct srv *srv, struct err *err)
{
    char *host AUTO(free_ptr) = xstrdup(srv->opts->listen);
    char *port = strrchr(host, ':'), *name = host;
    struct addrinfo wish = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
    struct addrinfo *found = NULL;
    if (!port)
        return err_set(err, ERR_USAGE,
                       "--listen '%s' is not HOST:PORT, such as 127.0.0.1:8600", host);
    *port++ = '\0';
    const size_t n_digits = strspn(port, "0123456789");
    if (n_digits == 0 || n_digits > 5 || port[n_digits] ||
        strtol(port, NULL, 10) > UINT16_MAX)
        return err_set(err, ERR_USAGE, "--listen %s: '%s' is not a port, 0 to 65535",
                       srv->opts->listen, port);
    if (name[0] == '[' && port - 2 > name && port[-2] == ']') {
        port[-2] = '\0';
        name++;
    }
    int rc = getaddrinfo(name[0] ? name : NULL, port, &wish, &found);
    if (rc != 0)
        return err_set(err, ERR_INVALID,
                       "--listen %s: %s; give an address of this machine, such as "
                       "127.0.0.1:8600",
                       srv->opts->listen, gai_strerror(rc));
    for (struct addrinfo *a = found; a; a = a->ai_next) {
        int one = 1;
        int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
            continue;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (a->ai_family == AF_INET6)
            setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
        if (bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, 1024) < 0) {
            rc = errno;
            close(fd);
            freeaddrinfo(found);
            return cannot_listen(err, rc, "--listen", srv->opts->listen);
        }
        if (add_listener(srv, fd, true, err) < 0)
            break;
    }
    freeaddrinfo(found);
    return srv->net->n_fds
               ? 0
               : err_set(err, ERR_IO, "listen on %s: no address", srv->opts->listen);
}

/* A socket that a service left behind is taken away; one that is listened on is not. */
static int
listen_unix(struct srv *srv, struct err *err)
{
    const char *path = srv->opts->socket;
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof a.sun_path)
        return err_set(err, ERR_INVALID,
                       "--socket %s: longer than the %zu bytes that the kernel takes",
                       path, sizeof a.sun_path - 1);
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_sys(err, errno, "make a socket");
    struct stat st;
    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode)) {
        if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0 || errno == EAGAIN) {
            close(fd);
            return err_set(err, ERR_CONFLICT,
                           "--socket %s: a service listens there already; end it, or "
                           "take another path",
                           path);
        }
        if (unlink(path) < 0) {
            close(fd);
            return err_sys(err, errno, "take the old socket %s away", path);
        }
    }
    if (lstat(path, &st) == 0) {
        close(fd);
        return err_set(err, ERR_CONFLICT,
                       "--socket %s: something is there that is no socket; it stays, "
                       "take another path",
                       path);
    }
    /* Who may connect is not who may do something: the kernel says who it is. */
    if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || chmod(path, 0666) < 0 ||
        listen(fd, 1024) < 0) {
        int e = errno;
        close(fd);
        return cannot_listen(err, e, "--socket", path);
    }
    srv->net->socket_path = xstrdup(path);
    srv->net->socket_fd = fd;
    return add_listener(srv, fd, false, err);
}

/* Sockets that systemd opened: $LISTEN_PID, $LISTEN_FDS, from descriptor 3 on. */
static int
listen_given(struct srv *srv, struct err *err)
{
    const char *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS");
    if (!pid || !n || strtol(pid, NULL, 10) != (long)getpid())
        return 0;
    for (int fd = 3; fd < 3 + (int)strtol(n, NULL, 10); fd++) {
        struct sockaddr_storage a;
        socklen_t len = sizeof a;
        if (getsockname(fd, (struct sockaddr *)&a, &len) < 0)
            return err_sys(err, errno, "look at the socket %d of $LISTEN_FDS", fd);
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
        if (add_listener(srv, fd, a.ss_family != AF_UNIX, err) < 0)
            return -(int)err->code;
    }
    return 0;
}

static int
start_daemon(struct srv *srv, bool tls, struct MHD_Daemon **out, struct err *err)
{
    struct MHD_OptionItem reads[SRV_HTTP_OPTIONS], more[8];
    int n = 0;
    if (tls && srv_tls_options(srv, more, 7, &n, err) < 0)
        return -(int)err->code;
    more[n] = (struct MHD_OptionItem){ MHD_OPTION_END, 0, NULL };
    /* What takes long is on other threads; where these take every processor, each waits
     * a time slice for whoever else has something to do. */
    long threads = sysconf(_SC_NPROCESSORS_ONLN) - 1;
    threads = threads < 1 ? 1 : threads > 8 ? 8 : threads;
    srv_http_options(srv, reads);
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_NO_LISTEN_SOCKET |
                     MHD_USE_ITC | MHD_ALLOW_SUSPEND_RESUME | (tls ? MHD_USE_TLS : 0);
    *out = MHD_start_daemon(
        flags, 0, NULL, NULL, srv_http_handle, srv, MHD_OPTION_NOTIFY_COMPLETED,
        srv_http_end, srv, MHD_OPTION_NOTIFY_CONNECTION, srv_on_connection, srv,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)SRV_IDLE_S,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
        MHD_OPTION_THREAD_POOL_SIZE, (unsigned)(srv->opts->stdio ? 0 : threads),
        MHD_OPTION_ARRAY, reads, MHD_OPTION_ARRAY, more, MHD_OPTION_END);
    return *out ? 0
                : err_set(err, ERR_IO, "the HTTP daemon does not start%s",
                          tls ? ": look at certificate and key" : "");
}

static int
catch_signals(struct srv_net *net, struct err *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0 ||
        signal(SIGPIPE, SIG_IGN) == SIG_ERR)
        return err_sys(err, errno, "block signals");
    net->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return net->signal_fd < 0 ? err_sys(err, errno, "take signals") : 0;
}

int
srv_open(struct srv **out, const struct srv_options *opts, struct err *err)
{
    struct srv *srv AUTO(srv_close_p) = xcalloc(1, sizeof *srv);
    struct rlimit files;
    srv->opts = opts;
    srv->net = xcalloc(1, sizeof *srv->net);
    srv->net->signal_fd = -1;
    pthread_mutex_init(&srv->net->lock, NULL);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    if (catch_signals(srv->net, err) < 0 || srv_sessions_open(srv, err) < 0 ||
        srv_uploads_open(srv, err) < 0 || srv_metrics_open(srv, err) < 0 ||
        srv_lookup_open(&srv->lookup, opts->store, err) < 0 ||
        srv_auth_open(srv, err) < 0 || srv_log_open(srv, err) < 0 ||
        srv_pool_open(srv, err) < 0 ||
        start_daemon(srv, false, &srv->net->plain, err) < 0 ||
        (opts->tls_cert && start_daemon(srv, true, &srv->net->tls, err) < 0) ||
        listen_given(srv, err) < 0 || (opts->listen && listen_tcp(srv, err) < 0) ||
        (opts->socket && listen_unix(srv, err) < 0))
        return -(int)err->code;
    *out = srv;
    srv = NULL;
    return 0;
}

void
srv_close(struct srv *srv)
{
    if (!srv)
        return;
    struct srv_net *net = srv->net;
    struct err ignored = ERR_INIT;
    for (int i = 0; i < net->n_fds; i++)
        close(net->fds[i]);
    if (net->socket_path)
        unlink(net->socket_path);
    if (srv_n_threads(srv) > 0)
        return; /* its time is over, and it will not be told: the process ends next */
    if (net->plain)
        MHD_stop_daemon(net->plain);
    if (net->tls)
        MHD_stop_daemon(net->tls);
    srv_tls_close(srv);
    if (srv->pool)
        srv_pool_close(srv);
    (void)!srv_lookup_close(srv->lookup, &ignored); /* srv_run has told */
    srv_log_close(srv);
    if (srv->auth)
        srv_auth_close(srv);
    if (srv->metrics)
        srv_metrics_close(srv);
    srv_uploads_close(srv);
    srv_sessions_close(srv);
    fs_close(&net->signal_fd);
    pthread_mutex_destroy(&net->lock);
    free(net->socket_path);
    free(net);
    free(srv);
}

void
srv_close_p(struct srv **srv)
{
    srv_close(*srv);
    *srv = NULL;
}

/* One line on stderr: where it can be asked. Over stdio nobody wants to read it. */
static void
say_where(const struct srv *srv)
{
    struct buf line AUTO(buf_release) = BUF_INIT;
    struct err ignored = ERR_INIT;
    for (int i = 0; i < srv->net->n_fds; i++) {
        struct sockaddr_storage a;
        struct sockaddr_un u;
        socklen_t n = sizeof a;
        char host[64] = "", port[8] = "";
        buf_adds(&line, i ? ", " : "sluice-server: listens on ");
        if (getsockname(srv->net->fds[i], (struct sockaddr *)&a, &n) < 0)
            continue;
        memcpy(&u, &a, sizeof u);
        if (a.ss_family == AF_UNIX)
            buf_addf(&line, "unix:%s",
                     n > offsetof(struct sockaddr_un, sun_path) ? u.sun_path : "");
        else if (getnameinfo((struct sockaddr *)&a, n, host, sizeof host, port,
                             sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) == 0)
            buf_addf(&line, a.ss_family == AF_INET6 ? "%s://[%s]:%s" : "%s://%s:%s",
                     srv->net->tls ? "https" : "http", host, port);
    }
    if (!line.len)
        return;
    buf_adds(&line, "\n");
    (void)!fs_write_all(STDERR_FILENO, line.data, line.len, "standard error", &ignored);
}

/* ---- until the end ---- */

/* systemd's notify protocol: a datagram to $NOTIFY_SOCKET. */
static void
notify(const char *text)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    if (!path || !path[0] || strlen(path) >= sizeof a.sun_path)
        return;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    memcpy(a.sun_path, path, strlen(path));
    if (a.sun_path[0] == '@')
        a.sun_path[0] = '\0';
    (void)!sendto(fd, text, strlen(text), 0, (struct sockaddr *)&a,
                  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path)));
    close(fd);
}

/* Descriptors 0 and 1 become one connection: two threads carry bytes to and from a pair
 * of sockets. */
struct bridge {
    int from, to;
};

static void *
carry(void *arg)
{
    const struct bridge b = *(struct bridge *)arg;
    char piece[16384];
    struct err err = ERR_INIT;
    ssize_t n;
    free(arg);
    while ((n = read(b.from, piece, sizeof piece)) > 0 || (n < 0 && errno == EINTR))
        if (n > 0 && fs_write_all(b.to, piece, (size_t)n, "the other end", &err) < 0)
            break;
    shutdown(b.to, SHUT_WR); /* of a pipe: nothing */
    return NULL;
}

/* A thread that carries. The one of standard input outlives whoever started it. */
static bool
start_bridge(pthread_t *t, int from, int to)
{
    struct bridge *b = xmalloc(sizeof *b);
    *b = (struct bridge){ from, to };
    if (pthread_create(t, NULL, carry, b) == 0)
        return true;
    free(b);
    return false;
}

static int
bridge_stdio(struct srv *srv, pthread_t *out, struct err *err)
{
    int pair[2];
    pthread_t in;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_sys(err, errno, "make a pair of sockets");
    if (!start_bridge(&in, STDIN_FILENO, pair[0]) || pthread_detach(in) != 0 ||
        !start_bridge(out, pair[0], STDOUT_FILENO))
        return err_set(err, ERR_IO, "no thread can be started");
    srv_add(srv, pair[1]);
    srv->net->had_stdio = true;
    return 0;
}

/* 1: told to end. */
static int
take_signals(struct srv *srv)
{
    struct signalfd_siginfo s;
    int ends = 0;
    while (read(srv->net->signal_fd, &s, sizeof s) == (ssize_t)sizeof s) {
        if (s.ssi_signo == SIGHUP) {
            srv_log_reopen(srv);
            srv_auth_reload(srv);
        } else {
            ends++;
        }
    }
    return ends;
}

static void
counts(struct srv *srv, int *n_conns, int *n_requests)
{
    pthread_mutex_lock(&srv->net->lock);
    *n_conns = srv->net->n_conns;
    *n_requests = srv->net->n_requests;
    pthread_mutex_unlock(&srv->net->lock);
}

/* Nobody new is let in; who was let in is heard. Our Unix socket's path goes first:
 * then the next service may have it, and we do not take that one's away at our end. */
static void
stop_listening(struct srv *srv)
{
    struct srv_net *net = srv->net;
    if (net->socket_path) {
        unlink(net->socket_path);
        free(net->socket_path);
        net->socket_path = NULL;
        shutdown(net->socket_fd, SHUT_RD); /* those who wait are still accepted */
    }
    accept_all(srv);
    for (int i = 0; i < net->n_fds; i++)
        close(net->fds[i]);
    net->n_fds = 0;
}

/* What was asked before the end is answered: connections that wait for nothing are
 * closed after a moment for what is on its way; the others when their answer is out. */
static void
drain(struct srv *srv)
{
    struct srv_net *net = srv->net;
    const int64_t begun = clock_mono_ns();
    int64_t sweep_ms = LINGER_MS;
    int n_conns, n_requests;
    notify("STOPPING=1");
    srv->draining = true;
    stop_listening(srv);
    for (;;) {
        struct pollfd p = { .fd = net->signal_fd, .events = POLLIN };
        const int64_t ms = (clock_mono_ns() - begun) / 1000000;
        const bool all_begun = atomic_load(&net->n_begun) == net->n_given;
        counts(srv, &n_conns, &n_requests);
        if ((all_begun && n_requests == 0 && n_conns == 0) || ms > DRAIN_S * 1000)
            break;
        if (ms >= sweep_ms) {
            sweep_ms = ms + LINGER_MS;
            srv_sweep(srv, true);
        }
        if (poll(&p, 1, 20) > 0 && take_signals(srv) > 0)
            _exit(0); /* told twice: now; workers end with their sockets */
    }
    while (srv_n_threads(srv) > 0 &&
           clock_mono_ns() - begun < (DRAIN_S + 2) * SECOND_NS)
        poll(NULL, 0, 5);
}

int
srv_run(struct srv *srv, struct err *err)
{
    struct srv_net *net = srv->net;
    pthread_t out;
    int n_conns, n_requests;
    int64_t swept = clock_mono_ns();
    if (srv->opts->stdio && bridge_stdio(srv, &out, err) < 0)
        return -(int)err->code;
    else
        say_where(srv);
    notify("READY=1");
    for (;;) {
        struct pollfd p[LISTEN_MAX + 1] = { { .fd = net->signal_fd,
                                              .events = POLLIN } };
        for (int i = 0; i < net->n_fds; i++)
            p[i + 1] = (struct pollfd){ .fd = net->fds[i], .events = POLLIN };
        const bool begun = atomic_load(&net->n_begun) > 0; /* asked before n_conns */
        counts(srv, &n_conns, &n_requests);
        if (net->had_stdio && begun && n_conns == 0)
            break;
        if (poll(p, (nfds_t)net->n_fds + 1, net->had_stdio ? 20 : 1000) < 0 &&
            errno != EINTR)
            return err_sys(err, errno, "wait for connections");
        if (take_signals(srv) > 0)
            break;
        accept_all(srv);
        if (clock_mono_ns() - swept > SECOND_NS) {
            swept = clock_mono_ns();
            srv_sweep(srv, false);
            srv_pool_sweep(srv, false);
            if (atomic_exchange(&net->has_freed, false))
                malloc_trim(0); /* else a burst's memory would stay with us */
        }
    }
    drain(srv);
    if (net->had_stdio)
        pthread_join(out, NULL);
    return srv_lookup_flush(srv->lookup, err);
}
