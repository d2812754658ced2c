/* SPDX-License-Identifier: Apache-2.0 */
/* A Keras LSTM, GRU or SimpleRNN layer in one kernel: all inputs times the kernel at
 * once, then a step at a time what depends on the state. Shapes: elements of the list
 * [batch, in], states [batch, n], kernel [in, g n], recurrent kernel [n, g n], biases
 * [g n], where there are g = 4 gates (LSTM), 3 (GRU) or 1. Elements of the mask's list:
 * [batch, 1]. float32. */
#include "runtime/ops/list_int.h"
#include "runtime/ops/math_vec.h"
#include "runtime/ops/nn_int.h"
#include "runtime/rt_rnn.h"

#include <stdlib.h>

struct layer {
    const struct rt_rnn *r;
    int64_t from, steps, batch, in, n, gates;
    struct rt_tensor kernel, recurrent, bias, bias_h; /* own references */
    const struct rt_tensor *h, *c;
    float *z;            /* [steps, batch, gates n]: the inputs' part */
    float *hs;           /* [steps, batch, n]: outputs */
    float *kept;         /* [batch, n]: h under a mask, where it is not the output */
    float *state;        /* [batch, n]: c of an LSTM */
    const float *panels; /* the recurrent kernel; NULL: not packed */
    float *zh; /* [batch, gates n]: the state's part, where it is kept apart */
};

static void
layer_release(struct layer *l)
{
    rt_tensor_unref(&l->kernel);
    rt_tensor_unref(&l->recurrent);
    rt_tensor_unref(&l->bias);
    rt_tensor_unref(&l->bias_h);
}

/* ---- is it one? ------------------------------------------------------------------ */

static bool
read_source(struct rt_ctx *ctx, const struct rt_rnn_source *s, struct rt_tensor *out)
{
    const struct rt_tensor *t = ctx->in[s->arg];
    struct err none = ERR_INIT;
    if (!s->is_var) {
        rt_tensor_ref(out, t);
    } else {
        struct rt_obj *o = t->dtype == SM_RESOURCE && t->n_elems == 1
                               ? *(struct rt_obj *const *)t->data
                               : NULL;
        if (!o || o->type != &rt_var_type.obj ||
            rt_var_read((struct rt_var *)o, ctx->node, out, &none) < 0)
            return false;
    }
    if (s->part < 0)
        return out->dtype == SM_FLOAT;
    if (out->dtype != SM_FLOAT || out->rank != 2 || out->dims[0] != s->n_parts)
        return false;
    out->rank = 1;
    out->n_elems = out->dims[0] = out->dims[1];
    out->data = (float *)out->data + s->part * out->n_elems;
    return true;
}

static bool
is_matrix(const struct rt_tensor *t, int64_t rows, int64_t cols)
{
    return t->dtype == SM_FLOAT && t->rank == 2 && t->dims[0] == rows &&
           t->dims[1] == cols;
}

static bool
is_count(const struct rt_tensor *t)
{
    return t->dtype == SM_INT32 && t->n_elems == 1;
}

/* How often the condition holds. */
static bool
count_steps(struct rt_ctx *ctx, struct layer *l, const struct rt_rnn_cond *c)
{
    l->steps = INT64_MAX;
    for (int i = 0; i < 2 && c->less[i][0] >= 0; i++) {
        int at = c->less[i][0], end = c->less[i][1];
        bool moves = end >= 0 && (l->r->counts[end] || end == l->r->h ||
                                  end == l->r->out || end == l->r->c);
        if (!l->r->counts[at] || moves || !is_count(ctx->in[at]) ||
            (end >= 0 && !is_count(ctx->in[end])))
            return false;
        int64_t limit = end >= 0 ? rt_int_at(ctx->in[end], 0) : c->limit[i];
        int64_t n = limit - rt_int_at(ctx->in[at], 0);
        l->steps = K_MIN(l->steps, n);
    }
    if (!is_count(ctx->in[l->r->time]) || l->steps < 1)
        return false;
    l->from = rt_int_at(ctx->in[l->r->time], 0);
    for (int i = 0; i < l->r->n_args; i++)
        if (l->r->counts[i] && !is_count(ctx->in[i]))
            return false;
    return l->from >= 0;
}

static const struct rt_list *
list_in(const struct rt_ctx *ctx, int i, int dtype)
{
    const struct rt_tensor *t = ctx->in[i];
    struct rt_obj *o = t->dtype == SM_VARIANT && t->n_elems == 1
                           ? *(struct rt_obj *const *)t->data
                           : NULL;
    const struct rt_list *l = o && o->type == &list_type ? (struct rt_list *)o : NULL;
    return l && l->dtype == dtype ? l : NULL;
}

static bool
is_bias(const struct rt_rnn_source *s, const struct rt_tensor *t, int64_t width)
{
    return s->arg < 0 || (t->rank == 1 && t->n_elems == width);
}

/* Row i of step t is computed. */
static bool
is_on(const struct layer *l, const struct rt_list *mask, int64_t t, int64_t i)
{
    return !mask || ((const uint8_t *)mask->v[l->from + t].data)[i];
}

static bool
is_mask(struct rt_ctx *ctx, const struct layer *l)
{
    const struct rt_rnn *r = l->r;
    const struct rt_list *mask = r->mask < 0 ? NULL : list_in(ctx, r->mask, SM_BOOL);
    if (r->mask < 0)
        return true;
    if (!mask || l->from + l->steps > mask->n ||
        (r->mask_width != l->n && r->mask_width != 1) ||
        !is_matrix(ctx->in[r->before], l->batch, l->n))
        return false;
    for (int64_t i = l->from; i < l->from + l->steps; i++)
        if (!mask->v[i].buf || mask->v[i].dtype != SM_BOOL || mask->v[i].rank != 2 ||
            mask->v[i].dims[0] != l->batch || mask->v[i].dims[1] != 1)
            return false;
    return true;
}

static bool
is_layer(struct rt_ctx *ctx, struct layer *l)
{
    const struct rt_rnn *r = l->r;
    const struct rt_list *in = list_in(ctx, r->list, SM_FLOAT),
                         *out = list_in(ctx, r->out, SM_FLOAT);
    bool lstm = r->kind == RT_RNN_LSTM;
    static const int gates[] = { 4, 3, 1 };
    l->h = ctx->in[r->h];
    if (!in || !out || l->h->rank != 2)
        return false;
    l->batch = l->h->dims[0];
    l->n = l->h->dims[1];
    l->gates = gates[r->kind];
    if (l->batch < 1 || l->n < 1 || (r->units && r->units != l->n) ||
        !is_matrix(l->h, l->batch, l->n) || !read_source(ctx, &r->kernel, &l->kernel) ||
        !read_source(ctx, &r->recurrent, &l->recurrent) ||
        (r->bias.arg >= 0 && !read_source(ctx, &r->bias, &l->bias)) ||
        (r->bias_h.arg >= 0 && !read_source(ctx, &r->bias_h, &l->bias_h)))
        return false;
    l->c = lstm ? ctx->in[r->c] : NULL;
    int64_t width = l->gates * l->n,
            last = r->out_at < 0 ? l->from + l->steps : r->out_at + 1;
    l->in = l->kernel.rank == 2 ? l->kernel.dims[0] : 0;
    if (l->in < 1 || !is_matrix(&l->kernel, l->in, width) ||
        !is_matrix(&l->recurrent, l->n, width) || !is_bias(&r->bias, &l->bias, width) ||
        !is_bias(&r->bias_h, &l->bias_h, width) ||
        (lstm && !is_matrix(l->c, l->batch, l->n)))
        return false;
    if (l->from + l->steps > in->n || last > out->n ||
        !list_fits(&out->shape, 2, l->h->dims))
        return false;
    for (int64_t i = l->from; i < l->from + l->steps; i++)
        if (!in->v[i].buf || !is_matrix(&in->v[i], l->batch, l->in))
            return false;
    return is_mask(ctx, l);
}

/* ---- recurrent kernels, packed ------------------------------------------------------
 * A vector times a matrix is as fast as memory gives the matrix: it is kept as panels
 * of PANEL columns, row behind row, so that it is one stream and a panel's sums stay in
 * registers. Kept by the session, by the weight's buffer. */

enum { PANEL = 256, MAX_PACKS = 256 };

struct pack {
    struct pack *next;
    struct rt_buf *buf; /* held: its address stays the name of these bytes */
    const void *data;
    float *panels;
};
struct packs {
    pthread_mutex_t lock;
    struct pack *first;
    int n;
};

static void *
packs_new(int n_threads)
{
    struct packs *p = xcalloc(1, sizeof(*p));
    (void)n_threads;
    pthread_mutex_init(&p->lock, NULL);
    return p;
}

static void
packs_free(void *arg)
{
    struct packs *p = arg;
    while (p->first) {
        struct pack *k = p->first;
        p->first = k->next;
        rt_buf_unref(k->buf);
        free(k->panels);
        free(k);
    }
    pthread_mutex_destroy(&p->lock);
    free(p);
}

static void
pack_panels(const float *w, float *out, int64_t rows, int64_t cols)
{
    for (int64_t p = 0; p < cols; p += PANEL) {
        int64_t n = K_MIN(PANEL, cols - p);
        for (int64_t k = 0; k < rows; k++)
            memcpy(out + p * rows + k * n, w + k * cols + p, (size_t)n * sizeof(*w));
    }
}

/* NULL: no memory, no weight, or too many of them: then it is used as it is. */
static const float *
find_panels(struct rt_ctx *ctx, const struct rt_tensor *w)
{
    if (!rt_buf_is_weight(w->buf))
        return NULL;
    struct packs *p = rt_session_slot(ctx, RT_SLOT_RNN, packs_new, packs_free);
    const float *found = NULL;
    pthread_mutex_lock(&p->lock);
    for (struct pack *k = p->first; k && !found; k = k->next)
        if (k->buf == w->buf && k->data == w->data)
            found = k->panels;
    float *panels = found || p->n >= MAX_PACKS
                        ? NULL
                        : aligned_alloc(64, (rt_size(w) + 63) & ~(size_t)63);
    if (panels) {
        struct pack *k = xcalloc(1, sizeof(*k));
        pack_panels(w->data, panels, w->dims[0], w->dims[1]);
        rt_buf_ref(w->buf);
        rt_buf_untouch(w->buf, w->data, rt_size(w));
        *k = (struct pack){ p->first, w->buf, w->data, panels };
        p->first = k;
        p->n++;
        found = panels;
    }
    pthread_mutex_unlock(&p->lock);
    return found;
}

/* y[j] += sum over k of x[k] w[k, j], w in panels. */
RT_SIMD static void
add_panels(const float *x, const float *w, float *y, int64_t rows, int64_t cols)
{
    int64_t p = 0;
    for (; p + PANEL <= cols; p += PANEL) {
        float sum[PANEL] = { 0 };
        for (int64_t k = 0; k < rows; k++) {
            const float *r = w + p * rows + k * PANEL;
            for (int j = 0; j < PANEL; j++)
                sum[j] += x[k] * r[j];
        }
        for (int j = 0; j < PANEL; j++)
            y[p + j] += sum[j];
    }
    int64_t n = cols - p;
    for (int64_t k = 0; k < rows && n > 0; k++)
        for (int64_t j = 0; j < n; j++)
            y[p + j] += x[k] * w[p * rows + k * n + j];
}

/* ---- one step -------------------------------------------------------------------- */

RT_SIMD static void
lstm_gates(const float *restrict z, float *restrict c, float *restrict h, int64_t n)
{
    for (int64_t j = 0; j < n; j++) {
        float i = v_sigmoid(z[j]), f = v_sigmoid(z[n + j]), g = v_tanh(z[2 * n + j]);
        c[j] = f * c[j] + i * g;
        h[j] = v_sigmoid(z[3 * n + j]) * v_tanh(c[j]);
    }
}

RT_SIMD static void
gru_gates(const float *restrict x, const float *restrict z,
          const float *restrict before, float *restrict h, int64_t n)
{
    for (int64_t j = 0; j < n; j++) {
        float u = v_sigmoid(x[j] + z[j]), r = v_sigmoid(x[n + j] + z[n + j]);
        h[j] = u * before[j] + (1.0f - u) * v_tanh(x[2 * n + j] + r * z[2 * n + j]);
    }
}

RT_SIMD static void
simple_gate(const float *restrict z, float *restrict h, int64_t n, bool relu)
{
    if (relu)
        for (int64_t j = 0; j < n; j++)
            h[j] = z[j] < 0 ? 0 : z[j];
    else
        for (int64_t j = 0; j < n; j++)
            h[j] = v_tanh(z[j]);
}

enum { FEW_ROWS = 4 }; /* as many vectors are multiplied one by one */

/* z += h * recurrent kernel, for the whole batch. */
static void
add_state(const struct layer *l, const float *h, float *z)
{
    int64_t width = l->gates * l->n;
    if (!l->panels)
        nn_gemm_add(SM_FLOAT, l->batch, width, l->n, h, l->n, 1, l->recurrent.data,
                    width, z, width);
    for (int64_t i = 0; i < l->batch && l->panels; i++)
        add_panels(h + i * l->n, l->panels, z + i * width, l->n, width);
}

/* A row that the mask leaves out gives what was given before. */
static void
skip_row(struct rt_ctx *ctx, const struct layer *l, int64_t t, int64_t i)
{
    int64_t all = l->batch * l->n;
    const float *before = t > 0 && l->r->last == l->r->before
                              ? l->hs + (t - 1) * all
                              : ctx->in[l->r->before]->data;
    memcpy(l->hs + t * all + i * l->n, before + i * l->n,
           (size_t)l->n * sizeof(*before));
}

static int
step(struct rt_ctx *ctx, struct layer *l, int64_t t, struct err *err)
{
    int64_t width = l->gates * l->n, all = l->batch * l->n, n = l->n;
    const struct rt_list *mask =
        l->r->mask < 0 ? NULL : list_in(ctx, l->r->mask, SM_BOOL);
    const float *before = l->kept ? l->kept
                          : t > 0 ? l->hs + (t - 1) * all
                                  : l->h->data;
    float *x = l->z + t * l->batch * width, *h = l->hs + t * all, *z = x;
    if (l->r->kind == RT_RNN_GRU) {
        z = l->zh;
        memset(z, 0, (size_t)(l->batch * width) * sizeof(*z));
        for (int64_t i = 0; i < l->batch && l->bias_h.data; i++)
            memcpy(z + i * width, l->bias_h.data, (size_t)width * sizeof(*z));
    }
    add_state(l, before, z);
    for (int64_t i = 0; i < l->batch; i++) {
        if (!is_on(l, mask, t, i)) {
            skip_row(ctx, l, t, i);
            continue;
        }
        if (l->r->kind == RT_RNN_LSTM)
            lstm_gates(z + i * width, l->state + i * n, h + i * n, n);
        else if (l->r->kind == RT_RNN_GRU)
            gru_gates(x + i * width, z + i * width, before + i * n, h + i * n, n);
        else
            simple_gate(z + i * width, h + i * n, n, l->r->relu);
        if (l->kept)
            memcpy(l->kept + i * n, h + i * n, (size_t)n * sizeof(*h));
    }
    return rt_run_turn(ctx->run, ctx->node, err);
}

/* z = inputs * kernel + bias, for all steps. */
static int
multiply_inputs(struct rt_ctx *ctx, struct layer *l, struct err *err)
{
    const struct rt_list *in = list_in(ctx, l->r->list, SM_FLOAT);
    int64_t one = l->batch * l->in;
    const float *x = in->v[l->from].data;
    bool together = true;
    for (int64_t i = 0; i < l->steps; i++)
        together &= in->v[l->from + i].data == (const void *)(x + i * one);
    if (!together) {
        float *copy = rt_scratch(ctx, (size_t)(l->steps * one) * sizeof(*copy), err);
        if (!copy)
            return -(int)err->code;
        for (int64_t i = 0; i < l->steps; i++)
            memcpy(copy + i * one, in->v[l->from + i].data,
                   (size_t)one * sizeof(*copy));
        x = copy;
    }
    struct nn_gemm g = { .dtype = SM_FLOAT,
                         .batch = 1,
                         .m = l->steps * l->batch,
                         .n = l->gates * l->n,
                         .k = l->in,
                         .a_stride = { 0, l->in, 1 },
                         .b_stride = { 0, l->gates * l->n, 1 },
                         .a = x,
                         .b = l->kernel.data,
                         .bias = l->bias.data,
                         .c = l->z,
                         .b_buf = l->kernel.buf };
    return nn_gemm(ctx, &g, err);
}

/* ---- the loop -------------------------------------------------------------------- */

/* The list of outputs: a new one with the old one's other elements. */
static int
give_list(struct rt_ctx *ctx, const struct layer *l, const struct rt_tensor *hs,
          struct err *err)
{
    const struct rt_list *old = list_in(ctx, l->r->out, SM_FLOAT);
    struct rt_list *list = list_new(&list_type, SM_FLOAT, &old->shape);
    list->most = old->most;
    if (list_resize(ctx, list, old->n, err) < 0) {
        rt_obj_unref(&list->obj);
        return -(int)err->code;
    }
    for (int64_t i = 0; i < old->n; i++)
        if (old->v[i].buf)
            list_set(list, i, &old->v[i]);
    for (int64_t t = l->r->out_at < 0 ? 0 : l->steps - 1; t < l->steps; t++) {
        struct rt_tensor row = list_rows(hs, t, 1, true);
        list_set(list, l->r->out_at < 0 ? l->from + t : l->r->out_at, &row);
    }
    return rt_out_obj(ctx, l->r->out, SM_VARIANT, &list->obj, err);
}

static int
give_outputs(struct rt_ctx *ctx, const struct layer *l, const struct rt_tensor *hs,
             struct err *err)
{
    const struct rt_rnn *r = l->r;
    struct rt_tensor *y;
    for (int i = 0; i < r->n_args; i++) {
        if (r->counts[i]) {
            if (rt_out(ctx, i, SM_INT32, ctx->in[i]->rank, ctx->in[i]->dims, &y, err) <
                0)
                return -(int)err->code;
            *(int32_t *)y->data =
                (int32_t)(*(const int32_t *)ctx->in[i]->data + (int32_t)l->steps);
        } else if (i == r->h && l->kept) {
            continue; /* made by run_layer */
        } else if (i == r->h || i == r->last) {
            rt_out_alias(ctx, i, hs,
                         (size_t)((l->steps - 1) * l->batch * l->n) * sizeof(float),
                         SM_FLOAT, 2, l->h->dims);
        } else if (i != r->out && i != r->c) {
            rt_out_same(ctx, i, ctx->in[i]);
        }
    }
    return give_list(ctx, l, hs, err);
}

static int
run_layer(struct rt_ctx *ctx, struct layer *l, struct err *err)
{
    const int64_t dims[3] = { l->steps, l->batch, l->n };
    int64_t width = l->gates * l->n, n_z = 0;
    struct rt_tensor hs = { 0 }, *c, *h;
    if (__builtin_mul_overflow(l->steps * l->batch, width * (int64_t)sizeof(float),
                               &n_z) ||
        rt_tensor_new(ctx, &hs, SM_FLOAT, 3, dims, err) < 0)
        return err->code
                   ? -(int)err->code
                   : rt_fail(ctx, err, ERR_LIMIT, "the gates need too much memory");
    l->hs = hs.data;
    l->z = rt_scratch(ctx, (size_t)n_z, err);
    l->zh = rt_scratch(ctx, (size_t)(l->batch * width) * sizeof(float), err);
    int rc = l->z && l->zh ? 0 : -(int)err->code;
    if (rc == 0 && l->c) {
        rc = rt_out(ctx, l->r->c, SM_FLOAT, 2, l->c->dims, &c, err);
        if (rc == 0) {
            memcpy(c->data, l->c->data, rt_size(c));
            l->state = c->data;
        }
    }
    if (rc == 0 && l->r->mask >= 0) {
        rc = rt_out(ctx, l->r->h, SM_FLOAT, 2, l->h->dims, &h, err);
        if (rc == 0) {
            memcpy(h->data, l->h->data, rt_size(h));
            l->kept = h->data;
        }
    }
    if (rc == 0)
        rc = multiply_inputs(ctx, l, err);
    l->panels = l->batch <= FEW_ROWS ? find_panels(ctx, &l->recurrent) : NULL;
    for (int64_t t = 0; rc == 0 && t < l->steps; t++)
        rc = step(ctx, l, t, err);
    if (rc == 0)
        rc = give_outputs(ctx, l, &hs, err);
    rt_tensor_unref(&hs);
    return rc;
}

int
rt_rnn_run(struct rt_ctx *ctx, const struct rt_rnn *r, const struct rt_rnn_cond *c,
           struct err *err)
{
    struct layer l = { .r = r };
    int rc = 0;
    if (count_steps(ctx, &l, c) && is_layer(ctx, &l)) {
        rc = run_layer(ctx, &l, err) < 0 ? -(int)err->code : 1;
        rt_note_kernel(ctx, "own:rnn", 0);
    }
    layer_release(&l);
    return rc;
}
