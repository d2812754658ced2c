/* SPDX-License-Identifier: Apache-2.0 */
/* cat; host want, report, list, rollout, retry, forget */
#include "cli/cli.h"

void
cmd_cat(const cJSON *reply, bool failed, struct buf *out)
{
    (void)reply, (void)failed, (void)out; /* its bytes are written */
}

void
cmd_host_want(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    if (!cli_list(reply, "models"))
        buf_addf(out, "nothing is live on %s\n", cli_str(reply, "alias"));
    for (const cJSON *m = cli_list(reply, "models"); m; m = m->next) {
        buf_addf(out, "%s@%s release %.0f: ", cli_str(m, "model"), cli_str(m, "alias"),
                 cli_num(m, "release"));
        cli_members(cJSON_GetObjectItem(m, "members"), out);
        buf_addf(out, "%s%s\n",
                 cli_bool(m, "go") ? "" : "; not now: ", cli_str(m, "why"));
    }
}

void
cmd_host_report(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    buf_addf(out, cli_bool(reply, "go") ? "noted\n" : "not noted: %s\n",
             cli_str(reply, "why"));
}

void
cmd_host_list(const cJSON *reply, bool failed, struct buf *out)
{
    static const char *const titles[] = { "HOST",  "RELEASE", "SHOWS",
                                          "STATE", "HEARD",   "" };
    struct buf cell AUTO(buf_release) = BUF_INIT;
    struct cli_table t;
    (void)failed;
    if (!cli_list(reply, "hosts")) {
        buf_adds(out, "no host follows this store: sluice agent --from …\n");
        return;
    }
    cli_table_start(&t, 6, titles);
    for (const cJSON *h = cli_list(reply, "hosts"); h; h = h->next) {
        cli_table_cell(&t, cli_str(h, "host"));
        buf_addf(&cell, "%s@%s %.0f", cli_str(h, "model"), cli_str(h, "alias"),
                 cli_num(h, "release"));
        if (cli_num(h, "release") != cli_num(h, "wanted"))
            buf_addf(&cell, " (live: %.0f)", cli_num(h, "wanted"));
        cli_table_cell_buf(&t, &cell);
        cli_table_cell(&t, cli_str(h, "shows"));
        cli_table_cell(&t, cli_str(h, "state"));
        cli_time(cli_str(h, "heard"), &cell);
        cli_table_cell_buf(&t, &cell);
        cli_table_cell(&t, cli_str(h, "detail"));
    }
    cli_table_end(&t, out);
}

void
cmd_host_rollout(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    if (!cli_bool(reply, "rule")) {
        buf_addf(out, "%s: a release goes to all hosts at once\n",
                 cli_str(reply, "alias"));
        return;
    }
    buf_addf(out, "%s: ", cli_str(reply, "alias"));
    if (cli_num(reply, "at_once") > 0)
        buf_addf(out, "%.0f at once", cli_num(reply, "at_once"));
    else
        buf_adds(out, "all at once");
    if (cli_num(reply, "max_failing") >= 0)
        buf_addf(out, ", stops with more than %.0f failing",
                 cli_num(reply, "max_failing"));
    buf_addf(out, "; silent for %.0f s counts as failed\n", cli_num(reply, "silent_s"));
}

void
cmd_host_retry(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    buf_addf(out, "%s is given %.0f release%s again\n", cli_str(reply, "host"),
             cli_num(reply, "releases"), cli_num(reply, "releases") == 1 ? "" : "s");
}

void
cmd_host_forget(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    buf_addf(out, "%s is forgotten, until it reports again\n", cli_str(reply, "host"));
}
