/* SPDX-License-Identifier: Apache-2.0 */
/* Rewritings that keep what a model means: its semantic digest stays. */
#include "tests/unit/fingerprint/variant.h"

static const char *const models[] = {
    "every_reference/model", "mlp_tiny/model",        "half_plus_two_tf1/model",
    "tf1_partitioned/model", "multi_signature/model", "../../demo/digits/v2",
};

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

static int
field_cmp(const void *a, const void *b)
{
    const struct tree *x = a, *y = b;
    if (x->num != y->num)
        return x->num > y->num ? -1 : 1;
    /* as they stood: the array is sorted in place, so by where their bytes lie */
    return x->v > y->v ? 1 : -1;
}

/* Fields by descending number. */
static void
reverse_fields(struct tree *t, void *arg)
{
    (void)arg;
    uint64_t *keep = xcalloc((size_t)t->n + 1, sizeof(*keep));
    for (int i = 0; i < t->n; i++) {
        if (t->kid[i].wire != 2) {
            free(keep);
            return; /* v is in use */
        }
        t->kid[i].v = (uint64_t)i;
    }
    if (t->n > 1)
        qsort(t->kid, (size_t)t->n, sizeof(*t->kid), field_cmp);
    free(keep);
}

static void
field_order(struct tree *t, const char *dir)
{
    (void)dir;
    tree_each(t, -3, reverse_fields, NULL);
}

static int remap(const struct tree *objects, int64_t id);

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
    while (it.n > 0 && fp_take_varint(&it, &v))
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

/* ---- how values are written ---- */

static void
fatten_all(struct tree *t, void *arg)
{
    (void)arg;
    for (int i = 0; i < t->n; i++)
        t->kid[i].is_fat = true;
}

static void
long_varints(struct tree *t, const char *dir)
{
    (void)dir;
    tree_each(t, -3, fatten_all, NULL);
}

/* Floats and 32-bit integers as typed values; one value repeated as one. */
static void
recode(struct tree *t, void *arg)
{
    struct tree *dtype = tree_get(t, 1), *content = tree_get(t, 4);
    (void)arg;
    if (!dtype || (dtype->v != SM_FLOAT && dtype->v != SM_INT32))
        return;
    if (content && content->bytes.len > 0) {
        struct buf b = content->bytes;
        content->bytes = (struct buf){ .len = 0 };
        while (b.len >= 8 && memcmp(b.data + b.len - 4, b.data + b.len - 8, 4) == 0)
            b.len -= 4;
        for (size_t i = 0; i < b.len; i += 4) {
            uint32_t v;
            memcpy(&v, b.data + i, 4);
            struct tree *x = tree_add(t, TREE_LEAF, dtype->v == SM_FLOAT ? 5 : 7,
                                      dtype->v == SM_FLOAT ? 5 : 0);
            dtype = tree_get(t, 1);
            x->v = dtype->v == SM_FLOAT ? v : (uint64_t)(int64_t)(int32_t)v;
        }
        buf_release(&b);
    }
}

static void
constants_as_values(struct tree *t, const char *dir)
{
    (void)dir;
    tree_each(t, FP_M_TensorProto, recode, NULL);
}

/* A single typed float or integer as raw bytes. */
static void
recode_scalar(struct tree *t, void *arg)
{
    struct tree *dtype = tree_get(t, 1), *shape = tree_get(t, 2);
    struct tree *v = dtype ? tree_get(t, dtype->v == SM_FLOAT ? 5 : 7) : NULL;
    (void)arg;
    if (!v || (dtype->v != SM_FLOAT && dtype->v != SM_INT32) ||
        (shape && tree_get(shape, 2)) || v->wire != 2)
        return;
    uint32_t bits;
    uint64_t x;
    struct str it = str_buf(&v->bytes);
    if (dtype->v == SM_FLOAT) {
        memcpy(&bits, it.p, 4);
    } else {
        CHECK(fp_take_varint(&it, &x));
        bits = (uint32_t)x;
    }
    tree_drop(t, v);
    struct tree *content = tree_add(t, TREE_LEAF, 4, 2);
    buf_add(&content->bytes, &bits, sizeof(bits));
}

static void
constants_as_bytes(struct tree *t, const char *dir)
{
    (void)dir;
    tree_each(t, FP_M_TensorProto, recode_scalar, NULL);
}

/* Default attributes written out. */
static void
fill_defaults(struct tree *node, void *arg)
{
    struct tree *ops = arg;
    for (int i = 0; i < ops->n; i++) {
        struct tree *op = &ops->kid[i];
        if (!str_eq(tree_str(op, 1), tree_str(node, 2)))
            continue;
        for (int k = 0; k < op->n; k++) {
            struct tree *def = op->kid[k].num == 4 ? tree_get(&op->kid[k], 3) : NULL;
            char *name AUTO(free_ptr) =
                xstrndup(tree_str(&op->kid[k], 1).p, tree_str(&op->kid[k], 1).n);
            struct buf raw AUTO(buf_release) = BUF_INIT;
            if (!def || tree_map(node, 5, name))
                continue;
            tree_write(def, &raw);
            tree_fill(tree_map_add(node, 5, name, FP_M_AttrValue), str_buf(&raw));
        }
    }
}

static void
defaults_written(struct tree *t, const char *dir)
{
    (void)dir;
    tree_each(graph_of(t), FP_M_NodeDef, fill_defaults,
              tree_get(tree_get(meta_of(t), 1), 2));
}

/* ---- what says nothing ---- */

static void
set_device(struct tree *t, void *arg)
{
    (void)arg;
    tree_set_str(t, 4, "/job:localhost/device:CPU:0");
}

static void
devices(struct tree *t, const char *dir)
{
    (void)dir;
    tree_each(t, FP_M_NodeDef, set_device, NULL);
}

static void
change_hints(struct tree *t, void *arg)
{
    (void)arg;
    for (int i = t->n - 1; i >= 0; i--) {
        struct str key = tree_str(&t->kid[i], 1);
        if (t->kid[i].num == 5 && key.n > 0 && key.p[0] == '_' &&
            !str_is(key, FP_GRADIENT_ATTR))
            tree_drop(t, &t->kid[i]);
    }
    tree_set_str(tree_map_add(t, 5, "_a_hint", FP_M_AttrValue), 2, "value");
}

static void
hints(struct tree *t, const char *dir)
{
    (void)dir;
    tree_each(t, FP_M_NodeDef, change_hints, NULL);
}

static void
drop_function_attrs(struct tree *t, void *arg)
{
    (void)arg;
    for (int i = t->n - 1; i >= 0; i--) {
        if (t->kid[i].num == 5 || t->kid[i].num == 7)
            tree_drop(t, &t->kid[i]);
    }
}

static void
function_attrs(struct tree *t, const char *dir)
{
    (void)dir;
    tree_each(t, FP_M_FunctionDef, drop_function_attrs, NULL);
}

static void
versions(struct tree *t, const char *dir)
{
    struct tree *info = tree_get(meta_of(t), 1);
    (void)dir;
    tree_set_str(info, 5, "2.99.0");
    tree_set_str(info, 6, "v2.99.0-0-gdeadbeef");
    tree_set_str(info, 1, "another");
    tree_set_int(tree_get(graph_of(t), 4), 1, 4321);
}

static void
change_config(struct tree *t, void *arg)
{
    struct tree *config = tree_map(t, 5, "config_proto");
    (void)arg;
    if (config)
        tree_set_str(config, 2, "\n\7\n\3CPU\20\3");
}

static void
call_configuration(struct tree *t, const char *dir)
{
    (void)dir;
    tree_each(t, FP_M_NodeDef, change_config, NULL);
}

static void
dead_code(struct tree *t, const char *dir)
{
    struct tree *node = tree_add(graph_of(t), FP_M_NodeDef, 1, 2);
    (void)dir;
    tree_set_str(node, 1, "nobody/asks/for/it");
    tree_set_str(node, 2, "RandomUniform");
    if (!library_of(t))
        tree_add(graph_of(t), FP_M_FunctionDefLibrary, 2, 2);
    struct tree *fn = tree_add(library_of(t), FP_M_FunctionDef, 1, 2);
    tree_set_str(tree_add(fn, FP_M_OpDef, 1, 2), 1, "__inference_dead_1");
    struct tree *body = tree_add(fn, FP_M_NodeDef, 3, 2);
    tree_set_str(body, 1, "x");
    tree_set_str(body, 2, "NoOp");
}

static void
debug_info(struct tree *t, const char *dir)
{
    struct tree *info = tree_add(graph_of(t), FP_M_GraphDebugInfo, 5, 2);
    (void)dir;
    tree_set_str(info, 1, "model.py");
    struct tree *node = node_of(graph_of(t), "NoOp", 0);
    tree_set_str(tree_add(node, FP_M_NodeDebugInfo, 6, 2), 1, "original");
}

static void
collections(struct tree *t, const char *dir)
{
    struct tree *meta = meta_of(t);
    (void)dir;
    for (int i = meta->n - 1; i >= 0; i--) {
        if (meta->kid[i].num == 4 && !tree_is(&meta->kid[i], 1, "saved_model_main_op"))
            tree_drop(meta, &meta->kid[i]);
    }
    struct tree *more = tree_map_add(meta, 4, "losses", FP_M_CollectionDef);
    tree_set_str(tree_add(more, FP_M_NodeList, 1, 2), 1, "loss:0");
}

static void
add_unknown(struct tree *t, void *arg)
{
    (void)arg;
    if (t->type != TREE_ENTRY)
        tree_set_str(t, 1999, "from the future");
}

static void
unknown_fields(struct tree *t, const char *dir)
{
    (void)dir;
    tree_each(t, -3, add_unknown, NULL);
}

static void
tags(struct tree *t, const char *dir)
{
    struct tree *again = tree_add(tree_get(meta_of(t), 1), TREE_LEAF, 4, 2);
    (void)dir;
    buf_adds(&again->bytes, "serve");
}

static void
name_dims(struct tree *t, void *arg)
{
    (void)arg;
    tree_set_str(t, 2, "batch");
}

static void
rename_dims(struct tree *node, void *arg)
{
    tree_each(node, FP_M_Dim, name_dims, arg);
}

static void
dim_names(struct tree *t, const char *dir)
{
    (void)dir;
    tree_each(t, FP_M_NodeDef, rename_dims, NULL);
    tree_each(t, FP_M_TensorInfo, rename_dims, NULL);
}

static void
strip_object(struct tree *t, void *arg)
{
    (void)arg;
    if (t->type == FP_M_SavedVariable) {
        tree_set_str(t, 6, "another_name");
        tree_set_str(t, 7, "/device:GPU:0");
    } else if (t->type == FP_M_SavedUserObject) {
        tree_set_str(t, 3, "{\"class_name\": \"Other\"}");
    }
}

static void
object_notes(struct tree *t, const char *dir)
{
    (void)dir;
    tree_each(t, -3, strip_object, NULL);
}

static void
describe(struct tree *t, void *arg)
{
    (void)arg;
    tree_set_str(t, 5, "a summary");
    tree_set_str(t, 6, "a description");
}

static void
descriptions(struct tree *t, const char *dir)
{
    (void)dir;
    tree_each(t, FP_M_OpDef, describe, NULL);
}

static void
saving(struct tree *t, const char *dir)
{
    struct tree *saver = tree_get(meta_of(t), 3);
    (void)dir;
    tree_set_str(saver, 2, "nothing:0");
    tree_set_int(saver, 4, 17);
}

static void
other_files(struct tree *t, const char *dir)
{
    struct err err = ERR_INIT;
    char *path AUTO(free_ptr) = xasprintf("%s/fingerprint.pb", dir);
    char *more AUTO(free_ptr) = xasprintf("%s/keras_metadata.pb", dir);
    (void)t;
    CHECK_OK(fs_unlink(AT_FDCWD, path, &err));
    write_file(more, "x", 1);
}

/* ---- the checkpoint ---- */

struct shards {
    struct buf data[4];
    int n;
    struct {
        struct buf key, value;
    } entry[256];
    int n_entries;
};

static void
put_entry(struct shards *s, struct str key, const struct sm_entry *e,
          const int64_t *dims, struct str bytes, uint32_t crc)
{
    int shard = s->n_entries % s->n;
    struct buf *key_out = &s->entry[s->n_entries].key;
    struct buf *v = &s->entry[s->n_entries++].value;
    buf_add(&s->data[shard], "padding", 7);
    buf_add(key_out, key.p, key.n);
    pb_fixed32(v, 6, crc);
    pb_int(v, 5, (int64_t)bytes.n);
    pb_int(v, 4, (int64_t)s->data[shard].len);
    pb_int(v, 3, shard);
    pb_shape(v, 2, dims);
    pb_int(v, 1, e->dtype);
    buf_add(&s->data[shard], bytes.p, bytes.n);
}

static void
dims_of(const struct sm_entry *e, int64_t *dims)
{
    memcpy(dims, e->shape.dims, sizeof(e->shape.dims));
    dims[e->shape.rank] = -2;
}

/* A tensor in two slices along its first dimension. */
static void
put_slices(struct shards *s, const struct sm_entry *e, struct str bytes)
{
    int64_t dims[SM_MAX_RANK + 1], first = e->shape.dims[0] / 2;
    size_t row = bytes.n / (size_t)e->shape.dims[0];
    struct buf *v = &s->entry[s->n_entries].value;
    dims_of(e, dims);
    buf_add(&s->entry[s->n_entries++].key, e->key.p, e->key.n);
    pb_int(v, 1, e->dtype);
    pb_shape(v, 2, dims);
    for (int i = 0; i < 2; i++) {
        int64_t start = i ? first : 0, n = i ? e->shape.dims[0] - first : first;
        struct buf slice = BUF_INIT, extent = BUF_INIT, key = BUF_INIT;
        struct str part = { bytes.p + (size_t)start * row, (size_t)n * row };
        pb_int(&extent, 1, start);
        pb_int(&extent, 2, n);
        pb_msg(&slice, 1, &extent);
        buf_addc(&key, 0);
        buf_add(&key, e->key.p, e->key.n);
        buf_add(&key, "\0\1\1", 3);
        buf_addc(&key, (char)e->shape.rank);
        buf_addc(&key, (char)(start ^ 0x80));
        buf_addc(&key, (char)(n ^ 0x80));
        for (int k = 1; k < e->shape.rank; k++) {
            buf_add(&key, "\x80\x7f", 2);
            pb_msg(&slice, 1, &extent);
        }
        pb_msg(v, 7, &slice);
        dims[0] = n;
        put_entry(s, str_buf(&key), e, dims, part,
                  crc32c_mask(crc32c(0, part.p, part.n)));
        buf_release(&key);
        v = &s->entry[s->n_entries - 2 - i].value;
    }
}

static int
entry_order(const void *a, const void *b)
{
    const struct {
        struct buf key, value;
    } *x = a, *y = b;
    return str_cmp(str_buf(&x->key), str_buf(&y->key));
}

static void
shards_write(struct shards *s, const char *dir)
{
    struct table table = { .entries = BUF_INIT };
    char path[512];
    qsort(s->entry, (size_t)s->n_entries, sizeof(s->entry[0]), entry_order);
    table_header(&table, s->n, 0);
    for (int i = 0; i < s->n_entries; i++) {
        table_add(&table, str_buf(&s->entry[i].key), &s->entry[i].value);
        buf_release(&s->entry[i].key);
    }
    snprintf(path, sizeof(path), "%s/variables/variables.index", dir);
    table_write(&table, (struct str){ "", 0 }, path);
    for (int i = 0; i < s->n; i++) {
        snprintf(path, sizeof(path), "%s/variables/variables.data-%05d-of-%05d", dir, i,
                 s->n);
        write_file(path, buf_str(&s->data[i]), s->data[i].len);
        buf_release(&s->data[i]);
    }
}

/* The same tensors in n shards, last one first, with gaps; big ones in slices. */
static void
reshard(const char *dir, int n, bool is_sliced)
{
    struct shards s = { .n = n };
    struct sm_bundle *b = NULL;
    struct err err = ERR_INIT;
    struct buf data = BUF_INIT;
    char path[512];
    int fd AUTO(fs_close) = -1;
    CHECK_OK(fs_open_dir(&fd, AT_FDCWD, dir, &err));
    CHECK_OK(sm_bundle_open(&b, fd, "variables/variables", &err));
    CHECK_INT(sm_bundle_n_shards(b), 1);
    snprintf(path, sizeof(path), "%s/variables/variables.data-00000-of-00001", dir);
    read_file(path, &data);
    for (int i = sm_bundle_n_entries(b) - 1; i >= 0; i--) {
        const struct sm_entry *e = sm_bundle_entry(b, i);
        struct sm_tensor t = { .data = NULL };
        int64_t dims[SM_MAX_RANK + 1];
        struct str bytes = { data.data + e->offset, (size_t)e->size_bytes };
        dims_of(e, dims);
        if (e->n_slices > 0) { /* a partitioned one becomes one piece */
            CHECK_OK(
                sm_bundle_tensor(b, e->key, (struct str){ "", 0 }, true, &t, &err));
            bytes = (struct str){ t.data, sm_tensor_bytes(&t) };
            put_entry(&s, e->key, e, dims, bytes,
                      crc32c_mask(crc32c(0, bytes.p, bytes.n)));
        } else if (is_sliced && e->shape.rank > 0 && e->shape.dims[0] > 1 &&
                   e->shape.dims[0] < 64) {
            put_slices(&s, e, bytes);
        } else {
            put_entry(&s, e->key, e, dims, bytes, e->crc32c);
        }
        sm_tensor_release(&t);
    }
    sm_bundle_close(b);
    CHECK_OK(fs_unlink(AT_FDCWD, path, &err));
    shards_write(&s, dir);
    buf_release(&data);
}

static void
three_shards(struct tree *t, const char *dir)
{
    (void)t;
    reshard(dir, 3, false);
}

static void
slices(struct tree *t, const char *dir)
{
    (void)t;
    reshard(dir, 1, true);
}

static const struct variant keeps[] = {
    { "function numbers", function_numbers, NULL, 0 },
    { "function names", function_names, NULL, 0 },
    { "names in bodies", body_names, NULL, 0 },
    { "node names", node_names, NULL, 0 },
    { "resource names", resource_names, NULL, 0 },
    { "node order", node_order, NULL, 0 },
    { "function order", function_order, NULL, 0 },
    { "map order", map_order, NULL, 0 },
    { "control input order", control_order, NULL, 0 },
    { "field order", field_order, NULL, 0 },
    { "object order", object_order, NULL, 0 },
    { "child order", child_order, NULL, 0 },
    { "long varints", long_varints, NULL, 0 },
    { "constants as values", constants_as_values, NULL, 0 },
    { "constants as bytes", constants_as_bytes, NULL, 0 },
    { "defaults written", defaults_written, NULL, 0 },
    { "devices", devices, NULL, 0 },
    { "hints", hints, NULL, 0 },
    { "function attributes", function_attrs, NULL, 0 },
    { "versions", versions, NULL, 0 },
    { "call configuration", call_configuration, NULL, 0 },
    { "dead code", dead_code, NULL, 0 },
    { "debug info", debug_info, NULL, 0 },
    { "collections", collections, NULL, 0 },
    { "unknown fields", unknown_fields, NULL, 0 },
    { "tags", tags, NULL, 0 },
    { "names of dimensions", dim_names, NULL, 0 },
    { "notes of objects", object_notes, NULL, 0 },
    { "descriptions", descriptions, NULL, 0 },
    { "saving", saving, NULL, 0 },
    { "other files", other_files, NULL, 0 },
    { "three shards", three_shards, NULL, 0 },
    { "slices", slices, NULL, 0 },
};

TEST(test_fp_keeps__every_rewriting)
{
    char *dir AUTO(free_ptr) = xasprintf("%s/model", unit_dir());
    for (size_t m = 0; m < sizeof(models) / sizeof(models[0]); m++) {
        struct fp_identity plain, rewritten;
        struct buf before = BUF_INIT;
        char *path AUTO(free_ptr) = xasprintf("%s/saved_model.pb", dir);
        variant_make(NULL, models[m], dir);
        variant_identity(&plain, dir);
        read_file(path, &before);
        for (size_t i = 0; i < sizeof(keeps) / sizeof(keeps[0]); i++) {
            variant_make(&keeps[i], models[m], dir);
            variant_identity(&rewritten, dir);
            unsigned moved = variant_moved(&plain, &rewritten);
            if (moved != 0)
                unit_fail(__FILE__, __LINE__, "%s: '%s' moved parts %#x", models[m],
                          keeps[i].name, moved);
        }
        buf_release(&before);
    }
}

/* Two exports of one model, whose functions have other numbers. */
TEST(test_fp_keeps__one_after_the_other)
{
    char *dir AUTO(free_ptr) = xasprintf("%s/model", unit_dir());
    struct fp_identity plain, rewritten;
    struct tree t;
    struct buf b = BUF_INIT;
    char *path AUTO(free_ptr) = xasprintf("%s/saved_model.pb", dir);
    variant_make(NULL, models[0], dir);
    variant_identity(&plain, dir);
    tree_read(&t, path);
    for (size_t i = 0; i < sizeof(keeps) / sizeof(keeps[0]); i++) {
        /* resharding and field order work on a fresh model only */
        if (keeps[i].edit != slices && keeps[i].edit != field_order)
            keeps[i].edit(&t, dir);
    }
    tree_write(&t, &b);
    write_file(path, b.data, b.len);
    tree_free(&t);
    buf_release(&b);
    variant_identity(&rewritten, dir);
    CHECK_INT(variant_moved(&plain, &rewritten), 0);
}
