/* SPDX-License-Identifier: Apache-2.0 */
/* What the two files of the local objects share: repo_objects_put.c brings objects in,
 * repo_objects_local.c has the rest, and the invariants. */
#ifndef REPO_OBJECTS_LOCAL_H
#define REPO_OBJECTS_LOCAL_H

#include "repo/repo_int.h"

#define CHUNK_BYTES ((size_t)1 << 20)
#define OBJECT_MODE 0444
#define PATH_BYTES 80 /* "../objects/ab/" + 62 digits + NUL, and some */

/* Written, without a name yet. */
struct waiting {
    struct fs_tmp tmp;
    struct digest digest;
    bool torn; /* replaces a damaged one */
    bool is_durable;
};

struct local {
    struct objects o;
    int dirfd;    /* the store's, borrowed */
    int stage_fd; /* -1 until the first put */
    char *chunk;  /* CHUNK_BYTES, from the first put on */
    struct waiting *waiting;
    int n_waiting, max_waiting;
    bool touched[256]; /* fan-out directories with names that are not synced */
};

static inline struct local *
local_of(struct objects *o)
{
    return (struct local *)(void *)o;
}

void object_path(const struct digest *d, const char *prefix, char out[PATH_BYTES]);
/* stage/, and room for what is read; once. */
int local_open_stage(struct local *l, struct err *err) MUST_CHECK;

/* Of struct objects_ops. */
int local_has(struct objects *o, const struct digest *d, int64_t *size_bytes,
              struct err *err);
int local_open(struct objects *o, const struct digest *d, int *out_fd, struct err *err);
int local_put(struct objects *o, struct objects_put *p, struct err *err);
int local_sync(struct objects *o, struct err *err);
bool local_is_settled(const struct objects *o);
void local_forget(struct objects *o);

#endif
