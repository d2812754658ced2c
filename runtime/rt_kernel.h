/* SPDX-License-Identifier: Apache-2.0 */
/* The contract between the core of the runtime and its kernels (runtime/ops/).
 *
 * A kernel is two functions named in runtime/ops.def:
 *   prepare (optional, once a node and plan): reads attributes, keeps what run needs in
 *     memory of the plan. A plan is immutable and shared by threads: run never writes
 * it. run (once a step): reads ctx->in, sets every ctx->out. The answers, errors
 * included, are TensorFlow's on CPU. The model's own error (bad index, shapes that do
 * not fit, integer division by zero) is ERR_FAILED with TensorFlow's wording; a dtype
 * or attribute combination that we lack is ERR_UNSUPPORTED; memory is ERR_LIMIT (set by
 * the allocators here). A kernel trusts: the number of inputs and their dtypes as its
 * ops.def line tells them, data not NULL, n_elems = product of dims >= 0. It trusts
 * nothing else: ranks, sizes, values of index tensors, attributes are foreign. */
#ifndef RUNTIME_RT_KERNEL_H
#define RUNTIME_RT_KERNEL_H

#include "savedmodel/savedmodel.h"

#include <string.h>

/* ---- tensors and buffers ------------------------------------------------------------
 */

struct rt_buf; /* reference counted (atomically) memory */

/* A dense row-major value. Elements: as in NumPy; SM_BOOL is uint8_t 0 or 1; SM_HALF
 * and SM_BFLOAT16 are uint16_t (rt_half.h); SM_STRING is struct str; SM_RESOURCE and
 * SM_VARIANT are struct rt_obj * (NULL allowed in a variant). `data` may lie inside its
 * buffer: only the element's own alignment is sure. Buffers made by rt_out begin on a
 * 64-byte boundary and are readable to the next multiple of 64. */
struct rt_tensor {
    int dtype;
    int rank;
    int64_t dims[SM_MAX_RANK];
    int64_t n_elems; /* product of dims; 1 for rank 0 */
    void *data;
    struct rt_buf *buf; /* holds `data`; this tensor owns one reference */
};

size_t rt_dtype_size(int dtype); /* bytes of an element in memory; 0: unknown dtype */
/* In bytes. */
static inline size_t
rt_size(const struct rt_tensor *t)
{
    return (size_t)t->n_elems * rt_dtype_size(t->dtype);
}
static inline bool
rt_same_shape(const struct rt_tensor *a, const struct rt_tensor *b)
{
    return a->rank == b->rank &&
           (a->rank == 0 ||
            memcmp(a->dims, b->dims, (size_t)a->rank * sizeof(a->dims[0])) == 0);
}
/* "[3,1]", as TensorFlow's messages write shapes. */
#define RT_SHAPE_TEXT_BYTES 260
const char *rt_shape_text(const struct rt_tensor *t, char out[RT_SHAPE_TEXT_BYTES]);
const char *rt_dims_text(int rank, const int64_t *dims, char out[RT_SHAPE_TEXT_BYTES]);
/* "float", "int32": dtypes as TensorFlow's messages write them. */
const char *rt_dtype_text(int dtype);

void rt_buf_ref(struct rt_buf *b);
void rt_buf_unref(struct rt_buf *b); /* NULL allowed */
/* *out = t with a reference of its own. */
void rt_tensor_ref(struct rt_tensor *out, const struct rt_tensor *t);
void rt_tensor_unref(struct rt_tensor *t); /* all zero afterwards */
/* True for weights: constants and values of variables, which a session sees again and
 * again. Whoever caches something made from such a buffer (a reordered weight) uses the
 * buffer's address as its key and holds a reference: then neither bytes nor address
 * change while the entry lives, because a buffer is only written when it has one owner.
 */
bool rt_buf_is_weight(const struct rt_buf *b);
/* These bytes of a weight were copied and will hardly be read again: where they are
 * pages of a file, memory need not hold them. */
void rt_buf_untouch(const struct rt_buf *b, const void *data, size_t size_bytes);

/* ---- objects: variables, tables, lists ----------------------------------------------
 */

struct rt_obj;
struct rt_obj_type {
    const char *name; /* "TensorList", for messages */
    void (*free)(struct rt_obj *o);
};
struct rt_obj {
    const struct rt_obj_type *type;
    int refs; /* atomic */
};
void rt_obj_init(struct rt_obj *o, const struct rt_obj_type *type); /* one reference */
struct rt_obj *rt_obj_ref(struct rt_obj *o); /* NULL allowed, as below */
void rt_obj_unref(struct rt_obj *o);
bool rt_obj_shared(const struct rt_obj *o); /* more than one reference: copy to write */

/* ---- nodes ----------------------------------------------------------------------- */

struct rt_op_def;  /* a line of ops.def */
struct rt_session; /* a loaded model: state, threads, memory */
struct rt_run;     /* one run of a plan: frame, deadline, strings */

/* A node of a plan; immutable once prepared. */
struct rt_node {
    const char *name;  /* "block/conv1" */
    const char *op;    /* "Conv2D" */
    const char *func;  /* the function it sits in; NULL: the graph */
    const char *group; /* ops whose work it does, "Conv2D+Relu"; NULL: its own only */
    const char *gives; /* the node whose value it makes; "": nobody's; NULL: its own */
    const struct rt_op_def *def;
    int n_in, n_out;
    void *state; /* what prepare made, or NULL */
};

/* ---- prepare --------------------------------------------------------------------- */

/* The getters return the attribute's value, or `fallback` when the node does not have
 * it (saved models leave out defaults). A malformed attribute, or one of another kind,
 * sets p->err (the first failure stays) and gives the fallback; so prepare may read all
 * its attributes and `return rt_prep_done(p)`. */
struct rt_prep {
    struct rt_node *node; /* prepare sets node->state */
    struct err *err;
    struct rt_plan_mem *mem;  /* the rest is the core's */
    const struct sm_node *sm; /* the NodeDef */
    const void *core;
};
#define RT_REQUIRED                                                                    \
    INT64_MIN /* as the fallback of rt_attr_int or _type: absent is an error */
int64_t rt_attr_int(struct rt_prep *p, const char *name, int64_t fallback);
bool rt_attr_bool(struct rt_prep *p, const char *name, bool fallback);
float rt_attr_float(struct rt_prep *p, const char *name, float fallback);
int rt_attr_type(struct rt_prep *p, const char *name,
                 int64_t fallback); /* base dtype */
/* NUL-terminated copy in plan memory. fallback NULL: absent is an error (gives ""). */
const char *rt_attr_str(struct rt_prep *p, const char *name, const char *fallback);
/* Lists: pointers into plan memory; *n = 0 and NULL when absent or empty. */
const int64_t *rt_attr_ints(struct rt_prep *p, const char *name, int *n);
const float *rt_attr_floats(struct rt_prep *p, const char *name, int *n);
const int *rt_attr_types(struct rt_prep *p, const char *name, int *n);
const struct str *rt_attr_strs(struct rt_prep *p, const char *name, int *n);
const struct sm_shape *rt_attr_shapes(struct rt_prep *p, const char *name, int *n);
/* Absent: unknown rank. */
struct sm_shape rt_attr_shape(struct rt_prep *p, const char *name);
bool rt_attr_has(struct rt_prep *p, const char *name);

/* Zeroed memory that lives as long as the plan. */
void *rt_prep_alloc(struct rt_prep *p, size_t size_bytes);
/* Calls drop(arg) when the plan goes. */
void rt_prep_on_free(struct rt_prep *p, void (*drop)(void *), void *arg);
/* The value of input i when the plan knows it is constant, else NULL. */
const struct rt_tensor *rt_prep_const(struct rt_prep *p, int i);
/* Sets p->err unless it is set: "node 'x' (Op): …"; returns -code. */
int rt_prep_fail(struct rt_prep *p, enum err_code code, const char *fmt, ...)
    PRINTF(3, 4);
/* 0, or -code when something above failed. */
int rt_prep_done(const struct rt_prep *p);

/* ---- run ------------------------------------------------------------------------- */

struct rt_ctx {
    const struct rt_node *node;
    const struct rt_tensor *const *in; /* node->n_in of them; lent */
    struct rt_tensor *out;             /* node->n_out, all zero before */
    struct rt_session *session;
    struct rt_run *run;
    uint64_t may_forward; /* bit i: nobody else uses in[i]'s value after this step */
    void *scratch;        /* the core's: list of scratch blocks */
};

/* Allocates output i; *y = &ctx->out[i], its elements uninitialised (strings and
 * objects: zeroed). ERR_FAILED: a negative dimension or overflow ("…"). ERR_LIMIT: "the
 * run would pass N bytes". */
int rt_out(struct rt_ctx *ctx, int i, int dtype, int rank, const int64_t *dims,
           struct rt_tensor **y, struct err *err) MUST_CHECK;
/* As rt_out, but takes over the buffer of in[from] where it fits (nobody else reads it,
 * it is writable, and has as many bytes): then y->data == in[from]->data, to be written
 * in place. Not for kernels that read an input element after writing its place. */
int rt_out_reuse(struct rt_ctx *ctx, int i, int from, int dtype, int rank,
                 const int64_t *dims, struct rt_tensor **y, struct err *err) MUST_CHECK;
/* Output i is `t`'s memory from byte `offset` on under another shape (and dtype of the
 * same kind): no copy. n elements times their size must lie inside t. */
void rt_out_alias(struct rt_ctx *ctx, int i, const struct rt_tensor *t, size_t offset,
                  int dtype, int rank, const int64_t *dims);
/* Output i is the same value as t. */
void rt_out_same(struct rt_ctx *ctx, int i, const struct rt_tensor *t);
/* Output i is a scalar resource or variant holding o, whose reference it takes. */
int rt_out_obj(struct rt_ctx *ctx, int i, int dtype, struct rt_obj *o,
               struct err *err) MUST_CHECK;
/* A tensor outside the outputs (the caller unrefs it); as rt_out otherwise. */
int rt_tensor_new(struct rt_ctx *ctx, struct rt_tensor *out, int dtype, int rank,
                  const int64_t *dims, struct err *err) MUST_CHECK;
/* 64-byte aligned memory, uninitialised, gone when run returns. NULL with err set. */
void *rt_scratch(struct rt_ctx *ctx, size_t size_bytes, struct err *err);

/* Bytes for a string element: they live as long as the run. NULL with err set.
 * Strings of inputs may be used in outputs without a copy (whole or in part). */
char *rt_str_alloc(struct rt_ctx *ctx, size_t n, struct err *err);
int rt_str_dup(struct rt_ctx *ctx, struct str s, struct str *out,
               struct err *err) MUST_CHECK;

/* "node 'block/conv1' (Conv2D): …" (", function 'f'" when it sits in one). Returns
 * -code. */
int rt_fail(const struct rt_ctx *ctx, struct err *err, enum err_code code,
            const char *fmt, ...) PRINTF(4, 5);
/* ERR_UNSUPPORTED naming the dtype. */
int rt_fail_dtype(const struct rt_ctx *ctx, struct err *err, int dtype);
/* ERR_LIMIT when the deadline has passed; kernels that may take seconds ask now and
 * then. */
int rt_poll(const struct rt_ctx *ctx, struct err *err) MUST_CHECK;

/* For who traces the run: which implementation of a library does this step, and how
 * many values it had to bring into another layout. Both last as long as the run. */
#define RT_KERNEL_TEXT 48
void rt_note_kernel(const struct rt_ctx *ctx, const char *kernel, int n_reorders);

/* fn(arg, begin, end) over [0, n), in pieces on the run's threads when n is above
 * `grain`; returns when all is done. One thread: one call. fn must not allocate by ctx.
 */
void rt_parallel_for(struct rt_ctx *ctx, int64_t n, int64_t grain,
                     void (*fn)(void *arg, int64_t begin, int64_t end), void *arg);
int rt_n_threads(const struct rt_ctx *ctx);

/* One object per session and slot, made when first asked for (thread safe), dropped
 * with the session. */
enum rt_slot { RT_SLOT_ONEDNN, RT_SLOT_RNN, RT_SLOT_END };
void *rt_session_slot(struct rt_ctx *ctx, enum rt_slot slot,
                      void *(*make)(int n_threads), void (*drop)(void *));

/* Element i of an int32 or int64 tensor ("i" in ops.def). */
static inline int64_t
rt_int_at(const struct rt_tensor *t, int64_t i)
{
    return t->dtype == SM_INT32 ? ((const int32_t *)t->data)[i]
                                : ((const int64_t *)t->data)[i];
}

/* ---- the table ------------------------------------------------------------------- */

enum {
    RT_PURE = 0, /* same inputs, same outputs; may be folded, merged, dropped */
    RT_STATEFUL =
        1 << 0, /* reads or writes state, or draws random numbers: order kept */
    RT_CONTROL = 1 << 1, /* known to the planner by name; has no kernel of its own */
    RT_REFUSED = 1 << 2, /* touches the world: refused by policy */
    RT_NOFOLD = 1 << 3,  /* pure, but not to be made a constant */
    RT_ALIAS = 1 << 4, /* output i is the value of input i: the planner passes it on */
    RT_REF = 1 << 5,   /* outputs are TF1 references (state family only) */
};

typedef int rt_run_fn(struct rt_ctx *ctx, struct err *err);
typedef int rt_prepare_fn(struct rt_prep *p);

/* `in`: a letter per input, checked before each run.
 *   T U W  a type variable: inputs with the same letter have the same dtype
 *   .      any dtype (the kernel looks)
 *   i      int32 or int64        I int32   L int64   F float   D double
 *   S string   B bool   R resource   V variant   & a TF1 reference (state family only)
 *   X*     zero or more of X (one star in a line): "T*i" is ConcatV2
 * A TF1 reference given to any other letter is read first: kernels see its value.
 * `out`: names of the OpDef's output arguments, comma separated, in order; each is one
 * tensor, or "name*N" as many as int attr N says, or "name@Tout" as many as the list of
 * types has. (Function bodies name outputs by them.) "" when there is none. */
struct rt_op_def {
    const char *name;
    const char *in;
    const char *out;
    rt_run_fn *run;
    rt_prepare_fn *prepare;
    unsigned flags;
};

/* Hot loops may be compiled for several instruction sets, chosen when the program
 * starts; put it before a static function's return type. RT_SIMD_ONLY: for this one
 * alone, so that each can be tested (make check-simd). */
#ifdef RT_SIMD_ONLY
#define RT_SIMD __attribute__((target(RT_SIMD_ONLY)))
#elif defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) &&               \
    !defined(__SANITIZE_ADDRESS__)
#define RT_SIMD __attribute__((target_clones("arch=x86-64-v4", "avx2", "default")))
#else
#define RT_SIMD
#endif

#endif
