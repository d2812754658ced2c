/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/canary_stat.h"

#include "tests/unit/unit.h"

#include <math.h>
#include <stdlib.h>

#define ALPHA 0.01

static uint64_t
next(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static double
uniform(uint64_t *state)
{
    return (double)(next(state) >> 11) / 9007199254740992.0;
}

static double
binomial(uint64_t *state, int n, double p)
{
    double k = 0;

    for (int i = 0; i < n; i++)
        k += uniform(state) < p;
    return k;
}

/* Requests of the canary until the breach; 0: none. `p` may depend on the batch. */
static double
errors_run(uint64_t *state, int n_batches, int n_s, int n_c, double (*p_s)(int batch),
           double (*p_c)(int batch), double margin)
{
    struct canary_seq s;
    double past_n = 0, past_k = 0;

    canary_seq_init(&s, 1, margin);
    for (int i = 0; i < n_batches; i++) {
        const double k_s = binomial(state, n_s, p_s(i));
        const double k_c = binomial(state, n_c, p_c(i));

        canary_seq_count(&s, (past_k + 0.5) / (past_n + 50), n_s, k_s, n_c, k_c);
        past_n += n_s;
        past_k += k_s;
        if (s.log_e >= log(1 / ALPHA))
            return (i + 1.0) * n_c;
    }
    return 0;
}

static double
one(int batch)
{
    (void)batch;
    return 0.01;
}

static double
three(int batch)
{
    (void)batch;
    return 0.03;
}

static double
late(int batch) /* good for long */
{
    return batch < 300 ? 0.01 : 0.04;
}

static double
waves(int batch) /* a bad hour, for all */
{
    return batch / 20 % 2 ? 0.2 : 0.005;
}

static int
alarms(int runs, int n_s, int n_c, double (*p_s)(int), double (*p_c)(int),
       double margin)
{
    uint64_t state = 1;
    int n = 0;

    for (int i = 0; i < runs; i++)
        n += errors_run(&state, 100, n_s, n_c, p_s, p_c, margin) > 0;
    return n;
}

TEST(test_canary_stat__alarms_falsely_less_often_than_stated)
{
    CHECK(alarms(400, 90, 10, one, one, 0) <= 8); /* 4 are stated, 2 are usual */
    CHECK(alarms(200, 30, 30, one, one, 0) <= 5);
    CHECK(alarms(200, 5, 50, one, one, 0) <= 5);
    CHECK(alarms(200, 90, 10, one, three, 0.02) <= 5); /* what is allowed */
    CHECK(alarms(200, 40, 40, waves, waves, 0) <= 5);
}

TEST(test_canary_stat__finds_what_is_worse)
{
    uint64_t state = 3;
    double sum = 0, n;

    for (int i = 0; i < 20; i++) {
        n = errors_run(&state, 1000, 90, 10, one, three, 0);
        CHECK(n > 0);
        sum += n;
    }
    CHECK(sum / 20 < 1500);
    CHECK(errors_run(&state, 1000, 90, 10, one, late, 0) > 3000);
    n = errors_run(&state, 1000, 90, 10, one, late, 0);
    CHECK(n > 3000 && n < 5000);
}

TEST(test_canary_stat__expects_no_gain_where_nothing_is_worse)
{
    uint64_t state = 5;
    double sum = 0;

    /* the mean of the wealth after some batches, over many runs */
    for (int i = 0; i < 4000; i++) {
        struct canary_seq s;

        canary_seq_init(&s, 1, 0);
        for (int k = 0; k < 5; k++)
            canary_seq_count(&s, 0.1, 30, binomial(&state, 30, 0.1), 10,
                             binomial(&state, 10, 0.1));
        sum += exp(s.log_e);
    }
    CHECK(sum / 4000 < 1.05);
}

TEST(test_canary_stat__one_side_alone_says_nothing)
{
    struct canary_seq s;

    canary_seq_init(&s, 1, 0);
    canary_seq_count(&s, 0.01, 0, 0, 10, 10);
    canary_seq_count(&s, 0.01, 100, 1, 0, 0);
    CHECK(s.log_e == 0);
    canary_seq_count(&s, 0, 1, 1, 1, 1); /* levels at the ends of what there is */
    canary_seq_count(&s, 1, 1, 0, 1, 0);
    canary_seq_count(&s, 1, 1e9, 1e9, 1, 1);
    CHECK(isfinite(s.log_e));
}

/* ---- times --------------------------------------------------------------------------
 */

static void
fill(uint64_t *state, const struct canary_scale *s, double *hist, int n, double times)
{
    memset(hist, 0, sizeof(hist[0]) * (size_t)(s->n + 1));
    for (int i = 0; i < n; i++) {
        const double u = uniform(state);

        hist[canary_scale_find(s, times * 0.01 * pow(1 - u, -1 / 3.0))]++;
    }
}

static double
latency_run(uint64_t *state, double quantile, double margin, double times, int batches)
{
    struct canary_scale s AUTO(canary_scale_release);
    struct canary_latency l AUTO(canary_latency_release);
    double *hist[2], found = 0;

    canary_scale_fine(&s);
    canary_latency_init(&l, &s, quantile, margin);
    for (int k = 0; k < 2; k++)
        hist[k] = xcalloc((size_t)s.n + 1, sizeof(double));
    for (int i = 0; i < batches && !(found > 0); i++) {
        fill(state, &s, hist[0], 180, 1);
        fill(state, &s, hist[1], 20, times);
        canary_latency_add(&l, &s, hist[0], hist[1]);
        if (l.seq.log_e >= log(1 / ALPHA))
            found = (i + 1.0) * 20;
    }
    free(hist[0]);
    free(hist[1]);
    return found;
}

TEST(test_canary_stat__latency_by_quantile_and_mean)
{
    uint64_t state = 11;
    int n = 0;

    for (int i = 0; i < 60; i++) {
        n += latency_run(&state, 0.99, 0, 1, 100) > 0;
        n += latency_run(&state, 0, 0, 1, 100) > 0;
        n += latency_run(&state, 0.9, 0.2, 1.2, 100) > 0; /* as slow as is allowed */
        n += latency_run(&state, 0, 0.2, 1.2, 100) > 0;
    }
    CHECK(n <= 6);
    CHECK(latency_run(&state, 0.99, 0, 1.5, 500) > 0);
    CHECK(latency_run(&state, 0.5, 0, 1.2, 500) > 0);
    CHECK(latency_run(&state, 0, 0, 1.2, 500) > 0);
    CHECK(latency_run(&state, 0.99, 0.2, 2, 500) > 0);
}

TEST(test_canary_stat__quantiles_of_buckets)
{
    double edge[] = { 1, 2, 4 };
    const struct canary_scale s = { .edge = edge, .n = 3 };
    const double none[4] = { 0 }, some[] = { 50, 40, 9, 1 };

    CHECK_INT(canary_scale_find(&s, 0), 0);
    CHECK_INT(canary_scale_find(&s, 1), 0);
    CHECK_INT(canary_scale_find(&s, 1.5), 1);
    CHECK_INT(canary_scale_find(&s, 99), 3);
    CHECK(isnan(canary_quantile(&s, none, 0.5)) && isnan(canary_mean(&s, none)));
    CHECK(canary_quantile(&s, some, 0.5) == 1);
    CHECK(canary_quantile(&s, some, 0.7) == 1.5);
    CHECK(canary_quantile(&s, some, 0.999) == 4);
    CHECK(canary_above(&s, some, 1) == 10);
    CHECK(canary_mean(&s, some) == (50 * 0.5 + 40 * 1.5 + 9 * 3 + 4) / 100);
}

/* ---- limits, drift ------------------------------------------------------------------
 */

TEST(test_canary_stat__limits_as_argo_counts_them)
{
    const struct canary_limits limits = { .failure = 1,
                                          .inconclusive = -1,
                                          .consecutive_error = 2 };
    struct canary_tally t = { .consecutive_errors = 0 };

    CHECK_INT(canary_tally_add(&t, &limits, CANARY_ERROR), CANARY_SUCCESSFUL);
    CHECK_INT(canary_tally_add(&t, &limits, CANARY_ERROR), CANARY_SUCCESSFUL);
    CHECK_INT(canary_tally_add(&t, &limits, CANARY_SUCCESSFUL), CANARY_SUCCESSFUL);
    CHECK_INT(canary_tally_add(&t, &limits, CANARY_FAILED), CANARY_SUCCESSFUL);
    for (int i = 0; i < 50; i++)
        CHECK_INT(canary_tally_add(&t, &limits, CANARY_INCONCLUSIVE),
                  CANARY_SUCCESSFUL);
    CHECK_INT(canary_tally_add(&t, &limits, CANARY_ERROR), CANARY_SUCCESSFUL);
    CHECK_INT(canary_tally_add(&t, &limits, CANARY_ERROR), CANARY_SUCCESSFUL);
    CHECK_INT(canary_tally_add(&t, &limits, CANARY_ERROR), CANARY_ERROR);
    CHECK_INT(canary_tally_add(&t, &limits, CANARY_FAILED), CANARY_FAILED);
}

TEST(test_canary_stat__drift)
{
    struct canary_scores *s = xcalloc(3, sizeof(*s));
    struct canary_drift d;
    uint64_t state = 13;

    CHECK(!canary_drift(&s[0], &s[1], &d));
    for (int i = 0; i < 20000; i++) { /* more than are kept */
        canary_scores_add(&s[0], uniform(&state));
        canary_scores_add(&s[1], uniform(&state));
        canary_scores_add(&s[2], uniform(&state) * 0.5);
    }
    CHECK_INT(s[0].n, CANARY_SCORES);
    CHECK(canary_drift(&s[0], &s[1], &d));
    CHECK(d.psi < 0.02 && d.ks < 0.04 && d.p > 0.001);
    CHECK(canary_drift(&s[0], &s[2], &d));
    CHECK(d.psi > 1 && fabs(d.ks - 0.5) < 0.05 && d.p < 1e-9);
    /* all the same value */
    memset(s, 0, 3 * sizeof(*s));
    for (int i = 0; i < 100; i++) {
        canary_scores_add(&s[0], 1);
        canary_scores_add(&s[1], 1);
    }
    CHECK(canary_drift(&s[0], &s[1], &d));
    CHECK(d.ks == 0 && fabs(d.psi) < 1e-9 && d.p == 1);
    free(s);
}
