/* SPDX-License-Identifier: Apache-2.0 */
/* CropAndResize and ImageProjectiveTransform(V2, V3): images sampled at computed
 * places. */
#include "runtime/ops/image_int.h"

/* ---- CropAndResize: any real image, float32 boxes [n, 4] and crops ---- */

struct crop_state {
    bool nearest;
    float outside;
};

int
rt_prep_crop_resize(struct rt_prep *p)
{
    struct crop_state *s = rt_prep_alloc(p, sizeof *s);
    const char *method = rt_attr_str(p, "method", "bilinear");
    p->node->state = s;
    s->outside = rt_attr_float(p, "extrapolation_value", 0);
    s->nearest = strcmp(method, "nearest") == 0;
    if (!s->nearest && strcmp(method, "bilinear") != 0)
        return rt_prep_fail(p, ERR_FAILED, "method must be 'bilinear' or 'nearest'");
    return rt_prep_done(p);
}

/* Where sample o of n lies in an input of `size` pixels, for a box edge a to b. */
static float
crop_position(int64_t o, int64_t n, int64_t size, float a, float b)
{
    float last = (float)(size - 1);
    return n > 1 ? a * last + (float)o * ((b - a) * last / (float)(n - 1))
                 : 0.5f * (a + b) * last;
}

struct crop {
    const struct crop_state *s;
    const float *x;
    int64_t height, width, depth, size[2];
};

static void
crop_pixel(const struct crop *c, const float *image, float iy, float ix, float *y)
{
    int64_t row = c->width * c->depth, d = c->depth;
    if (c->s->nearest) {
        const float *from = image + (int64_t)roundf(iy) * row + (int64_t)roundf(ix) * d;
        memcpy(y, from, (size_t)d * sizeof(*y));
        return;
    }
    float fy = floorf(iy), fx = floorf(ix), wy = iy - fy, wx = ix - fx;
    const float *top = image + (int64_t)fy * row,
                *low = image + (int64_t)ceilf(iy) * row;
    int64_t left = (int64_t)fx * d, right = (int64_t)ceilf(ix) * d;
    for (int64_t i = 0; i < d; i++) {
        float t = top[left + i] + (top[right + i] - top[left + i]) * wx;
        float b = low[left + i] + (low[right + i] - low[left + i]) * wx;
        y[i] = t + (b - t) * wy;
    }
}

static void
crop_box(const struct crop *c, const float *image, const float box[4], float *y)
{
    for (int64_t r = 0; r < c->size[0]; r++) {
        float iy = crop_position(r, c->size[0], c->height, box[0], box[2]);
        for (int64_t k = 0; k < c->size[1]; k++, y += c->depth) {
            float ix = crop_position(k, c->size[1], c->width, box[1], box[3]);
            if (iy >= 0 && iy <= (float)(c->height - 1) && ix >= 0 &&
                ix <= (float)(c->width - 1))
                crop_pixel(c, image, iy, ix, y);
            else
                for (int64_t i = 0; i < c->depth; i++)
                    y[i] = c->s->outside;
        }
    }
}

int
rt_run_crop_resize(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *t = ctx->in[0], *boxes = ctx->in[1], *which = ctx->in[2];
    struct crop c = { .s = ctx->node->state };
    const int32_t *image = which->data, *size = ctx->in[3]->data;
    struct rt_tensor *y;
    if (t->rank != 4)
        return rt_fail(ctx, err, ERR_FAILED, "input image must be 4-D");
    if (!t->dims[1] || !t->dims[2])
        return rt_fail(ctx, err, ERR_FAILED, "image dimensions must be positive");
    if (!(boxes->n_elems == 0 && which->n_elems == 0) &&
        (boxes->rank != 2 || boxes->dims[1] != 4 || which->rank != 1 ||
         which->n_elems != boxes->dims[0]))
        return rt_fail(ctx, err, ERR_FAILED,
                       "boxes must be [n, 4] and box_index [n] of the same n");
    if (ctx->in[3]->rank != 1 || ctx->in[3]->n_elems != 2)
        return rt_fail(ctx, err, ERR_FAILED, "crop_size must have two elements");
    if (size[0] < 1 || size[1] < 1)
        return rt_fail(ctx, err, ERR_FAILED, "crop dimensions must be positive");
    c.height = t->dims[1];
    c.width = t->dims[2];
    c.depth = t->dims[3];
    c.size[0] = size[0];
    c.size[1] = size[1];
    for (int64_t i = 0; i < which->n_elems; i++)
        if (image[i] < 0 || image[i] >= t->dims[0])
            return rt_fail(ctx, err, ERR_FAILED,
                           "box_index has values outside [0, batch_size)");
    int64_t dims[4] = { which->n_elems, size[0], size[1], c.depth };
    if (rt_out(ctx, 0, SM_FLOAT, 4, dims, &y, err) < 0)
        return -(int)err->code;
    c.x = image_floats(ctx, t, err);
    if (!c.x)
        return -(int)err->code;
    int64_t crop = (int64_t)size[0] * size[1] * c.depth;
    for (int64_t i = 0; i < which->n_elems; i++)
        crop_box(&c, c.x + image[i] * c.height * c.width * c.depth,
                 (const float *)boxes->data + 4 * i, (float *)y->data + i * crop);
    return 0;
}

/* ---- ImageProjectiveTransform: output pixel (x, y) is the input at
 * ((t0 x + t1 y + t2) / k, (t3 x + t4 y + t5) / k), k = t6 x + t7 y + 1 ---- */

enum fill_mode { CONSTANT, REFLECT, WRAP, EDGE };

struct projective_state {
    bool bilinear;
    enum fill_mode fill;
};

int
rt_prep_projective(struct rt_prep *p)
{
    static const char *const modes[] = { "CONSTANT", "REFLECT", "WRAP", "NEAREST" };
    struct projective_state *s = rt_prep_alloc(p, sizeof *s);
    const char *inter = rt_attr_str(p, "interpolation", NULL);
    const char *fill = rt_attr_str(p, "fill_mode", "CONSTANT");
    bool known = false;
    p->node->state = s;
    for (int i = 0; i < 4; i++)
        if (strcmp(fill, modes[i]) == 0) {
            s->fill = (enum fill_mode)i;
            known = true;
        }
    if (rt_prep_done(p) < 0)
        return rt_prep_done(p);
    s->bilinear = strcmp(inter, "BILINEAR") == 0;
    if (!known || (!s->bilinear && strcmp(inter, "NEAREST") != 0))
        return rt_prep_fail(p, ERR_FAILED, "interpolation %s, fill_mode %s", inter,
                            fill);
    return 0;
}

static float
clamped(float at, int64_t n)
{
    return at < 0 ? 0 : at > (float)(n - 1) ? (float)(n - 1) : at;
}

/* A coordinate outside [0, n - 1] moved inside, by the fill mode. */
static float
map_coordinate(float at, int64_t n, enum fill_mode fill)
{
    float last = (float)(n - 1), twice = (float)(2 * n);
    if (fill == CONSTANT || isnan(at) || fabsf(at) > 1e15f)
        return at;
    if (fill == REFLECT && (at < 0 || at > last)) {
        if (n <= 1)
            return 0;
        if (at < 0) {
            at += twice * (float)(int64_t)(-at / twice);
            at = at < (float)-n ? at + twice : -at - 1;
        } else {
            at -= twice * (float)(int64_t)(at / twice);
            if (at >= (float)n)
                at = twice - at - 1;
        }
    } else if (fill == WRAP && (at < 0 || at > last)) {
        if (n <= 1)
            return 0;
        if (at < 0)
            at += (float)n * (float)((int64_t)(-at / last) + 1);
        else
            at -= (float)n * (float)(int64_t)(at / last);
    }
    return clamped(at, n);
}

struct project {
    const struct projective_state *s;
    const char *image; /* one of the batch */
    int64_t height, width, depth;
    float fill;
};

/* Pixel (r, c) of a dtype, the fill value outside; one function a dtype. */
#define PROJECT(type, sfx)                                                             \
    static double pixel_##sfx(const struct project *p, float r, float c, int64_t d)    \
    {                                                                                  \
        if (!(r >= 0 && r < (float)p->height && c >= 0 && c < (float)p->width))        \
            return (double)(type)p->fill;                                              \
        int64_t at = ((int64_t)r * p->width + (int64_t)c) * p->depth + d;              \
        return (double)((const type *)(const void *)p->image)[at];                     \
    }                                                                                  \
    static void project_##sfx(const struct project *p, float iy, float ix, void *out)  \
    {                                                                                  \
        type *y = out;                                                                 \
        for (int64_t d = 0; d < p->depth; d++) {                                       \
            if (!p->s->bilinear) {                                                     \
                y[d] = (type)pixel_##sfx(p, roundf(iy), roundf(ix), d);                \
                continue;                                                              \
            }                                                                          \
            float y0 = floorf(iy), x0 = floorf(ix), y1 = y0 + 1, x1 = x0 + 1;          \
            float top = (x1 - ix) * (float)pixel_##sfx(p, y0, x0, d) +                 \
                        (ix - x0) * (float)pixel_##sfx(p, y0, x1, d);                  \
            float low = (x1 - ix) * (float)pixel_##sfx(p, y1, x0, d) +                 \
                        (ix - x0) * (float)pixel_##sfx(p, y1, x1, d);                  \
            y[d] = (type)((y1 - iy) * top + (iy - y0) * low);                          \
        }                                                                              \
    }
#define PROJECT_TYPES(X)                                                               \
    X(SM_FLOAT, float, f32)                                                            \
    X(SM_DOUBLE, double, f64)                                                          \
    X(SM_UINT8, uint8_t, u8)                                                           \
    X(SM_INT32, int32_t, i32)                                                          \
    X(SM_INT64, int64_t, i64)
#define X(dtype, type, sfx) PROJECT(type, sfx)
PROJECT_TYPES(X)
#undef X

static void
project_pixel(int dtype, const struct project *p, float iy, float ix, void *out)
{
    switch (dtype) {
#define X(dtype, type, sfx)                                                            \
    case dtype:                                                                        \
        project_##sfx(p, iy, ix, out);                                                 \
        break;
        PROJECT_TYPES(X)
#undef X
    }
}

/* One image, dtype one of PROJECT_TYPES. */
static void
project_image(const struct project *p, int dtype, const float *t, const int64_t size[2],
              char *y)
{
    size_t bytes = rt_dtype_size(dtype), pixel = (size_t)p->depth * bytes;
    for (int64_t r = 0; r < size[0]; r++)
        for (int64_t c = 0; c < size[1]; c++, y += pixel) {
            float fr = (float)r, fc = (float)c, k = t[6] * fc + t[7] * fr + 1;
            float ix = -1e9f,
                  iy = -1e9f; /* k = 0: a point at infinity, the fill value */
            if (k != 0) {
                ix = map_coordinate((t[0] * fc + t[1] * fr + t[2]) / k, p->width,
                                    p->s->fill);
                iy = map_coordinate((t[3] * fc + t[4] * fr + t[5]) / k, p->height,
                                    p->s->fill);
            }
            project_pixel(dtype, p, iy, ix, y);
        }
}

int
rt_run_projective(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *t = ctx->in[0], *tr = ctx->in[1];
    struct project p = { .s = ctx->node->state };
    int dtype = k_is_half(t->dtype) ? SM_FLOAT : t->dtype;
    int64_t size[2];
    struct rt_tensor *y;
    char text[RT_SHAPE_TEXT_BYTES];
    if (dtype != SM_FLOAT && dtype != SM_DOUBLE && dtype != SM_UINT8 &&
        dtype != SM_INT32 && dtype != SM_INT64)
        return rt_fail_dtype(ctx, err, t->dtype);
    if (t->rank != 4)
        return rt_fail(ctx, err, ERR_FAILED, "Input images must have rank 4");
    if (tr->rank != 2 || (tr->dims[0] != t->dims[0] && tr->dims[0] != 1) ||
        tr->dims[1] != 8)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Input transform should be num_images x 8 or 1 x 8: %s",
                       rt_shape_text(tr, text));
    if (image_size(ctx, 2, size, err) < 0)
        return -(int)err->code;
    if (ctx->node->n_in > 3) {
        if (ctx->in[3]->n_elems != 1)
            return rt_fail(ctx, err, ERR_FAILED, "fill_value must be a scalar");
        p.fill = *(const float *)ctx->in[3]->data;
    }
    p.height = t->dims[1];
    p.width = t->dims[2];
    p.depth = t->dims[3];
    int64_t dims[4] = { t->dims[0], size[0], size[1], p.depth };
    if (rt_out(ctx, 0, t->dtype, 4, dims, &y, err) < 0)
        return -(int)err->code;
    const char *x = k_is_half(t->dtype) ? (const char *)k_floats(ctx, t, err) : t->data;
    char *to = dtype == t->dtype
                   ? y->data
                   : rt_scratch(ctx, (size_t)y->n_elems * rt_dtype_size(dtype), err);
    if (!x || !to)
        return -(int)err->code;
    size_t bytes = rt_dtype_size(dtype);
    for (int64_t b = 0; b < dims[0]; b++) {
        p.image = x + (size_t)(b * p.height * p.width * p.depth) * bytes;
        project_image(&p, dtype,
                      (const float *)tr->data + (tr->dims[0] == 1 ? 0 : 8 * b), size,
                      to + (size_t)(b * size[0] * size[1] * p.depth) * bytes);
        if (rt_poll(ctx, err) < 0)
            return -(int)err->code;
    }
    if (dtype != t->dtype)
        k_narrow(t->dtype, (const float *)(void *)to, y->data, y->n_elems);
    return 0;
}
