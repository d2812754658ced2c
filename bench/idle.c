/* SPDX-License-Identifier: Apache-2.0 */
/* Opens many connections to a service, asks each once (GET /healthz, kept alive),
 * leaves them idle, and says what each costs the service's process in resident memory.
 * usage: idle PORT PID CONNECTIONS */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static long
rss_kb(const char *pid)
{
    char path[64], line[256];
    long kb = -1;
    FILE *in;

    snprintf(path, sizeof(path), "/proc/%s/status", pid);
    in = fopen(path, "re");
    while (in && fgets(line, sizeof(line), in))
        if (sscanf(line, "VmRSS: %ld", &kb) == 1)
            break;
    if (in)
        fclose(in);
    return kb;
}

static int
ask(unsigned short port)
{
    static const char request[] = "GET /healthz HTTP/1.1\r\nHost: bench\r\n\r\n";
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons(port),
                              .sin_addr = { htonl(INADDR_LOOPBACK) } };
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char answer[1024];

    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 ||
        send(fd, request, sizeof(request) - 1, 0) != (ssize_t)sizeof(request) - 1 ||
        recv(fd, answer, sizeof(answer), 0) < 12 || memcmp(answer + 9, "200", 3) != 0)
        return -1;
    return fd;
}

/* It is still open: nothing to read, no end. */
static int
is_open(int fd)
{
    char c;

    return recv(fd, &c, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN;
}

int
main(int argc, char **argv)
{
    const int n = argc == 4 ? (int)strtol(argv[3], NULL, 10) : 0;
    struct rlimit files = { (rlim_t)n + 64, (rlim_t)n + 64 };
    int *fds = n > 0 ? calloc((size_t)n, sizeof(*fds)) : NULL;
    int n_open = 0;
    long before, after;

    if (!fds) {
        fprintf(stderr, "usage: idle PORT PID CONNECTIONS\n");
        return 2;
    }
    if (setrlimit(RLIMIT_NOFILE, &files) < 0) {
        perror("idle: raise the limit of open files");
        return 1;
    }
    before = rss_kb(argv[2]);
    for (int i = 0; i < n; i++) {
        fds[i] = ask((unsigned short)strtol(argv[1], NULL, 10));
        if (fds[i] < 0) {
            fprintf(stderr, "idle: connection %d of %d: %s\n", i + 1, n,
                    strerror(errno));
            return 1;
        }
    }
    sleep(1);
    for (int i = 0; i < n; i++)
        n_open += is_open(fds[i]);
    after = rss_kb(argv[2]);
    printf("%d idle connections    %d of them open; %.1f MB before, %.1f MB after: "
           "%.1f KB each (at most 64)\n",
           n, n_open, (double)before / 1024, (double)after / 1024,
           (double)(after - before) / n);
    return before > 0 && n_open == n ? 0 : 1;
}
