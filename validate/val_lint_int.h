/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of lint share. */
#ifndef VALIDATE_VAL_LINT_INT_H
#define VALIDATE_VAL_LINT_INT_H

#include "validate/lint.h"
#include "validate/val_scan_int.h"

enum lint_rule {
#define LINT_RULE(id, severity, reason, fix) LINT_##id,
#include "validate/lint_rules.def"
    LINT_N_RULES
};
enum lint_severity { LINT_WARNING, LINT_ADVICE, LINT_N_SEVERITIES };

/* Where something was found; what does not apply is empty. */
struct lint_place {
    struct str signature, input, op, node, function, tensor, file;
    double bytes; /* that could be saved; 0: none, or not known */
};

struct lint {
    const struct val_lint_options *options;
    const struct sm_model *model;
    const struct sm_meta *meta; /* the one that is served */
    struct scan_graph *g;       /* of meta */
    struct sm_bundle *bundle;   /* NULL: no variables */
    int dirfd;
    const char *dir;
    cJSON *findings[LINT_N_SEVERITIES]; /* lists */
    int n[LINT_N_SEVERITIES];           /* the ones that were only counted too */
    cJSON *allowed;                     /* {name: count} */
    bool is_cut;                        /* a rule gave up: the graph is too big */
};
void lint_add(struct lint *l, enum lint_rule rule, const struct lint_place *at,
              const char *fmt, ...) PRINTF(4, 5);
/* "1.2 MB" */
void lint_size(struct buf *out, double bytes);
/* Bytes of a tensor's value; 0 when its size is not fixed. */
double lint_bytes(int dtype, const struct sm_shape *shape);

/* Counts by name: "Adam ×4, …", the most frequent first. */
struct lint_tally {
    struct scan_index names;
};
void lint_tally_text(struct lint_tally *t, struct buf *out); /* and releases */

/* ---- what runs for certain when a signature is called (val_lint_walk.c) ------------
 */

/* Back from the outputs, through functions; what stands behind a condition (Merge, If,
 * Case) is left out. */
struct lint_walk {
    struct scan_graph *g;
    uint8_t *seen; /* per node of all bodies */
    int *todo;     /* nodes */
    int n_todo;
};
void lint_walk_open(struct lint_walk *w, struct scan_graph *g);
void lint_walk_release(struct lint_walk *w); /* for AUTO */
void lint_walk_signature(struct lint_walk *w, const struct sm_signature *s);
int lint_node_body(const struct scan_graph *g, int node);

/* ---- what a graph says of shapes (val_lint_shape.c) --------------------------------
 */

/* The shape of the variable or constant behind a node's input; false: not known. `path`
 * are the calls that lead here, the last one into this body; without them a function
 * that is called from several places is not known either. */
bool lint_weight_shape(struct scan_graph *g, int body, struct str input,
                       const int *path, int n_path, struct sm_shape *out);
/* Ops that call a function with exactly their own inputs. */
bool lint_is_plain_call(const struct sm_node *n, const struct scan_call *c);
/* The name of argument `i` of a function; empty: it has fewer. */
struct str lint_argument_name(const struct scan_graph *g, int body, int i);

/* ---- rules -------------------------------------------------------------------------
 */

void lint_signatures(struct lint *l);                 /* val_lint_signature.c */
void lint_input_shapes(struct lint *l);               /* val_lint_shape.c */
void lint_constants(struct lint *l);                  /* val_lint_const.c */
void lint_training(struct lint *l);                   /* val_lint_train.c */
void lint_checkpoint(struct lint *l);                 /* val_lint_weights.c */
void lint_fine_tuning(struct lint *l, cJSON *report); /* val_lint_keras.c */
int lint_keras(struct lint *l, struct err *err) MUST_CHECK;
int lint_files(struct lint *l, struct err *err) MUST_CHECK; /* val_lint_files.c */

#endif
