/* SPDX-License-Identifier: Apache-2.0 */
/* The plan and the log. The calls themselves are defined in shim_disk.c and
 * shim_look.c: shim_ask() first, then the real one, then, when the log is on, what it
 * did. `make check-fault` compares the list of defined calls with what the program
 * imports. */
#include "tests/crash/shim_int.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert((int)N_CALLS <= SHIM_CALLS_MAX, "room for the counts");
static const struct {
    const char *name;
    unsigned classes;
} calls[] = {
#define X(name, classes) { #name, classes },
    CALLS(X)
#undef X
};

static struct shim *shim; /* NULL: not armed */

struct shim *
shim_open(size_t log_cap_bytes)
{
    void *p = mmap(NULL, sizeof(struct shim) + log_cap_bytes, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED)
        return NULL;
    ((struct shim *)p)->log_cap_bytes = log_cap_bytes;
    return p;
}

void
shim_reset(struct shim *s)
{
    const size_t cap = s->log_cap_bytes;

    memset(s, 0, sizeof(*s));
    s->log_cap_bytes = cap;
}

void
shim_close(struct shim *s)
{
    munmap(s, sizeof(*s) + s->log_cap_bytes);
}

void
shim_arm(struct shim *s)
{
    s->count = s->n_failed = 0;
    s->failed[0] = '\0';
    s->overflow = false;
    s->lock = 0;
    shim = s;
}

const char *
shim_call_name(int kind)
{
    return kind < N_CALLS ? calls[kind].name : NULL;
}

int
shim_ask(int kind)
{
    long n;

    if (!shim)
        return 0;
    __atomic_add_fetch(&shim->seen[kind], 1, __ATOMIC_RELAXED);
    if (!(calls[kind].classes & shim->class) &&
        (shim->class != SHIM_ANY || kind == CALL_malloc))
        return 0;
    n = __atomic_add_fetch(&shim->count, 1, __ATOMIC_RELAXED);
    if (shim->n == 0 || (shim->sticky ? n < shim->n : n != shim->n))
        return 0;
    if (__atomic_add_fetch(&shim->n_failed, 1, __ATOMIC_RELAXED) == 1) {
        strncpy(shim->failed, calls[kind].name, sizeof(shim->failed) - 1);
        if (shim->what == SHIM_KILL)
            kill(getpid(), SIGKILL);
    }
    return shim->what;
}

/* ---- the log ---- */

bool
shim_logging(void)
{
    return shim && shim->log;
}

void
shim_lock(void)
{
    while (__atomic_exchange_n(&shim->lock, 1, __ATOMIC_ACQUIRE))
        ;
}

void
shim_unlock(void)
{
    __atomic_store_n(&shim->lock, 0, __ATOMIC_RELEASE);
}

uint64_t
shim_ino(int dirfd, const char *path)
{
    struct stat st;

    return REAL(fstatat)(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_ino : 0;
}

uint64_t
shim_ino_fd(int fd)
{
    struct stat st;

    return REAL(fstat)(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))
               ? st.st_ino
               : 0;
}

uint64_t
shim_parent(int dirfd, const char *path, char name[NAME_MAX + 1])
{
    char dir[PATH_MAX];
    size_t n = strlen(path);
    struct stat st;
    const char *slash;

    while (n > 1 && path[n - 1] == '/')
        n--;
    snprintf(dir, sizeof(dir), "%.*s", (int)n, path);
    slash = strrchr(dir, '/');
    snprintf(name, NAME_MAX + 1, "%.*s", NAME_MAX, slash ? slash + 1 : dir);
    if (!slash)
        memcpy(dir, ".", 2);
    else
        dir[slash == dir ? 1 : slash - dir] = '\0';
    return REAL(fstatat)(dirfd, dir, &st, 0) == 0 ? st.st_ino : 0;
}

void
shim_append(struct shim_op op, const char *name, const char *name2, const void *data)
{
    uint8_t *to = (uint8_t *)(shim + 1) + shim->log_bytes;
    size_t total;

    op.name_bytes = name ? (uint32_t)strlen(name) + 1 : 0;
    op.name2_bytes = name2 ? (uint32_t)strlen(name2) + 1 : 0;
    total = (sizeof(op) + op.name_bytes + op.name2_bytes + op.data_bytes + 7) & ~7UL;
    if (shim->log_bytes + total > shim->log_cap_bytes) {
        shim->overflow = true;
        return;
    }
    op.total_bytes = (uint32_t)total;
    memcpy(to, &op, sizeof(op));
    to += sizeof(op);
    if (name)
        memcpy(to, name, op.name_bytes);
    to += op.name_bytes;
    if (name2)
        memcpy(to, name2, op.name2_bytes);
    to += op.name2_bytes;
    if (op.data_bytes)
        memcpy(to, data, op.data_bytes);
    shim->log_bytes += total;
}

const struct shim_op *
shim_first(const struct shim *s)
{
    return s->log_bytes ? (const struct shim_op *)(const void *)(s + 1) : NULL;
}

const struct shim_op *
shim_next(const struct shim *s, const struct shim_op *op)
{
    const uint8_t *next = (const uint8_t *)op + op->total_bytes;

    return next < (const uint8_t *)(s + 1) + s->log_bytes
               ? (const struct shim_op *)(const void *)next
               : NULL;
}

const char *
shim_name(const struct shim_op *op)
{
    return (const char *)(op + 1);
}

const char *
shim_name2(const struct shim_op *op)
{
    return (const char *)(op + 1) + op->name_bytes;
}

const uint8_t *
shim_data(const struct shim_op *op)
{
    return (const uint8_t *)(op + 1) + op->name_bytes + op->name2_bytes;
}

bool
shim_no_memory(void)
{
    int e = shim ? shim_ask(CALL_malloc) : 0;

    if (e > 0)
        errno = e;
    return e > 0;
}
