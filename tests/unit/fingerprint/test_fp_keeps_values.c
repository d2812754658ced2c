/* SPDX-License-Identifier: Apache-2.0 */
/* Rewritings that keep what a model means, of how it is written: its semantic digest
 * stays. */
#include "tests/unit/fingerprint/variant.h"

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
        CHECK(sm_varint(&it, &x));
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

static const struct variant keeps[] = {
    { "long varints", long_varints, NULL, 0, false },
    { "constants as values", constants_as_values, NULL, 0, false },
    { "constants as bytes", constants_as_bytes, NULL, 0, false },
    { "defaults written", defaults_written, NULL, 0, false },
    { "devices", devices, NULL, 0, false },
    { "hints", hints, NULL, 0, false },
    { "function attributes", function_attrs, NULL, 0, false },
    { "versions", versions, NULL, 0, false },
    { "call configuration", call_configuration, NULL, 0, false },
    { "dead code", dead_code, NULL, 0, false },
    { "debug info", debug_info, NULL, 0, false },
    { "collections", collections, NULL, 0, false },
    { "unknown fields", unknown_fields, NULL, 0, false },
    { "tags", tags, NULL, 0, false },
    { "names of dimensions", dim_names, NULL, 0, false },
    { "notes of objects", object_notes, NULL, 0, false },
    { "descriptions", descriptions, NULL, 0, false },
    { "saving", saving, NULL, 0, false },
    { "other files", other_files, NULL, 0, false },
};

TEST(test_fp_keeps_values__every_rewriting)
{
    variant_check_kept(keeps, sizeof(keeps) / sizeof(keeps[0]));
}
