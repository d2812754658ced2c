/* SPDX-License-Identifier: Apache-2.0 */
/* Quality of labelled answers: metrics.def's functions over the rows of all cases.
 *
 * A row is one label and its answer. Everything is computed in double from the output's
 * own values, by scikit-learn's definitions (version 1.7): what it divides by nothing
 * is 0 in precision, recall and f1; log_loss clips probabilities to the epsilon of the
 * output's dtype; average_precision is the sum over thresholds, not interpolated. */
#ifndef VALIDATE_VAL_QUALITY_H
#define VALIDATE_VAL_QUALITY_H

#include "validate/validate.h"

struct val_rows {
    int64_t n;
    /* Scores or numbers of a row; 0: the answer is the class itself, one number. */
    int64_t width;
    double *answers; /* [n, max(width, 1)] */
    double *labels;  /* [n], of NUMBERS [n, width] */
    double eps;      /* of the output's dtype; 0: not a float */
};
void val_rows_release(struct val_rows *rows);

struct val_metric_def {
    const char *name;
    bool higher_is_better;
    enum { VAL_CLASSES, VAL_SCORES, VAL_NUMBERS_BOTH } needs;
    /* ERR_INVALID: these rows have no such value, and why. */
    int (*value)(const struct val_metric *m, const struct val_rows *rows, double *out,
                 struct err *err);
};
/* NULL: there is none of this name. */
const struct val_metric_def *val_metric_find(const char *name);
void val_metric_names(struct buf *out); /* "accuracy, …" */

/* Adds a case's answers. ERR_INVALID: output or labels are not what the metric needs,
 * or of another width than the cases before. */
int val_rows_add(struct val_rows *rows, const struct val_metric *m,
                 const struct sm_tensor *out, const struct sm_tensor *labels,
                 struct err *err) MUST_CHECK;

#endif
