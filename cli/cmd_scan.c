/* SPDX-License-Identifier: Apache-2.0 */
/* scan */
#include "cli/cli.h"

#include <string.h>

/* "signature serving_default: call → f → read" */
static void
add_way(const cJSON *way, struct buf *out)
{
    const char *sep = ": ";
    buf_addf(out, "    reached from %s %s", cli_str(way, "from"), cli_str(way, "name"));
    for (const cJSON *p = cli_list(way, "path"); p; p = p->next) {
        buf_addf(out, "%s%s", sep, p->valuestring);
        sep = " → ";
    }
    buf_addc(out, '\n');
}

static void
add_finding(const cJSON *f, struct buf *out)
{
    enum { MAX_WAYS = 3 };
    const char *op = cli_str(f, "op"), *node = cli_str(f, "node");
    const char *function = cli_str(f, "function"), *file = cli_str(f, "file");
    buf_addf(out, "%-7s %s", cli_str(f, "severity"), cli_str(f, "class"));
    if (op[0])
        buf_addf(out, " %s", op);
    if (file[0])
        buf_addf(out, " %s", file);
    if (node[0])
        buf_addf(out, " at node '%s'", node);
    if (function[0])
        buf_addf(out, " in function '%s'", function);
    buf_addf(out, "\n    %s\n", cli_str(f, "message"));
    int n = 0;
    for (const cJSON *w = cli_list(f, "reached_by"); w; w = w->next, n++)
        if (n < MAX_WAYS)
            add_way(w, out);
    if (n > MAX_WAYS)
        buf_addf(out, "    and %d other ways: --json\n", n - MAX_WAYS);
    if (!n && node[0])
        buf_adds(out, "    no signature reaches it\n");
}

/* The way out, once for each class that was found. */
static void
add_fixes(const cJSON *reply, struct buf *out)
{
    for (const cJSON *f = cli_list(reply, "findings"); f; f = f->next) {
        const cJSON *g = cli_list(reply, "findings");
        while (g != f && strcmp(cli_str(g, "class"), cli_str(f, "class")) != 0)
            g = g->next;
        if (g == f)
            buf_addf(out, "fix for %s: %s\n", cli_str(f, "class"), cli_str(f, "fix"));
    }
}

void
cmd_scan(const cJSON *reply, bool failed, struct buf *out)
{
    const cJSON *sarif = cJSON_GetObjectItemCaseSensitive(reply, "sarif");
    if (sarif) {
        json_print(sarif, out, false);
        return;
    }
    if (!cJSON_HasObjectItem(reply, "findings"))
        return;
    int n_shown = 0;
    for (const cJSON *f = cli_list(reply, "findings"); f; f = f->next, n_shown++)
        add_finding(f, out);
    if (cli_num(reply, "n_findings") > n_shown)
        buf_addf(out, "and %.0f more findings\n",
                 cli_num(reply, "n_findings") - n_shown);
    add_fixes(reply, out);
    const cJSON *allowed = cJSON_GetObjectItemCaseSensitive(reply, "allowed");
    for (const cJSON *a = allowed ? allowed->child : NULL; a; a = a->next)
        buf_addf(out, "allowed: %s, %.0f times\n", a->string, a->valuedouble);
    if (!cli_bool(reply, "reach_complete"))
        buf_adds(out, "the graph is too big to follow every signature through it\n");
    if (failed)
        return;
    for (const cJSON *m = cli_list(reply, "meta_graphs"); m; m = m->next)
        buf_addf(out, "nothing found in tag set '%s': %.0f nodes, %.0f functions\n",
                 cli_str(m, "tags"), cli_num(m, "nodes"), cli_num(m, "functions"));
}
