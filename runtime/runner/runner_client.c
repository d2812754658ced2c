/* SPDX-License-Identifier: Apache-2.0 */
/* The backend that runs a model in a process of its own. Whatever happens in there, the
 * caller gets an error and nothing is left running. */
#include "runtime/runner/runner_int.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    GRACE_MS = 2000, /* for the runtime's own limit to come first */
    ENDING_MS = 500, /* from a closed socket to the end of a process */
    LOOK_MS = 250,   /* whether somebody still waits for the answer */
    SOCK_FD = 3
};

struct signature {
    struct backend_signature lent;
    struct signature *next;
};

struct backend {
    pid_t pid; /* 0: ended */
    int sock;
    int said; /* read end of what it writes on stderr */
    int64_t max_wall_ms;
    uint64_t max_output_bytes;
    bool (*stop)(void *arg); /* NULL: never */
    void *stop_arg;
    double load_ms, run_ms;
    struct signature *signatures;
};

/* ---- the process ----------------------------------------------------------------- */

/* Kills the runner when it is not ended yet, and collects it. */
static int
end_runner(struct backend *b)
{
    int status = 0;
    fs_close(&b->sock);
    if (b->pid <= 0)
        return 0;
    kill(-b->pid, SIGKILL); /* its group: whatever it may have started */
    while (waitpid(b->pid, &status, 0) < 0 && errno == EINTR)
        ;
    b->pid = 0;
    return status;
}

/* The last line it wrote, such as abort's words. */
static void
last_words(struct backend *b, char *out, size_t cap)
{
    char text[4096];
    ssize_t n = read(b->said, text, sizeof(text) - 1);
    out[0] = '\0';
    while (n > 0 && text[n - 1] == '\n')
        n--;
    if (n <= 0)
        return;
    text[n] = '\0';
    const char *line = strrchr(text, '\n');
    snprintf(out, cap, ": %.200s", line ? line + 1 : text);
}

/* It closed the socket, so it has ended or is about to. */
static int
has_ended(struct backend *b, struct err *err)
{
    int status = 0;
    char words[256], text[48];
    const pid_t group = b->pid;
    for (int i = 0; i < ENDING_MS && b->pid > 0; i++) {
        if (waitpid(b->pid, &status, WNOHANG) == b->pid)
            b->pid = 0;
        else
            poll(NULL, 0, 1);
    }
    if (b->pid > 0)
        status = end_runner(b);
    else if (group > 0)
        kill(-group, SIGKILL); /* what it left behind */
    fs_close(&b->sock);
    last_words(b, words, sizeof(words));
    return err_set(err, ERR_FAILED, "the model's process ended (%s)%s",
                   proc_status_text(status, text), words);
}

static int
spawn(struct backend *b, const char *program, int sock, int said, struct err *err)
{
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t attr;
    sigset_t none, all;
    char parent[24];
    snprintf(parent, sizeof(parent), "%ld", (long)getpid());
    char *argv[] = { (char *)(uintptr_t) "sluice-runner", parent, NULL };
    /* OpenMP reads these when it is loaded. Its threads wait for the next loop awake
     * for some 10 us and then sleep: at once would make every loop pay for a wake-up,
     * long spinning starves those who have work on a busy machine. */
    char *env[] = { (char *)(uintptr_t) "LC_ALL=C",
                    (char *)(uintptr_t) "OMP_WAIT_POLICY=passive",
                    (char *)(uintptr_t) "GOMP_SPINCOUNT=1000",
                    (char *)(uintptr_t) "ASAN_OPTIONS=detect_leaks=0",
                    NULL,
                    NULL };
    const char *passes = getenv("SLUICE_PLAN");
    char *plan AUTO(free_ptr) = passes ? xasprintf("SLUICE_PLAN=%s", passes) : NULL;
    env[sizeof(env) / sizeof(env[0]) - 2] = plan;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&fa, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&fa, said, 2);
    posix_spawn_file_actions_adddup2(&fa, sock, SOCK_FD);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                        POSIX_SPAWN_SETPGROUP);
    int rc = posix_spawn(&b->pid, program, &fa, &attr, argv, env);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&fa);
    if (rc == 0)
        return 0;
    b->pid = 0;
    return err_sys(err, rc, "start %s", program);
}

/* dup2 onto itself would keep close-on-exec: ends that the child takes lie above. */
static int
move_up(int *fd, struct err *err)
{
    int up = fcntl(*fd, F_DUPFD_CLOEXEC, SOCK_FD + 1);
    if (up < 0)
        return err_sys(err, errno, "duplicate a descriptor");
    close(*fd);
    *fd = up;
    return 0;
}

static int
start_runner(struct backend *b, struct err *err)
{
    struct buf program AUTO(buf_release) = BUF_INIT;
    int pair[2], said[2];
    if (proc_helper_path("sluice-runner", &program, err) < 0)
        return -(int)err->code;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_sys(err, errno, "make a socket for the runner");
    b->sock = pair[0];
    int theirs AUTO(fs_close) = pair[1];
    /* What does not fit in the pipe is lost, and blocks nobody. */
    if (pipe2(said, O_CLOEXEC | O_NONBLOCK) < 0)
        return err_sys(err, errno, "make a pipe for the runner");
    b->said = said[0];
    int say AUTO(fs_close) = said[1];
    if (move_up(&theirs, err) < 0 || move_up(&say, err) < 0)
        return -(int)err->code;
    return spawn(b, buf_str(&program), theirs, say, err);
}

/* ---- calls ----------------------------------------------------------------------- */

static int
bad_answer(struct backend *b, struct err *err)
{
    end_runner(b);
    return err_set(err, ERR_CORRUPT, "the model's process gave a malformed answer");
}

/* Waits until the answer comes, or until_ns. False: nobody wants it any more. */
static bool
is_wanted(struct backend *b, int64_t until_ns)
{
    struct pollfd p = { .fd = b->sock, .events = POLLIN };
    while (b->stop && clock_mono_ns() < until_ns && poll(&p, 1, LOOK_MS) <= 0)
        if (b->stop(b->stop_arg))
            return false;
    return true;
}

/* Sends `m` and gets the answer in its place. */
static int
call(struct backend *b, struct wire_msg *m, struct err *err)
{
    if (b->pid <= 0)
        return err_set(err, ERR_FAILED, "the model's process has ended: load it again");
    if (wire_send(b->sock, m, err) < 0) {
        if (err->sys != EPIPE && err->sys != ECONNRESET)
            return -(int)err->code;
        err_clear(err);
        return has_ended(b, err);
    }
    const int64_t until_ns =
        clock_mono_ns() + (b->max_wall_ms + GRACE_MS) * INT64_C(1000000);
    if (!is_wanted(b, until_ns)) {
        end_runner(b);
        return err_set(err, ERR_PENDING, "nobody waits for the model any more");
    }
    const int64_t left_ms = (until_ns - clock_mono_ns()) / 1000000;
    int rc = wire_recv(b->sock, m, left_ms > 1 ? left_ms : 1, err);
    if (rc == 0)
        return has_ended(b, err);
    if (rc < 0 && err->code == ERR_LIMIT) {
        end_runner(b);
        err_clear(err);
        return err_set(err, ERR_LIMIT,
                       "the model's process gave no answer in %lld ms and was "
                       "ended",
                       (long long)b->max_wall_ms);
    }
    if (rc < 0) {
        end_runner(b);
        return err_ctx(err, "the answer of the model's process");
    }
    if (m->data_bytes > b->max_output_bytes) { /* before any of it is copied */
        end_runner(b);
        return err_set(err, ERR_LIMIT,
                       "the model gave %llu bytes of outputs, more than the %llu "
                       "allowed, and was ended",
                       (unsigned long long)m->data_bytes,
                       (unsigned long long)b->max_output_bytes);
    }
    if (m->kind == WIRE_OK)
        return 0;
    struct wire_in r = { { buf_str(&m->payload), m->payload.len }, false };
    uint32_t code = wire_get_u32(&r);
    struct str text = wire_get_text(&r);
    if (m->kind != WIRE_ERROR || r.bad || code == ERR_OK || code > ERR_BUSY)
        return bad_answer(b, err);
    return err_set(err, (enum err_code)code, "%.*s", STR_ARG(text));
}

static struct wire_in
answer_of(const struct wire_msg *m)
{
    return (struct wire_in){ { buf_str(&m->payload), m->payload.len }, false };
}

/* ---- the backend ----------------------------------------------------------------- */

static void
signature_free(struct signature *s)
{
    for (int side = 0; side < 2; side++) {
        const struct backend_tensor *t = side ? s->lent.outputs : s->lent.inputs;
        int n = side ? s->lent.n_outputs : s->lent.n_inputs;
        for (int i = 0; i < n; i++)
            free((char *)(uintptr_t)t[i].key);
        free((void *)(uintptr_t)t);
    }
    free((char *)(uintptr_t)s->lent.key);
    free(s);
}

static void
client_close(struct backend *b)
{
    if (!b)
        return;
    end_runner(b); /* it has nothing to save */
    fs_close(&b->said);
    while (b->signatures) {
        struct signature *next = b->signatures->next;
        signature_free(b->signatures);
        b->signatures = next;
    }
    free(b);
}

static void
client_close_p(struct backend **b)
{
    client_close(*b);
}

static int
client_load(struct backend **out, const struct backend_args *a, struct err *err)
{
    struct backend *b AUTO(client_close_p) = xcalloc(1, sizeof(*b));
    struct wire_msg m AUTO(wire_msg_release) = WIRE_MSG_INIT;
    b->sock = b->said = -1;
    b->max_wall_ms = a->max_wall_ms > 0 ? a->max_wall_ms : BACKEND_WALL_MS;
    b->max_output_bytes =
        a->max_output_bytes > 0 ? a->max_output_bytes : BACKEND_OUTPUT_BYTES;
    b->stop = a->stop;
    b->stop_arg = a->stop_arg;
    if (start_runner(b, err) < 0)
        return -(int)err->code;
    m.kind = WIRE_LOAD;
    wire_put_text(&m, str_of(a->model_dir));
    wire_put_text(&m, str_of(a->tags ? a->tags : "serve"));
    wire_put_u32(&m, (uint32_t)a->n_threads);
    wire_put_i64(&m, (int64_t)a->max_memory_bytes);
    wire_put_i64(&m, b->max_wall_ms);
    wire_put_i64(&m, a->max_loop_steps);
    wire_put_text(&m, str_of(a->passes ? a->passes : ""));
    if (call(b, &m, err) < 0)
        return -(int)err->code;
    struct wire_in r = answer_of(&m);
    b->load_ms = wire_get_f64(&r);
    *out = b;
    b = NULL;
    return 0;
}

static int
get_tensors(struct wire_in *r, const struct backend_tensor **out, int *n_out)
{
    enum { LEAST_BYTES = 20 };
    uint32_t n = wire_get_u32(r);
    if (r->bad || n > r->left.n / LEAST_BYTES)
        return -1;
    struct backend_tensor *t = xcalloc(n + 1, sizeof(t[0]));
    *out = t;
    for (uint32_t i = 0; i < n && !r->bad; i++) {
        t[i].key = wire_get_cstr(r);
        *n_out = (int)i + 1;
        t[i].dtype = (int)wire_get_u32(r);
        t[i].has_default = wire_get_u32(r) != 0;
        (void)wire_get_shape(r, &t[i].shape);
    }
    return r->bad ? -1 : 0;
}

static int
client_signature(struct backend *b, const char *key,
                 const struct backend_signature **out, struct err *err)
{
    for (struct signature *s = b->signatures; s; s = s->next) {
        if (strcmp(s->lent.key, key) == 0) {
            *out = &s->lent;
            return 0;
        }
    }
    struct wire_msg m AUTO(wire_msg_release) = WIRE_MSG_INIT;
    m.kind = WIRE_SIGNATURE;
    wire_put_text(&m, str_of(key));
    if (call(b, &m, err) < 0)
        return -(int)err->code;
    struct wire_in r = answer_of(&m);
    struct signature *s = xcalloc(1, sizeof(*s));
    s->lent.key = xstrdup(key);
    if (get_tensors(&r, &s->lent.inputs, &s->lent.n_inputs) < 0 ||
        get_tensors(&r, &s->lent.outputs, &s->lent.n_outputs) < 0) {
        signature_free(s);
        return bad_answer(b, err);
    }
    s->next = b->signatures;
    b->signatures = s;
    *out = &s->lent;
    return 0;
}

/* `json` NULL: a plain run. */
static int
run(struct backend *b, const char *signature, const struct sm_tensor_list *in,
    int n_more, struct sm_tensor_list *out, struct buf *json, struct err *err)
{
    struct wire_msg m AUTO(wire_msg_release) = WIRE_MSG_INIT;
    m.kind = json ? WIRE_PROFILE : WIRE_RUN;
    wire_put_text(&m, str_of(signature));
    if (json)
        wire_put_u32(&m, (uint32_t)n_more);
    if (wire_put_tensors(&m, in, err) < 0 || call(b, &m, err) < 0)
        return -(int)err->code;
    struct wire_in r = answer_of(&m);
    b->run_ms = wire_get_f64(&r);
    if (wire_get_tensors(&m, &r, true, out, err) < 0) {
        end_runner(b);
        return err_ctx(err, "the answer of the model's process");
    }
    if (!json)
        return 0;
    struct str text = wire_get_text(&r);
    if (r.bad)
        return bad_answer(b, err);
    buf_add(json, text.p, text.n);
    return 0;
}

static int
client_run(struct backend *b, const char *signature, const struct sm_tensor_list *in,
           struct sm_tensor_list *out, struct err *err)
{
    return run(b, signature, in, 0, out, NULL, err);
}

static int
client_profile(struct backend *b, const char *signature,
               const struct sm_tensor_list *in, int n_more, struct sm_tensor_list *out,
               struct buf *json, struct err *err)
{
    return run(b, signature, in, n_more, out, json, err);
}

static int
client_plan(struct backend *b, const char *signature, struct buf *json, struct err *err)
{
    struct wire_msg m AUTO(wire_msg_release) = WIRE_MSG_INIT;
    m.kind = WIRE_PLAN;
    wire_put_text(&m, str_of(signature));
    if (call(b, &m, err) < 0)
        return -(int)err->code;
    struct wire_in r = answer_of(&m);
    struct str text = wire_get_text(&r);
    if (r.bad)
        return bad_answer(b, err);
    buf_add(json, text.p, text.n);
    return 0;
}

static int
client_watch(struct backend *b, const char *signature, const struct sm_tensor_list *in,
             const struct backend_place *places, int n_places,
             struct sm_tensor_list *values, struct buf *json, struct err *err)
{
    struct wire_msg m AUTO(wire_msg_release) = WIRE_MSG_INIT;
    m.kind = WIRE_WATCH;
    wire_put_text(&m, str_of(signature));
    wire_put_u32(&m, (uint32_t)n_places);
    for (int i = 0; i < n_places; i++) {
        wire_put_u32(&m, (uint32_t)places[i].event);
        wire_put_i64(&m, places[i].at);
    }
    if (wire_put_tensors(&m, in, err) < 0 || call(b, &m, err) < 0)
        return -(int)err->code;
    struct wire_in r = answer_of(&m);
    if (wire_get_tensors(&m, &r, true, values, err) < 0) {
        end_runner(b);
        return err_ctx(err, "the answer of the model's process");
    }
    struct str text = wire_get_text(&r);
    if (r.bad)
        return bad_answer(b, err);
    buf_add(json, text.p, text.n);
    return 0;
}

static int
client_reset(struct backend *b, struct err *err)
{
    struct wire_msg m AUTO(wire_msg_release) = WIRE_MSG_INIT;
    m.kind = WIRE_RESET;
    return call(b, &m, err);
}

static double
client_load_ms(const struct backend *b)
{
    return b->load_ms;
}

static double
client_run_ms(const struct backend *b)
{
    return b->run_ms;
}

/* The kernel's own mark of what was resident at once. */
static int64_t
client_peak_bytes(const struct backend *b)
{
    struct buf text AUTO(buf_release) = { .cap_bytes = 65536 };
    struct err err = ERR_INIT;
    char *path AUTO(free_ptr) = xasprintf("/proc/%ld/status", (long)b->pid);
    const char *line;

    if (b->pid <= 0 || fs_read(AT_FDCWD, path, &text, &err) < 0) {
        err_clear(&err);
        return 0;
    }
    line = strstr(buf_str(&text), "VmHWM:");
    return line ? strtoll(line + 6, NULL, 10) * 1024 : 0;
}

const struct backend_ops runner_backend = {
    .name = "native",
    .load = client_load,
    .signature = client_signature,
    .run = client_run,
    .profile = client_profile,
    .plan = client_plan,
    .watch = client_watch,
    .reset = client_reset,
    .load_ms = client_load_ms,
    .peak_bytes = client_peak_bytes,
    .run_ms = client_run_ms,
    .close = client_close,
};
