/* SPDX-License-Identifier: Apache-2.0 */
/* sluice-fetch: one HTTP request, for base/http.c, which says what stands on its
 * standard input. Writes "STATUS GRPC CUT MAXAGE MESSAGE" and a newline (GRPC:
 * grpc-status of the trailers, -1 without; CUT 1: the body was longer than asked for;
 * MAXAGE: of Cache-Control, 0 no-store and no-cache, -1 without), then the body.
 * Ends with 0 for any answer; 1: nobody answered, 3: not in time, with a line that says
 * why. */
#include "base/fs.h"
#include "base/http.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

struct answer {
    struct buf body;
    bool cut;
    long grpc_status, max_age_s;
    char grpc_message[200];
    char why[CURL_ERROR_SIZE]; /* no answer */
};

static size_t
take(char *p, size_t size, size_t n, void *arg)
{
    struct answer *a = arg;
    const size_t room = a->body.cap_bytes - a->body.len, bytes = size * n;

    buf_add(&a->body, p, bytes < room ? bytes : room);
    a->cut |= bytes > room;
    return a->cut ? 0 : bytes; /* 0 ends the transfer */
}

static size_t
take_header(char *p, size_t size, size_t n, void *arg)
{
    static const char status[] = "grpc-status:", message[] = "grpc-message:";
    static const char cache[] = "cache-control:";
    struct answer *a = arg;
    char *line AUTO(free_ptr) = xstrndup(p, size * n);

    line[strcspn(line, "\r\n")] = '\0';
    if (strncasecmp(line, status, sizeof(status) - 1) == 0)
        a->grpc_status = strtol(line + sizeof(status) - 1, NULL, 10);
    if (strncasecmp(line, cache, sizeof(cache) - 1) == 0)
        a->max_age_s = http_max_age(line + sizeof(cache) - 1);
    if (strncasecmp(line, message, sizeof(message) - 1) == 0) {
        const char *text = line + sizeof(message) - 1;

        snprintf(a->grpc_message, sizeof(a->grpc_message), "%s",
                 text + strspn(text, " "));
    }
    return size * n;
}

/* The next line of the request, ended by '\0'. */
static char *
next_line(char **at)
{
    char *line = *at, *end = strchr(line, '\n');

    if (!end)
        return NULL;
    *end = '\0';
    *at = end + 1;
    return line;
}

struct request {
    char *method, *url;
    long connect_ms, wall_ms, http2;
    size_t max_bytes;
    struct curl_slist *headers;
    char *body;
    size_t body_bytes;
};

static bool
parse(struct buf *in, struct request *r)
{
    char *at = in->data, *first, *limits, *line;

    if (!at || !(first = next_line(&at)) || !(limits = next_line(&at)))
        return false;
    r->method = first;
    r->url = strchr(first, ' ');
    if (!r->url)
        return false;
    *r->url++ = '\0';
    r->connect_ms = strtol(limits, &limits, 10);
    r->wall_ms = strtol(limits, &limits, 10);
    r->max_bytes = strtoul(limits, &limits, 10);
    r->http2 = strtol(limits, &limits, 10);
    while ((line = next_line(&at)) != NULL && *line)
        r->headers = curl_slist_append(r->headers, line);
    if (!line)
        return false;
    r->body = at;
    r->body_bytes = in->len - (size_t)(at - in->data);
    return true;
}

static void
set_up(CURL *curl, const struct request *r, struct answer *a)
{
    curl_easy_setopt(curl, CURLOPT_URL, r->url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, a->why);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, r->connect_ms);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, r->wall_ms);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, a);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, a);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, r->method);
    if (r->http2)
        curl_easy_setopt(curl, CURLOPT_HTTP_VERSION,
                         (long)CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE);
    if (r->headers)
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, r->headers);
    if (r->body_bytes > 0 || strcmp(r->method, "POST") == 0) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body_bytes);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, r->body);
    }
}

static int
print(const struct answer *a, long status)
{
    struct err err = ERR_INIT;

    printf("%ld %ld %d %ld %s\n", status, a->grpc_status, a->cut, a->max_age_s,
           a->grpc_message);
    if (fflush(stdout) != 0)
        return 1;
    return fs_write_all(STDOUT_FILENO, buf_str(&a->body), a->body.len, "answer", &err) <
                   0
               ? 1
               : 0;
}

int
main(void)
{
    struct buf in AUTO(buf_release) = BUF_INIT;
    struct answer a = { .grpc_status = -1, .max_age_s = -1 };
    struct request r = { .headers = NULL };
    struct err err = ERR_INIT;
    CURL *curl = curl_easy_init();
    CURLcode rc;
    long status = 0;
    int code;

    if (fs_read(AT_FDCWD, "/dev/stdin", &in, &err) < 0 || !curl || !parse(&in, &r)) {
        puts("sluice-fetch: started by sluice, not by hand");
        return 1;
    }
    a.body.cap_bytes = r.max_bytes;
    set_up(curl, &r, &a);
    rc = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    if (rc == CURLE_OK || (a.cut && status > 0)) {
        code = print(&a, status);
    } else {
        puts(a.why[0] ? a.why : curl_easy_strerror(rc));
        code = rc == CURLE_OPERATION_TIMEDOUT ? 3 : 1;
    }
    buf_release(&a.body);
    curl_slist_free_all(r.headers);
    curl_easy_cleanup(curl);
    return code;
}
