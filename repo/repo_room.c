/* SPDX-License-Identifier: Apache-2.0 */
/* Room: quotas, what must stay free, and the reserve that ends a full disk. */
#include "repo/gc.h"

#include "base/clock.h"
#include "repo/repo_int.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define RESERVE_STEP ((off_t)256 << 10) /* spent at once, when less is free */

int64_t
repo_free_bytes(struct repo *r)
{
    struct statvfs fs;

    return fstatvfs(r->dirfd, &fs) == 0 ? (int64_t)fs.f_bavail * (int64_t)fs.f_frsize
                                        : INT64_MAX; /* unknown: nothing to stop for */
}

int
repo_size_parse(const char *text, int64_t *out, struct err *err)
{
    static const char units[] = "KMGT";
    char *end;
    double value;
    int64_t unit = 1;
    const char *at;

    errno = 0;
    value = strtod(text, &end);
    if (end == text)
        value = -1; /* no number at all */
    at = *end ? strchr(units, *end & ~0x20) : NULL;
    if (at) {
        const bool binary = (end[1] & ~0x20) == 'I';

        for (const char *u = units; u <= at; u++)
            unit *= binary ? 1024 : 1000;
        end += binary ? 2 : 1;
    }
    if ((*end & ~0x20) == 'B')
        end++;
    if (*end || errno != 0 || !(value >= 0) || value * (double)unit > 9e18)
        return err_set(err, ERR_INVALID, "'%s' is no size: 500M, 20G, 1.5TiB", text);
    *out = (int64_t)(value * (double)unit);
    return 0;
}

/* ---- quotas
 * --------------------------------------------------------------------------
 */

int
repo_quota_set(struct repo *r, const char *model_or_null, int64_t bytes,
               struct err *err)
{
    const char *model = model_or_null ? model_or_null : "";
    int rc = model_or_null ? repo_check_model_name(model, err) : 0;

    if (rc < 0)
        return rc;
    if (bytes == 0)
        return db_run(r->db, err, "DELETE FROM quota WHERE model = ?", "t", model);
    return db_run(r->db, err,
                  "INSERT INTO quota(model, bytes, set_ns, set_by) VALUES(?, ?, ?, ?) "
                  "ON CONFLICT(model) DO UPDATE SET bytes = excluded.bytes, set_ns = "
                  "excluded.set_ns, set_by = excluded.set_by",
                  "tiit", model, bytes, clock_now_ns(), acc_actor(r->acc));
}

static int
limit_of(struct repo *r, const char *model, int64_t *out, struct err *err)
{
    int rc = db_get_int(r->db, out, err, "SELECT bytes FROM quota WHERE model = ?", "t",
                        model);

    if (rc == 0)
        *out = 0;
    return rc < 0 ? rc : 0;
}

int
repo_min_free(struct repo *r, int64_t *out, struct err *err)
{
    return limit_of(r, "", out, err);
}

int
repo_quota(struct repo *r, const char *model, struct repo_quota *out, struct err *err)
{
    int rc;

    *out = (struct repo_quota){ .limit_bytes = 0 };
    rc = repo_keep_views(r, err);
    if (rc == 0)
        rc = limit_of(r, model, &out->limit_bytes, err);
    if (rc == 0)
        rc = db_get_int(r->db, &out->n_versions, err,
                        "SELECT count(*) FROM version v JOIN model m ON m.id = "
                        "v.model_id WHERE m.name = ? AND v.id IN (SELECT id FROM "
                        "kept_version)",
                        "t", model);
    if (rc >= 0)
        rc = db_get_int(
            r->db, &out->used_bytes, err,
            "SELECT sum(o.size_bytes) FROM object o WHERE o.digest IN "
            "(SELECT f.object FROM manifest_file f JOIN version v ON v.digest = "
            "f.manifest JOIN model m ON m.id = v.model_id WHERE m.name = ? AND v.id IN "
            "(SELECT id FROM kept_version))",
            "t", model);
    return rc < 0 ? rc : 0;
}

/* "12.3 MB" */
static const char *
size_text(int64_t bytes, char out[32])
{
    static const char *const units[] = { "B", "kB", "MB", "GB", "TB" };
    double v = (double)bytes;
    size_t i = 0;

    while (v >= 1000 && i + 1 < sizeof(units) / sizeof(units[0])) {
        v /= 1000;
        i++;
    }
    snprintf(out, 32, i == 0 ? "%.0f %s" : "%.1f %s", v, units[i]);
    return out;
}

static int
over_quota(const char *model, const struct repo_quota *q, int64_t would_bytes,
           struct err *err)
{
    char used[32], limit[32];

    return err_set(
        err, ERR_LIMIT,
        "%s would take %s, and its quota is %s: delete versions (sluice "
        "retention show %s) and sluice gc, or sluice quota set %s --max BYTES",
        model, size_text(would_bytes, used), size_text(q->limit_bytes, limit), model,
        model);
}

int
repo_quota_check(struct repo *r, const char *model, struct err *err)
{
    struct repo_quota q = { .limit_bytes = 0 };
    int rc = limit_of(r, model, &q.limit_bytes, err);

    if (rc == 0 && q.limit_bytes > 0)
        rc = repo_quota(r, model, &q, err);
    return rc < 0 ? rc
           : q.limit_bytes > 0 && q.used_bytes > q.limit_bytes
               ? over_quota(model, &q, q.used_bytes, err)
               : 0;
}

/* ---- before a push
 * -------------------------------------------------------------------
 */

static int
add_size(void *arg, const struct fs_entry *e, struct err *err)
{
    (void)err;
    *(int64_t *)arg += S_ISREG(e->st.st_mode) ? e->st.st_size : 0;
    return 0;
}

static int
by_digest(const void *a, const void *b)
{
    const struct repo_file *x = a, *y = b;

    return memcmp(x->digest.b, y->digest.b, sizeof(x->digest.b));
}

/* Bytes of files that the store, or the model, has not; one without a digest (all
 * zeros) it has not. */
static int
new_bytes(struct repo *r, const char *model_or_null, const struct repo_manifest *m,
          int64_t *out, struct err *err)
{
    struct repo_file *files AUTO(free_ptr) =
        xreallocarray(NULL, (size_t)m->n_files + 1, sizeof(*files));
    const struct digest unknown = { { 0 } };
    int rc = 0;

    *out = 0;
    if (m->n_files > 0)
        memcpy(files, m->files, (size_t)m->n_files * sizeof(*files));
    qsort(files, (size_t)m->n_files, sizeof(*files), by_digest);
    for (int i = 0; rc >= 0 && i < m->n_files; i++) {
        const struct digest *d = &files[i].digest;
        int64_t one;

        if (i > 0 && digest_eq(&files[i - 1].digest, d) && !digest_eq(d, &unknown))
            continue;
        rc =
            model_or_null
                ? db_get_int(r->db, &one, err,
                             "SELECT 1 FROM manifest_file f JOIN version v ON "
                             "v.digest = f.manifest JOIN model m ON m.id = v.model_id "
                             "WHERE f.object = ? AND m.name = ? AND v.id IN (SELECT id "
                             "FROM kept_version)",
                             "bt", d->b, sizeof(d->b), model_or_null)
                : db_get_int(r->db, &one, err, "SELECT 1 FROM object WHERE digest = ?",
                             "b", d->b, sizeof(d->b));
        if (rc == 0)
            *out += files[i].size_bytes;
    }
    return rc < 0 ? rc : 0;
}

/* The limits there are. */
struct room {
    struct repo_quota quota;
    int64_t min_free, free_bytes;
};

/* 1: there is one, 0: none. */
static int
room_look(struct repo *r, const char *model_or_null, struct room *out, struct err *err)
{
    int rc = repo_min_free(r, &out->min_free, err);

    out->quota = (struct repo_quota){ .limit_bytes = 0 };
    out->free_bytes = repo_free_bytes(r);
    if (rc == 0 && model_or_null)
        rc = limit_of(r, model_or_null, &out->quota.limit_bytes, err);
    if (rc == 0 && out->quota.limit_bytes > 0)
        rc = repo_quota(r, model_or_null, &out->quota, err);
    return rc < 0 ? rc : out->min_free > 0 || out->quota.limit_bytes > 0;
}

static bool
room_has(const struct room *room, int64_t quota_bytes, int64_t disk_bytes)
{
    const struct repo_quota *q = &room->quota;

    return (room->min_free == 0 || disk_bytes == 0 ||
            room->free_bytes - disk_bytes >= room->min_free) &&
           (q->limit_bytes == 0 || quota_bytes == 0 ||
            q->used_bytes + quota_bytes <= q->limit_bytes);
}

int
repo_room_for_bytes(int64_t free_bytes, int64_t min_free_bytes, int64_t bytes,
                    struct err *err)
{
    char have[32], want[32], low[32];

    if (bytes == 0 || free_bytes - bytes >= min_free_bytes)
        return 0;
    size_text(free_bytes, have);
    size_text(bytes, want);
    return min_free_bytes == 0
               ? err_sys(err, ENOSPC, "%s are free and this push needs %s", have, want)
               : err_set(err, ERR_LIMIT,
                         "%s are free and this push needs %s, but %s must stay free: "
                         "sluice gc --need %" PRId64 " shows what can go, sluice quota "
                         "set --min_free changes it",
                         have, want, size_text(min_free_bytes, low),
                         min_free_bytes + bytes);
}

int
repo_quota_for_files(struct repo *r, const char *model_or_null,
                     const struct repo_manifest *m, struct err *err)
{
    struct room room;
    int64_t to_model;
    int rc = room_look(r, model_or_null, &room, err);

    if (rc <= 0 || room.quota.limit_bytes == 0)
        return rc < 0 ? rc : 0;
    rc = new_bytes(r, model_or_null, m, &to_model, err);
    return rc < 0 || room_has(&room, to_model, 0)
               ? rc
               : over_quota(model_or_null, &room.quota,
                            room.quota.used_bytes + to_model, err);
}

int
repo_room_for_files(struct repo *r, const char *model_or_null,
                    const struct repo_manifest *m, struct err *err)
{
    int64_t to_disk, min_free = 0;
    int rc = repo_quota_for_files(r, model_or_null, m, err);

    if (rc == 0)
        rc = repo_min_free(r, &min_free, err);
    if (rc < 0 || min_free == 0)
        return rc;
    rc = new_bytes(r, NULL, m, &to_disk, err);
    return rc < 0 ? rc
                  : repo_room_for_bytes(repo_free_bytes(r), min_free, to_disk, err);
}

int
repo_room_for(struct repo *r, const char *model_or_null, const char *dir,
              struct err *err)
{
    struct repo_manifest m AUTO(repo_manifest_release) = { .files = NULL };
    struct room room;
    int64_t dir_bytes = 0;
    int rc = room_look(r, model_or_null, &room, err);

    if (rc <= 0)
        return rc;
    rc = fs_walk(AT_FDCWD, dir, add_size, &dir_bytes, err);
    if (rc < 0 || room_has(&room, dir_bytes, dir_bytes))
        return rc;
    rc = repo_manifest_of_dir(dir, &m, err);
    return rc < 0 ? rc : repo_room_for_files(r, model_or_null, &m, err);
}

/* ---- the reserve
 * ---------------------------------------------------------------------
 */

void
repo_reserve_spend(struct repo *r, bool urgent)
{
    int fd AUTO(fs_close) = -1;
    struct stat st;

    if (repo_free_bytes(r) >= RESERVE_STEP)
        return;
    fd = openat(r->dirfd, REPO_RESERVE, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return;
    while (st.st_size > (urgent ? 0 : (off_t)REPO_RESERVE_BYTES / 2) &&
           repo_free_bytes(r) < RESERVE_STEP) {
        st.st_size -= RESERVE_STEP < st.st_size ? RESERVE_STEP : st.st_size;
        if (ftruncate(fd, st.st_size) < 0)
            return;
    }
}

void
repo_reserve_fill(struct repo *r)
{
    int fd AUTO(fs_close) = -1;
    struct err err = ERR_INIT;
    struct stat st;

    if (fstatat(r->dirfd, REPO_RESERVE, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        st.st_size >= REPO_RESERVE_BYTES)
        return;
    if (repo_free_bytes(r) < 4 * (int64_t)REPO_RESERVE_BYTES)
        return;
    if (fs_open(&fd, r->dirfd, REPO_RESERVE, O_WRONLY | O_CREAT | O_NOFOLLOW, 0600,
                &err) < 0) {
        err_clear(&err);
        return;
    }
    if (fallocate(fd, 0, 0, REPO_RESERVE_BYTES) < 0)
        (void)ftruncate(fd, 0); /* what cannot be reserved is not pretended */
}
