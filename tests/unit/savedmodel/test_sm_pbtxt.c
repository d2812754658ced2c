/* SPDX-License-Identifier: Apache-2.0 */
#include "savedmodel/sm_int.h"
#include "tests/unit/savedmodel/build.h"

static int
convert(const char *text, enum sm_msg root, struct buf *out, struct err *err)
{
    buf_release(out);
    return sm_pbtxt(str_of(text), root, out, err);
}

/* The text of a message gives just these bytes. */
static void
gives(enum sm_msg root, const char *text, const char *hex)
{
    struct err err = ERR_INIT;
    struct buf b = BUF_INIT, want = BUF_INIT;
    add_hex(&want, hex);
    CHECK_OK(convert(text, root, &b, &err));
    if (b.len != want.len || (b.len && memcmp(b.data, want.data, b.len) != 0)) {
        for (size_t i = 0; i < b.len; i++)
            fprintf(stderr, "%02x", (uint8_t)b.data[i]);
        unit_fail(__FILE__, __LINE__, "'%s' gives other bytes", text);
    }
    buf_release(&b);
    buf_release(&want);
}

TEST(test_sm_pbtxt__syntax)
{
    gives(SM_M_GraphDef, "", "");
    gives(SM_M_GraphDef, " # nothing\n\t", "");
    gives(SM_M_GraphDef, "\xef\xbb\xbfversion: 1", "1801");
    gives(SM_M_GraphDef, "node { name: 'a' op: \"op\" input: 'i' }",
          "0a0a 0a0161 12026f70 1a0169");
    gives(SM_M_GraphDef, "node: < name:'a'; op:\"op\", input:['i'], >;",
          "0a0a 0a0161 12026f70 1a0169");
    gives(SM_M_GraphDef, "node [{name: 'a'}, <name: 'b'>] # two\nnode {}",
          "0a03 0a0161 0a03 0a0162 0a00");
    gives(SM_M_NodeDef, "input: [] input: ['x', \"y\"] input: 'z' 'z'\n\"\"",
          "1a0178 1a0179 1a027a7a");
    gives(SM_M_NodeDef,
          "attr { key: 'T' value { type: DT_FLOAT } } attr { value {} } attr { key: "
          "'U' }",
          "2a07 0a0154 12023001 2a04 0a00 1200 2a05 0a0155 1200");
}

TEST(test_sm_pbtxt__numbers)
{
    gives(SM_M_Dim, "size: -1", "08ffffffffffffffffff01");
    gives(SM_M_Dim, "size: - 1", "08ffffffffffffffffff01");
    gives(SM_M_Dim, "size: 0x10", "0810");
    gives(SM_M_Dim, "size: 010", "0808");
    gives(SM_M_Dim, "size: 9223372036854775807", "08ffffffffffffffff7f");
    gives(SM_M_StructuredValue, "int64_value: -2", "6003");
    gives(SM_M_StructuredValue, "bool_value: t", "7001");
    gives(SM_M_StructuredValue, "bool_value: 0", "7000");
    gives(SM_M_StructuredValue, "float64_value: 1.5e0", "59000000000000f83f");
    gives(SM_M_StructuredValue, "float64_value: -inf", "59000000000000f0ff");
    gives(SM_M_AttrValue, "f: 1.f", "250000803f");
    gives(SM_M_AttrValue, "f: Infinity", "250000807f");
    gives(SM_M_AttrValue, "f: 2", "2500000040");
    gives(SM_M_AttrValue, "type: DT_FLOAT_REF", "3065");
    gives(SM_M_AttrValue, "type: 77", "304d");
    gives(SM_M_AttrValue, "type: -1", "30ffffffffffffffffff01");
    gives(SM_M_SaverDef, "version: V2", "3802");
    gives(SM_M_FullTypeDef, "type_id: TFT_PRODUCT", "0803");
    gives(SM_M_StackTrace, "frame_id: 1", "1208 0100000000000000");
}

/* Repeated numbers come packed; runs of two fields stay apart. */
TEST(test_sm_pbtxt__packed)
{
    gives(SM_M_TensorProto, "float_val: 1 float_val: [2, 3] int_val: 300 float_val: 4",
          "2a0c 0000803f 00000040 00004040 3a02 ac02 2a04 00008040");
    gives(SM_M_TensorProto, "bool_val: true bool_val: false dtype: DT_BOOL",
          "5a02 0100 080a");
}

TEST(test_sm_pbtxt__strings)
{
    gives(SM_M_AttrValue, "s: \"\\a\\b\\f\\n\\r\\t\\v\\?\\'\\\"\\\\\"",
          "120b 07080c0a0d090b3f27225c");
    gives(SM_M_AttrValue, "s: '\\0\\377\\1234\\x41\\xfg'", "1207 00ff533441 0f67");
    gives(SM_M_AttrValue, "s: '\\u00e9\\U0001f600'", "1206 c3a9 f09f9880");
    gives(SM_M_AttrValue, "s: '#'# not a comment within\n", "120123");
}

TEST(test_sm_pbtxt__any)
{
    gives(SM_M_AnyList,
          "value { [type.googleapis.com/tensorflow.SavedAsset] "
          "{ asset_file_def_index: 1 } }",
          "0a2f 0a29 747970652e676f6f676c65617069732e636f6d2f 74656e736f72666c6f772e"
          "53617665644173736574 12020801");
    gives(SM_M_AnyList, "value { type_url: 'u' value: 'v' }", "0a06 0a0175 120176");
}

static void
refused(enum sm_msg root, const char *text, const char *where, const char *part)
{
    struct err err = ERR_INIT;
    struct buf b = BUF_INIT;
    if (convert(text, root, &b, &err) != -ERR_CORRUPT || !strstr(err.msg, where) ||
        !strstr(err.msg, part))
        unit_fail(__FILE__, __LINE__, "'%s' gives \"%s\"", text, err.msg);
    buf_release(&b);
}

TEST(test_sm_pbtxt__what_is_refused)
{
    refused(SM_M_GraphDef, "node {\n  nme: 'a'\n}", "line 2, column 3",
            "NodeDef has no field 'nme'");
    refused(SM_M_GraphDef, "node { name 'a' }", "column 13", "':'");
    refused(SM_M_GraphDef, "node { name: 'a' name: 'b' }", "column 18", "already");
    refused(SM_M_AttrValue, "i: 1 f: 2", "column 6", "excludes");
    refused(SM_M_GraphDef, "node { name: 'a'", "line 1, column 7", "at its end");
    refused(SM_M_GraphDef, "node { name: 'a' >", "column 18", "expected a field");
    refused(SM_M_GraphDef, "node { name: 'a\n' }", "column 14", "no end");
    refused(SM_M_GraphDef, "node { name: a }", "column 14", "quotes");
    refused(SM_M_GraphDef, "node { name: '\\q' }", "column 15", "escape");
    refused(SM_M_GraphDef, "version: 2147483648", "column 10", "does not fit");
    refused(SM_M_GraphDef, "version: -2147483649", "column 10", "does not fit");
    refused(SM_M_GraphDef, "version: 1.5", "column 10", "integer");
    refused(SM_M_GraphDef, "version: 08", "column 10", "integer");
    refused(SM_M_GraphDef, "version: [1]", "column 10", "integer");
    refused(SM_M_GraphDef, "version:", "column 9", "integer");
    refused(SM_M_GraphDef, "node", "column 5", "'{'");
    refused(SM_M_GraphDef, "}", "column 1", "expected a field");
    refused(SM_M_GraphDef, "node [{}", "column 9", "']'");
    refused(SM_M_TensorProto, "uint64_val: -1", "column 13", "does not fit");
    refused(SM_M_AttrValue, "f: 0x10", "column 4", "number");
    refused(SM_M_AttrValue, "f: abc", "column 4", "no number");
    refused(SM_M_AttrValue, "b: yes", "column 4", "true or false");
    refused(SM_M_AttrValue, "type: DT_FLAOT", "column 7", "DT_FLAOT");
    refused(SM_M_AttrValue, "type: DT_INVALID_REF", "column 7", "DT_INVALID");
    refused(SM_M_GraphDef, "[a.b/tensorflow.NodeDef] {}", "column 2", "extension");
    refused(SM_M_Any, "[a.b/other.NodeDef] {}", "column 2", "other.NodeDef");
}

TEST(test_sm_pbtxt__nesting)
{
    struct err err = ERR_INIT;
    struct buf text = BUF_INIT, b = BUF_INIT;
    for (int i = 0; i < 120; i++)
        buf_adds(&text, "args {");
    CHECK(convert(buf_str(&text), SM_M_FullTypeDef, &b, &err) == -ERR_LIMIT);
    CHECK(strstr(err.msg, "100 deep"));
    buf_release(&text);
    buf_release(&b);
}

static int
open_at(struct sm_model **m, const char *dir, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    CHECK(fs_open_dir(&fd, AT_FDCWD, dir, err) == 0);
    return sm_open(m, fd, dir, err);
}

/* As long as the binary form, and with the same parts. */
TEST(test_sm_pbtxt__real_model)
{
    struct err err = ERR_INIT;
    struct sm_model *a AUTO(sm_close_p) = NULL;
    struct sm_model *b AUTO(sm_close_p) = NULL;
    CHECK_OK(open_at(&a, unit_data("half_plus_two_tf2/model"), &err));
    CHECK_OK(open_at(&b, unit_data("formats/pbtxt"), &err));
    CHECK(sm_form(a) == SM_FORM_PB && sm_form(b) == SM_FORM_PBTXT);
    CHECK_INT(sm_bytes(b).n, sm_bytes(a).n);
    const struct sm_meta *x = sm_meta(a, 0), *y = sm_meta(b, 0);
    CHECK(x->graph.n == y->graph.n && x->object_graph.n == y->object_graph.n);
    CHECK_INT(y->n_signatures, x->n_signatures);
    for (int i = 0; i < x->n_signatures; i++)
        CHECK(str_eq(x->signatures[i].key, y->signatures[i].key));
}

/* The binary form counts when both are there. */
TEST(test_sm_pbtxt__binary_first)
{
    struct err err = ERR_INIT;
    struct sm_model *m AUTO(sm_close_p) = NULL;
    struct buf all = BUF_INIT;
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/saved_model.pbtxt", unit_dir());
    write_file(path, "nonsense", 8);
    CHECK(open_at(&m, unit_dir(), &err) == -ERR_CORRUPT);
    CHECK(strstr(err.msg,
                 "saved_model.pbtxt: line 1, column 1: SavedModel has no field"));
    err_clear(&err);
    (void)snprintf(path, sizeof(path), "%s/saved_model.pb",
                   unit_data("half_plus_two_tf1/model"));
    read_file(path, &all);
    (void)snprintf(path, sizeof(path), "%s/saved_model.pb", unit_dir());
    write_file(path, all.data, all.len);
    CHECK_OK(open_at(&m, unit_dir(), &err));
    buf_release(&all);
}
