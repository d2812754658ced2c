/* SPDX-License-Identifier: Apache-2.0 */
/* What the exports of a verdict share. */
#ifndef VALIDATE_VAL_EXPORT_INT_H
#define VALIDATE_VAL_EXPORT_INT_H

#include "validate/val_int.h"

/* "fraud@3 by quality", "a directory". */
void val_export_title(const cJSON *doc, struct buf *out);
const cJSON *val_export_first(const cJSON *o, const char *key); /* of a list, or NULL */
/* The first of the times of cases, which have names. */
const cJSON *val_export_runs(const cJSON *doc);
bool val_export_ok(const cJSON *check);
/* As text or a quoted attribute of XML and HTML; what XML cannot hold becomes '?'. */
void val_export_xml(struct buf *out, const char *text);
/* "inconclusive" where the check says so, else "failed", "passed". */
const char *val_export_state(const cJSON *check);
/* A line for each thing that the comparison knows; `mark` begins it. */
void val_export_compared(const cJSON *compared, const char *mark, bool html,
                         struct buf *out);
/* A line for where two versions part, and each cause; nothing without a trace. */
void val_export_trace(const cJSON *doc, const char *mark, bool html, struct buf *out);

/* A page that needs nothing else: no script, no address. */
void val_export_html(const cJSON *doc, const cJSON *compared, struct buf *out);

#endif
