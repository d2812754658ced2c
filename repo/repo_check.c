/* SPDX-License-Identifier: Apache-2.0 */
/* Everything that the catalogue says is held against what lies on the disk. A problem
 * is told and the walk goes on; only what keeps it from looking ends it. */
#include "repo/repo_fsck_int.h"

#include "base/clock.h"
#include "repo/cold.h"
#include "repo/gc.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REMADE "sluice fsck --repair writes it again from the catalogue"

/* Told already, as an object. */
static bool
is_told(const struct fsck *f, const struct digest *d)
{
    for (int i = 0; i < f->n_bad; i++)
        if (digest_eq(&f->bad[i].digest, d))
            return !f->bad[i].mended;
    return false;
}

/* An error that was found in the store is a finding like the others. */
static int
found(struct fsck *f, const char *kind, const char *way_out, struct err *err)
{
    struct err told = *err;

    err_clear(err);
    return fsck_problem(f, kind, way_out, err, "%s", told.msg);
}

int
fsck_catalogue(struct fsck *f, struct err *err)
{
    static const char *const pragmas[] = { "PRAGMA integrity_check",
                                           "PRAGMA foreign_key_check" };

    for (size_t i = 0; i < sizeof(pragmas) / sizeof(pragmas[0]); i++) {
        struct db_stmt *st AUTO(db_done_p) = NULL;
        int r = db_query(f->r->db, &st, err, pragmas[i], "");

        while (r >= 0 && (r = db_step(st, err)) == 1)
            if (strcmp(db_text(st, 0), "ok") != 0)
                r = fsck_problem(f, "catalogue", FSCK_REBUILD, err,
                                 "catalogue.db: %s: %s", pragmas[i] + 7,
                                 db_text(st, 0));
        if (r < 0)
            return r;
    }
    return 0;
}

static int
check_name(void *arg, const struct digest *d, const char *name, int64_t size_bytes,
           struct err *err)
{
    struct fsck *f = arg;
    int64_t one;
    int r;

    (void)size_bytes;
    if (!d)
        return fsck_problem(f, "name", "look at it, and move it out of the store", err,
                            "objects/%s: not an object's name", name);
    r = db_get_int(f->r->db, &one, err, "SELECT 1 FROM object WHERE digest = ?", "b",
                   d->b, sizeof(d->b));
    f->out->n_orphans += r == 0;
    return r < 0 ? r : 0;
}

static int
count_names(struct fsck *f, const char *folder, int64_t *out, struct err *err)
{
    struct dirent **names = NULL;
    int n = scandirat(f->r->dirfd, folder, &names, NULL, NULL);

    if (n < 0)
        return err_sys(err, errno, "list %s", folder);
    for (int i = 0; i < n; i++) {
        *out +=
            strcmp(names[i]->d_name, ".") != 0 && strcmp(names[i]->d_name, "..") != 0;
        free(names[i]);
    }
    free(names);
    return 0;
}

/* 1: manifest_file says what the manifest says, 0: *why not. */
static int
rows_agree(struct repo *r, const struct repo_manifest *m, struct buf *why,
           struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int i = 0;
    int rc = db_query(r->db, &st, err,
                      "SELECT path, object, size_bytes FROM manifest_file "
                      "WHERE manifest = ?",
                      "b", m->digest.b, sizeof(m->digest.b));

    while (rc >= 0 && (rc = db_step(st, err)) == 1) {
        bool fits = false;

        for (int k = 0; k < m->n_files && !fits; k++) {
            /* both are few and mostly in one order: begin where the last one was */
            const struct repo_file *file = &m->files[(i + k) % m->n_files];
            struct buf path AUTO(buf_release) = BUF_INIT;
            struct digest d;

            repo_path_encode(file->path, &path);
            fits = strcmp(buf_str(&path), db_text(st, 0)) == 0 &&
                   repo_column_digest(st, 1, &d) && digest_eq(&d, &file->digest) &&
                   db_int(st, 2) == file->size_bytes;
        }
        if (!fits) {
            buf_addf(why, "row of %s: not in its manifest", db_text(st, 0));
            return 0;
        }
        i++;
    }
    if (rc < 0)
        return rc;
    if (i != m->n_files)
        buf_addf(why, "%d rows for the %d files of its manifest", i, m->n_files);
    return i == m->n_files;
}

static int
write_rows(struct repo *r, const struct repo_manifest *m, struct err *err)
{
    int rc = db_begin(r->db, err);

    if (rc == 0)
        rc = db_run(r->db, err, "DELETE FROM manifest_file WHERE manifest = ?", "b",
                    m->digest.b, sizeof(m->digest.b));
    if (rc == 0)
        rc = repo_manifest_record(r, m, err);
    if (rc == 0)
        return db_commit(r->db, err);
    db_rollback(r->db);
    return rc;
}

static int
check_files(struct fsck *f, const struct repo_manifest *m, const char *name,
            struct err *err)
{
    struct buf why AUTO(buf_release) = BUF_INIT, text AUTO(buf_release) = BUF_INIT;
    struct repo_finding finding = { .kind = "row", .way_out = REMADE };
    int r = rows_agree(f->r, m, &why, err);

    if (r != 0)
        return r < 0 ? r : 0;
    buf_addf(&text, "%s: %s", name, buf_str(&why));
    finding.text = buf_str(&text);
    if (f->how->repair && (r = write_rows(f->r, m, err)) < 0)
        return r;
    finding.repaired = f->how->repair;
    return fsck_tell(f, &finding, err);
}

static int
check_version_file(struct fsck *f, const struct repo_version *v, const char *name,
                   struct err *err)
{
    struct buf path AUTO(buf_release) = BUF_INIT, want AUTO(buf_release) = BUF_INIT;
    struct buf got AUTO(buf_release) = { .cap_bytes = 4096 };
    struct buf text AUTO(buf_release) = BUF_INIT;
    struct repo_finding finding = { .kind = "version_file", .way_out = REMADE };
    int r;

    repo_version_path(v->model, v->number, &path);
    repo_version_text(v->model, v->number, &v->digest, v->created_ns, &want);
    if (fs_read(f->r->dirfd, buf_str(&path), &got, err) < 0) {
        buf_addf(&text, "%s: %s", name, err->msg);
        err_clear(err);
    } else if (strcmp(buf_str(&got), buf_str(&want)) != 0) {
        buf_addf(&text, "%s: %s does not say what the catalogue says", name,
                 buf_str(&path));
    } else {
        return 0;
    }
    finding.text = buf_str(&text);
    if (f->how->repair) {
        struct buf folder AUTO(buf_release) = BUF_INIT;

        buf_add(&folder, path.data, (size_t)(strrchr(path.data, '/') - path.data));
        r = fs_mkdirs(f->r->dirfd, buf_str(&folder), REPO_MODE, err);
        if (r == 0)
            r = fs_replace(f->r->dirfd, buf_str(&path), want.data, want.len, 0444, err);
        if (r < 0)
            return r;
        finding.repaired = true;
    }
    return fsck_tell(f, &finding, err);
}

static int
check_version(void *arg, const struct repo_version *v, struct err *err)
{
    struct repo_manifest m AUTO(repo_manifest_release) = { .files = NULL };
    struct fsck *f = arg;
    char name[REPO_NAME_BYTES + 24];
    int r;

    f->out->n_versions++;
    snprintf(name, sizeof(name), "%s@%" PRId64, v->model, v->number);
    r = check_version_file(f, v, name, err);
    /* the objects of a deleted one may be gone */
    if (r < 0 || strcmp(v->state, "deleted") == 0)
        return r;
    if (is_told(f, &v->digest))
        return 0;
    if (repo_manifest_get(f->r, &v->digest, &m, err) < 0) {
        (void)err_ctx(err, "%s", name);
        return found(f, "damaged", FSCK_FROM, err);
    }
    if (m.n_files != v->n_files || m.size_bytes != v->size_bytes) {
        r = fsck_problem(f, "row", FSCK_REBUILD, err,
                         "%s: its row says %" PRId64 " files of %" PRId64 " bytes, "
                         "its manifest %d of %" PRId64,
                         name, v->n_files, v->size_bytes, m.n_files, m.size_bytes);
        if (r < 0)
            return r;
    }
    return check_files(f, &m, name, err);
}

static int
tell_cold(void *arg, const char *text, struct err *err)
{
    return fsck_problem(arg, "cold", FSCK_REBUILD, err, "%s", text);
}

int
fsck_rows(struct fsck *f, struct err *err)
{
    int r = f->r->objects->ops->list(f->r->objects, check_name, f, err);

    if (r == 0)
        r = repo_cold_check(f->r, tell_cold, f, err);
    if (r == 0)
        r = count_names(f, "stage", &f->out->n_stage, err);
    if (r == 0)
        r = count_names(f, "trash", &f->out->n_trash, err);
    if (r == 0)
        r = count_names(f, "quarantine", &f->out->n_quarantine, err);
    return r < 0 ? r : repo_versions(f->r, NULL, check_version, f, err);
}

struct told {
    int (*fn)(void *arg, const char *problem, struct err *err);
    void *arg;
};

static int
tell_text(void *arg, const struct repo_finding *f, struct err *err)
{
    const struct told *t = arg;

    return t->fn ? t->fn(t->arg, f->text, err) : 0;
}

int
repo_check(struct repo *r, struct repo_check *out,
           int (*fn)(void *arg, const char *problem, struct err *err), void *arg,
           struct err *err)
{
    struct told t = { .fn = fn, .arg = arg };

    return repo_fsck(r, &(struct repo_fsck){ .n_threads = 1 }, out, tell_text, &t, err);
}
