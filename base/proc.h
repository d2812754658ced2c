/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PROC_H
#define BASE_PROC_H

#include "base/buf.h"

#include <sys/types.h>

/* A child process without a shell: argv[0] is a path or a name on PATH, extra_env is
 * NULL or "K=V" strings ending in NULL laid over the caller's environment, stdout and
 * stderr go to `output` (appended, capped by its cap_bytes; the rest is read and
 * dropped). Killed with its process group after timeout_ms. What it leaves running in
 * the background is not waited for. Returns 0 and the wait status in *status.
 * ERR_NOTFOUND: no such program. ERR_LIMIT: timed out. */
struct proc_args {
    const char *const *argv;
    const char *const *extra_env;
    const char *cwd; /* NULL: the caller's */
    int stdin_fd;    /* 0: /dev/null */
    int timeout_ms;  /* 0: none */
};
int proc_run(const struct proc_args *args, struct buf *output, int *status,
             struct err *err) MUST_CHECK;
/* A child whose standard output the caller reads while it runs. */
struct proc_pipe {
    const char *name; /* argv[0], borrowed */
    pid_t pid;        /* 0: none */
    int fd, said_fd;  /* its stdout and stderr; -1 */
    struct buf said;  /* what it wrote to stderr, as much as its cap_bytes takes */
};
#define PROC_PIPE_INIT                                                                 \
    {                                                                                  \
        .fd = -1, .said_fd = -1                                                        \
    }
/* As proc_run; timeout_ms is not looked at. ERR_NOTFOUND: no such program. */
int proc_pipe_open(struct proc_pipe *p, const struct proc_args *args,
                   struct err *err) MUST_CHECK;
/* At most n bytes; 0: its end, ERR_LIMIT: nothing came for so long. Returns early with
 * ERR_PENDING when nothing came and stop(arg) says so; NULL: nobody does. */
int64_t proc_pipe_read(struct proc_pipe *p, void *to, size_t n, int stall_ms,
                       bool (*stop)(void *arg), void *arg, struct err *err) MUST_CHECK;
/* Waits for the end of a child whose output has ended; the wait status in *status. */
int proc_pipe_wait(struct proc_pipe *p, int *status, struct err *err) MUST_CHECK;
void proc_pipe_kill(struct proc_pipe *p); /* for AUTO: kills its process group */

/* "exit status 3", "killed by signal 9" */
const char *proc_status_text(int status, char out[48]);
/* Path of a helper, appended: $SLUICE_LIBEXEC/NAME alone when that is set, else beside
 * this program (build tree), else in ../libexec/sluice from there. ERR_NOTFOUND names
 * what was tried. */
int proc_helper_path(const char *name, struct buf *out, struct err *err) MUST_CHECK;

#endif
