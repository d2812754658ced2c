/* SPDX-License-Identifier: Apache-2.0 */
/* validate */
#include "cli/cli.h"

#include <string.h>

/* "accuracy 0.962 of 500 (at least 0.93; at most 0.01 worse than production)" */
static void
add_metric(const cJSON *m, struct buf *out)
{
    static const struct {
        const char *key, *before, *after;
        double times;
    } limits[] = {
        { "min", "at least ", "", 1 },
        { "max", "at most ", "", 1 },
        { "max_drop", "at most ", " worse than ", 1 },
        { "max_drop_relative", "at most ", " % worse than ", 100 },
    };
    const char *sep = " (";

    buf_addf(out, "  %s %.4g of %.0f", cli_str(m, "title"), cli_num(m, "value"),
             cli_num(m, "n"));
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        if (!cJSON_HasObjectItem(m, limits[i].key))
            continue;
        buf_addf(out, "%s%s%g%s%s", sep, limits[i].before,
                 cli_num(m, limits[i].key) * limits[i].times, limits[i].after,
                 limits[i].after[0] ? cli_str(m, "baseline") : "");
        sep = "; ";
    }
    buf_adds(out, sep[0] == ' ' ? "" : ")");
    buf_addf(out, "%s%s\n", cli_str(m, "why")[0] ? ": " : "", cli_str(m, "why"));
}

/* "    ≥ 1e-06  812 ####", one line a decade. */
static void
add_errors(const cJSON *errors, struct buf *out)
{
    enum { WIDTH = 40 };
    double most = 1;

    for (const cJSON *b = cli_list(errors, "bins"); b; b = b->next)
        most = cli_num(b, "n") > most ? cli_num(b, "n") : most;
    buf_addf(out, "    errors: %.0f of %.0f elements are the same",
             cli_num(errors, "same"), cli_num(errors, "n"));
    if (cli_num(errors, "apart") > 0)
        buf_addf(out, ", %.0f are NaN or infinite on one side",
                 cli_num(errors, "apart"));
    buf_addc(out, '\n');
    for (const cJSON *b = cli_list(errors, "bins"); b; b = b->next) {
        buf_addf(out, "    > %-6.0e %8.0f ", cli_num(b, "from"), cli_num(b, "n"));
        for (int i = 0; i < (int)(cli_num(b, "n") / most * (WIDTH - 1)) + 1; i++)
            buf_addc(out, '#');
        buf_addc(out, '\n');
    }
}

static void
add_decisions(const cJSON *d, struct buf *out)
{
    const cJSON *agree = cJSON_GetObjectItemCaseSensitive(d, "agree");

    if (cli_num(d, "flipped") == 0)
        return;
    buf_addf(out, "    decisions: %.0f of %.0f flipped (%.3g %%)",
             cli_num(d, "flipped"), cli_num(d, "n"), 100 * cli_num(d, "share"));
    if (cJSON_HasObjectItem(agree, "5"))
        buf_addf(out, ", the top 5 agree in %.3g %%", 100 * cli_num(agree, "5"));
    int n = 0;
    for (const cJSON *f = cli_list(d, "flips"); f && n < 5; f = f->next, n++)
        buf_addf(out, "%s%.0f to %.0f (%.0f)",
                 n ? ", " : "; by class: ", cli_num(f, "from"), cli_num(f, "to"),
                 cli_num(f, "n"));
    buf_adds(out, n == 5 ? ", …\n" : "\n");
}

static void
add_case(const cJSON *c, struct buf *out)
{
    buf_addf(out, "  %s: %s\n", cli_str(c, "name"), cli_str(c, "why"));
    for (const cJSON *o = cli_list(c, "outputs"); o; o = o->next) {
        const cJSON *errors = cJSON_GetObjectItemCaseSensitive(o, "errors");
        if (cli_bool(o, "ok"))
            continue;
        if (strcmp(cli_str(o, "why"), cli_str(c, "why")) != 0)
            buf_addf(out, "    %s\n", cli_str(o, "why"));
        if (cli_num(errors, "n") > 1)
            add_errors(errors, out);
        add_decisions(cJSON_GetObjectItemCaseSensitive(o, "decisions"), out);
    }
}

static void
add_baseline(const cJSON *b, struct buf *out)
{
    buf_addf(out, "  beside %s, %.0f cases: %s\n", cli_str(b, "ref"),
             cli_num(b, "cases"),
             cli_str(b, "why")[0]    ? cli_str(b, "why")
             : cli_str(b, "note")[0] ? cli_str(b, "note")
                                     : "ok");
    for (const cJSON *o = cli_list(b, "outputs"); o; o = o->next) {
        const cJSON *errors = cJSON_GetObjectItemCaseSensitive(o, "errors");
        const cJSON *decisions = cJSON_GetObjectItemCaseSensitive(o, "decisions");
        buf_addf(out, "    %s: ", cli_str(o, "name"));
        if (decisions)
            buf_addf(out, "%.0f of %.0f decisions flipped%s",
                     cli_num(decisions, "flipped"), cli_num(decisions, "n"),
                     errors ? ", " : "");
        if (errors)
            buf_addf(out, "mean moved by %.3g, largest error %.3g",
                     cli_num(errors, "shift"), cli_num(errors, "max"));
        if (cli_str(o, "case")[0])
            buf_addf(out, " (%s: %s, was %s)", cli_str(o, "case"), cli_str(o, "got"),
                     cli_str(o, "want"));
        buf_addc(out, '\n');
        add_decisions(decisions, out);
    }
}

void
cli_measured(const cJSON *report, const cJSON *check, struct buf *out)
{
    static const char *const sides[] = { "measured", "measured_baseline" };
    const cJSON *times = cJSON_GetObjectItemCaseSensitive(report, "times");
    const char *id = cli_str(check, "id"), *sep = " (";
    if (strncmp(id, "budget ", 7) != 0)
        return;
    char *kind AUTO(free_ptr) = xstrndup(id + 7, strcspn(id + 7, "="));
    for (int i = 0; i < 2; i++) {
        const cJSON *side = cJSON_GetObjectItemCaseSensitive(times, sides[i]);
        const cJSON *m = cJSON_GetObjectItemCaseSensitive(side, kind);
        if (!m)
            continue;
        buf_addf(out, "%s%.3g ± %.2g", sep, cli_num(m, "value"), cli_num(m, "noise"));
        sep = "; the baseline ";
    }
    if (sep[0] == ';')
        buf_addc(out, ')');
}

/* "  budget p99_ms=5: kept (3.21 ± 0.4; the baseline 3 ± 0.1)" */
static void
add_budgets(const cJSON *report, struct buf *out)
{
    for (const cJSON *c = cli_list(report, "checks"); c; c = c->next) {
        const char *id = cli_str(c, "id");
        if (strncmp(id, "budget ", 7) != 0)
            continue;
        buf_addf(out, "  %s: %s", id, cli_str(c, "saw"));
        cli_measured(report, c, out);
        buf_addc(out, '\n');
    }
}

static void
add_verdict(const cJSON *v, struct buf *out)
{
    const cJSON *report = cJSON_GetObjectItemCaseSensitive(v, "report");
    const char *unsupported = cli_str(report, "unsupported");
    int n_cases = 0, n_passed = 0;
    for (const cJSON *c = cli_list(report, "cases"); c; c = c->next) {
        n_cases++;
        n_passed += strcmp(cli_str(c, "verdict"), "passed") == 0;
    }
    buf_addf(out, "%-11s %s (%s%s%s): %d of %d cases\n", cli_str(v, "verdict"),
             cli_str(v, "set"), cli_str(v, "kind"),
             cli_str(report, "recorded")[0] ? ", recorded from " : "",
             cli_str(report, "recorded"), n_passed, n_cases);
    if (unsupported[0])
        buf_addf(out, "  %s\n", unsupported);
    if (cli_str(report, "error")[0])
        buf_addf(out, "  %s\n", cli_str(report, "error"));
    for (const cJSON *c = cli_list(report, "cases"); c; c = c->next)
        if (strcmp(cli_str(c, "verdict"), "failed") == 0)
            add_case(c, out);
    for (const cJSON *s = cli_list(report, "slices"); s; s = s->next)
        buf_addf(out, "  slice %s: %.0f of %.0f cases failed\n", cli_str(s, "tag"),
                 cli_num(s, "failed"), cli_num(s, "cases"));
    if (cJSON_HasObjectItem(report, "baseline"))
        add_baseline(cJSON_GetObjectItemCaseSensitive(report, "baseline"), out);
    for (const cJSON *m = cli_list(report, "metrics"); m; m = m->next)
        if (cJSON_HasObjectItem(m, "value"))
            add_metric(m, out);
    add_budgets(report, out);
    if (cJSON_HasObjectItem(report, "trace"))
        cli_add_trace(cJSON_GetObjectItemCaseSensitive(report, "trace"), out);
}

void
cmd_validate(const cJSON *reply, bool failed, struct buf *out)
{
    for (const cJSON *v = cli_list(reply, "verdicts"); v; v = v->next)
        add_verdict(v, out);
    if (!failed && strcmp(cli_str(reply, "state"), "quarantined") == 0)
        buf_addf(out, "it is quarantined still: sluice accept %s\n",
                 cli_str(reply, "version"));
}
