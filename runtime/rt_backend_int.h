/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the backend "native" share: rt_backend.c (load, run), rt_bind.c
 * (from signatures to the graph and to plans), rt_function.c (from functions),
 * rt_feed.c (what is fed and fetched), rt_show.c (the stages as JSON). */
#ifndef RUNTIME_RT_BACKEND_INT_H
#define RUNTIME_RT_BACKEND_INT_H

#include "runtime/backend.h"
#include "runtime/rt_int.h"

/* A signature, or a function of the model's objects; plans are made for the inputs that
 * are given. */
struct bound {
    struct backend_signature lent;
    struct rt_gref *refs; /* of the inputs; of a signature */
    struct rt_gref *fetches;
    bool *node_default;        /* PlaceholderWithDefault */
    struct str *default_value; /* TensorProto of the signature; p NULL: none */
    struct rt_func *func;      /* a function: takes the inputs, then its captures */
    struct rt_gref *captures;
    int n_captures;
    struct rt_plan *capture_plan; /* gives them */
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
    double read_ms, restore_ms, load_ms, run_ms;
};

/* ---- rt_bind.c ---- */

void bound_free(struct bound *b);
/* The signature of this name, bound when first asked for. */
int rt_bind(struct backend *b, const char *key, struct bound **out,
            struct err *err) MUST_CHECK;
/* The plan for these inputs (those not given are defaults of their own nodes). */
int rt_bind_plan(struct backend *b, struct bound *n, const bool *given,
                 struct rt_plan **out, struct err *err) MUST_CHECK;

/* ---- rt_function.c ---- */

/* "function:NAME", where a signature's key is expected. NAME is an attribute of the
 * root object with one trace, or the name of a concrete function. */
bool rt_is_function_key(const char *key);
/* Fills n, whose key it has. ERR_NOTFOUND lists the functions there are, ERR_INVALID
 * the traces. ERR_UNSUPPORTED: it uses objects that cannot be found in the graph. */
int rt_bind_function(struct backend *b, struct bound *n, struct err *err) MUST_CHECK;

/* ---- rt_feed.c ---- */

/* The arguments of a run (at most n_inputs; the caller unrefs them) and which inputs
 * they are. */
int rt_feed(struct backend *b, struct bound *n, const struct sm_tensor_list *in,
            struct rt_tensor *args, bool *given, struct err *err) MUST_CHECK;
/* Appends what a run gave, under the outputs' keys. */
int rt_fetch(const struct bound *n, struct rt_tensor *outs, struct sm_tensor_list *out,
             struct err *err) MUST_CHECK;

/* ---- rt_show.c ---- */

/* The stages up to the plan as one JSON object. `t` saw a run on zeros, which knows the
 * shapes. */
void rt_show(struct backend *b, const struct bound *n, const struct rt_plan *p,
             const struct rt_trace *t, struct buf *json);

#endif
