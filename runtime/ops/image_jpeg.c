/* SPDX-License-Identifier: Apache-2.0 */
/* JPEG, by libjpeg-turbo, with the settings that TensorFlow gives it. */
#include "runtime/ops/image_codec.h"

#include <setjmp.h>
#include <stdio.h> /* for jpeglib.h */
#include <stdlib.h>

#include <jpeglib.h>

struct jumper {
    struct jpeg_error_mgr mgr; /* first */
    jmp_buf back;
};

static void
leave(j_common_ptr c)
{
    longjmp(((struct jumper *)(void *)c->err)->back, 1);
}

static void
silent(j_common_ptr c)
{
    (void)c;
}

static void
set_errors(struct jumper *j)
{
    jpeg_std_error(&j->mgr);
    j->mgr.error_exit = leave;
    j->mgr.output_message = silent;
}

/* ---- decoding -------------------------------------------------------------------- */

static void
nothing(j_decompress_ptr c)
{
    (void)c;
}

/* A cut file fails, or ends with an end-of-image marker of ours (client_data). */
static boolean
refill(j_decompress_ptr c)
{
    static const JOCTET end[2] = { 0xff, JPEG_EOI };
    if (!c->client_data)
        leave((j_common_ptr)c);
    c->src->next_input_byte = end;
    c->src->bytes_in_buffer = sizeof(end);
    return TRUE;
}

static void
skip(j_decompress_ptr c, long n)
{
    size_t step = n > 0 ? (size_t)n : 0;
    if (step > c->src->bytes_in_buffer) {
        refill(c);
        return;
    }
    c->src->next_input_byte += step;
    c->src->bytes_in_buffer -= step;
}

struct reader {
    struct jpeg_decompress_struct c;
    struct jumper jumper;
    struct jpeg_source_mgr src;
    int channels;
    bool cmyk;
    int64_t crop[4]; /* y, x, height, width */
    bool crops;
    uint32_t n_rows; /* that were read */
    uint8_t *line;   /* a row as libjpeg gives it; freed by image_jpeg */
};

static void
open_bytes(struct reader *r, struct str s)
{
    r->src = (struct jpeg_source_mgr){ .next_input_byte = (const JOCTET *)s.p,
                                       .bytes_in_buffer = s.n,
                                       .init_source = nothing,
                                       .fill_input_buffer = refill,
                                       .skip_input_data = skip,
                                       .resync_to_restart = jpeg_resync_to_restart,
                                       .term_source = nothing };
    r->c.src = &r->src;
}

/* Reads the header, and settles the size. False: no JPEG. */
static bool
begin(struct reader *r, const struct image_decode *d, struct str bytes)
{
    struct jpeg_decompress_struct *c = &r->c;
    if (setjmp(r->jumper.back))
        return false;
    jpeg_create_decompress(c);
    open_bytes(r, bytes);
    c->client_data = d->recover ? c : NULL;
    jpeg_read_header(c, TRUE);
    r->channels = d->channels ? d->channels : K_MIN(c->num_components, 3);
    r->cmyk = c->jpeg_color_space == JCS_CMYK || c->jpeg_color_space == JCS_YCCK;
    if (r->channels == 1)
        c->out_color_space = JCS_GRAYSCALE;
    else if (r->channels == 3)
        c->out_color_space = r->cmyk ? JCS_CMYK : JCS_RGB;
    c->do_fancy_upsampling = d->fancy;
    c->scale_num = 1;
    c->scale_denom = (unsigned)d->ratio;
    c->dct_method = d->exact ? JDCT_ISLOW : JDCT_IFAST;
    jpeg_calc_output_dimensions(c);
    if ((int64_t)c->output_width * c->output_height * c->output_components >= 1 << 29)
        return false;
    jpeg_start_decompress(c);
    return true;
}

static bool
crop_fits(const struct reader *r)
{
    const int64_t *w = r->crop;
    return w[0] >= 0 && w[1] >= 0 && w[2] > 0 && w[3] > 0 &&
           w[0] + w[2] <= r->c.output_height && w[1] + w[3] <= r->c.output_width;
}

static void
cmyk_to_rgb(const struct reader *r, const uint8_t *x, uint8_t *y, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        for (int c = 0; c < 3; c++) {
            int v = x[4 * i + c], k = x[4 * i + 3];
            y[3 * i + c] =
                (uint8_t)(r->c.saw_Adobe_marker ? k * v / 255
                                                : (255 - k) * (255 - v) / 255);
        }
}

/* Reads what is wanted, rows of `width` pixels from column `x` on. */
static bool
read_rows(struct reader *r, uint8_t *y, int64_t height, int64_t width)
{
    struct jpeg_decompress_struct *c = &r->c;
    JDIMENSION from = 0, wide = (JDIMENSION)width;
    if (setjmp(r->jumper.back))
        return false;
    if (r->crops) {
        from = (JDIMENSION)r->crop[1];
        jpeg_crop_scanline(c, &from, &wide);
        from = (JDIMENSION)r->crop[1] - from;
        if (r->crop[0] > 0)
            jpeg_skip_scanlines(c, (JDIMENSION)r->crop[0]);
    }
    int n = r->channels;
    for (int64_t i = 0; i < height; i++) {
        uint8_t *to = y + i * width * n;
        JSAMPROW row = r->line;
        if (jpeg_read_scanlines(c, &row, 1) != 1)
            return false;
        if (c->output_components == 4 && n == 3)
            cmyk_to_rgb(r, r->line + (size_t)from * 4, to, width);
        else
            memcpy(to, r->line + (size_t)from * (size_t)n, (size_t)(width * n));
        r->n_rows = (uint32_t)i + 1;
    }
    if (!r->crops)
        jpeg_finish_decompress(c);
    return true;
}

static int
decode(struct rt_ctx *ctx, struct reader *r, struct str bytes, struct err *err)
{
    const struct image_decode *d = ctx->node->state;
    struct image_place at;
    if (d->channels == 4)
        return rt_fail(ctx, err, ERR_FAILED, "JPEG does not support 4 channels");
    bool ok = begin(r, d, bytes) && (!r->crops || crop_fits(r));
    if (ok) {
        int64_t height = r->crops ? r->crop[2] : r->c.output_height,
                width = r->crops ? r->crop[3] : r->c.output_width;
        /* Room for two more blocks than there are pixels: cropping starts on one. */
        r->line =
            xcalloc((size_t)r->c.output_width + 64, (size_t)r->c.output_components);
        if (image_place(ctx, -1, height, width, r->channels, false, &at, err) < 0)
            return -(int)err->code;
        memset(at.data, 0, (size_t)at.n_elems);
        ok = read_rows(r, at.data, height, width);
        if (!ok && d->recover)
            ok = (float)r->n_rows >= d->fraction * (float)height;
    }
    if (!ok)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Invalid JPEG data or crop window, data size %zu", bytes.n);
    image_finish(ctx, &at, false);
    return 0;
}

int
image_jpeg(struct rt_ctx *ctx, struct str bytes, struct err *err)
{
    struct reader *r = xcalloc(1, sizeof(*r));
    int rc = 0;
    if (ctx->node->n_in == 2) {
        r->crops = true;
        if (ctx->in[1]->rank != 1 || ctx->in[1]->n_elems != 4)
            rc = rt_fail(ctx, err, ERR_FAILED, "crop_size must have four elements");
        for (int i = 0; rc == 0 && i < 4; i++)
            r->crop[i] = k_int_at(ctx->in[1], i);
    }
    set_errors(&r->jumper);
    r->c.err = &r->jumper.mgr;
    if (rc == 0)
        rc = decode(ctx, r, bytes, err);
    jpeg_destroy_decompress(&r->c);
    free(r->line);
    free(r);
    return rc;
}

int
rt_prep_jpeg_shape(struct rt_prep *p)
{
    int *dtype = p->node->state = rt_prep_alloc(p, sizeof(*dtype));
    *dtype = rt_attr_type(p, "output_type", SM_INT32);
    return rt_prep_done(p);
}

/* Height, width and channels, from the header. */
int
rt_run_jpeg_shape(struct rt_ctx *ctx, struct err *err)
{
    struct reader r = { .channels = 0 };
    struct rt_tensor *y;
    if (ctx->in[0]->rank != 0)
        return rt_fail(ctx, err, ERR_FAILED, "contents must be scalar");
    if (rt_out(ctx, 0, *(const int *)ctx->node->state, 1, (const int64_t[]){ 3 }, &y,
               err) < 0)
        return -(int)err->code;
    set_errors(&r.jumper);
    r.c.err = &r.jumper.mgr;
    if (setjmp(r.jumper.back)) {
        jpeg_destroy_decompress(&r.c);
        return rt_fail(ctx, err, ERR_FAILED, "Invalid JPEG data, size %zu",
                       ((const struct str *)ctx->in[0]->data)->n);
    }
    jpeg_create_decompress(&r.c);
    open_bytes(&r, *(const struct str *)ctx->in[0]->data);
    jpeg_read_header(&r.c, TRUE);
    jpeg_calc_output_dimensions(&r.c);
    k_put_int(y, 0, r.c.output_height);
    k_put_int(y, 1, r.c.output_width);
    k_put_int(y, 2, K_MIN(r.c.num_components, 4));
    jpeg_destroy_decompress(&r.c);
    return 0;
}

/* ---- encoding -------------------------------------------------------------------- */

struct writer {
    struct jpeg_compress_struct c;
    struct jumper jumper;
    unsigned char *bytes;
    unsigned long n;
};

static bool
write_rows(struct writer *w, const struct image_encode *e, const uint8_t *pixels,
           const int64_t dims[3], int quality)
{
    static const char xmp[] = "http://ns.adobe.com/xap/1.0/"; /* with its end */
    struct jpeg_compress_struct *c = &w->c;
    if (setjmp(w->jumper.back))
        return false;
    jpeg_create_compress(c);
    jpeg_mem_dest(c, &w->bytes, &w->n);
    c->image_height = (JDIMENSION)dims[0];
    c->image_width = (JDIMENSION)dims[1];
    c->input_components = (int)dims[2];
    c->in_color_space = dims[2] == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(c);
    c->optimize_coding = e->optimize;
    c->density_unit = (UINT8)e->density_unit;
    c->X_density = (UINT16)e->x_density;
    c->Y_density = (UINT16)e->y_density;
    jpeg_set_quality(c, quality, TRUE);
    if (e->progressive)
        jpeg_simple_progression(c);
    for (int i = 0; !e->downsample && i < c->num_components; i++)
        c->comp_info[i].h_samp_factor = c->comp_info[i].v_samp_factor = 1;
    jpeg_start_compress(c, TRUE);
    if (*e->xmp) {
        struct buf all = BUF_INIT;
        buf_add(&all, xmp, sizeof(xmp));
        buf_adds(&all, e->xmp);
        if (all.len < UINT16_MAX - 2)
            jpeg_write_marker(c, JPEG_APP0 + 1, (const JOCTET *)all.data,
                              (unsigned)all.len);
        buf_release(&all);
    }
    for (int64_t i = 0; i < dims[0]; i++) {
        JSAMPROW row = (JSAMPROW)(uintptr_t)(pixels + i * dims[1] * dims[2]);
        jpeg_write_scanlines(c, &row, 1);
    }
    jpeg_finish_compress(c);
    return true;
}

int
image_to_jpeg(struct rt_ctx *ctx, const void *pixels, const int64_t dims[3],
              int quality, struct buf *out, struct err *err)
{
    struct writer *w = xcalloc(1, sizeof(*w));
    set_errors(&w->jumper);
    w->c.err = &w->jumper.mgr;
    bool ok = write_rows(w, ctx->node->state, pixels, dims, quality);
    if (ok)
        buf_add(out, w->bytes, w->n);
    jpeg_destroy_compress(&w->c);
    free(w->bytes);
    free(w);
    return ok ? 0 : rt_fail(ctx, err, ERR_FAILED, "JPEG encoding failed");
}
