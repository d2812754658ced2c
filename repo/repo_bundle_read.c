/* SPDX-License-Identifier: Apache-2.0 */
/* A bundle from elsewhere. A tar is unpacked into stage/ first: only the names of a
 * layout, plain files, each once. Then everything that JSON names is looked at before
 * anything is stored, and every byte is hashed on its way into objects/. */
#include "repo/gc.h"
#include "repo/repo_backup_int.h"
#include "repo/repo_bundle_int.h"

#include "base/tar.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COPY_BYTES ((size_t)1 << 20)

/* ---- unpacking ------------------------------------------------------------------- */

static bool
is_layout_name(const char *name)
{
    const char *hex = name + sizeof("blobs/sha256/") - 1;

    return strcmp(name, "oci-layout") == 0 || strcmp(name, "index.json") == 0 ||
           (strncmp(name, "blobs/sha256/", 13) == 0 && strlen(hex) == 64 &&
            strspn(hex, "0123456789abcdef") == 64);
}

static int
unpack_entry(struct tar_in *tar, const struct tar_entry *e, int dirfd, char *block,
             struct err *err)
{
    const char *name = strncmp(e->name, "./", 2) == 0 ? e->name + 2 : e->name;
    int fd AUTO(fs_close) = -1;
    int64_t n = 0;
    int r;

    if (!is_layout_name(name))
        return err_set(err, ERR_INVALID,
                       "%s: '%.200s' is no file of an OCI image layout", tar->what,
                       e->name);
    r = fs_open(&fd, dirfd, name, O_WRONLY | O_CREAT | O_EXCL, 0600, err);
    if (r < 0 && err->sys == EEXIST) {
        err_clear(err);
        return err_set(err, ERR_INVALID, "%s: %s is in it twice", tar->what, name);
    }
    while (r == 0 && (n = tar_read(tar, block, COPY_BYTES, err)) > 0)
        r = fs_write_all(fd, block, (size_t)n, name, err);
    return n < 0 ? (int)n : r;
}

static int
unpack(struct repo_bundle *b, const char *path, struct err *err)
{
    char *block AUTO(free_ptr) = xmalloc(COPY_BYTES);
    struct tar_in tar = { .fd = -1, .what = path };
    struct tar_entry e;
    int r = repo_stage_open(b->r, &b->stage, err);

    if (r == 0)
        r = fs_mkdirs(b->stage.lock_fd, "blobs/sha256", REPO_MODE, err);
    if (r == 0 && strcmp(path, "-") == 0) {
        tar.what = "standard input";
        tar.fd = dup(STDIN_FILENO);
        r = tar.fd < 0 ? err_sys(err, errno, "standard input") : 0;
    } else if (r == 0) {
        r = fs_open(&tar.fd, AT_FDCWD, path, O_RDONLY, 0, err);
    }
    while (r == 0 && (r = tar_next(&tar, &e, err)) == 1)
        r = unpack_entry(&tar, &e, b->stage.lock_fd, block, err);
    fs_close(&tar.fd);
    return r < 0 ? r : fs_open_dir(&b->dirfd, AT_FDCWD, b->stage.path, err);
}

/* ---- blobs ----------------------------------------------------------------------- */

static void
blob_name(const struct digest *d, char out[96])
{
    char hex[DIGEST_HEX_BYTES];

    digest_hex(d, hex);
    snprintf(out, 96, "blobs/sha256/%s", hex);
}

/* A blob of exactly that size; a link or a device is none. */
static int
open_blob(const struct repo_bundle *b, const struct digest *d, int64_t size_bytes,
          int *fd, struct err *err)
{
    char name[96];
    struct stat st;
    int r;

    blob_name(d, name);
    r = fs_open(fd, b->dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, err);
    if (r < 0 && err->sys == ENOENT) {
        err_clear(err);
        return err_set(err, ERR_NOTFOUND, "%s is missing: the bundle is incomplete",
                       name);
    }
    if (r < 0)
        return r;
    if (fstat(*fd, &st) < 0)
        return err_sys(err, errno, "stat %s", name);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "%s: not a regular file", name);
    if (st.st_size != size_bytes)
        return err_set(err, ERR_CORRUPT,
                       "%s: %" PRId64 " bytes, not the %" PRId64
                       " that the bundle says",
                       name, (int64_t)st.st_size, size_bytes);
    return 0;
}

/* All of a small one, hashed. */
static int
read_blob(const struct repo_bundle *b, const struct bundle_ref *ref, struct buf *out,
          struct err *err)
{
    char name[96], hex[DIGEST_HEX_BYTES];
    struct digest got;
    int fd AUTO(fs_close) = -1;
    int r;

    blob_name(&ref->digest, name);
    out->cap_bytes = BUNDLE_JSON_MAX;
    if (ref->size_bytes > (int64_t)BUNDLE_JSON_MAX)
        return err_set(err, ERR_LIMIT,
                       "%s: %" PRId64 " bytes; such a blob has at most %zu", name,
                       ref->size_bytes, BUNDLE_JSON_MAX);
    r = open_blob(b, &ref->digest, ref->size_bytes, &fd, err);
    if (r == 0)
        r = fs_read(b->dirfd, name, out, err);
    if (r < 0)
        return r;
    sha256_of(buf_str(out), out->len, &got);
    digest_hex(&got, hex);
    return digest_eq(&got, &ref->digest)
               ? 0
               : err_set(err, ERR_CORRUPT, "%s: its bytes hash to %s", name, hex);
}

static int
read_files(const struct repo_bundle *b, const struct bundle_ref *ref,
           struct repo_manifest *out, struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    char name[96];
    int r = read_blob(b, ref, &text, err);

    blob_name(&ref->digest, name);
    if (r == 0)
        r = repo_manifest_parse(out, (struct str){ buf_str(&text), text.len }, name,
                                err);
    for (int i = 0; r == 0 && i < out->n_files; i++) {
        int fd AUTO(fs_close) = -1;

        r = open_blob(b, &out->files[i].digest, out->files[i].size_bytes, &fd, err);
        if (r < 0)
            r = err_ctx(err, "%s", out->files[i].path);
    }
    return r;
}

/* ---- versions -------------------------------------------------------------------- */

static int
read_about(const struct repo_bundle *b, const struct bundle_ref *ref,
           struct repo_bundle_entry *e, struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    const char *model, *digest;
    char want[REPO_DIGEST_BYTES];
    double number;
    int r = read_blob(b, ref, &text, err);

    if (r == 0)
        r = json_parse(&e->about, (struct str){ buf_str(&text), text.len }, "config",
                       err);
    if (r == 0)
        r = json_str(e->about, "model", NULL, &model, "config", err);
    if (r == 0)
        r = repo_check_model_name(model, err);
    if (r == 0)
        r = json_str(e->about, "digest", NULL, &digest, "config", err);
    if (r == 0)
        r = json_num(e->about, "number", 0, &number, "config", err);
    if (r < 0)
        return r;
    repo_digest_text(&e->manifest.digest, want);
    if (strcmp(digest, want) != 0)
        return err_set(err, ERR_CORRUPT, "config: it is of %.80s, the files are %s",
                       digest, want);
    snprintf(e->model, sizeof(e->model), "%s", model);
    e->number = number >= 1 && number <= 9e15 ? (int64_t)number : 0;
    r = bundle_parse_attachments(e->about, &e->attachments, &e->n_attachments, err);
    for (int i = 0; r == 0 && i < e->n_attachments; i++) {
        const struct repo_blob *a = &e->attachments[i].blob;
        int fd AUTO(fs_close) = -1;

        r = open_blob(b, &a->digest, a->size_bytes, &fd, err);
    }
    return r;
}

static int
read_version(struct repo_bundle *b, const struct bundle_ref *ref, struct err *err)
{
    struct bundle_manifest *m AUTO(free_ptr) = xcalloc(1, sizeof(*m));
    struct repo_bundle_entry *e = &b->entries[b->n_entries];
    struct buf text AUTO(buf_release) = BUF_INIT;
    int r = read_blob(b, ref, &text, err);

    if (r == 0)
        r = bundle_parse_manifest((struct str){ buf_str(&text), text.len }, m, err);
    if (r < 0)
        return r;
    b->n_entries++;
    e->sets = xcalloc((size_t)m->n_sets + 1, sizeof(*e->sets));
    e->set_names = xcalloc((size_t)m->n_sets + 1, sizeof(*e->set_names));
    r = read_files(b, &m->files, &e->manifest, err);
    for (int i = 0; r == 0 && i < m->n_sets; i++) {
        memcpy(e->set_names[i], m->sets[i].title, sizeof(e->set_names[i]));
        e->n_sets++;
        r = read_files(b, &m->sets[i], &e->sets[i], err);
    }
    return r < 0 ? r : read_about(b, &m->config, e, err);
}

static int
read_layout(struct repo_bundle *b, struct err *err)
{
    struct buf mark AUTO(buf_release) = { .cap_bytes = 4096 };
    struct buf index AUTO(buf_release) = { .cap_bytes = BUNDLE_JSON_MAX };
    struct bundle_ref *refs AUTO(free_ptr) =
        xcalloc(BUNDLE_VERSIONS_MAX, sizeof(*refs));
    cJSON *layout AUTO(json_free) = NULL;
    const char *version;
    int n, r = fs_read(b->dirfd, "oci-layout", &mark, err);

    if (r < 0 && err->sys == ENOENT) {
        err_clear(err);
        return err_set(err, ERR_INVALID,
                       "no OCI image layout: there is no oci-layout in it");
    }
    if (r == 0)
        r = json_parse(&layout, (struct str){ buf_str(&mark), mark.len }, "oci-layout",
                       err);
    if (r == 0)
        r = json_str(layout, "imageLayoutVersion", NULL, &version, "oci-layout", err);
    if (r == 0 && strncmp(version, "1.", 2) != 0)
        r = err_set(err, ERR_UNSUPPORTED,
                    "oci-layout: version %.20s; this program knows 1", version);
    if (r == 0)
        r = fs_read(b->dirfd, "index.json", &index, err);
    if (r == 0)
        r = bundle_parse_index((struct str){ buf_str(&index), index.len }, refs, &n,
                               err);
    if (r < 0)
        return r;
    sha256_of(buf_str(&index), index.len, &b->digest);
    b->entries = xcalloc((size_t)n, sizeof(*b->entries));
    for (int i = 0; r == 0 && i < n; i++)
        r = read_version(b, &refs[i], err);
    return r;
}

void
repo_bundle_close(struct repo_bundle *b)
{
    for (int i = 0; i < b->n_entries; i++) {
        struct repo_bundle_entry *e = &b->entries[i];

        repo_manifest_release(&e->manifest);
        for (int k = 0; k < e->n_sets; k++)
            repo_manifest_release(&e->sets[k]);
        free(e->sets);
        free(e->set_names);
        free(e->attachments);
        cJSON_Delete(e->about);
    }
    free(b->entries);
    fs_close(&b->dirfd);
    if (b->stage.path)
        repo_view_close(&b->stage);
    *b = (struct repo_bundle){ .dirfd = -1, .stage = REPO_VIEW_INIT };
}

int
repo_bundle_open(struct repo *r, const char *path, struct repo_bundle *out,
                 struct err *err)
{
    struct stat st;
    int rc;

    *out = (struct repo_bundle){ .r = r, .dirfd = -1, .stage = REPO_VIEW_INIT };
    rc = strcmp(path, "-") != 0 && stat(path, &st) == 0 && S_ISDIR(st.st_mode)
             ? fs_open_dir(&out->dirfd, AT_FDCWD, path, err)
             : unpack(out, path, err);
    if (rc == 0)
        rc = read_layout(out, err);
    if (rc < 0)
        repo_bundle_close(out);
    return rc < 0 ? err_ctx(err, "bundle %s", path) : 0;
}

/* ---- taking ---------------------------------------------------------------------- */

static int64_t
read_fd(void *arg, void *p, size_t n, struct err *err)
{
    ssize_t got;

    do
        got = read(*(const int *)arg, p, n);
    while (got < 0 && errno == EINTR);
    return got < 0 ? err_sys(err, errno, "read a blob") : got;
}

struct text_source {
    const struct buf *text;
    size_t at;
};

static int64_t
read_text(void *arg, void *p, size_t n, struct err *err)
{
    struct text_source *t = arg;
    const size_t left = t->text->len - t->at;

    (void)err;
    n = n < left ? n : left;
    memcpy(p, buf_str(t->text) + t->at, n);
    t->at += n;
    return (int64_t)n;
}

/* What gc has doomed and the store still has is kept from it first. */
static int
put(struct repo_bundle *b, const struct digest *d,
    int64_t (*read)(void *arg, void *p, size_t n, struct err *err), void *arg,
    bool *is_new, struct err *err)
{
    int r = repo_rescue(b->r, d, err);

    return r < 0 ? r : backup_put(b->r->objects, d, read, arg, is_new, err);
}

int
repo_bundle_take_blob(struct repo_bundle *b, struct repo_blob *blob, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    int r = repo_lease(b->r, NULL, err);

    blob->is_new = false;
    if (r == 0)
        r = open_blob(b, &blob->digest, blob->size_bytes, &fd, err);
    if (r == 0)
        r = put(b, &blob->digest, read_fd, &fd, &blob->is_new, err);
    if (r == 0)
        r = b->r->objects->ops->sync(b->r->objects, err);
    if (r < 0)
        repo_blob_drop(b->r, blob);
    return r;
}

static int
take(struct repo_bundle *b, const struct repo_manifest *m, struct repo_ingest *out,
     struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    struct text_source source = { .text = &text };
    bool is_new;
    int r = repo_lease(b->r, NULL, err);

    for (int i = 0; r == 0 && i < m->n_files; i++) {
        const struct repo_file *f = &m->files[i];
        int fd AUTO(fs_close) = -1;

        repo_lease_keep(b->r);
        r = open_blob(b, &f->digest, f->size_bytes, &fd, err);
        if (r == 0)
            r = put(b, &f->digest, read_fd, &fd, &is_new, err);
        if (r < 0)
            return err_ctx(err, "%s", f->path);
        out->n_new_files += is_new;
        out->new_bytes += is_new ? f->size_bytes : 0;
    }
    repo_manifest_format(m, &text);
    if (r == 0)
        r = put(b, &m->digest, read_text, &source, &is_new, err);
    return r < 0 ? r : b->r->objects->ops->sync(b->r->objects, err);
}

int
repo_bundle_take(struct repo_bundle *b, const struct repo_manifest *m,
                 struct repo_ingest *out, struct err *err)
{
    int r;

    *out = (struct repo_ingest){ .n_new_files = 0 };
    r = take(b, m, out, err);
    if (r < 0) {
        repo_ingest_drop(b->r, m);
        return r;
    }
    out->manifest.files = xcalloc((size_t)m->n_files, sizeof(*m->files));
    for (int i = 0; i < m->n_files; i++) {
        out->manifest.files[i] = m->files[i];
        out->manifest.files[i].path = xstrdup(m->files[i].path);
    }
    out->manifest.n_files = m->n_files;
    out->manifest.size_bytes = m->size_bytes;
    out->manifest.digest = m->digest;
    return 0;
}
