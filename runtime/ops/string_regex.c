/* SPDX-License-Identifier: Apache-2.0 */
/* RegexReplace, RegexFullMatch and their Static forms, by PCRE2.
 *
 * TensorFlow's language is RE2's: no back-references, no looking around, none of Perl's
 * verbs. A pattern is checked and turned to PCRE2's dialect first: what RE2 does not
 * have is refused, what means something else is spelled out (\s without \v, \v as one
 * byte, \z …). Both choose the leftmost match that Perl would. Differences that stay:
 * matching may take exponential time (a step limit ends it with ERR_LIMIT), and a
 * capture inside a repeated empty match may be another one. Ill-formed UTF-8 in a text
 * matches nothing but itself. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "runtime/ops/string_int.h"

#include <ctype.h>
#include <pcre2.h>
#include <stdio.h>

/* ---- RE2's dialect ---- */

struct reader {
    const char *p, *end;
    struct buf *out;
    const char *why; /* RE2's words for what is wrong */
    struct str what;
};

static bool
wrong(struct reader *r, const char *why, const char *from, size_t n)
{
    r->why = why;
    r->what = (struct str){ from, K_MIN(n, (size_t)(r->end - from)) };
    return false;
}

/* r->p stands at a backslash. */
static bool
read_escape(struct reader *r, bool in_class)
{
    const char *from = r->p++;
    if (r->p == r->end)
        return wrong(r, "trailing \\", from, 1);
    char c = *r->p++;
    switch (c) {
    case 's':
        buf_adds(r->out, in_class ? "\\t\\n\\f\\r\\x20" : "[\\t\\n\\f\\r\\x20]");
        return true;
    case 'S':
        buf_adds(r->out, in_class ? "\\x00-\\x08\\x0b\\x0e-\\x1f\\x21-\\x{10ffff}"
                                  : "[^\\t\\n\\f\\r\\x20]");
        return true;
    case 'v':
        buf_adds(r->out, "\\x0b");
        return true;
    case 'z':
        if (in_class)
            return wrong(r, "invalid escape sequence", from, 2);
        buf_adds(r->out, "(?-m:$)");
        return true;
    case 'Q':
        for (; r->p < r->end; r->p++) {
            if (r->end - r->p >= 2 && r->p[0] == '\\' && r->p[1] == 'E') {
                r->p += 2;
                break;
            }
            if (!isalnum((unsigned char)*r->p) && (unsigned char)*r->p < 0x80)
                buf_addc(r->out, '\\');
            buf_addc(r->out, *r->p);
        }
        return true;
    case 'x':
    case 'p':
    case 'P':
    case 'd':
    case 'D':
    case 'w':
    case 'W':
    case 'a':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        break;
    case 'b':
    case 'B':
    case 'A':
    case 'C':
        if (in_class)
            return wrong(r, "invalid escape sequence", from, 2);
        break;
    default:
        if (c >= '0' && c <= '7') { /* octal, of two digits at least unless 0 */
            int v = c - '0', n = 1;
            for (; n < 3 && r->p < r->end && *r->p >= '0' && *r->p <= '7'; n++)
                v = v * 8 + *r->p++ - '0';
            if (c != '0' && n == 1)
                return wrong(r, "invalid escape sequence", from, 2);
            buf_addf(r->out, "\\x{%x}", (unsigned)v);
            return true;
        }
        if (isalnum((unsigned char)c))
            return wrong(r, "invalid escape sequence", from, 2);
    }
    buf_addc(r->out, '\\');
    buf_addc(r->out, c);
    return true;
}

/* r->p stands at '['. */
static bool
read_class(struct reader *r)
{
    const char *from = r->p++;
    buf_addc(r->out, '[');
    if (r->p < r->end && *r->p == '^')
        buf_addc(r->out, *r->p++);
    for (bool first = true;; first = false) {
        if (r->p == r->end)
            return wrong(r, "missing ]", from, (size_t)(r->end - from));
        if (*r->p == ']' && !first)
            break;
        if (*r->p == '\\') {
            if (!read_escape(r, true))
                return false;
        } else if (*r->p == '[' && r->p + 1 < r->end && r->p[1] == ':') {
            const char *close = memmem(r->p, (size_t)(r->end - r->p), ":]", 2);
            size_t n = close ? (size_t)(close + 2 - r->p) : 1;
            if (!close)
                buf_addc(r->out, '\\');
            buf_add(r->out, r->p, n);
            r->p += n;
        } else {
            if (*r->p == '[' || (*r->p == ']' && first))
                buf_addc(r->out, '\\');
            buf_addc(r->out, *r->p++);
        }
    }
    buf_addc(r->out, *r->p++);
    return true;
}

/* r->p stands at '('. */
static bool
read_group(struct reader *r)
{
    const char *from = r->p++;
    if (r->p < r->end && *r->p == '*')
        return wrong(r, "no argument for repetition operator", r->p, 1);
    buf_addc(r->out, '(');
    if (r->p == r->end || *r->p != '?')
        return true;
    const char *q = ++r->p;
    buf_addc(r->out, '?');
    if (q < r->end && (*q == 'P' || *q == '<')) {
        const char *name = q + (*q == 'P');
        if (name + 1 >= r->end || *name != '<' || name[1] == '=' || name[1] == '!')
            return wrong(r, "invalid perl operator", from, 3);
        buf_add(r->out, q, (size_t)(name + 1 - q));
        r->p = name + 1;
        return true;
    }
    while (q < r->end && strchr("imsU-", *q))
        q++;
    if (q == r->end || (*q != ':' && *q != ')'))
        return wrong(r, "invalid perl operator", from, (size_t)(q - from) + 1);
    buf_add(r->out, r->p, (size_t)(q + 1 - r->p));
    r->p = q + 1;
    return true;
}

/* A repetition "{2}", "{2,}", "{2,5}" at p: its length, 0: just a brace. *high: the
 * larger bound. */
static size_t
repeat_len(const char *p, const char *end, int64_t *high)
{
    const char *from = p++;
    int64_t v[2] = { -1, -1 };
    for (int i = 0; i < 2; i++) {
        for (; p < end && isdigit((unsigned char)*p); p++)
            v[i] = K_MIN((v[i] < 0 ? 0 : v[i]) * 10 + *p - '0', (int64_t)100000);
        if (i > 0 || p == end || *p != ',')
            break;
        p++;
    }
    *high = K_MAX(v[0], v[1]);
    return p < end && *p == '}' && v[0] >= 0 ? (size_t)(p + 1 - from) : 0;
}

/* Copies a repetition operator of n bytes with its '?'. */
static void
read_repeat(struct reader *r, size_t n)
{
    if (r->p + n < r->end && r->p[n] == '?')
        n++;
    buf_add(r->out, r->p, n);
    r->p += n;
}

/* False, with r->why: no pattern of RE2. */
static bool
read_pattern(struct reader *r)
{
    const char *from = r->p, *op = NULL; /* the repetition that was read last */
    int depth = 0;
    bool repeatable = false;
    while (r->p < r->end) {
        int64_t high = 0;
        char c = *r->p;
        size_t n = c == '{' ? repeat_len(r->p, r->end, &high) : 0;
        if (n > 0 && high > 1000)
            return wrong(r, "invalid repetition size", r->p, n);
        if (n > 0 || c == '*' || c == '+' || c == '?') {
            n = n ? n : 1;
            if (op)
                return wrong(r, "bad repetition operator", op, (size_t)(r->p - op) + n);
            if (!repeatable)
                return wrong(r, "no argument for repetition operator", r->p, n);
            op = r->p;
            read_repeat(r, n);
            continue;
        }
        op = NULL;
        repeatable = c != '(' && c != '|';
        bool ok = true;
        if (c == ')' && depth-- == 0)
            return wrong(r, "unexpected )", from, (size_t)(r->p + 1 - from));
        if (c == '\\') {
            ok = read_escape(r, false);
        } else if (c == '[') {
            ok = read_class(r);
        } else if (c == '(') {
            ok = read_group(r);
            depth += ok && r->p[-1] != ')';
        } else {
            buf_addc(r->out, *r->p++);
        }
        if (!ok)
            return false;
    }
    return depth == 0 || wrong(r, "missing )", from, (size_t)(r->end - from));
}

/* ---- compiling ---- */

/* *out is freed with pcre2_code_free. Prints what is wrong into `why`. */
static bool
compile(struct str pattern, pcre2_code **out, char *why, size_t why_bytes)
{
    struct buf b AUTO(buf_release) = { .cap_bytes = 1 << 20 };
    struct reader r = { pattern.p, pattern.p + pattern.n, &b, NULL, { NULL, 0 } };
    if (pattern.n > 0 && !read_pattern(&r)) {
        snprintf(why, why_bytes, "%s: %.*s", r.why, STR_ARG(r.what));
        return false;
    }
    int code = 0;
    PCRE2_SIZE at = 0;
    pcre2_compile_context *c = pcre2_compile_context_create(NULL);
    if (c)
        pcre2_set_newline(c, PCRE2_NEWLINE_LF);
    *out =
        pcre2_compile((PCRE2_SPTR)buf_str(&b), b.over ? PCRE2_ZERO_TERMINATED : b.len,
                      PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_DOLLAR_ENDONLY |
                          PCRE2_ALT_CIRCUMFLEX,
                      &code, &at, c);
    pcre2_compile_context_free(c);
    if (*out && !b.over)
        return true;
    pcre2_code_free(*out);
    *out = NULL;
    if (b.over || pcre2_get_error_message(code, (PCRE2_UCHAR *)why, why_bytes) < 0)
        snprintf(why, why_bytes, "pattern too large");
    return false;
}

struct regex {
    pcre2_code *code; /* NULL: the pattern is an input */
    struct str rewrite;
    bool global;
};

static void
free_code(void *code)
{
    pcre2_code_free(code);
}

int
rt_prep_regex(struct rt_prep *p)
{
    struct regex *x = p->node->state = rt_prep_alloc(p, sizeof(*x));
    char why[256];
    x->global = rt_attr_bool(p, "replace_global", true);
    if (strncmp(p->node->op, "Static", 6) != 0)
        return rt_prep_done(p);
    struct str pattern = str_of(rt_attr_str(p, "pattern", NULL));
    x->rewrite = str_of(rt_attr_str(p, "rewrite", ""));
    if (!compile(pattern, &x->code, why, sizeof(why)))
        return rt_prep_fail(p, ERR_FAILED, "Invalid pattern: %.*s, error: %s",
                            STR_ARG(pattern), why);
    rt_prep_on_free(p, free_code, x->code);
    return rt_prep_done(p);
}

/* ---- matching ---- */

struct matcher {
    pcre2_code *code, *owned;
    pcre2_match_data *data;
};

static void
matcher_release(struct matcher *m)
{
    pcre2_match_data_free(m->data);
    pcre2_code_free(m->owned);
}

static int
matcher_init(struct rt_ctx *ctx, struct matcher *m, struct err *err)
{
    const struct regex *x = ctx->node->state;
    char why[256], shape[RT_SHAPE_TEXT_BYTES];
    m->code = x->code;
    if (!m->code) {
        if (ctx->in[1]->rank != 0)
            return rt_fail(ctx, err, ERR_FAILED,
                           "Pattern must be scalar, but received %s",
                           rt_shape_text(ctx->in[1], shape));
        struct str pattern = str_at(ctx->in[1], 0);
        if (!compile(pattern, &m->owned, why, sizeof(why)))
            return rt_fail(ctx, err, ERR_FAILED, "Invalid pattern: %.*s, error: %s",
                           STR_ARG(pattern), why);
        m->code = m->owned;
    }
    m->data = pcre2_match_data_create_from_pattern(m->code, NULL);
    return m->data ? 0 : rt_fail(ctx, err, ERR_LIMIT, "out of memory for a match");
}

/* 1 a match from `at` on, 0 none, < 0 an error. */
static int
match(struct rt_ctx *ctx, struct matcher *m, struct str s, size_t at, uint32_t options,
      struct err *err)
{
    int n = pcre2_match(m->code, (PCRE2_SPTR)(s.p ? s.p : ""), s.n, at, options,
                        m->data, NULL);
    if (n == PCRE2_ERROR_NOMATCH)
        return 0;
    if (n < 0)
        return rt_fail(ctx, err, ERR_LIMIT,
                       "the pattern needs too many steps on a text of %zu bytes", s.n);
    return 1;
}

int
rt_run_regex_full_match(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    struct matcher m AUTO(matcher_release) = { .code = NULL };
    struct rt_tensor *y;
    if (matcher_init(ctx, &m, err) < 0 ||
        rt_out(ctx, 0, SM_BOOL, x->rank, x->dims, &y, err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < x->n_elems; i++) {
        int hit =
            match(ctx, &m, str_at(x, i), 0, PCRE2_ANCHORED | PCRE2_ENDANCHORED, err);
        if (hit < 0)
            return hit;
        /* In an ill-formed text the ends of a well-formed piece pass as its ends. */
        const PCRE2_SIZE *span = pcre2_get_ovector_pointer(m.data);
        ((uint8_t *)y->data)[i] = hit && span[0] == 0 && span[1] == str_at(x, i).n;
    }
    return 0;
}

/* Appends the rewrite with \0 … \9 for what matched; it ends at a wrong escape (false).
 */
static bool
put_rewrite(const struct matcher *m, struct str s, struct str rewrite, struct buf *out)
{
    const PCRE2_SIZE *span = pcre2_get_ovector_pointer(m->data);
    for (size_t i = 0; i < rewrite.n; i++) {
        char c = rewrite.p[i];
        if (c != '\\') {
            buf_addc(out, c);
            continue;
        }
        c = ++i < rewrite.n ? rewrite.p[i] : '\0';
        if (c != '\\' && !isdigit((unsigned char)c))
            return false;
        if (c == '\\') {
            buf_addc(out, c);
            continue;
        }
        PCRE2_SIZE from = span[2 * (c - '0')], to = span[2 * (c - '0') + 1];
        if (from != PCRE2_UNSET && to > from)
            buf_add(out, s.p + from, to - from);
    }
    return true;
}

/* The pattern has all groups that the rewrite names. */
static bool
has_groups(const struct matcher *m, struct str rewrite)
{
    uint32_t n = pcre2_get_ovector_count(m->data);
    for (size_t i = 0; i + 1 < rewrite.n; i++)
        if (rewrite.p[i] == '\\' && isdigit((unsigned char)rewrite.p[++i]) &&
            (uint32_t)(rewrite.p[i] - '0') >= n)
            return false;
    return true;
}

/* One text. *changed: something matched. */
static int
replace(struct rt_ctx *ctx, struct matcher *m, struct str s, struct str rewrite,
        bool global, struct buf *out, bool *changed, struct err *err)
{
    const PCRE2_SIZE *span = pcre2_get_ovector_pointer(m->data);
    size_t at = 0, last_end = SIZE_MAX;
    *changed = false;
    while (at <= s.n) {
        int hit = match(ctx, m, s, at, 0, err);
        if (hit < 0)
            return hit;
        if (!hit)
            break;
        if (span[0] > at)
            buf_add(out, s.p + at, span[0] - at);
        if (span[0] == span[1] && span[0] == last_end) {
            /* An empty match where the last one ended does not count. */
            struct str rest = { s.p + span[0], s.n - span[0] };
            size_t n = rest.n;
            if (n > 0) {
                utf8_take(&rest);
                buf_add(out, s.p + span[0], n - rest.n);
            }
            at = span[0] + (n > 0 ? n - rest.n : 1);
            continue;
        }
        bool ok = put_rewrite(m, s, rewrite, out);
        *changed = ok || global;
        at = last_end = span[1];
        if (!global)
            break;
    }
    if (at < s.n)
        buf_add(out, s.p + at, s.n - at);
    return 0;
}

int
rt_run_regex_replace(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    const struct regex *r = ctx->node->state;
    struct matcher m AUTO(matcher_release) = { .code = NULL };
    struct buf b AUTO(buf_release) = BUF_INIT;
    struct str *y, rewrite = r->rewrite;
    char shape[RT_SHAPE_TEXT_BYTES];
    if (matcher_init(ctx, &m, err) < 0 || str_out_like(ctx, 0, x, &y, err) < 0)
        return -(int)err->code;
    if (!r->code) {
        if (ctx->in[2]->rank != 0)
            return rt_fail(ctx, err, ERR_FAILED,
                           "Rewrite must be scalar, but received %s",
                           rt_shape_text(ctx->in[2], shape));
        rewrite = str_at(ctx->in[2], 0);
    }
    if (!has_groups(&m, rewrite)) /* TensorFlow replaces nothing then */
        for (int64_t i = 0; i < x->n_elems; i++)
            y[i] = str_at(x, i);
    else
        for (int64_t i = 0; i < x->n_elems; i++) {
            bool changed;
            buf_clear(&b);
            if (replace(ctx, &m, str_at(x, i), rewrite, r->global, &b, &changed, err) <
                0)
                return -(int)err->code;
            y[i] = str_at(x, i);
            if (changed && str_from_buf(ctx, &b, &y[i], err) < 0)
                return -(int)err->code;
        }
    return 0;
}
