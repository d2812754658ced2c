/* SPDX-License-Identifier: Apache-2.0 */
/* What libmicrohttpd is told for HTTPS. */
#include "server/server_int.h"

#include <microhttpd.h>

int
srv_tls_options(struct srv *srv, struct MHD_OptionItem *out, int cap, int *n,
                struct err *err)
{
    const struct {
        const char *path;
        enum MHD_OPTION option;
    } files[] = { { srv->opts->tls_key, MHD_OPTION_HTTPS_MEM_KEY },
                  { srv->opts->tls_cert, MHD_OPTION_HTTPS_MEM_CERT },
                  { srv->opts->client_ca, MHD_OPTION_HTTPS_MEM_TRUST } };
    *n = 0;
    for (int i = 0; i < 3 && *n < cap; i++) {
        struct buf text = { .cap_bytes = 1 << 20 };
        if (!files[i].path)
            continue;
        if (fs_read(AT_FDCWD, files[i].path, &text, err) < 0) {
            buf_release(&text);
            return -(int)err->code;
        }
        /* lives as long as the process */
        out[(*n)++] = (struct MHD_OptionItem){ files[i].option, 0, buf_take(&text) };
    }
    return 0;
}
