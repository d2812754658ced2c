/* SPDX-License-Identifier: Apache-2.0 */
/* The backend "native": binds signatures to plans, checks what is fed, copies what is
 * fetched. */
#include "runtime/backend.h"
#include "runtime/rt_half.h"
#include "runtime/rt_int.h"

#include "base/clock.h"
#include "base/fs.h"

#include <stdlib.h>
#include <unistd.h>

enum { DEFAULT_WALL_MS = 600 * 1000, MAX_THREADS = 64 };
#define DEFAULT_MEMORY_BYTES ((size_t)8 << 30)

/* A signature; plans are made for the inputs that are given. */
struct bound {
    struct backend_signature lent;
    const struct sm_signature *sm;
    struct rt_gref *refs; /* of the inputs */
    struct rt_gref *fetches;
    bool *node_default; /* PlaceholderWithDefault */
    struct bound_plan {
        bool *given;
        struct rt_plan *plan;
        struct bound_plan *next;
    } * plans;
    struct bound *next;
};

struct backend {
    struct sm_model *model;
    char *dir;
    int dirfd;
    struct rt_session s;
    bool open; /* s is */
    struct bound *bound;
    double load_ms, run_ms;
};

static double
ms_since(int64_t begin_ns)
{
    return (double)(clock_mono_ns() - begin_ns) / 1e6;
}

/* ---- load ------------------------------------------------------------------------ */

static void
bound_free(struct bound *b)
{
    while (b->plans) {
        struct bound_plan *p = b->plans;
        b->plans = p->next;
        free(p->given);
        free(p);
    }
    for (int i = 0; i < b->lent.n_inputs; i++)
        free((char *)(uintptr_t)b->lent.inputs[i].key);
    for (int i = 0; i < b->lent.n_outputs; i++)
        free((char *)(uintptr_t)b->lent.outputs[i].key);
    free((void *)(uintptr_t)b->lent.inputs);
    free((void *)(uintptr_t)b->lent.outputs);
    free((char *)(uintptr_t)b->lent.key);
    free(b->refs);
    free(b->fetches);
    free(b->node_default);
    free(b);
}

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
native_load(struct backend **out, const struct backend_args *args, struct err *err)
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
    if (rt_model_read(&s->model, meta, err) < 0 || rt_session_restore(s, err) < 0)
        return -(int)err->code;
    rt_session_snapshot(s);
    b->load_ms = ms_since(begin_ns);
    *out = b;
    b = NULL;
    return 0;
}

/* ---- bind ------------------------------------------------------------------------ */

static char *
dup_str(struct str s)
{
    return xstrndup(s.p ? s.p : "", s.n);
}

enum { GRAPH_VERSIONS = 4, VERSION_PRODUCER = 1, PLACEHOLDER_KNOWS_SCALARS = 24 };

/* What is fed must suit the placeholder itself; a signature may say something else. */
static int
look_at_placeholder(struct backend *b, const struct rt_gnode *n,
                    struct backend_tensor *t, struct err *err)
{
    struct sm_attr a;
    struct sm_shape s = { .unknown_rank = true };
    t->shape = s; /* of another node that is fed nothing is known */
    if (!str_is(n->sm.op, "Placeholder") && !str_is(n->sm.op, "PlaceholderV2") &&
        !str_is(n->sm.op, "PlaceholderWithDefault"))
        return 0;
    if (sm_node_attr(&n->sm, "dtype", &a) && a.kind == SM_ATTR_TYPE)
        t->dtype = (int)a.i;
    if (sm_node_attr(&n->sm, "shape", &a) && a.kind == SM_ATTR_SHAPE &&
        sm_shape_parse(a.bytes, &s, err) < 0)
        return -(int)err->code;
    /* Older graphs have an empty shape where the rank is not known. */
    struct str versions = sm_pb_bytes(b->s.model.meta->graph, GRAPH_VERSIONS);
    if (s.rank == 0 &&
        sm_pb_int(versions, VERSION_PRODUCER, 0) < PLACEHOLDER_KNOWS_SCALARS)
        s.unknown_rank = true;
    t->shape = s;
    return 0;
}

static int
bind_tensors(struct backend *b, const struct sm_signature *sig, bool inputs,
             struct bound *bound, struct err *err)
{
    const struct sm_tensor_info *info = inputs ? sig->inputs : sig->outputs;
    int n = inputs ? sig->n_inputs : sig->n_outputs;
    struct backend_tensor *v = xcalloc((size_t)n + 1, sizeof(v[0]));
    struct rt_gref *refs = xcalloc((size_t)n + 1, sizeof(refs[0]));
    if (inputs) {
        bound->lent.inputs = v;
        bound->refs = refs;
        bound->node_default = xcalloc((size_t)n + 1, sizeof(bool));
    } else {
        bound->lent.outputs = v;
        bound->fetches = refs;
    }
    for (int i = 0; i < n; i++) {
        bool control;
        v[i].key = dup_str(info[i].key);
        *(inputs ? &bound->lent.n_inputs : &bound->lent.n_outputs) = i + 1;
        v[i].dtype = info[i].dtype > SM_REF ? info[i].dtype - SM_REF : info[i].dtype;
        v[i].shape = info[i].shape;
        v[i].has_default = info[i].has_default;
        if (info[i].name.n == 0)
            return err_set(err, ERR_UNSUPPORTED,
                           "%s '%s' is a sparse or composite tensor",
                           inputs ? "input" : "output", v[i].key);
        if (rt_graph_ref(&b->s.model.main, info[i].name, &refs[i], &control, err) < 0)
            return err_ctx(err, "%s '%s'", inputs ? "input" : "output", v[i].key);
        if (inputs && look_at_placeholder(b, &b->s.model.main.nodes[refs[i].node],
                                          &v[i], err) < 0)
            return err_ctx(err, "input '%s'", v[i].key);
        if (inputs &&
            str_is(b->s.model.main.nodes[refs[i].node].sm.op, "PlaceholderWithDefault"))
            bound->node_default[i] = v[i].has_default = true;
    }
    return 0;
}

enum {
    OBJECTS = 1,
    OBJECT_CHILD = 1,
    CHILD_NODE = 1,
    CHILD_NAME = 2,
    OBJECT_FUNCTION = 6
};

/* A model without signatures may have functions as attributes of its root object. */
static int
no_signature(const struct sm_meta *meta, struct err *err)
{
    struct buf names AUTO(buf_release) = BUF_INIT;
    struct str it = meta->object_graph, root, child, node;
    if (err->code != ERR_NOTFOUND || !sm_pb_next_msg(&it, OBJECTS, &root))
        return -(int)err->code;
    for (int i = 0; i < meta->n_signatures; i++)
        if (!sm_signature_hidden(&meta->signatures[i]))
            return -(int)err->code;
    while (sm_pb_next_msg(&root, OBJECT_CHILD, &child) == 1) {
        int64_t want = sm_pb_int(child, CHILD_NODE, 0), at = 0;
        struct str name = sm_pb_bytes(child, CHILD_NAME);
        struct sm_field f;
        for (it = meta->object_graph; sm_pb_next_msg(&it, OBJECTS, &node) == 1; at++)
            if (at == want && sm_pb_get(node, OBJECT_FUNCTION, &f))
                buf_addf(&names, "%s'%.*s'", names.len ? ", " : "", STR_ARG(name));
    }
    if (names.len == 0)
        return -(int)err->code;
    err_clear(err);
    return err_set(err, ERR_NOTFOUND,
                   "the model has no signatures, only functions of its objects: %s",
                   buf_str(&names));
}

static int
bind_signature(struct backend *b, const char *key, struct bound **out, struct err *err)
{
    for (*out = b->bound; *out; *out = (*out)->next)
        if (strcmp((*out)->lent.key, key) == 0)
            return 0;
    const struct sm_signature *sig;
    if (sm_find_signature(b->s.model.meta, key, &sig, err) < 0)
        return no_signature(b->s.model.meta, err);
    struct bound *n = xcalloc(1, sizeof(*n));
    n->lent.key = xstrdup(key);
    n->sm = sig;
    if (bind_tensors(b, sig, true, n, err) < 0 ||
        bind_tensors(b, sig, false, n, err) < 0) {
        bound_free(n);
        return err_ctx(err, "signature '%s'", key);
    }
    n->next = b->bound;
    b->bound = n;
    *out = n;
    return 0;
}

static int
native_signature(struct backend *b, const char *key,
                 const struct backend_signature **out, struct err *err)
{
    struct bound *n;
    if (bind_signature(b, key, &n, err) < 0)
        return -(int)err->code;
    *out = &n->lent;
    return 0;
}

/* The plan for these inputs (those not given are defaults of their own nodes). */
static int
find_plan(struct backend *b, struct bound *n, const bool *given, struct rt_plan **out,
          struct err *err)
{
    size_t n_in = (size_t)n->lent.n_inputs;
    for (struct bound_plan *p = n->plans; p; p = p->next) {
        if (memcmp(p->given, given, n_in * sizeof(bool)) == 0) {
            *out = p->plan;
            return 0;
        }
    }
    struct rt_missing missing AUTO(rt_missing_release) = { .n = 0 };
    struct rt_gref *feeds AUTO(free_ptr) = xcalloc(n_in + 1, sizeof(feeds[0]));
    char *what AUTO(free_ptr) = xasprintf("signature '%s'", n->lent.key);
    struct rt_plan_args a = { .what = n->lent.key,
                              .feeds = feeds,
                              .fetches = n->fetches,
                              .n_fetches = n->lent.n_outputs };
    for (size_t i = 0; i < n_in; i++)
        if (given[i])
            feeds[a.n_feeds++] = n->refs[i];
    pthread_mutex_lock(&b->s.plan_lock);
    int rc = rt_plan_make(out, &b->s, &a, &missing, err);
    pthread_mutex_unlock(&b->s.plan_lock);
    if (rc < 0)
        return err_ctx(err, "%s", what);
    if (missing.n > 0)
        return rt_missing_error(&missing, what, err);
    struct bound_plan *p = xcalloc(1, sizeof(*p));
    p->given = xcalloc(n_in + 1, sizeof(bool));
    memcpy(p->given, given, n_in * sizeof(bool));
    p->plan = *out;
    p->next = n->plans;
    n->plans = p;
    return 0;
}

/* ---- feed ------------------------------------------------------------------------ */

static int
bad_name(const struct bound *n, const char *name, struct err *err)
{
    struct buf keys AUTO(buf_release) = BUF_INIT;
    for (int i = 0; i < n->lent.n_inputs; i++)
        buf_addf(&keys, "%s'%s'", i ? ", " : "", n->lent.inputs[i].key);
    return err_set(err, ERR_INVALID,
                   "'%s' is no input of signature '%s'; its inputs are %s", name,
                   n->lent.key, keys.len ? buf_str(&keys) : "none");
}

/* npz files keep bfloat16 as float32 and quantised integers as plain ones. */
static bool
same_kind(int got, int want)
{
    const struct sm_dtype_info *a = sm_dtype_info(got), *b = sm_dtype_info(want);
    return got == want ||
           (a && b && a->descr && b->descr && strcmp(a->descr, b->descr) == 0) ||
           (got == SM_FLOAT && want == SM_BFLOAT16);
}

static int
check_feed(const struct bound *n, const struct backend_tensor *want,
           const struct sm_tensor *t, struct err *err)
{
    char got_text[RT_SHAPE_TEXT_BYTES], want_text[RT_SHAPE_TEXT_BYTES];
    const struct sm_shape *s = &want->shape;
    if (!same_kind(t->dtype, want->dtype))
        return err_set(err, ERR_INVALID, "input '%s' of signature '%s' is %s, not %s",
                       want->key, n->lent.key, rt_dtype_text(t->dtype),
                       rt_dtype_text(want->dtype));
    bool fits = s->unknown_rank || s->rank == t->rank;
    for (int i = 0; fits && !s->unknown_rank && i < s->rank; i++)
        fits = s->dims[i] < 0 || s->dims[i] == t->dims[i];
    if (fits)
        return 0;
    return err_set(err, ERR_INVALID,
                   "input '%s' of signature '%s' has shape %s, not %s", want->key,
                   n->lent.key, rt_dims_text(t->rank, t->dims, got_text),
                   rt_dims_text(s->rank, s->dims, want_text));
}

/* An argument made from what is fed: lent where it can be. */
static int
make_arg(struct rt_session *s, const struct sm_tensor *t, int dtype,
         struct rt_tensor *out, struct err *err)
{
    struct sm_tensor lent = *t;
    lent.owned = NULL;
    if (dtype == SM_BFLOAT16 && t->dtype == SM_FLOAT) {
        if (rt_tensor_make(out, &s->mem, dtype, t->rank, t->dims, err) < 0)
            return -(int)err->code;
        for (int64_t i = 0; i < t->n_elems; i++)
            ((uint16_t *)out->data)[i] = rt_f32_to_bf16(((const float *)t->data)[i]);
        return 0;
    }
    rt_tensor_from_sm(out, &lent, 0);
    out->dtype = dtype;
    if ((uintptr_t)out->data % (rt_dtype_size(dtype) < 8 ? rt_dtype_size(dtype) : 8) ==
        0)
        return 0;
    struct rt_tensor moved;
    int rc = rt_tensor_deep_copy(&moved, &s->mem, out, err);
    rt_tensor_unref(out);
    if (rc == 0)
        *out = moved;
    return rc;
}

static int
make_default(struct rt_session *s, const struct sm_tensor_info *info,
             struct rt_tensor *out, struct err *err)
{
    if (rt_tensor_from_proto(out, &s->mem, info->default_value, err) < 0)
        return err_ctx(err, "default of input '%.*s'", STR_ARG(info->key));
    return 0;
}

static int
make_args(struct backend *b, struct bound *n, const struct sm_tensor_list *in,
          struct rt_tensor *args, bool *given, struct err *err)
{
    struct buf lacking AUTO(buf_release) = BUF_INIT;
    int at = 0;
    for (int i = 0; i < in->n; i++) {
        bool known = false;
        for (int j = 0; j < n->lent.n_inputs; j++)
            known |= strcmp(n->lent.inputs[j].key, in->v[i].name) == 0;
        if (!known)
            return bad_name(n, in->v[i].name, err);
    }
    for (int j = 0; j < n->lent.n_inputs; j++) {
        const struct backend_tensor *want = &n->lent.inputs[j];
        const struct sm_tensor *t = sm_tensor_list_find(in, want->key);
        int rc = 0;
        given[j] = true;
        if (t) {
            rc = check_feed(n, want, t, err);
            if (rc == 0)
                rc = make_arg(&b->s, t, want->dtype, &args[at], err);
        } else if (n->sm->inputs[j].has_default) {
            rc = make_default(&b->s, &n->sm->inputs[j], &args[at], err);
        } else if (n->node_default[j]) {
            given[j] = false;
        } else {
            buf_addf(&lacking, "%s'%s'", lacking.len ? ", " : "", want->key);
        }
        if (rc < 0)
            return rc;
        at += given[j] && (t || n->sm->inputs[j].has_default);
    }
    if (lacking.len > 0)
        return err_set(err, ERR_INVALID, "signature '%s' also needs input %s",
                       n->lent.key, buf_str(&lacking));
    return 0;
}

/* ---- run ------------------------------------------------------------------------- */

static int
take_outputs(struct bound *n, struct rt_tensor *outs, struct sm_tensor_list *out,
             struct err *err)
{
    for (int i = 0; i < n->lent.n_outputs; i++) {
        struct sm_tensor t = { 0 };
        int dtype = outs[i].dtype;
        if (dtype == SM_RESOURCE || dtype == SM_VARIANT || dtype > SM_REF)
            return err_set(err, ERR_UNSUPPORTED,
                           "output '%s' is a %s, which has no value "
                           "outside the model",
                           n->lent.outputs[i].key, rt_dtype_text(dtype));
        if (rt_tensor_to_sm(&t, &outs[i], err) < 0)
            return err_ctx(err, "output '%s'", n->lent.outputs[i].key);
        sm_tensor_list_add(out, n->lent.outputs[i].key, &t);
    }
    return 0;
}

/* A fetched TF1 reference is fetched as its value. */
static int
read_refs(struct rt_tensor *outs, int n_outs, struct err *err)
{
    static const struct rt_node fetch = { .name = "fetch", .op = "output" };
    for (int i = 0; i < n_outs; i++) {
        struct rt_tensor v;
        if (outs[i].dtype <= SM_REF)
            continue;
        if (rt_ref_read(&fetch, &outs[i], &v, err) < 0)
            return -(int)err->code;
        rt_tensor_unref(&outs[i]);
        outs[i] = v;
    }
    return 0;
}

static int
run_bound(struct backend *b, struct bound *n, const struct sm_tensor_list *in,
          struct sm_tensor_list *out, struct err *err)
{
    size_t n_in = (size_t)n->lent.n_inputs, n_out = (size_t)n->lent.n_outputs;
    struct rt_tensor *args AUTO(free_ptr) = xcalloc(n_in + 1, sizeof(args[0]));
    struct rt_tensor *outs AUTO(free_ptr) = xcalloc(n_out + 1, sizeof(outs[0]));
    bool *given AUTO(free_ptr) = xcalloc(n_in + 1, sizeof(bool));
    struct rt_plan *plan;
    struct rt_run run;
    rt_run_init(&run, &b->s);
    int rc = make_args(b, n, in, args, given, err);
    if (rc == 0)
        rc = find_plan(b, n, given, &plan, err);
    if (rc == 0)
        rc = rt_plan_run(&run, plan, args, outs, err);
    if (rc == 0)
        rc = read_refs(outs, (int)n_out, err);
    if (rc == 0)
        rc = take_outputs(n, outs, out, err);
    for (size_t i = 0; i < n_in; i++)
        rt_tensor_unref(&args[i]);
    for (size_t i = 0; i < n_out; i++)
        rt_tensor_unref(&outs[i]);
    rt_run_release(&run);
    return rc;
}

static int
native_run(struct backend *b, const char *signature, const struct sm_tensor_list *in,
           struct sm_tensor_list *out, struct err *err)
{
    int64_t begin_ns = clock_mono_ns();
    struct bound *n;
    if (bind_signature(b, signature, &n, err) < 0 || run_bound(b, n, in, out, err) < 0)
        return -(int)err->code;
    b->run_ms = ms_since(begin_ns);
    return 0;
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
    .reset = native_reset,
    .load_ms = native_load_ms,
    .run_ms = native_run_ms,
    .close = native_close,
};
