/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/canary_stat.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the test -----------------------------------------------------------------------
 */

/* What the bets say of the canary: so many times what is allowed, or so much more. */
static const struct {
    double times, plus;
} bets[CANARY_BETS] = {
    { 1.2, 0 },  { 1.5, 0 },  { 2.5, 0 }, { 6, 0 },   { 1, 0.003 },
    { 1, 0.01 }, { 1, 0.03 }, { 1, 0.1 }, { 1, 0.4 },
};
/* Of a share of wealth, n / (n + seen + this) is spread when n values came. */
#define SPREAD_AFTER 300.0
#define LEVEL_MIN 1e-7
#define HALVINGS 50

void
canary_seq_init(struct canary_seq *s, double slope, double margin)
{
    *s = (struct canary_seq){ .slope = slope, .margin = margin };
    for (int i = 0; i <= CANARY_BETS; i++)
        s->log_wealth[i] = -log(CANARY_BETS + 1);
}

static double
clamp(double v, double low, double high)
{
    return v < low ? low : v > high ? high : v;
}

/* The border's nearest point to (s1, c1), by its s. Between s1 and where c is c1. */
static double
nearest(const struct canary_seq *q, double s1, double c1, double n_s, double n_c)
{
    double low = s1, high = fmin((c1 - q->margin) / q->slope, 1 - LEVEL_MIN);

    for (int i = 0; i < HALVINGS; i++) {
        const double s0 = (low + high) / 2;
        const double c0 = q->slope * s0 + q->margin;

        if (n_s * (s0 - s1) / (s0 * (1 - s0)) <
            q->slope * n_c * (c1 - c0) / (c0 * (1 - c0)))
            low = s0;
        else
            high = s0;
    }
    return (low + high) / 2;
}

static double
log_product(const struct canary_part *part, int n, double g, double x0)
{
    double sum = 0;

    for (int i = 0; i < n; i++)
        if (part[i].n > 0)
            sum += part[i].n * log1p(g * (part[i].x - x0));
    return sum;
}

static double
count_parts(const struct canary_part *part, int n)
{
    double sum = 0;

    for (int i = 0; i < n; i++)
        sum += part[i].n;
    return sum;
}

/* Wealth that is spread stays wealth: this changes no expectation. */
static void
spread(struct canary_seq *s, double n)
{
    const double part = n / (n + s->n_canary + SPREAD_AFTER);
    double most = s->log_wealth[0], sum = 0, each;

    for (int i = 1; i <= CANARY_BETS; i++)
        most = fmax(most, s->log_wealth[i]);
    for (int i = 0; i <= CANARY_BETS; i++)
        sum += exp(s->log_wealth[i] - most);
    s->log_e = most + log(sum);
    s->log_e_max = fmax(s->log_e_max, s->log_e);
    each = part * sum / (CANARY_BETS + 1);
    for (int i = 0; i <= CANARY_BETS; i++)
        s->log_wealth[i] = most + log((1 - part) * exp(s->log_wealth[i] - most) + each);
}

void
canary_seq_add(struct canary_seq *s, double level, const struct canary_part *stable,
               int n_stable, const struct canary_part *canary, int n_canary)
{
    const double n_s = count_parts(stable, n_stable);
    const double n_c = count_parts(canary, n_canary);
    const double s1 = clamp(level, LEVEL_MIN, 0.9);

    if (!(n_s > 0) || !(n_c > 0))
        return;
    for (int i = 0; i < CANARY_BETS; i++) {
        const double allowed = s->slope * s1 + s->margin;
        /* with odds, so that it stays below 1 */
        const double odds = bets[i].times * allowed / (1 - clamp(allowed, 0, 0.99));
        const double c1 = clamp(odds / (1 + odds) + bets[i].plus, 0, 0.99);
        double s0, c0, gc, gs;

        if (c1 <= allowed)
            continue;
        s0 = nearest(s, s1, c1, n_s, n_c);
        c0 = s->slope * s0 + s->margin;
        if (!(c0 > 0 && c0 < 1))
            continue;
        gc = (c1 - c0) / (c0 * (1 - c0));
        gs = -s->slope * gc * n_c / n_s;
        /* no factor may be zero or less; at the nearest point none is */
        if (gc <= 0 || 1 - gc * c0 < 1e-9 || 1 + gs * (1 - s0) < 1e-9)
            continue;
        s->log_wealth[i] += log_product(stable, n_stable, gs, s0) +
                            log_product(canary, n_canary, gc, c0);
    }
    spread(s, n_c);
    s->n_canary += n_c;
}

void
canary_seq_count(struct canary_seq *s, double level, double n_stable, double k_stable,
                 double n_canary, double k_canary)
{
    const struct canary_part stable[] = { { 0, n_stable - k_stable }, { 1, k_stable } };
    const struct canary_part canary[] = { { 0, n_canary - k_canary }, { 1, k_canary } };

    canary_seq_add(s, level, stable, 2, canary, 2);
}

/* ---- times --------------------------------------------------------------------------
 */

#define FINE_FIRST_S 1e-5
#define FINE_LAST_S 1e4
#define FINE_STEP 1.02

void
canary_scale_fine(struct canary_scale *out)
{
    out->n = (int)ceil(log(FINE_LAST_S / FINE_FIRST_S) / log(FINE_STEP));
    out->edge = xreallocarray(NULL, (size_t)out->n, sizeof(out->edge[0]));
    for (int i = 0; i < out->n; i++)
        out->edge[i] = FINE_FIRST_S * pow(FINE_STEP, i);
}

void
canary_scale_release(struct canary_scale *s)
{
    free(s->edge);
    *s = (struct canary_scale){ .edge = NULL };
}

/* The first edge that is not below `seconds`; n: none. */
int
canary_scale_find(const struct canary_scale *s, double seconds)
{
    int low = 0, high = s->n;

    while (low < high) {
        const int mid = (low + high) / 2;

        if (s->edge[mid] < seconds)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static double
total(const struct canary_scale *s, const double *count)
{
    double n = 0;

    for (int i = 0; i <= s->n; i++)
        n += count[i];
    return n;
}

double
canary_above(const struct canary_scale *s, const double *count, int i)
{
    double n = 0;

    while (++i <= s->n)
        n += count[i];
    return n;
}

double
canary_quantile(const struct canary_scale *s, const double *count, double q)
{
    const double n = total(s, count);
    double below = 0;

    if (!(n > 0) || s->n == 0)
        return NAN;
    for (int i = 0; i < s->n; i++) {
        const double from = i > 0 ? s->edge[i - 1] : 0;

        if (below + count[i] >= q * n && count[i] > 0)
            return from + (s->edge[i] - from) * (q * n - below) / count[i];
        below += count[i];
    }
    return s->edge[s->n - 1];
}

/* A bucket's values, taken for its middle. */
static double
middle(const struct canary_scale *s, int i)
{
    if (i >= s->n)
        return s->edge[s->n - 1];
    return ((i > 0 ? s->edge[i - 1] : 0) + s->edge[i]) / 2;
}

double
canary_mean(const struct canary_scale *s, const double *count)
{
    const double n = total(s, count);
    double sum = 0;

    for (int i = 0; i <= s->n && s->n > 0; i++)
        sum += count[i] * middle(s, i);
    return n > 0 && s->n > 0 ? sum / n : NAN;
}

/* ---- latency ------------------------------------------------------------------------
 */

#define PAST_MAX 100000.0

void
canary_latency_init(struct canary_latency *l, const struct canary_scale *s,
                    double quantile, double margin)
{
    *l = (struct canary_latency){ .quantile = quantile, .margin = margin };
    l->past = xcalloc((size_t)s->n + 1, sizeof(l->past[0]));
    canary_seq_init(&l->seq, quantile > 0 ? 1 : 1 + margin, 0);
}

void
canary_latency_release(struct canary_latency *l)
{
    free(l->past);
    l->past = NULL;
}

/* Edges whose share above them is known well enough from what came before. */
static void
add_quantile(struct canary_latency *l, const struct canary_scale *s,
             const double *stable, const double *canary)
{
    const double n_s = total(s, stable), n_c = total(s, canary);
    double above = l->n_past;
    int i = 0, k;

    for (; i < s->n - 1; i++) {
        above -= l->past[i];
        if (above <= (1 - l->quantile) * l->n_past)
            break;
    }
    /* coarse buckets: rather the edge below than one that hardly anything is above */
    if (i > 0 && above < (1 - l->quantile) * l->n_past / 4)
        above += l->past[i--];
    k = canary_scale_find(s, s->edge[i] * (1 + l->margin) * (1 - 1e-12));
    if (k >= s->n)
        return;
    canary_seq_count(&l->seq, (above + 0.5) / (l->n_past + 1), n_s,
                     canary_above(s, stable, i), n_c, canary_above(s, canary, k));
}

static int
mean_parts(const struct canary_scale *s, const double *count, double cut,
           struct canary_part *out)
{
    int n = 0;

    for (int i = 0; i <= s->n; i++)
        if (count[i] > 0)
            out[n++] = (struct canary_part){ fmin(middle(s, i), cut) / cut, count[i] };
    return n;
}

static void
add_mean(struct canary_latency *l, const struct canary_scale *s, const double *stable,
         const double *canary)
{
    const double cut = 2 * canary_quantile(s, l->past, 0.999);
    struct canary_part *part AUTO(free_ptr) = NULL;
    double level = 0;
    int n_past, n_s, n_c;

    if (!(cut > 0))
        return;
    part = xreallocarray(NULL, 2 * ((size_t)s->n + 1), sizeof(part[0]));
    n_past = mean_parts(s, l->past, cut, part);
    for (int i = 0; i < n_past; i++)
        level += part[i].x * part[i].n / l->n_past;
    n_s = mean_parts(s, stable, cut, part);
    n_c = mean_parts(s, canary, cut, part + n_s);
    canary_seq_add(&l->seq, level, part, n_s, part + n_s, n_c);
}

void
canary_latency_add(struct canary_latency *l, const struct canary_scale *s,
                   const double *stable, const double *canary)
{
    const double q = l->quantile > 0 ? l->quantile : 0.9;

    if (l->n_past * (1 - q) >= 2) {
        if (l->quantile > 0)
            add_quantile(l, s, stable, canary);
        else
            add_mean(l, s, stable, canary);
    }
    for (int i = 0; i <= s->n; i++)
        l->past[i] += stable[i];
    l->n_past += total(s, stable);
    if (l->n_past > PAST_MAX) {
        for (int i = 0; i <= s->n; i++)
            l->past[i] /= 2;
        l->n_past /= 2;
    }
}

/* ---- limits -------------------------------------------------------------------------
 */

static bool
passed(int n, int limit)
{
    return limit >= 0 && n > limit;
}

enum canary_measured
canary_tally_add(struct canary_tally *t, const struct canary_limits *limits,
                 enum canary_measured m)
{
    t->n[m]++;
    t->consecutive_errors = m == CANARY_ERROR ? t->consecutive_errors + 1 : 0;
    if (passed(t->n[CANARY_FAILED], limits->failure))
        return CANARY_FAILED;
    if (passed(t->consecutive_errors, limits->consecutive_error))
        return CANARY_ERROR;
    if (passed(t->n[CANARY_INCONCLUSIVE], limits->inconclusive))
        return CANARY_INCONCLUSIVE;
    return CANARY_SUCCESSFUL;
}

/* ---- drift --------------------------------------------------------------------------
 */

#define DRIFT_MIN 50
enum { DECILES = 10 };

static uint64_t
next_random(uint64_t *state) /* splitmix64 */
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void
canary_scores_add(struct canary_scores *s, double v)
{
    uint64_t at;

    s->seen++;
    if (s->n < CANARY_SCORES) {
        s->v[s->n++] = v;
        return;
    }
    at = next_random(&s->random) % (uint64_t)s->seen;
    if (at < CANARY_SCORES)
        s->v[at] = v;
}

static int
by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double
psi(const struct canary_scores *s, const struct canary_scores *c)
{
    double sum = 0;
    int i = 0, k = 0;

    for (int d = 1; d <= DECILES; d++) {
        const double edge = s->v[(int64_t)s->n * d / DECILES - 1];
        const int from_i = i, from_k = k;
        double a, b;

        while (i < s->n && (d == DECILES || s->v[i] <= edge))
            i++;
        while (k < c->n && (d == DECILES || c->v[k] <= edge))
            k++;
        /* half a value more in each, so that an empty one has a logarithm */
        a = (i - from_i + 0.5) / (s->n + 0.5 * DECILES);
        b = (k - from_k + 0.5) / (c->n + 0.5 * DECILES);
        sum += (b - a) * log(b / a);
    }
    return sum;
}

static double
ks_distance(const struct canary_scores *s, const struct canary_scores *c)
{
    double most = 0;

    for (int i = 0, k = 0; i < s->n && k < c->n;) {
        const double v = fmin(s->v[i], c->v[k]);

        while (i < s->n && s->v[i] <= v)
            i++;
        while (k < c->n && c->v[k] <= v)
            k++;
        most = fmax(most, fabs((double)i / s->n - (double)k / c->n));
    }
    return most;
}

/* Kolmogorov's distribution, with Stephens' correction for few values. */
static double
ks_chance(double distance, double n, double m)
{
    const double root = sqrt(n * m / (n + m));
    const double x = (root + 0.12 + 0.11 / root) * distance;
    double sum = 0;

    if (x < 0.2)
        return 1;
    for (int j = 1; j <= 100; j++)
        sum += (j % 2 ? 2 : -2) * exp(-2.0 * j * j * x * x);
    return clamp(sum, 0, 1);
}

bool
canary_drift(struct canary_scores *stable, struct canary_scores *canary,
             struct canary_drift *out)
{
    if (stable->n < DRIFT_MIN || canary->n < DRIFT_MIN)
        return false;
    qsort(stable->v, (size_t)stable->n, sizeof(double), by_value);
    qsort(canary->v, (size_t)canary->n, sizeof(double), by_value);
    out->psi = psi(stable, canary);
    out->ks = ks_distance(stable, canary);
    out->p = ks_chance(out->ks, stable->n, canary->n);
    return true;
}
