/* SPDX-License-Identifier: Apache-2.0 */
/* A worker: carries out one verb after the other, each in the name of who asks. */
#include "server/srv_frame.h"

#include "base/clock.h"
#include "server/server_int.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

struct work {
    int sock;
    bool stopped; /* told to, or nobody is there any more */
    int64_t told_ns;
    const char *what; /* of the last progress, as far as it was static */
};

/* The other side says nothing during a call but STOP. */
static bool
stop(void *arg)
{
    struct work *w = arg;
    struct pollfd p = { .fd = w->sock, .events = POLLIN };
    if (!w->stopped && poll(&p, 1, 0) > 0)
        w->stopped = true;
    return w->stopped;
}

static void
send_or_stop(struct work *w, enum srv_frame kind, const cJSON *j)
{
    struct err err = ERR_INIT;
    if (srv_frame_send(w->sock, kind, j, -1, &err) < 0)
        w->stopped = true;
}

static void
progress(void *arg, const char *what, int64_t done_bytes, int64_t total_bytes)
{
    enum { EVERY_MS = 200 };
    struct work *w = arg;
    const int64_t now = clock_mono_ns();
    if (done_bytes >= 0 && done_bytes != total_bytes &&
        now - w->told_ns < EVERY_MS * INT64_C(1000000))
        return;
    w->told_ns = now;
    cJSON *o AUTO(json_free) = cJSON_CreateObject();
    json_put_str(o, "what", what);
    json_put_int(o, "done", done_bytes);
    json_put_int(o, "total", total_bytes);
    send_or_stop(w, SRV_FRAME_PROGRESS, o);
}

static void
tell(void *arg, const cJSON *what)
{
    send_or_stop(arg, SRV_FRAME_TELL, what);
}

static const char *
text(const cJSON *o, const char *key)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, key));
}

static int
call(struct svc *s, const cJSON *frame, int fd, cJSON **reply, struct err *err)
{
    struct acc_who who = { text(frame, "subject"), text(frame, "via"),
                           text(frame, "scope") };
    const char *verb = text(frame, "verb");
    const cJSON *request = cJSON_GetObjectItemCaseSensitive(frame, "request");
    *reply = NULL;
    if (!verb || !cJSON_IsObject(request) || !who.subject || !who.via)
        return err_set(err, ERR_CORRUPT, "a malformed call");
    if (svc_act_as(s, &who, err) < 0)
        return -(int)err->code;
    svc_trace(s, text(frame, "trace"));
    svc_out(s, fd);
    int r = svc_call(s, verb, request, reply, err);
    svc_trace(s, NULL);
    svc_out(s, -1);
    struct err second = ERR_INIT;
    if (svc_act_as(s, NULL, &second) < 0)
        BUG("back to the kernel's user: %s", second.msg);
    return r;
}

/* 0: answered. */
static int
answer(struct work *w, int r, const struct err *failure, cJSON *reply)
{
    cJSON *o AUTO(json_free) = cJSON_CreateObject();
    struct err err = ERR_INIT;
    if (reply)
        cJSON_AddItemToObject(o, "reply", reply);
    if (r < 0) {
        cJSON *e = cJSON_AddObjectToObject(o, "error");
        json_put_int(e, "code", failure->code);
        json_put_int(e, "sys", failure->sys);
        json_put_str(e, "msg", failure->msg);
    }
    return srv_frame_send(w->sock, SRV_FRAME_REPLY, o, -1, &err);
}

int
srv_work(int sock, const char *store_or_null)
{
    struct work w = { .sock = sock };
    struct err err = ERR_INIT;
    struct svc *s AUTO(svc_close_p) = NULL;
    prctl(PR_SET_PDEATHSIG, 0); /* the socket tells when the other side ends */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT,
           SIG_IGN); /* of a terminal: the service ends, and with it its socket */
    if (svc_open(&s, store_or_null, &err) < 0)
        return err_exit_status(err.code);
    svc_on_progress(s, progress, &w);
    svc_on_tell(s, tell, &w);
    svc_on_stop(s, stop);
    for (;;) {
        enum srv_frame kind;
        cJSON *frame AUTO(json_free) = NULL, *reply = NULL;
        struct err failure = ERR_INIT;
        int fd AUTO(fs_close) = -1;
        int r = srv_frame_recv(sock, &kind, &frame, &fd, &err);
        if (r <= 0)
            return r < 0 ? err_exit_status(err.code) : 0;
        if (kind == SRV_FRAME_STOP)
            continue; /* it came too late */
        w = (struct work){ .sock = sock };
        r = call(s, frame, fd, &reply, &failure);
        fs_close(&fd); /* its end, before the answer */
        if (answer(&w, r, &failure, reply) < 0)
            return 0;
    }
}
