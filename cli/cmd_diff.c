/* SPDX-License-Identifier: Apache-2.0 */
/* diff: one screen; long lists are cut (--json has all of them). */
#include "cli/cli.h"

#include <string.h>

enum { MOST_LINES = 12 };

static void
add_counts(const cJSON *reply, const char *list, const char *key, const char *title,
           struct buf *out)
{
    const cJSON *first = cli_list(reply, list);
    if (!first)
        return;
    buf_addf(out, "%s:", title);
    int n = 0;
    for (const cJSON *o = first; o; o = o->next, n++)
        if (n < 4 * MOST_LINES)
            buf_addf(out, " %s %+.0f", cli_str(o, key),
                     cli_num(o, "b") - cli_num(o, "a"));
    buf_adds(out, n > 4 * MOST_LINES ? " …\n" : "\n");
}

static void
add_signatures(const cJSON *reply, struct buf *out)
{
    for (const cJSON *s = cli_list(reply, "signatures"); s; s = s->next) {
        buf_addf(out, "signature %s: %s%s\n", cli_str(s, "signature"),
                 cli_str(s, "change"),
                 cli_bool(s, "breaks_callers") ? "; callers break" : "");
        for (const cJSON *w = cli_list(s, "why"); w; w = w->next)
            buf_addf(out, "  %s\n", w->valuestring);
    }
}

static void
add_tensors(const cJSON *reply, struct buf *out)
{
    const cJSON *first = cli_list(reply, "tensors");
    struct cli_table t;
    struct buf cell AUTO(buf_release) = BUF_INIT;
    int n = 0;
    if (!first)
        return;
    for (const cJSON *o = first; o; o = o->next)
        n++;
    buf_addf(out, "tensors: %d differ (of %.0f and %.0f), ", n,
             cli_num(reply, "tensors_a"), cli_num(reply, "tensors_b"));
    cli_size(cli_num(reply, "tensor_bytes_changed"), out);
    buf_adds(out, "\n");
    cli_table_start(&t, 4, NULL);
    int line = 0;
    for (const cJSON *o = first; o && line < MOST_LINES; o = o->next, line++) {
        buf_addf(&cell, "  %s", cli_str(o, "tensor"));
        cli_table_cell_buf(&t, &cell);
        cli_table_cell(&t, cli_str(o, "change"));
        buf_addf(&cell, "%s %s", cli_str(o, "dtype"), cli_str(o, "shape"));
        cli_table_cell_buf(&t, &cell);
        if (cJSON_HasObjectItem(o, "max_change"))
            buf_addf(&cell, "max %.3g (%.3g of the largest); %.0f of %.0f elements",
                     cli_num(o, "max_change"), cli_num(o, "max_relative_change"),
                     cli_num(o, "elements_changed"), cli_num(o, "elements"));
        cli_table_cell_buf(&t, &cell);
    }
    cli_table_end(&t, out);
    if (n > line)
        buf_addf(out, "  … and %d more\n", n - line);
}

void
cmd_diff(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    if (!cli_str(reply, "verdict")[0])
        return;
    buf_addf(out, "%s\n", cli_str(reply, "verdict"));
    add_signatures(reply, out);
    add_counts(reply, "ops", "op", "ops", out);
    add_counts(reply, "functions", "function", "functions", out);
    add_tensors(reply, out);
    int n = 0;
    for (const cJSON *f = cli_list(reply, "files"); f; f = f->next, n++)
        if (strncmp(cli_str(f, "file"), "assets/", 7) == 0)
            buf_addf(out, "asset %s: %s\n", cli_str(f, "file") + 7,
                     cli_str(f, "change"));
    if (n)
        buf_addf(out, "files: %d differ\n", n);
}
