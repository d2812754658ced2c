/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fs.h"
#include "tests/unit/unit.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { N_BYTES = 40 * 4096 + 7, LEFT_BYTES = 3 * 4096 + 5 };

/* A file of N_BYTES 'x', mapped. */
static void
map_file(struct fs_map *m, int dir)
{
    struct err err = ERR_INIT;
    char *bytes AUTO(free_ptr) = xmalloc(N_BYTES);
    memset(bytes, 'x', N_BYTES);
    CHECK_OK(fs_replace(dir, "big", bytes, N_BYTES, 0644, &err));
    CHECK_OK(fs_map(m, dir, "big", &err));
}

static int
count_x(const struct fs_map *m)
{
    const volatile uint8_t *p = m->p;
    int n = 0;
    for (size_t i = 0; i < m->n; i++)
        n += p[i] == 'x';
    return n;
}

static void
cut(int dir)
{
    int fd = openat(dir, "big", O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0 && ftruncate(fd, LEFT_BYTES) == 0);
    close(fd);
}

/* How a child that does fn ends: its status, or minus the signal. */
static int
child(void (*fn)(int dir), int dir)
{
    int status;
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        fn(dir);
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void
reads_guarded(int dir)
{
    struct err err = ERR_INIT;
    struct fs_map m, whole;
    map_file(&m, dir);
    whole = m;
    if (fs_maps_guard(&err) < 0 || count_x(&m) != N_BYTES || fs_maps_n_cut() != 0 ||
        fs_maps_check(0, &err) < 0)
        _exit(1);
    cut(dir);
    fs_map_drop(&m, m.p, m.p + m.n);
    if (count_x(&m) != LEFT_BYTES || count_x(&whole) != LEFT_BYTES)
        _exit(2);
    unsigned n = fs_maps_n_cut();
    if (n == 0 || fs_maps_check(0, &err) != -ERR_CORRUPT || !strstr(err.msg, "big was"))
        _exit(3);
    err_clear(&err);
    fs_unmap(&m);
    /* The next one is another matter. */
    map_file(&m, dir);
    if (count_x(&m) != N_BYTES || fs_maps_check(n, &err) < 0)
        _exit(4);
    fs_unmap(&m);
}

static void
is_sent_sigbus(int dir)
{
    struct err err = ERR_INIT;
    (void)dir;
    signal(SIGBUS, SIG_DFL);
    if (fs_maps_guard(&err) < 0)
        _exit(1);
    raise(SIGBUS);
}

TEST(test_fs_map__a_file_that_is_cut_reads_as_zeros_and_is_told)
{
    int dir AUTO(fs_close) = -1;
    struct err err = ERR_INIT;
    CHECK_OK(fs_open_dir(&dir, AT_FDCWD, unit_dir(), &err));
    CHECK_INT(child(reads_guarded, dir), 0);
    CHECK_INT(child(is_sent_sigbus, dir), -SIGBUS);
}

TEST(test_fs_map__dropped_pages_come_back)
{
    int dir AUTO(fs_close) = -1;
    struct err err = ERR_INIT;
    struct fs_map m AUTO(fs_unmap) = { .p = NULL };
    CHECK_OK(fs_open_dir(&dir, AT_FDCWD, unit_dir(), &err));
    map_file(&m, dir);
    fs_map_drop(&m, m.p + 1, m.p + N_BYTES);
    fs_map_drop(&m, m.p + 9, m.p + 10);
    fs_map_drop(&m, m.p, m.p);
    CHECK_INT(count_x(&m), N_BYTES);
}
