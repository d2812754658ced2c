/* SPDX-License-Identifier: Apache-2.0 */
#include "savedmodel/savedmodel.h"

#include "savedmodel/sm_float_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum kind { KIND_BOOL, KIND_INT, KIND_UINT, KIND_FLOAT, KIND_COMPLEX, KIND_OTHER };

static enum kind
kind_of(int dtype)
{
    switch (dtype) {
    case SM_BOOL:
        return KIND_BOOL;
    case SM_INT8:
    case SM_INT16:
    case SM_INT32:
    case SM_INT64:
    case SM_QINT8:
    case SM_QINT16:
    case SM_QINT32:
        return KIND_INT;
    case SM_UINT8:
    case SM_UINT16:
    case SM_UINT32:
    case SM_UINT64:
    case SM_QUINT8:
    case SM_QUINT16:
        return KIND_UINT;
    case SM_HALF:
    case SM_BFLOAT16:
    case SM_FLOAT:
    case SM_DOUBLE:
        return KIND_FLOAT;
    case SM_COMPLEX64:
    case SM_COMPLEX128:
        return KIND_COMPLEX;
    default:
        return KIND_OTHER;
    }
}

/* A number of any kind: integers are exact in `i` (or, above INT64_MAX, in `u`). */
struct number {
    bool is_int;
    bool big; /* the value is u */
    int64_t i;
    uint64_t u;
    double re, im;
};

static struct number
whole(int64_t i)
{
    return (struct number){ .is_int = true, .i = i, .re = (double)i };
}

static struct number
get(const void *p, int dtype)
{
    struct number x = { 0 };
#define AS(type) (*(const type *)p)
    switch (dtype) {
    case SM_BOOL:
    case SM_UINT8:
    case SM_QUINT8:
        return whole(AS(uint8_t));
    case SM_INT8:
    case SM_QINT8:
        return whole(AS(int8_t));
    case SM_INT16:
    case SM_QINT16:
        return whole(AS(int16_t));
    case SM_UINT16:
    case SM_QUINT16:
        return whole(AS(uint16_t));
    case SM_INT32:
    case SM_QINT32:
        return whole(AS(int32_t));
    case SM_UINT32:
        return whole(AS(uint32_t));
    case SM_INT64:
        return whole(AS(int64_t));
    case SM_UINT64:
        x = whole((int64_t)AS(uint64_t));
        x.big = AS(uint64_t) > INT64_MAX;
        x.u = AS(uint64_t);
        x.re = (double)x.u;
        return x;
    case SM_HALF:
        x.re = sm_half_value(AS(uint16_t));
        return x;
    case SM_BFLOAT16: {
        uint32_t bits = (uint32_t)AS(uint16_t) << 16;
        float f;
        memcpy(&f, &bits, sizeof f);
        x.re = (double)f;
        return x;
    }
    case SM_FLOAT:
        x.re = (double)AS(float);
        return x;
    case SM_DOUBLE:
        x.re = AS(double);
        return x;
    case SM_COMPLEX64:
        x.re = (double)AS(float);
        x.im = (double)((const float *)p)[1];
        return x;
    default:
        x.re = AS(double);
        x.im = ((const double *)p)[1];
        return x;
    }
#undef AS
}

/* Rounds to nearest even with `mantissa` explicit bits and exponents from min_exp. */
static uint16_t
small_float(double v, int mantissa, int exp_bits)
{
    int bias = (1 << (exp_bits - 1)) - 1;
    uint16_t sign = (uint16_t)(signbit(v) ? 0x8000 : 0);
    uint16_t inf = (uint16_t)(((1 << exp_bits) - 1) << mantissa);
    if (isnan(v))
        return (uint16_t)(sign | inf | (1 << (mantissa - 1)));
    int e;
    double a = fabs(v);
    if (isinf(a) || a == 0)
        return (uint16_t)(sign | (a == 0 ? 0 : inf));
    frexp(a, &e);
    int exp =
        e - 1 < 1 - bias ? 1 - bias : e - 1; /* of the unit bit; subnormals share one */
    double units = nearbyint(ldexp(a, mantissa - exp));
    /* A carry runs into the exponent by itself: the fields are adjacent. */
    int bits = (int)units + ((exp + bias - 1) << mantissa);
    return (uint16_t)(sign | (bits >= inf ? inf : bits));
}

static bool
put_int(void *p, int dtype, struct number x)
{
    if (!x.is_int) {
        if (!(x.re >= -0x1p63 && x.re < 0x1p63) || x.re != floor(x.re))
            return false;
        x.i = (int64_t)x.re;
    }
#define TRY(type, lo, hi)                                                              \
    if (x.big || x.i < (lo) || x.i > (hi))                                             \
        return false;                                                                  \
    *(type *)p = (type)x.i;                                                            \
    return true
    switch (dtype) {
    case SM_INT8:
    case SM_QINT8:
        TRY(int8_t, INT8_MIN, INT8_MAX);
    case SM_UINT8:
    case SM_QUINT8:
        TRY(uint8_t, 0, UINT8_MAX);
    case SM_INT16:
    case SM_QINT16:
        TRY(int16_t, INT16_MIN, INT16_MAX);
    case SM_UINT16:
    case SM_QUINT16:
        TRY(uint16_t, 0, UINT16_MAX);
    case SM_INT32:
    case SM_QINT32:
        TRY(int32_t, INT32_MIN, INT32_MAX);
    case SM_UINT32:
        TRY(uint32_t, 0, UINT32_MAX);
    case SM_INT64:
        TRY(int64_t, INT64_MIN, INT64_MAX);
    case SM_BOOL:
        TRY(uint8_t, 0, 1);
    default: /* SM_UINT64 */
        if (!x.big && x.i < 0)
            return false;
        *(uint64_t *)p = x.big ? x.u : (uint64_t)x.i;
        return true;
    }
#undef TRY
}

static bool
put(void *p, int dtype, struct number x)
{
    switch (dtype) {
    case SM_HALF:
        *(uint16_t *)p = small_float(x.re, 10, 5);
        return true;
    case SM_BFLOAT16:
        *(uint16_t *)p = small_float(x.re, 7, 8);
        return true;
    case SM_FLOAT:
        /* In one step: a big integer must not be rounded twice. */
        *(float *)p = x.big ? (float)x.u : x.is_int ? (float)x.i : (float)x.re;
        return true;
    case SM_DOUBLE:
        *(double *)p = x.re;
        return true;
    case SM_COMPLEX64:
        ((float *)p)[0] = (float)x.re;
        ((float *)p)[1] = (float)x.im;
        return true;
    case SM_COMPLEX128:
        ((double *)p)[0] = x.re;
        ((double *)p)[1] = x.im;
        return true;
    default:
        return put_int(p, dtype, x);
    }
}

int
sm_tensor_cast(struct sm_tensor *t, int dtype, const char *what, struct err *err)
{
    enum kind from = kind_of(t->dtype), to = kind_of(dtype);
    if (t->dtype == dtype)
        return 0;
    if (from == KIND_OTHER || to == KIND_OTHER ||
        (from == KIND_COMPLEX && to != KIND_COMPLEX))
        return err_set(err, ERR_INVALID, "%s: %s cannot be given as %s", what,
                       sm_dtype_name(t->dtype), sm_dtype_name(dtype));
    struct sm_tensor out = { 0 };
    if (sm_tensor_alloc(&out, dtype, t->rank, t->dims, err) < 0)
        return err_ctx(err, "%s", what);
    size_t from_bytes = sm_dtype_info(t->dtype)->size_bytes,
           to_bytes = sm_dtype_info(dtype)->size_bytes;
    for (int64_t i = 0; i < t->n_elems; i++) {
        struct number x = get((const char *)t->data + (size_t)i * from_bytes, t->dtype);
        if (!put((char *)out.data + (size_t)i * to_bytes, dtype, x)) {
            char text[40];
            snprintf(text, sizeof text, "%.17g", x.re);
            sm_tensor_release(&out);
            return err_set(err, ERR_INVALID, "%s: element %lld is %s, which is no %s",
                           what, (long long)i, text, sm_dtype_name(dtype));
        }
    }
    sm_tensor_release(t);
    *t = out;
    return 0;
}
