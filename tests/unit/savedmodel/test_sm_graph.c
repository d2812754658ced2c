/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/savedmodel/build.h"

static struct sm_attr
attr_of(const struct buf *value)
{
    struct sm_attr a;
    CHECK_INT(sm_attr_parse(str_buf(value), &a), 0);
    return a;
}

TEST(test_sm_graph__node)
{
    struct err err = ERR_INIT;
    struct buf b = BUF_INIT, v = BUF_INIT;
    struct sm_node n;
    struct sm_attr a;
    pb_text(&b, 1, "dense/MatMul");
    pb_text(&b, 2, "MatMul");
    pb_text(&b, 3, "x");
    pb_text(&b, 3, "^c");
    pb_text(&b, 4, "/cpu:0");
    pb_int(&v, 5, 1);
    pb_entry(&b, 5, "transpose_a", &v);
    CHECK_OK(sm_node_parse(str_buf(&b), &n, &err));
    CHECK(str_is(n.name, "dense/MatMul") && str_is(n.op, "MatMul"));
    CHECK(str_is(n.device, "/cpu:0"));
    CHECK(sm_node_attr(&n, "transpose_a", &a));
    CHECK(a.kind == SM_ATTR_B && a.i == 1);
    CHECK(!sm_node_attr(&n, "transpose_b", &a));
    buf_addc(&b, '\x0a');
    CHECK_ERR(sm_node_parse(str_buf(&b), &n, &err), ERR_CORRUPT);
    buf_release(&b);
}

TEST(test_sm_graph__attr_kinds)
{
    struct buf b = BUF_INIT;
    CHECK_INT(attr_of(&b).kind, SM_ATTR_NONE);
    pb_text(&b, 2, "text");
    CHECK(str_is(attr_of(&b).bytes, "text"));
    pb_int(&b, 3, -4); /* the last member of the oneof counts */
    CHECK_INT(attr_of(&b).kind, SM_ATTR_I);
    CHECK_INT(attr_of(&b).i, -4);
    pb_float(&b, 4, 0.5f);
    CHECK(attr_of(&b).f == 0.5f);
    pb_int(&b, 6, SM_HALF);
    CHECK(attr_of(&b).kind == SM_ATTR_TYPE && attr_of(&b).i == SM_HALF);
    struct buf func = BUF_INIT;
    pb_text(&func, 1, "__inference_f_12");
    pb_msg(&b, 10, &func);
    struct sm_attr a = attr_of(&b);
    CHECK(str_is(sm_attr_func_name(&a), "__inference_f_12"));
    buf_release(&b);
}

TEST(test_sm_graph__list_attrs_packed_and_not)
{
    struct buf list = BUF_INIT, b = BUF_INIT, packed = BUF_INIT;
    int64_t ints[3];
    int types[2];
    float floats[1];
    bool bools[2];
    struct str strs[4];
    pb_int(&list, 3, 10);
    add_varint(&packed, 20);
    add_varint(&packed, 30);
    pb_msg(&list, 3, &packed);
    pb_int(&list, 6, SM_FLOAT);
    pb_int(&list, 6, 109);
    pb_float(&list, 4, 2);
    pb_float(&list, 4, 3);
    pb_bytes(&list, 5, "\1\0", 2);
    pb_text(&list, 2, "a");
    pb_text(&list, 2, "");
    pb_msg(&b, 1, &list);
    struct sm_attr a = attr_of(&b);
    CHECK_INT(a.kind, SM_ATTR_LIST);
    CHECK_INT(sm_attr_ints(&a, ints, 3), 3);
    CHECK(ints[0] == 10 && ints[1] == 20 && ints[2] == 30);
    CHECK_INT(sm_attr_types(&a, types, 2), 2);
    CHECK(types[0] == SM_FLOAT && types[1] == 109);
    CHECK_INT(sm_attr_floats(&a, floats, 1), 2); /* more than there is room for */
    CHECK(floats[0] == 2);
    CHECK_INT(sm_attr_bools(&a, bools, 2), 2);
    CHECK(bools[0] && !bools[1]);
    CHECK_INT(sm_attr_strs(&a, strs, 4), 2);
    CHECK(str_is(strs[0], "a") && strs[1].n == 0);
    CHECK_INT(sm_attr_ints(&a, NULL, 0), 3);
    buf_release(&b);
}

TEST(test_sm_graph__op_defaults)
{
    struct buf list = BUF_INIT, op = BUF_INIT, def = BUF_INIT, v = BUF_INIT;
    struct sm_attr a;
    pb_text(&def, 1, "data_format");
    pb_text(&v, 2, "NHWC");
    pb_msg(&def, 3, &v);
    pb_text(&op, 1, "Conv2D");
    pb_msg(&op, 4, &def);
    pb_text(&def, 1, "strides");
    pb_msg(&op, 4, &def);
    pb_msg(&list, 1, &op);
    struct str l = str_buf(&list);
    CHECK(sm_op_default(l, STR_LIT("Conv2D"), "data_format", &a));
    CHECK(str_is(a.bytes, "NHWC"));
    CHECK(!sm_op_default(l, STR_LIT("Conv2D"), "strides", &a)); /* has none */
    CHECK(!sm_op_default(l, STR_LIT("Conv2D"), "nothing", &a));
    CHECK(!sm_op_default(l, STR_LIT("Relu"), "data_format", &a));
    buf_release(&list);
}

TEST(test_sm_graph__function)
{
    struct err err = ERR_INIT;
    struct buf f = BUF_INIT, sig = BUF_INIT, arg = BUF_INIT;
    struct sm_function fn;
    struct sm_arg a;
    struct str it, raw;
    pb_text(&arg, 1, "x");
    pb_int(&arg, 3, SM_RESOURCE);
    pb_text(&sig, 1, "f");
    pb_msg(&sig, 2, &arg);
    pb_msg(&f, 1, &sig);
    CHECK_OK(sm_function_parse(str_buf(&f), &fn, &err));
    CHECK(str_is(fn.name, "f"));
    it = fn.signature;
    CHECK_INT(sm_pb_next_msg(&it, 2, &raw), 1);
    CHECK_OK(sm_arg_parse(raw, &a, &err));
    CHECK(str_is(a.name, "x") && a.type == SM_RESOURCE);
    buf_release(&f);
    CHECK_ERR(sm_function_parse(str_buf(&f), &fn, &err), ERR_CORRUPT);
}
