/* SPDX-License-Identifier: Apache-2.0 */
/* Prometheus's text format. */
#include "server/srv_metrics.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum type { COUNTER, GAUGE, HISTOGRAM };
static const struct {
    const char *name;
    enum type type;
    const char *labels, *help;
} metrics[] = {
#define METRIC(id, name, type, labels, help) { name, type, labels, help },
#include "server/metrics.def"
#undef METRIC
};

static const double bounds[SRV_BUCKETS] = { 0.0001, 0.00025, 0.0005,  0.001, 0.0025,
                                            0.005,  0.01,    0.025,   0.05,  0.1,
                                            0.25,   0.5,     1,       2.5,   5,
                                            10,     60,      INFINITY };

/* HELP and TYPE before the first sample. */
static void
begin(struct srv_text *t, enum srv_metric m)
{
    static const char *const types[] = { "counter", "gauge", "histogram" };

    if (t->last == (int)m)
        return;
    if (t->last > (int)m)
        BUG("%s after %s", metrics[m].name, metrics[t->last].name);
    t->last = (int)m;
    buf_addf(t->out, "# HELP %s %s.\n# TYPE %s %s\n", metrics[m].name, metrics[m].help,
             metrics[m].name, types[metrics[m].type]);
}

static void
add_value(struct buf *out, const char *s)
{
    for (; *s; s++)
        if (*s == '\n')
            buf_adds(out, "\\n");
        else if (*s == '"' || *s == '\\')
            buf_addf(out, "\\%c", *s);
        else
            buf_addc(out, *s);
}

/* name_suffix{…,le="…"} */
static void
add_series(struct buf *out, enum srv_metric m, const char *suffix, double le,
           va_list *values)
{
    const char *label = metrics[m].labels;
    const char *sep = "{";

    buf_addf(out, "%s%s", metrics[m].name, suffix);
    while (*label) {
        const size_t n = strcspn(label, ",");

        buf_addf(out, "%s%.*s=\"", sep, (int)n, label);
        add_value(out, va_arg(*values, const char *));
        buf_addc(out, '"');
        label += n + (label[n] == ',');
        sep = ",";
    }
    if (!isnan(le)) {
        buf_addf(out, isinf(le) ? "%sle=\"+Inf\"" : "%sle=\"%g\"", sep, le);
        sep = ",";
    }
    buf_adds(out, sep[0] == ',' ? "} " : " ");
}

void
srv_text_int(struct srv_text *t, enum srv_metric m, int64_t value, ...)
{
    va_list values;

    begin(t, m);
    va_start(values, value);
    add_series(t->out, m, "", (double)NAN, &values);
    va_end(values);
    buf_addf(t->out, "%" PRId64 "\n", value);
}

void
srv_text_real(struct srv_text *t, enum srv_metric m, double value, ...)
{
    va_list values;

    begin(t, m);
    va_start(values, value);
    add_series(t->out, m, "", (double)NAN, &values);
    va_end(values);
    buf_addf(t->out, "%.17g\n", value);
}

void
srv_histogram_add(struct srv_histogram *h, int64_t ns)
{
    const double s = (double)ns / 1e9;
    int i = 0;

    while (s > bounds[i])
        i++;
    atomic_fetch_add_explicit(&h->n[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum_us, (uint64_t)(ns < 0 ? 0 : ns / 1000),
                              memory_order_relaxed);
}

void
srv_text_histogram(struct srv_text *t, enum srv_metric m, const struct srv_histogram *h,
                   int every, ...)
{
    uint64_t sum = 0;
    va_list values, again;

    begin(t, m);
    va_start(values, every);
    for (int i = 0; i < SRV_BUCKETS; i++) {
        sum += atomic_load_explicit(&h->n[i], memory_order_relaxed);
        if ((i + 1) % every != 0)
            continue;
        va_copy(again, values);
        add_series(t->out, m, "_bucket", bounds[i], &again);
        va_end(again);
        buf_addf(t->out, "%" PRIu64 "\n", sum);
    }
    va_copy(again, values);
    add_series(t->out, m, "_sum", (double)NAN, &again);
    va_end(again);
    buf_addf(t->out, "%.6f\n",
             (double)atomic_load_explicit(&h->sum_us, memory_order_relaxed) / 1e6);
    add_series(t->out, m, "_count", (double)NAN, &values);
    buf_addf(t->out, "%" PRIu64 "\n", sum);
    va_end(values);
}
