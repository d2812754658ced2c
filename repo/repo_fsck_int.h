/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of a check share. */
#ifndef REPO_REPO_FSCK_INT_H
#define REPO_REPO_FSCK_INT_H

#include "repo/keep.h"
#include "repo/repo_int.h"

#include <stdatomic.h>

#define FSCK_REBUILD                                                                   \
    "sluice fsck --rebuild makes the catalogue anew from the log and the files"

#define FSCK_FROM                                                                      \
    "sluice fsck --repair --from DIR (another store, a backup, a target, any tree "    \
    "that "                                                                            \
    "holds a whole copy), or --repair and push the same files again"

enum job_state { JOB_GOOD, JOB_MISSING, JOB_DAMAGED };
struct fsck_job {
    struct digest digest;
    int64_t size_bytes;
#define FSCK_FROM                                                                      \
    "sluice fsck --repair --from DIR (another store, a backup, a target, any tree "    \
    "that "                                                                            \
    "holds a whole copy), or --repair and push the same files again"

    enum job_state state;
    char *why; /* owned; NULL unless damaged */
};
struct fsck_bad {
    struct digest digest;
    int64_t size_bytes;
    bool missing, mended;
    char *why;        /* owned */
    struct buf aside; /* where the damaged bytes are now; "": where they were */
    char source[256]; /* what mended it */
};
struct fsck {
    struct repo *r;
    const struct repo_fsck *how;
    struct repo_check *out;
    repo_finding_fn *fn;
    void *arg;
    int n_threads;
    int64_t start_ns;
    _Atomic int64_t read_bytes;
    struct fsck_bad *bad; /* by digest, but for a scrub */
    int n_bad;
    char first[1024];
};

int fsck_tell(struct fsck *f, const struct repo_finding *finding,
              struct err *err) MUST_CHECK;
int fsck_problem(struct fsck *f, const char *kind, const char *way_out, struct err *err,
                 const char *fmt, ...) PRINTF(5, 6) MUST_CHECK;

int fsck_objects(struct fsck *f, struct err *err) MUST_CHECK;
int fsck_scrub(struct fsck *f, struct err *err) MUST_CHECK;
/* SQLite's own checks (repo_check.c). */
int fsck_catalogue(struct fsck *f, struct err *err) MUST_CHECK;
/* Facts against the log's events (repo_facts.c). */
int fsck_facts(struct fsck *f, struct err *err) MUST_CHECK;
/* Manifests, their rows and version files; names in objects/ that are none. */
int fsck_rows(struct fsck *f, struct err *err) MUST_CHECK;
/* Mends what f->bad names when that was asked for, and tells of each (repo_repair.c).
 */
int fsck_repair(struct fsck *f, struct err *err) MUST_CHECK;

#endif
