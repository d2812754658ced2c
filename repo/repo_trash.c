/* SPDX-License-Identifier: Apache-2.0 */
/* trash/<64 hex>: objects on their way out. A rename takes one there under the write
 * lock; gc unlinks it later, outside the lock. The table `trash` says until when. */
#include "repo/gc.h"

#include "repo/cold_int.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES 80 /* "objects/ab/" and 62 digits, or "trash/" and 64, with NUL */

static void
paths_of(const struct digest *d, char object[PATH_BYTES], char trash[PATH_BYTES])
{
    char hex[DIGEST_HEX_BYTES];

    digest_hex(d, hex);
    snprintf(object, PATH_BYTES, "objects/%.2s/%s", hex, hex + 2);
    snprintf(trash, PATH_BYTES, "trash/%s", hex);
}

static int
move(struct repo *r, const char *from, const char *to, struct err *err)
{
    int rc = fs_rename(r->dirfd, from, r->dirfd, to, err);

    if (rc < 0 && err->code == ERR_IO && err->sys == ENOENT) {
        err_clear(err);
        return 0;
    }
    return rc < 0 ? rc : 1;
}

int
repo_trash_put(struct repo *r, const struct digest *d, struct err *err)
{
    char object[PATH_BYTES], trash[PATH_BYTES];
    int rc;

    paths_of(d, object, trash);
    rc = move(r, object, trash, err);
    if (rc == 0) { /* a cold object's delta waits where it lies */
        cold_path("cold", d, object);
        rc = fs_exists(r->dirfd, object, err);
    }
    return rc;
}

int
repo_trash_back(struct repo *r, const struct digest *d, struct err *err)
{
    char object[PATH_BYTES], trash[PATH_BYTES], fan_out[sizeof("objects/ab")];
    int rc;

    paths_of(d, object, trash);
    memcpy(fan_out, object, sizeof(fan_out) - 1);
    fan_out[sizeof(fan_out) - 1] = '\0';
    rc = fs_mkdirs(r->dirfd, fan_out, REPO_MODE, err);
    if (rc == 0)
        rc = move(r, trash, object, err);
    if (rc == 1) {
        int e = fs_fsync_dir(r->dirfd, fan_out, err);

        rc = e < 0 ? e : 1;
    }
    return rc;
}

int64_t
repo_trash_frees(struct repo *r, const struct digest *d, bool in_trash, int n_own_links,
                 bool *linked)
{
    char object[PATH_BYTES], trash[PATH_BYTES];
    struct stat st;

    paths_of(d, object, trash);
    *linked = false;
    if (fstatat(r->dirfd, in_trash ? trash : object, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        cold_path("cold", d, object);
        if (fstatat(r->dirfd, object, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return 0;
    }
    *linked = st.st_nlink > (nlink_t)(1 + n_own_links);
    return *linked ? 0 : (int64_t)st.st_blocks * 512;
}

int
repo_trash_has(struct repo *r, const struct digest *d, int64_t *size_bytes,
               struct err *err)
{
    char object[PATH_BYTES], trash[PATH_BYTES];
    struct stat st;

    paths_of(d, object, trash);
    if (fstatat(r->dirfd, trash, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(err, errno, "stat %s", trash);
    *size_bytes = st.st_size;
    return 1;
}

int
repo_trash_unlink(struct repo *r, const struct digest *d, struct err *err)
{
    char object[PATH_BYTES], trash[PATH_BYTES];

    paths_of(d, object, trash);
    return fs_unlink(r->dirfd, trash, err);
}

/* ---- after a crash ------------------------------------------------------------------
 */

/* 1: the row stands and only the file is here. */
static int
is_lost(struct repo *r, const struct digest *d, struct err *err)
{
    int64_t one, size_bytes;
    int rc = db_get_int(r->db, &one, err, "SELECT 1 FROM object WHERE digest = ?", "b",
                        d->b, sizeof(d->b));

    if (rc == 1) {
        rc = r->objects->ops->has(r->objects, d, &size_bytes, err);
        rc = rc < 0 ? rc : !rc;
    }
    return rc;
}

static int
is_listed(struct repo *r, const struct digest *d, struct err *err)
{
    int64_t one;

    return db_get_int(r->db, &one, err, "SELECT 1 FROM trash WHERE digest = ?", "b",
                      d->b, sizeof(d->b));
}

/* Once more under the lock: a sweep may be between its rename and its commit. */
static int
heal_one(struct repo *r, const struct digest *d, int64_t size_bytes, struct err *err)
{
    int64_t age_ns;
    int rc = repo_age_tick(r, &age_ns, err);

    if (rc == 0)
        rc = is_lost(r, d, err);
    if (rc == 1) {
        rc = repo_trash_back(r, d, err);
        return rc < 0 ? rc : 0;
    }
    return rc < 0 ? rc
                  : db_run(r->db, err,
                           "INSERT INTO trash(digest, size_bytes, until_age_ns) "
                           "VALUES(?, ?, ?) ON CONFLICT DO NOTHING",
                           "bii", d->b, sizeof(d->b), size_bytes,
                           age_ns + REPO_TRASH_S * 1000000000);
}

static int
heal_entry(void *arg, const struct fs_entry *e, struct err *err)
{
    struct repo *r = arg;
    struct digest d;
    int rc;

    if (!S_ISREG(e->st.st_mode) || strlen(e->path) != DIGEST_HEX_BYTES - 1 ||
        !digest_parse(str_of(e->path), &d))
        return 0;
    rc = is_lost(r, &d, err);
    if (rc == 0) {
        rc = is_listed(r, &d, err);
        rc = rc < 0 ? rc : !rc;
    }
    if (rc <= 0)
        return rc;
    rc = db_begin_quick(r->db, err);
    if (rc == 0)
        rc = heal_one(r, &d, (int64_t)e->st.st_size, err);
    if (rc == 0)
        rc = db_commit(r->db, err);
    db_rollback(r->db);
    return rc;
}

int
repo_trash_heal(struct repo *r, struct err *err)
{
    int rc = fs_walk(r->dirfd, "trash", heal_entry, r, err);

    return rc < 0 ? err_ctx(err, "trash") : 0;
}
