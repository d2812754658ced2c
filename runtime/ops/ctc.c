/* SPDX-License-Identifier: Apache-2.0 */
/* CTCGreedyDecoder, CTCBeamSearchDecoder (logits [time, batch, classes], lengths
 * [batch] → sparse label sequences and their log probabilities) and EditDistance
 * between sparse sequences. float32 and double logits. */
#include "runtime/ops/ops_int.h"

#include <math.h>
#include <stdlib.h>

struct ctc {
    bool merge;
    int blank, width, n_paths;
};

int
rt_prep_ctc(struct rt_prep *p)
{
    struct ctc *s = p->node->state = rt_prep_alloc(p, sizeof(*s));
    bool beam = strcmp(p->node->op, "CTCBeamSearchDecoder") == 0;
    s->merge = rt_attr_bool(p, "merge_repeated", beam);
    s->blank = (int)rt_attr_int(p, "blank_index", -1);
    s->width = beam ? (int)rt_attr_int(p, "beam_width", RT_REQUIRED) : 1;
    s->n_paths = beam ? (int)rt_attr_int(p, "top_paths", RT_REQUIRED) : 1;
    if (rt_prep_done(p) == 0 && (s->width < 1 || s->n_paths < 1))
        return rt_prep_fail(p, ERR_FAILED, "beam_width and top_paths must be >= 1");
    return rt_prep_done(p);
}

/* Label sequences, one a batch entry and path. */
struct paths {
    int64_t *labels;
    int64_t n, cap;
    int64_t *ends; /* per batch entry: where its labels end */
};

static void
push(struct paths *p, int64_t label)
{
    if (p->n == p->cap) {
        p->cap = p->cap ? 2 * p->cap : 64;
        p->labels = xreallocarray(p->labels, (size_t)p->cap, sizeof(p->labels[0]));
    }
    p->labels[p->n++] = label;
}

static void
paths_free(struct paths *p, int n)
{
    for (int i = 0; p && i < n; i++) {
        free(p[i].labels);
        free(p[i].ends);
    }
    free(p);
}

/* Outputs i, i + step, i + 2 step: indices, values and shape. */
static int
put_sparse(struct rt_ctx *ctx, int i, int step, const struct paths *p, int64_t batch,
           struct err *err)
{
    struct rt_tensor *at, *values, *shape;
    if (rt_out(ctx, i, SM_INT64, 2, (const int64_t[]){ p->n, 2 }, &at, err) < 0 ||
        rt_out(ctx, i + step, SM_INT64, 1, &p->n, &values, err) < 0 ||
        rt_out(ctx, i + 2 * step, SM_INT64, 1, (const int64_t[]){ 2 }, &shape, err) < 0)
        return -(int)err->code;
    int64_t *to = at->data, k = 0, longest = 0;
    for (int64_t b = 0; b < batch; b++)
        for (int64_t from = k; k < p->ends[b]; k++) {
            *to++ = b;
            *to++ = k - from;
            longest = K_MAX(longest, k - from + 1);
            ((int64_t *)values->data)[k] = p->labels[k];
        }
    ((int64_t *)shape->data)[0] = batch;
    ((int64_t *)shape->data)[1] = longest;
    return 0;
}

/* ---- one path -------------------------------------------------------------------- */

static double
greedy(const struct ctc *s, const double *row, int64_t n_steps, int64_t step,
       int64_t n_classes, struct paths *out)
{
    double sum = 0;
    int64_t before = -1, blank = s->blank < 0 ? n_classes + s->blank : s->blank;
    for (int64_t t = 0; t < n_steps; t++, row += step) {
        int64_t best = 0;
        for (int64_t c = 1; c < n_classes; c++)
            if (row[c] > row[best])
                best = c;
        sum -= row[best];
        if (best != blank && !(s->merge && best == before))
            push(out, best);
        before = best;
    }
    return sum;
}

/* ---- a beam of prefixes ---------------------------------------------------------- */

struct prob {
    float total, blank, label; /* logarithms */
};
struct prefix {
    int parent, label;  /* the root: -1, -1 */
    int child, sibling; /* -1: none */
    struct prob was, is;
};
struct beam {
    struct prefix *v;
    int n, cap;
    int *leaf, n_leaves, width; /* greatest first */
};
static const struct prob nothing = { -INFINITY, -INFINITY, -INFINITY };

static float
log_add(float a, float b)
{
    float hi = a > b ? a : b, lo = a > b ? b : a;
    return lo == -INFINITY ? hi : hi + log1pf(expf(lo - hi));
}

static void
push_leaf(struct beam *m, int at)
{
    int i = m->n_leaves < m->width ? m->n_leaves++ : m->width - 1;
    for (; i > 0 && m->v[m->leaf[i - 1]].is.total < m->v[at].is.total; i--)
        m->leaf[i] = m->leaf[i - 1];
    m->leaf[i] = at;
}

static bool
would_enter(const struct beam *m, float total)
{
    return total > -INFINITY &&
           (m->n_leaves < m->width || total > m->v[m->leaf[m->n_leaves - 1]].is.total);
}

static int
child_of(const struct beam *m, int parent, int label)
{
    int at = m->v[parent].child;
    while (at >= 0 && m->v[at].label != label)
        at = m->v[at].sibling;
    return at;
}

static int
add_prefix(struct beam *m, int parent, int label)
{
    if (m->n == m->cap) {
        m->cap = m->cap ? 2 * m->cap : 256;
        m->v = xreallocarray(m->v, (size_t)m->cap, sizeof(m->v[0]));
    }
    m->v[m->n] = (struct prefix){ parent, label, -1, -1, nothing, nothing };
    if (parent >= 0) {
        m->v[m->n].sibling = m->v[parent].child;
        m->v[parent].child = m->n;
    }
    return m->n++;
}

/* The prefixes that were leaves, one step on: the same label again, or a blank. */
static void
stay(struct beam *m, const int *leaf, int n, const float *log_p, int64_t blank)
{
    for (int i = 0; i < n; i++)
        m->v[leaf[i]].was = m->v[leaf[i]].is;
    m->n_leaves = 0;
    for (int i = 0; i < n; i++) {
        struct prefix *b = &m->v[leaf[i]];
        const struct prefix *parent = b->parent < 0 ? NULL : &m->v[b->parent];
        if (parent && parent->is.total != -INFINITY)
            b->is.label =
                log_add(b->is.label, b->label == parent->label ? parent->was.blank
                                                               : parent->was.total);
        if (parent)
            b->is.label += log_p[b->label];
        b->is.blank = b->was.total + log_p[blank];
        b->is.total = log_add(b->is.blank, b->is.label);
        push_leaf(m, leaf[i]);
    }
}

static void
grow(struct beam *m, const int *leaf, int n, const float *log_p, int64_t n_labels)
{
    for (int i = 0; i < n; i++) {
        if (!would_enter(m, m->v[leaf[i]].was.total))
            continue;
        for (int label = 0; label < n_labels; label++) {
            const struct prefix *b = &m->v[leaf[i]];
            int at = child_of(m, leaf[i], label);
            if (at >= 0 && m->v[at].is.total != -INFINITY)
                continue;
            float p = log_p[label] + (label == b->label ? b->was.blank : b->was.total);
            if (!would_enter(m, p))
                continue;
            if (at < 0)
                at = add_prefix(m, leaf[i], label);
            m->v[at].is = (struct prob){ p, -INFINITY, p };
            if (m->n_leaves == m->width)
                m->v[m->leaf[m->width - 1]].is = nothing;
            push_leaf(m, at);
        }
    }
}

/* False: there are fewer prefixes than paths. */
static bool
search(const struct ctc *s, struct beam *m, const double *row, int64_t n_steps,
       int64_t step, int64_t n_classes, float *log_p, int *leaf)
{
    m->n = m->n_leaves = 0;
    int root = add_prefix(m, -1, -1);
    m->v[root].is = (struct prob){ 0, 0, -INFINITY };
    push_leaf(m, root);
    for (int64_t t = 0; t < n_steps; t++, row += step) {
        float max = -INFINITY, sum = 0;
        for (int64_t c = 0; c < n_classes; c++)
            max = fmaxf(max, (float)row[c]);
        for (int64_t c = 0; c < n_classes; c++)
            sum += expf((float)row[c] - max);
        for (int64_t c = 0; c < n_classes; c++)
            log_p[c] = (float)row[c] - (max + logf(sum));
        int n = m->n_leaves;
        memcpy(leaf, m->leaf, sizeof(*leaf) * (size_t)n);
        stay(m, leaf, n, log_p, n_classes - 1);
        grow(m, leaf, n, log_p, n_classes - 1);
    }
    return m->n_leaves >= s->n_paths;
}

/* Labels of a prefix, from its first on. */
static void
push_labels(const struct ctc *s, const struct beam *m, int at, struct paths *out)
{
    int64_t from = out->n;
    for (int before = -1; m->v[at].parent >= 0; at = m->v[at].parent) {
        if (!s->merge || m->v[at].label != before)
            push(out, m->v[at].label);
        before = m->v[at].label;
    }
    for (int64_t i = from, k = out->n - 1; i < k; i++, k--) {
        int64_t was = out->labels[i];
        out->labels[i] = out->labels[k];
        out->labels[k] = was;
    }
}

/* ---- both ------------------------------------------------------------------------ */

static int
decode_all(struct rt_ctx *ctx, const double *x, const int64_t dims[3],
           struct paths *paths, struct rt_tensor *log_p, struct err *err)
{
    const struct ctc *s = ctx->node->state;
    bool beams = ctx->node->n_out > 4 || ctx->node->op[3] == 'B';
    int64_t step = dims[1] * dims[2];
    struct beam m = { .width = s->width };
    float *row = rt_scratch(ctx, (size_t)(dims[2] + 1) * sizeof(*row), err);
    int *leaf = rt_scratch(ctx, 2 * (size_t)s->width * sizeof(*leaf), err);
    if (!row || !leaf)
        return -(int)err->code;
    m.leaf = leaf + s->width;
    int rc = 0;
    for (int64_t b = 0; b < dims[1] && rc == 0; b++) {
        int64_t n = ((const int32_t *)ctx->in[1]->data)[b];
        const double *from = x + b * dims[2];
        double sum = beams ? 0 : greedy(s, from, n, step, dims[2], paths);
        if (beams && !search(s, &m, from, n, step, dims[2], row, leaf))
            rc = rt_fail(ctx, err, ERR_FAILED,
                         "Requested more paths than there are in the beam: %d",
                         s->n_paths);
        for (int k = 0; rc == 0 && k < s->n_paths; k++) {
            if (beams) {
                push_labels(s, &m, m.leaf[k], &paths[k]);
                sum = (double)m.v[m.leaf[k]].is.total;
            }
            paths[k].ends[b] = paths[k].n;
            if (log_p->dtype == SM_FLOAT)
                ((float *)log_p->data)[b * s->n_paths + k] = (float)sum;
            else
                ((double *)log_p->data)[b * s->n_paths + k] = sum;
        }
        rc = rc < 0 ? rc : rt_poll(ctx, err);
    }
    free(m.v);
    return rc;
}

int
rt_run_ctc(struct rt_ctx *ctx, struct err *err)
{
    const struct ctc *s = ctx->node->state;
    const struct rt_tensor *x = ctx->in[0], *len = ctx->in[1];
    struct rt_tensor *log_p;
    if (x->rank != 3)
        return rt_fail(ctx, err, ERR_FAILED, "inputs is not a 3-Tensor");
    if (x->dtype != SM_FLOAT && x->dtype != SM_DOUBLE)
        return rt_fail_dtype(ctx, err, x->dtype);
    if (len->rank != 1 || len->n_elems != x->dims[1])
        return rt_fail(ctx, err, ERR_FAILED,
                       "len(sequence_length) != batch_size.  len(sequence_length):  "
                       "%lld batch_size: %lld",
                       (long long)len->n_elems, (long long)x->dims[1]);
    for (int64_t b = 0; b < len->n_elems; b++)
        if (rt_int_at(len, b) < 0 || rt_int_at(len, b) > x->dims[0])
            return rt_fail(ctx, err, ERR_FAILED, "sequence_length(%lld) <= %lld",
                           (long long)b, (long long)x->dims[0]);
    if (x->dims[2] < 1 || x->dims[2] > INT32_MAX || x->dims[0] < 1)
        return rt_fail(ctx, err, ERR_FAILED, "max_time or num_classes is 0");
    double *v = rt_scratch(ctx, (size_t)(x->n_elems + 1) * sizeof(*v), err);
    if (!v || rt_out(ctx, 3 * s->n_paths, x->dtype, 2,
                     (const int64_t[]){ x->dims[1], s->n_paths }, &log_p, err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < x->n_elems; i++)
        v[i] = x->dtype == SM_FLOAT ? (double)((const float *)x->data)[i]
                                    : ((const double *)x->data)[i];
    struct paths *paths = xcalloc((size_t)s->n_paths, sizeof(*paths));
    for (int k = 0; k < s->n_paths; k++)
        paths[k].ends = xcalloc((size_t)x->dims[1] + 1, sizeof(int64_t));
    int rc = decode_all(ctx, v, x->dims, paths, log_p, err);
    for (int k = 0; rc == 0 && k < s->n_paths; k++)
        rc = put_sparse(ctx, k, s->n_paths, &paths[k], x->dims[1], err);
    paths_free(paths, s->n_paths);
    return rc;
}

/* ---- edit distance --------------------------------------------------------------- */

int
rt_prep_edit_distance(struct rt_prep *p)
{
    bool *normalize = p->node->state = rt_prep_alloc(p, sizeof(*normalize));
    *normalize = rt_attr_bool(p, "normalize", true);
    return rt_prep_done(p);
}

struct sequences { /* a sparse tensor: its last dimension is a sequence */
    const struct rt_tensor *at, *values, *shape;
    int64_t next;
};

/* The sequence that belongs to `cell`, at its turn: where it begins; *n elements. */
static int64_t
take_sequence(struct sequences *s, const int64_t *cells, int64_t cell, int64_t *n)
{
    int64_t from = s->next;
    while (s->next < s->values->n_elems && cells[s->next] == cell)
        s->next++;
    *n = s->next - from;
    return from;
}

static bool
same_element(const struct rt_tensor *a, int64_t i, const struct rt_tensor *b, int64_t k)
{
    if (a->dtype == SM_STRING)
        return str_eq(((const struct str *)a->data)[i],
                      ((const struct str *)b->data)[k]);
    size_t n = rt_dtype_size(a->dtype);
    return memcmp((const char *)a->data + (size_t)i * n,
                  (const char *)b->data + (size_t)k * n, n) == 0;
}

static int64_t
distance(const struct rt_tensor *a, int64_t i0, int64_t n, const struct rt_tensor *b,
         int64_t k0, int64_t m, int64_t *row)
{
    for (int64_t k = 0; k <= m; k++)
        row[k] = k;
    for (int64_t i = 1; i <= n; i++) {
        int64_t corner = row[0];
        row[0] = i;
        for (int64_t k = 1; k <= m; k++) {
            int64_t change = corner + !same_element(a, i0 + i - 1, b, k0 + k - 1);
            corner = row[k];
            row[k] = K_MIN(change, K_MIN(row[k], row[k - 1]) + 1);
        }
    }
    return row[m];
}

/* Per element the cell of the output that its sequence is for. NULL with err. */
static int64_t *
cells_of(struct rt_ctx *ctx, const struct sequences *s, int rank, const int64_t *dims,
         struct err *err)
{
    int64_t n = s->values->n_elems;
    int64_t *cells = rt_scratch(ctx, (size_t)(n + 1) * sizeof(*cells), err);
    for (int64_t i = 0; cells && i < n; i++) {
        cells[i] = 0;
        for (int d = 0; d < rank; d++) {
            int64_t v = rt_int_at(s->at, i * (rank + 1) + d);
            if (v < 0 || v >= dims[d]) {
                rt_fail(ctx, err, ERR_FAILED, "index %lld is out of range [0, %lld)",
                        (long long)v, (long long)dims[d]);
                return NULL;
            }
            cells[i] = cells[i] * dims[d] + v;
        }
        if (i > 0 && cells[i] < cells[i - 1]) {
            rt_fail(ctx, err, ERR_FAILED, "indices are not in order");
            return NULL;
        }
    }
    return cells;
}

/* indices, values and shape of hypothesis and truth → a distance for each sequence, a
 * share of the truth's length when attr normalize says so. */
int
rt_run_edit_distance(struct rt_ctx *ctx, struct err *err)
{
    struct sequences s[2] = { { ctx->in[0], ctx->in[1], ctx->in[2], 0 },
                              { ctx->in[3], ctx->in[4], ctx->in[5], 0 } };
    int rank = (int)K_MIN(s[0].shape->n_elems, SM_MAX_RANK) - 1;
    int64_t dims[SM_MAX_RANK], n[2], from[2], *cells[2];
    struct rt_tensor *y;
    for (int i = 0; i < 2; i++) {
        int64_t width = s[i].shape->n_elems;
        if (width != rank + 1 || rank < 0 || s[i].at->rank != 2 ||
            s[i].at->dims[1] != width || s[i].values->rank != 1 ||
            s[i].at->dims[0] != s[i].values->n_elems)
            return rt_fail(ctx, err, ERR_FAILED,
                           "hypothesis and truth must be sparse tensors of one rank");
        for (int d = 0; d < rank; d++)
            dims[d] =
                i ? K_MAX(dims[d], rt_int_at(s[i].shape, d)) : rt_int_at(s[i].shape, d);
    }
    if (rt_out(ctx, 0, SM_FLOAT, rank, dims, &y, err) < 0)
        return -(int)err->code;
    for (int i = 0; i < 2; i++)
        if (!(cells[i] = cells_of(ctx, &s[i], rank, dims, err)))
            return -(int)err->code;
    int64_t *row =
        rt_scratch(ctx, (size_t)(s[1].values->n_elems + 1) * sizeof(*row), err);
    if (!row)
        return -(int)err->code;
    for (int64_t c = 0; c < y->n_elems; c++) {
        for (int i = 0; i < 2; i++)
            from[i] = take_sequence(&s[i], cells[i], c, &n[i]);
        float d = (float)distance(s[0].values, from[0], n[0], s[1].values, from[1],
                                  n[1], row);
        if (*(const bool *)ctx->node->state)
            d = n[1] > 0 ? d / (float)n[1] : n[0] > 0 ? INFINITY : 0;
        ((float *)y->data)[c] = d;
    }
    return 0;
}
