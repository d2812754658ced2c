/* SPDX-License-Identifier: Apache-2.0 */
/* How a convolution is run: by oneDNN, or by the portable path for every dtype: patches
 * of rows (im2col) times the filter, or, for a depthwise one, a direct loop; or, where
 * oneDNN's call would take as long as the sums, as tiles (gemm_tile.c). */
#include "runtime/ops/conv_int.h"

/* Bytes of patches made at once. */
#define PATCH_BYTES ((int64_t)1 << 18)

static int
conv_onednn(struct rt_ctx *ctx, const struct conv *c, struct err *err)
{
    struct od_conv d;
    struct od_args args = {
        c->src, c->filter, c->bias, c->dst, c->filter_buf, c->scale
    };
    memset(&d, 0, sizeof d);
    d.n_spatial = c->w->n;
    d.n_post = c->n_post;
    memcpy(d.post, c->post, sizeof d.post);
    d.transposed = c->transposed;
    d.channels_first = c->w->channels_first;
    d.has_bias = c->bias != NULL;
    d.batch = c->at.batch;
    d.in_c = c->transposed ? c->out_c : c->in_c;
    d.out_c = c->transposed ? c->in_c : c->out_c;
    d.groups = c->groups;
    for (int i = 0; i < c->w->n; i++) {
        d.in[i] = c->transposed ? c->at.out[i] : c->at.in[i];
        d.out[i] = c->transposed ? c->at.in[i] : c->at.out[i];
        d.kernel[i] = c->at.kernel[i];
        d.stride[i] = c->w->stride[i];
        d.dilation[i] = c->w->dilation[i];
        d.pad_lo[i] = c->at.lo[i];
    }
    return od_run_conv(ctx, &d, &args, err);
}

/* ---- small ones, in two dimensions: no patches are made, as the taps of one row of
 * the kernel lie next to each other ---- */

static bool
is_small(const struct conv *c)
{
    const struct nn_window *w = c->w;
    double work = (double)c->at.batch * (double)c->in_c * (double)c->out_c;
    for (int i = 0; i < w->n; i++) {
        if (w->dilation[i] != 1 && c->at.kernel[i] > 1)
            return false;
        work *= (double)c->at.kernel[i] * (double)c->at.out[i];
    }
    return c->dtype == SM_FLOAT && !c->transposed && !w->channels_first && w->n == 2 &&
           c->groups == 1 && c->in_c > 0 && work <= NN_SMALL_PRODUCTS;
}

/* A copy of one image with its padding, or with lines cut off that no window reaches:
 * size[0] lines of size[1] pixels. */
static void
pad_image(const struct conv *c, const float *src, const int64_t size[2], float *y)
{
    int64_t line = size[1] * c->in_c, lo = c->at.lo[1] * c->in_c;
    int64_t n = K_MIN(c->at.in[1] * c->in_c, line - lo);
    memset(y, 0, (size_t)(size[0] * line) * sizeof(*y));
    for (int64_t i = 0; i < K_MIN(c->at.in[0], size[0] - c->at.lo[0]) && n > 0; i++)
        memcpy(y + (i + c->at.lo[0]) * line + lo, src + i * c->at.in[1] * c->in_c,
               (size_t)n * sizeof(*y));
}

/* 1: done. 0: not on this processor. */
static int
conv_small(struct rt_ctx *ctx, const struct conv *c, struct err *err)
{
    int64_t size[2], n_out = c->at.out[0] * c->at.out[1];
    int64_t image = c->at.in[0] * c->at.in[1] * c->in_c;
    bool padded = false, add = c->n_post && c->post[0].kind == OD_SUM;
    for (int i = 0; i < 2; i++) {
        size[i] = (c->at.out[i] - 1) * c->w->stride[i] + c->at.kernel[i];
        padded |= c->at.lo[i] > 0 || size[i] > c->at.in[i];
    }
    if (!padded)
        size[1] = c->at.in[1];
    int64_t *at = rt_scratch(ctx, (size_t)n_out * sizeof(*at), err);
    float *copy =
        at && padded
            ? rt_scratch(ctx, (size_t)(size[0] * size[1] * c->in_c) * sizeof(*copy),
                         err)
            : NULL;
    if (!at || (padded && !copy))
        return -(int)err->code;
    for (int64_t y = 0, p = 0; y < c->at.out[0]; y++)
        for (int64_t x = 0; x < c->at.out[1]; x++)
            at[p++] = (y * c->w->stride[0] * size[1] + x * c->w->stride[1]) * c->in_c;
    struct nn_tiles t = { .m = n_out,
                          .n = c->out_c,
                          .k = c->at.kernel[1] * c->in_c,
                          .n_outer = c->at.kernel[0],
                          .at = at,
                          .a_outer = size[1] * c->in_c,
                          .b = c->filter,
                          .b_row = c->out_c,
                          .scale = c->scale ? c->scale->data : NULL,
                          .bias = c->bias,
                          .c_row = c->out_c,
                          .add = add };
    for (int64_t b = 0; b < c->at.batch; b++) {
        const float *src = (const float *)c->src + b * image;
        t.c = (float *)c->dst + b * n_out * c->out_c;
        t.a = padded ? copy : src;
        if (padded)
            pad_image(c, src, size, copy);
        if (!nn_tiles_run(&t))
            return 0;
    }
    nn_post(c->dst, c->at.batch * n_out * c->out_c, c->post + add, c->n_post - add);
    return 1;
}

/* ---- the portable path: channels last, three spatial dimensions ---- */

struct loop {
    const struct conv *c;
    int dtype;
    size_t bytes;
    const char *src, *filter;
    char *dst;
    int64_t in[3], out[3], kernel[3], stride[3], dilation[3], lo[3];
    int64_t taps; /* of the kernel */
};

/* Position in the input of tap `tap` for output pixel `pixel` of one image; false: in
 * the padding. */
static bool
tap_at(const struct loop *l, int64_t pixel, int64_t tap, int64_t *at)
{
    int64_t o[3], k[3], index = 0;
    o[2] = pixel % l->out[2];
    o[1] = pixel / l->out[2] % l->out[1];
    o[0] = pixel / l->out[2] / l->out[1];
    k[2] = tap % l->kernel[2];
    k[1] = tap / l->kernel[2] % l->kernel[1];
    k[0] = tap / l->kernel[2] / l->kernel[1];
    for (int i = 0; i < 3; i++) {
        int64_t x = o[i] * l->stride[i] - l->lo[i] + k[i] * l->dilation[i];
        if (x < 0 || x >= l->in[i])
            return false;
        index = index * l->in[i] + x;
    }
    *at = index;
    return true;
}

/* Depthwise: y[pixel, c * M + m] += x[tap, c] * filter[tap, c * M + m], or back. */
#define DEPTHWISE(sfx, type)                                                           \
    static void depthwise_##sfx(const type *restrict x, const type *restrict f,        \
                                type *restrict y, int64_t n, int64_t m, bool back)     \
    {                                                                                  \
        if (m == 1)                                                                    \
            for (int64_t i = 0; i < n; i++)                                            \
                y[i] = (type)(y[i] + x[i] * f[i]);                                     \
        else if (!back)                                                                \
            for (int64_t i = 0; i < n; i++)                                            \
                for (int64_t j = 0; j < m; j++)                                        \
                    y[i * m + j] = (type)(y[i * m + j] + x[i] * f[i * m + j]);         \
        else                                                                           \
            for (int64_t i = 0; i < n; i++)                                            \
                for (int64_t j = 0; j < m; j++)                                        \
                    y[i] = (type)(y[i] + x[i * m + j] * f[i * m + j]);                 \
    }
DEPTHWISE(f32, float)
DEPTHWISE(f64, double)

static void
depthwise_image(const struct loop *l, const char *src, char *dst)
{
    const struct conv *c = l->c;
    int64_t m = c->out_c / c->groups, n_out = l->out[0] * l->out[1] * l->out[2], at;
    void (*f32)(const float *, const float *, float *, int64_t, int64_t, bool) =
        depthwise_f32;
    for (int64_t pixel = 0; pixel < n_out; pixel++)
        for (int64_t tap = 0; tap < l->taps; tap++) {
            if (!tap_at(l, pixel, tap, &at))
                continue;
            size_t in_at = (size_t)(at * c->in_c) * l->bytes;
            size_t out_at = (size_t)(pixel * c->out_c) * l->bytes;
            const void *f = l->filter + (size_t)(tap * c->out_c) * l->bytes;
            const void *x = src + (c->transposed ? out_at : in_at);
            void *y = dst + (c->transposed ? in_at : out_at);
            if (l->dtype == SM_FLOAT)
                f32(x, f, y, c->groups, m, c->transposed);
            else
                depthwise_f64(x, f, y, c->groups, m, c->transposed);
        }
}

/* Pixels [p0, p0 + n) of one image and group: patches [n, taps, depth] from the image.
 */
static void
fill_patches(const struct loop *l, const char *image, int64_t group, int64_t p0,
             int64_t n, char *patches)
{
    int64_t depth = l->c->in_c / l->c->groups, at;
    size_t line = (size_t)depth * l->bytes;
    for (int64_t p = 0; p < n; p++)
        for (int64_t tap = 0; tap < l->taps; tap++, patches += line)
            if (tap_at(l, p0 + p, tap, &at))
                memcpy(patches,
                       image + (size_t)(at * l->c->in_c + group * depth) * l->bytes,
                       line);
            else
                memset(patches, 0, line);
}

#define ADD_LINE(sfx, type)                                                            \
    static void add_line_##sfx(void *y, const void *x, int64_t n)                      \
    {                                                                                  \
        for (int64_t i = 0; i < n; i++)                                                \
            ((type *)y)[i] = (type)(((type *)y)[i] + ((const type *)x)[i]);            \
    }
ADD_LINE(f32, float)
ADD_LINE(f64, double)
ADD_LINE(i32, uint32_t)

/* The reverse: adds patches to the image they came from. */
static void
add_patches(const struct loop *l, char *image, int64_t group, int64_t p0, int64_t n,
            const char *patches)
{
    int64_t depth = l->c->in_c / l->c->groups, at;
    void (*add)(void *, const void *, int64_t) = l->dtype == SM_FLOAT    ? add_line_f32
                                                 : l->dtype == SM_DOUBLE ? add_line_f64
                                                                         : add_line_i32;
    for (int64_t p = 0; p < n; p++)
        for (int64_t tap = 0; tap < l->taps; tap++, patches += (size_t)depth * l->bytes)
            if (tap_at(l, p0 + p, tap, &at))
                add(image + (size_t)(at * l->c->in_c + group * depth) * l->bytes,
                    patches, depth);
}

static int
patches_image(struct rt_ctx *ctx, const struct loop *l, const char *src, char *dst,
              char *patches, int64_t block, const char *filter_t, struct err *err)
{
    const struct conv *c = l->c;
    int64_t n_out = l->out[0] * l->out[1] * l->out[2], og = c->out_c / c->groups;
    int64_t width = l->taps * (c->in_c / c->groups);
    for (int64_t p = 0; p < n_out; p += block) {
        int64_t n = K_MIN(block, n_out - p);
        if (rt_poll(ctx, err) < 0)
            return -(int)err->code;
        for (int64_t g = 0; g < c->groups; g++) {
            size_t line = (size_t)(p * c->out_c + g * og) * l->bytes;
            if (!c->transposed) {
                fill_patches(l, src, g, p, n, patches);
                nn_gemm_add(l->dtype, n, og, width, patches, width, 1,
                            l->filter + (size_t)(g * og) * l->bytes, c->out_c,
                            dst + line, c->out_c);
                continue;
            }
            memset(patches, 0, (size_t)(n * width) * l->bytes);
            nn_gemm_add(l->dtype, n, width, og, src + line, c->out_c, 1,
                        filter_t + (size_t)(g * og * width) * l->bytes, width, patches,
                        width);
            add_patches(l, dst, g, p, n, patches);
        }
    }
    return 0;
}

/* dst holds zeros, or what is added to. */
static int
loop_images(struct rt_ctx *ctx, const struct loop *l, struct err *err)
{
    const struct conv *c = l->c;
    int64_t n_in = l->in[0] * l->in[1] * l->in[2],
            n_out = l->out[0] * l->out[1] * l->out[2];
    int64_t src_step = c->transposed ? n_out * c->out_c : n_in * c->in_c;
    int64_t dst_step = c->transposed ? n_in * c->in_c : n_out * c->out_c;
    bool direct = c->groups > 1 && c->in_c == c->groups &&
                  (l->dtype == SM_FLOAT || l->dtype == SM_DOUBLE);
    int64_t width = l->taps * (c->in_c / c->groups);
    int64_t block = width ? PATCH_BYTES / (width * (int64_t)l->bytes) + 1 : 1;
    char *patches = NULL, *filter_t = NULL;
    if (!width)
        return 0;
    block = K_MIN(block, n_out);
    if (!direct) {
        patches = rt_scratch(ctx, (size_t)(block * width) * l->bytes, err);
        if (!patches)
            return -(int)err->code;
    }
    if (!direct && c->transposed) { /* [taps * depth, out_c] to [out_c, taps * depth] */
        filter_t = rt_scratch(ctx, (size_t)(c->out_c * width) * l->bytes, err);
        if (!filter_t)
            return -(int)err->code;
        nn_swap_channels(l->filter, filter_t, l->bytes, 1, width, c->out_c);
    }
    for (int64_t b = 0; b < c->at.batch; b++) {
        const char *src = l->src + (size_t)(b * src_step) * l->bytes;
        char *dst = l->dst + (size_t)(b * dst_step) * l->bytes;
        if (direct)
            depthwise_image(l, src, dst);
        else if (patches_image(ctx, l, src, dst, patches, block, filter_t, err) < 0)
            return -(int)err->code;
    }
    return 0;
}

/* Elements as float32 (of float16, bfloat16), else where they are. */
static const char *
widened(struct rt_ctx *ctx, const struct conv *c, const void *x, int64_t n,
        struct err *err)
{
    if (!k_is_half(c->dtype))
        return x;
    float *y = rt_scratch(ctx, (size_t)n * sizeof(*y), err);
    if (y)
        k_widen(c->dtype, x, y, n);
    return (char *)y;
}

static int
conv_loop(struct rt_ctx *ctx, const struct conv *c, struct err *err)
{
    struct loop l = { .c = c, .dtype = k_is_half(c->dtype) ? SM_FLOAT : c->dtype };
    int pad = 3 - c->w->n; /* leading dimensions of 1 */
    int64_t n_in = 1, n_out = 1;
    bool first = c->w->channels_first, sum = c->n_post && c->post[0].kind == OD_SUM;
    l.bytes = rt_dtype_size(l.dtype);
    l.taps = 1;
    for (int i = 0; i < 3; i++) {
        bool real = i >= pad;
        l.in[i] = real ? c->at.in[i - pad] : 1;
        l.out[i] = real ? c->at.out[i - pad] : 1;
        l.kernel[i] = real ? c->at.kernel[i - pad] : 1;
        l.lo[i] = real ? c->at.lo[i - pad] : 0;
        l.stride[i] = real ? c->w->stride[i - pad] : 1;
        l.dilation[i] = real ? c->w->dilation[i - pad] : 1;
        l.taps *= l.kernel[i];
        n_in *= l.in[i];
        n_out *= l.out[i];
    }
    int64_t src_px = c->transposed ? n_out : n_in,
            dst_px = c->transposed ? n_in : n_out;
    int64_t src_c = c->transposed ? c->out_c : c->in_c;
    int64_t dst_c = c->transposed ? c->in_c : c->out_c;
    int64_t n_src = c->at.batch * src_px * src_c, n_dst = c->at.batch * dst_px * dst_c;
    l.src = widened(ctx, c, c->src, n_src, err);
    l.filter = l.src ? widened(ctx, c, c->filter,
                               l.taps * (c->in_c / c->groups) * c->out_c, err)
                     : NULL;
    if (!l.filter)
        return -(int)err->code;
    if (first) {
        char *t = rt_scratch(ctx, (size_t)n_src * l.bytes, err);
        if (!t)
            return -(int)err->code;
        nn_swap_channels(l.src, t, l.bytes, c->at.batch, src_c, src_px);
        l.src = t;
    }
    l.dst = c->dst;
    if (first || l.dtype != c->dtype)
        l.dst = rt_scratch(ctx, (size_t)n_dst * l.bytes, err);
    if (!l.dst)
        return -(int)err->code;
    if (sum && (first || l.dtype != c->dtype)) {
        const char *old = widened(ctx, c, c->dst, n_dst, err);
        if (!old)
            return -(int)err->code;
        nn_swap_channels(old, l.dst, l.bytes, first ? c->at.batch : 1,
                         first ? dst_c : n_dst, first ? dst_px : 1);
    } else if (!sum) {
        memset(l.dst, 0, (size_t)n_dst * l.bytes);
    }
    if (loop_images(ctx, &l, err) < 0)
        return -(int)err->code;
    if (c->bias) {
        const char *bias = widened(ctx, c, c->bias, dst_c, err);
        if (!bias)
            return -(int)err->code;
        nn_add_bias(l.dtype, l.dst, bias, c->at.batch * dst_px, dst_c);
    }
    if (l.dtype == SM_FLOAT)
        nn_post((float *)(void *)l.dst, n_dst, c->post + sum, c->n_post - sum);
    if (first) {
        char *t = l.dtype == c->dtype ? c->dst
                                      : rt_scratch(ctx, (size_t)n_dst * l.bytes, err);
        if (!t)
            return -(int)err->code;
        nn_swap_channels(l.dst, t, l.bytes, c->at.batch, dst_px, dst_c);
        l.dst = t;
    }
    if (l.dtype != c->dtype)
        k_narrow(c->dtype, (const float *)(void *)l.dst, c->dst, n_dst);
    return 0;
}

int
conv_run(struct rt_ctx *ctx, const struct conv *c, struct err *err)
{
    if (c->dtype != SM_FLOAT && c->dtype != SM_DOUBLE && c->dtype != SM_INT32 &&
        !k_is_half(c->dtype))
        return rt_fail_dtype(ctx, err, c->dtype);
    if (is_small(c)) {
        int r = conv_small(ctx, c, err);
        if (r)
            return r < 0 ? r : 0;
    }
    bool weights = rt_buf_is_weight(c->filter_buf);
    if (c->dtype == SM_FLOAT && c->in_c > 0 && (!c->scale || weights)) {
        int r = conv_onednn(ctx, c, err);
        if (r)
            return r < 0 ? r : 0;
    }
    if (!c->scale)
        return conv_loop(ctx, c, err);
    struct conv scaled = *c;
    int64_t n = c->in_c / c->groups * c->out_c;
    for (int i = 0; i < c->w->n; i++)
        n *= c->at.kernel[i];
    scaled.filter = nn_scaled(ctx, c->filter, n, false, c->scale, err);
    return scaled.filter ? conv_loop(ctx, &scaled, err) : -(int)err->code;
}
