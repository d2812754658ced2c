/* SPDX-License-Identifier: Apache-2.0 */
/* Gradients of windows and of normalisation, for models that answer with a gradient or
 * learn where they serve: MaxPoolGrad, AvgPoolGrad and their 3-D forms,
 * Conv2DBackpropFilter, Conv3DBackpropFilterV2, DepthwiseConv2dNativeBackpropFilter,
 * FusedBatchNormGrad (V1 to V3), ResizeBilinearGrad, ResizeNearestNeighborGrad,
 * MirrorPadGrad. float32, channels last. */
#include "runtime/ops/conv_int.h"

/* ---- windows --------------------------------------------------------------------- */

struct walk {
    int64_t batch, in[3], out[3], kernel[3], stride[3], dilation[3], lo[3];
};

static struct walk
walk_of(const struct nn_window *w, const struct nn_place *at)
{
    struct walk k = { .batch = at->batch };
    for (int i = 0, pad = 3 - w->n; i < 3; i++) {
        bool real = i >= pad;
        k.in[i] = real ? at->in[i - pad] : 1;
        k.out[i] = real ? at->out[i - pad] : 1;
        k.kernel[i] = real ? at->kernel[i - pad] : 1;
        k.stride[i] = real ? w->stride[i - pad] : 1;
        k.dilation[i] = real ? w->dilation[i - pad] : 1;
        k.lo[i] = real ? at->lo[i - pad] : 0;
    }
    return k;
}

/* The position that tap k of window o reads in dimension d; -1: in the padding. */
static int64_t
tap(const struct walk *w, int d, int64_t o, int64_t k)
{
    int64_t x = o * w->stride[d] - w->lo[d] + k * w->dilation[d];
    return x >= 0 && x < w->in[d] ? x : -1;
}

static int
same_shape(struct rt_ctx *ctx, const struct rt_tensor *t, int rank, const int64_t *dims,
           struct err *err)
{
    char got[RT_SHAPE_TEXT_BYTES], want[RT_SHAPE_TEXT_BYTES];
    if (t->rank == rank && memcmp(t->dims, dims, sizeof(*dims) * (size_t)rank) == 0)
        return 0;
    return rt_fail(ctx, err, ERR_FAILED, "Expected grad shape %s, but got %s",
                   rt_dims_text(rank, dims, want), rt_shape_text(t, got));
}

/* ---- pooling --------------------------------------------------------------------- */

struct pool_grad {
    struct nn_window w;
    bool avg;
};

int
rt_prep_pool_grad(struct rt_prep *p)
{
    struct pool_grad *s = p->node->state = rt_prep_alloc(p, sizeof(*s));
    s->avg = p->node->op[0] == 'A';
    s->w.n = strstr(p->node->op, "3D") ? 3 : 2;
    int rc = nn_prep_window(p, &s->w, false, true);
    if (rc == 0 && (s->w.channels_first || s->w.depth_k > 1 || s->w.batch_k > 1))
        return rt_prep_fail(p, ERR_UNSUPPORTED,
                            "windows over batch or channels, or "
                            "channels first");
    return rc;
}

/* A window's gradient goes to its greatest element, the first of equal ones, or is
 * shared by all. */
static void
spread(const struct walk *w, bool avg, int64_t c, int64_t n_c, const int64_t o[3],
       const float *x, float dy, float *dx)
{
    int64_t best = -1, count = 0;
    for (int pass = avg ? 0 : 1; pass < 2; pass++)
        for (int64_t i = 0; i < w->kernel[0]; i++)
            for (int64_t j = 0; j < w->kernel[1]; j++)
                for (int64_t k = 0; k < w->kernel[2]; k++) {
                    int64_t a = tap(w, 0, o[0], i), b = tap(w, 1, o[1], j),
                            d = tap(w, 2, o[2], k);
                    if (a < 0 || b < 0 || d < 0)
                        continue;
                    int64_t at = ((a * w->in[1] + b) * w->in[2] + d) * n_c + c;
                    if (avg && pass == 0)
                        count++;
                    else if (avg)
                        dx[at] += dy / (float)count;
                    else if (best < 0 || x[at] > x[best])
                        best = at;
                }
    if (best >= 0)
        dx[best] += dy;
}

/* MaxPool: the input, the output, the gradient; AvgPool: the input's shape, the
 * gradient. */
int
rt_run_pool_grad(struct rt_ctx *ctx, struct err *err)
{
    const struct pool_grad *s = ctx->node->state;
    const struct rt_tensor *dy = ctx->in[ctx->node->n_in - 1];
    struct rt_tensor x = { .rank = 0 }, *dx;
    struct nn_place at = { .batch = 0 };
    int64_t dims[SM_MAX_RANK];
    if (!s->avg)
        x = *ctx->in[0];
    else if (k_shape_in(ctx, 0, "orig_input_shape", &x.rank, x.dims, err) < 0)
        return -(int)err->code;
    x.dtype = SM_FLOAT;
    if (dy->dtype != SM_FLOAT || ctx->in[0]->dtype != (s->avg ? SM_INT32 : SM_FLOAT))
        return rt_fail_dtype(ctx, err, dy->dtype);
    if (nn_place_input(ctx, &s->w, &x, &at, err) < 0)
        return -(int)err->code;
    memcpy(at.kernel, s->w.ksize, sizeof(at.kernel));
    if (nn_place(ctx, &s->w, &at, err) < 0)
        return -(int)err->code;
    int rank = nn_dims(&s->w, at.batch, at.out, at.channels, dims);
    if (same_shape(ctx, dy, rank, dims, err) < 0 ||
        rt_out(ctx, 0, SM_FLOAT, x.rank, x.dims, &dx, err) < 0)
        return -(int)err->code;
    if (dx->n_elems == 0)
        return 0;
    memset(dx->data, 0, rt_size(dx));
    struct walk w = walk_of(&s->w, &at);
    int64_t n_c = at.channels, image = w.in[0] * w.in[1] * w.in[2] * n_c;
    const float *g = dy->data;
    for (int64_t i = 0; i < dy->n_elems; i++) {
        int64_t c = i % n_c, p = i / n_c, o[3];
        for (int d = 2; d >= 0; d--, p /= w.out[d + 1])
            o[d] = p % w.out[d];
        p = i / n_c / (w.out[0] * w.out[1] * w.out[2]);
        spread(&w, s->avg, c, n_c, o, s->avg ? NULL : (const float *)x.data + p * image,
               g[i], (float *)dx->data + p * image);
    }
    return 0;
}

/* ---- filters --------------------------------------------------------------------- */

struct filter_grad {
    struct nn_window w;
    bool depthwise;
};

int
rt_prep_filter_grad(struct rt_prep *p)
{
    struct filter_grad *s = p->node->state = rt_prep_alloc(p, sizeof(*s));
    s->w.n = p->node->op[0] == 'C' && p->node->op[4] == '3' ? 3 : 2;
    s->depthwise = p->node->op[0] == 'D';
    int rc = nn_prep_window(p, &s->w, true, false);
    if (rc == 0 && s->w.channels_first)
        return rt_prep_fail(p, ERR_UNSUPPORTED, "channels first");
    return rc;
}

/* One row of windows against one tap: every channel of x with every one of dy. */
static void
filter_row(const struct walk *w, const float *x, const float *dy, float *df,
           int64_t tap_k, int64_t in_c, int64_t out_c, int64_t groups)
{
    int64_t begin = 0, end = w->out[2], gi = in_c / groups, go = out_c / groups;
    while (begin < end && tap(w, 2, begin, tap_k) < 0)
        begin++;
    while (end > begin && tap(w, 2, end - 1, tap_k) < 0)
        end--;
    if (begin == end)
        return;
    x += tap(w, 2, begin, tap_k) * in_c;
    dy += begin * out_c;
    for (int64_t g = 0; g < groups; g++)
        nn_gemm_add(SM_FLOAT, gi, go, end - begin, x + g * gi, 1, w->stride[2] * in_c,
                    dy + g * go, out_c, df + g * go, out_c);
}

/* input, filter_sizes, gradient of the output */
int
rt_run_filter_grad(struct rt_ctx *ctx, struct err *err)
{
    const struct filter_grad *s = ctx->node->state;
    const struct rt_tensor *x = ctx->in[0], *dy = ctx->in[2];
    struct nn_place at = { .batch = 0 };
    int64_t f[SM_MAX_RANK], dims[SM_MAX_RANK];
    struct rt_tensor *df;
    int rank, n = s->w.n;
    if (x->dtype != SM_FLOAT)
        return rt_fail_dtype(ctx, err, x->dtype);
    if (k_shape_in(ctx, 1, "filter_sizes", &rank, f, err) < 0 ||
        nn_place_input(ctx, &s->w, x, &at, err) < 0)
        return -(int)err->code;
    int64_t in_c = at.channels, out_c = rank == n + 2 ? f[n + 1] : 0, groups = 1;
    if (s->depthwise) {
        groups = in_c;
        out_c *= in_c;
    } else if (rank == n + 2 && f[n] > 0) {
        groups = in_c / f[n];
    }
    if (rank != n + 2 || groups < 1 || out_c % groups != 0 ||
        f[n] * (s->depthwise ? 1 : groups) != in_c)
        return rt_fail(ctx, err, ERR_FAILED, "filter_sizes do not fit %lld channels",
                       (long long)in_c);
    memcpy(at.kernel, f, sizeof(f[0]) * (size_t)n);
    if (nn_place(ctx, &s->w, &at, err) < 0 ||
        same_shape(ctx, dy, nn_dims(&s->w, at.batch, at.out, out_c, dims), dims, err) <
            0 ||
        rt_out(ctx, 0, SM_FLOAT, rank, f, &df, err) < 0)
        return -(int)err->code;
    if (df->n_elems == 0)
        return 0;
    memset(df->data, 0, rt_size(df));
    struct walk w = walk_of(&s->w, &at);
    int64_t taps = w.kernel[0] * w.kernel[1] * w.kernel[2];
    int64_t rows = w.batch * w.out[0] * w.out[1];
    for (int64_t r = 0; r < rows; r++)
        for (int64_t k = 0; k < taps; k++) {
            int64_t a = tap(&w, 0, r / w.out[1] % w.out[0],
                            k / w.kernel[2] / w.kernel[1]),
                    b = tap(&w, 1, r % w.out[1], k / w.kernel[2] % w.kernel[1]);
            int64_t image = r / w.out[1] / w.out[0];
            if (a < 0 || b < 0)
                continue;
            filter_row(&w,
                       (const float *)x->data +
                           ((image * w.in[0] + a) * w.in[1] + b) * w.in[2] * in_c,
                       (const float *)dy->data + r * w.out[2] * out_c,
                       (float *)df->data + k * (in_c / groups) * out_c, k % w.kernel[2],
                       in_c, out_c, groups);
        }
    return 0;
}

/* ---- batch normalisation --------------------------------------------------------- */

int
rt_prep_norm_grad(struct rt_prep *p)
{
    struct nn_norm *s = p->node->state = rt_prep_alloc(p, sizeof(*s));
    s->epsilon = rt_attr_float(p, "epsilon", 0.0001f);
    s->training = rt_attr_bool(p, "is_training", true);
    s->channels_first = strncmp(rt_attr_str(p, "data_format", "NHWC"), "NC", 2) == 0;
    return rt_prep_done(p);
}

/* dy, x, scale, mean, variance[, -] → dx, dscale, doffset and two that are empty */
int
rt_run_norm_grad(struct rt_ctx *ctx, struct err *err)
{
    const struct nn_norm *s = ctx->node->state;
    const struct rt_tensor *dy = ctx->in[0], *x = ctx->in[1];
    struct rt_tensor *y[5];
    int64_t none = 0;
    for (int i = 0; i < 5; i++)
        if (ctx->in[i]->dtype != SM_FLOAT)
            return rt_fail_dtype(ctx, err, ctx->in[i]->dtype);
    int at = s->channels_first ? 1 : x->rank - 1;
    if (x->rank < 2 || !rt_same_shape(dy, x))
        return rt_fail(ctx, err, ERR_FAILED, "x and y_backprop must have same shape");
    int64_t n_c = x->dims[at], inner = k_count(x->dims, at + 1, x->rank),
            n = n_c ? x->n_elems / n_c : 0;
    for (int i = 2; i < 5; i++)
        if (ctx->in[i]->rank != 1 || ctx->in[i]->n_elems != n_c)
            return rt_fail(ctx, err, ERR_FAILED,
                           "scale, mean and variance must have %lld elements",
                           (long long)n_c);
    for (int i = 0; i < 5; i++)
        if (rt_out(ctx, i, SM_FLOAT, i ? 1 : x->rank,
                   i == 0  ? x->dims
                   : i < 3 ? &n_c
                           : &none,
                   &y[i], err) < 0)
            return -(int)err->code;
    const float *g = dy->data, *v = x->data, *scale = ctx->in[2]->data,
                *mean = ctx->in[3]->data, *var = ctx->in[4]->data;
    for (int64_t c = 0; c < n_c; c++) {
        double by = 1 / sqrt((double)var[c] + (double)s->epsilon), sum = 0, dot = 0;
        for (int64_t i = 0; i < n; i++) {
            int64_t k = (i / inner * n_c + c) * inner + i % inner;
            sum += (double)g[k];
            dot += (double)g[k] * ((double)v[k] - (double)mean[c]) * by;
        }
        ((float *)y[1]->data)[c] = (float)dot;
        ((float *)y[2]->data)[c] = (float)sum;
        for (int64_t i = 0; i < n; i++) {
            int64_t k = (i / inner * n_c + c) * inner + i % inner;
            double hat = ((double)v[k] - (double)mean[c]) * by, d = (double)g[k];
            if (s->training)
                d -= (sum + hat * dot) / (double)n;
            ((float *)y[0]->data)[k] = (float)((double)scale[c] * by * d);
        }
    }
    return 0;
}

/* ---- resizing -------------------------------------------------------------------- */

struct resize_grad {
    bool align, half, nearest;
};

int
rt_prep_resize_grad(struct rt_prep *p)
{
    struct resize_grad *s = p->node->state = rt_prep_alloc(p, sizeof(*s));
    s->align = rt_attr_bool(p, "align_corners", false);
    s->half = rt_attr_bool(p, "half_pixel_centers", false);
    s->nearest = strcmp(p->node->op, "ResizeNearestNeighborGrad") == 0;
    return rt_prep_done(p);
}

/* Where element o of the resized side came from: two places and the weight of the
 * second. */
static void
came_from(const struct resize_grad *s, int64_t o, int64_t n_in, int64_t n_out,
          int64_t at[2], float *second)
{
    float scale = s->align && n_out > 1 ? (float)(n_in - 1) / (float)(n_out - 1)
                                        : (float)n_in / (float)n_out;
    float x = s->half ? ((float)o + 0.5f) * scale : (float)o * scale;
    if (s->nearest)
        x = s->align ? roundf(x) : floorf(x);
    else if (s->half)
        x -= 0.5f;
    float low = floorf(x);
    at[0] = K_MIN(K_MAX((int64_t)low, 0), n_in - 1);
    at[1] = s->nearest ? at[0] : K_MIN(K_MAX((int64_t)low + 1, 0), n_in - 1);
    *second = s->nearest ? 0 : x - low;
}

/* grads [b, h, w, c] and the image before (bilinear), or its two sizes (nearest) */
int
rt_run_resize_grad(struct rt_ctx *ctx, struct err *err)
{
    const struct resize_grad *s = ctx->node->state;
    const struct rt_tensor *g = ctx->in[0], *to = ctx->in[1];
    struct rt_tensor *y;
    char text[RT_SHAPE_TEXT_BYTES];
    if (g->dtype != SM_FLOAT || (!s->nearest && to->dtype != SM_FLOAT))
        return rt_fail_dtype(ctx, err, g->dtype);
    if (g->rank != 4 || (s->nearest ? to->n_elems != 2 : to->rank != 4))
        return rt_fail(ctx, err, ERR_FAILED, "input_grad must be 4-dimensional%s",
                       rt_shape_text(g, text));
    int64_t dims[4] = { g->dims[0], s->nearest ? rt_int_at(to, 0) : to->dims[1],
                        s->nearest ? rt_int_at(to, 1) : to->dims[2], g->dims[3] };
    if (dims[1] < 1 || dims[2] < 1)
        return rt_fail(ctx, err, ERR_FAILED, "output dimensions must be positive");
    if (rt_out(ctx, 0, SM_FLOAT, 4, dims, &y, err) < 0)
        return -(int)err->code;
    memset(y->data, 0, rt_size(y));
    int64_t rows[2], cols[2], n = dims[3];
    float dr, dc, *out = y->data;
    for (int64_t p = 0; n > 0 && p < g->n_elems / n; p++) {
        const float *from = (const float *)g->data + p * n;
        came_from(s, p / g->dims[2] % g->dims[1], dims[1], g->dims[1], rows, &dr);
        came_from(s, p % g->dims[2], dims[2], g->dims[2], cols, &dc);
        int64_t image = p / g->dims[2] / g->dims[1] * dims[1];
        for (int k = 0; k < (s->nearest ? 1 : 4); k++) {
            float by = (k / 2 ? dr : 1 - dr) * (k % 2 ? dc : 1 - dc);
            float *at = out + ((image + rows[k / 2]) * dims[2] + cols[k % 2]) * n;
            for (int64_t c = 0; c < n; c++)
                at[c] += by * from[c];
        }
    }
    return 0;
}

/* ---- mirrors --------------------------------------------------------------------- */

int
rt_prep_mirror_grad(struct rt_prep *p)
{
    int *edge = p->node->state = rt_prep_alloc(p, sizeof(*edge));
    *edge = strcmp(rt_attr_str(p, "mode", ""), "REFLECT") == 0; /* is not repeated */
    return rt_prep_done(p);
}

int
rt_run_mirror_grad(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *g = ctx->in[0], *pads = ctx->in[1];
    int64_t edge = *(const int *)ctx->node->state, dims[SM_MAX_RANK], lo[SM_MAX_RANK],
            steps[SM_MAX_RANK];
    struct rt_tensor *y;
    if (g->dtype != SM_FLOAT)
        return rt_fail_dtype(ctx, err, g->dtype);
    if (pads->rank != 2 || pads->dims[0] != g->rank || pads->dims[1] != 2)
        return rt_fail(ctx, err, ERR_FAILED,
                       "paddings must be a matrix with 2 columns and a row for each of "
                       "%d dimensions",
                       g->rank);
    for (int d = 0; d < g->rank; d++) {
        int64_t hi = rt_int_at(pads, 2 * d + 1);
        lo[d] = rt_int_at(pads, 2 * d);
        bool ok = lo[d] >= 0 && hi >= 0 && lo[d] <= g->dims[d] && hi <= g->dims[d];
        dims[d] = ok ? g->dims[d] - lo[d] - hi : -1;
        if (dims[d] < K_MAX(lo[d], hi) + edge)
            return rt_fail(ctx, err, ERR_FAILED,
                           "paddings must be no greater than the output dimension "
                           "size: %lld, %lld greater than %lld",
                           (long long)lo[d], (long long)hi, (long long)dims[d]);
    }
    if (rt_out(ctx, 0, SM_FLOAT, g->rank, dims, &y, err) < 0)
        return -(int)err->code;
    memset(y->data, 0, rt_size(y));
    k_steps(g->rank, dims, steps);
    for (int64_t i = 0; i < g->n_elems; i++) {
        int64_t at = 0, rest = i;
        for (int d = g->rank - 1; d >= 0; rest /= g->dims[d], d--) {
            int64_t x = rest % g->dims[d] - lo[d];
            if (x < 0)
                x = -x - !edge;
            else if (x >= dims[d])
                x = 2 * dims[d] - x - 1 - edge;
            at += x * steps[d];
        }
        ((float *)y->data)[at] += ((const float *)g->data)[i];
    }
    return 0;
}
