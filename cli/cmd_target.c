/* SPDX-License-Identifier: Apache-2.0 */
/* target adopt, target check, target step */
#include "cli/cli.h"

#include <string.h>

static void
add_model(const cJSON *m, const char *alias, struct buf *out)
{
    static const char *const titles[] = { "DIRECTORY", "BECOMES", "DIGEST", "SIZE",
                                          "" };
    struct buf cell AUTO(buf_release) = BUF_INIT;
    struct cli_table t;
    cli_table_start(&t, 5, titles);
    for (const cJSON *v = cli_list(m, "versions"); v; v = v->next) {
        cli_table_cell(&t, cli_str(v, "path"));
        buf_addf(&cell, "%s@%.0f", cli_str(m, "model"), cli_num(v, "version"));
        cli_table_cell_buf(&t, &cell);
        cli_short_digest(cli_str(v, "digest"), &cell);
        cli_table_cell_buf(&t, &cell);
        cli_size(cli_num(v, "bytes"), &cell);
        cli_table_cell_buf(&t, &cell);
        buf_addf(&cell, "%s%s", cli_bool(v, "new") ? "" : "stored already; ",
                 cli_bool(v, "link") ? "the old name becomes a link" : "same name");
        cli_table_cell_buf(&t, &cell);
    }
    cli_table_end(&t, out);
    if (cli_num(m, "live") > 0)
        buf_addf(out, "%s@%s means %.0f, as %s shows\n", cli_str(m, "model"), alias,
                 cli_num(m, "live"),
                 strcmp(cli_str(m, "shown_by"), "latest") == 0 ? "latest"
                                                               : "the greatest number");
}

void
cmd_target_adopt(const cJSON *reply, bool failed, struct buf *out)
{
    for (const cJSON *m = cli_list(reply, "models"); m; m = m->next)
        add_model(m, cli_str(reply, "alias"), out);
    for (const cJSON *n = cli_list(reply, "left"); n; n = n->next)
        buf_addf(out, "%s %s: %s\n", cli_bool(n, "in_the_way") ? "IN THE WAY" : "left",
                 cli_str(n, "path"), cli_str(n, "why"));
    if (failed)
        return;
    buf_addf(out, "target %s: %s %s %s as %s\n", cli_str(reply, "target"),
             cli_str(reply, "dir"), cli_bool(reply, "done") ? "shows" : "would show",
             cli_str(reply, "alias"), cli_str(reply, "layout"));
    if (cli_bool(reply, "done"))
        buf_addf(
            out,
            "what the names held before lies in %s/.sluice/adopted: remove it when "
            "nobody has it open\n",
            cli_str(reply, "dir"));
    else
        buf_adds(out, "nothing was changed: --yes does it\n");
}

void
cmd_target_check(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    if (!cli_list(reply, "targets"))
        buf_adds(out, "no targets: sluice target add NAME DIR --alias ALIAS\n");
    for (const cJSON *t = cli_list(reply, "targets"); t; t = t->next) {
        buf_addf(out, "target %s (%s): %s\n", cli_str(t, "target"), cli_str(t, "dir"),
                 cli_bool(t, "ok") ? "as it should be" : "HAS DRIFTED");
        for (const cJSON *d = cli_list(t, "drift"); d; d = d->next)
            buf_addf(out, "  %s %s%s: wanted %s; saw %s%s%s\n", cli_str(d, "kind"),
                     cli_str(d, "path"), cli_bool(d, "repaired") ? " (mended)" : "",
                     cli_str(d, "wanted"), cli_str(d, "saw"),
                     cli_str(d, "why_not")[0] ? "; not mended: " : "",
                     cli_str(d, "why_not"));
    }
}

void
cmd_target_step(const cJSON *reply, bool failed, struct buf *out)
{
    if (!failed && !cli_list(reply, "targets"))
        buf_adds(out, "no target that has a status URL, or is told: sluice target set "
                      "NAME --status-url URL\n");
    for (const cJSON *t = cli_list(reply, "targets"); t; t = t->next) {
        buf_addf(out, "target %s: %s@%s release %.0f: %s", cli_str(t, "target"),
                 cli_str(t, "model"), cli_str(t, "alias"), cli_num(t, "release"),
                 cli_str(t, "stage"));
        for (const cJSON *w = cli_list(t, "wants"); w; w = w->next)
            buf_addf(out, "%s%s", w == cli_list(t, "wants") ? "; wants " : ", ",
                     w->valuestring);
        if (cli_str(t, "error")[0])
            buf_addf(out, "; %s", cli_str(t, "error"));
        if (cli_str(t, "not_told")[0])
            buf_addf(out, "; its server was not told: %s", cli_str(t, "not_told"));
        buf_addc(out, '\n');
    }
}
