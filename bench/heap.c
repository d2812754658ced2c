/* SPDX-License-Identifier: Apache-2.0 */
/* Preloaded into a program, writes at its end the most heap it ever had at once, in
 * bytes and with the allocator's rounding, to the file that $HEAP_OUT names.
 *
 * usage: HEAP_OUT=FILE LD_PRELOAD=heap.so COMMAND */
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t each);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);
void __libc_free(void *p);

static atomic_size_t now_bytes, peak_bytes;

static void *
took(void *p)
{
    size_t now = atomic_fetch_add(&now_bytes, malloc_usable_size(p));
    now += malloc_usable_size(p);
    size_t peak = atomic_load(&peak_bytes);
    while (peak < now && !atomic_compare_exchange_weak(&peak_bytes, &peak, now))
        ;
    return p;
}

static void
gave(void *p)
{
    atomic_fetch_sub(&now_bytes, malloc_usable_size(p));
}

void *
malloc(size_t n)
{
    return took(__libc_malloc(n));
}

void *
calloc(size_t n, size_t each)
{
    return took(__libc_calloc(n, each));
}

void *
realloc(void *p, size_t n)
{
    size_t before = malloc_usable_size(p);
    void *q = __libc_realloc(p, n);
    if (q || n == 0) {
        atomic_fetch_sub(&now_bytes, before);
        took(q);
    }
    return q;
}

void *
memalign(size_t align, size_t n)
{
    return took(__libc_memalign(align, n));
}

void *
aligned_alloc(size_t align, size_t n)
{
    return memalign(align, n);
}

int
posix_memalign(void **out, size_t align, size_t n)
{
    *out = memalign(align, n);
    return *out ? 0 : ENOMEM;
}

void
free(void *p)
{
    gave(p);
    __libc_free(p);
}

__attribute__((destructor)) static void
report(void)
{
    const char *path = getenv("HEAP_OUT");
    size_t peak = atomic_load(&peak_bytes);
    FILE *f = path ? fopen(path, "w") : NULL;
    if (!f)
        return;
    fprintf(f, "%zu\n", peak);
    fclose(f);
}
