/* SPDX-License-Identifier: Apache-2.0 */
#include "savedmodel/sm_int.h"
#include "tests/unit/savedmodel/build.h"

#include <stdlib.h>

static void
put(const char *name, const char *bytes, size_t n)
{
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/%s", unit_dir(), name);
    write_file(path, bytes, n);
}

static int
state_of(struct sm_ckpt_state *s, const char *text, struct err *err)
{
    char path[4096];
    put("checkpoint", text, strlen(text));
    (void)snprintf(path, sizeof(path), "%s/checkpoint", unit_dir());
    return sm_ckpt_state_read(s, AT_FDCWD, path, err);
}

TEST(test_sm_ckpt__state)
{
    struct err err = ERR_INIT;
    struct sm_ckpt_state s;
    CHECK_OK(state_of(&s,
                      "model_checkpoint_path: \"m-2\"\n"
                      "all_model_checkpoint_paths: \"m-1\"\n"
                      "all_model_checkpoint_paths: \"m-2\"\n"
                      "all_model_checkpoint_timestamps: 1700000000.25\n"
                      "all_model_checkpoint_timestamps: 1700000100.5\n"
                      "last_preserved_timestamp: 1699999999.0\n",
                      &err));
    CHECK(str_is(s.latest, "m-2") && s.n == 2 && s.n_times == 2);
    CHECK(str_is(s.paths[0], "m-1") && s.times[1] == 1700000100.5);
    CHECK(s.last_preserved == 1699999999.0);
    sm_ckpt_state_release(&s);
    CHECK_OK(state_of(&s, "", &err));
    CHECK(s.latest.n == 0 && s.n == 0);
    sm_ckpt_state_release(&s);
    CHECK(state_of(&s, "model_checkpoint_path: m", &err) == -ERR_CORRUPT);
    CHECK(strstr(err.msg, "checkpoint: line 1, column 24"));
    err_clear(&err);
    CHECK_ERR(sm_ckpt_state_read(&s, AT_FDCWD, "/nowhere/checkpoint", &err),
              ERR_NOTFOUND);
}

static int
open_prefix(const char *name, struct err *err)
{
    struct sm_bundle *b AUTO(sm_bundle_close_p) = NULL;
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/%s", unit_dir(), name);
    return sm_bundle_open(&b, AT_FDCWD, path, err);
}

TEST(test_sm_ckpt__old_form_is_told_by_name)
{
    struct err err = ERR_INIT;
    char table[48] = { 0 };
    memcpy(table + 40, "\x57\xfb\x80\x8b\x24\x75\x47\xdb", 8);
    put("old", table, sizeof(table));
    CHECK(open_prefix("old", &err) == -ERR_UNSUPPORTED);
    CHECK(strstr(err.msg, "V1 checkpoint"));
    err_clear(&err);
    put("part-00000-of-00002", table, sizeof(table));
    CHECK_ERR(open_prefix("part", &err), ERR_UNSUPPORTED);
    CHECK_ERR(open_prefix("par", &err), ERR_NOTFOUND);
    put("other", "no table", 8);
    put("text-0-of-1", "", 0);
    CHECK_ERR(open_prefix("other", &err), ERR_NOTFOUND);
    CHECK_ERR(open_prefix("text", &err), ERR_NOTFOUND);
}

/* Written by TensorFlow: two lists of tensors, one list, one plain tensor. */
TEST(test_sm_ckpt__variants)
{
    struct err err = ERR_INIT;
    struct sm_bundle *b AUTO(sm_bundle_close_p) = NULL;
    struct str *v, tensor;
    struct sm_tensor t;
    int64_t n;
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/v", unit_data("formats/bundle_variant"));
    CHECK_OK(sm_bundle_open(&b, AT_FDCWD, path, &err));
    CHECK_OK(sm_bundle_variants(b, STR_LIT("lists"), &v, &n, &err));
    CHECK_INT(n, 2);
    CHECK(str_is(sm_pb_bytes(v[0], 1), "tensorflow::TensorList"));
    struct str it = v[0];
    CHECK(sm_pb_next_msg(&it, 3, &tensor) > 0);
    CHECK_OK(sm_tensor_proto(tensor, &t, &err));
    CHECK(t.n_elems == 2 && ((float *)t.data)[1] == 2.0f);
    sm_tensor_release(&t);
    it = v[1];
    CHECK_INT(sm_pb_next_msg(&it, 3, &tensor), 0);
    free(v);
    CHECK_ERR(sm_bundle_variants(b, STR_LIT("x"), &v, &n, &err), ERR_INVALID);
    CHECK_ERR(sm_bundle_variants(b, STR_LIT("y"), &v, &n, &err), ERR_NOTFOUND);
    CHECK_ERR(sm_bundle_tensor(b, STR_LIT("one"), STR_LIT(""), true, &t, &err),
              ERR_UNSUPPORTED);
}

TEST(test_sm_ckpt__damaged_variants)
{
    struct err err = ERR_INIT;
    struct buf index = BUF_INIT, data = BUF_INIT;
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/v", unit_data("formats/bundle_variant"));
    size_t n = strlen(path);
    (void)snprintf(path + n, sizeof(path) - n, ".index");
    read_file(path, &index);
    (void)snprintf(path + n, sizeof(path) - n, ".data-00000-of-00001");
    read_file(path, &data);
    put("v.index", index.data, index.len);
    (void)snprintf(path, sizeof(path), "%s/v", unit_dir());
    for (size_t i = 0; i < 128; i += 5) { /* the bytes of "lists" */
        struct sm_bundle *b AUTO(sm_bundle_close_p) = NULL;
        struct str *v;
        int64_t n_elems;
        data.data[i] ^= 4;
        put("v.data-00000-of-00001", data.data, data.len);
        CHECK_OK(sm_bundle_open(&b, AT_FDCWD, path, &err));
        CHECK_ERR(sm_bundle_variants(b, STR_LIT("lists"), &v, &n_elems, &err),
                  ERR_CORRUPT);
        data.data[i] ^= 4;
    }
    buf_release(&index);
    buf_release(&data);
}

static void
keras_node(struct buf *b, int id, const char *path, const char *json)
{
    struct buf n = BUF_INIT, version = BUF_INIT;
    if (id)
        pb_int(&n, 2, id);
    pb_text(&n, 3, path);
    pb_text(&n, 4, "_tf_keras_layer");
    pb_text(&n, 5, json);
    pb_int(&version, 1, 2);
    pb_msg(&n, 6, &version);
    pb_msg(b, 1, &n);
}

TEST(test_sm_keras__metadata)
{
    struct err err = ERR_INIT;
    struct buf b = BUF_INIT;
    struct sm_keras k;
    int fd AUTO(fs_close) = -1;
    CHECK_OK(fs_open_dir(&fd, AT_FDCWD, unit_dir(), &err));
    CHECK_ERR(sm_keras_read(&k, fd, "DIR", &err), ERR_NOTFOUND);
    keras_node(&b, 0, "root", "{\"class_name\": \"Sequential\"}");
    keras_node(&b, 7, "root.layer-0", "{}");
    put("keras_metadata.pb", b.data, b.len);
    CHECK_OK(sm_keras_read(&k, fd, "DIR", &err));
    CHECK_INT(k.n, 2);
    CHECK(k.v[0].node_id == 0 && str_is(k.v[0].path, "root"));
    CHECK(k.v[1].node_id == 7 && k.v[1].producer == 2);
    CHECK(str_is(k.v[1].metadata, "{}"));
    sm_keras_release(&k);
    for (size_t n = 1; n < b.len; n++) {
        put("keras_metadata.pb", b.data, n);
        if (sm_keras_read(&k, fd, "DIR", &err) == 0) {
            CHECK_INT(k.n, 1); /* cut between the two */
            sm_keras_release(&k);
        } else {
            CHECK(err.code == ERR_CORRUPT && strstr(err.msg, "DIR: keras_metadata.pb"));
            err_clear(&err);
        }
    }
    buf_release(&b);
}
