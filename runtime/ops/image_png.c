/* SPDX-License-Identifier: Apache-2.0 */
/* PNG, by libpng, asked for what TensorFlow asks of it. */
#include "runtime/ops/image_codec.h"

#include <png.h>

struct reader {
    png_structp png;
    png_infop info;
    struct str left; /* not read yet */
};

static void
fail(png_structp png, png_const_charp text)
{
    (void)text;
    png_longjmp(png, 1);
}

static void
ignore(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text;
}

static void
take(png_structp png, png_bytep out, size_t n)
{
    struct reader *r = png_get_io_ptr(png);
    if (n > r->left.n)
        png_error(png, "cut");
    memcpy(out, r->left.p, n);
    r->left.p += n;
    r->left.n -= n;
}

static void
set_alpha(const struct reader *r, bool wanted, int color, int bits)
{
    bool has = color & PNG_COLOR_MASK_ALPHA,
         transparent = png_get_valid(r->png, r->info, PNG_INFO_tRNS) != 0;
    if (!wanted && has)
        png_set_strip_alpha(r->png);
    else if (wanted && transparent)
        png_set_tRNS_to_alpha(r->png);
    else if (wanted && !has)
        png_set_add_alpha(r->png, (1u << bits) - 1, PNG_FILLER_AFTER);
}

/* Reads the header and says what is wanted: `channels` (0: as there are, set), 16 bits
 * or 8. False: no PNG. */
static bool
begin(struct reader *r, bool wide, int *channels, int *bits)
{
    if (setjmp(png_jmpbuf(r->png)))
        return false;
    png_set_read_fn(r->png, r, take);
    png_read_info(r->png, r->info);
    int color = png_get_color_type(r->png, r->info);
    bool is_gray = !(color & PNG_COLOR_MASK_COLOR);
    *bits = png_get_bit_depth(r->png, r->info);
    if (*channels == 0 && color == PNG_COLOR_TYPE_PALETTE)
        *channels = png_get_valid(r->png, r->info, PNG_INFO_tRNS) ? 4 : 3;
    else if (*channels == 0)
        *channels = png_get_channels(r->png, r->info);
    set_alpha(r, *channels % 2 == 0, color, *bits);
    if (*bits > 8 && !wide)
        png_set_strip_16(r->png);
    png_set_packing(r->png);
    if (wide)
        png_set_swap(r->png);
    if (color == PNG_COLOR_TYPE_PALETTE)
        png_set_palette_to_rgb(r->png);
    if (is_gray && *bits < 8)
        png_set_expand_gray_1_2_4_to_8(r->png);
    if (*channels < 3 && !is_gray)
        png_set_rgb_to_gray(r->png, 1, 0.299, 0.587);
    else if (*channels >= 3 && is_gray)
        png_set_gray_to_rgb(r->png);
    return true;
}

static bool
read_rows(struct reader *r, uint8_t *rows, size_t row_bytes, uint32_t height)
{
    if (setjmp(png_jmpbuf(r->png)))
        return false;
    int n_passes = png_set_interlace_handling(r->png);
    png_read_update_info(r->png, r->info);
    if (png_get_rowbytes(r->png, r->info) > row_bytes)
        return false;
    for (int pass = 0; pass < n_passes; pass++)
        for (uint32_t i = 0; i < height; i++)
            png_read_row(r->png, rows + i * row_bytes, NULL);
    png_read_end(r->png, r->info);
    return true;
}

/* 8-bit samples in the first half of each row become 16-bit ones, from the last on. */
static void
widen_rows(uint8_t *rows, int64_t n_rows, int64_t n)
{
    for (int64_t i = 0; i < n_rows; i++) {
        uint8_t *row = rows + i * n * 2;
        for (int64_t k = n - 1; k >= 0; k--) {
            uint8_t v = row[k];
            row[2 * k] = row[2 * k + 1] = v;
        }
    }
}

static int
decode(struct rt_ctx *ctx, struct reader *r, struct err *err)
{
    const struct image_decode *d = ctx->node->state;
    bool wide = d->dtype != SM_UINT8;
    int channels = d->channels, bits = 0;
    size_t size_bytes = r->left.n;
    struct image_place at;
    if (!begin(r, wide, &channels, &bits))
        return rt_fail(ctx, err, ERR_FAILED,
                       "Invalid PNG. Failed to initialize decoder.");
    uint32_t width = png_get_image_width(r->png, r->info),
             height = png_get_image_height(r->png, r->info);
    if ((int64_t)width * height >= (1 << 29) / channels)
        return rt_fail(ctx, err, ERR_FAILED, "PNG size too large for int: %u by %u",
                       width, height);
    if (image_place(ctx, -1, height, width, channels, wide, &at, err) < 0)
        return -(int)err->code;
    size_t row_bytes = (size_t)width * (size_t)channels << wide;
    if (!read_rows(r, at.data, row_bytes, height))
        return rt_fail(ctx, err, ERR_FAILED, "Invalid PNG data, size %zu", size_bytes);
    if (wide && bits <= 8)
        widen_rows(at.data, height, (int64_t)width * channels);
    image_finish(ctx, &at, wide);
    return 0;
}

int
image_png(struct rt_ctx *ctx, struct str bytes, struct err *err)
{
    struct reader r = { .left = bytes };
    r.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, NULL, fail, ignore);
    if (r.png)
        r.info = png_create_info_struct(r.png);
    int rc = r.info ? decode(ctx, &r, err)
                    : rt_fail(ctx, err, ERR_LIMIT, "no memory for libpng");
    png_destroy_read_struct(&r.png, &r.info, NULL);
    return rc;
}

/* ---- encoding -------------------------------------------------------------------- */

static void
put(png_structp png, png_bytep p, size_t n)
{
    buf_add(png_get_io_ptr(png), p, n);
}

static void
flush(png_structp png)
{
    (void)png;
}

static bool
write_rows(png_structp png, png_infop info, const struct image_encode *e,
           const uint8_t *pixels, const int64_t dims[3], int elem_bytes,
           struct buf *out)
{
    static const int colors[] = { PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA,
                                  PNG_COLOR_TYPE_RGB, PNG_COLOR_TYPE_RGB_ALPHA };
    if (setjmp(png_jmpbuf(png)))
        return false;
    png_set_write_fn(png, out, put, flush);
    png_set_compression_level(png, e->compression);
    png_set_IHDR(png, info, (uint32_t)dims[1], (uint32_t)dims[0], 8 * elem_bytes,
                 colors[dims[2] - 1], PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    if (elem_bytes > 1)
        png_set_swap(png);
    for (int64_t i = 0; i < dims[0]; i++)
        png_write_row(png, pixels + i * dims[1] * dims[2] * elem_bytes);
    png_write_end(png, NULL);
    return true;
}

int
image_to_png(struct rt_ctx *ctx, const void *pixels, const int64_t dims[3],
             int elem_bytes, struct buf *out, struct err *err)
{
    png_infop info = NULL;
    png_structp png =
        png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, fail, ignore);
    if (png)
        info = png_create_info_struct(png);
    bool ok = info && dims[0] <= INT32_MAX && dims[1] <= INT32_MAX &&
              write_rows(png, info, ctx->node->state, pixels, dims, elem_bytes, out);
    png_destroy_write_struct(&png, &info);
    return ok ? 0 : rt_fail(ctx, err, ERR_FAILED, "PNG encoding failed");
}
