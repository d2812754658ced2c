/* SPDX-License-Identifier: Apache-2.0 */
/* A verdict for CI systems and merge requests. All of them show the document's checks;
 * what a check is, only val_document.c knows. */
#include "validate/val_export_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- pieces --------------------------------------------------------------------- */

void
val_export_title(const cJSON *doc, struct buf *out)
{
    const cJSON *subject = cJSON_GetObjectItemCaseSensitive(doc, "subject");
    const cJSON *set = cJSON_GetObjectItemCaseSensitive(doc, "set");

    if (subject)
        buf_addf(out, "%s@%.0f", val_text(subject, "model"),
                 val_number(subject, "number"));
    else
        buf_adds(out, "a directory");
    if (set)
        buf_addf(out, " by %s", val_text(set, "name"));
}

const cJSON *
val_export_first(const cJSON *o, const char *key)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(o, key);

    return list ? list->child : NULL;
}

const cJSON *
val_export_runs(const cJSON *doc)
{
    const cJSON *times = cJSON_GetObjectItemCaseSensitive(doc, "times");
    const cJSON *runs = cJSON_GetObjectItemCaseSensitive(times, "run_ms");

    return cJSON_IsObject(runs) ? runs->child : NULL;
}

bool
val_export_ok(const cJSON *check)
{
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(check, "ok"));
}

const char *
val_export_state(const cJSON *check)
{
    return val_export_ok(check)              ? "passed"
           : json_has(check, "inconclusive") ? "inconclusive"
                                             : "failed";
}

void
val_export_xml(struct buf *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        const unsigned char c = (unsigned char)*p;

        if (c == '<' || c == '>' || c == '&' || c == '"' || c == '\'')
            buf_addf(out, "&#%d;", c);
        else
            buf_addc(out, c < ' ' && c != '\n' && c != '\t' ? '?' : *p);
    }
}

/* ---- JUnit ---------------------------------------------------------------------- */

/* A case's time, by the check's id "case NAME" or "case NAME: OUTPUT"; its outputs
 * share one run, which counts with the first. */
static double
seconds_of(const cJSON *doc, const char *id, const char *id_before)
{
    const cJSON *t = val_export_runs(doc);

    for (; t && strncmp(id, "case ", 5) == 0; t = t->next) {
        const size_t n = strlen(t->string);

        if (strncmp(id + 5, t->string, n) != 0 || (id[5 + n] && id[5 + n] != ':'))
            continue;
        return strncmp(id_before, id, 5 + n) == 0 &&
                       (!id_before[5 + n] || id_before[5 + n] == ':')
                   ? 0
                   : t->valuedouble / 1e3;
    }
    return 0;
}

static void
junit_check(const cJSON *doc, const cJSON *check, const cJSON *before, bool error,
            const char *title, struct buf *out)
{
    buf_adds(out, "    <testcase classname=\"");
    val_export_xml(out, title);
    buf_adds(out, "\" name=\"");
    val_export_xml(out, val_text(check, "id"));
    buf_addf(out, "\" time=\"%.6f\"",
             seconds_of(doc, val_text(check, "id"), val_text(before, "id")));
    if (val_export_ok(check)) {
        buf_adds(out, "/>\n");
        return;
    }
    buf_addf(out, ">\n      <%s message=\"", error ? "error" : "failure");
    val_export_xml(out, val_text(check, "saw"));
    buf_adds(out, "\">wanted: ");
    val_export_xml(out, val_text(check, "wanted"));
    buf_adds(out, "\nsaw: ");
    val_export_xml(out, val_text(check, "saw"));
    buf_addf(out, "</%s>\n    </testcase>\n", error ? "error" : "failure");
}

/* A failure is the model's; an error is a question without an answer: neither is a
 * pass. */
static void
junit(const cJSON *doc, const cJSON *compared, struct buf *out)
{
    struct buf title AUTO(buf_release) = BUF_INIT, all AUTO(buf_release) = BUF_INIT;
    const bool unsupported = strcmp(val_text(doc, "outcome"), "unsupported") == 0;
    const cJSON *c, *before = NULL;
    int n = 0, n_failed = 0, n_errors = 0;
    double sum_ms = 0;

    (void)compared;
    val_export_title(doc, &title);
    for (c = val_export_first(doc, "checks"); c; c = c->next) {
        const bool error = unsupported || json_has(c, "inconclusive");

        n++;
        n_failed += !val_export_ok(c) && !error;
        n_errors += !val_export_ok(c) && error;
        junit_check(doc, c, before, error, buf_str(&title), &all);
        before = c;
    }
    for (c = val_export_runs(doc); c; c = c->next)
        sum_ms += c->valuedouble;
    buf_adds(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n"
                  "  <testsuite name=\"");
    val_export_xml(out, buf_str(&title));
    buf_addf(out, "\" tests=\"%d\" failures=\"%d\" errors=\"%d\" skipped=\"0\" ", n,
             n_failed, n_errors);
    buf_addf(out, "time=\"%.6f\" timestamp=\"%s\">\n", sum_ms / 1e3,
             val_text(cJSON_GetObjectItemCaseSensitive(doc, "times"), "made"));
    buf_add(out, all.data, all.len);
    buf_adds(out, "  </testsuite>\n</testsuites>\n");
}

/* ---- SARIF ---------------------------------------------------------------------- */

static const struct {
    const char *id, *text;
} rules[] = {
    { "load", "The model loads." },
    { "case", "The model gives the answers that a golden set expects." },
    { "metric", "The model is good enough on labelled cases." },
    { "budget", "The model is fast and small enough." },
    { "beside", "The model answers as its baseline does." },
    { "check", "The model is as it was asked to be." },
};

/* The rule of a check is the first word of its id. */
static const char *
rule_of(const char *id)
{
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
        if (strncmp(id, rules[i].id, strlen(rules[i].id)) == 0)
            return rules[i].id;
    return "check";
}

static void
sarif_result(cJSON *results, const cJSON *check, const char *uri)
{
    cJSON *o = cJSON_CreateObject(), *where = cJSON_CreateObject();
    cJSON *logical = cJSON_CreateObject();
    char *text AUTO(free_ptr) =
        xasprintf("%s: wanted %s; saw %s", val_text(check, "id"),
                  val_text(check, "wanted"), val_text(check, "saw"));

    json_put_str(o, "ruleId", rule_of(val_text(check, "id")));
    json_put_str(o, "level", json_has(check, "inconclusive") ? "warning" : "error");
    json_put_str(cJSON_AddObjectToObject(o, "message"), "text", text);
    json_put_str(
        cJSON_AddObjectToObject(cJSON_AddObjectToObject(where, "physicalLocation"),
                                "artifactLocation"),
        "uri", uri);
    json_put_str(logical, "fullyQualifiedName", val_text(check, "id"));
    cJSON_AddItemToArray(cJSON_AddArrayToObject(where, "logicalLocations"), logical);
    cJSON_AddItemToArray(cJSON_AddArrayToObject(o, "locations"), where);
    cJSON_AddItemToArray(results, o);
}

static void
sarif(const cJSON *doc, const cJSON *compared, struct buf *out)
{
    cJSON *log AUTO(json_free) = cJSON_CreateObject();
    cJSON *run = cJSON_CreateObject(), *driver, *list, *results;
    const cJSON *subject = cJSON_GetObjectItemCaseSensitive(doc, "subject");
    char *uri AUTO(free_ptr) =
        subject ? xasprintf("models/%s/%.0f", val_text(subject, "model"),
                            val_number(subject, "number"))
                : xstrdup("model");

    (void)compared;
    json_put_str(log, "$schema", "https://json.schemastore.org/sarif-2.1.0.json");
    json_put_str(log, "version", "2.1.0");
    cJSON_AddItemToArray(cJSON_AddArrayToObject(log, "runs"), run);
    driver = cJSON_AddObjectToObject(cJSON_AddObjectToObject(run, "tool"), "driver");
    json_put_str(driver, "name", "sluice validate");
    json_put_str(driver, "version", SLUICE_VERSION);
    list = cJSON_AddArrayToObject(driver, "rules");
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        cJSON *rule = cJSON_CreateObject();

        json_put_str(rule, "id", rules[i].id);
        json_put_str(cJSON_AddObjectToObject(rule, "shortDescription"), "text",
                     rules[i].text);
        cJSON_AddItemToArray(list, rule);
    }
    results = cJSON_AddArrayToObject(run, "results");
    for (const cJSON *c = val_export_first(doc, "checks"); c; c = c->next)
        if (!val_export_ok(c))
            sarif_result(results, c, uri);
    json_print(log, out, false);
}

/* ---- Markdown ------------------------------------------------------------------- */

/* Text in a cell: what Markdown or HTML would read otherwise is taken from it. */
static void
add_cell(struct buf *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        if (strchr("\\`*_{}[]<>#|!~", *p))
            buf_addc(out, '\\');
        buf_addc(out, *p == '\n' || *p == '\r' ? ' ' : *p);
    }
}

void
val_export_compared(const cJSON *compared, const char *mark, bool html, struct buf *out)
{
    void (*add)(struct buf *, const char *) = html ? val_export_xml : add_cell;
    const char *end = html ? "</li>\n" : "\n", *with = val_text(compared, "with");
    const cJSON *o;
    int n = 0;

    if (!compared)
        return;
    for (o = val_export_first(compared, "tensors"); o; o = o->next)
        n++;
    buf_addf(out, "%sagainst ", mark);
    add(out, with);
    buf_addf(out, ": %s; %d tensor%s changed, %.0f the same%s",
             cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(compared, "breaks_callers"))
                 ? "callers break"
                 : "signatures compatible",
             n, n == 1 ? "" : "s", val_number(compared, "tensors_same"), end);
    for (o = val_export_first(compared, "signatures"); o; o = o->next) {
        buf_adds(out, mark);
        buf_adds(out, "signature ");
        add(out, val_text(o, "signature"));
        buf_adds(out, ": ");
        add(out, val_text(o, "why")[0] ? val_text(o, "why") : val_text(o, "change"));
        buf_adds(out, end);
    }
}

/* "MARK cause: constant flatten/Const: 128, not 64 END" */
static void
add_parting(const char *mark, const char *what, const cJSON *o, const char *name,
            bool html, struct buf *out)
{
    const char *op = val_text(o, "op");
    struct buf text AUTO(buf_release) = BUF_INIT;

    buf_addf(&text, "%s: %s%s%s%s%s", what, val_text(o, "kind"),
             *val_text(o, "kind") ? " " : "", val_text(o, name), *op ? " of type " : "",
             op);
    if (*val_text(o, "got"))
        buf_addf(&text, ": %s, not %s", val_text(o, "got"), val_text(o, "want"));
    buf_adds(out, mark);
    (html ? val_export_xml : add_cell)(out, buf_str(&text));
    buf_adds(out, html ? "</li>\n" : "\n");
}

void
val_export_trace(const cJSON *doc, const char *mark, bool html, struct buf *out)
{
    const cJSON *t = cJSON_GetObjectItemCaseSensitive(doc, "trace"), *o;
    void (*add)(struct buf *, const char *) = html ? val_export_xml : add_cell;
    const char *end = html ? "</li>\n" : "\n";

    if (!t)
        return;
    buf_addf(out, "%strace%s", mark, *val_text(t, "case") ? " of case " : "");
    add(out, val_text(t, "case"));
    if (*val_text(t, "against")) {
        buf_adds(out, " beside ");
        add(out, val_text(t, "against"));
    }
    buf_adds(out, *val_text(t, "note") ? ": " : "");
    add(out, val_text(t, "note"));
    buf_adds(out, end);
    o = cJSON_GetObjectItemCaseSensitive(t, "first");
    if (o)
        add_parting(mark, "first tensor that parts", o, "node", html, out);
    for (o = val_export_first(t, "causes"); o; o = o->next)
        add_parting(mark, "cause", o, "name", html, out);
    if (*val_text(t, "error")) {
        buf_addf(out, "%sit ends with: ", mark);
        add(out, val_text(t, "error"));
        buf_adds(out, end);
    }
}

static void
markdown(const cJSON *doc, const cJSON *compared, struct buf *out)
{
    const cJSON *set = cJSON_GetObjectItemCaseSensitive(doc, "set");
    const cJSON *backend = cJSON_GetObjectItemCaseSensitive(doc, "backend");
    const cJSON *subject = cJSON_GetObjectItemCaseSensitive(doc, "subject");

    buf_adds(out, "### ");
    val_export_title(doc, out);
    buf_addf(out, ": **%s**\n\n", val_text(doc, "outcome"));
    add_cell(out, val_text(doc, "summary"));
    buf_adds(out, "\n\n");
    if (compared) {
        val_export_compared(compared, "- ", false, out);
        buf_addc(out, '\n');
    }
    if (json_has(doc, "trace")) {
        val_export_trace(doc, "- ", false, out);
        buf_addc(out, '\n');
    }
    buf_adds(out, "| | check | wanted | saw |\n|---|---|---|---|\n");
    for (const cJSON *c = val_export_first(doc, "checks"); c; c = c->next) {
        buf_addf(out, "| %s | ", val_export_state(c));
        add_cell(out, val_text(c, "id"));
        buf_adds(out, " | ");
        add_cell(out, val_text(c, "wanted"));
        buf_adds(out, " | ");
        add_cell(out, val_text(c, "saw"));
        buf_adds(out, " |\n");
    }
    buf_adds(out, "\n<sub>");
    if (subject)
        buf_addf(out, "version %s, ", val_text(subject, "digest"));
    if (set)
        buf_addf(out, "set %s, ", val_text(set, "digest"));
    add_cell(out, val_text(backend, "name"));
    buf_addf(out, " %s, by ", val_text(backend, "version"));
    add_cell(out, val_text(doc, "by"));
    buf_adds(out, "</sub>\n");
}

/* ---- all forms ------------------------------------------------------------------ */

static void
json(const cJSON *doc, const cJSON *compared, struct buf *out)
{
    (void)compared;
    json_canonical(doc, out);
    buf_addc(out, '\n');
}

/* "3.21 ± 0.4", where that was measured. */
static void
add_measured(const cJSON *times, const char *side, const char *kind, const char *before,
             struct buf *out)
{
    const cJSON *all = cJSON_GetObjectItemCaseSensitive(times, side);
    const cJSON *m = cJSON_GetObjectItemCaseSensitive(all, kind);

    if (!isnan(val_number(m, "value")))
        buf_addf(out, "%s%.3g ± %.2g", before, val_number(m, "value"),
                 val_number(m, "noise"));
}

/* For people: the checks of budgets with what was measured, which the document keeps
 * apart, with the times. */
static cJSON *
with_measured(const cJSON *doc)
{
    cJSON *told = cJSON_Duplicate(doc, true), *c;
    const cJSON *times = cJSON_GetObjectItemCaseSensitive(told, "times");

    cJSON_ArrayForEach(c, cJSON_GetObjectItemCaseSensitive(told, "checks"))
    {
        const char *id = val_text(c, "id");
        struct buf saw AUTO(buf_release) = BUF_INIT;

        if (strncmp(id, "budget ", 7) != 0)
            continue;
        char *kind AUTO(free_ptr) = xstrndup(id + 7, strcspn(id + 7, "="));
        buf_adds(&saw, val_text(c, "saw"));
        add_measured(times, "measured", kind, ": ", &saw);
        add_measured(times, "measured_baseline", kind, "; the baseline ", &saw);
        cJSON_DeleteItemFromObjectCaseSensitive(c, "saw");
        json_put_str(c, "saw", buf_str(&saw));
    }
    return told;
}

int
val_export(const cJSON *doc, const cJSON *compared, const char *form, struct buf *out,
           struct err *err)
{
    static const struct {
        const char *name;
        void (*write)(const cJSON *doc, const cJSON *compared, struct buf *out);
    } forms[] = {
        { "json", json },         { "junit", junit },          { "sarif", sarif },
        { "markdown", markdown }, { "html", val_export_html },
    };

    cJSON *told AUTO(json_free) = NULL;

    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (strcmp(form, forms[i].name) != 0)
            continue;
        told = i > 0 ? with_measured(doc) : NULL;
        forms[i].write(told ? told : doc, compared, out);
        return 0;
    }
    return err_set(err, ERR_USAGE,
                   "there is no form '%s': json, dsse, junit, sarif, markdown, html",
                   form);
}
