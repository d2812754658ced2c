/* SPDX-License-Identifier: Apache-2.0 */
#include "validate/val_int.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* The place of the largest value of a row, the first of equals; -1: a NaN is there. */
static int64_t
argmax(const struct sm_tensor *t, int64_t row, int64_t n)
{
    int64_t best = 0;

    for (int64_t i = 0; i < n; i++) {
        double v = val_real_at(t, row + i);

        if (isnan(v))
            return -1;
        if (v > val_real_at(t, row + best))
            best = i;
    }
    return best;
}

/* Adds 1 for each label that the answer equals. The answer is the place of the largest
 * value along the last axis of a float output [.., classes] (a NaN is no answer), or an
 * integer output itself. */
static int
accuracy_add(struct val_sum *s, const struct sm_tensor *out,
             const struct sm_tensor *labels, struct err *err)
{
    const bool is_scores = val_is_float(out->dtype);
    int64_t n_classes = 1;

    if (!val_is_int(labels->dtype))
        return err_set(err, ERR_INVALID, "labels are %s; accuracy wants integers",
                       sm_dtype_info(labels->dtype)->tf_name);
    if (!is_scores && !val_is_int(out->dtype))
        return err_set(
            err, ERR_INVALID,
            "the output is %s; accuracy wants scores (float) or classes (integer)",
            sm_dtype_name(out->dtype));
    if (is_scores) {
        n_classes = out->rank > 0 ? out->dims[out->rank - 1] : 1;
        if (n_classes < 2)
            return err_set(err, ERR_INVALID,
                           "the output has %" PRId64
                           " score a row; accuracy wants one for "
                           "each class, or an integer output",
                           n_classes);
    }
    if (out->n_elems / n_classes != labels->n_elems)
        return err_set(err, ERR_INVALID, "%" PRId64 " answers for %" PRId64 " labels",
                       out->n_elems / n_classes, labels->n_elems);
    for (int64_t i = 0; i < labels->n_elems; i++) {
        int64_t answer =
            is_scores ? argmax(out, i * n_classes, n_classes) : val_int_at(out, i);

        s->sum += answer == val_int_at(labels, i);
    }
    s->n += labels->n_elems;
    return 0;
}

static const struct val_metric_def metrics[] = {
#define METRIC(name, add) { #name, add },
#include "validate/metrics.def"
#undef METRIC
};
#define N_METRICS (sizeof(metrics) / sizeof(metrics[0]))

const struct val_metric_def *
val_metric_find(const char *name)
{
    for (size_t i = 0; i < N_METRICS; i++)
        if (strcmp(metrics[i].name, name) == 0)
            return &metrics[i];
    return NULL;
}

void
val_metric_names(struct buf *out)
{
    for (size_t i = 0; i < N_METRICS; i++)
        buf_addf(out, "%s%s", i ? ", " : "", metrics[i].name);
}

const struct sm_tensor *
val_metric_labels(const struct val_metric *m, const struct val_case *c)
{
    if (c->labels.n == 1 && (m->labels[0] == '\0' || c->labels.v[0].name[0] == '\0'))
        return &c->labels.v[0].t;
    return sm_tensor_list_find(&c->labels, m->labels);
}

void
val_add_number(struct buf *out, double v, double other)
{
    char text[32], other_text[32];

    for (int digits = 4; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, v);
        snprintf(other_text, sizeof(other_text), "%.*g", digits, other);
        if (v == other || strcmp(text, other_text) != 0)
            break;
    }
    buf_adds(out, text);
}

void
val_limits_text(const struct val_golden *g, struct buf *out)
{
    for (int i = 0; i < g->n_metrics; i++) {
        const struct val_metric *m = &g->metrics[i];

        if (m->has_min)
            buf_addf(out, "%s%s ≥ %g", out->len ? ", " : "", m->metric, m->min);
        if (m->has_max_drop)
            buf_addf(out, "%s%s%snot worse than %s by more than %g",
                     out->len ? ", " : "", m->has_min ? "" : m->metric,
                     m->has_min ? "" : " ", m->baseline, m->max_drop);
    }
}
