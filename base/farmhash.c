/* SPDX-License-Identifier: Apache-2.0 */
/* FarmHash's Fingerprint64 (the portable "na" variant) and TensorFlow's
 * FingerprintCat64.
 *
 * Up to 64 bytes each length class has its own formula. Longer strings run through a
 * loop over 64-byte blocks and end with one more round over the last 64 bytes, which
 * overlap the block before them. A block is mixed in as soon as a byte after it is
 * known, so the length need not be known beforehand; buf keeps the block that was mixed
 * last because the last round may reach back into it. */
#include "base/farmhash.h"

#include <string.h>

#define K0 0xc3a5c85c97cb3127U
#define K1 0xb492b66fbe98f273U
#define K2 0x9ae16a3b2f90404fU
#define KCAT 0xc6a4a7935bd1e995U
#define BLOCK 64

static inline uint64_t
get64(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static inline uint64_t
get32(const char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static inline uint64_t
rot(uint64_t v, int bits)
{
    return v >> bits | v << (64 - bits);
}

static inline uint64_t
mix(uint64_t v)
{
    return v ^ v >> 47;
}

static uint64_t
join(uint64_t u, uint64_t v, uint64_t mul)
{
    uint64_t a = mix((u ^ v) * mul);
    return mix((v ^ a) * mul) * mul;
}

static uint64_t
up_to_16(const char *s, uint64_t n)
{
    uint64_t mul = K2 + 2 * n;
    if (n >= 8) {
        uint64_t a = get64(s) + K2, b = get64(s + n - 8);
        return join(rot(b, 37) * mul + a, (rot(a, 25) + b) * mul, mul);
    }
    if (n >= 4)
        return join(n + (get32(s) << 3), get32(s + n - 4), mul);
    if (n == 0)
        return K2;
    uint32_t first = (uint8_t)s[0], middle = (uint8_t)s[n >> 1];
    uint32_t last = (uint8_t)s[n - 1];
    uint32_t y = first + (middle << 8), z = (uint32_t)n + (last << 2);
    return mix(y * K2 ^ z * K0) * K2;
}

static uint64_t
up_to_32(const char *s, uint64_t n)
{
    uint64_t mul = K2 + 2 * n;
    uint64_t a = get64(s) * K1, b = get64(s + 8);
    uint64_t c = get64(s + n - 8) * mul, d = get64(s + n - 16) * K2;
    return join(rot(a + b, 43) + rot(c, 30) + d, a + rot(b + K2, 18) + c, mul);
}

static uint64_t
up_to_64(const char *s, uint64_t n)
{
    uint64_t mul = K2 + 2 * n;
    uint64_t a = get64(s) * K2, b = get64(s + 8);
    uint64_t c = get64(s + n - 8) * mul, d = get64(s + n - 16) * K2;
    uint64_t y = rot(a + b, 43) + rot(c, 30) + d;
    uint64_t z = join(y, a + rot(b + K2, 18) + c, mul);
    uint64_t e = get64(s + 16) * mul, f = get64(s + 24);
    uint64_t g = (y + get64(s + n - 32)) * mul, h = (z + get64(s + n - 24)) * mul;
    return join(rot(e + f, 43) + rot(g, 30) + h, e + rot(f + a, 18) + g, mul);
}

/* 32 bytes and two seeds into a pair. */
static void
weak(const char *s, uint64_t a, uint64_t b, uint64_t out[2])
{
    uint64_t w = get64(s), x = get64(s + 8), y = get64(s + 16), z = get64(s + 24);
    a += w;
    b = rot(b + a + z, 21);
    uint64_t c = a;
    a += x + y;
    b += rot(a, 44);
    out[0] = a + z;
    out[1] = b + c;
}

/* One round; the last one has another multiplier and weighs two terms by nine. */
static void
round64(struct farm *f, const char *s, uint64_t mul, uint64_t nine)
{
    uint64_t x = rot(f->x + f->y + f->v[0] + get64(s + 8), 37) * mul;
    uint64_t y = rot(f->y + f->v[1] + get64(s + 48), 42) * mul;
    x ^= f->w[1] * nine;
    y += f->v[0] * nine + get64(s + 40);
    uint64_t z = rot(f->z + f->w[0], 33) * mul;
    uint64_t w1 = f->w[1], w0 = f->w[0];
    weak(s, f->v[1] * mul, x + w0, f->v);
    weak(s + 32, z + w1, y + get64(s + 16), f->w);
    f->x = z;
    f->y = y;
    f->z = x;
}

void
farm_init(struct farm *f)
{
    *f = (struct farm){ .x = 81 * K2, .y = 81 * K1 + 113 };
    f->z = mix(f->y * K2 + 113) * K2;
}

/* Mixes in a block after which more bytes are known to follow. */
static void
block(struct farm *f, const char *s, bool is_first)
{
    if (is_first)
        f->x += get64(s);
    round64(f, s, K1, 1);
}

void
farm_add(struct farm *f, const void *p, size_t n)
{
    const char *s = p;
    char *fresh = f->buf + BLOCK;
    if (n == 0)
        return;
    bool is_first = f->n_bytes <= BLOCK;
    f->n_bytes += n;
    size_t room = BLOCK - f->n_buf, part = n < room ? n : room;
    memcpy(fresh + f->n_buf, s, part);
    f->n_buf += part;
    s += part;
    n -= part;
    if (n == 0)
        return;
    block(f, fresh, is_first);
    memcpy(f->buf, fresh, BLOCK);
    if (n > BLOCK) {
        for (; n > BLOCK; s += BLOCK, n -= BLOCK)
            block(f, s, false);
        memcpy(f->buf, s - BLOCK, BLOCK);
    }
    memcpy(fresh, s, n);
    f->n_buf = n;
}

uint64_t
farm_end(const struct farm *f)
{
    const char *s = f->buf + BLOCK;
    uint64_t n = f->n_bytes;
    if (n <= 16)
        return up_to_16(s, n);
    if (n <= 32)
        return up_to_32(s, n);
    if (n <= 64)
        return up_to_64(s, n);
    struct farm t = *f;
    uint64_t mul = K1 + ((t.z & 0xff) << 1);
    t.w[0] += (n - 1) & 63;
    t.v[0] += t.w[0];
    t.w[0] += t.v[0];
    round64(&t, f->buf + f->n_buf, mul, 9);
    /* The round has swapped x and z already. */
    return join(join(t.v[0], t.w[0], mul) + mix(t.y) * K0 + t.z,
                join(t.v[1], t.w[1], mul) + t.x, mul);
}

uint64_t
farm64(struct str s)
{
    struct farm f;
    farm_init(&f);
    farm_add(&f, s.p, s.n);
    return farm_end(&f);
}

uint64_t
farm_cat(uint64_t a, uint64_t b)
{
    uint64_t r = a ^ KCAT;
    r ^= mix(b * KCAT) * KCAT;
    r *= KCAT;
    r = mix(r) * KCAT;
    return mix(r);
}
