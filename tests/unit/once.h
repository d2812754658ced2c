/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_ONCE_H
#define TESTS_UNIT_ONCE_H

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

static inline void
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
        if (got < 0 || write(ends[1], text, (size_t)got) < 0)
            _exit(1);
        for (ssize_t sent; *says; says += sent)
            if ((sent = write(c, says, strlen(says))) < 0)
                _exit(1);
        _exit(0);
    }
    close(s);
    close(ends[1]);
}

static inline void
once_end(struct once *o, char *asked, size_t room_bytes)
{
    ssize_t n;

    kill(o->pid, SIGTERM);
    waitpid(o->pid, NULL, 0);
    n = read(o->asked_fd, asked, room_bytes - 1);
    asked[n > 0 ? n : 0] = '\0';
    close(o->asked_fd);
}

#endif
