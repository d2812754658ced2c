/* SPDX-License-Identifier: Apache-2.0 */
/* A server of models for the scenes: the same answers at any time. It has loaded
 * versions 1 to 3 of each model, and each label is at 2. */
#include "tests/crash/crash.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct {
    const char *asked, *answer; /* the first that is in the request */
} answers[] = {
    { "/v2/repository/index",
      "[{\"name\":\"m\",\"version\":\"1\",\"state\":\"READY\"},"
      "{\"name\":\"m\",\"version\":\"2\",\"state\":\"READY\"},"
      "{\"name\":\"m\",\"version\":\"3\",\"state\":\"READY\"}]" },
    { "/labels/", "{\"model_spec\":{\"name\":\"m\",\"version\":\"2\"}}" },
    { "/v1/models/",
      "{\"model_version_status\":[{\"version\":\"1\",\"state\":\"AVAILABLE\"},"
      "{\"version\":\"2\",\"state\":\"AVAILABLE\"},"
      "{\"version\":\"3\",\"state\":\"AVAILABLE\"}]}" },
    { "", "{}" },
};

static void
answer(int fd)
{
    char asked[4096], said[1024];
    const ssize_t n = read(fd, asked, sizeof(asked) - 1);
    size_t i = 0;
    int len;

    if (n <= 0)
        return;
    asked[n] = '\0';
    while (!strstr(asked, answers[i].asked))
        i++;
    len = snprintf(said, sizeof(said),
                   "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n"
                   "Connection: close\r\n\r\n%s",
                   strlen(answers[i].answer), answers[i].answer);
    for (ssize_t at = 0, k; at < len; at += k)
        if ((k = write(fd, said + at, (size_t)(len - at))) <= 0)
            return;
}

int
crash_server_open(struct crash_server *s)
{
    struct sockaddr_in at = { .sin_family = AF_INET };
    socklen_t len = sizeof(at);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    s->pid = -1;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 ||
        listen(fd, 64) < 0 || getsockname(fd, (struct sockaddr *)&at, &len) < 0)
        return -1;
    snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%d", ntohs(at.sin_port));
    s->pid = fork();
    if (s->pid == 0) {
        signal(SIGPIPE, SIG_IGN);
        for (;;) {
            const int one = accept(fd, NULL, NULL);

            if (one >= 0)
                answer(one);
            close(one);
        }
    }
    close(fd);
    return s->pid < 0 ? -1 : setenv("CRASH_SERVER", s->url, 1);
}

void
crash_server_close(struct crash_server *s)
{
    if (s->pid > 0) {
        kill(s->pid, SIGKILL);
        (void)waitpid(s->pid, NULL, 0);
    }
}
