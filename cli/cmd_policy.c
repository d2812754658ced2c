/* SPDX-License-Identifier: Apache-2.0 */
/* policy *, approve * */
#include "cli/cli.h"

#include <string.h>

static void
add_value(const cJSON *v, struct buf *out)
{
    if (cJSON_IsString(v))
        buf_adds(out, v->valuestring);
    else
        json_print(v, out, true);
}

/* "earlier staging (for 24h)" */
static void
add_gate(const cJSON *rule, struct buf *out)
{
    const char *sep = " (", *set = cli_str(rule, "acceptance");
    if (strcmp(set, "*") == 0)
        buf_adds(out, "a passing verdict on every acceptance set the model has, one at "
                      "least");
    else if (set[0])
        buf_addf(out, "a passing verdict on acceptance set %s", set);
    for (const cJSON *v = rule->child; v; v = v->next) {
        if (set[0] && v->valuestring == set)
            continue;
        const bool gate = !set[0] && v == rule->child;
        buf_addf(out, "%s%s ", gate ? "" : sep, v->string);
        add_value(v, out);
        sep = gate ? sep : ", ";
    }
    buf_adds(out, sep[0] == ',' ? ")" : "");
}

static void
add_policy(const cJSON *reply, struct buf *out)
{
    const cJSON *policy = cJSON_GetObjectItemCaseSensitive(reply, "policy");
    const char *model = cli_str(reply, "model");
    buf_addf(out, "policy on %s of %s:", cli_str(reply, "alias"),
             model[0] && strcmp(model, "*") != 0 ? model : "every model");
    if (!cli_list(policy, "require"))
        buf_adds(out, " none");
    for (const cJSON *r = cli_list(policy, "require"); r; r = r->next) {
        buf_adds(out, "\n  ");
        add_gate(r, out);
    }
    buf_addc(out, '\n');
}

void
cmd_policy_set(const cJSON *reply, bool failed, struct buf *out)
{
    if (!failed)
        add_policy(reply, out);
}

void
cmd_policy_show(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    add_policy(reply, out);
}

void
cmd_policy_list(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    if (!cli_list(reply, "policies"))
        buf_adds(out, "no policies: sluice policy set ALIAS --file FILE\n");
    for (const cJSON *p = cli_list(reply, "policies"); p; p = p->next) {
        add_policy(p, out);
        buf_addf(out, "  set by %s ", cli_str(p, "by"));
        cli_time(cli_str(p, "set"), out);
        buf_addc(out, '\n');
    }
}

void
cmd_policy_history(const cJSON *reply, bool failed, struct buf *out)
{
    cmd_policy_list(reply, failed, out);
}

void
cmd_policy_check(const cJSON *reply, bool failed, struct buf *out)
{
    static const char *const titles[] = { "GATE", "", "WANTED", "SEEN",
                                          "WHAT WOULD SATISFY IT" };
    struct cli_table t;
    if (!cli_list(reply, "gates"))
        return;
    cli_table_start(&t, 5, titles);
    for (const cJSON *g = cli_list(reply, "gates"); g; g = g->next) {
        cli_table_cell(&t, cli_str(g, "gate"));
        cli_table_cell(&t, cli_bool(g, "ok") ? "yes" : "NO");
        cli_table_cell(&t, cli_str(g, "wanted"));
        cli_table_cell(&t, cli_str(g, "saw"));
        cli_table_cell(&t, cli_str(g, "fix"));
    }
    cli_table_end(&t, out);
    if (!failed)
        buf_addf(out, "%s may get traffic of %s\n", cli_str(reply, "version"),
                 cli_str(reply, "alias"));
}

/* ---- approvals ---- */

static void
add_request(const cJSON *r, struct buf *out)
{
    buf_addf(out, "request %.0f: %s@%.0f for %s: %s", cli_num(r, "request"),
             cli_str(r, "model"), cli_num(r, "number"), cli_str(r, "alias"),
             cli_str(r, "state"));
    if (cli_str(r, "why")[0])
        buf_addf(out, " (%s)", cli_str(r, "why"));
    buf_addf(out, "; asked by %s ", cli_str(r, "asked_by"));
    cli_time(cli_str(r, "asked"), out);
    if (cli_str(r, "reason")[0])
        buf_addf(out, ": %s", cli_str(r, "reason"));
    buf_addc(out, '\n');
    if (cli_bool(r, "when_approved") && strcmp(cli_str(r, "state"), "open") == 0)
        buf_adds(out, "  the store promotes it when enough have approved\n");
    for (const cJSON *s = cli_list(r, "said"); s; s = s->next) {
        buf_addf(out, "  %s by %s ", cli_str(s, "what"), cli_str(s, "by"));
        cli_time(cli_str(s, "time"), out);
        buf_addf(out, "%s%s\n", cli_str(s, "text")[0] ? ": " : "", cli_str(s, "text"));
    }
    const cJSON *done = cJSON_GetObjectItemCaseSensitive(r, "promoted");
    if (cli_bool(done, "changed")) {
        buf_addf(out, "  promoted: %s@%s: ", cli_str(done, "model"),
                 cli_str(done, "alias"));
        cli_members(cJSON_GetObjectItemCaseSensitive(done, "live"), out);
        buf_addf(out, " (release %.0f)\n", cli_num(done, "release"));
    }
}

void
cmd_approve_list(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    if (!cli_list(reply, "requests"))
        buf_adds(out, "no requests: sluice approve request MODEL@N --for ALIAS\n");
    for (const cJSON *r = cli_list(reply, "requests"); r; r = r->next)
        add_request(r, out);
}

void
cmd_approve_request(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    if (cJSON_HasObjectItem(reply, "request"))
        add_request(reply, out);
}

void
cmd_approve_show(const cJSON *reply, bool failed, struct buf *out)
{
    cmd_approve_request(reply, failed, out);
}

void
cmd_approve_approve(const cJSON *reply, bool failed, struct buf *out)
{
    cmd_approve_request(reply, failed, out);
}

void
cmd_approve_reject(const cJSON *reply, bool failed, struct buf *out)
{
    cmd_approve_request(reply, failed, out);
}

void
cmd_approve_withdraw(const cJSON *reply, bool failed, struct buf *out)
{
    cmd_approve_request(reply, failed, out);
}

void
cmd_approve_comment(const cJSON *reply, bool failed, struct buf *out)
{
    cmd_approve_request(reply, failed, out);
}
