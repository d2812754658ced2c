/* SPDX-License-Identifier: Apache-2.0 */
/* What the runtime's core shares between its files. Reading order: rt_mem.c and
 * rt_buf.c (memory), rt_graph.c (read), rt_attr.c, rt_plan.c and rt_emit.c (plan),
 * rt_exec.c (run), rt_flow_plan.c and rt_flow.c (TF1 control flow), rt_var.c and
 * rt_session.c (state and restore), rt_bind.c and rt_feed.c (bind, feed and fetch),
 * rt_backend.c. */
#ifndef RUNTIME_RT_INT_H
#define RUNTIME_RT_INT_H

#include "runtime/rt_kernel.h"

#include <pthread.h>

/* ---- names (rt_names.c) ---------------------------------------------------------- */

/* A hash from borrowed names to ints >= 0. */
struct rt_names {
    struct str *key;
    int *value; /* -1: a free place */
    int n, cap;
};
void rt_names_release(struct rt_names *h);
int rt_names_find(const struct rt_names *h, struct str key); /* -1: absent */
/* Returns the value that is there already, or -1 after adding. */
int rt_names_add(struct rt_names *h, struct str key, int value);

/* The same from addresses. */
struct rt_ptrs {
    const void **key; /* NULL: a free place */
    int *value;
    int n, cap;
};
void rt_ptrs_release(struct rt_ptrs *h);
int rt_ptrs_find(const struct rt_ptrs *h, const void *key); /* -1: absent */
void rt_ptrs_set(struct rt_ptrs *h, const void *key, int value);

/* ---- memory (rt_mem.c, rt_buf.c) ------------------------------------------------- */

#define RT_N_BINS 160
#define RT_N_SMALL 18

/* Memory of a session: counts bytes against a cap, keeps what is free for the next. */
struct rt_mem {
    pthread_mutex_t lock;
    size_t cap_bytes, used_bytes;
    size_t peak_bytes; /* the most that was used at once */
    size_t held_bytes; /* of regions */
    struct rt_region *regions;
    struct rt_buf *bin[RT_N_BINS], *small[RT_N_SMALL]; /* free, by size */
};
void rt_mem_init(struct rt_mem *m, size_t cap_bytes);
void rt_mem_release(struct rt_mem *m);
/* A block for so many bytes with one reference; NULL: the cap would be passed. */
struct rt_buf *rt_mem_take(struct rt_mem *m, size_t size_bytes);
void rt_mem_give(struct rt_buf *b);
/* How much of the regions was ever used; where a block lies, all regions behind one
 * another (-1: in none). */
size_t rt_mem_touched(struct rt_mem *m);
int64_t rt_mem_offset(struct rt_mem *m, const struct rt_buf *b);

enum {
    RT_BUF_RO = 1,
    RT_BUF_WEIGHT = 2,
    RT_BUF_OBJS = 4,
    RT_BUF_MAPPED = 8 /* pages of a file, mapped for reading */
};

struct rt_buf {
    int refs; /* atomic */
    unsigned flags;
    size_t size_bytes; /* of data */
    size_t block_bytes;
    union {
        void *data;
        struct rt_buf *prev_free;
    };
    struct rt_mem *mem;  /* where an own block goes back to; NULL: borrowed data */
    struct rt_buf *next; /* in a bin */
    union {
        void *owned;           /* freed with a borrowed buffer; may be NULL */
        struct rt_buf *before; /* an own one's neighbour: rt_mem.c */
    };
    const struct sm_entry *entry; /* of the checkpoint, whose value this is; or NULL */
};
/* A new block with one reference. ERR_LIMIT "the run would pass N bytes". */
int rt_buf_new(struct rt_buf **out, struct rt_mem *m, size_t size_bytes,
               struct err *err) MUST_CHECK;
/* Read-only, bytes of someone else; `owned` (may be NULL) is freed at the end. */
struct rt_buf *rt_buf_wrap(const void *data, size_t size_bytes, void *owned);
bool rt_buf_writable(const struct rt_buf *b); /* one owner, not read-only */
int rt_tensor_make(struct rt_tensor *out, struct rt_mem *m, int dtype, int rank,
                   const int64_t *dims, struct err *err) MUST_CHECK;
/* ERR_FAILED: negative or too large. */
int rt_dims_count(int dtype, int rank, const int64_t *dims, int64_t *n_elems,
                  struct err *err) MUST_CHECK;
/* A copy that owns all it needs (strings are packed behind the elements). */
int rt_tensor_deep_copy(struct rt_tensor *out, struct rt_mem *m,
                        const struct rt_tensor *t, struct err *err) MUST_CHECK;
/* Takes what t owns (t is zero afterwards); the result is read-only. */
void rt_tensor_from_sm(struct rt_tensor *out, struct sm_tensor *t, unsigned flags);
/* A TensorProto as a weight. A few bytes may stand for a value of any size: ERR_LIMIT
 * when it is larger than m's cap. */
int rt_tensor_from_proto(struct rt_tensor *out, const struct rt_mem *m,
                         struct str proto, struct err *err) MUST_CHECK;
int rt_tensor_to_sm(struct sm_tensor *out, const struct rt_tensor *t,
                    struct err *err) MUST_CHECK;
/* A scalar of a resource or variant; takes the reference. */
int rt_tensor_of_obj(struct rt_tensor *out, struct rt_mem *m, int dtype,
                     struct rt_obj *o, struct err *err) MUST_CHECK;

/* Bytes that go together: strings of a run, everything of a plan. */
struct rt_arena {
    struct rt_chunk *head;
    size_t used, cap; /* of the head */
};
void *rt_arena_alloc(struct rt_arena *a, size_t size_bytes, size_t align);
void rt_arena_release(struct rt_arena *a);
size_t rt_arena_bytes(const struct rt_arena *a);

/* ---- graphs (rt_graph.c) --------------------------------------------------------- */

/* Where an input comes from: output `out` of a node, or (node < 0) argument -1 - node.
 */
struct rt_gref {
    int node, out;
};

struct rt_gnode {
    struct sm_node sm;
    const char *name, *op;        /* NUL-terminated, in the session's arena */
    const struct rt_op_def *def;  /* NULL: not in ops.def */
    const struct rt_func *callee; /* a direct call by the function's name */
    struct rt_gref *in;           /* n_in data inputs, then n_ctrl control inputs */
    int n_in, n_ctrl, n_out;
    bool known;             /* name, op, def, callee, n_out are set */
    bool linked;            /* in is set too */
    struct rt_tensor konst; /* Const: its value, once somebody asked */
    bool has_konst;
};

/* The main graph, or a function's body. */
struct rt_graph {
    struct rt_model *model;
    struct rt_func *func; /* NULL: the main graph */
    struct rt_gnode *nodes;
    int n_nodes;
    struct rt_names names; /* to node */
    bool has_flow;         /* holds TF1 control flow */
};

struct rt_func {
    struct rt_graph g;
    struct sm_function sm;
    const char *name;
    struct rt_names args; /* to argument */
    int n_args, n_rets, n_effects;
    struct rt_gref *rets;
    int *effects; /* nodes that must run whatever is fetched */
    struct str *ret_names;
    struct sm_arg *arg_defs, *ret_defs;
    bool read, broken;
    struct rt_plan *plan; /* made when first needed; owned by the session */
    char *missing;        /* lines of rt_missing that its plan brought, or NULL */
};

/* A MetaGraph: its graph and library. Nodes are linked when first reached; after that
 * only read. Built under the session's lock. */
struct rt_model {
    const struct sm_meta *meta;
    struct rt_names ops; /* to ops.def's index */
    struct rt_graph main;
    struct rt_func *funcs;
    int n_funcs;
    struct rt_names func_names;
    struct rt_arena arena;
};
int rt_model_read(struct rt_model *m, const struct sm_meta *meta,
                  struct err *err) MUST_CHECK;
void rt_model_release(struct rt_model *m);
/* NULL: no such function. The body is read by rt_func_read. */
struct rt_func *rt_model_func(struct rt_model *m, struct str name);
int rt_func_read(struct rt_func *f, struct err *err) MUST_CHECK;
/* Resolves the inputs of a node. ERR_CORRUPT: names what it does not find. */
int rt_gnode_link(struct rt_graph *g, int node, struct err *err) MUST_CHECK;
/* "name:k" or "name" of the main graph. ERR_CORRUPT or ERR_NOTFOUND. */
int rt_graph_ref(struct rt_graph *g, struct str ref, struct rt_gref *out, bool *control,
                 struct err *err) MUST_CHECK;

extern const struct rt_op_def rt_op_defs[]; /* rt_ops.c, from ops.def */
extern const int rt_n_op_defs;
/* The function a node calls (attr "f", or its own op name); NULL: none. */
struct rt_func *rt_gnode_callee(struct rt_graph *g, const struct rt_gnode *n);

/* ---- plans (rt_plan.c, rt_emit.c) ------------------------------------------------ */

struct rt_plan_mem {
    struct rt_arena arena;
    struct rt_drop {
        void (*drop)(void *);
        void *arg;
        struct rt_drop *next;
    } * drops;
};

struct rt_step {
    struct rt_node node;
    rt_run_fn *run;
    const int *in;        /* slot of each input; >= 0 frame, < 0 constant -1 - i */
    const int *out;       /* slot of each output; -1: nobody wants it */
    const uint8_t *check; /* per input: letter of ops.def */
    uint64_t may_forward;
    bool reads_ref; /* some input is a TF1 reference to be read first */
    bool checked;   /* inputs' dtypes need a look */
    /* Slots that die with this step. */
    const int *dead;
    int n_dead;
};

#define RT_MAX_PASSES 8

struct rt_plan {
    const char *what; /* "signature 'serving_default'", "function 'f'" */
    struct rt_plan_mem mem;
    struct rt_step *steps;
    int n_steps;
    struct rt_tensor *consts;
    int n_consts;
    int n_slots, max_in, max_out;
    int n_inputs;       /* slots 0 … n_inputs - 1 are the arguments */
    const int *outputs; /* slot of each output, as in rt_step.in */
    int n_outputs;
    const int *dead_inputs; /* arguments nobody reads */
    int n_dead_inputs;
    struct rt_flow_plan *flow; /* not NULL: run by rt_flow.c */
    struct rt_rnn *rnn;        /* as the body of a While it is this layer */
    struct rt_rnn_cond *rnn_cond;
    bool writes;    /* some step, or a function it calls, writes variables */
    bool frozen;    /* values of variables are among the constants … */
    uint64_t epoch; /* … as they were at this epoch of the session */
    int n_drafts;   /* what the passes found: steps, some of which nobody needs */
    int n_fired[RT_MAX_PASSES]; /* per pass: how often it found something, here or in a
                                   function */
    struct rt_arena strings;    /* of constants that were folded */
    pthread_mutex_t lock;
    struct rt_frame *free_frames;
};

/* What a plan is made from: a function, or fetches and targets of the main graph. */
struct rt_plan_args {
    const char *what;
    const struct rt_func *func; /* NULL: the main graph, with the rest */
    const struct rt_gref *feeds;
    int n_feeds;
    const struct rt_gref *fetches;
    int n_fetches;
    const int *targets; /* nodes to run */
    int n_targets;
};
/* Ops that were wanted and are not there, collected over a plan and its functions: a
 * line each. */
struct rt_missing {
    struct buf lines;
    int n;
};
/* The plan is the session's. Ops that are missing are collected in `missing`; then
 * *out may be a plan that must not be run. */
/* Whether its constants are still what the variables hold. */
bool rt_plan_holds(const struct rt_plan *p, const struct rt_session *s);
int rt_plan_make(struct rt_plan **out, struct rt_session *s,
                 const struct rt_plan_args *a, struct rt_missing *missing,
                 struct err *err) MUST_CHECK;
void rt_plan_free(struct rt_plan *p);
/* For prepare functions of If, While …: the plan of a function. NULL: p->err is set. */
struct rt_plan *rt_prep_function(struct rt_prep *p, const char *attr);
/* The same for attrs that hold a list of functions (Case). */
struct rt_plan **rt_prep_functions(struct rt_prep *p, const char *attr, int *n);
/* Fails when the plan does not take n_in arguments and give the node's outputs. */
int rt_prep_counts(struct rt_prep *p, const struct rt_plan *plan, int n_in);
/* ERR_UNSUPPORTED: "signature 'x' needs what this runtime does not have: Op (node 'n'),
 * …" */
int rt_missing_error(const struct rt_missing *m, const char *what, struct err *err);
/* Adds lines that are not there yet; NULL allowed. */
void rt_missing_add(struct rt_missing *m, const char *lines);
void rt_missing_release(struct rt_missing *m);

/* ---- passes (rt_pass.c) ---------------------------------------------------------- */

/* SLUICE_PLAN: all passes; "none" takes all away, "name" adds one, "-name" takes one
 * away, from left to right. NULL: all. ERR_INVALID names what is no pass. */
int rt_passes_parse(const char *text, unsigned *out, struct err *err) MUST_CHECK;
const char *rt_pass_name(int i); /* NULL: there are no more */

/* ---- runs (rt_exec.c, rt_flow.c) ------------------------------------------------- */

struct rt_frame {
    struct rt_frame *next;
    struct rt_tensor *slots;
    struct rt_tensor *out;       /* max_out, for one step */
    const struct rt_tensor **in; /* max_in, for one step */
    struct rt_tensor *deref;     /* max_in: values of references */
};

struct rt_run {
    struct rt_session *session;
    struct rt_arena strings;
    size_t string_bytes;
    int64_t deadline_ns; /* monotonic; 0: none */
    int64_t steps_left;  /* loop iterations; < 0: no limit */
    int depth;           /* of function calls */
    unsigned tick;
    struct rt_trace *trace; /* rt_trace.h; NULL: nobody asked */
    struct rt_watch *watch; /* rt_watch.h; NULL: nobody watches */
};
void rt_run_init(struct rt_run *r, struct rt_session *s);
void rt_run_release(struct rt_run *r);
/* Runs a plan. `args` are taken (zero afterwards, also after a failure); `outs` get
 * owned values, or stay zero after a failure. */
int rt_plan_run(struct rt_run *r, struct rt_plan *p, struct rt_tensor *args,
                struct rt_tensor *outs, struct err *err) MUST_CHECK;
int rt_flow_run(struct rt_run *r, struct rt_plan *p, struct rt_tensor *args,
                struct rt_tensor *outs, struct err *err) MUST_CHECK;
/* One step with its inputs at hand: dtype checks, references read, kernel, outputs
 * looked at. `out` is zero before and after a failure. */
int rt_step_run(struct rt_run *r, const struct rt_step *s, const struct rt_tensor **in,
                struct rt_tensor *deref, struct rt_tensor *out,
                struct err *err) MUST_CHECK;
/* One more turn of a loop: ERR_LIMIT when there were too many, or it is too late. */
int rt_run_turn(struct rt_run *r, const struct rt_node *n, struct err *err) MUST_CHECK;
int rt_run_poll(struct rt_run *r, const struct rt_node *n, struct err *err) MUST_CHECK;
/* The variable behind a reference, and the value of one, with a reference of its own.
 */
int rt_ref_read(const struct rt_node *n, const struct rt_tensor *ref,
                struct rt_tensor *out, struct err *err) MUST_CHECK;

/* ---- sessions (rt_session.c) ----------------------------------------------------- */

/* State that outlives a run: variables, tables. `type` begins as every object's does.
 */
struct rt_state_type {
    struct rt_obj_type obj;
    /* The value as it is now, for a later reset; drop frees what save gave. */
    void *(*save)(struct rt_obj *o);
    void (*load)(struct rt_obj *o, const void *saved); /* NULL: as newly made */
    void (*drop)(void *saved);
};
struct rt_state {
    char *key; /* "Variable/container/name" */
    struct rt_obj *obj;
    void *saved;
};

struct rt_pool; /* threads */

struct rt_session {
    struct rt_mem mem;
    pthread_mutex_t lock;      /* state, slots */
    pthread_mutex_t plan_lock; /* model, plans: held by who makes a plan */
    struct rt_model model;
    struct rt_state *state;
    int n_state;
    struct rt_names state_names;
    struct rt_plan **plans;
    int n_plans, plan_depth;
    int n_threads;
    struct rt_pool *pool;
    int64_t max_wall_ns, max_loop_steps;
    unsigned passes; /* bits of rt_pass.def that are on */
    uint64_t epoch;  /* atomic: how often a variable was written that a plan has as a
                        constant */
    void *slot[RT_SLOT_END];
    void (*slot_drop[RT_SLOT_END])(void *);
    /* The model's own files. */
    int dirfd;
    const char *dir;
    struct sm_bundle *bundle; /* once somebody asked */
    struct buf checkpoint;    /* the prefix RestoreV2 is given */
    bool loading;             /* restore and init ops are run */
    struct str ran[2];        /* their names; borrowed from the graph's bytes */
    int n_ran;
    bool lacks_checkpoint; /* there is a restore op, and nothing to restore */
};
/* `dirfd` and `dir` are borrowed. Model, memory and limits are filled by the caller. */
void rt_session_init(struct rt_session *s, int dirfd, const char *dir);
void rt_session_release(struct rt_session *s);
/* The object under this key, made by make(arg) when there is none; a reference of its
 * own. */
struct rt_obj *rt_session_state(struct rt_session *s, const char *kind,
                                const char *container, const char *name,
                                struct rt_obj *(*make)(void *arg), void *arg);
/* The model's checkpoint, opened when first asked for. */
int rt_session_bundle(struct rt_session *s, struct sm_bundle **out,
                      struct err *err) MUST_CHECK;
/* Appends a file of the model ("<dir>/assets/…"). ERR_UNSUPPORTED: another file. */
int rt_session_read(struct rt_session *s, struct str path, struct buf *out,
                    struct err *err) MUST_CHECK;
struct rt_session *rt_prep_session(const struct rt_prep *p);
/* Runs the model's restore and init ops. */
int rt_session_restore(struct rt_session *s, struct err *err) MUST_CHECK;
void rt_session_snapshot(struct rt_session *s);
void rt_session_reset(struct rt_session *s);

/* The object of `type` in the resource, variant or reference input i. ERR_FAILED names
 * what is there instead. Lent by the input. */
struct rt_obj *rt_in_obj(const struct rt_ctx *ctx, int i,
                         const struct rt_obj_type *type, struct err *err);
/* A value as a state may keep it beyond the run: shared when it may be, else copied. */
int rt_keep_tensor(struct rt_session *s, struct rt_tensor *out,
                   const struct rt_tensor *t, struct err *err) MUST_CHECK;

/* ---- variables (rt_var.c) -------------------------------------------------------- */

struct rt_var {
    struct rt_obj obj;
    pthread_mutex_t lock;
    char *name;
    int dtype;
    struct rt_tensor value; /* zero while it has none */
    bool shared_place;      /* a TF1 reference that a run writes: see rt_var_share */
    bool written;           /* since the model was loaded: no constant any more */
    bool frozen;            /* some plan has its value as a constant */
    struct rt_session *session;
};
extern const struct rt_state_type rt_var_type;
/* TF1 writes a reference in place, and who has read it before sees it change. From now
 * on the variable does so: its value is copied to a place of its own. */
int rt_var_share(struct rt_var *v, struct err *err) MUST_CHECK;
struct rt_var *rt_var_find(struct rt_session *s, const char *container,
                           const char *name, int dtype);
/* A reference to the value, never seen to change. ERR_FAILED with TensorFlow's words
 * when it has none. */
int rt_var_read(struct rt_var *v, const struct rt_node *n, struct rt_tensor *out,
                struct err *err) MUST_CHECK;
/* The same for a plan's constant; false: it is written now and then, or has none. */
bool rt_var_freeze(struct rt_var *v, struct rt_tensor *out);
/* To be called, under v->lock, by who writes it. */
void rt_var_written(struct rt_var *v);
int rt_var_assign(struct rt_var *v, const struct rt_tensor *t,
                  struct err *err) MUST_CHECK;
/* Calls fn with the value, writable in place (copied before when others hold it). */
typedef int rt_var_fn(struct rt_ctx *ctx, struct rt_tensor *value, void *arg,
                      struct err *err);
int rt_var_edit(struct rt_ctx *ctx, struct rt_var *v, rt_var_fn *fn, void *arg,
                struct err *err) MUST_CHECK;

/* dst[i] = dst[i] op src[i * src_step] for n elements; false: not with this dtype. */
enum rt_update { RT_SET, RT_ADD, RT_SUB, RT_MUL, RT_DIV, RT_MIN, RT_MAX };
bool rt_update_divides(int dtype, const void *src, int64_t n); /* false: an integer 0 */
bool rt_update(enum rt_update op, int dtype, void *dst, const void *src, int64_t n,
               int src_step);

/* TensorFlow flushes denormals to zero, in and out, while it runs a graph. Returns what
 * was before, for rt_fpu_leave; threads that are made meanwhile inherit it. */
static inline unsigned
rt_fpu_enter(void)
{
#if defined(__x86_64__)
    unsigned was = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(was | 0x8040u);
    return was;
#elif defined(__aarch64__)
    uint64_t was;
    __asm__ volatile("mrs %0, fpcr" : "=r"(was));
    __asm__ volatile("msr fpcr, %0" : : "r"(was | 1u << 24));
    return (unsigned)was;
#else
    return 0;
#endif
}

static inline void
rt_fpu_leave(unsigned was)
{
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr(was);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)was));
#else
    (void)was;
#endif
}

/* ---- threads (rt_pool.c) --------------------------------------------------------- */

struct rt_pool *rt_pool_new(int n_threads); /* NULL for 1 */
void rt_pool_free(struct rt_pool *p);
void rt_pool_for(struct rt_pool *p, int64_t n, int64_t grain,
                 void (*fn)(void *arg, int64_t begin, int64_t end), void *arg);

#endif
