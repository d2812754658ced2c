/* SPDX-License-Identifier: Apache-2.0 */
/* /metrics */
#include "server/server_int.h"

#include <stdatomic.h>
#include <stdlib.h>

struct srv_metrics {
    _Atomic int64_t n_requests;
};

int
srv_metrics_open(struct srv *srv, struct err *err)
{
    (void)err;
    srv->metrics = xcalloc(1, sizeof *srv->metrics);
    return 0;
}

void
srv_metrics_close(struct srv *srv)
{
    free(srv->metrics);
    srv->metrics = NULL;
}

void
srv_metrics_count(struct srv *srv, const struct srv_req *q)
{
    (void)q;
    atomic_fetch_add(&srv->metrics->n_requests, 1);
}

int
srv_do_metrics(struct srv_req *q, struct err *err)
{
    (void)err;
    struct buf out AUTO(buf_release) = BUF_INIT;
    buf_addf(&out,
             "# HELP sluice_requests_total Requests that were answered.\n"
             "# TYPE sluice_requests_total counter\n"
             "sluice_requests_total %lld\n",
             (long long)atomic_load(&q->srv->metrics->n_requests));
    return srv_reply_text(q, 200, "text/plain; version=0.0.4; charset=utf-8",
                          (struct str){ out.data, out.len });
}
