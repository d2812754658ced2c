/* SPDX-License-Identifier: Apache-2.0 */
/* numpy.random.RandomState: the Mersenne Twister (MT19937) and what is drawn from it,
 * the same bits as NumPy, whose streams for a seed are frozen. */
#include "savedmodel/sm_expr_int.h"

#include <math.h>

#define LENGTH 624
#define SHIFT 397

void
sm_random_seed(struct sm_random *r, uint32_t seed)
{
    *r = (struct sm_random){ .at = LENGTH };
    for (uint32_t i = 0; i < LENGTH; i++) {
        r->key[i] = seed;
        seed = 1812433253u * (seed ^ seed >> 30) + i + 1;
    }
}

static void
refill(struct sm_random *r)
{
    for (int i = 0; i < LENGTH; i++) {
        uint32_t y =
            (r->key[i] & 0x80000000u) | (r->key[(i + 1) % LENGTH] & 0x7fffffffu);
        r->key[i] = r->key[(i + SHIFT) % LENGTH] ^ y >> 1 ^ (y & 1 ? 0x9908b0dfu : 0);
    }
    r->at = 0;
}

static uint32_t
next32(struct sm_random *r)
{
    if (r->at == LENGTH)
        refill(r);
    uint32_t y = r->key[r->at++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680u;
    y ^= y << 15 & 0xefc60000u;
    return y ^ y >> 18;
}

double
sm_random_unit(struct sm_random *r)
{
    uint32_t a = next32(r) >> 5, b = next32(r) >> 6;
    return (a * 67108864.0 + b) / 9007199254740992.0;
}

/* Marsaglia's polar method makes two at a time. */
double
sm_random_normal(struct sm_random *r)
{
    double x, y, r2;
    if (r->has_spare) {
        r->has_spare = false;
        return r->spare;
    }
    do {
        x = 2.0 * sm_random_unit(r) - 1.0;
        y = 2.0 * sm_random_unit(r) - 1.0;
        r2 = x * x + y * y;
    } while (r2 >= 1.0 || r2 == 0.0);
    double f = sqrt(-2.0 * log(r2) / r2);
    r->spare = f * x;
    r->has_spare = true;
    return f * y;
}

/* `bits` bits; small ones are cut from one draw, lowest first. */
static uint64_t
next_bits(struct sm_random *r, int bits)
{
    if (bits == 64) {
        uint64_t hi = next32(r);
        return hi << 32 | next32(r);
    }
    if (bits == 32)
        return next32(r);
    if (r->n_cut == 0) {
        r->cut = next32(r);
        r->n_cut = 32 / bits;
    } else {
        r->cut >>= bits;
    }
    r->n_cut--;
    return r->cut & (((uint32_t)1 << bits) - 1);
}

uint64_t
sm_random_below(struct sm_random *r, uint64_t most, int bits)
{
    uint64_t mask = most, v;
    if (most == 0)
        return 0;
    if (bits == 64 && most <= UINT32_MAX)
        bits = 32;
    for (int i = 1; i < 64; i <<= 1)
        mask |= mask >> i;
    do
        v = next_bits(r, bits) & mask;
    while (v > most);
    return v;
}
