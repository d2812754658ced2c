/* SPDX-License-Identifier: Apache-2.0 */
/* golden add, golden list, validate, policy set, policy show */
#include "cli/cli.h"

#include <string.h>

void
cmd_golden_add(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    buf_addf(out, "%s golden set %s of %s %s\n", cli_str(reply, "kind"),
             cli_str(reply, "name"), cli_str(reply, "model"), cli_str(reply, "digest"));
}

void
cmd_golden_list(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    static const char *const titles[] = { "SET", "KIND", "DIGEST", "ADDED", "BY" };
    struct cli_table t;
    struct buf cell AUTO(buf_release) = BUF_INIT;
    if (!cli_list(reply, "sets")) {
        buf_adds(out, "no acceptance sets: sluice golden add MODEL DIR --name NAME\n");
        return;
    }
    cli_table_start(&t, 5, titles);
    for (const cJSON *s = cli_list(reply, "sets"); s; s = s->next) {
        cli_table_cell(&t, cli_str(s, "name"));
        cli_table_cell(&t, cli_str(s, "kind"));
        cli_short_digest(cli_str(s, "digest"), &cell);
        cli_table_cell_buf(&t, &cell);
        cli_time(cli_str(s, "added"), &cell);
        cli_table_cell_buf(&t, &cell);
        cli_table_cell(&t, cli_str(s, "by"));
    }
    cli_table_end(&t, out);
}

static void
add_verdict(const cJSON *v, struct buf *out)
{
    const cJSON *report = cJSON_GetObjectItemCaseSensitive(v, "report");
    int n_cases = 0, n_passed = 0;
    for (const cJSON *c = cli_list(report, "cases"); c; c = c->next) {
        n_cases++;
        n_passed += strcmp(cli_str(c, "verdict"), "passed") == 0;
    }
    buf_addf(out, "%-11s %s (%s): %d of %d cases\n", cli_str(v, "verdict"),
             cli_str(v, "set"), cli_str(v, "kind"), n_passed, n_cases);
    for (const cJSON *c = cli_list(report, "cases"); c; c = c->next)
        if (strcmp(cli_str(c, "verdict"), "passed") != 0)
            buf_addf(out, "  %s: %s\n", cli_str(c, "name"), cli_str(c, "why"));
    for (const cJSON *m = cli_list(report, "metrics"); m; m = m->next)
        buf_addf(out, "  %s\n", cli_str(m, "text"));
    if (cli_str(report, "unsupported")[0])
        buf_addf(out, "  %s\n", cli_str(report, "unsupported"));
}

void
cmd_validate(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    for (const cJSON *v = cli_list(reply, "verdicts"); v; v = v->next)
        add_verdict(v, out);
}

static void
add_policy(const cJSON *reply, struct buf *out)
{
    const cJSON *policy = cJSON_GetObjectItemCaseSensitive(reply, "policy");
    const char *model = cli_str(reply, "model");
    buf_addf(out, "policy on %s of %s:", cli_str(reply, "alias"),
             model[0] ? model : "every model");
    if (!cli_list(policy, "require"))
        buf_adds(out, " none");
    for (const cJSON *r = cli_list(policy, "require"); r; r = r->next) {
        const char *set = cli_str(r, "acceptance");
        if (strcmp(set, "*") == 0)
            buf_adds(out, " a passing verdict on every acceptance set the model has, "
                          "one at least");
        else
            buf_addf(out, " a passing verdict on acceptance set %s", set);
    }
    buf_addc(out, '\n');
}

void
cmd_policy_set(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    add_policy(reply, out);
}

void
cmd_policy_show(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    add_policy(reply, out);
}
