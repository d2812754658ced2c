/* SPDX-License-Identifier: Apache-2.0 */
/* Which nodes read a variable, found from the graph alone. */
#include "tests/conformance/mutate.h"

#include "base/fs.h"
#include "runtime/rt_int.h"

#include <fcntl.h>
#include <stdlib.h>

enum { FED = 1, READS = 2, DONE = 4, OPEN = 8 };

/* The main graph and every function: what each node's value comes from. */
struct graphs {
    struct rt_graph **g;
    uint8_t **from;
    int n;
    const char *variable;
};

static unsigned from_ref(struct graphs *all, int at, struct rt_gref ref);

static bool
names(const struct rt_gnode *n, const char *attr, const struct rt_graph *body)
{
    struct sm_attr a;

    return sm_node_attr(&n->sm, attr, &a) && a.kind == SM_ATTR_FUNC &&
           str_is(sm_attr_func_name(&a), body->func->name);
}

/* An argument is what any caller gives. */
static unsigned
from_callers(struct graphs *all, const struct rt_graph *body, int arg)
{
    static const struct {
        const char *attr;
        int skip;
    } ways[] = { { "f", 0 },
                 { "body", 0 },
                 { "cond", 0 },
                 { "then_branch", 1 },
                 { "else_branch", 1 } };
    unsigned from = 0;

    for (int at = 0; at < all->n; at++)
        for (int i = 0; i < all->g[at]->n_nodes; i++) {
            const struct rt_gnode *n = &all->g[at]->nodes[i];

            for (size_t w = 0; w < sizeof(ways) / sizeof(ways[0]); w++)
                if (names(n, ways[w].attr, body) && arg + ways[w].skip < n->n_in)
                    from |= from_ref(all, at, n->in[arg + ways[w].skip]);
        }
    return from;
}

static unsigned
from_node(struct graphs *all, int at, int node)
{
    const struct rt_gnode *n = &all->g[at]->nodes[node];
    struct sm_attr shared;
    unsigned from = 0;

    if (all->from[at][node] & OPEN) /* a loop */
        return 0;
    if (all->from[at][node] & DONE)
        return all->from[at][node] & (FED | READS);
    all->from[at][node] = OPEN;
    if (strncmp(n->op, "Placeholder", 11) == 0)
        from = FED;
    else if (strncmp(n->op, "Var", 3) == 0 &&
             (strcmp(n->name, all->variable) == 0 ||
              (sm_node_attr(&n->sm, "shared_name", &shared) &&
               str_is(shared.bytes, all->variable))))
        from = READS;
    for (int i = 0; i < n->n_in; i++)
        from |= from_ref(all, at, n->in[i]);
    all->from[at][node] = (uint8_t)(from | DONE);
    return from;
}

static unsigned
from_ref(struct graphs *all, int at, struct rt_gref ref)
{
    return ref.node >= 0 ? from_node(all, at, ref.node)
                         : from_callers(all, all->g[at], -1 - ref.node);
}

static int
read_graphs(struct graphs *all, struct rt_model *m, struct err *err)
{
    all->n = m->n_funcs + 1;
    all->g = xcalloc((size_t)all->n, sizeof(all->g[0]));
    all->from = xcalloc((size_t)all->n, sizeof(all->from[0]));
    for (int at = 0; at < all->n; at++) {
        struct rt_func *f = at > 0 ? &m->funcs[at - 1] : NULL;

        if (f && rt_func_read(f, err) < 0)
            return -1;
        all->g[at] = f ? &f->g : &m->main;
        all->from[at] = xcalloc((size_t)all->g[at]->n_nodes + 1, 1);
        for (int i = 0; i < all->g[at]->n_nodes; i++)
            if (rt_gnode_link(all->g[at], i, err) < 0)
                return -1;
    }
    return 0;
}

/* Some input is made of the variable, and of nothing that is fed. */
static int
node_reads(struct graphs *all, const char *function, const char *node)
{
    for (int at = 0; at < all->n; at++) {
        const struct rt_func *f = all->g[at]->func;
        const int i = strcmp(f ? f->name : "", function) == 0
                          ? rt_names_find(&all->g[at]->names, str_of(node))
                          : -1;

        for (int in = 0; i >= 0 && in < all->g[at]->nodes[i].n_in; in++)
            if (from_ref(all, at, all->g[at]->nodes[i].in[in]) == READS)
                return 1;
    }
    return 0;
}

int
reads_weight(const char *dir, const char *tags, const char *function, const char *node,
             const char *variable, struct err *err)
{
    struct graphs all = { .variable = variable };
    struct sm_model *model AUTO(sm_close_p) = NULL;
    struct rt_model m = { .n_funcs = 0 };
    const struct sm_meta *meta;
    int dirfd AUTO(fs_close) = -1, r;

    if (fs_open_dir(&dirfd, AT_FDCWD, dir, err) < 0 ||
        sm_open(&model, dirfd, dir, err) < 0 ||
        sm_find_meta(model, tags, &meta, err) < 0)
        return -1;
    r = rt_model_read(&m, meta, err);
    if (r == 0)
        r = read_graphs(&all, &m, err);
    if (r == 0)
        r = node_reads(&all, function, node);
    for (int i = 0; i < all.n; i++)
        free(all.from[i]);
    free(all.from);
    free(all.g);
    rt_model_release(&m);
    return r;
}
