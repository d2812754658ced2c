/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the service share.
 *
 * One process, sluice-server, answers HTTP/1.1 on a socket, a Unix socket or a pair of
 * pipes (stdio); there is no second protocol. Its threads are the HTTP daemon's: they
 * know who asks (srv_auth.c), move bytes (uploads, files) and answer look-ups. A verb
 * is carried out by a worker (srv_worker.c): a process with a session of its own, so
 * that what a verb does to itself, and how long it takes, hurts nobody else.
 *
 *   srv_main.c     flags; srv_run.c sockets, start and graceful end
 *   srv_conn.c     connections: who is there, which are slow
 *   srv_http.c     a request from its first header to its answer; srv_check.c its form
 *   srv_reply.c    answers: whole, streamed, problems
 *   srv_route.c    routes.def: which handler a path belongs to
 *   srv_auth.c     who asks: the kernel, a token; srv_tls.c certificates, srv_oidc.c
 *                  jobs of CI systems; srv_notes.c what of it goes into the log
 *   srv_verb.c     /api/v1/VERB: a verb as a request, its reply, problem or events
 *   srv_worker.c   the pool of workers; srv_frame.c what is said to them
 *   srv_work.c     a worker; srv_reach.c what a request may reach of this machine
 *   srv_upload.c   trees that come; srv_file.c trees and files that go
 *   srv_lookup.c   resolve from memory; srv_reads.c its reads, recorded together
 *   srv_metrics.c  /metrics; srv_figures.c what it says of the store
 *   srv_log.c      the access log
 *   srv_openapi.c  the description, from routes.def and verbs.def */
#ifndef SERVER_SERVER_INT_H
#define SERVER_SERVER_INT_H

#include "base/buf.h"
#include "base/json.h"
#include "repo/repo.h"
#include "server/server.h"
#include "service/service.h"

#include <sys/types.h>

struct MHD_Connection;
struct MHD_Response;

/* Limits of a request; all are told in the problem that names them. */
enum {
    SRV_HEADERS_MAX = 32 * 1024,    /* 431 */
    SRV_BODY_MAX = 4 * 1024 * 1024, /* of JSON: 413 */
    SRV_IDLE_S = 60,                /* a connection on which nothing moves */
    SRV_PATH_MAX = 4096
};

/* ---- the service ---- */

enum srv_kind { SRV_TCP, SRV_UNIX, SRV_STDIO };
/* A connection, for as long as it lasts. */
struct srv_conn {
    struct srv_conn *prev, *next;
    struct srv *srv;
    int fd;
    enum srv_kind kind;
    bool tls;
    uid_t uid;         /* of a Unix socket's other end, or with stdio our own */
    char peer[48];     /* address without port; "" on a Unix socket */
    int64_t begun_ns;  /* monotonic */
    int64_t moved_ns;  /* when its first bytes of a request were seen; 0: it is idle */
    uint64_t n_before; /* bytes received when the last request was over */
    bool is_half;      /* the other end had ended at the last look, with no request */
    struct srv_req *req; /* under way */
    char subject[64];    /* srv_auth.c: uid's name; "" not looked up */
    int64_t vouched_ns;  /* srv_tls.c: when its certificate was last found to hold */
};
struct srv_tls;      /* srv_tls.c */
struct srv_pool;     /* srv_worker.c */
struct srv_log;      /* srv_log.c */
struct srv_metrics;  /* srv_metrics.c */
struct srv_lookup;   /* srv_lookup.h */
struct srv_auth;     /* srv_auth.c */
struct srv_net;      /* srv_net.h */
struct srv_sessions; /* srv_session.c */
struct repo_uploads; /* repo/upload.h */
struct srv {
    const struct srv_options *opts;
    struct srv_pool *pool;
    struct srv_log *log;         /* NULL: none */
    struct srv_metrics *metrics; /* never NULL */
    struct srv_lookup *lookup;
    struct srv_auth *auth;
    struct srv_tls *tls; /* NULL: plain HTTP only */
    struct srv_sessions *sessions;
    struct repo_uploads *uploads; /* NULL: the store is read-only */
    struct srv_net *net;
    _Atomic bool draining; /* ends soon: answers say Connection: close */
};

/* Each is opened by srv_open and closed by srv_close (NULL allowed). */
int srv_auth_open(struct srv *srv, struct err *err) MUST_CHECK;
void srv_auth_close(struct srv *srv);
void srv_auth_reload(struct srv *srv); /* SIGHUP: certificates, and says how it went */
int srv_metrics_open(struct srv *srv, struct err *err) MUST_CHECK;
void srv_metrics_close(struct srv *srv);
int srv_log_open(struct srv *srv, struct err *err) MUST_CHECK;
void srv_log_reopen(struct srv *srv); /* SIGHUP */
void srv_log_close(struct srv *srv);
int srv_sessions_open(struct srv *srv, struct err *err) MUST_CHECK;
void srv_sessions_close(struct srv *srv);
int srv_uploads_open(struct srv *srv, struct err *err) MUST_CHECK;
void srv_uploads_close(struct srv *srv);
int srv_pool_open(struct srv *srv, struct err *err) MUST_CHECK;
/* Lets go of workers that have been idle for long; `all`: of every one. */
void srv_pool_sweep(struct srv *srv, bool all);
struct srv_pool_figures {
    int n_busy, n_idle, n_max, n_waiting;
    int64_t n_died; /* at work, ever */
};
void srv_pool_figures(struct srv *srv, struct srv_pool_figures *out);
/* Open connections by enum srv_kind (srv_conn.c). */
void srv_conn_figures(struct srv *srv, int64_t out[SRV_STDIO + 1]);
void srv_pool_close(struct srv *srv);
/* Options of libmicrohttpd for TLS, up to `cap` (srv_tls.c); *n of them. What they
 * point to lives as long as srv. */
struct MHD_OptionItem;
int srv_tls_options(struct srv *srv, struct MHD_OptionItem *out, int cap, int *n,
                    struct err *err) MUST_CHECK;
/* SIGHUP: certificate, key and client CAs are read again; on an error they stay. */
int srv_tls_reload(struct srv *srv, struct err *err) MUST_CHECK;
void srv_tls_close(struct srv *srv);

/* ---- who asks (srv_auth.c) ---- */

/* Kept for the length of a request; empty: nobody said. */
struct srv_who {
    char subject[64];
    char via[80];  /* as acc_who.via */
    char *scope;   /* as acc_who.scope; owned */
    bool is_known; /* else 401 where a route wants to know */
};
void srv_who_release(struct srv_who *w); /* for AUTO */
void srv_who_copy(struct srv_who *out, const struct srv_who *from);
struct srv_req;
/* Fills q->who by its connection and headers, on a thread of the daemon. 0: also when
 * nobody said. ERR_DENIED: what was said does not hold (401). ERR_BUSY: not known yet
 * (503). */
int srv_auth(struct srv_req *q, struct err *err) MUST_CHECK;

/* This machine, or no other at all (""): ours, or a proxy that stands for many. */
bool srv_is_local(const char *peer);

/* ---- a request ---- */

enum srv_access {
    SRV_OPEN, /* anybody: health, the description */
    SRV_KNOWN /* who is known; the handler asks acc_check about the rest */
};
/* A handler answers (srv_reply_…) and returns 0, or sets err, which becomes a problem
 * document. It runs on a thread of the daemon, or with `slow` on one of its own, while
 * the connection sleeps. */
typedef int srv_handler_fn(struct srv_req *q, struct err *err);
struct srv_route {
    const char *method; /* "GET" answers HEAD, too */
    const char
        *path; /* "/api/v1/uploads/{id}/files/{n}"; {rest...}: all that follows */
    enum srv_access access;
    bool slow;    /* only `end` is on a thread of its own */
    bool streams; /* begin is called before the body, data with each piece of it; else
                   * the body is collected in q->body (SRV_BODY_MAX) before end */
    srv_handler_fn *begin; /* NULL: none */
    /* Takes *n bytes or fewer, *n: how many. 1: no more before `work` was run, on a
     * thread of its own, as slow handlers are. */
    int (*data)(struct srv_req *q, const char *p, size_t *n, struct err *err);
    srv_handler_fn *work;
    srv_handler_fn *end;
    void (*gone)(struct srv_req *q); /* after the answer, or when the client vanished:
                                      * frees q->state. NULL: nothing to free */
    const char *name; /* of the operation, for metrics and the description */
    const char *help;
};
struct srv_req {
    struct srv *srv;
    struct MHD_Connection *mhd;
    const struct srv_route *route;
    const char *method;
    char *path;          /* percent-decoded once, UTF-8, without "." and ".." */
    const char *args[4]; /* what {…} of the route stands for; in `path` */
    struct srv_who who;
    struct buf body;
    int64_t body_bytes; /* Content-Length; -1: chunked */
    int64_t begun_ns;   /* monotonic */
    char trace[56];     /* traceparent, the caller's or made here */
    char id[24];        /* X-Request-Id */
    /* For the access log and metrics; a handler fills in what it knows. */
    char object[REPO_NAME_BYTES + REPO_ALIAS_BYTES];
    int64_t number;   /* of the version that it was about; 0: not known */
    const char *verb; /* static */
    int status;
    int64_t sent_bytes;
    _Atomic int64_t got_bytes;
    void *state; /* the route's own */
    struct MHD_Response *reply;
    struct srv_conn *conn;
    /* srv_http.c's own */
    char *raw;          /* the target as it came */
    char *args_text;    /* what args point into */
    struct buf headers; /* of the answer: "Name\0value\0" … */
    int64_t held_bytes; /* of a large body */
    struct srv_query *query;
    int n_query;
    _Atomic int phase;      /* the sweep looks at it */
    bool close;             /* the connection ends after the answer */
    struct acc_who acts_as; /* what a session was lent */
};

/* Routes of routes.def: NAME is srv_do_NAME's, and with STATE srv_gone_NAME's; BODY has
 * srv_begin_NAME, srv_data_NAME and srv_work_NAME, too. */
#define ROUTE(name, method, path, access, slow, help) srv_handler_fn srv_do_##name;
#define ROUTE_STATE(name, method, path, access, slow, help)                            \
    srv_handler_fn srv_do_##name;                                                      \
    void srv_gone_##name(struct srv_req *q);
#define ROUTE_BODY(name, method, path, access, slow, help)                             \
    srv_handler_fn srv_begin_##name, srv_work_##name, srv_do_##name;                   \
    int srv_data_##name(struct srv_req *q, const char *p, size_t *n, struct err *err); \
    void srv_gone_##name(struct srv_req *q);
#include "server/routes.def"
#undef ROUTE
#undef ROUTE_STATE
#undef ROUTE_BODY

int srv_n_routes(void);
const struct srv_route *srv_route_at(int i);
/* Finds q->route and q->args by q->method and q->path. ERR_NOTFOUND; ERR_UNSUPPORTED:
 * there is one with another method, `allow` gets them. */
int srv_route_find(struct srv_req *q, struct buf *allow, struct err *err) MUST_CHECK;

/* NULL when absent. */
const char *srv_header(const struct srv_req *q, const char *name);
const char *srv_query(const struct srv_req *q, const char *name);
/* The i-th part of the query: 1, or 0 after the last. */
int srv_query_at(const struct srv_req *q, int i, const char **key, const char **value);
/* Added to the answer to come; before srv_reply_…. */
void srv_reply_header(struct srv_req *q, const char *name, const char *value);
/* Each makes the answer. JSON and text are copied. */
int srv_reply_json(struct srv_req *q, int status, const cJSON *j);
int srv_reply_text(struct srv_req *q, int status, const char *type, struct str text);
int srv_reply_empty(struct srv_req *q, int status); /* 204, 304 */
/* Says ETag (with its quotes; NULL: there is none) and Cache-Control of the answer to
 * come. True: the caller has it already (If-None-Match), and is answered 304. */
bool srv_reply_known(struct srv_req *q, const char *etag_or_null, const char *cache);
/* n bytes of fd from offset on, by sendfile; fd is closed when they are sent. */
int srv_reply_fd(struct srv_req *q, int status, const char *type, int fd,
                 int64_t offset_bytes, int64_t n_bytes);
/* Bytes as `next` gives them (0: the end, -1: broken off), on its own thread's time;
 * `done` frees arg. type "text/event-stream", "application/zstd" … */
int srv_reply_stream(struct srv_req *q, int status, const char *type,
                     ssize_t (*next)(void *arg, char *to, size_t n),
                     void (*done)(void *arg), void *arg);
/* The same from the other end: `run` writes, on a thread of its own, which ends when it
 * returns: 0, or -1: broken off. */
struct srv_sink;
int srv_reply_run(struct srv_req *q, int status, const char *type,
                  int (*run)(void *arg, struct srv_sink *to, struct err *err),
                  void (*done)(void *arg), void *arg);
/* The same on a slow handler's thread, which waits for the first byte: when `run` fails
 * before that, its error is the answer. */
int srv_reply_run_checked(struct srv_req *q, int status, const char *type,
                          int (*run)(void *arg, struct srv_sink *to, struct err *err),
                          void (*done)(void *arg), void *arg,
                          struct err *err) MUST_CHECK;
/* Waits while the client takes nothing. -1: it is gone. */
int srv_sink_write(struct srv_sink *to, const void *p, size_t n);
bool srv_sink_is_gone(struct srv_sink *to);
/* A header after the body, Sluice-Reply; takes the text, one line of ASCII. */
void srv_sink_trailer(struct srv_sink *to, char *text);
/* RFC 9457: {"type", "title", "status", "detail", "exit_code", "code", "instance"}, and
 * "reply" when the verb had something to say. */
int srv_reply_problem(struct srv_req *q, const struct err *err, cJSON *reply_or_null);
/* The members of such a document into `out`. Takes the reply. */
void srv_problem_json(const struct srv_req *q, int status, const struct err *err,
                      cJSON *reply_or_null, cJSON *out);
/* The same under a status of its own, where the code's is not the one: 401, 405, 412,
 * 413, 415, 422 …; 0: the code's. The error is cleared: the request is answered. */
int srv_reply_status(struct srv_req *q, int status, struct err *err);
/* "409" of ERR_CONFLICT …; err_exit_status and this are the two faces of a code. */
int srv_status_of(enum err_code code);

/* The other end of a request that is waited for has closed its connection. */
bool srv_is_gone(const struct srv_req *q);

/* ---- sessions with the store, for handlers on the daemon's threads ---- */

/* A session that nobody else uses until it is given back, acting as q's subject. */
int srv_session_take(struct srv_req *q, struct svc **out, struct repo **repo,
                     struct err *err) MUST_CHECK;
void srv_session_give(struct srv_req *q, struct svc *s);
/* One in nobody's name, for what outlives its request or has none. */
int srv_session_any(struct srv *srv, struct svc **out, struct repo **repo,
                    struct err *err) MUST_CHECK;
void srv_session_back(struct srv *srv, struct svc *s);

/* ---- workers (srv_worker.c) ---- */

struct srv_call_hooks {
    svc_progress_fn *progress;
    svc_tell_fn *tell;
    bool (*stop)(void *arg); /* the client is gone; asked now and then */
    /* What the verb writes to standard output (cat); NULL: that is an error. */
    int (*bytes)(void *arg, const char *p, size_t n);
    void *arg;
    const char *trace;    /* NULL: none */
    const char *if_match; /* an ETag of the alias that the verb moves; NULL: none */
};
/* As svc_call, in a worker and in the name of `who`; on a slow handler's thread.
 * Paths of trees (docs/transfer.md) are brought in and out. */
int srv_worker_call(struct srv *srv, const struct srv_who *who, const char *verb,
                    const cJSON *request, const struct srv_call_hooks *hooks_or_null,
                    cJSON **reply, struct err *err) MUST_CHECK;

/* ---- metrics and the access log (srv_metrics.c, srv_log.c) ---- */

/* After each answer. */
void srv_metrics_count(struct srv *srv, const struct srv_req *q);
/* What a verb replied, also after a failure (NULL: nothing): counts what its gates
 * said. The number of the version that it was about, for q->number; 0: it does not say.
 */
int64_t srv_metrics_reply(struct srv *srv, const cJSON *reply_or_null);
void srv_log_request(struct srv *srv, const struct srv_req *q);

#endif
