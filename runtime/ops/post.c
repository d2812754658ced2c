/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise functions that follow a product, and the ops that the planner makes of
 * patterns: one such function alone (_Swish, _GeluErf …), and _LayerNorm. float32. */
#include "runtime/ops/math_vec.h"
#include "runtime/ops/nn_int.h"

#include <math.h>
#include <string.h>

/* y may be x. */
#define LOOP(name, expr)                                                               \
    RT_SIMD static void name(const float *from, float *y, int64_t n, float alpha,      \
                             float beta)                                               \
    {                                                                                  \
        (void)alpha;                                                                   \
        (void)beta;                                                                    \
        K_VECTOR                                                                       \
        for (int64_t i = 0; i < n; i++) {                                              \
            float x = from[i];                                                         \
            y[i] = (expr);                                                             \
        }                                                                              \
    }

LOOP(relu, x < 0 ? alpha * x : x)
LOOP(clip, x<alpha ? alpha : x> beta ? beta : x)
LOOP(elu, x < 0 ? alpha * v_expm1(x) : x)
LOOP(tanh_of, v_tanh(x))
LOOP(sigmoid, v_sigmoid(x))
LOOP(swish, x *v_sigmoid(alpha *x))
LOOP(gelu_tanh, 0.5f * x * (1.0f + v_tanh(0.7978845608f * (x + 0.044715f * x * x * x))))
LOOP(gelu_erf, 0.5f * x * (1.0f + v_erf(x * 0.7071067812f)))
LOOP(hardswish, x *((x < -3.0f ? 0.0f : x > 3.0f ? 6.0f : x + 3.0f) * (1.0f / 6.0f)))

typedef void post_fn(const float *x, float *y, int64_t n, float alpha, float beta);
static post_fn *const fns[] = {
    [OD_RELU] = relu,           [OD_CLIP] = clip,         [OD_ELU] = elu,
    [OD_TANH] = tanh_of,        [OD_SIGMOID] = sigmoid,   [OD_SWISH] = swish,
    [OD_GELU_TANH] = gelu_tanh, [OD_GELU_ERF] = gelu_erf, [OD_HARDSWISH] = hardswish,
};

void
nn_post(float *y, int64_t n, const struct od_post *post, int n_post)
{
    for (int i = 0; i < n_post; i++)
        fns[post[i].kind](y, y, n, post[i].alpha, post[i].beta);
}

struct post_arg {
    const struct od_post *post;
    const float *x;
    float *y;
};

static void
post_part(void *arg, int64_t begin, int64_t end)
{
    const struct post_arg *a = arg;
    fns[a->post->kind](a->x + begin, a->y + begin, end - begin, a->post->alpha,
                       a->post->beta);
}

int
nn_run_post(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    struct rt_tensor *y;
    if (x->dtype != SM_FLOAT)
        return rt_fail_dtype(ctx, err, x->dtype);
    if (rt_out_reuse(ctx, 0, 0, SM_FLOAT, x->rank, x->dims, &y, err) < 0)
        return -(int)err->code;
    struct post_arg a = { ctx->node->state, x->data, y->data };
    rt_parallel_for(ctx, x->n_elems, K_GRAIN / 4, post_part, &a);
    return 0;
}

/* ---- layer normalisation --------------------------------------------------------- */

RT_SIMD static void
norm_row(const float *x, const float *g, const float *b, float *y, int64_t n,
         float epsilon)
{
    float sum[16] = { 0 }, mean = 0, variance = 0;
    int64_t i;
    for (i = 0; i + 16 <= n; i += 16)
        for (int k = 0; k < 16; k++)
            sum[k] += x[i + k];
    for (; i < n; i++)
        mean += x[i];
    for (int k = 0; k < 16; k++) {
        mean += sum[k];
        sum[k] = 0;
    }
    mean /= (float)n;
    for (i = 0; i + 16 <= n; i += 16)
        for (int k = 0; k < 16; k++) {
            float d = x[i + k] - mean;
            sum[k] += d * d;
        }
    for (; i < n; i++)
        variance += (x[i] - mean) * (x[i] - mean);
    for (int k = 0; k < 16; k++)
        variance += sum[k];
    float by = 1.0f / sqrtf(variance / (float)n + epsilon);
    for (i = 0; i < n; i++) {
        float s = by * g[i];
        y[i] = x[i] * s + (b[i] - mean * s);
    }
}

/* Any axis; gamma and beta follow the last dimension of x repeated `wide` times. */
static void
norm_axis(const struct rt_tensor *x, int axis, int64_t wide, const float *g,
          const float *b, int64_t n_gb, float epsilon, float *out)
{
    int64_t outer = k_count(x->dims, 0, axis), n = x->dims[axis],
            step = k_count(x->dims, axis + 1, x->rank), inner = step * wide;
    for (int64_t o = 0; o < outer * inner; o++) {
        int64_t at = o / inner * n * inner + o % inner, c = o % inner % n_gb;
        const float *from = (const float *)x->data + at / wide;
        float mean = 0, variance = 0;
        for (int64_t i = 0; i < n; i++)
            mean += from[i * step];
        mean /= (float)n;
        for (int64_t i = 0; i < n; i++)
            variance += (from[i * step] - mean) * (from[i * step] - mean);
        float s = 1.0f / sqrtf(variance / (float)n + epsilon) * g[c];
        for (int64_t i = 0; i < n; i++)
            out[at + i * inner] = from[i * step] * s + (b[c] - mean * s);
    }
}

struct norm_arg {
    const float *x, *g, *b;
    float *y;
    int64_t n;
    float epsilon;
};

static void
norm_rows(void *arg, int64_t begin, int64_t end)
{
    const struct norm_arg *a = arg;
    for (int64_t i = begin * a->n; i < end * a->n; i += a->n)
        norm_row(a->x + i, a->g, a->b, a->y + i, a->n, a->epsilon);
}

/* in: x, gamma[n], beta[n] (perhaps behind dimensions of 1, which x then gets too); the
 * last dimension of x is n, or 1: then it becomes n. */
int
nn_run_layer_norm(struct rt_ctx *ctx, struct err *err)
{
    const struct nn_layer_norm *s = ctx->node->state;
    const struct rt_tensor *x = ctx->in[0], *g = ctx->in[1], *b = ctx->in[2];
    char tx[RT_SHAPE_TEXT_BYTES], tg[RT_SHAPE_TEXT_BYTES];
    struct rt_tensor *y;
    int axis;
    if (x->dtype != SM_FLOAT)
        return rt_fail_dtype(ctx, err, x->dtype);
    if (k_axis(ctx, s->axis, x->rank, &axis, err) < 0)
        return -(int)err->code;
    int64_t n = g->n_elems, last = x->dims[x->rank - 1], dims[SM_MAX_RANK];
    int extra = K_MAX(K_MAX(g->rank, b->rank) - x->rank, 0);
    if ((last != n && last != 1) || (s->rank && s->rank != x->rank))
        return rt_fail(ctx, err, ERR_FAILED, "Incompatible shapes: %s vs. %s",
                       rt_shape_text(x, tx), rt_shape_text(g, tg));
    for (int i = 0; i < extra; i++)
        dims[i] = 1;
    memcpy(dims + extra, x->dims, sizeof(dims[0]) * (size_t)x->rank);
    dims[extra + x->rank - 1] = n;
    if (rt_out_reuse(ctx, 0, 0, SM_FLOAT, extra + x->rank, dims, &y, err) < 0)
        return -(int)err->code;
    if (!y->n_elems)
        return 0;
    struct norm_arg a = { x->data, g->data, b->data, y->data, n, s->epsilon };
    if (axis == x->rank - 1 && last == n)
        rt_parallel_for(ctx, x->n_elems / n, K_GRAIN / 4 / n + 1, norm_rows, &a);
    else
        norm_axis(x, axis, n / last, a.g, a.b, n, a.epsilon, a.y);
    return 0;
}
