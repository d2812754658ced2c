/* SPDX-License-Identifier: Apache-2.0 */
/* MatMul, SparseMatMul, BatchMatMul(V2, V3) and _FusedMatMul: one plan of transposes,
 * then nn_gemm. Dtypes: every number; float16 and bfloat16 sum in float. */
#include "runtime/ops/nn_int.h"

struct matmul_state {
    struct nn_fused fused; /* first: see nn_int.h */
    bool trans_a, trans_b;
    bool conj_a, conj_b; /* adj_x, adj_y of a complex product */
    int out_type;        /* BatchMatMulV3, SparseMatMul; else 0 */
};

int
rt_prep_matmul(struct rt_prep *p)
{
    struct matmul_state *s = rt_prep_alloc(p, sizeof *s);
    const char *op = p->node->op;
    if (strncmp(op, "BatchMatMul", 11) == 0) {
        s->trans_a = s->conj_a = rt_attr_bool(p, "adj_x", false);
        s->trans_b = s->conj_b = rt_attr_bool(p, "adj_y", false);
        if (strcmp(op, "BatchMatMulV3") == 0)
            s->out_type = rt_attr_type(p, "Tout", RT_REQUIRED);
    } else {
        s->trans_a = rt_attr_bool(p, "transpose_a", false);
        s->trans_b = rt_attr_bool(p, "transpose_b", false);
        if (strcmp(op, "SparseMatMul") == 0)
            s->out_type = SM_FLOAT;
    }
    if (strcmp(op, "_FusedMatMul") == 0)
        nn_prep_fused(p, &s->fused);
    if (s->fused.add || s->fused.batch_norm)
        return rt_prep_fail(p, ERR_UNSUPPORTED, "fused_ops of a matrix product");
    if (!s->out_type && !s->trans_a)
        s->fused.kind = NN_MATMUL; /* BatchMatMul: by a matrix */
    if (strcmp(op, "MatMul") == 0 || strcmp(op, "_FusedMatMul") == 0)
        s->fused.kind = NN_MATMUL;
    s->fused.w_turned = s->trans_b;
    p->node->state = s;
    return rt_prep_done(p);
}

/* The elements of t as `dtype` (float, or int32 from the 8-bit types), in scratch, or
 * where they are. */
static const void *
as_dtype(struct rt_ctx *ctx, const struct rt_tensor *t, int dtype, struct err *err)
{
    if (t->dtype == dtype)
        return t->data;
    if (dtype == SM_FLOAT && k_is_half(t->dtype))
        return k_floats(ctx, t, err);
    if (dtype == SM_INT32 && (t->dtype == SM_INT8 || t->dtype == SM_UINT8)) {
        int32_t *y = rt_scratch(ctx, (size_t)t->n_elems * sizeof(*y), err);
        for (int64_t i = 0; y && i < t->n_elems; i++)
            y[i] = (int32_t)k_int_at(t, i);
        return y;
    }
    rt_fail_dtype(ctx, err, t->dtype);
    return NULL;
}

/* A conjugated copy when it is asked for and the dtype is complex. */
static const void *
conjugated(struct rt_ctx *ctx, const void *x, int dtype, int64_t n, bool conj_x,
           struct err *err)
{
    if (!x || !conj_x || (dtype != SM_COMPLEX64 && dtype != SM_COMPLEX128))
        return x;
    void *y = rt_scratch(ctx, (size_t)n * rt_dtype_size(dtype), err);
    if (!y)
        return NULL;
    if (dtype == SM_COMPLEX64)
        for (int64_t i = 0; i < n; i++)
            ((float complex *)y)[i] = conjf(((const float complex *)x)[i]);
    else
        for (int64_t i = 0; i < n; i++)
            ((double complex *)y)[i] = conj(((const double complex *)x)[i]);
    return y;
}

/* rows, cols and their strides of the last two dimensions, transposed when told. */
static void
matrix_of(const struct rt_tensor *t, bool trans, int64_t extent[2], int64_t stride[3])
{
    int64_t rows = t->dims[t->rank - 2], cols = t->dims[t->rank - 1];
    extent[0] = trans ? cols : rows;
    extent[1] = trans ? rows : cols;
    stride[0] = rows * cols;
    stride[1] = trans ? 1 : cols;
    stride[2] = trans ? cols : 1;
}

/* Fills the operands of g from in[0] and in[1]. */
static int
load_operands(struct rt_ctx *ctx, const struct matmul_state *s, struct nn_gemm *g,
              struct err *err)
{
    const struct rt_tensor *a = ctx->in[0], *b = ctx->in[1];
    int64_t ea[2], eb[2];
    matrix_of(a, s->trans_a, ea, g->a_stride);
    matrix_of(b, s->trans_b, eb, g->b_stride);
    if (ea[1] != eb[0]) {
        char ta[RT_SHAPE_TEXT_BYTES], tb[RT_SHAPE_TEXT_BYTES];
        return rt_fail(ctx, err, ERR_FAILED,
                       "Matrix size-incompatible: In[0]: %s, In[1]: %s",
                       rt_shape_text(a, ta), rt_shape_text(b, tb));
    }
    g->m = ea[0];
    g->k = ea[1];
    g->n = eb[1];
    g->dtype = s->out_type ? s->out_type : a->dtype;
    g->a = as_dtype(ctx, a, g->dtype, err);
    if (g->a)
        g->a = conjugated(ctx, g->a, g->dtype, a->n_elems, s->conj_a, err);
    if (!g->a)
        return -(int)err->code;
    g->b = as_dtype(ctx, b, g->dtype, err);
    if (g->b)
        g->b = conjugated(ctx, g->b, g->dtype, b->n_elems, s->conj_b, err);
    if (!g->b)
        return -(int)err->code;
    g->b_buf = g->b == b->data ? b->buf : NULL;
    return 0;
}

int
rt_run_matmul(struct rt_ctx *ctx, struct err *err)
{
    const struct matmul_state *s = ctx->node->state;
    const struct nn_fused *f = &s->fused;
    struct nn_gemm g = { .batch = 1 };
    struct rt_tensor *y;
    for (int i = 0; i < 2; i++)
        if (ctx->in[i]->rank != 2) {
            char text[RT_SHAPE_TEXT_BYTES];
            return rt_fail(ctx, err, ERR_FAILED,
                           "In[%d] is not a matrix. Instead it has shape %s", i,
                           rt_shape_text(ctx->in[i], text));
        }
    if (load_operands(ctx, s, &g, err) < 0)
        return -(int)err->code;
    if (nn_gemm_fused(ctx, f, &g, err) < 0)
        return -(int)err->code;
    if (rt_out(ctx, 0, g.dtype, 2, (const int64_t[]){ g.m, g.n }, &y, err) < 0)
        return -(int)err->code;
    g.c = y->data;
    return nn_gemm(ctx, &g, err);
}

/* ---- batches ---- */

/* Index of the operand's matrix for output matrix `i`. */
static int64_t
batch_index(int64_t i, int rank, const int64_t *out, const struct rt_tensor *t)
{
    int64_t index = 0, step = 1, own = t->rank - 2;
    for (int d = 1; d <= own; d++) {
        int64_t dim = t->dims[own - d], at = i % out[rank - d];
        i /= out[rank - d];
        index += (dim == 1 ? 0 : at) * step;
        step *= dim;
    }
    return index;
}

/* Batches that broadcast in no simple way: one product after another. */
static int
each_batch(struct rt_ctx *ctx, struct nn_gemm *g, int rank, const int64_t *dims,
           struct err *err)
{
    const struct rt_tensor *a = ctx->in[0], *b = ctx->in[1];
    size_t bytes = rt_dtype_size(g->dtype);
    int64_t n = k_count(dims, 0, rank);
    struct nn_gemm one = *g;
    one.batch = 1;
    one.b_buf = NULL;
    for (int64_t i = 0; i < n; i++) {
        int64_t ia = batch_index(i, rank, dims, a), ib = batch_index(i, rank, dims, b);
        one.a = (const char *)g->a + (size_t)(ia * g->a_stride[0]) * bytes;
        one.b = (const char *)g->b + (size_t)(ib * g->b_stride[0]) * bytes;
        one.c = (char *)g->c + (size_t)(i * g->m * g->n) * bytes;
        if (nn_gemm(ctx, &one, err) < 0)
            return -(int)err->code;
    }
    return 0;
}

int
rt_run_batch_matmul(struct rt_ctx *ctx, struct err *err)
{
    const struct matmul_state *s = ctx->node->state;
    const struct rt_tensor *a = ctx->in[0], *b = ctx->in[1];
    int64_t dims[SM_MAX_RANK] = { 0 };
    struct nn_gemm g = { .batch = 1 };
    struct rt_tensor *y;
    int rank;
    char ta[RT_SHAPE_TEXT_BYTES], tb[RT_SHAPE_TEXT_BYTES];
    for (int i = 0; i < 2; i++)
        if (ctx->in[i]->rank < 2)
            return rt_fail(ctx, err, ERR_FAILED, "In[%d] ndims must be >= 2: %d", i,
                           ctx->in[i]->rank);
    if (!k_broadcast(a->rank - 2, a->dims, b->rank - 2, b->dims, &rank, dims))
        return rt_fail(
            ctx, err, ERR_FAILED,
            "In[0] and In[1] must have compatible batch dimensions: %s vs. %s",
            rt_shape_text(a, ta), rt_shape_text(b, tb));
    if (load_operands(ctx, s, &g, err) < 0)
        return -(int)err->code;
    dims[rank] = g.m;
    dims[rank + 1] = g.n;
    if (rt_out(ctx, 0, g.dtype, rank + 2, dims, &y, err) < 0)
        return -(int)err->code;
    g.c = y->data;
    g.batch = k_count(dims, 0, rank);
    if (s->fused.kind == NN_MATMUL && b->rank == 2) { /* all rows at once */
        g.m *= g.batch;
        g.batch = 1;
        return nn_gemm_fused(ctx, &s->fused, &g, err) < 0 ? -(int)err->code
                                                          : nn_gemm(ctx, &g, err);
    }
    int64_t na = k_count(a->dims, 0, a->rank - 2),
            nb = k_count(b->dims, 0, b->rank - 2);
    if ((na != 1 && na != g.batch) || (nb != 1 && nb != g.batch))
        return each_batch(ctx, &g, rank, dims, err);
    if (na == 1 && g.batch != 1)
        g.a_stride[0] = 0;
    if (nb == 1)
        g.b_stride[0] = 0;
    return nn_gemm(ctx, &g, err);
}
