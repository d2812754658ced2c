/* SPDX-License-Identifier: Apache-2.0 */
/* A version that comes from another store, file by file. What came so far stays below
 * STORE/incoming, by the digest of its bytes, and is gone on with later:
 *
 *   incoming/<64 hex>   the first bytes of the object with this digest
 *
 * Nothing there is believed: a file becomes an object when its bytes have the digest,
 * and the list of files is one when its text has the digest of the version. One process
 * at a time. */
#ifndef REPO_INCOMING_H
#define REPO_INCOMING_H

#include "repo/repo.h"

struct repo_incoming {
    struct repo *r;
    struct repo_manifest manifest; /* n_files 0: not known yet */
    int dirfd, lock_fd;
    int fd;           /* of the file that is coming; -1: none */
    int64_t at_bytes; /* how much of it there is */
    int64_t new_bytes;
};
#define REPO_INCOMING_INIT                                                             \
    {                                                                                  \
        .dirfd = -1, .lock_fd = -1, .fd = -1                                           \
    }
/* Takes a lease, so that gc leaves what is found and what comes. ERR_BUSY: another
 * process receives. Outside a transaction, as all of it but _add. */
int repo_incoming_open(struct repo_incoming *in, struct repo *r,
                       struct err *err) MUST_CHECK;
void repo_incoming_close(struct repo_incoming *in); /* for AUTO */
/* The list of files, as the other store has it. ERR_CORRUPT: its digest is another. */
int repo_incoming_manifest(struct repo_incoming *in, struct str text,
                           const struct digest *want, struct err *err) MUST_CHECK;
/* 1: the bytes of file i are not here yet, in->at_bytes of them came already and the
 * rest goes to _write; 0: they are here. ERR_CORRUPT: all came, and they hash to
 * something else; they are discarded. */
int repo_incoming_file(struct repo_incoming *in, int i, struct err *err) MUST_CHECK;
/* The next bytes. ERR_CORRUPT: more than the file has. */
int repo_incoming_write(struct repo_incoming *in, int i, const void *p, size_t n,
                        struct err *err) MUST_CHECK;
/* In the caller's transaction, when every file is here: the version under the number
 * that the other store gave it. One that was deleted comes back. ERR_CONFLICT: the
 * number has other bytes here. *is_new: it was not here, or deleted. */
int repo_incoming_add(struct repo_incoming *in, const char *model, int64_t number,
                      const char *provenance_json, struct repo_version *out,
                      bool *is_new, struct err *err) MUST_CHECK;
/* Before it: makes what came durable. */
int repo_incoming_sync(struct repo_incoming *in, struct err *err) MUST_CHECK;

/* The other side: writes to fd the list of files of a version (n 0), or the bytes of
 * these of its files, one after the other, without the first offset_bytes of them all.
 * ERR_NOTFOUND: no such path. ERR_CORRUPT: what a whole file was read as is not what
 * was pushed; it is told after the bytes. */
int repo_send(struct repo *r, const struct digest *manifest, const char *const *paths,
              int n, int64_t offset_bytes, int fd, struct err *err) MUST_CHECK;

/* 1: the model has a version of this number, whatever its state; 0: none. */
int repo_version_numbered(struct repo *r, const char *model, int64_t number,
                          struct repo_version *out, struct err *err) MUST_CHECK;
/* What came of versions that nobody waits for any more; best effort. */
void repo_incoming_clear(struct repo *r);

#endif
