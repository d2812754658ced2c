/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of a pull share. */
#ifndef CLIENT_CLIENT_PULL_H
#define CLIENT_CLIENT_PULL_H

#include "base/fs.h"
#include "client/client_int.h"
#include "client/client_jobs.h"
#include "client/tree.h"
#include "repo/tree.h"

/* Bytes of a file that is coming, in the order of its parts. */
struct pull_part {
    int64_t at, n_bytes;
    bool came; /* it is in the file */
};
struct pull {
    struct client *c;
    struct repo_manifest m;
    int work_fd, tree_fd; /* ".sluice-…" beside the destination, and "tree" in it */
    int have_fd;          /* an older one; -1 */
    int journal_fd;       /* "parts" */
    bool *is_done;        /* of each file: verified, on the disk */
    struct client_jobs jobs;
    int64_t done_bytes, total_bytes;
    /* of the file that is coming, under jobs.lock */
    struct pull_part *parts;
    size_t n_parts;
};

/* Of file i what the older directory has becomes parts that came. 1: it was of use, 0:
 * there is nothing to gain. */
int pull_pieces(struct pull *p, int i, int fd, struct err *err) MUST_CHECK;
/* A job that hashes a piece of the older file. */
client_job_fn pull_hash_piece;
/* Into the journal, for who goes on after a kill; n_bytes -1: the file is whole. */
int pull_note(struct pull *p, int i, int64_t at, int64_t n_bytes,
              struct err *err) MUST_CHECK;
void pull_add_part(struct pull *p, int64_t at, int64_t n_bytes, bool came);
/* One range, into fd. */
int pull_range(struct pull *p, const struct repo_file *f, int fd, int64_t at,
               int64_t n_bytes, struct err *err) MUST_CHECK;

#endif
