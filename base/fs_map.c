/* SPDX-License-Identifier: Apache-2.0 */
/* Maps of files, and what happens when somebody cuts one of them.
 *
 * The kernel answers a read behind the end of a mapped file with SIGBUS. A signal
 * handler is told an address and nothing else, so that here, as in log files, state
 * cannot be in a handle: `maps` knows all maps of the process. In a guarded program the
 * handler puts zeros in place of what was cut off, remembers that, and lets the reader
 * go on; who asked it to read finds out from fs_maps_check. */
#include "base/fs_int.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct fs_range {
    const char *p, *end; /* whole pages */
    char *path;
    struct fs_range *next;
};

/* The lock is held for some instructions, none of which reads from a map: the handler,
 * which runs where such a read was, never waits for its own thread. */
static struct {
    atomic_flag lock;
    struct fs_range *first;
    unsigned n_cut;
    char cut_path[256]; /* of the last one */
} maps = { .lock = ATOMIC_FLAG_INIT };

static void
lock(void)
{
    while (atomic_flag_test_and_set_explicit(&maps.lock, memory_order_acquire))
        ;
}

static void
unlock(void)
{
    atomic_flag_clear_explicit(&maps.lock, memory_order_release);
}

static size_t
page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static struct fs_range *
watch(const void *p, size_t n, const char *path)
{
    struct fs_range *r = xcalloc(1, sizeof(*r));
    size_t page = page_bytes();
    r->p = p;
    r->end = r->p + (n + page - 1) / page * page;
    r->path = xstrdup(path);
    lock();
    r->next = maps.first;
    maps.first = r;
    unlock();
    return r;
}

static void
unwatch(struct fs_range *r)
{
    lock();
    struct fs_range **at = &maps.first;
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    unlock();
    free(r->path);
    free(r);
}

int
fs_map(struct fs_map *out, int dirfd, const char *path, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    struct stat st;
    void *p;
    int r = fs_open(&fd, dirfd, path, O_RDONLY | O_NONBLOCK, 0, err);

    if (r < 0)
        return r;
    if (fstat(fd, &st) < 0)
        return err_sys(err, errno, "stat %s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "open %s: %s, not a regular file", path,
                       fs_kind(st.st_mode));
    *out = (struct fs_map){ .p = (const uint8_t *)"", .n = (size_t)st.st_size };
    if (st.st_size == 0) /* mmap refuses these */
        return 0;
    p = mmap(NULL, out->n, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) {
        r = err_sys(err, errno, "map %s", path);
        *out = (struct fs_map){ .p = NULL };
        return r;
    }
    out->p = p;
    out->range = watch(p, out->n, path);
    return 0;
}

void
fs_unmap(struct fs_map *m)
{
    if (m->n > 0) {
        unwatch(m->range);
        munmap((void *)(uintptr_t)m->p, m->n);
    }
    *m = (struct fs_map){ .p = NULL };
}

void
fs_map_drop(const struct fs_map *m, const void *from, const void *to)
{
    uintptr_t page = page_bytes(), p = (uintptr_t)from / page * page,
              end = (uintptr_t)to / page * page;
    if (p >= (uintptr_t)m->p && end <= (uintptr_t)m->p + m->n && p < end)
        (void)madvise((void *)p, end - p, MADV_DONTNEED);
}

/* ---- the guard ---- */

/* Zeros from the page of `at` to the end of its map: the kernel raises SIGBUS for the
 * first page behind the end of the file or a later one, never for one before. */
static bool
mend(const char *at)
{
    bool is_mended = false;
    at = (const char *)((uintptr_t)at / page_bytes() * page_bytes());
    lock();
    struct fs_range *r = maps.first;
    while (r && (at < r->p || at >= r->end))
        r = r->next;
    if (r) {
        is_mended = mmap((void *)(uintptr_t)at, (size_t)(r->end - at), PROT_READ,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
        maps.n_cut++;
        size_t n = strnlen(r->path, sizeof(maps.cut_path) - 1);
        memcpy(maps.cut_path, r->path, n);
        maps.cut_path[n] = '\0';
    }
    unlock();
    return is_mended;
}

static void
on_sigbus(int sig, siginfo_t *info, void *context)
{
    (void)context;
    int sys = errno;
    if (info->si_code <= 0 || !mend(info->si_addr)) {
        signal(sig, SIG_DFL); /* not of a map: ends the process */
        raise(sig);
    }
    errno = sys;
}

int
fs_maps_guard(struct err *err)
{
    struct sigaction a = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };
    sigemptyset(&a.sa_mask);
    if (sigaction(SIGBUS, &a, NULL) < 0)
        return err_sys(err, errno, "handle SIGBUS");
    return 0;
}

unsigned
fs_maps_n_cut(void)
{
    lock();
    unsigned n = maps.n_cut;
    unlock();
    return n;
}

int
fs_maps_check(unsigned n_before, struct err *err)
{
    char path[sizeof(maps.cut_path)];
    lock();
    bool is_cut = maps.n_cut != n_before;
    memcpy(path, maps.cut_path, sizeof(path));
    unlock();
    if (!is_cut)
        return 0;
    if (err->code == ERR_CORRUPT && err->sys == ESTALE)
        return -(int)err->code; /* told already, and by now with more context */
    err_clear(err);             /* whatever was found wrong with the zeros */
    return err_set_at(err, ERR_CORRUPT, ESTALE, __FILE__, __LINE__,
                      "%s was changed while it was read: it is shorter than it was, or "
                      "its disk fails",
                      path);
}
