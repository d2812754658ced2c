/* SPDX-License-Identifier: Apache-2.0 */
/* scan: what in a SavedModel can reach out of it. Reads files only; nothing is loaded
 * or run. What is looked for stands in validate/scan_ops.def. */
#ifndef VALIDATE_SCAN_H
#define VALIDATE_SCAN_H

#include "base/json.h"

struct val_scan_options {
    const char *tag_set; /* only this MetaGraph; NULL: all */
    const char *allow;   /* "Op,class,…" that are no findings; NULL: none */
    /* "Op,Op": look for these ops and nothing else; NULL or "": everything. */
    const char *deny;
};

/* Scans the SavedModel in directory `dir`. *report (the caller's, when 0 is returned):
 *   { "model_file", "meta_graphs": [{"tags", "tensorflow", "nodes", "functions"}],
 *     "findings": [{"class", "severity", "op", "node", "function", "tag_set", "file",
 *                   "message", "fix", "reached_by": [{"from", "name", "path": […]}]}],
 *     "n_findings", "allowed": {name: count}, "reach_complete" }
 * Members that do not apply are absent. A path begins with the node of the main graph,
 * then for each call the function, then its node. More than 10,000 findings are only
 * counted; of one finding 100 ways are kept. A model nested deeper than protobuf allows
 * is a finding of its own. ERR_NOTFOUND: no SavedModel, or no such tag set.
 * ERR_CORRUPT: not readable as one. ERR_PENDING: only in a form that this build does
 * not read. */
int val_scan(cJSON **report, const char *dir, const struct val_scan_options *options,
             struct err *err) MUST_CHECK;

/* The report as a SARIF 2.1.0 log; `uri` names the model. */
cJSON *val_scan_sarif(const cJSON *report, const char *uri);

#endif
