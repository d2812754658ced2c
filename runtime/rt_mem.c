/* SPDX-License-Identifier: Apache-2.0 */
/* Where values live. A run takes blocks and gives them back in the order of its plan's
 * steps, so placing each in the first hole that fits it is placing it by liveness, for
 * whatever shapes this run has.
 *
 * Small blocks come from malloc and are kept by size. Larger ones are cut from regions,
 * and grow together again with free neighbours:
 *
 *   region | struct region | block | block | … | end |
 *
 * A block is its struct rt_buf, HEADER_BYTES, and the data behind it; `before` is the
 * block in front of it in its region, the next one begins where it ends. While it is
 * free, refs is IS_FREE, and next and `prev_free` link it into the bin of its size.
 * Regions are only touched as far as blocks reach. */
#include "runtime/rt_int.h"

#include <stdlib.h>
#include <sys/mman.h>

enum {
    HEADER_BYTES = 64,
    SMALL_BLOCK_BYTES = 128,
    SMALL_MAX_BYTES = 4096,  /* class RT_N_SMALL - 1 */
    REGION_BYTES = 64 << 20, /* or a quarter of the cap, or what a block needs */
    CAP_LOG2 = 45,
    TRIES = 16, /* in the bin where some blocks are too small */
    IS_FREE = -1
};
#ifdef __SANITIZE_ADDRESS__ /* which finds more when blocks are freed */
enum { KEEPS_BLOCKS = 0 };
#else
enum { KEEPS_BLOCKS = 1 };
#endif
_Static_assert(sizeof(struct rt_buf) <= HEADER_BYTES, "data begins on a cache line");

struct rt_region {
    struct rt_region *next;     /* older */
    size_t size_bytes, used_to; /* used_to: how far blocks ever reached */
};
_Static_assert(sizeof(struct rt_region) <= HEADER_BYTES,
               "blocks begin on a cache line");

void
rt_mem_init(struct rt_mem *m, size_t cap_bytes)
{
    size_t most = (size_t)1 << CAP_LOG2;
    *m = (struct rt_mem){ .cap_bytes = cap_bytes < most ? cap_bytes : most };
    pthread_mutex_init(&m->lock, NULL);
}

/* The class of a block of at least n bytes; *n is rounded up to the least size in it:
 * four classes a power of two. */
static int
class_of(size_t *n)
{
    if (*n <= SMALL_BLOCK_BYTES) {
        *n = SMALL_BLOCK_BYTES;
        return 0;
    }
    if (*n < 2 * SMALL_BLOCK_BYTES)
        *n = 2 * SMALL_BLOCK_BYTES;
    int log2 = 63 - __builtin_clzll(*n);
    size_t quarter = (size_t)1 << (log2 - 2);
    size_t k = (*n - ((size_t)1 << log2) + quarter - 1) / quarter;
    *n = ((size_t)1 << log2) + k * quarter;
    return (log2 - 8) * 4 + (int)k + 1;
}

/* ---- regions, under the lock ----------------------------------------------------- */

static struct rt_buf *
behind(struct rt_buf *b)
{
    return (struct rt_buf *)(void *)((char *)b + b->block_bytes);
}

static bool
is_free(const struct rt_buf *b)
{
    return b && __atomic_load_n(&b->refs, __ATOMIC_RELAXED) == IS_FREE;
}

/* The bin of a free block: all in it are at least as large as its class. */
static int
bin_of(const struct rt_buf *b)
{
    size_t n = b->block_bytes;
    int c = class_of(&n);
    return n > b->block_bytes ? c - 1 : c;
}

static void
put_free(struct rt_mem *m, struct rt_buf *b)
{
    int bin = bin_of(b);
    b->refs = IS_FREE;
    b->prev_free = NULL;
    b->next = m->bin[bin];
    if (b->next)
        b->next->prev_free = b;
    m->bin[bin] = b;
}

static void
take_free(struct rt_mem *m, struct rt_buf *b)
{
    if (b->prev_free)
        b->prev_free->next = b->next;
    else
        m->bin[bin_of(b)] = b->next;
    if (b->next)
        b->next->prev_free = b->prev_free;
}

/* All of a region as one free block, with an end that is never free behind it. */
static bool
add_region(struct rt_mem *m, size_t block)
{
    size_t need = block + 2 * HEADER_BYTES, size = REGION_BYTES;
    if (size > m->cap_bytes / 4)
        size = m->cap_bytes / 4;
    if (size < need || m->held_bytes + size > m->cap_bytes)
        size = need;
    size = (size + 4095) & ~(size_t)4095;
    struct rt_region *r = mmap(NULL, size, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (r == MAP_FAILED)
        return false;
    *r = (struct rt_region){ .next = m->regions, .size_bytes = size };
    m->regions = r;
    m->held_bytes += size;
    struct rt_buf *b = (struct rt_buf *)(void *)((char *)r + HEADER_BYTES);
    *b = (struct rt_buf){ .block_bytes = size - 2 * HEADER_BYTES };
    *behind(b) = (struct rt_buf){ .refs = 1, .before = b };
    put_free(m, b);
    return true;
}

/* Regions without a block go; all of them in the end. */
static void
drop_regions(struct rt_mem *m, bool all)
{
    for (struct rt_region **at = &m->regions, *r; (r = *at);) {
        struct rt_buf *b = (struct rt_buf *)(void *)((char *)r + HEADER_BYTES);
        bool empty = is_free(b) && b->block_bytes == r->size_bytes - 2 * HEADER_BYTES;
        if (!empty && !all) {
            at = &r->next;
            continue;
        }
        if (!all)
            take_free(m, b);
        *at = r->next;
        m->held_bytes -= r->size_bytes;
        munmap(r, r->size_bytes);
    }
}

static struct rt_region *
region_of(const struct rt_mem *m, const struct rt_buf *b)
{
    struct rt_region *r = m->regions;
    while (r && ((const char *)b < (const char *)r ||
                 (const char *)b >= (const char *)r + r->size_bytes))
        r = r->next;
    return r;
}

/* NULL: no hole is large enough. */
static struct rt_buf *
find_hole(struct rt_mem *m, size_t block)
{
    size_t n = block;
    int c = class_of(&n), tries = TRIES;
    struct rt_buf *best = NULL;
    /* Most often the very block of the last run. */
    for (struct rt_buf *b = n > block ? m->bin[c - 1] : NULL; b && tries-- > 0;
         b = b->next)
        if (b->block_bytes >= block && (!best || b->block_bytes < best->block_bytes))
            best = b;
    for (; !best && c < RT_N_BINS; c++)
        best = m->bin[c];
    return best;
}

static struct rt_buf *
take_large(struct rt_mem *m, size_t block)
{
    struct rt_buf *b = find_hole(m, block);
    if (!b && m->held_bytes + block > m->cap_bytes)
        drop_regions(m, false);
    if (!b && add_region(m, block))
        b = find_hole(m, block);
    if (!b)
        return NULL;
    take_free(m, b);
    if (b->block_bytes - block > SMALL_MAX_BYTES) {
        struct rt_buf *rest = (struct rt_buf *)(void *)((char *)b + block);
        *rest = (struct rt_buf){ .block_bytes = b->block_bytes - block, .before = b };
        behind(rest)->before = rest;
        b->block_bytes = block;
        put_free(m, rest);
    }
    struct rt_region *r = region_of(m, b);
    size_t end = (size_t)((char *)behind(b) - (char *)r);
    r->used_to = end > r->used_to ? end : r->used_to;
    return b;
}

static void
give_large(struct rt_mem *m, struct rt_buf *b)
{
    struct rt_buf *next = behind(b), *before = b->before;
    if (is_free(next)) {
        take_free(m, next);
        b->block_bytes += next->block_bytes;
    }
    if (is_free(before)) {
        take_free(m, before);
        before->block_bytes += b->block_bytes;
        b = before;
    }
    behind(b)->before = b;
    put_free(m, b);
}

/* ---- blocks ---------------------------------------------------------------------- */

/* Under the lock. NULL: to be made by malloc. */
static struct rt_buf *
take_small(struct rt_mem *m, int c)
{
    struct rt_buf *b = m->small[c];
    if (b)
        m->small[c] = b->next;
    return b;
}

struct rt_buf *
rt_mem_take(struct rt_mem *m, size_t size_bytes)
{
    if (size_bytes > m->cap_bytes)
        return NULL;
    size_t block = HEADER_BYTES + ((size_bytes + 63) & ~(size_t)63);
    bool small = block <= SMALL_MAX_BYTES, alone = small || !KEEPS_BLOCKS;
    int c = small ? class_of(&block) : 0;
    struct rt_buf *b = NULL, *before = NULL;
    pthread_mutex_lock(&m->lock);
    bool fits = m->used_bytes + block <= m->cap_bytes;
    if (fits)
        b = small ? take_small(m, c) : alone ? NULL : take_large(m, block);
    if (fits && !b && alone)
        b = aligned_alloc(HEADER_BYTES, block);
    if (b && !alone) {
        block = b->block_bytes;
        before = b->before;
    }
    if (b)
        m->used_bytes += block;
    if (m->used_bytes > m->peak_bytes)
        m->peak_bytes = m->used_bytes;
    if (b)
        *b = (struct rt_buf){ .refs = 1,
                              .size_bytes = size_bytes,
                              .block_bytes = block,
                              .data = (char *)b + HEADER_BYTES,
                              .mem = m,
                              .before = before };
    pthread_mutex_unlock(&m->lock);
    return b;
}

void
rt_mem_give(struct rt_buf *b)
{
    struct rt_mem *m = b->mem;
    size_t block = b->block_bytes;
    bool small = block <= SMALL_MAX_BYTES;
    pthread_mutex_lock(&m->lock);
    m->used_bytes -= block;
    if (KEEPS_BLOCKS && small) {
        int c = class_of(&block);
        b->next = m->small[c];
        m->small[c] = b;
    } else if (KEEPS_BLOCKS) {
        give_large(m, b);
    }
    pthread_mutex_unlock(&m->lock);
    if (!KEEPS_BLOCKS)
        free(b);
}

void
rt_mem_release(struct rt_mem *m)
{
    for (int i = 0; i < RT_N_SMALL; i++) {
        while (m->small[i]) {
            struct rt_buf *b = m->small[i];
            m->small[i] = b->next;
            free(b);
        }
    }
    drop_regions(m, true);
    pthread_mutex_destroy(&m->lock);
}

size_t
rt_mem_touched(struct rt_mem *m)
{
    size_t n = 0;
    pthread_mutex_lock(&m->lock);
    for (const struct rt_region *r = m->regions; r; r = r->next)
        n += r->used_to;
    pthread_mutex_unlock(&m->lock);
    return n;
}

int64_t
rt_mem_offset(struct rt_mem *m, const struct rt_buf *b)
{
    pthread_mutex_lock(&m->lock);
    const struct rt_region *r = region_of(m, b);
    int64_t at = r ? (const char *)b - (const char *)r : -1;
    for (r = r ? r->next : NULL; r; r = r->next) /* older ones come first */
        at += (int64_t)r->size_bytes;
    pthread_mutex_unlock(&m->lock);
    return at;
}
