/* SPDX-License-Identifier: Apache-2.0 */
/* Trees: files that came over the network, or were made for somebody there, before (or
 * without) a version that names them. A tree is a manifest whose objects are in the
 * store; who sent it, or had it made, has it for a day, and so long gc leaves it. In
 * requests and replies it stands for a path (docs/transfer.md):
 *
 *   tree:sha256:<64 hex>          the directory with this manifest
 *   tree:sha256:<64 hex>/NAME     the file, or directory, NAME of it
 *
 * "The caller" is acc_actor of the handle. */
#ifndef REPO_TREE_H
#define REPO_TREE_H

#include "repo/repo.h"

#define REPO_TREE_S INT64_C(86400) /* of the store's age */
#define REPO_TREE_DONE_S INT64_C(600)

struct repo_tree {
    struct digest digest;
    /* What of it the caller had to send, told by a push in place of what was new to the
     * store, which may be none of his business. */
    int64_t n_new_files, new_bytes;
    /* Each tensor of its data shards fits variables/variables.index. */
    bool is_checked;
};

#define REPO_TREE_PREFIX "tree:sha256:"
/* 1: a tree, *name what follows ("": nothing); 0: another text. ERR_INVALID: it begins
 * as one, and goes on as none does. */
int repo_tree_parse(const char *text, struct digest *out, const char **name,
                    struct err *err) MUST_CHECK;
void repo_tree_text(const struct digest *d, const char *name, struct buf *out);

/* The caller has this tree for a day from now. In his transaction, after
 * repo_manifest_record. */
int repo_tree_add(struct repo *r, const struct repo_tree *t,
                  struct err *err) MUST_CHECK;
/* It has done its work: versions have its bytes. It stays for REPO_TREE_DONE_S more, so
 * that the same call can be made again. In a transaction. */
int repo_tree_done(struct repo *r, const struct digest *d, struct err *err) MUST_CHECK;
/* ERR_NOTFOUND: the caller has no such tree (any more). */
int repo_tree_get(struct repo *r, const struct digest *d, struct repo_tree *out,
                  struct err *err) MUST_CHECK;
/* What a verb reads in place of a path that its caller sent: a view of the tree, and in
 * *path, which the caller frees, the directory or file of it that `text` names. Errors
 * of _parse and _get; ERR_NOTFOUND: no such NAME. */
int repo_tree_open(struct repo *r, const char *text, struct repo_view *view,
                   char **path, struct err *err) MUST_CHECK;
/* The files of a tree for a push, as repo_ingest gives those of a directory, without
 * reading what was read when it came; with is_model as there. `name`: for messages. */
int repo_tree_take(struct repo *r, const struct digest *d, bool is_model,
                   const char *name, struct repo_ingest *out,
                   struct err *err) MUST_CHECK;
/* What a push of these files would have to send: `text` is a manifest, of files that
 * are elsewhere. ERR_INVALID: it is none. */
int repo_tree_foresee(struct repo *r, struct str text, struct repo_ingest *out,
                      struct err *err) MUST_CHECK;
/* The other way: a verb has written `path`, a file or directory below stage/; its files
 * become a tree of the caller's. text: as _text, with the file's name; outside a
 * transaction. 1: made; 0: there is no file in it. */
int repo_tree_make(struct repo *r, const char *path, struct buf *text,
                   struct err *err) MUST_CHECK;

/* The files of a manifest as a tar, or a tar.zst, with the directories that a checkout
 * makes: always the same bytes. Each file is hashed on the way; a damaged one breaks
 * the stream off: ERR_CORRUPT. */
int repo_tree_tar(struct repo *r, const struct digest *manifest, bool is_zstd,
                  int (*to)(void *arg, const void *p, size_t n, struct err *err),
                  void *arg, struct err *err) MUST_CHECK;

/* 1: the caller may have the bytes of this object, or of all files of this manifest: it
 * is of a tree of his, or of a version (or attached to one) of a model that he may
 * read. 0: not, or there is no such object, which looks the same. */
int repo_object_may_read(struct repo *r, const struct digest *d,
                         struct err *err) MUST_CHECK;
int repo_tree_may_read(struct repo *r, const struct digest *manifest,
                       struct err *err) MUST_CHECK;
/* The pieces that the object is cut into where it is held against another: at its
 * tensors, when an index of a tree that the caller may read says where they lie, and
 * each 4 MiB from there. Made when first asked for (all of it is read), then kept.
 * Outside a transaction. ERR_NOTFOUND: as repo_object_may_read's 0. */
typedef int repo_piece_fn(void *arg, int64_t at, int64_t size_bytes,
                          const struct digest *d, struct err *err);
int repo_object_pieces(struct repo *r, const struct digest *d, repo_piece_fn *fn,
                       void *arg, struct err *err) MUST_CHECK;

#endif
