/* SPDX-License-Identifier: Apache-2.0 */
#include "savedmodel/sm_float_int.h"

#include "savedmodel/tensor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The value that the nearest number of the kind has: to tell whether digits name v. */
static double
round_to(double v, enum sm_float_kind kind)
{
    if (kind == SM_F64)
        return v;
    if (kind == SM_F32)
        return (double)(float)v;
    if (v == 0 || !isfinite(v))
        return v;
    int e;
    (void)frexp(v, &e);
    /* 11 significant bits, and none below 2^-24. */
    int shift = e < -13 ? 24 : 11 - e;
    double r = ldexp(nearbyint(ldexp(v, shift)), -shift);
    return fabs(r) >= 65520 ? copysign(INFINITY, v) : r;
}

static double
parse(const char *text, enum sm_float_kind kind)
{
    if (kind == SM_F32)
        return (double)strtof(text, NULL);
    return round_to(strtod(text, NULL), kind);
}

/* "d.ddde-05" with the last digit one higher; false: it would carry. */
static bool
bump_last(char *text)
{
    char *e = strchr(text, 'e');
    if (e[-1] == '9')
        return false;
    e[-1]++;
    return true;
}

/* Digits "ddd" and exponent of the shortest decimal that reads back as v > 0. At a
 * power of two the numbers below lie closer than those above, so that the shortest
 * may lie above v although another of its length, below, is nearer. */
static int
shortest(double v, enum sm_float_kind kind, char digits[24])
{
    char text[48];
    int mant_exp;
    bool is_power = frexp(v, &mant_exp) == 0.5;
    for (int n = 1; n <= 17; n++) {
        (void)snprintf(text, sizeof(text), "%.*e", n - 1, v);
        if (parse(text, kind) == v ||
            (is_power && n > 1 && bump_last(text) && parse(text, kind) == v))
            break;
    }
    char *e = strchr(text, 'e');
    size_t len = 0;
    for (char *p = text; p < e; p++) {
        if (*p != '.')
            digits[len++] = *p;
    }
    digits[len] = '\0';
    return (int)strtol(e + 1, NULL, 10);
}

static void
trim_zeros(char *frac)
{
    size_t n = strlen(frac);
    while (n > 0 && frac[n - 1] == '0')
        frac[--n] = '\0';
}

/* Splits what snprintf wrote, "12.340", at the point. */
static void
split(const char *text, size_t n, struct sm_float_text *out)
{
    const char *point = memchr(text, '.', n);
    size_t n_whole = point ? (size_t)(point - text) : n;
    (void)snprintf(out->whole, sizeof(out->whole), "%.*s", (int)n_whole, text);
    (void)snprintf(out->frac, sizeof(out->frac), "%.*s",
                   point ? (int)(n - n_whole - 1) : 0, point ? point + 1 : "");
    trim_zeros(out->frac);
}

/* The shortest digits, which give n_frac places behind the point, are not what is
 * wanted: as many places as asked for, of the exact value, correctly rounded. */
static bool
wants_exact(int n_frac, const struct sm_float_places *want, int *places)
{
    *places = n_frac < want->min ? want->min : want->max;
    return n_frac < want->min || n_frac > want->max;
}

static void
scientific(double v, int exp10, const char *digits, const struct sm_float_places *want,
           struct sm_float_text *out)
{
    char text[48];
    int places;
    if (wants_exact((int)strlen(digits) - 1, want, &places)) {
        (void)snprintf(text, sizeof(text), "%.*e", places, v);
        const char *e = strchr(text, 'e');
        split(text, (size_t)(e - text), out);
        out->exp10 = (int)strtol(e + 1, NULL, 10);
        return;
    }
    (void)snprintf(out->whole, sizeof(out->whole), "%c", digits[0]);
    (void)snprintf(out->frac, sizeof(out->frac), "%s", digits + 1);
    trim_zeros(out->frac);
    out->exp10 = exp10;
}

static void
positional(double v, int exp10, const char *digits, const struct sm_float_places *want,
           struct sm_float_text *out)
{
    char text[64];
    int n_digits = (int)strlen(digits), n_whole = exp10 + 1, places;
    if (wants_exact(n_digits - n_whole, want, &places)) {
        split(text, (size_t)snprintf(text, sizeof(text), "%.*f", places, v), out);
        return;
    }
    if (n_whole <= 0) { /* 0.00ddd */
        (void)snprintf(out->whole, sizeof(out->whole), "0");
        (void)snprintf(out->frac, sizeof(out->frac), "%.*s%s", -n_whole, "000000000",
                       digits);
    } else if (n_whole >= n_digits) { /* ddd00. */
        (void)snprintf(out->whole, sizeof(out->whole), "%s%.*s", digits,
                       n_whole - n_digits, "0000000000000000");
    } else {
        (void)snprintf(out->whole, sizeof(out->whole), "%.*s", n_whole, digits);
        (void)snprintf(out->frac, sizeof(out->frac), "%s", digits + n_whole);
    }
    trim_zeros(out->frac);
}

void
sm_float_text(double v, enum sm_float_kind kind, bool is_scientific,
              struct sm_float_places want, struct sm_float_text *out)
{
    char digits[24] = "0";
    int exp10 = 0;
    v = fabs(v);
    if (v != 0)
        exp10 = shortest(v, kind, digits);
    *out = (struct sm_float_text){ .exp10 = 0 };
    if (is_scientific)
        scientific(v, exp10, digits, &want, out);
    else
        positional(v, exp10, digits, &want, out);
}

double
sm_float_ratio(double a, double b, enum sm_float_kind kind)
{
    if (kind == SM_F32)
        return (double)((float)a / (float)b);
    return round_to(a / b, kind);
}

/* A float of n_exp exponent and n_man mantissa bits, the sign above them. */
static double
small_float(uint32_t bits, int n_exp, int n_man, int bias)
{
    uint32_t man = bits & ((1u << n_man) - 1);
    int e = (int)(bits >> n_man & ((1u << n_exp) - 1));
    double v = e == 0 ? ldexp(man, 1 - bias - n_man)
                      : ldexp(man + (1u << n_man), e - bias - n_man);
    return bits >> (n_exp + n_man) & 1 ? -v : v;
}

/* As IEEE 754: the highest exponent means inf and nan. */
static double
ieee_float(uint32_t bits, int n_exp, int n_man, int bias)
{
    uint32_t top = (1u << n_exp) - 1, man = bits & ((1u << n_man) - 1);
    if ((bits >> n_man & top) != top)
        return small_float(bits, n_exp, n_man, bias);
    double v = man ? (double)NAN : (double)INFINITY;
    return bits >> (n_exp + n_man) & 1 ? -v : v;
}

double
sm_half_value(uint16_t bits)
{
    return ieee_float(bits, 5, 10, 15);
}

double
sm_float8_value(int dtype, uint8_t bits)
{
    switch (dtype) {
    case SM_FLOAT8_E5M2:
        return ieee_float(bits, 5, 2, 15);
    case SM_FLOAT8_E4M3FN: /* no inf; all ones is nan */
        return (bits & 0x7f) == 0x7f ? (double)NAN : small_float(bits, 4, 3, 7);
    default: /* the FNUZ forms: no inf, no -0, whose place is nan's */
        if (bits == 0x80)
            return (double)NAN;
        if (dtype == SM_FLOAT8_E5M2FNUZ)
            return small_float(bits, 5, 2, 16);
        return small_float(bits, 4, 3, dtype == SM_FLOAT8_E4M3FNUZ ? 8 : 11);
    }
}
