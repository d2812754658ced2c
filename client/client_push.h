/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of a push share. */
#ifndef CLIENT_CLIENT_PUSH_H
#define CLIENT_CLIENT_PUSH_H

#include "client/client_hashes.h"
#include "client/client_int.h"
#include "client/client_jobs.h"
#include "client/tree.h"
#include "repo/tree.h"

struct push_range {
    int64_t from, to;
};
enum push_state { PUSH_HAVE, PUSH_COME, PUSH_WANT };
struct push_pieces;
struct push_file {
    char *path;     /* below push.dirfd */
    struct stat st; /* when it was listed */
    struct digest digest;
    bool has_digest, is_modified;
    /* as the other side says */
    enum push_state state;
    struct push_range *came;
    size_t n_came;
    struct digest base;
    bool has_base;
    struct push_pieces *pieces; /* while it is held against its base */
};
struct push {
    struct client *c;
    const char *verb, *model;
    int dirfd;
    struct push_file *files; /* in bytewise order of their paths */
    size_t n_files, n_alloc;
    struct client_hashes *hashes;
    char id[40];
    int64_t done_bytes, total_bytes, read_bytes;
    /* Bytes to send: of a file that is open, or (fd -1) a whole small one. */
    struct client_jobs jobs;
};

int push_modified(struct push_file *f, struct err *err);
int push_open_file(const struct push *p, struct push_file *f, int *out,
                   struct err *err) MUST_CHECK;
/* It is what it was when it was listed. */
int push_check_file(struct push_file *f, int fd, struct err *err) MUST_CHECK;
/* Its digest is known now. */
void push_learn(struct push *p, struct push_file *f, const struct digest *d,
                int64_t begun_ns);
bool push_has_come(const struct push_file *f, int64_t from, int64_t to);
void push_tell(struct push *p, int64_t n_bytes);
int push_post(struct push *p, const char *path, const cJSON *body, cJSON **reply,
              struct err *err) MUST_CHECK;

/* ---- client_push_part.c ---- */

client_job_fn push_run;
/* One part, from memory or (NULL) from job->fd. */
int push_part(struct push *p, const struct client_job *job, const void *bytes_or_null,
              const char *digest_header, struct err *err) MUST_CHECK;

/* ---- client_push_pieces.c ---- */

/* Asks for the pieces of f->base; f->pieces stays NULL when there is nothing to gain.
 */
int push_pieces_begin(struct push *p, struct push_file *f, struct err *err) MUST_CHECK;
/* Reads the file; each piece becomes a job. */
int push_pieces_read(struct push *p, struct push_file *f, int fd, char *chunk,
                     struct err *err) MUST_CHECK;
/* A job's: sends the piece, unless the base has it. */
int push_piece(struct push *p, const struct client_job *job,
               struct err *err) MUST_CHECK;
/* What the base has is copied over there. */
int push_pieces_end(struct push *p, struct push_file *f, struct err *err) MUST_CHECK;
void push_pieces_free(struct push_file *f);

#endif
