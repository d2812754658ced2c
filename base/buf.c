/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *
xmalloc(size_t size_bytes)
{
    return xrealloc(NULL, size_bytes);
}

void *
xcalloc(size_t n, size_t size_bytes)
{
    void *p = calloc(n ? n : 1, size_bytes ? size_bytes : 1);

    if (!p)
        BUG("out of memory: %zu times %zu bytes", n, size_bytes);
    return p;
}

void *
xrealloc(void *p, size_t size_bytes)
{
    void *q = realloc(p, size_bytes ? size_bytes : 1);

    if (!q)
        BUG("out of memory: %zu bytes", size_bytes);
    return q;
}

void *
xreallocarray(void *p, size_t n, size_t size_bytes)
{
    size_t total_bytes;

    if (__builtin_mul_overflow(n, size_bytes, &total_bytes))
        BUG("out of memory: %zu times %zu bytes", n, size_bytes);
    return xrealloc(p, total_bytes);
}

char *
xstrdup(const char *s)
{
    return xstrndup(s, strlen(s));
}

char *
xstrndup(const char *s, size_t n)
{
    size_t len = strnlen(s, n);
    char *p = xmalloc(len + 1);

    memcpy(p, s, len);
    p[len] = '\0';
    return p;
}

char *
xasprintf(const char *fmt, ...)
{
    va_list ap;
    char *out;
    int n;

    va_start(ap, fmt);
    n = vasprintf(&out, fmt, ap);
    va_end(ap);
    if (n < 0)
        BUG("out of memory: a string for \"%s\"", fmt);
    return out;
}

void
free_ptr(void *pp)
{
    void *p;

    memcpy(&p, pp, sizeof(p)); /* pp is a T **, whose T is not known here */
    free(p);
}

void
buf_release(struct buf *b)
{
    free(b->data);
    *b = (struct buf){ .cap_bytes = b->cap_bytes };
}

void
buf_clear(struct buf *b)
{
    b->len = 0;
    b->over = false;
    if (b->data)
        b->data[0] = '\0';
}

char *
buf_room(struct buf *b, size_t n)
{
    size_t cap_bytes = b->cap_bytes ? b->cap_bytes : BUF_CAP_DEFAULT;
    size_t want_bytes;

    if (b->len > cap_bytes || n > cap_bytes - b->len) {
        b->over = true;
        return NULL;
    }
    if (n >= b->alloc_bytes - b->len || !b->data) {
        want_bytes = b->alloc_bytes + b->alloc_bytes / 2;
        if (want_bytes > cap_bytes)
            want_bytes = cap_bytes;
        if (want_bytes < b->len + n)
            want_bytes = b->len + n;
        if (want_bytes < 63 && cap_bytes >= 63)
            want_bytes = 63;
        b->data = xrealloc(b->data, want_bytes + 1);
        b->alloc_bytes = want_bytes + 1;
        b->data[b->len] = '\0';
    }
    return b->data + b->len;
}

void
buf_add(struct buf *b, const void *p, size_t n)
{
    char *room = buf_room(b, n);

    if (!room)
        return;
    if (n > 0)
        memcpy(room, p, n);
    room[n] = '\0';
    b->len += n;
}

void
buf_adds(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void
buf_addc(struct buf *b, char c)
{
    buf_add(b, &c, 1);
}

void
buf_addf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    char small[256];
    char *room;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(small, sizeof(small), fmt, ap);
    va_end(ap);
    if (n < 0)
        BUG("cannot format \"%s\"", fmt);
    if ((size_t)n < sizeof(small)) {
        buf_add(b, small, (size_t)n);
        return;
    }
    room = buf_room(b, (size_t)n);
    if (!room)
        return;
    va_start(ap, fmt);
    vsnprintf(room, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
}

int
buf_check(const struct buf *b, const char *what, struct err *err)
{
    if (b->over)
        return err_set(err, ERR_LIMIT, "%s: longer than the limit of %zu bytes", what,
                       b->cap_bytes ? b->cap_bytes : BUF_CAP_DEFAULT);
    return 0;
}

const char *
buf_str(const struct buf *b)
{
    return b->data ? b->data : "";
}

char *
buf_take(struct buf *b)
{
    char *s = b->data ? b->data : xstrdup("");

    b->data = NULL;
    buf_release(b);
    return s;
}

struct str
str_of(const char *s)
{
    return (struct str){ s, s ? strlen(s) : 0 };
}

char *
str_dup(struct str s)
{
    return xstrndup(s.n ? s.p : "", s.n);
}

bool
str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool
str_is(struct str a, const char *s)
{
    return str_eq(a, str_of(s));
}

bool
str_is_line(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < ' ' || *s == 127)
            return false;
    return true;
}

int
str_cmp(struct str a, struct str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n > 0 ? memcmp(a.p, b.p, n) : 0;

    return c != 0 ? c : (a.n > b.n) - (a.n < b.n);
}

int
str_distance(struct str a, struct str b, int cap)
{
    if (cap < 0)
        return 0;
    while (a.n && b.n && *a.p == *b.p)
        a.p++, a.n--, b.p++, b.n--;
    if (!a.n || !b.n)
        return (int)(a.n + b.n);
    struct str a1 = { a.p + 1, a.n - 1 }, b1 = { b.p + 1, b.n - 1 };
    int best = str_distance(a1, b1, cap - 1), d = str_distance(a1, b, cap - 1);
    best = d < best ? d : best;
    d = str_distance(a, b1, cap - 1);
    return 1 + (d < best ? d : best);
}

char *
str_replaced(const char *text, const char *from, const char *to)
{
    struct buf out AUTO(buf_release) = BUF_INIT;
    const size_t n = strlen(from);
    const char *at, *p = text;

    while (n > 0 && (at = strstr(p, from)) != NULL) {
        buf_add(&out, p, (size_t)(at - p));
        buf_adds(&out, to);
        p = at + n;
    }
    if (p == text)
        return NULL;
    buf_adds(&out, p);
    return buf_take(&out);
}
