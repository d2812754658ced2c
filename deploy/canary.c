/* SPDX-License-Identifier: Apache-2.0 */
/* One analysis: a source, metrics, and what they say of each canary.
 *
 * What comes is put into the tests as soon as both versions of a pair had something;
 * limits are measured at each interval, on what came in it. */
#include "deploy/canary_int.h"

#include "base/clock.h"

#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MEASURED_MIN = 20 /* requests of a measurement */ };
#define SECOND_NS INT64_C(1000000000)
#define LOG_LOOK_NS                                                                    \
    (SECOND_NS / 10) /* a log whose file system tells nobody of writes */

/* ---- opening ------------------------------------------------------------------------
 */

static const char *const default_metrics[] = { "errors<=+0.1%", "p99_ms<=+5%" };

static int
add_metric(struct canary *c, const char *text, struct err *err)
{
    struct canary_metric *m = &c->metric[c->n_metrics];

    if (c->n_metrics == CANARY_METRICS_MAX)
        return err_set(err, ERR_LIMIT, "more than %d metrics", CANARY_METRICS_MAX);
    if (canary_metric_parse(text, m, err) < 0)
        return -(int)err->code;
    if (m->kind == CANARY_QUERY && !c->source.ops->ask)
        return err_set(err, ERR_USAGE,
                       "metric '%s': %s: cannot be asked for it; it knows errors, "
                       "server_errors, pNN_ms, mean_ms, over_NNms",
                       text, c->source.ops->scheme);
    if (c->source.lacks[m->kind])
        return err_set(err, ERR_USAGE,
                       "metric '%s': no --query tells it: errors=…, server_errors=…, "
                       "latency=… (or latency_ms, latency_us)",
                       text);
    c->n_metrics++;
    c->n_tests += m->relative;
    return 0;
}

static int
read_metrics(struct canary *c, const cJSON *options, struct err *err)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(options, "metrics"), *m;

    cJSON_ArrayForEach(m, list)
    {
        if (!cJSON_IsString(m))
            return err_set(err, ERR_INVALID, "a metric is no string");
        if (add_metric(c, m->valuestring, err) < 0)
            return -(int)err->code;
    }
    for (size_t i = 0; i < 2 && !list; i++)
        if (add_metric(c, default_metrics[i], err) < 0)
            return -(int)err->code;
    return 0;
}

static int
read_options(struct canary *c, const cJSON *o, struct err *err)
{
    double interval, failure, inconclusive, errors;

    if (json_num(o, "alpha", 0.01, &c->alpha, "options", err) < 0 ||
        json_num(o, "interval_ns", 10e9, &interval, "options", err) < 0 ||
        json_num(o, "min_requests", 100, &c->min_requests, "options", err) < 0 ||
        json_num(o, "failure_limit", 0, &failure, "options", err) < 0 ||
        json_num(o, "inconclusive_limit", -1, &inconclusive, "options", err) < 0 ||
        json_num(o, "consecutive_errors", 4, &errors, "options", err) < 0)
        return -(int)err->code;
    if (!(c->alpha > 0 && c->alpha < 0.5))
        return err_set(err, ERR_USAGE,
                       "alpha %g: the chance of a false alarm is above 0 and below 0.5",
                       c->alpha);
    if (!(interval >= 0 && interval <= 86400e9) || !(c->min_requests >= 0) ||
        !(fabs(failure) <= 1e6 && fabs(inconclusive) <= 1e6 && fabs(errors) <= 1e6))
        return err_set(err, ERR_USAGE,
                       "an interval is at most a day, a limit a number "
                       "of measurements (-1: any)");
    c->interval_ns = (int64_t)interval;
    if (c->interval_ns < SECOND_NS / 10)
        c->interval_ns = SECOND_NS / 10;
    c->limits = (struct canary_limits){ .failure = (int)failure,
                                        .inconclusive = (int)inconclusive,
                                        .consecutive_error = (int)errors };
    return 0;
}

int
canary_open(struct canary **out, const struct deploy_release *rel, const cJSON *options,
            struct err *err)
{
    struct canary *c AUTO(canary_close_p) = xcalloc(1, sizeof(*c));
    const char *spec;

    c->source.fd = -1;
    if (json_str(options, "source", NULL, &spec, "options", err) < 0)
        return -(int)err->code;
    if (canary_source_open(&c->source, spec, rel, options, err) < 0 ||
        read_options(c, options, err) < 0 || read_metrics(c, options, err) < 0)
        return -(int)err->code;
    c->next_ns = clock_now_ns();
    c->came = xcalloc((size_t)rel->n_members, sizeof(c->came[0]));
    c->pair = xcalloc((size_t)rel->n_members, sizeof(c->pair[0]));
    for (int i = 0; i < rel->n_members; i++) {
        struct canary_pair *p = &c->pair[i];

        canary_traffic_init(&c->came[i]);
        canary_traffic_init(&p->window);
        for (int k = 0; k < 2; k++) {
            canary_traffic_init(&p->pending[k]);
            canary_traffic_init(&p->total[k]);
        }
        for (int k = 0; k < c->n_metrics; k++) {
            canary_seq_init(&p->check[k].seq, 1, c->metric[k].bound);
            p->check[k].value = p->check[k].measured = NAN;
        }
    }
    *out = c;
    c = NULL;
    return 0;
}

void
canary_close(struct canary *c)
{
    if (!c)
        return;
    for (int i = 0; c->pair && i < c->source.rel.n_members; i++) {
        struct canary_pair *p = &c->pair[i];

        canary_traffic_release(&c->came[i]);
        canary_traffic_release(&p->window);
        for (int k = 0; k < 2; k++) {
            canary_traffic_release(&p->pending[k]);
            canary_traffic_release(&p->total[k]);
        }
        for (int k = 0; k < c->n_metrics; k++)
            canary_latency_release(&p->check[k].latency);
    }
    free(c->came);
    free(c->pair);
    canary_source_close(&c->source);
    buf_release(&c->why);
    free(c);
}

void
canary_close_p(struct canary **c)
{
    canary_close(*c);
    *c = NULL;
}

void
canary_rebase(struct canary *c, const struct deploy_release *rel)
{
    c->source.rel = *rel;
    for (int i = 1; i < rel->n_members; i++)
        c->pair[i].n_at_rebase = c->pair[i].total[1].n;
}

/* ---- numbers ------------------------------------------------------------------------
 */

static double
count_of(const struct canary *c, const struct canary_metric *m,
         const struct canary_traffic *t)
{
    if (m->kind == CANARY_ERRORS)
        return t->errors;
    if (m->kind == CANARY_SERVER_ERRORS)
        return t->server_errors;
    return canary_above(&c->source.scale, t->hist,
                        canary_scale_find(&c->source.scale, m->over_s));
}

double
canary_value(const struct canary *c, const struct canary_metric *m,
             const struct canary_traffic *t)
{
    if (!(t->n > 0) || (m->kind >= CANARY_QUANTILE && !c->has_scale))
        return NAN;
    if (m->kind == CANARY_QUANTILE)
        return canary_quantile(&c->source.scale, t->hist, m->quantile);
    if (m->kind == CANARY_MEAN)
        return canary_mean(&c->source.scale, t->hist);
    return count_of(c, m, t) / t->n;
}

double
canary_needed(const struct canary *c)
{
    return c->n_tests * (c->source.rel.n_members - 1) / c->alpha;
}

double
canary_log_e(const struct canary_metric *m, const struct canary_check *k)
{
    return m->kind == CANARY_QUANTILE || m->kind == CANARY_MEAN ? k->latency.seq.log_e
                                                                : k->seq.log_e;
}

/* ---- what came, into the tests ------------------------------------------------------
 */

static void
breach(struct canary *c, int member, int metric)
{
    const struct canary_metric *m = &c->metric[metric];
    struct canary_pair *p = &c->pair[member];
    struct canary_check *k = &p->check[metric];

    k->breached = true;
    if (c->worse)
        return;
    c->outcome = CANARY_BREACH;
    c->worse = c->source.rel.members[member].number;
    buf_addf(&c->why, "version %" PRId64 ": %s ", c->worse, m->name);
    if (!m->relative) {
        canary_metric_value(m, k->measured, &c->why);
        buf_addf(&c->why, " (%s, failed %d of %d times, %d allowed)", m->text,
                 k->tally.n[CANARY_FAILED],
                 k->tally.n[CANARY_FAILED] + k->tally.n[CANARY_SUCCESSFUL],
                 c->limits.failure);
        return;
    }
    canary_metric_value(m, canary_value(c, m, &p->total[1]), &c->why);
    buf_adds(&c->why, " beside ");
    canary_metric_value(m, canary_value(c, m, &p->total[0]), &c->why);
    buf_addf(&c->why,
             " of version %" PRId64 " (%s) after %.0f requests: e-value %.3g, %.3g is "
             "enough",
             c->source.rel.members[0].number, m->text, p->total[1].n,
             exp(fmin(canary_log_e(m, k), 600)), canary_needed(c));
}

static void
put_into_tests(struct canary *c, int member)
{
    struct canary_pair *p = &c->pair[member];
    const struct canary_traffic *s = &p->pending[0], *v = &p->pending[1];

    for (int i = 0; i < c->n_metrics; i++) {
        const struct canary_metric *m = &c->metric[i];
        struct canary_check *k = &p->check[i];

        if (!m->relative || (m->kind >= CANARY_QUANTILE && !c->has_scale))
            continue;
        if (m->kind == CANARY_QUANTILE || m->kind == CANARY_MEAN) {
            canary_latency_add(&k->latency, &c->source.scale, s->hist, v->hist);
        } else {
            const double k_s = count_of(c, m, s);

            canary_seq_count(&k->seq, (k->past_k + 0.5) / (k->past_n + 50), s->n, k_s,
                             v->n, count_of(c, m, v));
            k->past_n += s->n;
            k->past_k += k_s;
        }
        if (canary_log_e(m, k) >= log(canary_needed(c)))
            breach(c, member, i);
    }
}

static void
scale_came(struct canary *c)
{
    if (c->has_scale || !c->source.scale.edge)
        return;
    c->has_scale = true;
    for (int i = 1; i < c->source.rel.n_members; i++)
        for (int k = 0; k < c->n_metrics; k++)
            canary_latency_init(&c->pair[i].check[k].latency, &c->source.scale,
                                c->metric[k].quantile, c->metric[k].bound);
}

static void
take(struct canary *c)
{
    const struct canary_scale *scale = &c->source.scale;
    double n = 0;

    for (int i = 0; i < c->source.rel.n_members; i++)
        n += c->came[i].n;
    scale_came(c);
    if (!(n > 0))
        return;
    for (int i = 1; i < c->source.rel.n_members; i++) {
        struct canary_pair *p = &c->pair[i];

        for (int k = 0; k < 2; k++) {
            canary_traffic_add(&p->pending[k], &c->came[k ? i : 0], scale);
            canary_traffic_add(&p->total[k], &c->came[k ? i : 0], scale);
        }
        canary_traffic_add(&p->window, &c->came[i], scale);
        if (p->pending[0].n > 0 && p->pending[1].n > 0) {
            put_into_tests(c, i);
            canary_traffic_clear(&p->pending[0]);
            canary_traffic_clear(&p->pending[1]);
        }
    }
}

/* ---- measurements -------------------------------------------------------------------
 */

static enum canary_measured
measure(struct canary *c, int member, const struct canary_metric *m,
        struct canary_check *k)
{
    struct err err = ERR_INIT;
    const struct canary_pair *p = &c->pair[member];

    k->measured = NAN;
    if (c->error[0])
        return CANARY_ERROR;
    if (m->kind != CANARY_QUERY) {
        if (p->window.n < MEASURED_MIN)
            return CANARY_INCONCLUSIVE;
        k->measured = canary_value(c, m, &p->window);
    } else if (c->source.ops->ask(&c->source, m->name, member, &k->measured, &err) <
               0) {
        snprintf(c->error, sizeof(c->error), "%.290s", err.msg);
        return CANARY_ERROR;
    }
    if (isnan(k->measured))
        return CANARY_INCONCLUSIVE;
    return (m->at_least ? k->measured >= m->bound : k->measured <= m->bound)
               ? CANARY_SUCCESSFUL
               : CANARY_FAILED;
}

static void
stuck(struct canary *c, enum canary_measured why)
{
    if (c->outcome != CANARY_GOES_ON || why == CANARY_SUCCESSFUL)
        return;
    c->outcome = CANARY_STUCK;
    if (why == CANARY_ERROR)
        buf_addf(&c->why, "%d measurements in a row failed to be made: %s",
                 c->tally.consecutive_errors, c->error);
    else
        buf_addf(&c->why, "more than %d measurements were inconclusive",
                 c->limits.inconclusive);
}

static void
measure_all(struct canary *c)
{
    for (int i = 1; i < c->source.rel.n_members; i++) {
        for (int k = 0; k < c->n_metrics; k++) {
            struct canary_check *check = &c->pair[i].check[k];
            enum canary_measured end;

            if (c->metric[k].relative)
                continue;
            end = canary_tally_add(&check->tally, &c->limits,
                                   measure(c, i, &c->metric[k], check));
            if (end == CANARY_FAILED)
                breach(c, i, k);
            else if (end == CANARY_INCONCLUSIVE)
                stuck(c, end);
        }
        if (c->pair[i].window.n >= MEASURED_MIN)
            canary_traffic_clear(&c->pair[i].window);
    }
    stuck(c, canary_tally_add(&c->tally, &c->limits,
                              c->error[0] ? CANARY_ERROR : CANARY_SUCCESSFUL));
}

/* ---- looking ------------------------------------------------------------------------
 */

static int64_t
min_ns(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

enum canary_outcome
canary_look(struct canary *c, int64_t now_ns, cJSON **look)
{
    bool due = now_ns >= c->next_ns;
    struct err err = ERR_INIT;

    *look = NULL;
    if (c->outcome != CANARY_GOES_ON || !(due || c->source.follows))
        return c->outcome;
    for (int i = 0; i < c->source.rel.n_members; i++)
        canary_traffic_clear(&c->came[i]);
    c->error[0] = '\0';
    if (c->source.ops->read(&c->source, c->came, &err) < 0)
        snprintf(c->error, sizeof(c->error), "%.290s", err.msg);
    else
        take(c);
    /* what a log had before is one measurement */
    if (c->source.more && now_ns < c->next_ns + c->interval_ns)
        due = false;
    if (due) {
        measure_all(c);
        c->next_ns = now_ns + c->interval_ns;
        c->n_looks++;
    }
    if (due || c->outcome != CANARY_GOES_ON) {
        char text[CLOCK_TEXT_BYTES];
        cJSON *o = canary_report(c);

        json_put_str(o, "time", clock_text(now_ns, text));
        *look = o;
        c->source.note[0] = '\0';
    }
    return c->outcome;
}

void
canary_wait(struct canary *const *c, int n, int64_t until_ns)
{
    struct pollfd fds[CANARY_WAIT_MAX];
    int64_t ns = until_ns - clock_now_ns();
    int n_fds = 0;

    for (int i = 0; i < n; i++) {
        if (!c[i])
            continue;
        ns = c[i]->source.more ? 0 : min_ns(ns, c[i]->next_ns - clock_now_ns());
        if (c[i]->source.follows)
            ns = min_ns(ns, LOG_LOOK_NS);
        if (c[i]->source.fd >= 0 && n_fds < CANARY_WAIT_MAX)
            fds[n_fds++] = (struct pollfd){ .fd = c[i]->source.fd, .events = POLLIN };
    }
    ns = min_ns(ns, SECOND_NS);
    if (ns > 0)
        (void)poll(fds, (nfds_t)n_fds, (int)((ns + 999999) / 1000000));
}

bool
canary_more(const struct canary *c)
{
    return c->source.more;
}

bool
canary_is_missing(const struct canary *c, int member, int k, struct buf *out)
{
    const struct canary_metric *m = &c->metric[k];
    const struct canary_pair *p = &c->pair[member];

    if (m->kind != CANARY_QUERY && p->total[1].n - p->n_at_rebase < c->min_requests)
        buf_addf(out, "version %" PRId64 " had %.0f of %.0f requests",
                 c->source.rel.members[member].number, p->total[1].n - p->n_at_rebase,
                 c->min_requests);
    else if (m->kind != CANARY_QUERY && m->relative && !(p->total[0].n > 0))
        buf_addf(out, "the stable version %" PRId64 " had no request",
                 c->source.rel.members[0].number);
    else if (m->relative && (m->kind == CANARY_QUANTILE || m->kind == CANARY_MEAN) &&
             !(p->check[k].latency.seq.n_canary > 0))
        buf_addf(out,
                 "%s: too few requests of the stable version %" PRId64
                 " to know its times",
                 m->text, c->source.rel.members[0].number);
    else if (!m->relative && p->check[k].tally.n[CANARY_SUCCESSFUL] == 0)
        buf_addf(out, "%s was never measured on version %" PRId64, m->text,
                 c->source.rel.members[member].number);
    else
        return false;
    return true;
}

bool
canary_is_conclusive(const struct canary *c)
{
    struct buf why AUTO(buf_release) = BUF_INIT;
    bool missing = c->error[0];

    for (int i = 1; i < c->source.rel.n_members; i++)
        for (int k = 0; k < c->n_metrics; k++)
            missing |= canary_is_missing(c, i, k, &why);
    return !missing;
}

void
canary_missing(const struct canary *c, struct buf *out)
{
    if (c->outcome == CANARY_STUCK)
        buf_adds(out, buf_str(&c->why));
    else if (c->error[0])
        buf_adds(out, c->error);
    for (int i = 1; i < c->source.rel.n_members && out->len == 0; i++)
        for (int k = 0; k < c->n_metrics && out->len == 0; k++)
            (void)canary_is_missing(c, i, k, out);
}

int64_t
canary_breached(const struct canary *c, struct buf *why)
{
    if (c->worse)
        buf_adds(why, buf_str(&c->why));
    return c->worse;
}

/* ---- acting -------------------------------------------------------------------------
 */

int
canary_act(struct repo *r, const struct deploy_release *rel, int64_t number,
           const char *why, enum canary_act act, cJSON **report, struct err *err)
{
    struct deploy_member parts[DEPLOY_MEMBERS_MAX];
    char *reason AUTO(free_ptr) = xasprintf("canary: %s", why);
    struct deploy_change d = { .verb = DEPLOY_ROLLBACK,
                               .model = rel->model,
                               .alias = rel->alias,
                               .to_number = rel->members[0].number,
                               .expect_release = rel->number,
                               .reason = reason };

    *report = NULL;
    if (act == CANARY_REPORT)
        return 0;
    if (act == CANARY_WEIGHTS) {
        d.verb = DEPLOY_WEIGHTS;
        d.to_number = 0;
        d.parts = parts;
        for (int i = 0; i < rel->n_members; i++) {
            if (rel->members[i].number == number)
                parts[0].weight += rel->members[i].weight;
            else
                parts[d.n_parts++] = rel->members[i];
        }
    }
    return deploy_change(r, &d, report, err);
}
