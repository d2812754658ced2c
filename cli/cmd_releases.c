/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <string.h>

/* "90%", "kept loaded", "copies of 5%", "not there" */
static void
add_side(const cJSON *side, struct buf *out)
{
    if (!cJSON_IsObject(side))
        buf_adds(out, "not there");
    else if (cli_num(side, "mirror") > 0)
        buf_addf(out, "copies of %g%%", cli_num(side, "mirror") / 100);
    else if (cli_num(side, "weight") > 0)
        buf_addf(out, "%g%%", cli_num(side, "weight") / 100);
    else
        buf_adds(out, "kept loaded");
}

static void
add_changes(const cJSON *reply, struct buf *out)
{
    buf_addf(out, "%s@%s: release %.0f -> %.0f\n", cli_str(reply, "model"),
             cli_str(reply, "alias"), cli_num(reply, "from"), cli_num(reply, "to"));
    if (!cli_list(reply, "changes"))
        buf_adds(out, "  the same versions and shares\n");
    for (const cJSON *v = cli_list(reply, "changes"); v; v = v->next) {
        buf_addf(out, "  version %.0f: ", cli_num(v, "version"));
        add_side(cli_member(v, "was"), out);
        buf_adds(out, " -> ");
        add_side(cli_member(v, "becomes"), out);
        buf_addc(out, '\n');
    }
    if (cli_num(reply, "latest") != cli_num(reply, "latest_was"))
        buf_addf(out, "  latest: %.0f -> %.0f\n", cli_num(reply, "latest_was"),
                 cli_num(reply, "latest"));
}

void
cmd_releases(const cJSON *reply, bool failed, struct buf *out)
{
    static const char *const titles[] = { "RELEASE", "VERB",  "TRAFFIC", "SWITCHED AT",
                                          "BY",      "STATE", "REASON" };
    struct buf cell AUTO(buf_release) = BUF_INIT;
    struct cli_table t;
    if (failed)
        return;
    if (cli_member(reply, "changes")) {
        add_changes(reply, out);
        return;
    }
    if (!cli_list(reply, "releases")) {
        buf_addf(out, "%s@%s never had a release\n", cli_str(reply, "model"),
                 cli_str(reply, "alias"));
        return;
    }
    cli_table_start(&t, 7, titles);
    for (const cJSON *r = cli_list(reply, "releases"); r; r = r->next) {
        buf_addf(&cell, "%.0f", cli_num(r, "release"));
        cli_table_cell_buf(&t, &cell);
        cli_table_cell(&t, cli_str(r, "verb"));
        cli_members(cli_member(r, "live"), &cell);
        cli_table_cell_buf(&t, &cell);
        if (cli_str(r, "intended")[0])
            cli_time(cli_str(r, "intended"), &cell);
        cli_table_cell_buf(&t, &cell);
        cli_table_cell(&t, cli_str(r, "by"));
        cli_table_cell(&t, cli_str(r, "state"));
        cli_table_cell(&t, cli_str(r, "reason"));
    }
    cli_table_end(&t, out);
}
