/* SPDX-License-Identifier: Apache-2.0 */
/* Constants of the graph and its functions: large ones, and the same value twice. */
#include "base/crypto.h"
#include "validate/val_lint_int.h"

#include <stdlib.h>
#include <string.h>

#define MIN_SAME_BYTES 4096   /* smaller ones do not matter, however many */
#define MIN_WASTE_BYTES 65536 /* of a group of equal ones */
#define MIN_LARGE_BYTES (1 << 20)

struct constant {
    int node;
    struct str value; /* TensorProto */
    struct digest digest;
};

static int
by_size(const void *a, const void *b)
{
    const struct constant *x = a, *y = b;
    if (x->value.n != y->value.n)
        return x->value.n < y->value.n ? 1 : -1;
    return (x->node > y->node) - (x->node < y->node);
}

static int
by_value(const void *a, const void *b)
{
    const struct constant *x = a, *y = b;
    int d = x->value.n == y->value.n
                ? memcmp(x->digest.b, y->digest.b, sizeof x->digest.b)
                : (x->value.n < y->value.n ? 1 : -1);
    return d ? d : (x->node > y->node) - (x->node < y->node);
}

static struct lint_place
place(const struct lint *l, int node, double bytes)
{
    struct sm_node n = scan_node(l->g, node);
    return (struct lint_place){ .op = n.op,
                                .node = n.name,
                                .function =
                                    l->g->bodies[lint_node_body(l->g, node)].name,
                                .bytes = bytes };
}

/* One group of equal constants, v[0] … v[n-1]. */
static void
same(struct lint *l, const struct constant *v, int n)
{
    enum { MAX_NAMES = 3 };
    double size = (double)v[0].value.n;
    struct buf text AUTO(buf_release) = BUF_INIT;
    if (n < 2 || size * (n - 1) < MIN_WASTE_BYTES)
        return;
    struct lint_place at = place(l, v[0].node, size * (n - 1));
    buf_addf(&text, "the same value of ");
    lint_size(&text, size);
    buf_addf(&text, " stands %d times in the graph, also at ", n);
    for (int i = 1; i < n && i <= MAX_NAMES; i++) {
        struct lint_place other = place(l, v[i].node, 0);
        char *name AUTO(free_ptr) = scan_text(other.node);
        char *function AUTO(free_ptr) = scan_text(other.function);
        buf_addf(&text, "%s'%s'%s%s%s", i > 1 ? ", " : "", name,
                 function[0] ? " in function '" : "", function, function[0] ? "'" : "");
    }
    if (n - 1 > MAX_NAMES)
        buf_addf(&text, " and %d more", n - 1 - MAX_NAMES);
    lint_add(l, LINT_duplicate_constants, &at, "%s", buf_str(&text));
}

/* `v` is sorted by size, larger first. Only sizes that occur twice are hashed. */
static void
groups(struct lint *l, struct constant *v, int n)
{
    for (int i = 0, k; i < n; i = k) {
        for (k = i; k < n && v[k].value.n == v[i].value.n; k++)
            ;
        for (int j = i; j < k && k - i > 1; j++)
            sha256_of(v[j].value.p, v[j].value.n, &v[j].digest);
    }
    if (n)
        qsort(v, (size_t)n, sizeof *v, by_value);
    for (int i = 0, k; i < n; i = k) {
        for (k = i + 1; k < n && v[k].value.n == v[i].value.n &&
                        digest_eq(&v[k].digest, &v[i].digest);
             k++)
            ;
        same(l, v + i, k - i);
    }
}

static void
large(struct lint *l, const struct constant *v, int n)
{
    double bytes = 0;
    int n_large = 0;
    struct buf text AUTO(buf_release) = BUF_INIT;
    for (; n_large < n && v[n_large].value.n >= MIN_LARGE_BYTES; n_large++)
        bytes += (double)v[n_large].value.n;
    if (!n_large)
        return;
    struct lint_place at = place(l, v[0].node, 0);
    buf_addf(&text, n_large == 1 ? "a constant of " : "%d constants of ", n_large);
    lint_size(&text, bytes);
    if (n_large > 1) {
        buf_adds(&text, " in all; the largest has ");
        lint_size(&text, (double)v[0].value.n);
    }
    lint_add(l, LINT_large_constants, &at, "%s", buf_str(&text));
}

/* Names of the variables, which saver and restorer both list. */
static bool
is_savers(struct str name)
{
    static const char *const ends[] = { "tensor_names", "shape_and_slices" };
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (memmem(name.p, name.n, ends[i], strlen(ends[i])))
            return true;
    return false;
}

void
lint_constants(struct lint *l)
{
    struct constant *v = NULL;
    int n = 0;
    for (int i = 0; i < l->g->n_nodes; i++) {
        struct sm_node node = scan_node(l->g, i);
        struct sm_attr a;
        if (node.raw.n < MIN_SAME_BYTES || !str_is(node.op, "Const") ||
            !sm_node_attr(&node, "value", &a) || a.kind != SM_ATTR_TENSOR ||
            a.bytes.n < MIN_SAME_BYTES || is_savers(node.name))
            continue;
        if ((n & (n - 1)) == 0)
            v = xreallocarray(v, n ? (size_t)n * 2 : 1, sizeof *v);
        v[n++] = (struct constant){ .node = i, .value = a.bytes };
    }
    if (n)
        qsort(v, (size_t)n, sizeof *v, by_size);
    large(l, v, n);
    groups(l, v, n);
    free(v);
}
