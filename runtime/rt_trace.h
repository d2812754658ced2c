/* SPDX-License-Identifier: Apache-2.0 */
/* What a run did, step by step: how often, how long, of which shapes. A run with
 * run->trace set is recorded there (rt_exec.c calls begin and end around a kernel);
 * steps of functions that are called lie within the step that calls them. */
#ifndef RUNTIME_RT_TRACE_H
#define RUNTIME_RT_TRACE_H

#include "runtime/rt_int.h"

/* A step that was run. `first` is of the trace's first run, `later` of all others. */
struct rt_seen {
    const struct rt_step *step;
    struct rt_times {
        int64_t calls, total_ns, self_ns; /* self: without steps within */
    } first, later;
    double bytes, flops;         /* of the last call */
    char kernel[RT_KERNEL_TEXT]; /* the library's, when one was asked: "brgconv…" */
    int n_reorders;              /* of values, before and after it */
    int n_out;
    struct rt_tensor *out; /* n_out, of the last call: dtype and shape, no data */
    int64_t *at;           /* n_out: where in the session's memory they were; or -1 */
};

struct rt_event {
    int seen;
    int64_t begin_ns, took_ns; /* since the trace's begin */
};

struct rt_trace {
    int64_t begin_ns;
    int n_runs;
    struct rt_seen *seen; /* in the order of their first end */
    int n_seen, cap_seen;
    struct rt_ptrs places; /* of steps in seen */
    struct rt_event *events;
    int n_events, cap_events;
    int64_t n_lost; /* events beyond RT_EVENTS_MAX */
    struct rt_open {
        int64_t begin_ns, within_ns;
        const char *kernel;
        int n_reorders;
    } * open;
    int depth, cap_open;
};
enum { RT_EVENTS_MAX = 1 << 17 };

void rt_trace_init(struct rt_trace *t);
void rt_trace_release(struct rt_trace *t); /* for AUTO */
/* Every run begins with it. */
void rt_trace_run(struct rt_trace *t);
void rt_trace_begin(struct rt_trace *t);
/* `out` NULL: the step failed. */
void rt_trace_end(struct rt_trace *t, const struct rt_step *s,
                  const struct rt_tensor *const *in, const struct rt_tensor *out);
const struct rt_seen *rt_trace_find(const struct rt_trace *t, const struct rt_step *s);
/* Appends {"runs", "steps": […], "events": [[step, begin_us, took_us], …],
 * "events_lost"}. */
void rt_trace_json(const struct rt_trace *t, struct buf *json);
/* Appends {"dtype", "shape"}. */
void rt_trace_tensor(const struct rt_tensor *t, struct buf *json);

/* Floating point operations of a call, estimated from its shapes (rt_cost.c). */
double rt_cost_flops(const struct rt_node *n, const struct rt_tensor *const *in,
                     const struct rt_tensor *out);

#endif
