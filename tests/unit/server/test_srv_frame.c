/* SPDX-License-Identifier: Apache-2.0 */
#include "server/srv_frame.h"

#include "base/fs.h"
#include "tests/unit/unit.h"

#include <sys/socket.h>
#include <unistd.h>

struct pair {
    int a, b;
};

static void
pair_open(struct pair *p)
{
    int fds[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    *p = (struct pair){ fds[0], fds[1] };
}

static void
pair_close(struct pair *p)
{
    fs_close(&p->a);
    fs_close(&p->b);
}

TEST(test_srv_frame__carries_json_and_a_descriptor)
{
    struct pair p AUTO(pair_close);
    struct err err = ERR_INIT;
    cJSON *j AUTO(json_free) = cJSON_CreateObject(), *got AUTO(json_free) = NULL;
    int pipes[2], fd = -1;
    char byte = 0;
    enum srv_frame kind;
    pair_open(&p);
    CHECK(pipe(pipes) == 0);
    json_put_str(j, "verb", "list");
    CHECK_OK(srv_frame_send(p.a, SRV_FRAME_CALL, j, pipes[1], &err));
    CHECK_INT(srv_frame_recv(p.b, &kind, &got, &fd, &err), 1);
    CHECK_INT(kind, SRV_FRAME_CALL);
    CHECK_STR(cJSON_GetStringValue(cJSON_GetObjectItem(got, "verb")), "list");
    CHECK(fd >= 0 && write(fd, "x", 1) == 1);
    CHECK(read(pipes[0], &byte, 1) == 1 && byte == 'x');
    close(fd);
    close(pipes[0]);
    close(pipes[1]);
}

TEST(test_srv_frame__what_is_cut_or_malformed_is_an_error)
{
    static const struct {
        uint32_t kind, n_bytes;
        const char *text;
    } bad[] = { { SRV_FRAME_REPLY, 10, "{}" },
                { SRV_FRAME_REPLY, 2, "{]" },
                { 77, 2, "{}" },
                { 0, 2, "{}" },
                { SRV_FRAME_REPLY, 0xffffffff, "{}" },
                { SRV_FRAME_REPLY, 0, "" } };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct pair p AUTO(pair_close);
        struct err err = ERR_INIT;
        cJSON *got = NULL;
        int fd = -1;
        enum srv_frame kind;
        const uint32_t head[2] = { bad[i].kind, bad[i].n_bytes };
        const ssize_t n = (ssize_t)strlen(bad[i].text);
        pair_open(&p);
        CHECK(write(p.a, head, sizeof head) == (ssize_t)sizeof head);
        CHECK(write(p.a, bad[i].text, (size_t)n) == n);
        fs_close(&p.a);
        CHECK(srv_frame_recv(p.b, &kind, &got, &fd, &err) < 0);
        CHECK(!got && fd < 0);
    }
}

TEST(test_srv_frame__the_end_is_no_error)
{
    struct pair p AUTO(pair_close);
    struct err err = ERR_INIT;
    cJSON *got = NULL;
    int fd;
    enum srv_frame kind;
    pair_open(&p);
    fs_close(&p.a);
    CHECK_INT(srv_frame_recv(p.b, &kind, &got, &fd, &err), 0);
}
