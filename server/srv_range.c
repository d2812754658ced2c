/* SPDX-License-Identifier: Apache-2.0 */
#include "server/srv_range.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

static const char *
skip_blanks(const char *p)
{
    while (*p == ' ' || *p == '\t')
        p++;
    return p;
}

/* Digits; a number beyond all sizes stays there. -1: there is none. */
static int64_t
take_number(const char **p)
{
    int64_t v = 0;
    if (**p < '0' || **p > '9')
        return -1;
    for (; **p >= '0' && **p <= '9'; ++*p)
        v = v > (INT64_MAX - 9) / 10 ? INT64_MAX / 10 : v * 10 + (**p - '0');
    return v;
}

/* One of the list. 1: it lies in the size, 0: not, -1: not of the form. */
static int
take_range(const char **p, int64_t size_bytes, struct srv_range *out)
{
    int64_t first = take_number(p);
    if (*(*p)++ != '-')
        return -1;
    int64_t last = take_number(p);
    if (first < 0 && last < 0)
        return -1;
    if (first < 0) { /* the last so many */
        first = last < size_bytes ? size_bytes - last : 0;
        last = last > 0 ? size_bytes - 1 : -1;
    } else if (last < 0) {
        last = size_bytes - 1;
    } else if (last < first) {
        return -1;
    }
    last = last < size_bytes ? last : size_bytes - 1;
    *out = (struct srv_range){ first, last - first + 1 };
    return first < size_bytes && last >= first;
}

int
srv_range_parse(const char *text, int64_t size_bytes,
                struct srv_range out[SRV_RANGES_MAX])
{
    int64_t n_bytes = 0;
    int n = 0;
    if (strncasecmp(text, "bytes=", 6) != 0)
        return -1;
    for (const char *p = text + 6;;) {
        struct srv_range one;
        p = skip_blanks(p);
        int r = take_range(&p, size_bytes, &one);
        p = skip_blanks(p);
        if (r < 0 || (*p && *p != ',') || (r == 1 && n == SRV_RANGES_MAX))
            return -1;
        if (r == 1) {
            n_bytes += one.n_bytes;
            out[n++] = one;
        }
        if (n > 1 && n_bytes > size_bytes)
            return -1; /* the same bytes again and again */
        if (!*p)
            return n;
        p++;
    }
}
