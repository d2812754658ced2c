/* SPDX-License-Identifier: Apache-2.0 */
/* One line that says what a report found: what failed first, or what was good. */
#include "validate/val_int.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WHY_MAX 3 /* problems that a summary names */

static void
add_problem(struct buf *out, int *n, const char *name, const char *why)
{
    if (++*n <= WHY_MAX)
        buf_addf(out, "%s%s%s%s", *n > 1 ? "; " : "", name, name[0] ? ": " : "", why);
}

const char *
val_text(const cJSON *obj, const char *key)
{
    const char *s = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(obj, key));

    return s ? s : "";
}

double
val_number(const cJSON *o, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, key);

    return cJSON_IsNumber(v) ? v->valuedouble : NAN;
}

static void
add_metric_value(const cJSON *m, struct buf *out)
{
    const double value = val_number(m, "value"), n = val_number(m, "n");
    const double min = val_number(m, "min"), max = val_number(m, "max");

    if (isnan(value))
        return;
    buf_addf(out, "%s%s ", out->len ? ", " : "", val_text(m, "title"));
    val_add_number(out, value, !isnan(min) ? min : isnan(max) ? 0 : max);
    if (!isnan(min))
        buf_addf(out, " ≥ %g", min);
    if (!isnan(max))
        buf_addf(out, " ≤ %g", max);
    buf_addf(out, " (%.0f labels)", isnan(n) ? 0 : n);
}

static void
summarise(const cJSON *report, enum val_outcome outcome, struct buf *out)
{
    const cJSON *cases = cJSON_GetObjectItemCaseSensitive(report, "cases");
    const cJSON *metrics = cJSON_GetObjectItemCaseSensitive(report, "metrics"), *o;
    int n = 0, n_compared = 0;

    if (outcome == VAL_UNSUPPORTED) {
        buf_adds(out, val_text(report, "unsupported"));
        return;
    }
    cJSON_ArrayForEach(o, cases)
    {
        const cJSON *outputs = cJSON_GetObjectItemCaseSensitive(o, "outputs");

        n_compared += outputs && outputs->child;
    }
    if (outcome == VAL_PASSED) {
        if (n_compared > 0)
            buf_addf(out, "%d case%s agree%s%s%s", n_compared,
                     n_compared > 1 ? "s" : "", n_compared > 1 ? "" : "s",
                     json_has(report, "recorded") ? " with what was recorded from "
                                                  : "",
                     val_text(report, "recorded"));
        cJSON_ArrayForEach(o, metrics) add_metric_value(o, out);
        return;
    }
    if (json_has(report, "error"))
        add_problem(out, &n, "", val_text(report, "error"));
    cJSON_ArrayForEach(o, metrics) if (json_has(o, "why"))
        add_problem(out, &n, "", val_text(o, "why"));
    cJSON_ArrayForEach(o, cases) if (json_has(o, "why"))
        add_problem(out, &n, val_text(o, "name"), val_text(o, "why"));
    if (n > WHY_MAX)
        buf_addf(out, "; and %d more", n - WHY_MAX);
}

/* Of a long list the first names stay, and how many more there are: what follows in the
 * same line, or in the same error, must have room too. */
void
val_add_short(struct buf *out, const char *text)
{
    enum { MAX_BYTES = 480 };
    size_t cut = strlen(text);
    long n = 0;

    if (cut <= MAX_BYTES) {
        buf_adds(out, text);
        return;
    }
    for (cut = MAX_BYTES; cut > MAX_BYTES / 2; cut--)
        if (text[cut] == ';' || (text[cut] == ',' && text[cut + 1] == ' '))
            break;
    if (cut == MAX_BYTES / 2) { /* no list: between two characters of UTF-8 */
        for (cut = MAX_BYTES; (text[cut] & 0xc0) == 0x80; cut--)
            ;
        buf_addf(out, "%.*s …", (int)cut, text);
        return;
    }
    for (const char *p = text + cut; p;
         p = strstr(p + 1, text[cut] == ';' ? ";" : ", "))
        if (strncmp(p, ", and ", 6) == 0 || strncmp(p, "; and ", 6) == 0)
            n += strtol(p + 6, NULL, 10); /* the list counts what it left out itself */
        else
            n++;
    buf_addf(out, "%.*s, and %ld more", (int)cut, text, n);
}

/* Lists have lines that begin with blanks: "ops:\n  A\n  B" becomes "ops: A; B". */
void
val_report_summary(const cJSON *report, enum val_outcome outcome, struct buf *out)
{
    struct buf text AUTO(buf_release) = BUF_INIT, line AUTO(buf_release) = BUF_INIT;
    const char *p;

    summarise(report, outcome, &text);
    for (p = buf_str(&text); *p; p++) {
        if (*p != '\n') {
            buf_addc(&line, *p);
            continue;
        }
        buf_adds(&line, line.len > 0 && line.data[line.len - 1] == ':' ? " " : "; ");
        p += strspn(p + 1, " \n");
    }
    val_add_short(out, buf_str(&line));
}

void
val_report_problem(cJSON *report, const char *summary)
{
    cJSON_DeleteItemFromObjectCaseSensitive(report, "summary");
    json_put_str(report, "summary", summary);
}
