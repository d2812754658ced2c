/* SPDX-License-Identifier: Apache-2.0 */
/* Writes a tensor bundle of one data shard: the bytes that TensorFlow's writer makes of
 * the same tensors in the same order. Formats: sm_bundle.c (entries, values),
 * sm_table.c (the index).
 *
 * What the table's reader leaves open and TensorFlow decides:
 *   - a data block ends when its contents reach BLOCK_BYTES, or before an entry of
 * twice that size; nothing is compressed; the metaindex block is empty
 *   - a restart (shared = 0) every RESTART entries, in the index block at every entry
 *   - the index key of a block is the shortest that is >= its last key and < the next
 *     block's first; of the last block the shortest >= its last key */
#include "savedmodel/sm_int.h"

#include "base/crypto.h"

#include <stdlib.h>

#define BLOCK_BYTES ((size_t)262144)
#define RESTART 16
#define HEADER "\x08\x01\x1a\x02\x08\x01" /* one shard, little-endian, version 1 */

struct written {
    char *key;
    size_t n_key;
    struct buf entry; /* BundleEntryProto */
};

struct sm_bundle_writer {
    int dirfd; /* owned */
    int shard_fd;
    char *prefix;
    struct written *v;
    size_t n, alloc;
    int64_t at; /* bytes of the shard so far */
};

/* ---- wire ---- */

static void
add_le32(struct buf *b, uint32_t v)
{
    buf_add(b, &v, sizeof(v));
}

/* A number field; zero is left out. */
static void
add_int(struct buf *b, uint32_t num, int64_t v)
{
    if (v != 0)
        sm_pb_put_int(b, num, (uint64_t)v);
}

static void
add_msg(struct buf *b, uint32_t num, const struct buf *msg)
{
    sm_pb_put_bytes(b, num, (struct str){ buf_str(msg), msg->len });
}

static void
entry_make(const struct sm_entry *e, struct buf *out)
{
    struct buf shape AUTO(buf_release) = BUF_INIT;
    for (int i = 0; i < e->shape.rank; i++) {
        struct buf dim AUTO(buf_release) = BUF_INIT;
        add_int(&dim, 1, e->shape.dims[i]);
        add_msg(&shape, 2, &dim);
    }
    add_int(out, 1, e->dtype);
    add_msg(out, 2, &shape);
    add_int(out, 4, e->offset);
    add_int(out, 5, e->size_bytes);
    if (e->crc32c) {
        buf_addc(out, 6 << 3 | 5);
        add_le32(out, e->crc32c);
    }
}

/* ---- values into the shard ---- */

int
sm_bundle_write_open(struct sm_bundle_writer **out, int dirfd, const char *prefix,
                     struct err *err)
{
    char *path AUTO(free_ptr) = xasprintf("%s.data-00000-of-00001", prefix);
    struct sm_bundle_writer *w = xcalloc(1, sizeof(*w));
    *out = NULL;
    w->dirfd = w->shard_fd = -1;
    w->prefix = xstrdup(prefix);
    int rc = fs_open_dir(&w->dirfd, dirfd, ".", err);
    if (rc == 0)
        rc = fs_open(&w->shard_fd, dirfd, path,
                     O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644, err);
    if (rc < 0) {
        sm_bundle_write_close_p(&w);
        return rc;
    }
    *out = w;
    return 0;
}

void
sm_bundle_write_close_p(struct sm_bundle_writer **w)
{
    if (!*w)
        return;
    for (size_t i = 0; i < (*w)->n; i++) {
        free((*w)->v[i].key);
        buf_release(&(*w)->v[i].entry);
    }
    free((*w)->v);
    free((*w)->prefix);
    fs_close(&(*w)->shard_fd);
    fs_close(&(*w)->dirfd);
    free(*w);
    *w = NULL;
}

/* Notes the entry of the size_bytes that were just written. */
static void
note(struct sm_bundle_writer *w, struct str key, struct sm_entry *e)
{
    if (w->n == w->alloc) {
        w->alloc = w->alloc ? 2 * w->alloc : 64;
        w->v = xreallocarray(w->v, w->alloc, sizeof(*w->v));
    }
    struct written *x = &w->v[w->n++];
    *x = (struct written){ .key = str_dup(key), .n_key = key.n };
    e->offset = w->at;
    entry_make(e, &x->entry);
    w->at += e->size_bytes;
}

/* Lengths, their checksum, bytes; see strings_check of sm_bundle.c. */
static int
strings_add(struct sm_bundle_writer *w, const struct sm_tensor *t, struct sm_entry *e,
            struct err *err)
{
    struct buf b AUTO(buf_release) = { .cap_bytes = SIZE_MAX };
    const struct str *v = sm_tensor_str(t);
    uint32_t crc = 0;
    for (int64_t i = 0; i < t->n_elems; i++) {
        uint64_t n = v[i].n;
        sm_pb_add_varint(&b, n);
        crc = crc32c(crc, &n, n > UINT32_MAX ? 8 : 4);
    }
    add_le32(&b, crc32c_mask(crc));
    crc = crc32c(crc, b.data + b.len - 4, 4);
    int rc = fs_write_all(w->shard_fd, b.data, b.len, w->prefix, err);
    e->size_bytes = (int64_t)b.len;
    for (int64_t i = 0; rc == 0 && i < t->n_elems; i++) {
        crc = crc32c(crc, v[i].p, v[i].n);
        rc = fs_write_all(w->shard_fd, v[i].p, v[i].n, w->prefix, err);
        e->size_bytes += (int64_t)v[i].n;
    }
    e->crc32c = crc32c_mask(crc);
    return rc;
}

int
sm_bundle_write_tensor(struct sm_bundle_writer *w, struct str key,
                       const struct sm_tensor *t, struct err *err)
{
    struct sm_entry e = { .dtype = t->dtype, .shape.rank = t->rank };
    int rc;
    memcpy(e.shape.dims, t->dims, sizeof(e.shape.dims));
    if (t->dtype == SM_STRING) {
        rc = strings_add(w, t, &e, err);
    } else {
        size_t n = sm_tensor_bytes(t);
        e.size_bytes = (int64_t)n;
        e.crc32c = crc32c_mask(crc32c(0, t->data, n));
        rc = fs_write_all(w->shard_fd, t->data, n, w->prefix, err);
    }
    if (rc == 0)
        note(w, key, &e);
    return rc;
}

int
sm_bundle_write_copy(struct sm_bundle_writer *w, struct str key, struct sm_bundle *from,
                     struct str from_key, struct err *err)
{
    const struct sm_entry *e = sm_bundle_find(from, from_key);
    if (!e || e->dtype != SM_VARIANT) {
        struct sm_tensor t AUTO(sm_tensor_release) = { .data = NULL };
        int rc = sm_bundle_tensor(from, from_key, (struct str){ "", 0 }, true, &t, err);
        return rc < 0 ? rc : sm_bundle_write_tensor(w, key, &t, err);
    }
    struct str *elems AUTO(free_ptr) = NULL, bytes;
    struct sm_entry copy = *e;
    int64_t n;
    int rc = sm_bundle_variants(from, from_key, &elems, &n, err); /* its checksums */
    if (rc == 0)
        rc = sm_bundle_entry_bytes(from, e, &bytes, err);
    if (rc == 0)
        rc = fs_write_all(w->shard_fd, bytes.p, bytes.n, w->prefix, err);
    if (rc == 0)
        note(w, key, &copy);
    return rc;
}

/* ---- the index ---- */

struct block {
    struct buf contents;
    struct buf last; /* key */
    struct buf restarts;
    size_t n_since; /* entries since the last restart */
};

struct index {
    struct buf file;
    struct block data, top;
    bool is_pending; /* a finished data block waits for its entry in `top` */
    size_t offset, size_bytes;
};

static void
block_add(struct block *b, size_t restart, struct str key, struct str value)
{
    size_t shared = 0;
    if (b->contents.len == 0 || b->n_since == restart) {
        add_le32(&b->restarts, (uint32_t)b->contents.len);
        b->n_since = 0;
    } else {
        while (shared < b->last.len && shared < key.n &&
               b->last.data[shared] == key.p[shared])
            shared++;
    }
    sm_pb_add_varint(&b->contents, shared);
    sm_pb_add_varint(&b->contents, key.n - shared);
    sm_pb_add_varint(&b->contents, value.n);
    buf_add(&b->contents, key.p + shared, key.n - shared);
    buf_add(&b->contents, value.p, value.n);
    buf_clear(&b->last);
    buf_add(&b->last, key.p, key.n);
    b->n_since++;
}

/* Appends the block with its trailer and empties it. */
static void
block_end(struct index *x, struct block *b)
{
    if (b->restarts.len == 0)
        add_le32(&b->restarts, 0);
    buf_add(&b->contents, b->restarts.data, b->restarts.len);
    add_le32(&b->contents, (uint32_t)(b->restarts.len / 4));
    x->offset = x->file.len;
    x->size_bytes = b->contents.len;
    buf_addc(&b->contents, 0); /* not compressed */
    buf_add(&x->file, b->contents.data, b->contents.len);
    add_le32(&x->file, crc32c_mask(crc32c(0, b->contents.data, b->contents.len)));
    buf_clear(&b->contents);
    buf_clear(&b->restarts);
    b->n_since = 0; /* the last key stays: the index key is made of it */
}

static void
add_handle(struct buf *b, const struct index *x)
{
    sm_pb_add_varint(b, x->offset);
    sm_pb_add_varint(b, x->size_bytes);
}

/* The shortest key that is >= last and, when there is a next one, < it. */
static void
between(const struct buf *last, const struct str *next, struct buf *out)
{
    size_t i = 0;
    buf_add(out, buf_str(last), last->len);
    if (next) {
        while (i < last->len && i < next->n && last->data[i] == next->p[i])
            i++;
    } else {
        while (i < last->len && (uint8_t)last->data[i] == 0xff)
            i++;
    }
    if (i >= last->len)
        return;
    unsigned up = (uint8_t)last->data[i] + 1u;
    if (next && (i >= next->n || up >= (uint8_t)next->p[i]))
        return;
    out->data[i] = (char)up;
    out->len = i + 1;
}

static void
top_add(struct index *x, const struct str *next)
{
    struct buf key AUTO(buf_release) = BUF_INIT, handle AUTO(buf_release) = BUF_INIT;
    between(&x->data.last, next, &key);
    add_handle(&handle, x);
    block_add(&x->top, 1, (struct str){ buf_str(&key), key.len },
              (struct str){ handle.data, handle.len });
    x->is_pending = false;
}

static void
flush(struct index *x)
{
    if (x->data.contents.len == 0)
        return;
    block_end(x, &x->data);
    x->is_pending = true;
}

static void
index_add(struct index *x, struct str key, struct str value)
{
    if (key.n + value.n >= 2 * BLOCK_BYTES)
        flush(x);
    if (x->is_pending)
        top_add(x, &key);
    block_add(&x->data, RESTART, key, value);
    if (x->data.contents.len + x->data.restarts.len + 4 >= BLOCK_BYTES)
        flush(x);
}

static void
index_end(struct index *x)
{
    struct block meta = { .n_since = 0 };
    struct buf footer AUTO(buf_release) = BUF_INIT;
    flush(x);
    if (x->is_pending)
        top_add(x, NULL);
    block_end(x, &meta);
    add_handle(&footer, x);
    block_end(x, &x->top);
    add_handle(&footer, x);
    while (footer.len < 40)
        buf_addc(&footer, 0);
    buf_add(&footer, "\x57\xfb\x80\x8b\x24\x75\x47\xdb", 8);
    buf_add(&x->file, footer.data, footer.len);
    buf_release(&meta.contents);
    buf_release(&meta.restarts);
}

static void
block_release(struct block *b)
{
    buf_release(&b->contents);
    buf_release(&b->last);
    buf_release(&b->restarts);
}

static int
by_key(const void *pa, const void *pb)
{
    const struct written *a = pa, *b = pb;
    return str_cmp((struct str){ a->key, a->n_key }, (struct str){ b->key, b->n_key });
}

int
sm_bundle_write_end(struct sm_bundle_writer *w, struct err *err)
{
    struct index x = { .is_pending = false };
    char *path AUTO(free_ptr) = xasprintf("%s.index", w->prefix);
    int rc = 0;
    if (w->n)
        qsort(w->v, w->n, sizeof(*w->v), by_key);
    index_add(&x, (struct str){ "", 0 }, STR_LIT(HEADER));
    for (size_t i = 0; rc == 0 && i < w->n; i++) {
        struct str key = { w->v[i].key, w->v[i].n_key };
        if (i > 0 && by_key(&w->v[i - 1], &w->v[i]) == 0)
            rc = err_set(err, ERR_INVALID, "%s: tensor '%.*s' twice", w->prefix,
                         STR_ARG(key));
        index_add(&x, key, (struct str){ w->v[i].entry.data, w->v[i].entry.len });
    }
    index_end(&x);
    if (rc == 0)
        rc = buf_check(&x.file, path, err);
    if (rc == 0)
        rc = fs_replace(w->dirfd, path, x.file.data, x.file.len, 0644, err);
    block_release(&x.data);
    block_release(&x.top);
    buf_release(&x.file);
    return rc;
}
