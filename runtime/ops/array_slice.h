/* SPDX-License-Identifier: Apache-2.0 */
/* StridedSlice's description of a part of a tensor, for all ops that read or write one.
 */
#ifndef RUNTIME_OPS_ARRAY_SLICE_H
#define RUNTIME_OPS_ARRAY_SLICE_H

#include "runtime/ops/ops_int.h"

struct k_slice_masks {
    int64_t begin, end, ellipsis, new_axis, shrink_axis;
};
/* Reads the five mask attributes. */
void k_slice_prep(struct rt_prep *p, struct k_slice_masks *m);

/* Element i of dimension d is begin[d] + i * step[d] of the whole, 0 <= i < size[d].
 * The result's shape leaves out dimensions that were indexed and has the new ones. */
struct k_slice {
    int rank; /* of the whole */
    int64_t begin[SM_MAX_RANK], step[SM_MAX_RANK], size[SM_MAX_RANK];
    int out_rank;
    int64_t out_dims[SM_MAX_RANK];
};
/* From vectors begin, end and strides. ERR_FAILED with TensorFlow's words. */
int k_slice_init(struct k_slice *s, const struct rt_ctx *ctx,
                 const struct k_slice_masks *m, int rank, const int64_t *dims,
                 const struct rt_tensor *begin, const struct rt_tensor *end,
                 const struct rt_tensor *strides, struct err *err) MUST_CHECK;
/* Steps of the part within a whole of this shape (for k_copy: `part` is the other side,
 * contiguous); *offset is where it begins, in elements. */
void k_slice_box(const struct k_slice *s, const int64_t *dims, bool part_is_dst,
                 struct k_box *b, int64_t *offset);

/* State of Squeeze: dimensions to take away, as the attribute has them; none: all of
 * 1. */
struct squeeze_state {
    const int64_t *dims;
    int n;
};

#endif
