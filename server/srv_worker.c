/* SPDX-License-Identifier: Apache-2.0 */
/* The pool of workers. A call takes a worker that is free, or starts one; each lane has
 * its own allowance, so that what takes long does not keep the rest from working, and
 * a rollback always finds one. */
#include "server/srv_frame.h"

#include "base/clock.h"
#include "base/proc.h"
#include "server/server_int.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    LONG_MAX_WORKERS = 32,
    QUEUE_MAX = 256,  /* calls that wait for a worker */
    QUEUE_S = 30,     /* for so long */
    IDLE_S = 30,      /* a worker without work */
    CALLS_MAX = 1000, /* then a fresh one, whatever it has heaped up */
    LOOK_MS = 500     /* whether the client is still there */
};

enum lane { SHORT, LONG, RESCUE, N_LANES };

struct worker {
    struct worker *next; /* of those that are free */
    pid_t pid;
    int sock, n_calls;
    int64_t idle_ns;
};
struct srv_pool {
    pthread_mutex_t lock;
    pthread_cond_t freed;
    struct worker *free;
    char *program;
    int n_busy[N_LANES], max[N_LANES], n_waiting;
    _Atomic int64_t n_died;
};

static const char *
field(const cJSON *request, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(request, name));
}

static enum lane
lane_of(const char *verb, const cJSON *request)
{
    static const char *const rescue[] = { "rollback", "freeze" };
    static const char *const slow[] = {
        "canary",        "ramp",         "drill",  "validate", "replay", "run",
        "golden_record", "golden_probe", "gc",     "fsck",     "backup", "cold",
        "warm",          "export",       "import", "cat",      "pull"
    };
    bool waits = json_has(request, "wait") ||
                 (strcmp(verb, "weights") == 0 && field(request, "ramp"));
    for (size_t i = 0; i < sizeof rescue / sizeof rescue[0] && !waits; i++)
        if (strcmp(verb, rescue[i]) == 0)
            return RESCUE;
    for (size_t i = 0; i < sizeof slow / sizeof slow[0]; i++)
        waits |= strcmp(verb, slow[i]) == 0;
    return waits ? LONG : SHORT;
}

/* ---- a worker's life ---- */

static int
spawn(struct srv *srv, struct worker *w, struct err *err)
{
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t attr;
    sigset_t none, all;
    int pair[2];
    const char *argv[] = { "sluice-server", "--worker", "--store", srv->opts->store,
                           NULL };
    if (!srv->opts->store)
        argv[2] = NULL;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_sys(err, errno, "make a socket for a worker");
    /* dup2 onto itself would keep close-on-exec */
    int theirs = fcntl(pair[1], F_DUPFD_CLOEXEC, 4);
    close(pair[1]);
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&fa, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&fa, theirs, 3);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                        POSIX_SPAWN_SETPGROUP);
    int rc = posix_spawn(&w->pid, srv->pool->program, &fa, &attr,
                         (char **)(uintptr_t)argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&fa);
    close(theirs);
    w->sock = pair[0];
    if (rc == 0)
        return 0;
    close(pair[0]);
    return err_sys(err, rc, "start a worker");
}

/* Collects a worker; how it ended. It has closed its socket, or ends when we do. */
static int
reap(struct worker *w)
{
    int status = 0;
    fs_close(&w->sock);
    while (waitpid(w->pid, &status, 0) < 0 && errno == EINTR)
        ;
    free(w);
    return status;
}

int
srv_pool_open(struct srv *srv, struct err *err)
{
    struct buf program AUTO(buf_release) = BUF_INIT;
    if (proc_helper_path("sluice-server", &program, err) < 0)
        return -(int)err->code;
    struct srv_pool *p = srv->pool = xcalloc(1, sizeof *p);
    int n = srv->opts->workers ? srv->opts->workers
                               : 2 * (int)sysconf(_SC_NPROCESSORS_ONLN);
    p->max[SHORT] = n < 2 ? 2 : n > 64 ? 64 : n;
    p->max[LONG] = LONG_MAX_WORKERS;
    p->max[RESCUE] = 2;
    p->program = buf_take(&program);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->freed, NULL);
    return 0;
}

void
srv_pool_sweep(struct srv *srv, bool all)
{
    struct srv_pool *p = srv->pool;
    const int64_t old = clock_mono_ns() - IDLE_S * INT64_C(1000000000);
    struct worker *gone = NULL;
    pthread_mutex_lock(&p->lock);
    for (struct worker **at = &p->free; *at;) {
        struct worker *w = *at;
        if (all || w->idle_ns < old) {
            *at = w->next;
            w->next = gone;
            gone = w;
        } else {
            at = &w->next;
        }
    }
    pthread_mutex_unlock(&p->lock);
    while (gone) {
        struct worker *next = gone->next;
        reap(gone);
        gone = next;
    }
}

void
srv_pool_close(struct srv *srv)
{
    srv_pool_sweep(srv, true);
    pthread_cond_destroy(&srv->pool->freed);
    pthread_mutex_destroy(&srv->pool->lock);
    free(srv->pool->program);
    free(srv->pool);
    srv->pool = NULL;
}

void
srv_pool_figures(struct srv *srv, struct srv_pool_figures *out)
{
    struct srv_pool *p = srv->pool;
    pthread_mutex_lock(&p->lock);
    *out = (struct srv_pool_figures){ .n_waiting = p->n_waiting, .n_died = p->n_died };
    for (int i = 0; i < N_LANES; i++) {
        out->n_busy += p->n_busy[i];
        out->n_max += p->max[i];
    }
    for (const struct worker *w = p->free; w; w = w->next)
        out->n_idle++;
    pthread_mutex_unlock(&p->lock);
}

/* ---- a call ---- */

static bool
has_room(const struct srv_pool *p, enum lane lane)
{
    return p->n_busy[lane] < p->max[lane] ||
           (lane == RESCUE && p->n_busy[SHORT] < p->max[SHORT]);
}

/* The lane's place, which has_room promised; *in is where it was taken. */
static int
enter(struct srv_pool *p, enum lane lane, enum lane *in, struct err *err)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += QUEUE_S;
    pthread_mutex_lock(&p->lock);
    int rc = !has_room(p, lane) && p->n_waiting >= QUEUE_MAX ? EAGAIN : 0;
    p->n_waiting++;
    while (rc == 0 && !has_room(p, lane))
        rc = pthread_cond_timedwait(&p->freed, &p->lock, &until);
    p->n_waiting--;
    if (rc == 0) {
        *in = lane == RESCUE && p->n_busy[SHORT] < p->max[SHORT] ? SHORT : lane;
        p->n_busy[*in]++;
    }
    int n = p->n_busy[lane];
    pthread_mutex_unlock(&p->lock);
    if (rc == 0)
        return 0;
    return err_set(err, ERR_BUSY,
                   "%d calls of this kind are under way, and this one got no turn in "
                   "time: try again",
                   n);
}

static void
leave(struct srv_pool *p, enum lane lane)
{
    pthread_mutex_lock(&p->lock);
    p->n_busy[lane]--;
    pthread_cond_broadcast(&p->freed);
    pthread_mutex_unlock(&p->lock);
}

/* A worker that is free and still there, or a new one. */
static int
get_worker(struct srv *srv, struct worker **out, struct err *err)
{
    struct srv_pool *p = srv->pool;
    for (;;) {
        pthread_mutex_lock(&p->lock);
        struct worker *w = p->free;
        if (w)
            p->free = w->next;
        pthread_mutex_unlock(&p->lock);
        if (!w)
            break;
        struct pollfd at = { .fd = w->sock, .events = POLLIN };
        if (poll(&at, 1, 0) == 0) {
            *out = w;
            return 0;
        }
        reap(w); /* it says something unasked: it has ended */
    }
    struct worker *w = xcalloc(1, sizeof *w);
    if (spawn(srv, w, err) < 0) {
        free(w);
        return -(int)err->code;
    }
    *out = w;
    return 0;
}

static void
put_worker(struct srv *srv, struct worker *w)
{
    struct srv_pool *p = srv->pool;
    if (++w->n_calls >= CALLS_MAX) {
        reap(w);
        return;
    }
    w->idle_ns = clock_mono_ns();
    pthread_mutex_lock(&p->lock);
    w->next = p->free;
    p->free = w;
    pthread_mutex_unlock(&p->lock);
}

static int
take_error(const cJSON *e, struct err *err)
{
    const cJSON *code = cJSON_GetObjectItemCaseSensitive(e, "code");
    const cJSON *sys = cJSON_GetObjectItemCaseSensitive(e, "sys");
    const char *msg = field(e, "msg");
    if (!cJSON_IsNumber(code) || code->valueint <= ERR_OK ||
        code->valueint > ERR_BUSY || !msg)
        return err_set(err, ERR_CORRUPT, "a worker gave a malformed answer");
    return err_set_at(err, (enum err_code)code->valueint,
                      cJSON_IsNumber(sys) ? sys->valueint : 0, __FILE__, __LINE__, "%s",
                      msg);
}

/* One frame of a worker: 1: the last, 0: there are more, -code. */
static int
take_frame(struct worker *w, const struct srv_call_hooks *h, cJSON **reply,
           struct err *failure, struct err *err)
{
    enum srv_frame kind;
    cJSON *j AUTO(json_free) = NULL;
    int fd AUTO(fs_close) = -1;
    int r = srv_frame_recv(w->sock, &kind, &j, &fd, err);
    if (r == 0)
        return err_set(err, ERR_IO, "it closed its socket");
    if (r < 0)
        return r;
    if (kind == SRV_FRAME_PROGRESS && h && h->progress) {
        const cJSON *done = cJSON_GetObjectItemCaseSensitive(j, "done");
        const cJSON *total = cJSON_GetObjectItemCaseSensitive(j, "total");
        const char *what = field(j, "what");
        h->progress(h->arg, what ? what : "", done ? (int64_t)done->valuedouble : -1,
                    total ? (int64_t)total->valuedouble : 0);
    } else if (kind == SRV_FRAME_TELL && h && h->tell) {
        h->tell(h->arg, j);
    } else if (kind == SRV_FRAME_REPLY) {
        const cJSON *e = cJSON_GetObjectItemCaseSensitive(j, "error");
        *reply = cJSON_DetachItemFromObjectCaseSensitive(j, "reply");
        if (e)
            (void)take_error(e, failure);
        return 1;
    }
    return 0;
}

/* What comes through the pipe of its standard output. -1: nobody takes it. */
static int
take_bytes(int *out, const struct srv_call_hooks *h)
{
    char piece[16384];
    ssize_t n = read(*out, piece, sizeof piece);
    if (n < 0 && errno == EINTR)
        return 0;
    if (n <= 0)
        fs_close(out);
    else if (h->bytes(h->arg, piece, (size_t)n) < 0)
        return -1;
    return 0;
}

/* Until the worker has answered. */
static int
follow(struct worker *w, int *out, const struct srv_call_hooks *h, cJSON **reply,
       struct err *failure, struct err *err)
{
    bool stopped = false, ended = false;
    while (!ended || *out >= 0) {
        struct pollfd p[2] = { { .fd = ended ? -1 : w->sock, .events = POLLIN },
                               { .fd = *out, .events = POLLIN } };
        int n = poll(p, 2, LOOK_MS);
        if (n < 0 && errno != EINTR)
            return err_sys(err, errno, "wait for a worker");
        if (n > 0 && p[1].revents && take_bytes(out, h) < 0)
            fs_close(out); /* the worker finds its pipe broken */
        /* bytes first: the answer comes after the last of them */
        if (n > 0 && p[0].revents && !(p[1].revents & POLLIN)) {
            int r = take_frame(w, h, reply, failure, err);
            if (r < 0)
                return r;
            ended = r == 1;
        }
        if (!stopped && !ended && h && h->stop && h->stop(h->arg)) {
            cJSON *o AUTO(json_free) = cJSON_CreateObject();
            struct err second = ERR_INIT;
            stopped = true;
            (void)!srv_frame_send(w->sock, SRV_FRAME_STOP, o, -1, &second);
        }
    }
    return 0;
}

static int
has_died(struct srv *srv, struct worker *w, const char *verb, const cJSON *request,
         struct err *err)
{
    const struct svc_verb *v = svc_find(verb);
    const bool again =
        (v && v->right == ACC_READ) || json_has(request, "idempotency_key");
    char text[48];
    atomic_fetch_add(&srv->pool->n_died, 1);
    kill(-w->pid, SIGKILL); /* and whatever it started */
    int status = reap(w);
    char *why = xstrdup(err->msg);
    err_clear(err);
    err_set(err, again ? ERR_BUSY : ERR_IO,
            "the process that carried out %s ended (%s; %s)%s", verb,
            proc_status_text(status, text), why,
            again ? ": try again"
                  : "; whether it took effect is not known: look before you repeat it "
                    "(a call with an idempotency key may be repeated)");
    free(why);
    return -(int)err->code;
}

static int
call_worker(struct srv *srv, const struct srv_who *who, const char *verb,
            const cJSON *request, const struct srv_call_hooks *h, cJSON **reply,
            struct err *err)
{
    struct worker *w = NULL;
    struct err failure = ERR_INIT;
    int pipes[2] = { -1, -1 };
    cJSON *frame AUTO(json_free) = cJSON_CreateObject();
    json_put_str(frame, "verb", verb);
    cJSON_AddItemReferenceToObject(frame, "request", (cJSON *)(uintptr_t)request);
    json_put_str(frame, "subject", who->subject);
    json_put_str(frame, "via", who->via);
    if (who->scope)
        json_put_str(frame, "scope", who->scope);
    if (h && h->trace)
        json_put_str(frame, "trace", h->trace);
    if (h && h->if_match)
        json_put_str(frame, "if_match", h->if_match);
    if (h && h->bytes && pipe2(pipes, O_CLOEXEC) < 0)
        return err_sys(err, errno, "make a pipe");
    int out AUTO(fs_close) = pipes[0], theirs AUTO(fs_close) = pipes[1];
    /* What a worker was not sent whole it does not carry out. */
    for (int tries = 0;; tries++) {
        if (get_worker(srv, &w, err) < 0)
            return -(int)err->code;
        if (srv_frame_send(w->sock, SRV_FRAME_CALL, frame, theirs, err) >= 0)
            break;
        reap(w);
        if (tries == 3)
            return -(int)err->code;
        err_clear(err);
    }
    fs_close(&theirs);
    if (follow(w, &out, h, reply, &failure, err) < 0)
        return has_died(srv, w, verb, request, err);
    put_worker(srv, w);
    if (failure.code == ERR_OK)
        return 0;
    *err = failure;
    return -(int)err->code;
}

int
srv_worker_call(struct srv *srv, const struct srv_who *who, const char *verb,
                const cJSON *request, const struct srv_call_hooks *hooks_or_null,
                cJSON **reply, struct err *err)
{
    enum lane lane = SHORT;
    *reply = NULL;
    if (enter(srv->pool, lane_of(verb, request), &lane, err) < 0)
        return -(int)err->code;
    int r = call_worker(srv, who, verb, request, hooks_or_null, reply, err);
    leave(srv->pool, lane);
    return r;
}
