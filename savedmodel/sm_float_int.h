/* SPDX-License-Identifier: Apache-2.0 */
/* The fewest decimal digits that name a binary float, and small float formats. */
#ifndef SAVEDMODEL_SM_FLOAT_INT_H
#define SAVEDMODEL_SM_FLOAT_INT_H

#include <stdbool.h>
#include <stdint.h>

enum sm_float_kind { SM_F16, SM_F32, SM_F64 };

/* |v| as whole "." frac, times 10^exp10 in the scientific form; no zeros at the end of
 * frac, which may be empty. */
struct sm_float_text {
    char whole[48];
    char frac[48];
    int exp10;
};
/* How many digits may and must stand behind the point. Without limits these are the
 * shortest that read back as v; fewer or more are those of v's exact value, rounded.
 * In the positional form -1 and less mean places before the point. */
struct sm_float_places {
    int min, max;
};
#define SM_FLOAT_ALL_PLACES ((struct sm_float_places){ -99, 99 })
/* v is finite and exactly a value of `kind`; in the positional form below 1e17, and
 * zero or not below 1e-5. */
void sm_float_text(double v, enum sm_float_kind kind, bool is_scientific,
                   struct sm_float_places want, struct sm_float_text *out);
/* a / b rounded to the kind. */
double sm_float_ratio(double a, double b, enum sm_float_kind kind);
double sm_half_value(uint16_t bits);

#endif
