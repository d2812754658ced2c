/* SPDX-License-Identifier: Apache-2.0 */
/* Elements of a tensor as numbers, whatever its dtype. */
#include "validate/val_int.h"

#include "runtime/rt_half.h"

#include <math.h>

const char *const val_family_names[] = { "none",    "float", "complex",
                                         "integer", "bool",  "string" };

enum val_family
val_family_of(int dtype)
{
    switch (dtype) {
    case SM_HALF:
    case SM_BFLOAT16:
    case SM_FLOAT:
    case SM_DOUBLE:
        return VAL_F_FLOAT;
    case SM_COMPLEX64:
    case SM_COMPLEX128:
        return VAL_F_COMPLEX;
    case SM_INT8:
    case SM_INT16:
    case SM_INT32:
    case SM_INT64:
    case SM_UINT8:
    case SM_UINT16:
    case SM_UINT32:
    case SM_UINT64:
    case SM_QINT8:
    case SM_QINT16:
    case SM_QINT32:
    case SM_QUINT8:
    case SM_QUINT16:
        return VAL_F_INT;
    case SM_BOOL:
        return VAL_F_BOOL;
    case SM_STRING:
        return VAL_F_STRING;
    default:
        return VAL_F_NONE;
    }
}

bool
val_is_int(int dtype)
{
    return val_family_of(dtype) == VAL_F_INT;
}

bool
val_is_float(int dtype)
{
    return val_family_of(dtype) == VAL_F_FLOAT;
}

bool
val_is_discrete(int dtype)
{
    return val_family_of(dtype) == VAL_F_INT || val_family_of(dtype) == VAL_F_BOOL ||
           val_family_of(dtype) == VAL_F_STRING;
}

/* ---- elements ------------------------------------------------------------------- */

int64_t
val_int_at(const struct sm_tensor *t, int64_t i)
{
    const void *p = t->data;

    switch (t->dtype) {
    case SM_INT8:
    case SM_QINT8:
        return ((const int8_t *)p)[i];
    case SM_INT16:
    case SM_QINT16:
        return ((const int16_t *)p)[i];
    case SM_INT32:
    case SM_QINT32:
        return ((const int32_t *)p)[i];
    case SM_INT64:
    case SM_UINT64: /* its bits; val_is_huge tells */
        return ((const int64_t *)p)[i];
    case SM_UINT16:
    case SM_QUINT16:
        return ((const uint16_t *)p)[i];
    case SM_UINT32:
        return ((const uint32_t *)p)[i];
    default: /* bool, uint8, quint8 */
        return ((const uint8_t *)p)[i];
    }
}

/* A uint64 above INT64_MAX. */
bool
val_is_huge(const struct sm_tensor *t, int64_t i)
{
    return t->dtype == SM_UINT64 && val_int_at(t, i) < 0;
}

double
val_real_at(const struct sm_tensor *t, int64_t i)
{
    const void *p = t->data;

    switch (t->dtype) {
    case SM_FLOAT:
        return (double)((const float *)p)[i];
    case SM_DOUBLE:
        return ((const double *)p)[i];
    case SM_HALF:
        return (double)rt_half_to_f32(((const uint16_t *)p)[i]);
    case SM_BFLOAT16:
        return (double)rt_bf16_to_f32(((const uint16_t *)p)[i]);
    case SM_COMPLEX64:
        return (double)((const float *)p)[2 * i];
    case SM_COMPLEX128:
        return ((const double *)p)[2 * i];
    case SM_UINT64:
        return (double)((const uint64_t *)p)[i];
    default:
        return (double)val_int_at(t, i);
    }
}

double
val_imag_at(const struct sm_tensor *t, int64_t i)
{
    if (t->dtype == SM_COMPLEX64)
        return (double)((const float *)t->data)[2 * i + 1];
    return t->dtype == SM_COMPLEX128 ? ((const double *)t->data)[2 * i + 1] : 0;
}

/* NumPy's 'S' arrays cannot keep NULs at the end, so they do not count. */
struct str
val_string_at(const struct sm_tensor *t, int64_t i)
{
    struct str s = sm_tensor_str(t)[i];

    while (s.n > 0 && s.p[s.n - 1] == '\0')
        s.n--;
    return s;
}

static bool
is_nan_at(const struct sm_tensor *t, int64_t i)
{
    return isnan(val_real_at(t, i)) || isnan(val_imag_at(t, i));
}

bool
val_is_finite_at(const struct sm_tensor *t, int64_t i)
{
    return isfinite(val_real_at(t, i)) && isfinite(val_imag_at(t, i));
}

/* The same value; NaN is the same as NaN. */
bool
val_same_at(const struct sm_tensor *a, const struct sm_tensor *b, int64_t i)
{
    switch (val_family_of(b->dtype)) {
    case VAL_F_STRING:
        return str_eq(val_string_at(a, i), val_string_at(b, i));
    case VAL_F_INT:
    case VAL_F_BOOL:
        return val_int_at(a, i) == val_int_at(b, i) &&
               val_is_huge(a, i) == val_is_huge(b, i);
    default:
        return (val_real_at(a, i) == val_real_at(b, i) &&
                val_imag_at(a, i) == val_imag_at(b, i)) ||
               (is_nan_at(a, i) && is_nan_at(b, i));
    }
}

/* |a - b|, 0 where both are the same (infinities included). */
double
val_diff_at(const struct sm_tensor *a, const struct sm_tensor *b, int64_t i)
{
    return val_same_at(a, b, i) ? 0
                                : hypot(val_real_at(a, i) - val_real_at(b, i),
                                        val_imag_at(a, i) - val_imag_at(b, i));
}

double
val_size_at(const struct sm_tensor *t, int64_t i)
{
    return hypot(val_real_at(t, i), val_imag_at(t, i));
}
