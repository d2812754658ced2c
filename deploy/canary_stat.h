/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a canary is worse than the stable version, asked as often as one likes.
 *
 * The test is a wealth that starts at 1 and that, as long as the canary is not worse
 * than allowed, nobody can expect to grow: the chance that it ever reaches 1/alpha is
 * at most alpha, over the whole run and however often it is looked at (Ville's
 * inequality). Each batch multiplies it by an e-value (Turner and Gruenwald, "Exact
 * anytime-valid confidence intervals for contingency tables and beyond", and Turner,
 * Ly, Gruenwald, "Generic E-variables for exact sequential k-sample tests"):
 *
 *     allowed:  c <= slope * s + margin      c, s: means of values in [0, 1]
 *     a bet:    c = c1, s = s1, chosen before the batch is seen
 *     (s0, c0): on the border of what is allowed, nearest to (s1, c1) by
 *               n_s KL(s1, s0) + n_c KL(c1, c0)
 *     gc      = (c1 - c0) / (c0 (1 - c0)),  gs = -slope gc n_c / n_s
 *     e-value = product over stable values x of 1 + gs (x - s0)
 *             * product over canary values x of 1 + gc (x - c0)
 *
 * For values 0 and 1 that is the ratio of likelihoods. Its expectation is at most 1
 * when the means of the batch are allowed ones, because ln(1 + y) <= y and (gs n_s,
 * gc n_c) is normal to the border; the level may change from batch to batch (a busy
 * hour) as long as it does so for both. Values within a batch must not depend on each
 * other: one client that sends half of all requests can raise an alarm by itself.
 *
 * Several bets run side by side with shares of the wealth, beside cash that bets
 * nothing; after each batch a part of every share is spread over all of them ("fixed
 * share", Herbster and Warmuth), so that a canary that turns bad late is found, too. */
#ifndef DEPLOY_CANARY_STAT_H
#define DEPLOY_CANARY_STAT_H

#include "base/buf.h"

enum { CANARY_BETS = 9 };

/* So many values of one size, in [0, 1]. */
struct canary_part {
    double x, n;
};

struct canary_seq {
    double slope, margin;
    double log_wealth[CANARY_BETS + 1]; /* [CANARY_BETS]: cash */
    double log_e;                       /* of all together */
    double log_e_max;                   /* the highest it ever was */
    double n_canary;                    /* values so far */
};
void canary_seq_init(struct canary_seq *s, double slope, double margin);
/* One batch; `level` is what the stable version's mean was expected to be before it.
 * Does nothing while one of both has no value. */
void canary_seq_add(struct canary_seq *s, double level,
                    const struct canary_part *stable, int n_stable,
                    const struct canary_part *canary, int n_canary);
/* The same for values 0 and 1: so many, of which so many are 1. */
void canary_seq_count(struct canary_seq *s, double level, double n_stable,
                      double k_stable, double n_canary, double k_canary);

/* ---- times of requests, counted in buckets ---- */

/* Upper bounds in seconds, ascending; what is above the last has a bucket of its own,
 * so there are n + 1 counts. */
struct canary_scale {
    double *edge;
    int n;
};
/* Steps of 2 % from 10 us to 3 hours. */
void canary_scale_fine(struct canary_scale *out);
void canary_scale_release(struct canary_scale *s); /* for AUTO */
int canary_scale_find(const struct canary_scale *s, double seconds);
/* NaN: no values. What lies above the last edge counts as that edge. */
double canary_quantile(const struct canary_scale *s, const double *count, double q);
double canary_mean(const struct canary_scale *s, const double *count);
/* How many are above edge i. */
double canary_above(const struct canary_scale *s, const double *count, int i);

/* Is a quantile of the canary higher than (1 + margin) times the stable version's? The
 * threshold of a batch is the quantile of what the stable version took before it; a
 * request above it (for the canary: above the next edge from (1 + margin) times it on)
 * is one that counts. With quantile 0 the means are compared, cut at twice the stable
 * version's 99.9 % quantile. */
struct canary_latency {
    struct canary_seq seq;
    double quantile, margin;
    double *past; /* the stable version's, forgetting slowly */
    double n_past;
};
void canary_latency_init(struct canary_latency *l, const struct canary_scale *s,
                         double quantile, double margin);
void canary_latency_release(struct canary_latency *l); /* for AUTO */
void canary_latency_add(struct canary_latency *l, const struct canary_scale *s,
                        const double *stable, const double *canary);

/* ---- limits on measurements, as Argo Rollouts names them ---- */

enum canary_measured {
    CANARY_SUCCESSFUL,
    CANARY_FAILED,
    CANARY_INCONCLUSIVE, /* too little to say */
    CANARY_ERROR         /* not measured: the source did not answer */
};
struct canary_limits { /* as many are borne; -1: any number */
    int failure;
    int inconclusive;
    int consecutive_error;
};
struct canary_tally {
    int n[CANARY_ERROR + 1];
    int consecutive_errors;
};
/* What the run is after this measurement: CANARY_SUCCESSFUL: it goes on. */
enum canary_measured canary_tally_add(struct canary_tally *t,
                                      const struct canary_limits *limits,
                                      enum canary_measured m);

/* ---- drift of scores: tells, never decides ---- */

enum { CANARY_SCORES = 8192 };
struct canary_scores { /* an even sample of all that came */
    double v[CANARY_SCORES];
    int n;
    double seen;
    uint64_t random;
};
void canary_scores_add(struct canary_scores *s, double v);
struct canary_drift {
    double psi; /* population stability index over the stable version's deciles */
    double ks;  /* two-sample Kolmogorov-Smirnov: the greatest distance … */
    double p;   /* … and how often chance alone makes one as great */
};
/* false: too few (50 of each). Sorts both samples. */
bool canary_drift(struct canary_scores *stable, struct canary_scores *canary,
                  struct canary_drift *out);

#endif
