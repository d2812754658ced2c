/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/rt_int.h"

#include "base/fnv.h"

#include <stdlib.h>

void
rt_names_release(struct rt_names *h)
{
    free(h->key);
    free(h->value);
    *h = (struct rt_names){ 0 };
}

static size_t
hash_of(struct str s)
{
    uint64_t h = fnv_add(0x9e3779b97f4a7c15u ^ s.n, s.p, s.n);
    h ^= h >> 32;
    return (size_t)(h * 0x9e3779b97f4a7c15u >> 16);
}

/* The place of `key`, or the free place where it belongs. */
static size_t
place_of(const struct rt_names *h, struct str key)
{
    size_t mask = (size_t)h->cap - 1, i = hash_of(key) & mask;
    while (h->value[i] >= 0 && !str_eq(h->key[i], key))
        i = (i + 1) & mask;
    return i;
}

int
rt_names_find(const struct rt_names *h, struct str key)
{
    return h->n == 0 ? -1 : h->value[place_of(h, key)];
}

static void
grow(struct rt_names *h)
{
    struct rt_names old = *h;
    h->cap = old.cap ? old.cap * 2 : 16;
    h->key = xreallocarray(NULL, (size_t)h->cap, sizeof(h->key[0]));
    h->value = xreallocarray(NULL, (size_t)h->cap, sizeof(h->value[0]));
    for (int i = 0; i < h->cap; i++)
        h->value[i] = -1;
    for (int i = 0; i < old.cap; i++) {
        if (old.value[i] < 0)
            continue;
        size_t at = place_of(h, old.key[i]);
        h->key[at] = old.key[i];
        h->value[at] = old.value[i];
    }
    rt_names_release(&old);
}

int
rt_names_add(struct rt_names *h, struct str key, int value)
{
    if (2 * (h->n + 1) > h->cap)
        grow(h);
    size_t at = place_of(h, key);
    if (h->value[at] >= 0)
        return h->value[at];
    h->key[at] = key;
    h->value[at] = value;
    h->n++;
    return -1;
}

/* ---- addresses ------------------------------------------------------------------- */

void
rt_ptrs_release(struct rt_ptrs *h)
{
    free(h->key);
    free(h->value);
    *h = (struct rt_ptrs){ 0 };
}

static int
ptr_place(const struct rt_ptrs *h, const void *key)
{
    int i = (int)((uint64_t)(uintptr_t)key * 0x9e3779b97f4a7c15u >> 32) & (h->cap - 1);
    while (h->key[i] && h->key[i] != key)
        i = (i + 1) & (h->cap - 1);
    return i;
}

int
rt_ptrs_find(const struct rt_ptrs *h, const void *key)
{
    int i = h->n > 0 ? ptr_place(h, key) : -1;
    return i < 0 || !h->key[i] ? -1 : h->value[i];
}

static void
grow_ptrs(struct rt_ptrs *h)
{
    struct rt_ptrs old = *h;
    h->cap = old.cap ? 2 * old.cap : 256;
    h->key = xcalloc((size_t)h->cap, sizeof(h->key[0]));
    h->value = xcalloc((size_t)h->cap, sizeof(h->value[0]));
    for (int i = 0; i < old.cap; i++) {
        if (!old.key[i])
            continue;
        int at = ptr_place(h, old.key[i]);
        h->key[at] = old.key[i];
        h->value[at] = old.value[i];
    }
    rt_ptrs_release(&old);
}

void
rt_ptrs_set(struct rt_ptrs *h, const void *key, int value)
{
    if (2 * (h->n + 1) > h->cap)
        grow_ptrs(h);
    int at = ptr_place(h, key);
    h->n += !h->key[at];
    h->key[at] = key;
    h->value[at] = value;
}
