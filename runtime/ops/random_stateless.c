/* SPDX-License-Identifier: Apache-2.0 */
/* Stateless random ops on the Philox 4x32-10 generator: the same bits as TensorFlow on
 * CPU. A stream is a key and a 128-bit counter; each counter gives four 32-bit words.
 * Output group g of a distribution with a fixed need is made from counter + g; one that
 * may reject has 256 words kept for each output. */
#include "runtime/ops/ops_int.h"

#include <math.h>

/* ---- the generator
 * ----------------------------------------------------------------------- */

struct philox {
    uint32_t key[2], counter[4];
    uint32_t word[4]; /* of the last block */
    int n_left;       /* words not yet taken */
};

static void
skip(struct philox *p, uint64_t n)
{
    uint64_t low = (uint64_t)p->counter[1] << 32 | p->counter[0];
    uint64_t high = (uint64_t)p->counter[3] << 32 | p->counter[2];
    low += n;
    high += low < n;
    p->counter[0] = (uint32_t)low, p->counter[1] = (uint32_t)(low >> 32);
    p->counter[2] = (uint32_t)high, p->counter[3] = (uint32_t)(high >> 32);
}

/* The four words of the counter, which moves on. */
static void
block(struct philox *p, uint32_t out[4])
{
    uint32_t c[4], k0 = p->key[0], k1 = p->key[1];
    memcpy(c, p->counter, sizeof(c));
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xd2511f53u * c[0], b = (uint64_t)0xcd9e8d57u * c[2];
        uint32_t next[4] = { (uint32_t)(b >> 32) ^ c[1] ^ k0, (uint32_t)b,
                             (uint32_t)(a >> 32) ^ c[3] ^ k1, (uint32_t)a };
        memcpy(c, next, sizeof(c));
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    skip(p, 1);
    memcpy(out, c, sizeof(c));
}

/* Word by word. */
static uint32_t
next_word(struct philox *p)
{
    if (p->n_left == 0) {
        block(p, p->word);
        p->n_left = 4;
    }
    return p->word[4 - p->n_left--];
}

/* The stream of a seed: the seed as a counter, scrambled by a fixed key. */
static struct philox
from_seed(uint64_t seed0, uint64_t seed1)
{
    struct philox p = { .key = { 0x3ec8f720u, 0x02461e29u },
                        .counter = { (uint32_t)seed0, (uint32_t)(seed0 >> 32),
                                     (uint32_t)seed1, (uint32_t)(seed1 >> 32) } };
    uint32_t w[4];
    block(&p, w);
    return (struct philox){ .key = { w[0], w[1] }, .counter = { 0, 0, w[2], w[3] } };
}

/* ---- distributions
 * ------------------------------------------------------------------------ */

/* The mantissa bits of a number in [1, 2), less 1. */
static inline float
unit_f32(uint32_t x)
{
    return rt_bits_f32(0x3f800000u | (x & 0x7fffffu)) - 1.0f;
}
static inline double
unit_f64(uint32_t low, uint32_t high)
{
    uint64_t u = 1023ull << 52 | (uint64_t)(high & 0xfffffu) << 32 | low;
    double d;
    memcpy(&d, &u, sizeof(d));
    return d - 1.0;
}

#define TINY 1.0e-7

/* Two normal values from two words (Box and Muller). */
static void
normal_f32(uint32_t a, uint32_t b, float out[2])
{
    float u = unit_f32(a), v = (float)(2 * M_PI) * unit_f32(b);
    u = sqrtf(-2.0f * logf(u < (float)TINY ? (float)TINY : u));
    out[0] = sinf(v) * u;
    out[1] = cosf(v) * u;
}
static void
normal_f64(const uint32_t w[4], double out[2])
{
    double u = unit_f64(w[0], w[1]), v = 2 * M_PI * unit_f64(w[2], w[3]);
    u = sqrt(-2.0 * log(u < TINY ? TINY : u));
    out[0] = sin(v) * u;
    out[1] = cos(v) * u;
}

enum dist { UNIFORM, NORMAL, TRUNCATED, INTS, FULL_INTS };

/* One group of outputs: four of 16 or 32 bits, two of 64. */
union group {
    float f[4];
    double d[2];
    uint32_t i[4];
    uint64_t l[2];
};

static void
truncated_group(struct philox *p, bool wide, union group *out)
{
    for (int n = 0; n < (wide ? 2 : 4);) {
        if (wide) {
            uint32_t w[4];
            double v[2];
            for (int i = 0; i < 4; i++)
                w[i] = next_word(p);
            normal_f64(w, v);
            for (int i = 0; i < 2 && n < 2; i++)
                if (fabs(v[i]) < 2)
                    out->d[n++] = v[i];
        } else {
            float v[2];
            uint32_t a = next_word(p), b = next_word(p);
            normal_f32(a, b, v);
            for (int i = 0; i < 2 && n < 4; i++)
                if (fabsf(v[i]) < 2)
                    out->f[n++] = v[i];
        }
    }
}

struct draw {
    enum dist dist;
    int dtype;
    uint64_t low, range; /* of INTS; the sum wraps */
};

/* Integers: low + word % range. */
static void
int_group(const struct draw *d, bool wide, const uint32_t w[4], union group *out)
{
    for (int i = 0; i < 4 && !wide; i++)
        out->i[i] =
            d->dist == FULL_INTS ? w[i] : (uint32_t)d->low + w[i] % (uint32_t)d->range;
    for (int i = 0; i < 2 && wide; i++) {
        uint64_t v = (uint64_t)w[2 * i + 1] << 32 | w[2 * i];
        out->l[i] = d->dist == FULL_INTS ? v : d->low + v % d->range;
    }
}

static void
uniform_group(const struct draw *d, const uint32_t w[4], union group *out)
{
    for (int i = 0; i < 4; i++) {
        if (d->dtype == SM_HALF) /* ten bits of a mantissa; seven for bfloat16 */
            out->f[i] = rt_half_to_f32((uint16_t)(0x3c00u | (w[i] & 0x3ffu))) - 1.0f;
        else if (d->dtype == SM_BFLOAT16)
            out->f[i] = rt_bf16_to_f32((uint16_t)(0x3f80u | (w[i] & 0x7fu))) - 1.0f;
        else if (d->dtype == SM_FLOAT)
            out->f[i] = unit_f32(w[i]);
        else if (i < 2)
            out->d[i] = unit_f64(w[2 * i], w[2 * i + 1]);
    }
}

static void
one_group(const struct draw *d, struct philox *p, bool wide, union group *out)
{
    uint32_t w[4];
    if (d->dist == TRUNCATED) {
        truncated_group(p, wide, out);
        return;
    }
    block(p, w);
    if (d->dist == UNIFORM) {
        uniform_group(d, w, out);
    } else if (d->dist != NORMAL) {
        int_group(d, wide, w, out);
    } else if (wide) {
        normal_f64(w, out->d);
    } else {
        normal_f32(w[0], w[1], out->f);
        normal_f32(w[2], w[3], out->f + 2);
    }
}

static void
fill(const struct draw *d, const struct philox *start, struct rt_tensor *y)
{
    size_t elem = rt_dtype_size(d->dtype);
    bool wide = elem == 8;
    int per = wide ? 2 : 4;
    for (int64_t at = 0; at < y->n_elems; at += per) {
        struct philox p = *start;
        union group g;
        skip(&p,
             (uint64_t)(at / per) * (d->dist == TRUNCATED ? (uint64_t)per * 64 : 1));
        one_group(d, &p, wide, &g);
        int64_t n = K_MIN(y->n_elems - at, per);
        if (k_is_half(d->dtype))
            k_narrow(d->dtype, g.f, (uint16_t *)y->data + at, n);
        else
            memcpy((char *)y->data + (size_t)at * elem, &g, (size_t)n * elem);
    }
}

/* ---- ops
 * -----------------------------------------------------------------------------------
 */

struct random_state {
    enum dist dist;
    bool v2; /* key, counter, alg in place of a seed */
    int dtype;
};

int
rt_prep_stateless_random(struct rt_prep *p)
{
    static const struct {
        const char *op;
        enum dist dist;
    } rows[] = { { "StatelessRandomUniform", UNIFORM },
                 { "StatelessRandomUniformInt", INTS },
                 { "StatelessRandomUniformFullInt", FULL_INTS },
                 { "StatelessRandomNormal", NORMAL },
                 { "StatelessTruncatedNormal", TRUNCATED } };
    struct random_state *s = p->node->state = rt_prep_alloc(p, sizeof(*s));
    const char *op = p->node->op;
    size_t n = strlen(op);
    s->v2 = strcmp(op + n - 2, "V2") == 0;
    n -= s->v2 ? 2 : 0;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (strncmp(rows[i].op, op, n) == 0 && rows[i].op[n] == '\0')
            s->dist = rows[i].dist;
    bool ints = s->dist == INTS || s->dist == FULL_INTS;
    s->dtype = rt_attr_type(p, "dtype",
                            s->dist == INTS        ? RT_REQUIRED
                            : s->dist == FULL_INTS ? SM_UINT64
                                                   : SM_FLOAT);
    bool known =
        ints ? s->dtype == SM_INT32 || s->dtype == SM_INT64 || s->dtype == SM_UINT32 ||
                   s->dtype == SM_UINT64
             : s->dtype == SM_FLOAT || s->dtype == SM_DOUBLE || k_is_half(s->dtype);
    if (!known)
        rt_prep_fail(p, ERR_UNSUPPORTED, "dtype %s", rt_dtype_text(s->dtype));
    return rt_prep_done(p);
}

static int
read_seed(struct rt_ctx *ctx, int in, struct philox *p, struct err *err)
{
    const struct rt_tensor *t = ctx->in[in];
    char text[RT_SHAPE_TEXT_BYTES];
    if (t->rank != 1 || t->n_elems != 2)
        return rt_fail(ctx, err, ERR_FAILED, "seed must have shape [2], not %s",
                       rt_shape_text(t, text));
    *p = from_seed((uint64_t)rt_int_at(t, 0), (uint64_t)rt_int_at(t, 1));
    return 0;
}

/* Inputs in … in + 2: key [1], counter [2] (or more), alg. */
static int
read_stream(struct rt_ctx *ctx, int in, struct philox *p, struct err *err)
{
    const struct rt_tensor *key = ctx->in[in], *counter = ctx->in[in + 1];
    int64_t alg = 0;
    if (k_scalar(ctx, in + 2, "alg", &alg, err) < 0)
        return -(int)err->code;
    if (alg != 1 && alg != 3)
        return rt_fail(
            ctx, err, ERR_FAILED,
            "Unsupported algorithm id: %lld: only Philox (1) and auto (3) run on "
            "CPU",
            (long long)alg);
    if (key->dtype != SM_UINT64 || counter->dtype != SM_UINT64 || key->n_elems != 1 ||
        counter->n_elems < 2)
        return rt_fail(ctx, err, ERR_FAILED,
                       "key must have 1 element and counter at least 2, both uint64");
    uint64_t k = *(const uint64_t *)key->data;
    const uint64_t *c = counter->data;
    *p = (struct philox){ .key = { (uint32_t)k, (uint32_t)(k >> 32) },
                          .counter = { (uint32_t)c[0], (uint32_t)(c[0] >> 32),
                                       (uint32_t)c[1], (uint32_t)(c[1] >> 32) } };
    return 0;
}

/* (shape, seed) or (shape, key, counter, alg); then minval and maxval for INTS. */
int
rt_run_stateless_random(struct rt_ctx *ctx, struct err *err)
{
    const struct random_state *s = ctx->node->state;
    struct draw d = { .dist = s->dist, .dtype = s->dtype };
    int64_t dims[SM_MAX_RANK];
    int rank = 0, next = s->v2 ? 4 : 2;
    struct philox p;
    struct rt_tensor *y;
    if (k_shape_in(ctx, 0, "shape", &rank, dims, err) < 0 ||
        (s->v2 ? read_stream(ctx, 1, &p, err) : read_seed(ctx, 1, &p, err)) < 0)
        return -(int)err->code;
    if (s->dist == INTS) {
        int64_t low = 0, high = 0;
        if (ctx->in[next]->dtype != s->dtype || ctx->in[next + 1]->dtype != s->dtype)
            return rt_fail_dtype(ctx, err, ctx->in[next]->dtype);
        if (k_scalar(ctx, next, "minval", &low, err) < 0 ||
            k_scalar(ctx, next + 1, "maxval", &high, err) < 0)
            return -(int)err->code;
        if (s->dtype == SM_UINT64 ? (uint64_t)low >= (uint64_t)high : low >= high)
            return rt_fail(ctx, err, ERR_FAILED,
                           "Need minval < maxval, got %lld >= %lld", (long long)low,
                           (long long)high);
        d.low = (uint64_t)low;
        d.range = (uint64_t)high - (uint64_t)low;
    }
    if (rt_out(ctx, 0, s->dtype, rank, dims, &y, err) < 0)
        return -(int)err->code;
    fill(&d, &p, y);
    return 0;
}

/* StatelessRandomGetKeyCounter(seed), with Alg a third output: 1, Philox. */
int
rt_run_key_counter(struct rt_ctx *ctx, struct err *err)
{
    struct philox p;
    struct rt_tensor *key, *counter, *alg;
    int64_t one = 1, two = 2;
    if (read_seed(ctx, 0, &p, err) < 0 ||
        rt_out(ctx, 0, SM_UINT64, 1, &one, &key, err) < 0 ||
        rt_out(ctx, 1, SM_UINT64, 1, &two, &counter, err) < 0)
        return -(int)err->code;
    *(uint64_t *)key->data = (uint64_t)p.key[1] << 32 | p.key[0];
    uint64_t *c = counter->data;
    c[0] = (uint64_t)p.counter[1] << 32 | p.counter[0];
    c[1] = (uint64_t)p.counter[3] << 32 | p.counter[2];
    if (ctx->node->n_out < 3)
        return 0;
    if (rt_out(ctx, 2, SM_INT32, 0, NULL, &alg, err) < 0)
        return -(int)err->code;
    *(int32_t *)alg->data = 1;
    return 0;
}

int
rt_run_get_alg(struct rt_ctx *ctx, struct err *err)
{
    struct rt_tensor *alg;
    if (rt_out(ctx, 0, SM_INT32, 0, NULL, &alg, err) < 0)
        return -(int)err->code;
    *(int32_t *)alg->data = 1;
    return 0;
}

/* StatelessShuffle(value, key, counter, alg): rows in a random order (Fisher and
 * Yates). */
int
rt_run_stateless_shuffle(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    struct rt_tensor *y;
    struct philox p;
    if (read_stream(ctx, 1, &p, err) < 0)
        return -(int)err->code;
    if (x->rank == 0 || x->dims[0] <= 1 || x->n_elems == 0) {
        rt_out_same(ctx, 0, x);
        return 0;
    }
    int64_t n = x->dims[0];
    int64_t *order = rt_scratch(ctx, (size_t)n * sizeof(*order), err);
    if (!order || rt_out(ctx, 0, x->dtype, x->rank, x->dims, &y, err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < n; i++)
        order[i] = i;
    for (int64_t i = 0; i < n - 1; i++) {
        int64_t k = i + (int64_t)(next_word(&p) % (uint64_t)(n - i)), was = order[i];
        order[i] = order[k];
        order[k] = was;
    }
    size_t row = (size_t)(x->n_elems / n) * rt_dtype_size(x->dtype);
    for (int64_t i = 0; i < n; i++)
        memcpy((char *)y->data + (size_t)i * row,
               (const char *)x->data + (size_t)order[i] * row, row);
    k_own(y);
    return 0;
}

int
rt_prep_multinomial(struct rt_prep *p)
{
    int *type = p->node->state = rt_prep_alloc(p, sizeof(*type));
    *type = rt_attr_type(p, "output_dtype", SM_INT64);
    if (*type != SM_INT32 && *type != SM_INT64)
        rt_prep_fail(p, ERR_UNSUPPORTED, "output_dtype %s", rt_dtype_text(*type));
    return rt_prep_done(p);
}

/* A row of logits as doubles. */
static int
logits_row(struct rt_ctx *ctx, const struct rt_tensor *x, int64_t at, int64_t n,
           double *out, struct err *err)
{
    for (int64_t i = 0; i < n; i++) {
        float f;
        switch (x->dtype) {
#define X(dtype, type, sfx)                                                            \
    case dtype:                                                                        \
        out[i] = (double)((const type *)x->data)[at + i];                              \
        break;
            K_REALS(X)
#undef X
        case SM_HALF:
        case SM_BFLOAT16:
            k_widen(x->dtype, (const uint16_t *)x->data + at + i, &f, 1);
            out[i] = (double)f;
            break;
        default:
            return rt_fail_dtype(ctx, err, x->dtype);
        }
    }
    return 0;
}

/* StatelessMultinomial(logits [B, C], num_samples, seed): classes drawn from each row
 * by its cumulated probabilities, all rows from one stream. */
int
rt_run_stateless_multinomial(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    int64_t n_samples = 0;
    struct philox p;
    struct rt_tensor *y;
    char text[RT_SHAPE_TEXT_BYTES];
    if (x->rank != 2)
        return rt_fail(ctx, err, ERR_FAILED, "logits should be a matrix, got shape %s",
                       rt_shape_text(x, text));
    if (k_scalar(ctx, 1, "num_samples", &n_samples, err) < 0 ||
        read_seed(ctx, 2, &p, err) < 0)
        return -(int)err->code;
    if (n_samples < 0)
        return rt_fail(ctx, err, ERR_FAILED,
                       "num_samples should be nonnegative, got %lld",
                       (long long)n_samples);
    int64_t rows = x->dims[0], n = x->dims[1];
    if (rows > 0 && n == 0)
        return rt_fail(ctx, err, ERR_FAILED, "num_classes should be positive, got 0");
    double *v = rt_scratch(ctx, (size_t)n * sizeof(*v), err);
    if (!v || rt_out(ctx, 0, *(const int *)ctx->node->state, 2,
                     (int64_t[2]){ rows, n_samples }, &y, err) < 0)
        return -(int)err->code;
    for (int64_t r = 0; r < rows; r++) {
        double max = -1.7976931348623157e308, total = 0;
        if (logits_row(ctx, x, r * n, n, v, err) < 0)
            return -(int)err->code;
        for (int64_t i = 0; i < n; i++)
            max = isfinite(v[i]) && v[i] > max ? v[i] : max;
        for (int64_t i = 0; i < n; i++) {
            total += isfinite(v[i]) ? exp(v[i] - max) : 0;
            v[i] = total;
        }
        for (int64_t k = 0; k < n_samples; k++) {
            uint32_t a = next_word(&p), b = next_word(&p);
            double find = unit_f64(a, b) * total;
            int64_t low = 0, high = n;
            while (low < high) {
                int64_t mid = (low + high) / 2;
                if (find < v[mid])
                    high = mid;
                else
                    low = mid + 1;
            }
            k_put_int(y, r * n_samples + k, low);
        }
    }
    return 0;
}
