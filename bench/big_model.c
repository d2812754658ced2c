/* SPDX-License-Identifier: Apache-2.0 */
/* Writes a saved_model.pb of some size to stdout, for bench/run: a MetaGraph with the
 * tag "serve", a signature, and a graph of one kind.
 *
 * usage: big_model nodes|consts MB
 * nodes: small nodes as TensorFlow exports them (name, op, two inputs, two attributes);
 * consts: Const nodes of 8 MB of tensor_content each. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONST_BYTES = 8 << 20, CAP = 4096 };

struct msg {
    char p[CAP];
    size_t n;
};

static void
varint(struct msg *m, uint64_t v)
{
    for (; v > 0x7f; v >>= 7)
        m->p[m->n++] = (char)(v | 0x80);
    m->p[m->n++] = (char)v;
}

static void
number(struct msg *m, unsigned field, uint64_t v)
{
    varint(m, field << 3);
    varint(m, v);
}

/* The tag and length of a part whose bytes follow. */
static void
head(struct msg *m, unsigned field, uint64_t n_bytes)
{
    varint(m, field << 3 | 2);
    varint(m, n_bytes);
}

static void
part(struct msg *m, unsigned field, const void *p, size_t n)
{
    head(m, field, n);
    memcpy(m->p + m->n, p, n);
    m->n += n;
}

static void
text(struct msg *m, unsigned field, const char *s)
{
    part(m, field, s, strlen(s));
}

static void
put_msg(struct msg *m, unsigned field, const struct msg *sub)
{
    part(m, field, sub->p, sub->n);
}

/* node.attr["name"] = value */
static void
attr(struct msg *node, const char *name, const struct msg *value)
{
    struct msg entry = { .n = 0 };
    text(&entry, 1, name);
    put_msg(&entry, 2, value);
    put_msg(node, 5, &entry);
}

static void
small_node(struct msg *node, int i)
{
    struct msg type = { .n = 0 }, shape = { .n = 0 }, list = { .n = 0 },
               dim = { .n = 0 }, shapes = { .n = 0 };
    char name[64];
    snprintf(name, sizeof name, "tower_%d/block/add_%d", i / 1000, i);
    text(node, 1, name);
    text(node, 2, "AddV2");
    snprintf(name, sizeof name, "tower_%d/block/add_%d", i / 1000, i ? i - 1 : 0);
    text(node, 3, i ? name : "x");
    text(node, 3, "x");
    number(&type, 6, 1);
    attr(node, "T", &type);
    number(&dim, 1, (uint64_t)-1);
    put_msg(&shape, 2, &dim);
    dim.n = 0;
    number(&dim, 1, 128);
    put_msg(&shape, 2, &dim);
    put_msg(&list, 7, &shape);
    put_msg(&shapes, 1, &list);
    attr(node, "_output_shapes", &shapes);
}

/* A Const up to where its CONST_BYTES bytes begin; they end it. */
static void
const_head(struct msg *out, int i)
{
    struct msg node = { .n = 0 }, type = { .n = 0 }, dim = { .n = 0 },
               shape = { .n = 0 }, tensor = { .n = 0 }, lens[4];
    char name[64];
    snprintf(name, sizeof name, "const_%d", i);
    text(&node, 1, name);
    text(&node, 2, "Const");
    number(&type, 6, 1);
    attr(&node, "dtype", &type);
    number(&dim, 1, CONST_BYTES / 4);
    put_msg(&shape, 2, &dim);
    number(&tensor, 1, 1);
    put_msg(&tensor, 2, &shape);
    head(&tensor, 4, CONST_BYTES);
    /* tensor < AttrValue (8) < map entry (5) < node: each says how long it is. */
    memset(lens, 0, sizeof lens);
    head(&lens[0], 8, tensor.n + CONST_BYTES);
    text(&lens[1], 1, "value");
    head(&lens[1], 2, lens[0].n + tensor.n + CONST_BYTES);
    head(&lens[2], 5, lens[1].n + lens[0].n + tensor.n + CONST_BYTES);
    head(out, 1, node.n + lens[2].n + lens[1].n + lens[0].n + tensor.n + CONST_BYTES);
    const struct msg *const all[] = { &node, &lens[2], &lens[1], &lens[0], &tensor };
    for (int k = 0; k < 5; k++) {
        memcpy(out->p + out->n, all[k]->p, all[k]->n);
        out->n += all[k]->n;
    }
}

static void
put(const void *p, size_t n)
{
    if (fwrite(p, 1, n, stdout) != n) {
        perror("big_model: write");
        exit(1);
    }
}

/* Writes the nodes, or only says how many bytes they have. */
static uint64_t
graph(int is_nodes, uint64_t want_bytes, int is_written)
{
    static char content[CONST_BYTES];
    uint64_t n_bytes = 0;
    for (int i = 0; n_bytes < want_bytes; i++) {
        struct msg out = { .n = 0 }, node = { .n = 0 };
        if (is_nodes) {
            small_node(&node, i);
            put_msg(&out, 1, &node);
        } else {
            const_head(&out, i);
        }
        n_bytes += out.n + (is_nodes ? 0 : CONST_BYTES);
        if (is_written)
            put(out.p, out.n);
        if (is_written && !is_nodes)
            put(content, CONST_BYTES);
    }
    return n_bytes;
}

static void
signature(struct msg *meta)
{
    struct msg info = { .n = 0 }, entry = { .n = 0 }, sig = { .n = 0 },
               map = { .n = 0 };
    text(&info, 1, "x:0");
    number(&info, 2, 1);
    text(&entry, 1, "x");
    put_msg(&entry, 2, &info);
    put_msg(&sig, 1, &entry);
    text(&sig, 3, "tensorflow/serving/predict");
    text(&map, 1, "serving_default");
    put_msg(&map, 2, &sig);
    put_msg(meta, 5, &map);
}

int
main(int argc, char **argv)
{
    uint64_t want = argc == 3 ? strtoull(argv[2], NULL, 10) * 1000000 : 0;
    int is_nodes = argc == 3 && strcmp(argv[1], "nodes") == 0;
    if (want == 0 || (!is_nodes && strcmp(argv[1], "consts") != 0)) {
        fprintf(stderr, "usage: big_model nodes|consts MB >saved_model.pb\n");
        return 2;
    }
    struct msg model = { .n = 0 }, info = { .n = 0 }, meta = { .n = 0 },
               graph_head = { .n = 0 }, tail = { .n = 0 };
    uint64_t n_graph = graph(is_nodes, want, 0);
    text(&info, 4, "serve");
    put_msg(&meta, 1, &info);
    head(&graph_head, 2, n_graph);
    signature(&tail);
    number(&model, 1, 1);
    head(&model, 2, meta.n + graph_head.n + n_graph + tail.n);
    put(model.p, model.n);
    put(meta.p, meta.n);
    put(graph_head.p, graph_head.n);
    graph(is_nodes, want, 1);
    put(tail.p, tail.n);
    return fclose(stdout) != 0;
}
