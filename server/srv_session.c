/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions with the store for handlers on the daemon's threads: opened when none is
 * free, kept for the next. */
#include "server/server_int.h"

#include <pthread.h>
#include <stdlib.h>

enum { KEPT_MAX = 8 };

struct srv_sessions {
    pthread_mutex_t lock;
    struct svc *kept[KEPT_MAX];
    int n;
};

int
srv_session_any(struct srv *srv, struct svc **out, struct repo **repo, struct err *err)
{
    struct srv_sessions *all = srv->sessions;
    struct svc *s = NULL;
    pthread_mutex_lock(&all->lock);
    if (all->n > 0)
        s = all->kept[--all->n];
    pthread_mutex_unlock(&all->lock);
    if (s && !svc_is_current(s))
        svc_close_p(&s);
    if (!s && svc_open(&s, srv->opts->store, err) < 0)
        return -(int)err->code;
    if (svc_store(s, repo, err) < 0) {
        svc_close(s);
        return -(int)err->code;
    }
    *out = s;
    return 0;
}

void
srv_session_back(struct srv *srv, struct svc *s)
{
    struct srv_sessions *all = srv->sessions;
    pthread_mutex_lock(&all->lock);
    bool keep = all->n < KEPT_MAX;
    if (keep)
        all->kept[all->n++] = s;
    pthread_mutex_unlock(&all->lock);
    if (!keep)
        svc_close(s);
}

int
srv_sessions_open(struct srv *srv, struct err *err)
{
    struct svc *s;
    struct repo *repo;
    srv->sessions = xcalloc(1, sizeof *srv->sessions);
    pthread_mutex_init(&srv->sessions->lock, NULL);
    if (srv_session_any(srv, &s, &repo, err) <
        0) /* a store that does not open is told now */
        return -(int)err->code;
    srv_session_back(srv, s);
    return 0;
}

void
srv_sessions_close(struct srv *srv)
{
    if (!srv->sessions)
        return;
    for (int i = 0; i < srv->sessions->n; i++)
        svc_close(srv->sessions->kept[i]);
    pthread_mutex_destroy(&srv->sessions->lock);
    free(srv->sessions);
    srv->sessions = NULL;
}

int
srv_session_take(struct srv_req *q, struct svc **out, struct repo **repo,
                 struct err *err)
{
    if (srv_session_any(q->srv, out, repo, err) < 0)
        return -(int)err->code;
    q->acts_as = (struct acc_who){ q->who.subject, q->who.via, q->who.scope, q->trace };
    if (q->who.is_known && svc_act_as(*out, &q->acts_as, err) < 0) {
        svc_close(*out);
        return -(int)err->code;
    }
    return 0;
}

void
srv_session_give(struct srv_req *q, struct svc *s)
{
    struct err err = ERR_INIT;
    if (svc_act_as(s, NULL, &err) < 0)
        svc_close(s);
    else
        srv_session_back(q->srv, s);
}
