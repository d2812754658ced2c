/* SPDX-License-Identifier: Apache-2.0 */
/* What goes to sluice-fetch: "METHOD URL", "CONNECT_MS WALL_MS MAX_BYTES HTTP2",
 * headers, an empty line, the body; what comes back is said in fetch_main.c. */
#include "base/http.h"

#include "base/fs.h"
#include "base/proc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONNECT_MS 5000
#define WALL_MS 30000
#define MAX_BYTES ((size_t)1 << 20)
#define HEAD_BYTES 1024  /* of its answer, before the body */
#define OVER_MS 2000     /* for its own start and end */
enum { FETCH_LATE = 3 }; /* as fetch_main.c ends */

void
http_answer_release(struct http_answer *a)
{
    buf_release(&a->body);
}

static int
put_request(const struct http_ask *a, struct buf *out, struct err *err)
{
    const char *method = a->method ? a->method : a->body ? "POST" : "GET";

    if ((strncmp(a->url, "http://", 7) != 0 && strncmp(a->url, "https://", 8) != 0) ||
        !str_is_line(a->url) || strchr(a->url, ' '))
        return err_set(err, ERR_INVALID, "no http:// or https:// address: %s", a->url);
    buf_addf(out, "%s %s\n%d %d %zu %d\n", method, a->url,
             a->connect_ms ? a->connect_ms : CONNECT_MS,
             a->wall_ms ? a->wall_ms : WALL_MS, a->max_bytes ? a->max_bytes : MAX_BYTES,
             a->http2);
    for (int i = 0; a->headers && a->headers[i]; i++) {
        if (!str_is_line(a->headers[i]))
            return err_set(err, ERR_INVALID, "a header with a control character");
        buf_addf(out, "%s\n", a->headers[i]);
    }
    buf_addc(out, '\n');
    if (a->body)
        buf_add(out, a->body, a->body_bytes);
    return buf_check(out, "the request", err);
}

static int
to_memory(const struct buf *b, int *fd, struct err *err)
{
    *fd = memfd_create("sluice-request", MFD_CLOEXEC);
    if (*fd < 0)
        return err_sys(err, errno, "request: memfd");
    if (fs_write_all(*fd, b->data, b->len, "request", err) < 0)
        return -(int)err->code;
    return lseek(*fd, 0, SEEK_SET) < 0 ? err_sys(err, errno, "request: seek") : 0;
}

long
http_max_age(const char *cache_control)
{
    const char *at = strcasestr(cache_control, "max-age=");

    if (strcasestr(cache_control, "no-store") || strcasestr(cache_control, "no-cache"))
        return 0;
    if (!at || at[8] < '0' || at[8] > '9')
        return -1;
    return strtol(at + 8, NULL, 10);
}

/* "STATUS GRPC CUT MAXAGE MESSAGE\n", the body. */
static int
read_answer(struct buf *said, struct http_answer *out, struct err *err)
{
    const char *end = said->data ? memchr(said->data, '\n', said->len) : NULL;
    char *at;
    size_t n;

    if (!end)
        return err_set(err, ERR_IO, "sluice-fetch ended in the middle");
    out->status = (int)strtol(said->data, &at, 10);
    out->grpc_status = (int)strtol(at, &at, 10);
    out->cut = strtol(at, &at, 10) != 0;
    out->max_age_s = strtol(at, &at, 10);
    at += *at == ' ';
    n = (size_t)(end - at);
    if (n >= sizeof(out->grpc_message))
        n = sizeof(out->grpc_message) - 1;
    memcpy(out->grpc_message, at, n);
    out->grpc_message[n] = '\0';
    buf_add(&out->body, end + 1, said->len - (size_t)(end + 1 - said->data));
    return 0;
}

int
http_ask(const struct http_ask *ask, struct http_answer *out, struct err *err)
{
    struct buf request AUTO(buf_release) = BUF_INIT,
                       helper AUTO(buf_release) = BUF_INIT;
    struct buf said AUTO(buf_release) = {
        .cap_bytes = (ask->max_bytes ? ask->max_bytes : MAX_BYTES) + HEAD_BYTES
    };
    int fd AUTO(fs_close) = -1;
    int status = 0;

    if (put_request(ask, &request, err) < 0 ||
        proc_helper_path("sluice-fetch", &helper, err) < 0 ||
        to_memory(&request, &fd, err) < 0)
        return -(int)err->code;
    const char *const argv[] = { buf_str(&helper), NULL };
    const struct proc_args args = {
        .argv = argv,
        .stdin_fd = fd,
        .timeout_ms = (ask->wall_ms ? ask->wall_ms : WALL_MS) + OVER_MS
    };
    if (proc_run(&args, &said, &status, err) < 0)
        return err_ctx(err, "%s", ask->url);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return read_answer(&said, out, err) < 0 ? err_ctx(err, "%s", ask->url) : 0;
    if (said.len > 0)
        said.data[strcspn(said.data, "\n")] = '\0';
    return err_set(err,
                   WIFEXITED(status) && WEXITSTATUS(status) == FETCH_LATE ? ERR_LIMIT
                                                                          : ERR_IO,
                   "%s: %s", ask->url, buf_str(&said));
}
