/* SPDX-License-Identifier: Apache-2.0 */
/* agent, on this machine's store: looks, says what is new, waits. */
#include "cli/cli.h"

#include "base/clock.h"
#include "base/crypto.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NS INT64_C(1000000000)
#define AWAY_NS (60 * NS) /* the longest wait while the store is away */

static volatile sig_atomic_t told_to_end;

static void
on_signal(int signal_)
{
    (void)signal_;
    told_to_end = 1;
}

static bool
is_told(void *arg)
{
    (void)arg;
    return told_to_end != 0;
}

/* ---- what is new ---- */

/* Lines of `now` that `before` has not. */
static void
add_new_lines(const char *now, const char *before, struct buf *out)
{
    while (*now) {
        const size_t n = strcspn(now, "\n") + 1;
        char *line AUTO(free_ptr) = xstrndup(now, n);
        const char *old = strstr(before, line);
        if (!old || (old != before && old[-1] != '\n'))
            buf_adds(out, line);
        now += n;
    }
}

/* ---- looking ---- */

struct looking {
    const struct cli_call *call;
    struct buf before; /* what was said last */
    char complaint[ERR_MSG_BYTES];
    bool away;
};

/* What is new, on stdout; an error on stderr, unless it is the last one again. */
static int
say(struct looking *l, const struct buf *now, const struct err *why, struct err *err)
{
    struct buf out AUTO(buf_release) = BUF_INIT;
    const char *complaint = why->code == ERR_PENDING ? "" : why->msg;
    add_new_lines(buf_str(now), buf_str(&l->before), &out);
    buf_clear(&l->before);
    buf_adds(&l->before, buf_str(now));
    if (out.len && (fputs(buf_str(&out), stdout) < 0 || fflush(stdout) != 0))
        return err_sys(err, errno, "write the answer to stdout");
    if (strcmp(complaint, l->complaint) != 0 && *complaint)
        cli_complain(why);
    snprintf(l->complaint, sizeof l->complaint, "%s", complaint);
    return 0;
}

static int
look(struct looking *l, int *status)
{
    struct svc *svc AUTO(svc_close_p) = NULL;
    cJSON *reply AUTO(json_free) = NULL, *swept AUTO(json_free) = NULL;
    struct buf now AUTO(buf_release) = BUF_INIT;
    struct cli_progress progress = { .what = NULL };
    struct err err = ERR_INIT, second = ERR_INIT;
    int r = svc_open(&svc, l->call->store, &err);
    if (r >= 0) {
        if (cli_progress_wanted(l->call->json))
            svc_on_progress(svc, cli_progress, &progress);
        svc_on_stop(svc, is_told);
        r = svc_call(svc, "agent", l->call->request, &reply, &err);
    }
    cli_progress_end(&progress);
    if (cli_num(reply, "deleted") > 0) {
        cJSON *yes AUTO(json_free) = cJSON_CreateObject();
        json_put_bool(yes, "yes", true);
        if (svc_call(svc, "gc", yes, &swept, &second) < 0) {
            cJSON_AddItemToArray(cJSON_GetObjectItem(reply, "notes"),
                                 cJSON_CreateString(second.msg));
            err_clear(&second);
        }
    }
    l->away = r < 0 || cli_str(reply, "away")[0];
    if (reply && l->call->json)
        json_print(reply, &now, true);
    else if (reply)
        cmd_agent(reply, r < 0, &now);
    if (say(l, &now, &err, &second) < 0) {
        *status = cli_complain(&second);
        return -(int)second.code;
    }
    *status = r < 0 ? err_exit_status(err.code) : 0;
    return r;
}

static void
wait_ns(int64_t ns)
{
    const int64_t end_ns = clock_mono_ns() + ns;
    for (int64_t left; !told_to_end && (left = end_ns - clock_mono_ns()) > 0;) {
        const int64_t step = left < NS / 10 ? left : NS / 10;
        const struct timespec t = { step / NS, (long)(step % NS) };
        nanosleep(&t, NULL);
    }
}

/* Between 3/4 and 5/4 of it: many hosts do not ask in step. */
static int64_t
jitter(int64_t ns)
{
    struct err err = ERR_INIT;
    uint16_t x = 0;
    if (random_bytes(&x, sizeof x, &err) < 0)
        err_clear(&err);
    return ns - ns / 4 + ns / 2 * x / UINT16_MAX;
}

int
cli_agent(const struct cli_call *call)
{
    struct looking l = { .call = call };
    struct err err = ERR_INIT;
    struct sigaction end = { .sa_handler = on_signal };
    const char *text = cli_str(call->request, "interval");
    const bool once = cli_bool(call->request, "once");
    int64_t interval = 5 * NS, wait;
    int status = 0;
    if (*text && (clock_parse_span(text, &interval, &err) < 0 || interval < NS / 10))
        return err.code == ERR_OK
                   ? (err_set(&err, ERR_USAGE, "--interval %s: a second or more", text),
                      cli_complain(&err))
                   : cli_complain(&err);
    if (sigaction(SIGTERM, &end, NULL) < 0 || sigaction(SIGINT, &end, NULL) < 0) {
        err_sys(&err, errno, "agent: signals");
        return cli_complain(&err);
    }
    wait = interval;
    for (;;) {
        int r = look(&l, &status);
        if (once || told_to_end || r == -ERR_USAGE)
            break;
        wait = l.away ? (wait * 2 < AWAY_NS ? wait * 2 : AWAY_NS) : interval;
        wait_ns(jitter(wait > interval ? wait : interval));
        if (told_to_end)
            break;
    }
    buf_release(&l.before);
    return told_to_end && !once ? 0 : status;
}
