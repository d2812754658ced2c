/* SPDX-License-Identifier: Apache-2.0 */
/* DecodePng, DecodeJpeg, DecodeAndCropJpeg, DecodeBmp, DecodeGif, DecodeImage: whatever
 * the op is called, the first bytes say what is decoded, and how. EncodePng,
 * EncodeJpeg, EncodeJpegVariableQuality. */
#include "runtime/ops/image_codec.h"

#include "runtime/ops/string_int.h"

#define IS_OP(ctx, name) (strcmp((ctx)->node->op, name) == 0)

/* ---- decoding -------------------------------------------------------------------- */

int
rt_prep_image_decode(struct rt_prep *p)
{
    struct image_decode *d = rt_prep_alloc(p, sizeof(*d));
    const char *op = p->node->op, *dct;
    p->node->state = d;
    *d = (struct image_decode){
        .dtype = SM_UINT8, .ratio = 1, .fancy = true, .fraction = 1
    };
    d->any_rank = strcmp(op, "DecodeGif") == 0;
    d->channels = d->any_rank ? 3 : (int)rt_attr_int(p, "channels", 0);
    if (strcmp(op, "DecodePng") == 0 || strcmp(op, "DecodeImage") == 0)
        d->dtype = rt_attr_type(p, "dtype", SM_UINT8);
    if (strcmp(op, "DecodeImage") == 0)
        d->animations = rt_attr_bool(p, "expand_animations", true);
    d->animations |= d->any_rank;
    if (strstr(op, "Jpeg")) {
        d->ratio = (int)rt_attr_int(p, "ratio", 1);
        d->fancy = rt_attr_bool(p, "fancy_upscaling", true);
        d->recover = rt_attr_bool(p, "try_recover_truncated", false);
        d->fraction = rt_attr_float(p, "acceptable_fraction", 1);
        dct = rt_attr_str(p, "dct_method", "");
        d->exact = strcmp(dct, "INTEGER_ACCURATE") == 0;
        if (*dct && !d->exact && strcmp(dct, "INTEGER_FAST") != 0)
            return rt_prep_fail(p, ERR_FAILED,
                                "dct_method must be one of {'', 'INTEGER_FAST', "
                                "'INTEGER_ACCURATE'}");
        if (d->ratio != 1 && d->ratio != 2 && d->ratio != 4 && d->ratio != 8)
            return rt_prep_fail(p, ERR_FAILED, "ratio must be 1, 2, 4, or 8, got %d",
                                d->ratio);
    }
    if (d->channels != 0 && d->channels != 1 && d->channels != 3 && d->channels != 4)
        return rt_prep_fail(p, ERR_FAILED, "`channels` must be 0, 1, 3 or 4 but got %d",
                            d->channels);
    if (d->dtype != SM_UINT8 && d->dtype != SM_UINT16 && d->dtype != SM_FLOAT)
        return rt_prep_fail(p, ERR_FAILED,
                            "dtype must be uint8, uint16 or float32, not %s",
                            rt_dtype_text(d->dtype));
    return rt_prep_done(p);
}

int
image_place(struct rt_ctx *ctx, int64_t frames, int64_t height, int64_t width,
            int channels, bool wide, struct image_place *out, struct err *err)
{
    const struct image_decode *d = ctx->node->state;
    int64_t dims[4] = { frames < 0 ? 1 : frames, height, width, channels };
    int first = frames < 0 && !d->any_rank;
    struct rt_tensor *y;
    if (rt_out(ctx, 0, d->dtype, 4 - first, dims + first, &y, err) < 0)
        return -(int)err->code;
    out->n_elems = y->n_elems;
    out->data = y->data;
    if (d->dtype != (wide ? SM_UINT16 : SM_UINT8)) {
        out->data = rt_scratch(ctx, (size_t)y->n_elems << wide, err);
        if (!out->data)
            return -(int)err->code;
    }
    return 0;
}

void
image_finish(struct rt_ctx *ctx, const struct image_place *p, bool wide)
{
    void *y = ctx->out[0].data;
    if (y == p->data)
        return;
    float by = wide ? 1.0f / 65535 : 1.0f / 255;
    for (int64_t i = 0; i < p->n_elems; i++)
        if (ctx->out[0].dtype == SM_UINT16)
            ((uint16_t *)y)[i] = (uint16_t)(p->data[i] << 8);
        else
            ((float *)y)[i] =
                by * (wide ? ((const uint16_t *)(void *)p->data)[i] : p->data[i]);
}

static const struct format {
    const char *magic;
    image_decode_fn *decode;
    const char *only; /* ops that may meet it; NULL: all but DecodeBmp and cropping */
} formats[] = {
    { "\xff\xd8\xff", image_jpeg, NULL },
    { "\x89PNG\r\n\x1a\n", image_png, NULL },
    { "GIF", image_gif, NULL },
    { "BM", image_bmp, "DecodeBmp DecodeImage" },
};

int
rt_run_image_decode(struct rt_ctx *ctx, struct err *err)
{
    char text[RT_SHAPE_TEXT_BYTES];
    if (ctx->in[0]->rank != 0)
        return rt_fail(ctx, err, ERR_FAILED,
                       "`contents` must be scalar but got shape%s",
                       rt_shape_text(ctx->in[0], text));
    struct str s = *(const struct str *)ctx->in[0]->data;
    if (s.n == 0)
        return rt_fail(ctx, err, ERR_FAILED, "Input is empty.");
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        const struct format *f = &formats[i];
        size_t n = strlen(f->magic);
        if (s.n < n || memcmp(s.p, f->magic, n) != 0)
            continue;
        bool crops = IS_OP(ctx, "DecodeAndCropJpeg") && f->decode != image_jpeg;
        if (crops ||
            (f->only ? !strstr(f->only, ctx->node->op) : IS_OP(ctx, "DecodeBmp")))
            return rt_fail(ctx, err, ERR_FAILED,
                           "Trying to decode an image of another format using a wrong "
                           "op. Use `decode_image` instead. Op used: %s",
                           ctx->node->op);
        return f->decode(ctx, s, err);
    }
    return rt_fail(ctx, err, ERR_FAILED,
                   "Unknown image file format. One of JPEG, PNG, GIF, BMP required.");
}

/* ---- BMP: a header, then rows of blue, green, red, padded to four bytes ---------- */

static int64_t
le(const char *p, int n)
{
    uint32_t v = 0;
    for (int i = 0; i < n; i++)
        v |= (uint32_t)(unsigned char)p[i] << 8 * i;
    return n == 4 ? (int32_t)v : (int64_t)v;
}

/* Gray becomes all colors; what is not there is opaque. */
static void
bmp_row(const char *from, int64_t n_from, uint8_t *to, int64_t n_to, int64_t width)
{
    for (int64_t i = 0; i < width; i++, from += n_from, to += n_to)
        for (int64_t c = 0; c < n_to; c++)
            to[c] = (uint8_t)(c == 3        ? n_from == 4 ? from[3] : (char)255
                              : n_from == 1 ? from[0]
                                            : from[2 - c]);
}

int
image_bmp(struct rt_ctx *ctx, struct str s, struct err *err)
{
    const struct image_decode *d = ctx->node->state;
    struct image_place at;
    if (d->channels == 1)
        return rt_fail(ctx, err, ERR_FAILED,
                       "`channels` must be 0, 3 or 4 for BMP, but got 1");
    if (s.n < 32)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Incomplete bmp content, requires at least 32 bytes to find the "
                       "header size, width, height, and bpp, got %zu bytes",
                       s.n);
    int64_t header = le(s.p + 10, 4), width = le(s.p + 18, 4), height = le(s.p + 22, 4);
    int64_t n = le(s.p + 28, 2) / 8, rows = height < 0 ? -height : height;
    if (n != 1 && n != 3 && n != 4)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Number of channels inherent in the image must be 1, 3 or 4, "
                       "was %lld",
                       (long long)n);
    if (width <= 0 || rows == 0 || header < 0)
        return rt_fail(ctx, err, ERR_FAILED, "bmp of %lld x %lld pixels",
                       (long long)width, (long long)height);
    int64_t stride = (n * width + 3) / 4 * 4, all; /* below 2^34, and rows below 2^32 */
    if (__builtin_mul_overflow(rows, stride, &all) ||
        __builtin_add_overflow(header, all, &all) || (uint64_t)all > s.n)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Input size should match (header_size + row_size * abs_height) "
                       "but %lld x %lld pixels are in %zu bytes",
                       (long long)width, (long long)height, s.n);
    int64_t channels = d->channels ? d->channels : n;
    if (image_place(ctx, -1, rows, width, (int)channels, false, &at, err) < 0)
        return -(int)err->code;
    for (int64_t r = 0; r < rows; r++)
        bmp_row(s.p + header + (height < 0 ? r : rows - 1 - r) * stride, n,
                at.data + r * width * channels, channels, width);
    image_finish(ctx, &at, false);
    return 0;
}

/* ---- encoding -------------------------------------------------------------------- */

int
rt_prep_image_encode(struct rt_prep *p)
{
    struct image_encode *e = rt_prep_alloc(p, sizeof(*e));
    p->node->state = e;
    e->compression = (int)rt_attr_int(p, "compression", -1);
    e->quality = (int)rt_attr_int(p, "quality", 95);
    e->progressive = rt_attr_bool(p, "progressive", false);
    e->optimize = rt_attr_bool(p, "optimize_size", false);
    e->downsample = rt_attr_bool(p, "chroma_downsampling", true);
    e->density_unit = strcmp(rt_attr_str(p, "density_unit", "in"), "cm") == 0 ? 2 : 1;
    e->x_density = (int)rt_attr_int(p, "x_density", 300);
    e->y_density = (int)rt_attr_int(p, "y_density", 300);
    e->xmp = rt_attr_str(p, "xmp_metadata", "");
    const char *format = rt_attr_str(p, "format", "");
    e->channels = strcmp(format, "grayscale") == 0 ? 1
                  : strcmp(format, "rgb") == 0     ? 3
                                                   : 0;
    if (e->quality < 0 || e->quality > 100)
        return rt_prep_fail(p, ERR_FAILED, "quality must be in [0,100], got %d",
                            e->quality);
    return rt_prep_done(p);
}

/* The last three dimensions are a picture; PNG takes any number before. */
int
rt_run_encode_png(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    struct rt_tensor *y;
    char text[RT_SHAPE_TEXT_BYTES];
    int outer = x->rank - 3;
    if (x->dtype != SM_UINT8 && x->dtype != SM_UINT16)
        return rt_fail_dtype(ctx, err, x->dtype);
    if (outer < 0)
        return rt_fail(ctx, err, ERR_FAILED, "images must be at least rank 3 %s",
                       rt_shape_text(x, text));
    const int64_t *dims = x->dims + outer;
    if (dims[2] < 1 || dims[2] > 4)
        return rt_fail(ctx, err, ERR_FAILED,
                       "image must have 1, 2, 3, or 4 channels, got %lld",
                       (long long)dims[2]);
    if (rt_out(ctx, 0, SM_STRING, outer, x->dims, &y, err) < 0)
        return -(int)err->code;
    int bytes = (int)rt_dtype_size(x->dtype);
    int64_t picture = dims[0] * dims[1] * dims[2] * bytes;
    for (int64_t i = 0; i < y->n_elems; i++) {
        struct buf out AUTO(buf_release) = BUF_INIT;
        if (image_to_png(ctx, (const char *)x->data + i * picture, dims, bytes, &out,
                         err) < 0 ||
            str_from_buf(ctx, &out, (struct str *)y->data + i, err) < 0)
            return -(int)err->code;
    }
    return 0;
}

int
rt_run_encode_jpeg(struct rt_ctx *ctx, struct err *err)
{
    const struct image_encode *e = ctx->node->state;
    const struct rt_tensor *x = ctx->in[0];
    struct buf out AUTO(buf_release) = BUF_INIT;
    struct rt_tensor *y;
    char text[RT_SHAPE_TEXT_BYTES];
    int64_t quality = e->quality;
    if (x->dtype != SM_UINT8)
        return rt_fail_dtype(ctx, err, x->dtype);
    if (x->rank != 3)
        return rt_fail(ctx, err, ERR_FAILED, "image must be 3-dimensional%s",
                       rt_shape_text(x, text));
    if (ctx->node->n_in == 2 && k_scalar(ctx, 1, "quality", &quality, err) < 0)
        return -(int)err->code;
    if (quality < 0 || quality > 100)
        return rt_fail(ctx, err, ERR_FAILED, "quality must be in [0,100], got %lld",
                       (long long)quality);
    if ((x->dims[2] != 1 && x->dims[2] != 3) ||
        (e->channels && e->channels != x->dims[2]))
        return rt_fail(ctx, err, ERR_FAILED,
                       "image must have %s channels, got shape %s",
                       e->channels == 1   ? "1"
                       : e->channels == 3 ? "3"
                                          : "1 or 3",
                       rt_shape_text(x, text));
    if (x->n_elems == 0 || x->dims[0] > UINT16_MAX || x->dims[1] > UINT16_MAX)
        return rt_fail(ctx, err, ERR_FAILED, "JPEG encoding failed: image of shape %s",
                       rt_shape_text(x, text));
    if (image_to_jpeg(ctx, x->data, x->dims, (int)quality, &out, err) < 0 ||
        rt_out(ctx, 0, SM_STRING, 0, NULL, &y, err) < 0)
        return -(int)err->code;
    return str_from_buf(ctx, &out, y->data, err);
}
