/* SPDX-License-Identifier: Apache-2.0 */
/* grant, revoke, grant list, audit verify (audit log: cmd_versions.c) */
#include "cli/cli.h"

static void
add_grant(const cJSON *reply, const char *verb, struct buf *out)
{
    buf_addf(out, "%s %s %s on %s%s\n", cli_str(reply, "user"), verb,
             cli_str(reply, "right"), cli_str(reply, "on"),
             cli_bool(reply, "changed") ? "" : " (as before)");
}

void
cmd_grant(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    add_grant(reply, "may", out);
}

void
cmd_revoke(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    add_grant(reply, "no longer has", out);
}

void
cmd_grant_list(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    static const char *const titles[] = { "USER", "RIGHT", "ON", "GIVEN BY", "TIME" };
    struct cli_table t;
    struct buf cell AUTO(buf_release) = BUF_INIT;
    if (!cli_list(reply, "grants")) {
        buf_adds(out, "no grants: only the store's owner may do anything\n");
        return;
    }
    cli_table_start(&t, 5, titles);
    for (const cJSON *g = cli_list(reply, "grants"); g; g = g->next) {
        cli_table_cell(&t, cli_str(g, "user"));
        cli_table_cell(&t, cli_str(g, "right"));
        cli_table_cell(&t, cli_str(g, "on"));
        cli_table_cell(&t, cli_str(g, "by"));
        cli_time(cli_str(g, "time"), &cell);
        cli_table_cell_buf(&t, &cell);
    }
    cli_table_end(&t, out);
}

void
cmd_audit_verify(const cJSON *reply, bool failed, struct buf *out)
{
    if (!failed)
        buf_addf(
            out,
            "%.0f events; the chain holds, and the signed head covers %.0f of them\n",
            cli_num(reply, "events"), cli_num(reply, "signed_head"));
}
