/* SPDX-License-Identifier: Apache-2.0 */
/* diff, checkpoint compare: one screen; long lists are cut (--json has all of them). */
#include "cli/cli.h"

#include <string.h>

enum { MOST_LINES = 12 };

/* "ops: MatMul +1 Relu -2", at most `most` of them. */
static void
add_counts(const cJSON *reply, const char *list, const char *key, int most,
           struct buf *out)
{
    const cJSON *first = cli_list(reply, list);
    if (!first)
        return;
    buf_addf(out, "%s:", list);
    int n = 0;
    for (const cJSON *o = first; o; o = o->next, n++)
        if (n < most)
            buf_addf(out, " %s %+.0f", cli_str(o, key),
                     cli_num(o, "b") - cli_num(o, "a"));
    if (n > most)
        buf_addf(out, " … and %d more", n - most);
    buf_adds(out, "\n");
}

static void
add_signatures(const cJSON *reply, struct buf *out)
{
    for (const cJSON *t = cli_list(reply, "tag_sets"); t; t = t->next)
        buf_addf(out, "tag set '%s': %s%s\n", cli_str(t, "tags"), cli_str(t, "change"),
                 strcmp(cli_str(t, "change"), "removed") == 0 ? "; callers break" : "");
    for (const cJSON *s = cli_list(reply, "signatures"); s; s = s->next) {
        buf_addf(out, "signature %s: %s%s\n", cli_str(s, "signature"),
                 cli_str(s, "change"),
                 cli_bool(s, "breaks_callers") ? "; callers break" : "");
        if (strcmp(cli_str(s, "change"), "removed") == 0)
            continue;
        for (const cJSON *w = cli_list(s, "why"); w; w = w->next)
            buf_addf(out, "  %s\n", w->valuestring);
    }
    if (!cli_bool(reply, "breaks_callers"))
        buf_adds(out, "callers: none breaks\n");
}

/* The key of a variable without what every key ends with. */
static void
add_key(const char *key, struct buf *out)
{
    static const char end[] = "/.ATTRIBUTES/VARIABLE_VALUE";
    size_t n = strlen(key), k = sizeof end - 1;
    bool is_long = n > k && strcmp(key + n - k, end) == 0;
    buf_addf(out, "%.*s", (int)(is_long ? n - k : n), key);
}

static void
add_change(const cJSON *o, struct buf *out)
{
    if (!json_has(o, "max_change"))
        return;
    buf_addf(out, "max %.3g (", cli_num(o, "max_change"));
    if (json_has(o, "max_relative_change"))
        buf_addf(out, "%.3g of the largest", cli_num(o, "max_relative_change"));
    else
        buf_adds(out, "was all zero");
    buf_addf(out, "); mean %.3g; %.0f of %.0f elements", cli_num(o, "mean_change"),
             cli_num(o, "elements_changed"), cli_num(o, "elements"));
    if (cli_num(o, "no_longer_finite") > 0)
        buf_addf(out, "; %.0f became NaN or infinite", cli_num(o, "no_longer_finite"));
}

static void
add_tensors(const cJSON *reply, struct buf *out)
{
    const cJSON *first = cli_list(reply, "tensors");
    struct cli_table t;
    struct buf cell AUTO(buf_release) = BUF_INIT;
    int n = 0, line = 0;
    if (!first)
        return;
    for (const cJSON *o = first; o; o = o->next)
        n++;
    buf_addf(out, "tensors: %d differ (of %.0f and %.0f), ", n,
             cli_num(reply, "tensors_a"), cli_num(reply, "tensors_b"));
    cli_size(cli_num(reply, "tensor_bytes_changed"), out);
    buf_adds(out, "\n");
    cli_table_start(&t, 4, NULL);
    for (const cJSON *o = first; o && line < MOST_LINES; o = o->next, line++) {
        buf_adds(&cell, "  ");
        add_key(cli_str(o, "tensor"), &cell);
        if (cli_str(o, "tensor_was")[0]) {
            buf_adds(&cell, ", was ");
            add_key(cli_str(o, "tensor_was"), &cell);
        }
        cli_table_cell_buf(&t, &cell);
        cli_table_cell(&t, cli_str(o, "change"));
        if (cli_str(o, "dtype_was")[0])
            buf_addf(&cell, "%s %s, was ", cli_str(o, "dtype"), cli_str(o, "shape"));
        buf_addf(&cell, "%s %s",
                 cli_str(o, cli_str(o, "dtype_was")[0] ? "dtype_was" : "dtype"),
                 cli_str(o, cli_str(o, "shape_was")[0] ? "shape_was" : "shape"));
        cli_table_cell_buf(&t, &cell);
        add_change(o, &cell);
        cli_table_cell_buf(&t, &cell);
    }
    cli_table_end(&t, out);
    if (n > line)
        buf_addf(out, "  … and %d more\n", n - line);
}

static void
add_files(const cJSON *reply, struct buf *out)
{
    static const char assets[] = "assets/";
    int n = 0;
    for (const cJSON *f = cli_list(reply, "files"); f; f = f->next)
        if (strncmp(cli_str(f, "file"), assets, sizeof assets - 1) == 0)
            buf_addf(out, "asset %s: %s\n", cli_str(f, "file") + sizeof assets - 1,
                     cli_str(f, "change"));
    for (const cJSON *f = cli_list(reply, "files"); f; f = f->next, n++)
        if (n < MOST_LINES)
            buf_addf(out, "%s %s %s", n ? "," : "files:", cli_str(f, "file"),
                     cli_str(f, "change"));
    if (n > MOST_LINES)
        buf_addf(out, ", … and %d more", n - MOST_LINES);
    buf_adds(out, n ? "\n" : "");
}

void
cmd_diff(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    if (!cli_str(reply, "verdict")[0])
        return;
    buf_addf(out, "%s\n", cli_str(reply, "verdict"));
    const cJSON *same = cJSON_GetObjectItemCaseSensitive(reply, "same");
    if (same && !cli_bool(same, "meaning"))
        add_signatures(reply, out);
    add_counts(reply, "ops", "op", 4 * MOST_LINES, out);
    add_counts(reply, "functions", "function", MOST_LINES, out);
    if (same && !cli_bool(same, "graph") && !cli_list(reply, "ops") &&
        !cli_list(reply, "functions") && !cli_list(reply, "signatures"))
        buf_adds(out, "graph: the same ops and functions, but other attributes, "
                      "constants or connections\n");
    if (cli_str(reply, "paired")[0])
        buf_adds(out, "tensors are paired by the object graphs: their keys differ\n");
    add_tensors(reply, out);
    add_files(reply, out);
}

void
cmd_checkpoint_compare(const cJSON *reply, bool failed, struct buf *out)
{
    cmd_diff(reply, failed, out);
    if (cli_num(reply, "tensors_same") > 0)
        buf_addf(out, "same: %.0f tensors\n", cli_num(reply, "tensors_same"));
}
