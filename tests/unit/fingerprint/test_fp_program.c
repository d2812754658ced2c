/* SPDX-License-Identifier: Apache-2.0 */
#include "base/farmhash.h"
#include "tests/unit/fingerprint/tree.h"

TEST(test_fp_program__suffix)
{
    static const struct {
        const char *name, *stem; /* stem NULL: no number */
        int64_t number;
    } v[] = {
        { "__inference_foo_123", "__inference_foo_", 123 },
        { "f_007", "f_00", 7 },
        { "f_+7", "f_+", 7 },
        { "f_-5", "f_", -5 },
        { "f_ 12\t", "f_ 12\t", 12 },
        { "42", "", 42 },
        { "f_", NULL, 0 },
        { "f", NULL, 0 },
        { "", NULL, 0 },
        { "f_12a", NULL, 0 },
        { "f_-", NULL, 0 },
        { "f_1_x", NULL, 0 },
        { "f_1__2", "f_1__", 2 },
        { "f_0", "f_", 0 },
        { "f_9223372036854775807", "f_", INT64_MAX },
        { "f_9223372036854775808", NULL, 0 },
        { "f_99999999999999999999999999999999999999999999999", NULL, 0 },
    };
    int64_t number;
    struct str stem;
    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
        bool has = fp_suffix(str_of(v[i].name), true, &number, &stem);
        if (has != (v[i].stem != NULL) || (has && number != v[i].number) ||
            !str_is(stem, has ? v[i].stem : v[i].name))
            unit_fail(__FILE__, __LINE__, "'%s' gives %d %" PRId64 " '%.*s'", v[i].name,
                      has, number, STR_ARG(stem));
    }
    /* before 2.14 numbers are 32 bits wide */
    CHECK(fp_suffix(STR_LIT("f_2147483647"), false, &number, &stem));
    CHECK(!fp_suffix(STR_LIT("f_2147483648"), false, &number, &stem));
    CHECK(fp_suffix(STR_LIT("f_-2147483648"), false, &number, &stem));
}

TEST(test_fp_program__known_graph)
{
    struct buf b = BUF_INIT;
    struct err err = ERR_INIT;
    uint64_t h;
    add_hex(&b, "0a0c0a056e616d653112036f70310a0c0a056e616d653212036f7032");
    struct str raw = str_buf(&b);
    CHECK_OK(fp_det_farm(FP_M_GraphDef, FP_MSG(raw), FP_DET_WIDE, &h, &err));
    CHECK(h == 4870331646167591885u);
    /* library and versions are there, and empty, whatever they were */
    add_hex(&b, "1200 2200");
    raw = str_buf(&b);
    CHECK(farm64(raw) != h);
    uint64_t want = farm64(raw), got;
    CHECK_OK(fp_det_farm(FP_M_GraphProgram, FP_MSG(raw), FP_DET_WIDE, &got, &err));
    CHECK(got == want);
    struct str bare = { raw.p, raw.n - 4 };
    CHECK_OK(fp_det_farm(FP_M_GraphProgram, FP_MSG(bare), FP_DET_WIDE, &got, &err));
    CHECK(got == want);
    add_hex(&b, "2202 0801 1204 0a02 0a00");
    raw = str_buf(&b);
    CHECK_OK(fp_det_farm(FP_M_GraphProgram, FP_MSG(raw), FP_DET_WIDE, &got, &err));
    CHECK(got == want);
    buf_release(&b);
}

static uint64_t
program_hash(struct tree *graph)
{
    struct buf b = BUF_INIT;
    struct err err = ERR_INIT;
    uint64_t h;
    tree_write(graph, &b);
    struct str raw = str_buf(&b);
    CHECK_OK(fp_det_farm(FP_M_GraphProgram, FP_MSG(raw), FP_DET_WIDE, &h, &err));
    buf_release(&b);
    return h;
}

TEST(test_fp_program__what_counts)
{
    struct tree t;
    tree_read(&t, unit_data("strings_passthrough/model/saved_model.pb"));
    struct tree *graph = tree_get(tree_get(&t, 2), 2), *call = NULL, *text = NULL;
    for (int i = 0; i < graph->n; i++) {
        struct tree *n = &graph->kid[i];
        if (n->type == FP_M_NodeDef && tree_is(n, 2, "PartitionedCall"))
            call = n;
        if (n->type == FP_M_NodeDef && tree_is(n, 2, "StatefulPartitionedCall") &&
            !call)
            call = n;
    }
    CHECK(call);
    uint64_t h = program_hash(graph);
    struct tree *func = tree_get(tree_map(call, 5, "f"), 10);
    char *stem = xstrndup(tree_str(func, 1).p, tree_str(func, 1).n);
    *(strrchr(stem, '_') + 1) = '\0';
    char *name = xasprintf("%s%d", stem, 987654);
    tree_set_str(func, 1, name);
    CHECK(program_hash(graph) == h);
    tree_set_str(tree_map(call, 5, "config_proto"), 2, "something else");
    CHECK(program_hash(graph) == h);
    tree_set_str(func, 1, "another_1");
    CHECK(program_hash(graph) != h);
    tree_set_str(func, 1, name);
    CHECK(program_hash(graph) == h);
    /* a constant string's value does not count, that it is one does */
    text = tree_add(graph, FP_M_NodeDef, 1, 2);
    tree_set_str(text, 1, "text");
    tree_set_str(text, 2, "Const");
    tree_set_int(tree_map_add(text, 5, "dtype", FP_M_AttrValue), 6, SM_STRING);
    struct tree *value = tree_map_add(text, 5, "value", FP_M_AttrValue);
    struct tree *tensor = tree_add(value, FP_M_TensorProto, 8, 2);
    tree_set_str(tensor, 8, "one");
    h = program_hash(graph);
    tree_set_str(tensor, 8, "two");
    CHECK(program_hash(graph) == h);
    text = tree_nth(graph, 1, 0);
    tree_set_str(text, 4, "/device:CPU:1");
    CHECK(program_hash(graph) != h);
    free(stem);
    free(name);
    tree_free(&t);
}
