/* SPDX-License-Identifier: Apache-2.0 */
/* QuantizeV2 (float32 to a quantised type) and Dequantize (back), modes MIN_COMBINED,
 * MIN_FIRST and SCALED, one range for the tensor or one for each index of `axis`. */
#include "runtime/ops/ops_int.h"

#include <float.h>
#include <math.h>

enum quant_mode { MIN_COMBINED, MIN_FIRST, SCALED };

struct code_state {
    enum quant_mode mode;
    bool half_to_even, narrow;
    int axis;
    float least_range;
    int type; /* QuantizeV2's T, Dequantize's dtype */
};

/* The least and greatest value of a quantised type; false: not one. */
static bool
code_range(int dtype, double *low, double *high)
{
    switch (dtype) {
    case SM_QINT8:
        *low = INT8_MIN, *high = INT8_MAX;
        return true;
    case SM_QUINT8:
        *low = 0, *high = UINT8_MAX;
        return true;
    case SM_QINT16:
        *low = INT16_MIN, *high = INT16_MAX;
        return true;
    case SM_QUINT16:
        *low = 0, *high = UINT16_MAX;
        return true;
    case SM_QINT32:
        *low = INT32_MIN, *high = INT32_MAX;
        return true;
    }
    return false;
}

static int
prep_code(struct rt_prep *p, const char *type_attr, int64_t type_default)
{
    static const char *const modes[] = { "MIN_COMBINED", "MIN_FIRST", "SCALED" };
    struct code_state *s = rt_prep_alloc(p, sizeof *s);
    const char *mode = rt_attr_str(p, "mode", "MIN_COMBINED");
    const char *round = rt_attr_str(p, "round_mode", "HALF_AWAY_FROM_ZERO");
    bool known = false;
    p->node->state = s;
    for (int i = 0; i < 3; i++)
        if (strcmp(mode, modes[i]) == 0) {
            s->mode = (enum quant_mode)i;
            known = true;
        }
    if (!known)
        return rt_prep_fail(
            p, ERR_FAILED,
            "Mode string must be 'MIN_COMBINED', 'MIN_FIRST', or 'SCALED', "
            "is '%s'",
            mode);
    s->half_to_even = strcmp(round, "HALF_TO_EVEN") == 0;
    if (s->half_to_even && s->mode != SCALED)
        return rt_prep_fail(
            p, ERR_FAILED,
            "Round mode 'HALF_TO_EVEN' only supported for mode 'SCALED'");
    s->narrow = rt_attr_bool(p, "narrow_range", false);
    s->axis = (int)rt_attr_int(p, "axis", -1);
    s->least_range = rt_attr_float(p, "ensure_minimum_range", 0.01f);
    s->type = rt_attr_type(p, type_attr, type_default);
    return rt_prep_done(p);
}

int
rt_prep_quantize(struct rt_prep *p)
{
    return prep_code(p, "T", RT_REQUIRED);
}

int
rt_prep_dequantize(struct rt_prep *p)
{
    return prep_code(p, "dtype", SM_FLOAT);
}

/* Blocks of one range: outer of them, `inner` elements each, n ranges. */
struct blocks {
    int64_t outer, n, inner;
};

static int
read_blocks(struct rt_ctx *ctx, const struct code_state *s, struct blocks *b,
            struct err *err)
{
    const struct rt_tensor *t = ctx->in[0];
    char text[RT_SHAPE_TEXT_BYTES];
    *b = (struct blocks){ 1, 1, t->n_elems };
    if (s->axis < -1 || s->axis >= t->rank)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Axis must be less than input dimension(%d), got %d", t->rank,
                       s->axis);
    if (s->axis >= 0 && s->mode == MIN_FIRST)
        return rt_fail(ctx, err, ERR_FAILED,
                       "MIN_FIRST mode is not implemented for %s with axis != -1.",
                       ctx->node->op);
    if (s->axis >= 0)
        *b = (struct blocks){ k_count(t->dims, 0, s->axis), t->dims[s->axis],
                              k_count(t->dims, s->axis + 1, t->rank) };
    for (int i = 1; i < 3; i++)
        if (ctx->in[i]->n_elems != b->n)
            return rt_fail(ctx, err, ERR_FAILED,
                           "range input %d has shape %s, not %jd values", i,
                           rt_shape_text(ctx->in[i], text), (intmax_t)b->n);
    return 0;
}

/* The range that the codes stand for: contains 0, is not too small, and (SCALED) is
 * what the scale makes of the type's ends. */
static float
widen_range(const struct code_state *s, double low, double high, float *min, float *max)
{
    float epsilon = fmaxf(1, fmaxf(fabsf(*min), fabsf(*max))) * s->least_range;
    *min = fminf(0, *min);
    *max = fmaxf(0, fmaxf(*max, *min + epsilon));
    if (s->mode != SCALED)
        return (float)((high - low) / (double)(*max - *min));
    if (s->half_to_even && !s->narrow && s->axis < 0 && high < 256) {
        /* What oneDNN's kernel does in TensorFlow: around 0, also for signed codes. */
        float most = fmaxf(fabsf(*min), fabsf(*max));
        *min = low < 0 ? -most : 0;
        *max = most;
        return (low < 0 ? 127.5f : 255.0f) / most;
    }
    float first = (float)low + (s->narrow ? 1 : 0), last = (float)high;
    float by_min = first * *min > 0 ? first / *min : FLT_MAX;
    float by_max = last * *max > 0 ? last / *max : FLT_MAX;
    float scale = fminf(by_min, by_max);
    *min = first / scale;
    *max = last / scale;
    return scale;
}

struct coder {
    const struct code_state *s;
    double low, high;
    float min, max, scale;
    bool is_signed;
};

static double
encode(const struct coder *c, float x)
{
    float v = x > c->max ? c->max : x;
    v = v < c->min ? c->min : v;
    if (c->s->mode == SCALED)
        return (double)(c->s->half_to_even ? rintf(v * c->scale)
                                           : roundf(v * c->scale));
    if (c->s->mode == MIN_COMBINED) {
        v = (v - c->min) * c->scale;
        return c->is_signed ? (double)roundf(v - (float)((c->high - c->low + 1) / 2))
                            : (double)(int64_t)(v + 0.5f);
    }
    if (c->max == c->min)
        return 0;
    /* MIN_FIRST: 2^bits steps, the minimum rounded to one of them. */
    double steps = c->high - c->low + 1;
    double adjusted = ((double)c->max - (double)c->min) * (steps / (steps - 1));
    double scale = steps / adjusted;
    float first = (float)round((double)c->min * scale);
    double q = (double)(roundf(x * (float)scale) - first + (float)c->low);
    double top =
        (double)nextafterf((float)c->high + 1, 0); /* the greatest float below */
    return q < c->low ? c->low : q > top ? floor(top) : q;
}

static void
store(int dtype, void *y, int64_t i, double v, double low, double high)
{
    if (dtype == SM_QINT32 && v > high)
        v = low; /* x86's conversion of what does not fit */
    v = v < low ? low : v > high ? high : v;
    switch (dtype) {
    case SM_QINT8:
        ((int8_t *)y)[i] = (int8_t)v;
        break;
    case SM_QUINT8:
        ((uint8_t *)y)[i] = (uint8_t)v;
        break;
    case SM_QINT16:
        ((int16_t *)y)[i] = (int16_t)v;
        break;
    case SM_QUINT16:
        ((uint16_t *)y)[i] = (uint16_t)v;
        break;
    default:
        ((int32_t *)y)[i] = (int32_t)v;
    }
}

int
rt_run_quantize(struct rt_ctx *ctx, struct err *err)
{
    const struct code_state *s = ctx->node->state;
    const struct rt_tensor *t = ctx->in[0];
    struct coder c = { .s = s };
    struct blocks b;
    struct rt_tensor *y, *out[2];
    if (!code_range(s->type, &c.low, &c.high))
        return rt_fail_dtype(ctx, err, s->type);
    c.is_signed = c.low < 0;
    if (read_blocks(ctx, s, &b, err) < 0 ||
        rt_out(ctx, 0, s->type, t->rank, t->dims, &y, err) < 0)
        return -(int)err->code;
    for (int i = 0; i < 2; i++)
        if (rt_out(ctx, 1 + i, SM_FLOAT, s->axis >= 0, &b.n, &out[i], err) < 0)
            return -(int)err->code;
    const float *x = t->data;
    for (int64_t k = 0; k < b.n; k++) {
        c.min = ((const float *)ctx->in[1]->data)[k];
        c.max = ((const float *)ctx->in[2]->data)[k];
        if (c.min > c.max)
            return rt_fail(
                ctx, err, ERR_FAILED,
                "max_range has to be larger than or equal to min_range: %g < %g",
                (double)c.max, (double)c.min);
        c.scale = widen_range(s, c.low, c.high, &c.min, &c.max);
        ((float *)out[0]->data)[k] = c.min;
        ((float *)out[1]->data)[k] = c.max;
        for (int64_t o = 0; o < b.outer; o++) {
            int64_t at = (o * b.n + k) * b.inner;
            for (int64_t i = at; i < at + b.inner; i++)
                store(s->type, y->data, i, encode(&c, x[i]), c.low, c.high);
        }
    }
    return 0;
}

static double
load_code(const struct rt_tensor *t, int64_t i)
{
    switch (t->dtype) {
    case SM_QINT8:
        return ((const int8_t *)t->data)[i];
    case SM_QUINT8:
        return ((const uint8_t *)t->data)[i];
    case SM_QINT16:
        return ((const int16_t *)t->data)[i];
    case SM_QUINT16:
        return ((const uint16_t *)t->data)[i];
    default:
        return ((const int32_t *)t->data)[i];
    }
}

static float
decode(const struct coder *c, double code)
{
    if (c->s->mode == SCALED)
        return (float)code * c->scale;
    if (c->s->mode == MIN_COMBINED) {
        float half = c->is_signed ? (float)((c->high - c->low + 1) / 2) : 0;
        return ((float)code + half) * c->scale + c->min;
    }
    if (c->max == c->min)
        return c->min;
    double steps = c->high - c->low + 1;
    double step = ((double)c->max - (double)c->min) * (steps / (steps - 1)) / steps;
    double first = c->min != 0 ? round((double)c->min / step) * step : 0;
    return (float)(first + (code - c->low) * step);
}

int
rt_run_dequantize(struct rt_ctx *ctx, struct err *err)
{
    const struct code_state *s = ctx->node->state;
    const struct rt_tensor *t = ctx->in[0];
    struct coder c = { .s = s };
    struct blocks b;
    struct rt_tensor *y;
    if (!code_range(t->dtype, &c.low, &c.high))
        return rt_fail_dtype(ctx, err, t->dtype);
    if (s->type != SM_FLOAT && !k_is_half(s->type))
        return rt_fail_dtype(ctx, err, s->type);
    c.is_signed = c.low < 0;
    if (read_blocks(ctx, s, &b, err) < 0 ||
        rt_out(ctx, 0, s->type, t->rank, t->dims, &y, err) < 0)
        return -(int)err->code;
    float *to = s->type == SM_FLOAT
                    ? y->data
                    : rt_scratch(ctx, (size_t)t->n_elems * sizeof(*to), err);
    if (!to)
        return -(int)err->code;
    for (int64_t k = 0; k < b.n; k++) {
        c.min = ((const float *)ctx->in[1]->data)[k];
        c.max = ((const float *)ctx->in[2]->data)[k];
        c.scale = (float)(((double)c.max - (double)c.min) / (c.high - c.low));
        if (s->mode == SCALED) {
            float first = (float)c.low + (s->narrow ? 1 : 0), last = (float)c.high;
            c.scale = c.low == 0 ? c.max / last : fmaxf(c.min / first, c.max / last);
        }
        for (int64_t o = 0; o < b.outer; o++) {
            int64_t at = (o * b.n + k) * b.inner;
            for (int64_t i = at; i < at + b.inner; i++)
                to[i] = decode(&c, load_code(t, i));
        }
    }
    if (s->type != SM_FLOAT)
        k_narrow(s->type, to, y->data, t->n_elems);
    return 0;
}
