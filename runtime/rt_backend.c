/* SPDX-License-Identifier: Apache-2.0 */
/* The backend "native": loads a model, runs its signatures. */
#include "runtime/rt_backend_int.h"
#include "runtime/rt_trace.h"
#include "runtime/rt_watch.h"

#include "base/clock.h"
#include "base/fs.h"

#include <stdlib.h>

enum {
    DEFAULT_WALL_MS = 600 * 1000,
    MAX_THREADS = 64,
    ZEROS_MAX_MS = 5000,
    ZEROS_MAX_TURNS = 10000
};
#define DEFAULT_MEMORY_BYTES ((size_t)8 << 30)

static double
ms_since(int64_t begin_ns)
{
    return (double)(clock_mono_ns() - begin_ns) / 1e6;
}

/* ---- load ------------------------------------------------------------------------ */

static void
native_close(struct backend *b)
{
    if (!b)
        return;
    while (b->bound) {
        struct bound *next = b->bound->next;
        bound_free(b->bound);
        b->bound = next;
    }
    if (b->open)
        rt_session_release(&b->s);
    sm_close(b->model);
    fs_close(&b->dirfd);
    free(b->dir);
    free(b);
}

static void
native_close_p(struct backend **b)
{
    native_close(*b);
}

static int
load(struct backend **out, const struct backend_args *args, struct err *err)
{
    int64_t begin_ns = clock_mono_ns();
    struct backend *b AUTO(native_close_p) = xcalloc(1, sizeof(*b));
    const struct sm_meta *meta;
    b->dirfd = -1;
    b->dir = xstrdup(args->model_dir);
    if (fs_open_dir(&b->dirfd, AT_FDCWD, args->model_dir, err) < 0 ||
        sm_open(&b->model, b->dirfd, args->model_dir, err) < 0 ||
        sm_find_meta(b->model, args->tags ? args->tags : "serve", &meta, err) < 0)
        return -(int)err->code;
    struct rt_session *s = &b->s;
    rt_session_init(s, b->dirfd, b->dir);
    b->open = true;
    rt_mem_init(&s->mem,
                args->max_memory_bytes ? args->max_memory_bytes : DEFAULT_MEMORY_BYTES);
    s->n_threads = args->n_threads > MAX_THREADS ? MAX_THREADS
                   : args->n_threads > 0         ? args->n_threads
                                                 : 1;
    s->pool = rt_pool_new(s->n_threads);
    s->max_wall_ns =
        (args->max_wall_ms > 0 ? args->max_wall_ms : DEFAULT_WALL_MS) * 1000000;
    s->max_loop_steps = args->max_loop_steps;
    if (rt_passes_parse(args->passes ? args->passes : getenv("SLUICE_PLAN"), &s->passes,
                        err) < 0)
        return -(int)err->code;
    if (rt_model_read(&s->model, meta, err) < 0)
        return -(int)err->code;
    b->read_ms = ms_since(begin_ns);
    if (rt_session_restore(s, err) < 0)
        return -(int)err->code;
    rt_session_snapshot(s);
    b->restore_ms = ms_since(begin_ns) - b->read_ms;
    b->load_ms = ms_since(begin_ns);
    *out = b;
    b = NULL;
    return 0;
}

static int
native_load(struct backend **out, const struct backend_args *args, struct err *err)
{
    unsigned fpu = rt_fpu_enter();
    int rc = load(out, args, err);
    rt_fpu_leave(fpu);
    return rc;
}

/* ---- run ------------------------------------------------------------------------- */

static int
native_signature(struct backend *b, const char *key,
                 const struct backend_signature **out, struct err *err)
{
    struct bound *n;
    if (rt_bind(b, key, &n, err) < 0)
        return -(int)err->code;
    *out = &n->lent;
    return 0;
}

/* `args` (with room for captures) are taken, what it gives goes to `out` (NULL:
 * nowhere). */
static int
run_plan(struct rt_run *run, const struct bound *n, struct rt_plan *plan,
         struct rt_tensor *args, struct sm_tensor_list *out, struct err *err)
{
    size_t n_out = (size_t)n->lent.n_outputs;
    struct rt_tensor *outs AUTO(free_ptr) = xcalloc(n_out + 1, sizeof(outs[0]));
    if (run->trace)
        rt_trace_run(run->trace);
    for (int i = 0; run->watch && i < n->lent.n_inputs; i++)
        rt_watch_feed(run->watch, i, &args[i]);
    int rc = 0;
    if (n->n_captures > 0) /* behind the inputs */
        rc = rt_plan_run(run, n->capture_plan, NULL, &args[n->lent.n_inputs], err);
    if (rc == 0)
        rc = rt_plan_run(run, plan, args, outs, err);
    for (int i = 0; rc == 0 && run->watch && i < n->lent.n_outputs; i++)
        rt_watch_output(run->watch, n->lent.outputs[i].key, &outs[i]);
    if (rc == 0 && out)
        rc = rt_fetch(n, outs, out, err);
    for (size_t i = 0; i < n_out; i++)
        rt_tensor_unref(&outs[i]);
    return rc;
}

static int
run_bound(struct backend *b, struct bound *n, const struct sm_tensor_list *in,
          struct rt_trace *trace, struct rt_watch *watch, struct sm_tensor_list *out,
          struct err *err)
{
    size_t n_in = (size_t)n->lent.n_inputs + (size_t)n->n_captures;
    struct rt_tensor *args AUTO(free_ptr) = xcalloc(n_in + 1, sizeof(args[0]));
    bool *given AUTO(free_ptr) = xcalloc(n_in + 1, sizeof(bool));
    struct rt_plan *plan;
    struct rt_run run;
    rt_run_init(&run, &b->s);
    run.trace = trace;
    run.watch = watch;
    unsigned fpu = rt_fpu_enter();
    int rc = rt_feed(b, n, in, args, given, err);
    if (rc == 0)
        rc = rt_bind_plan(b, n, given, &plan, err);
    if (rc == 0)
        rc = run_plan(&run, n, plan, args, out, err);
    for (size_t i = 0; i < n_in; i++)
        rt_tensor_unref(&args[i]);
    rt_run_release(&run);
    rt_fpu_leave(fpu);
    return rc;
}

static int
native_run(struct backend *b, const char *signature, const struct sm_tensor_list *in,
           struct sm_tensor_list *out, struct err *err)
{
    int64_t begin_ns = clock_mono_ns();
    struct bound *n;
    if (rt_bind(b, signature, &n, err) < 0 ||
        run_bound(b, n, in, NULL, NULL, out, err) < 0)
        return -(int)err->code;
    b->run_ms = ms_since(begin_ns);
    return 0;
}

static int
native_profile(struct backend *b, const char *signature,
               const struct sm_tensor_list *in, int n_more, struct sm_tensor_list *out,
               struct buf *json, struct err *err)
{
    struct rt_trace t AUTO(rt_trace_release);
    struct bound *n;
    rt_trace_init(&t);
    if (rt_bind(b, signature, &n, err) < 0 ||
        run_bound(b, n, in, &t, NULL, out, err) < 0)
        return -(int)err->code;
    /* Many runs of a slow model are fewer: the caller waits for all of them together.
     */
    for (int i = 0; i < n_more; i++) {
        if (clock_mono_ns() - t.begin_ns > b->s.max_wall_ns / 2)
            break;
        rt_session_reset(&b->s);
        if (run_bound(b, n, in, &t, NULL, NULL, err) < 0)
            return err_ctx(err, "run %d", i + 2);
    }
    rt_trace_json(&t, json);
    return 0;
}

/* What the model does wrong is part of what was seen; what is asked wrongly is not. */
static int
native_watch(struct backend *b, const char *signature, const struct sm_tensor_list *in,
             const struct backend_place *places, int n_places,
             struct sm_tensor_list *values, struct buf *json, struct err *err)
{
    struct rt_watch w AUTO(rt_watch_release);
    struct err bad = ERR_INIT;
    struct bound *n;
    rt_watch_init(&w, &b->s, places, n_places, values);
    if (rt_bind(b, signature, &n, err) < 0)
        return -(int)err->code;
    if (run_bound(b, n, in, NULL, &w, NULL, &bad) < 0 && w.n_events == 0)
        return err_set(err, bad.code, "%s", bad.msg);
    if (n_places == 0)
        rt_watch_json(&w, bad.code != ERR_OK ? bad.msg : NULL, json);
    return 0;
}

/* Zeros, empty strings; sizes that are not known are 1. */
static int
make_zeros(struct backend *b, const struct backend_tensor *want, struct rt_tensor *t,
           struct err *err)
{
    int64_t dims[SM_MAX_RANK];
    int rank = want->shape.unknown_rank ? 0 : want->shape.rank;
    for (int i = 0; i < rank; i++)
        dims[i] = want->shape.dims[i] < 0 ? 1 : want->shape.dims[i];
    if (want->dtype == SM_RESOURCE || want->dtype == SM_VARIANT)
        return err_set(err, ERR_UNSUPPORTED, "input '%s' has no zeros", want->key);
    if (rt_tensor_make(t, &b->s.mem, want->dtype, rank, dims, err) < 0)
        return -(int)err->code;
    if (t->n_elems > 0)
        memset(t->data, 0, rt_size(t));
    return 0;
}

/* To learn shapes. A model may well refuse zeros, or loop over them for ever: then
 * shapes are known up to there. */
static void
run_on_zeros(struct backend *b, const struct bound *n, struct rt_plan *plan,
             struct rt_trace *t)
{
    struct err none = ERR_INIT;
    size_t n_in = (size_t)n->lent.n_inputs + (size_t)n->n_captures;
    struct rt_tensor *args AUTO(free_ptr) = xcalloc(n_in + 1, sizeof(args[0]));
    struct rt_run run;
    rt_run_init(&run, &b->s);
    run.trace = t;
    if (run.steps_left < 0 || run.steps_left > ZEROS_MAX_TURNS)
        run.steps_left = ZEROS_MAX_TURNS;
    if (b->s.max_wall_ns > ZEROS_MAX_MS * (int64_t)1000000)
        run.deadline_ns = clock_mono_ns() + ZEROS_MAX_MS * (int64_t)1000000;
    int rc = 0;
    for (int i = 0; i < n->lent.n_inputs && rc == 0; i++)
        rc = make_zeros(b, &n->lent.inputs[i], &args[i], &none);
    if (rc == 0)
        rc = run_plan(&run, n, plan, args, NULL, &none);
    for (size_t i = 0; i < n_in; i++)
        rt_tensor_unref(&args[i]);
    rt_run_release(&run);
    rt_session_reset(&b->s);
}

static int
native_plan(struct backend *b, const char *signature, struct buf *json, struct err *err)
{
    struct rt_trace t AUTO(rt_trace_release);
    struct bound *n;
    struct rt_plan *plan;
    rt_trace_init(&t);
    if (rt_bind(b, signature, &n, err) < 0)
        return -(int)err->code;
    size_t n_in = (size_t)n->lent.n_inputs;
    bool *given AUTO(free_ptr) = xcalloc(n_in + 1, sizeof(bool));
    for (size_t i = 0; i < n_in; i++)
        given[i] = true;
    unsigned fpu = rt_fpu_enter();
    int rc = rt_bind_plan(b, n, given, &plan, err);
    if (rc == 0) {
        run_on_zeros(b, n, plan, &t);
        rt_show(b, n, plan, &t, json);
    }
    rt_fpu_leave(fpu);
    return rc;
}

static int
native_reset(struct backend *b, struct err *err)
{
    (void)err;
    rt_session_reset(&b->s);
    return 0;
}

static double
native_load_ms(const struct backend *b)
{
    return b->load_ms;
}

static double
native_run_ms(const struct backend *b)
{
    return b->run_ms;
}

const struct backend_ops rt_backend = {
    .name = "native",
    .load = native_load,
    .signature = native_signature,
    .run = native_run,
    .profile = native_profile,
    .plan = native_plan,
    .watch = native_watch,
    .reset = native_reset,
    .load_ms = native_load_ms,
    .run_ms = native_run_ms,
    .close = native_close,
};
