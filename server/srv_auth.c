/* SPDX-License-Identifier: Apache-2.0 */
/* Who asks: on a Unix socket and with stdio the kernel's user. */
#include "server/server_int.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int
srv_auth_open(struct srv *srv, struct err *err)
{
    (void)srv, (void)err;
    return 0;
}

void
srv_auth_close(struct srv *srv)
{
    (void)srv;
}

void
srv_who_release(struct srv_who *w)
{
    free(w->scope);
    *w = (struct srv_who){ .subject = "" };
}

int
srv_auth(struct srv_req *q, struct err *err)
{
    (void)err;
    const struct srv_conn *c = q->conn;
    char text[4096];
    struct passwd pw, *found = NULL;
    if (c->kind == SRV_TCP)
        return 0;
    if (c->kind == SRV_STDIO && q->srv->opts->as) {
        snprintf(q->who.subject, sizeof q->who.subject, "%s", q->srv->opts->as);
        snprintf(q->who.via, sizeof q->who.via, "ssh");
    } else {
        if (getpwuid_r(c->uid, &pw, text, sizeof text, &found) == 0 && found)
            snprintf(q->who.subject, sizeof q->who.subject, "%s", pw.pw_name);
        else
            snprintf(q->who.subject, sizeof q->who.subject, "uid:%u", (unsigned)c->uid);
        snprintf(q->who.via, sizeof q->who.via, "%s",
                 c->kind == SRV_UNIX ? "socket" : "stdio");
    }
    q->who.is_known = true;
    return 0;
}
