/* SPDX-License-Identifier: Apache-2.0 */
/* Python source cut into pieces, without knowing what they mean. */
#include "savedmodel/sm_expr_int.h"

static bool
is_blank(char c)
{
    return c && strchr(" \t\r\n\f", c);
}

struct str
sm_src_trim(struct str s)
{
    while (s.n > 0 && is_blank(s.p[0])) {
        s.p++;
        s.n--;
    }
    while (s.n > 0 && is_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

bool
sm_src_take(struct str *s, const char *prefix)
{
    struct str part;
    size_t n = strlen(prefix);
    return s->n >= n && memcmp(s->p, prefix, n) == 0 && sm_take(s, n, &part);
}

struct str
sm_src_word(struct str *s)
{
    struct str w = { s->p, 0 };
    for (; w.n < s->n; w.n++) {
        char c = s->p[w.n];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!is_letter && c != '_' && (c < '0' || c > '9'))
            break;
    }
    s->p += w.n;
    s->n -= w.n;
    return w;
}

/* How far the string in quotes at `s` goes; 0: it has no end. */
static size_t
quoted(struct str s)
{
    size_t q = s.n > 2 && s.p[1] == s.p[0] && s.p[2] == s.p[0] ? 3 : 1;
    for (size_t i = q; i + q <= s.n; i++) {
        if (s.p[i] == '\\')
            i++;
        else if (memcmp(s.p + i, s.p, q) == 0)
            return i + q;
    }
    return 0;
}

bool
sm_src_until(struct str *s, const char *stop, struct str *out)
{
    int depth = 0;
    for (size_t i = 0; i < s->n; i++) {
        char c = s->p[i];
        if (depth == 0 && c && strchr(stop, c))
            return sm_take(s, i, out);
        if (c == '\'' || c == '"') {
            size_t n = quoted((struct str){ s->p + i, s->n - i });
            if (n == 0)
                return false;
            i += n - 1;
        } else if (c == '(' || c == '[' || c == '{') {
            depth++;
        } else if (c == ')' || c == ']' || c == '}') {
            depth--;
        }
    }
    return false;
}

int
sm_src_item(struct str *s, struct str *out)
{
    *s = sm_src_trim(*s);
    if (s->n == 0)
        return 0;
    if (sm_src_until(s, ",", out))
        (void)sm_src_take(s, ",");
    else
        (void)sm_take(s, s->n, out);
    *out = sm_src_trim(*out);
    return out->n > 0 ? 1 : -1;
}
