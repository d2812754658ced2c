/* SPDX-License-Identifier: Apache-2.0 */
/* Golden sets, comparison, verdicts and the gate.
 *
 * A golden set is a directory with golden.json (docs/formats.md). Export sets come with
 * a version and show that the export equals the framework; acceptance sets belong to
 * the model and carry labels and metric limits. A verdict is bound to the version's
 * digest, the golden set's digest, the backend and its limits. */
#ifndef VALIDATE_VALIDATE_H
#define VALIDATE_VALIDATE_H

#include "base/json.h"
#include "repo/repo.h"
#include "runtime/backend.h"
#include "savedmodel/savedmodel.h"

extern const struct db_schema val_schema; /* golden_set, verdict, policy */

/* ---- golden files --------------------------------------------------------------- */

/* a: what the model gave, b: what was expected. All but top_k and exact also want NaN
 * and infinities at the same places. Integers are taken as numbers; strings are always
 * exact (NULs at their end aside, which NumPy cannot keep). */
enum val_tol_kind {
    VAL_REL_MAX,  /* max|a-b| <= limit * max(1, max|b|) */
    VAL_ABS,      /* max|a-b| <= limit */
    VAL_MEAN_ABS, /* mean|a-b| <= limit */
    VAL_REL,      /* |a-b| <= limit * |b| for each element */
    VAL_ULP,      /* at most so many steps of a's dtype apart, for each element */
    VAL_COSINE,   /* 1 - cos(a, b) <= limit for each row (along the last axis) */
    VAL_TOP_K,    /* the same `limit` largest of each row, ties forgiven */
    VAL_EXACT     /* equal; NaN equals NaN */
};
/* Several for one output must all hold. */
struct val_tolerance {
    char *output; /* NULL: every float or complex output without one of its own */
    enum val_tol_kind kind;
    double limit;
};
struct val_case {
    char *name;
    char *signature;
    struct sm_tensor_list inputs;
    struct sm_tensor_list expected; /* n = 0: none given */
    struct sm_tensor_list labels;   /* n = 0: none given */
    struct val_tolerance *tolerances;
    int n_tolerances;
    char **tags; /* slices it belongs to */
    int n_tags;
};
/* A metric of metrics.def over the labels of all cases, or of those with a tag. Limits
 * that are NaN were not given. "Worse" is lower, or higher where lower is better. */
struct val_metric {
    char *metric; /* "accuracy" */
    char *output; /* output key */
    char *labels; /* label key */
    char *tag;    /* of the cases it looks at; "": all of them */
    char *title;  /* "f1 (macro, tag fr)": what tells it from others of its output */
    enum { VAL_BINARY, VAL_MICRO, VAL_MACRO, VAL_WEIGHTED } average;
    double threshold; /* of one score a row: above it is class 1 */
    int positive;     /* the class that binary averages look at */
    int k;            /* of top_k_accuracy */
    bool logits;      /* sigmoid or softmax comes first */
    bool higher_is_better;
    double min, max;          /* of the value */
    double max_drop;          /* how much worse than the baseline, ... */
    double max_drop_relative; /* ... in shares of the baseline's value */
    char *baseline; /* alias that drops are measured against; "production" when left
                       out */
};
/* Cases with a tag, for thresholds of their own. Tolerances of a slice stand in those
 * of its cases that gave none themselves; of several slices all hold. */
struct val_slice {
    char *tag;
    bool optional; /* may have no case */
    int n_cases;
};
struct val_golden {
    bool acceptance; /* kind */
    bool sequential;
    char *tags; /* "serve" */
    char *owner;
    char
        *recorded; /* "fraud@3 sha256:…": its answers, which nobody says are true; "" */
    cJSON *budgets;   /* as given: ["p99_ms=5"]; NULL: none */
    cJSON *recording; /* all that the file says of that; NULL: nothing was recorded */
    struct val_case *cases;
    int n_cases;
    struct val_metric *metrics;
    int n_metrics;
    struct backend_args limits; /* that its runs have; 0: the backend's own */
    struct val_slice *slices;
    int n_slices;
    struct buf *files; /* array files, which the tensors above may borrow from */
    int n_files;
};
/* `file` is golden.json (or its directory); arrays lie beside it, never outside. Inline
 * arrays take their dtype when the signature is known (val_bind); until then they are
 * of use to this module only. An array without a key has the name "". Case names are
 * fit to be names of files. ERR_INVALID names file, case and key; ERR_NOTFOUND: no such
 * set. */
int val_golden_load(struct val_golden *out, const char *file,
                    struct err *err) MUST_CHECK;
void val_golden_release(struct val_golden *g);
/* Gives inline JSON arrays (which have no dtype of their own until then), and inputs
 * whose file dtype may be converted (bfloat16 kept as float32, qint8 as int8), the
 * dtype that the signature asks for. ERR_INVALID: no such input, a number that does not
 * fit, another dtype. Missing inputs are the backend's to report. */
int val_bind(struct sm_tensor_list *inputs, const struct backend_signature *sig,
             struct err *err) MUST_CHECK;

/* Whether the cases are what a model's signatures take and give: names, dtypes, shapes,
 * and as many labels as rows. ERR_INVALID names case and key; ERR_NOTFOUND: no such
 * model, tags or signature. Nothing is run. */
int val_golden_fits(const struct val_golden *g, const char *model_dir,
                    struct err *err) MUST_CHECK;
/* Appends the inputs of every case as TF Serving's warm-up records; dtypes are those of
 * the signatures of `model_dir`. ERR_LIMIT: more cases than TF Serving takes. */
int val_golden_warmup(const struct val_golden *g, const char *model_dir,
                      const char *model, struct buf *out, struct err *err) MUST_CHECK;
/* Members of `to` that tell what a set asks: cases, arrays, tolerances, metrics. */
void val_golden_describe(const struct val_golden *g, cJSON *to);

/* How far a set's tolerances may go. {"rel_max": 1e-3, "top_k": 1}: every output that a
 * case judges needs a tolerance of one of these kinds that is no looser (top_k: no
 * smaller), or exact; more beside it are harmless, since all must hold. */
struct val_caps {
    double limit[VAL_EXACT + 1]; /* by kind; NaN: no tolerance of this kind will do */
};
int val_caps_parse(const cJSON *caps, struct val_caps *out, struct err *err) MUST_CHECK;
/* ERR_REFUSED names case, output, what the set allows itself and the cap. */
int val_set_check_caps(const struct val_golden *g, const struct val_caps *caps,
                       struct err *err) MUST_CHECK;

/* ---- comparison ----------------------------------------------------------------- */

struct val_diff {
    bool ok;
    bool is_alike; /* family and shape agree: the elements were compared */
    double worst;  /* in units of the tolerance's kind; top_k, exact: how many differ */
    int64_t worst_at; /* flat index of the worst (or first) such element, -1: none */
    char why[512]; /* "p: error 0.031 > 1e-05 at [4, 7]: 0.93, not 0.96"; "" when ok */
};
/* One output against what was expected. Shapes and families of dtypes (float, complex,
 * integer, bool, string) must agree. */
void val_compare(const char *output, const struct sm_tensor *got,
                 const struct sm_tensor *want, enum val_tol_kind kind, double limit,
                 struct val_diff *out);

/* ---- running a set -------------------------------------------------------------- */

/* Runs every case on a freshly loaded backend (from the loaded state each, or in one
 * session when sequential). For each case, result() gets the outputs or the error;
 * returning < 0 stops. Used by `run --golden` and by judging. */
struct val_result {
    const struct val_case *c;
    const struct sm_tensor_list *outputs; /* NULL when failed */
    const struct err *error;              /* NULL when it ran */
    double load_ms, run_ms;
};
int val_run_cases(const struct val_golden *g, const struct backend_ops *ops,
                  struct backend *b,
                  int (*result)(void *arg, const struct val_result *res,
                                struct err *err),
                  void *arg, struct err *err) MUST_CHECK;

/* Inconclusive: a budget lies inside the noise of what was measured, and nothing else
 * is wrong. Of two the worse: failed, unsupported, inconclusive, passed. */
enum val_outcome { VAL_PASSED, VAL_FAILED, VAL_UNSUPPORTED, VAL_INCONCLUSIVE };
const char *val_outcome_text(enum val_outcome o);
enum val_outcome val_outcome_worse(enum val_outcome a, enum val_outcome b);
/* Judges one model directory by one set. A model that does not load, ends with an
 * error, answers otherwise or misses a limit has failed; what the backend lacks an op
 * for is unsupported, never passed. `report` (the caller frees it) is told in
 * val_judge.c. Integers, bools and strings are exact unless a tolerance names the
 * output; 1e-5 rel_max when no tolerance is given. max_drop is not looked at: a
 * directory has no baseline. ERR_INVALID: the set judges nothing. ERR_NOTFOUND: no such
 * model or tags, no runner. ERR_IO and the like: the system is in the way. Then there
 * is no verdict, *report NULL. */
int val_judge_dir(const char *model_dir, const struct val_golden *g,
                  const struct backend_ops *ops, enum val_outcome *out, cJSON **report,
                  struct err *err) MUST_CHECK;

/* ---- budgets -------------------------------------------------------------------- */

/* What is measured, side by side where a baseline is given (NULL: none). */
struct val_sides {
    const char *dir, *baseline_dir;
    double size_mb, baseline_size_mb;
};
/* A list of texts, "p99_ms=5" or "load_ms=+10%" of the baseline's. ERR_INVALID. */
int val_budgets_check(const cJSON *list, struct err *err) MUST_CHECK;
/* The set's own budgets and those asked for, which the report gets as "budgets" (the
 * set's are bound by its digest); NULL: none. The caller frees it. */
cJSON *val_budgets_all(const struct val_golden *g, const cJSON *asked_or_null,
                       cJSON *report);
/* Adds a check for each budget to the report of a set that passed; the outcome may
 * become failed or inconclusive. What was measured goes to times.measured. */
int val_budgets_judge(const cJSON *list, const struct val_sides *sides,
                      const struct val_golden *g, const struct backend_ops *ops,
                      cJSON *report, enum val_outcome *outcome,
                      struct err *err) MUST_CHECK;

/* ---- beside a baseline ---------------------------------------------------------- */

struct val_beside {
    double max_flips; /* share of decisions; NaN: any */
    double max_shift; /* of an output's mean, either way; NaN: any */
    bool optional;    /* a baseline that does not exist is no failure */
};
/* Runs the cases of a set on both models and tells what flips and shifts (`report` is
 * told in val_baseline.c; the caller frees it). Without limits any difference passes,
 * but not outputs that cannot be set side by side, or a model that does not answer. */
int val_beside_dir(const char *dir, const char *baseline_dir,
                   const struct val_golden *g, const struct backend_ops *ops,
                   const struct val_beside *limits, enum val_outcome *out,
                   cJSON **report, struct err *err) MUST_CHECK;
/* Adds that to the report of the set, as "baseline" with its checks; *outcome becomes
 * the worse of both. `beside` NULL: `ref` names nothing, which fails unless that is
 * optional. base NULL: none, or a directory. */
void val_beside_put(cJSON *report, cJSON *beside, const char *ref,
                    const struct repo_version *base, const struct val_beside *limits,
                    enum val_outcome seen, enum val_outcome *outcome);

/* Adds "trace" to a report in which a case failed or a decision flipped: the first
 * tensor at which `dir` parts from `against_dir` on that case, and what of it differs
 * (val_trace_tell.c). It is a note: the outcome stays. `ref` is what the other side is
 * called; VAL_TRACE_PASSES: the same model, planned without passes, which is also taken
 * where `ops` shows outputs only. Without another side the note says what is needed. */
#define VAL_TRACE_PASSES "passes"
int val_trace_dir(const char *dir, const char *against_dir_or_null, const char *ref,
                  const struct val_golden *g, const struct backend_ops *ops,
                  cJSON *report, struct err *err) MUST_CHECK;

/* "native" (NULL), "exec:CMD", "http://HOST:PORT/v1/models/NAME": whose `where` borrows
 * from `spec`. val_exec.c says what CMD must do. ERR_USAGE: none of these. */
int val_backend(const char *spec, struct backend_ops *out, struct err *err) MUST_CHECK;

/* ---- sets and verdicts in the store --------------------------------------------- */

struct val_set {
    int64_t id;
    char model[REPO_NAME_BYTES];
    char name[REPO_ALIAS_BYTES]; /* export sets: "export" */
    bool acceptance;
    int64_t version_id;   /* export sets; 0 otherwise */
    struct digest digest; /* of the set's manifest */
    int64_t number;       /* of the sets of its name: 1, 2, 3 … */
    int64_t created_ns;
    int64_t replaced_ns; /* by a newer one, or deleted; 0: it counts */
    char added_by[64];
    char owner[64]; /* who may replace it; first who added it */
    /* "fraud@3 sha256:…": its expected outputs are that version's answers; "": they are
     * said to be true */
    char recorded[REPO_NAME_BYTES + 24 + REPO_DIGEST_BYTES];
};
/* Whether the actor may add an acceptance set of that name: 1 and *old, which counts
 * now; 0: there is none yet. ERR_INVALID, ERR_DENIED as val_set_add. */
int val_set_may_add(struct repo *r, const char *model, const char *name,
                    struct val_set *old, struct err *err) MUST_CHECK;
/* Records an ingested set, in the caller's transaction, after reading it as a judge
 * will. version NULL: an acceptance set of `model`, which need not have a version yet,
 * named `name`. A new set replaces the one of the same name (of the same version) that
 * counts; old ones stay on record. The same bytes again change nothing. owner NULL: as
 * it was, or the actor. ERR_INVALID: malformed, of the other kind, judges nothing.
 * ERR_DENIED: an acceptance set of a model that the actor pushed, or of another owner
 * (not asked of the store's owner). */
int val_set_add(struct repo *r, const char *model,
                const struct repo_version *version_or_null, const char *name,
                const struct repo_ingest *stored, bool acceptance,
                const char *owner_or_null, struct val_set *out,
                struct err *err) MUST_CHECK;
/* `set` is NAME, NAME@2 (the second of that name), or export@3 (of version 3). */
int val_set_find(struct repo *r, const char *model, const char *set,
                 struct val_set *out, struct err *err) MUST_CHECK;
/* Its files and what they say; the caller closes and releases both, whatever is
 * returned. */
int val_set_open(struct repo *r, const struct val_set *s, struct repo_view *view,
                 struct val_golden *out, struct err *err) MUST_CHECK;
/* An acceptance set counts no more; it stays on record. In the caller's transaction.
 * ERR_DENIED as val_set_add. */
int val_set_delete(struct repo *r, const char *model, const char *name,
                   struct val_set *out, struct err *err) MUST_CHECK;
/* All that a model ever had, acceptance sets first; of one name the oldest first. */
int val_sets_all(struct repo *r, const char *model,
                 int (*fn)(void *arg, const struct val_set *s, struct err *err),
                 void *arg, struct err *err) MUST_CHECK;
/* Sets that apply to a version: its export set, then the model's acceptance sets by
 * name. fn may write and commit. */
int val_sets(struct repo *r, const char *model, int64_t version_id,
             int (*fn)(void *arg, const struct val_set *s, struct err *err), void *arg,
             struct err *err) MUST_CHECK;

struct val_verdict {
    int64_t id;
    int64_t version_id;
    struct digest version_digest, set_digest;
    char set_name[REPO_ALIAS_BYTES];
    bool acceptance;
    enum val_outcome outcome;
    char backend[64];
    int64_t created_ns;
    char made_by[64];
    char *report_json; /* owned: the document, canonical */
    bool is_signed;    /* older ones are not */
    uint8_t signature[64];
};
void val_verdict_release(struct val_verdict *v);
/* What one judging asks for besides its set; all of it is lent. */
struct val_ask {
    const cJSON *budgets;                /* as those of a set; NULL: none */
    const char *baseline_ref;            /* NULL: beside no baseline; budgets: beside
                                            what is live on production */
    const struct repo_version *baseline; /* NULL: the ref names none */
    struct val_beside beside;
    bool trace;                               /* val_trace_dir, too */
    const char *trace_ref;                    /* NULL: there is no other side */
    const struct repo_version *trace_against; /* NULL: trace_ref is no version */
};
/* Judges a version by one stored set in a view of the store (no transaction open), then
 * the caller records it in its own transaction. Metrics with max_drop are compared with
 * the newest verdict of the version that is live on their baseline alias; none live, or
 * live without a verdict: noted, not failed (the gate asks again). */
int val_judge_version(struct repo *r, const struct repo_version *v,
                      const struct val_set *s, const struct val_ask *ask_or_null,
                      const struct backend_ops *ops, struct val_verdict *out,
                      struct err *err) MUST_CHECK;
/* Brings the document into its one form and signs it. */
int val_verdict_add(struct repo *r, struct val_verdict *v, struct err *err) MUST_CHECK;
/* The newest verdict of a version on a set (by its digest): 1, 0 none, -code. */
int val_verdict_newest(struct repo *r, int64_t version_id,
                       const struct digest *set_digest, struct val_verdict *out,
                       struct err *err) MUST_CHECK;
int val_verdicts(struct repo *r, int64_t version_id,
                 int (*fn)(void *arg, const struct val_verdict *v, struct err *err),
                 void *arg, struct err *err) MUST_CHECK;

#define VAL_NO_VERDICT                                                                 \
    "there is no verdict %" PRId64 ": sluice inspect lists those of a version"
int val_verdict_get(struct repo *r, int64_t id, struct val_verdict *out,
                    struct err *err) MUST_CHECK; /* ERR_NOTFOUND */

/* ---- the verdict's document (docs/formats.md, "Verdicts") ------------------------ */

/* One thing that was asked, for every export: "case first: y", "metric f1". Its names
 * are a report's own, sorted nowhere; `ok` false is a failure. */
void val_check_add(cJSON *report, const char *id, const char *wanted, const char *saw,
                   bool ok);
/* The object of all that depends on time; with a key, an object in it. Only what lies
 * there may differ when the same is judged again. */
cJSON *val_times(cJSON *report, const char *key_or_null);
double val_number(const cJSON *obj, const char *key); /* a member; NaN: there is none */
/* Makes a report the whole document: checks, subject and the like. `v`, `s` and `actor`
 * NULL: a directory in no store. */
void val_document(cJSON *report, enum val_outcome outcome, const struct repo_version *v,
                  const struct val_set *s, const char *actor, int64_t time_ns);
/* The in-toto Statement v1 about it, and what DSSE signs of that. */
void val_statement(const struct val_verdict *v, struct buf *out);
void val_statement_pae(const struct val_verdict *v, struct buf *out);
/* The DSSE envelope, canonical. ERR_NOTFOUND: it was never signed. */
int val_envelope(struct repo *r, const struct val_verdict *v, struct buf *out,
                 struct err *err) MUST_CHECK;
/* What differs between two documents but for their times, as elements of `list`:
 * {"where", "was", "is"}; the number of them. */
int val_document_diff(const cJSON *was, const cJSON *is, cJSON *list);

/* A document for others to read. ERR_USAGE lists the forms there are: json, dsse,
 * junit, sarif, markdown, html. dsse is val_envelope's. `compared` (NULL allowed) has
 * what is known against the live version: {"with", "signatures": [{"signature", "why",
 * "breaks_callers"}], "tensors_changed", "tensors"}. */
int val_export(const cJSON *doc, const cJSON *compared, const char *form,
               struct buf *out, struct err *err) MUST_CHECK;

/* What changed in the signatures from a to b, as elements of `list`: {"signature",
 * "change", "breaks_callers", "why"}. Returns whether a caller of a fails on b. */
bool val_diff_signatures(cJSON *list, const struct sm_meta *a, const struct sm_meta *b);

/* ---- the gate (policies and approvals: validate/policy.h) -------------------------
 */

struct val_gate_args;
/* What the gate asks of those that stand above this module. */
struct val_outside {
    /* For how long a version has had traffic of an alias, by the store's age. */
    int (*served)(struct repo *r, const struct repo_version *v, const char *alias,
                  int64_t *out_ns, struct err *err);
    /* How long ago, by the store's age, a rollback of the alias was rehearsed and seen
     * to be answered with: 1, 0 never, 2 nothing to go back to yet. */
    int (*drilled)(struct repo *r, const char *model, const char *alias,
                   int64_t *ago_ns, struct err *err);
    /* Runs STORE/hooks/gate-NAME. 1 yes, 0 no; what it said is appended. */
    int (*program)(struct repo *r, const struct val_gate_args *args, const char *name,
                   struct buf *said, struct err *err);
};

/* The one gate function: every verb that can give a version traffic it did not have
 * calls it. Asks version state (ready), the bad mark unless `again`, freeze, then each
 * gate of the policies on the alias and on the targets that show it. No policy: passes.
 * It changes nothing; outside a transaction, because it may look into files. `report`
 * (always made, the caller frees it): JSON array, one object a gate:
 * {"gate","wanted","saw","ok","fix"} where fix is what would satisfy it. ERR_REFUSED:
 * the message has a line "  gate: wanted …; saw …; fix" for each that said no. */
struct val_gate_args {
    const struct repo_version *version;
    const char *alias;
    int64_t live_version_id;   /* 0: nothing is live */
    bool marked_bad;           /* deploy/ knows */
    bool again;                /* --again */
    const char *frozen_reason; /* NULL: not frozen */
    int64_t live_release;      /* its number; 0: nothing is live */
    char *const *targets;      /* names of those that show the alias */
    int n_targets;
    const char *reason;         /* of the change; may be NULL */
    const char *break_glass;    /* why the policy does not count; NULL: it does */
    struct val_outside outside; /* without one, such gates refuse */
};
int val_gate(struct repo *r, const struct val_gate_args *args, cJSON **report,
             struct err *err) MUST_CHECK;
/* What a quarantined version must show: a passing newest verdict on its export set and
 * on every acceptance set of its model, and at least one set. Report and ERR_REFUSED as
 * val_gate's. */
int val_checks(struct repo *r, const struct repo_version *v, cJSON **report,
               struct err *err) MUST_CHECK;

#endif
