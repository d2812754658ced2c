/* SPDX-License-Identifier: Apache-2.0 */
/* Golden sets whose expected outputs are what a version answered: nobody says they are
 * true, only that the version gave them. Inputs come from files (requests that somebody
 * kept) or are made up from the signatures (probes). */
#ifndef VALIDATE_RECORD_H
#define VALIDATE_RECORD_H

#include "validate/validate.h"

/* ---- requests in files (val_inputs.c) ------------------------------------------- */

/* What one input is, as its file says it. */
struct val_request {
    char *name; /* of its case: "log.jsonl:12" */
    /* NULL: the file does not say which; several: each gets the inputs. */
    char **signatures;
    int n_signatures;
    struct sm_tensor_list inputs; /* values may be JSON's, without a dtype yet */
    bool is_numpy; /* of another number dtype than the signature's: made its own */
};
void val_request_release(struct val_request *q); /* for AUTO */

struct val_input_file;
struct val_input {
    int file;
    int64_t place; /* record from 0, line from 1; 0: the whole file */
    struct str bytes;
};
struct val_inputs {
    struct val_input_file *files;
    int n_files;
    struct val_input *v; /* in the order of the files */
    int64_t n;
};
/* Adds the inputs of a file; its bytes say what it is: .npz, .npy (one input); a
 * TFRecord file of TF Serving's PredictionLogs (request logs, warm-up files) or
 * tf.Examples (one input a record); a TF Serving predict request in JSON (one input),
 * or lines of them, or of bare instances. ERR_NOTFOUND; ERR_INVALID: something else, or
 * empty; ERR_CORRUPT: a TFRecord file that is cut off. */
int val_inputs_add(struct val_inputs *in, const char *path, struct err *err) MUST_CHECK;
void val_inputs_release(struct val_inputs *in); /* for AUTO */
/* Leaves `n` of them, in their order: the first, or drawn by the seed. */
void val_inputs_first(struct val_inputs *in, int64_t n);
void val_inputs_sample(struct val_inputs *in, int64_t n, uint64_t seed);
/* The digest of a file's bytes. */
const struct digest *val_inputs_digest(const struct val_inputs *in, int file);
/* [{"file", "sha256"}] */
void val_inputs_describe(const struct val_inputs *in, cJSON *list);
/* Reads input i; what it says is lent by `in`. `meta` has the signatures that a session
 * run may stand for. Whatever is returned, out->name is set. ERR_INVALID, ERR_CORRUPT,
 * ERR_UNSUPPORTED: this input is none. */
int val_inputs_read(const struct val_inputs *in, int64_t i, const struct sm_meta *meta,
                    struct val_request *out, struct err *err) MUST_CHECK;

/* The body of a predict request to TF Serving: {"signature_name", "instances": […]}, or
 * {"signature_name", "inputs": …} (val_body.c). With is_line, what is no body is an
 * instance. ERR_INVALID says what is wrong with it. */
int val_body_read(struct str text, bool is_line, struct val_request *out,
                  struct err *err) MUST_CHECK;

/* ---- recording (val_record.c) --------------------------------------------------- */

#define VAL_RECORD_CASES_MAX 10000 /* what val_golden_load takes */
struct val_record_args {
    const struct backend_ops *ops;
    const char *model_dir, *tags;
    int64_t max_wall_ms, max_loop_steps; /* of one run; 0: the backend's default */
    bool sequential;        /* one session, else each from the loaded state */
    const char *outputs;    /* "a,b": only these; NULL: all */
    const cJSON *tolerance; /* of every case; NULL: none given */
    const char *way_out;    /* words for an error when nothing can be recorded */
    int dirfd;              /* an empty directory that becomes the set */
    const char *dir;        /* its path */
};
/* "abs=1e-3", "exact", or "OUTPUT:KIND=LIMIT" (of that output), as members of a case's
 * "tolerance". ERR_USAGE. */
int val_tolerance_read(const char *text, cJSON *tolerance, struct err *err) MUST_CHECK;

/* Writes a case's arrays and adds it to `cases`; the files of a whole set (both
 * documents are taken). ERR_UNSUPPORTED: a golden set has no form for a value. */
int val_write_case(const struct val_record_args *args, cJSON *cases, const char *name,
                   const char *signature, const struct sm_tensor_list *in,
                   const struct sm_tensor_list *out, struct err *err) MUST_CHECK;
int val_write_set(const struct val_record_args *args, cJSON *recorded, cJSON *cases,
                  struct err *err) MUST_CHECK;

struct val_recorder;
/* Loads the model. Errors of the backend. */
int val_record_open(struct val_recorder **out, const struct val_record_args *args,
                    struct err *err) MUST_CHECK;
void val_record_close_p(struct val_recorder **r); /* for AUTO */
/* Runs one input and keeps what it gave. An input that does not run, or cannot be kept,
 * is left out, and said so: 0 as well. -code: the system is in the way. The name is
 * made one that no other case has. */
int val_record_case(struct val_recorder *r, const char *name, const char *signature,
                    const struct sm_tensor_list *inputs, bool is_numpy,
                    struct err *err) MUST_CHECK;
/* One that never was an input. */
void val_record_leave_out(struct val_recorder *r, const char *name, const char *why,
                          enum err_code code);
/* Writes golden.json with `recorded` (taken; the count of those left out is added),
 * reads the set back and runs it again. Members of `report`: "cases" (how many),
 * "left_out": [{"name", "why"}], made also when the call fails. ERR_FAILED: an output
 * of the second run differs, names case, output and place. The error of the first that
 * was left out: all were. */
int val_record_end(struct val_recorder *r, cJSON *recorded, cJSON *report,
                   struct err *err) MUST_CHECK;

/* ---- probes (val_probe.c) ------------------------------------------------------- */

#define VAL_PROBE_BATCH "1,2,7,32"
struct val_probe_args {
    const char *signature; /* NULL: every one */
    const char *batch;     /* sizes; NULL: VAL_PROBE_BATCH */
    const cJSON *dims;     /* list of "x:1=12", "1=12", "x=12"; NULL: none */
    uint64_t seed;
    bool nonfinite; /* NaN and infinities too */
};
/* Makes the probes of the model's signatures; fn gets each with its signature (`inputs`
 * are lent until it returns). The same arguments and signatures give the same bytes.
 * `about` gets "inputs": [{"signature", "key", "dtype", "shape", "below"}], what is
 * fed, and "skipped": [{"signature", "why"}]. ERR_USAGE: arguments; ERR_NOTFOUND: no
 * such signature. */
typedef int val_probe_fn(void *arg, const char *name, const char *signature,
                         const struct sm_tensor_list *inputs, struct err *err);
int val_probe(const struct sm_meta *meta, const struct val_probe_args *args,
              val_probe_fn *fn, void *arg, cJSON *about, struct err *err) MUST_CHECK;

/* How many rows the smallest table has that an input's values are looked up in, as far
 * as the graph says so; 0: it does not (val_ids.c). */
struct scan_graph;
int64_t val_ids_below(struct scan_graph *g, const struct sm_tensor_info *input);
/* The node that parses an input's values as tf.Examples, and its body; -1: none does.
 */
int val_parse_node(struct scan_graph *g, const struct sm_tensor_info *input, int *body);

#endif
