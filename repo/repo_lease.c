/* SPDX-License-Identifier: Apache-2.0 */
/* Leases: what is under way and must not be swept under its feet. They are committed
 * without waiting for the disk: a power cut ends pushes and pulls, too.
 *
 * Whose lease is alive holds a lock on the byte of `format` that has the lease's id for
 * its offset. A lock dies with its process, so a lease without one is a dead one's. (A
 * pid would say less: two containers may share a store.) */
#include "repo/gc.h"

#include "base/clock.h"
#include "repo/repo_int.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#define LEASE_NS (REPO_LEASE_S * 1000000000)

static struct flock
byte_of(int64_t lease_id, short type)
{
    return (struct flock){
        .l_type = type, .l_whence = SEEK_SET, .l_start = lease_id, .l_len = 1
    };
}

/* Before its row can be seen. */
static int
lock_byte(struct repo *r, int64_t lease_id, struct err *err)
{
    struct flock byte = byte_of(lease_id, F_RDLCK);

    fs_close(&r->lease_fd); /* of one that ran out */
    if (fs_open(&r->lease_fd, r->dirfd, REPO_FORMAT, O_RDONLY | O_NOFOLLOW, 0, err) < 0)
        return -(int)err->code;
    return fcntl(r->lease_fd, F_OFD_SETLK, &byte) < 0
               ? err_sys(err, errno, "lock " REPO_FORMAT)
               : 0;
}

/* A file system that cannot tell counts as a sign of life: then the lease runs out. */
static bool
is_dead(int format_fd, int64_t lease_id)
{
    struct flock byte = byte_of(lease_id, F_WRLCK);

    return fcntl(format_fd, F_OFD_GETLK, &byte) == 0 && byte.l_type == F_UNLCK;
}

static int
insert(struct repo *r, const struct repo_version *v, int64_t age_ns, struct err *err)
{
    static const char sql[] = "INSERT INTO lease(version_id, holder, since_age_ns, "
                              "until_age_ns) VALUES(?, ?, ?, ?)";
    char *holder AUTO(free_ptr) =
        xasprintf("a %s by %s, process %ld", v ? "pull" : "push", acc_actor(r->acc),
                  (long)getpid());
    int rc =
        v ? db_run(r->db, err, sql, "itii", v->id, holder, age_ns, age_ns + LEASE_NS)
          : db_run(r->db, err, sql, "ntii", holder, age_ns, age_ns + LEASE_NS);

    if (rc == 0) {
        r->lease_id = db_last_id(r->db);
        rc = lock_byte(r, r->lease_id, err);
    }
    return rc;
}

/* The lease that is there, or none: it ran out, and what it kept may be gone. The rows
 * that name such an object find out (repo_manifest_record). */
static int
renew(struct repo *r, int64_t age_ns, struct err *err)
{
    int rc = db_run(r->db, err,
                    "UPDATE lease SET until_age_ns = ? WHERE id = ? AND "
                    "until_age_ns > ?",
                    "iii", age_ns + LEASE_NS, r->lease_id, age_ns);

    if (rc == 0 && db_changes(r->db) == 0)
        r->lease_id = 0;
    return rc;
}

int
repo_lease(struct repo *r, const struct repo_version *v_or_null, struct err *err)
{
    int64_t age_ns, mono_ns = clock_mono_ns();
    int rc;

    if (r->lease_id && mono_ns - r->lease_mono_ns < LEASE_NS / 4)
        return 0;
    rc = db_begin_quick(r->db, err);
    if (rc == 0)
        rc = repo_age_tick(r, &age_ns, err);
    if (rc == 0 && r->lease_id)
        rc = renew(r, age_ns, err);
    if (rc == 0 && !r->lease_id)
        rc = insert(r, v_or_null, age_ns, err);
    if (rc == 0)
        rc = db_commit(r->db, err);
    db_rollback(r->db);
    if (rc < 0) {
        r->lease_id = 0;
        return err_ctx(err, "take a lease");
    }
    r->lease_mono_ns = mono_ns;
    return 0;
}

void
repo_lease_keep(struct repo *r)
{
    struct err err = ERR_INIT;
    int64_t age_ns;
    int rc;

    if (!r->lease_id || db_in_tx(r->db) ||
        clock_mono_ns() - r->lease_mono_ns < LEASE_NS / 4)
        return;
    rc = db_begin_quick(r->db, &err);
    if (rc == 0)
        rc = repo_age_tick(r, &age_ns, &err);
    if (rc == 0)
        rc = renew(r, age_ns, &err);
    if (rc == 0)
        rc = db_commit(r->db, &err);
    db_rollback(r->db);
    r->lease_mono_ns = clock_mono_ns();
    if (rc < 0)
        err_clear(&err); /* what is missing in the end is told then */
}

void
repo_lease_end(struct repo *r)
{
    struct err err = ERR_INIT;
    const bool inside = db_in_tx(r->db);
    int rc;

    if (!r->lease_id)
        return;
    rc = inside ? 0 : db_begin_quick(r->db, &err);
    if (rc == 0)
        rc = db_run(r->db, &err, "DELETE FROM lease WHERE id = ?", "i", r->lease_id);
    if (rc == 0 && !inside)
        rc = db_commit(r->db, &err);
    if (!inside)
        db_rollback(r->db);
    if (rc < 0)
        err_clear(&err); /* it runs out by itself, or is found without a lock */
    r->lease_id = 0;
    fs_close(&r->lease_fd);
}

/* -1: none. */
static int
find_dead(struct repo *r, int format_fd, int64_t *out, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int rc = db_query(r->db, &st, err, "SELECT id FROM lease", "");

    *out = -1;
    while (rc >= 0 && *out < 0 && (rc = db_step(st, err)) == 1)
        if (is_dead(format_fd, db_int(st, 0)))
            *out = db_int(st, 0);
    return rc < 0 ? rc : 0;
}

void
repo_lease_reap(struct repo *r)
{
    struct err err = ERR_INIT;
    const bool inside = db_in_tx(r->db);
    int fd AUTO(fs_close) = -1;
    int64_t id = -1;
    int rc = fs_open(&fd, r->dirfd, REPO_FORMAT, O_RDONLY | O_NOFOLLOW, 0, &err);

    if (rc == 0)
        rc = find_dead(r, fd, &id, &err);
    if (rc == 0 && id >= 0 && !inside)
        rc = db_begin_quick(r->db, &err);
    /* once more under the write lock: an id that is free is given again */
    while (rc == 0 && id >= 0) {
        rc = find_dead(r, fd, &id, &err);
        if (rc == 0 && id >= 0)
            rc = db_run(r->db, &err, "DELETE FROM lease WHERE id = ?", "i", id);
    }
    if (!inside) {
        if (rc == 0 && db_in_tx(r->db))
            rc = db_commit(r->db, &err);
        db_rollback(r->db);
    }
    if (rc < 0)
        err_clear(&err); /* they run out by themselves */
}

int
repo_rescue(struct repo *r, const struct digest *d, struct err *err)
{
    int64_t one, age_ns;
    int rc = db_get_int(r->db, &one, err, "SELECT 1 FROM doomed WHERE digest = ?", "b",
                        d->b, sizeof(d->b));

    if (rc <= 0)
        return rc;
    rc = db_begin_quick(r->db, err);
    if (rc == 0)
        rc = repo_age_tick(r, &age_ns, err);
    if (rc == 0)
        rc = db_run(r->db, err, "UPDATE doomed SET since_age_ns = ? WHERE digest = ?",
                    "ib", age_ns, d->b, sizeof(d->b));
    if (rc == 0)
        rc = db_commit(r->db, err);
    db_rollback(r->db);
    return rc;
}
