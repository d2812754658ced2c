/* SPDX-License-Identifier: Apache-2.0 */
/* serve */
#include "service/svc_int.h"

#include <stdlib.h>
#include <string.h>

/* Who may do everything begins to do it for others; what they may do, their grants
 * say. The rest is sluice-server's. */
int
svc_do_serve(struct svc_call *c, struct err *err)
{
    static const char *const told[] = { "listen", "socket", "as", "client_ca" };
    const char *listen = svc_str(c, "listen"), *cert = svc_str(c, "tls_cert");
    const bool stdio = svc_flag(c, "stdio");
    const bool given = getenv("LISTEN_FDS") != NULL; /* systemd listens for us */
    if (stdio == (given || listen || svc_str(c, "socket")))
        return err_set(err, ERR_USAGE,
                       "serve needs --listen HOST:PORT or --socket PATH, or --stdio "
                       "alone");
    if (svc_str(c, "as") && !stdio)
        return err_set(err, ERR_USAGE, "--as goes with --stdio");
    if (!!cert != !!svc_str(c, "tls_key"))
        return err_set(err, ERR_USAGE, "--tls_cert and --tls_key go together");
    if ((cert || svc_str(c, "client_ca")) && !(cert && (listen || given)))
        return err_set(err, ERR_USAGE, "TLS needs --listen, --tls_cert and --tls_key");
    for (size_t i = 0; i < sizeof told / sizeof told[0]; i++)
        if (svc_str(c, told[i]))
            json_put_str(c->body, told[i], svc_str(c, told[i]));
    if (stdio)
        json_put_bool(c->body, "stdio", true);
    json_put_str(c->reply, "store", c->repo->path);
    return 0;
}
