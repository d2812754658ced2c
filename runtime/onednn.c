/* SPDX-License-Identifier: Apache-2.0 */
/* Caches of primitives and reordered weights, and how a primitive is run. See
 * onednn_int.h. */
#include "runtime/onednn_int.h"

#include <dlfcn.h>
#include <stdlib.h>

#define MAX_PRIMS 1024
#define MAX_PACKED 4096
/* Multiply-adds from which a second thread is worth waking. The choice is the shape's,
 * as a primitive is made for a number of threads. */
#define SHARED_WORK 400e3

/* ---- the handle and its caches ---- */

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
    for (struct exec *x = p->execs, *next; x; x = next) {
        next = x->next;
        for (int i = 0; i <= N_ARGS; i++)
            if (x->list[i].memory)
                dnnl_memory_destroy(x->list[i].memory);
        free(x);
    }
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
        s = od_make_prim(od, p);
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

/* Argument `i` of an execution is at `data` now. */
static dnnl_status_t
point(const struct od *od, struct exec *x, int i, int arg, const md_t *md, void *data)
{
    dnnl_status_t s = dnnl_success;
    if (!x->list[i].memory) {
        x->list[i].arg = arg;
        s = dnnl_memory_create(&x->list[i].memory, md, od->engine, data);
    } else if (x->at[i] != data) {
        s = dnnl_memory_set_data_handle(x->list[i].memory, data);
    }
    x->at[i] = data;
    return s;
}

/* Runs p on arrays in its own layouts. */
static dnnl_status_t
run_prim(const struct od *od, const struct prim *p, struct exec *x,
         void *const at[N_ARGS], void *pad)
{
    static const int names[N_ARGS] = { DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_BIAS,
                                       DNNL_ARG_DST };
    dnnl_status_t s = dnnl_success;
    int n = 0;
    for (int i = 0; i < N_ARGS && !s; i++)
        if (at[i])
            s = point(od, x, n++, names[i], &p->md[i], at[i]);
    if (pad && !s) {
        md_t md;
        dnnl_dims_t bytes = { (int64_t)p->scratch_bytes };
        s = dnnl_memory_desc_init_by_tag(&md, 1, bytes, dnnl_u8, dnnl_a);
        if (!s)
            s = point(od, x, n++, DNNL_ARG_SCRATCHPAD, &md, pad);
    }
    if (!s)
        s = dnnl_primitive_execute(p->prim, od->stream, n, x->list);
    return s ? s : dnnl_stream_wait(od->stream);
}

static int
execute(struct rt_ctx *ctx, struct od *od, const struct prim *p, struct exec *x,
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
    void *pad = NULL;
    if (p->scratch_bytes && !s) {
        pad = rt_scratch(ctx, p->scratch_bytes, err);
        if (!pad)
            return -(int)err->code;
    }
    if (!s)
        s = run_prim(od, p, x, at, pad);
    if (!s && p->dst_back)
        s = reorder(od, p->dst_back, &p->md[ARG_DST], at[ARG_DST], &p->user[ARG_DST],
                    a->dst);
    return s ? od_fail(ctx, err, s, "run") : 0;
}

/* As double: the product of extents may overflow. */
static double
multiply_adds(const struct key *key)
{
    const struct od_conv *c = &key->conv;
    const struct od_matmul *m = &key->matmul;
    if (key->op == OP_MATMUL)
        return (double)m->batch * (double)m->m * (double)m->n * (double)m->k;
    /* Transposed: each value of src is multiplied with each weight of its group. */
    double n =
        (double)c->batch * (double)c->in_c * (double)c->out_c / (double)c->groups;
    for (int i = 0; i < c->n_spatial; i++)
        n *= (double)c->kernel[i] * (double)(c->transposed ? c->in[i] : c->out[i]);
    return n;
}

static int
run_key(struct rt_ctx *ctx, const struct key *key, bool keep, const struct od_args *a,
        struct err *err)
{
    struct od *od = od_of(ctx);
    struct prim *p = NULL;
    struct packed *packed = NULL;
    struct exec *x = NULL;
    dnnl_status_t s = dnnl_success;

    if (od->set_threads) /* of this thread: OpenMP keeps it per thread */
        od->set_threads(multiply_adds(key) < SHARED_WORK ? 1 : od->n_threads);
    pthread_mutex_lock(&od->lock);
    int r = take_prim(ctx, od, key, &p, err);
    if (!r && p->usable && keep && (p->to_prim[ARG_WEIGHTS] || a->scale)) {
        packed = take_packed(od, p, a, &s);
        if (s)
            r = od_fail(ctx, err, s, "reordering a weight");
    }
    if (!r && p->usable) {
        x = p->execs;
        if (x)
            p->execs = x->next;
    }
    pthread_mutex_unlock(&od->lock);
    if (!r && p->usable) {
        if (!x)
            x = xcalloc(1, sizeof *x);
        rt_note_kernel(ctx, p->kernel, p->n_reorders);
        r = execute(ctx, od, p, x, a, packed, err);
        r = r < 0 ? r : 1;
    }
    pthread_mutex_lock(&od->lock);
    if (x) {
        x->next = p->execs;
        p->execs = x;
    }
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
