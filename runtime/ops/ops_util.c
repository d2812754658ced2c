/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/ops/ops_int.h"

RT_SIMD static void
widen_half(const uint16_t *x, float *y, int64_t n)
{
    K_VECTOR
    for (int64_t i = 0; i < n; i++)
        y[i] = rt_half_to_f32(x[i]);
}

RT_SIMD static void
widen_bf16(const uint16_t *x, float *y, int64_t n)
{
    K_VECTOR
    for (int64_t i = 0; i < n; i++)
        y[i] = rt_bf16_to_f32(x[i]);
}

RT_SIMD static void
narrow_half(const float *x, uint16_t *y, int64_t n)
{
    K_VECTOR
    for (int64_t i = 0; i < n; i++)
        y[i] = rt_f32_to_half(x[i]);
}

RT_SIMD static void
narrow_bf16(const float *x, uint16_t *y, int64_t n)
{
    K_VECTOR
    for (int64_t i = 0; i < n; i++)
        y[i] = rt_f32_to_bf16(x[i]);
}

void
k_widen(int dtype, const void *x, float *y, int64_t n)
{
    (dtype == SM_HALF ? widen_half : widen_bf16)(x, y, n);
}

void
k_narrow(int dtype, const float *x, void *y, int64_t n)
{
    (dtype == SM_HALF ? narrow_half : narrow_bf16)(x, y, n);
}

const float *
k_floats(struct rt_ctx *ctx, const struct rt_tensor *t, struct err *err)
{
    if (t->dtype == SM_FLOAT)
        return t->data;
    float *y = rt_scratch(ctx, (size_t)t->n_elems * sizeof(*y), err);
    if (y)
        k_widen(t->dtype, t->data, y, t->n_elems);
    return y;
}

double complex
k_complex_at(const struct rt_tensor *t, int64_t i)
{
    switch (t->dtype) {
    case SM_FLOAT:
        return (double)((const float *)t->data)[i];
    case SM_DOUBLE:
        return ((const double *)t->data)[i];
    case SM_HALF:
        return (double)rt_half_to_f32(((const uint16_t *)t->data)[i]);
    case SM_BFLOAT16:
        return (double)rt_bf16_to_f32(((const uint16_t *)t->data)[i]);
    case SM_COMPLEX64:
        return ((const float complex *)t->data)[i];
    default:
        return ((const double complex *)t->data)[i];
    }
}

int64_t
k_int_at(const struct rt_tensor *t, int64_t i)
{
    switch (t->dtype) {
#define X(dtype, type, sfx)                                                            \
    case dtype:                                                                        \
        return (int64_t)((const type *)t->data)[i];
        K_INTS(X)
#undef X
    default:
        return 0;
    }
}

const int64_t *
k_ints(struct rt_ctx *ctx, const struct rt_tensor *t, struct err *err)
{
    if (t->dtype == SM_INT64)
        return t->data;
    int64_t *y = rt_scratch(ctx, (size_t)t->n_elems * sizeof(*y), err);
    if (!y)
        return NULL;
    if (t->dtype == SM_INT32) {
        const int32_t *x = t->data;
        for (int64_t i = 0; i < t->n_elems; i++)
            y[i] = x[i];
    } else {
        for (int64_t i = 0; i < t->n_elems; i++)
            y[i] = k_int_at(t, i);
    }
    return y;
}

int
k_scalar(struct rt_ctx *ctx, int in, const char *what, int64_t *out, struct err *err)
{
    const struct rt_tensor *t = ctx->in[in];
    char text[RT_SHAPE_TEXT_BYTES];
    if (t->n_elems != 1)
        return rt_fail(ctx, err, ERR_FAILED, "%s must be a scalar, got shape %s", what,
                       rt_shape_text(t, text));
    *out = k_int_at(t, 0);
    return 0;
}

int
k_shape_in(struct rt_ctx *ctx, int in, const char *what, int *rank, int64_t *dims,
           struct err *err)
{
    const struct rt_tensor *t = ctx->in[in];
    char text[RT_SHAPE_TEXT_BYTES];
    if (t->rank != 1)
        return rt_fail(ctx, err, ERR_FAILED, "%s must be 1-D, got shape %s", what,
                       rt_shape_text(t, text));
    if (t->n_elems > SM_MAX_RANK)
        return rt_fail(ctx, err, ERR_UNSUPPORTED,
                       "%s has %lld dimensions, at most %d work", what,
                       (long long)t->n_elems, SM_MAX_RANK);
    *rank = (int)t->n_elems;
    for (int i = 0; i < *rank; i++) {
        dims[i] = k_int_at(t, i);
        if (dims[i] < 0)
            return rt_fail(ctx, err, ERR_FAILED, "Dimension %lld must be >= 0",
                           (long long)dims[i]);
    }
    return 0;
}

int
k_axis(struct rt_ctx *ctx, int64_t axis, int rank, int *out, struct err *err)
{
    if (axis < -rank || axis >= rank)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Expected dimension in the range [%d, %d), but got %lld", -rank,
                       rank, (long long)axis);
    *out = (int)(axis < 0 ? axis + rank : axis);
    return 0;
}

int64_t
k_count(const int64_t *dims, int from, int to)
{
    int64_t n = 1;
    for (int i = from; i < to; i++)
        if (__builtin_mul_overflow(n, dims[i], &n))
            return INT64_MAX;
    return n;
}

void
k_steps(int rank, const int64_t *dims, int64_t *steps)
{
    uint64_t step = 1; /* may wrap where some other dimension is 0 */
    for (int i = rank - 1; i >= 0; i--) {
        steps[i] = (int64_t)step;
        step *= (uint64_t)dims[i];
    }
}

void
k_own(struct rt_tensor *y)
{
    if (!k_is_obj(y->dtype))
        return;
    struct rt_obj **o = y->data;
    for (int64_t i = 0; i < y->n_elems; i++)
        rt_obj_ref(o[i]);
}

const void *
k_row(const void *table, size_t n, size_t row_bytes, const char *op)
{
    for (size_t i = 0; i < n; i++) {
        const char *row = (const char *)table + i * row_bytes;
        const char *name;
        memcpy(&name, row, sizeof(name));
        if (strcmp(name, op) == 0)
            return row;
    }
    return NULL;
}

bool
k_broadcast(int ra, const int64_t *da, int rb, const int64_t *db, int *rank,
            int64_t *dims)
{
    int r = ra > rb ? ra : rb;
    for (int i = 1; i <= r; i++) {
        int64_t a = i <= ra ? da[ra - i] : 1, b = i <= rb ? db[rb - i] : 1;
        if (a != b && a != 1 && b != 1)
            return false;
        dims[r - i] = a == 1 ? b : a;
    }
    *rank = r;
    return true;
}
