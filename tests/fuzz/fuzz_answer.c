/* SPDX-License-Identifier: Apache-2.0 */
/* What answers a client. The first byte: bit 0: the question was HEAD; bit 1: there is
 * a sink; the rest: into pieces of how many bytes the answer is cut. Whatever the
 * pieces, what is read of it is the same. */
#include "client/client_int.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct seen {
    struct client_answer answer;
    struct buf sunk;
    int end;
    enum err_code code;
    bool keep;
};

static int
sink(void *arg, const char *p, size_t n, struct err *err)
{
    (void)err;
    buf_add(arg, p, n);
    return 0;
}

static void
read_answer(struct seen *s, uint8_t how, const char *p, size_t n, size_t piece)
{
    const struct client_ask ask = { .method = how & 1 ? "HEAD" : "GET",
                                    .path = "/",
                                    .sink = how & 2 ? sink : NULL,
                                    .arg = &s->sunk };
    struct client_parse parse;
    struct err err = ERR_INIT;
    *s = (struct seen){ .end = 0 };
    client_parse_start(&parse, &ask, &s->answer);
    for (size_t at = 0; s->end == 0;) {
        const size_t k = n - at < piece ? n - at : piece;
        s->end = client_parse_feed(&parse, p + at, k, &err);
        at += k;
        if (s->end == 0 && k == 0)
            BUG("it waits for more after the end");
    }
    s->code = err.code;
    s->keep = parse.keep;
    if (s->end == 1 && (s->answer.status < 100 || s->answer.status > 999))
        BUG("status %d", s->answer.status);
    char *type AUTO(free_ptr) = client_answer_header(&s->answer, "content-type");
    if (type && strpbrk(type, "\n"))
        BUG("a header of two lines");
}

static void
seen_release(struct seen *s)
{
    client_answer_release(&s->answer);
    buf_release(&s->sunk);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct seen whole AUTO(seen_release) = { .end = 0 };
    struct seen cut AUTO(seen_release) = { .end = 0 };
    if (n == 0)
        return 0;
    read_answer(&whole, data[0], (const char *)data + 1, n - 1, n + 1);
    read_answer(&cut, data[0], (const char *)data + 1, n - 1, (data[0] >> 2) + 1u);
    if (whole.end != cut.end || whole.code != cut.code)
        BUG("in one piece %d (%d), cut %d (%d)", whole.end, (int)whole.code, cut.end,
            (int)cut.code);
    if (whole.end == 1 &&
        (whole.answer.status != cut.answer.status ||
         strcmp(buf_str(&whole.answer.headers), buf_str(&cut.answer.headers)) != 0 ||
         whole.answer.body.len != cut.answer.body.len ||
         whole.sunk.len != cut.sunk.len))
        BUG("another answer when it is cut");
    return 0;
}
