/* SPDX-License-Identifier: Apache-2.0 */
#include "client/client_int.h"

#include "tests/unit/client/peer.h"
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OK PEER_SAYS("200 OK", "Server: sluice/9.9\r\n", "2", "{}")

static void
setup(void)
{
    unsetenv("SLUICE_TOKEN");
    unsetenv("SLUICE_TOKEN_FILE");
    unsetenv("SLUICE_INSECURE");
    setenv("SLUICE_RETRY_S", "5", 1);
}

static int
get(struct client *c, struct client_answer *a, struct err *err)
{
    return client_ask(c, &(struct client_ask){ .method = "GET", .path = "/x" }, a, err);
}

static int
count(const char *text, const char *what)
{
    int n = 0;

    for (const char *p = text; (p = strstr(p, what)) != NULL; p++)
        n++;
    return n;
}

TEST(test_client_http__a_connection_is_kept)
{
    static const struct peer_step steps[] = { { OK, false, false },
                                              { OK, false, false } };
    struct client_answer a AUTO(client_answer_release) = { .status = 0 };
    struct err err = ERR_INIT;
    struct client *c;
    struct peer p;

    setup();
    setenv("SLUICE_TOKEN", "slc_x", 1);
    for (int tcp = 0; tcp < 2; tcp++) {
        peer_start(&p, steps, 2, tcp);
        CHECK_OK(client_open(&c, p.server, NULL, &err));
        CHECK_OK(get(c, &a, &err));
        CHECK_OK(get(c, &a, &err));
        CHECK_INT(a.status, 200);
        CHECK_STR(buf_str(&a.body), "{}");
        CHECK_STR(c->peer_version, "9.9");
        peer_end(&p);
        CHECK_INT(p.n_connections, 1);
        CHECK_INT(count(buf_str(&p.asked), "GET /x HTTP/1.1\r\n"), 2);
        CHECK_INT(count(buf_str(&p.asked), "Authorization: Bearer slc_x\r\n"), 2);
        client_close(c);
        buf_release(&p.asked);
    }
}

TEST(test_client_http__one_that_was_closed_meanwhile_is_replaced)
{
    static const struct peer_step steps[] = {
        { OK, false, false },
        { NULL, true, false }, /* the second request gets no answer */
        { OK, false, false }
    };
    struct client_answer a AUTO(client_answer_release) = { .status = 0 };
    struct err err = ERR_INIT;
    struct client *c;
    struct peer p;

    setup();
    peer_start(&p, steps, 3, false);
    CHECK_OK(client_open(&c, p.server, NULL, &err));
    CHECK_OK(get(c, &a, &err));
    CHECK_OK(get(c, &a, &err));
    CHECK_INT(a.status, 200);
    peer_end(&p);
    CHECK_INT(p.n_connections, 2);
    client_close(c);
    buf_release(&p.asked);
}

TEST(test_client_http__what_changes_something_is_asked_again_only_with_a_key)
{
    static const struct peer_step steps[] = { { NULL, true, false },
                                              { NULL, true, false },
                                              { OK, false, false } };
    static const char *const key[] = { "Idempotency-Key: k", NULL };
    struct client_ask post = {
        .method = "POST", .path = "/v", .body = "{}", .body_bytes = 2
    };
    struct client_answer a AUTO(client_answer_release) = { .status = 0 };
    struct err err = ERR_INIT;
    struct client *c;
    struct peer p;

    setup();
    peer_start(&p, steps, 3, false);
    CHECK_OK(client_open(&c, p.server, NULL, &err));
    CHECK_ERR(client_ask(c, &post, &a, &err), ERR_BUSY);
    post.headers = key;
    CHECK_OK(client_ask(c, &post, &a, &err));
    CHECK_INT(a.status, 200);
    peer_end(&p);
    CHECK_INT(count(buf_str(&p.asked), "POST /v"), 3);
    client_close(c);
    buf_release(&p.asked);
}

TEST(test_client_http__a_server_that_is_busy_is_asked_again)
{
    static const struct peer_step steps[] = {
        { PEER_SAYS("503 Away", "Retry-After: 1\r\n", "0", ""), false, false },
        { PEER_SAYS("429 Slow", "", "0", ""), true, false },
        { OK, false, false }
    };
    struct client_answer a AUTO(client_answer_release) = { .status = 0 };
    struct err err = ERR_INIT;
    struct client *c;
    struct peer p;

    setup();
    peer_start(&p, steps, 3, false);
    CHECK_OK(client_open(&c, p.server, NULL, &err));
    CHECK_OK(client_ask(c, &(struct client_ask){ .method = "POST", .path = "/v" }, &a,
                        &err));
    CHECK_INT(a.status, 200);
    peer_end(&p);
    client_close(c);
    buf_release(&p.asked);
}

TEST(test_client_http__nobody_there)
{
    struct client_answer a AUTO(client_answer_release) = { .status = 0 };
    struct err err = ERR_INIT;
    struct client *c;
    char server[300];

    setup();
    setenv("SLUICE_RETRY_S", "0", 1);
    snprintf(server, sizeof(server), "unix:%s/none", unit_dir());
    CHECK_OK(client_open(&c, server, NULL, &err));
    CHECK_ERR(get(c, &a, &err), ERR_BUSY);
    client_close(c);
    CHECK_OK(client_open(&c, "http://127.0.0.1:1", NULL, &err));
    CHECK_ERR(get(c, &a, &err), ERR_BUSY);
    client_close(c);
    /* and http:// goes nowhere else */
    CHECK_OK(client_open(&c, "http://192.0.2.1:8600", NULL, &err));
    CHECK_ERR(get(c, &a, &err), ERR_INVALID);
    client_close(c);
}

TEST(test_client_http__a_token_stays_off_the_plain_network)
{
    static const struct peer_step steps[] = { { PEER_SAYS("401 Who", "", "0", ""), true,
                                                false } };
    struct client_answer a AUTO(client_answer_release) = { .status = 0 };
    struct err err = ERR_INIT;
    struct client *c;
    struct peer p;

    setup();
    setenv("SLUICE_INSECURE", "1", 1);
    peer_start(&p, steps, 1, true);
    CHECK_OK(client_open(&c, p.server, "slc_secret", &err));
    CHECK_OK(get(c, &a, &err));
    peer_end(&p);
    CHECK_INT(count(buf_str(&p.asked), "slc_secret"), 0);
    CHECK_INT(client_problem(c, &a, NULL, &err), -ERR_DENIED);
    CHECK(strstr(err.msg, "no token goes over plain HTTP") != NULL);
    err_clear(&err);
    client_close(c);
    buf_release(&p.asked);
    CHECK_ERR(client_open(&c, p.server, "a b", &err), ERR_USAGE);
}

static int
to_buf(void *arg, const char *p, size_t n, struct err *err)
{
    (void)err;
    buf_add(arg, p, n);
    return 0;
}

TEST(test_client_http__chunks_interim_answers_and_a_sink)
{
    static const struct peer_step steps[] = {
        { "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX-A:  b \r\n"
          "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n",
          false, false },
        { PEER_SAYS("404 No", "", "4", "none"), false, false },
        { "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end", true, false },
        { "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", true, false }
    };
    struct client_answer a AUTO(client_answer_release) = { .status = 0 };
    struct buf sunk AUTO(buf_release) = BUF_INIT;
    struct client_ask ask = {
        .method = "GET", .path = "/x", .sink = to_buf, .arg = &sunk
    };
    struct err err = ERR_INIT;
    struct client *c;
    struct peer p;

    setup();
    peer_start(&p, steps, 4, false);
    CHECK_OK(client_open(&c, p.server, NULL, &err));
    CHECK_OK(client_ask(c, &ask, &a, &err));
    CHECK_STR(buf_str(&sunk), "abcdefg");
    char *x AUTO(free_ptr) = client_answer_header(&a, "x-a");
    CHECK_STR(x, "b ");
    CHECK_OK(client_ask(c, &ask, &a, &err)); /* what is no success is not the sink's */
    CHECK_INT(a.status, 404);
    CHECK_STR(buf_str(&a.body), "none");
    buf_clear(&sunk);
    CHECK_OK(client_ask(c, &ask, &a, &err));
    CHECK_STR(buf_str(&sunk), "to the end");
    CHECK_ERR(client_ask(c, &ask, &a, &err), ERR_BUSY); /* it had bytes already */
    peer_end(&p);
    CHECK_INT(p.n_connections, 2);
    client_close(c);
    buf_release(&p.asked);
}

TEST(test_client_http__a_file_goes_and_an_early_answer_is_heard)
{
    static const struct peer_step steps[] = {
        { OK, false, false },
        { PEER_SAYS("413 Big", "Connection: close\r\n", "0", ""), false, true },
        { OK, false, false }
    };
    enum { BIG = 8 << 20 };
    struct client_answer a AUTO(client_answer_release) = { .status = 0 };
    struct err err = ERR_INIT;
    struct client *c;
    struct peer p;
    char path[300], *bytes AUTO(free_ptr) = xcalloc(1, BIG);
    int fd;

    setup();
    snprintf(path, sizeof(path), "%s/big", unit_dir());
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && write(fd, bytes, BIG) == BIG && pwrite(fd, "mark", 4, 77) == 4);
    struct client_ask put = { .method = "PUT",
                              .path = "/f",
                              .body_fd = fd,
                              .body_offset = 77,
                              .body_bytes = BIG - 77 };
    peer_start(&p, steps, 3, true);
    CHECK_OK(client_open(&c, p.server, NULL, &err));
    CHECK_OK(client_ask(c, &put, &a, &err));
    CHECK_INT(a.status, 200);
    CHECK_OK(client_ask(c, &put, &a, &err));
    CHECK_INT(a.status, 413);
    CHECK_OK(get(c, &a, &err)); /* on another connection */
    CHECK_INT(a.status, 200);
    peer_end(&p);
    CHECK_INT(p.n_connections, 2);
    const char *body = strstr(buf_str(&p.asked), "\r\n\r\n");
    CHECK(body && memcmp(body + 4, "mark", 4) == 0);
    close(fd);
    client_close(c);
    buf_release(&p.asked);
}

TEST(test_client_http__what_is_no_http_is_said)
{
    static const struct peer_step steps[] = { { "SSH-2.0-x\r\n", true, false } };
    struct client_answer a AUTO(client_answer_release) = { .status = 0 };
    struct err err = ERR_INIT;
    struct client *c;
    struct peer p;

    setup();
    peer_start(&p, steps, 1, false);
    CHECK_OK(client_open(&c, p.server, NULL, &err));
    CHECK_ERR(get(c, &a, &err), ERR_INVALID);
    peer_end(&p);
    client_close(c);
    buf_release(&p.asked);
}

TEST(test_client_http__problems)
{
    static const struct {
        const char *answer;
        enum err_code code;
        const char *text;
    } cases[] = {
        { PEER_SAYS(
              "403 No", "Content-Type: application/problem+json\r\n", "66",
              "{\"code\": \"REFUSED\", \"exit_code\": 5, \"detail\": \"a gate said "
              "no\"}   "),
          ERR_REFUSED, "a gate said no" },
        { PEER_SAYS("403 No", "Content-Type: application/problem+json\r\n", "49",
                    "{\"code\": \"LATER\", \"exit_code\": 8, \"detail\": \"so\"}"),
          ERR_PENDING, "so" },
        { PEER_SAYS("500 No", "Content-Type: text/html\r\n", "4", "<h1>"), ERR_BUSY,
          "it answers 500; try again" },
        { PEER_SAYS("301 Go", "Location: https://b/\r\n", "0", ""), ERR_INVALID,
          "go to https://b/" },
        { PEER_SAYS("401 Who", "", "0", ""), ERR_DENIED, "$SLUICE_TOKEN" }
    };
    struct peer_step steps[5];
    struct client_answer a AUTO(client_answer_release) = { .status = 0 };
    struct err err = ERR_INIT;
    struct client *c;
    struct peer p;

    setup();
    for (int i = 0; i < 5; i++)
        steps[i] = (struct peer_step){ cases[i].answer, false, false };
    peer_start(&p, steps, 5, false);
    CHECK_OK(client_open(&c, p.server, NULL, &err));
    for (int i = 0; i < 5; i++) {
        CHECK_OK(get(c, &a, &err));
        CHECK_INT(client_problem(c, &a, NULL, &err), -(int)cases[i].code);
        CHECK(strstr(err.msg, cases[i].text) != NULL);
        err_clear(&err);
    }
    peer_end(&p);
    client_close(c);
    buf_release(&p.asked);
}

TEST(test_client_http__servers)
{
    static const char *const good[] = { "unix:/run/s",          "unix:///run/s",
                                        "ssh://a@b:22",         "ssh://b/dir",
                                        "https://a.b",          "https://[::1]:1/p/",
                                        "http://127.0.0.1:8600" };
    static const char *const bad[] = {
        "",          "unix:",         "a.b:80",      "https://",
        "ftp://a",   "https://a:b@c", "https://a?b", "https://a:x",
        "ssh://-oX", "https://[::1",  "http://a b"
    };
    struct err err = ERR_INIT;

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct client_place p;

        CHECK_OK(client_place_parse(good[i], &p, &err));
        client_place_release(&p);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct client_place p;

        CHECK_ERR(client_place_parse(bad[i], &p, &err), ERR_USAGE);
    }
}
