/* SPDX-License-Identifier: Apache-2.0 */
/* What the repo_gc*.c files share. */
#ifndef REPO_REPO_GC_INT_H
#define REPO_REPO_GC_INT_H

#include "repo/gc.h"
#include "repo/repo_int.h"

#define GC_BATCH_MAX 64 /* objects of one transaction */

struct repo_gc {
    struct repo *r;
    int lock_fd; /* trash/, locked unless it only looks */
    bool opened;
};

struct gc_object {
    struct digest digest;
    int64_t size_bytes;
    bool is_orphan;
};
typedef int gc_objects_fn(void *arg, const struct gc_object *o, int n, struct err *err);

/* Versions that count as purged, for "what if". */
int gc_gone_clear(struct repo_gc *g, struct err *err) MUST_CHECK;
int gc_gone_add(struct repo_gc *g, int64_t version_id, struct err *err) MUST_CHECK;

/* Rows of objects that nothing keeps, in order; then files that no row knows. */
int gc_mark(struct repo_gc *g, gc_objects_fn *fn, void *arg,
            struct err *err) MUST_CHECK;
int gc_orphans(struct repo_gc *g, gc_objects_fn *fn, void *arg,
               struct err *err) MUST_CHECK;
int gc_doom(void *arg, const struct gc_object *o, int n, struct err *err) MUST_CHECK;
/* 1: a root, or a file of one. */
int gc_is_kept(struct repo *r, const struct digest *d, struct err *err) MUST_CHECK;
/* What was doomed before this age may be swept: when the oldest push began. */
int gc_limits(struct repo_gc *g, int64_t age_ns, int64_t *before_ns,
              struct err *err) MUST_CHECK;

void gc_count(struct repo_gc_sum *s, int64_t size_bytes);

struct sweep {
    struct repo_gc *g;
    struct repo_gc_totals *out;
    struct digest after;       /* what has been looked at */
    int64_t age_ns, before_ns; /* of the batch at work */
    bool manifests;            /* the first of two passes */
    bool orphans_at_once;      /* also young ones */
    int n_batch;
};
void gc_sweep_start(struct sweep *s, struct repo_gc *g, struct repo_gc_totals *out);
int gc_sweep_step(struct sweep *s, bool *ended, struct err *err) MUST_CHECK;
/* Unlinks what lies in the trash until that age, or (until_free > 0) until so many
 * bytes are free. */
int gc_empty(struct repo_gc *g, int64_t until_ns, int64_t until_free,
             struct repo_gc_totals *out, struct err *err) MUST_CHECK;

#endif
