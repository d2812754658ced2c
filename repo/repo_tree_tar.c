/* SPDX-License-Identifier: Apache-2.0 */
/* A version as an archive, for who has tar and nothing else. */
#include "repo/tree.h"

#include "base/tar.h"
#include "repo/repo_int.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define CHUNK_BYTES ((size_t)256 << 10)
#define LEVEL 1 /* weights hardly shrink: what is slower gains little */

struct out {
    int (*to)(void *arg, const void *p, size_t n, struct err *err);
    void *arg;
    ZSTD_CCtx *zstd; /* NULL: as it is */
    bool has_assets, has_variables;
    char *packed;
};

static void
out_release(struct out *o)
{
    ZSTD_freeCCtx(o->zstd);
    free(o->packed);
}

static int
put(struct out *o, const void *p, size_t n, ZSTD_EndDirective how, struct err *err)
{
    ZSTD_inBuffer in = { p, n, 0 };
    size_t left = 1;

    if (!o->zstd)
        return n > 0 ? o->to(o->arg, p, n, err) : 0;
    while (in.pos < in.size || (how == ZSTD_e_end && left > 0)) {
        ZSTD_outBuffer out = { o->packed, CHUNK_BYTES, 0 };

        left = ZSTD_compressStream2(o->zstd, &out, &in, how);
        if (ZSTD_isError(left))
            return err_set(err, ERR_FAILED, "zstd: %s", ZSTD_getErrorName(left));
        if (out.pos > 0 && o->to(o->arg, o->packed, out.pos, err) < 0)
            return -(int)err->code;
    }
    return 0;
}

static int
put_head(struct out *o, const char *name, int64_t size_bytes, char type, mode_t mode,
         struct err *err)
{
    struct buf head AUTO(buf_release) = BUF_INIT;

    tar_head(&head, name, size_bytes, type, mode);
    return put(o, head.data, head.len, ZSTD_e_continue, err);
}

static int
put_dir(void *arg, const char *path, struct err *err)
{
    struct out *o = arg;
    char *name AUTO(free_ptr) = xasprintf("%s/", path);
    bool *had = strcmp(path, "assets") == 0      ? &o->has_assets
                : strcmp(path, "variables") == 0 ? &o->has_variables
                                                 : NULL;

    if (had && *had) /* always there, and once more with its files */
        return 0;
    if (had)
        *had = true;
    return put_head(arg, name, 0, '5', 0755, err);
}

static int
put_file(struct out *o, struct repo *r, const struct repo_file *f, struct err *err)
{
    static const char zeros[512];
    char *chunk AUTO(free_ptr) = xmalloc(CHUNK_BYTES);
    int fd AUTO(fs_close) = -1;
    struct sha256 sha;
    struct digest got;
    int64_t at = 0;
    int rc = r->objects->ops->open(r->objects, &f->digest, &fd, err);

    if (rc == 0)
        rc = put_head(o, f->path, f->size_bytes, '0', 0644, err);
    sha256_init(&sha);
    while (rc == 0 && at < f->size_bytes) {
        const int64_t left = f->size_bytes - at;
        const int64_t n = fs_read_at(
            fd, chunk, left < (int64_t)CHUNK_BYTES ? (size_t)left : CHUNK_BYTES, at,
            f->path, err);

        if (n <= 0)
            return n < 0 ? (int)n
                         : err_set(err, ERR_CORRUPT, "%s: its object is too short",
                                   f->path);
        sha256_add(&sha, chunk, (size_t)n);
        at += n;
        if (at < f->size_bytes) { /* the last bytes go when all are known to be good */
            rc = put(o, chunk, (size_t)n, ZSTD_e_continue, err);
            continue;
        }
        sha256_end(&sha, &got);
        rc = digest_eq(&got, &f->digest)
                 ? put(o, chunk, (size_t)n, ZSTD_e_continue, err)
                 : err_set(err, ERR_CORRUPT,
                           "%s: its bytes are not what was pushed: sluice fsck",
                           f->path);
    }
    return rc < 0 ? rc
                  : put(o, zeros, tar_padding(f->size_bytes), ZSTD_e_continue, err);
}

int
repo_tree_tar(struct repo *r, const struct digest *manifest, bool is_zstd,
              int (*to)(void *arg, const void *p, size_t n, struct err *err), void *arg,
              struct err *err)
{
    static const char zeros[1024];
    struct repo_manifest m AUTO(repo_manifest_release) = { .files = NULL };
    struct out o AUTO(out_release) = { .to = to, .arg = arg };
    int rc = repo_manifest_get(r, manifest, &m, err);

    if (rc == 0 && is_zstd) {
        o.zstd = ZSTD_createCCtx();
        o.packed = xmalloc(CHUNK_BYTES);
        if (!o.zstd || ZSTD_isError(ZSTD_CCtx_setParameter(
                           o.zstd, ZSTD_c_compressionLevel, LEVEL)))
            return err_set(err, ERR_LIMIT, "no memory for zstd");
    }
    if (rc == 0)
        rc = repo_manifest_dirs(&m, put_dir, &o, err);
    for (int i = 0; rc == 0 && i < m.n_files; i++)
        rc = put_file(&o, r, &m.files[i], err);
    return rc < 0 ? rc : put(&o, zeros, sizeof(zeros), ZSTD_e_end, err);
}
