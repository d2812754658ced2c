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

/* Trees that should show it, and do not. */
static void
add_targets(const cJSON *reply, struct buf *out)
{
    for (const cJSON *t = cli_list(reply, "targets"); t; t = t->next)
        if (!cli_bool(t, "shown"))
            buf_addf(out,
                     "  NOT SHOWN in target %s: %s: sluice target check %s --repair\n",
                     cli_str(t, "target"), cli_str(t, "why_not"), cli_str(t, "target"));
    if (cli_str(reply, "targets_failed")[0])
        buf_addf(out, "  NOT SHOWN in targets: %s: sluice target check --repair\n",
                 cli_str(reply, "targets_failed"));
}

void
cmd_grant(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    add_grant(reply, "may", out);
    add_targets(reply, out);
}

void
cmd_revoke(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    add_grant(reply, "no longer has", out);
    add_targets(reply, out);
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
