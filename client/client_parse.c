/* SPDX-License-Identifier: Apache-2.0 */
#include "client/client_int.h"

#include <string.h>

static struct client_parse *
of(http_parser *h)
{
    return h->data;
}

static int
on_begin(http_parser *h)
{
    struct client_parse *p = of(h);

    buf_clear(&p->out->headers);
    buf_clear(&p->out->body);
    p->in_value = false;
    p->is_interim = false;
    return 0;
}

static int
on_name(http_parser *h, const char *at, size_t n)
{
    struct client_parse *p = of(h);

    if (p->in_value)
        buf_addc(&p->out->headers, '\n');
    p->in_value = false;
    for (size_t i = 0; i < n; i++)
        buf_addc(&p->out->headers,
                 (char)(at[i] >= 'A' && at[i] <= 'Z' ? at[i] + ('a' - 'A') : at[i]));
    return 0;
}

static int
on_value(http_parser *h, const char *at, size_t n)
{
    struct client_parse *p = of(h);

    if (!p->in_value)
        buf_adds(&p->out->headers, ": ");
    p->in_value = true;
    for (size_t i = 0; i < n; i++) /* a line each, whatever stands in it */
        buf_addc(&p->out->headers, at[i] == '\n' || at[i] == '\0' ? ' ' : at[i]);
    return 0;
}

static int
on_headers_end(http_parser *h)
{
    struct client_parse *p = of(h);

    if (p->in_value)
        buf_addc(&p->out->headers, '\n');
    p->out->status = (int)h->status_code;
    p->is_interim = h->status_code / 100 == 1;
    if (buf_check(&p->out->headers, "the headers of its answer", p->err) < 0)
        return -1;
    if (h->status_code < 100) {
        err_set(p->err, ERR_INVALID,
                "what answers there is no HTTP server: it has the status %u",
                h->status_code);
        return -1;
    }
    if (h->upgrade || h->status_code == 101) {
        err_set(p->err, ERR_INVALID, "it wants to speak something else than HTTP");
        return -1;
    }
    p->to_sink = p->ask->sink && h->status_code / 100 == 2 &&
                 (!p->ask->wants || p->ask->wants(p->ask->arg, p->out));
    /* 1: whatever its length says, no body comes */
    return strcmp(p->ask->method, "HEAD") == 0;
}

static int
on_body(http_parser *h, const char *at, size_t n)
{
    struct client_parse *p = of(h);

    if (p->to_sink) {
        p->sunk_bytes += (int64_t)n;
        return p->ask->sink(p->ask->arg, at, n, p->err) < 0 ? -1 : 0;
    }
    buf_add(&p->out->body, at, n);
    return buf_check(&p->out->body, "its answer", p->err) < 0 ? -1 : 0;
}

static int
on_end(http_parser *h)
{
    struct client_parse *p = of(h);

    if (p->is_interim)
        return 0; /* the answer itself is still to come */
    p->done = true;
    p->keep = http_should_keep_alive(h) != 0;
    http_parser_pause(h, 1); /* nothing may follow it */
    return 0;
}

void
client_parse_start(struct client_parse *p, const struct client_ask *ask,
                   struct client_answer *out)
{
    *p = (struct client_parse){ .ask = ask, .out = out };
    http_parser_init(&p->http, HTTP_RESPONSE);
    p->http.data = p;
    out->headers.cap_bytes = CLIENT_HEADERS_MAX;
    out->body.cap_bytes = CLIENT_BODY_MAX;
    out->status = 0;
    buf_clear(&out->headers);
    buf_clear(&out->body);
}

int
client_parse_feed(struct client_parse *p, const char *bytes, size_t n, struct err *err)
{
    static const http_parser_settings on = {
        .on_message_begin = on_begin,
        .on_header_field = on_name,
        .on_header_value = on_value,
        .on_headers_complete = on_headers_end,
        .on_body = on_body,
        .on_message_complete = on_end,
    };
    size_t used;

    p->err = err;
    if (n == 0 && p->n_begun == 0)
        return err_set(err, ERR_BUSY,
                       "it ended the connection without an answer (one that wants TLS "
                       "does: https://)");
    p->n_begun += n;
    used = http_parser_execute(&p->http, &on, bytes, n);
    if (err->code != ERR_OK)
        return -(int)err->code;
    if (p->done) {
        p->keep = p->keep && used == n; /* it says more than it was asked */
        return 1;
    }
    if (n == 0)
        return err_set(err, ERR_BUSY, "its answer ended in the middle");
    if (HTTP_PARSER_ERRNO(&p->http) != HPE_OK)
        return HTTP_PARSER_ERRNO(&p->http) == HPE_HEADER_OVERFLOW
                   ? err_set(err, ERR_LIMIT, "the headers of its answer are too long")
                   : err_set(err, ERR_INVALID,
                             "what answers there is no HTTP server: %s",
                             http_errno_description(HTTP_PARSER_ERRNO(&p->http)));
    return 0;
}

char *
client_answer_header(const struct client_answer *a, const char *name)
{
    const size_t n = strlen(name);

    for (const char *p = buf_str(&a->headers); *p;) {
        const size_t line = strcspn(p, "\n");

        if (strncmp(p, name, n) == 0 && strncmp(p + n, ": ", 2) == 0)
            return xstrndup(p + n + 2, line - n - 2);
        p += line + (p[line] == '\n');
    }
    return NULL;
}

void
client_answer_release(struct client_answer *a)
{
    buf_release(&a->headers);
    buf_release(&a->body);
}
