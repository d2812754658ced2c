/* SPDX-License-Identifier: Apache-2.0 */
/* Who reaches what. In the main graph a root runs what its outputs need, back to the
 * tensors that are fed; a function that is called counts with its whole body. */
#include "validate/val_scan_int.h"

#include <stdlib.h>

/* All roots together look at no more nodes than this. */
#define MAX_WORK ((int64_t)50 * 1000 * 1000)

const char *
scan_root_text(enum scan_root_kind kind)
{
    static const char *const texts[] = { "signature", "load", "python", "save",
                                         "restore" };
    return texts[kind];
}

static void
add_root(struct scan_reach *r, enum scan_root_kind kind, struct str name,
         const struct sm_signature *signature)
{
    if (!name.n && !signature)
        return;
    if ((r->n_roots & (r->n_roots - 1)) == 0)
        r->roots = xreallocarray(r->roots, r->n_roots ? (size_t)r->n_roots * 2 : 1,
                                 sizeof *r->roots);
    r->roots[r->n_roots++] = (struct scan_root){ kind, name, signature };
}

void
scan_reach_open(struct scan_reach *r, const struct scan_graph *g)
{
    const struct sm_meta *meta = g->meta;
    *r = (struct scan_reach){ 0 };
    for (int i = 0; i < meta->n_signatures; i++) {
        const struct sm_signature *s = &meta->signatures[i];
        if (!sm_signature_hidden(s))
            add_root(r, SCAN_ROOT_SIGNATURE, s->key, s);
    }
    add_root(r, SCAN_ROOT_LOAD, sm_meta_init_op(meta), NULL);
    for (int i = 0; i < meta->n_signatures;
         i++) /* a training step, run by nobody else */
        if (str_is(meta->signatures[i].key, "__saved_model_train_op"))
            add_root(r, SCAN_ROOT_SIGNATURE, meta->signatures[i].key,
                     &meta->signatures[i]);
    add_root(r, SCAN_ROOT_RESTORE, sm_pb_bytes(meta->saver, 3), NULL);
    add_root(r, SCAN_ROOT_SAVE, sm_pb_bytes(meta->saver, 2), NULL);
    struct str it = meta->object_graph, entry;
    while (sm_pb_next_msg(&it, 2, &entry) > 0)
        add_root(r, SCAN_ROOT_OBJECT, sm_pb_bytes(entry, 1), NULL);
    size_t n = (size_t)g->bodies[0].n_nodes;
    r->node_seen = xcalloc(n + 1, 1);
    r->body_from = xcalloc((size_t)g->n_bodies, sizeof *r->body_from);
}

void
scan_reach_release(struct scan_reach *r)
{
    free(r->roots);
    free(r->node_seen);
    free(r->body_from);
    *r = (struct scan_reach){ 0 };
}

struct walk {
    struct scan_reach *r;
    struct scan_graph *g;
    const struct sm_signature *fed; /* its inputs are not computed; NULL: nothing */
    struct str *todo;               /* tensors and "^node" of the main graph */
    int n_todo, cap_todo;
};

static void
push(struct walk *w, struct str input)
{
    if (w->n_todo == w->cap_todo) {
        w->cap_todo = w->cap_todo ? w->cap_todo * 2 : 64;
        w->todo = xreallocarray(w->todo, (size_t)w->cap_todo, sizeof *w->todo);
    }
    w->todo[w->n_todo++] = input;
}

/* "x" and "x:0" are one tensor; a control input is none, and is never fed. */
static bool
same_tensor(struct str a, struct str b)
{
    if (a.n > 2 && a.p[a.n - 2] == ':' && a.p[a.n - 1] == '0')
        a.n -= 2;
    if (b.n > 2 && b.p[b.n - 2] == ':' && b.p[b.n - 1] == '0')
        b.n -= 2;
    return str_eq(a, b);
}

static bool
is_fed(const struct walk *w, struct str tensor)
{
    for (int i = 0; w->fed && i < w->fed->n_inputs; i++)
        if (same_tensor(w->fed->inputs[i].name, tensor))
            return true;
    return false;
}

/* The tensors of a TensorInfo: one, three of a sparse one, or its components. */
static void
push_info(struct walk *w, struct str info)
{
    struct sm_field f;
    struct str it = info, part;
    if (sm_pb_get(info, 1, &f) && f.wire == 2 && f.bytes.n)
        push(w, f.bytes);
    if (sm_pb_get(info, 4, &f) && f.wire == 2)
        for (uint32_t i = 1; i <= 3; i++)
            push(w, sm_pb_bytes(f.bytes, i));
    while (sm_pb_next_msg(&it, 5, &part) > 0)
        for (struct str c = part, component; sm_pb_next_msg(&c, 2, &component) > 0;)
            push_info(w, component);
}

static void
walk_main(struct walk *w)
{
    struct str input, it;
    while (w->n_todo && w->r->work++ < MAX_WORK) {
        struct str tensor = w->todo[--w->n_todo];
        w->r->work += w->fed ? w->fed->n_inputs / 8 : 0;
        int i =
            is_fed(w, tensor) ? -1 : scan_body_find(w->g, 0, scan_input_node(tensor));
        if (i < 0 || w->r->node_seen[i])
            continue;
        w->r->node_seen[i] = 1;
        for (it = w->g->nodes[i]; sm_pb_next_msg(&it, SM_NODE_INPUT, &input) > 0;)
            push(w, input);
    }
}

/* Takes the calls of a body that has been reached. */
static void
take_calls(struct scan_reach *r, const struct scan_graph *g, int body, int *queue,
           int *n_queue)
{
    for (int c = g->first_call[body]; c < g->first_call[body + 1]; c++) {
        const struct scan_call *call = &g->calls[c];
        r->work++;
        if ((body == 0 && !r->node_seen[call->node]) ||
            r->body_from[call->callee] != -1)
            continue;
        r->body_from[call->callee] = c;
        queue[(*n_queue)++] = call->callee;
    }
}

bool
scan_reach_follow(struct scan_reach *r, struct scan_graph *g, int i)
{
    const struct scan_root *root = &r->roots[i];
    struct walk w = { .r = r, .g = g, .fed = root->signature };
    int n_queue = 0;
    /* Starting over costs too. */
    r->work += (g->bodies[0].n_nodes + g->n_bodies) / 16;
    if (r->work >= MAX_WORK) {
        r->is_cut = true;
        return false;
    }
    for (int k = 0; k < g->bodies[0].n_nodes; k++)
        r->node_seen[k] = 0;
    for (int k = 0; k < g->n_bodies; k++)
        r->body_from[k] = -1;
    int *queue = xcalloc((size_t)g->n_bodies + 1, sizeof *queue);
    if (root->kind == SCAN_ROOT_OBJECT) {
        int body = scan_index_find(&g->functions, root->name);
        if (body >= 0) {
            r->body_from[body] = -2;
            queue[n_queue++] = body;
        }
    } else {
        for (int k = 0; root->signature && k < root->signature->n_outputs; k++)
            push_info(&w, root->signature->outputs[k].raw);
        if (!root->signature)
            push(&w, root->name);
        walk_main(&w);
        take_calls(r, g, 0, queue, &n_queue);
    }
    for (int k = 0; k < n_queue; k++)
        take_calls(r, g, queue[k], queue, &n_queue);
    free(queue);
    free(w.todo);
    r->is_cut |= r->work >= MAX_WORK;
    return true;
}

bool
scan_reached(const struct scan_reach *r, const struct scan_graph *g, int body, int node)
{
    (void)g;
    return body == 0 ? node >= 0 && r->node_seen[node] : r->body_from[body] != -1;
}

static void
put_front(cJSON *list, struct str s)
{
    char *text = scan_text(s);
    cJSON_InsertItemInArray(list, 0, cJSON_CreateString(text));
    free_ptr(&text);
}

cJSON *
scan_reach_path(const struct scan_reach *r, const struct scan_graph *g, int body,
                int node)
{
    enum { MAX_PATH = 200 };
    cJSON *list = cJSON_CreateArray();
    if (node >= 0)
        put_front(list, scan_node(g, node).name);
    for (int n = 0; body > 0 && n < MAX_PATH; n++) {
        put_front(list, g->bodies[body].name);
        int from = r->body_from[body];
        if (from < 0)
            break;
        put_front(list, scan_node(g, g->calls[from].node).name);
        body = g->calls[from].body;
    }
    return list;
}
