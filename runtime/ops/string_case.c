/* SPDX-License-Identifier: Apache-2.0 */
/* StringLower, StringUpper. Without an encoding only ASCII letters change; with "utf-8"
 * every letter does, by Unicode's full mappings for no particular language (one letter
 * may become three; a sigma at the end of a word is lowered to a final one). Ill-formed
 * bytes become U+FFFD there, as in TensorFlow. */
#include "runtime/ops/string_int.h"

#include <stdlib.h>
#include <utf8proc.h>

struct case_attrs {
    bool upper, utf8;
};

int
rt_prep_string_case(struct rt_prep *p)
{
    struct case_attrs *a = p->node->state = rt_prep_alloc(p, sizeof(*a));
    const char *encoding = rt_attr_str(p, "encoding", "");
    a->upper = strcmp(p->node->op, "StringUpper") == 0;
    a->utf8 = strcmp(encoding, "utf-8") == 0;
    if (!a->utf8 && encoding[0])
        rt_prep_fail(p, ERR_FAILED,
                     "only utf-8 or '' (no encoding) is supported, received %s",
                     encoding);
    return rt_prep_done(p);
}

static void
ascii_case(struct str s, char *out, char first, char delta)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        out[i] = c >= first && c < first + 26 ? (char)(c + delta) : c;
    }
}

static void
put(struct buf *b, int32_t c)
{
    char bytes[4];
    buf_add(b, bytes, (size_t)utf8_put(c, bytes));
}

/* A letter whose capital form is several letters: those of its folded form, each
 * raised. (Unicode's SpecialCasing follows this rule throughout.) */
static void
put_upper(struct buf *b, int32_t c)
{
    utf8proc_int32_t folded[8];
    int last = 0;
    if (utf8proc_category(c) != UTF8PROC_CATEGORY_LU) {
        utf8proc_ssize_t n =
            utf8proc_decompose_char(c, folded, 8, UTF8PROC_CASEFOLD, &last);
        if (n > 1 && n <= 8) {
            for (utf8proc_ssize_t i = 0; i < n; i++)
                put(b, utf8proc_toupper(folded[i]));
            return;
        }
    }
    put(b, utf8proc_toupper(c));
}

static bool
is_cased(int32_t c)
{
    utf8proc_category_t k = utf8proc_category(c);
    return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL ||
           k == UTF8PROC_CATEGORY_LT || utf8proc_tolower(c) != c ||
           utf8proc_toupper(c) != c;
}

/* Marks, format characters, apostrophes …: looked through when a word's end is sought.
 */
static bool
is_case_ignorable(int32_t c)
{
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
        return true;
    default:
        return c == '\'' || c == '.' || c == ':' || c == 0xb7 || c == 0x387 ||
               c == 0x55f || c == 0x5f4 || c == 0x2018 || c == 0x2019 || c == 0x2024 ||
               c == 0x2027 || c == 0xfe13 || c == 0xfe52 || c == 0xfe55 ||
               c == 0xff07 || c == 0xff0e || c == 0xff1a;
    }
}

/* No cased letter follows in `rest`. */
static bool
ends_word(struct str rest)
{
    while (rest.n > 0) {
        int32_t c = utf8_take(&rest);
        if (c < 0 || !is_case_ignorable(c))
            return c < 0 || !is_cased(c);
    }
    return true;
}

static void
utf8_case(struct str s, bool upper, struct buf *out)
{
    bool in_word = false;
    while (s.n > 0) {
        int32_t c = utf8_take(&s);
        if (c < 0)
            put(out, 0xfffd);
        else if (upper)
            put_upper(out, c);
        else if (c == 0x130)
            buf_adds(out, "i\xcc\x87");
        else if (c == 0x3a3)
            put(out, in_word && ends_word(s) ? 0x3c2 : 0x3c3);
        else
            put(out, utf8proc_tolower(c));
        if (c < 0 || !is_case_ignorable(c))
            in_word = c >= 0 && is_cased(c);
    }
}

int
rt_run_string_case(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    const struct case_attrs *a = ctx->node->state;
    struct buf b AUTO(buf_release) = BUF_INIT;
    struct str *y;
    if (str_out_like(ctx, 0, x, &y, err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < x->n_elems; i++) {
        struct str s = str_at(x, i);
        if (a->utf8) {
            utf8_case(s, a->upper, &b);
            if (str_from_buf(ctx, &b, &y[i], err) < 0)
                return -(int)err->code;
            continue;
        }
        char *p = rt_str_alloc(ctx, s.n, err);
        if (!p)
            return -(int)err->code;
        ascii_case(s, p, a->upper ? 'a' : 'A', a->upper ? -32 : 32);
        y[i] = (struct str){ p, s.n };
    }
    return 0;
}
