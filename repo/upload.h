/* SPDX-License-Identifier: Apache-2.0 */
/* A tree that comes in parts, in any order and by several hands, from somebody who is
 * not trusted and may vanish. What came is kept below the store:
 *
 *   uploads/<32 hex>/about    JSON: whose it is, and its files
 *   uploads/<32 hex>/parts    what came, one line each: FILE OFFSET SIZE, or FILE none
 *   uploads/<32 hex>/<N>      the bytes of file N so far
 *   uploads/<32 hex>/tree     after its commit: the digest of its manifest
 *
 * Invariants:
 *  1. a range that came is not written again before its file is forgotten as a whole:
 *     what was hashed is what becomes the object;
 *  2. `parts` may promise too much (after a power cut): a file becomes an object only
 *     when all of its bytes were hashed, in this process, and hash to its digest;
 *  3. nobody is told of an object that he may not read: what he has not sent himself
 *     and may not read is asked of him.
 *
 * An upload goes a day after its last part. Any number of threads may call these; a
 * `struct repo` belongs to the calling thread, and "the caller" is its acc_actor. */
#ifndef REPO_UPLOAD_H
#define REPO_UPLOAD_H

#include "base/json.h"
#include "repo/tree.h"

#define REPO_UPLOAD_S INT64_C(86400)
#define REPO_UPLOADS_MAX 32       /* of one subject at a time */
#define REPO_UPLOAD_ID_BYTES 33   /* 32 hex digits and a NUL */
#define REPO_UPLOAD_TAG_BYTES 129 /* what a client knows a state of a file by */

struct repo_uploads;
/* All of a store's. Starts no thread before there is something to hash. */
int repo_uploads_open(struct repo_uploads **out, const char *store_path,
                      struct err *err) MUST_CHECK;
void repo_uploads_close(struct repo_uploads *us); /* NULL allowed */
/* Removes those that are over; best effort. */
void repo_uploads_sweep(int store_dirfd);

struct repo_upload;
void repo_upload_put(struct repo_upload *u);    /* gives it back */
void repo_upload_put_p(struct repo_upload **u); /* for AUTO */
/* `ask`: {"model", "files": [{"path", "size", "sha256"?, "tag"?}, …]}. An upload of the
 * caller's that lists the same files in the same state (by their digests, or while one
 * is not known by their tags) is gone on with. ERR_INVALID: not such an object.
 * ERR_LIMIT: too many uploads; no room (as repo_room_for_files). ERR_IO as ENOSPC: nor
 * has the disk. No room is reserved: each part asks again. */
int repo_upload_begin(struct repo_upload **out, struct repo_uploads *us, struct repo *r,
                      const cJSON *ask, struct err *err) MUST_CHECK;
/* ERR_NOTFOUND: `subject` has no such upload. */
int repo_upload_find(struct repo_upload **out, struct repo_uploads *us, const char *id,
                     const char *subject, struct err *err) MUST_CHECK;
/* {"id", "files": [{"path", "size", "state": "have" | "want" | "come", "base"?: a file
 * that it may be like, "came"?: [[offset, size], …]}, …], "tree"?}, in the order that
 * the parts' N counts. */
void repo_upload_json(struct repo_upload *u, cJSON *out);
/* Forgets it, and what came. */
int repo_upload_drop(struct repo_upload *u, struct err *err) MUST_CHECK;

/* ---- parts ---- */

struct repo_part_sums { /* of exactly its bytes */
    bool has_sha256, has_crc32c;
    struct digest sha256;
    uint32_t crc32c;
};
struct repo_part;
/* ERR_NOTFOUND: no file n. ERR_INVALID: bytes beyond its size. ERR_CONFLICT: it is
 * committed. ERR_BUSY: somebody is writing there just now. A part that somebody else
 * has begun is theirs no more. */
int repo_part_begin(struct repo_part **out, struct repo_upload *u, int64_t n,
                    int64_t offset_bytes, int64_t size_bytes,
                    const struct repo_part_sums *sums, struct err *err) MUST_CHECK;
/* Takes the next bytes, *n of them or fewer, into memory; *n: how many. 1: it takes no
 * more before repo_part_flush. Waits for nothing. */
int repo_part_take(struct repo_part *p, const void *bytes, size_t *n,
                   struct err *err) MUST_CHECK;
/* Those go to the disk. ERR_BUSY: another one took the part over. */
int repo_part_flush(struct repo_part *p, struct err *err) MUST_CHECK;
/* All were taken. ERR_CORRUPT: they do not have that checksum; ERR_INVALID: they are
 * too few. Nothing came then. */
int repo_part_end(struct repo_part *p, struct err *err) MUST_CHECK;
void repo_part_close(struct repo_part *p); /* in any case; NULL allowed */

/* Pieces of an object that the caller may read become pieces of file n: {"from":
 * "sha256:…", "pieces": [[offset, size, offset in from], …]}. *out_bytes of them. */
int repo_upload_copy(struct repo_upload *u, struct repo *r, int64_t n, const cJSON *ask,
                     int64_t *out_bytes, struct err *err) MUST_CHECK;

/* ---- the end ---- */

/* `ask`: {"files": [{"path", "size", "sha256"}, …]}, the files of _begin. Waits until
 * they are hashed; a second commit of the same list answers the same. ERR_CONFLICT:
 * bytes are missing, or the list is another one. ERR_CORRUPT: a file hashes to
 * something else; it is forgotten, and asked for again. ERR_BUSY: somebody else commits
 * just now. */
int repo_upload_commit(struct repo_upload *u, struct repo *r, const cJSON *ask,
                       struct repo_tree *out, struct err *err) MUST_CHECK;

/* "sha-256=:…:, crc32c=:…:" (RFC 9530); others are passed over. ERR_INVALID. */
int repo_part_sums_parse(const char *text, struct repo_part_sums *out,
                         struct err *err) MUST_CHECK;

#endif
