/* SPDX-License-Identifier: Apache-2.0 */
/* What goes and what stays: leases, deleting, holds, gc, retention, room.
 *
 * Time. Windows, leases and the trash count in the store's own age (repo_age): a wall
 * clock that is set forward or back makes nothing collectable early.
 *
 * What keeps an object: a version that is not purged, a lease, any `object_refs` of a
 * module's db_schema; a manifest's files follow it. What keeps a version: `keepers`.
 *
 * gc and pushes at the same time. gc first writes what nothing keeps into `doomed`
 * (mark), and later, in small batches under the write lock, looks once more, moves the
 * file to trash/ and drops the rows (sweep). A push takes a lease before it looks for
 * its first object. An object is swept only when it was doomed before the oldest lease
 * of a push began; a push that finds a doomed object makes it doomed anew, under the
 * write lock (repo_rescue). So what a push has found stays until it ends.
 *
 * A crash between the rename and its commit leaves the row, and the file in trash/:
 * repo_trash_heal moves it back. The other way round it is an orphan. */
#ifndef REPO_GC_H
#define REPO_GC_H

#include "repo/repo.h"

#define REPO_DELETE_DAYS 14          /* a deleted version may come back */
#define REPO_TRASH_S INT64_C(86400)  /* what gc took may come back */
#define REPO_ORPHAN_S INT64_C(86400) /* a file without a row is left alone */
#define REPO_LEASE_S INT64_C(3600)   /* a lease that is not renewed */
#define REPO_DAYS_MAX 36500          /* of a window or a retention rule */
#define REPO_RESERVE_BYTES (4 << 20) /* kept for rollback, delete and gc */

/* ---- age (repo_age.c) ---- */

/* How long this store has lived, in ns: time since boot while the machine is up, and
 * across a boot what the wall clock says, but at most a day. Never falls. The second
 * also keeps it, in the caller's transaction. */
int repo_age(struct repo *r, int64_t *out_ns, struct err *err) MUST_CHECK;
int repo_age_tick(struct repo *r, int64_t *out_ns, struct err *err) MUST_CHECK;

/* ---- leases (repo_lease.c) ---- */

/* One for each handle. A push's (NULL) keeps all that it finds, a pull's its version.
 * Outside a transaction; a second call renews the first one's lease when a quarter of
 * its time has gone. Ends with repo_lease_end, in or outside of a transaction, with the
 * handle, or when repo_lease_reap sees that its process died. */
int repo_lease(struct repo *r, const struct repo_version *v_or_null,
               struct err *err) MUST_CHECK;
void repo_lease_end(struct repo *r);
/* Renews the handle's lease when it is time and no transaction is open; best effort. */
void repo_lease_keep(struct repo *r);
/* Ends the leases of processes that are gone; best effort, in or outside of a
 * transaction. */
void repo_lease_reap(struct repo *r);
/* A push has found this object: gc leaves it to the push. Outside a transaction. */
int repo_rescue(struct repo *r, const struct digest *d, struct err *err) MUST_CHECK;

/* ---- deleting and holding (repo_delete.c); in the caller's transaction ---- */

typedef int repo_keeper_fn(void *arg, const char *why, const char *way_out,
                           struct err *err);
/* Everything that needs a version. */
int repo_keepers(struct repo *r, int64_t version_id, repo_keeper_fn *fn, void *arg,
                 struct err *err) MUST_CHECK;
/* ERR_REFUSED names what needs it and the way out. ERR_CONFLICT: deleted already. */
int repo_delete(struct repo *r, const struct repo_version *v, int64_t window_days,
                const char *reason, struct err *err) MUST_CHECK;
/* Also after its window, while its files lie in the trash. ERR_CONFLICT: not deleted.
 * ERR_NOTFOUND: its bytes are gone. */
int repo_undelete(struct repo *r, const struct repo_version *v,
                  struct err *err) MUST_CHECK;
/* As repo_resolve, and finds versions whose bytes gc has taken, too. */
int repo_resolve_any(struct repo *r, const char *ref, struct repo_version *out,
                     struct err *err) MUST_CHECK;
struct repo_deletion {
    int64_t deleted_ns, purged_ns; /* since 1970; purged 0: can come back as it is */
    int64_t left_s;                /* of its window */
    char by[64];
};
/* 1 deleted, 0 not, -code. */
int repo_deletion(struct repo *r, int64_t version_id, struct repo_deletion *out,
                  struct err *err) MUST_CHECK;
/* A legal hold: nothing of this version (NULL: of any version of the model) is deleted
 * or collected. ERR_CONFLICT: held already; ERR_NOTFOUND: not held. */
int repo_hold(struct repo *r, const char *model, const struct repo_version *v_or_null,
              const char *reason, struct err *err) MUST_CHECK;
int repo_unhold(struct repo *r, const char *model, const struct repo_version *v_or_null,
                struct err *err) MUST_CHECK;

/* ---- gc (repo_gc.c, repo_gc_need.c) ---- */

struct repo_gc;
/* One at a time: ERR_BUSY. Heals the trash unless `look_only`. */
int repo_gc_open(struct repo_gc **out, struct repo *r, bool look_only,
                 struct err *err) MUST_CHECK;
void repo_gc_close(struct repo_gc *g);
void repo_gc_close_p(struct repo_gc **g); /* for AUTO */

struct repo_gc_sum {
    int64_t n, bytes;
};
struct repo_gc_totals {
    struct repo_gc_sum unused;  /* objects that nothing keeps: go to the trash */
    struct repo_gc_sum orphans; /* files without a row: go to the trash */
    struct repo_gc_sum waiting; /* as these, but young, or a push is under way */
    struct repo_gc_sum freed;   /* leaves the trash */
    int64_t still_linked_bytes; /* of it: targets have links, so no room is won */
};
/* Deleted versions whose window is over and that nothing keeps. */
int repo_gc_due(struct repo_gc *g,
                int (*fn)(void *arg, const struct repo_version *v, struct err *err),
                void *arg, struct err *err) MUST_CHECK;
/* What repo_gc_run would do once the due ones are purged. Writes nothing. */
int repo_gc_plan(struct repo_gc *g, bool empty_trash, struct repo_gc_totals *out,
                 struct err *err) MUST_CHECK;
/* The version's bytes are nobody's, with an event; in the caller's transaction.
 * 1: purged, 0: something keeps it by now, or it came back. */
int repo_purge(struct repo *r, const struct repo_version *v, const char *why,
               struct err *err) MUST_CHECK;
/* Marks, sweeps, empties what is old in the trash (or all of it). */
int repo_gc_run(struct repo_gc *g, bool empty_trash, struct repo_gc_totals *out,
                struct err *err) MUST_CHECK;

/* What stands between `need_bytes` and the file system's free bytes, safest first. */
struct repo_gc_item {
    const char *kind;              /* trash orphans unused cold deleted retention */
    const struct repo_version *v;  /* of cold, deleted and retention */
    const char *why;               /* for a person */
    int64_t n_objects, size_bytes; /* that only this item keeps */
    int64_t frees_bytes;           /* on the disk; a link elsewhere keeps a file */
};
typedef int repo_gc_item_fn(void *arg, const struct repo_gc_item *item,
                            struct err *err);
int64_t repo_free_bytes(struct repo *r);
/* `apply`: does each item at once, fn afterwards with what the file system gave back,
 * until the room is there. `before_purge` (may be NULL) is asked for each version:
 * takes its directories out of targets. */
struct repo_gc_need {
    int64_t need_bytes;
    bool apply;
    int (*before_purge)(void *arg, const struct repo_version *v, struct err *err);
    /* links to a file of this version that before_purge would take away */
    int (*n_links)(void *arg, const struct repo_version *v, struct err *err);
    /* makes a version cold (`apply`), or looks what that would give: fills the item's
     * numbers; 0 objects: it stays as it is. NULL: none becomes cold */
    int (*make_cold)(void *arg, const struct repo_version *v, struct repo_gc_item *item,
                     struct err *err);
    repo_gc_item_fn *fn;
    void *arg;
};
int repo_gc_need(struct repo_gc *g, const struct repo_gc_need *need,
                 struct err *err) MUST_CHECK;

/* Why the object with this digest (8 to 64 hex digits) stays or goes. The last line is
 * the verdict. ERR_NOTFOUND, ERR_CONFLICT (several). */
typedef int repo_line_fn(void *arg, const char *line, struct err *err);
int repo_gc_explain(struct repo_gc *g, const char *hex, struct digest *out,
                    bool *out_stays, repo_line_fn *fn, void *arg,
                    struct err *err) MUST_CHECK;

/* Files that a crash left in trash/ although their rows stand go back; others that no
 * row knows get one. Outside a transaction. */
int repo_trash_heal(struct repo *r, struct err *err) MUST_CHECK;

/* ---- retention (repo_retention.c) ---- */

struct repo_rules {
    int64_t keep_last;           /* newest so many */
    int64_t younger_days;        /* 0: no such rule */
    char ever[REPO_ALIAS_BYTES]; /* alias; "": no such rule */
    bool is_own;                 /* of this model; else those of '*' */
};
/* model "*": of every model without its own. In the caller's transaction. */
int repo_rules_set(struct repo *r, const char *model, const struct repo_rules *rules,
                   struct err *err) MUST_CHECK;
/* 1: there was one, 0. In the caller's transaction. */
int repo_rules_clear(struct repo *r, const char *model, struct err *err) MUST_CHECK;
/* 1 found, 0 none apply. */
int repo_rules_get(struct repo *r, const char *model, struct repo_rules *out,
                   struct err *err) MUST_CHECK;
/* Every version of the model that is not deleted, newest first: kept or not, and why.
 * Without rules everything is kept. */
typedef int repo_retention_fn(void *arg, const struct repo_version *v, bool kept,
                              const char *why, struct err *err);
int repo_retention(struct repo *r, const char *model, repo_retention_fn *fn, void *arg,
                   struct err *err) MUST_CHECK;
/* For each model that rules apply to. */
int repo_retention_all(struct repo *r, repo_retention_fn *fn, void *arg,
                       struct err *err) MUST_CHECK;

/* ---- room (repo_room.c) ---- */

/* "20G" (10^9), "20GiB" (2^30), "512". ERR_INVALID. */
int repo_size_parse(const char *text, int64_t *out, struct err *err) MUST_CHECK;
/* Bytes that a model's versions may take (model NULL: that must stay free on the file
 * system). bytes 0: no limit. In the caller's transaction. */
int repo_quota_set(struct repo *r, const char *model_or_null, int64_t bytes,
                   struct err *err) MUST_CHECK;
struct repo_quota {
    int64_t limit_bytes; /* 0: none */
    int64_t used_bytes;  /* of objects that versions of the model keep */
    int64_t n_versions;
};
int repo_quota(struct repo *r, const char *model, struct repo_quota *out,
               struct err *err) MUST_CHECK;
int repo_min_free(struct repo *r, int64_t *out, struct err *err) MUST_CHECK;
/* Before a push: is there room for `dir`, or for those files? Reads the directory's
 * files only when it is tight. Without a model, no quota counts. ERR_LIMIT: says sizes
 * and the way out. */
int repo_room_for_files(struct repo *r, const char *model_or_null,
                        const struct repo_manifest *m, struct err *err) MUST_CHECK;
/* The quota alone, and the disk alone: so many bytes, of which so many must stay free
 * (0: it must have room). ERR_LIMIT; ERR_IO as ENOSPC. */
int repo_quota_for_files(struct repo *r, const char *model_or_null,
                         const struct repo_manifest *m, struct err *err) MUST_CHECK;
int repo_room_for_bytes(int64_t free_bytes, int64_t min_free_bytes, int64_t bytes,
                        struct err *err) MUST_CHECK;
int repo_room_for(struct repo *r, const char *model_or_null, const char *dir,
                  struct err *err) MUST_CHECK;
/* In the push's transaction, after repo_version_add. ERR_LIMIT. */
int repo_quota_check(struct repo *r, const char *model, struct err *err) MUST_CHECK;

/* A file of REPO_RESERVE_BYTES: what is spent of it is room for the commands that end a
 * full disk. Best effort; `urgent` may spend all of it, others half. */
void repo_reserve_spend(struct repo *r, bool urgent);
void repo_reserve_fill(struct repo *r);

#endif
