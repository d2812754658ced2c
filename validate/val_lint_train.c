/* SPDX-License-Identifier: Apache-2.0 */
/* Training in what is to be served: weights that a call changes, dropout and batch
 * statistics that are switched on, training ops that nobody runs, a second MetaGraph.
 */
#include "validate/val_lint_int.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_WORK ((int64_t)50 * 1000 * 1000) /* nodes, all signatures together */

/* ---- ops ---- */

static bool
begins(struct str s, const char *with)
{
    size_t n = strlen(with);
    return s.n > n && memcmp(s.p, with, n) == 0;
}

static bool
ends(struct str s, const char *with)
{
    size_t n = strlen(with);
    return s.n > n && memcmp(s.p + s.n - n, with, n) == 0;
}

/* One step of an optimizer: ApplyAdam, ResourceApplyGradientDescent … */
static bool
is_step(struct str op)
{
    return (begins(op, "Apply") || begins(op, "ResourceApply") ||
            begins(op, "SparseApply") || begins(op, "ResourceSparseApply")) &&
           scan_is_tf_op(op);
}

/* The derivative of another op. Some models serve derivatives. */
static bool
is_gradient(struct str op)
{
    return (ends(op, "Grad") || ends(op, "GradV2") || ends(op, "GradV3") ||
            ends(op, "BackpropFilter") || ends(op, "BackpropFilterV2")) &&
           scan_is_tf_op(op);
}

/* A batch norm that normalises by the batch it is given. The attribute's default is
 * true, and an exporter may leave defaults out. Layer, group and instance norms use the
 * same op on a reshaped tensor or with a scale that is no variable: they are meant so.
 */
static bool
is_batch_norm(struct scan_graph *g, int node, const struct sm_node *n)
{
    struct sm_attr a;
    struct str x, scale;
    if (!begins(n->op, "FusedBatchNorm") || is_gradient(n->op) ||
        (sm_node_attr(n, "is_training", &a) && !a.i) || !scan_data_input(n, 0, &x) ||
        !scan_data_input(n, 1, &scale))
        return false;
    int body = lint_node_body(g, node);
    int from = scan_body_find(g, body, scan_input_node(x));
    int by = scan_body_find(g, body, scan_input_node(scale));
    return (from < 0 || !str_is(scan_node(g, from).op, "Reshape")) && by >= 0 &&
           (str_is(scan_node(g, by).op, "ReadVariableOp") ||
            str_is(scan_node(g, by).op, "Identity"));
}

static bool
is_dropout(const struct sm_node *n)
{
    static const char *const ops[] = { "RandomUniform", "StatelessRandomUniform",
                                       "StatelessRandomUniformV2" };
    for (size_t i = 0; i + 7 <= n->name.n; i++)
        if (strncasecmp(n->name.p + i, "dropout", 7) == 0)
            for (size_t k = 0; k < sizeof ops / sizeof ops[0]; k++)
                if (str_is(n->op, ops[k]))
                    return true;
    return false;
}

static bool
is_data(const struct sm_signature *s, struct str node)
{
    for (int i = 0; i < s->n_inputs; i++)
        if (str_eq(scan_input_node(s->inputs[i].name), node))
            return s->inputs[i].shape.unknown_rank || s->inputs[i].shape.rank > 0;
    return false;
}

/* Whether a rate that is fed (and may default to "off") goes into the dropout at `node`
 * of the main graph: into any node of its scope, "a/dropout/". */
static bool
is_fed_dropout(struct scan_graph *g, const struct sm_signature *s, int node)
{
    struct str scope = scan_node(g, node).name, input;
    size_t i = 0;
    while (i + 7 < scope.n && strncasecmp(scope.p + i, "dropout", 7) != 0)
        i++;
    while (i < scope.n && scope.p[i] != '/')
        i++;
    scope.n = i;
    if (lint_node_body(g, node) != 0)
        return false;
    for (int k = 0; k < g->bodies[0].n_nodes; k++) {
        struct sm_node n = scan_node(g, k);
        if (n.name.n < scope.n || memcmp(n.name.p, scope.p, scope.n) != 0)
            continue;
        for (struct str it = n.raw; sm_pb_next_msg(&it, SM_NODE_INPUT, &input) > 0;) {
            int from = scan_body_find(g, 0, scan_input_node(input));
            if (from < 0)
                continue;
            struct sm_node f = scan_node(g, from);
            if ((str_is(f.op, "Placeholder") ||
                 str_is(f.op, "PlaceholderWithDefault")) &&
                !is_data(s, f.name))
                return true;
        }
    }
    return false;
}

/* ---- what a call of a signature does ---- */

/* What a signature certainly runs of one kind. */
struct kind {
    enum lint_rule rule;
    const char *text;
    int n, first;
};

static void
say(struct lint *l, const struct sm_signature *s, const struct kind *k)
{
    if (!k->n)
        return;
    struct sm_node n = scan_node(l->g, k->first);
    struct lint_place at = { .signature = s->key,
                             .op = n.op,
                             .node = n.name,
                             .function =
                                 l->g->bodies[lint_node_body(l->g, k->first)].name };
    if (k->n > 1)
        lint_add(l, k->rule, &at, "%s (and %d more such ops)", k->text, k->n - 1);
    else
        lint_add(l, k->rule, &at, "%s", k->text);
}

static void
calls(struct lint *l)
{
    struct lint_walk w AUTO(lint_walk_release) = { 0 };
    int64_t work = 0;
    lint_walk_open(&w, l->g);
    for (int i = 0; i < l->meta->n_signatures; i++) {
        const struct sm_signature *s = &l->meta->signatures[i];
        struct kind steps = { LINT_changes_weights,
                              "each call takes a step of an optimizer", 0, -1 };
        struct kind norms = { LINT_training_mode,
                              "batch normalisation in training mode", 0, -1 };
        struct kind drops = { LINT_training_mode,
                              "dropout is in the graph behind no switch", 0, -1 };
        /* Thousands of signatures on a huge graph are not a model. */
        if (sm_signature_hidden(s))
            continue;
        work += l->g->n_nodes + (int64_t)l->g->bodies[0].n_nodes * s->n_inputs / 8;
        if (work > MAX_WORK)
            break;
        lint_walk_signature(&w, s);
        for (int k = 0; k < l->g->n_nodes; k++) {
            if (!w.seen[k])
                continue;
            struct sm_node n = scan_node(l->g, k);
            work += is_dropout(&n) ? l->g->bodies[0].n_nodes : 0;
            struct kind *kind =
                is_step(n.op)                ? &steps
                : is_batch_norm(l->g, k, &n) ? &norms
                : is_dropout(&n) && work <= MAX_WORK && !is_fed_dropout(l->g, s, k)
                    ? &drops
                    : NULL;
            if (kind && kind->n++ == 0)
                kind->first = k;
        }
        say(l, s, &steps);
        say(l, s, &norms);
        say(l, s, &drops);
    }
    l->is_cut |= work > MAX_WORK;
}

/* ---- what nobody runs ---- */

/* Per node: 1 a signature may run it, 2 somebody may (Python, the loader, the saver).
 * NULL: too much to follow. */
static uint8_t *
users(struct lint *l)
{
    struct scan_reach r AUTO(scan_reach_release) = { 0 };
    uint8_t *who = xcalloc((size_t)l->g->n_nodes + 1, 1);
    scan_reach_open(&r, l->g);
    for (int i = 0; i < r.n_roots && scan_reach_follow(&r, l->g, i); i++)
        for (int b = 0; b < l->g->n_bodies; b++) {
            const struct scan_body *body = &l->g->bodies[b];
            if (b && r.body_from[b] == -1)
                continue;
            r.work += body->n_nodes;
            for (int k = body->first_node; k < body->first_node + body->n_nodes; k++)
                if (b || r.node_seen[k])
                    who[k] |= r.roots[i].kind == SCAN_ROOT_SIGNATURE ? 3 : 2;
        }
    l->is_cut |= r.is_cut;
    if (!r.is_cut)
        return who;
    free(who);
    return NULL;
}

static void
unused(struct lint *l)
{
    uint8_t *who AUTO(free_ptr) = users(l);
    struct lint_tally tally = { .names = { 0 } };
    struct buf text AUTO(buf_release) = BUF_INIT;
    struct lint_place at = { .bytes = 0 };
    int n_ops = 0;
    for (int k = 0; who && k < l->g->n_nodes; k++) {
        struct sm_node n = scan_node(l->g, k);
        bool step = is_step(n.op);
        /* All of TF1's tf.gradients stands below "gradients/". (In functions, Keras
         * keeps backward passes of its own accord.) */
        bool below = lint_node_body(l->g, k) == 0 &&
                     memmem(n.name.p, n.name.n, "gradients/", 10) != NULL;
        if (!(step && !(who[k] & 1)) && !(below && !who[k]))
            continue;
        n_ops++;
        at.bytes += (double)n.raw.n;
        if (step || is_gradient(n.op))
            scan_index_add(&tally.names, n.op, 0);
    }
    lint_tally_text(&tally, &text);
    if (!n_ops)
        return;
    lint_add(l, LINT_training_ops, &at,
             "%d training op%s that no signature reaches%s%s", n_ops,
             n_ops == 1 ? "" : "s", text.len ? ": " : "", buf_str(&text));
}

/* ---- other MetaGraphs ---- */

static void
other_metas(struct lint *l)
{
    for (int i = 0; i < sm_n_metas(l->model); i++) {
        const struct sm_meta *m = sm_meta(l->model, i);
        for (int k = 0; k < m->n_tags; k++)
            if (m != l->meta &&
                (str_is(m->tags[k], "train") || str_is(m->tags[k], "eval"))) {
                struct lint_place at = { .bytes = (double)m->raw.n };
                cJSON *o AUTO(json_free) = cJSON_CreateObject();
                scan_put_tags(o, "tags", m);
                lint_add(l, LINT_train_metagraph, &at,
                         "a MetaGraph with the tags '%s' stands beside",
                         cJSON_GetStringValue(cJSON_GetObjectItem(o, "tags")));
                break;
            }
    }
}

void
lint_training(struct lint *l)
{
    calls(l);
    unused(l);
    other_metas(l);
}
