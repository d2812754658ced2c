/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of cold objects, and the two ways an object's file goes: the whole file once
 * its delta is recorded, and (repo_warm.c) the delta once the whole file is back. */
#include "repo/cold_int.h"

#include "base/clock.h"

/* ---- chains ---- */

int
repo_cold_row(struct repo *r, const struct digest *d, struct err *err)
{
    int64_t one;

    return db_get_int(r->db, &one, err, "SELECT 1 FROM cold WHERE object = ?", "b",
                      d->b, sizeof(d->b));
}

int
repo_cold_fits(struct repo *r, const struct digest *object, const struct digest *base,
               struct err *err)
{
    int64_t above = 0, below = 0, circle = 0;
    int rc = db_get_int(
        r->db, &above, err,
        "WITH RECURSIVE up(object, n) AS (SELECT object, 1 FROM cold WHERE base = ? "
        "UNION ALL SELECT c.object, u.n + 1 FROM cold c JOIN up u ON c.base = u.object "
        "WHERE u.n < 1000) SELECT COALESCE(MAX(n), 0) FROM up",
        "b", object->b, sizeof(object->b));

    if (rc >= 0)
        rc = db_get_int(
            r->db, &below, err,
            "WITH RECURSIVE down(base, n) AS (SELECT base, 1 FROM cold WHERE object = "
            "? UNION ALL SELECT c.base, d.n + 1 FROM cold c JOIN down d ON c.object = "
            "d.base WHERE d.n < 1000) SELECT COALESCE(MAX(n), 0) FROM down",
            "b", base->b, sizeof(base->b));
    if (rc >= 0)
        rc = db_get_int(
            r->db, &circle, err,
            "WITH RECURSIVE down(base, n) AS (SELECT base, 1 FROM cold WHERE object = "
            "? UNION ALL SELECT c.base, d.n + 1 FROM cold c JOIN down d ON c.object = "
            "d.base WHERE d.n < 1000) SELECT 1 FROM down WHERE base = ? LIMIT 1",
            "bb", base->b, sizeof(base->b), object->b, sizeof(object->b));
    return rc < 0 ? rc
                  : circle == 0 && !digest_eq(object, base) &&
                        above + 1 + below <= REPO_COLD_DEPTH_MAX;
}

/* ---- rows, and the end of the whole files ---------------------------------------- */

static bool
is_delta_there(struct repo *r, const struct repo_cold_item *item)
{
    char path[COLD_PATH_BYTES];
    struct stat st;

    cold_path("cold", &item->object, path);
    return fstatat(r->dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISREG(st.st_mode) && st.st_size == item->stored_bytes;
}

int
repo_object_row(struct repo *r, const struct digest *d, struct err *err)
{
    int64_t one;

    return db_get_int(r->db, &one, err, "SELECT 1 FROM object WHERE digest = ?", "b",
                      d->b, sizeof(d->b));
}

int
repo_cold_put_row(struct repo *r, const struct repo_cold_item *item, struct err *err)
{
    int rc =
        db_run(r->db, err,
               "INSERT INTO cold(object, stored_bytes, created_ns) VALUES(?, ?, ?) "
               "ON CONFLICT(object) DO UPDATE SET base = NULL, "
               "stored_bytes = excluded.stored_bytes",
               "bii", item->object.b, sizeof(item->object.b), item->stored_bytes,
               clock_now_ns());

    if (rc == 0 && item->has_base)
        rc = db_run(r->db, err, "UPDATE cold SET base = ? WHERE object = ?", "bb",
                    item->base.b, sizeof(item->base.b), item->object.b,
                    sizeof(item->object.b));
    return rc;
}

/* 1: the row stands, 0: something it needs has gone. */
static int
record_item(struct repo *r, const struct repo_cold_item *item, struct err *err)
{
    int64_t size_bytes;
    int rc = repo_object_row(r, &item->object, err);

    if (rc == 1 && item->has_base)
        rc = repo_object_row(r, &item->base, err);
    if (rc == 1 && item->has_base)
        rc = repo_cold_fits(r, &item->object, &item->base, err);
    if (rc == 1 && item->has_base)
        rc = r->objects->ops->has(r->objects, &item->base, &size_bytes, err);
    if (rc != 1 || !is_delta_there(r, item))
        return rc < 0 ? rc : 0;
    rc = repo_cold_put_row(r, item, err);
    return rc < 0 ? rc : 1;
}

int
repo_cold_record(struct repo *r, struct repo_cold *c, struct err *err)
{
    int n = 0;

    if (!db_in_tx(r->db))
        BUG("cold objects recorded outside a transaction");
    for (int i = 0; i < c->n_items; i++) {
        const struct repo_cold_item item = c->items[i];
        int rc = item.has_row ? repo_cold_row(r, &item.object, err)
                              : record_item(r, &item, err);

        if (rc < 0)
            return rc;
        if (rc == 1) {
            c->items[n++] = item;
        } else {
            c->size_bytes -= item.size_bytes;
            c->stored_bytes -= item.stored_bytes;
        }
    }
    c->n_items = n;
    return 0;
}

int
repo_cold_finish(struct repo *r, const struct repo_cold *c, struct err *err)
{
    struct objects *whole = objects_cold_whole(r->objects);
    int rc = db_begin(r->db, err);

    for (int i = 0; rc >= 0 && i < c->n_items; i++) {
        const struct digest *d = &c->items[i].object;

        /* under the lock nobody can take the delta away: it is there, so it stays */
        rc = repo_cold_row(r, d, err);
        if (rc == 1 && is_delta_there(r, &c->items[i]))
            rc = whole->ops->delete (whole, d, err);
    }
    db_rollback(r->db);
    return rc < 0 ? rc : 0;
}
