/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REPO_REPO_INT_H
#define REPO_REPO_INT_H

#include "repo/objects.h"
#include "repo/repo.h"

#define REPO_MODE 0700                        /* directories of a store */
#define REPO_FORMAT "format"                  /* file that says what this is */
#define REPO_RESERVE "reserve"                /* file that repo_room.c spends */
#define REPO_FILES_MAX 1000000                /* of one manifest */
#define REPO_MANIFEST_MAX ((size_t)256 << 20) /* bytes of its text */
#define REPO_PATH_MAX 4095                    /* bytes of a path in a manifest */
#define REPO_ENCODED_NAME_MAX 200 /* bytes of a model's name as a directory */

/* ---- repo_manifest.c ------------------------------------------------------------- */

/* Bytes outside [!-~] and '%' as %XX, upper case. */
void repo_path_encode(const char *path, struct buf *out);
/* The raw bytes of an encoded path, to be freed; NULL: not the one way to write it. */
char *repo_path_decode(struct str text);
/* Relative, without empty, "." and ".." parts. */
bool repo_path_is_clean(const char *path);
/* Its first line, appended. */
void repo_manifest_begin(struct buf *out);
/* In the caller's transaction: the object's row. ERR_BUSY: it has gone meanwhile. */
int repo_object_record(struct repo *r, const struct digest *d, int64_t size_bytes,
                       int64_t now_ns, struct err *err) MUST_CHECK;

/* ---- repo_checkout.c ------------------------------------------------------------- */

/* Calls fn for each directory of the tree but its root, parents first. */
typedef int repo_dir_fn(void *arg, const char *path, struct err *err);
int repo_manifest_dirs(const struct repo_manifest *m, repo_dir_fn *fn, void *arg,
                       struct err *err) MUST_CHECK;

/* A new file f->path with the object's bytes, verified and synced. */
int repo_object_copy(struct repo *r, const struct repo_file *f, int dirfd,
                     struct err *err) MUST_CHECK;

/* ---- repo_place.c ---------------------------------------------------------------- */

/* ERR_UNSUPPORTED: a file system of several machines. */
int repo_check_fs(const char *path, uint32_t magic, struct err *err) MUST_CHECK;
int repo_place_look(int dirfd, const char *path, bool *is_read_only,
                    struct err *err) MUST_CHECK;
/* ERR_DENIED: another user's, or with modes that let others in where it matters. */
int repo_check_owner(int dirfd, const char *path, const struct stat *st,
                     struct err *err) MUST_CHECK;
int repo_not_yours(const char *path, uid_t owner, struct err *err);

/* ---- repo_tag.c ------------------------------------------------------------------ */

/* Rows of "key, text, time_ns, actor, digest or NULL, size". */
int repo_said_each(struct db_stmt *st, repo_said_fn *fn, void *arg,
                   struct err *err) MUST_CHECK;

/* ---- repo_store.c -----------------------------------------------------------------
 */

/* The folders and the format file of a store, in an empty directory. */
int repo_make_folders(int dirfd, struct err *err) MUST_CHECK;
/* r->path's directory and owner, if it is a store of this format. */
int repo_open_dir(struct repo *r, struct err *err) MUST_CHECK;

/* ---- repo_version.c -------------------------------------------------------------- */

/* versions/<model>/<n> */
void repo_version_path(const char *model, int64_t number, struct buf *out);
void repo_version_text(const char *model, int64_t number, const struct digest *d,
                       int64_t time_ns, struct buf *out);
/* Columns for repo_version_row, with "FROM version v JOIN model m ON m.id =
 * v.model_id". */
#define REPO_VERSION_SELECT                                                            \
    "SELECT v.id, v.model_id, m.name, v.number, v.digest, v.state, v.created_ns, "     \
    "v.size_bytes, v.n_files, v.pushed_by FROM version v "                             \
    "JOIN model m ON m.id = v.model_id "
void repo_version_row(struct db_stmt *st, struct repo_version *out);

/* ---- repo_seen.c ----------------------------------------------------------------- */

struct repo_seen repo_seen_of(const struct stat *st);
bool repo_seen_same(const struct repo_seen *a, const struct repo_seen *b);
/* It was last changed long enough before now_ns for its times to tell a change. */
bool repo_seen_is_calm(const struct repo_seen *s, int64_t now_ns);
/* 1 and the digest: its object is in the store; 0: read it; -code. */
int repo_seen_find(struct repo *r, const struct repo_seen *s, struct digest *out,
                   struct err *err) MUST_CHECK;

/* ---- repo_model.c ---------------------------------------------------------------- */

struct sm_bundle;
/* As repo_check_saved_model; *out_bundle (NULL: there is none) is the caller's. */
int repo_model_check(int dirfd, const char *dir, struct sm_bundle **out_bundle,
                     struct err *err) MUST_CHECK;
/* The checksums of the tensors in the file `path` of the model, names lent by the
 * bundle; none when it is no data shard. The caller frees the array. */
int repo_model_crcs(struct sm_bundle *bundle, const char *path,
                    struct objects_crc **out);
/* Those of its strings and variants, which are not of their bytes as they stand: read
 * once more, from memory by then; of at most 8 MiB each, so that a push stays small. */
int repo_model_check_strings(struct sm_bundle *bundle, const char *path,
                             struct err *err) MUST_CHECK;
/* Its data shards are "variables/variables.data-…", and this is their index. */
#define REPO_MODEL_INDEX "variables/variables.index"
bool repo_model_is_shard(const char *path);

/* ---- repo_ingest.c --------------------------------------------------------------- */

/* Its sums, of is_new; of files with one content the first is new. */
void repo_ingest_count(struct repo_ingest *in);

/* ---- repo_pump.c: a big file becomes an object --------------------------------------
 */

/* Reads, hashes, checks, writes and syncs at the same time, with 20 MiB of buffers. */
struct repo_pump {
    const struct objects_file *file;
    int to_fd; /* the same file as file->fd when that is_ours */
    const char *what;
    void *progress_arg;
    struct digest digest; /* filled, with size_bytes */
    int64_t size_bytes;
};
int repo_pump(struct repo_pump *p, struct err *err) MUST_CHECK;
/* Holds bytes that come in order against the tensors of a file: where that stands. */
struct repo_crc_run {
    const struct objects_file *file;
    const char *what;
    int i; /* of the tensor at hand */
    uint32_t crc;
};
/* The next n bytes, at offset `at`. ERR_CORRUPT. */
int repo_crc_run(struct repo_crc_run *k, const char *p, size_t n, int64_t at,
                 struct err *err) MUST_CHECK;
/* Of a file whose first n bytes lie in memory: the tensors that end there. */
int repo_check_crcs(const struct objects_file *file, const char *bytes, size_t n,
                    const char *what, struct err *err) MUST_CHECK;

/* ---- repo_archive.c: an archive becomes a directory
 * ---------------------------------- */

struct repo_unpack_to {
    int dirfd;
    int64_t most_bytes;                              /* of all files */
    void (*progress)(void *arg, int64_t done_bytes); /* NULL: nobody asks */
    void *arg;
};
/* The archive in `fd`; or, with is_reply, what sluice-unpack said of one
 * (unpack_int.h). ERR_INVALID: a link, device …, an absolute name, one with "..", one
 * that comes twice, no archive. ERR_LIMIT: too much. */
int repo_unpack_stream(int fd, const struct repo_unpack_to *to, bool is_reply,
                       struct err *err) MUST_CHECK;

/* ---- repo_keep.c ------------------------------------------------------------------
 */

/* Makes, for this connection, the views that the db_schemas' lists are read through:
 * kept_version(id, digest), root(digest, what), keeper(version_id, why, way_out),
 * was_live(version_id, alias), and the table gone(version_id): versions to leave out of
 * kept_version, for "what if". */
int repo_keep_views(struct repo *r, struct err *err) MUST_CHECK;

/* ---- repo_trash.c -----------------------------------------------------------------
 */

/* objects/ to trash/ and back, by rename. An absent file is no error: 0, else 1. */
int repo_trash_put(struct repo *r, const struct digest *d, struct err *err) MUST_CHECK;
int repo_trash_back(struct repo *r, const struct digest *d, struct err *err) MUST_CHECK;
/* What the disk would win by it: 0 with *linked when other links keep it. */
int64_t repo_trash_frees(struct repo *r, const struct digest *d, bool in_trash,
                         int n_own_links, bool *linked);
/* 1 there is such a file, 0 not. */
int repo_trash_has(struct repo *r, const struct digest *d, int64_t *size_bytes,
                   struct err *err) MUST_CHECK;
int repo_trash_unlink(struct repo *r, const struct digest *d,
                      struct err *err) MUST_CHECK;

/* A digest in a column; false: something else stands there. */
bool repo_column_digest(struct db_stmt *st, int col, struct digest *out);

/* ---- repo_stage.c ---------------------------------------------------------------- */

/* Removes what dead processes left in stage/; nothing to do costs one empty listing. */
void repo_stage_sweep(struct repo *r);

#endif
