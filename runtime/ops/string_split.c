/* SPDX-License-Identifier: Apache-2.0 */
/* StringSplit, StringSplitV2 (pieces as a sparse [batch, most] tensor), StringNGrams.
 */
#include "runtime/ops/string_int.h"

#include <stdlib.h>

/* Pieces of all strings, gathered before their number is known. */
struct pieces {
    struct str *v;
    int64_t n, cap;
};

static void
pieces_release(struct pieces *p)
{
    free(p->v);
}

static void
add(struct pieces *p, struct str s)
{
    if (p->n == p->cap) {
        p->cap = p->cap ? 2 * p->cap : 64;
        p->v = xreallocarray(p->v, (size_t)p->cap, sizeof(*p->v));
    }
    p->v[p->n++] = s;
}

/* ends[i]: where the pieces of string i end in p. */
static int
put_pieces(struct rt_ctx *ctx, const struct pieces *p, const int64_t *ends,
           int64_t n_rows, struct err *err)
{
    struct rt_tensor *indices, *values, *shape;
    if (rt_out(ctx, 0, SM_INT64, 2, (int64_t[]){ p->n, 2 }, &indices, err) < 0 ||
        rt_out(ctx, 1, SM_STRING, 1, &p->n, &values, err) < 0 ||
        rt_out(ctx, 2, SM_INT64, 1, (int64_t[]){ 2 }, &shape, err) < 0)
        return -(int)err->code;
    int64_t *at = indices->data, most = 0;
    for (int64_t i = 0, k = 0; i < n_rows; i++) {
        for (int64_t first = k; k < ends[i]; k++) {
            *at++ = i;
            *at++ = k - first;
            most = K_MAX(most, k - first + 1);
        }
    }
    if (p->n > 0)
        memcpy(values->data, p->v, (size_t)p->n * sizeof(*p->v));
    ((int64_t *)shape->data)[0] = n_rows;
    ((int64_t *)shape->data)[1] = most;
    return 0;
}

int
rt_prep_string_split(struct rt_prep *p)
{
    bool *skip_empty = p->node->state = rt_prep_alloc(p, sizeof(*skip_empty));
    *skip_empty = rt_attr_bool(p, "skip_empty", true);
    return rt_prep_done(p);
}

/* At every byte of `sep`; without one, into bytes. */
static void
split_at_any(struct pieces *p, struct str s, struct str sep, bool skip_empty)
{
    if (sep.n == 0) {
        for (size_t i = 0; i < s.n; i++)
            add(p, (struct str){ s.p + i, 1 });
        return;
    }
    if (s.n == 0)
        return;
    size_t from = 0;
    for (size_t i = 0; i <= s.n; i++) {
        if (i < s.n && !memchr(sep.p, s.p[i], sep.n))
            continue;
        if (i > from || !skip_empty)
            add(p, (struct str){ s.p + from, i - from });
        from = i + 1;
    }
}

/* Both ops; V2's way of splitting is `split`. */
static int
run_split(struct rt_ctx *ctx, const char *what,
          void (*split)(const void *state, struct pieces *p, struct str s,
                        struct str sep),
          struct err *err)
{
    const struct rt_tensor *x = ctx->in[0], *sep = ctx->in[1];
    struct pieces p AUTO(pieces_release) = { .v = NULL };
    char text[RT_SHAPE_TEXT_BYTES];
    if (x->rank != 1)
        return rt_fail(ctx, err, ERR_FAILED, "input must be a vector, got shape: %s",
                       rt_shape_text(x, text));
    if (sep->rank != 0)
        return rt_fail(ctx, err, ERR_FAILED, "%s must be a scalar, got shape: %s", what,
                       rt_shape_text(sep, text));
    int64_t *ends = rt_scratch(ctx, (size_t)x->n_elems * sizeof(*ends), err);
    if (!ends)
        return -(int)err->code;
    for (int64_t i = 0; i < x->n_elems; i++) {
        split(ctx->node->state, &p, str_at(x, i), str_at(sep, 0));
        ends[i] = p.n;
    }
    return put_pieces(ctx, &p, ends, x->n_elems, err);
}

static void
split_v1(const void *state, struct pieces *p, struct str s, struct str sep)
{
    split_at_any(p, s, sep, *(const bool *)state);
}

int
rt_run_string_split(struct rt_ctx *ctx, struct err *err)
{
    return run_split(ctx, "delimiter", split_v1, err);
}

int
rt_prep_string_split_v2(struct rt_prep *p)
{
    int64_t *max = p->node->state = rt_prep_alloc(p, sizeof(*max));
    *max = rt_attr_int(p, "maxsplit", -1);
    return rt_prep_done(p);
}

/* As Python's split; but after `max` splits at blanks the rest is a piece even when it
 * is empty. */
static void
split_v2(const void *state, struct pieces *p, struct str s, struct str sep)
{
    int64_t max = *(const int64_t *)state, n_splits = 0;
    if (max == 0) {
        add(p, s);
        return;
    }
    if (sep.n == 0) {
        size_t i = 0;
        for (; i < s.n && str_is_space(s.p[i]); i++)
            ;
        while (i < s.n) {
            size_t from = i;
            for (; i < s.n && !str_is_space(s.p[i]); i++)
                ;
            add(p, (struct str){ s.p + from, i - from });
            for (; i < s.n && str_is_space(s.p[i]); i++)
                ;
            if (max > 0 && ++n_splits == max) {
                add(p, (struct str){ s.p + i, s.n - i });
                return;
            }
        }
        return;
    }
    const char *hit;
    while (s.n > 0 && (hit = memmem(s.p, s.n, sep.p, sep.n)) &&
           !(max > 0 && n_splits++ == max)) {
        size_t n = (size_t)(hit - s.p);
        add(p, (struct str){ s.p, n });
        s.p += n + sep.n;
        s.n -= n + sep.n;
    }
    add(p, s);
}

int
rt_run_string_split_v2(struct rt_ctx *ctx, struct err *err)
{
    return run_split(ctx, "sep", split_v2, err);
}

/* ---- StringNGrams ---- */

struct ngrams {
    struct str separator, left, right;
    const int64_t *widths;
    int n_widths;
    int64_t pad_width; /* -1: as wide as an n-gram takes */
    bool keep_short;
};

int
rt_prep_string_ngrams(struct rt_prep *p)
{
    struct ngrams *g = p->node->state = rt_prep_alloc(p, sizeof(*g));
    g->separator = str_of(rt_attr_str(p, "separator", NULL));
    g->left = str_of(rt_attr_str(p, "left_pad", NULL));
    g->right = str_of(rt_attr_str(p, "right_pad", NULL));
    g->widths = rt_attr_ints(p, "ngram_widths", &g->n_widths);
    g->pad_width = rt_attr_int(p, "pad_width", RT_REQUIRED);
    g->keep_short = rt_attr_bool(p, "preserve_short_sequences", false);
    for (int i = 0; i < g->n_widths; i++)
        if (g->widths[i] < 1 || g->widths[i] > INT32_MAX)
            return rt_prep_fail(p, ERR_FAILED,
                                "ngram_widths must contain only positive values, got "
                                "%lld",
                                (long long)g->widths[i]);
    if (g->pad_width < -1 || g->pad_width > INT32_MAX)
        return rt_prep_fail(p, ERR_FAILED, "pad_width %lld is out of range",
                            (long long)g->pad_width);
    return rt_prep_done(p);
}

/* Pads at each side of a row for n-grams of this width. */
static int64_t
pads(const struct ngrams *g, int64_t width)
{
    return g->pad_width < 0 ? width - 1 : K_MIN(g->pad_width, width - 1);
}

static int64_t
n_ngrams(const struct ngrams *g, int64_t n, int64_t width)
{
    return K_MAX((int64_t)0, n + 2 * pads(g, width) - width + 1);
}

static void
add_part(const struct ngrams *g, struct buf *b, struct str s, bool *first)
{
    if (!*first)
        buf_add(b, g->separator.p, g->separator.n);
    if (s.n > 0)
        buf_add(b, s.p, s.n);
    *first = false;
}

/* N-gram i of n_of of a row of n tokens. */
static int
make_ngram(struct rt_ctx *ctx, const struct str *row, int64_t width, int64_t n_of,
           int64_t i, struct str *out, struct err *err)
{
    const struct ngrams *g = ctx->node->state;
    struct buf b AUTO(buf_release) = BUF_INIT;
    int64_t pad = pads(g, width);
    int64_t left = K_MAX((int64_t)0, pad - i);
    int64_t right = K_MAX((int64_t)0, pad - (n_of - (i + 1)));
    const struct str *token = row + (left > 0 ? 0 : i - pad);
    bool first = true;
    for (int64_t k = 0; k < left && !b.over; k++)
        add_part(g, &b, g->left, &first);
    for (int64_t k = 0; k < width - left - right; k++)
        add_part(g, &b, token[k], &first);
    for (int64_t k = 0; k < right && !b.over; k++)
        add_part(g, &b, g->right, &first);
    return str_from_buf(ctx, &b, out, err);
}

static int
check_splits(struct rt_ctx *ctx, const struct rt_tensor *splits, int64_t n_data,
             struct err *err)
{
    int64_t n = splits->n_elems;
    if (n == 0)
        return 0;
    if (rt_int_at(splits, 0) != 0)
        return rt_fail(ctx, err, ERR_FAILED, "First split value must be 0, got %lld",
                       (long long)rt_int_at(splits, 0));
    for (int64_t i = 1; i < n; i++) {
        int64_t v = rt_int_at(splits, i), least = rt_int_at(splits, i - 1);
        if (v < least || v > n_data)
            return rt_fail(ctx, err, ERR_FAILED,
                           "Invalid split value %lld, must be in [%lld, %lld]",
                           (long long)v, (long long)least, (long long)n_data);
    }
    if (rt_int_at(splits, n - 1) != n_data)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Last split value must be data size. Expected %lld, got %lld",
                       (long long)n_data, (long long)rt_int_at(splits, n - 1));
    return 0;
}

/* How many n-grams a row of n tokens gives; *width: of the one that stands for a row
 * too short, else 0. */
static int64_t
row_ngrams(const struct ngrams *g, int64_t n, int64_t *width)
{
    int64_t total = 0;
    *width = 0;
    for (int i = 0; i < g->n_widths; i++)
        total += n_ngrams(g, n, g->widths[i]);
    if (total > 0 || !g->keep_short || n == 0)
        return total;
    *width = n + 2 * K_MAX(g->pad_width, (int64_t)0);
    return 1;
}

/* Ragged rows data, data_splits to ragged rows of n-grams: all of the first width, then
 * of the next … */
int
rt_run_string_ngrams(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *data = ctx->in[0], *splits = ctx->in[1];
    const struct ngrams *g = ctx->node->state;
    int64_t n_rows = splits->n_elems > 0 ? splits->n_elems - 1 : 0, total = 0, short_w;
    struct rt_tensor *y, *y_splits;
    if (check_splits(ctx, splits, data->n_elems, err) < 0 ||
        rt_out(ctx, 1, splits->dtype, 1, &splits->n_elems, &y_splits, err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < splits->n_elems; i++) {
        if (i > 0)
            total += row_ngrams(g, rt_int_at(splits, i) - rt_int_at(splits, i - 1),
                                &short_w);
        if (splits->dtype == SM_INT32)
            ((int32_t *)y_splits->data)[i] = (int32_t)total;
        else
            ((int64_t *)y_splits->data)[i] = total;
    }
    if (rt_out(ctx, 0, SM_STRING, 1, &total, &y, err) < 0)
        return -(int)err->code;
    struct str *out = y->data;
    for (int64_t r = 0; r < n_rows; r++) {
        const struct str *row = (const struct str *)data->data + rt_int_at(splits, r);
        int64_t n = rt_int_at(splits, r + 1) - rt_int_at(splits, r);
        row_ngrams(g, n, &short_w);
        if (short_w && make_ngram(ctx, row, short_w, 1, 0, out++, err) < 0)
            return -(int)err->code;
        for (int w = 0; w < g->n_widths && !short_w; w++) {
            int64_t n_of = n_ngrams(g, n, g->widths[w]);
            for (int64_t i = 0; i < n_of; i++)
                if (make_ngram(ctx, row, g->widths[w], n_of, i, out++, err) < 0)
                    return -(int)err->code;
        }
    }
    return 0;
}
