/* SPDX-License-Identifier: Apache-2.0 */
/* Made-up tf.Examples for inputs that the graph parses as such: the features that it
 * asks for, with the dtypes and numbers of values that it wants. */
#include "validate/val_example.h"
#include "validate/record.h"
#include "validate/val_lint_int.h"

#include <stdlib.h>
#include <string.h>

#define FEATURES_MAX 4096
#define VALUES_MAX 65536
#define OPEN_DIM 2   /* of a dense feature */
#define SPARSE_MAX 3 /* values of one that may have any number */

/* ---- what a parse node asks for ---- */

void
val_features_release(struct val_features *f)
{
    for (int i = 0; i < f->n; i++)
        free(f->v[i].key);
    free(f->v);
    *f = (struct val_features){ .n = 0 };
}

/* The strings of a constant in the same body. */
static bool
constant_strings(struct scan_graph *g, int body, const struct sm_node *n, int input,
                 struct sm_tensor *out)
{
    struct err err = ERR_INIT;
    struct sm_attr a;
    struct sm_node c;
    struct str name;
    int i;

    *out = (struct sm_tensor){ .data = NULL };
    if (!scan_data_input(n, input, &name))
        return false;
    i = scan_body_find(g, body, scan_input_node(name));
    if (i < 0)
        return false;
    c = scan_node(g, i);
    return str_is(c.op, "Const") && sm_node_attr(&c, "value", &a) &&
           a.kind == SM_ATTR_TENSOR && sm_tensor_proto(a.bytes, out, &err) == 0 &&
           out->dtype == SM_STRING;
}

/* Values of a dense feature of this shape; 0: too many. */
static int64_t
n_values(struct str shape)
{
    struct err err = ERR_INIT;
    struct sm_shape s;
    int64_t n = 1;

    if (sm_shape_parse(shape, &s, &err) < 0 || s.unknown_rank)
        return 0;
    for (int i = 0; i < s.rank; i++) {
        const int64_t d = s.dims[i] < 0 ? OPEN_DIM : s.dims[i];

        if (d > 0 && n > VALUES_MAX / d)
            return 0;
        n *= d;
    }
    return n;
}

static bool
add_feature(struct val_features *f, struct str key, int dtype, int64_t n)
{
    if (f->n == FEATURES_MAX || n == 0 ||
        (dtype != SM_FLOAT && dtype != SM_INT64 && dtype != SM_STRING))
        return false;
    f->v = xreallocarray(f->v, (size_t)f->n + 1, sizeof(*f->v));
    f->v[f->n++] = (struct val_feature){ str_dup(key), dtype, n };
    return true;
}

/* Keys from a node's input, and one of a node's inputs for each of them; `shapes` NULL:
 * any number of values. */
static bool
add_features(struct scan_graph *g, int body, const struct sm_node *n, int input,
             bool is_vector, const char *types, const char *shapes,
             struct val_features *f)
{
    struct sm_attr a, s;
    int *dtypes AUTO(free_ptr) = xcalloc(FEATURES_MAX, sizeof(*dtypes));
    struct str *dims AUTO(free_ptr) = xcalloc(FEATURES_MAX, sizeof(*dims));
    const int n_types =
        sm_node_attr(n, types, &a) ? sm_attr_types(&a, dtypes, FEATURES_MAX) : 0;
    struct sm_tensor keys AUTO(sm_tensor_release) = { .data = NULL };
    bool ok = n_types >= 0 && n_types <= FEATURES_MAX;

    if (shapes)
        ok = ok && sm_node_attr(n, shapes, &s) &&
             sm_attr_strs(&s, dims, FEATURES_MAX) == n_types;
    if (ok && is_vector && n_types > 0)
        ok = constant_strings(g, body, n, input, &keys) && keys.n_elems == n_types;
    for (int i = 0; ok && i < n_types; i++) {
        struct sm_tensor one AUTO(sm_tensor_release) = { .data = NULL };

        if (!is_vector)
            ok = constant_strings(g, body, n, input + i, &one) && one.n_elems == 1;
        ok = ok && add_feature(
                       f, is_vector ? sm_tensor_str(&keys)[i] : sm_tensor_str(&one)[0],
                       dtypes[i], shapes ? n_values(dims[i]) : -SPARSE_MAX);
    }
    return ok;
}

/* ParseExample(serialized, names, sparse_keys*, dense_keys*, …),
 * ParseExampleV2(serialized, names, sparse_keys, dense_keys, ragged_keys, …). */
bool
val_features_find(struct scan_graph *g, const struct sm_tensor_info *input,
                  struct val_features *out)
{
    int body, n_sparse = 0;
    const int node = val_parse_node(g, input, &body);
    struct sm_node n;
    struct sm_attr a;
    bool ok;

    *out = (struct val_features){ .n = 0 };
    if (node < 0)
        return false;
    n = scan_node(g, node);
    if (str_is(n.op, "ParseExampleV2")) {
        ok = add_features(g, body, &n, 2, true, "sparse_types", NULL, out) &&
             add_features(g, body, &n, 3, true, "Tdense", "dense_shapes", out) &&
             add_features(g, body, &n, 4, true, "ragged_value_types", NULL, out);
    } else {
        if (sm_node_attr(&n, "sparse_types", &a))
            n_sparse = sm_attr_types(&a, NULL, 0);
        ok = n_sparse >= 0 &&
             add_features(g, body, &n, 2, false, "sparse_types", NULL, out) &&
             add_features(g, body, &n, 2 + n_sparse, false, "Tdense", "dense_shapes",
                          out);
    }
    if (!ok)
        val_features_release(out);
    return ok;
}

unsigned
val_features_families(const struct val_features *f)
{
    unsigned families = 0;

    for (int i = 0; i < f->n; i++)
        families |= val_fill_family(f->v[i].dtype);
    return families;
}

/* ---- one Example ---- */

/* A Feature: a list of bytes (1), floats (2) or integers (3). */
static void
add_values(const struct sm_tensor *t, struct buf *feature)
{
    struct buf list AUTO(buf_release) = BUF_INIT, packed AUTO(buf_release) = BUF_INIT;

    if (t->dtype == SM_STRING) {
        for (int64_t i = 0; i < t->n_elems; i++)
            sm_pb_put_bytes(&list, 1, sm_tensor_str(t)[i]);
    } else if (t->dtype == SM_FLOAT) {
        sm_pb_put_bytes(&list, 1, (struct str){ t->data, sm_tensor_bytes(t) });
    } else {
        for (int64_t i = 0; i < t->n_elems; i++)
            sm_pb_add_varint(&packed, (uint64_t)((const int64_t *)t->data)[i]);
        sm_pb_put_bytes(&list, 1, (struct str){ buf_str(&packed), packed.len });
    }
    sm_pb_put_bytes(feature,
                    t->dtype == SM_STRING  ? 1
                    : t->dtype == SM_FLOAT ? 2
                                           : 3,
                    (struct str){ buf_str(&list), list.len });
}

static int
add_example(const struct val_features *f, enum fill fill, unsigned families,
            uint64_t *state, struct buf *out, struct err *err)
{
    struct buf features AUTO(buf_release) = BUF_INIT;

    for (int i = 0; i < f->n; i++) {
        const struct val_feature *x = &f->v[i];
        const int64_t n =
            x->n > 0 ? x->n : 1 + (int64_t)val_random_below(state, (uint64_t)-x->n);
        struct buf feature AUTO(buf_release) = BUF_INIT;
        struct buf entry AUTO(buf_release) = BUF_INIT;
        struct sm_tensor t AUTO(sm_tensor_release) = {
            .dtype = x->dtype, .rank = 1, .dims = { n }, .n_elems = n
        };

        if (val_fill(&t, val_fill_family(x->dtype) & families ? fill : RANDOM, 0, state,
                     err) < 0)
            return -(int)err->code;
        add_values(&t, &feature);
        sm_pb_put_bytes(&entry, 1, str_of(x->key));
        sm_pb_put_bytes(&entry, 2, (struct str){ buf_str(&feature), feature.len });
        sm_pb_put_bytes(&features, 1, (struct str){ buf_str(&entry), entry.len });
    }
    sm_pb_put_bytes(out, 1, (struct str){ buf_str(&features), features.len });
    return buf_check(out, "tf.Examples", err);
}

int
val_examples_fill(struct sm_tensor *t, const struct val_features *f, enum fill fill,
                  unsigned families, uint64_t *state, struct err *err)
{
    const struct sm_tensor want = *t;
    const int64_t n = want.n_elems;
    struct str *v AUTO(free_ptr) = xcalloc((size_t)n + 1, sizeof(*v));
    size_t *ends AUTO(free_ptr) = xcalloc((size_t)n + 1, sizeof(*ends));
    struct buf bytes AUTO(buf_release) = BUF_INIT;

    for (int64_t i = 0; i < n; i++) {
        if (add_example(f, fill, families, state, &bytes, err) < 0)
            return -(int)err->code;
        ends[i + 1] = bytes.len;
    }
    for (int64_t i = 0; i < n; i++)
        v[i] = (struct str){ buf_str(&bytes) + ends[i], ends[i + 1] - ends[i] };
    return sm_tensor_strings(t, want.rank, want.dims, v, err);
}
