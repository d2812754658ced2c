/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_OPS_IMAGE_INT_H
#define RUNTIME_OPS_IMAGE_INT_H

#include "runtime/ops/nn_int.h"

#include <math.h>

/* Elements of any real dtype as floats: in scratch, or where they are. NULL with err.
 */
const float *image_floats(struct rt_ctx *ctx, const struct rt_tensor *t,
                          struct err *err);
/* in[0] is [batch, height, width, channels], none of the last three 0 unless the batch
 * is empty. */
int image_check(struct rt_ctx *ctx, struct err *err) MUST_CHECK;
/* Input `in`: a vector of two sizes >= 1. */
int image_size(struct rt_ctx *ctx, int in, int64_t size[2], struct err *err) MUST_CHECK;

#endif
