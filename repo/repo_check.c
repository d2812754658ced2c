/* SPDX-License-Identifier: Apache-2.0 */
/* Everything that the catalogue says is held against what lies on the disk. A problem
 * is told and the walk goes on; only what keeps it from looking ends it. */
#include "repo/repo_int.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct check {
    struct repo *r;
    struct repo_check *out;
    int (*fn)(void *arg, const char *problem, struct err *err);
    void *arg;
    char first[1024];
};

static int PRINTF(3, 4) problem(struct check *c, struct err *err, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (c->out->n_bad++ == 0)
        snprintf(c->first, sizeof(c->first), "%s", text);
    return c->fn ? c->fn(c->arg, text, err) : 0;
}

/* An error that was found in the store is a problem like the others. */
static int
found(struct check *c, struct err *err)
{
    struct err told = *err;

    err_clear(err);
    return problem(c, err, "%s", told.msg);
}

static int
check_sqlite(struct check *c, struct err *err)
{
    static const char *const pragmas[] = { "PRAGMA integrity_check",
                                           "PRAGMA foreign_key_check" };

    for (size_t i = 0; i < sizeof(pragmas) / sizeof(pragmas[0]); i++) {
        struct db_stmt *st AUTO(db_done_p) = NULL;
        int r = db_query(c->r->db, &st, err, pragmas[i], "");

        while (r >= 0 && (r = db_step(st, err)) == 1)
            if (strcmp(db_text(st, 0), "ok") != 0)
                r = problem(c, err, "catalogue.db: %s: %s", pragmas[i] + 7,
                            db_text(st, 0));
        if (r < 0)
            return r;
    }
    return 0;
}

static int
check_object(struct check *c, const struct digest *d, int64_t size_bytes,
             struct err *err)
{
    char hex[DIGEST_HEX_BYTES];
    int64_t found_bytes = -1;
    int r = c->r->objects->ops->has(c->r->objects, d, &found_bytes, err);

    digest_hex(d, hex);
    c->out->n_objects++;
    c->out->n_bytes += size_bytes;
    if (r < 0)
        return found(c, err);
    if (r == 0)
        return problem(c, err, "object %s is missing", hex);
    if (found_bytes != size_bytes)
        return problem(c, err, "object %s has %" PRId64 " bytes, not %" PRId64, hex,
                       found_bytes, size_bytes);
    return objects_verify(c->r->objects, d, err) < 0 ? found(c, err) : 0;
}

static bool
column_digest(struct db_stmt *st, int col, struct digest *out)
{
    size_t n;
    const void *p = db_blob(st, col, &n);

    if (n == sizeof(out->b))
        memcpy(out->b, p, n);
    return n == sizeof(out->b);
}

static int
check_objects(struct check *c, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int r = db_query(c->r->db, &st, err,
                     "SELECT digest, size_bytes FROM object ORDER BY digest", "");

    while (r >= 0 && (r = db_step(st, err)) == 1) {
        struct digest d;

        r = column_digest(st, 0, &d)
                ? check_object(c, &d, db_int(st, 1), err)
                : problem(c, err, "an object row without a digest");
    }
    return r < 0 ? r : 0;
}

static int
check_name(void *arg, const struct digest *d, const char *name, int64_t size_bytes,
           struct err *err)
{
    (void)size_bytes;
    return d ? 0 : problem(arg, err, "objects/%s: not an object's name", name);
}

/* manifest_file must say what the manifest says. */
static int
check_files(struct check *c, const struct repo_manifest *m, const char *name,
            struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int i = 0;
    int r = db_query(c->r->db, &st, err,
                     "SELECT path, object, size_bytes FROM manifest_file "
                     "WHERE manifest = ?",
                     "b", m->digest.b, sizeof(m->digest.b));

    while (r >= 0 && (r = db_step(st, err)) == 1) {
        bool fits = false;

        for (int k = 0; k < m->n_files && !fits; k++) {
            /* both are few and mostly in one order: begin where the last one was */
            const struct repo_file *f = &m->files[(i + k) % m->n_files];
            struct buf path AUTO(buf_release) = BUF_INIT;
            struct digest d;

            repo_path_encode(f->path, &path);
            fits = strcmp(buf_str(&path), db_text(st, 0)) == 0 &&
                   column_digest(st, 1, &d) && digest_eq(&d, &f->digest) &&
                   db_int(st, 2) == f->size_bytes;
        }
        if (!fits)
            return problem(c, err, "%s: row of %s: not in its manifest", name,
                           db_text(st, 0));
        i++;
    }
    if (r < 0)
        return r;
    return i == m->n_files
               ? 0
               : problem(c, err, "%s: %d rows for the %d files of its manifest", name,
                         i, m->n_files);
}

static int
check_version_file(struct check *c, const struct repo_version *v, const char *name,
                   struct err *err)
{
    struct buf path AUTO(buf_release) = BUF_INIT, want AUTO(buf_release) = BUF_INIT;
    struct buf text AUTO(buf_release) = { .cap_bytes = 4096 };

    repo_version_path(v->model, v->number, &path);
    repo_version_text(v->model, v->number, &v->digest, v->created_ns, &want);
    if (fs_read(c->r->dirfd, buf_str(&path), &text, err) < 0)
        return found(c, err);
    return strcmp(buf_str(&text), buf_str(&want)) == 0
               ? 0
               : problem(c, err, "%s: %s does not say what the catalogue says", name,
                         buf_str(&path));
}

static int
check_version(void *arg, const struct repo_version *v, struct err *err)
{
    struct repo_manifest m AUTO(repo_manifest_release) = { .files = NULL };
    struct check *c = arg;
    char name[REPO_NAME_BYTES + 24];
    int r;

    c->out->n_versions++;
    snprintf(name, sizeof(name), "%s@%" PRId64, v->model, v->number);
    r = check_version_file(c, v, name, err);
    if (r < 0)
        return r;
    if (repo_manifest_get(c->r, &v->digest, &m, err) < 0) {
        (void)err_ctx(err, "%s", name);
        return found(c, err);
    }
    if (m.n_files != v->n_files || m.size_bytes != v->size_bytes) {
        r = problem(c, err,
                    "%s: its row says %" PRId64 " files of %" PRId64 " bytes, "
                    "its manifest %d of %" PRId64,
                    name, v->n_files, v->size_bytes, m.n_files, m.size_bytes);
        if (r < 0)
            return r;
    }
    return check_files(c, &m, name, err);
}

int
repo_check(struct repo *r, struct repo_check *out,
           int (*fn)(void *arg, const char *problem, struct err *err), void *arg,
           struct err *err)
{
    struct check c = { .r = r, .out = out, .fn = fn, .arg = arg };
    int rc;

    memset(out, 0, sizeof(*out));
    rc = check_sqlite(&c, err);
    if (rc == 0)
        rc = check_objects(&c, err);
    if (rc == 0)
        rc = r->objects->ops->list(r->objects, check_name, &c, err);
    if (rc == 0)
        rc = repo_versions(r, NULL, check_version, &c, err);
    if (rc < 0)
        return err_ctx(err, "check %s", r->path);
    if (out->n_bad > 0)
        return err_set(err, ERR_FAILED, "%s: %" PRId64 " problem%s, the first: %s",
                       r->path, out->n_bad, out->n_bad == 1 ? "" : "s", c.first);
    return 0;
}
