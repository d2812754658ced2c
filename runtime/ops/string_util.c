/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/ops/string_int.h"

int32_t
utf8_take(struct str *s)
{
    const unsigned char *p = (const unsigned char *)s->p;
    unsigned char lead = p[0], lo = 0x80, hi = 0xbf;
    size_t n_more = lead < 0x80 ? 0 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3, i = 1;
    int32_t c = lead < 0x80 ? lead : lead & (0x3f >> n_more);
    bool ok = lead < 0x80 || (lead >= 0xc2 && lead <= 0xf4);
    /* The second byte rules out overlong forms, surrogates and what is too large. */
    if (lead == 0xe0)
        lo = 0xa0;
    else if (lead == 0xed)
        hi = 0x9f;
    else if (lead == 0xf0)
        lo = 0x90;
    else if (lead == 0xf4)
        hi = 0x8f;
    for (; ok && i <= n_more; i++, lo = 0x80, hi = 0xbf) {
        if (i >= s->n || p[i] < lo || p[i] > hi) {
            ok = false;
            break;
        }
        c = c << 6 | (p[i] & 0x3f);
    }
    s->p += i;
    s->n -= i;
    return ok ? c : -1;
}

int
utf8_put(int32_t c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    int n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (int i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)((0xf00 >> n & 0xff) | c);
    return n;
}

int
str_out_like(struct rt_ctx *ctx, int i, const struct rt_tensor *t, struct str **y,
             struct err *err)
{
    struct rt_tensor *out;
    if (rt_out(ctx, i, SM_STRING, t->rank, t->dims, &out, err) < 0)
        return -(int)err->code;
    *y = out->data;
    return 0;
}

int
str_from_buf(struct rt_ctx *ctx, struct buf *b, struct str *out, struct err *err)
{
    if (buf_check(b, "a string", err) < 0 ||
        rt_str_dup(ctx, (struct str){ b->data, b->len }, out, err) < 0)
        return -(int)err->code;
    buf_clear(b);
    return 0;
}
