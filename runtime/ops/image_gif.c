/* SPDX-License-Identifier: Apache-2.0 */
/* GIF: blocks of frames over a palette, LZW codes of 2 to 12 bits, low bits first. A
 * frame is laid over the one before; the canvas is as large as the largest frame. */
#include "runtime/ops/image_codec.h"

enum { MAX_CODES = 4096, MAX_FRAMES = 1 << 16 };

struct frame {
    int64_t left, top, width, height;
    const uint8_t *palette; /* 3 bytes a color */
    int n_colors;
    int transparent; /* -1: none */
    bool interlaced;
    int code_bits;
    struct str codes; /* sub-blocks */
};

static bool
take(struct str *s, size_t n, const uint8_t **out)
{
    if (s->n < n)
        return false;
    *out = (const uint8_t *)s->p;
    s->p += n;
    s->n -= n;
    return true;
}

static int64_t
le16(const uint8_t *p)
{
    return p[0] | p[1] << 8;
}

/* Sub-blocks up to the empty one. False: cut. */
static bool
skip_blocks(struct str *s)
{
    const uint8_t *n, *skipped;
    while (take(s, 1, &n))
        if (!*n)
            return true;
        else if (!take(s, *n, &skipped))
            return false;
    return false;
}

static bool
take_palette(struct str *s, int flags, struct frame *f)
{
    if (!(flags & 0x80))
        return true;
    f->n_colors = 2 << (flags & 7);
    return take(s, 3 * (size_t)f->n_colors, &f->palette);
}

/* The next whole frame; false: there is none. `f` holds what frames have in common. */
static bool
next_frame(struct str *s, struct frame *f)
{
    const uint8_t *p;
    f->transparent = -1;
    while (take(s, 1, &p) && *p != ';') {
        if (*p == '!') {
            struct str ext = *s;
            if (take(&ext, 6, &p) && p[0] == 0xf9 && p[1] >= 4)
                f->transparent = p[2] & 1 ? p[5] : -1;
            if (!take(s, 1, &p) || !skip_blocks(s))
                return false;
            continue;
        }
        if (*p != ',' || !take(s, 9, &p))
            return false;
        f->left = le16(p);
        f->top = le16(p + 2);
        f->width = le16(p + 4);
        f->height = le16(p + 6);
        int flags = p[8];
        f->interlaced = flags & 0x40;
        if (!take_palette(s, flags, f) || !take(s, 1, &p))
            return false;
        f->code_bits = *p;
        f->codes = *s;
        return f->code_bits >= 1 && f->code_bits <= 8 && skip_blocks(s);
    }
    return false;
}

/* ---- LZW ------------------------------------------------------------------------- */

struct lzw {
    struct str in;
    uint32_t bits;
    int n_bits, left; /* left: bytes of the sub-block */
    uint16_t prefix[MAX_CODES];
    uint8_t last[MAX_CODES], stack[MAX_CODES + 1];
};

static int
next_code(struct lzw *z, int width)
{
    const uint8_t *p;
    while (z->n_bits < width) {
        if (z->left == 0) {
            if (!take(&z->in, 1, &p) || !*p)
                return -1;
            z->left = *p;
        }
        if (!take(&z->in, 1, &p))
            return -1;
        z->left--;
        z->bits |= (uint32_t)*p << z->n_bits;
        z->n_bits += 8;
    }
    int code = (int)(z->bits & ((1u << width) - 1));
    z->bits >>= width;
    z->n_bits -= width;
    return code;
}

/* Color indices of a frame, n of them. False: cut or no such code. */
static bool
unpack(struct lzw *z, const struct frame *f, uint8_t *out, int64_t n)
{
    int clear = 1 << f->code_bits, width = f->code_bits + 1, next = clear + 2,
        before = -1, first = 0;
    *z = (struct lzw){ .in = f->codes };
    for (int64_t done = 0; done < n;) {
        int code = next_code(z, width), depth = 0;
        if (code < 0 || code == clear + 1 || code > next ||
            (before < 0 && code > clear))
            return false;
        if (code == clear) {
            width = f->code_bits + 1;
            next = clear + 2;
            before = -1;
            continue;
        }
        int at = code;
        if (code == next) { /* the one before, and its first color again */
            if (before < 0)
                return false;
            z->stack[depth++] = (uint8_t)first;
            at = before;
        }
        for (; at > clear; at = z->prefix[at])
            z->stack[depth++] = z->last[at];
        first = at;
        z->stack[depth++] = (uint8_t)first;
        if (before >= 0 && next < MAX_CODES) {
            z->prefix[next] = (uint16_t)before;
            z->last[next++] = (uint8_t)first;
            if (next == 1 << width && width < 12)
                width++;
        }
        before = code;
        while (depth > 0 && done < n)
            out[done++] = z->stack[--depth];
    }
    return true;
}

/* ---- frames ---------------------------------------------------------------------- */

/* The row of an interlaced frame that comes as number i. */
static int64_t
interlaced_row(int64_t i, int64_t height)
{
    static const int first[] = { 0, 4, 2, 1 }, step[] = { 8, 8, 4, 2 };
    for (int pass = 0; pass < 4; pass++) {
        int64_t n = height > first[pass]
                        ? (height - first[pass] + step[pass] - 1) / step[pass]
                        : 0;
        if (i < n)
            return first[pass] + i * step[pass];
        i -= n;
    }
    return 0;
}

/* Over `to`, which holds the frame before. False: a color outside the palette. */
static bool
paint(const struct frame *f, const uint8_t *colors, uint8_t *to, int64_t height,
      int64_t width)
{
    for (int64_t i = 0; i < f->height; i++) {
        int64_t y = f->top + (f->interlaced ? interlaced_row(i, f->height) : i);
        for (int64_t k = 0; y < height && k < f->width && f->left + k < width; k++) {
            int c = colors[i * f->width + k];
            if (c == f->transparent)
                continue;
            if (c >= f->n_colors)
                return false;
            memcpy(to + (y * width + f->left + k) * 3, f->palette + 3 * c, 3);
        }
    }
    return true;
}

static int
broken(struct rt_ctx *ctx, struct err *err, const char *why)
{
    return rt_fail(ctx, err, ERR_FAILED, "Invalid GIF data (%s)", why);
}

int
image_gif(struct rt_ctx *ctx, struct str s, struct err *err)
{
    const struct image_decode *d = ctx->node->state;
    struct frame all = { 0 }, f;
    struct image_place at;
    const uint8_t *p;
    int n = 0;
    int64_t height = 0, width = 0, largest = 0;
    if (!take(&s, 13, &p) || !take_palette(&s, p[10], &all))
        return broken(ctx, err, "no header");
    struct str rest = s;
    while (f = all, n < MAX_FRAMES && next_frame(&rest, &f)) {
        height = K_MAX(height, f.height);
        width = K_MAX(width, f.width);
        largest = K_MAX(largest, f.height * f.width);
        n++;
    }
    if (n == 0)
        return broken(ctx, err, "gif file does not contain any image");
    if (!d->animations && n > 1 && strcmp(ctx->node->op, "DecodeImage") != 0)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Got %d frames, but animated gifs can only be decoded by "
                       "tf.io.decode_gif or tf.io.decode_image",
                       n);
    if (d->channels != 0 && d->channels != 3)
        return rt_fail(ctx, err, ERR_FAILED, "channels must be 0 or 3 for GIF, got %d",
                       d->channels);
    int n_out = d->animations ? n : 1;
    struct lzw *z = rt_scratch(ctx, sizeof(*z), err);
    uint8_t *colors = z ? rt_scratch(ctx, (size_t)largest + 1, err) : NULL;
    if (!colors ||
        image_place(ctx, d->animations ? n : -1, height, width, 3, false, &at, err) < 0)
        return -(int)err->code;
    size_t size_bytes = (size_t)(height * width * 3);
    for (int i = 0; i < n_out; i++) {
        uint8_t *to = at.data + (size_t)i * size_bytes;
        if (i > 0)
            memcpy(to, to - size_bytes, size_bytes);
        else
            memset(to, 0, size_bytes);
        f = all;
        if (!next_frame(&s, &f) || !f.palette ||
            !unpack(z, &f, colors, f.height * f.width))
            return broken(ctx, err, "a frame is cut");
        if (!paint(&f, colors, to, height, width))
            return broken(ctx, err, "found color index outside of color map range");
        if (rt_poll(ctx, err) < 0)
            return -(int)err->code;
    }
    image_finish(ctx, &at, false);
    return 0;
}
