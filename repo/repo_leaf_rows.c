/* SPDX-License-Identifier: Apache-2.0 */
/* Leaf lists of objects in the catalogue: made when first needed, kept as long as their
 * object. */
#include "repo/cold_int.h"

#include "savedmodel/savedmodel.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INDEX_BYTES_MAX ((size_t)64 << 20) /* a larger index gives no hints */
#define SUFFIX_BYTES 20                    /* ".data-00000-of-00001" */

/* The index that describes a data shard, and the shard's number; NULL: none. */
static const struct repo_file *
find_index(const struct repo_manifest *m, const struct repo_file *f, int *shard)
{
    const size_t n = strlen(f->path);
    const char *suffix = f->path + n - SUFFIX_BYTES;
    int of = 0, end = 0;

    if (n <= SUFFIX_BYTES ||
        sscanf(suffix, ".data-%5d-of-%5d%n", shard, &of, &end) != 2 ||
        end != SUFFIX_BYTES)
        return NULL;
    for (int i = 0; i < m->n_files; i++) {
        const char *path = m->files[i].path;

        if (strncmp(path, f->path, n - SUFFIX_BYTES) == 0 &&
            strcmp(path + n - SUFFIX_BYTES, ".index") == 0)
            return &m->files[i];
    }
    return NULL;
}

/* The bundle reader takes files by name. */
static int
open_index(struct repo *r, const struct repo_file *index, struct repo_view *view,
           struct sm_bundle **out, struct err *err)
{
    struct buf bytes AUTO(buf_release) = { .cap_bytes = INDEX_BYTES_MAX };
    int fd AUTO(fs_close) = -1;
    int rc = r->objects->ops->get(r->objects, &index->digest, &bytes, err);

    if (rc == 0)
        rc = repo_stage_open(r, view, err);
    if (rc == 0)
        rc = fs_open(&fd, view->lock_fd, "hint.index", O_WRONLY | O_CREAT | O_EXCL,
                     0600, err);
    if (rc == 0)
        rc = fs_write_all(fd, buf_str(&bytes), bytes.len, "hint.index", err);
    return rc < 0 ? rc : sm_bundle_open(out, view->lock_fd, "hint", err);
}

/* Whatever is wrong with an index, there are only fewer hints. */
static size_t
read_hints(struct repo *r, const struct repo_manifest *m, const struct repo_file *f,
           struct sm_hint **out)
{
    struct repo_view view AUTO(repo_view_close) = REPO_VIEW_INIT;
    struct sm_bundle *bundle AUTO(sm_bundle_close_p) = NULL;
    struct err err = ERR_INIT;
    int shard = 0;
    const struct repo_file *index = find_index(m, f, &shard);

    *out = NULL;
    if (!index)
        return 0;
    if (open_index(r, index, &view, &bundle, &err) < 0) {
        err_clear(&err);
        return 0;
    }
    return sm_bundle_hints(bundle, shard, out);
}

static int
store(struct repo *r, const struct digest *d, const struct leaf_list *l,
      struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    int rc = db_begin(r->db, err);

    if (rc < 0)
        return rc;
    leaf_list_format(l, &text);
    /* an object that gc took meanwhile has no list */
    rc = db_run(r->db, err,
                "INSERT INTO leaf_list(object, root, leaves) "
                "SELECT digest, ?, ? FROM object WHERE digest = ? "
                "ON CONFLICT(object) DO UPDATE SET root = excluded.root, "
                "leaves = excluded.leaves",
                "bbb", l->root.b, sizeof(l->root.b), buf_str(&text), text.len, d->b,
                sizeof(d->b));
    if (rc == 0)
        return db_commit(r->db, err);
    db_rollback(r->db);
    return rc;
}

int
repo_leaves_get(struct repo *r, const struct repo_manifest *m,
                const struct repo_file *f, struct leaf_list *out, struct err *err)
{
    struct cold_reader rd AUTO(cold_reader_close) = COLD_READER_INIT;
    struct sm_hint *hints AUTO(free_ptr) = NULL;
    struct db_stmt *st = NULL;
    size_t n;
    int rc = db_query(r->db, &st, err, "SELECT leaves FROM leaf_list WHERE object = ?",
                      "b", f->digest.b, sizeof(f->digest.b));

    if (rc == 0 && (rc = db_step(st, err)) == 1) {
        const char *p = db_blob(st, 0, &n);

        if (!leaf_list_parse(out, (struct str){ p, n }, f->size_bytes))
            rc = 0; /* derived data: made again */
    }
    db_done(st);
    if (rc != 0)
        return rc < 0 ? rc : 0;
    rc = cold_reader_open(&rd, r->dirfd, &f->digest, err);
    if (rc < 0)
        return rc;
    if (rd.size_bytes != f->size_bytes)
        return err_set(err, ERR_CORRUPT,
                       "%s: its object has %" PRId64 " bytes, not %" PRId64, f->path,
                       rd.size_bytes, f->size_bytes);
    n = read_hints(r, m, f, &hints);
    rc = leaf_list_make(out, &rd, hints, n, err);
    if (rc == 0 && (rc = store(r, &f->digest, out, err)) < 0)
        leaf_list_release(out);
    return rc;
}
