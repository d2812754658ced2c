/* SPDX-License-Identifier: Apache-2.0 */
/* Deleting and collecting, as the service does it. */
#ifndef TESTS_GC_FIXTURE_H
#define TESTS_GC_FIXTURE_H

#include "repo/gc.h"
#include "tests/unit/repo/repo_fixture.h"

static inline int
try_delete(struct fixture *f, const struct repo_version *v, int64_t days,
           struct err *err)
{
    int r = db_begin(f->r->db, err);

    if (r == 0)
        r = repo_delete(f->r, v, days, "test", err);
    if (r == 0)
        r = db_commit(f->r->db, err);
    db_rollback(f->r->db);
    return r;
}

static inline int
try_undelete(struct fixture *f, const struct repo_version *v, struct err *err)
{
    int r = db_begin(f->r->db, err);

    if (r == 0)
        r = repo_undelete(f->r, v, err);
    if (r == 0)
        r = db_commit(f->r->db, err);
    db_rollback(f->r->db);
    return r;
}

static inline int
purge_one(void *arg, const struct repo_version *v, struct err *err)
{
    struct fixture *f = arg;
    int r = db_begin(f->r->db, err);

    if (r == 0)
        r = repo_purge(f->r, v, "test", err);
    if (r >= 0)
        r = db_commit(f->r->db, err);
    db_rollback(f->r->db);
    return r;
}

static inline int
try_gc(struct fixture *f, bool empty_trash, struct repo_gc_totals *out, struct err *err)
{
    struct repo_gc *g AUTO(repo_gc_close_p) = NULL;
    int r = repo_gc_open(&g, f->r, false, err);

    if (r == 0)
        r = repo_gc_due(g, purge_one, f, err);
    return r < 0 ? r : repo_gc_run(g, empty_trash, out, err);
}

static inline struct repo_gc_totals
gc(struct fixture *f)
{
    struct repo_gc_totals t;
    struct err err = ERR_INIT;

    CHECK_OK(try_gc(f, false, &t, &err));
    return t;
}

static inline struct repo_gc_totals
plan(struct fixture *f, bool empty_trash)
{
    struct repo_gc *g AUTO(repo_gc_close_p) = NULL;
    struct repo_gc_totals t;
    struct err err = ERR_INIT;

    CHECK_OK(repo_gc_open(&g, f->r, true, &err));
    CHECK_OK(repo_gc_plan(g, empty_trash, &t, &err));
    return t;
}

/* Deleted, and its window is over. */
static inline void
give_up(struct fixture *f, const struct repo_version *v)
{
    struct err err = ERR_INIT;

    CHECK_OK(try_delete(f, v, 0, &err));
    CHECK_OK(purge_one(f, v, &err));
}

/* The store's life goes on by so many days; wall_days moves the wall clock. */
static inline void
clocks(int wall_days, int boot_days)
{
    char text[64];

    snprintf(text, sizeof(text), "%d:%d", wall_days * 86400, boot_days * 86400);
    setenv("TEST_CLOCK", text, 1);
}

static inline int64_t
age(struct fixture *f)
{
    struct err err = ERR_INIT;
    int64_t ns;

    CHECK_OK(repo_age(f->r, &ns, &err));
    return ns;
}

#endif
