/* SPDX-License-Identifier: Apache-2.0 */
/* Diagonals of matrices and tensors: MatrixDiag, MatrixDiagPart, MatrixSetDiag (all
 * three versions), MatrixBandPart, Diag, DiagPart. Every dtype. */
#include "runtime/ops/ops_int.h"

/* ---- bands of diagonals ---------------------------------------------------------- */

/* Diagonals low … high of a rows x cols matrix, packed as in MatrixDiagV2 and V3: line
 * high - d holds diagonal d (> 0: above the main one), shifted right where `align`
 * says. */
struct band {
    int64_t rows, cols, low, high, n_diags, max_len;
    bool left_super, left_sub;
};

int
rt_prep_diag(struct rt_prep *p)
{
    struct band *b = p->node->state = rt_prep_alloc(p, sizeof(*b));
    size_t n = strlen(p->node->op);
    bool v3 = n > 2 && strcmp(p->node->op + n - 2, "V3") == 0;
    const char *align = rt_attr_str(p, "align", v3 ? "RIGHT_LEFT" : "LEFT_LEFT");
    b->left_super = strncmp(align, "LEFT_", 5) == 0;
    b->left_sub = strcmp(align + strcspn(align, "_"), "_LEFT") == 0;
    return rt_prep_done(p);
}

/* Reads k: a diagonal, or the lowest and the highest. */
static int
read_k(struct rt_ctx *ctx, int in, struct band *b, struct err *err)
{
    if (in >= ctx->node->n_in) {
        b->low = b->high = 0;
        return 0;
    }
    const struct rt_tensor *t = ctx->in[in];
    if (t->rank > 1 || t->n_elems < 1 || t->n_elems > 2)
        return rt_fail(
            ctx, err, ERR_FAILED,
            "diag_index must be a scalar or vector of 1 or 2 elements, received "
            "%lld",
            (long long)t->n_elems);
    b->low = ((const int32_t *)t->data)[0];
    b->high = ((const int32_t *)t->data)[t->n_elems - 1];
    if (b->low > b->high)
        return rt_fail(
            ctx, err, ERR_FAILED,
            "lower_diag_index must not be larger than upper_diag_index: %lld > %lld",
            (long long)b->low, (long long)b->high);
    return 0;
}

/* With rows and cols known: are the diagonals there, and how long are they? */
static int
fit_band(struct rt_ctx *ctx, struct band *b, struct err *err)
{
    for (int i = 0; i < 2; i++) {
        int64_t d = i ? b->high : b->low;
        if ((d > -b->rows && d < b->cols) || d == 0)
            continue;
        return rt_fail(
            ctx, err, ERR_FAILED,
            "%s_diag_index is out of bound: %lld. It must be between %lld and %lld",
            i ? "upper" : "lower", (long long)d, (long long)-b->rows,
            (long long)b->cols);
    }
    b->n_diags = b->high - b->low + 1;
    b->max_len = K_MIN(b->rows + K_MIN(b->high, 0), b->cols - K_MAX(b->low, 0));
    return 0;
}

/* The place of matrix element (i, j) in the packed form, or -1. */
static int64_t
packed_at(const struct band *b, int64_t i, int64_t j)
{
    int64_t d = j - i;
    if (d < b->low || d > b->high)
        return -1;
    int64_t len = K_MIN(b->rows + K_MIN(d, 0), b->cols - K_MAX(d, 0));
    bool left = (d >= 0 && b->left_super) || (d <= 0 && b->left_sub);
    return (b->high - d) * b->max_len + (d >= 0 ? i : j) +
           (left ? 0 : b->max_len - len);
}

/* y = matrices that hold `diag`'s elements on the band, and elsewhere those of `rest`
 * (rest_step elements a matrix; 0: always its first element). */
static void
fill_matrices(const struct band *b, struct rt_tensor *y, const char *diag,
              const char *rest, bool rest_is_matrix)
{
    size_t elem = rt_dtype_size(y->dtype);
    int64_t area = b->rows * b->cols, packed = b->n_diags * b->max_len;
    int64_t n = area ? y->n_elems / area : 0;
    char *d = y->data;
    for (int64_t m = 0; m < n; m++, diag += (size_t)packed * elem)
        for (int64_t i = 0; i < b->rows; i++)
            for (int64_t j = 0; j < b->cols; j++, d += elem) {
                int64_t at = packed_at(b, i, j);
                int64_t k = rest_is_matrix ? (m * b->rows + i) * b->cols + j : 0;
                const char *s =
                    at >= 0 ? diag + (size_t)at * elem : rest + (size_t)k * elem;
                if (s != d)
                    memcpy(d, s, elem);
            }
}

static const char zero[16];

/* An optional scalar input as the value of places off the band. */
static int
padding(struct rt_ctx *ctx, int in, const char **value, struct err *err)
{
    *value = zero;
    if (in >= ctx->node->n_in)
        return 0;
    if (ctx->in[in]->n_elems != 1)
        return rt_fail(ctx, err, ERR_FAILED, "padding_value must be a scalar");
    *value = ctx->in[in]->data;
    return 0;
}

/* MatrixDiag(diagonal[, k, num_rows, num_cols, padding_value]). */
int
rt_run_matrix_diag(struct rt_ctx *ctx, struct err *err)
{
    struct band b = *(const struct band *)ctx->node->state;
    const struct rt_tensor *x = ctx->in[0];
    int64_t dims[SM_MAX_RANK + 1], rows = -1, cols = -1;
    const char *pad;
    struct rt_tensor *y;
    bool v1 = ctx->node->n_in == 1;
    if (read_k(ctx, 1, &b, err) < 0 ||
        (!v1 && (k_scalar(ctx, 2, "num_rows", &rows, err) < 0 ||
                 k_scalar(ctx, 3, "num_cols", &cols, err) < 0)) ||
        padding(ctx, 4, &pad, err) < 0)
        return -(int)err->code;
    bool several = b.low < b.high;
    if (x->rank < 1 + several)
        return rt_fail(ctx, err, ERR_FAILED,
                       "diagonal must be at least %d-dim, received %d", 1 + several,
                       x->rank);
    if (several && x->dims[x->rank - 2] != b.high - b.low + 1)
        return rt_fail(
            ctx, err, ERR_FAILED,
            "The number of diagonals provided in the input does not match the "
            "lower_diag_index and upper_diag_index range.");
    int64_t len = x->dims[x->rank - 1];
    int64_t min_rows = len - K_MIN(b.high, 0), min_cols = len + K_MAX(b.low, 0);
    if (rows == -1 && cols == -1)
        rows = cols = K_MAX(min_rows, min_cols);
    else if (rows == -1)
        rows = min_rows;
    else if (cols == -1)
        cols = min_cols;
    if (rows < min_rows)
        return rt_fail(ctx, err, ERR_FAILED, "The number of rows is too small.");
    if (cols < min_cols)
        return rt_fail(ctx, err, ERR_FAILED, "The number of columns is too small.");
    if (rows != min_rows && cols != min_cols)
        return rt_fail(
            ctx, err, ERR_FAILED,
            "The number of rows or columns is not consistent with the specified "
            "d_lower, d_upper, and diagonal.");
    b.rows = rows, b.cols = cols;
    b.n_diags = b.high - b.low + 1; /* some may lie outside of the matrix */
    b.max_len = len;
    int rank = x->rank - 1 - several;
    memcpy(dims, x->dims, (size_t)rank * sizeof(dims[0]));
    dims[rank] = rows;
    dims[rank + 1] = cols;
    if (rank + 2 > SM_MAX_RANK)
        return rt_fail(ctx, err, ERR_UNSUPPORTED, "more than %d dimensions",
                       SM_MAX_RANK);
    if (k_is_obj(x->dtype))
        return rt_fail_dtype(ctx, err, x->dtype);
    if (rt_out(ctx, 0, x->dtype, rank + 2, dims, &y, err) < 0)
        return -(int)err->code;
    fill_matrices(&b, y, x->data, pad, false);
    return 0;
}

/* MatrixDiagPart(input[, k, padding_value]). */
int
rt_run_matrix_diag_part(struct rt_ctx *ctx, struct err *err)
{
    struct band b = *(const struct band *)ctx->node->state;
    const struct rt_tensor *x = ctx->in[0];
    int64_t dims[SM_MAX_RANK];
    const char *pad;
    struct rt_tensor *y;
    if (x->rank < 2)
        return rt_fail(ctx, err, ERR_FAILED,
                       "input must be at least 2-dim, received %d", x->rank);
    b.rows = x->dims[x->rank - 2];
    b.cols = x->dims[x->rank - 1];
    if (read_k(ctx, 1, &b, err) < 0 || fit_band(ctx, &b, err) < 0 ||
        padding(ctx, 2, &pad, err) < 0)
        return -(int)err->code;
    int rank = x->rank - 2;
    memcpy(dims, x->dims, sizeof(dims));
    if (b.n_diags > 1)
        dims[rank++] = b.n_diags;
    dims[rank++] = b.max_len;
    if (k_is_obj(x->dtype))
        return rt_fail_dtype(ctx, err, x->dtype);
    if (rt_out(ctx, 0, x->dtype, rank, dims, &y, err) < 0)
        return -(int)err->code;
    size_t elem = rt_dtype_size(x->dtype);
    int64_t packed = b.n_diags * b.max_len, area = b.rows * b.cols;
    k_fill(y->data, pad, y->n_elems, elem);
    for (int64_t m = 0; m < k_count(x->dims, 0, x->rank - 2); m++)
        for (int64_t d = b.low; d <= b.high; d++) {
            int64_t i = K_MAX(-d, 0), j = K_MAX(d, 0);
            for (; i < b.rows && j < b.cols; i++, j++)
                memcpy(
                    (char *)y->data + (size_t)(m * packed + packed_at(&b, i, j)) * elem,
                    (const char *)x->data + (size_t)(m * area + i * b.cols + j) * elem,
                    elem);
        }
    return 0;
}

/* MatrixSetDiag(input, diagonal[, k]). */
int
rt_run_matrix_set_diag(struct rt_ctx *ctx, struct err *err)
{
    struct band b = *(const struct band *)ctx->node->state;
    const struct rt_tensor *x = ctx->in[0], *diag = ctx->in[1];
    struct rt_tensor *y;
    if (x->rank < 2)
        return rt_fail(ctx, err, ERR_FAILED,
                       "input must be at least 2-dim, received %d", x->rank);
    b.rows = x->dims[x->rank - 2];
    b.cols = x->dims[x->rank - 1];
    if (read_k(ctx, 2, &b, err) < 0 || fit_band(ctx, &b, err) < 0)
        return -(int)err->code;
    int rank = x->rank - 2;
    bool fits = diag->rank == x->rank - 1 + (b.n_diags > 1) &&
                diag->dims[diag->rank - 1] == b.max_len &&
                (b.n_diags == 1 || diag->dims[diag->rank - 2] == b.n_diags);
    for (int i = 0; fits && i < rank; i++)
        fits = diag->dims[i] == x->dims[i];
    if (!fits) {
        char ta[RT_SHAPE_TEXT_BYTES], tb[RT_SHAPE_TEXT_BYTES];
        return rt_fail(
            ctx, err, ERR_FAILED,
            "diagonal of shape %s does not fit %lld diagonals of an input of shape "
            "%s",
            rt_shape_text(diag, ta), (long long)b.n_diags, rt_shape_text(x, tb));
    }
    if (k_is_obj(x->dtype))
        return rt_fail_dtype(ctx, err, x->dtype);
    if (rt_out_reuse(ctx, 0, 0, x->dtype, x->rank, x->dims, &y, err) < 0)
        return -(int)err->code;
    fill_matrices(&b, y, diag->data, x->data, true);
    return 0;
}

/* MatrixBandPart: keeps num_lower diagonals below the main one and num_upper above
 * (negative: all). */
int
rt_run_matrix_band_part(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    int64_t lower = 0, upper = 0;
    struct rt_tensor *y;
    if (x->rank < 2)
        return rt_fail(ctx, err, ERR_FAILED,
                       "input must be at least 2-dim, received %d", x->rank);
    if (k_scalar(ctx, 1, "num_lower", &lower, err) < 0 ||
        k_scalar(ctx, 2, "num_upper", &upper, err) < 0)
        return -(int)err->code;
    int64_t rows = x->dims[x->rank - 2], cols = x->dims[x->rank - 1];
    if (lower > rows || upper > cols)
        return rt_fail(
            ctx, err, ERR_FAILED,
            "num_%s must be negative or less or equal to number of %s (%lld) got: "
            "%lld",
            lower > rows ? "lower" : "upper", lower > rows ? "rows" : "columns",
            (long long)(lower > rows ? rows : cols),
            (long long)(lower > rows ? lower : upper));
    if (k_is_obj(x->dtype))
        return rt_fail_dtype(ctx, err, x->dtype);
    if (rt_out_reuse(ctx, 0, 0, x->dtype, x->rank, x->dims, &y, err) < 0)
        return -(int)err->code;
    size_t elem = rt_dtype_size(x->dtype);
    for (int64_t r = 0; cols > 0 && r < x->n_elems / cols; r++) {
        int64_t i = r % rows;
        int64_t from = lower < 0 ? 0 : K_MIN(K_MAX(i - lower, 0), cols);
        int64_t to = upper < 0 ? cols : K_MIN(i + upper + 1, cols);
        to = K_MAX(to, from);
        char *d = (char *)y->data + (size_t)(r * cols) * elem;
        const char *s = (const char *)x->data + (size_t)(r * cols) * elem;
        memset(d, 0, (size_t)from * elem);
        if (d != s)
            memcpy(d + (size_t)from * elem, s + (size_t)from * elem,
                   (size_t)(to - from) * elem);
        memset(d + (size_t)to * elem, 0, (size_t)(cols - to) * elem);
    }
    return 0;
}

/* ---- Diag, DiagPart -------------------------------------------------------------- */

/* Diag: a tensor of shape [s] onto the diagonal of [s, s]; DiagPart: back. */
int
rt_run_tensor_diag(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    bool part = strcmp(ctx->node->op, "DiagPart") == 0;
    int rank = part ? x->rank / 2 : x->rank;
    int64_t dims[2 * SM_MAX_RANK];
    char text[RT_SHAPE_TEXT_BYTES];
    struct rt_tensor *y;
    if (rank < 1 || (part && x->rank % 2 != 0) || 2 * rank > SM_MAX_RANK)
        return rt_fail(
            ctx, err, ERR_FAILED,
            "The rank of the tensor should be even and positive, got shape %s",
            rt_shape_text(x, text));
    for (int i = 0; i < rank; i++) {
        dims[i] = dims[rank + i] = x->dims[i];
        if (part && x->dims[i] != x->dims[rank + i])
            return rt_fail(ctx, err, ERR_FAILED,
                           "Invalid shape %s: dimensions %d and %d do not match.",
                           rt_shape_text(x, text), i, rank + i);
    }
    if (k_is_obj(x->dtype))
        return rt_fail_dtype(ctx, err, x->dtype);
    if (rt_out(ctx, 0, x->dtype, part ? rank : 2 * rank, dims, &y, err) < 0)
        return -(int)err->code;
    size_t elem = rt_dtype_size(x->dtype);
    int64_t n = k_count(dims, 0, rank);
    if (!part)
        memset(y->data, 0, rt_size(y));
    for (int64_t i = 0; i < n; i++) {
        size_t sparse = (size_t)(i * (n + 1)) * elem, dense = (size_t)i * elem;
        memcpy((char *)y->data + (part ? dense : sparse),
               (const char *)x->data + (part ? sparse : dense), elem);
    }
    return 0;
}
