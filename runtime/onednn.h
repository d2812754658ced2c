/* SPDX-License-Identifier: Apache-2.0 */
/* oneDNN behind plain pointers: convolution, transposed convolution and matmul of
 * float32 with what follows them fused. One `struct od` a session (RT_SLOT_ONEDNN),
 * used by any number of threads at once; primitives are made when a shape is first seen
 * and kept in a bounded LRU, weights are reordered once and kept by their buffer. */
#ifndef RUNTIME_ONEDNN_H
#define RUNTIME_ONEDNN_H

#include "runtime/rt_kernel.h"

struct od;
void *od_new(int n_threads); /* for rt_session_slot; the engine is made on first use */
void od_free(void *od);
struct od *od_of(struct rt_ctx *ctx); /* the session's */

/* What is done to y before it is stored, in order, after the bias. */
enum od_post_kind {
    OD_NONE,
    OD_SUM,  /* y += what dst held before */
    OD_RELU, /* alpha: slope below 0 */
    OD_CLIP, /* to [alpha, beta] */
    OD_ELU,  /* alpha */
    OD_TANH,
    OD_SIGMOID,
    OD_SWISH, /* y * sigmoid(alpha y) */
    OD_GELU_TANH,
    OD_GELU_ERF,
    OD_HARDSWISH, /* y * min(max(y + 3, 0), 6) / 6 */
};
#define OD_MAX_POST 4
struct od_post {
    int kind;
    float alpha, beta;
};

/* A convolution as TensorFlow has it. src is [batch, spatial..., channels] or, with
 * channels_first, [batch, channels, spatial...]; weights [kernel..., in_c / groups,
 * out_c] (a depthwise filter [kernel..., C, M] is that with groups C). Transposed (the
 * gradient of a convolution with respect to its input): weights [kernel..., out_c /
 * groups, in_c], pads are the forward convolution's.
 * The struct's bytes are the key of the cache: start from zero. */
struct od_conv {
    int n_spatial; /* 1 to 3 */
    int n_post;
    struct od_post post[OD_MAX_POST];
    bool transposed, channels_first, has_bias;
    bool weights_const; /* set by od_run_conv */
    int64_t batch, in_c, out_c, groups;
    int64_t in[3], out[3], kernel[3], stride[3], dilation[3], pad_lo[3];
};

/* c[b] = a[b] * b[b] (+ bias[n]), c contiguous; strides in elements; a batch stride of
 * 0 repeats the one matrix. The struct's bytes are a key too. */
struct od_matmul {
    int n_post;
    struct od_post post[OD_MAX_POST];
    bool has_bias;
    bool weights_const; /* set by od_run_matmul */
    int64_t batch, m, n, k;
    int64_t a_stride[3], b_stride[3]; /* batch, row, column */
};

struct od_args {
    const float *src;     /* matmul: a */
    const float *weights; /* matmul: b */
    const float *bias;    /* out_c or n values; NULL without has_bias */
    float *dst;
    struct rt_buf
        *weights_buf; /* the buffer of weights: reordered once when it is a weight */
    const struct rt_tensor *scale; /* of weights, by output channel; both are weights
                                      then, and no batch. NULL: none */
};

/* 1: done. 0: oneDNN has only its reference loop for this shape (or none): the caller
 * takes its own. -code: ERR_LIMIT (memory), ERR_FAILED (oneDNN broke). Empty shapes are
 * the caller's. */
int od_run_conv(struct rt_ctx *ctx, const struct od_conv *c, const struct od_args *a,
                struct err *err) MUST_CHECK;
int od_run_matmul(struct rt_ctx *ctx, const struct od_matmul *c,
                  const struct od_args *a, struct err *err) MUST_CHECK;

#endif
