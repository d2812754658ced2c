/* SPDX-License-Identifier: Apache-2.0 */
/* Stateful random ops. Each node has a stream that goes on from run to run, and back to
 * its beginning with a reset. With seeds it is TensorFlow's own stream; without, where
 * TensorFlow takes any, it is one that hangs on the node's name, so that a model gives
 * the same answers each time it is loaded. */
#include "runtime/ops/random_int.h"

#include "base/fnv.h"
#include "runtime/ops/ops_int.h"

#include <stdlib.h>

struct stream {
    struct rt_obj obj;
    pthread_mutex_t lock;
    struct rnd begin, now;
};

static void
stream_free(struct rt_obj *o)
{
    struct stream *s = (struct stream *)o;
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static void *
stream_save(struct rt_obj *o)
{
    struct rnd *r = xcalloc(1, sizeof(*r));
    *r = ((struct stream *)o)->now;
    return r;
}

static void
stream_load(struct rt_obj *o, const void *saved)
{
    struct stream *s = (struct stream *)o;
    s->now = saved ? *(const struct rnd *)saved : s->begin;
}

static const struct rt_state_type stream_type = {
    { "random stream", stream_free }, stream_save, stream_load, free
};

static struct rt_obj *
stream_make(void *arg)
{
    struct stream *s = xcalloc(1, sizeof(*s));
    rt_obj_init(&s->obj, &stream_type.obj);
    pthread_mutex_init(&s->lock, NULL);
    s->begin = s->now = *(const struct rnd *)arg;
    return &s->obj;
}

struct random_op {
    struct stream *stream;
    enum rnd_kind kind;
    int dtype;
};

static void
drop_stream(void *o)
{
    rt_obj_unref(o);
}

/* Attrs seed, seed2, dtype (Multinomial: output_dtype). */
int
rt_prep_random_stateful(struct rt_prep *p)
{
    struct random_op *s = p->node->state = rt_prep_alloc(p, sizeof(*s));
    const char *op = p->node->op;
    int64_t seed = rt_attr_int(p, "seed", 0), seed2 = rt_attr_int(p, "seed2", 0);
    struct rnd r;
    if (seed == 0 && seed2 == 0)
        seed = (int64_t)fnv_add(FNV_START, p->node->name, strlen(p->node->name));
    rnd_init(&r, (uint64_t)seed, (uint64_t)seed2);
    s->kind = strcmp(op, "RandomStandardNormal") == 0 ? RND_NORMAL
              : strcmp(op, "TruncatedNormal") == 0    ? RND_TRUNCATED
                                                      : RND_UNIFORM;
    s->dtype = strcmp(op, "Multinomial") == 0
                   ? rt_attr_type(p, "output_dtype", SM_INT64)
                   : rt_attr_type(p, "dtype", 0);
    char *key = xasprintf("%s/%s", p->node->func ? p->node->func : "", p->node->name);
    s->stream = (struct stream *)rt_session_state(rt_prep_session(p), "random", "", key,
                                                  stream_make, &r);
    free(key);
    rt_prep_on_free(p, drop_stream, s->stream);
    return rt_prep_done(p);
}

struct rnd
rnd_reserve(struct rt_ctx *ctx, int64_t n_blocks)
{
    struct stream *s = ((const struct random_op *)ctx->node->state)->stream;
    pthread_mutex_lock(&s->lock);
    struct rnd r = s->now;
    rnd_skip(&s->now, (uint64_t)n_blocks);
    pthread_mutex_unlock(&s->lock);
    return r;
}

int
rnd_dtype(const struct rt_ctx *ctx)
{
    return ((const struct random_op *)ctx->node->state)->dtype;
}

/* For n outputs. */
static struct rnd
reserve(struct rt_ctx *ctx, int64_t n)
{
    return rnd_reserve(ctx, n * RND_BLOCKS_PER_OUTPUT);
}

static int
out_of_shape(struct rt_ctx *ctx, int dtype, struct rt_tensor **y, struct err *err)
{
    const struct rt_tensor *shape = ctx->in[0];
    int64_t dims[SM_MAX_RANK];
    if (shape->rank != 1 || shape->n_elems > SM_MAX_RANK)
        return rt_fail(ctx, err, ERR_FAILED,
                       "shape must be a vector of at most %d numbers", SM_MAX_RANK);
    for (int64_t i = 0; i < shape->n_elems; i++)
        dims[i] = rt_int_at(shape, i);
    return rt_out(ctx, 0, dtype, (int)shape->n_elems, dims, y, err);
}

/* shape → floats: RandomUniform, RandomStandardNormal, TruncatedNormal. */
int
rt_run_random_float(struct rt_ctx *ctx, struct err *err)
{
    const struct random_op *s = ctx->node->state;
    struct rt_tensor *y;
    if (out_of_shape(ctx, s->dtype, &y, err) < 0)
        return -(int)err->code;
    if (!rnd_fill(reserve(ctx, y->n_elems), s->kind, s->dtype, y->data, y->n_elems))
        return rt_fail_dtype(ctx, err, s->dtype);
    return 0;
}

/* shape, minval, maxval → integers in [minval, maxval). */
int
rt_run_random_integer(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *lo = ctx->in[1], *hi = ctx->in[2];
    struct rt_tensor *y;
    if (lo->n_elems != 1 || hi->n_elems != 1 ||
        (lo->dtype != SM_INT32 && lo->dtype != SM_INT64))
        return rt_fail(ctx, err, ERR_FAILED,
                       "minval and maxval must be integer scalars");
    int64_t low = rt_int_at(lo, 0), high = rt_int_at(hi, 0);
    if (out_of_shape(ctx, lo->dtype, &y, err) < 0)
        return -(int)err->code;
    if (y->n_elems == 0)
        return 0;
    if (low >= high)
        return rt_fail(ctx, err, ERR_FAILED, "Need minval < maxval, got %lld >= %lld",
                       (long long)low, (long long)high);
    (void)rnd_fill_range(reserve(ctx, y->n_elems), lo->dtype, (uint64_t)low,
                         (uint64_t)high - (uint64_t)low, y->data, y->n_elems);
    return 0;
}

/* ---- tf.random.Generator: a variable of three int64, counter and key ------------- */

static int
skip_state(struct rt_ctx *ctx, struct rt_tensor *state, void *arg, struct err *err)
{
    int64_t *v = state->data;
    struct rnd r = { .counter = { 0 } };
    if (state->dtype != SM_INT64 || state->rank != 1 || state->n_elems < 3)
        return rt_fail(ctx, err, ERR_FAILED,
                       "the generator's state must be three int64");
    if (ctx->node->n_out > 0)
        memcpy(ctx->out[0].data, v, 3 * sizeof(*v));
    memcpy(r.counter, v, 2 * sizeof(*v));
    rnd_skip(&r, *(const uint64_t *)arg);
    memcpy(v, r.counter, 2 * sizeof(*v));
    return 0;
}

/* RngReadAndSkip(resource, alg, delta) gives the state before; RngSkip gives nothing.
 */
int
rt_run_rng_skip(struct rt_ctx *ctx, struct err *err)
{
    struct rt_var *var = (struct rt_var *)rt_in_obj(ctx, 0, &rt_var_type.obj, err);
    const struct rt_tensor *alg = ctx->in[1], *delta = ctx->in[2];
    struct rt_tensor *y;
    if (!var)
        return -(int)err->code;
    if (alg->n_elems != 1 || delta->n_elems != 1 || rt_dtype_size(delta->dtype) != 8 ||
        k_int_at(alg, 0) != 1)
        return rt_fail(ctx, err, ERR_UNSUPPORTED, "an algorithm other than Philox");
    uint64_t n = *(const uint64_t *)delta->data * RND_BLOCKS_PER_OUTPUT;
    if (ctx->node->n_out > 0 &&
        rt_out(ctx, 0, SM_INT64, 1, (const int64_t[]){ 3 }, &y, err) < 0)
        return -(int)err->code;
    return rt_var_edit(ctx, var, skip_state, &n, err);
}
