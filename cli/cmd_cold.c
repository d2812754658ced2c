/* SPDX-License-Identifier: Apache-2.0 */
/* cold, warm, list --sizes */
#include "cli/cli.h"

#include <string.h>

/* "2 small, 1 linked" */
static void
add_kept(const cJSON *kept, struct buf *out)
{
    static const struct {
        const char *key, *text;
    } words[] = { { "cold_already", "cold already" },
                  { "in_use", "of versions in use" },
                  { "linked", "linked by a target or a pull --link" },
                  { "young", "brought back lately" },
                  { "no_gain", "would gain nothing" },
                  { "chain_too_long", "stand whole for many others" },
                  { "small", "small" } };
    const char *sep = "";

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (cli_num(kept, words[i].key) > 0) {
            buf_addf(out, "%s%.0f %s", sep, cli_num(kept, words[i].key), words[i].text);
            sep = ", ";
        }
}

void
cmd_cold(const cJSON *reply, bool failed, struct buf *out)
{
    static const char *const titles[] = { "VERSION", "FILES", "WHOLE", "COLD",
                                          "LEFT AS THEY ARE" };
    const char *would = cli_bool(reply, "dry_run") ? "would be" : "are now";
    double whole = 0, stored = 0;
    int n_kept = 0;
    struct cli_table t;
    struct buf cell AUTO(buf_release) = BUF_INIT;

    if (failed && !cli_list(reply, "versions"))
        return;
    cli_table_start(&t, 5, titles);
    for (const cJSON *v = cli_list(reply, "versions"); v; v = v->next) {
        cli_table_cell(&t, cli_str(v, "version"));
        buf_addf(&cell, "%.0f", cli_num(v, "files"));
        cli_table_cell_buf(&t, &cell);
        cli_size(cli_num(v, "bytes"), &cell);
        cli_table_cell_buf(&t, &cell);
        cli_size(cli_num(v, "stored_bytes"), &cell);
        cli_table_cell_buf(&t, &cell);
        add_kept(cJSON_GetObjectItemCaseSensitive(v, "kept"), &cell);
        cli_table_cell_buf(&t, &cell);
        whole += cli_num(v, "bytes");
        stored += cli_num(v, "stored_bytes");
    }
    cli_table_end(&t, out);
    for (const cJSON *k = cli_list(reply, "kept"); k; k = k->next)
        n_kept++;
    if (n_kept > 0)
        buf_addf(out,
                 "%d versions stay whole (in use, newest of their model, or "
                 "younger than --older)\n",
                 n_kept);
    if (whole == 0) {
        buf_adds(out, "nothing to make cold\n");
        return;
    }
    cli_size(whole, out);
    buf_addf(out, " %s ", would);
    cli_size(stored, out);
    buf_addc(out, '\n');
}

void
cmd_warm(const cJSON *reply, bool failed, struct buf *out)
{
    if (failed)
        return;
    buf_addf(out, "%s: ", cli_str(reply, "version"));
    if (cli_num(reply, "files") > 0) {
        buf_addf(out, "%.0f files, ", cli_num(reply, "files"));
        cli_size(cli_num(reply, "bytes"), out);
        buf_adds(out, ", whole again\n");
    } else {
        buf_adds(out, "no file of it is cold\n");
    }
}

static void
add_sizes_row(struct cli_table *t, const char *name, const cJSON *o, const char *state)
{
    static const char *const keys[] = { "logical_bytes", "stored_bytes",
                                        "unique_bytes" };
    struct buf cell AUTO(buf_release) = BUF_INIT;

    cli_table_cell(t, name);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        cli_size(cli_num(o, keys[i]), &cell);
        cli_table_cell_buf(t, &cell);
    }
    cli_table_cell(t, state);
}

void
cli_sizes(const cJSON *reply, struct buf *out)
{
    static const char *const titles[] = { "VERSION", "LOGICAL", "STORED", "UNIQUE",
                                          "" };
    struct buf name AUTO(buf_release) = BUF_INIT;
    const cJSON *total = cJSON_GetObjectItemCaseSensitive(reply, "total");
    struct cli_table t;

    cli_table_start(&t, 5, titles);
    for (const cJSON *v = cli_list(reply, "versions"); v; v = v->next) {
        buf_clear(&name);
        buf_addf(&name, "%s@%.0f", cli_str(v, "model"), cli_num(v, "number"));
        /* small files never become cold */
        add_sizes_row(&t, buf_str(&name), v,
                      2 * cli_num(v, "cold_bytes") > cli_num(v, "logical_bytes")
                          ? "cold"
                          : "hot");
    }
    for (const cJSON *m = cli_list(reply, "models"); m; m = m->next) {
        buf_clear(&name);
        buf_addf(&name, "%s, all", cli_str(m, "model"));
        add_sizes_row(&t, buf_str(&name), m, "");
    }
    if (total)
        add_sizes_row(&t, "total", total, "");
    cli_table_end(&t, out);
}
