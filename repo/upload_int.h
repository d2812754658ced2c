/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of uploads share. */
#ifndef REPO_UPLOAD_INT_H
#define REPO_UPLOAD_INT_H

#include "repo/repo_int.h"
#include "repo/upload.h"

#include <pthread.h>
#include <stdatomic.h>

#define UPLOAD_BIG_BYTES ((int64_t)1 << 20) /* a larger file is hashed as it comes */
#define UPLOAD_HASHERS 2                    /* threads of one upload */
#define UPLOAD_SLAB_BYTES ((size_t)4 << 20)

/* Bytes [from, to) of a file, in order, with gaps between. */
struct upload_range {
    int64_t from, to;
};
struct upload_ranges {
    struct upload_range *v;
    size_t n;
};
void upload_ranges_add(struct upload_ranges *s, int64_t from, int64_t to);
/* Of [from, to) what is not in s is appended to gaps. */
void upload_ranges_gaps(const struct upload_ranges *s, int64_t from, int64_t to,
                        struct upload_ranges *gaps);
void upload_ranges_release(struct upload_ranges *s); /* for AUTO */

/* What a shard is held against while it is hashed; NULL: nothing. */
struct upload_checks;
void upload_checks_free(struct upload_checks *k);
/* A big file's digest on its way. */
struct upload_hash {
    struct sha256 sha;
    int64_t at_bytes; /* so far */
    struct upload_checks *checks;
    bool is_running; /* a thread has it */
    bool is_done, is_bad;
    bool is_checked; /* its tensors, by the index of that generation */
    int index_generation;
    struct digest got;
    struct err err; /* the disk's */
};
struct upload_file {
    char *path;
    int64_t size_bytes;
    struct digest digest;
    bool has_digest; /* said at the beginning, or by the commit */
    bool is_have;    /* the store has it, and the caller may know */
    char tag[REPO_UPLOAD_TAG_BYTES];
    struct digest base; /* what it may be like */
    bool has_base;
    struct upload_ranges came;
    struct upload_hash *hash; /* of a big one, from its first part on */
};
/* What came of a file, and still lies in memory. */
struct upload_slab {
    struct upload_slab *next;
    char *p; /* UPLOAD_SLAB_BYTES, of which to - from are the file's */
    const struct upload_file *file;
    int64_t from, to;
};
struct repo_part {
    struct repo_upload *u;
    struct upload_file *f;
    struct repo_part *next;
    int fd;
    int64_t from, at, to;
    struct upload_ranges gaps; /* what of it is written */
    struct repo_part_sums want;
    struct sha256 sha;
    uint32_t crc;
    char *held; /* bytes that came, and are not written yet: the n_held before `at` */
    size_t n_held, held_max;
    struct upload_slab *slab; /* held is its memory; NULL: its own */
    bool is_writing;          /* just now */
    bool is_taken;            /* somebody else has it */
};
struct repo_upload {
    struct repo_uploads *us;
    struct repo_upload *next;
    int n_users; /* under us->lock, as next */
    char id[REPO_UPLOAD_ID_BYTES];
    char subject[64];
    char model[REPO_NAME_BYTES];
    int dirfd, parts_fd;
    struct upload_file *files; /* in the order of a manifest */
    int n_files;
    bool has_index;       /* index.index in its folder is the model's */
    int index_generation; /* counts when another one comes */

    pthread_mutex_t lock; /* guards all below, and what of files changes */
    pthread_cond_t moved;
    struct repo_part *parts; /* under way */
    int n_hashers;
    struct upload_slab *warm, *spare; /* spare: without bytes, while somebody hashes */
    bool is_committing, is_committed, is_dropped, is_ending;
    struct repo_tree tree;
};
struct repo_uploads {
    int store_dirfd, dirfd;
    pthread_mutex_t lock;
    struct repo_upload *all;
    _Atomic int n_slabs;
    _Atomic int64_t min_free_bytes; /* when one was begun the last time */
};

/* So many bytes may come. As repo_room_for_bytes. */
int upload_room(const struct repo_uploads *us, int64_t bytes,
                struct err *err) MUST_CHECK;
/* repo_upload_disk.c */
int upload_write_about(struct repo_upload *u, struct err *err) MUST_CHECK;
int upload_read_about(struct repo_upload *u, struct err *err) MUST_CHECK;
int upload_read_parts(struct repo_upload *u, struct err *err) MUST_CHECK;
/* 1: it was committed; 0. */
int upload_read_tree(struct repo_upload *u, struct err *err) MUST_CHECK;
/* Appends to `parts`; size -1: nothing of it came. */
int upload_note(struct repo_upload *u, const struct upload_file *f, int64_t offset,
                int64_t size, struct err *err) MUST_CHECK;
/* Nothing of the file came. Under the lock. */
int upload_forget(struct repo_upload *u, struct upload_file *f,
                  struct err *err) MUST_CHECK;
void upload_file_name(const struct repo_upload *u, const struct upload_file *f,
                      char out[16]);
bool upload_is_whole(const struct upload_file *f);
void upload_hash_free(struct upload_hash *h); /* NULL allowed */
/* Something came: a thread hashes it, or has to. Under the lock. */
void upload_hash_wake(struct repo_upload *u, struct upload_file *f);
/* Until no thread hashes. Under the lock. */
void upload_hash_stop(struct repo_upload *u);
/* All under the lock. NULL: there are too many. */
struct upload_slab *upload_slab_take(struct repo_upload *u);
void upload_slab_give(struct repo_upload *u, struct upload_slab *s); /* NULL allowed */
/* It has the bytes [from, to) of a file, for who hashes it. */
void upload_slab_warm(struct repo_upload *u, struct upload_slab *s,
                      const struct upload_file *f, int64_t from, int64_t to);
/* The one with the byte `at`, which is the caller's then; NULL: none. */
struct upload_slab *upload_slab_find(struct repo_upload *u, const struct upload_file *f,
                                     int64_t at);
/* Nobody hashes what is in memory of the file (NULL: of all). */
void upload_slabs_cool(struct repo_upload *u, const struct upload_file *f_or_null);
/* {"path", "size", "sha256"?, "tag"?} */
int upload_files_parse(const cJSON *list, struct upload_file **out, int *n,
                       bool needs_digest, struct err *err) MUST_CHECK;
void upload_files_free(struct upload_file *v, int n);
/* A manifest of them; files without a digest have one of zeros. Borrows the paths. */
void upload_manifest(const struct upload_file *v, int n, struct repo_manifest *out);

#endif
