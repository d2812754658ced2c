/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/ops/random_int.h"

#include "runtime/rt_half.h"

#include <math.h>

#define PI 3.14159265358979323846

void
rnd_init(struct rnd *r, uint64_t seed, uint64_t seed2)
{
    *r = (struct rnd){
        .counter = { 0, 0, (uint32_t)seed2, (uint32_t)(seed2 >> 32) },
        .key = { (uint32_t)seed, (uint32_t)(seed >> 32) },
    };
}

void
rnd_skip(struct rnd *r, uint64_t n_blocks)
{
    uint64_t lo = (uint64_t)r->counter[1] << 32 | r->counter[0],
             hi = (uint64_t)r->counter[3] << 32 | r->counter[2];
    hi += lo + n_blocks < lo;
    lo += n_blocks;
    r->counter[0] = (uint32_t)lo;
    r->counter[1] = (uint32_t)(lo >> 32);
    r->counter[2] = (uint32_t)hi;
    r->counter[3] = (uint32_t)(hi >> 32);
}

void
rnd_next(struct rnd *r, uint32_t out[4])
{
    uint32_t c[4] = { r->counter[0], r->counter[1], r->counter[2], r->counter[3] };
    uint32_t k0 = r->key[0], k1 = r->key[1];
    for (int i = 0; i < 10; i++) {
        uint64_t a = (uint64_t)0xd2511f53u * c[0], b = (uint64_t)0xcd9e8d57u * c[2];
        c[0] = (uint32_t)(b >> 32) ^ c[1] ^ k0;
        c[1] = (uint32_t)b;
        c[2] = (uint32_t)(a >> 32) ^ c[3] ^ k1;
        c[3] = (uint32_t)a;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    memcpy(out, c, sizeof(c));
    rnd_skip(r, 1);
}

/* ---- numbers ----------------------------------------------------------------------
 */

/* Random mantissas of numbers in [1, 2), less one. */
static float
unit_f32(uint32_t x)
{
    return rt_bits_f32(127u << 23 | (x & 0x7fffffu)) - 1.0f;
}

static double
unit_f64(uint32_t hi, uint32_t lo)
{
    uint64_t u = (uint64_t)1023 << 52 | (uint64_t)(hi & 0xfffffu) << 32 | lo;
    double d;
    memcpy(&d, &u, sizeof(d));
    return d - 1.0;
}

/* Two normal numbers from two uniform ones. */
static void
normals_f32(uint32_t x0, uint32_t x1, float y[2])
{
    const float least = 1.0e-7f;
    float u = unit_f32(x0), v = (float)(2 * PI) * unit_f32(x1);
    if (u < least)
        u = least;
    float r = sqrtf(-2.0f * logf(u));
    y[0] = sinf(v) * r;
    y[1] = cosf(v) * r;
}

static void
normals_f64(const uint32_t x[4], double y[2])
{
    const double least = 1.0e-7;
    double u = unit_f64(x[0], x[1]), v = 2 * PI * unit_f64(x[2], x[3]);
    if (u < least)
        u = least;
    double r = sqrt(-2.0 * log(u));
    y[0] = sin(v) * r;
    y[1] = cos(v) * r;
}

/* ---- blocks -----------------------------------------------------------------------
 */

/* Truncated numbers take as many draws as they need: each block of outputs begins at a
 * place of its own, far enough from the next. */
enum { DRAWS_RESERVED = 256 }; /* for each output */

struct single { /* draws one number at a time */
    struct rnd r;
    uint32_t block[4];
    int used;
};

static uint32_t
draw(struct single *s)
{
    if (s->used == 4) {
        rnd_next(&s->r, s->block);
        s->used = 0;
    }
    return s->block[s->used++];
}

static void
truncated(struct rnd r, bool is_double, double *out, int n)
{
    struct single s = { .r = r, .used = 4 };
    for (int k = 0; k < n;) {
        double y[2];
        if (is_double) {
            uint32_t x[4];
            for (int i = 0; i < 4; i++)
                x[i] = draw(&s);
            normals_f64(x, y);
        } else {
            float f[2];
            uint32_t x0 = draw(&s), x1 = draw(&s);
            normals_f32(x0, x1, f);
            y[0] = (double)f[0];
            y[1] = (double)f[1];
        }
        for (int i = 0; i < 2 && k < n; i++)
            if (fabs(y[i]) < 2)
                out[k++] = y[i];
    }
}

/* The next two (double) or four values of a stream. */
static void
block(struct rnd *r, enum rnd_kind kind, int dtype, double v[4])
{
    uint32_t x[4];
    float f[4] = { 0 };
    if (kind == RND_TRUNCATED) {
        int n = dtype == SM_DOUBLE ? 2 : 4;
        truncated(*r, dtype == SM_DOUBLE, v, n);
        rnd_skip(r, (uint64_t)n * DRAWS_RESERVED / 4);
        return;
    }
    rnd_next(r, x);
    if (dtype == SM_DOUBLE) {
        if (kind == RND_NORMAL) {
            normals_f64(x, v);
        } else {
            v[0] = unit_f64(x[0], x[1]);
            v[1] = unit_f64(x[2], x[3]);
        }
        return;
    }
    for (int i = 0; i < 4; i++) {
        if (kind == RND_NORMAL && i % 2 == 0)
            normals_f32(x[i], x[i + 1], f + i);
        else if (kind == RND_UNIFORM && dtype == SM_HALF)
            f[i] = rt_half_to_f32((uint16_t)(15u << 10 | (x[i] & 0x3ffu))) - 1.0f;
        else if (kind == RND_UNIFORM && dtype == SM_BFLOAT16)
            f[i] = rt_bf16_to_f32((uint16_t)(127u << 7 | (x[i] & 0x7fu))) - 1.0f;
        else if (kind == RND_UNIFORM)
            f[i] = unit_f32(x[i]);
    }
    for (int i = 0; i < 4; i++)
        v[i] = (double)f[i];
}

static void
put(int dtype, void *out, int64_t i, double v)
{
    switch (dtype) {
    case SM_FLOAT:
        ((float *)out)[i] = (float)v;
        break;
    case SM_DOUBLE:
        ((double *)out)[i] = v;
        break;
    case SM_HALF:
        ((uint16_t *)out)[i] = rt_f32_to_half((float)v);
        break;
    default:
        ((uint16_t *)out)[i] = rt_f32_to_bf16((float)v);
    }
}

static bool
is_wide(int dtype)
{
    return dtype == SM_INT64 || dtype == SM_UINT64;
}

bool
rnd_fill_range(struct rnd r, int dtype, uint64_t low, uint64_t range, void *out,
               int64_t n)
{
    uint32_t x[4] = { 0 };
    bool wide = is_wide(dtype);
    if (!wide && dtype != SM_INT32 && dtype != SM_UINT32)
        return false;
    int per = wide ? 2 : 4;
    for (int64_t i = 0; i < n; i++) {
        int k = (int)(i % per);
        if (k == 0)
            rnd_next(&r, x);
        if (wide) {
            uint64_t v = (uint64_t)x[2 * k + 1] << 32 | x[2 * k];
            ((uint64_t *)out)[i] = low + (range ? v % range : v);
        } else {
            uint32_t v = x[k], m = (uint32_t)range;
            ((uint32_t *)out)[i] = (uint32_t)low + (m ? v % m : v);
        }
    }
    return true;
}

bool
rnd_fill(struct rnd r, enum rnd_kind kind, int dtype, void *out, int64_t n)
{
    if (kind == RND_BITS)
        return rnd_fill_range(r, dtype, 0, 0, out, n);
    if (dtype != SM_FLOAT && dtype != SM_DOUBLE && dtype != SM_HALF &&
        dtype != SM_BFLOAT16)
        return false;
    int per = dtype == SM_DOUBLE ? 2 : 4;
    double v[4];
    for (int64_t i = 0; i < n; i++) {
        if (i % per == 0)
            block(&r, kind, dtype, v);
        put(dtype, out, i, v[i % per]);
    }
    return true;
}
