/* SPDX-License-Identifier: Apache-2.0 */
/* MaxPool(V2), AvgPool, MaxPool3D, AvgPool3D, MaxPoolWithArgmax, LRN.
 * Windows are clipped to the input: padding takes part in neither the maximum nor the
 * average's count. A maximum over nothing is the lowest value. MaxPool may also run
 * over the channels (ksize 1 in space): the depth must be a multiple of the window.
 * NCHW is turned to channels last and back. float16 and bfloat16 run as float. */
#include "runtime/ops/nn_int.h"

#include <float.h>
#include <math.h>

struct pool_state {
    struct nn_window w;
    bool avg, by_inputs; /* MaxPoolV2: ksize and strides are inputs 1 and 2 */
    int argmax_type;     /* MaxPoolWithArgmax */
    bool batch_in_index;
};

static int
prep_pool(struct rt_prep *p, int n)
{
    struct pool_state *s = rt_prep_alloc(p, sizeof *s);
    const char *op = p->node->op;
    p->node->state = s;
    s->w.n = n;
    s->avg = op[0] == 'A';
    s->by_inputs = strcmp(op, "MaxPoolV2") == 0;
    if (strcmp(op, "MaxPoolWithArgmax") == 0) {
        s->argmax_type = rt_attr_type(p, "Targmax", SM_INT64);
        s->batch_in_index = rt_attr_bool(p, "include_batch_in_index", false);
        if (s->argmax_type != SM_INT64 && s->argmax_type != SM_INT32)
            return rt_prep_fail(p, ERR_UNSUPPORTED, "Targmax %s",
                                sm_dtype_name(s->argmax_type));
    }
    if (!s->by_inputs)
        return nn_prep_window(p, &s->w, false, true);
    const char *format = rt_attr_str(p, "data_format", "NHWC");
    s->w.channels_first = strcmp(format, "NCHW") == 0;
    if (!s->w.channels_first && strcmp(format, "NHWC") != 0)
        return rt_prep_fail(p, ERR_UNSUPPORTED, "data_format \"%s\"", format);
    return nn_prep_padding(p, &s->w.padding);
}

int
rt_prep_pool2d(struct rt_prep *p)
{
    return prep_pool(p, 2);
}

int
rt_prep_pool3d(struct rt_prep *p)
{
    return prep_pool(p, 3);
}

/* ksize and strides of MaxPoolV2. */
static int
window_inputs(struct rt_ctx *ctx, struct nn_window *w, struct err *err)
{
    for (int i = 1; i <= 2; i++) {
        const struct rt_tensor *t = ctx->in[i];
        int64_t v[4];
        if (t->rank != 1 || t->n_elems != 4)
            return rt_fail(ctx, err, ERR_FAILED,
                           "Sliding window %s field must specify 4 dimensions",
                           i == 1 ? "ksize" : "strides");
        for (int k = 0; k < 4; k++) {
            v[k] = ((const int32_t *)t->data)[k];
            if (v[k] < 1)
                return rt_fail(ctx, err, ERR_FAILED,
                               "Sliding window %s must be positive, got %jd",
                               i == 1 ? "ksize" : "strides", (intmax_t)v[k]);
        }
        int first = w->channels_first ? 2 : 1, depth = w->channels_first ? 1 : 3;
        int64_t *space = i == 1 ? w->ksize : w->stride;
        space[0] = v[first];
        space[1] = v[first + 1];
        *(i == 1 ? &w->batch_k : &w->batch_s) = v[0];
        *(i == 1 ? &w->depth_k : &w->depth_s) = v[depth];
    }
    for (int i = 0; i < 3; i++)
        w->dilation[i] = 1;
    return 0;
}

/* ---- the loops: channels last, three spatial dimensions ---- */

struct pool {
    const void *x;
    void *y, *argmax;
    int dtype, argmax_type;
    bool avg, batch_in_index;
    int64_t in[3], out[3], kernel[3], stride[3], lo[3], channels;
};

/* The first tap inside the input and the end of them, of a window in one dimension. */
static void
clip_window(const struct pool *p, int dim, int64_t o, int64_t *begin, int64_t *end)
{
    *begin = o * p->stride[dim] - p->lo[dim];
    *end = K_MIN(*begin + p->kernel[dim], p->in[dim]);
    *begin = K_MAX(*begin, 0);
}

#define MAX_LINE(type, sfx)                                                            \
    RT_SIMD static void max_line_##sfx(void *y_, const void *x_, int64_t n)            \
    {                                                                                  \
        type *restrict y = y_;                                                         \
        const type *restrict x = x_;                                                   \
        for (int64_t i = 0; i < n; i++)                                                \
            y[i] = x[i] > y[i] ? x[i] : y[i];                                          \
    }
#define X(dtype, type, sfx) MAX_LINE(type, sfx)
K_REALS(X)
#undef X

#define AVG_LINE(sfx, type)                                                            \
    RT_SIMD static void sum_line_##sfx(void *y_, const void *x_, int64_t n)            \
    {                                                                                  \
        type *restrict y = y_;                                                         \
        const type *restrict x = x_;                                                   \
        for (int64_t i = 0; i < n; i++)                                                \
            y[i] += x[i];                                                              \
    }                                                                                  \
    RT_SIMD static void scale_line_##sfx(void *y_, int64_t count, int64_t n)           \
    {                                                                                  \
        type *restrict y = y_;                                                         \
        for (int64_t i = 0; i < n; i++)                                                \
            y[i] /= (type)count;                                                       \
    }
AVG_LINE(f32, float)
AVG_LINE(f64, double)

/* The lowest value of a dtype; false: no maximum of it. */
static bool
lowest(int dtype, void *v)
{
    static const float f32 = -FLT_MAX;
    static const double f64 = -DBL_MAX;
    static const int8_t i8 = INT8_MIN;
    static const int16_t i16 = INT16_MIN;
    static const int32_t i32 = INT32_MIN;
    static const int64_t i64 = INT64_MIN, u = 0;
    const void *from = dtype == SM_FLOAT    ? (const void *)&f32
                       : dtype == SM_DOUBLE ? (const void *)&f64
                       : dtype == SM_INT8   ? (const void *)&i8
                       : dtype == SM_INT16  ? (const void *)&i16
                       : dtype == SM_INT32  ? (const void *)&i32
                       : dtype == SM_INT64  ? (const void *)&i64
                                            : (const void *)&u;
    if (dtype != SM_FLOAT && dtype != SM_DOUBLE && !k_is_int(dtype))
        return false;
    memcpy(v, from, rt_dtype_size(dtype));
    return true;
}

static void (*line_fn(const struct pool *p))(void *, const void *, int64_t)
{
    if (p->avg)
        return p->dtype == SM_FLOAT ? sum_line_f32 : sum_line_f64;
    switch (p->dtype) {
#define X(dtype, type, sfx)                                                            \
    case dtype:                                                                        \
        return max_line_##sfx;
        K_REALS(X)
#undef X
    default:
        return NULL;
    }
}

/* Rows (batch, first and second output dimension flattened). */
static void
pool_rows(void *arg, int64_t begin, int64_t end)
{
    const struct pool *p = arg;
    size_t bytes = rt_dtype_size(p->dtype), line = (size_t)p->channels * bytes;
    void (*add)(void *, const void *, int64_t) = line_fn(p);
    uint64_t low = 0;
    int64_t b[3], e[3];
    if (!p->avg)
        lowest(p->dtype, &low);
    for (int64_t row = begin; row < end; row++) {
        int64_t image = row / p->out[1] / p->out[0];
        const char *x = (const char *)p->x +
                        (size_t)(image * p->in[0] * p->in[1] * p->in[2]) * line;
        char *y = (char *)p->y + (size_t)(row * p->out[2]) * line;
        clip_window(p, 0, row / p->out[1] % p->out[0], &b[0], &e[0]);
        clip_window(p, 1, row % p->out[1], &b[1], &e[1]);
        for (int64_t o = 0; o < p->out[2]; o++, y += line) {
            clip_window(p, 2, o, &b[2], &e[2]);
            k_fill(y, &low, p->channels, bytes);
            for (int64_t i = b[0]; i < e[0]; i++)
                for (int64_t j = b[1]; j < e[1]; j++)
                    for (int64_t k = b[2]; k < e[2]; k++)
                        add(y, x + (size_t)((i * p->in[1] + j) * p->in[2] + k) * line,
                            p->channels);
            int64_t count =
                K_MAX(e[0] - b[0], 0) * K_MAX(e[1] - b[1], 0) * K_MAX(e[2] - b[2], 0);
            if (p->avg)
                (p->dtype == SM_FLOAT ? scale_line_f32 : scale_line_f64)(y, count,
                                                                         p->channels);
        }
    }
}

/* The first of equal maxima wins; an all-NaN window keeps its first element. */
#define ARGMAX(type, sfx)                                                              \
    static void argmax_##sfx(const struct pool *p, int64_t image, const int64_t b[2],  \
                             const int64_t e[2], int64_t at)                           \
    {                                                                                  \
        int64_t n = p->in[1] * p->in[2] * p->channels;                                 \
        const type *x = (const type *)p->x + image * n;                                \
        for (int64_t c = 0; c < p->channels; c++) {                                    \
            int64_t best = -1;                                                         \
            for (int64_t i = b[0]; i < e[0]; i++)                                      \
                for (int64_t j = b[1]; j < e[1]; j++) {                                \
                    int64_t k = (i * p->in[2] + j) * p->channels + c;                  \
                    if (best < 0 || x[k] > x[best])                                    \
                        best = k;                                                      \
                }                                                                      \
            ((type *)p->y)[at + c] = best < 0 ? 0 : x[best];                           \
            if (p->batch_in_index)                                                     \
                best += image * n;                                                     \
            if (p->argmax_type == SM_INT32)                                            \
                ((int32_t *)p->argmax)[at + c] = (int32_t)best;                        \
            else                                                                       \
                ((int64_t *)p->argmax)[at + c] = best;                                 \
        }                                                                              \
    }
#define X(dtype, type, sfx) ARGMAX(type, sfx)
K_REALS(X)
#undef X

static void
argmax_rows(void *arg, int64_t begin, int64_t end)
{
    const struct pool *p = arg;
    int64_t b[2], e[2];
    for (int64_t row = begin; row < end; row++) {
        clip_window(p, 1, row % p->out[1], &b[0], &e[0]);
        for (int64_t o = 0; o < p->out[2]; o++) {
            int64_t at = (row * p->out[2] + o) * p->channels;
            clip_window(p, 2, o, &b[1], &e[1]);
            switch (p->dtype) {
#define X(dtype, type, sfx)                                                            \
    case dtype:                                                                        \
        argmax_##sfx(p, row / p->out[1], b, e, at);                                    \
        break;
                K_REALS(X)
#undef X
            }
        }
    }
}

/* ---- one run ---- */

/* x with channels last, and as float when it is of a half type. */
static const void *
load_x(struct rt_ctx *ctx, const struct nn_window *w, struct pool *p, int64_t batch,
       struct err *err)
{
    const struct rt_tensor *t = ctx->in[0];
    const void *x = k_is_half(t->dtype) ? k_floats(ctx, t, err) : t->data;
    if (!x || !w->channels_first)
        return x;
    void *turned = rt_scratch(ctx, (size_t)t->n_elems * rt_dtype_size(p->dtype), err);
    if (turned)
        nn_swap_channels(x, turned, rt_dtype_size(p->dtype), batch, p->channels,
                         p->in[0] * p->in[1] * p->in[2]);
    return turned;
}

static int
run_space(struct rt_ctx *ctx, const struct pool_state *s, const struct nn_window *w,
          struct nn_place *at, struct err *err)
{
    const struct rt_tensor *t = ctx->in[0];
    struct pool p = { .dtype = k_is_half(t->dtype) ? SM_FLOAT : t->dtype,
                      .avg = s->avg };
    int64_t dims[SM_MAX_RANK], pad = 3 - w->n;
    struct rt_tensor *y, *arg;
    for (int i = 0; i < 3; i++) {
        bool real = i >= pad;
        p.in[i] = real ? at->in[i - pad] : 1;
        p.out[i] = real ? at->out[i - pad] : 1;
        p.kernel[i] = real ? at->kernel[i - pad] : 1;
        p.stride[i] = real ? w->stride[i - pad] : 1;
        p.lo[i] = real ? at->lo[i - pad] : 0;
    }
    p.channels = at->channels;
    p.batch_in_index = s->batch_in_index;
    p.argmax_type = s->argmax_type;
    int rank = nn_dims(w, at->batch, at->out, at->channels, dims);
    if (rt_out(ctx, 0, t->dtype, rank, dims, &y, err) < 0)
        return -(int)err->code;
    if (s->argmax_type) {
        if (rt_out(ctx, 1, s->argmax_type, rank, dims, &arg, err) < 0)
            return -(int)err->code;
        p.argmax = arg->data;
    }
    if (!y->n_elems)
        return 0;
    p.x = load_x(ctx, w, &p, at->batch, err);
    p.y = y->data;
    if (p.dtype != t->dtype || w->channels_first)
        p.y = rt_scratch(ctx, (size_t)y->n_elems * rt_dtype_size(p.dtype), err);
    if (!p.x || !p.y)
        return -(int)err->code;
    int64_t taps = p.kernel[0] * p.kernel[1] * p.kernel[2];
    rt_parallel_for(ctx, at->batch * p.out[0] * p.out[1],
                    K_GRAIN / (p.out[2] * p.channels * taps + 1) + 1,
                    s->argmax_type ? argmax_rows : pool_rows, &p);
    const void *done = p.y;
    if (w->channels_first) {
        void *to =
            p.dtype == t->dtype
                ? y->data
                : rt_scratch(ctx, (size_t)y->n_elems * rt_dtype_size(p.dtype), err);
        if (!to)
            return -(int)err->code;
        nn_swap_channels(done, to, rt_dtype_size(p.dtype), at->batch,
                         p.out[0] * p.out[1] * p.out[2], p.channels);
        done = to;
    }
    if (p.dtype != t->dtype)
        k_narrow(t->dtype, done, y->data, y->n_elems);
    return 0;
}

/* The maximum of groups of depth_k neighbouring channels. */
static int
run_depth(struct rt_ctx *ctx, const struct nn_window *w, struct nn_place *at,
          struct err *err)
{
    const struct rt_tensor *t = ctx->in[0];
    int64_t k = w->depth_k, dims[SM_MAX_RANK];
    struct rt_tensor *y;
    if (w->depth_s != k || at->channels % k)
        return rt_fail(
            ctx, err, ERR_FAILED,
            "Depthwise max pooling requires the depth window to evenly divide "
            "the input depth.");
    int rank = nn_dims(w, at->batch, at->in, at->channels / k, dims);
    if (rt_out(ctx, 0, t->dtype, rank, dims, &y, err) < 0)
        return -(int)err->code;
    struct pool p = { .dtype = k_is_half(t->dtype) ? SM_FLOAT : t->dtype,
                      .in = { 1, 1, k },
                      .out = { 1, 1, 1 },
                      .kernel = { 1, 1, k },
                      .stride = { 1, 1, k },
                      .channels = 1,
                      .y = y->data };
    p.x = k_is_half(t->dtype) ? k_floats(ctx, t, err) : t->data;
    if (p.dtype != t->dtype)
        p.y = rt_scratch(ctx, (size_t)y->n_elems * sizeof(float), err);
    if (!p.x || !p.y)
        return -(int)err->code;
    pool_rows(&p, 0, y->n_elems);
    if (p.dtype != t->dtype)
        k_narrow(t->dtype, p.y, y->data, y->n_elems);
    return 0;
}

int
rt_run_pool(struct rt_ctx *ctx, struct err *err)
{
    const struct pool_state *s = ctx->node->state;
    const struct rt_tensor *t = ctx->in[0];
    struct nn_window w = s->w;
    struct nn_place at = { 0 };
    uint64_t low;
    int dtype = k_is_half(t->dtype) ? SM_FLOAT : t->dtype;
    if (s->avg ? dtype != SM_FLOAT && dtype != SM_DOUBLE : !lowest(dtype, &low))
        return rt_fail_dtype(ctx, err, t->dtype);
    if ((s->by_inputs && window_inputs(ctx, &w, err) < 0) ||
        nn_place_input(ctx, &w, t, &at, err) < 0)
        return -(int)err->code;
    bool space = false;
    for (int i = 0; i < w.n; i++) {
        at.kernel[i] = w.ksize[i];
        space |= w.ksize[i] != 1;
    }
    if (w.batch_k != 1 || w.batch_s != 1)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Pooling is not yet supported on the batch dimension.");
    if (w.depth_k != 1 || w.depth_s != 1) {
        if (s->avg || space || s->argmax_type || w.channels_first)
            return rt_fail(ctx, err, ERR_FAILED,
                           "Depthwise pooling needs MaxPool, NHWC and a window of 1 in "
                           "space.");
        return run_depth(ctx, &w, &at, err);
    }
    for (int i = 0; i < w.n && w.padding == NN_EXPLICIT; i++)
        if (K_MAX(w.lo[i], w.hi[i]) >= w.ksize[i])
            return rt_fail(ctx, err, ERR_FAILED,
                           "padding %jd needs to be smaller than the window size %jd",
                           (intmax_t)K_MAX(w.lo[i], w.hi[i]), (intmax_t)w.ksize[i]);
    if (nn_place(ctx, &w, &at, err) < 0)
        return -(int)err->code;
    return run_space(ctx, s, &w, &at, err);
}

/* ---- LRN: y = x / (bias + alpha * sum of x^2 over depth_radius channels)^beta ---- */

struct lrn_state {
    int64_t radius;
    float bias, alpha, beta;
};

int
rt_prep_lrn(struct rt_prep *p)
{
    struct lrn_state *s = rt_prep_alloc(p, sizeof *s);
    p->node->state = s;
    s->radius = rt_attr_int(p, "depth_radius", 5);
    s->bias = rt_attr_float(p, "bias", 1);
    s->alpha = rt_attr_float(p, "alpha", 1);
    s->beta = rt_attr_float(p, "beta", 0.5f);
    if (s->radius < 0)
        return rt_prep_fail(p, ERR_FAILED, "depth_radius = %jd is negative",
                            (intmax_t)s->radius);
    return rt_prep_done(p);
}

int
rt_run_lrn(struct rt_ctx *ctx, struct err *err)
{
    const struct lrn_state *s = ctx->node->state;
    const struct rt_tensor *t = ctx->in[0];
    struct rt_tensor *out;
    if (t->rank != 4)
        return rt_fail(ctx, err, ERR_FAILED, "in must be 4-dimensional");
    if (t->dtype != SM_FLOAT && !k_is_half(t->dtype))
        return rt_fail_dtype(ctx, err, t->dtype);
    if (rt_out(ctx, 0, t->dtype, 4, t->dims, &out, err) < 0)
        return -(int)err->code;
    const float *x = k_floats(ctx, t, err);
    float *y = t->dtype == SM_FLOAT
                   ? out->data
                   : rt_scratch(ctx, (size_t)t->n_elems * sizeof(*y), err);
    if (!x || !y)
        return -(int)err->code;
    int64_t n = t->dims[3], radius = K_MIN(s->radius, n);
    for (int64_t at = 0; at < t->n_elems; at += n)
        for (int64_t c = 0; c < n; c++) {
            double sum = 0;
            for (int64_t k = K_MAX(c - radius, 0); k <= K_MIN(c + radius, n - 1); k++)
                sum += (double)x[at + k] * (double)x[at + k];
            y[at + c] = (float)((double)x[at + c] *
                                pow((double)s->bias + (double)s->alpha * sum,
                                    -(double)s->beta));
        }
    if (t->dtype != SM_FLOAT)
        k_narrow(t->dtype, y, out->data, t->n_elems);
    return 0;
}
