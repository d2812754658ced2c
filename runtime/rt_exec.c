/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a plan step by step. A frame holds the values of one run of one plan; frames are
 * kept by the plan, with all slots empty. */
#include "runtime/rt_trace.h"
#include "runtime/rt_watch.h"

#include "base/clock.h"

#include <stdlib.h>

enum { POLL_EVERY = 16, DEPTH_MAX = 500 };

void
rt_run_init(struct rt_run *r, struct rt_session *s)
{
    *r = (struct rt_run){ .session = s, .steps_left = -1 };
    if (s->max_loop_steps > 0)
        r->steps_left = s->max_loop_steps;
    if (s->max_wall_ns > 0)
        r->deadline_ns = clock_mono_ns() + s->max_wall_ns;
}

void
rt_run_release(struct rt_run *r)
{
    rt_arena_release(&r->strings);
}

int
rt_run_poll(struct rt_run *r, const struct rt_node *n, struct err *err)
{
    if (r->deadline_ns == 0 || clock_mono_ns() < r->deadline_ns)
        return 0;
    return err_set(err, ERR_LIMIT, "node '%s' (%s): the run takes longer than %lld ms",
                   n->name, n->op, (long long)(r->session->max_wall_ns / 1000000));
}

int
rt_run_turn(struct rt_run *r, const struct rt_node *n, struct err *err)
{
    if (r->steps_left == 0)
        return err_set(err, ERR_LIMIT,
                       "node '%s' (%s): loops take more than %lld steps", n->name,
                       n->op, (long long)r->session->max_loop_steps);
    if (r->steps_left > 0)
        r->steps_left--;
    return rt_run_poll(r, n, err);
}

int
rt_poll(const struct rt_ctx *ctx, struct err *err)
{
    return rt_run_poll(ctx->run, ctx->node, err);
}

/* ---- what kernels ask for -------------------------------------------------------- */

/* Allocators know nothing of nodes; who asked is put before their message. */
static int
at_node(const struct rt_ctx *ctx, struct err *err)
{
    if (ctx->node->func)
        return err_ctx(err, "node '%s' (%s, function '%s')", ctx->node->name,
                       ctx->node->op, ctx->node->func);
    return err_ctx(err, "node '%s' (%s)", ctx->node->name, ctx->node->op);
}

int
rt_tensor_new(struct rt_ctx *ctx, struct rt_tensor *out, int dtype, int rank,
              const int64_t *dims, struct err *err)
{
    if (rt_tensor_make(out, &ctx->session->mem, dtype, rank, dims, err) < 0)
        return at_node(ctx, err);
    return 0;
}

int
rt_out(struct rt_ctx *ctx, int i, int dtype, int rank, const int64_t *dims,
       struct rt_tensor **y, struct err *err)
{
    *y = &ctx->out[i];
    return rt_tensor_new(ctx, *y, dtype, rank, dims, err);
}

void
rt_out_alias(struct rt_ctx *ctx, int i, const struct rt_tensor *t, size_t offset,
             int dtype, int rank, const int64_t *dims)
{
    struct rt_tensor *y = &ctx->out[i];
    int64_t n = 1;
    for (int d = 0; d < rank; d++)
        n *= dims[d];
    y->dtype = dtype;
    y->rank = rank;
    if (rank > 0)
        memcpy(y->dims, dims, (size_t)rank * sizeof(dims[0]));
    y->n_elems = n;
    y->data = (char *)t->data + offset;
    y->buf = t->buf;
    rt_buf_ref(t->buf);
}

void
rt_out_same(struct rt_ctx *ctx, int i, const struct rt_tensor *t)
{
    rt_tensor_ref(&ctx->out[i], t);
}

/* Objects are never written in place this way: their elements are references. */
static bool
can_reuse(const struct rt_ctx *ctx, int from, int dtype, size_t size_bytes)
{
    const struct rt_tensor *t = ctx->in[from];
    return from < 64 && (ctx->may_forward >> from & 1) && rt_buf_writable(t->buf) &&
           !(t->buf->flags & RT_BUF_OBJS) && dtype != SM_RESOURCE &&
           dtype != SM_VARIANT && (dtype == SM_STRING) == (t->dtype == SM_STRING) &&
           rt_size(t) == size_bytes;
}

int
rt_out_reuse(struct rt_ctx *ctx, int i, int from, int dtype, int rank,
             const int64_t *dims, struct rt_tensor **y, struct err *err)
{
    int64_t n = 0;
    if (rt_dims_count(dtype, rank, dims, &n, err) < 0)
        return at_node(ctx, err);
    if (!can_reuse(ctx, from, dtype, (size_t)n * rt_dtype_size(dtype)))
        return rt_out(ctx, i, dtype, rank, dims, y, err);
    rt_out_alias(ctx, i, ctx->in[from], 0, dtype, rank, dims);
    *y = &ctx->out[i];
    return 0;
}

int
rt_out_obj(struct rt_ctx *ctx, int i, int dtype, struct rt_obj *o, struct err *err)
{
    if (rt_tensor_of_obj(&ctx->out[i], &ctx->session->mem, dtype, o, err) < 0)
        return at_node(ctx, err);
    return 0;
}

/* Scratch blocks are buffers in a list through their `next`. */
void *
rt_scratch(struct rt_ctx *ctx, size_t size_bytes, struct err *err)
{
    struct rt_buf *b = NULL;
    if (rt_buf_new(&b, &ctx->session->mem, size_bytes, err) < 0) {
        (void)!at_node(ctx, err);
        return NULL;
    }
    b->next = ctx->scratch;
    ctx->scratch = b;
    return b->data;
}

static void
drop_scratch(struct rt_ctx *ctx)
{
    for (struct rt_buf *b = ctx->scratch, *next; b; b = next) {
        next = b->next;
        rt_buf_unref(b);
    }
}

/* Bytes for strings are counted in whole, kept until the run ends. */
char *
rt_str_alloc(struct rt_ctx *ctx, size_t n, struct err *err)
{
    struct rt_run *r = ctx->run;
    size_t cap = ctx->session->mem.cap_bytes;
    char *p = NULL;
    if (n <= cap && r->string_bytes + n <= cap)
        p = rt_arena_alloc(&r->strings, n ? n : 1, 1);
    if (!p) {
        rt_fail(ctx, err, ERR_LIMIT,
                "a string of %zu bytes: the run would pass %zu bytes", n, cap);
        return NULL;
    }
    r->string_bytes += n;
    return p;
}

int
rt_str_dup(struct rt_ctx *ctx, struct str s, struct str *out, struct err *err)
{
    char *p = rt_str_alloc(ctx, s.n, err);
    if (!p)
        return -(int)err->code;
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    *out = (struct str){ p, s.n };
    return 0;
}

int
rt_n_threads(const struct rt_ctx *ctx)
{
    return ctx->session->n_threads;
}

void
rt_parallel_for(struct rt_ctx *ctx, int64_t n, int64_t grain,
                void (*fn)(void *arg, int64_t begin, int64_t end), void *arg)
{
    if (n <= 0)
        return;
    if (!ctx->session->pool || n <= grain)
        fn(arg, 0, n);
    else
        rt_pool_for(ctx->session->pool, n, grain, fn, arg);
}

void *
rt_session_slot(struct rt_ctx *ctx, enum rt_slot slot, void *(*make)(int n_threads),
                void (*drop)(void *))
{
    struct rt_session *s = ctx->session;
    void *p = __atomic_load_n(&s->slot[slot], __ATOMIC_ACQUIRE);
    if (p)
        return p;
    pthread_mutex_lock(&s->lock);
    if (!s->slot[slot]) {
        s->slot_drop[slot] = drop;
        __atomic_store_n(&s->slot[slot], make(s->n_threads), __ATOMIC_RELEASE);
    }
    p = s->slot[slot];
    pthread_mutex_unlock(&s->lock);
    return p;
}

struct rt_obj *
rt_in_obj(const struct rt_ctx *ctx, int i, const struct rt_obj_type *type,
          struct err *err)
{
    const struct rt_tensor *t = ctx->in[i];
    bool holds = t->dtype == SM_RESOURCE || t->dtype == SM_VARIANT || t->dtype > SM_REF;
    struct rt_obj *o =
        holds && t->n_elems == 1 ? *(struct rt_obj *const *)t->data : NULL;
    if (o && o->type == type)
        return o;
    rt_fail(ctx, err, ERR_FAILED, "input %d is %s, not a %s", i,
            o ? o->type->name : "no object", type->name);
    return NULL;
}

/* ---- one step -------------------------------------------------------------------- */

static bool
dtype_fits(uint8_t letter, int dtype)
{
    switch (letter) {
    case 'i':
        return dtype == SM_INT32 || dtype == SM_INT64;
    case 'I':
        return dtype == SM_INT32;
    case 'L':
        return dtype == SM_INT64;
    case 'F':
        return dtype == SM_FLOAT;
    case 'D':
        return dtype == SM_DOUBLE;
    case 'S':
        return dtype == SM_STRING;
    case 'B':
        return dtype == SM_BOOL;
    case 'R':
        return dtype == SM_RESOURCE;
    case 'V':
        return dtype == SM_VARIANT;
    case '&':
        return dtype > SM_REF;
    default:
        return true;
    }
}

static int
check_inputs(const struct rt_step *s, const struct rt_tensor **in, struct err *err)
{
    int var[3] = { 0, 0, 0 }; /* T U W */
    for (int i = 0; i < s->node.n_in; i++) {
        uint8_t c = s->check[i];
        int dtype = in[i]->dtype, *v = c == 'T'   ? &var[0]
                                       : c == 'U' ? &var[1]
                                                  : &var[2];
        bool fits = true;
        if (c == 'T' || c == 'U' || c == 'W') {
            fits = *v == 0 || *v == dtype;
            *v = dtype;
        } else {
            fits = dtype_fits(c, dtype);
        }
        if (!fits)
            return err_set(err, ERR_CORRUPT,
                           "node '%s' (%s): input %d has dtype %s, which "
                           "does not fit",
                           s->node.name, s->node.op, i, rt_dtype_text(dtype));
    }
    return 0;
}

static int
read_refs(const struct rt_step *s, const struct rt_tensor **in, struct rt_tensor *deref,
          struct err *err)
{
    for (int i = 0; i < s->node.n_in; i++) {
        if (in[i]->dtype <= SM_REF || s->check[i] == '&')
            continue;
        if (rt_ref_read(&s->node, in[i], &deref[i], err) < 0)
            return -(int)err->code;
        in[i] = &deref[i];
    }
    return 0;
}

int
rt_step_run(struct rt_run *r, const struct rt_step *s, const struct rt_tensor **in,
            struct rt_tensor *deref, struct rt_tensor *out, struct err *err)
{
    struct rt_ctx ctx = { .node = &s->node,
                          .in = in,
                          .out = out,
                          .session = r->session,
                          .run = r,
                          .may_forward = s->may_forward };
    int rc = 0;
    if (r->watch)
        rt_watch_begin(r->watch, s, in);
    if (s->reads_ref)
        rc = read_refs(s, in, deref, err);
    if (rc == 0 && s->checked)
        rc = check_inputs(s, in, err);
    if (r->trace)
        rt_trace_begin(r->trace);
    if (rc == 0 && (rc = s->run(&ctx, err)) < 0 && err->code == ERR_OK)
        BUG("%s failed without an error", s->node.op);
    if (r->trace)
        rt_trace_end(r->trace, s, in, rc < 0 ? NULL : out);
    if (r->watch)
        rt_watch_end(r->watch, s, rc < 0 ? NULL : out);
    if (ctx.scratch)
        drop_scratch(&ctx);
    if (s->reads_ref)
        for (int i = 0; i < s->node.n_in; i++)
            if (deref[i].buf)
                rt_tensor_unref(&deref[i]);
    for (int i = 0; i < s->node.n_out; i++) {
        if (rc < 0)
            rt_tensor_unref(&out[i]);
        else if (!out[i].buf)
            BUG("%s left output %d unset", s->node.op, i);
    }
    return rc;
}

/* ---- plans ----------------------------------------------------------------------- */

static struct rt_frame *
take_frame(struct rt_plan *p)
{
    pthread_mutex_lock(&p->lock);
    struct rt_frame *f = p->free_frames;
    if (f)
        p->free_frames = f->next;
    pthread_mutex_unlock(&p->lock);
    if (f)
        return f;
    f = xcalloc(1, sizeof(*f));
    f->slots = xcalloc((size_t)p->n_slots + 1, sizeof(f->slots[0]));
    f->out = xcalloc((size_t)p->max_out + 1, sizeof(f->out[0]));
    f->in = xcalloc((size_t)p->max_in + 1, sizeof(f->in[0]));
    f->deref = xcalloc((size_t)p->max_in + 1, sizeof(f->deref[0]));
    return f;
}

static void
give_frame(struct rt_plan *p, struct rt_frame *f)
{
    for (int i = 0; i < p->n_slots; i++)
        if (f->slots[i].buf)
            rt_tensor_unref(&f->slots[i]);
    pthread_mutex_lock(&p->lock);
    f->next = p->free_frames;
    p->free_frames = f;
    pthread_mutex_unlock(&p->lock);
}

static int
run_one(struct rt_run *r, const struct rt_plan *p, const struct rt_step *s,
        struct rt_frame *f, struct err *err)
{
    int n_in = s->node.n_in, n_out = s->node.n_out;
    for (int i = 0; i < n_in; i++)
        f->in[i] = s->in[i] >= 0 ? &f->slots[s->in[i]] : &p->consts[-1 - s->in[i]];
    if (++r->tick % POLL_EVERY == 0 && rt_run_poll(r, &s->node, err) < 0)
        return -(int)err->code;
    if (rt_step_run(r, s, f->in, f->deref, f->out, err) < 0)
        return -(int)err->code;
    for (int i = 0; i < s->n_dead; i++)
        rt_tensor_unref(&f->slots[s->dead[i]]);
    for (int i = 0; i < n_out; i++) {
        if (s->out[i] >= 0)
            f->slots[s->out[i]] = f->out[i];
        else
            rt_buf_unref(f->out[i].buf);
        f->out[i].buf = NULL;
    }
    return 0;
}

static int
run_frame(struct rt_run *r, const struct rt_plan *p, struct rt_frame *f,
          struct rt_tensor *args, struct rt_tensor *outs, struct err *err)
{
    for (int i = 0; i < p->n_inputs; i++) {
        f->slots[i] = args[i];
        args[i] = (struct rt_tensor){ 0 };
    }
    for (int i = 0; i < p->n_dead_inputs; i++)
        rt_tensor_unref(&f->slots[p->dead_inputs[i]]);
    for (int i = 0; i < p->n_steps; i++)
        if (run_one(r, p, &p->steps[i], f, err) < 0)
            return -(int)err->code;
    for (int i = 0; i < p->n_outputs; i++) {
        int o = p->outputs[i];
        rt_tensor_ref(&outs[i], o >= 0 ? &f->slots[o] : &p->consts[-1 - o]);
    }
    return 0;
}

int
rt_plan_run(struct rt_run *r, struct rt_plan *p, struct rt_tensor *args,
            struct rt_tensor *outs, struct err *err)
{
    int rc;
    if (r->depth >= DEPTH_MAX) {
        rc = err_set(err, ERR_LIMIT, "function '%s' calls itself deeper than %d",
                     p->what, DEPTH_MAX);
    } else {
        r->depth++;
        if (p->flow) {
            rc = rt_flow_run(r, p, args, outs, err);
        } else {
            struct rt_frame *f = take_frame(p);
            rc = run_frame(r, p, f, args, outs, err);
            give_frame(p, f);
        }
        r->depth--;
    }
    for (int i = 0; i < p->n_inputs; i++)
        rt_tensor_unref(&args[i]);
    return rc;
}
