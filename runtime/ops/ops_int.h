/* SPDX-License-Identifier: Apache-2.0 */
/* What kernels of several families share: the lists of dtypes for dispatch, strided
 * copies, shapes read from tensors. */
#ifndef RUNTIME_OPS_OPS_INT_H
#define RUNTIME_OPS_OPS_INT_H

#include "runtime/rt_complex.h"
#include "runtime/rt_half.h"
#include "runtime/rt_ops.h"

/* Each is a list of X(dtype, C type, suffix). float16 and bfloat16 are no C types:
 * their drivers widen to float (k_widen) and narrow again. */
#define K_SINTS(X)                                                                     \
    X(SM_INT8, int8_t, i8)                                                             \
    X(SM_INT16, int16_t, i16)                                                          \
    X(SM_INT32, int32_t, i32)                                                          \
    X(SM_INT64, int64_t, i64)
#define K_UINTS(X)                                                                     \
    X(SM_UINT8, uint8_t, u8)                                                           \
    X(SM_UINT16, uint16_t, u16)                                                        \
    X(SM_UINT32, uint32_t, u32)                                                        \
    X(SM_UINT64, uint64_t, u64)
#define K_FLOATS(X)                                                                    \
    X(SM_FLOAT, float, f32)                                                            \
    X(SM_DOUBLE, double, f64)
#define K_COMPLEX(X)                                                                   \
    X(SM_COMPLEX64, float complex, c64)                                                \
    X(SM_COMPLEX128, double complex, c128)
#define K_INTS(X) K_SINTS(X) K_UINTS(X)
#define K_REALS(X) K_FLOATS(X) K_INTS(X)
#define K_NUMBERS(X) K_REALS(X) K_COMPLEX(X)

/* The loop below has no dependence between turns, also where it works in place. */
#ifdef __clang__
#define K_VECTOR _Pragma("clang loop vectorize(assume_safety)")
#else
#define K_VECTOR _Pragma("GCC ivdep")
#endif

#define K_MIN(a, b) ((a) < (b) ? (a) : (b))
#define K_MAX(a, b) ((a) > (b) ? (a) : (b))

/* Tables by dtype end here: after it come only dtypes without kernels. */
#define K_N_DTYPES (SM_UINT64 + 1)

/* Elements of a cheap loop that are worth waking a thread for (some 50 us). */
#define K_GRAIN (1 << 18)

static inline bool
k_is_half(int dtype)
{
    return dtype == SM_HALF || dtype == SM_BFLOAT16;
}
static inline bool
k_is_obj(int dtype)
{
    return dtype == SM_RESOURCE || dtype == SM_VARIANT;
}
static inline bool
k_is_int(int dtype)
{
    return (dtype >= SM_INT32 && dtype <= SM_INT8) || dtype == SM_INT64 ||
           dtype == SM_UINT16 || dtype == SM_UINT32 || dtype == SM_UINT64;
}

/* A float rounded to float16, or bfloat16. */
static inline float
k_round_half(float x)
{
    return rt_half_to_f32(rt_f32_to_half(x));
}
static inline float
k_round_bf16(float x)
{
    return rt_bf16_to_f32(rt_f32_to_bf16(x));
}

/* n elements of float16 or bfloat16 to float, and back. */
void k_widen(int dtype, const void *x, float *y, int64_t n);
void k_narrow(int dtype, const float *x, void *y, int64_t n);
/* The elements of t as floats: in scratch, or where they are (float). NULL with err. */
const float *k_floats(struct rt_ctx *ctx, const struct rt_tensor *t, struct err *err);

/* Element i of a floating or complex tensor. */
double complex k_complex_at(const struct rt_tensor *t, int64_t i);
/* Element i of any integer tensor. */
int64_t k_int_at(const struct rt_tensor *t, int64_t i);
/* y[i] = v in an int32 or int64 tensor. */
static inline void
k_put_int(struct rt_tensor *y, int64_t i, int64_t v)
{
    if (y->dtype == SM_INT32)
        ((int32_t *)y->data)[i] = (int32_t)v;
    else
        ((int64_t *)y->data)[i] = v;
}
/* Elements of an integer tensor as int64, in scratch or where they are. NULL with err.
 */
const int64_t *k_ints(struct rt_ctx *ctx, const struct rt_tensor *t, struct err *err);
/* The value of a tensor with one element. ERR_FAILED "<what> must be a scalar, …". */
int k_scalar(struct rt_ctx *ctx, int in, const char *what, int64_t *out,
             struct err *err) MUST_CHECK;
/* A shape held by a vector input (each dim >= 0; rank at most SM_MAX_RANK). */
int k_shape_in(struct rt_ctx *ctx, int in, const char *what, int *rank, int64_t *dims,
               struct err *err) MUST_CHECK;
/* -rank <= axis < rank, turned to 0 <= axis. ERR_FAILED. */
int k_axis(struct rt_ctx *ctx, int64_t axis, int rank, int *out,
           struct err *err) MUST_CHECK;
/* Product of dims from … to - 1; INT64_MAX when that is too large. */
int64_t k_count(const int64_t *dims, int from, int to);

/* Strided copy of a box: dst[sum i*dst_step] = src[sum i*src_step], steps in elements.
 */
#define K_MAX_DIMS (2 * SM_MAX_RANK)
struct k_box {
    int rank;
    int64_t dims[K_MAX_DIMS], src[K_MAX_DIMS], dst[K_MAX_DIMS];
};
void k_box_add(struct k_box *b, int64_t dim, int64_t src_step, int64_t dst_step);
/* elem_bytes 1, 2, 4, 8 or 16. Changes *b (joins dimensions). */
void k_copy(struct k_box *b, void *dst, const void *src, size_t elem_bytes);
/* Row-major steps of a shape. */
void k_steps(int rank, const int64_t *dims, int64_t *steps);
/* dst[i] = *value, n times. */
void k_fill(void *dst, const void *value, int64_t n, size_t elem_bytes);

/* After elements were copied as bytes: a reference for each object of a resource or
 * variant tensor (others: nothing). */
void k_own(struct rt_tensor *y);

/* Row `name` of a table whose rows begin with `const char *op`; NULL: none. */
const void *k_row(const void *table, size_t n, size_t row_bytes, const char *op);
#define K_ROW(table, op)                                                               \
    k_row(table, sizeof(table) / sizeof(table[0]), sizeof(table[0]), op)

/* The shape that two broadcast to: false when they do not fit. */
bool k_broadcast(int ra, const int64_t *da, int rb, const int64_t *db, int *rank,
                 int64_t *dims);

#endif
