/* SPDX-License-Identifier: Apache-2.0 */
/* agent: what a look found, a line each. How it goes on looking: cli_agent.c. */
#include "cli/cli.h"

void
cmd_agent(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    for (const cJSON *n = cli_list(reply, "notes"); n; n = n->next)
        buf_addf(out, "note: %s\n", n->valuestring);
    if (cli_str(reply, "away")[0])
        buf_addf(out, "away: %s; this host stays as it is\n", cli_str(reply, "away"));
    else if (!cli_list(reply, "models"))
        buf_adds(out, "nothing is live there yet\n");
    for (const cJSON *m = cli_list(reply, "models"); m; m = m->next)
        buf_addf(out, "%s@%s release %.0f: %s; shows %s%s%s\n", cli_str(m, "model"),
                 cli_str(m, "alias"), cli_num(m, "release"), cli_str(m, "state"),
                 cli_str(m, "shows")[0] ? cli_str(m, "shows") : "nothing",
                 cli_str(m, "detail")[0] ? ": " : "", cli_str(m, "detail"));
    if (!cli_bool(reply, "takes_reports"))
        buf_addf(out,
                 "the store takes no reports: it is on a read-only file system; they "
                 "are kept here\n");
}
