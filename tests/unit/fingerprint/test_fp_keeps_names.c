/* SPDX-License-Identifier: Apache-2.0 */
/* Rewritings that keep what a model means, of names and order: its semantic digest
 * stays. */
#include "tests/unit/fingerprint/variant.h"

/* ---- names ---- */

struct rename {
    struct str *old;
    char **new;
    int n;
    struct tree *where; /* nodes: the graph or function */
    const char *prefix;
};

static void
rename_text(const struct rename *r, struct buf *text, size_t from, size_t n)
{
    struct str part = { text->data + from, n };
    for (int i = 0; i < r->n; i++) {
        if (!str_eq(r->old[i], part))
            continue;
        struct buf out = BUF_INIT;
        buf_add(&out, text->data, from);
        buf_adds(&out, r->new[i]);
        buf_add(&out, text->data + from + n, text->len - from - n);
        buf_release(text);
        *text = out;
        return;
    }
}

static void
rename_fields(const struct rename *r, struct tree *t, uint32_t num)
{
    for (int i = 0; i < t->n; i++) {
        if (t->kid[i].num == num && t->kid[i].type == TREE_LEAF)
            rename_text(r, &t->kid[i].bytes, 0, t->kid[i].bytes.len);
    }
}

static void
rename_references(struct tree *t, void *arg)
{
    const struct rename *r = arg;
    switch (t->type) {
    case FP_M_FunctionDef:
        rename_fields(r, tree_get(t, 1), 1);
        break;
    case FP_M_NodeDef:
    case FP_M_CapturedTensor:
        rename_fields(r, t, 2);
        break;
    case FP_M_NameAttrList:
    case FP_M_RegisteredGradient:
    case FP_M_SavedFunction:
    case FP_M_SavedBareConcreteFunction:
        rename_fields(r, t, 1);
        break;
    case FP_M_GradientDef:
        rename_fields(r, t, 1);
        rename_fields(r, t, 2);
        break;
    case FP_M_SavedObjectGraph:
    case FP_M_MetaInfoDef:
        for (int i = 0; i < t->n; i++) {
            if (t->kid[i].type == TREE_ENTRY)
                rename_fields(r, &t->kid[i], 1);
        }
        break;
    default:
        break;
    }
}

static void
rename_free(struct rename *r)
{
    for (int i = 0; i < r->n; i++) {
        free(r->new[i]);
        free((char *)(uintptr_t)r->old[i].p);
    }
    free(r->old);
    free(r->new);
}

static void
rename_add(struct rename *r, struct str old, char *new)
{
    r->old = xreallocarray(r->old, (size_t)r->n + 1, sizeof(*r->old));
    r->new = xreallocarray(r->new, (size_t)r->n + 1, sizeof(*r->new));
    r->old[r->n] = (struct str){ xstrndup(old.p, old.n), old.n };
    r->new[r->n++] = new;
}

static void
rename_functions(struct tree *t, const char *format)
{
    struct rename r = { .n = 0 };
    struct tree *lib = library_of(t);
    for (int i = 0; lib && i < lib->n; i++) {
        if (lib->kid[i].type != FP_M_FunctionDef)
            continue;
        struct str name = tree_str(tree_get(&lib->kid[i], 1), 1);
        struct str stem = name;
        while (stem.n > 0 && stem.p[stem.n - 1] != '_')
            stem.n--;
        rename_add(&r, name,
                   format ? xasprintf("f%d%s", (i * 37) % 101, format)
                          : xasprintf("%.*s%d", STR_ARG(stem), 70000 - 11 * i));
    }
    tree_each(t, -3, rename_references, &r);
    rename_free(&r);
}

static void
function_numbers(struct tree *t, const char *dir)
{
    (void)dir;
    rename_functions(t, NULL);
}

static void
function_names(struct tree *t, const char *dir)
{
    (void)dir;
    rename_functions(t, "_renamed");
}

/* "^node", "node:port" */
static void
rename_input(const struct rename *r, struct buf *text)
{
    size_t from = text->len > 0 && text->data[0] == '^';
    const char *colon = memchr(buf_str(text), ':', text->len);
    rename_text(r, text, from,
                (colon ? (size_t)(colon - text->data) : text->len) - from);
}

static void
rename_inputs(const struct rename *r, struct tree *node)
{
    for (int i = 0; i < node->n; i++) {
        if (node->kid[i].num == SM_NODE_INPUT)
            rename_input(r, &node->kid[i].bytes);
    }
}

static void
rename_nodes_of(struct tree *where, const char *prefix, struct rename *r)
{
    for (int i = 0; i < where->n; i++) {
        struct tree *node = &where->kid[i];
        if (node->type != FP_M_NodeDef || tree_is(node, 2, "VariableV2"))
            continue;
        rename_add(r, tree_str(node, 1), xasprintf("%s%d", prefix, 1000 - i));
    }
    for (int i = 0; i < where->n; i++) {
        if (where->kid[i].type != FP_M_NodeDef)
            continue;
        rename_fields(r, &where->kid[i], 1);
        rename_inputs(r, &where->kid[i]);
    }
}

static void
rename_body(struct tree *fn, void *arg)
{
    struct rename r = { .n = 0 };
    struct tree *signature = tree_get(fn, 1);
    (void)arg;
    for (int i = 0; i < signature->n; i++) {
        if (signature->kid[i].num != 2)
            continue;
        struct tree *input = &signature->kid[i];
        rename_add(&r, tree_str(input, 1), xasprintf("argument_%d", i));
        rename_fields(&r, input, 1);
    }
    rename_nodes_of(fn, "body/", &r);
    for (int i = 0; i < fn->n; i++) {
        if (fn->kid[i].num == 4 || fn->kid[i].num == 6)
            rename_input(&r, &tree_get(&fn->kid[i], 2)->bytes);
    }
    rename_free(&r);
}

static void
body_names(struct tree *t, const char *dir)
{
    (void)dir;
    tree_each(t, FP_M_FunctionDef, rename_body, NULL);
}

static void
rename_info(struct tree *t, void *arg)
{
    if (t->type == FP_M_TensorInfo && tree_get(t, 1))
        rename_input(arg, &tree_get(t, 1)->bytes);
    if (t->type == FP_M_SavedConstant)
        rename_fields(arg, t, 1);
}

static void
node_names(struct tree *t, const char *dir)
{
    struct rename r = { .n = 0 };
    struct tree *saver = tree_get(meta_of(t), 3);
    (void)dir;
    rename_nodes_of(graph_of(t), "main/", &r);
    tree_each(t, FP_M_TensorInfo, rename_info, &r);
    tree_each(t, FP_M_SavedConstant, rename_info, &r);
    for (uint32_t i = 1; i <= 3; i++)
        rename_input(&r, &tree_get(saver, i)->bytes);
    struct tree *init = tree_map(meta_of(t), 4, "saved_model_main_op");
    if (init)
        rename_input(&r, &tree_get(tree_get(init, 1), 1)->bytes);
    rename_free(&r);
}

static void
rename_resource(struct tree *node, void *arg)
{
    struct tree *shared = tree_map(node, 5, "shared_name");
    (void)arg;
    if (shared && tree_get(shared, 2)->bytes.len > 0)
        buf_adds(&tree_get(shared, 2)->bytes, "_renamed");
}

static void
resource_names(struct tree *t, const char *dir)
{
    (void)dir;
    tree_each(t, FP_M_NodeDef, rename_resource, NULL);
}

/* ---- order ---- */

static bool
is_node(struct tree *t, int i)
{
    return t->kid[i].type == FP_M_NodeDef;
}

static bool
is_function(struct tree *t, int i)
{
    return t->kid[i].type == FP_M_FunctionDef || t->kid[i].num != 1;
}

static bool
is_entry(struct tree *t, int i)
{
    return t->kid[i].type == TREE_ENTRY;
}

static bool
is_control(struct tree *t, int i)
{
    return t->kid[i].num == SM_NODE_INPUT && t->kid[i].bytes.len > 0 &&
           t->kid[i].bytes.data[0] == '^';
}

static void
shuffle_nodes(struct tree *t, void *seed)
{
    tree_shuffle(t, seed, is_node);
}

static void
node_order(struct tree *t, const char *dir)
{
    uint32_t seed = 3;
    (void)dir;
    tree_each(t, FP_M_GraphDef, shuffle_nodes, &seed);
    tree_each(t, FP_M_FunctionDef, shuffle_nodes, &seed);
}

static void
function_order(struct tree *t, const char *dir)
{
    uint32_t seed = 5;
    (void)dir;
    if (library_of(t))
        tree_shuffle(library_of(t), &seed, is_function);
}

static void
shuffle_entries(struct tree *t, void *seed)
{
    tree_shuffle(t, seed, is_entry);
}

static void
map_order(struct tree *t, const char *dir)
{
    uint32_t seed = 7;
    (void)dir;
    tree_each(t, -3, shuffle_entries, &seed);
}

static void
shuffle_controls(struct tree *t, void *seed)
{
    tree_shuffle(t, seed, is_control);
}

static void
control_order(struct tree *t, const char *dir)
{
    uint32_t seed = 11;
    (void)dir;
    tree_each(t, FP_M_NodeDef, shuffle_controls, &seed);
}

/* Fields by descending number, each one's elements as they stood. */
static void
reverse_fields(struct tree *t, void *arg)
{
    (void)arg;
    for (int i = 1; i < t->n; i++) {
        struct tree x = t->kid[i];
        int k = i;
        for (; k > 0 && t->kid[k - 1].num < x.num; k--)
            t->kid[k] = t->kid[k - 1];
        t->kid[k] = x;
    }
}

static void
field_order(struct tree *t, const char *dir)
{
    (void)dir;
    tree_each(t, -3, reverse_fields, NULL);
}

/* Object ids: the n-th from the end instead of the n-th, the root aside. */
static int
remap(const struct tree *objects, int64_t id)
{
    int n = 0;
    for (int i = 0; i < objects->n; i++)
        n += objects->kid[i].type == FP_M_SavedObject;
    return id <= 0 ? (int)id : n - (int)id;
}

static void
remap_field(const struct tree *objects, struct tree *t, uint32_t num)
{
    struct tree *k = t ? tree_get(t, num) : NULL;
    if (k)
        k->v = (uint64_t)remap(objects, (int64_t)k->v);
}

static void
remap_bound(const struct tree *objects, struct tree *concrete)
{
    struct tree *bound = tree_get(concrete, 2);
    struct buf out = BUF_INIT;
    if (!bound)
        return;
    struct str it = str_buf(&bound->bytes);
    uint64_t v;
    while (it.n > 0 && sm_varint(&it, &v))
        add_varint(&out, (uint64_t)remap(objects, (int64_t)v));
    buf_release(&bound->bytes);
    bound->bytes = out;
}

static void
remap_ids(struct tree *t, void *arg)
{
    if (t->type == FP_M_ObjectReference)
        remap_field(arg, t, 1);
    if (t->type == FP_M_SlotVariableReference) {
        remap_field(arg, t, 1);
        remap_field(arg, t, 3);
    }
    if (t->type == FP_M_SaveableObject) {
        remap_field(arg, t, 2);
        remap_field(arg, t, 3);
    }
    if (t->type == FP_M_SavedConcreteFunction)
        remap_bound(arg, t);
}

static void
object_order(struct tree *t, const char *dir)
{
    struct tree *objects = objects_of(t);
    (void)dir;
    if (!objects)
        return;
    tree_each(objects, -3, remap_ids, objects);
    int lo = 1, hi = objects->n - 1;
    while (hi > 0 && objects->kid[hi].type != FP_M_SavedObject)
        hi--;
    for (; lo < hi; lo++, hi--) {
        CHECK(objects->kid[lo].type == FP_M_SavedObject);
        struct tree x = objects->kid[lo];
        objects->kid[lo] = objects->kid[hi];
        objects->kid[hi] = x;
    }
}

static bool
is_child(struct tree *t, int i)
{
    return t->kid[i].num == 1 && t->kid[i].type == FP_M_ObjectReference;
}

static void
shuffle_children(struct tree *t, void *seed)
{
    tree_shuffle(t, seed, is_child);
}

static void
child_order(struct tree *t, const char *dir)
{
    uint32_t seed = 13;
    (void)dir;
    tree_each(t, FP_M_SavedObject, shuffle_children, &seed);
}

static const struct variant keeps[] = {
    { "function numbers", function_numbers, NULL, 0, false },
    { "function names", function_names, NULL, 0, false },
    { "names in bodies", body_names, NULL, 0, false },
    { "node names", node_names, NULL, 0, false },
    { "resource names", resource_names, NULL, 0, false },
    { "node order", node_order, NULL, 0, false },
    { "function order", function_order, NULL, 0, false },
    { "map order", map_order, NULL, 0, false },
    { "control input order", control_order, NULL, 0, false },
    { "field order", field_order, NULL, 0, true },
    { "object order", object_order, NULL, 0, false },
    { "child order", child_order, NULL, 0, false },
};

TEST(test_fp_keeps_names__every_rewriting)
{
    variant_check_kept(keeps, sizeof(keeps) / sizeof(keeps[0]));
}

/* ---- an alias of several functions ---- */

/* What a polymorphic function with an alias leaves: all its functions have it. */
static void
shared_alias(struct tree *t, const char *dir)
{
    struct tree *info = tree_get(meta_of(t), 1), *lib = library_of(t);
    (void)dir;
    for (int i = 0; i < lib->n; i++) {
        struct str name = tree_str(tree_get(&lib->kid[i], 1), 1);
        if (lib->kid[i].type != FP_M_FunctionDef)
            continue;
        char *key AUTO(free_ptr) = xstrndup(name.p, name.n);
        if (!tree_map(info, 8, key))
            buf_adds(&tree_map_add(info, 8, key, TREE_LEAF)->bytes,
                     i % 2 ? "odd" : "even");
    }
}

static void
shared_alias_numbers(struct tree *t, const char *dir)
{
    shared_alias(t, dir);
    function_numbers(t, dir);
}

static void
shared_alias_names(struct tree *t, const char *dir)
{
    shared_alias(t, dir);
    function_names(t, dir);
    map_order(t, dir);
}

/* TensorFlow lists functions that it did not write. */
static void
shared_alias_absent(struct tree *t, const char *dir)
{
    struct tree *info = tree_get(meta_of(t), 1);
    shared_alias(t, dir);
    buf_adds(&tree_map_add(info, 8, "__inference_pruned_7", TREE_LEAF)->bytes, "odd");
}

static void
shared_alias_less(struct tree *t, const char *dir)
{
    struct tree *info = tree_get(meta_of(t), 1);
    shared_alias(t, dir);
    tree_drop(info, tree_get(info, 8));
}

TEST(test_fp_keeps_names__alias_of_many_functions)
{
    static const struct variant v[] = {
        { "shared alias", shared_alias, NULL, 0, false },
        { "numbers under a shared alias", shared_alias_numbers, NULL, 0, false },
        { "names under a shared alias", shared_alias_names, NULL, 0, false },
        { "an absent function under a shared alias", shared_alias_absent, NULL, 0,
          false },
        { "less under a shared alias", shared_alias_less, NULL, G, false },
    };
    static const char *const models[] = { "every_reference/model",
                                          "multi_signature/model",
                                          "../../demo/digits/v2" };
    char *dir AUTO(free_ptr) = xasprintf("%s/model", unit_dir());
    for (size_t m = 0; m < sizeof(models) / sizeof(models[0]); m++) {
        struct fp_identity plain, other;
        variant_make(&v[0], models[m], dir);
        variant_identity(&plain, dir);
        for (size_t i = 1; i < sizeof(v) / sizeof(v[0]); i++) {
            variant_make(&v[i], models[m], dir);
            variant_identity(&other, dir);
            if (variant_moved(&plain, &other) != v[i].moves)
                unit_fail(__FILE__, __LINE__, "%s: '%s' moved parts %#x", models[m],
                          v[i].name, variant_moved(&plain, &other));
        }
    }
}
