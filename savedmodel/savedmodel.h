/* SPDX-License-Identifier: Apache-2.0 */
/* TensorFlow's files as zero-copy views: everything handed out is a slice of the
 * mapped (or read) file and lives until its owner is closed. Formats and sources:
 * docs/formats.md. Malformed bytes are ERR_CORRUPT naming file, place and rule. */
#ifndef SAVEDMODEL_SAVEDMODEL_H
#define SAVEDMODEL_SAVEDMODEL_H

#include "savedmodel/tensor.h"

/* ---- protobuf wire (savedmodel/sm_pb.c) ---------------------------------------- */

struct sm_field {
    uint32_t num;
    uint32_t wire;    /* 0 varint, 1 fixed64, 2 bytes, 5 fixed32 */
    uint64_t v;       /* wire 0, 1, 5 */
    struct str bytes; /* wire 2 */
};
/* Reads the next field from *it and moves it on: 1 field, 0 end, -1 malformed (groups
 * are skipped). */
int sm_pb_next(struct str *it, struct sm_field *f);
/* As sm_pb_next, but only length-delimited fields with this number. */
int sm_pb_next_msg(struct str *it, uint32_t num, struct str *out);
/* The last occurrence of a singular field; false: absent. */
bool sm_pb_get(struct str msg, uint32_t num, struct sm_field *f);
struct str sm_pb_bytes(struct str msg, uint32_t num); /* empty when absent */
int64_t sm_pb_int(struct str msg, uint32_t num, int64_t fallback);
/* Elements of a repeated varint, packed or not, at most cap of them; returns how many
 * there are (whatever cap is), -1 malformed. */
int sm_pb_ints(struct str msg, uint32_t num, int64_t *out, int cap);
/* The value of map field `num` under a string key; false: absent. The last wins. */
bool sm_pb_map_get(struct str msg, uint32_t num, struct str key, struct str *value);
bool sm_varint_long(struct str *it, uint64_t *v);
/* Reads a varint of at most ten bytes from *it and moves it on; false: malformed. */
static inline bool
sm_varint(struct str *it, uint64_t *v)
{
    /* Nearly all have one byte or two. */
    size_t n = it->n < 2 || !(it->p[0] & 0x80) ? 1 : 2;
    if (it->n == 0 || (it->p[n - 1] & 0x80))
        return sm_varint_long(it, v);
    *v = n == 1 ? (uint64_t)(uint8_t)it->p[0]
                : (uint64_t)(it->p[0] & 0x7f) | (uint64_t)it->p[1] << 7;
    it->p += n;
    it->n -= n;
    return true;
}
/* Writes a varint, at most ten bytes; returns how many. */
static inline size_t
sm_pb_varint_to(char *to, uint64_t v)
{
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        to[n++] = (char)(v | 0x80);
    to[n++] = (char)v;
    return n;
}
void sm_pb_add_varint(struct buf *out, uint64_t v);
/* Append a field. */
void sm_pb_put_int(struct buf *b, uint32_t num, uint64_t v);
void sm_pb_put_bytes(struct buf *b, uint32_t num, struct str s);
/* Only the tag and length of one whose bytes come later. */
void sm_pb_put_head(struct buf *b, uint32_t num, uint64_t n_bytes);

/* ---- SavedModel ----------------------------------------------------------------- */

struct sm_tensor_info {
    struct str key;
    struct str name; /* "node:0"; empty for sparse and composite ones */
    int dtype;
    struct sm_shape shape;
    struct str raw; /* the TensorInfo message */
    bool has_default;
    struct str default_value; /* TensorProto, when has_default */
};

struct sm_signature {
    struct str key;
    struct str method;
    struct sm_tensor_info *inputs; /* sorted bytewise by key */
    int n_inputs;
    struct sm_tensor_info *outputs; /* sorted bytewise by key */
    int n_outputs;
    struct str raw; /* the SignatureDef message */
};

struct sm_meta {
    struct str *tags; /* as stored */
    int n_tags;
    struct str tf_version, tf_git_version;
    bool stripped_default_attrs;
    struct str graph;        /* GraphDef message */
    struct str library;      /* FunctionDefLibrary message of the graph */
    struct str saver;        /* SaverDef message */
    struct str object_graph; /* SavedObjectGraph message */
    struct str op_list;      /* MetaInfoDef.stripped_op_list, an OpList message */
    struct str raw;          /* MetaGraphDef message */
    struct sm_signature *signatures; /* sorted bytewise by key, init-op ones included */
    int n_signatures;
};

struct sm_model;
/* What a model was read from. */
enum sm_form { SM_FORM_PB, SM_FORM_PBTXT, SM_FORM_CPB };
const char *sm_form_file(enum sm_form form); /* "saved_model.pbtxt" */

/* Reads the model in DIR, of several files the one that TensorFlow takes: chunked
 * saved_model.cpb, then saved_model.pb, then saved_model.pbtxt. Only the .pb is mapped;
 * the others become the same bytes on the heap. ERR_NOTFOUND: none is there,
 * "SavedModel file does not exist at: DIR". ERR_CORRUPT: cut off or no SavedModel (of
 * text: with line and column). ERR_LIMIT: nested more than 100 deep, or more than 2^20
 * signatures, inputs … `dir` is for messages. Afterwards every message below is
 * well-formed: a field that a reader does not find is absent. */
int sm_open(struct sm_model **out, int dirfd, const char *dir,
            struct err *err) MUST_CHECK;
/* As sm_open, of the directory at a path. */
int sm_open_path(struct sm_model **out, const char *dir, struct err *err) MUST_CHECK;
void sm_close(struct sm_model *m);
void sm_close_p(struct sm_model **m); /* for AUTO */
enum sm_form sm_form(const struct sm_model *m);
struct str sm_bytes(const struct sm_model *m); /* the SavedModel message */
int sm_n_metas(const struct sm_model *m);      /* 1 or more */
const struct sm_meta *sm_meta(const struct sm_model *m, int i);
/* The first MetaGraph whose set of tags equals `tags` ("a,b", order and duplicates
 * irrelevant). ERR_NOTFOUND lists the tag sets there are. */
int sm_find_meta(const struct sm_model *m, const char *tags, const struct sm_meta **out,
                 struct err *err) MUST_CHECK;
/* ERR_NOTFOUND lists the signatures there are. */
int sm_find_signature(const struct sm_meta *meta, const char *key,
                      const struct sm_signature **out, struct err *err) MUST_CHECK;
bool sm_signature_hidden(const struct sm_signature *s); /* __saved_model_init_op … */
/* Name of the init op (main_op, legacy_init_op, init signature) without ":0"; empty
 * when there is none (loader order of core's loader.cc). */
struct str sm_meta_init_op(const struct sm_meta *meta);
/* Asset tensors to feed on restore and init: calls fn(arg, tensor name, file name).
 * ERR_INVALID: a file name that leaves the assets folder. */
int sm_meta_assets(const struct sm_meta *meta,
                   int (*fn)(void *arg, struct str tensor, struct str file,
                             struct err *err),
                   void *arg, struct err *err) MUST_CHECK;

/* The op types that saved_model_cli --list_ops shows, sorted; the caller frees the
 * array, the slices are lent until close. */
int sm_meta_ops(const struct sm_meta *meta, struct str **names, int *n,
                struct err *err) MUST_CHECK;

/* ---- object graph, and values in Python's words -------------------------------- */

/* What one concrete function takes: StructuredValue messages of the positional
 * arguments (a tuple) and the others (a dict). Both empty: the file only has, for a
 * bare function, `keywords`: a message whose strings 2 are the arguments' names. */
struct sm_concrete {
    struct str name; /* in the function library */
    struct str args, kwargs, keywords;
};
/* A function that is an attribute of the root object. */
struct sm_callable {
    struct str name;
    struct sm_concrete *concrete; /* as stored; none: it was never traced */
    int n_concrete;
};
struct sm_callables {
    struct sm_callable *v; /* sorted bytewise by name */
    int n;
};
bool sm_meta_has_objects(const struct sm_meta *meta);
/* ERR_CORRUPT: a child of the root that is not in the graph. ERR_LIMIT: more than 2^24
 * objects or 2^16 concrete functions. */
int sm_meta_callables(const struct sm_meta *meta, struct sm_callables *out,
                      struct err *err) MUST_CHECK;
void sm_callables_release(struct sm_callables *c); /* for AUTO */

/* repr(s) of a Python string. */
void sm_python_repr(struct str s, struct buf *out);
/* Of a StructuredValue: str(v), and the name of its class. */
void sm_value_str(struct str value, struct buf *out);
void sm_value_class(struct str value, struct buf *out);
enum sm_value_form {
    SM_VALUE_OTHER,
    SM_VALUE_STR,
    SM_VALUE_TENSOR, /* TensorSpec, BoundedTensorSpec */
    SM_VALUE_LIST,   /* list, tuple, namedtuple */
    SM_VALUE_DICT
};
enum sm_value_form sm_value_form(struct str value);
/* TensorSpecProto of a SM_VALUE_TENSOR: 1 name, 2 shape, 3 dtype. */
struct str sm_value_tensor(struct str value);
struct sm_kv {
    struct str key;
    struct str value;
};
/* Elements of a list (without keys), fields of a namedtuple, entries of a dict in
 * Python's order; none for other forms. The caller frees the array. */
struct sm_kv *sm_value_items(struct str value, int *n);
/* A map field with string keys in the order in which Python walks it. The caller frees
 * the array. */
struct sm_kv *sm_python_map(struct str msg, uint32_t num, int *n);

/* The chunks of a saved_model.cpb, which its fingerprint is made of. */
struct sm_riegeli;
struct sm_chunks {
    struct str message; /* the root ChunkedMessage (savedmodel/sm_cpb.c) */
    struct str *v;
    size_t n;
    struct sm_riegeli *file;
};
/* ERR_CORRUPT, ERR_LIMIT; ERR_UNSUPPORTED: packed in a way that TensorFlow does not
 * use. The chunks are unpacked: `file` is not needed afterwards. */
int sm_chunks_read(struct sm_chunks *out, struct str file, struct err *err) MUST_CHECK;
/* The same of saved_model.cpb below dirfd. ERR_NOTFOUND: there is none. */
int sm_chunks_open(struct sm_chunks *out, int dirfd, const char *dir,
                   struct err *err) MUST_CHECK;
void sm_chunks_release(struct sm_chunks *c); /* for AUTO */
/* Appends the SavedModel that a ChunkedMessage over these chunks is: the whole model of
 * c->message, or a part of it. ERR_CORRUPT, ERR_LIMIT. */
int sm_chunks_merge(const struct sm_chunks *c, struct str message, struct buf *out,
                    struct err *err) MUST_CHECK;

/* ---- graph ----------------------------------------------------------------------- */

struct sm_node {
    struct str name, op, device;
    struct str raw; /* the NodeDef message */
};
int sm_node_parse(struct str raw, struct sm_node *out, struct err *err) MUST_CHECK;
/* Walks repeated messages: graph nodes are field 1 of GraphDef, functions field 1 of
 * the library, body nodes field 3 of FunctionDef. Use sm_pb_next_msg. */
#define SM_GRAPH_NODE 1
#define SM_LIBRARY_FUNCTION 1
#define SM_FUNCTION_NODE 3
#define SM_ATTR_LIST_SHAPE 7
#define SM_NODE_INPUT 3 /* strings, in order; "^name" are control inputs */

enum sm_attr_kind {
    SM_ATTR_NONE = 0, /* present, nothing set */
    SM_ATTR_LIST = 1,
    SM_ATTR_S = 2,
    SM_ATTR_I = 3,
    SM_ATTR_F = 4,
    SM_ATTR_B = 5,
    SM_ATTR_TYPE = 6,
    SM_ATTR_SHAPE = 7,
    SM_ATTR_TENSOR = 8,
    SM_ATTR_PLACEHOLDER = 9,
    SM_ATTR_FUNC = 10
};
struct sm_attr {
    enum sm_attr_kind kind;
    int64_t i; /* I, B, TYPE */
    float f;
    /* S, PLACEHOLDER: the text; LIST SHAPE TENSOR FUNC: the message */
    struct str bytes;
};
/* 0, or -1: malformed, or a message member twice (which nobody writes). */
int sm_attr_parse(struct str attr_value, struct sm_attr *out);
bool sm_node_attr(const struct sm_node *n, const char *name, struct sm_attr *out);
/* Elements of a list attr, at most cap of them; returns how many there are (whatever
 * cap is), -1 malformed. Packed and unpacked both. */
int sm_attr_ints(const struct sm_attr *a, int64_t *out, int cap); /* i */
int sm_attr_types(const struct sm_attr *a, int *out, int cap);    /* type */
int sm_attr_floats(const struct sm_attr *a, float *out, int cap); /* f */
int sm_attr_bools(const struct sm_attr *a, bool *out, int cap);   /* b */
/* s; of shape, tensor and func lists the raw messages. */
int sm_attr_strs(const struct sm_attr *a, struct str *out, int cap);
struct str sm_attr_func_name(const struct sm_attr *a); /* kind FUNC */
/* AttrDef default of `op`.`attr` from an OpList message; false: none. */
bool sm_op_default(struct str op_list, struct str op, const char *attr,
                   struct sm_attr *out);

/* OpDef.ArgDef of a function's signature. */
struct sm_arg {
    struct str name;
    int type; /* 0 when given by an attr */
    struct str type_attr, number_attr, type_list_attr;
};
struct sm_function {
    struct str name;
    struct str signature; /* OpDef: input_arg 2, output_arg 3, control_output 20 */
    struct str raw; /* FunctionDef: nodes 3, ret map 4, attr map 5, control_ret 6 */
};
int sm_function_parse(struct str raw, struct sm_function *out,
                      struct err *err) MUST_CHECK;
int sm_arg_parse(struct str raw, struct sm_arg *out, struct err *err) MUST_CHECK;

/* What the node alone says of an output's type; SM_INVALID: nothing. */
int sm_node_out_type(const struct sm_node *n, int64_t output);

/* TensorShapeProto. ERR_LIMIT: rank above SM_MAX_RANK. */
int sm_shape_parse(struct str raw, struct sm_shape *out, struct err *err) MUST_CHECK;
/* TensorProto to a value: borrows tensor_content where it is aligned for its dtype,
 * else owns; strings borrow their bytes. Rules: sm_proto.c (short lists repeat the last
 * value). RESOURCE and VARIANT are ERR_UNSUPPORTED; ERR_LIMIT: more than 1 GiB that is
 * not in the file. */
int sm_tensor_proto(struct str raw, struct sm_tensor *out, struct err *err) MUST_CHECK;

/* ---- frozen graph: a GraphDef alone ---------------------------------------------- */

/* The bytes head, graph, tail in a row are a SavedModel with one MetaGraph "serve" and
 * one signature "serving_default". */
struct sm_frozen {
    struct buf head;
    struct str graph;
    struct buf tail;
    struct sm_file *file;
};
/* Reads the GraphDef in `path`, in text form when that ends in ".pbtxt". The signature
 * gives `outputs` ("a:0,b" with b for b:0) and takes `feeds` (such a list, or NULL) and
 * the Placeholders needed besides. ERR_USAGE: no outputs; lists those that nobody
 * consumes. ERR_NOTFOUND: no such file or tensor. ERR_CORRUPT, ERR_LIMIT.
 * ERR_UNSUPPORTED: a feed of unknown type. */
int sm_frozen_open(struct sm_frozen *out, const char *path, const char *outputs,
                   const char *feeds, struct err *err) MUST_CHECK;
void sm_frozen_release(struct sm_frozen *f); /* for AUTO */

/* ---- checkpoint: tensor bundle --------------------------------------------------- */

struct sm_entry {
    struct str key;
    int dtype;
    struct sm_shape shape;
    int shard_id;
    int64_t offset, size_bytes;
    uint32_t crc32c; /* masked */
    int n_slices;    /* > 0: only a directory of slices */
    struct str raw;  /* BundleEntryProto */
};
struct sm_bundle;
/* Reads <prefix>.index below dirfd ("variables/variables"); data shards are opened when
 * first needed. ERR_NOTFOUND: no index. ERR_CORRUPT: block checksum, cut off, …
 * ERR_UNSUPPORTED: a checkpoint of the old form (V1), or of a later version. */
int sm_bundle_open(struct sm_bundle **out, int dirfd, const char *prefix,
                   struct err *err) MUST_CHECK;
void sm_bundle_close(struct sm_bundle *b);
void sm_bundle_close_p(struct sm_bundle **b);
int sm_bundle_n_shards(const struct sm_bundle *b);
int sm_bundle_n_entries(const struct sm_bundle *b); /* header and slice keys left out */
/* In the order of the keys. */
const struct sm_entry *sm_bundle_entry(const struct sm_bundle *b, int i);
const struct sm_entry *sm_bundle_find(const struct sm_bundle *b, struct str key);
/* Of its value; in slices, of all of them. */
int64_t sm_entry_bytes(const struct sm_entry *e);
/* ERR_CORRUPT when a shard is missing or shorter than the index says; reads nothing. */
int sm_bundle_check_sizes(struct sm_bundle *b, struct err *err) MUST_CHECK;
/* The value of a tensor, or of the slice `spec` of it ("" = whole; else TensorFlow's
 * shape_and_slices text). Borrows the mapped shard where dtype and alignment allow.
 * check_crc: also ERR_CORRUPT when the bytes do not match entry.crc32c.
 * ERR_NOTFOUND: no such key, or a missing shard (named, with the bytes it needs). */
int sm_bundle_tensor(struct sm_bundle *b, struct str key, struct str spec,
                     bool check_crc, struct sm_tensor *out, struct err *err) MUST_CHECK;

/* Hands the value of a tensor with elements of a fixed size to fn, whole elements at a
 * time, row-major and little-endian, at any address. Of a tensor that is stored whole
 * little memory is in use at a time, and its checksum is known at the end: when this
 * fails, what fn made is not to be used. Errors as sm_bundle_tensor; ERR_UNSUPPORTED:
 * strings, variants. */
typedef void sm_piece_fn(void *arg, const void *p, size_t n_bytes);
int sm_bundle_pieces(struct sm_bundle *b, const struct sm_entry *e, sm_piece_fn *fn,
                     void *arg, struct err *err) MUST_CHECK;

/* The elements of a VARIANT tensor as VariantTensorDataProto messages (checksums
 * checked), lent by the bundle; the caller frees *out. ERR_INVALID: another dtype. */
int sm_bundle_variants(struct sm_bundle *b, struct str key, struct str **out,
                       int64_t *n, struct err *err) MUST_CHECK;

/* ---- weights and training state, by name (savedmodel/sm_training.c) ---- */

#define SM_OBJECT_GRAPH_KEY "_CHECKPOINTABLE_OBJECT_GRAPH"

enum sm_role {
    SM_ROLE_WEIGHT,
    SM_ROLE_SLOT,        /* what an optimizer keeps for each weight */
    SM_ROLE_TRAINING,    /* else of an optimizer, a metric, a counter, an average */
    SM_ROLE_OBJECT_GRAPH /* no tensor of the model */
};
enum sm_role sm_entry_role(const struct sm_bundle *b, const struct sm_entry *e);
/* The variable that a TF1 optimizer's (or average's) variable belongs to, by its name's
 * end; false: its name does not say so. *slot: "m" of ".../Adam". */
bool sm_slot_of_name(struct str name, struct str *variable, struct str *slot);
#define SM_SLOT_AVERAGE "average" /* the only slot that is no optimizer's */

/* ---- the object graph of a checkpoint (savedmodel/sm_trackable.c) ---- */

#define SM_VARIABLE_VALUE "VARIABLE_VALUE" /* what a variable saves */

struct sm_child {
    struct str name;
    int node;
};
struct sm_saved {
    struct str name; /* SM_VARIABLE_VALUE, "table-keys" … */
    struct str full_name;
    struct str key; /* in the checkpoint */
};
/* The optimizer that has it keeps, for a variable, another one. */
struct sm_slot {
    int variable, node;
    struct str name; /* "m" */
};
struct sm_object {
    struct sm_child *children, *sorted; /* as stored; by name */
    struct sm_saved *saved;             /* by name */
    struct sm_slot *slots;              /* by variable, then name */
    int n_children, n_saved, n_slots;
};
struct sm_objects {
    struct sm_object *v; /* 0 is the root; there may be cycles */
    int n;               /* 0: a checkpoint of names (TF1), without objects */
    struct sm_child *children, *sorted;
    struct sm_saved *saved;
    struct sm_slot *slots;
    int n_children, n_saved, n_slots;
    struct sm_tensor own;
};
/* Lends from the bundle. ERR_CORRUPT, ERR_LIMIT; afterwards every node exists. */
int sm_objects_read(struct sm_objects *out, struct sm_bundle *b,
                    struct err *err) MUST_CHECK;
void sm_objects_release(struct sm_objects *o); /* for AUTO */
/* The child's node, -1: there is none. */
int sm_objects_child(const struct sm_objects *o, int node, struct str name);
int sm_objects_path(const struct sm_objects *o, struct str path); /* "model/layer-0" */
/* NULL: there is none. */
const struct sm_saved *sm_object_saved(const struct sm_object *x, struct str name);
const struct sm_slot *sm_object_slot(const struct sm_object *x, int variable,
                                     struct str name);

/* ---- a checkpoint for a model (savedmodel/sm_match.c) ---- */

enum sm_match_state {
    SM_MATCH_FITS,
    SM_MATCH_KEPT,      /* absent, and nobody's answers depend on it: training state */
    SM_MATCH_MISSING,   /* the checkpoint has none */
    SM_MATCH_AMBIGUOUS, /* several could be meant */
    SM_MATCH_DTYPE,
    SM_MATCH_SHAPE
};
struct sm_match {
    const struct sm_entry *entry; /* of the model's bundle */
    const struct sm_entry *from;  /* of the checkpoint; NULL: none */
    enum sm_match_state state;
    bool by_name; /* not through the object graphs */
};
struct sm_matches {
    struct sm_match *v;             /* every entry but the object graph, in key order */
    const struct sm_entry **unused; /* of the checkpoint */
    int n, n_unused, n_bad;
    struct str
        root; /* name of the checkpoint's object that is the model; "": its root */
};
/* Finds for each entry of the model's bundle the checkpoint's tensor: which rules,
 * savedmodel/sm_match.c. `path` names the checkpoint's object that is the model (NULL:
 * found out). Lends from both bundles and `path`. Returns 0 also when some do not fit
 * (n_bad). ERR_NOTFOUND: no such path. ERR_INVALID: two objects of the checkpoint fit
 * equally well. `meta` NULL: not known what functions take. */
int sm_match_checkpoint(struct sm_matches *out, const struct sm_meta *meta,
                        struct sm_bundle *model, struct sm_bundle *ckpt,
                        const char *path, struct err *err) MUST_CHECK;
void sm_matches_release(struct sm_matches *m); /* for AUTO */
/* ---- pieces of a file that are told apart by their digests (savedmodel/sm_cut.c) ----
 */

#define SM_CUT_BYTES ((int64_t)4 << 20) /* most of a piece */
/* Where tensors lie in a file, as an index says: a hint. Any order, any numbers. */
struct sm_hint {
    int64_t at, size_bytes;
    uint64_t tag; /* of the tensor's name */
};
struct sm_cut {
    int64_t at, size_bytes;
    uint64_t tag; /* of the tensor's name and the piece's place in it; 0: none */
};
/* The cuts of a file, in order, without gaps; the caller frees them. Hints are sorted.
 * The same hints and size give the same cuts; a wrong hint gives others. */
size_t sm_cuts(struct sm_hint *hints, size_t n_hints, int64_t size_bytes,
               struct sm_cut **out);
/* Of one shard; the caller frees them. */
size_t sm_bundle_hints(const struct sm_bundle *b, int shard, struct sm_hint **out);

/* ---- writing one (savedmodel/sm_bundle_write.c) ---- */

/* A bundle of one data shard, as TensorFlow writes the same tensors in the same order,
 * byte for byte. Nothing is synced; what is there when a call fails is the caller's to
 * remove. */
struct sm_bundle_writer;
/* Makes <prefix>.data-00000-of-00001, which must not exist. */
int sm_bundle_write_open(struct sm_bundle_writer **out, int dirfd, const char *prefix,
                         struct err *err) MUST_CHECK;
void sm_bundle_write_close_p(struct sm_bundle_writer **w); /* for AUTO */
int sm_bundle_write_tensor(struct sm_bundle_writer *w, struct str key,
                           const struct sm_tensor *t, struct err *err) MUST_CHECK;
/* A tensor of another bundle, checksums checked: slices are joined, variants copied.
 * Errors of sm_bundle_tensor. */
int sm_bundle_write_copy(struct sm_bundle_writer *w, struct str key,
                         struct sm_bundle *from, struct str from_key,
                         struct err *err) MUST_CHECK;
/* Writes <prefix>.index. ERR_INVALID: a key was written twice. */
int sm_bundle_write_end(struct sm_bundle_writer *w, struct err *err) MUST_CHECK;

/* The file `checkpoint` beside checkpoints. Paths are as they stand there: absolute, or
 * relative to the file's directory. */
struct sm_ckpt_state {
    struct str latest; /* empty when the file does not say */
    struct str *paths; /* oldest first */
    double *times;     /* seconds since 1970, of the first n_times paths */
    int n, n_times;
    double last_preserved; /* 0: not told */
    char *own;
};
/* ERR_NOTFOUND: no such file. ERR_CORRUPT with line and column. */
int sm_ckpt_state_read(struct sm_ckpt_state *out, int dirfd, const char *path,
                       struct err *err) MUST_CHECK;
void sm_ckpt_state_release(struct sm_ckpt_state *s); /* for AUTO */
/* Appends a path of a state file in `dir`. */
void sm_ckpt_beside(const char *dir, struct str path, struct buf *out);

/* The checkpoints that lie in a directory: names of their indexes, sorted. */
struct sm_ckpt_names {
    char **v;
    int n;
};
int sm_ckpt_names(struct sm_ckpt_names *out, int dirfd, const char *dir,
                  struct err *err) MUST_CHECK;
void sm_ckpt_names_release(struct sm_ckpt_names *l); /* for AUTO */
/* Of the index and those shards that are there. */
int64_t sm_ckpt_bytes(int dirfd, const char *prefix, int n_shards);
/* The prefix that a path means: itself, also with ".index"; of a directory the newest
 * by its state file, or a SavedModel's variables, or the only one. ERR_NOTFOUND says
 * what there is. (A prefix that is not there is sm_bundle_open's error.) */
int sm_ckpt_find(int dirfd, const char *path, struct buf *prefix,
                 struct err *err) MUST_CHECK;

/* ---- keras_metadata.pb (savedmodel/sm_keras.c) -------------------------------------
 */

struct sm_keras_node {
    int node_id;           /* place in the SavedObjectGraph */
    struct str path;       /* "root.layer-0" */
    struct str identifier; /* "_tf_keras_layer" */
    struct str metadata;   /* JSON: class_name, config, … */
    int producer;
};
struct sm_file;
struct sm_keras {
    struct sm_keras_node *v;
    int n;
    struct sm_file *file;
};
/* ERR_NOTFOUND: none in DIR (Keras 3 and models without Keras have none). */
int sm_keras_read(struct sm_keras *out, int dirfd, const char *dir,
                  struct err *err) MUST_CHECK;
void sm_keras_release(struct sm_keras *k); /* for AUTO */

/* ---- NumPy files ----------------------------------------------------------------- */

/* .npy bytes (format 1, 2, 3; either byte order and Fortran order are turned; 'S' and
 * 'U' become strings; object arrays are refused). `what` names the file in errors.
 * May borrow from `bytes`. */
int sm_npy_read(struct str bytes, const char *what, struct sm_tensor *out,
                struct err *err) MUST_CHECK;
/* Strings become 'S<longest>'; bfloat16 becomes float32. */
int sm_npy_write(const struct sm_tensor *t, struct buf *out,
                 struct err *err) MUST_CHECK;
/* Every member of an .npz (stored or deflated, zip64), names without ".npy"; all of
 * them own their bytes. */
int sm_npz_read(struct str bytes, const char *what, struct sm_tensor_list *out,
                struct err *err) MUST_CHECK;
/* As sm_npz_read, of the member `only` alone, whatever the others hold; none when it is
 * not there. */
int sm_npz_read_one(struct str bytes, const char *what, const char *only,
                    struct sm_tensor_list *out, struct err *err) MUST_CHECK;
/* It looks like a pickle; a guess. */
bool sm_is_pickle(struct str file);
/* A pickled array, or a dict of them (*is_dict: by key; else one named ""): protocols 0
 * to 5, nothing imported or run (savedmodel/sm_pickle.c). Numbers, strings and nested
 * lists of them count as arrays too. All own their bytes. Of a dict only the key
 * `only` is looked at, when it is not NULL. ERR_UNSUPPORTED names the
 * global or opcode that is refused, and its place; ERR_CORRUPT, ERR_LIMIT. */
int sm_pickle_read(struct str file, const char *what, const char *only,
                   struct sm_tensor_list *out, bool *is_dict,
                   struct err *err) MUST_CHECK;
/* A stored (uncompressed) .npz, as numpy.savez writes. */
int sm_npz_write(const struct sm_tensor_list *l, struct buf *out,
                 struct err *err) MUST_CHECK;

/* ---- records and examples -------------------------------------------------------- */

/* The records of a TFRecord file. */
struct sm_records {
    struct str *v; /* slices of the file, or of `unpacked` */
    size_t n;
    char *unpacked; /* of a gzip or zlib file; else NULL */
};
/* It begins as such a file does, packed or not. (An empty file does not.) */
bool sm_is_tfrecord(struct str file);
/* ERR_CORRUPT names the record: cut off, a checksum. ERR_LIMIT: packed bytes that
 * become more than 1 GiB. */
int sm_tfrecord_read(struct str file, const char *what, struct sm_records *out,
                     struct err *err) MUST_CHECK;
void sm_records_release(struct sm_records *r); /* for AUTO */

/* One feature of records that are tf.Examples or tf.SequenceExamples: string, float32
 * or int64, [records, values] or, of a feature list, [records, steps, values].
 * ERR_NOTFOUND lists the features there are; ERR_INVALID: records that have different
 * numbers of values; ERR_CORRUPT. */
int sm_examples_column(const struct sm_records *r, struct str name,
                       struct sm_tensor *out, struct err *err) MUST_CHECK;

/* A record of TF Serving's warm-up file (assets.extra/tf_serving_warmup_requests). */
enum sm_warmup_kind {
    SM_WARMUP_PREDICT,
    SM_WARMUP_CLASSIFY,
    SM_WARMUP_REGRESS,
    SM_WARMUP_MULTI,
    SM_WARMUP_SESSION_RUN
};
#define SM_WARMUP_FILE "assets.extra/tf_serving_warmup_requests"
#define SM_WARMUP_MAX_RECORDS 1000 /* more are refused by TF Serving */
struct sm_warmup {
    enum sm_warmup_kind kind;
    struct str model, label; /* of the ModelSpec; may be empty */
    int64_t version;         /* -1: not told */
    struct str *signatures;  /* one, or one a task of SM_WARMUP_MULTI */
    int n_signatures;
    /* By input key; the Examples of classify, regress and multi as the string tensor
     * "inputs"; of SM_WARMUP_SESSION_RUN by tensor name ("x:0"). */
    struct sm_tensor_list inputs;
    struct str *fetches; /* tensor names, of SM_WARMUP_SESSION_RUN */
    int n_fetches;
};
/* Slices and values are lent by `record`. ERR_CORRUPT, ERR_LIMIT; ERR_UNSUPPORTED: a
 * streamed request, or none. */
int sm_warmup_parse(struct str record, struct sm_warmup *out,
                    struct err *err) MUST_CHECK;
void sm_warmup_release(struct sm_warmup *w); /* for AUTO */
/* A session run names tensors: the first signature that has all of them becomes its
 * only one, and the inputs get that one's keys. ERR_UNSUPPORTED: there is none. */
int sm_warmup_session(struct sm_warmup *w, const struct sm_meta *meta,
                      struct err *err) MUST_CHECK;
const char *sm_warmup_kind_name(enum sm_warmup_kind kind);
/* Append: a PredictionLog with a predict request; a record with its frame; the fields
 * of a TensorProto. Values are of dtypes with a fixed size, or strings. */
void sm_warmup_add(const char *model, const char *signature,
                   const struct sm_tensor_list *in, struct buf *out);
void sm_tfrecord_add(struct str record, struct buf *out);
void sm_tensor_proto_add(const struct sm_tensor *t, struct buf *out);

/* ---- text ------------------------------------------------------------------------ */

/* A Python literal (numbers, bools, strings, bytes, nested lists and tuples) as an
 * array: int64 (uint64 beyond it), float64, bool or string; NumPy's rule for mixtures,
 * but strings and numbers do not mix. ERR_INVALID with the column. */
int sm_literal_read(const char *text, struct sm_tensor *out,
                    struct err *err) MUST_CHECK;
/* A literal, or one of the NumPy calls of savedmodel/sm_expr.c (np.ones, zeros, full,
 * arange, linspace, array, eye, a dtype, random.RandomState(n).rand …, with .astype and
 * .reshape behind them), whose values are NumPy's bit for bit. Nothing is evaluated:
 * ERR_INVALID names what is not read. ERR_LIMIT: more than 2^26 elements. */
int sm_expr_read(const char *text, struct sm_tensor *out, struct err *err) MUST_CHECK;
/* A list of dicts, [{"age": [22], "name": ["a"]}], as the string tensor of their
 * serialized tf.Examples (features sorted by name). The first element of a list says
 * which kind it is: int or bool, float, text or bytes. ERR_INVALID with the place. */
int sm_examples_of(const char *text, struct sm_tensor *out, struct err *err) MUST_CHECK;

#endif
