/* SPDX-License-Identifier: Apache-2.0 */
/* FNV-1a of 64 bits, for tables in memory: fast on the short texts that are looked up
 * in them. It keeps nobody from choosing texts that collide. */
#ifndef BASE_FNV_H
#define BASE_FNV_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FNV_START UINT64_C(0xcbf29ce484222325)

static inline uint64_t
fnv_byte(uint64_t h, char c)
{
    return (h ^ (uint8_t)c) * UINT64_C(0x100000001b3);
}

static inline uint64_t
fnv_add(uint64_t h, const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = fnv_byte(h, ((const char *)p)[i]);
    return h;
}

/* With its NUL: so texts one after the other do not run together. */
static inline uint64_t
fnv_adds(uint64_t h, const char *s)
{
    return fnv_add(h, s, strlen(s) + 1);
}

#endif
