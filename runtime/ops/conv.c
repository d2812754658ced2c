/* SPDX-License-Identifier: Apache-2.0 */
/* Conv2D, Conv3D, DepthwiseConv2dNative, _FusedConv2D, _FusedDepthwiseConv2dNative, and
 * the transposed ones (Conv2DBackpropInput, Conv3DBackpropInput(V2),
 * DepthwiseConv2dNativeBackpropInput).
 * Input [batch, space..., C] (or channels first), filter [kernel..., C / groups, M];
 * depthwise: [kernel..., C, multiplier], which is the same bytes with groups = C.
 * float32 goes to oneDNN; other dtypes, and what oneDNN has no kernel for, to the loops
 * of conv_loop.c; float16 and bfloat16 sum in float.
 * TensorFlow: an empty input gives an empty (or, transposed, a zero) output, but shapes
 * are checked first; explicit paddings have no EXPLICIT SAME; strides of a depthwise
 * convolution must be equal in both directions (an old check of the gradient: not
 * here).
 */
#include "runtime/ops/conv_int.h"

static int
prep_conv(struct rt_prep *p, int n, bool depthwise)
{
    struct conv_state *s = rt_prep_alloc(p, sizeof *s);
    p->node->state = s;
    s->w.n = n;
    s->depthwise = depthwise;
    if (p->node->op[0] == '_' && nn_prep_fused(p, &s->fused) < 0)
        return rt_prep_done(p);
    if (nn_prep_window(p, &s->w, true, false) < 0)
        return rt_prep_done(p);
    if (!s->fused.batch_norm && !strstr(p->node->op, "Backprop"))
        s->fused.kind = depthwise ? NN_DEPTHWISE : NN_CONV;
    s->fused.channels_first = s->w.channels_first;
    return rt_prep_done(p);
}

int
rt_prep_conv2d(struct rt_prep *p)
{
    return prep_conv(p, 2, false);
}

int
rt_prep_conv3d(struct rt_prep *p)
{
    return prep_conv(p, 3, false);
}

int
rt_prep_depthwise(struct rt_prep *p)
{
    return prep_conv(p, 2, true);
}

/* kernel, groups and output channels from the filter's shape. */
static int
read_filter(struct rt_ctx *ctx, const struct conv_state *s, const struct rt_tensor *f,
            struct conv *c, struct err *err)
{
    char text[RT_SHAPE_TEXT_BYTES];
    int n = s->w.n;
    if (f->rank != n + 2)
        return rt_fail(ctx, err, ERR_FAILED, "filter must be %d-dimensional: %s", n + 2,
                       rt_shape_text(f, text));
    for (int i = 0; i < n; i++)
        c->at.kernel[i] = f->dims[i];
    int64_t depth = f->dims[n], last = f->dims[n + 1];
    if (s->depthwise) {
        if (depth != c->in_c)
            return rt_fail(ctx, err, ERR_FAILED,
                           "input and filter must have the same depth: %jd vs %jd",
                           (intmax_t)c->in_c, (intmax_t)depth);
        c->groups = depth;
        c->out_c = depth * last;
        return 0;
    }
    if (depth < 1)
        return rt_fail(ctx, err, ERR_FAILED,
                       "filter depth must be stricly greated than 0");
    if (c->in_c % depth)
        return rt_fail(
            ctx, err, ERR_FAILED,
            "input depth must be evenly divisible by filter depth: %jd vs %jd",
            (intmax_t)c->in_c, (intmax_t)depth);
    c->groups = c->in_c / depth;
    c->out_c = last;
    if (c->groups > 1 && last % c->groups)
        return rt_fail(
            ctx, err, ERR_FAILED,
            "output depth must be evenly divisible by number of groups: %jd vs %jd",
            (intmax_t)last, (intmax_t)c->groups);
    if (c->groups == 0) /* no input channels */
        c->groups = 1;
    return 0;
}

/* What is fused behind, in oneDNN's post-ops where it can do it there. */
static int
read_fused(struct rt_ctx *ctx, const struct nn_fused *f, struct conv *c,
           struct err *err)
{
    int n_vectors = f->bias + f->scale + 4 * f->batch_norm;
    for (int i = 2; i < 2 + n_vectors; i++)
        if (ctx->in[i]->n_elems != c->out_c || ctx->in[i]->dtype != c->dtype)
            return rt_fail(ctx, err, ERR_FAILED,
                           "input %d needs %jd values of the dtype of the input", i,
                           (intmax_t)c->out_c);
    if ((f->batch_norm || f->scale || f->n_post > f->add) && c->dtype != SM_FLOAT)
        return rt_fail_dtype(ctx, err, c->dtype);
    if (f->bias)
        c->bias = ctx->in[2]->data;
    if (f->scale)
        c->scale = ctx->in[nn_fused_scale_at(f)];
    c->n_post = f->batch_norm ? 0 : f->n_post;
    memcpy(c->post, f->post, sizeof c->post);
    return 0;
}

/* y = (y - mean) * scale / sqrt(variance + epsilon) + offset over the channels. */
static int
fused_batch_norm(struct rt_ctx *ctx, const struct conv_state *s, const struct conv *c,
                 float *y, int64_t n, struct err *err)
{
    const float *const v[4] = { ctx->in[2]->data, ctx->in[3]->data, ctx->in[4]->data,
                                ctx->in[5]->data };
    int64_t inner =
        s->w.channels_first ? c->at.out[0] * c->at.out[1] * c->at.out[2] : 1;
    float *scale = rt_scratch(ctx, (size_t)c->out_c * sizeof(*scale), err);
    if (!scale)
        return -(int)err->code;
    for (int64_t i = 0; i < c->out_c; i++)
        scale[i] = v[0][i] / sqrtf(v[3][i] + s->fused.epsilon);
    for (int64_t i = 0; i < n; i++) {
        int64_t ch = i / inner % c->out_c;
        y[i] = (y[i] - v[2][ch]) * scale[ch] + v[1][ch];
    }
    nn_post(y, n, s->fused.post, s->fused.n_post);
    return 0;
}

static bool
fits(const struct rt_tensor *t, int dtype, int rank, const int64_t *dims)
{
    return t->dtype == dtype && t->rank == rank &&
           memcmp(t->dims, dims, (size_t)rank * sizeof dims[0]) == 0;
}

/* What is added broadcasts, or is broadcast to: the sum is a step of its own. */
static int
conv_then_add(struct rt_ctx *ctx, const struct nn_fused *f, struct conv *c, int rank,
              const int64_t *dims, struct err *err)
{
    struct rt_tensor y = { 0 };
    if (rt_tensor_new(ctx, &y, c->dtype, rank, dims, err) < 0)
        return -(int)err->code;
    c->dst = y.data;
    c->n_post = 0;
    int rc = y.n_elems ? conv_run(ctx, c, err) : 0;
    if (rc == 0) {
        const struct rt_tensor *in[2] = { &y, ctx->in[nn_fused_add_at(f)] };
        struct rt_ctx add = *ctx;
        add.node = f->add_node;
        add.in = in;
        add.may_forward = 0;
        rc = f->add_run(&add, err);
        ctx->scratch = add.scratch;
    }
    if (rc == 0)
        nn_post(ctx->out[0].data, ctx->out[0].n_elems, f->post + 1, f->n_post - 1);
    rt_tensor_unref(&y);
    return rc;
}

int
rt_run_conv(struct rt_ctx *ctx, struct err *err)
{
    const struct conv_state *s = ctx->node->state;
    const struct rt_tensor *x = ctx->in[0], *f = ctx->in[1];
    const struct nn_fused *fused = &s->fused;
    struct conv c = { .dtype = x->dtype, .w = &s->w };
    int64_t dims[SM_MAX_RANK];
    struct rt_tensor *y;
    int r;
    if (nn_place_input(ctx, &s->w, x, &c.at, err) < 0)
        return -(int)err->code;
    c.in_c = c.at.channels;
    if (read_filter(ctx, s, f, &c, err) < 0 || nn_place(ctx, &s->w, &c.at, err) < 0 ||
        read_fused(ctx, fused, &c, err) < 0)
        return -(int)err->code;
    int rank = nn_dims(&s->w, c.at.batch, c.at.out, c.out_c, dims);
    c.src = x->data;
    c.filter = f->data;
    c.filter_buf = f->buf;
    if (fused->add) {
        int at = nn_fused_add_at(fused);
        const struct rt_tensor *side = ctx->in[at];
        if (!fits(side, c.dtype, rank, dims)) {
            if (fused->add_node)
                return conv_then_add(ctx, fused, &c, rank, dims, err);
            return rt_fail(ctx, err, ERR_FAILED, "the added tensor has another shape");
        }
        r = rt_out_reuse(ctx, 0, at, c.dtype, rank, dims, &y, err);
        if (r >= 0 && y->data != side->data)
            memcpy(y->data, side->data, rt_size(side));
    } else {
        r = rt_out(ctx, 0, c.dtype, rank, dims, &y, err);
    }
    if (r < 0)
        return r;
    if (!y->n_elems)
        return 0;
    c.dst = y->data;
    if (conv_run(ctx, &c, err) < 0)
        return -(int)err->code;
    return fused->batch_norm ? fused_batch_norm(ctx, s, &c, y->data, y->n_elems, err)
                             : 0;
}

/* in[0]: the shape of the output (or, for the old Conv3DBackpropInput, a tensor of that
 * shape), in[1]: filter, in[2]: what the forward convolution would have made. */
int
rt_run_conv_transposed(struct rt_ctx *ctx, struct err *err)
{
    const struct conv_state *s = ctx->node->state;
    const struct rt_tensor *f = ctx->in[1], *dy = ctx->in[2];
    struct conv c = { .dtype = dy->dtype, .w = &s->w, .transposed = true };
    int64_t dims[SM_MAX_RANK];
    int rank = ctx->in[0]->rank;
    struct rt_tensor *y, shape = { .rank = 0 };
    char text[RT_SHAPE_TEXT_BYTES];
    if (strcmp(ctx->node->op, "Conv3DBackpropInput") == 0)
        memcpy(dims, ctx->in[0]->dims, (size_t)rank * sizeof dims[0]);
    else if (k_shape_in(ctx, 0, "input_sizes", &rank, dims, err) < 0)
        return -(int)err->code;
    if (rank == 2 && s->w.n == 2 && !s->depthwise) {
        /* Only the height and width: TensorFlow takes the rest from the others. */
        int64_t space[3] = { dims[0], dims[1], 1 };
        if (dy->rank == 4 && f->rank == 4)
            rank = nn_dims(&s->w, dy->dims[0], space, f->dims[2], dims);
    }
    shape.rank = rank;
    memcpy(shape.dims, dims, sizeof shape.dims);
    if (nn_place_input(ctx, &s->w, &shape, &c.at, err) < 0)
        return -(int)err->code;
    c.in_c =
        c.at.channels; /* of the forward convolution, as everywhere in struct conv */
    if (read_filter(ctx, s, f, &c, err) < 0 || nn_place(ctx, &s->w, &c.at, err) < 0)
        return -(int)err->code;
    int dy_rank = nn_dims(&s->w, c.at.batch, c.at.out, c.out_c, shape.dims);
    if (dy->rank != dy_rank ||
        memcmp(dy->dims, shape.dims, (size_t)dy_rank * sizeof dims[0]))
        return rt_fail(ctx, err, ERR_FAILED,
                       "Conv2DCustomBackpropInput: Size of out_backprop doesn't match "
                       "computed: %s",
                       rt_shape_text(dy, text));
    if (rt_out(ctx, 0, c.dtype, rank, dims, &y, err) < 0)
        return -(int)err->code;
    if (!y->n_elems)
        return 0;
    if (!dy->n_elems) {
        memset(y->data, 0, rt_size(y));
        return 0;
    }
    c.src = dy->data;
    c.filter = f->data;
    c.filter_buf = f->buf;
    c.dst = y->data;
    return conv_run(ctx, &c, err);
}
