/* SPDX-License-Identifier: Apache-2.0 */
/* What comes from a network, and what comes from a worker. The first byte says which:
 * 'w': frames of a worker; else the bytes of a connection, which the service answers in
 * this process, with a real store (its workers end at once). Whatever comes, each
 * answer has a status. */
#include "scratch.h"
#include "server/server_int.h"
#include "server/srv_frame.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { WAIT_MS = 4000 };

static struct scratch scratch;

static void
end(void)
{
    scratch_close(&scratch);
}

/* One service for all inputs: what a connection did must not matter to the next. */
static struct srv *
service(void)
{
    static struct srv *srv;
    static struct srv_options options = { .stdio = true, .workers = 2 };
    static char store[64];
    struct err err = ERR_INIT;
    struct svc *s AUTO(svc_close_p) = NULL;
    cJSON *request AUTO(json_free) = cJSON_CreateObject(),
                   *reply AUTO(json_free) = NULL;
    if (srv)
        return srv;
    json_setup();
    scratch_open(&scratch);
    atexit(end);
    if (symlinkat("/bin/true", scratch.fd, "sluice-server") < 0 ||
        setenv("SLUICE_LIBEXEC", scratch.path, 1) < 0)
        BUG("no helper");
    snprintf(store, sizeof store, "%s/store", scratch.path);
    options.store = store;
    json_put_str(request, "path", store);
    if (svc_open(&s, store, &err) < 0 ||
        svc_call(s, "init", request, &reply, &err) < 0 ||
        srv_open(&srv, &options, &err) < 0)
        BUG("%s", err.msg);
    return srv;
}

static void
read_frames(int sock)
{
    struct err err = ERR_INIT;
    for (;;) {
        enum srv_frame kind;
        cJSON *j AUTO(json_free) = NULL;
        int fd AUTO(fs_close) = -1;
        if (srv_frame_recv(sock, &kind, &j, &fd, &err) <= 0)
            return;
        if (kind < SRV_FRAME_CALL || kind > SRV_FRAME_REPLY || !j)
            BUG("a frame of kind %d", kind);
    }
}

static void
read_answers(int sock)
{
    char piece[4096];
    size_t begun = 0;
    char first[12] = "";
    for (;;) {
        struct pollfd p = { .fd = sock, .events = POLLIN };
        if (poll(&p, 1, WAIT_MS) <= 0)
            break; /* half a body: it is waited for a while */
        ssize_t k = read(sock, piece, sizeof piece);
        if (k <= 0)
            break;
        for (ssize_t i = 0; i < k && begun < sizeof first - 1; i++)
            first[begun++] = piece[i];
    }
    if (begun && strncmp(first, "HTTP/1.1 ", begun < 9 ? begun : 9) != 0)
        BUG("an answer begins with '%s'", first);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const bool frames = n > 0 && data[0] == 'w';
    struct err err = ERR_INIT;
    int pair[2];
    if (n > 60000 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return 0;
    int mine AUTO(fs_close) = pair[0];
    if (frames)
        data++, n--;
    else
        srv_add(service(), pair[1]);
    (void)!fs_write_all(mine, data, n, "the other end", &err); /* or it ended early */
    shutdown(mine, SHUT_WR);
    if (frames) {
        read_frames(pair[1]);
        close(pair[1]);
    } else {
        read_answers(mine);
    }
    return 0;
}
