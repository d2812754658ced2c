/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of scan share. */
#ifndef VALIDATE_VAL_SCAN_INT_H
#define VALIDATE_VAL_SCAN_INT_H

#include "savedmodel/savedmodel.h"
#include "validate/scan.h"

enum scan_class {
#define SCAN_CLASS(id, title, fix) SCAN_##id,
#include "validate/scan_ops.def"
    SCAN_N_CLASSES
};
enum scan_severity { SCAN_NOTE, SCAN_WARNING, SCAN_ERROR };
enum scan_how { SCAN_ALWAYS, SCAN_UNLESS_ASSET, SCAN_UNLESS_EMPTY, SCAN_UNLESS_SAVER };

struct scan_rule {
    const char *id, *title, *fix;
};
extern const struct scan_rule scan_classes[SCAN_N_CLASSES];
struct scan_op {
    const char *name;
    enum scan_class class_;
    enum scan_severity severity;
    enum scan_how how;
    int file_input; /* -1: none */
    const char *why;
};
const struct scan_op *scan_op_find(struct str name); /* NULL: harmless or unknown */
bool scan_is_tf_op(struct str name);                 /* TensorFlow 2.15 has it */

/* ---- names to numbers (val_scan_graph.c) -------------------------------------------
 */

/* Sorted: no hash that a model could be made to collide in. */
struct scan_index {
    struct scan_name {
        struct str s;
        int at;
    } * v;
    int n;
};
void scan_index_add(struct scan_index *x, struct str s, int at);
void scan_index_sort(struct scan_index *x);
/* The smallest number under that name; -1: none. */
int scan_index_find(const struct scan_index *x, struct str s);
void scan_index_release(struct scan_index *x);

/* ---- the graph and its functions ---------------------------------------------------
 */

struct scan_body {
    struct str name;      /* of the function; empty for the main graph, body 0 */
    struct str signature; /* OpDef */
    struct str raw;       /* FunctionDef */
    int first_node, n_nodes;
    struct scan_index names; /* of nodes; made by scan_body_find */
};
/* A node that names a function: as its op, or in an attribute however deep. */
struct scan_call {
    int body, node;  /* who calls */
    int callee;      /* a body */
    struct str attr; /* outermost attribute; empty: the op itself */
    bool is_weak;    /* named as a text or a gradient: may run, need not */
};
struct scan_graph {
    const struct sm_meta *meta;
    struct scan_body *bodies;
    int n_bodies;
    struct str *nodes; /* NodeDef messages, body after body */
    int n_nodes;
    struct scan_call *calls; /* ascending by body, node */
    int n_calls;
    int *first_call;             /* of a body; n_bodies + 1 of them */
    struct scan_index functions; /* to bodies */
    int64_t n_traced;            /* steps that scan_origin has taken */
    struct scan_index assets;    /* nodes of the main graph that hold asset paths */
};
int scan_graph_open(struct scan_graph *g, const struct sm_meta *meta,
                    struct err *err) MUST_CHECK;
void scan_graph_release(struct scan_graph *g); /* for AUTO */
struct sm_node scan_node(const struct scan_graph *g, int node);
/* A node of a body by its name; -1: none. */
int scan_body_find(struct scan_graph *g, int body, struct str name);
/* "node:0" or "^node" → "node" */
struct str scan_input_node(struct str input);
/* The i-th input that is no control input; false: it has fewer. */
bool scan_data_input(const struct sm_node *n, int i, struct str *out);
/* AssetFileDefs, of TF2 or of TF1's collection: moves *it on; *stage starts at 0. */
bool scan_next_asset(const struct sm_meta *meta, int *stage, struct str *it,
                     struct str *def);

/* Where a file name comes from, the worst of all ways to it. */
enum scan_origin_kind {
    SCAN_FROM_ASSET,
    SCAN_FROM_CONST, /* text says which */
    SCAN_FROM_FEED,  /* text is the placeholder */
    SCAN_FROM_OTHER
};
struct scan_origin {
    enum scan_origin_kind kind;
    struct str text;
};
struct scan_origin scan_origin(struct scan_graph *g, int body, struct str input);
/* A fixed text that goes into data input `i` and leaves the place the loader gives:
 * absolute, with ".." or with a scheme. Looks in this body only; false: none. */
bool scan_fixed_path(struct scan_graph *g, int body, int node, int i, struct str *out);

/* ---- who reaches what (val_scan_reach.c) -------------------------------------------
 */

enum scan_root_kind {
    SCAN_ROOT_SIGNATURE,
    SCAN_ROOT_LOAD,
    SCAN_ROOT_OBJECT, /* a function of the object graph, called from Python */
    SCAN_ROOT_SAVE,
    SCAN_ROOT_RESTORE
};
struct scan_root {
    enum scan_root_kind kind;
    struct str name;
    const struct sm_signature *signature; /* SCAN_ROOT_SIGNATURE */
};
const char *scan_root_text(enum scan_root_kind kind);
struct scan_reach {
    struct scan_root *roots;
    int n_roots;
    int64_t work; /* nodes looked at so far */
    bool is_cut;  /* the work grew too big: the rest of the roots was not followed */
    /* of the root followed last */
    uint8_t *node_seen; /* nodes of the main graph */
    int *body_from;     /* per body: the call that reached it, -1 none, -2 a root */
};
void scan_reach_open(struct scan_reach *r, const struct scan_graph *g);
void scan_reach_release(struct scan_reach *r); /* for AUTO */
/* Finds what root i reaches; false: too much work. */
bool scan_reach_follow(struct scan_reach *r, struct scan_graph *g, int i);
bool scan_reached(const struct scan_reach *r, const struct scan_graph *g, int body,
                  int node);
/* The way from the root followed last: names of nodes and functions by turns. */
cJSON *scan_reach_path(const struct scan_reach *r, const struct scan_graph *g, int body,
                       int node);

/* ---- findings -----------------------------------------------------------------------
 */

struct scan_finding {
    enum scan_class class_;
    enum scan_severity severity;
    const struct scan_op *def; /* of an op in the table, else NULL */
    int body, node;            /* node -1: no node; body -1: no graph either */
    char *file;                /* below the model, or NULL */
    char *message;
    bool is_dropped;
};
#define SCAN_MAX_FINDINGS 10000
struct scan {
    const struct val_scan_options *options;
    const char *model_file; /* "saved_model.pb", or the form that was read */
    struct scan_finding *v;
    int n;
    int64_t n_more;
    cJSON *allowed; /* {name: count} */
};
/* `op` may be NULL. What options allow is only counted. */
void scan_add(struct scan *s, enum scan_class class_, enum scan_severity severity,
              const struct sm_node *op, int body, int node, const char *fmt, ...)
    PRINTF(7, 8);
void scan_add_file(struct scan *s, enum scan_class class_, enum scan_severity severity,
                   const char *file, const char *fmt, ...) PRINTF(5, 6);

/* The shape of the structure itself (val_scan_shape.c). */
void scan_shape(struct scan *s, struct scan_graph *g);
/* Assets of a MetaGraph; every file below the directory (val_scan_files.c). */
void scan_assets(struct scan *s, const struct sm_meta *meta);
int scan_files(struct scan *s, int dirfd, struct err *err) MUST_CHECK;
/* Keras layers that are Python byte code: metadata of the object graph's objects. */
void scan_keras_metadata(struct scan *s, struct str object_graph);

/* ---- shared with lint ---------------------------------------------------------------
 */

/* An item of `list` ("A,B,C", may be NULL): then it is counted in `allowed`. */
bool scan_is_allowed(const char *list, cJSON *allowed, struct str name);
void scan_put_text(cJSON *o, const char *key, struct str s); /* as scan_text */
void scan_put_tags(cJSON *o, const char *key, const struct sm_meta *meta);
/* ERR_NOTFOUND: no such directory. */
int scan_open_dir(int *dirfd, const char *dir, struct err *err) MUST_CHECK;
/* A report with "findings" as SARIF: `tool` is its name, member `key` of a finding its
 * rule. */
cJSON *scan_sarif(const cJSON *report, const char *uri, const char *tool,
                  const char *key, const struct scan_rule *rules, int n_rules);

char *scan_text(struct str s); /* owned; control characters as \xNN, cut at 200 bytes */

#endif
