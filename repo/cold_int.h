/* SPDX-License-Identifier: Apache-2.0 */
/* What the files about cold objects share: the form of a delta, the reader that puts an
 * object together again, leaf lists; and (last) their rows in the catalogue. */
#ifndef REPO_COLD_INT_H
#define REPO_COLD_INT_H

#include "repo/cold.h"
#include "repo/repo_int.h"
#include "savedmodel/savedmodel.h"

#define COLD_PATH_BYTES 80              /* "objects/ab/" + 62 digits + NUL */
#define COLD_LEAF_BYTES SM_CUT_BYTES    /* most of a leaf, and of a zstd piece */
#define COLD_BLOCK_BYTES ((size_t)4096) /* leaves that differ are compared by it */
#define COLD_PIECES_MAX ((uint64_t)4 * 1000000) /* of one delta */

/* "objects/ab/cdef…" or "cold/ab/cdef…" */
void cold_path(const char *folder, const struct digest *d, char out[COLD_PATH_BYTES]);

/* ---- a delta (repo_cold_file.c) ---- */

enum cold_kind {
    COLD_BASE, /* bytes of the base, from `at` */
    COLD_OWN,  /* bytes of this file, from `at` */
    COLD_ZSTD  /* one zstd frame of `stored` bytes of this file, from `at` */
};
struct cold_piece {
    enum cold_kind kind;
    int64_t from; /* place in the object */
    int64_t length, at, stored;
};
struct cold_file {
    int fd;
    struct digest object, base;
    bool has_base;
    int64_t size_bytes; /* of the object */
    int64_t file_bytes; /* of the delta */
    int64_t base_bytes; /* the base must have at least so many */
    struct cold_piece *pieces;
    size_t n_pieces;
};
/* Takes `fd` over (also when it fails), reads the table and checks all of it that can
 * be checked without the base. ERR_CORRUPT names `what` and the fault. */
int cold_file_open(struct cold_file *out, int fd, const char *what,
                   struct err *err) MUST_CHECK;
void cold_file_close(struct cold_file *f); /* for AUTO */

struct cold_writer {
    int fd; /* borrowed; at its end */
    int64_t at;
    int64_t size_bytes; /* of the object so far */
    struct cold_piece *pieces;
    size_t n_pieces, n_alloc;
    bool uses_base;
    void *zstd; /* ZSTD_CCtx */
    char *packed;
};
int cold_write_start(struct cold_writer *w, int fd, struct err *err) MUST_CHECK;
/* The next bytes of the object: `n` that the base has from `at`; or these, at most
 * COLD_LEAF_BYTES, compressed where that takes 5 % off. */
int cold_write_base(struct cold_writer *w, int64_t at, int64_t n,
                    struct err *err) MUST_CHECK;
int cold_write_own(struct cold_writer *w, const void *p, size_t n,
                   struct err *err) MUST_CHECK;
/* The table. A base that no piece uses is left out. */
int cold_write_end(struct cold_writer *w, const struct digest *object,
                   const struct digest *base, struct err *err) MUST_CHECK;
void cold_write_release(struct cold_writer *w); /* for AUTO */

/* Exactly n bytes. ERR_CORRUPT: the file ends before. */
int cold_read_at(int fd, void *p, size_t n, int64_t at, const char *what,
                 struct err *err) MUST_CHECK;

/* ---- reading an object, whole or not (repo_cold_read.c) ---- */

struct cold_reader {
    int64_t size_bytes;
    struct cold_file *levels; /* the object's delta, its base's, …; none: it is whole */
    int n_levels;
    int whole_fd; /* -1: the last delta stands alone */
    int64_t whole_bytes;
    /* the last zstd piece that was unpacked */
    const struct cold_piece *cached;
    char *unpacked, *packed;
};
#define COLD_READER_INIT                                                               \
    {                                                                                  \
        .whole_fd = -1                                                                 \
    }
/* The object from its file in objects/, else from its delta. ERR_NOTFOUND: neither;
 * ERR_CORRUPT: a delta or the sizes of its bases are wrong. */
int cold_reader_open(struct cold_reader *out, int store_dirfd, const struct digest *d,
                     struct err *err) MUST_CHECK;
/* The same from a delta that has no name yet, or although the object is whole. */
int cold_reader_open_delta(struct cold_reader *out, int store_dirfd, int delta_fd,
                           const char *what, struct err *err) MUST_CHECK;
/* cold_reader_open_delta of the file in cold/. ERR_NOTFOUND: there is none. */
int cold_open_named(struct cold_reader *rd, int store_dirfd, const struct digest *d,
                    struct err *err) MUST_CHECK;
void cold_reader_close(struct cold_reader *rd); /* for AUTO */
/* Exactly n bytes from `at`; both lie in the object. */
int cold_read(struct cold_reader *rd, int64_t at, void *p, size_t n,
              struct err *err) MUST_CHECK;
/* Reads all of it and writes it to to_fd (-1: nowhere). On a file system that clones,
 * to_fd shares the base's blocks. ERR_CORRUPT: it hashes to something else. */
int cold_reader_all(struct cold_reader *rd, int to_fd, const struct digest *want,
                    struct err *err) MUST_CHECK;

/* ---- leaf lists (repo_leaves.c) ---- */

struct leaf {
    int64_t at;
    uint32_t length;
    uint64_t tag; /* of the tensor's name and the leaf's place in it; 0: none */
    struct digest digest;
};
struct leaf_list {
    struct leaf *v;
    size_t n;
    struct digest root; /* RFC 6962, over the digests */
};
void leaf_list_release(struct leaf_list *l); /* for AUTO */
/* Cuts and hashes what `rd` reads. Hints are sorted. */
int leaf_list_make(struct leaf_list *out, struct cold_reader *rd, struct sm_hint *hints,
                   size_t n_hints, struct err *err) MUST_CHECK;
/* As stored: of each leaf its length (4 bytes), tag (8), digest (32). False: not such
 * a list, or not of an object of that size. */
void leaf_list_format(const struct leaf_list *l, struct buf *out);
bool leaf_list_parse(struct leaf_list *out, struct str text, int64_t size_bytes);
/* Bytes of `l` in leaves that `base` has too. */
int64_t leaf_list_shared(const struct leaf_list *l, const struct leaf_list *base);

/* Writes the object of `rd` as a delta on `base` (NULL: none). */
int cold_delta_write(struct cold_writer *w, struct cold_reader *rd,
                     const struct leaf_list *leaves, struct cold_reader *base_or_null,
                     const struct leaf_list *base_leaves, struct err *err) MUST_CHECK;

/* ---- rows ---- */

/* The leaf list of a manifest's file, from the catalogue or made now. Outside a
 * transaction. */
int repo_leaves_get(struct repo *r, const struct repo_manifest *m,
                    const struct repo_file *f, struct leaf_list *out,
                    struct err *err) MUST_CHECK;
/* 1: the object has a row in `object`, in `cold`; 0, -code. */
int repo_object_row(struct repo *r, const struct digest *d, struct err *err) MUST_CHECK;
int repo_cold_row(struct repo *r, const struct digest *d, struct err *err) MUST_CHECK;
int repo_cold_put_row(struct repo *r, const struct repo_cold_item *item,
                      struct err *err) MUST_CHECK;
/* 1: `object` may stand on `base`: no circle, and chains stay short; 0, -code. */
int repo_cold_fits(struct repo *r, const struct digest *object,
                   const struct digest *base, struct err *err) MUST_CHECK;
/* The file of that path, and the folders above it, have their names on the disk. */
int cold_sync_name(int store_dirfd, const char *path, struct err *err) MUST_CHECK;
/* As cold_path of "cold"; the file goes. */
int cold_unlink(int store_dirfd, const struct digest *d, struct err *err) MUST_CHECK;

#endif
