/* SPDX-License-Identifier: Apache-2.0 */
/* Between the table of two-operand ops (math_binary.c) and their driver (math_bcast.c).
 */
#ifndef RUNTIME_OPS_MATH_BINARY_H
#define RUNTIME_OPS_MATH_BINARY_H

#include "runtime/ops/ops_int.h"

/* z[i] = f(x[i], y[i]); z may be x or y where the sizes of their elements agree. */
typedef void k_binary_fn(const void *x, const void *y, void *z, int64_t n);

enum k_out_kind { K_SAME, K_BOOL_OUT, K_COMPLEX_OUT };
enum {
    K_DIV_CHECK = 1, /* integers: y without zeros */
    K_POW_CHECK = 2, /* integers: y without negative values */
    K_NO_BROADCAST = 4,
};

/* fn is by input dtype. For SM_HALF and SM_BFLOAT16 it works on floats that were
 * widened, and may be left out when the SM_FLOAT one does. */
struct k_binary {
    const char *op;
    enum k_out_kind out;
    unsigned flags;
    k_binary_fn *fn[K_N_DTYPES];
};
const struct k_binary *k_binary_row(const char *op);

/* z = f(x, y) on n elements each of any dtype the row has; z may be x or y. */
int k_apply(struct rt_ctx *ctx, const struct k_binary *row, int dtype, const void *x,
            const void *y, void *z, int64_t n, struct err *err) MUST_CHECK;

/* The whole op: output 0 is f(x, y) broadcast, where x and y are in[0] and in[1] or
 * views of them. */
int k_run_binary(struct rt_ctx *ctx, const struct k_binary *row,
                 const struct rt_tensor *x, const struct rt_tensor *y,
                 struct err *err) MUST_CHECK;

/* How two operands (steps 0: repeated) cover an output, dimensions joined. */
struct k_bcast {
    int rank;
    int64_t dims[SM_MAX_RANK], x[SM_MAX_RANK], y[SM_MAX_RANK];
};
void k_bcast_init(struct k_bcast *b, const struct rt_tensor *x,
                  const struct rt_tensor *y, int rank, const int64_t *dims);
/* t spread to a shape it broadcasts to: its own memory when it has that many elements,
 * else scratch. NULL with err set. */
const void *k_spread(struct rt_ctx *ctx, const struct rt_tensor *t, int rank,
                     const int64_t *dims, struct err *err);

#endif
