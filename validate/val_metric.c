/* SPDX-License-Identifier: Apache-2.0 */
/* What a golden set says of a metric, and what is said of it. */
#include "validate/val_quality.h"

#include "validate/val_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- reading -------------------------------------------------------------------- */

static const char *const averages[] = { "binary", "micro", "macro", "weighted" };

static int
load_average(struct val_metric *m, const char *name, struct err *err)
{
    for (size_t i = 0; i < sizeof(averages) / sizeof(averages[0]); i++) {
        m->average = i;
        if (strcmp(name, averages[i]) == 0)
            return 0;
    }
    return err_set(err, ERR_INVALID,
                   "\"average\" is '%s'; wanted binary, micro, macro or weighted",
                   name);
}

/* A number that may be left out: *out as it was. */
static int
load_number(const cJSON *j, const char *key, double *out, struct err *err)
{
    return json_has(j, key) ? json_num(j, key, NAN, out, key, err) : 0;
}

static int
load_strings(struct val_metric *m, const cJSON *j, struct err *err)
{
    const struct {
        const char *key, *fallback;
        char **to;
    } strings[] = {
        { "metric", NULL, &m->metric },
        { "output", NULL, &m->output },
        { "labels", "", &m->labels },
        { "tag", "", &m->tag },
        { "baseline", "production", &m->baseline },
    };

    for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++) {
        const char *s = NULL;

        if (json_str(j, strings[i].key, strings[i].fallback, &s, strings[i].key, err) <
            0)
            return -(int)err->code;
        *strings[i].to = xstrdup(s);
    }
    return repo_check_alias_name(m->baseline, err) < 0 ? err_ctx(err, "baseline") : 0;
}

static int
load_numbers(struct val_metric *m, const cJSON *j, struct err *err)
{
    double positive = 1, k = 5;

    m->threshold = 0.5;
    m->min = m->max = m->max_drop = m->max_drop_relative = NAN;
    if (load_number(j, "min", &m->min, err) < 0 ||
        load_number(j, "max", &m->max, err) < 0 ||
        load_number(j, "max_drop", &m->max_drop, err) < 0 ||
        load_number(j, "max_drop_relative", &m->max_drop_relative, err) < 0 ||
        load_number(j, "threshold", &m->threshold, err) < 0 ||
        load_number(j, "positive", &positive, err) < 0 ||
        load_number(j, "k", &k, err) < 0 ||
        json_bool(j, "logits", false, &m->logits, "logits", err) < 0 ||
        json_bool(j, "higher_is_better", val_metric_find(m->metric)->higher_is_better,
                  &m->higher_is_better, "higher_is_better", err) < 0)
        return -(int)err->code;
    if ((json_has(j, "min") && !isfinite(m->min)) ||
        (json_has(j, "max") && !isfinite(m->max)))
        return err_set(err, ERR_INVALID, "wanted numbers for \"min\" and \"max\"");
    if ((json_has(j, "max_drop") && !(m->max_drop >= 0)) ||
        (json_has(j, "max_drop_relative") && !(m->max_drop_relative >= 0)))
        return err_set(err, ERR_INVALID,
                       "wanted numbers of at least 0 for \"max_drop\" and "
                       "\"max_drop_relative\"");
    if (!isfinite(m->threshold))
        return err_set(err, ERR_INVALID, "wanted a number for \"threshold\"");
    if (!(k >= 1 && k <= 1000 && k == floor(k)) ||
        !(positive >= 0 && positive <= 1e9 && positive == floor(positive)))
        return err_set(
            err, ERR_INVALID,
            "wanted an integer of 1 to 1000 for \"k\", and one of at least 0 "
            "for \"positive\"");
    m->k = (int)k;
    m->positive = (int)positive;
    return 0;
}

/* "f1 (macro, tag fr)": what differs from the metric's defaults. */
static char *
make_title(const struct val_metric *m)
{
    struct buf out = BUF_INIT, in AUTO(buf_release) = BUF_INIT;

    if (m->average != VAL_BINARY)
        buf_addf(&in, ", %s", averages[m->average]);
    if (m->positive != 1)
        buf_addf(&in, ", positive %d", m->positive);
    if (m->threshold != 0.5)
        buf_addf(&in, ", threshold %g", m->threshold);
    if (strcmp(m->metric, "top_k_accuracy") == 0)
        buf_addf(&in, ", k %d", m->k);
    if (m->tag[0])
        buf_addf(&in, ", tag %s", m->tag);
    buf_adds(&out, m->metric);
    if (in.len)
        buf_addf(&out, " (%s)", buf_str(&in) + 2);
    return buf_take(&out);
}

int
val_metric_load(struct val_metric *m, const cJSON *j, struct err *err)
{
    struct buf names AUTO(buf_release) = BUF_INIT;
    const char *average = NULL;

    *m = (struct val_metric){ .k = 0 };
    if (!cJSON_IsObject(j))
        return err_set(err, ERR_INVALID, "wanted objects");
    if (load_strings(m, j, err) < 0)
        return m->metric ? err_ctx(err, "%s", m->metric) : -(int)err->code;
    if (!val_metric_find(m->metric)) {
        val_metric_names(&names);
        return err_set(err, ERR_INVALID, "%s: there is no such metric; there are: %s",
                       m->metric, buf_str(&names));
    }
    if (json_str(j, "average", averages[0], &average, "average", err) < 0 ||
        load_average(m, average, err) < 0 || load_numbers(m, j, err) < 0)
        return err_ctx(err, "%s", m->metric);
    m->title = make_title(m);
    return 0;
}

void
val_metric_release(struct val_metric *m)
{
    free(m->metric);
    free(m->output);
    free(m->labels);
    free(m->tag);
    free(m->title);
    free(m->baseline);
}

bool
val_metric_has_limit(const struct val_metric *m)
{
    return !isnan(m->min) || !isnan(m->max) || !isnan(m->max_drop) ||
           !isnan(m->max_drop_relative);
}

static bool
has_tag(const struct val_case *c, const char *tag)
{
    for (int i = 0; i < c->n_tags; i++)
        if (strcmp(c->tags[i], tag) == 0)
            return true;
    return tag[0] == '\0';
}

const struct sm_tensor *
val_metric_labels(const struct val_metric *m, const struct val_case *c)
{
    if (!has_tag(c, m->tag))
        return NULL;
    if (c->labels.n == 1 && (m->labels[0] == '\0' || c->labels.v[0].name[0] == '\0'))
        return &c->labels.v[0].t;
    return sm_tensor_list_find(&c->labels, m->labels);
}

/* ---- in words ------------------------------------------------------------------- */

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
val_metric_put_limits(cJSON *o, const struct val_metric *m)
{
    const struct {
        const char *key;
        double v;
    } limits[] = { { "min", m->min },
                   { "max", m->max },
                   { "max_drop", m->max_drop },
                   { "max_drop_relative", m->max_drop_relative } };

    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
        if (!isnan(limits[i].v))
            json_put_real(o, limits[i].key, limits[i].v);
}

void
val_metric_bounds(const struct val_metric *m, struct buf *out)
{
    if (!isnan(m->min))
        buf_addf(out, "≥ %g", m->min);
    if (!isnan(m->max))
        buf_addf(out, "%s≤ %g", isnan(m->min) ? "" : " and ", m->max);
}

void
val_limits_text(const struct val_golden *g, struct buf *out)
{
    for (int i = 0; i < g->n_metrics; i++) {
        const struct val_metric *m = &g->metrics[i];
        struct buf bounds AUTO(buf_release) = BUF_INIT;
        const char *sep = " ";

        if (!val_metric_has_limit(m))
            continue;
        buf_addf(out, "%s%s", out->len ? ", " : "", m->title);
        val_metric_bounds(m, &bounds);
        if (bounds.len) {
            buf_addf(out, " %s", buf_str(&bounds));
            sep = ", ";
        }
        if (!isnan(m->max_drop)) {
            buf_addf(out, "%snot worse than %s by more than %g", sep, m->baseline,
                     m->max_drop);
            sep = ", ";
        }
        if (!isnan(m->max_drop_relative))
            buf_addf(out, "%snot worse than %s by more than %g %%", sep, m->baseline,
                     m->max_drop_relative * 100);
    }
}
