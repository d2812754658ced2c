/* SPDX-License-Identifier: Apache-2.0 */
/* Sorted string table: the form of a checkpoint's index file.
 *
 *   file   = data block+, metaindex block, index block, footer
 *   footer = metaindex handle, index handle, zeros up to byte 40, magic (8 bytes)
 *   handle = varint offset, varint size (of the contents, without the trailer)
 *   block  = contents, trailer: compression byte (0 none, 1 snappy),
 *            masked CRC-32C of contents and that byte (4 bytes)
 *   contents (unpacked) = entry*, restart offset (4 bytes)*, number of restarts (4)
 *   entry  = varint shared, varint unshared, varint value length, key tail, value
 * The key is the first `shared` bytes of the key before it, then the tail. The index
 * block has one entry per data block, whose value is the handle.
 *
 * Checked: every block's checksum; blocks follow each other in the file (so that one
 * block cannot be listed twice); keys ascend strictly over the whole file. */
#include "savedmodel/sm_int.h"

#include "base/crypto.h"

#include <snappy-c.h>
#include <stdlib.h>

#define FOOTER_BYTES 48
#define TRAILER_BYTES 5
#define TABLE_MAGIC 0xdb4775248b80fb57ULL
#define KEYS_MAX_BYTES ((size_t)256 << 20)
#define KEYS_MAX (1 << 20)
#define SNAPPY_MAX_RATIO 32 /* three bytes make at most 64 */

struct handle {
    uint64_t offset;
    uint64_t size_bytes;
};

static bool
handle_parse(struct str *it, struct handle *h)
{
    return sm_varint(it, &h->offset) && sm_varint(it, &h->size_bytes);
}

/* The unpacked contents of a snappy block, owned by the table. */
static int
block_unpack(struct sm_table *t, struct str packed, uint64_t at, struct str *out,
             struct err *err)
{
    size_t n;
    if (snappy_uncompressed_length(packed.p, packed.n, &n) != SNAPPY_OK ||
        n / SNAPPY_MAX_RATIO > packed.n)
        return err_set(err, ERR_CORRUPT, "block at byte %llu: no snappy data",
                       (unsigned long long)at);
    char *p = malloc(n ? n : 1);
    if (!p)
        return err_set(err, ERR_LIMIT, "no memory for a block of %zu bytes", n);
    if (snappy_uncompress(packed.p, packed.n, p, &n) != SNAPPY_OK) {
        free(p);
        return err_set(err, ERR_CORRUPT, "block at byte %llu: damaged snappy data",
                       (unsigned long long)at);
    }
    t->blocks = xreallocarray(t->blocks, (size_t)t->n_blocks + 1, sizeof(*t->blocks));
    t->blocks[t->n_blocks++] = p;
    *out = (struct str){ p, n };
    return 0;
}

/* Checks and unpacks the block, and cuts its restart array off. */
static int
block_open(struct sm_table *t, struct handle h, struct str *out, struct err *err)
{
    struct str file = t->file.bytes;
    size_t limit = file.n - FOOTER_BYTES;
    unsigned long long at = h.offset;
    if (h.offset > limit || h.size_bytes > limit - h.offset ||
        limit - h.offset - h.size_bytes < TRAILER_BYTES)
        return err_set(err, ERR_CORRUPT,
                       "block of %llu bytes at byte %llu does not fit into the file's "
                       "%zu bytes",
                       (unsigned long long)h.size_bytes, at, file.n);
    struct str b = { file.p + h.offset, (size_t)h.size_bytes };
    uint32_t crc = crc32c_mask(crc32c(0, b.p, b.n + 1));
    if (crc != sm_le32(b.p + b.n + 1))
        return err_set(err, ERR_CORRUPT, "checksum of the block at byte %llu is wrong",
                       at);
    int rc = 0;
    if (b.p[b.n] == 1)
        rc = block_unpack(t, b, h.offset, &b, err);
    else if (b.p[b.n] != 0)
        rc = err_set(err, ERR_CORRUPT, "block at byte %llu has unknown compression %d",
                     at, (uint8_t)b.p[b.n]);
    if (rc < 0)
        return rc;
    size_t n_restarts = b.n < 4 ? 0 : sm_le32(b.p + b.n - 4);
    if (b.n < 4 || n_restarts > (b.n - 4) / 4)
        return err_set(err, ERR_CORRUPT, "block at byte %llu has no restart array", at);
    *out = (struct str){ b.p, b.n - 4 - 4 * n_restarts };
    return 0;
}

/* One entry; `key` holds the key before it and gets the new one. */
static bool
entry_next(struct str *it, struct buf *key, struct str *value)
{
    uint32_t shared, unshared, len;
    struct str tail;
    if (!sm_varint32(it, &shared) || !sm_varint32(it, &unshared) ||
        !sm_varint32(it, &len) || shared > key->len || !sm_take(it, unshared, &tail) ||
        !sm_take(it, len, value))
        return false;
    key->len = shared;
    buf_add(key, tail.p, tail.n);
    return !key->over;
}

static int
kv_add(struct sm_table *t, struct str key, struct str value, struct err *err)
{
    if (t->n_kv > 0 && str_cmp(t->kv[t->n_kv - 1].key, key) >= 0)
        return err_set(err, ERR_CORRUPT, "key '%.*s' is out of order", STR_ARG(key));
    t->key_bytes += key.n;
    if (t->n_kv == KEYS_MAX || t->key_bytes > KEYS_MAX_BYTES)
        return err_set(err, ERR_LIMIT, "more than %d keys or %zu bytes of them",
                       KEYS_MAX, KEYS_MAX_BYTES);
    if (t->n_kv == t->cap_kv) {
        t->cap_kv = t->cap_kv ? 2 * t->cap_kv : 64;
        t->kv = xreallocarray(t->kv, t->cap_kv, sizeof(*t->kv));
    }
    char *own = xmalloc(key.n + 1);
    memcpy(own, key.p, key.n);
    t->kv[t->n_kv++] = (struct sm_kv){ { own, key.n }, value };
    return 0;
}

static int
data_block(struct sm_table *t, struct handle h, struct err *err)
{
    struct buf key AUTO(buf_release) = { .cap_bytes = KEYS_MAX_BYTES };
    struct str it, value;
    int rc = block_open(t, h, &it, err);
    while (rc >= 0 && it.n > 0) {
        if (!entry_next(&it, &key, &value))
            return err_set(err, ERR_CORRUPT,
                           "malformed entry in the block at byte %llu",
                           (unsigned long long)h.offset);
        rc = kv_add(t, (struct str){ buf_str(&key), key.len }, value, err);
    }
    return rc;
}

bool
sm_table_magic(struct str file)
{
    return file.n >= FOOTER_BYTES && sm_le64(file.p + file.n - 8) == TABLE_MAGIC;
}

static int
table_read(struct sm_table *t, struct err *err)
{
    struct str file = t->file.bytes;
    if (file.n < FOOTER_BYTES)
        return err_set(err, ERR_CORRUPT, "cut off: %zu bytes", file.n);
    struct str footer = { file.p + file.n - FOOTER_BYTES, FOOTER_BYTES };
    if (!sm_table_magic(file))
        return err_set(
            err, ERR_CORRUPT,
            "no checkpoint index, or cut off: the last 8 of %zu bytes are not "
            "a table's",
            file.n);
    struct handle meta, index, h;
    struct str it, value;
    if (!handle_parse(&footer, &meta) || !handle_parse(&footer, &index))
        return err_set(err, ERR_CORRUPT, "malformed footer");
    int rc = block_open(t, index, &it, err);
    if (rc < 0)
        return err_ctx(err, "index block");
    struct buf key AUTO(buf_release) = { .cap_bytes = KEYS_MAX_BYTES };
    uint64_t end = 0;
    while (it.n > 0) {
        if (!entry_next(&it, &key, &value) || !handle_parse(&value, &h) ||
            h.offset < end)
            return err_set(err, ERR_CORRUPT, "malformed entry in the index block");
        rc = data_block(t, h, err);
        if (rc < 0)
            return rc;
        end = h.offset + h.size_bytes;
    }
    return 0;
}

int
sm_table_open(struct sm_table *t, int dirfd, const char *path, struct err *err)
{
    *t = (struct sm_table){ .kv = NULL };
    int rc = sm_file_open(&t->file, dirfd, path, err);
    if (rc < 0)
        return rc;
    rc = table_read(t, err);
    if (rc < 0) {
        sm_table_release(t);
        return err_ctx(err, "%s", path);
    }
    return 0;
}

void
sm_table_release(struct sm_table *t)
{
    for (int i = 0; i < t->n_blocks; i++)
        free(t->blocks[i]);
    free(t->blocks);
    for (size_t i = 0; i < t->n_kv; i++)
        free((char *)(uintptr_t)t->kv[i].key.p);
    free(t->kv);
    sm_file_release(&t->file);
    *t = (struct sm_table){ .kv = NULL };
}
