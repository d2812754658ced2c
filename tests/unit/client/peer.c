/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/client/peer.h"

#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define WAIT_MS 20000

static bool
more(int fd, struct buf *in)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    char text[65536];
    ssize_t n = poll(&p, 1, WAIT_MS) > 0 ? read(fd, text, sizeof(text)) : -1;

    if (n > 0)
        buf_add(in, text, (size_t)n);
    return n > 0;
}

/* One request; what is behind it stays. False: the connection ended. */
static bool
read_request(int fd, struct buf *in, struct buf *asked, bool head_only)
{
    const char *end, *length;
    size_t n;

    while (!(end = in->data ? memmem(in->data, in->len, "\r\n\r\n", 4) : NULL))
        if (!more(fd, in))
            return false;
    length = strstr(in->data, "Content-Length: ");
    n = (size_t)(end - in->data) + 4;
    if (length && length < end && !head_only)
        n += (size_t)strtoll(length + 16, NULL, 10);
    while (in->len < n)
        if (!more(fd, in))
            return false;
    buf_add(asked, in->data, n);
    memmove(in->data, in->data + n, in->len - n + 1);
    in->len -= n;
    return true;
}

static void *
run(void *arg)
{
    struct peer *p = arg;
    struct buf in AUTO(buf_release) = BUF_INIT;
    int fd = -1;

    for (int i = 0; i < p->n_steps; i++) {
        const struct peer_step *s = &p->steps[i];

        if (fd >= 0 && !read_request(fd, &in, &p->asked, s->early)) {
            close(fd);
            fd = -1;
        } else if (fd >= 0) {
            goto say;
        }
        {
            struct pollfd l = { .fd = p->fd, .events = POLLIN };

            buf_clear(&in);
            fd = poll(&l, 1, WAIT_MS) > 0 ? accept(p->fd, NULL, NULL) : -1;
            if (fd < 0)
                break;
            p->n_connections++;
            if (!read_request(fd, &in, &p->asked, s->early))
                break;
        }
    say:
        if (s->say && write(fd, s->say, strlen(s->say)) < 0)
            break;
        if (s->end) {
            close(fd);
            fd = -1;
        }
    }
    if (fd >= 0)
        close(fd);
    return NULL;
}

void
peer_start(struct peer *p, const struct peer_step *steps, int n_steps, bool tcp)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    struct sockaddr_in in = { .sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(in);

    *p = (struct peer){ .steps = steps, .n_steps = n_steps };
    p->fd = socket(tcp ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (tcp) {
        CHECK(bind(p->fd, (struct sockaddr *)&in, sizeof(in)) == 0);
        CHECK(getsockname(p->fd, (struct sockaddr *)&in, &n) == 0);
        snprintf(p->server, sizeof(p->server), "http://127.0.0.1:%d",
                 ntohs(in.sin_port));
    } else {
        snprintf(un.sun_path, sizeof(un.sun_path), "%s/peer", unit_dir());
        snprintf(p->server, sizeof(p->server), "unix:%s", un.sun_path);
        (void)unlink(un.sun_path);
        CHECK(bind(p->fd, (struct sockaddr *)&un, sizeof(un)) == 0);
    }
    CHECK(listen(p->fd, 8) == 0);
    CHECK(pthread_create(&p->thread, NULL, run, p) == 0);
}

void
peer_end(struct peer *p)
{
    pthread_join(p->thread, NULL);
    close(p->fd);
}
