/* SPDX-License-Identifier: Apache-2.0 */
/* Versions as an OCI image layout: oci-layout, index.json, blobs/sha256/<hex>. Blobs go
 * out in order of their digests, JSON has its members in one order, times come from the
 * catalogue: the same versions give the same bytes. */
#include "repo/repo_backup_int.h"
#include "repo/repo_bundle_int.h"

#include "base/clock.h"
#include "base/tar.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COPY_BYTES ((size_t)1 << 20)

struct blob {
    struct digest digest;
    int64_t size_bytes;
    char *text; /* NULL: an object */
};
struct blobs {
    struct blob *v;
    size_t n;
};

/* Where the files of a layout go. */
struct sink {
    struct tar_out tar; /* fd -1: */
    int dirfd;          /* a directory */
};

void
repo_bundle_version_release(struct repo_bundle_version *b)
{
    cJSON_Delete(b->about);
    free(b->sets);
    free(b->set_names);
    buf_release(&b->events);
    *b = (struct repo_bundle_version){ .about = NULL };
}

/* ---- what is in it --------------------------------------------------------------- */

static void
add_blob(struct blobs *all, const struct digest *d, int64_t size_bytes, char *text)
{
    all->v = xreallocarray(all->v, all->n + 1, sizeof(*all->v));
    all->v[all->n++] =
        (struct blob){ .digest = *d, .size_bytes = size_bytes, .text = text };
}

static void
blobs_release(struct blobs *all)
{
    for (size_t i = 0; i < all->n; i++)
        free(all->v[i].text);
    free(all->v);
}

static cJSON *
ref_json(const char *type, const struct digest *d, int64_t size_bytes,
         const char *title)
{
    cJSON *o = cJSON_CreateObject();
    char digest[REPO_DIGEST_BYTES];

    repo_digest_text(d, digest);
    json_put_str(o, "mediaType", type);
    json_put_str(o, "digest", digest);
    json_put_int(o, "size", size_bytes);
    if (title)
        json_put_str(cJSON_AddObjectToObject(o, "annotations"), OCI_TITLE, title);
    return o;
}

/* A text becomes a blob; its descriptor. */
static cJSON *
add_text(struct blobs *all, const char *type, struct buf *text, const char *title)
{
    const int64_t n = (int64_t)text->len;
    struct digest d;

    sha256_of(buf_str(text), text->len, &d);
    add_blob(all, &d, n, text->data ? buf_take(text) : xstrdup(""));
    return ref_json(type, &d, n, title);
}

/* A list of files and the files. */
static int
add_files(struct repo *r, struct blobs *all, cJSON *layers, const struct digest *d,
          const char *list_type, const char *file_type, const char *name,
          struct err *err)
{
    struct repo_manifest m AUTO(repo_manifest_release) = { .files = NULL };
    struct buf text AUTO(buf_release) = BUF_INIT;
    int rc = repo_manifest_get(r, d, &m, err);

    if (rc < 0)
        return rc;
    repo_manifest_format(&m, &text);
    cJSON_AddItemToArray(layers, add_text(all, list_type, &text, name));
    for (int i = 0; i < m.n_files; i++) {
        const struct repo_file *f = &m.files[i];

        add_blob(all, &f->digest, f->size_bytes, NULL);
        cJSON_AddItemToArray(layers,
                             ref_json(file_type, &f->digest, f->size_bytes, f->path));
    }
    return 0;
}

static int
add_attachments(struct blobs *all, cJSON *layers, const cJSON *about, struct err *err)
{
    struct repo_bundle_attachment *list AUTO(free_ptr) = NULL;
    int n, rc = bundle_parse_attachments(about, &list, &n, err);

    for (int i = 0; rc == 0 && i < n; i++) {
        char *title AUTO(free_ptr) = xasprintf("%s/%s", list[i].type, list[i].name);
        const struct repo_blob *b = &list[i].blob;

        add_blob(all, &b->digest, b->size_bytes, NULL);
        cJSON_AddItemToArray(
            layers, ref_json(BUNDLE_ATTACHMENT_TYPE, &b->digest, b->size_bytes, title));
    }
    return rc;
}

/* The OCI manifest of a version, as an element of the index. */
static int
add_version(struct repo *r, struct blobs *all, cJSON *index,
            struct repo_bundle_version *b, struct err *err)
{
    cJSON *o AUTO(json_free) = cJSON_CreateObject();
    struct buf text AUTO(buf_release) = BUF_INIT;
    cJSON *layers, *notes, *ref;
    char name[REPO_NAME_BYTES * 3 + 24], time[CLOCK_TEXT_BYTES];
    struct buf encoded AUTO(buf_release) = BUF_INIT;
    int rc;

    json_put_int(o, "schemaVersion", 2);
    json_put_str(o, "mediaType", OCI_MANIFEST_TYPE);
    json_put_str(o, "artifactType", BUNDLE_TYPE);
    json_print(b->about, &text, true);
    cJSON_AddItemToObject(o, "config", add_text(all, BUNDLE_CONFIG_TYPE, &text, NULL));
    layers = cJSON_AddArrayToObject(o, "layers");
    rc = add_files(r, all, layers, &b->v.digest, BUNDLE_FILES_TYPE, BUNDLE_FILE_TYPE,
                   NULL, err);
    for (int i = 0; rc == 0 && i < b->n_sets; i++)
        rc = add_files(r, all, layers, &b->sets[i], BUNDLE_SET_TYPE,
                       BUNDLE_SET_FILE_TYPE, b->set_names[i], err);
    if (rc == 0)
        rc = add_attachments(all, layers, b->about, err);
    if (rc < 0)
        return rc;
    cJSON_AddItemToArray(layers, add_text(all, BUNDLE_EVENTS_TYPE, &b->events, NULL));
    notes = cJSON_AddObjectToObject(o, "annotations");
    json_put_str(notes, OCI_CREATED, clock_text(b->v.created_ns, time));
    json_put_str(notes, OCI_TITLE, b->v.model);
    json_print(o, &text, true);
    ref = add_text(all, OCI_MANIFEST_TYPE, &text, NULL);
    json_put_str(ref, "artifactType", BUNDLE_TYPE);
    repo_name_encode(b->v.model, &encoded);
    for (size_t i = 0; i < encoded.len; i++)
        if (encoded.data[i] == '%') /* not a letter of such names */
            encoded.data[i] = '_';
    snprintf(name, sizeof(name), "%s-%" PRId64, buf_str(&encoded), b->v.number);
    json_put_str(cJSON_AddObjectToObject(ref, "annotations"), OCI_REF_NAME, name);
    cJSON_AddItemToArray(index, ref);
    return 0;
}

/* ---- writing --------------------------------------------------------------------- */

static int
put_text(struct sink *s, const char *name, const char *text, size_t n, struct err *err)
{
    int r;

    if (s->tar.fd < 0)
        return fs_replace(s->dirfd, name, text, n, 0644, err);
    r = tar_file(&s->tar, name, (int64_t)n, 0644, err);
    return r < 0 ? r : tar_write(&s->tar, text, n, err);
}

/* Hashed while it goes out: what is exported is what the digest says. */
static int
put_object(struct repo *r, struct sink *s, const char *name, const struct blob *b,
           struct err *err)
{
    char *block AUTO(free_ptr) = xmalloc(COPY_BYTES);
    int in AUTO(fs_close) = -1, out AUTO(fs_close) = -1;
    struct sha256 sha;
    struct digest got;
    int64_t total = 0;
    ssize_t n = 0;
    int rc = r->objects->ops->open(r->objects, &b->digest, &in, err);

    if (rc == 0)
        rc = s->tar.fd >= 0 ? tar_file(&s->tar, name, b->size_bytes, 0644, err)
                            : fs_open(&out, s->dirfd, name, O_WRONLY | O_CREAT | O_EXCL,
                                      0644, err);
    sha256_init(&sha);
    while (rc == 0 && (n = read(in, block, COPY_BYTES)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, errno, "read %s", name);
        sha256_add(&sha, block, (size_t)n);
        total += n;
        rc = s->tar.fd >= 0 ? tar_write(&s->tar, block, (size_t)n, err)
                            : fs_write_all(out, block, (size_t)n, name, err);
    }
    if (rc < 0)
        return rc;
    sha256_end(&sha, &got);
    if (total != b->size_bytes || !digest_eq(&got, &b->digest))
        return err_set(
            err, ERR_CORRUPT,
            "%s: the object's bytes are not what its digest says: sluice fsck "
            "--repair",
            name);
    return s->tar.fd >= 0 ? 0 : fs_fsync(out, name, err);
}

static int
by_digest(const void *a, const void *b)
{
    return memcmp(((const struct blob *)a)->digest.b,
                  ((const struct blob *)b)->digest.b, 32);
}

static int
put_all(struct repo *r, struct sink *s, struct blobs *all, const struct buf *index,
        struct err *err)
{
    int rc = put_text(s, "oci-layout", OCI_LAYOUT, strlen(OCI_LAYOUT), err);

    if (rc == 0)
        rc = put_text(s, "index.json", index->data, index->len, err);
    if (rc == 0 && s->tar.fd < 0)
        rc = fs_mkdirs(s->dirfd, "blobs/sha256", 0755, err);
    qsort(all->v, all->n, sizeof(*all->v), by_digest);
    for (size_t i = 0; rc == 0 && i < all->n; i++) {
        const struct blob *b = &all->v[i];
        char hex[DIGEST_HEX_BYTES], name[96];

        if (i > 0 && digest_eq(&b->digest, &all->v[i - 1].digest))
            continue;
        digest_hex(&b->digest, hex);
        snprintf(name, sizeof(name), "blobs/sha256/%s", hex);
        rc = b->text ? put_text(s, name, b->text, (size_t)b->size_bytes, err)
                     : put_object(r, s, name, b, err);
    }
    if (rc == 0 && s->tar.fd >= 0)
        rc = tar_end(&s->tar, err);
    return rc < 0 || s->tar.fd >= 0 ? rc : fs_sync_all(s->dirfd, "the bundle", err);
}

static int
write_tar(struct repo *r, struct blobs *all, const struct buf *index, const char *dest,
          struct err *err)
{
    const bool to_stdout = strcmp(dest, "-") == 0;
    struct sink s = { .tar = { .fd = -1 }, .dirfd = -1 };
    int rc = 0;

    if (to_stdout)
        s.tar.fd = dup(STDOUT_FILENO);
    else
        rc = fs_open(&s.tar.fd, AT_FDCWD, dest, O_WRONLY | O_CREAT | O_EXCL, 0644, err);
    if (rc < 0)
        return err->sys == EEXIST
                   ? (err_clear(err),
                      err_set(err, ERR_CONFLICT, "there is something already"))
                   : rc;
    if (s.tar.fd < 0)
        return err_sys(err, errno, "standard output");
    rc = put_all(r, &s, all, index, err);
    if (rc == 0 && !to_stdout)
        rc = fs_fsync(s.tar.fd, dest, err);
    if (rc < 0 && !to_stdout)
        unlink(dest);
    fs_close(&s.tar.fd);
    return rc;
}

static int
write_dir(struct repo *r, struct blobs *all, const struct buf *index, const char *dest,
          struct err *err)
{
    struct sink s = { .tar = { .fd = -1 }, .dirfd = -1 };
    struct err ignored = ERR_INIT;
    char *work AUTO(free_ptr) = NULL;
    uint32_t random = 0;
    int rc = fs_exists(AT_FDCWD, dest, err);

    if (rc == 1)
        return err_set(err, ERR_CONFLICT, "there is something already");
    if (rc == 0)
        rc = random_bytes(&random, sizeof(random), err);
    work = xasprintf("%s.writing-%08" PRIx32, dest, random);
    if (rc == 0)
        rc = fs_mkdirs(AT_FDCWD, work, 0755, err);
    if (rc == 0)
        rc = fs_open_dir(&s.dirfd, AT_FDCWD, work, err);
    if (rc == 0)
        rc = put_all(r, &s, all, index, err);
    if (rc == 0)
        rc = fs_rename_new(AT_FDCWD, work, AT_FDCWD, dest, err);
    else if (fs_remove_tree(AT_FDCWD, work, &ignored) < 0)
        err_clear(&ignored); /* its name says what it is */
    fs_close(&s.dirfd);
    return rc;
}

int
repo_bundle_write(struct repo *r, const struct repo_bundle_version *list, int n,
                  const char *dest, struct err *err)
{
    struct blobs all AUTO(blobs_release) = { .n = 0 };
    cJSON *index AUTO(json_free) = cJSON_CreateObject();
    struct buf text AUTO(buf_release) = BUF_INIT;
    cJSON *manifests;
    int rc = 0;

    json_put_int(index, "schemaVersion", 2);
    json_put_str(index, "mediaType", OCI_INDEX_TYPE);
    manifests = cJSON_AddArrayToObject(index, "manifests");
    for (int i = 0; rc == 0 && i < n; i++) {
        struct repo_bundle_version v = list[i];

        v.events = (struct buf)BUF_INIT; /* a copy, for add_text takes it */
        buf_add(&v.events, buf_str(&list[i].events), list[i].events.len);
        rc = add_version(r, &all, manifests, &v, err);
        buf_release(&v.events);
    }
    json_print(index, &text, true);
    if (rc == 0)
        rc = backup_is_tar(dest) ? write_tar(r, &all, &text, dest, err)
                                 : write_dir(r, &all, &text, dest, err);
    return rc < 0 ? err_ctx(err, "export to %s", dest) : 0;
}
