/* SPDX-License-Identifier: Apache-2.0 */
/* AsString, StringFormat: values as text, in printf's and TensorFlow's forms. */
#include "runtime/ops/string_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* The formats below are put together from checked parts. */
#pragma GCC diagnostic ignored "-Wformat-nonliteral"

/* ---- AsString ---- */

enum { MAX_WIDTH = 1 << 20 };
struct as_string {
    char format[64]; /* of a part: "%-8.3f" */
};

static bool
is_floating(int dtype)
{
    return dtype == SM_FLOAT || dtype == SM_DOUBLE || k_is_half(dtype) ||
           dtype == SM_COMPLEX64 || dtype == SM_COMPLEX128;
}

int
rt_prep_as_string(struct rt_prep *p)
{
    struct as_string *a = p->node->state = rt_prep_alloc(p, sizeof(*a));
    int dtype = rt_attr_type(p, "T", RT_REQUIRED);
    int64_t precision = rt_attr_int(p, "precision", -1);
    int64_t width = rt_attr_int(p, "width", -1);
    bool scientific = rt_attr_bool(p, "scientific", false);
    bool shortest = rt_attr_bool(p, "shortest", false);
    const char *fill = rt_attr_str(p, "fill", "");
    char w[24] = "", d[24] = "";
    if (!is_floating(dtype) && (scientific || shortest))
        return rt_prep_fail(
            p, ERR_FAILED,
            "scientific and shortest format not supported for datatype %s",
            rt_dtype_text(dtype));
    if (!is_floating(dtype) && precision >= 0)
        return rt_prep_fail(p, ERR_FAILED, "precision not supported for datatype %s",
                            rt_dtype_text(dtype));
    if (fill[0] && fill[1])
        return rt_prep_fail(p, ERR_FAILED,
                            "Fill string must be one or fewer characters");
    if (fill[0] && !strchr(" +-0#", fill[0]))
        return rt_prep_fail(p, ERR_FAILED, "Fill argument not supported: \"%s\"", fill);
    if (scientific && shortest)
        return rt_prep_fail(p, ERR_FAILED,
                            "Cannot select both scientific and shortest notation");
    if (width > MAX_WIDTH || precision > MAX_WIDTH)
        return rt_prep_fail(p, ERR_LIMIT, "width or precision above %d", MAX_WIDTH);
    if (width > -1)
        snprintf(w, sizeof(w), "%s%d", fill, (int)width);
    if (precision > -1)
        snprintf(d, sizeof(d), ".%d", (int)precision);
    const char *kind = dtype == SM_STRING ? "s"
                       : dtype == SM_UINT64 || dtype == SM_UINT32 ||
                               dtype == SM_UINT16 || dtype == SM_UINT8
                           ? "llu"
                       : k_is_int(dtype) ? "lld"
                       : shortest        ? "g"
                       : scientific      ? "e"
                                         : "f";
    snprintf(a->format, sizeof(a->format), "%%%s%s%s", w, d, kind);
    return rt_prep_done(p);
}

/* Printed by `format` (of a double) into run memory. */
static int
print_real(struct rt_ctx *ctx, const char *format, double v, struct str *out,
           struct err *err)
{
    char small[64];
    int n = snprintf(small, sizeof(small), format, v);
    if (n >= 0 && (size_t)n < sizeof(small))
        return rt_str_dup(ctx, (struct str){ small, (size_t)n }, out, err);
    char *p = n < 0 ? NULL : rt_str_alloc(ctx, (size_t)n + 1, err);
    if (!p)
        return err->code ? -(int)err->code
                         : rt_fail(ctx, err, ERR_LIMIT, "a number too long to print");
    snprintf(p, (size_t)n + 1, format, v);
    *out = (struct str){ p, (size_t)n };
    return 0;
}

static int
print_int(struct rt_ctx *ctx, const char *format, int64_t v, struct str *out,
          struct err *err)
{
    char small[64];
    int n = snprintf(small, sizeof(small), format, (long long)v);
    if (n >= 0 && (size_t)n < sizeof(small))
        return rt_str_dup(ctx, (struct str){ small, (size_t)n }, out, err);
    char *p = rt_str_alloc(ctx, (size_t)n + 1, err);
    if (!p)
        return -(int)err->code;
    snprintf(p, (size_t)n + 1, format, (long long)v);
    *out = (struct str){ p, (size_t)n };
    return 0;
}

static int
print_complex(struct rt_ctx *ctx, const char *format, const struct rt_tensor *x,
              int64_t i, struct str *out, struct err *err)
{
    struct str re, im;
    if (print_real(ctx, format, creal(k_complex_at(x, i)), &re, err) < 0 ||
        print_real(ctx, format, cimag(k_complex_at(x, i)), &im, err) < 0)
        return -(int)err->code;
    size_t n = re.n + im.n + 3;
    char *p = rt_str_alloc(ctx, n + 1, err);
    if (!p)
        return -(int)err->code;
    snprintf(p, n + 1, "(%.*s,%.*s)", STR_ARG(re), STR_ARG(im));
    *out = (struct str){ p, n };
    return 0;
}

/* "%8s", "%-8s": padded to the width. */
static int
print_str(struct rt_ctx *ctx, const char *format, struct str s, struct str *out,
          struct err *err)
{
    char flag = format[1];
    int64_t width = strtol(format + 1 + (flag == '+' || flag == '#'), NULL, 10);
    size_t n = (size_t)(width < 0 ? -width : width);
    if (n <= s.n) {
        *out = s;
        return 0;
    }
    char *p = rt_str_alloc(ctx, n, err);
    if (!p)
        return -(int)err->code;
    memset(p, ' ', n);
    if (s.n > 0)
        memcpy(flag == '-' ? p : p + n - s.n, s.p, s.n);
    *out = (struct str){ p, n };
    return 0;
}

int
rt_run_as_string(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    const char *format = ((const struct as_string *)ctx->node->state)->format;
    struct str *y;
    if (!is_floating(x->dtype) && !k_is_int(x->dtype) && x->dtype != SM_BOOL &&
        x->dtype != SM_STRING)
        return rt_fail_dtype(ctx, err, x->dtype);
    if (str_out_like(ctx, 0, x, &y, err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < x->n_elems; i++) {
        int rc = 0;
        if (x->dtype == SM_BOOL)
            y[i] = ((const uint8_t *)x->data)[i] ? STR_LIT("true") : STR_LIT("false");
        else if (x->dtype == SM_STRING)
            rc = print_str(ctx, format, str_at(x, i), &y[i], err);
        else if (x->dtype == SM_COMPLEX64 || x->dtype == SM_COMPLEX128)
            rc = print_complex(ctx, format, x, i, &y[i], err);
        else if (is_floating(x->dtype))
            rc = print_real(ctx, format, creal(k_complex_at(x, i)), &y[i], err);
        else
            rc = print_int(ctx, format, k_int_at(x, i), &y[i], err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- a tensor as text ---- */

/* As many digits as read back the same value, in one of two precisions. */
static void
put_real(struct buf *b, double v, bool is_double)
{
    char text[40];
    if (isnan(v)) {
        buf_adds(b, "nan");
        return;
    }
    snprintf(text, sizeof(text), "%.*g", is_double ? 15 : 6, v);
    if (is_double ? strtod(text, NULL) != v : strtof(text, NULL) != (float)v)
        snprintf(text, sizeof(text), "%.*g", is_double ? 17 : 9, v);
    buf_adds(b, text);
}

static void
put_quoted(struct buf *b, struct str s)
{
    buf_addc(b, '"');
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '\n')
            buf_adds(b, "\\n");
        else if (c == '\r')
            buf_adds(b, "\\r");
        else if (c == '\t')
            buf_adds(b, "\\t");
        else if (c == '"' || c == '\'' || c == '\\')
            buf_addf(b, "\\%c", c);
        else if ((unsigned char)c < 0x20 || c == 0x7f)
            buf_addf(b, "\\%03o", (unsigned)c);
        else
            buf_addc(b, c);
    }
    buf_addc(b, '"');
}

static void
put_element(struct buf *b, const struct rt_tensor *t, int64_t i)
{
    if (t->dtype == SM_STRING)
        put_quoted(b, str_at(t, i));
    else if (t->dtype == SM_BOOL)
        buf_addc(b, ((const uint8_t *)t->data)[i] ? '1' : '0');
    else if (t->dtype == SM_UINT64)
        buf_addf(b, "%llu", (unsigned long long)k_int_at(t, i));
    else if (k_is_int(t->dtype))
        buf_addf(b, "%lld", (long long)k_int_at(t, i));
    else if (is_floating(t->dtype) && t->dtype != SM_COMPLEX64 &&
             t->dtype != SM_COMPLEX128)
        put_real(b, creal(k_complex_at(t, i)), t->dtype == SM_DOUBLE);
    else
        buf_addc(b, '?');
}

/* Between two entries of dimension d: the inner the dimension, the fewer lines. */
static void
put_gap(struct buf *b, int d, int rank)
{
    for (int i = d + 1; i < rank; i++)
        buf_addc(b, '\n');
    for (int i = 0; i <= (d < rank - 1 ? d : 0); i++)
        buf_addc(b, ' ');
}

/* Entries of dimension d, `limit` at each end of it; `at` is its first element. */
static void
put_dim(struct buf *b, const struct rt_tensor *t, int d, int64_t at, int64_t limit)
{
    if (d == t->rank) {
        put_element(b, t, at);
        return;
    }
    int64_t n = t->dims[d], step = k_count(t->dims, d + 1, t->rank);
    buf_addc(b, '[');
    for (int64_t i = 0; i < K_MIN(n, limit); i++) {
        if (i > 0)
            put_gap(b, d, t->rank);
        put_dim(b, t, d + 1, at + i * step, limit);
    }
    if (n > 2 * limit) {
        put_gap(b, d, t->rank);
        buf_adds(b, "...");
    }
    for (int64_t i = K_MAX(limit, n - limit); i < n; i++) {
        put_gap(b, d, t->rank);
        put_dim(b, t, d + 1, at + i * step, limit);
    }
    buf_addc(b, ']');
}

int
str_summarize(struct rt_ctx *ctx, const struct rt_tensor *t, int64_t limit,
              struct buf *out, struct err *err)
{
    if (k_is_obj(t->dtype))
        return rt_fail_dtype(ctx, err, t->dtype);
    put_dim(out, t, 0, 0, limit < 0 || limit > t->n_elems ? t->n_elems : limit);
    return buf_check(out, "a tensor as text", err);
}

/* ---- StringFormat ---- */

struct string_format {
    const char *pattern, *placeholder;
    int64_t summarize;
};

int
rt_prep_string_format(struct rt_prep *p)
{
    struct string_format *f = p->node->state = rt_prep_alloc(p, sizeof(*f));
    f->pattern = rt_attr_str(p, "template", "%s");
    f->placeholder = rt_attr_str(p, "placeholder", "%s");
    f->summarize = rt_attr_int(p, "summarize", 3);
    int n = 0;
    size_t len = strlen(f->placeholder);
    for (const char *s = f->pattern; len > 0 && (s = strstr(s, f->placeholder));
         s += len)
        n++;
    if (n != p->node->n_in)
        rt_prep_fail(p, ERR_FAILED,
                     "num placeholders in template and num inputs must match: %d vs. "
                     "%d",
                     n, p->node->n_in);
    return rt_prep_done(p);
}

int
rt_run_string_format(struct rt_ctx *ctx, struct err *err)
{
    const struct string_format *f = ctx->node->state;
    struct buf b AUTO(buf_release) = BUF_INIT;
    const char *s = f->pattern;
    struct rt_tensor *y;
    for (int i = 0; i < ctx->node->n_in; i++) {
        const char *hole = strstr(s, f->placeholder);
        if (!hole)
            return rt_fail(ctx, err, ERR_FAILED, "the template has too few places");
        buf_add(&b, s, (size_t)(hole - s));
        if (str_summarize(ctx, ctx->in[i], f->summarize, &b, err) < 0)
            return -(int)err->code;
        s = hole + strlen(f->placeholder);
    }
    buf_adds(&b, s);
    if (rt_out(ctx, 0, SM_STRING, 0, NULL, &y, err) < 0)
        return -(int)err->code;
    return str_from_buf(ctx, &b, y->data, err);
}
