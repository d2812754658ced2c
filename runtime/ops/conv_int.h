/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_OPS_CONV_INT_H
#define RUNTIME_OPS_CONV_INT_H

#include "runtime/ops/nn_int.h"

#include <math.h>

struct conv_state {
    struct nn_fused fused; /* first: see nn_int.h */
    struct nn_window w;
    bool depthwise;
};

/* A convolution to run. All names are those of the forward convolution: at.in and in_c
 * on one side, at.out and out_c on the other; transposed, src is of the `out` side and
 * dst of the `in` side. Nothing is empty except perhaps the filter's and src's
 * channels. */
struct conv {
    int dtype;
    bool transposed;
    const struct nn_window *w;
    struct nn_place at;
    int64_t in_c, out_c, groups;
    const void *src, *filter, *bias; /* bias NULL: none */
    void *dst;
    struct rt_buf *filter_buf;
    const struct rt_tensor *scale; /* of the filter by output channel; or NULL */
    int n_post;                    /* float32 only, except OD_SUM */
    struct od_post post[OD_MAX_POST];
};
int conv_run(struct rt_ctx *ctx, const struct conv *c, struct err *err) MUST_CHECK;

#endif
