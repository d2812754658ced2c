/* SPDX-License-Identifier: Apache-2.0 */
/* serve */
#include "cli/cli.h"

#include "base/proc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void
cmd_serve(const cJSON *reply, bool failed, struct buf *out)
{
    (void)reply, (void)failed, (void)out; /* the service speaks for itself */
}

int
cli_serve(const cJSON *request, const cJSON *reply)
{
    struct err err = ERR_INIT;
    struct buf program AUTO(buf_release) = BUF_INIT;
    char *store AUTO(free_ptr) = xstrdup(cli_str(reply, "store"));
    const char *argv[2 * 16] = { "sluice-server", "--store", store };
    char *flags[16];
    int n = 3, n_flags = 0;
    if (proc_helper_path("sluice-server", &program, &err) < 0)
        return cli_complain(&err);
    for (const cJSON *f = request->child; f; f = f->next) {
        flags[n_flags] = xasprintf("--%s", f->string);
        argv[n++] = flags[n_flags++];
        if (cJSON_IsString(f))
            argv[n++] = f->valuestring;
    }
    argv[n] = NULL;
    execv(buf_str(&program), (char **)(uintptr_t)argv);
    (void)err_sys(&err, errno, "start %s", buf_str(&program));
    for (int i = 0; i < n_flags; i++)
        free(flags[i]);
    return cli_complain(&err);
}
