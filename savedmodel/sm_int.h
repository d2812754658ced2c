/* SPDX-License-Identifier: Apache-2.0 */
/* What only savedmodel/ shares. */
#ifndef SAVEDMODEL_SM_INT_H
#define SAVEDMODEL_SM_INT_H

#include "base/fs.h"
#include "savedmodel/savedmodel.h"
#include "savedmodel/sm_schema.h"

#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "tensors are views of little-endian files: this host needs swapping readers"
#endif

/* Files up to this size are read into memory, bigger ones are mapped: a read file
 * cannot raise SIGBUS when somebody cuts it. */
#define SM_READ_MAX_BYTES ((int64_t)16 << 20)

/* The most that a TensorProto may grow beyond the bytes that describe it (a shape
 * with one value, or none, stands for a whole constant tensor). */
#define SM_FILL_MAX_BYTES ((int64_t)1 << 30)

/* The bytes of a file, until released. */
struct sm_file {
    struct str bytes;
    struct fs_map map; /* n > 0: bytes lie in this map */
    char *heap;        /* else here */
};
/* ERR_NOTFOUND: no such file. ERR_INVALID: not a regular file. */
int sm_file_open(struct sm_file *f, int dirfd, const char *path,
                 struct err *err) MUST_CHECK;
void sm_file_release(struct sm_file *f); /* for AUTO */
/* Who walks a big file once calls this with where it is; *passed begins at the start of
 * the walk. What lies behind leaves the process's memory when it is mapped. */
#define SM_FILE_KEEP_BYTES (16 << 20)
static inline void
sm_file_passed(const struct sm_file *f, const char **passed, const char *at)
{
    if (at - *passed < SM_FILE_KEEP_BYTES)
        return;
    if (f->map.n > 0)
        fs_map_drop(&f->map, *passed, at);
    *passed = at;
}

static inline uint32_t
sm_le16(const char *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static inline uint32_t
sm_le32(const char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static inline uint64_t
sm_le64(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

/* A map field with string keys as the parser sees it: sorted bytewise by key, of equal
 * keys the last one. `v` is the caller's to free. */
struct sm_map {
    struct sm_kv *v;
    int n;
};
void sm_map_read(struct str msg, uint32_t num, struct sm_map *out);
void sm_map_release(struct sm_map *m); /* for AUTO */
const struct sm_kv *sm_map_find(const struct sm_map *m, struct str key);

/* A set of slices that somebody keeps, each with a number: its place in `v`. */
struct sm_names {
    struct str *v;
    int n;
    int *slots; /* 1 + place, 0: free */
    uint32_t n_slots;
};
int sm_names_find(const struct sm_names *set, struct str s); /* -1: not in the set */
bool sm_names_add(struct sm_names *set, struct str s);       /* true: it is new */
void sm_names_release(struct sm_names *set);                 /* for AUTO */

/* Which of the three files a model directory has, and its bytes in the wire form,
 * checked (sm_form.c). */
int sm_form_open(struct sm_file *f, enum sm_form *form, int dirfd, const char *dir,
                 struct err *err) MUST_CHECK;
/* ERR_CORRUPT: the file stands for one that Git LFS has not fetched. */
int sm_check_lfs(struct str bytes, const char *path, struct err *err) MUST_CHECK;
/* Turns what was read into the wire form of `type` and checks it. */
int sm_form_convert(struct sm_file *f, enum sm_form form, enum sm_msg type,
                    const char *path, struct err *err) MUST_CHECK;

/* Appends the SavedModel whose chunks these are (sm_cpb.c). ERR_CORRUPT, ERR_LIMIT,
 * ERR_UNSUPPORTED: a kind of chunk that TensorFlow does not write. */
int sm_cpb_merge(struct str file, struct buf *out, struct err *err) MUST_CHECK;

/* The bytes are a message of that type, and every message in it is well-formed.
 * ERR_CORRUPT, ERR_LIMIT. */
int sm_check_msg(struct str msg, enum sm_msg type, const char *path,
                 struct err *err) MUST_CHECK;
/* The same of a whole file, of which little stays in memory when it is mapped. */
int sm_check_file(const struct sm_file *f, enum sm_msg type, const char *path,
                  struct err *err) MUST_CHECK;

/* Appends the wire form of a message in text format. ERR_CORRUPT with line and column;
 * ERR_LIMIT: nested more than 100 deep, or more than 2 GiB. */
int sm_pbtxt(struct str text, enum sm_msg root, struct buf *out,
             struct err *err) MUST_CHECK;

/* As sm_varint, and false when the value passes 32 bits. */
bool sm_varint32(struct str *it, uint32_t *v);
/* Cuts n bytes off the front of *it; false: there are fewer. */
bool sm_take(struct str *it, uint64_t n, struct str *out);
#define SM_PB_MAX_NUM 0x1fffffff /* of a field */
/* Moves *it behind the next field of any kind; false: malformed, or a group's end. */
bool sm_pb_skip(struct str *it);
/* A packable repeated number field of one wire kind: each call gives the next element
 * of `field`, whether it came packed or alone. Start with part = the field's. */
bool sm_pb_packed_next(struct str *part, uint32_t elem_wire, uint64_t *v);

/* Product of the dims; ERR_LIMIT on overflow, ERR_CORRUPT for an unknown one. */
int sm_shape_count(const struct sm_shape *s, int64_t *n, struct err *err) MUST_CHECK;
/* A tensor of `dtype` whose data lie in `bytes`, which has the exact length: borrowed
 * when aligned and when a bool holds only 0 and 1, else copied. */
int sm_tensor_of_bytes(struct sm_tensor *t, int dtype, int rank, const int64_t *dims,
                       struct str bytes, struct err *err) MUST_CHECK;
/* Turns the byte order of n elements of unit_bytes 1, 2, 4 or 8. */
void sm_swap(void *p, size_t n, size_t unit_bytes);
/* Bytes that are swapped as one: the element, or half of a complex one. */
size_t sm_swap_unit(int dtype);

/* What follows an .npy header that says so ("<f4"); errors without a file's name. May
 * borrow from `body`. */
int sm_npy_elements(struct str descr, bool is_fortran, const struct sm_shape *shape,
                    struct str body, struct sm_tensor *out, struct err *err) MUST_CHECK;

/* Appends a code point as UTF-8; false: it is none. */
bool sm_utf8_add(struct buf *out, uint32_t c);

/* ---- Riegeli/records (sm_riegeli.c) ---- */

struct sm_record {
    uint64_t position;
    struct str bytes;
};
struct sm_riegeli {
    struct sm_record *v; /* ascending positions */
    size_t n;
    char **blocks; /* unpacked, records point into them */
    size_t n_blocks;
    uint64_t unpacked_left, unpacked_max;
};
/* All records of the file. ERR_CORRUPT: cut off, a checksum; ERR_LIMIT: too many, or
 * unpacked too big; ERR_UNSUPPORTED: a kind of chunk that TensorFlow does not write. */
int sm_riegeli_read(struct sm_riegeli *r, struct str file, struct err *err) MUST_CHECK;
void sm_riegeli_release(struct sm_riegeli *r); /* for AUTO */
const struct sm_record *sm_riegeli_find(const struct sm_riegeli *r, uint64_t position);
uint64_t sm_riegeli_hash(struct str s); /* HighwayHash-64 with Riegeli's key */

/* ---- sorted string table (sm_table.c) ----------------------------------------------
 */

struct sm_table {
    struct sm_file file;
    char **blocks; /* unpacked snappy blocks that values point into */
    int n_blocks;
    struct sm_kv *kv; /* strictly ascending bytewise; each key is a heap block */
    size_t n_kv;
    size_t cap_kv;
    size_t key_bytes;
};
int sm_table_open(struct sm_table *t, int dirfd, const char *path,
                  struct err *err) MUST_CHECK;
void sm_table_release(struct sm_table *t);
bool sm_table_magic(struct str file); /* it ends as a table does */

/* ---- checkpoints (sm_bundle.c, sm_ckpt.c) ---- */

/* The bytes of an entry that is no directory, in the mapped shard. */
int sm_bundle_entry_bytes(struct sm_bundle *b, const struct sm_entry *e,
                          struct str *out, struct err *err) MUST_CHECK;
bool sm_bundle_is_big_endian(const struct sm_bundle *b);
/* There is a checkpoint of the old form under this prefix. */
bool sm_ckpt_is_v1(int dirfd, const char *prefix);

/* ---- slices of tensors (sm_slice.c) ---- */

/* A box inside a tensor of the same rank. */
struct sm_slice {
    int rank;
    int64_t start[SM_MAX_RANK];
    int64_t length[SM_MAX_RANK];
};
/* TensorSliceProto inside `full`; ERR_CORRUPT when it leaves it. */
int sm_slice_parse(struct str raw, const struct sm_shape *full, struct sm_slice *out,
                   struct err *err) MUST_CHECK;
/* "d0 d1 … spec" of RestoreV2's shape_and_slices; *full gets the dims. ERR_INVALID. */
int sm_slice_spec(struct str spec, struct sm_shape *full, struct sm_slice *out,
                  struct err *err) MUST_CHECK;
bool sm_slice_eq(const struct sm_slice *a, const struct sm_slice *b);
bool sm_slice_touches(const struct sm_slice *a, const struct sm_slice *b);
int64_t sm_slice_count(const struct sm_slice *s);
/* The key under which a slice of `name` is stored; a dimension that equals the full
 * one is written as full when the TensorSliceProto left it out (`raw`). */
void sm_slice_key(struct str name, struct str raw, int rank, struct buf *out);
/* Copies the part that both boxes share from src (shape of `sb`) to dst (shape of
 * `db`); both boxes are inside the same full tensor. Returns how many elements. */
int64_t sm_slice_copy(void *dst, const struct sm_slice *db, const void *src,
                      const struct sm_slice *sb, size_t elem_bytes);

#endif
