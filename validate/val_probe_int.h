/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of probing share. */
#ifndef VALIDATE_VAL_PROBE_INT_H
#define VALIDATE_VAL_PROBE_INT_H

#include "savedmodel/tensor.h"
#include "validate/val_int.h"

/* Families of dtypes; complex numbers are reals twice. */
enum family { REALS = 1, INTS = 2, BOOLS = 4, STRINGS = 8 };
enum fill {
    RANDOM,
    ZERO,
    ONE,
    LARGEST,
    LOWEST,
    DENORMAL,
    MINUS_ZERO,
    NOT_A_NUMBER,
    PLUS_INF,
    MINUS_INF,
    EMPTY,
    DIGITS,
    UTF8,
    LONG
};

/* 0: a golden set cannot hold the dtype. */
unsigned val_fill_family(int dtype);
/* t has dtype and shape, and gets its values; `below`: integers (and reals that stand
 * for such) are ids of so many rows; 0: they are not, as far as one knows. */
int val_fill(struct sm_tensor *t, enum fill fill, int64_t below, uint64_t *state,
             struct err *err) MUST_CHECK;

#endif
