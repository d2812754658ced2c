/* SPDX-License-Identifier: Apache-2.0 */
/* Small SavedModels, written by a test: a graph, functions, signatures, assets.
 *
 * Nodes are told in words: inputs "a b:1 ^c" (in a function "arg node:out:0"),
 * attributes "T:t=1 N:i=2 flag:b=1 name:s=x f:f=function shape:d=2,3 fs:F=f,g
 * Ts:l=1,3 strides:I=1,2". */
#ifndef TESTS_MODEL_BUILD_H
#define TESTS_MODEL_BUILD_H

#include "base/fs.h"
#include "savedmodel/savedmodel.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

struct mb {
    struct buf graph, library, signatures, saver;
    struct buf *nodes; /* where mb_node adds: the graph, or a function's body */
    uint32_t field;    /* of a node in there */
    struct buf function, function_sig;
    const char *init_op;
};

static inline void
pb_varint(struct buf *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_addc(b, (char)(v | 0x80));
    buf_addc(b, (char)v);
}

static inline void
pb_int(struct buf *b, uint32_t field, int64_t v)
{
    pb_varint(b, field << 3);
    pb_varint(b, (uint64_t)v);
}

static inline void
pb_bytes(struct buf *b, uint32_t field, const void *p, size_t n)
{
    pb_varint(b, field << 3 | 2);
    pb_varint(b, n);
    buf_add(b, p, n);
}

static inline void
pb_str(struct buf *b, uint32_t field, const char *s)
{
    pb_bytes(b, field, s, strlen(s));
}

static inline void
pb_msg(struct buf *b, uint32_t field, struct buf *msg) /* releases msg */
{
    pb_bytes(b, field, msg->data ? msg->data : "", msg->len);
    buf_release(msg);
}

/* "key=value" as a map entry. */
static inline void
pb_pair(struct buf *b, uint32_t field, const char *pair)
{
    struct buf e = BUF_INIT;
    const char *eq = strchr(pair, '=');
    pb_bytes(&e, 1, pair, (size_t)(eq - pair));
    pb_str(&e, 2, eq + 1);
    pb_msg(b, field, &e);
}

static inline void
mb_shape(struct buf *b, uint32_t field, const char *dims) /* "2,-1", "" or "?" */
{
    struct buf s = BUF_INIT;
    if (*dims == '?')
        pb_int(&s, 3, 1);
    for (const char *p = dims; *p && *p != '?'; p += strcspn(p, ","), p += *p == ',') {
        struct buf d = BUF_INIT;
        pb_int(&d, 1, strtol(p, NULL, 10));
        pb_msg(&s, 2, &d);
    }
    pb_msg(b, field, &s);
}

static inline void
mb_attr_value(struct buf *v, char kind, const char *text)
{
    struct buf l = BUF_INIT;
    switch (kind) {
    case 't':
        pb_int(v, 6, strtol(text, NULL, 10));
        break;
    case 'i':
        pb_int(v, 3, strtol(text, NULL, 10));
        break;
    case 'b':
        pb_int(v, 5, strtol(text, NULL, 10));
        break;
    case 's':
        pb_str(v, 2, text);
        break;
    case 'd':
        mb_shape(v, 7, text);
        break;
    case 'f':
        pb_str(&l, 1, text);
        pb_msg(v, 10, &l);
        break;
    default: /* lists: l types, F functions, I integers */
        for (const char *p = text; *p; p += strcspn(p, ","), p += *p == ',') {
            struct buf f = BUF_INIT;
            if (kind == 'l')
                pb_int(&l, 6, strtol(p, NULL, 10));
            if (kind == 'I')
                pb_int(&l, 3, strtol(p, NULL, 10));
            pb_bytes(&f, 1, p, strcspn(p, ","));
            if (kind == 'F')
                pb_msg(&l, 9, &f);
            buf_release(&f);
        }
        pb_msg(v, 1, &l);
    }
}

static inline void
mb_add_attr(struct buf *n, const char *key, size_t key_len, struct buf *value)
{
    struct buf e = BUF_INIT;
    pb_bytes(&e, 1, key, key_len);
    pb_msg(&e, 2, value);
    pb_msg(n, 5, &e);
}

static inline void
mb_begin_node(struct buf *n, const char *name, const char *op, const char *inputs)
{
    pb_str(n, 1, name);
    pb_str(n, 2, op);
    for (const char *p = inputs; *p; p += strcspn(p, " "), p += *p == ' ')
        pb_bytes(n, 3, p, strcspn(p, " "));
}

static inline void
mb_end_node(struct mb *m, struct buf *n)
{
    if (!m->nodes) {
        m->nodes = &m->graph;
        m->field = SM_GRAPH_NODE;
    }
    pb_msg(m->nodes, m->field, n);
}

static inline void
mb_node(struct mb *m, const char *name, const char *op, const char *inputs,
        const char *attrs)
{
    struct buf n = BUF_INIT;
    mb_begin_node(&n, name, op, inputs);
    for (const char *p = attrs; *p; p += strcspn(p, " "), p += *p == ' ') {
        struct buf v = BUF_INIT;
        char text[256];
        const char *colon = strchr(p, ':');
        snprintf(text, sizeof(text), "%.*s", (int)strcspn(colon + 3, " "), colon + 3);
        mb_attr_value(&v, colon[1], text);
        mb_add_attr(&n, p, (size_t)(colon - p), &v);
    }
    mb_end_node(m, &n);
}

/* A Const of the raw bytes, shape as "2,3" ("" a scalar). */
static inline void
mb_const(struct mb *m, const char *name, const char *ctrl, int dtype, const char *dims,
         const void *p, size_t n_bytes)
{
    struct buf n = BUF_INIT, t = BUF_INIT, v = BUF_INIT, d = BUF_INIT;
    mb_begin_node(&n, name, "Const", ctrl);
    pb_int(&t, 1, dtype);
    mb_shape(&t, 2, dims);
    pb_bytes(&t, 4, p, n_bytes);
    pb_msg(&v, 8, &t);
    mb_add_attr(&n, "value", 5, &v);
    pb_int(&d, 6, dtype);
    mb_add_attr(&n, "dtype", 5, &d);
    mb_end_node(m, &n);
}

static inline void
mb_f32(struct mb *m, const char *name, float v)
{
    mb_const(m, name, "", SM_FLOAT, "", &v, sizeof(v));
}

static inline void
mb_i32(struct mb *m, const char *name, int32_t v)
{
    mb_const(m, name, "", SM_INT32, "", &v, sizeof(v));
}

/* A vector of strings "a,b,c", or a scalar when there is no comma. */
static inline void
mb_strings(struct mb *m, const char *name, const char *list)
{
    struct buf n = BUF_INIT, t = BUF_INIT, v = BUF_INIT;
    char dims[16] = "";
    int count = 1;
    for (const char *p = list; *p; p++)
        count += *p == ',';
    if (count > 1)
        snprintf(dims, sizeof(dims), "%d", count);
    mb_begin_node(&n, name, "Const", "");
    pb_int(&t, 1, SM_STRING);
    mb_shape(&t, 2, dims);
    for (const char *p = list; *p; p += strcspn(p, ","), p += *p == ',')
        pb_bytes(&t, 8, p, strcspn(p, ","));
    pb_msg(&v, 8, &t);
    mb_add_attr(&n, "value", 5, &v);
    mb_end_node(m, &n);
}

/* Nodes go to a function's body until mb_end_function. args, rets: "a b". */
static inline void
mb_function(struct mb *m, const char *name, const char *args, const char *rets)
{
    m->nodes = &m->function;
    m->field = SM_FUNCTION_NODE;
    pb_str(&m->function_sig, 1, name);
    for (int side = 2; side <= 3; side++) {
        const char *p = side == 2 ? args : rets;
        for (; *p; p += strcspn(p, " "), p += *p == ' ') {
            struct buf a = BUF_INIT;
            pb_bytes(&a, 1, p, strcspn(p, " "));
            pb_int(&a, 3, SM_FLOAT);
            pb_msg(&m->function_sig, (uint32_t)side, &a);
        }
    }
}

/* rets: "y=add:z:0 …"; control: "node …" */
static inline void
mb_end_function(struct mb *m, const char *rets, const char *control)
{
    char pair[256];
    pb_msg(&m->function, 1, &m->function_sig);
    for (const char *p = rets; *p; p += strcspn(p, " "), p += *p == ' ') {
        snprintf(pair, sizeof(pair), "%.*s", (int)strcspn(p, " "), p);
        pb_pair(&m->function, 4, pair);
    }
    for (const char *p = control; *p; p += strcspn(p, " "), p += *p == ' ') {
        snprintf(pair, sizeof(pair), "c_%.*s=%.*s", (int)strcspn(p, " "), p,
                 (int)strcspn(p, " "), p);
        pb_pair(&m->function, 6, pair);
    }
    pb_msg(&m->library, 1, &m->function);
    m->nodes = NULL;
}

static inline void
mb_infos(struct buf *sig, uint32_t field, const char *list) /* "x=x:0 …" */
{
    for (const char *p = list; *p; p += strcspn(p, " "), p += *p == ' ') {
        struct buf e = BUF_INIT, info = BUF_INIT;
        const char *eq = strchr(p, '=');
        pb_bytes(&info, 1, eq + 1, strcspn(eq + 1, " "));
        pb_int(&info, 2, SM_FLOAT);
        mb_shape(&info, 3, "?");
        pb_bytes(&e, 1, p, (size_t)(eq - p));
        pb_msg(&e, 2, &info);
        pb_msg(sig, field, &e);
    }
}

static inline void
mb_signature(struct mb *m, const char *key, const char *inputs, const char *outputs)
{
    struct buf sig = BUF_INIT, e = BUF_INIT;
    mb_infos(&sig, 1, inputs);
    mb_infos(&sig, 2, outputs);
    pb_str(&sig, 3, "tensorflow/serving/predict");
    pb_str(&e, 1, key);
    pb_msg(&e, 2, &sig);
    pb_msg(&m->signatures, 5, &e);
}

/* The op that TF2 runs after restoring. */
static inline void
mb_init(struct mb *m, const char *node)
{
    struct buf sig = BUF_INIT, e = BUF_INIT, info = BUF_INIT, o = BUF_INIT;
    pb_bytes(&info, 1, node, strlen(node));
    pb_str(&o, 1, "__saved_model_init_op");
    pb_msg(&o, 2, &info);
    pb_msg(&sig, 2, &o);
    pb_str(&e, 1, "__saved_model_init_op");
    pb_msg(&e, 2, &sig);
    pb_msg(&m->signatures, 5, &e);
}

static inline void
mb_asset(struct mb *m, const char *tensor, const char *file)
{
    struct buf a = BUF_INIT, info = BUF_INIT;
    pb_str(&info, 1, tensor);
    pb_msg(&a, 1, &info);
    pb_str(&a, 2, file);
    pb_msg(&m->signatures, 6, &a);
}

/* Writes DIR/saved_model.pb (DIR: the test's own) and releases m. */
static inline const char *
mb_save(struct mb *m)
{
    struct err err = ERR_INIT;
    struct buf all = BUF_INIT, meta = BUF_INIT, info = BUF_INIT, versions = BUF_INIT;
    char path[512];
    pb_str(&info, 4, "serve");
    pb_msg(&meta, 1, &info);
    pb_msg(&m->graph, 2, &m->library);
    pb_int(&versions, 1, 1000);
    pb_msg(&m->graph, 4, &versions);
    pb_msg(&meta, 2, &m->graph);
    buf_add(&meta, m->signatures.data, m->signatures.len);
    buf_release(&m->signatures);
    pb_int(&all, 1, 1);
    pb_msg(&all, 2, &meta);
    snprintf(path, sizeof(path), "%s/saved_model.pb", unit_dir());
    CHECK_OK(fs_replace(AT_FDCWD, path, all.data, all.len, 0644, &err));
    buf_release(&all);
    return unit_dir();
}

#endif
