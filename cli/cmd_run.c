/* SPDX-License-Identifier: Apache-2.0 */
/* run: saved_model_cli's text for outputs; a line a case for a golden set,
 * and a line a record for warm-up. */
#include "cli/cli.h"

void
cmd_run(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    for (const cJSON *o = cli_list(reply, "outputs"); o; o = o->next) {
        buf_addf(out, "Result for output key %s:\n%s\n", cli_str(o, "key"),
                 cli_str(o, "text"));
        if (cli_str(o, "saved")[0])
            buf_addf(out, "Output %s is saved to %s\n", cli_str(o, "key"),
                     cli_str(o, "saved"));
    }
    for (const cJSON *r = cli_list(reply, "records"); r; r = r->next)
        buf_addf(out, "%-6s record %.0f  %s %s  run %.2f ms%s%s\n",
                 cli_bool(r, "ok") ? "ok" : "failed", cli_num(r, "record"),
                 cli_str(r, "kind"), cli_str(r, "signature"), cli_num(r, "run_ms"),
                 cli_bool(r, "ok") ? "" : ": ", cli_str(r, "error"));
    for (const cJSON *c = cli_list(reply, "cases"); c; c = c->next)
        buf_addf(out, "%-6s %s  load %.1f ms, run %.2f ms%s%s\n",
                 cli_bool(c, "ok") ? "ok" : "failed", cli_str(c, "name"),
                 cli_num(c, "load_ms"), cli_num(c, "run_ms"),
                 cli_bool(c, "ok") ? "" : ": ", cli_str(c, "error"));
}
