/* SPDX-License-Identifier: Apache-2.0 */
/* A connection: TCP, TLS, a Unix socket, or a pair of sockets whose other one is ssh's
 * standard input and output. All are non-blocking; every wait has an end. */
#include "client/client_int.h"

#include "base/clock.h"
#include "base/fs.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONNECT_MS 10000
#define PIECE_BYTES ((size_t)256 << 10)
#define ENDS_MS 2000 /* ssh, once it has nothing to read any more */

extern char **environ;

/* ---- waiting ---- */

int
client_conn_wait(const struct client_conn *c, short events, int idle_ms,
                 struct err *err)
{
    struct pollfd p = { .fd = c->fd, .events = events };
    const int64_t end_ns = clock_mono_ns() + (int64_t)idle_ms * 1000000;

    for (;;) {
        const int64_t left_ns = end_ns - clock_mono_ns();
        const int n =
            left_ns <= 0 ? 0 : poll(&p, 1, (int)((left_ns + 999999) / 1000000));

        if (n > 0)
            return 1;
        if (n < 0 && errno != EINTR)
            return err_sys(err, errno, "wait for an answer");
        if (n == 0)
            return err_set(err, ERR_BUSY, "nothing came for %d s", idle_ms / 1000);
    }
}

/* ---- no SIGPIPE ---- */

/* SIGPIPE is for who writes to stdout; here it is an error like others. It is kept from
 * this thread for as long as it writes to the peer. */
struct quiet {
    sigset_t was;
    bool pended;
};

static void
quiet_begin(struct quiet *q)
{
    sigset_t pipe, pending;

    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    sigpending(&pending);
    q->pended = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe, &q->was);
}

static void
quiet_end(struct quiet *q)
{
    const struct timespec now = { 0, 0 };
    sigset_t pipe;

    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    if (!q->pended && sigismember(&q->was, SIGPIPE) == 0)
        while (sigtimedwait(&pipe, NULL, &now) < 0 && errno == EINTR)
            ;
    pthread_sigmask(SIG_SETMASK, &q->was, NULL);
}

/* ---- TCP ---- */

static bool
is_loopback(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)a;

        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    }
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)a;

    return a->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
}

/* A peer that has gone without a word is noticed in half a minute. */
static void
set_options(int fd)
{
    const int on = 1, idle_s = 10, every_s = 5, times = 4;
    const unsigned unheard_ms = 30000;

    (void)!setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)!setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    (void)!setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    (void)!setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof(every_s));
    (void)!setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof(times));
    (void)!setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unheard_ms,
                      sizeof(unheard_ms));
}

/* An errno. */
static int
connect_to(struct client_conn *c, const struct sockaddr *a, socklen_t n)
{
    struct err err = ERR_INIT;
    socklen_t size = sizeof(int);
    int e = 0;

    c->fd = socket(a->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        return errno;
    if (connect(c->fd, a, n) == 0)
        return 0;
    e = errno;
    if (e == EINPROGRESS) {
        if (client_conn_wait(c, POLLOUT, CONNECT_MS, &err) < 0)
            e = ETIMEDOUT;
        else if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &e, &size) < 0)
            e = errno;
    }
    if (e != 0)
        fs_close(&c->fd);
    return e;
}

static int
open_tcp(struct client_conn *c, struct err *err)
{
    const struct client_place *p = c->place;
    const struct addrinfo want = { .ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_ADDRCONFIG };
    struct addrinfo *all = NULL;
    int e = getaddrinfo(p->host, p->port, &want, &all), last = 0;
    bool elsewhere = false;

    if (e != 0) /* AI_ADDRCONFIG hides ::1 where there is no other IPv6 address */
        e = getaddrinfo(p->host, p->port,
                        &(struct addrinfo){ .ai_socktype = SOCK_STREAM }, &all);
    if (e != 0)
        return err_set(err, e == EAI_AGAIN || e == EAI_SYSTEM ? ERR_BUSY : ERR_INVALID,
                       "look up %s: %s; is the name of --server spelled right?",
                       p->host, e == EAI_SYSTEM ? strerror(errno) : gai_strerror(e));
    last = ECONNREFUSED;
    for (const struct addrinfo *a = all; a && c->fd < 0; a = a->ai_next) {
        if (!p->anywhere && !is_loopback(a->ai_addr))
            elsewhere = true;
        else
            last = connect_to(c, a->ai_addr, a->ai_addrlen);
    }
    freeaddrinfo(all);
    if (c->fd >= 0) {
        set_options(c->fd);
        return 0;
    }
    if (elsewhere)
        return err_set(err, ERR_INVALID,
                       "http:// only reaches this machine, for everybody on the way "
                       "could read and change what goes over it: https://%s, or, when "
                       "the way is safe, SLUICE_INSECURE=1",
                       p->host_header);
    return err_set(
        err, ERR_BUSY,
        "connect to port %s: %s; is sluice serve up, and is it the right port?",
        p->port, strerror(last));
}

/* ---- a Unix socket ---- */

static int
open_unix(struct client_conn *c, struct err *err)
{
    const char *path = c->place->path;
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    struct stat st;
    int dir AUTO(fs_close) = -1, e;

    if (strlen(path) < sizeof(a.sun_path)) {
        memcpy(a.sun_path, path, strlen(path) + 1);
    } else { /* by way of its directory, for which there is a short name */
        const char *slash = strrchr(path, '/');
        char *up AUTO(free_ptr) =
            slash ? xstrndup(path, (size_t)(slash - path)) : xstrdup(".");
        int n;

        dir = open(*up ? up : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        n = snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/%s", dir,
                     slash ? slash + 1 : path);
        if (dir < 0 || n < 0 || (size_t)n >= sizeof(a.sun_path))
            return err_set(err, ERR_INVALID, "its path is too long for a socket");
    }
    e = connect_to(c, (const struct sockaddr *)&a, sizeof(a));
    if (e == EACCES || e == EPERM)
        return err_set(err, ERR_DENIED,
                       "this user may not use the socket; its owner may change that");
    if (e == ECONNREFUSED && stat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
        return err_set(err, ERR_INVALID, "it is no socket");
    if (e == ENOENT || e == ECONNREFUSED)
        return err_set(err, ERR_BUSY, "%s; sluice serve --socket %s starts one",
                       e == ENOENT ? "there is no such socket"
                                   : "nobody answers on the socket",
                       path);
    return e ? err_set(err, ERR_BUSY, "connect: %s", strerror(e)) : 0;
}

/* ---- ssh ---- */

static int
run_ssh(struct client_conn *c, const char *const *argv, int its_fd)
{
    posix_spawn_file_actions_t actions;
    int e;

    posix_spawn_file_actions_init(&actions);
    e = posix_spawn_file_actions_adddup2(&actions, its_fd, 0);
    if (e == 0)
        e = posix_spawn_file_actions_adddup2(&actions, its_fd, 1);
    if (e == 0)
        e = posix_spawn_file_actions_adddup2(&actions, c->said_fd, 2);
    if (e == 0)
        e = posix_spawnp(&c->pid, argv[0], &actions, NULL,
                         (char *const *)(uintptr_t)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return e;
}

static int
open_ssh(struct client_conn *c, struct err *err)
{
    struct buf line AUTO(buf_release) = BUF_INIT;
    struct ssh_words words AUTO(ssh_words_release) = { .n = 0 };
    const char *ssh = getenv("SLUICE_SSH");
    int pair[2], e;

    buf_adds(&line, "sluice serve --stdio");
    if (c->place->ssh.dir) {
        buf_adds(&line, " --store");
        ssh_add_quoted(&line, c->place->ssh.dir);
    }
    ssh_words(&words, ssh && *ssh ? ssh : "ssh", &c->place->ssh, buf_str(&line));
    c->said_fd = memfd_create("sluice-ssh", MFD_CLOEXEC);
    if (c->said_fd < 0 || fcntl(c->said_fd, F_SETFL, O_APPEND) < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_sys(err, errno, "a connection to ssh");
    c->fd = pair[0];
    e = run_ssh(c, words.word, pair[1]);
    close(pair[1]);
    if (e != 0)
        return err_set(err, ERR_INVALID, "run %s: %s ($SLUICE_SSH)", words.word[0],
                       strerror(e));
    return fcntl(c->fd, F_SETFL, O_NONBLOCK) < 0 ? err_sys(err, errno, "fcntl") : 0;
}

void
client_conn_said(const struct client_conn *c, struct buf *out)
{
    char text[1024];
    ssize_t n = c->said_fd < 0 ? 0 : pread(c->said_fd, text, sizeof(text), 0);

    while (n > 0 && strchr("\r\n ", text[n - 1]))
        n--;
    for (ssize_t i = 0; i < n; i++)
        if (text[i] != '\r')
            buf_addc(out,
                     (unsigned char)text[i] < ' ' || text[i] == 127 ? ' ' : text[i]);
}

/* Its end is waited for, but not for long. */
static void
end_ssh(pid_t pid)
{
    for (int ms = 0; ms < ENDS_MS; ms += 10) {
        if (waitpid(pid, NULL, WNOHANG) != 0)
            return;
        (void)!poll(NULL, 0, 10);
    }
    kill(pid, SIGTERM);
    (void)!waitpid(pid, NULL, 0);
}

/* ---- open and close ---- */

/* What all connections of a client share is made by the first. */
static int
start_tls(struct client *client, struct client_conn *c, struct err *err)
{
    struct quiet q;
    int e = 0;

    pthread_mutex_lock(&client->lock);
    if (!client->tls)
        e = client_tls_open(&client->tls, err);
    pthread_mutex_unlock(&client->lock);
    if (e < 0)
        return e;
    quiet_begin(&q);
    e = client_tls_start(c, client->tls, CONNECT_MS, err);
    quiet_end(&q);
    return e;
}

int
client_conn_open(struct client *client, struct client_conn **out, struct err *err)
{
    const struct client_place *p = &client->place;
    struct client_conn *c = xmalloc(sizeof(*c));
    int e;

    *out = NULL;
    *c = (struct client_conn){ .fd = -1, .said_fd = -1, .place = p };
    e = p->kind == CLIENT_UNIX  ? open_unix(c, err)
        : p->kind == CLIENT_SSH ? open_ssh(c, err)
                                : open_tcp(c, err);
    if (e == 0 && p->kind == CLIENT_TLS)
        e = start_tls(client, c, err);
    if (e < 0) {
        client_conn_close(c);
        return e;
    }
    *out = c;
    return 0;
}

void
client_conn_close(struct client_conn *c)
{
    if (!c)
        return;
    SSL_free(c->tls);
    fs_close(&c->fd);
    if (c->pid > 0)
        end_ssh(c->pid);
    fs_close(&c->said_fd);
    free(c);
}

bool
client_conn_is_over(const struct client_conn *c)
{
    struct pollfd p = { .fd = c->fd, .events = POLLIN };

    return poll(&p, 1, 0) != 0;
}

/* ---- bytes ---- */

static int
broken(int e, struct err *err)
{
    return err_set(err, ERR_BUSY, "the connection broke: %s", strerror(e));
}

/* It writes, too, when the peer wants new keys. */
static int
read_tls(struct client_conn *c, void *to, int n)
{
    struct quiet q;
    int k;

    quiet_begin(&q);
    ERR_clear_error();
    k = SSL_read(c->tls, to, n);
    quiet_end(&q);
    return k;
}

int64_t
client_conn_read(struct client_conn *c, void *to, size_t n, int idle_ms,
                 struct err *err)
{
    const int most = n > 1 << 30 ? 1 << 30 : (int)n;

    for (;;) {
        const int64_t k =
            c->tls ? read_tls(c, to, most) : recv(c->fd, to, (size_t)most, 0);
        const int why = k > 0 ? 0 : c->tls ? SSL_get_error(c->tls, (int)k) : errno;
        short events = POLLIN;

        if (k > 0)
            return k;
        if (c->tls && why == SSL_ERROR_ZERO_RETURN)
            return 0;
        if (c->tls && why == SSL_ERROR_WANT_WRITE)
            events = POLLOUT;
        else if (c->tls && why != SSL_ERROR_WANT_READ)
            return client_tls_error(c, "read", (int)k, err);
        else if (!c->tls && k == 0)
            return 0;
        else if (!c->tls && why == EINTR)
            continue;
        else if (!c->tls && why != EAGAIN)
            return broken(why, err);
        if (client_conn_wait(c, events, idle_ms, err) < 0)
            return -(int)err->code;
    }
}

/* Room to write. 1: there is an answer instead; what the peer says over TLS before it
 * answers (tickets) is none. */
static int
wait_room(struct client_conn *c, short events, int idle_ms, struct err *err)
{
    struct pollfd p = { .fd = c->fd, .events = POLLIN };

    if (!c->tls && poll(&p, 1, 0) > 0)
        return 1;
    if (client_conn_wait(c, (short)(events | (c->tls ? 0 : POLLIN)), idle_ms, err) < 0)
        return -(int)err->code;
    return !c->tls && poll(&p, 1, 0) > 0;
}

/* Once what is written goes nowhere: what the peer said before that may be there. */
static int
write_broke(struct client_conn *c, int e, struct err *err)
{
    struct pollfd p = { .fd = c->fd, .events = POLLIN };

    if ((e == EPIPE || e == ECONNRESET) && poll(&p, 1, 0) > 0 && (p.revents & POLLIN))
        return 1;
    return broken(e, err);
}

static int
write_some(struct client_conn *c, const char *p, size_t n, int idle_ms, size_t *done,
           struct err *err)
{
    if (c->tls)
        ERR_clear_error();
    const int64_t k =
        c->tls ? SSL_write(c->tls, p, (int)n) : send(c->fd, p, n, MSG_NOSIGNAL);
    const int why = k > 0 ? 0 : c->tls ? SSL_get_error(c->tls, (int)k) : errno;

    *done = k > 0 ? (size_t)k : 0;
    if (k > 0)
        return 0;
    if (c->tls && why != SSL_ERROR_WANT_WRITE && why != SSL_ERROR_WANT_READ)
        return client_tls_error(c, "write", (int)k, err);
    if (!c->tls && why == EINTR)
        return 0;
    if (!c->tls && why != EAGAIN)
        return write_broke(c, why, err);
    return wait_room(c, c->tls && why == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT,
                     idle_ms, err);
}

int
client_conn_write(struct client_conn *c, const void *p, size_t n, int idle_ms,
                  struct err *err)
{
    struct quiet q;
    int e = 0;

    quiet_begin(&q);
    for (size_t at = 0; e == 0 && at < n;) {
        const size_t most = n - at < PIECE_BYTES ? n - at : PIECE_BYTES;
        size_t done;

        e = write_some(c, (const char *)p + at, most, idle_ms, &done, err);
        at += done;
    }
    quiet_end(&q);
    return e;
}

static int
send_plain(struct client_conn *c, int fd, int64_t offset, int64_t n, int idle_ms,
           struct err *err)
{
    off_t at = (off_t)offset;

    while (at < offset + n) {
        const int64_t left = offset + n - at;
        const ssize_t k =
            sendfile(c->fd, fd, &at, left < 1 << 30 ? (size_t)left : (size_t)1 << 30);
        int e;

        if (k == 0)
            return err_set(err, ERR_CONFLICT, "the file became shorter while it went");
        if (k > 0 || errno == EINTR)
            continue;
        if (errno != EAGAIN)
            return write_broke(c, errno, err);
        e = wait_room(c, POLLOUT, idle_ms, err);
        if (e != 0)
            return e;
    }
    return 0;
}

int
client_conn_send_file(struct client_conn *c, int fd, int64_t offset, int64_t n,
                      int idle_ms, struct err *err)
{
    char *piece AUTO(free_ptr) = c->tls ? xmalloc(PIECE_BYTES) : NULL;
    struct quiet q;
    int e = 0;

    if (!c->tls) {
        quiet_begin(&q);
        e = send_plain(c, fd, offset, n, idle_ms, err);
        quiet_end(&q);
        return e;
    }
    for (int64_t at = 0; e == 0 && at < n;) {
        const size_t most =
            n - at < (int64_t)PIECE_BYTES ? (size_t)(n - at) : PIECE_BYTES;
        const int64_t k = fs_read_at(fd, piece, most, offset + at, "a file", err);

        if (k < 0)
            return (int)k;
        if (k == 0)
            return err_set(err, ERR_CONFLICT, "the file became shorter while it went");
        e = client_conn_write(c, piece, (size_t)k, idle_ms, err);
        at += k;
    }
    return e;
}
