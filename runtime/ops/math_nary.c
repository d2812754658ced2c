/* SPDX-License-Identifier: Apache-2.0 */
/* Sums of several tensors, biases, and small ops on numbers: AddN, BiasAdd and its
 * gradient, CheckNumerics, L2Loss, Cross, Betainc, ApproximateEqual. */
#include "runtime/ops/math_binary.h"
#include "runtime/ops/math_special.h"

#include <math.h>

/* ---- AddN ------------------------------------------------------------------------ */

/* All of one shape; float16 and bfloat16 round after each addition. */
int
rt_run_add_n(struct rt_ctx *ctx, struct err *err)
{
    const struct k_binary *add = k_binary_row("AddV2");
    if (ctx->node->n_in < 1)
        return rt_fail(ctx, err, ERR_FAILED, "no inputs");
    const struct rt_tensor *x = ctx->in[0];
    char a[RT_SHAPE_TEXT_BYTES], b[RT_SHAPE_TEXT_BYTES];
    struct rt_tensor *y;
    int n = ctx->node->n_in;
    for (int i = 1; i < n; i++)
        if (!rt_same_shape(x, ctx->in[i]))
            return rt_fail(
                ctx, err, ERR_FAILED,
                "Inputs to operation %s of type AddN must have the same size and "
                "shape.  Input 0: %s != input %d: %s",
                ctx->node->name, rt_shape_text(x, a), i, rt_shape_text(ctx->in[i], b));
    if (k_is_obj(x->dtype) || x->dtype == SM_STRING)
        return rt_fail_dtype(ctx, err, x->dtype);
    if (n == 1) {
        rt_out_same(ctx, 0, x);
        return 0;
    }
    if (rt_out_reuse(ctx, 0, 0, x->dtype, x->rank, x->dims, &y, err) < 0)
        return -(int)err->code;
    for (int i = 1; i < n; i++)
        if (k_apply(ctx, add, x->dtype, i == 1 ? x->data : y->data, ctx->in[i]->data,
                    y->data, y->n_elems, err) < 0)
            return -(int)err->code;
    return 0;
}

/* ---- BiasAdd --------------------------------------------------------------------- */

int
rt_prep_bias(struct rt_prep *p)
{
    bool *first = p->node->state = rt_prep_alloc(p, sizeof(*first));
    const char *format = rt_attr_str(p, "data_format", "NHWC");
    *first = strncmp(format, "NC", 2) == 0;
    return rt_prep_done(p);
}

/* Channels are the last dimension, or dimension 1 (NCHW, NCDHW). */
int
rt_run_bias_add(struct rt_ctx *ctx, struct err *err)
{
    bool first = *(const bool *)ctx->node->state;
    const struct rt_tensor *x = ctx->in[0], *bias = ctx->in[1];
    char a[RT_SHAPE_TEXT_BYTES], b[RT_SHAPE_TEXT_BYTES];
    if (x->rank < 2)
        return rt_fail(ctx, err, ERR_FAILED, "Input tensor must be at least 2D: %s",
                       rt_shape_text(x, a));
    if (bias->rank != 1)
        return rt_fail(ctx, err, ERR_FAILED, "Biases must be 1D: %s",
                       rt_shape_text(bias, a));
    int axis = first ? 1 : x->rank - 1;
    if (bias->dims[0] != x->dims[axis])
        return rt_fail(
            ctx, err, ERR_FAILED,
            "Must provide as many biases as the %s dimension of the input tensor: "
            "%s vs. %s",
            first ? "channel" : "last", rt_shape_text(bias, a), rt_shape_text(x, b));
    /* The bias as a tensor that broadcasts: [C], or [C, 1, …]. */
    struct rt_tensor wide = *bias;
    wide.rank = x->rank - axis;
    for (int i = 0; i < wide.rank; i++)
        wide.dims[i] = i == 0 ? bias->dims[0] : 1;
    return k_run_binary(ctx, k_binary_row("AddV2"), x, &wide, err);
}

/* ---- CheckNumerics --------------------------------------------------------------- */

int
rt_prep_check_numerics(struct rt_prep *p)
{
    const char **message = p->node->state = rt_prep_alloc(p, sizeof(*message));
    *message = rt_attr_str(p, "message", "");
    return rt_prep_done(p);
}

/* "<message> : Tensor had NaN values" (V2: "-Inf", "+Inf" apart). */
int
rt_run_check_numerics(struct rt_ctx *ctx, struct err *err)
{
    const char *message = *(const char *const *)ctx->node->state;
    const struct rt_tensor *x = ctx->in[0];
    bool v2 = strcmp(ctx->node->op, "CheckNumericsV2") == 0, nan = false, neg = false;
    bool pos = false;
    if (x->dtype == SM_DOUBLE) {
        const double *v = x->data;
        for (int64_t i = 0; i < x->n_elems; i++)
            nan |= v[i] != v[i], pos |= v[i] == INFINITY, neg |= v[i] == -INFINITY;
    } else {
        if (x->dtype != SM_FLOAT && !k_is_half(x->dtype))
            return rt_fail_dtype(ctx, err, x->dtype);
        const float *v = k_floats(ctx, x, err);
        if (!v)
            return -(int)err->code;
        for (int64_t i = 0; i < x->n_elems; i++)
            nan |= v[i] != v[i], pos |= v[i] == INFINITY, neg |= v[i] == -INFINITY;
    }
    if (nan || pos || neg) {
        const char *what = v2 ? (nan          ? "NaN"
                                 : pos && neg ? "-Inf and +Inf"
                                 : pos        ? "+Inf"
                                              : "-Inf")
                              : (nan && (pos || neg) ? "NaN and Inf"
                                 : nan               ? "NaN"
                                                     : "Inf");
        return rt_fail(ctx, err, ERR_FAILED, "%s : Tensor had %s values", message,
                       what);
    }
    rt_out_same(ctx, 0, x);
    return 0;
}

/* ---- L2Loss, Cross, Betainc, ApproximateEqual ------------------------------------ */

/* sum x^2 / 2 */
int
rt_run_l2_loss(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    struct rt_tensor *y;
    double sum = 0;
    if (x->dtype != SM_FLOAT && x->dtype != SM_DOUBLE && !k_is_half(x->dtype))
        return rt_fail_dtype(ctx, err, x->dtype);
    if (rt_out(ctx, 0, x->dtype, 0, NULL, &y, err) < 0)
        return -(int)err->code;
    if (x->dtype == SM_DOUBLE) {
        const double *v = x->data;
        for (int64_t i = 0; i < x->n_elems; i++)
            sum += v[i] * v[i];
        *(double *)y->data = sum / 2;
        return 0;
    }
    const float *v = k_floats(ctx, x, err);
    if (!v)
        return -(int)err->code;
    for (int64_t i = 0; i < x->n_elems; i++)
        sum += (double)v[i] * (double)v[i];
    float f = (float)(sum / 2);
    if (x->dtype == SM_FLOAT)
        *(float *)y->data = f;
    else
        k_narrow(x->dtype, &f, y->data, 1);
    return 0;
}

/* The vector product along a last dimension of 3. */
int
rt_run_cross(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *a = ctx->in[0], *b = ctx->in[1];
    char ta[RT_SHAPE_TEXT_BYTES], tb[RT_SHAPE_TEXT_BYTES];
    struct rt_tensor *y;
    if (!rt_same_shape(a, b) || a->rank < 1 || a->dims[a->rank - 1] != 3)
        return rt_fail(
            ctx, err, ERR_FAILED,
            "Cross-products are only defined for 3-element vectors of one shape: "
            "%s vs. %s",
            rt_shape_text(a, ta), rt_shape_text(b, tb));
    bool half = k_is_half(a->dtype);
    const void *u = half ? (const void *)k_floats(ctx, a, err) : a->data;
    const void *v = !u ? NULL : half ? (const void *)k_floats(ctx, b, err) : b->data;
    void *w =
        v && half ? rt_scratch(ctx, (size_t)a->n_elems * sizeof(float), err) : NULL;
    if (!v || (half && !w) || rt_out(ctx, 0, a->dtype, a->rank, a->dims, &y, err) < 0)
        return -(int)err->code;
    if (!half)
        w = y->data;
    switch (half ? SM_FLOAT : a->dtype) {
#define X(dtype, type, sfx)                                                            \
    case dtype:                                                                        \
        for (int64_t i = 0; i < a->n_elems; i += 3) {                                  \
            const type *p = (const type *)u + i, *q = (const type *)v + i;             \
            type *r = (type *)w + i;                                                   \
            r[0] = (type)(NUM(p[1]) * NUM(q[2]) - NUM(p[2]) * NUM(q[1]));              \
            r[1] = (type)(NUM(p[2]) * NUM(q[0]) - NUM(p[0]) * NUM(q[2]));              \
            r[2] = (type)(NUM(p[0]) * NUM(q[1]) - NUM(p[1]) * NUM(q[0]));              \
        }                                                                              \
        break;
#define NUM(x) (x)
        K_FLOATS(X)
#undef NUM
#define NUM(x) (uint64_t)(x)
        K_INTS(X)
#undef NUM
#undef X
    default:
        return rt_fail_dtype(ctx, err, a->dtype);
    }
    if (half)
        k_narrow(a->dtype, w, y->data, y->n_elems);
    return 0;
}

/* a, b, x of one shape, or scalars. */
int
rt_run_betainc(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *shape = ctx->in[0];
    const void *v[3];
    struct rt_tensor *y;
    for (int i = 1; i < 3; i++)
        if (shape->rank == 0)
            shape = ctx->in[i];
    for (int i = 0; i < 3; i++) {
        if (ctx->in[i]->rank != 0 && !rt_same_shape(ctx->in[i], shape))
            return rt_fail(ctx, err, ERR_FAILED,
                           "Shapes of a, b and x are inconsistent");
        v[i] = k_spread(ctx, ctx->in[i], shape->rank, shape->dims, err);
        if (!v[i])
            return -(int)err->code;
    }
    if (shape->dtype != SM_FLOAT && shape->dtype != SM_DOUBLE)
        return rt_fail_dtype(ctx, err, shape->dtype);
    if (rt_out(ctx, 0, shape->dtype, shape->rank, shape->dims, &y, err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < y->n_elems; i++) {
        if (shape->dtype == SM_DOUBLE)
            ((double *)y->data)[i] =
                k_betainc(((const double *)v[0])[i], ((const double *)v[1])[i],
                          ((const double *)v[2])[i]);
        else
            ((float *)y->data)[i] = (float)k_betainc((double)((const float *)v[0])[i],
                                                     (double)((const float *)v[1])[i],
                                                     (double)((const float *)v[2])[i]);
    }
    return 0;
}

int
rt_prep_tolerance(struct rt_prep *p)
{
    float *tolerance = p->node->state = rt_prep_alloc(p, sizeof(*tolerance));
    *tolerance = rt_attr_float(p, "tolerance", 1e-5f);
    return rt_prep_done(p);
}

/* |x - y| < tolerance */
int
rt_run_approximate_equal(struct rt_ctx *ctx, struct err *err)
{
    float tolerance = *(const float *)ctx->node->state;
    const struct rt_tensor *x = ctx->in[0], *y = ctx->in[1];
    char a[RT_SHAPE_TEXT_BYTES], b[RT_SHAPE_TEXT_BYTES];
    struct rt_tensor *z;
    if (!rt_same_shape(x, y))
        return rt_fail(ctx, err, ERR_FAILED,
                       "x and y must be of the same shape: %s vs. %s",
                       rt_shape_text(x, a), rt_shape_text(y, b));
    if (rt_out(ctx, 0, SM_BOOL, x->rank, x->dims, &z, err) < 0)
        return -(int)err->code;
    uint8_t *out = z->data;
    switch (x->dtype) {
#define X(dtype, type, sfx)                                                            \
    case dtype:                                                                        \
        for (int64_t i = 0; i < z->n_elems; i++) {                                     \
            type u = ((const type *)x->data)[i], v = ((const type *)y->data)[i];       \
            out[i] = (type)(u < v ? v - u : u - v) < (type)tolerance;                  \
        }                                                                              \
        return 0;
        K_REALS(X)
#undef X
    default:
        return rt_fail_dtype(ctx, err, x->dtype);
    }
}
