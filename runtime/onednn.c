/* SPDX-License-Identifier: Apache-2.0 */
/* The only file that calls oneDNN (2.x C API; what 3.x spells otherwise is in the first
 * section). Rules learnt from it:
 * - A shape whose layout is fixed may have no kernel but "ref", a hundred times slower
 *   (a first convolution of 3 channels on nhwc with AVX2 is one): ask again with layout
 *   `any` and reorder, and never run an implementation whose name says ref.
 * - Weights get layout `any` and are reordered once, when they are constant.
 * - The scratchpad is the caller's (user mode): a primitive then has no state and
 *   several threads may run it at once. */
#include "runtime/onednn.h"

#include <dlfcn.h>
#include <dnnl.h>
#include <pthread.h>
#include <stdlib.h>

#if DNNL_VERSION_MAJOR != 2
#error "written for oneDNN 2.x: the first section needs its 3.x form"
#endif

/* ---- the part that differs between 2.x and 3.x ---- */

typedef dnnl_memory_desc_t md_t;

static dnnl_status_t
md_strided(md_t *md, int rank, const int64_t *dims, const int64_t *strides)
{
    dnnl_dims_t d = { 0 }, st = { 0 };
    for (int i = 0; i < rank; i++) {
        d[i] = dims[i];
        st[i] = strides[i];
    }
    return dnnl_memory_desc_init_by_strides(md, rank, d, dnnl_f32, st);
}

static dnnl_status_t
md_any(md_t *md, const md_t *like)
{
    return dnnl_memory_desc_init_by_tag(md, like->ndims, like->dims, dnnl_f32,
                                        dnnl_format_tag_any);
}

static dnnl_status_t
post_eltwise(dnnl_post_ops_t ops, dnnl_alg_kind_t alg, float alpha, float beta)
{
    return dnnl_post_ops_append_eltwise(ops, 1.0f, alg, alpha, beta);
}

static dnnl_status_t
pd_conv(dnnl_primitive_desc_t *pd, bool transposed, const md_t md[4], bool has_bias,
        const int64_t *stride, const int64_t *dilate, const int64_t *lo,
        const int64_t *hi, dnnl_primitive_attr_t attr, dnnl_engine_t engine)
{
    const md_t *bias = has_bias ? &md[2] : NULL;
    dnnl_convolution_desc_t d; /* dnnl_deconvolution_desc_t is the same type */
    dnnl_status_t s = transposed
                          ? dnnl_dilated_deconvolution_forward_desc_init(
                                &d, dnnl_forward_inference, dnnl_deconvolution_direct,
                                &md[0], &md[1], bias, &md[3], stride, dilate, lo, hi)
                          : dnnl_dilated_convolution_forward_desc_init(
                                &d, dnnl_forward_inference, dnnl_convolution_direct,
                                &md[0], &md[1], bias, &md[3], stride, dilate, lo, hi);
    return s ? s : dnnl_primitive_desc_create(pd, &d, attr, engine, NULL);
}

static dnnl_status_t
pd_matmul(dnnl_primitive_desc_t *pd, const md_t md[4], bool has_bias,
          dnnl_primitive_attr_t attr, dnnl_engine_t engine)
{
    dnnl_matmul_desc_t d;
    dnnl_status_t s =
        dnnl_matmul_desc_init(&d, &md[0], &md[1], has_bias ? &md[2] : NULL, &md[3]);
    return s ? s : dnnl_primitive_desc_create(pd, &d, attr, engine, NULL);
}

/* ---- the handle and its caches ---- */

enum { ARG_SRC, ARG_WEIGHTS, ARG_BIAS, ARG_DST, N_ARGS };
enum { OP_CONV, OP_MATMUL };
#define MAX_PRIMS 1024
#define MAX_PACKED 4096
#define N_BUCKETS 256

struct key {
    int64_t op;
    union {
        struct od_conv conv;
        struct od_matmul matmul;
    };
};

/* A primitive for one shape. `usable` false: oneDNN has nothing good, remembered too.
 */
struct prim {
    struct prim *next;
    struct key key;
    uint64_t hash, used_at;
    int refs; /* runs that use it now */
    bool usable, sum;
    dnnl_primitive_t prim;
    md_t user[N_ARGS], md[N_ARGS];    /* the caller's layout, the primitive's */
    dnnl_primitive_t to_prim[N_ARGS]; /* reorders where they differ; NULL: same */
    dnnl_primitive_t dst_back;        /* of dst */
    size_t bytes[N_ARGS], scratch_bytes, user_bytes; /* user_bytes: of weights */
};

/* A weight in a primitive's layout; holds the weight's buffer, so that its address
 * stays the name of these bytes. */
struct packed {
    struct packed *next;
    struct rt_buf *buf, *scale_buf; /* scale_buf NULL: not scaled */
    const float *weights;
    md_t user, md;
    uint64_t used_at;
    int refs;
    void *data;
};

struct od {
    pthread_mutex_t lock; /* everything below */
    int n_threads;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    void (*set_threads)(int); /* OpenMP's, when oneDNN is built on it */
    struct prim *prims[N_BUCKETS];
    struct packed *packed[N_BUCKETS];
    int n_prims, n_packed;
    uint64_t clock;
};

void *
od_new(int n_threads)
{
    struct od *od = xcalloc(1, sizeof *od);
    pthread_mutex_init(&od->lock, NULL);
    od->n_threads = n_threads > 0 ? n_threads : 1;
    /* oneDNN brings its own OpenMP library: the runtime does not link one. */
    void *sym = dlsym(RTLD_DEFAULT, "omp_set_num_threads");
    memcpy(&od->set_threads, &sym, sizeof sym);
    return od;
}

static void
prim_free(struct prim *p)
{
    for (int i = 0; i < N_ARGS; i++)
        if (p->to_prim[i])
            dnnl_primitive_destroy(p->to_prim[i]);
    if (p->dst_back)
        dnnl_primitive_destroy(p->dst_back);
    if (p->prim)
        dnnl_primitive_destroy(p->prim);
    free(p);
}

static void
packed_free(struct packed *w)
{
    rt_buf_unref(w->buf);
    rt_buf_unref(w->scale_buf);
    free(w->data);
    free(w);
}

void
od_free(void *arg)
{
    struct od *od = arg;
    if (!od)
        return;
    for (int i = 0; i < N_BUCKETS; i++) {
        for (struct prim *p = od->prims[i], *n; p; p = n) {
            n = p->next;
            prim_free(p);
        }
        for (struct packed *w = od->packed[i], *n; w; w = n) {
            n = w->next;
            packed_free(w);
        }
    }
    if (od->stream)
        dnnl_stream_destroy(od->stream);
    if (od->engine)
        dnnl_engine_destroy(od->engine);
    pthread_mutex_destroy(&od->lock);
    free(od);
}

struct od *
od_of(struct rt_ctx *ctx)
{
    return rt_session_slot(ctx, RT_SLOT_ONEDNN, od_new, od_free);
}

static int
od_fail(const struct rt_ctx *ctx, struct err *err, dnnl_status_t s, const char *what)
{
    if (s == dnnl_out_of_memory)
        return rt_fail(ctx, err, ERR_LIMIT, "oneDNN is out of memory (%s)", what);
    return rt_fail(ctx, err, ERR_FAILED, "oneDNN: %s: status %d", what, (int)s);
}

/* Under the lock. */
static dnnl_status_t
od_start(struct od *od)
{
    if (od->stream)
        return dnnl_success;
    dnnl_status_t s = dnnl_engine_create(&od->engine, dnnl_cpu, 0);
    return s ? s
             : dnnl_stream_create(&od->stream, od->engine, dnnl_stream_default_flags);
}

/* ---- making a primitive ---- */

static dnnl_status_t
make_attr(dnnl_primitive_attr_t *attr, const struct od_post *post, int n_post)
{
    static const dnnl_alg_kind_t algs[] = {
        [OD_RELU] = dnnl_eltwise_relu,
        [OD_CLIP] = dnnl_eltwise_clip,
        [OD_ELU] = dnnl_eltwise_elu,
        [OD_TANH] = dnnl_eltwise_tanh,
        [OD_SIGMOID] = dnnl_eltwise_logistic,
        [OD_SWISH] = dnnl_eltwise_swish,
        [OD_GELU_TANH] = dnnl_eltwise_gelu_tanh,
        [OD_GELU_ERF] = dnnl_eltwise_gelu_erf,
        [OD_HARDSWISH] = dnnl_eltwise_hardswish,
    };
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t s = dnnl_primitive_attr_create(attr);
    if (!s)
        s = dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user);
    if (!s)
        s = dnnl_post_ops_create(&ops);
    for (int i = 0; i < n_post && !s; i++)
        s = post[i].kind == OD_SUM
                ? dnnl_post_ops_append_sum(ops, 1.0f)
                : post_eltwise(ops, algs[post[i].kind], post[i].alpha, post[i].beta);
    if (!s)
        s = dnnl_primitive_attr_set_post_ops(*attr, ops);
    if (ops)
        dnnl_post_ops_destroy(ops);
    return s;
}

/* Layouts of the caller's arrays, in oneDNN's order of dimensions. */
static dnnl_status_t
conv_user_mds(const struct od_conv *c, md_t md[N_ARGS])
{
    int ns = c->n_spatial;
    int64_t cin = c->in_c, cout = c->out_c, g = c->groups;
    for (int side = 0; side < 2; side++) {
        const int64_t *sp = side ? c->out : c->in;
        int64_t ch = side ? cout : cin, dims[5] = { c->batch, ch }, st[5];
        int64_t step = c->channels_first ? 1 : ch;
        for (int i = ns - 1; i >= 0; i--) {
            dims[2 + i] = sp[i];
            st[2 + i] = step;
            step *= sp[i];
        }
        st[1] = c->channels_first ? step : 1;
        st[0] = c->channels_first ? step * ch : step;
        dnnl_status_t s = md_strided(&md[side ? ARG_DST : ARG_SRC], 2 + ns, dims, st);
        if (s)
            return s;
    }
    /* weights: ([g,] o, i, kernel...) over an array [kernel..., i, (g) o] or,
     * transposed, [kernel..., o, (g) i]. */
    int64_t dims[6], st[6], last = c->transposed ? cin : cout;
    int64_t i_st = c->transposed ? 1 : last, o_st = c->transposed ? last : 1;
    int n = 0;
    if (g > 1) {
        dims[n] = g;
        st[n++] = last / g;
    }
    dims[n] = cout / g;
    st[n++] = o_st;
    dims[n] = cin / g;
    st[n++] = i_st;
    int64_t step = (c->transposed ? cout : cin) / g * last;
    for (int i = ns - 1; i >= 0; i--) {
        dims[n + i] = c->kernel[i];
        st[n + i] = step;
        step *= c->kernel[i];
    }
    dnnl_status_t s = md_strided(&md[ARG_WEIGHTS], n + ns, dims, st);
    if (!s && c->has_bias)
        s = md_strided(&md[ARG_BIAS], 1, &cout, (int64_t[]){ 1 });
    return s;
}

static dnnl_status_t
matmul_user_mds(const struct od_matmul *c, md_t md[N_ARGS])
{
    bool flat = c->batch == 1;
    int64_t a[3] = { c->a_stride[0] ? c->batch : 1, c->m, c->k };
    int64_t b[3] = { c->b_stride[0] ? c->batch : 1, c->k, c->n };
    int64_t y[3] = { c->batch, c->m, c->n }, ys[3] = { c->m * c->n, c->n, 1 };
    int64_t as[3] = { a[0] == 1 ? c->m * c->k : c->a_stride[0], c->a_stride[1],
                      c->a_stride[2] };
    int64_t bs[3] = { b[0] == 1 ? c->k * c->n : c->b_stride[0], c->b_stride[1],
                      c->b_stride[2] };
    int64_t bias[3] = { 1, 1, c->n }, bias_st[3] = { c->n, c->n, 1 };
    int rank = flat ? 2 : 3;
    dnnl_status_t s = md_strided(&md[ARG_SRC], rank, a + flat, as + flat);
    if (!s)
        s = md_strided(&md[ARG_WEIGHTS], rank, b + flat, bs + flat);
    if (!s)
        s = md_strided(&md[ARG_DST], rank, y + flat, ys + flat);
    if (!s && c->has_bias)
        s = md_strided(&md[ARG_BIAS], rank, bias + flat, bias_st + flat);
    return s;
}

static dnnl_status_t
conv_pd(const struct od *od, const struct od_conv *c, const md_t md[N_ARGS],
        dnnl_primitive_attr_t attr, dnnl_primitive_desc_t *pd)
{
    dnnl_dims_t dilate = { 0 }, lo = { 0 }, hi = { 0 }, stride = { 0 };
    for (int i = 0; i < c->n_spatial; i++) {
        /* Of the forward convolution, whose output is our src when transposed. */
        int64_t big = c->transposed ? c->out[i] : c->in[i];
        int64_t small = c->transposed ? c->in[i] : c->out[i];
        int64_t span =
            (small - 1) * c->stride[i] + (c->kernel[i] - 1) * c->dilation[i] + 1;
        dilate[i] = c->dilation[i] - 1;
        stride[i] = c->stride[i];
        lo[i] = c->pad_lo[i];
        hi[i] = span - big - lo[i] > 0 ? span - big - lo[i] : 0;
    }
    return pd_conv(pd, c->transposed, md, c->has_bias, stride, dilate, lo, hi, attr,
                   od->engine);
}

/* dnnl_unimplemented when there is none, or none but the reference. */
static dnnl_status_t
try_pd(const struct od *od, const struct key *key, const md_t md[N_ARGS],
       dnnl_primitive_attr_t attr, dnnl_primitive_desc_t *pd)
{
    const char *info = "";
    *pd = NULL;
    dnnl_status_t s = key->op == OP_CONV
                          ? conv_pd(od, &key->conv, md, attr, pd)
                          : pd_matmul(pd, md, key->matmul.has_bias, attr, od->engine);
    if (s == dnnl_invalid_arguments)
        s = dnnl_unimplemented;
    if (s)
        return s;
    s = dnnl_primitive_desc_query(*pd, dnnl_query_impl_info_str, 0, (void *)&info);
    if (!s && strstr(info, "ref"))
        s = dnnl_unimplemented;
    if (s) {
        dnnl_primitive_desc_destroy(*pd);
        *pd = NULL;
    }
    return s;
}

static dnnl_status_t
make_reorder(const struct od *od, dnnl_primitive_t *out, const md_t *from,
             const md_t *to)
{
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_status_t s = dnnl_primitive_attr_create(&attr);
    if (!s)
        s = dnnl_reorder_primitive_desc_create(&pd, from, od->engine, to, od->engine,
                                               attr);
    if (!s)
        s = dnnl_primitive_create(out, pd);
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    return s;
}

/* The primitive, its layouts and the reorders to them. */
static dnnl_status_t
finish_prim(const struct od *od, struct prim *p, dnnl_primitive_desc_t pd,
            bool has_bias)
{
    static const dnnl_query_t queries[N_ARGS] = { dnnl_query_src_md,
                                                  dnnl_query_weights_md,
                                                  dnnl_query_weights_md,
                                                  dnnl_query_dst_md };
    dnnl_status_t s = dnnl_primitive_create(&p->prim, pd);
    for (int i = 0; i < N_ARGS && !s; i++) {
        if (i == ARG_BIAS && !has_bias)
            continue;
        p->md[i] = *dnnl_primitive_desc_query_md(pd, queries[i], i == ARG_BIAS);
        p->bytes[i] = dnnl_memory_desc_get_size(&p->md[i]);
        if (i == ARG_BIAS || dnnl_memory_desc_equal(&p->md[i], &p->user[i]))
            continue;
        s = make_reorder(od, &p->to_prim[i], &p->user[i], &p->md[i]);
        if (!s && i == ARG_DST)
            s = make_reorder(od, &p->dst_back, &p->md[i], &p->user[i]);
    }
    const md_t *pad = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    p->scratch_bytes = pad ? dnnl_memory_desc_get_size(pad) : 0;
    p->user_bytes = dnnl_memory_desc_get_size(&p->user[ARG_WEIGHTS]);
    p->usable = !s;
    return s;
}

static dnnl_status_t
make_prim(struct od *od, struct prim *p)
{
    const struct key *k = &p->key;
    bool conv = k->op == OP_CONV;
    bool has_bias = conv ? k->conv.has_bias : k->matmul.has_bias;
    int n_post = conv ? k->conv.n_post : k->matmul.n_post;
    const struct od_post *post = conv ? k->conv.post : k->matmul.post;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    md_t ask[N_ARGS];

    for (int i = 0; i < n_post; i++)
        p->sum |= post[i].kind == OD_SUM;
    dnnl_status_t s =
        conv ? conv_user_mds(&k->conv, p->user) : matmul_user_mds(&k->matmul, p->user);
    if (!s)
        s = make_attr(&attr, post, n_post);
    memcpy(ask, p->user, sizeof ask);
    if (!s && (conv || k->matmul.weights_const))
        s = md_any(&ask[ARG_WEIGHTS], &p->user[ARG_WEIGHTS]);
    if (!s)
        s = try_pd(od, k, ask, attr, &pd);
    if (s == dnnl_unimplemented && conv) {
        s = md_any(&ask[ARG_SRC], &p->user[ARG_SRC]);
        if (!s)
            s = md_any(&ask[ARG_DST], &p->user[ARG_DST]);
        if (!s)
            s = try_pd(od, k, ask, attr, &pd);
    }
    if (!s)
        s = finish_prim(od, p, pd, has_bias);
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    return s == dnnl_unimplemented ? dnnl_success : s;
}

/* ---- looking up ---- */

static uint64_t
hash_bytes(const void *data, size_t n)
{
    const char *p = data;
    uint64_t h = n;
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t w;
        memcpy(&w, p, 8);
        h = (h ^ w) * 0x9e3779b97f4a7c15u;
        h ^= h >> 29;
    }
    return h;
}

/* Under the lock: drops the least recently used primitive that nobody runs. */
static void
evict_prim(struct od *od)
{
    struct prim **oldest = NULL;
    for (int i = 0; i < N_BUCKETS; i++)
        for (struct prim **at = &od->prims[i]; *at; at = &(*at)->next)
            if (!(*at)->refs && (!oldest || (*at)->used_at < (*oldest)->used_at))
                oldest = at;
    if (!oldest)
        return;
    struct prim *gone = *oldest;
    *oldest = gone->next;
    od->n_prims--;
    prim_free(gone);
}

static void
evict_packed(struct od *od)
{
    struct packed **oldest = NULL;
    for (int i = 0; i < N_BUCKETS; i++)
        for (struct packed **at = &od->packed[i]; *at; at = &(*at)->next)
            if (!(*at)->refs && (!oldest || (*at)->used_at < (*oldest)->used_at))
                oldest = at;
    if (!oldest)
        return;
    struct packed *gone = *oldest;
    *oldest = gone->next;
    od->n_packed--;
    packed_free(gone);
}

/* The primitive of a key with a reference for this run. */
static int
take_prim(struct rt_ctx *ctx, struct od *od, const struct key *key, struct prim **out,
          struct err *err)
{
    uint64_t hash = hash_bytes(key, sizeof *key);
    struct prim **bucket = &od->prims[hash % N_BUCKETS], *p;
    for (p = *bucket; p; p = p->next)
        if (p->hash == hash && memcmp(&p->key, key, sizeof *key) == 0)
            break;
    if (!p) {
        dnnl_status_t s = od_start(od);
        if (s)
            return od_fail(ctx, err, s, "engine");
        p = xcalloc(1, sizeof *p);
        p->key = *key;
        p->hash = hash;
        s = make_prim(od, p);
        if (s) {
            prim_free(p);
            return od_fail(ctx, err, s, "making a primitive");
        }
        if (od->n_prims >= MAX_PRIMS)
            evict_prim(od);
        p->next = *bucket;
        *bucket = p;
        od->n_prims++;
    }
    p->refs++;
    p->used_at = ++od->clock;
    *out = p;
    return 0;
}

/* ---- running ---- */

static dnnl_status_t
run_args(const struct od *od, dnnl_primitive_t prim, int n, const int *args,
         const md_t *const *mds, void *const *data)
{
    dnnl_exec_arg_t list[N_ARGS + 1] = { { 0 } };
    dnnl_status_t s = dnnl_success;
    int made = 0;
    for (; made < n && !s; made++) {
        list[made] = (dnnl_exec_arg_t){ .arg = args[made] };
        s = dnnl_memory_create(&list[made].memory, mds[made], od->engine, data[made]);
        if (s)
            break;
    }
    if (!s)
        s = dnnl_primitive_execute(prim, od->stream, n, list);
    if (!s)
        s = dnnl_stream_wait(od->stream);
    while (made > 0)
        dnnl_memory_destroy(list[--made].memory);
    return s;
}

static dnnl_status_t
reorder(const struct od *od, dnnl_primitive_t prim, const md_t *from_md,
        const void *from, const md_t *to_md, void *to)
{
    return run_args(od, prim, 2, (const int[]){ DNNL_ARG_FROM, DNNL_ARG_TO },
                    (const md_t *const[]){ from_md, to_md },
                    (void *const[]){ (void *)from, to });
}

/* The weights times scale, laid out as they were; to be freed. NULL: no memory. */
static float *
scaled_weights(const struct prim *p, const struct od_args *a)
{
    const struct key *k = &p->key;
    const float *scale = a->scale->data;
    size_t n = p->user_bytes / sizeof(float), channels = (size_t)a->scale->n_elems;
    /* One weight in `step` begins with the next channel. */
    size_t step = k->op == OP_CONV || k->matmul.b_stride[2] == 1 ? 1 : n / channels;
    float *y = aligned_alloc(64, (p->user_bytes + 63) & ~(size_t)63);
    if (!y)
        return NULL;
    if (step == 1) {
        for (size_t i = 0; i < n; i += channels)
            for (size_t c = 0; c < channels; c++)
                y[i + c] = a->weights[i + c] * scale[c];
    } else {
        for (size_t c = 0; c < channels; c++)
            for (size_t i = c * step; i < (c + 1) * step; i++)
                y[i] = a->weights[i] * scale[c];
    }
    return y;
}

static dnnl_status_t
pack(const struct od *od, const struct prim *p, const struct od_args *a,
     struct packed *w)
{
    dnnl_status_t s = dnnl_success;
    const float *from = a->weights;
    float *scaled = NULL;
    if (a->scale) {
        from = scaled = scaled_weights(p, a);
        if (!scaled)
            return dnnl_out_of_memory;
    }
    if (!p->to_prim[ARG_WEIGHTS]) {
        w->data = scaled;
        return dnnl_success;
    }
    w->data = aligned_alloc(64, (p->bytes[ARG_WEIGHTS] + 127) & ~(size_t)63);
    s = w->data ? reorder(od, p->to_prim[ARG_WEIGHTS], &w->user, from, &w->md, w->data)
                : dnnl_out_of_memory;
    free(scaled);
    return s;
}

/* Under the lock: the reordered copy of a weight. NULL with *s set. */
static struct packed *
take_packed(struct od *od, const struct prim *p, const struct od_args *a,
            dnnl_status_t *s)
{
    struct rt_buf *scale_buf = a->scale ? a->scale->buf : NULL;
    const struct {
        uintptr_t buf, data, scale;
    } id = { (uintptr_t)a->weights_buf, (uintptr_t)a->weights, (uintptr_t)scale_buf };
    struct packed **bucket = &od->packed[hash_bytes(&id, sizeof id) % N_BUCKETS], *w;
    for (w = *bucket; w; w = w->next)
        if (w->buf == a->weights_buf && w->weights == a->weights &&
            w->scale_buf == scale_buf &&
            dnnl_memory_desc_equal(&w->md, &p->md[ARG_WEIGHTS]) &&
            dnnl_memory_desc_equal(&w->user, &p->user[ARG_WEIGHTS]))
            break;
    if (!w) {
        w = xcalloc(1, sizeof *w);
        w->weights = a->weights;
        w->user = p->user[ARG_WEIGHTS];
        w->md = p->md[ARG_WEIGHTS];
        *s = pack(od, p, a, w);
        if (*s) {
            free(w->data);
            free(w);
            return NULL;
        }
        w->buf = a->weights_buf;
        rt_buf_ref(w->buf);
        w->scale_buf = scale_buf;
        if (scale_buf)
            rt_buf_ref(scale_buf);
        rt_buf_untouch(w->buf, a->weights, p->user_bytes);
        if (od->n_packed >= MAX_PACKED)
            evict_packed(od);
        w->next = *bucket;
        *bucket = w;
        od->n_packed++;
    }
    w->refs++;
    w->used_at = ++od->clock;
    return w;
}

static int
execute(struct rt_ctx *ctx, struct od *od, const struct prim *p,
        const struct od_args *a, const struct packed *packed, struct err *err)
{
    void *at[N_ARGS] = { (void *)a->src, (void *)a->weights, (void *)a->bias, a->dst };
    const void *user[N_ARGS] = { a->src, a->weights, a->bias, a->dst };
    dnnl_status_t s = dnnl_success;

    if (packed)
        at[ARG_WEIGHTS] = packed->data;
    for (int i = 0; i < N_ARGS && !s; i++) {
        if (!p->to_prim[i] || (i == ARG_WEIGHTS && packed))
            continue;
        at[i] = rt_scratch(ctx, p->bytes[i] + 64, err);
        if (!at[i])
            return -(int)err->code;
        if (i != ARG_DST || p->sum)
            s = reorder(od, p->to_prim[i], &p->user[i], user[i], &p->md[i], at[i]);
    }
    int args[N_ARGS + 1] = { DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST }, n = 3;
    const md_t *mds[N_ARGS + 1] = { &p->md[ARG_SRC], &p->md[ARG_WEIGHTS],
                                    &p->md[ARG_DST] };
    void *data[N_ARGS + 1] = { at[ARG_SRC], at[ARG_WEIGHTS], at[ARG_DST] };
    md_t pad_md;
    if (a->bias) {
        args[n] = DNNL_ARG_BIAS;
        mds[n] = &p->md[ARG_BIAS];
        data[n++] = at[ARG_BIAS];
    }
    if (p->scratch_bytes && !s) {
        dnnl_dims_t bytes = { (int64_t)p->scratch_bytes };
        void *pad = rt_scratch(ctx, p->scratch_bytes, err);
        if (!pad)
            return -(int)err->code;
        s = dnnl_memory_desc_init_by_tag(&pad_md, 1, bytes, dnnl_u8, dnnl_a);
        args[n] = DNNL_ARG_SCRATCHPAD;
        mds[n] = &pad_md;
        data[n++] = pad;
    }
    if (!s)
        s = run_args(od, p->prim, n, args, mds, data);
    if (!s && p->dst_back)
        s = reorder(od, p->dst_back, &p->md[ARG_DST], at[ARG_DST], &p->user[ARG_DST],
                    a->dst);
    return s ? od_fail(ctx, err, s, "run") : 0;
}

static int
run_key(struct rt_ctx *ctx, const struct key *key, bool keep, const struct od_args *a,
        struct err *err)
{
    struct od *od = od_of(ctx);
    struct prim *p = NULL;
    struct packed *packed = NULL;
    dnnl_status_t s = dnnl_success;

    if (od->set_threads)
        od->set_threads(od->n_threads); /* of this thread: OpenMP keeps it per thread */
    pthread_mutex_lock(&od->lock);
    int r = take_prim(ctx, od, key, &p, err);
    if (!r && p->usable && keep && (p->to_prim[ARG_WEIGHTS] || a->scale)) {
        packed = take_packed(od, p, a, &s);
        if (s)
            r = od_fail(ctx, err, s, "reordering a weight");
    }
    pthread_mutex_unlock(&od->lock);
    if (!r && p->usable) {
        r = execute(ctx, od, p, a, packed, err);
        r = r < 0 ? r : 1;
    }
    pthread_mutex_lock(&od->lock);
    if (p)
        p->refs--;
    if (packed)
        packed->refs--;
    pthread_mutex_unlock(&od->lock);
    return r;
}

int
od_run_conv(struct rt_ctx *ctx, const struct od_conv *c, const struct od_args *a,
            struct err *err)
{
    bool keep = a->weights_buf && rt_buf_is_weight(a->weights_buf);
    struct key key;
    memset(&key, 0, sizeof key);
    key.op = OP_CONV;
    memcpy(&key.conv, c, sizeof *c);
    key.conv.weights_const = keep;
    return run_key(ctx, &key, keep, a, err);
}

int
od_run_matmul(struct rt_ctx *ctx, const struct od_matmul *c, const struct od_args *a,
              struct err *err)
{
    bool keep = a->weights_buf && rt_buf_is_weight(a->weights_buf);
    struct key key;
    memset(&key, 0, sizeof key);
    key.op = OP_MATMUL;
    memcpy(&key.matmul, c, sizeof *c);
    key.matmul.weights_const = keep;
    return run_key(ctx, &key, keep, a, err);
}
