/* SPDX-License-Identifier: Apache-2.0 */
/* How two answers differ beyond the worst element: how errors are spread, and which
 * decisions flip. Both are sums over as many pairs of tensors as one likes. */
#ifndef VALIDATE_VAL_SPREAD_H
#define VALIDATE_VAL_SPREAD_H

#include "validate/val_int.h"

enum { VAL_DECADE_MIN = -12, VAL_DECADE_MAX = 6, VAL_DECADES = 20 };

struct val_errors {
    int64_t n, n_same;
    int64_t n_apart; /* NaN or an infinity on one side only: in no bin, sum or shift */
    double sum, max, shift; /* of |a - b|; of a - b (its real part) */
    /* 0: above 0, below 10^VAL_DECADE_MIN; then by decade, the last without end */
    int64_t bins[VAL_DECADES];
};
/* Numbers only, of the same shape; others change nothing. */
void val_errors_add(struct val_errors *e, const struct sm_tensor *got,
                    const struct sm_tensor *want);
/* {"n", "same", "apart", "mean", "max", "shift", "bins": [{"from", "n"}]}, bins that
 * hold none left out. */
cJSON *val_errors_json(const struct val_errors *e);

/* A decision is the class with the largest score (the first of equals) of a row of a
 * float matrix, whether a column of scores within [0, 1] is above 0.5, or an element
 * that is an integer, bool or string. */
struct val_flips {
    int64_t n, n_flipped;
    int64_t n_top_5, n_top_5_same; /* rows of more than 5 scores */
    struct val_flip {
        int64_t from, to, n;
    } * v; /* by class; not of strings */
    int n_kinds, cap_kinds;
    bool is_cut; /* more kinds of flips than are kept */
};
/* `from` and `to` of the same shape; false: this is no output that decides. */
bool val_flips_add(struct val_flips *f, const struct sm_tensor *from,
                   const struct sm_tensor *to);
/* {"n", "flipped", "share", "agree": {"1", "5"}, "flips": [{"from", "to", "n"}]}, the
 * most frequent first, at most 20. */
cJSON *val_flips_json(const struct val_flips *f);
void val_flips_release(struct val_flips *f); /* for AUTO */

#endif
