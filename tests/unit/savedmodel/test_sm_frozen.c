/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/savedmodel/build.h"

/* node { name, op, input… } with attributes from `attrs`, which is released. */
static void
add_node(struct buf *graph, const char *name, const char *op, const char *inputs,
         struct buf *attrs)
{
    struct buf n = BUF_INIT;
    pb_text(&n, 1, name);
    pb_text(&n, 2, op);
    for (const char *p = inputs; *p;) {
        size_t len = strcspn(p, " ");
        pb_bytes(&n, 3, p, len);
        p += len + (p[len] == ' ');
    }
    if (attrs) {
        buf_add(&n, buf_str(attrs), attrs->len);
        buf_release(attrs);
    }
    pb_bytes(graph, 1, buf_str(&n), n.len);
    buf_release(&n);
}

static struct buf
type_attr(const char *name, int dtype)
{
    struct buf out = BUF_INIT, v = BUF_INIT;
    pb_int(&v, 6, dtype);
    pb_entry(&out, 5, name, &v);
    return out;
}

/* x and y are Placeholders; a = x + y, b = Split(x) in three, c = Cast(b:2), and d
 * needs only a by control. */
static void
small_graph(struct buf *g)
{
    struct buf t = type_attr("dtype", SM_FLOAT);
    add_node(g, "x", "Placeholder", "", &t);
    t = type_attr("dtype", SM_INT64);
    add_node(g, "s/y", "Placeholder", "", &t);
    t = type_attr("T", SM_FLOAT);
    add_node(g, "a", "AddV2", "x s/y:0", &t);
    struct buf v = BUF_INIT;
    t = type_attr("T", SM_FLOAT);
    pb_int(&v, 3, 3);
    pb_entry(&t, 5, "num_split", &v);
    add_node(g, "b", "Split", "x x", &t);
    t = type_attr("DstT", SM_STRING);
    add_node(g, "c", "Cast", "b:2", &t);
    add_node(g, "d", "IsNan", "b:1 ^a", NULL);
}

static int
open_graph(struct sm_frozen *f, const struct buf *g, const char *outputs,
           const char *feeds, struct err *err)
{
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/graph.pb", unit_dir());
    write_file(path, buf_str(g), g->len);
    return sm_frozen_open(f, path, outputs, feeds, err);
}

/* "key:dtype …" of one side of the signature. */
static void
check_side(const struct sm_tensor_info *v, int n, const char *want)
{
    struct buf got AUTO(buf_release) = BUF_INIT;
    for (int i = 0; i < n; i++) {
        CHECK(str_eq(v[i].key, v[i].name));
        buf_addf(&got, "%s%.*s %s", i ? ", " : "", STR_ARG(v[i].key),
                 sm_dtype_name(v[i].dtype));
    }
    CHECK_STR(buf_str(&got), want);
}

static void
check_signature(const struct buf *g, const char *outputs, const char *feeds,
                const char *want_in, const char *want_out)
{
    struct err err = ERR_INIT;
    struct sm_frozen f AUTO(sm_frozen_release) = { .file = NULL };
    struct sm_model *m AUTO(sm_close_p) = NULL;
    struct buf all AUTO(buf_release) = BUF_INIT;
    const struct sm_signature *sig;
    int dir AUTO(fs_close) = -1;
    char path[4096];
    CHECK_OK(open_graph(&f, g, outputs, feeds, &err));
    buf_add(&all, buf_str(&f.head), f.head.len);
    buf_add(&all, f.graph.p, f.graph.n);
    buf_add(&all, buf_str(&f.tail), f.tail.len);
    (void)snprintf(path, sizeof(path), "%s/saved_model.pb", unit_dir());
    write_file(path, buf_str(&all), all.len);
    CHECK_OK(fs_open_dir(&dir, AT_FDCWD, unit_dir(), &err));
    CHECK_OK(sm_open(&m, dir, "DIR", &err));
    const struct sm_meta *meta = sm_meta(m, 0);
    CHECK(sm_n_metas(m) == 1 && meta->n_tags == 1 && str_is(meta->tags[0], "serve"));
    CHECK(meta->graph.n == g->len && memcmp(meta->graph.p, g->data, g->len) == 0);
    CHECK_OK(sm_find_signature(meta, "serving_default", &sig, &err));
    check_side(sig->inputs, sig->n_inputs, want_in);
    check_side(sig->outputs, sig->n_outputs, want_out);
}

TEST(test_sm_frozen__inputs_are_what_the_outputs_need)
{
    struct buf g AUTO(buf_release) = BUF_INIT;
    small_graph(&g);
    check_signature(&g, "a", NULL, "s/y:0 DT_INT64, x:0 DT_FLOAT", "a:0 DT_FLOAT");
    check_signature(&g, "c:0,b:1,c", NULL, "x:0 DT_FLOAT",
                    "b:1 DT_FLOAT, c:0 DT_STRING");
    check_signature(&g, "d", "", "s/y:0 DT_INT64, x:0 DT_FLOAT", "d:0 DT_BOOL");
    /* What is fed is not looked behind. */
    check_signature(&g, "c", "b:2", "b:2 DT_FLOAT", "c:0 DT_STRING");
    check_signature(&g, "c,d", "b:2,x", "b:2 DT_FLOAT, s/y:0 DT_INT64, x:0 DT_FLOAT",
                    "c:0 DT_STRING, d:0 DT_BOOL");
}

TEST(test_sm_frozen__errors)
{
    struct err err = ERR_INIT;
    struct sm_frozen f;
    struct buf g AUTO(buf_release) = BUF_INIT;
    CHECK_ERR(open_graph(&f, &g, "a", NULL, &err), ERR_CORRUPT);
    small_graph(&g);
    CHECK_INT(open_graph(&f, &g, NULL, NULL, &err), -ERR_USAGE);
    CHECK(strstr(err.msg, ": c:0,d:0") && !strstr(err.msg, "b:0"));
    err_clear(&err);
    CHECK_ERR(open_graph(&f, &g, "", NULL, &err), ERR_USAGE);
    CHECK_ERR(open_graph(&f, &g, "z", NULL, &err), ERR_NOTFOUND);
    CHECK_ERR(open_graph(&f, &g, "a:", NULL, &err), ERR_NOTFOUND);
    CHECK_ERR(open_graph(&f, &g, "a:99999999999999999999", NULL, &err), ERR_NOTFOUND);
    CHECK_ERR(open_graph(&f, &g, "^a", NULL, &err), ERR_NOTFOUND);
    CHECK_ERR(open_graph(&f, &g, "a", "q:0", &err), ERR_NOTFOUND);
    add_node(&g, "e", "Relu", "nowhere", NULL);
    CHECK_ERR(open_graph(&f, &g, "e", NULL, &err), ERR_CORRUPT);
    CHECK_ERR(open_graph(&f, &g, "a", "e", &err), ERR_UNSUPPORTED); /* of no type */
    add_node(&g, "a", "Relu", "x", NULL);
    CHECK_INT(open_graph(&f, &g, "c", NULL, &err), -ERR_CORRUPT);
    CHECK(strstr(err.msg, "'a' is in the graph twice"));
}

static int
out_type(const char *op, struct buf *attrs, int64_t output)
{
    struct err err = ERR_INIT;
    struct buf g AUTO(buf_release) = BUF_INIT;
    struct str msg, raw;
    struct sm_node n;
    add_node(&g, "n", op, "", attrs);
    msg = str_buf(&g);
    CHECK(sm_pb_next_msg(&msg, 1, &raw) == 1);
    CHECK_OK(sm_node_parse(raw, &n, &err));
    return sm_node_out_type(&n, output);
}

/* Calls, whose types are a list. */
static struct buf
list_attr(void)
{
    struct buf out = BUF_INIT, v = BUF_INIT, list = BUF_INIT;
    pb_int(&list, 6, SM_INT8);
    pb_int(&list, 6, SM_BOOL);
    pb_msg(&v, 1, &list);
    pb_entry(&out, 5, "Tout", &v);
    return out;
}

TEST(test_sm_out_type__of_nodes)
{
    struct buf a = type_attr("T", SM_DOUBLE);
    CHECK_INT(out_type("Relu", &a, 0), SM_DOUBLE);
    CHECK_INT(out_type("Less", NULL, 0), SM_BOOL);
    CHECK_INT(out_type("ArgMax", NULL, 0), SM_INT64); /* the attribute's default */
    a = type_attr("output_type", SM_INT32);
    CHECK_INT(out_type("ArgMax", &a, 0), SM_INT32);
    a = type_attr("T", SM_HALF);
    CHECK_INT(out_type("TopKV2", &a, 0), SM_HALF);
    CHECK_INT(out_type("TopKV2", NULL, 1), SM_INT32);
    CHECK_INT(out_type("TopKV2", NULL, 2), SM_INVALID);
    a = list_attr();
    CHECK_INT(out_type("PartitionedCall", &a, 1), SM_BOOL);
    a = list_attr();
    CHECK_INT(out_type("PartitionedCall", &a, 2), SM_INVALID);
    CHECK_INT(out_type("NobodyKnowsThisOp", NULL, 0), SM_INVALID);
}
