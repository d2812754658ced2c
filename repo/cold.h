/* SPDX-License-Identifier: Apache-2.0 */
/* Cold objects: files of versions that nobody serves, kept as a delta on another object
 * of the same model in cold/ab/cdef… in place of objects/ab/cdef…. An object is read
 * the same whether it is whole or cold: the backend brings a cold one back when
 * somebody opens or links it, verified, and keeps the delta; the next `cold` then only
 * drops the whole file again.
 *
 * Order: delta durable < verified (the object put together from the disk and hashed) <
 * named < row durable < whole file removed; and back: whole file durable and named <
 * row and delta removed. Either is removed only under the catalogue's write lock, and
 * only after the other was seen in its place, so a crash anywhere leaves a readable
 * object. A row keeps the base of its delta from being collected. */
#ifndef REPO_COLD_H
#define REPO_COLD_H

#include "repo/objects.h"
#include "repo/repo.h"

#define REPO_COLD_DEPTH_MAX 64 /* deltas between an object and a whole file */

/* ---- making versions cold -------------------------------------------------------- */

struct repo_cold_policy {
    int64_t before_ns; /* only what was pushed, and brought back, before; INT64_MAX */
    bool keep_newest;  /* each model's newest version stays whole */
    /* 1: the version's files stay whole (deployed, held …), 0, -code. NULL: none. */
    int (*in_use)(void *arg, const struct repo_version *v, struct err *err);
    void *arg;
};
struct repo_cold_item {
    struct digest object, base;
    bool has_base;
    bool has_row; /* the delta was there; only the whole file goes */
    int64_t size_bytes, stored_bytes;
};
struct repo_cold {
    struct repo_cold_item *items;
    int n_items;
    int64_t size_bytes, stored_bytes; /* of the items: whole, and as deltas */
    /* files that stay as they are, and why */
    int n_cold, n_small, n_in_use, n_linked, n_young, n_no_gain, n_deep;
};
void repo_cold_release(struct repo_cold *c); /* for AUTO */

/* Whether the policy lets a version's files become cold; aliases are looked at here.
 * `why` gets a few words when it does not. 1, 0, -code. */
int repo_cold_may(struct repo *r, const struct repo_version *v,
                  const struct repo_cold_policy *policy, char why[80],
                  struct err *err) MUST_CHECK;
/* Makes, verifies and (unless dry_run) names the deltas of the version's files that no
 * version with a reason to stay whole has too. Outside a transaction; nothing is
 * removed yet. ERR_CORRUPT: an object is damaged: it stays as it is. */
int repo_cold_make(struct repo *r, const struct repo_version *v,
                   const struct repo_cold_policy *policy, bool dry_run,
                   struct repo_cold *out, struct err *err) MUST_CHECK;
/* In the caller's transaction: their rows. What another process made impossible
 * meanwhile leaves the list. */
int repo_cold_record(struct repo *r, struct repo_cold *c, struct err *err) MUST_CHECK;
/* After the commit: the whole files go. A crash before leaves both, which is only
 * space; the next repo_cold_make finds it. */
int repo_cold_finish(struct repo *r, const struct repo_cold *c,
                     struct err *err) MUST_CHECK;

/* ---- and back -------------------------------------------------------------------- */

struct repo_warm {
    int n_objects;
    int64_t size_bytes; /* of them */
};
/* Brings every cold file of a manifest back. Outside a transaction. */
int repo_warm_make(struct repo *r, const struct digest *manifest, struct repo_warm *out,
                   struct err *err) MUST_CHECK;
/* In the caller's transaction: rows and deltas of the manifest's files go. ERR_BUSY:
 * one of them was made cold again meanwhile. */
int repo_warm_record(struct repo *r, const struct digest *manifest,
                     struct err *err) MUST_CHECK;

/* ---- for gc, fsck and backup ----------------------------------------------------- */

/* Puts a cold object together and hashes it; nothing is written. ERR_NOTFOUND: it has
 * no delta. ERR_CORRUPT. */
int repo_cold_verify(struct repo *r, const struct digest *d,
                     struct err *err) MUST_CHECK;
/* Holds rows against cold/: each problem goes to fn. Reads only tables, no data. */
int repo_cold_check(struct repo *r,
                    int (*fn)(void *arg, const char *problem, struct err *err),
                    void *arg, struct err *err) MUST_CHECK;
/* In the caller's transaction: what an object that is gone for good, without a row in
 * `object`, still has in cold/ and in the table. */
int repo_cold_forget(struct repo *r, const struct digest *d,
                     struct err *err) MUST_CHECK;
/* Deltas that nobody recorded, of objects that have gone meanwhile: those of more than
 * a day ago. Outside a transaction. */
int repo_cold_sweep(struct repo *r, struct err *err) MUST_CHECK;
/* In the caller's transaction: the rows anew, from what lies in cold/ and has an object
 * row; for a catalogue that is being rebuilt. */
int repo_cold_rebuild(struct repo *r, struct err *err) MUST_CHECK;

/* ---- sizes ----------------------------------------------------------------------- */

struct repo_sizes {
    int64_t logical_bytes; /* of the files, as pulled */
    int64_t stored_bytes;  /* of their objects on the disk, each once, with manifest */
    int64_t unique_bytes;  /* what deleting only this would free */
    int n_files, n_cold;   /* n_cold: of them have no whole file */
    int64_t cold_bytes;    /* logical bytes of those */
};
int repo_sizes_version(struct repo *r, const struct repo_version *v,
                       struct repo_sizes *out, struct err *err) MUST_CHECK;
/* Of all versions of a model, or (0) of the store, where `unique` is what nothing else
 * shares. */
int repo_sizes_model(struct repo *r, int64_t model_id_or_0, struct repo_sizes *out,
                     struct err *err) MUST_CHECK;

/* ---- the backend ----------------------------------------------------------------- */

/* `whole` with cold/ behind it; takes it over. */
int objects_open_cold(struct objects **out, struct objects *whole, int store_dirfd,
                      struct err *err) MUST_CHECK;
/* The backend that has only whole files. */
struct objects *objects_cold_whole(struct objects *o);
/* The whole file of an object that has a delta. ERR_NOTFOUND: it has none. */
int objects_cold_bring_back(struct objects *o, const struct digest *d,
                            struct err *err) MUST_CHECK;

#endif
