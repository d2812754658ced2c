/* SPDX-License-Identifier: Apache-2.0 */
/* Sum, Mean, Prod, Max, Min, All, Any, EuclideanNorm along any axes. Float sums run in
 * double, in 64 lanes that are added pairwise; float16 and bfloat16 reduce as float and
 * round once; integers wrap, but for the mean, which divides like C. Max and Min give
 * NaN when a value is NaN. Nothing to reduce gives 0, NaN (Mean), 1, the lowest or the
 * highest value. */
#include "runtime/ops/math_vec.h"
#include "runtime/ops/ops_int.h"

#define LANES 64

/* acc[j] = f(acc[j], x[r * stride + j]) for j < n <= LANES, r < rows in order. */
typedef void reduce_fn(void *acc, const void *x, int64_t n, int64_t rows,
                       int64_t stride);

#define LOOP(attr, name, acc_type, type, expr)                                         \
    attr static void name(void *pa, const void *px, int64_t n, int64_t rows,           \
                          int64_t stride)                                              \
    {                                                                                  \
        acc_type *as = pa;                                                             \
        if (n == 1) { /* without the inner loop's cost */                              \
            acc_type a = as[0];                                                        \
            for (int64_t r = 0; r < rows; r++) {                                       \
                type x = ((const type *)px)[r * stride];                               \
                a = (acc_type)(expr);                                                  \
            }                                                                          \
            as[0] = a;                                                                 \
            return;                                                                    \
        }                                                                              \
        for (int64_t r = 0; r < rows; r++) {                                           \
            const type *xs = (const type *)px + r * stride;                            \
            K_VECTOR                                                                   \
            for (int64_t j = 0; j < n; j++) {                                          \
                acc_type a = as[j];                                                    \
                type x = xs[j];                                                        \
                as[j] = (acc_type)(expr);                                              \
            }                                                                          \
        }                                                                              \
    }
#define V(name, acc_type, type, expr) LOOP(RT_SIMD, name, acc_type, type, expr)

V(sum_f32, double, float, a + (double)x)
V(sum_f64, double, double, a + x)
V(sumsq_f32, double, float, a + (double)x * (double)x)
V(sumsq_f64, double, double, a + x * x)
V(prod_f32, float, float, a *x)
V(prod_f64, double, double, a *x)
V(max_f32, float, float, x > a || x != x ? x : a)
V(max_f64, double, double, x > a || x != x ? x : a)
V(min_f32, float, float, x < a || x != x ? x : a)
V(min_f64, double, double, x < a || x != x ? x : a)
#define X(dtype, type, sfx)                                                            \
    V(sum_##sfx, type, type, (uint64_t)a + (uint64_t)x)                                \
    V(sumsq_##sfx, type, type, (uint64_t)a + (uint64_t)x * (uint64_t)x)                \
    V(prod_##sfx, type, type, (uint64_t)a *(uint64_t)x)                                \
    V(max_##sfx, type, type, x > a ? x : a)                                            \
    V(min_##sfx, type, type, x < a ? x : a)
K_INTS(X)
#undef X
#define X(dtype, type, sfx)                                                            \
    LOOP(, sum_##sfx, double complex, type, a + x)                                     \
    LOOP(, sumsq_##sfx, double complex, type, a + x * conj(x))                         \
    LOOP(, prod_##sfx, type, type, a *x)
K_COMPLEX(X)
#undef X
V(all_bool, uint8_t, uint8_t, a &x)
V(any_bool, uint8_t, uint8_t, a | x)

enum kind { SUM, MEAN, NORM, PROD, MAX, MIN, ALL, ANY };

struct reducer {
    const char *op;
    enum kind kind;
    reduce_fn *fn[K_N_DTYPES];
};

#define INTS(n)                                                                        \
    [SM_INT8] = n##_i8, [SM_INT16] = n##_i16, [SM_INT32] = n##_i32,                    \
    [SM_INT64] = n##_i64, [SM_UINT8] = n##_u8, [SM_UINT16] = n##_u16,                  \
    [SM_UINT32] = n##_u32, [SM_UINT64] = n##_u64
#define REALS(n) [SM_FLOAT] = n##_f32, [SM_DOUBLE] = n##_f64, INTS(n)
#define NUMBERS(n) REALS(n), [SM_COMPLEX64] = n##_c64, [SM_COMPLEX128] = n##_c128

static const struct reducer rows[] = {
    { "Sum", SUM, { NUMBERS(sum) } },
    { "Mean", MEAN, { NUMBERS(sum) } },
    { "EuclideanNorm", NORM, { NUMBERS(sumsq) } },
    { "Prod", PROD, { NUMBERS(prod) } },
    { "Max", MAX, { REALS(max) } },
    { "Min", MIN, { REALS(min) } },
    { "All", ALL, { [SM_BOOL] = all_bool } },
    { "Any", ANY, { [SM_BOOL] = any_bool } },
};

/* Norms after the first pass, and lanes, are only added. */
static const struct reducer *const adder = &rows[0];

struct reduce_state {
    const struct reducer *row;
    bool keep_dims;
};

int
rt_prep_reduce(struct rt_prep *p)
{
    struct reduce_state *s = p->node->state = rt_prep_alloc(p, sizeof(*s));
    s->row = K_ROW(rows, p->node->op);
    s->keep_dims = rt_attr_bool(p, "keep_dims", false);
    return rt_prep_done(p);
}

/* The dtype a reduction runs in. */
static int
acc_dtype(enum kind kind, int dtype)
{
    if (kind == SUM || kind == MEAN || kind == NORM)
        return dtype == SM_FLOAT       ? SM_DOUBLE
               : dtype == SM_COMPLEX64 ? SM_COMPLEX128
                                       : dtype;
    return dtype;
}

/* The value of no elements. */
static void
start_value(enum kind kind, int dtype, void *out)
{
    memset(out, 0, 16);
    switch (dtype) {
#define CASE(dt, type, low, high)                                                      \
    case dt:                                                                           \
        *(type *)out = kind == PROD  ? (type)1                                         \
                       : kind == MAX ? (type)(low)                                     \
                       : kind == MIN ? (type)(high)                                    \
                                     : (type)0;                                        \
        return;
#define X(dt, type, sfx)                                                               \
    CASE(dt, type, (type)((uint64_t)1 << (8 * sizeof(type) - 1)),                      \
         (type)(((uint64_t)1 << (8 * sizeof(type) - 1)) - 1))
        K_SINTS(X)
#undef X
#define X(dt, type, sfx) CASE(dt, type, 0, (type)-1)
        K_UINTS(X)
#undef X
#define X(dt, type, sfx) CASE(dt, type, -INFINITY, INFINITY)
        K_FLOATS(X)
#undef X
#undef CASE
    case SM_COMPLEX64:
        *(float complex *)out = kind == PROD;
        return;
    case SM_COMPLEX128:
        *(double complex *)out = kind == PROD;
        return;
    case SM_BOOL:
        *(uint8_t *)out = kind == ALL;
        return;
    }
}

/* One pass: x [A, R, B] to y [A, B], y in `dtype` too. */
struct pass {
    const struct reducer *r;
    reduce_fn *fn, *fold; /* into acc; acc into acc */
    int dtype, acc;
    size_t elem, acc_elem;
    int64_t n_r, n_b;
    const char *x;
    char *y;
    _Alignas(16) char start[16];
};

static void
put_acc(const struct pass *p, const void *acc, void *y, int64_t n)
{
    if (p->acc == p->dtype) {
        memcpy(y, acc, (size_t)n * p->elem);
    } else if (p->dtype == SM_FLOAT) {
        for (int64_t i = 0; i < n; i++)
            ((float *)y)[i] = (float)((const double *)acc)[i];
    } else {
        for (int64_t i = 0; i < n; i++)
            ((float complex *)y)[i] = (float complex)((const double complex *)acc)[i];
    }
}

/* B = 1: each output is a run of R elements, reduced in lanes. */
static void
reduce_rows(void *arg, int64_t begin, int64_t end)
{
    const struct pass *p = arg;
    _Alignas(64) char acc[LANES * 16];
    for (int64_t a = begin; a < end; a++) {
        const char *x = p->x + (size_t)(a * p->n_r) * p->elem;
        if (p->n_r < LANES / 2) { /* one after the other */
            memcpy(acc, p->start, sizeof(p->start));
            p->fn(acc, x, 1, p->n_r, 1);
            put_acc(p, acc, p->y + (size_t)a * p->elem, 1);
            continue;
        }
        int64_t lanes = K_MIN(p->n_r, LANES), whole = lanes ? p->n_r / lanes : 0;
        int64_t rest = p->n_r - whole * lanes;
        k_fill(acc, p->start, K_MAX(lanes, 1), p->acc_elem);
        p->fn(acc, x, lanes, whole, lanes);
        p->fn(acc, x + (size_t)(whole * lanes) * p->elem, rest, rest > 0, 0);
        for (int64_t n = lanes; n > 1; n -= n / 2)
            p->fold(acc, acc + (size_t)(n - n / 2) * p->acc_elem, n / 2, 1, 0);
        put_acc(p, acc, p->y + (size_t)a * p->elem, 1);
    }
}

/* B > 1: columns, LANES at a time; begin and end count outputs' groups of lanes. */
static void
reduce_columns(void *arg, int64_t begin, int64_t end)
{
    const struct pass *p = arg;
    _Alignas(64) char acc[LANES * 16];
    int64_t groups = (p->n_b + LANES - 1) / LANES;
    for (int64_t i = begin; i < end; i++) {
        int64_t a = i / groups, b = i % groups * LANES, n = K_MIN(p->n_b - b, LANES);
        k_fill(acc, p->start, n, p->acc_elem);
        p->fn(acc, p->x + (size_t)(a * p->n_r * p->n_b + b) * p->elem, n, p->n_r,
              p->n_b);
        put_acc(p, acc, p->y + (size_t)(a * p->n_b + b) * p->elem, n);
    }
}

static void
run_pass(struct rt_ctx *ctx, struct pass *p, int64_t n_a)
{
    int64_t work = K_MAX(p->n_r, 1);
    start_value(p->r->kind, p->acc, p->start);
    if (p->n_b == 1)
        rt_parallel_for(ctx, n_a, K_MAX(1, K_GRAIN / work), reduce_rows, p);
    else
        rt_parallel_for(ctx, n_a * ((p->n_b + LANES - 1) / LANES),
                        K_MAX(1, K_GRAIN / (work * LANES)), reduce_columns, p);
}

/* Which axes are reduced; and dims with neighbours of one kind joined, alternating. */
struct axes {
    bool on[SM_MAX_RANK];
    int n;
    int64_t dims[SM_MAX_RANK];
    bool reduced[SM_MAX_RANK];
    int64_t count; /* elements an output is made from */
};

/* From `on` and the dims of x, the rest. */
static void
join_dims(struct axes *ax, const struct rt_tensor *x)
{
    for (int i = 0; i < x->rank; i++) {
        if (ax->on[i])
            ax->count *= x->dims[i];
        if (x->dims[i] == 1)
            continue;
        if (ax->n > 0 && ax->reduced[ax->n - 1] == ax->on[i]) {
            ax->dims[ax->n - 1] *= x->dims[i];
        } else {
            ax->dims[ax->n] = x->dims[i];
            ax->reduced[ax->n++] = ax->on[i];
        }
    }
}

static int
read_axes(struct rt_ctx *ctx, struct axes *ax, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0], *t = ctx->in[1];
    *ax = (struct axes){ .count = 1 };
    if (t->rank > 1)
        return rt_fail(ctx, err, ERR_FAILED,
                       "reduction_indices must be a scalar or vector");
    for (int64_t i = 0; i < t->n_elems; i++) {
        int64_t a = rt_int_at(t, i);
        if (a < -x->rank || a >= x->rank)
            return rt_fail(
                ctx, err, ERR_FAILED,
                "Invalid reduction dimension (%lld for input with %d dimension(s)",
                (long long)a, x->rank);
        a = a < 0 ? a + x->rank : a;
        if (ax->on[a])
            return rt_fail(
                ctx, err, ERR_FAILED,
                "Invalid reduction arguments: Axes contains duplicate dimension: "
                "%lld",
                (long long)a);
        ax->on[a] = true;
    }
    join_dims(ax, x);
    return 0;
}

/* Mean and norm of what the passes left. (An int64 mean of no elements is 0.) */
static void
finish(enum kind kind, int dtype, void *y, int64_t n, int64_t count)
{
    if (kind != MEAN && kind != NORM)
        return;
    for (int64_t i = 0; i < n; i++) {
        switch (dtype) {
#define CASE(dt, type, wide, root, divides)                                            \
    case dt: {                                                                         \
        type *v = (type *)y + i;                                                       \
        wide by = (wide)(type)count;                                                   \
        if (kind == NORM)                                                              \
            *v = (type)root;                                                           \
        else                                                                           \
            *v = (type)(divides ? (wide)*v / by : 0);                                  \
        break;                                                                         \
    }
#define X(dt, type, sfx) CASE(dt, type, int64_t, sqrt((double)*v), by != 0)
            K_SINTS(X)
#undef X
#define X(dt, type, sfx) CASE(dt, type, uint64_t, sqrt((double)*v), by != 0)
            K_UINTS(X)
#undef X
#define X(dt, type, sfx) CASE(dt, type, type, sqrt((double)*v), true)
            K_FLOATS(X)
#undef X
#define X(dt, type, sfx) CASE(dt, type, type, csqrt(*v), true)
            K_COMPLEX(X)
#undef X
#undef CASE
        }
    }
}

/* The passes, innermost group first. `x` is read; the result goes to `y`. */
static int
run_passes(struct rt_ctx *ctx, const struct reducer *r, int dtype, const void *x,
           void *y, struct axes *ax, struct err *err)
{
    size_t elem = rt_dtype_size(dtype);
    int left = 0;
    for (int i = 0; i < ax->n; i++)
        left += ax->reduced[i];
    for (int i = ax->n - 1; i >= 0 && left > 0; i--) {
        if (!ax->reduced[i])
            continue;
        int64_t n_a = k_count(ax->dims, 0, i), n_b = 1;
        for (int j = i + 1; j < ax->n; j++)
            n_b *= ax->reduced[j] ? 1 : ax->dims[j];
        void *out = --left == 0 ? y : rt_scratch(ctx, (size_t)(n_a * n_b) * elem, err);
        if (!out)
            return -(int)err->code;
        struct pass p = { .r = r,
                          .fn = r->fn[dtype],
                          .dtype = dtype,
                          .elem = elem,
                          .acc = acc_dtype(r->kind, dtype),
                          .n_r = ax->dims[i],
                          .n_b = n_b,
                          .x = x,
                          .y = out };
        p.acc_elem = rt_dtype_size(p.acc);
        p.fold = r->kind == NORM ? adder->fn[p.acc] : r->fn[p.acc];
        run_pass(ctx, &p, n_a);
        x = out;
        if (r->kind == NORM)
            r = adder;
    }
    return 0;
}

static bool
reduces_nothing(const struct axes *ax)
{
    for (int i = 0; i < ax->n; i++)
        if (ax->reduced[i])
            return false;
    return true;
}

/* The dtype of the passes: what the halves are widened to, and for the mean of integers
 * (whose sum must not wrap) int64. */
static int
work_dtype(enum kind kind, int dtype)
{
    if (k_is_half(dtype))
        return SM_FLOAT;
    return kind == MEAN && k_is_int(dtype) && rt_dtype_size(dtype) < 8 ? SM_INT64
                                                                       : dtype;
}

static int
reduce(struct rt_ctx *ctx, const struct reducer *r, struct axes *ax, bool keep_dims,
       struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    int dtype = work_dtype(r->kind, x->dtype), rank = 0;
    int64_t dims[SM_MAX_RANK];
    struct rt_tensor *y;
    if (dtype >= K_N_DTYPES || !r->fn[dtype])
        return rt_fail_dtype(ctx, err, x->dtype);
    for (int i = 0; i < x->rank; i++)
        if (!ax->on[i] || keep_dims)
            dims[rank++] = ax->on[i] ? 1 : x->dims[i];
    if (reduces_nothing(ax) && r->kind != NORM) {
        rt_out_alias(ctx, 0, x, 0, x->dtype, rank, dims);
        return 0;
    }
    if (rt_out(ctx, 0, x->dtype, rank, dims, &y, err) < 0)
        return -(int)err->code;
    if (y->n_elems == 0)
        return 0;
    bool other = dtype != x->dtype;
    const void *from = !other              ? x->data
                       : dtype == SM_FLOAT ? (const void *)k_floats(ctx, x, err)
                                           : (const void *)k_ints(ctx, x, err);
    void *to = y->data;
    if (other)
        to = rt_scratch(ctx, (size_t)y->n_elems * rt_dtype_size(dtype), err);
    if (!from || !to)
        return -(int)err->code;
    if (reduces_nothing(ax)) { /* a norm of single values is their size */
        ax->dims[ax->n] = 1;
        ax->reduced[ax->n++] = true;
    }
    if (run_passes(ctx, r, dtype, from, to, ax, err) < 0)
        return -(int)err->code;
    finish(r->kind, dtype, to, y->n_elems, ax->count);
    if (other && dtype == SM_FLOAT) {
        k_narrow(x->dtype, to, y->data, y->n_elems);
    } else if (other) {
        size_t elem = rt_dtype_size(x->dtype);
        for (int64_t i = 0; i < y->n_elems; i++) /* the low bytes */
            memcpy((char *)y->data + (size_t)i * elem, (const int64_t *)to + i, elem);
    }
    return 0;
}

int
rt_run_reduce(struct rt_ctx *ctx, struct err *err)
{
    const struct reduce_state *s = ctx->node->state;
    struct axes ax;
    if (read_axes(ctx, &ax, err) < 0)
        return -(int)err->code;
    return reduce(ctx, s->row, &ax, s->keep_dims, err);
}

/* BiasAddGrad: the sum over all but the channels; state is BiasAdd's. */
int
rt_run_bias_add_grad(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    int channels = *(const bool *)ctx->node->state ? 1 : x->rank - 1;
    char text[RT_SHAPE_TEXT_BYTES];
    struct axes ax = { .count = 1 };
    if (x->rank < 2)
        return rt_fail(ctx, err, ERR_FAILED, "Input tensor must be at least 2D: %s",
                       rt_shape_text(x, text));
    for (int i = 0; i < x->rank; i++)
        ax.on[i] = i != channels;
    join_dims(&ax, x);
    return reduce(ctx, adder, &ax, false, err);
}
