/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/rt_trace.h"

#include "base/clock.h"
#include "base/json.h"
#include "runtime/rt_plan_int.h"

#include <stdio.h>
#include <stdlib.h>

void
rt_trace_init(struct rt_trace *t)
{
    *t = (struct rt_trace){ .begin_ns = clock_mono_ns() };
}

void
rt_trace_release(struct rt_trace *t)
{
    for (int i = 0; i < t->n_seen; i++) {
        free(t->seen[i].out);
        free(t->seen[i].at);
    }
    free(t->seen);
    rt_ptrs_release(&t->places);
    free(t->events);
    free(t->open);
    *t = (struct rt_trace){ 0 };
}

void
rt_trace_run(struct rt_trace *t)
{
    t->n_runs++;
    t->depth = 0; /* the run before may have failed within a step */
}

const struct rt_seen *
rt_trace_find(const struct rt_trace *t, const struct rt_step *s)
{
    int at = rt_ptrs_find(&t->places, s);
    return at < 0 ? NULL : &t->seen[at];
}

static int
see(struct rt_trace *t, const struct rt_step *s)
{
    int at = rt_ptrs_find(&t->places, s);
    if (at >= 0)
        return at;
    RT_GROW(t->seen, t->n_seen, t->cap_seen);
    t->seen[t->n_seen] =
        (struct rt_seen){ .step = s,
                          .n_out = s->node.n_out,
                          .out = xcalloc((size_t)s->node.n_out + 1,
                                         sizeof(struct rt_tensor)),
                          .at = xcalloc((size_t)s->node.n_out + 1, sizeof(int64_t)) };
    rt_ptrs_set(&t->places, s, t->n_seen);
    return t->n_seen++;
}

/* ---- recording ------------------------------------------------------------------- */

void
rt_trace_begin(struct rt_trace *t)
{
    RT_GROW(t->open, t->depth, t->cap_open);
    t->open[t->depth++] = (struct rt_open){ .begin_ns = clock_mono_ns() };
}

static void
add_event(struct rt_trace *t, int seen, const struct rt_open *o, int64_t took_ns)
{
    if (t->n_events >= RT_EVENTS_MAX) {
        t->n_lost++;
        return;
    }
    RT_GROW(t->events, t->n_events, t->cap_events);
    t->events[t->n_events++] =
        (struct rt_event){ seen, o->begin_ns - t->begin_ns, took_ns };
}

static void
keep_shapes(struct rt_seen *s, const struct rt_tensor *const *in,
            const struct rt_tensor *out)
{
    s->bytes = 0;
    for (int i = 0; i < s->step->node.n_in; i++)
        s->bytes += (double)rt_size(in[i]);
    for (int i = 0; i < s->n_out; i++) {
        s->out[i] = out[i];
        s->out[i].data = NULL;
        s->out[i].buf = NULL;
        const struct rt_buf *b = out[i].buf;
        s->at[i] = b->mem && !rt_buf_is_weight(b) ? rt_mem_offset(b->mem, b) : -1;
        if (!rt_buf_is_weight(out[i].buf)) /* a weight is lent, not written */
            s->bytes += (double)rt_size(&out[i]);
    }
    s->flops = rt_cost_flops(&s->step->node, in, out);
}

void
rt_trace_end(struct rt_trace *t, const struct rt_step *s,
             const struct rt_tensor *const *in, const struct rt_tensor *out)
{
    struct rt_open o = t->open[--t->depth];
    int64_t took_ns = clock_mono_ns() - o.begin_ns;
    if (t->depth > 0)
        t->open[t->depth - 1].within_ns += took_ns;
    if (!out)
        return;
    int i = see(t, s);
    struct rt_times *times = t->n_runs > 1 ? &t->seen[i].later : &t->seen[i].first;
    times->calls++;
    times->total_ns += took_ns;
    times->self_ns += took_ns - o.within_ns;
    if (o.kernel) {
        snprintf(t->seen[i].kernel, RT_KERNEL_TEXT, "%s", o.kernel);
        t->seen[i].n_reorders = o.n_reorders;
    }
    keep_shapes(&t->seen[i], in, out);
    add_event(t, i, &o, took_ns);
}

void
rt_note_kernel(const struct rt_ctx *ctx, const char *kernel, int n_reorders)
{
    struct rt_trace *t = ctx->run->trace;
    if (!t || t->depth == 0)
        return;
    t->open[t->depth - 1].kernel = kernel;
    t->open[t->depth - 1].n_reorders += n_reorders;
}

/* ---- JSON ------------------------------------------------------------------------ */

void
rt_trace_tensor(const struct rt_tensor *t, struct buf *json)
{
    buf_addf(json, "{\"dtype\":\"%s\",\"shape\":[", rt_dtype_text(t->dtype));
    for (int i = 0; i < t->rank; i++)
        buf_addf(json, "%s%lld", i ? "," : "", (long long)t->dims[i]);
    buf_adds(json, "]}");
}

static void
add_times(const struct rt_times *v, const char *name, struct buf *json)
{
    buf_addf(json, ",\"%s\":{\"calls\":%lld,\"total_us\":%.3f,\"self_us\":%.3f}", name,
             (long long)v->calls, (double)v->total_ns / 1e3, (double)v->self_ns / 1e3);
}

static void
add_seen(const struct rt_seen *s, struct buf *json)
{
    const struct rt_node *n = &s->step->node;
    buf_adds(json, "{\"op\":");
    json_add_quoted(json, str_of(n->group ? n->group : n->op));
    buf_adds(json, ",\"node\":");
    json_add_quoted(json, str_of(n->name));
    if (n->func) {
        buf_adds(json, ",\"function\":");
        json_add_quoted(json, str_of(n->func));
    }
    buf_adds(json, ",\"out\":[");
    for (int i = 0; i < s->n_out; i++) {
        buf_adds(json, i ? "," : "");
        rt_trace_tensor(&s->out[i], json);
    }
    buf_addf(json, "],\"bytes\":%.0f,\"flops\":%.0f", s->bytes, s->flops);
    add_times(&s->first, "first", json);
    add_times(&s->later, "later", json);
    buf_addc(json, '}');
}

void
rt_trace_json(const struct rt_trace *t, struct buf *json)
{
    buf_addf(json, "{\"runs\":%d,\"steps\":[", t->n_runs);
    for (int i = 0; i < t->n_seen; i++) {
        buf_adds(json, i ? "," : "");
        add_seen(&t->seen[i], json);
    }
    buf_adds(json, "],\"events\":[");
    for (int i = 0; i < t->n_events; i++)
        buf_addf(json, "%s[%d,%.3f,%.3f]", i ? "," : "", t->events[i].seen,
                 (double)t->events[i].begin_ns / 1e3,
                 (double)t->events[i].took_ns / 1e3);
    buf_addf(json, "],\"events_lost\":%lld}", (long long)t->n_lost);
}
