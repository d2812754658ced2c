/* SPDX-License-Identifier: Apache-2.0 */
/* ExtractImagePatches, ExtractVolumePatches (any dtype of fixed size; outside is 0) and
 * Dilation2D (real numbers; taps outside the input take no part). */
#include "runtime/ops/image_int.h"

#include <float.h>
#include <limits.h>

/* A list attribute of 2 + n sizes, 1 at both ends; absent is 1 when not required. */
static int
spatial_list(struct rt_prep *p, const char *name, int n, int64_t *out)
{
    int have;
    const int64_t *v = rt_attr_ints(p, name, &have);
    if (rt_prep_done(p) < 0)
        return rt_prep_done(p);
    if (have != n + 2 || v[0] != 1 || v[n + 1] != 1)
        return rt_prep_fail(p, ERR_FAILED, "%s must have %d elements, 1 at both ends",
                            name, n + 2);
    for (int i = 0; i < n; i++) {
        out[i] = v[1 + i];
        if (out[i] < 1 || out[i] > INT_MAX)
            return rt_prep_fail(p, ERR_FAILED, "%s must be positive, got %jd", name,
                                (intmax_t)out[i]);
    }
    return 0;
}

int
rt_prep_image_patches(struct rt_prep *p)
{
    struct nn_window *w = rt_prep_alloc(p, sizeof *w);
    bool volume = strcmp(p->node->op, "ExtractVolumePatches") == 0;
    p->node->state = w;
    w->n = volume ? 3 : 2;
    for (int i = 0; i < 3; i++)
        w->dilation[i] = 1;
    if (nn_prep_padding(p, &w->padding) < 0 ||
        spatial_list(p, "ksizes", w->n, w->ksize) < 0 ||
        spatial_list(p, "strides", w->n, w->stride) < 0)
        return rt_prep_done(p);
    return volume ? 0 : spatial_list(p, "rates", w->n, w->dilation);
}

int
rt_run_image_patches(struct rt_ctx *ctx, struct err *err)
{
    const struct nn_window *w = ctx->node->state;
    const struct rt_tensor *t = ctx->in[0];
    size_t bytes = rt_dtype_size(t->dtype);
    struct nn_place at = { 0 };
    int64_t dims[SM_MAX_RANK], taps = 1, i[6] = { 0 };
    struct rt_tensor *out;
    if (t->dtype == SM_STRING || k_is_obj(t->dtype))
        return rt_fail_dtype(ctx, err, t->dtype);
    if (nn_place_input(ctx, w, t, &at, err) < 0)
        return -(int)err->code;
    for (int d = 0; d < w->n; d++) {
        at.kernel[d] = w->ksize[d];
        taps *= w->ksize[d];
    }
    if (nn_place(ctx, w, &at, err) < 0)
        return -(int)err->code;
    /* TensorFlow's volume patches of SAME padding may begin inside the input. */
    for (int d = 0; d < 3 && w->n == 3 && w->padding == NN_SAME; d++)
        at.lo[d] = ((at.out[d] - 1) * w->stride[d] + at.kernel[d] - at.in[d]) / 2;
    int rank = nn_dims(w, at.batch, at.out, at.channels * taps, dims);
    if (rt_out(ctx, 0, t->dtype, rank, dims, &out, err) < 0)
        return -(int)err->code;
    char *y = out->data;
    size_t pixel = (size_t)at.channels * bytes;
    /* i: the output's place, then the tap; rolled over below like digits. */
    int64_t image = 0, limit[6];
    for (int d = 0; d < 3; d++) {
        limit[d] = at.out[d];
        limit[3 + d] = at.kernel[d];
    }
    for (int64_t n = pixel ? out->n_elems / at.channels : 0; n > 0; n--, y += pixel) {
        int64_t index = image;
        bool inside = true;
        for (int d = 0; d < w->n; d++) {
            int64_t x = i[d] * w->stride[d] - at.lo[d] + i[3 + d] * w->dilation[d];
            inside &= x >= 0 && x < at.in[d];
            index = index * at.in[d] + x;
        }
        if (inside)
            memcpy(y, (const char *)t->data + (size_t)index * pixel, pixel);
        else
            memset(y, 0, pixel);
        int d = 5;
        while (d >= 0 && ++i[d] == limit[d])
            i[d--] = 0;
        image += d < 0;
    }
    return 0;
}

/* ---- Dilation2D: y[b, r, c, d] = max over taps of x + filter (integers wrap) ---- */

int
rt_prep_dilation(struct rt_prep *p)
{
    struct nn_window *w = rt_prep_alloc(p, sizeof *w);
    p->node->state = w;
    w->n = 2;
    w->dilation[2] = w->stride[2] = 1;
    if (nn_prep_padding(p, &w->padding) < 0 ||
        spatial_list(p, "strides", 2, w->stride) < 0)
        return rt_prep_done(p);
    return spatial_list(p, "rates", 2, w->dilation);
}

struct dilation {
    const struct nn_window *w;
    struct nn_place at;
    const void *x, *filter;
    void *y;
};

#define DILATE(type, sfx, lowest, sum)                                                 \
    static void dilate_##sfx(const struct dilation *s)                                 \
    {                                                                                  \
        const struct nn_place *at = &s->at;                                            \
        int64_t n = at->channels;                                                      \
        type *y = s->y;                                                                \
        for (int64_t o = 0; o < at->batch * at->out[0] * at->out[1]; o++, y += n) {    \
            int64_t b = o / at->out[1] / at->out[0];                                   \
            int64_t r0 = o / at->out[1] % at->out[0] * s->w->stride[0] - at->lo[0];    \
            int64_t c0 = o % at->out[1] * s->w->stride[1] - at->lo[1];                 \
            for (int64_t d = 0; d < n; d++)                                            \
                y[d] = lowest;                                                         \
            for (int64_t k = 0; k < at->kernel[0] * at->kernel[1]; k++) {              \
                int64_t r = r0 + k / at->kernel[1] * s->w->dilation[0];                \
                int64_t c = c0 + k % at->kernel[1] * s->w->dilation[1];                \
                if (r < 0 || r >= at->in[0] || c < 0 || c >= at->in[1])                \
                    continue;                                                          \
                const type *x =                                                        \
                    (const type *)s->x + ((b * at->in[0] + r) * at->in[1] + c) * n;    \
                const type *f = (const type *)s->filter + k * n;                       \
                for (int64_t d = 0; d < n; d++) {                                      \
                    type v = (type)((sum)x[d] + (sum)f[d]);                            \
                    y[d] = v > y[d] ? v : y[d];                                        \
                }                                                                      \
            }                                                                          \
        }                                                                              \
    }
DILATE(float, f32, -FLT_MAX, float)
DILATE(double, f64, -DBL_MAX, double)
DILATE(int8_t, i8, INT8_MIN, uint32_t)
DILATE(int16_t, i16, INT16_MIN, uint32_t)
DILATE(int32_t, i32, INT32_MIN, uint32_t)
DILATE(int64_t, i64, INT64_MIN, uint64_t)
DILATE(uint8_t, u8, 0, uint32_t)
DILATE(uint16_t, u16, 0, uint32_t)
DILATE(uint32_t, u32, 0, uint32_t)
DILATE(uint64_t, u64, 0, uint64_t)

static bool
dilate(int dtype, const struct dilation *s)
{
    switch (dtype) {
#define X(dtype, type, sfx)                                                            \
    case dtype:                                                                        \
        dilate_##sfx(s);                                                               \
        return true;
        K_REALS(X)
#undef X
    }
    return false;
}

int
rt_run_dilation(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *t = ctx->in[0], *f = ctx->in[1];
    struct dilation s = { .w = ctx->node->state, .x = t->data, .filter = f->data };
    int64_t dims[SM_MAX_RANK];
    bool half = k_is_half(t->dtype);
    struct rt_tensor *y;
    if (nn_place_input(ctx, s.w, t, &s.at, err) < 0)
        return -(int)err->code;
    if (f->rank != 3 || f->dims[2] != s.at.channels)
        return rt_fail(ctx, err, ERR_FAILED,
                       "filter must be 3-dimensional, with the depth of the input");
    s.at.kernel[0] = f->dims[0];
    s.at.kernel[1] = f->dims[1];
    if (nn_place(ctx, s.w, &s.at, err) < 0)
        return -(int)err->code;
    int rank = nn_dims(s.w, s.at.batch, s.at.out, s.at.channels, dims);
    if (rt_out(ctx, 0, t->dtype, rank, dims, &y, err) < 0)
        return -(int)err->code;
    s.y = y->data;
    if (half) {
        s.x = k_floats(ctx, t, err);
        s.filter = s.x ? k_floats(ctx, f, err) : NULL;
        s.y =
            s.filter ? rt_scratch(ctx, (size_t)y->n_elems * sizeof(float), err) : NULL;
        if (!s.y)
            return -(int)err->code;
    }
    if (!dilate(half ? SM_FLOAT : t->dtype, &s))
        return rt_fail_dtype(ctx, err, t->dtype);
    if (half)
        k_narrow(t->dtype, s.y, y->data, y->n_elems);
    return 0;
}
