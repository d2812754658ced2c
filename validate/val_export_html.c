/* SPDX-License-Identifier: Apache-2.0 */
/* A verdict as one page: its checks, and plots of errors and times. */
#include "validate/val_export_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { LABEL_PX = 260, BAR_PX = 420, ROW_PX = 20, MAX_BARS = 200, MAX_SPREADS = 50 };

static const char head[] =
    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<style>\n"
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;"
    "padding:0 1em;color:#1b1f24}\n"
    "table{border-collapse:collapse;width:100%}\n"
    "td,th{text-align:left;padding:.25em .6em;border-bottom:1px solid #d8dee4;"
    "vertical-align:top;overflow-wrap:anywhere}\n"
    "h1 span,td:first-child{white-space:nowrap}\n"
    ".passed{color:#1a7f37}.failed{color:#cf222e}\n"
    ".inconclusive,.unsupported{color:#9a6700}\n"
    "small{color:#57606a;overflow-wrap:anywhere}svg text{font-size:12px}\n"
    "</style>\n<title>";

/* ---- plots ---------------------------------------------------------------------- */

/* Bars to a common scale; `limit` (NaN: none) is a line across them, and what passes it
 * is red. */
struct plot {
    struct buf bars;
    double most, limit;
    const char *unit;
    int n;
};

static void
add_bar(struct plot *p, const char *name, double v)
{
    const double width = p->most > 0 ? fmin(v / p->most, 1) * BAR_PX : 0;
    const int y = p->n * ROW_PX;

    if (p->n >= MAX_BARS || !isfinite(v))
        return;
    p->n++;
    buf_addf(&p->bars, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">", LABEL_PX - 8,
             y + 14);
    val_export_xml(&p->bars, name);
    buf_addf(&p->bars,
             "</text><rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" "
             "fill=\"%s\"/><text x=\"%.1f\" y=\"%d\">%.*g%s</text>\n",
             LABEL_PX, y + 3, fmax(width, 1), ROW_PX - 6,
             v > p->limit ? "#cf222e" : "#54aeff", LABEL_PX + width + 6, y + 14,
             v == floor(v) ? 9 : 3, v, p->unit);
}

static void
end_plot(struct plot *p, const char *tag, const char *title, struct buf *out)
{
    const int height = p->n * ROW_PX;

    if (p->n > 0) {
        buf_addf(out,
                 "<%s>%s</%s>\n<svg role=\"img\" width=\"%d\" height=\"%d\">\n"
                 "%s",
                 tag, title, tag, LABEL_PX + BAR_PX + 100, height, buf_str(&p->bars));
        if (!isnan(p->limit) && p->limit <= p->most)
            buf_addf(out,
                     "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"0\" y2=\"%d\" "
                     "stroke=\"#1b1f24\" stroke-dasharray=\"4\"/>\n",
                     LABEL_PX + p->limit / p->most * BAR_PX,
                     LABEL_PX + p->limit / p->most * BAR_PX, height);
        buf_adds(out, "</svg>\n");
    }
    buf_release(&p->bars);
}

/* Each output's largest error, in units of its tolerance. */
static void
plot_errors(const cJSON *doc, struct buf *out)
{
    struct plot p = { .bars = BUF_INIT, .most = 1, .limit = 1, .unit = "" };

    for (int pass = 0; pass < 2; pass++)
        for (const cJSON *c = val_export_first(doc, "cases"); c; c = c->next)
            for (const cJSON *o = val_export_first(c, "outputs"); o; o = o->next) {
                const double worst = val_number(o, "worst");
                char *name AUTO(free_ptr) =
                    xasprintf("%s: %s", val_text(c, "name"), val_text(o, "name"));

                if (pass == 0)
                    p.most = fmax(p.most, fmin(worst, 10));
                else
                    add_bar(&p, name, worst);
            }
    end_plot(&p, "h2", "Errors, in units of their tolerances", out);
}

static void
plot_times(const cJSON *doc, struct buf *out)
{
    const cJSON *times = cJSON_GetObjectItemCaseSensitive(doc, "times"), *t;
    struct plot p = { .bars = BUF_INIT, .limit = NAN, .unit = " ms" };

    p.most = fmax(0, val_number(times, "load_ms"));
    for (t = val_export_runs(doc); t; t = t->next)
        p.most = fmax(p.most, t->valuedouble);
    add_bar(&p, "load", val_number(times, "load_ms"));
    for (t = val_export_runs(doc); t; t = t->next)
        add_bar(&p, t->string, t->valuedouble);
    end_plot(&p, "h2", "Times", out);
}

/* ---- how errors are spread, what flipped ------------------------------------------
 */

static void
add_decisions(const cJSON *d, struct buf *out)
{
    const char *sep = "; by class: ";

    if (!d)
        return;
    buf_addf(out, "%.0f of %.0f decisions flipped (%.3g %%)", val_number(d, "flipped"),
             val_number(d, "n"), 100 * val_number(d, "share"));
    for (const cJSON *f = val_export_first(d, "flips"); f; f = f->next, sep = ", ")
        buf_addf(out, "%s%.0f to %.0f (%.0f)", sep, val_number(f, "from"),
                 val_number(f, "to"), val_number(f, "n"));
}

/* An output's decisions in words and its errors as bars, a decade each. */
static void
add_spread(const char *title, const cJSON *o, struct buf *out)
{
    const cJSON *e = cJSON_GetObjectItemCaseSensitive(o, "errors"), *b;
    struct plot p = { .bars = BUF_INIT, .limit = NAN, .unit = "" };

    buf_adds(out, "<h3>");
    val_export_xml(out, title);
    buf_adds(out, "</h3>\n<p>");
    val_export_xml(out, val_text(o, "why"));
    buf_adds(out, *val_text(o, "why") ? "<br>" : "");
    add_decisions(cJSON_GetObjectItemCaseSensitive(o, "decisions"), out);
    buf_adds(out, "</p>\n");
    for (b = val_export_first(e, "bins"); b; b = b->next)
        p.most = fmax(p.most, val_number(b, "n"));
    for (b = val_export_first(e, "bins"); b; b = b->next) {
        char *from AUTO(free_ptr) = xasprintf("> %.0e", val_number(b, "from"));

        add_bar(&p, from, val_number(b, "n"));
    }
    if (e)
        buf_addf(out, "<p>%.0f of %.0f elements are the same; mean %.3g, largest %.3g",
                 val_number(e, "same"), val_number(e, "n"), val_number(e, "mean"),
                 val_number(e, "max"));
    buf_adds(out, e ? "</p>\n" : "");
    end_plot(&p, "h4", "Errors by size", out);
}

static void
add_spreads(const cJSON *doc, struct buf *out)
{
    const cJSON *base = cJSON_GetObjectItemCaseSensitive(doc, "baseline"), *c, *o;
    int n = 0;

    for (c = val_export_first(doc, "cases"); c; c = c->next)
        for (o = val_export_first(c, "outputs"); o; o = o->next) {
            char *title AUTO(free_ptr) =
                xasprintf("%s: %s", val_text(c, "name"), val_text(o, "name"));

            if (json_has(o, "errors") && n++ < MAX_SPREADS)
                add_spread(title, o, out);
        }
    if (n > MAX_SPREADS)
        buf_addf(out, "<p>%d more outputs are not shown.</p>\n", n - MAX_SPREADS);
    if (!val_export_first(base, "outputs"))
        return;
    buf_adds(out, "<h2>Beside ");
    val_export_xml(out, val_text(base, "ref"));
    buf_adds(out, "</h2>\n");
    for (o = val_export_first(base, "outputs"); o; o = o->next)
        add_spread(val_text(o, "name"), o, out);
}

/* ---- the page ------------------------------------------------------------------- */

static void
add_checks(const cJSON *doc, struct buf *out)
{
    static const char *const columns[] = { "id", "wanted", "saw" };

    buf_adds(out, "<h2>Checks</h2>\n<table><tr><th></th><th>check</th><th>wanted</th>"
                  "<th>saw</th></tr>\n");
    for (const cJSON *c = val_export_first(doc, "checks"); c; c = c->next) {
        const char *state = val_export_state(c);

        buf_addf(out, "<tr><td class=\"%s\">%s</td>", state, state);
        for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++) {
            buf_adds(out, "<td>");
            val_export_xml(out, val_text(c, columns[i]));
            buf_adds(out, "</td>");
        }
        buf_adds(out, "</tr>\n");
    }
    buf_adds(out, "</table>\n");
}

/* Subject, set, backend, limits and host as they stand in the document. */
static void
add_bound(const cJSON *doc, struct buf *out)
{
    static const char *const parts[] = { "subject", "set",      "backend", "limits",
                                         "host",    "baseline", "by",      "outcome" };

    buf_adds(out, "<h2>Bound to</h2>\n<table>\n");
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        const cJSON *o = cJSON_GetObjectItemCaseSensitive(doc, parts[i]), *m;

        if (!o)
            continue;
        buf_addf(out, "<tr><th>%s</th><td>", parts[i]);
        if (cJSON_IsString(o))
            val_export_xml(out, o->valuestring);
        cJSON_ArrayForEach(m, o)
        {
            struct buf value AUTO(buf_release) = BUF_INIT;

            if (cJSON_IsArray(m)) /* shown above */
                continue;
            json_canonical(m, &value);
            val_export_xml(out, m->string ? m->string : "");
            buf_addc(out, ' ');
            val_export_xml(out, cJSON_IsString(m) ? m->valuestring : buf_str(&value));
            buf_adds(out, m->next ? "<br>" : "");
        }
        buf_adds(out, "</td></tr>\n");
    }
    buf_adds(out, "</table>\n");
}

void
val_export_html(const cJSON *doc, const cJSON *compared, struct buf *out)
{
    struct buf title AUTO(buf_release) = BUF_INIT;
    const char *outcome = val_text(doc, "outcome");

    val_export_title(doc, &title);
    buf_adds(out, head);
    val_export_xml(out, buf_str(&title));
    buf_adds(out, "</title></head><body>\n<h1>");
    val_export_xml(out, buf_str(&title));
    buf_addf(out, ": <span class=\"%s\">%s</span></h1>\n<p>", outcome, outcome);
    val_export_xml(out, val_text(doc, "summary"));
    buf_adds(out, "</p>\n");
    if (compared) {
        buf_adds(out, "<ul>\n");
        val_export_compared(compared, "<li>", true, out);
        buf_adds(out, "</ul>\n");
    }
    add_checks(doc, out);
    if (json_has(doc, "trace")) {
        buf_adds(out, "<h2>Trace</h2>\n<ul>\n");
        val_export_trace(doc, "<li>", true, out);
        buf_adds(out, "</ul>\n");
    }
    plot_errors(doc, out);
    add_spreads(doc, out);
    plot_times(doc, out);
    add_bound(doc, out);
    buf_addf(out, "<p><small>%s</small></p>\n</body></html>\n",
             val_text(cJSON_GetObjectItemCaseSensitive(doc, "times"), "made"));
}
