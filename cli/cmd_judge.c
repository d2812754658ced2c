/* SPDX-License-Identifier: Apache-2.0 */
/* validate, policy set, policy show */
#include "cli/cli.h"

#include <string.h>

/* "accuracy 0.962 of 500 (at least 0.93; at most 0.01 worse than production)" */
static void
add_metric(const cJSON *m, struct buf *out)
{
    static const struct {
        const char *key, *before, *after;
        double times;
    } limits[] = {
        { "min", "at least ", "", 1 },
        { "max", "at most ", "", 1 },
        { "max_drop", "at most ", " worse than ", 1 },
        { "max_drop_relative", "at most ", " % worse than ", 100 },
    };
    const char *sep = " (";

    buf_addf(out, "  %s %.4g of %.0f", cli_str(m, "title"), cli_num(m, "value"),
             cli_num(m, "n"));
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        if (!cJSON_HasObjectItem(m, limits[i].key))
            continue;
        buf_addf(out, "%s%s%g%s%s", sep, limits[i].before,
                 cli_num(m, limits[i].key) * limits[i].times, limits[i].after,
                 limits[i].after[0] ? cli_str(m, "baseline") : "");
        sep = "; ";
    }
    buf_adds(out, sep[0] == ' ' ? "" : ")");
    buf_addf(out, "%s%s\n", cli_str(m, "why")[0] ? ": " : "", cli_str(m, "why"));
}

static void
add_verdict(const cJSON *v, struct buf *out)
{
    const cJSON *report = cJSON_GetObjectItemCaseSensitive(v, "report");
    const char *unsupported = cli_str(report, "unsupported");
    int n_cases = 0, n_passed = 0;
    for (const cJSON *c = cli_list(report, "cases"); c; c = c->next) {
        n_cases++;
        n_passed += strcmp(cli_str(c, "verdict"), "passed") == 0;
    }
    buf_addf(out, "%-11s %s (%s): %d of %d cases\n", cli_str(v, "verdict"),
             cli_str(v, "set"), cli_str(v, "kind"), n_passed, n_cases);
    if (unsupported[0])
        buf_addf(out, "  %s\n", unsupported);
    if (cli_str(report, "error")[0])
        buf_addf(out, "  %s\n", cli_str(report, "error"));
    for (const cJSON *c = cli_list(report, "cases"); c; c = c->next)
        if (strcmp(cli_str(c, "verdict"), "failed") == 0)
            buf_addf(out, "  %s: %s\n", cli_str(c, "name"), cli_str(c, "why"));
    for (const cJSON *m = cli_list(report, "metrics"); m; m = m->next)
        if (cJSON_HasObjectItem(m, "value"))
            add_metric(m, out);
}

void
cmd_validate(const cJSON *reply, bool failed, struct buf *out)
{
    for (const cJSON *v = cli_list(reply, "verdicts"); v; v = v->next)
        add_verdict(v, out);
    if (!failed && strcmp(cli_str(reply, "state"), "quarantined") == 0)
        buf_addf(out, "it is quarantined still: sluice accept %s\n",
                 cli_str(reply, "version"));
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
