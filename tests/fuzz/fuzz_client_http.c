/* SPDX-License-Identifier: Apache-2.0 */
/* What a server answers: its first byte says in which pieces it comes. Whatever it is,
 * an answer is within its bounds, its headers are lines, and in one piece it is the
 * same. */
#include "client/client_int.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int
on_event(void *arg, const char *event, struct str data, struct err *err)
{
    (void)err;
    buf_addf(arg, "%s:%.*s\n", event, STR_ARG(data));
    return 0;
}

static int
to_events(void *arg, const char *p, size_t n, struct err *err)
{
    return client_events_feed(arg, p, n, err);
}

static int
parse(const uint8_t *data, size_t n, size_t step, struct client_answer *a,
      struct buf *events)
{
    struct client_events e AUTO(client_events_release) = { .any_data = false };
    struct client_parse p;
    struct err err = ERR_INIT;
    int r = 0;

    client_events_start(&e, on_event, events);
    client_parse_start(&p,
                       &(struct client_ask){
                           .method = "GET", .path = "/", .sink = to_events, .arg = &e },
                       a);
    for (size_t at = 0; r == 0 && at < n; at += step)
        r = client_parse_feed(&p, (const char *)data + at,
                              n - at < step ? n - at : step, &err);
    if (r == 0)
        r = client_parse_feed(&p, "", 0, &err);
    if ((r < 0) != (err.code != ERR_OK) || r > 1)
        BUG("%d and %s", r, err.msg);
    if (r == 1 && (a->status < 200 || a->headers.len > CLIENT_HEADERS_MAX))
        BUG("an answer of status %d", a->status);
    return r == 1;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct client_answer a AUTO(client_answer_release) = { .status = 0 };
    struct client_answer b AUTO(client_answer_release) = { .status = 0 };
    struct buf seen AUTO(buf_release) = BUF_INIT, again AUTO(buf_release) = BUF_INIT;
    char *type AUTO(free_ptr) = NULL;

    if (n < 2)
        return 0;
    const int whole = parse(data + 1, n - 1, n, &a, &seen);
    const int parts = parse(data + 1, n - 1, (size_t)data[0] % 7 + 1, &b, &again);

    if (whole && (!parts || a.status != b.status ||
                  strcmp(buf_str(&a.headers), buf_str(&b.headers)) != 0 ||
                  strcmp(buf_str(&seen), buf_str(&again)) != 0))
        BUG("in pieces it is another answer: %d %d", a.status, b.status);
    type = client_answer_header(&a, "content-type");
    return 0;
}
