/* SPDX-License-Identifier: Apache-2.0 */
#include "validate/val_quality.h"

#include "validate/val_int.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- rows ----------------------------------------------------------------------- */

void
val_rows_release(struct val_rows *rows)
{
    free(rows->answers);
    free(rows->labels);
    *rows = (struct val_rows){ .n = 0 };
}

/* The classes a row has a score for, or the columns of a table of numbers. */
static int64_t
last_dim(const struct sm_tensor *t)
{
    return t->rank > 1 ? t->dims[t->rank - 1] : 1;
}

static bool
is_number(int dtype)
{
    return val_is_float(dtype) || val_is_int(dtype);
}

static int
check_numbers(const struct val_metric *m, const struct sm_tensor *out,
              const struct sm_tensor *labels, int64_t *width, struct err *err)
{
    if (!is_number(out->dtype) || !is_number(labels->dtype))
        return err_set(err, ERR_INVALID,
                       "%s wants numbers, not %s against labels of %s", m->metric,
                       sm_dtype_name(out->dtype), sm_dtype_name(labels->dtype));
    if (out->n_elems != labels->n_elems)
        return err_set(err, ERR_INVALID, "%" PRId64 " answers for %" PRId64 " labels",
                       out->n_elems, labels->n_elems);
    *width = last_dim(labels);
    return 0;
}

static int
check_classes(const struct val_metric *m, const struct sm_tensor *out,
              const struct sm_tensor *labels, int64_t *width, struct err *err)
{
    const bool is_scores = val_is_float(out->dtype);

    if (!val_is_int(labels->dtype) && labels->dtype != SM_BOOL)
        return err_set(err, ERR_INVALID, "labels are %s; %s wants integers",
                       sm_dtype_info(labels->dtype)->tf_name, m->metric);
    if (!is_scores && (val_metric_find(m->metric)->needs == VAL_SCORES ||
                       (!val_is_int(out->dtype) && out->dtype != SM_BOOL)))
        return err_set(err, ERR_INVALID, "the output is %s; %s wants scores (float)%s",
                       sm_dtype_name(out->dtype), m->metric,
                       val_metric_find(m->metric)->needs == VAL_SCORES
                           ? ""
                           : " or classes (integer)");
    /* a score for each class along the last axis, or one alone for "positive" */
    *width = !is_scores                        ? 0
             : out->n_elems == labels->n_elems ? 1
             : out->rank > 0                   ? out->dims[out->rank - 1]
                                               : 1;
    if (*width < 0 || out->n_elems / (*width > 1 ? *width : 1) != labels->n_elems)
        return err_set(err, ERR_INVALID, "%" PRId64 " answers for %" PRId64 " labels",
                       out->n_elems / (*width > 1 ? *width : 1), labels->n_elems);
    return 0;
}

/* Scores that are logits become probabilities. */
static void
squash(double *row, int64_t width)
{
    double max = row[0], sum = 0;

    if (width == 1) {
        row[0] = 1 / (1 + exp(-row[0]));
        return;
    }
    for (int64_t i = 1; i < width; i++)
        max = row[i] > max ? row[i] : max;
    for (int64_t i = 0; i < width; i++)
        sum += row[i] = exp(row[i] - max);
    for (int64_t i = 0; i < width; i++)
        row[i] /= sum;
}

int
val_rows_add(struct val_rows *rows, const struct val_metric *m,
             const struct sm_tensor *out, const struct sm_tensor *labels,
             struct err *err)
{
    const bool numbers = val_metric_find(m->metric)->needs == VAL_NUMBERS_BOTH;
    int64_t width = 0, n, per_row;
    int r = numbers ? check_numbers(m, out, labels, &width, err)
                    : check_classes(m, out, labels, &width, err);

    if (r < 0 || labels->n_elems == 0)
        return r;
    if (rows->n > 0 && width != rows->width)
        return err_set(err, ERR_INVALID,
                       "%" PRId64 " scores a row, where cases before had %" PRId64,
                       width, rows->width);
    per_row = width > 0 ? width : 1;
    n = rows->n + (numbers ? labels->n_elems / width : labels->n_elems);
    rows->width = width;
    rows->eps = out->dtype == SM_DOUBLE    ? DBL_EPSILON
                : out->dtype == SM_HALF    ? 0x1p-10
                : val_is_float(out->dtype) ? (double)FLT_EPSILON
                                           : 0;
    rows->answers = xrealloc(rows->answers, (size_t)(n * per_row) * sizeof(double));
    rows->labels =
        xrealloc(rows->labels, (size_t)(n * (numbers ? width : 1)) * sizeof(double));
    for (int64_t i = 0, at = rows->n * per_row; i < out->n_elems; i++)
        rows->answers[at + i] = val_real_at(out, i);
    for (int64_t i = 0, at = rows->n * (numbers ? width : 1); i < labels->n_elems; i++)
        rows->labels[at + i] = val_real_at(labels, i);
    for (int64_t i = rows->n; m->logits && i < n; i++)
        squash(rows->answers + i * per_row, per_row);
    rows->n = n;
    return 0;
}

/* ---- classes -------------------------------------------------------------------- */

/* The class a row answers: the place of its largest score (the first of equals), or
 * whether its one score is above the threshold. NaN: a NaN is no answer. */
static double
answer_of(const struct val_metric *m, const struct val_rows *rows, int64_t i)
{
    const double *row = rows->answers + i * (rows->width > 0 ? rows->width : 1);
    int64_t best = 0;

    if (rows->width == 0 || isnan(row[0]))
        return row[0];
    if (rows->width == 1)
        return row[0] > m->threshold;
    for (int64_t k = 1; k < rows->width; k++) {
        if (isnan(row[k]))
            return row[k];
        if (row[k] > row[best])
            best = k;
    }
    return (double)best;
}

static int
accuracy(const struct val_metric *m, const struct val_rows *rows, double *out,
         struct err *err)
{
    int64_t hits = 0;

    (void)err;
    for (int64_t i = 0; i < rows->n; i++)
        hits += answer_of(m, rows, i) == rows->labels[i];
    *out = (double)hits / (double)rows->n;
    return 0;
}

struct counts {
    double class;
    int64_t hits, answered, labelled;
};

static int
by_class(const void *a, const void *b)
{
    const struct counts *x = a, *y = b;

    return (x->class > y->class) - (x->class < y->class);
}

/* How often each class that is labelled or answered was so; the caller frees them. */
static int64_t
count_classes(const struct val_metric *m, const struct val_rows *rows,
              struct counts **out)
{
    struct counts *c = xcalloc((size_t)rows->n * 2, sizeof(*c));
    int64_t n = 0, n_classes = 0;

    for (int64_t i = 0; i < rows->n; i++) {
        const double answer = answer_of(m, rows, i);
        const bool hit = answer == rows->labels[i];

        c[n++] = (struct counts){ rows->labels[i], hit, hit, 1 };
        if (!hit && !isnan(answer))
            c[n++] = (struct counts){ answer, 0, 1, 0 };
    }
    qsort(c, (size_t)n, sizeof(*c), by_class);
    for (int64_t i = 0; i < n; i++) {
        if (n_classes == 0 || c[n_classes - 1].class != c[i].class) {
            c[n_classes++] = c[i];
            continue;
        }
        c[n_classes - 1].hits += c[i].hits;
        c[n_classes - 1].answered += c[i].answered;
        c[n_classes - 1].labelled += c[i].labelled;
    }
    *out = c;
    return n_classes;
}

enum share { PRECISION, RECALL, F1 };

static double
share_of(enum share what, const struct counts *c)
{
    const int64_t of = what == PRECISION ? c->answered
                       : what == RECALL  ? c->labelled
                                         : c->answered + c->labelled;

    return of == 0 ? 0 : (double)((what == F1 ? 2 : 1) * c->hits) / (double)of;
}

static int
share(enum share what, const struct val_metric *m, const struct val_rows *rows,
      double *out, struct err *err)
{
    struct counts *c AUTO(free_ptr) = NULL, sum = { 0, 0, 0, 0 };
    const int64_t n = count_classes(m, rows, &c);
    double mean = 0;

    for (int64_t i = 0; i < n; i++) {
        const bool is_mine =
            m->average != VAL_BINARY || c[i].class == (double)m->positive;

        if (m->average == VAL_BINARY && c[i].class != 0 && !is_mine && n > 2)
            return err_set(err, ERR_INVALID,
                           "there are %" PRId64 " classes: say \"average\": \"macro\", "
                           "\"micro\" or \"weighted\"",
                           n);
        mean += share_of(what, &c[i]) *
                (m->average == VAL_MACRO ? 1 : (double)c[i].labelled);
        if (is_mine) {
            sum.hits += c[i].hits;
            sum.answered += c[i].answered;
            sum.labelled += c[i].labelled;
        }
    }
    *out = m->average == VAL_MACRO      ? mean / (double)n
           : m->average == VAL_WEIGHTED ? mean / (double)rows->n
                                        : share_of(what, &sum);
    return 0;
}

static int
precision(const struct val_metric *m, const struct val_rows *rows, double *out,
          struct err *err)
{
    return share(PRECISION, m, rows, out, err);
}

static int
recall(const struct val_metric *m, const struct val_rows *rows, double *out,
       struct err *err)
{
    return share(RECALL, m, rows, out, err);
}

static int
f1(const struct val_metric *m, const struct val_rows *rows, double *out,
   struct err *err)
{
    return share(F1, m, rows, out, err);
}

/* ---- scores --------------------------------------------------------------------- */

static int
check_finite(const struct val_rows *rows, struct err *err)
{
    for (int64_t i = 0; i < rows->n * rows->width; i++)
        if (isnan(rows->answers[i]))
            return err_set(err, ERR_INVALID, "the answer to label %" PRId64 " is NaN",
                           i / rows->width);
    return 0;
}

/* Labels must be places of the row's scores. */
static int
check_labels(const struct val_rows *rows, struct err *err)
{
    const int64_t n_classes = rows->width > 1 ? rows->width : 2;

    for (int64_t i = 0; i < rows->n; i++)
        if (!(rows->labels[i] >= 0 && rows->labels[i] < (double)n_classes))
            return err_set(err, ERR_INVALID,
                           "label %" PRId64 " is %g; the output has classes 0 to "
                           "%" PRId64,
                           i, rows->labels[i], n_classes - 1);
    return check_finite(rows, err);
}

/* A tie is lost to classes of a higher number, as NumPy's stable sort leaves it. */
static int
top_k_accuracy(const struct val_metric *m, const struct val_rows *rows, double *out,
               struct err *err)
{
    int64_t hits = 0;

    if (rows->width < 2)
        return err_set(err, ERR_INVALID,
                       "one score a row; top_k_accuracy wants one for each class");
    if (check_labels(rows, err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < rows->n; i++) {
        const double *row = rows->answers + i * rows->width;
        const int64_t label = (int64_t)rows->labels[i];
        int64_t above = 0;

        for (int64_t k = 0; k < rows->width; k++)
            above += row[k] > row[label] || (row[k] == row[label] && k > label);
        hits += above < m->k;
    }
    *out = (double)hits / (double)rows->n;
    return 0;
}

struct scored {
    double score;
    bool is_positive;
};

static int
by_score_down(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;

    return (x->score < y->score) - (x->score > y->score);
}

/* Area under the ROC curve by trapezoids, or the sum over thresholds of precision times
 * the gain in recall. Both go through groups of equal scores, largest first. */
static double
area(const struct scored *s, int64_t n, int64_t n_positive, bool roc)
{
    int64_t hits = 0, misses = 0;
    double sum = 0;

    for (int64_t i = 0; i < n;) {
        const int64_t hits_before = hits, misses_before = misses, first = i;

        for (; i < n && s[i].score == s[first].score; i++) {
            hits += s[i].is_positive;
            misses += !s[i].is_positive;
        }
        if (roc)
            sum += (double)(misses - misses_before) * (double)(hits + hits_before) / 2;
        else
            sum +=
                (double)(hits - hits_before) * (double)hits / (double)(hits + misses);
    }
    return sum / (double)n_positive / (roc ? (double)misses : 1);
}

/* The area of one class against the others; `col` is the column of its scores. */
static int
class_area(const struct val_rows *rows, int64_t class, int64_t col, bool roc,
           double *out, int64_t *n_positive, struct err *err)
{
    struct scored *s AUTO(free_ptr) = xcalloc((size_t)rows->n, sizeof(*s));

    *n_positive = 0;
    for (int64_t i = 0; i < rows->n; i++) {
        s[i] = (struct scored){ rows->answers[i * rows->width + col],
                                rows->labels[i] == (double)class };
        *n_positive += s[i].is_positive;
    }
    if (*n_positive == 0 || (roc && *n_positive == rows->n))
        return err_set(err, ERR_INVALID, "%s labels are of class %" PRId64,
                       *n_positive == 0 ? "no" : "all", class);
    qsort(s, (size_t)rows->n, sizeof(*s), by_score_down);
    *out = area(s, rows->n, *n_positive, roc);
    return 0;
}

static int
areas(const struct val_metric *m, const struct val_rows *rows, bool roc, double *out,
      struct err *err)
{
    double sum = 0, one;
    int64_t n;

    if (check_labels(rows, err) < 0)
        return -(int)err->code;
    if (rows->width <= 2)
        return class_area(rows, rows->width == 1 ? 1 : m->positive,
                          rows->width == 1 ? 0 : m->positive, roc, out, &n, err);
    for (int64_t k = 0; k < rows->width; k++) {
        if (class_area(rows, k, k, roc, &one, &n, err) < 0)
            return -(int)err->code;
        sum += one * (m->average == VAL_WEIGHTED ? (double)n : 1);
    }
    *out = sum / (double)(m->average == VAL_WEIGHTED ? rows->n : rows->width);
    return 0;
}

static int
auc(const struct val_metric *m, const struct val_rows *rows, double *out,
    struct err *err)
{
    return areas(m, rows, true, out, err);
}

static int
average_precision(const struct val_metric *m, const struct val_rows *rows, double *out,
                  struct err *err)
{
    return areas(m, rows, false, out, err);
}

static int
log_loss(const struct val_metric *m, const struct val_rows *rows, double *out,
         struct err *err)
{
    double sum = 0;

    (void)m;
    if (check_labels(rows, err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < rows->n; i++) {
        const int64_t label = (int64_t)rows->labels[i];
        double p = rows->width > 1 ? rows->answers[i * rows->width + label]
                   : label         ? rows->answers[i]
                                   : 1 - rows->answers[i];

        if (p < 0 || p > 1)
            return err_set(err, ERR_INVALID,
                           "the answer to label %" PRId64 " is %g, no probability; say "
                           "\"logits\": true if they are logits",
                           i, p);
        sum -= log(fmin(fmax(p, rows->eps), 1 - rows->eps));
    }
    *out = sum / (double)rows->n;
    return 0;
}

/* ---- numbers -------------------------------------------------------------------- */

/* The mean over columns of what `of` makes of a column. */
static int
columns(const struct val_rows *rows,
        double (*of)(const struct val_rows *rows, int64_t k), double *out,
        struct err *err)
{
    double sum = 0;

    if (check_finite(rows, err) < 0)
        return -(int)err->code;
    for (int64_t k = 0; k < rows->width; k++)
        sum += of(rows, k);
    *out = sum / (double)rows->width;
    return 0;
}

static double
error_at(const struct val_rows *rows, int64_t i, int64_t k)
{
    return rows->answers[i * rows->width + k] - rows->labels[i * rows->width + k];
}

static double
column_mae(const struct val_rows *rows, int64_t k)
{
    double sum = 0;

    for (int64_t i = 0; i < rows->n; i++)
        sum += fabs(error_at(rows, i, k));
    return sum / (double)rows->n;
}

static double
column_mse(const struct val_rows *rows, int64_t k)
{
    double sum = 0;

    for (int64_t i = 0; i < rows->n; i++)
        sum += error_at(rows, i, k) * error_at(rows, i, k);
    return sum / (double)rows->n;
}

static double
column_rmse(const struct val_rows *rows, int64_t k)
{
    return sqrt(column_mse(rows, k));
}

/* Labels that are all the same: 1 when every answer is right, otherwise 0. */
static double
column_r2(const struct val_rows *rows, int64_t k)
{
    const double mse = column_mse(rows, k);
    double mean = 0, spread = 0;

    for (int64_t i = 0; i < rows->n; i++)
        mean += rows->labels[i * rows->width + k];
    mean /= (double)rows->n;
    for (int64_t i = 0; i < rows->n; i++)
        spread += (rows->labels[i * rows->width + k] - mean) *
                  (rows->labels[i * rows->width + k] - mean);
    spread /= (double)rows->n;
    return spread > 0 ? 1 - mse / spread : mse == 0;
}

static int
mae(const struct val_metric *m, const struct val_rows *rows, double *out,
    struct err *err)
{
    (void)m;
    return columns(rows, column_mae, out, err);
}

static int
mse(const struct val_metric *m, const struct val_rows *rows, double *out,
    struct err *err)
{
    (void)m;
    return columns(rows, column_mse, out, err);
}

static int
rmse(const struct val_metric *m, const struct val_rows *rows, double *out,
     struct err *err)
{
    (void)m;
    return columns(rows, column_rmse, out, err);
}

static int
r2(const struct val_metric *m, const struct val_rows *rows, double *out,
   struct err *err)
{
    (void)m;
    if (rows->n < 2)
        return err_set(err, ERR_INVALID, "one label; r2 wants two at least");
    return columns(rows, column_r2, out, err);
}

/* ---- the table ------------------------------------------------------------------ */

static const struct val_metric_def metrics[] = {
#define HIGHER true
#define LOWER false
#define CLASSES VAL_CLASSES
#define SCORES VAL_SCORES
#define NUMBERS VAL_NUMBERS_BOTH
#define METRIC(name, better, needs, value) { #name, better, needs, value },
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
