/* SPDX-License-Identifier: Apache-2.0 */
/* saved_model.pb: opens the bytes and visits whatever the readers give out. */
#include "savedmodel/savedmodel.h"
#include "tests/fuzz/scratch.h"

/* Constants that stand for much more than the file holds only cost time here. */
#define TENSOR_MAX_ELEMS 65536

static void
see_tensor(struct str raw)
{
    struct err err = ERR_INIT;
    struct sm_shape s;
    struct sm_tensor t;
    int64_t n = 1;
    if (sm_shape_parse(sm_pb_bytes(raw, 2), &s, &err) < 0)
        return;
    for (int i = 0; i < s.rank; i++) {
        if (__builtin_mul_overflow(n, s.dims[i], &n) || n > TENSOR_MAX_ELEMS)
            return;
    }
    if (sm_tensor_proto(raw, &t, &err) == 0) {
        struct buf text = BUF_INIT;
        sm_tensor_text(&t, &text);
        buf_release(&text);
        sm_tensor_release(&t);
    }
}

static void
see_attr(struct str raw)
{
    struct err err = ERR_INIT;
    struct sm_attr a;
    struct sm_shape s;
    int64_t ints[4];
    int types[4];
    float floats[4];
    bool bools[4];
    struct str strs[4];
    if (sm_attr_parse(raw, &a) < 0)
        return;
    (void)sm_attr_ints(&a, ints, 4);
    (void)sm_attr_types(&a, types, 4);
    (void)sm_attr_floats(&a, floats, 4);
    (void)sm_attr_bools(&a, bools, 4);
    (void)sm_attr_strs(&a, strs, 4);
    (void)sm_attr_func_name(&a);
    if (a.kind == SM_ATTR_TENSOR)
        see_tensor(a.bytes);
    if (a.kind == SM_ATTR_SHAPE && sm_shape_parse(a.bytes, &s, &err) == 0) {
        struct buf text = BUF_INIT;
        sm_shape_text(&s, &text);
        buf_release(&text);
    }
}

static void
see_nodes(struct str graph, uint32_t field, struct str ops)
{
    struct str raw, entry;
    struct sm_node n;
    struct sm_attr a;
    struct err err = ERR_INIT;
    while (sm_pb_next_msg(&graph, field, &raw) > 0 &&
           sm_node_parse(raw, &n, &err) == 0) {
        struct str it = raw;
        while (sm_pb_next_msg(&it, 5, &entry) > 0)
            see_attr(sm_pb_bytes(entry, 2));
        (void)sm_node_attr(&n, "value", &a);
        (void)sm_op_default(ops, n.op, "T", &a);
    }
}

static int
see_asset(void *arg, struct str tensor, struct str file, struct err *err)
{
    (void)err;
    *(size_t *)arg += tensor.n + file.n;
    return 0;
}

static void
see_meta(const struct sm_meta *m)
{
    struct err err = ERR_INIT;
    struct str it = m->library, raw, args, arg;
    struct sm_function f;
    struct sm_arg a;
    size_t n = 0;
    (void)sm_meta_init_op(m);
    if (sm_meta_assets(m, see_asset, &n, &err) < 0)
        err_clear(&err);
    for (int i = 0; i < m->n_signatures; i++) {
        for (int k = 0; k < m->signatures[i].n_inputs; k++) {
            if (m->signatures[i].inputs[k].has_default)
                see_tensor(m->signatures[i].inputs[k].default_value);
        }
    }
    see_nodes(m->graph, SM_GRAPH_NODE, m->op_list);
    while (sm_pb_next_msg(&it, SM_LIBRARY_FUNCTION, &raw) > 0) {
        if (sm_function_parse(raw, &f, &err) < 0) {
            err_clear(&err);
            continue;
        }
        args = f.signature;
        while (sm_pb_next_msg(&args, 2, &arg) > 0 && sm_arg_parse(arg, &a, &err) == 0)
            ;
        err_clear(&err);
        see_nodes(f.raw, SM_FUNCTION_NODE, m->op_list);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct err err = ERR_INIT;
    struct sm_model *m;
    const struct sm_meta *meta;
    struct scratch dir;
    scratch_open(&dir);
    scratch_put(&dir, "saved_model.pb", data, n);
    if (sm_open(&m, dir.fd, "model", &err) == 0) {
        for (int i = 0; i < sm_n_metas(m); i++)
            see_meta(sm_meta(m, i));
        (void)!sm_find_meta(m, "serve", &meta, &err);
        sm_close(m);
    }
    scratch_close(&dir);
    return 0;
}
