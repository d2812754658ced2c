/* SPDX-License-Identifier: Apache-2.0 */
/* lint: findings grouped by severity and rule, why and fix once for each rule. */
#include "cli/cli.h"

#include <string.h>

static bool
same(const cJSON *a, const cJSON *b, const char *key)
{
    return a && b && strcmp(cli_str(a, key), cli_str(b, key)) == 0;
}

/* "  signature 'x', input 'y', node 'n' (Op) in function 'f': message; 1.2 MB" */
static void
add_finding(const cJSON *f, struct buf *out)
{
    static const char *const places[] = { "signature", "input",  "node",
                                          "function",  "tensor", "file" };
    const char *sep = "  ";
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (!cli_str(f, places[i])[0])
            continue;
        buf_addf(out, "%s%s '%s'", sep, places[i], cli_str(f, places[i]));
        if (strcmp(places[i], "node") == 0)
            buf_addf(out, " (%s)", cli_str(f, "op"));
        sep = ", ";
    }
    buf_addf(out, "%s%s", sep[0] == ',' ? ": " : sep, cli_str(f, "message"));
    if (cli_num(f, "bytes") > 0) {
        buf_adds(out, "; saves ");
        cli_size(cli_num(f, "bytes"), out);
    }
    buf_addc(out, '\n');
}

void
cmd_lint(const cJSON *reply, bool failed, struct buf *out)
{
    enum { MAX_SHOWN = 8 }; /* of one rule */
    const cJSON *sarif = cJSON_GetObjectItemCaseSensitive(reply, "sarif");
    const cJSON *before = NULL;
    (void)failed;
    if (sarif) {
        json_print(sarif, out, false);
        return;
    }
    if (!cJSON_HasObjectItem(reply, "findings"))
        return;
    int n = 0;
    for (const cJSON *f = cli_list(reply, "findings"); f; before = f, f = f->next) {
        if (!same(before, f, "rule")) {
            n = 0;
            buf_addf(out, "%s %s\n", cli_str(f, "severity"), cli_str(f, "rule"));
        }
        if (n++ < MAX_SHOWN)
            add_finding(f, out);
        if (same(f, f->next, "rule"))
            continue;
        if (n > MAX_SHOWN)
            buf_addf(out, "  and %d more: --json\n", n - MAX_SHOWN);
        buf_addf(out, "    why: %s\n    fix: %s\n", cli_str(f, "reason"),
                 cli_str(f, "fix"));
    }
    const cJSON *allowed = cJSON_GetObjectItemCaseSensitive(reply, "allowed");
    for (const cJSON *a = allowed ? allowed->child : NULL; a; a = a->next)
        buf_addf(out, "allowed: %s, %.0f times\n", a->string, a->valuedouble);
    if (!cli_bool(reply, "complete"))
        buf_adds(out, "the graph is too big to follow all of it: there may be more\n");
    buf_addf(
        out, "fine-tuning: %s\n",
        cli_str(cJSON_GetObjectItemCaseSensitive(reply, "fine_tuning"), "message"));
    if (cli_str(reply, "against")[0])
        buf_addf(out, "callers compared with %s\n", cli_str(reply, "against"));
    buf_addf(out, "%.0f warnings, %.0f advice in tag set '%s'\n",
             cli_num(reply, "n_warnings"), cli_num(reply, "n_advice"),
             cli_str(reply, "tag_set"));
}
