/* SPDX-License-Identifier: Apache-2.0 */
/* What only validate/ shares. */
#ifndef VALIDATE_VAL_INT_H
#define VALIDATE_VAL_INT_H

#include "validate/policy.h"

/* ---- inline values (val_inline.c) ----------------------------------------------- */

/* JSON numbers have no dtype until a signature asks for one: a tensor of this dtype
 * holds struct val_number[n_elems]. It never leaves this module. */
#define VAL_NUMBERS (-1)
struct val_number {
    enum { VAL_REAL, VAL_INT, VAL_UINT } kind; /* VAL_UINT: above INT64_MAX only */
    union {
        double real;
        int64_t i;
        uint64_t u;
    };
};

/* As json_parse, but takes NaN, Infinity and -Infinity, and keeps the text of numbers
 * that a double would damage: they become strings that begin with VAL_NUMBER_MARK,
 * which no string of the document may. */
#define VAL_NUMBER_MARK '\1'
int val_json_parse(cJSON **out, struct str text, const char *what,
                   struct err *err) MUST_CHECK;
/* A value of TF Serving's column form: a leaf or nested lists of numbers (VAL_NUMBERS),
 * of true and false (SM_BOOL), or of strings and {"b64": …} (SM_STRING). */
int val_inline(const cJSON *j, struct sm_tensor *out, struct err *err) MUST_CHECK;
/* Appends a tensor in that form. ERR_UNSUPPORTED: of complex numbers and the like. */
int val_inline_add(struct buf *out, const struct sm_tensor *t,
                   struct err *err) MUST_CHECK;
/* {"b64": …} and nothing else. */
bool val_inline_is_b64(const cJSON *j);
/* VAL_NUMBERS to `dtype`; ERR_INVALID names the number that does not fit. */
int val_inline_convert(const struct sm_tensor *numbers, int dtype,
                       struct sm_tensor *out, struct err *err) MUST_CHECK;

/* ---- TF Serving's REST API (val_serving.c) -------------------------------------- */

/* Appends a predict request. ERR_UNSUPPORTED as val_inline_add; ERR_LIMIT. */
int val_serving_request(const char *signature, const struct sm_tensor_list *in,
                        struct buf *out, struct err *err) MUST_CHECK;
/* The outputs of the signature that a parsed answer has. ERR_FAILED: it has none;
 * ERR_INVALID: a value that the output's dtype does not hold. */
int val_serving_answer(const struct sm_signature *sig, const cJSON *answer,
                       struct sm_tensor_list *out, struct err *err) MUST_CHECK;

/* A number in [0, n), n > 0, from a state that it moves on; any state will do. */
uint64_t val_random_below(uint64_t *state, uint64_t n);

/* ---- golden files (val_golden.c) ------------------------------------------------ */

/* val_golden_load on the text of golden.json; arrays are looked for below dirfd. */
int val_golden_parse(struct val_golden *out, struct str text, int dirfd,
                     const char *file, struct err *err) MUST_CHECK;
/* "limits" of golden.json (val_limits.c): never above the backend's own. */
int val_limits_load(struct val_golden *g, const cJSON *doc, struct err *err) MUST_CHECK;
/* An object of kinds is added to the case's tolerances; `output` NULL: the case's own,
 * which may hold "outputs". */
int val_tolerances_load(struct val_case *c, const char *output, const cJSON *obj,
                        struct err *err) MUST_CHECK;
/* "slices" of golden.json, after its cases (val_slice.c). ERR_INVALID: no case has the
 * tag of one that is not optional. */
int val_slices_load(struct val_golden *g, const cJSON *doc, struct err *err) MUST_CHECK;
void val_slices_release(struct val_golden *g);
bool val_case_has_tag(const struct val_case *c, const char *tag);
/* A set with neither expected outputs nor a metric with a limit would pass whatever the
 * model answers: ERR_INVALID. */
int val_golden_judges(const struct val_golden *g, struct err *err) MUST_CHECK;

/* ---- binding (val_bind.c) ------------------------------------------------------- */

/* Expected outputs: names and inline numbers; arrays of files stay as they are. */
int val_bind_expected(struct sm_tensor_list *expected,
                      const struct backend_signature *sig, struct err *err) MUST_CHECK;
/* A signature as a backend would tell it, from the model's files; owns its keys. */
struct val_signature {
    struct backend_signature sig;
    struct backend_tensor *tensors; /* inputs, then outputs */
    char **keys;                    /* theirs, then the signature's own */
    bool odd; /* has sparse or composite ones, which are fed part by part */
};
void val_signature_make(struct val_signature *out, const struct sm_signature *from);
void val_signature_release(struct val_signature *s); /* for AUTO */
/* A list whose tensors borrow from `from`. */
void val_borrow(struct sm_tensor_list *out, const struct sm_tensor_list *from);

/* ---- elements (val_elem.c) ------------------------------------------------------ */

enum val_family {
    VAL_F_NONE,
    VAL_F_FLOAT,
    VAL_F_COMPLEX,
    VAL_F_INT,
    VAL_F_BOOL,
    VAL_F_STRING
};
extern const char *const val_family_names[];
enum val_family val_family_of(int dtype);
bool val_is_int(int dtype);
bool val_is_float(int dtype);
/* Integers, bools and strings: exact unless a tolerance names the output. */
bool val_is_discrete(int dtype);

/* Integers and bools; of a uint64 its bits. */
int64_t val_int_at(const struct sm_tensor *t, int64_t i);
bool val_is_huge(const struct sm_tensor *t, int64_t i);   /* a uint64 above INT64_MAX */
double val_real_at(const struct sm_tensor *t, int64_t i); /* all but strings */
double val_imag_at(const struct sm_tensor *t, int64_t i); /* 0 where there is none */
struct str val_string_at(const struct sm_tensor *t, int64_t i); /* no NULs at its end */
bool val_is_finite_at(const struct sm_tensor *t, int64_t i);
/* The same value of the same family; NaN is the same as NaN. */
bool val_same_at(const struct sm_tensor *a, const struct sm_tensor *b, int64_t i);
/* |a - b|; 0 where both are the same, infinities included. */
double val_diff_at(const struct sm_tensor *a, const struct sm_tensor *b, int64_t i);
double val_size_at(const struct sm_tensor *t, int64_t i); /* |t| */

/* ---- comparison (val_compare.c) ------------------------------------------------- */

const char *val_tol_name(enum val_tol_kind kind); /* "rel_max" */
int val_tol_find(const char *name);               /* -1: there is no such kind */
#define VAL_REL_MAX_DEFAULT 1e-5 /* of floats where a set says nothing */
/* Whether a tolerance of the case is one that the output must keep: its own; when it
 * has none and is of floats, those of the case. Without any, VAL_REL_MAX_DEFAULT
 * counts, or what is discrete must be the same. */
bool val_tolerance_counts(const struct val_case *c, const struct val_tolerance *t,
                          const char *output, int dtype);
/* An element of a row of n that the k largest of both do not agree on, ties forgiven;
 * -1: they do. */
int64_t val_top_k_differs(const struct sm_tensor *got, const struct sm_tensor *want,
                          int64_t row, int64_t n, int64_t k);
/* Members "at" (an index a dimension), "got" and "want" (texts) of an element; -1:
 * nothing. */
void val_put_place(cJSON *o, const struct sm_tensor *got, const struct sm_tensor *want,
                   int64_t at);

/* ---- metrics (val_metric.c) ----------------------------------------------------- */

/* Reads one object of "metrics", all of it. ERR_INVALID names the key. */
int val_metric_load(struct val_metric *m, const cJSON *j, struct err *err) MUST_CHECK;
void val_metric_release(struct val_metric *m);
bool val_metric_has_limit(const struct val_metric *m);
/* Members "min", "max", "max_drop" and "max_drop_relative", those that it has. */
void val_metric_put_limits(cJSON *o, const struct val_metric *m);
/* "≥ 0.93", "≤ 0.2"; "" without a limit of its value. */
void val_metric_bounds(const struct val_metric *m, struct buf *out);
/* The labels of a case that a metric uses; NULL: it has none, or not the tag. */
const struct sm_tensor *val_metric_labels(const struct val_metric *m,
                                          const struct val_case *c);
/* "accuracy ≥ 0.93, not worse than production by more than 0.01"; "" without limits. */
void val_limits_text(const struct val_golden *g, struct buf *out);
/* A number for people, with more digits where it would look like `other`. */
void val_add_number(struct buf *out, double v, double other);

/* ---- running (val_run.c) -------------------------------------------------------- */

/* The model as the set wants it: its tags and limits. */
int val_load(const struct val_golden *g, const struct backend_ops *ops, const char *dir,
             struct backend **out, struct err *err) MUST_CHECK;
/* Case i, its inputs bound, from the loaded state unless the set is sequential. */
int val_run_case(const struct val_golden *g, int i, const struct backend_ops *ops,
                 struct backend *b, struct sm_tensor_list *out,
                 struct err *err) MUST_CHECK;
/* The system is in the way; every other error is said about the model or its input. */
bool val_is_ours(const struct err *e);
/* What the program of an exec: backend ends with (val_exec.c), as sluice-http does. */
enum { VAL_EXIT_UNSUPPORTED = 3, VAL_EXIT_AWAY = 75 };

/* ---- reports (val_summary.c, val_document.c) ------------------------------------ */

/* A string member of a report's object; "" when there is none. */
const char *val_text(const cJSON *obj, const char *key);
/* Appends `text`, a list cut to its first names "…, and N more". */
void val_add_short(struct buf *out, const char *text);
/* The limits that runs of a report had, 0 replaced by what it means. */
void val_put_limits(cJSON *report, const struct backend_args *limits);
/* Members "number" and "digest". */
void val_put_version(cJSON *o, const struct repo_version *v);
/* Another summary than the report has. */
void val_report_problem(cJSON *report, const char *summary);
/* One line from a report: what failed, or what was found good. */
void val_report_summary(const cJSON *report, enum val_outcome outcome, struct buf *out);

/* ---- drops (val_drop.c) --------------------------------------------------------- */

/* A metric's max_drop against the version that is live (0: none). */
struct val_drop {
    enum { VAL_DROP_OK, VAL_DROP_TOO_BIG, VAL_DROP_UNKNOWN, VAL_DROP_NO_LIVE } state;
    int64_t live_number; /* 0: nothing is live */
    double live_value;   /* NaN: not known */
    char why[768];       /* one line, for any state but OK */
    char fix[768];       /* the command that would make it known, or "" */
};
/* `metric` is an object of a report's "metrics" with "max_drop". */
int val_drop_check(struct repo *r, const struct repo_version *v,
                   const struct digest *set, const cJSON *metric, int64_t live_id,
                   struct val_drop *out, struct err *err) MUST_CHECK;

/* ---- sets (val_set.c) ----------------------------------------------------------- */

/* A digest column; false: the blob has another length. */
bool val_read_digest(struct db_stmt *st, int col, struct digest *out);
/* The limits of a set as val_limits_text put them when it was added. */
int val_set_limits(struct repo *r, const struct val_set *s, struct buf *out,
                   struct err *err) MUST_CHECK;

/* ---- policies and the gate ------------------------------------------------------- */

/* The policy that counts for a key and a model. */
struct val_policy_now {
    struct buf rules;
    char set_by[64];
    int64_t created_ns;
    int64_t age_ns; /* of the store when it was set; -1: not known */
};
void val_policy_now_release(struct val_policy_now *p); /* for AUTO */
/* 1, 0: none. */
int val_policy_find(struct repo *r, const char *key, const char *model,
                    struct val_policy_now *out, struct err *err) MUST_CHECK;

/* Calls fn for the alias's key, then each target's. */
int val_keys(const struct val_gate_args *args,
             int (*fn)(void *arg, const char *key, struct err *err), void *arg,
             struct err *err) MUST_CHECK;

/* What one gate of a policy found. */
struct val_answer {
    struct buf wanted, saw, fix;
    struct buf said; /* what somebody else answered, word for word: evidence */
    bool ok;
    bool waits; /* for people whom a request asks already */
};
void val_answer_release(struct val_answer *a); /* for AUTO */
/* The gates that look at the verdicts on golden sets (val_gate_set.c). */
struct val_look;
struct val_set_gate {
    const char *name;
    const char *sets; /* VAL_EXPORT_SET; NULL: its own value names them, "": "set" */
    int (*ask)(struct val_look *l, struct err *err);
};
#define VAL_EXPORT_SET "export" /* no acceptance set has this name */
/* The gate that a rule names (rule NULL: that they were passed), and the sets it is
 * asked for: "*", VAL_EXPORT_SET or the name of an acceptance set. NULL: no such gate.
 */
const struct val_set_gate *val_set_gate(const cJSON *rule_or_null, const char **sets);
/* Its answer for one set, and its name there. */
int val_set_gate_ask(const struct val_set_gate *gate, struct repo *r,
                     const struct val_gate_args *args, const cJSON *rule_or_null,
                     const struct val_set *s, struct buf *name, struct val_answer *out,
                     struct err *err) MUST_CHECK;
/* Budgets of a policy against what a verdict measured ("times" of its document);
 * without `beside`, shares of a baseline are not asked. */
int val_budgets_look(const cJSON *list, const cJSON *times, bool beside,
                     bool allow_unsure, struct val_answer *out,
                     struct err *err) MUST_CHECK;
/* `rule` names it; ERR_INVALID: none of val_gate_more.c's. */
int val_gate_more(struct repo *r, const struct val_gate_args *args, const cJSON *rule,
                  const struct val_policy_now *policy, const char **name,
                  struct val_answer *out, struct err *err) MUST_CHECK;
/* The gate "approvals". */
int val_ask_approvals(struct repo *r, const struct val_gate_args *args,
                      const cJSON *rule, struct val_answer *out,
                      struct err *err) MUST_CHECK;
/* How long ago something was, by the store's age; -1: that is not known. */
int val_since(struct repo *r, int64_t then_age_ns, int64_t *out_ns,
              struct err *err) MUST_CHECK;

#endif
