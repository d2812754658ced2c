/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { MAX_RUNS = 1 << 20, MAX_SENT = 1000 };

void
bench_die(const char *what, const char *why)
{
    fprintf(stderr, "client: %s: %s\n", what, why);
    exit(1);
}

static int64_t
now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void
read_file(const char *path, struct bench_tensor *t)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        bench_die(path, "cannot be opened");
    fseek(f, 0, SEEK_END);
    t->n_bytes = (size_t)ftell(f);
    rewind(f);
    t->data = malloc(t->n_bytes + 1);
    if (!t->data || fread(t->data, 1, t->n_bytes, f) != t->n_bytes)
        bench_die(path, "cannot be read");
    fclose(f);
}

static void
parse_dims(char *text, struct bench_tensor *t)
{
    char *save = NULL;
    t->n_elems = 1;
    for (char *w = strtok_r(text, "x", &save); w; w = strtok_r(NULL, "x", &save)) {
        if (t->rank == BENCH_MAX_RANK)
            bench_die(t->key, "has too many dimensions");
        t->dims[t->rank] = strtoll(w, NULL, 10);
        t->n_elems *= t->dims[t->rank++];
    }
}

static void
parse_args(char **argv, int argc, struct bench_io *io)
{
    for (int i = 4; i < argc;) {
        if (strcmp(argv[i], "in") == 0 && i + 5 < argc &&
            io->n_in < BENCH_MAX_TENSORS) {
            struct bench_tensor *t = &io->in[io->n_in++];
            *t = (struct bench_tensor){ .key = argv[i + 1],
                                        .name = argv[i + 2],
                                        .dtype = argv[i + 3] };
            parse_dims(argv[i + 4], t);
            read_file(argv[i + 5], t);
            i += 6;
        } else if (strcmp(argv[i], "out") == 0 && i + 2 < argc &&
                   io->n_out < BENCH_MAX_TENSORS) {
            io->out[io->n_out++] =
                (struct bench_tensor){ .key = argv[i + 1], .name = argv[i + 2] };
            i += 3;
        } else {
            bench_die(argv[i], "is not understood");
        }
    }
}

static void
show_answers(const struct bench_io *io)
{
    double v[BENCH_SHOWN];
    for (int i = 0; i < io->n_out; i++) {
        size_t n = engine_answer(i, v, BENCH_SHOWN);
        printf("answer %s", io->out[i].key);
        for (size_t k = 0; k < n; k++)
            printf(" %.9g", v[k]);
        putchar('\n');
    }
}

static void
slice(double seconds)
{
    static int64_t took_ns[MAX_RUNS];
    int64_t from = now_ns(), until = from + (int64_t)(seconds * 1e9);
    size_t n = 0;
    do {
        engine_run();
        int64_t at = now_ns();
        took_ns[n++] = at - from;
        from = at;
    } while (from < until && n < MAX_RUNS);
    printf("n %zu", n);
    size_t every = (n + MAX_SENT - 1) / MAX_SENT;
    for (size_t i = 0; i < n; i += every)
        printf(" %.3f", (double)took_ns[i] / 1e3);
    putchar('\n');
}

int
main(int argc, char **argv)
{
    static struct bench_io io;
    char line[64];
    if (argc < 4) {
        fputs("client: started by bench/runtime, not by hand\n", stderr);
        return 2;
    }
    int64_t started_ns = strtoll(argv[3], NULL, 10);
    parse_args(argv, argc, &io);
    int64_t begin_ns = now_ns();
    engine_load(argv[1], (int)strtol(argv[2], NULL, 10), &io);
    int64_t loaded_ns = now_ns();
    engine_run();
    int64_t answer_ns = now_ns();
    show_answers(&io);
    printf("ready %.3f %.3f %.3f\n", (double)(loaded_ns - begin_ns) / 1e6,
           (double)(answer_ns - loaded_ns) / 1e6,
           (double)(answer_ns - started_ns) / 1e6);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin) && strncmp(line, "end", 3) != 0) {
        slice(strtod(line + strcspn(line, " "), NULL));
        fflush(stdout);
    }
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    printf("peak %ld\n", use.ru_maxrss);
    return 0;
}
