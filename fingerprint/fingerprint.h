/* SPDX-License-Identifier: Apache-2.0 */
/* Says what a model is. Two kinds of identity:
 *
 *   TensorFlow's own: the five hashes of fingerprint.pb, bit for bit, by the rules of
 *   the release that wrote the model. They cover the graph without its functions and
 *   the checkpoint's index without its data.
 *
 *   Ours: a digest of every tensor, of all weights, and of the meaning (everything that
 *   decides what the model answers, and nothing else). What goes in and what stays
 *   out: docs/formats.md. */
#ifndef FINGERPRINT_FINGERPRINT_H
#define FINGERPRINT_FINGERPRINT_H

#include "base/crypto.h"
#include "savedmodel/savedmodel.h"

/* ---- TensorFlow's fingerprint (fingerprint/fp_five.c, fp_chunked.c, fp_check.c) ----
 */

enum fp_hash {
    FP_CHECKSUM,     /* the whole SavedModel (2.11: its GraphDef) */
    FP_GRAPH,        /* the graph without function library and function numbers */
    FP_SIGNATURES,   /* signature_def */
    FP_OBJECT_GRAPH, /* concrete functions of the object graph */
    FP_CHECKPOINT,   /* bytes of variables/variables.index; 0: there is none */
    FP_N_HASHES
};
const char *fp_hash_name(enum fp_hash h); /* "saved_model_checksum" */

/* What releases do differently. */
enum fp_rules {
    FP_RULES_2_11, /* field 1 is the GraphDef's, signatures by value, 32-bit numbers */
    FP_RULES_2_12, /* 2.12, 2.13: signatures by value, 32-bit numbers */
    FP_RULES_2_14, /* 2.14 and later: signatures by key and value, 64-bit numbers */
    FP_N_RULES,
    FP_RULES_CHUNKED = FP_N_RULES /* of saved_model.cpb, whichever release */
};
const char *fp_rules_name(enum fp_rules r); /* "2.12-2.13" */
/* The rules of a release ("2.13.0-rc1"). Releases before 2.11 have no fingerprint:
 * for them, and for an empty or strange text, the newest rules, which are what any
 * TensorFlow of today computes for such a model. */
enum fp_rules fp_rules_of(struct str tf_version);

struct fp_five {
    uint64_t hash[FP_N_HASHES];
    enum fp_rules rules;
};
/* "<graph>/<signatures>/<object graph>/<checkpoint>" */
#define FP_SINGLEPRINT_BYTES 84
void fp_singleprint(const struct fp_five *five, char out[FP_SINGLEPRINT_BYTES]);

/* The five hashes of the model in `dirfd` by the rules of the release that wrote it; of
 * a chunked saved_model.cpb by theirs, which is best effort: TensorFlow's own test
 * takes two values for the graph and for the object graph, depending on how it was
 * built. `dir` is for messages. Heap stays small whatever the size of the graph; of a
 * chunked model it holds the unpacked chunks. ERR_NOTFOUND: no model. ERR_CORRUPT: it
 * is malformed. ERR_LIMIT: chunks nested too deep. ERR_UNSUPPORTED: a concrete function
 * without a number at its end, or a chunk that is a whole MetaGraph (for both of which
 * TensorFlow, too, makes no fingerprint). */
int fp_five_of(struct fp_five *out, int dirfd, const char *dir,
               struct err *err) MUST_CHECK;

/* A fingerprint.pb. */
struct fp_stored {
    uint64_t hash[FP_N_HASHES];
    int producer;  /* -1: the file has no version */
    char uuid[64]; /* decimal, "" when there is none; cut when longer */
};
/* ERR_NOTFOUND: no fingerprint.pb. ERR_CORRUPT: malformed. */
int fp_stored_read(struct fp_stored *out, int dirfd, const char *dir,
                   struct err *err) MUST_CHECK;

enum fp_match {
    FP_SAME,
    FP_TOLERATED, /* not by the release's own rule, but by one that the notes name */
    FP_DIFFERS
};
struct fp_check {
    struct fp_stored stored;
    struct fp_five computed;
    enum fp_match match[FP_N_HASHES];
    /* Why a match is tolerated, or a guess at what happened; NULL: nothing to add.
     * Static storage. */
    const char *note[FP_N_HASHES];
    int n_differ;
};
/* Compares fingerprint.pb with the model. Returns 0 also when fields differ
 * (out->n_differ). Tolerated: a hash by another release's rule (the file does not tell
 * which release wrote it), and a checksum of the file's own bytes where the rule asks
 * for their canonical form. ERR_NOTFOUND: no fingerprint.pb or no model;
 * others as fp_five_of. */
int fp_check(struct fp_check *out, int dirfd, const char *dir,
             struct err *err) MUST_CHECK;

/* Appends the fingerprint.pb of a model that is the one in `dirfd` with the checkpoint
 * below `ckpt_dirfd`: its checkpoint hash is new, the others are of files that stayed,
 * and a uuid is made of both. With the same checkpoint it is the same file.
 * ERR_NOTFOUND: the model has none. ERR_CORRUPT. */
int fp_stored_renew(int dirfd, int ckpt_dirfd, const char *dir, struct buf *out,
                    struct err *err) MUST_CHECK;

/* ---- a tensor's values: digest, statistics (fingerprint/fp_stats.c, fp_look.c) ----
 */

enum fp_of { FP_OF_NOTHING, FP_OF_VALUE, FP_OF_MAGNITUDE, FP_OF_LENGTH };
/* What statistics of this dtype are of: complex numbers' magnitudes, strings' lengths,
 * others' values; nothing of resources and variants. */
enum fp_of fp_stats_of(int dtype);

enum fp_number { FP_REAL, FP_INT, FP_UINT };
union fp_number_value {
    double real;
    int64_t i;
    uint64_t u;
};
struct fp_stats {
    uint8_t of;     /* enum fp_of */
    uint8_t number; /* enum fp_number: which member of min and max holds */
    int64_t n_elems, n_zero, n_nan, n_pos_inf, n_neg_inf;
    int64_t n_finite;
    /* Of the finite ones; when n_finite is 0 min and max mean nothing, and mean and std
     * are NaN. std is the population's: the root of the mean square of distances. */
    union fp_number_value min, max;
    double mean, std;
};
double fp_number_real(const struct fp_stats *s, union fp_number_value v);

/* Counts of finite values in equal steps from the least to the greatest (which is in
 * the last bin); integers that lie close have a bin each. */
#define FP_BINS 20
struct fp_histogram {
    int dtype;
    double lo, hi;
    bool is_by_value; /* bin i counts the integer lo + i */
    int n_bins;       /* 0: there are no finite values */
    int64_t bin[FP_BINS];
    double small[256]; /* values of an eight-bit float's patterns */
};
void fp_histogram_init(struct fp_histogram *h, int dtype, const struct fp_stats *s);
/* Where bin i begins (its integer, when is_by_value); i = n_bins: where the last ends.
 */
double fp_histogram_edge(const struct fp_histogram *h, int i);

enum { FP_LOOK_DIGEST = 1, FP_LOOK_STATS = 2 };
struct fp_look {
    const struct sm_entry *entry; /* NULL: of a value in memory */
    uint64_t n_bytes;             /* of the value */
    bool has_digest, has_stats;
    struct digest digest;
    struct fp_stats stats;
    /* Of fp_look_all: ERR_OK, or why this one could not be read (owned). */
    enum err_code code;
    char *why;
};
/* Looks once at a stored tensor, and checks its checksum. `want`: FP_LOOK_…; what a
 * dtype does not have is left out. h_or_null, initialised, counts too. ERR_NOTFOUND: a
 * shard is missing; ERR_CORRUPT: cut short, or a wrong checksum; ERR_UNSUPPORTED: a
 * dtype without plain values. */
int fp_look_entry(struct fp_look *out, struct sm_bundle *b, const struct sm_entry *e,
                  unsigned want, struct fp_histogram *h_or_null,
                  struct err *err) MUST_CHECK;
void fp_look_tensor(struct fp_look *out, const struct sm_tensor *t, unsigned want,
                    struct fp_histogram *h_or_null);
/* Looks at v[i].entry of the checkpoint `prefix` below dirfd, open as `b`, for all i,
 * in up to n_threads threads, big ones first. One that cannot be read does not stop the
 * others. */
void fp_look_all(struct fp_look *v, int n, struct sm_bundle *b, int dirfd,
                 const char *prefix, unsigned want, int n_threads);
void fp_look_free(struct fp_look *v, int n); /* what fp_look_all made, and v */

/* ---- tensors and weights (fingerprint/fp_weights.c) ---- */

/* SHA-256 of a tensor's value: its elements row-major, little-endian, one after the
 * other; of strings, each one's length (8 bytes, little-endian) and bytes. Dtype and
 * shape are not in it. */
void fp_tensor_digest(const struct sm_tensor *t, struct digest *out);

/* ---- all weights (fingerprint/fp_weights.c) ---- */

struct fp_tensor {
    const struct sm_entry *entry; /* name, dtype, shape; lent by the bundle */
    struct digest digest;         /* as above; of variants: over their messages */
};
/* All tensors of a checkpoint by name, without its own object graph. A tensor that is
 * stored in slices is one tensor. */
struct fp_weights {
    struct fp_tensor *v;
    int n;
    uint64_t n_bytes;
    struct digest id; /* names, dtypes, shapes and values; not how they are stored */
};
/* `b` may be NULL (a model without variables); it must outlive *out. Checks each
 * tensor's stored checksum too. ERR_NOTFOUND: a shard is missing; ERR_CORRUPT: cut
 * short, or a wrong checksum; ERR_UNSUPPORTED: a dtype without plain values. */
int fp_weights_of(struct fp_weights *out, struct sm_bundle *b,
                  struct err *err) MUST_CHECK;
void fp_weights_release(struct fp_weights *w); /* for AUTO */
const struct fp_tensor *fp_weights_find(const struct fp_weights *w, struct str name);

/* ---- meaning (fingerprint/fp_meaning.c) ---- */

/* What decides a model's answers, in parts: each part's digest moves only with that
 * part. What goes in and what stays out: fingerprint/fp_meaning.c. */
enum fp_part {
    FP_PART_GRAPH,   /* signatures, and the graph and functions behind them and behind
                        initialisation and restoring */
    FP_PART_OBJECTS, /* the object graph: callable objects, variables and their keys */
    FP_PART_ASSETS,  /* names and contents of asset files */
    FP_PART_WEIGHTS, /* fp_weights.id */
    FP_N_PARTS
};
const char *fp_part_name(enum fp_part p); /* "graph" */
struct fp_meaning {
    struct digest id;
    struct digest part[FP_N_PARTS];
};
/* The meaning of model `m` in directory `dirfd` (for its assets) with checkpoint `b`
 * (NULL: a model without variables) and its weights. ERR_NOTFOUND: an asset is missing.
 * ERR_CORRUPT, ERR_LIMIT: a malformed or too deeply nested graph. */
int fp_meaning_of(struct fp_meaning *out, const struct sm_model *m, int dirfd,
                  struct sm_bundle *b, const struct fp_weights *w,
                  struct err *err) MUST_CHECK;

/* All that identifies the model in `dirfd`, reading it once. */
struct fp_identity {
    struct fp_meaning meaning;
    struct digest weights;
    int n_tensors;
    uint64_t weights_bytes;
};
int fp_identity_of(struct fp_identity *out, int dirfd, const char *dir,
                   struct err *err) MUST_CHECK;

#endif
