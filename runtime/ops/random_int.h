/* SPDX-License-Identifier: Apache-2.0 */
/* Philox 4x32-10 and the distributions made from it, the same streams as TensorFlow's,
 * for stateful and stateless random ops alike. */
#ifndef RUNTIME_OPS_RANDOM_INT_H
#define RUNTIME_OPS_RANDOM_INT_H

#include "runtime/rt_int.h"
#include "runtime/rt_ops.h"

struct rnd {
    uint32_t counter[4], key[2];
};
/* seed is the key, seed2 the upper half of the counter. */
void rnd_init(struct rnd *r, uint64_t seed, uint64_t seed2);
void rnd_skip(struct rnd *r, uint64_t n_blocks); /* of four numbers */
void rnd_next(struct rnd *r, uint32_t out[4]);

enum rnd_kind {
    RND_UNIFORM,   /* [0, 1) */
    RND_NORMAL,    /* by Box and Muller */
    RND_TRUNCATED, /* normal, again where beyond two deviations */
    RND_BITS       /* whole numbers of their dtype */
};
/* n elements of a float dtype (RND_BITS: of 32 or 64 bits). False: not with this dtype.
 */
bool rnd_fill(struct rnd r, enum rnd_kind kind, int dtype, void *out, int64_t n);
/* low + number % range for 32- and 64-bit integers; range > 0 (as unsigned). */
bool rnd_fill_range(struct rnd r, int dtype, uint64_t low, uint64_t range, void *out,
                    int64_t n);

/* For kernels of stateful random ops (prepared by rt_prep_random_stateful): the node's
 * stream as it is, moved on by n_blocks; the dtype of the output. */
enum { RND_BLOCKS_PER_OUTPUT = 256 }; /* that TensorFlow moves a stream by */
struct rnd rnd_reserve(struct rt_ctx *ctx, int64_t n_blocks);
int rnd_dtype(const struct rt_ctx *ctx);

#endif
