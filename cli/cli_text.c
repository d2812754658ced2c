/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *
cli_str(const cJSON *obj, const char *key)
{
    const char *s = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(obj, key));
    return s ? s : "";
}

double
cli_num(const cJSON *obj, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(obj, key);
    return cJSON_IsNumber(v) ? v->valuedouble : 0;
}

bool
cli_bool(const cJSON *obj, const char *key)
{
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(obj, key));
}

const cJSON *
cli_member(const cJSON *obj, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(obj, key);
}

const cJSON *
cli_list(const cJSON *obj, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(obj, key);
    return v ? v->child : NULL;
}

void
cli_short_digest(const char *digest, struct buf *out)
{
    buf_addf(out, "%.19s", digest); /* "sha256:" and 12 digits */
}

void
cli_size(double bytes, struct buf *out)
{
    static const char *const units[] = { "B", "kB", "MB", "GB", "TB" };
    int u = 0;
    for (; bytes >= 999.5 && u < 4; u++)
        bytes /= 1000;
    if (u == 0)
        buf_addf(out, "%.0f B", bytes);
    else
        buf_addf(out, bytes < 9.95 ? "%.1f %s" : "%.0f %s", bytes, units[u]);
}

void
cli_time(const char *utc, struct buf *out)
{
    struct err err = ERR_INIT;
    int64_t ns;
    struct tm tm;
    char text[64];
    if (!utc[0])
        return;
    time_t t = clock_parse(utc, &ns, &err) < 0 ? -1 : (time_t)(ns / 1000000000);
    if (t == -1 || !localtime_r(&t, &tm)) {
        buf_adds(out, utc);
        return;
    }
    size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S%z", &tm); /* …+0200 */
    buf_add(out, text, n - 2);
    buf_addf(out, ":%s", text + n - 2);
}

void
cli_members(const cJSON *list, struct buf *out)
{
    const cJSON *first = list ? list->child : NULL;
    for (const cJSON *m = first; m; m = m->next) {
        double percent = cli_num(m, "weight") / 100;
        if (cli_num(m, "mirror") > 0) {
            buf_addf(out, " (mirrored to %.0f: %g%%)", cli_num(m, "version"),
                     cli_num(m, "mirror") / 100);
            continue;
        }
        buf_addf(out, "%s%.0f", m == first ? "" : " ", cli_num(m, "version"));
        if (first->next && percent < 100)
            buf_addf(out, "=%g%%", percent);
    }
}

void
cli_table_start(struct cli_table *t, int n_columns, const char *const *titles)
{
    *t = (struct cli_table){ .n_columns = n_columns };
    for (int i = 0; titles && i < n_columns; i++)
        cli_table_cell(t, titles[i]);
}

void
cli_table_cell(struct cli_table *t, const char *text)
{
    t->cells = xreallocarray(t->cells, (size_t)t->n_cells + 1, sizeof *t->cells);
    t->cells[t->n_cells++] = xstrdup(text);
}

void
cli_table_cell_buf(struct cli_table *t, struct buf *text)
{
    cli_table_cell(t, buf_str(text));
    buf_clear(text);
}

/* Columns a terminal gives to UTF-8 text, near enough: one for each character. */
static int
width(const char *s)
{
    int n = 0;
    for (; *s; s++)
        n += (*s & 0xc0) != 0x80;
    return n;
}

void
cli_table_end(struct cli_table *t, struct buf *out)
{
    int *widest = xcalloc((size_t)t->n_columns, sizeof *widest);
    for (int i = 0; i < t->n_cells; i++) {
        int *w = &widest[i % t->n_columns];
        *w = width(t->cells[i]) > *w ? width(t->cells[i]) : *w;
    }
    for (int i = 0; i < t->n_cells; i++) {
        int column = i % t->n_columns;
        buf_adds(out, t->cells[i]);
        bool last = column == t->n_columns - 1;
        for (int pad = last ? 0 : widest[column] + 2 - width(t->cells[i]); pad > 0;
             pad--)
            buf_addc(out, ' ');
        if (last) {
            while (out->len && out->data[out->len - 1] == ' ')
                out->data[--out->len] = '\0';
            buf_addc(out, '\n');
        }
    }
    for (int i = 0; i < t->n_cells; i++)
        free(t->cells[i]);
    free(t->cells);
    free(widest);
    *t = (struct cli_table){ 0 };
}
