/* SPDX-License-Identifier: Apache-2.0 */
/* RGBToHSV, HSVToRGB, AdjustHue, AdjustSaturation (last dimension 3) and
 * AdjustContrastv2. float32, double; the adjusting ones also float16; half types run as
 * float. */
#include "runtime/ops/image_int.h"

enum color_op { TO_HSV, TO_RGB, HUE, SATURATION };

int
rt_prep_color(struct rt_prep *p)
{
    static const char *const names[] = { "RGBToHSV", "HSVToRGB", "AdjustHue",
                                         "AdjustSaturation" };
    enum color_op *op = rt_prep_alloc(p, sizeof *op);
    for (int i = 0; i < 4; i++)
        if (strcmp(p->node->op, names[i]) == 0)
            *op = (enum color_op)i;
    p->node->state = op;
    return 0;
}

static double
clamp01(double x)
{
    return x < 0 ? 0 : x > 1 ? 1 : x;
}

/* Hue in [0, 1): where several channels are the greatest, red goes before green. */
static void
to_hsv(const double rgb[3], double hsv[3])
{
    double r = rgb[0], g = rgb[1], b = rgb[2];
    double v = fmax(r, fmax(g, b)), range = v - fmin(r, fmin(g, b)), h = 0;
    hsv[1] = v > 0 ? range / v : 0;
    hsv[2] = v;
    if (range > 0) {
        if (r == v)
            h = (g - b) / (6 * range);
        else if (g == v)
            h = (b - r) / (6 * range) + 2.0 / 6;
        else
            h = (r - g) / (6 * range) + 4.0 / 6;
    }
    hsv[0] = h < 0 ? h + 1 : h;
}

static void
to_rgb(const double hsv[3], double rgb[3])
{
    double h = hsv[0] * 6, s = hsv[1], v = hsv[2];
    double d[3] = { clamp01(fabs(h - 3) - 1), clamp01(2 - fabs(h - 2)),
                    clamp01(2 - fabs(h - 4)) };
    for (int i = 0; i < 3; i++)
        rgb[i] = (1 - s + s * d[i]) * v;
}

static void
color_pixel(enum color_op op, double by, const double x[3], double y[3])
{
    double hsv[3];
    if (op == TO_HSV) {
        to_hsv(x, y);
        return;
    }
    if (op == TO_RGB) {
        to_rgb(x, y);
        return;
    }
    to_hsv(x, hsv);
    if (op == SATURATION) {
        hsv[1] = clamp01(hsv[1] * by);
        to_rgb(hsv, y);
        return;
    }
    /* Turning the hue keeps the least and the greatest channel, negative ones too. */
    double low = fmin(x[0], fmin(x[1], x[2])), high = fmax(x[0], fmax(x[1], x[2]));
    double turned[3] = { hsv[0] + by - floor(hsv[0] + by), 1, 1 };
    to_rgb(turned, y);
    for (int i = 0; i < 3; i++)
        y[i] = low + y[i] * (high - low);
}

int
rt_run_adjust_color(struct rt_ctx *ctx, struct err *err)
{
    enum color_op op = *(const enum color_op *)ctx->node->state;
    const struct rt_tensor *t = ctx->in[0];
    struct rt_tensor *out;
    char text[RT_SHAPE_TEXT_BYTES];
    double by = 0;
    if (t->rank < 1 || t->dims[t->rank - 1] != 3 || (op >= HUE && t->rank < 3))
        return rt_fail(ctx, err, ERR_FAILED,
                       "input must be at least %d-D with 3 channels, got %s",
                       op >= HUE ? 3 : 1, rt_shape_text(t, text));
    if (t->dtype != SM_FLOAT && t->dtype != SM_DOUBLE && !k_is_half(t->dtype))
        return rt_fail_dtype(ctx, err, t->dtype);
    if (op >= HUE) {
        if (ctx->in[1]->n_elems != 1)
            return rt_fail(ctx, err, ERR_FAILED, "the amount must be a scalar");
        by = (double)*(const float *)ctx->in[1]->data;
    }
    if (rt_out(ctx, 0, t->dtype, t->rank, t->dims, &out, err) < 0)
        return -(int)err->code;
    bool is_double = t->dtype == SM_DOUBLE;
    const float *x = is_double ? NULL : k_floats(ctx, t, err);
    float *y = t->dtype == SM_FLOAT ? out->data
               : is_double          ? NULL
                           : rt_scratch(ctx, (size_t)t->n_elems * sizeof(*y), err);
    if (!is_double && (!x || !y))
        return -(int)err->code;
    for (int64_t i = 0; i < t->n_elems; i += 3) {
        double a[3], b[3];
        for (int c = 0; c < 3; c++)
            a[c] = is_double ? ((const double *)t->data)[i + c] : (double)x[i + c];
        color_pixel(op, by, a, b);
        for (int c = 0; c < 3; c++)
            if (is_double)
                ((double *)out->data)[i + c] = b[c];
            else
                y[i + c] = (float)b[c];
    }
    if (k_is_half(t->dtype))
        k_narrow(t->dtype, y, out->data, t->n_elems);
    return 0;
}

/* Each image and channel: (x - mean) * factor + mean. */
int
rt_run_adjust_contrast(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *t = ctx->in[0];
    struct rt_tensor *out;
    char text[RT_SHAPE_TEXT_BYTES];
    if (t->rank < 3)
        return rt_fail(ctx, err, ERR_FAILED, "input must be at least 3-D, got shape%s",
                       rt_shape_text(t, text));
    if (ctx->in[1]->n_elems != 1)
        return rt_fail(ctx, err, ERR_FAILED, "contrast_factor must be scalar: %s",
                       rt_shape_text(ctx->in[1], text));
    if (t->dtype != SM_FLOAT && !k_is_half(t->dtype))
        return rt_fail_dtype(ctx, err, t->dtype);
    float factor = *(const float *)ctx->in[1]->data;
    int64_t depth = t->dims[t->rank - 1];
    int64_t pixels = t->dims[t->rank - 2] * t->dims[t->rank - 3];
    if (rt_out(ctx, 0, t->dtype, t->rank, t->dims, &out, err) < 0)
        return -(int)err->code;
    const float *x = k_floats(ctx, t, err);
    float *y = t->dtype == SM_FLOAT
                   ? out->data
                   : rt_scratch(ctx, (size_t)t->n_elems * sizeof(*y), err);
    if (!x || !y)
        return -(int)err->code;
    for (int64_t at = 0; at < t->n_elems; at += pixels * depth)
        for (int64_t c = at; c < at + depth; c++) {
            double sum = 0;
            for (int64_t i = 0; i < pixels; i++)
                sum += (double)x[c + i * depth];
            float mean = (float)(sum / (double)pixels);
            for (int64_t i = c; i < c + pixels * depth; i += depth)
                y[i] = (x[i] - mean) * factor + mean;
        }
    if (t->dtype != SM_FLOAT)
        k_narrow(t->dtype, y, out->data, t->n_elems);
    return 0;
}
