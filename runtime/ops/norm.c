/* SPDX-License-Identifier: Apache-2.0 */
/* FusedBatchNorm (V1, V2, V3) and _FusedBatchNormEx:
 * y = (x - mean) * scale / sqrt(variance + epsilon) + offset over the channels.
 * x is [batch, space..., C] or channels first; float32, or float16 and bfloat16 with
 * float32 parameters. Inference takes mean and variance from its inputs (1 and 0 wide
 * ones are errors); training makes them from x: outputs batch_mean and batch_variance
 * are then what the moving averages should become (variance with Bessel's correction,
 * both mixed with the inputs when exponential_avg_factor is not 1), the reserve spaces
 * the raw mean and variance. An empty x has NaN statistics. */
#include "runtime/ops/nn_int.h"

#include <math.h>

int
rt_prep_fused_norm(struct rt_prep *p)
{
    struct nn_norm *s = rt_prep_alloc(p, sizeof *s);
    const char *op = p->node->op, *format = rt_attr_str(p, "data_format", "NHWC");
    const char *act = rt_attr_str(p, "activation_mode", "Identity");
    p->node->state = s;
    s->epsilon = rt_attr_float(p, "epsilon", 0.0001f);
    s->factor = rt_attr_float(p, "exponential_avg_factor", 1.0f);
    s->training = rt_attr_bool(p, "is_training", true);
    s->n_side = (int)rt_attr_int(p, "num_side_inputs", 0);
    s->n_reserve = strcmp(op, "FusedBatchNormV3") == 0 || op[0] == '_' ? 3 : 2;
    s->channels_first = strncmp(format, "NC", 2) == 0;
    s->relu = strcmp(act, "Relu") == 0;
    if (!s->relu && strcmp(act, "Identity") != 0)
        return rt_prep_fail(p, ERR_UNSUPPORTED, "activation_mode \"%s\"", act);
    if (s->n_side != p->node->n_in - 5 || s->n_side > 1)
        return rt_prep_fail(p, ERR_FAILED, "%d inputs", p->node->n_in);
    return rt_prep_done(p);
}

/* x as rows of channels: element (o, c, i) at (o * C + c) * inner + i. */
struct norm_view {
    int64_t outer, channels, inner;
};

static struct norm_view
view_of(const struct rt_tensor *x, bool channels_first)
{
    int axis = channels_first ? 1 : x->rank - 1;
    return (struct norm_view){ k_count(x->dims, 0, axis), x->dims[axis],
                               k_count(x->dims, axis + 1, x->rank) };
}

/* Mean and variance (of the population) of each channel. */
static void
statistics(const float *x, const struct norm_view *v, float *mean, float *variance,
           double *sum)
{
    int64_t n = v->outer * v->inner;
    for (int pass = 0; pass < 2; pass++) {
        memset(sum, 0, (size_t)v->channels * sizeof(*sum));
        for (int64_t o = 0, at = 0; o < v->outer; o++)
            for (int64_t c = 0; c < v->channels; c++)
                for (int64_t i = 0; i < v->inner; i++, at++) {
                    double d = (double)x[at] - (pass ? (double)mean[c] : 0);
                    sum[c] += pass ? d * d : d;
                }
        for (int64_t c = 0; c < v->channels; c++)
            (pass ? variance : mean)[c] = (float)(sum[c] / (double)n);
    }
}

RT_SIMD static void
scale_rows(const float *restrict x, const float *restrict mean,
           const float *restrict scale, const float *restrict offset, float *restrict y,
           int64_t rows, int64_t n)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < n; c++)
            y[r * n + c] = (x[r * n + c] - mean[c]) * scale[c] + offset[c];
}

static void
normalise(const float *x, const struct norm_view *v, const float *mean,
          const float *scale, const float *offset, float *y)
{
    if (v->inner == 1) {
        scale_rows(x, mean, scale, offset, y, v->outer, v->channels);
        return;
    }
    for (int64_t o = 0; o < v->outer * v->channels; o++) {
        int64_t c = o % v->channels;
        for (int64_t i = o * v->inner; i < (o + 1) * v->inner; i++)
            y[i] = (x[i] - mean[c]) * scale[c] + offset[c];
    }
}

/* Outputs 1.. : batch_mean, batch_variance, the reserve spaces. */
static int
small_outputs(struct rt_ctx *ctx, const struct nn_norm *s, int64_t n, float *out[4],
              struct err *err)
{
    struct rt_tensor *t;
    for (int i = 0; i < 4; i++) {
        if (rt_out(ctx, 1 + i, SM_FLOAT, 1, &n, &t, err) < 0)
            return -(int)err->code;
        out[i] = t->data;
    }
    if (s->n_reserve == 3) {
        if (rt_out(ctx, 5, SM_FLOAT, 1, (const int64_t[]){ 0 }, &t, err) < 0)
            return -(int)err->code;
    }
    return 0;
}

/* Fills the small outputs; *mean and *variance are what x is normalised with. */
static int
choose_statistics(struct rt_ctx *ctx, const struct nn_norm *s, const float *x,
                  const struct norm_view *v, float *out[4], const float **mean,
                  const float **variance, struct err *err)
{
    const float *old_mean = ctx->in[3]->data, *old_var = ctx->in[4]->data;
    int64_t n = v->channels, count = v->outer * v->inner;
    size_t bytes = (size_t)n * sizeof(float);
    if (!s->training && !count) {
        for (int64_t c = 0; c < n; c++)
            out[0][c] = out[1][c] = out[2][c] = out[3][c] = NAN;
    } else if (!s->training) {
        memcpy(out[0], old_mean, bytes);
        memcpy(out[1], old_var, bytes);
        memcpy(out[2], old_mean, bytes);
        memcpy(out[3], old_var, bytes);
    } else {
        double *sum = rt_scratch(ctx, (size_t)n * sizeof(*sum), err);
        if (!sum)
            return -(int)err->code;
        statistics(x, v, out[2], out[3], sum);
        float bessel = (float)((double)count / (double)(count > 1 ? count - 1 : 1));
        float f = s->factor;
        for (int64_t c = 0; c < n; c++) {
            out[0][c] = f == 1 ? out[2][c] : (1 - f) * old_mean[c] + f * out[2][c];
            out[1][c] = f == 1 ? out[3][c] * bessel
                               : (1 - f) * old_var[c] + f * out[3][c] * bessel;
        }
    }
    *mean = out[2];
    *variance = out[3];
    return 0;
}

static int
check_norm(struct rt_ctx *ctx, const struct nn_norm *s, const struct rt_tensor *x,
           struct err *err)
{
    static const char *const names[] = { "x", "scale", "offset", "mean", "variance" };
    char text[RT_SHAPE_TEXT_BYTES];
    if (x->rank != 4 && x->rank != 5)
        return rt_fail(ctx, err, ERR_FAILED, "input must be 4 or 5-dimensional%s",
                       rt_shape_text(x, text));
    if (x->dtype != SM_FLOAT && !k_is_half(x->dtype))
        return rt_fail_dtype(ctx, err, x->dtype);
    int64_t channels = x->dims[s->channels_first ? 1 : x->rank - 1];
    for (int i = 1; i < 5; i++) {
        const struct rt_tensor *t = ctx->in[i];
        bool unused = i >= 3 && s->training && s->factor == 1;
        if (t->dtype != SM_FLOAT)
            return rt_fail_dtype(ctx, err, t->dtype);
        if (t->rank != 1)
            return rt_fail(ctx, err, ERR_FAILED, "%s must be 1-dimensional%s", names[i],
                           rt_shape_text(t, text));
        if (!unused && t->n_elems != channels)
            return rt_fail(
                ctx, err, ERR_FAILED,
                "%s must have the same number of elements as the channels of "
                "x, got %jd and %jd",
                names[i], (intmax_t)t->n_elems, (intmax_t)channels);
    }
    return 0;
}

int
rt_run_fused_norm(struct rt_ctx *ctx, struct err *err)
{
    const struct nn_norm *s = ctx->node->state;
    const struct rt_tensor *t = ctx->in[0];
    const float *gamma = ctx->in[1]->data, *beta = ctx->in[2]->data;
    const float *mean = NULL, *variance = NULL;
    float *out[4];
    struct rt_tensor *y_t;
    if (check_norm(ctx, s, t, err) < 0)
        return -(int)err->code;
    struct norm_view v = view_of(t, s->channels_first);
    const float *x = k_floats(ctx, t, err);
    if (!x || rt_out(ctx, 0, t->dtype, t->rank, t->dims, &y_t, err) < 0 ||
        small_outputs(ctx, s, v.channels, out, err) < 0 ||
        choose_statistics(ctx, s, x, &v, out, &mean, &variance, err) < 0)
        return -(int)err->code;
    float *scale = rt_scratch(ctx, (size_t)v.channels * sizeof(*scale), err);
    float *y = y_t->data;
    if (t->dtype != SM_FLOAT)
        y = rt_scratch(ctx, (size_t)t->n_elems * sizeof(*y), err);
    if (!scale || !y)
        return -(int)err->code;
    for (int64_t c = 0; c < v.channels; c++)
        scale[c] = gamma[c] / sqrtf(variance[c] + s->epsilon);
    normalise(x, &v, mean, scale, beta, y);
    if (s->n_side) {
        const struct rt_tensor *side = ctx->in[5];
        const float *add = side->dtype == t->dtype && rt_same_shape(side, t)
                               ? k_floats(ctx, side, err)
                               : NULL;
        if (!add)
            return err->code ? -(int)err->code
                             : rt_fail(ctx, err, ERR_FAILED,
                                       "side_input must be shaped as x");
        for (int64_t i = 0; i < t->n_elems; i++)
            y[i] += add[i];
    }
    if (s->relu)
        nn_post(y, t->n_elems, &(struct od_post){ .kind = OD_RELU }, 1);
    if (t->dtype != SM_FLOAT)
        k_narrow(t->dtype, y, y_t->data, t->n_elems);
    return 0;
}
