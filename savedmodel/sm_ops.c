/* SPDX-License-Identifier: Apache-2.0 */
/* The op types of a MetaGraph as saved_model_cli counts them: those of the graph's
 * nodes and of the functions reached from there, where "reached" is an op type that is
 * a function's name, or attribute f of PartitionedCall and StatefulPartitionedCall. */
#include "savedmodel/sm_int.h"

#include <stdlib.h>

struct walk {
    struct sm_names functions; /* all of the library */
    struct str *bodies;        /* FunctionDef messages, by number in `functions` */
    struct sm_names reached, ops;
};

static int
add_nodes(struct walk *w, struct str msg, uint32_t field, struct err *err)
{
    struct str raw;
    int r;
    while ((r = sm_pb_next_msg(&msg, field, &raw)) == 1) {
        struct sm_node node;
        struct sm_attr f;
        if (sm_node_parse(raw, &node, err) < 0)
            return -(int)err->code;
        if (sm_names_find(&w->functions, node.op) >= 0) {
            sm_names_add(&w->reached, node.op);
            continue;
        }
        sm_names_add(&w->ops, node.op);
        if ((str_is(node.op, "PartitionedCall") ||
             str_is(node.op, "StatefulPartitionedCall")) &&
            sm_node_attr(&node, "f", &f) && f.kind == SM_ATTR_FUNC &&
            sm_names_find(&w->functions, sm_attr_func_name(&f)) >= 0)
            sm_names_add(&w->reached, sm_attr_func_name(&f));
    }
    return r < 0 ? err_set(err, ERR_CORRUPT, "a graph's list of nodes is malformed")
                 : 0;
}

static int
by_name(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static int
walk_ops(struct walk *w, const struct sm_meta *meta, struct err *err)
{
    struct str library = meta->library, raw;
    int r;
    while ((r = sm_pb_next_msg(&library, SM_LIBRARY_FUNCTION, &raw)) == 1) {
        struct sm_function f;
        if (sm_function_parse(raw, &f, err) < 0)
            return -(int)err->code;
        if (!sm_names_add(&w->functions, f.name))
            continue;
        w->bodies = xreallocarray(w->bodies, (size_t)w->functions.n, sizeof *w->bodies);
        w->bodies[w->functions.n - 1] = raw;
    }
    if (r < 0)
        return err_set(err, ERR_CORRUPT, "the function library is malformed");
    if (add_nodes(w, meta->graph, SM_GRAPH_NODE, err) < 0)
        return -(int)err->code;
    for (int i = 0; i < w->reached.n; i++)
        if (add_nodes(w, w->bodies[sm_names_find(&w->functions, w->reached.v[i])],
                      SM_FUNCTION_NODE, err) < 0)
            return -(int)err->code;
    return 0;
}

int
sm_meta_ops(const struct sm_meta *meta, struct str **names, int *n, struct err *err)
{
    struct walk w = { 0 };
    int r = walk_ops(&w, meta, err);
    if (r >= 0) {
        *names = xreallocarray(NULL, (size_t)w.ops.n + 1, sizeof **names);
        *n = w.ops.n;
        if (w.ops.n)
            memcpy(*names, w.ops.v, (size_t)w.ops.n * sizeof **names);
        qsort(*names, (size_t)*n, sizeof **names, by_name);
    }
    sm_names_release(&w.functions);
    sm_names_release(&w.reached);
    sm_names_release(&w.ops);
    free(w.bodies);
    return r;
}
