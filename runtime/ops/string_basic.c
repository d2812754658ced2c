/* SPDX-License-Identifier: Apache-2.0 */
/* StringJoin, ReduceJoin, UnsortedSegmentJoin, StringStrip, StringLength, Substr,
 * EncodeBase64, DecodeBase64. */
#include "runtime/ops/string_int.h"

/* ---- joins ---- */

struct join {
    const char *separator;
    size_t separator_len;
    bool keep_dims;
};

int
rt_prep_string_join(struct rt_prep *p)
{
    struct join *j = p->node->state = rt_prep_alloc(p, sizeof(*j));
    j->separator = rt_attr_str(p, "separator", "");
    j->separator_len = strlen(j->separator);
    j->keep_dims = rt_attr_bool(p, "keep_dims", false);
    return rt_prep_done(p);
}

/* n parts, `step` apart from each other in an array of strings. */
static int
join_parts(struct rt_ctx *ctx, const struct join *j, const struct str *const *parts,
           int64_t n, struct str *out, struct err *err)
{
    size_t len = n > 0 ? (size_t)(n - 1) * j->separator_len : 0;
    for (int64_t i = 0; i < n; i++)
        len += parts[i]->n;
    char *p = rt_str_alloc(ctx, len, err);
    if (!p)
        return -(int)err->code;
    *out = (struct str){ p, len };
    for (int64_t i = 0; i < n; i++) {
        if (i > 0 && j->separator_len > 0)
            p = mempcpy(p, j->separator, j->separator_len);
        if (parts[i]->n > 0)
            p = mempcpy(p, parts[i]->p, parts[i]->n);
    }
    return 0;
}

/* Inputs of one shape, scalars among them repeat. */
int
rt_run_string_join(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *shape = NULL;
    char want[RT_SHAPE_TEXT_BYTES], got[RT_SHAPE_TEXT_BYTES];
    int n = ctx->node->n_in;
    struct str *y;
    for (int i = 0; i < n; i++) {
        const struct rt_tensor *x = ctx->in[i];
        if (x->rank == 0)
            continue;
        if (shape && !rt_same_shape(shape, x))
            return rt_fail(ctx, err, ERR_FAILED, "Input shapes do not match: %s vs. %s",
                           rt_shape_text(shape, want), rt_shape_text(x, got));
        shape = shape ? shape : x;
    }
    const struct rt_tensor scalar = { .rank = 0, .n_elems = 1 };
    shape = shape ? shape : &scalar;
    const struct str **parts = rt_scratch(ctx, (size_t)n * sizeof(*parts), err);
    if (!parts || str_out_like(ctx, 0, shape, &y, err) < 0)
        return -(int)err->code;
    for (int64_t e = 0; e < shape->n_elems; e++) {
        for (int i = 0; i < n; i++)
            parts[i] =
                (const struct str *)ctx->in[i]->data + (ctx->in[i]->rank ? e : 0);
        if (join_parts(ctx, ctx->node->state, parts, n, &y[e], err) < 0)
            return -(int)err->code;
    }
    return 0;
}

/* The dimensions to reduce, in the order of the second input. */
static int
join_axes(struct rt_ctx *ctx, int *axes, bool *reduced, int *n, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0], *t = ctx->in[1];
    char text[RT_SHAPE_TEXT_BYTES];
    if (t->rank > 1)
        return rt_fail(ctx, err, ERR_FAILED,
                       "reduction_indices must be a scalar or a vector, got shape %s",
                       rt_shape_text(t, text));
    *n = 0;
    for (int64_t i = 0; i < t->n_elems; i++) {
        int64_t axis = k_int_at(t, i), at = axis < 0 ? axis + x->rank : axis;
        if (at < 0 || at >= x->rank)
            return rt_fail(ctx, err, ERR_FAILED,
                           "Invalid reduction dimension %lld for input with %d "
                           "dimension(s)",
                           (long long)axis, x->rank);
        if (reduced[at])
            return rt_fail(ctx, err, ERR_FAILED, "Duplicate reduction dimension %lld",
                           (long long)axis);
        reduced[at] = true;
        axes[(*n)++] = (int)at;
    }
    return 0;
}

/* Joins over the listed dimensions, the first listed being the innermost. */
int
rt_run_reduce_join(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    const struct join *j = ctx->node->state;
    int axes[SM_MAX_RANK], n_axes = 0, rank = 0;
    bool reduced[SM_MAX_RANK] = { false };
    int64_t dims[SM_MAX_RANK], steps[SM_MAX_RANK], n_parts = 1;
    struct rt_tensor *out;
    if (join_axes(ctx, axes, reduced, &n_axes, err) < 0)
        return -(int)err->code;
    for (int i = 0; i < n_axes; i++)
        n_parts *= x->dims[axes[i]];
    for (int i = 0; i < x->rank; i++)
        if (!reduced[i] || j->keep_dims)
            dims[rank++] = reduced[i] ? 1 : x->dims[i];
    const struct str **parts = rt_scratch(ctx, (size_t)n_parts * sizeof(*parts), err);
    if (!parts || rt_out(ctx, 0, SM_STRING, rank, dims, &out, err) < 0)
        return -(int)err->code;
    k_steps(x->rank, x->dims, steps);
    for (int64_t e = 0; e < out->n_elems; e++) {
        int64_t base = 0, rest = e;
        for (int d = x->rank - 1; d >= 0; d--) {
            if (!reduced[d]) {
                base += rest % x->dims[d] * steps[d];
                rest /= x->dims[d];
            }
        }
        for (int64_t k = 0; k < n_parts; k++) {
            int64_t at = base, part = k;
            for (int i = 0; i < n_axes; i++) {
                at += part % x->dims[axes[i]] * steps[axes[i]];
                part /= x->dims[axes[i]];
            }
            parts[k] = (const struct str *)x->data + at;
        }
        if (join_parts(ctx, j, parts, n_parts, (struct str *)out->data + e, err) < 0)
            return -(int)err->code;
    }
    return 0;
}

/* inputs [ids..., rest], ids of the leading dimensions: rows of one id joined in order
 * of appearance. */
int
rt_run_segment_join(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0], *id = ctx->in[1];
    struct join *j = ctx->node->state;
    int64_t n, dims[SM_MAX_RANK + 1];
    char a[RT_SHAPE_TEXT_BYTES], b[RT_SHAPE_TEXT_BYTES];
    struct rt_tensor *out;
    if (ctx->in[2]->rank != 0 || k_scalar(ctx, 2, "num_segments", &n, err) < 0)
        return err->code ? -(int)err->code
                         : rt_fail(ctx, err, ERR_FAILED,
                                   "Number of segments must be a scalar");
    if (n <= 0)
        return rt_fail(ctx, err, ERR_FAILED, "Number of segments must be positive");
    if (id->rank > x->rank || id->rank == 0 ||
        memcmp(id->dims, x->dims, (size_t)id->rank * sizeof(x->dims[0])) != 0)
        return rt_fail(ctx, err, ERR_FAILED,
                       "segment_ids' shape must be the prefix of input shape, got %s "
                       "and %s",
                       rt_shape_text(id, a), rt_shape_text(x, b));
    int64_t inner = k_count(x->dims, id->rank, x->rank);
    int rank = 1;
    dims[0] = n;
    for (int i = id->rank; i < x->rank; i++)
        dims[rank++] = x->dims[i];
    if (rt_out(ctx, 0, SM_STRING, rank, dims, &out, err) < 0)
        return -(int)err->code;
    const struct str **parts =
        rt_scratch(ctx, (size_t)(id->n_elems + 1) * sizeof(*parts), err);
    int64_t *count = parts ? rt_scratch(ctx, (size_t)(n + 1) * 8, err) : NULL;
    int64_t *order = count ? rt_scratch(ctx, (size_t)(id->n_elems + 1) * 8, err) : NULL;
    if (!order)
        return -(int)err->code;
    memset(count, 0, (size_t)(n + 1) * 8);
    for (int64_t i = 0; i < id->n_elems; i++) {
        int64_t s = k_int_at(id, i);
        if (s < 0 || s >= n)
            return rt_fail(ctx, err, ERR_FAILED,
                           "segment_ids are not allowed to exceed num_segments or to "
                           "have negative values.");
        count[s + 1]++;
    }
    for (int64_t s = 0; s < n; s++)
        count[s + 1] += count[s]; /* count[s]: where the rows of s begin in `order` */
    for (int64_t i = 0; i < id->n_elems; i++)
        order[count[k_int_at(id, i)]++] = i;
    for (int64_t e = 0; e < out->n_elems; e++) {
        int64_t s = e / inner, begin = s ? count[s - 1] : 0;
        for (int64_t k = begin; k < count[s]; k++)
            parts[k - begin] =
                (const struct str *)x->data + order[k] * inner + e % inner;
        if (join_parts(ctx, j, parts, count[s] - begin, (struct str *)out->data + e,
                       err) < 0)
            return -(int)err->code;
    }
    return 0;
}

/* ---- pieces ---- */

int
rt_run_string_strip(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    struct str *y;
    if (str_out_like(ctx, 0, x, &y, err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < x->n_elems; i++) {
        struct str s = str_at(x, i);
        for (; s.n > 0 && str_is_space(s.p[0]); s.p++, s.n--)
            ;
        for (; s.n > 0 && str_is_space(s.p[s.n - 1]); s.n--)
            ;
        y[i] = s;
    }
    return 0;
}

/* state: a bool, true when the unit is UTF8_CHAR. */
int
rt_prep_string_unit(struct rt_prep *p)
{
    bool *chars = p->node->state = rt_prep_alloc(p, sizeof(*chars));
    const char *unit = rt_attr_str(p, "unit", "BYTE");
    *chars = strcmp(unit, "UTF8_CHAR") == 0;
    if (!*chars && strcmp(unit, "BYTE") != 0)
        rt_prep_fail(p, ERR_FAILED, "unit '%s' is neither BYTE nor UTF8_CHAR", unit);
    return rt_prep_done(p);
}

static int64_t
count_chars(struct str s)
{
    int64_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += !utf8_continues(s.p[i]);
    return n;
}

int
rt_run_string_length(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    bool chars = *(const bool *)ctx->node->state;
    struct rt_tensor *y;
    if (rt_out(ctx, 0, SM_INT32, x->rank, x->dims, &y, err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < x->n_elems; i++)
        ((int32_t *)y->data)[i] =
            (int32_t)(chars ? count_chars(str_at(x, i)) : (int64_t)str_at(x, i).n);
    return 0;
}

/* Byte position of character n of s, counted from the front. False: s has fewer. */
static bool
char_forward(struct str s, int64_t n, size_t *at)
{
    size_t i = 0;
    for (; n > 0 && i < s.n; n--)
        for (i++; i < s.n && utf8_continues(s.p[i]); i++)
            ;
    *at = i;
    return n == 0;
}

static bool
char_back(struct str s, int64_t n, size_t *at)
{
    size_t i = s.n;
    for (; n > 0 && i > 0; n--)
        for (i--; i > 0 && utf8_continues(s.p[i]); i--)
            ;
    *at = i;
    return n == 0;
}

/* A negative pos counts from the end, a negative length takes the rest, or no
 * characters. */
static bool
substr(struct str s, int64_t pos, int64_t len, bool chars, struct str *out)
{
    size_t at, n;
    if (chars) {
        bool ok = pos >= 0 ? char_forward(s, pos, &at) : char_back(s, -(pos + 1), &at);
        if (ok && pos < 0)
            ok = char_back((struct str){ s.p, at }, 1, &at);
        if (!ok)
            return false;
    } else {
        int64_t from = pos < 0 ? pos + (int64_t)s.n : pos;
        if (from < 0 || from > (int64_t)s.n)
            return false;
        at = (size_t)from;
    }
    struct str rest = { s.p + at, s.n - at };
    if (chars)
        char_forward(rest, K_MAX(len, (int64_t)0), &n);
    else
        n = len < 0 || (uint64_t)len > rest.n ? rest.n : (size_t)len;
    *out = (struct str){ rest.p, n };
    return true;
}

/* input and pos (len has the shape of pos) broadcast. */
int
rt_run_substr(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0], *pos = ctx->in[1], *len = ctx->in[2];
    bool chars = *(const bool *)ctx->node->state;
    char a[RT_SHAPE_TEXT_BYTES], b[RT_SHAPE_TEXT_BYTES];
    int64_t dims[SM_MAX_RANK];
    int rank;
    struct rt_tensor *y;
    if (!rt_same_shape(pos, len))
        return rt_fail(ctx, err, ERR_FAILED,
                       "pos and len should have the same shape, got: %s vs. %s",
                       rt_shape_text(pos, a), rt_shape_text(len, b));
    if (!k_broadcast(x->rank, x->dims, pos->rank, pos->dims, &rank, dims))
        return rt_fail(ctx, err, ERR_FAILED, "Incompatible shapes: %s vs. %s",
                       rt_shape_text(x, a), rt_shape_text(pos, b));
    if (rt_out(ctx, 0, SM_STRING, rank, dims, &y, err) < 0)
        return -(int)err->code;
    int64_t xs[SM_MAX_RANK], ps[SM_MAX_RANK];
    k_steps(x->rank, x->dims, xs);
    k_steps(pos->rank, pos->dims, ps);
    for (int64_t i = 0; i < y->n_elems; i++) {
        int64_t rest = i, xi = 0, pi = 0;
        for (int d = rank - 1, dx = x->rank - 1, dp = pos->rank - 1; d >= 0;
             d--, dx--, dp--) {
            int64_t at = rest % dims[d];
            rest /= dims[d];
            xi += dx >= 0 && x->dims[dx] != 1 ? at * xs[dx] : 0;
            pi += dp >= 0 && pos->dims[dp] != 1 ? at * ps[dp] : 0;
        }
        struct str s = str_at(x, xi);
        if (!substr(s, rt_int_at(pos, pi), rt_int_at(len, pi), chars,
                    (struct str *)y->data + i))
            return rt_fail(ctx, err, ERR_FAILED,
                           "pos %lld out of range for string b'%.*s' at index %lld",
                           (long long)rt_int_at(pos, pi), STR_ARG(s), (long long)i);
    }
    return 0;
}

/* ---- base64, the web-safe alphabet ---- */

static const char base64[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

int
rt_prep_base64(struct rt_prep *p)
{
    bool *pad = p->node->state = rt_prep_alloc(p, sizeof(*pad));
    *pad = rt_attr_bool(p, "pad", false);
    return rt_prep_done(p);
}

int
rt_run_encode_base64(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    bool pad = *(const bool *)ctx->node->state;
    struct str *y;
    if (str_out_like(ctx, 0, x, &y, err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < x->n_elems; i++) {
        struct str s = str_at(x, i);
        char *p = rt_str_alloc(ctx, s.n / 3 * 4 + 4, err);
        if (!p)
            return -(int)err->code;
        y[i].p = p;
        for (size_t k = 0; k < s.n; k += 3) {
            size_t n = K_MIN(s.n - k, (size_t)3);
            uint32_t v = 0;
            for (size_t b = 0; b < 3; b++)
                v = v << 8 | (b < n ? (unsigned char)s.p[k + b] : 0);
            for (size_t b = 0; b < 4; b++)
                if (b <= n || pad)
                    *p++ = b <= n ? base64[v >> (18 - 6 * b) & 63] : '=';
        }
        y[i].n = (size_t)(p - y[i].p);
    }
    return 0;
}

static bool
decode_base64(struct str s, char *p, size_t *n)
{
    uint32_t v = 0, bits = 0;
    for (; s.n > 0 && s.n % 4 == 0 && s.p[s.n - 1] == '='; s.n--)
        if (s.n >= 2 && s.p[s.n - 2] == '=') {
            s.n -= 2;
            break;
        }
    if (s.n % 4 == 1)
        return false;
    *n = 0;
    for (size_t i = 0; i < s.n; i++) {
        const char *c = s.p[i] ? strchr(base64, s.p[i]) : NULL;
        if (!c)
            return false;
        v = v << 6 | (uint32_t)(c - base64);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            p[(*n)++] = (char)(v >> bits);
        }
    }
    return true;
}

int
rt_run_decode_base64(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    struct str *y;
    if (str_out_like(ctx, 0, x, &y, err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < x->n_elems; i++) {
        char *p = rt_str_alloc(ctx, str_at(x, i).n, err);
        if (!p)
            return -(int)err->code;
        y[i].p = p;
        if (str_at(x, i).n % 4 == 1)
            return rt_fail(ctx, err, ERR_FAILED,
                           "Base64 string length cannot be 1 modulo 4.");
        if (!decode_base64(str_at(x, i), p, &y[i].n))
            return rt_fail(ctx, err, ERR_FAILED, "Invalid character found in base64.");
    }
    return 0;
}
