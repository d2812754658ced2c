/* SPDX-License-Identifier: Apache-2.0 */
/* init, version, doctor */
#include "cli/cli.h"

void
cmd_init(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    buf_addf(out, "store %s, owned by %s\n", cli_str(reply, "store"),
             cli_str(reply, "owner"));
}

void
cmd_version(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    buf_addf(out, "sluice %s\n", cli_str(reply, "version"));
    if (cli_str(reply, "sqlite")[0])
        buf_addf(out, "SQLite %s, cJSON %s\n", cli_str(reply, "sqlite"),
                 cli_str(reply, "cjson"));
    if (cli_str(reply, "openssl")[0])
        buf_addf(out, "OpenSSL %s, cJSON %s, the client alone\n",
                 cli_str(reply, "openssl"), cli_str(reply, "cjson"));
}

void
cmd_doctor(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    for (const cJSON *f = cli_list(reply, "findings"); f; f = f->next) {
        bool ok = cli_bool(f, "ok");
        buf_addf(out, "%s %s: %s\n", ok ? "ok  " : "BAD ", cli_str(f, "what"),
                 cli_str(f, "saw"));
        if (!ok)
            buf_addf(out, "     do: %s\n", cli_str(f, "fix"));
    }
}
