/* SPDX-License-Identifier: Apache-2.0 */
/* resolve */
#include "cli/cli.h"

void
cmd_resolve(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    const cJSON *live = cJSON_GetObjectItemCaseSensitive(reply, "live");
    if (live)
        buf_addf(out, "%s@%s is ", cli_str(reply, "model"), cli_str(reply, "alias"));
    buf_addf(out, "%s@%.0f  %s  %s\n", cli_str(reply, "model"),
             cli_num(reply, "number"), cli_str(reply, "digest"),
             cli_str(reply, "state"));
    if (!live)
        return;
    buf_addf(out, "release %.0f: ", cli_num(reply, "release"));
    cli_members(live, out);
    buf_adds(out, ", since ");
    cli_time(cli_str(reply, "since"), out);
    buf_adds(out, cli_str(reply, "observed")[0] ? "\n" : ", not observed\n");
}
