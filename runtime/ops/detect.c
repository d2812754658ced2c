/* SPDX-License-Identifier: Apache-2.0 */
/* NonMaxSuppression V1 to V5, NonMaxSuppressionWithOverlaps, CombinedNonMaxSuppression.
 * Boxes [n, 4] (any two opposite corners), float32 or float16. The greatest score comes
 * first, of equal ones the lower index; a box goes when it overlaps a chosen one by
 * more than the threshold, or (soft, sigma > 0) its score shrinks by exp(-iou^2 / (2
 * sigma)) and it queues again. Arithmetic is float32 in TensorFlow's order, as the
 * choice hangs on comparisons. */
#include "runtime/ops/ops_int.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

struct candidate {
    float score;
    int32_t box, begin; /* begin: first chosen box it was not yet compared with */
};

struct nms {
    const float *boxes; /* [n, step], or NULL */
    int64_t step;
    const float *overlaps; /* [n, n] instead of boxes */
    int64_t n;
    float iou_limit, score_limit, sigma;
    int dtype; /* of the scores: soft ones are rounded to it */
    struct candidate *heap;
    int64_t n_heap;
    int32_t *chosen;
    float *scores; /* of the chosen */
    int64_t n_chosen;
};

static float
iou(const float *a, const float *b)
{
    float ay0 = fminf(a[0], a[2]), ax0 = fminf(a[1], a[3]);
    float ay1 = fmaxf(a[0], a[2]), ax1 = fmaxf(a[1], a[3]);
    float by0 = fminf(b[0], b[2]), bx0 = fminf(b[1], b[3]);
    float by1 = fmaxf(b[0], b[2]), bx1 = fmaxf(b[1], b[3]);
    float area_a = (ay1 - ay0) * (ax1 - ax0), area_b = (by1 - by0) * (bx1 - bx0);
    if (area_a <= 0 || area_b <= 0)
        return 0;
    float h = fmaxf(fminf(ay1, by1) - fmaxf(ay0, by0), 0);
    float w = fmaxf(fminf(ax1, bx1) - fmaxf(ax0, bx0), 0);
    float both = h * w;
    return both / (area_a + area_b - both);
}

static float
overlap(const struct nms *s, int32_t i, int32_t j)
{
    return s->overlaps ? s->overlaps[i * s->n + j]
                       : iou(s->boxes + i * s->step, s->boxes + j * s->step);
}

static float
in_dtype(const struct nms *s, float x)
{
    return s->dtype == SM_HALF ? rt_half_to_f32(rt_f32_to_half(x)) : x;
}

/* a goes before b. */
static bool
before(const struct candidate *a, const struct candidate *b)
{
    return a->score > b->score || (a->score == b->score && a->box < b->box);
}

static void
push(struct nms *s, struct candidate c)
{
    int64_t i = s->n_heap++;
    for (; i > 0 && before(&c, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = c;
}

static struct candidate
pop(struct nms *s)
{
    struct candidate top = s->heap[0], last = s->heap[--s->n_heap];
    int64_t i = 0;
    for (;;) {
        int64_t child = 2 * i + 1;
        if (child >= s->n_heap)
            break;
        if (child + 1 < s->n_heap && before(&s->heap[child + 1], &s->heap[child]))
            child++;
        if (!before(&s->heap[child], &last))
            break;
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = last;
    return top;
}

/* Chooses at most `limit` boxes of scores [n] (`stride` apart). */
static void
suppress(struct nms *s, const float *scores, int64_t stride, int64_t limit)
{
    bool soft = s->sigma > 0;
    float scale = soft ? -0.5f / s->sigma : 0;
    s->n_heap = s->n_chosen = 0;
    for (int64_t i = 0; i < s->n; i++)
        if (scores[i * stride] > s->score_limit)
            push(s, (struct candidate){ scores[i * stride], (int32_t)i, 0 });
    while (s->n_chosen < limit && s->n_heap > 0) {
        struct candidate c = pop(s);
        float score = c.score;
        bool gone = false;
        for (int64_t j = s->n_chosen - 1; j >= c.begin; j--) {
            float both = overlap(s, c.box, s->chosen[j]);
            if (!soft && both > s->iou_limit) {
                gone = true;
                break;
            }
            if (soft)
                c.score = in_dtype(s, c.score * in_dtype(s, expf(scale * both * both)));
            if (c.score <= s->score_limit)
                break;
        }
        c.begin = (int32_t)s->n_chosen;
        if (gone)
            continue;
        if (c.score == score) {
            s->scores[s->n_chosen] = score;
            s->chosen[s->n_chosen++] = c.box;
        } else if (c.score > s->score_limit) {
            push(s, c);
        }
    }
}

static int
nms_memory(struct rt_ctx *ctx, struct nms *s, struct err *err)
{
    size_t n = (size_t)s->n + 1;
    s->heap = rt_scratch(ctx, n * sizeof(*s->heap), err);
    s->chosen = s->heap ? rt_scratch(ctx, n * sizeof(*s->chosen), err) : NULL;
    s->scores = s->chosen ? rt_scratch(ctx, n * sizeof(*s->scores), err) : NULL;
    return s->scores ? 0 : -(int)err->code;
}

/* ---- NonMaxSuppression* ---- */

struct nms_state {
    float iou;
    bool pad, overlaps;
    int version;
};

int
rt_prep_nms(struct rt_prep *p)
{
    struct nms_state *s = rt_prep_alloc(p, sizeof *s);
    const char *tail = p->node->op + strlen("NonMaxSuppression");
    p->node->state = s;
    s->iou = rt_attr_float(p, "iou_threshold", 0.5f);
    s->pad = rt_attr_bool(p, "pad_to_max_output_size", false);
    s->overlaps = tail[0] == 'W';
    s->version = tail[0] == 'V' ? tail[1] - '0' : s->overlaps ? 3 : 1;
    return rt_prep_done(p);
}

/* Scalar input i as a float (float32 or float16). */
static int
float_scalar(struct rt_ctx *ctx, int i, const char *what, float *out, struct err *err)
{
    const struct rt_tensor *t = ctx->in[i];
    char text[RT_SHAPE_TEXT_BYTES];
    if (t->rank != 0)
        return rt_fail(ctx, err, ERR_FAILED, "%s must be 0-D, got shape %s", what,
                       rt_shape_text(t, text));
    if (t->dtype != SM_FLOAT && !k_is_half(t->dtype))
        return rt_fail_dtype(ctx, err, t->dtype);
    const float *v = k_floats(ctx, t, err);
    if (!v)
        return -(int)err->code;
    *out = *v;
    return 0;
}

static int
load_nms(struct rt_ctx *ctx, const struct nms_state *st, struct nms *s, int64_t *limit,
         struct err *err)
{
    const struct rt_tensor *boxes = ctx->in[0], *scores = ctx->in[1];
    char text[RT_SHAPE_TEXT_BYTES];
    if (boxes->rank != 2 || boxes->dims[1] != (st->overlaps ? boxes->dims[0] : 4))
        return rt_fail(ctx, err, ERR_FAILED, "boxes must be 2-D with 4 columns: %s",
                       rt_shape_text(boxes, text));
    s->n = boxes->dims[0];
    if (scores->rank != 1 || scores->n_elems != s->n || s->n >= INT32_MAX)
        return rt_fail(ctx, err, ERR_FAILED, "scores has incompatible shape %s",
                       rt_shape_text(scores, text));
    for (int i = 0; i < 2; i++)
        if (ctx->in[i]->dtype != SM_FLOAT && !k_is_half(ctx->in[i]->dtype))
            return rt_fail_dtype(ctx, err, ctx->in[i]->dtype);
    s->iou_limit = st->iou;
    s->score_limit = -FLT_MAX;
    s->step = 4;
    s->dtype = scores->dtype;
    if (k_scalar(ctx, 2, "max_output_size", limit, err) < 0 ||
        (st->version >= 2 &&
         float_scalar(ctx, 3, "iou_threshold", &s->iou_limit, err) < 0) ||
        (st->version >= 3 &&
         float_scalar(ctx, 4, "score_threshold", &s->score_limit, err) < 0) ||
        (st->version >= 5 &&
         float_scalar(ctx, 5, "soft_nms_sigma", &s->sigma, err) < 0))
        return -(int)err->code;
    if (!st->overlaps && !(s->iou_limit >= 0 && s->iou_limit <= 1))
        return rt_fail(ctx, err, ERR_FAILED, "iou_threshold must be in [0, 1]");
    if (*limit < 0)
        return rt_fail(ctx, err, ERR_FAILED, "max_output_size must be non-negative");
    if (s->sigma < 0)
        return rt_fail(ctx, err, ERR_FAILED, "soft_nms_sigma must be non-negative");
    const float *data = k_floats(ctx, boxes, err);
    if (!data)
        return -(int)err->code;
    *(st->overlaps ? &s->overlaps : &s->boxes) = data;
    return nms_memory(ctx, s, err);
}

int
rt_run_nms(struct rt_ctx *ctx, struct err *err)
{
    const struct nms_state *st = ctx->node->state;
    struct nms s = { 0 };
    int64_t limit = 0;
    struct rt_tensor *y;
    if (load_nms(ctx, st, &s, &limit, err) < 0)
        return -(int)err->code;
    const float *scores = k_floats(ctx, ctx->in[1], err);
    if (!scores)
        return -(int)err->code;
    suppress(&s, scores, 1, limit);
    int64_t n = st->pad ? limit : s.n_chosen;
    if (rt_out(ctx, 0, SM_INT32, 1, &n, &y, err) < 0)
        return -(int)err->code;
    memset(y->data, 0, rt_size(y));
    memcpy(y->data, s.chosen, (size_t)s.n_chosen * sizeof(*s.chosen));
    if (st->version >= 5) {
        int dtype = ctx->in[1]->dtype;
        if (rt_out(ctx, 1, dtype, 1, &n, &y, err) < 0)
            return -(int)err->code;
        memset(y->data, 0, rt_size(y));
        if (dtype == SM_FLOAT)
            memcpy(y->data, s.scores, (size_t)s.n_chosen * sizeof(*s.scores));
        else
            k_narrow(dtype, s.scores, y->data, s.n_chosen);
    }
    if (st->version < 4)
        return 0;
    if (rt_out(ctx, st->version >= 5 ? 2 : 1, SM_INT32, 0, NULL, &y, err) < 0)
        return -(int)err->code;
    *(int32_t *)y->data = (int32_t)s.n_chosen;
    return 0;
}

/* ---- CombinedNonMaxSuppression: boxes [batch, n, 1 or classes, 4], scores [batch, n,
 * classes]; each class by itself, then the best of all ---- */

struct combined_state {
    bool pad_per_class, clip;
};

int
rt_prep_combined_nms(struct rt_prep *p)
{
    struct combined_state *s = rt_prep_alloc(p, sizeof *s);
    p->node->state = s;
    s->pad_per_class = rt_attr_bool(p, "pad_per_class", false);
    s->clip = rt_attr_bool(p, "clip_boxes", true);
    return rt_prep_done(p);
}

struct found {
    float score;
    int32_t class, box;
    int64_t order;
};

static int
by_score(const void *a_, const void *b_)
{
    const struct found *a = a_, *b = b_;
    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    return a->order < b->order ? -1 : a->order > b->order;
}

struct combined {
    struct nms s;
    int64_t q, classes, per_class, total;
    struct found *found;
    float *boxes, *scores, *class_of;
    int32_t *valid;
    bool clip;
};

/* Results of one image, all outputs zero before. */
static void
combined_image(struct combined *c, const float *boxes, const float *scores)
{
    int64_t n = 0;
    for (int64_t k = 0; k < c->classes; k++) {
        c->s.boxes = boxes + (c->q > 1 ? 4 * k : 0);
        suppress(&c->s, scores + k, c->classes, c->per_class);
        for (int64_t i = 0; i < c->s.n_chosen; i++, n++)
            c->found[n] =
                (struct found){ c->s.scores[i], (int32_t)k, c->s.chosen[i], n };
    }
    qsort(c->found, (size_t)n, sizeof(*c->found), by_score);
    n = K_MIN(n, c->total);
    *c->valid = (int32_t)n;
    for (int64_t i = 0; i < n; i++) {
        const struct found *f = &c->found[i];
        const float *box = boxes + f->box * c->s.step + (c->q > 1 ? 4 * f->class : 0);
        for (int d = 0; d < 4; d++)
            c->boxes[4 * i + d] = c->clip ? fmaxf(fminf(box[d], 1), 0) : box[d];
        c->scores[i] = f->score;
        c->class_of[i] = (float)f->class;
    }
}

static int
combined_check(struct rt_ctx *ctx, struct combined *c, struct err *err)
{
    const struct rt_tensor *b = ctx->in[0], *s = ctx->in[1];
    char tb[RT_SHAPE_TEXT_BYTES], ts[RT_SHAPE_TEXT_BYTES];
    if (b->rank != 4 || s->rank != 3 || b->dims[3] != 4 || s->dims[0] != b->dims[0] ||
        s->dims[1] != b->dims[1] || (b->dims[2] != 1 && b->dims[2] != s->dims[2]) ||
        b->dims[1] >= INT32_MAX)
        return rt_fail(
            ctx, err, ERR_FAILED,
            "boxes %s must be [batch, n, 1 or classes, 4] and scores %s [batch, "
            "n, classes]",
            rt_shape_text(b, tb), rt_shape_text(s, ts));
    c->s.n = b->dims[1];
    c->q = b->dims[2];
    c->s.step = 4 * c->q;
    c->classes = s->dims[2];
    if (k_scalar(ctx, 2, "max_size_per_class", &c->per_class, err) < 0 ||
        k_scalar(ctx, 3, "max_total_size", &c->total, err) < 0 ||
        float_scalar(ctx, 4, "iou_threshold", &c->s.iou_limit, err) < 0 ||
        float_scalar(ctx, 5, "score_threshold", &c->s.score_limit, err) < 0)
        return -(int)err->code;
    if (c->per_class <= 0)
        return rt_fail(ctx, err, ERR_FAILED, "max_size_per_class must be positive");
    if (c->total <= 0)
        return rt_fail(ctx, err, ERR_FAILED, "max_total_size must be > 0");
    if (!(c->s.iou_limit >= 0 && c->s.iou_limit <= 1))
        return rt_fail(ctx, err, ERR_FAILED, "iou_threshold must be in [0, 1]");
    return 0;
}

int
rt_run_combined_nms(struct rt_ctx *ctx, struct err *err)
{
    const struct combined_state *st = ctx->node->state;
    struct combined c = { .clip = st->clip };
    struct rt_tensor *out[4];
    if (combined_check(ctx, &c, err) < 0)
        return -(int)err->code;
    int64_t batch = ctx->in[0]->dims[0], wide = K_MIN(c.per_class, c.s.n) * c.classes;
    if (st->pad_per_class)
        c.total = K_MIN(c.total, c.per_class * c.classes);
    int64_t dims[3] = { batch, c.total, 4 };
    for (int i = 0; i < 4; i++) {
        if (rt_out(ctx, i, i == 3 ? SM_INT32 : SM_FLOAT,
                   i == 0   ? 3
                   : i == 3 ? 1
                            : 2,
                   dims, &out[i], err) < 0)
            return -(int)err->code;
        memset(out[i]->data, 0, rt_size(out[i]));
    }
    c.found = rt_scratch(ctx, ((size_t)wide + 1) * sizeof(*c.found), err);
    if (!c.found || nms_memory(ctx, &c.s, err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < batch; i++) {
        c.boxes = (float *)out[0]->data + i * c.total * 4;
        c.scores = (float *)out[1]->data + i * c.total;
        c.class_of = (float *)out[2]->data + i * c.total;
        c.valid = (int32_t *)out[3]->data + i;
        combined_image(&c, (const float *)ctx->in[0]->data + i * c.s.n * c.s.step,
                       (const float *)ctx->in[1]->data + i * c.s.n * c.classes);
        if (rt_poll(ctx, err) < 0)
            return -(int)err->code;
    }
    return 0;
}
