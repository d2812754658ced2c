/* SPDX-License-Identifier: Apache-2.0 */
/* Small writers of the formats under test, independent of the readers. */
#ifndef TESTS_UNIT_SAVEDMODEL_BUILD_H
#define TESTS_UNIT_SAVEDMODEL_BUILD_H

#include "base/crypto.h"
#include "base/fs.h"
#include "savedmodel/savedmodel.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

static inline struct str
str_buf(const struct buf *b)
{
    return (struct str){ buf_str(b), b->len };
}

/* Bytes from hexadecimal text; blanks are skipped. */
static inline void
add_hex(struct buf *b, const char *hex)
{
    for (; *hex; hex++) {
        unsigned v;
        if (*hex == ' ')
            continue;
        if (sscanf(hex, "%2x", &v) == 1)
            buf_addc(b, (char)v);
        hex++;
    }
}

static inline void
add_varint(struct buf *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_addc(b, (char)(v | 0x80));
    buf_addc(b, (char)v);
}

static inline void
pb_int(struct buf *b, uint32_t num, int64_t v)
{
    add_varint(b, num << 3);
    add_varint(b, (uint64_t)v);
}

static inline void
pb_fixed32(struct buf *b, uint32_t num, uint32_t v)
{
    add_varint(b, num << 3 | 5);
    buf_add(b, &v, sizeof(v));
}

static inline void
pb_fixed64(struct buf *b, uint32_t num, uint64_t v)
{
    add_varint(b, num << 3 | 1);
    buf_add(b, &v, sizeof(v));
}

static inline void
pb_float(struct buf *b, uint32_t num, float f)
{
    uint32_t v;
    memcpy(&v, &f, sizeof(v));
    pb_fixed32(b, num, v);
}

static inline void
pb_bytes(struct buf *b, uint32_t num, const void *p, size_t n)
{
    add_varint(b, num << 3 | 2);
    add_varint(b, n);
    buf_add(b, p, n);
}

static inline void
pb_text(struct buf *b, uint32_t num, const char *s)
{
    pb_bytes(b, num, s, strlen(s));
}

/* Takes the message over: `msg` is empty afterwards. */
static inline void
pb_msg(struct buf *b, uint32_t num, struct buf *msg)
{
    pb_bytes(b, num, buf_str(msg), msg->len);
    buf_release(msg);
}

/* A map entry { 1 key, 2 message }; `msg` is empty afterwards. */
static inline void
pb_entry(struct buf *b, uint32_t num, const char *key, struct buf *msg)
{
    struct buf e = BUF_INIT;
    pb_text(&e, 1, key);
    pb_msg(&e, 2, msg);
    pb_msg(b, num, &e);
}

/* TensorShapeProto from dims that end with -2. */
static inline void
pb_shape(struct buf *b, uint32_t num, const int64_t *dims)
{
    struct buf s = BUF_INIT;
    for (; *dims != -2; dims++) {
        struct buf d = BUF_INIT;
        pb_int(&d, 1, *dims);
        pb_msg(&s, 2, &d);
    }
    pb_msg(b, num, &s);
}
#define DIMS(...) ((const int64_t[]){ __VA_ARGS__, -2 })
#define SCALAR ((const int64_t[]){ -2 })

static inline void
write_file(const char *path, const void *p, size_t n)
{
    struct err err = ERR_INIT;
    CHECK_OK(fs_replace(AT_FDCWD, path, p, n, 0644, &err));
}

static inline void
read_file(const char *path, struct buf *out)
{
    struct err err = ERR_INIT;
    CHECK_OK(fs_read(AT_FDCWD, path, out, &err));
}

/* ---- checkpoints ------------------------------------------------------------------
 */

/* A table with one data block. */
struct table {
    struct buf entries;
};

static inline void
table_add(struct table *t, struct str key, struct buf *value)
{
    add_varint(&t->entries, 0);
    add_varint(&t->entries, key.n);
    add_varint(&t->entries, value->len);
    buf_add(&t->entries, key.p, key.n);
    buf_add(&t->entries, buf_str(value), value->len);
    buf_release(value);
}

/* Appends contents, compression byte and checksum; the handle goes to `handle`. */
static inline void
table_block(struct buf *file, struct str contents, char compression, struct buf *handle)
{
    add_varint(handle, file->len);
    add_varint(handle, contents.n);
    size_t at = file->len;
    buf_add(file, contents.p, contents.n);
    buf_addc(file, compression);
    uint32_t crc = crc32c_mask(crc32c(0, file->data + at, contents.n + 1));
    buf_add(file, &crc, sizeof(crc));
}

#define NO_RESTARTS "\0\0\0\0\1\0\0\0"

/* `packed`: the snappy form of entries and restart array, or empty. */
static inline void
table_write(struct table *t, struct str packed, const char *path)
{
    struct buf file = BUF_INIT, data = BUF_INIT, meta = BUF_INIT, index = BUF_INIT;
    struct buf block = BUF_INIT;
    buf_add(&t->entries, NO_RESTARTS, 8);
    if (packed.n)
        table_block(&file, packed, 1, &data);
    else
        table_block(&file, str_buf(&t->entries), 0, &data);
    table_block(&file, (struct str){ NO_RESTARTS, 8 }, 0, &meta);
    add_varint(&block, 0);
    add_varint(&block, 2);
    add_varint(&block, data.len);
    buf_adds(&block, "\xff\xff");
    buf_add(&block, data.data, data.len);
    buf_add(&block, NO_RESTARTS, 8);
    table_block(&file, str_buf(&block), 0, &index);
    buf_add(&meta, index.data, index.len);
    while (meta.len < 40)
        buf_addc(&meta, 0);
    add_hex(&meta, "57fb808b247547db");
    buf_add(&file, meta.data, meta.len);
    write_file(path, file.data, file.len);
    buf_release(&file);
    buf_release(&data);
    buf_release(&meta);
    buf_release(&index);
    buf_release(&block);
    buf_release(&t->entries);
}

static inline void
table_header(struct table *t, int n_shards, int endianness)
{
    struct buf v = BUF_INIT;
    pb_int(&v, 1, n_shards);
    pb_int(&v, 2, endianness);
    table_add(t, (struct str){ "", 0 }, &v);
}

static inline void
table_tensor(struct table *t, struct str key, int dtype, const int64_t *dims,
             int64_t offset, int64_t size, uint32_t crc)
{
    struct buf v = BUF_INIT;
    pb_int(&v, 1, dtype);
    pb_shape(&v, 2, dims);
    pb_int(&v, 4, offset);
    pb_int(&v, 5, size);
    pb_fixed32(&v, 6, crc);
    table_add(t, key, &v);
}

#endif
