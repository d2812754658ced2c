/* SPDX-License-Identifier: Apache-2.0 */
/* Decompositions and solvers over batches of matrices [..., m, n], by LAPACK: Cholesky,
 * MatrixInverse, MatrixDeterminant, LogMatrixDeterminant, MatrixSolve, MatrixSolveLs,
 * MatrixTriangularSolve, BandedTriangularSolve, MatrixSquareRoot, Lu, Qr, Svd,
 * SelfAdjointEigV2, Eig, TridiagonalSolve, TridiagonalMatMul, and the Batch names of
 * old graphs. Half, bfloat16, float, double, complex64 and complex128, all computed as
 * complex double: the matrices of served models are small, and one path is enough.
 * Singular and eigenvectors have LAPACK's signs, which need not be TensorFlow's. */
#include "runtime/ops/ops_int.h"

#include <lapacke.h>
#include <math.h>

/* Column-major, as LAPACK's: element (i, j) is v[i + j * rows]. */
struct mat {
    int rows, cols;
    double complex *v;
};
struct attrs {
    const struct la_op *op;
    bool adjoint, lower, full, vectors, fast, pivoting;
    int index_type, complex_type;
};
/* One matrix of the batch: o is zeroed. Returns what LAPACK returned (`info`): > 0 the
 * input is singular or the iteration did not end. */
typedef int la_fn(const struct attrs *a, struct mat x, struct mat b, struct mat *o,
                  double l2, double complex *work);

#define AT(m, i, j) ((m).v[(i) + (size_t)(j) * (size_t)(m).rows])

static void
copy(struct mat from, struct mat to)
{
    memcpy(to.v, from.v, (size_t)from.rows * (size_t)from.cols * sizeof(*to.v));
}

/* to = from^H; two places. */
static void
adjoint(struct mat from, struct mat to)
{
    for (int i = 0; i < from.rows; i++)
        for (int j = 0; j < from.cols; j++)
            to.v[j + (size_t)i * (size_t)from.cols] = conj(AT(from, i, j));
}

static void
multiply(struct mat a, struct mat b, struct mat to)
{
    for (int j = 0; j < b.cols; j++)
        for (int i = 0; i < a.rows; i++) {
            double complex sum = 0;
            for (int k = 0; k < a.cols; k++)
                sum += AT(a, i, k) * AT(b, k, j);
            AT(to, i, j) = sum;
        }
}

/* ---- factors --------------------------------------------------------------------- */

static int
cholesky(const struct attrs *a, struct mat x, struct mat b, struct mat *o, double l2,
         double complex *work)
{
    (void)a, (void)b, (void)l2, (void)work;
    for (int j = 0; j < x.cols; j++)
        for (int i = j; i < x.rows; i++)
            AT(o[0], i, j) = AT(x, i, j);
    int info = LAPACKE_zpotrf(LAPACK_COL_MAJOR, 'L', x.rows, o[0].v, x.rows);
    for (size_t i = 0; info > 0 && i < (size_t)x.rows * (size_t)x.cols; i++)
        o[0].v[i] = NAN; /* as TensorFlow, which does not fail here */
    return 0;
}

/* LU of x in place. */
static int
lu_factor(struct mat x, lapack_int *pivot)
{
    return LAPACKE_zgetrf(LAPACK_COL_MAJOR, x.rows, x.cols, x.v, x.rows, pivot);
}

static int
lu(const struct attrs *a, struct mat x, struct mat b, struct mat *o, double l2,
   double complex *work)
{
    (void)a, (void)b, (void)l2;
    lapack_int *pivot = (lapack_int *)work;
    copy(x, o[0]);
    int info = lu_factor(o[0], pivot);
    for (int i = 0; i < x.rows; i++)
        o[1].v[i] = i;
    for (int i = 0; i < x.rows; i++) {
        double complex t = o[1].v[i];
        o[1].v[i] = o[1].v[pivot[i] - 1];
        o[1].v[pivot[i] - 1] = t;
    }
    return info;
}

static int
inverse(const struct attrs *a, struct mat x, struct mat b, struct mat *o, double l2,
        double complex *work)
{
    (void)b, (void)l2;
    lapack_int *pivot = (lapack_int *)work;
    if (a->adjoint)
        adjoint(x, o[0]);
    else
        copy(x, o[0]);
    int info = lu_factor(o[0], pivot);
    return info ? info
                : LAPACKE_zgetri(LAPACK_COL_MAJOR, x.rows, o[0].v, x.rows, pivot);
}

/* o[0] = determinant; with a second output sign and log |determinant|. */
static int
determinant(const struct attrs *a, struct mat x, struct mat b, struct mat *o, double l2,
            double complex *work)
{
    (void)a, (void)b, (void)l2;
    lapack_int *pivot = (lapack_int *)work;
    double complex sign = 1, product = 1;
    double log_abs = 0;
    if (x.rows)
        lu_factor(x, pivot);
    for (int i = 0; i < x.rows; i++) {
        double complex d = pivot[i] == i + 1 ? AT(x, i, i) : -AT(x, i, i);
        product *= d;
        sign *= d == 0 ? 0 : d / cabs(d);
        log_abs += log(cabs(d));
    }
    o[0].v[0] = o[1].v ? sign : product;
    if (o[1].v)
        o[1].v[0] = log_abs;
    return 0;
}

static int
qr(const struct attrs *a, struct mat x, struct mat b, struct mat *o, double l2,
   double complex *work)
{
    (void)a, (void)b, (void)l2;
    int p = x.rows < x.cols ? x.rows : x.cols, q_cols = o[0].cols;
    int info = LAPACKE_zgeqrf(LAPACK_COL_MAJOR, x.rows, x.cols, x.v, x.rows, work);
    for (int j = 0; j < x.cols; j++)
        for (int i = 0; i <= j && i < o[1].rows; i++)
            AT(o[1], i, j) = AT(x, i, j);
    for (int j = 0; j < p; j++)
        for (int i = 0; i < x.rows; i++)
            AT(o[0], i, j) = AT(x, i, j);
    return info ? info
                : LAPACKE_zungqr(LAPACK_COL_MAJOR, x.rows, q_cols, p, o[0].v, x.rows,
                                 work);
}

/* ---- solvers --------------------------------------------------------------------- */

static int
solve(const struct attrs *a, struct mat x, struct mat b, struct mat *o, double l2,
      double complex *work)
{
    (void)l2;
    lapack_int *pivot = (lapack_int *)work;
    copy(b, o[0]);
    int info = lu_factor(x, pivot);
    return info ? info
                : LAPACKE_zgetrs(LAPACK_COL_MAJOR, a->adjoint ? 'C' : 'N', x.rows,
                                 b.cols, x.v, x.rows, pivot, o[0].v, x.rows);
}

/* Least squares: fast by the normal equations, (x^H x + l2) y = x^H b or, of a wide x,
 * y = x^H (x x^H + l2)^-1 b; else the shortest y, by a complete orthogonal
 * decomposition. */
static int
solve_ls(const struct attrs *a, struct mat x, struct mat b, struct mat *o, double l2,
         double complex *work)
{
    int m = x.rows, n = x.cols, k = b.cols, p = m < n ? m : n;
    if (!a->fast) {
        int wide = m > n ? m : n, rank;
        lapack_int *pivot = (lapack_int *)work;
        struct mat y = { wide, k, work + n };
        memset(pivot, 0, (size_t)n * sizeof(*pivot));
        memset(y.v, 0, (size_t)wide * (size_t)k * sizeof(*y.v));
        for (int j = 0; j < k; j++)
            for (int i = 0; i < m; i++)
                AT(y, i, j) = AT(b, i, j);
        int info = LAPACKE_zgelsy(LAPACK_COL_MAJOR, m, n, k, x.v, m, y.v, wide, pivot,
                                  1e-12, &rank);
        for (int j = 0; j < k; j++)
            for (int i = 0; i < n; i++)
                AT(o[0], i, j) = AT(y, i, j);
        return info;
    }
    struct mat xh = { n, m, work }, gram = { p, p, work + (size_t)m * (size_t)n },
               y = { p, k, gram.v + (size_t)p * (size_t)p };
    adjoint(x, xh);
    if (m >= n) {
        multiply(xh, x, gram);
        multiply(xh, b, y);
    } else {
        multiply(x, xh, gram);
        copy(b, y);
    }
    for (int i = 0; i < p; i++)
        AT(gram, i, i) += l2;
    int info = LAPACKE_zposv(LAPACK_COL_MAJOR, 'L', p, k, gram.v, p, y.v, p);
    if (m >= n)
        copy(y, o[0]);
    else
        multiply(xh, y, o[0]);
    return info;
}

static int
triangular_solve(const struct attrs *a, struct mat x, struct mat b, struct mat *o,
                 double l2, double complex *work)
{
    (void)l2, (void)work;
    bool turned = a->adjoint, from_top = a->lower != turned;
    for (int j = 0; j < b.cols; j++)
        for (int s = 0; s < x.rows; s++) {
            int i = from_top ? s : x.rows - 1 - s;
            double complex sum = AT(b, i, j);
            for (int t = 0; t < s; t++) {
                int k = from_top ? t : x.rows - 1 - t;
                sum -= (turned ? conj(AT(x, k, i)) : AT(x, i, k)) * AT(o[0], k, j);
            }
            double complex d = turned ? conj(AT(x, i, i)) : AT(x, i, i);
            /* A real quotient, so that 1 / 0 is inf as TensorFlow's and not NaN. */
            AT(o[0], i, j) = cimag(d) == 0
                                 ? CMPLX(creal(sum) / creal(d),
                                         cimag(sum) == 0 ? 0 : cimag(sum) / creal(d))
                                 : sum / d;
        }
    return 0;
}

/* x holds bands: of a lower matrix the diagonal first, of an upper one last; column i
 * of a band is row i's element. */
static int
banded_solve(const struct attrs *a, struct mat x, struct mat b, struct mat *o,
             double l2, double complex *work)
{
    struct mat full = { x.cols, x.cols, work };
    memset(work, 0, (size_t)x.cols * (size_t)x.cols * sizeof(*work));
    for (int r = 0; r < x.rows; r++)
        for (int i = 0; i < x.cols; i++) {
            int j = a->lower ? i - r : i + x.rows - 1 - r;
            if (j >= 0 && j < x.cols)
                AT(full, i, j) = AT(x, r, i);
        }
    return triangular_solve(a, full, b, o, l2, NULL);
}

/* x: superdiagonal, diagonal, subdiagonal as rows. */
static int
tridiagonal_solve(const struct attrs *a, struct mat x, struct mat b, struct mat *o,
                  double l2, double complex *work)
{
    (void)a, (void)l2;
    int n = x.cols;
    double complex *up = work, *middle = up + n, *low = middle + n;
    for (int i = 0; i < n; i++) {
        up[i] = AT(x, 0, i);
        middle[i] = AT(x, 1, i);
        low[i] = i + 1 < n ? AT(x, 2, i + 1) : 0;
    }
    copy(b, o[0]);
    return LAPACKE_zgtsv(LAPACK_COL_MAJOR, n, b.cols, low, middle, up, o[0].v, n);
}

static int
tridiagonal_multiply(const struct attrs *a, struct mat x, struct mat b, struct mat *o,
                     double l2, double complex *work)
{
    (void)a, (void)l2, (void)work;
    int n = x.cols;
    for (int j = 0; j < b.cols; j++)
        for (int i = 0; i < n; i++)
            AT(o[0], i, j) = AT(x, 1, i) * AT(b, i, j) +
                             (i ? AT(x, 2, i) * AT(b, i - 1, j) : 0) +
                             (i + 1 < n ? AT(x, 0, i) * AT(b, i + 1, j) : 0);
    return 0;
}

/* ---- spectra --------------------------------------------------------------------- */

/* LAPACK's iterations need not end on NaN. */
static bool
has_nan(struct mat x)
{
    for (size_t i = 0; i < (size_t)x.rows * (size_t)x.cols; i++)
        if (isnan(creal(x.v[i])) || isnan(cimag(x.v[i])))
            return true;
    return false;
}

static int
svd(const struct attrs *a, struct mat x, struct mat b, struct mat *o, double l2,
    double complex *work)
{
    (void)b, (void)l2;
    int m = x.rows, n = x.cols, p = m < n ? m : n;
    char job = a->vectors ? a->full ? 'A' : 'S' : 'N';
    struct mat vh = { o[2].cols, n, work };
    double *s = (double *)(work + (size_t)n * (size_t)n);
    bool nan = has_nan(x);
    int info = nan ? 0
                   : LAPACKE_zgesdd(LAPACK_COL_MAJOR, job, m, n, x.v, m, s, o[1].v, m,
                                    vh.v, vh.rows ? vh.rows : 1);
    for (int i = 0; i < p; i++)
        o[0].v[i] = nan ? NAN : s[i];
    for (int k = 1; k < 3 && nan && a->vectors; k++)
        for (size_t i = 0; i < (size_t)o[k].rows * (size_t)o[k].cols; i++)
            o[k].v[i] = NAN;
    if (a->vectors && !nan)
        adjoint(vh, o[2]);
    return info;
}

static int
self_adjoint_eig(const struct attrs *a, struct mat x, struct mat b, struct mat *o,
                 double l2, double complex *work)
{
    (void)b, (void)l2;
    double *e = (double *)work;
    if (has_nan(x))
        return 1;
    int info = LAPACKE_zheev(LAPACK_COL_MAJOR, a->vectors ? 'V' : 'N', 'L', x.rows, x.v,
                             x.rows, e);
    for (int i = 0; i < x.rows; i++)
        o[0].v[i] = e[i];
    if (a->vectors)
        copy(x, o[1]);
    return info;
}

static int
eig(const struct attrs *a, struct mat x, struct mat b, struct mat *o, double l2,
    double complex *work)
{
    (void)b, (void)l2;
    if (has_nan(x))
        return 1;
    return LAPACKE_zgeev(LAPACK_COL_MAJOR, 'N', a->vectors ? 'V' : 'N', x.rows, x.v,
                         x.rows, o[0].v, work, x.rows, a->vectors ? o[1].v : work,
                         x.rows);
}

/* Of the Schur form x = z t z^H, whose root is triangular too (Bjorck and Hammarling
 * 1983). */
static int
square_root(const struct attrs *a, struct mat x, struct mat b, struct mat *o, double l2,
            double complex *work)
{
    (void)a, (void)b, (void)l2;
    int n = x.rows, dim;
    size_t size = (size_t)n * (size_t)n;
    struct mat z = { n, n, work }, r = { n, n, work + size },
               zr = { n, n, work + 2 * size };
    int info = LAPACKE_zgees(LAPACK_COL_MAJOR, 'V', 'N', NULL, n, x.v, n, &dim,
                             zr.v /* eigenvalues: not needed */, z.v, n);
    memset(r.v, 0, size * sizeof(*r.v));
    for (int j = 0; j < n; j++)
        for (int i = j; i >= 0; i--) {
            double complex sum = AT(x, i, j);
            for (int k = i + 1; k < j; k++)
                sum -= AT(r, i, k) * AT(r, k, j);
            AT(r, i, j) = i == j ? csqrt(sum) : sum / (AT(r, i, i) + AT(r, j, j));
        }
    multiply(z, r, zr);
    adjoint(z, x);
    multiply(zr, x, o[0]);
    return info;
}

/* ---- the table ------------------------------------------------------------------- */

/* Dims as letters: m, n of the matrix, k columns of the right-hand side, p = min(m, n);
 * P is m and Q is n with full_matrices, else p. */
static const struct la_op {
    const char *name;
    la_fn *fn;
    const char *rhs, *out[3];
    bool square, broadcast;
    const char *failure;
} la_ops[] = {
#define SINGULAR "Input matrix is not invertible."
#define NOT_INVERTIBLE "Input is not invertible."
    { "Cholesky", cholesky, NULL, { "nn" }, true, false, NULL },
    { "MatrixInverse", inverse, NULL, { "nn" }, true, false, NOT_INVERTIBLE },
    { "MatrixDeterminant", determinant, NULL, { "" }, true, false, NULL },
    { "LogMatrixDeterminant", determinant, NULL, { "", "" }, true, false, NULL },
    { "MatrixSolve", solve, "mk", { "nk" }, true, false, SINGULAR },
    { "MatrixSolveLs", solve_ls, "mk", { "nk" }, false, false, SINGULAR },
    { "MatrixTriangularSolve", triangular_solve, "mk", { "nk" }, true, true, NULL },
    { "BandedTriangularSolve", banded_solve, "nk", { "nk" }, false, true, NULL },
    { "MatrixSquareRoot", square_root, NULL, { "nn" }, true, false, NOT_INVERTIBLE },
    { "Lu", lu, NULL, { "nn", "n" }, true, false, NOT_INVERTIBLE },
    { "Qr", qr, NULL, { "mP", "Pn" }, false, false, "QR did not succeed." },
    { "Svd", svd, NULL, { "p", "mP", "nQ" }, false, false, "SVD did not converge." },
#define NO_EIG "decomposition was not successful. The input might not be valid."
    { "SelfAdjointEigV2",
      self_adjoint_eig,
      NULL,
      { "n", "nn" },
      true,
      false,
      "Self-adjoint eigen " NO_EIG },
    { "Eig", eig, NULL, { "n", "nn" }, true, false, "Eigen " NO_EIG },
    { "TridiagonalSolve", tridiagonal_solve, "nk", { "nk" }, false, false, SINGULAR },
    { "TridiagonalMatMul", tridiagonal_multiply, "nk", { "nk" }, false, false, NULL },
};

int
rt_prep_linalg(struct rt_prep *p)
{
    struct attrs *a = p->node->state = rt_prep_alloc(p, sizeof(*a));
    const char *op = p->node->op + (strncmp(p->node->op, "Batch", 5) == 0 ? 5 : 0);
    a->op = K_ROW(la_ops, op);
    if (!a->op)
        return rt_prep_fail(p, ERR_UNSUPPORTED, "has no kernel");
    a->adjoint = rt_attr_bool(p, "adjoint", false);
    a->lower = rt_attr_bool(p, "lower", true);
    a->full = rt_attr_bool(p, "full_matrices", false);
    a->vectors =
        rt_attr_bool(p, "compute_uv", true) && rt_attr_bool(p, "compute_v", true);
    a->fast = rt_attr_bool(p, "fast", true);
    a->index_type = rt_attr_type(p, "output_idx_type", SM_INT32);
    a->complex_type = rt_attr_type(p, "Tout", SM_COMPLEX64);
    if (rt_attr_bool(p, "perturb_singular", false))
        rt_prep_fail(p, ERR_UNSUPPORTED, "perturb_singular is not supported");
    LAPACKE_set_nancheck(0); /* NaN goes through, as with TensorFlow */
    return rt_prep_done(p);
}

/* ---- batches --------------------------------------------------------------------- */

struct job {
    const struct attrs *a;
    int m, n, k;
    int batch_rank;
    int64_t batch[SM_MAX_RANK];
    bool tridiagonal_parts; /* TridiagonalMatMul: three inputs are the rows of one */
};

static int
letter(const struct job *j, char c)
{
    int p = j->m < j->n ? j->m : j->n;
    switch (c) {
    case 'm':
        return j->m;
    case 'n':
        return j->n;
    case 'k':
        return j->k;
    case 'P':
        return j->a->full ? j->m : p;
    case 'Q':
        return j->a->full ? j->n : p;
    default:
        return p;
    }
}

static void
put(struct rt_tensor *t, int64_t i, double complex v)
{
    switch (t->dtype) {
    case SM_FLOAT:
        ((float *)t->data)[i] = (float)creal(v);
        break;
    case SM_DOUBLE:
        ((double *)t->data)[i] = creal(v);
        break;
    case SM_HALF:
        ((uint16_t *)t->data)[i] = rt_f32_to_half((float)creal(v));
        break;
    case SM_BFLOAT16:
        ((uint16_t *)t->data)[i] = rt_f32_to_bf16((float)creal(v));
        break;
    case SM_INT32:
    case SM_INT64:
        k_put_int(t, i, (int64_t)creal(v));
        break;
    case SM_COMPLEX64:
        ((float complex *)t->data)[i] = (float complex)v;
        break;
    default:
        ((double complex *)t->data)[i] = v;
    }
}

/* Matrix number `at` of t, whose last two dimensions are those of `to`. */
static void
load(const struct rt_tensor *t, int64_t at, struct mat to)
{
    int64_t from = at * to.rows * to.cols;
    for (int i = 0; i < to.rows; i++)
        for (int j = 0; j < to.cols; j++)
            AT(to, i, j) = k_complex_at(t, from + (int64_t)i * to.cols + j);
}

static void
store(struct rt_tensor *t, int64_t at, struct mat from)
{
    int64_t to = at * from.rows * from.cols;
    for (int i = 0; i < from.rows; i++)
        for (int j = 0; j < from.cols; j++)
            put(t, to + (int64_t)i * from.cols + j, AT(from, i, j));
}

/* The matrix of t that belongs to matrix number `at` of the batch. */
static int64_t
batch_at(const struct job *j, const struct rt_tensor *t, int64_t at)
{
    int64_t from = 0, step = 1;
    for (int d = j->batch_rank - 1, i = t->rank - 3; d >= 0; d--, i--) {
        int64_t k = at % j->batch[d];
        at /= j->batch[d];
        if (i < 0)
            continue;
        from += t->dims[i] == 1 ? 0 : k * step;
        step *= t->dims[i];
    }
    return from;
}

static int
fit(struct rt_ctx *ctx, struct job *j, struct err *err)
{
    const struct la_op *op = j->a->op;
    const struct rt_tensor *x = ctx->in[0],
                           *b = op->rhs ? ctx->in[j->tridiagonal_parts ? 3 : 1] : NULL;
    for (int i = 0; i < ctx->node->n_in && i < 4; i++)
        if (ctx->in[i]->rank < 2 && !(op->fn == solve_ls && i == 2))
            return rt_fail(ctx, err, ERR_FAILED,
                           "Input tensor %d must have rank >= 2, got %d", i,
                           ctx->in[i]->rank);
    for (int i = 0; i < x->rank; i++)
        if (x->dims[i] > INT32_MAX / 8)
            return rt_fail(ctx, err, ERR_LIMIT, "a matrix of %lld rows",
                           (long long)x->dims[i]);
    j->m = (int)x->dims[x->rank - 2];
    j->n = (int)x->dims[x->rank - 1];
    if (op->square && j->m != j->n)
        return rt_fail(ctx, err, ERR_FAILED, "Input matrix must be square.");
    bool same = !b || b->rank == x->rank;
    for (int i = 1; j->tridiagonal_parts && i < 3; i++)
        same &= rt_same_shape(x, ctx->in[i]);
    if (j->tridiagonal_parts ? j->m != 1 : op->fn == tridiagonal_solve && j->m != 3)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Expected diagonals of shape [..., %d, n], got %lld rows",
                       j->tridiagonal_parts ? 1 : 3, (long long)j->m);
    if (!op->broadcast && !same)
        return rt_fail(ctx, err, ERR_FAILED,
                       "All input tensors must have the same rank.");
    if (b && b->dims[b->rank - 2] != letter(j, op->rhs[0]))
        return rt_fail(ctx, err, ERR_FAILED, "Input matrix and rhs are incompatible.");
    if (b && b->dims[b->rank - 1] > INT32_MAX / 8)
        return rt_fail(ctx, err, ERR_LIMIT, "a right-hand side of %lld columns",
                       (long long)b->dims[b->rank - 1]);
    j->k = b ? (int)b->dims[b->rank - 1] : 0;
    bool fits = !b || k_broadcast(x->rank - 2, x->dims, b->rank - 2, b->dims,
                                  &j->batch_rank, j->batch);
    if (!b) {
        j->batch_rank = x->rank - 2;
        memcpy(j->batch, x->dims, (size_t)j->batch_rank * sizeof(*j->batch));
    }
    if (!fits || (b && !op->broadcast &&
                  memcmp(x->dims, b->dims, (size_t)(x->rank - 2) * sizeof(*b->dims))))
        return rt_fail(ctx, err, ERR_FAILED,
                       "All input tensors must have the same outer dimensions.");
    return 0;
}

static int
outputs(struct rt_ctx *ctx, const struct job *j, struct rt_tensor *y[3],
        struct err *err)
{
    const struct la_op *op = j->a->op;
    for (int i = 0; i < ctx->node->n_out; i++) {
        int64_t dims[SM_MAX_RANK + 2] = { 0 };
        int rank = j->batch_rank, type = ctx->in[0]->dtype;
        memcpy(dims, j->batch, (size_t)rank * sizeof(*dims));
        for (const char *c = op->out[i]; *c; c++)
            dims[rank++] = letter(j, *c);
        if (op->fn == lu && i == 1)
            type = j->a->index_type;
        if (op->fn == eig)
            type = j->a->complex_type;
        if (i > 0 && !j->a->vectors) { /* nobody reads it */
            rank = 1;
            dims[0] = 0;
        }
        if (rt_out(ctx, i, type, rank, dims, &y[i], err) < 0)
            return -(int)err->code;
    }
    return 0;
}

/* input(s) [..., m, n] (, rhs [..., m, k]) -> as the table's letters say. */
int
rt_run_linalg(struct rt_ctx *ctx, struct err *err)
{
    struct job j = { .a = ctx->node->state };
    const struct la_op *op = j.a->op;
    const struct rt_tensor *x = ctx->in[0];
    struct rt_tensor *y[3];
    double l2 = 0;
    if (x->dtype != SM_FLOAT && x->dtype != SM_DOUBLE && !k_is_half(x->dtype) &&
        x->dtype != SM_COMPLEX64 && x->dtype != SM_COMPLEX128)
        return rt_fail_dtype(ctx, err, x->dtype);
    j.tridiagonal_parts = op->fn == tridiagonal_multiply;
    if (fit(ctx, &j, err) < 0 || outputs(ctx, &j, y, err) < 0)
        return -(int)err->code;
    const struct rt_tensor *rhs = op->rhs ? ctx->in[j.tridiagonal_parts ? 3 : 1] : NULL;
    if (op->fn == solve_ls) {
        if (ctx->in[2]->n_elems != 1)
            return rt_fail(ctx, err, ERR_FAILED, "l2_regularizer must be a scalar");
        l2 = ((const double *)ctx->in[2]->data)[0];
    }

    /* Room for x, the right-hand side, three outputs and what the functions need. */
    int rows = j.tridiagonal_parts ? 3 : j.m;
    size_t wide = (size_t)(rows > j.n ? rows : j.n) + 1, k = (size_t)j.k;
    double complex *room =
        rt_scratch(ctx, (7 * wide * wide + 4 * wide * k) * sizeof(*room), err);
    if (!room)
        return -(int)err->code;
    struct mat m = { rows, j.n, room };
    struct mat b = { op->rhs ? letter(&j, op->rhs[0]) : 0, j.k, room + wide * wide };
    double complex *work = b.v + wide * k, *at = work + 3 * wide * wide + wide * k;
    struct mat o[3] = { { 0 } };
    for (int i = 0; i < ctx->node->n_out; i++) {
        size_t letters = strlen(op->out[i]);
        o[i] = (struct mat){ letters > 0 ? letter(&j, op->out[i][0]) : 1,
                             letters > 1 ? letter(&j, op->out[i][1]) : 1, at };
        at += wide * wide + (i ? 0 : wide * k);
    }
    for (int64_t i = 0; i < k_count(j.batch, 0, j.batch_rank); i++) {
        if (rt_poll(ctx, err) < 0)
            return -(int)err->code;
        for (int part = 0; j.tridiagonal_parts && part < 3; part++)
            for (int c = 0; c < j.n; c++)
                AT(m, part, c) = k_complex_at(ctx->in[part], i * j.n + c);
        if (!j.tridiagonal_parts)
            load(x, batch_at(&j, x, i), m);
        if (rhs)
            load(rhs, batch_at(&j, rhs, i), b);
        for (int q = 0; q < ctx->node->n_out; q++)
            memset(o[q].v, 0, (size_t)o[q].rows * (size_t)o[q].cols * sizeof(*o[q].v));
        bool empty = op->fn != determinant && (j.m == 0 || j.n == 0);
        int info = empty ? 0 : op->fn(j.a, m, b, o, l2, work);
        if (info && op->failure)
            return rt_fail(ctx, err, ERR_FAILED, "%s", op->failure);
        for (int q = 0; q < ctx->node->n_out; q++)
            if (q == 0 || j.a->vectors)
                store(y[q], i, o[q]);
    }
    return 0;
}
