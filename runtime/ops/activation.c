/* SPDX-License-Identifier: Apache-2.0 */
/* LeakyRelu, Softmax, LogSoftmax and the cross entropies: float, double, float16 and
 * bfloat16 (these two as float, rounded once). Elu, Relu and the like are in
 * math_unary.c. */
#include "runtime/ops/math_vec.h"
#include "runtime/ops/nn_int.h"

/* ---- LeakyRelu ------------------------------------------------------------------- */

int
rt_prep_alpha(struct rt_prep *p)
{
    float *alpha = p->node->state = rt_prep_alloc(p, sizeof(*alpha));
    *alpha = rt_attr_float(p, "alpha", 0.2f);
    return rt_prep_done(p);
}

/* y = sign[i] > 0 ? x : alpha * x; for the gradient x and sign differ. y may be x. */
RT_SIMD static void
leaky_f32(const float *x, const float *sign, float alpha, float *y, int64_t n)
{
    K_VECTOR
    for (int64_t i = 0; i < n; i++)
        y[i] = sign[i] > 0 ? x[i] : x[i] * alpha;
}
RT_SIMD static void
leaky_f64(const double *x, const double *sign, double alpha, double *y, int64_t n)
{
    K_VECTOR
    for (int64_t i = 0; i < n; i++)
        y[i] = sign[i] > 0 ? x[i] : x[i] * alpha;
}

/* LeakyRelu(features), LeakyReluGrad(gradients, features). */
int
rt_run_leaky_relu(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0], *sign = ctx->in[ctx->node->n_in - 1];
    float alpha = *(const float *)ctx->node->state;
    char a[RT_SHAPE_TEXT_BYTES], b[RT_SHAPE_TEXT_BYTES];
    struct rt_tensor *y;
    if (x->dtype != SM_FLOAT && x->dtype != SM_DOUBLE && !k_is_half(x->dtype))
        return rt_fail_dtype(ctx, err, x->dtype);
    if (!rt_same_shape(x, sign))
        return rt_fail(ctx, err, ERR_FAILED, "Incompatible shapes: %s vs. %s",
                       rt_shape_text(x, a), rt_shape_text(sign, b));
    const float *xf = NULL, *sf = NULL;
    if (k_is_half(x->dtype)) {
        xf = k_floats(ctx, x, err);
        sf = !xf ? NULL : sign == x ? xf : k_floats(ctx, sign, err);
        if (!sf)
            return -(int)err->code;
        alpha = x->dtype == SM_HALF ? k_round_half(alpha) : k_round_bf16(alpha);
    }
    if (rt_out_reuse(ctx, 0, 0, x->dtype, x->rank, x->dims, &y, err) < 0)
        return -(int)err->code;
    if (x->dtype == SM_FLOAT) {
        leaky_f32(x->data, sign->data, alpha, y->data, x->n_elems);
    } else if (x->dtype == SM_DOUBLE) {
        leaky_f64(x->data, sign->data, (double)alpha, y->data, x->n_elems);
    } else {
        leaky_f32(xf, sf, alpha, (float *)xf, x->n_elems);
        k_narrow(x->dtype, xf, y->data, x->n_elems);
    }
    return 0;
}

/* ---- Softmax --------------------------------------------------------------------- */

RT_SIMD static float
max_f32(const float *x, int64_t n)
{
    float lane[32], m = -INFINITY;
    int64_t i = 0;
    if (n >= 32) {
        memcpy(lane, x, sizeof(lane));
        for (i = 32; i + 32 <= n; i += 32)
            for (int k = 0; k < 32; k++)
                lane[k] = x[i + k] > lane[k] ? x[i + k] : lane[k];
        for (int k = 0; k < 32; k++)
            m = lane[k] > m ? lane[k] : m;
    }
    for (; i < n; i++)
        m = x[i] > m ? x[i] : m;
    return m;
}

RT_SIMD static float
sum_f32(const float *x, int64_t n)
{
    float lane[32] = { 0 }, sum = 0;
    int64_t i = 0;
    for (; i + 32 <= n; i += 32)
        for (int k = 0; k < 32; k++)
            lane[k] += x[i + k];
    if (i > 0)
        for (int k = 0; k < 32; k++)
            sum += lane[k];
    for (; i < n; i++)
        sum += x[i];
    return sum;
}

/* In these, y may be x. */
RT_SIMD static void
exp_f32(const float *x, float *y, int64_t n)
{
    K_VECTOR
    for (int64_t i = 0; i < n; i++)
        y[i] = v_exp(x[i]);
}

RT_SIMD static void
scale_f32(float *y, float by, int64_t n)
{
    K_VECTOR
    for (int64_t i = 0; i < n; i++)
        y[i] *= by;
}

RT_SIMD static void
shift_f32(const float *x, float *y, float by, int64_t n)
{
    K_VECTOR
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] - by;
}

/* `rows` rows of n > 0 values; y may be x. The exponential runs over all rows at once,
 * since rows may be short. */
static void
softmax_f32(const float *x, float *y, int64_t rows, int64_t n)
{
    for (int64_t r = 0; r < rows; r++)
        shift_f32(x + r * n, y + r * n, max_f32(x + r * n, n), n);
    exp_f32(y, y, rows * n);
    for (int64_t r = 0; r < rows; r++)
        scale_f32(y + r * n, 1.0f / sum_f32(y + r * n, n), n);
}

/* `e` has room for rows * n exponentials. */
static void
log_softmax_f32(const float *x, float *y, float *e, int64_t rows, int64_t n)
{
    for (int64_t r = 0; r < rows; r++)
        shift_f32(x + r * n, y + r * n, max_f32(x + r * n, n), n);
    exp_f32(y, e, rows * n);
    for (int64_t r = 0; r < rows; r++)
        shift_f32(y + r * n, y + r * n, logf(sum_f32(e + r * n, n)), n);
}

static void
softmax_f64(const double *x, double *y, int64_t n, bool logarithm)
{
    double m = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++)
        m = x[i] > m ? x[i] : m;
    for (int64_t i = 0; i < n; i++) {
        double e = exp(x[i] - m);
        sum += e;
        if (!logarithm)
            y[i] = e;
    }
    double log_sum = log(sum);
    for (int64_t i = 0; i < n; i++)
        y[i] = logarithm ? x[i] - m - log_sum : y[i] / sum;
}

struct softmax {
    int dtype;
    int64_t n;
    const void *x;
    void *y;
    void *e; /* LogSoftmax of floats: room for exponentials, as large as y */
    bool logarithm;
};

/* Values that are worked on together: they should stay in the nearest cache. */
#define CHUNK 4096

void
nn_softmax(float *x, int64_t rows, int64_t n)
{
    int64_t step = K_MAX(1, CHUNK / n);
    for (int64_t r = 0; r < rows; r += step)
        softmax_f32(x + r * n, x + r * n, K_MIN(step, rows - r), n);
}

static void
softmax_rows(void *arg, int64_t begin, int64_t end)
{
    const struct softmax *s = arg;
    int64_t step = K_MAX(1, CHUNK / s->n);
    for (int64_t r = begin; r < end; r += step) {
        int64_t rows = K_MIN(step, end - r), at = r * s->n;
        if (s->dtype == SM_DOUBLE) {
            for (int64_t i = at; i < at + rows * s->n; i += s->n)
                softmax_f64((const double *)s->x + i, (double *)s->y + i, s->n,
                            s->logarithm);
        } else if (s->logarithm) {
            log_softmax_f32((const float *)s->x + at, (float *)s->y + at,
                            (float *)s->e + at, rows, s->n);
        } else {
            softmax_f32((const float *)s->x + at, (float *)s->y + at, rows, s->n);
        }
    }
}

/* Softmax and LogSoftmax along the last dimension. */
int
rt_run_softmax(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    struct softmax s = { .dtype = x->dtype, .logarithm = ctx->node->op[0] == 'L' };
    struct rt_tensor *y;
    bool half = k_is_half(x->dtype);
    if (x->dtype != SM_FLOAT && x->dtype != SM_DOUBLE && !half)
        return rt_fail_dtype(ctx, err, x->dtype);
    if (x->rank < 1)
        return rt_fail(ctx, err, ERR_FAILED, "logits must have >= 1 dimension, got []");
    if (rt_out_reuse(ctx, 0, 0, x->dtype, x->rank, x->dims, &y, err) < 0)
        return -(int)err->code;
    if (x->n_elems == 0)
        return 0;
    s.n = x->dims[x->rank - 1];
    s.x = half ? (const void *)k_floats(ctx, x, err) : x->data;
    s.y = half ? rt_scratch(ctx, (size_t)x->n_elems * sizeof(float), err) : y->data;
    bool room = s.logarithm && x->dtype != SM_DOUBLE;
    if (s.y && room)
        s.e = rt_scratch(ctx, (size_t)x->n_elems * sizeof(float), err);
    if (!s.x || !s.y || (room && !s.e))
        return -(int)err->code;
    rt_parallel_for(ctx, x->n_elems / s.n, K_MAX(1, K_GRAIN / 8 / s.n), softmax_rows,
                    &s);
    if (half)
        k_narrow(x->dtype, s.y, y->data, x->n_elems);
    return 0;
}

/* ---- cross entropies ------------------------------------------------------------- */

/* Reads a real floating tensor into doubles, spread over [rows, n] (dims of 1 repeat).
 */
static double *
spread_doubles(struct rt_ctx *ctx, const struct rt_tensor *t, int64_t rows, int64_t n,
               struct err *err)
{
    double *y = rt_scratch(ctx, (size_t)(rows * n) * sizeof(*y), err);
    const float *f = y && t->dtype != SM_DOUBLE ? k_floats(ctx, t, err) : NULL;
    if (!y || (t->dtype != SM_DOUBLE && !f))
        return NULL;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < n; i++) {
            int64_t at =
                (t->dims[0] == 1 ? 0 : r) * t->dims[1] + (t->dims[1] == 1 ? 0 : i);
            y[r * n + i] = f ? (double)f[at] : ((const double *)t->data)[at];
        }
    return y;
}

static void
put_real(struct rt_tensor *y, int64_t i, double v)
{
    float f = (float)v;
    if (y->dtype == SM_DOUBLE)
        ((double *)y->data)[i] = v;
    else if (y->dtype == SM_FLOAT)
        ((float *)y->data)[i] = f;
    else
        k_narrow(y->dtype, &f, (uint16_t *)y->data + i, 1);
}

static int
cross_entropy_outputs(struct rt_ctx *ctx, int64_t rows, int64_t n,
                      struct rt_tensor **loss, struct rt_tensor **grad, struct err *err)
{
    int dtype = ctx->in[0]->dtype;
    if (dtype != SM_FLOAT && dtype != SM_DOUBLE && !k_is_half(dtype))
        return rt_fail_dtype(ctx, err, dtype);
    if (rt_out(ctx, 0, dtype, 1, &rows, loss, err) < 0 ||
        rt_out(ctx, 1, dtype, 2, (int64_t[2]){ rows, n }, grad, err) < 0)
        return -(int)err->code;
    return 0;
}

/* loss = sum labels (log sum e^x - x), backprop = softmax - labels, a row each;
 * features and labels broadcast against each other. */
int
rt_run_softmax_xent(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0], *l = ctx->in[1];
    char a[RT_SHAPE_TEXT_BYTES], b[RT_SHAPE_TEXT_BYTES];
    struct rt_tensor *loss, *grad;
    int64_t dims[SM_MAX_RANK];
    int rank = 0;
    if (!k_broadcast(x->rank, x->dims, l->rank, l->dims, &rank, dims))
        return rt_fail(ctx, err, ERR_FAILED,
                       "logits and labels must be broadcastable: logits_size=%s "
                       "labels_size=%s",
                       rt_shape_text(x, a), rt_shape_text(l, b));
    if (x->rank != 2 || l->rank != 2)
        return rt_fail(
            ctx, err, ERR_FAILED,
            "logits and labels must be either 2-dimensional, or broadcasted to be "
            "2-dimensional");
    int64_t n = dims[1];
    if (cross_entropy_outputs(ctx, dims[0], n, &loss, &grad, err) < 0)
        return -(int)err->code;
    double *logits = spread_doubles(ctx, x, dims[0], n, err);
    double *labels = logits ? spread_doubles(ctx, l, dims[0], n, err) : NULL;
    double *logs = labels ? rt_scratch(ctx, (size_t)n * sizeof(*logs), err) : NULL;
    if (!logs)
        return -(int)err->code;
    for (int64_t r = 0; r < dims[0]; r++) {
        double sum = 0;
        softmax_f64(logits + r * n, logs, n, true);
        for (int64_t i = 0; i < n; i++) {
            double p = labels[r * n + i];
            sum -= p == 0 ? 0 : p * logs[i];
            put_real(grad, r * n + i, exp(logs[i]) - p);
        }
        put_real(loss, r, sum);
    }
    return 0;
}

/* Labels are class numbers; one outside [0, n) fails. */
int
rt_run_sparse_softmax_xent(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0], *l = ctx->in[1];
    char a[RT_SHAPE_TEXT_BYTES], b[RT_SHAPE_TEXT_BYTES];
    struct rt_tensor *loss, *grad;
    if (x->rank != 2)
        return rt_fail(ctx, err, ERR_FAILED, "logits must be 2-D, but got shape %s",
                       rt_shape_text(x, a));
    if (l->rank != 1 || l->n_elems != x->dims[0])
        return rt_fail(
            ctx, err, ERR_FAILED,
            "logits and labels must have the same first dimension, got logits "
            "shape %s and labels shape %s",
            rt_shape_text(x, a), rt_shape_text(l, b));
    int64_t n = x->dims[1];
    if (n == 0)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Must have at least one class, but got logits "
                       "shape %s",
                       rt_shape_text(x, a));
    if (cross_entropy_outputs(ctx, x->dims[0], n, &loss, &grad, err) < 0)
        return -(int)err->code;
    double *logits = spread_doubles(ctx, x, x->dims[0], n, err);
    double *logs = logits ? rt_scratch(ctx, (size_t)n * sizeof(*logs), err) : NULL;
    if (!logs)
        return -(int)err->code;
    for (int64_t r = 0; r < x->dims[0]; r++) {
        int64_t label = rt_int_at(l, r);
        if (label < 0 || label >= n)
            return rt_fail(
                ctx, err, ERR_FAILED,
                "Received a label value of %lld which is outside the valid range "
                "of [0, %lld).",
                (long long)label, (long long)n);
        softmax_f64(logits + r * n, logs, n, true);
        for (int64_t i = 0; i < n; i++)
            put_real(grad, r * n + i, exp(logs[i]) - (i == label));
        put_real(loss, r, -logs[label]);
    }
    return 0;
}
