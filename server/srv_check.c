/* SPDX-License-Identifier: Apache-2.0 */
/* Forms of HTTP that two readers may take for two different requests.
 *
 * libmicrohttpd 0.9 is generous: a line may end with a bare LF, a header may go on in
 * the next line, a NUL ends a value. It parses in place, so where its strings lie tells
 * what stood between them: in what we take, each line is NAME ":" blanks VALUE CR LF,
 * and nothing else. (From 1.0 on it can be told to be strict.) */
#include "server/srv_http.h"

#include <stdlib.h>
#include <string.h>

struct seen {
    int n_length, n_encoding, n_host;
    const char *length, *encoding;
    const char *end; /* where the next line must begin */
    bool bad_name, bad_value, bad_line;
};

static bool
is_token(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        bool alnum =
            (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!alnum && !strchr("!#$%&'*+-.^_`|~", c))
            return false;
    }
    return n > 0;
}

static enum MHD_Result
look(void *arg, enum MHD_ValueKind kind, const char *key, size_t key_bytes,
     const char *value, size_t value_bytes)
{
    struct seen *s = arg;
    const char *at = key + key_bytes + 1; /* the colon's place */
    (void)kind;
    s->bad_name |= !is_token(key, key_bytes);
    for (size_t i = 0; i < value_bytes; i++)
        s->bad_value |=
            ((unsigned char)value[i] < ' ' && value[i] != '\t') || value[i] == 0x7f;
    s->bad_line |= key != s->end || value < at ||
                   value - at > SRV_HEADERS_MAX; /* then it lies elsewhere */
    for (; !s->bad_line && at < value; at++)
        s->bad_line |= *at != ' ' && *at != '\t';
    s->end = value + value_bytes + 2;
    if (strcasecmp(key, "Content-Length") == 0) {
        s->n_length++;
        s->length = value;
    } else if (strcasecmp(key, "Transfer-Encoding") == 0) {
        s->n_encoding++;
        s->encoding = value;
    } else if (strcasecmp(key, "Host") == 0) {
        s->n_host++;
    }
    return MHD_YES;
}

/* The request's own line: METHOD SP TARGET SP VERSION CR LF. */
static bool
is_line(const struct srv_req *q, const char *url, const char *version)
{
    for (const char *p = q->raw; *p; p++)
        if (*p <= ' ' || *p == 0x7f) /* and what is not ASCII */
            return false;
    return is_token(q->method, strlen(q->method)) &&
           url == q->method + strlen(q->method) + 1 &&
           version == url + strlen(q->raw) + 1;
}

int
srv_http_check(struct srv_req *q, const char *url, const char *version, int *status,
               struct err *err)
{
    struct seen s = { .end = version + strlen(version) + 2 };
    const bool is_11 = strcmp(version, "HTTP/1.1") == 0;
    *status = 400;
    MHD_get_connection_values_n(q->mhd, MHD_HEADER_KIND, look, &s);
    const union MHD_ConnectionInfo *size =
        MHD_get_connection_info(q->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    if (!is_11 && strcmp(version, "HTTP/1.0") != 0) {
        *status = 505;
        return err_set(err, ERR_UNSUPPORTED, "only HTTP/1.1 and HTTP/1.0 are spoken");
    }
    if (size && size->header_size > SRV_HEADERS_MAX) {
        *status = 431;
        return err_set(err, ERR_LIMIT, "the headers have more than %d bytes",
                       SRV_HEADERS_MAX);
    }
    if (s.bad_name || s.bad_value)
        return err_set(err, ERR_INVALID, "a header is malformed");
    if (strncmp(MHD_get_version(), "0.9.", 4) == 0 &&
        (s.bad_line || !is_line(q, url, version) || !size ||
         s.end + 2 != q->method + size->header_size))
        return err_set(err, ERR_INVALID,
                       "a line of the headers is malformed: each ends with CR LF, and "
                       "none goes on in the next");
    if (s.n_host > 1 || (s.n_host == 0 && is_11))
        return err_set(err, ERR_INVALID, "there must be one Host header");
    if (s.n_length > 1 || s.n_encoding > 1 || (s.n_length && s.n_encoding) ||
        (s.n_encoding && !is_11))
        return err_set(err, ERR_INVALID,
                       "there must be one Content-Length, or Transfer-Encoding: "
                       "chunked");
    if (s.n_encoding && strcasecmp(s.encoding, "chunked") != 0) {
        *status = 501;
        return err_set(err, ERR_UNSUPPORTED,
                       "of transfer encodings only 'chunked' is understood");
    }
    q->body_bytes = s.n_encoding ? -1 : 0;
    if (s.n_length) {
        size_t n = strspn(s.length, "0123456789");
        if (n == 0 || s.length[n] || n > 18)
            return err_set(err, ERR_INVALID, "Content-Length is no number");
        q->body_bytes = strtoll(s.length, NULL, 10);
    }
    return 0;
}
