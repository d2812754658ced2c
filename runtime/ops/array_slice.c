/* SPDX-License-Identifier: Apache-2.0 */
/* Slice and StridedSlice with all masks; writing into a slice; XLA's dynamic slices.
 * Every dtype. A part whose elements lie together is a view of the input. */
#include "runtime/ops/array_slice.h"

void
k_slice_prep(struct rt_prep *p, struct k_slice_masks *m)
{
    m->begin = rt_attr_int(p, "begin_mask", 0);
    m->end = rt_attr_int(p, "end_mask", 0);
    m->ellipsis = rt_attr_int(p, "ellipsis_mask", 0);
    m->new_axis = rt_attr_int(p, "new_axis_mask", 0);
    m->shrink_axis = rt_attr_int(p, "shrink_axis_mask", 0);
}

int
rt_prep_strided_slice(struct rt_prep *p)
{
    struct k_slice_masks *m = p->node->state = rt_prep_alloc(p, sizeof(*m));
    k_slice_prep(p, m);
    if (m->ellipsis & (m->ellipsis - 1))
        rt_prep_fail(p, ERR_FAILED, "Multiple ellipses in slice spec not allowed");
    return rt_prep_done(p);
}

/* One entry of the description, spread to a dimension. */
struct entry {
    int64_t begin, end, step;
    bool open_begin, open_end, shrink;
};

static int64_t
clamp(int64_t x, int64_t dim, int64_t low, int64_t high)
{
    x = x < 0 ? x + dim : x;
    return x < low ? low : x > high ? high : x;
}

static int
one_dim(struct k_slice *s, int i, const struct rt_ctx *ctx, int64_t dim,
        const struct entry *e, struct err *err)
{
    if (e->step == 0)
        return rt_fail(ctx, err, ERR_FAILED, "strides[%d] must be non-zero", i);
    s->step[i] = e->step;
    if (e->shrink) {
        int64_t at = e->begin < 0 ? e->begin + dim : e->begin;
        if (e->step < 0)
            return rt_fail(ctx, err, ERR_FAILED,
                           "only stride 1 allowed on non-range indexing.");
        if (at < 0 || at >= dim)
            return rt_fail(ctx, err, ERR_FAILED,
                           "slice index %lld of dimension %d out of bounds.",
                           (long long)e->begin, i);
        s->begin[i] = at;
        s->step[i] = 1;
        s->size[i] = 1;
        return 0;
    }
    int64_t low = e->step > 0 ? 0 : -1, high = e->step > 0 ? dim : dim - 1;
    int64_t begin =
        e->open_begin ? (e->step > 0 ? low : high) : clamp(e->begin, dim, low, high);
    int64_t end =
        e->open_end ? (e->step > 0 ? high : low) : clamp(e->end, dim, low, high);
    int64_t length = end - begin;
    s->begin[i] = begin;
    s->size[i] = length == 0 || (length < 0) != (e->step < 0)
                     ? 0
                     : length / e->step + (length % e->step != 0);
    if (s->size[i] == 0)
        s->begin[i] = 0;
    if (s->size[i] <= 1)
        s->step[i] = 1; /* so that no product of a huge one is ever asked for */
    return 0;
}

static int
add_out_dim(struct k_slice *s, const struct rt_ctx *ctx, int64_t dim, struct err *err)
{
    if (s->out_rank == SM_MAX_RANK)
        return rt_fail(ctx, err, ERR_UNSUPPORTED, "more than %d dimensions",
                       SM_MAX_RANK);
    s->out_dims[s->out_rank++] = dim;
    return 0;
}

int
k_slice_init(struct k_slice *s, const struct rt_ctx *ctx, const struct k_slice_masks *m,
             int rank, const int64_t *dims, const struct rt_tensor *begin,
             const struct rt_tensor *end, const struct rt_tensor *strides,
             struct err *err)
{
    int n = (int)begin->n_elems, d = 0, n_new_after = 0;
    bool ellipsis = false, after = false;
    if (begin->rank != 1 || end->rank != 1 || strides->rank != 1 ||
        end->n_elems != begin->n_elems || strides->n_elems != begin->n_elems ||
        begin->n_elems > 32)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Expected begin, end, and strides to be 1D equal size tensors");
    for (int i = 0; i < n; i++) {
        if (m->ellipsis >> i & 1)
            ellipsis = after = true;
        else if (after && (m->new_axis >> i & 1))
            n_new_after++;
    }
    *s = (struct k_slice){ .rank = rank };
    for (int i = 0; i < n || (i == n && !ellipsis); i++) {
        if (i == n || (m->ellipsis >> i & 1)) {
            /* All dimensions that nothing after this speaks of. */
            int stop = i == n ? rank : rank - (n - i) + 1 + n_new_after;
            for (stop = K_MIN(stop, rank); d < stop; d++) {
                struct entry all = { .step = 1, .open_begin = true, .open_end = true };
                if (one_dim(s, d, ctx, dims[d], &all, err) < 0 ||
                    add_out_dim(s, ctx, dims[d], err) < 0)
                    return -(int)err->code;
            }
        } else if (m->new_axis >> i & 1) {
            if (add_out_dim(s, ctx, 1, err) < 0)
                return -(int)err->code;
        } else {
            struct entry e = { rt_int_at(begin, i),   rt_int_at(end, i),
                               rt_int_at(strides, i), m->begin >> i & 1,
                               m->end >> i & 1,       m->shrink_axis >> i & 1 };
            if (d == rank)
                return rt_fail(
                    ctx, err, ERR_FAILED,
                    "Index out of range using input dim %d; input has only %d "
                    "dims",
                    d, rank);
            if (one_dim(s, d, ctx, dims[d], &e, err) < 0 ||
                (!e.shrink && add_out_dim(s, ctx, s->size[d], err) < 0))
                return -(int)err->code;
            d++;
        }
    }
    if (d < rank)
        return rt_fail(ctx, err, ERR_FAILED, "the slice leaves dimension %d open", d);
    return 0;
}

void
k_slice_box(const struct k_slice *s, const int64_t *dims, bool part_is_dst,
            struct k_box *b, int64_t *offset)
{
    int64_t whole[SM_MAX_RANK], part[SM_MAX_RANK];
    k_steps(s->rank, dims, whole);
    k_steps(s->rank, s->size, part);
    b->rank = 0;
    *offset = 0;
    for (int i = 0; i < s->rank; i++) {
        int64_t step = whole[i] * s->step[i];
        k_box_add(b, s->size[i], part_is_dst ? step : part[i],
                  part_is_dst ? part[i] : step);
        *offset += s->begin[i] * whole[i];
    }
}

/* True when the part's elements are neighbours, in order. */
static bool
lies_together(const struct k_slice *s, const int64_t *dims)
{
    bool inner_full = true;
    for (int i = s->rank - 1; i >= 0; i--) {
        if (s->size[i] > 1 && (s->step[i] != 1 || !inner_full))
            return false;
        inner_full = inner_full && s->size[i] == dims[i];
        if (!inner_full) { /* all before must be single */
            for (int j = i - 1; j >= 0; j--)
                if (s->size[j] > 1)
                    return false;
            return true;
        }
    }
    return true;
}

static int
read_slice(struct rt_ctx *ctx, const struct k_slice *s, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    struct rt_tensor *y;
    struct k_box b;
    int64_t offset, n = k_count(s->size, 0, s->rank);
    size_t elem = rt_dtype_size(x->dtype);
    k_slice_box(s, x->dims, true, &b, &offset);
    if (n > 0 && lies_together(s, x->dims)) {
        rt_out_alias(ctx, 0, x, (size_t)offset * elem, x->dtype, s->out_rank,
                     s->out_dims);
        return 0;
    }
    if (rt_out(ctx, 0, x->dtype, s->out_rank, s->out_dims, &y, err) < 0)
        return -(int)err->code;
    if (n > 0)
        k_copy(&b, y->data, (const char *)x->data + offset * (int64_t)elem, elem);
    k_own(y);
    return 0;
}

int
rt_run_strided_slice(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    struct k_slice s;
    if (k_slice_init(&s, ctx, ctx->node->state, x->rank, x->dims, ctx->in[1],
                     ctx->in[2], ctx->in[3], err) < 0)
        return -(int)err->code;
    return read_slice(ctx, &s, err);
}

/* Slice: size -1 is all from begin on. */
int
rt_run_slice(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0], *begin = ctx->in[1], *size = ctx->in[2];
    struct k_slice s = { .rank = x->rank, .out_rank = x->rank };
    if (begin->rank != 1 || size->rank != 1 || begin->n_elems != x->rank ||
        size->n_elems != x->rank)
        return rt_fail(
            ctx, err, ERR_FAILED,
            "Expected begin and size arguments to be 1-D tensors of size %d, but "
            "got %lld and %lld elements instead.",
            x->rank, (long long)begin->n_elems, (long long)size->n_elems);
    for (int i = 0; i < x->rank; i++) {
        int64_t b = rt_int_at(begin, i), n = rt_int_at(size, i);
        if (b < 0 || b > x->dims[i])
            return rt_fail(ctx, err, ERR_FAILED,
                           "Expected begin[%d] in [0, %lld], but got %lld", i,
                           (long long)x->dims[i], (long long)b);
        if (n == -1)
            n = x->dims[i] - b;
        if (n < 0 || n > x->dims[i] - b)
            return rt_fail(ctx, err, ERR_FAILED,
                           "Expected size[%d] in [0, %lld], but got %lld", i,
                           (long long)(x->dims[i] - b), (long long)n);
        s.begin[i] = b;
        s.step[i] = 1;
        s.size[i] = s.out_dims[i] = n;
    }
    return read_slice(ctx, &s, err);
}

/* Output 0 is in[whole] with the part replaced by `part`, of s->size. */
static int
write_slice(struct rt_ctx *ctx, int whole, const struct k_slice *s,
            const struct rt_tensor *part, struct err *err)
{
    const struct rt_tensor *x = ctx->in[whole];
    struct rt_tensor *y;
    struct k_box b;
    int64_t offset;
    size_t elem = rt_dtype_size(x->dtype);
    if (k_is_obj(x->dtype))
        return rt_fail_dtype(ctx, err, x->dtype);
    if (rt_out_reuse(ctx, 0, whole, x->dtype, x->rank, x->dims, &y, err) < 0)
        return -(int)err->code;
    if (y->data != x->data && rt_size(x) > 0)
        memcpy(y->data, x->data, rt_size(x));
    k_slice_box(s, x->dims, false, &b, &offset);
    if (part->n_elems == 1) /* one value for all */
        memset(b.src, 0, sizeof(b.src));
    if (k_count(s->size, 0, s->rank) > 0)
        k_copy(&b, (char *)y->data + offset * (int64_t)elem, part->data, elem);
    return 0;
}

int
rt_run_tensor_strided_slice_update(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0], *v = ctx->in[4];
    struct k_slice s;
    char a[RT_SHAPE_TEXT_BYTES], b[RT_SHAPE_TEXT_BYTES];
    if (k_slice_init(&s, ctx, ctx->node->state, x->rank, x->dims, ctx->in[1],
                     ctx->in[2], ctx->in[3], err) < 0)
        return -(int)err->code;
    struct rt_tensor want = { .rank = s.out_rank };
    memcpy(want.dims, s.out_dims, sizeof(want.dims));
    if (v->rank > 0 && !rt_same_shape(v, &want))
        return rt_fail(ctx, err, ERR_FAILED,
                       "slice shape %s and value shape %s do not match",
                       rt_shape_text(&want, a), rt_shape_text(v, b));
    return write_slice(ctx, 0, &s, v, err);
}

/* Zeros of shape in[0] with dy (in[4]) where the slice was taken. */
int
rt_run_strided_slice_grad(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *dy = ctx->in[4];
    int64_t dims[SM_MAX_RANK], offset;
    struct rt_tensor *y;
    struct k_slice s;
    struct k_box b;
    int rank = 0;
    size_t elem = rt_dtype_size(dy->dtype);
    char ta[RT_SHAPE_TEXT_BYTES], tb[RT_SHAPE_TEXT_BYTES];
    if (k_is_obj(dy->dtype))
        return rt_fail_dtype(ctx, err, dy->dtype);
    if (k_shape_in(ctx, 0, "shape", &rank, dims, err) < 0 ||
        k_slice_init(&s, ctx, ctx->node->state, rank, dims, ctx->in[1], ctx->in[2],
                     ctx->in[3], err) < 0)
        return -(int)err->code;
    if (s.out_rank != dy->rank || k_count(s.out_dims, 0, s.out_rank) != dy->n_elems)
        return rt_fail(ctx, err, ERR_FAILED, "shape of dy was %s instead of %s",
                       rt_shape_text(dy, ta), rt_dims_text(s.out_rank, s.out_dims, tb));
    if (rt_out(ctx, 0, dy->dtype, rank, dims, &y, err) < 0)
        return -(int)err->code;
    memset(y->data, 0, rt_size(y));
    k_slice_box(&s, dims, false, &b, &offset);
    if (dy->n_elems > 0)
        k_copy(&b, (char *)y->data + offset * (int64_t)elem, dy->data, elem);
    return 0;
}

/* XLA's slices begin at in[at_in], moved so that the part lies inside. */
static int
dynamic_part(struct rt_ctx *ctx, int at_in, const int64_t *size, struct k_slice *s,
             struct err *err)
{
    const struct rt_tensor *x = ctx->in[0], *at = ctx->in[at_in];
    if (at->rank != 1 || at->n_elems != x->rank)
        return rt_fail(ctx, err, ERR_FAILED,
                       "start indices must be a vector of %d elements, got %lld",
                       x->rank, (long long)at->n_elems);
    *s = (struct k_slice){ .rank = x->rank, .out_rank = x->rank };
    for (int i = 0; i < x->rank; i++) {
        int64_t b = k_int_at(at, i);
        if (size[i] < 0 || size[i] > x->dims[i])
            return rt_fail(ctx, err, ERR_FAILED,
                           "the slice has %lld of the %lld elements of dimension %d",
                           (long long)size[i], (long long)x->dims[i], i);
        s->begin[i] = b < 0 ? 0 : K_MIN(b, x->dims[i] - size[i]);
        s->step[i] = 1;
        s->size[i] = s->out_dims[i] = size[i];
    }
    return 0;
}

int
rt_run_xla_dynamic_slice(struct rt_ctx *ctx, struct err *err)
{
    int64_t size[SM_MAX_RANK];
    struct k_slice s;
    int rank = 0;
    if (k_shape_in(ctx, 2, "size_indices", &rank, size, err) < 0)
        return -(int)err->code;
    if (rank != ctx->in[0]->rank)
        return rt_fail(ctx, err, ERR_FAILED, "size_indices has %d elements for rank %d",
                       rank, ctx->in[0]->rank);
    if (dynamic_part(ctx, 1, size, &s, err) < 0)
        return -(int)err->code;
    return read_slice(ctx, &s, err);
}

int
rt_run_xla_dynamic_update_slice(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0], *v = ctx->in[1];
    struct k_slice s;
    if (v->rank != x->rank)
        return rt_fail(ctx, err, ERR_FAILED,
                       "update has rank %d for an input of rank %d", v->rank, x->rank);
    if (dynamic_part(ctx, 2, v->dims, &s, err) < 0)
        return -(int)err->code;
    return write_slice(ctx, 0, &s, v, err);
}
