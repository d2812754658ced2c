/* SPDX-License-Identifier: Apache-2.0 */
/* FakeQuantWithMinMaxArgs, ...Vars, ...VarsPerChannel; QuantizeAndDequantizeV2, V3, V4.
 * Float in, float out: values are moved to one of 2^bits levels. All arithmetic is in
 * the dtype of the input, in TensorFlow's order, since a level is decided by a
 * rounding. */
#include "runtime/ops/ops_int.h"

#include <float.h>
#include <math.h>

/* ---- FakeQuantWithMinMax* (float32) ---- */

struct fake_quant {
    float quant_min, quant_max;
    float min, max; /* Args */
    bool args, per_channel;
};

int
rt_prep_fake_quant(struct rt_prep *p)
{
    struct fake_quant *s = rt_prep_alloc(p, sizeof *s);
    const char *tail = p->node->op + strlen("FakeQuantWithMinMax");
    int64_t bits = rt_attr_int(p, "num_bits", 8);
    bool narrow = rt_attr_bool(p, "narrow_range", false);
    p->node->state = s;
    s->args = strcmp(tail, "Args") == 0;
    s->per_channel = strcmp(tail, "VarsPerChannel") == 0;
    s->min = rt_attr_float(p, "min", -6);
    s->max = rt_attr_float(p, "max", 6);
    if (bits < 2 || bits > 16)
        return rt_prep_fail(p, ERR_FAILED,
                            "num_bits must be between 2 and 16, inclusive");
    if (s->args && !(s->min < s->max))
        return rt_prep_fail(p, ERR_FAILED,
                            "min has to be smaller than max, was: %g >= %g",
                            (double)s->min, (double)s->max);
    s->quant_min = narrow;
    s->quant_max = (float)((1 << bits) - 1);
    return rt_prep_done(p);
}

/* Moves min and max so that 0 is a level; the step between levels. */
static float
nudge(const struct fake_quant *s, float *min, float *max)
{
    float scale = (*max - *min) / (s->quant_max - s->quant_min);
    float zero = s->quant_min - *min / scale;
    zero = zero < s->quant_min   ? s->quant_min
           : zero > s->quant_max ? s->quant_max
                                 : roundf(zero);
    *min = (s->quant_min - zero) * scale;
    *max = (s->quant_max - zero) * scale;
    return scale;
}

/* n elements, `step` apart. */
static void
fake_quant_line(const struct fake_quant *s, float min, float max, const float *x,
                float *y, int64_t n, int64_t step)
{
    if (!s->args && min == 0 && max == 0) {
        for (int64_t i = 0; i < n * step; i += step)
            y[i] = 0;
        return;
    }
    float scale = nudge(s, &min, &max), inverse = 1.0f / scale;
    for (int64_t i = 0; i < n * step; i += step) {
        float v = x[i] > max ? max : x[i];
        v = v < min ? min : v;
        y[i] = floorf((v - min) * inverse + 0.5f) * scale + min;
    }
}

int
rt_run_fake_quant(struct rt_ctx *ctx, struct err *err)
{
    const struct fake_quant *s = ctx->node->state;
    const struct rt_tensor *x = ctx->in[0];
    int64_t n = 1;
    struct rt_tensor *y;
    char text[RT_SHAPE_TEXT_BYTES];
    if (s->per_channel) {
        if (x->rank < 1)
            return rt_fail(ctx, err, ERR_FAILED,
                           "inputs must have at least 1 dimension");
        n = x->dims[x->rank - 1];
    }
    for (int i = 1; i < ctx->node->n_in; i++)
        if (ctx->in[i]->n_elems != n || ctx->in[i]->rank != s->per_channel)
            return rt_fail(ctx, err, ERR_FAILED,
                           "min and max must have %jd elements, not %s", (intmax_t)n,
                           rt_shape_text(ctx->in[i], text));
    if (rt_out_reuse(ctx, 0, 0, SM_FLOAT, x->rank, x->dims, &y, err) < 0)
        return -(int)err->code;
    for (int64_t c = 0; c < n && x->n_elems; c++)
        fake_quant_line(s, s->args ? s->min : ((const float *)ctx->in[1]->data)[c],
                        s->args ? s->max : ((const float *)ctx->in[2]->data)[c],
                        (const float *)x->data + c, (float *)y->data + c,
                        x->n_elems / n, n);
    return 0;
}

/* ---- QuantizeAndDequantize: around 0, scale from the wider side of the range ---- */

struct qdq {
    bool is_signed, range_given, half_up, narrow, bits_input;
    int64_t bits;
    int axis; /* -1: one range for the whole tensor */
};

int
rt_prep_quant_dequant(struct rt_prep *p)
{
    struct qdq *s = rt_prep_alloc(p, sizeof *s);
    const char *op = p->node->op, *mode = rt_attr_str(p, "round_mode", "HALF_TO_EVEN");
    p->node->state = s;
    s->is_signed = rt_attr_bool(p, "signed_input", true);
    s->range_given =
        rt_attr_bool(p, "range_given", strcmp(op, "QuantizeAndDequantizeV3") == 0);
    s->narrow = rt_attr_bool(p, "narrow_range", false);
    s->bits = rt_attr_int(p, "num_bits", 8);
    s->axis = (int)rt_attr_int(p, "axis", -1);
    s->bits_input = strcmp(op, "QuantizeAndDequantizeV3") == 0;
    s->half_up = strcmp(mode, "HALF_UP") == 0;
    if (!s->half_up && strcmp(mode, "HALF_TO_EVEN") != 0)
        return rt_prep_fail(
            p, ERR_FAILED,
            "Round mode string must be 'HALF_TO_EVEN' or 'HALF_UP', is '%s'", mode);
    if (s->axis < -1 || s->axis >= SM_MAX_RANK)
        return rt_prep_fail(p, ERR_FAILED, "Axis should be at least -1, got %d",
                            s->axis);
    return rt_prep_done(p);
}

/* Elements of one range: outer blocks of `inner`, `step` apart. */
struct qdq_part {
    int64_t outer, inner, step;
};

#define QDQ(type, sfx, floor_fn, rint_fn, most)                                        \
    static void qdq_##sfx(const struct qdq *s, int64_t bits, type min, type max,       \
                          const type *x, type *y, struct qdq_part part)                \
    {                                                                                  \
        if (!s->range_given) {                                                         \
            bool any = false;                                                          \
            for (int64_t o = 0; o < part.outer; o++)                                   \
                for (int64_t i = o * part.step; i < o * part.step + part.inner; i++) { \
                    min = !any || x[i] < min ? x[i] : min;                             \
                    max = !any || x[i] > max ? x[i] : max;                             \
                    any = true;                                                        \
                }                                                                      \
        }                                                                              \
        type low = 0, high = (type)(((uint64_t)1 << bits) - 1);                        \
        if (s->is_signed) {                                                            \
            low = -(type)((uint64_t)1 << (bits - 1)) + (s->narrow ? 1 : 0);            \
            high = (type)(((uint64_t)1 << (bits - 1)) - 1);                            \
        }                                                                              \
        type by_min = low * min > 0 ? low / min : most;                                \
        type by_max = high * max > 0 ? high / max : most;                              \
        type scale = by_min < by_max ? by_min : by_max;                                \
        type inverse = by_min < by_max ? min / low : max / high;                       \
        if (by_min < by_max)                                                           \
            max = high * inverse;                                                      \
        else                                                                           \
            min = low * inverse;                                                       \
        for (int64_t o = 0; o < part.outer; o++)                                       \
            for (int64_t i = o * part.step; i < o * part.step + part.inner; i++) {     \
                type v = x[i];                                                         \
                if (s->range_given) {                                                  \
                    v = v > max ? max : v;                                             \
                    v = v < min ? min : v;                                             \
                }                                                                      \
                v *= scale;                                                            \
                y[i] = (s->half_up ? floor_fn(v + (type)0.5) : rint_fn(v)) * inverse;  \
            }                                                                          \
    }
QDQ(float, f32, floorf, rintf, FLT_MAX)
QDQ(double, f64, floor, rint, DBL_MAX)

/* min, max and the number of bits from the inputs. */
static int
qdq_inputs(struct rt_ctx *ctx, const struct qdq *s, int64_t n, int64_t *bits,
           struct err *err)
{
    char text[RT_SHAPE_TEXT_BYTES];
    for (int i = 1; i < 3 && s->range_given; i++)
        if (ctx->in[i]->n_elems != n)
            return rt_fail(ctx, err, ERR_FAILED,
                           "range input %d has shape %s, not %jd values", i,
                           rt_shape_text(ctx->in[i], text), (intmax_t)n);
    *bits = s->bits;
    if (s->bits_input && k_scalar(ctx, 3, "num_bits", bits, err) < 0)
        return -(int)err->code;
    if (*bits < 1 || *bits > (s->is_signed ? 62 : 63))
        return rt_fail(ctx, err, ERR_FAILED,
                       "num_bits is out of range: %jd with signed_input %d",
                       (intmax_t)*bits, s->is_signed);
    return 0;
}

int
rt_run_quant_dequant(struct rt_ctx *ctx, struct err *err)
{
    const struct qdq *s = ctx->node->state;
    const struct rt_tensor *t = ctx->in[0];
    struct rt_tensor *y;
    int64_t n = 1, bits;
    struct qdq_part part = { .outer = 1, .inner = t->n_elems };
    if (t->dtype != SM_FLOAT && t->dtype != SM_DOUBLE && !k_is_half(t->dtype))
        return rt_fail_dtype(ctx, err, t->dtype);
    if (s->axis >= t->rank)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Axis should be less than the rank %d, got %d", t->rank,
                       s->axis);
    if (s->axis >= 0) {
        n = t->dims[s->axis];
        part.outer = k_count(t->dims, 0, s->axis);
        part.inner = k_count(t->dims, s->axis + 1, t->rank);
        part.step = n * part.inner;
    }
    if (qdq_inputs(ctx, s, n, &bits, err) < 0 ||
        rt_out(ctx, 0, t->dtype, t->rank, t->dims, &y, err) < 0)
        return -(int)err->code;
    const float *min = NULL, *max = NULL, *x = NULL;
    float *to = y->data;
    bool wide = t->dtype == SM_DOUBLE;
    if (!wide) {
        x = k_floats(ctx, t, err);
        if (x && t->dtype != SM_FLOAT)
            to = rt_scratch(ctx, (size_t)t->n_elems * sizeof(*to), err);
        if (x && s->range_given)
            min = k_floats(ctx, ctx->in[1], err);
        if (min)
            max = k_floats(ctx, ctx->in[2], err);
        if (!x || !to || (s->range_given && !max))
            return -(int)err->code;
    }
    for (int64_t c = 0; c < n && t->n_elems; c++) {
        int64_t at = c * part.inner;
        double lo = 0, hi = 0;
        if (s->range_given) {
            lo = wide ? ((const double *)ctx->in[1]->data)[c] : (double)min[c];
            hi = wide ? ((const double *)ctx->in[2]->data)[c] : (double)max[c];
            if (!(lo <= hi))
                return rt_fail(ctx, err, ERR_FAILED,
                               "Invalid range: input_min %g > input_max %g", lo, hi);
        }
        if (wide)
            qdq_f64(s, bits, lo, hi, (const double *)t->data + at,
                    (double *)y->data + at, part);
        else
            qdq_f32(s, bits, (float)lo, (float)hi, x + at, to + at, part);
    }
    if (k_is_half(t->dtype))
        k_narrow(t->dtype, to, y->data, t->n_elems);
    return 0;
}
