/* SPDX-License-Identifier: Apache-2.0 */
/* The values that a pickle makes, and the text of protocol 0. */
#include "savedmodel/sm_pickle_int.h"

#include <stdlib.h>

void
pk_init(struct pk *p, size_t max_bytes)
{
    p->n = 1;
    p->cap = 64;
    p->v = xcalloc(p->cap, sizeof(*p->v));
    p->max_bytes = max_bytes;
}

void
pk_release(struct pk *p)
{
    for (size_t i = 1; i < p->n; i++)
        free(p->v[i].items);
    for (size_t i = 0; i < p->n_heap; i++)
        free(p->heap[i]);
    free(p->heap);
    free(p->v);
}

pk_ref
pk_new(struct pk *p, enum pk_kind kind)
{
    if (p->n == p->cap) {
        p->cap *= 2;
        p->v = xreallocarray(p->v, p->cap, sizeof(*p->v));
    }
    p->v[p->n] = (struct pk_value){ .kind = kind };
    return (pk_ref)p->n++;
}

void
pk_append(struct pk *p, pk_ref list, pk_ref item)
{
    struct pk_value *l = &p->v[list];
    if (l->n_items == l->cap_items) {
        l->cap_items = l->cap_items ? 2 * l->cap_items : 4;
        l->items = xreallocarray(l->items, l->cap_items, sizeof(*l->items));
    }
    l->items[l->n_items++] = item;
}

char *
pk_keep(struct pk *p, const void *bytes, size_t n)
{
    if (n > p->max_bytes - p->heap_bytes)
        return NULL;
    p->heap = xreallocarray(p->heap, p->n_heap + 1, sizeof(*p->heap));
    char *copy = xmalloc(n + 1);
    if (n)
        memcpy(copy, bytes, n);
    copy[n] = '\0';
    p->heap[p->n_heap++] = copy;
    p->heap_bytes += n;
    return copy;
}

static int
hex_of(struct str *it, int n, uint32_t *v)
{
    *v = 0;
    for (int i = 0; i < n; i++) {
        struct str c;
        if (!sm_take(it, 1, &c))
            return -1;
        int d = c.p[0] >= '0' && c.p[0] <= '9' ? c.p[0] - '0'
                : (c.p[0] | 32) >= 'a' && (c.p[0] | 32) <= 'f'
                    ? (c.p[0] | 32) - 'a' + 10
                    : -1;
        if (d < 0)
            return -1;
        *v = *v << 4 | (uint32_t)d;
    }
    return 0;
}

bool
pk_text(struct pk *p, struct str line, bool is_unicode, struct str *out)
{
    static const char names[] = "\\'\"nrt", values[] = "\\'\"\n\r\t";
    struct buf text AUTO(buf_release) = { .cap_bytes = p->max_bytes };
    struct str c;
    bool ok = true;
    if (!is_unicode) {
        ok = line.n >= 2 && line.p[0] == line.p[line.n - 1] &&
             (line.p[0] == '\'' || line.p[0] == '"');
        line.p++;
        line.n -= ok ? 2 : 0;
    }
    while (ok && sm_take(&line, 1, &c)) {
        uint32_t v = (uint8_t)c.p[0];
        char next = line.n ? line.p[0] : '\0';
        const char *known = next ? strchr(names, next) : NULL;
        if (c.p[0] == '\\' && is_unicode && (next == 'u' || next == 'U')) {
            ok = sm_take(&line, 1, &c) && hex_of(&line, next == 'u' ? 4 : 8, &v) == 0;
        } else if (c.p[0] == '\\' && !is_unicode) {
            ok = sm_take(&line, 1, &c) &&
                 (known || (next == 'x' && hex_of(&line, 2, &v) == 0));
            v = known ? (uint8_t)values[known - names] : v;
        }
        if (ok && is_unicode)
            ok = sm_utf8_add(&text, v);
        else
            buf_addc(&text, (char)v);
    }
    char *kept = ok && !text.over ? pk_keep(p, buf_str(&text), text.len) : NULL;
    *out = (struct str){ kept, text.len };
    return kept != NULL;
}
