/* SPDX-License-Identifier: Apache-2.0 */
/* Files that go with a version and are not part of it: reports, model cards, labels.
 * Their bytes are objects like a model's. */
#include "repo/gc.h"
#include "repo/repo_int.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

int
repo_check_attachment_type(const char *type, struct err *err)
{
    const size_t n = strlen(type);

    if (n > 0 && n <= REPO_ATTACHMENT_TYPE_MAX && strchr("_.-", type[0]) == NULL &&
        strspn(type, "abcdefghijklmnopqrstuvwxyz0123456789_.-") == n)
        return 0;
    return err_set(err, ERR_INVALID,
                   "'%.100s' is no type of an attachment: 1 to %d of the bytes "
                   "a-z0-9_.- and first a letter or digit, such as report or card",
                   type, REPO_ATTACHMENT_TYPE_MAX);
}

int
repo_check_attachment_name(const char *name, struct err *err)
{
    if (!name[0] || name[0] == '.' || strchr(name, '/'))
        return err_set(err, ERR_INVALID,
                       "'%.255s' cannot be an attachment's name; --name NAME gives one "
                       "without / that does not begin with .",
                       name);
    return repo_check_text(name, REPO_ATTACHMENT_NAME_MAX, false,
                           "the attachment's name", err);
}

/* ---- bytes in and out ---- */

struct source {
    struct repo *r;
    int fd;
    int64_t left; /* what may still come */
};

static int64_t
read_source(void *arg, void *p, size_t n, struct err *err)
{
    struct source *s = arg;
    ssize_t got;

    do
        got = read(s->fd, p, n);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return err_sys(err, errno, "read");
    s->left -= got;
    return s->left >= 0 ? got : err_set(err, ERR_CONFLICT, "it grows while it is read");
}

static int
is_known(void *arg, const struct digest *d, struct err *err)
{
    const struct source *s = arg;
    int64_t one;

    return db_get_int(s->r->db, &one, err, "SELECT 1 FROM object WHERE digest = ?", "b",
                      d->b, sizeof(d->b));
}

/* What gc has doomed is kept from it, before anybody relies on it. */
static int
find_known(void *arg, const struct digest *d, struct err *err)
{
    const struct source *s = arg;
    int rc = repo_rescue(s->r, d, err);

    return rc < 0 ? rc : is_known(arg, d, err);
}

static int
put(struct source *s, const char *path, int64_t max_bytes, struct repo_blob *out,
    struct err *err)
{
    struct objects_put p = {
        .read = read_source, .known = find_known, .arg = s, .what = path
    };
    struct stat before, after;
    int rc;

    if (fstat(s->fd, &before) < 0)
        return err_sys(err, errno, "stat");
    if (!S_ISREG(before.st_mode))
        return err_set(err, ERR_INVALID, "not a regular file");
    if (before.st_size > max_bytes)
        return err_set(err, ERR_LIMIT,
                       "%" PRId64 " bytes; an attachment has at most %" PRId64
                       " (sluice config set attachment_mib N)",
                       (int64_t)before.st_size, max_bytes);
    s->left = before.st_size;
    rc = s->r->objects->ops->put(s->r->objects, &p, err);
    if (rc == 0)
        rc = s->r->objects->ops->sync(s->r->objects, err);
    *out = (struct repo_blob){ p.digest, p.size_bytes, p.is_new };
    if (rc == 0 && fstat(s->fd, &after) < 0)
        rc = err_sys(err, errno, "stat");
    if (rc == 0 && (after.st_size != p.size_bytes ||
                    after.st_mtim.tv_sec != before.st_mtim.tv_sec ||
                    after.st_mtim.tv_nsec != before.st_mtim.tv_nsec))
        rc = err_set(err, ERR_CONFLICT, "modified while it was read: attach it again");
    return rc;
}

int
repo_blob_put(struct repo *r, const char *path, int64_t max_bytes,
              struct repo_blob *out, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    struct source s = { .r = r };
    int rc;

    if (db_in_tx(r->db))
        BUG("%s is taken in inside a transaction", path);
    *out = (struct repo_blob){ .is_new = false };
    /* a FIFO must not hold us up before it is known to be one */
    rc = fs_open(&fd, AT_FDCWD, path, O_RDONLY | O_NONBLOCK, 0, err);
    if (rc < 0)
        return rc;
    s.fd = fd;
    if (repo_lease(r, NULL, err) == 0 && put(&s, path, max_bytes, out, err) == 0)
        return 0;
    repo_blob_drop(r, out);
    return err_ctx(err, "%s", path);
}

void
repo_blob_drop(struct repo *r, const struct repo_blob *b)
{
    const struct source s = { .r = r };
    struct err err = ERR_INIT;

    if (!b->is_new)
        return;
    /* under the write lock nobody else can be about to name it in a row */
    if (db_begin(r->db, &err) < 0 ||
        (is_known((void *)&s, &b->digest, &err) == 0 &&
         r->objects->ops->delete (r->objects, &b->digest, &err) < 0))
        err_clear(&err); /* what stays is found by its hash the next time */
    db_rollback(r->db);
}

int
repo_blob_copy(struct repo *r, const struct digest *d, int dirfd, const char *path,
               struct err *err)
{
    char *to AUTO(free_ptr) = xstrdup(path);
    const struct repo_file f = { .path = to, .digest = *d };
    int rc = fs_exists(dirfd, path, err);

    if (rc == 1)
        return err_set(err, ERR_CONFLICT, "%s: there is something already", path);
    if (rc == 0)
        rc = repo_object_copy(r, &f, dirfd, err);
    if (rc == -ERR_CORRUPT) /* the copy was whole, and what was copied is not */
        unlinkat(dirfd, path, 0);
    return rc;
}

/* ---- rows ---- */

int
repo_attach(struct repo *r, int64_t version_id, const char *type, const char *name,
            const struct repo_blob *b, bool replace, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    const int64_t now_ns = clock_now_ns();
    bool same = false;
    int rc = repo_check_attachment_type(type, err);

    if (rc == 0)
        rc = repo_check_attachment_name(name, err);
    if (rc == 0)
        rc = db_query(r->db, &st, err,
                      "SELECT object FROM attachment WHERE version_id = ? AND type = ? "
                      "AND name = ?",
                      "itt", version_id, type, name);
    if (rc == 0 && (rc = db_step(st, err)) == 1) {
        size_t n;
        const void *digest = db_blob(st, 0, &n);

        same = n == sizeof(b->digest.b) && memcmp(digest, b->digest.b, n) == 0;
        if (!same && !replace)
            return err_set(err, ERR_CONFLICT,
                           "there is a %s '%s' already, with other bytes: --replace "
                           "takes its place",
                           type, name);
    }
    if (rc < 0 || same)
        return rc < 0 ? rc : 0;
    rc = repo_object_record(r, &b->digest, b->size_bytes, now_ns, err);
    if (rc == 0)
        rc = db_run(r->db, err,
                    "INSERT INTO attachment(version_id, type, name, object, "
                    "size_bytes, time_ns, actor) VALUES(?, ?, ?, ?, ?, ?, ?) "
                    "ON CONFLICT(version_id, type, name) DO UPDATE SET "
                    "object = excluded.object, size_bytes = excluded.size_bytes, "
                    "time_ns = excluded.time_ns, actor = excluded.actor",
                    "ittbiit", version_id, type, name, b->digest.b, sizeof(b->digest.b),
                    b->size_bytes, now_ns, acc_actor(r->acc));
    return rc < 0 ? rc : 1;
}

int
repo_detach(struct repo *r, int64_t version_id, const char *type, const char *name,
            struct err *err)
{
    int rc =
        db_run(r->db, err,
               "DELETE FROM attachment WHERE version_id = ? AND type = ? AND name = ?",
               "itt", version_id, type, name);

    return rc < 0 ? rc : db_changes(r->db) > 0;
}

int
repo_attachments(struct repo *r, int64_t version_id, const char *type_or_null,
                 repo_said_fn *fn, void *arg, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int rc = db_query(r->db, &st, err,
                      "SELECT type, name, time_ns, actor, object, size_bytes FROM "
                      "attachment WHERE version_id = ? AND (? = '' OR type = ?) "
                      "ORDER BY type, name",
                      "itt", version_id, type_or_null ? type_or_null : "",
                      type_or_null ? type_or_null : "");

    return rc < 0 ? rc : repo_said_each(st, fn, arg, err);
}
