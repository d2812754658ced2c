/* SPDX-License-Identifier: Apache-2.0 */
/* drill */
#include "cli/cli.h"

static void
add_way(const cJSON *reply, const char *key, const char *name, struct buf *out)
{
    const cJSON *way = cJSON_GetObjectItemCaseSensitive(reply, key);
    if (!way)
        return;
    buf_addf(out, "  %s  release %.0f: %.0f ms to switch\n", name,
             cli_num(way, "release"), cli_num(way, "switch_ms"));
    for (const cJSON *t = cli_list(way, "targets"); t; t = t->next)
        if (cJSON_HasObjectItem(t, "observed_ms"))
            buf_addf(out, "         target %s answers with it after %.0f ms\n",
                     cli_str(t, "name"), cli_num(t, "observed_ms"));
        else
            buf_addf(out, "         target %s was not seen to: %s\n",
                     cli_str(t, "name"), cli_str(t, "why"));
}

void
cmd_drill(const cJSON *reply, bool failed, struct buf *out)
{
    const cJSON *from = cJSON_GetObjectItemCaseSensitive(reply, "from");
    if (!from || (failed && !cJSON_HasObjectItem(reply, "there") &&
                  !cJSON_HasObjectItem(reply, "back")))
        return;
    buf_addf(out, "%s@%s: ", cli_str(reply, "model"), cli_str(reply, "alias"));
    if (!cli_bool(reply, "interrupted")) {
        cli_members(from, out);
        buf_adds(out, " -> ");
    }
    cli_members(cJSON_GetObjectItemCaseSensitive(reply, "to"), out);
    buf_adds(out, " -> ");
    cli_members(from, out);
    if (cli_bool(reply, "interrupted"))
        buf_adds(out, ", which ends a drill that was interrupted");
    buf_addc(out, '\n');
    add_way(reply, "there", "there", out);
    add_way(reply, "back", "back ", out);
    if (cli_bool(reply, "done"))
        return;
    buf_adds(out, "  waits for");
    for (const cJSON *t = cli_list(reply, "targets"); t; t = t->next)
        buf_addf(out, " %s%s", t->valuestring, t->next ? "," : "");
    buf_adds(out, "; nothing was changed: --yes does it, and moves real traffic\n");
}
