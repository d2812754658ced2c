/* SPDX-License-Identifier: Apache-2.0 */
/* versions/<model>/<n>, written before the row, so that numbers survive the catalogue:
 *
 *   sluice-version 1
 *   model <name, encoded as the directory is>
 *   number <n>
 *   digest sha256:<64 hex>
 *   time <RFC 3339, UTC> */
#include "repo/repo_int.h"

#include "base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
repo_version_path(const char *model, int64_t number, struct buf *out)
{
    buf_adds(out, "versions/");
    repo_name_encode(model, out);
    buf_addf(out, "/%" PRId64, number);
}

void
repo_version_text(const char *model, int64_t number, const struct digest *d,
                  int64_t time_ns, struct buf *out)
{
    char digest[REPO_DIGEST_BYTES], time[CLOCK_TEXT_BYTES];

    repo_digest_text(d, digest);
    buf_adds(out, "sluice-version 1\nmodel ");
    repo_name_encode(model, out);
    buf_addf(out, "\nnumber %" PRId64 "\ndigest %s\ntime %s\n", number, digest,
             clock_text(time_ns, time));
}

void
repo_version_row(struct db_stmt *st, struct repo_version *out)
{
    const void *digest;
    size_t n;

    memset(out, 0, sizeof(*out));
    out->id = db_int(st, 0);
    out->model_id = db_int(st, 1);
    snprintf(out->model, sizeof(out->model), "%s", db_text(st, 2));
    out->number = db_int(st, 3);
    digest = db_blob(st, 4, &n);
    if (n == sizeof(out->digest.b)) /* the table checks it */
        memcpy(out->digest.b, digest, n);
    snprintf(out->state, sizeof(out->state), "%s", db_text(st, 5));
    out->created_ns = db_int(st, 6);
    out->size_bytes = db_int(st, 7);
    out->n_files = db_int(st, 8);
    snprintf(out->pushed_by, sizeof(out->pushed_by), "%s", db_text(st, 9));
}

int
repo_version_get(struct repo *r, int64_t version_id, struct repo_version *out,
                 struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int rc = db_query(r->db, &st, err, REPO_VERSION_SELECT "WHERE v.id = ?", "i",
                      version_id);

    if (rc == 0)
        rc = db_step(st, err);
    if (rc == 0)
        return err_set(err, ERR_NOTFOUND, "there is no version with row %" PRId64,
                       version_id);
    if (rc == 1)
        repo_version_row(st, out);
    return rc < 0 ? rc : 0;
}

int
repo_version_provenance(struct repo *r, int64_t version_id, struct buf *out,
                        struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int rc = db_query(r->db, &st, err, "SELECT provenance FROM version WHERE id = ?",
                      "i", version_id);
    if (rc == 0 && (rc = db_step(st, err)) == 1)
        buf_adds(out, db_text(st, 0));
    return rc < 0 ? rc : 0;
}

#define NOT_PURGED                                                                     \
    "NOT EXISTS (SELECT 1 FROM deletion d WHERE d.version_id = v.id AND "              \
    "d.purged_ns IS NOT NULL) "

int
repo_versions(struct repo *r, const char *model_or_null,
              int (*fn)(void *arg, const struct repo_version *v, struct err *err),
              void *arg, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int rc = model_or_null
                 ? db_query(r->db, &st, err,
                            REPO_VERSION_SELECT "WHERE m.name = ? AND " NOT_PURGED
                                                "ORDER BY v.number DESC",
                            "t", model_or_null)
                 : db_query(r->db, &st, err,
                            REPO_VERSION_SELECT "WHERE " NOT_PURGED
                                                "ORDER BY m.name, v.number",
                            "");

    if (rc < 0)
        return rc;
    while ((rc = db_step(st, err)) == 1) {
        struct repo_version v;

        repo_version_row(st, &v);
        if ((rc = fn(arg, &v, err)) < 0)
            return rc;
    }
    return rc;
}

int
repo_model_id(struct repo *r, const char *model, int64_t *id, struct err *err)
{
    return db_get_int(r->db, id, err, "SELECT id FROM model WHERE name = ?", "t",
                      model);
}

/* ---- add ------------------------------------------------------------------------- */

static void
close_dir(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}

/* The highest number that versions/<model>/ has a file for; 0: none. */
static int
highest_file(struct repo *r, const char *folder, int64_t *out, struct err *err)
{
    DIR *dir AUTO(close_dir) = NULL;
    int fd AUTO(fs_close) = -1;
    const struct dirent *d;
    int rc = fs_open_dir(&fd, r->dirfd, folder, err);

    if (rc < 0)
        return rc;
    dir = fdopendir(fd);
    if (!dir)
        return err_sys(err, errno, "list %s", folder);
    fd = -1; /* dir's now */
    *out = 0;
    while (errno = 0, (d = readdir(dir)) != NULL) {
        char *end;
        long long n = strtoll(d->d_name, &end, 10);

        if (errno == 0 && *end == '\0' && n > *out)
            *out = n;
    }
    return errno == 0 ? 0 : err_sys(err, errno, "list %s", folder);
}

/* The number that a new version gets: the next one, or the one that was wished for. */
static int
choose_number(int64_t highest, int64_t wish, int64_t *out, struct err *err)
{
    if (wish == 0 && highest < REPO_NUMBER_MAX) {
        *out = highest + 1;
        return 0;
    }
    if (wish > highest && wish <= REPO_NUMBER_MAX) {
        *out = wish;
        return 0;
    }
    if (wish > highest || highest >= REPO_NUMBER_MAX)
        return err_set(err, ERR_LIMIT, "no number above %" PRId64 " can be a version's",
                       REPO_NUMBER_MAX);
    return err_set(err, ERR_CONFLICT,
                   "number %" PRId64 " is not above %" PRId64
                   ", the highest that was given, and none is given twice: --number "
                   "%" PRId64 " or more, or none",
                   wish, highest, highest + 1);
}

/* The highest number that the model's rows and files know. */
static int
highest_number(struct repo *r, const char *model, int64_t model_id, int64_t *out,
               struct err *err)
{
    struct buf path AUTO(buf_release) = BUF_INIT;
    int64_t in_files = 0;
    int rc;

    *out = 0;
    repo_version_path(model, 1, &path);
    *strrchr(path.data, '/') = '\0';
    rc =
        db_get_int(r->db, out, err,
                   "SELECT max(number) FROM version WHERE model_id = ?", "i", model_id);
    if (rc >= 0)
        rc = fs_exists(r->dirfd, path.data, err);
    if (rc == 1)
        rc = highest_file(r, path.data, &in_files, err);
    if (in_files > *out)
        *out = in_files;
    return rc < 0 ? rc : 0;
}

/* The number's file stands already: a crash came between it and the row, or it is of
 * other bytes. */
static int
meet_file(struct repo *r, const struct repo_version *v, const char *path,
          struct err *err)
{
    struct buf text AUTO(buf_release) = { .cap_bytes = 4096 };
    char digest[REPO_DIGEST_BYTES];
    int rc;

    err_clear(err);
    rc = fs_read(r->dirfd, path, &text, err);
    repo_digest_text(&v->digest, digest);
    if (rc < 0 || strstr(buf_str(&text), digest))
        return rc;
    return err_set(err, ERR_CONFLICT,
                   "%s@%" PRId64 " was given to other bytes here: %s/%s", v->model,
                   v->number, r->path, path);
}

/* Takes the number that is wished for, or the next one: its file is on the disk when
 * this returns. */
static int
take_number(struct repo *r, struct repo_version *v, const struct repo_wish *wish,
            struct err *err)
{
    struct buf path AUTO(buf_release) = BUF_INIT, text AUTO(buf_release) = BUF_INIT;
    int64_t highest;
    char *slash;
    int rc = highest_number(r, v->model, v->model_id, &highest, err);

    if (rc == 0)
        rc = choose_number(wish->mirrors ? 0 : highest, wish->number, &v->number, err);
    if (rc < 0)
        return rc;
    repo_version_path(v->model, v->number, &path);
    slash = strrchr(path.data, '/');
    *slash = '\0';
    rc = fs_mkdirs(r->dirfd, path.data, REPO_MODE, err);
    if (rc == 0)
        rc = fs_fsync_dir(r->dirfd, "versions", err);
    if (rc < 0)
        return rc;
    *slash = '/';
    repo_version_text(v->model, v->number, &v->digest, v->created_ns, &text);
    rc = fs_create(r->dirfd, buf_str(&path), text.data, text.len, 0444, err);
    return rc == -ERR_CONFLICT && wish->mirrors ? meet_file(r, v, buf_str(&path), err)
                                                : rc;
}

static int
find_or_make_model(struct repo *r, const char *model, int64_t now_ns, int64_t *id,
                   struct err *err)
{
    int rc = repo_model_id(r, model, id, err);

    if (rc != 0)
        return rc < 0 ? rc : 0;
    rc = db_run(r->db, err,
                "INSERT INTO model(name, created_ns, created_by) VALUES(?, ?, ?)",
                "tit", model, now_ns, acc_actor(r->acc));
    *id = db_last_id(r->db);
    return rc;
}

/* 1: the model has a version with these bytes, now in *out: one that is not deleted, or
 * else one that was rejected before it was. */
static int
find_same(struct repo *r, int64_t model_id, const struct digest *d,
          struct repo_version *out, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int rc = db_query(r->db, &st, err,
                      REPO_VERSION_SELECT
                      "WHERE v.model_id = ? AND v.digest = ? AND (v.state <> 'deleted' "
                      "OR EXISTS (SELECT 1 FROM deletion d WHERE d.version_id = v.id "
                      "AND d.was = 'rejected')) "
                      "ORDER BY v.state = 'deleted', v.number DESC LIMIT 1",
                      "ib", model_id, d->b, sizeof(d->b));

    if (rc == 0)
        rc = db_step(st, err);
    if (rc == 1)
        repo_version_row(st, out);
    return rc;
}

/* The model has the bytes already. ERR_REFUSED when they were rejected; 1: what is
 * wished for is another version all the same, 0: *v is the answer. */
static int
meet_same(struct repo *r, const struct repo_version *v, const struct repo_wish *wish,
          struct err *err)
{
    struct buf why AUTO(buf_release) = BUF_INIT;
    int rc = repo_version_why(r, v->id, &why, err);

    if (rc < 0)
        return rc;
    if (strcmp(v->state, "rejected") == 0 || strcmp(v->state, "deleted") == 0)
        return wish->again
                   ? 1
                   : err_set(err, ERR_REFUSED,
                             "these bytes are %s@%" PRId64 ", which was rejected%s%s: "
                             "push others, or --again for a new version of them",
                             v->model, v->number, why.len ? ": " : "", buf_str(&why));
    if (wish->number != 0 && wish->number != v->number)
        return err_set(err, ERR_CONFLICT,
                       "these bytes are %s@%" PRId64
                       " already; a version has one number: push without --number",
                       v->model, v->number);
    return 0;
}

int
repo_version_add_as(struct repo *r, const char *model, const struct repo_manifest *m,
                    const char *provenance_json, const struct repo_wish *wish,
                    struct repo_version *out, bool *is_new, struct err *err)
{
    struct repo_version v = { .created_ns = clock_now_ns(), .digest = m->digest };
    int rc = repo_check_model_name(model, err);

    if (!db_in_tx(r->db))
        BUG("version of %s added outside a transaction", model);
    if (rc == 0 && wish->number < 0)
        rc =
            err_set(err, ERR_INVALID,
                    "%" PRId64 " is no version's number: 1 is the least", wish->number);
    if (rc == 0)
        rc = find_or_make_model(r, model, v.created_ns, &v.model_id, err);
    if (rc == 0 && !wish->mirrors)
        rc = find_same(r, v.model_id, &m->digest, out, err);
    *is_new = rc == 0;
    if (rc == 1) {
        rc = meet_same(r, out, wish, err);
        *is_new = rc == 1;
    }
    if (rc < 0 || !*is_new)
        return rc;
    snprintf(v.model, sizeof(v.model), "%s", model);
    rc = repo_manifest_record(r, m, err);
    if (rc == 0)
        rc = take_number(r, &v, wish, err);
    if (rc == 0)
        rc = db_run(r->db, err,
                    "INSERT INTO version(model_id, number, digest, state, created_ns, "
                    "size_bytes, n_files, pushed_by, provenance) "
                    "VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    "iibtiiitt", v.model_id, v.number, m->digest.b, sizeof(m->digest.b),
                    wish->quarantine ? "quarantined" : "ready", v.created_ns,
                    m->size_bytes, (int64_t)m->n_files, acc_actor(r->acc),
                    provenance_json);
    if (rc == 0) /* what is given out is what stands in the row */
        rc = repo_version_get(r, db_last_id(r->db), out, err);
    if (rc == 0 && (out->number != v.number || !digest_eq(&out->digest, &m->digest)))
        rc = err_set(err, ERR_CORRUPT, "%s@%" PRId64 ": reads back as something else",
                     model, v.number);
    return rc < 0 ? err_ctx(err, "add a version of %s", model) : 0;
}

int
repo_version_foresee(struct repo *r, const char *model, const struct digest *d,
                     const struct repo_wish *wish, int64_t *number, bool *is_new,
                     struct err *err)
{
    struct repo_version same = { .number = 0 };
    int64_t model_id = 0, highest;
    int rc = repo_check_model_name(model, err);

    if (rc == 0)
        rc = repo_model_id(r, model, &model_id, err);
    if (rc == 1)
        rc = find_same(r, model_id, d, &same, err);
    *is_new = rc == 0;
    if (rc == 1) {
        rc = meet_same(r, &same, wish, err);
        *is_new = rc == 1;
    }
    *number = same.number;
    if (rc < 0 || !*is_new)
        return rc;
    rc = highest_number(r, model, model_id, &highest, err);
    return rc < 0 ? rc : choose_number(highest, wish->number, number, err);
}

int
repo_version_add(struct repo *r, const char *model, const struct repo_manifest *m,
                 const char *provenance_json, struct repo_version *out, bool *is_new,
                 struct err *err)
{
    const struct repo_wish nothing = { .number = 0 };

    return repo_version_add_as(r, model, m, provenance_json, &nothing, out, is_new,
                               err);
}

/* ---- states ---------------------------------------------------------------------- */

int
repo_version_set_state(struct repo *r, struct repo_version *v, const char *state,
                       const char *reason, struct err *err)
{
    int rc = db_run(r->db, err,
                    "UPDATE version SET state = ?, state_reason = ? WHERE id = ?",
                    "tti", state, reason ? reason : "", v->id);

    if (rc == 0)
        snprintf(v->state, sizeof(v->state), "%s", state);
    return rc;
}

int
repo_version_why(struct repo *r, int64_t version_id, struct buf *out, struct err *err)
{
    int rc =
        db_get_text(r->db, out, err, "SELECT state_reason FROM version WHERE id = ?",
                    "i", version_id);

    return rc < 0 ? rc : 0;
}
