/* SPDX-License-Identifier: Apache-2.0 */
/* The access log: a line of JSON for each request. A line is one write to a file that
 * is opened for appending, so that lines of several threads do not mix. */
#include "server/server_int.h"

#include "base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct srv_log {
    pthread_mutex_t lock; /* of fd, which SIGHUP replaces */
    int fd;
};

static int
open_file(const char *path, int *fd, struct err *err)
{
    if (strcmp(path, "-") == 0) {
        *fd = dup(STDERR_FILENO);
        return *fd < 0 ? err_sys(err, errno, "open standard error again") : 0;
    }
    return fs_open(fd, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640,
                   err);
}

int
srv_log_open(struct srv *srv, struct err *err)
{
    int fd;
    if (!srv->opts->access_log)
        return 0;
    if (open_file(srv->opts->access_log, &fd, err) < 0)
        return err_ctx(err, "the access log");
    srv->log = xcalloc(1, sizeof *srv->log);
    srv->log->fd = fd;
    pthread_mutex_init(&srv->log->lock, NULL);
    return 0;
}

void
srv_log_reopen(struct srv *srv)
{
    struct err err = ERR_INIT;
    int fd, old;
    if (!srv->log || open_file(srv->opts->access_log, &fd, &err) < 0)
        return; /* the old one goes on: lines in the wrong file are better than none */
    pthread_mutex_lock(&srv->log->lock);
    old = srv->log->fd;
    srv->log->fd = fd;
    pthread_mutex_unlock(&srv->log->lock);
    close(old);
}

void
srv_log_close(struct srv *srv)
{
    if (!srv->log)
        return;
    close(srv->log->fd);
    pthread_mutex_destroy(&srv->log->lock);
    free(srv->log);
    srv->log = NULL;
}

static void
add(struct buf *out, const char *key, const char *value)
{
    if (!value || !value[0])
        return;
    buf_addf(out, ",\"%s\":", key);
    json_add_quoted(out, str_of(value));
}

void
srv_log_request(struct srv *srv, const struct srv_req *q)
{
    if (!srv->log)
        return;
    struct buf out AUTO(buf_release) = BUF_INIT;
    char time[CLOCK_TEXT_BYTES];
    buf_addf(&out, "{\"time\":\"%s\"", clock_text(clock_now_ns(), time));
    add(&out, "id", q->id);
    add(&out, "trace", q->trace);
    add(&out, "peer", q->conn ? q->conn->peer : NULL);
    add(&out, "subject", q->who.subject);
    add(&out, "via", q->who.via);
    add(&out, "method", q->method);
    add(&out, "path", q->path);
    add(&out, "verb", q->verb);
    add(&out, "object", q->object);
    buf_addf(&out, ",\"status\":%d,\"got\":%lld,\"sent\":%lld,\"ms\":%.3f}\n",
             q->status, (long long)q->got_bytes, (long long)q->sent_bytes,
             (double)(clock_mono_ns() - q->begun_ns) / 1e6);
    pthread_mutex_lock(&srv->log->lock);
    ssize_t k = write(srv->log->fd, out.data, out.len);
    pthread_mutex_unlock(&srv->log->lock);
    (void)k; /* a full disk does not keep anybody from working */
}
