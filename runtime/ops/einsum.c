/* SPDX-License-Identifier: Apache-2.0 */
/* Einsum of one or two operands: "abc,cde->abde", "...ij,jk->...ik", "ii->i", "i->ii".
 * Each operand becomes a set of labels with an extent and a step in memory (a repeated
 * label adds its steps: the diagonal; a broadcast dimension of 1 is no label at all).
 * Labels that only one operand has and the output lacks are summed first; then a
 * product over [batch labels, free labels, contracted labels]; then the result is laid
 * out in the output's order. Operands are copied only where their labels do not fold
 * into a matrix. TensorFlow wants named labels to agree exactly; only "..." broadcasts.
 */
#include "runtime/ops/nn_int.h"

#define N_LETTERS 52
#define N_LABELS (N_LETTERS + SM_MAX_RANK) /* "..." of rank r: the last r labels */
#define ELLIPSIS (-1)
#define MAX_TERM 32

struct term {
    int n;
    int label[MAX_TERM]; /* ELLIPSIS at most once */
};
struct einsum_state {
    struct nn_fused fused; /* first: see nn_int.h */
    int n_in;
    struct term in[2], out;
};

/* An operand: which labels it has and how far apart their elements are. */
struct view {
    const void *data;
    struct rt_buf *buf; /* when data is an input as it came */
    bool has[N_LABELS];
    int64_t step[N_LABELS];
};
/* One run. */
struct einsum {
    struct rt_ctx *ctx;
    int dtype;
    size_t bytes;
    int64_t extent[N_LABELS];
    struct view in[2];
    int n_out;
    int out[SM_MAX_RANK]; /* labels of the output */
    bool in_out[N_LABELS];
};
struct labels {
    int n;
    int v[N_LABELS];
};

/* ---- the equation ---- */

static int
letter(char c)
{
    if (c >= 'a' && c <= 'z')
        return c - 'a';
    return c >= 'A' && c <= 'Z' ? 26 + c - 'A' : -2;
}

static bool
term_has(const struct term *t, int label)
{
    for (int i = 0; i < t->n; i++)
        if (t->label[i] == label)
            return true;
    return false;
}

static int
parse_term(struct rt_prep *p, const char *s, size_t n, struct term *t)
{
    bool dots = false;
    for (size_t i = 0; i < n; i++) {
        if (s[i] == ' ')
            continue;
        if (t->n == MAX_TERM)
            return rt_prep_fail(p, ERR_UNSUPPORTED, "more than %d labels", MAX_TERM);
        if (s[i] == '.') {
            if (dots || n - i < 3 || s[i + 1] != '.' || s[i + 2] != '.')
                return rt_prep_fail(p, ERR_FAILED, "Invalid ellipsis in the equation");
            dots = true;
            i += 2;
            t->label[t->n++] = ELLIPSIS;
        } else if (letter(s[i]) >= 0) {
            t->label[t->n++] = letter(s[i]);
        } else {
            return rt_prep_fail(p, ERR_FAILED, "invalid label in the equation");
        }
    }
    return 0;
}

/* "abc,cde->abde": the second operand as weights [summed..., channels...], the channels
 * last in the output. Returns how many dimensions of channels, 0: another form. */
static int
weights_form(const struct einsum_state *s)
{
    const struct term *a = &s->in[0], *w = &s->in[1], *y = &s->out;
    int n_sum = 0, n_free = 0;
    while (n_sum < w->n && w->label[n_sum] != ELLIPSIS &&
           term_has(a, w->label[n_sum]) && !term_has(y, w->label[n_sum]))
        n_sum++;
    n_free = w->n - n_sum;
    for (int i = 0; i < a->n + w->n; i++) { /* no diagonals */
        const struct term *t = i < a->n ? a : w;
        for (int at = i < a->n ? i : i - a->n, j = at + 1; j < t->n; j++)
            if (t->label[j] == t->label[at])
                return 0;
    }
    if (n_sum == 0 || n_free <= 0 || n_free >= y->n || a->n - n_sum != y->n - n_free)
        return 0;
    for (int i = 0; i < n_free; i++) {
        int l = w->label[n_sum + i];
        if (l == ELLIPSIS || term_has(a, l) || y->label[y->n - n_free + i] != l)
            return 0;
    }
    for (int i = 0; i < a->n; i++) { /* a is [kept..., summed...], in the same order */
        int want = i < y->n - n_free ? y->label[i] : w->label[i - (y->n - n_free)];
        if (a->label[i] != want)
            return 0;
    }
    return n_free;
}

int
rt_prep_einsum(struct rt_prep *p)
{
    struct einsum_state *s = rt_prep_alloc(p, sizeof *s);
    const char *eq = rt_attr_str(p, "equation", NULL), *arrow = strstr(eq, "->");
    p->node->state = s;
    if (rt_prep_done(p) < 0)
        return rt_prep_done(p);
    if (!arrow)
        return rt_prep_fail(p, ERR_FAILED,
                            "Expecting exactly one '->' in einsum equation: %s", eq);
    const char *comma = memchr(eq, ',', (size_t)(arrow - eq));
    const char *end = comma ? comma : arrow;
    s->n_in = comma ? 2 : 1;
    if (s->n_in != p->node->n_in)
        return rt_prep_fail(p, ERR_FAILED, "equation %s does not fit %d inputs", eq,
                            p->node->n_in);
    parse_term(p, eq, (size_t)(end - eq), &s->in[0]);
    if (comma)
        parse_term(p, comma + 1, (size_t)(arrow - comma - 1), &s->in[1]);
    parse_term(p, arrow + 2, strlen(arrow + 2), &s->out);
    s->fused.w_free = comma ? weights_form(s) : 0;
    s->fused.kind = s->fused.w_free ? NN_EINSUM : NN_NONE;
    return rt_prep_done(p);
}

/* ---- operands ---- */

static int
dots_rank(const struct term *t, int rank)
{
    for (int i = 0; i < t->n; i++)
        if (t->label[i] == ELLIPSIS)
            return rank - (t->n - 1);
    return 0;
}

static int
read_operand(struct einsum *e, const struct term *t, const struct rt_tensor *x,
             struct view *v, struct err *err)
{
    int dots = dots_rank(t, x->rank), axis = 0;
    int64_t step[SM_MAX_RANK];
    char text[RT_SHAPE_TEXT_BYTES];
    bool ellipsis = false;
    for (int i = 0; i < t->n; i++)
        ellipsis |= t->label[i] == ELLIPSIS;
    if (dots < 0 || (!ellipsis && t->n != x->rank))
        return rt_fail(
            e->ctx, err, ERR_FAILED,
            "Input with shape %s does not have the %d labels of its subscript",
            rt_shape_text(x, text), t->n - ellipsis);
    v->data = x->data;
    v->buf = x->buf;
    k_steps(x->rank, x->dims, step);
    for (int i = 0; i < t->n; i++) {
        int count = t->label[i] == ELLIPSIS ? dots : 1;
        for (int k = 0; k < count; k++, axis++) {
            int label = t->label[i] == ELLIPSIS ? N_LABELS - dots + k : t->label[i];
            int64_t dim = x->dims[axis], known = e->extent[label];
            bool broadcasts = label >= N_LETTERS && (dim == 1 || known == 1);
            if (known >= 0 && known != dim && !broadcasts)
                return rt_fail(
                    e->ctx, err, ERR_FAILED,
                    "Expected dimension %jd at axis %d of the input shaped %s but "
                    "got dimension %jd",
                    (intmax_t)known, axis, rt_shape_text(x, text), (intmax_t)dim);
            if (known < 0 || known == 1)
                e->extent[label] = dim;
            v->has[label] = true;
            v->step[label] += step[axis];
            if (label >= N_LETTERS && dim == 1) /* no label: repeated where wanted */
                v->has[label] = false;
        }
    }
    return 0;
}

static int
read_output(struct einsum *e, const struct einsum_state *s, struct err *err)
{
    int dots = 0;
    for (int i = 0; i < s->n_in; i++)
        dots = K_MAX(dots, dots_rank(&s->in[i], e->ctx->in[i]->rank));
    for (int i = 0; i < s->out.n; i++) {
        bool el = s->out.label[i] == ELLIPSIS;
        for (int k = 0; k < (el ? dots : 1); k++) {
            int label = el ? N_LABELS - dots + k : s->out.label[i];
            if (e->n_out == SM_MAX_RANK)
                return rt_fail(e->ctx, err, ERR_UNSUPPORTED, "output of rank above %d",
                               SM_MAX_RANK);
            if (e->extent[label] < 0)
                return rt_fail(e->ctx, err, ERR_FAILED,
                               "a label of the output is in no input");
            e->out[e->n_out++] = label;
            e->in_out[label] = true;
        }
    }
    return 0;
}

/* ---- laying out ---- */

static void
add_label(struct labels *l, int label)
{
    for (int i = 0; i < l->n; i++)
        if (l->v[i] == label)
            return;
    l->v[l->n++] = label;
}

static int64_t
extent_of(const struct einsum *e, const struct labels *l)
{
    int64_t n = 1;
    for (int i = 0; i < l->n; i++)
        n *= e->extent[l->v[i]];
    return n;
}

/* One step for all labels together, when they lie like one dimension. */
static bool
folds(const struct einsum *e, const struct view *v, const struct labels *l,
      int64_t *step)
{
    int64_t next = -1;
    *step = 0;
    for (int i = l->n - 1; i >= 0; i--) {
        int label = l->v[i];
        if (e->extent[label] == 1)
            continue;
        if (next >= 0 && v->step[label] != next)
            return false;
        if (next < 0)
            *step = v->step[label];
        next = v->step[label] * e->extent[label];
    }
    return true;
}

static void
box_labels(const struct einsum *e, struct k_box *box, const struct view *v,
           const struct labels *l, int64_t *dense)
{
    for (int i = l->n - 1; i >= 0; i--) {
        k_box_add(box, e->extent[l->v[i]], v->step[l->v[i]], *dense);
        *dense *= e->extent[l->v[i]];
    }
}

/* The labels of groups 0, 1, 2 one after the other, dense, in scratch; v follows. */
static int
densify(struct einsum *e, struct view *v, const struct labels *const group[3],
        struct err *err)
{
    struct k_box box = { .rank = 0 }, order = { .rank = 0 };
    int64_t dense = 1;
    for (int g = 2; g >= 0; g--)
        box_labels(e, &box, v, group[g], &dense);
    for (int i = box.rank - 1; i >= 0; i--)
        k_box_add(&order, box.dims[i], box.src[i], box.dst[i]);
    void *y = rt_scratch(e->ctx, (size_t)dense * e->bytes, err);
    if (!y)
        return -(int)err->code;
    if (dense > 0)
        k_copy(&order, y, v->data, e->bytes);
    v->data = y;
    v->buf = NULL;
    for (int g = 2, at = 0; g >= 0; g--)
        for (int i = group[g]->n - 1; i >= 0; i--, at++)
            v->step[group[g]->v[i]] = box.dst[at];
    return 0;
}

/* 1, n times, of the dtype. */
static void *
ones(struct einsum *e, int64_t n, struct err *err)
{
    union {
        float f;
        double d;
        uint64_t u;
        uint16_t h;
        float complex c;
        double complex z;
    } one = { .u = 1 };
    void *y = rt_scratch(e->ctx, (size_t)n * e->bytes, err);
    if (e->dtype == SM_FLOAT)
        one.f = 1;
    else if (e->dtype == SM_DOUBLE)
        one.d = 1;
    else if (e->dtype == SM_COMPLEX64)
        one.c = 1;
    else if (e->dtype == SM_COMPLEX128)
        one.z = 1;
    else if (k_is_half(e->dtype))
        one.h = e->dtype == SM_HALF ? 0x3c00 : 0x3f80;
    if (y)
        k_fill(y, &one, n, e->bytes);
    return y;
}

/* Sums the labels that only this operand has and the output lacks. */
static int
reduce_own(struct einsum *e, struct view *v, const struct view *other, struct err *err)
{
    struct labels keep = { 0 }, gone = { 0 }, none = { 0 };
    for (int l = 0; l < N_LABELS; l++)
        if (v->has[l] && !e->in_out[l] && !(other && other->has[l]))
            add_label(&gone, l);
        else if (v->has[l])
            add_label(&keep, l);
    if (!gone.n)
        return 0;
    if (densify(e, v, (const struct labels *const[]){ &keep, &gone, &none }, err) < 0)
        return -(int)err->code;
    struct nn_gemm g = { .dtype = e->dtype, .batch = 1, .n = 1, .a = v->data };
    g.m = extent_of(e, &keep);
    g.k = extent_of(e, &gone);
    g.a_stride[1] = g.k;
    g.a_stride[2] = g.b_stride[1] = g.b_stride[2] = 1;
    g.b = ones(e, g.k, err);
    void *y = g.b ? rt_scratch(e->ctx, (size_t)g.m * e->bytes, err) : NULL;
    if (!y)
        return -(int)err->code;
    g.c = y;
    if (nn_gemm(e->ctx, &g, err) < 0)
        return -(int)err->code;
    v->data = y;
    for (int i = 0; i < gone.n; i++)
        v->has[gone.v[i]] = false;
    int64_t step = 1;
    for (int i = keep.n - 1; i >= 0; i--) {
        v->step[keep.v[i]] = step;
        step *= e->extent[keep.v[i]];
    }
    return 0;
}

/* Writes v's elements to the output: labels missing in v repeat, a label that the
 * output has twice fills a diagonal. */
static int
write_output(struct einsum *e, const struct view *v, struct rt_tensor *y)
{
    int64_t step[SM_MAX_RANK], total[N_LABELS] = { 0 }, n = 1;
    struct k_box box = { .rank = 0 };
    struct labels l = { 0 };
    k_steps(y->rank, y->dims, step);
    for (int i = 0; i < e->n_out; i++) {
        total[e->out[i]] += step[i];
        add_label(&l, e->out[i]);
    }
    for (int i = 0; i < l.n; i++) {
        k_box_add(&box, e->extent[l.v[i]], v->has[l.v[i]] ? v->step[l.v[i]] : 0,
                  total[l.v[i]]);
        n *= e->extent[l.v[i]];
    }
    if (l.n < e->n_out)
        memset(y->data, 0, rt_size(y));
    if (n > 0)
        k_copy(&box, y->data, v->data, e->bytes);
    return 0;
}

/* ---- two operands ---- */

/* Steps of one operand as a matrix [batch, free, contracted]. */
static int
as_matrix(struct einsum *e, struct view *v, const struct labels *batch,
          const struct labels *free, const struct labels *sum, int64_t step[3],
          struct err *err)
{
    const struct labels *const group[3] = { batch, free, sum };
    for (int pass = 0;; pass++) {
        bool ok = true;
        for (int g = 0; g < 3; g++)
            ok &= folds(e, v, group[g], &step[g]);
        int64_t rows = extent_of(e, free), cols = extent_of(e, sum);
        if (ok && (rows <= 1 || cols <= 1 || step[1] == 1 || step[2] == 1)) {
            if (cols <= 1)
                step[2] = 1; /* any: oneDNN wants a plain one */
            if (rows <= 1)
                step[1] = cols;
            return 0;
        }
        if (pass)
            BUG("einsum: a dense operand does not fold");
        if (densify(e, v, group, err) < 0)
            return -(int)err->code;
    }
}

static int
product(struct einsum *e, struct rt_tensor *y, struct err *err)
{
    struct view *a = &e->in[0], *b = &e->in[1], result = { 0 };
    struct labels batch = { 0 }, fa = { 0 }, fb = { 0 }, sum = { 0 };
    for (int i = 0; i < e->n_out; i++) {
        int l = e->out[i];
        if (a->has[l] && !b->has[l])
            break;
        if (b->has[l] && !a->has[l]) { /* the output begins with b's: swap the roles */
            a = &e->in[1];
            b = &e->in[0];
            break;
        }
    }
    for (int i = 0; i < e->n_out; i++) {
        int l = e->out[i];
        if (a->has[l] || b->has[l])
            add_label(a->has[l] && b->has[l] ? &batch : a->has[l] ? &fa : &fb, l);
    }
    for (int l = 0; l < N_LABELS; l++)
        if (a->has[l] && b->has[l] && !e->in_out[l])
            add_label(&sum, l);
    struct nn_gemm g = { .dtype = e->dtype, .batch = extent_of(e, &batch) };
    g.m = extent_of(e, &fa);
    g.n = extent_of(e, &fb);
    g.k = extent_of(e, &sum);
    int64_t sb[3];
    if (as_matrix(e, a, &batch, &fa, &sum, g.a_stride, err) < 0 ||
        as_matrix(e, b, &batch, &fb, &sum, sb, err) < 0)
        return -(int)err->code;
    g.b_stride[0] = sb[0];
    g.b_stride[1] = sb[2];
    g.b_stride[2] = sb[1];
    if (g.n <= 1)
        g.b_stride[2] = 1;
    g.a = a->data;
    g.b = b->data;
    g.b_buf = b->buf;
    /* The product's own order of labels. */
    const struct labels *const parts[3] = { &fb, &fa, &batch };
    int64_t step = 1;
    struct labels order = { 0 };
    for (int part = 2; part >= 0; part--)
        for (int i = 0; i < parts[part]->n; i++)
            add_label(&order, parts[part]->v[i]);
    for (int i = order.n - 1; i >= 0; i--) {
        result.has[order.v[i]] = true;
        result.step[order.v[i]] = step;
        step *= e->extent[order.v[i]];
    }
    bool same = order.n == e->n_out;
    for (int i = 0; i < order.n && same; i++)
        same = order.v[i] == e->out[i];
    g.c = same ? y->data : rt_scratch(e->ctx, (size_t)step * e->bytes, err);
    if (!g.c)
        return -(int)err->code;
    const struct einsum_state *s = e->ctx->node->state;
    if (nn_gemm_fused(e->ctx, &s->fused, &g, err) < 0 || nn_gemm(e->ctx, &g, err) < 0)
        return -(int)err->code;
    result.data = g.c;
    return same ? 0 : write_output(e, &result, y);
}

int
rt_run_einsum(struct rt_ctx *ctx, struct err *err)
{
    const struct einsum_state *s = ctx->node->state;
    struct einsum e = { .ctx = ctx, .dtype = ctx->in[0]->dtype };
    int64_t dims[SM_MAX_RANK];
    struct rt_tensor *y;
    e.bytes = rt_dtype_size(e.dtype);
    if (!nn_gemm_has(e.dtype))
        return rt_fail_dtype(ctx, err, e.dtype);
    for (int i = 0; i < N_LABELS; i++)
        e.extent[i] = -1;
    for (int i = 0; i < s->n_in; i++)
        if (read_operand(&e, &s->in[i], ctx->in[i], &e.in[i], err) < 0)
            return -(int)err->code;
    if (read_output(&e, s, err) < 0)
        return -(int)err->code;
    for (int i = 0; i < e.n_out; i++)
        dims[i] = e.extent[e.out[i]];
    if (rt_out(ctx, 0, e.dtype, e.n_out, dims, &y, err) < 0)
        return -(int)err->code;
    if (!y->n_elems)
        return 0;
    for (int i = 0; i < s->n_in; i++)
        if (reduce_own(&e, &e.in[i], s->n_in == 2 ? &e.in[!i] : NULL, err) < 0)
            return -(int)err->code;
    return s->n_in == 1 ? write_output(&e, &e.in[0], y) : product(&e, y, err);
}
