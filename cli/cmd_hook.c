/* SPDX-License-Identifier: Apache-2.0 */
/* hook list, hook show, hook set, hook remove */
#include "base/crypto.h"
#include "cli/cli.h"

void
cmd_hook_list(const cJSON *reply, bool failed, struct buf *out)
{
    static const char *const titles[] = { "HOOK", "BYTES", "MODE", "SHA-256",
                                          "CALLED" };
    struct buf cell AUTO(buf_release) = BUF_INIT;
    struct cli_table t;

    if (failed)
        return;
    if (!cli_list(reply, "hooks")) {
        buf_adds(out, "no hooks that you may see: sluice hook set NAME FILE\n");
        return;
    }
    cli_table_start(&t, 5, titles);
    for (const cJSON *h = cli_list(reply, "hooks"); h; h = h->next) {
        const char *broken = cli_str(h, "error");

        cli_table_cell(&t, cli_str(h, "name"));
        buf_addf(&cell, "%.0f", cli_num(h, "bytes"));
        cli_table_cell_buf(&t, &cell);
        cli_table_cell(&t, cli_str(h, "mode"));
        buf_addf(&cell, "%.12s", cli_str(h, "sha256"));
        cli_table_cell_buf(&t, &cell);
        cli_table_cell(&t, broken[0]                 ? broken
                           : cli_str(h, "called")[0] ? cli_str(h, "called")
                                                     : "never: nothing knows the name");
    }
    cli_table_end(&t, out);
}

void
cmd_hook_show(const cJSON *reply, bool failed, struct buf *out)
{
    struct err none = ERR_INIT;

    if (!failed && base64_decode(out, str_of(cli_str(reply, "base64")), &none) < 0)
        buf_addf(out, "%s\n", none.msg);
}

void
cmd_hook_set(const cJSON *reply, bool failed, struct buf *out)
{
    if (!failed)
        buf_addf(out, "hook %s is in place (%.12s), called %s\n",
                 cli_str(reply, "name"), cli_str(reply, "sha256"),
                 cli_str(reply, "called"));
}

void
cmd_hook_remove(const cJSON *reply, bool failed, struct buf *out)
{
    if (!failed)
        buf_addf(out, "hook %s is gone\n", cli_str(reply, "name"));
}
