/* SPDX-License-Identifier: Apache-2.0 */
/* Ops whose answer is where values are: Where, Unique…, ListDiff, LowerBound,
 * UpperBound, Bucketize. */
#include "runtime/ops/ops_int.h"

/* ---- Where ----------------------------------------------------------------------- */

/* flags[i] = x[i] != 0 (NaN is not); false: no such dtype. */
static bool
non_zero(const struct rt_tensor *x, uint8_t *flags)
{
    switch (x->dtype) {
    case SM_BOOL:
        memcpy(flags, x->data, (size_t)x->n_elems);
        return true;
    case SM_HALF:
    case SM_BFLOAT16:
        for (int64_t i = 0; i < x->n_elems; i++)
            flags[i] = (((const uint16_t *)x->data)[i] & 0x7fff) != 0;
        return true;
#define X(dtype, type, sfx)                                                            \
    case dtype:                                                                        \
        for (int64_t i = 0; i < x->n_elems; i++)                                       \
            flags[i] = ((const type *)x->data)[i] != 0;                                \
        return true;
        K_NUMBERS(X)
#undef X
    }
    return false;
}

/* The positions of non-zero elements, row-major: int64 [n, rank]. */
int
rt_run_where(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    int64_t n = 0, at[SM_MAX_RANK] = { 0 };
    struct rt_tensor *y;
    if (x->rank < 1)
        return rt_fail(ctx, err, ERR_FAILED, "WhereOp : Unhandled input dimensions: 0");
    uint8_t *flags = rt_scratch(ctx, (size_t)x->n_elems, err);
    if (!flags)
        return -(int)err->code;
    if (!non_zero(x, flags))
        return rt_fail_dtype(ctx, err, x->dtype);
    for (int64_t i = 0; i < x->n_elems; i++)
        n += flags[i];
    if (rt_out(ctx, 0, SM_INT64, 2, (int64_t[2]){ n, x->rank }, &y, err) < 0)
        return -(int)err->code;
    int64_t *out = y->data;
    for (int64_t i = 0; i < x->n_elems; i++) {
        for (int d = 0; flags[i] && d < x->rank; d++)
            *out++ = at[d];
        for (int d = x->rank - 1; d >= 0 && ++at[d] == x->dims[d]; d--)
            at[d] = 0;
    }
    return 0;
}

/* ---- sets of values -------------------------------------------------------------- */

/* Values as keys: two are equal when their keys are, except that NaN equals nothing and
 * -0 equals 0. Strings are their own keys. */
struct keys {
    const struct str *str;
    uint64_t *num;
    uint8_t *nan;
};

static int
make_keys(struct rt_ctx *ctx, const struct rt_tensor *x, struct keys *k,
          struct err *err)
{
    *k = (struct keys){ .str = x->dtype == SM_STRING ? x->data : NULL };
    if (k->str)
        return 0;
    k->num = rt_scratch(ctx, (size_t)x->n_elems * sizeof(*k->num), err);
    k->nan = k->num ? rt_scratch(ctx, (size_t)x->n_elems, err) : NULL;
    if (!k->nan)
        return -(int)err->code;
    memset(k->nan, 0, (size_t)x->n_elems);
    const float *f = NULL;
    if ((x->dtype == SM_FLOAT || k_is_half(x->dtype)) && !(f = k_floats(ctx, x, err)))
        return -(int)err->code;
    for (int64_t i = 0; i < x->n_elems; i++) {
        double d = f                       ? (double)f[i]
                   : x->dtype == SM_DOUBLE ? ((const double *)x->data)[i]
                                           : 0;
        if (f || x->dtype == SM_DOUBLE) {
            d = d == 0 ? 0 : d;
            memcpy(&k->num[i], &d, sizeof(d));
            k->nan[i] = d != d;
        } else if (k_is_int(x->dtype)) {
            k->num[i] = (uint64_t)k_int_at(x, i);
        } else if (x->dtype == SM_BOOL) {
            k->num[i] = ((const uint8_t *)x->data)[i];
        } else {
            return rt_fail_dtype(ctx, err, x->dtype);
        }
    }
    return 0;
}

/* A hash of slices: element j of slice s is at base(s) + j * step. */
struct set {
    const struct keys *keys;
    int64_t n, step; /* of a slice */
    int64_t *slot;   /* number of a slice, or -1 */
    uint64_t mask;
};

static uint64_t
mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

static uint64_t
hash_slice(const struct set *s, const struct keys *k, int64_t base)
{
    uint64_t h = 0x243f6a8885a308d3u;
    for (int64_t j = 0; j < s->n; j++) {
        int64_t i = base + j * s->step;
        if (!k->str) {
            h = mix(h, k->num[i]);
            continue;
        }
        h = mix(h, k->str[i].n);
        for (size_t b = 0; b < k->str[i].n; b++)
            h = mix(h, (uint8_t)k->str[i].p[b]);
    }
    return h;
}

static bool
same_slice(const struct set *s, const struct keys *a, int64_t at, int64_t bt)
{
    const struct keys *b = s->keys;
    for (int64_t j = 0; j < s->n; j++) {
        int64_t i = at + j * s->step, k = bt + j * s->step;
        if (a->str ? !str_eq(a->str[i], b->str[k])
                   : a->nan[i] || a->num[i] != b->num[k])
            return false;
    }
    return true;
}

static int
set_init(struct rt_ctx *ctx, struct set *s, const struct keys *keys, int64_t n_slices,
         int64_t n, int64_t step, struct err *err)
{
    uint64_t cap = 16;
    while (cap < 2 * (uint64_t)n_slices)
        cap *= 2;
    *s = (struct set){ .keys = keys, .n = n, .step = step, .mask = cap - 1 };
    s->slot = rt_scratch(ctx, cap * sizeof(*s->slot), err);
    if (!s->slot)
        return -(int)err->code;
    memset(s->slot, 0xff, cap * sizeof(*s->slot));
    return 0;
}

/* The place of a slice equal to (k, base), or a free one. */
static int64_t *
set_find(const struct set *s, const struct keys *k, int64_t base, int64_t slice_step)
{
    uint64_t i = hash_slice(s, k, base) & s->mask;
    while (s->slot[i] >= 0 && !same_slice(s, k, base, s->slot[i] * slice_step))
        i = (i + 1) & s->mask;
    return &s->slot[i];
}

/* ---- Unique ---------------------------------------------------------------------- */

int
rt_prep_out_idx(struct rt_prep *p)
{
    int *type = p->node->state = rt_prep_alloc(p, sizeof(*type));
    *type = rt_attr_type(p, strstr(p->node->op, "Bound") ? "out_type" : "out_idx",
                         SM_INT32);
    if (*type != SM_INT32 && *type != SM_INT64)
        rt_prep_fail(p, ERR_UNSUPPORTED, "indices of type %s", rt_dtype_text(*type));
    return rt_prep_done(p);
}

/* With an outer dimension before the axis, slices are made contiguous first. */
static int
slices_first(struct rt_ctx *ctx, const struct rt_tensor *x, int axis,
             struct rt_tensor *t, struct err *err)
{
    int64_t outer = k_count(x->dims, 0, axis), n = x->dims[axis];
    int64_t inner = k_count(x->dims, axis + 1, x->rank);
    *t = *x;
    if (outer == 1)
        return 0;
    t->data = rt_scratch(ctx, rt_size(x), err);
    if (!t->data)
        return -(int)err->code;
    struct k_box b = { 0 };
    k_box_add(&b, n, inner, outer * inner);
    k_box_add(&b, outer, n * inner, inner);
    k_box_add(&b, inner, 1, 1);
    k_copy(&b, t->data, x->data, rt_dtype_size(x->dtype));
    return 0;
}

static int
unique_axis(struct rt_ctx *ctx, int *axis, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0],
                           *t = ctx->node->n_in > 1 ? ctx->in[1] : NULL;
    *axis = 0;
    if (t && t->rank != 1)
        return rt_fail(ctx, err, ERR_FAILED, "axis expects a 1D vector.");
    if (!t || t->n_elems == 0) {
        if (x->rank != 1)
            return rt_fail(ctx, err, ERR_FAILED, "unique expects a 1D vector.");
        return 0;
    }
    int64_t a = k_int_at(t, 0);
    if (t->n_elems > 1)
        return rt_fail(ctx, err, ERR_FAILED,
                       "axis does not support input tensors larger than "
                       "1 elements");
    a = a < 0 ? a + x->rank : a;
    if (a < 0 || a >= x->rank)
        return rt_fail(ctx, err, ERR_FAILED, "axis has to be between [0, %d)", x->rank);
    *axis = (int)a;
    return 0;
}

/* Distinct slices in order of appearance, for each slice its number, and counts. */
int
rt_run_unique(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    int out_idx = *(const int *)ctx->node->state, axis = 0;
    struct rt_tensor t, *y, *idx, *count;
    struct keys keys;
    struct set set;
    if (unique_axis(ctx, &axis, err) < 0 || slices_first(ctx, x, axis, &t, err) < 0 ||
        make_keys(ctx, &t, &keys, err) < 0)
        return -(int)err->code;
    int64_t n = x->dims[axis], slice = n ? x->n_elems / n : 0, n_unique = 0;
    int64_t *first = rt_scratch(ctx, (size_t)n * sizeof(*first), err);
    if (!first || set_init(ctx, &set, &keys, n, slice, 1, err) < 0 ||
        rt_out(ctx, 1, out_idx, 1, &n, &idx, err) < 0)
        return -(int)err->code;
    /* `number` of the slice a place holds */
    int64_t *number = rt_scratch(ctx, (size_t)n * sizeof(*number), err);
    if (!number)
        return -(int)err->code;
    for (int64_t i = 0; i < n; i++) {
        int64_t *place = set_find(&set, &keys, i * slice, slice);
        if (*place < 0) {
            *place = i;
            number[i] = n_unique;
            first[n_unique++] = i;
        }
        k_put_int(idx, i, number[*place]);
    }
    int64_t dims[SM_MAX_RANK];
    memcpy(dims, x->dims, sizeof(dims));
    dims[axis] = n_unique;
    if (rt_out(ctx, 0, x->dtype, x->rank, dims, &y, err) < 0)
        return -(int)err->code;
    int64_t outer = k_count(x->dims, 0, axis),
            inner = k_count(x->dims, axis + 1, x->rank);
    size_t piece = (size_t)inner * rt_dtype_size(x->dtype);
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < n_unique && piece > 0; i++)
            memcpy((char *)y->data + (size_t)(o * n_unique + i) * piece,
                   (const char *)x->data + (size_t)(o * n + first[i]) * piece, piece);
    if (ctx->node->n_out < 3)
        return 0;
    if (rt_out(ctx, 2, out_idx, 1, &n_unique, &count, err) < 0)
        return -(int)err->code;
    memset(count->data, 0, rt_size(count));
    for (int64_t i = 0; i < n; i++) {
        int64_t u = k_int_at(idx, i);
        k_put_int(count, u, k_int_at(count, u) + 1);
    }
    return 0;
}

/* Elements of x that y does not have, and where they were. */
int
rt_run_list_diff(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0], *y = ctx->in[1];
    int out_idx = *(const int *)ctx->node->state;
    struct rt_tensor *out, *idx;
    struct keys kx, ky;
    struct set set;
    int64_t n = 0;
    if (x->rank != 1 || y->rank != 1)
        return rt_fail(ctx, err, ERR_FAILED, "%s should be a 1D vector.",
                       x->rank != 1 ? "x" : "y");
    if (make_keys(ctx, x, &kx, err) < 0 || make_keys(ctx, y, &ky, err) < 0 ||
        set_init(ctx, &set, &ky, y->n_elems, 1, 1, err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < y->n_elems; i++)
        *set_find(&set, &ky, i, 1) = i;
    int64_t *keep = rt_scratch(ctx, (size_t)x->n_elems * sizeof(*keep), err);
    if (!keep)
        return -(int)err->code;
    for (int64_t i = 0; i < x->n_elems; i++)
        if (*set_find(&set, &kx, i, 1) < 0)
            keep[n++] = i;
    if (rt_out(ctx, 0, x->dtype, 1, &n, &out, err) < 0 ||
        rt_out(ctx, 1, out_idx, 1, &n, &idx, err) < 0)
        return -(int)err->code;
    size_t elem = rt_dtype_size(x->dtype);
    for (int64_t i = 0; i < n; i++) {
        memcpy((char *)out->data + (size_t)i * elem,
               (const char *)x->data + (size_t)keep[i] * elem, elem);
        k_put_int(idx, i, keep[i]);
    }
    return 0;
}

/* ---- LowerBound, UpperBound, Bucketize ------------------------------------------- */

/* In each sorted row, the first position whose element is not less (upper: greater). */
int
rt_run_bound(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *s = ctx->in[0], *v = ctx->in[1];
    int out = *(const int *)ctx->node->state;
    bool upper = ctx->node->op[0] == 'U', half = k_is_half(s->dtype);
    struct rt_tensor *y;
    if (s->rank != 2 || v->rank != 2 || s->dims[0] != v->dims[0])
        return rt_fail(ctx, err, ERR_FAILED,
                       s->rank == 2 && v->rank == 2
                           ? "Leading dim_size of both tensors must match."
                           : "sorted_inputs and values must be 2-D");
    const void *sd = half ? (const void *)k_floats(ctx, s, err) : s->data;
    const void *vd = !sd ? NULL : half ? (const void *)k_floats(ctx, v, err) : v->data;
    if (!vd || rt_out(ctx, 0, out, 2, v->dims, &y, err) < 0)
        return -(int)err->code;
    int64_t n = s->dims[1], m = v->dims[1];
    for (int64_t i = 0; i < v->n_elems; i++) {
        int64_t low = 0, high = n;
        while (low < high) {
            int64_t mid = (low + high) / 2, at = i / m * n + mid;
            bool before = false;
            switch (half ? SM_FLOAT : s->dtype) {
#define X(dtype, type, sfx)                                                            \
    case dtype: {                                                                      \
        type a = ((const type *)sd)[at], b = ((const type *)vd)[i];                    \
        before = upper ? !(b < a) : a < b;                                             \
        break;                                                                         \
    }
                K_REALS(X)
#undef X
            default:
                return rt_fail_dtype(ctx, err, s->dtype);
            }
            if (before)
                low = mid + 1;
            else
                high = mid;
        }
        k_put_int(y, i, low);
    }
    return 0;
}

struct buckets {
    const float *v;
    int n;
};

int
rt_prep_bucketize(struct rt_prep *p)
{
    struct buckets *b = p->node->state = rt_prep_alloc(p, sizeof(*b));
    b->v = rt_attr_floats(p, "boundaries", &b->n);
    for (int i = 1; i < b->n; i++)
        if (b->v[i] < b->v[i - 1])
            rt_prep_fail(p, ERR_FAILED, "Expected sorted boundaries");
    return rt_prep_done(p);
}

/* How many boundaries are not greater than the value (NaN: all). */
int
rt_run_bucketize(struct rt_ctx *ctx, struct err *err)
{
    const struct buckets *b = ctx->node->state;
    const struct rt_tensor *x = ctx->in[0];
    struct rt_tensor *y;
    if (x->dtype != SM_FLOAT && x->dtype != SM_DOUBLE && !k_is_int(x->dtype))
        return rt_fail_dtype(ctx, err, x->dtype);
    if (rt_out(ctx, 0, SM_INT32, x->rank, x->dims, &y, err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < x->n_elems; i++) {
        /* Integers meet the boundaries as floats. */
        double v = x->dtype == SM_FLOAT    ? (double)((const float *)x->data)[i]
                   : x->dtype == SM_DOUBLE ? ((const double *)x->data)[i]
                                           : (double)(float)k_int_at(x, i);
        int low = 0, high = b->n;
        while (low < high) {
            int mid = (low + high) / 2;
            if (v < (double)b->v[mid])
                high = mid;
            else
                low = mid + 1;
        }
        ((int32_t *)y->data)[i] = low;
    }
    return 0;
}
