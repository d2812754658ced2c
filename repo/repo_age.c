/* SPDX-License-Identifier: Apache-2.0 */
/* A clock for windows and leases that nobody sets: see repo/gc.h. */
#include "repo/gc.h"

#include "base/clock.h"
#include "repo/repo_int.h"

#include <string.h>

#define BOOT_ID "/proc/sys/kernel/random/boot_id"
#define ACROSS_BOOT_NS (INT64_C(86400) * 1000000000)

struct now {
    struct buf boot; /* "" where the kernel does not say */
    int64_t boot_ns, wall_ns;
};

static void
now_release(struct now *n)
{
    buf_release(&n->boot);
}

static void
look(struct now *out)
{
    struct err err = ERR_INIT;

    *out = (struct now){ .boot = { .cap_bytes = 64 },
                         .boot_ns = clock_boot_ns(),
                         .wall_ns = clock_now_ns() };
    if (fs_read(AT_FDCWD, BOOT_ID, &out->boot, &err) < 0) {
        err_clear(&err);
        buf_clear(&out->boot);
    }
    while (out->boot.len > 0 && out->boot.data[out->boot.len - 1] == '\n')
        out->boot.data[--out->boot.len] = '\0';
}

static int
age_of(struct repo *r, const struct now *now, int64_t *out_ns, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int64_t passed_ns;
    int rc = db_query(r->db, &st, err,
                      "SELECT age_ns, boot, boot_ns, wall_ns FROM store_age", "");

    *out_ns = 0;
    if (rc == 0)
        rc = db_step(st, err);
    if (rc < 0)
        return rc;
    if (rc == 0) { /* a new store, or a catalogue that was made anew */
        rc = db_get_int(r->db, out_ns, err,
                        "SELECT coalesce(max(age_ns), 0) FROM version_age", "");
        return rc < 0 ? rc : 0;
    }
    if (now->boot.len > 0 && strcmp(buf_str(&now->boot), db_text(st, 1)) == 0) {
        passed_ns = now->boot_ns - db_int(st, 2);
    } else {
        passed_ns = now->wall_ns - db_int(st, 3);
        if (passed_ns > ACROSS_BOOT_NS)
            passed_ns = ACROSS_BOOT_NS;
    }
    *out_ns = db_int(st, 0) + (passed_ns > 0 ? passed_ns : 0);
    return 0;
}

int
repo_age(struct repo *r, int64_t *out_ns, struct err *err)
{
    struct now now AUTO(now_release);

    look(&now);
    return age_of(r, &now, out_ns, err);
}

int
repo_age_tick(struct repo *r, int64_t *out_ns, struct err *err)
{
    struct now now AUTO(now_release);
    int rc;

    if (!db_in_tx(r->db))
        BUG("the store's age is kept outside a transaction");
    look(&now);
    rc = age_of(r, &now, out_ns, err);
    if (rc == 0)
        rc = db_run(r->db, err,
                    "UPDATE store_age SET age_ns = ?, boot = ?, boot_ns = ?, "
                    "wall_ns = ? WHERE id = 1",
                    "itii", *out_ns, buf_str(&now.boot), now.boot_ns, now.wall_ns);
    if (rc < 0 || db_changes(r->db) > 0)
        return rc;
    return db_run(r->db, err,
                  "INSERT INTO store_age(id, age_ns, boot, boot_ns, wall_ns) "
                  "VALUES(1, ?, ?, ?, ?)",
                  "itii", *out_ns, buf_str(&now.boot), now.boot_ns, now.wall_ns);
}
