/* SPDX-License-Identifier: Apache-2.0 */
/* Between onednn.c (caches, running) and onednn_make.c (primitives): nobody else calls
 * oneDNN. Rules learnt from it:
 * - A shape whose layout is fixed may have no kernel but "ref", a hundred times slower
 *   (a first convolution of 3 channels on nhwc with AVX2 is one): ask again with layout
 *   `any` and reorder, and never run an implementation whose name says ref.
 * - Weights get layout `any` and are reordered once, when they are constant.
 * - The scratchpad is the caller's (user mode): a primitive then has no state and
 *   several threads may run it at once. */
#ifndef RUNTIME_ONEDNN_INT_H
#define RUNTIME_ONEDNN_INT_H

#include "runtime/onednn.h"

#include <dnnl.h>
#include <pthread.h>

#if DNNL_VERSION_MAJOR != 2
#error "written for oneDNN 2.x: the first section of onednn_make.c needs its 3.x form"
#endif

typedef dnnl_memory_desc_t md_t;

enum { ARG_SRC, ARG_WEIGHTS, ARG_BIAS, ARG_DST, N_ARGS };
enum { OP_CONV, OP_MATMUL };
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
    char kernel[RT_KERNEL_TEXT]; /* the implementation's name */
    int n_reorders;              /* of values, each time it is run */
    dnnl_primitive_t prim;
    md_t user[N_ARGS], md[N_ARGS];    /* the caller's layout, the primitive's */
    dnnl_primitive_t to_prim[N_ARGS]; /* reorders where they differ; NULL: same */
    dnnl_primitive_t dst_back;        /* of dst */
    size_t bytes[N_ARGS], scratch_bytes, user_bytes; /* user_bytes: of weights */
    struct exec *execs;                              /* not in use */
};

/* What one execution is given: oneDNN's memory objects, kept for the next one. */
struct exec {
    struct exec *next;
    int n;
    dnnl_exec_arg_t list[N_ARGS + 1];
    void *at[N_ARGS + 1]; /* where they point */
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

/* Fills p from p->key; p->usable stays false when there is nothing good. */
dnnl_status_t od_make_prim(struct od *od, struct prim *p);

#endif
