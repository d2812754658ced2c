/* SPDX-License-Identifier: Apache-2.0 */
/* Times whole processes against each other in one run: the machines are noisy, so what
 * counts is the ratio of commands that took turns.
 *
 * usage: spawn ROUNDS NAME COMMAND [NAME COMMAND]...
 * Each round starts every COMMAND (split at blanks) once, in turn. A NAME that begins
 * with
 * "-" is run and not timed (it puts things back). Prints one line a command: name, p50,
 * p99 and minimum in microseconds, p50 and p99 over those of the first command, the
 * least ratio to it in one round, and the most memory that the command itself had. */
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_COMMANDS = 16, MAX_ROUNDS = 10000, MAX_ARGS = 64 };
extern char **environ;

static char *args[MAX_COMMANDS][MAX_ARGS];
static int64_t times_ns[MAX_COMMANDS][MAX_ROUNDS];
static long rss_kb[MAX_COMMANDS]; /* the most of all rounds */

static int64_t
now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int64_t
run_ns(char **argv, long *rss)
{
    struct rusage used;
    posix_spawn_file_actions_t quiet;
    posix_spawn_file_actions_init(&quiet);
    posix_spawn_file_actions_addopen(&quiet, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0);
    int status;
    pid_t pid;
    int64_t from = now_ns();
    int why = posix_spawnp(&pid, argv[0], &quiet, NULL, argv, environ);
    if (why || wait4(pid, &status, 0, &used) < 0 || status != 0) {
        fprintf(stderr, "spawn: %s: %s\n", argv[0],
                why ? strerror(why) : "did not end with status 0");
        exit(1);
    }
    int64_t took = now_ns() - from;
    posix_spawn_file_actions_destroy(&quiet);
    if (used.ru_maxrss > *rss)
        *rss = used.ru_maxrss;
    return took;
}

static int
by_time(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int
main(int argc, char **argv)
{
    int rounds = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 0;
    int n = (argc - 2) / 2;
    if (rounds < 1 || rounds > MAX_ROUNDS || n < 1 || n > MAX_COMMANDS || argc % 2) {
        fprintf(stderr, "usage: spawn ROUNDS NAME COMMAND [NAME COMMAND]...\n");
        return 2;
    }
    for (int i = 0; i < n; i++) {
        int k = 0;
        char *save = NULL;
        for (char *w = strtok_r(argv[3 + 2 * i], " ", &save); w && k < MAX_ARGS - 1;
             w = strtok_r(NULL, " ", &save))
            args[i][k++] = w;
    }
    for (int round = -2; round < rounds; round++) /* two to warm up */
        for (int i = 0; i < n; i++) {
            int64_t took = run_ns(args[i], &rss_kb[i]);
            if (round >= 0)
                times_ns[i][round] = took;
        }
    int first = 0;
    while (first < n - 1 && argv[2 + 2 * first][0] == '-')
        first++;
    double best[MAX_COMMANDS]; /* ratio of one round */
    for (int i = 0; i < n; i++) {
        best[i] = 1e30;
        for (int round = 0; round < rounds; round++) {
            double x = (double)times_ns[i][round] / (double)times_ns[first][round];
            best[i] = x < best[i] ? x : best[i];
        }
    }
    double p50_first = 0, p99_first = 0;
    for (int i = 0; i < n; i++) {
        const char *name = argv[2 + 2 * i];
        if (name[0] == '-')
            continue;
        qsort(times_ns[i], (size_t)rounds, sizeof times_ns[i][0], by_time);
        double p50 = (double)times_ns[i][rounds / 2] / 1e3;
        double p99 = (double)times_ns[i][(rounds * 99) / 100 - (rounds >= 100)] / 1e3;
        if (p50_first == 0)
            p50_first = p50, p99_first = p99;
        printf("%-28s p50 %9.0f us  p99 %9.0f us  min %9.0f us  p50 x %.2f  p99 x %.2f "
               " best x %.2f  rss %5.1f MB\n",
               name, p50, p99, (double)times_ns[i][0] / 1e3, p50 / p50_first,
               p99 / p99_first, best[i], (double)rss_kb[i] / 1e3);
    }
    return 0;
}
