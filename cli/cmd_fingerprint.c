/* SPDX-License-Identifier: Apache-2.0 */
/* fingerprint */
#include "cli/cli.h"

static void
add_check(const cJSON *reply, struct buf *out)
{
    static const char *const titles[] = { "FIELD", "SHIPPED", "COMPUTED", "", "" };
    struct cli_table t;
    cli_table_start(&t, 5, titles);
    for (const cJSON *f = cli_list(reply, "check"); f; f = f->next) {
        cli_table_cell(&t, cli_str(f, "field"));
        cli_table_cell(&t, cli_str(f, "shipped"));
        cli_table_cell(&t, cli_str(f, "computed"));
        cli_table_cell(&t, cli_str(f, "verdict"));
        cli_table_cell(&t, cli_str(f, "note"));
    }
    cli_table_end(&t, out);
}

void
cmd_fingerprint(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    if (cli_list(reply, "check")) {
        add_check(reply, out);
        return;
    }
    const cJSON *hashes = cJSON_GetObjectItemCaseSensitive(reply, "tensorflow");
    const char *unknown = cli_str(reply, "tensorflow_unknown");
    if (!hashes && !unknown[0]) {
        buf_addf(out, "%s\n", cli_str(reply, "singleprint"));
        return;
    }
    if (unknown[0])
        buf_addf(out, "%s\n", unknown);
    else
        buf_addf(out, "TensorFlow's fingerprint, by the rules of %s:\n",
                 cli_str(reply, "rules"));
    for (const cJSON *h = hashes ? hashes->child : NULL; h; h = h->next)
        buf_addf(out, "  %-25s %s\n", h->string, h->valuestring);
    if (hashes)
        buf_addf(out, "  %-25s %s\n", "singleprint", cli_str(reply, "singleprint"));
    buf_addf(out, "same bytes    %s\n", cli_str(reply, "manifest"));
    if (cli_str(reply, "incomplete")[0]) {
        buf_addf(out, "the model is not whole: %s\n", cli_str(reply, "incomplete"));
        return;
    }
    buf_addf(out, "same meaning  %s\n", cli_str(reply, "semantic"));
    buf_addf(out, "same weights  %s (%.0f tensors, ", cli_str(reply, "weights"),
             cli_num(reply, "tensors"));
    cli_size(cli_num(reply, "weights_bytes"), out);
    buf_adds(out, ")\n");
}
