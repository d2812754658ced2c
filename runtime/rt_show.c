/* SPDX-License-Identifier: Apache-2.0 */
/* The stages of a model on its way to an answer, as JSON:
 *
 *   read     what the graph holds
 *   bind     the signature's tensors and where they are in the graph; how many of its
 *            nodes they need
 *   restore  the ops of the model that were run, and the state they have made
 *   plan     how many steps the passes were given; steps in their order: slots that are
 * read and written ("s3"; constants "c1", arguments are the first slots), freed behind
 * the step (and taken by later ones), inputs it may write in place; the group of ops it
 * does the work of, and how often each pass found something; shapes, where a run on
 *            zeros got so far
 *   memory   of the run on zeros: what the values of all steps would take side by
 *            side, how much of the arena they took ("at": where each step's lie in it;
 *            -1: small ones and weights, which lie elsewhere), and the most bytes that
 *            were in use at once
 *   functions  the same for each function that a step runs (bodies of loops …) */
#include "runtime/rt_backend_int.h"
#include "runtime/rt_trace.h"

#include "base/json.h"

/* ---- read, bind ------------------------------------------------------------------ */

static void
show_read(const struct backend *b, struct buf *json)
{
    const struct rt_model *m = &b->s.model;
    int n = 0;
    for (int i = 0; i < m->n_funcs; i++)
        n += m->funcs[i].g.n_nodes;
    buf_addf(json,
             "\"read\":{\"ms\":%.3f,\"bytes\":%zu,\"nodes\":%d,\"functions\":%d,"
             "\"function_nodes_read\":%d}",
             b->read_ms, m->meta->graph.n + m->meta->library.n, m->main.n_nodes,
             m->n_funcs, n);
}

static void
show_shape(const struct sm_shape *s, struct buf *json)
{
    if (s->unknown_rank) {
        buf_adds(json, "null");
        return;
    }
    buf_addc(json, '[');
    for (int i = 0; i < s->rank; i++)
        buf_addf(json, "%s%lld", i ? "," : "", (long long)s->dims[i]);
    buf_addc(json, ']');
}

static void
show_bound(const struct backend *b, const struct backend_tensor *t,
           const struct rt_gref *refs, int n, struct buf *json)
{
    for (int i = 0; i < n; i++) {
        struct str node =
            refs ? b->s.model.main.nodes[refs[i].node].sm.name : str_of("argument");
        buf_adds(json, i ? ",{\"key\":" : "{\"key\":");
        json_add_quoted(json, str_of(t[i].key));
        buf_addf(json, ",\"dtype\":\"%s\",\"shape\":", rt_dtype_text(t[i].dtype));
        show_shape(&t[i].shape, json);
        buf_adds(json, ",\"node\":");
        json_add_quoted(json, node);
        buf_addf(json, ",\"index\":%d}", refs ? refs[i].out : i);
    }
}

/* Nodes of the main graph that the fetches reach. Those that cannot be linked count for
 * themselves alone. */
static int
count_needed(struct rt_graph *g, const struct rt_gref *fetches, int n)
{
    bool *seen AUTO(free_ptr) = xcalloc((size_t)g->n_nodes + 1, sizeof(*seen));
    int *stack AUTO(free_ptr) = xcalloc((size_t)g->n_nodes + 1, sizeof(*stack));
    int depth = 0, needed = 0;
    for (int i = 0; i < n; i++)
        if (!seen[fetches[i].node]) {
            seen[fetches[i].node] = true;
            stack[depth++] = fetches[i].node;
        }
    while (depth > 0) {
        struct err none = ERR_INIT;
        int at = stack[--depth];
        const struct rt_gnode *node = &g->nodes[at];
        needed++;
        if (rt_gnode_link(g, at, &none) < 0)
            continue;
        for (int i = 0; i < node->n_in + node->n_ctrl; i++)
            if (node->in[i].node >= 0 && !seen[node->in[i].node]) {
                seen[node->in[i].node] = true;
                stack[depth++] = node->in[i].node;
            }
    }
    return needed;
}

static void
show_bind(struct backend *b, const struct bound *n, struct buf *json)
{
    buf_adds(json, "\"bind\":{\"signature\":");
    json_add_quoted(json, str_of(n->lent.key));
    buf_adds(json, ",\"inputs\":[");
    show_bound(b, n->lent.inputs, n->refs, n->lent.n_inputs, json);
    buf_adds(json, "],\"outputs\":[");
    show_bound(b, n->lent.outputs, n->fetches, n->lent.n_outputs, json);
    buf_addc(json, ']');
    if (n->fetches) {
        struct rt_graph *g = &b->s.model.main;
        int needed = count_needed(g, n->fetches, n->lent.n_outputs);
        buf_addf(json, ",\"nodes_needed\":%d,\"nodes_pruned\":%d", needed,
                 g->n_nodes - needed);
    }
    buf_addc(json, '}');
}

/* ---- restore --------------------------------------------------------------------- */

static void
show_variable(struct rt_var *v, bool first, size_t *mapped, size_t *copied,
              struct buf *json)
{
    pthread_mutex_lock(&v->lock);
    size_t n = v->value.buf ? rt_size(&v->value) : 0;
    bool is_mapped = v->value.buf && !v->value.buf->mem;
    *(is_mapped ? mapped : copied) += n;
    buf_adds(json, first ? "{\"name\":" : ",{\"name\":");
    json_add_quoted(json, str_of(v->name));
    buf_addf(json, ",\"bytes\":%zu,\"mapped\":%s,\"value\":", n,
             is_mapped ? "true" : "false");
    if (v->value.buf)
        rt_trace_tensor(&v->value, json);
    else
        buf_adds(json, "null");
    buf_addc(json, '}');
    pthread_mutex_unlock(&v->lock);
}

static void
show_restore(struct backend *b, struct buf *json)
{
    size_t mapped = 0, copied = 0;
    int n_vars = 0;
    buf_addf(json, "\"restore\":{\"ms\":%.3f,\"ran\":[", b->restore_ms);
    for (int i = 0; i < b->s.n_ran; i++) {
        buf_adds(json, i ? "," : "");
        json_add_quoted(json, b->s.ran[i]);
    }
    buf_adds(json, "],\"variables\":[");
    pthread_mutex_lock(&b->s.lock);
    for (int i = 0; i < b->s.n_state; i++)
        if (b->s.state[i].obj->type == &rt_var_type.obj)
            show_variable((struct rt_var *)b->s.state[i].obj, n_vars++ == 0, &mapped,
                          &copied, json);
    buf_addf(json, "],\"others\":%d,\"mapped_bytes\":%zu,\"copied_bytes\":%zu}",
             b->s.n_state - n_vars, mapped, copied);
    pthread_mutex_unlock(&b->s.lock);
}

/* ---- plan ------------------------------------------------------------------------ */

static void
show_slots(const char *name, const int *v, int n, struct buf *json)
{
    buf_addf(json, ",\"%s\":[", name);
    for (int i = 0; i < n; i++)
        if (v[i] < 0)
            buf_addf(json, "%s\"c%d\"", i ? "," : "", -1 - v[i]);
        else
            buf_addf(json, "%s\"s%d\"", i ? "," : "", v[i]);
    buf_addc(json, ']');
}

/* -1 stands for an output that nobody wants. */
static void
show_outs(const struct rt_step *s, struct buf *json)
{
    buf_adds(json, ",\"to\":[");
    for (int i = 0; i < s->node.n_out; i++)
        if (s->out && s->out[i] >= 0)
            buf_addf(json, "%s\"s%d\"", i ? "," : "", s->out[i]);
        else
            buf_addf(json, "%snull", i ? "," : "");
    buf_addc(json, ']');
}

static void
show_step(const struct rt_step *s, const struct rt_seen *seen, struct buf *json)
{
    buf_adds(json, "{\"op\":");
    json_add_quoted(json, str_of(s->node.op));
    buf_adds(json, ",\"node\":");
    json_add_quoted(json, str_of(s->node.name));
    if (s->node.func) {
        buf_adds(json, ",\"function\":");
        json_add_quoted(json, str_of(s->node.func));
    }
    if (s->node.group) {
        buf_adds(json, ",\"group\":");
        json_add_quoted(json, str_of(s->node.group));
    }
    if (s->in) {
        int once = 0;
        show_slots("from", s->in, s->node.n_in, json);
        show_outs(s, json);
        show_slots("frees", s->dead, s->n_dead, json);
        buf_adds(json, ",\"in_place\":[");
        for (int i = 0; i < s->node.n_in && i < 64; i++)
            if (s->may_forward >> i & 1)
                buf_addf(json, "%s%d", once++ ? "," : "", i);
        buf_addc(json, ']');
    }
    if (seen && seen->kernel[0]) {
        buf_adds(json, ",\"kernel\":");
        json_add_quoted(json, str_of(seen->kernel));
        buf_addf(json, ",\"reorders\":%d", seen->n_reorders);
    }
    if (seen) {
        buf_adds(json, ",\"at\":[");
        for (int i = 0; i < seen->n_out; i++)
            buf_addf(json, "%s%lld", i ? "," : "", (long long)seen->at[i]);
        buf_adds(json, "],\"out\":[");
        for (int i = 0; i < seen->n_out; i++) {
            buf_adds(json, i ? "," : "");
            rt_trace_tensor(&seen->out[i], json);
        }
        buf_addf(json, "],\"bytes\":%.0f,\"flops\":%.0f", seen->bytes, seen->flops);
    }
    buf_addc(json, '}');
}

static void
show_plan(const struct rt_plan *p, const struct rt_trace *t, struct buf *json)
{
    size_t const_bytes = 0;
    for (int i = 0; i < p->n_consts; i++)
        const_bytes += rt_size(&p->consts[i]);
    buf_adds(json, "{\"of\":");
    json_add_quoted(json, str_of(p->what));
    buf_addf(json,
             ",\"arguments\":%d,\"slots\":%d,\"constants\":%d,\"constant_bytes\":%zu,"
             "\"tokens\":%s",
             p->n_inputs, p->n_slots, p->n_consts, const_bytes,
             p->flow ? "true" : "false");
    buf_addf(json, ",\"drafts\":%d,\"passes\":{", p->n_drafts);
    for (int i = 0; rt_pass_name(i); i++)
        buf_addf(json, "%s\"%s\":%d", i ? "," : "", rt_pass_name(i), p->n_fired[i]);
    buf_addc(json, '}');
    if (p->outputs)
        show_slots("results", p->outputs, p->n_outputs, json);
    buf_adds(json, ",\"steps\":[");
    for (int i = 0; i < p->n_steps; i++) {
        buf_adds(json, i ? "," : "");
        show_step(&p->steps[i], rt_trace_find(t, &p->steps[i]), json);
    }
    buf_adds(json, "]}");
}

static void
show_memory(struct backend *b, const struct rt_trace *t, struct buf *json)
{
    double value_bytes = 0;
    for (int i = 0; i < t->n_seen; i++)
        for (int j = 0; j < t->seen[i].n_out; j++)
            if (t->seen[i].at[j] >= 0)
                value_bytes += (double)rt_size(&t->seen[i].out[j]);
    buf_addf(
        json,
        "\"memory\":{\"value_bytes\":%.0f,\"arena_bytes\":%zu,\"peak_bytes\":%zu},",
        value_bytes, rt_mem_touched(&b->s.mem), b->s.mem.peak_bytes);
}

/* Which plans the run on zeros has been in: those with a step that was seen. */
static bool
was_run(const struct rt_plan *p, const struct rt_trace *t)
{
    for (int i = 0; i < p->n_steps; i++)
        if (rt_trace_find(t, &p->steps[i]))
            return true;
    return false;
}

void
rt_show(struct backend *b, const struct bound *n, const struct rt_plan *p,
        const struct rt_trace *t, struct buf *json)
{
    int n_functions = 0;
    buf_addc(json, '{');
    show_read(b, json);
    buf_addc(json, ',');
    show_bind(b, n, json);
    buf_addc(json, ',');
    show_restore(b, json);
    buf_addc(json, ',');
    show_memory(b, t, json);
    buf_adds(json, "\"plan\":");
    show_plan(p, t, json);
    buf_adds(json, ",\"functions\":[");
    for (int i = 0; i < b->s.n_plans; i++) {
        if (b->s.plans[i] == p || !was_run(b->s.plans[i], t))
            continue;
        buf_adds(json, n_functions++ ? "," : "");
        show_plan(b->s.plans[i], t, json);
    }
    buf_adds(json, "]}");
}
