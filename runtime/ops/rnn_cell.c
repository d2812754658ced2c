/* SPDX-License-Identifier: Apache-2.0 */
/* LSTMBlockCell, BlockLSTM, BlockLSTMV2, GRUBlockCell; float32 or float16 (run as
 * float). Gates of x [batch, in] and h [batch, cells] are columns of [x, h] * w + b: of
 * an LSTM in the order i, c, f, o (BlockLSTMV2: i, f, c, o), of a GRU r, u. */
#include "runtime/ops/nn_int.h"

#include <math.h>

struct lstm_state {
    float forget_bias, cell_clip; /* clip <= 0: none */
    bool peephole, sequence;
    int at_i, at_c, at_f, at_o; /* position of each gate in a row */
};

int
rt_prep_lstm(struct rt_prep *p)
{
    struct lstm_state *s = rt_prep_alloc(p, sizeof *s);
    bool v2 = strcmp(p->node->op, "BlockLSTMV2") == 0;
    p->node->state = s;
    s->sequence = strcmp(p->node->op, "LSTMBlockCell") != 0;
    s->forget_bias = rt_attr_float(p, "forget_bias", v2 ? 0.0f : 1.0f);
    s->cell_clip = rt_attr_float(p, "cell_clip", v2 ? 0.0f : 3.0f);
    s->peephole = rt_attr_bool(p, "use_peephole", false);
    s->at_c = v2 ? 2 : 1;
    s->at_f = v2 ? 1 : 2;
    s->at_o = 3;
    return rt_prep_done(p);
}

static float
sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

enum { OUT_I, OUT_CS, OUT_F, OUT_O, OUT_CI, OUT_CO, OUT_H, N_OUT };

struct lstm {
    const struct lstm_state *s;
    int64_t batch, n_in, cells;
    const float *w, *b, *wci, *wcf, *wco;
    struct rt_buf *w_buf;
    float *xh, *gates; /* [batch, in + cells], [batch, 4 * cells] */
};

static void
lstm_gates(const struct lstm *l, const float *cs_prev, float *const out[N_OUT])
{
    const struct lstm_state *s = l->s;
    int64_t n = l->cells;
    for (int64_t at = 0; at < l->batch * n; at++) {
        int64_t j = at % n;
        const float *g = l->gates + at / n * 4 * n + j;
        float prev = cs_prev[at], i = g[s->at_i * n],
              f = g[s->at_f * n] + s->forget_bias;
        float o = g[s->at_o * n];
        if (s->peephole) {
            i += l->wci[j] * prev;
            f += l->wcf[j] * prev;
        }
        i = sigmoid(i);
        f = sigmoid(f);
        float ci = tanhf(g[s->at_c * n]), cs = ci * i + prev * f;
        if (s->cell_clip > 0)
            cs = fminf(fmaxf(cs, -s->cell_clip), s->cell_clip);
        if (s->peephole)
            o += l->wco[j] * cs;
        o = sigmoid(o);
        float co = tanhf(cs);
        out[OUT_I][at] = i;
        out[OUT_CS][at] = cs;
        out[OUT_F][at] = f;
        out[OUT_O][at] = o;
        out[OUT_CI][at] = ci;
        out[OUT_CO][at] = co;
        out[OUT_H][at] = o * co;
    }
}

/* [x, h] row by row. */
static void
join_rows(float *xh, const float *x, int64_t n_x, const float *h, int64_t n_h,
          int64_t rows)
{
    for (int64_t r = 0; r < rows; r++) {
        memcpy(xh + r * (n_x + n_h), x + r * n_x, (size_t)n_x * sizeof(*x));
        memcpy(xh + r * (n_x + n_h) + n_x, h + r * n_h, (size_t)n_h * sizeof(*h));
    }
}

/* y[rows, cols] = xh[rows, inner] * w + b. */
static int
affine(struct rt_ctx *ctx, const float *xh, int64_t rows, int64_t inner, const float *w,
       struct rt_buf *w_buf, const float *b, int64_t cols, float *y, struct err *err)
{
    struct nn_gemm g = {
        .dtype = SM_FLOAT, .batch = 1, .m = rows, .n = cols, .k = inner
    };
    g.a_stride[1] = inner;
    g.b_stride[1] = cols;
    g.a_stride[2] = g.b_stride[2] = 1;
    g.a = xh;
    g.b = w;
    g.bias = b;
    g.c = y;
    g.b_buf = w_buf;
    return nn_gemm(ctx, &g, err);
}

static int
lstm_step(struct rt_ctx *ctx, const struct lstm *l, const float *x,
          const float *cs_prev, const float *h_prev, float *const out[N_OUT],
          struct err *err)
{
    join_rows(l->xh, x, l->n_in, h_prev, l->cells, l->batch);
    if (affine(ctx, l->xh, l->batch, l->n_in + l->cells, l->w, l->w_buf, l->b,
               4 * l->cells, l->gates, err) < 0)
        return -(int)err->code;
    lstm_gates(l, cs_prev, out);
    return 0;
}

/* Input i as floats, checked to be of this shape (rows 0: a vector). */
static const float *
cell_input(struct rt_ctx *ctx, int i, int64_t rows, int64_t cols, struct err *err)
{
    const struct rt_tensor *t = ctx->in[i];
    char text[RT_SHAPE_TEXT_BYTES];
    if (t->dtype != SM_FLOAT && !k_is_half(t->dtype)) {
        rt_fail_dtype(ctx, err, t->dtype);
        return NULL;
    }
    if (rows ? t->rank != 2 || t->dims[0] != rows || t->dims[1] != cols
             : t->rank != 1 || t->dims[0] != cols) {
        rt_fail(ctx, err, ERR_FAILED, "input %d has shape %s, not [%jd,%jd]", i,
                rt_shape_text(t, text), (intmax_t)rows, (intmax_t)cols);
        return NULL;
    }
    return k_floats(ctx, t, err);
}

/* Where output i is computed: in place, or in scratch when it is float16. */
static float *
cell_output(struct rt_ctx *ctx, int i, int dtype, int rank, const int64_t *dims,
            struct err *err)
{
    struct rt_tensor *y;
    if (rt_out(ctx, i, dtype, rank, dims, &y, err) < 0)
        return NULL;
    return dtype == SM_FLOAT ? y->data
                             : rt_scratch(ctx, (size_t)y->n_elems * sizeof(float), err);
}

static void
finish_outputs(struct rt_ctx *ctx, float *const *from, int n)
{
    for (int i = 0; i < n; i++)
        if (k_is_half(ctx->out[i].dtype))
            k_narrow(ctx->out[i].dtype, from[i], ctx->out[i].data, ctx->out[i].n_elems);
}

/* Weights, biases and work space; `first` is the input after x. */
static int
lstm_load(struct rt_ctx *ctx, struct lstm *l, int first, const float **cs_prev,
          const float **h_prev, struct err *err)
{
    int64_t n = l->cells;
    const float **const v[] = { &l->wci, &l->wcf, &l->wco };
    *cs_prev = cell_input(ctx, first, l->batch, n, err);
    *h_prev = *cs_prev ? cell_input(ctx, first + 1, l->batch, n, err) : NULL;
    l->w = *h_prev ? cell_input(ctx, first + 2, l->n_in + n, 4 * n, err) : NULL;
    if (!l->w)
        return -(int)err->code;
    l->w_buf = ctx->in[first + 2]->dtype == SM_FLOAT ? ctx->in[first + 2]->buf : NULL;
    for (int i = 0; i < 3 && l->s->peephole; i++) {
        *v[i] = cell_input(ctx, first + 3 + i, 0, n, err);
        if (!*v[i])
            return -(int)err->code;
    }
    l->b = cell_input(ctx, first + 6, 0, 4 * n, err);
    if (!l->b)
        return -(int)err->code;
    l->xh = rt_scratch(ctx, (size_t)(l->batch * (l->n_in + n)) * sizeof(float), err);
    l->gates =
        l->xh ? rt_scratch(ctx, (size_t)(l->batch * 4 * n) * sizeof(float), err) : NULL;
    return l->gates ? 0 : -(int)err->code;
}

/* in: [seq_len_max,] x, cs_prev, h_prev, w, wci, wcf, wco, b. */
int
rt_run_lstm(struct rt_ctx *ctx, struct err *err)
{
    struct lstm l = { .s = ctx->node->state };
    int first = l.s->sequence;
    const struct rt_tensor *x_t = ctx->in[first], *cs_t = ctx->in[first + 1];
    const float *cs_prev = NULL, *h_prev = NULL;
    float *out[N_OUT], *at[N_OUT];
    int64_t steps = 1, seq_len = 1;
    if (x_t->rank != 2 + first || cs_t->rank != 2)
        return rt_fail(ctx, err, ERR_FAILED, "x must be %dD and cs_prev 2D", 2 + first);
    if (x_t->dtype != SM_FLOAT && !k_is_half(x_t->dtype))
        return rt_fail_dtype(ctx, err, x_t->dtype);
    if (first) {
        steps = x_t->dims[0];
        if (k_scalar(ctx, 0, "seq_len_max", &seq_len, err) < 0)
            return -(int)err->code;
        if (seq_len < 0 || seq_len > steps)
            return rt_fail(ctx, err, ERR_FAILED,
                           "seq_len_max has to be in 0 ... %jd, got %jd",
                           (intmax_t)steps, (intmax_t)seq_len);
    }
    l.batch = x_t->dims[first];
    l.n_in = x_t->dims[first + 1];
    l.cells = cs_t->dims[1];
    if (lstm_load(ctx, &l, first + 1, &cs_prev, &h_prev, err) < 0)
        return -(int)err->code;
    const float *x = k_floats(ctx, x_t, err);
    if (!x)
        return -(int)err->code;
    int64_t dims[3] = { steps, l.batch, l.cells }, n = l.batch * l.cells;
    for (int i = 0; i < N_OUT; i++) {
        out[i] = cell_output(ctx, i, x_t->dtype, 2 + first, dims + !first, err);
        if (!out[i])
            return -(int)err->code;
    }
    for (int64_t t = 0; t < seq_len; t++) {
        for (int i = 0; i < N_OUT; i++)
            at[i] = out[i] + t * n;
        if (lstm_step(ctx, &l, x + t * l.batch * l.n_in, cs_prev, h_prev, at, err) <
                0 ||
            rt_poll(ctx, err) < 0)
            return -(int)err->code;
        cs_prev = at[OUT_CS];
        h_prev = at[OUT_H];
    }
    for (int i = 0; i < N_OUT; i++) /* steps past the longest sequence are zero */
        memset(out[i] + seq_len * n, 0,
               (size_t)((steps - seq_len) * n) * sizeof(float));
    finish_outputs(ctx, out, N_OUT);
    return 0;
}

/* r, u = sigmoid([x, h] w_ru + b_ru); c = tanh([x, r h] w_c + b_c); h = u h + (1 - u)
 * c. in: x, h_prev, w_ru, w_c, b_ru, b_c; out: r, u, c, h. */
int
rt_run_gru(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x_t = ctx->in[0], *h_t = ctx->in[1];
    if (x_t->rank != 2 || h_t->rank != 2)
        return rt_fail(ctx, err, ERR_FAILED, "x and h_prev must be 2D");
    int64_t batch = x_t->dims[0], n_in = x_t->dims[1], n = h_t->dims[1];
    int64_t dims[2] = { batch, n };
    const float *in[6];
    const int64_t shape[6][2] = { { batch, n_in }, { batch, n }, { n_in + n, 2 * n },
                                  { n_in + n, n }, { 0, 2 * n }, { 0, n } };
    float *out[4];
    for (int i = 0; i < 6; i++) {
        in[i] = cell_input(ctx, i, shape[i][0], shape[i][1], err);
        if (!in[i])
            return -(int)err->code;
    }
    for (int i = 0; i < 4; i++) {
        out[i] = cell_output(ctx, i, x_t->dtype, 2, dims, err);
        if (!out[i])
            return -(int)err->code;
    }
    float *xh = rt_scratch(ctx, (size_t)(batch * (n_in + n)) * sizeof(*xh), err);
    float *ru = xh ? rt_scratch(ctx, (size_t)(batch * 2 * n) * sizeof(*ru), err) : NULL;
    if (!ru)
        return -(int)err->code;
    bool plain = x_t->dtype == SM_FLOAT;
    const float *h = in[1];
    join_rows(xh, in[0], n_in, h, n, batch);
    if (affine(ctx, xh, batch, n_in + n, in[2], plain ? ctx->in[2]->buf : NULL, in[4],
               2 * n, ru, err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < batch * n; i++) {
        out[0][i] = sigmoid(ru[i / n * 2 * n + i % n]);
        out[1][i] = sigmoid(ru[i / n * 2 * n + n + i % n]);
        xh[i / n * (n_in + n) + n_in + i % n] = out[0][i] * h[i];
    }
    if (affine(ctx, xh, batch, n_in + n, in[3], plain ? ctx->in[3]->buf : NULL, in[5],
               n, out[2], err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < batch * n; i++) {
        out[2][i] = tanhf(out[2][i]);
        out[3][i] = out[1][i] * h[i] + (1 - out[1][i]) * out[2][i];
    }
    finish_outputs(ctx, out, 4);
    return 0;
}
