/* SPDX-License-Identifier: Apache-2.0 */
/* ResizeBilinear, ResizeBicubic, ResizeArea, ScaleAndTranslate (float32 out of any real
 * dtype) and ResizeNearestNeighbor (same dtype). All but the last are one thing: every
 * output row and column is a weighted sum of a few input ones. Only the weights differ;
 * positions and weights are computed in float32 as TensorFlow does. */
#include "runtime/ops/image_int.h"

#include <float.h>

enum method { BILINEAR, BICUBIC, AREA, NEAREST };

struct resize_state {
    enum method method;
    bool align_corners, half_pixel;
};

/* One direction: output o is sum over k < taps of weight[o * taps + k] *
 * input[index[o * taps + k]]. */
struct spans {
    int64_t n_in, n_out, taps;
    int64_t *index;
    float *weight;
};

int
rt_prep_resize(struct rt_prep *p)
{
    struct resize_state *s = rt_prep_alloc(p, sizeof *s);
    const char *op = p->node->op;
    p->node->state = s;
    s->method = strcmp(op, "ResizeBilinear") == 0  ? BILINEAR
                : strcmp(op, "ResizeBicubic") == 0 ? BICUBIC
                : strcmp(op, "ResizeArea") == 0    ? AREA
                                                   : NEAREST;
    s->align_corners = rt_attr_bool(p, "align_corners", false);
    s->half_pixel = rt_attr_bool(p, "half_pixel_centers", false);
    if (s->align_corners && s->half_pixel)
        return rt_prep_fail(
            p, ERR_FAILED,
            "If half_pixel_centers is True, align_corners must be False.");
    return rt_prep_done(p);
}

/* ---- shared by the image family ---- */

const float *
image_floats(struct rt_ctx *ctx, const struct rt_tensor *t, struct err *err)
{
    if (t->dtype == SM_FLOAT || k_is_half(t->dtype))
        return k_floats(ctx, t, err);
    float *y = rt_scratch(ctx, (size_t)t->n_elems * sizeof(*y), err);
    if (!y)
        return NULL;
    switch (t->dtype) {
#define X(dtype, type, sfx)                                                            \
    case dtype:                                                                        \
        for (int64_t i = 0; i < t->n_elems; i++)                                       \
            y[i] = (float)((const type *)t->data)[i];                                  \
        return y;
        K_REALS(X)
#undef X
    default:
        rt_fail_dtype(ctx, err, t->dtype);
        return NULL;
    }
}

int
image_check(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *t = ctx->in[0];
    char text[RT_SHAPE_TEXT_BYTES];
    if (t->rank != 4)
        return rt_fail(ctx, err, ERR_FAILED, "input must be 4-dimensional%s",
                       rt_shape_text(t, text));
    if (!t->dims[1] || !t->dims[2])
        return rt_fail(ctx, err, ERR_FAILED, "input image must be of non-zero size");
    return 0;
}

int
image_size(struct rt_ctx *ctx, int in, int64_t size[2], struct err *err)
{
    const struct rt_tensor *t = ctx->in[in];
    char text[RT_SHAPE_TEXT_BYTES];
    if (t->rank != 1 || t->n_elems != 2)
        return rt_fail(ctx, err, ERR_FAILED,
                       "shape_t must be 1-dimensional with 2 elements%s",
                       rt_shape_text(t, text));
    for (int i = 0; i < 2; i++) {
        size[i] = ((const int32_t *)t->data)[i];
        if (size[i] < 1)
            return rt_fail(ctx, err, ERR_FAILED, "output dimensions must be positive");
    }
    return 0;
}

/* ---- weights ---- */

static float
resize_scale(int64_t in, int64_t out, bool align_corners)
{
    return align_corners && out > 1 ? (float)(in - 1) / (float)(out - 1)
                                    : (float)in / (float)out;
}

static float
position(int64_t o, float scale, bool half_pixel)
{
    return half_pixel ? ((float)o + 0.5f) * scale - 0.5f : (float)o * scale;
}

static int64_t
bounded(int64_t i, int64_t n)
{
    return i < 0 ? 0 : i < n ? i : n - 1;
}

static void
bilinear_spans(struct spans *s, float scale, bool half_pixel)
{
    for (int64_t o = 0; o < s->n_out; o++) {
        float at = position(o, scale, half_pixel), low = floorf(at);
        s->index[2 * o] = bounded((int64_t)low, s->n_in);
        s->index[2 * o + 1] = bounded((int64_t)ceilf(at), s->n_in);
        s->weight[2 * o + 1] = at - low;
        s->weight[2 * o] = 1 - (at - low);
    }
}

/* The cubic kernel at distance x, from a table of 1024 steps: TensorFlow rounds the
 * distance to a step. Keys' (a = -0.5) with pixel centres, a = -0.75 without. */
#define CUBIC_STEPS 1024
static float
cubic(int64_t step, bool far, double a)
{
    float x = (float)((double)step / CUBIC_STEPS);
    if (!far)
        return (float)(((a + 2) * (double)x - (a + 3)) * (double)x * (double)x + 1);
    x += 1;
    return (float)(((a * (double)x - 5 * a) * (double)x + 8 * a) * (double)x - 4 * a);
}

static void
bicubic_spans(struct spans *s, float scale, bool half_pixel)
{
    double a = half_pixel ? -0.5 : -0.75;
    for (int64_t o = 0; o < s->n_out; o++) {
        float at = position(o, scale, half_pixel), sum = 0;
        int64_t low = (int64_t)floorf(at);
        int64_t step = lrintf((at - (float)low) * CUBIC_STEPS),
                left = CUBIC_STEPS - step;
        float *w = s->weight + 4 * o;
        w[0] = cubic(step, true, a);
        w[1] = cubic(step, false, a);
        w[2] = cubic(left, false, a);
        w[3] = cubic(left, true, a);
        for (int k = 0; k < 4; k++) {
            int64_t i = bounded(low - 1 + k, s->n_in);
            s->index[4 * o + k] = i;
            if (half_pixel && i != low - 1 + k)
                w[k] = 0; /* outside: no weight, the others share it */
            sum += w[k];
        }
        for (int k = 0; k < 4 && half_pixel && fabsf(sum) >= 1000 * FLT_MIN; k++)
            w[k] /= sum;
    }
}

/* Input pixel i counts by how much of it lies in [o * scale, (o + 1) * scale). */
static void
area_spans(struct spans *s, float scale)
{
    for (int64_t o = 0; o < s->n_out; o++) {
        float from = (float)o * scale, to = (float)(o + 1) * scale;
        int64_t first = (int64_t)floorf(from), end = (int64_t)ceilf(to);
        for (int64_t k = 0; k < s->taps; k++) {
            int64_t i = first + k;
            float left = fmaxf((float)i, from), right = fminf((float)(i + 1), to);
            s->index[o * s->taps + k] = bounded(i, s->n_in);
            s->weight[o * s->taps + k] = i < end ? (right - left) / scale : 0;
        }
    }
}

static int
alloc_spans(struct rt_ctx *ctx, struct spans *s, struct err *err)
{
    size_t n = (size_t)s->n_out * (size_t)s->taps;
    s->index = rt_scratch(ctx, n * sizeof(*s->index), err);
    s->weight = s->index ? rt_scratch(ctx, n * sizeof(*s->weight), err) : NULL;
    return s->weight ? 0 : -(int)err->code;
}

static int
make_spans(struct rt_ctx *ctx, const struct resize_state *r, struct spans *s,
           struct err *err)
{
    float scale = resize_scale(s->n_in, s->n_out, r->align_corners);
    s->taps = r->method == BILINEAR  ? 2
              : r->method == BICUBIC ? 4
                                     : K_MIN((int64_t)ceilf(scale) + 2, s->n_in + 1);
    if (alloc_spans(ctx, s, err) < 0)
        return -(int)err->code;
    if (r->method == BILINEAR)
        bilinear_spans(s, scale, r->half_pixel);
    else if (r->method == BICUBIC)
        bicubic_spans(s, scale, r->half_pixel);
    else
        area_spans(s, scale);
    return 0;
}

/* ---- the sums ---- */

struct resample {
    const float *x;
    float *y, *row; /* row: one input row after the vertical sum */
    int64_t channels;
    const struct spans *rows, *cols;
};

RT_SIMD static void
add_scaled(float *restrict y, const float *restrict x, float w, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] += w * x[i];
}

static void
sum_line(float *y, const float *x, int64_t n, const int64_t *index, const float *weight,
         int64_t taps)
{
    memset(y, 0, (size_t)n * sizeof(*y));
    for (int64_t k = 0; k < taps; k++)
        if (weight[k] != 0)
            add_scaled(y, x + index[k] * n, weight[k], n);
}

static int
resample(struct rt_ctx *ctx, struct resample *r, int64_t batch, struct err *err)
{
    const struct spans *rows = r->rows, *cols = r->cols;
    int64_t in_line = cols->n_in * r->channels, out_line = cols->n_out * r->channels;
    r->row = rt_scratch(ctx, (size_t)in_line * sizeof(*r->row), err);
    if (!r->row)
        return -(int)err->code;
    for (int64_t b = 0; b < batch; b++) {
        const float *x = r->x + b * rows->n_in * in_line;
        for (int64_t o = 0; o < rows->n_out; o++) {
            float *y = r->y + (b * rows->n_out + o) * out_line;
            sum_line(r->row, x, in_line, rows->index + o * rows->taps,
                     rows->weight + o * rows->taps, rows->taps);
            for (int64_t c = 0; c < cols->n_out; c++)
                sum_line(y + c * r->channels, r->row, r->channels,
                         cols->index + c * cols->taps, cols->weight + c * cols->taps,
                         cols->taps);
        }
        if (rt_poll(ctx, err) < 0)
            return -(int)err->code;
    }
    return 0;
}

int
rt_run_resize(struct rt_ctx *ctx, struct err *err)
{
    const struct resize_state *s = ctx->node->state;
    const struct rt_tensor *t = ctx->in[0];
    int64_t size[2];
    struct rt_tensor *y;
    if (image_check(ctx, err) < 0 || image_size(ctx, 1, size, err) < 0)
        return -(int)err->code;
    struct spans rows = { .n_in = t->dims[1], .n_out = size[0] };
    struct spans cols = { .n_in = t->dims[2], .n_out = size[1] };
    int64_t dims[4] = { t->dims[0], size[0], size[1], t->dims[3] };
    if (rt_out(ctx, 0, SM_FLOAT, 4, dims, &y, err) < 0 ||
        make_spans(ctx, s, &rows, err) < 0 || make_spans(ctx, s, &cols, err) < 0)
        return -(int)err->code;
    struct resample r = { .x = image_floats(ctx, t, err),
                          .y = y->data,
                          .channels = t->dims[3],
                          .rows = &rows,
                          .cols = &cols };
    if (!r.x)
        return -(int)err->code;
    return resample(ctx, &r, t->dims[0], err);
}

/* ---- nearest neighbour ---- */

int
rt_run_resize_nearest(struct rt_ctx *ctx, struct err *err)
{
    const struct resize_state *s = ctx->node->state;
    const struct rt_tensor *t = ctx->in[0];
    size_t bytes = rt_dtype_size(t->dtype);
    int64_t size[2];
    struct rt_tensor *y;
    if (t->dtype == SM_STRING || k_is_obj(t->dtype))
        return rt_fail_dtype(ctx, err, t->dtype);
    if (image_check(ctx, err) < 0 || image_size(ctx, 1, size, err) < 0)
        return -(int)err->code;
    int64_t dims[4] = { t->dims[0], size[0], size[1], t->dims[3] };
    size_t pixel = (size_t)t->dims[3] * bytes;
    if (rt_out(ctx, 0, t->dtype, 4, dims, &y, err) < 0)
        return -(int)err->code;
    int64_t *from[2];
    for (int d = 0; d < 2; d++) {
        float scale = resize_scale(t->dims[1 + d], size[d], s->align_corners);
        from[d] = rt_scratch(ctx, (size_t)size[d] * sizeof(int64_t), err);
        if (!from[d])
            return -(int)err->code;
        for (int64_t o = 0; o < size[d]; o++) {
            float at = ((float)o + (s->half_pixel ? 0.5f : 0)) * scale;
            from[d][o] = bounded((int64_t)(s->align_corners ? roundf(at) : floorf(at)),
                                 t->dims[1 + d]);
        }
    }
    char *to = y->data;
    for (int64_t b = 0; b < dims[0]; b++)
        for (int64_t r = 0; r < size[0]; r++) {
            const char *row =
                (const char *)t->data +
                (size_t)((b * t->dims[1] + from[0][r]) * t->dims[2]) * pixel;
            for (int64_t c = 0; c < size[1]; c++, to += pixel)
                memcpy(to, row + (size_t)from[1][c] * pixel, pixel);
        }
    return 0;
}

/* ---- ScaleAndTranslate ---- */

struct kernel {
    const char *name;
    float radius;
    float (*at)(float x, float radius); /* x >= 0 */
};

static float
lanczos(float x, float radius)
{
    const float pi = 3.14159265359f;
    if (x >= radius)
        return 0;
    if (x <= 1e-3f)
        return 1;
    return radius * sinf(pi * x) * sinf(pi * x / radius) / (pi * pi * x * x);
}

static float
gaussian(float x, float radius)
{
    float sigma = radius / 3;
    return x >= radius ? 0 : expf(-x * x / (2 * sigma * sigma));
}

static float
box(float x, float radius)
{
    (void)radius;
    return x < 0.5f ? 1 : x == 0.5f ? 0.5f : 0;
}

static float
triangle(float x, float radius)
{
    (void)radius;
    return x < 1 ? 1 - x : 0;
}

static float
keys_cubic(float x, float radius)
{
    (void)radius;
    if (x >= 2)
        return 0;
    return x >= 1 ? ((-0.5f * x + 2.5f) * x - 4) * x + 2
                  : (1.5f * x - 2.5f) * x * x + 1;
}

static float
mitchell_cubic(float x, float radius)
{
    (void)radius;
    if (x >= 2)
        return 0;
    return x >= 1 ? ((-7.0f / 18 * x + 2) * x - 10.0f / 3) * x + 16.0f / 9
                  : (7.0f / 6 * x - 2) * x * x + 8.0f / 9;
}

static const struct kernel kernels[] = {
    { "lanczos1", 1, lanczos },
    { "lanczos3", 3, lanczos },
    { "lanczos5", 5, lanczos },
    { "gaussian", 1.5f, gaussian },
    { "box", 1, box },
    { "triangle", 1, triangle },
    { "keyscubic", 2, keys_cubic },
    { "mitchellcubic", 2, mitchell_cubic },
};

struct translate_state {
    const struct kernel *kernel;
    bool antialias;
};

int
rt_prep_scale_translate(struct rt_prep *p)
{
    struct translate_state *s = rt_prep_alloc(p, sizeof *s);
    const char *name = rt_attr_str(p, "kernel_type", "lanczos3");
    p->node->state = s;
    s->antialias = rt_attr_bool(p, "antialias", true);
    s->kernel = K_ROW(kernels, name);
    if (!s->kernel)
        return rt_prep_fail(p, ERR_FAILED, "Unrecognized kernel type: %s", name);
    return rt_prep_done(p);
}

/* The kernel widens with the shrinking when antialiased. Samples outside the image have
 * no weight at all: 0. */
static int
kernel_spans(struct rt_ctx *ctx, const struct translate_state *t, struct spans *s,
             float scale, float translation, struct err *err)
{
    float inverse = 1.0f / scale, shift = -inverse * translation;
    float widen = t->antialias ? fmaxf(inverse, 1.0f) : 1.0f;
    float reach = t->kernel->radius * widen;
    s->taps = K_MIN((int64_t)(2 * ceilf(fminf(reach, 1e9f)) + 1), s->n_in);
    if (alloc_spans(ctx, s, err) < 0)
        return -(int)err->code;
    for (int64_t o = 0; o < s->n_out; o++) {
        float at = ((float)o + 0.5f) * inverse + shift, sum = 0;
        float *w = s->weight + o * s->taps;
        int64_t *index = s->index + o * s->taps, first, last;
        memset(w, 0, (size_t)s->taps * sizeof(*w));
        memset(index, 0, (size_t)s->taps * sizeof(*index));
        if (!(at >= 0 && at <= (float)s->n_in))
            continue;
        first = bounded((int64_t)fmaxf(ceilf(at - reach - 0.5f), -1), s->n_in);
        last =
            bounded((int64_t)fminf(floorf(at + reach - 0.5f), (float)s->n_in), s->n_in);
        last = K_MIN(last, first + s->taps - 1);
        for (int64_t i = first; i <= last; i++) {
            float x = fabsf((float)i + 0.5f - at) / widen;
            index[i - first] = i;
            w[i - first] = t->kernel->at(x, t->kernel->radius);
            sum += w[i - first];
        }
        bool enough = fabsf(sum) >= 1000 * FLT_MIN;
        for (int64_t k = 0; k < s->taps; k++)
            w[k] = enough ? w[k] / sum : 0;
    }
    return 0;
}

int
rt_run_scale_translate(struct rt_ctx *ctx, struct err *err)
{
    const struct translate_state *s = ctx->node->state;
    const struct rt_tensor *t = ctx->in[0];
    const float *scale = ctx->in[2]->data, *shift = ctx->in[3]->data;
    int64_t size[2];
    struct rt_tensor *y;
    if (image_check(ctx, err) < 0 || image_size(ctx, 1, size, err) < 0)
        return -(int)err->code;
    if (ctx->in[2]->n_elems != 2 || ctx->in[3]->n_elems != 2)
        return rt_fail(ctx, err, ERR_FAILED, "scale and translation need 2 elements");
    if (!(scale[0] > 0) || !(scale[1] > 0))
        return rt_fail(ctx, err, ERR_FAILED, "scale should be greater than zero.");
    struct spans rows = { .n_in = t->dims[1], .n_out = size[0] };
    struct spans cols = { .n_in = t->dims[2], .n_out = size[1] };
    int64_t dims[4] = { t->dims[0], size[0], size[1], t->dims[3] };
    if (rt_out(ctx, 0, SM_FLOAT, 4, dims, &y, err) < 0 ||
        kernel_spans(ctx, s, &rows, scale[0], shift[0], err) < 0 ||
        kernel_spans(ctx, s, &cols, scale[1], shift[1], err) < 0)
        return -(int)err->code;
    struct resample r = { .x = image_floats(ctx, t, err),
                          .y = y->data,
                          .channels = t->dims[3],
                          .rows = &rows,
                          .cols = &cols };
    if (!r.x)
        return -(int)err->code;
    return resample(ctx, &r, t->dims[0], err);
}
