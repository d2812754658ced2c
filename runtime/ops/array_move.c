/* SPDX-License-Identifier: Apache-2.0 */
/* Ops that put elements elsewhere by a rule of their position: all are strided copies
 * of boxes. Every dtype. */
#include "runtime/ops/ops_int.h"

/* ---- Transpose, ConjugateTranspose ----------------------------------------------- */

int
rt_run_transpose(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0], *perm = ctx->in[1];
    int64_t dims[SM_MAX_RANK], steps[SM_MAX_RANK];
    bool seen[SM_MAX_RANK] = { false }, moves = false;
    int last = -1;
    struct k_box b = { 0 };
    struct rt_tensor *y;
    if (perm->rank != 1 || perm->n_elems != x->rank)
        return rt_fail(
            ctx, err, ERR_FAILED,
            "transpose expects a vector of size %d. But input(1) is a vector of "
            "size %lld",
            x->rank, (long long)perm->n_elems);
    k_steps(x->rank, x->dims, steps);
    for (int i = 0; i < x->rank; i++) {
        int64_t p = rt_int_at(perm, i);
        p = p < 0 ? p + x->rank : p;
        if (p < 0 || p >= x->rank)
            return rt_fail(ctx, err, ERR_FAILED, "%lld is out of range [0 .. %d)",
                           (long long)p, x->rank);
        if (seen[p])
            return rt_fail(ctx, err, ERR_FAILED, "%lld is missing from {%s}: repeated",
                           (long long)p, "perm");
        seen[p] = true;
        dims[i] = x->dims[p];
        if (dims[i] != 1) { /* dimensions of 1 may move freely */
            moves = moves || p < last;
            last = (int)p;
        }
        k_box_add(&b, dims[i], steps[p], 0);
    }
    bool flip = ctx->node->op[0] == 'C' &&
                (x->dtype == SM_COMPLEX64 || x->dtype == SM_COMPLEX128);
    if (!moves && !flip) {
        rt_out_alias(ctx, 0, x, 0, x->dtype, x->rank, dims);
        return 0;
    }
    if (rt_out(ctx, 0, x->dtype, x->rank, dims, &y, err) < 0)
        return -(int)err->code;
    k_steps(x->rank, dims, b.dst);
    k_copy(&b, y->data, x->data, rt_dtype_size(x->dtype));
    k_own(y);
    for (int64_t i = 0; flip && i < y->n_elems; i++) {
        if (y->dtype == SM_COMPLEX64)
            ((float complex *)y->data)[i] = conjf(((float complex *)y->data)[i]);
        else
            ((double complex *)y->data)[i] = conj(((double complex *)y->data)[i]);
    }
    return 0;
}

/* ---- Tile, BroadcastTo ----------------------------------------------------------- */

int
rt_run_tile(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0], *times = ctx->in[1];
    int64_t dims[SM_MAX_RANK], src[SM_MAX_RANK], dst[SM_MAX_RANK];
    struct k_box b = { 0 };
    struct rt_tensor *y;
    bool same = true;
    if (times->rank != 1 || times->n_elems != x->rank)
        return rt_fail(
            ctx, err, ERR_FAILED,
            "Expected multiples argument to be a vector of length %d but got "
            "length %lld",
            x->rank, (long long)times->n_elems);
    for (int i = 0; i < x->rank; i++) {
        int64_t m = rt_int_at(times, i);
        if (m < 0)
            return rt_fail(ctx, err, ERR_FAILED,
                           "Expected multiples[%d] >= 0, but got %lld", i,
                           (long long)m);
        if (__builtin_mul_overflow(x->dims[i], m, &dims[i]))
            return rt_fail(ctx, err, ERR_FAILED, "dimension %d is too large", i);
        same = same && m == 1;
    }
    if (same) {
        rt_out_same(ctx, 0, x);
        return 0;
    }
    if (rt_out(ctx, 0, x->dtype, x->rank, dims, &y, err) < 0)
        return -(int)err->code;
    k_steps(x->rank, x->dims, src);
    k_steps(x->rank, dims, dst);
    for (int i = 0; i < x->rank && y->n_elems > 0; i++) {
        k_box_add(&b, dims[i] / x->dims[i], 0, dst[i] * x->dims[i]);
        k_box_add(&b, x->dims[i], src[i], dst[i]);
    }
    if (y->n_elems > 0)
        k_copy(&b, y->data, x->data, rt_dtype_size(x->dtype));
    k_own(y);
    return 0;
}

int
rt_run_broadcast_to(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    int64_t dims[SM_MAX_RANK], step = 1;
    int rank = 0;
    struct k_box b = { 0 };
    struct rt_tensor *y;
    char ta[RT_SHAPE_TEXT_BYTES], tb[RT_SHAPE_TEXT_BYTES];
    if (k_shape_in(ctx, 1, "shape", &rank, dims, err) < 0)
        return -(int)err->code;
    bool fits = x->rank <= rank, same = x->rank == rank;
    b.rank = rank;
    for (int i = 1; fits && i <= rank; i++) {
        int64_t d = i <= x->rank ? x->dims[x->rank - i] : 1, want = dims[rank - i];
        fits = d == want || d == 1;
        same = same && d == want;
        b.dims[rank - i] = want;
        b.src[rank - i] = d == 1 ? 0 : step;
        step *= d;
    }
    if (!fits)
        return rt_fail(
            ctx, err, ERR_FAILED,
            "Incompatible shapes: %s vs. %s: cannot broadcast the first to the "
            "second",
            rt_shape_text(x, ta), rt_dims_text(rank, dims, tb));
    if (same) {
        rt_out_same(ctx, 0, x);
        return 0;
    }
    if (rt_out(ctx, 0, x->dtype, rank, dims, &y, err) < 0)
        return -(int)err->code;
    k_steps(rank, dims, b.dst);
    k_copy(&b, y->data, x->data, rt_dtype_size(x->dtype));
    k_own(y);
    return 0;
}

/* ---- Reverse, Roll --------------------------------------------------------------- */

static int
reverse(struct rt_ctx *ctx, const bool *turn, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    int64_t steps[SM_MAX_RANK], offset = 0;
    struct k_box b = { 0 };
    struct rt_tensor *y;
    size_t elem = rt_dtype_size(x->dtype);
    if (rt_out(ctx, 0, x->dtype, x->rank, x->dims, &y, err) < 0)
        return -(int)err->code;
    if (y->n_elems == 0)
        return 0;
    k_steps(x->rank, x->dims, steps);
    for (int i = 0; i < x->rank; i++) {
        k_box_add(&b, x->dims[i], turn[i] ? -steps[i] : steps[i], steps[i]);
        offset += turn[i] ? steps[i] * (x->dims[i] - 1) : 0;
    }
    k_copy(&b, y->data, (const char *)x->data + offset * (int64_t)elem, elem);
    k_own(y);
    return 0;
}

int
rt_run_reverse(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0], *which = ctx->in[1];
    bool turn[SM_MAX_RANK] = { false };
    if (which->rank != 1 || which->n_elems != x->rank)
        return rt_fail(ctx, err, ERR_FAILED,
                       "'dims' must have the same number of values as 'input' has "
                       "dimensions. 'input' has %d 'dims' has %lld values",
                       x->rank, (long long)which->n_elems);
    for (int i = 0; i < x->rank; i++)
        turn[i] = ((const uint8_t *)which->data)[i];
    return reverse(ctx, turn, err);
}

int
rt_run_reverse_v2(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0], *axes = ctx->in[1];
    bool turn[SM_MAX_RANK] = { false };
    if (axes->rank > 1)
        return rt_fail(ctx, err, ERR_FAILED, "'dims' must be 1-dimension, not %d",
                       axes->rank);
    for (int64_t i = 0; i < axes->n_elems; i++) {
        int64_t a = rt_int_at(axes, i);
        if (a < -x->rank || a >= x->rank)
            return rt_fail(ctx, err, ERR_FAILED,
                           "'axis'[%lld] = %lld is out of valid range [0, %d]",
                           (long long)i, (long long)a, x->rank - 1);
        a = a < 0 ? a + x->rank : a;
        if (turn[a])
            return rt_fail(ctx, err, ERR_FAILED, "axis %lld specified more than once.",
                           (long long)a);
        turn[a] = true;
    }
    return reverse(ctx, turn, err);
}

/* A rolled axis is two boxes; several are all combinations of theirs. */
static void
roll_from(const struct rt_tensor *x, const struct rt_tensor *y, const int64_t *shift,
          const int64_t *steps, int axis, struct k_box *b, int64_t src, int64_t dst)
{
    size_t elem = rt_dtype_size(x->dtype);
    if (axis == x->rank) {
        struct k_box copy = *b;
        k_copy(&copy, (char *)y->data + dst * (int64_t)elem,
               (const char *)x->data + src * (int64_t)elem, elem);
        return;
    }
    int64_t n = x->dims[axis], s = shift[axis];
    for (int part = 0; part < (s ? 2 : 1); part++) {
        b->rank = axis;
        k_box_add(b, part == 0 ? n - s : s, steps[axis], steps[axis]);
        roll_from(x, y, shift, steps, axis + 1, b,
                  src + (part ? (n - s) * steps[axis] : 0),
                  dst + (part ? 0 : s * steps[axis]));
    }
}

int
rt_run_roll(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0], *by = ctx->in[1], *axes = ctx->in[2];
    int64_t shift[SM_MAX_RANK] = { 0 }, steps[SM_MAX_RANK];
    struct k_box b = { 0 };
    struct rt_tensor *y;
    if (x->rank < 1 || by->rank > 1 || axes->rank > 1 || by->n_elems != axes->n_elems)
        return rt_fail(
            ctx, err, ERR_FAILED,
            "input must be 1-D or higher, shift and axis must have the same size, "
            "0-D or 1-D");
    for (int64_t i = 0; i < axes->n_elems; i++) {
        int64_t a = rt_int_at(axes, i);
        a = a < 0 ? a + x->rank : a;
        if (a < 0 || a >= x->rank)
            return rt_fail(ctx, err, ERR_FAILED, "axis %lld is out of range",
                           (long long)rt_int_at(axes, i));
        int64_t n = K_MAX(x->dims[a], 1);
        shift[a] = ((shift[a] + rt_int_at(by, i) % n) % n + n) % n;
    }
    if (rt_out(ctx, 0, x->dtype, x->rank, x->dims, &y, err) < 0)
        return -(int)err->code;
    if (y->n_elems == 0)
        return 0;
    k_steps(x->rank, x->dims, steps);
    roll_from(x, y, shift, steps, 0, &b, 0, 0);
    k_own(y);
    return 0;
}

struct reverse_sequence {
    int64_t seq_dim, batch_dim;
};

int
rt_prep_reverse_sequence(struct rt_prep *p)
{
    struct reverse_sequence *s = p->node->state = rt_prep_alloc(p, sizeof(*s));
    s->seq_dim = rt_attr_int(p, "seq_dim", RT_REQUIRED);
    s->batch_dim = rt_attr_int(p, "batch_dim", 0);
    return rt_prep_done(p);
}

/* For each element of the batch, the first seq_lengths[b] steps backwards. */
int
rt_run_reverse_sequence(struct rt_ctx *ctx, struct err *err)
{
    const struct reverse_sequence *s = ctx->node->state;
    const struct rt_tensor *x = ctx->in[0], *lengths = ctx->in[1];
    int64_t steps[SM_MAX_RANK], sd = s->seq_dim, bd = s->batch_dim;
    struct rt_tensor *y;
    size_t elem = rt_dtype_size(x->dtype);
    if (sd < 0 || sd >= x->rank || bd < 0 || bd >= x->rank || sd == bd)
        return rt_fail(
            ctx, err, ERR_FAILED,
            "batch_dim %lld and seq_dim %lld must differ and be < input rank (%d)",
            (long long)bd, (long long)sd, x->rank);
    if (lengths->rank != 1 || lengths->n_elems != x->dims[bd])
        return rt_fail(ctx, err, ERR_FAILED,
                       "Length of seq_lengths != input.dims(%lld), (%lld vs. %lld)",
                       (long long)bd, (long long)lengths->n_elems,
                       (long long)x->dims[bd]);
    for (int64_t i = 0; i < lengths->n_elems; i++) {
        int64_t n = rt_int_at(lengths, i);
        if (n < 0 || n > x->dims[sd])
            return rt_fail(ctx, err, ERR_FAILED,
                           n < 0 ? "seq_lens(%lld) < 0"
                                 : "seq_lens(%lld) > input.dims(seq_dim)",
                           (long long)i);
    }
    if (rt_out(ctx, 0, x->dtype, x->rank, x->dims, &y, err) < 0)
        return -(int)err->code;
    if (y->n_elems == 0)
        return 0;
    k_steps(x->rank, x->dims, steps);
    for (int64_t i = 0; i < lengths->n_elems; i++) {
        int64_t n = rt_int_at(lengths, i), base = i * steps[bd];
        for (int part = 0; part < 2; part++) { /* turned, kept */
            struct k_box b = { 0 };
            int64_t src = base + (part ? n : n - 1) * steps[sd];
            int64_t dst = base + (part ? n : 0) * steps[sd];
            for (int d = 0; d < x->rank; d++) {
                if (d == sd)
                    k_box_add(&b, part ? x->dims[d] - n : n,
                              part ? steps[d] : -steps[d], steps[d]);
                else if (d != bd)
                    k_box_add(&b, x->dims[d], steps[d], steps[d]);
            }
            if (part ? n < x->dims[sd] : n > 0)
                k_copy(&b, (char *)y->data + dst * (int64_t)elem,
                       (const char *)x->data + src * (int64_t)elem, elem);
        }
    }
    k_own(y);
    return 0;
}
