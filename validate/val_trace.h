/* SPDX-License-Identifier: Apache-2.0 */
/* Two runs of one case, tensor by tensor: read (val_trace_read.c), set side by side
 * (val_trace_match.c), compared and told (val_trace.c, val_trace_tell.c). */
#ifndef VALIDATE_VAL_TRACE_H
#define VALIDATE_VAL_TRACE_H

#include "validate/val_int.h"

enum { TR_SIDES = 2 }; /* it, and what it is held against */

enum tr_state {
    TR_ALONE,  /* the other side has no such tensor */
    TR_OPAQUE, /* no value to compare: a resource, a list */
    TR_SAME,   /* bit by bit */
    TR_WITHIN, /* the tolerance */
    TR_PARTS,
    TR_UNSEEN, /* not the same; its values were too many to be looked at */
    TR_N_STATES
};

struct tr_tensor {
    int dtype;
    struct sm_shape shape;
    size_t size_bytes; /* 0: strings, whose size is not known */
    uint64_t digest;
    int64_t n_elems, n_nan;
    enum tr_state state;
};

/* From where an input comes; the numbers of runtime/rt_watch.h. */
enum tr_from { TR_UNKNOWN, TR_FEED, TR_MADE, TR_HELD, TR_OBJECT, TR_N_FROM };
struct tr_in {
    enum tr_from from;
    int a, b; /* TR_MADE: output b of event a; else the a-th feed, held or object */
};

struct tr_step {
    const char *node, *op, *function; /* function "": the graph */
    const char *gives;                /* NULL: its own value */
    const cJSON *labels;              /* of its inputs, as the graph calls them */
};
/* A step that was run. */
struct tr_event {
    int step, turn;
    int within; /* the event in whose function or loop it was run; -1: none */
    int end;    /* how many had ended before; -1: it failed */
    int first_out, n_out, first_in, n_in;
    int twin;      /* the event of the other side; -1: none */
    bool by_place; /* found by its place in the graph, not by its name */
    bool fed;      /* what it makes depends on what was fed */
};
struct tr_held {
    const char *name, *key; /* "" when it has none */
    struct tr_tensor t;
};
struct tr_output {
    const char *key;
    struct tr_in in;
};

/* A run as it was seen. Inputs of an event are older events. */
struct tr_run {
    cJSON *doc; /* owns the texts */
    struct tr_step *steps;
    int n_steps;
    struct tr_event *events;
    int n_events;
    int *order; /* of those that ended, as they did */
    int n_order;
    struct tr_tensor *tensors;
    int n_tensors;
    struct tr_in *in;
    int n_in;
    struct tr_held *held;
    int n_held;
    struct tr_output *outputs;
    int n_outputs;
    int n_lost; /* events that were too many */
    const char *error;
};
/* ERR_CORRUPT: this is not what a runner says. */
int tr_read(struct tr_run *out, struct str json, struct err *err) MUST_CHECK;
void tr_release(struct tr_run *r);

/* Sets the twins: by name (of the function without its number, of the node, and the
 * turn of each loop around it); then by structure, from what is fed on; then along the
 * inputs of the outputs and of what has a twin already. */
void tr_match(struct tr_run *it, struct tr_run *other);

static inline const struct tr_step *
tr_step_of(const struct tr_run *r, int event)
{
    return &r->steps[r->events[event].step];
}
static inline struct tr_tensor *
tr_out(const struct tr_run *r, int event, int at)
{
    return &r->tensors[r->events[event].first_out + at];
}
static inline const struct tr_in *
tr_in_of(const struct tr_run *r, int event, int i)
{
    return &r->in[r->events[event].first_in + i];
}

/* ---- one trace (val_trace.c) ----------------------------------------------------- */

enum { TR_CAUSES_MAX = 8, TR_WINDOWS_MAX = 16 };

struct tr_place {
    int event[TR_SIDES];
    int at; /* >= 0 an output, < 0 input -1 - at */
};
/* What was found. */
struct trace {
    struct tr_run run[TR_SIDES];
    const struct backend_signature *sig;
    double limit;
    bool plans; /* one model, planned in two ways */
    int first;  /* the first event that parts; -1: none does */
    int begins; /* where its difference comes from; first when there */
    int at;     /* which output of `first` parts */
    int begins_at;
    struct tr_place causes[TR_CAUSES_MAX]; /* what `begins` was made from and differs */
    int n_causes, n_causes_left_out;
    struct sm_tensor_list values[TR_SIDES]; /* of those above, by tr_place_name */
};
#define TR_NAME_BYTES 32
/* How values of a place are named. */
void tr_place_name(const struct tr_place *p, int side, char out[TR_NAME_BYTES]);
/* Members of `o`, told in val_trace_tell.c. */
void tr_tell(const struct trace *t, cJSON *o);

#endif
