/* SPDX-License-Identifier: Apache-2.0 */
/* What comes on a connection, up to where somebody would be asked: the library's and
 * our reading of requests, without threads. Each request that is taken is held against
 * a strict reading of the same bytes (what a proxy in front would read): method,
 * target, headers, body, and where the next one begins. Then what its headers and its
 * body ask is read, as the handlers do. */
#include "repo/upload.h"
#include "server/srv_auth.h"
#include "server/srv_http.h"
#include "server/srv_range.h"
#include "server/srv_verb.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { INPUT_MAX = 20000, TURNS_MAX = 4000 };

/* ---- the strict reading ---- */

struct reading {
    const char *p, *end; /* what is not read yet */
    struct str method, target;
    int n_headers;
    struct buf body;
    bool is_blind; /* a NUL stood where the library takes it for the end of a line, and
                    * leaves no trace of it: nothing can be said from there on */
};

/* Of the line that was just read. libmicrohttpd 0.9 takes a line of ":" LF for an empty
 * one, and leaves no trace of it. */
static bool
ends_with_crlf(const struct reading *r, size_t n)
{
    return r->p[-2] == '\r' || (r->p[-2] == ':' && n == 1);
}

/* Up to CR LF; `lax`: or LF, as lines of a chunked body may end. */
static bool
next_line(struct reading *r, bool lax, struct str *out)
{
    const char *lf = memchr(r->p, '\n', (size_t)(r->end - r->p));
    if (!lf)
        return false;
    const char *begin = r->p;
    r->p = lf + 1;
    r->is_blind |= memchr(begin, '\0', (size_t)(lf - begin)) != NULL;
    const bool cr = lf > begin && ends_with_crlf(r, (size_t)(lf - begin));
    *out = (struct str){ begin, (size_t)(lf - begin) - cr };
    return (cr || lax) && !memchr(out->p, '\r', out->n);
}

static bool
is_name(struct str s)
{
    static const char also[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < s.n; i++) {
        const char c = s.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
              (c >= 'A' && c <= 'Z') || (c && strchr(also, c))))
            return false;
    }
    return s.n > 0;
}

static bool
has_control(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (((unsigned char)s.p[i] < ' ' && s.p[i] != '\t') || s.p[i] == 0x7f)
            return true;
    return false;
}

static bool
is_called(struct str name, const char *wanted)
{
    return name.n == strlen(wanted) && strncasecmp(name.p, wanted, name.n) == 0;
}

static bool
read_first_line(struct reading *r)
{
    struct str line;
    do { /* empty ones before it are no request's */
        if (!next_line(r, true, &line))
            return false;
    } while (line.n == 0);
    const char *a = memchr(line.p, ' ', line.n);
    const char *b = a ? memchr(a + 1, ' ', line.n - (size_t)(a + 1 - line.p)) : NULL;
    if (!b || !ends_with_crlf(r, line.n))
        return false;
    r->method = (struct str){ line.p, (size_t)(a - line.p) };
    r->target = (struct str){ a + 1, (size_t)(b - a - 1) };
    const struct str version = { b + 1, line.n - (size_t)(b + 1 - line.p) };
    return is_name(r->method) && r->target.n > 0 && r->target.p[0] != '\0' &&
           !has_control(line) &&
           (str_eq(version, str_of("HTTP/1.1")) || str_eq(version, str_of("HTTP/1.0")));
}

static bool
read_chunks(struct reading *r)
{
    for (;;) {
        struct str line;
        uint64_t n = 0;
        size_t i = 0;
        if (!next_line(r, true, &line))
            return false;
        for (int d; i < line.n && (d = hex_value(line.p[i])) >= 0; i++) {
            if (n >> 60)
                return false;
            n = n << 4 | (uint64_t)d;
        }
        if (i == 0 || (i < line.n && line.p[i] != ';'))
            return false;
        if (n == 0)
            break;
        if (n > (uint64_t)(r->end - r->p))
            return false;
        buf_add(&r->body, r->p, n);
        r->p += n;
        if (!next_line(r, true, &line) || line.n > 0)
            return false;
    }
    struct str line;
    do { /* trailers are passed over; one that begins with a colon ends them */
        const char *lf = memchr(r->p, '\n', (size_t)(r->end - r->p));
        if (!lf)
            return false;
        line = (struct str){ r->p, (size_t)(lf - r->p) };
        r->p = lf + 1;
        r->is_blind |= memchr(line.p, '\0', line.n) != NULL;
    } while (line.n > 0 && line.p[0] != '\r' && line.p[0] != ':');
    return true;
}

/* The next request. False: none, not whole, or one that readers may differ about. */
static bool
read_request(struct reading *r)
{
    struct str line, length = { NULL, 0 };
    int n_length = 0, n_chunked = 0, n_host = 0;
    buf_clear(&r->body);
    r->n_headers = 0;
    if (!read_first_line(r))
        return false;
    for (;;) {
        if (!next_line(r, false, &line))
            return false;
        if (line.n == 0)
            break;
        const char *colon = memchr(line.p, ':', line.n);
        const struct str name = { line.p, colon ? (size_t)(colon - line.p) : 0 };
        if (!colon || !is_name(name) || has_control(line))
            return false;
        struct str value = { colon + 1, line.n - name.n - 1 };
        for (; value.n && strchr(" \t", value.p[0]); value.p++)
            value.n--;
        while (value.n && strchr(" \t", value.p[value.n - 1]))
            value.n--;
        r->n_headers++;
        n_host += is_called(name, "host");
        if (is_called(name, "content-length")) {
            n_length++;
            length = value;
        } else if (is_called(name, "transfer-encoding")) {
            n_chunked++;
            if (!is_called(value, "chunked"))
                return false;
        }
    }
    if (n_length + n_chunked > 1 || n_host > 1)
        return false;
    if (n_chunked)
        return read_chunks(r);
    uint64_t n = 0;
    for (size_t i = 0; i < length.n; i++) {
        if (length.p[i] < '0' || length.p[i] > '9' || n > UINT64_MAX / 100)
            return false;
        n = n * 10 + (uint64_t)(length.p[i] - '0');
    }
    if ((n_length && length.n == 0) || n > (uint64_t)(r->end - r->p))
        return false;
    buf_add(&r->body, r->p, n);
    r->p += n;
    return true;
}

/* ---- what is taken ---- */

struct seen {
    struct reading strict;
    int n_taken; /* requests */
    bool ended;  /* the connection is over for us */
};

static enum MHD_Result
count(void *arg, enum MHD_ValueKind kind, const char *key, const char *value)
{
    (void)kind, (void)key, (void)value;
    ++*(int *)arg;
    return MHD_YES;
}

static void
check_verb(struct srv_req *q)
{
    struct srv_call *c = NULL;
    struct err err = ERR_INIT;
    const int r = srv_verb_ask(q, &c, &err);
    if (r == 0) {
        if (!cJSON_IsObject(c->request) || c->page.size < 0 || c->page.size > 1000 ||
            c->page.offset < 0 || (c->if_match && strchr(c->if_match, '"')))
            BUG("%s asks what it does not", q->raw);
        if (svc_check_request(c->verb, c->request, &err) == 0 &&
            cJSON_GetArraySize(c->request) > c->verb->n_fields)
            BUG("%s takes fields that it does not have", c->verb->name);
    }
    srv_gone_verb(q);
    q->state = NULL;
}

static void
check_headers(struct srv_req *q)
{
    struct str bearer = { NULL, 0 };
    struct repo_part_sums sums;
    struct srv_range ranges[SRV_RANGES_MAX];
    struct err err = ERR_INIT, second = ERR_INIT;
    const char *range = srv_header(q, "Range"), *sum = srv_header(q, "Content-Digest");
    if (srv_auth_bearer(q, &bearer, &err) == 1 && memchr(bearer.p, '\r', bearer.n))
        BUG("a line in a token");
    if (sum && repo_part_sums_parse(sum, &sums, &second) < 0 &&
        second.code != ERR_INVALID)
        BUG("%s", second.msg);
    if (range && srv_range_parse(range, 100, ranges) > SRV_RANGES_MAX)
        BUG("too many ranges");
    if (strlen(q->trace) != 55 || strspn(q->trace, "0123456789abcdef-") != 55)
        BUG("trace %s", q->trace);
    (void)srv_reply_known(q, "\"sha256:00\"", "no-cache");
    if (q->reply)
        MHD_destroy_response(q->reply);
    q->reply = NULL;
}

static void
check_whole(struct seen *s, struct srv_req *q)
{
    int n = 0;
    MHD_get_connection_values(q->mhd, MHD_HEADER_KIND, count, &n);
    s->n_taken++;
    const bool is_good = !s->strict.is_blind && read_request(&s->strict);
    if (s->strict.is_blind)
        return;
    if (!is_good)
        BUG("request %d, %s %s, is taken and should not be", s->n_taken, q->method,
            q->raw);
    if (!str_eq(s->strict.method, str_of(q->method)) ||
        !str_eq(s->strict.target, str_of(q->raw)) || s->strict.n_headers != n)
        BUG("request %d is read as %s %s with %d headers", s->n_taken, q->method,
            q->raw, n);
    if (s->strict.body.len != q->body.len ||
        (q->body.len && memcmp(s->strict.body.data, q->body.data, q->body.len) != 0))
        BUG("the body of request %d is read as %zu bytes", s->n_taken, q->body.len);
}

static enum MHD_Result
answer(struct srv_req *q)
{
    struct err err = ERR_INIT;
    if (!q->reply)
        srv_reply_empty(q, 204);
    enum MHD_Result r = MHD_queue_response(q->mhd, (unsigned)q->status, q->reply);
    MHD_destroy_response(q->reply);
    q->reply = NULL;
    err_clear(&err);
    return r;
}

static enum MHD_Result
handle(void *arg, struct MHD_Connection *mhd, const char *url, const char *method,
       const char *version, const char *data, size_t *data_bytes, void **con_cls)
{
    struct seen *s = arg;
    struct srv_req *q = *con_cls;
    struct err err = ERR_INIT;
    int status;
    (void)mhd;
    if (!q->method[0]) { /* its headers are whole */
        if (srv_http_head(q, method, url, version, &status, &err) < 0) {
            s->ended |= q->close;
            return q->close ? MHD_NO : MHD_YES;
        }
        if (q->path[0] && q->path[0] != '/')
            BUG("path %s", q->path);
        return MHD_YES;
    }
    if (*data_bytes > 0) {
        buf_add(&q->body, data, *data_bytes);
        *data_bytes = 0;
        return MHD_YES;
    }
    check_whole(s, q);
    if (q->route && !q->reply) {
        check_headers(q);
        if (strncmp(q->route->name, "verb", 4) == 0)
            check_verb(q);
    }
    return answer(q);
}

static void
ended(void *arg, struct MHD_Connection *mhd, void **con_cls,
      enum MHD_RequestTerminationCode how)
{
    (void)arg, (void)mhd, (void)how;
    if (*con_cls)
        srv_req_free(*con_cls);
    *con_cls = NULL;
}

/* ---- a connection ---- */

static void
closed(void *arg, struct MHD_Connection *mhd, void **context,
       enum MHD_ConnectionNotificationCode code)
{
    (void)mhd, (void)context;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED)
        ((struct seen *)arg)->ended = true;
}

/* One daemon for all inputs, turned by hand. */
static struct MHD_Daemon *
daemon_of(struct seen *s)
{
    static struct MHD_Daemon *daemon;
    struct MHD_OptionItem reads[SRV_HTTP_OPTIONS];
    if (daemon)
        return daemon;
    json_setup();
    srv_http_options(NULL, reads);
    daemon = MHD_start_daemon(MHD_USE_NO_LISTEN_SOCKET | MHD_USE_EPOLL, 0, NULL, NULL,
                              handle, s, MHD_OPTION_NOTIFY_COMPLETED, ended, NULL,
                              MHD_OPTION_NOTIFY_CONNECTION, closed, s, MHD_OPTION_ARRAY,
                              reads, MHD_OPTION_END);
    if (!daemon)
        BUG("no daemon");
    return daemon;
}

/* In pieces of `step` bytes; how many requests were taken. */
static int
talk(struct seen *s, const char *p, size_t n, size_t step)
{
    char drain[4096];
    struct MHD_Daemon *daemon = daemon_of(s);
    struct sockaddr a = { .sa_family = AF_UNIX };
    int pair[2];
    *s = (struct seen){ .strict = { .p = p, .end = p + n } };
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0 ||
        MHD_add_connection(daemon, pair[1], &a, sizeof a.sa_family) != MHD_YES)
        BUG("no connection");
    size_t at = 0;
    for (int turns = 0; !s->ended && turns < TURNS_MAX; turns++) {
        const size_t k = n - at < step ? n - at : step;
        const ssize_t sent = k ? send(pair[0], p + at, k, MSG_NOSIGNAL) : 0;
        at += sent > 0 ? (size_t)sent : 0;
        if (at == n)
            shutdown(pair[0], SHUT_WR);
        MHD_run(daemon);
        while (recv(pair[0], drain, sizeof drain, 0) > 0)
            ;
    }
    close(pair[0]);
    for (int turns = 0; !s->ended && turns < TURNS_MAX; turns++)
        MHD_run(daemon);
    MHD_run(daemon); /* it frees what has ended */
    buf_release(&s->strict.body);
    return s->n_taken;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct seen s;
    if (n > INPUT_MAX)
        return 0;
    const int whole = talk(&s, (const char *)data, n, n);
    if (n < 2 || n > 2000)
        return 0;
    const int parts = talk(&s, (const char *)data, n, n / 2 + data[n / 2] % (n / 2));
    if (whole != parts)
        BUG("in pieces %d requests are taken, and not %d", parts, whole);
    return 0;
}
