/* SPDX-License-Identifier: Apache-2.0 */
/* Padding, and the regroupings between batch, space and depth. Every dtype. */
#include "runtime/ops/ops_int.h"

/* Reads a [n, 2] tensor of amounts >= 0. */
static int
pairs(struct rt_ctx *ctx, int in, const char *what, int64_t n, int64_t (*out)[2],
      struct err *err)
{
    const struct rt_tensor *t = ctx->in[in];
    char text[RT_SHAPE_TEXT_BYTES];
    if (t->rank != 2 || t->dims[0] != n || t->dims[1] != 2)
        return rt_fail(ctx, err, ERR_FAILED,
                       "%s must be a matrix with 2 columns and %lld rows: %s", what,
                       (long long)n, rt_shape_text(t, text));
    for (int64_t i = 0; i < n; i++) {
        out[i][0] = rt_int_at(t, 2 * i);
        out[i][1] = rt_int_at(t, 2 * i + 1);
        if (out[i][0] < 0 || out[i][1] < 0)
            return rt_fail(ctx, err, ERR_FAILED, "%s must be non-negative: %lld %lld",
                           what, (long long)out[i][0], (long long)out[i][1]);
    }
    return 0;
}

static int
padded_dims(struct rt_ctx *ctx, int64_t (*pad)[2], int64_t *dims, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    if (pairs(ctx, 1, "Paddings", x->rank, pad, err) < 0)
        return -(int)err->code;
    for (int i = 0; i < x->rank; i++)
        if (__builtin_add_overflow(x->dims[i], pad[i][0], &dims[i]) ||
            __builtin_add_overflow(dims[i], pad[i][1], &dims[i]))
            return rt_fail(ctx, err, ERR_FAILED, "dimension %d is too large", i);
    return 0;
}

/* Copies x into y from pad[.][0] on. */
static void
put_inside(struct rt_tensor *y, const struct rt_tensor *x, int64_t (*pad)[2])
{
    struct k_box b = { .rank = x->rank };
    int64_t offset = 0;
    size_t elem = rt_dtype_size(x->dtype);
    memcpy(b.dims, x->dims, sizeof(x->dims));
    k_steps(x->rank, x->dims, b.src);
    k_steps(x->rank, y->dims, b.dst);
    for (int i = 0; i < x->rank; i++)
        offset += pad[i][0] * b.dst[i];
    if (x->n_elems > 0)
        k_copy(&b, (char *)y->data + offset * (int64_t)elem, x->data, elem);
}

/* Pad (zeros) and PadV2 (a given value). */
int
rt_run_pad(struct rt_ctx *ctx, struct err *err)
{
    static const char zero[16];
    const struct rt_tensor *x = ctx->in[0];
    int64_t pad[SM_MAX_RANK][2], dims[SM_MAX_RANK];
    const void *value = zero;
    struct rt_tensor *y;
    char text[RT_SHAPE_TEXT_BYTES];
    if (padded_dims(ctx, pad, dims, err) < 0)
        return -(int)err->code;
    if (ctx->node->n_in > 2) {
        if (ctx->in[2]->n_elems != 1)
            return rt_fail(ctx, err, ERR_FAILED,
                           "constant_values must be a scalar. Found: %s",
                           rt_shape_text(ctx->in[2], text));
        value = ctx->in[2]->data;
    }
    if (k_count(dims, 0, x->rank) == x->n_elems && x->n_elems > 0) {
        rt_out_same(ctx, 0, x);
        return 0;
    }
    if (rt_out(ctx, 0, x->dtype, x->rank, dims, &y, err) < 0)
        return -(int)err->code;
    k_fill(y->data, value, y->n_elems, rt_dtype_size(x->dtype));
    put_inside(y, x, pad);
    k_own(y);
    return 0;
}

int
rt_prep_mirror_pad(struct rt_prep *p)
{
    const char *mode = rt_attr_str(p, "mode", NULL);
    bool *reflect = p->node->state = rt_prep_alloc(p, sizeof(*reflect));
    *reflect = strcmp(mode, "REFLECT") == 0;
    if (!*reflect && strcmp(mode, "SYMMETRIC") != 0)
        rt_prep_fail(p, ERR_FAILED, "mode must be either REFLECT or SYMMETRIC.");
    return rt_prep_done(p);
}

/* REFLECT leaves the edge out of the mirror, SYMMETRIC repeats it. From the last
 * dimension to the first, both sides are copied from what is there already. */
int
rt_run_mirror_pad(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    bool reflect = *(const bool *)ctx->node->state;
    int64_t pad[SM_MAX_RANK][2], dims[SM_MAX_RANK], steps[SM_MAX_RANK];
    size_t elem = rt_dtype_size(x->dtype);
    struct rt_tensor *y;
    if (padded_dims(ctx, pad, dims, err) < 0)
        return -(int)err->code;
    for (int i = 0; i < x->rank; i++) {
        int64_t most = x->dims[i] - reflect;
        if (pad[i][0] > most || pad[i][1] > most)
            return rt_fail(ctx, err, ERR_FAILED,
                           "paddings must be %s the dimension size: %lld, %lld %s %lld",
                           reflect ? "less than" : "no greater than",
                           (long long)pad[i][0], (long long)pad[i][1],
                           reflect ? "not less than" : "greater than",
                           (long long)x->dims[i]);
    }
    if (rt_out(ctx, 0, x->dtype, x->rank, dims, &y, err) < 0)
        return -(int)err->code;
    if (y->n_elems == 0)
        return 0;
    put_inside(y, x, pad);
    k_steps(x->rank, dims, steps);
    for (int d = x->rank - 1; d >= 0; d--) {
        int64_t base = 0;
        for (int i = 0; i < d; i++)
            base += pad[i][0] * steps[i];
        for (int side = 0; side < 2; side++) {
            int64_t first = pad[d][0], end = first + x->dims[d], n = pad[d][side];
            /* side 0: y[first - 1 - k] = y[first + reflect + k]; side 1 likewise */
            int64_t dst = side ? end : first - 1;
            int64_t src = side ? end - 1 - reflect : first + reflect;
            int64_t dir = side ? 1 : -1;
            struct k_box b = { 0 };
            for (int i = 0; i < x->rank; i++) {
                if (i == d)
                    k_box_add(&b, n, -dir * steps[d], dir * steps[d]);
                else
                    k_box_add(&b, i < d ? x->dims[i] : dims[i], steps[i], steps[i]);
            }
            if (n > 0)
                k_copy(&b, (char *)y->data + (base + dst * steps[d]) * (int64_t)elem,
                       (const char *)y->data + (base + src * steps[d]) * (int64_t)elem,
                       elem);
        }
    }
    k_own(y);
    return 0;
}

/* ---- SpaceToBatch, BatchToSpace -------------------------------------------------- */

static int64_t
ceil_div(int64_t a, int64_t b)
{
    return a <= 0 ? -(-a / b) : (a + b - 1) / b;
}

/* The many-batches side M and the whole side W of both directions: position i of block
 * offset o in M is i * block + o - pad[.][0] in W, where that lies inside W. One box
 * copy for each combination of offsets; `to_batch` tells the direction. */
static void
regroup(const struct rt_tensor *many, const struct rt_tensor *whole, int n_blocks,
        const int64_t *block, int64_t (*pad)[2], bool to_batch)
{
    int64_t ms[SM_MAX_RANK], ws[SM_MAX_RANK], offset[SM_MAX_RANK] = { 0 };
    int64_t combos = k_count(block, 0, n_blocks), batch = whole->dims[0];
    size_t elem = rt_dtype_size(many->dtype);
    k_steps(many->rank, many->dims, ms);
    k_steps(whole->rank, whole->dims, ws);
    for (int64_t c = 0; c < combos; c++) {
        struct k_box b = { 0 };
        int64_t mo = c * batch * ms[0], wo = 0;
        bool empty = false;
        k_box_add(&b, batch, to_batch ? ws[0] : ms[0], to_batch ? ms[0] : ws[0]);
        for (int i = 0; i < n_blocks; i++) {
            int d = i + 1;
            int64_t shift = offset[i] - pad[i][0];
            int64_t i0 = K_MAX(0, ceil_div(-shift, block[i]));
            int64_t i1 =
                K_MIN(many->dims[d], ceil_div(whole->dims[d] - shift, block[i]));
            int64_t wstep = ws[d] * block[i];
            empty = empty || i1 <= i0;
            k_box_add(&b, i1 - i0, to_batch ? wstep : ms[d], to_batch ? ms[d] : wstep);
            mo += i0 * ms[d];
            wo += (i0 * block[i] + shift) * ws[d];
        }
        for (int d = n_blocks + 1; d < many->rank; d++)
            k_box_add(&b, many->dims[d], to_batch ? ws[d] : ms[d],
                      to_batch ? ms[d] : ws[d]);
        char *m = (char *)many->data, *w = (char *)whole->data;
        if (!empty)
            k_copy(&b, to_batch ? m + mo * (int64_t)elem : w + wo * (int64_t)elem,
                   to_batch ? w + wo * (int64_t)elem : m + mo * (int64_t)elem, elem);
        for (int i = n_blocks - 1; i >= 0; i--) {
            if (++offset[i] < block[i])
                break;
            offset[i] = 0;
        }
    }
}

/* Shared by the ND ops and the old 2-D ones. */
static int
space_batch(struct rt_ctx *ctx, int n, const int64_t *block, int64_t (*pad)[2],
            bool to_batch, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    int64_t dims[SM_MAX_RANK], product = 1;
    struct rt_tensor *y;
    if (x->rank < n + 1)
        return rt_fail(ctx, err, ERR_FAILED, "input rank should be >= %d instead of %d",
                       n + 1, x->rank);
    memcpy(dims, x->dims, sizeof(dims));
    for (int i = 0; i < n; i++) {
        if (block[i] < 1 || __builtin_mul_overflow(product, block[i], &product))
            return rt_fail(
                ctx, err, ERR_FAILED,
                "All values in block_shape must be positive, got value, %lld at "
                "index %d.",
                (long long)block[i], i);
        int64_t d = x->dims[i + 1], sum = pad[i][0] + pad[i][1];
        if (pad[i][0] > (int64_t)1 << 40 || pad[i][1] > (int64_t)1 << 40)
            return rt_fail(ctx, err, ERR_FAILED, "dimension %d is too large", i);
        if (to_batch) {
            if ((d + sum) % block[i] != 0)
                return rt_fail(
                    ctx, err, ERR_FAILED,
                    "padded_shape[%d]=%lld is not divisible by block_shape[%d]=%lld", i,
                    (long long)(d + sum), i, (long long)block[i]);
            dims[i + 1] = (d + sum) / block[i];
        } else {
            if (__builtin_mul_overflow(d, block[i], &d) || d < sum)
                return rt_fail(ctx, err, ERR_FAILED,
                               "cropped_shape[%d] does not fit: crops of %lld", i,
                               (long long)sum);
            dims[i + 1] = d - sum;
        }
    }
    if (to_batch ? __builtin_mul_overflow(x->dims[0], product, &dims[0])
                 : x->dims[0] % product != 0)
        return rt_fail(
            ctx, err, ERR_FAILED,
            "Input batch dimension (%lld) is not divisible by product of block "
            "sizes (%lld)",
            (long long)x->dims[0], (long long)product);
    if (!to_batch)
        dims[0] = x->dims[0] / product;
    if (rt_out(ctx, 0, x->dtype, x->rank, dims, &y, err) < 0)
        return -(int)err->code;
    if (to_batch)
        memset(y->data, 0, rt_size(y));
    if (y->n_elems > 0 && x->n_elems > 0)
        regroup(to_batch ? y : x, to_batch ? x : y, n, block, pad, to_batch);
    k_own(y);
    return 0;
}

static int
space_batch_nd(struct rt_ctx *ctx, bool to_batch, struct err *err)
{
    const struct rt_tensor *block = ctx->in[1];
    int64_t sizes[SM_MAX_RANK], pad[SM_MAX_RANK][2];
    if (block->rank != 1 || block->n_elems >= SM_MAX_RANK)
        return rt_fail(ctx, err, ERR_FAILED, "block_shape must be a short vector");
    for (int i = 0; i < block->n_elems; i++)
        sizes[i] = rt_int_at(block, i);
    if (pairs(ctx, 2, to_batch ? "paddings" : "crops", block->n_elems, pad, err) < 0)
        return -(int)err->code;
    return space_batch(ctx, (int)block->n_elems, sizes, pad, to_batch, err);
}

int
rt_run_space_to_batch_nd(struct rt_ctx *ctx, struct err *err)
{
    return space_batch_nd(ctx, true, err);
}

int
rt_run_batch_to_space_nd(struct rt_ctx *ctx, struct err *err)
{
    return space_batch_nd(ctx, false, err);
}

struct block_state {
    int64_t size;
    bool channels_first;
};

int
rt_prep_block(struct rt_prep *p)
{
    struct block_state *s = p->node->state = rt_prep_alloc(p, sizeof(*s));
    s->size = rt_attr_int(p, "block_size", RT_REQUIRED);
    const char *format = rt_attr_str(p, "data_format", "NHWC");
    s->channels_first = strcmp(format, "NCHW") == 0;
    if (!s->channels_first && strcmp(format, "NHWC") != 0)
        rt_prep_fail(p, ERR_UNSUPPORTED, "data_format %s", format);
    if (s->size < 1 || s->size > 1 << 20)
        rt_prep_fail(p, ERR_FAILED, "Block size should be > 1: %lld",
                     (long long)s->size);
    return rt_prep_done(p);
}

/* SpaceToBatch and BatchToSpace of 4-D tensors. */
int
rt_run_space_batch_2d(struct rt_ctx *ctx, struct err *err)
{
    const struct block_state *s = ctx->node->state;
    int64_t block[2] = { s->size, s->size }, pad[2][2];
    if (ctx->in[0]->rank != 4)
        return rt_fail(ctx, err, ERR_FAILED, "input rank should be 4 instead of %d",
                       ctx->in[0]->rank);
    if (pairs(ctx, 1, "paddings", 2, pad, err) < 0)
        return -(int)err->code;
    return space_batch(ctx, 2, block, pad, ctx->node->op[0] == 'S', err);
}

/* ---- SpaceToDepth, DepthToSpace -------------------------------------------------- */

/* Seen as [N, H, s, W, s, C] on the spacious side and [N, H, W, s, s, C] on the deep
 * one (or with the channels in front). */
int
rt_run_space_depth(struct rt_ctx *ctx, struct err *err)
{
    const struct block_state *st = ctx->node->state;
    const struct rt_tensor *x = ctx->in[0];
    bool to_depth = ctx->node->op[0] == 'S', cf = st->channels_first;
    int64_t s = st->size, dims[4];
    struct rt_tensor *y;
    if (x->rank != 4)
        return rt_fail(ctx, err, ERR_FAILED, "Input rank should be: 4 instead of: %d",
                       x->rank);
    int64_t n = x->dims[0], h = x->dims[cf ? 2 : 1], w = x->dims[cf ? 3 : 2];
    int64_t c = x->dims[cf ? 1 : 3];
    if (to_depth ? h % s != 0 || w % s != 0 : c % (s * s) != 0)
        return rt_fail(ctx, err, ERR_FAILED,
                       to_depth
                           ? "Image height %lld and width %lld should be divisible by "
                             "block_size: %lld"
                           : "Input depth dimension %lld (of width %lld) should be "
                             "divisible by block_size squared: %lld",
                       (long long)(to_depth ? h : c), (long long)w, (long long)s);
    if (to_depth)
        h /= s, w /= s;
    else
        c /= s * s;
    /* h, w, c: of a pixel's block */
    int64_t deep[4] = { n, h, w, s * s * c }, wide[4] = { n, h * s, w * s, c };
    const int64_t *out = to_depth ? deep : wide;
    dims[0] = n;
    dims[cf ? 2 : 1] = out[1];
    dims[cf ? 3 : 2] = out[2];
    dims[cf ? 1 : 3] = out[3];
    if (rt_out(ctx, 0, x->dtype, 4, dims, &y, err) < 0)
        return -(int)err->code;
    /* Steps of n, h, bh, w, bw, c on both sides. */
    int64_t size[6] = { n, h, s, w, s, c };
    int64_t dp[6] = { h * w * s * s * c, w * s * s * c, s * c, s * s * c, c, 1 };
    int64_t wd[6] = { h * w * s * s * c, s * w * s * c, w * s * c, s * c, c, 1 };
    if (cf) {
        int64_t d2[6] = { h * w * s * s * c, w, s * c * h * w, 1, c * h * w, h * w };
        int64_t w2[6] = { h * w * s * s * c, s * w * s, w * s, s, 1, h * s * w * s };
        memcpy(dp, d2, sizeof(dp));
        memcpy(wd, w2, sizeof(wd));
    }
    struct k_box b = { 0 };
    for (int i = 0; i < 6; i++)
        k_box_add(&b, size[i], to_depth ? wd[i] : dp[i], to_depth ? dp[i] : wd[i]);
    if (y->n_elems > 0)
        k_copy(&b, y->data, x->data, rt_dtype_size(x->dtype));
    k_own(y);
    return 0;
}
