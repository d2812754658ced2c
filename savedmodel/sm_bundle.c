/* SPDX-License-Identifier: Apache-2.0 */
/* Tensor bundle (checkpoint V2): PREFIX.index and PREFIX.data-SSSSS-of-NNNNN.
 *
 * The index is a table (sm_table.c). Its first key is empty: BundleHeaderProto
 * { 1 num_shards, 2 endianness, 3 version }. A key that begins with byte 0 is one
 * slice of a tensor (sm_slice.c). Every other key is a tensor: BundleEntryProto
 * { 1 dtype, 2 shape, 3 shard_id, 4 offset, 5 size, 6 crc32c fixed32, 7 slices }.
 * With slices, the entry is only their directory. In the shard:
 *   fixed-size dtypes: the elements, row-major, in the header's byte order
 *   strings: varint length of each, 4 bytes checksum of the lengths, the bytes
 *            (checksums: strings_check) */
#include "savedmodel/sm_int.h"

#include "base/crypto.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define SHARDS_MAX 100000
#define SLICES_MAX 16384
#define BUNDLE_VERSION 1 /* what this reader understands */

struct shard {
    struct fs_map map;
    bool is_open;
    int64_t need_bytes; /* where its last tensor ends, by the index */
};

struct sm_bundle {
    struct sm_table table;
    int dirfd;
    char *prefix;
    int n_shards;
    bool is_big_endian;
    struct sm_entry *entries; /* slices (leading byte 0) first, then tensors */
    int n_slice_entries;
    int n_entries;
    struct shard *shards;
};

/* ---- the index ------------------------------------------------------------------ */

static int
header_parse(struct sm_bundle *b, struct str raw, struct err *err)
{
    struct str version = sm_pb_bytes(raw, 3), it = version;
    struct sm_field f;
    int64_t n = sm_pb_int(raw, 1, 0), endian = sm_pb_int(raw, 2, 0);
    if (n < 1 || n > SHARDS_MAX)
        return err_set(err, ERR_CORRUPT, "the header names %" PRId64 " data shards", n);
    if (endian != 0 && endian != 1)
        return err_set(err, ERR_CORRUPT, "unknown byte order %" PRId64, endian);
    bool is_bad = (int32_t)sm_pb_int(version, 2, 0) > BUNDLE_VERSION;
    while (sm_pb_next(&it, &f) > 0) {
        uint64_t v = f.v;
        struct str part = f.bytes;
        if (f.num == 3 && f.wire == 0)
            is_bad |= v == BUNDLE_VERSION;
        while (f.num == 3 && f.wire == 2 && part.n > 0 && sm_varint(&part, &v))
            is_bad |= v == BUNDLE_VERSION;
    }
    if (is_bad)
        return err_set(err, ERR_UNSUPPORTED,
                       "written by version %d, which refuses readers of version %d",
                       (int)sm_pb_int(version, 1, 0), BUNDLE_VERSION);
    b->n_shards = (int)n;
    b->is_big_endian = endian == 1;
    b->shards = xcalloc((size_t)n, sizeof(*b->shards));
    return 0;
}

static int
entry_check(const struct sm_bundle *b, const struct sm_entry *e, struct err *err)
{
    const struct sm_dtype_info *info = sm_dtype_info(e->dtype);
    int64_t n, end;
    int rc = sm_shape_count(&e->shape, &n, err);
    if (rc == 0 && e->n_slices > SLICES_MAX)
        rc = err_set(err, ERR_LIMIT, "%d slices (limit %d)", e->n_slices, SLICES_MAX);
    if (rc < 0 || e->n_slices > 0)
        return rc;
    if (e->shard_id < 0 || e->shard_id >= b->n_shards)
        return err_set(err, ERR_CORRUPT, "shard %d of %d", e->shard_id, b->n_shards);
    if (e->offset < 0 || e->size_bytes < 0 ||
        __builtin_add_overflow(e->offset, e->size_bytes, &end))
        return err_set(err, ERR_CORRUPT, "%" PRId64 " bytes at byte %" PRId64,
                       e->size_bytes, e->offset);
    int64_t want;
    if (info && info->size_bytes > 0 &&
        (__builtin_mul_overflow(n, (int64_t)info->size_bytes, &want) ||
         want != e->size_bytes))
        return err_set(err, ERR_CORRUPT,
                       "%" PRId64 " bytes are stored for %" PRId64 " elements of %s",
                       e->size_bytes, n, sm_dtype_name(e->dtype));
    return 0;
}

static int
entry_parse(const struct sm_bundle *b, const struct sm_kv *kv, struct sm_entry *e,
            struct err *err)
{
    struct str it = kv->value;
    struct sm_field f;
    int r;
    *e = (struct sm_entry){ .key = kv->key, .raw = kv->value };
    while ((r = sm_pb_next(&it, &f)) > 0) {
        int rc = 0;
        if (f.num == 1 && f.wire == 0)
            e->dtype = (int)(int32_t)(uint32_t)f.v;
        else if (f.num == 2 && f.wire == 2)
            rc = sm_shape_parse(f.bytes, &e->shape, err);
        else if (f.num == 3 && f.wire == 0)
            e->shard_id = (int)(int32_t)(uint32_t)f.v;
        else if (f.num == 4 && f.wire == 0)
            e->offset = (int64_t)f.v;
        else if (f.num == 5 && f.wire == 0)
            e->size_bytes = (int64_t)f.v;
        else if (f.num == 6 && f.wire == 5)
            e->crc32c = (uint32_t)f.v;
        else if (f.num == 7 && f.wire == 2)
            e->n_slices++;
        if (rc < 0)
            return rc;
    }
    if (r < 0)
        return err_set(err, ERR_CORRUPT, "malformed entry");
    return entry_check(b, e, err);
}

static bool
is_slice_key(struct str key)
{
    return key.n > 0 && key.p[0] == '\0';
}

/* "tensor 'w': …", "a slice of tensor 'w': …" (whose key is binary). */
static int
entry_ctx(struct str key, struct err *err)
{
    if (!is_slice_key(key))
        return err_ctx(err, "tensor '%.*s'", STR_ARG(key));
    const char *end = memmem(key.p + 1, key.n - 1, "\0\1", 2);
    struct str name = { key.p + 1, end ? (size_t)(end - key.p) - 1 : key.n - 1 };
    return err_ctx(err, "a slice of tensor '%.*s'", STR_ARG(name));
}

static void
note_need(struct sm_bundle *b, const struct sm_entry *e)
{
    struct shard *s = &b->shards[e->shard_id];
    if (e->offset + e->size_bytes > s->need_bytes)
        s->need_bytes = e->offset + e->size_bytes;
}

static int
index_read(struct sm_bundle *b, struct err *err)
{
    const struct sm_table *t = &b->table;
    if (t->n_kv == 0 || t->kv[0].key.n != 0)
        return err_set(err, ERR_CORRUPT, "no header entry");
    int rc = header_parse(b, t->kv[0].value, err);
    if (rc < 0)
        return rc;
    b->entries = xcalloc(t->n_kv, sizeof(*b->entries));
    for (size_t i = 1; i < t->n_kv; i++) {
        rc = entry_parse(b, &t->kv[i], &b->entries[i - 1], err);
        if (rc < 0)
            return entry_ctx(t->kv[i].key, err);
        if (b->entries[i - 1].n_slices == 0)
            note_need(b, &b->entries[i - 1]);
        b->n_entries++;
        b->n_slice_entries += is_slice_key(t->kv[i].key);
    }
    return 0;
}

int
sm_bundle_open(struct sm_bundle **out, int dirfd, const char *prefix, struct err *err)
{
    char *path AUTO(free_ptr) = xasprintf("%s.index", prefix);
    struct sm_bundle *b = xcalloc(1, sizeof(*b));
    *out = NULL;
    b->dirfd = -1;
    b->prefix = xstrdup(prefix);
    int rc = fs_open_dir(&b->dirfd, dirfd, ".", err);
    if (rc == 0)
        rc = sm_table_open(&b->table, dirfd, path, err);
    if (rc == -ERR_NOTFOUND && sm_ckpt_is_v1(dirfd, prefix)) {
        err_clear(err);
        rc = err_set(err, ERR_UNSUPPORTED,
                     "%s is a V1 checkpoint, which TensorFlow stopped writing in 2016: "
                     "restore it there and save it with "
                     "tf.compat.v1.train.Saver(write_version=2)",
                     prefix);
    }
    if (rc == 0 && index_read(b, err) < 0)
        rc = err_ctx(err, "%s", path);
    if (rc < 0) {
        sm_bundle_close(b);
        return rc;
    }
    *out = b;
    return 0;
}

void
sm_bundle_close(struct sm_bundle *b)
{
    if (!b)
        return;
    for (int i = 0; b->shards && i < b->n_shards; i++) {
        if (b->shards[i].is_open)
            fs_unmap(&b->shards[i].map);
    }
    free(b->shards);
    free(b->entries);
    sm_table_release(&b->table);
    fs_close(&b->dirfd);
    free(b->prefix);
    free(b);
}

void
sm_bundle_close_p(struct sm_bundle **b)
{
    sm_bundle_close(*b);
    *b = NULL;
}

bool
sm_bundle_is_big_endian(const struct sm_bundle *b)
{
    return b->is_big_endian;
}

int
sm_bundle_n_shards(const struct sm_bundle *b)
{
    return b->n_shards;
}

int
sm_bundle_n_entries(const struct sm_bundle *b)
{
    return b->n_entries - b->n_slice_entries;
}

const struct sm_entry *
sm_bundle_entry(const struct sm_bundle *b, int i)
{
    return &b->entries[b->n_slice_entries + i];
}

static int
entry_cmp(const void *key, const void *e)
{
    return str_cmp(*(const struct str *)key, ((const struct sm_entry *)e)->key);
}

/* Slice keys too. */
static const struct sm_entry *
find_any(const struct sm_bundle *b, struct str key)
{
    return bsearch(&key, b->entries, (size_t)b->n_entries, sizeof(*b->entries),
                   entry_cmp);
}

const struct sm_entry *
sm_bundle_find(const struct sm_bundle *b, struct str key)
{
    return is_slice_key(key) ? NULL : find_any(b, key);
}

int64_t
sm_entry_bytes(const struct sm_entry *e)
{
    const struct sm_dtype_info *info = sm_dtype_info(e->dtype);
    int64_t n = info ? (int64_t)info->size_bytes : 0;
    if (e->n_slices == 0)
        return e->size_bytes;
    for (int i = 0; i < e->shape.rank; i++)
        if (__builtin_mul_overflow(n, e->shape.dims[i], &n))
            return INT64_MAX;
    return n;
}

/* ---- the shards ------------------------------------------------------------------ */

static char *
shard_path(const struct sm_bundle *b, int shard)
{
    return xasprintf("%s.data-%05d-of-%05d", b->prefix, shard, b->n_shards);
}

static int
shard_missing(const struct sm_bundle *b, int shard, enum err_code code, struct err *err)
{
    char *path AUTO(free_ptr) = shard_path(b, shard);
    return err_set(err, code,
                   "data shard %s is missing (the index needs %" PRId64 " bytes of it)",
                   path, b->shards[shard].need_bytes);
}

static int
too_short(const struct sm_bundle *b, const struct sm_entry *e, int64_t shard_bytes,
          struct err *err)
{
    char *path AUTO(free_ptr) = shard_path(b, e->shard_id);
    return err_set(err, ERR_CORRUPT,
                   "ends at byte %" PRId64 " of data shard %s, which has only %" PRId64
                   " bytes: the copy is incomplete",
                   e->offset + e->size_bytes, path, shard_bytes);
}

int
sm_bundle_check_sizes(struct sm_bundle *b, struct err *err)
{
    int64_t *size_bytes AUTO(free_ptr) = xcalloc((size_t)b->n_shards, sizeof(int64_t));
    for (int i = 0; i < b->n_shards; i++) {
        char *path AUTO(free_ptr) = shard_path(b, i);
        struct stat st;
        if (fstatat(b->dirfd, path, &st, 0) == 0 && S_ISREG(st.st_mode))
            size_bytes[i] = st.st_size;
        else if (b->shards[i].need_bytes > 0)
            return shard_missing(b, i, ERR_CORRUPT, err);
    }
    for (int i = 0; i < b->n_entries; i++) {
        const struct sm_entry *e = &b->entries[i];
        if (e->n_slices == 0 && e->offset + e->size_bytes > size_bytes[e->shard_id]) {
            (void)too_short(b, e, size_bytes[e->shard_id], err);
            return entry_ctx(e->key, err);
        }
    }
    return 0;
}

static int
shard_open(struct sm_bundle *b, int shard, struct err *err)
{
    struct shard *s = &b->shards[shard];
    if (s->is_open)
        return 0;
    char *path AUTO(free_ptr) = shard_path(b, shard);
    int rc = fs_map(&s->map, b->dirfd, path, err);
    if (rc < 0 && err->sys == ENOENT) {
        err_clear(err);
        return shard_missing(b, shard, ERR_NOTFOUND, err);
    }
    s->is_open = rc == 0;
    return rc;
}

int
sm_bundle_entry_bytes(struct sm_bundle *b, const struct sm_entry *e, struct str *out,
                      struct err *err)
{
    int rc = shard_open(b, e->shard_id, err);
    if (rc < 0)
        return rc;
    const struct fs_map *map = &b->shards[e->shard_id].map;
    if ((uint64_t)(e->offset + e->size_bytes) > map->n)
        return too_short(b, e, (int64_t)map->n, err);
    *out = (struct str){ (const char *)map->p + e->offset, (size_t)e->size_bytes };
    return 0;
}

/* ---- values ---------------------------------------------------------------------- */

/* Both checksums: one runs over the lengths, each as 4 bytes (8 when it needs more)
 * in the writer's order; its masked form is stored behind them; the entry's runs on
 * over those stored bytes and the strings' bytes. */
static int
strings_check(const struct sm_bundle *b, const struct sm_entry *e, const struct str *v,
              int64_t n, struct str stored, struct str bytes, bool check_crc,
              struct err *err)
{
    uint32_t crc = 0, want = sm_le32(stored.p);
    for (int64_t i = 0; i < n; i++) {
        uint64_t len = v[i].n;
        size_t unit = len > UINT32_MAX ? 8 : 4;
        if (b->is_big_endian)
            sm_swap(&len, 1, unit);
        crc = crc32c(crc, &len, unit);
    }
    if (b->is_big_endian)
        sm_swap(&want, 1, sizeof(want));
    if (crc32c_mask(crc) != want)
        return err_set(err, ERR_CORRUPT, "checksum of the string lengths is wrong");
    if (check_crc &&
        crc32c_mask(crc32c(crc32c(crc, stored.p, 4), bytes.p, bytes.n)) != e->crc32c)
        return err_set(err, ERR_CORRUPT, "checksum of the strings is wrong");
    return 0;
}

static int
strings_read(const struct sm_bundle *b, const struct sm_entry *e, struct str bytes,
             bool check_crc, struct sm_tensor *out, struct err *err)
{
    int64_t n;
    int rc = sm_shape_count(&e->shape, &n, err);
    if (rc < 0)
        return rc;
    if ((uint64_t)n > bytes.n)
        return err_set(err, ERR_CORRUPT, "%zu bytes cannot hold %" PRId64 " strings",
                       bytes.n, n);
    rc = sm_tensor_alloc(out, SM_STRING, e->shape.rank, e->shape.dims, err);
    if (rc < 0)
        return rc;
    struct str *v = out->data, stored;
    bool ok = true;
    for (int64_t i = 0; ok && i < n; i++) {
        uint64_t len = 0;
        ok = sm_varint(&bytes, &len);
        v[i].n = (size_t)len;
    }
    ok = ok && sm_take(&bytes, 4, &stored);
    if (!ok)
        return err_set(err, ERR_CORRUPT, "the string lengths are malformed");
    rc = strings_check(b, e, v, n, stored, bytes, check_crc, err);
    if (rc < 0)
        return rc;
    for (int64_t i = 0; ok && i < n; i++)
        ok = sm_take(&bytes, v[i].n, &v[i]);
    if (!ok || bytes.n > 0)
        return err_set(err, ERR_CORRUPT, "the string lengths do not add up");
    return 0;
}

static int
plain_read(const struct sm_bundle *b, const struct sm_entry *e, struct str bytes,
           bool check_crc, struct sm_tensor *out, struct err *err)
{
    if (check_crc && crc32c_mask(crc32c(0, bytes.p, bytes.n)) != e->crc32c)
        return err_set(err, ERR_CORRUPT, "checksum is wrong");
    size_t unit = sm_swap_unit(e->dtype);
    if (!b->is_big_endian || unit < 2)
        return sm_tensor_of_bytes(out, e->dtype, e->shape.rank, e->shape.dims, bytes,
                                  err);
    int rc = sm_tensor_alloc(out, e->dtype, e->shape.rank, e->shape.dims, err);
    if (rc < 0)
        return rc;
    if (bytes.n)
        memcpy(out->data, bytes.p, bytes.n);
    sm_swap(out->data, bytes.n / unit, unit);
    return 0;
}

/* The value of an entry that is no directory. */
static int
entry_read(struct sm_bundle *b, const struct sm_entry *e, bool check_crc,
           struct sm_tensor *out, struct err *err)
{
    const struct sm_dtype_info *info = sm_dtype_info(e->dtype);
    struct str bytes;
    if (!info || e->dtype > SM_REF || (info->size_bytes == 0 && e->dtype != SM_STRING))
        return err_set(err, ERR_UNSUPPORTED, "dtype %s (%d) in a checkpoint",
                       sm_dtype_name(e->dtype), e->dtype);
    int rc = sm_bundle_entry_bytes(b, e, &bytes, err);
    if (rc < 0)
        return rc;
    rc = e->dtype == SM_STRING ? strings_read(b, e, bytes, check_crc, out, err)
                               : plain_read(b, e, bytes, check_crc, out, err);
    if (rc < 0)
        sm_tensor_release(out);
    return rc;
}

static size_t
stored_unit(int dtype)
{
    const struct sm_dtype_info *info = sm_dtype_info(dtype);
    return dtype == SM_STRING || !info ? sizeof(struct str) : info->size_bytes;
}

static struct sm_slice
whole(const struct sm_shape *s)
{
    struct sm_slice r = { .rank = s->rank };
    memcpy(r.length, s->dims, sizeof(r.length));
    return r;
}

/* The entry of one slice of directory `e`. */
static int
slice_entry(const struct sm_bundle *b, const struct sm_entry *e, struct str raw,
            const struct sm_entry **out, struct sm_slice *box, struct err *err)
{
    struct buf key AUTO(buf_release) = BUF_INIT;
    int rc = sm_slice_parse(raw, &e->shape, box, err);
    if (rc < 0)
        return rc;
    sm_slice_key(e->key, raw, e->shape.rank, &key);
    *out = find_any(b, (struct str){ buf_str(&key), key.len });
    if (!*out || (*out)->n_slices > 0)
        return err_set(err, ERR_CORRUPT, "a slice that the index lists is not there");
    struct sm_slice stored = whole(&(*out)->shape), moved = *box;
    memset(moved.start, 0, sizeof(moved.start));
    if ((*out)->dtype != e->dtype || !sm_slice_eq(&stored, &moved))
        return err_set(err, ERR_CORRUPT,
                       "a slice has another dtype or shape than its "
                       "tensor says");
    return 0;
}

/* The slice must not lie over one of the n before it, which would hide a hole. */
static int
check_disjoint(const struct sm_slice *boxes, int n, struct err *err)
{
    for (int i = 0; i < n; i++) {
        if (sm_slice_touches(&boxes[i], &boxes[n]))
            return err_set(err, ERR_CORRUPT, "two of its slices overlap");
    }
    return 0;
}

/* Puts the box `want` together from the slices that touch it. */
static int
slices_join(struct sm_bundle *b, const struct sm_entry *e, const struct sm_slice *want,
            bool check_crc, struct sm_tensor *out, struct err *err)
{
    struct sm_slice *boxes AUTO(free_ptr) =
        xcalloc((size_t)e->n_slices, sizeof(*boxes));
    const struct sm_entry *part;
    struct str it = e->raw, raw;
    int64_t have = 0;
    int rc = 0, n = 0;
    while (rc == 0 && sm_pb_next_msg(&it, 7, &raw) > 0) {
        struct sm_tensor t AUTO(sm_tensor_release) = { .data = NULL };
        rc = slice_entry(b, e, raw, &part, &boxes[n], err);
        if (rc < 0 || !sm_slice_touches(want, &boxes[n]))
            continue;
        rc = check_disjoint(boxes, n, err);
        if (rc == 0)
            rc = entry_read(b, part, check_crc, &t, err);
        if (rc == 0)
            have += sm_slice_copy(out->data, want, t.data, &boxes[n++],
                                  stored_unit(e->dtype));
    }
    if (rc == 0 && have != out->n_elems)
        rc = err_set(err, ERR_CORRUPT,
                     "its slices give %" PRId64 " of %" PRId64 " elements", have,
                     out->n_elems);
    return rc;
}

/* The stored slice that is just the box `want`, when there is one: no copy. */
static int
slice_read(struct sm_bundle *b, const struct sm_entry *e, const struct sm_slice *want,
           bool check_crc, struct sm_tensor *out, struct err *err)
{
    const struct sm_entry *part;
    struct sm_slice box;
    struct str it = e->raw, raw;
    while (sm_pb_next_msg(&it, 7, &raw) > 0) {
        int rc = slice_entry(b, e, raw, &part, &box, err);
        if (rc < 0)
            return rc;
        if (sm_slice_eq(&box, want))
            return entry_read(b, part, check_crc, out, err);
    }
    int rc = sm_tensor_alloc(out, e->dtype, want->rank, want->length, err);
    if (rc == 0)
        rc = slices_join(b, e, want, check_crc, out, err);
    if (rc < 0)
        sm_tensor_release(out);
    return rc;
}

/* A part of a tensor that is stored whole. */
static int
cut(struct sm_bundle *b, const struct sm_entry *e, const struct sm_slice *want,
    bool check_crc, struct sm_tensor *out, struct err *err)
{
    struct sm_tensor t AUTO(sm_tensor_release) = { .data = NULL };
    struct sm_slice all = whole(&e->shape);
    int rc = entry_read(b, e, check_crc, &t, err);
    if (rc == 0)
        rc = sm_tensor_alloc(out, e->dtype, want->rank, want->length, err);
    if (rc < 0)
        return rc;
    size_t unit = stored_unit(e->dtype);
    (void)sm_slice_copy(out->data, want, t.data, &all, unit);
    return 0;
}

static int
tensor_read(struct sm_bundle *b, const struct sm_entry *e, struct str spec,
            bool check_crc, struct sm_tensor *out, struct err *err)
{
    struct sm_slice want = whole(&e->shape), all = want;
    if (spec.n > 0) {
        struct sm_shape full;
        int rc = sm_slice_spec(spec, &full, &want, err);
        if (rc < 0)
            return rc;
        struct sm_slice asked = whole(&full);
        if (!sm_slice_eq(&asked, &all))
            return err_set(err, ERR_INVALID,
                           "slice '%.*s' is of another shape than the checkpoint's",
                           STR_ARG(spec));
    }
    if (e->n_slices > 0)
        return slice_read(b, e, &want, check_crc, out, err);
    if (sm_slice_eq(&want, &all))
        return entry_read(b, e, check_crc, out, err);
    return cut(b, e, &want, check_crc, out, err);
}

int
sm_bundle_tensor(struct sm_bundle *b, struct str key, struct str spec, bool check_crc,
                 struct sm_tensor *out, struct err *err)
{
    *out = (struct sm_tensor){ .data = NULL };
    const struct sm_entry *e = sm_bundle_find(b, key);
    if (!e)
        return err_set(err, ERR_NOTFOUND, "no tensor '%.*s' in %s.index", STR_ARG(key),
                       b->prefix);
    if (tensor_read(b, e, spec, check_crc, out, err) < 0)
        return err_ctx(err, "%s: tensor '%.*s'", b->prefix, STR_ARG(key));
    return 0;
}
