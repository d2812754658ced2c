/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/tree.h"

#include "repo/cold_int.h"
#include "repo/gc.h"

#include "savedmodel/savedmodel.h"

#include <stdlib.h>
#include <string.h>

#define CHECK_BYTES ((size_t)1 << 20)
#define AGE_NS "coalesce((SELECT age_ns FROM store_age), 0)"

/* ---- rows ---- */

int
repo_tree_add(struct repo *r, const struct repo_tree *t, struct err *err)
{
    int64_t age_ns;
    int rc = repo_age_tick(r, &age_ns, err);

    if (rc == 0)
        rc = db_run(r->db, err, "DELETE FROM tree WHERE until_age_ns < ?", "i", age_ns);
    return rc < 0
               ? rc
               : db_run(r->db, err,
                        "INSERT INTO tree(digest, subject, until_age_ns, n_new_files, "
                        "new_bytes, is_checked) VALUES(?, ?, ?, ?, ?, ?) "
                        "ON CONFLICT(digest, subject) DO UPDATE SET "
                        "until_age_ns = excluded.until_age_ns, "
                        "n_new_files = excluded.n_new_files, "
                        "new_bytes = excluded.new_bytes, "
                        "is_checked = max(is_checked, excluded.is_checked)",
                        "btiiii", t->digest.b, sizeof(t->digest.b), acc_actor(r->acc),
                        age_ns + REPO_TREE_S * 1000000000, t->n_new_files, t->new_bytes,
                        (int64_t)t->is_checked);
}

int
repo_tree_done(struct repo *r, const struct digest *d, struct err *err)
{
    int64_t age_ns;
    int rc = repo_age_tick(r, &age_ns, err);

    return rc < 0 ? rc
                  : db_run(r->db, err,
                           "UPDATE tree SET until_age_ns = min(until_age_ns, ?) WHERE "
                           "digest = ? AND subject = ?",
                           "ibt", age_ns + REPO_TREE_DONE_S * 1000000000, d->b,
                           sizeof(d->b), acc_actor(r->acc));
}

int
repo_tree_get(struct repo *r, const struct digest *d, struct repo_tree *out,
              struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    char hex[DIGEST_HEX_BYTES];
    int rc = db_query(r->db, &st, err,
                      "SELECT n_new_files, new_bytes, is_checked FROM tree WHERE "
                      "digest = ? AND subject = ? AND until_age_ns > " AGE_NS,
                      "bt", d->b, sizeof(d->b), acc_actor(r->acc));

    if (rc == 0)
        rc = db_step(st, err);
    if (rc == 1)
        *out = (struct repo_tree){ .digest = *d,
                                   .n_new_files = db_int(st, 0),
                                   .new_bytes = db_int(st, 1),
                                   .is_checked = db_int(st, 2) != 0 };
    if (rc != 0)
        return rc < 0 ? rc : 0;
    digest_hex(d, hex);
    return err_set(err, ERR_NOTFOUND,
                   "%s has no tree " REPO_TREE_PREFIX
                   "%s: one that was sent stays for a day; "
                   "send it again",
                   acc_actor(r->acc), hex);
}

/* ---- who may read ---- */

/* 1: a model whose name the rows give is the caller's to read. */
static int
reads_one_of(struct repo *r, struct db_stmt *models, struct err *err)
{
    int rc;

    while ((rc = db_step(models, err)) == 1) {
        rc = acc_may(r->acc, NULL, ACC_READ, acc_model(db_text(models, 0)), err);
        if (rc != 0)
            return rc;
    }
    return rc;
}

#define KEPT                                                                           \
    "NOT EXISTS (SELECT 1 FROM deletion d WHERE d.version_id = v.id AND "              \
    "d.purged_ns IS NOT NULL)"

/* `sql` selects names of models by one digest. */
static int
may_read(struct repo *r, const struct digest *d, const char *of_tree,
         const char *of_models, struct err *err)
{
    struct db_stmt *models AUTO(db_done_p) = NULL;
    int64_t one;
    int rc = db_get_int(r->db, &one, err, of_tree, "tb", acc_actor(r->acc), d->b,
                        sizeof(d->b));

    if (rc == 0)
        rc = db_query(r->db, &models, err, of_models, "b", d->b, sizeof(d->b));
    return rc != 0 ? rc : reads_one_of(r, models, err);
}

int
repo_tree_may_read(struct repo *r, const struct digest *manifest, struct err *err)
{
    return may_read(r, manifest,
                    "SELECT 1 FROM tree WHERE subject = ? AND digest = ? AND "
                    "until_age_ns > " AGE_NS,
                    "SELECT DISTINCT m.name FROM version v JOIN model m ON m.id = "
                    "v.model_id WHERE v.digest = ? AND " KEPT,
                    err);
}

int
repo_object_may_read(struct repo *r, const struct digest *d, struct err *err)
{
    struct db_stmt *attached AUTO(db_done_p) = NULL;
    int rc = may_read(
        r, d,
        "SELECT 1 FROM manifest_file f JOIN tree t ON t.digest = f.manifest WHERE "
        "t.subject = ? AND f.object = ? AND t.until_age_ns > " AGE_NS " LIMIT 1",
        "SELECT DISTINCT m.name FROM manifest_file f JOIN version v ON v.digest = "
        "f.manifest JOIN model m ON m.id = v.model_id WHERE f.object = ? AND " KEPT,
        err);

    if (rc == 0)
        rc = db_query(r->db, &attached, err,
                      "SELECT DISTINCT m.name FROM attachment a JOIN version v ON "
                      "v.id = a.version_id JOIN model m ON m.id = v.model_id WHERE "
                      "a.object = ? AND " KEPT,
                      "b", d->b, sizeof(d->b));
    else
        return rc;
    return rc < 0 ? rc : reads_one_of(r, attached, err);
}

/* A manifest that has this object, of those that the caller may read. 1, 0. */
static int
find_manifest(struct repo *r, const struct digest *d, struct digest *manifest,
              struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int rc = db_query(r->db, &st, err,
                      "SELECT DISTINCT manifest FROM manifest_file WHERE object = ?",
                      "b", d->b, sizeof(d->b));

    while (rc == 0 && (rc = db_step(st, err)) == 1) {
        rc = repo_column_digest(st, 0, manifest) ? repo_tree_may_read(r, manifest, err)
                                                 : 0;
        if (rc != 0)
            return rc;
    }
    return rc;
}

/* ---- for verbs ---- */

int
repo_tree_open(struct repo *r, const char *text, struct repo_view *view, char **path,
               struct err *err)
{
    struct repo_tree t;
    const char *name;
    int rc = repo_tree_parse(text, &t.digest, &name, err);

    if (rc == 0)
        BUG("'%s' is no tree, and was taken for one", text);
    if (rc == 1)
        rc = repo_tree_get(r, &t.digest, &t, err);
    if (rc == 0)
        rc = repo_view_open(r, &t.digest, view, err);
    if (rc == 0 && name[0]) {
        rc = fs_exists(view->lock_fd, name, err);
        if (rc == 0)
            rc = err_set(err, ERR_NOTFOUND, "the tree has no file %s", name);
    }
    if (rc < 0)
        return rc;
    *path = xasprintf("%s%s%s", view->path, name[0] ? "/" : "", name);
    return 0;
}

static int
record(struct repo *r, struct repo_ingest *in, struct err *err)
{
    struct repo_tree t = { .digest = in->manifest.digest };
    int rc = db_begin(r->db, err);

    if (rc == 0)
        rc = repo_manifest_record(r, &in->manifest, err);
    if (rc == 0)
        rc = repo_tree_add(r, &t, err);
    if (rc == 0)
        rc = db_commit(r->db, err);
    db_rollback(r->db);
    if (rc < 0)
        repo_ingest_drop(r, &in->manifest);
    return rc;
}

static int
count_files(void *arg, const struct fs_entry *e, struct err *err)
{
    (void)err;
    *(int *)arg += S_ISREG(e->st.st_mode);
    return 0;
}

/* A file alone is put into a directory first: what is ingested is one. */
static int
stage_file(struct repo *r, const char *path, const char *name, struct repo_view *out,
           struct err *err)
{
    int rc = repo_stage_open(r, out, err);

    return rc < 0 ? rc : fs_rename(AT_FDCWD, path, out->lock_fd, name, err);
}

int
repo_tree_make(struct repo *r, const char *path, struct buf *text, struct err *err)
{
    const struct repo_ingest_opts opts = { .is_ours = true, .name = "the result" };
    struct repo_ingest in AUTO(repo_ingest_release) = { .n_new_files = 0 };
    struct repo_view stage AUTO(repo_view_close) = REPO_VIEW_INIT;
    const char *slash = strrchr(path, '/'), *name = "";
    struct stat st;
    int n = 0, rc = 0;

    if (fs_exists(AT_FDCWD, path, err) != 1)
        return -(int)err->code;
    if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode)) {
        name = slash ? slash + 1 : path;
        rc = stage_file(r, path, name, &stage, err);
        path = stage.path;
    }
    if (rc == 0)
        rc = fs_walk(AT_FDCWD, path, count_files, &n, err);
    if (rc < 0 || n == 0)
        return rc;
    rc = repo_ingest(r, path, &opts, &in, err);
    if (rc == 0)
        rc = record(r, &in, err);
    repo_lease_end(r);
    if (rc < 0)
        return rc;
    repo_tree_text(&in.manifest.digest, name, text);
    return 1;
}

/* ---- a push of a tree ---- */

/* One shard against its index, with what of it cannot be held against bytes alone. */
static int
check_shard(struct repo *r, const struct repo_file *f, struct sm_bundle *bundle,
            bool is_checked, struct err *err)
{
    struct objects_crc *crcs AUTO(free_ptr) = NULL;
    struct objects_file file = { .size_bytes = f->size_bytes };
    struct repo_crc_run run = { .file = &file, .what = f->path };
    char *chunk AUTO(free_ptr) = xmalloc(CHECK_BYTES);
    int fd AUTO(fs_close) = -1;
    int64_t at = 0;
    int rc = r->objects->ops->open(r->objects, &f->digest, &fd, err);

    file.n_crcs = repo_model_crcs(bundle, f->path, &crcs);
    file.crcs = crcs;
    while (rc == 0 && !is_checked && at < f->size_bytes) {
        const int64_t n = fs_read_at(fd, chunk, CHECK_BYTES, at, f->path, err);

        if (n <= 0)
            rc = n < 0 ? (int)n
                       : err_set(err, ERR_CORRUPT, "%s: its object is too short",
                                 f->path);
        else
            rc = repo_crc_run(&run, chunk, (size_t)n, at, err);
        at += n > 0 ? n : 0;
    }
    return rc < 0 ? rc : repo_model_check_strings(bundle, f->path, err);
}

static int
check_model(struct repo *r, const struct repo_manifest *m, const char *name,
            bool is_checked, struct err *err)
{
    struct repo_view view AUTO(repo_view_close) = REPO_VIEW_INIT;
    struct sm_bundle *bundle AUTO(sm_bundle_close_p) = NULL;
    int rc = repo_view_open(r, &m->digest, &view, err);

    if (rc == 0)
        rc = repo_model_check(view.lock_fd, name, &bundle, err);
    for (int i = 0; rc == 0 && bundle && i < m->n_files; i++)
        if (repo_model_is_shard(m->files[i].path))
            rc = check_shard(r, &m->files[i], bundle, is_checked, err);
    return rc;
}

int
repo_tree_take(struct repo *r, const struct digest *d, bool is_model, const char *name,
               struct repo_ingest *out, struct err *err)
{
    struct repo_tree t;
    int64_t one;
    int rc = repo_tree_get(r, d, &t, err);

    *out = (struct repo_ingest){ .n_new_files = 0 };
    if (rc == 0)
        rc = repo_lease(r, NULL, err);
    if (rc == 0)
        rc = repo_manifest_get(r, d, &out->manifest, err);
    if (rc < 0)
        return rc;
    out->is_new = xcalloc((size_t)out->manifest.n_files + 1, sizeof(*out->is_new));
    out->n_new_files = (int)t.n_new_files;
    out->new_bytes = out->read_bytes = t.new_bytes;
    rc = is_model
             ? db_get_int(r->db, &one, err, "SELECT 1 FROM version WHERE digest = ?",
                          "b", d->b, sizeof(d->b))
             : 1;
    if (rc == 0)
        rc = check_model(r, &out->manifest, name, t.is_checked, err);
    if (rc < 0)
        repo_ingest_release(out);
    return rc < 0 ? rc : 0;
}

int
repo_ingest_tell(struct repo *r, struct repo_ingest *in, bool dry_run, struct err *err)
{
    const int n = in->manifest.n_files;
    bool *stored = in->is_new, *told = xcalloc((size_t)n + 1, sizeof(*told));
    int rc = 0;

    for (int i = 0; rc >= 0 && i < n; i++) {
        rc = stored && stored[i]
                 ? 0
                 : repo_object_may_read(r, &in->manifest.files[i].digest, err);
        told[i] = rc == 0;
    }
    in->is_new = told;
    repo_ingest_count(in);
    in->is_new = dry_run ? told : stored;
    free(dry_run ? stored : told);
    return rc < 0 ? rc : 0;
}

int
repo_tree_foresee(struct repo *r, struct str text, struct repo_ingest *out,
                  struct err *err)
{
    int rc;

    *out = (struct repo_ingest){ .n_new_files = 0 };
    rc = repo_manifest_parse(&out->manifest, text, "the list of files", err);
    if (rc < 0) {
        err->code = ERR_INVALID;
        return -(int)err->code;
    }
    rc = repo_ingest_tell(r, out, true, err);
    if (rc < 0)
        repo_ingest_release(out);
    return rc < 0 ? rc : 0;
}

/* ---- pieces ---- */

int
repo_object_pieces(struct repo *r, const struct digest *d, repo_piece_fn *fn, void *arg,
                   struct err *err)
{
    struct repo_manifest m AUTO(repo_manifest_release) = { .files = NULL };
    struct leaf_list leaves AUTO(leaf_list_release) = { .v = NULL };
    struct digest manifest;
    char name[REPO_DIGEST_BYTES];
    int rc = find_manifest(r, d, &manifest, err);

    repo_digest_text(d, name);
    if (rc == 0)
        return err_set(err, ERR_NOTFOUND, "there is no object %s", name);
    if (rc == 1)
        rc = repo_manifest_get(r, &manifest, &m, err);
    for (int i = 0; rc == 0 && i < m.n_files && !leaves.v; i++)
        if (digest_eq(&m.files[i].digest, d))
            rc = repo_leaves_get(r, &m, &m.files[i], &leaves, err);
    for (size_t i = 0; rc == 0 && i < leaves.n; i++)
        rc = fn(arg, leaves.v[i].at, leaves.v[i].length, &leaves.v[i].digest, err);
    return rc;
}
