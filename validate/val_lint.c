/* SPDX-License-Identifier: Apache-2.0 */
/* lint: the driver and its report. */
#include "base/fs.h"
#include "validate/val_lint_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FINDINGS 1000 /* of a severity; the others are counted */

static const struct {
    enum lint_severity severity;
    struct scan_rule rule;
} rules[LINT_N_RULES] = {
#define LINT_RULE(id, severity, reason, fix) { LINT_##severity, { #id, reason, fix } },
#include "validate/lint_rules.def"
};
static const char *const severities[] = { "warning", "advice" };

/* ---- findings ---- */

static void
put_place(cJSON *o, const struct lint_place *at)
{
    const struct {
        const char *key;
        struct str text;
    } parts[] = { { "signature", at->signature },
                  { "input", at->input },
                  { "op", at->op },
                  { "node", at->node },
                  { "function", at->function },
                  { "tensor", at->tensor },
                  { "file", at->file } };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (parts[i].text.n)
            scan_put_text(o, parts[i].key, parts[i].text);
    if (at->bytes > 0)
        json_put_int(o, "bytes", (int64_t)at->bytes);
}

void
lint_add(struct lint *l, enum lint_rule rule, const struct lint_place *at,
         const char *fmt, ...)
{
    enum lint_severity severity = rules[rule].severity;
    if (scan_is_allowed(l->options->allow, l->allowed, str_of(rules[rule].rule.id)) ||
        l->n[severity]++ >= MAX_FINDINGS)
        return;
    char *text AUTO(free_ptr) = NULL;
    va_list ap;
    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        BUG("out of memory");
    va_end(ap);
    cJSON *o = cJSON_CreateObject();
    json_put_str(o, "rule", rules[rule].rule.id);
    json_put_str(o, "severity", severities[severity]);
    put_place(o, at);
    json_put_str(o, "message", text);
    json_put_str(o, "reason", rules[rule].rule.title);
    json_put_str(o, "fix", rules[rule].rule.fix);
    cJSON_AddItemToArray(l->findings[severity], o);
}

/* ---- words ---- */

void
lint_size(struct buf *out, double bytes)
{
    static const char *const units[] = { "bytes", "kB", "MB", "GB", "TB" };
    size_t i = 0;
    for (; bytes >= 1000 && i + 1 < sizeof units / sizeof units[0]; i++)
        bytes /= 1000;
    buf_addf(out, i ? "%.1f %s" : "%.0f %s", bytes, units[i]);
}

double
lint_bytes(int dtype, const struct sm_shape *shape)
{
    const struct sm_dtype_info *info = sm_dtype_info(dtype);
    double bytes = info ? (double)info->size_bytes : 0;
    if (shape->unknown_rank)
        return 0;
    for (int i = 0; i < shape->rank; i++)
        bytes *= shape->dims[i] > 0 ? (double)shape->dims[i] : 0;
    return bytes;
}

struct run {
    struct str name;
    int n;
};

static int
by_count(const void *a, const void *b)
{
    const struct run *x = a, *y = b;
    return x->n != y->n ? (x->n < y->n ? 1 : -1) : str_cmp(x->name, y->name);
}

void
lint_tally_text(struct lint_tally *t, struct buf *out)
{
    enum { MAX_NAMES = 8 };
    struct run *v = xcalloc((size_t)t->names.n + 1, sizeof *v);
    int n = 0;
    scan_index_sort(&t->names);
    for (int i = 0; i < t->names.n; i++) {
        if (!n || !str_eq(v[n - 1].name, t->names.v[i].s))
            v[n++].name = t->names.v[i].s;
        v[n - 1].n++;
    }
    if (n)
        qsort(v, (size_t)n, sizeof *v, by_count);
    for (int i = 0; i < n && i < MAX_NAMES; i++) {
        char *name AUTO(free_ptr) = scan_text(v[i].name);
        buf_addf(out, "%s%s", i ? ", " : "", name);
        if (v[i].n > 1)
            buf_addf(out, " ×%d", v[i].n);
    }
    if (n > MAX_NAMES)
        buf_addf(out, " and %d more", n - MAX_NAMES);
    free(v);
    scan_index_release(&t->names);
}

/* ---- the model ---- */

int
val_lint_meta(const struct sm_model *model, const char *tag_set_or_null,
              const struct sm_meta **out, struct err *err)
{
    if (tag_set_or_null)
        return sm_find_meta(model, tag_set_or_null, out, err);
    if (sm_find_meta(model, "serve", out, err) >= 0)
        return 0;
    err_clear(err);
    for (int i = sm_n_metas(model); i-- > 0;) {
        *out = sm_meta(model, i);
        for (int k = 0; k < (*out)->n_tags; k++)
            if (str_is((*out)->tags[k], "serve"))
                return 0;
    }
    return 0; /* the first */
}

static int
look(struct lint *l, cJSON *report, struct err *err)
{
    struct scan_graph g AUTO(scan_graph_release) = { 0 };
    struct sm_bundle *bundle AUTO(sm_bundle_close_p) = NULL;
    int has_index = fs_exists(l->dirfd, "variables/variables.index", err);
    if (has_index < 0 ||
        (has_index &&
         sm_bundle_open(&bundle, l->dirfd, "variables/variables", err) < 0) ||
        scan_graph_open(&g, l->meta, err) < 0)
        return -(int)err->code;
    l->g = &g;
    l->bundle = bundle;
    scan_put_tags(report, "tag_set", l->meta);
    lint_signatures(l);
    lint_input_shapes(l);
    lint_training(l);
    lint_checkpoint(l);
    lint_constants(l);
    lint_fine_tuning(l, report);
    if (lint_files(l, err) < 0 || lint_keras(l, err) < 0)
        return -(int)err->code;
    return 0;
}

/* Warnings, then advice, each in the order of the rules' table. */
static void
put_findings(struct lint *l, cJSON *report)
{
    cJSON *list = cJSON_AddArrayToObject(report, "findings"), *f, *next;
    for (int s = 0; s < LINT_N_SEVERITIES; s++)
        for (int r = 0; r < LINT_N_RULES; r++)
            for (f = l->findings[s]->child; f; f = next) {
                const char *id =
                    cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(f, "rule"));
                next = f->next;
                if (strcmp(id, rules[r].rule.id) == 0)
                    cJSON_AddItemToArray(list,
                                         cJSON_DetachItemViaPointer(l->findings[s], f));
            }
    json_put_int(report, "n_warnings", l->n[LINT_WARNING]);
    json_put_int(report, "n_advice", l->n[LINT_ADVICE]);
    json_put_bool(report, "complete", !l->is_cut);
}

static void
lint_release(struct lint *l)
{
    for (int s = 0; s < LINT_N_SEVERITIES; s++)
        cJSON_Delete(l->findings[s]);
    cJSON_Delete(l->allowed);
}

int
val_lint(cJSON **report, const char *dir, const struct val_lint_options *options,
         struct err *err)
{
    struct lint l AUTO(lint_release) = { .options = options,
                                         .dir = dir,
                                         .allowed = cJSON_CreateObject() };
    struct sm_model *model AUTO(sm_close_p) = NULL;
    int dirfd AUTO(fs_close) = -1;
    cJSON *j AUTO(json_free) = cJSON_CreateObject();
    for (int s = 0; s < LINT_N_SEVERITIES; s++)
        l.findings[s] = cJSON_CreateArray();
    if (scan_open_dir(&dirfd, dir, err) < 0 ||
        (!options->model && sm_open(&model, dirfd, dir, err) < 0))
        return -(int)err->code;
    l.dirfd = dirfd;
    l.model = model ? model : options->model;
    json_put_str(j, "model_file", sm_form_file(sm_form(l.model)));
    if (val_lint_meta(l.model, options->tag_set, &l.meta, err) < 0 ||
        look(&l, j, err) < 0)
        return -(int)err->code;
    put_findings(&l, j);
    cJSON_AddItemToObject(j, "allowed", l.allowed);
    l.allowed = NULL;
    *report = j;
    j = NULL;
    return 0;
}

cJSON *
val_lint_sarif(const cJSON *report, const char *uri)
{
    struct scan_rule v[LINT_N_RULES];
    for (int i = 0; i < LINT_N_RULES; i++)
        v[i] = rules[i].rule;
    return scan_sarif(report, uri, "sluice lint", "rule", v, LINT_N_RULES);
}
