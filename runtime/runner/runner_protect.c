/* SPDX-License-Identifier: Apache-2.0 */
/* What doctor tells of the sandbox. */
#include "runtime/runner/runner.h"

#include "base/buf.h"

#include <errno.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Without a filter to install the kernel says EFAULT when it could, else EINVAL. */
static bool
has_seccomp(void)
{
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL, 0, 0) < 0 &&
           errno == EFAULT;
}

void
runner_protections(void (*tell)(void *arg, const char *what, bool ok, const char *saw,
                                const char *fix),
                   void *arg)
{
    const long landlock =
        syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    const bool seccomp = has_seccomp();
    char *files AUTO(free_ptr) =
        landlock > 0 ? xasprintf("Landlock %ld: only the model can be read", landlock)
                     : xstrdup("no Landlock in this kernel: a model's process could "
                               "read what you can, and still neither write nor send");

    tell(arg, "a model's calls", seccomp,
         seccomp ? "seccomp: no network, no process, no file written"
                 : "this kernel or container has no seccomp filters: no model runs",
         "a kernel with CONFIG_SECCOMP_FILTER, or a container that allows seccomp");
    tell(arg, "a model's files", true, files, NULL);
    tell(arg, "a model's appetite", true,
         "limits of memory, time, open files, file and output size; ends with sluice",
         NULL);
}
