/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics: how they are counted and written (server/metrics.def says which there are).
 *
 * Counting is a few atomic additions in tables that never grow: operations are known
 * when the service starts, models and versions get a place until there is none. The
 * store's figures are read at most every SRV_FIGURES_S, whoever asks. */
#ifndef SERVER_SRV_METRICS_H
#define SERVER_SRV_METRICS_H

#include "base/buf.h"

#include <stdatomic.h>

enum srv_metric {
#define METRIC(id, name, type, labels, help) SRV_M_##id,
#include "server/metrics.def"
#undef METRIC
    SRV_N_METRICS
};

/* ---- text (srv_metrics_text.c): version 0.0.4 of Prometheus's format ---- */

#define SRV_METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Appends "name{label="value",…} number"; the values of the metric's labels follow, as
 * many as it has. The first sample of a metric gets HELP and TYPE before it; samples of
 * one metric stand together, and in the order of metrics.def (a BUG otherwise). */
struct srv_text {
    struct buf *out;
    int last; /* metric; -1: none yet */
};
void srv_text_int(struct srv_text *t, enum srv_metric m, int64_t value, ...);
void srv_text_real(struct srv_text *t, enum srv_metric m, double value, ...);

/* ---- histograms ---- */

/* Upper ends in seconds; the last one is +Inf. */
enum { SRV_BUCKETS = 18 };
struct srv_histogram {
    _Atomic uint64_t n[SRV_BUCKETS];
    _Atomic uint64_t sum_us;
};
void srv_histogram_add(struct srv_histogram *h, int64_t ns);
/* `every`: 1, or less of the buckets: a divisor of SRV_BUCKETS. Label values follow. */
void srv_text_histogram(struct srv_text *t, enum srv_metric m,
                        const struct srv_histogram *h, int every, ...);

/* ---- figures of the store (srv_figures.c), and of this process ---- */

#define SRV_FIGURES_S 5
struct srv_figures;
/* *out is to be closed also after an error: the store does not open. */
int srv_figures_open(struct srv_figures **out, const char *store_or_null,
                     struct err *err) MUST_CHECK;
void srv_figures_close(struct srv_figures *f); /* NULL allowed */
/* Appends SRV_M_STORE_UP and what follows it up to SRV_M_SERIES_DROPPED. Any thread;
 * one reads the store, the others wait for it. */
void srv_figures_text(struct srv_figures *f, int64_t n_log_failures,
                      struct srv_text *t);
/* SRV_M_CPU and what follows. */
void srv_process_text(struct srv_text *t);

#endif
