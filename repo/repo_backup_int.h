/* SPDX-License-Identifier: Apache-2.0 */
/* What writing and reading a backup share. */
#ifndef REPO_REPO_BACKUP_INT_H
#define REPO_REPO_BACKUP_INT_H

#include "repo/keep.h"
#include "repo/repo_int.h"

#include "base/json.h"
#include "base/tar.h"

#define BACKUP_FORMAT "sluice-backup 1\n"

/* "-" or "….tar" */
bool backup_is_tar(const char *path);
/* Stores what `read` gives, which must be `want`. ERR_CORRUPT. */
int backup_put(struct objects *to, const struct digest *want,
               int64_t (*read)(void *arg, void *p, size_t n, struct err *err),
               void *arg, bool *is_new, struct err *err) MUST_CHECK;
/* Copies an object that `to` lacks, hashed. ERR_NOTFOUND, ERR_CORRUPT. */
int backup_copy(struct objects *from, struct objects *to, const struct digest *d,
                int64_t size_bytes, bool *is_new, struct err *err) MUST_CHECK;
typedef int backup_object_fn(void *arg, const struct digest *d, int64_t size_bytes,
                             struct err *err);
/* Each object that a copied catalogue names, in order. n_versions may be NULL. */
int backup_each_object(const char *catalogue, backup_object_fn *fn, void *arg,
                       int64_t *n_versions, struct err *err) MUST_CHECK;

/* Files of a generation, and where a store has them. */
struct backup_part {
    const char *name, *place;
    mode_t mode;
    bool optional;
};
enum { BACKUP_N_PARTS = 5 };
extern const struct backup_part backup_parts[BACKUP_N_PARTS];
#define BACKUP_GENERATION_BYTES 64

/* The digests of a generation's own files, into the object that becomes its info.json.
 */
int backup_seal(int gen_fd, cJSON *info, struct err *err) MUST_CHECK;
/* ERR_CORRUPT: a file differs from that; an info.json without digests passes. */
int backup_check_seal(int gen_fd, const char *what, struct err *err) MUST_CHECK;

/* A tar on its way: the files of its generation go to gen_fd. */
struct backup_unpack {
    struct tar_in tar;
    int gen_fd; /* where the files of the generation go */
    char generation[BACKUP_GENERATION_BYTES];
    bool has_format;
    /* Each object as it passes. */
    int (*object)(struct backup_unpack *u, const struct digest *d, int64_t size_bytes,
                  struct err *err);
    void *arg;
};
/* ERR_INVALID: something that is not part of a backup; ERR_CORRUPT: cut off. */
int backup_unpack(struct backup_unpack *u, const char *path,
                  struct err *err) MUST_CHECK;
/* The bytes of the object that `object` is called with; arg: the struct backup_unpack.
 */
int64_t backup_read_entry(void *arg, void *p, size_t n, struct err *err) MUST_CHECK;

/* ERR_INVALID: no backup. */
int backup_open(const char *path, int *dirfd, struct err *err) MUST_CHECK;
bool backup_is_generation(const char *name, size_t n);
typedef int backup_generation_fn(void *arg, const char *name, struct err *err);
/* Oldest first; ERR_NOTFOUND: none. */
int backup_each_generation(int dirfd, const char *path, backup_generation_fn *fn,
                           void *arg, struct err *err) MUST_CHECK;

#endif
