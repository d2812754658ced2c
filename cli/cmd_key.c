/* SPDX-License-Identifier: Apache-2.0 */
/* key list, key show, key rotate */
#include "cli/cli.h"

/* "3 to 17"; until the event that handed it over. */
static void
add_events(const cJSON *k, struct buf *out)
{
    buf_addf(out, "%.0f to ", cli_num(k, "from_event"));
    if (cli_num(k, "until_event") > 0)
        buf_addf(out, "%.0f", cli_num(k, "until_event"));
    else
        buf_adds(out, "now");
    if (cli_bool(k, "leaked"))
        buf_adds(out, ", leaked");
}

void
cmd_key_list(const cJSON *reply, bool failed, struct buf *out)
{
    static const char *const titles[] = { "KEY", "ALGORITHM", "FINGERPRINT", "SINCE",
                                          "EVENTS" };
    struct buf cell AUTO(buf_release) = BUF_INIT;
    struct cli_table t;

    if (failed)
        return;
    if (!cli_list(reply, "keys")) {
        buf_adds(out, "no keys that you may see\n");
        return;
    }
    cli_table_start(&t, 5, titles);
    for (const cJSON *k = cli_list(reply, "keys"); k; k = k->next) {
        cli_table_cell(&t, cli_str(k, "name"));
        cli_table_cell(&t, cli_str(k, "algorithm"));
        buf_addf(&cell, "%.16s", cli_str(k, "fingerprint"));
        cli_table_cell_buf(&t, &cell);
        cli_time(cli_str(k, "since"), &cell);
        cli_table_cell_buf(&t, &cell);
        add_events(k, &cell);
        cli_table_cell_buf(&t, &cell);
    }
    cli_table_end(&t, out);
}

void
cmd_key_show(const cJSON *reply, bool failed, struct buf *out)
{
    if (!failed)
        buf_adds(out, cli_str(reply, "pem"));
}

void
cmd_key_rotate(const cJSON *reply, bool failed, struct buf *out)
{
    if (failed)
        return;
    buf_addf(out, "key %s is now %.16s; it was %.16s, whose signatures %s\n",
             cli_str(reply, "name"), cli_str(reply, "fingerprint"),
             cli_str(reply, "before"),
             cli_bool(reply, "leaked") ? "count no more: sluice validate makes verdicts"
                                       : "stay good");
}
