/* SPDX-License-Identifier: Apache-2.0 */
/* Writes a checkpoint of float32 tensors with random values, for timing its readers.
 * usage: bundle PREFIX TENSORS MB-EACH */
#include "base/crypto.h"
#include "base/fs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FLOAT = 1, CHUNK_FLOATS = 1 << 18 };

static void
varint(struct buf *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_addc(b, (char)(v | 0x80));
    buf_addc(b, (char)v);
}

static void
bytes(struct buf *b, int field, const struct buf *v)
{
    varint(b, (uint64_t)field << 3 | 2);
    varint(b, v->len);
    buf_add(b, v->data, v->len);
}

static void
number(struct buf *b, int field, uint64_t v)
{
    varint(b, (uint64_t)field << 3);
    varint(b, v);
}

/* One key of a table's block, written without regard to the key before it. */
static void
put(struct buf *block, const char *key, struct buf *value)
{
    varint(block, 0);
    varint(block, strlen(key));
    varint(block, value->len);
    buf_adds(block, key);
    buf_add(block, value->data, value->len);
    buf_clear(value);
}

/* Ends a block and says in `handle` where in the file it lies. */
static void
end_block(struct buf *file, struct buf *block, struct buf *handle)
{
    static const uint32_t restarts[2] = { 0, 1 };
    buf_add(block, restarts, sizeof restarts);
    varint(handle, file->len);
    varint(handle, block->len);
    buf_addc(block, 0); /* not compressed */
    uint32_t crc = crc32c_mask(crc32c(0, block->data, block->len));
    buf_add(file, block->data, block->len);
    buf_add(file, &crc, sizeof crc);
    buf_clear(block);
}

/* Roughly normal: the sum of four uniform numbers. */
static float
next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    uint64_t v = *state;
    return (float)((v & 0xffff) + (v >> 16 & 0xffff) + (v >> 32 & 0xffff) + (v >> 48)) /
               65536.0f -
           2.0f;
}

static int
write_tensor(int fd, size_t n_floats, uint64_t *state, uint32_t *crc, struct err *err)
{
    float *v AUTO(free_ptr) = xmalloc(CHUNK_FLOATS * sizeof *v);
    for (*crc = 0; n_floats > 0;) {
        size_t n = n_floats < CHUNK_FLOATS ? n_floats : CHUNK_FLOATS;
        for (size_t i = 0; i < n; i++)
            v[i] = next(state);
        *crc = crc32c(*crc, v, n * sizeof *v);
        if (fs_write_all(fd, v, n * sizeof *v, "the shard", err) < 0)
            return -(int)err->code;
        n_floats -= n;
    }
    return 0;
}

static int
make(const char *prefix, int n, size_t n_floats, struct err *err)
{
    char *index AUTO(free_ptr) = xasprintf("%s.index", prefix);
    char *shard AUTO(free_ptr) = xasprintf("%s.data-00000-of-00001", prefix);
    struct buf file = BUF_INIT, block = BUF_INIT, value = BUF_INIT, part = BUF_INIT;
    struct buf dim = BUF_INIT, handle = BUF_INIT, footer = BUF_INIT;
    uint64_t state = 88172645463325252u;
    int fd AUTO(fs_close) = -1;
    if (fs_open(&fd, AT_FDCWD, shard, O_WRONLY | O_CREAT | O_TRUNC, 0644, err) < 0)
        return -(int)err->code;
    number(&value, 1, 1); /* shards */
    put(&block, "", &value);
    for (int i = 0; i < n; i++) {
        char key[32];
        uint32_t crc;
        if (write_tensor(fd, n_floats, &state, &crc, err) < 0)
            return -(int)err->code;
        crc = crc32c_mask(crc);
        number(&value, 1, FLOAT);
        number(&dim, 1, n_floats);
        bytes(&part, 2, &dim);
        bytes(&value, 2, &part);
        number(&value, 4, (uint64_t)i * n_floats * sizeof(float));
        number(&value, 5, n_floats * sizeof(float));
        varint(&value, 6 << 3 | 5);
        buf_add(&value, &crc, sizeof crc);
        snprintf(key, sizeof key, "tensor-%04d", i);
        put(&block, key, &value);
        buf_clear(&dim);
        buf_clear(&part);
    }
    end_block(&file, &block, &handle);
    end_block(&file, &block, &footer); /* the metaindex is empty */
    put(&block, "u", &handle);
    end_block(&file, &block, &footer);
    while (footer.len < 40)
        buf_addc(&footer, 0);
    buf_add(&footer, "\x57\xfb\x80\x8b\x24\x75\x47\xdb", 8);
    buf_add(&file, footer.data, footer.len);
    return fs_replace(AT_FDCWD, index, file.data, file.len, 0644, err);
}

int
main(int argc, char **argv)
{
    struct err err = ERR_INIT;
    long n = argc == 4 ? strtol(argv[2], NULL, 10) : 0;
    long mb = argc == 4 ? strtol(argv[3], NULL, 10) : 0;
    if (n < 1 || n > 9999 || mb < 1 || mb > 100000) {
        fputs("usage: bundle PREFIX TENSORS MB-EACH\n", stderr);
        return 2;
    }
    if (make(argv[1], (int)n, (size_t)mb * 250000, &err) < 0) {
        fprintf(stderr, "bundle: %s\n", err.msg);
        return 1;
    }
    return 0;
}
