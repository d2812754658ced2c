/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/ops/nn_int.h"

#include <limits.h>

/* Positions of batch, channels and first spatial dimension in a data_format; false when
 * it names another layout. */
static bool
read_format(const char *f, int n, bool *channels_first)
{
    static const char *const last[] = { "NWC", "NHWC", "NDHWC" };
    static const char *const first[] = { "NCW", "NCHW", "NCDHW" };
    *channels_first = strcmp(f, first[n - 1]) == 0;
    return *channels_first || strcmp(f, last[n - 1]) == 0;
}

int
nn_prep_padding(struct rt_prep *p, enum nn_padding *padding)
{
    const char *name = rt_attr_str(p, "padding", NULL);
    if (rt_prep_done(p) < 0)
        return rt_prep_done(p);
    if (strcmp(name, "SAME") == 0)
        *padding = NN_SAME;
    else if (strcmp(name, "VALID") == 0)
        *padding = NN_VALID;
    else if (strcmp(name, "EXPLICIT") == 0)
        *padding = NN_EXPLICIT;
    else
        return rt_prep_fail(p, ERR_FAILED, "unknown padding \"%s\"", name);
    return 0;
}

/* A list attribute of n + 2 numbers >= 1 in the data format's order. */
static int
read_list(struct rt_prep *p, const struct nn_window *w, const char *name, bool required,
          int64_t *space, int64_t *batch, int64_t *depth)
{
    int n, first = w->channels_first ? 2 : 1;
    const int64_t *v = rt_attr_ints(p, name, &n);
    *batch = *depth = 1;
    for (int i = 0; i < w->n; i++)
        space[i] = 1;
    if (rt_prep_done(p) < 0 || (!n && !required))
        return rt_prep_done(p);
    if (n != w->n + 2)
        return rt_prep_fail(p, ERR_FAILED,
                            "Sliding window %s field must specify %d dimensions", name,
                            w->n + 2);
    for (int i = 0; i < n; i++)
        if (v[i] < 1 || v[i] > INT_MAX)
            return rt_prep_fail(p, ERR_FAILED,
                                "Sliding window %s must be positive, got %jd", name,
                                (intmax_t)v[i]);
    *batch = v[0];
    *depth = v[w->channels_first ? 1 : w->n + 1];
    for (int i = 0; i < w->n; i++)
        space[i] = v[first + i];
    return 0;
}

static int
read_explicit(struct rt_prep *p, struct nn_window *w)
{
    int n, first = w->channels_first ? 2 : 1;
    const int64_t *v = rt_attr_ints(p, "explicit_paddings", &n);
    if (rt_prep_done(p) < 0)
        return rt_prep_done(p);
    if (w->padding != NN_EXPLICIT)
        return 0;
    if (n != 2 * (w->n + 2))
        return rt_prep_fail(p, ERR_FAILED,
                            "explicit_paddings attribute must contain %d "
                            "values, but got: %d",
                            2 * (w->n + 2), n);
    for (int i = 0; i < n; i++) {
        bool spatial = i / 2 >= first && i / 2 < first + w->n;
        if (v[i] < 0 || v[i] > INT_MAX || (v[i] && !spatial))
            return rt_prep_fail(p, ERR_FAILED,
                                "explicit_paddings cannot hold %jd at %d",
                                (intmax_t)v[i], i);
    }
    for (int i = 0; i < w->n; i++) {
        w->lo[i] = v[2 * (first + i)];
        w->hi[i] = v[2 * (first + i) + 1];
    }
    return 0;
}

int
nn_prep_window(struct rt_prep *p, struct nn_window *w, bool dilated, bool pooling)
{
    const char *format = rt_attr_str(p, "data_format", w->n == 3 ? "NDHWC" : "NHWC");
    int64_t batch_d = 1, depth_d = 1;
    if (rt_prep_done(p) < 0)
        return rt_prep_done(p);
    if (!read_format(format, w->n, &w->channels_first))
        return rt_prep_fail(p, ERR_UNSUPPORTED, "data_format \"%s\"", format);
    for (int i = 0; i < 3; i++)
        w->stride[i] = w->dilation[i] = w->ksize[i] = 1;
    w->batch_k = w->depth_k = 1;
    if (nn_prep_padding(p, &w->padding) < 0 || read_explicit(p, w) < 0 ||
        read_list(p, w, "strides", true, w->stride, &w->batch_s, &w->depth_s) < 0 ||
        (dilated &&
         read_list(p, w, "dilations", false, w->dilation, &batch_d, &depth_d) < 0) ||
        (pooling &&
         read_list(p, w, "ksize", true, w->ksize, &w->batch_k, &w->depth_k) < 0))
        return rt_prep_done(p);
    if (batch_d != 1 || depth_d != 1 || w->batch_s != 1 ||
        (!pooling && w->depth_s != 1))
        return rt_prep_fail(p, ERR_FAILED,
                            "Current implementation does not yet support strides or "
                            "dilations in the batch and depth dimensions.");
    return 0;
}

bool
nn_extent(enum nn_padding padding, int64_t in, int64_t kernel, int64_t stride,
          int64_t dilation, int64_t *lo, int64_t *hi, int64_t *out)
{
    int64_t span = (kernel - 1) * dilation + 1;
    if (padding == NN_SAME) {
        *out = (in + stride - 1) / stride;
        int64_t pad = (*out - 1) * stride + span - in;
        pad = pad > 0 ? pad : 0;
        *lo = pad / 2;
        *hi = pad - *lo;
        return true;
    }
    if (padding == NN_VALID)
        *lo = *hi = 0;
    int64_t last = in + *lo + *hi - span + stride;
    *out = last / stride;
    return last >= 0;
}

int
nn_place(struct rt_ctx *ctx, const struct nn_window *w, struct nn_place *place,
         struct err *err)
{
    for (int i = 0; i < w->n; i++) {
        int64_t lo = w->lo[i], hi = w->hi[i];
        if (place->kernel[i] < 1 || place->kernel[i] > INT_MAX ||
            place->in[i] > INT_MAX)
            return rt_fail(
                ctx, err, ERR_FAILED,
                "a window of %jd over %jd: sizes must be positive and below 2^31",
                (intmax_t)place->kernel[i], (intmax_t)place->in[i]);
        if (!nn_extent(w->padding, place->in[i], place->kernel[i], w->stride[i],
                       w->dilation[i], &lo, &hi, &place->out[i]))
            return rt_fail(
                ctx, err, ERR_FAILED,
                "Computed output size would be negative: %jd [input_size: %jd, "
                "effective_filter_size: %jd, stride: %jd]",
                (intmax_t)place->out[i], (intmax_t)place->in[i],
                (intmax_t)((place->kernel[i] - 1) * w->dilation[i] + 1),
                (intmax_t)w->stride[i]);
        place->lo[i] = lo;
    }
    for (int i = w->n; i < 3; i++) {
        place->in[i] = place->kernel[i] = place->out[i] = 1;
        place->lo[i] = 0;
    }
    return 0;
}

int
nn_place_input(struct rt_ctx *ctx, const struct nn_window *w, const struct rt_tensor *x,
               struct nn_place *place, struct err *err)
{
    char text[RT_SHAPE_TEXT_BYTES];
    if (x->rank != w->n + 2)
        return rt_fail(ctx, err, ERR_FAILED, "input must be %d-dimensional%s", w->n + 2,
                       rt_shape_text(x, text));
    place->batch = x->dims[0];
    place->channels = x->dims[w->channels_first ? 1 : w->n + 1];
    for (int i = 0; i < w->n; i++)
        place->in[i] = x->dims[(w->channels_first ? 2 : 1) + i];
    return 0;
}

int
nn_dims(const struct nn_window *w, int64_t batch, const int64_t *space,
        int64_t channels, int64_t *dims)
{
    dims[0] = batch;
    dims[w->channels_first ? 1 : w->n + 1] = channels;
    for (int i = 0; i < w->n; i++)
        dims[(w->channels_first ? 2 : 1) + i] = space[i];
    return w->n + 2;
}

void
nn_swap_channels(const void *src, void *dst, size_t elem_bytes, int64_t batch,
                 int64_t rows, int64_t cols)
{
    struct k_box box = { .rank = 0 };
    k_box_add(&box, batch, rows * cols, rows * cols);
    k_box_add(&box, cols, 1, rows);
    k_box_add(&box, rows, cols, 1);
    k_copy(&box, dst, src, elem_bytes);
}

int
nn_prep_fused(struct rt_prep *p, struct nn_fused *f)
{
    int n;
    const struct str *ops = rt_attr_strs(p, "fused_ops", &n);
    float leak = rt_attr_float(p, "leakyrelu_alpha", 0.2f);
    const struct {
        const char *name;
        struct od_post post;
    } acts[] = {
        { "Relu", { OD_RELU, 0, 0 } },
        { "Relu6", { OD_CLIP, 0, 6 } },
        { "Elu", { OD_ELU, 1, 0 } },
        { "LeakyRelu", { OD_RELU, leak, 0 } },
        { "Tanh", { OD_TANH, 0, 0 } },
        { "Sigmoid", { OD_SIGMOID, 0, 0 } },
        { "_MklSwish", { OD_SWISH, 1, 0 } },
        { "GeluApproximate", { OD_GELU_TANH, 0, 0 } },
        { "GeluExact", { OD_GELU_ERF, 0, 0 } },
    };
    f->epsilon = rt_attr_float(p, "epsilon", 0.0001f);
    for (int i = 0; i < n; i++) {
        bool found = f->n_post < OD_MAX_POST;
        if (f->n_post && f->post[f->n_post - 1].kind != OD_SUM)
            found = false; /* nothing follows the activation */
        else if (str_is(ops[i], "BiasAdd") && i == 0)
            f->bias = true;
        else if (str_is(ops[i], "FusedBatchNorm") && i == 0)
            f->batch_norm = true;
        else if (str_is(ops[i], "Add") && i == 1) {
            f->add = true;
            f->post[f->n_post++].kind = OD_SUM;
        } else {
            found = false;
            for (size_t k = 0; k < sizeof acts / sizeof acts[0]; k++)
                if (str_is(ops[i], acts[k].name)) {
                    f->post[f->n_post++] = acts[k].post;
                    found = true;
                }
        }
        if (!found)
            return rt_prep_fail(p, ERR_UNSUPPORTED, "fused_ops has %.*s at %d",
                                STR_ARG(ops[i]), i);
    }
    int wanted = nn_fused_add_at(f) + f->add;
    if (p->node->n_in < wanted)
        return rt_prep_fail(p, ERR_FAILED, "fused_ops want %d more inputs", wanted - 2);
    return rt_prep_done(p);
}

int64_t
nn_fused_channels(const struct nn_fused *f, const struct rt_tensor *w)
{
    int n = f->kind == NN_EINSUM ? f->w_free : f->kind == NN_DEPTHWISE ? 2 : 1;
    if (w->rank < n || w->rank < 2)
        return 0;
    if (f->kind == NN_MATMUL && f->w_turned)
        return w->dims[0];
    return k_count(w->dims, w->rank - n, w->rank);
}

RT_SIMD static void
scale_rows(const float *w, const float *scale, float *y, int64_t rows, int64_t n)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < n; c++)
            y[r * n + c] = w[r * n + c] * scale[c];
}

float *
nn_scaled(struct rt_ctx *ctx, const float *w, int64_t n, bool w_turned,
          const struct rt_tensor *scale, struct err *err)
{
    int64_t channels = scale->n_elems, rows = channels ? n / channels : 0;
    const float *by = scale->data;
    float *y = rt_scratch(ctx, (size_t)n * sizeof(*y), err);
    if (!y)
        return NULL;
    if (!w_turned) {
        scale_rows(w, by, y, rows, channels);
        return y;
    }
    for (int64_t c = 0; c < channels; c++)
        for (int64_t i = c * rows; i < (c + 1) * rows; i++)
            y[i] = w[i] * by[c];
    return y;
}

int
nn_gemm_fused(struct rt_ctx *ctx, const struct nn_fused *f, struct nn_gemm *g,
              struct err *err)
{
    for (int i = 2; i < 2 + f->bias + f->scale; i++)
        if (ctx->in[i]->n_elems != g->n || ctx->in[i]->dtype != g->dtype)
            return rt_fail(ctx, err, ERR_FAILED,
                           "input %d needs %jd values of the dtype of a", i,
                           (intmax_t)g->n);
    if ((f->n_post || f->scale) && g->dtype != SM_FLOAT)
        return rt_fail_dtype(ctx, err, g->dtype);
    if (f->bias)
        g->bias = ctx->in[2]->data;
    g->n_post = f->n_post;
    memcpy(g->post, f->post, sizeof(g->post));
    if (!f->scale)
        return 0;
    const struct rt_tensor *scale = ctx->in[nn_fused_scale_at(f)];
    g->b_turned = f->w_turned;
    g->b_scale = scale;
    return 0;
}
