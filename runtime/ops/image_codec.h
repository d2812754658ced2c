/* SPDX-License-Identifier: Apache-2.0 */
/* Between image_codec.c, which has the ops, and a file per format. */
#ifndef RUNTIME_OPS_IMAGE_CODEC_H
#define RUNTIME_OPS_IMAGE_CODEC_H

#include "runtime/ops/ops_int.h"

/* Attributes of the decoding ops; those that an op lacks have TensorFlow's defaults. */
struct image_decode {
    int channels;              /* 0: as the image has them */
    int dtype;                 /* SM_UINT8, SM_UINT16 or SM_FLOAT */
    bool animations, any_rank; /* [frames, …] is allowed; the op is DecodeGif */
    int ratio;                 /* from here on: JPEG */
    bool exact;                /* the slow transform */
    bool fancy, recover;
    float fraction; /* of rows that a cut file must have */
};

/* Where a decoder puts rows of 8 bits (or of 16, when it said so), made by
 * image_place. */
struct image_place {
    uint8_t *data;
    int64_t n_elems;
};

/* Makes output 0, [frames,] height, width, channels (frames < 0: none), and a place for
 * the decoder's elements: the output, or scratch that image_finish turns into it. */
int image_place(struct rt_ctx *ctx, int64_t frames, int64_t height, int64_t width,
                int channels, bool wide, struct image_place *out,
                struct err *err) MUST_CHECK;
void image_finish(struct rt_ctx *ctx, const struct image_place *p, bool wide);

typedef int image_decode_fn(struct rt_ctx *ctx, struct str bytes, struct err *err);
image_decode_fn image_png, image_jpeg, image_bmp, image_gif;

/* Strings from [height, width, channels] pictures; see image_codec.c. */
struct image_encode {
    int quality, density_unit, x_density, y_density, compression;
    int channels; /* JPEG: what attr format asks for; 0: any */
    bool progressive, optimize, downsample;
    const char *xmp;
};
int image_to_png(struct rt_ctx *ctx, const void *pixels, const int64_t dims[3],
                 int elem_bytes, struct buf *out, struct err *err) MUST_CHECK;
int image_to_jpeg(struct rt_ctx *ctx, const void *pixels, const int64_t dims[3],
                  int quality, struct buf *out, struct err *err) MUST_CHECK;

#endif
