/* SPDX-License-Identifier: Apache-2.0 */
/* Assignments of units to versions per second of one core; or, with the directory of a
 * store, the version of each unit on standard input, one a line.
 * usage: route | route STORE MODEL ALIAS < units */
#include "deploy/deploy_split.h"
#include "validate/validate.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define N_UNITS 1000
#define ROUNDS 20000

/* Of this process: others may want the core, too. */
static int64_t
cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void
speed(const char *what, bool uuid, const int *weights)
{
    static char unit[N_UNITS][64];
    struct str s[N_UNITS];
    struct deploy_release rel = { .model = "fraud", .alias = "production" };
    struct deploy_split split AUTO(deploy_split_release);
    int64_t sum = 0, start_ns, took_ns;

    for (; weights[rel.n_members]; rel.n_members++)
        rel.members[rel.n_members].weight = weights[rel.n_members];
    deploy_split_init(&split, &rel);
    for (int i = 0; i < N_UNITS; i++) {
        snprintf(unit[i], sizeof(unit[i]), "C%07d", i);
        if (uuid)
            snprintf(unit[i], sizeof(unit[i]), "%08x-0000-4000-8000-%012x", i,
                     i * 7919);
        s[i] = str_of(unit[i]);
    }
    start_ns = cpu_ns();
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < N_UNITS; i++)
            sum += deploy_split_find(&split, s[i]);
    took_ns = cpu_ns() - start_ns;
    printf("%-40s %6.1f million/s (mean place %.2f)\n", what,
           1e3 * N_UNITS * ROUNDS / (double)took_ns,
           (double)sum / ((double)N_UNITS * ROUNDS));
}

static int
list(const char *store, const char *model, const char *alias)
{
    const struct db_schema schemas[] = { acc_schema, repo_schema, val_schema,
                                         deploy_schema };
    struct deploy_split split AUTO(deploy_split_release) = { .n = 0 };
    struct deploy_release rel;
    struct repo *r = NULL;
    struct err err = ERR_INIT;
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    int e = repo_open(&r, store, schemas, 4, &err);

    if (e == 0)
        e = deploy_live(r, model, alias, &rel, &err);
    if (e != 1) {
        fprintf(stderr, "route: %s\n", e < 0 ? err.msg : "nothing is live there");
        return 1;
    }
    deploy_split_init(&split, &rel);
    while ((n = getline(&line, &room, stdin)) > 0) {
        const struct str unit = { line, (size_t)n - (line[n - 1] == '\n') };

        printf("%" PRId64 "\n", rel.members[deploy_split_find(&split, unit)].number);
    }
    free(line);
    repo_close(r);
    return 0;
}

int
main(int argc, char **argv)
{
    if (argc == 4)
        return list(argv[1], argv[2], argv[3]);
    speed("2 versions, units of 8 bytes", false, (int[]){ 9000, 1000, 0 });
    speed("2 versions, units of 36 bytes (UUIDs)", true, (int[]){ 9000, 1000, 0 });
    speed("8 versions, units of 36 bytes (UUIDs)", true,
          (int[]){ 1250, 1250, 1250, 1250, 1250, 1250, 1250, 1250, 0 });
    return 0;
}
