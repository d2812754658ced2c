/* SPDX-License-Identifier: Apache-2.0 */
/* Models that are rewritten: a test's copy of a model, edited as a tree and written
 * again, and what its identity is then. */
#ifndef TESTS_UNIT_FINGERPRINT_VARIANT_H
#define TESTS_UNIT_FINGERPRINT_VARIANT_H

#include "tests/unit/fingerprint/tree.h"

#include <stdio.h>

/* Parts that a rewriting moves. */
enum {
    G = 1 << FP_PART_GRAPH,
    O = 1 << FP_PART_OBJECTS,
    A = 1 << FP_PART_ASSETS,
    W = 1 << FP_PART_WEIGHTS
};

struct variant {
    const char *name;
    void (*edit)(struct tree *model, const char *dir);
    const char *model; /* below tests/data; NULL: every model of the list */
    unsigned moves;
    bool is_alone; /* only on a model that nothing else rewrote */
};

static inline void
copy_entry_to(const char *to, const struct fs_entry *e)
{
    struct err err = ERR_INIT;
    char *path AUTO(free_ptr) = xasprintf("%s/%s", to, e->path);
    if (S_ISDIR(e->st.st_mode))
        CHECK_OK(fs_mkdirs(AT_FDCWD, path, 0755, &err));
    else
        CHECK_OK(fs_copy(e->dirfd, e->name, AT_FDCWD, path, 0644, &err));
}

static inline int
copy_entry(void *to, const struct fs_entry *e, struct err *err)
{
    (void)err;
    copy_entry_to(to, e);
    return 0;
}

/* Copies the model below tests/data to a fresh directory `dir`, edited. */
static inline void
variant_make(const struct variant *v, const char *model, const char *dir)
{
    struct err err = ERR_INIT;
    struct tree t;
    struct buf b = BUF_INIT;
    char *from AUTO(free_ptr) = xstrdup(unit_data(model));
    char *path AUTO(free_ptr) = xasprintf("%s/saved_model.pb", dir);
    CHECK_OK(fs_remove_tree(AT_FDCWD, dir, &err));
    CHECK_OK(fs_mkdirs(AT_FDCWD, dir, 0755, &err));
    CHECK_OK(fs_walk(AT_FDCWD, from, copy_entry, (void *)(uintptr_t)dir, &err));
    tree_read(&t, path);
    if (v)
        v->edit(&t, dir);
    tree_write(&t, &b);
    write_file(path, b.data, b.len);
    tree_free(&t);
    buf_release(&b);
}

static inline void
variant_identity(struct fp_identity *out, const char *dir)
{
    struct err err = ERR_INIT;
    int fd AUTO(fs_close) = -1;
    CHECK_OK(fs_open_dir(&fd, AT_FDCWD, dir, &err));
    CHECK_OK(fp_identity_of(out, fd, dir, &err));
}

static inline unsigned
variant_moved(const struct fp_identity *a, const struct fp_identity *b)
{
    unsigned moved = 0;
    for (int i = 0; i < FP_N_PARTS; i++)
        moved |= (unsigned)!digest_eq(&a->meaning.part[i], &b->meaning.part[i]) << i;
    CHECK(digest_eq(&a->meaning.id, &b->meaning.id) == (moved == 0));
    return moved;
}

/* ---- parts of a model ---- */

static inline struct tree *
meta_of(struct tree *t)
{
    return tree_get(t, 2);
}

static inline struct tree *
graph_of(struct tree *t)
{
    return tree_get(meta_of(t), 2);
}

static inline struct tree *
library_of(struct tree *t)
{
    return tree_get(graph_of(t), 2);
}

static inline struct tree *
objects_of(struct tree *t)
{
    return tree_get(meta_of(t), 7);
}

/* The function whose name begins so. */
static inline struct tree *
function_of(struct tree *t, const char *prefix)
{
    struct tree *lib = library_of(t);
    for (int i = 0; lib && i < lib->n; i++) {
        struct str name = tree_str(tree_get(&lib->kid[i], 1), 1);
        if (lib->kid[i].type == FP_M_FunctionDef && name.n >= strlen(prefix) &&
            memcmp(name.p, prefix, strlen(prefix)) == 0)
            return &lib->kid[i];
    }
    unit_fail(__FILE__, __LINE__, "no function %s", prefix);
}

/* The i-th node with this op in a graph or function. */
static inline struct tree *
node_of(struct tree *where, const char *op, int i)
{
    for (int k = 0; k < where->n; k++) {
        if (where->kid[k].type == FP_M_NodeDef && tree_is(&where->kid[k], 2, op) &&
            i-- == 0)
            return &where->kid[k];
    }
    unit_fail(__FILE__, __LINE__, "no node %s", op);
}

static inline struct tree *
named_node(struct tree *where, struct str name)
{
    for (int k = 0; k < where->n; k++) {
        if (where->kid[k].type == FP_M_NodeDef &&
            str_eq(tree_str(&where->kid[k], 1), name))
            return &where->kid[k];
    }
    return NULL;
}

static inline struct tree *
attr_of(struct tree *node, const char *name)
{
    struct tree *a = tree_map(node, 5, name);
    if (!a)
        unit_fail(__FILE__, __LINE__, "no attribute %s", name);
    return a;
}

static inline void
swap_bytes(struct tree *a, struct tree *b)
{
    struct buf x = a->bytes;
    a->bytes = b->bytes;
    b->bytes = x;
}

static inline void
variant_expect(const char *model, const char *what, const char *dir,
               const struct fp_identity *plain)
{
    struct fp_identity id;
    variant_identity(&id, dir);
    unsigned moved = variant_moved(plain, &id);
    if (moved != 0)
        unit_fail(__FILE__, __LINE__, "%s: '%s' moved parts %#x", model, what, moved);
}

static inline int
hash_entry(void *arg, const struct fs_entry *e, struct err *err)
{
    struct buf b AUTO(buf_release) = BUF_INIT;
    sha256_add(arg, e->path, strlen(e->path) + 1);
    if (S_ISREG(e->st.st_mode)) {
        if (fs_read(e->dirfd, e->name, &b, err) < 0)
            return -(int)err->code;
        sha256_add(arg, b.data, b.len);
    }
    return 0;
}

/* All names and bytes below `dir`. */
static inline void
variant_bytes(struct digest *out, const char *dir)
{
    struct err err = ERR_INIT;
    struct sha256 h;
    sha256_init(&h);
    CHECK_OK(fs_walk(AT_FDCWD, dir, hash_entry, &h, &err));
    sha256_end(&h, out);
}

/* Each rewriting, then all of them one after the other, on each model. A rewriting that
 * finds nothing to rewrite in a model says nothing about it: it must find some. */
static inline void
variant_check_kept(const struct variant *v, size_t n)
{
    static const char *const models[] = {
        "every_reference/model", "mlp_tiny/model",        "half_plus_two_tf1/model",
        "tf1_partitioned/model", "multi_signature/model", "../../demo/digits/v2",
    };
    char *dir AUTO(free_ptr) = xasprintf("%s/model", unit_dir());
    char *path AUTO(free_ptr) = xasprintf("%s/saved_model.pb", dir);
    int *n_rewritten AUTO(free_ptr) = xcalloc(n + 1, sizeof(*n_rewritten));
    for (size_t m = 0; m < sizeof(models) / sizeof(models[0]); m++) {
        struct fp_identity plain;
        struct digest bytes, new_bytes;
        struct tree t;
        struct buf b = BUF_INIT;
        variant_make(NULL, models[m], dir);
        variant_identity(&plain, dir);
        variant_bytes(&bytes, dir);
        for (size_t i = 0; i < n; i++) {
            variant_make(&v[i], models[m], dir);
            variant_bytes(&new_bytes, dir);
            n_rewritten[i] += !digest_eq(&bytes, &new_bytes);
            variant_expect(models[m], v[i].name, dir, &plain);
        }
        variant_make(NULL, models[m], dir);
        tree_read(&t, path);
        for (size_t i = 0; i < n; i++) {
            if (!v[i].is_alone)
                v[i].edit(&t, dir);
        }
        tree_write(&t, &b);
        write_file(path, b.data, b.len);
        tree_free(&t);
        buf_release(&b);
        variant_expect(models[m], "all", dir, &plain);
    }
    for (size_t i = 0; i < n; i++) {
        if (n_rewritten[i] == 0)
            unit_fail(__FILE__, __LINE__, "'%s' rewrites no model", v[i].name);
        printf("# keeps its meaning: %s, in %d models\n", v[i].name, n_rewritten[i]);
    }
}

#endif
