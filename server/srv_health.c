/* SPDX-License-Identifier: Apache-2.0 */
/* /healthz, /readyz */
#include "server/server_int.h"

int
srv_do_healthz(struct srv_req *q, struct err *err)
{
    (void)err;
    return srv_reply_text(q, 200, "text/plain; charset=utf-8", STR_LIT("ok\n"));
}

/* Ready: the catalogue answers, and nobody has told us to end. */
int
srv_do_readyz(struct srv_req *q, struct err *err)
{
    struct svc *s;
    struct repo *repo;
    struct buf id AUTO(buf_release) = BUF_INIT;
    if (q->srv->draining) {
        return err_set(err, ERR_BUSY, "the service ends");
    }
    if (srv_session_take(q, &s, &repo, err) < 0)
        return -(int)err->code;
    int r = db_get_text(repo->db, &id, err, "SELECT id FROM store", "");
    srv_session_give(q, s);
    if (r < 0) {
        err->code = ERR_BUSY; /* 503: whatever it is, others are to be asked */
        return -(int)ERR_BUSY;
    }
    return srv_reply_text(q, 200, "text/plain; charset=utf-8", STR_LIT("ready\n"));
}
