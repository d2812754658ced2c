/* SPDX-License-Identifier: Apache-2.0 */
/* A worker: carries out one verb after the other, each in the name of who asks. */
#include "server/srv_frame.h"

#include "base/clock.h"
#include "deploy/deploy.h"
#include "server/server_int.h"
#include "server/srv_reach.h"

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
    bool stopped;    /* told to, or nobody is there any more */
    int64_t told_ns; /* of the last progress */
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

/* The release that If-Match stands for: the alias's ETag is the digest of the version
 * that leads, or "rN". The verb checks the number again, in its own transaction. */
static int
match(struct repo *r, const struct svc_verb *verb, const char *tag, cJSON *request,
      struct err *err)
{
    const bool is_promote = strcmp(verb->name, "promote") == 0;
    const char *ref = text(request, "ref"), *alias = text(request, "to");
    struct repo_ref parsed;
    struct deploy_release live;
    char digest[REPO_DIGEST_BYTES] = "", number[24] = "";
    if (!ref || repo_ref_parse(ref, &parsed, err) < 0)
        return ref ? -(int)err->code : 0; /* svc_call says that it is missing */
    alias = is_promote ? alias : parsed.alias;
    if (!alias)
        return 0;
    if (acc_check_verb(r->acc, verb->name, verb->right, acc_alias(parsed.model, alias),
                       err) < 0)
        return -(int)err->code;
    int r_live = deploy_live(r, parsed.model, alias, &live, err);
    if (r_live < 0)
        return r_live;
    if (r_live == 1) {
        struct repo_version v;
        snprintf(number, sizeof number, "r%lld", (long long)live.number);
        if (repo_version_get(r, live.latest_id, &v, err) < 0)
            return -(int)err->code;
        repo_digest_text(&v.digest, digest);
    }
    if (r_live == 0 || (strcmp(tag, digest) != 0 && strcmp(tag, number) != 0))
        return err_set(err, ERR_CONFLICT,
                       "%s@%s: If-Match \"%s\", but what is live is \"%s\" (%s)",
                       parsed.model, alias, tag, digest, r_live ? number : "nothing");
    if (!json_has(request, "expect"))
        json_put_int(request, "expect", live.number);
    return 0;
}

static int
call(struct svc *s, const cJSON *frame, cJSON **reply, struct err *err)
{
    struct srv_reached x AUTO(srv_reached_end) = SRV_REACHED_INIT;
    const char *name = text(frame, "verb"), *tag = text(frame, "if_match");
    const struct svc_verb *verb = name ? svc_find(name) : NULL;
    const cJSON *request = cJSON_GetObjectItemCaseSensitive(frame, "request");
    struct repo *repo;
    if (!verb || !cJSON_IsObject(request))
        return err_set(err, ERR_CORRUPT, "a malformed call");
    if (svc_store(s, &repo, err) < 0 ||
        srv_reach_in(&x, repo, verb, request, err) < 0 ||
        (tag && match(repo, verb, tag, x.request, err) < 0))
        return -(int)err->code;
    int r = svc_call(s, name, x.request, reply, err);
    srv_reach_say(&x, *reply, err);
    struct err second = ERR_INIT;
    if (r >= 0)
        srv_reach_done(&x, repo, verb);
    if (*reply && srv_reach_out(&x, repo, *reply, r < 0 ? &second : err) < 0 && r >= 0)
        r = -(int)err->code;
    return r;
}

/* In the name of who asks, with fd as standard output. */
static int
call_as(struct svc *s, const cJSON *frame, int fd, cJSON **reply, struct err *err)
{
    struct acc_who who = { text(frame, "subject"), text(frame, "via"),
                           text(frame, "scope"), text(frame, "trace") };
    struct err second = ERR_INIT;
    *reply = NULL;
    if (!who.subject || !who.via)
        return err_set(err, ERR_CORRUPT, "a malformed call");
    if (svc_act_as(s, &who, err) < 0)
        return -(int)err->code;
    int null AUTO(fs_close) = dup(STDOUT_FILENO);
    if (fd >= 0)
        dup2(fd, STDOUT_FILENO);
    int r = call(s, frame, reply, err);
    if (fd >= 0)
        dup2(null, STDOUT_FILENO);
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

/* Its session, or a new one when a rebuild has put another catalogue in place. */
static int
take_session(struct svc **s, const char *store_or_null, struct work *w, struct err *err)
{
    if (*s && svc_is_current(*s))
        return 0;
    svc_close_p(s);
    if (svc_open(s, store_or_null, err) < 0)
        return -(int)err->code;
    svc_on_progress(*s, progress, w);
    svc_on_tell(*s, tell, w);
    svc_on_stop(*s, stop);
    return 0;
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
        if (take_session(&s, store_or_null, &w, &err) < 0)
            return err_exit_status(err.code);
        w = (struct work){ .sock = sock };
        r = call_as(s, frame, fd, &reply, &failure);
        fs_close(&fd); /* its end, before the answer */
        if (answer(&w, r, &failure, reply) < 0)
            return 0;
    }
}
