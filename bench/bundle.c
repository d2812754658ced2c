/* SPDX-License-Identifier: Apache-2.0 */
/* Writes a checkpoint of float32 tensors with random values, for timing its readers.
 *
 * usage: bundle PREFIX TENSORS MB-EACH [PLACE SEED [HEAD-KB]]
 * With SEED tensor PLACE (from 0) has other values, and nothing else changes. HEAD-KB
 * adds one more tensor of that size, which is number TENSORS. */
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

/* Roughly normal: the sum of four uniform numbers, with all bits of the mantissa in
 * use, as trained weights have them. */
static float
next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    uint64_t v = *state;
    float sum =
        (float)((v & 0xffff) + (v >> 16 & 0xffff) + (v >> 32 & 0xffff) + (v >> 48));
    return (sum / 65536.0f - 2.0f) * 0.0346410f;
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

struct wanted {
    const char *prefix;
    int n, place;
    size_t n_floats, head_floats; /* of a tensor; of the last one, 0: there is none */
    uint64_t seed;
};

static int
make(const struct wanted *w, struct err *err)
{
    const char *prefix = w->prefix;
    int n = w->n + (w->head_floats > 0);
    char *index AUTO(free_ptr) = xasprintf("%s.index", prefix);
    char *shard AUTO(free_ptr) = xasprintf("%s.data-00000-of-00001", prefix);
    struct buf file = BUF_INIT, block = BUF_INIT, value = BUF_INIT, part = BUF_INIT;
    struct buf dim = BUF_INIT, handle = BUF_INIT, footer = BUF_INIT;
    uint64_t at = 0;
    int fd AUTO(fs_close) = -1;
    if (fs_open(&fd, AT_FDCWD, shard, O_WRONLY | O_CREAT | O_TRUNC, 0644, err) < 0)
        return -(int)err->code;
    number(&value, 1, 1); /* shards */
    put(&block, "", &value);
    for (int i = 0; i < n; i++) {
        char key[32];
        uint32_t crc;
        size_t n_floats = i < w->n ? w->n_floats : w->head_floats;
        uint64_t state = 88172645463325252u + (uint64_t)i * 0x9e3779b97f4a7c15u;
        if (i == w->place)
            state ^= w->seed * 0xff51afd7ed558ccdu;
        if (write_tensor(fd, n_floats, &state, &crc, err) < 0)
            return -(int)err->code;
        crc = crc32c_mask(crc);
        number(&value, 1, FLOAT);
        number(&dim, 1, n_floats);
        bytes(&part, 2, &dim);
        bytes(&value, 2, &part);
        number(&value, 4, at);
        at += n_floats * sizeof(float);
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

static long
number_of(int argc, char **argv, int i, long fallback)
{
    return i < argc ? strtol(argv[i], NULL, 10) : fallback;
}

int
main(int argc, char **argv)
{
    struct err err = ERR_INIT;
    long n = number_of(argc, argv, 2, 0), mb = number_of(argc, argv, 3, 0);
    long place = number_of(argc, argv, 4, -1), seed = number_of(argc, argv, 5, 0);
    long head_kb = number_of(argc, argv, 6, 0);
    if (argc == 5 || argc > 7 || n < 1 || n > 9999 || mb < 1 || mb > 100000 ||
        place < -1 || place > n || head_kb < 0 || head_kb > 1000000) {
        fputs("usage: bundle PREFIX TENSORS MB-EACH [PLACE SEED [HEAD-KB]]\n", stderr);
        return 2;
    }
    struct wanted w = { .prefix = argv[1],
                        .n = (int)n,
                        .place = (int)place,
                        .n_floats = (size_t)mb * 250000,
                        .head_floats = (size_t)head_kb * 256,
                        .seed = (uint64_t)seed };
    if (make(&w, &err) < 0) {
        fprintf(stderr, "bundle: %s\n", err.msg);
        return 1;
    }
    return 0;
}
