/* SPDX-License-Identifier: Apache-2.0 */
/* Sparse tensors as TensorFlow passes them: indices [n, rank] int64, values [n], a
 * dense shape [rank]. Most ops want the indices in row-major order and do not look. */
#ifndef RUNTIME_OPS_SPARSE_INT_H
#define RUNTIME_OPS_SPARSE_INT_H

#include "runtime/ops/ops_int.h"

struct sparse {
    const int64_t *at; /* [n, rank] */
    const struct rt_tensor *values;
    const int64_t *dims;
    int64_t n;
    int rank;
};

/* Inputs indices, values (-1: none), shape, with sizes that fit. ERR_FAILED else. */
int sparse_in(struct rt_ctx *ctx, int indices, int values, int shape, struct sparse *s,
              struct err *err) MUST_CHECK;
/* Every index inside dims. ERR_FAILED in TensorFlow's words; with `ordered` also when
 * they are out of order or repeated. */
int sparse_check(struct rt_ctx *ctx, const struct sparse *s, bool ordered,
                 struct err *err) MUST_CHECK;
/* < 0, 0, > 0 as index a sorts before, as, after index b. */
int sparse_order(int rank, const int64_t *a, const int64_t *b);
/* Positions 0 … n - 1 of indices [n, rank] in their row-major order (stable), in
 * scratch. NULL with err. */
int64_t *sparse_sorted(struct rt_ctx *ctx, const int64_t *at, int64_t n, int rank,
                       struct err *err);
/* Steps of a dense tensor of this shape; false: more elements than can be counted. */
bool sparse_steps(int rank, const int64_t *dims, int64_t *steps);

/* Output i: an int64 [n, rank] matrix, or with rank < 0 a vector [n]. */
int sparse_out_ints(struct rt_ctx *ctx, int i, int64_t n, int rank, int64_t **y,
                    struct err *err) MUST_CHECK;
/* dst element i = src element from, of a size from rt_dtype_size. */
static inline void
sparse_move(struct rt_tensor *dst, int64_t i, const struct rt_tensor *src, int64_t from)
{
    size_t size = rt_dtype_size(src->dtype);
    memcpy((char *)dst->data + (size_t)i * size,
           (const char *)src->data + (size_t)from * size, size);
}

#endif
