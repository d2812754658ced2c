/* SPDX-License-Identifier: Apache-2.0 */
/* UnicodeDecode, UnicodeDecodeWithOffsets, UnicodeEncode, UnicodeTranscode between
 * UTF-8, UTF-16, UTF-32, Latin-1 and ASCII. Each longest ill-formed piece is one error:
 * refused, replaced or left out. */
#include "runtime/ops/string_int.h"

#include <ctype.h>
#include <stdlib.h>

/* Takes a code point from the front of *s (s->n > 0); -1: an ill-formed piece. */
typedef int32_t take_fn(struct str *s);
/* Writes a code point, returns its length. */
typedef int put_fn(int32_t c, char out[4]);

static uint32_t
unit_be(const char *p, int n)
{
    uint32_t v = 0;
    for (int i = 0; i < n; i++)
        v = v << 8 | (unsigned char)p[i];
    return v;
}

static uint32_t
unit_le(const char *p, int n)
{
    uint32_t v = 0;
    for (int i = n - 1; i >= 0; i--)
        v = v << 8 | (unsigned char)p[i];
    return v;
}

static int32_t
skip(struct str *s, size_t n, int32_t c)
{
    n = K_MIN(n, s->n);
    s->p += n;
    s->n -= n;
    return c;
}

static int32_t
take_utf16(struct str *s, uint32_t (*unit)(const char *p, int n))
{
    if (s->n < 2)
        return skip(s, 2, -1);
    uint32_t c = unit(s->p, 2);
    if (c < 0xd800 || c > 0xdfff)
        return skip(s, 2, (int32_t)c);
    if (c >= 0xdc00)
        return skip(s, 2, -1);
    if (s->n < 4)
        return skip(s, 4, -1);
    uint32_t low = unit(s->p + 2, 2);
    if (low < 0xdc00 || low > 0xdfff)
        return skip(s, 2, -1);
    return skip(s, 4, (int32_t)(0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00)));
}

static int32_t
take_utf32(struct str *s, uint32_t (*unit)(const char *p, int n))
{
    if (s->n < 4)
        return skip(s, 4, -1);
    uint32_t c = unit(s->p, 4);
    return skip(s, 4, c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) ? -1 : (int32_t)c);
}

static int32_t
take_utf16be(struct str *s)
{
    return take_utf16(s, unit_be);
}
static int32_t
take_utf16le(struct str *s)
{
    return take_utf16(s, unit_le);
}
static int32_t
take_utf32be(struct str *s)
{
    return take_utf32(s, unit_be);
}
static int32_t
take_utf32le(struct str *s)
{
    return take_utf32(s, unit_le);
}
static int32_t
take_latin1(struct str *s)
{
    return skip(s, 1, (unsigned char)s->p[0]);
}
static int32_t
take_ascii(struct str *s)
{
    return skip(s, 1, (unsigned char)s->p[0] < 0x80 ? s->p[0] : -1);
}

static int
put_utf8(int32_t c, char out[4]) /* half a surrogate pair has no form */
{
    return utf8_put(c >= 0xd800 && c <= 0xdfff ? 0xfffd : c, out);
}

static int
put_utf16be(int32_t c, char out[4])
{
    uint32_t v = (uint32_t)c;
    int n = 2;
    if (c >= 0x10000) {
        v -= 0x10000;
        v = (0xd800 + (v >> 10)) << 16 | (0xdc00 + (v & 0x3ff));
        n = 4;
    }
    for (int i = n - 1; i >= 0; i--, v >>= 8)
        out[i] = (char)v;
    return n;
}

static int
put_utf32be(int32_t c, char out[4])
{
    for (int i = 3; i >= 0; i--, c >>= 8)
        out[i] = (char)c;
    return 4;
}

/* Names without letter case and punctuation. */
static const struct encoding {
    const char *name;
    take_fn *take;
    put_fn *put;
} encodings[] = {
    { "utf8", utf8_take, put_utf8 },   { "utf16be", take_utf16be, put_utf16be },
    { "utf16le", take_utf16le, NULL }, { "utf32be", take_utf32be, put_utf32be },
    { "utf32le", take_utf32le, NULL }, { "utf16", take_utf16be, NULL },
    { "utf32", take_utf32be, NULL },   { "usascii", take_ascii, NULL },
    { "ascii", take_ascii, NULL },     { "latin1", take_latin1, NULL },
    { "iso88591", take_latin1, NULL },
};

enum on_error { STRICT, REPLACE, IGNORE };
struct unicode {
    const struct encoding *from, *to;
    enum on_error on_error;
    int32_t replacement;
    bool control;
    int splits;
};

static const struct encoding *
find_encoding(struct rt_prep *p, const char *attr, const char *fallback)
{
    const char *text = rt_attr_str(p, attr, fallback);
    char plain[32];
    size_t n = 0;
    for (const char *s = text; *s && n < sizeof(plain) - 1; s++)
        if (isalnum((unsigned char)*s))
            plain[n++] = (char)tolower((unsigned char)*s);
    plain[n] = '\0';
    const struct encoding *e = K_ROW(encodings, plain);
    if (!e)
        rt_prep_fail(p, ERR_UNSUPPORTED,
                     "%s '%s'; UTF-8, UTF-16, UTF-32 (-BE, -LE), "
                     "ISO-8859-1 and US-ASCII work",
                     attr, text);
    return e;
}

int
rt_prep_unicode(struct rt_prep *p)
{
    struct unicode *u = p->node->state = rt_prep_alloc(p, sizeof(*u));
    bool decodes = strcmp(p->node->op, "UnicodeEncode") != 0;
    bool encodes = strncmp(p->node->op, "UnicodeDecode", 13) != 0;
    const char *errors = rt_attr_str(p, "errors", "replace");
    if (decodes)
        u->from = find_encoding(p, "input_encoding", NULL);
    if (encodes) {
        u->to = find_encoding(p, "output_encoding", NULL);
        if (u->to && !u->to->put)
            rt_prep_fail(p, ERR_FAILED,
                         "output_encoding must be UTF-8, UTF-16-BE or UTF-32-BE");
    }
    u->on_error = strcmp(errors, "strict") == 0   ? STRICT
                  : strcmp(errors, "ignore") == 0 ? IGNORE
                                                  : REPLACE;
    u->replacement = (int32_t)rt_attr_int(p, "replacement_char", 0xfffd);
    u->control = rt_attr_bool(p, "replace_control_characters", false);
    u->splits = rt_attr_type(p, "Tsplits", SM_INT64);
    if (u->replacement < 0 || u->replacement > 0x10ffff)
        rt_prep_fail(p, ERR_FAILED, "replacement_char out of unicode codepoint range");
    return rt_prep_done(p);
}

/* The next character that counts: 1 it is in *c, 0 it is left out, -1 an error. */
static int
next_char(struct rt_ctx *ctx, struct str *s, int32_t *c, struct err *err)
{
    const struct unicode *u = ctx->node->state;
    *c = u->from->take(s);
    if (*c >= (u->control ? 0x20 : 0))
        return 1;
    if (u->on_error == STRICT)
        return rt_fail(ctx, err, ERR_FAILED, "Invalid formatting on input string");
    *c = u->replacement;
    return u->on_error == REPLACE;
}

static int
put_splits(struct rt_tensor *t, int64_t i, int64_t v)
{
    if (t->dtype == SM_INT32)
        ((int32_t *)t->data)[i] = (int32_t)v;
    else
        ((int64_t *)t->data)[i] = v;
    return 0;
}

/* Rows of code points (and of where each begins, in bytes). */
int
rt_run_unicode_decode(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    const struct unicode *u = ctx->node->state;
    bool offsets = ctx->node->n_out > 2;
    struct buf values AUTO(buf_release) = BUF_INIT, starts AUTO(buf_release) = BUF_INIT;
    struct rt_tensor *splits, *y;
    int32_t c;
    if (rt_out(ctx, 0, u->splits, 1, (int64_t[]){ x->n_elems + 1 }, &splits, err) < 0)
        return -(int)err->code;
    put_splits(splits, 0, 0);
    for (int64_t i = 0; i < x->n_elems; i++) {
        struct str s = str_at(x, i);
        size_t len = s.n;
        while (s.n > 0) {
            int64_t at = (int64_t)(len - s.n);
            int got = next_char(ctx, &s, &c, err);
            if (got < 0)
                return got;
            if (got > 0)
                buf_add(&values, &c, sizeof(c));
            if (got > 0 && offsets)
                buf_add(&starts, &at, sizeof(at));
        }
        put_splits(splits, i + 1, (int64_t)(values.len / sizeof(c)));
    }
    int64_t n = (int64_t)(values.len / sizeof(c));
    if (buf_check(&values, "characters", err) < 0 ||
        buf_check(&starts, "offsets of characters", err) < 0 ||
        rt_out(ctx, 1, SM_INT32, 1, &n, &y, err) < 0)
        return -(int)err->code;
    if (n > 0)
        memcpy(y->data, values.data, values.len);
    if (!offsets)
        return 0;
    if (rt_out(ctx, 2, SM_INT64, 1, &n, &y, err) < 0)
        return -(int)err->code;
    if (n > 0)
        memcpy(y->data, starts.data, starts.len);
    return 0;
}

int
rt_run_unicode_transcode(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    const struct unicode *u = ctx->node->state;
    struct buf b AUTO(buf_release) = BUF_INIT;
    struct str *y;
    char bytes[4];
    int32_t c;
    if (str_out_like(ctx, 0, x, &y, err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < x->n_elems; i++) {
        struct str s = str_at(x, i);
        while (s.n > 0) {
            int got = next_char(ctx, &s, &c, err);
            if (got < 0)
                return got;
            if (got > 0)
                buf_add(&b, bytes, (size_t)u->to->put(c, bytes));
        }
        if (str_from_buf(ctx, &b, &y[i], err) < 0)
            return -(int)err->code;
    }
    return 0;
}

static bool
is_unicode_char(int32_t c)
{
    return c >= 0 && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff) &&
           (c < 0xfdd0 || c > 0xfdef) && (c & 0xfffe) != 0xfffe;
}

/* input_values, input_splits: rows of code points to strings. */
int
rt_run_unicode_encode(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0], *splits = ctx->in[1];
    const struct unicode *u = ctx->node->state;
    struct buf b AUTO(buf_release) = BUF_INIT;
    int64_t n = splits->n_elems - 1;
    struct rt_tensor *y;
    char bytes[4];
    if (splits->n_elems < 1)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Input_splits should contain elements, but given input_values "
                       "has 0 elements");
    if (rt_int_at(splits, 0) != 0)
        return rt_fail(ctx, err, ERR_FAILED,
                       "First value in input_splits must be zero.");
    if (rt_int_at(splits, n) != x->n_elems)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Last value in input_splits must be equal to length of "
                       "input_tensor.");
    for (int64_t i = 1; i <= n; i++)
        if (rt_int_at(splits, i) < rt_int_at(splits, i - 1))
            return rt_fail(ctx, err, ERR_FAILED,
                           "Values in input_splits must be equal or in ascending "
                           "order.");
    if (rt_out(ctx, 0, SM_STRING, 1, &n, &y, err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = rt_int_at(splits, i); k < rt_int_at(splits, i + 1); k++) {
            int32_t c = ((const int32_t *)x->data)[k];
            if (!is_unicode_char(c) && u->on_error == STRICT)
                return rt_fail(ctx, err, ERR_FAILED,
                               "Code point is out of range for Unicode, or a "
                               "noncharacter.");
            if (!is_unicode_char(c) && u->on_error == REPLACE)
                c = u->replacement;
            if (c >= 0 && c <= 0x10ffff) /* ignored: noncharacters pass */
                buf_add(&b, bytes, (size_t)u->to->put(c, bytes));
        }
        if (str_from_buf(ctx, &b, (struct str *)y->data + i, err) < 0)
            return -(int)err->code;
    }
    return 0;
}
