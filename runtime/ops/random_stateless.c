/* SPDX-License-Identifier: Apache-2.0 */
/* Stateless random ops on Philox: the same bits as TensorFlow on CPU (streams and
 * distributions: random_int.h). A stream comes from a seed of two integers, or as a
 * key, a counter and the number of an algorithm (V2): 1 is Philox, 3 "auto", the same
 * here. */
#include "runtime/ops/ops_int.h"
#include "runtime/ops/random_int.h"

#include <math.h>

enum dist { UNIFORM, NORMAL, TRUNCATED, INTS, FULL_INTS };

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
    s->dtype = rt_attr_type(p, "dtype",
                            s->dist == INTS        ? RT_REQUIRED
                            : s->dist == FULL_INTS ? SM_UINT64
                                                   : SM_FLOAT);
    return rt_prep_done(p);
}

/* The stream of a seed: the seed as a counter, scrambled by a fixed key. */
static int
from_seed(struct rt_ctx *ctx, int in, struct rnd *r, struct err *err)
{
    const struct rt_tensor *t = ctx->in[in];
    char text[RT_SHAPE_TEXT_BYTES];
    uint32_t w[4];
    if (t->rank != 1 || t->n_elems != 2)
        return rt_fail(ctx, err, ERR_FAILED, "seed must have shape [2], not %s",
                       rt_shape_text(t, text));
    uint64_t a = (uint64_t)rt_int_at(t, 0), b = (uint64_t)rt_int_at(t, 1);
    struct rnd mixer = { .key = { 0x3ec8f720u, 0x02461e29u },
                         .counter = { (uint32_t)a, (uint32_t)(a >> 32), (uint32_t)b,
                                      (uint32_t)(b >> 32) } };
    rnd_next(&mixer, w);
    *r = (struct rnd){ .key = { w[0], w[1] }, .counter = { 0, 0, w[2], w[3] } };
    return 0;
}

/* Inputs in, in + 1, in + 2: key [1], counter [2] (or more), alg. */
static int
from_key(struct rt_ctx *ctx, int in, struct rnd *r, struct err *err)
{
    const struct rt_tensor *key = ctx->in[in], *counter = ctx->in[in + 1];
    int64_t alg = 0;
    if (k_scalar(ctx, in + 2, "alg", &alg, err) < 0)
        return -(int)err->code;
    if (alg != 1 && alg != 3)
        return rt_fail(
            ctx, err, ERR_FAILED,
            "Unsupported algorithm id: %lld: only Philox (1) and auto (3) run "
            "on CPU",
            (long long)alg);
    if (key->dtype != SM_UINT64 || counter->dtype != SM_UINT64 || key->rank != 1 ||
        key->n_elems != 1 || counter->rank != 1 || counter->n_elems < 2)
        return rt_fail(
            ctx, err, ERR_FAILED,
            "key must be a vector of 1 element and counter one of at least 2, "
            "both uint64");
    uint64_t k = *(const uint64_t *)key->data;
    const uint64_t *c = counter->data;
    *r = (struct rnd){ .key = { (uint32_t)k, (uint32_t)(k >> 32) },
                       .counter = { (uint32_t)c[0], (uint32_t)(c[0] >> 32),
                                    (uint32_t)c[1], (uint32_t)(c[1] >> 32) } };
    return 0;
}

/* (shape, seed) or (shape, key, counter, alg); then minval and maxval for INTS. */
int
rt_run_stateless_random(struct rt_ctx *ctx, struct err *err)
{
    static const enum rnd_kind kinds[] = { [UNIFORM] = RND_UNIFORM,
                                           [NORMAL] = RND_NORMAL,
                                           [TRUNCATED] = RND_TRUNCATED,
                                           [FULL_INTS] = RND_BITS };
    const struct random_state *s = ctx->node->state;
    int64_t dims[SM_MAX_RANK], low = 0, high = 0;
    int rank = 0, next = s->v2 ? 4 : 2;
    struct rnd r = { 0 };
    struct rt_tensor *y;
    bool known;
    if (k_shape_in(ctx, 0, "shape", &rank, dims, err) < 0 ||
        (s->v2 ? from_key(ctx, 1, &r, err) : from_seed(ctx, 1, &r, err)) < 0)
        return -(int)err->code;
    if (s->dist == INTS) {
        if (ctx->in[next]->dtype != s->dtype || ctx->in[next + 1]->dtype != s->dtype)
            return rt_fail_dtype(ctx, err, ctx->in[next]->dtype);
        if (k_scalar(ctx, next, "minval", &low, err) < 0 ||
            k_scalar(ctx, next + 1, "maxval", &high, err) < 0)
            return -(int)err->code;
        if (s->dtype == SM_UINT64 ? (uint64_t)low >= (uint64_t)high : low >= high)
            return rt_fail(ctx, err, ERR_FAILED,
                           "Need minval < maxval, got %lld >= %lld", (long long)low,
                           (long long)high);
    }
    if (rt_out(ctx, 0, s->dtype, rank, dims, &y, err) < 0)
        return -(int)err->code;
    if (s->dist == INTS)
        known = rnd_fill_range(r, s->dtype, (uint64_t)low,
                               (uint64_t)high - (uint64_t)low, y->data, y->n_elems);
    else
        known = rnd_fill(r, kinds[s->dist], s->dtype, y->data, y->n_elems);
    return known ? 0 : rt_fail_dtype(ctx, err, s->dtype);
}

/* StatelessRandomGetKeyCounter(seed), with Alg a third output: 1, Philox. */
int
rt_run_key_counter(struct rt_ctx *ctx, struct err *err)
{
    struct rnd r = { 0 };
    struct rt_tensor *key, *counter, *alg;
    int64_t one = 1, two = 2;
    if (from_seed(ctx, 0, &r, err) < 0 ||
        rt_out(ctx, 0, SM_UINT64, 1, &one, &key, err) < 0 ||
        rt_out(ctx, 1, SM_UINT64, 1, &two, &counter, err) < 0)
        return -(int)err->code;
    *(uint64_t *)key->data = (uint64_t)r.key[1] << 32 | r.key[0];
    uint64_t *c = counter->data;
    c[0] = (uint64_t)r.counter[1] << 32 | r.counter[0];
    c[1] = (uint64_t)r.counter[3] << 32 | r.counter[2];
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

/* The words of a stream one by one. */
struct words {
    struct rnd r;
    uint32_t block[4];
    int n_left;
};

static uint32_t
next_word(struct words *w)
{
    if (w->n_left == 0) {
        rnd_next(&w->r, w->block);
        w->n_left = 4;
    }
    return w->block[4 - w->n_left--];
}

/* A double in [0, 1) from two words. */
static double
next_unit(struct words *w)
{
    uint64_t high = next_word(w), low = next_word(w);
    uint64_t u = (uint64_t)1023 << 52 | (high & 0xfffffu) << 32 | low;
    double d;
    memcpy(&d, &u, sizeof(d));
    return d - 1.0;
}

/* Rows of input 0 in a random order (Fisher and Yates). */
static int
shuffle(struct rt_ctx *ctx, struct words w, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    struct rt_tensor *y;
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
        int64_t k = i + (int64_t)(next_word(&w) % (uint64_t)(n - i)), was = order[i];
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

/* StatelessShuffle(value, key, counter, alg) */
int
rt_run_stateless_shuffle(struct rt_ctx *ctx, struct err *err)
{
    struct words w = { .n_left = 0 };
    if (from_key(ctx, 1, &w.r, err) < 0)
        return -(int)err->code;
    return shuffle(ctx, w, err);
}

/* RandomShuffle(value) */
int
rt_run_random_shuffle(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    int64_t n = x->rank > 0 && x->dims[0] > 1 ? x->dims[0] : 0;
    return shuffle(ctx, (struct words){ .r = rnd_reserve(ctx, (n + 3) / 4) }, err);
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

/* Multinomial(logits [B, C], num_samples[, seed]): classes drawn from each row by its
 * cumulated probabilities, all rows from one stream. */
int
rt_run_multinomial(struct rt_ctx *ctx, struct err *err)
{
    bool stateless = ctx->node->n_in > 2;
    const struct rt_tensor *x = ctx->in[0];
    int64_t n_samples = 0;
    struct words w = { .n_left = 0 };
    struct rt_tensor *y;
    char text[RT_SHAPE_TEXT_BYTES];
    if (x->rank != 2)
        return rt_fail(ctx, err, ERR_FAILED, "logits should be a matrix, got shape %s",
                       rt_shape_text(x, text));
    if (k_scalar(ctx, 1, "num_samples", &n_samples, err) < 0 ||
        (stateless && from_seed(ctx, 2, &w.r, err) < 0))
        return -(int)err->code;
    if (n_samples < 0)
        return rt_fail(ctx, err, ERR_FAILED,
                       "num_samples should be nonnegative, got %lld",
                       (long long)n_samples);
    int64_t rows = x->dims[0], n = x->dims[1];
    if (rows > 0 && n == 0)
        return rt_fail(ctx, err, ERR_FAILED, "num_classes should be positive, got 0");
    double *v = rt_scratch(ctx, (size_t)n * sizeof(*v), err);
    int type = stateless ? *(const int *)ctx->node->state : rnd_dtype(ctx);
    if (!v || rt_out(ctx, 0, type, 2, (int64_t[2]){ rows, n_samples }, &y, err) < 0)
        return -(int)err->code;
    if (!stateless) /* two words a number, of four numbers at once */
        w.r =
            rnd_reserve(ctx, rows * ((n_samples + 3) / 4) * 8 * RND_BLOCKS_PER_OUTPUT);
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
            double find = next_unit(&w) * total;
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
