/* SPDX-License-Identifier: Apache-2.0 */
#include "base/http.h"

#include "base/fs.h"
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* A server for one request, whose answer is `says`, or none (NULL: it hangs). What it
 * was asked comes to *asked. */
struct once {
    char url[64];
    int asked_fd;
    pid_t pid;
};

static void
once_start(struct once *o, const char *says)
{
    struct sockaddr_in at = { .sin_family = AF_INET };
    socklen_t n = sizeof(at);
    const int s = socket(AF_INET, SOCK_STREAM, 0);
    char text[4096];
    ssize_t got;
    int ends[2];

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_INT(bind(s, (struct sockaddr *)&at, sizeof(at)), 0);
    CHECK_INT(listen(s, 1), 0);
    CHECK_INT(getsockname(s, (struct sockaddr *)&at, &n), 0);
    CHECK_INT(pipe(ends), 0);
    snprintf(o->url, sizeof(o->url), "http://127.0.0.1:%d/x", ntohs(at.sin_port));
    o->asked_fd = ends[0];
    o->pid = fork();
    if (o->pid == 0) {
        const int c = accept(s, NULL, NULL);

        got = read(c, text, sizeof(text));
        if (!says)
            pause();
        if (got < 0 || write(ends[1], text, (size_t)got) < 0 ||
            write(c, says, strlen(says)) < 0)
            _exit(1);
        _exit(0);
    }
    close(s);
    close(ends[1]);
}

static void
once_end(struct once *o, char *asked, size_t room_bytes)
{
    ssize_t n;

    kill(o->pid, SIGTERM);
    waitpid(o->pid, NULL, 0);
    n = read(o->asked_fd, asked, room_bytes - 1);
    asked[n > 0 ? n : 0] = '\0';
    close(o->asked_fd);
}

TEST(test_http__any_answer_is_an_answer)
{
    static const char *const headers[] = { "Authorization: Bearer x", NULL };
    struct http_answer a AUTO(http_answer_release) = HTTP_ANSWER_INIT;
    struct err err = ERR_INIT;
    struct once o;
    char asked[4096];

    once_start(&o, "HTTP/1.1 403 No\r\nContent-Length: 5\r\n\r\na\nb\n\n");
    CHECK_OK(http_ask(
        &(struct http_ask){
            .url = o.url, .headers = headers, .body = "{\n}", .body_bytes = 3 },
        &a, &err));
    once_end(&o, asked, sizeof(asked));
    CHECK_INT(a.status, 403);
    CHECK_INT(a.grpc_status, -1);
    CHECK(!a.cut);
    CHECK_STR(buf_str(&a.body), "a\nb\n\n");
    CHECK(strncmp(asked, "POST /x HTTP/1.1\r\n", 18) == 0);
    CHECK(strstr(asked, "Authorization: Bearer x\r\n") != NULL);
    CHECK_STR(strstr(asked, "\r\n\r\n"), "\r\n\r\n{\n}");
}

TEST(test_http__what_is_too_long_is_cut)
{
    struct http_answer a AUTO(http_answer_release) = HTTP_ANSWER_INIT;
    struct err err = ERR_INIT;
    struct once o;
    char asked[4096];

    once_start(&o, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n12345678");
    CHECK_OK(http_ask(&(struct http_ask){ .url = o.url, .max_bytes = 3 }, &a, &err));
    once_end(&o, asked, sizeof(asked));
    CHECK_INT(a.status, 200);
    CHECK(a.cut);
    CHECK_STR(buf_str(&a.body), "123");
}

TEST(test_http__no_answer)
{
    struct http_answer a AUTO(http_answer_release) = HTTP_ANSWER_INIT;
    struct err err = ERR_INIT;
    struct once o;
    char asked[4096];

    once_start(&o, NULL);
    CHECK_ERR(http_ask(&(struct http_ask){ .url = o.url, .wall_ms = 100 }, &a, &err),
              ERR_LIMIT);
    once_end(&o, asked, sizeof(asked));
    err_clear(&err);
    CHECK_ERR(http_ask(&(struct http_ask){ .url = o.url }, &a, &err), ERR_IO);
    err_clear(&err);
    CHECK_ERR(http_ask(&(struct http_ask){ .url = "file:///etc/passwd" }, &a, &err),
              ERR_INVALID);
    err_clear(&err);
    CHECK_ERR(http_ask(&(struct http_ask){ .url = "http://x/\nHost: y" }, &a, &err),
              ERR_INVALID);
}
