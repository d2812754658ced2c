/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests in the catalogue; their text is repo_manifest.c's. */
#include "repo/repo_int.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

int
repo_manifest_get(struct repo *r, const struct digest *d, struct repo_manifest *out,
                  struct err *err)
{
    struct buf text AUTO(buf_release) = { .cap_bytes = REPO_MANIFEST_MAX };
    char name[REPO_DIGEST_BYTES];
    int rc;

    *out = (struct repo_manifest){ .files = NULL };
    repo_digest_text(d, name);
    rc = r->objects->ops->get(r->objects, d, &text, err);
    if (rc < 0)
        return err_ctx(err, "manifest");
    return repo_manifest_parse(out, (struct str){ text.data, text.len }, name, err);
}

/* ---- rows ---------------------------------------------------------------------------
 */

/* A row says "durable since then": what ingest saw is looked at once more under the
 * write lock, for objects without a row may be dropped under it. */
int
repo_object_record(struct repo *r, const struct digest *d, int64_t size_bytes,
                   int64_t now_ns, struct err *err)
{
    char hex[DIGEST_HEX_BYTES];
    int64_t found_bytes = -1;
    int rc =
        db_run(r->db, err,
               "INSERT INTO object(digest, size_bytes, created_ns) VALUES(?, ?, ?) "
               "ON CONFLICT DO NOTHING",
               "bii", d->b, sizeof(d->b), size_bytes, now_ns);

    if (rc < 0 || db_changes(r->db) == 0)
        return rc;
    rc = r->objects->ops->has(r->objects, d, &found_bytes, err);
    if (rc < 0 || found_bytes == size_bytes)
        return rc < 0 ? rc : 0;
    digest_hex(d, hex);
    return err_set(err, ERR_BUSY,
                   "object %s has gone since it was stored: another process gave up on "
                   "it; do it again",
                   hex);
}

/* What is named now is not gc's any more. Its next sweep would see so itself, but a
 * doom that is left over would count as old when they are given up again. */
static int
lift_doom(struct repo *r, const struct repo_manifest *m, struct err *err)
{
    static const char sql[] = "DELETE FROM doomed WHERE digest = ?";
    int64_t one;
    int rc = db_get_int(r->db, &one, err, "SELECT 1 FROM doomed LIMIT 1", "");

    if (rc <= 0)
        return rc;
    rc = db_run(r->db, err, sql, "b", m->digest.b, sizeof(m->digest.b));
    for (int i = 0; rc == 0 && i < m->n_files; i++)
        rc = db_run(r->db, err, sql, "b", m->files[i].digest.b,
                    sizeof(m->files[i].digest.b));
    return rc;
}

int
repo_manifest_record(struct repo *r, const struct repo_manifest *m, struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT, path AUTO(buf_release) = BUF_INIT;
    const int64_t now_ns = clock_now_ns();
    int64_t one;
    int rc = db_get_int(r->db, &one, err,
                        "SELECT 1 FROM manifest_file WHERE manifest = ? AND NOT EXISTS "
                        "(SELECT 1 FROM doomed d WHERE d.digest = manifest) LIMIT 1",
                        "b", m->digest.b, sizeof(m->digest.b));

    if (!db_in_tx(r->db))
        BUG("a manifest recorded outside a transaction");
    if (!r->objects->ops->is_settled(r->objects))
        BUG("a row before the names of its objects are on the disk");
    if (rc != 0) /* the rows of a manifest are written together; gc takes them apart */
        return rc < 0 ? rc : 0;
    repo_manifest_format(m, &text);
    rc = repo_object_record(r, &m->digest, (int64_t)text.len, now_ns, err);
    for (int i = 0; rc == 0 && i < m->n_files; i++) {
        const struct repo_file *f = &m->files[i];

        rc = repo_object_record(r, &f->digest, f->size_bytes, now_ns, err);
        if (rc < 0)
            break;
        buf_clear(&path);
        repo_path_encode(f->path, &path);
        rc = db_run(r->db, err,
                    "INSERT INTO manifest_file(manifest, path, object, size_bytes) "
                    "VALUES(?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    "btbi", m->digest.b, sizeof(m->digest.b), buf_str(&path),
                    f->digest.b, sizeof(f->digest.b), f->size_bytes);
    }
    return rc < 0 ? rc : lift_doom(r, m, err);
}

int
repo_manifest_verify(struct repo *r, const struct digest *manifest, struct err *err)
{
    struct repo_manifest m AUTO(repo_manifest_release) = { .files = NULL };
    int rc = repo_manifest_get(r, manifest, &m, err);

    if (rc < 0)
        return rc;
    for (int i = 0; i < m.n_files; i++)
        if (objects_verify(r->objects, &m.files[i].digest, err) < 0)
            return err_ctx(err, "%s", m.files[i].path);
    return 0;
}
