/* SPDX-License-Identifier: Apache-2.0 */
/* grants, roles, explain, audit verify (audit log: cmd_versions.c) */
#include "cli/cli.h"

/* " from T until T", as far as it is limited. */
static void
add_limits(const cJSON *g, struct buf *out)
{
    struct buf time AUTO(buf_release) = BUF_INIT;
    if (!cli_str(g, "until")[0])
        return;
    cli_time(cli_str(g, "until"), &time);
    buf_addf(out, " until %s", buf_str(&time));
}

static void
add_grant(const cJSON *reply, const char *verb, const char *deny, struct buf *out)
{
    buf_addf(out, "%s %s %s on %s", cli_str(reply, "user"),
             cli_bool(reply, "deny") ? deny : verb, cli_str(reply, "right"),
             cli_str(reply, "on"));
    add_limits(reply, out);
    buf_adds(out, cli_bool(reply, "changed") ? "\n" : " (as before)\n");
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
    if (failed)
        return;
    add_grant(reply, "may", "may not", out);
    add_targets(reply, out);
}

void
cmd_revoke(const cJSON *reply, bool failed, struct buf *out)
{
    if (failed)
        return;
    add_grant(reply, "no longer has", "is no longer denied", out);
    add_targets(reply, out);
}

static void
add_role(const cJSON *reply, const char *verb, struct buf *out)
{
    buf_addf(out, "%s %s role %s", cli_str(reply, "user"), verb,
             cli_str(reply, "role"));
    add_limits(reply, out);
    buf_adds(out, cli_bool(reply, "changed") ? "\n" : " (as before)\n");
    add_targets(reply, out);
}

void
cmd_role_give(const cJSON *reply, bool failed, struct buf *out)
{
    if (!failed)
        add_role(reply, "has", out);
}

void
cmd_role_take(const cJSON *reply, bool failed, struct buf *out)
{
    if (!failed)
        add_role(reply, "no longer has", out);
}

/* From and until, and who gave it when. */
static void
add_cells(struct cli_table *t, const cJSON *g)
{
    struct buf cell AUTO(buf_release) = BUF_INIT;
    buf_adds(&cell, cli_str(g, "until")[0] ? "" : "-");
    if (cli_str(g, "until")[0])
        cli_time(cli_str(g, "until"), &cell);
    cli_table_cell_buf(t, &cell);
    cli_table_cell(t, cli_str(g, "by"));
    cli_time(cli_str(g, "from"), &cell);
    cli_table_cell_buf(t, &cell);
}

void
cmd_grant_list(const cJSON *reply, bool failed, struct buf *out)
{
    static const char *const titles[] = { "USER",  "RIGHT",    "ON",
                                          "UNTIL", "GIVEN BY", "SINCE" };
    struct cli_table t;
    if (failed)
        return;
    if (!cli_list(reply, "grants")) {
        buf_adds(
            out,
            "no grants that you may see: the store's owner may do everything, others "
            "what they are granted\n");
        return;
    }
    cli_table_start(&t, 6, titles);
    for (const cJSON *g = cli_list(reply, "grants"); g; g = g->next) {
        char *right AUTO(free_ptr) =
            xasprintf("%s%s", cli_bool(g, "deny") ? "not " : "", cli_str(g, "right"));
        cli_table_cell(&t, cli_str(g, "user"));
        cli_table_cell(&t, right);
        cli_table_cell(&t, cli_str(g, "on"));
        add_cells(&t, g);
    }
    cli_table_end(&t, out);
}

void
cmd_role_list(const cJSON *reply, bool failed, struct buf *out)
{
    static const char *const titles[] = { "USER", "ROLE", "UNTIL", "GIVEN BY",
                                          "SINCE" };
    struct cli_table t;
    if (failed)
        return;
    if (!cli_list(reply, "roles")) {
        buf_adds(out, "nobody has a role: sluice role give USER ROLE\n");
        return;
    }
    cli_table_start(&t, 5, titles);
    for (const cJSON *g = cli_list(reply, "roles"); g; g = g->next) {
        cli_table_cell(&t, cli_str(g, "user"));
        cli_table_cell(&t, cli_str(g, "role"));
        add_cells(&t, g);
    }
    cli_table_end(&t, out);
}

static void
add_rule(const cJSON *g, struct buf *out)
{
    struct buf time AUTO(buf_release) = BUF_INIT;
    cli_time(cli_str(g, "time"), &time);
    if (cli_str(g, "role")[0])
        buf_addf(out, "  through role %s", cli_str(g, "role"));
    else
        buf_addf(out, "  rule %.0f: %s %s %s on %s", cli_num(g, "rule"),
                 cli_str(g, "user"), cli_bool(g, "deny") ? "may not" : "may",
                 cli_str(g, "right"), cli_str(g, "on"));
    add_limits(g, out);
    buf_addf(out, ", given by %s on %s", cli_str(g, "by"), buf_str(&time));
    if (cli_str(g, "reason")[0])
        buf_addf(out, ": %s", cli_str(g, "reason"));
    buf_addc(out, '\n');
}

void
cmd_explain(const cJSON *reply, bool failed, struct buf *out)
{
    const cJSON *rule = cJSON_GetObjectItemCaseSensitive(reply, "by_rule");
    const cJSON *role = cJSON_GetObjectItemCaseSensitive(reply, "by_role");
    if (failed && !json_has(reply, "allowed"))
        return;
    buf_addf(out, "%s %s %s on %s\n", cli_str(reply, "user"),
             cli_bool(reply, "allowed") ? "may" : "may not", cli_str(reply, "right"),
             cli_str(reply, "on"));
    if (cli_str(reply, "by_scope")[0])
        buf_addf(out, "  the scope of %s does not include it\n",
                 cli_str(reply, "by_scope"));
    else if (cli_bool(reply, "owner"))
        buf_adds(out, "  who owns the store may do everything\n");
    else if (!cJSON_IsObject(rule))
        buf_adds(out, "  no grant gives that\n");
    if (cJSON_IsObject(rule))
        add_rule(rule, out);
    if (cJSON_IsObject(role))
        add_rule(role, out);
    if (cli_str(reply, "way")[0])
        buf_addf(out, "  to allow it: %s\n", cli_str(reply, "way"));
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
