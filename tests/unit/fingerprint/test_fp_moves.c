/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of what a model means: its semantic digest moves, and says which part. */
#include "tests/unit/fingerprint/variant.h"

#define EVERY "every_reference/model"
#define SCORE "__inference_score_120"        /* behind the signature */
#define SCORE_OBJECT "__inference_score_313" /* behind the object */

/* ---- nodes ---- */

static void
constant_value(struct tree *t, const char *dir)
{
    struct tree *c = node_of(function_of(t, SCORE), "Const", 0);
    struct tree *v = tree_get(attr_of(c, "value"), 8);
    (void)dir;
    CHECK(tree_get(v, 4) && tree_get(v, 4)->bytes.len > 0);
    tree_get(v, 4)->bytes.data[0] ^= 1;
}

static void
constant_shape(struct tree *t, const char *dir)
{
    struct tree *c = node_of(function_of(t, SCORE), "Const", 0);
    struct tree *shape = tree_get(tree_get(attr_of(c, "value"), 8), 2);
    (void)dir;
    tree_set_int(tree_add(shape, FP_M_Dim, 2, 2), 1, 1);
}

static void
op_type(struct tree *t, const char *dir)
{
    (void)dir;
    tree_set_str(node_of(function_of(t, "cond_true_58"), "AddV2", 0), 2, "Sub");
}

static void
op_type_in_object_function(struct tree *t, const char *dir)
{
    (void)dir;
    tree_set_str(node_of(function_of(t, SCORE_OBJECT), "Greater", 0), 2, "Less");
}

static void
attribute(struct tree *t, const char *dir)
{
    struct tree *m = node_of(function_of(t, SCORE), "MatMul", 0);
    (void)dir;
    tree_set_int(tree_map_add(m, 5, "transpose_b", FP_M_AttrValue), 5, 1);
}

static void
default_attribute(struct tree *t, const char *dir)
{
    struct tree *ops = tree_get(tree_get(meta_of(t), 1), 2);
    (void)dir;
    for (int i = 0; i < ops->n; i++) {
        for (int k = 0; tree_is(&ops->kid[i], 1, "MatMul") && k < ops->kid[i].n; k++) {
            struct tree *attr = &ops->kid[i].kid[k];
            if (attr->num == 4 && tree_is(attr, 1, "transpose_a"))
                tree_set_int(tree_get(attr, 3), 5, 1);
        }
    }
}

static void
seed(struct tree *t, const char *dir)
{
    struct tree *n =
        node_of(function_of(t, "__inference_noise_156"), "RandomUniform", 1);
    (void)dir;
    struct tree *s = tree_map(n, 5, "seed2");
    if (s)
        tree_get(s, 3)->v++;
    else
        tree_set_int(tree_map_add(n, 5, "seed2", FP_M_AttrValue), 3, 77);
}

static void
inputs_swapped(struct tree *t, const char *dir)
{
    struct tree *n = node_of(function_of(t, "__inference_noise_156"), "Sub", 0);
    (void)dir;
    swap_bytes(tree_nth(n, 3, 0), tree_nth(n, 3, 1));
}

/* Both random numbers from one seed, so that the two nodes are alike. */
static void
twins(struct tree *t, const char *dir)
{
    struct tree *fn = function_of(t, "__inference_noise_156");
    (void)dir;
    for (int i = 0; i < 2; i++) {
        struct tree *seed2 = tree_map(node_of(fn, "RandomUniform", i), 5, "seed2");
        if (seed2)
            tree_set_int(seed2, 3, 5);
    }
}

/* One random number where there were two. */
static void
twins_merged(struct tree *t, const char *dir)
{
    struct tree *sub = node_of(function_of(t, "__inference_noise_156"), "Sub", 0);
    twins(t, dir);
    buf_clear(&tree_nth(sub, 3, 1)->bytes);
    buf_add(&tree_nth(sub, 3, 1)->bytes, tree_nth(sub, 3, 0)->bytes.data,
            tree_nth(sub, 3, 0)->bytes.len);
}

/* a + b and a - b become a + b and b - a: no node by itself tells that. */
static void
twins_crossed(struct tree *t, const char *dir)
{
    twins(t, dir);
    inputs_swapped(t, dir);
}

static void
loop_body(struct tree *t, const char *dir)
{
    (void)dir;
    tree_set_str(node_of(function_of(t, "while_body_74"), "Mul", 0), 2, "AddV2");
}

static void
loop_condition(struct tree *t, const char *dir)
{
    (void)dir;
    tree_set_str(node_of(function_of(t, "while_cond_73"), "Less", 0), 2, "LessEqual");
}

static void
other_branch(struct tree *t, const char *dir)
{
    struct tree *n = node_of(function_of(t, SCORE), "StatelessIf", 0);
    struct tree *then = tree_get(tree_get(attr_of(n, "then_branch"), 10), 1);
    (void)dir;
    swap_bytes(then, tree_get(tree_get(attr_of(n, "else_branch"), 10), 1));
}

static void
branch_order(struct tree *t, const char *dir)
{
    struct tree *fn = function_of(t, "__inference_pick_147");
    (void)dir;
    for (int i = 0; i < fn->n; i++) {
        struct tree *branches = fn->kid[i].type == FP_M_NodeDef
                                    ? tree_map(&fn->kid[i], 5, "branches")
                                    : NULL;
        if (!branches)
            continue;
        struct tree *list = tree_get(branches, 1);
        swap_bytes(tree_get(tree_nth(list, 9, 0), 1),
                   tree_get(tree_nth(list, 9, 2), 1));
        return;
    }
    CHECK(false);
}

static void
effect_dropped(struct tree *t, const char *dir)
{
    struct tree *fn = function_of(t, SCORE);
    struct tree *noop = node_of(fn, "NoOp", 0), *signature = tree_get(fn, 1);
    (void)dir;
    for (int i = noop->n - 1; i >= 0; i--) {
        if (noop->kid[i].num == 3 &&
            str_is(str_buf(&noop->kid[i].bytes), "^AssignAddVariableOp"))
            tree_drop(noop, &noop->kid[i]);
    }
    for (int i = signature->n - 1; i >= 0; i--) {
        if (signature->kid[i].num == 20 &&
            str_is(str_buf(&signature->kid[i].bytes), "AssignAddVariableOp"))
            tree_drop(signature, &signature->kid[i]);
    }
}

static void
results_swapped(struct tree *t, const char *dir)
{
    struct tree *fn = function_of(t, "__inference_noise_156");
    (void)dir;
    swap_bytes(tree_map(fn, 4, "identity"), tree_map(fn, 4, "identity_1"));
}

static void
gradient(struct tree *t, const char *dir)
{
    struct tree *lib = library_of(t);
    struct tree *registered = tree_nth(lib, 3, 0);
    (void)dir;
    tree_set_str(registered, 1, "cond_true_58");
    tree_set_str(tree_nth(lib, 3, 1), 1, "cond_true_58");
}

static void
variables_joined(struct tree *t, const char *dir)
{
    struct tree *graph = graph_of(t);
    struct tree *m = named_node(graph, STR_LIT("Variable_1"));
    (void)dir;
    tree_set_str(attr_of(m, "shared_name"), 2, "bias");
}

/* ---- signatures ---- */

static void
signature_renamed(struct tree *t, const char *dir)
{
    struct tree *meta = meta_of(t);
    (void)dir;
    for (int i = 0; i < meta->n; i++) {
        if (meta->kid[i].num == 5 && tree_is(&meta->kid[i], 1, "pick"))
            tree_set_str(&meta->kid[i], 1, "choose");
    }
}

static void
signature_dropped(struct tree *t, const char *dir)
{
    struct tree *meta = meta_of(t);
    (void)dir;
    for (int i = meta->n - 1; i >= 0; i--) {
        if (meta->kid[i].num == 5 && tree_is(&meta->kid[i], 1, "noise"))
            tree_drop(meta, &meta->kid[i]);
    }
}

static struct tree *
serving(struct tree *t)
{
    return tree_map(meta_of(t), 5, "serving_default");
}

static void
input_renamed(struct tree *t, const char *dir)
{
    (void)dir;
    tree_set_str(tree_get(serving(t), 1), 1, "features");
}

static void
output_moved(struct tree *t, const char *dir)
{
    struct tree *a = tree_map(serving(t), 2, "scores");
    struct tree *b = tree_map(serving(t), 2, "class");
    (void)dir;
    swap_bytes(tree_get(a, 1), tree_get(b, 1));
}

static void
input_shape(struct tree *t, const char *dir)
{
    struct tree *shape = tree_get(tree_map(serving(t), 1, "x"), 3);
    (void)dir;
    tree_set_int(tree_nth(shape, 2, 0), 1, 1);
}

static void
output_dtype(struct tree *t, const char *dir)
{
    (void)dir;
    tree_set_int(tree_map(serving(t), 2, "scores"), 2, SM_DOUBLE);
}

static void
method(struct tree *t, const char *dir)
{
    (void)dir;
    tree_set_str(serving(t), 3, "tensorflow/serving/classify");
}

static void
default_value(struct tree *t, const char *dir)
{
    struct tree *meta = meta_of(t);
    (void)dir;
    for (int i = 0; i < meta->n; i++) {
        struct tree *s = meta->kid[i].num == 5 ? tree_get(&meta->kid[i], 2) : NULL;
        struct tree *d = s ? tree_get(s, 4) : NULL;
        struct tree *v = d ? tree_get(tree_get(d, 2), 5) : NULL;
        if (v) {
            if (v->wire == 2)
                v->bytes.data[0] ^= 1;
            else
                v->v ^= 1;
            return;
        }
    }
    CHECK(false);
}

static void
tag(struct tree *t, const char *dir)
{
    (void)dir;
    tree_set_str(tree_get(meta_of(t), 1), 4, "train");
}

static void
more_metas(struct tree *t, const char *dir)
{
    struct buf raw = BUF_INIT;
    (void)dir;
    tree_write(meta_of(t), &raw);
    struct tree *again = tree_add(t, FP_M_MetaGraphDef, 2, 2);
    tree_fill(again, str_buf(&raw));
    tree_set_str(tree_get(again, 1), 4, "gpu");
    buf_release(&raw);
}

static void
alias(struct tree *t, const char *dir)
{
    struct tree *info = tree_get(meta_of(t), 1);
    (void)dir;
    CHECK(tree_get(info, 8));
    tree_set_str(tree_get(info, 8), 2, "another_alias");
}

/* ---- start ---- */

static void
init_dropped(struct tree *t, const char *dir)
{
    struct tree *meta = meta_of(t);
    (void)dir;
    for (int i = meta->n - 1; i >= 0; i--) {
        if ((meta->kid[i].num == 5 &&
             tree_is(&meta->kid[i], 1, "__saved_model_init_op")) ||
            (meta->kid[i].num == 4 && tree_is(&meta->kid[i], 1, "saved_model_main_op")))
            tree_drop(meta, &meta->kid[i]);
    }
}

static void
init_partly(struct tree *t, const char *dir)
{
    struct tree *noop = node_of(graph_of(t), "NoOp", 0);
    (void)dir;
    tree_drop(noop, tree_nth(noop, 3, 1));
}

/* Two keys of the restore function's list. */
static void
restore_keys(struct tree *t, const char *dir)
{
    struct tree *fn = function_of(t, "__inference__traced_restore");
    struct tree *names = named_node(fn, STR_LIT("RestoreV2/tensor_names"));
    struct tree *v = tree_get(attr_of(names, "value"), 8);
    (void)dir;
    swap_bytes(tree_nth(v, 8, 0), tree_nth(v, 8, 3));
}

static void
restored_variables(struct tree *t, const char *dir)
{
    struct tree *graph = graph_of(t);
    struct str op = tree_str(tree_get(meta_of(t), 3), 3);
    struct tree *call = named_node(graph, op);
    (void)dir;
    swap_bytes(tree_nth(call, 3, 1), tree_nth(call, 3, 4));
}

/* TF1: the same, in the main graph. */
static void
restore_keys_tf1(struct tree *t, const char *dir)
{
    struct tree *names =
        named_node(graph_of(t), STR_LIT("save/RestoreV2/tensor_names"));
    struct tree *v = tree_get(attr_of(names, "value"), 8);
    (void)dir;
    swap_bytes(tree_nth(v, 8, 0), tree_nth(v, 8, 1));
}

static void
restore_slices(struct tree *t, const char *dir)
{
    struct tree *specs =
        named_node(graph_of(t), STR_LIT("save/RestoreV2/shape_and_slices"));
    struct tree *v = tree_get(attr_of(specs, "value"), 8);
    (void)dir;
    for (int i = 0; tree_nth(v, 8, i); i++) {
        struct tree *a = tree_nth(v, 8, i), *b = tree_nth(v, 8, i + 1);
        if (a->bytes.len > 0 && b && b->bytes.len > 0 &&
            !str_eq(str_buf(&a->bytes), str_buf(&b->bytes))) {
            swap_bytes(a, b);
            return;
        }
    }
    CHECK(false);
}

/* ---- objects ---- */

/* Where the object graph itself is kept back from the checkpoint's: another key. */
static void
trainable(struct tree *t, const char *dir)
{
    (void)dir;
    tree_set_int(tree_get(tree_nth(objects_of(t), 1, 1), 7), 3, 0);
}

static void
child_renamed(struct tree *t, const char *dir)
{
    (void)dir;
    tree_set_str(tree_nth(tree_nth(objects_of(t), 1, 0), 1, 6), 2, "sound");
}

static void
captures_swapped(struct tree *t, const char *dir)
{
    struct tree *objects = objects_of(t);
    (void)dir;
    for (int i = 0; i < objects->n; i++) {
        struct tree *concrete = objects->kid[i].num == 2 ? &objects->kid[i] : NULL;
        struct tree *bound = concrete && tree_is(concrete, 1, SCORE_OBJECT)
                                 ? tree_get(tree_get(concrete, 2), 2)
                                 : NULL;
        if (bound) {
            char c = bound->bytes.data[0];
            bound->bytes.data[0] = bound->bytes.data[1];
            bound->bytes.data[1] = c;
            return;
        }
    }
    CHECK(false);
}

static void
argument_names(struct tree *t, const char *dir)
{
    struct tree *objects = objects_of(t);
    (void)dir;
    for (int i = 0; i < objects->n; i++) {
        struct tree *bare =
            objects->kid[i].num == 1 ? tree_get(&objects->kid[i], 8) : NULL;
        if (bare && tree_is(bare, 1, "__inference_noise_204"))
            tree_set_str(bare, 2, "size");
    }
}

static void
object_constant(struct tree *t, const char *dir)
{
    struct tree *objects = objects_of(t);
    (void)dir;
    for (int i = 0; i < objects->n; i++) {
        struct tree *c =
            objects->kid[i].num == 1 ? tree_get(&objects->kid[i], 9) : NULL;
        if (c && tree_is(c, 1, "Const_4"))
            tree_set_str(c, 1, "Const_1");
    }
}

/* ---- files ---- */

static void
edit_file(const char *dir, const char *name, size_t at)
{
    char *path AUTO(free_ptr) = xasprintf("%s/%s", dir, name);
    struct buf b = BUF_INIT;
    read_file(path, &b);
    CHECK(at < b.len);
    b.data[at] ^= 1;
    write_file(path, b.data, b.len);
    buf_release(&b);
}

static void
asset_content(struct tree *t, const char *dir)
{
    (void)t;
    edit_file(dir, "assets/vocabulary.txt", 0);
}

static void
asset_name(struct tree *t, const char *dir)
{
    char *from AUTO(free_ptr) = xasprintf("%s/assets/vocabulary.txt", dir);
    char *to AUTO(free_ptr) = xasprintf("%s/assets/words.txt", dir);
    struct err err = ERR_INIT;
    CHECK_OK(fs_rename(AT_FDCWD, from, AT_FDCWD, to, &err));
    tree_set_str(tree_get(meta_of(t), 6), 2, "words.txt");
}

static void
no_checkpoint(struct tree *t, const char *dir)
{
    struct err err = ERR_INIT;
    char *path AUTO(free_ptr) = xasprintf("%s/variables", dir);
    (void)t;
    CHECK_OK(fs_remove_tree(AT_FDCWD, path, &err));
}

/* Rewrites the checkpoint with one thing changed: a byte of the tensor `key` and, of
 * its object graph, the keys of two variables. */
static void
rewrite_checkpoint(const char *dir, const char *key, const char *from, const char *to)
{
    struct table table = { .entries = BUF_INIT };
    struct sm_bundle *b = NULL;
    struct err err = ERR_INIT;
    struct buf data = BUF_INIT;
    char *shard AUTO(free_ptr) =
        xasprintf("%s/variables/variables.data-00000-of-00001", dir);
    char *index AUTO(free_ptr) = xasprintf("%s/variables/variables.index", dir);
    int fd AUTO(fs_close) = -1;
    bool is_done = false;
    CHECK_OK(fs_open_dir(&fd, AT_FDCWD, dir, &err));
    CHECK_OK(sm_bundle_open(&b, fd, "variables/variables", &err));
    read_file(shard, &data);
    table_header(&table, 1, 0);
    for (int i = 0; i < sm_bundle_n_entries(b); i++) {
        const struct sm_entry *e = sm_bundle_entry(b, i);
        int64_t dims[SM_MAX_RANK + 1];
        char *p = data.data + e->offset;
        uint32_t crc = e->crc32c;
        memcpy(dims, e->shape.dims, sizeof(e->shape.dims));
        dims[e->shape.rank] = -2;
        if (str_is(e->key, key) && !from) {
            p[0] ^= 1;
            crc = crc32c_mask(crc32c(0, p, (size_t)e->size_bytes));
            is_done = true;
        } else if (str_is(e->key, key)) {
            /* one string: its length, the length's checksum, its bytes */
            struct str it = { p, (size_t)e->size_bytes };
            uint64_t n;
            CHECK(sm_varint(&it, &n));
            uint32_t n32 = (uint32_t)n;
            char *at = memmem(it.p + 4, n, from, strlen(from));
            char *other = memmem(it.p + 4, n, to, strlen(to));
            CHECK(at && other && strlen(from) == strlen(to));
            memcpy(at, to, strlen(to));
            memcpy(other, from, strlen(from));
            crc = crc32c_mask(crc32c(crc32c(crc32c(0, &n32, 4), it.p, 4), it.p + 4, n));
            is_done = true;
        }
        table_tensor(&table, e->key, e->dtype, dims, e->offset, e->size_bytes, crc);
    }
    CHECK(is_done);
    sm_bundle_close(b);
    write_file(shard, data.data, data.len);
    table_write(&table, (struct str){ "", 0 }, index);
    buf_release(&data);
}

#define VALUE "/.ATTRIBUTES/VARIABLE_VALUE"
static void
weight(struct tree *t, const char *dir)
{
    (void)t;
    rewrite_checkpoint(dir, "kernel" VALUE, NULL, NULL);
}

static void
keys_of_objects(struct tree *t, const char *dir)
{
    (void)t;
    rewrite_checkpoint(dir, "_CHECKPOINTABLE_OBJECT_GRAPH", "m/0" VALUE, "m/1" VALUE);
}

static void
nothing(struct tree *t, const char *dir)
{
    (void)t;
    rewrite_checkpoint(dir, "_CHECKPOINTABLE_OBJECT_GRAPH", "m/0" VALUE, "m/0" VALUE);
}

static const struct variant moves[] = {
    { "constant value", constant_value, EVERY, G | O, false },
    { "constant shape", constant_shape, EVERY, G | O, false },
    { "op type", op_type, EVERY, G | O, false },
    { "op type in an object's function", op_type_in_object_function, EVERY, G | O,
      false },
    { "attribute", attribute, EVERY, G | O, false },
    { "default of an attribute", default_attribute, EVERY, G | O, false },
    { "seed", seed, EVERY, G | O, false },
    { "inputs swapped", inputs_swapped, EVERY, G | O, false },
    { "loop body", loop_body, EVERY, G | O, false },
    { "loop condition", loop_condition, EVERY, G | O, false },
    { "branches swapped", other_branch, EVERY, G | O, false },
    { "order of branches", branch_order, EVERY, G | O, false },
    { "effect dropped", effect_dropped, EVERY, G | O, false },
    { "results swapped", results_swapped, EVERY, G | O, false },
    { "gradient", gradient, EVERY, G | O, false },
    { "two variables joined", variables_joined, EVERY, G, false },
    { "signature renamed", signature_renamed, EVERY, G, false },
    { "signature dropped", signature_dropped, EVERY, G, false },
    { "input renamed", input_renamed, EVERY, G, false },
    { "output moved", output_moved, EVERY, G, false },
    { "shape of an input", input_shape, EVERY, G, false },
    { "dtype of an output", output_dtype, EVERY, G, false },
    { "method", method, EVERY, G, false },
    { "default of an input", default_value, "multi_signature/model", G, false },
    { "tag", tag, EVERY, G | O, false },
    { "another MetaGraph", more_metas, EVERY, G | O, false },
    { "alias", alias, EVERY, G, false },
    { "init op dropped", init_dropped, EVERY, G, false },
    { "init op does less", init_partly, EVERY, G, false },
    { "restored keys", restore_keys, EVERY, G, false },
    { "restored variables", restored_variables, EVERY, G, false },
    { "restored keys", restore_keys_tf1, "half_plus_two_tf1/model", G, false },
    { "restored slices", restore_slices, "tf1_partitioned/model", G, false },
    { "trainable", trainable, EVERY, O, false },
    { "child renamed", child_renamed, EVERY, O, false },
    { "captures swapped", captures_swapped, EVERY, O, false },
    { "names of arguments", argument_names, EVERY, O, false },
    { "constant of an object", object_constant, EVERY, O, false },
    { "asset content", asset_content, EVERY, A, false },
    { "asset name", asset_name, EVERY, G | O | A, false },
    { "no checkpoint", no_checkpoint, EVERY, G | O | W, false },
    { "a weight", weight, EVERY, W, false },
    { "keys of objects", keys_of_objects, EVERY, O, false },
    { "nothing", nothing, EVERY, 0, false },
};

TEST(test_fp_moves__every_change)
{
    char *dir AUTO(free_ptr) = xasprintf("%s/model", unit_dir());
    for (size_t i = 0; i < sizeof(moves) / sizeof(moves[0]); i++) {
        struct fp_identity plain, changed;
        variant_make(NULL, moves[i].model, dir);
        variant_identity(&plain, dir);
        variant_make(&moves[i], moves[i].model, dir);
        variant_identity(&changed, dir);
        unsigned moved = variant_moved(&plain, &changed);
        if (moved != moves[i].moves)
            unit_fail(__FILE__, __LINE__, "'%s' moved parts %#x, not %#x",
                      moves[i].name, moved, moves[i].moves);
        if (moved)
            printf("# moves the meaning: %s\n", moves[i].name);
    }
}

TEST(test_fp_moves__nodes_that_are_alike)
{
    static const struct variant v[] = { { "twins", twins, EVERY, G | O, false },
                                        { "merged", twins_merged, EVERY, G | O, false },
                                        { "crossed", twins_crossed, EVERY, G | O,
                                          false } };
    struct fp_identity id[3];
    char *dir AUTO(free_ptr) = xasprintf("%s/model", unit_dir());
    for (size_t i = 0; i < 3; i++) {
        variant_make(&v[i], EVERY, dir);
        variant_identity(&id[i], dir);
        for (size_t k = 0; k < i; k++)
            CHECK_INT(variant_moved(&id[k], &id[i]), G | O);
    }
}
