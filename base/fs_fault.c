/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fs.h"

#ifdef TEST_FAULT

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The one mutable state of the process outside cli/ (and only in test builds): "the
 * seventh fsync" is a count over every thread and handle. */
static struct {
    pthread_mutex_t lock;
    char text[64]; /* TEST_FAULT as last seen; a new value starts a new count */
    char call[16];
    long left; /* calls until the fault; 0: none is planned */
    int sys;   /* errno, or 0: kill */
} plan = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void
parse(const char *text)
{
    char what[24];
    int used = 0;

    snprintf(plan.text, sizeof(plan.text), "%s", text);
    plan.left = 0;
    if (!text[0])
        return;
    if (strlen(text) >= sizeof(plan.text) ||
        sscanf(text, "%15[a-z]:%ld:%23[A-Za-z0-9]%n", plan.call, &plan.left, what,
               &used) != 3 ||
        text[used] || plan.left < 1)
        BUG("TEST_FAULT=%s is not call:n:what", text);
    plan.sys = 0;
    if (strcmp(what, "kill") == 0)
        return;
    for (int e = 1; e < 200 && plan.sys == 0; e++) {
        const char *name = strerrorname_np(e);

        if (name && strcmp(name, what) == 0)
            plan.sys = e;
    }
    if (plan.sys == 0)
        BUG("TEST_FAULT=%s: %s is neither kill nor the name of an errno", text, what);
}

int
fs_fault(const char *call)
{
    const char *text = getenv("TEST_FAULT");
    int sys = 0;

    pthread_mutex_lock(&plan.lock);
    if (strcmp(text ? text : "", plan.text) != 0)
        parse(text ? text : "");
    if (plan.left > 0 &&
        (strcmp(plan.call, call) == 0 || strcmp(plan.call, "any") == 0) &&
        --plan.left == 0) {
        if (plan.sys == 0)
            kill(getpid(), SIGKILL);
        sys = plan.sys;
    }
    pthread_mutex_unlock(&plan.lock);
    return sys;
}

#endif
