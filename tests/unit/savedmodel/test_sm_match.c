/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/savedmodel/build.h"

#include <stdlib.h>

/* ---- object graphs, built ---- */

struct graph {
    struct buf nodes;
};

static void
edge(struct buf *node, const char *name, int to)
{
    struct buf e = BUF_INIT;
    pb_int(&e, 1, to);
    pb_text(&e, 2, name);
    pb_msg(node, 1, &e);
}

static void
saved(struct buf *node, const char *full_name, const char *key)
{
    struct buf a = BUF_INIT;
    pb_text(&a, 1, SM_VARIABLE_VALUE);
    pb_text(&a, 2, full_name);
    pb_text(&a, 3, key);
    pb_msg(node, 2, &a);
}

static void
slot(struct buf *node, int variable, const char *name, int to)
{
    struct buf s = BUF_INIT;
    pb_int(&s, 1, variable);
    pb_text(&s, 2, name);
    pb_int(&s, 3, to);
    pb_msg(node, 3, &s);
}

static void
node_end(struct graph *g, struct buf *node)
{
    pb_msg(&g->nodes, 1, node);
}

/* A checkpoint of the scalars whose keys the string lists, and of a graph. */
static void
write_ckpt(const char *name, const char *keys, struct graph *g)
{
    struct err err = ERR_INIT;
    struct sm_bundle_writer *w;
    float value = 1;
    char *path AUTO(free_ptr) = xasprintf("%s/%s", unit_dir(), name);
    CHECK_OK(sm_bundle_write_open(&w, AT_FDCWD, path, &err));
    for (size_t n; (n = strcspn(keys, " ")) > 0; keys += n + (keys[n] == ' ')) {
        struct sm_tensor t = { .dtype = SM_FLOAT, .n_elems = 1, .data = &value };
        CHECK_OK(sm_bundle_write_tensor(w, (struct str){ keys, n }, &t, &err));
        value++;
    }
    if (g) {
        struct str s = str_buf(&g->nodes);
        struct sm_tensor t = { .dtype = SM_STRING, .n_elems = 1, .data = &s };
        CHECK_OK(sm_bundle_write_tensor(w, STR_LIT(SM_OBJECT_GRAPH_KEY), &t, &err));
        buf_release(&g->nodes);
    }
    CHECK_OK(sm_bundle_write_end(w, &err));
    sm_bundle_write_close_p(&w);
}

static struct sm_bundle *
open_ckpt(const char *name)
{
    struct err err = ERR_INIT;
    struct sm_bundle *b;
    char *path AUTO(free_ptr) = xasprintf("%s/%s", unit_dir(), name);
    CHECK_OK(sm_bundle_open(&b, AT_FDCWD, path, &err));
    return b;
}

static int
try_match(struct sm_bundle *model, struct sm_bundle *ckpt, const char *path,
          struct sm_matches *out, struct err *err)
{
    const struct sm_meta no_functions = { .object_graph = { "", 0 } };
    return sm_match_checkpoint(out, &no_functions, model, ckpt, path, err);
}

/* "key<from key!state …" */
static void
check_match(const char *model, const char *ckpt, const char *path, const char *want)
{
    struct err err = ERR_INIT;
    struct buf got = BUF_INIT;
    struct sm_matches m;
    struct sm_bundle *a = open_ckpt(model), *b = open_ckpt(ckpt);
    CHECK_OK(try_match(a, b, path, &m, &err));
    for (int i = 0; i < m.n; i++) {
        buf_addf(&got, "%s%.*s", i ? " " : "", STR_ARG(m.v[i].entry->key));
        if (m.v[i].from)
            buf_addf(&got, "<%.*s", STR_ARG(m.v[i].from->key));
        if (m.v[i].state != SM_MATCH_FITS)
            buf_addf(&got, "!%d", (int)m.v[i].state);
    }
    CHECK_STR(buf_str(&got), want);
    buf_release(&got);
    sm_matches_release(&m);
    sm_bundle_close(a);
    sm_bundle_close(b);
}

/* The root has a and b, two variables of one name; o keeps slot m of a. */
static void
model_nodes(struct graph *g, int at, const char *a, const char *b, const char *m)
{
    struct buf n = BUF_INIT;
    edge(&n, "b", at + 2);
    edge(&n, "a", at + 1);
    edge(&n, "o", at + 3);
    edge(&n, "again", at);
    node_end(g, &n);
    saved(&n, "Variable", a);
    node_end(g, &n);
    saved(&n, "Variable", b);
    node_end(g, &n);
    slot(&n, at + 1, "m", at + 4);
    node_end(g, &n);
    saved(&n, "Adam/m", m);
    node_end(g, &n);
}

static void
write_model(void)
{
    struct graph g = { .nodes = BUF_INIT };
    model_nodes(&g, 0, "a", "b", "a/.OPTIMIZER_SLOT/m");
    write_ckpt("model", "a b a/.OPTIMIZER_SLOT/m", &g);
}

TEST(test_sm_match__names_of_children_decide_and_cycles_end)
{
    struct graph g = { .nodes = BUF_INIT };
    struct buf n = BUF_INIT;
    write_model();
    edge(&n, "net", 1);
    node_end(&g, &n);
    model_nodes(&g, 1, "second", "first", "third");
    write_ckpt("ckpt", "first second third", &g);
    check_match("model", "ckpt", NULL, "a<second a/.OPTIMIZER_SLOT/m<third b<first");
    check_match("model", "ckpt", "net", "a<second a/.OPTIMIZER_SLOT/m<third b<first");
    check_match("model", "model", NULL,
                "a<a a/.OPTIMIZER_SLOT/m<a/.OPTIMIZER_SLOT/m b<b");
}

/* What is not there is missing, or kept when it is training state; it is not taken from
 * elsewhere by its name. */
TEST(test_sm_match__a_part_is_not_filled_up_by_name)
{
    struct graph g = { .nodes = BUF_INIT };
    struct buf n = BUF_INIT;
    write_model();
    edge(&n, "a", 1);
    edge(&n, "other", 2);
    node_end(&g, &n);
    saved(&n, "Variable", "x");
    node_end(&g, &n);
    saved(&n, "b", "y");
    node_end(&g, &n);
    write_ckpt("ckpt", "x y", &g);
    check_match("model", "ckpt", NULL, "a<x a/.OPTIMIZER_SLOT/m!1 b!2");
}

TEST(test_sm_match__two_that_fit_are_refused)
{
    struct err err = ERR_INIT;
    struct graph g = { .nodes = BUF_INIT };
    struct buf n = BUF_INIT;
    struct sm_matches m;
    write_model();
    edge(&n, "old", 1);
    edge(&n, "new", 6);
    node_end(&g, &n);
    model_nodes(&g, 1, "oa", "ob", "om");
    model_nodes(&g, 6, "na", "nb", "nm");
    write_ckpt("ckpt", "oa ob om na nb nm", &g);
    struct sm_bundle *a = open_ckpt("model"), *b = open_ckpt("ckpt");
    CHECK_ERR(try_match(a, b, NULL, &m, &err), ERR_INVALID);
    CHECK_ERR(try_match(a, b, "nobody", &m, &err), ERR_NOTFOUND);
    sm_bundle_close(a);
    sm_bundle_close(b);
    check_match("model", "ckpt", "new", "a<na a/.OPTIMIZER_SLOT/m<nm b<nb");
}

/* Where the model shares one variable, the checkpoint has two: neither is it. */
TEST(test_sm_match__shared_in_the_model_only)
{
    struct graph g = { .nodes = BUF_INIT }, h = { .nodes = BUF_INIT };
    struct buf n = BUF_INIT;
    edge(&n, "in", 1);
    edge(&n, "out", 1);
    node_end(&g, &n);
    saved(&n, "w", "in");
    node_end(&g, &n);
    write_ckpt("model", "in", &g);
    edge(&n, "in", 1);
    edge(&n, "out", 2);
    node_end(&h, &n);
    saved(&n, "w", "in");
    node_end(&h, &n);
    saved(&n, "w", "out");
    node_end(&h, &n);
    write_ckpt("ckpt", "in out", &h);
    check_match("model", "ckpt", NULL, "in<in!3");
}

TEST(test_sm_match__names_without_objects)
{
    struct graph g = { .nodes = BUF_INIT };
    struct buf n = BUF_INIT;
    write_ckpt("names", "net/b net/w net/w/Adam beta1_power", NULL);
    write_ckpt("fewer", "net/b other", NULL);
    check_match("names", "fewer", NULL,
                "beta1_power!1 net/b<net/b net/w!2 net/w/Adam!1");
    /* From an object graph, by full names; two of one name are nobody's. */
    edge(&n, "x", 1);
    edge(&n, "y", 2);
    edge(&n, "z", 3);
    node_end(&g, &n);
    saved(&n, "net/b", "x");
    node_end(&g, &n);
    saved(&n, "net/w", "y");
    node_end(&g, &n);
    saved(&n, "net/w", "z");
    node_end(&g, &n);
    write_ckpt("objects", "x y z", &g);
    check_match("names", "objects", NULL,
                "beta1_power!1 net/b<x net/w<z!3 net/w/Adam!1");
    check_match("names", "objects", "y", "beta1_power!1 net/b!2 net/w<y net/w/Adam!1");
}

/* ---- hostile graphs ---- */

static int
try_objects(struct buf *nodes, struct err *err)
{
    static int turn;
    struct graph g = { .nodes = *nodes };
    struct sm_objects o;
    char name[32];
    *nodes = (struct buf)BUF_INIT;
    (void)snprintf(name, sizeof(name), "hostile-%d", turn++);
    write_ckpt(name, "a", &g);
    struct sm_bundle *b = open_ckpt(name);
    int rc = sm_objects_read(&o, b, err);
    sm_objects_release(&o);
    sm_bundle_close(b);
    return rc;
}

TEST(test_sm_trackable__what_is_no_graph)
{
    struct err err = ERR_INIT;
    struct buf nodes = BUF_INIT, n = BUF_INIT;
    CHECK_ERR(try_objects(&nodes, &err), ERR_CORRUPT); /* empty */
    edge(&n, "away", 1);
    pb_msg(&nodes, 1, &n);
    CHECK_ERR(try_objects(&nodes, &err), ERR_CORRUPT);
    edge(&n, "before", -1);
    pb_msg(&nodes, 1, &n);
    CHECK_ERR(try_objects(&nodes, &err), ERR_CORRUPT);
    slot(&n, 0, "m", 7);
    pb_msg(&nodes, 1, &n);
    CHECK_ERR(try_objects(&nodes, &err), ERR_CORRUPT);
    buf_adds(&nodes, "\x0a\x7f");
    CHECK_ERR(try_objects(&nodes, &err), ERR_CORRUPT);
    edge(&n, "self", 0);
    pb_msg(&nodes, 1, &n);
    CHECK_OK(try_objects(&nodes, &err));
}
