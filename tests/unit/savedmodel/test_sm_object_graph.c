/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/savedmodel/build.h"

#include <stdlib.h>

/* StructuredValue with one member that is a message; `msg` is empty afterwards. */
static void
value(struct buf *b, uint32_t num, uint32_t kind, struct buf *msg)
{
    struct buf v = BUF_INIT;
    pb_msg(&v, kind, msg);
    pb_msg(b, num, &v);
}

static void
spec_value(struct buf *b, uint32_t num, const char *name, int dtype,
           const int64_t *dims)
{
    struct buf spec = BUF_INIT;
    pb_text(&spec, 1, name);
    pb_shape(&spec, 2, dims);
    pb_int(&spec, 3, dtype);
    value(b, num, 33, &spec);
}

/* A node of the object graph whose children are given as id, name, …, -1. */
struct link {
    int id;
    const char *name;
};

static void
object(struct buf *graph, const struct link *links, uint32_t kind, struct buf *member)
{
    struct buf o = BUF_INIT;
    for (; links && links->name; links++) {
        struct buf l = BUF_INIT;
        pb_int(&l, 1, links->id);
        pb_text(&l, 2, links->name);
        pb_msg(&o, 1, &l);
    }
    pb_msg(&o, kind, member);
    pb_msg(graph, 1, &o);
}

static void
read_callables(struct buf *graph, struct sm_callables *out)
{
    struct err err = ERR_INIT;
    struct sm_meta meta = { .object_graph = str_buf(graph) };
    CHECK_OK(sm_meta_callables(&meta, out, &err));
}

TEST(test_sm_object_graph__functions_of_the_root)
{
    static const struct link links[] = { { 2, "later" }, { 1, "call" },  { 3, "var" },
                                         { 4, "bare" },  { 3, "twice" }, { 1, "twice" },
                                         { 0, NULL } };
    struct buf graph = BUF_INIT, m = BUF_INIT, sig = BUF_INIT, pair = BUF_INIT;
    struct buf args = BUF_INIT, kwargs = BUF_INIT;
    struct sm_callables c;
    object(&graph, links, 4, &m);
    pb_text(&m, 1, "f_1");
    pb_text(&m, 1, "f_2");
    object(&graph, NULL, 6, &m);
    object(&graph, NULL, 6, &m); /* never traced */
    object(&graph, NULL, 7, &m);
    pb_text(&m, 1, "g_1");
    pb_text(&m, 2, "left");
    object(&graph, NULL, 8, &m);
    spec_value(&args, 1, "x", SM_FLOAT, DIMS(-1, 2));
    value(&pair, 1, 52, &args);
    value(&pair, 1, 53, &kwargs);
    value(&sig, 3, 52, &pair);
    pb_entry(&graph, 2, "f_1", &sig);
    read_callables(&graph, &c);
    CHECK_INT(c.n, 4); /* bare, call, later, twice */
    CHECK(str_is(c.v[0].name, "bare") && str_is(c.v[1].name, "call"));
    CHECK(str_is(c.v[2].name, "later") && str_is(c.v[3].name, "twice"));
    CHECK_INT(c.v[1].n_concrete, 2);
    CHECK_INT(c.v[2].n_concrete, 0);
    CHECK(str_is(c.v[1].concrete[0].name, "f_1"));
    CHECK(c.v[1].concrete[0].args.n > 0);
    CHECK_INT(c.v[1].concrete[1].args.n, 0); /* f_2 has no signature */
    CHECK(str_is(sm_pb_bytes(c.v[0].concrete[0].keywords, 2), "left"));
    int n;
    struct sm_kv *v = sm_value_items(c.v[1].concrete[0].args, &n);
    struct buf text = BUF_INIT;
    CHECK_INT(n, 1);
    CHECK_INT(sm_value_form(v[0].value), SM_VALUE_TENSOR);
    sm_value_str(v[0].value, &text);
    CHECK_STR(buf_str(&text),
              "TensorSpec(shape=(None, 2), dtype=tf.float32, name='x')");
    free(v);
    buf_release(&text);
    sm_callables_release(&c);
    buf_release(&graph);
}

TEST(test_sm_object_graph__child_that_is_not_there)
{
    static const struct link links[] = { { 7, "gone" }, { 0, NULL } };
    struct buf graph = BUF_INIT, m = BUF_INIT;
    struct err err = ERR_INIT;
    struct sm_callables c;
    object(&graph, links, 4, &m);
    struct sm_meta meta = { .object_graph = str_buf(&graph) };
    CHECK_ERR(sm_meta_callables(&meta, &c, &err), ERR_CORRUPT);
    buf_release(&graph);
}

TEST(test_sm_object_graph__model_without_objects)
{
    struct buf graph = BUF_INIT;
    struct sm_callables c;
    read_callables(&graph, &c);
    CHECK_INT(c.n, 0);
    sm_callables_release(&c);
}

static void
check_repr(const char *s, const char *want)
{
    struct buf out = BUF_INIT;
    sm_python_repr(str_of(s), &out);
    CHECK_STR(buf_str(&out), want);
    buf_release(&out);
}

TEST(test_sm_python__repr_of_strings)
{
    check_repr("", "''");
    check_repr("a b", "'a b'");
    check_repr("it's", "\"it's\"");
    check_repr("it's \"it\"", "'it\\'s \"it\"'");
    check_repr("\\ \n\r\t\x01\x7f", "'\\\\ \\n\\r\\t\\x01\\x7f'");
    check_repr("\xc3\xa9 \xe2\x82\xac \xf0\x9f\x8d\x95",
               "'\xc3\xa9 \xe2\x82\xac \xf0\x9f\x8d\x95'");
    check_repr("\xc2\xa0\xe2\x80\xa8", "'\\xa0\\u2028'");
    check_repr("\xff\xc3", "'\\udcff\\udcc3'");
}

static void
check_value(struct buf *v, const char *class_, const char *want)
{
    struct buf out = BUF_INIT;
    sm_value_str(str_buf(v), &out);
    CHECK_STR(buf_str(&out), want);
    buf_clear(&out);
    sm_value_class(str_buf(v), &out);
    CHECK_STR(buf_str(&out), class_);
    buf_release(&out);
    buf_clear(v);
}

static void
float_value(struct buf *b, double d)
{
    uint64_t bits;
    memcpy(&bits, &d, sizeof(bits));
    pb_fixed64(b, 11, bits);
}

TEST(test_sm_python__plain_values)
{
    static const struct {
        double v;
        const char *text;
    } floats[] = {
        { 0.1, "0.1" },     { 100, "100.0" },
        { 1e16, "1e+16" },  { -1e-5, "-1e-05" },
        { 1e-4, "0.0001" }, { 1.5e300, "1.5e+300" },
        { -0.0, "-0.0" },   { 123456789012345678.0, "1.2345678901234568e+17" }
    };
    struct buf b = BUF_INIT, m = BUF_INIT;
    pb_msg(&b, 1, &m);
    check_value(&b, "NoneType", "None");
    for (size_t i = 0; i < sizeof floats / sizeof floats[0]; i++) {
        float_value(&b, floats[i].v);
        check_value(&b, "float", floats[i].text);
    }
    pb_int(&b, 12, 9); /* zigzag */
    check_value(&b, "int", "-5");
    pb_text(&b, 13, "it's");
    check_value(&b, "str", "it's");
    pb_int(&b, 14, 1);
    check_value(&b, "bool", "True");
    pb_int(&b, 32, SM_HALF);
    check_value(&b, "DType", "<dtype: 'float16'>");
    pb_shape(&b, 31, DIMS(3));
    check_value(&b, "TensorShape", "(3,)");
    buf_release(&b);
}

/* [spec without a name and of unknown rank, ("a",), namedtuple P(x=1)] */
TEST(test_sm_python__structures)
{
    struct buf list = BUF_INIT, m = BUF_INIT, t = BUF_INIT, pair = BUF_INIT;
    struct buf shape = BUF_INIT, v = BUF_INIT;
    pb_int(&shape, 3, 1);
    pb_msg(&m, 2, &shape);
    pb_int(&m, 3, SM_STRING);
    value(&list, 1, 33, &m);
    pb_text(&v, 13, "a");
    pb_msg(&t, 1, &v);
    value(&list, 1, 52, &t);
    pb_text(&t, 1, "P");
    pb_text(&pair, 1, "x");
    pb_int(&v, 12, 2);
    pb_msg(&pair, 2, &v);
    pb_msg(&t, 2, &pair);
    value(&list, 1, 54, &t);
    pb_msg(&m, 51, &list);
    check_value(&m, "list",
                "[TensorSpec(shape=<unknown>, dtype=tf.string, name=None), ('a',), "
                "P(x=1)]");
    /* SparseTensorSpec((None, 2), float32) */
    struct buf state = BUF_INIT, spec = BUF_INIT;
    pb_shape(&v, 31, DIMS(-1, 2));
    pb_msg(&t, 1, &v);
    pb_int(&v, 32, SM_FLOAT);
    pb_msg(&t, 1, &v);
    pb_msg(&state, 52, &t);
    pb_int(&spec, 1, 1);
    pb_msg(&spec, 2, &state);
    pb_msg(&m, 34, &spec);
    check_value(&m, "SparseTensorSpec",
                "SparseTensorSpec(TensorShape([None, 2]), tf.float32)");
    buf_release(&m);
}

/* The order that Python's protobuf 4.25 walks these keys in, put in in this order. */
TEST(test_sm_python_map__order_of_a_dict)
{
    static const char *const put[] = { "INVENTORY",      "ORIENTATION", "POSITION",
                                       "READY_TO_SHOOT", "RGB",         "agent_slot",
                                       "global" };
    static const char *const want[] = { "RGB",      "ORIENTATION", "READY_TO_SHOOT",
                                        "POSITION", "INVENTORY",   "agent_slot",
                                        "global" };
    struct buf msg = BUF_INIT, v = BUF_INIT;
    int n;
    for (size_t i = 0; i < 7; i++)
        pb_entry(&msg, 1, put[i], &v);
    pb_text(&v, 13, "the last counts");
    pb_entry(&msg, 1, "global", &v);
    struct sm_kv *kv = sm_python_map(str_buf(&msg), 1, &n);
    CHECK_INT(n, 7);
    for (size_t i = 0; i < 7; i++)
        CHECK(str_is(kv[i].key, want[i]));
    CHECK(kv[6].value.n > 0);
    free(kv);
    buf_release(&msg);
}

TEST(test_sm_python_map__many_keys_are_all_there)
{
    struct buf msg = BUF_INIT, v = BUF_INIT;
    bool seen[1000] = { false };
    int n;
    for (int i = 0; i < 1000; i++) {
        char *key AUTO(free_ptr) = xasprintf("%0*d", 1 + i % 80, i);
        pb_entry(&msg, 1, key, &v);
    }
    struct sm_kv *kv = sm_python_map(str_buf(&msg), 1, &n);
    for (int i = 0; i < n; i++) {
        char *key AUTO(free_ptr) = xstrndup(kv[i].key.p, kv[i].key.n);
        seen[strtol(key, NULL, 10)] = true;
    }
    for (int i = 0; i < 1000; i++)
        CHECK(seen[i]);
    free(kv);
    buf_release(&msg);
}
