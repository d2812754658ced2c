/* SPDX-License-Identifier: Apache-2.0 */
/* Forms of HTTP that two readers may take for two different requests. */
#include "server/srv_http.h"

#include <stdlib.h>
#include <string.h>

struct seen {
    int n_length, n_encoding, n_host;
    const char *length, *encoding;
    bool bad_name;
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
    (void)kind, (void)value_bytes;
    if (!is_token(key, key_bytes))
        s->bad_name = true;
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

int
srv_http_check(struct srv_req *q, const char *version, int *status, struct err *err)
{
    struct seen s = { 0 };
    *status = 400;
    MHD_get_connection_values_n(q->mhd, MHD_HEADER_KIND, look, &s);
    if (strcmp(version, "HTTP/1.1") != 0 && strcmp(version, "HTTP/1.0") != 0) {
        *status = 505;
        return err_set(err, ERR_UNSUPPORTED, "only HTTP/1.1 and HTTP/1.0 are spoken");
    }
    if (s.bad_name)
        return err_set(err, ERR_INVALID, "a header's name is malformed");
    if (s.n_host > 1 || (s.n_host == 0 && strcmp(version, "HTTP/1.1") == 0))
        return err_set(err, ERR_INVALID, "there must be one Host header");
    if (s.n_length > 1 || s.n_encoding > 1 || (s.n_length && s.n_encoding))
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
