/* SPDX-License-Identifier: Apache-2.0 */
/* Answers. */
#include "server/srv_http.h"

#include "base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int
srv_status_of(enum err_code code)
{
    static const int of[] = {
        [ERR_OK] = 200,      [ERR_INVALID] = 400,  [ERR_UNSUPPORTED] = 501,
        [ERR_LIMIT] = 422,   [ERR_IO] = 500,       [ERR_DB] = 500,
        [ERR_FAILED] = 422,  [ERR_USAGE] = 400,    [ERR_CONFLICT] = 409,
        [ERR_CORRUPT] = 500, [ERR_REFUSED] = 422,  [ERR_HOOK] = 422,
        [ERR_DENIED] = 403,  [ERR_NOTFOUND] = 404, [ERR_PENDING] = 409,
        [ERR_BUSY] = 503,
    };
    return of[code];
}

void
srv_reply_header(struct srv_req *q, const char *name, const char *value)
{
    buf_adds(&q->headers, name);
    buf_addc(&q->headers, '\0');
    buf_adds(&q->headers, value);
    buf_addc(&q->headers, '\0');
}

static void
put(struct srv_req *q, int status, const char *type_or_null, struct MHD_Response *r)
{
    q->status = status;
    q->reply = r;
    if (type_or_null)
        MHD_add_response_header(r, "Content-Type", type_or_null);
    MHD_add_response_header(r, "X-Request-Id", q->id);
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    for (size_t at = 0; at < q->headers.len;) {
        const char *name = q->headers.data + at;
        const char *value = name + strlen(name) + 1;
        MHD_add_response_header(r, name, value);
        at += strlen(name) + strlen(value) + 2;
    }
}

int
srv_reply_text(struct srv_req *q, int status, const char *type, struct str text)
{
    put(q, status, type,
        MHD_create_response_from_buffer(
            text.n, (void *)(uintptr_t)(text.p ? text.p : ""), MHD_RESPMEM_MUST_COPY));
    q->sent_bytes = (int64_t)text.n;
    return 0;
}

int
srv_reply_json(struct srv_req *q, int status, const cJSON *j)
{
    struct buf out AUTO(buf_release) = BUF_INIT;
    json_print(j, &out, true);
    return srv_reply_text(q, status, "application/json",
                          (struct str){ out.data, out.len });
}

int
srv_reply_empty(struct srv_req *q, int status)
{
    put(q, status, NULL,
        MHD_create_response_from_buffer(0, (void *)(uintptr_t) "",
                                        MHD_RESPMEM_PERSISTENT));
    return 0;
}

/* Any of the ETags of If-None-Match is this one. */
static bool
has_tag(const char *list, const char *tag)
{
    const size_t n = strlen(tag);
    for (const char *at = list; at && *at;) {
        at += strspn(at, " \t,");
        if (at[0] == '*')
            return true;
        if (strncmp(at, "W/", 2) == 0)
            at += 2;
        if (strncmp(at, tag, n) == 0 && (!at[n] || strchr(" \t,", at[n])))
            return true;
        at += strcspn(at, ",");
    }
    return false;
}

bool
srv_reply_known(struct srv_req *q, const char *etag_or_null, const char *cache)
{
    if (etag_or_null)
        srv_reply_header(q, "ETag", etag_or_null);
    srv_reply_header(q, "Cache-Control", cache);
    if (!etag_or_null || !has_tag(srv_header(q, "If-None-Match"), etag_or_null))
        return false;
    srv_reply_empty(q, 304);
    return true;
}

int
srv_reply_fd(struct srv_req *q, int status, const char *type, int fd,
             int64_t offset_bytes, int64_t n_bytes)
{
    put(q, status, type,
        MHD_create_response_from_fd_at_offset64((uint64_t)n_bytes, fd,
                                                (uint64_t)offset_bytes));
    q->sent_bytes = n_bytes;
    return 0;
}

/* ---- problems ---- */

void
srv_problem_json(const struct srv_req *q, int status, const struct err *err,
                 cJSON *reply_or_null, cJSON *out)
{
    char *title AUTO(free_ptr) = xasprintf("%s", err_name(err->code));
    for (char *p = title; *p; p++)
        *p = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
    char *type AUTO(free_ptr) = xasprintf("urn:sluice:error:%s", title);
    json_put_str(out, "type", type);
    json_put_str(out, "title", title);
    json_put_int(out, "status", status);
    json_put_str(out, "detail", err->msg);
    json_put_int(out, "exit_code", err_exit_status(err->code));
    json_put_str(out, "code", err_name(err->code));
    json_put_str(out, "instance", q->id);
    if (reply_or_null)
        cJSON_AddItemToObject(out, "reply", reply_or_null);
}

static int
problem(struct srv_req *q, int status, const struct err *err, cJSON *reply_or_null)
{
    cJSON *o AUTO(json_free) = cJSON_CreateObject();
    struct buf out AUTO(buf_release) = BUF_INIT;
    if (status == 401)
        srv_reply_header(q, "WWW-Authenticate",
                         srv_header(q, "Authorization")
                             ? "Bearer realm=\"sluice\", error=\"invalid_token\""
                             : "Bearer realm=\"sluice\"");
    if (status == 503)
        srv_reply_header(q, "Retry-After", "1");
    srv_problem_json(q, status, err, reply_or_null, o);
    json_print(o, &out, true);
    return srv_reply_text(q, status, "application/problem+json",
                          (struct str){ out.data, out.len });
}

int
srv_reply_problem(struct srv_req *q, const struct err *err, cJSON *reply_or_null)
{
    return problem(q,
                   err->code == ERR_IO && (err->sys == ENOSPC || err->sys == EDQUOT)
                       ? 507
                       : srv_status_of(err->code),
                   err, reply_or_null);
}

int
srv_reply_status(struct srv_req *q, int status, struct err *err)
{
    problem(q, status ? status : srv_status_of(err->code), err, NULL);
    err_clear(err);
    return 0;
}

/* ---- streams ----
 * A thread writes into a ring, libmicrohttpd's reads from it; who finds it empty lets
 * the connection sleep until there is something. */

enum {
    RING_BYTES = 128 * 1024,
    STREAM_STACK_BYTES = 512 * 1024,
    LATE_BYTES_S = 1024 /* who reads must take so much of what waits, in SRV_IDLE_S */
};

struct srv_sink {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    struct srv *srv;
    struct MHD_Connection *mhd;
    struct srv_req *q; /* until its end; only for the daemon's thread */
    char *ring;
    size_t at, n;                          /* filled part */
    bool any, ended, broken, gone, asleep; /* any: something was written */
    bool is_late; /* who reads takes next to nothing: the thread is let go */
    /* The thread waits for the reader; did so for so long, in which so much was taken;
     * both begin anew after SRV_IDLE_S. */
    bool waits;
    int64_t waited_ns;
    size_t waited_bytes;
    int refs; /* the thread's, the response's */
    int (*run)(void *arg, struct srv_sink *to, struct err *err);
    void (*done)(void *arg);
    void *arg;
    struct err err; /* of run */
    struct MHD_Response *response;
    char *trailer; /* NULL: none */
};

static void
sink_unref(struct srv_sink *s)
{
    pthread_mutex_lock(&s->lock);
    int left = --s->refs;
    pthread_mutex_unlock(&s->lock);
    if (left)
        return;
    pthread_cond_destroy(&s->moved);
    pthread_mutex_destroy(&s->lock);
    free(s->ring);
    free(s->trailer);
    free(s);
}

static ssize_t
sink_read(void *arg, uint64_t pos, char *to, size_t max)
{
    struct srv_sink *s = arg;
    ssize_t r = 0;
    (void)pos;
    pthread_mutex_lock(&s->lock);
    if (s->n > 0) {
        size_t k = s->n < max ? s->n : max;
        if (k > RING_BYTES - s->at)
            k = RING_BYTES - s->at;
        memcpy(to, s->ring + s->at, k);
        s->at = (s->at + k) % RING_BYTES;
        s->n -= k;
        s->waited_bytes += s->waits ? k : 0;
        r = (ssize_t)k;
        pthread_cond_broadcast(&s->moved);
    } else if (s->ended) {
        if (s->trailer && !s->broken)
            MHD_add_response_footer(s->response, "Sluice-Reply", s->trailer);
        r = s->broken ? MHD_CONTENT_READER_END_WITH_ERROR
                      : MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        s->asleep = true;
        MHD_suspend_connection(s->mhd);
    }
    pthread_mutex_unlock(&s->lock);
    if (r > 0)
        s->q->sent_bytes += r;
    return r;
}

/* Locked. */
static void
wake(struct srv_sink *s)
{
    if (s->asleep && !s->gone) {
        s->asleep = false;
        MHD_resume_connection(s->mhd);
    }
}

static void
sink_gone(void *arg)
{
    struct srv_sink *s = arg;
    pthread_mutex_lock(&s->lock);
    s->gone = true;
    pthread_cond_broadcast(&s->moved);
    pthread_mutex_unlock(&s->lock);
    sink_unref(s);
}

static struct timespec
after_ms(int ms)
{
    const int64_t ns = clock_mono_ns() + ms * INT64_C(1000000);
    return (struct timespec){ ns / 1000000000, (long)(ns % 1000000000) };
}

/* Locked: the ring is full. libmicrohttpd ends a connection on which nothing moves; one
 * that takes a byte now and then would keep the thread, and its worker, for ever. */
static void
wait_for_reader(struct srv_sink *s)
{
    const int64_t begun_ns = clock_mono_ns();
    const struct timespec until = after_ms(1000);
    s->waits = true;
    pthread_cond_clockwait(&s->moved, &s->lock, CLOCK_MONOTONIC, &until);
    s->waits = false;
    s->waited_ns += clock_mono_ns() - begun_ns;
    if (s->waited_ns < SRV_IDLE_S * INT64_C(1000000000))
        return;
    s->is_late = s->waited_bytes < (size_t)SRV_IDLE_S * LATE_BYTES_S;
    s->waited_ns = 0;
    s->waited_bytes = 0;
}

int
srv_sink_write(struct srv_sink *s, const void *p, size_t n)
{
    const char *from = p;
    pthread_mutex_lock(&s->lock);
    while (n > 0 && !s->gone && !s->is_late) {
        if (s->n == RING_BYTES) {
            wake(s);
            wait_for_reader(s);
            continue;
        }
        size_t end = (s->at + s->n) % RING_BYTES, room = RING_BYTES - s->n;
        size_t k = RING_BYTES - end < room ? RING_BYTES - end : room;
        k = k < n ? k : n;
        memcpy(s->ring + end, from, k);
        s->n += k;
        from += k;
        n -= k;
        if (!s->any)
            pthread_cond_broadcast(&s->moved);
        s->any = true;
    }
    wake(s);
    int r = s->gone || s->is_late ? -1 : 0;
    pthread_mutex_unlock(&s->lock);
    return r;
}

/* A connection that sleeps is not looked at by its daemon. */
bool
srv_sink_is_gone(struct srv_sink *s)
{
    pthread_mutex_lock(&s->lock);
    bool gone = s->gone || s->is_late || (s->asleep && srv_is_gone(s->q));
    pthread_mutex_unlock(&s->lock);
    return gone;
}

static void *
sink_thread(void *arg)
{
    struct srv_sink *s = arg;
    struct srv *srv = s->srv;
    int r = s->run(s->arg, s, &s->err);
    if (s->done)
        s->done(s->arg);
    pthread_mutex_lock(&s->lock);
    s->ended = true;
    s->broken = r < 0 || s->is_late;
    wake(s);
    pthread_cond_broadcast(&s->moved);
    pthread_mutex_unlock(&s->lock);
    sink_unref(s);
    srv_thread_end(srv, SRV_STREAM);
    return NULL;
}

/* A thread that runs; NULL: none can be started, and `done` was called. */
static struct srv_sink *
sink_start(struct srv_req *q,
           int (*run)(void *arg, struct srv_sink *to, struct err *err),
           void (*done)(void *arg), void *arg, struct err *err)
{
    struct srv_sink *s = xcalloc(1, sizeof *s);
    pthread_attr_t attr;
    pthread_t t;
    *s = (struct srv_sink){
        .srv = q->srv, .mhd = q->mhd, .q = q, .run = run, .done = done, .arg = arg
    };
    s->ring = xmalloc(RING_BYTES);
    s->refs = 2;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->moved, NULL);
    bool begun = srv_thread_begin(q->srv, SRV_STREAM);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STREAM_STACK_BYTES);
    bool runs = begun && pthread_create(&t, &attr, sink_thread, s) == 0;
    pthread_attr_destroy(&attr);
    if (runs)
        return s;
    if (begun)
        srv_thread_end(q->srv, SRV_STREAM);
    if (done)
        done(arg);
    s->refs = 1;
    sink_unref(s);
    err_set(err, ERR_BUSY, "too many streams are under way: try again");
    return NULL;
}

static void
sink_reply(struct srv_req *q, int status, const char *type, struct srv_sink *s)
{
    s->response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 32 * 1024,
                                                    sink_read, s, sink_gone);
    put(q, status, type, s->response);
}

void
srv_sink_trailer(struct srv_sink *s, char *text)
{
    pthread_mutex_lock(&s->lock);
    free(s->trailer);
    s->trailer = text;
    pthread_mutex_unlock(&s->lock);
}

/* Until its thread has ended, for so long at most. */
static void
sink_hold(struct srv_sink *s, int ms)
{
    const struct timespec until = after_ms(ms);
    pthread_mutex_lock(&s->lock);
    while (!s->ended &&
           pthread_cond_clockwait(&s->moved, &s->lock, CLOCK_MONOTONIC, &until) == 0)
        ;
    pthread_mutex_unlock(&s->lock);
}

int
srv_reply_run(struct srv_req *q, int status, const char *type, int hold_ms,
              int (*run)(void *arg, struct srv_sink *to, struct err *err),
              void (*done)(void *arg), void *arg)
{
    struct err err = ERR_INIT;
    struct srv_sink *s = sink_start(q, run, done, arg, &err);
    if (!s)
        return srv_reply_problem(q, &err, NULL);
    if (hold_ms > 0)
        sink_hold(s, hold_ms);
    sink_reply(q, status, type, s);
    return 0;
}

int
srv_reply_run_checked(struct srv_req *q, int status, const char *type,
                      int (*run)(void *arg, struct srv_sink *to, struct err *err),
                      void (*done)(void *arg), void *arg, struct err *err)
{
    struct srv_sink *s = sink_start(q, run, done, arg, err);
    if (!s)
        return -(int)err->code;
    pthread_mutex_lock(&s->lock);
    while (!s->any && !s->ended)
        pthread_cond_wait(&s->moved, &s->lock);
    bool failed = !s->any && s->broken;
    pthread_mutex_unlock(&s->lock);
    if (!failed) {
        sink_reply(q, status, type, s);
        return 0;
    }
    *err = s->err;
    sink_unref(s);
    return -(int)err->code;
}

/* ---- the same, pulled ---- */

struct pull {
    ssize_t (*next)(void *arg, char *to, size_t n);
    void (*done)(void *arg);
    void *arg;
};

static int
pull_run(void *arg, struct srv_sink *to, struct err *err)
{
    (void)err;
    struct pull *p = arg;
    enum { PIECE_BYTES = 64 * 1024 };
    char *piece AUTO(free_ptr) = xmalloc(PIECE_BYTES);
    ssize_t n;
    while ((n = p->next(p->arg, piece, PIECE_BYTES)) > 0)
        if (srv_sink_write(to, piece, (size_t)n) < 0)
            return -1;
    return n < 0 ? -1 : 0;
}

static void
pull_done(void *arg)
{
    struct pull *p = arg;
    if (p->done)
        p->done(p->arg);
    free(p);
}

int
srv_reply_stream(struct srv_req *q, int status, const char *type,
                 ssize_t (*next)(void *arg, char *to, size_t n),
                 void (*done)(void *arg), void *arg)
{
    struct pull *p = xcalloc(1, sizeof *p);
    *p = (struct pull){ .next = next, .done = done, .arg = arg };
    return srv_reply_run(q, status, type, 0, pull_run, pull_done, p);
}
