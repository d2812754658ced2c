/* SPDX-License-Identifier: Apache-2.0 */
#include "base/proc.h"

#include "base/clock.h"
#include "base/fs.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* "K=V" and "K=W" name the same variable. */
static bool
same_name(const char *a, const char *b)
{
    size_t n = strcspn(a, "=");

    return strncmp(a, b, n) == 0 && b[n] == '=';
}

/* The caller's environment with `extra` laid over it: an array to free, whose strings
 * are borrowed. */
static char **
make_env(const char *const *extra)
{
    size_t n = 0, n_extra = 0, n_env = 0;
    char **env;

    while (extra && extra[n_extra])
        n_extra++;
    while (environ && environ[n_env])
        n_env++;
    env = xreallocarray(NULL, n_env + n_extra + 1, sizeof(*env));
    for (size_t i = 0; i < n_env; i++) {
        bool replaced = false;

        for (size_t k = 0; k < n_extra; k++)
            replaced = replaced || same_name(extra[k], environ[i]);
        if (!replaced)
            env[n++] = environ[i];
    }
    for (size_t k = 0; k < n_extra; k++)
        env[n++] = (char *)(uintptr_t)extra[k]; /* posix_spawn does not write to them */
    env[n] = NULL;
    return env;
}

/* posix_spawnp in a process group of its own, with stdin from /dev/null, the outputs to
 * out_fd and said_fd, and no signal blocked or ignored. Returns an errno. */
static int
spawn(pid_t *pid, const struct proc_args *args, int out_fd, int said_fd)
{
    char **env AUTO(free_ptr) = make_env(args->extra_env);
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none, all;
    int e;

    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                        POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    e = args->stdin_fd > 0
            ? posix_spawn_file_actions_adddup2(&actions, args->stdin_fd, 0)
            : posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    if (e == 0)
        e = posix_spawn_file_actions_adddup2(&actions, out_fd, 1);
    if (e == 0)
        e = posix_spawn_file_actions_adddup2(&actions, said_fd, 2);
    if (e == 0 && args->cwd)
        e = posix_spawn_file_actions_addchdir_np(&actions, args->cwd);
    if (e == 0)
        e = posix_spawnp(pid, args->argv[0], &actions, &attr,
                         (char *const *)(uintptr_t)args->argv, env);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return e;
}

static int
not_run(const struct proc_args *args, int e, struct err *err)
{
    return e == ENOENT ? err_set(err, ERR_NOTFOUND, "run %s: no such program%s%s",
                                 args->argv[0], args->cwd ? ", or no directory " : "",
                                 args->cwd ? args->cwd : "")
                       : err_sys(err, e, "run %s", args->argv[0]);
}

/* Takes what the pipe holds now. False: it is at its end. */
static bool
drain(int fd, struct buf *output)
{
    char chunk[16384];

    for (;;) {
        ssize_t n = read(fd, chunk, sizeof(chunk));
        size_t room,
            cap_bytes = output->cap_bytes ? output->cap_bytes : BUF_CAP_DEFAULT;

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        room = output->len < cap_bytes ? cap_bytes - output->len : 0;
        buf_add(output, chunk, (size_t)n < room ? (size_t)n : room);
    }
}

/* Until the child ends: a grandchild that keeps the pipe open holds nobody up.
 * 0, ETIMEDOUT, or the errno of poll. */
static int
follow(int pidfd, int pipe_fd, int timeout_ms, struct buf *output)
{
    int64_t end_ns = clock_mono_ns() + (int64_t)timeout_ms * 1000000;
    struct pollfd fds[2] = { { .fd = pidfd, .events = POLLIN },
                             { .fd = pipe_fd, .events = POLLIN } };

    for (;;) {
        int64_t left_ns = end_ns - clock_mono_ns();
        int wait_ms = -1;

        if (timeout_ms > 0) {
            if (left_ns <= 0)
                return ETIMEDOUT;
            wait_ms = (int)((left_ns + 999999) / 1000000);
        }
        if (poll(fds, 2, wait_ms) < 0 && errno != EINTR)
            return errno;
        if (fds[1].fd >= 0 && fds[1].revents != 0 && !drain(pipe_fd, output))
            fds[1].fd = -1;
        if (fds[0].revents != 0) {
            drain(pipe_fd, output); /* written just before the end */
            return 0;
        }
    }
}

int
proc_run(const struct proc_args *args, struct buf *output, int *status, struct err *err)
{
    int read_fd AUTO(fs_close) = -1, write_fd AUTO(fs_close) = -1;
    int pidfd AUTO(fs_close) = -1;
    const char *name = args->argv[0];
    int ends[2], e;
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_sys(err, errno, "run %s: pipe", name);
    read_fd = ends[0];
    write_fd = ends[1];
    if (fcntl(read_fd, F_SETFL, O_NONBLOCK) < 0)
        return err_sys(err, errno, "run %s: pipe", name);
    e = spawn(&pid, args, write_fd, write_fd);
    if (e != 0)
        return not_run(args, e, err);
    fs_close(&write_fd);
    pidfd = pidfd_open(pid, 0);
    e = pidfd < 0 ? errno : follow(pidfd, read_fd, args->timeout_ms, output);
    if (e != 0)
        kill(-pid, SIGKILL);
    while (waitpid(pid, status, 0) < 0)
        if (errno != EINTR)
            return err_sys(err, errno, "wait for %s", name);
    if (e == ETIMEDOUT)
        return err_set(err, ERR_LIMIT, "%s: still running after %d ms: killed", name,
                       args->timeout_ms);
    if (e != 0)
        return err_sys(err, e, "follow %s", name);
    return 0;
}

/* ---- read while it runs ---------------------------------------------------------- */

int
proc_pipe_open(struct proc_pipe *p, const struct proc_args *args, struct err *err)
{
    int out[2], said[2], e;

    *p = (struct proc_pipe)PROC_PIPE_INIT;
    p->name = args->argv[0];
    p->said.cap_bytes = 4096;
    if (pipe2(out, O_CLOEXEC) < 0)
        return err_sys(err, errno, "run %s: pipe", p->name);
    if (pipe2(said, O_CLOEXEC) < 0) {
        e = errno;
        close(out[0]);
        close(out[1]);
        return err_sys(err, e, "run %s: pipe", p->name);
    }
    e = fcntl(out[0], F_SETFL, O_NONBLOCK) < 0 ||
                fcntl(said[0], F_SETFL, O_NONBLOCK) < 0
            ? errno
            : spawn(&p->pid, args, out[1], said[1]);
    close(out[1]);
    close(said[1]);
    p->fd = out[0];
    p->said_fd = said[0];
    if (e == 0)
        return 0;
    p->pid = 0;
    proc_pipe_kill(p);
    return not_run(args, e, err);
}

/* What goes wrong with what it says does not stop the reader of its output. */
static void
listen_to(struct proc_pipe *p)
{
    if (p->said_fd >= 0 && !drain(p->said_fd, &p->said))
        fs_close(&p->said_fd);
}

int64_t
proc_pipe_read(struct proc_pipe *p, void *to, size_t n, int stall_ms,
               bool (*stop)(void *arg), void *arg, struct err *err)
{
    const int64_t end_ns = clock_mono_ns() + (int64_t)stall_ms * 1000000;

    for (;;) {
        struct pollfd fds[2] = { { .fd = p->fd, .events = POLLIN },
                                 { .fd = p->said_fd, .events = POLLIN } };
        ssize_t got = read(p->fd, to, n);

        if (got >= 0) {
            listen_to(p);
            return got;
        }
        if (errno != EAGAIN && errno != EINTR)
            return err_sys(err, errno, "read from %s", p->name);
        if (stop && stop(arg))
            return err_set(err, ERR_PENDING, "%s: stopped", p->name);
        if (clock_mono_ns() >= end_ns)
            return err_set(err, ERR_LIMIT, "%s: nothing came for %d ms", p->name,
                           stall_ms);
        if (poll(fds, 2, 200) > 0 && fds[1].revents != 0)
            listen_to(p);
    }
}

int
proc_pipe_wait(struct proc_pipe *p, int *status, struct err *err)
{
    const pid_t pid = p->pid;

    p->pid = 0;
    fs_close(&p->fd);
    while (waitpid(pid, status, 0) < 0)
        if (errno != EINTR)
            return err_sys(err, errno, "wait for %s", p->name);
    listen_to(p);
    return 0;
}

void
proc_pipe_kill(struct proc_pipe *p)
{
    fs_close(&p->fd);
    if (p->pid > 0) {
        kill(-p->pid, SIGKILL);
        while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    p->pid = 0;
    listen_to(p);
    fs_close(&p->said_fd);
    buf_release(&p->said);
}

const char *
proc_status_text(int status, char out[48])
{
    if (WIFEXITED(status))
        snprintf(out, 48, "exit status %d", WEXITSTATUS(status));
    else if (WIFSIGNALED(status))
        snprintf(out, 48, "killed by signal %d", WTERMSIG(status));
    else
        snprintf(out, 48, "wait status 0x%x", (unsigned)status);
    return out;
}

int
proc_helper_path(const char *name, struct buf *out, struct err *err)
{
    static const char *const beside[] = { "", "../libexec/sluice/" };
    const char *dir = getenv("SLUICE_LIBEXEC");
    struct buf self AUTO(buf_release) = BUF_INIT;
    size_t old_len = out->len;
    int r;

    if (dir && dir[0]) {
        buf_addf(out, "%s/%s", dir, name);
        if (access(out->data + old_len, X_OK) == 0)
            return 0;
        err_sys(err, errno, "%s (from SLUICE_LIBEXEC)", out->data + old_len);
        err->code = ERR_NOTFOUND;
        out->len = old_len;
        return -(int)err->code;
    }
    r = fs_readlink(AT_FDCWD, "/proc/self/exe", &self, err);
    if (r < 0)
        return err_ctx(err, "find %s beside this program", name);
    self.len = (size_t)(strrchr(self.data, '/') - self.data);
    for (size_t i = 0; i < 2; i++) {
        buf_addf(out, "%.*s/%s%s", (int)self.len, self.data, beside[i], name);
        if (access(out->data + old_len, X_OK) == 0)
            return 0;
        out->len = old_len;
    }
    return err_set(err, ERR_NOTFOUND,
                   "%s: not in %.*s and not in %.*s/%s: install it, or name its "
                   "directory in SLUICE_LIBEXEC",
                   name, (int)self.len, self.data, (int)self.len, self.data, beside[1]);
}
