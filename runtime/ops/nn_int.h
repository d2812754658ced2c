/* SPDX-License-Identifier: Apache-2.0 */
/* What the network kernels (matmul, einsum, conv, pool, norm, rnn) share: the matrix
 * product, windows over space, and what is fused behind a product. */
#ifndef RUNTIME_OPS_NN_INT_H
#define RUNTIME_OPS_NN_INT_H

#include "runtime/onednn.h"
#include "runtime/ops/ops_int.h"

/* c[b, i, j] = sum over l of a[b, i, l] * b[b, l, j], then + bias[j], then `post`.
 * Any numeric dtype, the same for all four arrays (float16 and bfloat16 sum in float).
 * Strides in elements; a batch stride of 0 repeats one matrix; c is contiguous and must
 * not alias the others. Any extent may be 0: an empty sum is 0. */
struct nn_gemm {
    int dtype;
    int64_t batch, m, n, k;
    int64_t a_stride[3], b_stride[3]; /* batch, row, column */
    const void *a, *b, *bias;         /* bias NULL: none */
    void *c;
    struct rt_buf *b_buf; /* buffer of b, when b may be a weight; else NULL */
    const struct rt_tensor *b_scale; /* both are weights; or NULL */
    bool b_turned;                   /* as nn_fused.w_turned */
    int n_post;
    struct od_post post[OD_MAX_POST]; /* float32 only; no OD_SUM */
};
int nn_gemm(struct rt_ctx *ctx, const struct nn_gemm *g, struct err *err) MUST_CHECK;

/* One matrix: c += a * b, the columns of b next to each other; rows of c `c_row` apart.
 * Not for float16 and bfloat16. */
void nn_gemm_add(int dtype, int64_t m, int64_t n, int64_t k, const void *a,
                 int64_t a_row, int64_t a_col, const void *b, int64_t b_row, void *c,
                 int64_t c_row);
bool nn_gemm_has(int dtype); /* dtypes of nn_gemm_add */

/* float32: c[i, :] = scale * sum over o < n_outer, l < k of
 * a[row i][o * a_outer + l] * b[o * k + l, :] + bias (+ c[i, :]). */
struct nn_tiles {
    int64_t m, n, k, n_outer;
    const float *a;
    const int64_t *at; /* where each row of a begins; NULL: every a_row */
    int64_t a_row, a_outer, b_row;
    const float *b, *scale, *bias; /* scale, bias: n values; or NULL */
    float *c;
    int64_t c_row;
    bool add;
};
/* One matrix, small enough that a library's call costs more than it wins. False: not on
 * this processor. */
bool nn_tiles_run(const struct nn_tiles *t);
#define NN_SMALL_PRODUCTS 400e3 /* multiply-adds */
bool nn_tiles_have(void);       /* on this processor */

/* y[r, c] += bias[c] for any number type but half ones. */
void nn_add_bias(int dtype, void *y, const void *bias, int64_t rows, int64_t cols);
/* y = post(y), elementwise; no OD_SUM (post.c). */
void nn_post(float *y, int64_t n, const struct od_post *post, int n_post);

/* ---- windows ---- */

enum nn_padding { NN_VALID, NN_SAME, NN_EXPLICIT };

/* Attributes of a convolution or pooling. */
struct nn_window {
    int n; /* spatial dimensions: 1 to 3 */
    bool channels_first;
    enum nn_padding padding;
    int64_t stride[3], dilation[3], lo[3], hi[3];
    int64_t ksize[3];                           /* pooling */
    int64_t batch_k, depth_k, batch_s, depth_s; /* of ksize and strides */
};
/* Reads strides, padding, explicit_paddings, data_format; dilations and ksize when
 * told.
 */
int nn_prep_window(struct rt_prep *p, struct nn_window *w, bool dilated, bool pooling);
int nn_prep_padding(struct rt_prep *p, enum nn_padding *padding);

/* Where the windows lie over an input: extents of the output, pads before it. */
struct nn_place {
    int64_t batch, channels;
    int64_t in[3], kernel[3], out[3], lo[3];
};
/* place->in and ->kernel are set; fills out and lo. TensorFlow's error when the output
 * would be negative. */
int nn_place(struct rt_ctx *ctx, const struct nn_window *w, struct nn_place *place,
             struct err *err) MUST_CHECK;
/* batch, channels and in of a tensor of rank w->n + 2. */
int nn_place_input(struct rt_ctx *ctx, const struct nn_window *w,
                   const struct rt_tensor *x, struct nn_place *place,
                   struct err *err) MUST_CHECK;
/* Dims of a tensor [batch, space..., channels] in w's order; returns the rank. */
int nn_dims(const struct nn_window *w, int64_t batch, const int64_t *space,
            int64_t channels, int64_t *dims);
/* One dimension by TensorFlow's rule; false: the output would be negative. */
bool nn_extent(enum nn_padding padding, int64_t in, int64_t kernel, int64_t stride,
               int64_t dilation, int64_t *lo, int64_t *hi, int64_t *out);

/* Copies [batch, channels, space] to [batch, space, channels], or back. */
void nn_swap_channels(const void *src, void *dst, size_t elem_bytes, int64_t batch,
                      int64_t rows, int64_t cols);

/* ---- what follows a product ---- */

/* What may follow it is told from the shape of the weights. */
enum nn_product { NN_NONE, NN_CONV, NN_DEPTHWISE, NN_MATMUL, NN_EINSUM };

/* The state of a node that multiplies by weights (input 1) begins with this: what is
 * done to the product, from fused_ops (_FusedConv2D, _FusedMatMul) or from the planner
 * (rt_pass_fuse.c). Further inputs, each if there is one, in this order: bias, scale,
 * the four of a batch norm, added. y = post(x * (weights scaled by channel) + bias). */
struct nn_fused {
    enum nn_product kind; /* NN_NONE: the planner leaves it alone */
    bool channels_first,
        w_turned; /* channels of the weights: the last dimension, or … */
    int w_free;   /* NN_EINSUM: … so many of the last ones */
    bool bias, scale, batch_norm, add;
    int n_post;
    struct od_post post[OD_MAX_POST]; /* OD_SUM: the added input, only first */
    float epsilon;
    const struct rt_node *add_node; /* adds it when it has another shape; or NULL … */
    rt_run_fn *add_run;             /* … by this */
};
/* Channels of the product; 0: these weights do not fit. */
int64_t nn_fused_channels(const struct nn_fused *f, const struct rt_tensor *w);
static inline int
nn_fused_scale_at(const struct nn_fused *f)
{
    return 2 + f->bias;
}
static inline int
nn_fused_add_at(const struct nn_fused *f)
{
    return 2 + f->bias + f->scale + 4 * f->batch_norm;
}
/* Bias, scale and post of a product by the weights ctx->in[1], whose extents, b and
 * dtype are set. */
int nn_gemm_fused(struct rt_ctx *ctx, const struct nn_fused *f, struct nn_gemm *g,
                  struct err *err) MUST_CHECK;
/* Weights times scale, by channel. NULL with err. */
float *nn_scaled(struct rt_ctx *ctx, const float *w, int64_t n, bool w_turned,
                 const struct rt_tensor *scale, struct err *err);
/* Ops that only the planner makes (post.c). State: struct od_post. */
rt_run_fn nn_run_post;
/* (x - mean) / sqrt(variance + epsilon) * gamma + beta, mean and variance over an axis.
 */
struct nn_layer_norm {
    int64_t axis; /* < 0: from the end */
    int rank;     /* that x must have; 0: any */
    float epsilon;
};
rt_run_fn nn_run_layer_norm;

/* Which dimension is which, of a batch of matrices; row and col < 0: from the end. */
struct nn_axes {
    int8_t batch[SM_MAX_RANK], row, col;
};
/* What a step between product and softmax does to the scores, by input `side`. */
enum nn_attend_kind {
    NN_ATTEND_NOTHING, /* a product, the softmax, or part of the scale */
    NN_ATTEND_ADD,
    NN_ATTEND_SUB,
    NN_ATTEND_MUL,
    NN_ATTEND_DIV,
    NN_ATTEND_KEEP, /* where the side is true; else they are `other` */
    NN_ATTEND_DROP, /* the reverse */
};
#define NN_ATTEND_STEPS 8
/* softmax(q k' with scale and sides) v (attention.c), and the steps that it stands for:
 * in[] are inputs of the whole, -1: what the step before gave. */
struct nn_attention {
    int rank; /* of all of them; 0: any */
    int q_at, k_at, v_at;
    float scale;
    struct nn_axes q, k, v, y;
    int n_steps;
    struct nn_attend_step {
        const struct rt_node *node;
        rt_run_fn *run;
        int in[3], side;
        enum nn_attend_kind kind;
        float other;
    } steps[NN_ATTEND_STEPS + 1];
};
rt_run_fn nn_run_attention;
double nn_attention_flops(const struct nn_attention *s,
                          const struct rt_tensor *const *in);
/* Each of `rows` rows of n > 0 values becomes its softmax (activation.c). */
void nn_softmax(float *x, int64_t rows, int64_t n);

/* State of a FusedBatchNorm. */
struct nn_norm {
    bool training, channels_first, relu;
    int n_side, n_reserve;
    float epsilon, factor;
};
int nn_prep_fused(struct rt_prep *p, struct nn_fused *f);

#endif
