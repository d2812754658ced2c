/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/incoming.h"
#include "repo/repo_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES ((size_t)1 << 20)

static int
compare_path(const void *key, const void *file)
{
    return strcmp(key, ((const struct repo_file *)file)->path);
}

/* The bytes from at_bytes on; what is sent whole is hashed on the way. */
static int
send_file(struct repo *r, const struct repo_file *f, int64_t at_bytes, int fd,
          struct err *err)
{
    const bool whole = at_bytes == 0;
    char *chunk AUTO(free_ptr) = xmalloc(CHUNK_BYTES);
    int from AUTO(fs_close) = -1;
    struct sha256 hash;
    struct digest got;
    int rc = r->objects->ops->open(r->objects, &f->digest, &from, err);

    sha256_init(&hash);
    while (rc == 0) {
        int64_t n = fs_read_at(from, chunk, CHUNK_BYTES, at_bytes, f->path, err);

        if (n <= 0) {
            rc = (int)n;
            break;
        }
        if (whole)
            sha256_add(&hash, chunk, (size_t)n);
        rc = fs_write_all(fd, chunk, (size_t)n, "the output", err);
        at_bytes += n;
    }
    sha256_end(&hash, &got);
    if (rc == 0 &&
        (at_bytes != f->size_bytes || (whole && !digest_eq(&got, &f->digest))))
        return err_set(err, ERR_CORRUPT,
                       "%s: what was read of it is not what was pushed: sluice fsck",
                       f->path);
    return rc;
}

int
repo_send(struct repo *r, const struct digest *manifest, const char *const *paths,
          int n, int64_t offset_bytes, int fd, struct err *err)
{
    struct repo_manifest m AUTO(repo_manifest_release) = { .files = NULL };
    struct buf text AUTO(buf_release) = BUF_INIT;
    int rc = repo_manifest_get(r, manifest, &m, err);

    if (rc == 0 && n == 0) {
        repo_manifest_format(&m, &text);
        if (offset_bytes > (int64_t)text.len)
            offset_bytes = (int64_t)text.len;
        return fs_write_all(fd, buf_str(&text) + offset_bytes,
                            text.len - (size_t)offset_bytes, "the output", err);
    }
    for (int pass = 0; pass < 2; pass++) /* nothing is written when a path is wrong */
        for (int i = 0; rc == 0 && i < n; i++) {
            const struct repo_file *f = bsearch(paths[i], m.files, (size_t)m.n_files,
                                                sizeof(*m.files), compare_path);

            if (!f)
                return err_set(err, ERR_NOTFOUND,
                               "it has no file '%.200s': sluice cat REF lists them",
                               paths[i]);
            if (pass == 0)
                continue;
            if (offset_bytes < f->size_bytes || f->size_bytes == 0)
                rc = send_file(r, f, offset_bytes, fd, err);
            offset_bytes -= offset_bytes < f->size_bytes ? offset_bytes : f->size_bytes;
        }
    return rc;
}
