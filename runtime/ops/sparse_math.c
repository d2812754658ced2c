/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic on sparse tensors: SparseTensorDenseMatMul, SparseReduceSum, …Max, their
 * Sparse forms, SparseSoftmax, SparseAdd, SparseSparseMaximum, …Minimum,
 * SparseDenseCwiseAdd, …Mul, …Div, SparseTensorDenseAdd. float16 and bfloat16 are
 * computed in float. */
#include "runtime/ops/sparse_int.h"

#include <math.h>

/* ---- one number by another: a = a op b ---- */

enum arith { ADD, MUL, DIV, MAX, MIN };

#define STEP(dtype, type, sfx)                                                         \
    case dtype: {                                                                      \
        type *x = (type *)a + i;                                                       \
        const type y = ((const type *)b)[j];                                           \
        *x = (type)(op == ADD   ? *x + y                                               \
                    : op == MUL ? *x * y                                               \
                    : op == DIV ? *x / y                                               \
                    : op == MAX ? (*x < y ? y : *x)                                    \
                                : (y < *x ? y : *x));                                  \
        break;                                                                         \
    }
#define STEP_INT(dtype, type, sfx)                                                     \
    case dtype: {                                                                      \
        type *x = (type *)a + i;                                                       \
        const type y = ((const type *)b)[j];                                           \
        *x = (type)(op == ADD   ? (uint64_t)*x + (uint64_t)y                           \
                    : op == MUL ? (uint64_t)*x * (uint64_t)y                           \
                    : op == DIV ? (uint64_t)(y == (type)-1 && (type)-1 < (type)1       \
                                                 ? (type)(0 - (uint64_t)*x)            \
                                                 : (type)(*x / y))                     \
                    : op == MAX ? (uint64_t)(*x < y ? y : *x)                          \
                                : (uint64_t)(y < *x ? y : *x));                        \
        break;                                                                         \
    }
#define STEP_COMPLEX(dtype, type, sfx)                                                 \
    case dtype: {                                                                      \
        type *x = (type *)a + i;                                                       \
        const type y = ((const type *)b)[j];                                           \
        *x = op == ADD ? *x + y : op == MUL ? *x * y : *x / y;                         \
        break;                                                                         \
    }

/* Element i of a by element j of b; the dtype is one of k_numbers'. An integer b is not
 * 0 in a division. */
static void
step(int dtype, enum arith op, void *a, int64_t i, const void *b, int64_t j)
{
    switch (dtype) {
        K_FLOATS(STEP)
        K_INTS(STEP_INT)
        K_COMPLEX(STEP_COMPLEX)
    case SM_HALF:
    case SM_BFLOAT16: {
        float x, y;
        k_widen(dtype, (uint16_t *)a + i, &x, 1);
        k_widen(dtype, (const uint16_t *)b + j, &y, 1);
        x = op == ADD   ? x + y
            : op == MUL ? x * y
            : op == DIV ? x / y
            : op == MAX ? (x < y ? y : x)
                        : (y < x ? y : x);
        k_narrow(dtype, &x, (uint16_t *)a + i, 1);
        break;
    }
    default:
        break;
    }
}

static int
check_number(struct rt_ctx *ctx, int dtype, bool ordered, struct err *err)
{
    bool complex_ = dtype == SM_COMPLEX64 || dtype == SM_COMPLEX128;
    if (k_is_int(dtype) || k_is_half(dtype) || dtype == SM_FLOAT ||
        dtype == SM_DOUBLE || (complex_ && !ordered))
        return 0;
    return rt_fail_dtype(ctx, err, dtype);
}

/* ---- SparseTensorDenseMatMul ---- */

struct spmm {
    bool adjoint_a, adjoint_b;
};

int
rt_prep_sparse_matmul(struct rt_prep *p)
{
    struct spmm *m = p->node->state = rt_prep_alloc(p, sizeof(*m));
    m->adjoint_a = rt_attr_bool(p, "adjoint_a", false);
    m->adjoint_b = rt_attr_bool(p, "adjoint_b", false);
    return rt_prep_done(p);
}

/* y[row, :] += a * b[k, :]; b's element (k, j) is at k * bs + j * bj. */
#define SPMM(dtype, type, sfx)                                                         \
    static void spmm_##sfx(type *y, type a, const type *b, int64_t bj, int64_t n)      \
    {                                                                                  \
        if (bj == 1)                                                                   \
            for (int64_t j = 0; j < n; j++)                                            \
                y[j] += (type)(a * b[j]);                                              \
        else                                                                           \
            for (int64_t j = 0; j < n; j++)                                            \
                y[j] += (type)(a * b[j * bj]);                                         \
    }
SPMM(SM_FLOAT, float, f32)
SPMM(SM_DOUBLE, double, f64)
SPMM(SM_COMPLEX64, float complex, c64)
SPMM(SM_COMPLEX128, double complex, c128)
SPMM(SM_INT32, uint32_t, i32)
SPMM(SM_INT64, uint64_t, i64)

static void
conj_copy(int dtype, void *y, const void *x, int64_t n)
{
    size_t size = rt_dtype_size(dtype);
    memcpy(y, x, (size_t)n * size);
    if (dtype == SM_COMPLEX64)
        for (int64_t i = 0; i < n; i++)
            ((float *)y)[2 * i + 1] *= -1;
    else if (dtype == SM_COMPLEX128)
        for (int64_t i = 0; i < n; i++)
            ((double *)y)[2 * i + 1] *= -1;
}

/* Values as they enter the product: floats for half ones, conjugated for an adjoint. */
static const void *
factors(struct rt_ctx *ctx, const struct rt_tensor *t, bool adjoint, struct err *err)
{
    if (k_is_half(t->dtype))
        return k_floats(ctx, t, err);
    if (!adjoint || (t->dtype != SM_COMPLEX64 && t->dtype != SM_COMPLEX128))
        return t->data;
    void *y = rt_scratch(ctx, rt_size(t), err);
    if (y)
        conj_copy(t->dtype, y, t->data, t->n_elems);
    return y;
}

static void
spmm_row(int dtype, void *y, int64_t row, int64_t n, const void *a, int64_t i,
         const void *b, int64_t from, int64_t bj)
{
    switch (dtype) {
#define ROW(dt, type, sfx)                                                             \
    case dt:                                                                           \
        spmm_##sfx((type *)y + row * n, ((const type *)a)[i], (const type *)b + from,  \
                   bj, n);                                                             \
        break;
        ROW(SM_FLOAT, float, f32)
        ROW(SM_DOUBLE, double, f64)
        ROW(SM_COMPLEX64, float complex, c64)
        ROW(SM_COMPLEX128, double complex, c128)
        ROW(SM_INT32, uint32_t, i32)
        ROW(SM_INT64, uint64_t, i64)
    default:
        break;
    }
}

/* product[m, n] = a[m, k] (sparse) * b[k, n]; either may be taken adjoint. */
int
rt_run_sparse_matmul(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *b = ctx->in[3];
    const struct spmm *mm = ctx->node->state;
    int dtype = ctx->in[1]->dtype, work = k_is_half(dtype) ? SM_FLOAT : dtype;
    char text[RT_SHAPE_TEXT_BYTES];
    struct sparse s;
    struct rt_tensor *y;
    if (sparse_in(ctx, 0, 1, 2, &s, err) < 0)
        return -(int)err->code;
    if (s.rank != 2 || b->rank != 2)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Tensor 'a_shape' must have 2 elements, and tensor 'b' must be "
                       "a matrix");
    if (work != SM_FLOAT && work != SM_DOUBLE && work != SM_INT32 && work != SM_INT64 &&
        work != SM_COMPLEX64 && work != SM_COMPLEX128)
        return rt_fail_dtype(ctx, err, dtype);
    int64_t m = s.dims[mm->adjoint_a], k = s.dims[!mm->adjoint_a];
    int64_t kb = b->dims[mm->adjoint_b], n = b->dims[!mm->adjoint_b];
    if (k != kb)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Cannot multiply A and B because inner dimension does not "
                       "match: %lld vs. %lld.  Did you forget a transpose?  Dimensions "
                       "of A: [%lld, %lld).  Dimensions of B: %s",
                       (long long)k, (long long)kb, (long long)s.dims[0],
                       (long long)s.dims[1], rt_shape_text(b, text));
    if (m < 0)
        return rt_fail(ctx, err, ERR_FAILED, "Dimension %lld must be >= 0",
                       (long long)m);
    const void *av = factors(ctx, s.values, mm->adjoint_a, err);
    const void *bv = av ? factors(ctx, b, mm->adjoint_b, err) : NULL;
    if (!bv || rt_out(ctx, 0, dtype, 2, (int64_t[]){ m, n }, &y, err) < 0)
        return -(int)err->code;
    void *sum = y->data;
    if (work != dtype &&
        !(sum = rt_scratch(ctx, (size_t)y->n_elems * sizeof(float), err)))
        return -(int)err->code;
    memset(sum, 0, (size_t)y->n_elems * rt_dtype_size(work));
    for (int64_t i = 0; i < s.n; i++) {
        int64_t row = s.at[2 * i + mm->adjoint_a], col = s.at[2 * i + !mm->adjoint_a];
        if (col < 0 || col >= k)
            return rt_fail(ctx, err, ERR_FAILED,
                           "k (%lld) from index[%lld,%d] out of bounds (>=%lld)",
                           (long long)col, (long long)i, !mm->adjoint_a, (long long)k);
        if (row < 0 || row >= m)
            return rt_fail(ctx, err, ERR_FAILED,
                           "m (%lld) from index[%lld,%d] out of bounds (>=%lld)",
                           (long long)row, (long long)i, mm->adjoint_a, (long long)m);
        spmm_row(work, sum, row, n, av, i, bv, mm->adjoint_b ? col : col * n,
                 mm->adjoint_b ? k : 1);
    }
    if (work != dtype)
        k_narrow(dtype, sum, y->data, y->n_elems);
    return 0;
}

/* ---- reductions ---- */

struct sp_reduce {
    enum arith op;
    bool keep_dims, sparse;
};

int
rt_prep_sparse_reduce(struct rt_prep *p)
{
    struct sp_reduce *r = p->node->state = rt_prep_alloc(p, sizeof(*r));
    r->op = strncmp(p->node->op, "SparseReduceMax", 15) == 0 ? MAX : ADD;
    r->sparse = strlen(p->node->op) > 15;
    r->keep_dims = rt_attr_bool(p, "keep_dims", false);
    return rt_prep_done(p);
}

/* Marks the reduced dimensions and gives the output's shape. */
static int
reduced_shape(struct rt_ctx *ctx, const struct sparse *s, bool keep_dims, bool *reduced,
              int *rank, int64_t *dims, struct err *err)
{
    const struct rt_tensor *axes = ctx->in[3];
    if (axes->rank > 1)
        return rt_fail(ctx, err, ERR_FAILED, "reduction_axes must be a vector");
    for (int64_t i = 0; i < axes->n_elems; i++) {
        int64_t axis = k_int_at(axes, i);
        if (axis < -s->rank || axis >= s->rank)
            return rt_fail(ctx, err, ERR_FAILED,
                           "Invalid reduction dimension %lld, for input with %d "
                           "dimensions.",
                           (long long)axis, s->rank);
        reduced[axis < 0 ? axis + s->rank : axis] = true;
    }
    *rank = 0;
    for (int d = 0; d < s->rank; d++)
        if (!reduced[d] || keep_dims)
            dims[(*rank)++] = reduced[d] ? 1 : s->dims[d];
    return 0;
}

/* Groups of values with the same place in the result, each value with its group's
 * place as its index. */
static int
group_places(struct rt_ctx *ctx, const struct sparse *s, bool keep_dims,
             const bool *reduced, int rank, int64_t **places, struct err *err)
{
    *places = rt_scratch(ctx, (size_t)(s->n * rank) * sizeof(**places), err);
    if (!*places)
        return -(int)err->code;
    int64_t *p = *places;
    for (int64_t i = 0; i < s->n; i++)
        for (int d = 0; d < s->rank; d++)
            if (!reduced[d] || keep_dims)
                *p++ = reduced[d] ? 0 : s->at[i * s->rank + d];
    return 0;
}

/* Only places that hold something are written; the others are 0 (for Max too). */
int
rt_run_sparse_reduce(struct rt_ctx *ctx, struct err *err)
{
    const struct sp_reduce *r = ctx->node->state;
    bool reduced[SM_MAX_RANK] = { false };
    int64_t dims[SM_MAX_RANK], steps[SM_MAX_RANK], *places;
    int rank;
    struct sparse s;
    struct rt_tensor *y;
    if (sparse_in(ctx, 0, 1, 2, &s, err) < 0 || sparse_check(ctx, &s, false, err) < 0 ||
        check_number(ctx, s.values->dtype, r->op == MAX, err) < 0 ||
        reduced_shape(ctx, &s, r->keep_dims, reduced, &rank, dims, err) < 0 ||
        rt_out(ctx, 0, s.values->dtype, rank, dims, &y, err) < 0 ||
        group_places(ctx, &s, r->keep_dims, reduced, rank, &places, err) < 0)
        return -(int)err->code;
    uint8_t *seen = rt_scratch(ctx, (size_t)y->n_elems, err);
    if (!seen)
        return -(int)err->code;
    memset(seen, 0, (size_t)y->n_elems);
    memset(y->data, 0, rt_size(y));
    k_steps(rank, dims, steps);
    for (int64_t i = 0; i < s.n; i++) {
        int64_t to = 0;
        for (int d = 0; d < rank; d++)
            to += places[i * rank + d] * steps[d];
        if (seen[to])
            step(y->dtype, r->op, y->data, to, s.values->data, i);
        else
            sparse_move(y, to, s.values, i);
        seen[to] = 1;
    }
    return 0;
}

int
rt_run_sparse_reduce_sparse(struct rt_ctx *ctx, struct err *err)
{
    const struct sp_reduce *r = ctx->node->state;
    bool reduced[SM_MAX_RANK] = { false };
    int64_t dims[SM_MAX_RANK], *places, *at, *shape, n = 0;
    int rank;
    struct sparse s;
    struct rt_tensor *y;
    if (sparse_in(ctx, 0, 1, 2, &s, err) < 0 || sparse_check(ctx, &s, false, err) < 0 ||
        check_number(ctx, s.values->dtype, r->op == MAX, err) < 0 ||
        reduced_shape(ctx, &s, r->keep_dims, reduced, &rank, dims, err) < 0 ||
        group_places(ctx, &s, r->keep_dims, reduced, rank, &places, err) < 0)
        return -(int)err->code;
    const int64_t *order = sparse_sorted(ctx, places, s.n, rank, err);
    if (!order)
        return -(int)err->code;
    for (int64_t i = 0; i < s.n; i++)
        n += i == 0 || sparse_order(rank, places + order[i - 1] * rank,
                                    places + order[i] * rank) != 0;
    if (sparse_out_ints(ctx, 0, n, rank, &at, err) < 0 ||
        rt_out(ctx, 1, s.values->dtype, 1, &n, &y, err) < 0 ||
        sparse_out_ints(ctx, 2, rank, -1, &shape, err) < 0)
        return -(int)err->code;
    memcpy(shape, dims, (size_t)rank * sizeof(*shape));
    for (int64_t i = 0, k = -1; i < s.n; i++) {
        const int64_t *x = places + order[i] * rank;
        if (i > 0 && sparse_order(rank, places + order[i - 1] * rank, x) == 0) {
            step(y->dtype, r->op, y->data, k, s.values->data, order[i]);
            continue;
        }
        k++;
        memcpy(at + k * rank, x, (size_t)rank * sizeof(*at));
        sparse_move(y, k, s.values, order[i]);
    }
    return 0;
}

/* ---- SparseSoftmax ---- */

/* Over the values of each run of equal leading indices. */
int
rt_run_sparse_softmax(struct rt_ctx *ctx, struct err *err)
{
    struct sparse s;
    struct rt_tensor *y;
    if (sparse_in(ctx, 0, 1, 2, &s, err) < 0)
        return -(int)err->code;
    int dtype = s.values->dtype;
    if (s.rank < 2)
        return rt_fail(ctx, err, ERR_FAILED, "Input should have rank >= 2, but got: %d",
                       s.rank);
    if (dtype != SM_FLOAT && dtype != SM_DOUBLE && !k_is_half(dtype))
        return rt_fail_dtype(ctx, err, dtype);
    double *v = rt_scratch(ctx, (size_t)s.n * sizeof(*v), err);
    const float *f = dtype == SM_DOUBLE || !v ? NULL : k_floats(ctx, s.values, err);
    float *g = f ? rt_scratch(ctx, (size_t)s.n * sizeof(*g), err) : NULL;
    if (!v || (dtype != SM_DOUBLE && !g) || rt_out(ctx, 0, dtype, 1, &s.n, &y, err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < s.n; i++)
        v[i] = f ? (double)f[i] : ((const double *)s.values->data)[i];
    for (int64_t i = 0, end; i < s.n; i = end) {
        double top = v[i], sum = 0;
        for (end = i; end < s.n && sparse_order(s.rank - 1, s.at + i * s.rank,
                                                s.at + end * s.rank) == 0;
             end++)
            top = fmax(top, v[end]);
        for (int64_t k = i; k < end; k++)
            sum += v[k] = exp(v[k] - top);
        for (int64_t k = i; k < end; k++)
            v[k] /= sum;
    }
    for (int64_t i = 0; i < s.n && g; i++)
        g[i] = (float)v[i];
    if (dtype == SM_DOUBLE)
        memcpy(y->data, v, rt_size(y));
    else if (dtype == SM_FLOAT)
        memcpy(y->data, g, rt_size(y));
    else
        k_narrow(dtype, g, y->data, s.n);
    return 0;
}

/* ---- two sparse tensors ---- */

/* |element 0 of x| >= thresh's. */
static bool
at_least(int dtype, const void *x, const struct rt_tensor *thresh)
{
    double limit, v;
    switch (dtype) {
    case SM_FLOAT:
        v = fabs((double)*(const float *)x);
        break;
    case SM_DOUBLE:
        v = fabs(*(const double *)x);
        break;
    case SM_COMPLEX64:
        v = (double)cabsf(*(const float complex *)x);
        break;
    case SM_COMPLEX128:
        v = cabs(*(const double complex *)x);
        break;
    default: {
        struct rt_tensor t = *thresh;
        t.data = (void *)(uintptr_t)x;
        t.dtype = dtype;
        v = fabs((double)k_int_at(&t, 0));
    }
    }
    limit = thresh->dtype == SM_FLOAT    ? (double)*(const float *)thresh->data
            : thresh->dtype == SM_DOUBLE ? *(const double *)thresh->data
                                         : (double)k_int_at(thresh, 0);
    return v >= limit;
}

/* Values of a and b where either has one (the other's is 0), in order. SparseAdd leaves
 * out sums below `thresh`. */
static int
merge(struct rt_ctx *ctx, const struct sparse *a, const struct sparse *b, enum arith op,
      const struct rt_tensor *thresh, struct err *err)
{
    int64_t cap = a->n + b->n, n = 0, i = 0, j = 0, *at;
    int dtype = a->values->dtype, rank = a->rank;
    size_t size = rt_dtype_size(dtype);
    struct rt_tensor *y;
    char *v = rt_scratch(ctx, (size_t)cap * size, err);
    const int64_t **x = v ? rt_scratch(ctx, (size_t)cap * sizeof(*x), err) : NULL;
    if (!x)
        return -(int)err->code;
    while (i < a->n || j < b->n) {
        int c = i == a->n   ? 1
                : j == b->n ? -1
                            : sparse_order(rank, a->at + i * rank, b->at + j * rank);
        memset(v + (size_t)n * size, 0, size);
        x[n] = c <= 0 ? a->at + i * rank : b->at + j * rank;
        if (c <= 0)
            memcpy(v + (size_t)n * size, (char *)a->values->data + (size_t)i * size,
                   size);
        if (c >= 0)
            step(dtype, op, v, n, b->values->data, j);
        else if (op != ADD) /* with the 0 that b has there */
            step(dtype, op, v, n, (const char[16]){ 0 }, 0);
        n += !thresh || c != 0 || at_least(dtype, v + (size_t)n * size, thresh);
        i += c <= 0;
        j += c >= 0;
    }
    if (sparse_out_ints(ctx, 0, n, rank, &at, err) < 0 ||
        rt_out(ctx, 1, dtype, 1, &n, &y, err) < 0)
        return -(int)err->code;
    for (int64_t k = 0; k < n; k++)
        memcpy(at + k * rank, x[k], (size_t)rank * sizeof(*at));
    memcpy(y->data, v, (size_t)n * size);
    return 0;
}

static int
two_in(struct rt_ctx *ctx, struct sparse *a, struct sparse *b, struct err *err)
{
    if (sparse_in(ctx, 0, 1, 2, a, err) < 0 || sparse_in(ctx, 3, 4, 5, b, err) < 0)
        return -(int)err->code;
    if (a->rank != b->rank ||
        memcmp(a->dims, b->dims, (size_t)a->rank * sizeof(*a->dims)) != 0)
        return rt_fail(ctx, err, ERR_FAILED,
                       "the two sparse tensors' shapes differ, they must be the same");
    return 0;
}

int
rt_run_sparse_add(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *thresh = ctx->in[6];
    struct sparse a, b;
    int64_t *shape;
    if (two_in(ctx, &a, &b, err) < 0 ||
        check_number(ctx, a.values->dtype, false, err) < 0)
        return -(int)err->code;
    if (k_is_half(a.values->dtype))
        return rt_fail_dtype(ctx, err, a.values->dtype);
    if (thresh->rank != 0)
        return rt_fail(ctx, err, ERR_FAILED,
                       "The magnitude threshold must be a scalar");
    if (merge(ctx, &a, &b, ADD, thresh, err) < 0 ||
        sparse_out_ints(ctx, 2, a.rank, -1, &shape, err) < 0)
        return -(int)err->code;
    memcpy(shape, a.dims, (size_t)a.rank * sizeof(*shape));
    return 0;
}

int
rt_run_sparse_minmax(struct rt_ctx *ctx, struct err *err)
{
    enum arith op = strcmp(ctx->node->op, "SparseSparseMaximum") == 0 ? MAX : MIN;
    struct sparse a, b;
    if (two_in(ctx, &a, &b, err) < 0 ||
        check_number(ctx, a.values->dtype, true, err) < 0)
        return -(int)err->code;
    return merge(ctx, &a, &b, op, NULL, err);
}

/* ---- a sparse and a dense tensor ---- */

int
rt_prep_sparse_dense(struct rt_prep *p)
{
    enum arith *op = p->node->state = rt_prep_alloc(p, sizeof(*op));
    const char *name = p->node->op + strlen("SparseDenseCwise");
    *op = strcmp(name, "Mul") == 0 ? MUL : strcmp(name, "Div") == 0 ? DIV : ADD;
    return rt_prep_done(p);
}

/* Values of the sparse tensor by those of the dense one, which repeats to its shape. */
int
rt_run_sparse_dense(struct rt_ctx *ctx, struct err *err)
{
    enum arith op = *(const enum arith *)ctx->node->state;
    const struct rt_tensor *b = ctx->in[3];
    int64_t steps[SM_MAX_RANK], dims[SM_MAX_RANK];
    char x[RT_SHAPE_TEXT_BYTES], z[RT_SHAPE_TEXT_BYTES];
    int rank;
    struct sparse s;
    struct rt_tensor *y;
    if (sparse_in(ctx, 0, 1, 2, &s, err) < 0 || sparse_check(ctx, &s, false, err) < 0 ||
        check_number(ctx, b->dtype, false, err) < 0)
        return -(int)err->code;
    if (!k_broadcast(s.rank, s.dims, b->rank, b->dims, &rank, dims) || rank != s.rank ||
        memcmp(dims, s.dims, (size_t)rank * sizeof(*dims)) != 0)
        return rt_fail(ctx, err, ERR_FAILED,
                       "SparseDenseBinaryOpShared broadcasts dense to sparse only; got "
                       "incompatible shapes: %s vs. %s",
                       rt_dims_text(s.rank, s.dims, x), rt_shape_text(b, z));
    if (rt_out(ctx, 0, b->dtype, 1, &s.n, &y, err) < 0)
        return -(int)err->code;
    memcpy(y->data, s.values->data, rt_size(y));
    k_steps(b->rank, b->dims, steps);
    for (int64_t i = 0; i < s.n; i++) {
        int64_t from = 0;
        for (int d = 0, db = b->rank - s.rank; d < s.rank; d++, db++)
            if (db >= 0 && b->dims[db] != 1)
                from += s.at[i * s.rank + d] * steps[db];
        if (op == DIV && k_is_int(b->dtype) && k_int_at(b, from) == 0)
            return rt_fail(ctx, err, ERR_FAILED, "Integer division by zero");
        step(b->dtype, op, y->data, i, b->data, from);
    }
    return 0;
}

int
rt_run_sparse_tensor_dense_add(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *b = ctx->in[3];
    int64_t steps[SM_MAX_RANK];
    struct sparse s;
    struct rt_tensor *y;
    if (sparse_in(ctx, 0, 1, 2, &s, err) < 0 ||
        check_number(ctx, b->dtype, false, err) < 0)
        return -(int)err->code;
    if (s.rank != b->rank ||
        memcmp(s.dims, b->dims, (size_t)s.rank * sizeof(*s.dims)) != 0)
        return rt_fail(ctx, err, ERR_FAILED,
                       "the sparse and the dense tensor's shapes differ, they must be "
                       "the same");
    if (sparse_check(ctx, &s, false, err) < 0 ||
        rt_out(ctx, 0, b->dtype, b->rank, b->dims, &y, err) < 0)
        return -(int)err->code;
    memcpy(y->data, b->data, rt_size(b));
    k_steps(s.rank, s.dims, steps);
    for (int64_t i = 0; i < s.n; i++) {
        int64_t to = 0;
        for (int d = 0; d < s.rank; d++)
            to += s.at[i * s.rank + d] * steps[d];
        step(b->dtype, ADD, y->data, to, s.values->data, i);
    }
    return 0;
}
