/* SPDX-License-Identifier: Apache-2.0 */
/* text/event-stream, as HTML has it: lines "field: value", an empty line ends an event,
 * what begins with ":" says only that somebody is there. */
#include "client/client_int.h"

#include <string.h>

void
client_events_start(struct client_events *e,
                    int (*fn)(void *arg, const char *event, struct str data,
                              struct err *err),
                    void *arg)
{
    *e = (struct client_events){ .fn = fn, .arg = arg };
    e->line.cap_bytes = e->data.cap_bytes = CLIENT_BODY_MAX;
    e->event.cap_bytes = 256;
}

void
client_events_release(struct client_events *e)
{
    buf_release(&e->line);
    buf_release(&e->event);
    buf_release(&e->data);
}

static int
end_event(struct client_events *e, struct err *err)
{
    int r = 0;

    if (e->any_data)
        r = e->fn(e->arg, buf_str(&e->event),
                  (struct str){ buf_str(&e->data), e->data.len }, err);
    buf_clear(&e->event);
    buf_clear(&e->data);
    e->any_data = false;
    return r;
}

static int
end_line(struct client_events *e, struct err *err)
{
    const char *line = buf_str(&e->line);
    size_t n = e->line.len, name, value;

    if (n > 0 && line[n - 1] == '\r')
        n--;
    if (n == 0)
        return end_event(e, err);
    const char *colon = memchr(line, ':', n);
    name = colon ? (size_t)(colon - line) : n;
    value = colon ? name + 1 : n;
    value += value < n && line[value] == ' ';
    if (name == 5 && memcmp(line, "event", 5) == 0) {
        buf_clear(&e->event);
        buf_add(&e->event, line + value, n - value);
    } else if (name == 4 && memcmp(line, "data", 4) == 0) {
        if (e->any_data)
            buf_addc(&e->data, '\n');
        buf_add(&e->data, line + value, n - value);
        e->any_data = true;
    }
    if (buf_check(&e->data, "an event", err) < 0 ||
        buf_check(&e->event, "the name of an event", err) < 0)
        return -(int)err->code;
    return 0;
}

int
client_events_feed(struct client_events *e, const char *p, size_t n, struct err *err)
{
    while (n > 0) {
        const char *end = memchr(p, '\n', n);
        const size_t part = end ? (size_t)(end - p) : n;
        int r;

        buf_add(&e->line, p, part);
        if (buf_check(&e->line, "a line of an event", err) < 0)
            return -(int)err->code;
        if (!end)
            return 0;
        r = end_line(e, err);
        buf_clear(&e->line);
        if (r != 0)
            return r;
        p = end + 1;
        n -= part + 1;
    }
    return 0;
}
