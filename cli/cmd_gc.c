/* SPDX-License-Identifier: Apache-2.0 */
/* delete, undelete, hold, unhold, gc, retention, quota */
#include "cli/cli.h"

static void
add_name(const cJSON *version, struct buf *out)
{
    buf_addf(out, "%s@%.0f", cli_str(version, "model"), cli_num(version, "number"));
}

void
cmd_delete(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    add_name(reply, out);
    buf_addf(out, " deleted; sluice undelete ");
    add_name(reply, out);
    if (cli_num(reply, "days") > 0)
        buf_addf(out, " brings it back for %.0f days\n", cli_num(reply, "days"));
    else
        buf_adds(out, " brings it back until gc has emptied its trash\n");
}

void
cmd_undelete(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    add_name(reply, out);
    buf_addf(out, " is %s again\n", cli_str(reply, "state"));
}

void
cmd_hold(const cJSON *reply, bool failed, struct buf *out)
{
    if (!failed)
        buf_addf(out, "%s is %s\n", cli_str(reply, "object"),
                 cli_bool(reply, "held") ? "held" : "no longer held");
}

void
cmd_unhold(const cJSON *reply, bool failed, struct buf *out)
{
    cmd_hold(reply, failed, out);
}

/* ---- gc ---- */

static void
add_sum(const cJSON *reply, const char *key, const char *text, struct buf *out)
{
    const cJSON *sum = cJSON_GetObjectItemCaseSensitive(reply, key);
    if (cli_num(sum, "objects") == 0)
        return;
    buf_addf(out, "%s %.0f objects, %.0f bytes\n", text, cli_num(sum, "objects"),
             cli_num(sum, "bytes"));
}

static void
add_versions(const cJSON *list, const char *text, struct buf *out)
{
    for (const cJSON *v = list; v; v = v->next) {
        buf_addf(out, "%s ", text);
        add_name(v, out);
        buf_addc(out, '\n');
    }
}

static void
add_items(const cJSON *reply, struct buf *out)
{
    static const char *const titles[] = { "WHAT",  "VERSION", "OBJECTS",
                                          "BYTES", "FREES",   "WHY" };
    struct cli_table t;
    struct buf cell AUTO(buf_release) = BUF_INIT;
    if (!cli_list(reply, "items")) {
        buf_adds(out, cli_num(reply, "free_after") < cli_num(reply, "need")
                          ? "nothing is left that could go\n"
                          : "nothing has to go\n");
    } else {
        cli_table_start(&t, 6, titles);
        for (const cJSON *i = cli_list(reply, "items"); i; i = i->next) {
            cli_table_cell(&t, cli_str(i, "kind"));
            cli_table_cell(&t, cli_str(i, "version"));
            buf_addf(&cell, "%.0f", cli_num(i, "objects"));
            cli_table_cell_buf(&t, &cell);
            cli_size(cli_num(i, "bytes"), &cell);
            cli_table_cell_buf(&t, &cell);
            cli_size(cli_num(i, "frees"), &cell);
            cli_table_cell_buf(&t, &cell);
            cli_table_cell(&t, cli_str(i, "why"));
        }
        cli_table_end(&t, out);
    }
    cli_size(cli_num(reply, "free_before"), out);
    buf_adds(out, cli_bool(reply, "applied") ? " were free, now "
                                             : " are free; with --yes ");
    cli_size(cli_num(reply, "free_after"), out);
    buf_addc(out, '\n');
}

void
cmd_gc(const cJSON *reply, bool failed, struct buf *out)
{
    bool dry = cli_bool(reply, "dry_run");
    if (json_has(reply, "lines")) {
        for (const cJSON *l = cli_list(reply, "lines"); l; l = l->next)
            buf_addf(out, "%s\n", l->valuestring);
        return;
    }
    if (json_has(reply, "free_after"))
        add_items(reply, out);
    if (failed || json_has(reply, "items"))
        return;
    add_versions(
        cli_list(reply, "deleted"),
        dry ? "would be deleted, by retention:" : "deleted, by retention:", out);
    add_versions(cli_list(reply, "purged"),
                 dry ? "would be given up:" : "given up:", out);
    size_t n = out->len;
    add_sum(reply, "unused", dry ? "would go to the trash:" : "to the trash:", out);
    add_sum(reply, "orphans",
            dry ? "would go to the trash, files without a row:"
                : "to the trash, files without a row:",
            out);
    add_sum(reply, "freed", dry ? "would leave the disk:" : "left the disk:", out);
    if (cli_num(reply, "still_linked_bytes") > 0)
        buf_addf(out, "  of it %.0f bytes stay on the disk: something else has links\n",
                 cli_num(reply, "still_linked_bytes"));
    add_sum(reply, "waiting",
            "left alone for now, young or perhaps in use by a push:", out);
    if (out->len == n)
        buf_adds(out, "nothing to collect\n");
}

/* ---- retention, quota ---- */

static void
add_rules(const cJSON *rules, struct buf *out)
{
    buf_addf(out, "the newest %.0f", cli_num(rules, "keep_last"));
    if (cli_str(rules, "ever")[0])
        buf_addf(out, ", those ever live on %s", cli_str(rules, "ever"));
    if (cli_num(rules, "younger") > 0)
        buf_addf(out, ", those younger than %.0f days", cli_num(rules, "younger"));
    buf_addc(out, '\n');
}

void
cmd_retention_set(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    buf_addf(out, "%s keeps ", cli_str(reply, "model"));
    add_rules(reply, out);
}

void
cmd_retention_clear(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    buf_addf(out, "%s has no rules of its own any more\n", cli_str(reply, "model"));
}

void
cmd_retention_show(const cJSON *reply, bool failed, struct buf *out)
{
    static const char *const titles[] = { "VERSION", "BYTES", "PUSHED", "", "WHY" };
    const cJSON *rules = cJSON_GetObjectItemCaseSensitive(reply, "rules");
    struct cli_table t;
    struct buf cell AUTO(buf_release) = BUF_INIT;
    (void)failed;
    if (rules) {
        buf_adds(out,
                 cli_bool(rules, "own") ? "keeps " : "keeps, by the rules of '*', ");
        add_rules(rules, out);
    }
    cli_table_start(&t, 5, titles);
    for (const cJSON *v = cli_list(reply, "versions"); v; v = v->next) {
        add_name(v, &cell);
        cli_table_cell_buf(&t, &cell);
        cli_size(cli_num(v, "bytes"), &cell);
        cli_table_cell_buf(&t, &cell);
        cli_time(cli_str(v, "pushed"), &cell);
        cli_table_cell_buf(&t, &cell);
        cli_table_cell(&t, cli_bool(v, "kept") ? "stays" : "goes");
        cli_table_cell(&t, cli_str(v, "why"));
    }
    cli_table_end(&t, out);
}

void
cmd_quota_set(const cJSON *reply, bool failed, struct buf *out)
{
    const char *model = cli_str(reply, "model");
    double bytes = cli_num(reply, model[0] ? "max" : "min_free");
    (void)failed;
    if (model[0])
        buf_addf(out, "%s may take ", model);
    else
        buf_adds(out, "pushes must leave free ");
    if (bytes > 0)
        cli_size(bytes, out);
    else
        buf_adds(out, model[0] ? "what it wants" : "nothing");
    buf_addc(out, '\n');
}

void
cmd_quota_show(const cJSON *reply, bool failed, struct buf *out)
{
    static const char *const titles[] = { "MODEL", "VERSIONS", "TAKES", "QUOTA" };
    struct cli_table t;
    struct buf cell AUTO(buf_release) = BUF_INIT;
    (void)failed;
    cli_table_start(&t, 4, titles);
    for (const cJSON *m = cli_list(reply, "models"); m; m = m->next) {
        cli_table_cell(&t, cli_str(m, "model"));
        buf_addf(&cell, "%.0f", cli_num(m, "versions"));
        cli_table_cell_buf(&t, &cell);
        cli_size(cli_num(m, "used"), &cell);
        cli_table_cell_buf(&t, &cell);
        if (json_has(m, "max"))
            cli_size(cli_num(m, "max"), &cell);
        cli_table_cell_buf(&t, &cell);
    }
    cli_table_end(&t, out);
    cli_size(cli_num(reply, "free"), out);
    buf_adds(out, " are free");
    if (json_has(reply, "min_free")) {
        buf_adds(out, ", pushes leave ");
        cli_size(cli_num(reply, "min_free"), out);
    }
    buf_addc(out, '\n');
}
