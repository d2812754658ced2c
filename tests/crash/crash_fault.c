/* SPDX-License-Identifier: Apache-2.0 */
/* The n-th call fails, for n = 1, 2 … until a run meets no failure; then the same with
 * every call from the n-th on. */
#include "tests/crash/crash.h"

#include "base/clock.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    unsigned class;
    int what;
    bool once, sticky;
    bool fast;
} plans[] = {
    { "EIO", SHIM_IO, EIO, true, true, true },
    { "ENOSPC", SHIM_SPACE, ENOSPC, true, true, true },
    { "EDQUOT", SHIM_SPACE, EDQUOT, true, true, false },
    { "EROFS", SHIM_DENIED, EROFS, true, true, false },
    { "EINTR", SHIM_INTR, EINTR, true, false, false },
    { "short", SHIM_SHORT, SHIM_HALF, true, true, true },
    { "EMFILE", SHIM_FILES, EMFILE, true, true, false },
    { "ENOMEM", SHIM_MEMORY, ENOMEM, true, true, false },
    { "kill", SHIM_ANY, SHIM_KILL, true, false, true },
};
#define N_PLANS ((int)(sizeof(plans) / sizeof(plans[0])))

/* A command that says it failed, but for its last steps, says so too. */
static bool
tells_it_stands(const char *text)
{
    static const char *const words[] = { "it is done", "switched, but",
                                         "whether it took effect" };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strstr(text, words[i]))
            return true;
    return false;
}

/* NULL: what the command said is what happened. */
static const char *
judge(const struct worker *w, const struct scene *s, const struct ran *ran, int plan,
      struct buf *allowed, int *n_allowed)
{
    const char *text = buf_str(&ran->err);
    /* gc is many small transactions */
    const bool many = strchr(s->run, ';') != NULL || strncmp(s->run, "gc", 2) == 0;

    *n_allowed = 2;
    allowed[0] = w->before;
    allowed[1] = w->after;
    if (plans[plan].what == SHIM_KILL)
        return ran->status == 128 + SIGKILL ? NULL : "was not killed";
    if (ran->status == 128 + SIGABRT && plans[plan].what == ENOMEM &&
        strstr(text, "out of memory"))
        return NULL;
    if (ran->leaked)
        return "left a descriptor open";
    if (ran->status >= 128)
        return ran->status == 128 + SIGALRM ? "hangs" : "died";
    if (ran->status != 0 && !text[0])
        return "failed without a word";
    if (ran->status == 0) { /* it says it is done, so it is */
        allowed[0] = w->after;
        *n_allowed = 1;
    } else if (!many && !tells_it_stands(text)) {
        *n_allowed = 1;
    }
    return NULL;
}

/* false: no call was left to fail. */
static bool
try_one(struct crash *c, struct worker *w, const struct scene *s, int plan, long n,
        bool sticky)
{
    struct shim *shim = w->shim;
    struct buf allowed[2];
    struct ran ran;
    const char *why;
    int64_t took_ns;
    bool good, hit, cannot_clear;
    int n_allowed;

    shim_reset(shim);
    shim->class = plans[plan].class;
    shim->what = plans[plan].what;
    shim->n = n;
    shim->sticky = sticky;
    if (disk_write(&w->start, w->live) < 0)
        abort();
    took_ns = clock_mono_ns();
    scene_run(w, s, &ran);
    took_ns = clock_mono_ns() - took_ns;
    hit = shim->n_failed > 0;
    if (hit) {
        __atomic_add_fetch(&c->count->n_tried, 1, __ATOMIC_RELAXED);
        for (int k = 0; shim_call_name(k); k++)
            if (strcmp(shim_call_name(k), shim->failed) == 0)
                __atomic_add_fetch(&c->count->n_hits[k], 1, __ATOMIC_RELAXED);
        why = judge(w, s, &ran, plan, allowed, &n_allowed);
        if (!why && took_ns > 5000000000)
            why = "took more than 5 s";
        /* who may not remove a file either leaves it for the next command */
        cannot_clear =
            sticky && plans[plan].class & (SHIM_IO | SHIM_DENIED | SHIM_FILES);
        good =
            !why && scene_check(w, s, allowed, n_allowed,
                                ran.status >= 128 || cannot_clear ? CHECK_KILLED : 0);
        if (!good)
            crash_bad(c, "%s: %s%s at call %ld (%s): status %d, %.300s: %s", s->name,
                      plans[plan].name, sticky ? " from then on" : "", n, shim->failed,
                      ran.status, buf_str(&ran.err), why ? why : w->said);
    }
    buf_release(&ran.err);
    return hit;
}

/* A job is a scene, a plan, and whether the failure stays. */
static bool
is_mine(const struct crash *c, long job)
{
    const int scene = (int)(job / (2 * N_PLANS)), plan = (int)(job / 2 % N_PLANS);

    return crash_wanted(c, &scenes[scene]) && (!c->o.fast || plans[plan].fast) &&
           (job % 2 ? plans[plan].sticky : plans[plan].once);
}

int
crash_fault(struct crash *c, struct worker *w)
{
    const struct scene *last = NULL;

    for (;;) {
        const long job = __atomic_fetch_add(&c->count->next, 1, __ATOMIC_RELAXED);
        const int i = (int)(job / (2 * N_PLANS)), plan = (int)(job / 2 % N_PLANS);
        const bool sticky = job % 2;
        long step = 1, n_left = 0;

        if (i >= n_scenes)
            return 0;
        if (!is_mine(c, job))
            continue;
        for (long k = job; k < 2L * N_PLANS * n_scenes; k++)
            n_left += is_mine(c, k);
        crash_share(c, n_left);
        if (last != &scenes[i] && scene_begin(w, &scenes[i]) < 0) {
            crash_bad(c, "%s: cannot be set up", scenes[i].name);
            continue;
        }
        last = &scenes[i];
        if (c->o.fast)
            step = 7; /* from a start that moves with the seed */
        else if (plans[plan].what == ENOMEM)
            step = scenes[i].flags & SCENE_FAST ? 5 : 37; /* there are thousands */
        for (long n = 1 + (long)c->o.seed % step; !crash_over(c); n += step)
            if (!try_one(c, w, &scenes[i], plan, n, sticky))
                break;
        __atomic_add_fetch(&c->count->n_jobs_taken, 1, __ATOMIC_RELAXED);
    }
}
