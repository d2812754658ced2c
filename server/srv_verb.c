/* SPDX-License-Identifier: Apache-2.0 */
/* /api/v1/VERB: a verb as a request, its reply, problem or events. */
#include "server/srv_verb.h"

#include "base/clock.h"
#include "server/srv_reach.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct svc_verb *
srv_verb_find(const char *path)
{
    char *name AUTO(free_ptr) = xstrdup(path);
    if (strchr(name, '_'))
        return NULL; /* one address for a verb: target/add */
    for (char *p = name; *p; p++)
        if (*p == '/')
            *p = '_';
    return svc_find(name);
}

/* ---- what is asked ---- */

/* A part of the query as the field that it names. */
static int
put_field(cJSON *request, const struct svc_verb *verb, const char *key,
          const char *value, struct err *err)
{
    const struct svc_field *f = svc_find_field(verb, key);
    char *end;
    errno = 0;
    if (f && f->type == SVC_LIST) {
        cJSON *list = cJSON_GetObjectItemCaseSensitive(request, key);
        if (!list)
            list = cJSON_AddArrayToObject(request, key);
        json_put_str(list, NULL, value);
        return 0;
    }
    if (json_has(request, key))
        return err_set(err, ERR_INVALID, "%s is given twice", key);
    if (f && f->type == SVC_INT) {
        long long v = strtoll(value, &end, 10);
        if (end == value || *end || errno)
            return err_set(err, ERR_INVALID, "%s must be a whole number, not '%.80s'",
                           key, value);
        json_put_int(request, key, v);
    } else if (f && f->type == SVC_BOOL) {
        const bool yes = strcmp(value, "true") == 0 || strcmp(value, "1") == 0;
        if (!yes && strcmp(value, "false") != 0 && strcmp(value, "0") != 0)
            return err_set(err, ERR_INVALID, "%s must be true or false, not '%.80s'",
                           key, value);
        json_put_bool(request, key, yes);
    } else {
        json_put_str(request, key, value);
    }
    return 0;
}

static int
read_query(const struct srv_req *q, struct srv_call *c, bool is_get, struct err *err)
{
    const char *key, *value;
    for (int i = 0; srv_query_at(q, i, &key, &value); i++) {
        if (strcmp(key, "page_size") == 0 || strcmp(key, "page_token") == 0)
            continue;
        if (!is_get)
            return err_set(err, ERR_INVALID,
                           "%s: the fields of a POST are in its body, as JSON", key);
        if (put_field(c->request, c->verb, key, value, err) < 0)
            return -(int)err->code;
    }
    return 0;
}

static int
read_key(const struct srv_req *q, struct srv_call *c, struct err *err)
{
    const char *key = srv_header(q, "Idempotency-Key");
    const char *said = cJSON_GetStringValue(
        cJSON_GetObjectItemCaseSensitive(c->request, "idempotency_key"));
    size_t n = key ? strlen(key) : 0;
    if (!key || c->verb->right == ACC_READ)
        return 0; /* to read twice changes nothing */
    if (!svc_find_field(c->verb, "idempotency_key"))
        return err_set(err, ERR_INVALID,
                       "%s takes no idempotency key: it would be done twice",
                       c->verb->name);
    /* the header's own form is a string with quotes; bare ones are common */
    char *bare AUTO(free_ptr) = n >= 2 && key[0] == '"' && key[n - 1] == '"'
                                    ? xstrndup(key + 1, n - 2)
                                    : xstrdup(key);
    if (said && strcmp(said, bare) != 0)
        return err_set(err, ERR_INVALID,
                       "the header Idempotency-Key and the field idempotency_key are "
                       "not the same");
    if (!said)
        json_put_str(c->request, "idempotency_key", bare);
    return 0;
}

/* If-Match: one ETag of the alias that the verb moves. */
static int
read_match(const struct srv_req *q, struct srv_call *c, struct err *err)
{
    const char *tag = srv_header(q, "If-Match");
    const size_t n = tag ? strlen(tag) : 0;
    if (!tag || strcmp(tag, "*") == 0)
        return 0;
    if (!svc_find_field(c->verb, "expect"))
        return err_set(err, ERR_INVALID, "%s moves no alias that If-Match could be of",
                       c->verb->name);
    if (n < 3 || tag[0] != '"' || tag[n - 1] != '"' ||
        memchr(tag + 1, '"', n - 2) != NULL)
        return err_set(err, ERR_INVALID,
                       "If-Match takes one ETag, as resolve gives it: \"sha256:…\", "
                       "or \"rN\" for the release N");
    c->if_match = xstrndup(tag + 1, n - 2);
    return 0;
}

static int
read_body(const struct srv_req *q, struct srv_call *c, struct err *err)
{
    const char *type = srv_header(q, "Content-Type");
    if (!q->body.len) {
        c->request = cJSON_CreateObject();
        return 0;
    }
    if (type && strncasecmp(type, "application/json", 16) != 0)
        return err_set(err, ERR_UNSUPPORTED,
                       "the body is %.80s, and JSON is wanted: say "
                       "Content-Type: application/json",
                       type);
    if (json_parse(&c->request, (struct str){ q->body.data, q->body.len }, "the body",
                   err) < 0 ||
        json_check_names(c->request, "the body", err) < 0)
        return -(int)err->code;
    if (!cJSON_IsObject(c->request))
        return err_set(err, ERR_INVALID, "the body must be a JSON object");
    return 0;
}

int
srv_verb_ask(struct srv_req *q, struct srv_call **out, struct err *err)
{
    const bool is_get = strcmp(q->method, "POST") != 0;
    struct srv_call *c = xcalloc(1, sizeof *c);
    q->state = *out = c;
    c->verb = srv_verb_find(q->args[0]);
    if (!c->verb)
        return err_set(err, ERR_NOTFOUND,
                       "there is no verb '%s'; /api/v1/openapi.json lists them",
                       q->args[0]);
    q->verb = c->verb->name;
    if (srv_reach_verb(c->verb, err) < 0)
        return -(int)err->code;
    if (is_get && !srv_reach_reads(c->verb)) {
        err_set(err, ERR_UNSUPPORTED, "%s changes something: POST it", c->verb->name);
        srv_reply_header(q, "Allow", "POST");
        (void)srv_reply_status(q, 405, err);
        return 1;
    }
    int r = 0;
    if (is_get)
        c->request = cJSON_CreateObject();
    else
        r = read_body(q, c, err);
    if (r < 0 && err->code == ERR_UNSUPPORTED) {
        (void)srv_reply_status(q, 415, err);
        return 1;
    }
    if (r < 0 || read_query(q, c, is_get, err) < 0 || read_key(q, c, err) < 0 ||
        read_match(q, c, err) < 0 ||
        srv_page_begin(&c->page, q, c->verb, c->request, err) < 0)
        return -(int)err->code;
    const char *ref = cJSON_GetStringValue(cJSON_GetObjectItem(c->request, "ref"));
    const char *model = cJSON_GetStringValue(cJSON_GetObjectItem(c->request, "model"));
    snprintf(q->object, sizeof q->object, "%s", ref ? ref : model ? model : "");
    return 0;
}

/* ---- its reply ---- */

/* Those who wait for long are told how things stand when the service ends, too. */
static bool
is_gone(void *arg)
{
    const struct srv_req *q = arg;
    return q->srv->draining || srv_is_gone(q);
}

/* A GET's answer has the digest of its bytes as its ETag. */
static int
reply_tagged(struct srv_req *q, const cJSON *reply)
{
    struct buf out AUTO(buf_release) = BUF_INIT;
    struct digest d;
    char hex[DIGEST_HEX_BYTES], tag[DIGEST_HEX_BYTES + 2];
    json_print(reply, &out, true);
    sha256_of(out.data, out.len, &d);
    digest_hex(&d, hex);
    snprintf(tag, sizeof tag, "\"%s\"", hex);
    if (srv_reply_known(q, tag, "private, no-cache"))
        return 0;
    return srv_reply_text(q, 200, "application/json",
                          (struct str){ out.data, out.len });
}

static int
reply_once(struct srv_req *q, struct srv_call *c, struct err *err)
{
    cJSON *reply = NULL;
    struct srv_call_hooks hooks = {
        .stop = is_gone, .arg = q, .trace = q->trace, .if_match = c->if_match
    };
    int r = srv_worker_call(q->srv, &q->who, c->verb->name, c->request, &hooks, &reply,
                            err);
    q->number = srv_metrics_reply(q->srv, reply);
    if (r < 0) {
        if (c->if_match && err->code == ERR_CONFLICT) {
            cJSON_Delete(reply);
            return srv_reply_status(q, 412, err);
        }
        srv_reply_problem(q, err, reply);
        err_clear(err);
        return 0;
    }
    srv_page_end(&c->page, q, c->verb, reply);
    if (strcmp(q->method, "POST") != 0)
        reply_tagged(q, reply);
    else
        srv_reply_json(q, 200, reply);
    cJSON_Delete(reply);
    return 0;
}

/* ---- as events, or bytes, on a thread that may outlive the request ---- */

struct stream {
    struct srv *srv;
    struct srv_who who;
    struct srv_call call;
    char trace[56], id[24];
    struct srv_sink *to;
    int64_t said_ns;
};

static void
stream_free(void *arg)
{
    struct stream *s = arg;
    srv_who_release(&s->who);
    cJSON_Delete(s->call.request);
    free(s->call.if_match);
    free(s);
}

static struct stream *
stream_new(struct srv_req *q, struct srv_call *c)
{
    struct stream *s = xcalloc(1, sizeof *s);
    s->srv = q->srv;
    srv_who_copy(&s->who, &q->who);
    s->call = *c;
    c->request = NULL;
    c->if_match = NULL;
    snprintf(s->trace, sizeof s->trace, "%s", q->trace);
    snprintf(s->id, sizeof s->id, "%s", q->id);
    return s;
}

static void
event(struct stream *s, const char *name, const cJSON *data)
{
    struct buf out AUTO(buf_release) = BUF_INIT;
    buf_addf(&out, "event: %s\ndata: ", name);
    json_print(data, &out, true);
    buf_adds(&out, "\n\n");
    s->said_ns = clock_mono_ns();
    (void)srv_sink_write(s->to, out.data, out.len);
}

static void
on_progress(void *arg, const char *what, int64_t done_bytes, int64_t total_bytes)
{
    cJSON *o AUTO(json_free) = cJSON_CreateObject();
    json_put_str(o, "what", what);
    json_put_int(o, "done", done_bytes);
    json_put_int(o, "total", total_bytes);
    event(arg, "progress", o);
}

static void
on_tell(void *arg, const cJSON *what)
{
    event(arg, "tell", what);
}

/* Between events a comment keeps those in between from taking it for dead. */
static bool
events_stop(void *arg)
{
    enum { QUIET_S = 15 };
    struct stream *s = arg;
    const int64_t now = clock_mono_ns();
    if (now - s->said_ns > QUIET_S * INT64_C(1000000000)) {
        s->said_ns = now;
        (void)srv_sink_write(s->to, ":\n\n", 3);
    }
    return s->srv->draining || srv_sink_is_gone(s->to);
}

static int
run_events(void *arg, struct srv_sink *to, struct err *err)
{
    struct stream *s = arg;
    cJSON *reply = NULL;
    struct srv_call_hooks hooks = { .progress = on_progress,
                                    .tell = on_tell,
                                    .stop = events_stop,
                                    .arg = s,
                                    .trace = s->trace,
                                    .if_match = s->call.if_match };
    s->to = to;
    s->said_ns = clock_mono_ns();
    (void)srv_sink_write(to, ":\n\n", 3); /* the answer has begun */
    int r = srv_worker_call(s->srv, &s->who, s->call.verb->name, s->call.request,
                            &hooks, &reply, err);
    (void)srv_metrics_reply(s->srv, reply);
    if (r < 0) {
        cJSON *o AUTO(json_free) = cJSON_CreateObject();
        struct srv_req q = { .srv = s->srv };
        memcpy(q.id, s->id, sizeof q.id);
        const bool failed = s->call.if_match && err->code == ERR_CONFLICT;
        srv_problem_json(&q, failed ? 412 : srv_status_of(err->code), err, reply, o);
        event(s, "problem", o);
        return 0;
    }
    event(s, "reply", reply);
    cJSON_Delete(reply);
    return 0;
}

enum { TRAILER_MAX = 16 * 1024 };

/* JSON in ASCII: \uXXXX for what is not. */
static void
add_ascii(const struct buf *json, struct buf *out)
{
    for (const unsigned char *p = (const unsigned char *)buf_str(json); *p; p++) {
        uint32_t c = *p;
        int more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : c >= 0xc0 ? 1 : 0;
        if (c < 0x80) {
            buf_addc(out, (char)(c < ' ' ? ' ' : c));
            continue;
        }
        c &= more == 3 ? 7U : more == 2 ? 15U : 31U;
        for (; more > 0 && (p[1] & 0xc0) == 0x80; more--)
            c = c << 6 | (*++p & 63U);
        if (c >= 0x10000)
            buf_addf(out, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10),
                     0xdc00 + (c & 0x3ff));
        else
            buf_addf(out, "\\u%04x", c);
    }
}

static int
on_bytes(void *arg, const char *p, size_t n)
{
    return srv_sink_write(((struct stream *)arg)->to, p, n);
}

static bool
bytes_stop(void *arg)
{
    return srv_sink_is_gone(((struct stream *)arg)->to);
}

/* An answer that breaks off has no end: the client cannot take it for whole. */
static int
run_bytes(void *arg, struct srv_sink *to, struct err *err)
{
    struct stream *s = arg;
    cJSON *reply = NULL;
    struct srv_call_hooks hooks = {
        .stop = bytes_stop, .bytes = on_bytes, .arg = s, .trace = s->trace
    };
    s->to = to;
    int r = srv_worker_call(s->srv, &s->who, s->call.verb->name, s->call.request,
                            &hooks, &reply, err);
    if (r == 0 &&
        reply) { /* what it says beside its bytes; others than ASCII escaped */
        struct buf text AUTO(buf_release) = BUF_INIT, out AUTO(buf_release) = BUF_INIT;
        json_print(reply, &text, true);
        add_ascii(&text, &out);
        if (out.len <= TRAILER_MAX)
            srv_sink_trailer(to, buf_take(&out));
    }
    cJSON_Delete(reply);
    return r;
}

static bool
wants_events(const struct srv_req *q)
{
    const char *accept = srv_header(q, "Accept");
    return accept && strstr(accept, "text/event-stream");
}

static int
verb(struct srv_req *q, struct err *err)
{
    struct srv_call *c;
    int r = srv_verb_ask(q, &c, err);
    if (r != 0)
        return r < 0 ? r : 0;
    if (svc_gives_bytes(c->verb, c->request))
        return srv_reply_run_checked(q, 200, "application/octet-stream", run_bytes,
                                     stream_free, stream_new(q, c), err);
    if (wants_events(q)) {
        srv_reply_header(q, "Cache-Control", "no-cache");
        srv_reply_header(q, "X-Accel-Buffering", "no");
        return srv_reply_run(q, 200, "text/event-stream", run_events, stream_free,
                             stream_new(q, c));
    }
    return reply_once(q, c, err);
}

int
srv_do_verb(struct srv_req *q, struct err *err)
{
    return verb(q, err);
}

int
srv_do_verb_get(struct srv_req *q, struct err *err)
{
    return verb(q, err);
}

void
srv_gone_verb(struct srv_req *q)
{
    struct srv_call *c = q->state;
    if (!c)
        return;
    cJSON_Delete(c->request);
    free(c->if_match);
    free(c);
}

void
srv_gone_verb_get(struct srv_req *q)
{
    srv_gone_verb(q);
}
