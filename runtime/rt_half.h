/* SPDX-License-Identifier: Apache-2.0 */
/* float16 and bfloat16 to and from float: round to nearest even, NaN stays NaN. */
#ifndef RUNTIME_RT_HALF_H
#define RUNTIME_RT_HALF_H

#include <stdint.h>
#include <string.h>

static inline float
rt_bits_f32(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof(f));
    return f;
}

static inline uint32_t
rt_f32_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof(u));
    return u;
}

static inline float
rt_bf16_to_f32(uint16_t h)
{
    return rt_bits_f32((uint32_t)h << 16);
}

static inline uint16_t
rt_f32_to_bf16(float f)
{
    uint32_t u = rt_f32_bits(f);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)((u >> 31 << 15) | 0x7fc0u);
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

static inline float
rt_half_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t exp = (h >> 10) & 0x1fu, man = h & 0x3ffu;
    if (exp == 0x1f)
        return rt_bits_f32(sign | 0x7f800000u | man << 13);
    if (exp != 0)
        return rt_bits_f32(sign | (exp + 112) << 23 | man << 13);
    float v = (float)man * (1.0f / 16777216.0f); /* subnormal: man * 2^-24, exact */
    return sign ? -v : v;
}

static inline uint16_t
rt_f32_to_half(float f)
{
    uint32_t u = rt_f32_bits(f);
    uint32_t sign = (u >> 16) & 0x8000u, a = u & 0x7fffffffu;
    if (a > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u);
    if (a >= 0x477ff000u) /* 65520 and more round to infinity */
        return (uint16_t)(sign | 0x7c00u);
    if (a < 0x38800000u) { /* below 2^-14: adding 0.5 rounds to a multiple of 2^-24 */
        float r = rt_bits_f32(a) + 0.5f;
        return (uint16_t)(sign | (rt_f32_bits(r) - 0x3f000000u));
    }
    return (uint16_t)(sign | ((a - 0x38000000u + 0xfffu + ((a >> 13) & 1u)) >> 13));
}

#endif
