/* SPDX-License-Identifier: Apache-2.0 */
/* What only fingerprint/ shares. */
#ifndef FINGERPRINT_FP_INT_H
#define FINGERPRINT_FP_INT_H

#include "base/fs.h"
#include "fingerprint/fingerprint.h"

#include <string.h>

/* ---- schema (fp_schema.def, fp_schema.c) ---- */

enum fp_kind {
    FP_K_BOOL,
    FP_K_I32,
    FP_K_I64, /* and sint64 */
    FP_K_U32,
    FP_K_U64,
    FP_K_ENUM,
    FP_K_F32,
    FP_K_F64,
    FP_K_FX64,
    FP_K_STR,
    FP_K_BYTES,
    FP_K_MSG
};
enum fp_label {
    FP_L_ONE,
    FP_L_OPT,
    FP_L_ONEOF,
    FP_L_REP,
    FP_L_MAP,
    FP_L_CLEARED,
    FP_L_ALWAYS /* key and value of a map entry: written also when absent */
};
enum fp_type {
#define MESSAGE(name, ...) FP_M_##name,
#include "fingerprint/fp_schema.def"
#undef MESSAGE
    FP_N_TYPES
};
struct fp_field {
    uint8_t num;
    uint8_t label;
    uint8_t kind; /* of a map: its value's */
    uint8_t key;  /* of a map: its key's kind */
    uint8_t type; /* of a message (or a map's value): enum fp_type */
};
#define FP_MAX_FIELDS 24
struct fp_schema {
    const char *name;
    const struct fp_field *fields; /* ascending numbers */
    int n_fields;
    bool is_entry; /* of a map: unknown fields are lost */
};
extern const struct fp_schema fp_schemas[FP_N_TYPES];
uint32_t fp_kind_wire(uint8_t kind);

/* ---- messages in parts (fp_msg.c) ---- */

/* A message whose bytes are the parts one after the other: a singular message that was
 * written several times, or one with an overlay behind it. Parsing all the parts in
 * order is what merging them means. */
struct fp_msg {
    const struct str *parts;
    size_t n;
};
#define FP_MSG(s) ((struct fp_msg){ &(s), 1 })
uint64_t fp_msg_bytes(struct fp_msg m);

struct fp_cursor {
    struct fp_msg m;
    size_t i;
    struct str it;
};
struct fp_cursor fp_cursor(struct fp_msg m);
/* As sm_pb_next; *raw gets the whole field, its tag included. 1, 0, or -1: malformed,
 * or a group, which no version of these messages has. */
int fp_next(struct fp_cursor *c, struct sm_field *f, struct str *raw);

/* The parts of message field `num`: in *one, or, when they are several, in *own (which
 * the caller frees). ERR_LIMIT: more than FP_PARTS_MAX. */
#define FP_PARTS_MAX (1 << 20)
int fp_sub(struct fp_msg m, uint32_t num, struct str *one, struct str **own,
           struct fp_msg *out, struct err *err) MUST_CHECK;

/* An entry of a map field. */
struct fp_kv {
    struct str key; /* of a map with string keys, else empty */
    uint64_t n;     /* of a map with integer keys, else 0 */
    struct str entry;
    uint32_t at; /* its place in the message */
};
/* false: malformed */
bool fp_map_key(struct str entry, uint8_t kind, struct fp_kv *out);
int fp_kv_cmp(const struct fp_kv *a, const struct fp_kv *b);
/* The entries in ascending order of keys, of equal keys the last one. The caller frees
 * *out. ERR_CORRUPT, ERR_LIMIT. */
int fp_map(struct fp_msg m, const struct fp_field *field, struct fp_kv **out, size_t *n,
           struct err *err) MUST_CHECK;
/* The entry under a string key, or NULL. */
const struct fp_kv *fp_map_find(const struct fp_kv *kv, size_t n, struct str key);
/* How many elements a repeated message or string has. ERR_LIMIT: more than max. */
int fp_count(struct str msg, uint32_t num, int max, const char *what, int *n,
             struct err *err) MUST_CHECK;

/* ---- deterministic form (fp_det.c) ---- */

struct fp_sink {
    void (*add)(void *arg, const void *p, size_t n);
    void *arg;
};
enum fp_det_flags {
    FP_DET_WIDE = 1,    /* 64-bit function numbers (fp_suffix); of GraphProgram only */
    FP_DET_MEANING = 2, /* without unknown fields; tensors inside by digest of value */
};
/* Writes the bytes that protobuf's deterministic serializer makes of the parsed message
 * (rules: fp_det.c). Nothing big is copied. ERR_CORRUPT: malformed; ERR_LIMIT: nested
 * too deep, or a map with too many entries. */
int fp_det(enum fp_type type, struct fp_msg m, unsigned flags, struct fp_sink sink,
           struct err *err) MUST_CHECK;
/* Fingerprint64 of that form. */
int fp_det_farm(enum fp_type type, struct fp_msg m, unsigned flags, uint64_t *out,
                struct err *err) MUST_CHECK;

/* ---- graph_def_program_hash (fp_program.c) ---- */

/* The integer after the last '_' of a function's name, and the name without its digits.
 * is_wide: 64-bit (TensorFlow >= 2.14), else 32-bit. false: no such integer. */
bool fp_suffix(struct str name, bool is_wide, int64_t *number, struct str *stem);
/* Map entries that, read after the NodeDef, make it what the program hash takes.
 * Appends nothing when the node stays as it is. */
int fp_program_overlay(struct str node, bool is_wide, struct buf *out,
                       struct err *err) MUST_CHECK;

/* ---- TensorFlow's hashes (fp_five.c) ---- */

/* By the rules of a release; `dirfd` is where the checkpoint is. */
int fp_hash_by(enum fp_rules rules, enum fp_hash which, const struct sm_model *m,
               int dirfd, uint64_t *out, struct err *err) MUST_CHECK;
uint64_t fp_checkpoint_hash(int dirfd); /* the same for all; 0: no checkpoint */
int fp_five_by(enum fp_rules rules, const struct sm_model *m, int dirfd,
               struct fp_five *out, struct err *err) MUST_CHECK;
/* h = Cat(h, FP(DET(value))) for the value of a map entry. */
int fp_cat_value(enum fp_type type, struct str entry, uint64_t *h,
                 struct err *err) MUST_CHECK;

/* ---- TensorFlow's hashes of a chunked model (fp_chunked.c) ---- */

/* ERR_NOTFOUND: there is no saved_model.cpb. ERR_CORRUPT, ERR_LIMIT; ERR_UNSUPPORTED: a
 * chunk is a whole MetaGraph. */
int fp_chunked_five(struct fp_five *out, int dirfd, const char *dir,
                    struct err *err) MUST_CHECK;

/* ---- canonical hashing (fp_canon.c) ---- */

/* What goes into a digest is prefixed with its length, so that no two things run into
 * each other. */
void fp_h_u64(struct sha256 *h, uint64_t v);
void fp_h_str(struct sha256 *h, struct str s);
void fp_h_text(struct sha256 *h, const char *s);
void fp_h_digest(struct sha256 *h, const struct digest *d);
int fp_h_det(struct sha256 *h, enum fp_type type, struct str msg,
             struct err *err) MUST_CHECK;
void fp_h_shape(struct sha256 *h, struct str shape_proto);
/* By value: how the constant is encoded does not matter. */
int fp_h_const(struct sha256 *h, struct str tensor_proto, struct err *err) MUST_CHECK;
int fp_digest_cmp(const void *a, const void *b);

/* Names to numbers; of equal names the one added first. */
struct fp_name {
    struct str name;
    int at;
};
struct fp_names {
    struct fp_name *v;
    int n, cap;
};
void fp_names_add(struct fp_names *x, struct str name, int at);
void fp_names_sort(struct fp_names *x); /* before the first find */
int fp_names_find(const struct fp_names *x, struct str name); /* -1: none */
void fp_names_release(struct fp_names *x);

/* ---- functions (fp_library.c) ---- */

struct fp_default {
    struct str name;
    struct str value; /* AttrValue */
};
struct fp_op {
    bool is_stateful;
    struct fp_default *defaults; /* ascending names */
    int n_defaults;
};
/* A variable or a table is known by a name within a container. */
struct fp_resource {
    struct str container, name;
};
/* Resources in the order in which something names them. Their names mean nothing, but
 * which uses are of one resource does. */
struct fp_uses {
    struct fp_resource *v;
    int n, cap;
    bool is_over; /* more than FP_USES_MAX were added */
};
#define FP_USES_MAX (4 << 20)
void fp_uses_add(struct fp_uses *u, struct fp_resource r);
void fp_uses_release(struct fp_uses *u);
/* Hashes, of each use, the first one of the same resource; then only these are left.
 * ERR_LIMIT: is_over. */
int fp_h_uses(struct sha256 *h, struct fp_uses *u, struct err *err) MUST_CHECK;

struct fp_function {
    struct str name;
    struct str raw;
    struct str gradient; /* name of its gradient function, or empty */
    struct digest digest;
    struct fp_uses uses; /* resources that it, or a function it calls, names */
};
/* The function library and op list of a MetaGraph. Each function has a digest of what
 * it does; its own name and those of its arguments and nodes are not in it. */
struct fp_lib {
    struct fp_function *fn;
    int n_fn;
    struct fp_names by_name;
    struct fp_op *ops;
    int n_ops;
    struct fp_names by_op;
    struct fp_names gradients; /* registered op type → function, -1: none such */
};
int fp_lib_init(struct fp_lib *lib, const struct sm_meta *meta,
                struct err *err) MUST_CHECK;
void fp_lib_release(struct fp_lib *lib); /* for AUTO */
#define FP_GRADIENT_ATTR "_gradient_op_type"
/* The function that a gradient attribute names through the registered op types. */
bool fp_lib_gradient(const struct fp_lib *lib, struct str value, struct str *name);
/* Calls fn for each function of the library that an AttrValue names. */
void fp_each_callee(const struct fp_lib *lib, struct str attr_value,
                    void (*fn)(void *arg, int function), void *arg);
const struct fp_op *fp_lib_op(const struct fp_lib *lib, struct str op); /* or NULL */

/* ---- attributes and nodes (fp_attr.c, fp_node.c) ---- */

/* A function by what it does; what is no function of the library, by its name. */
void fp_h_function(struct sha256 *h, const struct fp_lib *lib, struct str name);
int fp_h_attr(struct sha256 *h, const struct fp_lib *lib, struct str attr_value,
              struct err *err) MUST_CHECK;
/* What a node does, its inputs aside. Appends to *uses the resources that it names and
 * those that the functions it calls name. */
int fp_node_local(struct digest *out, const struct fp_lib *lib,
                  const struct sm_node *node, struct fp_uses *uses,
                  struct err *err) MUST_CHECK;

/* ---- graphs (fp_graph.c) ---- */

/* A graph, or the body of a function, on its way to a canonical form: nodes are
 * numbered in the order in which a walk from the roots, along inputs in their order,
 * first meets them. So the form depends neither on names nor on the order in the file,
 * and two graphs have the same form exactly when they are wired alike. */
struct fp_graph;
int fp_graph_open(struct fp_graph **out, const struct fp_lib *lib, struct str msg,
                  uint32_t node_field, struct err *err) MUST_CHECK;
void fp_graph_close(struct fp_graph **g); /* for AUTO */
/* Another node, without inputs, that is known by this name (an argument). Before the
 * first walk. */
void fp_graph_add(struct fp_graph *g, struct str name, const struct digest *local);
/* Resolves the names of inputs, after all nodes are added. ERR_LIMIT. */
int fp_graph_link(struct fp_graph *g, struct err *err) MUST_CHECK;
/* Walks from a tensor ("node:0", "node:out:0", "node") or node ("^node") and hashes
 * which one it is. */
int fp_h_ref(struct sha256 *h, struct fp_graph *g, struct str text,
             struct err *err) MUST_CHECK;
/* The same for a set of nodes whose order means nothing. */
int fp_h_ref_set(struct sha256 *h, struct fp_graph *g, const struct str *names, int n,
                 struct err *err) MUST_CHECK;
/* What has effects and was not met, by what it computes. */
int fp_h_stateful(struct sha256 *h, struct fp_graph *g, struct err *err) MUST_CHECK;
/* What a node computes, as a tree (not which node it is). */
int fp_h_value(struct sha256 *h, struct fp_graph *g, struct str name,
               struct err *err) MUST_CHECK;
/* Takes note that this function is used beside the graph's nodes. */
void fp_graph_use(struct fp_graph *g, struct str function);
/* Hashes all nodes that were met. *uses gets the resources that they name. */
int fp_graph_end(struct sha256 *h, struct fp_graph *g, struct fp_uses *uses,
                 struct err *err) MUST_CHECK;

/* ---- statistics (fp_stats.c) ---- */

/* What is known of the numbers seen so far. */
struct chunk;
typedef void fp_sum_up_fn(const double *x, size_t n, double from, struct chunk *out);
struct fp_sum {
    int dtype;
    fp_sum_up_fn *sum_up;
    long double mean, squares; /* of the finite ones: sum of squared distances */
    double lo, hi;
    struct fp_stats out;
    double small[256];
};
/* fp_stats_of(dtype) must not be FP_OF_NOTHING. n elements at any address. */
void fp_sum_init(struct fp_sum *s, int dtype);
void fp_sum_add(struct fp_sum *s, const void *p, size_t n);
void fp_sum_end(const struct fp_sum *s, struct fp_stats *out);
void fp_histogram_add(struct fp_histogram *h, const void *p, size_t n);

/* ---- object graph (fp_objects.c) ---- */

/* `b` may be NULL: a model without variables. */
int fp_h_objects(struct sha256 *h, const struct fp_lib *lib,
                 struct fp_graph *main_graph, const struct sm_meta *meta,
                 struct sm_bundle *b, struct err *err) MUST_CHECK;

#endif
