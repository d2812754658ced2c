/* SPDX-License-Identifier: Apache-2.0 */
/* Riegeli/records, the container of a chunked model.
 *
 *   file   = chunk*, cut by a block header of 24 bytes at each multiple of 65536, also
 *            inside a chunk; readers skip it
 *   chunk  = header (40 bytes), data, padding
 *   header = hash of the next 32 bytes, data size, hash of the data (8 bytes each),
 *            type (1), number of records (7), decoded size (8)
 *   end of a chunk that begins at b = the larger of
 *            b + 40 + data size + the block headers on the way, and
 *            b + number of records, moved on to where a chunk may begin
 *   types: 's' signature (the first), 'm' metadata, 'p' padding, 'r' records,
 *          't' records in columns, which TensorFlow does not write
 *   'r'    = compression (0 none, 'b' brotli, 'z' zstd, 's' snappy), varint length of
 *            the packed sizes, packed sizes, packed values
 *   packed = varint unpacked length and the compressed bytes; plain bytes for 0
 *   sizes  = a varint a record; values = the records one after the other
 * A record's position is where its chunk begins plus its number in it. Hashes are
 * HighwayHash-64 with a fixed key, and are checked. */
#include "savedmodel/sm_int.h"

#include <brotli/decode.h>
#include <snappy-c.h>
#include <stdlib.h>
#include <zstd.h>

#define BLOCK_BYTES 65536u
#define BLOCK_HEADER_BYTES 24u
#define BLOCK_USABLE_BYTES (BLOCK_BYTES - BLOCK_HEADER_BYTES)
#define CHUNK_HEADER_BYTES 40u
#define RECORDS_MAX (1 << 20)
/* Unpacked bytes of a whole file; a small file may not stand for gigabytes. */
#define UNPACKED_MAX_BYTES ((uint64_t)16 << 30)
#define UNPACKED_FREE_BYTES ((uint64_t)64 << 20)
#define UNPACKED_MAX_RATIO 65536

/* ---- HighwayHash-64 ----------------------------------------------------------------
 */

struct highway {
    uint64_t v0[4], v1[4], mul0[4], mul1[4];
};

static uint64_t
turn32(uint64_t v)
{
    return v >> 32 | v << 32;
}

/* Bytes of the pair (lo, hi) in another order, added to another pair. */
static void
zipper_add(uint64_t hi, uint64_t lo, uint64_t *add_hi, uint64_t *add_lo)
{
    *add_lo += (((lo & 0xff000000) | (hi & 0xff00000000)) >> 24) |
               (((lo & 0xff0000000000) | (hi & 0xff000000000000)) >> 16) |
               (lo & 0xff0000) | ((lo & 0xff00) << 32) |
               ((hi & 0xff00000000000000) >> 8) | (lo << 56);
    *add_hi += (((hi & 0xff000000) | (lo & 0xff00000000)) >> 24) | (hi & 0xff0000) |
               ((hi & 0xff0000000000) >> 16) | ((hi & 0xff00) << 24) |
               ((lo & 0xff000000000000) >> 8) | ((hi & 0xff) << 48) |
               (lo & 0xff00000000000000);
}

static void
highway_mix(struct highway *h, const uint64_t lanes[4])
{
    for (int i = 0; i < 4; i++) {
        h->v1[i] += h->mul0[i] + lanes[i];
        h->mul0[i] ^= (h->v1[i] & 0xffffffff) * (h->v0[i] >> 32);
        h->v0[i] += h->mul1[i];
        h->mul1[i] ^= (h->v0[i] & 0xffffffff) * (h->v1[i] >> 32);
    }
    for (int i = 0; i < 4; i += 2)
        zipper_add(h->v1[i + 1], h->v1[i], &h->v0[i + 1], &h->v0[i]);
    for (int i = 0; i < 4; i += 2)
        zipper_add(h->v0[i + 1], h->v0[i], &h->v1[i + 1], &h->v1[i]);
}

/* The last n < 32 bytes. */
static void
highway_rest(struct highway *h, const char *p, uint32_t n)
{
    char packet[32] = { 0 };
    uint64_t lanes[4];
    uint32_t whole = n & ~3u, odd = n & 3;
    for (int i = 0; i < 4; i++) {
        uint32_t lo = (uint32_t)h->v1[i], hi = (uint32_t)(h->v1[i] >> 32);
        h->v0[i] += ((uint64_t)n << 32) + n;
        lo = lo << n | lo >> (32 - n);
        hi = hi << n | hi >> (32 - n);
        h->v1[i] = (uint64_t)hi << 32 | lo;
    }
    memcpy(packet, p, whole);
    if (n & 16) {
        memcpy(packet + 28, p + n - 4, 4);
    } else if (odd) {
        packet[16] = p[whole];
        packet[17] = p[whole + (odd >> 1)];
        packet[18] = p[whole + odd - 1];
    }
    memcpy(lanes, packet, sizeof(lanes));
    highway_mix(h, lanes);
}

uint64_t
sm_riegeli_hash(struct str s)
{
    static const uint64_t key[4] = { 0x2f696c6567656952, 0x0a7364726f636572,
                                     0x2f696c6567656952, 0x0a7364726f636572 };
    struct highway h = { .mul0 = { 0xdbe6d5d5fe4cce2f, 0xa4093822299f31d0,
                                   0x13198a2e03707344, 0x243f6a8885a308d3 },
                         .mul1 = { 0x3bd39e10cb0ef593, 0xc0acf169b5f18a8c,
                                   0xbe5466cf34e90c6c, 0x452821e638d01377 } };
    uint64_t lanes[4];
    for (int i = 0; i < 4; i++) {
        h.v0[i] = h.mul0[i] ^ key[i];
        h.v1[i] = h.mul1[i] ^ turn32(key[i]);
    }
    for (; s.n >= 32; s.p += 32, s.n -= 32) {
        memcpy(lanes, s.p, sizeof(lanes));
        highway_mix(&h, lanes);
    }
    if (s.n > 0)
        highway_rest(&h, s.p, (uint32_t)s.n);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 4; i++)
            lanes[i] = turn32(h.v0[i ^ 2]);
        highway_mix(&h, lanes);
    }
    return h.v0[0] + h.v1[0] + h.mul0[0] + h.mul1[0];
}

/* ---- chunks ------------------------------------------------------------------------
 */

struct chunk {
    uint64_t begin, end;
    uint64_t data_bytes, data_hash, n_records, decoded_bytes;
    char type;
};

/* n bytes of a chunk that lie at *at, without the block headers between them. */
static bool
take_bytes(struct str file, uint64_t *at, char *to, uint64_t n)
{
    while (n > 0) {
        if (*at % BLOCK_BYTES == 0)
            *at += BLOCK_HEADER_BYTES;
        uint64_t part = BLOCK_BYTES - *at % BLOCK_BYTES;
        part = part < n ? part : n;
        if (*at > file.n || part > file.n - *at)
            return false;
        memcpy(to, file.p + *at, (size_t)part);
        to += part;
        *at += part;
        n -= part;
    }
    return true;
}

static uint64_t
chunk_end(const struct chunk *c)
{
    uint64_t n = CHUNK_HEADER_BYTES + c->data_bytes;
    uint64_t before = (c->begin + BLOCK_USABLE_BYTES - 1) % BLOCK_BYTES;
    uint64_t by_size =
        c->begin + n + BLOCK_HEADER_BYTES * ((n + before) / BLOCK_USABLE_BYTES);
    uint64_t p = c->begin + c->n_records;
    uint64_t left = BLOCK_BYTES - 1 - (p + BLOCK_BYTES - 1) % BLOCK_BYTES;
    uint64_t by_records =
        p + (left > BLOCK_USABLE_BYTES - 1 ? left - (BLOCK_USABLE_BYTES - 1) : 0);
    return by_size > by_records ? by_size : by_records;
}

/* The chunk that begins at `at`; *data is the caller's to free. */
static int
chunk_read(struct str file, uint64_t at, struct chunk *c, char **data, struct err *err)
{
    char h[CHUNK_HEADER_BYTES];
    unsigned long long begin = at;
    *data = NULL;
    *c = (struct chunk){ .begin = at };
    if (!take_bytes(file, &at, h, sizeof(h)))
        return err_set(err, ERR_CORRUPT, "cut off at byte %zu", file.n);
    if (sm_riegeli_hash((struct str){ h + 8, sizeof(h) - 8 }) != sm_le64(h))
        return err_set(err, ERR_CORRUPT,
                       "no chunk, or a damaged one, at byte %llu: wrong checksum",
                       begin);
    c->data_bytes = sm_le64(h + 8);
    c->data_hash = sm_le64(h + 16);
    c->type = h[24];
    c->n_records = sm_le64(h + 24) >> 8;
    c->decoded_bytes = sm_le64(h + 32);
    if (c->data_bytes > file.n)
        return err_set(err, ERR_CORRUPT,
                       "cut off: the chunk at byte %llu has %llu "
                       "bytes, the file %zu",
                       begin, (unsigned long long)c->data_bytes, file.n);
    *data = malloc(c->data_bytes ? (size_t)c->data_bytes : 1);
    if (!*data)
        return err_set(err, ERR_LIMIT, "no memory for a chunk of %llu bytes",
                       (unsigned long long)c->data_bytes);
    if (!take_bytes(file, &at, *data, c->data_bytes))
        return err_set(err, ERR_CORRUPT, "cut off at byte %zu", file.n);
    if (sm_riegeli_hash((struct str){ *data, (size_t)c->data_bytes }) != c->data_hash)
        return err_set(err, ERR_CORRUPT,
                       "the data of the chunk at byte %llu are damaged: wrong checksum",
                       begin);
    c->end = chunk_end(c);
    return 0;
}

/* ---- records -----------------------------------------------------------------------
 */

static bool
unpack_to(char compression, struct str packed, char *to, size_t n)
{
    size_t got = n;
    switch (compression) {
    case 'b':
        return BrotliDecoderDecompress(packed.n, (const uint8_t *)packed.p, &got,
                                       (uint8_t *)to) ==
                   BROTLI_DECODER_RESULT_SUCCESS &&
               got == n;
    case 'z':
        return ZSTD_decompress(to, n, packed.p, packed.n) == n;
    default:
        return snappy_uncompress(packed.p, packed.n, to, &got) == SNAPPY_OK && got == n;
    }
}

/* Unpacks into a block that the file owns. */
static int
unpack(struct sm_riegeli *r, char compression, struct str packed, struct str *out,
       struct err *err)
{
    uint64_t n = packed.n;
    if (compression && !sm_varint(&packed, &n))
        return err_set(err, ERR_CORRUPT, "malformed length of packed bytes");
    if (compression && compression != 'b' && compression != 'z' && compression != 's')
        return err_set(err, ERR_UNSUPPORTED, "unknown compression %d", compression);
    if (n > r->unpacked_left)
        return err_set(err, ERR_LIMIT, "its records unpack to more than %llu bytes",
                       (unsigned long long)r->unpacked_max);
    r->unpacked_left -= n;
    char *p = malloc(n ? (size_t)n : 1);
    if (!p)
        return err_set(err, ERR_LIMIT, "no memory for %llu unpacked bytes",
                       (unsigned long long)n);
    r->blocks = xreallocarray(r->blocks, r->n_blocks + 1, sizeof(*r->blocks));
    r->blocks[r->n_blocks++] = p;
    if (compression == 0 && n)
        memcpy(p, packed.p, (size_t)n);
    else if (compression && !unpack_to(compression, packed, p, (size_t)n))
        return err_set(err, ERR_CORRUPT, "damaged compressed data");
    *out = (struct str){ p, (size_t)n };
    return 0;
}

static int
records_add(struct sm_riegeli *r, const struct chunk *c, struct str data,
            struct err *err)
{
    struct str head, packed, sizes, values;
    uint64_t n;
    if (!sm_take(&data, 1, &head) || !sm_varint(&data, &n) ||
        !sm_take(&data, n, &packed))
        return err_set(err, ERR_CORRUPT, "malformed records");
    int rc = unpack(r, head.p[0], packed, &sizes, err);
    if (rc == 0)
        rc = unpack(r, head.p[0], data, &values, err);
    if (rc < 0)
        return rc;
    if (c->n_records > RECORDS_MAX - r->n)
        return err_set(err, ERR_LIMIT, "more than %d records", RECORDS_MAX);
    if (c->n_records > sizes.n)
        return err_set(err, ERR_CORRUPT, "%zu bytes for the sizes of %llu records",
                       sizes.n, (unsigned long long)c->n_records);
    r->v = xreallocarray(r->v, r->n + c->n_records + 1, sizeof(*r->v));
    for (uint64_t i = 0; i < c->n_records; i++) {
        struct sm_record *rec = &r->v[r->n];
        rec->position = c->begin + i;
        if (!sm_varint(&sizes, &n) || !sm_take(&values, n, &rec->bytes))
            return err_set(err, ERR_CORRUPT, "record %llu does not fit into its chunk",
                           (unsigned long long)i);
        r->n++;
    }
    if (sizes.n > 0 || values.n > 0)
        return err_set(err, ERR_CORRUPT, "bytes behind the last record of a chunk");
    return 0;
}

static int
chunk_add(struct sm_riegeli *r, const struct chunk *c, const char *data,
          struct err *err)
{
    switch (c->type) {
    case 's':
    case 'm':
    case 'p':
        return 0;
    case 'r':
        return records_add(r, c, (struct str){ data, (size_t)c->data_bytes }, err);
    case 't':
        return err_set(err, ERR_UNSUPPORTED,
                       "records in columns (transposed), which no SavedModel has");
    default:
        return err_set(err, ERR_UNSUPPORTED, "unknown type %d", c->type);
    }
}

static int
file_read(struct sm_riegeli *r, struct str file, struct err *err)
{
    struct chunk c;
    for (uint64_t at = 0; at < file.n; at = c.end) {
        char *data AUTO(free_ptr) = NULL;
        int rc = chunk_read(file, at, &c, &data, err);
        if (rc < 0)
            return rc;
        if (at == 0 && c.type != 's')
            return err_set(err, ERR_CORRUPT,
                           "no Riegeli file: it does not begin with "
                           "its signature");
        if (chunk_add(r, &c, data, err) < 0)
            return err_ctx(err, "chunk at byte %llu", (unsigned long long)at);
    }
    return 0;
}

int
sm_riegeli_read(struct sm_riegeli *r, struct str file, struct err *err)
{
    uint64_t most;
    *r = (struct sm_riegeli){ .v = NULL };
    if (__builtin_mul_overflow((uint64_t)file.n, UNPACKED_MAX_RATIO, &most) ||
        most > UNPACKED_MAX_BYTES - UNPACKED_FREE_BYTES)
        most = UNPACKED_MAX_BYTES - UNPACKED_FREE_BYTES;
    r->unpacked_left = r->unpacked_max = most + UNPACKED_FREE_BYTES;
    int rc = file.n == 0 ? err_set(err, ERR_CORRUPT, "an empty file")
                         : file_read(r, file, err);
    if (rc < 0)
        sm_riegeli_release(r);
    return rc;
}

void
sm_riegeli_release(struct sm_riegeli *r)
{
    for (size_t i = 0; i < r->n_blocks; i++)
        free(r->blocks[i]);
    free(r->blocks);
    free(r->v);
    *r = (struct sm_riegeli){ .v = NULL };
}

static int
position_cmp(const void *key, const void *rec)
{
    uint64_t a = *(const uint64_t *)key, b = ((const struct sm_record *)rec)->position;
    return (a > b) - (a < b);
}

const struct sm_record *
sm_riegeli_find(const struct sm_riegeli *r, uint64_t position)
{
    return r->n == 0 ? NULL
                     : bsearch(&position, r->v, r->n, sizeof(*r->v), position_cmp);
}
