/* SPDX-License-Identifier: Apache-2.0 */
/* Single precision functions without branches, so that loops over them vectorise.
 * Errors are a few units in the last place. Special values are C's: NaN in, NaN out;
 * overflow to inf, underflow to 0. */
#ifndef RUNTIME_OPS_MATH_VEC_H
#define RUNTIME_OPS_MATH_VEC_H

#include "runtime/rt_half.h"

#include <math.h>

static inline float
v_abs(float x)
{
    return rt_bits_f32(rt_f32_bits(x) & 0x7fffffffu);
}

/* 2^n for -126 <= n <= 127 */
static inline float
v_pow2(int32_t n)
{
    return rt_bits_f32((uint32_t)(n + 127) << 23);
}

/* x = n ln 2 + r; e^r as a Taylor-like polynomial on [-0.35, 0.35]; times 2^n in two
 * steps, since 2^n alone may be out of range. */
static inline float
v_exp(float x)
{
    float z = x > -104.0f ? x : -104.0f; /* NaN too: no integer stands for it below */
    z = z > 89.0f ? 89.0f : z;
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    float n = (z * 1.44269504f + magic) - magic;
    float r = (z - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.0f / 5040.0f;
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    float y = (p * r) * r + r + 1.0f;
    int32_t k = (int32_t)n, half = k >> 1;
    y = (y * v_pow2(half)) * v_pow2(k - half);
    return x != x ? x : y;
}

/* e^x - 1: exact near 0, where e^x - 1 would lose digits. */
static inline float
v_expm1(float x)
{
    float p = 1.0f / 40320.0f;
    p = p * x + 1.0f / 5040.0f;
    p = p * x + 1.0f / 720.0f;
    p = p * x + 1.0f / 120.0f;
    p = p * x + 1.0f / 24.0f;
    p = p * x + 1.0f / 6.0f;
    p = p * x + 0.5f;
    float small = x * (1.0f + p * x); /* -0 stays -0 */
    return v_abs(x) < 0.4f ? small : v_exp(x) - 1.0f;
}

/* x = m 2^e with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh((m - 1) / (m + 1)). */
static inline float
v_log(float x)
{
    float tiny = x < 1.17549435e-38f ? 8388608.0f : 1.0f; /* subnormals times 2^23 */
    uint32_t u = rt_f32_bits(x * tiny);
    int32_t e = (int32_t)(u - 0x3f3504f3u) >> 23;
    float m = rt_bits_f32(u - ((uint32_t)e << 23));
    float n = (float)e - (tiny > 1.0f ? 23.0f : 0.0f);
    float f = m - 1.0f, s = f / (m + 1.0f), w = s * s;
    float p = 0.22222222f;
    p = p * w + 0.28571429f;
    p = p * w + 0.4f;
    p = p * w + 0.66666667f;
    p = p * w;
    /* log(1 + f) = f - f^2/2 + s (f^2/2 + p) */
    float h = 0.5f * f * f;
    float y = (f - (h - s * (h + p))) - n * 2.12194440e-4f + n * 0.693359375f;
    y = x == 0.0f ? -INFINITY : y;
    y = x < 0.0f ? NAN : y;
    y = x == INFINITY ? INFINITY : y;
    return x != x ? x : y;
}

/* A rational approximation in x^2, fitted on [-8, 8] (error 4e-7 of the value). */
static inline float
v_tanh(float x)
{
    float z = x < -8.0f ? -8.0f : x;
    z = z > 8.0f ? 8.0f : z;
    float u = z * z;
    float p = 1.52301222e-08f;
    p = p * u + 2.189445e-05f;
    p = p * u + 0.00357158509f;
    p = p * u + 0.13444487f;
    p = p * u + 1.0f;
    float q = 8.5223263e-07f;
    q = q * u + 0.000341127093f;
    q = q * u + 0.0261643936f;
    q = q * u + 0.467778144f;
    q = q * u + 1.0f;
    float y = z * p / q;
    y = y > 1.0f ? 1.0f : y;
    y = y < -1.0f ? -1.0f : y;
    return x != x ? x : y;
}

/* Sine of x + quarter * pi/2, for |x| <= V_SIN_MAX: x = n pi/2 + r, with pi/2 in three
 * parts so that the products are exact. */
#define V_SIN_MAX 8192.0f
static inline float
v_sin_from(float x, int32_t quarter)
{
    const float magic = 12582912.0f;
    float n = (x * 0.636619772f + magic) - magic;
    float r = ((x - n * 1.5703125f) - n * 4.837512969970703125e-4f) -
              n * 7.549789948768648e-8f;
    float w = r * r;
    float s = -1.0f / 5040.0f + w * (1.0f / 362880.0f);
    s = s * w + 1.0f / 120.0f;
    s = s * w - 1.0f / 6.0f;
    s = r * (1.0f + w * s); /* -0 stays -0 */
    float c = 1.0f / 40320.0f - w * (1.0f / 3628800.0f);
    c = c * w - 1.0f / 720.0f;
    c = c * w + 1.0f / 24.0f;
    c = c * w - 0.5f;
    c = 1.0f + w * c;
    int32_t q = (int32_t)n + quarter;
    float y = q & 1 ? c : s;
    return q & 2 ? -y : y;
}

static inline float
v_sigmoid(float x)
{
    return 1.0f / (1.0f + v_exp(-x));
}

/* A rational approximation in x^2, fitted on [-4, 4] (error 3e-7); beyond, |erf| = 1.
 */
static inline float
v_erf(float x)
{
    float z = x < -4.0f ? -4.0f : x;
    z = z > 4.0f ? 4.0f : z;
    float u = z * z;
    float p = 1.97483011e-06f;
    p = p * u + 0.000288042362f;
    p = p * u + 0.00400367075f;
    p = p * u + 0.0534675519f;
    p = p * u + 0.196249507f;
    p = p * u + 1.12837898f;
    float q = 3.74809138e-05f;
    q = q * u + 0.00121636675f;
    q = q * u + 0.0154444698f;
    q = q * u + 0.116476649f;
    q = q * u + 0.507252756f;
    q = q * u + 1.0f;
    float y = z * p / q;
    y = y > 1.0f ? 1.0f : y;
    y = y < -1.0f ? -1.0f : y;
    return x != x ? x : y;
}

/* log(1 + e^x) = max(x, 0) + log1p(e^-|x|); log1p as log(u) t / (u - 1), u = 1 + t. */
static inline float
v_softplus(float x)
{
    float t = v_exp(-v_abs(x)), u = 1.0f + t, d = u - 1.0f;
    float l = d == 0.0f ? t : v_log(u) * (t / (d == 0.0f ? 1.0f : d));
    float y = (x > 0.0f ? x : 0.0f) + l;
    return x != x ? x : y;
}

#endif
