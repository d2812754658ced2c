/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/unpack/unpack_int.h"

#include "base/fs.h"
#include "base/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    PIPE_BYTES = 1 << 20,
    PATH_MAX_BYTES = 64 << 10, /* longer ones are not worth a good message */
    TEXT_MAX_BYTES = 1024
};

const char *
unpack_kind_text(enum unpack_kind kind)
{
    static const char *const texts[] = { "a file",      "a directory", "a symlink",
                                         "a hard link", "a FIFO",      "a socket",
                                         "a device" };

    return texts[kind];
}

/* ---- what it says ---- */

static int
malformed(struct err *err)
{
    return err_set(err, ERR_CORRUPT, "sluice-unpack gave a malformed answer");
}

/* 1: all n bytes, 0: the stream ended before, -code. */
static int
take(int fd, void *p, size_t n, struct err *err)
{
    size_t done = 0;

    while (done < n) {
        ssize_t got = read(fd, (char *)p + done, n - done);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_sys(err, errno, "read from sluice-unpack");
        if (got == 0)
            return 0;
        done += (size_t)got;
    }
    return 1;
}

static int
take_entry(char *payload, size_t n, const struct unpack_sink *sink, bool *is_file,
           struct err *err)
{
    struct unpack_entry e;
    uint32_t kind, mode;
    const size_t n_path = n - UNPACK_ENTRY_BYTES;

    memcpy(&kind, payload, 4);
    memcpy(&mode, payload + 4, 4);
    memcpy(&e.size_bytes, payload + 8, 8);
    payload[n] = '\0';
    e.path = payload + UNPACK_ENTRY_BYTES;
    e.mode = mode & 07777;
    if (kind >= UNPACK_N_KINDS || memchr(e.path, '\0', n_path) || e.size_bytes < -1)
        return malformed(err);
    e.kind = (enum unpack_kind)kind;
    *is_file = e.kind == UNPACK_FILE;
    return sink->entry(sink->arg, &e, err);
}

static int
take_error(const char *payload, size_t n, struct err *err)
{
    uint32_t code;
    char text[TEXT_MAX_BYTES];
    size_t n_text = n - 4;

    memcpy(&code, payload, 4);
    memcpy(text, payload + 4, n_text);
    for (size_t i = 0; i < n_text; i++) /* it goes to a terminal */
        if (text[i] < ' ' || text[i] > '~')
            text[i] = '?';
    if (code == ERR_OK || code > ERR_BUSY)
        return malformed(err);
    return err_set(
        err, (enum err_code)code, "%.*s%s", (int)n_text, text,
        code == ERR_INVALID   ? ": push takes a directory, or a .tar, .tar.gz, "
                                ".tar.zst or .zip"
        : code == ERR_CORRUPT ? ": the archive is damaged: make or copy it again"
                              : "");
}

/* 1: more may come, 0: that was the last. */
static int
take_frame(int fd, char *payload, const struct unpack_sink *sink, bool *is_file,
           struct err *err)
{
    static const struct {
        uint32_t least, most;
    } bounds[] = { [UNPACK_ENTRY] = { UNPACK_ENTRY_BYTES + 1,
                                      UNPACK_ENTRY_BYTES + PATH_MAX_BYTES },
                   [UNPACK_DATA] = { 1, UNPACK_DATA_MAX },
                   [UNPACK_END] = { 0, 0 },
                   [UNPACK_ERROR] = { 4, 4 + TEXT_MAX_BYTES } };
    uint32_t head[2];
    int r = take(fd, head, sizeof(head), err);

    if (r == 1) {
        if (head[0] < UNPACK_ENTRY || head[0] > UNPACK_ERROR ||
            head[1] < bounds[head[0]].least || head[1] > bounds[head[0]].most ||
            (head[0] == UNPACK_DATA && !*is_file))
            return malformed(err);
        r = take(fd, payload, head[1], err);
    }
    if (r <= 0)
        return r < 0 ? r : err_set(err, ERR_FAILED, "sluice-unpack ended too early");
    switch (head[0]) {
    case UNPACK_ENTRY:
        r = take_entry(payload, head[1], sink, is_file, err);
        return r < 0 ? r : 1;
    case UNPACK_DATA:
        r = sink->data(sink->arg, payload, head[1], err);
        return r < 0 ? r : 1;
    case UNPACK_ERROR:
        return take_error(payload, head[1], err);
    default:
        return 0;
    }
}

int
unpack_receive(int fd, const struct unpack_sink *sink, struct err *err)
{
    char *payload AUTO(free_ptr) = xmalloc(UNPACK_DATA_MAX + 1);
    bool is_file = false;
    int r;

    while ((r = take_frame(fd, payload, sink, &is_file, err)) == 1)
        ;
    return r;
}

/* ---- the process ---- */

static int
spawn(pid_t *pid, int archive, int out, struct err *err)
{
    struct buf program AUTO(buf_release) = BUF_INIT;
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t attr;
    sigset_t none, all;
    char parent[24];
    char *argv[] = { (char *)(uintptr_t) "sluice-unpack", parent, NULL };
    char *env[] = { (char *)(uintptr_t) "LC_ALL=C",
                    (char *)(uintptr_t) "ASAN_OPTIONS=detect_leaks=0", NULL };
    int rc = proc_helper_path("sluice-unpack", &program, err);

    if (rc < 0)
        return rc;
    snprintf(parent, sizeof(parent), "%ld", (long)getpid());
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_adddup2(&fa, archive, 0);
    posix_spawn_file_actions_adddup2(&fa, out, 1);
    posix_spawn_file_actions_addopen(&fa, 2, "/dev/null", O_WRONLY, 0);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    rc = posix_spawn(pid, buf_str(&program), &fa, &attr, argv, env);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&fa);
    return rc == 0 ? 0 : err_sys(err, rc, "start %s", buf_str(&program));
}

/* dup2 onto itself would keep close-on-exec: what the child takes lies above 2. */
static int
move_up(int *fd, struct err *err)
{
    int up = fcntl(*fd, F_DUPFD_CLOEXEC, 3);

    if (up < 0)
        return err_sys(err, errno, "duplicate a descriptor");
    close(*fd);
    *fd = up;
    return 0;
}

int
unpack_read(int fd, const struct unpack_sink *sink, struct err *err)
{
    int in AUTO(fs_close) = -1, out AUTO(fs_close) = -1;
    int ends[2], status = 0, r;
    char text[48];
    pid_t pid;

    if (lseek(fd, 0, SEEK_SET) < 0)
        return err_sys(err, errno, "read the archive");
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_sys(err, errno, "make a pipe for sluice-unpack");
    in = ends[0];
    out = ends[1];
    (void)fcntl(in, F_SETPIPE_SZ, PIPE_BYTES);
    r = move_up(&out, err);
    if (r == 0)
        r = spawn(&pid, fd, out, err);
    if (r < 0)
        return r;
    fs_close(&out);
    r = unpack_receive(in, sink, err);
    if (r < 0 && r != -ERR_FAILED)
        kill(pid, SIGKILL); /* it may have more to say than anybody wants to hear */
    fs_close(&in);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (r != -ERR_FAILED)
        return r;
    err_clear(err);
    return err_set(err, ERR_FAILED, "sluice-unpack ended too early (%s)",
                   proc_status_text(status, text));
}
