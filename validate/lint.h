/* SPDX-License-Identifier: Apache-2.0 */
/* lint: advice on a SavedModel that is to be served. Reads files only; nothing is
 * loaded or run. The rules stand in validate/lint_rules.def. */
#ifndef VALIDATE_LINT_H
#define VALIDATE_LINT_H

#include "base/json.h"

struct sm_model;
struct sm_meta;

struct val_lint_options {
    const struct sm_model *model; /* the one in the directory; NULL: to be opened */
    /* The MetaGraph to look at; NULL: the one tagged "serve", else the first. */
    const char *tag_set;
    const char *allow; /* "rule,rule,…" that are not told; NULL: none */
    /* What changed in the signatures since `against`, as diff reports it (elements with
     * "signature", "breaks_callers", "why"); NULL: not compared. */
    const cJSON *changes;
    const char *against;
};

/* The MetaGraph that a server would take. ERR_NOTFOUND: none has the tag set. */
int val_lint_meta(const struct sm_model *model, const char *tag_set_or_null,
                  const struct sm_meta **out, struct err *err) MUST_CHECK;

/* Looks at the SavedModel in directory `dir`. *report (the caller's, when 0 is
 * returned): { "tag_set", "findings": [{"rule", "severity", "signature", "input", "op",
 * "node", "function", "tensor", "file", "bytes", "message", "reason", "fix"}],
 *     "n_warnings", "n_advice", "allowed": {name: count}, "complete",
 *     "fine_tuning": {"possible", "trainable_variables", "trainable_bytes",
 *                     "functions_with_training": […], "message"} }
 * Members that do not apply are absent; "bytes" is what could be saved. Warnings come
 * first. More than 1,000 findings are only counted. "complete" is false when the graph
 * is so big that a rule did not follow all of it. ERR_NOTFOUND: no SavedModel, or no
 * such tag set. ERR_CORRUPT: it, or its checkpoint, is not readable. */
int val_lint(cJSON **report, const char *dir, const struct val_lint_options *options,
             struct err *err) MUST_CHECK;

/* The report as a SARIF 2.1.0 log; `uri` names the model. */
cJSON *val_lint_sarif(const cJSON *report, const char *uri);

#endif
