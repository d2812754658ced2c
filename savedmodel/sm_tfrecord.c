/* SPDX-License-Identifier: Apache-2.0 */
/* TFRecord: byte strings one behind the other, nothing before, between or after.
 *
 *   uint64 length (little-endian), uint32 masked CRC-32C of these 8 bytes,
 *   data, uint32 masked CRC-32C of the data
 * The whole file may be packed by gzip or zlib. A file that is neither packed nor
 * begins with a length whose checksum is right is no TFRecord file. */
#include "savedmodel/sm_int.h"

#include "base/crypto.h"

#include <stdlib.h>
#include <zlib.h>

#define HEAD_BYTES 12
#define UNPACKED_MAX_BYTES ((size_t)1 << 30)

static uint32_t
masked(const char *p, size_t n)
{
    return crc32c_mask(crc32c(0, p, n));
}

static bool
is_plain(struct str file)
{
    return file.n >= HEAD_BYTES && sm_le32(file.p + 8) == masked(file.p, 8);
}

/* gzip's magic, or a zlib header with its check bits. */
static bool
is_packed(struct str file)
{
    if (file.n < 8)
        return false;
    uint32_t a = (uint8_t)file.p[0], b = (uint8_t)file.p[1];
    return (a == 0x1f && b == 0x8b) || ((a & 15) == 8 && (a * 256 + b) % 31 == 0);
}

bool
sm_is_tfrecord(struct str file)
{
    struct str packed = file;
    char head[HEAD_BYTES];
    z_stream z = { .zalloc = Z_NULL };
    if (is_plain(file))
        return true;
    if (!is_packed(packed) || inflateInit2(&z, 32 + 15) != Z_OK)
        return false;
    z.next_in = (Bytef *)(uintptr_t)file.p;
    z.avail_in = (uInt)(file.n < 1 << 20 ? file.n : 1 << 20);
    z.next_out = (Bytef *)head;
    z.avail_out = HEAD_BYTES;
    (void)inflate(&z, Z_SYNC_FLUSH);
    (void)inflateEnd(&z);
    return z.avail_out == 0 && is_plain((struct str){ head, HEAD_BYTES });
}

/* Streams that follow each other make one file, as gzip has it. */
static int
unpack(struct str file, struct buf *out, struct err *err)
{
    z_stream z = { .zalloc = Z_NULL };
    int r = Z_OK;
    if (inflateInit2(&z, 32 + 15) != Z_OK)
        return err_set(err, ERR_LIMIT, "no memory to unpack");
    while (r == Z_OK && !out->over) {
        size_t in = file.n < (size_t)1 << 30 ? file.n : (size_t)1 << 30;
        size_t n = 1 << 16;
        char *room = buf_room(out, n);
        if (!room)
            break;
        z.next_in = (Bytef *)(uintptr_t)file.p;
        z.avail_in = (uInt)in;
        z.next_out = (Bytef *)room;
        z.avail_out = (uInt)n;
        r = inflate(&z, Z_NO_FLUSH);
        file.p += in - z.avail_in;
        file.n -= in - z.avail_in;
        out->len += n - z.avail_out;
        if (r == Z_STREAM_END && file.n > 0)
            r = inflateReset2(&z, 32 + 15);
    }
    (void)inflateEnd(&z);
    if (out->over)
        return err_set(err, ERR_LIMIT, "more than %zu bytes unpacked",
                       UNPACKED_MAX_BYTES);
    return r == Z_STREAM_END ? 0
                             : err_set(err, ERR_CORRUPT,
                                       "the gzip or zlib data are damaged or cut off");
}

static int
record_next(struct str *it, struct str *out, struct err *err)
{
    struct str head, tail;
    if (!sm_take(it, HEAD_BYTES, &head))
        return err_set(err, ERR_CORRUPT, "cut off in its length");
    uint64_t n = sm_le64(head.p);
    if (sm_le32(head.p + 8) != masked(head.p, 8))
        return err_set(err, ERR_CORRUPT, "the checksum of its length is wrong");
    if (!sm_take(it, n, out) || !sm_take(it, 4, &tail))
        return err_set(err, ERR_CORRUPT, "cut off: %llu bytes are promised",
                       (unsigned long long)n);
    if (sm_le32(tail.p) != masked(out->p, out->n))
        return err_set(err, ERR_CORRUPT, "the checksum of its data is wrong");
    return 0;
}

int
sm_tfrecord_read(struct str file, const char *what, struct sm_records *out,
                 struct err *err)
{
    struct buf unpacked AUTO(buf_release) = { .cap_bytes = UNPACKED_MAX_BYTES };
    struct str it = file;
    size_t cap = 0;
    int rc = 0;
    *out = (struct sm_records){ .v = NULL };
    if (!is_plain(file) && is_packed(file)) {
        if (unpack(file, &unpacked, err) < 0)
            return err_ctx(err, "%s", what);
        it = (struct str){ buf_str(&unpacked), unpacked.len };
        out->unpacked = buf_take(&unpacked);
    }
    while (rc == 0 && it.n > 0) {
        if (out->n == cap) {
            cap = cap ? 2 * cap : 16;
            out->v = xreallocarray(out->v, cap, sizeof(*out->v));
        }
        rc = record_next(&it, &out->v[out->n], err);
        if (rc < 0)
            rc = err_ctx(err, "%s: record %zu", what, out->n);
        else
            out->n++;
    }
    if (rc < 0)
        sm_records_release(out);
    return rc;
}

void
sm_records_release(struct sm_records *r)
{
    free(r->v);
    free(r->unpacked);
    *r = (struct sm_records){ .v = NULL };
}
