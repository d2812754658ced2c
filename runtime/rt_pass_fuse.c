/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions and products take on what stands around them: a Pad before; behind, what
 * scales or shifts channels by constants (bias, batch normalisation), the sum with
 * another tensor, and activations. One rule: when the only reader of a product's output
 * is an op that it can take on, that op's place in the plan becomes the product.
 *
 * A product in two dimensions that is reshaped at once (Keras' Dense on three) takes on
 * what follows the Reshape, when that leaves the last dimension alone. */
#include "runtime/ops/array_slice.h"
#include "runtime/ops/conv_int.h"
#include "runtime/rt_ops.h"
#include "runtime/rt_pass_int.h"

#include <stdlib.h>

static const struct {
    const char *op;
    struct od_post post;
} activations[] = {
    { "Relu", { OD_RELU, 0, 0 } },
    { "Relu6", { OD_CLIP, 0, 6 } },
    { "Elu", { OD_ELU, 1, 0 } },
    { "LeakyRelu", { OD_RELU, 0, 0 } },
    { "Tanh", { OD_TANH, 0, 0 } },
    { "Sigmoid", { OD_SIGMOID, 0, 0 } },
    { "_Swish", { OD_SWISH, 1, 0 } },
    { "_GeluErf", { OD_GELU_ERF, 0, 0 } },
    { "_GeluTanh", { OD_GELU_TANH, 0, 0 } },
    { "_HardSwish", { OD_HARDSWISH, 0, 0 } },
};

/* The state of a step that may take on more; NULL: another step. */
static struct nn_fused *
product_of(const struct rt_draft *d)
{
    bool multiplies = d->s.run == rt_run_conv || d->s.run == rt_run_matmul ||
                      d->s.run == rt_run_batch_matmul || d->s.run == rt_run_einsum;
    struct nn_fused *f = multiplies ? d->s.node.state : NULL;
    return f && f->kind != NN_NONE && rt_draft_is_float(d, "T") ? f : NULL;
}

/* The product that makes `value` for this reader alone; -1: none. Its weights are
 * constant. */
static int
product_for(const struct rt_rewrite *w, int value)
{
    const struct rt_builder *b = w->b;
    int at = rt_value_maker(b, value);
    if (at < 0 || w->uses[value] != 1 || !product_of(&b->steps[at]))
        return -1;
    const struct rt_tensor *weights = rt_value_const(b, b->steps[at].in[1]);
    bool fits = weights && weights->dtype == SM_FLOAT &&
                (b->steps[at].s.run != rt_run_batch_matmul || weights->rank == 2);
    return fits ? at : -1;
}

/* ---- constants by channel -------------------------------------------------------- */

/* Fills `out` with what a constant is for each channel of product `d`: one number for
 * all, or one for each. False: it does not broadcast in this way. */
static bool
by_channel(const struct rt_builder *b, const struct rt_draft *d, int value,
           bool is_vector, float *out, int64_t n)
{
    const struct nn_fused *f = d->s.node.state;
    const struct rt_tensor *k = rt_value_const(b, value),
                           *w = rt_value_const(b, d->in[1]);
    if (!k || k->dtype != SM_FLOAT || (k->n_elems != 1 && k->n_elems != n))
        return false;
    bool conv = f->kind == NN_CONV || f->kind == NN_DEPTHWISE;
    int first = 0, rank = conv ? w->rank : f->kind == NN_MATMUL ? 2 : f->w_free + 1;
    while (first < k->rank && k->dims[first] == 1)
        first++;
    int own = k->rank - first; /* without leading ones */
    bool one = k->n_elems == 1;
    bool fits = one ? k->rank <= rank && !is_vector : false;
    if (!one && is_vector)
        fits = k->rank == 1;
    else if (!one && conv && f->channels_first)
        fits = own == rank - 1 && k->rank <= rank && k->dims[first] == n;
    else if (!one && f->kind == NN_EINSUM)
        fits = own == f->w_free && k->rank <= rank &&
               memcmp(k->dims + first, w->dims + w->rank - f->w_free,
                      (size_t)own * sizeof(k->dims[0])) == 0;
    else if (!one)
        fits = own == 1 && k->rank <= rank;
    if (one && is_vector)
        fits = n == 1 && k->rank == 1;
    for (int64_t i = 0; fits && i < n; i++)
        out[i] = ((const float *)k->data)[one ? 0 : i];
    return fits;
}

/* y = (what d makes) * scale + shift; scale NULL: 1. Both have n values. */
static bool
take_affine(struct rt_rewrite *w, int at, struct rt_draft *d, const float *scale,
            const float *shift, int64_t n)
{
    struct rt_builder *b = w->b;
    struct nn_fused *f = d->s.node.state;
    int in[4] = { d->in[0], d->in[1] }, n_in = 2;
    float *bias, *by = NULL;
    int bias_value = rt_pass_floats(b, 1, &n, &bias);
    int scale_value = scale ? rt_pass_floats(b, 1, &n, &by) : -1;
    if (bias_value < 0 || (scale && scale_value < 0))
        return false;
    const struct rt_tensor *old_bias = f->bias ? rt_value_const(b, d->in[2]) : NULL;
    int old_scale_at = f->scale ? d->in[nn_fused_scale_at(f)] : -1;
    const struct rt_tensor *old_scale = rt_value_const(b, old_scale_at);
    if ((f->bias && (!old_bias || old_bias->n_elems != n)) ||
        (f->scale && (!old_scale || old_scale->n_elems != n)))
        return false;
    for (int64_t i = 0; i < n; i++) {
        float was = old_bias ? ((const float *)old_bias->data)[i] : 0;
        bias[i] = was * (scale ? scale[i] : 1) + shift[i];
        if (scale)
            by[i] = scale[i] * (old_scale ? ((const float *)old_scale->data)[i] : 1);
    }
    in[n_in++] = bias_value;
    if (scale || f->scale)
        in[n_in++] = scale ? scale_value : old_scale_at;
    f->bias = true;
    f->scale |= scale != NULL;
    rt_pass_become(w, at, d, in, n_in);
    return true;
}

/* gamma * (x - mean) / sqrt(variance + epsilon) + beta */
static bool
norm_affine(const struct rt_builder *b, const struct rt_draft *norm,
            const struct rt_draft *d, float *scale, float *shift, int64_t n)
{
    struct nn_norm const *s = norm->s.node.state;
    float *p[4];
    if (s->training || s->n_side || s->relu || norm->s.node.n_in != 5 ||
        s->channels_first != ((struct nn_fused *)d->s.node.state)->channels_first)
        return false;
    for (int i = 0; i < 4; i++) {
        p[i] = xcalloc((size_t)n, sizeof(float));
        bool ok = by_channel(b, d, norm->in[1 + i], true, p[i], n);
        for (int j = 0; !ok && j <= i; j++)
            free(p[j]);
        if (!ok)
            return false;
    }
    for (int64_t i = 0; i < n; i++) {
        scale[i] = p[0][i] / sqrtf(p[3][i] + s->epsilon);
        shift[i] = p[1][i] - p[2][i] * scale[i];
    }
    for (int i = 0; i < 4; i++)
        free(p[i]);
    return true;
}

/* Of two dimensions, or of any where channels are last, both formats are one. */
static bool
same_format(const struct rt_draft *bias, const struct rt_draft *product)
{
    const struct nn_fused *f = product->s.node.state;
    struct sm_attr a;
    bool first = sm_node_attr(&bias->g->sm, "data_format", &a) && a.kind == SM_ATTR_S &&
                 a.bytes.n > 1 && a.bytes.p[1] == 'C';
    return first == f->channels_first || product->s.run == rt_run_matmul;
}

/* What draft `at` does to input `from`, which product d makes, as a scale and a shift.
 */
static bool
read_affine(const struct rt_builder *b, const struct rt_draft *r, int from,
            const struct rt_draft *d, float *scale, float *shift, int64_t n,
            bool *scales)
{
    int other = r->s.node.n_in == 2 ? r->in[!from] : -1;
    bool is_bias = r->s.run == rt_run_bias_add;
    *scales = false;
    for (int64_t i = 0; i < n; i++)
        scale[i] = 1;
    memset(shift, 0, (size_t)n * sizeof(*shift));
    if (r->s.run == rt_run_fused_norm)
        return *scales = from == 0 && norm_affine(b, r, d, scale, shift, n);
    if (is_bias && !same_format(r, d))
        return false;
    if (is_bias || rt_is_op(r, "AddV2") || rt_is_op(r, "Add"))
        return by_channel(b, d, other, is_bias, shift, n);
    if (rt_is_op(r, "Mul"))
        return *scales = by_channel(b, d, other, false, scale, n);
    if (rt_is_op(r, "Sub") && from == 0 && by_channel(b, d, other, false, shift, n)) {
        for (int64_t i = 0; i < n; i++)
            shift[i] = -shift[i];
        return true;
    }
    return false;
}

static bool
fuse_affine(struct rt_rewrite *w, int at, int from, struct rt_draft *d)
{
    struct rt_draft *r = &w->b->steps[at];
    const struct nn_fused *f = d->s.node.state;
    int64_t n = nn_fused_channels(f, rt_value_const(w->b, d->in[1]));
    bool scales;
    if (f->n_post > 0 || n <= 0)
        return false;
    for (int i = 1; i < r->s.node.n_out; i++) /* statistics of a batch norm */
        if (w->uses[r->first_value + i] > 0)
            return false;
    float *scale AUTO(free_ptr) = xcalloc((size_t)n, sizeof(float));
    float *shift AUTO(free_ptr) = xcalloc((size_t)n, sizeof(float));
    return read_affine(w->b, r, from, d, scale, shift, n, &scales) &&
           take_affine(w, at, d, scales ? scale : NULL, shift, n);
}

/* ---- activations and sums -------------------------------------------------------- */

static bool
fuse_activation(struct rt_rewrite *w, int at, struct rt_draft *d)
{
    const struct rt_draft *r = &w->b->steps[at];
    struct nn_fused *f = d->s.node.state;
    if (r->s.node.n_in != 1 || f->n_post >= OD_MAX_POST)
        return false;
    for (size_t i = 0; i < sizeof(activations) / sizeof(activations[0]); i++) {
        if (!rt_is_op(r, activations[i].op))
            continue;
        struct od_post post = activations[i].post;
        if (rt_is_op(r, "LeakyRelu"))
            post.alpha = *(const float *)r->s.node.state;
        f->post[f->n_post++] = post;
        rt_pass_become(w, at, d, d->in, d->s.node.n_in);
        return true;
    }
    return false;
}

static bool
fuse_sum(struct rt_rewrite *w, int at, int from, struct rt_draft *d)
{
    struct rt_builder *b = w->b;
    struct rt_draft *r = &b->steps[at];
    struct nn_fused *f = d->s.node.state;
    int other = r->in[!from], in[6], n_in = d->s.node.n_in;
    if ((f->kind != NN_CONV && f->kind != NN_DEPTHWISE) || f->n_post > 0 || n_in > 4 ||
        rt_value_const(b, other) || (!rt_is_op(r, "AddV2") && !rt_is_op(r, "Add")))
        return false;
    struct rt_node *add = rt_pass_alloc(b, sizeof(*add));
    *add = r->s.node;
    memcpy(in, d->in, (size_t)n_in * sizeof(in[0]));
    in[n_in++] = other;
    f->add = true;
    f->add_node = add;
    f->add_run = r->s.run;
    f->post[f->n_post++] = (struct od_post){ .kind = OD_SUM };
    rt_pass_become(w, at, d, in, n_in);
    return true;
}

/* ---- before a convolution -------------------------------------------------------- */

static void
fuse_pad(struct rt_rewrite *w, int at)
{
    struct rt_builder *b = w->b;
    struct rt_draft *d = &b->steps[at];
    struct conv_state *s = d->s.node.state;
    int pad = rt_value_maker(b, d->in[0]);
    float fill = 0;
    if (d->s.run != rt_run_conv || !product_of(d) || pad < 0 ||
        s->w.padding != NN_VALID || b->steps[pad].s.run != rt_run_pad)
        return;
    const struct rt_draft *p = &b->steps[pad];
    const struct rt_tensor *k = rt_value_const(b, p->in[1]);
    if (!k || k->n_elems != 2 * (s->w.n + 2) || k->rank != 2 ||
        !(rt_is_op(p, "Pad") || rt_is_op(p, "PadV2")) ||
        (p->s.node.n_in == 3 && (!rt_value_scalar(b, p->in[2], &fill) || fill != 0)))
        return;
    int first = s->w.channels_first ? 2 : 1;
    int64_t pads = 0, inner = 0;
    for (int i = 0; i < 2 * (s->w.n + 2); i++) {
        int64_t v = rt_int_at(k, i);
        if (v < 0 || v > INT32_MAX)
            return;
        pads += v;
        inner += i / 2 >= first && i / 2 < first + s->w.n ? v : 0;
    }
    if (pads != inner)
        return; /* batch or channels are padded */
    for (int i = 0; i < s->w.n; i++) {
        s->w.lo[i] = rt_int_at(k, 2 * (first + i));
        s->w.hi[i] = rt_int_at(k, 2 * (first + i) + 1);
    }
    s->w.padding = NN_EXPLICIT;
    int in[6];
    memcpy(in, d->in, (size_t)d->s.node.n_in * sizeof(in[0]));
    in[0] = p->in[0];
    rt_pass_become(w, at, d, in, d->s.node.n_in);
}

/* ---- all ------------------------------------------------------------------------- */

/* The constant that ends a shape: of a constant, or of values packed or joined. */
static int64_t
last_dim(const struct rt_builder *b, int value)
{
    const struct rt_tensor *k = rt_value_const(b, value);
    int at = rt_value_maker(b, value);
    if (k && (k->dtype == SM_INT32 || k->dtype == SM_INT64) && k->n_elems > 0)
        return rt_int_at(k, k->n_elems - 1);
    if (k || at < 0)
        return -1;
    const struct rt_draft *d = &b->steps[at];
    int n = d->s.node.n_in;
    if (rt_is_op(d, "Pack") && n > 0)
        return last_dim(b, d->in[n - 1]);
    return rt_is_op(d, "ConcatV2") && n > 1 ? last_dim(b, d->in[n - 2]) : -1;
}

/* A constant of several dimensions, those that a Reshape makes of the product's last
 * one, as a vector; -1: it is not that. */
static int
flat_side(struct rt_builder *b, int value, int shape, int64_t n)
{
    const struct rt_tensor *k = rt_value_const(b, value), *s = rt_value_const(b, shape);
    float *data;
    int first = 0;
    while (k && first < k->rank && k->dims[first] == 1)
        first++;
    int own = k ? k->rank - first : 0;
    if (!s || s->dtype != SM_INT32 || s->rank != 1 || own < 2 || k->dtype != SM_FLOAT ||
        k->n_elems != n || s->n_elems < k->rank || own >= s->n_elems)
        return -1;
    for (int i = 0; i < own; i++)
        if (rt_int_at(s, s->n_elems - own + i) != k->dims[first + i])
            return -1;
    int flat = rt_pass_floats(b, 1, &n, &data);
    k = rt_value_const(b, value); /* a new one may move them */
    if (flat >= 0)
        memcpy(data, k->data, (size_t)n * sizeof(*data));
    return flat;
}

/* Takes away a dimension of space of a convolution, channels being last: Conv1D. */
static bool
squeezes_space(const struct rt_draft *d, const struct rt_draft *conv)
{
    const struct squeeze_state *s = d->s.node.state;
    const struct conv_state *c = conv->s.node.state;
    if (d->s.run != rt_run_squeeze || conv->s.run != rt_run_conv ||
        c->w.channels_first || s->n != 1)
        return false;
    int64_t dim = s->dims[0] < 0 ? s->dims[0] + c->w.n + 2 : s->dims[0];
    return dim >= 1 && dim <= c->w.n;
}

/* What follows a Reshape of a product is done before it: then the Reshape's place is
 * the product's, and `at` reshapes. Returns the product, or -1; the constant beside it
 * may have become a vector. */
static int
sink(struct rt_rewrite *w, int at, int from)
{
    struct rt_builder *b = w->b;
    int value = b->steps[at].in[from], re = rt_value_maker(b, value);
    const struct rt_tensor *side = b->steps[at].s.node.n_in == 2
                                       ? rt_value_const(b, b->steps[at].in[!from])
                                       : NULL;
    if (re < 0 || w->uses[value] != 1 ||
        (b->steps[re].s.run != rt_run_reshape && b->steps[re].s.run != rt_run_squeeze))
        return -1;
    int product = product_for(w, b->steps[re].in[0]);
    if (product >= 0 && squeezes_space(&b->steps[re], &b->steps[product]))
        return !side || side->rank <= 1 ? product : -1;
    if (product < 0 || b->steps[re].s.run != rt_run_reshape ||
        product_of(&b->steps[product])->kind != NN_MATMUL)
        return -1;
    const struct rt_draft *d = &b->steps[product];
    int64_t n = nn_fused_channels(d->s.node.state, rt_value_const(b, d->in[1]));
    if (n > 0 && side && side->rank > 1) {
        int flat = flat_side(b, b->steps[at].in[!from], b->steps[re].in[1], n);
        if (flat >= 0)
            b->steps[at].in[!from] = flat;
        return flat < 0 ? -1 : product;
    }
    return n > 0 && last_dim(b, b->steps[re].in[1]) == n ? product : -1;
}

static bool
fuse_behind(struct rt_rewrite *w, int at, int from, int product, bool sums)
{
    struct rt_draft *d = &w->b->steps[product];
    return fuse_affine(w, at, from, d) || fuse_activation(w, at, d) ||
           (sums && w->b->steps[at].s.node.n_in == 2 && fuse_sum(w, at, from, d));
}

/* Draft `at` became the product; it and the Reshape or Squeeze before change places. */
static void
swap_reshape(struct rt_rewrite *w, int at, int re)
{
    struct rt_draft *r = &w->b->steps[at], *s = &w->b->steps[re];
    struct rt_draft product = *r;
    int old = s->in[0];
    r->s = s->s;
    r->in = s->in;
    r->g = s->g;
    r->in[0] = s->first_value;
    r->s.node.gives = product.s.node.gives; /* in its shape */
    product.s.node.gives = "";
    s->s = product.s;
    s->in = product.in;
    s->g = product.g;
    w->uses[old]--; /* the product's old place */
    w->uses[s->first_value]++;
}

void
rt_pass_fuse(struct rt_rewrite *w)
{
    struct rt_builder *b = w->b;
    for (int at = 0; at < b->n_steps; at++) {
        if (!w->needed[at])
            continue;
        fuse_pad(w, at);
        int n_in = b->steps[at].s.node.n_in;
        bool done = false;
        /* The later of two products is the one that can take on their sum. */
        for (int i = 0; i < n_in && i < 2 && !done; i++) {
            int other = n_in == 2 ? product_for(w, b->steps[at].in[!i]) : -1;
            int product = product_for(w, b->steps[at].in[i]);
            if (product >= 0 && product > other)
                done = fuse_behind(w, at, i, product, true);
        }
        for (int i = 0; i < n_in && i < 2 && !done; i++) {
            int side = n_in == 2 ? b->steps[at].in[!i] : -1;
            int product = sink(w, at, i), re = -1;
            if (product < 0)
                continue;
            re = rt_value_maker(b, b->steps[at].in[i]);
            done = fuse_behind(w, at, i, product, false);
            if (done)
                swap_reshape(w, at, re);
            else if (side >= 0)
                b->steps[at].in[!i] = side;
        }
    }
}
