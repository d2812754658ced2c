/* SPDX-License-Identifier: Apache-2.0 */
/* Variables, tables and lists, and what reset goes back to. */
#include "tests/unit/runtime/rt_fixture.h"

static void
add_x(struct mb *m)
{
    mb_node(m, "x", "Placeholder", "", "dtype:t=1 shape:d=");
}

static void
finish(struct backend **b, struct mb *m)
{
    mb_signature(m, "serving_default", "x=x:0", "y=y:0");
    fx_load(b, m);
}

TEST(test_rt_state__a_resource_counts_until_reset)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    struct err err = ERR_INIT;
    add_x(&m);
    mb_f32(&m, "five", 5);
    mb_node(&m, "v", "VarHandleOp", "", "dtype:t=1 shape:d= shared_name:s=v");
    mb_node(&m, "init", "AssignVariableOp", "v five", "dtype:t=1");
    mb_init(&m, "init");
    mb_node(&m, "add", "AssignAddVariableOp", "v x", "dtype:t=1");
    mb_node(&m, "y", "ReadVariableOp", "v ^add", "dtype:t=1");
    finish(&b, &m);
    CHECK(fx_run_f32(b, 1) == 6);
    CHECK(fx_run_f32(b, 2) == 8);
    CHECK_OK(rt_backend.reset(b, &err));
    CHECK(fx_run_f32(b, 1) == 6);
}

/* Who has read a resource keeps what he read; who has read a reference sees it change.
 */
TEST(test_rt_state__reads_before_a_write)
{
    for (int ref = 0; ref < 2; ref++) {
        struct mb m = { .init_op = NULL };
        struct backend *b AUTO(fx_close) = NULL;
        struct err err = ERR_INIT;
        add_x(&m);
        mb_f32(&m, "five", 5);
        if (ref) {
            mb_node(&m, "v", "VariableV2", "", "dtype:t=1 shape:d= shared_name:s=v");
            mb_node(&m, "init", "Assign", "v five", "T:t=1");
            mb_node(&m, "read", "Identity", "v", "T:t=1");
            mb_node(&m, "set", "Assign", "v x ^read", "T:t=1");
        } else {
            mb_node(&m, "v", "VarHandleOp", "", "dtype:t=1 shape:d= shared_name:s=v");
            mb_node(&m, "init", "AssignVariableOp", "v five", "dtype:t=1");
            mb_node(&m, "read", "ReadVariableOp", "v", "dtype:t=1");
            mb_node(&m, "set", "AssignVariableOp", "v x ^read", "dtype:t=1");
        }
        mb_init(&m, "init");
        mb_node(&m, "y", "AddV2", "read read ^set", "T:t=1");
        finish(&b, &m);
        CHECK(fx_run_f32(b, 7) == (ref ? 14 : 10));
        CHECK(fx_run_f32(b, 8) == (ref ? 16 : 14));
        CHECK_OK(rt_backend.reset(b, &err));
        CHECK(fx_run_f32(b, 7) == (ref ? 14 : 10));
    }
}

TEST(test_rt_state__a_variable_without_value)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    struct err err = ERR_INIT;
    float x = 1, y;
    add_x(&m);
    mb_node(&m, "v", "VarHandleOp", "", "dtype:t=1 shape:d= shared_name:s=w");
    mb_node(&m, "y", "ReadVariableOp", "v", "dtype:t=1");
    finish(&b, &m);
    CHECK(fx_run(b, &x, &y, sizeof(y), &err) == -ERR_FAILED);
    CHECK(strstr(err.msg, "uninitialized value 'w'"));
}

TEST(test_rt_state__scatter_and_gather_rows)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    struct err err = ERR_INIT;
    float w[6] = { 0, 1, 2, 3, 4, 5 }, u[4] = { 10, 20, 30, 40 }, x = 0, y[4];
    int32_t at[2] = { 2, 2 }, from[2] = { 2, 0 }, beyond[2] = { 0, 3 };
    for (int bad = 0; bad < 2; bad++) {
        m = (struct mb){ .init_op = NULL };
        b = NULL;
        add_x(&m);
        mb_const(&m, "w", "", SM_FLOAT, "3,2", w, sizeof(w));
        mb_const(&m, "u", "", SM_FLOAT, "2,2", u, sizeof(u));
        mb_const(&m, "at", "", SM_INT32, "2", at, sizeof(at));
        mb_const(&m, "from", "", SM_INT32, "2", bad ? beyond : from, sizeof(from));
        mb_node(&m, "v", "VarHandleOp", "", "dtype:t=1 shape:d=3,2 shared_name:s=v");
        mb_node(&m, "init", "AssignVariableOp", "v w", "dtype:t=1");
        mb_init(&m, "init");
        mb_node(&m, "sc", "ResourceScatterAdd", "v at u", "dtype:t=1 Tindices:t=3");
        mb_node(&m, "y", "ResourceGather", "v from ^sc", "dtype:t=1 Tindices:t=3");
        finish(&b, &m);
        if (bad) {
            CHECK(fx_run(b, &x, y, sizeof(y), &err) == -ERR_FAILED);
            CHECK(strstr(err.msg, "indices[1] = 3 is not in [0, 3)"));
        } else {
            CHECK_OK(fx_run(b, &x, y, sizeof(y), &err));
            CHECK(y[0] == 44 && y[1] == 65 && y[2] == 0 && y[3] == 1);
        }
        rt_backend.close(b);
        b = NULL;
    }
}

TEST(test_rt_state__a_slice_of_a_variable_is_set)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    struct err err = ERR_INIT;
    float w[6] = { 0, 1, 2, 3, 4, 5 }, x = 9, y[6];
    int32_t begin[2] = { 0, 1 }, end[2] = { 3, 2 }, step[2] = { 2, 1 };
    add_x(&m);
    mb_const(&m, "w", "", SM_FLOAT, "3,2", w, sizeof(w));
    mb_const(&m, "begin", "", SM_INT32, "2", begin, sizeof(begin));
    mb_const(&m, "end", "", SM_INT32, "2", end, sizeof(end));
    mb_const(&m, "step", "", SM_INT32, "2", step, sizeof(step));
    mb_node(&m, "v", "VarHandleOp", "", "dtype:t=1 shape:d=3,2 shared_name:s=v");
    mb_node(&m, "init", "AssignVariableOp", "v w", "dtype:t=1");
    mb_init(&m, "init");
    mb_node(&m, "set", "ResourceStridedSliceAssign", "v begin end step x",
            "T:t=1 Index:t=3");
    mb_node(&m, "y", "ReadVariableOp", "v ^set", "dtype:t=1");
    finish(&b, &m);
    CHECK_OK(fx_run(b, &x, y, sizeof(y), &err));
    CHECK(y[0] == 0 && y[1] == 9 && y[2] == 2 && y[3] == 3 && y[4] == 4 && y[5] == 9);
}

/* ---- tables ---------------------------------------------------------------------- */

static void
table_model(struct mb *m, bool text)
{
    static const int64_t values[3] = { 10, 20, 30 };
    int64_t none = -1;
    add_x(m);
    mb_node(m, "t", "HashTableV2", "", "key_dtype:t=7 value_dtype:t=9 shared_name:s=t");
    if (text) {
        mb_node(m, "file", "Placeholder", "", "dtype:t=7 shape:d=");
        mb_node(m, "init", "InitializeTableFromTextFileV2", "t file",
                "key_index:i=-2 value_index:i=-1");
        mb_asset(m, "file:0", "vocab.txt");
    } else {
        mb_strings(m, "k", "a,b,c");
        mb_const(m, "v", "", SM_INT64, "3", values, sizeof(values));
        mb_node(m, "init", "InitializeTableV2", "t k v", "Tkey:t=7 Tval:t=9");
    }
    mb_init(m, "init");
    mb_strings(m, "ask", "c,nope,a");
    mb_const(m, "none", "", SM_INT64, "", &none, sizeof(none));
    mb_node(m, "y", "LookupTableFindV2", "t ask none", "Tin:t=7 Tout:t=9");
}

TEST(test_rt_state__a_table_from_tensors)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    struct err err = ERR_INIT;
    int64_t y[3];
    float x = 0;
    table_model(&m, false);
    finish(&b, &m);
    CHECK_OK(fx_run(b, &x, y, sizeof(y), &err));
    CHECK(y[0] == 30 && y[1] == -1 && y[2] == 10);
}

static void
write_file(const char *name, const char *text)
{
    struct err err = ERR_INIT;
    char path[512];
    snprintf(path, sizeof(path), "%s/assets", unit_dir());
    CHECK_OK(fs_mkdirs(AT_FDCWD, path, 0755, &err));
    snprintf(path, sizeof(path), "%s/assets/%s", unit_dir(), name);
    CHECK_OK(fs_replace(AT_FDCWD, path, text, strlen(text), 0644, &err));
}

TEST(test_rt_state__a_table_from_an_asset)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    struct err err = ERR_INIT;
    int64_t y[3];
    float x = 0;
    write_file("vocab.txt", "b\r\na\nc");
    table_model(&m, true);
    finish(&b, &m);
    CHECK_OK(fx_run(b, &x, y, sizeof(y), &err));
    CHECK(y[0] == 2 && y[1] == -1 && y[2] == 1);
}

TEST(test_rt_state__a_vocabulary_with_a_word_twice)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    struct err err = ERR_INIT;
    write_file("vocab.txt", "a\nb\na\n");
    table_model(&m, true);
    mb_signature(&m, "serving_default", "x=x:0", "y=y:0");
    CHECK(fx_load_with(&b, &m, (struct backend_args){ .n_threads = 1 }, &err) ==
          -ERR_FAILED);
    CHECK(strstr(err.msg, "HashTable has different value for same key"));
}

TEST(test_rt_state__files_outside_the_model_are_refused)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    struct err err = ERR_INIT;
    add_x(&m);
    mb_node(&m, "t", "HashTableV2", "",
            "key_dtype:t=7 value_dtype:t=9 shared_name:s=t");
    mb_strings(&m, "file", "/etc/passwd");
    mb_node(&m, "init", "InitializeTableFromTextFileV2", "t file",
            "key_index:i=-2 value_index:i=-1");
    mb_init(&m, "init");
    mb_node(&m, "y", "Identity", "x", "T:t=1");
    mb_signature(&m, "serving_default", "x=x:0", "y=y:0");
    CHECK(fx_load_with(&b, &m, (struct backend_args){ .n_threads = 1 }, &err) ==
          -ERR_UNSUPPORTED);
    CHECK(strstr(err.msg, "'/etc/passwd', which is no file of the model"));
}

TEST(test_rt_state__a_mutable_table_is_reset)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    struct err err = ERR_INIT;
    int64_t key = 7, size;
    float x = 3;
    add_x(&m);
    mb_node(&m, "t", "MutableHashTableV2", "",
            "key_dtype:t=9 value_dtype:t=1 shared_name:s=m");
    mb_const(&m, "k", "", SM_INT64, "", &key, sizeof(key));
    mb_node(&m, "put", "LookupTableInsertV2", "t k x", "Tin:t=9 Tout:t=1");
    mb_node(&m, "y", "LookupTableSizeV2", "t ^put", "");
    mb_node(&m, "n", "LookupTableSizeV2", "t", "");
    mb_signature(&m, "size", "x=x:0", "y=n:0");
    finish(&b, &m);
    for (int i = 0; i < 2; i++) {
        struct sm_tensor_list in AUTO(sm_tensor_list_release) = { 0 };
        struct sm_tensor_list out AUTO(sm_tensor_list_release) = { 0 };
        fx_feed(&in, "x", SM_FLOAT, 0, 1, &x);
        CHECK_OK(rt_backend.run(b, "size", &in, &out, &err));
        CHECK_INT(*(int64_t *)sm_tensor_list_find(&out, "y")->data, 0);
        CHECK_OK(fx_run(b, &x, &size, sizeof(size), &err));
        CHECK_INT(size, 1);
        CHECK_OK(rt_backend.reset(b, &err));
    }
}

/* ---- lists ----------------------------------------------------------------------- */

static void
list_model(struct mb *m, int32_t index)
{
    int32_t none = -1;
    add_x(m);
    mb_const(m, "any", "", SM_INT32, "", &none, sizeof(none));
    mb_i32(m, "three", 3);
    mb_i32(m, "i", index);
    mb_node(m, "l0", "TensorListReserve", "any three",
            "element_dtype:t=1 shape_type:t=3");
    mb_node(m, "l1", "TensorListSetItem", "l0 i x", "element_dtype:t=1");
}

TEST(test_rt_state__a_list_keeps_its_old_self)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    struct err err = ERR_INIT;
    float x = 4, y[3];
    list_model(&m, 1);
    mb_f32(&m, "nine", 9);
    mb_node(&m, "l2", "TensorListSetItem", "l1 i nine", "element_dtype:t=1");
    mb_node(&m, "s1", "TensorListStack", "l1 any", "element_dtype:t=1");
    mb_node(&m, "s2", "TensorListStack", "l2 any", "element_dtype:t=1");
    mb_node(&m, "y", "Sub", "s2 s1", "T:t=1");
    finish(&b, &m);
    CHECK_OK(fx_run(b, &x, y, sizeof(y), &err));
    CHECK(y[0] == 0 && y[1] == 5 && y[2] == 0);
}

TEST(test_rt_state__a_list_has_bounds)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    struct err err = ERR_INIT;
    float x = 4, y[3];
    list_model(&m, 3);
    mb_node(&m, "y", "TensorListStack", "l1 any", "element_dtype:t=1");
    finish(&b, &m);
    CHECK(fx_run(b, &x, y, sizeof(y), &err) == -ERR_FAILED);
    CHECK(strstr(err.msg, "Trying to modify element 3 in a list with 3 elements."));
}

TEST(test_rt_state__a_run_cannot_eat_the_memory)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    struct err err = ERR_INIT;
    int32_t shape[2] = { 1 << 10, 1 << 10 };
    float x = 4, y;
    add_x(&m);
    mb_const(&m, "shape", "", SM_INT32, "2", shape, sizeof(shape));
    mb_i32(&m, "n", 1 << 10);
    mb_node(&m, "l", "TensorListReserve", "shape n",
            "element_dtype:t=1 shape_type:t=3");
    mb_node(&m, "y", "TensorListStack", "l shape", "element_dtype:t=1");
    mb_signature(&m, "serving_default", "x=x:0", "y=y:0");
    CHECK_OK(fx_load_with(&b, &m, (struct backend_args){ .max_memory_bytes = 1 << 24 },
                          &err));
    CHECK(fx_run(b, &x, &y, sizeof(y), &err) == -ERR_LIMIT);
    CHECK(strstr(err.msg, "the run would pass 16777216 bytes"));
}

TEST(test_rt_state__a_tensor_array_grows)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    struct err err = ERR_INIT;
    float x = 4, y[2];
    int32_t range[2] = { 0, 1 };
    add_x(&m);
    mb_i32(&m, "zero", 0);
    mb_i32(&m, "one", 1);
    mb_const(&m, "range", "", SM_INT32, "2", range, sizeof(range));
    mb_node(&m, "a", "TensorArrayV3", "zero",
            "dtype:t=1 dynamic_size:b=1 element_shape:d=");
    mb_node(&m, "w", "TensorArrayWriteV3", "a one x a:1", "T:t=1");
    mb_node(&m, "y", "TensorArrayGatherV3", "a range w", "dtype:t=1 element_shape:d=");
    finish(&b, &m);
    CHECK_OK(fx_run(b, &x, y, sizeof(y), &err));
    CHECK(y[0] == 0 && y[1] == 4);
}
