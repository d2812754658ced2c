/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever can run a SavedModel: the embedded runtime ("native"), any program ("exec"),
 * a running TF Serving ("http"; validate/val_exec.c). A backend is used by one thread
 * at a time; tensors go in borrowed and come out owned. */
#ifndef RUNTIME_BACKEND_H
#define RUNTIME_BACKEND_H

#include "savedmodel/tensor.h"

#define BACKEND_MEMORY_BYTES ((size_t)8 << 30) /* what limits of 0 mean */
#define BACKEND_OUTPUT_BYTES ((size_t)1 << 30)
#define BACKEND_WALL_MS (600 * 1000)

struct backend_args {
    const char *model_dir;
    const char *tags;   /* "serve"; NULL: "serve" */
    const char *where;  /* backend_ops.where */
    int n_threads;      /* 0: the backend's default (1) */
    const char *passes; /* as SLUICE_PLAN, which it overrides; NULL: nothing to say */
    /* Limits; 0: the backend's default. */
    size_t max_memory_bytes;
    int64_t max_wall_ms; /* of one call */
    int64_t max_loop_steps;
    size_t max_output_bytes; /* of one call's outputs; asked in the caller's process */
    /* Asked now and then while a call is waited for: true ends it, and the model's
     * process (ERR_PENDING). NULL: never. The runner's alone. */
    bool (*stop)(void *arg);
    void *stop_arg;
};

struct backend; /* an instance; each implementation has its own */

/* A signature as the backend sees it; lent until close. */
struct backend_tensor {
    const char *key;
    int dtype;
    struct sm_shape shape;
    bool has_default;
};
struct backend_signature {
    const char *key;
    const struct backend_tensor *inputs;
    int n_inputs;
    const struct backend_tensor *outputs;
    int n_outputs;
};

/* Tensors of a run that are to be brought along, ascending: output `at` of event
 * `event` (of an earlier watch of the same run), or its input -1 - at. */
struct backend_place {
    int event, at;
};
/* What one watch brings at most; the rest is left out. */
#define BACKEND_WATCH_BYTES ((size_t)64 << 20)

struct backend_ops {
    const char *name;  /* "native" */
    const char *where; /* the program or address it was asked for; NULL: none */
    bool stateless;    /* nothing lasts from one run to the next: no sequential sets */
    /* Reads, restores and initialises the model. ERR_NOTFOUND, ERR_CORRUPT: files.
     * ERR_UNSUPPORTED: a custom op in the restore or init part. */
    int (*load)(struct backend **out, const struct backend_args *args, struct err *err);
    /* ERR_NOTFOUND lists the signatures there are. */
    int (*signature)(struct backend *b, const char *key,
                     const struct backend_signature **out, struct err *err);
    /* Runs one signature; every output, keys sorted. State that ops change (variables,
     * tables) stays changed until reset. ERR_INVALID: wrong name, dtype or shape of an
     * input. ERR_UNSUPPORTED: names every unsupported op with node and function.
     * ERR_FAILED: the model's own error (an Assert, a bad index). ERR_LIMIT: a limit.
     */
    int (*run)(struct backend *b, const char *signature,
               const struct sm_tensor_list *in, struct sm_tensor_list *out,
               struct err *err);
    /* As run, then n_more runs of the same, each from the state after load. Appends
     * what all of them did to `json` (runtime/rt_trace.h): time, shapes and cost of
     * each step, and when it was. NULL: this backend cannot say. */
    int (*profile)(struct backend *b, const char *signature,
                   const struct sm_tensor_list *in, int n_more,
                   struct sm_tensor_list *out, struct buf *json, struct err *err);
    /* Appends the stages read, bind, restore and plan as JSON (runtime/rt_show.c); the
     * model is run on zeros to learn shapes. NULL: this backend cannot say. */
    int (*plan)(struct backend *b, const char *signature, struct buf *json,
                struct err *err);
    /* As run, and appends every tensor that came to be, as a digest, to `json`
     * (runtime/rt_watch.h). With `places`, nothing is told: those that they name go to
     * `values` under "event:at". An error of the model's is part of what is told. NULL:
     * this backend shows outputs only. */
    int (*watch)(struct backend *b, const char *signature,
                 const struct sm_tensor_list *in, const struct backend_place *places,
                 int n_places, struct sm_tensor_list *values, struct buf *json,
                 struct err *err);
    /* Back to the state right after load. */
    int (*reset)(struct backend *b, struct err *err);
    /* A JSON object {"name", "version", "device"} of what runs there, lent. NULL: this
     * program, on the processor. */
    const char *(*about)(const struct backend *b);
    /* Times of the last load and run, measured inside the backend. */
    double (*load_ms)(const struct backend *b);
    double (*run_ms)(const struct backend *b);
    /* The most memory it has had so far; 0: not known. NULL: this backend cannot say.
     */
    int64_t (*peak_bytes)(const struct backend *b);
    void (*close)(struct backend *b);
};

/* In this process: linked into sluice-runner and the runtime's tests only. */
extern const struct backend_ops rt_backend;
/* The same in a locked-down process of its own (runtime/runner): what everybody else
 * uses. A crash, a hang past max_wall_ms or a memory bomb is ERR_FAILED or ERR_LIMIT
 * that says so; nothing is left running. */
extern const struct backend_ops runner_backend;

#endif
