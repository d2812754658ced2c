/* SPDX-License-Identifier: Apache-2.0 */
/* What a database holds once SQLite has replayed its write-ahead log, told from the
 * bytes of both files: https://www.sqlite.org/fileformat2.html#the_write_ahead_log.
 * Most disk states differ only in frames that no commit follows. */
#include "tests/crash/crash.h"

#include <stdlib.h>
#include <string.h>

enum { HEADER = 32, FRAME_HEADER = 24 };

static uint32_t
big(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint32_t
word(const uint8_t *p, bool is_big)
{
    return is_big ? big(p)
                  : (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 |
                        p[0];
}

static void
add_sum(uint32_t sum[2], const uint8_t *p, size_t n, bool is_big)
{
    for (; n >= 8; p += 8, n -= 8) {
        sum[0] += word(p, is_big) + sum[1];
        sum[1] += word(p + 4, is_big) + sum[0];
    }
}

/* The frame is the next one of this log. */
static bool
takes_frame(const uint8_t *header, const uint8_t *frame, size_t page_bytes,
            uint32_t sum[2])
{
    const bool is_big = header[3] & 1;

    add_sum(sum, frame, 8, is_big);
    add_sum(sum, frame + FRAME_HEADER, page_bytes, is_big);
    return big(frame) != 0 && memcmp(frame + 8, header + 16, 8) == 0 &&
           big(frame + 16) == sum[0] && big(frame + 20) == sum[1];
}

uint64_t
wal_replayed_hash(const struct disk_node *base, const struct disk_node *wal)
{
    const uint8_t *h = wal->data, **pages = NULL;
    const size_t page_bytes = wal->n_bytes >= HEADER ? big(h + 8) : 0;
    size_t n_pages, n_after, end = HEADER;
    uint32_t sum[2] = { 0, 0 };
    uint64_t hash = 0;

    if (page_bytes < 512 || page_bytes > 65536 || (big(h) & ~1u) != 0x377f0682)
        return disk_hash_bytes(base->data, base->n_bytes);
    add_sum(sum, h, 24, h[3] & 1);
    if (big(h + 24) != sum[0] || big(h + 28) != sum[1])
        return disk_hash_bytes(base->data, base->n_bytes);

    n_after = base->n_bytes / page_bytes;
    for (size_t at = HEADER; at + FRAME_HEADER + page_bytes <= wal->n_bytes &&
                             takes_frame(h, h + at, page_bytes, sum);) {
        const uint32_t size = big(h + at + 4);

        at += FRAME_HEADER + page_bytes;
        if (size) { /* a commit */
            end = at;
            n_after = size;
        }
    }
    n_pages =
        n_after > base->n_bytes / page_bytes ? n_after : base->n_bytes / page_bytes;
    pages = xcalloc(n_pages + 1, sizeof(*pages));
    for (size_t i = 0; i < base->n_bytes / page_bytes; i++)
        pages[i] = base->data + i * page_bytes;
    for (size_t at = HEADER; at < end; at += FRAME_HEADER + page_bytes)
        if (big(h + at) <= n_pages)
            pages[big(h + at) - 1] = h + at + FRAME_HEADER;
    for (size_t i = 0; i < n_after && i < n_pages; i++)
        hash = (hash ^ (pages[i] ? disk_hash_bytes(pages[i], page_bytes) : 1)) *
               UINT64_C(0x9fb21c651e98df25);
    free(pages);
    return hash;
}
