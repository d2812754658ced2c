/* SPDX-License-Identifier: Apache-2.0 */
/* A request from its first header to its answer.
 *
 *   srv_http_begin   its line was read: a srv_req is made
 *   srv_http_handle  NEW: headers are whole: checked, who asks, route, `begin`
 *                    BODY: pieces of the body, then its end
 *                    WORK: `work` runs on a thread of its own, the connection sleeps;
 *                    then BODY again
 *                    SLOW: so does `end`; then DONE
 *                    DONE: q->reply goes out
 *   srv_http_end     it was answered, or its client vanished: counted, logged, freed */
#include "server/srv_http.h"

#include "base/clock.h"
#include "server/server_int.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NEW, BODY, WORK, SLOW, DONE };
enum { SLOW_STACK_BYTES = 512 * 1024, SKIP_MAX = 64 * 1024 };
enum { SMALL_BYTES = 64 * 1024 }; /* a body up to here is always held */

struct srv_query {
    char *key, *value;
};

/* ---- a target, decoded ---- */

/* Percent-decodes n bytes. ERR_INVALID: a bad escape, or a byte that no name has. */
static int
decode(const char *p, size_t n, bool is_path, char **out, struct err *err)
{
    struct buf b AUTO(buf_release) = BUF_INIT;
    buf_adds(&b, "");
    for (size_t i = 0; i < n; i++) {
        char c = p[i];
        if (c == '+' && !is_path) {
            c = ' ';
        } else if (c == '%') {
            int a = n - i >= 3 ? hex_value(p[i + 1]) : -1;
            int z = n - i >= 3 ? hex_value(p[i + 2]) : -1;
            if (a < 0 || z < 0)
                return err_set(err, ERR_INVALID,
                               "the address has a %% that no two hex digits follow");
            c = (char)(a * 16 + z);
            i += 2;
            if (c == '\0' || (is_path && c == '/'))
                return err_set(err, ERR_INVALID, "the address has %s",
                               c ? "%2f: a name in it cannot hold a slash" : "%00");
        }
        buf_addc(&b, c);
    }
    /* a path holds names; a query may hold a reason with lines in it */
    if (repo_check_text(buf_str(&b), SRV_PATH_MAX * 4, !is_path, "the address", err) <
        0)
        return -(int)err->code;
    *out = buf_take(&b);
    return 0;
}

static int
read_query(struct srv_req *q, const char *text, struct err *err)
{
    while (*text) {
        size_t n = strcspn(text, "&"), k = strcspn(text, "=&");
        if (n > 0) {
            struct srv_query *one;
            if (q->n_query >= 256)
                return err_set(err, ERR_INVALID, "the query has more than 256 parts");
            q->query = xreallocarray(q->query, (size_t)q->n_query + 1, sizeof *one);
            one = &q->query[q->n_query++];
            *one = (struct srv_query){ .key = NULL };
            if (decode(text, k, false, &one->key, err) < 0 ||
                decode(text + k + (k < n), n - k - (k < n), false, &one->value, err) <
                    0)
                return -(int)err->code;
        }
        text += n + (text[n] == '&');
    }
    return 0;
}

int
srv_http_target(struct srv_req *q, struct err *err)
{
    const char *raw = q->raw;
    size_t n = strcspn(raw, "?");
    if (raw[0] != '/')
        return err_set(err, ERR_INVALID,
                       "the request's target must begin with /: this is no proxy");
    if (strlen(raw) > (size_t)SRV_PATH_MAX * 4 || n > SRV_PATH_MAX)
        return err_set(err, ERR_INVALID, "the address is longer than %d bytes",
                       SRV_PATH_MAX);
    if (strchr(raw, '#'))
        return err_set(err, ERR_INVALID, "the address has a #");
    free(q->path);
    q->path = NULL;
    if (decode(raw, n, true, &q->path, err) < 0)
        return -(int)err->code;
    for (const char *p = q->path; *p;) {
        p++;
        size_t k = strcspn(p, "/");
        if ((k == 1 && p[0] == '.') || (k == 2 && p[0] == '.' && p[1] == '.'))
            return err_set(err, ERR_INVALID, "the address has '.' or '..' in it");
        p += k;
    }
    return raw[n] ? read_query(q, raw + n + 1, err) : 0;
}

const char *
srv_query(const struct srv_req *q, const char *name)
{
    for (int i = 0; i < q->n_query; i++)
        if (strcmp(q->query[i].key, name) == 0)
            return q->query[i].value;
    return NULL;
}

int
srv_query_at(const struct srv_req *q, int i, const char **key, const char **value)
{
    if (i >= q->n_query)
        return 0;
    *key = q->query[i].key;
    *value = q->query[i].value;
    return 1;
}

const char *
srv_header(const struct srv_req *q, const char *name)
{
    return MHD_lookup_connection_value(q->mhd, MHD_HEADER_KIND, name);
}

enum srv_waits
srv_req_waits(const struct srv_req *q)
{
    const int phase = q->phase;
    return phase == NEW    ? SRV_WAITS_HEAD
           : phase == BODY ? SRV_WAITS_BODY
                           : SRV_WAITS_NOT;
}

/* ---- life of a request ---- */

/* The raw target is decoded above, once and strictly. */
static size_t
leave_escaped(void *arg, struct MHD_Connection *mhd, char *s)
{
    (void)arg, (void)mhd;
    return strlen(s);
}

void
srv_http_options(struct srv *srv, struct MHD_OptionItem out[SRV_HTTP_OPTIONS])
{
    enum { MEMORY_BYTES = 40 * 1024 }; /* of a connection: its headers, and answers' */
    const struct MHD_OptionItem all[SRV_HTTP_OPTIONS] = {
        { MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)srv_http_begin, srv },
        { MHD_OPTION_UNESCAPE_CALLBACK, (intptr_t)leave_escaped, NULL },
        { MHD_OPTION_CONNECTION_MEMORY_LIMIT, MEMORY_BYTES, NULL },
        { MHD_OPTION_STRICT_FOR_CLIENT, 0, NULL },
        { MHD_OPTION_END, 0, NULL },
    };
    memcpy(out, all, sizeof all);
}

void *
srv_http_begin(void *arg, const char *target, struct MHD_Connection *mhd)
{
    struct srv *srv = arg;
    struct srv_req *q = xcalloc(1, sizeof *q);
    q->srv = srv;
    q->mhd = mhd;
    q->raw = xstrndup(target, SRV_PATH_MAX * 8);
    /* libmicrohttpd makes a list of the query's parts; when its memory does not hold
     * them, the request never gets an answer. It shall see one part: ours are q->raw's.
     */
    for (char *p = strchr((char *)(uintptr_t)target, '?'); p; p = strchr(p, '&'))
        *p = '?';
    q->path = xstrdup("");
    q->method = "";
    q->begun_ns = clock_mono_ns();
    q->body.cap_bytes = SRV_BODY_MAX;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    q->conn = info ? info->socket_context : NULL;
    if (q->conn)
        srv_conn_busy(srv, q->conn, q);
    return q;
}

static void
drop_body(struct srv_req *q)
{
    if (q->held_bytes)
        srv_bodies_add(q->srv, -q->held_bytes);
    q->held_bytes = 0;
    buf_release(&q->body);
}

void
srv_req_free(struct srv_req *q)
{
    if (q->reply)
        MHD_destroy_response(q->reply);
    drop_body(q);
    srv_who_release(&q->who);
    for (int i = 0; i < q->n_query; i++) {
        free(q->query[i].key);
        free(q->query[i].value);
    }
    free(q->query);
    free(q->raw);
    free(q->path);
    free(q->args_text);
    buf_release(&q->headers);
    free(q);
}

void
srv_http_end(void *arg, struct MHD_Connection *mhd, void **con_cls,
             enum MHD_RequestTerminationCode how)
{
    struct srv *srv = arg;
    struct srv_req *q = *con_cls;
    (void)mhd;
    if (!q)
        return;
    *con_cls = NULL;
    if (!q->status)
        q->status = how == MHD_REQUEST_TERMINATED_COMPLETED_OK ? 400 : 499;
    if (q->route && q->route->gone)
        q->route->gone(q);
    srv_metrics_count(srv, q);
    srv_log_request(srv, q);
    if (q->conn)
        srv_conn_idle(srv, q->conn);
    srv_req_free(q);
}

/* The id of the request, and of the trace that it belongs to. */
static void
identify(struct srv_req *q)
{
    struct err err = ERR_INIT;
    uint8_t r[24];
    const char *trace = srv_header(q, "traceparent");
    if (random_bytes(r, sizeof r, &err) < 0)
        memset(r, 1, sizeof r);
    for (int i = 0; i < 8; i++)
        snprintf(q->id + 2 * i, 3, "%02x", r[i]);
    if (trace && strlen(trace) == 55 && strncmp(trace, "00-", 3) == 0 &&
        strspn(trace, "0123456789abcdef-") == 55) {
        snprintf(q->trace, sizeof q->trace, "%s", trace);
        return;
    }
    struct buf t AUTO(buf_release) = BUF_INIT;
    buf_adds(&t, "00-");
    for (int i = 0; i < 16; i++)
        buf_addf(&t, "%02x", r[8 + i]);
    buf_addf(&t, "-%s-01", q->id);
    snprintf(q->trace, sizeof q->trace, "%s", buf_str(&t));
}

/* The answer goes out; the request is over when its last byte did. */
static enum MHD_Result
send_reply(struct srv_req *q)
{
    if (!q->reply) {
        struct err err = ERR_INIT;
        err_set(&err, ERR_FAILED, "%s gave no answer",
                q->route ? q->route->name : "the service");
        srv_reply_problem(q, &err, NULL);
    }
    if (q->close || q->srv->draining)
        MHD_add_response_header(q->reply, "Connection", "close");
    enum MHD_Result r = MHD_queue_response(q->mhd, (unsigned)q->status, q->reply);
    MHD_destroy_response(q->reply);
    q->reply = NULL;
    q->phase = DONE;
    return r;
}

static void
fail(struct srv_req *q, int status, struct err *err)
{
    if (q->reply)
        MHD_destroy_response(q->reply);
    q->reply = NULL;
    if (status)
        srv_reply_status(q, status, err);
    else
        srv_reply_problem(q, err, NULL);
    err_clear(err);
}

/* Runs a handler; what it returns becomes the answer. */
static void
answer(struct srv_req *q, srv_handler_fn *fn)
{
    struct err err = ERR_INIT;
    if (fn(q, &err) < 0)
        fail(q, 0, &err);
}

/* A body that cannot be taken: what is left of it is not looked at, and the connection
 * ends. */
static void
spoil(struct srv_req *q, struct err *err)
{
    q->close = true;
    drop_body(q);
    fail(q, err->code == ERR_LIMIT ? 413 : 0, err);
}

static void *
slow_thread(void *arg)
{
    struct srv_req *q = arg;
    struct srv *srv = q->srv;
    struct err err = ERR_INIT;
    if (q->phase == SLOW) {
        answer(q, q->route->end);
    } else {
        if (q->route->work(q, &err) < 0)
            spoil(q, &err);
        q->phase = BODY;
    }
    MHD_resume_connection(q->mhd); /* and q may be gone */
    srv_thread_end(srv, SRV_HANDLER);
    return NULL;
}

static int
start_thread(struct srv_req *q, struct err *err)
{
    pthread_attr_t attr;
    pthread_t t;
    if (!srv_thread_begin(q->srv, SRV_HANDLER))
        return err_set(err, ERR_BUSY, "too many requests are under way: try again");
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, SLOW_STACK_BYTES);
    const int e = pthread_create(&t, &attr, slow_thread, q);
    pthread_attr_destroy(&attr);
    if (e == 0)
        return 0;
    srv_thread_end(q->srv, SRV_HANDLER);
    return err_set(err, ERR_BUSY, "no thread can be started: try again");
}

/* WORK or SLOW: the connection sleeps until that is done. */
static void
run_slowly(struct srv_req *q, int phase)
{
    struct err err = ERR_INIT;
    q->phase = phase;
    MHD_suspend_connection(q->mhd);
    if (start_thread(q, &err) == 0)
        return;
    if (phase == WORK) {
        spoil(q, &err);
        q->phase = BODY;
    } else {
        fail(q, 0, &err);
    }
    MHD_resume_connection(q->mhd);
}

int
srv_http_head(struct srv_req *q, const char *method, const char *url,
              const char *version, int *status, struct err *err)
{
    struct buf allow AUTO(buf_release) = BUF_INIT;
    const bool asks_options = strcmp(method, "OPTIONS") == 0;
    *status = 400;
    q->method = method;
    identify(q);
    q->close = true; /* what breaks the rules ends its connection */
    if (srv_http_check(q, url, version, status, err) < 0 ||
        (!(asks_options && strcmp(q->raw, "*") == 0) && srv_http_target(q, err) < 0))
        return -(int)err->code;
    q->close = false;
    if (srv_route_find(q, &allow, err) < 0) {
        if (asks_options && (allow.len || strcmp(q->raw, "*") == 0)) {
            err_clear(err);
            srv_reply_header(q, "Allow",
                             allow.len ? buf_str(&allow) : "GET, HEAD, POST, OPTIONS");
            return srv_reply_empty(q, 204);
        }
        *status = err->code == ERR_NOTFOUND ? 404 : 405;
        if (allow.len)
            srv_reply_header(q, "Allow", buf_str(&allow));
        return -(int)err->code;
    }
    return 0;
}

/* Headers are whole. 0, or -code with *status. */
static int
begin(struct srv_req *q, const char *method, const char *url, const char *version,
      int *status, struct err *err)
{
    if (srv_http_head(q, method, url, version, status, err) < 0 || q->reply)
        return -(int)err->code;
    if (srv_auth(q, err) < 0) {
        *status = err->code == ERR_DENIED ? 401 : 0;
        return -(int)err->code;
    }
    *status = 401;
    if (q->route->access == SRV_KNOWN && !q->who.is_known)
        return err_set(err, ERR_DENIED,
                       "say who you are: Authorization: Bearer slc_… (sluice token "
                       "create), or a client certificate that stands for somebody "
                       "(sluice user cert)");
    *status = 413;
    if (!q->route->streams && q->body_bytes > SRV_BODY_MAX)
        return err_set(err, ERR_LIMIT,
                       "the body has %lld bytes, more than the %d that are taken",
                       (long long)q->body_bytes, SRV_BODY_MAX);
    *status = 0;
    return 0;
}

static int
take(struct srv_req *q, const char *p, size_t *n, struct err *err)
{
    int r;
    if (q->route->streams) {
        r = q->route->data(q, p, n, err);
        q->got_bytes += (int64_t)*n;
        return r;
    }
    q->got_bytes += (int64_t)*n;
    if (q->body.len + *n > SMALL_BYTES) {
        if (!srv_bodies_add(q->srv, (int64_t)*n))
            return err_set(err, ERR_BUSY,
                           "too many large bodies are on their way or "
                           "being worked on: try again");
        q->held_bytes += (int64_t)*n;
    }
    buf_add(&q->body, p, *n);
    return buf_check(&q->body, "the body", err);
}

/* An answer before the end of a body ends the connection. What keeps to the rules and
 * is short is read to its end first. */
static bool
is_soon_whole(const struct srv_req *q)
{
    return !q->close && q->body_bytes >= 0 && q->body_bytes <= SKIP_MAX &&
           (q->body_bytes == 0 || !srv_header(q, "Expect"));
}

enum MHD_Result
srv_http_handle(void *arg, struct MHD_Connection *mhd, const char *url,
                const char *method, const char *version, const char *data,
                size_t *data_bytes, void **con_cls)
{
    struct srv_req *q = *con_cls;
    struct err err = ERR_INIT;
    int status = 0;
    (void)arg, (void)mhd;
    const int phase = q->phase;
    switch (phase) {
    case NEW:
        q->phase = BODY;
        if (begin(q, method, url, version, &status, &err) < 0) {
            fail(q, status, &err);
            return is_soon_whole(q) ? MHD_YES : send_reply(q);
        }
        if (!q->reply && q->route->begin)
            answer(q, q->route->begin);
        return q->reply ? send_reply(q) : MHD_YES;
    case BODY:
        if (*data_bytes > 0) {
            /* libmicrohttpd takes an answer at the end of a body */
            size_t n = *data_bytes;
            const int r = q->reply ? 0 : take(q, data, &n, &err);
            *data_bytes -= n;
            if (r == 1) {
                run_slowly(q, WORK);
            } else if (r < 0) {
                *data_bytes = 0;
                spoil(q, &err);
            }
            return MHD_YES;
        }
        if (q->reply)
            return send_reply(q);
        if (q->route->slow) {
            run_slowly(q, SLOW);
            return MHD_YES;
        }
        answer(q, q->route->end);
        return send_reply(q);
    default:
        *data_bytes = 0;
        return phase == SLOW ? send_reply(q) : MHD_YES;
    }
}
