/* SPDX-License-Identifier: Apache-2.0 */
/* Every tensor of a run as a digest, in the order they come to be, and from what each
 * was made; so that two runs can be held side by side without their values in memory.
 * rt_exec.c calls begin and end around each step (steps within a call or a loop lie
 * within its own). Where an input comes from is told by its address: the last that was
 * made there. So it works through calls, loops and TF1 control flow alike. */
#ifndef RUNTIME_RT_WATCH_H
#define RUNTIME_RT_WATCH_H

#include "runtime/backend.h"
#include "runtime/rt_int.h"

enum { RT_WATCH_EVENTS_MAX = 1 << 15 };

/* From where an input comes; in JSON these numbers. */
enum rt_watch_from {
    RT_WATCH_UNKNOWN,
    RT_WATCH_FEED,  /* the run's input a */
    RT_WATCH_MADE,  /* output b of event a */
    RT_WATCH_HELD,  /* a: a constant or the value of a variable */
    RT_WATCH_OBJECT /* a: another resource, a table */
};

struct rt_watch_tensor {
    struct rt_tensor t; /* no buffer; its data is an address only */
    uint64_t digest;    /* of the elements */
    int64_t n_nan;
    int event, out;
    int before; /* the tensor that was last made at this address; -1: none */
};

struct rt_watch_held {
    char *name; /* of the variable, or the kind of object; "" */
    char *key;  /* of the checkpoint's entry, or "" */
    struct rt_watch_tensor v;
};

struct rt_watch_event {
    int step;
    int turn;   /* how often this step was run before within `within` */
    int within; /* the event whose function or loop body this is; -1: none */
    int end;    /* how many had ended before; -1: it failed */
    int first_out, n_out;
    int first_in, n_in;
};

struct rt_watch {
    struct rt_session *s;
    const struct backend_place *places;
    int n_places;
    struct sm_tensor_list *values;
    size_t values_bytes;
    struct rt_ptrs step_at; /* a step to its index */
    struct rt_watch_step {
        const struct rt_step *s;
        int within, n_turns;
    } * steps;
    int n_steps, cap_steps;
    struct rt_watch_event *events; /* as they begin */
    int n_events, cap_events, n_ended, n_lost;
    struct rt_ptrs made_at; /* an address to the last of `made` there */
    struct rt_watch_tensor *made;
    int n_made, cap_made;
    struct rt_watch_in {
        enum rt_watch_from from;
        int a, b;
    } * in;
    int n_in, cap_in;
    struct rt_ptrs held_at;
    struct rt_watch_held *held;
    int n_held, cap_held;
    struct rt_ptrs feed_at;
    struct rt_watch_output {
        char *key;
        struct rt_watch_in in;
    } * outputs;
    int n_outputs;
    int *open; /* events that have begun; -1: not kept */
    int n_open, cap_open;
};
/* With `places`, `values` gets what they name, up to BACKEND_WATCH_BYTES, and nothing
 * else is looked at; n_places 0: no values. */
void rt_watch_init(struct rt_watch *w, struct rt_session *s,
                   const struct backend_place *places, int n_places,
                   struct sm_tensor_list *values);
void rt_watch_release(struct rt_watch *w); /* for AUTO */
void rt_watch_feed(struct rt_watch *w, int i, const struct rt_tensor *t);
/* Inputs are looked at before the step, which may write in their place. */
void rt_watch_begin(struct rt_watch *w, const struct rt_step *s,
                    const struct rt_tensor *const *in);
/* `out` NULL: the step failed. */
void rt_watch_end(struct rt_watch *w, const struct rt_step *s,
                  const struct rt_tensor *out);
void rt_watch_output(struct rt_watch *w, const char *key, const struct rt_tensor *t);
/* {"steps": [{"node", "op", "function", "gives", "in": [names]}],
 *  "held": [{"name", "key", TENSOR}],
 *  "events": [[step, turn, within, end, [TENSOR, …], [[from, a, b], …]], …],
 *  "outputs": [[key, from, a, b], …], "lost": events that were too many,
 *  "error": the model's, or left out}
 * TENSOR is [dtype, [dims], "digest", n_nan]; in "held" the member "value". */
void rt_watch_json(struct rt_watch *w, const char *error, struct buf *json);

#endif
