/* SPDX-License-Identifier: Apache-2.0 */
/* A delta with foreign bytes, of an object 1111…, above a base that is there: it is
 * refused, or every byte of its object can be read, in any order and the same each
 * time. (Its table's checksum is put right first, or nothing behind it would be
 * reached.) */
#include "repo/cold_int.h"
#include "tests/fuzz/scratch.h"

#include <string.h>

/* The base that the corpus names: 10,000 bytes, each its place's low byte. */
enum { BASE_BYTES = 10000, SIZE_MAX_BYTES = 1 << 22, END_BYTES = 120 };

static void
read_all(struct cold_reader *rd)
{
    char *p AUTO(free_ptr) = xmalloc((size_t)rd->size_bytes + 1);
    char piece[64];
    struct err err = ERR_INIT;
    int r = cold_read(rd, 0, p, (size_t)rd->size_bytes, &err);
    struct digest d;

    if (r < 0) {
        if (err.code != ERR_CORRUPT)
            BUG("%s", err.msg);
        return;
    }
    for (int64_t at = rd->size_bytes - 1; at >= 0; at -= 1 + rd->size_bytes / 50) {
        const int64_t left = rd->size_bytes - at;
        const size_t n = (size_t)(left < 64 ? left : 64);

        if (cold_read(rd, at, piece, n, &err) < 0 || memcmp(piece, p + at, n) != 0)
            BUG("other bytes at %lld", (long long)at);
    }
    sha256_of(p, (size_t)rd->size_bytes, &d);
    if (cold_reader_all(rd, -1, &d, &err) < 0)
        BUG("%s", err.msg);
}

/* Gives the table the checksum that lets a reader look at it. */
static void
sign(uint8_t *p, size_t n)
{
    uint64_t table_at;
    struct digest d;

    if (n < END_BYTES)
        return;
    memcpy(&table_at, p + n - END_BYTES, sizeof(table_at));
    if (table_at > n - END_BYTES)
        return;
    sha256_of(p + table_at, n - 32 - table_at, &d);
    memcpy(p + n - 32, d.b, sizeof(d.b));
}

static void
put_at(struct scratch *s, const char *folder, const struct digest *d, const void *p,
       size_t n)
{
    char path[COLD_PATH_BYTES], *slash;
    struct err err = ERR_INIT;

    cold_path(folder, d, path);
    slash = strrchr(path, '/');
    *slash = '\0';
    if (fs_mkdirs(s->fd, path, 0700, &err) < 0)
        BUG("%s", err.msg);
    *slash = '/';
    scratch_put(s, path, p, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct cold_reader rd AUTO(cold_reader_close) = COLD_READER_INIT;
    uint8_t *bytes AUTO(free_ptr) = xmalloc(n + 1);
    struct scratch s;
    struct digest d, itself;
    struct err err = ERR_INIT;
    char base[BASE_BYTES];
    int r;

    memcpy(bytes, data, n);
    sign(bytes, n);
    for (int i = 0; i < BASE_BYTES; i++)
        base[i] = (char)i;
    sha256_of(base, sizeof(base), &d);
    memset(&itself, 0x11, sizeof(itself));
    scratch_open(&s);
    put_at(&s, "objects", &d, base, sizeof(base));
    put_at(&s, "cold", &itself, bytes, n); /* it may name itself as its base */
    r = cold_open_named(&rd, s.fd, &itself, &err);
    if (r < 0 && err.code != ERR_CORRUPT)
        BUG("%s", err.msg);
    if (r == 0 && rd.size_bytes <= SIZE_MAX_BYTES)
        read_all(&rd);
    scratch_close(&s);
    return 0;
}
