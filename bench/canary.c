/* SPDX-License-Identifier: Apache-2.0 */
/* How soon deploy/canary_stat.h finds a canary that is worse, and how often it finds
 * one that is not: simulated requests, looked at each time the canary had some more.
 * usage: canary [RUNS [NULL_RUNS]] */
#include "deploy/canary_stat.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALPHA 0.01
#define LOOK 20       /* requests of the canary from one look to the next */
#define N_WORSE 40000 /* of a run in which it is worse */
#define N_SAME 10000
#define TABLE 65536

static uint64_t state = 7;

static uint64_t
draw(void) /* splitmix64 */
{
    uint64_t z = (state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* ---- what requests are like ---------------------------------------------------------
 */

/* Inverse of the normal distribution, by halving. */
static double
normal_at(double p)
{
    double low = -10, high = 10;

    for (int i = 0; i < 60; i++) {
        const double mid = (low + high) / 2;

        if (erfc(-mid / sqrt(2)) / 2 < p)
            low = mid;
        else
            high = mid;
    }
    return (low + high) / 2;
}

static double
lognormal(double p)
{
    return 0.02 * exp(0.5 * normal_at(p));
}

static double
pareto(double p)
{
    return 0.01 * pow(1 - p, -1 / 2.5);
}

struct load {
    const char *name;
    double (*at)(double p); /* seconds of quantile p */
    double scale;           /* all requests take so many times that */
    double tail;            /* what is above the 95 % quantile is so many times as far
                             * above it */
    double errors;
};

static void
fill(const struct load *l, const struct canary_scale *s, uint16_t table[TABLE])
{
    const double q95 = l->at(0.95);

    for (int i = 0; i < TABLE; i++) {
        double v = l->at((i + 0.5) / TABLE);

        if (v > q95)
            v = q95 + (v - q95) * l->tail;
        table[i] = (uint16_t)canary_scale_find(s, v * l->scale);
    }
}

/* ---- one run ------------------------------------------------------------------------
 */

struct run {
    double at; /* requests of the canary until the breach; 0: none */
    bool breached;
};

static void
requests(double *hist, double *errors, int n_buckets, int n, const uint16_t *table,
         double p_error)
{
    const uint64_t limit = (uint64_t)(p_error * 4294967296.0);

    memset(hist, 0, (size_t)n_buckets * sizeof(hist[0]));
    *errors = 0;
    for (int i = 0; i < n; i++) {
        const uint64_t r = draw();

        hist[table[r & (TABLE - 1)]]++;
        *errors += (r >> 32) < limit;
    }
}

static struct run
simulate(const struct canary_scale *s, const uint16_t *stable, const uint16_t *canary,
         double e_stable, double e_canary, double share, bool by_errors,
         double quantile, double margin, int n_canary)
{
    struct canary_latency l AUTO(canary_latency_release);
    struct canary_seq seq;
    double hist[2][2048], errors[2], past = 0, past_errors = 0, stable_due = 0;
    struct run out = { .breached = false };

    canary_latency_init(&l, s, quantile, margin);
    canary_seq_init(&seq, 1, margin);
    for (int n = LOOK; n <= n_canary && !out.breached; n += LOOK) {
        int n_stable;

        stable_due += LOOK * (1 - share) / share;
        n_stable = (int)stable_due;
        stable_due -= n_stable;
        requests(hist[0], &errors[0], s->n + 1, n_stable, stable, e_stable);
        requests(hist[1], &errors[1], s->n + 1, LOOK, canary, e_canary);
        if (by_errors) {
            canary_seq_count(&seq, (past_errors + 0.5) / (past + 50), n_stable,
                             errors[0], LOOK, errors[1]);
            past += n_stable;
            past_errors += errors[0];
        } else {
            canary_latency_add(&l, s, hist[0], hist[1]);
        }
        out.breached = (by_errors ? seq.log_e : l.seq.log_e) >= log(1 / ALPHA);
        out.at = n;
    }
    return out;
}

static int
by_number(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void
measure(const char *what, const struct load *stable, const struct load *canary,
        double share, int n_runs, bool by_errors, double quantile, double margin,
        int n_canary)
{
    struct canary_scale s AUTO(canary_scale_release) = { .edge = NULL };
    static uint16_t table[2][TABLE];
    double *at AUTO(free_ptr) = xcalloc((size_t)n_runs, sizeof(at[0]));
    int n = 0;

    canary_scale_fine(&s);
    fill(stable, &s, table[0]);
    fill(canary, &s, table[1]);
    for (int i = 0; i < n_runs; i++) {
        struct run r = simulate(&s, table[0], table[1], stable->errors, canary->errors,
                                share, by_errors, quantile, margin, n_canary);

        if (r.breached)
            n++;
        at[i] = r.breached ? r.at : INFINITY;
    }
    qsort(at, (size_t)n_runs, sizeof(at[0]), by_number);
    printf("%-34s %-26s share %3.0f %%: found %4d of %4d", what, canary->name,
           share * 100, n, n_runs);
    if (n * 2 > n_runs)
        printf(", median %5.0f, p95 %5.0f requests", at[n_runs / 2],
               at[(int)(n_runs * 0.95)]);
    printf("\n");
    fflush(stdout);
}

int
main(int argc, char **argv)
{
    const int n_runs = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 200;
    const int n_null = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 2000;
    static const double shares[] = { 0.01, 0.1, 0.5 };
    static const struct load log_same = { "lognormal", lognormal, 1, 1, 0.01 };
    static const struct load log_slow = { "lognormal, all +20 %", lognormal, 1.2, 1,
                                          0.02 };
    static const struct load par_same = { "Pareto 2.5", pareto, 1, 1, 0.001 };
    static const struct load par_slow = { "Pareto 2.5, all +20 %", pareto, 1.2, 1,
                                          0.011 };
    struct load log_tail = { "lognormal, tail, p99 +20 %", lognormal, 1, 1, 0.01 };
    struct load par_tail = { "Pareto, tail, p99 +20 %", pareto, 1, 1, 0.01 };

    log_tail.tail =
        (1.2 * lognormal(0.99) - lognormal(0.95)) / (lognormal(0.99) - lognormal(0.95));
    par_tail.tail = (1.2 * pareto(0.99) - pareto(0.95)) / (pareto(0.99) - pareto(0.95));
    for (size_t i = 0; i < 3; i++) {
        const double w = shares[i];

        measure("p99_ms<=+0%", &log_same, &log_slow, w, n_runs, false, 0.99, 0,
                N_WORSE);
        measure("p99_ms<=+0%", &log_same, &log_tail, w, n_runs, false, 0.99, 0,
                N_WORSE);
        measure("p99_ms<=+0%", &par_same, &par_slow, w, n_runs, false, 0.99, 0,
                N_WORSE);
        measure("p99_ms<=+0%", &par_same, &par_tail, w, n_runs, false, 0.99, 0,
                N_WORSE);
        measure("p50_ms<=+0%", &log_same, &log_slow, w, n_runs, false, 0.5, 0, N_WORSE);
        measure("mean_ms<=+0%", &log_same, &log_slow, w, n_runs, false, 0, 0, N_WORSE);
        measure("p99_ms<=+5%", &log_same, &log_slow, w, n_runs, false, 0.99, 0.05,
                N_WORSE);
        measure("errors<=+0.1%, 1 % to 2 %", &log_same, &log_slow, w, n_runs, true, 0,
                0.001, N_WORSE);
        measure("errors<=+0%, 1 % to 2 %", &log_same, &log_slow, w, n_runs, true, 0, 0,
                N_WORSE);
        measure("errors<=+0%, 0.1 % to 1.1 %", &par_same, &par_slow, w, n_runs, true, 0,
                0, N_WORSE);
    }
    for (size_t i = 0; i < 3; i++) {
        const double w = shares[i];

        measure("no change: p99_ms<=+0%", &log_same, &log_same, w, n_null, false, 0.99,
                0, N_SAME);
        measure("no change: p99_ms<=+0%", &par_same, &par_same, w, n_null, false, 0.99,
                0, N_SAME);
        measure("no change: mean_ms<=+0%", &log_same, &log_same, w, n_null, false, 0, 0,
                N_SAME);
        measure("no change: errors<=+0%", &log_same, &log_same, w, n_null, true, 0, 0,
                N_SAME);
        measure("as allowed: errors<=+1%", &log_same, &log_slow, w, n_null, true, 0,
                0.01, N_SAME);
        measure("as allowed: p99_ms<=+20%", &log_same, &log_slow, w, n_null, false,
                0.99, 0.2, N_SAME);
    }
    return 0;
}
