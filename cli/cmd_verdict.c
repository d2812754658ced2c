/* SPDX-License-Identifier: Apache-2.0 */
/* verdict show, verdict export, replay */
#include "cli/cli.h"

#include <string.h>

void
cmd_verdict_show(const cJSON *reply, bool failed, struct buf *out)
{
    const cJSON *doc = cJSON_GetObjectItemCaseSensitive(reply, "document");
    const cJSON *set = cJSON_GetObjectItemCaseSensitive(doc, "set");
    const cJSON *backend = cJSON_GetObjectItemCaseSensitive(doc, "backend");
    struct buf cell AUTO(buf_release) = BUF_INIT;
    static const char *const titles[] = { "", "CHECK", "WANTED", "SAW" };
    struct cli_table t;

    (void)failed;
    if (!doc)
        return;
    cli_time(cli_str(reply, "time"), &cell);
    buf_addf(out, "verdict %.0f: %s %s by %s\n", cli_num(reply, "id"),
             cli_str(reply, "version"), cli_str(doc, "outcome"), cli_str(set, "name"));
    buf_addf(out, "  %s\n  %s, by %s, on %s %s; signature %s\n",
             cli_str(doc, "summary"), buf_str(&cell), cli_str(doc, "by"),
             cli_str(backend, "name"), cli_str(backend, "version"),
             cli_str(reply, "signature"));
    buf_clear(&cell);
    cli_table_start(&t, 4, titles);
    for (const cJSON *c = cli_list(doc, "checks"); c; c = c->next) {
        cli_table_cell(&t, cli_bool(c, "ok")             ? "ok"
                           : cli_bool(c, "inconclusive") ? "??"
                                                         : "NO");
        cli_table_cell(&t, cli_str(c, "id"));
        cli_table_cell(&t, cli_str(c, "wanted"));
        buf_adds(&cell, cli_str(c, "saw"));
        cli_measured(doc, c, &cell);
        cli_table_cell_buf(&t, &cell);
    }
    cli_table_end(&t, out);
    if (json_has(doc, "trace"))
        cli_add_trace(cJSON_GetObjectItemCaseSensitive(doc, "trace"), out);
}

void
cmd_verdict_export(const cJSON *reply, bool failed, struct buf *out)
{
    if (failed)
        return;
    if (cli_str(reply, "out")[0])
        buf_addf(out, "verdict %.0f as %s in %s\n", cli_num(reply, "id"),
                 cli_str(reply, "format"), cli_str(reply, "out"));
    else
        buf_adds(out, cli_str(reply, "text"));
}

void
cmd_replay(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    if (!cJSON_HasObjectItem(reply, "differences"))
        return;
    buf_addf(out, "verdict %.0f of %s: %s then, %s now%s\n", cli_num(reply, "id"),
             cli_str(reply, "version"), cli_str(reply, "was"), cli_str(reply, "is"),
             cli_list(reply, "differences") ? "" : "; the same but for times");
    for (const cJSON *d = cli_list(reply, "differences"); d; d = d->next)
        buf_addf(out, "  %s: %s, was %s\n", cli_str(d, "where"),
                 cli_str(d, "is")[0] ? cli_str(d, "is") : "gone",
                 cli_str(d, "was")[0] ? cli_str(d, "was") : "not there");
}
