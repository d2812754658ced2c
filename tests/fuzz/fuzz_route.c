/* SPDX-License-Identifier: Apache-2.0 */
/* A request of which the library has made lines: "METHOD TARGET" LF BODY. The target is
 * decoded, its route found, and of a verb what the query or the body ask of it. */
#include "server/srv_http.h"
#include "server/srv_verb.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
check_path(const struct srv_req *q)
{
    if (q->path[0] != '/' || strstr(q->path, "/../") || strstr(q->path, "/./"))
        BUG("%s leads to %s", q->raw, q->path);
    for (const char *p = q->path; *p; p++)
        if ((unsigned char)*p < ' ')
            BUG("a control character in the path of %s", q->raw);
}

static void
check_call(struct srv_req *q)
{
    struct srv_call *c = NULL;
    struct err err = ERR_INIT;
    const int r = srv_verb_ask(q, &c, &err);
    if (r == 0) {
        if (!cJSON_IsObject(c->request) || c->page.size < 0 || c->page.size > 1000 ||
            c->page.offset < 0)
            BUG("%s asks what it does not", q->raw);
        if (svc_check_request(c->verb, c->request, &err) == 0 &&
            cJSON_GetArraySize(c->request) > c->verb->n_fields)
            BUG("%s takes fields that it does not have", c->verb->name);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static bool is_set_up;
    const uint8_t *line = memchr(data, '\n', n);
    const size_t n_line = line ? (size_t)(line - data) : n;
    struct buf allow AUTO(buf_release) = BUF_INIT;
    struct err err = ERR_INIT;
    char *text = xstrndup((const char *)data, n_line), *target = strchr(text, ' ');
    if (!is_set_up)
        json_setup();
    is_set_up = true;
    struct srv_req *q = xcalloc(1, sizeof *q);
    if (target)
        *target++ = '\0';
    q->method = text;
    q->raw = xstrdup(target ? target : "/");
    q->body.cap_bytes = SRV_BODY_MAX;
    if (line)
        buf_add(&q->body, line + 1, n - n_line - 1);
    if (srv_http_target(q, &err) == 0) {
        check_path(q);
        if (srv_route_find(q, &allow, &err) == 0 &&
            strncmp(q->route->name, "verb", 4) == 0)
            check_call(q);
    }
    if (q->route && q->route->gone && q->state)
        q->route->gone(q);
    srv_req_free(q);
    free(text);
    return 0;
}
