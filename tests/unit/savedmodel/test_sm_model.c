/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/savedmodel/build.h"

#include <unistd.h>

static int
open_at(struct sm_model **m, const char *dir, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    CHECK(fs_open_dir(&fd, AT_FDCWD, dir, err) == 0);
    return sm_open(m, fd, "DIR", err);
}

/* Writes the bytes as saved_model.pb into the test's directory and opens that. */
static int
open_bytes(struct sm_model **m, const struct buf *b, struct err *err)
{
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/saved_model.pb", unit_dir());
    write_file(path, buf_str(b), b->len);
    return open_at(m, unit_dir(), err);
}

static void
add_info(struct buf *sig, uint32_t num, const char *key, const char *name, int dtype)
{
    struct buf v = BUF_INIT;
    pb_text(&v, 1, name);
    pb_int(&v, 2, dtype);
    pb_shape(&v, 3, DIMS(-1, 3));
    pb_entry(sig, num, key, &v);
}

static void
add_tag(struct buf *info, const char *tag)
{
    pb_text(info, 4, tag);
}

TEST(test_sm_model__real_model)
{
    struct err err = ERR_INIT;
    struct sm_model *m AUTO(sm_close_p) = NULL;
    const struct sm_meta *meta;
    const struct sm_signature *s;
    CHECK_OK(open_at(&m, unit_data("half_plus_two_tf2/model"), &err));
    CHECK_INT(sm_n_metas(m), 1);
    CHECK_OK(sm_find_meta(m, "serve", &meta, &err));
    CHECK(meta->n_tags == 1 && str_is(meta->tags[0], "serve"));
    CHECK(meta->tf_version.n > 0 && meta->stripped_default_attrs);
    CHECK(meta->graph.n > 0 && meta->library.n > 0 && meta->saver.n > 0);
    CHECK(str_is(sm_meta_init_op(meta), "NoOp"));
    CHECK_OK(sm_find_signature(meta, "serving_default", &s, &err));
    CHECK(s->n_inputs == 1 && s->n_outputs == 1);
    CHECK_INT(s->inputs[0].dtype, SM_FLOAT);
    CHECK(!sm_signature_hidden(s));
    CHECK(sm_signature_hidden(&meta->signatures[0])); /* sorted: "__…" first */
}

TEST(test_sm_model__errors_list_what_there_is)
{
    struct err err = ERR_INIT;
    struct sm_model *m AUTO(sm_close_p) = NULL;
    const struct sm_meta *meta;
    const struct sm_signature *s;
    CHECK_OK(open_at(&m, unit_data("multi_signature/model"), &err));
    CHECK(sm_find_meta(m, "serve,gpu", &meta, &err) == -ERR_NOTFOUND);
    CHECK(strstr(err.msg, "'serve,gpu'") && strstr(err.msg, "there are: 'serve'"));
    err_clear(&err);
    CHECK_OK(sm_find_meta(m, "serve,,serve", &meta, &err));
    CHECK(sm_find_signature(meta, "nope", &s, &err) == -ERR_NOTFOUND);
    CHECK(strstr(err.msg, "'scaled', 'serving_default'"));
    CHECK(!strstr(err.msg, "__saved_model_init_op"));
}

TEST(test_sm_model__signatures_of_built_bytes)
{
    struct err err = ERR_INIT;
    struct buf b = BUF_INIT, meta = BUF_INIT, sig = BUF_INIT, v = BUF_INIT;
    struct sm_model *m AUTO(sm_close_p) = NULL;
    add_info(&sig, 1, "z", "z:0", SM_INT32);
    add_info(&sig, 1, "a", "old:0", SM_FLOAT);
    add_info(&sig, 1, "a", "new:1", SM_DOUBLE); /* the later entry of a key counts */
    pb_text(&v, 8, "dflt");
    pb_entry(&sig, 4, "a", &v);
    pb_text(&v, 1, "s:0"); /* then a sparse tensor: clears the name */
    pb_bytes(&v, 4, "", 0);
    pb_entry(&sig, 2, "out", &v);
    pb_text(&sig, 3, "tensorflow/serving/predict");
    pb_entry(&meta, 5, "s2", &sig);
    add_info(&sig, 1, "x", "x:0", SM_FLOAT);
    pb_entry(&meta, 5, "s1", &sig);
    pb_msg(&b, 2, &meta);
    CHECK_OK(open_bytes(&m, &b, &err));
    const struct sm_meta *g = sm_meta(m, 0);
    CHECK_INT(g->n_signatures, 2);
    CHECK(str_is(g->signatures[0].key, "s1") && str_is(g->signatures[1].key, "s2"));
    const struct sm_signature *s = &g->signatures[1];
    CHECK(str_is(s->method, "tensorflow/serving/predict"));
    CHECK_INT(s->n_inputs, 2);
    CHECK(str_is(s->inputs[0].name, "new:1") && s->inputs[0].dtype == SM_DOUBLE);
    CHECK(s->inputs[0].has_default && !s->inputs[1].has_default);
    CHECK(s->inputs[1].shape.rank == 2 && s->inputs[1].shape.dims[0] == -1);
    CHECK(s->n_outputs == 1 && s->outputs[0].name.n == 0);
    CHECK(g->n_tags == 0);
    CHECK_OK(sm_find_meta(m, "", &g, &err)); /* no tags is a set too */
    buf_release(&b);
}

TEST(test_sm_model__tag_sets)
{
    struct err err = ERR_INIT;
    struct buf b = BUF_INIT, meta = BUF_INIT, info = BUF_INIT;
    struct sm_model *m AUTO(sm_close_p) = NULL;
    const struct sm_meta *g;
    add_tag(&info, "serve");
    add_tag(&info, "gpu");
    pb_msg(&meta, 1, &info);
    pb_msg(&b, 2, &meta);
    add_tag(&info, "serve");
    pb_msg(&meta, 1, &info);
    pb_msg(&b, 2, &meta);
    CHECK_OK(open_bytes(&m, &b, &err));
    CHECK_OK(sm_find_meta(m, "gpu,serve", &g, &err));
    CHECK(g == sm_meta(m, 0));
    CHECK_OK(sm_find_meta(m, "serve", &g, &err));
    CHECK(g == sm_meta(m, 1));
    CHECK_ERR(sm_find_meta(m, "gpu", &g, &err), ERR_NOTFOUND);
    CHECK_ERR(sm_find_meta(m, "serve,gpu,x", &g, &err), ERR_NOTFOUND);
    buf_release(&b);
}

TEST(test_sm_model__message_in_two_parts_is_merged)
{
    struct err err = ERR_INIT;
    struct buf b = BUF_INIT, meta = BUF_INIT, graph = BUF_INIT, node = BUF_INIT;
    struct sm_model *m AUTO(sm_close_p) = NULL;
    for (int i = 0; i < 2; i++) {
        pb_text(&node, 1, i ? "second" : "first");
        pb_msg(&graph, SM_GRAPH_NODE, &node);
        pb_msg(&meta, 2, &graph);
    }
    pb_msg(&b, 2, &meta);
    CHECK_OK(open_bytes(&m, &b, &err));
    struct str it = sm_meta(m, 0)->graph, raw;
    CHECK_INT(sm_pb_next_msg(&it, SM_GRAPH_NODE, &raw), 1);
    CHECK(str_is(sm_pb_bytes(raw, 1), "first"));
    CHECK_INT(sm_pb_next_msg(&it, SM_GRAPH_NODE, &raw), 1);
    CHECK(str_is(sm_pb_bytes(raw, 1), "second"));
    CHECK_INT(sm_pb_next_msg(&it, SM_GRAPH_NODE, &raw), 0);
    buf_release(&b);
}

static void
add_collection(struct buf *meta, const char *name, const char *node)
{
    struct buf list = BUF_INIT, coll = BUF_INIT;
    pb_text(&list, 1, node);
    pb_msg(&coll, 1, &list);
    pb_entry(meta, 4, name, &coll);
}

TEST(test_sm_model__init_op_order)
{
    struct err err = ERR_INIT;
    struct buf meta = BUF_INIT, b = BUF_INIT, sig = BUF_INIT;
    static const char *const want[] = { "legacy", "main", "sig" };
    for (int i = 0; i < 3; i++) {
        struct sm_model *m AUTO(sm_close_p) = NULL;
        if (i == 0)
            add_collection(&meta, "legacy_init_op", "legacy:0");
        if (i == 1)
            add_collection(&meta, "saved_model_main_op", "main");
        if (i == 2) {
            add_info(&sig, 2, "__saved_model_init_op", "sig", 0);
            pb_entry(&meta, 5, "__saved_model_init_op", &sig);
        }
        pb_bytes(&b, 2, meta.data, meta.len);
        CHECK_OK(open_bytes(&m, &b, &err));
        CHECK(str_is(sm_meta_init_op(sm_meta(m, 0)), want[i]));
        buf_release(&b);
    }
    buf_release(&meta);
}

static int
note_asset(void *arg, struct str tensor, struct str file, struct err *err)
{
    (void)err;
    buf_addf(arg, "%.*s=%.*s;", STR_ARG(tensor), STR_ARG(file));
    return 0;
}

static void
add_asset_def(struct buf *out, const char *tensor, const char *file)
{
    struct buf info = BUF_INIT;
    pb_text(&info, 1, tensor);
    pb_msg(out, 1, &info);
    pb_text(out, 2, file);
}

TEST(test_sm_model__assets)
{
    struct err err = ERR_INIT;
    struct buf meta = BUF_INIT, b = BUF_INIT, def = BUF_INIT, got = BUF_INIT;
    struct sm_model *m AUTO(sm_close_p) = NULL;
    add_asset_def(&def, "Const:0", "sub/vocab.txt");
    pb_msg(&meta, 6, &def);
    pb_msg(&b, 2, &meta);
    CHECK_OK(open_bytes(&m, &b, &err));
    CHECK_OK(sm_meta_assets(sm_meta(m, 0), note_asset, &got, &err));
    CHECK_STR(buf_str(&got), "Const:0=sub/vocab.txt;");
    buf_release(&b);
    buf_release(&got);
}

TEST(test_sm_model__assets_of_a_tf1_collection)
{
    struct err err = ERR_INIT;
    struct buf meta = BUF_INIT, b = BUF_INIT, def = BUF_INIT, any = BUF_INIT;
    struct buf list = BUF_INIT, coll = BUF_INIT, got = BUF_INIT;
    struct sm_model *m AUTO(sm_close_p) = NULL;
    add_asset_def(&def, "a:0", "f");
    pb_text(&any, 1, "type.googleapis.com/tensorflow.AssetFileDef");
    pb_msg(&any, 2, &def);
    pb_msg(&list, 1, &any);
    pb_msg(&coll, 5, &list);
    pb_entry(&meta, 4, "saved_model_assets", &coll);
    pb_msg(&b, 2, &meta);
    CHECK_OK(open_bytes(&m, &b, &err));
    CHECK_OK(sm_meta_assets(sm_meta(m, 0), note_asset, &got, &err));
    CHECK_STR(buf_str(&got), "a:0=f;");
    buf_release(&b);
    buf_release(&got);
}

TEST(test_sm_model__assets_stay_in_their_folder)
{
    static const char *const bad[] = { "../x", "/etc/passwd", "a/../../x",
                                       "",     "..",          "a/.." };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct err err = ERR_INIT;
        struct buf meta = BUF_INIT, b = BUF_INIT, def = BUF_INIT, got = BUF_INIT;
        struct sm_model *m AUTO(sm_close_p) = NULL;
        add_asset_def(&def, "a:0", bad[i]);
        pb_msg(&meta, 6, &def);
        pb_msg(&b, 2, &meta);
        CHECK_OK(open_bytes(&m, &b, &err));
        CHECK_ERR(sm_meta_assets(sm_meta(m, 0), note_asset, &got, &err), ERR_INVALID);
        CHECK_INT(got.len, 0);
        buf_release(&b);
    }
}

TEST(test_sm_model__no_model_here)
{
    struct err err = ERR_INIT;
    struct sm_model *m;
    char path[4096];
    CHECK(open_at(&m, unit_dir(), &err) == -ERR_NOTFOUND);
    CHECK_STR(err.msg, "SavedModel file does not exist at: DIR");
    err_clear(&err);
    (void)snprintf(path, sizeof(path), "%s/saved_model.pbtxt", unit_dir());
    write_file(path, "", 0);
    CHECK(open_at(&m, unit_dir(), &err) == -ERR_CORRUPT);
    CHECK(strstr(err.msg, "saved_model.pbtxt"));
    CHECK(m == NULL);
}

TEST(test_sm_model__every_truncation_is_told)
{
    struct err err = ERR_INIT;
    struct buf all = BUF_INIT;
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/saved_model.pb",
                   unit_data("half_plus_two_tf1/model"));
    read_file(path, &all);
    for (size_t n = 0; n < all.len; n += n < 64 ? 1 : 97) {
        struct buf cut = { .data = all.data, .len = n };
        struct sm_model *m;
        CHECK_ERR(open_bytes(&m, &cut, &err), ERR_CORRUPT);
        CHECK(m == NULL);
    }
    buf_release(&all);
}

TEST(test_sm_model__damage_deep_inside_is_told)
{
    struct err err = ERR_INIT;
    struct buf b = BUF_INIT, meta = BUF_INIT, graph = BUF_INIT;
    struct sm_model *m;
    pb_bytes(&graph, 1, "\x0a\x7f", 2); /* a node whose name is longer than the node */
    pb_msg(&meta, 2, &graph);
    pb_msg(&b, 2, &meta);
    CHECK(open_bytes(&m, &b, &err) == -ERR_CORRUPT);
    CHECK(strstr(err.msg, "DIR/saved_model.pb") && strstr(err.msg, "byte"));
    buf_release(&b);
}

TEST(test_sm_model__nesting_has_a_limit)
{
    struct err err = ERR_INIT;
    struct buf value = BUF_INIT, b = BUF_INIT, meta = BUF_INIT, sig = BUF_INIT;
    struct sm_model *m;
    for (int i = 0; i < 60; i++) { /* composite tensors inside each other */
        struct buf composite = BUF_INIT;
        pb_msg(&composite, 2, &value);
        pb_msg(&value, 5, &composite);
    }
    pb_entry(&sig, 1, "x", &value);
    pb_entry(&meta, 5, "s", &sig);
    pb_msg(&b, 2, &meta);
    CHECK_ERR(open_bytes(&m, &b, &err), ERR_LIMIT);
    buf_release(&b);
}

/* Two bytes make an entry; its view takes hundreds. */
TEST(test_sm_model__number_of_entries_has_a_limit)
{
    struct err err = ERR_INIT;
    struct sm_model *m;
    struct buf b = BUF_INIT, meta = BUF_INIT, sig = BUF_INIT;
    for (int i = 0; i <= 1 << 20; i++)
        buf_add(&sig, "\x0a\0", 2);
    pb_entry(&meta, 5, "s", &sig);
    pb_msg(&b, 2, &meta);
    CHECK_ERR(open_bytes(&m, &b, &err), ERR_LIMIT);
    buf_release(&b);
}

TEST(test_sm_model__a_pointer_file_is_named)
{
    struct err err = ERR_INIT;
    struct buf b = BUF_INIT;
    struct sm_model *m;
    buf_adds(&b, "version https://git-lfs.github.com/spec/v1\noid sha256:0\n");
    CHECK(open_bytes(&m, &b, &err) == -ERR_CORRUPT);
    CHECK(strstr(err.msg, "Git LFS"));
    buf_release(&b);
}

/* Above 16 MiB the file is mapped rather than read. */
TEST(test_sm_model__big_file)
{
    struct err err = ERR_INIT;
    struct sm_model *m AUTO(sm_close_p) = NULL;
    const struct sm_meta *g;
    struct buf head = BUF_INIT, meta = BUF_INIT, info = BUF_INIT, tail = BUF_INIT;
    const size_t hole = (size_t)17 << 20;
    char path[4096];
    int fd AUTO(fs_close) = -1;
    add_varint(&head, 15 << 3 | 2); /* a field nobody knows */
    add_varint(&head, hole);
    add_tag(&info, "serve");
    pb_msg(&meta, 1, &info);
    pb_msg(&tail, 2, &meta);
    (void)snprintf(path, sizeof(path), "%s/saved_model.pb", unit_dir());
    CHECK_OK(fs_open(&fd, AT_FDCWD, path, O_WRONLY | O_CREAT, 0644, &err));
    CHECK(pwrite(fd, head.data, head.len, 0) == (ssize_t)head.len);
    CHECK(pwrite(fd, tail.data, tail.len, (off_t)(head.len + hole)) ==
          (ssize_t)tail.len);
    CHECK_OK(open_at(&m, unit_dir(), &err));
    CHECK_OK(sm_find_meta(m, "serve", &g, &err));
    buf_release(&head);
    buf_release(&tail);
}

TEST(test_sm_model__not_a_file)
{
    struct err err = ERR_INIT;
    struct sm_model *m;
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/saved_model.pb", unit_dir());
    CHECK_OK(fs_mkdirs(AT_FDCWD, path, 0755, &err));
    CHECK_ERR(open_at(&m, unit_dir(), &err), ERR_INVALID);
}

/* What stands before a message that is cut off does not hide it. */
TEST(test_sm_model__damage_behind_any_field)
{
    static const char *const before[] = {
        "",
        "08 01",
        "08 ff01",
        "79 0102030405060708",
        "7d 01020304",
        "7a 03 616263",
        "7b 08 01 7c",            /* a group */
        "7b 7b 0a 01 00 7c 7c",   /* in a group */
        "f8ffffff0f 01",          /* the greatest number */
        "08 ffffffffffffffffff01" /* -1 */
    };
    static const char *const bad[] = {
        "12 02 12 05",    /* MetaGraphDef { GraphDef longer than it } */
        "12 03 12 01 0a", /* GraphDef { a tag without a length } */
        "7b 08 01",
        "7c",
        "7b 83 01 7c",
        "00 00",
        "0f 01",
        "79 01",
        "7d 0102",
        "08 ffffffffffffffffffff01",
        "12 ffffffffffffffff7f",
        "82"
    };
    struct buf whole AUTO(buf_release) = BUF_INIT;
    struct err err = ERR_INIT;
    struct sm_model *m;
    add_hex(&whole, "12 04 0a 02 22 00"); /* a MetaGraph with a tag */
    for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++) {
        struct buf good AUTO(buf_release) = BUF_INIT;
        add_hex(&good, before[i]);
        buf_add(&good, whole.data, whole.len);
        CHECK_OK(open_bytes(&m, &good, &err));
        sm_close(m);
        for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++) {
            struct buf b AUTO(buf_release) = BUF_INIT;
            buf_add(&b, good.data, good.len);
            add_hex(&b, before[i]);
            add_hex(&b, bad[k]);
            CHECK_ERR(open_bytes(&m, &b, &err), ERR_CORRUPT);
        }
    }
}
